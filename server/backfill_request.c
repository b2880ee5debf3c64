/* What is sent to each kind of neighbour, and the words in which it refuses.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A query for InfluxDB holds the places that Grafana's and InfluxDB's own editors use, so that one
 * can be copied from a panel: $timeFilter and $__interval in InfluxQL, v.timeRangeStart,
 * v.timeRangeStop and v.windowPeriod in Flux.
 */
#include "server/backfill.h"

#include "base/check.h"
#include "base/json_reader.h"
#include "server/fetch.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#define QUERY_BYTES_MAX ((size_t)64 << 10)
#define URL_BYTES_MAX   ((size_t)4 << 10)
#define STEP_MS_PRESET  60000

static const char all_influxql[] = "SELECT * FROM /.*/ WHERE $timeFilter GROUP BY *";
static const char means_influxql[] =
    "SELECT mean(*) FROM /.*/ WHERE $timeFilter GROUP BY time($__interval), * fill(none)";
static const char all_flux[] =
    "from(bucket: \"$bucket\") |> range(start: v.timeRangeStart, stop: v.timeRangeStop)";
static const char means_flux[] =
    "from(bucket: \"$bucket\") |> range(start: v.timeRangeStart, stop: v.timeRangeStop) |> "
    "aggregateWindow(every: v.windowPeriod, fn: mean, createEmpty: false, timeSrc: \"_start\")";

/* ---------------------------------------------------------------- checks */

static enum status needs(const char *option, const char *why, struct error *error)
{
    error_set(error, STATUS_INVALID, "option '--%s' is missing%s%s", option, why[0] ? ": " : "",
              why);
    return error_code(error, "missing_option", option);
}

static enum status check_places(const struct backfill_source *source, struct error *error)
{
    bool flux = source->kind == NEIGHBOUR_FLUX;
    for (size_t i = 0; i < source->query_count; i++) {
        const char *query = source->queries[i];
        if (flux ? strstr(query, "v.timeRangeStart") == NULL ||
                       strstr(query, "v.timeRangeStop") == NULL
                 : strstr(query, "$timeFilter") == NULL) {
            error_set(error, STATUS_INVALID, "--query %zu does not say where the time range goes",
                      i + 1);
            return error_hint(error, "%s",
                              flux ? "Write range(start: v.timeRangeStart, stop: v.timeRangeStop)."
                                   : "Write WHERE $timeFilter.");
        }
        if (source->step_ms == 0 && strstr(query, flux ? "v.windowPeriod" : "$__interval")) {
            return needs("step", "the query uses it", error);
        }
    }
    return STATUS_OK;
}

enum status backfill_check(struct backfill_source *source, struct error *error)
{
    enum status status = fetch_check_url("the neighbour's address", source->url, error);
    if (status != STATUS_OK) {
        return status;
    }
    if (source->start_ms >= source->end_ms) {
        return error_set(error, STATUS_INVALID, "--start is not before --end");
    }
    if (source->kind == NEIGHBOUR_PROMETHEUS) {
        if (source->query_count == 0) {
            return needs("query", "a selector such as node_load1, or any PromQL", error);
        }
        source->step_ms = source->step_ms > 0 ? source->step_ms : STEP_MS_PRESET;
        return STATUS_OK;
    }
    bool means = source->step_ms > 0;
    if (source->query_count == 0) {
        source->query_count = 1;
        source->queries[0] = source->kind == NEIGHBOUR_INFLUXQL
                                 ? (means ? means_influxql : all_influxql)
                                 : (means ? means_flux : all_flux);
        source->column_prefix =
            means ? "mean_" : NULL; /* so that the name is the one of live points */
    }
    if (source->kind == NEIGHBOUR_INFLUXQL && source->database == NULL) {
        return needs("database", "or --bucket and --org for InfluxDB 2", error);
    }
    if (source->kind == NEIGHBOUR_FLUX && source->org == NULL) {
        return needs("org", "", error);
    }
    return check_places(source, error);
}

/* ---------------------------------------------------------------- requests */

static void add_percent(struct text *out, const char *bytes, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        unsigned char c = (unsigned char)bytes[i];
        if (isalnum(c) || strchr("-_.~", c) != NULL) {
            text_add_char(out, (char)c);
        } else {
            text_add_format(out, "%%%02X", c);
        }
    }
}

static void add_field(struct text *out, const char *name, const char *value)
{
    text_add_format(out, "%s%s=", out->length > 0 ? "&" : "", name);
    add_percent(out, value, strlen(value));
}

static void add_seconds(struct text *out, const char *name, int64_t time_ms)
{
    char value[40];
    int64_t rest = ((time_ms % 1000) + 1000) % 1000;
    snprintf(value, sizeof(value), "%lld.%03lld", (long long)((time_ms - rest) / 1000),
             (long long)rest);
    add_field(out, name, value);
}

struct place {
    const char *name;
    char value[160];
};

/* The query with every place filled in. */
static void fill_places(const char *query, const struct place *places, size_t count,
                        struct text *out)
{
    while (*query != '\0') {
        size_t i = 0;
        while (i < count && strncmp(query, places[i].name, strlen(places[i].name)) != 0) {
            i++;
        }
        if (i == count) {
            text_add_char(out, *query++);
        } else {
            text_add_string(out, places[i].value);
            query += strlen(places[i].name);
        }
    }
}

static void make_prometheus(const struct backfill_source *source, const char *query,
                            const int64_t window[2], struct backfill_request *request)
{
    text_add_string(&request->url, "/api/v1/query_range");
    add_field(&request->body, "query", query);
    add_seconds(&request->body, "start", window[0]);
    add_seconds(&request->body, "end", window[1] - source->step_ms); /* included there */
    add_seconds(&request->body, "step", source->step_ms);
    request->content_type = "application/x-www-form-urlencoded";
}

static void make_influxql(const struct backfill_source *source, const char *query,
                          const int64_t window[2], struct backfill_request *request)
{
    struct place places[] = {{"$timeFilter", ""}, {"$__interval", ""}};
    struct text filled;
    snprintf(places[0].value, sizeof(places[0].value), "(time >= %lldms AND time < %lldms)",
             (long long)window[0], (long long)window[1]);
    snprintf(places[1].value, sizeof(places[1].value), "%lldms", (long long)source->step_ms);
    text_init(&filled, QUERY_BYTES_MAX);
    fill_places(query, places, ARRAY_COUNT(places), &filled);
    text_add_string(&request->url, "/query");
    add_field(&request->body, "db", source->database);
    if (source->policy != NULL) {
        add_field(&request->body, "rp", source->policy);
    }
    add_field(&request->body, "epoch", "ms");
    add_field(&request->body, "chunked", "true");
    add_field(&request->body, "chunk_size", "10000");
    add_field(&request->body, "q", filled.bytes != NULL ? filled.bytes : "");
    text_release(&filled);
    request->content_type = "application/x-www-form-urlencoded";
}

static void make_flux(const struct backfill_source *source, const char *query,
                      const int64_t window[2], struct backfill_request *request)
{
    struct place places[] = {
        {"v.timeRangeStart", ""}, {"v.timeRangeStop", ""}, {"v.windowPeriod", ""}, {"$bucket", ""}};
    struct text filled, time;
    for (size_t i = 0; i < 2; i++) {
        text_init(&time, 64);
        text_add_time(&time, window[i]);
        snprintf(places[i].value, sizeof(places[i].value), "%s", time.bytes ? time.bytes : "");
        text_release(&time);
    }
    snprintf(places[2].value, sizeof(places[2].value), "%lldms", (long long)source->step_ms);
    snprintf(places[3].value, sizeof(places[3].value), "%s", source->bucket);
    text_init(&filled, QUERY_BYTES_MAX);
    fill_places(query, places, ARRAY_COUNT(places), &filled);
    text_add_string(&request->url, "/api/v2/query?org=");
    add_percent(&request->url, source->org, strlen(source->org));
    text_add_string(&request->body, "{\"type\":\"flux\",\"query\":");
    text_add_json_string(&request->body, filled.bytes != NULL ? filled.bytes : "", filled.length);
    text_add_string(&request->body, ",\"dialect\":{\"header\":true,\"delimiter\":\",\","
                                    "\"annotations\":[\"datatype\",\"group\",\"default\"]}}");
    text_release(&filled);
    request->content_type = "application/json";
}

enum status backfill_request_make(const struct backfill_source *source, size_t query,
                                  const int64_t window[2], struct backfill_request *request,
                                  struct error *error)
{
    size_t length = strlen(source->url);
    while (length > 0 && source->url[length - 1] == '/') {
        length--;
    }
    text_init(&request->url, URL_BYTES_MAX);
    text_init(&request->body, 4 * QUERY_BYTES_MAX);
    text_add(&request->url, source->url, length);
    switch (source->kind) {
    case NEIGHBOUR_PROMETHEUS:
        make_prometheus(source, source->queries[query], window, request);
        break;
    case NEIGHBOUR_INFLUXQL:
        make_influxql(source, source->queries[query], window, request);
        break;
    case NEIGHBOUR_FLUX:
        make_flux(source, source->queries[query], window, request);
        break;
    }
    enum status status = text_status(&request->url, "the address", error);
    return status == STATUS_OK ? text_status(&request->body, "the query", error) : status;
}

void backfill_request_release(struct backfill_request *request)
{
    text_release(&request->url);
    text_release(&request->body);
}

/* ---------------------------------------------------------------- refusals */

void backfill_server_words(const char *body, size_t length, char out[200])
{
    struct json_reader json;
    out[0] = '\0';
    json_reader_init(&json, body, length);
    if (length > 0 && json_next(&json) == JSON_OBJECT_BEGIN) {
        while (json_next(&json) == JSON_KEY && out[0] == '\0') {
            bool words = (json.text_length == 5 && memcmp(json.text, "error", 5) == 0) ||
                         (json.text_length == 7 && memcmp(json.text, "message", 7) == 0);
            if (!words) {
                if (json_skip_value(&json) == JSON_BROKEN) {
                    break;
                }
            } else if (json_next(&json) == JSON_STRING) {
                snprintf(out, 200, "%.*s", (int)json.text_length, json.text);
            }
        }
    }
    if (out[0] == '\0' && length > 0) {
        snprintf(out, 200, "%.*s", (int)(length < 199 ? length : 199), body);
    }
    for (char *at = out; *at != '\0'; at++) {
        *at = (unsigned char)*at < ' ' ? ' ' : *at;
    }
}
