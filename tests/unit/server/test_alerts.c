/* Alert rules: their keys, the states they go through, and what a webhook is told.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "base/check.h"
#include "server/alert_message.h"
#include "server/alert_state.h"
#include "server/config.h"

#include "../base/test.h"

#include <stdio.h>
#include <string.h>

#define MINUTE INT64_C(60000)
#define NOW    INT64_C(1795354740000) /* 2026-11-22T13:39:00Z */

static void test_fires_after_a_while_and_resolves(void **state)
{
    (void)state;
    struct alert_state alert = {0};
    static const struct {
        int minute;
        bool holds;
        enum alert_event event;
    } steps[] = {
        {0, false, ALERT_SILENCE},   {1, true, ALERT_SILENCE}, /* holds from here */
        {3, true, ALERT_SILENCE},    {4, false, ALERT_SILENCE},
        {5, true, ALERT_SILENCE}, /* anew */
        {9, true, ALERT_SILENCE},    {10, true, ALERT_FIRES},
        {11, true, ALERT_SILENCE},   {39, true, ALERT_SILENCE},
        {40, true, ALERT_REPEATS},   {41, true, ALERT_SILENCE},
        {42, false, ALERT_RESOLVES}, {43, false, ALERT_SILENCE},
        {44, true, ALERT_SILENCE},   {49, true, ALERT_FIRES},
    };
    for (size_t i = 0; i < ARRAY_COUNT(steps); i++) {
        assert_int_equal(alert_state_step(&alert, steps[i].holds, 5 * MINUTE, 30 * MINUTE,
                                          NOW + steps[i].minute * MINUTE),
                         steps[i].event);
    }
    assert_int_equal(alert.told_ms, NOW + 49 * MINUTE);
}

static void test_told_once_without_repeat(void **state)
{
    (void)state;
    struct alert_state alert = {0};
    assert_int_equal(alert_state_step(&alert, true, 0, 0, NOW), ALERT_FIRES);
    assert_int_equal(alert_state_step(&alert, true, 0, 0, NOW + 1000000 * MINUTE), ALERT_SILENCE);
    assert_int_equal(alert_state_step(&alert, true, 0, 0, NOW - 1000 * MINUTE), ALERT_SILENCE);
    assert_int_equal(alert_state_step(&alert, false, 0, 0, NOW), ALERT_RESOLVES);
}

static struct alert_rules rules;

static enum status set(const char *name, const char *value, struct error *error)
{
    return alert_rules_set(&rules, name, value, "test", error);
}

static void complete_rule(void)
{
    struct error error = {0};
    memset(&rules, 0, sizeof(rules));
    assert_ok(set("busy.series", "load{a=\"x\"}", &error));
    assert_ok(set("busy.above", "1e2", &error));
    assert_ok(set("busy.url", "https://h/p", &error));
    assert_ok(alert_rules_check(&rules, &error));
}

static void test_rules(void **state)
{
    (void)state;
    struct error error = {0};
    struct alert_condition condition;
    complete_rule();
    alert_rule_condition(&rules.rules[0], &condition);
    assert_int_equal(condition.measure, ALERT_QUANTILE);
    assert_true(condition.above && condition.threshold == 100.0 && condition.level == 0.5);
    assert_int_equal(condition.within_ms, 60 * MINUTE);
    assert_ok(set("busy.measure", "crossing", &error));
    assert_ok(set("busy.chance", "p90", &error));
    assert_ok(set("busy.above", "", &error));
    assert_ok(set("busy.below", "-5", &error));
    assert_ok(alert_rules_check(&rules, &error));
    alert_rule_condition(&rules.rules[0], &condition);
    assert_int_equal(condition.measure, ALERT_CROSSING);
    assert_true(!condition.above && condition.threshold == -5.0 && condition.level == 0.9);
    assert_int_equal(set("bu sy.url", "x", &error), STATUS_INVALID);
    assert_int_equal(set("busy", "x", &error), STATUS_INVALID);
    assert_int_equal(set("busy.within", "0.5s", &error), STATUS_INVALID);
    assert_int_equal(set("busy.colour", "red", &error), STATUS_INVALID);
    assert_int_equal(rules.count, 1);
    assert_ok(set("second.above", "1", &error));
    assert_int_equal(alert_rules_check(&rules, &error), STATUS_INVALID);
    assert_string_equal(error.param, "alerts.second.series");
    for (int i = 2; i < ALERT_RULES_MAX; i++) {
        char name[32];
        snprintf(name, sizeof(name), "r%d.above", i);
        assert_ok(set(name, "1", &error));
    }
    assert_int_equal(set("one-more.above", "1", &error), STATUS_TOO_LARGE);
}

static void test_message(void **state)
{
    (void)state;
    struct text text;
    static const char series[] = "load{alertname=\"mine\",host=\"a\\\"b\"}";
    complete_rule();
    struct alert_finding finding = {
        .usable = true, .holds = true, .figure = 123.25, .when_ms = NOW + 5 * MINUTE};
    struct alert_message message = {.rule = &rules.rules[0],
                                    .series = {series, strlen(series)},
                                    .firing = true,
                                    .starts_ms = NOW,
                                    .finding = &finding};
    text_init(&text, ALERT_MESSAGE_BYTES_MAX);
    alert_message_write(&message, &text);
#define LABELS                                                                                     \
    "{\"alertname\":\"busy\",\"series\":\"load{alertname=\\\"mine\\\",host=\\\"a\\\\\\\"b\\\"}\"," \
    "\"host\":\"a\\\"b\"}"
#define ANNOTATIONS                                                                                \
    "{\"summary\":\"load{alertname=\\\"mine\\\",host=\\\"a\\\\\\\"b\\\"}: the 0.5 quantile of "    \
    "its "                                                                                         \
    "forecast goes above 1e2 within 3600 s\",\"threshold\":\"1e2\",\"value\":\"123.25\","          \
    "\"crosses_at\":\"2026-11-22T13:44:00Z\"}"
    assert_string_equal(
        text.bytes,
        "{\"version\":\"4\",\"groupKey\":\"busy:4b44d002a7ad3e75\",\"truncatedAlerts\":0,"
        "\"status\":\"firing\",\"receiver\":\"busy\",\"groupLabels\":" LABELS
        ",\"commonLabels\":" LABELS ",\"commonAnnotations\":" ANNOTATIONS
        ",\"externalURL\":\"\",\"alerts\":[{\"status\":"
        "\"firing\",\"labels\":" LABELS ",\"annotations\":" ANNOTATIONS ",\"startsAt\":"
        "\"2026-11-22T13:39:00Z\",\"endsAt\":\"0001-01-01T00:00:00Z\",\"generatorURL\":\"\","
        "\"fingerprint\":\"4b44d002a7ad3e75\"}]}");
    finding = (struct alert_finding){.when_ms = INT64_MIN}; /* the series is gone */
    message.firing = false;
    message.ends_ms = NOW + MINUTE;
    text_clear(&text);
    alert_message_write(&message, &text);
    assert_non_null(strstr(text.bytes, "\"status\":\"resolved\""));
    assert_non_null(strstr(text.bytes, "\"endsAt\":\"2026-11-22T13:40:00Z\""));
    assert_null(strstr(text.bytes, "crosses_at"));
    assert_null(strstr(text.bytes, "\"value\""));
    text_release(&text);
}

static void test_fingerprint(void **state)
{
    (void)state;
    const struct slice a = {"bc", 2}, b = {"c", 1};
    assert_true(alert_fingerprint("a", a) == alert_fingerprint("a", a));
    assert_true(alert_fingerprint("a", a) != alert_fingerprint("ab", b));
    assert_true(alert_fingerprint("a", a) != alert_fingerprint("a", b));
}

/* The file: rules are a mapping under alerts, beside alerts.every. */
static void test_yaml(void **state)
{
    (void)state;
    static struct config config;
    struct error error = {0};
    static const char yaml[] =
        "alerts:\n  every: 20s\n  full:\n    series: disk\n    below: 1\n"
        "    url: http://h/\n  busy: {series: load, above: 2, url: http://h/}\n";
    options_defaults(config_options, config_option_count, &config);
    assert_ok(config_read_yaml(&config, "f.yaml", yaml, strlen(yaml), &error));
    assert_int_equal(config.alerts_every_ms, 20000);
    assert_int_equal(config.alerts.count, 2);
    assert_string_equal(config.alerts.rules[1].name, "busy");
    assert_ok(alert_rules_check(&config.alerts, &error));
    static const char bad[] = "alerts:\n  full:\n    within: soon\n";
    assert_int_equal(config_read_yaml(&config, "f.yaml", bad, strlen(bad), &error), STATUS_INVALID);
    assert_non_null(strstr(error.text, "alert rule 'full'"));
    assert_non_null(strstr(error.text, "f.yaml:3"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fires_after_a_while_and_resolves),
        cmocka_unit_test(test_told_once_without_repeat),
        cmocka_unit_test(test_rules),
        cmocka_unit_test(test_message),
        cmocka_unit_test(test_fingerprint),
        cmocka_unit_test(test_yaml),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
