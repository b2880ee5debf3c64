/* Tests of the local clock of baselines: nine o'clock stays nine over both switches.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "base/time_zone.h"
#include "model/training/local_clock.h"
#include "tests/unit/model/model_test.h"

#define HOUR    INT64_C(3600000)
#define DAYS    30
#define LENGTH  (24 * DAYS)
#define HORIZON 48
#define PEAK    9 /* local hour */

static double values[LENGTH];
static double scratch[4 * LENGTH];
static float mean[HORIZON], quantiles[QUANTILE_COUNT * HORIZON];
static struct forecast out = {HORIZON, mean, quantiles};

/* Hours at which the clock goes forward and back in Berlin: 2026-03-29 and 2026-10-25, 01:00 UTC.
 */
static const int64_t switches_ms[] = {INT64_C(1774746000000), INT64_C(1792890000000)};
static const enum baseline seasonal[] = {BASELINE_SEASONAL_NAIVE, BASELINE_DAMPED_TREND,
                                         BASELINE_SEASONAL_DRIFT};

static int64_t local_hour(int64_t time_ms)
{
    const struct time_zone *berlin = time_zone_or_utc("Europe/Berlin");
    assert_non_null(berlin);
    return (time_ms + time_zone_offset_ms(berlin, time_ms)) / HOUR % 24;
}

/* A month of hours up to a moment, with a peak at the same local hour of each day. */
static struct model_series month_before(int64_t end_ms, const char *zone)
{
    int64_t start_ms = end_ms - LENGTH * HOUR;
    for (int64_t t = 0; t < LENGTH; t++) {
        bool peak = local_hour(start_ms + t * HOUR) == PEAK;
        values[t] = (peak ? 50.0 : 10.0) + 0.1 * (double)(t * 37 % 11);
    }
    struct model_series series = plain_series(values, LENGTH, HOUR);
    series.start_ms = start_ms;
    series.seasons[0] = 24;
    series.time_zone = zone;
    return series;
}

/* Steps of the horizon whose forecast has a peak where there is none, or none where there is. */
static size_t wrong_hours(enum baseline baseline, int64_t end_ms, const char *zone)
{
    struct model_series series = month_before(end_ms, zone);
    size_t wrong = 0;
    assert_true(baseline_forecast(baseline, &series, scratch, &out));
    for (int64_t h = 0; h < HORIZON; h++) {
        bool peak = local_hour(end_ms + h * HOUR) == PEAK;
        wrong += (out.mean[h] > 30.0f) != peak ? 1 : 0;
        for (size_t q = 1; q < QUANTILE_COUNT; q++) {
            assert_true(quantiles[q * HORIZON + (size_t)h] >=
                        quantiles[(q - 1) * HORIZON + (size_t)h]);
        }
    }
    return wrong;
}

/* Field rule "DST, local holidays": by UTC a day of 23 or 25 hours moves the peak by one. */
static void nine_stays_nine_over_both_switches(UNUSED void **state)
{
    for (size_t s = 0; s < 2; s++) {
        for (size_t b = 0; b < 3; b++) {
            size_t local = 0, utc = 0;
            for (int64_t origin = -HORIZON; origin < HORIZON; origin += 5) {
                local += wrong_hours(seasonal[b], switches_ms[s] + origin * HOUR, "Europe/Berlin");
                utc += wrong_hours(seasonal[b], switches_ms[s] + origin * HOUR, NULL);
            }
            assert_int_equal(local, 0);
            assert_true(utc > 0);
        }
    }
}

static void what_has_no_switch_is_left_alone(UNUSED void **state)
{
    struct local_clock clock;
    struct model_series series = month_before(switches_ms[0], "Europe/Berlin");
    assert_true(local_clock_begin(&series, 1, &clock)); /* just before: the horizon has it */
    local_clock_end(&clock, NULL);
    series.start_ms -= 10 * HOUR;
    assert_false(local_clock_begin(&series, 10, &clock));
    series.start_ms += 10 * HOUR;
    series.time_zone = "Asia/Tokyo";
    assert_false(local_clock_begin(&series, HORIZON, &clock));
    series.time_zone = NULL;
    assert_false(local_clock_begin(&series, HORIZON, &clock));
    /* An hour is no whole number of these. */
    series.time_zone = "Europe/Berlin";
    series.step_ms = 24 * HOUR;
    assert_false(local_clock_begin(&series, HORIZON, &clock));
    series.step_ms = 7 * 60000;
    assert_false(local_clock_begin(&series, LENGTH, &clock));
}

/* Forward: an hour without a value. Back: the later of two values. The newest keeps its place. */
static void values_lie_at_their_local_hours(UNUSED void **state)
{
    for (size_t s = 0; s < 2; s++) {
        struct local_clock clock;
        struct model_series series = month_before(switches_ms[s] + 10 * HOUR, "Europe/Berlin");
        assert_true(local_clock_begin(&series, HORIZON, &clock));
        const double *local = clock.series.values;
        assert_int_equal(clock.series.count, LENGTH);
        for (size_t i = LENGTH - 10; i < LENGTH; i++) {
            assert_close(local[i], values[i], 0);
        }
        size_t before = LENGTH - 11; /* the last hour by the old clock */
        if (s == 0) {
            assert_true(isnan(local[before]));
            assert_close(local[before - 1], values[before], 0);
            assert_close(local[0], values[1], 0);
        } else {
            assert_close(local[before], values[before - 1], 0);
            assert_true(isnan(local[0]));
        }
        local_clock_end(&clock, NULL);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nine_stays_nine_over_both_switches),
        cmocka_unit_test(what_has_no_switch_is_left_alone),
        cmocka_unit_test(values_lie_at_their_local_hours),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
