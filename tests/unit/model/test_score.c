/* Scores by arrived value, and skill with its error, against plain sums and on simulated rivals.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "model_test.h"

#include "base/random.h"
#include "model/order.h"
#include "model/training/metrics.h"

#include <string.h>

#define H 12

struct arrays {
    float mean[H], quantiles[QUANTILE_COUNT * H];
    double actual[H];
};

static struct forecast fill(struct arrays *arrays, uint64_t seed)
{
    struct random random;
    random_init(&random, seed, 0);
    for (size_t h = 0; h < H; h++) {
        double median = 50.0 + 10.0 * random_normal(&random);
        for (size_t q = 0; q < QUANTILE_COUNT; q++) {
            arrays->quantiles[q * H + h] = (float)(median + 4.0 * order_probit(quantile_levels[q]));
        }
        arrays->mean[h] = (float)median; /* the point forecast is the median */
        arrays->actual[h] = median + 5.0 * random_normal(&random);
    }
    return (struct forecast){H, arrays->mean, arrays->quantiles};
}

/* The same definitions as the backtest, whose figures agree with the published ones; it scores what
 * its files hold, rounded to nine digits. */
static void figures_are_those_of_the_backtest(UNUSED void **state)
{
    struct score score = {0};
    struct metrics_sum sum = {0};
    struct metrics metrics;
    struct score_figures figures;
    double bias = 0.0, absolute = 0.0;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct arrays arrays;
        struct forecast forecast = fill(&arrays, seed);
        double mean[H], quantiles[QUANTILE_COUNT * H];
        struct scored_forecast scored = {.horizon = H, .mean = mean, .quantiles = quantiles};
        scored_from(&forecast, &scored);
        metrics_add(&sum, arrays.actual, &scored, 2.5);
        for (size_t h = 0; h < H; h++) {
            score_add(&score, &forecast, h, arrays.actual[h], 2.5);
            bias += (double)arrays.mean[h] - arrays.actual[h];
            absolute += fabs(arrays.actual[h]);
        }
    }
    metrics_finish(&sum, &metrics);
    score_figures(&score, &figures);
    assert_int_equal(score.count, metrics.points);
    assert_close(figures.wql, metrics.wql, 1e-8);
    assert_close(figures.mase, metrics.mase, 1e-8);
    assert_close(figures.smape, metrics.smape, 1e-6);
    assert_close(figures.coverage80, metrics.cover80, 1e-12);
    assert_close(figures.coverage95, metrics.cover95, 1e-12);
    assert_close(figures.bias, bias / absolute, 1e-12);
}

static void nothing_is_unknown_not_zero(UNUSED void **state)
{
    struct score score = {0}, more = {0};
    struct score_figures figures;
    struct arrays arrays;
    score_figures(&score, &figures);
    assert_true(isnan(figures.mase) && isnan(figures.wql) && isnan(figures.coverage80));
    struct forecast forecast = fill(&arrays, 1);
    score_add(&more, &forecast, 0, 50.0, (double)NAN); /* no scale: no MASE, the rest is there */
    score_merge(&score, &more);
    score_figures(&score, &figures);
    assert_true(isnan(figures.mase));
    assert_true(isfinite(figures.wql));
}

static void skill_is_one_less_the_ratio(UNUSED void **state)
{
    const double own[] = {1.0, 2.0, 3.0}, rival[] = {2.0, 4.0, 6.0}, none[] = {0.0, 0.0, 0.0};
    struct skill skill;
    skill_of(own, rival, 3, &skill);
    assert_close(skill.value, 0.5, 1e-12);
    assert_close(skill.error, 0.0, 1e-12); /* always half: no doubt */
    skill_of(own, rival, 1, &skill);
    assert_close(skill.value, 0.5, 1e-12);
    assert_true(isnan(skill.error));
    skill_of(own, none, 3, &skill);
    assert_true(isnan(skill.value));
    skill_of(own, rival, 0, &skill);
    assert_true(isnan(skill.value));
}

/* Of a thousand simulated comparisons on 12 origins, how many show skill above one error. */
static int passed(double better, double noise)
{
    struct random random;
    int count = 0;
    random_init(&random, 3, 0);
    for (int trial = 0; trial < 1000; trial++) {
        double own[12], rival[12];
        struct skill skill;
        for (int i = 0; i < 12; i++) {
            double weather = 1.0 + 0.5 * random_uniform(&random); /* shared */
            rival[i] = weather * (1.0 + noise * random_normal(&random));
            own[i] = weather * (1.0 - better) * (1.0 + noise * random_normal(&random));
        }
        skill_of(own, rival, 12, &skill);
        count += skill.value > 0.0 && skill.value > skill.error;
    }
    return count;
}

static void equals_seldom_pass_and_worse_ones_hardly_ever(UNUSED void **state)
{
    assert_in_range(passed(0.0, 0.05), 100, 220); /* one in six */
    assert_in_range(passed(-0.02, 0.05), 0, 60);
    assert_in_range(passed(-0.05, 0.05), 0, 3);
    assert_in_range(passed(0.05, 0.05), 850, 1000);
    assert_in_range(passed(0.10, 0.05), 995, 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(figures_are_those_of_the_backtest),
        cmocka_unit_test(nothing_is_unknown_not_zero),
        cmocka_unit_test(skill_is_one_less_the_ratio),
        cmocka_unit_test(equals_seldom_pass_and_worse_ones_hardly_ever),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
