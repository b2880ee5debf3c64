/* Tests of watchdog: it bites what outlives its limit, once, leaves in peace what ends before, and
 * gives up what does not stop. SPDX-License-Identifier: Apache-2.0
 */
#include "server/watchdog.h"

#include "base/clock.h"
#include "tests/unit/base/test.h"

#define SHORT_MS 5
#define LONG_MS  3600000
#define WAIT_MS  30000 /* until a bite has to have come; the thread looks by itself after 60000 */

static struct watchdog *watchdog;

static int start(void **state)
{
    struct error error = {0};
    (void)state;
    return watchdog_start(&watchdog, &error) != STATUS_OK;
}

static int stop(void **state)
{
    (void)state;
    watchdog_stop(watchdog);
    return 0;
}

/* Nobody is told, and the grace is long. */
static void begin(atomic_bool *cancel, int64_t limit_ms)
{
    struct watchdog_work work = {.cancel = cancel, .limit_ms = limit_ms, .grace_ms = LONG_MS};
    watchdog_begin(watchdog, &work);
}

static void wait_for_bite(atomic_bool *cancel)
{
    int64_t until_ns = clock_monotonic_ns() + WAIT_MS * INT64_C(1000000);
    while (!atomic_load(cancel) && clock_monotonic_ns() < until_ns) {
        clock_sleep_ms(1);
    }
    assert_true(atomic_load(cancel));
}

/* It is not before the limit either. */
static void bites_what_outlives_its_limit(void **state)
{
    atomic_bool cancel = false;
    (void)state;
    int64_t begin_ns = clock_monotonic_ns();
    begin(&cancel, SHORT_MS);
    wait_for_bite(&cancel);
    assert_true(clock_monotonic_ns() - begin_ns >= SHORT_MS * INT64_C(1000000));
    assert_int_equal(watchdog_end(watchdog), WATCHDOG_BITTEN);
    assert_int_equal(watchdog_end(watchdog), WATCHDOG_CONTENT); /* it is told once */
}

/* A bite belongs to the work that it stopped: the next one has a new limit and a flag of its own.
 */
static void leaves_in_peace_what_ends_before(void **state)
{
    atomic_bool bitten = false, cancel = false;
    (void)state;
    begin(&cancel, LONG_MS);
    clock_sleep_ms(2 * SHORT_MS);
    assert_int_equal(watchdog_end(watchdog), WATCHDOG_CONTENT);
    begin(&bitten, SHORT_MS);
    wait_for_bite(&bitten);
    assert_int_equal(watchdog_end(watchdog), WATCHDOG_BITTEN);
    begin(&cancel, LONG_MS);
    clock_sleep_ms(2 * SHORT_MS);
    assert_int_equal(watchdog_end(watchdog), WATCHDOG_CONTENT);
    assert_false(atomic_load(&cancel));
}

/* Work that ended is watched no more: its limit passes, and its flag is not touched. */
static void a_limit_that_passes_after_the_end_is_none(void **state)
{
    atomic_bool cancel = false, next = false;
    (void)state;
    int64_t wall_ns = clock_monotonic_ns();
    begin(&cancel, 300);
    enum watchdog_verdict verdict = watchdog_end(watchdog);
    if (clock_monotonic_ns() - wall_ns < INT64_C(300000000)) { /* the machine kept up */
        assert_int_equal(verdict, WATCHDOG_CONTENT);
        clock_sleep_ms(350);
        assert_false(atomic_load(&cancel));
    }
    begin(&next, SHORT_MS); /* and it is still awake */
    wait_for_bite(&next);
    assert_int_equal(watchdog_end(watchdog), WATCHDOG_BITTEN);
}

static atomic_uint given_up;

static void count_given_up(void *context)
{
    clock_sleep_ms(2 * SHORT_MS); /* work that ends meanwhile must wait */
    atomic_fetch_add((atomic_uint *)context, 1);
}

static void wait_until_given_up(void)
{
    for (int ms = 0; ms < WAIT_MS && atomic_load(&given_up) == 0; ms++) {
        clock_sleep_ms(1);
    }
    assert_int_equal(atomic_load(&given_up), 1);
}

/* Whoever told it: the watchdog itself, or somebody else. */
static void gives_up_what_does_not_stop(void **state)
{
    atomic_bool cancel = false;
    struct watchdog_work work = {.cancel = &cancel,
                                 .limit_ms = SHORT_MS,
                                 .grace_ms = SHORT_MS,
                                 .give_up = count_given_up,
                                 .context = &given_up};
    (void)state;
    for (int i = 0; i < 2; i++) {
        atomic_store(&given_up, 0);
        watchdog_begin(watchdog, &work);
        if (i > 0) {
            atomic_store(&cancel, true);
        }
        wait_until_given_up();
        clock_sleep_ms(4 * SHORT_MS);
        assert_int_equal(atomic_load(&given_up), 1); /* it is told once */
        assert_int_equal(watchdog_end(watchdog), WATCHDOG_GIVEN_UP);
        assert_int_equal(watchdog_end(watchdog), WATCHDOG_CONTENT);
        atomic_store(&cancel, false);
        work.limit_ms = LONG_MS;
    }
}

/* What ends in the moment in which it is given up hears of it, and nobody is told afterwards. */
static void whoever_is_told_is_done_before_the_end(void **state)
{
    atomic_bool cancel = true;
    struct watchdog_work work = {.cancel = &cancel,
                                 .limit_ms = LONG_MS,
                                 .grace_ms = 1,
                                 .give_up = count_given_up,
                                 .context = &given_up};
    (void)state;
    for (int i = 0; i < 20; i++) {
        atomic_store(&given_up, 0);
        watchdog_begin(watchdog, &work);
        clock_sleep_ms(i % 4);
        bool told = watchdog_end(watchdog) == WATCHDOG_GIVEN_UP;
        assert_int_equal(atomic_load(&given_up), told);
        clock_sleep_ms(3 * SHORT_MS);
        assert_int_equal(atomic_load(&given_up), told);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bites_what_outlives_its_limit),
        cmocka_unit_test(leaves_in_peace_what_ends_before),
        cmocka_unit_test(a_limit_that_passes_after_the_end_is_none),
        cmocka_unit_test(gives_up_what_does_not_stop),
        cmocka_unit_test(whoever_is_told_is_done_before_the_end),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
