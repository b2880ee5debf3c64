/* Data as it really is: each way in which monitoring data goes wrong, and what the answer is then.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Every test names the failure that it is about; docs/data.md has a paragraph for each.
 */
#include "asked.h"

#include "base/memory.h"
#include "base/random.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>

/* ---------------------------------------------------------------- gaps */

/* Row "Gap inside the context": masked and counted, never filled; bands widen with their share. */
static void gap_inside_the_context(void **state)
{
    (void)state;
    publish();
    make_cycle(20.0, 5.0, 0.5);
    put("whole", COUNT, MINUTE);
    for (size_t i = COUNT - 60; i < COUNT - 30; i++) {
        values[i] = (double)NAN;
    }
    put("holes", COUNT, MINUTE);
    struct asked whole = ask("whole", false), holes = ask("holes", false);
    assert_int_equal(quality(whole, "missing"), 0);
    assert_int_equal(quality(holes, "missing"), 30);
    assert_string_equal(text_of(holes, "served_by"), "logsparse");
    assert_true(band(holes) > 1.05 * band(whole));
    for (size_t i = COUNT - 90; i < COUNT - 30; i++) {
        values[i] = (double)NAN;
    }
    put("many", COUNT, MINUTE);
    struct asked many = ask("many", false);
    assert_true(warns(many, "gaps"));
    done(whole);
    done(holes);
    done(many);
}

/* Row "Long outage, then data": the baseline serves until half of the context is there again. */
static void long_outage_then_data(void **state)
{
    (void)state;
    publish();
    make_cycle(20.0, 5.0, 0.5);
    for (size_t i = 200; i < COUNT - 20; i++) {
        values[i] = (double)NAN;
    }
    put("back", COUNT, MINUTE);
    struct asked early = ask("back", false);
    assert_string_not_equal(text_of(early, "served_by"), "logsparse");
    assert_non_null(strstr(text_of(early, "fallback_reason"), "outage"));
    make_cycle(20.0, 5.0, 0.5);
    put("back", 60, MINUTE);
    struct asked later = ask("back", false);
    assert_string_equal(text_of(later, "served_by"), "logsparse");
    /* Row "Silent fallback": counted by reason, once. */
    expect(&fixture, API_GET, "/metrics", NULL, 200,
           "\nforecastd_forecast_fallbacks_total{reason=\"outage\"} 1\n");
    expect(&fixture, API_GET, "/metrics", NULL, 200,
           "\nforecastd_forecast_fallbacks_total{reason=\"no_model\"} 0\n");
    done(early);
    done(later);
}

/* Half of the newest 96 values are enough, one less is not. */
static void outage_ends_at_half(void **state)
{
    (void)state;
    publish();
    for (size_t present = 47; present <= 48; present++) {
        char name[24];
        make_cycle(20.0, 5.0, 0.5);
        for (size_t i = COUNT - 96; i < COUNT - present; i++) {
            values[i] = (double)NAN;
        }
        snprintf(name, sizeof(name), "half%zu", present);
        put(name, COUNT, MINUTE);
        struct asked asked = ask(name, false);
        bool model = strcmp(text_of(asked, "served_by"), "logsparse") == 0;
        assert_int_equal(model, present == 48);
        done(asked);
    }
}

/* Gaps are not filled in what an answer shows of the history either. */
static void gaps_stay_gaps_in_the_history(void **state)
{
    (void)state;
    make_cycle(20.0, 5.0, 0.5);
    for (size_t i = COUNT - 60; i < COUNT - 20; i++) {
        values[i] = (double)NAN;
    }
    put("gap", COUNT, MINUTE);
    struct asked asked = ask_with("gap", false, "&history=100m");
    const json_t *history = json_object_get(asked.forecast, "history");
    const json_t *stamps = json_object_get(history, "timestamps");
    assert_int_equal(json_array_size(stamps), 60);
    for (size_t k = 0; k < 60; k++) {
        size_t i = k < 40 ? COUNT - 100 + k : COUNT - 60 + k;
        double value = json_number_value(json_array_get(json_object_get(history, "values"), k));
        assert_int_equal(json_integer_value(json_array_get(stamps, k)),
                         NOW_MS - (int64_t)(COUNT - 1 - i) * MINUTE);
        assert_true(fabs(value - values[i]) < 1e-4);
    }
    done(asked);
}

/* ---------------------------------------------------------------- counters */

/* Row "Counter reset, rollover": known by name and shape, a rate that is never negative, resets
 * counted; a gap is no reset. */
static void counter_reset(void **state)
{
    (void)state;
    double total = 1000.0;
    for (size_t i = 0; i < COUNT; i++) {
        total = i == 250 ? 0.0 : total + 60.0 + (double)(i % 3);
        values[i] = i > 300 && i < 320 ? (double)NAN : total;
    }
    put("http_requests_total", COUNT, MINUTE);
    struct asked asked = ask("http_requests_total", false);
    assert_true(warns(asked, "counter_rate"));
    assert_int_equal(quality(asked, "resets"), 1);
    for (size_t h = 0; h < 24; h++) {
        assert_true(level_at(asked, "0.1", h) >= 0.0);
        assert_true(fabs(level_at(asked, "0.5", h) - 1.0) < 0.1); /* 60 or so a minute */
    }
    done(asked);
    expect(&fixture, API_GET, "/api/v1/series/http_requests_total", NULL, 200,
           "\"kind\":\"counter\"");
    /* Declared otherwise it is what the user says. */
    expect(&fixture, API_PATCH, "/api/v1/series/http_requests_total", "{\"kind\":\"gauge\"}", 200,
           "\"kind\":\"gauge\"");
    asked = ask("http_requests_total", false);
    assert_false(warns(asked, "counter_rate"));
    done(asked);
}

/* A gauge is never misread, whatever its name and shape. */
static void gauges_are_not_counters(void **state)
{
    (void)state;
    make_cycle(20.0, 5.0, 0.5);
    put("thread_count", COUNT, MINUTE);
    expect(&fixture, API_GET, "/api/v1/series/thread_count", NULL, 200, "\"kind\":\"gauge\"");
    for (size_t i = 0; i < COUNT; i++) {
        values[i] = 100.0 + (double)i;
    }
    put("disk_used_bytes", COUNT, MINUTE);
    expect(&fixture, API_GET, "/api/v1/series/disk_used_bytes", NULL, 200, "\"kind\":\"gauge\"");
    for (size_t i = 0; i < COUNT; i++) {
        values[i] = (double)(i % 6); /* a saw */
    }
    put("batch_count", COUNT, MINUTE);
    expect(&fixture, API_GET, "/api/v1/series/batch_count", NULL, 200, "\"kind\":\"gauge\"");
    for (size_t i = 0; i < COUNT; i++) {
        values[i] = 64.0;
    }
    put("memory_total", COUNT, MINUTE);
    expect(&fixture, API_GET, "/api/v1/series/memory_total", NULL, 200, "\"kind\":\"gauge\"");
}

/* ---------------------------------------------------------------- times */

/* Row "DST, local holidays": a zone that does not exist is refused by its name. */
static void time_zones_by_name(void **state)
{
    (void)state;
    make_cycle(20.0, 5.0, 0.5);
    put("local", COUNT, HOUR);
    expect(&fixture, API_PATCH, "/api/v1/series/local", "{\"time_zone\":\"America/New_York\"}", 200,
           "America/New_York");
    done(ask("local", false));
    expect(&fixture, API_PATCH, "/api/v1/series/local", "{\"time_zone\":\"Europe/Berlinn\"}", 400,
           "Europe/Berlinn");
}

/* Row "Step inference": the canonical step, what lies off it counted, timestamps never drift. */
static void irregular_points(void **state)
{
    (void)state;
    struct text body;
    text_init(&body, 1u << 20);
    text_add_string(&body, "{\"series\":\"jitter\",\"points\":[");
    for (int64_t i = 0; i < 300; i++) {
        int64_t away = i % 4 == 0 ? 17000 : (i * 7919) % 900 - 450; /* 17 s off, or a little */
        text_add_format(&body, "%s[%lld,%lld]", i ? "," : "",
                        (long long)(NOW_MS - (300 - i) * MINUTE + away), (long long)(i % 7));
    }
    text_add_string(&body, "]}");
    expect(&fixture, API_POST, "/api/v1/points", body.bytes, 200, NULL);
    text_release(&body);
    struct asked asked = ask("jitter", false);
    assert_int_equal(json_integer_value(json_object_get(asked.forecast, "step_ms")), MINUTE);
    assert_true(quality(asked, "off_step") > 100);
    assert_true(warns(asked, "irregular_step"));
    int64_t first =
        json_integer_value(json_array_get(json_object_get(asked.forecast, "timestamps"), 0));
    assert_int_equal(first % MINUTE, 0);
    done(asked);
}

/* Row "Duplicates": one value a time, the last one, counted. */
static void duplicates(void **state)
{
    (void)state;
    make_cycle(20.0, 5.0, 0.5);
    put("twice", COUNT, MINUTE);
    struct asked once = ask("twice", false);
    put("twice", COUNT, MINUTE);
    struct asked again = ask("twice", false);
    assert_int_equal(quality(once, "updated"), 0);
    assert_int_equal(quality(again, "updated"), COUNT);
    assert_true(level_at(once, "0.5", 3) == level_at(again, "0.5", 3));
    done(once);
    done(again);
}

/* Row "Late points": they change history, end the served answer, and are counted. */
static void late_points_recompute(void **state)
{
    (void)state;
    make_cycle(20.0, 5.0, 0.0);
    double newest = values[COUNT - 1];
    for (size_t i = COUNT - 3; i < COUNT - 1; i++) {
        values[i] = (double)NAN;
    }
    put("late", COUNT, MINUTE);
    struct asked before = ask("late", false);
    const char *target = "/api/v1/forecast?series=late&steps=24";
    struct answer kept = get(&fixture, target);
    assert_true(kept.fast); /* from memory */
    fixture_answer_release(&kept);
    char body[200];
    for (int i = 2; i >= 1; i--) {
        snprintf(body, sizeof(body), "{\"series\":\"late\",\"timestamp\":%lld,\"value\":%f}",
                 (long long)(NOW_MS - i * MINUTE), newest + 3.0);
        expect(&fixture, API_POST, "/api/v1/points", body, 200, NULL);
    }
    struct answer anew = get(&fixture, target);
    assert_false(anew.fast);
    fixture_answer_release(&anew);
    struct asked after = ask("late", false);
    assert_int_equal(quality(after, "late"), 2);
    assert_int_equal(quality(before, "missing") - quality(after, "missing"), 2);
    assert_true(level_at(before, "0.5", 22) != level_at(after, "0.5", 22));
    done(before);
    done(after);
}

/* Row "Future or wrong clock": refused beyond ten minutes, and no clock moves by it. */
static void wrong_clock(void **state)
{
    (void)state;
    make_cycle(20.0, 5.0, 0.5);
    put("clock", COUNT, MINUTE);
    char body[200];
    snprintf(body, sizeof(body), "{\"series\":\"clock\",\"timestamp\":%lld,\"value\":1}",
             (long long)(NOW_MS + 24 * HOUR));
    expect(&fixture, API_POST, "/api/v1/points", body, 422, "too_far_future");
    struct asked asked = ask("clock", false);
    assert_string_equal(text_of(asked, "origin"), "2026-11-22T13:39:00Z");
    done(asked);
}

/* ---------------------------------------------------------------- beginnings and ends */

/* Row "New series": answered from two points on, warming, then learned without a restart. */
static void new_series(void **state)
{
    (void)state;
    make_cycle(20.0, 5.0, 0.5);
    publish();
    put("young", 1, MINUTE);
    expect(&fixture, API_GET, "/api/v1/forecast?series=young", NULL, 422, "insufficient_history");
    for (size_t count = 2; count <= 40; count++) {
        put("young", count, MINUTE);
        struct asked asked = ask("young", false);
        assert_string_equal(text_of(asked, "state"), count < 10 ? "warming" : "learned");
        assert_string_equal(text_of(asked, "served_by"), "logsparse");
        assert_int_equal(warns(asked, "short_history"), count < 10);
        done(asked);
    }
}

/* Row "Vanished series": stale after some steps, its history kept; it returns as if nothing were.
 */
static void vanished_and_returning(void **state)
{
    (void)state;
    make_cycle(20.0, 5.0, 0.5);
    put("gone", COUNT, MINUTE);
    fixture_set_now(NOW_MS + 30 * MINUTE);
    struct asked stale = ask("gone", false);
    assert_string_equal(text_of(stale, "state"), "stale");
    assert_true(warns(stale, "stale"));
    char body[200];
    snprintf(body, sizeof(body), "{\"series\":\"gone\",\"timestamp\":%lld,\"value\":21}",
             (long long)(NOW_MS + 30 * MINUTE));
    expect(&fixture, API_POST, "/api/v1/points", body, 200, NULL);
    struct asked back = ask("gone", false);
    assert_string_not_equal(text_of(back, "state"), "stale");
    assert_false(warns(back, "stale"));
    assert_int_equal(quality(back, "missing"), 29);
    done(stale);
    done(back);
}

/* A series without values teaches nothing; that is no sampling. */
static void nothing_but_missing_values(void **state)
{
    (void)state;
    char body[64 * 60];
    int used = snprintf(body, sizeof(body), "{\"series\":\"mute\",\"points\":[");
    for (int i = 0; i < 60; i++) {
        used += snprintf(body + used, sizeof(body) - (size_t)used, "%s[%lld,null]", i ? "," : "",
                         (long long)(NOW_MS / MINUTE * MINUTE - i * MINUTE));
    }
    snprintf(body + used, sizeof(body) - (size_t)used, "]}");
    make_cycle(20.0, 5.0, 0.5);
    put("full", COUNT, MINUTE);
    expect(&fixture, API_POST, "/api/v1/points", body, 200, NULL);
    struct api_group group = {0};
    struct api_group_order order = {
        .step_ms = MINUTE, .values_max = COUNT, .bytes_max = (size_t)1 << 20};
    struct error error = {0};
    assert_int_equal(api_group_load(fixture.worker, &order, &group, &error), STATUS_OK);
    assert_int_equal(group.count, 1);
    assert_int_equal(group.left_out, 0);
    assert_int_equal(group.unfit, 1);
    api_group_free(&group);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, asked_open, asked_close)
    const struct CMUnitTest tests[] = {
        TEST(gap_inside_the_context),
        TEST(long_outage_then_data),
        TEST(outage_ends_at_half),
        TEST(gaps_stay_gaps_in_the_history),
        TEST(counter_reset),
        TEST(gauges_are_not_counters),
        TEST(time_zones_by_name),
        TEST(irregular_points),
        TEST(duplicates),
        TEST(late_points_recompute),
        TEST(wrong_clock),
        TEST(new_series),
        TEST(vanished_and_returning),
        TEST(nothing_but_missing_values),
    };
    return cmocka_run_group_tests(tests, asked_teach, asked_forget);
}
