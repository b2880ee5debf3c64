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
#define GROWN_MS  (6 * MINUTE_MS) /* longer than growth waits behind the last training */
#define SOON_MS   (3 * MINUTE_MS) /* and shorter, by more than any of these tests takes */

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

/* The next `count` points of one series. */
static void store_points(const char *name, int64_t *steps, size_t count, double value)
{
    struct error error = {0};
    struct write_batch *batch = NULL;
    struct write_result result;
    uint32_t number;
    int64_t first_ms = real_ms(CLOCK_REALTIME) / HOUR_MS * HOUR_MS;
    assert_int_equal(write_batch_new(services.storage, count, &batch, &error), STATUS_OK);
    assert_int_equal(write_batch_series(batch, name, strlen(name), &number, &error), STATUS_OK);
    for (size_t i = 0; i < count; i++) {
        struct point point = {.time_ms = first_ms + (*steps)++ * HOUR_MS, .value = value};
        assert_int_equal(write_batch_point(batch, number, point, &error), STATUS_OK);
    }
    assert_int_equal(writer_write_take(services.writer, batch, &result, &error), STATUS_OK);
}

static int64_t steps_of_a, steps_of_b; /* that were stored behind the waves */

/* One point more of each series: without any nothing is trained again. */
static void store_more(void)
{
    store_points("boiler.a", &steps_of_a, 1, 20);
    store_points("boiler.b", &steps_of_b, 1, 20);
}

static size_t stored_points(void)
{
    struct storage_stats stats;
    storage_stats(services.storage, &stats);
    return (size_t)stats.points;
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

/* Half as many points again make a training due, once, but not soon behind the last one. Fewer make
 * none, whatever they say: here a series moves to another level. */
static void growth_by_half_trains_once(void **state)
{
    struct scheduler_stats stats = {0};
    char id[48];
    (void)state;
    admit(200, true, id);
    waves_close(); /* a closed job table takes no more */
    waves_open();
    size_t points = stored_points();
    struct scheduler *scheduler = start();
    for (int i = 0; i < TRAININGS && stats.next_due_ms == 0; i++) { /* it has counted the points */
        clock_sleep_ms(10);
        scheduler_stats(scheduler, &stats);
    }
    assert_true(stats.next_due_ms > 0);
    store_points("boiler.a", &steps_of_a, 30, 200);
    store_points("boiler.b", &steps_of_b, points / 2 - 50, 20);
    atomic_fetch_add(&monotonic_ms, GROWN_MS);
    expect_rest(scheduler, 0);
    store_points("boiler.b", &steps_of_b, 21, 20);
    wait_for_trainings(scheduler, 1);
    atomic_fetch_add(&monotonic_ms, GROWN_MS); /* without growth */
    expect_rest(scheduler, 1);
    store_points("boiler.b", &steps_of_b, 30, -200); /* and with hardly any */
    expect_rest(scheduler, 1);
    store_points("boiler.b", &steps_of_b, points, 20);
    wait_for_trainings(scheduler, 2);
    store_points("boiler.b", &steps_of_b, 3 * points, 20);
    atomic_fetch_add(&monotonic_ms, SOON_MS);
    expect_rest(scheduler, 2);
    atomic_fetch_add(&monotonic_ms, GROWN_MS - SOON_MS);
    wait_for_trainings(scheduler, 3);
    scheduler_stop(scheduler);
}

/* Cancels the training that begins by itself. */
static void cancel_training(struct scheduler *scheduler)
{
    static struct job_view jobs[JOBS_MAX];
    struct scheduler_stats stats = {0};
    struct error error = {0};
    for (int i = 0; i < TRAININGS && !stats.training; i++) {
        clock_sleep_ms(10);
        scheduler_stats(scheduler, &stats);
    }
    assert_true(stats.training);
    assert_true(job_list(services.jobs, jobs, JOBS_MAX) > 0);
    assert_int_equal(job_cancel(services.jobs, jobs[0].id, &error), STATUS_OK);
    for (int i = 0; i < TRAININGS && stats.training; i++) {
        clock_sleep_ms(10);
        scheduler_stats(scheduler, &stats);
    }
    assert_int_equal(stats.trained + stats.failed, 0);
}

/* A scheduler whose first training does not end by itself, and which has looked at its groups. */
static struct scheduler *start_endless(void)
{
    const struct training_settings endless = {
        .every_ms = EVERY_MS, .seconds = 600, .seed = 1, .first_delay_ms = 100};
    waves_close(); /* a closed job table takes no more */
    waves_open();
    struct scheduler *scheduler = start();
    scheduler_configure(scheduler, &endless);
    return scheduler;
}

static void expect_turns(struct scheduler *scheduler)
{
    for (int i = 0; i < 2; i++) {
        cancel_training(scheduler);
        store_more();
        expect_rest(scheduler, 0);
        store_more();
        atomic_fetch_add(&monotonic_ms, AFTER_MS);
    }
    cancel_training(scheduler);
}

/* Whoever cancels a training does not want the same one two seconds later: its turn comes when the
 * interval has gone by. */
static void a_cancelled_first_training_waits_for_its_turn(void **state)
{
    (void)state;
    struct scheduler *scheduler = start_endless();
    expect_turns(scheduler);
    scheduler_stop(scheduler);
    waves_close();
    waves_open();
}

static void a_cancelled_training_waits_for_its_turn(void **state)
{
    (void)state;
    struct scheduler *scheduler = start_endless();
    store_more();
    clock_sleep_ms(LOOK_MS); /* it has met the model's group */
    store_more();
    atomic_fetch_add(&monotonic_ms, AFTER_MS);
    expect_turns(scheduler);
    scheduler_stop(scheduler);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_cancelled_first_training_waits_for_its_turn),
        cmocka_unit_test(a_wall_clock_that_jumps_trains_nothing),
        cmocka_unit_test(a_start_at_another_time_trains_once),
        cmocka_unit_test(growth_by_half_trains_once),
        cmocka_unit_test(a_cancelled_training_waits_for_its_turn),
    };
    return cmocka_run_group_tests(tests, open_clocks, close_clocks);
}
