/* Forecast answers: fields, invariants, fallbacks, the live table, and everything that is refused.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "fixture.h"

#include "api/issue.h"
#include "api/live.h"
#include "api/track.h"
#include "base/memory.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>

#define MINUTE INT64_C(60000)
#define HOUR   INT64_C(3600000)

static struct fixture fixture;

static int open_fixture(void **state)
{
    (void)state;
    fixture_open(&fixture);
    fixture_fill(&fixture, "plain", 500, MINUTE);
    fixture_fill(&fixture, "cpu{core=\"0\"}", 300, HOUR);
    fixture_fill(&fixture, "cpu{core=\"1\"}", 300, HOUR);
    return 0;
}

static int close_fixture(void **state)
{
    (void)state;
    fixture_close(&fixture);
    return 0;
}

static void test_fields(void **state)
{
    (void)state;
    static const char *const fields[] = {
        "series",      "step_ms",         "origin",  "issued_at",  "data_age_ms", "state",
        "served_by",   "fallback_reason", "model",   "timestamps", "mean",        "quantiles",
        "calibration", "skill",           "quality", "warnings"};
    json_t *document = fixture_json(&fixture, "/api/v1/forecast?series=plain");
    const json_t *forecast = fixture_forecast(document, 0);
    for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
        if (!json_object_get(forecast, fields[i])) {
            fail_msg("%s is missing", fields[i]);
        }
    }
    assert_int_equal(json_object_size(forecast), sizeof(fields) / sizeof(fields[0]));
    fixture_check_forecast(forecast, 48, MINUTE, -1e9, 1e9);
    assert_string_equal(json_string_value(json_object_get(forecast, "origin")),
                        "2026-11-22T13:39:00Z");
    assert_int_equal(json_integer_value(json_array_get(json_object_get(forecast, "timestamps"), 0)),
                     NOW_MS + MINUTE);
    assert_string_equal(json_string_value(json_object_get(forecast, "state")), "baseline");
    assert_non_null(
        strstr(json_string_value(json_object_get(forecast, "fallback_reason")), "no_model"));
    assert_true(json_is_null(json_object_get(forecast, "model")));
    json_decref(document);
}

static void test_parameters(void **state)
{
    (void)state;
    json_t *document = fixture_json(
        &fixture, "/api/v1/forecast?series=plain&steps=7&quantiles=0.95,0.01,0.5,0.25,0.99");
    fixture_check_forecast(fixture_forecast(document, 0), 7, MINUTE, -1e9, 1e9);
    assert_int_equal(json_object_size(json_object_get(fixture_forecast(document, 0), "quantiles")),
                     5);
    json_decref(document);
    document = fixture_json(&fixture, "/api/v1/forecast?series=plain&horizon=90s&level=80,95");
    fixture_check_forecast(fixture_forecast(document, 0), 2, MINUTE, -1e9, 1e9);
    assert_non_null(
        json_object_get(json_object_get(fixture_forecast(document, 0), "quantiles"), "0.025"));
    assert_non_null(
        json_object_get(json_object_get(fixture_forecast(document, 0), "quantiles"), "0.1"));
    json_decref(document);
    document = fixture_json(&fixture, "/api/v1/forecast?series=cpu&series=plain&history=2h");
    assert_int_equal(json_array_size(json_object_get(document, "forecasts")), 3);
    fixture_check_forecast(fixture_forecast(document, 1), 48, HOUR, -1e9, 1e9);
    assert_int_equal(json_array_size(json_object_get(
                         json_object_get(fixture_forecast(document, 2), "history"), "values")),
                     120);
    json_decref(document);
    document =
        fixture_json(&fixture, "/api/v1/forecast?series=cpu%7Bcore%3D~%220%7C1%22%7D&steps=1024");
    fixture_check_forecast(fixture_forecast(document, 0), 1024, HOUR, -1e9, 1e9);
    json_decref(document);
}

static void test_bounds(void **state)
{
    (void)state;
    expect(&fixture, API_PATCH, "/api/v1/series/plain",
           "{\"min\":18.123456789,\"max\":21.987654321}", 200, NULL);
    json_t *document =
        fixture_json(&fixture, "/api/v1/forecast?series=plain&quantiles=0.001,0.1,0.5,0.9,0.999");
    fixture_check_forecast(fixture_forecast(document, 0), 48, MINUTE, 18.123456789, 21.987654321);
    json_decref(document);
}

static void test_refusals(void **state)
{
    (void)state;
    static const struct {
        const char *query;
        int status;
        const char *part;
    } table[] = {
        {"", 400, "missing_parameter"},
        {"series=", 400, "missing_parameter"},
        {"series=nope", 404, "unknown_series"},
        {"series=plain&series=nope", 404, "unknown_series"},
        {"series=%7B", 400, "bad_selector"},
        {"series=plain&steps=0", 400, "bad_parameter"},
        {"series=plain&steps=1025", 400, "from 1 to 1024"},
        {"series=plain&steps=-1", 400, "bad_parameter"},
        {"series=plain&steps=5&horizon=1h", 400, "bad_parameter"},
        {"series=plain&horizon=soon", 400, "bad_parameter"},
        {"series=plain&horizon=0s", 400, "bad_parameter"},
        {"series=plain&horizon=365d", 400, "bad_parameter"},
        {"series=plain&quantiles=0", 400, "bad_parameter"},
        {"series=plain&quantiles=1", 400, "bad_parameter"},
        {"series=plain&quantiles=nan", 400, "bad_parameter"},
        {"series=plain&quantiles=0.1,", 400, "bad_parameter"},
        {"series=plain&quantiles=0.1;0.2", 400, "bad_parameter"},
        {"series=plain&level=100", 400, "bad_parameter"},
        {"series=plain&level=80&quantiles=0.1", 400, "bad_parameter"},
        {"series=plain&history=yes", 400, "bad_parameter"},
        {"series=plain&format=xml", 400, "json, csv, table"},
        {"series=plain&at=2026-01-01T00:00:00Z", 404, "no_vintage"},
        {"series=plain&color=red", 400, "unknown_parameter"},
        {"series=plain&steps=5&steps=6", 400, "repeated_parameter"},
    };
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        char target[300];
        snprintf(target, sizeof(target), "/api/v1/forecast?%s", table[i].query);
        expect(&fixture, API_GET, target, NULL, table[i].status, table[i].part);
    }
    expect(&fixture, API_POST, "/api/v1/points", "{\"series\":\"one\",\"value\":1}", 200, NULL);
    expect(&fixture, API_GET, "/api/v1/forecast?series=one", NULL, 422, "insufficient_history");
    fixture.limits.forecast_series_max = 2;
    expect(&fixture, API_GET, "/api/v1/forecast?series=%7B__name__%3D~%22.%2B%22%7D", NULL, 400,
           "too_many_series");
}

static void test_post(void **state)
{
    (void)state;
    static const struct {
        const char *body;
        int status;
        const char *part;
    } table[] = {
        {"{\"series\":\"plain\"}", 200, "\"served_by\":"},
        {"{\"series\":[\"plain\",\"cpu\"],\"steps\":3,\"quantiles\":[0.5]}", 200, "\"0.5\":["},
        {"{\"series\":\"plain\",\"horizon\":\"10m\",\"level\":[90],\"history\":\"1h\"}", 200,
         "\"0.95\""},
        {"{\"series\":\"plain\",\"format\":\"csv\",\"quantiles\":\"0.1,0.9\"}", 200,
         "series,timestamp,mean,q0.1,q0.9\nplain,"},
        {"{\"series\":\"plain\",\"format\":\"table\",\"level\":\"80\"}", 200,
         "[{\"series\":\"plain\","},
        {"", 400, "missing_parameter"},
        {"{\"series\":7}", 400, "bad_field"},
        {"{\"series\":[7]}", 400, "bad_field"},
        {"{\"series\":\"nope\"}", 404, "unknown_series"},
        {"{\"series\":\"plain\",\"steps\":\"x\"}", 400, "bad_field"},
        {"{\"series\":\"plain\",\"steps\":2,\"horizon\":\"1h\"}", 400, "bad_field"},
        {"{\"series\":\"plain\",\"quantiles\":[\"a\"]}", 400, "bad_field"},
        {"{\"series\":\"plain\",\"quantiles\":7}", 400, "bad_field"},
        {"{\"series\":\"plain\",\"quantiles\":[2]}", 400, "bad_parameter"},
        {"{\"series\":\"plain\",\"quantiles\":[0.5],\"level\":[80]}", 400, "bad_field"},
        {"{\"series\":\"plain\",\"at\":\"now\"}", 404, "no_vintage"},
        {"{\"series\":\"plain\",\"format\":3}", 400, "bad_field"},
        {"{\"series\":\"plain\",\"color\":3}", 400, "unknown_field"},
        {"[", 400, "bad_json"},
    };
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        expect(&fixture, API_POST, "/api/v1/forecast", table[i].body, table[i].status,
               table[i].part);
    }
}

static void test_rows(void **state)
{
    (void)state;
    struct answer answer = get(
        &fixture, "/api/v1/forecast?series=cpu%7Bcore%3D%220%22%7D&format=csv&steps=2&history=1h");
    assert_int_equal(answer.status, 200);
    assert_non_null(strstr(answer.type, "text/csv"));
    assert_non_null(strstr(answer.body, "series,timestamp,mean,q0.1,q0.5,q0.9,actual\n"
                                        "\"cpu{core=\"\"0\"\"}\",1795352400000,,,,,"));
    fixture_answer_release(&answer);
    json_error_t cause;
    answer = get(&fixture, "/api/v1/forecast?series=cpu&format=table&steps=2&history=2h");
    json_t *rows = json_loadb(answer.body, answer.length, 0, &cause);
    assert_int_equal(json_array_size(rows), 8);
    assert_true(json_is_null(json_object_get(json_array_get(rows, 0), "mean")));
    assert_true(json_is_number(json_object_get(json_array_get(rows, 2), "q0.9")));
    json_decref(rows);
    fixture_answer_release(&answer);
}

/* Few points: the chain goes down, and every answer keeps the invariants. */
static void test_chain(void **state)
{
    (void)state;
    char body[200];
    for (int i = 0; i < 40; i++) {
        snprintf(body, sizeof(body), "{\"series\":\"short\",\"timestamp\":%lld,\"value\":%d}",
                 (long long)(NOW_MS - (40 - i) * HOUR), i % 5);
        expect(&fixture, API_POST, "/api/v1/points", body, 200, NULL);
        if (i >= 1) {
            json_t *document = fixture_json(&fixture, "/api/v1/forecast?series=short&steps=30");
            fixture_check_forecast(fixture_forecast(document, 0), 30, HOUR, -1e9, 1e9);
            const char *warming =
                json_string_value(json_object_get(fixture_forecast(document, 0), "state"));
            assert_string_equal(warming, i >= 38 ? "baseline" : i >= 30 ? warming : "stale");
            json_decref(document);
        }
    }
    snprintf(
        body, sizeof(body), "{\"series\":\"void\",\"points\":[[%lld,null],[%lld,1],[%lld,null]]}",
        (long long)(NOW_MS - 3 * HOUR), (long long)(NOW_MS - 2 * HOUR), (long long)(NOW_MS - HOUR));
    expect(&fixture, API_POST, "/api/v1/points", body, 200, NULL);
    expect(&fixture, API_GET, "/api/v1/forecast?series=void", NULL, 422, "insufficient_history");
}

static void served_by(const char *series, const char *method, const char *reason)
{
    char target[100];
    snprintf(target, sizeof(target), "/api/v1/forecast?series=%s&steps=6", series);
    json_t *document = fixture_json(&fixture, target);
    assert_string_equal(
        json_string_value(json_object_get(fixture_forecast(document, 0), "served_by")), method);
    assert_string_equal(
        json_string_value(json_object_get(fixture_forecast(document, 0), "fallback_reason")),
        reason);
    json_decref(document);
}

/* Each baseline where the ones before it cannot. */
static void test_chain_of_baselines(void **state)
{
    (void)state;
    char body[2000];
    size_t used = (size_t)snprintf(body, sizeof(body), "{\"series\":\"walk\",\"points\":[");
    for (int i = 0; i < 20; i++) {
        used += (size_t)snprintf(body + used, sizeof(body) - used, "%s[%lld,%d]", i ? "," : "",
                                 (long long)(NOW_MS - (19 - i) * MINUTE), i + i * 5 % 7);
    }
    snprintf(body + used, sizeof(body) - used, "]}");
    expect(&fixture, API_POST, "/api/v1/points", body, 200, NULL);
    snprintf(body, sizeof(body), "{\"series\":\"few\",\"points\":[[%lld,1],[%lld,2],[%lld,4]]}",
             (long long)(NOW_MS - 2 * MINUTE), (long long)(NOW_MS - MINUTE), (long long)NOW_MS);
    expect(&fixture, API_POST, "/api/v1/points", body, 200, NULL);
    snprintf(body, sizeof(body), "{\"series\":\"two\",\"points\":[[%lld,1],[%lld,2]]}",
             (long long)(NOW_MS - MINUTE), (long long)NOW_MS);
    expect(&fixture, API_POST, "/api/v1/points", body, 200, NULL);
    served_by("plain", "damped_trend", "no_model");
    served_by("walk", "damped_trend", "no_model,no_season");
    served_by("few", "drift", "no_model,no_season,no_trend");
    served_by("two", "last_value", "no_model,no_season,no_trend,no_drift");
    static const char *const counted[] = {
        "forecasts_total{served_by=\"seasonal_naive\"} 0",
        "forecasts_total{served_by=\"damped_trend\"} 2",
        "forecasts_total{served_by=\"drift\"} 1",
        "forecasts_total{served_by=\"last_value\"} 1",
        "forecast_fallbacks_total{reason=\"no_model\"} 4",
    };
    for (size_t i = 0; i < sizeof(counted) / sizeof(counted[0]); i++) {
        char line[100];
        snprintf(line, sizeof(line), "\nforecastd_%s\n", counted[i]);
        expect(&fixture, API_GET, "/metrics", NULL, 200, line);
    }
}

/* A wave of so many steps; the newest `changed` values are in a unit of a thousandth. */
static void fill_wave(const char *name, int count, int season, int64_t step_ms, int changed)
{
    struct text body;
    text_init(&body, 1 << 20);
    text_add_format(&body, "{\"series\":\"%s\",\"points\":[", name);
    for (int i = 0; i < count; i++) {
        double value = 50.0 + 20.0 * sin(2.0 * M_PI * i / season);
        text_add_format(&body, "%s[%lld,%.2f]", i ? "," : "",
                        (long long)(NOW_MS - (count - 1 - i) * step_ms),
                        i >= count - changed ? 1000.0 * value : value);
    }
    text_add_string(&body, "]}");
    expect(&fixture, API_POST, "/api/v1/points", body.bytes, 200, NULL);
    text_release(&body);
}

/* A day of one-minute steps is a season of 1,440: it is seen as soon as it has come three times. */
static void test_day_of_minutes(void **state)
{
    (void)state;
    fill_wave("minutes", 4 * 1440, 1440, MINUTE, 0);
    served_by("minutes", "damped_trend", "no_model");
    expect(&fixture, API_GET, "/api/v1/series/minutes", NULL, 200, "\"seasons\":[1440]");
}

/* Bytes instead of kilobytes: the past says which season there is as well as before. */
static void test_season_behind_a_change_of_unit(void **state)
{
    (void)state;
    fill_wave("bytes", 500, 24, HOUR, 20);
    expect(&fixture, API_GET, "/api/v1/series/bytes", NULL, 200, "\"seasons\":[24]");
    expect(&fixture, API_GET, "/api/v1/forecast?series=bytes", NULL, 200, "unit_change_suspected");
}

/* Crashes: one hour in eight has some. Errors around a smoothed level lie beside zero. */
static void test_zeros_are_in_the_band(void **state)
{
    (void)state;
    struct text body;
    uint32_t bits = 3;
    text_init(&body, 1 << 16);
    text_add_string(&body, "{\"series\":\"crashes\",\"points\":[");
    for (int i = 0; i < 400; i++) {
        bits = bits * 1664525u + 1013904223u;
        text_add_format(&body, "%s[%lld,%d]", i ? "," : "", (long long)(NOW_MS - (399 - i) * HOUR),
                        bits >> 29 == 0 ? 2 : 0);
    }
    text_add_string(&body, "]}");
    expect(&fixture, API_POST, "/api/v1/points", body.bytes, 200, NULL);
    text_release(&body);
    served_by("crashes", "damped_trend", "no_model,no_season");
    json_t *document =
        fixture_json(&fixture, "/api/v1/forecast?series=crashes&quantiles=0.1,0.8,0.975");
    const json_t *levels = json_object_get(fixture_forecast(document, 0), "quantiles");
    for (size_t h = 0; h < 48; h++) {
        assert_true(fabs(fixture_number(levels, "0.1", h)) < 1e-12);
        assert_true(fabs(fixture_number(levels, "0.8", h)) < 1e-12);
        assert_true(fabs(fixture_number(levels, "0.975", h) - 2.0) < 1e-5);
    }
    json_decref(document);
}

/* Several points make a cell: the open cell is left out until it is over. */
static void test_open_cell(void **state)
{
    (void)state;
    expect(&fixture, API_PATCH, "/api/v1/series/plain", "{\"step\":\"5m\"}", 200, NULL);
    json_t *document = fixture_json(&fixture, "/api/v1/forecast?series=plain&steps=2");
    assert_string_equal(json_string_value(json_object_get(fixture_forecast(document, 0), "origin")),
                        "2026-11-22T13:30:00Z");
    json_decref(document);
    struct answer answer = get(&fixture, "/api/v1/forecast?series=plain&steps=2");
    assert_true(answer.fast);
    fixture_answer_release(&answer);
    fixture_set_now(NOW_MS + MINUTE);
    answer = get(&fixture, "/api/v1/forecast?series=plain&steps=2");
    assert_false(answer.fast); /* 13:40 is over: the cell of 13:35 counts now */
    assert_non_null(strstr(answer.body, "\"origin\":\"2026-11-22T13:35:00Z\""));
    fixture_answer_release(&answer);
}

static void test_live(void **state)
{
    (void)state;
    const char *target = "/api/v1/forecast?series=plain&steps=3";
    char body[200];
    assert_false(fixture_is_fast(&fixture, target, "\"data_age_ms\":             0,"));
    assert_true(fixture_is_fast(&fixture, target, NULL));
    fixture_set_now(NOW_MS + 1234);
    assert_true(fixture_is_fast(&fixture, target, "\"data_age_ms\":          1234,"));
    fixture_set_now(NOW_MS);
    /* an update of an old point */
    snprintf(body, sizeof(body), "{\"series\":\"plain\",\"timestamp\":%lld,\"value\":3}",
             (long long)(NOW_MS - 10 * MINUTE));
    expect(&fixture, API_POST, "/api/v1/points", body, 200, "\"updated\":1");
    assert_false(fixture_is_fast(&fixture, target, NULL));
    assert_true(fixture_is_fast(&fixture, target, NULL));
    /* a new point closes the step */
    snprintf(body, sizeof(body), "{\"series\":\"plain\",\"timestamp\":%lld,\"value\":3}",
             (long long)(NOW_MS + MINUTE));
    expect(&fixture, API_POST, "/api/v1/points", body, 200, NULL);
    uint32_t ids[8];
    size_t count = 0;
    int64_t due = api_refresh_due_ms(&fixture.services, ids, 8, &count);
    assert_int_equal(count, 1);
    assert_true(due >= 0 && due <= 1000);
    api_refresh(fixture.worker, ids, count);
    assert_true(fixture_is_fast(&fixture, target, "\"origin\":\"2026-11-22T13:40:00Z\""));
    api_refresh_due_ms(&fixture.services, ids, 8, &count);
    assert_int_equal(count, 0);
    /* settings */
    expect(&fixture, API_PATCH, "/api/v1/series/plain", "{\"max\":100}", 200, NULL);
    assert_false(fixture_is_fast(&fixture, target, NULL));
    /* a selector and a new series */
    target = "/api/v1/forecast?series=cpu&steps=3";
    assert_false(fixture_is_fast(&fixture, target, NULL));
    assert_true(fixture_is_fast(&fixture, target, NULL));
    fixture_fill(&fixture, "cpu{core=\"2\"}", 30, HOUR);
    assert_false(fixture_is_fast(&fixture, target, "core=\\\"2\\\""));
    /* another one leaves, and one comes: there are as many as before */
    fixture_fill(&fixture, "short", 30, HOUR);
    assert_false(fixture_is_fast(&fixture, target, NULL));
    expect(&fixture, API_DELETE, "/api/v1/series/short", NULL, 204, NULL);
    fixture_fill(&fixture, "cpu{core=\"3\"}", 30, HOUR);
    assert_false(fixture_is_fast(&fixture, target, "core=\\\"3\\\""));
    /* by time alone: it becomes stale */
    assert_true(fixture_is_fast(&fixture, target, NULL));
    fixture_set_now(NOW_MS + 11 * HOUR);
    assert_false(fixture_is_fast(&fixture, target, "\"state\":\"stale\""));
    /* deleted: the refresh drops it */
    expect(&fixture, API_DELETE, "/api/v1/series/plain", NULL, 204, NULL);
    api_refresh_due_ms(&fixture.services, ids, 8, &count);
    api_refresh(fixture.worker, ids, count);
    expect(&fixture, API_GET, "/api/v1/forecast?series=plain&steps=3", NULL, 404, "unknown_series");
}

/* What is known of series by their ids goes when they are gone, but not beside one that is there.
 */
static void test_tidy(void **state)
{
    (void)state;
    enum { PODS = 40, GONE = 20 };
    struct live *live = fixture.services.live;
    struct tracks *tracks = fixture.services.tracks;
    struct series_facts facts = {.points = 10, .step_ms = MINUTE}, seen;
    struct track track = {.origin_ms = 1}, found;
    char name[64];
    for (int i = 0; i < PODS; i++) {
        snprintf(name, sizeof(name), "pod%d", i);
        fixture_fill(&fixture, name, 1, MINUTE);
    }
    uint32_t last = storage_series_find(fixture.services.storage, "pod39", 5);
    for (uint32_t id = 1; id <= last; id++) {
        live_facts_put(live, id, &facts);
        track_put(tracks, id, &track);
    }
    api_tidy(&fixture.services);
    size_t bytes = mem_bytes_in_use();
    struct series_info early = {.id = 1, .points = 10}, late = {.id = GONE, .points = 10};
    assert_true(live_facts(live, &late, &seen));
    assert_true(track_find(tracks, GONE, &found));
    for (int i = 0; i < PODS - 1; i++) {
        snprintf(name, sizeof(name), "/api/v1/series/pod%d", i);
        expect(&fixture, API_DELETE, name, NULL, 204, NULL);
    }
    for (int round = 0; round < 2; round++) { /* a forecast under way may come behind the first */
        api_tidy(&fixture.services);
        api_tidy(&fixture.services);
        assert_false(live_facts(live, &late, &seen));
        assert_false(track_find(tracks, GONE, &found));
        assert_true(live_facts(live, &early, &seen));
        assert_true(track_find(tracks, 1, &found));
        assert_true(track_find(tracks, last, &found));
        assert_true(mem_bytes_in_use() < bytes);
        live_facts_put(live, GONE, &facts);
        track_put(tracks, GONE, &track);
    }
}

/* When the forecast was made that an answer of any form shows, and that its numbers are in order.
 */
static void expect_made_at(const char *parameters, const char *issued_at)
{
    char target[200];
    snprintf(target, sizeof(target), "/api/v1/forecast?series=plain&steps=3&%s", parameters);
    json_t *document = fixture_json(&fixture, target);
    const json_t *forecast = fixture_forecast(document, 0);
    assert_string_equal(json_string_value(json_object_get(forecast, "issued_at")), issued_at);
    fixture_check_forecast(forecast, 3, MINUTE, -1e6, 1e6);
    json_decref(document);
}

/* Asked in other forms, a forecast is made once, until something that it came from changes. */
static void test_made_once(void **state)
{
    (void)state;
    char body[200];
    fixture.limits.vintage_age_max_ms = 30 * 24 * HOUR;
    expect_made_at("quantiles=0.1", "2026-11-22T13:39:00Z");
    fixture_set_now(NOW_MS + 1000);
    expect_made_at("quantiles=0.3,0.7", "2026-11-22T13:39:00Z");
    expect_made_at("quantiles=0.4&history=1h", "2026-11-22T13:39:00Z");
    /* an update of an old point */
    snprintf(body, sizeof(body), "{\"series\":\"plain\",\"timestamp\":%lld,\"value\":3}",
             (long long)(NOW_MS - 10 * MINUTE));
    expect(&fixture, API_POST, "/api/v1/points", body, 200, "\"updated\":1");
    expect_made_at("quantiles=0.5", "2026-11-22T13:39:01Z");
    fixture_set_now(NOW_MS + 2000);
    expect_made_at("quantiles=0.6", "2026-11-22T13:39:01Z");
    /* a new point closes the step */
    snprintf(body, sizeof(body), "{\"series\":\"plain\",\"timestamp\":%lld,\"value\":3}",
             (long long)(NOW_MS + MINUTE));
    expect(&fixture, API_POST, "/api/v1/points", body, 200, NULL);
    expect_made_at("quantiles=0.7", "2026-11-22T13:39:02Z");
    fixture_set_now(NOW_MS + 3000);
    expect_made_at("quantiles=0.8", "2026-11-22T13:39:02Z");
    /* settings; an issue teaches the bands */
    expect(&fixture, API_PATCH, "/api/v1/series/plain", "{\"max\":1000}", 200, NULL);
    expect_made_at("quantiles=0.9", "2026-11-22T13:39:03Z");
    fixture_set_now(NOW_MS + 4000);
    uint32_t id = storage_series_find(fixture.services.storage, "plain", 5);
    api_issue(fixture.worker, &id, 1);
    expect_made_at("quantiles=0.15", "2026-11-22T13:39:04Z");
    /* another horizon is another forecast */
    fixture_set_now(NOW_MS + 5000);
    json_t *document =
        fixture_json(&fixture, "/api/v1/forecast?series=plain&steps=4&quantiles=0.15");
    fixture_check_forecast(fixture_forecast(document, 0), 4, MINUTE, -1e6, 1e6);
    json_decref(document);
    expect_made_at("quantiles=0.25", "2026-11-22T13:39:04Z");
}

static void test_live_bounds(void **state)
{
    (void)state;
    char target[100];
    struct live_stats stats;
    fixture.limits.live_bytes_max = 20000;
    for (int i = 1; i < 200; i++) {
        snprintf(target, sizeof(target), "/api/v1/forecast?series=plain&steps=%d", i);
        assert_false(fixture_is_fast(&fixture, target, NULL));
        live_stats(fixture.services.live, &stats);
        assert_true(stats.bytes <= 20000);
    }
    assert_true(stats.answers > 0);
}

static void test_one_second(void **state)
{
    (void)state;
    fixture_fill(&fixture, "quick", 100, 1000);
    for (int i = 1; i < 5; i++) {
        char body[200], part[100];
        fixture_set_now(NOW_MS + i * 1000);
        snprintf(body, sizeof(body), "{\"series\":\"quick\",\"timestamp\":%lld,\"value\":3}",
                 (long long)(NOW_MS + i * 1000));
        expect(&fixture, API_POST, "/api/v1/points", body, 200, NULL);
        snprintf(part, sizeof(part), "\"origin\":\"2026-11-22T13:39:0%dZ\"", i);
        assert_false(fixture_is_fast(&fixture, "/api/v1/forecast?series=quick", part));
        assert_true(fixture_is_fast(&fixture, "/api/v1/forecast?series=quick", part));
    }
}

static void test_counter(void **state)
{
    (void)state;
    char body[200];
    for (int i = 0; i < 50; i++) {
        snprintf(body, sizeof(body), "{\"series\":\"requests\",\"timestamp\":%lld,\"value\":%d}",
                 (long long)(NOW_MS - (50 - i) * MINUTE), i % 20 * 60);
        expect(&fixture, API_POST, "/api/v1/points", body, 200, NULL);
    }
    expect(&fixture, API_PATCH, "/api/v1/series/requests", "{\"kind\":\"counter\",\"min\":0}", 200,
           NULL);
    json_t *document = fixture_json(&fixture, "/api/v1/forecast?series=requests&steps=10");
    fixture_check_forecast(fixture_forecast(document, 0), 10, MINUTE, 0.0, 1e9);
    const json_t *quality = json_object_get(fixture_forecast(document, 0), "quality");
    assert_int_equal(json_integer_value(json_object_get(quality, "resets")), 2);
    json_decref(document);
}

static void test_text(void **state)
{
    (void)state;
    struct text out;
    struct error error = {0};
    text_init(&out, 1u << 20);
    assert_int_equal(
        api_forecast_text(fixture.worker, "series=plain&format=csv&steps=2", &out, &error),
        STATUS_OK);
    assert_non_null(strstr(out.bytes, "series,timestamp,mean,q0.1,q0.5,q0.9\nplain,"));
    text_clear(&out);
    assert_int_equal(api_forecast_text(fixture.worker, "series=none", &out, &error),
                     STATUS_NOT_FOUND);
    assert_int_equal(api_forecast_text(fixture.worker, "x=1", &out, &error), STATUS_INVALID);
    text_release(&out);
}

static void test_groups(void **state)
{
    (void)state;
    int64_t steps[8];
    size_t counts[8];
    struct error error = {0};
    struct api_group group;
    uint64_t points[8];
    size_t found = api_groups(fixture.worker, steps, counts, 8);
    assert_int_equal(found, 2);
    assert_int_equal(steps[0], MINUTE);
    assert_int_equal(counts[1], 2);
    found = api_groups_points(fixture.worker, steps, counts, points, 8);
    assert_int_equal(found, 2);
    assert_int_equal(steps[1], HOUR);
    assert_int_equal(points[0], 500);
    assert_int_equal(points[1], 2 * 300);
    found = api_groups_points(fixture.worker, steps, counts, points, 1);
    assert_int_equal(found, 2); /* more than there was room for: the caller can tell */
    assert_int_equal(points[0], 500);
    struct api_group_order order = {.step_ms = HOUR, .values_max = 200, .bytes_max = 1u << 20};
    assert_int_equal(api_group_load(fixture.worker, &order, &group, &error), STATUS_OK);
    assert_int_equal(group.count, 2);
    assert_int_equal(group.left_out, 0);
    assert_int_equal(group.series[0].count, 200);
    assert_int_equal(group.series[0].step_ms, HOUR);
    assert_int_equal(group.bytes, 2 * 200 * sizeof(double));
    api_group_free(&group);
    order.values_max = 1024;
    order.bytes_max = 1024 * 8;
    assert_int_equal(api_group_load(fixture.worker, &order, &group, &error), STATUS_OK);
    assert_int_equal(group.count, 1);
    assert_int_equal(group.left_out, 1);
    api_group_free(&group);
    atomic_bool cancel = true;
    order.cancel = &cancel;
    assert_int_equal(api_group_load(fixture.worker, &order, &group, &error), STATUS_CANCELLED);
    order = (struct api_group_order){.step_ms = 7, .values_max = 100, .bytes_max = 100000};
    assert_int_equal(api_group_load(fixture.worker, &order, &group, &error), STATUS_OK);
    assert_int_equal(group.count, 0);
    api_group_free(&group);
}

/* Of a large group a few hundred are looked at for seasons; the others follow their vote. */
static void test_groups_share_seasons(void **state)
{
    (void)state;
    struct error error = {0};
    struct api_group group;
    char name[24];
    fixture_close(&fixture);
    fixture_open_for(&fixture, 1000);
    for (int i = 0; i < 600; i++) {
        snprintf(name, sizeof(name), "many%d", i);
        fixture_fill(&fixture, name, 120, 5 * MINUTE);
    }
    struct api_group_order order = {
        .step_ms = 5 * MINUTE, .values_max = 200, .bytes_max = 16u << 20};
    assert_int_equal(api_group_load(fixture.worker, &order, &group, &error), STATUS_OK);
    assert_int_equal(group.count, 600);
    for (size_t i = 0; i < group.count; i++) {
        assert_int_equal(group.series[i].seasons[0], 24);
        assert_true(group.series[i].key != 0);
        assert_true(i == 0 || group.series[i].key != group.series[0].key);
    }
    api_group_free(&group);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, open_fixture, close_fixture)
    const struct CMUnitTest tests[] = {
        TEST(test_fields),
        TEST(test_parameters),
        TEST(test_bounds),
        TEST(test_refusals),
        TEST(test_post),
        TEST(test_rows),
        TEST(test_chain),
        TEST(test_chain_of_baselines),
        TEST(test_day_of_minutes),
        TEST(test_season_behind_a_change_of_unit),
        TEST(test_zeros_are_in_the_band),
        TEST(test_open_cell),
        TEST(test_live),
        TEST(test_tidy),
        TEST(test_made_once),
        TEST(test_live_bounds),
        TEST(test_one_second),
        TEST(test_counter),
        TEST(test_text),
        TEST(test_groups),
        TEST(test_groups_share_seasons),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
