/* Points to a regular grid: the interval, cell means, counters to rates.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Cells lie on multiples of the step since the epoch, so that all series of a group share them. A
 * cell without a point is NaN, never filled: what is missing is the model's business.
 */
#include "model/model.h"

#include "base/check.h"

#include <math.h>

#define GAPS_MAX  1024 /* the newest ones decide */
#define OFF_STEP  10   /* a gap is a multiple where it is within a tenth of the step */
#define VALUE_MAX 1e37 /* models compute in float: what is larger counts as missing */
#define SECOND    INT64_C(1000)
#define MINUTE    (60 * SECOND)
#define HOUR      (60 * MINUTE)
#define DAY       (24 * HOUR)

static const int64_t canonical[] = {
    1 * SECOND,  2 * SECOND,  5 * SECOND,  10 * SECOND, 15 * SECOND, 20 * SECOND, 30 * SECOND,
    1 * MINUTE,  2 * MINUTE,  3 * MINUTE,  4 * MINUTE,  5 * MINUTE,  6 * MINUTE,  10 * MINUTE,
    12 * MINUTE, 15 * MINUTE, 20 * MINUTE, 30 * MINUTE, 1 * HOUR,    2 * HOUR,    3 * HOUR,
    4 * HOUR,    6 * HOUR,    8 * HOUR,    12 * HOUR,   1 * DAY,     7 * DAY};

static int64_t floor_div(int64_t a, int64_t b)
{
    int64_t quotient = a / b;
    return a % b < 0 ? quotient - 1 : quotient;
}

/* Ascending, by insertion: at most GAPS_MAX of them. */
static void sort_gaps(int64_t *gaps, size_t count)
{
    for (size_t i = 1; i < count; i++) {
        int64_t moving = gaps[i];
        size_t at = i;
        for (; at > 0 && gaps[at - 1] > moving; at--) {
            gaps[at] = gaps[at - 1];
        }
        gaps[at] = moving;
    }
}

static int64_t snap(int64_t gap)
{
    for (size_t i = 0; i < ARRAY_COUNT(canonical); i++) {
        int64_t distance = gap > canonical[i] ? gap - canonical[i] : canonical[i] - gap;
        int64_t rival = INT64_MAX;
        if (i + 1 < ARRAY_COUNT(canonical)) {
            rival = gap > canonical[i + 1] ? gap - canonical[i + 1] : canonical[i + 1] - gap;
        }
        if (distance * 10 <= canonical[i] && distance <= rival) {
            return canonical[i];
        }
    }
    if (gap < SECOND) {
        int64_t tenths = (gap + 50) / 100;
        return (tenths > 0 ? tenths : 1) * 100;
    }
    return (gap + SECOND / 2) / SECOND * SECOND;
}

static bool is_multiple(int64_t gap, int64_t step)
{
    int64_t times = (gap + step / 2) / step;
    int64_t away = gap > times * step ? gap - times * step : times * step - gap;
    return times > 0 && away * OFF_STEP <= step;
}

/* Where more than half of the points are missing the median is a multiple of the step: the shorter
 * gap that a tenth of them have, nearly all are multiples of, and that a third of the cells fill,
 * outages (the longest tenth of the gaps) left out. */
static int64_t shorter_step(const int64_t *gaps, size_t count, int64_t median)
{
    int64_t step = snap(gaps[count / 10]);
    int64_t span = 0;
    size_t multiples = 0, inner = count - count / 10;
    for (size_t i = 0; i < count; i++) {
        multiples += is_multiple(gaps[i], step) ? 1 : 0;
        span += i < inner ? gaps[i] : 0;
    }
    bool fits = step < median && is_multiple(median, step) && 10 * multiples >= 9 * count;
    return fits && span / step <= 3 * (int64_t)inner ? step : median;
}

int64_t grid_coarser(int64_t step_ms, int64_t least_ms)
{
    for (size_t i = 0; i < ARRAY_COUNT(canonical) && canonical[i] <= DAY; i++) {
        if (canonical[i] >= least_ms && canonical[i] % step_ms == 0) {
            return canonical[i];
        }
    }
    return 0;
}

int64_t grid_step(const struct point *points, size_t count)
{
    int64_t gaps[GAPS_MAX];
    size_t found = 0;
    for (size_t i = count; i > 1 && found < GAPS_MAX; i--) {
        int64_t gap = points[i - 1].time_ms - points[i - 2].time_ms;
        if (gap > 0) {
            gaps[found] = gap;
            found++;
        }
    }
    if (found == 0) {
        return 0;
    }
    sort_gaps(gaps, found);
    return shorter_step(gaps, found, snap(gaps[found / 2]));
}

size_t grid_off_step(const struct point *points, size_t count, int64_t step_ms)
{
    size_t off = 0;
    for (size_t i = 1; i < count; i++) {
        int64_t gap = points[i].time_ms - points[i - 1].time_ms;
        off += gap > 0 && !is_multiple(gap, step_ms) ? 1 : 0;
    }
    return off;
}

/* Walks the points as gauge values or as rates: one sample at a time, skipping what has no value or
 * is excluded. A rate tells of all the time since the reading before. */
struct sampler {
    const struct point *points;
    size_t count, next;
    bool counter;
    const struct time_spans *excluded;
    size_t span; /* of the walk through them */
    bool has_previous;
    struct point previous;
};

static bool sampler_next(struct sampler *sampler, struct point *sample)
{
    while (sampler->next < sampler->count) {
        struct point point = sampler->points[sampler->next];
        sampler->next++;
        if (!(fabs(point.value) <= VALUE_MAX)) {
            continue;
        }
        struct point before = sampler->previous;
        int64_t from_ms = sampler->has_previous ? before.time_ms : point.time_ms;
        bool excluded =
            time_spans_meet(sampler->excluded, from_ms, point.time_ms + 1, &sampler->span);
        if (!sampler->counter) {
            if (excluded) {
                continue;
            }
            *sample = point;
            return true;
        }
        bool usable = !excluded && sampler->has_previous && point.time_ms > before.time_ms;
        if (!sampler->has_previous || point.time_ms > before.time_ms) {
            sampler->previous = point;
            sampler->has_previous = true;
        }
        if (usable) {
            /* A fall means that the counter began again from zero (as Prometheus's rate). */
            double rise = point.value >= before.value ? point.value - before.value : point.value;
            double seconds = (double)(point.time_ms - before.time_ms) / 1000.0;
            sample->time_ms = point.time_ms;
            sample->value = rise > 0.0 ? rise / seconds : 0.0;
            return true;
        }
    }
    return false;
}

/* The first point that matters for cells from `first_ms` on; for counters one value before it too.
 */
static size_t first_needed(const struct point *points, size_t count, int64_t first_ms, bool counter)
{
    size_t low = 0;
    size_t high = count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (points[middle].time_ms < first_ms) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    while (counter && low > 0) {
        low--;
        if (!isnan(points[low].value)) {
            break;
        }
    }
    return low;
}

size_t grid_fill(const struct point *points, size_t count, const struct grid_rule *rule,
                 double *values, size_t maximum, int64_t *start_ms)
{
    int64_t step_ms = rule->step_ms;
    CHECK(step_ms > 0);
    *start_ms = 0;
    int64_t open_cell = rule->now_ms == INT64_MAX ? INT64_MAX : floor_div(rule->now_ms, step_ms);
    while (count > 0 && floor_div(points[count - 1].time_ms, step_ms) >= open_cell) {
        count--;
    }
    if (count == 0 || maximum == 0) {
        return 0;
    }
    int64_t first_cell = floor_div(points[0].time_ms, step_ms);
    int64_t last_cell = floor_div(points[count - 1].time_ms, step_ms);
    if ((uint64_t)(last_cell - first_cell) >= maximum) {
        first_cell = last_cell - (int64_t)maximum + 1;
    }
    size_t cells = (size_t)(last_cell - first_cell) + 1;
    for (size_t i = 0; i < cells; i++) {
        values[i] = NAN;
    }
    struct sampler sampler = {
        .points = points, .count = count, .counter = rule->counter, .excluded = rule->excluded};
    sampler.next = first_needed(points, count, first_cell * step_ms, rule->counter);
    struct point sample;
    int64_t cell = INT64_MIN;
    double sum = 0.0;
    size_t in_cell = 0;
    while (sampler_next(&sampler, &sample)) {
        int64_t here = floor_div(sample.time_ms, step_ms);
        if (here < first_cell) {
            continue;
        }
        if (here != cell) {
            cell = here;
            sum = 0.0;
            in_cell = 0;
        }
        sum += sample.value;
        in_cell++;
        values[here - first_cell] = sum / (double)in_cell;
    }
    *start_ms = first_cell * step_ms;
    return cells;
}
