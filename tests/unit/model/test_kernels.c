/* Vector kernels of every level against the C library, and against each other.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "model/ops/kernels.h"

#include "base/check.h"
#include "base/random.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define COUNT 4099 /* not a multiple of any vector */

static real x[COUNT], y[COUNT], other[COUNT];

/* Error in units of the last place of the float result. */
static double units(double value, double exact)
{
    double unit = fmax(ldexp(1, ilogb(exact != 0 ? exact : 1e-38) - 23), 1e-45);
    return fabs(value - exact) / unit;
}

static void test_exp_within_two_units(void **state)
{
    (void)state;
    for (size_t l = 0; kernels_level(l) != NULL; l++) {
        for (int range = 0; range < 3; range++) {
            double low = range == 0 ? -87.3 : range == 1 ? -2 : -1e-3;
            double high = range == 0 ? 88 : range == 1 ? 2 : 1e-3;
            for (size_t i = 0; i < COUNT; i++) {
                x[i] = (real)(low + (high - low) * (double)i / (COUNT - 1));
            }
            kernels_level(l)->exp(COUNT, x, y);
            for (size_t i = 0; i < COUNT; i++) {
                assert_true(units((double)y[i], exp((double)x[i])) <= 2);
            }
        }
    }
}

static void test_exp_at_the_ends(void **state)
{
    (void)state;
    const real ends[] = {-(real)INFINITY, -1000, -88, 0, (real)NAN, 100, (real)INFINITY};
    real out[ARRAY_COUNT(ends)];
    for (size_t l = 0; kernels_level(l) != NULL; l++) {
        kernels_level(l)->exp(ARRAY_COUNT(ends), ends, out);
        assert_true(out[0] == 0);
        assert_true((double)out[1] < 1e-37 && (double)out[2] < 1e-37);
        assert_true(out[3] == 1);
        assert_true(isnan(out[4]));
        assert_true((double)out[5] > 1e38 && (double)out[6] > 1e38);
    }
}

static double gelu(double v)
{
    return 0.5 * v * (1 + tanh(sqrt(2 / 3.14159265358979324) * (v + 0.044715 * v * v * v)));
}

static void test_activations(void **state)
{
    (void)state;
    static real slopes[COUNT];
    for (size_t i = 0; i < COUNT; i++) {
        x[i] = (real)(-12 + 24 * (double)i / (COUNT - 1));
        other[i] = 1;
    }
    for (size_t l = 0; kernels_level(l) != NULL; l++) {
        const struct kernels *k = kernels_level(l);
        k->gelu(COUNT, x, y);
        k->gelu_back(COUNT, x, other, 0, slopes);
        for (size_t i = 0; i < COUNT; i++) {
            double v = (double)x[i];
            double slope = (gelu(v + 1e-5) - gelu(v - 1e-5)) / 2e-5;
            assert_true(fabs((double)y[i] - gelu(v)) <= 1e-6 * (1 + fabs(v)));
            assert_true(fabs((double)slopes[i] - slope) <= 2e-6 * (1 + fabs(v)));
        }
        k->gelu_back(COUNT, x, other, 1, slopes); /* adds */
        assert_true(fabs((double)slopes[COUNT - 1] - 2) < 1e-5);
        k->sigmoid(COUNT, x, y);
        for (size_t i = 0; i < COUNT; i++) {
            assert_true(fabs((double)y[i] - 1 / (1 + exp(-(double)x[i]))) <= 3e-7);
        }
    }
}

static void test_sums(void **state)
{
    (void)state;
    struct random random;
    random_init(&random, 1, 1);
    for (size_t i = 0; i < COUNT; i++) {
        x[i] = (real)random_normal(&random);
    }
    for (size_t l = 0; kernels_level(l) != NULL; l++) {
        double squares = 0;
        double sums[7] = {0};
        real by_kernel[7] = {0};
        for (size_t i = 0; i < 7 * 585; i++) {
            squares += (double)x[i] * (double)x[i];
            sums[i % 7] += (double)x[i];
        }
        assert_true(fabs(kernels_level(l)->squares(7 * 585, x) - squares) <= 1e-9 * squares);
        kernels_level(l)->column_sums(585, 7, x, by_kernel);
        for (size_t c = 0; c < 7; c++) {
            assert_true(fabs((double)by_kernel[c] - sums[c]) <= 1e-4);
        }
    }
}

/* Decoupled decay, bias corrections, clipping factor and the running mean, against double. */
static void test_adamw(void **state)
{
    (void)state;
    enum { N = 37 };
    const struct adamw step = {(real)0.01, (real)0.1,  (real)0.9, (real)0.99, (real)1e-8,
                               (real)0.19, (real)0.02, (real)0.5, (real)0.8};
    for (size_t l = 0; kernels_level(l) != NULL; l++) {
        real w[N], g[N], m[N], v[N], average[N];
        double expected[N], mean[N];
        for (size_t i = 0; i < N; i++) {
            w[i] = (real)sin((double)i);
            g[i] = (real)cos((double)i * 3);
            m[i] = (real)0.1;
            v[i] = (real)0.2;
            average[i] = (real)i;
            double gradient = 0.5 * (double)g[i];
            double moment = 0.9 * 0.1 + 0.1 * gradient;
            double square = 0.99 * 0.2 + 0.01 * gradient * gradient;
            expected[i] = (double)w[i] * (1 - 0.01 * 0.1) -
                          0.01 * (moment / 0.19) / (sqrt(square / 0.02) + 1e-8);
            mean[i] = (double)i + 0.2 * (expected[i] - (double)i);
        }
        kernels_level(l)->adamw(N, &step, w, g, m, v, average);
        for (size_t i = 0; i < N; i++) {
            assert_true(fabs((double)w[i] - expected[i]) <= 1e-6);
            assert_true(fabs((double)average[i] - mean[i]) <= 1e-5);
        }
    }
}

/* Levels differ by rounding only, and the same call gives the same bits. */
static void test_levels_agree(void **state)
{
    (void)state;
    enum { T = 45, H = 16 };
    static real q[T * 2 * H], v[T * H], out[2][T * H], sums[T], scratch[1 << 18];
    struct random random;
    random_init(&random, 2, 2);
    for (size_t i = 0; i < T * 2 * H; i++) {
        q[i] = (real)random_normal(&random);
        v[i % (T * H)] = (real)random_normal(&random);
    }
    for (size_t l = 0; kernels_level(l) != NULL; l++) {
        assert_true(kernels_level(l)->attention_scratch(T, T, H) <= ARRAY_COUNT(scratch));
        for (int round = 0; round < 2; round++) {
            struct attention_head head = {.length = T,
                                          .width = H,
                                          .q = q,
                                          .k = q + H,
                                          .v = v,
                                          .qk_step = 2 * H,
                                          .v_step = H,
                                          .out = out[l > 0 || round > 0],
                                          .log_sum = sums,
                                          .scale = (real)0.25,
                                          .causal = true,
                                          .scratch = scratch};
            kernels_level(l)->attention(&head);
            if (l == 0 && round == 1) {
                assert_memory_equal(out[0], out[1], sizeof(out[0]));
            }
        }
        for (size_t i = 0; i < T * H; i++) {
            assert_true(fabs((double)(out[0][i] - out[1][i])) <= 2e-6);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_exp_within_two_units),
        cmocka_unit_test(test_exp_at_the_ends),
        cmocka_unit_test(test_activations),
        cmocka_unit_test(test_sums),
        cmocka_unit_test(test_adamw),
        cmocka_unit_test(test_levels_agree),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
