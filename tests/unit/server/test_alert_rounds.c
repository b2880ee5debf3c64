/* Rounds over alert rules while clocks are set: `for` and `repeat` go by the monotonic one.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The store is that of waves.h: what is asked of its series always holds.
 */
#include "base/clock.h"
#include "server/alerts.h"
#include "tests/unit/server/clocks.h"
#include "tests/unit/server/receiver.h"
#include "tests/unit/server/waves.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define ROUND_MS  20
#define ROUNDS_MS 1000 /* several rounds have been made */

static struct receiver receiver;
static struct alert_rules rules;

static void set_rule(const char *name, const char *value)
{
    struct error error = {0};
    assert_int_equal(alert_rules_set(&rules, name, value, "test", &error), STATUS_OK);
}

static struct alerts *start(const char *for_time, const char *repeat)
{
    struct alerts *alerts = NULL;
    struct error error = {0};
    atomic_store(&wall_ahead_ms, 0);
    receiver_open(&receiver, 200);
    memset(&rules, 0, sizeof(rules));
    set_rule("warm.series", "boiler.a");
    set_rule("warm.above", "0");
    set_rule("warm.within", "24h");
    set_rule("warm.for", for_time);
    set_rule("warm.repeat", repeat);
    set_rule("warm.url", receiver.url);
    assert_int_equal(alerts_start(&services, &rules, ROUND_MS, &alerts, &error), STATUS_OK);
    return alerts;
}

static void stop(struct alerts *alerts)
{
    alerts_stop(alerts);
    receiver_close(&receiver);
}

static void expect_told(unsigned count)
{
    clock_sleep_ms(ROUNDS_MS);
    assert_int_equal(atomic_load(&receiver.told), count);
}

static void a_clock_that_is_set_ahead_ends_no_wait(void **state)
{
    (void)state;
    struct alerts *alerts = start("30m", "0");
    expect_told(0);
    atomic_store(&wall_ahead_ms, 31 * MINUTE_MS);
    expect_told(0);
    atomic_fetch_add(&monotonic_ahead_ms, 29 * MINUTE_MS);
    expect_told(0);
    atomic_fetch_add(&monotonic_ahead_ms, MINUTE_MS);
    receiver_wait_told(&receiver, 1);
    stop(alerts);
}

static void a_clock_that_is_set_back_holds_nothing_up(void **state)
{
    (void)state;
    struct alerts *alerts = start("30m", "1h");
    expect_told(0);
    atomic_store(&wall_ahead_ms, -120 * MINUTE_MS);
    atomic_fetch_add(&monotonic_ahead_ms, 31 * MINUTE_MS);
    receiver_wait_told(&receiver, 1);
    atomic_store(&wall_ahead_ms, -600 * MINUTE_MS);
    expect_told(1);
    atomic_fetch_add(&monotonic_ahead_ms, 61 * MINUTE_MS);
    receiver_wait_told(&receiver, 2);
    stop(alerts);
}

/* What is sent is of the wall clock, and no end comes before its beginning. */
static void an_alert_does_not_end_before_it_starts(void **state)
{
    char starts[40] = "", ends[40] = "";
    struct error error = {0};
    struct write_result result;
    struct write_batch *batch = NULL;
    uint32_t number;
    (void)state;
    struct alerts *alerts = start("0s", "0");
    receiver_wait_told(&receiver, 1);
    atomic_store(&wall_ahead_ms, -120 * MINUTE_MS);
    assert_int_equal(write_batch_new(services.storage, 200, &batch, &error), STATUS_OK);
    assert_int_equal(write_batch_series(batch, "boiler.a", 8, &number, &error), STATUS_OK);
    for (int i = 0; i < 200; i++) { /* another level */
        struct point point = {.time_ms = real_wall_ms() / HOUR_MS * HOUR_MS - i * HOUR_MS,
                              .value = -1000};
        assert_int_equal(write_batch_point(batch, number, point, &error), STATUS_OK);
    }
    assert_int_equal(writer_write_take(services.writer, batch, &result, &error), STATUS_OK);
    receiver_wait_told(&receiver, 2);
    assert_non_null(strstr(receiver.last, "\"status\":\"resolved\""));
    assert_int_equal(
        sscanf(strstr(receiver.last, "\"startsAt\":"), "\"startsAt\":\"%39[^\"]", starts), 1);
    assert_int_equal(sscanf(strstr(receiver.last, "\"endsAt\":"), "\"endsAt\":\"%39[^\"]", ends),
                     1);
    assert_true(strcmp(ends, starts) >= 0);
    stop(alerts);
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
        cmocka_unit_test(a_clock_that_is_set_ahead_ends_no_wait),
        cmocka_unit_test(a_clock_that_is_set_back_holds_nothing_up),
        cmocka_unit_test(an_alert_does_not_end_before_it_starts),
    };
    return cmocka_run_group_tests(tests, open_clocks, close_clocks);
}
