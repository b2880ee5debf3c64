/* What any store does with points: order, updates, late ones, missing ones, ends, big batches.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "tests/contract/fixture.h"

#include "base/check.h"
#include "base/clock.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void points_in_order(void **state)
{
    struct fixture *f = *state;
    struct write_result result = put(f, "a", 1000, 1.5);
    assert_int_equal(result.accepted, 1);
    assert_int_equal(result.updated, 0);
    assert_int_equal(result.late, 0);
    put(f, "a", 2000, 2.5);
    put(f, "b", 1000, -1);
    const struct point a[] = {{1000, 1.5}, {2000, 2.5}};
    const struct point b[] = {{1000, -1}};
    for (int round = 0; round < 3; round++) {
        assert_points(f, "a", a, 2);
        assert_points(f, "b", b, 1);
        assert_int_equal(storage_series_count(f->storage), 2);
        round == 0 ? compact(f) : fixture_reopen(f);
    }
}

static void last_write_wins(void **state)
{
    struct fixture *f = *state;
    for (int i = 0; i < 10; i++) {
        put(f, "a", i * 1000, i);
    }
    compact(f);
    struct write_result result = put(f, "a", 3000, 33);
    assert_int_equal(result.updated, 1);
    assert_int_equal(result.late, 0);
    result = put(f, "a", 9000, 99); /* the newest */
    assert_int_equal(result.updated, 1);
    result = put(f, "a", 3000, 34); /* again, while the first waits */
    assert_int_equal(result.updated, 1);
    struct point expected[10];
    for (int i = 0; i < 10; i++) {
        expected[i] = (struct point){i * 1000, i == 3 ? 34 : i == 9 ? 99 : i};
    }
    assert_points(f, "a", expected, 10);
    fixture_reopen(f);
    assert_points(f, "a", expected, 10);
    compact(f);
    assert_points(f, "a", expected, 10);
    fixture_reopen(f);
    assert_points(f, "a", expected, 10);
    assert_int_equal(info(f, "a").updated, 3);
    assert_int_equal(info(f, "a").late, 0);
}

static void duplicates_in_one_batch(void **state)
{
    struct fixture *f = *state;
    struct write_batch *batch = batch_begin(f);
    batch_point(batch, "a", 5, 1);
    batch_point(batch, "a", 5, 2);
    batch_point(batch, "a", 5, 3);
    struct write_result result = batch_commit(f, batch);
    assert_int_equal(result.accepted, 3);
    assert_int_equal(result.updated, 2);
    const struct point expected[] = {{5, 3}};
    assert_points(f, "a", expected, 1);
    fixture_reopen(f);
    assert_points(f, "a", expected, 1);
}

static void late_points(void **state)
{
    struct fixture *f = *state;
    put(f, "a", 100, 1);
    put(f, "a", 300, 3);
    struct write_result result = put(f, "a", 200, 2);
    assert_int_equal(result.late, 1);
    assert_int_equal(result.updated, 0);
    compact(f);
    result = put(f, "a", 50, 0.5);
    assert_int_equal(result.late, 1);
    result = put(f, "a", 250, 2.5);
    assert_int_equal(result.late, 1);
    const struct point expected[] = {{50, 0.5}, {100, 1}, {200, 2}, {250, 2.5}, {300, 3}};
    assert_points(f, "a", expected, 5);
    compact(f);
    assert_points(f, "a", expected, 5);
    fixture_reopen(f);
    assert_points(f, "a", expected, 5);
    assert_int_equal(info(f, "a").late, 3);
    assert_int_equal(info(f, "a").updated, 0);
}

static void backwards(void **state)
{
    struct fixture *f = *state;
    enum { COUNT = 5000 };
    static struct point expected[COUNT];
    struct write_batch *batch = batch_begin(f);
    for (int i = COUNT - 1; i >= 0; i--) {
        expected[i] = (struct point){i * 60000, (i * 37 % 1000) / 100.0};
        batch_point(batch, "a", expected[i].time_ms, expected[i].value);
        if (i % 700 == 0) {
            batch_commit(f, batch);
            batch = batch_begin(f);
            if (i % 1400 == 0) {
                compact(f);
            }
        }
    }
    batch_commit(f, batch);
    assert_points(f, "a", expected, COUNT);
    compact(f);
    assert_points(f, "a", expected, COUNT);
    fixture_reopen(f);
    assert_points(f, "a", expected, COUNT);
    assert_int_equal(info(f, "a").late, COUNT - 1);
}

static void missing_values(void **state)
{
    struct fixture *f = *state;
    struct point expected[100];
    for (int i = 0; i < 100; i++) {
        expected[i] = (struct point){i * 10, i % 7 == 0 || i > 90 ? (double)NAN : i / 4.0};
        put(f, "a", expected[i].time_ms, expected[i].value);
    }
    assert_points(f, "a", expected, 100);
    compact(f);
    fixture_reopen(f);
    assert_points(f, "a", expected, 100);
    struct write_batch *batch = batch_begin(f);
    uint32_t number;
    struct error error = {0};
    assert_int_equal(write_batch_series(batch, "a", 1, &number, &error), STATUS_OK);
    assert_int_equal(write_batch_point(batch, number, (struct point){1, (double)INFINITY}, &error),
                     STATUS_INVALID);
    write_batch_free(batch);
}

static void odd_values(void **state)
{
    struct fixture *f = *state;
    const double values[] = {0.0,
                             -0.0,
                             1e308,
                             -1e308,
                             4.9e-324,
                             0.1 + 0.2,
                             1e-9,
                             123456,
                             -1e15,
                             9007199254740993.0,
                             3.14159265358979,
                             5e300};
    struct point expected[ARRAY_COUNT(values)];
    for (size_t i = 0; i < ARRAY_COUNT(values); i++) {
        expected[i] = (struct point){(int64_t)i * 1000 - 5000, values[i]};
        put(f, "a", expected[i].time_ms, values[i]);
    }
    assert_points(f, "a", expected, ARRAY_COUNT(values));
    compact(f);
    fixture_reopen(f);
    assert_points(f, "a", expected, ARRAY_COUNT(values));
}

static void end_marker(struct fixture *f, const char *series, int64_t time_ms)
{
    struct write_batch *batch = batch_begin(f);
    uint32_t number;
    struct error error = {0};
    assert_int_equal(write_batch_series(batch, series, strlen(series), &number, &error), STATUS_OK);
    assert_int_equal(write_batch_end(batch, number, time_ms, &error), STATUS_OK);
    struct write_result result = batch_commit(f, batch);
    assert_int_equal(result.accepted, 0);
}

static void ends(void **state)
{
    struct fixture *f = *state;
    put(f, "a", 1000, 1);
    assert_false(info(f, "a").ended);
    end_marker(f, "a", 2000);
    assert_true(info(f, "a").ended);
    put(f, "a", 1500, 1); /* late, not newer than the marker */
    assert_true(info(f, "a").ended);
    fixture_reopen(f);
    assert_true(info(f, "a").ended);
    compact(f);
    fixture_reopen(f);
    assert_true(info(f, "a").ended);
    put(f, "a", 3000, 1);
    assert_false(info(f, "a").ended);
    end_marker(f, "a", 2500); /* a marker that came too late */
    assert_false(info(f, "a").ended);
    fixture_reopen(f);
    assert_false(info(f, "a").ended);
    assert_int_equal(info(f, "a").points, 3);
}

static void truncated_batch(void **state)
{
    struct fixture *f = *state;
    struct write_batch *batch = batch_begin(f);
    batch_point(batch, "a", 1, 1);
    size_t mark = write_batch_points(batch);
    batch_point(batch, "a", 2, 2);
    batch_point(batch, "unwanted", 2, 2);
    write_batch_truncate(batch, mark);
    batch_point(batch, "a", 3, 3);
    struct write_result result = batch_commit(f, batch);
    assert_int_equal(result.accepted, 2);
    assert_int_equal(find(f, "unwanted"), 0);
    const struct point expected[] = {{1, 1}, {3, 3}};
    assert_points(f, "a", expected, 2);
}

static void batch_limit(void **state)
{
    struct fixture *f = *state;
    struct write_batch *batch;
    struct error error = {0};
    uint32_t number;
    assert_int_equal(write_batch_new(f->storage, 2, &batch, &error), STATUS_OK);
    assert_int_equal(write_batch_series(batch, "a", 1, &number, &error), STATUS_OK);
    assert_int_equal(write_batch_point(batch, number, (struct point){1, 1}, &error), STATUS_OK);
    assert_int_equal(write_batch_point(batch, number, (struct point){2, 1}, &error), STATUS_OK);
    assert_int_equal(write_batch_point(batch, number, (struct point){3, 1}, &error),
                     STATUS_TOO_LARGE);
    write_batch_free(batch);
}

static void big_batch(void **state)
{
    struct fixture *f = *state;
    enum { SERIES = 50, TICKS = 2000 };
    static struct point expected[TICKS];
    struct write_batch *batch = batch_begin(f);
    char name[32];
    for (int t = 0; t < TICKS; t++) {
        expected[t] = (struct point){t * 1000, t / 8.0};
        for (int s = 0; s < SERIES; s++) {
            snprintf(name, sizeof name, "s{n=\"%d\"}", s);
            batch_point(batch, name, expected[t].time_ms, expected[t].value);
        }
    }
    struct write_result result = batch_commit(f, batch);
    assert_int_equal(result.accepted, SERIES * TICKS);
    assert_int_equal(result.updated, 0);
    for (int round = 0; round < 3; round++) {
        for (int s = 0; s < SERIES; s += 7) {
            snprintf(name, sizeof name, "s{n=\"%d\"}", s);
            assert_points(f, name, expected, TICKS);
        }
        round == 0 ? fixture_reopen(f) : compact(f);
    }
    struct storage_stats stats;
    storage_stats(f->storage, &stats);
    assert_int_equal(stats.points, SERIES * TICKS);
    assert_int_equal(stats.series, SERIES);
    assert_true(stats.writable);
}

static void scattered_late(void **state)
{
    struct fixture *f = *state;
    enum { COUNT = 12000 };
    static struct point expected[COUNT];
    struct write_batch *batch = batch_begin(f);
    for (int i = 0; i < COUNT; i++) { /* even times first, odd ones in shuffled order later */
        expected[i] = (struct point){i * 500, (i * 7919 % 5003) / 10.0};
        if (i % 2 == 0) {
            batch_point(batch, "a", expected[i].time_ms, expected[i].value);
        }
    }
    batch_commit(f, batch);
    compact(f);
    uint64_t late = 0;
    for (int part = 0; part < 4; part++) {
        batch = batch_begin(f);
        for (int k = part; k < COUNT / 2; k += 4) {
            int i = (k * 2477 % (COUNT / 2)) * 2 + 1;
            batch_point(batch, "a", expected[i].time_ms, expected[i].value);
        }
        late += batch_commit(f, batch).late;
        part % 2 == 0 ? compact(f) : fixture_reopen(f);
    }
    assert_int_equal(late, COUNT / 2 - 1); /* one of them is the newest of all */
    assert_points(f, "a", expected, COUNT);
    compact(f);
    assert_points(f, "a", expected, COUNT);
    struct error error = {0};
    assert_int_equal(storage_check(f->storage, NULL, NULL, &error), STATUS_OK);
}

static void unknown_series(void **state)
{
    struct fixture *f = *state;
    struct point point;
    size_t count;
    bool complete;
    struct error error = {0};
    assert_int_equal(storage_read(f->reader, 77, 0, 10, &point, 1, &count, &error),
                     STATUS_NOT_FOUND);
    assert_int_equal(storage_read_last(f->reader, 77, &point, 1, &count, &error), STATUS_NOT_FOUND);
    assert_int_equal(storage_tail(f->storage, 77, &point, 1, &complete), 0);
    assert_int_equal(find(f, "nothing"), 0);
}

static void retention(void **state)
{
    struct fixture *f = *state;
    enum { COUNT = 4000 };
    const int64_t hour = 3600000;
    static struct point expected[COUNT];
    int64_t start = clock_wall_ms() - COUNT / 2 * hour - hour / 2;
    struct write_batch *batch = batch_begin(f);
    for (int i = 0; i < COUNT; i++) {
        expected[i] = (struct point){start + i * hour, i % 100 / 4.0};
        batch_point(batch, "a", expected[i].time_ms, expected[i].value);
    }
    batch_commit(f, batch);
    compact(f);
    struct series_settings settings = {.has_retention = true, .retention_ms = 500 * hour};
    struct error error = {0};
    batch = batch_begin(f);
    assert_int_equal(write_batch_settings(batch, find(f, "a"), &settings, &error), STATUS_OK);
    batch_commit(f, batch);
    compact(f);
    int kept = COUNT / 2 - 500 + 1; /* the first one inside: half an hour later than the cutoff */
    assert_points(f, "a", expected + kept, COUNT - (size_t)kept);
    fixture_reopen(f);
    assert_points(f, "a", expected + kept, COUNT - (size_t)kept);
    assert_int_equal(storage_check(f->storage, NULL, NULL, &error), STATUS_OK);
}

/* The store's retention, points that wait in the journal among them, and series that differ. */
static void retention_of_the_store(void **state)
{
    struct fixture *f = *state;
    enum { COUNT = 200 };
    const int64_t hour = 3600000;
    struct point expected[COUNT];
    struct error error = {0};
    int64_t start = clock_wall_ms() - COUNT * hour + hour / 2;
    fixture_stop(f);
    f->options.retention_ms = 100 * hour;
    fixture_start(f);
    put(f, "kept", start, 1);
    put(f, "short", start, 1);
    struct write_batch *batch = batch_begin(f);
    struct series_settings longer = {.has_retention = true, .retention_ms = 1000 * hour};
    struct series_settings shorter = {.has_retention = true, .retention_ms = 10 * hour};
    assert_int_equal(write_batch_settings(batch, find(f, "kept"), &longer, &error), STATUS_OK);
    assert_int_equal(write_batch_settings(batch, find(f, "short"), &shorter, &error), STATUS_OK);
    batch_commit(f, batch);
    for (int round = 0; round < 2; round++) { /* the second time behind what chunks hold */
        batch = batch_begin(f);
        for (int i = 0; i < COUNT; i++) {
            expected[i] = (struct point){start + i * hour, i};
            batch_point(batch, "usual", expected[i].time_ms, i);
            batch_point(batch, "kept", expected[i].time_ms, i);
            batch_point(batch, "short", expected[i].time_ms, i);
        }
        batch_commit(f, batch);
        compact(f);
        assert_points(f, "kept", expected, COUNT);
        assert_points(f, "usual", expected + 100, COUNT - 100);
        assert_points(f, "short", expected + COUNT - 10, 10);
        fixture_reopen(f);
        assert_points(f, "usual", expected + 100, COUNT - 100);
        assert_points(f, "short", expected + COUNT - 10, 10);
    }
    assert_int_equal(storage_check(f->storage, NULL, NULL, &error), STATUS_OK);
}

int main(void)
{
    static const struct contract_test tests[] = {
        {"points_in_order", points_in_order},
        {"last_write_wins", last_write_wins},
        {"duplicates_in_one_batch", duplicates_in_one_batch},
        {"late_points", late_points},
        {"backwards", backwards},
        {"missing_values", missing_values},
        {"odd_values", odd_values},
        {"ends", ends},
        {"truncated_batch", truncated_batch},
        {"batch_limit", batch_limit},
        {"big_batch", big_batch},
        {"scattered_late", scattered_late},
        {"unknown_series", unknown_series},
        {"retention", retention},
        {"retention_of_the_store", retention_of_the_store},
    };
    return contract_run("points", tests, ARRAY_COUNT(tests));
}
