/* OTLP's JSON made OTLP's protobuf, so that there is one reader for both.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Tables of the messages drive one function an object. It calls itself for objects in objects; the
 * JSON reader bounds the depth. The length of a message is known only behind it, so four bytes are
 * left for it: a varint may be longer than it has to be.
 */
#include "api/otlp_json.h"

#include "api/protobuf.h"
#include "base/check.h"
#include "base/json_reader.h"
#include "base/memory.h"

#include <math.h>

#define LENGTH_BYTES     4u
#define MESSAGE_SPARE    64u
#define MESSAGE_TIMES    4u
#define WHOLE_DOUBLE_MAX 9007199254740992.0 /* 2^53 */

enum member_type { MESSAGE, MESSAGES, STRING, BOOLEAN, FIXED64, SFIXED64, INT64, DOUBLE, ENUM };

static const char *const type_names[] = {[MESSAGE] = "an object",
                                         [MESSAGES] = "an array of objects",
                                         [STRING] = "a string",
                                         [BOOLEAN] = "true or false",
                                         [FIXED64] = "a whole number",
                                         [SFIXED64] = "a whole number",
                                         [INT64] = "a whole number",
                                         [DOUBLE] = "a number",
                                         [ENUM] = "a number or a known name"};

struct member {
    const char *key;
    uint32_t number;
    enum member_type type;
    const struct shape *shape; /* of messages */
};

#define MEMBERS_MAX 12

struct shape {
    const char *name;
    struct member members[MEMBERS_MAX]; /* up to the first without a key */
};

static const struct shape any_value;

static const struct shape array_value = {"ArrayValue", {{"values", 1, MESSAGES, &any_value}}};

/* What a map holds makes no difference: it cannot be a label. */
static const struct shape map_value = {"KeyValueList", {{NULL, 0, MESSAGE, NULL}}};

/* bytesValue is base64, and makes no difference either. */
static const struct shape any_value = {"AnyValue",
                                       {{"stringValue", 1, STRING, NULL},
                                        {"boolValue", 2, BOOLEAN, NULL},
                                        {"intValue", 3, INT64, NULL},
                                        {"doubleValue", 4, DOUBLE, NULL},
                                        {"arrayValue", 5, MESSAGE, &array_value},
                                        {"kvlistValue", 6, MESSAGE, &map_value},
                                        {"bytesValue", 7, STRING, NULL}}};

static const struct shape key_value = {
    "KeyValue", {{"key", 1, STRING, NULL}, {"value", 2, MESSAGE, &any_value}}};

static const struct shape number_point = {"NumberDataPoint",
                                          {{"timeUnixNano", 3, FIXED64, NULL},
                                           {"asDouble", 4, DOUBLE, NULL},
                                           {"asInt", 6, SFIXED64, NULL},
                                           {"attributes", 7, MESSAGES, &key_value},
                                           {"flags", 8, INT64, NULL}}};

static const struct shape histogram_point = {"HistogramDataPoint",
                                             {{"timeUnixNano", 3, FIXED64, NULL},
                                              {"count", 4, FIXED64, NULL},
                                              {"sum", 5, DOUBLE, NULL},
                                              {"attributes", 9, MESSAGES, &key_value},
                                              {"flags", 10, INT64, NULL}}};

static const struct shape exponential_point = {"ExponentialHistogramDataPoint",
                                               {{"attributes", 1, MESSAGES, &key_value}}};

static const struct shape quantile = {"ValueAtQuantile",
                                      {{"quantile", 1, DOUBLE, NULL}, {"value", 2, DOUBLE, NULL}}};

static const struct shape summary_point = {"SummaryDataPoint",
                                           {{"timeUnixNano", 3, FIXED64, NULL},
                                            {"count", 4, FIXED64, NULL},
                                            {"sum", 5, DOUBLE, NULL},
                                            {"quantileValues", 6, MESSAGES, &quantile},
                                            {"attributes", 7, MESSAGES, &key_value},
                                            {"flags", 8, INT64, NULL}}};

static const struct shape gauge = {"Gauge", {{"dataPoints", 1, MESSAGES, &number_point}}};

static const struct shape sum = {"Sum",
                                 {{"dataPoints", 1, MESSAGES, &number_point},
                                  {"aggregationTemporality", 2, ENUM, NULL},
                                  {"isMonotonic", 3, BOOLEAN, NULL}}};

static const struct shape histogram = {
    "Histogram",
    {{"dataPoints", 1, MESSAGES, &histogram_point}, {"aggregationTemporality", 2, ENUM, NULL}}};

static const struct shape exponential = {"ExponentialHistogram",
                                         {{"dataPoints", 1, MESSAGES, &exponential_point}}};

static const struct shape summary = {"Summary", {{"dataPoints", 1, MESSAGES, &summary_point}}};

static const struct shape metric = {"Metric",
                                    {{"name", 1, STRING, NULL},
                                     {"unit", 3, STRING, NULL},
                                     {"gauge", 5, MESSAGE, &gauge},
                                     {"sum", 7, MESSAGE, &sum},
                                     {"histogram", 9, MESSAGE, &histogram},
                                     {"exponentialHistogram", 10, MESSAGE, &exponential},
                                     {"summary", 11, MESSAGE, &summary}}};

static const struct shape scope = {"InstrumentationScope",
                                   {{"name", 1, STRING, NULL},
                                    {"version", 2, STRING, NULL},
                                    {"attributes", 3, MESSAGES, &key_value}}};

static const struct shape scope_metrics = {
    "ScopeMetrics", {{"scope", 1, MESSAGE, &scope}, {"metrics", 2, MESSAGES, &metric}}};

static const struct shape resource = {"Resource", {{"attributes", 1, MESSAGES, &key_value}}};

static const struct shape resource_metrics = {
    "ResourceMetrics",
    {{"resource", 1, MESSAGE, &resource}, {"scopeMetrics", 2, MESSAGES, &scope_metrics}}};

static const struct shape request = {"ExportMetricsServiceRequest",
                                     {{"resourceMetrics", 1, MESSAGES, &resource_metrics}}};

/* ---------------------------------------------------------------- writing */

static void add_varint(struct text *out, uint64_t value)
{
    for (; value > 0x7F; value >>= 7) {
        text_add_char(out, (char)(value | 0x80));
    }
    text_add_char(out, (char)value);
}

static void add_key(struct text *out, uint32_t number, enum protobuf_wire wire)
{
    add_varint(out, (uint64_t)number << 3 | wire);
}

static void add_fixed(struct text *out, uint32_t number, const void *eight)
{
    add_key(out, number, WIRE_FIXED64);
    text_add(out, eight, 8); /* little-endian, as protobuf.h has it */
}

/* Room for the length of the message that follows; returns where it is. */
static size_t begin_message(struct text *out, uint32_t number)
{
    add_key(out, number, WIRE_BYTES);
    text_add(out, "\0\0\0\0", LENGTH_BYTES);
    return out->length;
}

static void end_message(struct text *out, size_t begin)
{
    if (out->failed) {
        return;
    }
    size_t length = out->length - begin;
    CHECK(length < (size_t)1 << 7 * LENGTH_BYTES);
    for (size_t i = 0; i < LENGTH_BYTES; i++) {
        bool more = i + 1 < LENGTH_BYTES;
        out->bytes[begin - LENGTH_BYTES + i] = (char)((length >> 7 * i & 0x7F) | (more ? 0x80 : 0));
    }
}

/* ---------------------------------------------------------------- reading values */

static enum status bad_value(const struct shape *shape, const struct member *member,
                             struct error *error)
{
    error_set(error, STATUS_INVALID, "the member \"%s\" of a %s has to be %s", member->key,
              shape->name, type_names[member->type]);
    return error_code(error, "bad_field", member->key);
}

/* A whole number of 64 bits, in the type's own range; as two's complement. */
static bool read_whole(const struct json_reader *json, enum json_token token, bool is_signed,
                       uint64_t *value)
{
    const char *text = json->text;
    size_t length = token == JSON_STRING ? json->text_length : 0;
    if (token == JSON_NUMBER && json->is_integer && (is_signed || json->integer >= 0)) {
        memcpy(value, &json->integer, sizeof(*value));
        return true;
    }
    if (token == JSON_NUMBER) { /* 1e3 */
        bool fits = json->number == floor(json->number) &&
                    json->number >= (is_signed ? -WHOLE_DOUBLE_MAX : 0.0) &&
                    json->number <= WHOLE_DOUBLE_MAX;
        int64_t whole = fits ? (int64_t)json->number : 0;
        memcpy(value, &whole, sizeof(*value));
        return fits;
    }
    bool negative = is_signed && length > 1 && text[0] == '-';
    uint64_t magnitude = 0;
    for (size_t i = negative; i < length; i++) {
        if (text[i] < '0' || text[i] > '9' || __builtin_mul_overflow(magnitude, 10, &magnitude) ||
            __builtin_add_overflow(magnitude, (uint64_t)(text[i] - '0'), &magnitude)) {
            return false;
        }
    }
    uint64_t limit = is_signed ? (uint64_t)INT64_MAX + negative : UINT64_MAX;
    *value = negative ? 0 - magnitude : magnitude;
    return length > 0 && magnitude <= limit;
}

static bool text_is(const struct json_reader *json, const char *word)
{
    return json->text_length == strlen(word) && memcmp(json->text, word, json->text_length) == 0;
}

static bool read_double(const struct json_reader *json, enum json_token token, double *value)
{
    *value = json->number;
    if (token != JSON_STRING) {
        return token == JSON_NUMBER;
    }
    int64_t integer = 0;
    int is_integer = 0;
    size_t length = json->text_length;
    if (length > 0 &&
        json_parse_number(json->text, length, value, &integer, &is_integer) == length) {
        return true;
    }
    bool minus = text_is(json, "-Infinity");
    *value = minus ? -(double)INFINITY : text_is(json, "NaN") ? (double)NAN : (double)INFINITY;
    return minus || isnan(*value) || text_is(json, "Infinity");
}

/* The only enumeration there is. */
static bool read_temporality(const struct json_reader *json, enum json_token token, uint64_t *value)
{
    static const char *const names[] = {"AGGREGATION_TEMPORALITY_UNSPECIFIED",
                                        "AGGREGATION_TEMPORALITY_DELTA",
                                        "AGGREGATION_TEMPORALITY_CUMULATIVE"};
    for (*value = 0; token == JSON_STRING && *value < ARRAY_COUNT(names); (*value)++) {
        if (text_is(json, names[*value])) {
            return true;
        }
    }
    return token == JSON_NUMBER && read_whole(json, token, true, value);
}

/* A value that is no message, whose token was just read. False: it is of the wrong type. */
static bool write_scalar(const struct json_reader *json, enum json_token token,
                         const struct member *member, struct text *out)
{
    uint64_t whole = 0;
    double number = 0;
    bool fits = false;
    switch (member->type) {
    case STRING:
        if (token == JSON_STRING) {
            add_key(out, member->number, WIRE_BYTES);
            add_varint(out, json->text_length);
            text_add(out, json->text, json->text_length);
        }
        return token == JSON_STRING;
    case FIXED64:
    case SFIXED64:
        fits = read_whole(json, token, member->type == SFIXED64, &whole);
        add_fixed(out, member->number, &whole);
        return fits;
    case DOUBLE:
        fits = read_double(json, token, &number);
        add_fixed(out, member->number, &number);
        return fits;
    case BOOLEAN:
        fits = token == JSON_TRUE || token == JSON_FALSE;
        whole = token == JSON_TRUE;
        break;
    case INT64:
        fits = read_whole(json, token, true, &whole);
        break;
    case ENUM:
        fits = read_temporality(json, token, &whole);
        break;
    case MESSAGE:
    case MESSAGES:
        return false;
    }
    add_key(out, member->number, WIRE_VARINT);
    add_varint(out, whole);
    return fits;
}

/* ---------------------------------------------------------------- reading objects */

struct transcription {
    struct json_reader json;
    struct text *out;
};

static enum status read_object(struct transcription *state, const struct shape *shape,
                               struct error *error);

static const struct member *find_member(const struct shape *shape, const struct json_reader *json)
{
    for (size_t i = 0; i < MEMBERS_MAX && shape->members[i].key; i++) {
        if (text_is(json, shape->members[i].key)) {
            return &shape->members[i];
        }
    }
    return NULL;
}

/* The object whose brace was just read, as a field of its parent. */
static enum status write_message(struct transcription *state, const struct member *member,
                                 struct error *error)
{
    size_t begin = begin_message(state->out, member->number);
    enum status status = read_object(state, member->shape, error);
    end_message(state->out, begin);
    return status;
}

static enum status read_array(struct transcription *state, const struct shape *shape,
                              const struct member *member, struct error *error)
{
    for (;;) {
        enum json_token token = json_next(&state->json);
        if (token == JSON_ARRAY_END) {
            return STATUS_OK;
        }
        if (token == JSON_BROKEN) {
            return json_error(&state->json, error);
        }
        if (token != JSON_OBJECT_BEGIN) {
            return bad_value(shape, member, error);
        }
        if (write_message(state, member, error) != STATUS_OK) {
            return error->status;
        }
    }
}

/* The value behind a key. */
static enum status read_member(struct transcription *state, const struct shape *shape,
                               const struct member *member, struct error *error)
{
    enum json_token token = json_next(&state->json);
    if (token == JSON_BROKEN) {
        return json_error(&state->json, error);
    }
    if (token == JSON_NULL) {
        return STATUS_OK;
    }
    if (member->type == MESSAGES && token == JSON_ARRAY_BEGIN) {
        return read_array(state, shape, member, error);
    }
    if (member->type == MESSAGE && token == JSON_OBJECT_BEGIN) {
        return write_message(state, member, error);
    }
    return write_scalar(&state->json, token, member, state->out) ? STATUS_OK
                                                                 : bad_value(shape, member, error);
}

/* What is behind a brace, up to its partner. */
static enum status read_object(struct transcription *state, const struct shape *shape,
                               struct error *error)
{
    unsigned seen = 0;
    for (;;) {
        enum json_token token = json_next(&state->json);
        if (token == JSON_OBJECT_END) {
            return STATUS_OK;
        }
        const struct member *member = token == JSON_KEY ? find_member(shape, &state->json) : NULL;
        if (member && seen & 1u << (member - shape->members)) {
            error_set(error, STATUS_INVALID, "the member \"%s\" of a %s stands twice", member->key,
                      shape->name);
            return error_code(error, "duplicate_field", member->key);
        }
        if (member) {
            seen |= 1u << (member - shape->members);
            if (read_member(state, shape, member, error) != STATUS_OK) {
                return error->status;
            }
        } else if (token == JSON_BROKEN || json_skip_value(&state->json) == JSON_BROKEN) {
            return json_error(&state->json, error);
        }
    }
}

enum status otlp_json_read(const char *json, size_t length, struct text *message,
                           struct error *error)
{
    struct transcription state;
    size_t maximum = 0;
    if (size_mul(length, MESSAGE_TIMES, &maximum) || maximum >= (size_t)1 << 7 * LENGTH_BYTES) {
        maximum = ((size_t)1 << 7 * LENGTH_BYTES) - MESSAGE_SPARE;
    }
    text_init(message, maximum + MESSAGE_SPARE - 1);
    state.out = message;
    json_reader_init(&state.json, json, length);
    if (json_next(&state.json) != JSON_OBJECT_BEGIN) {
        error_set(error, STATUS_INVALID, "the body is not a JSON object");
        return error_code(error, "bad_body", NULL);
    }
    enum status status = read_object(&state, &request, error);
    if (status == STATUS_OK && json_next(&state.json) != JSON_END) {
        status = json_error(&state.json, error);
    }
    return status == STATUS_OK ? text_status(message, "the message", error) : status;
}
