/* GET /api/v1/accuracy: issued forecasts against what arrived, champion and baseline side by side.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Computed from the vintages and the points each time it is asked for, so values that came late or
 * were corrected count as they are now. Both columns are over the same (forecast, step) pairs.
 */
#include "api/desk.h"
#include "api/forecast_query.h"
#include "api/handlers.h"
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

/* Both forecasters on the same pairs. */
struct both {
    struct score champion, baseline;
};

struct sums {
    size_t vintages, horizon;
    /* Of vintages that a model made, and of those where a baseline served. */
    struct both all, parts[3];
    struct score fallback, fallback_parts[3];
    struct both *steps; /* STEPS_MAX, where steps are asked for */
    struct score *fallback_steps;
    char baseline[24];
    bool mixed; /* more than one baseline */
};

/* One series while its vintages are read. */
struct reading {
    struct forecast_desk *desk;
    struct model_series series;
    double scale;
    int64_t from_ms; /* values before it are out of the window */
    struct sums *sums;
};

static void add_pair(struct reading *reading, const struct vintage *vintage, size_t h,
                     double actual)
{
    struct sums *sums = reading->sums;
    size_t part = h * 3 / vintage->served.horizon;
    bool by_model = vintage->model[0] != '\0';
    const struct forecast *baseline = &vintage->baseline;
    if (h >= baseline->horizon) {
        return;
    }
    if (!by_model) {
        score_add(&sums->fallback, baseline, h, actual, reading->scale);
        score_add(&sums->fallback_parts[part], baseline, h, actual, reading->scale);
        if (sums->steps && h < STEPS_MAX) {
            score_add(&sums->fallback_steps[h], baseline, h, actual, reading->scale);
        }
        return;
    }
    score_add(&sums->all.champion, &vintage->served, h, actual, reading->scale);
    score_add(&sums->all.baseline, baseline, h, actual, reading->scale);
    score_add(&sums->parts[part].champion, &vintage->served, h, actual, reading->scale);
    score_add(&sums->parts[part].baseline, baseline, h, actual, reading->scale);
    if (sums->steps && h < STEPS_MAX) {
        score_add(&sums->steps[h].champion, &vintage->served, h, actual, reading->scale);
        score_add(&sums->steps[h].baseline, baseline, h, actual, reading->scale);
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
        vintage.step_ms != series->step_ms) {
        return true;
    }
    int64_t end_ms = series->start_ms + (int64_t)series->count * series->step_ms;
    bool used = false;
    for (size_t h = 0; h < vintage.served.horizon; h++) {
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

/* All that one series adds to `sums`. */
static enum status read_series(struct call *call, uint32_t id, int64_t window_ms, struct sums *sums,
                               int64_t *step_ms, struct error *error)
{
    struct forecast_desk *desk = call->worker->desk;
    struct series_info info;
    struct series_facts facts;
    double *values = NULL;
    struct reading reading = {.desk = desk, .sums = sums};
    int64_t now_ms = clock_wall_ms();
    *step_ms = 0;
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
    reading.from_ms = now_ms - window_ms;
    int64_t cells = (info.last_ms - reading.from_ms) / facts.step_ms + 1;
    size_t wanted = (cells > 0 && cells < VALUES_MAX ? (size_t)cells : VALUES_MAX) + SCALE_VALUES;
    enum status status =
        desk_floats(desk, VINTAGE_FLOATS(STEPS_MAX), error) == STATUS_OK
            ? forecast_grid(desk, &info, wanted, &values, &reading.series, &facts, error)
            : error->status;
    if (status == STATUS_OK && reading.series.count > 0) {
        const struct model_series *series = &reading.series;
        reading.scale = score_scale(series->values, series->count, series->seasons[0]);
        int64_t first_ms = reading.from_ms - STEPS_MAX * series->step_ms;
        status =
            storage_vintages(desk->reader, id, first_ms, INT64_MAX, read_vintage, &reading, error);
    }
    mem_free(values);
    return status;
}

static void merge(struct sums *pool, const struct sums *sums)
{
    pool->vintages += sums->vintages;
    pool->horizon = sums->horizon > pool->horizon ? sums->horizon : pool->horizon;
    score_merge(&pool->all.champion, &sums->all.champion);
    score_merge(&pool->all.baseline, &sums->all.baseline);
    score_merge(&pool->fallback, &sums->fallback);
    for (size_t part = 0; part < 3; part++) {
        score_merge(&pool->parts[part].champion, &sums->parts[part].champion);
        score_merge(&pool->parts[part].baseline, &sums->parts[part].baseline);
        score_merge(&pool->fallback_parts[part], &sums->fallback_parts[part]);
    }
    for (size_t h = 0; pool->steps && h < STEPS_MAX; h++) {
        score_merge(&pool->steps[h].champion, &sums->steps[h].champion);
        score_merge(&pool->steps[h].baseline, &sums->steps[h].baseline);
        score_merge(&pool->fallback_steps[h], &sums->fallback_steps[h]);
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
    score_figures(score, &figures);
    text_add_format(out, ",\"%s\":{", name);
    add_figure(out, "mase", figures.mase, true);
    add_figure(out, "smape", figures.smape, false);
    add_figure(out, "wql", figures.wql, false);
    add_figure(out, "pinball", figures.pinball, false);
    add_figure(out, "coverage80", figures.coverage80, false);
    add_figure(out, "coverage95", figures.coverage95, false);
    add_figure(out, "bias", figures.bias, false);
    text_add_char(out, '}');
}

/* The champion's column, or null where only baselines served; the baseline's on the same pairs. */
static void add_both(struct text *out, const struct both *both, const struct score *fallback)
{
    bool by_model = both->champion.count > 0;
    const struct score *baseline = by_model ? &both->baseline : fallback;
    text_add_format(out, "\"count\":%llu", (unsigned long long)baseline->count);
    if (by_model) {
        add_score(out, "champion", &both->champion);
    } else {
        text_add_string(out, ",\"champion\":null");
    }
    if (baseline->count > 0) {
        add_score(out, "baseline", baseline);
    } else {
        text_add_string(out, ",\"baseline\":null");
    }
}

static void add_rows(struct text *out, const struct sums *sums, enum by by)
{
    size_t rows = by == BY_STEP ? sums->horizon : (sums->horizon > 0 ? 3 : 0);
    text_add_string(out, ",\"by_horizon\":[");
    for (size_t i = 0; i < rows; i++) {
        size_t first = by == BY_STEP ? i + 1 : (i * sums->horizon + 2) / 3 + 1;
        size_t last = by == BY_STEP ? i + 1 : ((i + 1) * sums->horizon + 2) / 3;
        text_add_format(out, "%s{\"steps\":[%zu,%zu],", i ? "," : "", first, last);
        add_both(out, by == BY_STEP ? &sums->steps[i] : &sums->parts[i],
                 by == BY_STEP ? &sums->fallback_steps[i] : &sums->fallback_parts[i]);
        text_add_char(out, '}');
    }
    text_add_char(out, ']');
}

static void add_sums(struct text *out, const struct sums *sums, enum by by)
{
    text_add_format(out, "\"vintages\":%zu,", sums->vintages);
    add_both(out, &sums->all, &sums->fallback);
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
            forecast_query_series(call->services, parameter->value, parameter->length,
                                  &wanted->series, error) != STATUS_OK) {
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
    size_t bytes = sizeof(struct sums) + steps * (sizeof(struct both) + sizeof(struct score));
    struct sums *sums = mem_zeroed(1, bytes);
    if (!sums) {
        return error_set(error, STATUS_NO_MEMORY, "no memory for the figures");
    }
    if (steps > 0) {
        sums->steps = (struct both *)(sums + 1);
        sums->fallback_steps = (struct score *)(sums->steps + steps);
    }
    *out = sums;
    return STATUS_OK;
}

static enum status add_series(struct call *call, const struct wanted *wanted, size_t index,
                              struct sums *pool, struct text *out, struct error *error)
{
    char name[SERIES_TEXT_MAX];
    struct sums *sums = NULL;
    uint32_t id = wanted->series.ids[index];
    int64_t step_ms = 0;
    enum status status = sums_new(wanted->by, &sums, error);
    if (status == STATUS_OK) {
        status = read_series(call, id, wanted->window_ms, sums, &step_ms, error);
    }
    if (status == STATUS_OK) {
        size_t length = storage_series_text(call->services->storage, id, name);
        text_add_string(out, index ? ",{\"series\":" : "{\"series\":");
        text_add_json_string(out, name, length);
        text_add_format(out, ",\"step_ms\":%lld,", (long long)step_ms);
        add_sums(out, sums, wanted->by);
        text_add_char(out, '}');
        merge(pool, sums);
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
