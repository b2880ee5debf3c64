/* First crossings: against simulated walks and autoregressions, exact cases, estimated roughness.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "fixture.h"

#include "api/crossing.h"
#include "base/random.h"

#include <math.h>

#define HORIZON 48
#define PATHS   20000

/* The normal scores of quantile_levels. */
static const double scores[QUANTILE_COUNT] = {-1.959964, -1.281552, -0.841621, -0.524401,
                                              -0.253347, 0.0,       0.253347,  0.524401,
                                              0.841621,  1.281552,  1.959964};

static float mean[HORIZON], quantiles[QUANTILE_COUNT * HORIZON];

/* Normal with the given means and deviations. */
static struct forecast fan(double start, double slope, const double *deviations)
{
    for (size_t h = 0; h < HORIZON; h++) {
        mean[h] = (float)(start + slope * (double)(h + 1));
        for (size_t q = 0; q < QUANTILE_COUNT; q++) {
            quantiles[q * HORIZON + h] = mean[h] + (float)(deviations[h] * scores[q]);
        }
    }
    return (struct forecast){HORIZON, mean, quantiles};
}

static void constant(double deviation, double deviations[HORIZON])
{
    for (size_t h = 0; h < HORIZON; h++) {
        deviations[h] = deviation;
    }
}

/* With a roughness that is known for sure. */
static struct crossing_order above(double threshold, double roughness)
{
    return (struct crossing_order){.threshold = threshold,
                                   .above = true,
                                   .newest = (double)NAN,
                                   .minimum = -INFINITY,
                                   .maximum = INFINITY,
                                   .step_ms = 60000,
                                   .roughness = {roughness, SIZE_MAX}};
}

static double exceedance(double score)
{
    return 0.5 * erfc(score / sqrt(2.0));
}

static void assert_near(double got, double wanted, double tolerance)
{
    if (!(fabs(got - wanted) <= tolerance)) {
        fail_msg("%.6f is not within %.6f of %.6f", got, tolerance, wanted);
    }
}

/* Scores that stay: the worst step counts. Scores drawn anew: each step is a chance of its own. */
static void exact_cases(void **state)
{
    (void)state;
    double deviations[HORIZON];
    struct crossing found;
    constant(1.0, deviations);
    struct forecast forecast = fan(0.0, 0.0, deviations);
    struct crossing_order order = above(1.2, 0.0);
    crossing_find(&forecast, &order, &found);
    assert_near(found.p_within, exceedance(1.2), 1e-5);
    order = above(1.2, sqrt(2.0));
    crossing_find(&forecast, &order, &found);
    assert_near(found.p_within, 1.0 - pow(1.0 - exceedance(1.2), HORIZON), 1e-5);

    /* a rise of one a step meets 10 at step 10, whose median ends there */
    constant(1e-3, deviations);
    forecast = fan(0.0, 1.0, deviations);
    order = above(10.0, 0.0);
    crossing_find(&forecast, &order, &found);
    assert_false(found.crossed);
    assert_near(found.p_within, 1.0, 1e-9);
    assert_near(found.p50_s, 600.0, 1.0);
    assert_near(found.p10_s, 552.0, 1.0);
    assert_near(found.p90_s, 648.0, 1.0);
}

static void beyond_the_horizon(void **state)
{
    (void)state;
    double deviations[HORIZON];
    struct crossing found;
    constant(1.0, deviations);
    struct forecast forecast = fan(0.0, 0.0, deviations);
    struct crossing_order order = above(0.5, 0.0);
    crossing_find(&forecast, &order, &found); /* 31 % */
    assert_true(found.p10_s > 0.0 && found.p10_s < 60.0);
    assert_true(isnan(found.p50_s) && isnan(found.p90_s));
    order.threshold = 1e6;
    crossing_find(&forecast, &order, &found);
    assert_near(found.p_within, 0.0, 1e-12);
    assert_true(isnan(found.p10_s));
    order.threshold = 0.5;
    order.maximum = 0.5;
    crossing_find(&forecast, &order, &found);
    assert_near(found.p_within, 0.0, 0.0);
}

static void already_crossed(void **state)
{
    (void)state;
    double deviations[HORIZON];
    struct crossing found;
    constant(1.0, deviations);
    struct forecast forecast = fan(0.0, 0.0, deviations);
    struct crossing_order order = above(2.0, INFINITY);
    order.newest = 2.5;
    crossing_find(&forecast, &order, &found);
    assert_true(found.crossed);
    assert_near(found.p_within, 1.0, 0.0);
    assert_near(found.p90_s, 0.0, 0.0);
    order.newest = 2.0; /* on the line is not over it */
    crossing_find(&forecast, &order, &found);
    assert_false(found.crossed);
    order.above = false;
    order.newest = 1.9;
    crossing_find(&forecast, &order, &found);
    assert_true(found.crossed);
}

static void below_mirrors_above(void **state)
{
    (void)state;
    double deviations[HORIZON];
    struct crossing up, down;
    for (size_t h = 0; h < HORIZON; h++) {
        deviations[h] = 1.0 + 0.5 * sin((double)h);
    }
    struct crossing_order order = above(2.0, 0.7);
    struct forecast forecast = fan(0.0, 0.02, deviations);
    crossing_find(&forecast, &order, &up);
    order.above = false;
    order.threshold = -2.0;
    forecast = fan(0.0, -0.02, deviations);
    crossing_find(&forecast, &order, &down);
    assert_near(down.p_within, up.p_within, 1e-6);
    assert_near(down.p10_s, up.p10_s, 1e-3);
}

/* The share of simulated autoregressions of order one (phi 1: a walk) that cross, and when. */
static double simulate(double phi, double threshold, double *p10_step)
{
    struct random random;
    random_init(&random, 7, 0);
    size_t crossed = 0, by_step[HORIZON] = {0};
    for (size_t path = 0; path < PATHS; path++) {
        double value = 0.0;
        for (size_t h = 0; h < HORIZON; h++) {
            value = phi * value + random_normal(&random);
            if (value > threshold) {
                crossed++;
                by_step[h]++;
                break;
            }
        }
    }
    size_t sum = 0;
    *p10_step = (double)NAN;
    for (size_t h = 0; h < HORIZON && isnan(*p10_step); h++) {
        sum += by_step[h];
        *p10_step = sum * 10 >= PATHS ? (double)(h + 1) : *p10_step;
    }
    return (double)crossed / PATHS;
}

/* The share of chains of standard normal scores that cross. */
static double simulate_chain(double correlation, double threshold)
{
    struct random random;
    random_init(&random, 8, 0);
    double turn = sqrt(1.0 - correlation * correlation);
    size_t crossed = 0;
    for (size_t path = 0; path < PATHS; path++) {
        double score = random_normal(&random);
        for (size_t h = 1; h < HORIZON && score <= threshold; h++) {
            score = correlation * score + turn * random_normal(&random);
        }
        crossed += score > threshold;
    }
    return (double)crossed / PATHS;
}

/* The fans of these processes are known exactly, so is their first crossing by simulation, with a
 * standard error of 0.0035. The copula is theirs but for the roughness, which at the first steps of
 * an autoregression is not yet that of a long path: the sum of both is below 0.02. */
static void simulated_processes(void **state)
{
    (void)state;
    static const double phis[] = {0.0, 0.5, 0.8, 0.95, 1.0};
    for (size_t i = 0; i < sizeof(phis) / sizeof(phis[0]); i++) {
        double deviations[HORIZON], variance = 0.0, phi = phis[i];
        /* what a long path of it shows; of a walk the shocks are the changes */
        double rough = phi < 1.0 ? sqrt(2.0 * (1.0 - phi) / (1.0 - phi * phi)) : 1.0;
        for (size_t h = 0; h < HORIZON; h++) {
            variance = phi * phi * variance + 1.0;
            deviations[h] = sqrt(variance);
        }
        struct forecast forecast = fan(0.0, 0.0, deviations);
        for (double score = 0.75; score < 3.1; score += 0.75) {
            struct crossing found;
            double p10_step;
            double threshold = score * deviations[HORIZON - 1];
            struct crossing_order order = above(threshold, rough);
            crossing_find(&forecast, &order, &found);
            double truth = simulate(phi, threshold, &p10_step);
            print_message("phi %.2f, threshold at %.2f deviations: %.3f, simulated %.3f, alone "
                          "%.3f; tenth after %.1f steps, simulated %.0f\n",
                          phi, score, found.p_within, truth, exceedance(score), found.p10_s / 60.0,
                          p10_step);
            assert_near(found.p_within, truth, 0.02);
        }
    }
}

/* A long horizon whose threshold comes no nearer. */
static void long_horizon(void **state)
{
    (void)state;
    enum { LONG = 1024 };
    static float many[QUANTILE_COUNT * LONG];
    double expected = 1.0;
    for (size_t h = 0; h < LONG; h++) {
        double centre = -0.002 * (double)h;
        for (size_t q = 0; q < QUANTILE_COUNT; q++) {
            many[q * LONG + h] = (float)(centre + scores[q]);
        }
        expected *= 1.0 - exceedance(3.0 - centre);
    }
    struct forecast forecast = {LONG, many, many};
    struct crossing found;
    struct crossing_order order = above(3.0, INFINITY);
    crossing_find(&forecast, &order, &found);
    assert_near(found.p_within, 1.0 - expected, 1e-4);
    double independent = found.p_within;
    order.roughness.deviation = 0.4;
    crossing_find(&forecast, &order, &found);
    assert_true(found.p_within > exceedance(3.0) && found.p_within < independent);
}

/* ---------------------------------------------------------------- roughness */

#define VALUES 1000

static void roughness_of_known_processes(void **state)
{
    (void)state;
    static double noise[VALUES], slow[VALUES], walk[VALUES], trend[VALUES], daily[VALUES],
        still[VALUES], holes[VALUES];
    struct random random;
    random_init(&random, 3, 0);
    for (size_t i = 0; i < VALUES; i++) {
        noise[i] = random_normal(&random);
        slow[i] = i ? 0.8 * slow[i - 1] + noise[i] : noise[i];
        walk[i] = i ? walk[i - 1] + noise[i] : noise[i];
        trend[i] = 1e6 + 5.0 * (double)i + noise[i];
        daily[i] = 50.0 + 20.0 * sin((double)i * 0.2617993877991494) + noise[i];
        still[i] = 4.0;
        holes[i] = i % 3 == 2 ? (double)NAN : slow[i];
    }
    double slow_rough = sqrt(2.0 * 0.2 / 0.36);
    const struct {
        const double *values;
        size_t count;
        uint32_t season;
        double wanted, tolerance;
        size_t changes;
    } table[] = {
        /* three standard errors of the deviation of a thousand values, relatively 0.067; with holes
         * a third of the changes is there */
        {noise, VALUES, 0, sqrt(2.0), 0.1, VALUES - 1},
        {trend, VALUES, 0, sqrt(2.0), 0.1, VALUES - 1},
        {daily, VALUES, 24, sqrt(2.0), 0.1, VALUES - 25},
        {slow, VALUES, 0, slow_rough, 0.08, VALUES - 1},
        {slow, VALUES, 24, slow_rough, 0.08, VALUES - 25},
        {holes, VALUES, 0, slow_rough, 0.13, VALUES / 3},
        {walk, VALUES, 0, 1.0, 0.067, VALUES - 1},
        {still, VALUES, 0, 0.0, 0.0, VALUES - 1},
        {slow, 1, 0, 0.0, 0.0, 0},
    };
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        struct crossing_roughness found =
            crossing_roughness(table[i].values, table[i].count, table[i].season);
        assert_near(found.deviation, table[i].wanted, table[i].tolerance);
        assert_int_equal(found.changes, table[i].changes);
    }
    assert_near(crossing_roughness(slow, 30, 24).deviation,
                crossing_roughness(slow, 30, 0).deviation, 0.0);
}

/* With few changes the dependence is between what they say and the default's; nothing is sudden. */
static void few_changes(void **state)
{
    (void)state;
    double deviations[HORIZON];
    constant(1.0, deviations);
    struct forecast forecast = fan(0.0, 0.0, deviations);
    struct crossing_order order = above(2.0, sqrt(2.0));
    struct crossing found;
    crossing_find(&forecast, &order, &found);
    double last = found.p_within; /* independent */
    static const size_t counts[] = {1000, 100, 24, 8, 2, 1, 0};
    for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
        order.roughness.changes = counts[i];
        crossing_find(&forecast, &order, &found);
        assert_true(found.p_within < last && found.p_within > last - 0.1);
        last = found.p_within;
    }
    /* no change: a chain with the default correlation; three standard errors of the simulation */
    assert_near(found.p_within, simulate_chain(CROSSING_DEFAULT, 2.0), 0.011);
}

/* A fan of a return takes the place of the forecast's. */
static void fan_of_a_return(void **state)
{
    (void)state;
    double deviations[HORIZON];
    static float centre[HORIZON], deviation[HORIZON];
    constant(3.0, deviations);
    struct forecast forecast = fan(5.0, 0.0, deviations);
    struct reversion reversion = {HORIZON, centre, deviation, {0}};
    for (size_t q = 0; q < QUANTILE_COUNT; q++) {
        reversion.shape[q] = (float)scores[q];
    }
    for (size_t h = 0; h < HORIZON; h++) {
        centre[h] = 1.0f;
        deviation[h] = 0.5f;
    }
    struct crossing_order order = above(2.5, 0.5 * sqrt(2.0));
    struct crossing found;
    order.reversion = &reversion;
    crossing_find(&forecast, &order, &found);
    assert_near(found.p_within, 1.0 - pow(1.0 - exceedance(3.0), HORIZON), 1e-5);
}

/* Noise that is as rough as it is large, behind equal values: their changes of nothing say nothing
 * of it, or it would be held for a walk that cannot come back from where it is. */
static void roughness_of_what_came_alive(void **state)
{
    (void)state;
    static double awake[600];
    for (size_t newest = 10; newest <= 80; newest *= 2) {
        double logarithm = 0.0;
        for (uint64_t seed = 1; seed <= 20; seed++) {
            struct random random;
            random_init(&random, seed, 0);
            for (size_t i = 0; i < 600; i++) {
                awake[i] = 20.0 + (i < 600 - newest ? 0.0 : 3.0 * random_normal(&random));
            }
            logarithm += log(crossing_roughness(awake, 600, 0).deviation) / 20.0;
        }
        print_message("%zu values awake: a roughness of %.2f\n", newest, exp(logarithm));
        /* that of the noise is 4.24; by all changes it was 0.5 to 2.2 */
        assert_true(exp(logarithm) > 3.4 && exp(logarithm) < 6.4);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(exact_cases),
        cmocka_unit_test(beyond_the_horizon),
        cmocka_unit_test(already_crossed),
        cmocka_unit_test(below_mirrors_above),
        cmocka_unit_test(simulated_processes),
        cmocka_unit_test(long_horizon),
        cmocka_unit_test(roughness_of_known_processes),
        cmocka_unit_test(roughness_of_what_came_alive),
        cmocka_unit_test(few_changes),
        cmocka_unit_test(fan_of_a_return),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
