/* POST /write and /api/v2/write: points in InfluxDB's line protocol, versions 1 and 2.
 * SPDX-License-Identifier: Apache-2.0
 *
 * All stored: 204. Some lines refused: 400 with their numbers and what is wrong, the others stored.
 */
#include "api/handlers.h"
#include "api/influx.h"
#include "api/ingest.h"
#include "api/line_reader.h"
#include "api/metrics.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/memory.h"
#include "base/series_name.h"

#include <stdio.h>
#include <string.h>

#define FAST_BODY_MAX     ((size_t)1 << 20)
#define MESSAGE_BYTES_MAX (16u << 10)
#define JSON_BYTES_MAX    (64u << 10)

/* A body, and how it is to be read. */
struct line_body {
    struct slice bytes;
    struct line_options options;
    struct points_cache *cache;
    struct line_skipped skipped;
};

static enum status read_lines(void *context, const struct points_visitor *visitor,
                              struct error *error)
{
    struct line_body *body = context;
    return line_read(body->bytes.bytes, body->bytes.length, &body->options, body->cache, visitor,
                     &body->skipped, error);
}

/* ---------------------------------------------------------------- answers */

/* "line 3: unable to parse 'cpu': missing fields" and so on, a line each. */
static void add_reasons(const struct refusals *refusals, struct text *message)
{
    for (uint64_t i = 0; i < refusals->count && i < REFUSALS_KEPT; i++) {
        const struct refusal *refusal = &refusals->first[i];
        text_add_format(message, "%sline %llu: %s", i ? "\n" : "",
                        (unsigned long long)refusal->position, refusal->error.text);
    }
    text_add_format(message, "%s dropped=%llu", refusals->count > REFUSALS_KEPT ? "\n..." : "",
                    (unsigned long long)refusals->count);
}

/* The reasons as a JSON string whose opening quote stands in the head already. */
static void write_v1(const struct refusals *refusals, const char *request_id, struct text *tail)
{
    struct text message, json;
    (void)request_id;
    if (!refusals) {
        return;
    }
    text_init(&message, MESSAGE_BYTES_MAX);
    text_init(&json, JSON_BYTES_MAX);
    add_reasons(refusals, &message);
    if (!message.failed) {
        text_add_json_string(&json, message.bytes, message.length);
    }
    if (message.failed || json.failed) {
        tail->failed = message.failed ? message.failed : json.failed;
    } else {
        text_add(tail, json.bytes + 1, json.length - 1);
        text_add_string(tail, "}\n");
    }
    text_release(&message);
    text_release(&json);
}

/* The same, and version 2's members behind it. */
static void write_v2(const struct refusals *refusals, const char *request_id, struct text *tail)
{
    struct text message;
    write_v1(refusals, request_id, tail);
    if (!refusals || tail->failed) {
        return;
    }
    tail->length -= 2; /* brace and line feed come again */
    text_init(&message, MESSAGE_BYTES_MAX);
    add_reasons(refusals, &message);
    text_add_string(tail, ",\"code\":\"invalid\",\"message\":");
    if (message.failed) {
        tail->failed = message.failed;
    } else {
        text_add_json_string(tail, message.bytes, message.length);
    }
    text_add_string(tail, "}\n");
    text_release(&message);
}

/* The header holds no text of the client. */
static size_t begin(struct api_response *response, const struct ingest_counts *counts,
                    char head[REFUSALS_HEAD_MAX])
{
    influx_headers(response);
    response->status = counts->refused ? 400 : 204;
    response->content_type = counts->refused ? CONTENT_JSON : NULL;
    if (counts->refused == 0) {
        return 0;
    }
    response_header(response, "X-Influxdb-Error", "partial write: dropped=%llu",
                    (unsigned long long)counts->refused);
    return (size_t)snprintf(head, REFUSALS_HEAD_MAX, "{\"error\":\"%s",
                            counts->accepted ? "partial write: " : "");
}

/* ---------------------------------------------------------------- routes */

/* The versions differ in their precisions and in their errors. */
struct precision {
    const char *name;
    enum line_precision precision;
};

static const struct precision v1_precisions[] = {
    {"ns", LINE_NS}, {"n", LINE_NS}, {"us", LINE_US},     {"u", LINE_US},   {"\xc2\xb5", LINE_US},
    {"ms", LINE_MS}, {"s", LINE_S},  {"m", LINE_MINUTES}, {"h", LINE_HOURS}};

static const struct precision v2_precisions[] = {
    {"ns", LINE_NS}, {"us", LINE_US}, {"ms", LINE_MS}, {"s", LINE_S}};

static enum status read_precision(const struct query *query, const struct precision *known,
                                  size_t count, enum line_precision *precision, struct error *error)
{
    const char *text = query_value(query, "precision");
    *precision = LINE_NS;
    if (!text) {
        return STATUS_OK;
    }
    for (size_t i = 0; i < count; i++) {
        if (strcmp(text, known[i].name) == 0) {
            *precision = known[i].precision;
            return STATUS_OK;
        }
    }
    error_set(error, STATUS_INVALID, "invalid precision \"%.60s\": there are %s", text,
              known == v1_precisions ? "n, u, ms, s, m and h" : "ns, us, ms and s");
    return error_code(error, "bad_parameter", "precision");
}

struct version {
    const struct precision *precisions;
    size_t precision_count;
    struct ingest_form form;
};

static const struct version versions[] = {
    {v1_precisions, ARRAY_COUNT(v1_precisions), {write_v1, begin}},
    {v2_precisions, ARRAY_COUNT(v2_precisions), {write_v2, begin}},
};

static enum status take(struct call *call, struct slice bytes, struct points_cache *cache,
                        struct error *error)
{
    bool is_v2 = strcmp(call->route->template, "/api/v2/write") == 0;
    const struct version *version = &versions[is_v2];
    struct line_body body = {bytes, {LINE_NS, clock_wall_ms()}, cache, {0, 0}};
    struct ingest_source source = {&version->form, body.options.now_ms, &body, read_lines};
    enum status status = read_precision(&call->query, version->precisions, version->precision_count,
                                        &body.options.precision, error);
    if (status == STATUS_OK) {
        status = ingest_take(call, &source, error);
    }
    api_count(call->services->metrics, METRIC_SKIPPED_STRINGS, body.skipped.strings);
    api_count(call->services->metrics, METRIC_SKIPPED_BOOLEANS, body.skipped.booleans);
    return status;
}

/* The cache is taken for the time of the reading: a second network thread would do without. */
enum status line_fast(struct call *call, struct error *error)
{
    const struct api_request *request = call->request;
    if (request->encoding != API_IDENTITY || request->body_length > FAST_BODY_MAX) {
        call->outcome = API_DECLINED;
        return STATUS_OK;
    }
    struct points_cache *cache = atomic_exchange(&call->services->points_cache, NULL);
    enum status status =
        take(call, (struct slice){request->body, request->body_length}, cache, error);
    if (cache) {
        atomic_store(&call->services->points_cache, cache);
    }
    return status;
}

enum status line_handle(struct call *call, struct error *error)
{
    struct slice bytes;
    char *owned = NULL;
    enum status status = call_body(call, &bytes.bytes, &bytes.length, &owned, error);
    if (status == STATUS_OK) {
        status = take(call, bytes, call->worker->points_cache, error);
    }
    mem_free(owned);
    return status;
}
