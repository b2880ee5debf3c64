/* POST /api/v1/points: small bodies on the network thread, large and packed ones on a worker.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "api/handlers.h"
#include "api/ingest.h"
#include "base/clock.h"
#include "base/memory.h"

#include <string.h>
#include <strings.h>

#define FAST_BODY_MAX ((size_t)1 << 20)

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

static enum status take_points(struct call *call, const char *body, size_t length,
                               struct points_cache *cache, struct error *error)
{
    const char *type = call->request->content_type;
    struct points_options options = {
        .ndjson = strncasecmp(type, "application/x-ndjson", 20) == 0,
        .now_ms = clock_wall_ms(),
    };
    enum status status = read_unit(&call->query, &options.unit, error);
    return status == STATUS_OK ? ingest_points(call, body, length, &options, cache, error) : status;
}

enum status points_handle(struct call *call, struct error *error)
{
    const char *body = NULL;
    size_t length = 0;
    char *owned = NULL;
    enum status status = call_body(call, &body, &length, &owned, error);
    if (status == STATUS_OK) {
        status = take_points(call, body, length, call->worker->points_cache, error);
    }
    mem_free(owned);
    return status;
}

/* The cache is taken for the time of the reading: a second network thread would do without. */
enum status points_fast(struct call *call, struct error *error)
{
    const struct api_request *request = call->request;
    if (request->encoding != API_IDENTITY || request->body_length > FAST_BODY_MAX) {
        call->outcome = API_DECLINED;
        return STATUS_OK;
    }
    struct points_cache *cache = atomic_exchange(&call->services->points_cache, NULL);
    enum status status = take_points(call, request->body, request->body_length, cache, error);
    if (cache) {
        atomic_store(&call->services->points_cache, cache);
    }
    return status;
}
