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
#define PERSISTENCE_MIN 16   /* pairs of neighbours that are worth a correlation */
#define VALUES_USED     1024 /* newest ones that persistence is estimated from */

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

static double width_of(const struct forecast *forecast, size_t step)
{
    return forecast_quantile(forecast, step, 0.9) - forecast_quantile(forecast, step, 0.1);
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
    double step_s = (double)order->step_ms / 1000.0, width_before = 0.0;
    for (size_t step = 0; step < forecast->horizon; step++) {
        double width = width_of(forecast, step);
        double ratio = width > width_before ? width_before / width : 1.0;
        double correlation = step == 0 ? 0.0 : order->persistence * ratio;
        paths_step(&paths, correlation * correlation, safe_share(forecast, order, step));
        double within = fmax(out->p_within, fmin(1.0 - paths.survived, 1.0));
        note_times(out, out->p_within, within, step, step_s);
        out->p_within = within;
        width_before = width;
    }
}

/* ---------------------------------------------------------------- persistence */

/* A value less its season; NaN where either is missing. */
static double deseasoned(const double *values, size_t at, size_t season)
{
    return season > 0 ? values[at] - values[at - season] : values[at];
}

struct line {
    double middle, mean, slope;
};

static struct line fit_line(const double *values, size_t first, size_t count, size_t season)
{
    double n = 0.0, time = 0.0, value = 0.0, square = 0.0, product = 0.0;
    double middle = 0.5 * (double)(first + count);
    double base = 0.0;
    for (size_t i = first; i < count; i++) {
        double y = deseasoned(values, i, season), t = (double)i - middle;
        if (isnan(y)) {
            continue;
        }
        base = n > 0.0 ? base : y; /* sums near zero keep their digits */
        n += 1.0;
        time += t;
        value += y - base;
        square += t * t;
        product += t * (y - base);
    }
    double spread = n > 0.0 ? square - time * time / n : 0.0;
    double slope = spread > 0.0 ? (product - time * value / n) / spread : 0.0;
    double mean = n > 0.0 ? base + (value - slope * time) / n : 0.0;
    return (struct line){middle, mean, slope};
}

double crossing_persistence(const double *values, size_t count, uint32_t season)
{
    if (count > VALUES_USED) {
        values += count - VALUES_USED;
        count = VALUES_USED;
    }
    size_t lag = (size_t)season * 2 <= count ? season : 0;
    struct line line = fit_line(values, lag, count, lag);
    double product = 0.0, square_before = 0.0, square = 0.0, before = (double)NAN;
    size_t pairs = 0;
    for (size_t i = lag; i < count; i++) {
        double now =
            deseasoned(values, i, lag) - line.mean - line.slope * ((double)i - line.middle);
        if (!isnan(now) && !isnan(before)) {
            product += now * before;
            square += now * now;
            square_before += before * before;
            pairs++;
        }
        before = now;
    }
    if (pairs < PERSISTENCE_MIN) {
        return 0.0;
    }
    if (!(square > 0.0) || !(square_before > 0.0)) {
        return 1.0;
    }
    double correlation = product / sqrt(square * square_before);
    return isfinite(correlation) ? fmin(fmax(correlation, 0.0), 1.0) : 0.0;
}
