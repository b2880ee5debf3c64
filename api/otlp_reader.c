/* Streaming reader of OpenTelemetry's metrics (ExportMetricsServiceRequest, protobuf): no tree.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "api/otlp_reader.h"

#include "api/otlp_labels.h"
#include "api/otlp_names.h"
#include "api/otlp_point.h"
#include "api/protobuf.h"

#include <math.h>
#include <stdio.h>

/* Numbers of fields. */
enum { REQUEST_RESOURCE_METRICS = 1 };
enum { RESOURCE_METRICS_RESOURCE = 1, RESOURCE_METRICS_SCOPE_METRICS = 2 };
enum { SCOPE_METRICS_SCOPE = 1, SCOPE_METRICS_METRIC = 2 };
enum { METRIC_NAME = 1, METRIC_UNIT = 3 };
enum { DATA_POINT = 1, DATA_TEMPORALITY = 2, DATA_MONOTONIC = 3 };
enum { TEMPORALITY_DELTA = 1, TEMPORALITY_CUMULATIVE = 2 };

/* One reading. */
struct reading {
    const struct points_visitor *visitor;
    struct otlp_skipped *skipped;
    uint64_t position; /* of the next data point */
    struct otlp_labels resource, scope, point;
    char text[SERIES_TEXT_MAX];
};

/* One metric; its kind is the number of its field. */
struct metric {
    struct slice name, unit, data;
    enum otlp_kind kind; /* 0: it has no data */
    uint64_t temporality;
    bool monotonic;
    char base[OTLP_NAME_MAX + 8]; /* as Prometheus writes it, with room for what a part appends */
    size_t base_length;
};

/* One of the series that a data point is. */
struct part {
    const char *suffix;
    const char *quantile; /* the label's value; NULL: it has none */
    double value;
};

static enum status broken(const char *what, struct error *error)
{
    error_set(error, STATUS_INVALID, "cannot read the protobuf message: %s", what);
    return error_code(error, "bad_protobuf", NULL);
}

static enum status refuse(struct reading *reading, const struct metric *metric, struct error *fault)
{
    struct slice name = metric->name;
    error_wrap(fault, "metric \"%.*s\"", (int)(name.length < 120 ? name.length : 120), name.bytes);
    reading->visitor->refuse(reading->visitor->context, reading->position++, fault);
    return STATUS_OK;
}

/* ---------------------------------------------------------------- one data point */

/* STATUS_INVALID refuses the data point. */
static enum status give_part(struct reading *reading, struct metric *metric,
                             const struct part *part, int64_t time_ms, struct error *error)
{
    const struct points_visitor *points = reading->visitor;
    struct series_label labels[SERIES_LABELS_MAX];
    size_t count = reading->point.count, length = 0, suffix = strlen(part->suffix);
    uint32_t number = 0;
    memcpy(labels, reading->point.items, count * sizeof(*labels));
    if (part->quantile && count == SERIES_LABELS_MAX) {
        error_set(error, STATUS_INVALID, "a series has at most %d labels", SERIES_LABELS_MAX);
        return error_code(error, "too_many_labels", "attributes");
    }
    if (part->quantile) {
        labels[count++] =
            (struct series_label){{"quantile", 8}, {part->quantile, strlen(part->quantile)}};
    }
    memcpy(metric->base + metric->base_length, part->suffix, suffix);
    struct slice name = {metric->base, metric->base_length + suffix};
    if (series_name_write(name, labels, count, reading->text, &length, error) != STATUS_OK) {
        return error->status;
    }
    uint64_t handle = 0;
    enum status status = points->series(points->context, (struct slice){reading->text, length},
                                        &handle, &number, error);
    if (status != STATUS_OK) {
        return status == STATUS_TOO_LARGE ? STATUS_INVALID : status; /* series_limit */
    }
    if (isinf(part->value)) {
        error_set(error, STATUS_INVALID, "the value is infinite");
        return error_code(error, "bad_value", "value");
    }
    struct point point = {.time_ms = time_ms, .value = part->value};
    return points->point(points->context, number, point, error);
}

/* Quantiles, count and sum; in a histogram there are no quantiles. */
static enum status give_parts(struct reading *reading, struct metric *metric,
                              const struct otlp_point *point, int64_t time_ms, struct error *error)
{
    double missing = (double)NAN;
    struct protobuf message = protobuf_of(point->message);
    struct otlp_quantile quantile;
    struct part part = {.suffix = ""};
    enum status status = STATUS_OK;
    while (status == STATUS_OK && metric->kind == OTLP_SUMMARY &&
           otlp_quantile_next(&message, &quantile)) {
        part.quantile = quantile.text;
        part.value = point->no_value ? missing : quantile.value;
        status = give_part(reading, metric, &part, time_ms, error);
    }
    if (status == STATUS_OK) {
        part = (struct part){"_count", NULL, point->no_value ? missing : (double)point->count};
        status = give_part(reading, metric, &part, time_ms, error);
    }
    if (status == STATUS_OK && (point->has_sum || point->no_value)) {
        part = (struct part){"_sum", NULL, point->no_value ? missing : point->sum};
        status = give_part(reading, metric, &part, time_ms, error);
    }
    return status;
}

static enum status time_of(const struct otlp_point *point, int64_t *time_ms, struct error *error)
{
    if (point->time_ns == 0) {
        error_set(error, STATUS_INVALID, "the data point has no time");
        return error_code(error, "bad_timestamp", "timeUnixNano");
    }
    int64_t whole = (int64_t)(point->time_ns / 1000000);
    return points_time((double)whole, whole, true, UNIT_MILLISECONDS, time_ms, error);
}

/* The labels of the point, within those of its scope and its resource. */
static enum status label(struct reading *reading, const struct otlp_point *point,
                         struct error *error)
{
    struct otlp_labels *labels = &reading->point;
    otlp_labels_begin(labels);
    if (!otlp_labels_of_point(point->message, point->attributes, labels)) {
        return broken("an attribute is damaged", error);
    }
    otlp_labels_join(labels, &reading->scope);
    otlp_labels_join(labels, &reading->resource);
    return STATUS_OK;
}

/* Whether the metric can be kept at all; what is wrong with it is wrong with each of its points. */
static enum status check_metric(const struct metric *metric, struct error *error)
{
    bool has_temporality = metric->kind == OTLP_SUM || metric->kind == OTLP_HISTOGRAM;
    if (metric->kind == OTLP_EXPONENTIAL_HISTOGRAM) {
        error_set(error, STATUS_INVALID, "exponential histograms cannot be stored");
        return error_code(error, "bad_value", "exponentialHistogram");
    }
    if (metric->base_length == 0) {
        error_set(error, STATUS_INVALID, "the name of the metric is empty or too long");
        return error_code(error, "bad_series_name", "name");
    }
    if (has_temporality && metric->temporality != TEMPORALITY_DELTA &&
        metric->temporality != TEMPORALITY_CUMULATIVE) {
        error_set(error, STATUS_INVALID, "its temporality is neither delta nor cumulative");
        return error_code(error, "bad_field", "aggregationTemporality");
    }
    return STATUS_OK;
}

/* STATUS_INVALID refuses the data point. */
static enum status store_point(struct reading *reading, struct metric *metric,
                               const struct otlp_point *point, struct error *error)
{
    int64_t time_ms = 0;
    if (check_metric(metric, error) != STATUS_OK || time_of(point, &time_ms, error) != STATUS_OK) {
        return error->status;
    }
    if (reading->point.fault.status != STATUS_OK) {
        *error = reading->point.fault;
        return error->status;
    }
    if (metric->kind != OTLP_GAUGE && metric->kind != OTLP_SUM) {
        return give_parts(reading, metric, point, time_ms, error);
    }
    if (!point->has_value && !point->no_value) {
        error_set(error, STATUS_INVALID, "the data point has no value");
        return error_code(error, "bad_value", "asDouble");
    }
    struct part part = {"", NULL, point->no_value ? (double)NAN : point->value};
    return give_part(reading, metric, &part, time_ms, error);
}

static enum status read_point(struct reading *reading, struct metric *metric, struct slice bytes,
                              struct error *error)
{
    struct otlp_point point;
    if (!otlp_point_read(bytes, metric->kind, &point)) {
        return broken("a data point is damaged", error);
    }
    reading->skipped->exponential_histograms += metric->kind == OTLP_EXPONENTIAL_HISTOGRAM;
    reading->skipped->bucket_sets += metric->kind == OTLP_HISTOGRAM;
    if (label(reading, &point, error) != STATUS_OK) {
        return error->status;
    }
    error->status = STATUS_OK;
    enum status status = store_point(reading, metric, &point, error);
    if (status == STATUS_INVALID) {
        return refuse(reading, metric, error);
    }
    reading->position++;
    return status;
}

/* ---------------------------------------------------------------- one metric */

/* Tells what its series are, by the names that they have. */
static enum status declare(struct reading *reading, struct metric *metric, struct error *error)
{
    const struct points_visitor *points = reading->visitor;
    struct slice name = {metric->base, metric->base_length};
    bool cumulative = metric->temporality == TEMPORALITY_CUMULATIVE;
    enum family_type type = FAMILY_GAUGE;
    if (metric->kind == OTLP_SUMMARY) {
        type = FAMILY_SUMMARY;
    } else if (metric->kind == OTLP_HISTOGRAM && cumulative) {
        type = FAMILY_HISTOGRAM;
    } else if (metric->kind == OTLP_SUM && cumulative && metric->monotonic) {
        type = FAMILY_COUNTER;
    } else if (metric->kind == OTLP_HISTOGRAM) { /* delta: its parts look like counters */
        static const char *const parts[] = {"_sum", "_count"};
        for (size_t i = 0; i < 2; i++) {
            size_t length = strlen(parts[i]);
            memcpy(metric->base + metric->base_length, parts[i], length);
            struct slice part = {metric->base, metric->base_length + length};
            if (points->declare(points->context, part, type, error) != STATUS_OK) {
                return error->status;
            }
        }
        return STATUS_OK;
    }
    return points->declare(points->context, name, type, error);
}

/* What stands beside the data points. */
static bool survey_data(struct metric *metric)
{
    struct protobuf message = protobuf_of(metric->data);
    struct protobuf_field field;
    while (protobuf_next(&message, &field)) {
        enum protobuf_wire wanted = field.number == DATA_POINT ? WIRE_BYTES : WIRE_VARINT;
        if (field.number > DATA_MONOTONIC) {
            continue;
        }
        if (field.wire != wanted) {
            return false;
        }
        if (field.number == DATA_TEMPORALITY) {
            metric->temporality = field.value;
        } else if (field.number == DATA_MONOTONIC) {
            metric->monotonic = field.value != 0;
        }
    }
    return !message.broken;
}

static bool survey_metric(struct slice bytes, struct metric *metric)
{
    struct protobuf message = protobuf_of(bytes);
    struct protobuf_field field;
    metric->name = metric->unit = metric->data = (struct slice){"", 0};
    metric->kind = OTLP_NOTHING;
    metric->temporality = 0;
    metric->monotonic = false;
    while (protobuf_next(&message, &field)) {
        bool is_data = otlp_is_kind(field.number);
        if (field.number != METRIC_NAME && field.number != METRIC_UNIT && !is_data) {
            continue;
        }
        if (field.wire != WIRE_BYTES) {
            return false;
        }
        if (is_data) {
            metric->kind = (enum otlp_kind)field.number;
            metric->data = field.bytes;
        } else {
            *(field.number == METRIC_NAME ? &metric->name : &metric->unit) = field.bytes;
        }
    }
    return !message.broken && survey_data(metric);
}

static enum status read_metric(struct reading *reading, struct slice bytes, struct error *error)
{
    struct metric metric;
    struct protobuf_field field;
    if (!survey_metric(bytes, &metric)) {
        return broken("a metric is damaged", error);
    }
    bool total =
        metric.kind == OTLP_SUM && metric.temporality == TEMPORALITY_CUMULATIVE && metric.monotonic;
    enum otlp_ending ending = total                       ? OTLP_TOTAL
                              : metric.kind == OTLP_GAUGE ? OTLP_RATIO
                                                          : OTLP_PLAIN;
    metric.base_length = otlp_metric_name(metric.name, metric.unit, ending, metric.base);
    struct protobuf message = protobuf_of(metric.data);
    uint64_t before = reading->position;
    while (protobuf_next(&message, &field)) {
        if (field.number == DATA_POINT &&
            read_point(reading, &metric, field.bytes, error) != STATUS_OK) {
            return error->status;
        }
    }
    struct error ignored = {0};
    bool kept = reading->position > before && check_metric(&metric, &ignored) == STATUS_OK;
    return kept && reading->visitor->declare ? declare(reading, &metric, error) : STATUS_OK;
}

/* ---------------------------------------------------------------- scopes and resources */

/* Hands the submessages of one number to `each`. */
typedef enum status (*read_message)(struct reading *reading, struct slice bytes,
                                    struct error *error);

static enum status walk(struct reading *reading, struct slice bytes, uint32_t number,
                        read_message each, struct error *error)
{
    struct protobuf message = protobuf_of(bytes);
    struct protobuf_field field;
    while (protobuf_next(&message, &field)) {
        if (field.number != number) {
            continue;
        }
        if (field.wire != WIRE_BYTES) {
            return broken("a field is of another type than it should be", error);
        }
        if (each(reading, field.bytes, error) != STATUS_OK) {
            return error->status;
        }
    }
    return message.broken ? broken("its fields do not fit its length", error) : STATUS_OK;
}

static enum status read_scope(struct reading *reading, struct slice bytes, struct error *error)
{
    return otlp_labels_of_scope(bytes, &reading->scope) ? STATUS_OK
                                                        : broken("a scope is damaged", error);
}

static enum status read_scope_metrics(struct reading *reading, struct slice bytes,
                                      struct error *error)
{
    otlp_labels_begin(&reading->scope);
    enum status status = walk(reading, bytes, SCOPE_METRICS_SCOPE, read_scope, error);
    return status == STATUS_OK ? walk(reading, bytes, SCOPE_METRICS_METRIC, read_metric, error)
                               : status;
}

static enum status read_resource(struct reading *reading, struct slice bytes, struct error *error)
{
    return otlp_labels_of_resource(bytes, &reading->resource)
               ? STATUS_OK
               : broken("a resource is damaged", error);
}

static enum status read_resource_metrics(struct reading *reading, struct slice bytes,
                                         struct error *error)
{
    otlp_labels_begin(&reading->resource);
    enum status status = walk(reading, bytes, RESOURCE_METRICS_RESOURCE, read_resource, error);
    return status == STATUS_OK
               ? walk(reading, bytes, RESOURCE_METRICS_SCOPE_METRICS, read_scope_metrics, error)
               : status;
}

enum status otlp_read(struct slice message, const struct points_visitor *visitor,
                      struct otlp_skipped *skipped, struct error *error)
{
    struct reading reading;
    reading.visitor = visitor;
    reading.skipped = skipped;
    reading.position = 0;
    error->status = STATUS_OK;
    return walk(&reading, message, REQUEST_RESOURCE_METRICS, read_resource_metrics, error);
}
