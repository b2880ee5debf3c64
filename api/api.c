/* The door of the api: from a request to its route, its handler and its answer.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "api/api.h"

#include "api/access.h"
#include "api/families.h"
#include "api/forecast_make.h"
#include "api/handlers.h"
#include "api/json.h"
#include "api/live.h"
#include "api/metrics.h"
#include "api/points_reader.h"
#include "api/regret.h"
#include "api/track.h"
#include "api/trial.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/memory.h"

#include <stdio.h>
#include <string.h>

#define SPARED_BYTES        4096 /* a body beyond this is not read where it would be refused */
#define FAST_PARAMETERS_MAX 16
#define FAST_QUERY_BYTES    1024
#define FAST_ARGUMENT_BYTES 256

enum status api_services_init(struct api_services *services, struct error *error)
{
    struct points_cache *cache = NULL;
    json_use_own_memory();
    services->metrics = NULL;
    services->live = NULL;
    services->tracks = NULL;
    services->trials = NULL;
    services->regret = NULL;
    services->families = NULL;
    atomic_store(&services->points_cache, NULL);
    if (services->started_ms == 0) {
        services->started_ms = clock_wall_ms();
    }
    enum status status = metrics_new(&services->metrics, error);
    if (status == STATUS_OK) {
        status = live_new(&services->live, error);
    }
    if (status == STATUS_OK) {
        status = tracks_new(&services->tracks, error);
    }
    if (status == STATUS_OK) {
        status = trials_new(&services->trials, error);
    }
    if (status == STATUS_OK) {
        status = regret_new(&services->regret, error);
    }
    if (status == STATUS_OK) {
        status = families_new(&services->families, error);
    }
    if (status == STATUS_OK) {
        status = families_load(services->families, services->storage, error);
    }
    if (status == STATUS_OK) {
        status = points_cache_new(&cache, error);
    }
    atomic_store(&services->points_cache, cache);
    if (status != STATUS_OK) {
        api_services_release(services);
        return status;
    }
    storage_counters_by(services->storage, families_counter, services->families);
    return STATUS_OK;
}

void api_services_release(struct api_services *services)
{
    metrics_free(services->metrics);
    live_free(services->live);
    tracks_free(services->tracks);
    trials_free(services->trials);
    regret_free(services->regret);
    families_free(services->families);
    points_cache_free(atomic_exchange(&services->points_cache, NULL));
    services->metrics = NULL;
    services->live = NULL;
    services->tracks = NULL;
    services->trials = NULL;
    services->regret = NULL;
    services->families = NULL;
}

enum status api_worker_new(struct api_services *services, struct api_worker **out,
                           struct error *error)
{
    struct api_worker *worker = mem_zeroed(1, sizeof(*worker));
    if (!worker) {
        return error_set(error, STATUS_NO_MEMORY, "no memory for a worker");
    }
    worker->services = services;
    worker->view = (struct view){services, NULL};
    enum status status = storage_reader_open(services->storage, &worker->reader, error);
    if (status == STATUS_OK) {
        status = points_cache_new(&worker->points_cache, error);
    }
    if (status == STATUS_OK) {
        status = forecast_desk_new(services, worker->reader, &worker->desk, error);
    }
    if (status != STATUS_OK) {
        api_worker_free(worker);
        return status;
    }
    *out = worker;
    return STATUS_OK;
}

void api_worker_free(struct api_worker *worker)
{
    if (!worker) {
        return;
    }
    forecast_desk_free(worker->desk);
    points_cache_free(worker->points_cache);
    if (worker->reader) {
        storage_reader_close(worker->reader);
    }
    mem_free(worker);
}

/* ---------------------------------------------------------------- routes */

static void answer_problem(const struct call *call, const struct error *error, const char *allow)
{
    api_problem(call->request, error, call->response);
    if (allow && allow[0]) {
        response_header(call->response, "Allow", "%s", allow);
    }
}

/* Whether a path lacks no more than /prometheus in front, as where a data source has our bare
 * address. */
static bool is_of_prometheus(const struct api_request *request)
{
    char path[128], allow[64];
    const char *argument;
    size_t argument_length;
    struct api_request moved = *request;
    int length = snprintf(path, sizeof(path), "/prometheus%s", request->path);
    moved.path = path;
    return length < (int)sizeof(path) && router_find(&moved, &argument, &argument_length, allow);
}

/* Finds the route, or answers 404 or 405. */
static bool find_route(struct call *call, const char **raw, size_t *raw_length)
{
    char allow[64];
    call->route = router_find(call->request, raw, raw_length, allow);
    if (call->route) {
        return true;
    }
    struct error error = {0};
    if (allow[0]) {
        error_set(&error, STATUS_INVALID, "%.200s does not take this method", call->request->path);
        error_code(&error, "method_not_allowed", NULL);
    } else {
        error_set(&error, STATUS_NOT_FOUND, "there is no %.200s", call->request->path);
        error_code(&error, "unknown_route", NULL);
        if (is_of_prometheus(call->request)) {
            error_hint(&error,
                       "Prometheus' routes are below /prometheus: give clients that address.");
        }
    }
    answer_problem(call, &error, allow);
    return false;
}

enum api_outcome api_begin(struct api_services *services, struct api_request *request,
                           uint64_t content_length, struct api_response *response)
{
    struct call call = {.services = services, .request = request, .response = response};
    const char *raw = NULL;
    size_t raw_length = 0;
    call.limits = atomic_load(&services->limits);
    if (!find_route(&call, &raw, &raw_length)) {
        return API_DONE;
    }
    struct error error = {0};
    if (access_check(services, call.route, request, &error) != STATUS_OK) {
        answer_problem(&call, &error, NULL);
        if (problem_http(&error) == 401) {
            response_header(response, "WWW-Authenticate", "Bearer realm=\"forecastd\"");
        }
        return API_DONE;
    }
    if (router_check_head(call.route, request, call.limits, content_length, &error) != STATUS_OK) {
        answer_problem(&call, &error, NULL);
        return API_DONE;
    }
    if (call.route->scope == SCOPE_WRITE && content_length > SPARED_BYTES &&
        writer_is_behind(services->writer)) {
        error_set(&error, STATUS_BUSY, "could not take the points: too many are waiting");
        answer_problem(&call, &error, NULL);
        return API_DONE;
    }
    return API_DECLINED;
}

/* What a request sees of the store. */
static const char *view_prefix(const struct api_request *request)
{
    return request->caller.prefix[0] ? request->caller.prefix : NULL;
}

/* Decodes {id} and the query into the caller's room. */
static enum status decode_target(struct call *call, const char *raw, size_t raw_length,
                                 char *argument, size_t argument_max, struct error *error)
{
    if (raw && (raw_length >= argument_max ||
                !percent_decode(raw, raw_length, false, argument, &call->argument_length))) {
        error_set(error, STATUS_INVALID, "the path holds a bad percent escape or is too long");
        return error_code(error, "bad_query", "id");
    }
    call->argument = raw ? argument : NULL;
    if (!call->route->parameters) { /* the page and the probes: whatever a browser appends */
        return STATUS_OK;
    }
    if (query_parse(&call->query, call->request->query, error) != STATUS_OK) {
        return error->status;
    }
    /* InfluxDB does not look at what it does not know, and its clients throw a batch away on 400.
     */
    return (call->route->body == BODY_LINES ? query_check_known : query_check)(
        &call->query, call->route->parameters, call->route->repeatable, error);
}

static enum status check_body_length(const struct call *call, struct error *error)
{
    size_t length = call->request->body_length;
    return length ? router_check_head(call->route, call->request, call->limits, length, error)
                  : STATUS_OK;
}

static enum api_outcome run_handler(struct call *call, route_handler handler, enum status status,
                                    struct error *error)
{
    call->outcome = API_DONE;
    if (!access_granted(call->services, call->route, call->request)) {
        status = error_set(error, STATUS_INVALID, "the request has no token");
        error_code(error, "unauthorized", "Authorization");
    }
    if (status == STATUS_OK) {
        status = handler(call, error);
    }
    if (status == STATUS_NOT_FOUND && !error->code) { /* deleted while the request ran */
        error_code(error, "unknown_series", NULL);
    }
    if (status != STATUS_OK) {
        call->outcome = API_DONE;
        answer_problem(call, error, NULL);
    }
    return call->outcome;
}

enum api_outcome api_fast(struct api_services *services, struct api_request *request,
                          struct api_response *response)
{
    struct query_parameter parameters[FAST_PARAMETERS_MAX];
    char bytes[FAST_QUERY_BYTES], argument[FAST_ARGUMENT_BYTES];
    struct view view = {services, view_prefix(request)};
    struct call call = {
        .services = services, .view = &view, .request = request, .response = response};
    const char *raw = NULL;
    size_t raw_length = 0;
    call.limits = atomic_load(&services->limits);
    call.query = (struct query){parameters, 0, FAST_PARAMETERS_MAX, bytes, sizeof(bytes), false};
    if (!find_route(&call, &raw, &raw_length)) {
        return API_DONE;
    }
    if (!call.route->fast) {
        return API_DECLINED;
    }
    struct error error;
    error.status = STATUS_OK;
    error.param[0] = error.hint[0] = '\0';
    error.code = NULL;
    enum status status = check_body_length(&call, &error);
    if (status == STATUS_OK && call.route->fast != forecast_get_fast) {
        status = decode_target(&call, raw, raw_length, argument, sizeof(argument), &error);
    }
    return run_handler(&call, call.route->fast, status, &error);
}

enum api_outcome api_handle(struct api_worker *worker, struct api_request *request,
                            struct api_response *response)
{
    worker->view.prefix = view_prefix(request);
    struct call call = {.services = worker->services,
                        .worker = worker,
                        .view = &worker->view,
                        .request = request,
                        .response = response};
    const char *raw = NULL;
    size_t raw_length = 0;
    call.limits = atomic_load(&worker->services->limits);
    call.query = (struct query){worker->parameters, 0,    QUERY_PARAMETERS_MAX, worker->query_bytes,
                                QUERY_BYTES_MAX,    false};
    if (!find_route(&call, &raw, &raw_length)) {
        return API_DONE;
    }
    struct error error = {0};
    enum status status = check_body_length(&call, &error);
    if (status == STATUS_OK) {
        status = decode_target(&call, raw, raw_length, worker->argument, sizeof(worker->argument),
                               &error);
    }
    CHECK(call.route->handle || call.route->fast);
    return run_handler(&call, call.route->handle ? call.route->handle : call.route->fast, status,
                       &error);
}

static const struct route *route_of(const struct api_request *request)
{
    char allow[64];
    const char *raw = NULL;
    size_t raw_length = 0;
    return router_find(request, &raw, &raw_length, allow);
}

bool api_is_audited(const struct api_request *request)
{
    const struct route *route = route_of(request);
    return route && route->scope == SCOPE_ADMIN;
}

bool api_is_probe(const struct api_request *request)
{
    const struct route *route = route_of(request);
    return route && (route->fast == healthz_fast || route->fast == readyz_fast ||
                     route->fast == metrics_fast);
}

void api_observe(struct api_services *services, const struct api_request *request, int status,
                 int64_t duration_ns)
{
    const struct route *route = route_of(request);
    metrics_observe(services->metrics, route ? router_index(route) : SIZE_MAX, status, duration_ns);
}
