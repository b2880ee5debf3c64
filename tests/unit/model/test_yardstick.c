/* Tests of the yardsticks: what the scoring tool writes for the same values, in its corner cases.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Expected values are lines that the scoring tool wrote (baseline --method snaive); the black-box
 * suite compares whole files.
 */
#include "model/training/yardstick.h"
#include "tests/unit/model/model_test.h"

#define HORIZON 5
#define MISSING ((double)NAN)

static double room[(QUANTILE_COUNT + 1) * HORIZON];

static struct scored_forecast forecast_of(const double *values, size_t count, size_t season)
{
    double scratch[512];
    assert_true(count <= 512);
    struct scored_forecast out = {HORIZON, room, room + HORIZON};
    yardstick_naive(values, count, season, scratch, &out);
    return out;
}

static double quantile(const struct scored_forecast *out, size_t level, size_t step)
{
    return out->quantiles[level * HORIZON + step];
}

/* Means of all steps and quantiles of the first, to the last bit. */
static void assert_forecast(const struct scored_forecast *out, const double mean[HORIZON],
                            const double quantiles[QUANTILE_COUNT])
{
    for (size_t step = 0; step < HORIZON; step++) {
        assert_close(out->mean[step], mean[step], 0.0);
    }
    for (size_t level = 0; level < QUANTILE_COUNT; level++) {
        assert_close(quantile(out, level, 0), quantiles[level], 0.0);
    }
}

static const double gappy[] = {1.5, 2.25, 3.0, 4.5, MISSING, 6.1, MISSING, 8.3};

static void gaps_are_bridged_by_earlier_seasons(UNUSED void **state)
{
    static const double mean[HORIZON] = {1.5, 6.1, 3.0, 8.3, 1.5};
    static const double quantiles[QUANTILE_COUNT] = {5.30125, 5.305, 5.31, 5.315, 5.32,   5.325,
                                                     5.33,    5.335, 5.34, 5.345, 5.34875};
    struct scored_forecast out = forecast_of(gappy, 8, 4);
    assert_forecast(&out, mean, quantiles);
}

static void the_last_value_is_a_season_of_one_step(UNUSED void **state)
{
    static const double mean[HORIZON] = {8.3, 8.3, 8.3, 8.3, 8.3};
    static const double quantiles[QUANTILE_COUNT] = {9.05, 9.05, 9.05, 9.05, 9.05,  9.05,
                                                     9.2,  9.35, 9.5,  9.65, 9.7625};
    struct scored_forecast out = forecast_of(gappy, 8, 1);
    assert_forecast(&out, mean, quantiles);
}

static void too_short_for_a_season_is_the_last_value(UNUSED void **state)
{
    static const double values[] = {7.0, 3.5, MISSING};
    static const double mean[HORIZON] = {3.5, 3.5, 3.5, 3.5, 3.5};
    static const double quantiles[QUANTILE_COUNT] = {3.5, 3.5, 3.5, 3.5, 3.5, 3.5,
                                                     3.5, 3.5, 3.5, 3.5, 3.5};
    struct scored_forecast out = forecast_of(values, 3, 24);
    assert_forecast(&out, mean, quantiles);
}

static void nothing_seen_is_zero(UNUSED void **state)
{
    static const double values[] = {MISSING, MISSING};
    assert_close(forecast_of(values, 2, 1).mean[0], 0.0, 0.0);
    assert_close(forecast_of(values, 0, 1).mean[0], 0.0, 0.0);
}

/* Every difference is 0.2 give or take the last bit, and 1 + 0.2 is 1.2 in ten digits whichever it
 * was: a value of 1.2 lies inside the band. */
static void bands_end_on_decimals(UNUSED void **state)
{
    static const double values[] = {0.0, 0.2, 0.4, 0.6, 0.8, 1.0};
    static const double mean[HORIZON] = {1.0, 1.0, 1.0, 1.0, 1.0};
    static const double quantiles[QUANTILE_COUNT] = {1.2, 1.2, 1.2, 1.2, 1.2, 1.2,
                                                     1.2, 1.2, 1.2, 1.2, 1.2};
    double third = values[3] - values[2];
    assert_true(third < 0.2 || third > 0.2);
    struct scored_forecast out = forecast_of(values, 6, 1);
    assert_forecast(&out, mean, quantiles);
}

/* Only the last 200 seasons spread; before them it was wilder. */
static void the_spread_forgets(UNUSED void **state)
{
    static const double before[QUANTILE_COUNT] = {-999, -199.8, 0, 0, 0, 2, 2, 2, 2, 201.8, 1001};
    static const double after[QUANTILE_COUNT] = {0, 0, 0, 0, 0, 2, 2, 2, 2, 2, 2};
    static const double mean[HORIZON] = {1, 1, 1, 1, 1};
    double values[300];
    for (size_t i = 0; i < 300; i++) {
        values[i] = i < 90 ? (double)(i % 2) * 1000.0 : (double)(i % 2);
    }
    struct scored_forecast out = forecast_of(values, 300, 1);
    assert_forecast(&out, mean, after);
    out = forecast_of(values, 250, 1);
    assert_forecast(&out, mean, before);
}

static void digits_are_those_of_a_file(UNUSED void **state)
{
    assert_close(scored_digits((double)0.3f, BACKTEST_DIGITS), 0.300000012, 0.0);
    assert_close(scored_digits(0.1 + 0.2, 10), 0.3, 0.0);
    assert_true(scored_digits(1e-300, 3) > 0.0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gaps_are_bridged_by_earlier_seasons),
        cmocka_unit_test(the_last_value_is_a_season_of_one_step),
        cmocka_unit_test(too_short_for_a_season_is_the_last_value),
        cmocka_unit_test(nothing_seen_is_zero),
        cmocka_unit_test(bands_end_on_decimals),
        cmocka_unit_test(the_spread_forgets),
        cmocka_unit_test(digits_are_those_of_a_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
