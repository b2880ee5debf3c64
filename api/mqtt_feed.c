/* Messages of an MQTT broker on their way to the store: readings into a batch, batch to disk.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "api/mqtt_feed.h"

#include "api/ingest.h"
#include "api/metrics.h"
#include "api/mqtt_payload.h"
#include "base/background.h"
#include "base/clock.h"
#include "base/log.h"

#include <string.h>

#define FULL_POINTS 50000 /* of a batch; a message with more of them is committed in several */

struct visit {
    struct mqtt_feed *feed;
    const struct api_limits *limits;
    struct slice topic;
    int64_t now_ms;
};

void mqtt_feed_refuse(struct slice topic, const struct error *error)
{
    char quoted[700], reason[700];
    log_warning("mqtt", "message not taken", "topic=%s reason=%s",
                log_quote(topic.bytes, topic.length, quoted, sizeof(quoted)),
                log_quote(error->text, strlen(error->text), reason, sizeof(reason)));
}

/* A batch with room for a reading. A commit that fails is no fault of the reading that comes next:
 * its status must not be one that refuses a reading alone, or what was in the batch would be gone.
 */
static enum status make_room(struct mqtt_feed *feed, struct error *error)
{
    if (mqtt_feed_full(feed)) {
        enum status status = mqtt_feed_commit(feed, error);
        if (status == STATUS_INVALID || status == STATUS_NOT_FOUND || status == STATUS_TOO_LARGE) {
            error->status = STATUS_INTERNAL;
        }
        if (status != STATUS_OK) {
            return error->status;
        }
    }
    return feed->batch != NULL
               ? STATUS_OK
               : write_batch_new(feed->services->storage, FULL_POINTS, &feed->batch, error);
}

static enum status visit_series(void *context, struct slice text, uint64_t *handle,
                                uint32_t *number, struct error *error)
{
    struct visit *visit = context;
    enum status status = make_room(visit->feed, error);
    return status == STATUS_OK
               ? write_batch_series_again(visit->feed->batch, text, handle, number, error)
               : status;
}

static enum status visit_point(void *context, uint32_t number, struct point point,
                               struct error *error)
{
    struct visit *visit = context;
    enum status status = api_check_time(visit->limits, visit->now_ms, point.time_ms, error);
    return status == STATUS_OK ? write_batch_point(visit->feed->batch, number, point, error)
                               : status;
}

static void visit_refusal(void *context, uint64_t position, const struct error *error)
{
    struct visit *visit = context;
    struct api_metrics *metrics = visit->feed->services->metrics;
    (void)position;
    metrics_refused(metrics, error->code != NULL ? error->code : status_code(error->status));
    api_count(metrics, METRIC_POINTS_REFUSED, 1);
    mqtt_feed_refuse(visit->topic, error);
}

enum status mqtt_feed_take(struct mqtt_feed *feed, struct slice topic, struct slice payload,
                           struct error *error)
{
    struct mqtt_identity identity;
    struct visit visit = {feed, atomic_load(&feed->services->limits), topic, clock_wall_ms()};
    struct points_visitor visitor = {
        .context = &visit, .series = visit_series, .point = visit_point, .refuse = visit_refusal};
    struct mqtt_payload message = {payload, visit.now_ms, feed->unit};
    uint64_t skipped = 0;
    enum status status = mqtt_identify(feed->patterns, topic, &identity, error);
    if (status == STATUS_OK) {
        status = mqtt_payload_read(&message, &identity, &visitor, &skipped, error);
    }
    api_count(feed->services->metrics, METRIC_SKIPPED_MQTT, skipped);
    if (status == STATUS_INVALID || status == STATUS_NOT_FOUND) {
        mqtt_feed_refuse(topic, error);
    }
    return status;
}

bool mqtt_feed_full(const struct mqtt_feed *feed)
{
    return feed->batch != NULL && write_batch_points(feed->batch) >= FULL_POINTS;
}

enum status mqtt_feed_commit(struct mqtt_feed *feed, struct error *error)
{
    struct write_result result = {0};
    struct write_batch *batch = feed->batch;
    if (batch == NULL || write_batch_points(batch) == 0) {
        return STATUS_OK;
    }
    uint64_t points = write_batch_points(batch);
    feed->batch = NULL;
    foreground_begin(); /* the broker waits for the acknowledgement */
    enum status status = writer_write_take(feed->services->writer, batch, &result, error);
    foreground_end();
    if (status == STATUS_OK) {
        api_count(feed->services->metrics, METRIC_POINTS_STORED, result.accepted - result.updated);
        api_count(feed->services->metrics, METRIC_POINTS_UPDATED, result.updated);
    } else {
        api_count(feed->services->metrics, METRIC_POINTS_LOST, points);
    }
    return status;
}

void mqtt_feed_drop(struct mqtt_feed *feed)
{
    write_batch_free(feed->batch);
    feed->batch = NULL;
}
