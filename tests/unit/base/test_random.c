/* Tests of random: the published generator, its distributions, independence of streams.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "base/random.h"
#include "tests/unit/base/test.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static void the_generator_is_the_published_one(UNUSED void **state)
{
    /* xoshiro256++ from the state 1, 2, 3, 4, as the authors' program prints it. */
    static const uint64_t expected[] = {
        41943041u,           58720359u, 3588806011781223u, 3591011842654386u, 9228616714210784205u,
        9973669472204895162u};
    struct random random = {{1, 2, 3, 4}};
    for (size_t i = 0; i < sizeof(expected) / sizeof(expected[0]); i++) {
        assert_true(random_next(&random) == expected[i]);
    }
}

static void same_seed_same_numbers(UNUSED void **state)
{
    struct random a, b;
    random_init(&a, 7, 3);
    random_init(&b, 7, 3);
    for (int i = 0; i < 1000; i++) {
        assert_true(random_normal(&a) == random_normal(&b));
    }
    /* A change of these would change every trained model. */
    random_init(&a, 7, 0);
    assert_true(random_next(&a) == UINT64_C(15678166323099165934));
    assert_true(random_next(&a) == UINT64_C(12133174602767525814));
}

static void seeds_and_streams_differ(UNUSED void **state)
{
    enum { SIDE = 40 };
    static uint64_t firsts[SIDE * SIDE];
    size_t count = 0;
    for (uint64_t seed = 0; seed < SIDE; seed++) {
        for (uint64_t stream = 0; stream < SIDE; stream++) {
            struct random random;
            random_init(&random, seed, stream);
            uint64_t first = random_next(&random);
            for (size_t i = 0; i < count; i++) {
                assert_true(firsts[i] != first);
            }
            firsts[count++] = first;
        }
    }
}

static void uniform_and_normal_have_their_moments(UNUSED void **state)
{
    struct random random;
    random_init(&random, 1, 1);
    enum { COUNT = 2000000 };
    double sum = 0.0, squares = 0.0, fourths = 0.0, uniform = 0.0;
    int beyond_two = 0;
    for (int i = 0; i < COUNT; i++) {
        double u = random_uniform(&random);
        assert_true(u >= 0.0 && u < 1.0);
        uniform += u;
        double z = random_normal(&random);
        sum += z;
        squares += z * z;
        fourths += z * z * z * z;
        beyond_two += fabs(z) > 1.959963985;
    }
    /* Each bound is about five standard errors wide. */
    assert_true(fabs(uniform / COUNT - 0.5) < 0.001);
    assert_true(fabs(sum / COUNT) < 0.0036);
    assert_true(fabs(squares / COUNT - 1.0) < 0.005);
    assert_true(fabs(fourths / COUNT - 3.0) < 0.035);
    assert_true(fabs((double)beyond_two / COUNT - 0.05) < 0.0008);
}

static void normals_are_exact(UNUSED void **state)
{
    /* The same polar method with the C library's logarithm. */
    struct random random, copy;
    random_init(&random, 3, 1);
    for (int i = 0; i < 200000; i++) {
        copy = random;
        double x, square;
        do {
            x = 2.0 * random_uniform(&copy) - 1.0;
            double y = 2.0 * random_uniform(&copy) - 1.0;
            square = x * x + y * y;
        } while (square >= 1.0 || square == 0.0);
        double expected = x * sqrt(-2.0 * log(square) / square);
        assert_true(fabs(random_normal(&random) - expected) <= 2e-15 * fabs(expected));
    }
}

static void below_is_unbiased(UNUSED void **state)
{
    struct random random;
    random_init(&random, 2, 1);
    int counts[7] = {0};
    for (int i = 0; i < 700000; i++) {
        uint64_t drawn = random_below(&random, 7);
        assert_true(drawn < 7);
        counts[drawn]++;
    }
    for (int i = 0; i < 7; i++) {
        assert_true(abs(counts[i] - 100000) < 1600);
    }
    /* Three quarters of 2^64: without rejection the lower part would come out too often. */
    uint64_t bound = UINT64_C(3) << 62;
    int low = 0;
    for (int i = 0; i < 100000; i++) {
        uint64_t drawn = random_below(&random, bound);
        assert_true(drawn < bound);
        low += drawn % 3 == 0;
    }
    assert_true(abs(low - 33333) < 800);
    assert_true(random_below(&random, 1) == 0);
}

static void secrets_are_not_repeated(UNUSED void **state)
{
    unsigned char a[64] = {0}, b[64] = {0}, zero[64] = {0};
    random_secret(a, sizeof(a));
    random_secret(b, sizeof(b));
    assert_memory_not_equal(a, b, sizeof(a));
    assert_memory_not_equal(a, zero, sizeof(a));
    random_secret(a, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_generator_is_the_published_one),
        cmocka_unit_test(same_seed_same_numbers),
        cmocka_unit_test(seeds_and_streams_differ),
        cmocka_unit_test(uniform_and_normal_have_their_moments),
        cmocka_unit_test(normals_are_exact),
        cmocka_unit_test(below_is_unbiased),
        cmocka_unit_test(secrets_are_not_repeated),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
