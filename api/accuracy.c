/* GET /api/v1/accuracy: issued forecasts against what arrived, champion and baseline side by side.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Computed from the vintages and the points each time it is asked for, so values that came late or
 * were corrected count as they are now. Both columns are over the same (forecast, step) pairs.
 *
 * The newest values are read at once, and vintages that foresaw older ones each with their own:
 * there are a few hundred of them at most, however long the window and short the step.
 */
#include "api/desk.h"
#include "api/forecast_query.h"
#include "api/handlers.h"
#include "api/track.h"
#include "base/clock.h"
#include "base/memory.h"

#include <math.h>
#include <string.h>

#define WINDOW_PRESET_MS (INT64_C(7) * 86400000)
#define WINDOW_MAX_MS    (INT64_C(366) * 86400000)
#define SERIES_MAX       100
#define VALUES_MAX       16384 /* read at once; behind them what the vintages foresaw */
#define SCALE_VALUES     1024  /* before the window, for the scale of MASE */
#define STEPS_MAX        1024
#define PIECE_POINTS     65536 /* read at once behind them */
#define COUNTER_CELLS    64    /* among which a reading to count from is looked for */

enum by { BY_NOTHING, BY_THIRD, BY_STEP };

/* Over some (forecast, step) pairs: all as they were issued; of vintages that a model made, the
 * champion and the baseline beside it; of the others, the baseline. */
struct columns {
    struct score issued, champion, baseline, fallback;
};

struct sums {
    size_t vintages, horizon;
    struct columns all, parts[3];
    char baseline[24];
    bool mixed;             /* more than one baseline */
    struct columns steps[]; /* STEPS_MAX, where steps are asked for */
};

/* One series while its vintages are read. */
struct reading {
    struct forecast_desk *desk;
    struct series_info info;
    struct series_facts facts;
    struct model_series series; /* the newest values */
    double scale;
    int64_t from_ms;        /* values before it are out of the window */
    bool older;             /* there are values in the window that are older than those */
    int64_t before_ms;      /* vintages issued before it are still to be read */
    struct vintage vintage; /* the one that is being scored */
    bool taken;
    struct sums *sums;
    bool by_step;
};

/* Values that came, as far as they are known. */
struct actuals {
    int64_t start_ms;
    size_t count;
    const double *values;
};

static void add_columns(struct columns *columns, const struct vintage *vintage, size_t h,
                        double actual, double scale)
{
    bool by_model = vintage->model[0] != '\0';
    score_add(&columns->issued, &vintage->served, h, actual, scale);
    if (by_model) {
        score_add(&columns->champion, &vintage->served, h, actual, scale);
    }
    score_add(by_model ? &columns->baseline : &columns->fallback, &vintage->baseline, h, actual,
              scale);
}

static void add_pair(struct reading *reading, const struct vintage *vintage, size_t h,
                     double actual)
{
    struct sums *sums = reading->sums;
    size_t part = h * 3 / vintage->served.horizon;
    add_columns(&sums->all, vintage, h, actual, reading->scale);
    add_columns(&sums->parts[part], vintage, h, actual, reading->scale);
    if (reading->by_step && h < STEPS_MAX) {
        add_columns(&sums->steps[h], vintage, h, actual, reading->scale);
    }
}

static void name_baseline(struct sums *sums, const char *name)
{
    if (sums->baseline[0] == '\0') {
        memcpy(sums->baseline, name, sizeof(sums->baseline));
    }
    sums->mixed = sums->mixed || strcmp(sums->baseline, name) != 0;
}

/* Those of its steps whose values are there and in the window. */
static void score_vintage(struct reading *reading, const struct actuals *actuals)
{
    struct sums *sums = reading->sums;
    const struct vintage *vintage = &reading->vintage;
    int64_t step_ms = vintage->step_ms, start_ms = actuals->start_ms;
    int64_t end_ms = start_ms + (int64_t)actuals->count * step_ms;
    bool used = false;
    for (size_t h = 0; h < vintage->served.horizon && h < vintage->baseline.horizon; h++) {
        int64_t time_ms = vintage->origin_ms + (int64_t)(h + 1) * step_ms;
        if (time_ms < reading->from_ms || time_ms < start_ms || time_ms >= end_ms) {
            continue;
        }
        double actual = actuals->values[(time_ms - start_ms) / step_ms];
        if (!isnan(actual)) {
            add_pair(reading, vintage, h, actual);
            used = true;
        }
    }
    if (used) {
        sums->vintages++;
        name_baseline(sums, vintage->baseline_name);
        sums->horizon =
            vintage->served.horizon > sums->horizon ? vintage->served.horizon : sums->horizon;
    }
}

/* To reading->vintage, whose arrays are the desk's; false where it tells nothing of the series. */
static bool decode(struct reading *reading, const unsigned char *bytes, size_t length)
{
    struct forecast_desk *desk = reading->desk;
    struct vintage *vintage = &reading->vintage;
    struct error ignored = {0};
    return vintage_decode(bytes, length, desk->floats, desk->floats_capacity, vintage, &ignored) ==
               STATUS_OK &&
           vintage_fits(vintage, reading->series.step_ms, reading->facts.counter) &&
           vintage_align(vintage, reading->series.start_ms);
}

/* Against the newest values, as far as they go back. */
static bool read_vintage(void *context, int64_t issued_ms, const unsigned char *bytes,
                         size_t length)
{
    struct reading *reading = context;
    const struct model_series *series = &reading->series;
    if (!decode(reading, bytes, length)) {
        return true;
    }
    if (reading->older && reading->vintage.origin_ms + series->step_ms < series->start_ms) {
        reading->before_ms = issued_ms + 1;
        return false;
    }
    score_vintage(reading, &(struct actuals){series->start_ms, series->count, series->values});
    return true;
}

/* ---------------------------------------------------------------- behind the newest values */

static bool take_vintage(void *context, int64_t issued_ms, const unsigned char *bytes,
                         size_t length)
{
    struct reading *reading = context;
    reading->before_ms = issued_ms;
    reading->taken = decode(reading, bytes, length);
    return false;
}

/* The cells of a stretch, whose values are the desk's scratch, some points at a time. `grid` has
 * room for as many and `back` before them. */
static enum status fill_stretch(struct reading *reading, const struct actuals *stretch, size_t back,
                                double *grid, struct error *error)
{
    struct forecast_desk *desk = reading->desk;
    const struct grid_cells cells = live_cells(&reading->facts);
    const struct grid_rule rule = {.step_ms = cells.step_ms,
                                   .phase_ms = cells.phase_ms,
                                   .lead_ms = cells.lead_ms,
                                   .counter = reading->facts.counter,
                                   .now_ms = INT64_MAX,
                                   .excluded = &desk->excluded};
    int64_t back_ms = (int64_t)back * cells.step_ms, next_ms;
    int64_t end_ms = stretch->start_ms + (int64_t)stretch->count * cells.step_ms;
    for (int64_t at_ms = stretch->start_ms; at_ms < end_ms; at_ms = next_ms) {
        size_t points = 0;
        int64_t first_ms = 0;
        if (storage_read(desk->reader, reading->info.id, at_ms - cells.lead_ms - back_ms,
                         end_ms - cells.lead_ms, desk->points, PIECE_POINTS, &points,
                         error) != STATUS_OK) {
            return error->status;
        }
        next_ms = points == PIECE_POINTS
                      ? grid_cell_ms(&cells, desk->points[PIECE_POINTS - 1].time_ms)
                      : end_ms;
        /* A cell of more points than one piece has is the mean of those. */
        next_ms = next_ms > at_ms ? next_ms : at_ms + cells.step_ms;
        size_t filled =
            grid_fill(desk->points, points, &rule, grid, stretch->count + back, &first_ms);
        for (size_t i = 0; i < filled; i++) {
            int64_t time_ms = first_ms + (int64_t)i * cells.step_ms;
            if (time_ms >= at_ms && time_ms < next_ms) {
                desk->scratch[(time_ms - stretch->start_ms) / cells.step_ms] = grid[i];
            }
        }
    }
    return STATUS_OK;
}

/* Reads what reading->vintage foresaw, and scores it. */
static enum status score_older(struct reading *reading, struct error *error)
{
    struct forecast_desk *desk = reading->desk;
    const struct model_series *series = &reading->series;
    int64_t step_ms = series->step_ms, first_ms = reading->vintage.origin_ms + step_ms;
    int64_t end_ms = first_ms + (int64_t)reading->vintage.served.horizon * step_ms;
    int64_t closed_ms = series->start_ms + (int64_t)series->count * step_ms;
    if (reading->from_ms > first_ms) {
        first_ms += (reading->from_ms - first_ms + step_ms - 1) / step_ms * step_ms;
    }
    end_ms = end_ms < closed_ms ? end_ms : closed_ms;
    if (first_ms >= end_ms) {
        return STATUS_OK;
    }
    size_t count = (size_t)((end_ms - first_ms) / step_ms), back = 0;
    if (reading->facts.counter) {
        back = live_points_per_cell(&reading->facts) > 1 ? 1 : COUNTER_CELLS;
    }
    if (desk_room(desk, PIECE_POINTS, error) != STATUS_OK ||
        desk_scratch(desk, 2 * count + back, error) != STATUS_OK) {
        return error->status;
    }
    struct actuals stretch = {first_ms, count, desk->scratch};
    for (size_t i = 0; i < count; i++) {
        desk->scratch[i] = (double)NAN;
    }
    desk_excluded(desk, &reading->info);
    if (fill_stretch(reading, &stretch, back, desk->scratch + count, error) != STATUS_OK) {
        return error->status;
    }
    score_vintage(reading, &stretch);
    return STATUS_OK;
}

/* Vintages issued from `first_ms` on and before reading->before_ms, the newest first, each with its
 * own stretch of values: however long the window is, no more is read than was foreseen in it. */
static enum status read_older(struct reading *reading, int64_t first_ms, struct error *error)
{
    int64_t before_ms;
    do {
        before_ms = reading->before_ms;
        reading->taken = false;
        if (storage_vintages(reading->desk->reader, reading->info.id, first_ms, before_ms,
                             take_vintage, reading, error) != STATUS_OK ||
            (reading->taken && score_older(reading, error) != STATUS_OK)) {
            return error->status;
        }
    } while (reading->before_ms < before_ms);
    return STATUS_OK;
}

/* ---------------------------------------------------------------- one series */

static enum status read_vintages(struct reading *reading, struct error *error)
{
    const struct model_series *series = &reading->series;
    int64_t first_ms = reading->from_ms - STEPS_MAX * series->step_ms;
    int64_t start_ms = series->start_ms - reading->facts.lead_ms;
    reading->scale = score_scale(series->values, series->count, series->seasons[0]);
    reading->older = reading->from_ms < start_ms && reading->info.first_ms < start_ms;
    reading->before_ms = INT64_MIN;
    if (storage_vintages(reading->desk->reader, reading->info.id, first_ms, INT64_MAX, read_vintage,
                         reading, error) != STATUS_OK) {
        return error->status;
    }
    return reading->before_ms > first_ms ? read_older(reading, first_ms, error) : STATUS_OK;
}

/* All that one series adds to reading->sums; from_ms is set. */
static enum status read_series(struct call *call, uint32_t id, struct reading *reading,
                               int64_t *step_ms, struct error *error)
{
    struct forecast_desk *desk = call->worker->desk;
    const struct series_info *info = &reading->info;
    double *values = NULL;
    *step_ms = 0;
    reading->desk = desk;
    if (storage_series_info(call->services->storage, id, &reading->info, error) != STATUS_OK) {
        return error_code(error, "unknown_series", "series");
    }
    if (forecast_facts(desk, info, false, &reading->facts, error) != STATUS_OK) {
        return error->status;
    }
    if (reading->facts.step_ms == 0) {
        return STATUS_OK;
    }
    *step_ms = reading->facts.step_ms;
    int64_t cells = (info->last_ms - reading->from_ms) / *step_ms + 1;
    size_t wanted = (cells > 0 && cells < VALUES_MAX ? (size_t)cells : VALUES_MAX) + SCALE_VALUES;
    struct grid_order order = {.maximum = wanted};
    enum status status = desk_floats(desk, VINTAGE_FLOATS(STEPS_MAX), error);
    if (status == STATUS_OK) {
        status =
            forecast_grid(desk, info, &order, &values, &reading->series, &reading->facts, error);
    }
    if (status == STATUS_OK && reading->series.count > 0) {
        status = read_vintages(reading, error);
    }
    mem_free(values);
    return status;
}

static void merge_columns(struct columns *pool, const struct columns *columns)
{
    score_merge(&pool->issued, &columns->issued);
    score_merge(&pool->champion, &columns->champion);
    score_merge(&pool->baseline, &columns->baseline);
    score_merge(&pool->fallback, &columns->fallback);
}

static void merge(struct sums *pool, const struct sums *sums, bool by_step)
{
    pool->vintages += sums->vintages;
    pool->horizon = sums->horizon > pool->horizon ? sums->horizon : pool->horizon;
    merge_columns(&pool->all, &sums->all);
    for (size_t part = 0; part < 3; part++) {
        merge_columns(&pool->parts[part], &sums->parts[part]);
    }
    for (size_t h = 0; by_step && h < STEPS_MAX; h++) {
        merge_columns(&pool->steps[h], &sums->steps[h]);
    }
    if (sums->vintages > 0) {
        name_baseline(pool, sums->baseline);
        pool->mixed = pool->mixed || sums->mixed;
    }
}

/* ---------------------------------------------------------------- writing */

static void add_figure(struct text *out, const char *name, double value, bool first)
{
    text_add_format(out, first ? "\"%s\":" : ",\"%s\":", name);
    text_add_double_digits(out, isfinite(value) ? value : (double)NAN, 6);
}

static void add_score(struct text *out, const char *name, const struct score *score)
{
    struct score_figures figures;
    text_add_format(out, ",\"%s\":", name);
    if (score->count == 0) {
        text_add_string(out, "null");
        return;
    }
    score_figures(score, &figures);
    text_add_char(out, '{');
    add_figure(out, "mase", figures.mase, true);
    add_figure(out, "smape", figures.smape, false);
    add_figure(out, "wql", figures.wql, false);
    add_figure(out, "pinball", figures.pinball, false);
    add_figure(out, "coverage80", figures.coverage80, false);
    add_figure(out, "coverage95", figures.coverage95, false);
    add_figure(out, "bias", figures.bias, false);
    text_add_format(out, ",\"count\":%llu}", (unsigned long long)score->count);
}

/* The champion's column is null where only baselines served; the baseline's is over the champion's
 * pairs where it has any. */
static void add_all(struct text *out, const struct columns *columns)
{
    bool by_model = columns->champion.count > 0;
    text_add_format(out, "\"count\":%llu", (unsigned long long)columns->issued.count);
    add_score(out, "issued", &columns->issued);
    add_score(out, "champion", &columns->champion);
    add_score(out, "baseline", by_model ? &columns->baseline : &columns->fallback);
}

static void add_rows(struct text *out, const struct sums *sums, enum by by)
{
    size_t rows = by == BY_STEP ? sums->horizon : (sums->horizon > 0 ? 3 : 0);
    text_add_string(out, ",\"by_horizon\":[");
    for (size_t i = 0; i < rows; i++) {
        size_t first = by == BY_STEP ? i + 1 : (i * sums->horizon + 2) / 3 + 1;
        size_t last = by == BY_STEP ? i + 1 : ((i + 1) * sums->horizon + 2) / 3;
        text_add_format(out, "%s{\"steps\":[%zu,%zu],", i ? "," : "", first, last);
        add_all(out, by == BY_STEP ? &sums->steps[i] : &sums->parts[i]);
        text_add_char(out, '}');
    }
    text_add_char(out, ']');
}

static void add_sums(struct text *out, const struct sums *sums, enum by by)
{
    text_add_format(out, "\"vintages\":%zu,", sums->vintages);
    add_all(out, &sums->all);
    text_add_string(out, ",\"baseline_name\":");
    if (sums->baseline[0] != '\0' && !sums->mixed) {
        text_add_json_string(out, sums->baseline, strlen(sums->baseline));
    } else {
        text_add_string(out, "null");
    }
    if (by != BY_NOTHING) {
        add_rows(out, sums, by);
    }
}

/* ---------------------------------------------------------------- the request */

struct wanted {
    struct forecast_query series; /* its ids */
    enum by by;
    int64_t window_ms;
};

static enum status read_wanted(struct call *call, struct wanted *wanted, struct error *error)
{
    const struct query *query = &call->query;
    forecast_query_init(call->services, &wanted->series);
    wanted->series.maximum = SERIES_MAX;
    for (size_t i = 0; i < query->count; i++) {
        const struct query_parameter *parameter = &query->parameters[i];
        if (strcmp(parameter->name, "series") == 0 && parameter->length > 0 &&
            forecast_query_series(call->view, parameter->value, parameter->length, &wanted->series,
                                  error) != STATUS_OK) {
            return error->status;
        }
    }
    if (query_duration(query, "window", WINDOW_PRESET_MS, &wanted->window_ms, error) != STATUS_OK ||
        forecast_query_finish(&wanted->series, error) != STATUS_OK) {
        return error->status;
    }
    if (wanted->window_ms > WINDOW_MAX_MS) {
        error_set(error, STATUS_INVALID, "\"window\" is longer than a year");
        return error_code(error, "bad_parameter", "window");
    }
    const char *by = query_value(query, "by");
    wanted->by = BY_NOTHING;
    if (by && strcmp(by, "horizon") == 0) {
        wanted->by = BY_THIRD;
    } else if (by && strcmp(by, "step") == 0) {
        wanted->by = BY_STEP;
    } else if (by) {
        error_set(error, STATUS_INVALID, "\"by\" cannot be \"%.60s\"", by);
        error_code(error, "bad_parameter", "by");
        return error_hint(error, "There are: horizon (its thirds), step.");
    }
    return STATUS_OK;
}

static enum status sums_new(enum by by, struct sums **out, struct error *error)
{
    size_t steps = by == BY_STEP ? STEPS_MAX : 0;
    *out = mem_zeroed(1, sizeof(**out) + steps * sizeof(struct columns));
    return *out ? STATUS_OK : error_set(error, STATUS_NO_MEMORY, "no memory for the figures");
}

static enum status add_series(struct call *call, const struct wanted *wanted, size_t index,
                              struct sums *pool, struct text *out, struct error *error)
{
    char name[SERIES_TEXT_MAX];
    struct sums *sums = NULL;
    uint32_t id = wanted->series.ids[index];
    int64_t step_ms = 0;
    enum status status = sums_new(wanted->by, &sums, error);
    struct reading reading = {.sums = sums,
                              .from_ms = clock_wall_ms() - wanted->window_ms,
                              .by_step = wanted->by == BY_STEP};
    if (status == STATUS_OK) {
        status = read_series(call, id, &reading, &step_ms, error);
    }
    if (status == STATUS_OK) {
        size_t length = storage_series_text(call->services->storage, id, name);
        text_add_string(out, index ? ",{\"series\":" : "{\"series\":");
        text_add_json_string(out, name, length);
        text_add_format(out, ",\"step_ms\":%lld,", (long long)step_ms);
        add_sums(out, sums, wanted->by);
        text_add_char(out, '}');
        merge(pool, sums, wanted->by == BY_STEP);
    }
    mem_free(sums);
    return status;
}

enum status accuracy_get(struct call *call, struct error *error)
{
    struct wanted wanted;
    struct sums *pool = NULL;
    struct text out;
    enum status status = read_wanted(call, &wanted, error);
    if (status == STATUS_OK) {
        status = sums_new(wanted.by, &pool, error);
    }
    if (status != STATUS_OK) {
        return status;
    }
    text_init(&out, ANSWER_BYTES_MAX);
    text_add_format(&out, "{\"window_ms\":%lld,\"series\":[", (long long)wanted.window_ms);
    for (size_t i = 0; i < wanted.series.count && status == STATUS_OK; i++) {
        status = add_series(call, &wanted, i, pool, &out, error);
    }
    text_add_string(&out, "],\"pooled\":{");
    add_sums(&out, pool, wanted.by);
    text_add_string(&out, "}}");
    mem_free(pool);
    if (status != STATUS_OK) {
        text_release(&out);
        return status;
    }
    return call_json(call, 200, &out, error);
}
