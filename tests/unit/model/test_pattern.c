/* Patterns: offsets, counts, reach, against the published table and against the definitions.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "model/ops/pattern.h"

#include "base/check.h"
#include "base/random.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static struct pattern make(size_t length, size_t window, size_t restart, bool last_pair)
{
    struct error error = {0};
    struct pattern pattern;
    struct pattern_log_sparse shape = {length, window, restart, last_pair, 0, 0};
    assert_int_equal(pattern_log_sparse(&shape, &pattern, &error), STATUS_OK);
    return pattern;
}

static size_t layers_to_close(const struct pattern *pattern, size_t length)
{
    struct error error = {0};
    size_t layers = 0;
    assert_int_equal(pattern_layers_to_close(pattern, length, PATTERN_LAYERS_MAX, &layers, &error),
                     STATUS_OK);
    return layers;
}

static void test_pure_log_offsets(void **state)
{
    (void)state;
    static const uint32_t expected[] = {0, 1, 2, 4, 8, 16};
    struct pattern pattern = make(17, 1, 0, true);
    assert_int_equal(pattern.offset_count, ARRAY_COUNT(expected));
    assert_memory_equal(pattern.offsets, expected, sizeof(expected));
    pattern_release(&pattern);
    pattern = make(17, 1, 0, false); /* the golden files' form */
    assert_int_equal(pattern.offset_count, ARRAY_COUNT(expected) - 1);
    pattern_release(&pattern);
}

/* The offset form of the golden files: {0..w} and {w + r R + 2^p}, only those < L - 1. */
static void test_restart_is_the_written_set(void **state)
{
    (void)state;
    const size_t length = 97, w = 3, restart = 24;
    struct pattern pattern = make(length, w + 1, restart, false);
    for (size_t o = 0; o < length; o++) {
        bool expected = o <= w;
        for (size_t r = 0; r * restart < length; r++) {
            for (size_t step = 1; step <= restart; step *= 2) {
                expected = expected || o == w + r * restart + step;
            }
        }
        expected = expected && o < length - 1;
        assert_int_equal(pattern_allows(&pattern, length - 1, length - 1 - o), expected);
    }
    pattern_release(&pattern);
}

/* The sums of `layers` offsets, one by one. */
static size_t plain_layers(const struct pattern *pattern, size_t length)
{
    static bool reach[2][8192];
    assert_in_range(length, 1, 8192);
    memset(reach, 0, sizeof(reach));
    reach[0][0] = true;
    for (size_t layers = 0; layers <= PATTERN_LAYERS_MAX; layers++) {
        bool *before = reach[layers % 2];
        bool *after = reach[(layers + 1) % 2];
        if (memchr(before, false, length) == NULL) {
            return layers;
        }
        memcpy(after, before, length);
        for (size_t o = 0; o < pattern->offset_count; o++) {
            for (size_t d = 0; d + pattern->offsets[o] < length; d++) {
                after[d + pattern->offsets[o]] |= before[d];
            }
        }
    }
    return 0;
}

/* Windows, strides, restarts at one level and two, at lengths around those of words; also offsets
 * that no rule made, and shorter sequences than the pattern was made for. */
static void test_closure_is_that_of_sums(void **state)
{
    (void)state;
    struct error error = {0};
    struct random random;
    size_t closed = 0;
    random_init(&random, 5, 0);
    for (int i = 0; i < 600; i++) {
        size_t length = 2 + random_below(&random, i % 10 == 0 ? 1500 : 330);
        length = i % 7 == 0 ? length / 64 * 64 + 64 + random_below(&random, 3) - 1 : length;
        size_t window = 1 + random_below(&random, 20);
        size_t restart = random_below(&random, 2) ? 1 + random_below(&random, 90) : 0;
        size_t far = restart > 0 && random_below(&random, 3) == 0 ? restart * 3 : 0;
        size_t first = random_below(&random, 2) ? window : 0;
        struct pattern_log_sparse shape = {length, window, restart, i % 2 == 0, first, far};
        struct pattern_window strided = {length, 3 * window, 1 + random_below(&random, 4), false};
        struct pattern pattern;
        assert_int_equal(i % 5 == 1 ? pattern_window(&strided, &pattern, &error)
                                    : pattern_log_sparse(&shape, &pattern, &error),
                         STATUS_OK);
        for (size_t o = 1; i % 3 == 2 && o < pattern.offset_count; o++) { /* some are left out */
            if (random_below(&random, 4) == 0) {
                memmove(pattern.offsets + o, pattern.offsets + o + 1,
                        (pattern.offset_count - o - 1) * sizeof(uint32_t));
                pattern.offset_count--;
            }
        }
        size_t shorter = i % 4 == 3 ? length / 2 + 1 : length;
        size_t layers = shorter > 1 ? plain_layers(&pattern, shorter) : 1;
        assert_int_equal(layers_to_close(&pattern, shorter), layers);
        closed += layers > 1;
        pattern_release(&pattern);
    }
    assert_in_range(closed, 200, 599);
}

/* Layers until full reach and mean keys a row: the table in Li et al.'s terms, checked by closure.
 */
static void test_closure_table(void **state)
{
    (void)state;
    static const struct {
        size_t length, log_layers, local_layers;
        double log_keys, local_keys;
    } rows[] = {
        {96, 6, 4, 6.7, 12.0},  {192, 7, 4, 7.7, 14.2},    {336, 8, 5, 8.5, 16.2},
        {768, 9, 6, 9.7, 18.5}, {1024, 10, 6, 10.0, 18.9},
    };
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        size_t length = rows[i].length;
        struct pattern pure = make(length, 1, 0, true);
        assert_int_equal(layers_to_close(&pure, length), rows[i].log_layers);
        double keys = (double)pattern_pairs(&pure, length) / (double)length;
        assert_true(fabs(keys - rows[i].log_keys) < 0.06);
        pattern_release(&pure);

        size_t window = (size_t)ceil(log2((double)length));
        struct pattern local = make(length, window, 0, true);
        keys = (double)pattern_pairs(&local, length) / (double)length;
        assert_int_equal(layers_to_close(&local, length), rows[i].local_layers);
        assert_true(fabs(keys - rows[i].local_keys) < 0.06);
        pattern_release(&local);
    }
}

static void test_rows_hold_what_the_mask_says(void **state)
{
    (void)state;
    enum { LENGTH = 23 };
    int32_t mask[LENGTH * LENGTH];
    struct pattern offsets = make(LENGTH, 3, 0, true);
    uint64_t pairs = 0;
    for (size_t i = 0; i < LENGTH; i++) {
        for (size_t j = 0; j < LENGTH; j++) {
            mask[i * LENGTH + j] = pattern_allows(&offsets, i, j);
            pairs += (uint64_t)mask[i * LENGTH + j];
        }
    }
    struct error error = {0};
    struct pattern rows;
    assert_int_equal(pattern_from_mask(mask, LENGTH, &rows, &error), STATUS_OK);
    for (size_t i = 0; i < LENGTH; i++) {
        for (size_t j = 0; j < LENGTH; j++) {
            assert_int_equal(pattern_allows(&rows, i, j), mask[i * LENGTH + j]);
        }
    }
    assert_int_equal(pattern_pairs(&rows, LENGTH), pairs);
    assert_int_equal(pattern_pairs(&offsets, LENGTH), pairs);
    assert_int_equal(layers_to_close(&rows, LENGTH), layers_to_close(&offsets, LENGTH));
    pattern_release(&rows);
    pattern_release(&offsets);
}

static void test_dense_leaves_nothing_out(void **state)
{
    (void)state;
    struct pattern dense = pattern_dense(50);
    assert_int_equal(layers_to_close(&dense, 50), 1);
    assert_true(pattern_sparse_share(&dense, 50) == 0);
    struct pattern window = make(50, 50, 0, true);
    assert_int_equal(window.offset_count, 50);
    assert_true(pattern_sparse_share(&window, 50) == 0);
    assert_true(pattern_prefers_dense(&window, 50));
    struct pattern wide = make(4096, 16, 1024, true);
    assert_true(pattern_sparse_share(&wide, 4096) > 0.95);
    assert_false(pattern_prefers_dense(&wide, 4096));
    pattern_release(&window);
    pattern_release(&wide);
}

/* Two levels of restarts: window 0-3, restarts at 3 + 4 i up to 3 + 16, far ones at 3 + 16 i, log
 * steps 3 + 4, 8, 16, 32, 64. Each distance has three digits. */
static void test_far_restarts(void **state)
{
    (void)state;
    static const uint32_t written[] = {0, 1, 2, 3, 7, 11, 15, 19, 23, 35, 51, 67, 83};
    struct error error = {0};
    struct pattern pattern;
    struct pattern_log_sparse shape = {90, 4, 4, true, 4, 16};
    assert_int_equal(pattern_log_sparse(&shape, &pattern, &error), STATUS_OK);
    assert_int_equal(pattern.offset_count, ARRAY_COUNT(written));
    assert_memory_equal(pattern.offsets, written, sizeof(written));
    assert_int_equal(layers_to_close(&pattern, 64), 3);
    pattern_release(&pattern);
}

/* Log steps from a first step on, and windows with a stride. */
static void test_first_step_and_windows(void **state)
{
    (void)state;
    static const uint32_t stepped[] = {0, 1, 2, 3, 7, 11, 19, 23, 27, 35, 39};
    struct error error = {0};
    struct pattern pattern;
    struct pattern_log_sparse shape = {40, 4, 16, true, 4, 0};
    assert_int_equal(pattern_log_sparse(&shape, &pattern, &error), STATUS_OK);
    assert_int_equal(pattern.offset_count, ARRAY_COUNT(stepped));
    assert_memory_equal(pattern.offsets, stepped, sizeof(stepped));
    size_t layers = layers_to_close(&pattern, 40);
    assert_true(layers > 1);
    size_t fewer = 1;
    assert_int_equal(pattern_layers_to_close(&pattern, 40, layers - 1, &fewer, &error), STATUS_OK);
    assert_int_equal(fewer, 0);
    pattern_release(&pattern);

    static const uint32_t strided[] = {0, 3, 6, 9};
    struct pattern_window window = {12, 5, 3, true};
    assert_int_equal(pattern_window(&window, &pattern, &error), STATUS_OK);
    assert_int_equal(pattern.offset_count, ARRAY_COUNT(strided)); /* 12 and 15 are too far */
    assert_memory_equal(pattern.offsets, strided, sizeof(strided));
    uint64_t pairs = 0;
    for (size_t i = 0; i < 12; i++) {
        for (size_t j = 0; j < 12; j++) {
            size_t distance = i > j ? i - j : j - i;
            assert_int_equal(pattern_allows(&pattern, i, j), distance % 3 == 0);
            pairs += distance % 3 == 0;
        }
    }
    assert_int_equal(pattern_pairs(&pattern, 12), pairs);
    pattern_release(&pattern);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pure_log_offsets),
        cmocka_unit_test(test_restart_is_the_written_set),
        cmocka_unit_test(test_closure_is_that_of_sums),
        cmocka_unit_test(test_closure_table),
        cmocka_unit_test(test_rows_hold_what_the_mask_says),
        cmocka_unit_test(test_dense_leaves_nothing_out),
        cmocka_unit_test(test_far_restarts),
        cmocka_unit_test(test_first_step_and_windows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
