/* Accuracy figures: M4's errors, DeepAR's rho-risk, the M4 interval score.
 * SPDX-License-Identifier: Apache-2.0
 *
 * One metrics_sum collects forecasts in any number; sums run in the order of the calls, in double.
 * Steps whose actual is missing are left out everywhere.
 *
 *   sMAPE  mean over forecasts of the mean over steps of 200 |y - f| / (|y| + |f|), 0 where both
 * are 0 MASE   mean over forecasts of mean |y - f| / scale, scale = in-sample mean |y_t - y_(t-m)|
 *   OWA    (sMAPE / sMAPE of Naive2 + MASE / MASE of Naive2) / 2
 *   ND     sum |y - f| / sum |y|
 *   rho_r  2 * sum of pinball_r(y, q_r) / sum |y|;   wQL = mean of rho_0.1 ... rho_0.9
 *   MSIS   mean width plus 40 times what lies outside [q0.025, q0.975], divided by the MASE scale
 *
 * f is the forecast's mean. Pure functions; one sum has one owner.
 */
#ifndef MODEL_TRAINING_METRICS_H
#define MODEL_TRAINING_METRICS_H

#include "model/backtest.h"

struct metrics_sum {
    uint64_t rows, points, missing, without_scale, crossings, inside80, inside95;
    uint64_t points_part[METRICS_PARTS], inside80_part[METRICS_PARTS], inside95_part[METRICS_PARTS];
    uint64_t rows_with_scale;
    double smape, mase, msis; /* sums over forecasts */
    double absolute_error, absolute, width;
    double pinball[QUANTILE_COUNT];
};

/* Mean absolute seasonal difference of a series, NaN where there is no pair. */
double metrics_scale(const double *values, size_t count, size_t season);

/* A forecast as it is scored: in double, with the digits that a file of forecasts holds. So figures
 * are those of the file, whoever computes them, and a band that ends on a value covers it: 0.3 in
 * float is not 0.3 in double. */
struct scored_forecast {
    size_t horizon;
    double *mean;      /* [H] */
    double *quantiles; /* [Q][H] */
};

/* The decimal of so many significant digits that is nearest. */
double scored_digits(double value, int digits);

/* Converts a forecast with BACKTEST_DIGITS; out->horizon and its arrays are the caller's. */
void scored_from(const struct forecast *forecast, struct scored_forecast *out);

/* Adds one forecast; actual has forecast->horizon values. Scale NaN or 0: no MASE, counted. */
void metrics_add(struct metrics_sum *sum, const double *actual,
                 const struct scored_forecast *forecast, double scale);

/* The figures; OWA and Naive2's are NaN (metrics_owa sets them). NaN where nothing was added. */
void metrics_finish(const struct metrics_sum *sum, struct metrics *out);

/* Puts Naive2's figures and the OWA against them into `out`. */
void metrics_owa(const struct metrics_sum *naive2, struct metrics *out);

/* Naive2 of M4: seasonally adjusted last value (multiplicative, where the seasonal test at 90 %
 * says so). `scratch` has 2 * count + 2 * season doubles. False where nothing is observed. */
bool metrics_naive2(const double *history, size_t count, size_t season, double *scratch,
                    double *forecast, size_t horizon);

/* As metrics_add for a point forecast. */
void metrics_add_points(struct metrics_sum *sum, const double *actual, const double *forecast,
                        size_t horizon, double scale);

/* Pinball losses of one forecast summed over 0.1 ... 0.9 and the observed steps, divided by 9 and
 * doubled; *absolute receives sum |y|, *points the steps. For gates: wQL = sum / sum |y|. */
double metrics_quantile_loss(const double *actual, const struct forecast *forecast,
                             double *absolute, uint64_t *points);

#endif
