/* Seasonal naive: the same moment of the newest season, with the spread of seasonal differences.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The differences are those of the last 200 seasons. So far the published comparisons measure it,
 * whose seasonal naive is yardstick.c; here what is k seasons ahead has the spread of the
 * differences over k seasons, or bands of whatever trends or walks would hold less by each day.
 */
#include "model/training/baseline.h"

#include "model/forecast.h"
#include "model/order.h"

#include <math.h>

#define SPREAD_SEASONS 200
#define SPREAD_LEAST   8  /* seasonal differences that say something by themselves */
#define SEASONS_EACH   8  /* up to here differences over each number of seasons are looked at, */
#define SEASON_SPREADS 26 /* numbers of them: up to more than a thousand */

/* Mean absolute difference at `lag`; INFINITY where there is no pair. */
static double mean_difference(const double *values, size_t count, size_t lag)
{
    double sum = 0.0;
    size_t pairs = 0;
    for (size_t i = lag; i < count; i++) {
        double difference = fabs(values[i] - values[i - lag]);
        if (!isnan(difference)) {
            sum += difference;
            pairs++;
        }
    }
    return pairs > 0 ? sum / (double)pairs : HUGE_VAL;
}

size_t baseline_season(const struct model_series *series)
{
    size_t best = 0;
    double smallest = HUGE_VAL;
    for (size_t i = 0; i < SEASONS_MAX; i++) {
        size_t season = series->seasons[i];
        if (season == 0 || season > series->count) {
            continue;
        }
        double difference = mean_difference(series->values, series->count, season);
        if (best == 0 || difference < smallest) {
            best = season;
            smallest = difference;
        }
    }
    return best;
}

/* Where no cycle has a value at a place, but has some beside it, the line between these: so it is
 * after a step became shorter. `at` is in the newest cycle; NaN where neighbours are further away
 * than an eighth of the season, as nights are that nobody measures. */
static double between_values(const double *y, size_t n, size_t at, size_t season)
{
    size_t reach = season / 8 < at ? season / 8 : at, before = 1, after = 1;
    while (before <= reach && isnan(y[at - before])) {
        before++;
    }
    while (after <= season / 8 && at + after < n && isnan(y[at + after])) {
        after++;
    }
    if (before > reach || after > season / 8 || at + after >= n) {
        return (double)NAN;
    }
    double share = (double)before / (double)(before + after);
    return y[at - before] + share * (y[at + after] - y[at - before]);
}

/* Spreads of the differences over so many seasons, for as many as there are enough pairs of. */
struct season_spreads {
    size_t count;
    size_t seasons[SEASON_SPREADS]; /* ascending */
    double at[SEASON_SPREADS][QUANTILE_COUNT];
};

/* Differences over `lag` in the newest SPREAD_SEASONS seasons. */
static size_t season_errors(const struct model_series *series, size_t season, size_t lag,
                            double *errors)
{
    size_t n = series->count;
    size_t from = n > SPREAD_SEASONS * season ? n - SPREAD_SEASONS * season : 0;
    return baseline_errors(series->values + from, n - from, lag, 0.0, errors);
}

/* For what is up to `most` seasons ahead: each of the first ones, as a week is seven days, then
 * wider apart. Over one season any pair will do, over more every phase has to have one. */
static void find_season_spreads(const struct model_series *series, size_t season, size_t most,
                                double *scratch, struct season_spreads *spreads)
{
    spreads->count = 0;
    for (size_t k = 1; spreads->count < SEASON_SPREADS; k += k < SEASONS_EACH ? 1 : k / 3) {
        size_t found = season_errors(series, season, k * season, scratch);
        if (found == 0 || (k > 1 && (found < SPREAD_LEAST || found < season))) {
            return;
        }
        double *spread = spreads->at[spreads->count];
        if (found < SPREAD_LEAST) {
            baseline_spread(scratch, found, spread);
        } else {
            order_quantiles(scratch, found, quantile_levels, QUANTILE_COUNT, spread);
        }
        spreads->seasons[spreads->count] = k;
        spreads->count++;
        if (k >= most) {
            return;
        }
    }
}

/* That of `k` seasons: between two by a straight line, beyond the last as that of a walk. */
static void spread_of_seasons(const struct season_spreads *spreads, size_t k,
                              double spread[QUANTILE_COUNT])
{
    size_t high = 0;
    while (high + 1 < spreads->count && spreads->seasons[high] < k) {
        high++;
    }
    double factor = 1.0, share = 1.0;
    size_t low = high > 0 ? high - 1 : 0;
    double end = (double)spreads->seasons[high];
    if ((double)k > end) {
        factor = sqrt((double)k / end);
    } else if (high > 0) {
        double begin = (double)spreads->seasons[low];
        share = ((double)k - begin) / (end - begin);
    }
    for (size_t q = 0; q < QUANTILE_COUNT; q++) {
        double difference = spreads->at[high][q] - spreads->at[low][q];
        spread[q] = factor * (spreads->at[low][q] + share * difference);
    }
}

/* What a step repeats: the newest value of its phase, `seasons` before it; where no cycle has one,
 * what the newest cycle has beside it. NaN where there is none either. */
static double season_value(const struct model_series *series, size_t season, size_t step,
                           size_t *seasons)
{
    const double *y = series->values;
    size_t n = series->count, newest = n - season + step % season, at = newest;
    while (isnan(y[at]) && at >= season) {
        at -= season;
    }
    bool seen = !isnan(y[at]);
    *seasons = (n + step - (seen ? at : newest)) / season;
    return seen ? y[at] : between_values(y, n, newest, season);
}

bool seasonal_naive_forecast(const struct model_series *series, double *scratch,
                             struct forecast *out)
{
    size_t season = baseline_season(series);
    if (season == 0) {
        return false;
    }
    size_t most = 1, ahead = 0, known = 0;
    for (size_t step = 0; step < out->horizon; step++) {
        (void)season_value(series, season, step, &ahead);
        most = ahead > most ? ahead : most;
    }
    struct season_spreads spreads;
    find_season_spreads(series, season, most, scratch, &spreads);
    if (spreads.count == 0) {
        return false; /* a season that was set, and has just come once */
    }
    double last = forecast_last_seen(series->values, series->count);
    double spread[QUANTILE_COUNT];
    for (size_t step = 0; step < out->horizon; step++) {
        double value = season_value(series, season, step, &ahead);
        if (ahead != known) {
            spread_of_seasons(&spreads, ahead, spread);
            known = ahead;
        }
        baseline_write(out, step, isnan(value) ? last : value, spread, 1.0);
    }
    return true;
}
