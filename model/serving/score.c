/* Scores of issued forecasts: sums by arrived value, and the figures they make.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The definitions are those of training/metrics.h, taken by value instead of by forecast: of a live
 * series some steps of a forecast have arrived and others not.
 */
#include "model/training/metrics.h"

#include "model/forecast.h"

#include <math.h>

double score_scale(const double *values, size_t count, size_t season)
{
    return metrics_scale(values, count, season > 0 ? season : 1);
}

static double level_at(const struct forecast *forecast, size_t level, size_t h)
{
    return (double)forecast->quantiles[level * forecast->horizon + h];
}

void score_add(struct score *score, const struct forecast *forecast, size_t h, double actual,
               double scale)
{
    double point = level_at(forecast, QUANTILE_MEDIAN, h);
    double error = point - actual;
    double size = fabs(actual) + fabs(point);
    double loss = 0.0;
    for (size_t q = QUANTILE_FIRST_DECILE; q <= QUANTILE_LAST_DECILE; q++) {
        double away = actual - level_at(forecast, q, h);
        loss += away >= 0.0 ? quantile_levels[q] * away : (quantile_levels[q] - 1.0) * away;
    }
    score->count++;
    score->pinball += 2.0 * loss / 9.0;
    score->absolute += fabs(actual);
    score->error += error;
    score->absolute_error += fabs(error);
    score->smape += size > 0.0 ? 200.0 * fabs(error) / size : 0.0;
    score->inside80 += actual >= level_at(forecast, QUANTILE_FIRST_DECILE, h) &&
                       actual <= level_at(forecast, QUANTILE_LAST_DECILE, h);
    score->inside95 += conformal_side(forecast, h, actual) == 0;
    if (scale > 0.0) {
        score->scaled++;
        score->scaled_error += fabs(error) / scale;
    }
}

void score_merge(struct score *score, const struct score *other)
{
    score->count += other->count;
    score->scaled += other->scaled;
    score->inside80 += other->inside80;
    score->inside95 += other->inside95;
    score->absolute += other->absolute;
    score->absolute_error += other->absolute_error;
    score->error += other->error;
    score->scaled_error += other->scaled_error;
    score->smape += other->smape;
    score->pinball += other->pinball;
}

static double share(double part, double whole)
{
    return whole > 0.0 ? part / whole : (double)NAN;
}

void score_figures(const struct score *score, struct score_figures *out)
{
    double count = (double)score->count;
    *out = (struct score_figures){
        .mase = share(score->scaled_error, (double)score->scaled),
        .smape = share(score->smape, count),
        .wql = share(score->pinball, score->absolute),
        .pinball = share(score->pinball, count),
        .coverage80 = share((double)score->inside80, count),
        .coverage95 = share((double)score->inside95, count),
        .bias = share(score->error, score->absolute),
    };
}

void skill_of(const double *own, const double *rival, size_t count, struct skill *out)
{
    double own_sum = 0.0, rival_sum = 0.0, squares = 0.0;
    *out = (struct skill){count, (double)NAN, (double)NAN};
    for (size_t i = 0; i < count; i++) {
        own_sum += own[i];
        rival_sum += rival[i];
    }
    if (!(rival_sum > 0.0)) {
        return;
    }
    /* The ratio's error by the delta method: residuals of own - ratio * rival. */
    double ratio = own_sum / rival_sum;
    out->value = 1.0 - ratio;
    for (size_t i = 0; i < count; i++) {
        double rest = own[i] - ratio * rival[i];
        squares += rest * rest;
    }
    if (count >= 2) {
        double units = (double)count;
        out->error = sqrt(squares * units / (units - 1.0)) / rival_sum;
    }
}
