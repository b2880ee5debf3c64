/* Accuracy figures: M4's errors, DeepAR's rho-risk, the M4 interval score.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "model/training/metrics.h"

#include "base/check.h"
#include "model/forecast.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define INTERVAL_PENALTY 40.0 /* 2 / 0.05 */

double scored_digits(double value, int digits)
{
    char text[40];
    snprintf(text, sizeof(text), "%.*g", digits, value);
    return strtod(text, NULL);
}

void scored_from(const struct forecast *forecast, struct scored_forecast *out)
{
    CHECK(forecast->horizon == out->horizon);
    for (size_t step = 0; step < out->horizon; step++) {
        out->mean[step] = scored_digits((double)forecast->mean[step], BACKTEST_DIGITS);
    }
    for (size_t i = 0; i < QUANTILE_COUNT * out->horizon; i++) {
        out->quantiles[i] = scored_digits((double)forecast->quantiles[i], BACKTEST_DIGITS);
    }
}

double metrics_scale(const double *values, size_t count, size_t season)
{
    double sum = 0.0;
    size_t pairs = 0;
    for (size_t i = season; i < count; i++) {
        double difference = fabs(values[i] - values[i - season]);
        if (!isnan(difference)) {
            sum += difference;
            pairs++;
        }
    }
    return pairs > 0 ? sum / (double)pairs : (double)NAN;
}

static double smape_point(double actual, double forecast)
{
    double size = fabs(actual) + fabs(forecast);
    return size > 0.0 ? 200.0 * fabs(actual - forecast) / size : 0.0;
}

static double pinball(double level, double actual, double quantile)
{
    return actual >= quantile ? level * (actual - quantile) : (1.0 - level) * (quantile - actual);
}

/* What one forecast adds before it is divided by its number of observed steps. */
struct row {
    double smape, absolute_error, interval;
    size_t points;
};

static void add_quantiles(struct metrics_sum *sum, double actual,
                          const struct scored_forecast *forecast, size_t step, struct row *row)
{
    double q[QUANTILE_COUNT];
    size_t part = step * METRICS_PARTS / forecast->horizon;
    bool crossing = false;
    for (size_t i = 0; i < QUANTILE_COUNT; i++) {
        q[i] = forecast->quantiles[i * forecast->horizon + step];
        sum->pinball[i] += pinball(quantile_levels[i], actual, q[i]);
        crossing = crossing || (i > 0 && q[i - 1] > q[i]);
    }
    double low = q[QUANTILE_FIRST_DECILE];
    double high = q[QUANTILE_LAST_DECILE];
    bool inside = low <= actual && actual <= high;
    sum->inside80 += inside ? 1 : 0;
    sum->inside80_part[part] += inside ? 1 : 0;
    sum->width += high - low;
    sum->crossings += crossing ? 1 : 0;
    low = q[0];
    high = q[QUANTILE_COUNT - 1];
    inside = low <= actual && actual <= high;
    sum->inside95 += inside ? 1 : 0;
    sum->inside95_part[part] += inside ? 1 : 0;
    sum->points_part[part]++;
    row->interval += high - low + INTERVAL_PENALTY * fmax(0.0, low - actual) +
                     INTERVAL_PENALTY * fmax(0.0, actual - high);
}

static void add_point(struct metrics_sum *sum, double actual, double forecast, struct row *row)
{
    row->points++;
    sum->points++;
    sum->absolute += fabs(actual);
    sum->absolute_error += fabs(actual - forecast);
    row->absolute_error += fabs(actual - forecast);
    row->smape += smape_point(actual, forecast);
}

static void add_row(struct metrics_sum *sum, const struct row *row, double scale)
{
    if (row->points == 0) {
        return;
    }
    double points = (double)row->points;
    sum->rows++;
    sum->smape += row->smape / points;
    if (scale > 0.0) {
        sum->rows_with_scale++;
        sum->mase += row->absolute_error / points / scale;
        sum->msis += row->interval / points / scale;
    } else {
        sum->without_scale++;
    }
}

void metrics_add(struct metrics_sum *sum, const double *actual,
                 const struct scored_forecast *forecast, double scale)
{
    struct row row = {0};
    for (size_t step = 0; step < forecast->horizon; step++) {
        if (isnan(actual[step])) {
            sum->missing++;
            continue;
        }
        add_point(sum, actual[step], forecast->mean[step], &row);
        add_quantiles(sum, actual[step], forecast, step, &row);
    }
    add_row(sum, &row, scale);
}

void metrics_add_points(struct metrics_sum *sum, const double *actual, const double *forecast,
                        size_t horizon, double scale)
{
    struct row row = {0};
    for (size_t step = 0; step < horizon; step++) {
        if (isnan(actual[step])) {
            sum->missing++;
            continue;
        }
        add_point(sum, actual[step], forecast[step], &row);
    }
    add_row(sum, &row, scale);
}

void metrics_finish(const struct metrics_sum *sum, struct metrics *out)
{
    double rows = (double)sum->rows;
    double scaled = (double)sum->rows_with_scale;
    double points = (double)sum->points;
    *out = (struct metrics){.series = sum->rows,
                            .points = sum->points,
                            .missing_actuals = sum->missing,
                            .series_without_scale = sum->without_scale,
                            .smape = sum->smape / rows,
                            .mase = sum->mase / scaled,
                            .msis95 = sum->msis / scaled,
                            .nd = sum->absolute_error / sum->absolute,
                            .absolute = sum->absolute,
                            .cover80 = (double)sum->inside80 / points,
                            .cover95 = (double)sum->inside95 / points,
                            .width80 = sum->width / sum->absolute,
                            .quantile_crossings = (double)sum->crossings / points,
                            .owa = (double)NAN,
                            .naive2_smape = (double)NAN,
                            .naive2_mase = (double)NAN};
    for (size_t part = 0; part < METRICS_PARTS; part++) {
        double seen = (double)sum->points_part[part];
        out->cover80_part[part] = (double)sum->inside80_part[part] / seen;
        out->cover95_part[part] = (double)sum->inside95_part[part] / seen;
    }
    double total = 0.0;
    for (size_t i = 0; i < 9; i++) {
        out->rho[i] = 2.0 * sum->pinball[i + QUANTILE_FIRST_DECILE] / sum->absolute;
        total += out->rho[i];
    }
    out->wql = total / 9.0;
    out->rho_low = 2.0 * sum->pinball[0] / sum->absolute;
    out->rho_high = 2.0 * sum->pinball[QUANTILE_COUNT - 1] / sum->absolute;
}

void metrics_owa(const struct metrics_sum *naive2, struct metrics *out)
{
    struct metrics other;
    metrics_finish(naive2, &other);
    out->naive2_smape = other.smape;
    out->naive2_mase = other.mase;
    out->owa = (out->smape / other.smape + out->mase / other.mase) / 2.0;
}

double metrics_quantile_loss(const double *actual, const struct forecast *forecast,
                             double *absolute, uint64_t *points)
{
    double sum = 0.0;
    for (size_t step = 0; step < forecast->horizon; step++) {
        if (isnan(actual[step])) {
            continue;
        }
        for (size_t i = QUANTILE_FIRST_DECILE; i <= QUANTILE_LAST_DECILE; i++) {
            double quantile = (double)forecast->quantiles[i * forecast->horizon + step];
            sum += pinball(quantile_levels[i], actual[step], quantile);
        }
        *absolute += fabs(actual[step]);
        *points += 1;
    }
    return 2.0 * sum / 9.0;
}

/* ---------------------------------------------------------------- Naive2 */

/* |acf(m)| against 1.645 sqrt((1 + 2 sum_(k < m) acf(k)^2) / n): the organisers' test. */
static bool seasonal_test(const double *y, size_t n, size_t m)
{
    if (m < 2 || n < 3 * m) {
        return false;
    }
    double mean = 0.0;
    for (size_t i = 0; i < n; i++) {
        mean += y[i];
    }
    mean /= (double)n;
    double variance = 0.0;
    for (size_t i = 0; i < n; i++) {
        variance += (y[i] - mean) * (y[i] - mean);
    }
    if (!(variance > 0.0)) {
        return false;
    }
    double squares = 0.0;
    double at_season = 0.0;
    for (size_t lag = 1; lag <= m; lag++) {
        double sum = 0.0;
        for (size_t i = 0; i + lag < n; i++) {
            sum += (y[i] - mean) * (y[i + lag] - mean);
        }
        at_season = sum / variance;
        squares += lag < m ? at_season * at_season : 0.0;
    }
    return fabs(at_season) > 1.645 / sqrt((double)n) * sqrt(1.0 + 2.0 * squares);
}

/* Factors of classical multiplicative decomposition (R's decompose); `ratio` has n doubles. */
static void seasonal_factors(const double *y, size_t n, size_t m, double *ratio, double *factors)
{
    size_t half = m / 2;
    for (size_t i = 0; i < n; i++) {
        ratio[i] = (double)NAN;
        if (i < half || i + half >= n) {
            continue;
        }
        double sum = 0.0;
        for (size_t j = i - half + (m % 2 == 0 ? 1 : 0); j < i + half + m % 2; j++) {
            sum += y[j];
        }
        double trend = m % 2 == 0 ? (0.5 * y[i - half] + sum + 0.5 * y[i + half]) / (double)m
                                  : sum / (double)m;
        ratio[i] = fabs(trend) > 0.0 ? y[i] / trend : (double)NAN;
    }
    double total = 0.0;
    for (size_t phase = 0; phase < m; phase++) {
        double sum = 0.0;
        size_t seen = 0;
        for (size_t i = phase; i < n; i += m) {
            if (!isnan(ratio[i])) {
                sum += ratio[i];
                seen++;
            }
        }
        factors[phase] = seen > 0 ? sum / (double)seen : 1.0;
        total += factors[phase];
    }
    for (size_t phase = 0; phase < m; phase++) {
        factors[phase] /= total / (double)m;
    }
}

bool metrics_naive2(const double *history, size_t count, size_t season, double *scratch,
                    double *forecast, size_t horizon)
{
    double *y = scratch;
    size_t n = 0;
    for (size_t i = 0; i < count; i++) {
        if (!isnan(history[i])) {
            y[n] = history[i];
            n++;
        }
    }
    if (n == 0) {
        return false;
    }
    bool seasonal = seasonal_test(y, n, season);
    double *factors = scratch + 2 * count;
    double last = y[n - 1];
    if (seasonal) {
        seasonal_factors(y, n, season, scratch + count, factors);
        last /= factors[(n - 1) % season];
    }
    for (size_t step = 0; step < horizon; step++) {
        forecast[step] = seasonal ? last * factors[(n + step) % season] : last;
    }
    return true;
}
