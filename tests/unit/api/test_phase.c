/* Series whose readings lie elsewhere than on multiples of the step: what they are told by.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Forecasts, recalled ones, accuracy, anomalies and live answers keep the place of the readings.
 */
#include "fixture.h"

#include "api/track.h"
#include "base/clock.h"
#include "base/random.h"
#include "base/text.h"

#include <jansson.h>
#include <math.h>

#define SECOND INT64_C(1000)
#define MINUTE (60 * SECOND)
#define HOUR   (60 * MINUTE)
#define DAY    (24 * HOUR)
#define H      12
#define PAST   240 /* readings before forecasts are issued, */
#define ISSUED 40  /* and from then on */
#define NEWEST (NOW_MS - NOW_MS % HOUR - 5 * MINUTE)

static struct fixture f;

static int open_service(void **state)
{
    (void)state;
    fixture_open(&f);
    f.limits.vintage_age_max_ms = 14 * DAY;
    f.limits.horizon_default = H;
    fixture_set_now(NOW_MS);
    return 0;
}

static int close_service(void **state)
{
    (void)state;
    fixture_close(&f);
    return 0;
}

/* ---------------------------------------------------------------- sending and asking */

struct sending {
    struct text body;
    size_t count;
};

static void begin(struct sending *sending, const char *series)
{
    *sending = (struct sending){.count = 0};
    text_init(&sending->body, 1u << 20);
    text_add_format(&sending->body, "{\"series\":\"%s\",\"points\":[", series);
}

static void add(struct sending *sending, int64_t time_ms, double value)
{
    text_add_format(&sending->body, "%s[%lld,%.3f]", sending->count++ ? "," : "",
                    (long long)time_ms, value);
}

static void send(struct sending *sending)
{
    text_add_string(&sending->body, "]}");
    expect(&f, API_POST, "/api/v1/points", sending->body.bytes, 200, NULL);
    text_release(&sending->body);
}

static int64_t stamp(const json_t *forecast, size_t h)
{
    return json_integer_value(json_array_get(json_object_get(forecast, "timestamps"), h));
}

static int64_t origin_of(const json_t *forecast)
{
    const char *text = json_string_value(json_object_get(forecast, "origin"));
    struct error error = {0};
    int64_t time_ms = 0;
    assert_int_equal(clock_parse(text, strlen(text), 1, &time_ms, &error), STATUS_OK);
    return time_ms;
}

/* The origin is `newest_ms` and what follows lies a step apart. */
static void check(const char *target, int64_t newest_ms, int64_t step_ms)
{
    json_t *document = fixture_json(&f, target);
    const json_t *forecast = fixture_forecast(document, 0);
    assert_int_equal(origin_of(forecast), newest_ms);
    for (size_t h = 0; h < H; h++) {
        assert_int_equal(stamp(forecast, h), newest_ms + (int64_t)(h + 1) * step_ms);
    }
    json_decref(document);
}

static int quality(const json_t *forecast, const char *name)
{
    const json_t *found = json_object_get(json_object_get(forecast, "quality"), name);
    return (int)json_integer_value(found);
}

/* ---------------------------------------------------------------- forecasts */

static void mondays_are_followed_by_mondays(void **state)
{
    (void)state;
    struct sending sending;
    int64_t monday_ms = NOW_MS - (NOW_MS / DAY + 3) % 7 * DAY - NOW_MS % DAY;
    begin(&sending, "weekly");
    for (int64_t i = 99; i >= 0; i--) {
        add(&sending, monday_ms - i * 7 * DAY, 100.0 + (double)(i % 4));
    }
    send(&sending);
    check("/api/v1/forecast?series=weekly&steps=12", monday_ms, 7 * DAY);
}

static void firsts_of_months_are_followed_by_firsts(void **state)
{
    (void)state;
    struct sending sending;
    struct error error = {0};
    char text[32];
    int64_t firsts_ms[100];
    for (int month = 0; month < 100; month++) {
        int length = snprintf(text, sizeof(text), "%d-%02d-01", 2019 + month / 12, 1 + month % 12);
        assert_int_equal(clock_parse(text, (size_t)length, 0, &firsts_ms[month], &error),
                         STATUS_OK);
    }
    begin(&sending, "monthly");
    for (int month = 0; month < 83; month++) { /* the last one is November 2025 */
        add(&sending, firsts_ms[month], month % 12 == 11 ? 30.0 : 10.0 + month % 2 * 0.1);
    }
    send(&sending);
    json_t *document = fixture_json(&f, "/api/v1/forecast?series=monthly&steps=14");
    const json_t *forecast = fixture_forecast(document, 0);
    assert_int_equal(origin_of(forecast), firsts_ms[82]);
    assert_int_equal(quality(forecast, "missing"), 0);
    for (size_t h = 0; h < 14; h++) {
        assert_int_equal(stamp(forecast, h), firsts_ms[83 + h]);
        bool december = (83 + h) % 12 == 11;
        assert_true(december == (fixture_number(forecast, "mean", h) > 25.0));
    }
    json_decref(document);
}

static void jitter_leaves_no_gaps(void **state)
{
    (void)state;
    struct sending sending;
    struct random random;
    int64_t full_ms = NOW_MS - NOW_MS % MINUTE - MINUTE;
    random_init(&random, 3, 0);
    begin(&sending, "jitter");
    for (int64_t i = 999; i >= 0; i--) {
        int64_t away_ms = (int64_t)(200.0 * random_normal(&random));
        add(&sending, full_ms - i * MINUTE + away_ms, (double)(i % 7));
    }
    send(&sending);
    json_t *document = fixture_json(&f, "/api/v1/forecast?series=jitter&steps=12");
    const json_t *forecast = fixture_forecast(document, 0);
    assert_int_equal(quality(forecast, "missing"), 0);
    assert_int_equal(json_array_size(json_object_get(forecast, "warnings")), 0);
    json_decref(document);
    check("/api/v1/forecast?series=jitter&steps=12", full_ms, MINUTE);
}

/* A step that is set coarser than the readings has cells of the clock. */
static void coarser_cells_lie_on_multiples(void **state)
{
    (void)state;
    struct sending sending;
    int64_t day_ms = NOW_MS - NOW_MS % DAY;
    begin(&sending, "coarse");
    for (int64_t i = 999; i >= 0; i--) {
        add(&sending, NEWEST - i * HOUR, (double)(i % 24));
    }
    send(&sending);
    check("/api/v1/forecast?series=coarse&steps=12", NEWEST, HOUR);
    expect(&f, API_PATCH, "/api/v1/series/coarse", "{\"step\":\"1d\"}", 200, NULL);
    check("/api/v1/forecast?series=coarse&steps=12", day_ms - DAY, DAY);
}

/* ---------------------------------------------------------------- what was said */

static double truth(int64_t hour)
{
    return 20.0 + 5.0 * sin((double)hour * 2.0 * M_PI / 24.0);
}

static int64_t time_of(int64_t index)
{
    return NEWEST + (index - PAST - ISSUED + 1) * HOUR;
}

/* Hourly readings at five to the full hour; each of the newer ones has a forecast issued. */
static void serve_hours(const char *series)
{
    struct error error = {0};
    struct random random;
    random_init(&random, 4, 0);
    for (int64_t i = 0; i < PAST + ISSUED; i++) {
        struct sending sending;
        fixture_set_now(time_of(i) + 2000);
        begin(&sending, series);
        add(&sending, time_of(i), truth(i) + 0.3 * random_normal(&random));
        send(&sending);
        uint32_t id = storage_series_find(f.services.storage, series, strlen(series));
        if (i >= PAST && api_issue_due(&f.services, id, false)) {
            api_issue(f.worker, &id, 1);
        }
    }
    assert_int_equal(writer_compact(f.services.writer, &error), STATUS_OK);
}

static void what_was_issued_is_recalled_and_scored(void **state)
{
    (void)state;
    char target[160];
    serve_hours("five_to");
    check("/api/v1/forecast?series=five_to&steps=12", NEWEST, HOUR);
    snprintf(target, sizeof(target), "/api/v1/forecast?series=five_to&steps=12&at=%lld",
             (long long)(time_of(PAST + 9) + 2000));
    json_t *recalled = fixture_json(&f, target);
    int64_t origin_ms = origin_of(fixture_forecast(recalled, 0));
    assert_int_equal(origin_ms % HOUR, 55 * MINUTE);
    assert_int_equal(stamp(fixture_forecast(recalled, 0), 0), origin_ms + HOUR);
    json_decref(recalled);
    json_t *accuracy = fixture_json(&f, "/api/v1/accuracy?series=five_to");
    const json_t *all =
        json_object_get(json_array_get(json_object_get(accuracy, "series"), 0), "issued");
    assert_true(json_integer_value(json_object_get(all, "count")) > 50);
    json_decref(accuracy);
    snprintf(target, sizeof(target), "/api/v1/anomalies?series=five_to&start=%lld",
             (long long)time_of(PAST + 20));
    json_t *anomalies = fixture_json(&f, target);
    const json_t *points = json_object_get(anomalies, "points");
    assert_int_equal(json_array_size(points), 20);
    for (size_t i = 0; i < 20; i++) {
        assert_int_equal(json_integer_value(json_array_get(json_array_get(points, i), 0)),
                         time_of(PAST + 20 + (int64_t)i));
    }
    const json_t *issued = json_object_get(json_object_get(anomalies, "scored_by"), "issued");
    assert_true(json_integer_value(issued) >= 15);
    json_decref(anomalies);
}

/* An answer that is kept is made anew with the next reading, not with the next full hour. */
static void a_live_answer_ends_with_the_cell(void **state)
{
    (void)state;
    struct sending sending;
    static const char target[] = "/api/v1/forecast?series=live&steps=12";
    begin(&sending, "live");
    for (int64_t i = 99; i >= 0; i--) {
        add(&sending, NEWEST - i * HOUR, (double)(i % 5));
    }
    send(&sending);
    fixture_set_now(NEWEST + 2000);
    check(target, NEWEST, HOUR);
    assert_true(fixture_is_fast(&f, target, NULL));
    fixture_set_now(NEWEST + 10 * MINUTE); /* behind the full hour */
    assert_true(fixture_is_fast(&f, target, NULL));
    fixture_set_now(NEWEST + HOUR + 2000);
    begin(&sending, "live");
    add(&sending, NEWEST + HOUR, 1.0);
    send(&sending);
    assert_false(fixture_is_fast(&f, target, NULL));
    check(target, NEWEST + HOUR, HOUR);
}

/* Long before an eighth of the points is new. */
static void a_changed_step_is_soon_seen(void **state)
{
    (void)state;
    struct sending sending;
    static const char target[] = "/api/v1/forecast?series=slower&steps=12";
    int64_t full_ms = NOW_MS - NOW_MS % MINUTE - HOUR;
    begin(&sending, "slower");
    for (int64_t i = 2000; i >= 0; i--) {
        add(&sending, full_ms - i * 15 * SECOND, (double)(i % 9));
    }
    send(&sending);
    check(target, full_ms, 15 * SECOND);
    begin(&sending, "slower");
    for (int64_t i = 1; i <= 50; i++) {
        add(&sending, full_ms + i * MINUTE, (double)(i % 9));
    }
    send(&sending);
    check(target, full_ms + 50 * MINUTE, MINUTE);
}

static int listed_step_s(const char *target)
{
    json_t *document = fixture_json(&f, target);
    const json_t *series = json_array_get(json_object_get(document, "series"), 0);
    int step_s = (int)(json_integer_value(json_object_get(series, "step_ms")) / SECOND);
    assert_true(json_array_size(json_object_get(series, "seasons")) > 0);
    json_decref(document);
    return step_s;
}

/* A list decides from few points where nothing is known, and keeps what a forecast has found. */
static void a_list_in_the_night_changes_nothing(void **state)
{
    (void)state;
    struct sending sending;
    int64_t time_ms = NOW_MS - 6 * DAY, night_ms = NOW_MS - 7 * HOUR;
    begin(&sending, "nights");
    for (int64_t i = 0; time_ms < NOW_MS; i++) {
        if (time_ms > night_ms && i % 10 == 0) {
            send(&sending);
            assert_int_equal(listed_step_s("/api/v1/series?match=nights"), 60);
            begin(&sending, "nights");
        }
        add(&sending, time_ms,
            10.0 + 5.0 * sin((double)(time_ms % DAY) / (double)DAY * 2.0 * M_PI));
        bool night = (time_ms - night_ms + 14 * DAY) % DAY < 8 * HOUR;
        time_ms += night ? 5 * MINUTE : MINUTE;
        if (time_ms > night_ms && time_ms <= night_ms + 5 * MINUTE) {
            send(&sending);
            json_decref(fixture_json(&f, "/api/v1/forecast?series=nights&steps=12"));
            begin(&sending, "nights");
        }
    }
    send(&sending);
    assert_int_equal(listed_step_s("/api/v1/series?match=nights"), 60);
}

/* Midnights of Berlin over a first spring, a day at a time: none is the second of the day before.
 */
static void a_changed_clock_is_seen_at_once(void **state)
{
    (void)state;
    struct sending sending;
    int64_t first_ms = NOW_MS - NOW_MS % DAY - 160 * DAY + 23 * HOUR;
    for (int64_t i = 0; i < 159; i++) {
        begin(&sending, "midnights");
        add(&sending, first_ms + i * DAY - (i >= 149 ? HOUR : 0), (double)(i % 7));
        send(&sending);
        if (i > 140) {
            json_t *document = fixture_json(&f, "/api/v1/forecast?series=midnights&steps=12");
            const json_t *forecast = fixture_forecast(document, 0);
            assert_int_equal(origin_of(forecast), first_ms + i * DAY);
            assert_int_equal(quality(forecast, "missing"), 0);
            json_decref(document);
        }
    }
}

/* Of two ranges that meet in the middle of a cell each value is in one. */
static void ranges_share_no_cell(void **state)
{
    (void)state;
    struct sending sending;
    struct random random;
    char target[160];
    int64_t full_ms = NOW_MS - NOW_MS % MINUTE - MINUTE, border_ms = full_ms - 30 * MINUTE;
    random_init(&random, 3, 0);
    begin(&sending, "borders");
    for (int64_t i = 999; i >= 0; i--) {
        int64_t early_ms = i == 30 ? -300 : (int64_t)(200.0 * random_normal(&random));
        add(&sending, full_ms - i * MINUTE + early_ms, (double)(i % 7));
    }
    send(&sending);
    snprintf(target, sizeof(target), "/api/v1/anomalies?series=borders&start=%lld&end=%lld",
             (long long)(border_ms - 10 * MINUTE), (long long)border_ms);
    json_t *before = fixture_json(&f, target);
    const json_t *points = json_object_get(before, "points");
    assert_int_equal(json_array_size(points), 10);
    assert_int_equal(json_integer_value(json_array_get(json_array_get(points, 9), 0)),
                     border_ms - MINUTE);
    json_decref(before);
    snprintf(target, sizeof(target), "/api/v1/anomalies?series=borders&start=%lld&end=%lld",
             (long long)border_ms, (long long)(border_ms + 10 * MINUTE));
    json_t *after = fixture_json(&f, target);
    points = json_object_get(after, "points");
    assert_int_equal(json_array_size(points), 10);
    assert_int_equal(json_integer_value(json_array_get(json_array_get(points, 0), 0)), border_ms);
    json_decref(after);
}

static void old_vintages_fit_where_cells_hardly_moved(void **state)
{
    (void)state;
    struct vintage vintage = {.step_ms = HOUR, .origin_ms = NEWEST};
    assert_true(vintage_align(&vintage, NEWEST - 100 * HOUR));
    assert_int_equal(vintage.origin_ms, NEWEST);
    assert_true(vintage_align(&vintage, NEWEST - 100 * HOUR + 4 * MINUTE));
    assert_int_equal(vintage.origin_ms, NEWEST + 4 * MINUTE);
    assert_true(vintage_align(&vintage, NEWEST + 100 * HOUR));
    assert_int_equal(vintage.origin_ms, NEWEST);
    assert_false(vintage_align(&vintage, NEWEST - 100 * HOUR + 20 * MINUTE));
    /* Neighbouring twelfths of 2.5 s are 208 ms and 209 ms apart. */
    vintage = (struct vintage){.step_ms = 2500, .origin_ms = 417};
    assert_true(vintage_align(&vintage, 208));
    assert_int_equal(vintage.origin_ms, 208);
    assert_true(vintage_align(&vintage, 417));
    assert_false(vintage_align(&vintage, 627));
}

/* Of a cell on multiples the reading comes within the step that begins there, not before. */
static void vintages_on_multiples_move_forward(void **state)
{
    (void)state;
    struct vintage vintage = {.step_ms = HOUR, .origin_ms = 1000 * HOUR};
    assert_false(vintage_align(&vintage, 55 * MINUTE));
    assert_int_equal(vintage.origin_ms, 1000 * HOUR);
    assert_true(vintage_align(&vintage, 7 * HOUR));
    assert_int_equal(vintage.origin_ms, 1000 * HOUR);
    assert_true(vintage_align(&vintage, 5 * MINUTE));
    assert_int_equal(vintage.origin_ms, 1000 * HOUR + 5 * MINUTE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(mondays_are_followed_by_mondays, open_service,
                                        close_service),
        cmocka_unit_test_setup_teardown(firsts_of_months_are_followed_by_firsts, open_service,
                                        close_service),
        cmocka_unit_test_setup_teardown(jitter_leaves_no_gaps, open_service, close_service),
        cmocka_unit_test_setup_teardown(coarser_cells_lie_on_multiples, open_service,
                                        close_service),
        cmocka_unit_test_setup_teardown(what_was_issued_is_recalled_and_scored, open_service,
                                        close_service),
        cmocka_unit_test_setup_teardown(a_live_answer_ends_with_the_cell, open_service,
                                        close_service),
        cmocka_unit_test_setup_teardown(a_changed_step_is_soon_seen, open_service, close_service),
        cmocka_unit_test_setup_teardown(a_list_in_the_night_changes_nothing, open_service,
                                        close_service),
        cmocka_unit_test_setup_teardown(a_changed_clock_is_seen_at_once, open_service,
                                        close_service),
        cmocka_unit_test_setup_teardown(ranges_share_no_cell, open_service, close_service),
        cmocka_unit_test(old_vintages_fit_where_cells_hardly_moved),
        cmocka_unit_test(vintages_on_multiples_move_forward),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
