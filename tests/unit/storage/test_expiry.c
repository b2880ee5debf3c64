/* Series that leave behind their last points, and those that stay: configured, young, heard of, or
 * under a clock that is not believed. SPDX-License-Identifier: Apache-2.0
 */
#include "tests/unit/storage/place.h"

#include "base/clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define SECOND_MS INT64_C(1000)
#define DAY_MS    INT64_C(86400000)
#define BEGIN_MS  INT64_C(1790000000000)

enum { SERIES_MAX = 300 };

static int64_t wall_ms, monotonic_ns;
static struct downsample downsample; /* of the next start */

static int64_t wall(void)
{
    return wall_ms;
}

static int64_t monotonic(void)
{
    return monotonic_ns;
}

static void start(struct place *place)
{
    struct error error = {0};
    struct storage_options options = {.url = place->url,
                                      .retention_ms = 30 * DAY_MS,
                                      .downsample = downsample,
                                      .series_max = SERIES_MAX};
    struct writer_options writer = {.stepped = true};
    if (storage_open(&options, &place->storage, &error) != STATUS_OK) {
        fail_msg("%s", error.text);
    }
    assert_int_equal(writer_start(place->storage, &writer, &place->writer, &error), STATUS_OK);
}

static int setup(void **state)
{
    int failed = place_setup(state);
    struct place *place = *state;
    place_stop(place);
    clock_wall_replace(wall);
    clock_monotonic_replace(monotonic);
    wall_ms = BEGIN_MS;
    downsample = (struct downsample){0};
    monotonic_ns = INT64_C(1000000000);
    start(place);
    return failed;
}

static int teardown(void **state)
{
    int failed = place_teardown(state);
    clock_wall_replace(NULL);
    clock_monotonic_replace(NULL);
    return failed;
}

/* ---------------------------------------------------------------- what is done */

static void time_passes(int64_t pass_ms)
{
    wall_ms += pass_ms;
    monotonic_ns += pass_ms * INT64_C(1000000);
}

static void passes(struct place *place, int64_t pass_ms)
{
    time_passes(pass_ms);
    for (int i = 0; i < 200 && writer_step(place->writer); i++) {
    }
}

static struct write_batch *begin(struct place *place)
{
    struct write_batch *batch = NULL;
    struct error error = {0};
    assert_int_equal(write_batch_new(place->storage, 10, &batch, &error), STATUS_OK);
    return batch;
}

static void add(struct write_batch *batch, const char *name, int64_t time_ms)
{
    struct error error = {0};
    uint32_t series;
    assert_int_equal(write_batch_series(batch, name, strlen(name), &series, &error), STATUS_OK);
    assert_int_equal(write_batch_point(batch, series, (struct point){time_ms, 1.5}, &error),
                     STATUS_OK);
}

static void commit(struct place *place, struct write_batch *batch)
{
    struct error error = {0};
    if (writer_write_take(place->writer, batch, NULL, &error) != STATUS_OK) {
        fail_msg("%s", error.text);
    }
}

static void put(struct place *place, const char *name)
{
    struct write_batch *batch = begin(place);
    add(batch, name, wall_ms);
    commit(place, batch);
}

static void put_end(struct place *place, const char *name, int64_t time_ms)
{
    struct write_batch *batch = begin(place);
    struct error error = {0};
    uint32_t series;
    assert_int_equal(write_batch_series(batch, name, strlen(name), &series, &error), STATUS_OK);
    assert_int_equal(write_batch_end(batch, series, time_ms, &error), STATUS_OK);
    commit(place, batch);
}

static uint32_t find(struct place *place, const char *name)
{
    return storage_series_find(place->storage, name, strlen(name));
}

static void set(struct place *place, const char *name, const struct series_settings *settings)
{
    struct write_batch *batch = begin(place);
    struct error error = {0};
    assert_int_equal(write_batch_settings(batch, find(place, name), settings, &error), STATUS_OK);
    commit(place, batch);
}

static void exclude(struct place *place, const char *name, size_t count)
{
    struct write_batch *batch = begin(place);
    struct error error = {0};
    struct time_spans spans = {.at = {{BEGIN_MS, BEGIN_MS + SECOND_MS}}, .count = count};
    assert_int_equal(write_batch_excluded(batch, find(place, name), &spans, &error), STATUS_OK);
    commit(place, batch);
}

static struct storage_stats stats_of(struct place *place)
{
    struct storage_stats stats;
    storage_stats(place->storage, &stats);
    return stats;
}

static void restart(struct place *place)
{
    place_stop(place);
    start(place);
}

static void sound(struct place *place)
{
    struct error error = {0};
    if (storage_check(place->storage, NULL, NULL, &error) != STATUS_OK) {
        fail_msg("%s", error.text);
    }
}

/* ---------------------------------------------------------------- tests */

/* With all that hangs on it: the name, vintages, chunks and statistics. */
static void an_emptied_series_leaves(void **state)
{
    struct place *place = *state;
    struct error error = {0};
    struct series_info info;
    put(place, "pod");
    uint32_t id = find(place, "pod");
    struct write_batch *batch = begin(place);
    assert_int_equal(write_batch_vintage(batch, id, wall_ms, wall_ms + 100 * DAY_MS,
                                         (const unsigned char *)"said", 4, &error),
                     STATUS_OK);
    commit(place, batch);
    assert_int_equal(writer_compact(place->writer, &error), STATUS_OK);
    put(place, "other");
    size_t index_bytes = stats_of(place).index_bytes;
    passes(place, 29 * DAY_MS);
    put(place, "other");
    assert_int_equal(find(place, "pod"), id);
    assert_int_equal(stats_of(place).points, 3);
    passes(place, 2 * DAY_MS);
    assert_int_equal(find(place, "pod"), 0);
    assert_int_equal(storage_series_info(place->storage, id, &info, &error), STATUS_NOT_FOUND);
    assert_int_equal(stats_of(place).series, 1);
    assert_int_equal(stats_of(place).points, 1);
    assert_int_equal(stats_of(place).expired, 1);
    assert_true(stats_of(place).index_bytes < index_bytes);
    assert_int_not_equal(find(place, "other"), 0);
    assert_int_equal(writer_compact(place->writer, &error), STATUS_OK);
    assert_int_equal(place_sql_number(place, "SELECT count(*) FROM series"), 1);
    assert_int_equal(place_sql_number(place, "SELECT count(*) FROM vintage"), 0);
    assert_int_equal(place_sql_number(place, "SELECT count(*) FROM trash"), 0);
    assert_int_equal(place_sql_number(place, "SELECT count(*) FROM chunk WHERE series = 1"), 0);
    sound(place);
}

/* Whatever may be set keeps it; what is unset again does not. */
static void a_configured_series_stays(void **state)
{
    static const struct series_settings settings[] = {
        {.has_step = true, .step_ms = 60000},
        {.has_season = true, .season_steps = 24},
        {.has_minimum = true, .minimum = 0.0},
        {.has_maximum = true, .maximum = 0.0},
        {.has_integer = true},
        {.has_kind = true, .kind = SERIES_GAUGE},
        {.has_retention = true, .retention_ms = 10 * DAY_MS},
        {.time_zone = "Europe/Berlin"},
    };
    enum { SETTINGS = sizeof settings / sizeof *settings };
    struct place *place = *state;
    char name[16];
    for (int i = 0; i <= SETTINGS; i++) {
        snprintf(name, sizeof name, "set%d", i);
        put(place, name);
        if (i < SETTINGS) {
            set(place, name, &settings[i]);
        } else {
            exclude(place, name, 1);
        }
    }
    put(place, "plain");
    passes(place, 40 * DAY_MS);
    assert_int_equal(stats_of(place).points, 0);
    assert_int_equal(stats_of(place).series, SETTINGS + 1);
    assert_int_equal(find(place, "plain"), 0);
    restart(place);
    passes(place, 61 * SECOND_MS);
    assert_int_equal(stats_of(place).series, SETTINGS + 1);
    for (int i = 0; i < SETTINGS; i++) {
        snprintf(name, sizeof name, "set%d", i);
        set(place, name, &(struct series_settings){0});
    }
    exclude(place, "set8", 0);
    passes(place, 61 * SECOND_MS);
    assert_int_equal(stats_of(place).series, 0);
    assert_int_equal(stats_of(place).expired, SETTINGS + 1);
}

static void a_store_without_retention_keeps_all(void **state)
{
    struct place *place = *state;
    put(place, "short");
    set(place, "short", &(struct series_settings){.has_retention = true, .retention_ms = DAY_MS});
    place->storage->options.retention_ms = 0;
    passes(place, 400 * DAY_MS);
    assert_int_equal(stats_of(place).points, 0);
    set(place, "short", &(struct series_settings){0});
    passes(place, 400 * DAY_MS);
    assert_int_not_equal(find(place, "short"), 0);
}

/* The newest thing known counts: a stale marker behind the last point, or the making. */
static void what_was_heard_lately_stays(void **state)
{
    struct place *place = *state;
    put(place, "ended");
    passes(place, 20 * DAY_MS);
    put_end(place, "ended", wall_ms);
    put_end(place, "made", BEGIN_MS); /* of no point at all */
    passes(place, 11 * DAY_MS);
    assert_int_equal(stats_of(place).points, 0);
    assert_int_not_equal(find(place, "ended"), 0);
    assert_int_not_equal(find(place, "made"), 0);
    restart(place);
    passes(place, 18 * DAY_MS);
    assert_int_not_equal(find(place, "ended"), 0);
    assert_int_not_equal(find(place, "made"), 0);
    passes(place, 2 * DAY_MS);
    assert_int_equal(stats_of(place).series, 0);
}

static void a_clock_ahead_keeps(void **state)
{
    struct place *place = *state;
    struct error error = {0};
    put(place, "pod");
    put_end(place, "made", wall_ms); /* without points: it would go at once */
    passes(place, 61 * SECOND_MS);
    passes(place, 61 * SECOND_MS);
    wall_ms += 365 * DAY_MS;
    passes(place, 61 * SECOND_MS);
    assert_int_equal(writer_compact(place->writer, &error), STATUS_OK);
    assert_int_equal(stats_of(place).series, 2);
    restart(place);
    passes(place, 500 * SECOND_MS);
    assert_int_equal(writer_compact(place->writer, &error), STATUS_OK);
    assert_int_equal(stats_of(place).series, 2);
    wall_ms -= 365 * DAY_MS; /* right again, and nothing lost */
    passes(place, 700 * SECOND_MS);
    passes(place, 61 * SECOND_MS);
    assert_int_equal(stats_of(place).series, 2);
    assert_int_equal(stats_of(place).points, 1);
    wall_ms += 365 * DAY_MS;
    passes(place, 61 * SECOND_MS);
    passes(place, 601 * SECOND_MS); /* it stays: somebody meant it */
    assert_int_equal(stats_of(place).series, 0);
}

/* Named while the series was there, sent when it is not: acknowledged, so it is there again. */
static void a_late_point_brings_it_back(void **state)
{
    struct place *place = *state;
    struct error error = {0};
    struct series_info info;
    uint64_t handle = 0;
    uint32_t series;
    put(place, "pod");
    uint32_t id = find(place, "pod");
    struct write_batch *named = begin(place);
    add(named, "pod", wall_ms + 31 * DAY_MS);
    struct write_batch *other = begin(place);
    assert_int_equal(
        write_batch_series_again(other, (struct slice){"pod", 3}, &handle, &series, &error),
        STATUS_OK);
    write_batch_free(other);
    passes(place, 31 * DAY_MS);
    assert_int_equal(find(place, "pod"), 0);
    commit(place, named);
    uint32_t anew = find(place, "pod");
    assert_true(anew > id);
    assert_int_equal(storage_series_info(place->storage, anew, &info, &error), STATUS_OK);
    assert_int_equal(info.points, 1);
    assert_int_equal(info.created_ms, wall_ms);
    struct write_batch *batch = begin(place);
    assert_int_equal(
        write_batch_series_again(batch, (struct slice){"pod", 3}, &handle, &series, &error),
        STATUS_OK);
    assert_int_equal(write_batch_point(batch, series, (struct point){wall_ms + 1, 2}, &error),
                     STATUS_OK);
    commit(place, batch);
    assert_int_equal(find(place, "pod"), anew);
    assert_int_equal(stats_of(place).points, 2);
    restart(place);
    assert_int_equal(find(place, "pod"), anew);
    assert_int_equal(stats_of(place).points, 2);
    sound(place);
}

/* In the queue when the round comes: it is committed before. */
static void a_point_in_the_queue_keeps_it(void **state)
{
    struct place *place = *state;
    struct error error = {0};
    put(place, "pod");
    put(place, "other");
    uint32_t id = find(place, "pod");
    time_passes(31 * DAY_MS);
    struct write_batch *batch = begin(place);
    add(batch, "pod", wall_ms);
    assert_int_equal(writer_submit_take(place->writer, batch, NULL, NULL, &error), STATUS_OK);
    passes(place, 0);
    assert_int_equal(find(place, "pod"), id);
    assert_int_equal(find(place, "other"), 0);
    assert_int_equal(stats_of(place).points, 1);
}

/* An old point, as a backfill may bring: gone with the next round, and the series a retention
 * after it was made. */
static void an_old_point_makes_a_series_for_a_while(void **state)
{
    struct place *place = *state;
    struct write_batch *batch = begin(place);
    add(batch, "old", wall_ms - 365 * DAY_MS);
    commit(place, batch);
    passes(place, 61 * SECOND_MS);
    assert_int_equal(stats_of(place).points, 0);
    passes(place, 29 * DAY_MS);
    assert_int_not_equal(find(place, "old"), 0);
    passes(place, 2 * DAY_MS);
    assert_int_equal(find(place, "old"), 0);
}

/* The store is full of names, and nearly empty: new ones fit again, in lots. */
static void new_series_fit_again(void **state)
{
    struct place *place = *state;
    struct error error = {0};
    char name[32];
    uint32_t series;
    for (int i = 0; i < SERIES_MAX; i++) {
        snprintf(name, sizeof name, "up{pod=\"%d\"}", i);
        put(place, name);
    }
    struct write_batch *batch = begin(place);
    assert_int_equal(write_batch_series(batch, "new", 3, &series, &error), STATUS_TOO_LARGE);
    assert_string_equal(error.code, "series_limit");
    write_batch_free(batch);
    time_passes(31 * DAY_MS);
    uint32_t before = stats_of(place).series;
    for (int i = 0; i < 200 && writer_step(place->writer); i++) {
        uint32_t now = stats_of(place).series;
        assert_true(before - now <= 32);
        before = now;
    }
    assert_int_equal(stats_of(place).series, 0);
    assert_int_equal(stats_of(place).expired, SERIES_MAX);
    passes(place, SECOND_MS);
    assert_int_equal(stats_of(place).chunks, 0);
    for (int i = 0; i < SERIES_MAX; i++) {
        snprintf(name, sizeof name, "up{pod=\"new%d\"}", i);
        put(place, name);
    }
    assert_int_equal(stats_of(place).series, SERIES_MAX);
    sound(place);
}

/* In the middle of downsampling: what frees room comes first. */
static void a_disk_that_becomes_full_gets_its_retention(void **state)
{
    struct place *place = *state;
    struct storage *storage = NULL;
    char name[32];
    downsample = (struct downsample){.rules = {{DAY_MS, 3600 * SECOND_MS}}, .count = 1};
    restart(place);
    storage = place->storage;
    for (int i = 0; i < SERIES_MAX; i++) {
        snprintf(name, sizeof name, "pod%d", i);
        put(place, name);
    }
    time_passes(2 * DAY_MS);
    assert_true(writer_step(place->writer)); /* retention has looked at some */
    assert_true(writer_step(place->writer)); /* and at all, and downsampling at some */
    time_passes(29 * DAY_MS);
    lock_acquire(&storage->lock);
    storage->counters.writable = false;
    storage->counters.full = true;
    lock_release(&storage->lock);
    storage_fault_set(storage, 1, STATUS_NO_SPACE); /* the probe */
    (void)writer_step(place->writer);
    assert_true(stats_of(place).full);
    assert_true(stats_of(place).points < SERIES_MAX);
    assert_int_equal(stats_of(place).series, SERIES_MAX); /* not on a full disk */
    passes(place, SECOND_MS);
    assert_int_equal(stats_of(place).series, 0);
}

/* What the disk holds, as after a kill: the copy of a store in use. */
static void killed(struct place *place, const char *name, uint32_t series)
{
    struct place copy = {0};
    char command[500];
    snprintf(copy.directory, sizeof copy.directory, "%.80s/%s", place->directory, name);
    snprintf(copy.url, sizeof copy.url, "sqlite:%s", copy.directory);
    snprintf(command, sizeof command, "mkdir '%s' && cp '%s'/forecastd.db* '%s'", copy.directory,
             place->directory, copy.directory);
    assert_int_equal(system(command), 0);
    start(&copy);
    assert_int_equal(stats_of(&copy).series, series);
    sound(&copy);
    passes(&copy, 700 * SECOND_MS);
    assert_int_equal(stats_of(&copy).series, 1);
    assert_int_not_equal(find(&copy, "other"), 0);
    put(&copy, "pod0");
    assert_int_equal(find(&copy, "pod0"), 102); /* no id is given twice */
    sound(&copy);
    place_stop(&copy);
}

static void a_restart_changes_nothing_of_it(void **state)
{
    struct place *place = *state;
    char name[16];
    for (int i = 0; i < 100; i++) {
        snprintf(name, sizeof name, "pod%d", i);
        put(place, name);
    }
    passes(place, 31 * DAY_MS - 61 * SECOND_MS);
    put(place, "other");
    assert_int_equal(stats_of(place).series, 1);
    killed(place, "after", 1);
    restart(place);
    assert_int_equal(stats_of(place).series, 1);
    passes(place, 61 * SECOND_MS);
    assert_int_equal(stats_of(place).series, 1);
    put(place, "pod0");
    assert_int_equal(find(place, "pod0"), 102);
    sound(place);
}

/* Killed before the round, and in the middle of one. */
static void a_kill_leaves_the_rest_to_the_next_start(void **state)
{
    struct place *place = *state;
    char name[16];
    for (int i = 0; i < 100; i++) {
        snprintf(name, sizeof name, "pod%d", i);
        put(place, name);
    }
    passes(place, 29 * DAY_MS);
    put(place, "other");
    time_passes(2 * DAY_MS);
    killed(place, "before", 101);
    while (stats_of(place).series > 60) {
        (void)writer_step(place->writer);
    }
    assert_true(stats_of(place).series > 1);
    killed(place, "within", stats_of(place).series);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(an_emptied_series_leaves, setup, teardown),
        cmocka_unit_test_setup_teardown(a_configured_series_stays, setup, teardown),
        cmocka_unit_test_setup_teardown(a_store_without_retention_keeps_all, setup, teardown),
        cmocka_unit_test_setup_teardown(what_was_heard_lately_stays, setup, teardown),
        cmocka_unit_test_setup_teardown(a_clock_ahead_keeps, setup, teardown),
        cmocka_unit_test_setup_teardown(a_late_point_brings_it_back, setup, teardown),
        cmocka_unit_test_setup_teardown(a_point_in_the_queue_keeps_it, setup, teardown),
        cmocka_unit_test_setup_teardown(an_old_point_makes_a_series_for_a_while, setup, teardown),
        cmocka_unit_test_setup_teardown(new_series_fit_again, setup, teardown),
        cmocka_unit_test_setup_teardown(a_disk_that_becomes_full_gets_its_retention, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_restart_changes_nothing_of_it, setup, teardown),
        cmocka_unit_test_setup_teardown(a_kill_leaves_the_rest_to_the_next_start, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
