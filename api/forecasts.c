/* GET and POST /api/v1/forecast, GET /api/v1/timeleft, and keeping the live ones fresh.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "api/desk.h"
#include "api/forecast_render.h"
#include "api/gauges.h"
#include "api/handlers.h"
#include "api/live.h"
#include "api/metrics.h"
#include "api/timeleft.h"
#include "api/track.h"
#include "base/clock.h"
#include "base/memory.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HISTORY_POINTS_MAX 11000
#define REFRESHED_MAX      256 /* answers in one go */

/* What an answer depends on besides its series; taken before anything is read. */
static void note_state(struct api_services *services, const struct forecast_query *query,
                       struct live_answer *answer)
{
    memset(answer, 0, sizeof(*answer));
    answer->open = query->open;
    answer->series_changes = storage_series_changes(services->storage);
    answer->registry_generation = registry_generation(services->registry);
    answer->limits = atomic_load(&services->limits);
    answer->content_type = forecast_content_type(query->format);
    answer->good_until_ms = INT64_MAX;
}

/* A series that is not in the answer: any new point may put it there. */
static void note_skipped(struct live_answer *answer, const struct forecast_made *made)
{
    answer->series[answer->series_count++] = (struct live_series){
        .id = made->id,
        .generation = made->info.generation,
        .cells = {.step_ms = 1},
        .last_ms = made->info.last_ms,
        .skipped = true,
    };
}

static void note_series(struct live_answer *answer, const struct forecast_made *made, size_t age_at)
{
    answer->series[answer->series_count++] = (struct live_series){
        .id = made->id,
        .generation = made->info.generation,
        .cells = made->own,
        .last_ms = made->info.last_ms,
        .age_at = age_at,
    };
    if (made->good_until_ms < answer->good_until_ms) {
        answer->good_until_ms = made->good_until_ms;
    }
}

/* A counter's readings as its rise per second, the quantity that is forecast; NAN where unknown. */
static void to_rates(struct point *points, size_t count)
{
    struct point before = {0, (double)NAN};
    for (size_t i = 0; i < count; i++) {
        struct point now = points[i];
        points[i].value = (double)NAN;
        if (isnan(now.value)) {
            continue;
        }
        if (!isnan(before.value)) {
            double rise = now.value >= before.value ? now.value - before.value : now.value;
            points[i].value = fmax(rise, 0.0) * 1000.0 / (double)(now.time_ms - before.time_ms);
        }
        before = now;
    }
}

/* What was known then, or so it is known now: up to the origin. */
static enum status read_past(struct forecast_desk *desk, const struct forecast_query *query,
                             const struct forecast_made *made, struct forecast_history *history,
                             struct error *error)
{
    size_t count = 0;
    int64_t end_ms = made->origin_ms + made->facts.step_ms - made->facts.lead_ms;
    if (desk_room(desk, HISTORY_POINTS_MAX, error) != STATUS_OK ||
        storage_read(desk->reader, made->id, end_ms - query->history_ms, end_ms, desk->points,
                     HISTORY_POINTS_MAX, &count, error) != STATUS_OK) {
        return error->status;
    }
    if (made->facts.counter) {
        to_rates(desk->points, count);
    }
    *history = (struct forecast_history){desk->points, count};
    return STATUS_OK;
}

static enum status read_history(struct forecast_desk *desk, const struct forecast_query *query,
                                const struct forecast_made *made, struct forecast_history *history,
                                struct error *error)
{
    *history = (struct forecast_history){NULL, 0};
    if (query->history_ms == 0) {
        return STATUS_OK;
    }
    size_t count = 0, first = 0;
    if (query->at_ms != INT64_MIN) {
        return read_past(desk, query, made, history, error);
    }
    if (desk_read(desk, made->id, HISTORY_POINTS_MAX, &count, error) != STATUS_OK) {
        return error->status;
    }
    if (made->facts.counter) {
        to_rates(desk->points, count);
    }
    while (first < count && desk->points[first].time_ms <= made->info.last_ms - query->history_ms) {
        first++;
    }
    *history = (struct forecast_history){desk->points + first, count - first};
    return STATUS_OK;
}

static enum status render_one(struct forecast_desk *desk, const struct forecast_query *query,
                              const struct forecast_made *made, bool first, struct text *out,
                              struct live_answer *answer, struct error *error)
{
    char text[SERIES_TEXT_MAX];
    struct forecast_history history;
    if (read_history(desk, query, made, &history, error) != STATUS_OK) {
        return error->status;
    }
    size_t length = storage_series_text(desk->services->storage, made->id, text);
    size_t age_at = query->crossing
                        ? timeleft_render(query, made, text, length, first, out)
                        : forecast_render(query, made, text, length, &history, first, out);
    note_series(answer, made, age_at);
    if (query->at_ms == INT64_MIN) {
        track_asked(desk->services->tracks, made->id, made->issued_ms);
    }
    return STATUS_OK;
}

/* The series without a forecast, named behind the others; an error where there are no others. */
static enum status name_skipped(struct forecast_desk *desk, const struct forecast_query *query,
                                const struct live_answer *answer, size_t rendered, struct text *out,
                                struct error *error)
{
    if (rendered == 0 && query->at_ms != INT64_MIN) {
        error_set(error, STATUS_NOT_FOUND, "none of the %zu series has a vintage of that instant",
                  answer->series_count);
        return error_code(error, "no_vintage", "at");
    }
    if (rendered == 0) {
        error_set(error, STATUS_INVALID, "none of the %zu series has two values to forecast from",
                  answer->series_count);
        return error_code(error, "insufficient_history", "series");
    }
    size_t skipped = 0;
    (query->crossing ? timeleft_render_end : forecast_render_end)(query, out);
    for (size_t i = 0; i < answer->series_count; i++) {
        if (answer->series[i].skipped) {
            char text[SERIES_TEXT_MAX];
            size_t length =
                storage_series_text(desk->services->storage, answer->series[i].id, text);
            forecast_render_skipped(query, text, length, skipped++ == 0, out);
        }
    }
    if (!query->crossing || !forecast_query_is_single(query)) {
        forecast_render_close(query, skipped > 0, out);
    }
    enum status status = text_status(out, "the answer", error);
    return status == STATUS_TOO_LARGE ? error_code(error, "answer_too_large", NULL) : status;
}

/* The whole answer to *out, and what it depends on to *answer (its series are to be freed). */
static enum status make_answer(struct forecast_desk *desk, const struct forecast_query *query,
                               struct text *out, struct live_answer *answer, struct error *error)
{
    struct forecast_made made[DESK_SERIES_MAX];
    enum status status = STATUS_OK;
    size_t rendered = 0;
    note_state(desk->services, query, answer);
    answer->series = mem_array(query->count, sizeof(*answer->series));
    if (!answer->series) {
        return error_set(error, STATUS_NO_MEMORY, "no memory for the answer");
    }
    (query->crossing ? timeleft_render_begin : forecast_render_begin)(query, out);
    for (size_t at = 0; at < query->count && status == STATUS_OK; at += DESK_SERIES_MAX) {
        size_t left = query->count - at;
        struct forecast_order order = {
            .ids = query->ids + at,
            .count = left < DESK_SERIES_MAX ? left : DESK_SERIES_MAX,
            .horizon_ms = query->horizon_ms,
            .steps = query->steps,
            .steps_max = query->steps_max,
            .skip_short = query->count > 1,
            .coarser = query->crossing,
            .late = query->crossing,
            .crossings = query->crossing,
        };
        status = query->at_ms == INT64_MIN
                     ? forecast_make(desk, &order, made, error)
                     : forecast_recall(desk, &order, query->at_ms, made, error);
        bool is_made = status == STATUS_OK;
        for (size_t i = 0; i < order.count && is_made; i++) {
            if (made[i].skipped) {
                note_skipped(answer, &made[i]);
            } else if (status == STATUS_OK) {
                status = render_one(desk, query, &made[i], rendered++ == 0, out, answer, error);
            }
            forecast_made_release(&made[i]);
        }
    }
    return status == STATUS_OK ? name_skipped(desk, query, answer, rendered, out, error) : status;
}

/* Keeps a copy of a finished answer under its query. Without memory it is not kept, that is all. */
static void keep(struct api_services *services, const char *query, const struct text *out,
                 struct live_answer *answer, int64_t asked_ms)
{
    answer->bytes = mem_copy_text(out->bytes, out->length);
    answer->length = out->length;
    answer->asked_ms = asked_ms;
    if (answer->bytes) {
        live_put_take(services->live, query, answer, answer->limits->live_bytes_max);
    } else {
        mem_free(answer->series);
    }
    answer->series = NULL;
}

/* Under which an answer of GET /api/v1/timeleft is kept: no query of a forecast begins so. */
#define TIMELEFT_PREFIX  "/api/v1/timeleft?"
#define TIMELEFT_KEY_MAX 2048

/* False where the query is too long to be kept. */
static bool timeleft_key(const struct call *call, char key[TIMELEFT_KEY_MAX])
{
    int length = snprintf(key, TIMELEFT_KEY_MAX, TIMELEFT_PREFIX "%s", call->request->query);
    return length > 0 && length < TIMELEFT_KEY_MAX;
}

static void answer_from_memory(struct call *call, const char *key)
{
    if (!call->view->prefix && live_get(call->services, key, clock_wall_ms(), call->response)) {
        api_count(call->services->metrics, METRIC_ANSWERS_MEMORY, 1);
    } else {
        call->outcome = API_DECLINED;
    }
}

enum status forecast_get_fast(struct call *call, struct error *error)
{
    (void)error;
    answer_from_memory(call, call->request->query);
    return STATUS_OK;
}

enum status timeleft_get_fast(struct call *call, struct error *error)
{
    (void)error;
    char key[TIMELEFT_KEY_MAX];
    if (timeleft_key(call, key)) {
        answer_from_memory(call, key);
    } else {
        call->outcome = API_DECLINED;
    }
    return STATUS_OK;
}

static enum status answer_query(struct call *call, const struct forecast_query *query,
                                const char *keep_as, struct error *error)
{
    struct text out;
    struct live_answer answer = {0};
    text_init(&out, ANSWER_BYTES_MAX);
    enum status status = make_answer(call->worker->desk, query, &out, &answer, error);
    if (status == STATUS_OK && keep_as) {
        keep(call->services, keep_as, &out, &answer, clock_wall_ms());
    }
    mem_free(answer.series);
    if (status != STATUS_OK) {
        text_release(&out);
        return status;
    }
    api_count(call->services->metrics, METRIC_ANSWERS_COMPUTED, 1);
    status =
        response_take_text(call->response, 200, forecast_content_type(query->format), &out, error);
    if (status == STATUS_OK) {
        response_common_headers(call->response);
    }
    return status;
}

enum status forecast_get(struct call *call, struct error *error)
{
    struct forecast_query query;
    enum status status = forecast_query_read(call->view, &call->query, &query, error);
    /* What was issued is looked up each time: it is not a live answer. Nor is what a caller with a
     * prefix sees: live answers belong to those who see everything. */
    bool live = query.at_ms == INT64_MIN && !call->view->prefix;
    const char *keep_as = live ? call->request->query : NULL;
    return status == STATUS_OK ? answer_query(call, &query, keep_as, error) : status;
}

enum status timeleft_get(struct call *call, struct error *error)
{
    struct forecast_query query;
    char key[TIMELEFT_KEY_MAX];
    enum status status = forecast_query_read_timeleft(call->view, &call->query, &query, error);
    const char *keep_as = !call->view->prefix && timeleft_key(call, key) ? key : NULL;
    return status == STATUS_OK ? answer_query(call, &query, keep_as, error) : status;
}

enum status forecast_post(struct call *call, struct error *error)
{
    struct forecast_query query;
    enum status status = forecast_query_read_json(call->view, call->request->body,
                                                  call->request->body_length, &query, error);
    return status == STATUS_OK ? answer_query(call, &query, NULL, error) : status;
}

/* ---------------------------------------------------------------- without a request */

/* `text` is the key of a kept answer. */
static enum status read_query(struct api_worker *worker, const char *text,
                              struct forecast_query *query, struct error *error)
{
    struct query raw = {worker->parameters, 0,    QUERY_PARAMETERS_MAX, worker->query_bytes,
                        QUERY_BYTES_MAX,    false};
    size_t prefix = strlen(TIMELEFT_PREFIX);
    bool crossing = strncmp(text, TIMELEFT_PREFIX, prefix) == 0;
    const char *known = crossing ? TIMELEFT_PARAMETERS : FORECAST_PARAMETERS;
    if (query_parse(&raw, crossing ? text + prefix : text, error) != STATUS_OK ||
        query_check(&raw, known, "series", error) != STATUS_OK) {
        return error->status;
    }
    return crossing ? forecast_query_read_timeleft(&worker->view, &raw, query, error)
                    : forecast_query_read(&worker->view, &raw, query, error);
}

enum status api_forecast_text(struct api_worker *worker, const char *query, struct text *out,
                              struct error *error)
{
    struct forecast_query wanted;
    struct live_answer answer = {0};
    enum status status = read_query(worker, query, &wanted, error);
    if (status == STATUS_OK) {
        status = make_answer(worker->desk, &wanted, out, &answer, error);
    }
    mem_free(answer.series);
    return status;
}

static void refresh_one(struct api_worker *worker, const char *text)
{
    struct forecast_query query;
    struct live_answer answer = {0};
    struct error error = {0};
    struct gauge_order gauges;
    struct text out;
    uint32_t id = 0;
    if (gauge_key_read(text, &id, &gauges)) {
        if (gauge_make(worker->desk, &gauges, &id, 1, NULL, &error) != STATUS_OK) {
            live_forget(worker->services->live, text);
        }
        return;
    }
    text_init(&out, ANSWER_BYTES_MAX);
    if (read_query(worker, text, &query, &error) == STATUS_OK &&
        make_answer(worker->desk, &query, &out, &answer, &error) == STATUS_OK) {
        keep(worker->services, text, &out, &answer, 0);
        api_count(worker->services->metrics, METRIC_ANSWERS_REFRESHED, 1);
    } else {
        live_forget(worker->services->live, text); /* the next one who asks hears why */
    }
    mem_free(answer.series);
    text_release(&out);
}

static int compare_ids(const void *left, const void *right)
{
    uint32_t a = *(const uint32_t *)left, b = *(const uint32_t *)right;
    return (a > b) - (a < b);
}

void api_refresh(struct api_worker *worker, const uint32_t *ids, size_t count)
{
    char *queries[REFRESHED_MAX];
    uint32_t *sorted = count ? mem_array(count, sizeof(*sorted)) : NULL;
    if (!sorted) {
        return;
    }
    memcpy(sorted, ids, count * sizeof(*sorted));
    qsort(sorted, count, sizeof(*sorted), compare_ids);
    size_t found =
        live_outdated(worker->services, sorted, count, clock_wall_ms(), queries, REFRESHED_MAX);
    mem_free(sorted);
    for (size_t i = 0; i < found; i++) {
        if (!atomic_load(&worker->services->draining)) {
            refresh_one(worker, queries[i]);
        }
        mem_free(queries[i]);
    }
}

int64_t api_refresh_due_ms(struct api_services *services, uint32_t *ids, size_t maximum,
                           size_t *count)
{
    return live_due(services, clock_wall_ms(), ids, maximum, count);
}

void api_tidy(struct api_services *services)
{
    live_facts_tidy(services->live, services->storage);
    tracks_tidy(services->tracks, services->storage);
}
