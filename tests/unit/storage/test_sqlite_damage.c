/* What the SQLite driver does where a chunk or a row is not what was written.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "tests/unit/storage/place.h"

#include <setjmp.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static void count_lines(void *context, const char *line)
{
    (void)line;
    ++*(int *)context;
}

static void damage_is_found_and_set_aside(void **state)
{
    struct place *place = *state;
    struct error error = {0};
    struct storage_stats stats;
    int lines = 0;
    assert_int_equal(place_write(place, 0, 20000, &error), STATUS_OK);
    assert_int_equal(writer_compact(place->writer, &error), STATUS_OK);
    assert_int_equal(storage_check(place->storage, count_lines, &lines, &error), STATUS_OK);
    assert_int_equal(lines, 0);
    place_stop(place);
    place_sql(place, "UPDATE chunk SET data = zeroblob(length(data)) WHERE id >= 0 AND id IN"
                     " (SELECT min(id) FROM chunk WHERE id >= 0)");
    place_start(place);
    assert_int_equal(storage_check(place->storage, count_lines, &lines, &error), STATUS_CORRUPT);
    assert_true(lines >= 1);
    /* A late point into the damaged chunk: it is set aside, the point is kept. */
    assert_int_equal(place_write(place, 5, 1, &error), STATUS_OK);
    assert_int_equal(writer_compact(place->writer, &error), STATUS_OK);
    storage_stats(place->storage, &stats);
    assert_true(stats.points < 20000);
    lines = 0;
    assert_int_equal(storage_check(place->storage, count_lines, &lines, &error), STATUS_CORRUPT);
    assert_int_equal(lines, 1); /* only that something was set aside */
    struct storage_reader *reader;
    struct point point;
    size_t count;
    assert_int_equal(storage_reader_open(place->storage, &reader, &error), STATUS_OK);
    assert_int_equal(storage_read(reader, 1, 0, 100, &point, 1, &count, &error), STATUS_OK);
    assert_int_equal(count, 1);
    assert_int_equal(point.time_ms, 5);
    storage_reader_close(reader);
}

/* Else the next new series would be given that id, and the points with it. */
static void points_of_a_series_that_was_never_made_keep_the_store_closed(void **state)
{
    struct place *place = *state;
    struct error error = {0};
    assert_int_equal(place_write(place, 0, 3000, &error), STATUS_OK);
    assert_int_equal(writer_compact(place->writer, &error), STATUS_OK);
    place_stop(place);
    place_sql(place, "DELETE FROM series; DELETE FROM sqlite_sequence");
    assert_int_equal(place_open_status(place, false, &error), STATUS_CORRUPT);
    assert_non_null(strstr(error.text, "series 1"));
}

/* Sound chunks under each other's times: nobody gets points in a wrong order, or in part. */
static void chunks_out_of_order_are_not_read(void **state)
{
    struct place *place = *state;
    struct error error = {0};
    struct storage_reader *reader;
    static struct point points[20000];
    size_t count;
    assert_int_equal(place_write(place, 0, 20000, &error), STATUS_OK);
    assert_int_equal(writer_compact(place->writer, &error), STATUS_OK);
    place_stop(place);
    assert_true(place_sql_number(place, "SELECT count(*) FROM chunk WHERE id > 0") >= 3);
    place_sql(place,
              "UPDATE chunk SET first_ms = (SELECT sum(first_ms) FROM chunk WHERE id IN (1, 2))"
              " - first_ms WHERE id IN (1, 2)");
    place_start(place);
    assert_int_equal(storage_reader_open(place->storage, &reader, &error), STATUS_OK);
    assert_int_equal(storage_read(reader, 1, 0, 20000, points, 20000, &count, &error),
                     STATUS_CORRUPT);
    assert_non_null(strstr(error.text, "series 1"));
    assert_non_null(strstr(error.text, "not the one that its row names"));
    assert_int_equal(storage_read_last(reader, 1, points, 20000, &count, &error), STATUS_CORRUPT);
    storage_reader_close(reader);
}

/* Sound chunks, each with its own time, but one begins before the one before ends. */
static void chunks_that_overlap_are_not_read(void **state)
{
    struct place *place = *state;
    struct error error = {0};
    struct storage_reader *reader;
    static struct point points[20000];
    size_t count;
    assert_int_equal(place_write(place, 0, 20000, &error), STATUS_OK);
    assert_int_equal(writer_compact(place->writer, &error), STATUS_OK);
    place_stop(place);
    place_sql(place, "INSERT INTO chunk(series, first_ms, count, data)"
                     " SELECT series, first_ms, count, data FROM chunk WHERE id = 2");
    place_start(place);
    assert_int_equal(storage_reader_open(place->storage, &reader, &error), STATUS_OK);
    assert_int_equal(storage_read(reader, 1, 0, 20000, points, 20000, &count, &error),
                     STATUS_CORRUPT);
    assert_non_null(strstr(error.text, "chunks of series 1 are out of order"));
    assert_int_equal(storage_read_last(reader, 1, points, 20000, &count, &error), STATUS_CORRUPT);
    storage_reader_close(reader);
}

/* A row of another table in the place of the list of what is to be removed. */
static void a_series_that_is_there_is_not_removed(void **state)
{
    struct place *place = *state;
    struct error error = {0};
    struct storage_stats stats;
    int lines = 0;
    assert_int_equal(place_write(place, 0, 3000, &error), STATUS_OK);
    assert_int_equal(writer_compact(place->writer, &error), STATUS_OK);
    place_stop(place);
    place_sql(place, "INSERT INTO trash(series) VALUES(1)");
    place_start(place);
    assert_int_equal(writer_compact(place->writer, &error), STATUS_OK);
    storage_stats(place->storage, &stats);
    assert_int_equal(stats.points, 3000);
    assert_true(place_sql_number(place, "SELECT count(*) FROM chunk WHERE series = 1") > 0);
    assert_int_equal(storage_check(place->storage, count_lines, &lines, &error), STATUS_CORRUPT);
    assert_true(lines >= 1);
}

/* The flush that meets the damage travels in a commit which has points for the same series. */
static void damage_met_by_a_commit(void **state)
{
    struct place *place = *state;
    struct error error = {0};
    struct storage_stats stats;
    struct storage_reader *reader;
    static struct point points[9000];
    size_t count;
    assert_int_equal(place_write(place, 1000, 20, &error), STATUS_OK);
    assert_int_equal(writer_compact(place->writer, &error), STATUS_OK);
    place_stop(place);
    place_sql(place,
              "UPDATE chunk SET data = zeroblob(length(data)), count = 1000000 WHERE id < 0");
    place->tail_bytes_max = 16000;
    place_start(place);
    assert_int_equal(place_write(place, 900, 10, &error), STATUS_OK); /* late */
    for (int i = 0; i < 80; i++) {
        assert_int_equal(place_write(place, 2000 + i * 100, 100, &error), STATUS_OK);
    }
    assert_int_equal(place_sql_number(place, "SELECT count(*) FROM damaged"), 1);
    assert_int_equal(storage_reader_open(place->storage, &reader, &error), STATUS_OK);
    for (int round = 0; round < 2; round++) {
        assert_int_equal(storage_read(reader, 1, 0, 20000, points, 9000, &count, &error),
                         STATUS_OK);
        assert_int_equal(count, 8010);
        for (size_t i = 1; i < count; i++) {
            assert_true(points[i - 1].time_ms < points[i].time_ms);
        }
        assert_int_equal(writer_compact(place->writer, &error), STATUS_OK);
    }
    storage_stats(place->storage, &stats);
    assert_int_equal(stats.journal_points, 0);
    storage_reader_close(reader);
}

/* The store goes on with what is sound; what is not is kept for inspection, and counted. */
static void damaged_journal_rows_are_set_aside(void **state)
{
    struct place *place = *state;
    struct error error = {0};
    struct storage_stats stats;
    int lines = 0;
    for (int i = 0; i < 3; i++) {
        assert_int_equal(place_write(place, i * 100, 100, &error), STATUS_OK);
    }
    place_stop(place);
    place_sql(place, "UPDATE journal SET data = zeroblob(length(data)) WHERE seq = 2");
    assert_int_equal(place_open_status(place, true, &error), STATUS_OK); /* and changes nothing */
    assert_int_equal(place_sql_number(place, "SELECT count(*) FROM damaged"), 0);
    place_start(place);
    storage_stats(place->storage, &stats);
    assert_int_equal(stats.points, 200);
    assert_int_equal(stats.damaged, 1);
    assert_int_equal(place_sql_number(place, "SELECT count(*) FROM journal"), 2);
    assert_int_equal(place_sql_number(place, "SELECT first_ms FROM damaged WHERE series = 0"), 2);
    assert_int_equal(storage_check(place->storage, count_lines, &lines, &error), STATUS_CORRUPT);
    assert_int_equal(lines, 1); /* that it was set aside */
    assert_int_equal(place_write(place, 100, 100, &error), STATUS_OK);
    assert_int_equal(writer_compact(place->writer, &error), STATUS_OK);
    place_stop(place);
    place_start(place);
    storage_stats(place->storage, &stats);
    assert_int_equal(stats.points, 300);
    assert_int_equal(stats.damaged, 0);
}

static void refuse(struct sqlite3_context *context, int count, struct sqlite3_value **values)
{
    (void)count;
    sqlite3_result_error_code(context, sqlite3_value_int(values[0]));
}

/* Of a check where that column of those chunks cannot be read, for each of the reasons that say
 * nothing about the store. */
static void expect_no_finding(struct place *place, const char *column, const char *where)
{
    static const struct {
        int code;
        enum status status;
    } reasons[] = {{SQLITE_NOMEM, STATUS_NO_MEMORY},
                   {SQLITE_IOERR, STATUS_IO},
                   {SQLITE_BUSY, STATUS_BUSY},
                   {SQLITE_FULL, STATUS_NO_SPACE}};
    struct check_options options = {.retention_ms = 1000};
    for (size_t i = 0; i < sizeof reasons / sizeof reasons[0]; i++) {
        char text[400];
        int lines = 0;
        struct error error = {0};
        struct sqlite3 *db = place_sql_reader(place);
        snprintf(text, sizeof text,
                 "CREATE TEMP VIEW chunk AS SELECT id, series, first_ms, count, %s, CASE WHEN %s"
                 " THEN refuse(%d) ELSE %s END AS %s FROM main.chunk",
                 strcmp(column, "data") == 0 ? "state" : "data", where, reasons[i].code, column,
                 column);
        assert_int_equal(
            sqlite3_create_function(db, "refuse", 1, SQLITE_UTF8, NULL, refuse, NULL, NULL),
            SQLITE_OK);
        assert_int_equal(sqlite3_exec(db, text, NULL, NULL, NULL), SQLITE_OK);
        assert_int_equal(sqlite_check_database(db, &options, count_lines, &lines, &error),
                         reasons[i].status);
        assert_int_equal(lines, 0);
        assert_int_equal(sqlite3_close(db), SQLITE_OK);
    }
}

/* A check that memory or the disk does not let see all tells of nothing that it has not seen. */
static void what_was_not_seen_is_not_damaged(void **state)
{
    struct place *place = *state;
    struct error error = {0};
    assert_int_equal(place_write(place, 0, 20000, &error), STATUS_OK);
    assert_int_equal(writer_compact(place->writer, &error), STATUS_OK);
    place_stop(place);
    /* No newest point: nothing can be older than the retention. */
    expect_no_finding(place, "state", "id < 0");
    /* The statistics come before all chunks that they are about. */
    place_sql(place, "UPDATE chunk SET first_ms = NULL, count = 0, data = x'' WHERE id < 0");
    expect_no_finding(place, "data", "id > 0");
}

/* Spans that nobody wrote here, or that were changed: what can be read is taken, the rest is left
 * out, and nothing that is learned from is lost. */
static void damaged_spans_are_left_out(void **state)
{
    struct place *place = *state;
    struct error error = {0};
    struct time_spans spans;
    assert_int_equal(place_write(place, 0, 100, &error), STATUS_OK);
    place_stop(place);
    place_sql(place,
              "INSERT INTO excluded VALUES(1, 10, 20), (1, 15, 30), (1, 40, 40), (1, 50, 45),"
              " (1, 60, 9223372036854775807), (1, 70, 80), (0, 1, 2), (-7, 1, 2), (2, 1, 2),"
              " (4294967297, 1, 2), (9223372036854775807, 1, 2)");
    place_start(place);
    storage_series_excluded(place->storage, 1, &spans);
    assert_int_equal(spans.count, 2);
    assert_int_equal(spans.at[0].from_ms, 10);
    assert_int_equal(spans.at[0].to_ms, 20);
    assert_int_equal(spans.at[1].from_ms, 60);
    place_stop(place);
    place_sql(place,
              "DELETE FROM excluded;"
              "WITH RECURSIVE n(i) AS (VALUES(0) UNION ALL SELECT i + 1 FROM n WHERE i < 999)"
              "INSERT INTO excluded SELECT 1, i * 10, i * 10 + 5 FROM n");
    place_start(place);
    storage_series_excluded(place->storage, 1, &spans);
    assert_int_equal(spans.count, TIME_SPANS_MAX);
    assert_int_equal(spans.at[TIME_SPANS_MAX - 1].to_ms, 315);
    spans.count = 0; /* what was left out goes with the rest */
    struct write_batch *batch;
    assert_int_equal(write_batch_new(place->storage, 1, &batch, &error), STATUS_OK);
    assert_int_equal(write_batch_excluded(batch, 1, &spans, &error), STATUS_OK);
    assert_int_equal(writer_write_take(place->writer, batch, NULL, &error), STATUS_OK);
    assert_int_equal(place_sql_number(place, "SELECT count(*) FROM excluded"), 0);
    place_stop(place);
    place_sql(place, "DROP TABLE excluded");
    int lines = 0;
    struct error missing = {0};
    assert_int_not_equal(place_open_status(place, false, &missing), STATUS_OK);
    assert_int_equal(storage_check_folder(place->directory, 0, count_lines, &lines, &error),
                     STATUS_CORRUPT);
    assert_int_equal(lines, 1);
    place_sql(place,
              "CREATE TABLE excluded(series INTEGER NOT NULL, from_ms INTEGER NOT NULL,"
              " to_ms INTEGER NOT NULL, PRIMARY KEY(series, from_ms)) STRICT, WITHOUT ROWID");
    place_start(place);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(damage_is_found_and_set_aside, place_setup, place_teardown),
        cmocka_unit_test_setup_teardown(
            points_of_a_series_that_was_never_made_keep_the_store_closed, place_setup,
            place_teardown),
        cmocka_unit_test_setup_teardown(chunks_out_of_order_are_not_read, place_setup,
                                        place_teardown),
        cmocka_unit_test_setup_teardown(chunks_that_overlap_are_not_read, place_setup,
                                        place_teardown),
        cmocka_unit_test_setup_teardown(a_series_that_is_there_is_not_removed, place_setup,
                                        place_teardown),
        cmocka_unit_test_setup_teardown(damage_met_by_a_commit, place_setup, place_teardown),
        cmocka_unit_test_setup_teardown(damaged_journal_rows_are_set_aside, place_setup,
                                        place_teardown),
        cmocka_unit_test_setup_teardown(what_was_not_seen_is_not_damaged, place_setup,
                                        place_teardown),
        cmocka_unit_test_setup_teardown(damaged_spans_are_left_out, place_setup, place_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
