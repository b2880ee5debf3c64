/* The topic filters that a session at an MQTT broker may have: a record of the store.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A session outlives connections and restarts, and with it every filter that was ever subscribed
 * to. Who takes a pattern out of the configuration has to unsubscribe from it, and so has to know
 * of it: what the session may have is on disk before the broker is asked for it, and is forgotten
 * once the broker has said that it is gone.
 *
 * A session is named by client and broker; each has a record of its own.
 */
#ifndef SERVER_MQTT_FILTERS_H
#define SERVER_MQTT_FILTERS_H

#include "api/api.h"
#include "api/mqtt_feed.h"

#define MQTT_FILTERS_MAX   128
#define MQTT_SESSION_BYTES 512

struct mqtt_filters {
    char list[MQTT_FILTERS_MAX][MQTT_PATTERN_LENGTH];
    size_t count;
};

/* Once each; one for which there is no room is left out. */
void mqtt_filters_add(struct mqtt_filters *filters, const char *filter);
bool mqtt_filters_have(const struct mqtt_filters *filters, const char *filter);

/* What was saved for that session; none where nothing was, or where it cannot be read. */
enum status mqtt_filters_load(struct storage *storage, const char *session,
                              struct mqtt_filters *filters, struct error *error) MUST_USE;

/* Blocks until they are on disk. */
enum status mqtt_filters_save(struct api_services *services, const char *session,
                              const struct mqtt_filters *filters, struct error *error) MUST_USE;

#endif
