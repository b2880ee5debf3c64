/* Series that mostly have one value: counts that are mostly zero, an availability that is mostly
 * 100. SPDX-License-Identifier: Apache-2.0
 *
 * Around a smoothed level the errors of such a series lie close together and beside it: the band is
 * narrow, and the one value that nearly always comes is not in it. The values themselves are the
 * distribution, as long as they come in no order that matters: where another value is soon followed
 * by the usual one. What changes from one value to another and stays is no such series. Where the
 * others began to come far more or less often, only the values since then are looked at: all of
 * them would say four times what comes since, for a long time.
 */
#include "model/training/baseline.h"

#include "model/forecast.h"
#include "model/order.h"

#include <math.h>

#define NEWEST         512 /* values that are looked at */
#define OBSERVED_LEAST 24  /* and how many are the newest */
#define SHARE_LEAST    0.5 /* of the values that are the usual one, */
#define RETURNS_LEAST  0.5 /* and of that share: of the values behind another, and of the newest */
#define PART_LEAST     48  /* values on either side of a change of how often others come */
#define OTHERS_LEAST   8   /* fewer do not say how often they come */
#define STRETCH        24  /* values whose others are counted: they may come in clusters */
#define ERRORS_CHANGED 3.0 /* standard errors that are a change */

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

/* How many times the variance of independent ones the number of others has in a stretch, by the
 * differences of neighbours, which one change for good says little in; at least 1. */
static double clustering(const double *values, size_t count, double usual, double share)
{
    double square = 0.0, pairs = 0.0, others = 0.0, before = -1.0;
    size_t seen = 0;
    for (size_t i = count; i > 0; i--) {
        if (isnan(values[i - 1])) {
            continue;
        }
        seen++;
        others += fabs(values[i - 1] - usual) > 0.0 ? 1.0 : 0.0;
        if (seen == STRETCH) {
            square += before >= 0.0 ? (others - before) * (others - before) : 0.0;
            pairs += before >= 0.0 ? 1.0 : 0.0;
            before = others;
            others = 0.0;
            seen = 0;
        }
    }
    double alone = 2.0 * STRETCH * share * (1.0 - share);
    return pairs > 0.0 ? fmax(1.0, square / pairs / alone) : 1.0;
}

/* How many of the newest values there are since others than the usual one last came more or less
 * often by far: all of them where that has not changed. `others` of the `seen` are such. */
static size_t unchanged(const double *values, size_t count, double usual, size_t seen,
                        size_t others)
{
    if (others < OTHERS_LEAST) {
        return count;
    }
    double share = (double)others / (double)seen;
    double variance = share * (1.0 - share) * clustering(values, count, usual, share);
    double most = ERRORS_CHANGED;
    size_t best = count, newest = 0, newest_others = 0, next = PART_LEAST;
    for (size_t i = count; i > 0 && next + PART_LEAST <= seen; i--) {
        if (isnan(values[i - 1])) {
            continue;
        }
        newest++;
        newest_others += fabs(values[i - 1] - usual) > 0.0;
        if (newest == next) {
            double n = (double)newest, before = (double)(seen - newest);
            double change = (double)newest_others / n - (double)(others - newest_others) / before;
            double errors = fabs(change) / sqrt(variance * (1.0 / n + 1.0 / before));
            if (errors > most) {
                most = errors;
                best = count - i + 1;
            }
            next += next / 2;
        }
    }
    return best;
}

/* Sorts the observed ones of values[0 .. count); returns how many. */
static size_t sort_observed(const double *values, size_t count, double *sorted)
{
    size_t seen = 0;
    for (size_t i = 0; i < count; i++) {
        if (!isnan(values[i])) {
            sorted[seen] = values[i];
            seen++;
        }
    }
    order_sort(sorted, seen);
    return seen;
}

bool one_value_forecast(const struct model_series *series, double *scratch, struct forecast *out)
{
    size_t count = series->count < NEWEST ? series->count : NEWEST;
    const double *values = series->values + series->count - count;
    size_t seen = sort_observed(values, count, scratch);
    if (seen < OBSERVED_LEAST) {
        return false;
    }
    double usual = 0.0;
    size_t often = usual_value(scratch, seen, &usual);
    double share = (double)often / (double)seen;
    if (share < SHARE_LEAST || !comes_again(values, count, usual, share)) {
        return false;
    }
    size_t newest = unchanged(values, count, usual, seen, seen - often);
    seen = newest < count ? sort_observed(values + count - newest, newest, scratch) : seen;
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
