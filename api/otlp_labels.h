/* Labels of a series out of OpenTelemetry's attributes: of a point, its scope and its resource.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Of a point    every attribute, under its key as Prometheus writes it. Keys that become the same
 *               are one label, their values joined with ";" in the order of the keys.
 * Of a scope    otel_scope_name, otel_scope_version, and its attributes behind otel_scope_.
 * Of a resource job (service.namespace/service.name) and instance (service.instance.id), and those
 *               others that say where something runs, by name: a cluster, a host, a container. The
 *               rest describes the process (its number, its command line, the SDK's version), would
 *               begin new series with each start, and is left out.
 * Where two levels have the same key, the point's comes first, then the scope's.
 *
 * Numbers and booleans become text, lists of them JSON. Maps and bytes cannot be a label: the set
 * then has a fault, and its points are refused. An empty value is no label.
 */
#ifndef API_OTLP_LABELS_H
#define API_OTLP_LABELS_H

#include "base/series_name.h"

#define OTLP_ROOM_BYTES 8192u

/* What holds for all points below it; lives on the stack. Slices point into the message, into
 * `room`, or into tables. */
struct otlp_labels {
    struct series_label items[SERIES_LABELS_MAX];
    struct slice sources[SERIES_LABELS_MAX]; /* keys as they were sent */
    size_t count;
    char room[OTLP_ROOM_BYTES];
    size_t used;
    struct error fault; /* status STATUS_OK: none */
};

void otlp_labels_begin(struct otlp_labels *labels);

/* Each walks the attributes (repeated fields `number`, each a KeyValue) of a message. False: it is
 * damaged. */
bool otlp_labels_of_point(struct slice message, uint32_t number, struct otlp_labels *labels);
bool otlp_labels_of_scope(struct slice scope, struct otlp_labels *labels);
bool otlp_labels_of_resource(struct slice resource, struct otlp_labels *labels);

/* Those of the outer set whose keys are not there yet; its fault comes along. */
void otlp_labels_join(struct otlp_labels *labels, const struct otlp_labels *outer);

#endif
