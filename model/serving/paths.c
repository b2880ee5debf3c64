/* Sampled paths of an autoregressive member: decoding step by step through the backbone's state.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Ancestral sampling (Li et al. 2019; Salinas et al. 2019): step t is fed the value sampled at t
 * - 1.
 */
#include "model/serving/paths.h"

#include "base/check.h"
#include "base/memory.h"
#include "base/random.h"
#include "model/model.h"
#include "model/order.h"

#include <math.h>
#include <string.h>

#define SIGMA_FLOOR 0.001 /* as in the loss */
#define VALUE_LIMIT 1e4   /* scaled samples are kept inside, so that no path runs away */

enum status paths_init(struct paths *paths, const struct member *member, struct error *error)
{
    *paths = (struct paths){.member = member};
    const struct backbone *backbone = member->backbone->backbone;
    if (!member->backbone->streaming || !member->backbone->causal) {
        return error_set(error, STATUS_INVALID,
                         "cannot sample paths with backbone \"%s\": it has no state",
                         backbone->name);
    }
    paths->state = mem_alloc_aligned(backbone_state_bytes(member->backbone, PATHS_COUNT));
    paths->window = mem_zeroed(member->tokens * member->features, sizeof(real));
    paths->samples = mem_zeroed(member->horizon * PATHS_COUNT, sizeof(double));
    if (paths->state == NULL || paths->window == NULL || paths->samples == NULL) {
        paths_release(paths);
        return error_set(error, STATUS_NO_MEMORY, "could not make room for sampled paths");
    }
    return STATUS_OK;
}

void paths_release(struct paths *paths)
{
    mem_free(paths->state);
    mem_free(paths->window);
    mem_free(paths->samples);
    *paths = (struct paths){0};
}

enum status paths_measure(const struct member *member, struct tape_size *size, struct error *error)
{
    struct tape tape;
    enum status status = tape_measure(&tape, TAPE_INFER, &member->params, error);
    if (status != STATUS_OK) {
        return status;
    }
    /* Counted without a state: the cache's appending needs no more than whole attention does. */
    struct tensor *steps =
        tape_input(&tape, (size_t[]){PATHS_COUNT, PATHS_PIECE, member->features, 0});
    (void)network_step(member, &tape, steps, NULL);
    *size = tape_size(&tape);
    /* Scores of a decoding step reach over the whole context: room for one row a head. */
    size->value_bytes += member->tokens * 64 * sizeof(real) + (1u << 16);
    tape_release(&tape);
    return STATUS_OK;
}

/* Runs `count` steps of the window (the same for all paths) through the state; *output [S, count,
 * 2]. */
static struct tensor *prime(struct paths *paths, struct tape *tape, size_t from, size_t count)
{
    const struct member *member = paths->member;
    size_t width = member->features;
    struct tensor *steps = tape_input(tape, (size_t[]){PATHS_COUNT, count, width, 0});
    for (size_t path = 0; path < PATHS_COUNT; path++) {
        memcpy(steps->data + path * count * width, paths->window + from * width,
               count * width * sizeof(real));
    }
    return network_step(member, tape, steps, paths->state);
}

static double softplus(double x)
{
    return x > 30.0 ? x : log1p(exp(x));
}

static void sample_step(struct paths *paths, const struct tensor *output, struct random *random,
                        size_t step)
{
    size_t count = output->shape[1];
    for (size_t path = 0; path < PATHS_COUNT; path++) {
        const real *pair = output->data + ((path + 1) * count - 1) * 2;
        double sigma = softplus((double)pair[1]) + SIGMA_FLOOR;
        double value = (double)pair[0] + sigma * random_normal(random);
        value = isfinite(value) ? fmax(-VALUE_LIMIT, fmin(VALUE_LIMIT, value)) : 0.0;
        paths->samples[step * PATHS_COUNT + path] = value;
    }
}

/* The next input: the calendar of the step, and the value that each path sampled. */
static struct tensor *next_steps(struct paths *paths, struct tape *tape, size_t step)
{
    const struct member *member = paths->member;
    size_t width = member->features;
    struct tensor *steps = tape_input(tape, (size_t[]){PATHS_COUNT, 1, width, 0});
    const real *row = paths->window + (member->shape.context + step) * width;
    for (size_t path = 0; path < PATHS_COUNT; path++) {
        real *out = steps->data + path * width;
        memcpy(out, row, width * sizeof(real));
        out[0] = (real)paths->samples[(step - 1) * PATHS_COUNT + path];
        out[1] = 1;
    }
    return steps;
}

/* The first `count` steps of the window through the state; the output of the last piece. */
static struct tensor *feed(struct paths *paths, struct tape *tape, size_t count)
{
    struct tensor *output = NULL;
    size_t mark = tape_mark(tape);
    for (size_t done = 0; done < count;) {
        size_t part = count - done < PATHS_PIECE ? count - done : PATHS_PIECE;
        tape_rewind(tape, mark);
        output = prime(paths, tape, done, part);
        done += part;
    }
    return output;
}

/* Recurrent backbones: the windows before the newest one, oldest first, in the newest one's scale,
 * as far as the history reaches and the state takes them. */
static void feed_earlier(struct paths *paths, struct tape *tape, const struct feature_plan *plan,
                         const struct window_source *source, const struct window_scale *scale)
{
    const struct member *member = paths->member;
    size_t context = member->shape.context;
    size_t windows = member->backbone->state_steps_max == SIZE_MAX ? member_primes(member) : 0;
    for (; windows > 0; windows--) {
        size_t back = windows * context;
        if (source->origin <= back) {
            continue;
        }
        struct window_source earlier = *source;
        earlier.origin -= back;
        earlier.known -= back;
        earlier.origin_step -= (int64_t)back;
        struct window_inputs inputs = {.steps = paths->window};
        window_fill(plan, &member->shape, &earlier, scale, &inputs);
        size_t mark = tape_mark(tape);
        (void)feed(paths, tape, context);
        tape_rewind(tape, mark);
    }
}

void paths_run(struct paths *paths, struct tape *tape, const struct feature_plan *plan,
               const struct window_source *source, double *quantiles)
{
    const struct member *member = paths->member;
    struct random random;
    random_init(&random, (uint64_t)source->origin_step, member->horizon);
    struct window_scale scale = window_scale(&member->shape, source);
    backbone_state_reset(member->backbone, paths->state, PATHS_COUNT);
    tape_begin(tape, TAPE_INFER, &member->params, member->weights, NULL, 0, 0);
    feed_earlier(paths, tape, plan, source, &scale);
    struct window_inputs inputs = {.steps = paths->window};
    window_fill(plan, &member->shape, source, &scale, &inputs);
    size_t mark = tape_mark(tape);
    /* The first horizon step's input is known too. */
    struct tensor *output = feed(paths, tape, member->shape.context + 1);
    for (size_t step = 0; step < member->horizon; step++) {
        if (step > 0) {
            tape_rewind(tape, mark);
            output = network_step(member, tape, next_steps(paths, tape, step), paths->state);
        }
        sample_step(paths, output, &random, step);
    }
    for (size_t step = 0; step < member->horizon; step++) {
        double *row = paths->samples + step * PATHS_COUNT;
        order_sort(row, PATHS_COUNT);
        for (size_t q = 0; q < QUANTILE_COUNT; q++) {
            double value = order_quantile(row, PATHS_COUNT, quantile_levels[q]);
            quantiles[step * QUANTILE_COUNT + q] = window_restored(&scale, value);
        }
    }
}
