/* Tests of watchdog: it bites what outlives its limit, once, and leaves in peace what ends before.
 * SPDX-License-Identifier: Apache-2.0
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
    watchdog_begin(watchdog, &cancel, SHORT_MS);
    wait_for_bite(&cancel);
    assert_true(clock_monotonic_ns() - begin_ns >= SHORT_MS * INT64_C(1000000));
    assert_true(watchdog_end(watchdog));
    assert_false(watchdog_end(watchdog)); /* it is told once */
}

/* A bite belongs to the work that it stopped: the next one has a new limit and a flag of its own.
 */
static void leaves_in_peace_what_ends_before(void **state)
{
    atomic_bool bitten = false, cancel = false;
    (void)state;
    watchdog_begin(watchdog, &cancel, LONG_MS);
    clock_sleep_ms(2 * SHORT_MS);
    assert_false(watchdog_end(watchdog));
    watchdog_begin(watchdog, &bitten, SHORT_MS);
    wait_for_bite(&bitten);
    assert_true(watchdog_end(watchdog));
    watchdog_begin(watchdog, &cancel, LONG_MS);
    clock_sleep_ms(2 * SHORT_MS);
    assert_false(watchdog_end(watchdog));
    assert_false(atomic_load(&cancel));
}

/* Work that ended is watched no more: its limit passes, and its flag is not touched. */
static void a_limit_that_passes_after_the_end_is_none(void **state)
{
    atomic_bool cancel = false, next = false;
    (void)state;
    int64_t wall_ns = clock_monotonic_ns();
    watchdog_begin(watchdog, &cancel, 300);
    bool bitten = watchdog_end(watchdog);
    if (clock_monotonic_ns() - wall_ns < INT64_C(300000000)) { /* the machine kept up */
        assert_false(bitten);
        clock_sleep_ms(350);
        assert_false(atomic_load(&cancel));
    }
    watchdog_begin(watchdog, &next, SHORT_MS); /* and it is still awake */
    wait_for_bite(&next);
    assert_true(watchdog_end(watchdog));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bites_what_outlives_its_limit),
        cmocka_unit_test(leaves_in_peace_what_ends_before),
        cmocka_unit_test(a_limit_that_passes_after_the_end_is_none),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
