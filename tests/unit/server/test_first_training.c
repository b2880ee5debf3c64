/* When the next training is due: behind a first one that failed for want of points, or for any
 * other reason; behind another interval. SPDX-License-Identifier: Apache-2.0
 *
 * Waiting takes real time, so a look at the plan is two seconds away; what the clock says is moved
 * by the test.
 */
#include "base/clock.h"
#include "tests/unit/server/clocks.h"
#include "tests/unit/server/waves.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#define DAY_MS    INT64_C(86400000)
#define LOOK_MS   2300 /* the scheduler has looked at its plan, or has had to wait for a core */
#define EVERY_MS  DAY_MS
#define AFTER_MS  (EVERY_MS + EVERY_MS / 5) /* an interval is a tenth longer or shorter */
#define BEFORE_MS (EVERY_MS - EVERY_MS / 5)
#define TRAININGS 30000              /* looks of 10 ms until one has to have ended */
#define LITTLE    ((size_t)16 << 10) /* memory in which no training has room */
#define MANY      POINTS             /* enough to learn from */
#define FEW       16                 /* points of which a group is known, and nothing is learned */

static struct scheduler *start(size_t memory_max)
{
    struct scheduler *scheduler = NULL;
    struct error error = {0};
    struct scheduler_options options = {
        .services = &services,
        .catalogue = catalogue,
        .settings = {.every_ms = EVERY_MS,
                     .seconds = 1,
                     .seed = 1,
                     .memory_max = memory_max,
                     .first_delay_ms = 100},
    };
    assert_int_equal(scheduler_start(&options, &scheduler, &error), STATUS_OK);
    return scheduler;
}

static void configure(struct scheduler *scheduler, int64_t every_ms)
{
    const struct training_settings settings = {
        .every_ms = every_ms, .seconds = 1, .seed = 1, .first_delay_ms = 100};
    scheduler_configure(scheduler, &settings);
}

static void wait_for(struct scheduler *scheduler, uint64_t trained, uint64_t failed)
{
    struct scheduler_stats stats = {0};
    for (int i = 0;
         i < TRAININGS && (stats.trained < trained || stats.failed < failed || stats.training);
         i++) {
        clock_sleep_ms(10);
        scheduler_stats(scheduler, &stats);
    }
    assert_int_equal(stats.trained, trained);
    assert_int_equal(stats.failed, failed);
}

/* A look at the plan, and nothing begins. */
static void expect_rest(struct scheduler *scheduler, uint64_t trained, uint64_t failed)
{
    clock_sleep_ms(LOOK_MS);
    wait_for(scheduler, trained, failed);
}

static void store_points(const char *name, int64_t first_ms, int64_t step_ms, size_t count)
{
    struct error error = {0};
    struct write_batch *batch = NULL;
    struct write_result result;
    uint32_t number;
    assert_int_equal(write_batch_new(services.storage, count, &batch, &error), STATUS_OK);
    assert_int_equal(write_batch_series(batch, name, strlen(name), &number, &error), STATUS_OK);
    for (size_t i = 0; i < count; i++) {
        struct point point = {.time_ms = first_ms + (int64_t)i * step_ms, .value = (double)(i % 7)};
        assert_int_equal(write_batch_point(batch, number, point, &error), STATUS_OK);
    }
    assert_int_equal(writer_write_take(services.writer, batch, &result, &error), STATUS_OK);
}

/* As after an import, without a point more: the interval is what it waits for. */
static void a_failure_that_passes_comes_again(void **state)
{
    (void)state;
    struct scheduler *scheduler = start(LITTLE);
    wait_for(scheduler, 0, 1);
    atomic_fetch_add(&monotonic_ahead_ms, BEFORE_MS);
    expect_rest(scheduler, 0, 1);
    atomic_fetch_add(&monotonic_ahead_ms, AFTER_MS - BEFORE_MS);
    wait_for(scheduler, 0, 2);
    configure(scheduler, EVERY_MS);
    atomic_fetch_add(&monotonic_ahead_ms, AFTER_MS);
    wait_for(scheduler, 1, 2);
    atomic_fetch_add(&monotonic_ahead_ms, AFTER_MS); /* nothing is new to a model */
    expect_rest(scheduler, 1, 2);
    scheduler_stop(scheduler);
}

/* Beside a group that has a model and thousands of points: a group's own are counted. */
static void too_few_points_wait_for_more(void **state)
{
    char id[48];
    (void)state;
    waves_close(); /* a closed job table takes no more */
    waves_open();
    services.model_config.horizon = 2 * FEW;
    admit(1, true, id);
    int64_t first_ms = real_wall_ms() / DAY_MS * DAY_MS - 100 * DAY_MS;
    store_points("few", first_ms, DAY_MS, FEW);
    struct scheduler *scheduler = start(0);
    wait_for(scheduler, 0, 1);
    atomic_fetch_add(&monotonic_ahead_ms, AFTER_MS);
    expect_rest(scheduler, 0, 1);
    store_points("few", first_ms + FEW * DAY_MS, DAY_MS, FEW / 2 - 1);
    expect_rest(scheduler, 0, 1);
    store_points("few", first_ms - DAY_MS, DAY_MS, 1); /* half as many again, and still too few */
    wait_for(scheduler, 0, 2);
    store_points("few", first_ms - MANY * DAY_MS, DAY_MS, MANY);
    wait_for(scheduler, 1, 2);
    scheduler_stop(scheduler);
}

/* The plan is looked at when no training runs: the store has a group that gets its first one. */
static bool is_due_within(struct scheduler *scheduler, int64_t least_ms, int64_t most_ms)
{
    for (int i = 0; i < 2000; i++) {
        struct scheduler_stats stats = {0};
        scheduler_stats(scheduler, &stats);
        int64_t left_ms = stats.next_due_ms - clock_wall_ms();
        if (stats.next_due_ms > 0 && left_ms >= least_ms && left_ms <= most_ms) {
            return true;
        }
        clock_sleep_ms(10);
    }
    return false;
}

static void another_interval_counts_at_once(void **state)
{
    char id[48];
    (void)state;
    waves_close();
    waves_open();
    admit(1, true, id);
    struct scheduler *scheduler = start(0);
    assert_true(is_due_within(scheduler, EVERY_MS / 2, 2 * EVERY_MS));
    configure(scheduler, EVERY_MS / 24);
    assert_true(is_due_within(scheduler, EVERY_MS / 48, EVERY_MS / 12));
    configure(scheduler, EVERY_MS * 7);
    assert_true(is_due_within(scheduler, EVERY_MS * 5, EVERY_MS * 9));
    scheduler_stop(scheduler);
}

static int open_clocks(void **state)
{
    clocks_replace();
    return waves_prepare(state);
}

static int close_clocks(void **state)
{
    int failed = waves_clean_up(state);
    clocks_restore();
    return failed;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_failure_that_passes_comes_again),
        cmocka_unit_test(too_few_points_wait_for_more),
        cmocka_unit_test(another_interval_counts_at_once),
    };
    return cmocka_run_group_tests(tests, open_clocks, close_clocks);
}
