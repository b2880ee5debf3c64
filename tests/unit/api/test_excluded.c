/* The setting "exclude": spans of a series that nothing is learned from, while the points stay.
 * SPDX-License-Identifier: Apache-2.0
 *
 * What is expected everywhere is what comes of the same series with nulls in that span, to the last
 * digit: a series is asked with the span excluded, and again when it was overwritten.
 */
#include "asked.h"

#include "api/track.h"
#include "base/random.h"

#include <jansson.h>
#include <math.h>

#define SPAN_FIRST 300 /* of `values` */
#define SPAN_END   324

static int64_t time_at(size_t index)
{
    return NOW_MS - (int64_t)(COUNT - 1 - index) * MINUTE;
}

static void exclude(const char *series, size_t first, size_t end)
{
    char target[100], body[200];
    snprintf(target, sizeof(target), "/api/v1/series/%s", series);
    snprintf(body, sizeof(body), "{\"exclude\":[{\"from\":%lld,\"to\":%lld}]}",
             (long long)time_at(first), (long long)time_at(end));
    expect(&fixture, API_PATCH, target, body, 200, "\"exclude\":[{\"from\":\"2026-");
}

static void clear(const char *series)
{
    char target[100];
    snprintf(target, sizeof(target), "/api/v1/series/%s", series);
    expect(&fixture, API_PATCH, target, "{\"exclude\":null}", 200, "\"exclude\":[]");
}

static void overwrite(const char *series, size_t first, size_t end)
{
    char body[100 + 40 * COUNT];
    int used = snprintf(body, sizeof(body), "{\"series\":\"%s\",\"points\":[", series);
    for (size_t i = first; i < end; i++) {
        used += snprintf(body + used, sizeof(body) - (size_t)used, "%s[%lld,null]",
                         i > first ? "," : "", (long long)time_at(i));
    }
    snprintf(body + used, sizeof(body) - (size_t)used, "]}");
    expect(&fixture, API_POST, "/api/v1/points", body, 200, NULL);
}

/* Fifty spreads off, of no pattern. */
static void spoil(size_t first, size_t end)
{
    struct random random;
    random_init(&random, 9, 0);
    for (size_t i = first; i < end; i++) {
        values[i] += 25.0 * (random_below(&random, 2) ? 1.0 : -0.5);
    }
}

/* Numbers of one answer: mean and quantiles of 24 steps. */
struct numbers {
    double at[4][24];
};

static struct numbers numbers_of(struct asked asked)
{
    static const char *const levels[] = {"0.1", "0.5", "0.9"};
    struct numbers numbers;
    for (size_t h = 0; h < 24; h++) {
        const json_t *mean = json_array_get(json_object_get(asked.forecast, "mean"), h);
        numbers.at[0][h] = json_number_value(mean);
        for (size_t k = 0; k < 3; k++) {
            numbers.at[k + 1][h] = level_at(asked, levels[k], h);
        }
    }
    return numbers;
}

static bool are_same(struct numbers a, struct numbers b)
{
    for (size_t k = 0; k < 4; k++) {
        for (size_t h = 0; h < 24; h++) {
            if (fabs(a.at[k][h] - b.at[k][h]) > 0.0) {
                return false;
            }
        }
    }
    return true;
}

/* Asks before, with the span excluded, cleared again, and with nulls in its place. */
static void span_and_nulls(const char *series)
{
    spoil(SPAN_FIRST, SPAN_END);
    put(series, COUNT, MINUTE);
    struct asked before = ask(series, false);
    exclude(series, SPAN_FIRST, SPAN_END);
    struct asked without = ask(series, false);
    clear(series);
    struct asked again = ask(series, false);
    overwrite(series, SPAN_FIRST, SPAN_END);
    struct asked nulls = ask(series, false);
    assert_string_equal(text_of(without, "served_by"), text_of(nulls, "served_by"));
    assert_true(are_same(numbers_of(without), numbers_of(nulls)));
    assert_true(are_same(numbers_of(before), numbers_of(again)));
    assert_false(are_same(numbers_of(before), numbers_of(without)));
    assert_int_equal(quality(before, "excluded"), 0);
    assert_int_equal(quality(without, "excluded"), SPAN_END - SPAN_FIRST);
    assert_int_equal(quality(without, "missing"), 0);
    assert_int_equal(quality(nulls, "excluded"), 0);
    assert_int_equal(quality(nulls, "missing"), SPAN_END - SPAN_FIRST);
    done(before);
    done(without);
    done(again);
    done(nulls);
}

static void baselines_do_not_see_it(void **state)
{
    (void)state;
    make_cycle(20.0, 5.0, 0.5);
    span_and_nulls("plain");
}

static void models_do_not_see_it(void **state)
{
    (void)state;
    publish();
    make_cycle(20.0, 5.0, 0.5);
    span_and_nulls("taught");
}

static void points_are_still_there(void **state)
{
    (void)state;
    char first[64], target[120];
    make_cycle(20.0, 5.0, 0.5);
    put("kept", COUNT, MINUTE);
    exclude("kept", SPAN_FIRST, SPAN_END);
    snprintf(target, sizeof(target), "/api/v1/series/kept/points?start=%lld&limit=1",
             (long long)time_at(SPAN_FIRST));
    snprintf(first, sizeof(first), "[[%lld,%.6g", (long long)time_at(SPAN_FIRST),
             values[SPAN_FIRST]);
    expect(&fixture, API_GET, target, NULL, 200, first);
    expect(&fixture, API_GET, "/api/v1/series/kept", NULL, 200, "\"points\":400,");
}

/* Excluded cells are no gaps that somebody should look into; but what is not there cannot be seen.
 */
static void many_are_no_gaps_but_an_outage(void **state)
{
    (void)state;
    publish();
    make_cycle(20.0, 5.0, 0.5);
    put("many", COUNT, MINUTE);
    exclude("many", 100, 250);
    struct asked many = ask("many", false);
    assert_false(warns(many, "gaps"));
    assert_string_equal(text_of(many, "served_by"), "logsparse");
    assert_int_equal(quality(many, "excluded"), 150);
    exclude("many", COUNT - 70, COUNT - 10);
    struct asked outage = ask("many", false);
    assert_non_null(strstr(text_of(outage, "fallback_reason"), "outage"));
    assert_false(warns(outage, "gaps"));
    exclude("many", 0, COUNT + 100);
    expect(&fixture, API_GET, "/api/v1/forecast?series=many", NULL, 422, "exclude");
    exclude("many", 0,
            COUNT - 1); /* what lies before the first value was not missing before, either */
    expect(&fixture, API_GET, "/api/v1/forecast?series=many", NULL, 422, "insufficient_history");
    exclude("many", 0, COUNT - 100);
    struct asked start = ask("many", false);
    assert_int_equal(quality(start, "excluded"), COUNT - 100);
    assert_int_equal(quality(start, "missing"), 0);
    done(many);
    done(outage);
    done(start);
}

/* A shift of the level and a change of unit within the span are none; nor is the season lost. */
static void shifts_and_seasons_do_not_see_it(void **state)
{
    (void)state;
    make_cycle(20.0, 5.0, 0.5);
    for (size_t i = COUNT - 40; i < COUNT - 4; i++) {
        values[i] = 3000.0;
    }
    put("shift", COUNT, MINUTE);
    struct asked shifted = ask("shift", false);
    exclude("shift", COUNT - 40, COUNT - 4);
    struct asked plain = ask("shift", false);
    assert_true(level_at(plain, "0.9", 0) < 100.0);
    assert_false(warns(plain, "level_shift"));
    expect(&fixture, API_GET, "/api/v1/series/shift", NULL, 200, "\"seasons\":[24]");
    done(shifted);
    done(plain);
}

/* Readings that fall in the span do not make it a gauge, and what it counted there is in no rate.
 */
static void counters_begin_again(void **state)
{
    (void)state;
    double sum = 0.0;
    for (size_t i = 0; i < COUNT; i++) {
        bool within = i >= SPAN_FIRST && i < SPAN_END;
        sum += within ? 60000.0 : 60.0 + 6.0 * (double)(i % 5);
        values[i] = within && i % 2 ? 0.7 * values[i - 1] : sum;
    }
    put("hits_total", COUNT, MINUTE);
    expect(&fixture, API_GET, "/api/v1/series/hits_total", NULL, 200, "\"kind\":\"gauge\"");
    exclude("hits_total", SPAN_FIRST, SPAN_END);
    expect(&fixture, API_GET, "/api/v1/series/hits_total", NULL, 200, "\"kind\":\"counter\"");
    struct asked asked = ask("hits_total", false);
    for (size_t h = 0; h < 24; h++) {
        assert_true(level_at(asked, "0.1", h) > 0.5 && level_at(asked, "0.9", h) < 2.0);
    }
    done(asked);
}

static void trainings_do_not_see_it(void **state)
{
    (void)state;
    make_cycle(20.0, 5.0, 0.5);
    spoil(SPAN_FIRST, SPAN_END);
    put("taught", COUNT, MINUTE);
    exclude("taught", SPAN_FIRST, SPAN_END);
    struct api_group group = {0};
    struct api_group_order order = {
        .step_ms = MINUTE, .values_max = COUNT, .bytes_max = (size_t)1 << 20};
    struct error error = {0};
    assert_int_equal(api_group_load(fixture.worker, &order, &group, &error), STATUS_OK);
    assert_int_equal(group.count, 1);
    assert_int_equal(group.series[0].count, COUNT);
    for (size_t i = 0; i < COUNT; i++) {
        bool within = i >= SPAN_FIRST && i < SPAN_END;
        assert_int_equal(isnan(group.series[0].values[i]) != 0, within);
    }
    api_group_free(&group);
}

static int64_t number_in(const char *target, const char *path, const char *name)
{
    json_t *document = fixture_json(&fixture, target);
    json_int_t number = json_integer_value(json_object_get(json_object_get(document, path), name));
    json_decref(document);
    return number;
}

/* Ten steps of service, each issued. */
static void serve(const char *series, size_t first, size_t end)
{
    for (size_t i = first; i < end; i++) {
        char body[200];
        fixture_set_now(time_at(i) + 1000);
        snprintf(body, sizeof(body), "{\"series\":\"%s\",\"timestamp\":%lld,\"value\":%.17g}",
                 series, (long long)time_at(i), values[i]);
        expect(&fixture, API_POST, "/api/v1/points", body, 200, NULL);
        uint32_t id = storage_series_find(fixture.services.storage, series, strlen(series));
        api_issue(fixture.worker, &id, 1);
        struct error error = {0};
        assert_int_equal(writer_compact(fixture.services.writer, &error), STATUS_OK);
    }
}

static uint32_t lessons(const char *series)
{
    struct track track;
    uint32_t id = storage_series_find(fixture.services.storage, series, strlen(series));
    assert_true(track_find(fixture.services.tracks, id, &track));
    return track.calibration.count;
}

/* Nothing that comes in a span is a lesson for the bands, and no figure of the accuracy holds it.
 */
static void lessons_and_accuracy_do_not_see_it(void **state)
{
    static const char target[] = "/api/v1/accuracy?series=served&window=1d";
    (void)state;
    fixture.limits.vintage_age_max_ms = INT64_C(14) * 86400000;
    fixture.limits.horizon_default = 12;
    make_cycle(20.0, 5.0, 0.5);
    for (size_t i = 0; i < COUNT - 40; i++) {
        char body[200];
        fixture_set_now(time_at(i) + 1000);
        snprintf(body, sizeof(body), "{\"series\":\"served\",\"timestamp\":%lld,\"value\":%.17g}",
                 (long long)time_at(i), values[i]);
        expect(&fixture, API_POST, "/api/v1/points", body, 200, NULL);
    }
    serve("served", COUNT - 40, COUNT - 20);
    uint32_t before = lessons("served");
    assert_true(before > 0);
    exclude("served", COUNT - 20, COUNT - 10);
    serve("served", COUNT - 20, COUNT - 10);
    assert_int_equal(lessons("served"), before);
    int64_t scored = number_in(target, "pooled", "count");
    serve("served", COUNT - 10, COUNT);
    assert_true(lessons("served") > before);
    int64_t later = number_in(target, "pooled", "count");
    assert_true(later > scored);
    clear("served");
    assert_true(number_in(target, "pooled", "count") > later);
}

static void anomalies_do_not_see_it(void **state)
{
    (void)state;
    char part[64];
    make_cycle(20.0, 5.0, 0.5);
    spoil(SPAN_FIRST, SPAN_END);
    put("watched", COUNT, MINUTE);
    snprintf(part, sizeof(part), "[%lld,", (long long)(time_at(SPAN_FIRST)));
    expect(&fixture, API_GET, "/api/v1/anomalies?series=watched", NULL, 200, part);
    exclude("watched", SPAN_FIRST, SPAN_END);
    struct answer answer = get(&fixture, "/api/v1/anomalies?series=watched");
    assert_int_equal(answer.status, 200);
    assert_null(strstr(answer.body, part));
    snprintf(part, sizeof(part), "[%lld,", (long long)(time_at(SPAN_END)));
    assert_non_null(strstr(answer.body, part));
    fixture_answer_release(&answer);
}

/* ---------------------------------------------------------------- the setting */

static void what_is_set_is_what_is_answered(void **state)
{
    (void)state;
    static const struct {
        const char *body;
        int status;
        const char *part;
    } table[] = {
        {"{}", 200, "\"exclude\":[]"},
        {"{\"exclude\":[]}", 200, "\"exclude\":[]"},
        {"{\"exclude\":[{\"from\":\"2026-11-01\",\"to\":\"2026-11-02T01:00:00+01:00\"}]}", 200,
         "\"exclude\":[{\"from\":\"2026-11-01T00:00:00Z\",\"to\":\"2026-11-02T00:00:00Z\"}]"},
        {"{\"min\":0}", 200, "\"to\":\"2026-11-02T00:00:00Z\"}]"},
        {"{\"exclude\":[{\"from\":1000,\"to\":2500},{\"from\":100,\"to\":900},{\"from\":2500,"
         "\"to\":3000},"
         "{\"from\":\"1970-01-01T00:00:00.950Z\",\"to\":1800}]}",
         200,
         "\"exclude\":[{\"from\":\"1970-01-01T00:00:00.100Z\",\"to\":\"1970-01-01T00:00:00.900Z\"},"
         "{\"from\":\"1970-01-01T00:00:00.950Z\",\"to\":\"1970-01-01T00:00:03Z\"}]"},
        {"{\"exclude\":[{\"from\":-62135596800000,\"to\":\"9999-12-31T23:59:59.999Z\"}]}", 200,
         "\"exclude\":[{\"from\":\"0001-01-01T00:00:00Z\",\"to\":\"9999-12-31T23:59:59.999Z\"}]"},
        {"{\"exclude\":[{\"from\":5,\"to\":\"now\"}]}", 200, "\"to\":\"2026-11-22T"},
        {"{\"exclude\":null,\"min\":null}", 200, "\"exclude\":[]"},
        {"{\"exclude\":{\"from\":1,\"to\":2}}", 400, "no array"},
        {"{\"exclude\":\"2026-11-01\"}", 400, "bad_field"},
        {"{\"exclude\":[[1,2]]}", 400, "element 1 of \\\"exclude\\\": not an object"},
        {"{\"exclude\":[{\"from\":1,\"to\":2},{\"from\":3}]}", 400,
         "element 2 of \\\"exclude\\\": \\\"to\\\" is missing"},
        {"{\"exclude\":[{\"to\":3}]}", 400, "\\\"from\\\" is missing"},
        {"{\"exclude\":[{\"from\":null,\"to\":3}]}", 400, "neither a text"},
        {"{\"exclude\":[{\"from\":1.5,\"to\":3}]}", 400, "neither a text"},
        {"{\"exclude\":[{\"from\":\"yesterday\",\"to\":3}]}", 400,
         "\\\"from\\\" cannot be \\\"yesterday\\\""},
        {"{\"exclude\":[{\"from\":\"yesterday\",\"to\":3}]}", 400, "bad_field"},
        {"{\"exclude\":[{\"from\":3,\"to\":3}]}", 400, "does not lie behind"},
        {"{\"exclude\":[{\"from\":4,\"to\":3}]}", 400, "does not lie behind"},
        {"{\"exclude\":[{\"from\":-62135596800001,\"to\":3}]}", 400, "out of reach"},
        {"{\"exclude\":[{\"from\":1,\"to\":253402300800000}]}", 400, "out of reach"},
        {"{\"exclude\":[{\"from\":1,\"to\":3,\"why\":\"fire\"}]}", 400, "unknown_field"},
        {"{\"exclude\":[{\"from\":1,\"to\":3,\"to\":4}]}", 400, "duplicate_field"},
    };
    fixture_fill(&fixture, "s", 100, MINUTE);
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        expect(&fixture, API_PATCH, "/api/v1/series/s", table[i].body, table[i].status,
               table[i].part);
    }
    expect(&fixture, API_GET, "/api/v1/series/s", NULL, 200, "\"exclude\":[]");
    expect(&fixture, API_GET, "/api/v1/series", NULL, 200, "\"exclude\":[]");
}

/* `count` spans of a second, `apart` milliseconds from one begin to the next. */
static void set_many(int count, int apart, int status, const char *part)
{
    struct text body;
    text_init(&body, 1u << 20);
    text_add_string(&body, "{\"exclude\":[");
    for (int i = count; i > 0; i--) { /* from the newest to the oldest */
        text_add_format(&body, "%s{\"from\":%d,\"to\":%d}", i < count ? "," : "", i * apart,
                        i * apart + 1000);
    }
    text_add_string(&body, "]}");
    expect(&fixture, API_PATCH, "/api/v1/series/s", body.bytes, status, part);
    text_release(&body);
}

static void there_are_at_most_32_of_them(void **state)
{
    (void)state;
    fixture_fill(&fixture, "s", 100, MINUTE);
    set_many(32, 1001, 200, "\"from\":\"1970-01-01T00:00:32.032Z\"");
    set_many(33, 1001, 400, "33 spans, the limit is 32");
    expect(&fixture, API_GET, "/api/v1/series/s", NULL, 200,
           "\"from\":\"1970-01-01T00:00:32.032Z\",\"to\":\"1970-01-01T00:00:33.032Z\"}]");
    set_many(5000, 1000, 200,
             "\"exclude\":[{\"from\":\"1970-01-01T00:00:01Z\",\"to\":\"1970-01-01T01:23:21Z\"}]");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, asked_open, asked_close)
    const struct CMUnitTest tests[] = {
        TEST(baselines_do_not_see_it),          TEST(models_do_not_see_it),
        TEST(points_are_still_there),           TEST(many_are_no_gaps_but_an_outage),
        TEST(shifts_and_seasons_do_not_see_it), TEST(counters_begin_again),
        TEST(trainings_do_not_see_it),          TEST(lessons_and_accuracy_do_not_see_it),
        TEST(anomalies_do_not_see_it),          TEST(what_is_set_is_what_is_answered),
        TEST(there_are_at_most_32_of_them),
    };
    return cmocka_run_group_tests(tests, asked_teach, asked_forget);
}
