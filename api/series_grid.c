/* What can be said of a series before any model: its step, seasons, state, and its values on the
 * grid. SPDX-License-Identifier: Apache-2.0
 */
#include "api/desk.h"

#include "api/families.h"
#include "base/clock.h"
#include "base/memory.h"
#include "base/time_zone.h"

#include <math.h>
#include <string.h>

#define CHEAP_POINTS     64
#define CHECK_POINTS     48   /* more of them may tell another step */
#define CELL_POINTS      256  /* that tell where cells lie */
#define FACT_POINTS      2048 /* what the store keeps in memory of a series */
#define SEASON_VALUES    4096 /* in which seasons are looked for, at least; more of short steps: */
#define SEASON_VALUES_MS (28 * DAY_MS) /* a week is seen where it came three times */
#define MORE_POINTS      4             /* times as many, once */
#define HOUR_MS          INT64_C(3600000)
#define DAY_MS           (24 * HOUR_MS)
#define STALE_STEPS      10
#define STALE_MS_MIN     60000

/* Up to when cells count as closed: see "Origin" in forecast_make.h. */
static int64_t closed_until(const struct series_info *info, const struct series_facts *facts,
                            int64_t now_ms)
{
    if (live_points_per_cell(facts) == 1) {
        return INT64_MAX;
    }
    struct grid_cells cells = live_cells(facts);
    int64_t end_ms = grid_cell_ms(&cells, info->last_ms) + cells.step_ms - cells.lead_ms;
    return end_ms <= now_ms ? INT64_MAX : now_ms;
}

int64_t forecast_origin_ms(const struct series_info *info, const struct series_facts *facts,
                           int64_t now_ms)
{
    struct grid_cells cells = live_cells(facts);
    int64_t cell_ms = grid_cell_ms(&cells, info->last_ms);
    return closed_until(info, facts, now_ms) == INT64_MAX ? cell_ms : cell_ms - facts->step_ms;
}

enum series_nature { IS_GAUGE, IS_COUNTER, MAY_BE_COUNTER };

/* What the user set, then what the sender said, then the name; of the last the points decide. */
static enum series_nature nature_of(const struct forecast_desk *desk,
                                    const struct series_info *info)
{
    char name[SERIES_TEXT_MAX];
    enum series_kind kind = info->settings.kind;
    size_t length = storage_series_text(desk->services->storage, info->id, name);
    if (info->settings.has_kind || families_kind(desk->services->families, name, length, &kind)) {
        return kind == SERIES_COUNTER ? IS_COUNTER : IS_GAUGE;
    }
    return counter_name(name, length) ? MAY_BE_COUNTER : IS_GAUGE;
}

/* Cells that are wanted of a series, and what came of it. */
struct cells_read {
    double *values;
    size_t maximum, points; /* to be read */
    size_t count;
    int64_t start_ms;
};

static void fill(struct forecast_desk *desk, const struct series_info *info,
                 const struct series_facts *facts, size_t points, struct cells_read *cells)
{
    struct grid_rule rule = {.step_ms = facts->step_ms,
                             .phase_ms = facts->phase_ms,
                             .lead_ms = facts->lead_ms,
                             .counter = facts->counter,
                             .now_ms = closed_until(info, facts, clock_wall_ms()),
                             .excluded = &desk->excluded};
    desk_excluded(desk, info);
    cells->count =
        grid_fill(desk->points, points, &rule, cells->values, cells->maximum, &cells->start_ms);
}

/* Where the step was a shorter one until lately as many points make fewer cells: more are read. */
static enum status read_cells(struct forecast_desk *desk, const struct series_info *info,
                              const struct series_facts *facts, struct cells_read *cells,
                              struct error *error)
{
    size_t count = 0, wanted = cells->points;
    if (desk_read(desk, info->id, wanted, &count, error) != STATUS_OK) {
        return error->status;
    }
    fill(desk, info, facts, count, cells);
    if (count >= wanted && count < info->points && 2 * cells->count < cells->maximum &&
        !size_mul(wanted, MORE_POINTS, &wanted)) {
        if (desk_read(desk, info->id, wanted, &count, error) != STATUS_OK) {
            return error->status;
        }
        fill(desk, info, facts, count, cells);
    }
    return STATUS_OK;
}

/* Newest values in which seasons are looked for. A daily wave of one-minute steps shows from 4,320
 * values on, three weeks of five-minute ones have 6,048. */
static size_t season_values(int64_t step_ms)
{
    int64_t wanted = SEASON_VALUES_MS / step_ms;
    size_t most = wanted < (int64_t)SERIES_VALUES_MAX ? (size_t)wanted : SERIES_VALUES_MAX;
    return most > SEASON_VALUES ? most : SEASON_VALUES;
}

/* A change of unit drowns what came before it: the past is brought to the new one, as forecasts do
 * it. `room` has 3 * SHIFT_VALUES doubles. */
static void mend_unit(double *values, size_t count, double *room)
{
    static const uint32_t unknown[SEASONS_MAX];
    size_t used = count < SHIFT_VALUES ? count : SHIFT_VALUES;
    struct level_shift shift;
    if (level_shift_find(values + count - used, used, unknown, room, &shift) && shift.unit) {
        shift.at += count - used;
        level_shift_apply(&shift, values, count);
    }
}

/* Of at most `most` values. */
static enum status find_seasons(struct forecast_desk *desk, const struct series_info *info,
                                size_t most, struct series_facts *facts, struct error *error)
{
    const struct series_settings *settings = &info->settings;
    memset(facts->seasons, 0, sizeof(facts->seasons));
    facts->with_seasons = true;
    if (settings->has_season) {
        int64_t own_ms = settings->has_step ? settings->step_ms : facts->native_ms;
        int64_t times = own_ms > 0 ? facts->step_ms / own_ms : 1; /* of a coarser grid */
        bool whole = settings->season_steps % times == 0;
        int64_t steps = whole ? settings->season_steps / times : 0;
        facts->seasons[0] = steps > 1 ? (uint32_t)steps : 0;
        return STATUS_OK;
    }
    if (desk_scratch(desk, most + (size_t)3 * SHIFT_VALUES, error) != STATUS_OK) {
        return error->status;
    }
    struct cells_read cells = {
        .values = desk->scratch, .maximum = most, .points = live_points_per_cell(facts) * most};
    if (read_cells(desk, info, facts, &cells, error) != STATUS_OK) {
        return error->status;
    }
    mend_unit(desk->scratch, cells.count, desk->scratch + most);
    season_detect(desk->scratch, cells.count, facts->step_ms, facts->seasons);
    return STATUS_OK;
}

/* Cells of several readings lie on multiples of the step: hours are hours, days are days. */
static void find_cells(const struct point *points, size_t count, const struct grid_cells *before,
                       struct series_facts *facts)
{
    if (facts->step_ms > 0 && live_points_per_cell(facts) == 1) {
        struct grid_cells cells = grid_cells(points, count, facts->step_ms, before);
        facts->phase_ms = cells.phase_ms;
        facts->lead_ms = cells.lead_ms;
        facts->months = facts->step_ms == GRID_MONTH_MS && grid_of_months(points, count);
    }
}

/* Points that tell whether a longer step is but one of the nights: see grid_step. */
static size_t points_of_nights(int64_t before_ms, int64_t step_ms)
{
    int64_t points = DAY_MS / before_ms + DAY_MS / step_ms + FACT_POINTS;
    return points < GRID_STEP_POINTS ? (size_t)points : GRID_STEP_POINTS;
}

/* What is known of the step from `count` points, the newest; more are read where they are too few
 * to tell that of an irregular series, which has another one in every few dozen of them, and where
 * it is another one than before. */
static enum status find_step(struct forecast_desk *desk, const struct series_info *info,
                             size_t *count, struct series_facts *facts, struct error *error)
{
    int64_t before_ms = facts->native_ms;
    facts->native_ms = grid_step(desk->points, *count, before_ms);
    size_t wanted = *count;
    if (before_ms > 0 && facts->native_ms > before_ms) {
        wanted = points_of_nights(before_ms, facts->native_ms);
    } else if (facts->native_ms > 0 &&
               ((before_ms > 0 && facts->native_ms != before_ms) ||
                2 * grid_off_step(desk->points, *count, facts->native_ms) > *count)) {
        wanted = FACT_POINTS;
    }
    if (wanted > *count && *count < info->points) {
        if (desk_read(desk, info->id, wanted, count, error) != STATUS_OK) {
            return error->status;
        }
        facts->native_ms = grid_step(desk->points, *count, before_ms);
    }
    return STATUS_OK;
}

/* Whether the newest reading came where no cell has it as its own: by what it is called, or, where
 * cells have a lead, around that. Of an hour or more 48 of these are too long to wait for. */
static bool is_off_cell(const struct series_info *info, const struct series_facts *facts)
{
    struct grid_cells cells = live_cells(facts);
    return facts->step_ms >= HOUR_MS && live_points_per_cell(facts) == 1 && facts->lead_ms == 0 &&
           grid_cell_ms(&cells, info->last_ms) != info->last_ms;
}

/* Whether what is known of the step holds for the points that have come since, looked at now and
 * then: seasons, which take a thousand times as long, have time until there is an eighth more. */
static enum status still_holds(struct forecast_desk *desk, const struct series_info *info,
                               struct series_facts *facts, bool *holds, struct error *error)
{
    size_t count = 0;
    *holds = true;
    if (info->points < facts->checked + CHECK_POINTS &&
        (info->points == facts->checked || !is_off_cell(info, facts))) {
        return STATUS_OK;
    }
    if (desk_read(desk, info->id, CELL_POINTS, &count, error) != STATUS_OK) {
        return error->status;
    }
    struct grid_cells were = live_cells(facts);
    struct grid_cells cells = grid_cells(desk->points, count, facts->step_ms, &were);
    bool elsewhere = live_points_per_cell(facts) == 1 &&
                     (cells.phase_ms != were.phase_ms || cells.lead_ms != were.lead_ms);
    *holds = !elsewhere && !grid_step_left(desk->points, count, facts->native_ms);
    facts->checked = info->points;
    if (*holds) {
        live_facts_put(desk->services->live, info->id, facts);
    }
    return STATUS_OK;
}

/* Facts whose step is still what it was keep their seasons, and whatever else takes long. */
static void keep_facts(const struct series_facts *found, struct series_facts *facts)
{
    facts->phase_ms = found->phase_ms;
    facts->lead_ms = found->lead_ms;
    facts->months = found->months;
    facts->checked = found->checked;
}

/* From at most `wanted` points, the newest, and what was known until now: all but seasons. */
static enum status find_facts(struct forecast_desk *desk, const struct series_info *info,
                              size_t wanted, struct series_facts *facts, struct error *error)
{
    size_t count = 0;
    enum series_nature nature = nature_of(desk, info);
    struct grid_cells were = live_cells(facts);
    *facts = (struct series_facts){.native_ms = facts->native_ms};
    if (desk_read(desk, info->id, nature == MAY_BE_COUNTER ? FACT_POINTS : wanted, &count, error) !=
            STATUS_OK ||
        find_step(desk, info, &count, facts, error) != STATUS_OK) {
        return error->status;
    }
    facts->step_ms = info->settings.has_step ? info->settings.step_ms : facts->native_ms;
    find_cells(desk->points, count, &were, facts);
    desk_excluded(desk, info);
    facts->counter = nature == IS_COUNTER || (nature == MAY_BE_COUNTER &&
                                              counter_shape(desk->points, count, &desk->excluded));
    facts->families = families_version(desk->services->families);
    facts->generation = info->generation;
    facts->points = facts->checked = info->points;
    return STATUS_OK;
}

enum status forecast_facts(struct forecast_desk *desk, const struct series_info *info, bool cheap,
                           struct series_facts *facts, struct error *error)
{
    struct live *live = desk->services->live;
    uint64_t families = families_version(desk->services->families);
    bool holds = false;
    memset(facts, 0, sizeof(*facts));
    bool known = live_facts(live, info, facts) && facts->families == families;
    if (known && still_holds(desk, info, facts, &holds, error) != STATUS_OK) {
        return error->status;
    }
    if (holds && (cheap || facts->with_seasons)) {
        return STATUS_OK;
    }
    struct series_facts were = *facts;
    size_t wanted = cheap && !known ? CHEAP_POINTS : FACT_POINTS;
    if (find_facts(desk, info, wanted, facts, error) != STATUS_OK) {
        return error->status;
    }
    bool same = facts->native_ms == were.native_ms && facts->step_ms == were.step_ms &&
                facts->counter == were.counter;
    if (known && same && (cheap || were.with_seasons)) {
        keep_facts(facts, &were);
        *facts = were;
    } else if (facts->step_ms > 0 && !cheap) {
        if (find_seasons(desk, info, season_values(facts->step_ms), facts, error) != STATUS_OK) {
            return error->status;
        }
        facts->negative = !facts->counter && desk_negative(desk, info);
    }
    if (facts->step_ms > 0) {
        live_facts_put(live, info->id, facts);
    }
    return STATUS_OK;
}

enum status forecast_facts_coarser(struct forecast_desk *desk, const struct series_info *info,
                                   int64_t step_ms, struct series_facts *facts, size_t *cells,
                                   struct error *error)
{
    facts->step_ms = step_ms;
    facts->phase_ms = facts->lead_ms = 0;
    facts->months = false;
    size_t most = COARSER_POINTS / live_points_per_cell(facts);
    *cells = most < 2 ? 2 : most < COARSER_CELLS ? most : COARSER_CELLS;
    return find_seasons(desk, info, *cells, facts, error);
}

int64_t stale_after_ms(int64_t step_ms)
{
    int64_t after = step_ms * STALE_STEPS;
    return after > STALE_MS_MIN ? after : STALE_MS_MIN;
}

enum series_state series_state_of(struct api_services *services, const struct series_info *info,
                                  const struct series_facts *facts, int64_t now_ms)
{
    if (info->points > 0 &&
        (info->ended || now_ms - info->last_ms > stale_after_ms(facts->step_ms))) {
        return SERIES_STALE;
    }
    if (facts->step_ms == 0 || info->points < SHORT_HISTORY) {
        return SERIES_WARMING;
    }
    struct snapshot *champion = registry_acquire(services->registry, facts->step_ms);
    snapshot_release(champion);
    return champion ? SERIES_LEARNED : SERIES_BASELINE;
}

const char *series_state_name(enum series_state state)
{
    static const char *const names[] = {"warming", "baseline", "learned", "stale"};
    return names[state];
}

enum status forecast_grid(struct forecast_desk *desk, const struct series_info *info,
                          const struct grid_order *order, double **values,
                          struct model_series *series, struct series_facts *facts,
                          struct error *error)
{
    const struct series_settings *settings = &info->settings;
    memset(series, 0, sizeof(*series));
    *values = NULL;
    if (order->facts) {
        *facts = *order->facts;
    } else if (forecast_facts(desk, info, order->cheap, facts, error) != STATUS_OK) {
        return error->status;
    }
    char name[SERIES_TEXT_MAX];
    size_t length = storage_series_text(desk->services->storage, info->id, name);
    series->key = series_key(name, length);
    series->step_ms = facts->step_ms;
    memcpy(series->seasons, facts->seasons, sizeof(series->seasons));
    series->minimum = settings->has_minimum ? settings->minimum : -(double)INFINITY;
    if (facts->counter && !settings->has_minimum) {
        series->minimum = 0.0; /* of the rate */
    }
    series->maximum = settings->has_maximum ? settings->maximum : (double)INFINITY;
    series->integer = settings->has_integer && settings->integer;
    series->was_negative = facts->negative;
    series->time_zone = settings->time_zone[0] ? settings->time_zone : NULL;
    /* Whatever is made of the values takes a zone that it does not find for UTC. */
    if (time_zone_prepare(series->time_zone, error) != STATUS_OK) {
        return error->status;
    }
    if (facts->step_ms == 0) {
        return STATUS_OK;
    }
    struct cells_read cells = {.maximum = order->maximum};
    /* One point more than cells, because the first cell may be cut off by the number of points. */
    if (size_mul(cells.maximum + 1, live_points_per_cell(facts), &cells.points)) {
        cells.points = SIZE_MAX;
    }
    cells.values = mem_array(cells.maximum, sizeof(double));
    if (!cells.values) {
        return error_set(error, STATUS_NO_MEMORY, "no memory for the values of a series");
    }
    if (read_cells(desk, info, facts, &cells, error) != STATUS_OK) {
        mem_free(cells.values);
        return error->status;
    }
    series->start_ms = cells.start_ms;
    series->count = cells.count;
    series->values = *values = cells.values;
    return STATUS_OK;
}
