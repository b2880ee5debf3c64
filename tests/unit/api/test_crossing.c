/* First crossings: against simulated walks and autoregressions, exact cases, estimated persistence.
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

static struct crossing_order above(double threshold, double persistence)
{
    return (struct crossing_order){threshold, true,     (double)NAN, persistence,
                                   -INFINITY, INFINITY, 60000};
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

/* Levels that stay: the worst step counts. Levels drawn anew: each step is a chance of its own. */
static void exact_cases(void **state)
{
    (void)state;
    double deviations[HORIZON];
    struct crossing found;
    constant(1.0, deviations);
    struct forecast forecast = fan(0.0, 0.0, deviations);
    struct crossing_order order = above(1.2, 1.0);
    crossing_find(&forecast, &order, &found);
    assert_near(found.p_within, exceedance(1.2), 1e-5);
    order = above(1.2, 0.0);
    crossing_find(&forecast, &order, &found);
    assert_near(found.p_within, 1.0 - pow(1.0 - exceedance(1.2), HORIZON), 1e-5);

    /* a rise of one a step meets 10 at step 10, whose median ends there */
    constant(1e-3, deviations);
    forecast = fan(0.0, 1.0, deviations);
    order = above(10.0, 1.0);
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
    struct crossing_order order = above(0.5, 1.0);
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
    struct crossing_order order = above(2.0, 0.0);
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

/* The fans of these processes are known exactly, so is their first crossing by simulation. The
 * assumption is not theirs (their levels drift, they do not jump), hence the tolerance of 0.08. */
static void simulated_processes(void **state)
{
    (void)state;
    static const double phis[] = {0.0, 0.5, 0.8, 0.95, 1.0};
    for (size_t i = 0; i < sizeof(phis) / sizeof(phis[0]); i++) {
        double deviations[HORIZON], variance = 0.0, phi = phis[i];
        for (size_t h = 0; h < HORIZON; h++) {
            variance = phi * phi * variance + 1.0;
            deviations[h] = sqrt(variance);
        }
        struct forecast forecast = fan(0.0, 0.0, deviations);
        for (double score = 0.75; score < 3.1; score += 0.75) {
            struct crossing found;
            double p10_step;
            double threshold = score * deviations[HORIZON - 1];
            struct crossing_order order = above(threshold, phi);
            crossing_find(&forecast, &order, &found);
            double truth = simulate(phi, threshold, &p10_step);
            print_message("phi %.2f, threshold at %.2f deviations: %.3f, simulated %.3f, alone "
                          "%.3f; tenth after %.1f steps, simulated %.0f\n",
                          phi, score, found.p_within, truth, exceedance(score), found.p10_s / 60.0,
                          p10_step);
            assert_near(found.p_within, truth, 0.08);
        }
    }
}

/* More cohorts than there is room for: a threshold that comes no nearer for a long time. */
static void many_cohorts(void **state)
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
    struct crossing_order order = above(3.0, 0.0);
    crossing_find(&forecast, &order, &found);
    assert_near(found.p_within, 1.0 - expected, 1e-4);
    double independent = found.p_within;
    order.persistence = 0.9;
    crossing_find(&forecast, &order, &found);
    assert_true(found.p_within > exceedance(3.0) && found.p_within < independent);
}

/* ---------------------------------------------------------------- persistence */

#define VALUES 1000

static void persistence_of_known_processes(void **state)
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
    /* three standard errors of a correlation of a thousand values are 0.095 */
    assert_near(crossing_persistence(noise, VALUES, 0), 0.0, 0.095);
    assert_near(crossing_persistence(trend, VALUES, 0), 0.0, 0.095);
    assert_near(crossing_persistence(daily, VALUES, 24), 0.0, 0.095);
    assert_near(crossing_persistence(slow, VALUES, 0), 0.8, 0.095);
    assert_near(crossing_persistence(slow, VALUES, 24), 0.8, 0.095);
    assert_near(crossing_persistence(holes, VALUES, 0), 0.8, 0.12);
    assert_true(crossing_persistence(walk, VALUES, 0) > 0.95);
    assert_near(crossing_persistence(still, VALUES, 0), 1.0, 0.0);
    assert_near(crossing_persistence(slow, 10, 0), 0.0, 0.0);
    assert_near(crossing_persistence(slow, 30, 24), crossing_persistence(slow, 30, 0), 0.0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(exact_cases),
        cmocka_unit_test(beyond_the_horizon),
        cmocka_unit_test(already_crossed),
        cmocka_unit_test(below_mirrors_above),
        cmocka_unit_test(simulated_processes),
        cmocka_unit_test(many_cohorts),
        cmocka_unit_test(persistence_of_known_processes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
