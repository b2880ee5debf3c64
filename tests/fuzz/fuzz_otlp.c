/* Fuzzes OTLP: the protobuf reader, the reader of JSON, and both against each other.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The first byte chooses the encoding. What JSON becomes must be a message that can be read. A
 * message that can be read is written as JSON, by the plain printer below, and read again: then the
 * same must come out, but where JSON cannot say the same: strings that are no UTF-8, fields given
 * twice, and values nested deeper than a label can be.
 */
#include "api/otlp_json.h"
#include "api/otlp_reader.h"
#include "api/protobuf.h"
#include "base/check.h"
#include "base/memory.h"
#include "base/utf8.h"
#include "tests/fuzz/visitor.h"

#define JSON_MAX   ((size_t)4 << 20)
#define STRING_MAX 500 /* the reader of JSON has room for 1 KiB of a string with escapes */

static enum status read_message(struct slice message, uint64_t *sum)
{
    struct error error = {0};
    struct otlp_skipped skipped = {0};
    struct points_visitor visitor = {sum,         sum_series, sum_point,
                                     sum_refusal, NULL,       sum_declaration};
    *sum = 1;
    return otlp_read(message, &visitor, &skipped, &error);
}

/* ---------------------------------------------------------------- a message as JSON */

enum form { OBJECT, OBJECTS, TEXT, WHOLE, FIXED, NUMBER, FLAG, ENUM };

struct field {
    uint32_t number;
    const char *key;
    enum form form;
    const struct field *inner;
};

/* A nested list is left out of what can be compared. */
static const struct field list_item[] = {{1, "stringValue", TEXT, NULL},
                                         {2, "boolValue", FLAG, NULL},
                                         {3, "intValue", WHOLE, NULL},
                                         {4, "doubleValue", NUMBER, NULL},
                                         {0}};
static const struct field list[] = {{1, "values", OBJECTS, list_item}, {0}};
static const struct field value[] = {
    {1, "stringValue", TEXT, NULL},   {2, "boolValue", FLAG, NULL},    {3, "intValue", WHOLE, NULL},
    {4, "doubleValue", NUMBER, NULL}, {5, "arrayValue", OBJECT, list}, {0}};
static const struct field pair[] = {{1, "key", TEXT, NULL}, {2, "value", OBJECT, value}, {0}};
static const struct field number_point[] = {
    {3, "timeUnixNano", FIXED, NULL}, {4, "asDouble", NUMBER, NULL}, {6, "asInt", WHOLE, NULL},
    {7, "attributes", OBJECTS, pair}, {8, "flags", WHOLE, NULL},     {0}};
static const struct field histogram_point[] = {
    {3, "timeUnixNano", FIXED, NULL}, {4, "count", FIXED, NULL},  {5, "sum", NUMBER, NULL},
    {9, "attributes", OBJECTS, pair}, {10, "flags", WHOLE, NULL}, {0}};
static const struct field exponential_point[] = {{1, "attributes", OBJECTS, pair}, {0}};
static const struct field quantile[] = {
    {1, "quantile", NUMBER, NULL}, {2, "value", NUMBER, NULL}, {0}};
static const struct field summary_point[] = {{3, "timeUnixNano", FIXED, NULL},
                                             {4, "count", FIXED, NULL},
                                             {5, "sum", NUMBER, NULL},
                                             {6, "quantileValues", OBJECTS, quantile},
                                             {7, "attributes", OBJECTS, pair},
                                             {8, "flags", WHOLE, NULL},
                                             {0}};
static const struct field gauge[] = {{1, "dataPoints", OBJECTS, number_point}, {0}};
static const struct field sum[] = {{1, "dataPoints", OBJECTS, number_point},
                                   {2, "aggregationTemporality", ENUM, NULL},
                                   {3, "isMonotonic", FLAG, NULL},
                                   {0}};
static const struct field histogram[] = {
    {1, "dataPoints", OBJECTS, histogram_point}, {2, "aggregationTemporality", ENUM, NULL}, {0}};
static const struct field exponential[] = {{1, "dataPoints", OBJECTS, exponential_point}, {0}};
static const struct field summary[] = {{1, "dataPoints", OBJECTS, summary_point}, {0}};
static const struct field metric[] = {{1, "name", TEXT, NULL},
                                      {3, "unit", TEXT, NULL},
                                      {5, "gauge", OBJECT, gauge},
                                      {7, "sum", OBJECT, sum},
                                      {9, "histogram", OBJECT, histogram},
                                      {10, "exponentialHistogram", OBJECT, exponential},
                                      {11, "summary", OBJECT, summary},
                                      {0}};
static const struct field scope[] = {
    {1, "name", TEXT, NULL}, {2, "version", TEXT, NULL}, {3, "attributes", OBJECTS, pair}, {0}};
static const struct field scope_metrics[] = {
    {1, "scope", OBJECT, scope}, {2, "metrics", OBJECTS, metric}, {0}};
static const struct field resource[] = {{1, "attributes", OBJECTS, pair}, {0}};
static const struct field resource_metrics[] = {
    {1, "resource", OBJECT, resource}, {2, "scopeMetrics", OBJECTS, scope_metrics}, {0}};
static const struct field request[] = {{1, "resourceMetrics", OBJECTS, resource_metrics}, {0}};

static bool print_message(struct slice bytes, const struct field *known, struct text *json);

static bool print_string(struct slice text, struct text *json)
{
    for (size_t i = 0; i < text.length;) {
        size_t step = utf8_length(text.bytes + i, text.length - i);
        if (step == 0 || text.length > STRING_MAX) {
            return false;
        }
        i += step;
    }
    text_add_json_string(json, text.bytes, text.length);
    return true;
}

static void print_number(uint64_t bits, struct text *json)
{
    double number = 0;
    memcpy(&number, &bits, sizeof(number));
    if (isfinite(number)) {
        text_add_double(json, number);
    } else {
        text_add_string(json, isnan(number) ? "\"NaN\""
                              : number > 0  ? "\"Infinity\""
                                            : "\"-Infinity\"");
    }
}

static bool print_value(const struct protobuf_field *field, const struct field *known,
                        struct text *json)
{
    switch (known->form) {
    case OBJECT:
    case OBJECTS:
        return field->wire == WIRE_BYTES && print_message(field->bytes, known->inner, json);
    case TEXT:
        return field->wire == WIRE_BYTES && print_string(field->bytes, json);
    case WHOLE:
        text_add_format(json, "\"%lld\"", (long long)field->value);
        break;
    case ENUM:
        text_add_int(json, (int64_t)field->value);
        break;
    case FIXED:
        text_add_format(json, "\"%llu\"", (unsigned long long)field->value);
        break;
    case NUMBER:
        print_number(field->value, json);
        break;
    case FLAG:
        text_add_string(json, field->value ? "true" : "false");
        break;
    }
    return field->wire != WIRE_BYTES;
}

/* Members in the order of the fields. False: JSON cannot say the same. */
static bool print_message(struct slice bytes, const struct field *known, struct text *json)
{
    struct protobuf message = protobuf_of(bytes);
    struct protobuf_field field;
    const struct field *open = NULL;
    unsigned seen = 0;
    text_add_char(json, '{');
    while (protobuf_next(&message, &field)) {
        const struct field *found = known;
        while (found->number && found->number != field.number) {
            found++;
        }
        if (!found->number) {
            if (known == value || known == list_item) {
                return false;
            }
            continue;
        }
        bool again = open == found && found->form == OBJECTS;
        if (!again) {
            if (seen & 1u << (found - known)) {
                return false;
            }
            text_add_string(json, open && open->form == OBJECTS ? "]," : seen ? "," : "");
            text_add_format(json, "\"%s\":%s", found->key, found->form == OBJECTS ? "[" : "");
        } else {
            text_add_char(json, ',');
        }
        seen |= 1u << (found - known);
        open = found;
        if (!print_value(&field, found, json)) {
            return false;
        }
    }
    text_add_string(json, open && open->form == OBJECTS ? "]}" : "}");
    return !message.broken;
}

/* ---------------------------------------------------------------- the two ways */

static void from_json(const char *bytes, size_t length)
{
    struct text message;
    struct error error = {0};
    uint64_t ignored = 0;
    enum status status = otlp_json_read(bytes, length, &message, &error);
    struct slice whole = {message.length ? message.bytes : "", message.length};
    if (status == STATUS_OK && read_message(whole, &ignored) == STATUS_INVALID) {
        abort();
    }
    if (status != STATUS_OK && (status != STATUS_INVALID || !error.code)) {
        abort();
    }
    text_release(&message);
}

static void from_protobuf(struct slice bytes)
{
    struct text json, message;
    struct error error = {0};
    uint64_t first = 0, second = 0;
    if (read_message(bytes, &first) != STATUS_OK) {
        return;
    }
    text_init(&json, JSON_MAX);
    if (print_message(bytes, request, &json) && !json.failed) {
        if (otlp_json_read(json.bytes, json.length, &message, &error) != STATUS_OK ||
            read_message((struct slice){message.length ? message.bytes : "", message.length},
                         &second) != STATUS_OK ||
            first != second) {
            abort();
        }
        text_release(&message);
    }
    text_release(&json);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size > 0 && data[0] & 1) {
        from_json((const char *)data + 1, size - 1);
    } else if (size > 0) {
        from_protobuf((struct slice){(const char *)data + 1, size - 1});
    }
    return 0;
}
