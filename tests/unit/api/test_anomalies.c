/* Anomaly scores: false alarms on ordinary values, planted surprises, no knowledge of the future,
 * issued forecasts before the past, the shape of the answer. SPDX-License-Identifier: Apache-2.0
 */
#include "fixture.h"

#include "api/expect.h"
#include "base/random.h"

#include <jansson.h>
#include <math.h>

#define VALUES  4000
#define SEASON  24
#define STEP_MS INT64_C(300000)

static struct random noise;
static double values[VALUES];
static struct expected expected[VALUES];

static void look(size_t count, size_t season)
{
    struct error error = {0};
    assert_int_equal(expect_past(values, count, season, expected, &error), STATUS_OK);
}

static double score(size_t at)
{
    return fabs(values[at] - expected[at].value) / expected[at].reach;
}

/* Share of values[from .. VALUES) that reach 1. */
static double alarms(size_t from)
{
    size_t count = 0;
    for (size_t i = from; i < VALUES; i++) {
        assert_true(isfinite(score(i)));
        count += score(i) >= 1.0;
    }
    return (double)count / (double)(VALUES - from);
}

enum kind { WHITE, SLOW, DAILY, WALK, RAMP, KINDS };

static void fill(enum kind kind, double spread)
{
    double state = 0.0;
    random_init(&noise, 21, (uint64_t)kind);
    for (size_t i = 0; i < VALUES; i++) {
        double shock = spread * random_normal(&noise);
        double season = 10.0 * sin((double)i * 2.0 * M_PI / SEASON);
        state = (kind == WALK ? 1.0 : 0.7) * state + shock;
        values[i] = kind == WHITE   ? 50.0 + shock
                    : kind == SLOW  ? 50.0 + state
                    : kind == DAILY ? 50.0 + season + shock
                    : kind == WALK  ? 50.0 + state
                                    : 0.5 * (double)i + shock;
    }
}

/* One in a hundred is nominal. The share of 3,700 values has a standard error of 0.0016; smoothing
 * and the short memory of the band bring more. */
static void few_false_alarms(void **state)
{
    (void)state;
    for (int kind = 0; kind < KINDS; kind++) {
        fill((enum kind)kind, 1.0);
        look(VALUES, kind == DAILY ? SEASON : 0);
        double share = alarms(300);
        print_message("kind %d: false alarms %.4f\n", kind, share);
        assert_true(share > 0.003 && share < 0.02);
    }
}

static void planted_spikes_and_shifts(void **state)
{
    (void)state;
    fill(DAILY, 1.0);
    for (size_t i = 1000; i < VALUES; i += 250) {
        values[i] += i % 500 ? 8.0 : -8.0;
    }
    look(VALUES, SEASON);
    size_t echoes = 0;
    for (size_t i = 1000; i < VALUES; i += 250) {
        assert_true(score(i) > 1.5);
        echoes += score(i + 1) >= 1.0;
    }
    assert_true(echoes <= 2); /* of 12: a spike does not blame what follows */

    fill(DAILY, 1.0);
    for (size_t i = 2000; i < VALUES; i++) {
        values[i] += 12.0;
    }
    look(VALUES, SEASON);
    assert_true(score(2000) > 1.5 && score(2001) >= 1.0);
    size_t late = 0;
    for (size_t i = 2100; i < 2600; i++) {
        late += score(i) >= 1.0;
    }
    print_message("after the shift: %zu of 500\n", late);
    assert_true(late <= 15); /* the new level has been learned */
}

static void a_series_that_stands_still(void **state)
{
    (void)state;
    for (size_t i = 0; i < VALUES; i++) {
        values[i] = i == 3000 ? 5.001 : 5.0;
    }
    look(VALUES, 0);
    assert_true(score(2999) < 1.0 && score(3000) > 10.0);
    for (size_t i = 0; i < EXPECT_ERRORS_MIN; i++) {
        assert_true(isnan(expected[i].reach));
    }
}

/* What was expected of a value is the same whether the series ends there or goes on. */
static void never_from_the_future(void **state)
{
    (void)state;
    struct expected whole[VALUES];
    fill(DAILY, 1.0);
    for (size_t i = 50; i < VALUES; i += 13) {
        values[i] = (double)NAN;
    }
    look(VALUES, SEASON);
    memcpy(whole, expected, sizeof(whole));
    for (size_t count = 100; count < VALUES; count += 777) {
        look(count, SEASON);
        assert_memory_equal(whole, expected, count * sizeof(*whole));
    }
}

/* Values whose differences overflow: they are judged, nothing is learned from them, and what is
 * kept of the errors stays in order. */
static void values_at_the_end_of_the_numbers(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 40; seed++) {
        fill(DAILY, 1.0);
        random_init(&noise, 22, seed);
        for (size_t i = 20; i < 3000; i++) {
            double huge = seed % 2 ? 1.7e308 : 1e300;
            values[i] = random_below(&noise, 1 + seed) == 0
                            ? (random_below(&noise, 2) ? huge : -huge)
                            : values[i];
        }
        look(VALUES, seed % 4 < 2 ? SEASON : 0);
        for (size_t i = 3100; i < VALUES; i++) {
            assert_true(isfinite(expected[i].value) && isfinite(expected[i].reach));
        }
    }
}

/* ---------------------------------------------------------------- the route */

static void put(struct fixture *f, int64_t time_ms, double value)
{
    char body[200];
    snprintf(body, sizeof(body), "{\"series\":\"boiler\",\"timestamp\":%lld,\"value\":%.4f}",
             (long long)time_ms, value);
    expect(f, API_POST, "/api/v1/points", body, 200, NULL);
}

static json_t *ask(struct fixture *f, const char *target)
{
    struct answer answer = get(f, target);
    if (answer.status != 200) {
        fail_msg("%s: %d %s", target, answer.status, answer.body);
    }
    json_t *json = json_loads(answer.body, 0, NULL);
    fixture_answer_release(&answer);
    assert_non_null(json);
    return json;
}

/* The service in fast motion: forecasts are issued as points come, then a surprise comes. */
static void issued_forecasts_come_first(void **state)
{
    (void)state;
    struct fixture f;
    char target[200];
    fixture_open(&f);
    f.limits.vintage_age_max_ms = INT64_C(14) * 86400000;
    f.limits.horizon_default = 12;
    random_init(&noise, 4, 0);
    int64_t now_ms = NOW_MS - NOW_MS % STEP_MS - 600 * STEP_MS, surprise_ms = 0, first_ms = 0;
    for (int i = 0; i < 700; i++, now_ms += STEP_MS) {
        bool planted = i == 680;
        double season = 5.0 * sin((double)i * 2.0 * M_PI / 24.0);
        put(&f, now_ms, 20.0 + season + 0.5 * random_normal(&noise) + (planted ? 6.0 : 0.0));
        fixture_set_now(now_ms + 2000);
        surprise_ms = planted ? now_ms : surprise_ms;
        uint32_t id = storage_series_find(f.services.storage, "boiler", 6);
        if (i >= 600 && api_issue_due(&f.services, id, false)) {
            first_ms = first_ms ? first_ms : now_ms;
            api_issue(f.worker, &id, 1);
        }
    }
    struct error error = {0};
    assert_int_equal(writer_compact(f.services.writer, &error), STATUS_OK);
    snprintf(target, sizeof(target), "/api/v1/anomalies?series=boiler&start=%lld",
             (long long)first_ms);
    json_t *answer = ask(&f, target);
    json_t *by = json_object_get(answer, "scored_by");
    json_int_t issued = json_integer_value(json_object_get(by, "issued"));
    assert_true(issued >= 95);
    json_t *points = json_object_get(answer, "points");
    size_t high = 0;
    for (size_t i = 0; i < json_array_size(points); i++) {
        json_t *point = json_array_get(points, i);
        double one = json_number_value(json_array_get(point, 2));
        if (json_integer_value(json_array_get(point, 0)) == surprise_ms) {
            assert_true(one > 1.5);
        } else {
            high += one >= 1.0;
        }
    }
    assert_true(high <= 4); /* of a hundred */
    json_decref(answer);
    fixture_close(&f);
}

static void shapes_and_refusals(void **state)
{
    (void)state;
    struct fixture f;
    fixture_open(&f);
    fixture_fill(&f, "cpu{core=\"0\"}", 200, STEP_MS);
    fixture_fill(&f, "cpu{core=\"1\"}", 200, STEP_MS);
    json_t *both = ask(&f, "/api/v1/anomalies?series=%7B__name__%3D%22cpu%22%7D");
    json_t *list = json_object_get(both, "anomalies");
    assert_int_equal(json_array_size(list), 2);
    json_t *points = json_object_get(json_array_get(list, 1), "points");
    assert_int_equal(json_array_size(points), 200);
    assert_true(json_is_null(json_array_get(json_array_get(points, 0), 2)));
    assert_true(json_is_number(json_array_get(json_array_get(points, 199), 2)));
    json_decref(both);
    json_t *rows = ask(&f, "/api/v1/anomalies?series=%7B__name__%3D%22cpu%22%7D&format=table");
    assert_int_equal(json_array_size(rows), 400);
    json_decref(rows);
    expect(&f, API_POST, "/api/v1/points", "{\"series\":\"new\",\"value\":1}", 200, "accepted");
    expect(&f, API_GET, "/api/v1/anomalies?series=new", NULL, 200, "\"step_ms\":null,");
    expect(&f, API_GET, "/api/v1/anomalies?series=%7B__name__%3D%22cpu%22%7D&format=csv", NULL, 200,
           "series,timestamp,value,score\n");
    static const struct {
        const char *target;
        int status;
        const char *part;
    } table[] = {
        {"/api/v1/anomalies", 400, "\"param\":\"series\""},
        {"/api/v1/anomalies?series=none", 404, "unknown_series"},
        {"/api/v1/anomalies?series=cpu%7Bcore%3D%220%22%7D&start=x", 400, "\"param\":\"start\""},
        {"/api/v1/anomalies?series=cpu%7Bcore%3D%220%22%7D&start=now&end=1700000000000", 400,
         "\"param\":\"end\""},
        {"/api/v1/anomalies?series=cpu%7Bcore%3D%220%22%7D&start=-9223372036854775807", 400,
         "\"param\":\"start\""},
        {"/api/v1/anomalies?series=cpu%7Bcore%3D%220%22%7D&end=-9223372036854775807", 200,
         "\"points\":[]"},
        {"/api/v1/anomalies?series=cpu%7Bcore%3D%220%22%7D&start=9223372036854775806", 400,
         "\"param\":\"end\""},
        {"/api/v1/anomalies?series=cpu%7Bcore%3D%220%22%7D&start=1900000000000", 200,
         "\"points\":[]"},
    };
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        expect(&f, API_GET, table[i].target, NULL, table[i].status, table[i].part);
    }
    fixture_close(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(few_false_alarms),
        cmocka_unit_test(planted_spikes_and_shifts),
        cmocka_unit_test(a_series_that_stands_still),
        cmocka_unit_test(never_from_the_future),
        cmocka_unit_test(values_at_the_end_of_the_numbers),
        cmocka_unit_test(issued_forecasts_come_first),
        cmocka_unit_test(shapes_and_refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
