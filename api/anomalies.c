/* GET /api/v1/anomalies: how surprising each value was when it came.
 * SPDX-License-Identifier: Apache-2.0
 *
 * score = |value - median| / half of the 99 % band on that side, of the newest forecast that was
 * issued before the value: with its calibration, and without knowledge of the value or anything
 * later. So one in a hundred ordinary values reaches 1. Where no forecast was issued the series'
 * own past stands in (expect.h), with the same meaning. A value that nothing was known of has no
 * score.
 *
 * Times are those of the grid; a counter's values are its rise per second, as in forecasts.
 */
#include "api/desk.h"
#include "api/expect.h"
#include "api/forecast_query.h"
#include "api/forecast_render.h"
#include "api/handlers.h"
#include "api/track.h"
#include "base/memory.h"

#include <math.h>
#include <string.h>

#define SERIES_MAX   20
#define CELLS_PRESET 1000
#define CELLS_MAX    11000
#define CELLS_BEFORE 2048   /* that expectations are made of */
#define POINTS_MAX   500000 /* that are read of a series */
#define HORIZON_MAX  1024
#define SCORE_MAX    1000.0 /* of a series that never moved, any move is infinitely surprising */
#define TIME_MAX_MS  INT64_C(1000000000000000) /* further away nothing is stored */
#define LOW_LEVEL    0.005
#define HIGH_LEVEL   0.995

/* One series on its grid; values[0 .. first) are before what was asked for. */
struct watch {
    struct forecast_desk *desk;
    struct series_facts facts;
    int64_t start_ms, step_ms;
    double *values, *scores;
    size_t count, first;
    size_t unscored, issued, expected; /* values by where their score came from */
};

static double score_of(double value, double median, double reach)
{
    double least = fmax(1e-9 * fabs(median), 1e-12);
    return fmin(fabs(value - median) / fmax(reach, least), SCORE_MAX);
}

/* ---------------------------------------------------------------- against issued forecasts */

static bool score_vintage(void *context, int64_t issued_ms, const unsigned char *bytes,
                          size_t length)
{
    struct watch *watch = context;
    struct forecast_desk *desk = watch->desk;
    struct vintage vintage;
    struct error ignored = {0};
    (void)issued_ms;
    if (vintage_decode(bytes, length, desk->floats, desk->floats_capacity, &vintage, &ignored) !=
            STATUS_OK ||
        !vintage_fits(&vintage, watch->step_ms, watch->facts.counter) ||
        !vintage_align(&vintage, watch->start_ms)) {
        return true;
    }
    for (size_t h = 0; h < vintage.served.horizon; h++) {
        int64_t time_ms = vintage.origin_ms + (int64_t)(h + 1) * vintage.step_ms;
        int64_t cell = (time_ms - watch->start_ms) / watch->step_ms;
        if (time_ms < watch->start_ms || cell < (int64_t)watch->first ||
            cell >= (int64_t)watch->count || isnan(watch->values[cell]) ||
            !isnan(watch->scores[cell])) {
            continue; /* the newest vintage comes first */
        }
        double value = watch->values[cell];
        double median = forecast_quantile(&vintage.served, h, 0.5);
        double edge =
            forecast_quantile(&vintage.served, h, value > median ? HIGH_LEVEL : LOW_LEVEL);
        watch->scores[cell] = score_of(value, median, fabs(edge - median));
        watch->issued++;
        watch->unscored--;
    }
    return watch->unscored > 0;
}

/* ---------------------------------------------------------------- against the past */

static enum status score_expected(struct watch *watch, struct error *error)
{
    struct expected *expected = mem_array(watch->count, sizeof(*expected));
    if (!expected) {
        return error_set(error, STATUS_NO_MEMORY, "no memory to look for anomalies");
    }
    enum status status =
        expect_past(watch->values, watch->count, watch->facts.seasons[0], expected, error);
    for (size_t i = watch->first; i < watch->count && status == STATUS_OK; i++) {
        if (isnan(watch->scores[i]) && !isnan(watch->values[i]) && !isnan(expected[i].reach)) {
            watch->scores[i] = score_of(watch->values[i], expected[i].value, expected[i].reach);
            watch->expected++;
        }
    }
    mem_free(expected);
    return status;
}

/* ---------------------------------------------------------------- reading a series */

struct range {
    int64_t start_ms, end_ms; /* start INT64_MIN: not given */
};

/* The cells of a range, and those before it that expectations need. */
static enum status choose_cells(const struct range *range, const struct series_info *info,
                                struct watch *watch, int64_t *end_ms, struct error *error)
{
    const struct grid_cells cells = live_cells(&watch->facts);
    int64_t step_ms = cells.step_ms;
    int64_t last_ms = info->last_ms < range->end_ms - 1 ? info->last_ms : range->end_ms - 1;
    last_ms = grid_cell_ms(&cells, last_ms);
    /* Readings before the end may belong to a cell behind it: that is of the next range. */
    last_ms -= last_ms >= range->end_ms ? step_ms : 0;
    int64_t first_ms = last_ms - (CELLS_PRESET - 1) * step_ms;
    if (range->start_ms != INT64_MIN) {
        first_ms = grid_cell_ms(&cells, range->start_ms - cells.lead_ms + step_ms - 1);
    }
    int64_t asked = last_ms >= first_ms ? (last_ms - first_ms) / step_ms + 1 : 0;
    if (asked > CELLS_MAX) {
        error_set(error, STATUS_INVALID, "the range is %lld steps of %lld ms, the limit is %d",
                  (long long)asked, (long long)step_ms, CELLS_MAX);
        error_code(error, "bad_parameter", "start");
        return error_hint(error, "Ask for a shorter range, several times.");
    }
    size_t before = CELLS_BEFORE;
    while (before < 3 * (size_t)watch->facts.seasons[0] && before < CELLS_MAX) {
        before *= 2;
    }
    watch->start_ms = first_ms - (int64_t)before * step_ms;
    watch->count = asked > 0 ? (size_t)asked + before : 0;
    watch->first = before;
    *end_ms = last_ms + step_ms - cells.lead_ms;
    return STATUS_OK;
}

/* Moves what grid_fill made to where it belongs; the rest is missing. */
static enum status fill_cells(struct watch *watch, size_t points, struct error *error)
{
    int64_t start_ms = 0;
    double *grid = mem_array(watch->count, sizeof(*grid));
    watch->values = mem_array(watch->count, sizeof(double));
    watch->scores = mem_array(watch->count, sizeof(double));
    if (!grid || !watch->values || !watch->scores) {
        mem_free(grid);
        return error_set(error, STATUS_NO_MEMORY, "no memory for the values of a series");
    }
    for (size_t i = 0; i < watch->count; i++) {
        watch->values[i] = (double)NAN;
        watch->scores[i] = (double)NAN;
    }
    struct grid_rule rule = {.step_ms = watch->step_ms,
                             .phase_ms = watch->facts.phase_ms,
                             .lead_ms = watch->facts.lead_ms,
                             .counter = watch->facts.counter,
                             .now_ms = INT64_MAX,
                             .excluded = &watch->desk->excluded};
    size_t cells = grid_fill(watch->desk->points, points, &rule, grid, watch->count, &start_ms);
    for (size_t i = 0; i < cells; i++) {
        int64_t at = (start_ms - watch->start_ms) / watch->step_ms + (int64_t)i;
        if (at >= 0 && at < (int64_t)watch->count) {
            watch->values[at] = grid[i];
            watch->unscored += at >= (int64_t)watch->first && !isnan(grid[i]);
        }
    }
    mem_free(grid);
    return STATUS_OK;
}

static enum status read_points(struct watch *watch, uint32_t id, int64_t end_ms, size_t *points,
                               struct error *error)
{
    size_t wanted = 2 * watch->count + 2;
    int64_t native_ms = watch->facts.native_ms;
    if (native_ms > 0 && native_ms < watch->step_ms) {
        wanted *= (size_t)(watch->step_ms / native_ms);
    }
    wanted = wanted < POINTS_MAX ? wanted : POINTS_MAX;
    if (desk_room(watch->desk, wanted, error) != STATUS_OK ||
        storage_read(watch->desk->reader, id, watch->start_ms - watch->facts.lead_ms, end_ms,
                     watch->desk->points, wanted, points, error) != STATUS_OK) {
        return error->status;
    }
    if (*points == wanted) {
        error_set(error, STATUS_INVALID, "the range holds more than %zu points", wanted);
        error_code(error, "bad_parameter", "start");
        return error_hint(error, "Ask for a shorter range, several times.");
    }
    return STATUS_OK;
}

/* Fills `watch`; its arrays are to be freed in any case. */
static enum status watch_series(struct forecast_desk *desk, uint32_t id, const struct range *range,
                                struct watch *watch, struct error *error)
{
    struct series_info info;
    int64_t end_ms = 0;
    size_t points = 0;
    memset(watch, 0, sizeof(*watch));
    watch->desk = desk;
    if (storage_series_info(desk->services->storage, id, &info, error) != STATUS_OK) {
        return error_code(error, "unknown_series", "series");
    }
    if (forecast_facts(desk, &info, false, &watch->facts, error) != STATUS_OK) {
        return error->status;
    }
    watch->step_ms = watch->facts.step_ms;
    if (watch->step_ms == 0) {
        return STATUS_OK;
    }
    if (choose_cells(range, &info, watch, &end_ms, error) != STATUS_OK) {
        return error->status;
    }
    if (watch->count == 0) {
        return STATUS_OK;
    }
    desk_excluded(desk, &info);
    if (read_points(watch, id, end_ms, &points, error) != STATUS_OK ||
        fill_cells(watch, points, error) != STATUS_OK ||
        desk_floats(desk, VINTAGE_FLOATS(HORIZON_MAX), error) != STATUS_OK) {
        return error->status;
    }
    int64_t first_ms = watch->start_ms + (int64_t)watch->first * watch->step_ms;
    int64_t issued_ms = first_ms - HORIZON_MAX * watch->step_ms;
    if (storage_vintages(desk->reader, id, issued_ms, INT64_MAX, score_vintage, watch, error) !=
        STATUS_OK) {
        return error->status;
    }
    return watch->unscored > 0 ? score_expected(watch, error) : STATUS_OK;
}

/* ---------------------------------------------------------------- writing */

static int64_t time_of(const struct watch *watch, size_t index)
{
    return live_label_ms(&watch->facts, watch->start_ms + (int64_t)index * watch->step_ms);
}

static void add_score(double score, struct text *out)
{
    text_add_double_digits(out, score, 4);
}

static void render_rows(const struct watch *watch, enum forecast_format format, const char *series,
                        size_t length, struct text *out)
{
    for (size_t i = watch->first; i < watch->count; i++) {
        double score = watch->scores[i];
        if (isnan(watch->values[i])) {
            continue;
        }
        if (format == FORMAT_TABLE) {
            text_add_string(out, out->length > 1 ? ",{\"series\":" : "{\"series\":");
            text_add_json_string(out, series, length);
            text_add_string(out, ",\"timestamp\":");
        } else {
            forecast_render_field(series, length, out);
            text_add_char(out, ',');
        }
        text_add_int(out, time_of(watch, i));
        text_add_string(out, format == FORMAT_TABLE ? ",\"value\":" : ",");
        text_add_double(out, watch->values[i]);
        text_add_string(out, format == FORMAT_TABLE ? ",\"score\":" : ",");
        if (format == FORMAT_TABLE || !isnan(score)) {
            add_score(score, out);
        }
        text_add_char(out, format == FORMAT_TABLE ? '}' : '\n');
    }
}

static void render_json(const struct watch *watch, const char *series, size_t length,
                        struct text *out)
{
    bool first = true;
    text_add_string(out, "{\"series\":");
    text_add_json_string(out, series, length);
    text_add_string(out, ",\"step_ms\":");
    if (watch->step_ms > 0) {
        text_add_int(out, watch->step_ms);
    } else {
        text_add_string(out, "null"); /* too few points to know */
    }
    text_add_string(out, ",\"threshold\":1,\"nominal\":0.01,");
    text_add_format(out, "\"scored_by\":{\"issued\":%zu,\"past\":%zu},\"points\":[", watch->issued,
                    watch->expected);
    for (size_t i = watch->first; i < watch->count; i++) {
        if (!isnan(watch->values[i])) {
            text_add_string(out, first ? "[" : ",[");
            text_add_int(out, time_of(watch, i));
            text_add_char(out, ',');
            text_add_double(out, watch->values[i]);
            text_add_char(out, ',');
            add_score(watch->scores[i], out);
            text_add_char(out, ']');
            first = false;
        }
    }
    text_add_string(out, "]}");
}

/* ---------------------------------------------------------------- the request */

static int64_t clamp(int64_t time_ms)
{
    return time_ms > TIME_MAX_MS ? TIME_MAX_MS : time_ms < -TIME_MAX_MS ? -TIME_MAX_MS : time_ms;
}

static enum status read_wanted(struct call *call, struct forecast_query *wanted,
                               struct range *range, struct error *error)
{
    const struct query *query = &call->query;
    const char *format = query_value(query, "format");
    forecast_query_init(call->services, wanted);
    wanted->maximum = SERIES_MAX;
    for (size_t i = 0; i < query->count; i++) {
        const struct query_parameter *parameter = &query->parameters[i];
        if (strcmp(parameter->name, "series") == 0 && parameter->length > 0 &&
            forecast_query_series(call->view, parameter->value, parameter->length, wanted, error) !=
                STATUS_OK) {
            return error->status;
        }
    }
    if ((format && forecast_query_format(wanted, format, error) != STATUS_OK) ||
        query_time(query, "start", INT64_MIN, &range->start_ms, error) != STATUS_OK ||
        query_time(query, "end", INT64_MAX, &range->end_ms, error) != STATUS_OK ||
        forecast_query_finish(wanted, error) != STATUS_OK) {
        return error->status;
    }
    if (range->start_ms != INT64_MIN) {
        range->start_ms = clamp(range->start_ms);
    }
    range->end_ms = clamp(range->end_ms);
    if (range->start_ms >= range->end_ms) {
        error_set(error, STATUS_INVALID, "\"end\" has to lie behind \"start\"");
        return error_code(error, "bad_parameter", "end");
    }
    return STATUS_OK;
}

static enum status answer_series(struct call *call, const struct forecast_query *wanted,
                                 const struct range *range, size_t index, struct text *out,
                                 struct error *error)
{
    char name[SERIES_TEXT_MAX];
    struct watch watch;
    uint32_t id = wanted->ids[index];
    enum status status = watch_series(call->worker->desk, id, range, &watch, error);
    if (status == STATUS_OK) {
        size_t length = storage_series_text(call->services->storage, id, name);
        if (wanted->format == FORMAT_JSON) {
            text_add_string(out, index ? "," : "");
            render_json(&watch, name, length, out);
        } else {
            render_rows(&watch, wanted->format, name, length, out);
        }
    }
    mem_free(watch.values);
    mem_free(watch.scores);
    return status;
}

enum status anomalies_get(struct call *call, struct error *error)
{
    struct forecast_query wanted;
    struct range range;
    struct text out;
    enum status status = read_wanted(call, &wanted, &range, error);
    if (status != STATUS_OK) {
        return status;
    }
    text_init(&out, ANSWER_BYTES_MAX);
    bool listed = wanted.format == FORMAT_JSON && !forecast_query_is_single(&wanted);
    if (wanted.format == FORMAT_CSV) {
        text_add_string(&out, "series,timestamp,value,score\n");
    } else {
        text_add_string(&out, wanted.format == FORMAT_TABLE ? "["
                              : listed                      ? "{\"anomalies\":["
                                                            : "");
    }
    for (size_t i = 0; i < wanted.count && status == STATUS_OK; i++) {
        status = answer_series(call, &wanted, &range, i, &out, error);
    }
    text_add_string(&out, listed ? "]}" : wanted.format == FORMAT_TABLE ? "]" : "");
    if (status == STATUS_OK) {
        status = response_take_text(call->response, 200, forecast_content_type(wanted.format), &out,
                                    error);
    }
    if (status != STATUS_OK) {
        text_release(&out);
        return status == STATUS_TOO_LARGE ? error_code(error, "answer_too_large", NULL) : status;
    }
    response_common_headers(call->response);
    return STATUS_OK;
}
