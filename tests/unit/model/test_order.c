/* Sorting against the C library's, on orders that make quicksorts slow.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "model/order.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define COUNT 5000

static int compare(const void *left, const void *right)
{
    double a = *(const double *)left, b = *(const double *)right;
    return (a > b) - (a < b);
}

static void check(const double *values, size_t count)
{
    static double ours[COUNT], theirs[COUNT];
    memcpy(ours, values, count * sizeof(double));
    memcpy(theirs, values, count * sizeof(double));
    order_sort(ours, count);
    qsort(theirs, count, sizeof(double), compare);
    assert_memory_equal(ours, theirs, count * sizeof(double));
    /* Levels that share ranks, the ends among them: the same bits as from the sorted values. */
    static const double levels[] = {0.0, 0.025, 0.0251, 0.1, 0.5, 0.5, 0.9, 0.975, 1.0};
    enum { LEVELS = sizeof(levels) / sizeof(levels[0]) };
    double quantiles[LEVELS];
    memcpy(ours, values, count * sizeof(double));
    order_quantiles(ours, count, levels, LEVELS, quantiles);
    for (size_t i = 0; i < LEVELS; i++) {
        double expected = order_quantile(theirs, count, levels[i]);
        assert_memory_equal(&quantiles[i], &expected, sizeof(expected));
    }
}

static void test_orders(void **state)
{
    static double values[COUNT];
    (void)state;
    for (int shape = 0; shape < 6; shape++) {
        uint32_t random = 1;
        for (size_t i = 0; i < COUNT; i++) {
            random = random * 1664525u + 1013904223u;
            const double shapes[] = {
                (double)random,         (double)i, (double)(COUNT - i),
                (double)(random >> 30), 7.0,       (double)(i < COUNT / 2 ? i : COUNT - i)};
            values[i] = shapes[shape];
        }
        for (size_t count = 0; count < 60; count++) {
            check(values, count);
        }
        check(values, COUNT);
    }
}

/* Musser's sequence, whose medians of three are always among the smallest: the heap has to take
 * over. */
static void test_chosen_to_be_slow(void **state)
{
    static double values[COUNT];
    size_t half = COUNT / 2;
    (void)state;
    for (size_t i = 0; i < half; i++) {
        values[i] = i % 2 == 0 ? (double)(i + 1) : (double)(half + i + (half % 2));
        values[half + i] = (double)(2 * (i + 1));
    }
    check(values, COUNT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_orders),
        cmocka_unit_test(test_chosen_to_be_slow),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
