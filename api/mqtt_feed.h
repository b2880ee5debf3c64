/* Messages of an MQTT broker on their way to the store: readings into a batch, batch to disk.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The door for the server's subscriber. One thread at a time; blocks in commits only: in those that
 * are asked for, and in those of a message with more readings than a batch holds.
 */
#ifndef API_MQTT_FEED_H
#define API_MQTT_FEED_H

#include "api/api.h"
#include "api/mqtt_topic.h"
#include "api/points_reader.h"

struct mqtt_feed {
    struct api_services *services;
    const struct mqtt_patterns *patterns;
    enum time_unit unit;       /* of timestamps that are numbers */
    struct write_batch *batch; /* what waits for the commit; NULL: nothing */
};

/* Adds a message's readings. STATUS_INVALID and STATUS_NOT_FOUND: there is none in it, and nothing
 * of it was added; the log has said so. Readings that are refused one by one (time, name) are
 * counted and logged. Any other status: the store cannot take it now; parts of it, and what was
 * taken before, may be on disk all the same, and it has to come again. */
enum status mqtt_feed_take(struct mqtt_feed *feed, struct slice topic, struct slice payload,
                           struct error *error) MUST_USE;

/* Time to commit: a further message might find the batch full. */
bool mqtt_feed_full(const struct mqtt_feed *feed);

/* Blocks until everything taken is on disk. On failure nothing of what waited for this is. */
enum status mqtt_feed_commit(struct mqtt_feed *feed, struct error *error) MUST_USE;

/* Forgets what was not committed. */
void mqtt_feed_drop(struct mqtt_feed *feed);

/* A line of the log about a message that was not taken. */
void mqtt_feed_refuse(struct slice topic, const struct error *error);

#endif
