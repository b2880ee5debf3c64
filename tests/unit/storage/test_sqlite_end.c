/* A clean end has a limit: each part of tidying is done in pieces, and looks at the clock between
 * them. The clock of these tests moves on by a step whenever somebody looks at it.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "tests/unit/storage/place.h"

#include "base/clock.h"
#include "base/random.h"

#include <setjmp.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define SECOND_NS INT64_C(1000000000)
#define HOUR_MS   INT64_C(3600000)
#define BEGIN_MS  INT64_C(1790000000000)

enum { SERIES = 900, POINTS = 20, LOOKS = 40, CHUNKED = 240000 };

static _Atomic int64_t monotonic_ns, look_ns;

static int64_t wall(void)
{
    return BEGIN_MS;
}

static int64_t monotonic(void)
{
    return monotonic_ns += look_ns;
}

static void restart(struct place *place, const char *rules)
{
    struct error error = {0};
    struct storage_options options = {.url = place->url};
    struct writer_options writer = {.stepped = true};
    if (place->storage != NULL) {
        place_stop(place);
    }
    assert_int_equal(downsample_parse(rules, &options.downsample, &error), STATUS_OK);
    assert_int_equal(storage_open(&options, &place->storage, &error), STATUS_OK);
    assert_int_equal(writer_start(place->storage, &writer, &place->writer, &error), STATUS_OK);
}

static int setup(void **state)
{
    int failed = place_setup(state);
    look_ns = 0;
    monotonic_ns = SECOND_NS;
    clock_wall_replace(wall);
    clock_monotonic_replace(monotonic);
    restart(*state, "");
    return failed;
}

static int teardown(void **state)
{
    int failed = place_teardown(state);
    clock_wall_replace(NULL);
    clock_monotonic_replace(NULL);
    return failed;
}

/* As long as the clock is looked at LOOKS times. */
static enum status end(struct place *place)
{
    struct error error = {0};
    look_ns = SECOND_NS;
    enum status status =
        writer_compact_until(place->writer, monotonic_ns + LOOKS * SECOND_NS, &error);
    look_ns = 0;
    return status;
}

static void points_write(struct write_batch *batch, const char *name, size_t count, int64_t first,
                         int64_t step_ms)
{
    struct error error = {0};
    struct random random;
    uint32_t series;
    random_init(&random, (uint64_t)first, 1);
    assert_int_equal(write_batch_series(batch, name, strlen(name), &series, &error), STATUS_OK);
    for (size_t i = 0; i < count; i++) {
        struct point point = {first + (int64_t)i * step_ms, random_normal(&random)};
        assert_int_equal(write_batch_point(batch, series, point, &error), STATUS_OK);
    }
}

/* Every series has a cell that is due: they are done some at a time. */
static void an_end_does_not_downsample_everything(void **state)
{
    struct place *place = *state;
    struct error error = {0};
    struct write_batch *batch;
    assert_int_equal(write_batch_new(place->storage, SERIES * POINTS, &batch, &error), STATUS_OK);
    for (int i = 0; i < SERIES; i++) {
        char name[16];
        snprintf(name, sizeof name, "s%d", i);
        points_write(batch, name, POINTS, BEGIN_MS - 72 * HOUR_MS, HOUR_MS / 4);
    }
    assert_int_equal(writer_write_take(place->writer, batch, NULL, &error), STATUS_OK);
    assert_int_equal(writer_compact(place->writer, &error), STATUS_OK);
    restart(place, "1d:1h");
    assert_int_equal(end(place), STATUS_OK);
    int64_t done = place_sql_number(place, "SELECT count(DISTINCT series) FROM downsampled");
    assert_in_range(done, 1, SERIES - 1);
    assert_int_equal(writer_compact(place->writer, &error), STATUS_OK);
    assert_int_equal(place_sql_number(place, "SELECT count(DISTINCT series) FROM downsampled"),
                     SERIES);
    struct storage_stats stats;
    storage_stats(place->storage, &stats);
    /* Of five hours four are one point, and the newest hour waits. */
    assert_int_equal(stats.points, SERIES * (4 + POINTS / 5));
    assert_int_equal(storage_check(place->storage, NULL, NULL, &error), STATUS_OK);
}

/* Much was deleted: neither all of its chunks nor all of its pages go in one piece. */
static void an_end_does_not_free_everything(void **state)
{
    struct place *place = *state;
    struct error error = {0};
    struct write_batch *batch;
    for (int i = 0; i < CHUNKED; i += CHUNKED / 6) {
        assert_int_equal(write_batch_new(place->storage, CHUNKED / 6, &batch, &error), STATUS_OK);
        points_write(batch, "a", CHUNKED / 6, i, 1);
        assert_int_equal(writer_write_take(place->writer, batch, NULL, &error), STATUS_OK);
    }
    assert_int_equal(write_batch_new(place->storage, 100, &batch, &error), STATUS_OK);
    points_write(batch, "b", 100, 0, 1);
    assert_int_equal(writer_write_take(place->writer, batch, NULL, &error), STATUS_OK);
    assert_int_equal(writer_compact(place->writer, &error), STATUS_OK);
    int64_t chunks = place_sql_number(place, "SELECT count(*) FROM chunk WHERE series = 1");
    int64_t pages = place_sql_number(place, "PRAGMA page_count");
    assert_true(chunks > 1500);
    assert_int_equal(write_batch_new(place->storage, 1, &batch, &error), STATUS_OK);
    assert_int_equal(write_batch_delete(batch, 1, &error), STATUS_OK);
    assert_int_equal(writer_write_take(place->writer, batch, NULL, &error), STATUS_OK);
    look_ns = SECOND_NS;
    int64_t until_ns = monotonic_ns + 4 * SECOND_NS;
    assert_int_equal(writer_compact_until(place->writer, until_ns, &error), STATUS_TIMEOUT);
    look_ns = 0;
    assert_in_range(place_sql_number(place, "SELECT count(*) FROM chunk WHERE series = 1"), 1,
                    chunks - 1);
    assert_int_equal(writer_compact(place->writer, &error), STATUS_OK);
    assert_int_equal(place_sql_number(place, "SELECT count(*) FROM chunk WHERE series = 1"), 0);
    assert_int_equal(place_sql_number(place, "SELECT count(*) FROM trash"), 0);
    assert_int_equal(place_sql_number(place, "PRAGMA freelist_count"), 0);
    assert_true(place_sql_number(place, "PRAGMA page_count") < pages / 4);
    assert_int_equal(storage_check(place->storage, NULL, NULL, &error), STATUS_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(an_end_does_not_downsample_everything, setup, teardown),
        cmocka_unit_test_setup_teardown(an_end_does_not_free_everything, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
