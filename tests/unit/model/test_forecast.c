/* Tests of forecasts and baselines: interpolation, order, bounds, empirical spreads.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "model/forecast.h"
#include "model/order.h"
#include "tests/unit/model/model_test.h"

#include <string.h>

#define HORIZON 6

static float mean[HORIZON];
static float quantiles[QUANTILE_COUNT * HORIZON];
static double scratch[4 * 4096];

static struct forecast blank(void)
{
    return (struct forecast){.horizon = HORIZON, .mean = mean, .quantiles = quantiles};
}

static void interpolates_levels(UNUSED void **state)
{
    struct forecast forecast = blank();
    for (size_t q = 0; q < QUANTILE_COUNT; q++) {
        quantiles[q * HORIZON] = (float)(10.0 + 2.0 * order_probit(quantile_levels[q]));
    }
    double before = -1e9;
    for (double level = 0.001; level < 1.0; level += 0.001) {
        double value = forecast_quantile(&forecast, 0, level);
        assert_true(value > before);
        assert_close(value, 10.0 + 2.0 * order_probit(level), 1e-5);
        before = value;
    }
}

static void inverts_levels(UNUSED void **state)
{
    struct forecast forecast = blank();
    for (size_t q = 0; q < QUANTILE_COUNT; q++) {
        quantiles[q * HORIZON] = (float)(10.0 + 2.0 * order_probit(quantile_levels[q]));
        quantiles[q * HORIZON + 1] = q < 8 ? 5.0f : 6.0f; /* an integer series */
        quantiles[q * HORIZON + 2] = 7.0f;
    }
    for (double level = 0.001; level < 1.0; level += 0.001) {
        double value = forecast_quantile(&forecast, 0, level);
        assert_close(forecast_share(&forecast, 0, value, true), level, 1e-5);
        assert_close(forecast_share(&forecast, 0, value, false), level, 1e-5);
    }
    assert_close(forecast_share(&forecast, 1, 5.0, true), 0.7, 1e-9);
    assert_close(forecast_share(&forecast, 1, 5.0, false), 0.0, 0);
    assert_close(forecast_share(&forecast, 1, 6.0, true), 0.975, 1e-9);
    assert_close(forecast_share(&forecast, 2, 7.0, true), 1.0, 0);
    assert_close(forecast_share(&forecast, 2, 7.0, false), 0.0, 0);
    assert_close(forecast_share(&forecast, 2, 1e300, false), 1.0, 0);
}

/* The mean by its definition: the quantile function over levels of even distance, those beyond the
 * bounds at them. */
static double mean_by_summing(const struct forecast *forecast, size_t step, double low, double high)
{
    const size_t count = 200000;
    double sum = 0.0;
    for (size_t i = 0; i < count; i++) {
        double level = ((double)i + 0.5) / (double)count;
        sum += fmin(fmax(forecast_quantile(forecast, step, level), low), high);
    }
    return sum / (double)count;
}

static void mean_of_a_distribution(UNUSED void **state)
{
    struct forecast forecast = blank();
    for (size_t q = 0; q < QUANTILE_COUNT; q++) {
        double z = order_probit(quantile_levels[q]);
        quantiles[q * HORIZON] = (float)(10.0 + 2.0 * z);
        quantiles[q * HORIZON + 1] = (float)exp(z);       /* lognormal, mean 1.6487 */
        quantiles[q * HORIZON + 2] = q < 8 ? 0.0f : 3.0f; /* counts that are mostly zero */
        quantiles[q * HORIZON + 3] = -7.5f;
    }
    assert_close(forecast_mean(&forecast, 0, -HUGE_VAL, HUGE_VAL), 10.0, 1e-6);
    /* seven levels and a normal tail see most of a lognormal's */
    assert_close(forecast_mean(&forecast, 1, -HUGE_VAL, HUGE_VAL), exp(0.5), 0.1);
    double counts = forecast_mean(&forecast, 2, 0.0, HUGE_VAL);
    assert_true(counts > 0.6 && counts < 1.2);
    assert_close(forecast_mean(&forecast, 3, -HUGE_VAL, HUGE_VAL), -7.5, 1e-6);
    static const double bounds[][2] = {
        {-HUGE_VAL, HUGE_VAL}, {0.0, HUGE_VAL}, {-1.0, 14.0}, {-0.5, 7.4}};
    for (size_t i = 0; i < sizeof(bounds) / sizeof(bounds[0]); i++) {
        for (size_t step = i == 3 ? 1 : 0; step < 3; step++) {
            double low = bounds[i][0], high = bounds[i][1];
            /* the sum leaves out the ends of the tails: 2e-5 of a deviation */
            assert_close(forecast_mean(&forecast, step, low, high),
                         mean_by_summing(&forecast, step, low, high), 1e-4);
        }
    }
}

static void finishes_forecasts(UNUSED void **state)
{
    struct forecast forecast = blank();
    double values[] = {1.0, 2.0};
    struct model_series series = plain_series(values, 2, 1000);
    series.minimum = 0.1;
    series.maximum = 3.0;
    for (size_t i = 0; i < QUANTILE_COUNT * HORIZON; i++) {
        quantiles[i] = (float)((i * 37) % 11) - 3.0f;
    }
    quantiles[7] = NAN;
    quantiles[9] = INFINITY;
    mean[0] = NAN;
    mean[1] = 77.0f;
    forecast_finish(&series, 2.0, &forecast);
    for (size_t h = 0; h < HORIZON; h++) {
        for (size_t q = 0; q < QUANTILE_COUNT; q++) {
            double value = (double)quantiles[q * HORIZON + h];
            assert_true(value >= series.minimum && value <= series.maximum);
            assert_true(q == 0 || value >= (double)quantiles[(q - 1) * HORIZON + h]);
        }
    }
    assert_close(mean[0], 2.0, 0);
    assert_close(mean[1], 3.0, 0);
}

/* A constant never gets "low = high" for an interval, whatever its size. */
static void no_forecast_is_certain(UNUSED void **state)
{
    static const double constants[] = {0.0, 5.0, 1.0, 8.0 / 3.0, 16777215.0, -1e12, 1e-6, 1e30};
    for (size_t c = 0; c < sizeof(constants) / sizeof(constants[0]); c++) {
        struct forecast forecast = blank();
        double values[] = {constants[c], constants[c]};
        struct model_series series = plain_series(values, 2, 1000);
        assert_true(baseline_forecast(BASELINE_LAST_VALUE, &series, scratch, &forecast));
        double low = (double)quantiles[0], high = (double)quantiles[(QUANTILE_COUNT - 1) * HORIZON];
        assert_true(low < high);
        assert_true(high - low <= fmax(1.2e-6 * fabs(constants[c]), 1.2e-18));
        assert_close(quantiles[QUANTILE_MEDIAN * HORIZON], constants[c], 1e-6 * fabs(constants[c]));
        /* The 80 % band is one, too: it is what most answers show. */
        assert_true(quantiles[1 * HORIZON] < quantiles[QUANTILE_MEDIAN * HORIZON]);
        assert_true(quantiles[9 * HORIZON] > quantiles[QUANTILE_MEDIAN * HORIZON]);
    }
}

/* Even where the bounds allow nothing of what was forecast. */
static void a_band_at_a_bound_is_one(UNUSED void **state)
{
    struct forecast forecast = blank();
    double values[] = {3.0, 2.0};
    struct model_series series = plain_series(values, 2, 1000);
    series.minimum = 0.0;
    for (size_t q = 0; q < QUANTILE_COUNT; q++) {
        for (size_t h = 0; h < HORIZON; h++) {
            quantiles[q * HORIZON + h] = -5.0f + (float)q * 0.1f;
        }
    }
    forecast_finish(&series, 0.0, &forecast);
    assert_true(quantiles[0] >= 0.0f);
    assert_true(quantiles[1 * HORIZON] < quantiles[9 * HORIZON]);
}

/* Picofarads and air pressure keep the band that their own changes give. */
static void the_least_band_stays_below_a_real_one(UNUSED void **state)
{
    static const double offsets[] = {0.0, 101325.0}, units[] = {1e-12, 0.3};
    for (size_t c = 0; c < 2; c++) {
        struct forecast forecast = blank();
        double values[64];
        for (size_t i = 0; i < 64; i++) {
            values[i] = offsets[c] + units[c] * (i % 2 ? 1.0 : -1.0);
        }
        struct model_series series = plain_series(values, 64, 1000);
        assert_true(baseline_forecast(BASELINE_LAST_VALUE, &series, scratch, &forecast));
        double low = (double)quantiles[HORIZON], high = (double)quantiles[9 * HORIZON];
        assert_true(high - low > 1.9 * units[c]);
        assert_true(high - low < 4.1 * units[c]);
    }
}

/* Two are no direction either: a line through three has a band, too. */
static void two_points_are_no_certainty(UNUSED void **state)
{
    struct forecast forecast = blank();
    double values[] = {5.0, 6.0, 7.0};
    struct model_series series = plain_series(values, 2, 1000);
    assert_false(baseline_forecast(BASELINE_DRIFT, &series, scratch, &forecast));
    assert_true(baseline_forecast(BASELINE_LAST_VALUE, &series, scratch, &forecast));
    assert_close(mean[0], 6.0, 1e-6);
    assert_true((double)quantiles[HORIZON] < 5.7);
    assert_true((double)quantiles[9 * HORIZON] > 6.3);
    series = plain_series(values, 3, 1000);
    assert_true(baseline_forecast(BASELINE_DRIFT, &series, scratch, &forecast));
    assert_close(mean[0], 8.0, 1e-6);
    assert_true((double)quantiles[HORIZON] < 7.7);
    assert_true((double)quantiles[9 * HORIZON] > 8.3);
}

/* Of the first season digit by digit that of the published comparisons (as test_yardstick has it
 * for all), of the second one that of the differences over two. */
static void seasonal_naive_has_the_empirical_spread(UNUSED void **state)
{
    static const double point[HORIZON] = {15.0, 24.75, 23.5, 20.75, 15.0, 24.75};
    static const double spread[QUANTILE_COUNT] = {-0.5, -0.5, 0.3, 0.5, 0.8, 1.0,
                                                  1.2,  1.5,  1.7, 2.5, 2.5};
    double values[24], twice[QUANTILE_COUNT], differences[16];
    for (int t = 0; t < 24; t++) {
        values[t] = 10 + ((t * 7) % 4) * 3.0 + ((t * t) % 5) * 0.5 + 0.25 * t;
    }
    for (int t = 8; t < 24; t++) {
        differences[t - 8] = values[t] - values[t - 8];
    }
    order_quantiles(differences, 16, quantile_levels, QUANTILE_COUNT, twice);
    struct model_series series = plain_series(values, 24, 1000);
    struct forecast forecast = blank();
    assert_false(baseline_forecast(BASELINE_SEASONAL_NAIVE, &series, scratch, &forecast));
    series.seasons[0] = 4;
    assert_true(baseline_forecast(BASELINE_SEASONAL_NAIVE, &series, scratch, &forecast));
    for (size_t h = 0; h < HORIZON; h++) {
        assert_close(mean[h], point[h], 1e-6);
        for (size_t q = 0; q < QUANTILE_COUNT; q++) {
            double expected = point[h] + (h < 4 ? spread[q] : twice[q]);
            assert_close(quantiles[q * HORIZON + h], expected, 1e-5);
        }
    }
}

enum { DAY = 24, DAYS = 7, PAST = 1000, RUNS = 60 };

/* Shares of values inside of the 80 % band, by day ahead, of a daily wave with a trend, a walk or
 * noise of so much an hour. */
static void coverage_by_day(double trend, double walk, double noise, double covered[DAYS])
{
    enum { AHEAD = DAYS * DAY };
    static float room[(QUANTILE_COUNT + 1) * AHEAD];
    double values[PAST + AHEAD];
    uint32_t bits = 4711;
    memset(covered, 0, DAYS * sizeof(covered[0]));
    for (int run = 0; run < RUNS; run++) {
        double level = 0.0;
        for (int t = 0; t < PAST + AHEAD; t++) {
            bits = bits * 1664525u + 1013904223u;
            double one = (double)(bits >> 8) / 8388608.0 - 1.0;
            bits = bits * 1664525u + 1013904223u;
            level += walk * one + trend;
            values[t] = 20.0 * sin(2.0 * M_PI * t / DAY) + level +
                        noise * ((double)(bits >> 8) / 8388608.0 - 1.0);
        }
        struct model_series series = plain_series(values, PAST, 1000);
        struct forecast forecast = {AHEAD, room, room + AHEAD};
        series.seasons[0] = DAY;
        assert_true(baseline_forecast(BASELINE_SEASONAL_NAIVE, &series, scratch, &forecast));
        for (size_t h = 0; h < AHEAD; h++) {
            double value = values[PAST + h];
            covered[h / DAY] += ((double)forecast.quantiles[AHEAD + h] <= value &&
                                 value <= (double)forecast.quantiles[9 * AHEAD + h]) /
                                (double)(RUNS * DAY);
        }
    }
}

/* With the differences over one season the seventh day of the first had nothing in it, and that of
 * the second 0.35. The walks' bands come from 40 seasons of one walk, so they are not all of it. */
static void seasonal_bands_hold_for_days(UNUSED void **state)
{
    double covered[DAYS];
    coverage_by_day(0.1, 0.0, 1.5, covered);
    for (size_t day = 0; day < DAYS; day++) {
        assert_true(covered[day] > 0.76 && covered[day] < 0.86);
    }
    coverage_by_day(0.0, 0.7, 0.0, covered);
    for (size_t day = 0; day < DAYS; day++) {
        assert_true(covered[day] > 0.6 && covered[day] < 0.9);
    }
    coverage_by_day(0.0, 0.0, 3.0, covered);
    for (size_t day = 0; day < DAYS; day++) {
        assert_true(covered[day] > 0.76 && covered[day] < 0.84);
    }
}

/* Beyond what there are pairs of, bands are those of a walk; behind a gap, of as many seasons as it
 * is long. */
static void seasonal_bands_of_few_seasons(UNUSED void **state)
{
    double values[14];
    for (int t = 0; t < 14; t++) {
        values[t] = t % 2 + ((t * t) % 7) * 0.5;
    }
    struct model_series series = plain_series(values, 14, 1000);
    struct forecast forecast = blank();
    series.seasons[0] = 6;
    assert_true(baseline_forecast(BASELINE_SEASONAL_NAIVE, &series, scratch, &forecast));
    double width = (double)(quantiles[9 * HORIZON] - quantiles[1 * HORIZON]);
    values[8] = (double)NAN; /* two seasons back instead; the pairs that are left are alike */
    values[2] = values[9];
    values[3] = values[9];
    assert_true(baseline_forecast(BASELINE_SEASONAL_NAIVE, &series, scratch, &forecast));
    double once = (double)(quantiles[9 * HORIZON + 1] - quantiles[1 * HORIZON + 1]);
    double twice = (double)(quantiles[9 * HORIZON] - quantiles[1 * HORIZON]);
    assert_true(width > 0.0);
    assert_close(twice / once, sqrt(2.0), 1e-4);
}

/* A season that somebody has set is repeated from its second time on, with a band that one
 * difference cannot give. */
static void a_season_that_has_come_once(UNUSED void **state)
{
    double values[9] = {1.0, 5.0, 9.0, 5.0, 1.5, 5.5, 9.5, 5.5, 1.0};
    struct model_series series = plain_series(values, 4, 1000);
    struct forecast forecast = blank();
    series.seasons[0] = 4;
    assert_false(baseline_forecast(BASELINE_SEASONAL_NAIVE, &series, scratch, &forecast));
    series.count = 5;
    assert_true(baseline_forecast(BASELINE_SEASONAL_NAIVE, &series, scratch, &forecast));
    assert_close(quantiles[QUANTILE_MEDIAN * HORIZON], 5.0, 1e-6);
    assert_true(quantiles[1 * HORIZON] < 4.5f && quantiles[9 * HORIZON] > 5.5f);
}

/* Values at every fourth step: between them lie lines, but none over half of the season. */
static void a_season_of_few_places_is_whole(UNUSED void **state)
{
    static double values[6 * 64];
    struct model_series series = plain_series(values, 6 * 64, 1000);
    struct forecast forecast = blank();
    series.seasons[0] = 64;
    for (int t = 0; t < 6 * 64; t++) {
        int place = t % 64;
        values[t] = place % 4 == 0 ? fabs((double)place - 32.0) : (double)NAN;
    }
    assert_true(baseline_forecast(BASELINE_SEASONAL_NAIVE, &series, scratch, &forecast));
    for (int h = 0; h < HORIZON; h++) {
        assert_close(quantiles[QUANTILE_MEDIAN * HORIZON + h], 32.0 - h, 1e-6);
    }
    for (int t = 0; t < 6 * 64; t++) {
        int place = t % 64;
        values[t] = place < 32 ? (double)NAN : 5.0 + place % 2;
    }
    assert_true(baseline_forecast(BASELINE_SEASONAL_NAIVE, &series, scratch, &forecast));
    assert_close(quantiles[QUANTILE_MEDIAN * HORIZON + 3], 6.0, 1e-6); /* the last value */
}

/* Walks of three to nine values: what drifts there is chance. Noise is not followed either, a line
 * is. */
static void few_values_hardly_make_a_drift(UNUSED void **state)
{
    size_t inside = 0, places = 0;
    uint32_t bits = 7;
    struct forecast forecast = blank();
    for (size_t count = 3; count <= 9; count += 2) {
        for (int series_index = 0; series_index < 100; series_index++) {
            double values[16] = {100.0};
            for (size_t t = 1; t < count + HORIZON; t++) {
                bits = bits * 1664525u + 1013904223u;
                values[t] = values[t - 1] + (double)(bits >> 8) / 8388608.0 - 1.0;
            }
            struct model_series series = plain_series(values, count, 1000);
            assert_true(baseline_forecast(BASELINE_DRIFT, &series, scratch, &forecast));
            for (size_t h = 0; h < HORIZON; h++) {
                double value = values[count + h];
                inside += (double)quantiles[1 * HORIZON + h] <= value &&
                          value <= (double)quantiles[9 * HORIZON + h];
                places++;
            }
        }
    }
    assert_true((double)inside > 0.75 * (double)places);
    double noise[] = {5.0, 3.0, 6.0, 2.0, 4.0}, line[] = {10.0, 12.0, 14.0, 16.0, 18.0};
    struct model_series series = plain_series(noise, 5, 1000);
    assert_true(baseline_forecast(BASELINE_DRIFT, &series, scratch, &forecast));
    assert_close(mean[5], 4.0, 1e-6);
    series = plain_series(line, 5, 1000);
    assert_true(baseline_forecast(BASELINE_DRIFT, &series, scratch, &forecast));
    assert_close(mean[5], 30.0, 1e-5);
}

static void last_value_and_drift(UNUSED void **state)
{
    double values[64];
    for (int t = 0; t < 64; t++) {
        values[t] = t % 2 == 0 ? t : t + 1.0;
    }
    values[63] = (double)NAN;
    struct model_series series = plain_series(values, 64, 1000);
    struct forecast forecast = blank();
    assert_true(baseline_forecast(BASELINE_LAST_VALUE, &series, scratch, &forecast));
    assert_close(mean[5], 62.0, 0);
    float width = quantiles[9 * HORIZON] - quantiles[1 * HORIZON];
    assert_true(width >= 0.0f);
    assert_true(baseline_forecast(BASELINE_DRIFT, &series, scratch, &forecast));
    assert_close(mean[0], 64.0, 1e-5); /* two steps after the last one seen */
    assert_close(mean[5], 69.0, 1e-5);
    double one[] = {(double)NAN, 4.0, (double)NAN};
    series = plain_series(one, 3, 1000);
    assert_false(baseline_forecast(BASELINE_LAST_VALUE, &series, scratch, &forecast));
    double two[] = {4.0, (double)NAN, 6.0};
    series = plain_series(two, 3, 1000);
    assert_true(baseline_forecast(BASELINE_LAST_VALUE, &series, scratch, &forecast));
    assert_true(quantiles[9 * HORIZON] > quantiles[1 * HORIZON]);
    assert_close(quantiles[5 * HORIZON], 6.0, 1e-6);
}

static void spread_of_the_last_value_grows(UNUSED void **state)
{
    double values[2000];
    double level = 0.0;
    uint32_t bits = 12345;
    for (int t = 0; t < 2000; t++) {
        bits = bits * 1664525u + 1013904223u;
        level += (double)(bits >> 8) / 8388608.0 - 1.0;
        values[t] = level;
    }
    struct model_series series = plain_series(values, 2000, 1000);
    struct forecast forecast = blank();
    assert_true(baseline_forecast(BASELINE_LAST_VALUE, &series, scratch, &forecast));
    float first = quantiles[9 * HORIZON] - quantiles[1 * HORIZON];
    float last = quantiles[9 * HORIZON + 5] - quantiles[1 * HORIZON + 5];
    assert_true(last > 2.0f * first && last < 3.0f * first); /* sqrt(6) = 2.45 */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(interpolates_levels),
        cmocka_unit_test(inverts_levels),
        cmocka_unit_test(mean_of_a_distribution),
        cmocka_unit_test(finishes_forecasts),
        cmocka_unit_test(no_forecast_is_certain),
        cmocka_unit_test(a_band_at_a_bound_is_one),
        cmocka_unit_test(the_least_band_stays_below_a_real_one),
        cmocka_unit_test(two_points_are_no_certainty),
        cmocka_unit_test(seasonal_naive_has_the_empirical_spread),
        cmocka_unit_test(seasonal_bands_hold_for_days),
        cmocka_unit_test(seasonal_bands_of_few_seasons),
        cmocka_unit_test(a_season_that_has_come_once),
        cmocka_unit_test(a_season_of_few_places_is_whole),
        cmocka_unit_test(few_values_hardly_make_a_drift),
        cmocka_unit_test(last_value_and_drift),
        cmocka_unit_test(spread_of_the_last_value_grows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
