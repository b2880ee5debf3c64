/* Whose turn it is among what is to be told to webhooks, and how many places each rule has.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "server/webhook_table.h"

#include "../base/test.h"

#include <stdlib.h>
#include <string.h>

#define SECOND INT64_C(1000000000)

static struct webhook_table table;

static void begin(size_t rules)
{
    memset(&table, 0, sizeof(table));
    table.rules = rules;
}

/* Bodies are of nobody here: they are compared and never read. */
static char bodies[4];

static bool put(size_t rule, uint64_t key, int64_t due_ns)
{
    struct delivery fresh = {.key = key, .rule = rule, .body = bodies, .due_ns = due_ns};
    char *freed = NULL;
    bool taken = webhook_table_put(&table, &fresh, &freed);
    assert_ptr_equal(freed, taken ? NULL : bodies);
    return taken;
}

static size_t fill(size_t rule, uint64_t first_key)
{
    size_t count = 0;
    while (put(rule, first_key + count, 0)) {
        count++;
    }
    return count;
}

/* The key whose turn it is; 0 where nobody's is. */
static uint64_t take(int64_t now_ns)
{
    struct delivery out;
    int64_t due_ns;
    return webhook_table_take(&table, now_ns, &out, &due_ns) ? out.key : 0;
}

/* What was taken could not be told, and is due again at that time. */
static void fail_until(int64_t now_ns, int64_t due_ns)
{
    struct delivery again = table.out;
    again.due_ns = due_ns;
    (void)webhook_table_pace(&table, again.rule, false, now_ns);
    assert_true(webhook_table_keep(&table, &again));
}

static void succeed(int64_t now_ns)
{
    assert_int_equal(webhook_table_pace(&table, table.out.rule, true, now_ns), 0);
    webhook_table_end(&table);
}

static void one_rule_may_have_all_places(void **state)
{
    (void)state;
    begin(1);
    assert_int_equal(fill(0, 1), WEBHOOKS_WAITING_MAX);
}

static void a_rule_that_fills_the_table_leaves_the_others_their_share(void **state)
{
    (void)state;
    for (size_t rules = 2; rules <= ALERT_RULES_MAX; rules++) {
        size_t share = WEBHOOKS_WAITING_MAX / 2 / rules;
        begin(rules);
        assert_int_equal(fill(0, 1), WEBHOOKS_WAITING_MAX - (rules - 1) * share);
        for (size_t rule = 1; rule < rules; rule++) {
            assert_int_equal(fill(rule, 1000 * rule), share);
        }
        assert_true(table.count <= WEBHOOKS_WAITING_MAX);
        assert_int_equal(take(SECOND), 1); /* its place stays its own */
        assert_int_equal(fill(0, 100000), 0);
        fail_until(SECOND, SECOND);
        assert_int_equal(table.count, WEBHOOKS_WAITING_MAX);
    }
}

static void what_is_newer_replaces_what_waits_and_what_is_out(void **state)
{
    struct delivery fresh = {.key = 7, .body = &bodies[1]};
    char *freed = NULL;
    (void)state;
    begin(1);
    assert_int_equal(fill(0, 1), WEBHOOKS_WAITING_MAX);
    assert_true(webhook_table_put(&table, &fresh, &freed)); /* full, but it has a place */
    assert_ptr_equal(freed, bodies);
    assert_int_equal(table.count, WEBHOOKS_WAITING_MAX);
    assert_int_equal(take(0), 1);
    assert_false(put(0, 5000, 0)); /* the place of what is out */
    fresh.key = 1;
    assert_true(webhook_table_put(&table, &fresh, &freed)); /* is its successor's */
    assert_null(freed);
    struct delivery old = table.out;
    assert_false(webhook_table_keep(&table, &old));
    assert_int_equal(table.count, WEBHOOKS_WAITING_MAX);
}

static void rules_take_turns(void **state)
{
    (void)state;
    begin(3);
    for (uint64_t key = 1; key <= 9; key++) { /* the first rule's are all due before the others' */
        assert_true(put((key - 1) / 3, key, (int64_t)key));
    }
    static const uint64_t order[] = {1, 4, 7, 2, 5, 8, 3, 6, 9};
    for (int i = 0; i < 9; i++) {
        assert_int_equal(take(SECOND + i), order[i]);
        succeed(SECOND + i);
    }
    assert_int_equal(take(INT64_MAX), 0);
}

/* One try a wait, not one an alert; what was not tried yet comes first, and all go at once when it
 * answers again. */
static void a_receiver_that_does_not_answer_is_held_as_a_whole(void **state)
{
    int64_t now_ns = SECOND;
    struct delivery out;
    int64_t due_ns = 0;
    (void)state;
    begin(2);
    for (uint64_t key = 1; key <= 4; key++) {
        assert_true(put(0, key, (int64_t)key));
    }
    static const int64_t waits_s[] = {1, 2, 4, 8, 16, 32, 60, 60};
    for (int i = 0; i < 8; i++) {
        assert_int_equal(take(now_ns), 1 + (uint64_t)i % 4);
        fail_until(now_ns, now_ns + waits_s[i] * SECOND);
        assert_false(webhook_table_take(&table, now_ns, &out, &due_ns));
        assert_int_equal(due_ns, now_ns + waits_s[i] * SECOND);
        assert_true(put(0, 10, now_ns)); /* what is new waits, too, ... */
        assert_int_equal(take(now_ns), 0);
        assert_true(put(1, 20, now_ns)); /* ... and another rule does not */
        assert_int_equal(take(now_ns), 20);
        succeed(now_ns);
        table.count--; /* 10 was put last */
        now_ns = due_ns;
    }
    assert_int_equal(take(now_ns), 1);
    succeed(now_ns);
    for (uint64_t key = 2; key <= 4; key++) {
        assert_int_equal(take(now_ns), key);
        succeed(now_ns);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_rule_may_have_all_places),
        cmocka_unit_test(a_rule_that_fills_the_table_leaves_the_others_their_share),
        cmocka_unit_test(what_is_newer_replaces_what_waits_and_what_is_out),
        cmocka_unit_test(rules_take_turns),
        cmocka_unit_test(a_receiver_that_does_not_answer_is_held_as_a_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
