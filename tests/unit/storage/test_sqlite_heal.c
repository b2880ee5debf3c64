/* The SQLite driver goes on beside damage: chunks that readers meet are set aside, and series that
 * need a damaged page wait until it is sound again. SPDX-License-Identifier: Apache-2.0
 */
#include "tests/unit/storage/place.h"

#include "base/clock.h"
#include "base/hash.h"
#include "base/random.h"

#include <setjmp.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { POINTS = 20000, PAGE_BYTES = 4096, GAP = 10000 };

static struct point points[2 * POINTS];

static struct storage_stats stats_of(struct place *place)
{
    struct storage_stats stats;
    storage_stats(place->storage, &stats);
    return stats;
}

/* Its bits follow no rule, so that a chunk holds few and there are many pages. */
static enum status noise_write(struct place *place, const char *name, int64_t first, size_t count,
                               struct error *error)
{
    struct write_batch *batch;
    struct random random;
    uint32_t series;
    random_init(&random, (uint64_t)first, hash_crc32c(0, name, strlen(name)));
    assert_int_equal(write_batch_new(place->storage, count, &batch, error), STATUS_OK);
    assert_int_equal(write_batch_series(batch, name, strlen(name), &series, error), STATUS_OK);
    for (size_t i = 0; i < count; i++) {
        struct point point = {first + (int64_t)i, random_normal(&random)};
        assert_int_equal(write_batch_point(batch, series, point, error), STATUS_OK);
    }
    return writer_write_take(place->writer, batch, NULL, error);
}

static void chunk_spoil(struct place *place, const char *which)
{
    char text[200];
    snprintf(text, sizeof text,
             "UPDATE chunk SET data = zeroblob(length(data)) WHERE id > 0 AND id = %s", which);
    place_sql(place, text);
}

/* POINTS in chunks, one of which is spoiled. */
static void spoiled_start(struct place *place, int64_t first, const char *which)
{
    struct error error = {0};
    assert_int_equal(noise_write(place, "a", first, POINTS, &error), STATUS_OK);
    assert_int_equal(writer_compact(place->writer, &error), STATUS_OK);
    place_stop(place);
    chunk_spoil(place, which);
    place_start(place);
}

static void assert_healed(struct place *place, struct storage_reader *reader)
{
    struct error error = {0};
    size_t count, newest;
    assert_int_equal(place_sql_number(place, "SELECT count(*) FROM damaged"), 1);
    assert_int_equal(stats_of(place).damaged, 1);
    assert_int_equal(storage_read(reader, 1, 0, INT64_MAX, points, POINTS, &count, &error),
                     STATUS_OK);
    assert_in_range(count, POINTS / 2, POINTS - 1);
    assert_int_equal(count, stats_of(place).points);
    assert_int_equal(storage_read_last(reader, 1, points, POINTS, &newest, &error), STATUS_OK);
    assert_int_equal(newest, count);
}

static void what_a_reader_meets_is_set_aside(void **state)
{
    struct place *place = *state;
    struct error error = {0};
    struct storage_reader *reader;
    size_t count;
    spoiled_start(place, 0, "5");
    assert_int_equal(storage_reader_open(place->storage, &reader, &error), STATUS_OK);
    assert_int_equal(storage_read_last(reader, 1, points, POINTS, &count, &error), STATUS_CORRUPT);
    assert_int_equal(writer_compact(place->writer, &error), STATUS_OK);
    assert_healed(place, reader);
    storage_reader_close(reader);
}

/* The daemon's own pace: nobody asks for compaction. */
static void the_writer_comes_by(void **state)
{
    struct place *place = *state;
    struct error error = {0};
    struct storage_reader *reader;
    size_t count;
    spoiled_start(place, 0, "5");
    assert_int_equal(storage_reader_open(place->storage, &reader, &error), STATUS_OK);
    enum status status = STATUS_CORRUPT;
    for (int i = 0; i < 300 && status == STATUS_CORRUPT; i++) {
        status = storage_read(reader, 1, 0, POINTS, points, POINTS, &count, &error);
        clock_sleep_ms(status == STATUS_OK ? 0 : 100);
    }
    assert_int_equal(status, STATUS_OK);
    assert_healed(place, reader);
    storage_reader_close(reader);
}

/* The newest full chunk is in the window that a start fills. */
static void what_a_start_meets_is_set_aside(void **state)
{
    struct place *place = *state;
    struct error error = {0};
    struct storage_reader *reader;
    spoiled_start(place, 0, "(SELECT max(id) FROM chunk)");
    assert_int_equal(writer_compact(place->writer, &error), STATUS_OK);
    assert_int_equal(storage_reader_open(place->storage, &reader, &error), STATUS_OK);
    assert_healed(place, reader);
    storage_reader_close(reader);
}

static void downsampling_goes_on_behind_damage(void **state)
{
    struct place *place = *state;
    struct error error = {0};
    int64_t first = clock_wall_ms() / 1000 * 1000 - INT64_C(100) * 86400000;
    spoiled_start(place, first, "5");
    place_stop(place);
    place->rules = "1d:1s";
    place_start(place);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(writer_compact(place->writer, &error), STATUS_OK);
    }
    assert_int_equal(place_sql_number(place, "SELECT count(*) FROM damaged"), 1);
    /* A point a second, and the newest second. */
    assert_in_range(stats_of(place).points, 1000, 1200);
}

/* ---------------------------------------------------------------- a bad page */

struct page {
    long at;
    unsigned char bytes[PAGE_BYTES];
};

static FILE *database_open(struct place *place)
{
    char path[192];
    snprintf(path, sizeof path, "%s/forecastd.db", place->directory);
    FILE *file = fopen(path, "r+b");
    assert_non_null(file);
    return file;
}

static void page_write(struct place *place, const struct page *page, bool sound)
{
    static const unsigned char zeros[PAGE_BYTES];
    FILE *file = database_open(place);
    assert_int_equal(fseek(file, page->at, SEEK_SET), 0);
    assert_int_equal(fwrite(sound ? page->bytes : zeros, PAGE_BYTES, 1, file), 1);
    assert_int_equal(fclose(file), 0);
}

/* The page with the chunk of a series that a point at that time belongs to; the store is closed. */
static void page_find(struct place *place, uint32_t series, int64_t time_ms, struct page *page)
{
    static unsigned char all[16 << 20];
    FILE *file = database_open(place);
    size_t length = fread(all, 1, sizeof all, file);
    assert_int_equal(fclose(file), 0);
    struct sqlite3 *db = place_sql_reader(place);
    struct sqlite3_stmt *statement = NULL;
    assert_int_equal(sqlite3_prepare_v2(db,
                                        "SELECT data FROM chunk WHERE series = ?2 AND id > 4 AND"
                                        " first_ms <= ?1 ORDER BY first_ms DESC LIMIT 1",
                                        -1, &statement, NULL),
                     SQLITE_OK);
    sqlite3_bind_int64(statement, 1, time_ms);
    sqlite3_bind_int64(statement, 2, series);
    assert_int_equal(sqlite3_step(statement), SQLITE_ROW);
    const unsigned char *found = memmem(all, length, sqlite3_column_blob(statement, 0),
                                        (size_t)sqlite3_column_bytes(statement, 0));
    assert_non_null(found);
    page->at = (found - all) / PAGE_BYTES * PAGE_BYTES;
    memcpy(page->bytes, all + page->at, PAGE_BYTES);
    sqlite3_finalize(statement);
    sqlite3_close(db);
}

/* Series "a" in chunks, a gap of one point among them, and the page around it is bad. Little may
 * wait in memory. */
static void bad_page_start(struct place *place, struct page *page)
{
    struct error error = {0};
    assert_int_equal(noise_write(place, "a", 0, GAP, &error), STATUS_OK);
    assert_int_equal(noise_write(place, "a", GAP + 1, GAP, &error), STATUS_OK);
    assert_int_equal(writer_compact(place->writer, &error), STATUS_OK);
    place_stop(place);
    page_find(place, 1, GAP, page);
    page_write(place, page, false);
    place->tail_bytes_max = 16000;
    place_start(place);
    assert_int_equal(noise_write(place, "a", GAP, 1, &error),
                     STATUS_OK); /* late, and belongs there */
}

static void one_bad_page_stops_its_series_alone(void **state)
{
    struct place *place = *state;
    struct error error = {0};
    struct storage_reader *reader;
    struct page page;
    size_t count;
    bad_page_start(place, &page);
    for (int round = 0; round < 2; round++) { /* the second time after a start */
        for (int i = 0; i < 80; i++) {
            int64_t first = round * POINTS + i * 100;
            assert_int_equal(noise_write(place, "b", first, 100, &error), STATUS_OK);
        }
        assert_int_equal(noise_write(place, "a", 3 * POINTS + round, 1, &error), STATUS_OK);
        assert_int_equal(stats_of(place).stuck, 1);
        assert_int_equal(stats_of(place).commit_failures, 0);
        /* The journal is trimmed although it has points of that series. */
        assert_in_range(place_sql_number(place, "SELECT count(*) FROM journal"), 1, 50);
        place_stop(place);
        place_start(place);
    }
    place_stop(place);
    page_write(place, &page, true);
    place_start(place);
    assert_int_equal(writer_compact(place->writer, &error), STATUS_OK);
    assert_int_equal(stats_of(place).stuck, 0);
    assert_int_equal(stats_of(place).journal_points, 0);
    assert_int_equal(place_sql_number(place, "SELECT count(*) FROM journal"), 0);
    assert_int_equal(storage_reader_open(place->storage, &reader, &error), STATUS_OK);
    assert_int_equal(storage_read(reader, 1, 0, INT64_MAX, points, 2 * POINTS, &count, &error),
                     STATUS_OK);
    assert_int_equal(count, 2 * GAP + 1 + 2);
    assert_int_equal(points[GAP].time_ms, GAP);
    assert_int_equal(storage_read(reader, 2, 0, INT64_MAX, points, 2 * POINTS, &count, &error),
                     STATUS_OK);
    assert_int_equal(count, 2 * 80 * 100);
    assert_int_equal(storage_check(place->storage, NULL, NULL, &error), STATUS_OK);
    storage_reader_close(reader);
}

/* All that a clean end does; then the series goes, and its chunks cannot. */
static void an_end_beside_a_bad_page(void **state)
{
    struct place *place = *state;
    struct error error = {0};
    struct page page;
    struct write_batch *batch;
    bad_page_start(place, &page);
    assert_int_equal(noise_write(place, "b", 0, 100, &error), STATUS_OK);
    assert_int_equal(writer_compact(place->writer, &error), STATUS_OK);
    assert_int_equal(stats_of(place).stuck, 1);
    assert_int_equal(stats_of(place).journal_points, 1);
    assert_int_equal(write_batch_new(place->storage, 1, &batch, &error), STATUS_OK);
    assert_int_equal(write_batch_delete(batch, 1, &error), STATUS_OK);
    assert_int_equal(writer_write_take(place->writer, batch, NULL, &error), STATUS_OK);
    assert_int_equal(writer_compact(place->writer, &error), STATUS_OK);
    assert_int_equal(stats_of(place).stuck, 0);
    assert_int_equal(stats_of(place).journal_points, 0);
    assert_int_equal(place_sql_number(place, "SELECT count(*) FROM trash"), 1);
}

/* More of them than one transaction tries to leave out. */
static void many_bad_pages(void **state)
{
    enum { BAD = 20, LONG = 2000 };
    static struct page pages[BAD];
    struct place *place = *state;
    struct error error = {0};
    char name[BAD][8];
    for (int i = 0; i < BAD; i++) {
        snprintf(name[i], sizeof name[i], "s%d", i);
        assert_int_equal(noise_write(place, name[i], 0, LONG, &error), STATUS_OK);
    }
    assert_int_equal(noise_write(place, "z", 0, LONG, &error), STATUS_OK);
    assert_int_equal(writer_compact(place->writer, &error), STATUS_OK);
    place_stop(place);
    for (int i = 0; i < BAD; i++) {
        page_find(place, (uint32_t)i + 1, LONG / 2, &pages[i]);
    }
    for (int i = 0; i < BAD; i++) {
        page_write(place, &pages[i], false);
    }
    place->tail_bytes_max = 16000;
    place_start(place);
    for (int i = 0; i < BAD; i++) {
        assert_int_equal(noise_write(place, name[i], LONG / 2, 1, &error), STATUS_OK);
    }
    for (int i = 0; i < 40; i++) {
        assert_int_equal(noise_write(place, "b", i * 100, 100, &error), STATUS_OK);
    }
    assert_int_equal(stats_of(place).stuck, BAD);
    assert_int_equal(stats_of(place).commit_failures, 0);
    assert_in_range(place_sql_number(place, "SELECT count(*) FROM journal"), 1, 50);
    place_stop(place);
    for (int i = 0; i < BAD; i++) {
        page_write(place, &pages[i], true);
    }
    place_start(place);
    assert_int_equal(writer_compact(place->writer, &error), STATUS_OK);
    assert_int_equal(stats_of(place).stuck, 0);
    assert_int_equal(stats_of(place).journal_points, 0);
}

/* Memory has a bound: where too much waits it is said, and nothing more is taken. */
static void stuck_points_have_a_bound(void **state)
{
    struct place *place = *state;
    struct error error = {0};
    struct page page;
    bad_page_start(place, &page);
    enum status status = STATUS_OK;
    int batches = 0;
    for (; batches < 100 && status == STATUS_OK; batches++) {
        status = noise_write(place, "a", 3 * POINTS + batches * 100, 100, &error);
    }
    assert_int_equal(status, STATUS_CORRUPT);
    assert_in_range(batches, 5, 30);
    assert_int_equal(stats_of(place).journal_points, 1 + (batches - 1) * 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_a_reader_meets_is_set_aside, place_setup,
                                        place_teardown),
        cmocka_unit_test_setup_teardown(the_writer_comes_by, place_setup, place_teardown),
        cmocka_unit_test_setup_teardown(what_a_start_meets_is_set_aside, place_setup,
                                        place_teardown),
        cmocka_unit_test_setup_teardown(downsampling_goes_on_behind_damage, place_setup,
                                        place_teardown),
        cmocka_unit_test_setup_teardown(one_bad_page_stops_its_series_alone, place_setup,
                                        place_teardown),
        cmocka_unit_test_setup_teardown(an_end_beside_a_bad_page, place_setup, place_teardown),
        cmocka_unit_test_setup_teardown(many_bad_pages, place_setup, place_teardown),
        cmocka_unit_test_setup_teardown(stuck_points_have_a_bound, place_setup, place_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
