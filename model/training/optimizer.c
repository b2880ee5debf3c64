/* AdamW with warm-up, cosine decay, global-norm clipping and a moving average of the weights.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "model/training/optimizer.h"

#include "base/memory.h"
#include "model/ops/kernels.h"

#include <math.h>
#include <string.h>

#define BETA1              0.9
#define EPSILON            1e-8
#define NORM_EPSILON       1e-6
#define STATISTIC_MOMENTUM 0.1  /* of batch normalization's running statistics */
#define FINAL_RATE         0.01 /* share of the largest rate at the end */

enum status optimizer_init(struct optimizer *optimizer, const struct params *params,
                           const struct optimizer_schedule *schedule, struct error *error)
{
    *optimizer = (struct optimizer){.params = params, .schedule = *schedule};
    optimizer->moment = params_slab_new(params);
    optimizer->square = params_slab_new(params);
    optimizer->average = params_slab_new(params);
    optimizer->squares = mem_zeroed(params->count, sizeof(double));
    if (optimizer->moment == NULL || optimizer->square == NULL || optimizer->average == NULL ||
        optimizer->squares == NULL) {
        optimizer_release(optimizer);
        return error_set(error, STATUS_NO_MEMORY, "could not make the optimizer's moments");
    }
    return STATUS_OK;
}

void optimizer_release(struct optimizer *optimizer)
{
    mem_free(optimizer->moment);
    mem_free(optimizer->square);
    mem_free(optimizer->average);
    mem_free(optimizer->squares);
    *optimizer = (struct optimizer){0};
}

void optimizer_start(struct optimizer *optimizer, const real *weights)
{
    size_t bytes = optimizer->params->size * sizeof(real);
    memset(optimizer->moment, 0, bytes);
    memset(optimizer->square, 0, bytes);
    memcpy(optimizer->average, weights, bytes);
}

double optimizer_rate(const struct optimizer_schedule *schedule, uint64_t step, double progress)
{
    double warm = 1.0;
    double cosine_progress = progress;
    if (schedule->warmup_share > 0.0 && schedule->warmup_steps > 0) {
        double by_share = progress / schedule->warmup_share;
        double by_steps = (double)step / (double)schedule->warmup_steps;
        warm = fmin(1.0, fmax(by_share, by_steps));
        cosine_progress =
            fmax(0.0, (progress - schedule->warmup_share) / (1.0 - schedule->warmup_share));
    }
    double cosine = 0.5 * (1.0 + cos(M_PI * fmin(1.0, cosine_progress)));
    return schedule->rate * fmin(warm, cosine * (1.0 - FINAL_RATE) + FINAL_RATE);
}

void optimizer_gather(struct optimizer *optimizer, real *const *slabs, size_t slab_count,
                      size_t from, size_t to)
{
    const struct kernels *kernel = kernels();
    for (size_t i = from; i < to; i++) {
        const struct param *param = &optimizer->params->items[i];
        real *sum = slabs[0] + param->offset;
        for (size_t s = 1; s < slab_count; s++) {
            const real *part = slabs[s] + param->offset;
            for (size_t j = 0; j < param->size; j++) {
                sum[j] += part[j];
            }
        }
        optimizer->squares[i] = param->statistic ? 0.0 : kernel->squares(param->size, sum);
    }
}

double optimizer_norm(const struct optimizer *optimizer)
{
    double sum = 0.0;
    for (size_t i = 0; i < optimizer->params->count; i++) {
        sum += optimizer->squares[i];
    }
    return sqrt(sum);
}

/* What the tapes of a step told is in its gradient, with their number at its end. */
static void move_statistic(const struct param *param, const real *told, real *values)
{
    size_t count = param->size - 1;
    real tapes = told[count];
    for (size_t k = 0; tapes > 0 && k < count; k++) {
        values[k] += (real)STATISTIC_MOMENTUM * (told[k] / tapes - values[k]);
    }
}

void optimizer_step(struct optimizer *optimizer, real *weights, const real *gradient, double norm,
                    uint64_t step, double rate, size_t from, size_t to)
{
    const struct optimizer_schedule *schedule = &optimizer->schedule;
    double count = (double)step;
    struct adamw update = {
        .beta1 = (real)BETA1,
        .beta2 = (real)schedule->beta2,
        .epsilon = (real)EPSILON,
        .correction1 = (real)(1.0 - pow(BETA1, count)),
        .correction2 = (real)(1.0 - pow(schedule->beta2, count)),
        .gradient_scale = (real)fmin(1.0, schedule->clip / (norm + NORM_EPSILON)),
        .average_decay = (real)fmin((1.0 + count) / (10.0 + count), schedule->average),
    };
    for (size_t i = from; i < to; i++) {
        const struct param *param = &optimizer->params->items[i];
        size_t at = param->offset;
        if (param->statistic) {
            move_statistic(param, gradient + at, weights + at);
        }
        if (param->fixed || param->statistic) {
            memcpy(optimizer->average + at, weights + at, param->size * sizeof(real));
            continue;
        }
        update.rate = (real)(rate * param->rate);
        update.decay = (real)(param->decay ? schedule->decay / param->rate : 0.0);
        kernels()->adamw(param->size, &update, weights + at, gradient + at, optimizer->moment + at,
                         optimizer->square + at, optimizer->average + at);
    }
}
