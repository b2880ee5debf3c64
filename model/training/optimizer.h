/* AdamW with warm-up, cosine decay, global-norm clipping and a moving average of the weights.
 * SPDX-License-Identifier: Apache-2.0
 *
 * w -= rate (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + 1e-8) after w -= rate decay w (Loshchilov
 * and Hutter 2019), decay on matrices only. A
 * parameter's own factor multiplies the rate and leaves its decay as it was; a fixed parameter is
 * left alone and its average is itself, whoever redrew it. A statistic becomes 0.9 of itself
 * and 0.1 of the mean of what the tapes of a step told of it in its gradient. The work is cut by
 * parameter, so that several lanes can share one step: every lane calls optimizer_squares and
 * optimizer_step for its own range of parameters, with a barrier between; the norm is the sum over
 * parameters in their order, whoever computed them.
 */
#ifndef MODEL_TRAINING_OPTIMIZER_H
#define MODEL_TRAINING_OPTIMIZER_H

#include "base/status.h"
#include "model/tape/params.h"

struct optimizer_schedule {
    double rate;           /* the largest */
    double warmup_share;   /* of the progress that warms up, */
    uint64_t warmup_steps; /* but at most this many steps */
    double decay, beta2, average, clip;
};

struct optimizer {
    const struct params *params;
    struct optimizer_schedule schedule;
    real *moment, *square, *average; /* slabs */
    double *squares;                 /* [params->count] of the gradient */
};

enum status optimizer_init(struct optimizer *optimizer, const struct params *params,
                           const struct optimizer_schedule *schedule, struct error *error) MUST_USE;
void optimizer_release(struct optimizer *optimizer); /* harmless on a zeroed struct */

/* The average starts as a copy of the weights. */
void optimizer_start(struct optimizer *optimizer, const real *weights);

/* Learning rate at a step (from 1) and progress in [0, 1]. */
double optimizer_rate(const struct optimizer_schedule *schedule, uint64_t step, double progress);

/* Sums `slabs` gradient slabs into the first one, in order, for parameters [from, to), and notes
 * the sum of squares of each. */
void optimizer_gather(struct optimizer *optimizer, real *const *slabs, size_t slab_count,
                      size_t from, size_t to);

/* Norm of the whole gradient, after every range was gathered. */
double optimizer_norm(const struct optimizer *optimizer);

/* Updates parameters [from, to). `step` counts from 1. */
void optimizer_step(struct optimizer *optimizer, real *weights, const real *gradient, double norm,
                    uint64_t step, double rate, size_t from, size_t to);

#endif
