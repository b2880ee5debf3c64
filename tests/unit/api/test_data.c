/* Data as it really is: each way in which monitoring data goes wrong, and what the answer is then.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Every test names the failure that it is about; docs/data.md has a paragraph for each.
 */
#include "fixture.h"

#include "base/memory.h"
#include "base/random.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>

#define MINUTE INT64_C(60000)
#define HOUR   INT64_C(3600000)
#define COUNT  400

static struct fixture fixture;
static struct snapshot *trained; /* of minutes, made once */
static double values[COUNT];     /* what `put` sends; NaN: no point */

static int open_fixture(void **state)
{
    (void)state;
    fixture_open(&fixture);
    fixture_set_now(NOW_MS);
    return 0;
}

static int close_fixture(void **state)
{
    (void)state;
    fixture_close(&fixture);
    return 0;
}

/* The newest `count` of `values`, one a step, the last one now. */
static void put(const char *series, size_t count, int64_t step_ms)
{
    struct text body;
    text_init(&body, 1u << 20);
    text_add_format(&body, "{\"series\":\"%s\",\"points\":[", series);
    bool first = true;
    for (size_t i = COUNT - count; i < COUNT; i++) {
        if (!isnan(values[i])) {
            int64_t time_ms = NOW_MS - (int64_t)(COUNT - 1 - i) * step_ms;
            text_add_format(&body, "%s[%lld,%.17g]", first ? "" : ",", (long long)time_ms,
                            values[i]);
            first = false;
        }
    }
    text_add_string(&body, "]}");
    expect(&fixture, API_POST, "/api/v1/points", body.bytes, 200, NULL);
    text_release(&body);
}

/* A cycle of 24 steps around `level`, with noise. */
static void make_cycle(double level, double size, double noise)
{
    struct random random;
    random_init(&random, 5, 0);
    for (size_t i = 0; i < COUNT; i++) {
        values[i] =
            level + size * sin(2.0 * M_PI * (double)i / 24.0) + noise * random_normal(&random);
    }
}

struct asked {
    json_t *document;
    const json_t *forecast;
};

/* One forecast, with what holds for every answer: all finite, levels in order, never without an
 * interval unless the series is whole numbers. `more` parameters keep 0.1, 0.5 and 0.9. */
static struct asked ask_with(const char *series, bool integer, const char *more)
{
    char target[200];
    json_error_t cause;
    snprintf(target, sizeof(target), "/api/v1/forecast?series=%s&steps=24%s", series, more);
    struct answer answer = get(&fixture, target);
    if (answer.status != 200) {
        fail_msg("%s: %d %s", target, answer.status, answer.body);
    }
    assert_null(strstr(answer.body, "nan"));
    assert_null(strstr(answer.body, "inf"));
    struct asked out = {.document = json_loadb(answer.body, answer.length, 0, &cause)};
    assert_non_null(out.document);
    fixture_answer_release(&answer);
    out.forecast = json_array_get(json_object_get(out.document, "forecasts"), 0);
    const json_t *quantiles = json_object_get(out.forecast, "quantiles");
    for (size_t h = 0; h < 24; h++) {
        double low = json_number_value(json_array_get(json_object_get(quantiles, "0.1"), h));
        double middle = json_number_value(json_array_get(json_object_get(quantiles, "0.5"), h));
        double high = json_number_value(json_array_get(json_object_get(quantiles, "0.9"), h));
        assert_true(isfinite(low) && isfinite(high) && low <= middle && middle <= high);
        assert_true(integer || low < high);
    }
    return out;
}

static struct asked ask(const char *series, bool integer)
{
    return ask_with(series, integer, "");
}

static double level_at(struct asked asked, const char *level, size_t h)
{
    const json_t *quantiles = json_object_get(asked.forecast, "quantiles");
    return json_number_value(json_array_get(json_object_get(quantiles, level), h));
}

static double band(struct asked asked)
{
    double sum = 0.0;
    for (size_t h = 0; h < 24; h++) {
        sum += level_at(asked, "0.9", h) - level_at(asked, "0.1", h);
    }
    return sum / 24.0;
}

static int quality(struct asked asked, const char *name)
{
    const json_t *number = json_object_get(json_object_get(asked.forecast, "quality"), name);
    assert_true(json_is_integer(number));
    return (int)json_integer_value(number);
}

static const char *text_of(struct asked asked, const char *name)
{
    return json_string_value(json_object_get(asked.forecast, name));
}

static bool warns(struct asked asked, const char *code)
{
    size_t index;
    json_t *warning;
    json_array_foreach(json_object_get(asked.forecast, "warnings"), index, warning)
    {
        if (strcmp(json_string_value(json_object_get(warning, "code")), code) == 0) {
            return true;
        }
    }
    return false;
}

static void done(struct asked asked)
{
    json_decref(asked.document);
}

/* A model of minutes for the tests that need one to serve, or not to. */
static void publish(void)
{
    struct error error = {0};
    if (trained == NULL) {
        struct api_group group;
        make_cycle(20.0, 5.0, 0.5);
        put("teacher", COUNT, MINUTE);
        struct api_group_order order = {
            .step_ms = MINUTE, .values_max = 2000, .bytes_max = 1u << 20};
        assert_int_equal(api_group_load(fixture.worker, &order, &group, &error), STATUS_OK);
        struct train_request request = {
            .series = group.series, .series_count = group.count, .steps = 4, .seed = 7, .lanes = 1};
        snprintf(request.config.backbone, sizeof(request.config.backbone), "logsparse");
        snprintf(request.config.head, sizeof(request.config.head), "quantile");
        request.config.horizon = 24;
        assert_int_equal(model_train(&request, &trained, &error), STATUS_OK);
        api_group_free(&group);
    }
    assert_int_equal(registry_publish(fixture.services.registry, trained, &error), STATUS_OK);
}

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

/* ---------------------------------------------------------------- values */

/* Row "Level shift": within 16 steps it is seen and the forecast is at the new level, by a model
 * and by the baselines; the marker says since when. */
static void level_shift(void **state)
{
    (void)state;
    for (int model = 0; model < 2; model++) {
        const char *name = model ? "shift_model" : "shift";
        if (model) {
            publish();
        }
        make_cycle(20.0, 2.0, 0.3);
        put(name, COUNT, MINUTE);
        struct asked before = ask(name, false);
        assert_false(warns(before, "level_shift_recent"));
        for (size_t i = COUNT - 16; i < COUNT; i++) {
            values[i] += 30.0;
        }
        put(name, COUNT, MINUTE);
        struct asked after = ask(name, false);
        assert_true(warns(after, "level_shift_recent"));
        assert_false(warns(after, "unit_change_suspected"));
        for (size_t h = 0; h < 24; h++) {
            assert_true(fabs(level_at(after, "0.5", h) - 50.0) < 5.0);
        }
        assert_true(band(after) > 1.05 * band(before));
        done(before);
        done(after);
    }
}

/* Row "unit swap": a jump of ten times or more says so, and the forecast has the new unit. */
static void unit_swap(void **state)
{
    (void)state;
    make_cycle(20.0, 2.0, 0.3);
    for (size_t i = COUNT - 20; i < COUNT; i++) {
        values[i] *= 1000.0;
    }
    put("unit", COUNT, MINUTE);
    struct asked asked = ask("unit", false);
    assert_true(warns(asked, "level_shift_recent"));
    assert_true(warns(asked, "unit_change_suspected"));
    for (size_t h = 0; h < 24; h++) {
        assert_true(fabs(level_at(asked, "0.5", h) - 20000.0) < 4000.0);
    }
    done(asked);
}

/* Row "Constant / nearly constant": the constant with a small honest band. */
static void constant_and_nearly(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT; i++) {
        values[i] = 42.5;
    }
    put("constant", COUNT, MINUTE);
    struct asked asked = ask("constant", false);
    for (size_t h = 0; h < 24; h++) {
        assert_true(fabs(level_at(asked, "0.5", h) - 42.5) < 1e-3);
    }
    assert_true(band(asked) < 0.01);
    done(asked);
    values[100] = 42.6;
    put("nearly", COUNT, MINUTE);
    for (int model = 0; model < 2; model++) {
        static double kept[COUNT];
        memcpy(kept, values, sizeof(kept));
        if (model) {
            publish();
            memcpy(values, kept, sizeof(values));
            put("nearly", COUNT, MINUTE);
        }
        asked = ask("nearly", false);
        assert_int_equal(model, strcmp(text_of(asked, "served_by"), "logsparse") == 0);
        assert_true(fabs(level_at(asked, "0.5", 23) - 42.5) < 0.01);
        assert_true(band(asked) < 0.1);
        done(asked);
    }
}

/* Row "Intermittent counts": never negative, whole numbers where declared, not far too high. */
static void intermittent_counts(void **state)
{
    (void)state;
    struct random random;
    random_init(&random, 9, 0);
    double sum = 0.0;
    for (size_t i = 0; i < COUNT; i++) {
        values[i] = random_uniform(&random) < 0.1 ? ceil(4.0 * random_uniform(&random)) : 0.0;
        sum += values[i];
    }
    for (int model = 0; model < 2; model++) {
        const char *name = model ? "crashes_model" : "crashes";
        if (model) {
            publish();
        }
        put(name, COUNT, MINUTE);
        char target[60];
        snprintf(target, sizeof(target), "/api/v1/series/%s", name);
        expect(&fixture, API_PATCH, target, "{\"integer\":true,\"min\":0}", 200, NULL);
        struct asked asked = ask(name, true);
        double mean = 0.0;
        for (size_t h = 0; h < 24; h++) {
            double middle = level_at(asked, "0.5", h);
            assert_true(level_at(asked, "0.1", h) >= 0.0 && middle == rint(middle));
            assert_true(middle <= 1.0);
            mean += json_number_value(json_array_get(json_object_get(asked.forecast, "mean"), h));
        }
        mean /= 24.0;
        assert_true(mean > 0.3 * sum / COUNT && mean < 3.0 * sum / COUNT);
        done(asked);
    }
    assert_true(sum / COUNT < 0.4);
}

/* Nothing is declared: what never was negative is not forecast negative, in no tail, by a model and
 * by the baselines, also where gaps or a new level have widened the bands. */
static void never_negative_by_itself(void **state)
{
    (void)state;
    static const char *const names[] = {"counts", "counts_model"};
    struct random random;
    random_init(&random, 11, 0);
    for (size_t i = 0; i < COUNT; i++) {
        values[i] = i % 8 == 3 ? (double)NAN : floor(5.0 * random_uniform(&random));
    }
    static double kept[COUNT];
    memcpy(kept, values, sizeof(kept));
    for (int model = 0; model < 2; model++) {
        if (model) {
            publish();
            memcpy(values, kept, sizeof(values));
        }
        put(names[model], COUNT, MINUTE);
        struct asked asked = ask_with(names[model], false, "&quantiles=0.01,0.1,0.5,0.9");
        assert_int_equal(model, strcmp(text_of(asked, "served_by"), "logsparse") == 0);
        for (size_t h = 0; h < 24; h++) {
            assert_true(level_at(asked, "0.01", h) >= 0.0);
            assert_true(level_at(asked, "0.9", h) > 1.0);
        }
        done(asked);
    }
    for (size_t i = 0; i < COUNT; i++) {
        values[i] = i < COUNT - 20 ? 90.0 + (double)(i * 7 % 11) : (double)(i * 7 % 11);
    }
    put("fallen", COUNT, MINUTE);
    struct asked asked = ask_with("fallen", false, "&quantiles=0.01,0.1,0.5,0.9");
    assert_true(warns(asked, "level_shift_recent"));
    for (size_t h = 0; h < 24; h++) {
        assert_true(level_at(asked, "0.01", h) >= 0.0);
    }
    done(asked);
    /* What was negative once may be so again. */
    for (size_t i = 0; i < COUNT; i++) {
        values[i] = kept[i] - 2.0;
    }
    put("below", COUNT, MINUTE);
    asked = ask_with("below", false, "&quantiles=0.01,0.1,0.5,0.9");
    double least = 0.0;
    for (size_t h = 0; h < 24; h++) {
        least = fmin(least, level_at(asked, "0.01", h));
    }
    assert_true(least < -0.5);
    done(asked);
}

/* Values from 1e-12 to 1e12: the same forecast in another unit. */
static void any_size_of_values(void **state)
{
    (void)state;
    publish();
    double reference = 0.0;
    for (int power = -12; power <= 12; power += 3) {
        char name[40];
        make_cycle(20.0, 5.0, 0.5);
        for (size_t i = 0; i < COUNT; i++) {
            values[i] *= pow(10.0, power);
        }
        snprintf(name, sizeof(name), "size_%s%d", power < 0 ? "m" : "p", abs(power));
        put(name, COUNT, MINUTE);
        struct asked asked = ask(name, false);
        double middle = level_at(asked, "0.5", 7) / pow(10.0, power);
        reference = power == -12 ? middle : reference;
        assert_true(fabs(middle - reference) < 1e-3 * reference);
        assert_true(fabs(middle - 20.0) < 10.0);
        done(asked);
    }
}

/* Row "NaN / Inf anywhere": infinities are refused, missing values are just missing. */
static void no_nan_anywhere(void **state)
{
    (void)state;
    make_cycle(20.0, 5.0, 0.5);
    put("poisoned", COUNT, MINUTE);
    expect(&fixture, API_POST, "/api/v1/points",
           "{\"series\":\"poisoned\",\"timestamp\":1795354700000,\"value\":1e999}", 422,
           "bad_value");
    char body[200];
    snprintf(body, sizeof(body),
             "{\"series\":\"poisoned\",\"points\":[[%lld,null],[%lld,1.7e308],[%lld,-1.7e308]]}",
             (long long)(NOW_MS - 5 * MINUTE), (long long)(NOW_MS - 4 * MINUTE),
             (long long)(NOW_MS - 3 * MINUTE));
    expect(&fixture, API_POST, "/api/v1/points", body, 200, NULL);
    struct asked asked = ask("poisoned", false);
    assert_int_equal(quality(asked, "missing"), 3);
    assert_true(fabs(level_at(asked, "0.5", 0) - 20.0) < 12.0);
    done(asked);
}

/* Row "Interval collapse or explosion": beyond what the model was trained for bands go on. */
static void bands_beyond_the_horizon(void **state)
{
    (void)state;
    publish();
    make_cycle(20.0, 5.0, 0.5);
    put("far", COUNT, MINUTE);
    struct answer answer = get(&fixture, "/api/v1/forecast?series=far&steps=240");
    json_error_t cause;
    json_t *document = json_loadb(answer.body, answer.length, 0, &cause);
    fixture_answer_release(&answer);
    struct asked asked = {document, json_array_get(json_object_get(document, "forecasts"), 0)};
    assert_true(warns(asked, "beyond_trained_horizon"));
    double first = band(asked), before = 0.0;
    for (size_t block = 0; block < 240; block += 24) {
        double width = 0.0;
        for (size_t h = block; h < block + 24; h++) {
            width += (level_at(asked, "0.9", h) - level_at(asked, "0.1", h)) / 24.0;
        }
        assert_true(width < 8.0 * first && width > 0.9 * before);
        before = width;
    }
    assert_true(before > 1.2 * first);
    done(asked);
}

static int free_model(void **state)
{
    (void)state;
    snapshot_release(trained);
    return 0;
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, open_fixture, close_fixture)
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
        TEST(level_shift),
        TEST(unit_swap),
        TEST(constant_and_nearly),
        TEST(intermittent_counts),
        TEST(never_negative_by_itself),
        TEST(any_size_of_values),
        TEST(no_nan_anywhere),
        TEST(bands_beyond_the_horizon),
    };
    return cmocka_run_group_tests(tests, NULL, free_model);
}
