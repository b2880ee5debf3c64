/* Columns of a window: values, lags and phases of a series, step by step.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "model/feature_rows.h"

#include <math.h>

#define ROW_MAX 256 /* steps handled at once, on the stack */

/* ---------------------------------------------------------------- values into columns */

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

/* Values of `count` steps from index `from` (may be negative); NaN outside of what is known. */
static void read_values(const struct window_source *source, int64_t from, size_t count,
                        double *restrict out)
{
    int64_t known = (int64_t)source->known;
    for (size_t i = 0; i < count; i++) {
        int64_t at = from + (int64_t)i;
        out[i] = at >= 0 && at < known ? source->values[at] : (double)NAN;
    }
}

/* Values of at most ROW_MAX steps, scaled, and their masks; a missing one is 0 with mask 0. */
static void write_row(const struct window_scale *scale, const double *restrict values, size_t count,
                      real *column, size_t width)
{
    real scaled[ROW_MAX];
    real mask[ROW_MAX];
    double inverse = 1.0 / scale->scale;
    double shift = scale->shift;
    for (size_t i = 0; i < count; i++) {
        bool seen = values[i] == values[i];
        scaled[i] = seen ? (real)((values[i] - shift) * inverse) : (real)0;
        mask[i] = seen ? (real)1 : (real)0;
    }
    if (scale->asinh) {
        asinh_row(scaled, count);
    }
    for (size_t i = 0; i < count; i++) {
        column[i * width] = scaled[i];
        column[i * width + 1] = mask[i];
    }
}

static size_t total_steps(const struct feature_window *window) /* C + Hp */
{
    return window->shape->context + window->shape->steps;
}

static int64_t first_index(const struct feature_window *window)
{
    return (int64_t)window->source->origin - (int64_t)window->shape->context;
}

void feature_values(const struct feature_window *window, real *column)
{
    double values[ROW_MAX];
    size_t width = feature_count(window->plan, window->shape);
    size_t total = total_steps(window);
    int64_t from = first_index(window) - (int64_t)window->shape->delay;
    for (size_t done = 0; done < total; done += ROW_MAX) {
        size_t part = total - done < ROW_MAX ? total - done : ROW_MAX;
        read_values(window->source, from + (int64_t)done, part, values);
        write_row(window->scale, values, part, column + done * width, width);
    }
}

/* ---------------------------------------------------------------- the local clock */

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
static size_t steps_until(const struct feature_window *window, int64_t change_ms, int64_t step,
                          size_t count)
{
    if (change_ms == INT64_MAX) {
        return count;
    }
    int64_t before_ms = change_ms - 1 - window->source->phase_ms;
    int64_t steps = floor_div(before_ms, window->plan->step_ms) + 1 - step;
    return steps < (int64_t)count ? (size_t)steps : count;
}

/* ---------------------------------------------------------------- lags */

/* A lag of whole days by the local clock: in stretches in which both ends keep theirs. */
static void read_local_lag(const struct feature_window *window, size_t lag, int64_t from,
                           size_t count, double *out)
{
    const struct feature_plan *plan = window->plan;
    const struct window_source *source = window->source;
    int64_t lag_ms = (int64_t)lag * plan->step_ms;
    int64_t first = source->origin_step - (int64_t)source->origin; /* of values[0] */
    for (size_t done = 0; done < count;) {
        int64_t step = first + from + (int64_t)done;
        int64_t time_ms = step * plan->step_ms + source->phase_ms;
        int64_t ahead_ms = time_zone_offset_ms(source->zone, time_ms) -
                           time_zone_offset_ms(source->zone, time_ms - lag_ms);
        int64_t change_ms = time_zone_next_change_ms(source->zone, time_ms);
        int64_t before_ms = time_zone_next_change_ms(source->zone, time_ms - lag_ms);
        before_ms = before_ms == INT64_MAX ? INT64_MAX : before_ms + lag_ms;
        size_t part = steps_until(window, earlier(change_ms, before_ms), step, count - done);
        int64_t read = from + (int64_t)done - (int64_t)lag + ahead_ms / plan->step_ms;
        read_values(source, read, part, out + done);
        done += part;
    }
}

static void read_lag(const struct feature_window *window, size_t lag, int64_t from, size_t count,
                     double *out)
{
    if (window->source->zone != NULL && follows_clock(window->plan, lag)) {
        read_local_lag(window, lag, from, count, out);
    } else {
        read_values(window->source, from - (int64_t)lag, count, out);
    }
}

/* A mean in the making. The least and the largest stay apart, so that one absurd value is never in
 * the sum. */
struct means {
    double least[ROW_MAX], largest[ROW_MAX], rest[ROW_MAX], seen[ROW_MAX];
};

static void means_begin(struct means *means, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        means->least[i] = HUGE_VAL;
        means->largest[i] = -HUGE_VAL;
        means->rest[i] = means->seen[i] = 0.0;
    }
}

static void means_add(struct means *restrict means, const double *restrict values, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        double value = values[i];
        double least = means->least[i], largest = means->largest[i];
        bool seen = value == value;
        double above = value > least ? value : least; /* what the least gives up */
        double within = above < largest ? above : largest;
        bool counts = seen && means->seen[i] >= 2.0;
        means->rest[i] += counts ? within : 0.0;
        means->least[i] = seen && value < least ? value : least;
        means->largest[i] = seen && value > largest ? value : largest;
        means->seen[i] += seen ? 1.0 : 0.0;
    }
}

static void means_end(const struct means *means, size_t count, double *out)
{
    for (size_t i = 0; i < count; i++) {
        double seen = means->seen[i];
        double ends = 0.5 * (means->least[i] + means->largest[i]); /* of one or two: their mean */
        double mean = seen > 2.0 ? means->rest[i] / (seen - 2.0) : ends;
        out[i] = seen > 0.0 ? mean : (double)NAN;
    }
}

/* Piece by piece where it folds. */
void feature_lag(const struct feature_window *window, size_t i, real *column)
{
    double values[ROW_MAX];
    size_t width = feature_count(window->plan, window->shape);
    size_t total = total_steps(window);
    int64_t first = first_index(window);
    size_t lag = window->plan->lags[i];
    size_t fold = window->plan->folds[i];
    size_t end = fold > 0 ? window->shape->context + fold : total; /* of what has the same lag */
    for (size_t done = 0; done < total;) {
        size_t left = (end < total ? end : total) - done;
        size_t part = left < ROW_MAX ? left : ROW_MAX;
        read_lag(window, lag, first + (int64_t)done, part, values);
        write_row(window->scale, values, part, column + done * width, width);
        done += part;
        if (done == end) {
            lag += fold;
            end += fold;
        }
    }
}

void feature_mean(const struct feature_window *window, size_t i, real *out)
{
    const struct feature_plan *plan = window->plan;
    struct means means;
    double values[ROW_MAX];
    real pairs[2 * ROW_MAX];
    size_t season = plan->means[i];
    for (size_t done = 0; done < plan->horizon;) {
        size_t newest = (done / season + 1) * season; /* the newest one that is known here */
        size_t end = newest < plan->horizon ? newest : plan->horizon;
        size_t part = end - done < ROW_MAX ? end - done : ROW_MAX;
        means_begin(&means, part);
        for (size_t k = 0; k < plan->depths[i]; k++) {
            int64_t from = (int64_t)(window->source->origin + done);
            read_lag(window, newest + k * season, from, part, values);
            means_add(&means, values, part);
        }
        means_end(&means, part, values);
        write_row(window->scale, values, part, pairs, 2);
        for (size_t h = 0; h < part; h++) {
            out[done + h] = pairs[2 * h + 1] > (real)0 ? pairs[2 * h] : out[done + h];
        }
        done += part;
    }
}

/* ---------------------------------------------------------------- phases */

/* Of `count` steps, the first of which is `first` on the clock that the period follows. */
static void write_phases(const struct feature_window *window, size_t i, int64_t first, size_t count,
                         real *column)
{
    const real *table = window->plan->phases[i];
    size_t width = feature_count(window->plan, window->shape);
    size_t period = window->plan->periods[i];
    int64_t phase = first % (int64_t)period;
    size_t at = (size_t)(phase < 0 ? phase + (int64_t)period : phase);
    for (size_t t = 0; t < count; t++) {
        column[t * width] = table[2 * at];
        column[t * width + 1] = table[2 * at + 1];
        at = at + 1 < period ? at + 1 : 0;
    }
}

void feature_phase(const struct feature_window *window, size_t i, real *column)
{
    const struct feature_plan *plan = window->plan;
    const struct time_zone *zone = window->source->zone;
    size_t width = feature_count(plan, window->shape);
    size_t total = total_steps(window);
    int64_t first = window->source->origin_step - (int64_t)window->shape->context;
    bool local = zone != NULL && follows_clock(plan, plan->periods[i]);
    for (size_t done = 0; done < total;) {
        int64_t step = first + (int64_t)done;
        size_t part = total;
        if (local) {
            int64_t time_ms = step * plan->step_ms + window->source->phase_ms;
            int64_t offset_ms = time_zone_offset_ms(zone, time_ms);
            part = steps_until(window, time_zone_next_change_ms(zone, time_ms), step, total - done);
            step = floor_div(time_ms + offset_ms, plan->step_ms);
        }
        write_phases(window, i, step, part, column + done * width);
        done += part;
    }
}
