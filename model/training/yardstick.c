/* Yardsticks of a backtest: last value and seasonal naive, digit by digit those of the scoring
 * tool. SPDX-License-Identifier: Apache-2.0
 */
#include "model/training/yardstick.h"

#include "base/check.h"
#include "model/forecast.h"
#include "model/order.h"
#include "model/training/baseline.h"

#include <math.h>

#define SPREAD_SEASONS 200
#define FILE_DIGITS    10 /* that the scoring tool writes */

/* The value one season before, or a season earlier each time, where that was seen. */
static double naive_value(const double *values, size_t count, size_t season, size_t step)
{
    size_t ahead = step % season;
    size_t back = season - ahead;
    while (back <= count && isnan(values[count - back])) {
        back += season;
    }
    if (back > count) {
        return count > 0 ? forecast_last_seen(values, count) : 0.0;
    }
    return values[count - back];
}

static void naive_spread(const double *values, size_t count, size_t season, double *differences,
                         double spread[QUANTILE_COUNT])
{
    size_t from = count > SPREAD_SEASONS * season ? count - SPREAD_SEASONS * season : 0;
    size_t found = baseline_errors(values + from, count - from, season, 0.0, differences);
    order_quantiles(differences, found, quantile_levels, QUANTILE_COUNT, spread);
}

void yardstick_naive(const double *values, size_t count, size_t season, double *scratch,
                     struct scored_forecast *out)
{
    CHECK(season > 0);
    double spread[QUANTILE_COUNT];
    naive_spread(values, count, season, scratch, spread);
    for (size_t step = 0; step < out->horizon; step++) {
        double value = naive_value(values, count, season, step);
        out->mean[step] = scored_digits(value, FILE_DIGITS);
        for (size_t q = 0; q < QUANTILE_COUNT; q++) {
            out->quantiles[q * out->horizon + step] = scored_digits(value + spread[q], FILE_DIGITS);
        }
    }
}
