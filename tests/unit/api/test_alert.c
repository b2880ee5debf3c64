/* Conditions of alert rules on forecasts of series that are as plain as can be.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "fixture.h"

#include <math.h>
#include <stdlib.h>

#define MINUTE INT64_C(60000)

/* `count` minutes up to now: from `first` by `slope` a minute. */
static void feed(struct fixture *fixture, const char *series, int count, double first, double slope)
{
    struct text body;
    text_init(&body, 1 << 16);
    text_add_format(&body, "{\"series\":\"%s\",\"points\":[", series);
    for (int i = 0; i < count; i++) {
        text_add_format(&body, "%s[%lld,%.15g]", i > 0 ? "," : "",
                        (long long)(NOW_MS - (count - 1 - i) * MINUTE), first + slope * i);
    }
    text_add_string(&body, "]}");
    expect(fixture, API_POST, "/api/v1/points", body.bytes, 200, NULL);
    text_release(&body);
}

static struct alert_finding find(struct fixture *fixture, const char *series,
                                 const struct alert_condition *condition)
{
    struct alert_finding finding;
    struct error error = {0};
    uint32_t id = storage_series_find(fixture->services.storage, series, strlen(series));
    assert_int_equal(api_alert_find(fixture->worker, condition, id, &finding, &error), STATUS_OK);
    return finding;
}

static void test_quantile(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_open(&fixture);
    feed(&fixture, "line", 100, 0.0, 1.0); /* 99 now, a line */
    struct alert_condition condition = {.measure = ALERT_QUANTILE,
                                        .above = true,
                                        .threshold = 110.5,
                                        .within_ms = 30 * MINUTE,
                                        .level = 0.5};
    struct alert_finding finding = find(&fixture, "line", &condition);
    assert_true(finding.usable && finding.holds && !finding.stale);
    assert_int_equal(finding.when_ms, NOW_MS + 12 * MINUTE);
    assert_true(fabs(finding.figure - 129.0) < 0.5);
    condition.within_ms = 11 * MINUTE; /* not yet there */
    finding = find(&fixture, "line", &condition);
    assert_true(finding.usable && !finding.holds);
    assert_true(finding.when_ms == INT64_MIN && fabs(finding.figure - 110.0) < 0.5);
    condition.above = false;
    finding = find(&fixture, "line", &condition);
    assert_true(finding.holds && finding.when_ms == NOW_MS + MINUTE);
    condition.threshold = 50.0;
    assert_false(find(&fixture, "line", &condition).holds);
    condition.within_ms = 300 * 1440 * MINUTE; /* beyond what any grid has: cut */
    condition.above = true;
    condition.threshold = 1000.0;
    assert_true(find(&fixture, "line", &condition).usable);
    fixture_close(&fixture);
}

/* Two days are too many minutes: the rule is looked at on a coarser grid, not on a part of them. */
static void test_far_ahead(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_open(&fixture);
    feed(&fixture, "line", 2000, 0.0, 1.0); /* 1999 now */
    struct alert_condition condition = {.measure = ALERT_CROSSING,
                                        .above = true,
                                        .threshold = 1999.0 + 1440.0,
                                        .within_ms = 2880 * MINUTE,
                                        .level = 0.5};
    struct alert_finding finding = find(&fixture, "line", &condition);
    assert_true(finding.usable && finding.holds);
    assert_true(llabs(finding.when_ms - (NOW_MS + 1440 * MINUTE)) < 180 * MINUTE);
    condition.measure = ALERT_QUANTILE;
    finding = find(&fixture, "line", &condition);
    assert_true(finding.holds && finding.when_ms > NOW_MS + 1024 * MINUTE);
    fixture_close(&fixture);
}

static void test_crossing(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_open(&fixture);
    feed(&fixture, "line", 100, 0.0, 1.0);
    struct alert_condition condition = {.measure = ALERT_CROSSING,
                                        .above = true,
                                        .threshold = 120.0,
                                        .within_ms = 40 * MINUTE,
                                        .level = 0.5};
    struct alert_finding finding = find(&fixture, "line", &condition);
    assert_true(finding.holds && finding.figure > 0.5);
    assert_true(llabs(finding.when_ms - (NOW_MS + 21 * MINUTE)) < 2 * MINUTE);
    condition.within_ms = 10 * MINUTE;
    finding = find(&fixture, "line", &condition);
    assert_true(finding.usable && !finding.holds && finding.figure < 0.5);
    condition.threshold = 90.0; /* crossed already */
    finding = find(&fixture, "line", &condition);
    assert_true(finding.holds && finding.figure == 1.0);
    fixture_close(&fixture);
}

static void test_what_cannot_be_said(void **state)
{
    (void)state;
    struct fixture fixture;
    struct alert_finding finding;
    struct error error = {0};
    struct alert_condition condition = {.measure = ALERT_QUANTILE,
                                        .above = true,
                                        .threshold = -1.0,
                                        .within_ms = 10 * MINUTE,
                                        .level = 0.5};
    fixture_open(&fixture);
    feed(&fixture, "young", 1, 1.0, 0.0);
    assert_false(find(&fixture, "young", &condition).usable);
    assert_int_equal(api_alert_find(fixture.worker, &condition, 99, &finding, &error), STATUS_OK);
    assert_false(finding.usable); /* no such series */
    feed(&fixture, "old", 50, 1.0, 0.0);
    assert_true(find(&fixture, "old", &condition).holds);
    fixture_set_now(NOW_MS + 600 * MINUTE);
    finding = find(&fixture, "old", &condition);
    assert_true(finding.usable && finding.stale && !finding.holds);
    fixture_set_now(NOW_MS);
    fixture_close(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_quantile),
        cmocka_unit_test(test_far_ahead),
        cmocka_unit_test(test_crossing),
        cmocka_unit_test(test_what_cannot_be_said),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
