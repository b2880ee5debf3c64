/* What every producer of forecasts shares: making them monotone, finite and bounded; tail rules.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Pure functions; any thread.
 */
#ifndef MODEL_FORECAST_H
#define MODEL_FORECAST_H

#include "model/model.h"

#define QUANTILE_MEDIAN       5 /* index of 0.5 in quantile_levels */
#define QUANTILE_FIRST_DECILE 1
#define QUANTILE_LAST_DECILE  9

/* Sorts the quantiles of each step, replaces what is not finite by `fallback`, keeps each
 * level a little off the median (not for integer series, whose levels are rounded), clamps to the
 * series' bounds. The mean is clamped too. */
void forecast_finish(const struct model_series *series, double fallback, struct forecast *forecast);

/* NaN everywhere: the method has no finite numbers. */
void forecast_unknown(struct forecast *forecast);

/* The last value that is not NaN, 0 where there is none. */
double forecast_last_seen(const double *values, size_t count);

#endif
