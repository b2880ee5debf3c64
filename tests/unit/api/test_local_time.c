/* The time zone that a series is set to, on its way to forecasts and to trainings.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Field rule "DST, local holidays": what people do at nine on working days they do at nine after
 * the clock was changed. In New York summer time ended on 2026-11-01 at 06:00 UTC; it is two days
 * later, and by UTC last week's peak lay an hour earlier than this week's.
 */
#include "fixture.h"

#include "base/time_zone.h"

#include <jansson.h>
#include <math.h>
#include <sys/resource.h>

#define HOUR    INT64_C(3600000)
#define COUNT   (8 * 7 * 24)
#define STEPS   24
#define PEAK    9                      /* local hour */
#define NEWEST  INT64_C(1793685600000) /* 2026-11-03T06:00:00Z, a Tuesday, 01:00 in New York */
#define ZONE    "America/New_York"
#define SETTING "{\"time_zone\":\"" ZONE "\"}"

static struct fixture fixture;

static int64_t local_ms(int64_t time_ms)
{
    const struct time_zone *zone = time_zone_or_utc(ZONE);
    assert_non_null(zone);
    return time_ms + time_zone_offset_ms(zone, time_ms);
}

static int local_hour(int64_t time_ms)
{
    return (int)(local_ms(time_ms) / HOUR % 24);
}

/* 1970 began on a Thursday. */
static bool is_working_day(int64_t time_ms)
{
    return (local_ms(time_ms) / (24 * HOUR) + 3) % 7 < 5;
}

static double value_at(int64_t time_ms)
{
    double away = local_hour(time_ms) - PEAK;
    double peak = is_working_day(time_ms) ? 40.0 * exp(-away * away / 4.0) : 0.0;
    return 10.0 + peak + 0.1 * (double)(time_ms / HOUR * 37 % 11);
}

static void put_weeks(const char *series)
{
    struct text body;
    text_init(&body, 1u << 20);
    text_add_format(&body, "{\"series\":\"%s\",\"points\":[", series);
    for (int64_t i = 0; i < COUNT; i++) {
        int64_t time_ms = NEWEST - (COUNT - 1 - i) * HOUR;
        text_add_format(&body, "%s[%lld,%.2f]", i ? "," : "", (long long)time_ms,
                        value_at(time_ms));
    }
    text_add_string(&body, "]}");
    expect(&fixture, API_POST, "/api/v1/points", body.bytes, 200, NULL);
    text_release(&body);
}

static int open_service(void **state)
{
    (void)state;
    fixture_open(&fixture);
    fixture_set_now(NEWEST);
    put_weeks("local");
    put_weeks("utc");
    expect(&fixture, API_PATCH, "/api/v1/series/local", SETTING, 200, ZONE);
    return 0;
}

static int close_service(void **state)
{
    (void)state;
    fixture_close(&fixture);
    return 0;
}

/* The local hour of the largest median of the day to come. */
static int peak_of(const char *series)
{
    char target[120];
    snprintf(target, sizeof(target), "/api/v1/forecast?series=%s&steps=%d&quantiles=0.5", series,
             STEPS);
    json_t *answer = fixture_json(&fixture, target);
    const json_t *forecast = fixture_forecast(answer, 0);
    const json_t *quantiles = json_object_get(forecast, "quantiles");
    const json_t *stamps = json_object_get(forecast, "timestamps");
    size_t peak = 0;
    for (size_t h = 1; h < STEPS; h++) {
        if (fixture_number(quantiles, "0.5", h) > fixture_number(quantiles, "0.5", peak)) {
            peak = h;
        }
    }
    assert_true(fixture_number(quantiles, "0.5", peak) > 30.0);
    int hour = local_hour(json_integer_value(json_array_get(stamps, peak)));
    json_decref(answer);
    return hour;
}

/* ---------------------------------------------------------------- tests */

static void forecasts_are_by_the_local_clock(void **state)
{
    (void)state;
    assert_int_equal(peak_of("local"), PEAK);
    assert_int_equal(peak_of("utc"), PEAK - 1);
    /* The setting alone makes the difference, and at once. */
    expect(&fixture, API_PATCH, "/api/v1/series/utc", SETTING, 200, ZONE);
    assert_int_equal(peak_of("utc"), PEAK);
    expect(&fixture, API_PATCH, "/api/v1/series/utc", "{\"time_zone\":null}", 200, NULL);
    assert_int_equal(peak_of("utc"), PEAK - 1);
}

/* Each series of a group has its own. */
static void trainings_are_by_the_local_clock(void **state)
{
    struct api_group group = {0};
    struct error error = {0};
    struct api_group_order order = {
        .step_ms = HOUR, .values_max = COUNT, .bytes_max = (size_t)1 << 20};
    uint32_t local = storage_series_find(fixture.services.storage, "local", 5);
    (void)state;
    assert_int_equal(api_group_load(fixture.worker, &order, &group, &error), STATUS_OK);
    assert_int_equal(group.count, 2);
    for (size_t i = 0; i < group.count; i++) {
        if (group.ids[i] == local) {
            assert_non_null(group.series[i].time_zone);
            assert_string_equal(group.series[i].time_zone, ZONE);
        } else {
            assert_null(group.series[i].time_zone);
        }
    }
    api_group_free(&group);
}

/* As settings that a store has from before. */
static void set_zone(uint32_t id, const char *zone)
{
    struct write_batch *batch;
    struct error error = {0};
    struct series_settings settings = {0};
    struct api_services *services = &fixture.services;
    snprintf(settings.time_zone, sizeof(settings.time_zone), "%s", zone);
    assert_int_equal(write_batch_new(services->storage, 1, &batch, &error), STATUS_OK);
    assert_int_equal(write_batch_settings(batch, id, &settings, &error), STATUS_OK);
    assert_int_equal(writer_write_take(services->writer, batch, NULL, &error), STATUS_OK);
}

/* A process without a descriptor left answers late, and never by the wrong clock; a group learns
 * without the one series. */
static void a_zone_that_cannot_be_read_now_is_not_utc(void **state)
{
    static const char forecast[] = "/api/v1/forecast?series=utc&steps=24";
    struct api_group group = {0};
    struct error error = {0};
    struct api_group_order order = {
        .step_ms = HOUR, .values_max = COUNT, .bytes_max = (size_t)1 << 20};
    struct rlimit before;
    (void)state;
    set_zone(storage_series_find(fixture.services.storage, "utc", 3), "America/Toronto");
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    struct rlimit none = {.rlim_cur = 0, .rlim_max = before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    expect(&fixture, API_GET, forecast, NULL, 503, "America/Toronto");
    expect(&fixture, API_PATCH, "/api/v1/series/local", "{\"time_zone\":\"Asia/Almaty\"}", 503,
           "\"busy\"");
    enum status loaded = api_group_load(fixture.worker, &order, &group, &error);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    assert_int_equal(loaded, STATUS_OK);
    assert_int_equal(group.count, 1);
    assert_int_equal(group.unfit, 1);
    assert_string_equal(group.series[0].time_zone, "America/New_York");
    api_group_free(&group);
    expect(&fixture, API_GET, forecast, NULL, 200, NULL);
    assert_int_equal(peak_of("utc"), PEAK); /* Toronto's clock is New York's */
    assert_int_equal(api_group_load(fixture.worker, &order, &group, &error), STATUS_OK);
    assert_int_equal(group.count, 2);
    api_group_free(&group);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(forecasts_are_by_the_local_clock),
        cmocka_unit_test(trainings_are_by_the_local_clock),
        cmocka_unit_test(a_zone_that_cannot_be_read_now_is_not_utc),
    };
    return cmocka_run_group_tests(tests, open_service, close_service);
}
