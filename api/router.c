/* The route table: which method on which path, what body it may have, and who handles it.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "api/router.h"

#include "api/forecast_query.h"
#include "api/handlers.h"
#include "api/influx.h"
#include "api/otlp.h"
#include "api/remote_write_reader.h"
#include "base/check.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#define CONTROL_BODY_MAX (1u << 20)

static const struct route routes[] = {
    /* ingest */
    {API_POST, SCOPE_WRITE, "/api/v1/points", BODY_POINTS, "precision", "", points_fast,
     points_handle},
    {API_POST, SCOPE_WRITE, "/api/v1/write", BODY_REMOTE_WRITE, "get_vm_proto_version", "",
     remote_write_fast, remote_write_handle},
    {API_POST, SCOPE_WRITE, "/v1/metrics", BODY_OTLP, NULL, "", NULL, otlp_handle},
    {API_POST, SCOPE_WRITE, "/api/v1/import", BODY_CSV, "", "", NULL, import_handle},
    /* ingest as InfluxDB has it */
    {API_POST, SCOPE_WRITE, "/write", BODY_LINES, "db rp precision consistency u p", "", line_fast,
     line_handle},
    {API_POST, SCOPE_WRITE, "/api/v2/write", BODY_LINES, "org orgID bucket precision", "",
     line_fast, line_handle},
    {API_GET, SCOPE_READ | SCOPE_WRITE, "/query", BODY_NONE, INFLUX_QUERY_PARAMETERS, "",
     influx_query_fast, NULL},
    {API_POST, SCOPE_READ | SCOPE_WRITE, "/query", BODY_FORM, INFLUX_QUERY_PARAMETERS, "",
     influx_query_fast, NULL},
    {API_GET, SCOPE_OPEN, "/ping", BODY_NONE, NULL, "", influx_ping_fast, NULL},
    {API_GET, SCOPE_OPEN, "/health", BODY_NONE, NULL, "", influx_health_fast, NULL},
    /* forecasts */
    {API_GET, SCOPE_READ, "/api/v1/forecast", BODY_NONE, FORECAST_PARAMETERS, "series",
     forecast_get_fast, forecast_get},
    {API_POST, SCOPE_READ, "/api/v1/forecast", BODY_JSON, "", "", NULL, forecast_post},
    {API_GET, SCOPE_READ, "/api/v1/timeleft", BODY_NONE, TIMELEFT_PARAMETERS, "series",
     timeleft_get_fast, timeleft_get},
    {API_GET, SCOPE_READ, "/api/v1/accuracy", BODY_NONE, "series by window", "series", NULL,
     accuracy_get},
    {API_GET, SCOPE_READ, "/api/v1/anomalies", BODY_NONE, "series start end format", "series", NULL,
     anomalies_get},
    /* series */
    {API_GET, SCOPE_READ, "/api/v1/series", BODY_NONE, "match search limit cursor", "", NULL,
     series_list},
    {API_GET, SCOPE_READ, "/api/v1/series/{id}", BODY_NONE, "", "", NULL, series_one},
    {API_PATCH, SCOPE_ADMIN, "/api/v1/series/{id}", BODY_JSON, "", "", NULL, series_patch},
    {API_DELETE, SCOPE_ADMIN, "/api/v1/series/{id}", BODY_NONE, "", "", NULL, series_delete},
    {API_GET, SCOPE_READ, "/api/v1/series/{id}/points", BODY_NONE, "start end limit", "", NULL,
     series_points},
    /* forecasts as Nixtla's client asks for them */
    {API_POST, SCOPE_READ, "/v2/forecast", BODY_VALUES, "", "", NULL, nixtla_forecast},
    {API_GET, SCOPE_READ, "/model_params", BODY_NONE, "model freq", "", NULL, nixtla_model_params},
    {API_GET, SCOPE_READ, "/validate_api_key", BODY_NONE, NULL, "", NULL, nixtla_validate},
    {API_POST, SCOPE_READ, "/validate_token", BODY_JSON, NULL, "", NULL, nixtla_validate},
    /* models and training */
    {API_GET, SCOPE_READ, "/api/v1/models", BODY_NONE, "", "", NULL, models_list},
    {API_POST, SCOPE_ADMIN, "/api/v1/models/rollback", BODY_JSON, "", "", NULL, models_rollback},
    {API_GET, SCOPE_READ, "/api/v1/models/{id}", BODY_NONE, "", "", NULL, models_one},
    {API_POST, SCOPE_ADMIN, "/api/v1/models/{id}/promote", BODY_JSON, "", "", NULL, models_promote},
    {API_GET, SCOPE_READ, "/api/v1/backbones", BODY_NONE, "", "", NULL, backbones_list},
    {API_POST, SCOPE_ADMIN, "/api/v1/train", BODY_JSON, "", "", NULL, train_post},
    {API_POST, SCOPE_ADMIN, "/api/v1/backtest", BODY_JSON, "", "", NULL, backtest_post},
    {API_GET, SCOPE_READ | SCOPE_WHOLE, "/api/v1/jobs", BODY_NONE, "", "", jobs_list, NULL},
    {API_GET, SCOPE_READ | SCOPE_WHOLE, "/api/v1/jobs/{id}", BODY_NONE, "", "", jobs_one, NULL},
    {API_DELETE, SCOPE_ADMIN, "/api/v1/jobs/{id}", BODY_NONE, "", "", jobs_delete, NULL},
    /* the daemon */
    {API_GET, SCOPE_READ, "/api/v1/status", BODY_NONE, "", "", status_fast, NULL},
    {API_GET, SCOPE_OPEN, "/healthz", BODY_NONE, NULL, "", healthz_fast, NULL},
    {API_GET, SCOPE_OPEN, "/readyz", BODY_NONE, NULL, "", readyz_fast, NULL},
    {API_GET, SCOPE_READ, "/forecast/metrics", BODY_NONE, "match horizon quantiles",
     "match horizon", NULL, forecast_metrics_get},
    {API_GET, SCOPE_READ, "/metrics", BODY_NONE, NULL, "", metrics_fast, NULL},
    /* as Prometheus; what parameters there are is read by the handlers, out of query and form */
    {API_GET, SCOPE_READ, "/prometheus/api/v1/query", BODY_NONE, NULL, "", NULL, prometheus_query},
    {API_POST, SCOPE_READ, "/prometheus/api/v1/query", BODY_FORM, NULL, "", NULL, prometheus_query},
    {API_GET, SCOPE_READ, "/prometheus/api/v1/query_range", BODY_NONE, NULL, "", NULL,
     prometheus_query_range},
    {API_POST, SCOPE_READ, "/prometheus/api/v1/query_range", BODY_FORM, NULL, "", NULL,
     prometheus_query_range},
    {API_GET, SCOPE_READ, "/prometheus/api/v1/series", BODY_NONE, NULL, "", NULL,
     prometheus_series},
    {API_POST, SCOPE_READ, "/prometheus/api/v1/series", BODY_FORM, NULL, "", NULL,
     prometheus_series},
    {API_GET, SCOPE_READ, "/prometheus/api/v1/labels", BODY_NONE, NULL, "", NULL,
     prometheus_labels},
    {API_POST, SCOPE_READ, "/prometheus/api/v1/labels", BODY_FORM, NULL, "", NULL,
     prometheus_labels},
    {API_GET, SCOPE_READ, "/prometheus/api/v1/label/{name}/values", BODY_NONE, NULL, "", NULL,
     prometheus_values},
    {API_POST, SCOPE_READ, "/prometheus/api/v1/label/{name}/values", BODY_FORM, NULL, "", NULL,
     prometheus_values},
    {API_GET, SCOPE_READ, "/prometheus/api/v1/metadata", BODY_NONE, NULL, "", NULL,
     prometheus_metadata},
    {API_POST, SCOPE_READ, "/prometheus/api/v1/metadata", BODY_FORM, NULL, "", NULL,
     prometheus_metadata},
    {API_GET, SCOPE_READ, "/prometheus/api/v1/status/buildinfo", BODY_NONE, NULL, "", NULL,
     prometheus_buildinfo},
    {API_POST, SCOPE_READ, "/prometheus/api/v1/status/buildinfo", BODY_FORM, NULL, "", NULL,
     prometheus_buildinfo},
    /* the page */
    {API_GET, SCOPE_OPEN, "/", BODY_NONE, NULL, "", ui_fast, NULL},
    {API_GET, SCOPE_OPEN, "/ui/{file}", BODY_NONE, NULL, "", ui_fast, NULL},
    /* what is in this table, for programs: api/openapi/, held against it by a test */
    {API_GET, SCOPE_OPEN, "/openapi.json", BODY_NONE, NULL, "", ui_fast, NULL},
};

static const char *const method_names[] = {"GET", "HEAD", "POST", "PATCH", "DELETE", ""};

const struct route *router_routes(size_t *count)
{
    *count = ARRAY_COUNT(routes);
    return routes;
}

size_t router_index(const struct route *route)
{
    return (size_t)(route - routes);
}

/* A literal template beats {id} where it stands first in the table. */
static bool path_matches(const char *template, const char *path, const char **argument,
                         size_t *argument_length)
{
    const char *hole = strchr(template, '{');
    if (!hole) {
        return strcmp(template, path) == 0;
    }
    size_t before = (size_t)(hole - template);
    if (strncmp(template, path, before) != 0) {
        return false;
    }
    const char *after = strchr(hole, '}') + 1;
    size_t length = strcspn(path + before, "/");
    if (length == 0 || strcmp(path + before + length, after) != 0) {
        return false;
    }
    *argument = path + before;
    *argument_length = length;
    return true;
}

static void allow_add(char allow[64], const char *name)
{
    size_t used = strlen(allow);
    snprintf(allow + used, 64 - used, "%s%s", used ? ", " : "", name);
}

const struct route *router_find(const struct api_request *request, const char **argument,
                                size_t *argument_length, char allow[64])
{
    enum api_method method = request->method == API_HEAD ? API_GET : request->method;
    allow[0] = '\0';
    *argument = NULL;
    *argument_length = 0;
    for (size_t i = 0; i < ARRAY_COUNT(routes); i++) {
        const char *found = NULL;
        size_t found_length = 0;
        if (!path_matches(routes[i].template, request->path, &found, &found_length)) {
            continue;
        }
        if (routes[i].method == method) {
            *argument = found;
            *argument_length = found_length;
            return &routes[i];
        }
        allow_add(allow, method_names[routes[i].method]);
        if (routes[i].method == API_GET) {
            allow_add(allow, "HEAD");
        }
    }
    return NULL;
}

/* Whether a content type is `wanted`, whatever parameters ("; charset=utf-8") follow. */
static bool type_is(const char *content_type, const char *wanted)
{
    size_t length = strlen(wanted);
    if (strncasecmp(content_type, wanted, length) != 0) {
        return false;
    }
    char next = content_type[length];
    return next == '\0' || next == ';' || next == ' ';
}

/* Bodies of many points. */
static bool is_bulk(const struct route *route)
{
    return route->body == BODY_POINTS || route->body == BODY_CSV || route->body == BODY_LINES ||
           route->body == BODY_REMOTE_WRITE || route->body == BODY_OTLP ||
           route->body == BODY_VALUES;
}

static enum status check_type(const struct route *route, const char *type, struct error *error)
{
    const char *wanted = "application/json";
    bool known = type[0] == '\0' || type_is(type, wanted) || route->body == BODY_LINES;
    if (route->body == BODY_POINTS) {
        wanted = "application/json or application/x-ndjson";
        known = known || type_is(type, "application/x-ndjson");
    } else if (route->body == BODY_CSV) {
        wanted = "text/csv";
        known = type[0] == '\0' || type_is(type, wanted) || type_is(type, "application/gzip") ||
                type_is(type, "application/x-gzip") || type_is(type, "application/octet-stream");
    } else if (route->body == BODY_REMOTE_WRITE) {
        enum remote_write_version version;
        wanted = "application/x-protobuf, proto prometheus.WriteRequest or "
                 "io.prometheus.write.v2.Request";
        known = remote_write_version(type, &version);
    } else if (route->body == BODY_OTLP) {
        enum otlp_encoding encoding;
        wanted = "application/x-protobuf or application/json";
        known = otlp_encoding_of(type, &encoding);
    }
    if (route->body == BODY_FORM) {
        wanted = "application/x-www-form-urlencoded";
        known = type[0] == '\0' || type_is(type, wanted);
    }
    if (known) {
        return STATUS_OK;
    }
    error_set(error, STATUS_UNSUPPORTED, "this route cannot read \"%.80s\"", type);
    error_code(error, "unsupported_media_type", "Content-Type");
    return error_hint(error, "Send Content-Type: %s (curl: -H 'Content-Type: ...').", wanted);
}

/* What a body may be packed in, by its protocol. */
static enum status check_encoding(const struct route *route, enum api_encoding encoding,
                                  struct error *error)
{
    bool remote_write = route->body == BODY_REMOTE_WRITE;
    bool gzip = encoding == API_GZIP && is_bulk(route) && !remote_write;
    /* In remote write the standard has snappy alone, and vmagent prefers zstd. */
    bool zstd = encoding == API_ZSTD && is_bulk(route);
    /* Prometheus' own receiver takes a body without the header for snappy, too. */
    bool snappy = encoding == API_SNAPPY && remote_write;
    if (encoding == API_IDENTITY || gzip || zstd || snappy) {
        return STATUS_OK;
    }
    error_set(error, STATUS_UNSUPPORTED, "this route cannot read the content encoding");
    error_code(error, "unsupported_encoding", "Content-Encoding");
    return error_hint(error, "%s",
                      remote_write ? "Send a snappy block, as Prometheus does, or zstd."
                      : is_bulk(route)
                          ? "Send the body as it is, or with Content-Encoding: gzip or "
                            "zstd."
                          : "Send the body as it is.");
}

enum status router_check_head(const struct route *route, const struct api_request *request,
                              const struct api_limits *limits, uint64_t content_length,
                              struct error *error)
{
    bool bulk = is_bulk(route);
    size_t maximum = bulk ? limits->body_max : CONTROL_BODY_MAX;
    if (content_length != UINT64_MAX && content_length > maximum) {
        error_set(error, STATUS_TOO_LARGE, "the body of %llu bytes is over the limit of %zu",
                  (unsigned long long)content_length, maximum);
        return error_code(error, "body_too_large", bulk ? "ingest.max_body" : NULL);
    }
    if (route->body == BODY_NONE) {
        return STATUS_OK;
    }
    if (check_type(route, request->content_type, error) != STATUS_OK) {
        return error->status;
    }
    return check_encoding(route, request->encoding, error);
}
