/* Forecasts as gauges: keys there and back, labels that Prometheus can read, answers that are kept.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "fixture.h"

#include "api/gauges.h"
#include "base/text.h"

#include <math.h>
#include <stdlib.h>

#define MINUTE INT64_C(60000)

static void keys_there_and_back(void **state)
{
    (void)state;
    struct gauge_order order = {{3600000, 0, INT64_MAX}, 3, {0.1, 0.999999999}, 2}, read;
    char key[GAUGE_KEY_MAX];
    uint32_t id = 0;
    gauge_key_write(4000000000u, &order, key);
    assert_true(gauge_key_read(key, &id, &read));
    assert_int_equal(id, 4000000000u);
    assert_memory_equal(&read, &order, sizeof(order));
    assert_false(gauge_key_read("series=a", &id, &read));
    for (size_t i = 0; i < GAUGE_HORIZONS_MAX; i++) {
        order.horizons_ms[i] = INT64_MAX - (int64_t)i;
        order.levels[i] = 0.123456789;
    }
    order.horizon_count = GAUGE_HORIZONS_MAX;
    order.level_count = GAUGE_LEVELS_MAX;
    gauge_key_write(UINT32_MAX, &order, key); /* the longest there is has room */
    assert_true(gauge_key_read(key, &id, &read));
    assert_memory_equal(&read, &order, sizeof(order));
}

static void labels_that_prometheus_reads(void **state)
{
    (void)state;
    float mean[2] = {1.0f, 2.0f}, quantiles[2 * QUANTILE_COUNT];
    for (size_t i = 0; i < 2 * QUANTILE_COUNT; i++) {
        quantiles[i] = (float)(i / 2) + (float)(i % 2);
    }
    struct forecast_made made = {.state = SERIES_BASELINE,
                                 .facts = {.step_ms = MINUTE},
                                 .default_steps = 2,
                                 .minimum = -INFINITY,
                                 .maximum = INFINITY,
                                 .forecast = {2, mean, quantiles}};
    /* the second horizon is the first again, the third is below a step, the last too long */
    struct gauge_order order = {{120000, 0, 1000, 3600000}, 4, {0.5}, 1};
    static const char series[] =
        "{\"a \\\"b\\\",\",__x=\"1\",a.b=\"c\\\\\",a_b=\"d\\ne\",quantile=\"q\"}";
    struct text out;
    text_init(&out, 4096);
    gauge_render(&order, &made, series, strlen(series), &out);
    assert_non_null(out.bytes);
    assert_string_equal(out.bytes,
                        "forecastd_forecast{series_name=\"a \\\"b\\\",\",exported___x=\"1\","
                        "a_b=\"c\\\\\",a_b_2=\"d\\ne\",exported_quantile=\"q\","
                        "horizon=\"2m\",quantile=\"0.5\"} 6\n");
    text_clear(&out);
    made.state = SERIES_STALE;
    gauge_render(&order, &made, series, strlen(series), &out);
    assert_int_equal(out.length, 0);
    text_release(&out);
}

/* Made once, then copied; api_refresh makes them anew when a point has come. */
static void kept_and_refreshed(void **state)
{
    (void)state;
    struct fixture f;
    char body[128];
    fixture_open(&f);
    fixture_fill(&f, "plain", 200, MINUTE);
    struct answer first = get(&f, "/forecast/metrics?horizon=10m&quantiles=0.5");
    struct answer again = get(&f, "/forecast/metrics?horizon=10m&quantiles=0.5");
    assert_string_equal(first.body, again.body);
    assert_non_null(
        strstr(first.body, "{series_name=\"plain\",horizon=\"10m\",quantile=\"0.5\"} "));
    fixture_answer_release(&again);
    snprintf(body, sizeof(body), "{\"series\":\"plain\",\"timestamp\":%lld,\"value\":95}",
             (long long)(NOW_MS / MINUTE * MINUTE + MINUTE));
    expect(&f, API_POST, "/api/v1/points", body, 200, NULL);
    uint32_t id = storage_series_find(f.services.storage, "plain", 5);
    api_refresh(f.worker, &id, 1);
    struct gauge_order order = {{600000}, 1, {0.5}, 1};
    char key[GAUGE_KEY_MAX];
    struct text kept;
    text_init(&kept, 4096);
    gauge_key_write(id, &order, key);
    assert_true(live_add(&f.services, key, NOW_MS, &kept));
    assert_null(strstr(first.body, kept.bytes));
    text_release(&kept);
    fixture_answer_release(&first);
    f.limits.metrics_series_max = 0;
    expect(&f, API_GET, "/forecast/metrics", NULL, 404, "not_enabled");
    fixture_close(&f);
}

/* A day has too many minutes: its gauge is of a coarser grid; three hundred days have none. */
static void far_horizons(void **state)
{
    (void)state;
    struct fixture f;
    fixture_open(&f);
    fixture_fill(&f, "plain", 200, MINUTE);
    static const char target[] =
        "/forecast/metrics?horizon=10m&horizon=24h&horizon=300d&quantiles=0.5";
    struct answer first = get(&f, target);
    assert_non_null(
        strstr(first.body, "{series_name=\"plain\",horizon=\"10m\",quantile=\"0.5\"} "));
    assert_non_null(
        strstr(first.body, "{series_name=\"plain\",horizon=\"24h\",quantile=\"0.5\"} "));
    assert_null(strstr(first.body, "horizon=\"7200h\""));
    struct answer again = get(&f, target);
    assert_string_equal(first.body, again.body);
    fixture_answer_release(&again);
    fixture_answer_release(&first);
    fixture_close(&f);
}

/* The one gauge of a series. */
static double gauge(struct fixture *f, const char *series)
{
    char target[120];
    snprintf(target, sizeof(target), "/forecast/metrics?match=%s&horizon=2m&quantiles=0.5", series);
    struct answer answer = get(f, target);
    const char *line = strstr(answer.body, "horizon=\"2m\",quantile=\"0.5\"} ");
    assert_non_null(line);
    double value = strtod(strchr(line, ' '), NULL);
    fixture_answer_release(&answer);
    return value;
}

/* Readings that are late by whole steps leave the gauge of what is to come no gauge of the past. */
static void late_readings(void **state)
{
    (void)state;
    struct fixture f;
    struct text body;
    fixture_open(&f);
    text_init(&body, 1u << 16);
    text_add_string(&body, "{\"series\":\"line\",\"points\":[");
    for (int i = 0; i < 200; i++) {
        text_add_format(&body, "%s[%lld,%d]", i ? "," : "",
                        (long long)(NOW_MS - (199 - i) * MINUTE), i);
    }
    text_add_string(&body, "]}");
    expect(&f, API_POST, "/api/v1/points", body.bytes, 200, NULL);
    text_release(&body);
    assert_true(fabs(gauge(&f, "line") - 201.0) < 0.1);
    fixture_set_now(NOW_MS + MINUTE + 30000); /* the next one may yet come */
    assert_true(fabs(gauge(&f, "line") - 201.0) < 0.1);
    fixture_set_now(NOW_MS + 5 * MINUTE + 30000); /* four are over */
    assert_true(fabs(gauge(&f, "line") - 205.0) < 0.3);
    struct api_limits shorter = f.limits; /* no further than that */
    shorter.horizon_max = 2;
    atomic_store(&f.services.limits, &shorter);
    assert_true(fabs(gauge(&f, "line") - 201.0) < 0.1);
    fixture_close(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_there_and_back), cmocka_unit_test(labels_that_prometheus_reads),
        cmocka_unit_test(kept_and_refreshed),  cmocka_unit_test(far_horizons),
        cmocka_unit_test(late_readings),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
