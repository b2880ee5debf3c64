/* Seasons unlike the others: what an anomaly of two or three days ago says is left out of a window.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "model/odd_lags.h"

#include <math.h>

#define SEASONS 3
#define ODD     3.0  /* times as far from the mean as each of the other two */
#define LEAST   1e-3 /* of the scale, a step: what stands still and bursts at times has no odd ones \
                      */

/* Whether lags 0, 1 and 2 are the newest three of the season that mean 0 is over. */
static bool has_seasons(const struct feature_plan *plan)
{
    bool there = plan->lag_count >= SEASONS && plan->mean_count > 0;
    for (size_t i = 0; there && i < SEASONS; i++) {
        there = plan->lags[i] == (i + 1) * plan->means[0] && plan->folds[i] == plan->folds[0];
    }
    return there;
}

/* Sum of how far lag i is from the mean along the horizon. */
static double distance(const real *lag, const real *mean, size_t horizon)
{
    double sum = 0.0;
    for (size_t h = 0; h < horizon; h++) {
        sum += fabs((double)lag[h] - (double)mean[h]);
    }
    return sum;
}

/* Lag i as the mean says: in the skip, and in the steps of the horizon. */
static void replace(const struct feature_window *window, struct window_inputs *inputs, size_t i)
{
    const struct feature_plan *plan = window->plan;
    size_t width = feature_count(plan, window->shape);
    const real *mean = inputs->lags + plan->lag_count * plan->horizon;
    real *lag = inputs->lags + i * plan->horizon;
    for (size_t h = 0; h < plan->horizon; h++) {
        real *pair = inputs->steps + (window->shape->context + h) * width + 2 + 2 * i;
        lag[h] = mean[h];
        pair[0] = pair[1] > (real)0 ? mean[h] : (real)0; /* what is missing stays so */
    }
}

void odd_lags_mend(const struct feature_window *window, struct window_inputs *inputs)
{
    const struct feature_plan *plan = window->plan;
    if (!has_seasons(plan)) {
        return;
    }
    size_t horizon = plan->horizon;
    const real *mean = inputs->lags + plan->lag_count * horizon;
    double away[SEASONS];
    for (size_t i = 0; i < SEASONS; i++) {
        away[i] = distance(inputs->lags + i * horizon, mean, horizon);
    }
    for (size_t i = 1; i < SEASONS; i++) {
        double others = fmax(away[0], away[SEASONS - i]);
        if (others > LEAST * (double)horizon && away[i] > ODD * others) {
            replace(window, inputs, i);
        }
    }
}
