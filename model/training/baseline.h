/* Inside of the baselines: what their methods share.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Pure functions on the caller's arrays; any thread.
 */
#ifndef MODEL_TRAINING_BASELINE_H
#define MODEL_TRAINING_BASELINE_H

#include "model/model.h"

#define BASELINE_FEW_ERRORS 24 /* below this many, errors are mirrored */

/* Errors -> their quantiles at the standard levels. Few errors are mirrored, so that a handful of
 * rises does not make a one-sided interval; `errors` has room for twice the count and is sorted. */
void baseline_spread(double *errors, size_t count, double spread[QUANTILE_COUNT]);

/* Errors of "the value `lag` steps before, plus slope * lag" at all of y[0 .. n) that have both
 * values; returns how many. */
size_t baseline_errors(const double *y, size_t n, size_t lag, double slope, double *errors);

/* One step: `mean` and the levels about it, the spread times `factor`. */
void baseline_write(struct forecast *out, size_t step, double mean,
                    const double spread[QUANTILE_COUNT], double factor);

/* The season among the series' own that repeats best; 0 where none fits once. */
size_t baseline_season(const struct model_series *series);

/* How probable it is that the values are a walk, whose spread grows with the root of time, and not
 * noise about a level, whose spread does not grow: by Bayes' rule from the squares of their steps
 * and of their distances from the mean, with nothing known of deviation and level. A walk where
 * nothing can be told, and where values hang together in any other way. Never less than two in as
 * many as were seen. */
double baseline_walk_share(const double *values, size_t count);

/* The places of the absurd values among `values`, in order, of which there are at most
 * BASELINE_ABSURD_MAX: more belong to the series, and none are named. With `still` also those that
 * differ at all, where nearly all others are one and the same. */
#define BASELINE_ABSURD_MAX 3
size_t baseline_absurd(const double *values, size_t count, bool still,
                       size_t places[BASELINE_ABSURD_MAX]);

/* The values; or, where at most a few are absurd, a copy in `room` (of `count` doubles) that has
 * NaN in their places. */
const double *baseline_without_absurd(const double *values, size_t count, double *room);

/* Seasonal naive; `scratch` has 4 * series->count doubles. False where there is no season, or no
 * pair of values a season apart. The result is not yet made monotone and bounded. */
bool seasonal_naive_forecast(const struct model_series *series, double *scratch,
                             struct forecast *out);

/* Damped-trend exponential smoothing with season; `scratch` has 4 * series->count doubles. False
 * below SMOOTHING_OBSERVED_MIN observed values. The result is not yet made monotone and bounded. */
#define SMOOTHING_OBSERVED_MIN 8
bool smoothing_forecast(const struct model_series *series, double *scratch, struct forecast *out);

/* Where most of the newest values are one and the same that comes again and again, as of crash
 * counts or an availability: what may come, as the values say it, in the place of what is in `out`.
 * False, and nothing done, for other series. `scratch` has series->count doubles. */
bool one_value_forecast(const struct model_series *series, double *scratch, struct forecast *out);

/* Seasonal means with damped drift, averaged; `scratch` as above. The usual seasons of the step
 * are looked at besides the series' own. False where there is none, or where the series does not
 * hold a horizon and its shortest season twice. */
bool seasonal_drift_forecast(const struct model_series *series, double *scratch,
                             struct forecast *out);

#endif
