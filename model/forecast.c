/* What every producer of forecasts shares: levels, interpolation, monotone and bounded results.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "model/forecast.h"

#include "base/check.h"
#include "model/order.h"

#include <float.h>
#include <math.h>

const double quantile_levels[QUANTILE_COUNT] = {0.025, 0.1, 0.2, 0.3, 0.4,  0.5,
                                                0.6,   0.7, 0.8, 0.9, 0.975};

double forecast_last_seen(const double *values, size_t count)
{
    while (count > 0) {
        count--;
        if (!isnan(values[count])) {
            return values[count];
        }
    }
    return 0.0;
}

static float bounded(const struct model_series *series, float value)
{
    /* A bound is a double: the float that is returned must not lie on its other side. */
    if ((double)value < series->minimum) {
        value = (float)series->minimum;
        return (double)value < series->minimum ? nextafterf(value, INFINITY) : value;
    }
    if ((double)value > series->maximum) {
        value = (float)series->maximum;
        return (double)value > series->maximum ? nextafterf(value, -INFINITY) : value;
    }
    return value;
}

static float finite_or(float value, double fallback)
{
    return isfinite(value) ? value : (float)fallback;
}

bool forecast_is_finite(const struct forecast *forecast)
{
    for (size_t i = 0; i < forecast->horizon; i++) {
        if (!isfinite(forecast->mean[i])) {
            return false;
        }
    }
    for (size_t i = 0; i < forecast->horizon * QUANTILE_COUNT; i++) {
        if (!isfinite(forecast->quantiles[i])) {
            return false;
        }
    }
    return true;
}

void forecast_unknown(struct forecast *forecast)
{
    for (size_t i = 0; i < forecast->horizon; i++) {
        forecast->mean[i] = NAN;
    }
    for (size_t i = 0; i < forecast->horizon * QUANTILE_COUNT; i++) {
        forecast->quantiles[i] = NAN;
    }
}

#define EXCESS_SCORES 9.0 /* beyond them a tail of the normal distribution holds nothing */

/* No forecast is certain: each level keeps at least its share of a small band about the median, so
 * that "low = high", as for a constant series, never stands for "no interval". */
#define LEAST_SPREAD          2e-7 /* of the median: 0.1 and 0.9 are then a step of a float away */
#define LEAST_SPREAD_ABSOLUTE 1e-18

/* The levels' normal scores as a share of the outermost one's. */
static const double level_scores[QUANTILE_COUNT] = {-1.0,      -0.653865, -0.429406, -0.267557,
                                                    -0.129261, 0.0,       0.129261,  0.267557,
                                                    0.429406,  0.653865,  1.0};

double forecast_least_spread(double value)
{
    return fmax(LEAST_SPREAD * fabs(value), LEAST_SPREAD_ABSOLUTE);
}

static void spread_least(float level[QUANTILE_COUNT])
{
    double median = (double)level[QUANTILE_MEDIAN];
    double least = forecast_least_spread(median);
    for (size_t q = 0; q < QUANTILE_COUNT; q++) {
        float nearest = (float)(median + 0.5 * least * level_scores[q]);
        if (q < QUANTILE_MEDIAN) {
            level[q] = fminf(level[q], nearest);
        } else if (q > QUANTILE_MEDIAN) {
            level[q] = fmaxf(level[q], nearest);
        }
    }
}

void forecast_finish(const struct model_series *series, double fallback, struct forecast *forecast)
{
    size_t horizon = forecast->horizon;
    fallback = isfinite(fallback) && fabs(fallback) < 3e38 ? fallback : 0.0;
    for (size_t step = 0; step < horizon; step++) {
        float level[QUANTILE_COUNT];
        for (size_t q = 0; q < QUANTILE_COUNT; q++) {
            float value = finite_or(forecast->quantiles[q * horizon + step], fallback);
            value = series->integer ? rintf(value) : value;
            size_t at = q;
            for (; at > 0 && level[at - 1] > value; at--) {
                level[at] = level[at - 1];
            }
            level[at] = value;
        }
        for (size_t q = 0; q < QUANTILE_COUNT; q++) {
            level[q] = bounded(series, level[q]); /* first, so that a band at a bound is one too */
        }
        if (!series->integer) {
            spread_least(level);
        }
        for (size_t q = 0; q < QUANTILE_COUNT; q++) {
            forecast->quantiles[q * horizon + step] = bounded(series, level[q]);
        }
        forecast->mean[step] = bounded(series, finite_or(forecast->mean[step], fallback));
    }
}

void forecast_widen(const struct model_series *series, double factor, struct forecast *forecast)
{
    size_t horizon = forecast->horizon;
    for (size_t step = 0; step < horizon; step++) {
        double median = (double)forecast->quantiles[QUANTILE_MEDIAN * horizon + step];
        for (size_t q = 0; q < QUANTILE_COUNT; q++) {
            float *value = &forecast->quantiles[q * horizon + step];
            *value = (float)(median + factor * ((double)*value - median));
        }
    }
    forecast_finish(series, 0.0, forecast);
}

double forecast_quantile(const struct forecast *forecast, size_t step, double level)
{
    CHECK(step < forecast->horizon);
    CHECK(level > 0.0 && level < 1.0);
    const float *row = forecast->quantiles + step;
    size_t stride = forecast->horizon;
    size_t last = QUANTILE_COUNT - 1;
    for (size_t q = 0; q < QUANTILE_COUNT; q++) {
        if (fabs(level - quantile_levels[q]) < 1e-12) {
            return (double)row[q * stride];
        }
    }
    double z = order_probit(level);
    if (level < quantile_levels[0] || level > quantile_levels[last]) {
        /* The tail of the normal distribution through the median and the outermost level. */
        size_t outer = level < 0.5 ? 0 : last;
        double median = (double)row[QUANTILE_MEDIAN * stride];
        double spread = (double)row[outer * stride] - median;
        return median + spread * z / order_probit(quantile_levels[outer]);
    }
    size_t above = 1;
    while (quantile_levels[above] < level) {
        above++;
    }
    /* Straight lines over the normal score: exact for a normal distribution, monotone for any. */
    double z_low = order_probit(quantile_levels[above - 1]);
    double z_high = order_probit(quantile_levels[above]);
    double low = (double)row[(above - 1) * stride];
    double high = (double)row[above * stride];
    return low + (high - low) * (z - z_low) / (z_high - z_low);
}

double forecast_score(const struct forecast *forecast, size_t step, double value, bool or_equal)
{
    CHECK(step < forecast->horizon);
    const float *row = forecast->quantiles + step;
    size_t stride = forecast->horizon, last = QUANTILE_COUNT - 1;
    size_t above = 0; /* first level whose quantile lies beyond */
    while (above <= last && (or_equal ? (double)row[above * stride] <= value
                                      : (double)row[above * stride] < value)) {
        above++;
    }
    if (above == 0 || above > last) {
        size_t outer = above == 0 ? 0 : last;
        double median = (double)row[QUANTILE_MEDIAN * stride];
        double spread = (double)row[outer * stride] - median;
        if (fabs(spread) < (double)FLT_MIN) {
            return above == 0 ? -HUGE_VAL : HUGE_VAL;
        }
        return order_probit(quantile_levels[outer]) * (value - median) / spread;
    }
    double z_low = order_probit(quantile_levels[above - 1]);
    double z_high = order_probit(quantile_levels[above]);
    double low = (double)row[(above - 1) * stride];
    double high = (double)row[above * stride];
    return z_low + (z_high - z_low) * (value - low) / (high - low);
}

double forecast_share(const struct forecast *forecast, size_t step, double value, bool or_equal)
{
    return order_normal(forecast_score(forecast, step, value, or_equal));
}

/* Integrals of the quantile function over its levels, one straight line over the normal score after
 * the other and the tails with them: with z the scores and phi their density, the line between two
 * levels brings (p2 - p1) q1 + (q2 - q1) (phi1 - phi2 - z1 (p2 - p1)) / (z2 - z1), so that the mean
 * is a sum of the levels with fixed weights. */
static const double mean_weights[QUANTILE_COUNT] = {
    0.060681064056, 0.090285397251, 0.102054903129, 0.100922027648, 0.100609208847, 0.090894798139,
    0.100609208847, 0.100922027648, 0.102054903129, 0.090285397251, 0.060681064056};

/* How far a tail reaches beyond a bound, on average: of a normal distribution whose outermost level
 * lies `outer` from the median, past `bound` from it. */
static double excess(double outer, double bound)
{
    double deviation = outer / order_probit(quantile_levels[QUANTILE_COUNT - 1]);
    double z = bound / deviation;
    if (!(deviation > 0.0) || !(z < EXCESS_SCORES)) {
        return 0.0;
    }
    return deviation * (exp(-0.5 * z * z) / sqrt(2.0 * M_PI) - z * order_normal(-z));
}

double forecast_mean(const struct forecast *forecast, size_t step, double minimum, double maximum)
{
    CHECK(step < forecast->horizon);
    const float *row = forecast->quantiles + step;
    size_t stride = forecast->horizon;
    double mean = 0.0, median = (double)row[QUANTILE_MEDIAN * stride];
    for (size_t q = 0; q < QUANTILE_COUNT; q++) {
        mean += mean_weights[q] * (double)row[q * stride];
    }
    mean += excess(median - (double)row[0], median - minimum);
    mean -= excess((double)row[(QUANTILE_COUNT - 1) * stride] - median, maximum - median);
    return fmin(fmax(mean, minimum), maximum);
}
