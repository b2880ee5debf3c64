/* Answers where a trained model serves, and where its numbers are not finite.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "fixture.h"

#include "base/memory.h"
#include "model/snapshot.h"

#include <jansson.h>
#include <math.h>

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

static struct snapshot *train(int64_t step_ms)
{
    struct api_group group;
    struct error error = {0};
    struct snapshot *snapshot = NULL;
    struct api_group_order order = {.step_ms = step_ms, .values_max = 2000, .bytes_max = 1u << 20};
    assert_int_equal(api_group_load(fixture.worker, &order, &group, &error), STATUS_OK);
    struct train_request request = {
        .series = group.series, .series_count = group.count, .steps = 4, .seed = 7, .lanes = 1};
    snprintf(request.config.backbone, sizeof(request.config.backbone), "logsparse");
    snprintf(request.config.head, sizeof(request.config.head), "quantile");
    request.config.horizon = 24;
    if (model_train(&request, &snapshot, &error) != STATUS_OK) {
        fail_msg("%s", error.text);
    }
    api_group_free(&group);
    return snapshot;
}

static void test_learned(void **state)
{
    (void)state;
    struct error error = {0};
    assert_false(fixture_is_fast(&fixture, "/api/v1/forecast?series=plain", "no_model"));
    struct snapshot *snapshot = train(MINUTE);
    assert_int_equal(registry_publish(fixture.services.registry, snapshot, &error), STATUS_OK);
    snapshot_release(snapshot);
    json_t *document = fixture_json(&fixture, "/api/v1/forecast?series=plain");
    const json_t *forecast = fixture_forecast(document, 0);
    fixture_check_forecast(forecast, 48, MINUTE, -1e9, 1e9);
    assert_string_equal(json_string_value(json_object_get(forecast, "state")), "learned");
    assert_string_equal(json_string_value(json_object_get(forecast, "served_by")), "logsparse");
    assert_true(json_is_null(json_object_get(forecast, "fallback_reason")));
    assert_true(json_is_object(json_object_get(forecast, "model")));
    const json_t *skill = json_object_get(forecast, "skill");
    assert_true(json_real_value(json_object_get(skill, "mase")) > 0.0);
    assert_true(json_real_value(json_object_get(skill, "relative")) > 0.0);
    bool named = false;
    for (int b = 0; b < BASELINE_COUNT; b++) {
        const char *baseline = json_string_value(json_object_get(skill, "baseline"));
        named = named || strcmp(baseline, baseline_name((enum baseline)b)) == 0;
    }
    assert_true(named);
    const json_t *warning = json_array_get(json_object_get(forecast, "warnings"), 0);
    assert_string_equal(json_string_value(json_object_get(warning, "code")),
                        "beyond_trained_horizon");
    json_decref(document);
    assert_true(fixture_is_fast(&fixture, "/api/v1/forecast?series=plain", "logsparse"));
    expect(&fixture, API_GET, "/api/v1/forecast?series=cpu&series=plain", NULL, 200, "logsparse");
    expect(&fixture, API_GET, "/readyz", NULL, 200, "\"models\":true");
}

/* A champion that nothing replaces gets old: that can be seen, by group. */
static void test_age_is_shown(void **state)
{
    (void)state;
    struct error error = {0};
    char line[120];
    expect(&fixture, API_GET, "/metrics", NULL, 200,
           "\n# TYPE forecastd_model_trained_timestamp_seconds gauge\n# HELP");
    struct snapshot *models[] = {train(HOUR), train(MINUTE)};
    for (size_t i = 0; i < 2; i++) {
        models[i]->record.trained_at_ms = (int64_t)(i + 1) * 1000000500;
        assert_int_equal(registry_publish(fixture.services.registry, models[i], &error), STATUS_OK);
    }
    expect(&fixture, API_GET, "/metrics", NULL, 200,
           "\nforecastd_model_trained_timestamp_seconds{step=\"1h\"} 1000000.5\n"
           "forecastd_model_trained_timestamp_seconds{step=\"1m\"} 2000001\n#");
    snprintf(line, sizeof(line), "\nforecastd_model_data_timestamp_seconds{step=\"1h\"} %lld\n",
             (long long)(models[0]->record.window_end_ms / 1000));
    assert_true(models[0]->record.window_end_ms > 0);
    expect(&fixture, API_GET, "/metrics", NULL, 200, line);
    atomic_store(&fixture.services.train_every_ms, 3600000);
    expect(&fixture, API_GET, "/metrics", NULL, 200,
           "\nforecastd_training_interval_seconds 3600\n");
    assert_int_equal(registry_withdraw(fixture.services.registry, HOUR, &error), STATUS_OK);
    expect(&fixture, API_GET, "/metrics", NULL, 200,
           "gauge\nforecastd_model_trained_timestamp_seconds{step=\"1m\"} 2000001\n#");
    for (size_t i = 0; i < 2; i++) {
        snapshot_release(models[i]);
    }
}

/* The model of a step that no series has any more is replaced by nothing, and nobody has to mend
 * that. */
static void test_no_age_without_series(void **state)
{
    (void)state;
    struct error error = {0};
    int64_t steps[8];
    size_t counts[8], found = api_groups(fixture.worker, steps, counts, 8);
    struct snapshot *model = train(MINUTE);
    model->record.trained_at_ms = 2000001000;
    model->record.step_ms = 7 * MINUTE;
    assert_int_equal(registry_publish(fixture.services.registry, model, &error), STATUS_OK);
    const char *row = "trained_timestamp_seconds{step=\"7m\"} 2000001\n";
    expect(&fixture, API_GET, "/metrics", NULL, 200, row); /* nobody has looked yet */
    for (size_t i = 0; i < found; i++) {
        assert_int_not_equal(steps[i], 7 * MINUTE);
    }
    assert_int_equal(api_groups(fixture.worker, steps, counts, 8), found);
    struct answer answer = get(&fixture, "/metrics");
    assert_null(strstr(answer.body, "{step=\"7m\"}"));
    fixture_answer_release(&answer);
    steps[found] = 7 * MINUTE;
    registry_note_groups(fixture.services.registry, steps, found + 1);
    expect(&fixture, API_GET, "/metrics", NULL, 200, row);
    assert_int_equal(registry_withdraw(fixture.services.registry, 7 * MINUTE, &error), STATUS_OK);
    snapshot_release(model);
}

static void spoil(struct snapshot *snapshot, float weight)
{
    for (size_t m = 0; m < snapshot->member_count; m++) {
        struct member *member = snapshot->members[m];
        for (size_t i = 0; i < member->params.size; i++) {
            member->weights[i] = (real)weight;
        }
    }
}

static void publish(struct snapshot *snapshot)
{
    struct error error = {0};
    assert_int_equal(registry_publish(fixture.services.registry, snapshot, &error), STATUS_OK);
}

static const char *word(const json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));
    return text ? text : "";
}

/* A model whose numbers are not finite serves nothing: the previous one does, or a baseline, and
 * that is said and counted. */
static void test_not_finite(void **state)
{
    (void)state;
    static const float weights[] = {NAN, 1e38f};
    struct snapshot *good = train(MINUTE), *bad[2] = {train(MINUTE), train(MINUTE)};
    for (size_t i = 0; i < 2; i++) {
        char counted[80];
        spoil(bad[i], weights[i]);
        publish(bad[i]);
        json_t *document = fixture_json(&fixture, "/api/v1/forecast?series=plain&steps=24");
        const json_t *forecast = fixture_forecast(document, 0);
        fixture_check_forecast(forecast, 24, MINUTE, -1e9, 1e9);
        /* of the second one the good one is the previous */
        assert_string_equal(word(forecast, "served_by"), i == 0 ? "damped_trend" : "logsparse");
        assert_string_equal(word(forecast, "fallback_reason"), "not_finite");
        if (i == 1) {
            assert_string_equal(word(json_object_get(forecast, "model"), "id"),
                                snapshot_record(good)->id);
        }
        json_decref(document);
        snprintf(counted, sizeof(counted),
                 "\nforecastd_forecast_fallbacks_total{reason=\"not_finite\"} %zu\n", i + 1);
        expect(&fixture, API_GET, "/metrics", NULL, 200, counted);
        publish(good);
        document = fixture_json(&fixture, "/api/v1/forecast?series=plain&steps=24");
        assert_string_equal(word(fixture_forecast(document, 0), "served_by"), "logsparse");
        assert_string_equal(word(fixture_forecast(document, 0), "fallback_reason"), "");
        json_decref(document);
        snapshot_release(bad[i]);
    }
    snapshot_release(good);
}

static void end_fault(void)
{
    mem_fault_set(0, 0);
    fixture_answered = NULL;
}

/* A new process with `champion`, and `previous` where there is one; its nth allocation while it
 * answers fails. */
static json_t *answer_with_fault(struct snapshot *previous, struct snapshot *champion, uint64_t nth)
{
    json_error_t cause;
    fixture_close(&fixture);
    fixture_open(&fixture);
    fixture_fill(&fixture, "plain", 500, MINUTE);
    if (previous != NULL) {
        publish(previous);
    }
    publish(champion);
    fixture_answered = end_fault;
    mem_fault_set(nth, 0);
    struct answer answer = get(&fixture, "/api/v1/forecast?series=plain&steps=24");
    json_t *document =
        answer.status == 200 ? json_loadb(answer.body, answer.length, 0, &cause) : NULL;
    fixture_answer_release(&answer);
    return document;
}

/* A model that cannot be run for want of memory: the previous one serves, or a baseline, and that
 * is said and counted; with memory the model is back. */
static void test_model_failed(void **state)
{
    (void)state;
    struct snapshot *previous = train(MINUTE), *champion = train(MINUTE);
    struct error error = {0};
    assert_int_equal(
        registry_next_id(fixture.services.registry, MINUTE, previous->record.id, &error),
        STATUS_OK);
    uint64_t failed = 0; /* which allocation it is */
    for (uint64_t nth = 1; nth < 200 && failed == 0; nth++) {
        json_t *document = answer_with_fault(NULL, champion, nth);
        const json_t *forecast = document != NULL ? fixture_forecast(document, 0) : NULL;
        if (strncmp(word(forecast, "fallback_reason"), "model_failed", 12) == 0) {
            failed = nth;
            fixture_check_forecast(forecast, 24, MINUTE, -1e9, 1e9);
            assert_string_equal(word(forecast, "served_by"), "damped_trend");
            assert_true(json_is_null(json_object_get(forecast, "model")));
            expect(&fixture, API_GET, "/metrics", NULL, 200,
                   "\nforecastd_forecast_fallbacks_total{reason=\"model_failed\"} 1\n");
        }
        json_decref(document);
    }
    assert_true(failed > 0);
    json_t *document = fixture_json(&fixture, "/api/v1/forecast?series=plain&steps=23");
    assert_string_equal(word(fixture_forecast(document, 0), "served_by"), "logsparse");
    assert_string_equal(word(fixture_forecast(document, 0), "fallback_reason"), "");
    json_decref(document);
    document = answer_with_fault(previous, champion, failed);
    const json_t *forecast = fixture_forecast(document, 0);
    assert_string_equal(word(forecast, "served_by"), "logsparse");
    assert_string_equal(word(forecast, "fallback_reason"), "model_failed");
    assert_string_equal(word(json_object_get(forecast, "model"), "id"), previous->record.id);
    expect(&fixture, API_GET, "/metrics", NULL, 200,
           "\nforecastd_forecasts_total{served_by=\"previous_champion\"} 1\n");
    json_decref(document);
    snapshot_release(previous);
    snapshot_release(champion);
}

/* Answers are made from as many values as the model and its baselines see when they are judged: a
 * season of 5,000 steps is repeated, as it is in a backtest. */
static void test_long_seasons_are_seen(void **state)
{
    (void)state;
    enum { SEASON = 5000, STEP_MS = 10000 };
    char body[160];
    fixture_fill(&fixture, "long", SEASON + 200, STEP_MS);
    struct snapshot *snapshot = train(STEP_MS);
    snapshot->blend.group = (struct blend_mixture){
        .parts = {{.baseline = BASELINE_SEASONAL_NAIVE, .season = SEASON, .share = 1.0f}}};
    assert_int_equal(snapshot->blend.count, 1);
    snapshot->blend.mixtures[0] = snapshot->blend.group;
    publish(snapshot);
    int64_t origin_ms = NOW_MS - NOW_MS % STEP_MS;
    snprintf(body, sizeof(body), "{\"series\":\"long\",\"points\":[[%lld,777]]}",
             (long long)(origin_ms - (int64_t)(SEASON - 1) * STEP_MS));
    expect(&fixture, API_POST, "/api/v1/points", body, 200, "\"updated\":1");
    json_t *document = fixture_json(&fixture, "/api/v1/forecast?series=long&steps=3");
    const json_t *forecast = fixture_forecast(document, 0);
    const json_t *mean = json_object_get(forecast, "mean");
    assert_string_equal(word(forecast, "served_by"), "logsparse");
    assert_true(json_number_value(json_array_get(mean, 0)) > 700.0);
    assert_true(json_number_value(json_array_get(mean, 1)) < 30.0);
    json_decref(document);
    snapshot_release(snapshot);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, open_fixture, close_fixture)
    const struct CMUnitTest tests[] = {
        TEST(test_learned),    TEST(test_age_is_shown), TEST(test_no_age_without_series),
        TEST(test_not_finite), TEST(test_model_failed), TEST(test_long_seasons_are_seen),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
