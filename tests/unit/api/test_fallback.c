/* Tests of the baseline that serves where no model does: chosen by the series' own newest past.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "fixture.h"

#include "api/call.h"
#include "api/desk.h"
#include "api/trial.h"

#include <math.h>

#define HOUR  INT64_C(3600000)
#define DAY   24
#define COUNT 1000
#define AHEAD 72
#define LAST  ((NOW_MS - NOW_MS % HOUR))

static struct fixture fixture;

static double noise_of(uint64_t *seed)
{
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return (double)(*seed >> 11) / 9007199254740992.0 - 0.5;
}

/* ---------------------------------------------------------------- kinds of series */

static double wave_of(size_t i)
{
    return 100.0 + 20.0 * sin((double)i * 2.0 * M_PI / DAY);
}

static double wave(size_t i, double noise)
{
    return wave_of(i) + 10.0 * noise;
}

static double rising(size_t i, double noise)
{
    return wave_of(i) + 0.3 * (double)i + 4.0 * noise;
}

/* Nothing came from 30 to 6 hours ago. */
static double dead_yesterday(size_t i, double noise)
{
    return (i >= COUNT - 30 && i < COUNT - 6 ? 5.0 : wave_of(i)) + 4.0 * noise;
}

/* A disk that fills up within five and a half days and is cleaned: no hour of a cycle says what the
 * same hour of the next one will be. */
static double filling(size_t i, double noise)
{
    double cycle = floor((double)i / 131.0);
    double jitter = 9.0 * fabs(sin(1.7 * cycle));
    return 20.0 + 0.5 * ((double)i - 131.0 * cycle) + jitter + 0.2 * noise;
}

static double line(size_t i, double noise)
{
    return 10.0 + 0.5 * (double)i + 0.2 * noise;
}

/* What pushed it away from its hours wears off within a day. Called from the first value on. */
static double lingering(size_t i, double noise)
{
    static double away;
    away = (i > 0 ? 0.9 * away : 0.0) + 6.0 * noise;
    return wave_of(i) + away;
}

/* ---------------------------------------------------------------- asking */

static uint32_t put(const char *series, double (*value)(size_t, double), size_t first, size_t count)
{
    struct error error = {0};
    struct write_batch *batch = NULL;
    struct write_result result;
    uint32_t id = 0;
    uint64_t seed = 7 + first;
    assert_int_equal(write_batch_new(fixture.services.storage, count, &batch, &error), STATUS_OK);
    assert_int_equal(write_batch_series(batch, series, strlen(series), &id, &error), STATUS_OK);
    for (size_t i = first; i < first + count; i++) {
        int64_t time_ms = LAST + ((int64_t)i - (COUNT - 1)) * HOUR;
        struct point point = {time_ms, value(i, noise_of(&seed))};
        assert_int_equal(write_batch_point(batch, id, point, &error), STATUS_OK);
    }
    assert_int_equal(writer_write_take(fixture.services.writer, batch, &result, &error), STATUS_OK);
    return id;
}

/* Who serves the next three days, why, and the mean absolute error of its median. */
struct asked {
    char by[24], reason[48];
    double error, first;
};

static struct asked ask(const char *series, double (*value)(size_t, double), size_t origin)
{
    struct asked asked = {.error = 0.0};
    char target[120];
    snprintf(target, sizeof(target), "/api/v1/forecast?series=%s&steps=%d", series, AHEAD);
    json_t *document = fixture_json(&fixture, target);
    const json_t *forecast = fixture_forecast(document, 0);
    const json_t *levels = json_object_get(forecast, "quantiles");
    const char *reason = json_string_value(json_object_get(forecast, "fallback_reason"));
    snprintf(asked.by, sizeof(asked.by), "%s",
             json_string_value(json_object_get(forecast, "served_by")));
    snprintf(asked.reason, sizeof(asked.reason), "%s", reason ? reason : "");
    asked.first = fixture_number(levels, "0.5", 0);
    for (size_t h = 0; h < AHEAD; h++) {
        asked.error += fabs(fixture_number(levels, "0.5", h) - value(origin + h, 0.0)) / AHEAD;
    }
    json_decref(document);
    return asked;
}

static struct asked put_and_ask(const char *series, double (*value)(size_t, double))
{
    (void)put(series, value, 0, COUNT);
    return ask(series, value, COUNT);
}

/* ---------------------------------------------------------------- who serves */

/* A season with noise: the mean of many seasons is nearer than the last one, which has errors of a
 * third of the noise's range. */
static void the_damped_trend_smooths_a_season(void **state)
{
    (void)state;
    struct asked asked = put_and_ask("wave", wave);
    assert_string_equal(asked.by, "damped_trend");
    assert_string_equal(asked.reason, "no_model");
    assert_true(asked.error < 1.0);
}

/* Seven units a day: what repeats the last day is behind by 14 in the mean of three. */
static void a_season_that_rises_goes_on_rising(void **state)
{
    (void)state;
    struct asked asked = put_and_ask("rising", rising);
    assert_string_not_equal(asked.by, "seasonal_naive");
    assert_true(asked.error < 3.0);
}

static void an_outage_is_not_repeated(void **state)
{
    (void)state;
    struct asked asked = put_and_ask("dead", dead_yesterday);
    assert_true(asked.error < 5.0);
}

/* Differences over a season that is none are of two kinds, and their median is no forecast. */
static void a_sawtooth_does_not_fall_at_once(void **state)
{
    (void)state;
    struct asked asked = put_and_ask("filling", filling);
    assert_string_not_equal(asked.by, "seasonal_naive");
    assert_true(fabs(asked.first - filling(COUNT, 0.0)) < 2.0);
}

static void a_line_is_followed(void **state)
{
    (void)state;
    struct asked asked = put_and_ask("line", line);
    assert_string_equal(asked.by, "drift");
    assert_string_equal(asked.reason, "no_model,no_season");
    assert_true(asked.error < 0.5);
}

static void what_lingers_is_told_by_the_seasonal_drift(void **state)
{
    (void)state;
    struct asked asked = put_and_ask("lingering", lingering);
    assert_string_equal(asked.by, "seasonal_drift");
    assert_string_equal(asked.reason, "no_model");
    assert_true(asked.error < 3.0);
    expect(&fixture, API_GET, "/metrics", NULL, 200,
           "\nforecastd_forecasts_total{served_by=\"seasonal_drift\"} ");
}

/* ---------------------------------------------------------------- how it is chosen */

static enum baseline choice_of(uint32_t id, double *values, size_t count, uint32_t season)
{
    struct model_series series = {.values = values,
                                  .count = count,
                                  .start_ms = LAST - (COUNT - 1) * HOUR,
                                  .step_ms = HOUR,
                                  .seasons = {season},
                                  .minimum = -HUGE_VAL,
                                  .maximum = HUGE_VAL};
    return trial_baseline(fixture.worker->desk, id, &series, AHEAD);
}

static void fill(double *values, double (*value)(size_t, double), size_t count)
{
    uint64_t seed = 7;
    for (size_t i = 0; i < count; i++) {
        values[i] = value(i, noise_of(&seed));
    }
}

/* Where there is little to tell by, and where it says nothing, the damped trend serves. */
static void the_damped_trend_comes_first(void **state)
{
    (void)state;
    double values[COUNT];
    fill(values, line, COUNT);
    assert_int_equal(choice_of(0, values, TRIAL_VALUES - 1, 0), BASELINE_DAMPED_TREND);
    assert_int_equal(choice_of(0, values, COUNT, 0), BASELINE_DRIFT);
    for (size_t i = 0; i < COUNT; i++) {
        values[i] = 5.0;
    }
    assert_int_equal(choice_of(0, values, COUNT, 0), BASELINE_DAMPED_TREND);
    for (size_t i = 0; i + 1 < COUNT; i++) {
        values[i] = NAN;
    }
    assert_int_equal(choice_of(0, values, COUNT, DAY), BASELINE_DAMPED_TREND);
}

/* Of a stored series a choice holds until it has gone a stretch further, whatever comes; of one
 * that came with a request it is made each time. */
static void a_choice_holds_for_a_stretch(void **state)
{
    (void)state;
    double ramp[2 * COUNT], flat[2 * COUNT];
    fill(ramp, line, 2 * COUNT);
    fill(flat, wave, 2 * COUNT);
    assert_int_equal(choice_of(77, ramp, COUNT, DAY), BASELINE_DRIFT);
    assert_int_equal(choice_of(77, flat, COUNT + 90, DAY), BASELINE_DRIFT); /* of 96 steps */
    assert_int_equal(choice_of(78, flat, COUNT + 90, DAY), BASELINE_DAMPED_TREND);
    assert_int_equal(choice_of(77, flat, COUNT + 96, DAY), BASELINE_DAMPED_TREND);
    assert_int_equal(choice_of(0, ramp, COUNT, 0), BASELINE_DRIFT);
    assert_int_equal(choice_of(0, flat, COUNT, DAY), BASELINE_DAMPED_TREND);
}

/* Unless what was there is no longer to be learned from, or repeats otherwise. */
static void a_choice_is_made_anew_of_another_past(void **state)
{
    (void)state;
    double ramp[2 * COUNT], flat[2 * COUNT];
    fill(ramp, line, 2 * COUNT);
    fill(flat, wave, 2 * COUNT);
    assert_int_equal(choice_of(79, ramp, COUNT, DAY), BASELINE_DRIFT);
    assert_int_equal(choice_of(79, flat, COUNT + 10, DAY), BASELINE_DRIFT);
    assert_int_not_equal(choice_of(79, flat, COUNT + 10, DAY + 1), BASELINE_DRIFT);
    assert_int_equal(choice_of(79, ramp, COUNT, DAY), BASELINE_DRIFT);
    flat[COUNT - 100] = NAN;
    assert_int_equal(choice_of(79, flat, COUNT + 10, DAY), BASELINE_DAMPED_TREND);
}

/* It does not change from hour to hour where the candidates are about as good. */
static void it_does_not_flutter(void **state)
{
    (void)state;
    double values[COUNT];
    uint64_t seed = 11;
    double level = 0.0;
    for (size_t i = 0; i < COUNT; i++) {
        level += noise_of(&seed);
        values[i] = 50.0 + level;
    }
    size_t others = 0;
    for (size_t count = COUNT - 240; count < COUNT; count += 10) {
        others += choice_of(0, values, count, 0) != BASELINE_DAMPED_TREND;
    }
    assert_int_equal(others, 0);
}

/* Half of what is newest is missing: how old what it repeats is, the seasonal naive knows. */
static void after_an_outage_the_season_serves(void **state)
{
    (void)state;
    (void)put("out", wave, 0, COUNT - 70);
    (void)put("out", wave, COUNT - 10, 10);
    struct asked asked = ask("out", wave, COUNT);
    assert_string_equal(asked.by, "seasonal_naive");
    assert_string_equal(asked.reason, "outage");
}

/* A Monday at nine, of values from nine to five on weekdays: each weekend was like this one. */
static void a_weekend_is_no_outage(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT; i++) {
        size_t hour = (9 + 6 * 168 - (COUNT - 1 - i) % 168) % 168; /* of the week */
        if (hour < 120 && hour % DAY >= 9 && hour % DAY < 17) {
            (void)put("office", wave, i, 1);
        }
    }
    struct asked asked = ask("office", wave, COUNT);
    assert_null(strstr(asked.reason, "outage"));
}

/* Nor are the nights before a stretch that candidates are tried on. */
static void a_choice_is_made_by_working_hours_too(void **state)
{
    (void)state;
    double values[COUNT];
    fill(values, line, COUNT);
    for (size_t i = 0; i < COUNT; i++) {
        values[i] = i % DAY < 9 || i % DAY >= 17 ? (double)NAN : values[i];
    }
    assert_int_equal(choice_of(0, values, COUNT, DAY), BASELINE_DRIFT);
}

static int open_fixture(void **state)
{
    (void)state;
    fixture_open(&fixture);
    return 0;
}

static int close_fixture(void **state)
{
    (void)state;
    fixture_close(&fixture);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_damped_trend_smooths_a_season),
        cmocka_unit_test(a_season_that_rises_goes_on_rising),
        cmocka_unit_test(an_outage_is_not_repeated),
        cmocka_unit_test(a_sawtooth_does_not_fall_at_once),
        cmocka_unit_test(a_line_is_followed),
        cmocka_unit_test(what_lingers_is_told_by_the_seasonal_drift),
        cmocka_unit_test(the_damped_trend_comes_first),
        cmocka_unit_test(a_choice_holds_for_a_stretch),
        cmocka_unit_test(a_choice_is_made_anew_of_another_past),
        cmocka_unit_test(it_does_not_flutter),
        cmocka_unit_test(after_an_outage_the_season_serves),
        cmocka_unit_test(a_weekend_is_no_outage),
        cmocka_unit_test(a_choice_is_made_by_working_hours_too),
    };
    return cmocka_run_group_tests(tests, open_fixture, close_fixture);
}
