/* Tests of models and series that they do not know: a wave among waves is served, a ramp is not.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "fixture.h"

#include "base/clock.h"

#include <math.h>

#define HOUR INT64_C(3600000)
#define DAY  24
#define LAST ((NOW_MS - NOW_MS % HOUR))

static struct fixture fixture;

static double noise_of(uint64_t *seed)
{
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return (double)(*seed >> 11) / 9007199254740992.0 - 0.5;
}

static double wave(size_t i, double noise)
{
    return 20.0 + 5.0 * sin((double)i * 2.0 * M_PI / DAY) + noise;
}

static double ramp(size_t i, double noise)
{
    return 10.0 + 0.2 * (double)i + 0.2 * noise;
}

/* `count` hourly values, the last one at `last_ms`. */
static void put(const char *series, double (*value)(size_t, double), size_t count, int64_t last_ms)
{
    struct error error = {0};
    struct write_batch *batch = NULL;
    struct write_result result;
    uint32_t id = 0;
    uint64_t seed = 7;
    assert_int_equal(write_batch_new(fixture.services.storage, count, &batch, &error), STATUS_OK);
    assert_int_equal(write_batch_series(batch, series, strlen(series), &id, &error), STATUS_OK);
    for (size_t i = 0; i < count; i++) {
        struct point point = {last_ms - (int64_t)(count - 1 - i) * HOUR, value(i, noise_of(&seed))};
        assert_int_equal(write_batch_point(batch, id, point, &error), STATUS_OK);
    }
    assert_int_equal(writer_write_take(fixture.services.writer, batch, &result, &error), STATUS_OK);
}

/* A few steps on two waves: the skip of lags, more or less. */
static void train(void)
{
    struct api_group group;
    struct error error = {0};
    struct snapshot *snapshot = NULL;
    struct api_group_order order = {.step_ms = HOUR, .values_max = 2000, .bytes_max = 1u << 20};
    put("wave{n=\"1\"}", wave, 400, LAST);
    put("wave{n=\"2\"}", wave, 300, LAST);
    assert_int_equal(api_group_load(fixture.worker, &order, &group, &error), STATUS_OK);
    struct train_request request = {
        .series = group.series, .series_count = group.count, .steps = 20, .seed = 7, .lanes = 1};
    snprintf(request.config.backbone, sizeof(request.config.backbone), "logsparse");
    snprintf(request.config.head, sizeof(request.config.head), "quantile");
    request.config.horizon = DAY;
    assert_int_equal(model_train(&request, &snapshot, &error), STATUS_OK);
    api_group_free(&group);
    assert_int_equal(registry_publish(fixture.services.registry, snapshot, &error), STATUS_OK);
    snapshot_release(snapshot);
}

static int open_fixture(void **state)
{
    (void)state;
    fixture_open(&fixture);
    train();
    return 0;
}

static int close_fixture(void **state)
{
    (void)state;
    fixture_close(&fixture);
    return 0;
}

static void assert_served(const char *series, const char *by, const char *reason)
{
    char target[120];
    snprintf(target, sizeof(target), "/api/v1/forecast?series=%s&steps=%d", series, DAY);
    json_t *document = fixture_json(&fixture, target);
    const json_t *forecast = fixture_forecast(document, 0);
    const char *said = json_string_value(json_object_get(forecast, "fallback_reason"));
    assert_string_equal(json_string_value(json_object_get(forecast, "served_by")), by);
    assert_string_equal(said ? said : "", reason);
    json_decref(document);
}

static void what_it_was_trained_on_is_served(void **state)
{
    (void)state;
    assert_served("wave", "logsparse", ""); /* the first of the two */
}

static void a_new_one_of_the_kind_is_served(void **state)
{
    (void)state;
    put("alike", wave, 120, LAST);
    assert_served("alike", "logsparse", "");
}

static void what_it_is_no_good_for_is_not(void **state)
{
    (void)state;
    put("ramp", ramp, 400, LAST);
    assert_served("ramp", "damped_trend", "no_skill,no_season");
    json_t *document = fixture_json(&fixture, "/api/v1/forecast?series=ramp&steps=24");
    double first = fixture_number(fixture_forecast(document, 0), "mean", 0);
    assert_true(fabs(first - ramp(400, 0.0)) < 2.0);
    json_decref(document);
    expect(&fixture, API_GET, "/metrics", NULL, 200,
           "\nforecastd_forecast_fallbacks_total{reason=\"no_skill\"} ");
}

/* The model has seen more than there is to see in these. */
static void a_short_one_is_trusted_to_the_model(void **state)
{
    (void)state;
    put("short", ramp, 20, LAST);
    assert_served("short", "logsparse", "");
}

/* After a stretch more, what the series has become is looked at. */
static void it_is_tried_again(void **state)
{
    (void)state;
    put("becomes", ramp, 200, LAST - 300 * HOUR);
    assert_served("becomes", "damped_trend", "no_skill,no_season");
    put("becomes", wave, 300, LAST);
    assert_served("becomes", "logsparse", "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_it_was_trained_on_is_served),
        cmocka_unit_test(a_new_one_of_the_kind_is_served),
        cmocka_unit_test(what_it_is_no_good_for_is_not),
        cmocka_unit_test(a_short_one_is_trusted_to_the_model),
        cmocka_unit_test(it_is_tried_again),
    };
    return cmocka_run_group_tests(tests, open_fixture, close_fixture);
}
