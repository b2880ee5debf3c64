/* Which series a message of an MQTT broker belongs to: topic patterns.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A pattern is a topic whose levels are
 *   text     that level, and a part of the series' name where the pattern has no {name}
 *   {key}    any level, the value of the label `key`
 *   {name}   any level, a part of the series' name
 *   +        any level, forgotten
 *   #        at the end: all further levels (one at least), parts of the series' name
 * with NAME= before it where the series shall be called so whatever the topic is. Parts of a name
 * are joined by "_".
 *
 *     home/{room}/{name}             home/kitchen/temperature  ->  temperature{room="kitchen"}
 *     zigbee2mqtt/{device}           zigbee2mqtt/attic         ->  zigbee2mqtt{device="attic"}
 *     power=shellies/{device}/+/power
 *     meters/#                       meters/gas/total          ->  meters_gas_total
 *
 * Topics that begin with $ (a broker's own) match only patterns that do (MQTT 3.1.1, 4.7.2).
 */
#ifndef API_MQTT_TOPIC_H
#define API_MQTT_TOPIC_H

#include "base/series_name.h"
#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>

#define MQTT_PATTERNS_MAX   32
#define MQTT_PATTERN_LENGTH 256
#define MQTT_LEVELS_MAX     32

struct mqtt_pattern {
    char text[MQTT_PATTERN_LENGTH];   /* without NAME= */
    char filter[MQTT_PATTERN_LENGTH]; /* what is subscribed to: {key} as + */
    char name[MQTT_PATTERN_LENGTH];   /* of NAME=, or empty */
    bool named; /* has {name}, # or NAME=: its texts are no part of the name */
};

struct mqtt_patterns {
    struct mqtt_pattern list[MQTT_PATTERNS_MAX];
    size_t count;
};

/* "home/{room}/{name}, meters/#": commas between, blanks around them. STATUS_INVALID (bad_value)
 * names the pattern and what is wrong with it. An empty text is no pattern. */
enum status mqtt_patterns_parse(const char *text, struct mqtt_patterns *patterns,
                                struct error *error) MUST_USE;

/* A series' name and labels as parts; slices point into `bytes` and into pattern and topic. */
struct mqtt_identity {
    struct slice name;
    struct series_label labels[SERIES_LABELS_MAX];
    size_t label_count;
    char bytes[1024]; /* of the name */
};

/* The first pattern that fits the topic. STATUS_NOT_FOUND where none does; STATUS_INVALID where the
 * name would be too long. */
enum status mqtt_identify(const struct mqtt_patterns *patterns, struct slice topic,
                          struct mqtt_identity *identity, struct error *error) MUST_USE;

#endif
