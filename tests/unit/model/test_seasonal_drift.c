/* Tests of the seasonal drift: weeks, levels that moved, averaging, gaps, scales, coverage, time.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "base/random.h"
#include "tests/unit/model/model_test.h"
#include "tests/watched.h"

#include <string.h>
#include <time.h>

#define HOUR    INT64_C(3600000)
#define LENGTH  1000
#define HORIZON 48

static double values[LENGTH + HORIZON];
static double scratch[4 * LENGTH];
static float mean[HORIZON], quantiles[HORIZON * QUANTILE_COUNT];
static struct forecast out = {HORIZON, mean, quantiles};

/* A day, quiet weekends, noise, and a level that swings with its own memory. */
struct load {
    double weekend, noise, swing, memory;
    uint64_t seed;
};

static void make(const struct load *load)
{
    struct random random;
    random_init(&random, load->seed, 0);
    double swing = 0.0;
    for (size_t t = 0; t < LENGTH + HORIZON; t++) {
        double day = 10.0 * sin(2.0 * M_PI * (double)t / 24.0);
        double weekend = t / 24 % 7 >= 5 ? load->weekend : 0.0;
        swing = load->memory * swing + load->swing * random_normal(&random);
        values[t] = 100.0 + day - weekend + swing + load->noise * random_normal(&random);
    }
}

static struct model_series series_of(size_t count)
{
    struct model_series series = plain_series(values, count, HOUR);
    series.seasons[0] = 24;
    return series;
}

static double error_of(enum baseline baseline, const struct model_series *series)
{
    double sum = 0.0;
    assert_true(baseline_forecast(baseline, series, scratch, &out));
    for (size_t h = 0; h < HORIZON; h++) {
        sum += fabs((double)out.mean[h] - values[series->count + h]);
    }
    return sum / HORIZON;
}

/* Mean error over ten draws of the seasonal drift as a share of another baseline's. */
static double share_of(enum baseline other, struct load load)
{
    double own = 0.0, theirs = 0.0;
    for (load.seed = 1; load.seed <= 10; load.seed++) {
        make(&load);
        struct model_series series = series_of(LENGTH);
        own += error_of(BASELINE_SEASONAL_DRIFT, &series);
        theirs += error_of(other, &series);
    }
    return own / theirs;
}

static void knows_the_week_that_nobody_named(UNUSED void **state)
{
    /* LENGTH is 41 days and 16 hours: the horizon crosses the end of a weekend. */
    struct load load = {.weekend = 30.0, .noise = 1.0};
    assert_true(share_of(BASELINE_SEASONAL_NAIVE, load) < 0.3);
    assert_true(share_of(BASELINE_DAMPED_TREND, load) < 0.3);
}

static void averages_old_noise_away(UNUSED void **state)
{
    /* The naive's error is that of two noises, a mean of seven's nearly that of one: 0.71 to 0.76.
     */
    double share = share_of(BASELINE_SEASONAL_NAIVE, (struct load){.noise = 2.0});
    assert_true(share > 0.65 && share < 0.82);
}

static void follows_a_level_that_moved(UNUSED void **state)
{
    struct load load = {.noise = 0.2, .swing = 1.0, .memory = 0.98};
    assert_true(share_of(BASELINE_SEASONAL_NAIVE, load) < 0.9);
    /* And at once: the newest hours say by how much. */
    make(&(struct load){.noise = 0.1, .swing = 1.0, .memory = 0.995, .seed = 3});
    for (size_t t = LENGTH - 3; t < LENGTH + HORIZON; t++) {
        values[t] += 20.0;
    }
    struct model_series series = series_of(LENGTH);
    (void)error_of(BASELINE_SEASONAL_DRIFT, &series);
    double moved = fabs((double)mean[0] - values[LENGTH]);
    assert_true(moved < 6.0);
    (void)error_of(BASELINE_SEASONAL_NAIVE, &series);
    assert_true(fabs((double)mean[0] - values[LENGTH]) > 12.0);
}

/* Error over ten draws whose day before yesterday was nothing like the others, to that without. */
static double with_an_odd_day(double low, double high)
{
    struct load load = {.noise = 1.0};
    double clean = 0.0, odd = 0.0;
    for (load.seed = 1; load.seed <= 10; load.seed++) {
        make(&load);
        struct model_series series = series_of(LENGTH);
        clean += error_of(BASELINE_SEASONAL_DRIFT, &series);
        for (size_t t = LENGTH - 84; t < LENGTH - 60; t++) {
            values[t] = t % 2 == 0 ? low : high;
        }
        odd += error_of(BASELINE_SEASONAL_DRIFT, &series);
    }
    print_message("a day between %g and %g: %.3f\n", low, high, odd / clean);
    return odd / clean;
}

/* Means of seven that it is part of would be off by a seventh of it. */
static void an_anomaly_is_not_repeated(UNUSED void **state)
{
    assert_true(with_an_odd_day(160.0, 160.0) < 1.2);
    assert_true(with_an_odd_day(40.0, 160.0) < 1.2);
}

/* Wherever it lies in what the forecast is made from, an absurd value does no more than a missing
 * one, to the last bit. */
static void an_absurd_value_is_a_missing_one(UNUSED void **state)
{
    static const double absurd[] = {1e15, -1e15, 1e300, -1e5};
    float kept[HORIZON];
    double worst = 0.0;
    for (size_t back = 1; back <= 14 * 24; back += 5) {
        make(&(struct load){.weekend = 10.0, .noise = 1.0, .seed = back});
        struct model_series series = series_of(LENGTH);
        double clean = error_of(BASELINE_SEASONAL_DRIFT, &series);
        values[LENGTH - back] = (double)NAN;
        (void)error_of(BASELINE_SEASONAL_DRIFT, &series);
        memcpy(kept, mean, sizeof kept);
        values[LENGTH - back] = absurd[back % 4];
        worst = fmax(worst, error_of(BASELINE_SEASONAL_DRIFT, &series) / clean);
        assert_memory_equal(kept, mean, sizeof kept);
    }
    print_message("one absurd value: %.3f of the error without\n", worst);
    assert_true(worst < 1.5);
}

/* What comes again and again, or a level that stays, is no slip. */
static void values_that_come_often_are_believed(UNUSED void **state)
{
    make(&(struct load){.noise = 1.0, .seed = 4});
    for (size_t t = LENGTH - 4; t < LENGTH; t++) {
        values[t] = 1e6;
    }
    struct model_series series = series_of(LENGTH);
    (void)error_of(BASELINE_SEASONAL_DRIFT, &series);
    assert_true((double)mean[0] > 1e5);
    /* A burst every night. */
    make(&(struct load){.noise = 1.0, .seed = 5});
    for (size_t t = 3; t < LENGTH + HORIZON; t += 24) {
        values[t] = 1e6;
    }
    assert_true(error_of(BASELINE_SEASONAL_DRIFT, &series) < 10.0);
}

static void lives_with_gaps(UNUSED void **state)
{
    make(&(struct load){.weekend = 30.0, .noise = 0.5, .seed = 3});
    for (size_t t = 0; t < LENGTH; t++) {
        if (t % 11 == 2 || (t > 500 && t < 600) || t > LENGTH - 10) {
            values[t] = (double)NAN;
        }
    }
    struct model_series series = series_of(LENGTH);
    assert_true(error_of(BASELINE_SEASONAL_DRIFT, &series) < 1.0);
    for (size_t i = 0; i < HORIZON * QUANTILE_COUNT; i++) {
        assert_true(isfinite(quantiles[i]));
    }
    /* Two values left: nothing to weigh by, and still a forecast of what was seen. */
    for (size_t t = 1; t + 1 < LENGTH; t++) {
        values[t] = (double)NAN;
    }
    values[0] = values[LENGTH - 1] = 5.0;
    (void)error_of(BASELINE_SEASONAL_DRIFT, &series);
    assert_close((double)mean[7], 5.0, 1e-4);
}

static void bands_hold_what_they_promise(UNUSED void **state)
{
    size_t inside = 0, points = 0;
    for (uint64_t seed = 1; seed <= 60; seed++) {
        make(&(struct load){
            .weekend = 10.0, .noise = 1.0, .swing = 0.3, .memory = 0.95, .seed = 100 + seed});
        struct model_series series = series_of(LENGTH);
        (void)error_of(BASELINE_SEASONAL_DRIFT, &series);
        for (size_t h = 0; h < HORIZON; h++) {
            inside += (double)quantiles[1 * HORIZON + h] <= values[LENGTH + h] &&
                      values[LENGTH + h] <= (double)quantiles[9 * HORIZON + h];
            points++;
        }
    }
    /* 60 series whose errors hang together over the horizon: about 6 % of scatter. */
    assert_close((double)inside / (double)points, 0.8, 0.08);
}

static void any_scale_and_any_length(UNUSED void **state)
{
    double reference = 0.0;
    for (int power = -12; power <= 12; power += 6) {
        double unit = pow(10.0, power);
        make(&(struct load){.weekend = 5.0, .noise = 1.0, .seed = 5});
        for (size_t t = 0; t < LENGTH + HORIZON; t++) {
            values[t] *= unit;
        }
        struct model_series series = series_of(LENGTH);
        double error = error_of(BASELINE_SEASONAL_DRIFT, &series) / unit;
        reference = power == -12 ? error : reference;
        assert_close(error, reference, 1e-3 * reference);
    }
    for (size_t count = 2; count <= LENGTH; count += count < 250 ? 1 : 125) {
        make(&(struct load){.noise = 1.0, .seed = count});
        struct model_series series = series_of(count);
        bool made = baseline_forecast(BASELINE_SEASONAL_DRIFT, &series, scratch, &out);
        assert_int_equal(made, count >= HORIZON + 2 * 24);
    }
    for (size_t t = 0; t < LENGTH; t++) {
        values[t] = 7.5;
    }
    struct model_series flat = series_of(LENGTH);
    assert_true(baseline_forecast(BASELINE_SEASONAL_DRIFT, &flat, scratch, &out));
    assert_close((double)mean[HORIZON - 1], 7.5, 1e-6);
}

static void needs_a_season(UNUSED void **state)
{
    make(&(struct load){.noise = 1.0, .seed = 1});
    struct model_series series = plain_series(values, LENGTH, HOUR);
    assert_true(baseline_forecast(BASELINE_SEASONAL_DRIFT, &series, scratch, &out));
    series.step_ms = INT64_C(7) * 1000; /* no whole number of them is a day */
    assert_false(baseline_forecast(BASELINE_SEASONAL_DRIFT, &series, scratch, &out));
}

static double processor_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static void takes_a_millisecond_or_two(UNUSED void **state)
{
    if (WATCHED) {
        skip();
    }
    make(&(struct load){.weekend = 5.0, .noise = 1.0, .seed = 5});
    struct model_series series = series_of(LENGTH);
    double best = HUGE_VAL;
    for (int i = 0; i < 20; i++) {
        double began = processor_seconds();
        (void)error_of(BASELINE_SEASONAL_DRIFT, &series);
        best = fmin(best, processor_seconds() - began);
    }
    print_message("1,000 values, seasons 24 and 168: %.3f ms\n", 1e3 * best);
    assert_true(best < 5e-3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(knows_the_week_that_nobody_named),
        cmocka_unit_test(averages_old_noise_away),
        cmocka_unit_test(follows_a_level_that_moved),
        cmocka_unit_test(an_anomaly_is_not_repeated),
        cmocka_unit_test(an_absurd_value_is_a_missing_one),
        cmocka_unit_test(values_that_come_often_are_believed),
        cmocka_unit_test(lives_with_gaps),
        cmocka_unit_test(bands_hold_what_they_promise),
        cmocka_unit_test(any_scale_and_any_length),
        cmocka_unit_test(needs_a_season),
        cmocka_unit_test(takes_a_millisecond_or_two),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
