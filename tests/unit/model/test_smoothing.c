/* Tests of smoothing: levels, damped trends, seasons, gaps, scales, coverage, and its time.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "base/check.h"
#include "base/random.h"
#include "model/training/baseline.h"
#include "tests/unit/model/model_test.h"
#include "tests/watched.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#define HOUR    INT64_C(3600000)
#define LENGTH  1000
#define HORIZON 48

static double values[LENGTH + HORIZON];
static double scratch[4 * LENGTH];
static float mean[HORIZON], quantiles[HORIZON * QUANTILE_COUNT];
static struct forecast out = {HORIZON, mean, quantiles};

/* A season, a trend, noise and a walk. */
struct mixture {
    size_t season;
    double trend, noise, walk;
    uint64_t seed;
};

static void make(const struct mixture *mixture)
{
    struct random random;
    random_init(&random, mixture->seed, 0);
    double level = 100.0;
    for (size_t t = 0; t < LENGTH + HORIZON; t++) {
        level += mixture->walk * random_normal(&random) + mixture->trend;
        double angle = mixture->season > 0 ? 2.0 * M_PI * (double)t / (double)mixture->season : 0.0;
        values[t] = level + 10.0 * sin(angle) + 4.0 * cos(3.0 * angle) +
                    mixture->noise * random_normal(&random);
    }
}

static struct model_series series_of(size_t count, uint32_t first, uint32_t second)
{
    struct model_series series = plain_series(values, count, HOUR);
    series.seasons[0] = first;
    series.seasons[1] = second;
    return series;
}

/* Mean absolute error over the horizon. */
static double error_of(enum baseline baseline, const struct model_series *series)
{
    double sum = 0.0;
    assert_true(baseline_forecast(baseline, series, scratch, &out));
    for (size_t h = 0; h < HORIZON; h++) {
        sum += fabs((double)out.mean[h] - values[series->count + h]);
    }
    return sum / HORIZON;
}

static void follows_season_and_trend(UNUSED void **state)
{
    double own = 0.0, naive = 0.0;
    for (uint64_t seed = 1; seed <= 10; seed++) {
        make(&(struct mixture){.season = 24, .noise = 1.0, .seed = seed});
        struct model_series series = series_of(LENGTH, 24, 168);
        own += 0.1 * error_of(BASELINE_DAMPED_TREND, &series);
        naive += 0.1 * error_of(BASELINE_SEASONAL_NAIVE, &series);
    }
    /* Noise of deviation 1 has a mean absolute error of 0.8; the naive repeats old noise too. */
    assert_true(own < 0.95);
    assert_true(own < 0.9 * naive);
    make(&(struct mixture){.season = 24, .noise = 0.2, .trend = 0.1, .seed = 11});
    struct model_series series = series_of(LENGTH, 24, 0);
    /* 24 steps of 0.1 more on average: the trend, damped by 0.98 at most, gives 0.63 of them. */
    assert_true(error_of(BASELINE_DAMPED_TREND, &series) < 0.75 * 0.1 * 24.5);
    assert_true(error_of(BASELINE_LAST_VALUE, &series) > 5.0);
}

static void is_the_last_value_on_a_walk(UNUSED void **state)
{
    double own = 0.0, last = 0.0;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        make(&(struct mixture){.walk = 1.0, .seed = seed});
        for (size_t t = 0; t < LENGTH + HORIZON; t++) {
            values[t] -= 4.0; /* the cosine of no angle */
        }
        struct model_series series = series_of(LENGTH, 24, 0);
        own += error_of(BASELINE_DAMPED_TREND, &series);
        last += error_of(BASELINE_LAST_VALUE, &series);
    }
    assert_true(own < 1.05 * last);
}

static void chooses_among_seasons(UNUSED void **state)
{
    for (size_t season = 5; season <= 97; season += 23) {
        make(&(struct mixture){.season = season, .noise = 0.5, .seed = season});
        struct model_series series = series_of(LENGTH, 24, (uint32_t)season);
        assert_true(error_of(BASELINE_DAMPED_TREND, &series) < 0.7);
    }
}

static void lives_with_gaps(UNUSED void **state)
{
    make(&(struct mixture){.season = 24, .noise = 0.5, .seed = 3});
    for (size_t t = 0; t < LENGTH; t++) {
        if (t % 7 == 2 || (t > 500 && t < 600) || t > LENGTH - 10) {
            values[t] = (double)NAN;
        }
    }
    struct model_series series = series_of(LENGTH, 24, 0);
    assert_true(error_of(BASELINE_DAMPED_TREND, &series) < 0.8);
    for (size_t i = 0; i < HORIZON * QUANTILE_COUNT; i++) {
        assert_true(isfinite(quantiles[i]));
    }
}

static void bands_hold_what_they_promise(UNUSED void **state)
{
    size_t inside = 0, points = 0;
    for (uint64_t seed = 1; seed <= 60; seed++) {
        make(&(struct mixture){.season = 24, .noise = 1.0, .walk = 0.1, .seed = 100 + seed});
        struct model_series series = series_of(LENGTH, 24, 0);
        (void)error_of(BASELINE_DAMPED_TREND, &series);
        for (size_t h = 0; h < HORIZON; h++) {
            inside += (double)quantiles[1 * HORIZON + h] <= values[LENGTH + h] &&
                      values[LENGTH + h] <= (double)quantiles[9 * HORIZON + h];
            points++;
        }
    }
    /* 60 series whose errors hang together over the horizon: about 6 % of scatter. */
    assert_close((double)inside / (double)points, 0.8, 0.08);
}

static void any_scale_and_any_shape(UNUSED void **state)
{
    double reference = 0.0;
    for (int power = -12; power <= 12; power += 6) {
        double unit = pow(10.0, power);
        make(&(struct mixture){.season = 24, .noise = 1.0, .seed = 5});
        for (size_t t = 0; t < LENGTH + HORIZON; t++) {
            values[t] *= unit;
        }
        struct model_series series = series_of(LENGTH, 24, 0);
        double error = error_of(BASELINE_DAMPED_TREND, &series) / unit;
        reference = power == -12 ? error : reference;
        assert_close(error, reference, 1e-3 * reference);
    }
    for (size_t count = 2; count < 60; count++) {
        make(&(struct mixture){.season = 24, .noise = 1.0, .seed = count});
        struct model_series series = series_of(count, 24, 7);
        bool made = baseline_forecast(BASELINE_DAMPED_TREND, &series, scratch, &out);
        assert_int_equal(made, count >= 8);
    }
    for (size_t t = 0; t < LENGTH; t++) {
        values[t] = 7.5;
    }
    struct model_series flat = series_of(LENGTH, 24, 0);
    assert_true(baseline_forecast(BASELINE_DAMPED_TREND, &flat, scratch, &out));
    assert_close((double)mean[HORIZON - 1], 7.5, 1e-6);
}

/* A slip of the decimal point an hour ago, or just now, and a constant with one other value:
 * neither moves the level, and the band has what comes. */
static void absurd_values_are_not_followed(UNUSED void **state)
{
    static const size_t places[] = {LENGTH - 60, LENGTH - 1};
    for (size_t i = 0; i < 2; i++) {
        make(&(struct mixture){.noise = 0.1, .seed = 7});
        for (size_t t = 0; t < LENGTH + HORIZON; t++) {
            values[t] = 5.0 + (values[t] - 104.0);
        }
        values[places[i]] = 5000.0;
        struct model_series series = series_of(LENGTH, 0, 0);
        assert_true(error_of(BASELINE_DAMPED_TREND, &series) < 0.15);
        assert_true((double)quantiles[0] < 5.0 && (double)quantiles[10 * HORIZON] > 5.0);
        for (size_t t = 0; t < LENGTH + HORIZON; t++) {
            values[t] = 42.0;
        }
        values[places[i]] = 43.0;
        assert_true(error_of(BASELINE_DAMPED_TREND, &series) < 1e-9);
    }
    for (size_t i = 1; i <= 4; i++) { /* what comes more often belongs to the series */
        values[LENGTH - 10 * i] = 43.0;
    }
    struct model_series series = series_of(LENGTH, 0, 0);
    assert_true(smoothing_forecast(&series, scratch, &out)); /* the values themselves: test_flat */
    assert_true(fabs((double)out.mean[0] - 42.0) > 1e-9);
}

/* 400 values of noise `before`, then `newest` of deviation 3 about 20: the share of what comes
 * after them within the 95 % band, and the widest band one step ahead. */
static double awake95(double before, size_t newest, double *widest)
{
    size_t inside = 0;
    *widest = 0.0;
    for (uint64_t seed = 1; seed <= 40; seed++) {
        struct random random;
        random_init(&random, seed, 0);
        for (size_t t = 0; t < 400 + newest + HORIZON; t++) {
            values[t] = 20.0 + (t < 400 ? before : 3.0) * random_normal(&random);
        }
        struct model_series series = series_of(400 + newest, 0, 0);
        assert_true(baseline_forecast(BASELINE_DAMPED_TREND, &series, scratch, &out));
        for (size_t h = 0; h < HORIZON; h++) {
            double value = values[series.count + h];
            inside += value >= (double)quantiles[h] && value <= (double)quantiles[10 * HORIZON + h];
        }
        *widest = fmax(*widest, (double)quantiles[10 * HORIZON] - (double)quantiles[0]);
    }
    return (double)inside / (40.0 * HORIZON);
}

/* A sensor that comes alive behind equal values, or whose noise grows three hundred times. By the
 * quantiles of all errors it was 0.0 to 0.1 up to 30 values on. */
static void bands_follow_errors_that_grow(UNUSED void **state)
{
    static const size_t newest[] = {4, 8, 16, 30, 60};
    for (size_t i = 0; i < ARRAY_COUNT(newest); i++) {
        double widest, still = awake95(0.0, newest[i], &widest);
        double quiet = awake95(0.01, newest[i], &widest);
        print_message("%zu values awake: 95 %% bands hold %.3f behind equal values, %.3f behind "
                      "quiet ones; the widest is %.1f\n",
                      newest[i], still, quiet, widest);
        double least = newest[i] < 8 ? 0.7 : 0.85;
        assert_true(still > least && quiet > least);
        assert_true(widest < 60.0); /* 11.8 by the noise alone, and five values say that badly */
    }
}

/* Chance is no unrest, nor is a lone spike, wherever it is, nor a burst that is over. */
static void bands_of_steady_series_stay(UNUSED void **state)
{
    size_t restless = 0;
    static double errors[LENGTH];
    for (uint64_t seed = 1; seed <= 500; seed++) {
        struct random random;
        random_init(&random, seed, 0);
        for (size_t t = 0; t < LENGTH; t++) {
            errors[t] = random_normal(&random);
        }
        restless += unrest_find(errors, LENGTH).share > 0.0;
    }
    print_message("%zu of 500 series of noise are restless\n", restless);
    assert_true(restless <= 5);
    for (size_t back = 1; back <= 40; back++) {
        double kept = errors[LENGTH - back];
        errors[LENGTH - back] = 1000.0;
        assert_close(unrest_find(errors, LENGTH).share, 0.0, 1e-9);
        errors[LENGTH - back] = kept;
    }
    for (size_t i = 0; i < 20; i++) { /* nor is a burst that is over */
        errors[LENGTH - 24 - i] = i % 2 ? 50.0 : -50.0;
    }
    assert_close(unrest_find(errors, LENGTH).share, 0.0, 1e-9);
    for (size_t i = 1; i < 128; i += 2) {
        errors[LENGTH - i] = (double)NAN; /* every other one: nothing can be told */
    }
    assert_close(unrest_find(errors, LENGTH).share, 0.0, 1e-9);
}

/* Share of what came within the 80 % band of `count` values, over the first eight steps. */
static double inside80(size_t count, double noise, double walk)
{
    size_t inside = 0;
    for (uint64_t seed = 1; seed <= 200; seed++) {
        make(&(struct mixture){.noise = noise, .walk = walk, .seed = seed});
        struct model_series series = series_of(count, 0, 0);
        (void)error_of(BASELINE_DAMPED_TREND, &series);
        for (size_t h = 0; h < 8; h++) {
            inside += values[count + h] >= forecast_quantile(&out, h, 0.1) &&
                      values[count + h] <= forecast_quantile(&out, h, 0.9);
        }
    }
    return (double)inside / (200.0 * 8.0);
}

/* Rates are fitted to the errors that the bands are made of: few of them flatter. Without the
 * widening for it 0.57 to 0.72 on walks. */
static void bands_of_few_values_know_how_few(UNUSED void **state)
{
    static const size_t counts[] = {8, 12, 16, 24};
    for (size_t i = 0; i < ARRAY_COUNT(counts); i++) {
        double of_noise = inside80(counts[i], 1.0, 0.0), of_walk = inside80(counts[i], 0.0, 1.0);
        print_message("%zu values: 80 %% bands hold %.3f of noise, %.3f of a walk\n", counts[i],
                      of_noise, of_walk);
        assert_true(of_noise > 0.77 && of_noise < 0.93);
        assert_true(of_walk > (counts[i] < 16 ? 0.66 : 0.70) && of_walk < 0.86);
    }
}

static double processor_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static void takes_a_few_milliseconds_at_most(UNUSED void **state)
{
    if (WATCHED) {
        skip();
    }
    make(&(struct mixture){.season = 24, .noise = 1.0, .walk = 0.1, .seed = 5});
    struct model_series series = series_of(LENGTH, 24, 168);
    double best = HUGE_VAL;
    for (int i = 0; i < 20; i++) {
        double began = processor_seconds();
        (void)error_of(BASELINE_DAMPED_TREND, &series);
        best = fmin(best, processor_seconds() - began);
    }
    print_message("1,000 values, seasons 24 and 168: %.3f ms\n", 1e3 * best);
    assert_true(best < 5e-3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(follows_season_and_trend),
        cmocka_unit_test(is_the_last_value_on_a_walk),
        cmocka_unit_test(chooses_among_seasons),
        cmocka_unit_test(lives_with_gaps),
        cmocka_unit_test(bands_hold_what_they_promise),
        cmocka_unit_test(any_scale_and_any_shape),
        cmocka_unit_test(absurd_values_are_not_followed),
        cmocka_unit_test(bands_follow_errors_that_grow),
        cmocka_unit_test(bands_of_steady_series_stay),
        cmocka_unit_test(bands_of_few_values_know_how_few),
        cmocka_unit_test(takes_a_few_milliseconds_at_most),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
