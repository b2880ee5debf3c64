/* Names of metrics and labels as Prometheus has them, made from those of OpenTelemetry.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The conventions are OpenTelemetry's for Prometheus ("Prometheus and OpenMetrics Compatibility"),
 * in the form that Prometheus' own receiver uses by default: runs of other characters than letters,
 * digits and (in names of metrics) colons become one underscore, the unit is spelled out and
 * appended where the name does not have it, and cumulative monotonic sums end in _total. So
 * http.server.request.duration in s is http_server_request_duration_seconds.
 */
#ifndef API_OTLP_NAMES_H
#define API_OTLP_NAMES_H

#include "base/series_name.h"

#define OTLP_NAME_MAX 512u

enum otlp_ending { OTLP_PLAIN, OTLP_TOTAL, OTLP_RATIO };

/* The name of a metric; OTLP_RATIO: it ends in _ratio where the unit is 1. Returns its length, 0
 * where nothing of the name remains or it would be longer than OTLP_NAME_MAX. */
size_t otlp_metric_name(struct slice name, struct slice unit, enum otlp_ending ending,
                        char out[OTLP_NAME_MAX]);

/* The key of a label; `out` has room for two times the length, and four. Returns its length. A key
 * that would begin with a digit gets "key_" in front. */
size_t otlp_label_key(struct slice key, char *out);

#endif
