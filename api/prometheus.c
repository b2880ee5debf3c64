/* Parts that the routes under /prometheus share.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "api/prometheus.h"

#include "base/clock.h"
#include "base/memory.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define SECONDS_MAX 9e12 /* as far as Prometheus goes, about */

/* The body first, for the first of two parameters counts. The decoded text lives in the worker. */
enum status prometheus_parameters(struct call *call, struct error *error)
{
    const struct api_request *request = call->request;
    struct text form;
    text_init(&form, QUERY_BYTES_MAX);
    text_add(&form, request->body ? request->body : "", request->body_length);
    text_add_char(&form, '&');
    text_add_string(&form, request->query);
    enum status status = text_status(&form, "the parameters", error);
    if (status == STATUS_OK && memchr(form.bytes, '\0', form.length)) {
        error_set(error, STATUS_INVALID, "the parameters hold a zero byte");
        status = error_code(error, "bad_query", NULL);
    }
    if (status == STATUS_OK) {
        call->query.line_breaks = true;
        status = query_parse(&call->query, form.bytes, error);
    }
    text_release(&form);
    return status;
}

static enum status refuse(const char *name, const char *text, const char *wanted,
                          struct error *error)
{
    error_set(error, STATUS_INVALID, "invalid parameter \"%s\": cannot parse \"%.60s\" to %s", name,
              text, wanted);
    return error_code(error, "bad_parameter", name);
}

static bool read_seconds(const char *text, int64_t *out_ms)
{
    char *end = NULL;
    double seconds = strtod(text, &end);
    if (end == text || *end != '\0' || !(fabs(seconds) <= SECONDS_MAX)) {
        return false;
    }
    *out_ms = (int64_t)round(seconds * 1000.0);
    return true;
}

enum status prometheus_time(const struct call *call, const char *name, int64_t preset,
                            int64_t *time_ms, struct error *error)
{
    const char *text = query_value(&call->query, name);
    struct error cause = {0};
    *time_ms = preset;
    if (!text || read_seconds(text, time_ms) ||
        clock_parse(text, strlen(text), 1, time_ms, &cause) == STATUS_OK) {
        return STATUS_OK;
    }
    return refuse(name, text, "a valid timestamp", error);
}

enum status prometheus_duration(const struct call *call, const char *name, int64_t preset,
                                int64_t *duration_ms, struct error *error)
{
    const char *text = query_value(&call->query, name);
    struct error cause = {0};
    *duration_ms = preset;
    if (!text) {
        return STATUS_OK;
    }
    if (!read_seconds(text, duration_ms) &&
        clock_parse_duration(text, strlen(text), duration_ms, &cause) != STATUS_OK) {
        return refuse(name, text, "a valid duration", error);
    }
    if (*duration_ms <= 0) {
        error_set(error, STATUS_INVALID,
                  "invalid parameter \"%s\": zero or negative durations are not accepted", name);
        return error_code(error, "bad_parameter", name);
    }
    return STATUS_OK;
}

enum status prometheus_match(const struct call *call, struct prometheus_match *match,
                             struct error *error)
{
    match->count = 0;
    for (size_t i = 0; i < call->query.count; i++) {
        const struct query_parameter *parameter = &call->query.parameters[i];
        if (strcmp(parameter->name, "match[]") != 0) {
            continue;
        }
        if (match->count == PROMETHEUS_MATCH_MAX) {
            error_set(error, STATUS_INVALID, "more than %d of match[]", PROMETHEUS_MATCH_MAX);
            return error_code(error, "bad_parameter", "match[]");
        }
        if (promql_selector_new(parameter->value, parameter->length,
                                &match->selectors[match->count], error) != STATUS_OK) {
            return error_code(error, error->code, "match[]");
        }
        match->count++;
    }
    return STATUS_OK;
}

void prometheus_match_release(struct prometheus_match *match)
{
    for (size_t i = 0; i < match->count; i++) {
        promql_selector_free(match->selectors[i]);
    }
    match->count = 0;
}

void prometheus_add_labels(struct text *json, struct slice labels)
{
    struct slice key, value;
    bool first = true;
    text_add_char(json, '{');
    for (size_t at = 0; promql_label_next(labels, &at, &key, &value); first = false) {
        if (!first) {
            text_add_char(json, ',');
        }
        text_add_json_string(json, key.bytes, key.length);
        text_add_char(json, ':');
        text_add_json_string(json, value.bytes, value.length);
    }
    text_add_char(json, '}');
}
