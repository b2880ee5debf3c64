/* Series as they are put, and their forecasts as they are asked for.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "asked.h"

#include "base/random.h"

#include <math.h>

struct fixture fixture;
static struct snapshot *trained; /* of minutes, made once */
double values[COUNT];

int asked_open(void **state)
{
    (void)state;
    fixture_open(&fixture);
    fixture_set_now(NOW_MS);
    return 0;
}

int asked_close(void **state)
{
    (void)state;
    fixture_close(&fixture);
    return 0;
}

void put(const char *series, size_t count, int64_t step_ms)
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

void make_cycle(double level, double size, double noise)
{
    struct random random;
    random_init(&random, 5, 0);
    for (size_t i = 0; i < COUNT; i++) {
        values[i] =
            level + size * sin(2.0 * M_PI * (double)i / 24.0) + noise * random_normal(&random);
    }
}

struct asked ask_with(const char *series, bool integer, const char *more)
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

struct asked ask(const char *series, bool integer)
{
    return ask_with(series, integer, "");
}

double level_at(struct asked asked, const char *level, size_t h)
{
    const json_t *quantiles = json_object_get(asked.forecast, "quantiles");
    return json_number_value(json_array_get(json_object_get(quantiles, level), h));
}

double band(struct asked asked)
{
    double sum = 0.0;
    for (size_t h = 0; h < 24; h++) {
        sum += level_at(asked, "0.9", h) - level_at(asked, "0.1", h);
    }
    return sum / 24.0;
}

int quality(struct asked asked, const char *name)
{
    const json_t *number = json_object_get(json_object_get(asked.forecast, "quality"), name);
    assert_true(json_is_integer(number));
    return (int)json_integer_value(number);
}

const char *text_of(struct asked asked, const char *name)
{
    return json_string_value(json_object_get(asked.forecast, name));
}

bool warns(struct asked asked, const char *code)
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

void done(struct asked asked)
{
    json_decref(asked.document);
}

void publish(void)
{
    struct error error = {0};
    assert_int_equal(registry_publish(fixture.services.registry, trained, &error), STATUS_OK);
}

int asked_teach(void **state)
{
    struct error error = {0};
    struct api_group group;
    (void)asked_open(state);
    make_cycle(20.0, 5.0, 0.5);
    put("teacher", COUNT, MINUTE);
    struct api_group_order order = {.step_ms = MINUTE, .values_max = 2000, .bytes_max = 1u << 20};
    assert_int_equal(api_group_load(fixture.worker, &order, &group, &error), STATUS_OK);
    struct train_request request = {
        .series = group.series, .series_count = group.count, .steps = 4, .seed = 7, .lanes = 1};
    snprintf(request.config.backbone, sizeof(request.config.backbone), "logsparse");
    snprintf(request.config.head, sizeof(request.config.head), "quantile");
    request.config.horizon = 24;
    assert_int_equal(model_train(&request, &trained, &error), STATUS_OK);
    api_group_free(&group);
    return asked_close(state);
}

int asked_forget(void **state)
{
    (void)state;
    snapshot_release(trained);
    return 0;
}
