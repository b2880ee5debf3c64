/* Series that mostly have one value: counts that are mostly zero, an availability that is mostly
 * 100. SPDX-License-Identifier: Apache-2.0
 *
 * Around a smoothed level the errors of such a series lie close together and beside it: the band is
 * narrow, and the one value that nearly always comes is not in it. The values themselves are the
 * distribution, as long as they come in no order that matters: where another value is soon followed
 * by the usual one. What changes from one value to another and stays is no such series.
 */
#include "model/model.h"

#include "model/forecast.h"
#include "model/order.h"

#include <math.h>

#define NEWEST         512 /* values that are looked at */
#define OBSERVED_LEAST 24  /* and how many are the newest */
#define SHARE_LEAST    0.5 /* of the values that are the usual one, */
#define RETURNS_LEAST  0.5 /* and of that share: of the values behind another, and of the newest */

/* The value that comes most often, and how often; `sorted` is. */
static size_t usual_value(const double *sorted, size_t count, double *usual)
{
    size_t most = 0;
    for (size_t from = 0; from < count;) {
        size_t to = from + 1;
        while (to < count && sorted[to] - sorted[from] <= 0.0) {
            to++;
        }
        if (to - from > most) {
            most = to - from;
            *usual = sorted[from];
        }
        from = to;
    }
    return most;
}

/* Whether the usual value comes again: behind others, and among the newest values. */
static bool comes_again(const double *values, size_t count, double usual, double share)
{
    size_t others = 0, returns = 0, newest = 0, recent = 0;
    for (size_t i = count; i > 0; i--) {
        double value = values[i - 1];
        if (isnan(value)) {
            continue;
        }
        bool is_usual = fabs(value - usual) <= 0.0;
        recent += newest < OBSERVED_LEAST && is_usual;
        newest++;
        if (i > 1 && fabs(values[i - 2] - usual) > 0.0) {
            others++;
            returns += is_usual;
        }
    }
    double least = RETURNS_LEAST * share;
    return others > 0 && (double)returns >= least * (double)others &&
           (double)recent >= least * OBSERVED_LEAST;
}

bool one_value_forecast(const struct model_series *series, double *scratch, struct forecast *out)
{
    size_t count = series->count < NEWEST ? series->count : NEWEST;
    const double *values = series->values + series->count - count;
    size_t seen = 0;
    for (size_t i = 0; i < count; i++) {
        if (!isnan(values[i])) {
            scratch[seen] = values[i];
            seen++;
        }
    }
    if (seen < OBSERVED_LEAST) {
        return false;
    }
    order_sort(scratch, seen);
    double usual = 0.0;
    double share = (double)usual_value(scratch, seen, &usual) / (double)seen;
    if (share < SHARE_LEAST || !comes_again(values, count, usual, share)) {
        return false;
    }
    for (size_t step = 0; step < out->horizon; step++) {
        for (size_t q = 0; q < QUANTILE_COUNT; q++) {
            double level = order_quantile(scratch, seen, quantile_levels[q]);
            out->quantiles[q * out->horizon + step] = (float)level;
        }
        out->mean[step] = out->quantiles[QUANTILE_MEDIAN * out->horizon + step];
    }
    forecast_finish(series, usual, out);
    return true;
}
