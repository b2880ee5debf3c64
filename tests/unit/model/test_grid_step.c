/* Tests of steps: odd ones, irregular ones, changes of the step, months.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "base/random.h"
#include "tests/unit/model/model_test.h"

#define SECOND INT64_C(1000)
#define MINUTE INT64_C(60000)
#define DAY    INT64_C(86400000)
#define HOUR   (60 * MINUTE)
#define MOST   150000

/* A series that grows by stretches. */
struct growing {
    struct point points[MOST];
    size_t count;
    int64_t time_ms;
    struct random random;
};

static struct growing growing;

static void begin(uint64_t seed)
{
    growing.count = 0;
    growing.time_ms = INT64_C(1790000000000);
    random_init(&growing.random, seed, 0);
}

static void put(int64_t gap_ms)
{
    growing.time_ms += gap_ms;
    growing.points[growing.count++] = (struct point){growing.time_ms, 1.0};
}

static void put_many(int64_t gap_ms, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        put(gap_ms);
    }
}

/* Events at random, in whole seconds. */
static void put_events(double mean_s, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        put(SECOND + (int64_t)(-mean_s * log1p(-random_uniform(&growing.random))) * SECOND);
    }
}

static int64_t step(void)
{
    return grid_step(growing.points, growing.count, 0);
}

static void regular_steps_stay_what_they_are(UNUSED void **state)
{
    static const int64_t steps_ms[] = {100,  150,   250,   333,   500,        1500,
                                       7000, 12500, 45000, 90000, 7 * MINUTE, 45 * MINUTE};
    for (size_t i = 0; i < sizeof(steps_ms) / sizeof(steps_ms[0]); i++) {
        begin(i);
        put_many(steps_ms[i], 100);
        assert_int_equal(step(), steps_ms[i]);
    }
}

static void events_have_a_usual_step(UNUSED void **state)
{
    static const int64_t usual[] = {SECOND * 20, SECOND * 30, MINUTE,     2 * MINUTE,
                                    3 * MINUTE,  4 * MINUTE,  5 * MINUTE, 6 * MINUTE};
    for (uint64_t seed = 0; seed < 40; seed++) {
        begin(seed);
        put_events(40.0 + 9.0 * (double)seed, 1500);
        bool found = false;
        for (size_t i = 0; i < sizeof(usual) / sizeof(usual[0]); i++) {
            found = found || step() == usual[i];
        }
        if (!found) {
            fail_msg("seed %d: step %lld", (int)seed, (long long)step());
        }
    }
}

/* The median of a mean of 122 seconds is where one and two minutes meet. */
static void the_step_of_events_stays(UNUSED void **state)
{
    begin(7);
    put_events(122.0, 500);
    int64_t first = step(), now = first;
    for (int i = 0; i < 16; i++) {
        put_events(122.0, 200);
        now = grid_step(growing.points, growing.count, now);
        assert_int_equal(now, first);
    }
    begin(8);
    put_events(600.0, 1500); /* far from it */
    assert_int_equal(grid_step(growing.points, growing.count, first), 6 * MINUTE);
    put_many(MINUTE, 1024);
    assert_int_equal(grid_step(growing.points, growing.count, 6 * MINUTE), MINUTE);
}

static void newest_gaps_that_agree_decide(UNUSED void **state)
{
    begin(1);
    put_many(15 * SECOND, 1100);
    put_many(MINUTE, 20);
    assert_int_equal(step(), 15 * SECOND);
    assert_false(grid_step_left(growing.points, growing.count, 15 * SECOND));
    put_many(MINUTE, 30);
    assert_int_equal(step(), MINUTE);
    assert_true(grid_step_left(growing.points, growing.count, 15 * SECOND));
    assert_false(grid_step_left(growing.points, growing.count, MINUTE));
    begin(2);
    put_many(MINUTE, 1100);
    put_many(15 * SECOND, 30);
    assert_int_equal(step(), MINUTE);
    put_many(15 * SECOND, 30);
    assert_int_equal(step(), 15 * SECOND);
    put(3 * DAY); /* an outage changes nothing */
    put_many(15 * SECOND, 10);
    assert_int_equal(step(), 15 * SECOND);
}

static void bursts_and_nights_are_no_change(UNUSED void **state)
{
    begin(3);
    put_many(MINUTE, 900);
    put_many(SECOND, 300);
    assert_int_equal(step(), MINUTE); /* five minutes of quick readings */
    begin(4);
    for (int day = 0; day < 6; day++) {
        put_many(5 * MINUTE, 120);
        assert_int_equal(step(), 5 * MINUTE);
        put_many(15 * MINUTE, 56); /* at night */
        assert_int_equal(day == 0 ? 5 * MINUTE : step(), 5 * MINUTE);
    }
    begin(5);
    for (int week = 0; week < 60; week++) {
        put_many(DAY, 4);
        put(3 * DAY);
        assert_int_equal(step(), DAY);
    }
}

static void retries_and_jitter_are_no_change(UNUSED void **state)
{
    begin(6);
    put_many(MINUTE, 900);
    for (int i = 0; i < 60; i++) { /* each twice */
        put(59 * SECOND);
        put(SECOND);
    }
    assert_int_equal(step(), MINUTE);
    begin(7);
    int64_t away = 0;
    for (int i = 0; i < 2000; i++) {
        int64_t next = (int64_t)(24.0 * SECOND * (random_uniform(&growing.random) - 0.5));
        put(MINUTE + next - away);
        away = next;
        assert_int_equal(i < 60 ? MINUTE : step(), MINUTE);
    }
}

/* Grows until a time of the series' life, looked at after each 48 readings; how often the step that
 * is known changes. `missing` of the readings are. */
static int grow(int64_t until_ms, int64_t gap_ms, double missing, int64_t *known)
{
    int changes = 0;
    while (growing.count == 0 || growing.time_ms < growing.points[0].time_ms + until_ms) {
        for (int i = 0; i < 48; i++) {
            int64_t times = 1;
            while (random_uniform(&growing.random) < missing) {
                times++;
            }
            put(times * gap_ms);
        }
        size_t count = growing.count < GRID_STEP_POINTS ? growing.count : GRID_STEP_POINTS;
        int64_t now = grid_step(growing.points + growing.count - count, count, *known);
        changes += *known != 0 && now != *known ? 1 : 0;
        *known = now;
    }
    return changes;
}

static void expect_nights(int64_t day_gap_ms, int64_t night_gap_ms, int64_t begin_h, double missing)
{
    int64_t known = 0;
    begin((uint64_t)begin_h);
    (void)grow(begin_h * HOUR, day_gap_ms, missing, &known);
    for (int day = 0; day < (day_gap_ms < 10 * SECOND ? 3 : 6); day++) {
        int64_t now_ms = (day * 24 + begin_h) * HOUR;
        int changes = grow(now_ms + 8 * HOUR, night_gap_ms, missing, &known);
        changes += grow(now_ms + 24 * HOUR, day_gap_ms, missing, &known);
        assert_in_range(changes, 0, day == 0 ? 2 : 0);
        assert_int_equal(known, day_gap_ms);
    }
}

static void rarer_nights_are_no_change(UNUSED void **state)
{
    static const int64_t gaps_ms[][2] = {{MINUTE, 5 * MINUTE},       {MINUTE, 10 * MINUTE},
                                         {MINUTE, 2 * MINUTE},       {10 * SECOND, MINUTE},
                                         {10 * SECOND, 30 * SECOND}, {2 * SECOND, 10 * SECOND},
                                         {5 * SECOND, 10 * SECOND}};
    for (size_t i = 0; i < sizeof(gaps_ms) / sizeof(gaps_ms[0]); i++) {
        for (int64_t begin_h = 2; begin_h <= 16; begin_h += 7) { /* until the first night */
            expect_nights(gaps_ms[i][0], gaps_ms[i][1], begin_h, 0.0);
            expect_nights(gaps_ms[i][0], gaps_ms[i][1], begin_h, 0.03);
            expect_nights(gaps_ms[i][0], gaps_ms[i][1], begin_h, 0.2);
        }
    }
}

/* At once where the day before had no such gaps, or there is none; after a day where it had. */
static void longer_steps_are_seen(UNUSED void **state)
{
    int64_t known = 15 * SECOND;
    begin(20);
    put_many(15 * SECOND, 180);
    put_many(MINUTE, 60);
    assert_int_equal(grid_step(growing.points, growing.count, known), MINUTE);
    begin(21);
    put_many(15 * SECOND, 20000);
    put_many(MINUTE, 50);
    assert_int_equal(grid_step(growing.points, growing.count, known), MINUTE);
    begin(22);
    put_many(15 * SECOND, 9000);
    put_many(MINUTE, 8 * 60);
    put_many(15 * SECOND, 3000);
    put_many(MINUTE, 23 * 60);
    assert_int_equal(grid_step(growing.points, growing.count, known), 15 * SECOND);
    put_many(MINUTE, 70);
    assert_int_equal(grid_step(growing.points, growing.count, known), MINUTE);
    begin(23); /* a day before is not known: there are more points than were read */
    put_many(SECOND, 50000);
    put_many(5 * SECOND, 100);
    const struct point *newest = growing.points + growing.count - GRID_STEP_POINTS;
    assert_int_equal(grid_step(newest, GRID_STEP_POINTS, SECOND), SECOND);
}

static int64_t days_of(int month)
{
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    return days[month % 12];
}

static void months_are_months(UNUSED void **state)
{
    begin(8);
    for (int month = 0; month < 3; month++) {
        put(days_of(month) * DAY);
    }
    assert_int_equal(step(), GRID_MONTH_MS);
    for (int month = 3; month < 100; month++) {
        put(days_of(month) * DAY);
        assert_int_equal(step(), GRID_MONTH_MS);
    }
    begin(9);
    put_many(28 * DAY, 30);
    assert_int_equal(step(), 28 * DAY);
    begin(10);
    put_many(30 * DAY, 30);
    assert_int_equal(step(), 30 * DAY);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(regular_steps_stay_what_they_are),
        cmocka_unit_test(events_have_a_usual_step),
        cmocka_unit_test(the_step_of_events_stays),
        cmocka_unit_test(newest_gaps_that_agree_decide),
        cmocka_unit_test(bursts_and_nights_are_no_change),
        cmocka_unit_test(retries_and_jitter_are_no_change),
        cmocka_unit_test(rarer_nights_are_no_change),
        cmocka_unit_test(longer_steps_are_seen),
        cmocka_unit_test(months_are_months),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
