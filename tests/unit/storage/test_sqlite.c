/* What is particular to the SQLite driver: its lock, versions, a full disk, slices, other readers.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "tests/unit/storage/place.h"

#include "base/clock.h"

#include <setjmp.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static void second_writer_is_refused(void **state)
{
    struct error error = {0};
    assert_int_equal(place_open_status(*state, false, &error), STATUS_CONFLICT);
    assert_string_equal(error.code, "store_in_use");
}

static void reading_beside_the_writer(void **state)
{
    struct place *place = *state;
    struct error error = {0};
    struct storage *other;
    struct storage_reader *reader;
    static struct point points[5000];
    size_t count;
    assert_int_equal(place_write(place, 0, 3000, &error), STATUS_OK);
    assert_int_equal(writer_compact(place->writer, &error), STATUS_OK);
    assert_int_equal(place_write(place, 3000, 500, &error), STATUS_OK);
    struct storage_options options = {.url = place->url, .read_only = true};
    assert_int_equal(storage_open(&options, &other, &error), STATUS_OK);
    assert_int_equal(storage_reader_open(other, &reader, &error), STATUS_OK);
    assert_int_equal(storage_read(reader, 1, INT64_MIN, INT64_MAX, points, 5000, &count, &error),
                     STATUS_OK);
    assert_int_equal(count, 3500);
    assert_int_equal(storage_check(other, NULL, NULL, &error), STATUS_OK);
    storage_reader_close(reader);
    storage_close(other);
    place_stop(place); /* and with nobody else there */
    assert_int_equal(place_open_status(place, true, &error), STATUS_OK);
}

static void read_only_makes_nothing(void **state)
{
    struct place *place = *state;
    struct error error = {0};
    struct place nowhere = {0};
    snprintf(nowhere.url, sizeof nowhere.url, "%.120s/none", place->url);
    assert_int_equal(place_open_status(&nowhere, true, &error), STATUS_NOT_FOUND);
    snprintf(nowhere.directory, sizeof nowhere.directory, "%.100s/none", place->directory);
    assert_int_not_equal(access(nowhere.directory, F_OK), 0);
    snprintf(nowhere.url, sizeof nowhere.url, "%.120s/forecastd.db", place->url); /* a file */
    assert_int_equal(place_open_status(&nowhere, true, &error), STATUS_NOT_FOUND);
    assert_non_null(strstr(error.text, "there is no store in"));
}

/* A creation that was killed, and the log of a database that is gone: neither is taken for the new
 * store. */
static void creation_begins_anew(void **state)
{
    struct place *place = *state;
    struct error error = {0};
    struct storage_stats stats;
    char command[700];
    assert_int_equal(place_write(place, 0, 100, &error), STATUS_OK);
    snprintf(command, sizeof command,
             "cd '%s' && cp forecastd.db-wal kept && cp forecastd.db-shm forecastd.db.new-shm && "
             "head -c 5000 forecastd.db >forecastd.db.new && cp kept forecastd.db.new-wal",
             place->directory);
    assert_int_equal(system(command), 0);
    place_stop(place);
    snprintf(command, sizeof command, "cd '%s' && rm forecastd.db && mv kept forecastd.db-wal",
             place->directory);
    assert_int_equal(system(command), 0);
    place_start(place);
    storage_stats(place->storage, &stats);
    assert_int_equal(stats.points, 0);
    assert_int_equal(place_write(place, 0, 50, &error), STATUS_OK);
    place_stop(place);
    place_start(place);
    storage_stats(place->storage, &stats);
    assert_int_equal(stats.points, 50);
    snprintf(command, sizeof command, "cd '%s' && ls | grep -q new", place->directory);
    assert_int_not_equal(system(command), 0);
}

static void newer_version_is_refused(void **state)
{
    struct place *place = *state;
    struct error error = {0};
    place_stop(place);
    place_sql(place, "PRAGMA user_version = 999");
    assert_int_equal(place_open_status(place, false, &error), STATUS_UNSUPPORTED);
    assert_non_null(strstr(error.text, "version 999"));
    assert_non_null(strstr(error.text, "knows up to "));
    assert_string_equal(error.hint, "Start the newer forecastd that wrote it.");
    assert_int_equal(place_open_status(place, true, &error), STATUS_UNSUPPORTED);
    place_sql(place, "PRAGMA user_version = 1; PRAGMA application_id = 7");
    assert_int_equal(place_open_status(place, false, &error), STATUS_UNSUPPORTED);
}

/* tests/unit/storage/data/version1.db: series "old", 400 points a minute apart. */
static void oldest_version_is_migrated(void **state)
{
    struct place *place = *state;
    struct error error = {0};
    char command[500];
    place_stop(place);
    snprintf(command, sizeof command,
             "rm -f '%s'/forecastd.db* && cp tests/unit/storage/data/version1.db "
             "'%s/forecastd.db'",
             place->directory, place->directory);
    assert_int_equal(system(command), 0);
    /* Reading alone changes nothing, and works. */
    assert_int_equal(place_open_status(place, true, &error), STATUS_OK);
    assert_int_equal(place_sql_number(place, "PRAGMA user_version"), 1);
    place_start(place);
    assert_true(place_sql_number(place, "PRAGMA user_version") > 1);
    assert_int_equal(place_sql_number(place, "SELECT count(*) FROM vintage"), 0);
    struct series_info info;
    assert_int_equal(storage_series_info(place->storage, 1, &info, &error), STATUS_OK);
    assert_int_equal(info.points, 400);
    assert_int_equal(place_write(place, 1, 10, &error), STATUS_OK);
    assert_int_equal(storage_check(place->storage, NULL, NULL, &error), STATUS_OK);
}

static void full_disk(void **state)
{
    struct place *place = *state;
    struct error error = {0};
    struct storage_stats stats;
    struct sqlite_state *inside = place->storage->state;
    size_t acknowledged = 0;
    assert_int_equal(place_write(place, 0, 100, &error), STATUS_OK);
    acknowledged += 100;
    /* The writer is idle now: nobody else uses its connection. */
    assert_int_equal(sqlite3_exec(inside->db, "PRAGMA max_page_count = 40", NULL, NULL, NULL), 0);
    enum status status = STATUS_OK;
    for (int i = 0; i < 100 && status == STATUS_OK; i++) {
        status = place_write(place, (int64_t)acknowledged, 2000, &error);
        acknowledged += status == STATUS_OK ? 2000 : 0;
    }
    assert_int_equal(status, STATUS_NO_SPACE);
    storage_stats(place->storage, &stats);
    assert_false(stats.writable);
    assert_int_equal(stats.points, acknowledged);
    assert_true(stats.commit_failures > 0);
    assert_int_equal(place_write(place, (int64_t)acknowledged, 20000, &error), STATUS_NO_SPACE);
    assert_int_equal(sqlite3_exec(inside->db, "PRAGMA max_page_count = 1000000", NULL, NULL, NULL),
                     0);
    assert_int_equal(place_write(place, (int64_t)acknowledged, 2000, &error), STATUS_OK);
    acknowledged += 2000;
    storage_stats(place->storage, &stats);
    assert_true(stats.writable);
    assert_int_equal(stats.points, acknowledged);
    place_stop(place);
    place_start(place);
    storage_stats(place->storage, &stats);
    assert_int_equal(stats.points, acknowledged);
    assert_int_equal(storage_check(place->storage, NULL, NULL, &error), STATUS_OK);
}

static void recovery_replaces_the_connection(void **state)
{
    struct place *place = *state;
    struct error error = {0};
    struct storage_stats stats;
    struct sqlite_state *inside = place->storage->state;
    assert_int_equal(place_write(place, 0, 3000, &error), STATUS_OK);
    assert_int_equal(writer_compact(place->writer, &error), STATUS_OK);
    assert_int_equal(place_write(place, 3000, 10, &error), STATUS_OK);
    assert_int_equal(writer_compact(place->writer, &error), STATUS_OK);
    assert_int_equal(place_write(place, 3010, 10, &error), STATUS_OK);
    /* As after a failed sync. */
    lock_acquire(&place->storage->lock);
    place->storage->counters.writable = false;
    inside->io_failed = true;
    lock_release(&place->storage->lock);
    assert_int_equal(place_write(place, 3015, 10, &error), STATUS_OK);
    storage_stats(place->storage, &stats);
    assert_true(stats.writable);
    assert_int_equal(stats.points, 3025);
    assert_int_equal(storage_series_find(place->storage, "a", 1), 1);
    assert_int_equal(storage_check(place->storage, NULL, NULL, &error), STATUS_OK);
}

static void compaction_ends_in_time(void **state)
{
    struct place *place = *state;
    struct error error = {0};
    struct storage_stats stats;
    assert_int_equal(place_write(place, 0, 3000, &error), STATUS_OK);
    assert_int_equal(writer_compact_until(place->writer, clock_monotonic_ns(), &error),
                     STATUS_TIMEOUT);
    storage_stats(place->storage, &stats);
    assert_int_equal(stats.journal_points, 3000);
    place_stop(place);
    place_start(place); /* from the journal */
    storage_stats(place->storage, &stats);
    assert_int_equal(stats.points, 3000);
    int64_t until_ns = clock_monotonic_ns() + INT64_C(60000000000);
    assert_int_equal(writer_compact_until(place->writer, until_ns, &error), STATUS_OK);
    storage_stats(place->storage, &stats);
    assert_int_equal(stats.points, 3000);
    assert_int_equal(stats.journal_points, 0);
    assert_int_equal(place_sql_number(place, "SELECT count(*) FROM journal"), 0);
}

/* What is changed inside of full chunks stays in them; only what no longer fits makes new ones. */
static void late_points_split_no_more_than_they_must(void **state)
{
    struct place *place = *state;
    struct error error = {0};
    struct storage_stats before, after;
    for (int64_t time = 0; time < 40000; time += 20000) { /* with a gap between them */
        assert_int_equal(place_write(place, time, 10000, &error), STATUS_OK);
    }
    assert_int_equal(writer_compact(place->writer, &error), STATUS_OK);
    storage_stats(place->storage, &before);
    for (int i = 0; i < 10; i++) { /* the same values again */
        assert_int_equal(place_write(place, 500 + i * 700, 100, &error), STATUS_OK);
        assert_int_equal(writer_compact(place->writer, &error), STATUS_OK);
    }
    storage_stats(place->storage, &after);
    assert_true(after.chunks <= before.chunks + 10);
    assert_int_equal(
        place_sql_number(place, "SELECT count(*) FROM chunk WHERE id >= 0 AND count < 400"), 0);
    assert_int_equal(place_write(place, 10000, 10000, &error), STATUS_OK);
    assert_int_equal(writer_compact(place->writer, &error), STATUS_OK);
    storage_stats(place->storage, &after);
    assert_int_equal(after.points, 30000);
    assert_true(after.chunks <= before.chunks * 2 + 10);
    assert_int_equal(storage_check(place->storage, NULL, NULL, &error), STATUS_OK);
}

/* Where the first series is gone, the largest id in the table is another one's open chunk. */
static void full_chunks_never_take_an_open_ones_place(void **state)
{
    struct place *place = *state;
    struct error error = {0};
    struct storage_stats stats;
    struct write_batch *batch;
    uint32_t series;
    assert_int_equal(place_write(place, 0, 10, &error), STATUS_OK);
    for (int s = 0; s < 3; s++) {
        char name[2] = {(char)('b' + s), '\0'};
        assert_int_equal(write_batch_new(place->storage, 10, &batch, &error), STATUS_OK);
        assert_int_equal(write_batch_series(batch, name, 1, &series, &error), STATUS_OK);
        assert_int_equal(write_batch_point(batch, series, (struct point){s, 1}, &error), 0);
        assert_int_equal(writer_write_take(place->writer, batch, NULL, &error), STATUS_OK);
    }
    for (uint32_t id = 1; id <= 2; id++) {
        assert_int_equal(write_batch_new(place->storage, 10, &batch, &error), STATUS_OK);
        assert_int_equal(write_batch_delete(batch, id, &error), STATUS_OK);
        assert_int_equal(writer_write_take(place->writer, batch, NULL, &error), STATUS_OK);
    }
    assert_int_equal(writer_compact(place->writer, &error), STATUS_OK);
    assert_int_equal(place_write(place, 0, 20000, &error), STATUS_OK); /* several full chunks */
    assert_int_equal(writer_compact(place->writer, &error), STATUS_OK);
    assert_int_equal(storage_check(place->storage, NULL, NULL, &error), STATUS_OK);
    place_stop(place);
    place_start(place);
    storage_stats(place->storage, &stats);
    assert_int_equal(stats.points, 20002);
    assert_int_equal(place_sql_number(place, "SELECT count(*) FROM chunk WHERE id < 0 AND"
                                             " (state IS NULL OR id != -series)"),
                     0);
}

/* More chunks than one slice of retention deletes, of two series. */
static void retention_in_slices(void **state)
{
    enum { POINTS = 400000, OLD = 300000 };
    struct place *place = *state;
    struct error error = {0};
    struct write_batch *batch;
    struct storage_stats stats;
    struct series_info about;
    struct series_settings settings = {.has_retention = true, .retention_ms = 1000000000};
    uint32_t series;
    int64_t edge = clock_wall_ms() - settings.retention_ms - OLD * INT64_C(1000);
    for (int s = 0; s < 2; s++) {
        assert_int_equal(write_batch_new(place->storage, POINTS, &batch, &error), STATUS_OK);
        assert_int_equal(write_batch_series(batch, s == 0 ? "a" : "b", 1, &series, &error), 0);
        for (int i = 0; i < POINTS; i++) { /* values that hardly compress */
            struct point point = {edge + i * INT64_C(1000) - (i < OLD ? 100000000 : -100000000),
                                  1.0 / (i + 3)};
            assert_int_equal(write_batch_point(batch, series, point, &error), STATUS_OK);
        }
        assert_int_equal(writer_write_take(place->writer, batch, NULL, &error), STATUS_OK);
    }
    assert_int_equal(writer_compact(place->writer, &error), STATUS_OK);
    assert_true(place_sql_number(place, "SELECT count(*) FROM chunk WHERE series = 2") > 2048);
    assert_int_equal(write_batch_new(place->storage, 1, &batch, &error), STATUS_OK);
    assert_int_equal(write_batch_settings(batch, 1, &settings, &error), STATUS_OK);
    assert_int_equal(write_batch_settings(batch, 2, &settings, &error), STATUS_OK);
    assert_int_equal(writer_write_take(place->writer, batch, NULL, &error), STATUS_OK);
    assert_int_equal(writer_compact(place->writer, &error), STATUS_OK);
    storage_stats(place->storage, &stats);
    assert_int_equal(stats.points, 2 * (POINTS - OLD));
    assert_int_equal(storage_series_info(place->storage, 2, &about, &error), STATUS_OK);
    assert_int_equal(about.points, POINTS - OLD);
    assert_int_equal(about.first_ms, edge + OLD * INT64_C(1000) + 100000000);
    assert_int_equal(storage_check(place->storage, NULL, NULL, &error), STATUS_OK);
    assert_int_equal(stats.chunks, place_sql_number(place, "SELECT count(*) FROM chunk"));
}

/* Ids are never used again, so nobody would see them. */
static void excluded_spans_leave_no_rows(void **state)
{
    struct place *place = *state;
    struct error error = {0};
    struct write_batch *batch;
    struct time_spans spans = {2, {{0, 10}, {20, 30}}};
    assert_int_equal(place_write(place, 0, 10, &error), STATUS_OK);
    for (int round = 0; round < 2; round++) {
        assert_int_equal(write_batch_new(place->storage, 1, &batch, &error), STATUS_OK);
        assert_int_equal(write_batch_excluded(batch, 1, &spans, &error), STATUS_OK);
        assert_int_equal(writer_write_take(place->writer, batch, NULL, &error), STATUS_OK);
        assert_int_equal(place_sql_number(place, "SELECT count(*) FROM excluded"), 2);
    }
    assert_int_equal(write_batch_new(place->storage, 1, &batch, &error), STATUS_OK);
    assert_int_equal(write_batch_delete(batch, 1, &error), STATUS_OK);
    assert_int_equal(writer_write_take(place->writer, batch, NULL, &error), STATUS_OK);
    assert_int_equal(place_sql_number(place, "SELECT count(*) FROM excluded"), 0);
}

/* The same points over and over: nothing new waits in memory, yet the journal must not grow for
 * ever. */
/* What a daemon does between commits: chunk by chunk, whole cells only, and little is written. */
static void downsampling_in_slices(void **state)
{
    enum { OLD = 60000, CELL_MS = 300000 };
    struct place *place = *state;
    struct error error = {0};
    static struct point points[OLD + 1];
    size_t count;
    int64_t start_ms = clock_wall_ms() / CELL_MS * CELL_MS - INT64_C(40) * 86400000;
    for (int i = 0; i < OLD; i += 20000) { /* a second apart: 300 to a cell */
        struct write_batch *batch;
        uint32_t series;
        assert_int_equal(write_batch_new(place->storage, OLD, &batch, &error), STATUS_OK);
        assert_int_equal(write_batch_series(batch, "a", 1, &series, &error), STATUS_OK);
        for (int k = i; k < i + 20000; k++) {
            struct point point = {start_ms + k * INT64_C(1000), k * INT64_C(7919) % 300};
            assert_int_equal(write_batch_point(batch, series, point, &error), STATUS_OK);
        }
        assert_int_equal(writer_write_take(place->writer, batch, NULL, &error), STATUS_OK);
    }
    assert_int_equal(writer_compact(place->writer, &error), STATUS_OK);
    place_stop(place);
    int64_t chunks = place_sql_number(place, "SELECT count(*) FROM chunk");
    struct storage_options options = {.url = place->url};
    struct writer_options writer = {.stepped = true};
    assert_int_equal(downsample_parse("30d:5m", &options.downsample, &error), STATUS_OK);
    assert_int_equal(storage_open(&options, &place->storage, &error), STATUS_OK);
    assert_int_equal(writer_start(place->storage, &writer, &place->writer, &error), STATUS_OK);
    int steps = 0;
    while (writer_step(place->writer)) {
        assert_true(++steps < 1000);
    }
    assert_true(place_sql_number(place, "SELECT count(*) FROM chunk") < chunks / 8);
    struct storage_reader *reader;
    assert_int_equal(storage_reader_open(place->storage, &reader, &error), STATUS_OK);
    assert_int_equal(storage_read(reader, 1, INT64_MIN, INT64_MAX, points, OLD + 1, &count, &error),
                     STATUS_OK);
    assert_true(count < OLD / 20);
    for (size_t i = 0; i < count; i++) { /* a whole cell as its mean, or as it was */
        int64_t k = (points[i].time_ms - start_ms) / 1000;
        bool alone = i + 1 == count || points[i + 1].time_ms - points[i].time_ms == CELL_MS;
        bool mean = alone && k % 300 == 0 && points[i].value == 149.5;
        assert_true(mean || points[i].value == (double)(k * 7919 % 300));
    }
    struct series_info info;
    assert_int_equal(storage_series_info(place->storage, 1, &info, &error), STATUS_OK);
    assert_int_equal(info.points, count);
    storage_reader_close(reader);
    assert_int_equal(storage_check(place->storage, NULL, NULL, &error), STATUS_OK);
}

static void overwriting_keeps_the_journal_short(void **state)
{
    struct place *place = *state;
    struct error error = {0};
    struct storage_stats stats;
    place_stop(place);
    place->tail_bytes_max = 16000; /* 1,000 points: 1,000 entries may wait */
    place_start(place);
    for (int i = 0; i < 300; i++) {
        assert_int_equal(place_write(place, 0, 100, &error), STATUS_OK);
    }
    assert_true(place_sql_number(place, "SELECT count(*) FROM journal") < 40);
    place_stop(place);
    place_start(place);
    storage_stats(place->storage, &stats);
    assert_int_equal(stats.points, 100);
    for (int i = 0; i < 300; i++) { /* what was replayed counts too */
        assert_int_equal(place_write(place, 50, 100, &error), STATUS_OK);
    }
    assert_true(place_sql_number(place, "SELECT count(*) FROM journal") < 40);
    storage_stats(place->storage, &stats);
    assert_int_equal(stats.points, 150);
}

static void long_reader_holds_nobody_up(void **state)
{
    struct place *place = *state;
    struct error error = {0};
    assert_int_equal(place_write(place, 0, 100, &error), STATUS_OK);
    struct sqlite3 *other = place_sql_reader(place);
    assert_int_equal(sqlite3_exec(other, "BEGIN; SELECT * FROM series", NULL, NULL, NULL), 0);
    assert_int_equal(place_write(place, 100, 100, &error), STATUS_OK);
    int64_t start_ns = clock_monotonic_ns();
    assert_int_equal(writer_compact(place->writer, &error), STATUS_OK); /* truncates the log */
    assert_true(clock_monotonic_ns() - start_ns < INT64_C(2000000000));
    sqlite3_close(other);
    assert_int_equal(writer_compact(place->writer, &error), STATUS_OK);
    struct storage_stats stats;
    storage_stats(place->storage, &stats);
    assert_int_equal(stats.wal_bytes, 0);
}

/* The file of the log grows a few times, not with each commit as it would without the room, and
 * what stands behind its end is no matter to who opens the store after a crash. */
static void room_is_laid_out_behind_the_log(void **state)
{
    struct place *place = *state;
    enum { COMMITS = 300, POINTS = 200 };
    struct error error = {0};
    struct storage_stats stats;
    uint64_t length = 0;
    int grown = 0;
    for (int i = 0; i < COMMITS; i++) {
        assert_int_equal(place_write(place, i * POINTS, POINTS, &error), STATUS_OK);
        storage_stats(place->storage, &stats);
        grown += stats.wal_bytes > length && length > (128 << 10);
        length = stats.wal_bytes;
    }
    assert_true(length > (1 << 20));
    assert_in_range(grown, 1, COMMITS / 20);

    struct place copy = {.tail_bytes_max = place->tail_bytes_max};
    char command[400];
    snprintf(copy.directory, sizeof copy.directory, "%.100s.copy", place->directory);
    snprintf(copy.url, sizeof copy.url, "sqlite:%s", copy.directory);
    snprintf(command, sizeof command, "cp -r '%s' '%s'", place->directory, copy.directory);
    assert_int_equal(system(command), 0);
    place_start(&copy);
    storage_stats(copy.storage, &stats);
    assert_int_equal(stats.points, COMMITS * POINTS);
    assert_int_equal(storage_check(copy.storage, NULL, NULL, &error), STATUS_OK);
    place_stop(&copy);
    snprintf(command, sizeof command, "rm -rf '%s'", copy.directory);
    assert_int_equal(system(command), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(second_writer_is_refused, place_setup, place_teardown),
        cmocka_unit_test_setup_teardown(reading_beside_the_writer, place_setup, place_teardown),
        cmocka_unit_test_setup_teardown(compaction_ends_in_time, place_setup, place_teardown),
        cmocka_unit_test_setup_teardown(read_only_makes_nothing, place_setup, place_teardown),
        cmocka_unit_test_setup_teardown(creation_begins_anew, place_setup, place_teardown),
        cmocka_unit_test_setup_teardown(newer_version_is_refused, place_setup, place_teardown),
        cmocka_unit_test_setup_teardown(oldest_version_is_migrated, place_setup, place_teardown),
        cmocka_unit_test_setup_teardown(full_disk, place_setup, place_teardown),
        cmocka_unit_test_setup_teardown(recovery_replaces_the_connection, place_setup,
                                        place_teardown),
        cmocka_unit_test_setup_teardown(late_points_split_no_more_than_they_must, place_setup,
                                        place_teardown),
        cmocka_unit_test_setup_teardown(full_chunks_never_take_an_open_ones_place, place_setup,
                                        place_teardown),
        cmocka_unit_test_setup_teardown(retention_in_slices, place_setup, place_teardown),
        cmocka_unit_test_setup_teardown(excluded_spans_leave_no_rows, place_setup, place_teardown),
        cmocka_unit_test_setup_teardown(downsampling_in_slices, place_setup, place_teardown),
        cmocka_unit_test_setup_teardown(overwriting_keeps_the_journal_short, place_setup,
                                        place_teardown),
        cmocka_unit_test_setup_teardown(long_reader_holds_nobody_up, place_setup, place_teardown),
        cmocka_unit_test_setup_teardown(room_is_laid_out_behind_the_log, place_setup,
                                        place_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
