/* Tests of metrics: equal to the scoring tool's figures on a small set, to the last digits.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The expected figures were printed by the scoring tool (its functions score, f_naive2 and
 * scale_of) for the same formulas, with Python's repr.
 */
#include "model/training/metrics.h"
#include "tests/unit/model/model_test.h"

#define SERIES  3
#define LENGTH  28
#define HORIZON 4
#define SEASON  4
#define TRAIN   (LENGTH - HORIZON)
#define EXACT   1e-12

static void make_series(int index, double values[LENGTH])
{
    for (int t = 0; t < LENGTH; t++) {
        values[t] = 10 * (index + 1) + ((t * 7 + index * 3) % 4) * 3.0 +
                    ((t * t + index) % 5) * 0.5 + 0.25 * t;
        values[t] = index == 2 ? 5.0 : values[t];
    }
    if (index == 1) {
        values[5] = (double)NAN;
        values[LENGTH - 2] = (double)NAN;
    }
}

static void make_forecast(int index, struct forecast *forecast)
{
    for (int h = 0; h < HORIZON; h++) {
        double base = 10 * (index + 1) + 6.0 + 2.0 * ((h + index) % 3);
        forecast->mean[h] = (float)(base + 0.5);
        for (int q = 0; q < QUANTILE_COUNT; q++) {
            forecast->quantiles[q * HORIZON + h] = (float)(base + (q - 5) * (0.5 + 0.25 * h));
        }
    }
    if (index == 0) { /* one crossing */
        float swapped = forecast->quantiles[3 * HORIZON + 2];
        forecast->quantiles[3 * HORIZON + 2] = forecast->quantiles[4 * HORIZON + 2];
        forecast->quantiles[4 * HORIZON + 2] = swapped;
    }
}

static void agrees_with_the_scoring_tool(UNUSED void **state)
{
    static const double rho[9] = {1.118811881188119, 1.0653465346534652, 0.9900990099009901,
                                  0.905940594059406, 0.8044554455445545, 0.6881188118811881,
                                  0.557920792079208, 0.4089108910891089, 0.25346534653465347};
    float mean[HORIZON];
    float quantiles[QUANTILE_COUNT * HORIZON];
    struct forecast forecast = {.horizon = HORIZON, .mean = mean, .quantiles = quantiles};
    double room[(QUANTILE_COUNT + 1) * HORIZON];
    struct scored_forecast scored = {HORIZON, room, room + HORIZON};
    struct metrics_sum sum = {0};
    struct metrics_sum naive2 = {0};
    double pooled = 0.0;
    double absolute = 0.0;
    uint64_t points = 0;
    for (int i = 0; i < SERIES; i++) {
        double values[LENGTH];
        double scratch[2 * LENGTH + 2 * SEASON];
        double simple[HORIZON];
        make_series(i, values);
        make_forecast(i, &forecast);
        double scale = metrics_scale(values, TRAIN, SEASON);
        scored_from(&forecast, &scored);
        metrics_add(&sum, values + TRAIN, &scored, scale);
        pooled += metrics_quantile_loss(values + TRAIN, &forecast, &absolute, &points);
        assert_true(metrics_naive2(values, TRAIN, SEASON, scratch, simple, HORIZON));
        metrics_add_points(&naive2, values + TRAIN, simple, HORIZON, scale);
    }
    struct metrics out;
    metrics_finish(&sum, &out);
    assert_true(isnan(out.owa));
    metrics_owa(&naive2, &out);
    assert_int_equal(out.series, 3);
    assert_int_equal(out.points, 11);
    assert_int_equal(points, 11);
    assert_int_equal(out.missing_actuals, 1);
    assert_int_equal(out.series_without_scale, 1);
    assert_close(out.smape, 61.38840659027946, 1e-10);
    assert_close(out.nd, 0.801980198019802, EXACT);
    assert_close(out.mase, 3.4270833333333335, EXACT);
    for (int i = 0; i < 9; i++) {
        assert_close(out.rho[i], rho[i], EXACT);
    }
    assert_close(out.wql, 0.7547854785478548, EXACT);
    assert_close(pooled / absolute, out.wql, EXACT);
    assert_close(out.cover80, 0.36363636363636365, EXACT);
    assert_close(out.width80, 0.37623762376237624, EXACT);
    assert_close(out.quantile_crossings, 0.09090909090909091, EXACT);
    assert_close(out.cover95, 0.45454545454545453, EXACT);
    assert_close(out.msis95, 59.0625, EXACT);
    assert_close(out.naive2_smape, 3.5608199782922973, EXACT);
    assert_close(out.naive2_mase, 1.3316000147453158, EXACT);
    assert_close(out.owa, 9.906810882495678, 1e-11);
}

/* Seven steps: 0 to 2, 3 and 4, 5 and 6 are the thirds (step * 3 / 7). */
static void coverage_is_told_by_third_of_the_horizon(UNUSED void **state)
{
    enum { STEPS = 7 };
    double values[(QUANTILE_COUNT + 1) * STEPS];
    struct scored_forecast forecast = {STEPS, values, values + STEPS};
    for (int h = 0; h < STEPS; h++) {
        forecast.mean[h] = 0.0;
        for (int q = 0; q < QUANTILE_COUNT; q++) {
            forecast.quantiles[q * STEPS + h] = q - 5;
        }
    }
    /* The 80 % band is -4 to 4, ends included; the 95 % band -5 to 5. */
    double actual[STEPS] = {0.0, 4.0, 4.5, -4.5, (double)NAN, 5.5, 9.0};
    struct metrics_sum sum = {0};
    struct metrics out;
    metrics_add(&sum, actual, &forecast, 1.0);
    metrics_finish(&sum, &out);
    static const double cover80[METRICS_PARTS] = {2.0 / 3.0, 0.0, 0.0};
    static const double cover95[METRICS_PARTS] = {1.0, 1.0, 0.0};
    for (int part = 0; part < METRICS_PARTS; part++) {
        assert_close(out.cover80_part[part], cover80[part], EXACT);
        assert_close(out.cover95_part[part], cover95[part], EXACT);
    }
    assert_close(out.cover80, 2.0 / 6.0, EXACT);
    assert_close(out.absolute, 0.0 + 4.0 + 4.5 + 4.5 + 5.5 + 9.0, EXACT);
}

static void naive2_forecasts_as_the_scoring_tool(UNUSED void **state)
{
    static const double even[SERIES][HORIZON] = {
        {17.0615808618208, 27.982056003969902, 24.453711236048974, 20.75},
        {32.61273178604113, 32.76023931086323, 28.674608352668404, 25.75},
        {5.0, 5.0, 5.0, 5.0}};
    static const double odd[6] = {
        12.901709224070853, 16.160187119553292, 19.38263788997706, 22.659742293854006, 25.9,
        12.901709224070853};
    double scratch[2 * 40 + 2 * 5];
    double out[6];
    for (int i = 0; i < SERIES; i++) {
        double values[LENGTH];
        make_series(i, values);
        assert_true(metrics_naive2(values, TRAIN, SEASON, scratch, out, HORIZON));
        for (int h = 0; h < HORIZON; h++) {
            assert_close(out[h], even[i][h], EXACT * 10);
        }
    }
    double five[40];
    for (int t = 0; t < 40; t++) {
        five[t] = 10 + 3 * (t % 5) + 0.1 * t;
    }
    assert_true(metrics_naive2(five, 40, 5, scratch, out, 6));
    for (int h = 0; h < 6; h++) {
        assert_close(out[h], odd[h], EXACT * 10);
    }
    double nothing[3] = {(double)NAN, (double)NAN, (double)NAN};
    assert_false(metrics_naive2(nothing, 3, 1, scratch, out, 2));
}

static void scale_skips_gaps_and_needs_a_pair(UNUSED void **state)
{
    double values[] = {1.0, 2.0, (double)NAN, 5.0, 7.0};
    assert_close(metrics_scale(values, 5, 1), 1.5, EXACT);
    assert_close(metrics_scale(values, 5, 3), 4.5, EXACT);
    assert_true(isnan(metrics_scale(values, 5, 5)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(agrees_with_the_scoring_tool),
        cmocka_unit_test(coverage_is_told_by_third_of_the_horizon),
        cmocka_unit_test(naive2_forecasts_as_the_scoring_tool),
        cmocka_unit_test(scale_skips_gaps_and_needs_a_pair),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
