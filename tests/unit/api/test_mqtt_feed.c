/* Messages of a broker on their way to the store: of one that is told to be taken nothing is
 * missing. SPDX-License-Identifier: Apache-2.0
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "api/metrics.h"
#include "api/mqtt_feed.h"
#include "base/check.h"
#include "base/log.h"
#include "base/text.h"
#include "storage/store.h"

#include <string.h>

enum { READINGS = 110000, PAYLOAD_MAX = 4 << 20 }; /* more than two batches' */

struct daemon {
    struct api_services services;
    struct api_limits limits;
    struct mqtt_patterns patterns;
    struct mqtt_feed feed;
};

static void daemon_open(struct daemon *daemon)
{
    struct error error = {0};
    struct storage_options options = {.url = "memory:", .series_max = 2 * READINGS};
    struct writer_options writer = {.stepped = true};
    *daemon = (struct daemon){.limits = {.max_future_ms = 600000, .points_per_request = 100000}};
    struct api_services *services = &daemon->services;
    log_set_level(LOG_ERROR);
    assert_int_equal(storage_open(&options, &services->storage, &error), STATUS_OK);
    assert_int_equal(writer_start(services->storage, &writer, &services->writer, &error), 0);
    assert_int_equal(metrics_new(&services->metrics, &error), STATUS_OK);
    atomic_store(&services->limits, &daemon->limits);
    assert_int_equal(mqtt_patterns_parse("{name}", &daemon->patterns, &error), STATUS_OK);
    daemon->feed = (struct mqtt_feed){.services = services, .patterns = &daemon->patterns};
}

static void daemon_close(struct daemon *daemon)
{
    mqtt_feed_drop(&daemon->feed);
    writer_stop(daemon->services.writer);
    metrics_free(daemon->services.metrics);
    storage_close(daemon->services.storage);
}

/* What the subscriber does before it acknowledges. */
static enum status deliver(struct daemon *daemon, const struct text *payload, struct error *error)
{
    struct slice bytes = {payload->bytes, payload->length};
    enum status status = mqtt_feed_take(&daemon->feed, (struct slice){"m", 1}, bytes, error);
    if (status == STATUS_OK) {
        status = mqtt_feed_commit(&daemon->feed, error);
    }
    if (status != STATUS_OK) {
        mqtt_feed_drop(&daemon->feed);
    }
    return status;
}

/* {"a0":0,"a1":1,...}: a series each. */
static void payload_fill(struct text *payload, size_t readings)
{
    text_init(payload, PAYLOAD_MAX);
    for (size_t i = 0; i < readings; i++) {
        text_add_format(payload, "%s\"a%zu\":%zu", i == 0 ? "{" : ",", i, i);
    }
    text_add_string(payload, ",\"timestamp\":1795354740000}");
    assert_int_equal(payload->failed, STATUS_OK);
}

static void all_there(struct daemon *daemon)
{
    struct storage_stats stats;
    storage_stats(daemon->services.storage, &stats);
    assert_int_equal(stats.points, READINGS);
    assert_int_equal(stats.series, READINGS);
}

static void a_message_may_be_larger_than_a_batch(void **state)
{
    struct daemon daemon;
    struct text payload;
    struct error error = {0};
    (void)state;
    daemon_open(&daemon);
    payload_fill(&payload, READINGS);
    for (int times = 0; times < 2; times++) { /* coming twice changes nothing */
        assert_int_equal(deliver(&daemon, &payload, &error), STATUS_OK);
        all_there(&daemon);
    }
    text_release(&payload);
    daemon_close(&daemon);
}

/* Whatever the writer does fails once, in whatever way: then the message is not taken, and comes
 * again; else all of it is there. */
static void a_commit_between_fails(void **state)
{
    static const enum status statuses[] = {STATUS_IO, STATUS_TOO_LARGE, STATUS_INVALID,
                                           STATUS_NOT_FOUND};
    struct text payload;
    size_t refused = 0;
    (void)state;
    payload_fill(&payload, READINGS);
    for (size_t i = 0; i < ARRAY_COUNT(statuses); i++) {
        for (uint64_t nth = 1; nth <= 8; nth++) {
            struct daemon daemon;
            struct error error = {0};
            daemon_open(&daemon);
            storage_fault_set(daemon.services.storage, nth, statuses[i]);
            struct slice bytes = {payload.bytes, payload.length};
            enum status status =
                mqtt_feed_take(&daemon.feed, (struct slice){"m", 1}, bytes, &error);
            /* These say that there is nothing in the message, which is then acknowledged. */
            assert_int_not_equal(status, STATUS_INVALID);
            assert_int_not_equal(status, STATUS_NOT_FOUND);
            if (status == STATUS_OK) {
                status = mqtt_feed_commit(&daemon.feed, &error);
            }
            if (status != STATUS_OK) {
                refused++;
                mqtt_feed_drop(&daemon.feed);
                storage_fault_set(daemon.services.storage, 0, STATUS_OK);
                assert_int_equal(deliver(&daemon, &payload, &error), STATUS_OK);
            }
            all_there(&daemon);
            daemon_close(&daemon);
        }
    }
    text_release(&payload);
    assert_true(refused >= 3 * ARRAY_COUNT(statuses)); /* each of the three commits */
}

/* Points, not messages: of a batch that is not written all of them are counted. */
static void what_is_not_written_is_counted(void **state)
{
    struct daemon daemon;
    struct text payload, shown;
    struct error error = {0};
    (void)state;
    daemon_open(&daemon);
    payload_fill(&payload, 7);
    storage_fault_set(daemon.services.storage, 1, STATUS_IO);
    assert_int_not_equal(deliver(&daemon, &payload, &error), STATUS_OK);
    text_init(&shown, PAYLOAD_MAX);
    metrics_write(daemon.services.metrics, false, &shown);
    assert_non_null(strstr(shown.bytes, "ingest_points_total{result=\"not_written\"} 7\n"));
    text_release(&shown);
    text_release(&payload);
    daemon_close(&daemon);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_message_may_be_larger_than_a_batch),
        cmocka_unit_test(a_commit_between_fails),
        cmocka_unit_test(what_is_not_written_is_counted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
