/* Tests of outage_find: nights and weekends are none, whatever the step and the hour; what is dead
 * is. SPDX-License-Identifier: Apache-2.0
 */
#include "tests/unit/model/model_test.h"

#include "base/random.h"

#define HOUR      INT64_C(3600000)
#define DAY       (24 * HOUR)
#define MONDAY    INT64_C(1795996800000) /* 2026-11-30 */
#define WEEKS     5
#define CELLS_MAX 6048

static double values[CELLS_MAX];

/* ---------------------------------------------------------------- what is there when */

static bool working_hours(int64_t time_ms)
{
    int64_t day = time_ms / DAY % 7, hour = time_ms % DAY / HOUR; /* 1970 began with a Thursday */
    return day != 2 && day != 3 && hour >= 9 && hour < 17;
}

static bool daylight(int64_t time_ms)
{
    int64_t hour = time_ms % DAY / HOUR;
    return hour >= 6 && hour < 20;
}

static bool weekdays(int64_t time_ms)
{
    int64_t day = time_ms / DAY % 7;
    return day != 2 && day != 3;
}

static bool always(int64_t time_ms)
{
    (void)time_ms;
    return true;
}

static bool (*const rhythms[])(int64_t time_ms) = {working_hours, daylight, weekdays, always};
static const char *const names[] = {"working hours", "daylight", "weekdays", "always"};

/* The `count` cells before `end_ms`; nothing from `dead_ms` on. */
static struct model_series make(bool (*there)(int64_t), int64_t step_ms, size_t count,
                                int64_t end_ms, int64_t dead_ms)
{
    struct model_series series = {.values = values,
                                  .count = count,
                                  .start_ms = end_ms - (int64_t)count * step_ms,
                                  .step_ms = step_ms};
    for (size_t i = 0; i < count; i++) {
        int64_t time_ms = series.start_ms + (int64_t)i * step_ms;
        values[i] = there(time_ms) && time_ms < dead_ms ? 20.0 : (double)NAN;
    }
    return series;
}

/* ---------------------------------------------------------------- tests */

/* Each hour of a week, five weeks of values or as many as are read. */
static void what_is_missing_each_night_and_weekend_is_no_outage(void **state)
{
    static const int64_t steps_ms[] = {HOUR / 12, HOUR / 6, HOUR / 4, HOUR / 2, HOUR};
    (void)state;
    for (size_t r = 0; r < 4; r++) {
        for (size_t s = 0; s < 5; s++) {
            size_t count = (size_t)(WEEKS * 7 * DAY / steps_ms[s]);
            count = count < CELLS_MAX ? count : CELLS_MAX;
            for (int64_t end_ms = MONDAY; end_ms < MONDAY + 7 * DAY; end_ms += HOUR) {
                double missing = 1.0;
                struct model_series series =
                    make(rhythms[r], steps_ms[s], count, end_ms, INT64_MAX);
                if (outage_find(&series, &missing) || missing > 0.0) {
                    fail_msg("%s, step %lld min, hour %lld of the week: %.2f are missing", names[r],
                             (long long)(steps_ms[s] / 60000), (long long)(end_ms - MONDAY) / HOUR,
                             missing);
                }
            }
        }
    }
}

/* Three days and a half of five-minute values hold no week, but each night. */
static void a_night_is_known_from_the_days_before(void **state)
{
    (void)state;
    for (int64_t end_ms = MONDAY; end_ms < MONDAY + DAY; end_ms += HOUR) {
        double missing = 1.0;
        struct model_series series = make(daylight, HOUR / 12, 1024, end_ms, INT64_MAX);
        assert_false(outage_find(&series, &missing));
        assert_true(missing == 0.0);
    }
}

/* Nothing since a week: at each hour of the next, and however long it has lasted by then. */
static void what_is_dead_is_an_outage_at_night_too(void **state)
{
    static const int64_t steps_ms[] = {HOUR / 6, HOUR / 4, HOUR / 2, HOUR};
    (void)state;
    for (size_t r = 0; r < 4; r++) {
        for (size_t s = 0; s < 4; s++) {
            size_t count = (size_t)(WEEKS * 7 * DAY / steps_ms[s]);
            for (int64_t end_ms = MONDAY; end_ms < MONDAY + 10 * DAY; end_ms += HOUR) {
                double missing = 0.0;
                struct model_series series =
                    make(rhythms[r], steps_ms[s], count, end_ms, MONDAY - 7 * DAY);
                if (!outage_find(&series, &missing)) {
                    fail_msg("%s, step %lld min, hour %lld: %.2f are missing", names[r],
                             (long long)(steps_ms[s] / 60000), (long long)(end_ms - MONDAY) / HOUR,
                             missing);
                }
            }
        }
    }
}

/* A day of work without values, of half-hourly ones: two in three of the newest that there should
 * be. It is over with the second day. */
static void half_of_the_newest_working_hours_are_enough(void **state)
{
    (void)state;
    const int64_t step_ms = HOUR / 2, wednesday = MONDAY + 2 * DAY;
    size_t count = (size_t)(WEEKS * 7 * DAY / step_ms);
    double missing = 0.0;
    struct model_series series =
        make(working_hours, step_ms, count, wednesday + 17 * HOUR, wednesday - DAY);
    assert_true(outage_find(&series, &missing)); /* Tuesday and Wednesday: 32 of 48 */
    assert_close(missing, 32.0 / 48.0, 1e-9);
    series = make(working_hours, step_ms, count, wednesday + 3 * DAY, INT64_MAX);
    for (int64_t i = 48 * 2; i < 48 * 4; i++) {
        values[(int64_t)count - 1 - i] = (double)NAN; /* Tuesday and Wednesday are gone */
    }
    assert_false(outage_find(&series, &missing));
}

/* Single holes, a fourth of all by chance: as before they count, but those of one season in two. */
static void holes_are_no_outage_but_are_missing(void **state)
{
    struct random random;
    double missing = 0.0;
    (void)state;
    struct model_series series = make(always, HOUR, 800, MONDAY, INT64_MAX);
    random_init(&random, 3, 0);
    for (size_t i = 0; i < series.count; i++) {
        values[i] = random_uniform(&random) < 0.25 ? (double)NAN : 1.0;
    }
    assert_false(outage_find(&series, &missing));
    assert_in_range((int)(100.0 * missing), 10, 30);
}

/* Nothing was there before: then nothing is usual. */
static void what_has_no_past_is_not_usual(void **state)
{
    double missing = 0.0;
    (void)state;
    struct model_series series = make(always, HOUR, 200, MONDAY, MONDAY - 4 * DAY);
    for (size_t i = 0; i + 110 < series.count; i++) {
        values[i] = (double)NAN;
    }
    assert_true(outage_find(&series, &missing));
    assert_true(missing == 1.0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_missing_each_night_and_weekend_is_no_outage),
        cmocka_unit_test(a_night_is_known_from_the_days_before),
        cmocka_unit_test(what_is_dead_is_an_outage_at_night_too),
        cmocka_unit_test(half_of_the_newest_working_hours_are_enough),
        cmocka_unit_test(holes_are_no_outage_but_are_missing),
        cmocka_unit_test(what_has_no_past_is_not_usual),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
