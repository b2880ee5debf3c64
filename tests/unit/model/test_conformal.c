/* Adaptive bands on simulated services: coverage after burn-in, whatever the forecaster got wrong.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A service issues a forecast every second step, learns from what has arrived, and is judged by the
 * bands as they were issued. Tolerances are those of the issue: 80 +- 2 % and 95 +- 1.5 % over all
 * horizons. Fixed seeds.
 */
#include "model_test.h"

#include "base/random.h"
#include "model/forecast.h"
#include "model/order.h"

#include <math.h>
#include <string.h>

#define H       24
#define STRIDE  2
#define STEPS   12000
#define BURN_IN 1000
#define STEP_MS 60000
#define KEPT    (H / STRIDE)

/* What the truth does and what the forecaster believes. */
struct scenario {
    double (*noise)(struct random *random, size_t t); /* of the value at t */
    double believed;                                  /* standard deviation */
    double burst_share;                               /* of times at which the value goes astray */
};

struct issued {
    size_t origin; /* the last known time; 0 = none */
    struct conformal state;
    float mean[H], quantiles[QUANTILE_COUNT * H];
};

struct outcome {
    uint64_t count, inside80, inside95;
    uint64_t part_count[CONFORMAL_PARTS], part80[CONFORMAL_PARTS];
    double widest, narrowest; /* of the 80 % band after the burn-in */
};

static const struct model_series unbounded = {.minimum = -INFINITY, .maximum = INFINITY};

static struct forecast forecast_of(struct issued *issued)
{
    return (struct forecast){H, issued->mean, issued->quantiles};
}

static void issue(struct issued *issued, size_t origin, const struct scenario *scenario,
                  const struct conformal *state)
{
    issued->origin = origin;
    issued->state = *state;
    for (size_t h = 0; h < H; h++) {
        issued->mean[h] = 100.0f;
        for (size_t q = 0; q < QUANTILE_COUNT; q++) {
            issued->quantiles[q * H + h] =
                (float)(100.0 + scenario->believed * order_probit(quantile_levels[q]));
        }
    }
    struct forecast forecast = forecast_of(issued);
    conformal_apply(state, &unbounded, &forecast);
    for (size_t h = 0; h < H; h++) {
        for (size_t q = 1; q < QUANTILE_COUNT; q++) {
            assert_true(issued->quantiles[q * H + h] >= issued->quantiles[(q - 1) * H + h]);
        }
    }
}

static void judge(struct outcome *outcome, const struct issued *issued, size_t h, double actual)
{
    const float *column = issued->quantiles + h;
    bool inside80 = actual >= (double)column[1 * H] && actual <= (double)column[9 * H];
    double width = (double)column[9 * H] - (double)column[1 * H];
    size_t part = h * CONFORMAL_PARTS / H;
    outcome->count++;
    outcome->inside80 += inside80;
    outcome->inside95 += actual >= (double)column[0] && actual <= (double)column[10 * H];
    outcome->part_count[part]++;
    outcome->part80[part] += inside80;
    outcome->widest = fmax(outcome->widest, width);
    outcome->narrowest = fmin(outcome->narrowest, width);
}

static void simulate(const struct scenario *scenario, uint64_t seed, struct outcome *outcome,
                     struct conformal *state)
{
    static struct issued kept[KEPT];
    static double values[STEPS];
    struct random random;
    random_init(&random, seed, 0);
    memset(kept, 0, sizeof(kept));
    conformal_init(state, H);
    for (size_t t = 1; t < STEPS; t++) {
        values[t] = 100.0 + scenario->noise(&random, t);
        if (random_uniform(&random) < scenario->burst_share) {
            values[t] += 1000.0;
        }
        if (t % STRIDE != 0) {
            continue;
        }
        struct conformal_lesson lesson = {0};
        for (size_t k = 0; k < KEPT; k++) {
            struct forecast forecast = forecast_of(&kept[k]);
            for (size_t at = t + 1 - STRIDE; at <= t && kept[k].origin > 0; at++) {
                size_t h = at - kept[k].origin - 1;
                if (h < H) {
                    conformal_see(state, &forecast, &kept[k].state, h, values[at], &lesson);
                    if (t > BURN_IN) {
                        judge(outcome, &kept[k], h, values[at]);
                    }
                }
            }
        }
        conformal_learn(state, &lesson);
        issue(&kept[(t / STRIDE) % KEPT], t, scenario, state);
    }
}

static struct outcome several(const struct scenario *scenario)
{
    struct outcome outcome = {.narrowest = INFINITY};
    struct conformal state;
    for (uint64_t seed = 1; seed <= 4; seed++) {
        simulate(scenario, seed, &outcome, &state);
    }
    return outcome;
}

static void expect_coverage(const struct outcome *outcome)
{
    double cover80 = 100.0 * (double)outcome->inside80 / (double)outcome->count;
    double cover95 = 100.0 * (double)outcome->inside95 / (double)outcome->count;
    if (fabs(cover80 - 80.0) > 2.0 || fabs(cover95 - 95.0) > 1.5) {
        fail_msg("80 %% band covers %.2f %%, 95 %% band %.2f %%", cover80, cover95);
    }
    for (size_t part = 0; part < CONFORMAL_PARTS; part++) {
        double own = 100.0 * (double)outcome->part80[part] / (double)outcome->part_count[part];
        if (fabs(own - 80.0) > 3.0) {
            fail_msg("third %zu of the horizon: the 80 %% band covers %.2f %%", part + 1, own);
        }
    }
}

/* ---------------------------------------------------------------- truths */

static double steady(struct random *random, size_t t)
{
    (void)t;
    return random_normal(random);
}

static double by_the_hour(struct random *random, size_t t)
{
    return random_normal(random) * (1.5 + 1.2 * sin((double)t * 0.26));
}

static double growing(struct random *random, size_t t)
{
    return random_normal(random) * exp(1.6 * (double)t / STEPS);
}

static double heavy_tailed(struct random *random, size_t t)
{
    (void)t;
    double chi = 0.0;
    for (int i = 0; i < 3; i++) {
        double z = random_normal(random);
        chi += z * z;
    }
    return random_normal(random) / sqrt(chi / 3.0);
}

static double skewed(struct random *random, size_t t)
{
    (void)t;
    return exp(random_normal(random)) - 1.0;
}

static double persistent(struct random *random, size_t t)
{
    static double state;
    state = t == 1 ? 0.0 : 0.9 * state + random_normal(random);
    return state;
}

static void a_good_forecaster_is_left_alone(void **state)
{
    (void)state;
    struct scenario scenario = {.noise = steady, .believed = 1.0};
    struct outcome outcome = several(&scenario);
    expect_coverage(&outcome);
    assert_true(outcome.widest < 1.35 * 2.0 * 1.2816);
    assert_true(outcome.narrowest > 2.0 * 1.2816 / 1.35);
}

static void too_confident_bands_widen(void **state)
{
    (void)state;
    struct scenario scenario = {.noise = steady, .believed = 0.35};
    struct outcome outcome = several(&scenario);
    expect_coverage(&outcome);
}

static void too_wide_bands_narrow(void **state)
{
    (void)state;
    struct scenario scenario = {.noise = steady, .believed = 3.0};
    struct outcome outcome = several(&scenario);
    expect_coverage(&outcome);
}

static void changing_noise_is_covered(void **state)
{
    (void)state;
    struct scenario scenario = {.noise = by_the_hour, .believed = 1.0};
    struct outcome outcome = several(&scenario);
    expect_coverage(&outcome);
}

static void drifting_noise_is_followed(void **state)
{
    (void)state;
    struct scenario scenario = {.noise = growing, .believed = 1.0};
    struct outcome outcome = several(&scenario);
    expect_coverage(&outcome);
}

static void tails_and_skew_are_covered(void **state)
{
    (void)state;
    struct scenario scenario = {.noise = heavy_tailed, .believed = 0.7};
    struct outcome outcome = several(&scenario);
    expect_coverage(&outcome);
    scenario.noise = skewed;
    outcome = several(&scenario);
    expect_coverage(&outcome);
}

static void errors_that_persist_are_covered(void **state)
{
    (void)state;
    struct scenario scenario = {.noise = persistent, .believed = 1.2};
    struct outcome outcome = several(&scenario);
    expect_coverage(&outcome);
}

/* Without the correction the same services fail: the checks above can. */
static void uncorrected_bands_fail(void **state)
{
    (void)state;
    struct random random;
    random_init(&random, 1, 0);
    size_t inside = 0;
    for (size_t t = 1; t < STEPS; t++) {
        inside += fabs(steady(&random, t)) <= 0.35 * 1.2816;
    }
    assert_true((double)inside / STEPS < 0.45);
}

/* ---------------------------------------------------------------- shocks */

static void a_burst_moves_the_band_a_little_whatever_its_size(void **state)
{
    (void)state;
    struct conformal calm, small, large;
    struct scenario scenario = {.noise = steady, .believed = 1.0};
    struct outcome ignored = {.narrowest = INFINITY};
    simulate(&scenario, 9, &ignored, &calm);
    struct issued issued;
    issue(&issued, 1, &scenario, &calm);
    struct forecast forecast = forecast_of(&issued);
    small = large = calm;
    for (int lesson = 0; lesson < 3; lesson++) {
        struct conformal_lesson a = {0}, b = {0};
        for (size_t h = 0; h < H; h++) {
            conformal_see(&small, &forecast, &calm, h, 110.0, &a);
            conformal_see(&large, &forecast, &calm, h, 1e9, &b);
        }
        conformal_learn(&small, &a);
        conformal_learn(&large, &b);
    }
    assert_memory_equal(small.shift, large.shift, sizeof(small.shift));
    for (size_t part = 0; part < CONFORMAL_PARTS; part++) {
        assert_true(large.shift[3][part] > calm.shift[3][part]);
        assert_true(large.shift[3][part] < calm.shift[3][part] + 0.1f);
        assert_true(large.shift[4][part] < calm.shift[4][part] + 0.25f);
    }
}

static void bands_stay_within_a_quarter_and_eight_fold(void **state)
{
    (void)state;
    struct conformal state_up, state_down;
    conformal_init(&state_up, H);
    conformal_init(&state_down, H);
    for (int i = 0; i < 5000; i++) {
        struct conformal_lesson up = {.seen = {8, 8, 8}}, down = {.seen = {8, 8, 8}};
        for (size_t pair = 0; pair < CONFORMAL_PAIRS; pair++) {
            for (size_t part = 0; part < CONFORMAL_PARTS; part++) {
                up.missed[pair][part] = 8.0;
            }
        }
        conformal_learn(&state_up, &up);
        conformal_learn(&state_down, &down);
    }
    for (size_t pair = 0; pair < CONFORMAL_PAIRS; pair++) {
        assert_true(expf(state_up.shift[pair][0]) < 8.1f && expf(state_up.shift[pair][0]) > 7.9f);
        assert_true(expf(state_down.shift[pair][0]) > 0.24f);
    }
}

static void a_level_shift_is_told_once_and_quickens_learning(void **state)
{
    (void)state;
    struct conformal calm;
    struct scenario scenario = {.noise = steady, .believed = 1.0};
    struct outcome ignored = {.narrowest = INFINITY};
    simulate(&scenario, 3, &ignored, &calm);
    assert_true(calm.lessons[0] > 1000);
    struct issued issued;
    issue(&issued, 1, &scenario, &calm);
    struct forecast forecast = forecast_of(&issued);
    int told = 0, when = 0;
    for (int i = 1; i <= 2 * H - 1; i++) {
        int side = conformal_side(&forecast, (size_t)i % H, 120.0);
        if (conformal_watch(&calm, side, (int64_t)i * STEP_MS, STEP_MS)) {
            told++;
            when = when == 0 ? i : when;
        }
    }
    assert_int_equal(told, 1);
    assert_in_range(when, 1, 16);
    assert_int_equal(calm.lessons[0], 0);
    assert_int_equal(calm.ignore_before_ms, when * STEP_MS);
}

static void scattered_misses_are_no_level_shift(void **state)
{
    (void)state;
    struct conformal calm;
    struct scenario scenario = {.noise = steady, .believed = 1.0};
    conformal_init(&calm, H);
    struct issued issued;
    issue(&issued, 1, &scenario, &calm);
    struct forecast forecast = forecast_of(&issued);
    for (int i = 0; i < 200; i++) {
        double actual = i % 8 == 0 ? 100.0 : (i % 16 < 8 ? 120.0 : 80.0);
        int side = conformal_side(&forecast, 0, actual);
        assert_false(conformal_watch(&calm, side, i * STEP_MS, STEP_MS));
    }
}

static void a_new_model_keeps_half_of_what_was_learned(void **state)
{
    (void)state;
    struct conformal old, other;
    struct scenario scenario = {.noise = steady, .believed = 0.35};
    struct outcome ignored = {.narrowest = INFINITY};
    simulate(&scenario, 4, &ignored, &old);
    other = old;
    conformal_carry(&other, H);
    assert_true(old.shift[3][0] > 0.7f);
    assert_true(fabsf(other.shift[3][0] - 0.5f * old.shift[3][0]) < 1e-6f);
    assert_int_equal(other.lessons[0], 0);
    assert_int_equal(other.count, old.count);
    conformal_carry(&old, H + 1); /* other thirds: nothing can be kept */
    assert_true(old.shift[3][0] == 0.0f);
}

static void bounds_hold_after_widening(void **state)
{
    (void)state;
    struct conformal wide;
    struct scenario scenario = {.noise = steady, .believed = 40.0};
    struct issued issued;
    conformal_init(&wide, H);
    issue(&issued, 1, &scenario, &wide);
    for (size_t pair = 0; pair < CONFORMAL_PAIRS; pair++) {
        for (size_t part = 0; part < CONFORMAL_PARTS; part++) {
            wide.shift[pair][part] = pair % 2 == 0 ? 2.0f : -1.0f; /* would cross */
        }
    }
    struct forecast forecast = forecast_of(&issued);
    struct model_series bounded = {.minimum = 0.0, .maximum = 150.0};
    conformal_apply(&wide, &bounded, &forecast);
    for (size_t h = 0; h < H; h++) {
        for (size_t q = 0; q < QUANTILE_COUNT; q++) {
            double value = (double)issued.quantiles[q * H + h];
            assert_true(value >= 0.0 && value <= 150.0);
            assert_true(q == 0 || value >= (double)issued.quantiles[(q - 1) * H + h]);
        }
    }
}

/* Thirds that were corrected very differently: from step to step the band widens by little. */
static void a_band_has_no_stairs(void **state)
{
    (void)state;
    struct conformal uneven;
    struct scenario scenario = {.noise = steady, .believed = 1.0};
    struct issued issued;
    conformal_init(&uneven, H);
    for (size_t pair = 0; pair < CONFORMAL_PAIRS; pair++) {
        for (size_t part = 0; part < CONFORMAL_PARTS; part++) {
            uneven.shift[pair][part] = part == 1 ? -1.0f : 1.0f;
        }
    }
    issue(&issued, 1, &scenario, &uneven);
    double narrowest = INFINITY, widest = 0.0, previous = NAN;
    for (size_t h = 0; h < H; h++) {
        double width = (double)issued.quantiles[(QUANTILE_COUNT - 2) * H + h] - 100.0;
        assert_false(fabs(width - previous) > 0.25 * (exp(1.0) - exp(-1.0)) * 1.5);
        narrowest = fmin(narrowest, width);
        widest = fmax(widest, width);
        previous = width;
    }
    assert_true(widest / narrowest > 4.0); /* and the thirds are still told apart */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_good_forecaster_is_left_alone),
        cmocka_unit_test(too_confident_bands_widen),
        cmocka_unit_test(too_wide_bands_narrow),
        cmocka_unit_test(changing_noise_is_covered),
        cmocka_unit_test(drifting_noise_is_followed),
        cmocka_unit_test(tails_and_skew_are_covered),
        cmocka_unit_test(errors_that_persist_are_covered),
        cmocka_unit_test(uncorrected_bands_fail),
        cmocka_unit_test(a_burst_moves_the_band_a_little_whatever_its_size),
        cmocka_unit_test(bands_stay_within_a_quarter_and_eight_fold),
        cmocka_unit_test(a_level_shift_is_told_once_and_quickens_learning),
        cmocka_unit_test(scattered_misses_are_no_level_shift),
        cmocka_unit_test(a_new_model_keeps_half_of_what_was_learned),
        cmocka_unit_test(bounds_hold_after_widening),
        cmocka_unit_test(a_band_has_no_stairs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
