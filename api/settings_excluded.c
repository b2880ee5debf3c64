/* The setting "exclude" of a series: spans that nothing is learned from, out of PATCH and into
 * answers. SPDX-License-Identifier: Apache-2.0
 */
#include "api/settings.h"

#include "api/json.h"
#include "api/query.h"
#include "base/memory.h"

#include <jansson.h>
#include <string.h>

#define HINT                                                                                       \
    "Give an array of {\"from\": TIME, \"to\": TIME}; what lies in from <= time < to is left out."
#define TIME_MS_MIN (-INT64_C(62135596800000)) /* year 1 to 9999: what RFC 3339 can say */
#define TIME_MS_MAX INT64_C(253402300799999)

static enum status bad(struct error *error, const char *hint)
{
    error_code(error, "bad_field", "exclude");
    return error_hint(error, "%s", hint);
}

static enum status read_time(const json_t *object, const char *name, int64_t *time_ms,
                             struct error *error)
{
    const json_t *member = json_object_get(object, name);
    if (json_is_integer(member)) {
        *time_ms = json_integer_value(member);
    } else if (!json_is_string(member)) {
        error_set(error, STATUS_INVALID, "\"%s\" is %s", name,
                  member ? "neither a text nor whole milliseconds" : "missing");
        return bad(error, HINT);
    } else if (parse_time(name, json_string_value(member), time_ms, error) != STATUS_OK) {
        return error_code(error, "bad_field", "exclude");
    }
    if (*time_ms < TIME_MS_MIN || *time_ms > TIME_MS_MAX) {
        error_set(error, STATUS_INVALID, "\"%s\" is out of reach", name);
        return bad(error, "Give a time of the years 1 to 9999.");
    }
    return STATUS_OK;
}

static enum status read_span(const json_t *object, struct time_span *span, struct error *error)
{
    if (!json_is_object(object)) {
        error_set(error, STATUS_INVALID, "not an object");
        return bad(error, HINT);
    }
    if (json_check_members(object, "from to", error) != STATUS_OK ||
        read_time(object, "from", &span->from_ms, error) != STATUS_OK ||
        read_time(object, "to", &span->to_ms, error) != STATUS_OK) {
        return error->status;
    }
    if (span->from_ms >= span->to_ms) {
        error_set(error, STATUS_INVALID, "\"to\" does not lie behind \"from\"");
        return bad(error, HINT);
    }
    return STATUS_OK;
}

/* `room` has a place for each element. */
static enum status read_spans(const json_t *array, struct time_span *room, struct time_spans *spans,
                              struct error *error)
{
    size_t count = json_array_size(array);
    for (size_t i = 0; i < count; i++) {
        if (read_span(json_array_get(array, i), &room[i], error) != STATUS_OK) {
            return error_wrap(error, "element %zu of \"exclude\"", i + 1);
        }
    }
    count = time_spans_join(room, count);
    if (count > TIME_SPANS_MAX) {
        error_set(error, STATUS_INVALID, "\"exclude\" has %zu spans, the limit is %d", count,
                  TIME_SPANS_MAX);
        return bad(error, "Join those that are near each other, or leave out the oldest ones: "
                          "spans that overlap or touch count as one.");
    }
    spans->count = count;
    memcpy(spans->at, room, count * sizeof(*room));
    return STATUS_OK;
}

enum status settings_read_excluded(const struct json_t *body, bool *given, struct time_spans *spans,
                                   struct error *error)
{
    const json_t *array = json_object_get(body, "exclude");
    *given = array != NULL;
    spans->count = 0;
    if (!array || json_is_null(array)) {
        return STATUS_OK;
    }
    if (!json_is_array(array)) {
        error_set(error, STATUS_INVALID, "the field \"exclude\" is no array");
        return bad(error, HINT);
    }
    struct time_span *room = mem_array(json_array_size(array) + 1, sizeof(*room));
    if (!room) {
        return error_set(error, STATUS_NO_MEMORY, "no memory for excluded spans");
    }
    enum status status = read_spans(array, room, spans, error);
    mem_free(room);
    return status;
}

void settings_write_excluded(const struct time_spans *spans, struct text *json)
{
    text_add_char(json, '[');
    for (size_t i = 0; i < spans->count; i++) {
        text_add_string(json, i ? ",{\"from\":\"" : "{\"from\":\"");
        text_add_time(json, spans->at[i].from_ms);
        text_add_string(json, "\",\"to\":\"");
        text_add_time(json, spans->at[i].to_ms);
        text_add_string(json, "\"}");
    }
    text_add_char(json, ']');
}
