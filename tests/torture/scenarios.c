/* What is done to a store while something fails: each scenario a few requests long.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "tests/torture/scenarios.h"

#include "base/clock.h"
#include "storage/sqlite_store.h"
#include "storage/writer.h"
#include "tests/torture/copies.h"
#include "tests/torture/thinning.h"

#include <setjmp.h>
#include <sqlite3.h>
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
    if (!history_open(history, &error)) {
        (void)history_done(history, error.status, &error);
    }
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
    if (!history_done(history, write_batch_new(history->storage, 0, &batch, &error), &error)) {
        return;
    }
    size_t length = json == NULL ? 0 : strlen(json);
    enum status status = write_batch_record(batch, "job", "1", json, length, &error);
    if (!history_done(history, status, &error)) {
        write_batch_free(batch);
        return;
    }
    (void)history_done(history, writer_write_take(history->writer, batch, NULL, &error), &error);
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
    enum status status = store_retain(history->storage, clock_wall_ms() + 86400000, &more, &error);
    (void)history_done(history, status, &error);
}

/* A quarter of an hour of silence: all series are over. */
static void leave(struct history *history)
{
    history_clock(history_now() + 1000000, 10);
    history_age(history);
}

/* What the fault left undone the next rounds do; only the markers stay. */
static bool judge_left(struct history *history)
{
    history_ingest(history); /* opens the store anew */
    leave(history);
    leave(history);
    uint32_t count = storage_series_count(history->storage);
    return count == 1 ||
           history_wrong(history, "%u series are there, not the markers' alone", (unsigned)count);
}

static void trash(struct history *history)
{
    struct error error = {0};
    bool more = true;
    ((struct sqlite_state *)history->storage->state)->trashing = true;
    while (more &&
           history_done(history, store_compact(history->storage, DRIVER_SLICE, &more, &error),
                        &error)) {
    }
}

/* What is read is right, or an error. */
static void read_everything(struct history *history)
{
    uint32_t digest;
    struct error error = {0};
    if (history_read(history, &digest)) {
        assert_int_equal(digest, scenario_digest);
    } else {
        (void)history_done(history, error_set(&error, STATUS_IO, "%s", history->why), &error);
    }
}

static void read_newest(struct history *history)
{
    static struct point points[HISTORY_SLOTS];
    struct error error = {0};
    for (uint32_t id = 1; id < 8; id++) {
        struct series_info info;
        size_t count;
        enum status status = storage_series_info(history->storage, id, &info, &error);
        if (status == STATUS_OK) {
            status = storage_read_last(history->reader, id, points, HISTORY_SLOTS, &count, &error);
        }
        if (history_done(history, status, &error)) {
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
    enum status status = storage_records(history->reader, "job", count_record, &count, &error);
    if (history_done(history, status, &error)) {
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
        enum status status = storage_vintages(history->reader, id, INT64_MIN, INT64_MAX,
                                              count_vintage, &count, &error);
        (void)history_done(history, status, &error);
    }
}

static void reader_anew(struct history *history)
{
    struct storage_reader *reader = NULL;
    struct error error = {0};
    if (history_done(history, storage_reader_open(history->storage, &reader, &error), &error)) {
        storage_reader_close(reader);
    }
}

/* Want of memory is no finding; SQLite's own check calls a page that cannot be read one. */
static void check_all(struct history *history)
{
    struct error error = {0};
    enum status status = storage_check(history->storage, NULL, NULL, &error);
    if (!history_done(history, status, &error) && status == STATUS_CORRUPT) {
        assert_int_not_equal(history->disk->fault, DISK_NO_FAULT);
    }
}

static void roll_back(struct history *history)
{
    struct error error = {0};
    enum status status = catalogue_rollback(history->catalogue, 3600000, &error);
    (void)history_done(history, status, &error);
}

static void promote(struct history *history)
{
    struct error error = {0};
    enum status status = catalogue_promote(history->catalogue, "1h-1", &error);
    (void)history_done(history, status, &error);
}

/* More than the windows in memory hold: what is read comes from the disk. */
static void prepare_long(struct history *history)
{
    struct error error = {0};
    for (int i = 0; i < 24; i++) {
        history_ingest(history);
    }
    history_compact(history);
    history_close(history);
    assert_true(history_open(history, &error));
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

/* Makes the store what an older version would have left, and closes it: later ones only added
 * tables. */
static void age(struct history *history, const char *text, int version)
{
    char path[DISK_PATH_MAX];
    sqlite3 *db = NULL;
    history_compact(history);
    history_ingest(history);
    history_close(history);
    snprintf(path, sizeof path, "%s/forecastd.db", history->directory);
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, text, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_stmt *statement = NULL;
    assert_int_equal(sqlite3_prepare_v2(db, "PRAGMA user_version", -1, &statement, NULL),
                     SQLITE_OK);
    assert_int_equal(sqlite3_step(statement), SQLITE_ROW);
    assert_int_equal(sqlite3_column_int(statement, 0), version);
    sqlite3_finalize(statement);
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
}

static void prepare_version_1(struct history *history)
{
    age(history,
        "BEGIN; DROP TABLE excluded; DROP TABLE downsampled; DROP TABLE vintage;"
        " PRAGMA user_version = 1; COMMIT",
        1);
}

static void prepare_version_2(struct history *history)
{
    age(history,
        "BEGIN; DROP TABLE excluded; DROP TABLE downsampled; PRAGMA user_version = 2; COMMIT", 2);
}

static void prepare_version_3(struct history *history)
{
    age(history, "BEGIN; DROP TABLE excluded; PRAGMA user_version = 3; COMMIT", 3);
}

const struct scenario scenarios[] = {
    {.name = "open", .prepare = shut, .run = open_it},
    {.name = "open after a cut", .prepare = scenario_kill, .run = open_it},
    {.name = "close", .prepare = nothing, .run = shut, .closes = true},
    {.name = "close after compaction", .prepare = history_compact, .run = shut, .closes = true},
    {.name = "ingest", .prepare = nothing, .run = history_ingest},
    {.name = "ingest with flushes", .prepare = nothing, .run = ingest_much},
    {.name = "ingest after compaction", .prepare = history_compact, .run = ingest_much},
    {.name = "delete", .prepare = nothing, .run = history_delete},
    {.name = "delete what is in chunks", .prepare = history_compact, .run = history_delete},
    {.name = "settings and retention", .prepare = nothing, .run = history_retention},
    {.name = "retention of chunks", .prepare = history_compact, .run = history_retention},
    {.name = "series leave",
     .prepare = vintages_put,
     .run = leave,
     .options = history_leaving,
     .judge = judge_left},
    {.name = "series of chunks leave",
     .prepare = history_compact,
     .run = leave,
     .options = history_leaving,
     .judge = judge_left},
    {.name = "record", .prepare = nothing, .run = record_put},
    {.name = "record deleted", .prepare = prepare_records, .run = record_delete},
    {.name = "vintages", .prepare = nothing, .run = vintages_put},
    {.name = "vintages expire", .prepare = prepare_records, .run = vintages_expire},
    {.name = "compaction", .prepare = nothing, .run = history_compact},
    {.name = "compaction of late points", .prepare = history_compact, .run = history_compact},
    {.name = "trash", .prepare = prepare_trash, .run = trash},
    {.name = "checkpoint", .prepare = ingest_much, .run = history_checkpoint},
    {.name = "read", .prepare = prepare_long, .run = read_everything, .reads_only = true},
    {.name = "read newest", .prepare = prepare_long, .run = read_newest, .reads_only = true},
    {.name = "read records", .prepare = prepare_records, .run = read_records, .reads_only = true},
    {.name = "read vintages", .prepare = prepare_records, .run = read_vintages, .reads_only = true},
    {.name = "reader", .prepare = nothing, .run = reader_anew, .reads_only = true},
    {.name = "check", .prepare = prepare_long, .run = check_all, .reads_only = true},
    {.name = "publish", .prepare = prepare_models, .run = history_publish, .models = true},
    {.name = "roll back", .prepare = prepare_models, .run = roll_back, .models = true},
    {.name = "promote", .prepare = prepare_models, .run = promote, .models = true},
    {.name = "migration from version 1", .prepare = prepare_version_1, .run = open_it},
    {.name = "migration from version 2", .prepare = prepare_version_2, .run = open_it},
    {.name = "migration from version 3", .prepare = prepare_version_3, .run = open_it},
    {.name = "backup",
     .prepare = copies_prepare_backup,
     .run = copies_backup,
     .reads_only = true,
     .models = true,
     .judge = copies_judge_backup},
    {.name = "restore",
     .prepare = copies_prepare_restore,
     .run = copies_restore,
     .reads_only = true,
     .models = true,
     .judge = copies_judge_restore},
    {.name = "downsampling",
     .prepare = thinning_prepare,
     .run = thinning_all,
     .options = thinning_options,
     .judge = thinning_judge},
    {.name = "downsampling in slices",
     .prepare = thinning_prepare,
     .run = thinning_slices,
     .options = thinning_options,
     .judge = thinning_judge},
    {.name = "retention of what was downsampled",
     .prepare = thinning_prepare_thinned,
     .run = thinning_retain,
     .options = thinning_options,
     .judge = thinning_judge_retained},
};

const size_t scenario_count = sizeof scenarios / sizeof *scenarios;

uint64_t scenario_stride(const struct scenario *scenario, uint64_t usual)
{
    const char *text = getenv("STRIDE");
    uint64_t stride = text == NULL ? usual : strtoull(text, NULL, 10);
    return stride > 1 && scenario->judge != NULL ? 5 * stride : stride;
}

void scenario_begin(struct history *history, const struct scenario *scenario,
                    struct snapshot *model, const char *directory)
{
    struct error error = {0};
    history_init(history, 5, directory);
    history->model = scenario->models ? model : NULL;
    if (scenario->options != NULL) {
        scenario->options(history);
    }
    if (!history_open(history, &error)) {
        fail_msg("%s", error.text);
    }
    for (int i = 0; i < 6; i++) {
        history_ingest(history);
    }
    scenario->prepare(history);
    if (history->storage != NULL) {
        (void)history_read(history, &scenario_digest);
        /* Else what is read next would come from SQLite's cache. */
        storage_reader_close(history->reader);
        history->reader = NULL;
        assert_int_equal(storage_reader_open(history->storage, &history->reader, &error),
                         STATUS_OK);
    }
}
