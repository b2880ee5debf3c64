/* What a network sees of a series: a scaled window with masks, seasonal lags and calendar phases.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "model/features.h"

#include "base/check.h"
#include "base/memory.h"
#include "model/feature_rows.h"
#include "model/odd_lags.h"

#include <math.h>
#include <string.h>

#define LONGEST_REACH  0.6
#define MEAN_LEAST     3
#define INPUT_LIMIT    (real)30
#define SMALLEST_SCALE 1e-9
#define RESTORE_LIMIT  12.0 /* of an asinh output: sinh(12) = 81,000 scales away is far enough */

/* ---------------------------------------------------------------- the plan */

/* What a lag reads has to lie within this share of a typical series. */
static bool reaches(size_t lag, size_t typical_length)
{
    return (double)lag < LONGEST_REACH * (double)typical_length;
}

static void add_lag(struct feature_plan *plan, size_t lag, size_t fold, size_t typical_length)
{
    if (lag == 0 || !reaches(lag, typical_length) || plan->lag_count == LAGS_MAX) {
        return;
    }
    for (size_t i = 0; i < plan->lag_count; i++) {
        if (plan->lags[i] == lag && plan->folds[i] == fold) {
            return;
        }
    }
    plan->lags[plan->lag_count] = (uint32_t)lag;
    plan->folds[plan->lag_count] = (uint32_t)fold;
    plan->lag_count++;
}

/* Of as many seasons as reach, from three on: two of three are trimmed. */
static void add_mean(struct feature_plan *plan, size_t season, size_t most, size_t typical_length)
{
    size_t depth = most;
    while (depth >= MEAN_LEAST && !reaches(depth * season, typical_length)) {
        depth--;
    }
    if (season > 0 && depth >= MEAN_LEAST) {
        plan->means[plan->mean_count] = (uint32_t)season;
        plan->depths[plan->mean_count] = (uint32_t)depth;
        plan->mean_count++;
    }
}

static void add_period(struct feature_plan *plan, size_t period)
{
    if (period > 1 && period <= PERIOD_LENGTH_MAX && plan->period_count < PERIODS_MAX) {
        plan->periods[plan->period_count] = (uint32_t)period;
        plan->period_count++;
    }
}

void feature_plan_choose(struct feature_plan *plan, const uint32_t seasons[SEASONS_MAX],
                         size_t typical_length)
{
    plan->lag_count = 0;
    plan->mean_count = 0;
    plan->period_count = 0;
    for (size_t i = 0; i < SEASONS_MAX; i++) {
        size_t season = seasons[i];
        if (season == 0) {
            continue;
        }
        /* The newest seasons that are known at each step: three of the shortest, two of the others.
         * Of a season shorter than the horizon that is one more each time it comes round. */
        size_t fold = season < plan->horizon ? season : 0;
        for (size_t k = 1; k <= (i == 0 ? 3u : 2u); k++) {
            add_lag(plan, k * season, fold, typical_length);
        }
        add_mean(plan, season, i == 0 ? MEAN_DEPTH_MAX : MEAN_LEAST, typical_length);
        add_period(plan, season);
    }
    /* A year back on the same weekday. */
    int64_t year = 364 * DAY_MS / plan->step_ms;
    if (plan->step_ms <= DAY_MS && year <= PERIOD_LENGTH_MAX &&
        (double)typical_length >= 2.2 * (double)year && (size_t)year >= plan->horizon) {
        add_lag(plan, (size_t)year, 0, typical_length);
        size_t solar = (size_t)llround(365.25 * (double)DAY_MS / (double)plan->step_ms);
        add_period(plan, solar);
    }
}

void feature_usual_seasons(int64_t step_ms, size_t typical_length, uint32_t seasons[SEASONS_MAX])
{
    /* Two that matter to people and machines; a year is a lag of its own where there are two. */
    static const int64_t lengths_ms[] = {DAY_MS, 7 * DAY_MS};
    size_t found = 0;
    memset(seasons, 0, SEASONS_MAX * sizeof(seasons[0]));
    for (size_t i = 0; i < ARRAY_COUNT(lengths_ms); i++) {
        int64_t season = lengths_ms[i] / step_ms;
        bool fits = season >= 2 && lengths_ms[i] % step_ms == 0;
        if (fits && (uint64_t)season * 3 <= typical_length) {
            seasons[found] = (uint32_t)season;
            found++;
        }
    }
}

enum status feature_plan_init(struct feature_plan *plan, struct error *error)
{
    memset(plan->phases, 0, sizeof(plan->phases));
    for (size_t i = 0; i < plan->period_count; i++) {
        size_t period = plan->periods[i];
        real *table = mem_array(2 * period, sizeof(real));
        if (table == NULL) {
            feature_plan_release(plan);
            return error_set(error, STATUS_NO_MEMORY, "could not make the table of phases");
        }
        for (size_t phase = 0; phase < period; phase++) {
            double angle = 2.0 * M_PI * (double)phase / (double)period;
            table[2 * phase] = (real)sin(angle);
            table[2 * phase + 1] = (real)cos(angle);
        }
        plan->phases[i] = table;
    }
    return STATUS_OK;
}

void feature_plan_release(struct feature_plan *plan)
{
    for (size_t i = 0; i < PERIODS_MAX; i++) {
        mem_free(plan->phases[i]);
        plan->phases[i] = NULL;
    }
}

/* ---------------------------------------------------------------- scale */

struct series_statistics series_statistics(const double *values, size_t count)
{
    double n = 0.0, sum = 0.0, absolute = 0.0;
    bool non_negative = true;
    for (size_t i = 0; i < count; i++) {
        if (!isnan(values[i])) {
            n += 1.0;
            sum += values[i];
            absolute += fabs(values[i]);
            non_negative = non_negative && values[i] >= 0.0;
        }
    }
    struct series_statistics found = {
        .deviation = SMALLEST_SCALE, .mean_abs = SMALLEST_SCALE, .non_negative = false};
    if (!(n > 0.0)) {
        return found;
    }
    double mean = sum / n;
    double square = 0.0;
    for (size_t i = 0; i < count; i++) {
        double away = values[i] - mean;
        square += isnan(away) ? 0.0 : away * away;
    }
    found.mean = mean;
    /* Relative to the series: its unit may be tiny. All zeros keep the smallest scale. */
    double deviation = fmax(sqrt(square / n), 1e-6 * fabs(mean));
    found.deviation = deviation > 0.0 ? deviation : SMALLEST_SCALE;
    found.mean_abs = absolute > 0.0 ? absolute / n : SMALLEST_SCALE;
    found.non_negative = non_negative;
    return found;
}

/* Observed values of the newest `count` steps before the origin: their number, sum, sum of sizes.
 */
struct tally {
    double n, sum, absolute;
};

static struct tally tally_newest(const struct window_source *source, size_t count)
{
    struct tally tally = {0.0, 0.0, 0.0};
    size_t from = source->origin > count ? source->origin - count : 0;
    for (size_t i = from; i < source->origin; i++) {
        double value = source->values[i];
        if (!isnan(value)) {
            tally.n += 1.0;
            tally.sum += value;
            tally.absolute += fabs(value);
        }
    }
    return tally;
}

static double variance_around(const struct window_source *source, size_t count, double mean)
{
    size_t from = source->origin > count ? source->origin - count : 0;
    double square = 0.0;
    double n = 0.0;
    for (size_t i = from; i < source->origin; i++) {
        double away = source->values[i] - mean;
        if (!isnan(away)) {
            square += away * away;
            n += 1.0;
        }
    }
    return n > 0.0 ? square / n : 0.0;
}

struct window_scale window_scale(const struct feature_shape *shape,
                                 const struct window_source *source)
{
    const struct series_statistics *series = &source->statistics;
    struct tally all = tally_newest(source, shape->context);
    double mean = all.n > 0.0 ? all.sum / all.n : series->mean;
    double mean_abs = all.n > 0.0 ? all.absolute / all.n : 0.0;
    struct window_scale out = {.shift = 0.0, .asinh = shape->asinh};
    switch (shape->scale) {
    case SCALE_STANDARD:
    case SCALE_RECENT: {
        double floor = shape->floor * series->deviation;
        double variance = variance_around(source, shape->context, mean);
        out.scale = sqrt(variance + floor * floor);
        out.shift = mean;
        if (shape->scale == SCALE_RECENT) {
            struct tally recent = tally_newest(source, shape->recent);
            out.shift = recent.n > 0.0 ? recent.sum / recent.n : mean;
        }
        break;
    }
    case SCALE_MEAN_ABS: {
        double floor = shape->floor * series->mean_abs;
        out.scale = sqrt(mean_abs * mean_abs + floor * floor);
        break;
    }
    case SCALE_PAPER:
        /* nu = 1 + mean |z| in the paper supposes counts; a tenth of the series' own size takes the
         * place of the 1 where the values are small. */
        out.scale = mean_abs + fmin(1.0, 0.1 * series->mean_abs + 1e-9);
        break;
    }
    out.base = (double)window_scaled(&out, mean);
    return out;
}

real window_scaled(const struct window_scale *scale, double value)
{
    double scaled = (value - scale->shift) / scale->scale;
    return (real)(scale->asinh ? asinh(scaled) : scaled);
}

double window_restored(const struct window_scale *scale, double scaled)
{
    if (scale->asinh) {
        scaled = sinh(fmax(-RESTORE_LIMIT, fmin(RESTORE_LIMIT, scaled)));
    }
    return scale->shift + scale->scale * scaled;
}

/* ---------------------------------------------------------------- filling */

/* The skip's inputs: context with gaps filled by the base, lags and means of the horizon's steps.
 */
static void fill_skip(const struct feature_window *window, struct window_inputs *out)
{
    const struct feature_plan *plan = window->plan;
    const struct feature_shape *shape = window->shape;
    size_t width = feature_count(plan, shape);
    real base = (real)window->scale->base;
    for (size_t i = 0; i < shape->context; i++) {
        const real *step = out->steps + i * width;
        out->context[i] = step[1] > (real)0 ? step[0] : base;
    }
    if (!shape->use_lags) {
        return;
    }
    size_t horizon = plan->horizon;
    for (size_t h = 0; h < horizon; h++) {
        const real *step = out->steps + (shape->context + h) * width + 2;
        real sum = (real)0;
        real seen = (real)0;
        for (size_t i = 0; i < plan->lag_count; i++) {
            sum += step[2 * i];
            seen += step[2 * i + 1];
        }
        real fill = seen > (real)0 ? sum / seen : base;
        for (size_t i = 0; i < plan->lag_count; i++) {
            out->lags[i * horizon + h] = step[2 * i + 1] > (real)0 ? step[2 * i] : fill;
        }
        for (size_t i = 0; i < plan->mean_count; i++) {
            out->lags[(plan->lag_count + i) * horizon + h] = fill;
        }
    }
    for (size_t i = 0; i < plan->mean_count; i++) {
        feature_mean(window, i, out->lags + (plan->lag_count + i) * horizon);
    }
    odd_lags_mend(window, out);
}

/* What the network sees is bounded (a burst after calm is hundreds of scales away); the skip is
 * not. */
static void limit_inputs(real *steps, size_t count, size_t pairs, size_t width)
{
    for (size_t t = 0; t < count; t++) {
        for (size_t i = 0; i < pairs; i++) {
            real *value = &steps[t * width + 2 * i];
            *value = *value > INPUT_LIMIT ? INPUT_LIMIT : *value;
            *value = *value < -INPUT_LIMIT ? -INPUT_LIMIT : *value;
        }
    }
}

size_t feature_count(const struct feature_plan *plan, const struct feature_shape *shape)
{
    return 2 + (shape->use_lags ? 2 * plan->lag_count : 0) +
           (shape->use_periods ? 2 * plan->period_count : 0);
}

void window_fill(const struct feature_plan *plan, const struct feature_shape *shape,
                 const struct window_source *source, const struct window_scale *scale,
                 struct window_inputs *out)
{
    size_t width = feature_count(plan, shape);
    struct feature_window window = {plan, shape, source, scale};
    feature_values(&window, out->steps);
    size_t column = 2;
    for (size_t i = 0; shape->use_lags && i < plan->lag_count; i++) {
        feature_lag(&window, i, out->steps + column);
        column += 2;
    }
    for (size_t i = 0; shape->use_periods && i < plan->period_count; i++) {
        feature_phase(&window, i, out->steps + column);
        column += 2;
    }
    CHECK(column == width);
    if (out->context != NULL) {
        fill_skip(&window, out);
    }
    limit_inputs(out->steps, shape->context + shape->steps,
                 shape->use_lags ? 1 + plan->lag_count : 1, width);
}
