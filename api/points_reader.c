/* Streaming reader of points in JSON and NDJSON: no tree, and a short cut for what machines send.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "api/points_scan.h"

#include "base/clock.h"
#include "base/json_reader.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* One reading. */
struct reading {
    const char *body, *end;
    const struct points_options *options;
    struct points_cache *cache;
    const struct points_visitor *visitor;
    uint64_t position; /* of the next point */
    char text[SERIES_TEXT_MAX];
};

enum member { SERIES, LABELS, TIMESTAMP, VALUE, POINTS, MEMBERS };
static const char *const member_names[MEMBERS] = {"series", "labels", "timestamp", "value",
                                                  "points"};

/* One object as far as it is known. Strings are copied, because the JSON reader reuses its scratch.
 */
struct object {
    bool seen[MEMBERS];
    struct slice name;
    struct series_label labels[SERIES_LABELS_MAX];
    size_t label_count;
    int64_t time_ms;
    double value;
    const char *points; /* where the array stands in the body */
    struct error fault; /* the first thing wrong with it; status STATUS_OK: nothing */
    size_t used;
    char store[SERIES_TEXT_MAX];
};

/* ---------------------------------------------------------------- times and values */

static enum status refuse_time(const char *code, struct error *error, const char *what)
{
    error_set(error, STATUS_INVALID, "%s", what);
    return error_code(error, code, "timestamp");
}

enum status points_time(double number, int64_t integer, bool is_integer, enum time_unit unit,
                        int64_t *time_ms, struct error *error)
{
    static const int64_t divide[] = {1, 1, 1000, 1000000};
    int64_t value = 0;
    if (is_integer && unit != UNIT_SECONDS) {
        int64_t by = divide[unit];
        value = by == 1 ? integer : integer / by - (integer % by < 0); /* spares the divisions */
    } else {
        double scaled =
            floor(number * (unit == UNIT_SECONDS ? 1000.0 : 1.0 / (double)divide[unit]));
        if (!(fabs(scaled) < 9e18)) {
            return refuse_time("bad_timestamp", error, "the timestamp is out of range");
        }
        value = (int64_t)scaled;
    }
    if (value < POINTS_TIME_MIN_MS) {
        error_set(error, STATUS_INVALID, "the timestamp %.17g would lie before 1973", number);
        return error_code(error, "timestamp_unit", "timestamp");
    }
    *time_ms = value;
    return STATUS_OK;
}

static enum status read_time(const struct json_reader *json, enum json_token token,
                             enum time_unit unit, int64_t *time_ms, struct error *error)
{
    if (token == JSON_NUMBER) {
        return points_time(json->number, json->integer, json->is_integer, unit, time_ms, error);
    }
    if (token == JSON_STRING) {
        struct error cause = {0};
        if (clock_parse(json->text, json->text_length, 1, time_ms, &cause) == STATUS_OK) {
            return STATUS_OK;
        }
        return refuse_time("bad_timestamp", error, "the timestamp is not RFC 3339 with an offset");
    }
    return refuse_time("bad_timestamp", error, "the timestamp is neither a number nor a string");
}

static enum status read_value(const struct json_reader *json, enum json_token token, double *value,
                              struct error *error)
{
    *value = (double)NAN;
    if (token == JSON_NUMBER && isfinite(json->number)) {
        *value = json->number;
        return STATUS_OK;
    }
    if (token == JSON_NULL) {
        return STATUS_OK;
    }
    error_set(error, STATUS_INVALID, "the value is not a finite number");
    return error_code(error, "bad_value", "value");
}

/* ---------------------------------------------------------------- one object, the general way */

static void object_fault(struct object *object, const char *code, const char *param,
                         const char *text)
{
    if (object->fault.status == STATUS_OK) {
        error_set(&object->fault, STATUS_INVALID, "%s", text);
        error_code(&object->fault, code, param);
    }
}

/* The reader's text, kept beyond its next token. */
static struct slice keep_text(struct object *object, const struct json_reader *json)
{
    struct slice kept = {json->text, json->text_length};
    if (json->text < json->begin || json->text >= json->end) {
        if (json->text_length > sizeof(object->store) - object->used) {
            object_fault(object, "bad_label", "labels", "name and labels are too long");
            return (struct slice){"", 0};
        }
        memcpy(object->store + object->used, json->text, json->text_length);
        kept.bytes = object->store + object->used;
        object->used += json->text_length;
    }
    return kept;
}

/* Skips what is left of the value whose first token was just read. */
static bool skip_rest(struct json_reader *json, enum json_token token)
{
    if (token == JSON_OBJECT_BEGIN || token == JSON_ARRAY_BEGIN) {
        token = json_skip_value(json);
    }
    return token != JSON_BROKEN;
}

static bool read_labels(struct json_reader *json, struct object *object)
{
    enum json_token token = json_next(json);
    if (token == JSON_NULL) {
        return true;
    }
    if (token != JSON_OBJECT_BEGIN) {
        object_fault(object, "bad_label", "labels", "the labels are not an object");
        return skip_rest(json, token);
    }
    while ((token = json_next(json)) == JSON_KEY) {
        struct series_label label;
        label.key = keep_text(object, json);
        token = json_next(json);
        if (token == JSON_STRING) {
            label.value = keep_text(object, json);
            if (object->label_count < SERIES_LABELS_MAX) {
                object->labels[object->label_count++] = label;
            } else {
                object_fault(object, "too_many_labels", "labels", "a series has at most 32 labels");
            }
        } else {
            object_fault(object, "bad_label", "labels", "a label is not a string");
            if (!skip_rest(json, token)) {
                return false;
            }
        }
    }
    return token == JSON_OBJECT_END;
}

static bool read_member(struct json_reader *json, struct object *object, enum member member,
                        enum time_unit unit)
{
    if (member == LABELS) {
        return read_labels(json, object);
    }
    if (member == POINTS) {
        const char *start = json->cursor;
        enum json_token first = json_next(json);
        if (first == JSON_ARRAY_BEGIN) {
            object->points = start;
        } else {
            object_fault(object, "bad_field", "points", "the points are not an array");
        }
        return first != JSON_BROKEN && skip_rest(json, first);
    }
    enum json_token token = json_next(json);
    struct error error = {0};
    bool fine = true;
    if (token == JSON_BROKEN) {
        return false;
    }
    if (member == SERIES && token == JSON_STRING) {
        object->name = keep_text(object, json);
    } else if (member == SERIES) {
        object_fault(object, "bad_series_name", "series", "the name of the series is not a string");
    } else if (member == TIMESTAMP) {
        fine = read_time(json, token, unit, &object->time_ms, &error) == STATUS_OK;
    } else {
        fine = read_value(json, token, &object->value, &error) == STATUS_OK;
    }
    if (!fine && object->fault.status == STATUS_OK) {
        object->fault = error;
    }
    return skip_rest(json, token);
}

static void check_object(struct object *object)
{
    const bool *seen = object->seen;
    if (!seen[SERIES]) {
        object_fault(object, "missing_field", "series", "the field \"series\" is missing");
    }
    if (seen[POINTS] && (seen[TIMESTAMP] || seen[VALUE])) {
        object_fault(object, "bad_field", "points",
                     "\"points\" cannot stand beside \"timestamp\" or \"value\"");
    }
    if (!seen[POINTS] && !seen[VALUE]) {
        object_fault(object, "missing_field", "value", "the field \"value\" is missing");
    }
}

static enum member member_of(const struct json_reader *json)
{
    for (int i = 0; i < MEMBERS; i++) {
        if (strlen(member_names[i]) == json->text_length &&
            memcmp(member_names[i], json->text, json->text_length) == 0) {
            return (enum member)i;
        }
    }
    return MEMBERS;
}

/* Reads the members of the object that just began; false where the document is broken. */
static bool read_object(struct json_reader *json, struct object *object, enum time_unit unit)
{
    enum json_token token;
    while ((token = json_next(json)) == JSON_KEY) {
        enum member member = member_of(json);
        bool intact;
        if (member == MEMBERS) {
            char what[80];
            int shown = json->text_length < 40 ? (int)json->text_length : 40;
            snprintf(what, sizeof(what), "unknown field \"%.*s\"", shown, json->text);
            object_fault(object, "unknown_field", NULL, what);
            intact = json_skip_value(json) != JSON_BROKEN;
        } else if (object->seen[member]) {
            object_fault(object, "duplicate_field", member_names[member], "a field stands twice");
            intact = json_skip_value(json) != JSON_BROKEN;
        } else {
            object->seen[member] = true;
            intact = read_member(json, object, member, unit);
        }
        if (!intact) {
            return false;
        }
    }
    check_object(object);
    return token == JSON_OBJECT_END;
}

/* ---------------------------------------------------------------- handing on */

static enum status give_refusal(struct reading *reading, const struct error *error)
{
    reading->visitor->refuse(reading->visitor->context, reading->position++, error);
    return STATUS_OK;
}

static enum status give_point(struct reading *reading, uint32_t number, struct point point,
                              struct error *error)
{
    enum status status = reading->visitor->point(reading->visitor->context, number, point, error);
    if (status == STATUS_INVALID) {
        status = give_refusal(reading, error);
    } else {
        reading->position++;
    }
    return status;
}

/* One [time, value] pair whose bracket was just read; false where the document is broken. */
static bool read_pair(struct json_reader *json, enum time_unit unit, struct point *point,
                      struct error *fault)
{
    enum json_token token = json_next(json);
    if (token == JSON_ARRAY_END) {
        error_set(fault, STATUS_INVALID, "a point is [time, value]");
        error_code(fault, "bad_field", "points");
        return true;
    }
    bool fine = read_time(json, token, unit, &point->time_ms, fault) == STATUS_OK;
    if (!skip_rest(json, token)) {
        return false;
    }
    token = json_next(json);
    if (token != JSON_ARRAY_END) {
        struct error value_fault = {0};
        if (read_value(json, token, &point->value, &value_fault) != STATUS_OK && fine) {
            *fault = value_fault;
        }
        if (!skip_rest(json, token)) {
            return false;
        }
        token = json_next(json);
        if (token == JSON_ARRAY_END) {
            return true;
        }
    }
    error_set(fault, STATUS_INVALID, "a point is [time, value]");
    error_code(fault, "bad_field", "points");
    while (token != JSON_ARRAY_END) {
        if (token == JSON_BROKEN || !skip_rest(json, token)) {
            return false;
        }
        token = json_next(json);
    }
    return true;
}

/* The pairs of the second form. The array was skipped once, so its syntax is known to be right. */
static enum status give_points(struct reading *reading, const struct object *object,
                               uint32_t number, const struct error *fault, struct error *error)
{
    struct json_reader json;
    json_reader_init(&json, object->points, (size_t)(reading->end - object->points));
    json_next(&json);
    enum json_token token;
    enum status status = STATUS_OK;
    while (status == STATUS_OK && (token = json_next(&json)) != JSON_ARRAY_END) {
        struct point point = {0, (double)NAN};
        struct error pair_fault = {0};
        if (token == JSON_ARRAY_BEGIN) {
            read_pair(&json, reading->options->unit, &point, &pair_fault);
        } else {
            error_set(&pair_fault, STATUS_INVALID, "a point is [time, value]");
            error_code(&pair_fault, "bad_field", "points");
            skip_rest(&json, token);
        }
        if (fault->status != STATUS_OK) {
            status = give_refusal(reading, fault);
        } else if (pair_fault.status != STATUS_OK) {
            status = give_refusal(reading, &pair_fault);
        } else {
            status = give_point(reading, number, point, error);
        }
    }
    return status;
}

/* A whole object: its series is looked up and its points are handed on. `raw` may be NULL. */
static enum status give_object(struct reading *reading, struct object *object,
                               const struct scanned *raw, struct error *error)
{
    uint32_t number = 0;
    size_t length = 0;
    struct error fault = object->fault;
    if (fault.status == STATUS_OK &&
        series_name_write(object->name, object->labels, object->label_count, reading->text, &length,
                          &fault) == STATUS_OK) {
        struct slice text = {reading->text, length};
        uint64_t handle = 0;
        enum status status =
            reading->visitor->series(reading->visitor->context, text, &handle, &number, &fault);
        if (status != STATUS_OK && status != STATUS_INVALID && status != STATUS_TOO_LARGE) {
            *error = fault;
            return status;
        }
        struct identity *entry =
            status == STATUS_OK && raw && raw->end && reading->cache
                ? points_cache_put(reading->cache, raw->series, raw->labels, text)
                : NULL;
        if (entry) {
            entry->number = number;
            entry->handle = handle;
        }
    }
    if (object->points) {
        return give_points(reading, object, number, &fault, error);
    }
    if (fault.status != STATUS_OK) {
        return give_refusal(reading, &fault);
    }
    struct point point = {object->time_ms, object->value};
    return give_point(reading, number, point, error);
}

static enum status read_general(struct reading *reading, const char **at, const struct scanned *raw,
                                struct error *error)
{
    struct json_reader json;
    struct object object;
    /* Field by field: clearing the stores would cost more than reading a small object. */
    memset(object.seen, 0, sizeof(object.seen));
    object.label_count = 0;
    object.time_ms = reading->options->now_ms;
    object.value = (double)NAN;
    object.points = NULL;
    object.fault.status = STATUS_OK;
    object.used = 0;
    json_reader_init(&json, *at, (size_t)(reading->end - *at));
    if (json_next(&json) != JSON_OBJECT_BEGIN ||
        !read_object(&json, &object, reading->options->unit)) {
        json.begin = reading->body; /* so that the position in the error is one in the body */
        return json_error(&json, error);
    }
    *at = json.cursor;
    return give_object(reading, &object, raw, error);
}

/* ---------------------------------------------------------------- the short cut */

static enum status read_one(struct reading *reading, const char **at, struct error *error)
{
    struct scanned scanned = {0};
    struct identity *known = NULL;
    if (reading->cache) {
        points_scan(*at, reading->end, &scanned);
        known =
            scanned.end ? points_cache_find(reading->cache, scanned.series, scanned.labels) : NULL;
    }
    if (!known) {
        return read_general(reading, at, &scanned, error);
    }
    struct point point = {reading->options->now_ms, scanned.value};
    struct error fault;
    fault.status = STATUS_OK;
    enum status status = points_cache_number(reading->cache, known, reading->visitor, &fault);
    if (status != STATUS_OK && status != STATUS_INVALID && status != STATUS_TOO_LARGE) {
        *error = fault;
        return status;
    }
    bool good = status == STATUS_OK;
    if (good && scanned.has_time) {
        good = points_time((double)scanned.time_ms, scanned.time_ms, true, reading->options->unit,
                           &point.time_ms, &fault) == STATUS_OK;
    }
    *at = scanned.end;
    return good ? give_point(reading, known->number, point, error) : give_refusal(reading, &fault);
}

/* ---------------------------------------------------------------- the document */

static const char *skip_blanks(const char *at, const char *end)
{
    while (at < end && (*at == ' ' || *at == '\n' || *at == '\t' || *at == '\r')) {
        at++;
    }
    return at;
}

static enum status broken(const struct reading *reading, const char *at, const char *what,
                          struct error *error)
{
    error_set(error, STATUS_INVALID, "byte %zu of the body: %s", (size_t)(at - reading->body),
              at == reading->end ? "the document ends too early" : what);
    return error_code(error, "bad_json", NULL);
}

/* What stands where an object should: broken JSON, or JSON of another form. */
static enum status not_an_object(struct reading *reading, const char *at, struct error *error)
{
    struct json_reader json;
    json_reader_init(&json, at, (size_t)(reading->end - at));
    if (json_skip_value(&json) == JSON_BROKEN) {
        json.begin = reading->body;
        return json_error(&json, error);
    }
    error_set(error, STATUS_INVALID, "byte %zu of the body: a point has to be an object",
              (size_t)(at - reading->body));
    return error_code(error, "bad_body", NULL);
}

static enum status read_array(struct reading *reading, const char *at, struct error *error)
{
    at = skip_blanks(at + 1, reading->end);
    if (at < reading->end && *at == ']') {
        at++;
    } else {
        for (;;) {
            if (at == reading->end || *at != '{') {
                return not_an_object(reading, at, error);
            }
            if (read_one(reading, &at, error) != STATUS_OK) {
                return error->status;
            }
            at = skip_blanks(at, reading->end);
            if (at == reading->end || (*at != ',' && *at != ']')) {
                return broken(reading, at, "expected a comma or ]", error);
            }
            if (*at++ == ']') {
                break;
            }
            at = skip_blanks(at, reading->end);
        }
    }
    at = skip_blanks(at, reading->end);
    return at == reading->end ? STATUS_OK
                              : broken(reading, at, "something follows the document", error);
}

/* One object a line; empty lines are fine. The object may not span lines. */
static enum status read_lines(struct reading *reading, const char *at, struct error *error)
{
    const char *body_end = reading->end;
    while ((at = skip_blanks(at, body_end)) < body_end) {
        const char *newline = memchr(at, '\n', (size_t)(body_end - at));
        reading->end = newline ? newline : body_end;
        if (*at != '{') {
            return not_an_object(reading, at, error);
        }
        if (read_one(reading, &at, error) != STATUS_OK) {
            return error->status;
        }
        at = skip_blanks(at, reading->end);
        if (at != reading->end) {
            return broken(reading, at, "something follows the object on its line", error);
        }
    }
    return STATUS_OK;
}

enum status points_read(const char *body, size_t length, const struct points_options *options,
                        struct points_cache *cache, const struct points_visitor *visitor,
                        struct error *error)
{
    struct reading reading;
    reading.body = body;
    reading.end = body + length;
    reading.options = options;
    reading.cache = cache;
    reading.visitor = visitor;
    reading.position = 0;
    if (cache) {
        cache->serial++;
    }
    error->status = STATUS_OK;
    if (options->ndjson) {
        return read_lines(&reading, body, error);
    }
    const char *at = skip_blanks(body, reading.end);
    if (at == reading.end) {
        return broken(&reading, at, "", error);
    }
    if (*at == '[') {
        return read_array(&reading, at, error);
    }
    if (*at != '{') {
        return not_an_object(&reading, at, error);
    }
    if (read_one(&reading, &at, error) != STATUS_OK) {
        return error->status;
    }
    at = skip_blanks(at, reading.end);
    return at == reading.end ? STATUS_OK
                             : broken(&reading, at, "something follows the document", error);
}
