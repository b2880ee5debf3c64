/* Tests of features: scales, masks, lags, phases, gaps, nothing from beyond the origin; lag mixing.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "base/memory.h"
#include "base/random.h"
#include "model/network.h"
#include "model/order.h"
#include "tests/unit/model/model_test.h"

#include <string.h>

#define LENGTH  200
#define CONTEXT 24
#define HORIZON 6
#define STEPS   8 /* horizon rounded up to patches of 4 */
#define HOUR    INT64_C(3600000)

static double values[LENGTH];
static struct feature_plan plan;
static real steps[(CONTEXT + STEPS) * 22];
static real context[CONTEXT];
static real lags[(LAGS_MAX + SEASONS_MAX) * HORIZON];

static int setup(UNUSED void **state)
{
    struct error error = {0};
    for (int t = 0; t < LENGTH; t++) {
        values[t] = 10.0 + (t * 7 % 24) + 0.01 * t;
    }
    plan = (struct feature_plan){.step_ms = HOUR, .horizon = HORIZON};
    feature_plan_choose(&plan, (uint32_t[SEASONS_MAX]){24, 0, 0}, LENGTH);
    assert_ok(feature_plan_init(&plan, &error));
    return 0;
}

static int teardown(UNUSED void **state)
{
    feature_plan_release(&plan);
    return 0;
}

static struct feature_shape shape_of(enum scale_kind scale, bool asinh_too)
{
    return (struct feature_shape){.context = CONTEXT,
                                  .steps = STEPS,
                                  .scale = scale,
                                  .recent = 12,
                                  .floor = 0.1,
                                  .asinh = asinh_too,
                                  .use_lags = true,
                                  .use_periods = true};
}

static struct window_source source_at(size_t origin)
{
    return (struct window_source){.values = values,
                                  .known = origin,
                                  .origin = origin,
                                  .origin_step = (int64_t)origin,
                                  .statistics = series_statistics(values, LENGTH)};
}

static void fill(const struct feature_shape *shape, const struct window_source *source,
                 struct window_scale *scale)
{
    struct window_inputs out = {.steps = steps, .context = context, .lags = lags};
    *scale = window_scale(shape, source);
    window_fill(&plan, shape, source, scale, &out);
}

static void chooses_lags_that_are_known(UNUSED void **state)
{
    struct feature_plan chosen = {.step_ms = HOUR, .horizon = 48};
    feature_plan_choose(&chosen, (uint32_t[SEASONS_MAX]){24, 168, 0}, 700);
    assert_int_equal(chosen.lag_count, 5);
    for (size_t k = 0; k < 3; k++) { /* days are shorter than the horizon: they fold */
        assert_int_equal(chosen.lags[k], 24 * (k + 1));
        assert_int_equal(chosen.folds[k], 24);
    }
    assert_int_equal(chosen.lags[3], 168);
    assert_int_equal(chosen.lags[4], 336);
    assert_int_equal(chosen.folds[3], 0);
    assert_int_equal(chosen.mean_count, 1); /* of seven days; three weeks would reach too far */
    assert_int_equal(chosen.means[0], 24);
    assert_int_equal(chosen.depths[0], 7);
    assert_int_equal(chosen.period_count, 2);
    feature_plan_choose(&chosen, (uint32_t[SEASONS_MAX]){24, 168, 0}, 200);
    assert_int_equal(chosen.lag_count, 3); /* a week lies beyond 0.6 of 200 */
    assert_int_equal(chosen.depths[0], 4);
    feature_plan_choose(&chosen, (uint32_t[SEASONS_MAX]){24, 168, 0}, 30000);
    assert_int_equal(chosen.lags[5], 364 * 24);
    assert_int_equal(chosen.mean_count, 2);
    assert_int_equal(chosen.means[1], 168);
    assert_int_equal(chosen.depths[1], 3);
    assert_int_equal(chosen.periods[2], 8766);
    feature_plan_choose(&chosen, (uint32_t[SEASONS_MAX]){0, 0, 0}, 700);
    assert_int_equal(chosen.lag_count, 0);
    uint32_t usual[SEASONS_MAX];
    feature_usual_seasons(HOUR, 700, usual);
    assert_int_equal(usual[0], 24);
    assert_int_equal(usual[1], 168);
    feature_usual_seasons(24 * HOUR, 700, usual);
    assert_int_equal(usual[0], 7);
    feature_usual_seasons(HOUR, 60, usual);
    assert_int_equal(usual[0], 0);
}

static void fills_values_masks_lags_and_phases(UNUSED void **state)
{
    struct feature_shape shape = shape_of(SCALE_STANDARD, false);
    struct window_source source = source_at(120);
    struct window_scale scale;
    size_t width = feature_count(&plan, &shape);
    assert_int_equal(width, 2 + 2 * plan.lag_count + 2);
    fill(&shape, &source, &scale);
    for (size_t i = 0; i < CONTEXT + STEPS; i++) {
        const real *step = steps + i * width;
        size_t at = 120 - CONTEXT + i;
        bool known = i < CONTEXT;
        assert_close((double)step[1], known ? 1.0 : 0.0, 0);
        assert_close((double)step[0], known ? (values[at] - scale.shift) / scale.scale : 0.0, 1e-5);
        for (size_t n = 0; n < plan.lag_count; n++) {
            bool lag_known = at - plan.lags[n] < 120;
            assert_close((double)step[3 + 2 * n], lag_known ? 1.0 : 0.0, 0);
            double lagged = (values[at - plan.lags[n]] - scale.shift) / scale.scale;
            assert_close((double)step[2 + 2 * n], lag_known ? lagged : 0.0, 1e-5);
        }
        double angle = 2.0 * M_PI * (double)(at % 24) / 24.0;
        assert_close((double)step[width - 2], sin(angle), 1e-6);
        assert_close((double)step[width - 1], cos(angle), 1e-6);
    }
    assert_close((double)context[CONTEXT - 1], (values[119] - scale.shift) / scale.scale, 1e-5);
    assert_close((double)lags[0], (values[120 - plan.lags[0]] - scale.shift) / scale.scale, 1e-5);
}

/* A lag that folds is the newest known step of the same phase, all over the horizon. */
static void lags_fold_over_the_horizon(UNUSED void **state)
{
    enum { LONG_CONTEXT = 12, LONG_HORIZON = 20, SEASON = 6 };
    static real room[(LONG_CONTEXT + LONG_HORIZON) * 4];
    struct feature_plan folding = {.step_ms = HOUR,
                                   .horizon = LONG_HORIZON,
                                   .lags = {SEASON},
                                   .folds = {SEASON},
                                   .lag_count = 1};
    struct feature_shape shape = {
        .context = LONG_CONTEXT, .steps = LONG_HORIZON, .scale = SCALE_STANDARD, .use_lags = true};
    struct window_source source = source_at(120);
    struct window_scale scale = window_scale(&shape, &source);
    struct window_inputs out = {.steps = room};
    window_fill(&folding, &shape, &source, &scale, &out);
    for (size_t i = 0; i < LONG_CONTEXT + LONG_HORIZON; i++) {
        size_t at = 120 - LONG_CONTEXT + i;
        size_t lagged = at - SEASON;
        while (lagged >= 120) {
            lagged -= SEASON;
        }
        assert_close((double)room[4 * i + 3], 1.0, 0);
        assert_close((double)room[4 * i + 2], (values[lagged] - scale.shift) / scale.scale, 1e-5);
    }
}

/* The mean of `depth` seasons before index `at` of which values[0 .. known) are known, without the
 * least and the largest: sorted, to be seen at a glance. NaN of nothing. */
static double mean_of_seasons(size_t season, size_t depth, size_t at, size_t known)
{
    double seen[MEAN_DEPTH_MAX];
    size_t count = 0;
    size_t newest = season;
    while (at - newest >= known) {
        newest += season;
    }
    for (size_t k = 0; k < depth; k++) {
        size_t back = newest + k * season;
        if (back <= at && !isnan(values[at - back])) {
            seen[count++] = values[at - back];
        }
    }
    size_t cut = count > 2 ? 1 : 0;
    double sum = 0.0;
    order_sort(seen, count);
    for (size_t k = cut; k < count - cut; k++) {
        sum += seen[k];
    }
    return count > 0 ? sum / (double)(count - 2 * cut) : (double)NAN;
}

/* Gaps count for nothing, and one absurd value changes none of their digits. */
static void means_leave_out_the_least_and_the_largest(UNUSED void **state)
{
    enum { LONG_HORIZON = 40, SEASON = 12, DEPTH = 5, ORIGIN = 120 };
    static real room[(CONTEXT + LONG_HORIZON) * 2];
    static real means[LONG_HORIZON];
    struct feature_plan of = {.step_ms = HOUR,
                              .horizon = LONG_HORIZON,
                              .means = {SEASON},
                              .depths = {DEPTH},
                              .mean_count = 1};
    struct feature_shape shape = {
        .context = CONTEXT, .steps = LONG_HORIZON, .scale = SCALE_STANDARD, .use_lags = true};
    double kept[LENGTH];
    memcpy(kept, values, sizeof(values));
    for (size_t at = 10; at < 100; at += 10) {
        values[at] = (double)NAN;
    }
    for (size_t k = 1; k <= DEPTH; k++) { /* a phase of which nothing is known */
        values[ORIGIN + 3 - k * SEASON] = (double)NAN;
    }
    struct window_source source = source_at(ORIGIN);
    struct window_scale scale = window_scale(&shape, &source);
    struct window_inputs out = {.steps = room, .context = context, .lags = means};
    values[ORIGIN - 1 - 2 * SEASON] = 1e15; /* before the context: the scale is as it was */
    window_fill(&of, &shape, &source, &scale, &out);
    size_t filled = 0;
    for (size_t h = 0; h < LONG_HORIZON; h++) {
        double mean = mean_of_seasons(SEASON, DEPTH, ORIGIN + h, ORIGIN);
        double scaled = isnan(mean) ? scale.base : (mean - scale.shift) / scale.scale;
        assert_close((double)means[h], scaled, 1e-5);
        filled += isnan(mean) ? 1 : 0;
    }
    assert_true(filled >= 1 && filled < 8);
    memcpy(values, kept, sizeof(values));
}

static void sees_nothing_from_the_origin_on(UNUSED void **state)
{
    static real before[sizeof(steps) / sizeof(steps[0])];
    struct feature_shape shape = shape_of(SCALE_MEAN_ABS, true);
    struct window_source source = source_at(100);
    struct window_scale scale;
    fill(&shape, &source, &scale);
    memcpy(before, steps, sizeof(steps));
    double kept[LENGTH];
    memcpy(kept, values, sizeof(values));
    for (int t = 100; t < LENGTH; t++) {
        values[t] = 1e6;
    }
    fill(&shape, &source, &scale);
    memcpy(values, kept, sizeof(values));
    assert_memory_equal(before, steps, sizeof(steps));
}

static void scales_go_there_and_back(UNUSED void **state)
{
    for (int kind = SCALE_STANDARD; kind <= SCALE_PAPER; kind++) {
        for (int asinh_too = 0; asinh_too < 2; asinh_too++) {
            struct feature_shape shape = shape_of((enum scale_kind)kind, asinh_too != 0);
            struct window_source source = source_at(120);
            struct window_scale scale;
            fill(&shape, &source, &scale);
            assert_true(scale.scale > 0.0);
            for (double value = -50.0; value < 100.0; value += 7.3) {
                double back = window_restored(&scale, (double)window_scaled(&scale, value));
                assert_close(back, value, 1e-4 * (1.0 + fabs(value)));
            }
            /* The vectorised asinh agrees with the library's. */
            size_t width = feature_count(&plan, &shape);
            for (size_t i = 0; i < CONTEXT; i++) {
                double expected = (double)window_scaled(&scale, values[120 - CONTEXT + i]);
                assert_close((double)steps[i * width], expected, 2e-6);
            }
        }
    }
}

/* Picofarads or bytes: the network sees the same. */
static void units_do_not_matter(UNUSED void **state)
{
    static real large[sizeof(steps) / sizeof(steps[0])];
    for (int kind = SCALE_STANDARD; kind <= SCALE_MEAN_ABS; kind++) {
        struct feature_shape shape = shape_of((enum scale_kind)kind, true);
        struct window_source source = source_at(120);
        struct window_scale scale;
        fill(&shape, &source, &scale);
        memcpy(large, steps, sizeof(steps));
        double small[LENGTH];
        for (int t = 0; t < LENGTH; t++) {
            small[t] = values[t] * 1e-14;
        }
        source.values = small;
        source.statistics = series_statistics(small, LENGTH);
        fill(&shape, &source, &scale);
        for (size_t i = 0; i < (CONTEXT + STEPS) * feature_count(&plan, &shape); i++) {
            assert_close((double)steps[i], (double)large[i], 1e-5);
        }
    }
}

static void gaps_and_starts_are_masked(UNUSED void **state)
{
    double kept = values[115];
    values[115] = (double)NAN;
    struct feature_shape shape = shape_of(SCALE_STANDARD, false);
    struct window_source source = source_at(120);
    struct window_scale scale;
    fill(&shape, &source, &scale);
    size_t width = feature_count(&plan, &shape);
    assert_close((double)steps[(CONTEXT - 5) * width], 0.0, 0);
    assert_close((double)steps[(CONTEXT - 5) * width + 1], 0.0, 0);
    assert_close((double)context[CONTEXT - 5], scale.base, 1e-6);
    source = source_at(3); /* most of the context lies before the series */
    fill(&shape, &source, &scale);
    assert_close((double)steps[(CONTEXT - 4) * width + 1], 0.0, 0);
    assert_close((double)steps[(CONTEXT - 3) * width + 1], 1.0, 0);
    for (size_t i = 0; i < (CONTEXT + STEPS) * width; i++) {
        assert_true(isfinite(steps[i]));
    }
    values[115] = kept;
}

/* Hours of local time as values, from a UTC midnight before a switch of the clock on. */
static struct window_source local_hours(const struct time_zone *zone, int64_t start_ms)
{
    for (int64_t t = 0; t < LENGTH; t++) {
        int64_t time_ms = start_ms + t * HOUR;
        values[t] = (double)((time_ms + time_zone_offset_ms(zone, time_ms)) / HOUR % 24);
    }
    return (struct window_source){
        .values = values, .zone = zone, .statistics = series_statistics(values, LENGTH)};
}

/* Field rule "DST, local holidays": no 23- or 25-hour smear at either switch. At every origin
 * around it the phase is that of the local hour, and a lag of days is the same local hour of an
 * earlier day; read by UTC it is an hour off on one side. */
static void calendar_follows_local_time_over_both_switches(UNUSED void **state)
{
    /* Midnights four days before the clock goes forward on 2026-03-29, and back on 2026-10-25. */
    static const int64_t starts_ms[] = {INT64_C(1774396800000), INT64_C(1792540800000)};
    struct feature_shape shape = shape_of(SCALE_MEAN_ABS, false);
    size_t width = feature_count(&plan, &shape);
    size_t lags_off = 0;
    for (size_t i = 0; i < 2; i++) {
        const struct time_zone *berlin = time_zone_or_utc("Europe/Berlin");
        assert_non_null(berlin);
        struct window_source source = local_hours(berlin, starts_ms[i]);
        for (size_t origin = 80; origin < 170; origin++) {
            struct window_scale scale;
            source.origin = origin;
            source.known = origin;
            source.origin_step = starts_ms[i] / HOUR + (int64_t)origin;
            fill(&shape, &source, &scale);
            for (size_t h = 0; h < HORIZON; h++) {
                const real *step = steps + (CONTEXT + h) * width;
                double hour = values[origin + h];
                size_t column = 2 + 2 * plan.lag_count;
                assert_close((double)step[column], sin(2.0 * M_PI * hour / 24.0), 1e-5);
                assert_close((double)step[column + 1], cos(2.0 * M_PI * hour / 24.0), 1e-5);
                for (size_t k = 0; k < plan.lag_count; k++) {
                    double lagged = window_restored(&scale, (double)step[2 + 2 * k]);
                    /* The hour that is skipped or comes twice has no twin: one in 24. */
                    bool same = fabs(lagged - hour) < 1e-3 || step[3 + 2 * k] == (real)0;
                    lags_off += same ? 0 : 1;
                    assert_true(same || fabs(lagged - hour) < 1.001 || fabs(lagged - hour) > 22.9);
                }
            }
        }
    }
    /* Of 2 x 90 x 6 x 3; by UTC it would be one or two days' worth of them: about 800. */
    assert_in_range(lags_off, 0, 60);
}

/* At half past ten of UTC it is four in Kolkata: a phase is part of the time. */
static void a_phase_counts_in_local_time(UNUSED void **state)
{
    struct feature_shape shape = shape_of(SCALE_MEAN_ABS, false);
    size_t width = feature_count(&plan, &shape), column = 2 + 2 * plan.lag_count;
    const struct time_zone *kolkata = time_zone_or_utc("Asia/Kolkata");
    int64_t start_ms = INT64_C(1774396800000) + HOUR / 2;
    struct window_scale scale;
    assert_non_null(kolkata);
    struct window_source source = local_hours(kolkata, start_ms);
    source.origin = source.known = 100;
    source.origin_step = start_ms / HOUR + 100;
    source.phase_ms = HOUR / 2;
    fill(&shape, &source, &scale);
    for (size_t h = 0; h < HORIZON; h++) {
        const real *step = steps + (CONTEXT + h) * width;
        assert_close((double)step[column], sin(2.0 * M_PI * values[100 + h] / 24.0), 1e-5);
        assert_close((double)step[column + 1], cos(2.0 * M_PI * values[100 + h] / 24.0), 1e-5);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(chooses_lags_that_are_known),
        cmocka_unit_test(lags_fold_over_the_horizon),
        cmocka_unit_test(fills_values_masks_lags_and_phases),
        cmocka_unit_test(means_leave_out_the_least_and_the_largest),
        cmocka_unit_test(sees_nothing_from_the_origin_on),
        cmocka_unit_test(scales_go_there_and_back),
        cmocka_unit_test(units_do_not_matter),
        cmocka_unit_test(gaps_and_starts_are_masked),
        cmocka_unit_test(calendar_follows_local_time_over_both_switches),
        cmocka_unit_test(a_phase_counts_in_local_time),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
