/* What InfluxDB's clients expect besides writing: their errors, headers, probes and first
 * questions. SPDX-License-Identifier: Apache-2.0
 */
#include "api/influx.h"

#include "api/handlers.h"
#include "base/check.h"

#include <string.h>
#include <strings.h>

#define ANSWER_MAX     (16u << 10)
#define FORM_BYTES_MAX 4096
#define FORM_COUNT_MAX 16

/* ---------------------------------------------------------------- errors and headers */

bool influx_owns(const char *path)
{
    static const char *const paths[] = {"/write", "/query", "/ping", "/health"};
    for (size_t i = 0; i < ARRAY_COUNT(paths); i++) {
        if (strcmp(paths[i], path) == 0) {
            return true;
        }
    }
    return strncmp(path, "/api/v2/", 8) == 0;
}

/* The words of version 2's API for what a status means. */
static const char *code_of(int http)
{
    static const struct {
        int http;
        const char *code;
    } codes[] = {{400, "invalid"},   {401, "unauthorized"},       {403, "forbidden"},
                 {404, "not found"}, {405, "method not allowed"}, {413, "request too large"},
                 {415, "invalid"},   {503, "unavailable"}};
    for (size_t i = 0; i < ARRAY_COUNT(codes); i++) {
        if (codes[i].http == http) {
            return codes[i].code;
        }
    }
    return "internal error";
}

void influx_write_error(const char *path, int http, const char *message, struct text *text)
{
    size_t length = strlen(message);
    text_add_char(text, '{');
    if (strncmp(path, "/api/v2/", 8) == 0) {
        text_add_format(text, "\"code\":\"%s\",\"message\":", code_of(http));
        text_add_json_string(text, message, length);
        text_add_char(text, ',');
    }
    text_add_string(text, "\"error\":");
    text_add_json_string(text, message, length);
    text_add_string(text, "}\n");
}

void influx_headers(struct api_response *response)
{
    response_header(response, "X-Influxdb-Version", INFLUX_VERSION);
    response_header(response, "X-Influxdb-Build", "forecastd");
}

/* ---------------------------------------------------------------- probes */

enum status influx_ping_fast(struct call *call, struct error *error)
{
    (void)error;
    call->response->status = 204;
    response_common_headers(call->response);
    influx_headers(call->response);
    return STATUS_OK;
}

enum status influx_health_fast(struct call *call, struct error *error)
{
    struct storage_stats stats;
    struct text json;
    storage_stats(call->services->storage, &stats);
    bool pass = stats.writable && !atomic_load(&call->services->draining);
    text_init(&json, ANSWER_MAX);
    text_add_format(&json,
                    "{\"name\":\"forecastd\",\"message\":\"%s\",\"status\":\"%s\",\"checks\":[],"
                    "\"version\":\"%s\"}\n",
                    pass ? "ready for writes" : "writes are not taken now", pass ? "pass" : "fail",
                    FORECASTD_VERSION);
    influx_headers(call->response);
    return call_json(call, pass ? 200 : 503, &json, error);
}

/* ---------------------------------------------------------------- statements */

static const char *skip_blanks(const char *at)
{
    return at + strspn(at, " \t\r\n");
}

/* Moves *at behind a keyword, whatever its case. */
static bool take_word(const char **at, const char *word)
{
    const char *begin = skip_blanks(*at);
    size_t length = strlen(word);
    if (strncasecmp(begin, word, length) != 0 ||
        (begin[length] && !strchr(" \t\r\n;\"", begin[length]))) {
        return false;
    }
    *at = begin + length;
    return true;
}

/* Moves *at behind a name: letters and digits, or anything in double quotes. */
static bool take_name(const char **at)
{
    const char *begin = skip_blanks(*at);
    if (*begin != '"') {
        size_t length = strcspn(begin, " \t\r\n;\"");
        *at = begin + length;
        return length > 0;
    }
    const char *end = begin + 1;
    while (*end && *end != '"') {
        end += *end == '\\' && end[1] ? 2 : 1;
    }
    *at = *end ? end + 1 : end;
    return *end && end > begin + 1;
}

/* Answers one statement; false where it is none of those known here. */
static bool answer_statement(const char **at, struct text *json)
{
    if (take_word(at, "CREATE") && take_word(at, "DATABASE") && take_name(at)) {
        if (take_word(at, "WITH")) { /* retention, shards, replicas: nothing of it is here */
            *at += strcspn(*at, ";");
        }
    } else if (take_word(at, "SHOW") && take_word(at, "DATABASES")) {
        text_add_string(json, ",\"series\":[{\"name\":\"databases\",\"columns\":[\"name\"],"
                              "\"values\":[[\"forecastd\"]]}]");
    } else {
        return false;
    }
    *at = skip_blanks(*at);
    return **at == '\0' || **at == ';';
}

static enum status answer_query(struct call *call, const char *text, struct error *error)
{
    struct text json;
    int number = 0;
    const char *at = text + strspn(text, " \t\r\n;");
    if (*at == '\0') {
        error_set(error, STATUS_INVALID, "missing required parameter \"q\"");
        return error_code(error, "missing_parameter", "q");
    }
    text_init(&json, ANSWER_MAX);
    text_add_string(&json, "{\"results\":[");
    for (; *at; at += strspn(at, " \t\r\n;")) {
        text_add_format(&json, "%s{\"statement_id\":%d", number ? "," : "", number);
        number++;
        if (!answer_statement(&at, &json)) {
            text_release(&json);
            error_set(error, STATUS_INVALID,
                      "error parsing query: only CREATE DATABASE and SHOW DATABASES are answered "
                      "here, readings and forecasts are read under /api/v1");
            return error_code(error, "bad_query", "q");
        }
        text_add_char(&json, '}');
    }
    text_add_string(&json, "]}\n");
    influx_headers(call->response);
    return call_json(call, 200, &json, error);
}

enum status influx_query_fast(struct call *call, struct error *error)
{
    char text[FORM_BYTES_MAX + 1], bytes[FORM_BYTES_MAX + 1];
    struct query_parameter parameters[FORM_COUNT_MAX];
    struct query form = {parameters, 0, FORM_COUNT_MAX, bytes, sizeof(bytes), false};
    const struct api_request *request = call->request;
    const char *q = query_value(&call->query, "q");
    if (!q && request->body_length > 0) {
        if (request->body_length > FORM_BYTES_MAX) {
            error_set(error, STATUS_TOO_LARGE, "the query is longer than %d bytes", FORM_BYTES_MAX);
            return error_code(error, "body_too_large", "q");
        }
        memcpy(text, request->body, request->body_length);
        text[request->body_length] = '\0';
        if (query_parse(&form, text, error) != STATUS_OK) {
            return error->status;
        }
        q = query_value(&form, "q");
    }
    return answer_query(call, q ? q : "", error);
}
