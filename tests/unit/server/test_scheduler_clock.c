/* The scheduler while clocks are set: wall clocks jump, and training goes by the monotonic one.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Waiting takes real time, so a look at the plan is two seconds away; what the clocks say is moved
 * by the test.
 */
#include "tests/unit/server/waves.h"

#include "api/jobs.h"
#include "base/check.h"
#include "base/clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#define DAY_MS    INT64_C(86400000)
#define LOOK_MS   2300 /* the scheduler has looked at its plan, or has had to wait for a core */
#define END_MS    INT64_C(4291747200000) /* 2106-01-01, a month before 32 bits of seconds end */
#define TRAININGS 30000                  /* looks of 10 ms until one has to have ended */
#define MINUTE_MS INT64_C(60000)
#define EVERY_MS  DAY_MS
#define AFTER_MS  (EVERY_MS + EVERY_MS / 5) /* an interval is a tenth longer or shorter */
#define BEFORE_MS (EVERY_MS - EVERY_MS / 5)

static atomic_llong wall_ms;      /* what the wall clock is set ahead */
static atomic_llong monotonic_ms; /* what has gone by besides real time */

static int64_t real_ms(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return now.tv_sec * INT64_C(1000) + now.tv_nsec / 1000000;
}

static int64_t moved_wall(void)
{
    return real_ms(CLOCK_REALTIME) + atomic_load(&wall_ms);
}

static int64_t moved_monotonic(void)
{
    return (real_ms(CLOCK_MONOTONIC) + atomic_load(&monotonic_ms)) * 1000000;
}

static void set_wall(int64_t now_ms)
{
    atomic_store(&wall_ms, now_ms - real_ms(CLOCK_REALTIME));
}

static int open_clocks(void **state)
{
    clock_wall_replace(moved_wall);
    clock_monotonic_replace(moved_monotonic);
    return waves_prepare(state);
}

static int close_clocks(void **state)
{
    int failed = waves_clean_up(state);
    clock_wall_replace(NULL);
    clock_monotonic_replace(NULL);
    return failed;
}

/* One point more of each series: without any nothing is trained again. */
static void store_more(void)
{
    static int64_t steps;
    static const char *const names[] = {"boiler.a", "boiler.b"};
    struct error error = {0};
    struct write_batch *batch = NULL;
    struct write_result result;
    int64_t first_ms = real_ms(CLOCK_REALTIME) / HOUR_MS * HOUR_MS;
    assert_int_equal(write_batch_new(services.storage, 2, &batch, &error), STATUS_OK);
    for (size_t i = 0; i < ARRAY_COUNT(names); i++) {
        uint32_t number;
        struct point point = {.time_ms = first_ms + steps * HOUR_MS, .value = 20};
        assert_int_equal(write_batch_series(batch, names[i], strlen(names[i]), &number, &error),
                         STATUS_OK);
        assert_int_equal(write_batch_point(batch, number, point, &error), STATUS_OK);
    }
    steps++;
    assert_int_equal(writer_write_take(services.writer, batch, &result, &error), STATUS_OK);
}

static struct scheduler *start(void)
{
    struct scheduler *scheduler = NULL;
    struct error error = {0};
    struct scheduler_options options = {
        .services = &services,
        .catalogue = catalogue,
        .settings = {.every_ms = EVERY_MS, .seconds = 1, .seed = 1, .first_delay_ms = 100},
    };
    assert_int_equal(scheduler_start(&options, &scheduler, &error), STATUS_OK);
    return scheduler;
}

static void wait_for_trainings(struct scheduler *scheduler, uint64_t count)
{
    struct scheduler_stats stats = {0};
    for (int i = 0; i < TRAININGS && (stats.trained < count || stats.training); i++) {
        clock_sleep_ms(10);
        scheduler_stats(scheduler, &stats);
        assert_int_equal(stats.failed, 0);
    }
    assert_int_equal(stats.trained, count);
}

/* A look at the plan, and nothing begins. */
static void expect_rest(struct scheduler *scheduler, uint64_t trained)
{
    struct scheduler_stats stats;
    clock_sleep_ms(LOOK_MS);
    scheduler_stats(scheduler, &stats);
    assert_int_equal(stats.trained + stats.failed, trained);
    assert_false(stats.training);
}

static const int64_t *jumps(size_t *count)
{
    static int64_t to_ms[4];
    int64_t now_ms = real_ms(CLOCK_REALTIME);
    to_ms[0] = now_ms + DAY_MS;
    to_ms[1] = now_ms - DAY_MS;
    to_ms[2] = 0;
    to_ms[3] = END_MS;
    *count = ARRAY_COUNT(to_ms);
    return to_ms;
}

static void a_wall_clock_that_jumps_trains_nothing(void **state)
{
    size_t count;
    const int64_t *to_ms = jumps(&count);
    uint64_t trained = 1;
    (void)state;
    struct scheduler *scheduler = start();
    wait_for_trainings(scheduler, trained);
    for (size_t i = 0; i < count; i++) {
        store_more();
        set_wall(to_ms[i]);
        expect_rest(scheduler, trained);
        atomic_fetch_add(&monotonic_ms, AFTER_MS); /* the interval goes by */
        wait_for_trainings(scheduler, ++trained);
    }
    store_more();
    atomic_fetch_add(&monotonic_ms, BEFORE_MS);
    expect_rest(scheduler, trained);
    set_wall(real_ms(CLOCK_REALTIME));
    expect_rest(scheduler, trained);
    scheduler_stop(scheduler);
}

/* The models are of now: by a clock that is ahead they are old, and trained again after the first
 * minute, once; by one that is behind they are of the future, and wait for a whole interval. */
static void a_start_at_another_time_trains_once(void **state)
{
    size_t count;
    const int64_t *to_ms = jumps(&count);
    char id[48];
    (void)state;
    for (size_t i = 2; i < count; i++) { /* 1970 and 2106 */
        bool ahead = to_ms[i] > real_ms(CLOCK_REALTIME);
        set_wall(real_ms(CLOCK_REALTIME));
        admit(100 + i, true, id);
        waves_close();
        set_wall(to_ms[i]);
        waves_open();
        struct scheduler *scheduler = start();
        store_more();
        expect_rest(scheduler, 0);
        store_more();
        atomic_fetch_add(&monotonic_ms, MINUTE_MS + DAY_MS / 10);
        if (ahead) {
            wait_for_trainings(scheduler, 1);
            store_more();
        }
        expect_rest(scheduler, ahead);
        atomic_fetch_add(&monotonic_ms, AFTER_MS);
        wait_for_trainings(scheduler, ahead + UINT64_C(1));
        scheduler_stop(scheduler);
        set_wall(real_ms(CLOCK_REALTIME));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_wall_clock_that_jumps_trains_nothing),
        cmocka_unit_test(a_start_at_another_time_trains_once),
    };
    return cmocka_run_group_tests(tests, open_clocks, close_clocks);
}
