/* What a network sees of a series: a scaled window with masks, seasonal lags and calendar phases.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "model/features.h"

#include "base/check.h"
#include "base/memory.h"

#include <math.h>
#include <string.h>

#define DAY_MS         INT64_C(86400000)
#define INPUT_LIMIT    (real)30
#define SMALLEST_SCALE 1e-9
#define RESTORE_LIMIT  12.0 /* of an asinh output: sinh(12) = 81,000 scales away is far enough */

/* ---------------------------------------------------------------- the plan */

static void add_lag(struct feature_plan *plan, size_t lag, size_t fold, size_t typical_length)
{
    if (lag == 0 || (double)lag >= 0.6 * (double)typical_length || plan->lag_count == LAGS_MAX) {
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

/* asinh of a row, in a form that vectorises: sign(x) log(|x| + sqrt(x^2 + 1)), log by range
 * reduction and a polynomial (relative error about 2e-7: the values are inputs of a network). */
#ifdef FORECASTD_DOUBLE
static void asinh_row(real *x, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        x[i] = asinh(x[i]);
    }
}
#else
static void asinh_row(float *restrict x, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        float size = fabsf(x[i]);
        float y = size + sqrtf(size * size + 1.0f);
        union {
            float real;
            int32_t bits;
        } u = {.real = y};
        int32_t exponent = (u.bits - 0x3f3504f3) >> 23; /* mantissa to sqrt(1/2) ... sqrt(2) */
        u.bits -= exponent * (1 << 23);
        float m = u.real - 1.0f;
        float s = m / (2.0f + m);
        float z = s * s;
        float series =
            2.0f * s *
            (1.0f + z * (0.333333333f + z * (0.2f + z * (0.142857143f + z * 0.111111111f))));
        x[i] = copysignf(series + 0.693147181f * (float)exponent, x[i]);
    }
}
#endif

/* Scaled values and masks of `count` steps from index `from` (relative to values[0], may be
 * negative) into two dense rows; what is outside [0, known) or NaN is 0 with mask 0. */
static void read_row(const struct window_source *source, const struct window_scale *scale,
                     int64_t from, size_t count, real *restrict value, real *restrict mask)
{
    int64_t known = (int64_t)source->known;
    int64_t low = from < 0 ? -from : 0;
    int64_t high = known - from;
    low = low < (int64_t)count ? low : (int64_t)count;
    high = high < (int64_t)count ? high : (int64_t)count;
    high = high > low ? high : low;
    double inverse = 1.0 / scale->scale;
    double shift = scale->shift;
    memset(value, 0, count * sizeof(real));
    memset(mask, 0, count * sizeof(real));
    for (int64_t i = low; i < high; i++) {
        double raw = source->values[from + i];
        bool seen = raw == raw;
        value[i] = seen ? (real)((raw - shift) * inverse) : (real)0;
        mask[i] = seen ? (real)1 : (real)0;
    }
    if (scale->asinh) {
        asinh_row(value + low, (size_t)(high - low));
    }
}

#define ROW_MAX 256 /* steps handled at once, on the stack */

/* One feature pair (value, mask) of all steps into its two columns. */
static void fill_pair(const struct window_source *source, const struct window_scale *scale,
                      int64_t from, size_t count, real *column, size_t width)
{
    real value[ROW_MAX];
    real mask[ROW_MAX];
    for (size_t done = 0; done < count; done += ROW_MAX) {
        size_t part = count - done < ROW_MAX ? count - done : ROW_MAX;
        read_row(source, scale, from + (int64_t)done, part, value, mask);
        real *out = column + done * width;
        for (size_t i = 0; i < part; i++) {
            out[i * width] = value[i];
            out[i * width + 1] = mask[i];
        }
    }
}

static int64_t floor_div(int64_t a, int64_t b)
{
    return a / b - (a % b < 0 ? 1 : 0);
}

/* Whether a number of steps is whole days: only these follow a clock that is changed. */
static bool follows_clock(const struct feature_plan *plan, size_t steps)
{
    return (int64_t)steps * plan->step_ms % DAY_MS == 0;
}

static int64_t earlier(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* Steps from `step` on, at most `count`, until the clock may change. */
static size_t steps_until(const struct feature_plan *plan, int64_t change_ms, int64_t step,
                          size_t count)
{
    if (change_ms == INT64_MAX) {
        return count;
    }
    int64_t steps = floor_div(change_ms - 1, plan->step_ms) + 1 - step;
    return steps < (int64_t)count ? (size_t)steps : count;
}

/* A lag of whole days by the local clock: in stretches in which both ends keep theirs. */
static void fill_local_lag(const struct feature_plan *plan, const struct window_source *source,
                           const struct window_scale *scale, size_t lag, int64_t from, size_t count,
                           real *column, size_t width)
{
    int64_t lag_ms = (int64_t)lag * plan->step_ms;
    int64_t first = source->origin_step - (int64_t)source->origin; /* of values[0] */
    for (size_t done = 0; done < count;) {
        int64_t step = first + from + (int64_t)done;
        int64_t time_ms = step * plan->step_ms;
        int64_t ahead_ms = time_zone_offset_ms(source->zone, time_ms) -
                           time_zone_offset_ms(source->zone, time_ms - lag_ms);
        int64_t change_ms = time_zone_next_change_ms(source->zone, time_ms);
        int64_t before_ms = time_zone_next_change_ms(source->zone, time_ms - lag_ms);
        before_ms = before_ms == INT64_MAX ? INT64_MAX : before_ms + lag_ms;
        size_t part = steps_until(plan, earlier(change_ms, before_ms), step, count - done);
        int64_t read = from + (int64_t)done - (int64_t)lag + ahead_ms / plan->step_ms;
        fill_pair(source, scale, read, part, column + done * width, width);
        done += part;
    }
}

static void fill_phases(const real *table, size_t period, int64_t first, size_t count, real *column,
                        size_t width)
{
    int64_t phase = first % (int64_t)period;
    size_t at = (size_t)(phase < 0 ? phase + (int64_t)period : phase);
    for (size_t i = 0; i < count; i++) {
        column[i * width] = table[2 * at];
        column[i * width + 1] = table[2 * at + 1];
        at = at + 1 < period ? at + 1 : 0;
    }
}

static void fill_local_phases(const struct feature_plan *plan, const struct time_zone *zone,
                              size_t index, int64_t first, size_t count, real *column, size_t width)
{
    for (size_t done = 0; done < count;) {
        int64_t step = first + (int64_t)done;
        int64_t time_ms = step * plan->step_ms;
        int64_t local = floor_div(time_ms + time_zone_offset_ms(zone, time_ms), plan->step_ms);
        size_t part =
            steps_until(plan, time_zone_next_change_ms(zone, time_ms), step, count - done);
        fill_phases(plan->phases[index], plan->periods[index], local, part, column + done * width,
                    width);
        done += part;
    }
}

/* The skip's inputs: context with gaps filled by the base, lags of the horizon's steps. */
static void fill_skip(const struct feature_plan *plan, const struct feature_shape *shape,
                      const struct window_scale *scale, struct window_inputs *out)
{
    size_t width = feature_count(plan, shape);
    real base = (real)scale->base;
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
    }
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

/* Lag i of all steps, piece by piece where it folds. */
static void fill_lag(const struct feature_plan *plan, const struct feature_shape *shape,
                     const struct window_source *source, const struct window_scale *scale, size_t i,
                     real *column)
{
    size_t width = feature_count(plan, shape);
    size_t total = shape->context + shape->steps;
    int64_t from = (int64_t)source->origin - (int64_t)shape->context;
    size_t lag = plan->lags[i];
    size_t fold = plan->folds[i];
    size_t part = fold > 0 ? shape->context + fold : total;
    for (size_t done = 0; done < total; part = fold) {
        part = part < total - done ? part : total - done;
        if (source->zone != NULL && follows_clock(plan, lag)) {
            fill_local_lag(plan, source, scale, lag, from + (int64_t)done, part,
                           column + done * width, width);
        } else {
            fill_pair(source, scale, from + (int64_t)done - (int64_t)lag, part,
                      column + done * width, width);
        }
        done += part;
        lag += fold;
    }
}

void window_fill(const struct feature_plan *plan, const struct feature_shape *shape,
                 const struct window_source *source, const struct window_scale *scale,
                 struct window_inputs *out)
{
    size_t width = feature_count(plan, shape);
    size_t total = shape->context + shape->steps;
    int64_t from = (int64_t)source->origin - (int64_t)shape->context;
    fill_pair(source, scale, from - (int64_t)shape->delay, total, out->steps, width);
    size_t column = 2;
    for (size_t i = 0; shape->use_lags && i < plan->lag_count; i++) {
        fill_lag(plan, shape, source, scale, i, out->steps + column);
        column += 2;
    }
    int64_t first_step = source->origin_step - (int64_t)shape->context;
    for (size_t i = 0; shape->use_periods && i < plan->period_count; i++) {
        if (source->zone != NULL && follows_clock(plan, plan->periods[i])) {
            fill_local_phases(plan, source->zone, i, first_step, total, out->steps + column, width);
        } else {
            fill_phases(plan->phases[i], plan->periods[i], first_step, total, out->steps + column,
                        width);
        }
        column += 2;
    }
    CHECK(column == width);
    if (out->context != NULL) {
        fill_skip(plan, shape, scale, out);
    }
    limit_inputs(out->steps, total, shape->use_lags ? 1 + plan->lag_count : 1, width);
}
