/* The hold on what age removes, where the wall clock is ahead: in rounds, at a clean end, on a full
 * disk and at the next start. SPDX-License-Identifier: Apache-2.0
 */
#include "tests/unit/storage/place.h"

#include "base/clock.h"
#include "storage/hold.h"
#include "storage/writer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#define SECOND_MS INT64_C(1000)
#define HOUR_MS   INT64_C(3600000)
#define DAY_MS    (24 * HOUR_MS)
#define BEGIN_MS  INT64_C(1790000000000)

enum { POINTS = 100 };

static int64_t wall_ms, monotonic_ns;

static int64_t wall(void)
{
    return wall_ms;
}

static int64_t monotonic(void)
{
    return monotonic_ns;
}

/* As place_start, but of points that age, and with a writer that the test steps. */
static void start(struct place *place)
{
    struct error error = {0};
    struct storage_options options = {.url = place->url, .retention_ms = 30 * DAY_MS};
    struct writer_options writer = {.stepped = true};
    if (storage_open(&options, &place->storage, &error) != STATUS_OK) {
        fail_msg("%s", error.text);
    }
    assert_int_equal(writer_start(place->storage, &writer, &place->writer, &error), STATUS_OK);
}

static uint64_t points_of(struct place *place)
{
    struct storage_stats stats;
    storage_stats(place->storage, &stats);
    return stats.points;
}

static void passes(struct place *place, int64_t pass_ms)
{
    wall_ms += pass_ms;
    monotonic_ns += pass_ms * INT64_C(1000000);
    for (int i = 0; i < 20 && writer_step(place->writer); i++) {
    }
}

/* What the daemon does at a clean end. */
static void compact(struct place *place)
{
    struct error error = {0};
    int64_t until_ns = monotonic_ns + INT64_C(5000000000);
    assert_int_equal(writer_compact_until(place->writer, until_ns, &error), STATUS_OK);
}

static void end(struct place *place)
{
    compact(place);
    place_stop(place);
}

/* A day's points, and rounds of the writer behind them. */
static int setup(void **state)
{
    struct error error = {0};
    int failed = place_setup(state);
    struct place *place = *state;
    place_stop(place);
    clock_wall_replace(wall);
    clock_monotonic_replace(monotonic);
    wall_ms = BEGIN_MS;
    monotonic_ns = INT64_C(1000000000);
    start(place);
    assert_int_equal(place_write(place, wall_ms - POINTS, POINTS, &error), STATUS_OK);
    passes(place, 61 * SECOND_MS);
    passes(place, 61 * SECOND_MS);
    assert_int_equal(points_of(place), POINTS);
    return failed;
}

static int teardown(void **state)
{
    int failed = place_teardown(state);
    clock_wall_replace(NULL);
    clock_monotonic_replace(NULL);
    return failed;
}

static void a_clean_end_of_a_hold_removes_nothing(void **state)
{
    struct place *place = *state;
    wall_ms += 365 * DAY_MS;
    compact(place); /* before any round has seen it */
    assert_int_equal(points_of(place), POINTS);
    passes(place, 61 * SECOND_MS);
    compact(place);
    assert_int_equal(points_of(place), POINTS);
    passes(place, 500 * SECOND_MS);
    compact(place);
    assert_int_equal(points_of(place), POINTS);
    passes(place, 61 * SECOND_MS); /* it stays: somebody meant it */
    assert_int_equal(points_of(place), 0);
}

/* Senders may share the clock: what they send meanwhile is of the same wrong year. */
static void a_restart_does_not_end_a_hold(void **state)
{
    struct place *place = *state;
    struct error error = {0};
    wall_ms += 365 * DAY_MS;
    passes(place, 61 * SECOND_MS);
    assert_int_equal(place_write(place, wall_ms - 1, 1, &error), STATUS_OK);
    end(place);
    start(place);
    passes(place, 61 * SECOND_MS);
    end(place);
    start(place);
    compact(place);
    assert_int_equal(points_of(place), POINTS + 1);
    wall_ms -= 365 * DAY_MS; /* right again, and nothing lost */
    passes(place, 700 * SECOND_MS);
    passes(place, 61 * SECOND_MS);
    assert_int_equal(points_of(place), POINTS + 1);
}

static void a_start_with_a_clock_ahead_holds(void **state)
{
    struct place *place = *state;
    end(place);
    wall_ms += 365 * DAY_MS;
    start(place);
    passes(place, 0);
    compact(place);
    passes(place, 590 * SECOND_MS);
    compact(place);
    assert_int_equal(points_of(place), POINTS);
    passes(place, 11 * SECOND_MS); /* the machine was off for a year */
    assert_int_equal(points_of(place), 0);
}

/* After a restart there is nothing to wait for; the clock is noted again each hour. */
static void a_restart_holds_nothing(void **state)
{
    struct place *place = *state;
    for (int hour = 0; hour < 30 * 24 - 2; hour++) {
        passes(place, HOUR_MS);
    }
    end(place);
    wall_ms += HOUR_MS - SECOND_MS;
    start(place);
    compact(place);
    assert_int_equal(points_of(place), POINTS);
    end(place);
    wall_ms += HOUR_MS;
    start(place);
    compact(place);
    assert_int_equal(points_of(place), 0);
}

/* Back from a wrong year that had been meant: the clock known is the right one at once. */
static void a_clock_set_back_is_noted(void **state)
{
    struct place *place = *state;
    struct error error = {0};
    wall_ms += 365 * DAY_MS;
    passes(place, 61 * SECOND_MS);
    passes(place, 700 * SECOND_MS);
    assert_int_equal(points_of(place), 0);
    wall_ms -= 365 * DAY_MS;
    assert_int_equal(place_write(place, wall_ms - POINTS, POINTS, &error), STATUS_OK);
    passes(place, 61 * SECOND_MS);
    end(place);
    wall_ms += 365 * DAY_MS;
    start(place);
    compact(place);
    assert_int_equal(points_of(place), POINTS);
}

/* A disk that becomes full asks for retention at once; a clock that is not believed, for none. */
static void a_full_disk_does_not_end_a_hold(void **state)
{
    struct place *place = *state;
    struct storage *storage = place->storage;
    wall_ms += 365 * DAY_MS;
    passes(place, 61 * SECOND_MS);
    lock_acquire(&storage->lock);
    storage->counters.writable = false;
    storage->counters.full = true;
    lock_release(&storage->lock);
    storage_fault_set(storage, 1, STATUS_NO_SPACE); /* the probe of the next round */
    passes(place, SECOND_MS);
    assert_true(storage->counters.full);
    assert_int_equal(points_of(place), POINTS);
    passes(place, SECOND_MS); /* there is room again */
    assert_false(storage->counters.full);
    assert_int_equal(points_of(place), POINTS);
}

/* An older release's, or damaged: there is series, and no clock known. */
static void a_store_that_knows_no_clock_holds(void **state)
{
    static const char *const texts[] = {
        "DELETE FROM record WHERE kind = 'clock'",
        "INSERT OR REPLACE INTO record VALUES('clock', 'aged', 'no number')",
        "INSERT OR REPLACE INTO record VALUES('clock', 'aged', '9223372036854775807')",
        "INSERT OR REPLACE INTO record VALUES('clock', 'aged', '-9223372036854775808')",
    };
    struct place *place = *state;
    wall_ms += 31 * DAY_MS;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        end(place);
        place_sql(place, texts[i]);
        start(place);
        compact(place);
        assert_int_equal(points_of(place), POINTS);
    }
    passes(place, 601 * SECOND_MS);
    assert_int_equal(points_of(place), 0);
    end(place);
    int64_t noted_ms =
        place_sql_number(place, "SELECT json FROM record WHERE kind = 'clock' AND key = 'aged'");
    assert_true(noted_ms <= wall_ms && wall_ms - noted_ms < HOLD_NOTE_MS);
    start(place);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_clean_end_of_a_hold_removes_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(a_restart_does_not_end_a_hold, setup, teardown),
        cmocka_unit_test_setup_teardown(a_start_with_a_clock_ahead_holds, setup, teardown),
        cmocka_unit_test_setup_teardown(a_restart_holds_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(a_clock_set_back_is_noted, setup, teardown),
        cmocka_unit_test_setup_teardown(a_full_disk_does_not_end_a_hold, setup, teardown),
        cmocka_unit_test_setup_teardown(a_store_that_knows_no_clock_holds, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
