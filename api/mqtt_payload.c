/* The readings in one message of an MQTT broker: a number, or a JSON object of them.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "api/mqtt_payload.h"

#include "base/clock.h"
#include "base/json_reader.h"

#include <math.h>
#include <string.h>

struct reading {
    const struct mqtt_payload *payload;
    struct mqtt_identity *identity;
    const struct points_visitor *visitor;
    struct error *error;
    int64_t time_ms;
    uint64_t taken, refused, skipped;
};

static bool blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n' || c == '\0';
}

static struct slice trimmed(struct slice text)
{
    while (text.length > 0 && blank(text.bytes[0])) {
        text.bytes++;
        text.length--;
    }
    while (text.length > 0 && blank(text.bytes[text.length - 1])) {
        text.length--;
    }
    return text;
}

/* One reading of the series NAME; what is wrong with it alone refuses it alone. */
static enum status take(struct reading *reading, struct slice name, double value)
{
    char text[SERIES_TEXT_MAX];
    size_t length = 0;
    uint32_t number = 0;
    struct series_label labels[SERIES_LABELS_MAX];
    struct mqtt_identity *identity = reading->identity;
    memcpy(labels, identity->labels, identity->label_count * sizeof(labels[0]));
    enum status status =
        isinf(value)
            ? error_code(reading->error,
                         (error_set(reading->error, STATUS_INVALID, "the value is not finite"),
                          "bad_value"),
                         "value")
            : series_name_write(name, labels, identity->label_count, text, &length, reading->error);
    if (status == STATUS_OK) {
        uint64_t handle = 0;
        status = reading->visitor->series(reading->visitor->context, (struct slice){text, length},
                                          &handle, &number, reading->error);
    }
    if (status == STATUS_OK) {
        struct point point = {reading->time_ms, value};
        status = reading->visitor->point(reading->visitor->context, number, point, reading->error);
    }
    if (status == STATUS_INVALID || status == STATUS_TOO_LARGE) {
        reading->visitor->refuse(reading->visitor->context, reading->taken, reading->error);
        reading->refused++;
        return STATUS_OK;
    }
    reading->taken += status == STATUS_OK;
    return status;
}

/* ---------------------------------------------------------------- JSON */

/* NAME with a key behind it, in `bytes`; "value" at the top is NAME itself. */
static struct slice name_of(struct slice name, const struct json_reader *json, bool top,
                            char bytes[SERIES_TEXT_MAX])
{
    if (top && json->text_length == 5 && memcmp(json->text, "value", 5) == 0) {
        return name;
    }
    size_t length = name.length;
    size_t more = json->text_length < 512 ? json->text_length : 512;
    memcpy(bytes, name.bytes, length);
    bytes[length++] = '_';
    memcpy(bytes + length, json->text, more);
    return (struct slice){bytes, length + more};
}

static bool is_time(const struct json_reader *json)
{
    return (json->text_length == 9 && memcmp(json->text, "timestamp", 9) == 0) ||
           (json->text_length == 4 && memcmp(json->text, "time", 4) == 0);
}

/* All members of the object whose first token was just read. */
static enum status take_object(struct reading *reading, struct json_reader *json, struct slice name,
                               int depth)
{
    char bytes[SERIES_TEXT_MAX];
    enum status status = STATUS_OK;
    enum json_token token = json_next(json);
    for (; token == JSON_KEY && status == STATUS_OK; token = json_next(json)) {
        bool timed = depth == 1 && is_time(json);
        struct slice member = name_of(name, json, depth == 1, bytes);
        token = json_next(json);
        if (timed) { /* read before */
            token = json_skip_value(json);
        } else if (token == JSON_NUMBER) {
            status = take(reading, member, json->number);
        } else if (token == JSON_NULL) {
            status = take(reading, member, NAN);
        } else if (token == JSON_OBJECT_BEGIN && depth < MQTT_PAYLOAD_DEPTH) {
            status = take_object(reading, json, member, depth + 1);
        } else if (token != JSON_BROKEN) {
            token = json_skip_value(json);
            reading->skipped++;
        }
        if (token == JSON_BROKEN) {
            break;
        }
    }
    return status == STATUS_OK && token == JSON_BROKEN ? json_error(json, reading->error) : status;
}

/* The whole text is JSON, and the time at its top; before anything is told to the visitor. */
static enum status read_time(struct reading *reading, struct slice text)
{
    struct json_reader json;
    json_reader_init(&json, text.bytes, text.length);
    enum json_token token = json_next(&json);
    enum status status = STATUS_OK;
    while (token != JSON_BROKEN && token != JSON_END && status == STATUS_OK) {
        token = json_next(&json);
        if (token == JSON_KEY && json.depth == 1 && is_time(&json)) {
            token = json_next(&json);
            if (token == JSON_STRING) {
                status =
                    clock_parse(json.text, json.text_length, 1, &reading->time_ms, reading->error);
            } else if (token == JSON_NUMBER) {
                status = points_time(json.number, json.integer, json.is_integer,
                                     reading->payload->unit, &reading->time_ms, reading->error);
            } else if (token != JSON_BROKEN) {
                status = error_set(reading->error, STATUS_INVALID, "the timestamp is no time");
            }
            if (status != STATUS_OK) {
                return error_code(reading->error,
                                  reading->error->code ? reading->error->code : "bad_timestamp",
                                  "timestamp");
            }
        }
    }
    return token == JSON_BROKEN ? json_error(&json, reading->error) : status;
}

static enum status read_object(struct reading *reading, struct slice text)
{
    struct json_reader json;
    enum status status = read_time(reading, text);
    if (status != STATUS_OK) {
        return status;
    }
    json_reader_init(&json, text.bytes, text.length);
    (void)json_next(&json);
    return take_object(reading, &json, reading->identity->name, 1);
}

static enum status no_reading(struct reading *reading, const char *why)
{
    error_set(reading->error, STATUS_INVALID, "%s", why);
    error_code(reading->error, "bad_body", NULL);
    return error_hint(reading->error, "Publish a number, or a JSON object with numbers in it.");
}

enum status mqtt_payload_read(const struct mqtt_payload *payload, struct mqtt_identity *identity,
                              const struct points_visitor *visitor, uint64_t *skipped,
                              struct error *error)
{
    struct reading reading = {payload, identity, visitor, error, payload->now_ms, 0, 0, 0};
    struct slice text = trimmed(payload->bytes);
    enum status status;
    if (text.length > 0 && text.bytes[0] == '{') {
        status = read_object(&reading, text);
    } else {
        double number = 0;
        int64_t integer = 0;
        int is_integer = 0;
        size_t used = json_parse_number(text.bytes, text.length, &number, &integer, &is_integer);
        status = used > 0 && used == text.length
                     ? take(&reading, identity->name, number)
                     : no_reading(&reading, "the payload is neither a number nor a JSON object");
    }
    *skipped += reading.skipped;
    if (status == STATUS_OK && reading.taken + reading.refused == 0) {
        status = no_reading(&reading, "the payload has no number in it");
    }
    return status;
}
