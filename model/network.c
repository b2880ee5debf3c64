/* Embedding, backbone, head and linear skip on a tape: the same code trains and serves.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "model/network.h"

#include "base/check.h"

static const real levels[QUANTILE_COUNT] = {(real)0.025, (real)0.1, (real)0.2,  (real)0.3,
                                            (real)0.4,   (real)0.5, (real)0.6,  (real)0.7,
                                            (real)0.8,   (real)0.9, (real)0.975};

static bool has_skip(const struct member *member)
{
    return member->config.skip && member->config.head == HEAD_QUANTILE;
}

void network_inputs(const struct member *member, struct tape *tape, size_t count,
                    struct network_batch *batch)
{
    size_t patch = (size_t)member->config.patch;
    *batch = (struct network_batch){.count = count};
    batch->steps = tape_input(tape, (size_t[]){count, member->tokens, patch * member->features, 0});
    if (has_skip(member)) {
        batch->context = tape_input(tape, (size_t[]){count, member->shape.context, 0});
        if (member->skip_count > 0) {
            batch->lags =
                tape_input(tape, (size_t[]){count, member->skip_count, member->horizon, 0});
        }
    }
    if (tape->mode == TAPE_TRAIN) {
        size_t steps = member->config.head == HEAD_QUANTILE ? member->horizon : member->tokens;
        batch->target = tape_input(tape, (size_t[]){count * steps, 0});
        batch->weight = tape_input(tape, (size_t[]){count * steps, 0});
    }
}

struct window_inputs network_row(const struct member *member, const struct network_batch *batch,
                                 size_t row)
{
    size_t width = tensor_size(batch->steps) / batch->count;
    struct window_inputs inputs = {.steps = batch->steps->data + row * width};
    if (batch->context != NULL) {
        inputs.context = batch->context->data + row * member->shape.context;
    }
    if (batch->lags != NULL) {
        inputs.lags = batch->lags->data + row * member->skip_count * member->horizon;
    }
    return inputs;
}

static struct tensor *skip(const struct member *member, struct tape *tape,
                           const struct network_batch *batch)
{
    struct tensor *y = op_linear(tape, batch->context, tape_param(tape, member->skip_context),
                                 tape_param(tape, member->skip_bias)); /* [B, H] */
    if (batch->lags != NULL) {
        struct tensor *w = tape_param(tape, member->skip_lags);
        y = op_add(tape, y, op_mix(tape, batch->lags, w));
    }
    return op_expand(tape, y, QUANTILE_COUNT); /* [B, H, Q] */
}

struct tensor *network_forward(const struct member *member, struct tape *tape,
                               const struct network_batch *batch)
{
    size_t b = batch->count;
    size_t mark = tape_mark(tape);
    struct tensor *x = linear_layer(tape, &member->embed, batch->steps); /* [B, T, D] */
    if (batch->memory != NULL || (tape->measuring && member->backbone->recurrent)) {
        x = backbone_recur(member->backbone, tape, x, batch->memory);
    } else {
        x = backbone_forward(member->backbone, tape, x, NULL);
    }
    if (member->config.head == HEAD_GAUSSIAN) {
        x = linear_layer(tape, &member->head, x);
        return tape_keep(tape, mark, x); /* [B, T, 2] */
    }
    x = op_slice_time(tape, x, member->tokens - member->horizon_tokens, member->horizon_tokens);
    x = linear_layer(tape, &member->head, x);
    x = op_reshape(tape, x, (size_t[]){b, member->shape.steps, QUANTILE_COUNT, 0});
    if (member->shape.steps > member->horizon) {
        x = op_slice_time(tape, x, 0, member->horizon); /* [B, H, Q] */
    }
    if (has_skip(member)) {
        x = op_add(tape, x, skip(member, tape, batch));
    }
    return tape_keep(tape, mark, x);
}

struct tensor *network_step(const struct member *member, struct tape *tape, struct tensor *steps,
                            void *state)
{
    size_t mark = tape_mark(tape);
    struct tensor *x = linear_layer(tape, &member->embed, steps);
    x = backbone_forward(member->backbone, tape, x, state);
    x = linear_layer(tape, &member->head, x);
    return tape_keep(tape, mark, x);
}

struct tensor *network_loss(const struct member *member, struct tape *tape,
                            const struct network_batch *batch, struct tensor *output, real factor)
{
    size_t rows = tensor_size(batch->target);
    struct tensor *flat = op_reshape(tape, output, (size_t[]){rows, member->outputs, 0});
    struct tensor *loss;
    if (member->config.head == HEAD_GAUSSIAN) {
        loss = op_gaussian_nll(tape, flat, batch->target, batch->weight, factor);
    } else {
        loss = op_pinball(tape, flat, batch->target, batch->weight, levels, factor);
    }
    struct tensor *penalty = backbone_penalty(member->backbone, tape);
    if (penalty == NULL) {
        return loss;
    }
    real share = (real)batch->count / (real)member->config.batch;
    return op_add(tape, loss, op_scale(tape, penalty, share));
}
