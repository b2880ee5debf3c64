/* Tests of seasons unlike the others: an anomaly of days ago is left out, a new level is not.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "base/random.h"
#include "model/features.h"
#include "tests/unit/model/model_test.h"

#define SEASON  24
#define DAYS    12
#define HORIZON 12
#define CONTEXT 48
#define ORIGIN  ((size_t)(DAYS * SEASON))
#define LAGS    3
#define WIDTH   (2 + 2 * LAGS + 2) /* features of a step: value, lags, one period */

static double values[DAYS * SEASON];
static struct feature_plan plan;
static real steps[(CONTEXT + HORIZON) * WIDTH];
static real context[CONTEXT];
static real lags[(LAGS + 1) * HORIZON];
static struct window_scale scale;

static int setup(UNUSED void **state)
{
    struct error error = {0};
    plan = (struct feature_plan){.step_ms = INT64_C(3600000), .horizon = HORIZON};
    feature_plan_choose(&plan, (uint32_t[SEASONS_MAX]){SEASON, 0, 0}, ORIGIN);
    assert_int_equal(plan.lag_count, LAGS);
    assert_int_equal(plan.mean_count, 1);
    assert_ok(feature_plan_init(&plan, &error));
    return 0;
}

static int teardown(UNUSED void **state)
{
    feature_plan_release(&plan);
    return 0;
}

static double wave(size_t t)
{
    return 100.0 + 20.0 * sin(2.0 * M_PI * (double)t / SEASON);
}

/* A wave of days with noise of one. */
static void make_days(uint64_t seed)
{
    struct random random;
    random_init(&random, seed, 0);
    for (size_t t = 0; t < ORIGIN; t++) {
        values[t] = wave(t) + random_normal(&random);
    }
}

/* Adds to the day that was `ago` days before the origin. */
static void add_to_day(size_t ago, double by)
{
    for (size_t t = 0; t < SEASON; t++) {
        values[ORIGIN - ago * SEASON + t] += by;
    }
}

static void fill(void)
{
    struct feature_shape shape = {.context = CONTEXT,
                                  .steps = HORIZON,
                                  .scale = SCALE_STANDARD,
                                  .floor = 0.1,
                                  .use_lags = true,
                                  .use_periods = true};
    struct window_source source = {.values = values,
                                   .known = ORIGIN,
                                   .origin = ORIGIN,
                                   .origin_step = (int64_t)ORIGIN,
                                   .statistics = series_statistics(values, ORIGIN)};
    assert_int_equal(feature_count(&plan, &shape), WIDTH);
    scale = window_scale(&shape, &source);
    window_fill(&plan, &shape, &source, &scale,
                &(struct window_inputs){.steps = steps, .context = context, .lags = lags});
}

/* Whether lag i (0: yesterday) says at every step of the horizon what was then, to the skip and to
 * the network; what it says must be the same to both. */
static bool says_what_was(size_t i)
{
    bool same = true;
    for (size_t h = 0; h < HORIZON; h++) {
        double skip = window_restored(&scale, (double)lags[i * HORIZON + h]);
        const real *step = steps + (CONTEXT + h) * WIDTH + 2 + 2 * i;
        assert_close(window_restored(&scale, (double)step[0]), skip, 1e-3);
        assert_true(step[1] == (real)1);
        same = same && fabs(skip - values[ORIGIN - (i + 1) * SEASON + h]) < 1e-3;
    }
    return same;
}

static void an_anomaly_of_days_ago_is_left_out(UNUSED void **state)
{
    for (size_t odd = 1; odd < LAGS; odd++) {
        make_days(1);
        add_to_day(odd + 1, -60.0);
        fill();
        for (size_t i = 0; i < LAGS; i++) {
            assert_int_equal(says_what_was(i), i != odd);
        }
        for (size_t h = 0; h < HORIZON; h++) { /* a mean of five days: noise of half */
            double said = window_restored(&scale, (double)lags[odd * HORIZON + h]);
            assert_close(said, wave(h), 2.0);
        }
    }
}

/* Yesterday may be the first day of what is to come. */
static void yesterday_stays(UNUSED void **state)
{
    make_days(2);
    add_to_day(1, -60.0);
    fill();
    for (size_t i = 0; i < LAGS; i++) {
        assert_true(says_what_was(i));
    }
}

static void a_new_level_stays(UNUSED void **state)
{
    for (size_t since = 2; since <= 4; since++) {
        make_days(3);
        for (size_t ago = 1; ago <= since; ago++) {
            add_to_day(ago, 60.0);
        }
        fill();
        for (size_t i = 0; i < LAGS; i++) {
            assert_true(says_what_was(i));
        }
    }
}

/* By chance alone a day is odd in four of a hundred windows, also where noise lasts for hours. */
static void chance_is_no_anomaly(UNUSED void **state)
{
    for (int lasting = 0; lasting < 2; lasting++) {
        size_t odd = 0;
        for (uint64_t seed = 1; seed <= 1000; seed++) {
            struct random random;
            random_init(&random, seed, 1);
            double noise = 0.0;
            for (size_t t = 0; t < ORIGIN; t++) {
                noise = (lasting ? 0.9 : 0.0) * noise + random_normal(&random);
                values[t] = wave(t) + noise;
            }
            fill();
            odd += says_what_was(1) && says_what_was(2) ? 0 : 1;
        }
        print_message("odd in %zu of 1,000 windows\n", odd);
        assert_in_range(odd, 0, lasting ? 40 : 2);
    }
}

/* Where all days but one say exactly the same, what bursts at times may do so again. */
static void what_stands_still_may_burst(UNUSED void **state)
{
    for (size_t t = 0; t < ORIGIN; t++) {
        values[t] = 0.0;
    }
    add_to_day(3, 7.0);
    fill();
    for (size_t h = 0; h < HORIZON; h++) {
        assert_close(window_restored(&scale, (double)lags[2 * HORIZON + h]), 7.0, 1e-3);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_anomaly_of_days_ago_is_left_out),
        cmocka_unit_test(yesterday_stays),
        cmocka_unit_test(a_new_level_stays),
        cmocka_unit_test(chance_is_no_anomaly),
        cmocka_unit_test(what_stands_still_may_burst),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
