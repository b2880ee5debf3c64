/* What is done to a store while something fails: each scenario a few requests long.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "tests/torture/scenarios.h"

#include "base/clock.h"
#include "storage/sqlite_store.h"
#include "storage/writer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

uint32_t scenario_digest;

static void nothing(struct history *history)
{
    (void)history;
}

static void open_it(struct history *history)
{
    struct error error = {0};
    (void)history_open(history, &error);
}

static void shut(struct history *history)
{
    history_close(history);
}

/* As after a kill: the log is full of what was committed. */
void scenario_kill(struct history *history)
{
    disk_fault_set(history->disk, 1, DISK_CUT, true);
    history_close(history);
    disk_crash(history->disk, &history->random);
}

static void ingest_much(struct history *history)
{
    for (int i = 0; i < 4; i++) {
        history_ingest(history);
    }
}

static void some_record(struct history *history, const char *json)
{
    struct write_batch *batch = NULL;
    struct error error = {0};
    if (write_batch_new(history->storage, 0, &batch, &error) != STATUS_OK) {
        return;
    }
    if (write_batch_record(batch, "job", "1", json, json == NULL ? 0 : strlen(json), &error) !=
        STATUS_OK) {
        write_batch_free(batch);
        return;
    }
    (void)!writer_write_take(history->writer, batch, NULL, &error);
}

static void record_put(struct history *history)
{
    some_record(history, "{\"state\":\"done\"}");
}

static void record_delete(struct history *history)
{
    some_record(history, NULL);
}

static void vintages_put(struct history *history)
{
    for (int i = 0; i < 4; i++) {
        history_vintage(history);
    }
}

static void vintages_expire(struct history *history)
{
    struct error error = {0};
    bool more;
    (void)!store_retain(history->storage, clock_wall_ms() + 86400000, &more, &error);
}

static void trash(struct history *history)
{
    struct error error = {0};
    bool more = true;
    ((struct sqlite_state *)history->storage->state)->trashing = true;
    while (more && store_compact(history->storage, DRIVER_SLICE, &more, &error) == STATUS_OK) {
    }
}

/* What is read is right, or an error. */
static void read_everything(struct history *history)
{
    uint32_t digest;
    if (history_read(history, &digest)) {
        assert_int_equal(digest, scenario_digest);
    }
}

static void read_newest(struct history *history)
{
    static struct point points[HISTORY_SLOTS];
    struct error error = {0};
    for (uint32_t id = 1; id < 8; id++) {
        struct series_info info;
        size_t count;
        if (storage_series_info(history->storage, id, &info, &error) == STATUS_OK &&
            storage_read_last(history->reader, id, points, HISTORY_SLOTS, &count, &error) ==
                STATUS_OK) {
            assert_int_equal(count, info.points);
        }
    }
}

static bool count_record(void *context, const char *key, const char *json, size_t length)
{
    (void)key, (void)json, (void)length;
    ++*(size_t *)context;
    return true;
}

static void read_records(struct history *history)
{
    struct error error = {0};
    size_t count = 0;
    if (storage_records(history->reader, "job", count_record, &count, &error) == STATUS_OK) {
        assert_int_equal(count, 1);
    }
}

static bool count_vintage(void *context, int64_t issued_ms, const unsigned char *bytes,
                          size_t length)
{
    (void)issued_ms, (void)bytes, (void)length;
    ++*(size_t *)context;
    return true;
}

static void read_vintages(struct history *history)
{
    struct error error = {0};
    size_t count = 0;
    for (uint32_t id = 1; id < 8; id++) {
        (void)!storage_vintages(history->reader, id, INT64_MIN, INT64_MAX, count_vintage, &count,
                                &error);
    }
}

static void reader_anew(struct history *history)
{
    struct storage_reader *reader = NULL;
    struct error error = {0};
    if (storage_reader_open(history->storage, &reader, &error) == STATUS_OK) {
        storage_reader_close(reader);
    }
}

static void check_all(struct history *history)
{
    struct error error = {0};
    (void)!storage_check(history->storage, NULL, NULL, &error);
}

static void roll_back(struct history *history)
{
    struct error error = {0};
    (void)!catalogue_rollback(history->catalogue, 3600000, &error);
}

static void promote(struct history *history)
{
    struct error error = {0};
    (void)!catalogue_promote(history->catalogue, "1h-1", &error);
}

static void prepare_models(struct history *history)
{
    for (int i = 0; i < 3; i++) {
        history_publish(history);
    }
}

static void prepare_records(struct history *history)
{
    record_put(history);
    vintages_put(history);
}

static void prepare_trash(struct history *history)
{
    history_compact(history);
    history_delete(history);
}

const struct scenario scenarios[] = {
    {"open", shut, open_it},
    {"open after a cut", scenario_kill, open_it},
    {"close", nothing, shut},
    {"close after compaction", history_compact, shut},
    {"ingest", nothing, history_ingest},
    {"ingest with flushes", nothing, ingest_much},
    {"ingest after compaction", history_compact, ingest_much},
    {"delete", nothing, history_delete},
    {"delete what is in chunks", history_compact, history_delete},
    {"settings and retention", nothing, history_retention},
    {"retention of chunks", history_compact, history_retention},
    {"record", nothing, record_put},
    {"record deleted", prepare_records, record_delete},
    {"vintages", nothing, vintages_put},
    {"vintages expire", prepare_records, vintages_expire},
    {"compaction", nothing, history_compact},
    {"compaction of late points", history_compact, history_compact},
    {"trash", prepare_trash, trash},
    {"checkpoint", ingest_much, history_checkpoint},
    {"read", history_compact, read_everything},
    {"read newest", history_compact, read_newest},
    {"read records", prepare_records, read_records},
    {"read vintages", prepare_records, read_vintages},
    {"reader", nothing, reader_anew},
    {"check", history_compact, check_all},
    {"publish", prepare_models, history_publish},
    {"roll back", prepare_models, roll_back},
    {"promote", prepare_models, promote},
};

const size_t scenario_count = sizeof scenarios / sizeof *scenarios;

void scenario_begin(struct history *history, const struct scenario *scenario,
                    struct snapshot *model, const char *directory)
{
    struct error error = {0};
    history_init(history, 5, directory);
    history->model = scenario->prepare == prepare_models ? model : NULL;
    if (!history_open(history, &error)) {
        fail_msg("%s", error.text);
    }
    for (int i = 0; i < 6; i++) {
        history_ingest(history);
    }
    scenario->prepare(history);
    if (history->storage != NULL) {
        (void)history_read(history, &scenario_digest);
    }
}
