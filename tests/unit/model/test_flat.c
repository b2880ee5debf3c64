/* Tests of flat: series that stand still are said to stand still as often as they did, no oftener;
 * and of what mostly has one value.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "model/forecast.h"
#include "model/serving/flat.h"
#include "model/training/baseline.h"
#include "tests/unit/model/model_test.h"

#include <string.h>

#define LENGTH  560
#define HORIZON 10
#define HOUR    INT64_C(3600000)

static double values[LENGTH];

/* Five blocks of a hundred steps, each flat for `still` steps at a value of its own and then never
 * twice the same; at last sixty flat ones at 7. */
static struct model_series make(size_t still)
{
    for (size_t t = 0; t < LENGTH; t++) {
        double value = t < 500 ? 10.0 * (double)(t / 100 + 1) : 7.0;
        values[t] = value + (t % 100 < still || t >= 500 ? 0.0 : 0.1 * (double)(t % 100));
    }
    return plain_series(values, LENGTH, HOUR);
}

/* Sets the levels of a step that is 1, 2 ... without a stretch; returns how many became 7. */
static size_t levels_at_the_value(const struct flat_stretch *stretch, bool set[QUANTILE_COUNT])
{
    double level[QUANTILE_COUNT];
    size_t count = 0;
    for (size_t q = 0; q < QUANTILE_COUNT; q++) {
        level[q] = 100.0 + (double)q;
    }
    flat_levels(stretch, level);
    for (size_t q = 0; q < QUANTILE_COUNT; q++) {
        set[q] = fabs(level[q] - 7.0) < 1e-12;
        assert_true(set[q] || fabs(level[q] - 100.0 - (double)q) < 1e-12);
        count += set[q] ? 1 : 0;
    }
    return count;
}

/* Stretches of 48 end every five steps. Where a block is flat for 90 steps, seven of them stay for
 * the ten steps of the horizon, one for seven steps, one for two; the last sixty steps know one
 * more that stays. Where it is flat for 58: 10, 5 and 0 steps. */
static void stays_as_often_as_it_did(UNUSED void **state)
{
    struct flat_stretch stretch;
    bool set[QUANTILE_COUNT];
    struct model_series series = make(90);
    flat_find(&series, HORIZON, &stretch);
    assert_true(stretch.found);
    assert_close(stretch.value, 7.0, 0.0);
    assert_close(stretch.stays, (5.0 * (7.0 + 0.7 + 0.2) + 1.0) / (5.0 * 9.0 + 1.0), 1e-12);
    assert_int_equal(levels_at_the_value(&stretch, set), 9); /* 0.1 ... 0.9, of 88 % */
    assert_false(set[0] || set[QUANTILE_COUNT - 1]);
    series = make(58);
    flat_find(&series, HORIZON, &stretch);
    assert_close(stretch.stays, (5.0 * (1.0 + 0.5 + 0.0) + 1.0) / (5.0 * 3.0 + 1.0), 1e-12);
    assert_int_equal(levels_at_the_value(&stretch, set), 5); /* 0.3 ... 0.7, of 53 % */
    assert_true(set[3] && set[7]);
}

static void a_share_is_that_of_the_levels(UNUSED void **state)
{
    static const double shares[] = {1.0, 0.96, 0.85, 0.65, 0.45};
    static const size_t counts[] = {11, 11, 9, 7, 5};
    for (size_t i = 0; i < 5; i++) {
        struct flat_stretch stretch = {true, 7.0, shares[i]};
        bool set[QUANTILE_COUNT];
        size_t count = levels_at_the_value(&stretch, set);
        if (count != counts[i]) {
            fail_msg("%zu levels of a share of %g", count, shares[i]);
        }
        assert_true(set[QUANTILE_COUNT / 2]);
    }
}

static void changes_nothing_without_a_history_of_stretches(UNUSED void **state)
{
    struct flat_stretch stretch;
    bool set[QUANTILE_COUNT];
    struct model_series series = make(90);
    series.count = 95; /* it moves now */
    flat_find(&series, HORIZON, &stretch);
    assert_false(stretch.found);
    assert_int_equal(levels_at_the_value(&stretch, set), 0);
    series = make(90);
    series.count =
        60; /* flat, but for the first time: one earlier stretch has a horizon after it */
    flat_find(&series, HORIZON, &stretch);
    assert_false(stretch.found);
    series = make(90);
    for (size_t t = 512; t < LENGTH - 1; t++) {
        values[t] = (double)NAN; /* a dead sensor does not stand still */
    }
    flat_find(&series, HORIZON, &stretch);
    assert_false(stretch.found);
}

/* One value in eight, of pseudo-random places, is `other`; the rest are `usual`. */
static struct model_series make_mostly(double usual, double other, uint32_t bits)
{
    for (size_t t = 0; t < LENGTH; t++) {
        bits = bits * 1664525u + 1013904223u;
        values[t] = bits >> 29 == 0 ? other : usual;
    }
    return plain_series(values, LENGTH, HOUR);
}

/* Crashes and availability: what nearly always comes lies in the band. Another level that lasts is
 * no such exception, however long the usual one was there. */
static void what_mostly_comes_is_in_the_band(UNUSED void **state)
{
    static const double kinds[][2] = {{0.0, 1.0}, {100.0, 98.5}};
    static double scratch[LENGTH];
    float mean[HORIZON], quantiles[HORIZON * QUANTILE_COUNT];
    struct forecast out = {HORIZON, mean, quantiles};
    for (uint32_t seed = 0; seed < 20; seed++) {
        double usual = kinds[seed % 2][0], other = kinds[seed % 2][1];
        struct model_series series = make_mostly(usual, other, seed);
        assert_true(one_value_forecast(&series, scratch, &out));
        assert_close(quantiles[(other > usual ? QUANTILE_COUNT - 1 : 0) * HORIZON], other, 1e-4);
        for (size_t h = 0; h < HORIZON; h++) {
            assert_true((double)quantiles[2 * HORIZON + h] <= usual);
            assert_true((double)quantiles[8 * HORIZON + h] >= usual);
        }
    }
    for (size_t t = LENGTH - 60; t < LENGTH; t++) {
        values[t] = 90.0 + (double)(t % 3);
    }
    struct model_series series = plain_series(values, LENGTH, HOUR);
    assert_false(one_value_forecast(&series, scratch, &out));
}

/* So the damped trend is told, alone, as what serves, and in blends. A season may say when the
 * others come, and then it is not. */
static void the_damped_trend_says_so(UNUSED void **state)
{
    static double scratch[4 * LENGTH];
    float mean[HORIZON], quantiles[HORIZON * QUANTILE_COUNT];
    struct forecast out = {HORIZON, mean, quantiles};
    struct model_series series = make_mostly(0.0, 50.0, 3);
    assert_true(baseline_forecast(BASELINE_DAMPED_TREND, &series, scratch, &out));
    for (size_t h = 0; h < HORIZON; h++) {
        assert_close(quantiles[QUANTILE_MEDIAN * HORIZON + h], 0.0, 1e-12);
        assert_close(quantiles[(QUANTILE_COUNT - 1) * HORIZON + h], 50.0, 1e-4);
    }
    float values_alone[HORIZON * QUANTILE_COUNT];
    memcpy(values_alone, quantiles, sizeof(quantiles));
    series.seasons[0] = 24;
    assert_true(baseline_forecast(BASELINE_DAMPED_TREND, &series, scratch, &out));
    assert_memory_not_equal(values_alone, quantiles, sizeof(quantiles));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stays_as_often_as_it_did),
        cmocka_unit_test(a_share_is_that_of_the_levels),
        cmocka_unit_test(what_mostly_comes_is_in_the_band),
        cmocka_unit_test(the_damped_trend_says_so),
        cmocka_unit_test(changes_nothing_without_a_history_of_stretches),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
