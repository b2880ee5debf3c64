/* Deliveries while receivers are away: nothing that was taken is lost, and nobody waits for
 * another. SPDX-License-Identifier: Apache-2.0
 *
 * Waits go by the monotonic clock, which the test moves; a delivery that is told wakes the thread.
 */
#include "base/clock.h"
#include "base/memory.h"
#include "server/webhook.h"
#include "tests/unit/server/clocks.h"
#include "tests/unit/server/port.h"
#include "tests/unit/server/receiver.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static struct port port;
static struct receiver first, second;
static struct alert_rules rules;

static void set_rule(const char *name, const char *value)
{
    struct error error = {0};
    assert_int_equal(alert_rules_set(&rules, name, value, "test", &error), STATUS_OK);
}

/* Rule 0 tells the first receiver, which it gives little time, and rule 1 the second. */
static struct webhooks *start(int first_code, int second_code, const char *retries)
{
    struct webhooks *webhooks = NULL;
    struct error error = {0};
    receiver_open(&first, first_code);
    receiver_open(&second, second_code);
    memset(&rules, 0, sizeof(rules));
    set_rule("one.url", first.url);
    set_rule("one.timeout", "300ms");
    set_rule("one.retries", retries);
    set_rule("two.url", second.url);
    set_rule("two.retries", retries);
    assert_int_equal(webhooks_start(&port.services, &rules, &webhooks, &error), STATUS_OK);
    return webhooks;
}

static void stop(struct webhooks *webhooks)
{
    webhooks_stop(webhooks);
    receiver_close(&first);
    receiver_close(&second);
}

static bool tell(struct webhooks *webhooks, size_t rule, uint64_t key, const char *text)
{
    char body[64];
    int length = snprintf(body, sizeof(body), "{\"text\":\"%s\"}", text);
    char *copy = mem_copy_text(body, (size_t)length);
    assert_non_null(copy);
    return webhooks_tell_take(webhooks, rule, key, copy, (size_t)length);
}

static bool has_count(const char *result, unsigned count)
{
    struct reply reply;
    char line[96];
    snprintf(line, sizeof(line), "forecastd_webhooks_total{result=\"%s\"} %u\n", result, count);
    client_ask(&port, "GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n",
               &reply);
    assert_int_equal(reply.status, 200);
    return strstr(reply.body, line) != NULL;
}

static void wait_for_count(const char *result, unsigned count)
{
    for (int i = 0; !has_count(result, count); i++) {
        assert_true(i < 3000);
        clock_sleep_ms(20);
    }
}

/* Longer away than the retries reach: it hears of it all the same, a minute later. */
static void what_was_taken_is_told_although_the_retries_are_over(void **state)
{
    (void)state;
    struct webhooks *webhooks = start(503, 200, "0");
    assert_true(tell(webhooks, 0, 1, "over"));
    receiver_wait_asked(&first, 1);
    wait_for_count("failed", 1);
    atomic_store(&first.code, 200);
    atomic_fetch_add(&monotonic_ahead_ms, MINUTE_MS + 1000);
    assert_true(tell(webhooks, 1, 2, "wake up"));
    receiver_wait_told(&second, 1);
    receiver_wait_told(&first, 1);
    assert_non_null(strstr(first.last, "{\"text\":\"over\"}"));
    wait_for_count("sent", 2);
    assert_true(has_count("failed", 1)); /* once */
    stop(webhooks);
}

static void a_newer_state_replaces_one_that_has_failed(void **state)
{
    (void)state;
    struct webhooks *webhooks = start(503, 200, "0");
    assert_true(tell(webhooks, 0, 1, "firing"));
    receiver_wait_asked(&first, 1);
    wait_for_count("failed", 2);
    atomic_store(&first.code, 200);
    assert_true(tell(webhooks, 0, 1, "resolved"));
    receiver_wait_told(&first, 1);
    assert_non_null(strstr(first.last, "{\"text\":\"resolved\"}"));
    atomic_fetch_add(&monotonic_ahead_ms, MINUTE_MS + 1000);
    assert_true(tell(webhooks, 1, 2, "wake up"));
    receiver_wait_told(&second, 1);
    assert_int_equal(atomic_load(&first.told), 1);
    stop(webhooks);
}

/* The first receiver takes connections and says nothing, and its rule has more to tell than may
 * wait. The second one's alert comes later, has a place, and waits for one call at most. */
static void a_receiver_that_hangs_holds_up_no_other_rule(void **state)
{
    size_t taken = 0;
    (void)state;
    struct webhooks *webhooks = start(0, 200, "6");
    while (taken < 2 * WEBHOOKS_WAITING_MAX && tell(webhooks, 0, 1 + taken, "hangs")) {
        taken++;
    }
    assert_true(taken >= WEBHOOKS_WAITING_MAX / 2 && taken < WEBHOOKS_WAITING_MAX);
    assert_true(tell(webhooks, 1, 1000, "works"));
    receiver_wait_told(&second, 1);
    assert_true(atomic_load(&first.asked) <= 3); /* not once for each of its alerts */
    assert_non_null(strstr(second.last, "{\"text\":\"works\"}"));
    stop(webhooks);
}

static int open_port(void **state)
{
    (void)state;
    clocks_replace();
    port_open(&port, 1, 4);
    return 0;
}

static int close_port(void **state)
{
    (void)state;
    port_close(&port);
    clocks_restore();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_taken_is_told_although_the_retries_are_over),
        cmocka_unit_test(a_newer_state_replaces_one_that_has_failed),
        cmocka_unit_test(a_receiver_that_hangs_holds_up_no_other_rule),
    };
    return cmocka_run_group_tests(tests, open_port, close_port);
}
