/* Tests of grid: intervals, cell means, counters with resets, ends of the grid.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "tests/unit/model/model_test.h"

#define MINUTE INT64_C(60000)

static int64_t step_of(int64_t gap_ms, size_t count)
{
    struct point points[64];
    for (size_t i = 0; i < count; i++) {
        int64_t jitter = (int64_t)(i * 7 % 5) * gap_ms / 10000;
        points[i] = (struct point){.time_ms = (int64_t)i * gap_ms + jitter};
    }
    return grid_step(points, count);
}

static void snaps_to_canonical_steps(UNUSED void **state)
{
    assert_int_equal(step_of(1000, 40), 1000);
    assert_int_equal(step_of(59000, 40), MINUTE);
    assert_int_equal(step_of(3610000, 40), 3600000);
    assert_int_equal(step_of(86400000, 40), 86400000);
    assert_int_equal(step_of(15 * MINUTE, 40), 15 * MINUTE);
    assert_int_equal(step_of(45000, 40), 45000);
    assert_int_equal(step_of(10, 40), 100);
    assert_int_equal(step_of(260, 40), 300);
}

static void needs_two_distinct_times(UNUSED void **state)
{
    struct point points[3] = {{5, 1.0}, {5, 2.0}, {5, 3.0}};
    assert_int_equal(grid_step(points, 0), 0);
    assert_int_equal(grid_step(points, 1), 0);
    assert_int_equal(grid_step(points, 3), 0);
    points[2].time_ms = 1005;
    assert_int_equal(grid_step(points, 3), 1000);
}

static void averages_cells_and_leaves_gaps(UNUSED void **state)
{
    struct point points[] = {{MINUTE + 1000, 1.0},
                             {MINUTE + 2000, 3.0},
                             {3 * MINUTE, (double)NAN},
                             {3 * MINUTE + 1, 8.0},
                             {5 * MINUTE, 4.0}};
    double values[8];
    int64_t start;
    size_t cells = grid_fill(points, 5, MINUTE, false, INT64_MAX, values, 8, &start);
    assert_int_equal(cells, 5);
    assert_int_equal(start, MINUTE);
    assert_close(values[0], 2.0, 0);
    assert_true(isnan(values[1]));
    assert_close(values[2], 8.0, 0);
    assert_true(isnan(values[3]));
    assert_close(values[4], 4.0, 0);
}

static void leaves_out_the_open_cell_and_what_is_too_old(UNUSED void **state)
{
    struct point points[10];
    for (int i = 0; i < 10; i++) {
        points[i] = (struct point){i * MINUTE + 10, i};
    }
    double values[10];
    int64_t start;
    size_t cells = grid_fill(points, 10, MINUTE, false, 9 * MINUTE + 30000, values, 10, &start);
    assert_int_equal(cells, 9);
    cells = grid_fill(points, 10, MINUTE, false, 10 * MINUTE, values, 4, &start);
    assert_int_equal(cells, 4);
    assert_int_equal(start, 6 * MINUTE);
    assert_close(values[3], 9.0, 0);
    assert_int_equal(grid_fill(points, 10, MINUTE, false, 5, values, 4, &start), 0);
    assert_int_equal(grid_fill(points, 0, MINUTE, false, INT64_MAX, values, 4, &start), 0);
}

static void turns_counters_into_rates(UNUSED void **state)
{
    /* 60 a minute, a reset to 30 (30 s of new life count), then still. */
    struct point points[] = {{0, 100.0},         {MINUTE, 160.0},    {2 * MINUTE, 30.0},
                             {3 * MINUTE, 30.0}, {4 * MINUTE, 90.0}, {4 * MINUTE, 95.0},
                             {6 * MINUTE, 210.0}};
    double values[8];
    int64_t start;
    size_t cells = grid_fill(points, 7, MINUTE, true, INT64_MAX, values, 8, &start);
    assert_int_equal(cells, 7);
    assert_true(isnan(values[0]));
    assert_close(values[1], 1.0, 1e-12);
    assert_close(values[2], 0.5, 1e-12);
    assert_close(values[3], 0.0, 0);
    assert_close(values[4], 1.0, 1e-12);
    assert_true(isnan(values[5]));
    assert_close(values[6], 1.0, 1e-12);
    /* The value before the first cell gives the first rate. */
    cells = grid_fill(points, 7, MINUTE, true, INT64_MAX, values, 3, &start);
    assert_int_equal(cells, 3);
    assert_close(values[0], 1.0, 1e-12);
}

static void handles_times_before_the_epoch(UNUSED void **state)
{
    struct point points[] = {{-90000, 1.0}, {-30000, 2.0}, {30000, 3.0}};
    double values[4];
    int64_t start;
    assert_int_equal(grid_fill(points, 3, MINUTE, false, INT64_MAX, values, 4, &start), 3);
    assert_int_equal(start, -2 * MINUTE);
}

/* Neither a wrong zero nor an infinite mean comes of what a float cannot hold. */
static void leaves_out_what_no_float_holds(UNUSED void **state)
{
    struct point points[] = {{0, 1.7e308}, {1, 1.7e308}, {MINUTE, -1e39}, {2 * MINUTE, 1e30}};
    double values[4];
    int64_t start;
    assert_int_equal(grid_fill(points, 4, MINUTE, false, INT64_MAX, values, 4, &start), 3);
    assert_true(isnan(values[0]));
    assert_true(isnan(values[1]));
    assert_close(values[2], 1e30, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(snaps_to_canonical_steps),
        cmocka_unit_test(needs_two_distinct_times),
        cmocka_unit_test(averages_cells_and_leaves_gaps),
        cmocka_unit_test(leaves_out_the_open_cell_and_what_is_too_old),
        cmocka_unit_test(turns_counters_into_rates),
        cmocka_unit_test(handles_times_before_the_epoch),
        cmocka_unit_test(leaves_out_what_no_float_holds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
