/* Tests of models and series that they do not know: a wave among waves is served, a ramp is not.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "fixture.h"

#include "api/track.h"

#include <math.h>
#include <stdlib.h>

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

/* What repeats a day, as the model does and the seasonal naive, is behind by what a day brings. */
static double rising(size_t i, double noise)
{
    return wave(i, noise) + 0.1 * (double)i;
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

static void keep_vintages(void)
{
    fixture.limits.vintage_age_max_ms = INT64_C(14) * 86400000;
    fixture.limits.horizon_default = DAY;
}

static int open_fixture(void **state)
{
    (void)state;
    fixture_open(&fixture);
    keep_vintages();
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
    assert_served("ramp", "drift", "no_skill,no_season");
    json_t *document = fixture_json(&fixture, "/api/v1/forecast?series=ramp&steps=24");
    double first = fixture_number(fixture_forecast(document, 0), "mean", 0);
    assert_true(fabs(first - ramp(400, 0.0)) < 2.0);
    json_decref(document);
    expect(&fixture, API_GET, "/metrics", NULL, 200,
           "\nforecastd_forecast_fallbacks_total{reason=\"no_skill\"} ");
}

/* It has to be as good as what would serve in its place, which is not the seasonal naive. */
static void it_is_held_against_what_would_serve(void **state)
{
    (void)state;
    put("rising", rising, 400, LAST);
    assert_served("rising", "damped_trend", "no_skill");
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
    assert_served("becomes", "drift", "no_skill,no_season");
    put("becomes", wave, 300, LAST);
    assert_served("becomes", "logsparse", "");
}

/* A list of values as a request of Nixtla's clients has them. */
static void list(struct text *text, double (*value)(size_t, double), size_t count)
{
    uint64_t seed = 7;
    for (size_t i = 0; i < count; i++) {
        text_add_format(text, "%s%.4f", i > 0 ? "," : "", value(i, noise_of(&seed)));
    }
}

/* Series of requests have no name: what one is no good for says nothing of the next. */
static void each_series_of_a_request_is_tried(void **state)
{
    (void)state;
    enum { LENGTH = 240 };
    struct text body;
    text_init(&body, 1 << 20);
    text_add_string(&body, "{\"series\":{\"y\":[");
    list(&body, ramp, LENGTH);
    text_add_char(&body, ',');
    list(&body, wave, LENGTH);
    text_add_char(&body, ',');
    list(&body, ramp, LENGTH);
    text_add_format(&body,
                    "],\"sizes\":[%d,%d,%d],\"start_datetime\":[\"2026-01-01T00:00:00\","
                    "\"2026-01-01T00:00:00\",\"2026-01-01T00:00:00\"]},\"h\":6,\"freq\":\"h\"}",
                    LENGTH, LENGTH, LENGTH);
    struct answer before = get(&fixture, "/metrics");
    const char *name = "forecastd_forecast_fallbacks_total{reason=\"no_skill\"} ";
    long lost = strtol(strstr(before.body, name) + strlen(name), NULL, 10);
    struct answer answer = fixture_ask(&fixture, API_POST, "/v2/forecast", NULL, body.bytes,
                                       body.length, API_IDENTITY);
    assert_int_equal(answer.status, 200);
    struct answer after = get(&fixture, "/metrics");
    assert_int_equal(strtol(strstr(after.body, name) + strlen(name), NULL, 10), lost + 2);
    fixture_answer_release(&before);
    fixture_answer_release(&answer);
    fixture_answer_release(&after);
    text_release(&body);
}

/* Forty more hours of a ramp, asked about and issued each hour; what it has taught its bands. */
static struct conformal lessons_of(const char *reason)
{
    enum { STEPS = 40 };
    put("alone", ramp, 400, LAST);
    uint32_t id = storage_series_find(fixture.services.storage, "alone", 5);
    struct track track = {.maker = 0};
    struct error error = {0};
    for (int i = 1; i <= STEPS; i++) {
        put("alone", ramp, 400 + (size_t)i, LAST + i * HOUR);
        fixture_set_now(LAST + i * HOUR + HOUR / 2);
        assert_served("alone", "drift", reason);
        if (api_issue_due(&fixture.services, id, false)) {
            api_issue(fixture.worker, &id, 1);
        }
        assert_int_equal(writer_compact(fixture.services.writer, &error),
                         STATUS_OK); /* it is kept */
        assert_true(track_find(fixture.services.tracks, id, &track));
    }
    assert_int_equal(track.maker, track_maker("", "drift"));
    assert_true(track.calibration.count > STEPS);
    return track.calibration;
}

/* Bands of the baseline that serves learn as they do where there is no model at all. */
static void a_series_without_the_model_learns_by_itself(void **state)
{
    struct conformal beside = lessons_of("no_skill,no_season");
    fixture_set_now(NOW_MS);
    close_fixture(state);
    fixture_open(&fixture);
    keep_vintages();
    struct conformal alone = lessons_of("no_model,no_season");
    assert_int_equal(beside.count, alone.count);
    assert_int_equal(beside.inside80, alone.inside80);
    for (size_t pair = 0; pair < CONFORMAL_PAIRS; pair++) {
        for (size_t part = 0; part < CONFORMAL_PARTS; part++) {
            assert_true(fabsf(beside.shift[pair][part] - alone.shift[pair][part]) < 1e-6f);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_it_was_trained_on_is_served),
        cmocka_unit_test(a_new_one_of_the_kind_is_served),
        cmocka_unit_test(what_it_is_no_good_for_is_not),
        cmocka_unit_test(it_is_held_against_what_would_serve),
        cmocka_unit_test(a_short_one_is_trusted_to_the_model),
        cmocka_unit_test(it_is_tried_again),
        cmocka_unit_test(each_series_of_a_request_is_tried),
        cmocka_unit_test(a_series_without_the_model_learns_by_itself), /* goes on in time */
    };
    return cmocka_run_group_tests(tests, open_fixture, close_fixture);
}
