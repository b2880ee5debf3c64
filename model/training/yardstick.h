/* Yardsticks of a backtest: last value and seasonal naive, digit by digit those of the scoring
 * tool. SPDX-License-Identifier: Apache-2.0
 *
 * The baselines that serve (baseline.h) may grow wiser; what published figures are compared with
 * must not. So these two are fixed: the value one season ago, earlier where it is missing, and the
 * spread of the seasonal differences of the last 200 seasons, the same at every step. The last
 * value is the same with a season of one step.
 *
 * Pure functions on the caller's arrays; any thread.
 */
#ifndef MODEL_TRAINING_YARDSTICK_H
#define MODEL_TRAINING_YARDSTICK_H

#include "model/training/metrics.h"

/* Forecasts out->horizon steps behind values[0 .. count). `scratch` has room for `count` doubles.
 */
void yardstick_naive(const double *values, size_t count, size_t season, double *scratch,
                     struct scored_forecast *out);

#endif
