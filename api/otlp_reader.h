/* Streaming reader of OpenTelemetry's metrics (ExportMetricsServiceRequest, protobuf): no tree.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A body of JSON is made such a message first (otlp_json.h). Fields may come in any order, so each
 * message is walked twice: for what holds for all below it, then for what is below. Names and
 * labels are those of Prometheus (otlp_names.h, otlp_labels.h).
 *
 *   gauge                               name                            gauge
 *   sum, cumulative, monotonic          name_total                      counter
 *   sum, cumulative, rising and falling name                            gauge
 *   sum, delta                          name: what was added by then    gauge
 *   histogram, cumulative               name_count, name_sum            counters
 *   histogram, delta                    name_count, name_sum            gauges
 *   summary                             name{quantile="0.5"}, name_count, name_sum
 *   exponential histogram               refused, and counted
 *
 * A histogram's buckets are not kept: ten series that nobody forecasts. A point that is flagged as
 * having no recorded value is missing, as NaN is; infinities are refused. Times are truncated to
 * milliseconds. Exemplars, minima and maxima, start times and descriptions are passed over.
 *
 * A message that is no such protobuf is unreadable (STATUS_INVALID, bad_protobuf): the caller then
 * stores nothing. What is wrong with a data point is told to `refuse`, once a data point, whatever
 * number of series it makes, and the reading goes on. Positions count data points from 0.
 */
#ifndef API_OTLP_READER_H
#define API_OTLP_READER_H

#include "api/points_reader.h"

struct otlp_skipped {
    uint64_t exponential_histograms; /* data points, refused too */
    uint64_t bucket_sets;            /* of histograms, left out of points that were kept */
};

enum status otlp_read(struct slice message, const struct points_visitor *visitor,
                      struct otlp_skipped *skipped, struct error *error) MUST_USE;

#endif
