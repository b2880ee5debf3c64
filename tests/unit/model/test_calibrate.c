/* Tests of calibration: factors from held-back places, and figures whose bands were not made for
 * the values that they are held against.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "model/training/calibrate.h"
#include "tests/unit/model/model_test.h"

#define SERIES  10
#define LENGTH  200
#define HORIZON 20
#define HOUR    INT64_C(3600000)
#define VALUES  (QUANTILE_COUNT * HORIZON)

static double values[SERIES][LENGTH];
static struct model_series series[SERIES];
static float spread[VALUES];

/* Forecasts of 0 with levels one apart, of `count` series at their newest `origins` origins. */
static struct evaluation evaluate(size_t count, size_t origins)
{
    struct error error = {0};
    struct evaluation evaluation;
    for (size_t i = 0; i < count; i++) {
        series[i] = plain_series(values[i], LENGTH, HOUR);
        series[i].key = i + 1;
    }
    struct evaluation_wanted wanted = {
        .series = series, .series_count = count, .origins = origins, .history = 2};
    assert_ok(evaluation_init(&evaluation, &wanted, HORIZON, &error));
    assert_int_equal(evaluation.count, count * origins);
    for (size_t i = 0; i < evaluation.count; i++) {
        struct forecast forecast = evaluation_get(&evaluation, i);
        for (size_t k = 0; k < VALUES; k++) {
            forecast.quantiles[k] = (float)(k / HORIZON) - 5.0f;
        }
    }
    for (size_t k = 0; k < VALUES; k++) {
        spread[k] = 1.0f;
    }
    return evaluation;
}

/* A factor on the 80 % band for all places, and then the bands of the figures. */
static float calibrate_all(struct evaluation *evaluation, size_t origins)
{
    struct error error = {0};
    struct blend blend = {0};
    assert_ok(calibrate(evaluation, &blend, origins, spread, &error));
    assert_ok(calibrate_crosswise(evaluation, &blend, origins, spread, &error));
    return spread[9 * HORIZON];
}

/* Upper end of the 80 % band of a place, at its first step; 4 before calibration. */
static double band(const struct evaluation *evaluation, size_t place)
{
    return (double)evaluation_get(evaluation, place).quantiles[9 * HORIZON];
}

/* Values come at both ends of a band that is `size` long, about the 80 % band where it is 1. */
static double around(size_t t, double size)
{
    return size * 4.0 * (t % 2 == 0 ? 1.0 : -1.0) * (0.5 + (double)(t % 10) / 10.0);
}

/* Every second origin has errors four times as large: its bands come from the others, which had
 * small ones, and theirs from it. */
static void origins_by_turns_calibrate_each_other(UNUSED void **state)
{
    enum { ORIGINS = 4 };
    for (size_t i = 0; i < SERIES; i++) {
        for (size_t t = 0; t < LENGTH; t++) {
            size_t back = (LENGTH - 1 - t) / HORIZON;
            values[i][t] = around(t, back % 2 == 0 ? 4.0 : 1.0);
        }
    }
    struct evaluation evaluation = evaluate(SERIES, ORIGINS);
    double factor = (double)calibrate_all(&evaluation, ORIGINS);
    assert_true(factor > 2.0 && factor < 5.0);
    for (size_t i = 0; i < evaluation.count; i++) {
        if (i % 2 == 0) {
            assert_true(band(&evaluation, i) < 0.6 * 4.0 * factor);
        } else {
            assert_true(band(&evaluation, i) > 0.9 * 4.0 * factor);
        }
    }
    evaluation_release(&evaluation);
}

/* With one origin each it is the series that take turns. */
static void series_by_turns_where_there_is_one_origin(UNUSED void **state)
{
    for (size_t i = 0; i < SERIES; i++) {
        for (size_t t = 0; t < LENGTH; t++) {
            values[i][t] = around(t, i % 2 == 0 ? 4.0 : 1.0);
        }
    }
    struct evaluation evaluation = evaluate(SERIES, 1);
    double factor = (double)calibrate_all(&evaluation, 1);
    for (size_t i = 0; i < SERIES; i++) {
        if (i % 2 == 0) {
            assert_true(band(&evaluation, i) < 0.7 * 4.0 * factor);
        } else {
            assert_true(band(&evaluation, i) > 0.9 * 4.0 * factor);
        }
    }
    evaluation_release(&evaluation);
}

/* Of one place there are no halves: its bands are those that are served. */
static void a_single_place_has_the_bands_that_are_served(UNUSED void **state)
{
    for (size_t t = 0; t < LENGTH; t++) {
        values[0][t] = around(t, 3.0);
    }
    struct evaluation evaluation = evaluate(1, 1);
    calibrate_all(&evaluation, 1);
    assert_close(band(&evaluation, 0), 4.0 * (double)spread[9 * HORIZON], 1e-5);
    evaluation_release(&evaluation);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(origins_by_turns_calibrate_each_other),
        cmocka_unit_test(series_by_turns_where_there_is_one_origin),
        cmocka_unit_test(a_single_place_has_the_bands_that_are_served),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
