/* The readings in one message of an MQTT broker: a number, or a JSON object of them.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Forms
 *   21.4                                          one reading, now
 *   {"value":21.4,"timestamp":1795354740000}      the same, at its time
 *   {"temperature":21.4,"battery":{"level":97}}   a series a number: NAME_temperature,
 *                                                 NAME_battery_level
 *
 * "timestamp" or "time" at the top is RFC 3339 with an offset, or a number in the unit of the
 * options. null is a reading that is known to be missing. Strings, booleans and arrays are no
 * readings: they are counted and left out. NAME and labels come from the topic.
 */
#ifndef API_MQTT_PAYLOAD_H
#define API_MQTT_PAYLOAD_H

#include "api/mqtt_topic.h"
#include "api/points_reader.h"

struct mqtt_payload {
    struct slice bytes;
    int64_t now_ms;
    enum time_unit unit;
};

#define MQTT_PAYLOAD_DEPTH 4 /* objects within objects; deeper ones are left out */

/* Tells the visitor each reading; `skipped` counts what was none. STATUS_INVALID where the payload
 * is neither a number nor a JSON object (bad_body, bad_json), has no reading at all, or a bad time;
 * readings that the visitor refuses are counted in *skipped too, through its `refuse`. */
enum status mqtt_payload_read(const struct mqtt_payload *payload, struct mqtt_identity *identity,
                              const struct points_visitor *visitor, uint64_t *skipped,
                              struct error *error) MUST_USE;

#endif
