/* The door to OpenBLAS: sides, beta, and two threads at once.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "model/tape/blas.h"

#include "base/check.h"
#include "base/memory.h"
#include "base/random.h"

#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static void fill(real *values, size_t n, uint64_t stream)
{
    struct random random;
    random_init(&random, 8, stream);
    for (size_t i = 0; i < n; i++) {
        values[i] = (real)random_normal(&random);
    }
}

static void test_two_lanes_are_allowed(void **state)
{
    (void)state;
    struct error error = {0};
    enum status status = blas_check(2, &error);
    if (status != STATUS_OK) {
        fail_msg("%s; %s", error.text, error.hint);
    }
    assert_non_null(strstr(blas_description(), "OpenBLAS"));
}

/* All four combinations of sides, with steps wider than the rows, and beta. */
static void test_sides_and_beta(void **state)
{
    (void)state;
    enum { M = 5, N = 7, K = 6, STEP = 9 };
    real a[STEP * STEP], b[STEP * STEP], c[STEP * STEP], before[STEP * STEP];
    fill(a, ARRAY_COUNT(a), 1);
    fill(b, ARRAY_COUNT(b), 2);
    for (int sides = 0; sides < 4; sides++) {
        struct matrix left = {a, STEP, (sides & 1) != 0 ? BLAS_TRANSPOSED : BLAS_PLAIN};
        struct matrix right = {b, STEP, (sides & 2) != 0 ? BLAS_TRANSPOSED : BLAS_PLAIN};
        fill(c, ARRAY_COUNT(c), 3);
        memcpy(before, c, sizeof(c));
        blas_product(M, N, K, 2, left, right, (real)0.5, c, STEP);
        for (size_t i = 0; i < M; i++) {
            for (size_t j = 0; j < STEP; j++) {
                double sum = 0.5 * (double)before[i * STEP + j];
                for (size_t k = 0; k < K; k++) {
                    double x = (double)((sides & 1) != 0 ? a[k * STEP + i] : a[i * STEP + k]);
                    double z = (double)((sides & 2) != 0 ? b[j * STEP + k] : b[k * STEP + j]);
                    sum += 2 * x * z;
                }
                double expected = j < N ? sum : (double)before[i * STEP + j];
                assert_true(fabs((double)c[i * STEP + j] - expected) <= 1e-5);
            }
        }
    }
}

/* The size at which a build without locks gives wrong products when two threads call it. */
#define SIDE     112
#define PRODUCTS 4000

struct stress {
    const real *a, *b, *expected;
    size_t wrong;
};

static void *stress_thread(void *argument)
{
    struct stress *stress = argument;
    real *c = mem_alloc_aligned(SIDE * SIDE * sizeof(real));
    for (int i = 0; i < PRODUCTS; i++) {
        memset(c, 0, SIDE * SIDE * sizeof(real));
        blas_product(SIDE, SIDE, SIDE, 1, (struct matrix){stress->a, SIDE, BLAS_PLAIN},
                     (struct matrix){stress->b, SIDE, BLAS_TRANSPOSED}, 0, c, SIDE);
        stress->wrong += memcmp(c, stress->expected, SIDE * SIDE * sizeof(real)) != 0;
    }
    mem_free(c);
    return NULL;
}

static void test_two_threads_keep_every_bit(void **state)
{
    (void)state;
    size_t n = SIDE * SIDE;
    real *memory = mem_alloc_aligned(3 * n * sizeof(real));
    fill(memory, 2 * n, 4);
    real *expected = memory + 2 * n;
    blas_product(SIDE, SIDE, SIDE, 1, (struct matrix){memory, SIDE, BLAS_PLAIN},
                 (struct matrix){memory + n, SIDE, BLAS_TRANSPOSED}, 0, expected, SIDE);
    struct stress stress[2];
    pthread_t threads[2];
    for (int i = 0; i < 2; i++) {
        stress[i] = (struct stress){memory, memory + n, expected, 0};
        assert_int_equal(pthread_create(&threads[i], NULL, stress_thread, &stress[i]), 0);
    }
    for (int i = 0; i < 2; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        assert_int_equal(stress[i].wrong, 0);
    }
    mem_free(memory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_two_lanes_are_allowed),
        cmocka_unit_test(test_sides_and_beta),
        cmocka_unit_test(test_two_threads_keep_every_bit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
