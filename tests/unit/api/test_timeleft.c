/* GET /api/v1/timeleft: shapes, what is refused, answers from memory that follow new points.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "fixture.h"

#include "base/clock.h"
#include "base/random.h"

#include <jansson.h>
#include <math.h>

#define MINUTE INT64_C(60000)
#define POINTS 300

static struct fixture fixture;

/* A disk that fills by one a minute, with a little noise; full at 100 more than it has at the end.
 */
static void fill_until(const char *series, int64_t end_ms)
{
    char body[64 * POINTS];
    int used = snprintf(body, sizeof(body), "{\"series\":\"%s\",\"points\":[", series);
    struct random random;
    random_init(&random, 5, 0);
    for (int i = 0; i < POINTS; i++) {
        used += snprintf(body + used, sizeof(body) - (size_t)used, "%s[%lld,%.3f]", i ? "," : "",
                         (long long)(end_ms - (POINTS - 1 - i) * MINUTE),
                         i + 0.3 * random_normal(&random));
    }
    snprintf(body + used, sizeof(body) - (size_t)used, "]}");
    expect(&fixture, API_POST, "/api/v1/points", body, 200, "\"rejected\":0");
}

static void fill_disk(const char *series)
{
    fill_until(series, NOW_MS / MINUTE * MINUTE);
}

static void stand_still(const char *series, int value)
{
    char body[64 * POINTS];
    int used = snprintf(body, sizeof(body), "{\"series\":\"%s\",\"points\":[", series);
    for (int i = 0; i < POINTS; i++) {
        used += snprintf(body + used, sizeof(body) - (size_t)used, "%s[%lld,%d]", i ? "," : "",
                         (long long)(NOW_MS / MINUTE * MINUTE - i * MINUTE), value);
    }
    snprintf(body + used, sizeof(body) - (size_t)used, "]}");
    expect(&fixture, API_POST, "/api/v1/points", body, 200, "\"rejected\":0");
}

static int open_fixture(void **state)
{
    (void)state;
    fixture_open(&fixture);
    fill_disk("disk");
    stand_still("idle", 0);
    stand_still("still", 42);
    fixture_fill(&fixture, "cpu{core=\"0\"}", 200, MINUTE);
    fixture_fill(&fixture, "cpu{core=\"1\"}", 200, MINUTE);
    return 0;
}

static int close_fixture(void **state)
{
    (void)state;
    fixture_close(&fixture);
    return 0;
}

static json_t *ask(const char *target)
{
    struct answer answer = get(&fixture, target);
    json_error_t cause;
    if (answer.status != 200) {
        fail_msg("%s: %d %s", target, answer.status, answer.body);
    }
    json_t *document = json_loadb(answer.body, answer.length, 0, &cause);
    assert_non_null(document);
    fixture_answer_release(&answer);
    return document;
}

static double number(const json_t *object, const char *name)
{
    const json_t *one = json_object_get(object, name);
    assert_true(json_is_number(one));
    return json_number_value(one);
}

static void times_of_a_filling_disk(void **state)
{
    (void)state;
    json_t *left = ask("/api/v1/timeleft?series=disk&above=320&horizon=60m");
    assert_true(json_is_false(json_object_get(left, "crossed")));
    assert_true(number(left, "p_within") > 0.95);
    assert_true(number(left, "p10_s") <= number(left, "p50_s"));
    /* 299 now and one a minute: 320 in 21 minutes */
    assert_true(fabs(number(left, "p50_s") - 21 * 60) < 180);
    assert_true(number(left, "horizon_s") == 3600 && number(left, "above") == 320);
    json_decref(left);

    left = ask("/api/v1/timeleft?series=disk&above=5000&horizon=60m");
    assert_true(number(left, "p_within") < 0.01);
    assert_true(json_is_null(json_object_get(left, "p10_s")));
    assert_true(json_is_null(json_object_get(left, "p90_s")));
    json_decref(left);

    left = ask("/api/v1/timeleft?series=disk&above=50");
    assert_true(json_is_true(json_object_get(left, "crossed")));
    assert_true(number(left, "p_within") == 1 && number(left, "p90_s") == 0);
    json_decref(left);
}

/* A day and more has too many minutes: the same is asked of a coarser grid, and that is said. */
static void looks_far_ahead_on_a_coarser_grid(void **state)
{
    (void)state;
    json_t *left = ask("/api/v1/timeleft?series=disk&above=600&horizon=1024m");
    assert_true(number(left, "step_ms") == MINUTE && number(left, "horizon_s") == 1024 * 60);
    assert_int_equal(json_array_size(json_object_get(left, "warnings")), 0);
    json_decref(left);

    left = ask("/api/v1/timeleft?series=disk&above=600&horizon=1d");
    assert_true(number(left, "step_ms") == 6 * MINUTE && number(left, "horizon_s") == 86400);
    const json_t *warning = json_array_get(json_object_get(left, "warnings"), 0);
    assert_string_equal(json_string_value(json_object_get(warning, "code")), "coarser_step");
    /* 299 now and one a minute: 600 in five hours */
    assert_true(number(left, "p_within") > 0.9);
    assert_true(fabs(number(left, "p50_s") - 301 * 60) < 40 * 60);
    json_decref(left);
    /* The mean of the last cell of half an hour is below 290, what was read last is not. */
    left = ask("/api/v1/timeleft?series=disk&above=290&horizon=5d");
    assert_true(number(left, "step_ms") == 30 * MINUTE);
    assert_true(json_is_true(json_object_get(left, "crossed")));
    json_decref(left);
    expect(&fixture, API_GET, "/api/v1/timeleft?series=disk&above=1&steps=1025", NULL, 400,
           "\"param\":\"steps\"");
    expect(&fixture, API_GET, "/api/v1/timeleft?series=disk&above=1&horizon=257d", NULL, 400,
           "\"hint\":\"Ask for a shorter horizon: at most 256 days.\"");
}

/* Two minutes from now, not from five minutes ago. */
static void readings_that_are_late(void **state)
{
    (void)state;
    fill_until("late", NOW_MS - 5 * MINUTE);
    json_t *left = ask("/api/v1/timeleft?series=late&above=303&horizon=2m");
    assert_true(number(left, "horizon_s") == (4 + 2) * 60); /* four steps are over */
    assert_true(number(left, "p_within") > 0.9);
    assert_true(fabs(number(left, "p50_s") - 4 * 60) < 60);
    json_decref(left);
}

/* The mean of an hour of minutes stands for the middle of that hour, not for its begin. */
static void times_of_coarse_cells(void **state)
{
    (void)state;
    fill_disk("tank");
    expect(&fixture, API_PATCH, "/api/v1/series/tank", "{\"step\":\"10m\"}", 200, NULL);
    json_t *left = ask("/api/v1/timeleft?series=tank&above=350&horizon=3h");
    const char *text = json_string_value(json_object_get(left, "origin"));
    struct error error = {0};
    int64_t origin_ms = 0;
    assert_int_equal(clock_parse(text, strlen(text), 1, &origin_ms, &error), STATUS_OK);
    assert_int_equal(origin_ms, NOW_MS - 19 * MINUTE); /* 13:20 to 13:30 is over at 13:39 */
    /* 299 now and one a minute: 350 in 51 minutes */
    double from_now_s = number(left, "p50_s") - (double)(NOW_MS - origin_ms) / 1000.0;
    assert_true(fabs(from_now_s - 51 * 60) < 3 * 60);
    json_decref(left);
}

/* What has always stood on the threshold will hardly leave it, though its band has a width. */
static void a_constant_on_the_threshold(void **state)
{
    (void)state;
    json_t *left = ask("/api/v1/timeleft?series=idle&above=0");
    assert_true(number(left, "p_within") < 0.001);
    assert_true(json_is_null(json_object_get(left, "p10_s")));
    json_decref(left);
    left = ask("/api/v1/timeleft?series=still&above=42");
    assert_true(number(left, "p_within") < 0.001);
    json_decref(left);
    left = ask("/api/v1/timeleft?series=still&below=42");
    assert_true(number(left, "p_within") < 0.001);
    json_decref(left);
    left = ask("/api/v1/timeleft?series=still&above=41.999");
    assert_true(json_is_true(json_object_get(left, "crossed")));
    json_decref(left);
}

static void several_series_and_formats(void **state)
{
    (void)state;
    json_t *both = ask("/api/v1/timeleft?series=cpu&below=-1000");
    assert_int_equal(json_array_size(json_object_get(both, "timeleft")), 2);
    json_decref(both);
    json_t *rows = ask("/api/v1/timeleft?series=cpu&below=-1000&format=table");
    assert_int_equal(json_array_size(rows), 2);
    const json_t *row = json_array_get(rows, 1);
    assert_string_equal(json_string_value(json_object_get(row, "direction")), "below");
    assert_true(json_is_null(json_object_get(row, "p50_s")));
    json_decref(rows);
    expect(&fixture, API_GET, "/api/v1/timeleft?series=disk&above=50&format=csv", NULL, 200,
           ",above,50,2880,1,1,0,0,0\n");
}

static void refusals(void **state)
{
    (void)state;
    static const struct {
        const char *target;
        int status;
        const char *part;
    } table[] = {
        {"/api/v1/timeleft?series=disk", 400, "\"param\":\"above\""},
        {"/api/v1/timeleft?above=1", 400, "\"param\":\"series\""},
        {"/api/v1/timeleft?series=disk&above=1&below=0", 400, "\"param\":\"below\""},
        {"/api/v1/timeleft?series=disk&above=high", 400, "\"param\":\"above\""},
        {"/api/v1/timeleft?series=disk&above=nan", 400, "\"param\":\"above\""},
        {"/api/v1/timeleft?series=disk&below=1e999", 400, "\"param\":\"below\""},
        {"/api/v1/timeleft?series=disk&above=1&horizon=9000d", 400, "\"param\":\"horizon\""},
        {"/api/v1/timeleft?series=disk&above=1&quantiles=0.1", 400, "unknown_parameter"},
        {"/api/v1/timeleft?series=none&above=1", 404, "unknown_series"},
    };
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        expect(&fixture, API_GET, table[i].target, NULL, table[i].status, table[i].part);
    }
}

/* The second answer comes from the network thread; a new point ends it; refreshing brings it back.
 */
static void kept_fresh(void **state)
{
    (void)state;
    static const char target[] = "/api/v1/timeleft?series=disk&above=310";
    struct answer first = get(&fixture, target);
    struct answer second = get(&fixture, target);
    assert_true(second.fast && !first.fast);
    assert_string_equal(first.body, second.body);
    fixture_answer_release(&first);
    fixture_answer_release(&second);
    char body[128];
    snprintf(body, sizeof(body), "{\"series\":\"disk\",\"timestamp\":%lld,\"value\":311}",
             (long long)(NOW_MS / MINUTE * MINUTE + MINUTE));
    expect(&fixture, API_POST, "/api/v1/points", body, 200, NULL);
    uint32_t id = storage_series_find(fixture.services.storage, "disk", 4);
    api_refresh(fixture.worker, &id, 1);
    second = get(&fixture, target);
    assert_true(second.fast);
    assert_non_null(strstr(second.body, "\"crossed\":true"));
    fixture_answer_release(&second);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(times_of_a_filling_disk),
        cmocka_unit_test(looks_far_ahead_on_a_coarser_grid),
        cmocka_unit_test(readings_that_are_late),
        cmocka_unit_test(times_of_coarse_cells),
        cmocka_unit_test(a_constant_on_the_threshold),
        cmocka_unit_test(several_series_and_formats),
        cmocka_unit_test(refusals),
        cmocka_unit_test(kept_fresh),
    };
    return cmocka_run_group_tests(tests, open_fixture, close_fixture);
}
