/* Tests of where cells lie: on multiples, where the readings are, around them, by the calendar.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "base/clock.h"
#include "base/random.h"
#include "tests/unit/model/model_test.h"

#include <stdio.h>

#define SECOND INT64_C(1000)
#define MINUTE INT64_C(60000)
#define HOUR   INT64_C(3600000)
#define DAY    INT64_C(86400000)
#define COUNT  400
#define START  INT64_C(1790000040000) /* a full minute */

static struct point points[COUNT];
static double values[COUNT];

static void expect(size_t count, struct grid_cells wanted)
{
    struct grid_cells found = grid_cells(points, count, wanted.step_ms, NULL);
    assert_int_equal(found.phase_ms, wanted.phase_ms);
    assert_int_equal(found.lead_ms, wanted.lead_ms);
}

/* Every reading in a cell of its own, and the time of the first. */
static int64_t fill_all(size_t count, struct grid_cells cells)
{
    struct grid_rule rule = {.step_ms = cells.step_ms,
                             .phase_ms = cells.phase_ms,
                             .lead_ms = cells.lead_ms,
                             .now_ms = INT64_MAX};
    int64_t start_ms = 0;
    for (size_t i = 0; i < count; i++) {
        points[i].value = (double)i;
    }
    assert_int_equal(grid_fill(points, count, &rule, values, COUNT, &start_ms), count);
    for (size_t i = 0; i < count; i++) {
        assert_close(values[i], (double)i, 0.0);
    }
    return start_ms;
}

static void regular(int64_t first_ms, int64_t gap_ms)
{
    for (int64_t i = 0; i < COUNT; i++) {
        points[i] = (struct point){first_ms + i * gap_ms, 1.0};
    }
}

static void readings_on_multiples_have_cells_there(UNUSED void **state)
{
    regular(START, MINUTE);
    expect(COUNT, (struct grid_cells){MINUTE, 0, 0});
    for (size_t i = 0; i < COUNT; i += 20) {
        points[i].time_ms += 20 * SECOND; /* few are late */
    }
    expect(COUNT, (struct grid_cells){MINUTE, 0, MINUTE / 2});
    expect(1, (struct grid_cells){MINUTE, 0, 0});
    expect(0, (struct grid_cells){MINUTE, 0, 0});
}

static void readings_elsewhere_have_cells_there(UNUSED void **state)
{
    int64_t hour_ms = START - START % HOUR, monday_ms = INT64_C(4) * DAY;
    regular(hour_ms + 55 * MINUTE, HOUR);
    expect(COUNT, (struct grid_cells){HOUR, 55 * MINUTE, 0});
    assert_int_equal(fill_all(COUNT, (struct grid_cells){HOUR, 55 * MINUTE, 0}),
                     hour_ms + 55 * MINUTE);
    regular(monday_ms, 7 * DAY); /* 1970-01-05 */
    expect(COUNT, (struct grid_cells){7 * DAY, 4 * DAY, 0});
    regular(monday_ms - 3000 * 7 * DAY, 7 * DAY);
    expect(COUNT, (struct grid_cells){7 * DAY, 4 * DAY, 0});
    expect(2, (struct grid_cells){7 * DAY, 4 * DAY, 0});
}

static void readings_around_a_place_are_one_a_cell(UNUSED void **state)
{
    static const int64_t places_ms[] = {0, 1500, 15 * SECOND, 30 * SECOND, 58 * SECOND};
    static const int64_t phases_ms[] = {0, 0, 15 * SECOND, 30 * SECOND, 0};
    for (size_t place = 0; place < 5; place++) {
        struct random random;
        random_init(&random, place, 0);
        for (int64_t i = 0; i < COUNT; i++) {
            int64_t away = (int64_t)(600.0 * (random_uniform(&random) - 0.5));
            points[i] = (struct point){START + places_ms[place] + i * MINUTE + away, 1.0};
        }
        struct grid_cells cells = {MINUTE, phases_ms[place], MINUTE / 2};
        expect(COUNT, cells);
        (void)fill_all(COUNT, cells);
        for (size_t count = 20; count < COUNT; count += 20) { /* and it stays */
            expect(count, cells);
        }
    }
}

static void readings_anywhere_have_cells_on_multiples(UNUSED void **state)
{
    regular(START + 7 * SECOND, 15 * SECOND); /* several a cell */
    expect(COUNT, (struct grid_cells){MINUTE, 0, 0});
    regular(START, 61300); /* of another step */
    expect(COUNT, (struct grid_cells){MINUTE, 0, 0});
    struct random random;
    random_init(&random, 5, 0);
    for (int64_t i = 0; i < COUNT; i++) {
        points[i].time_ms = START + i * MINUTE + (int64_t)(60e3 * random_uniform(&random));
    }
    expect(COUNT, (struct grid_cells){MINUTE, 0, 0});
}

/* Midnight of New York: the newest tell where the label is, the others keep cells of their own. */
static void a_changed_clock_leaves_a_cell_a_day(UNUSED void **state)
{
    int64_t day_ms = START - START % DAY;
    for (int64_t i = 0; i < COUNT; i++) {
        int64_t hours = i < 350 ? 4 : 5;
        points[i] = (struct point){day_ms + i * DAY + hours * HOUR, 1.0};
    }
    struct grid_cells cells = {DAY, 5 * HOUR, DAY / 2};
    expect(COUNT, cells);
    assert_int_equal(fill_all(COUNT, cells), day_ms + 5 * HOUR);
    expect(350, (struct grid_cells){DAY, 4 * HOUR, 0});
}

/* Midnight of Berlin in its first spring: the readings are an hour earlier. */
static void a_first_spring_leaves_a_cell_a_day(UNUSED void **state)
{
    int64_t first_ms = INT64_C(1761951600000); /* 2025-10-31T23:00Z */
    for (int64_t i = 0; i < 159; i++) {
        points[i] = (struct point){first_ms + i * DAY - (i >= 149 ? HOUR : 0), 1.0};
    }
    expect(149, (struct grid_cells){DAY, 23 * HOUR, 0});
    for (size_t count = 150; count <= 159; count++) {
        struct grid_cells cells = {DAY, 23 * HOUR, DAY / 2};
        expect(count, cells);
        (void)fill_all(count, cells);
    }
}

static void a_little_early_is_the_same_cell(UNUSED void **state)
{
    regular(START, MINUTE);
    for (size_t i = 10; i < COUNT; i += 25) {
        points[i].time_ms -= 50;
    }
    struct grid_cells cells = {MINUTE, 0, MINUTE / 2};
    for (size_t count = 40; count <= COUNT; count++) {
        expect(count, cells);
    }
    (void)fill_all(COUNT, cells);
}

/* A tenth of the readings anywhere: by chance these tell a place, or none. */
static void cells_stay_where_a_place_is_doubtful(UNUSED void **state)
{
    for (int percent = 5; percent <= 30; percent += 5) {
        struct random random;
        random_init(&random, (uint64_t)percent, 0);
        struct grid_cells known = {HOUR, 0, 0};
        int changes = 0;
        for (size_t i = 0; i < COUNT; i++) {
            bool odd = random_uniform(&random) < percent / 100.0;
            double away = odd ? 50.0 * (random_uniform(&random) - 0.5) : 0.0;
            int64_t hour_ms = START - START % HOUR + (int64_t)i * HOUR;
            points[i].time_ms = hour_ms + (int64_t)((55.0 + away) * MINUTE);
            if (i < 24) {
                continue;
            }
            struct grid_cells now = grid_cells(points, i + 1, HOUR, i == 24 ? NULL : &known);
            changes += i > 24 && now.phase_ms != known.phase_ms ? 1 : 0;
            known = now;
        }
        assert_in_range(changes, 0, 1);
        assert_true(percent > 10 || known.phase_ms == 55 * MINUTE);
    }
}

static void cells_move_with_the_readings(UNUSED void **state)
{
    struct grid_cells known = {HOUR, 55 * MINUTE, 0};
    int64_t hour_ms = START - START % HOUR;
    for (int64_t i = 0; i < COUNT; i++) {
        points[i] = (struct point){hour_ms + i * HOUR + (i < 300 ? 55 : 57) * MINUTE, 1.0};
    }
    assert_int_equal(grid_cells(points, 310, HOUR, &known).phase_ms, 55 * MINUTE);
    assert_int_equal(grid_cells(points, 330, HOUR, &known).phase_ms, 57 * MINUTE);
    struct random random;
    random_init(&random, 3, 0);
    for (size_t i = 0; i < COUNT; i++) { /* anywhere */
        points[i].time_ms = hour_ms + (int64_t)(((double)i + random_uniform(&random)) * HOUR);
    }
    known.lead_ms = HOUR / 2;
    assert_int_equal(grid_cells(points, COUNT, HOUR, &known).lead_ms, 0);
    regular(START, MINUTE); /* cells of another step say nothing */
    assert_int_equal(grid_cells(points, COUNT, MINUTE, &known).phase_ms, 0);
}

static void the_open_cell_ends_where_it_does(UNUSED void **state)
{
    struct grid_rule rule = {.step_ms = MINUTE, .lead_ms = MINUTE / 2};
    int64_t start_ms = 0;
    regular(START, MINUTE);
    rule.now_ms = START + 9 * MINUTE + 29 * SECOND;
    assert_int_equal(grid_fill(points, 10, &rule, values, COUNT, &start_ms), 9);
    rule.now_ms = START + 9 * MINUTE + 30 * SECOND;
    assert_int_equal(grid_fill(points, 10, &rule, values, COUNT, &start_ms), 10);
    assert_int_equal(start_ms, START);
    struct grid_cells cells = {MINUTE, 0, MINUTE / 2};
    assert_int_equal(grid_cell_ms(&cells, START - 30 * SECOND), START);
    assert_int_equal(grid_cell_ms(&cells, START - 30 * SECOND - 1), START - MINUTE);
    assert_int_equal(grid_cell_ms(&cells, -1), 0);
}

static int64_t first_of(int month)
{
    char text[32];
    int64_t time_ms = 0;
    struct error error = {0};
    int length =
        snprintf(text, sizeof(text), "%04d-%02d-01T00:00:00Z", 1995 + month / 12, 1 + month % 12);
    assert_int_equal(clock_parse(text, (size_t)length, 1, &time_ms, &error), STATUS_OK);
    return time_ms;
}

static void months_have_a_cell_each_and_its_name(UNUSED void **state)
{
    for (int month = 0; month < COUNT; month++) {
        points[month] = (struct point){first_of(month), 1.0};
    }
    assert_int_equal(grid_step(points, COUNT, 0), GRID_MONTH_MS);
    struct grid_cells cells = grid_cells(points, COUNT, GRID_MONTH_MS, NULL);
    assert_int_equal(cells.lead_ms, GRID_MONTH_MS / 2);
    int64_t start_ms = fill_all(COUNT, cells);
    for (int month = 0; month < COUNT; month++) {
        assert_int_equal(grid_month_ms(start_ms + month * GRID_MONTH_MS), first_of(month));
    }
    assert_true(grid_of_months(points, COUNT));
    for (size_t i = 0; i < COUNT; i++) {
        points[i].time_ms -= DAY; /* last days of months */
    }
    assert_false(grid_of_months(points, COUNT));
    (void)fill_all(COUNT, grid_cells(points, COUNT, GRID_MONTH_MS, NULL));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(readings_on_multiples_have_cells_there),
        cmocka_unit_test(readings_elsewhere_have_cells_there),
        cmocka_unit_test(readings_around_a_place_are_one_a_cell),
        cmocka_unit_test(readings_anywhere_have_cells_on_multiples),
        cmocka_unit_test(a_changed_clock_leaves_a_cell_a_day),
        cmocka_unit_test(a_first_spring_leaves_a_cell_a_day),
        cmocka_unit_test(a_little_early_is_the_same_cell),
        cmocka_unit_test(cells_stay_where_a_place_is_doubtful),
        cmocka_unit_test(cells_move_with_the_readings),
        cmocka_unit_test(the_open_cell_ends_where_it_does),
        cmocka_unit_test(months_have_a_cell_each_and_its_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
