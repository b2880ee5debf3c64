/* One data point of OpenTelemetry's metrics, of whatever kind, read from its message.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "api/otlp_point.h"

#include "base/check.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* What a field of a data point means; a number stands for another thing in each kind. */
enum meaning { NOTHING, TIME, AS_DOUBLE, AS_INTEGER, COUNT, SUM, QUANTILE, ATTRIBUTE, FLAGS };

#define FIELDS_MAX 11u

/* NumberDataPoint, HistogramDataPoint, ExponentialHistogramDataPoint, SummaryDataPoint. */
static const unsigned char of_number[FIELDS_MAX] = {
    [3] = TIME, [4] = AS_DOUBLE, [6] = AS_INTEGER, [7] = ATTRIBUTE, [8] = FLAGS};
static const unsigned char of_histogram[FIELDS_MAX] = {
    [3] = TIME, [4] = COUNT, [5] = SUM, [9] = ATTRIBUTE, [10] = FLAGS};
static const unsigned char of_exponential[FIELDS_MAX] = {[1] = ATTRIBUTE};
static const unsigned char of_summary[FIELDS_MAX] = {
    [3] = TIME, [4] = COUNT, [5] = SUM, [6] = QUANTILE, [7] = ATTRIBUTE, [8] = FLAGS};

enum { QUANTILE_LEVEL = 1, QUANTILE_VALUE = 2 };
enum { FLAG_NO_RECORDED_VALUE = 1 };

static const unsigned char *meanings_of(enum otlp_kind kind)
{
    switch (kind) {
    case OTLP_HISTOGRAM:
        return of_histogram;
    case OTLP_EXPONENTIAL_HISTOGRAM:
        return of_exponential;
    case OTLP_SUMMARY:
        return of_summary;
    case OTLP_NOTHING:
    case OTLP_GAUGE:
    case OTLP_SUM:
        break;
    }
    return of_number;
}

static double double_of(uint64_t bits)
{
    double value = 0;
    memcpy(&value, &bits, sizeof(value));
    return value;
}

static bool read_quantile(struct slice bytes, double *level, double *value)
{
    struct protobuf message = protobuf_of(bytes);
    struct protobuf_field field;
    *level = *value = 0; /* what is absent is zero */
    while (protobuf_next(&message, &field)) {
        if (field.number > QUANTILE_VALUE) {
            continue;
        }
        if (field.wire != WIRE_FIXED64) {
            return false;
        }
        *(field.number == QUANTILE_LEVEL ? level : value) = double_of(field.value);
    }
    return !message.broken;
}

/* False: it is of another type than it should be, or damaged itself. */
static bool take(const struct protobuf_field *field, enum meaning meaning, struct otlp_point *point)
{
    static const enum protobuf_wire wires[] = {
        [TIME] = WIRE_FIXED64,    [AS_DOUBLE] = WIRE_FIXED64, [AS_INTEGER] = WIRE_FIXED64,
        [COUNT] = WIRE_FIXED64,   [SUM] = WIRE_FIXED64,       [QUANTILE] = WIRE_BYTES,
        [ATTRIBUTE] = WIRE_BYTES, [FLAGS] = WIRE_VARINT};
    int64_t integer = 0;
    double level = 0, value = 0;
    if (field->wire != wires[meaning]) {
        return false;
    }
    switch (meaning) {
    case TIME:
        point->time_ns = field->value;
        break;
    case AS_DOUBLE:
        point->value = double_of(field->value);
        point->has_value = true;
        break;
    case AS_INTEGER:
        memcpy(&integer, &field->value, sizeof(integer)); /* two's complement */
        point->value = (double)integer;
        point->has_value = true;
        break;
    case COUNT:
        point->count = field->value;
        break;
    case SUM:
        point->sum = double_of(field->value);
        point->has_sum = true;
        break;
    case QUANTILE:
        return read_quantile(field->bytes, &level, &value);
    case FLAGS:
        point->no_value = (field->value & FLAG_NO_RECORDED_VALUE) != 0;
        break;
    case ATTRIBUTE: /* otlp_labels.c walks over them */
    case NOTHING:
        break;
    }
    return true;
}

bool otlp_point_read(struct slice message, enum otlp_kind kind, struct otlp_point *point)
{
    const unsigned char *meanings = meanings_of(kind);
    struct protobuf fields = protobuf_of(message);
    struct protobuf_field field;
    *point = (struct otlp_point){.message = message};
    for (uint32_t i = 0; i < FIELDS_MAX; i++) {
        point->attributes = meanings[i] == ATTRIBUTE ? i : point->attributes;
    }
    /* Absent is zero; in a histogram it is "not known". */
    point->has_sum = kind == OTLP_SUMMARY;
    while (protobuf_next(&fields, &field)) {
        enum meaning meaning =
            field.number < FIELDS_MAX ? (enum meaning)meanings[field.number] : NOTHING;
        if (meaning != NOTHING && !take(&field, meaning, point)) {
            return false;
        }
    }
    return !fields.broken;
}

/* As Prometheus writes it; the C library would give a sign even to what is no number. */
static void write_level(double level, char text[32])
{
    if (isnan(level)) {
        memcpy(text, "NaN", sizeof("NaN"));
    } else if (isinf(level)) {
        memcpy(text, level > 0 ? "+Inf" : "-Inf", sizeof("+Inf"));
    } else {
        snprintf(text, 32, "%.12g", level);
    }
}

bool otlp_quantile_next(struct protobuf *message, struct otlp_quantile *quantile)
{
    struct protobuf_field field;
    double level = 0;
    while (protobuf_next(message, &field)) {
        if (field.number < FIELDS_MAX && of_summary[field.number] == QUANTILE) {
            bool intact = read_quantile(field.bytes, &level, &quantile->value);
            CHECK(intact); /* otlp_point_read saw it */
            write_level(level, quantile->text);
            return true;
        }
    }
    return false;
}
