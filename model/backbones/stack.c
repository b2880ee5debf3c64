/* What most backbones share: the usual options, and layers of "mix over time, then feed forward".
 * SPDX-License-Identifier: Apache-2.0
 */
#include "model/backbones/stack.h"

#include "base/check.h"

#include <stdio.h>
#include <string.h>

const char *const stack_norm_names[] = {"pre", "post", NULL};
const char *const stack_activation_names[] = {"gelu", "relu", "swish", "gelu_exact", NULL};

enum status stack_check_heads(const struct stack_options *options, struct error *error)
{
    if (options->width % options->heads == 0) {
        return STATUS_OK;
    }
    (void)error_set(error, STATUS_INVALID, "cannot divide width %lld into %lld heads",
                    (long long)options->width, (long long)options->heads);
    (void)error_hint(error, "Choose a number of heads that divides the width.");
    return error_code(error, "bad_value", "heads");
}

void stack_model_init(struct backbone_model *model, const struct backbone *backbone,
                      const struct stack_options *options, const struct backbone_shape *shape)
{
    CHECK(shape->length > 0);
    *model = (struct backbone_model){
        .backbone = backbone,
        .shape = *shape,
        .width = (size_t)options->width,
        .layers = (size_t)options->layers,
        .causal = true,
        .streaming = true,
    };
}

const char *stack_layer_name(char out[PARAM_NAME_MAX], const char *prefix, size_t i)
{
    char part[24];
    CHECK(i < LAYERS_MAX);
    (void)snprintf(part, sizeof(part), "layer%u", (unsigned)(i % LAYERS_MAX));
    return param_name(out, prefix, part);
}

void stack_declare(struct stack *stack, const struct backbone_model *model,
                   const struct stack_options *options, bool positions, struct params *params,
                   const char *prefix)
{
    char name[PARAM_NAME_MAX];
    char part[PARAM_NAME_MAX];
    stack->positions = SIZE_MAX;
    if (positions) {
        struct param_spec spec = {
            .shape = {model->shape.length, model->width}, .init = PARAM_NORMAL, .gain = 0.02};
        stack->positions = params_add(params, &spec, "%s.positions", prefix);
    }
    for (size_t i = 0; i < model->layers; i++) {
        struct stack_layer *layer = &stack->layers[i];
        (void)stack_layer_name(name, prefix, i);
        layer->mix_norm =
            norm_layer_declare(params, model->width, param_name(part, name, "attention.norm"));
        layer->feed_norm =
            norm_layer_declare(params, model->width, param_name(part, name, "feed.norm"));
        layer->feed = feed_forward_declare(params, model->width, (size_t)options->inner,
                                           (enum activation)options->activation, options->dropout,
                                           param_name(part, name, "feed"));
    }
    if (options->norm == NORM_PRE) {
        stack->last_norm =
            norm_layer_declare(params, model->width, param_name(name, prefix, "norm"));
    }
}

struct tensor *stack_layer_forward(const struct stack *stack, const struct stack_options *options,
                                   size_t i, struct tape *tape, struct tensor *x,
                                   const struct stack_mixer *mixer)
{
    const struct stack_layer *layer = &stack->layers[i];
    double dropout = options->dropout;
    if (options->norm == NORM_PRE) {
        struct tensor *a =
            mixer->mix(mixer->self, i, tape, norm_layer(tape, &layer->mix_norm, x), mixer->state);
        struct tensor *u = op_add(tape, x, op_dropout(tape, a, dropout));
        struct tensor *f = feed_forward(tape, &layer->feed, norm_layer(tape, &layer->feed_norm, u));
        return op_add(tape, u, op_dropout(tape, f, dropout));
    }
    struct tensor *a = mixer->mix(mixer->self, i, tape, x, mixer->state);
    struct tensor *u =
        norm_layer(tape, &layer->mix_norm, op_add(tape, x, op_dropout(tape, a, dropout)));
    struct tensor *f = feed_forward(tape, &layer->feed, u);
    return norm_layer(tape, &layer->feed_norm, op_add(tape, u, op_dropout(tape, f, dropout)));
}

struct tensor *stack_forward(const struct stack *stack, const struct stack_options *options,
                             struct tape *tape, struct tensor *x, size_t first,
                             const struct stack_mixer *mixer)
{
    if (stack->positions != SIZE_MAX) {
        x = op_add_table(tape, x, tape_param(tape, stack->positions), first);
    }
    for (size_t i = 0; i < (size_t)options->layers; i++) {
        size_t mark = tape_mark(tape);
        x = tape_keep(tape, mark, stack_layer_forward(stack, options, i, tape, x, mixer));
    }
    if (options->norm == NORM_PRE) {
        x = norm_layer(tape, &stack->last_norm, x);
    }
    return x;
}

void stack_advance_tail(struct tensor *tail, const struct tensor *x)
{
    size_t width = x->shape[2];
    size_t kept = tail->shape[1];
    size_t steps = x->shape[1];
    size_t taken = steps < kept ? steps : kept;
    for (size_t b = 0; b < x->shape[0]; b++) {
        real *to = tail->data + b * kept * width;
        const real *from = x->data + (b * steps + steps - taken) * width;
        memmove(to, to + taken * width, (kept - taken) * width * sizeof(real));
        memcpy(to + (kept - taken) * width, from, taken * width * sizeof(real));
    }
}
