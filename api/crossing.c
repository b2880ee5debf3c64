/* First crossing of a threshold, from the quantiles of a forecast.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Paths that drew their level at the same step are a cohort. Those of a cohort that have not
 * crossed are the ones whose level was safe in every step since, so a cohort is two numbers: how
 * many paths it began with, and the smallest safe share since. Cohorts with the same smallest share
 * are one.
 */
#include "api/crossing.h"

#include <math.h>

#define COHORTS_MAX     64
#define CHANGES_MIN     16          /* that are worth a deviation */
#define BAND_DEVIATIONS 2.563103131 /* in the 80 % band of a normal distribution */
#define VALUES_USED     1024        /* newest ones that roughness is estimated from */

/* ---------------------------------------------------------------- paths */

struct cohort {
    double weight; /* paths that drew their level then and have kept it, crossed or not */
    double safe;   /* share of the levels that has not crossed since; grows from cohort to cohort */
};

struct paths {
    struct cohort cohorts[COHORTS_MAX];
    size_t count;
    double survived; /* share of all paths that has not crossed */
};

/* The two oldest become one of the same survivors. */
static void merge_oldest(struct paths *paths)
{
    struct cohort *first = &paths->cohorts[0], *second = &paths->cohorts[1];
    double weight = first->weight + second->weight;
    if (weight > 0.0) {
        second->safe = (first->weight * first->safe + second->weight * second->safe) / weight;
    }
    second->weight = weight;
    paths->count--;
    for (size_t i = 0; i < paths->count; i++) {
        paths->cohorts[i] = paths->cohorts[i + 1];
    }
}

/* One step: some paths keep their level, the others draw, and `safe` of the levels do not cross. */
static void paths_step(struct paths *paths, double keep, double safe)
{
    double drawing = (1.0 - keep) * paths->survived;
    for (size_t i = 0; i < paths->count; i++) {
        paths->cohorts[i].weight *= keep;
    }
    if (paths->count == COHORTS_MAX) {
        merge_oldest(paths);
    }
    while (paths->count > 0 && paths->cohorts[paths->count - 1].safe >= safe) {
        drawing += paths->cohorts[--paths->count].weight;
    }
    paths->cohorts[paths->count++] = (struct cohort){drawing, safe};
    paths->survived = 0.0;
    for (size_t i = 0; i < paths->count; i++) {
        paths->survived += paths->cohorts[i].weight * paths->cohorts[i].safe;
    }
}

/* ---------------------------------------------------------------- one forecast */

static bool is_beyond(const struct crossing_order *order, double value)
{
    return order->above ? value > order->threshold : value < order->threshold;
}

static double deviation_of(const struct forecast *forecast, size_t step)
{
    double width = forecast_quantile(forecast, step, 0.9) - forecast_quantile(forecast, step, 0.1);
    return width / BAND_DEVIATIONS;
}

/* The law of cosines, for deviations as lengths. */
static double correlation_of(double before, double after, double roughness)
{
    double product = 2.0 * before * after;
    if (!(product > 0.0)) {
        return roughness > 0.0 ? 0.0 : 1.0;
    }
    double cosine = (before * before + after * after - roughness * roughness) / product;
    return fmin(fmax(cosine, 0.0), 1.0);
}

/* The probability that a step is not beyond the threshold. */
static double safe_share(const struct forecast *forecast, const struct crossing_order *order,
                         size_t step)
{
    double share = forecast_share(forecast, step, order->threshold, order->above);
    return order->above ? share : 1.0 - share;
}

/* Notes the times of the levels that the probability passed in the step that ends at `step`. */
static void note_times(struct crossing *out, double before, double after, size_t step,
                       double step_s)
{
    double *const times[] = {&out->p10_s, &out->p50_s, &out->p90_s};
    static const double levels[] = {0.1, 0.5, 0.9};
    for (size_t i = 0; i < sizeof(levels) / sizeof(levels[0]); i++) {
        if (isnan(*times[i]) && after >= levels[i]) {
            *times[i] = ((double)step + (levels[i] - before) / (after - before)) * step_s;
        }
    }
}

void crossing_find(const struct forecast *forecast, const struct crossing_order *order,
                   struct crossing *out)
{
    double unknown = (double)NAN;
    *out = (struct crossing){false, 0.0, unknown, unknown, unknown};
    if (is_beyond(order, order->newest)) {
        *out = (struct crossing){true, 1.0, 0.0, 0.0, 0.0};
        return;
    }
    if (order->above ? order->threshold >= order->maximum : order->threshold <= order->minimum) {
        return;
    }
    struct paths paths = {.count = 0, .survived = 1.0};
    double step_s = (double)order->step_ms / 1000.0, before = 0.0;
    for (size_t step = 0; step < forecast->horizon; step++) {
        double deviation = deviation_of(forecast, step);
        double correlation = step == 0 ? 0.0 : correlation_of(before, deviation, order->roughness);
        paths_step(&paths, correlation * correlation, safe_share(forecast, order, step));
        double within = fmax(out->p_within, fmin(1.0 - paths.survived, 1.0));
        note_times(out, out->p_within, within, step, step_s);
        out->p_within = within;
        before = deviation;
    }
}

/* ---------------------------------------------------------------- roughness */

double crossing_roughness(const double *values, size_t count, uint32_t season)
{
    if (count > VALUES_USED) {
        values += count - VALUES_USED;
        count = VALUES_USED;
    }
    size_t lag = (size_t)season * 2 <= count ? season : 0;
    double mean = 0.0, squares = 0.0;
    size_t changes = 0;
    for (size_t i = lag + 1; i < count; i++) {
        double change = values[i] - values[i - 1];
        if (lag > 0) {
            change -= values[i - lag] - values[i - lag - 1];
        }
        if (!isnan(change)) { /* Welford's recurrence */
            double off = change - mean;
            mean += off / (double)++changes;
            squares += off * (change - mean);
        }
    }
    if (changes < CHANGES_MIN || !isfinite(squares)) {
        return (double)INFINITY;
    }
    double variance = squares / (double)changes;
    return sqrt(lag > 0 ? 0.5 * variance : variance); /* a seasonal difference has noise twice */
}
