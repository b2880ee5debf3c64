/* Baselines: last value and drift, with the spread of their own past errors; the door of all.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The spread grows with the horizon: errors are collected at 1, 2, 3, 4, 6, 8, 12 ... steps and
 * interpolated with the square root of the distance.
 */
#include "model/training/baseline.h"

#include "base/check.h"
#include "model/forecast.h"
#include "model/order.h"
#include "model/training/local_clock.h"

#include <math.h>

#define SPREAD_VALUES 2048 /* newest values that the errors of last value and drift come from */
#define NOISE_ODDS    0.5  /* of noise against a walk, before anything is seen */
#define SLOW_VALUES   2.0  /* of those seen: what drifts slowly looks like noise for long */
#define FEW_WIDEN     2.0  /* what few errors hide: about that of Student's distribution */

const char *baseline_name(enum baseline baseline)
{
    static const char *const names[BASELINE_COUNT] = {"last_value", "drift", "seasonal_naive",
                                                      "damped_trend", "seasonal_drift"};
    CHECK(baseline < BASELINE_COUNT);
    return names[baseline];
}

void baseline_spread(double *errors, size_t count, double spread[QUANTILE_COUNT])
{
    double wider = 1.0;
    if (count > 0 && count < BASELINE_FEW_ERRORS) {
        for (size_t i = 0; i < count; i++) {
            errors[count + i] = -errors[i];
        }
        wider += FEW_WIDEN / (double)count;
        count *= 2;
    }
    order_quantiles(errors, count, quantile_levels, QUANTILE_COUNT, spread);
    for (size_t q = 0; q < QUANTILE_COUNT; q++) {
        spread[q] *= wider;
    }
}

void baseline_write(struct forecast *out, size_t step, double mean,
                    const double spread[QUANTILE_COUNT], double factor)
{
    out->mean[step] = (float)mean;
    for (size_t q = 0; q < QUANTILE_COUNT; q++) {
        out->quantiles[q * out->horizon + step] = (float)(mean + factor * spread[q]);
    }
}

double baseline_walk_share(const double *values, size_t count)
{
    double sum = 0.0, square = 0.0, seen = 0.0, steps = 0.0, pairs = 0.0, first = (double)NAN;
    for (size_t i = 0; i < count; i++) {
        if (isnan(values[i])) {
            continue;
        }
        first = isnan(first) ? values[i] : first; /* a large level would drown the squares */
        sum += values[i] - first;
        square += (values[i] - first) * (values[i] - first);
        seen += 1.0;
        if (i > 0 && !isnan(values[i - 1])) {
            double step = values[i] - values[i - 1];
            steps += step * step;
            pairs += 1.0;
        }
    }
    double off = square - sum * sum / seen;
    if (seen < 3.0 || pairs < 1.0 || !(steps > 0.0) || !(off > 0.0)) {
        return 1.0;
    }
    double free = seen - 1.0;
    double ratio = steps / pairs * free / off; /* 2 of noise, less than 1 of a walk */
    double odds = NOISE_ODDS * exp(0.5 * free * log(ratio)) / sqrt(seen);
    return fmax(1.0 / (1.0 + odds), SLOW_VALUES / seen);
}

size_t baseline_errors(const double *y, size_t n, size_t lag, double slope, double *errors)
{
    size_t found = 0;
    for (size_t i = lag; i < n; i++) {
        double error = y[i] - y[i - lag] - slope * (double)lag;
        if (!isnan(error)) {
            errors[found] = error;
            found++;
        }
    }
    return found;
}

/* A straight line through the first and the last value that were observed, `span` steps apart, and
 * the share of its slope that is believed. */
struct line {
    double slope, sure;
    size_t span;
};

/* Last value (slope 0) or drift: a walk whose slope is known as well as its span is long, so that
 * the variance at a lag is that of lag (1 + lag / span) steps (Hyndman and Athanasopoulos 2021,
 * section 5.5). */
static void walk(const struct model_series *series, const struct line *line, double *scratch,
                 struct forecast *out)
{
    size_t n = series->count;
    const double *y = series->values;
    size_t used = n < SPREAD_VALUES ? n : SPREAD_VALUES;
    y += n - used;
    double slope = line->slope;
    size_t offset = 0; /* how far before the end the last value was seen */
    while (offset + 1 < n && isnan(series->values[n - 1 - offset])) {
        offset++;
    }
    double last = forecast_last_seen(series->values, n);
    double walks = baseline_walk_share(y, used);
    /* A slope that is not believed may be there all the same, unless all of it was noise. */
    double tilts = line->sure + (1.0 - line->sure) * walks;
    double spread[QUANTILE_COUNT] = {0};
    size_t lag_done = 0;
    size_t lag_next = 1;
    for (size_t step = 0; step < out->horizon; step++) {
        size_t lag = step + 1 + offset;
        while ((lag >= lag_next || lag_done == 0) && lag_next < used) {
            size_t found = baseline_errors(y, used, lag_next, slope, scratch);
            if (found > 0 && found < BASELINE_FEW_ERRORS) {
                scratch[found] = slope * (double)lag_next; /* the slope itself is a guess */
                found++;
            }
            if (found >= 8 || (found > 0 && lag_done == 0)) {
                baseline_spread(scratch, found, spread);
                lag_done = lag_next;
            }
            lag_next += lag_next < 4 ? 1 : lag_next / 3 + lag_next % 2;
        }
        double factor = 1.0;
        if (lag_done > 0) {
            factor = sqrt(1.0 + walks * ((double)lag / (double)lag_done - 1.0));
        }
        if (line->span > 0) {
            factor *= sqrt(1.0 + tilts * (double)lag / (double)line->span);
        }
        baseline_write(out, step, last + slope * (double)lag, spread, factor);
    }
}

/* The share of a slope that is left where few steps speak for it: 1 - variance / slope^2, as James
 * and Stein shrink a mean, with the variance of a walk's steps. A line keeps its slope, noise none.
 */
static double sure_share(const double *values, size_t count, const struct line *line)
{
    double squares = 0.0, pairs = 0.0;
    for (size_t i = 1; i < count; i++) {
        double error = values[i] - values[i - 1] - line->slope;
        squares += isnan(error) ? 0.0 : error * error;
        pairs += isnan(error) ? 0.0 : 1.0;
    }
    if (pairs < 2.0 || pairs >= BASELINE_FEW_ERRORS) {
        return 1.0;
    }
    double variance = squares / (pairs - 1.0) / (double)line->span;
    return fmax(0.0, 1.0 - variance / (line->slope * line->slope));
}

static struct line drift_line(const double *values, size_t count)
{
    size_t first = 0;
    while (first < count && isnan(values[first])) {
        first++;
    }
    size_t last = count;
    while (last > first && isnan(values[last - 1])) {
        last--;
    }
    struct line line = {0.0, 1.0, 0};
    if (last > first + 1 && values[last - 1] != values[first]) {
        line.span = last - 1 - first;
        line.slope = (values[last - 1] - values[first]) / (double)line.span;
        line.sure = sure_share(values, count, &line);
        line.slope *= line.sure;
    }
    return line;
}

/* Two observed values: without them there is no error to learn a spread from. A drift through two
 * is nothing but their noise, so it needs three. */
static bool enough(const struct model_series *series, enum baseline baseline)
{
    size_t seen = 0, least = baseline == BASELINE_DRIFT ? 3 : 2;
    for (size_t i = series->count; i > 0 && seen < least; i--) {
        seen += isnan(series->values[i - 1]) ? 0 : 1;
    }
    return seen == least;
}

/* Around a level it says little of a series that mostly has one value. Where there is a season,
 * that may say when the others come. */
static bool damped_trend(const struct model_series *series, double *scratch, struct forecast *out)
{
    if (!smoothing_forecast(series, scratch, out)) {
        return false;
    }
    if (series->seasons[0] == 0) {
        (void)one_value_forecast(series, scratch, out);
    }
    return true;
}

static bool forecast_by_steps(enum baseline baseline, const struct model_series *series,
                              double *scratch, struct forecast *out)
{
    struct line line = {0.0, 1.0, 0};
    switch (baseline) {
    case BASELINE_LAST_VALUE:
        walk(series, &line, scratch, out);
        return true;
    case BASELINE_DRIFT:
        line = drift_line(series->values, series->count);
        walk(series, &line, scratch, out);
        return true;
    case BASELINE_SEASONAL_NAIVE:
        return seasonal_naive_forecast(series, scratch, out);
    case BASELINE_DAMPED_TREND:
        return damped_trend(series, scratch, out);
    case BASELINE_SEASONAL_DRIFT:
        return seasonal_drift_forecast(series, scratch, out);
    case BASELINE_COUNT:
        break;
    }
    return false;
}

/* What repeats does so by the local clock, where the series has one that was changed. */
static bool forecast_by_clock(enum baseline baseline, const struct model_series *series,
                              double *scratch, struct forecast *out)
{
    struct local_clock clock;
    bool repeats = baseline != BASELINE_LAST_VALUE && baseline != BASELINE_DRIFT;
    if (!repeats || !local_clock_begin(series, out->horizon, &clock)) {
        return forecast_by_steps(baseline, series, scratch, out);
    }
    bool made = forecast_by_steps(baseline, &clock.series, scratch, &clock.forecast);
    local_clock_end(&clock, made ? out : NULL);
    return made;
}

bool baseline_forecast(enum baseline baseline, const struct model_series *series, double *scratch,
                       struct forecast *out)
{
    if (!enough(series, baseline) || !forecast_by_clock(baseline, series, scratch, out)) {
        return false;
    }
    forecast_finish(series, forecast_last_seen(series->values, series->count), out);
    return true;
}
