/* Points to a regular grid: where its cells lie, cell means, counters to rates.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A cell without a point is NaN, never filled: what is missing is the model's business.
 */
#include "model/model.h"

#include "base/check.h"
#include "base/clock.h"

#include <math.h>

#define VALUE_MAX    1e37 /* models compute in float: what is larger counts as missing */
#define PHASE_POINTS 256  /* the newest tell where cells lie, */
#define PHASE_NEWEST 24   /* and of these the newest where they are labelled */
#define DAY_MS       INT64_C(86400000)
#define NEAR         8  /* a part of the step: as far may a middle be from where cells stay */
#define TWELFTHS     12 /* of a step, to which a middle is rounded: it stays as points come */

/* ---------------------------------------------------------------- cells */

static int64_t floor_div(int64_t a, int64_t b)
{
    int64_t quotient = a / b;
    return a % b < 0 ? quotient - 1 : quotient;
}

static int64_t floor_mod(int64_t a, int64_t b)
{
    return a - floor_div(a, b) * b;
}

static int64_t cell_of(const struct grid_cells *cells, int64_t time_ms)
{
    return floor_div(time_ms - cells->phase_ms + cells->lead_ms, cells->step_ms);
}

static int64_t time_of(const struct grid_cells *cells, int64_t cell)
{
    return cells->phase_ms + cell * cells->step_ms;
}

int64_t grid_cell_ms(const struct grid_cells *cells, int64_t time_ms)
{
    return time_of(cells, cell_of(cells, time_ms));
}

int64_t grid_phase(const struct model_series *series)
{
    return series->start_ms % series->step_ms;
}

static int64_t residue_of(const struct point *point, int64_t step_ms)
{
    return floor_mod(point->time_ms, step_ms);
}

/* How many have a residue. */
static size_t count_residue(const struct point *points, size_t count, int64_t step_ms,
                            int64_t residue)
{
    size_t same = 0;
    for (size_t i = 0; i < count; i++) {
        same += residue_of(&points[i], step_ms) == residue ? 1 : 0;
    }
    return same;
}

/* The residue that more than half have, if any does: by votes. */
static int64_t common_residue(const struct point *points, size_t count, int64_t step_ms)
{
    int64_t common = 0;
    size_t votes = 0;
    for (size_t i = 0; i < count; i++) {
        int64_t residue = residue_of(&points[i], step_ms);
        common = votes == 0 ? residue : common;
        votes = residue == common ? votes + 1 : votes - 1;
    }
    return common;
}

static int64_t away_from(int64_t residue, int64_t middle, int64_t step_ms)
{
    int64_t away = residue > middle ? residue - middle : middle - residue;
    return away > step_ms - away ? step_ms - away : away;
}

/* How many residues are within a quarter of the step around a middle, on the circle. */
static size_t count_around(const struct point *points, size_t count, int64_t step_ms,
                           int64_t middle)
{
    size_t near = 0;
    for (size_t i = 0; i < count; i++) {
        int64_t away = away_from(residue_of(&points[i], step_ms), middle, step_ms);
        near += 4 * away <= step_ms ? 1 : 0;
    }
    return near;
}

static bool is_around(const struct point *points, size_t count, int64_t step_ms, int64_t middle)
{
    return 20 * count_around(points, count, step_ms, middle) >= 19 * count;
}

/* Of the residues on the circle, then of those within an eighth of that: some that are always late
 * do not move it. Rounded to a twelfth of the step. */
static int64_t middle_of(const struct point *points, size_t count, int64_t step_ms)
{
    double turn = 2.0 * M_PI / (double)step_ms, angle = 0.0;
    for (int pass = 0; pass < 3; pass++) {
        int64_t middle = llround(angle / turn);
        double re = 0.0, im = 0.0;
        for (size_t i = 0; i < count; i++) {
            int64_t residue = residue_of(&points[i], step_ms);
            if (pass == 0 || 8 * away_from(residue, middle, step_ms) <= step_ms) {
                re += cos(turn * (double)residue);
                im += sin(turn * (double)residue);
            }
        }
        angle = re != 0.0 || im != 0.0 ? atan2(im, re) : angle;
        angle += angle < 0.0 ? 2.0 * M_PI : 0.0;
    }
    int64_t twelfths = llround(angle / (2.0 * M_PI) * TWELFTHS) % TWELFTHS;
    return (twelfths * step_ms + TWELFTHS / 2) / TWELFTHS;
}

/* Cells that readings called so have. What does not come then belongs to the cell that it is
 * nearest to: a midnight of a place that changes its clock, readings that lately became exact, one
 * that is a little early. */
static struct grid_cells around_label(const struct point *points, size_t count, int64_t step_ms,
                                      int64_t label)
{
    bool others = count_residue(points, count, step_ms, label) < count;
    bool lead = others && is_around(points, count, step_ms, label);
    return (struct grid_cells){step_ms, label, lead ? step_ms / 2 : 0};
}

/* Whether cells stay where they were, but for their lead. Where a tenth of the readings lie
 * anywhere it is chance whether those tell a place: what was told stays while most of the newest
 * have it, or the middle is near and most are around it. */
static bool cells_stay(const struct point *points, size_t count, const struct grid_cells *before)
{
    int64_t step_ms = before->step_ms, phase_ms = before->phase_ms;
    size_t newest = count < PHASE_NEWEST ? count : PHASE_NEWEST;
    const struct point *last = points + count - newest;
    int64_t common = common_residue(last, newest, step_ms);
    size_t like = count_residue(last, newest, step_ms, common);
    bool moved = common != phase_ms && like + newest / 20 >= newest;
    if (moved || (common == phase_ms && 2 * like > newest)) {
        return !moved;
    }
    int64_t middle = middle_of(points, count, step_ms);
    return (before->lead_ms > 0 || phase_ms > 0) &&
           NEAR * away_from(middle, phase_ms, step_ms) <= step_ms &&
           4 * count_around(points, count, step_ms, phase_ms) >= 3 * count;
}

struct grid_cells grid_cells(const struct point *points, size_t count, int64_t step_ms,
                             const struct grid_cells *before)
{
    struct grid_cells cells = {.step_ms = step_ms};
    size_t used = count < PHASE_POINTS ? count : PHASE_POINTS;
    size_t newest = count < PHASE_NEWEST ? count : PHASE_NEWEST;
    const struct point *all = points + count - used, *last = points + count - newest;
    if (before && before->step_ms == step_ms && used > 1 && cells_stay(all, used, before)) {
        cells = around_label(all, used, step_ms, before->phase_ms);
        cells.lead_ms = before->lead_ms > 0 ? before->lead_ms : cells.lead_ms;
        return cells;
    }
    int64_t label = common_residue(last, newest, step_ms);
    int64_t usual = common_residue(all, used, step_ms);
    bool exact = newest > 1 && count_residue(last, newest, step_ms, label) + newest / 20 >= newest;
    if (!exact && used > 1 && 10 * count_residue(all, used, step_ms, usual) >= 9 * used) {
        exact = true;
        label = usual;
    }
    if (exact) {
        return around_label(all, used, step_ms, label);
    }
    label = middle_of(all, used, step_ms);
    cells.lead_ms = used > 1 && is_around(all, used, step_ms, label) ? step_ms / 2 : 0;
    cells.phase_ms = cells.lead_ms ? label : 0;
    return cells;
}

/* ---------------------------------------------------------------- months */

static int64_t month_begin(int64_t time_ms)
{
    struct civil civil;
    clock_civil(time_ms, &civil);
    return time_ms - floor_mod(time_ms, DAY_MS) - (civil.day - 1) * DAY_MS;
}

int64_t grid_month_ms(int64_t time_ms)
{
    int64_t begin_ms = month_begin(time_ms), next_ms = month_begin(begin_ms + 31 * DAY_MS);
    return time_ms - begin_ms < next_ms - time_ms ? begin_ms : next_ms;
}

bool grid_of_months(const struct point *points, size_t count)
{
    size_t used = count < PHASE_POINTS ? count : PHASE_POINTS, begins = 0;
    for (size_t i = count - used; i < count; i++) {
        begins += month_begin(points[i].time_ms) == points[i].time_ms ? 1 : 0;
    }
    return 10 * begins >= 9 * used;
}

/* ---------------------------------------------------------------- values */

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
    const struct grid_cells grid = {rule->step_ms, rule->phase_ms, rule->lead_ms};
    CHECK(grid.step_ms > 0);
    *start_ms = 0;
    int64_t open_cell = rule->now_ms == INT64_MAX ? INT64_MAX : cell_of(&grid, rule->now_ms);
    while (count > 0 && cell_of(&grid, points[count - 1].time_ms) >= open_cell) {
        count--;
    }
    if (count == 0 || maximum == 0) {
        return 0;
    }
    int64_t first_cell = cell_of(&grid, points[0].time_ms);
    int64_t last_cell = cell_of(&grid, points[count - 1].time_ms);
    if ((uint64_t)(last_cell - first_cell) >= maximum) {
        first_cell = last_cell - (int64_t)maximum + 1;
    }
    size_t cells = (size_t)(last_cell - first_cell) + 1;
    for (size_t i = 0; i < cells; i++) {
        values[i] = NAN;
    }
    struct sampler sampler = {
        .points = points, .count = count, .counter = rule->counter, .excluded = rule->excluded};
    int64_t from_ms = time_of(&grid, first_cell) - grid.lead_ms;
    sampler.next = first_needed(points, count, from_ms, rule->counter);
    struct point sample;
    int64_t cell = INT64_MIN;
    double sum = 0.0;
    size_t in_cell = 0;
    while (sampler_next(&sampler, &sample)) {
        int64_t here = cell_of(&grid, sample.time_ms);
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
    *start_ms = time_of(&grid, first_cell);
    return cells;
}
