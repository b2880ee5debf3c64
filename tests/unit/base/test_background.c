/* Tests of background: who waits is counted, rest is bought by work, and ends with the waiting.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Each test works on a thread of its own: what has become a background thread stays one.
 */
#include "base/background.h"
#include "base/clock.h"
#include "tests/unit/base/test.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#define MS INT64_C(1000000)

struct work {
    int nice;
    unsigned rest_max;
    bool background;
    int64_t pieces_max, until_ns; /* whichever comes first */
    _Atomic int64_t pieces;
    int64_t worked_ns, given_ns; /* processor time of its pieces; time of giving way */
};

static void *do_work(void *context)
{
    struct work *work = context;
    if (work->background) {
        background_enter(work->nice, work->rest_max);
    }
    int64_t now_ns = clock_monotonic_ns();
    for (int64_t i = 0; i < work->pieces_max && now_ns < work->until_ns; i++) {
        int64_t begin_ns = clock_processor_ns(), used_ns = 0;
        while (used_ns < MS / 5) {
            used_ns = clock_processor_ns() - begin_ns;
        }
        work->worked_ns += used_ns;
        begin_ns = clock_monotonic_ns();
        background_give_way();
        now_ns = clock_monotonic_ns();
        work->given_ns += now_ns - begin_ns;
        atomic_fetch_add(&work->pieces, 1);
    }
    return NULL;
}

static void run(struct work *work)
{
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, do_work, work), 0);
    pthread_join(thread, NULL);
}

static void who_waits_is_counted(UNUSED void **state)
{
    assert_int_equal(foreground_waiting(), 0);
    foreground_begin();
    foreground_begin();
    assert_int_equal(foreground_waiting(), 2);
    foreground_end();
    foreground_end();
    assert_int_equal(foreground_waiting(), 0);
}

static void nobody_rests_for_nobody(UNUSED void **state)
{
    struct work work = {
        .background = true, .rest_max = 7, .pieces_max = 100, .until_ns = INT64_MAX};
    double before = background_rested_seconds();
    run(&work);
    assert_int_equal(work.pieces, 100);
    assert_true(background_rested_seconds() == before);
}

static void other_threads_never_rest(UNUSED void **state)
{
    struct work work = {.rest_max = 7, .pieces_max = 100, .until_ns = INT64_MAX};
    double before = background_rested_seconds();
    foreground_begin();
    run(&work);
    foreground_end();
    assert_int_equal(work.pieces, 100);
    assert_true(background_rested_seconds() == before);
}

/* Whoever waits without end slows background work down, and does not stop it: it rests for most of
 * the time, and for no more than seven times what it worked but for one nap, whose length is the
 * kernel's. So this holds on a machine that does other things as well. */
static void rest_is_bought_by_work(UNUSED void **state)
{
    struct work work = {.background = true,
                        .nice = 19,
                        .rest_max = 7,
                        .pieces_max = 200,
                        .until_ns = clock_monotonic_ns() + 20000 * MS};
    double before = background_rested_seconds();
    foreground_begin();
    run(&work);
    foreground_end();
    double rested = background_rested_seconds() - before;
    double worked = (double)work.worked_ns * 1e-9;
    assert_true(work.pieces >= 20);
    assert_true(rested > 3.0 * worked);
    assert_true(rested <= 8.0 * worked + 1.0); /* giving way is work, too */
    assert_true(rested <= (double)work.given_ns * 1e-9);
}

/* A thread that only yields works on. */
static void a_rest_of_nothing_is_none(UNUSED void **state)
{
    struct work work = {.background = true, .pieces_max = 50, .until_ns = INT64_MAX};
    double before = background_rested_seconds();
    foreground_begin();
    run(&work);
    foreground_end();
    assert_int_equal(work.pieces, 50);
    assert_true(background_rested_seconds() == before);
}

/* Credit for an hour of rest: what ends it is that nobody waits any more, or that the process
 * stops. */
static void rest_ends(void (*end)(void))
{
    struct work work = {
        .background = true, .rest_max = 1000000, .pieces_max = 1000, .until_ns = INT64_MAX};
    pthread_t thread;
    foreground_begin();
    assert_int_equal(pthread_create(&thread, NULL, do_work, &work), 0);
    clock_sleep_ms(300);
    assert_true(atomic_load(&work.pieces) < 100); /* without rest 1,000 of 0.2 ms would be over */
    end();
    clock_sleep_ms(50); /* a nap of a millisecond that was under way */
    double rested = background_rested_seconds();
    pthread_join(thread, NULL);
    assert_int_equal(work.pieces, 1000);
    assert_true(background_rested_seconds() - rested < 0.02);
}

static void nobody_waits(void)
{
    foreground_end();
}

static void hurry(void)
{
    background_hurry(true);
}

static void rest_ends_with_the_waiting(UNUSED void **state)
{
    rest_ends(nobody_waits);
}

static void a_process_that_stops_does_not_rest(UNUSED void **state)
{
    rest_ends(hurry);
    background_hurry(false);
    foreground_end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_waits_is_counted),
        cmocka_unit_test(nobody_rests_for_nobody),
        cmocka_unit_test(other_threads_never_rest),
        cmocka_unit_test(rest_is_bought_by_work),
        cmocka_unit_test(a_rest_of_nothing_is_none),
        cmocka_unit_test(rest_ends_with_the_waiting),
        cmocka_unit_test(a_process_that_stops_does_not_rest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
