/* Conditions of alert rules on forecasts of series that are as plain as can be.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "fixture.h"

#include <math.h>
#include <stdlib.h>

#define MINUTE INT64_C(60000)
#define HOUR   (60 * MINUTE)
#define FULL   (NOW_MS - 39 * MINUTE) /* the full hour before now */

struct line {
    int64_t last_ms, step_ms;
    int count;
    double first, slope; /* a step */
};

static void feed_line(struct fixture *fixture, const char *series, struct line line)
{
    struct text body;
    text_init(&body, 1 << 16);
    text_add_format(&body, "{\"series\":\"%s\",\"points\":[", series);
    for (int i = 0; i < line.count; i++) {
        text_add_format(&body, "%s[%lld,%.15g]", i > 0 ? "," : "",
                        (long long)(line.last_ms - (line.count - 1 - i) * line.step_ms),
                        line.first + line.slope * i);
    }
    text_add_string(&body, "]}");
    expect(fixture, API_POST, "/api/v1/points", body.bytes, 200, NULL);
    text_release(&body);
}

/* `count` minutes up to now: from `first` by `slope` a minute. */
static void feed(struct fixture *fixture, const char *series, int count, double first, double slope)
{
    feed_line(fixture, series, (struct line){NOW_MS, MINUTE, count, first, slope});
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

    /* Longer than any grid has: cut there, not at 1,024 steps of the series' own. */
    feed_line(&fixture, "hours", (struct line){FULL, HOUR, 720, 0.0, 1.0}); /* 719 by then */
    condition.within_ms = 300 * 24 * HOUR;
    condition.threshold = 719.0 + 1060.0; /* the trend of days is damped */
    finding = find(&fixture, "hours", &condition);
    assert_true(finding.holds && finding.when_ms > FULL + 1024 * HOUR);
    /* There are not two days of it yet, but there are minutes. */
    feed(&fixture, "young", 60, 0.0, 1.0);
    condition.threshold = 500.0;
    finding = find(&fixture, "young", &condition);
    assert_true(finding.usable && finding.holds);
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

/* Hours of minutes: the one that runs is called by its begin, which has passed. */
static void test_running_cell(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_open(&fixture);
    feed(&fixture, "level", 2400, 50.0, 0.0);
    feed(&fixture, "rise", 2400, 0.0, 1.0); /* 2399 now; the mean of 12:00 to 13:00 is 2330 or so */
    expect(&fixture, API_PATCH, "/api/v1/series/level", "{\"step\":\"1h\"}", 200, NULL);
    expect(&fixture, API_PATCH, "/api/v1/series/rise", "{\"step\":\"1h\"}", 200, NULL);
    struct alert_condition condition = {.measure = ALERT_QUANTILE,
                                        .above = true,
                                        .threshold = 40.0,
                                        .within_ms = HOUR,
                                        .level = 0.5};
    struct alert_finding finding = find(&fixture, "level", &condition);
    assert_int_equal(finding.origin_ms, FULL - HOUR);
    assert_true(finding.holds && finding.when_ms == FULL && fabs(finding.figure - 50.0) < 0.5);
    condition.threshold = 2430.0; /* the hour that runs comes to 2389.5, the next one to 2449.5 */
    finding = find(&fixture, "rise", &condition);
    assert_true(finding.holds && finding.when_ms == FULL + HOUR);
    assert_true(fabs(finding.figure - 2449.5) < 5.0);
    condition.within_ms = 20 * MINUTE; /* the next hour has not begun by then */
    finding = find(&fixture, "rise", &condition);
    assert_true(!finding.holds && fabs(finding.figure - 2389.5) < 5.0);
    condition.measure = ALERT_CROSSING; /* readings go above 2480 in 81 minutes */
    condition.threshold = 2480.0;
    condition.within_ms = 90 * MINUTE;
    finding = find(&fixture, "rise", &condition);
    assert_true(finding.holds && llabs(finding.when_ms - (NOW_MS + 81 * MINUTE)) < 8 * MINUTE);
    condition.within_ms = 70 * MINUTE;
    assert_false(find(&fixture, "rise", &condition).holds);
    fixture_close(&fixture);
}

/* Between the full hour and the reading of it nothing must change that the clock alone says. */
static void test_late_reading(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_open(&fixture);
    feed_line(&fixture, "level", (struct line){FULL - HOUR, HOUR, 60, 50.0, 0.0});
    feed_line(&fixture, "rise", (struct line){FULL - HOUR, HOUR, 60, 0.0, 1.0}); /* 59 by then */
    struct alert_condition condition = {.measure = ALERT_QUANTILE,
                                        .above = true,
                                        .threshold = 40.0,
                                        .within_ms = HOUR,
                                        .level = 0.5};
    for (int minute = -59; minute < 120; minute += 7) { /* no instant at which it does not hold */
        fixture_set_now(FULL + minute * MINUTE);
        struct alert_finding finding = find(&fixture, "level", &condition);
        assert_true(finding.usable && !finding.stale && finding.holds);
    }
    condition.threshold = 60.5; /* as much is at 14:00, 60 at 13:00 */
    fixture_set_now(FULL - 30 * MINUTE);
    assert_false(find(&fixture, "rise", &condition).holds);
    fixture_set_now(FULL + MINUTE); /* no point has come: what was made before sees too little */
    struct alert_finding finding = find(&fixture, "rise", &condition);
    assert_true(finding.holds && finding.when_ms == FULL + HOUR);
    condition.within_ms = 10 * MINUTE; /* shorter than the step: the next one counts */
    fixture_set_now(FULL - 30 * MINUTE);
    condition.threshold = 59.5;
    finding = find(&fixture, "rise", &condition);
    assert_true(finding.holds && finding.when_ms == FULL);
    fixture_close(&fixture);
}

/* The time counts from now, however old the newest reading is. */
static void test_whole_time(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_open(&fixture);
    feed_line(&fixture, "line", (struct line){NOW_MS - 8 * MINUTE, MINUTE, 100, 0.0, 1.0});
    struct alert_condition condition = {.measure = ALERT_QUANTILE,
                                        .above = true,
                                        .threshold = 99.0 + 8.0 + 8.5, /* in nine minutes */
                                        .within_ms = 10 * MINUTE,
                                        .level = 0.5};
    struct alert_finding finding = find(&fixture, "line", &condition);
    assert_true(finding.holds && finding.when_ms == NOW_MS + 9 * MINUTE);
    condition.measure = ALERT_CROSSING;
    finding = find(&fixture, "line", &condition);
    assert_true(finding.holds && llabs(finding.when_ms - (NOW_MS + 9 * MINUTE)) <= MINUTE);
    condition.within_ms = 7 * MINUTE;
    assert_false(find(&fixture, "line", &condition).holds);
    fixture.limits.horizon_max = 24; /* the limit holds for both together */
    condition.measure = ALERT_QUANTILE;
    condition.within_ms = 24 * MINUTE;
    condition.threshold = 200.0;
    finding = find(&fixture, "line", &condition);
    assert_true(!finding.holds && fabs(finding.figure - 123.0) < 1.0);
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
        cmocka_unit_test(test_running_cell),
        cmocka_unit_test(test_late_reading),
        cmocka_unit_test(test_whole_time),
        cmocka_unit_test(test_what_cannot_be_said),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
