/* Few values: how wide far horizons are of noise, and that walks and trends still lie within.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "base/check.h"
#include "base/random.h"
#include "model/training/baseline.h"
#include "tests/unit/model/model_test.h"

#include <math.h>

#define HORIZON 30
#define MOST    64
#define SERIES  200

static double values[MOST + HORIZON], scratch[4 * MOST];
static float mean[HORIZON], quantiles[HORIZON * QUANTILE_COUNT];
static struct forecast out = {HORIZON, mean, quantiles};

struct process {
    double noise, walk, slope;
};

static void make(const struct process *process, uint64_t seed)
{
    struct random random;
    random_init(&random, seed, 0);
    double level = 60.0;
    for (size_t t = 0; t < MOST + HORIZON; t++) {
        level += process->walk * random_normal(&random) + process->slope;
        values[t] = level + process->noise * random_normal(&random);
    }
}

/* Of what serves in the order in which it does where there is no model and no season: the mean
 * width of the 80 % band at the last step, in that of a normal distribution of deviation 1, and the
 * share of all steps within it. */
struct found {
    double width, inside;
};

static struct found judge(const struct process *process, size_t count)
{
    static const enum baseline order[] = {BASELINE_DAMPED_TREND, BASELINE_DRIFT,
                                          BASELINE_LAST_VALUE};
    struct found found = {0.0, 0.0};
    const float *low = quantiles + HORIZON, *high = quantiles + 9 * HORIZON;
    for (uint64_t seed = 1; seed <= SERIES; seed++) {
        make(process, seed);
        struct model_series series = plain_series(values, count, 60000);
        size_t by = 0;
        while (!baseline_forecast(order[by], &series, scratch, &out)) {
            by++;
        }
        found.width += (double)(high[HORIZON - 1] - low[HORIZON - 1]) / 2.563 / SERIES;
        for (size_t h = 0; h < HORIZON; h++) {
            double value = values[count + h];
            found.inside +=
                ((double)low[h] <= value && value <= (double)high[h]) / ((double)SERIES * HORIZON);
        }
    }
    return found;
}

/* What it was before evidence of noise was listened to: 30, 27, 22, 13, 8, 7, 4. */
static void noise_does_not_grow(UNUSED void **state)
{
    static const struct {
        size_t count;
        double most;
    } table[] = {{3, 23.0}, {4, 19.0}, {6, 14.0}, {8, 10.5}, {10, 6.5}, {12, 5.5}, {16, 3.0}};
    for (size_t i = 0; i < ARRAY_COUNT(table); i++) {
        struct found found = judge(&(struct process){.noise = 1.0}, table[i].count);
        print_message("%zu values of noise: +%d is %.1f deviations wide, and holds %.3f\n",
                      table[i].count, HORIZON, found.width, found.inside);
        assert_true(found.width < table[i].most);
        assert_true(found.inside > 0.75);
    }
}

static void walks_and_trends_lie_within(UNUSED void **state)
{
    static const size_t counts[] = {3, 4, 6, 8, 12, 16};
    for (size_t i = 0; i < ARRAY_COUNT(counts); i++) {
        struct found walk = judge(&(struct process){.walk = 1.0}, counts[i]);
        struct found trend = judge(&(struct process){.noise = 1.0, .slope = 0.5}, counts[i]);
        print_message("%zu values: 80 %% bands hold %.3f of a walk, %.3f of a noisy trend\n",
                      counts[i], walk.inside, trend.inside);
        assert_true(walk.inside > 0.62 && trend.inside > 0.65);
    }
}

/* Surer with each value; and nothing is known where nothing can be told. */
static void evidence(UNUSED void **state)
{
    for (size_t count = 8; count <= MOST; count *= 2) {
        double of_noise = 0.0, of_walk = 0.0;
        for (uint64_t seed = 1; seed <= SERIES; seed++) {
            make(&(struct process){.noise = 1.0}, seed);
            of_noise += baseline_walk_share(values, count) / SERIES;
            make(&(struct process){.walk = 1.0}, seed);
            of_walk += baseline_walk_share(values, count) / SERIES;
        }
        print_message("%zu values: a walk by %.3f of noise, by %.3f of a walk\n", count, of_noise,
                      of_walk);
        assert_true(of_noise < 4.0 / (double)count && of_walk > 1.0 - 2.0 / (double)count);
    }
    for (size_t t = 0; t < MOST; t++) {
        values[t] = 1e9 + (double)t;
    }
    assert_true(baseline_walk_share(values, MOST) > 0.999); /* a line is no noise */
    assert_true(baseline_walk_share(values, 2) >= 1.0);
    for (size_t t = 1; t < MOST; t += 2) {
        values[t] = (double)NAN;
    }
    assert_true(baseline_walk_share(values, MOST) >= 1.0); /* no neighbours */
    for (size_t t = 0; t < MOST; t++) {
        values[t] = 7.0;
    }
    assert_true(baseline_walk_share(values, MOST) >= 1.0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(noise_does_not_grow),
        cmocka_unit_test(walks_and_trends_lie_within),
        cmocka_unit_test(evidence),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
