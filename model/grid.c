/* Points to a regular grid: cell means, counters to rates.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Cells lie on multiples of the step since the epoch, so that all series of a group share them. A
 * cell without a point is NaN, never filled: what is missing is the model's business.
 */
#include "model/model.h"

#include "base/check.h"

#include <math.h>

#define VALUE_MAX 1e37 /* models compute in float: what is larger counts as missing */

static int64_t floor_div(int64_t a, int64_t b)
{
    int64_t quotient = a / b;
    return a % b < 0 ? quotient - 1 : quotient;
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
