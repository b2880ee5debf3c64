/* The routes of series: list, one, points, settings, deletion.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "api/forecast_make.h"
#include "api/handlers.h"
#include "api/json.h"
#include "api/points_reader.h"
#include "api/series_search.h"
#include "api/settings.h"
#include "base/clock.h"
#include "base/memory.h"

#include <math.h>
#include <string.h>

#define LIST_PRESET   100
#define LIST_MAX      1000
#define POINTS_PRESET 1000
#define POINTS_MAX    100000
#define PATCH_TRIES   100 /* each but the last is one that somebody else won */

static void add_time(struct text *json, const char *name, bool has, int64_t time_ms)
{
    text_add_format(json, ",\"%s\":", name);
    if (has) {
        text_add_char(json, '"');
        text_add_time(json, time_ms);
        text_add_char(json, '"');
    } else {
        text_add_string(json, "null");
    }
}

static void write_series(const struct call *call, const struct series_info *info,
                         const struct series_facts *facts, struct text *json)
{
    char text[SERIES_TEXT_MAX];
    size_t length = storage_series_text(call->services->storage, info->id, text);
    enum series_state state = series_state_of(call->services, info, facts, clock_wall_ms());
    text_add_format(json, "{\"id\":%u,\"series\":", info->id);
    text_add_json_string(json, text, length);
    text_add_format(json, ",\"state\":\"%s\",\"step_ms\":", series_state_name(state));
    if (facts->step_ms > 0) {
        text_add_int(json, facts->step_ms);
    } else {
        text_add_string(json, "null");
    }
    text_add_string(json, ",\"seasons\":");
    if (facts->with_seasons) {
        text_add_char(json, '[');
        for (size_t i = 0; i < SEASONS_MAX && facts->seasons[i]; i++) {
            text_add_format(json, "%s%u", i ? "," : "", facts->seasons[i]);
        }
        text_add_char(json, ']');
    } else {
        text_add_string(json, "null");
    }
    text_add_format(json, ",\"kind\":\"%s\"", facts->counter ? "counter" : "gauge");
    text_add_format(json, ",\"points\":%llu,\"late\":%llu,\"updated\":%llu",
                    (unsigned long long)info->points, (unsigned long long)info->late,
                    (unsigned long long)info->updated);
    add_time(json, "created_at", info->created_ms > 0, info->created_ms);
    add_time(json, "first_at", info->points > 0, info->first_ms);
    add_time(json, "last_at", info->points > 0, info->last_ms);
    text_add_string(json, ",\"last_value\":");
    text_add_double(json, info->points > 0 ? info->last_value : (double)NAN);
    text_add_format(json, ",\"ended\":%s,\"settings\":", info->ended ? "true" : "false");
    struct time_spans excluded;
    storage_series_excluded(call->services->storage, info->id, &excluded);
    settings_write(&info->settings, &excluded, json);
    text_add_char(json, '}');
}

/* One series by id; `cheap`: without looking for seasons that are not known. */
static enum status write_by_id(const struct call *call, uint32_t id, bool cheap, struct text *json,
                               struct error *error)
{
    struct series_info info;
    struct series_facts facts;
    if (storage_series_info(call->services->storage, id, &info, error) != STATUS_OK) {
        return error_code(error, "unknown_series", NULL);
    }
    if (forecast_facts(call->worker->desk, &info, cheap, &facts, error) != STATUS_OK) {
        return error->status;
    }
    write_series(call, &info, &facts, json);
    return STATUS_OK;
}

/* What one page of the list holds. */
struct page {
    uint32_t *ids; /* room for limit + 1: one more says that there is a next page */
    size_t count, limit;
    size_t total;
    bool counted; /* total is known */
};

static enum status write_list(const struct call *call, const struct page *page, struct text *json,
                              struct error *error)
{
    text_add_string(json, "{\"series\":[");
    bool first = true;
    for (size_t i = 0; i < page->count && i < page->limit; i++) {
        size_t before = json->length;
        if (!first) {
            text_add_char(json, ',');
        }
        if (write_by_id(call, page->ids[i], true, json, error) == STATUS_OK) {
            first = false;
        } else if (error->status != STATUS_NOT_FOUND) {
            return error->status;
        } else if (!json->failed) {
            json->length = before; /* deleted meanwhile */
        }
    }
    text_add_string(json, "],\"next\":");
    if (page->count > page->limit) {
        text_add_format(json, "\"%u\"", page->ids[page->limit - 1]);
    } else {
        text_add_string(json, "null");
    }
    if (page->counted) {
        text_add_format(json, ",\"total\":%zu}", page->total);
    } else {
        text_add_string(json, ",\"total\":null}");
    }
    return STATUS_OK;
}

/* Counting looks at every series, so only the first page does. */
static enum status find_page(const struct series_search *search, uint32_t after, struct page *page,
                             struct error *error)
{
    page->ids = mem_array(page->limit + 1, sizeof(*page->ids));
    if (!page->ids) {
        return error_set(error, STATUS_NO_MEMORY, "no memory for the list");
    }
    page->counted = after == 0;
    page->count = series_search_run(search, after, page->ids, page->limit + 1,
                                    page->counted ? &page->total : NULL);
    return STATUS_OK;
}

enum status series_list(struct call *call, struct error *error)
{
    const char *match = query_value(&call->query, "match");
    struct selector *selector = NULL;
    struct series_search search;
    struct page page = {0};
    size_t after = 0;
    if (query_size(&call->query, "limit", 1, LIST_MAX, LIST_PRESET, &page.limit, error) !=
            STATUS_OK ||
        query_size(&call->query, "cursor", 0, UINT32_MAX, 0, &after, error) != STATUS_OK) {
        return error->status;
    }
    if (match && selector_parse(match, strlen(match), &selector, error) != STATUS_OK) {
        return error->status == STATUS_INVALID ? error_code(error, "bad_selector", "match")
                                               : error->status;
    }
    struct text json;
    text_init(&json, ANSWER_BYTES_MAX);
    enum status status = series_search_init(&search, call->view, selector,
                                            query_value(&call->query, "search"), error);
    if (status == STATUS_OK) {
        status = find_page(&search, (uint32_t)after, &page, error);
    }
    if (status == STATUS_OK) {
        status = write_list(call, &page, &json, error);
    }
    selector_free(selector);
    mem_free(page.ids);
    if (status != STATUS_OK) {
        text_release(&json);
        return status;
    }
    return call_json(call, 200, &json, error);
}

static enum status answer_one(struct call *call, uint32_t id, struct error *error)
{
    struct text json;
    text_init(&json, ANSWER_BYTES_MAX);
    if (write_by_id(call, id, false, &json, error) != STATUS_OK) {
        text_release(&json);
        return error->status;
    }
    return call_json(call, 200, &json, error);
}

enum status series_one(struct call *call, struct error *error)
{
    uint32_t id = 0;
    return call_series(call, &id, error) == STATUS_OK ? answer_one(call, id, error) : error->status;
}

/* ---------------------------------------------------------------- points */

static void write_points(const struct point *points, size_t count, size_t limit, struct text *json)
{
    text_add_string(json, "{\"points\":[");
    for (size_t i = 0; i < count && i < limit; i++) {
        text_add_string(json, i ? ",[" : "[");
        text_add_int(json, points[i].time_ms);
        text_add_char(json, ',');
        text_add_double(json, points[i].value);
        text_add_char(json, ']');
    }
    text_add_string(json, "],\"next\":");
    if (count > limit) { /* what to pass as start to go on */
        int64_t next_ms = points[limit].time_ms;
        if (next_ms >= 0 && next_ms < POINTS_TIME_MIN_MS) { /* a number would be refused */
            text_add_char(json, '"');
            text_add_time(json, next_ms);
            text_add_char(json, '"');
        } else {
            text_add_int(json, next_ms);
        }
    } else {
        text_add_string(json, "null");
    }
    text_add_char(json, '}');
}

enum status series_points(struct call *call, struct error *error)
{
    uint32_t id = 0;
    size_t limit = 0, count = 0;
    int64_t start_ms = 0, end_ms = 0;
    if (call_series(call, &id, error) != STATUS_OK ||
        query_size(&call->query, "limit", 1, POINTS_MAX, POINTS_PRESET, &limit, error) !=
            STATUS_OK ||
        query_time(&call->query, "start", INT64_MIN, &start_ms, error) != STATUS_OK ||
        query_time(&call->query, "end", INT64_MAX, &end_ms, error) != STATUS_OK) {
        return error->status;
    }
    if (start_ms >= end_ms) {
        error_set(error, STATUS_INVALID, "\"end\" has to lie behind \"start\"");
        return error_code(error, "bad_parameter", "end");
    }
    struct point *points = mem_array(limit + 1, sizeof(*points));
    if (!points) {
        return error_set(error, STATUS_NO_MEMORY, "no memory for the points");
    }
    struct text json;
    text_init(&json, ANSWER_BYTES_MAX);
    enum status status =
        storage_read(call->worker->reader, id, start_ms, end_ms, points, limit + 1, &count, error);
    if (status == STATUS_OK) {
        write_points(points, count, limit, &json);
        status = call_json(call, 200, &json, error);
    }
    mem_free(points);
    return status;
}

/* ---------------------------------------------------------------- changes */

/* One change of one series; without settings it is deleted. */
struct series_change {
    uint32_t id;
    const struct series_settings *before, *settings;
    const struct time_spans *excluded; /* NULL: as they are */
};

static enum status add_change(struct write_batch *batch, const struct series_change *change,
                              struct error *error)
{
    if (!change->settings) {
        return write_batch_delete(batch, change->id, error);
    }
    enum status status =
        write_batch_settings_again(batch, change->id, change->before, change->settings, error);
    return status == STATUS_OK && change->excluded
               ? write_batch_excluded(batch, change->id, change->excluded, error)
               : status;
}

static enum status commit_change(struct call *call, const struct series_change *change,
                                 struct error *error)
{
    struct write_batch *batch = NULL;
    struct write_result result;
    enum status status = write_batch_new(call->services->storage, 1, &batch, error);
    if (status != STATUS_OK) {
        return status;
    }
    status = add_change(batch, change, error);
    if (status != STATUS_OK) {
        write_batch_free(batch);
        return status;
    }
    status = writer_write_take(call->services->writer, batch, &result, error);
    return status == STATUS_NOT_FOUND ? error_code(error, "unknown_series", NULL) : status;
}

/* Settings are read, checked together and written as a whole: STATUS_CONFLICT where somebody else
 * has changed them in between. */
static enum status try_patch(struct call *call, uint32_t id, const struct json_t *body,
                             const struct time_spans *excluded, struct error *error)
{
    struct series_info info;
    if (storage_series_info(call->services->storage, id, &info, error) != STATUS_OK) {
        return error_code(error, "unknown_series", NULL);
    }
    struct series_settings settings = info.settings;
    if (settings_read(body, &settings, error) != STATUS_OK) {
        return error->status;
    }
    struct series_change change = {id, &info.settings, &settings, excluded};
    return commit_change(call, &change, error);
}

static enum status patch(struct call *call, uint32_t id, const struct json_t *body,
                         struct error *error)
{
    struct time_spans excluded;
    bool excludes = false;
    if (settings_read_excluded(body, &excludes, &excluded, error) != STATUS_OK) {
        return error->status;
    }
    enum status status = STATUS_CONFLICT;
    for (int i = 0; i < PATCH_TRIES && status == STATUS_CONFLICT; i++) {
        *error = (struct error){0};
        status = try_patch(call, id, body, excludes ? &excluded : NULL, error);
    }
    return status == STATUS_CONFLICT
               ? error_set(error, STATUS_BUSY, "could not set it: others change the series, too")
               : status;
}

enum status series_patch(struct call *call, struct error *error)
{
    uint32_t id = 0;
    struct json_t *body = NULL;
    if (call_series(call, &id, error) != STATUS_OK ||
        json_read_object(call->request->body, call->request->body_length, &body, error) !=
            STATUS_OK) {
        return error->status;
    }
    enum status status = patch(call, id, body, error);
    json_free(body);
    return status == STATUS_OK ? answer_one(call, id, error) : status;
}

enum status series_delete(struct call *call, struct error *error)
{
    uint32_t id = 0;
    if (call_series(call, &id, error) != STATUS_OK ||
        commit_change(call, &(struct series_change){.id = id}, error) != STATUS_OK) {
        return error->status;
    }
    call->response->status = 204;
    response_common_headers(call->response);
    return STATUS_OK;
}
