/* Outages: whether too little of the newest values is there, nights and weekends left out.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Of the newest VALUES more than half are missing, RUN of them in a row: that is an outage; single
 * holes are none.
 *
 * But a series of working hours lacks two values in three, always the same ones: a model was
 * trained and judged on such contexts, and bands are calibrated on them. What tells an outage is
 * that values are missing where a season earlier there were some. That season is looked for before
 * the run of missing values began, so an outage of days is held against the days before it and does
 * not excuse itself. What was missing then, too, is as if it were no cell at all; where too few of
 * the newest are left older ones count. Of the seasons of the series, the day and the week the one
 * counts that explains most. A first weekend is not known by anything.
 *
 * Rejected: the share of missing values over all of the history. It says how many there are on
 * average, and every night and weekend is worse than that.
 */
#include "model/model.h"

#include <math.h>

#define DAY_MS INT64_C(86400000)
#define VALUES 96
#define LEAST  48 /* of them that count: else older ones do, too */
#define RUN    24

/* One walk from the newest value back. */
struct walk {
    const double *values;
    size_t first; /* the oldest one that is there */
    size_t begin; /* of the run of missing ones that it is in */
    size_t lag;   /* a season; 0: nothing is usual */
};

static size_t begin_of_run(const double *values, size_t at)
{
    while (at > 0 && isnan(values[at - 1])) {
        at--;
    }
    return at;
}

/* Whether the missing value was missing a season ago as well. */
static bool is_usual(const struct walk *walk, size_t at)
{
    if (walk->lag == 0) {
        return false;
    }
    size_t away = ((at - walk->begin) / walk->lag + 1) * walk->lag;
    return away <= at && at - away >= walk->first && isnan(walk->values[at - away]);
}

struct found {
    bool outage;
    double missing; /* share of the newest values */
};

static struct found look_back(const struct model_series *series, size_t first, size_t lag)
{
    struct walk walk = {.values = series->values, .first = first, .lag = lag};
    size_t seen = 0, missing = 0, run = 0, longest = 0;
    for (size_t at = series->count; at > 0 && (series->count - at < VALUES || seen < LEAST);) {
        at--;
        if (!isnan(walk.values[at])) {
            run = 0;
            seen++;
            continue;
        }
        if (at + 1 == series->count || !isnan(walk.values[at + 1])) {
            walk.begin = begin_of_run(walk.values, at);
        }
        if (!is_usual(&walk, at)) {
            run++;
            missing++;
            seen++;
            longest = run > longest ? run : longest;
        }
    }
    return (struct found){
        .outage = series->count >= VALUES && 2 * missing > seen && longest >= RUN,
        .missing = seen > 0 ? (double)missing / (double)seen : 0.0,
    };
}

bool outage_find(const struct model_series *series, double *missing)
{
    size_t lags[SEASONS_MAX + 2], first = 0;
    while (first < series->count && isnan(series->values[first])) {
        first++;
    }
    for (size_t i = 0; i < SEASONS_MAX; i++) {
        lags[i] = series->seasons[i];
    }
    lags[SEASONS_MAX] = (size_t)(DAY_MS / series->step_ms);
    lags[SEASONS_MAX + 1] = (size_t)(7 * DAY_MS / series->step_ms);
    struct found found = look_back(series, first, 0);
    for (size_t i = 0; i < SEASONS_MAX + 2; i++) {
        if (found.missing > 0.0 && lags[i] > 1 && lags[i] < series->count) {
            struct found other = look_back(series, first, lags[i]);
            found = other.missing < found.missing ? other : found;
        }
    }
    *missing = found.missing;
    return found.outage;
}
