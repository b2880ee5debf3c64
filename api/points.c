/* POST /api/v1/points: small bodies on the network thread, large and packed ones on a worker.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "api/handlers.h"
#include "api/ingest.h"
#include "base/clock.h"

#include <string.h>
#include <strings.h>

static enum status read_unit(const struct query *query, enum time_unit *unit, struct error *error)
{
    static const char *const names[] = {"ms", "s", "us", "ns"};
    static const enum time_unit units[] = {UNIT_MILLISECONDS, UNIT_SECONDS, UNIT_MICROSECONDS,
                                           UNIT_NANOSECONDS};
    const char *text = query_value(query, "precision");
    *unit = UNIT_MILLISECONDS;
    if (!text) {
        return STATUS_OK;
    }
    for (size_t i = 0; i < 4; i++) {
        if (strcmp(text, names[i]) == 0) {
            *unit = units[i];
            return STATUS_OK;
        }
    }
    error_set(error, STATUS_INVALID, "\"precision\" cannot be \"%.60s\"", text);
    error_code(error, "bad_parameter", "precision");
    return error_hint(error, "There are: s, ms, us, ns.");
}

static enum status read_points(const void *options, const char *body, size_t length,
                               struct points_cache *cache, const struct points_visitor *visitor,
                               struct error *error)
{
    return points_read(body, length, options, cache, visitor, error);
}

static void write_answer(const struct refusals *refusals, const char *request_id, size_t points,
                         struct text *text)
{
    (void)points;
    refusals_write_tail(refusals, request_id, text);
}

static const struct ingest_format points_format = {
    .read = read_points,
    .write = write_answer,
    .with_counts = true,
    .status_stored = 200,
    .status_refused = 422,
    .type_refused = "application/problem+json",
};

static enum status take_points(struct call *call, const char *body, size_t length,
                               struct points_cache *cache, struct error *error)
{
    const char *type = call->request->content_type;
    struct points_options options = {
        .ndjson = strncasecmp(type, "application/x-ndjson", 20) == 0,
        .now_ms = clock_wall_ms(),
    };
    struct ingest_source source = {&points_format, &options, cache, options.now_ms};
    enum status status = read_unit(&call->query, &options.unit, error);
    return status == STATUS_OK ? ingest_body(call, &source, body, length, error) : status;
}

enum status points_handle(struct call *call, struct error *error)
{
    return ingest_handle(call, take_points, error);
}

enum status points_fast(struct call *call, struct error *error)
{
    return ingest_fast(call, take_points, error);
}
