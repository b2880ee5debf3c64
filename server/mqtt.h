/* The subscriber of an MQTT broker: messages become points, acknowledged when they are on disk.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Promise: a message of quality of service 1 is acknowledged to the broker after the commit that
 * holds its readings, and the session outlives the connection. So what was published while
 * forecastd was away, or was not on disk when it died, comes again: at least once. A reading
 * without a time of its own that comes twice stands at two times. Messages of quality of service 0
 * are at most once, as MQTT has it. One of more readings than a commit holds takes several, and is
 * acknowledged after the last. One message that is no reading is counted, logged, and acknowledged:
 * it would never become one. Patterns that have left the configuration are unsubscribed from: the
 * session still has them (mqtt_filters.h).
 *
 * One thread: it reads what has come, makes a batch of it, waits for the commit, acknowledges.
 * Where the store cannot be written the connection is given up and tried again later, so that
 * nothing unwritten is acknowledged. Lost connections are tried again after 1 s, then ever more, up
 * to 60 s, with some chance in it.
 */
#ifndef SERVER_MQTT_H
#define SERVER_MQTT_H

#include "api/mqtt_feed.h"
#include "server/mqtt_link.h"

struct mqtt_options {
    struct mqtt_address address;
    struct mqtt_patterns patterns;
    char client_id[128];
    char user[128];      /* empty: none */
    char password[256];  /* empty: none */
    char ca_file[512];   /* empty: the system's certificates */
    bool retained;       /* take what the broker kept from before, too */
    enum time_unit unit; /* of timestamps that are numbers */
    size_t payload_max;
};

struct mqtt_stats {
    bool connected;
    uint64_t connections, messages, refused_messages;
};

struct mqtt;

/* `services` stays the caller's. The broker need not be there yet. */
enum status mqtt_start(struct api_services *services, const struct mqtt_options *options,
                       struct mqtt **out, struct error *error) MUST_USE;
void mqtt_stats(struct mqtt *mqtt, struct mqtt_stats *stats); /* any thread */
void mqtt_stop(struct mqtt *mqtt);                            /* NULL is fine; before the writer */

#endif
