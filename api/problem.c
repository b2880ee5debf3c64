/* Errors on the wire: one switch from status to HTTP code, one table of codes, RFC 9457 bodies.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "api/problem.h"

#include "api/call.h"
#include "api/influx.h"
#include "api/otlp.h"
#include "base/check.h"
#include "base/log.h"
#include "base/memory.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define PROBLEM_BYTES_MAX 8192
#define PROMETHEUS_ROOT   "/prometheus/"
#define PROBLEM_TYPE      "application/problem+json"

/* Sent where there is not even memory for an error. */
static char problem_of_last_resort[] =
    "{\"type\":\"urn:forecastd:error:no_memory\",\"title\":\"Out of memory\",\"status\":503,"
    "\"detail\":\"the daemon is out of memory\",\"code\":\"no_memory\",\"param\":null,"
    "\"hint\":\"Try again in a second.\",\"request_id\":null}";

static char influx_of_last_resort[] = "{\"error\":\"the daemon is out of memory\"}\n";

static const struct problem_code codes[] = {
    /* routes and heads */
    {"unknown_route", 404, "No such route", "GET / shows the page, the manual lists the routes."},
    {"method_not_allowed", 405, "Method not allowed", "The Allow header lists the methods."},
    {"unsupported_media_type", 415, "Unsupported media type", NULL},
    {"unsupported_encoding", 415, "Unsupported content encoding",
     "Send the body as it is, or with Content-Encoding: gzip or zstd where the route takes "
     "points."},
    {"bad_framing", 400, "Malformed or ambiguous head of a request",
     "Send one Host, one Content-Length or (in HTTP/1.1) chunked, and no blanks in the target."},
    {"bad_host", 400, "Host not known", "Ask by address, or name the host in server.hosts."},
    {"unauthorized", 401, "Token needed", NULL},
    {"forbidden", 403, "The token does not allow this", NULL},
    {"cross_origin", 403, "Asked by a page from elsewhere",
     "There is no CORS: let your server ask, or serve the page from the same origin."},
    {"body_too_large", 413, "Body too large", "Send the data in several requests."},
    /* query and body */
    {"unknown_parameter", 400, "Unknown parameter", NULL},
    {"missing_parameter", 400, "Missing parameter", NULL},
    {"repeated_parameter", 400, "Repeated parameter", "Give the parameter once."},
    {"bad_parameter", 400, "Parameter makes no sense",
     "The manual of the routes says what each parameter takes."},
    {"bad_query", 400, "Unreadable query string",
     "Percent-encode what is not a letter or a digit."},
    {"bad_json", 400, "Unreadable JSON", "Check the body with a JSON checker."},
    {"bad_body", 400, "Body has another form than expected",
     "The manual of the routes shows each body."},
    {"bad_gzip", 400, "Unreadable gzip body", "Send a whole gzip file as the body."},
    {"bad_zstd", 400, "Unreadable zstd body",
     "Send whole zstd frames with windows of at most 8 MiB: level 19 or lower, without --long."},
    {"bad_csv", 400, "Unreadable CSV", NULL},
    {"bad_snappy", 400, "Unreadable snappy body",
     "Send one snappy block, as Prometheus does; the framed format is another one."},
    {"bad_protobuf", 400, "Unreadable protobuf message",
     "The type of the body says which message it has to be."},
    {"bad_line", 400, "Unreadable line", "Check the line against InfluxDB's line protocol."},
    {"unknown_field", 400, "Unknown field", NULL},
    {"missing_field", 400, "Missing field",
     "A point has series, value and mostly timestamp, or series and points."},
    {"duplicate_field", 400, "Field given twice", "Give each field once."},
    {"bad_field", 400, "Field makes no sense",
     "The manual of the routes says what each field takes."},
    {"too_many_points", 413, "Too many points in one request", "Send them in several requests."},
    {"too_many_series", 400, "Too many series in one answer",
     "Narrow the selector, or ask in several requests."},
    {"answer_too_large", 400, "The answer would be too large",
     "Ask for fewer series, steps, levels or less history."},
    {"bad_series_name", 400, "Unreadable series name",
     "Write name{key=\"value\"} with the quotes, percent-encoded in a URL."},
    {"bad_selector", 400, "Unreadable selector",
     "Write name{a=\"x\",b!=\"y\",c=~\"z.*\"}, percent-encoded in a URL."},
    {"bad_label", 400, "Label makes no sense",
     "Keys hold letters, digits, underscore, point and minus; values are strings."},
    {"duplicate_label", 400, "Label given twice", "Give each label once."},
    {"too_many_labels", 400, "Too many labels", "A series has at most 32 labels."},
    /* PromQL */
    {"bad_promql", 400, "Unreadable or unsupported PromQL", "The manual says what is supported."},
    {"promql_limit", 422, "The query asks for too much",
     "Ask for fewer series, a shorter range or a larger step."},
    {"promql_conflict", 422, "Series of the query cannot be told apart",
     "Aggregate, or match on more labels."},
    {"promql_timeout", 503, "The query took too long",
     "Ask for fewer series, a shorter range or a larger step."},
    /* points */
    {"points_refused", 422, "Some points were refused", NULL},
    {"bad_timestamp", 422, "Timestamp makes no sense",
     "Give milliseconds since 1970, or RFC 3339 with an offset."},
    {"timestamp_unit", 422, "Timestamp looks like another unit",
     "Pass precision=s, us or ns, or give milliseconds."},
    {"too_far_future", 422, "Timestamp too far ahead",
     "Check the clock of the sender, or pass precision where the times are not in milliseconds."},
    {"too_old", 422, "Older than the retention",
     "storage.retention says how long points are kept."},
    {"bad_value", 422, "Value is not a finite number",
     "Give a number, or null where it is missing."},
    {"outside_prefix", 422, "Series outside of the token's prefix",
     "Write to series that begin with the prefix, or use a token without one."},
    {"series_limit", 422, "Too many series", "ingest.max_series says how many there may be."},
    /* forecasts and series */
    {"unknown_series", 404, "Unknown series", "GET /api/v1/series lists what there is."},
    {"insufficient_history", 422, "Too few points", "A forecast needs two points of the series."},
    {"no_vintage", 404, "No forecast was kept from then",
     "forecast.vintages says how long issued forecasts are kept; leave out at for the one of now."},
    {"not_supported", 400, "Not supported", "Leave it out; the manual says what there is."},
    {"forecast_timeout", 422, "The forecasts took too long", "Send fewer series in one request."},
    {"not_enabled", 404, "Switched off", "The option that is named switches it on."},
    /* models and jobs */
    {"unknown_model", 404, "Unknown model", "GET /api/v1/models lists what there is."},
    {"no_previous_model", 409, "No model to go back to",
     "GET /api/v1/models lists them; give step_ms where several groups have one."},
    {"not_promotable", 409, "The model cannot be promoted",
     "GET /api/v1/models says which one is the champion."},
    {"unknown_job", 404, "Unknown job", "GET /api/v1/jobs lists what there is."},
    {"job_queued", 409, "A job of this kind is queued already",
     "GET /api/v1/jobs shows it; DELETE /api/v1/jobs/{id} cancels it."},
    {"job_ended", 409, "The job is over already", "GET /api/v1/jobs shows which are not."},
    {"jobs_full", 503, "Too many jobs", "Try again when one of them is done."},
    /* the daemon's state */
    {"busy", 503, "Busy", "Try again after the time in Retry-After."},
    {"overloaded", 503, "Too many requests", "Try again after the time in Retry-After."},
    {"storage_unavailable", 503, "The store cannot be written",
     "Free disk space; forecasts are served meanwhile."},
    {"no_memory", 503, "Out of memory", "Try again in a second."},
    {"not_ready", 503, "Not ready", "Try again in a second."},
    {"internal", 500, "Internal error", "The log of the daemon says more under the request id."},
};

const struct problem_code *problem_codes(size_t *count)
{
    *count = ARRAY_COUNT(codes);
    return codes;
}

const struct problem_code *problem_code_find(const char *code)
{
    for (size_t i = 0; i < ARRAY_COUNT(codes); i++) {
        if (strcmp(codes[i].code, code) == 0) {
            return &codes[i];
        }
    }
    return NULL;
}

/* The one place where a status becomes an HTTP code. */
static int http_of_status(enum status status)
{
    switch (status) {
    case STATUS_OK:
        return 200;
    case STATUS_INVALID:
    case STATUS_UNSUPPORTED:
        return 400;
    case STATUS_NOT_FOUND:
        return 404;
    case STATUS_CONFLICT:
        return 409;
    case STATUS_TOO_LARGE:
        return 413;
    case STATUS_BUSY:
    case STATUS_NOT_READY:
    case STATUS_CANCELLED:
    case STATUS_TIMEOUT:
    case STATUS_NO_MEMORY:
    case STATUS_NO_SPACE:
    case STATUS_IO:
        return 503;
    case STATUS_CORRUPT:
    case STATUS_INTERNAL:
        return 500;
    }
    return 500;
}

/* What the client sees where the cause is ours; NULL where the error may be shown as it is. */
static const char *public_text(enum status status)
{
    if (status == STATUS_NO_SPACE) {
        return "the disk is full: nothing of this request was stored";
    }
    if (status == STATUS_IO) {
        return "the store could not be read or written: send the request again";
    }
    if (status == STATUS_NO_MEMORY) {
        return "the daemon is out of memory";
    }
    if (status == STATUS_CORRUPT || status == STATUS_INTERNAL) {
        return "the daemon met an error of its own";
    }
    return NULL;
}

const char *problem_code_of(const struct error *error)
{
    if (error->status == STATUS_NO_SPACE || error->status == STATUS_IO) {
        return "storage_unavailable";
    }
    if (error->status == STATUS_CORRUPT || error->status == STATUS_INTERNAL) {
        return "internal";
    }
    return error->code ? error->code : status_code(error->status);
}

int problem_http(const struct error *error)
{
    const struct problem_code *row = problem_code_find(problem_code_of(error));
    return row && row->http ? row->http : http_of_status(error->status);
}

void response_header(struct api_response *response, const char *name, const char *format, ...)
{
    char value[API_HEADER_VALUE_LENGTH + 1];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(value, sizeof(value), format, arguments);
    va_end(arguments);
    size_t bytes = strlen(value) + 1;
    if (response->header_count == API_HEADERS_MAX ||
        bytes > API_HEADERS_BYTES - response->header_bytes) {
        return;
    }
    for (char *c = value; *c; c++) {
        if ((unsigned char)*c < 0x20 || *c == 0x7f) {
            *c = '_';
        }
    }
    memcpy(response->header_values + response->header_bytes, value, bytes);
    response->headers[response->header_count].name = name;
    response->headers[response->header_count++].value_at = response->header_bytes;
    response->header_bytes += bytes;
}

const char *api_header_value(const struct api_response *response, size_t index)
{
    return response->header_values + response->headers[index].value_at;
}

void response_common_headers(struct api_response *response)
{
    response_header(response, "Cache-Control", "no-store");
}

enum status response_take_text(struct api_response *response, int http, const char *content_type,
                               struct text *text, struct error *error)
{
    if (text_status(text, "the answer", error) != STATUS_OK) {
        text_release(text);
        return error->status;
    }
    response->status = http;
    response->content_type = content_type;
    response->body = text_take(text, &response->body_length);
    return STATUS_OK;
}

static void add_member(struct text *text, const char *name, const char *value)
{
    text_add_format(text, "\"%s\":", name);
    if (value && value[0]) {
        text_add_json_string(text, value, strlen(value));
    } else {
        text_add_string(text, "null");
    }
    text_add_char(text, ',');
}

static void log_own_fault(const struct api_request *request, const struct error *error, int http)
{
    if (public_text(error->status)) {
        char quoted[512];
        log_warning("api", "request failed", "request_id=%s status=%d code=%s reason=%s",
                    request->request_id, http, problem_code_of(error),
                    log_quote(error->text, strlen(error->text), quoted, sizeof(quoted)));
    }
}

static void write_problem(const struct api_request *request, const struct error *error, int http,
                          struct text *text)
{
    const char *code = problem_code_of(error);
    const struct problem_code *row = problem_code_find(code);
    const char *general = public_text(error->status);
    text_add_format(text, "{\"type\":\"urn:forecastd:error:%s\",", code);
    add_member(text, "title", row ? row->title : status_text(error->status));
    text_add_format(text, "\"status\":%d,", http);
    add_member(text, "detail", general ? general : error->text);
    add_member(text, "code", code);
    add_member(text, "param", error->param);
    add_member(text, "hint", error->hint[0] ? error->hint : (row ? row->hint : NULL));
    add_member(text, "request_id", request->request_id);
    if (!text->failed && text->length > 0) {
        text->bytes[text->length - 1] = '}'; /* instead of the last comma */
    }
}

/* The envelope of Prometheus: clients show `error` and decide by errorType. */
static void write_prometheus(const struct error *error, int http, struct text *text)
{
    static const struct {
        int http;
        const char *type;
    } types[] = {{404, "not_found"}, {422, "execution"}, {500, "internal"}, {503, "unavailable"}};
    const char *type = error->status == STATUS_TIMEOUT ? "timeout" : "bad_data";
    for (size_t i = 0; i < ARRAY_COUNT(types) && error->status != STATUS_TIMEOUT; i++) {
        type = types[i].http == http ? types[i].type : type;
    }
    const char *general = public_text(error->status);
    char said[sizeof(error->text) + sizeof(error->hint) + 4];
    snprintf(said, sizeof(said), "%s%s%s", general ? general : error->text,
             error->hint[0] ? ". " : "", error->hint);
    text_add_format(text, "{\"status\":\"error\",\"errorType\":\"%s\",\"error\":", type);
    text_add_json_string(text, said, strlen(said));
    text_add_char(text, '}');
}

/* Whose form an error has, by the path; returns the type of the answer. */
static const char *write_error(const struct api_request *request, const struct error *error,
                               int http, struct text *text)
{
    const char *general = public_text(error->status);
    const char *said = general ? general : error->text;
    if (influx_owns(request->path)) {
        influx_write_error(request->path, http, said, text);
        return CONTENT_JSON;
    }
    if (otlp_owns(request->path)) {
        enum otlp_encoding encoding = OTLP_JSON;
        if (!otlp_encoding_of(request->content_type, &encoding)) {
            encoding = OTLP_JSON;
        }
        otlp_write_error(encoding, http, said, text);
        return otlp_content_type(encoding);
    }
    if (strncmp(request->path, PROMETHEUS_ROOT, sizeof(PROMETHEUS_ROOT) - 1) == 0) {
        write_prometheus(error, http, text);
        return CONTENT_JSON;
    }
    write_problem(request, error, http, text);
    return PROBLEM_TYPE;
}

void api_problem(const struct api_request *request, const struct error *error,
                 struct api_response *response)
{
    int http = problem_http(error);
    log_own_fault(request, error, http);
    struct text text;
    text_init(&text, PROBLEM_BYTES_MAX);
    const char *type = write_error(request, error, http, &text);
    if (!response->body_static) {
        mem_free(response->body);
    }
    memset(response, 0, sizeof(*response));
    response_common_headers(response);
    if (http == 503) {
        response_header(response, "Retry-After", "%d", error->status == STATUS_NO_SPACE ? 10 : 1);
    }
    bool influx = influx_owns(request->path);
    if (influx) {
        influx_headers(response);
    }
    struct error ignored = {0};
    if (response_take_text(response, http, type, &text, &ignored) != STATUS_OK) {
        response->status = 503;
        response->content_type = influx ? CONTENT_JSON : PROBLEM_TYPE;
        response->body = influx ? influx_of_last_resort : problem_of_last_resort;
        response->body_length = strlen(response->body);
        response->body_static = true;
    }
}

void api_response_release(struct api_response *response)
{
    if (!response->body_static) {
        mem_free(response->body);
    }
    memset(response, 0, sizeof(*response));
}
