/* GET /api/v1/accuracy: issued forecasts against what arrived, champion and baseline side by side.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Computed from the vintages and the points each time it is asked for, so values that came late or
 * were corrected count as they are now. Both columns are over the same (forecast, step) pairs.
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
#define VALUES_MAX       16384
#define SCALE_VALUES     1024 /* before the window, for the scale of MASE */
#define STEPS_MAX        1024

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
    struct model_series series;
    double scale;
    int64_t from_ms; /* values before it are out of the window */
    struct sums *sums;
    bool by_step;
    bool counter;
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

static bool read_vintage(void *context, int64_t issued_ms, const unsigned char *bytes,
                         size_t length)
{
    struct reading *reading = context;
    struct forecast_desk *desk = reading->desk;
    const struct model_series *series = &reading->series;
    struct vintage vintage;
    struct error ignored = {0};
    (void)issued_ms;
    if (vintage_decode(bytes, length, desk->floats, desk->floats_capacity, &vintage, &ignored) !=
            STATUS_OK ||
        !vintage_fits(&vintage, series->step_ms, reading->counter) ||
        !vintage_align(&vintage, series->start_ms)) {
        return true;
    }
    int64_t end_ms = series->start_ms + (int64_t)series->count * series->step_ms;
    bool used = false;
    for (size_t h = 0; h < vintage.served.horizon && h < vintage.baseline.horizon; h++) {
        int64_t time_ms = vintage.origin_ms + (int64_t)(h + 1) * vintage.step_ms;
        if (time_ms < reading->from_ms || time_ms < series->start_ms || time_ms >= end_ms) {
            continue;
        }
        double actual = series->values[(time_ms - series->start_ms) / series->step_ms];
        if (!isnan(actual)) {
            add_pair(reading, &vintage, h, actual);
            used = true;
        }
    }
    if (used) {
        reading->sums->vintages++;
        name_baseline(reading->sums, vintage.baseline_name);
        if (vintage.served.horizon > reading->sums->horizon) {
            reading->sums->horizon = vintage.served.horizon;
        }
    }
    return true;
}

/* All that one series adds to reading->sums; from_ms is set. */
static enum status read_series(struct call *call, uint32_t id, struct reading *reading,
                               int64_t *step_ms, struct error *error)
{
    struct forecast_desk *desk = call->worker->desk;
    struct series_info info;
    struct series_facts facts;
    double *values = NULL;
    *step_ms = 0;
    reading->desk = desk;
    if (storage_series_info(call->services->storage, id, &info, error) != STATUS_OK) {
        return error_code(error, "unknown_series", "series");
    }
    if (forecast_facts(desk, &info, false, &facts, error) != STATUS_OK) {
        return error->status;
    }
    if (facts.step_ms == 0) {
        return STATUS_OK;
    }
    *step_ms = facts.step_ms;
    int64_t cells = (info.last_ms - reading->from_ms) / facts.step_ms + 1;
    size_t wanted = (cells > 0 && cells < VALUES_MAX ? (size_t)cells : VALUES_MAX) + SCALE_VALUES;
    enum status status = desk_floats(desk, VINTAGE_FLOATS(STEPS_MAX), error) == STATUS_OK
                             ? forecast_grid(desk, &info, &(struct grid_order){.maximum = wanted},
                                             &values, &reading->series, &facts, error)
                             : error->status;
    if (status == STATUS_OK && reading->series.count > 0) {
        const struct model_series *series = &reading->series;
        reading->counter = facts.counter;
        reading->scale = score_scale(series->values, series->count, series->seasons[0]);
        int64_t first_ms = reading->from_ms - STEPS_MAX * series->step_ms;
        status =
            storage_vintages(desk->reader, id, first_ms, INT64_MAX, read_vintage, reading, error);
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
