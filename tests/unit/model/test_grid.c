/* Tests of grid: intervals, cell means, counters with resets, ends of the grid.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "base/random.h"
#include "tests/unit/model/model_test.h"

#include <stdlib.h>

#define MINUTE INT64_C(60000)

static int64_t step_of(int64_t gap_ms, size_t count)
{
    struct point points[64];
    for (size_t i = 0; i < count; i++) {
        int64_t jitter = (int64_t)(i * 7 % 5) * gap_ms / 10000;
        points[i] = (struct point){.time_ms = (int64_t)i * gap_ms + jitter};
    }
    return grid_step(points, count, 0);
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
    assert_int_equal(step_of(260, 40), 250);
}

static void needs_two_distinct_times(UNUSED void **state)
{
    struct point points[3] = {{5, 1.0}, {5, 2.0}, {5, 3.0}};
    assert_int_equal(grid_step(points, 0, 0), 0);
    assert_int_equal(grid_step(points, 1, 0), 0);
    assert_int_equal(grid_step(points, 3, 0), 0);
    points[2].time_ms = 1005;
    assert_int_equal(grid_step(points, 3, 0), 1000);
}

static size_t fill(const struct point *points, size_t count, bool counter, int64_t now_ms,
                   double *values, size_t maximum, int64_t *start)
{
    struct grid_rule rule = {.step_ms = MINUTE, .counter = counter, .now_ms = now_ms};
    return grid_fill(points, count, &rule, values, maximum, start);
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
    size_t cells = fill(points, 5, false, INT64_MAX, values, 8, &start);
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
    size_t cells = fill(points, 10, false, 9 * MINUTE + 30000, values, 10, &start);
    assert_int_equal(cells, 9);
    cells = fill(points, 10, false, 10 * MINUTE, values, 4, &start);
    assert_int_equal(cells, 4);
    assert_int_equal(start, 6 * MINUTE);
    assert_close(values[3], 9.0, 0);
    assert_int_equal(fill(points, 10, false, 5, values, 4, &start), 0);
    assert_int_equal(fill(points, 0, false, INT64_MAX, values, 4, &start), 0);
}

static void turns_counters_into_rates(UNUSED void **state)
{
    /* 60 a minute, a reset to 30 (30 s of new life count), then still. */
    struct point points[] = {{0, 100.0},         {MINUTE, 160.0},    {2 * MINUTE, 30.0},
                             {3 * MINUTE, 30.0}, {4 * MINUTE, 90.0}, {4 * MINUTE, 95.0},
                             {6 * MINUTE, 210.0}};
    double values[8];
    int64_t start;
    size_t cells = fill(points, 7, true, INT64_MAX, values, 8, &start);
    assert_int_equal(cells, 7);
    assert_true(isnan(values[0]));
    assert_close(values[1], 1.0, 1e-12);
    assert_close(values[2], 0.5, 1e-12);
    assert_close(values[3], 0.0, 0);
    assert_close(values[4], 1.0, 1e-12);
    assert_true(isnan(values[5]));
    assert_close(values[6], 1.0, 1e-12);
    /* The value before the first cell gives the first rate. */
    cells = fill(points, 7, true, INT64_MAX, values, 3, &start);
    assert_int_equal(cells, 3);
    assert_close(values[0], 1.0, 1e-12);
}

/* A counter of 32 bits that wraps cannot be told from a process that began again: both fall to near
 * zero. The rate is that of a reset, what was counted since zero; it is never negative, and never
 * the four billion that would come of guessing a wrap after a restart. */
static void a_wrapped_counter_is_one_that_began_again(UNUSED void **state)
{
    const double wrap = 4294967296.0;
    struct point points[] = {{0, wrap - 90.0},
                             {MINUTE, wrap - 30.0}, /* 60 a minute */
                             {2 * MINUTE, 30.0},    /* 60 more: 30 of them after the wrap */
                             {3 * MINUTE, 90.0}};
    double values[4];
    int64_t start;
    assert_int_equal(fill(points, 4, true, INT64_MAX, values, 4, &start), 4);
    assert_close(values[1], 1.0, 1e-12);
    assert_close(values[2], 0.5, 1e-12);
    assert_close(values[3], 1.0, 1e-12);
}

static void handles_times_before_the_epoch(UNUSED void **state)
{
    struct point points[] = {{-90000, 1.0}, {-30000, 2.0}, {30000, 3.0}};
    double values[4];
    int64_t start;
    assert_int_equal(fill(points, 3, false, INT64_MAX, values, 4, &start), 3);
    assert_int_equal(start, -2 * MINUTE);
}

/* A gauge has in a cell what is left of it; a cell with nothing left is missing, and so are the
 * ends of the grid, which stay where they are. */
static void excluded_points_have_no_value(UNUSED void **state)
{
    struct point points[] = {
        {0, 1.0},          {MINUTE, 2.0},    {MINUTE + 30000, 1000.0}, {2 * MINUTE, 1000.0},
        {3 * MINUTE, 4.0}, {4 * MINUTE, 5.0}};
    struct time_spans spans = {3,
                               {{-MINUTE, 1}, {MINUTE + 1, 3 * MINUTE}, {4 * MINUTE, INT64_MAX}}};
    struct grid_rule rule = {.step_ms = MINUTE, .now_ms = INT64_MAX, .excluded = &spans};
    double values[6];
    int64_t start;
    assert_int_equal(grid_fill(points, 6, &rule, values, 6, &start), 5);
    assert_int_equal(start, 0);
    assert_true(isnan(values[0]));
    assert_close(values[1], 2.0, 0);
    assert_true(isnan(values[2]));
    assert_close(values[3], 4.0, 0);
    assert_true(isnan(values[4]));
}

/* The reading behind a span has counted what happened in it: its rate is not one of an ordinary
 * time. That is so where no reading lies within it, too. */
static void a_counter_begins_again_behind_an_excluded_span(UNUSED void **state)
{
    struct point points[] = {{0, 0.0},
                             {MINUTE, 60.0},
                             {2 * MINUTE, 9000.0},
                             {3 * MINUTE, 18000.0},
                             {4 * MINUTE, 18060.0},
                             {5 * MINUTE, 90000.0},
                             {6 * MINUTE, 90060.0}};
    struct time_spans spans = {
        2, {{MINUTE + 1, 2 * MINUTE + 1}, {4 * MINUTE + 1000, 4 * MINUTE + 2000}}};
    struct grid_rule rule = {
        .step_ms = MINUTE, .counter = true, .now_ms = INT64_MAX, .excluded = &spans};
    double values[8];
    int64_t start;
    assert_int_equal(grid_fill(points, 7, &rule, values, 8, &start), 7);
    assert_close(values[1], 1.0, 1e-12);
    assert_true(isnan(values[2]));
    assert_true(isnan(values[3]));
    assert_close(values[4], 1.0, 1e-12);
    assert_true(isnan(values[5]));
    assert_close(values[6], 1.0, 1e-12);
}

/* Neither a wrong zero nor an infinite mean comes of what a float cannot hold. */
static void leaves_out_what_no_float_holds(UNUSED void **state)
{
    struct point points[] = {{0, 1.7e308}, {1, 1.7e308}, {MINUTE, -1e39}, {2 * MINUTE, 1e30}};
    double values[4];
    int64_t start;
    assert_int_equal(fill(points, 4, false, INT64_MAX, values, 4, &start), 3);
    assert_true(isnan(values[0]));
    assert_true(isnan(values[1]));
    assert_close(values[2], 1e30, 0);
}

static int by_time(const void *a, const void *b)
{
    int64_t one = ((const struct point *)a)->time_ms, two = ((const struct point *)b)->time_ms;
    return one < two ? -1 : one > two;
}

/* Row "Step inference": every canonical step through jitter, duplicates, holes and long gaps; up to
 * 65 % of the points may be missing, and the origin may lie anywhere. */
static void infers_the_step_of_ragged_points(UNUSED void **state)
{
    static const int64_t steps_ms[] = {
        1000,        5000,        10000,       15000,       30000,        MINUTE,       5 * MINUTE,
        10 * MINUTE, 15 * MINUTE, 30 * MINUTE, 60 * MINUTE, 360 * MINUTE, 1440 * MINUTE};
    for (size_t s = 0; s < sizeof(steps_ms) / sizeof(steps_ms[0]); s++) {
        static const int losses[] = {0, 25, 50, 60, 65};
        for (size_t l = 0; l < sizeof(losses) / sizeof(losses[0]); l++) {
            int lost = losses[l];
            struct random random;
            struct point points[500];
            size_t count = 0;
            random_init(&random, s * 100 + (uint64_t)lost, 0);
            int64_t origin = (int64_t)(1e12 * random_uniform(&random));
            for (int64_t i = 0; count < 499 && i < 1200; i++) {
                int64_t jitter = (int64_t)(0.02 * random_normal(&random) * (double)steps_ms[s]);
                int64_t time_ms = origin + i * steps_ms[s] + jitter;
                bool gone = 100.0 * random_uniform(&random) < lost || (i > 300 && i < 420);
                if (!gone) {
                    points[count++] = (struct point){time_ms, 1.0};
                }
                if (!gone && i % 9 == 0) {
                    points[count++] = (struct point){time_ms, 2.0}; /* twice */
                }
            }
            qsort(points, count, sizeof(points[0]), by_time);
            int64_t found = grid_step(points, count, 0);
            if (found != steps_ms[s]) {
                fail_msg("step %lld ms, %d %% lost: found %lld", (long long)steps_ms[s], lost,
                         (long long)found);
            }
        }
    }
}

static void counts_points_off_the_step(UNUSED void **state)
{
    struct point points[] = {
        {0, 1.0},          {MINUTE, 1.0},     {2 * MINUTE + 20000, 1.0}, {3 * MINUTE, 1.0},
        {6 * MINUTE, 1.0}, {6 * MINUTE, 1.0}, {7 * MINUTE + 3000, 1.0}};
    assert_int_equal(grid_off_step(points, 7, MINUTE), 2);
    assert_int_equal(grid_off_step(points, 1, MINUTE), 0);
}

static void finds_a_coarser_interval(void **state)
{
    (void)state;
    assert_int_equal(grid_coarser(15000, 337500), 360000);
    assert_int_equal(grid_coarser(60000, 60000), 60000);
    assert_int_equal(grid_coarser(60000, 60001), 120000);
    assert_int_equal(grid_coarser(120000, 180000), 240000); /* three minutes are no multiple */
    assert_int_equal(grid_coarser(7000, 20000), 0);
    assert_int_equal(grid_coarser(1000, 86400000), 86400000);
    assert_int_equal(grid_coarser(1000, 86400001), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(snaps_to_canonical_steps),
        cmocka_unit_test(needs_two_distinct_times),
        cmocka_unit_test(averages_cells_and_leaves_gaps),
        cmocka_unit_test(leaves_out_the_open_cell_and_what_is_too_old),
        cmocka_unit_test(turns_counters_into_rates),
        cmocka_unit_test(a_wrapped_counter_is_one_that_began_again),
        cmocka_unit_test(handles_times_before_the_epoch),
        cmocka_unit_test(excluded_points_have_no_value),
        cmocka_unit_test(a_counter_begins_again_behind_an_excluded_span),
        cmocka_unit_test(leaves_out_what_no_float_holds),
        cmocka_unit_test(infers_the_step_of_ragged_points),
        cmocka_unit_test(counts_points_off_the_step),
        cmocka_unit_test(finds_a_coarser_interval),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
