/* OTLP's JSON made OTLP's protobuf, so that there is one reader for both.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The JSON is that of protobuf with OTLP's own rules: keys in lowerCamelCase, whole numbers of 64
 * bits as strings or as numbers, doubles also as "NaN", "Infinity" and "-Infinity", enumerations as
 * numbers (or by name, as protobuf's own writers have them), null for what is absent. Keys that the
 * reader does not need, known or not, are skipped without being looked at. A key that stands twice
 * in an object is refused, and so is a value of another type than its key has.
 */
#ifndef API_OTLP_JSON_H
#define API_OTLP_JSON_H

#include "base/status.h"
#include "base/text.h"

/* Writes the ExportMetricsServiceRequest of a document into `message` (empty; the caller releases
 * it), which is at most four times as long. STATUS_INVALID: bad_json, and bad_field where a value
 * is of the wrong type. */
enum status otlp_json_read(const char *json, size_t length, struct text *message,
                           struct error *error) MUST_USE;

#endif
