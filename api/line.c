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

#include <string.h>

#define MESSAGE_BYTES_MAX (32u << 10)

/* What line_read needs, and who counts what it skipped. */
struct line_source {
    struct line_options options;
    struct api_metrics *metrics;
};

static enum status read_lines(const void *context, const char *body, size_t length,
                              struct points_cache *cache, const struct points_visitor *visitor,
                              struct error *error)
{
    const struct line_source *source = context;
    struct line_skipped skipped;
    enum status status = line_read(body, length, &source->options, cache, visitor, &skipped, error);
    api_count(source->metrics, METRIC_SKIPPED_STRINGS, skipped.strings);
    api_count(source->metrics, METRIC_SKIPPED_BOOLEANS, skipped.booleans);
    return status;
}

/* ---------------------------------------------------------------- answers */

/* "partial write: line 3: unable to parse 'cpu': missing fields" and so on, a line each. Nothing
 * where all is stored: that is 204. */
static void write_refusals(const struct refusals *refusals, size_t points, const char *path,
                           struct text *text)
{
    struct text message;
    if (!refusals) {
        return;
    }
    text_init(&message, MESSAGE_BYTES_MAX);
    text_add_string(&message, points > 0 ? "partial write: " : "");
    for (uint64_t i = 0; i < refusals->count && i < REFUSALS_KEPT; i++) {
        const struct refusal *refusal = &refusals->first[i];
        text_add_format(&message, "%sline %llu: %s", i ? "\n" : "",
                        (unsigned long long)refusal->position, refusal->error.text);
    }
    text_add_format(&message, "%s dropped=%llu", refusals->count > REFUSALS_KEPT ? "\n..." : "",
                    (unsigned long long)refusals->count);
    if (message.failed) {
        text->failed = message.failed;
    } else {
        influx_write_error(path, 400, message.bytes, text);
    }
    text_release(&message);
}

static void write_v1(const struct refusals *refusals, const char *request_id, size_t points,
                     struct text *text)
{
    (void)request_id;
    write_refusals(refusals, points, "/write", text);
}

static void write_v2(const struct refusals *refusals, const char *request_id, size_t points,
                     struct text *text)
{
    (void)request_id;
    write_refusals(refusals, points, "/api/v2/write", text);
}

/* The header holds no text of the client. */
static void add_headers(struct api_response *response, uint64_t refused)
{
    influx_headers(response);
    if (refused > 0) {
        response_header(response, "X-Influxdb-Error", "partial write: dropped=%llu",
                        (unsigned long long)refused);
    }
}

static const struct ingest_format v1_format = {
    .read = read_lines,
    .write = write_v1,
    .status_stored = 204,
    .status_refused = 400,
    .type_refused = CONTENT_JSON,
    .add_headers = add_headers,
};

static const struct ingest_format v2_format = {
    .read = read_lines,
    .write = write_v2,
    .status_stored = 204,
    .status_refused = 400,
    .type_refused = CONTENT_JSON,
    .add_headers = add_headers,
};

/* ---------------------------------------------------------------- routes */

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

static enum status take_v1(struct call *call, const char *body, size_t length,
                           struct points_cache *cache, struct error *error)
{
    struct line_source lines = {{LINE_NS, clock_wall_ms()}, call->services->metrics};
    struct ingest_source source = {&v1_format, &lines, cache, lines.options.now_ms};
    enum status status = read_precision(&call->query, v1_precisions, ARRAY_COUNT(v1_precisions),
                                        &lines.options.precision, error);
    return status == STATUS_OK ? ingest_body(call, &source, body, length, error) : status;
}

static enum status take_v2(struct call *call, const char *body, size_t length,
                           struct points_cache *cache, struct error *error)
{
    struct line_source lines = {{LINE_NS, clock_wall_ms()}, call->services->metrics};
    struct ingest_source source = {&v2_format, &lines, cache, lines.options.now_ms};
    enum status status = read_precision(&call->query, v2_precisions, ARRAY_COUNT(v2_precisions),
                                        &lines.options.precision, error);
    return status == STATUS_OK ? ingest_body(call, &source, body, length, error) : status;
}

enum status line_v1_fast(struct call *call, struct error *error)
{
    return ingest_fast(call, take_v1, error);
}

enum status line_v1_handle(struct call *call, struct error *error)
{
    return ingest_handle(call, take_v1, error);
}

enum status line_v2_fast(struct call *call, struct error *error)
{
    return ingest_fast(call, take_v2, error);
}

enum status line_v2_handle(struct call *call, struct error *error)
{
    return ingest_handle(call, take_v2, error);
}
