/* Tests of training a group as it really is: ten thousand series by sampling, many kinds at once,
 * one poisoned series among good ones.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "base/clock.h"
#include "base/memory.h"
#include "base/random.h"
#include "tests/unit/model/model_test.h"
#include "tests/watched.h"

#include <stdio.h>
#include <string.h>

#define HOUR    INT64_C(3600000)
#define HORIZON 12

static struct train_request request_of(const struct model_series *series, size_t count)
{
    struct train_request request = {.series = series, .series_count = count, .seed = 3, .lanes = 2};
    snprintf(request.config.backbone, sizeof(request.config.backbone), "logsparse");
    snprintf(request.config.head, sizeof(request.config.head), "quantile");
    request.config.horizon = HORIZON;
    return request;
}

/* A series of one of seven kinds. */
static void make(double *values, size_t count, size_t kind, uint64_t seed)
{
    struct random random;
    random_init(&random, seed, 0);
    double level = 100.0;
    for (size_t t = 0; t < count; t++) {
        double noise = random_normal(&random);
        double cycle = sin(2.0 * M_PI * (double)(t + seed % 24) / 24.0);
        level += kind == 1 ? noise : 0.0;
        double shapes[] = {level + 20.0 * cycle + noise, /* a season */
                           level,                        /* a walk */
                           random_uniform(&random) < 0.1 ? 3.0 : 0.0,
                           42.0,
                           1e-12 * (5.0 + cycle + 0.1 * noise),
                           1e12 * (5.0 + cycle + 0.1 * noise),
                           random_uniform(&random) < 0.3 ? (double)NAN : level + 5.0 * cycle};
        values[t] = shapes[kind];
    }
}

static struct model_series *make_group(size_t count, size_t length, size_t kinds, double **memory)
{
    struct model_series *series = mem_zeroed(count, sizeof(*series));
    *memory = mem_alloc(count * length * sizeof(double));
    assert_non_null(series);
    assert_non_null(*memory);
    for (size_t i = 0; i < count; i++) {
        double *values = *memory + i * length;
        make(values, length, i % kinds, i + 1);
        series[i] = plain_series(values, length, HOUR);
        series[i].seasons[0] = 24;
        series[i].key = i + 1;
    }
    return series;
}

/* Ten thousand series and four seconds: the budget holds, memory is bounded, and the record says
 * how much of the group was seen. */
static void ten_thousand_series_within_the_budget(UNUSED void **state)
{
    if (WATCHED) {
        skip();
    }
    struct error error = {0};
    struct snapshot *snapshot = NULL;
    double *memory;
    struct model_series *series = make_group(10000, 120, 7, &memory);
    size_t before = mem_bytes_peak();
    struct train_request request = request_of(series, 10000);
    request.seconds = 4.0;
    request.series_total = 12000;
    request.memory_max = (size_t)64 << 20;
    int64_t began_ns = clock_monotonic_ns();
    assert_ok(model_train(&request, &snapshot, &error));
    double seconds = (double)(clock_monotonic_ns() - began_ns) * 1e-9;
    const struct snapshot_record *record = snapshot_record(snapshot);
    print_message("%.1f s, %llu of %llu windows, %.0f MB more\n", seconds,
                  (unsigned long long)record->windows, (unsigned long long)record->windows_total,
                  (double)(mem_bytes_peak() - before) / 1e6);
    /* Closing is single-threaded and the machine may be busy. */
    assert_true(seconds < 4.0 * request.seconds);
    assert_true(mem_bytes_peak() - before < (size_t)192 << 20);
    assert_true(snapshot_sampled(record));
    assert_int_equal(record->series_total, 12000);
    assert_in_range(record->series, 9000, 10000);
    assert_true(record->windows > 0 && record->windows < record->windows_total);
    struct text json;
    text_init(&json, 1u << 16);
    snapshot_describe(snapshot, &json);
    assert_non_null(strstr(json.bytes, "\"series_total\":12000"));
    assert_non_null(strstr(json.bytes, "\"sampled\":true"));
    text_release(&json);
    snapshot_release(snapshot);
    mem_free(series);
    mem_free(memory);
}

/* Mean absolute error over the horizon, in units of the series' size. */
static double error_of(struct forecaster *forecaster, const struct model_series *whole, double unit)
{
    struct error error = {0};
    float mean[HORIZON], quantiles[HORIZON * QUANTILE_COUNT];
    struct forecast out = {HORIZON, mean, quantiles};
    struct model_series seen = *whole;
    seen.count -= HORIZON;
    assert_ok(forecaster_run(forecaster, &seen, 1, &out, &error));
    double sum = 0.0;
    for (size_t h = 0; h < HORIZON; h++) {
        for (size_t q = 0; q < QUANTILE_COUNT; q++) {
            assert_true(isfinite(quantiles[q * HORIZON + h]));
            assert_true(q == 0 || quantiles[(q - 1) * HORIZON + h] <= quantiles[q * HORIZON + h]);
        }
        double actual = whole->values[seen.count + h];
        double median = (double)quantiles[5 * HORIZON + h];
        sum += isnan(actual) ? 0.0 : fabs(actual - median) / unit;
    }
    return sum / HORIZON;
}

static struct forecaster *train(const struct model_series *series, size_t count, uint64_t steps,
                                struct snapshot **snapshot)
{
    struct error error = {0};
    struct forecaster *forecaster = NULL;
    struct model_series cut[70];
    for (size_t i = 0; i < count; i++) {
        cut[i] = series[i];
        cut[i].count -= HORIZON;
    }
    struct train_request request = request_of(cut, count);
    request.steps = steps;
    assert_ok(model_train(&request, snapshot, &error));
    assert_ok(forecaster_new(*snapshot, 1, &forecaster, &error));
    return forecaster;
}

/* Seasons, walks, counts, constants, 1e-12 and 1e12, gaps: one model, each forecast as it should
 * be. */
static void kinds_train_together(UNUSED void **state)
{
    static const double units[7] = {20.0, 10.0, 1.0, 42.0, 1e-12, 1e12, 5.0};
    static const double allowed[7] = {0.2, 0.6, 0.6, 1e-3, 0.4, 0.4, 0.4};
    struct snapshot *snapshot = NULL;
    double *memory;
    struct model_series *series = make_group(70, 300, 7, &memory);
    struct forecaster *forecaster = train(series, 70, 6, &snapshot);
    double errors[7] = {0.0};
    for (size_t i = 0; i < 70; i++) {
        errors[i % 7] += 0.1 * error_of(forecaster, &series[i], units[i % 7]);
    }
    for (size_t kind = 0; kind < 7; kind++) {
        if (!(errors[kind] < allowed[kind])) {
            fail_msg("kind %zu: error %.3g of the unit", kind, errors[kind]);
        }
    }
    forecaster_free(forecaster);
    snapshot_release(snapshot);
    mem_free(series);
    mem_free(memory);
}

/* Row "one poisoned series": wild values in one of ten leave the others within a tenth. */
static void one_poisoned_series_hurts_nobody(UNUSED void **state)
{
    double clean = 0.0, poisoned = 0.0;
    for (int wild = 0; wild < 2; wild++) {
        struct snapshot *snapshot = NULL;
        double *memory;
        struct model_series *series = make_group(10, 300, 1, &memory);
        for (size_t t = 0; t < 300 && wild; t++) {
            memory[9 * 300 + t] = t % 5 == 0 ? 1e30 : (t % 3 == 0 ? -1e25 : 1e-30 * (double)t);
        }
        struct forecaster *forecaster = train(series, 10, 10, &snapshot);
        for (size_t i = 0; i < 9; i++) {
            *(wild ? &poisoned : &clean) += error_of(forecaster, &series[i], 20.0) / 9.0;
        }
        (void)error_of(forecaster, &series[9], 1e30); /* finite and in order as well */
        forecaster_free(forecaster);
        snapshot_release(snapshot);
        mem_free(series);
        mem_free(memory);
    }
    print_message("error of the others: %.4f, with a poisoned one %.4f\n", clean, poisoned);
    assert_true(poisoned < 1.1 * clean + 0.002);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ten_thousand_series_within_the_budget),
        cmocka_unit_test(kinds_train_together),
        cmocka_unit_test(one_poisoned_series_hurts_nobody),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
