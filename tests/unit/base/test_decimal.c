/* Tests of decimal: every double reads back, is as short as can be, and rounds as printf does.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "base/decimal.h"
#include "base/random.h"
#include "tests/unit/base/test.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *written(double value)
{
    static char buffer[DECIMAL_BYTES_MAX + 1];
    size_t length = decimal_write_double(buffer, value);
    assert_true(length <= DECIMAL_BYTES_MAX);
    buffer[length] = '\0';
    return buffer;
}

static int significant(const char *text)
{
    int count = 0, zeros = 0;
    for (; *text != '\0' && *text != 'e'; text++) {
        if (*text == '0') {
            zeros += count > 0;
        } else if (*text >= '1' && *text <= '9') {
            count += zeros + 1;
            zeros = 0;
        }
    }
    return count;
}

static void check_shortest(double value)
{
    const char *text = written(value);
    double back = strtod(text, NULL);
    if (back != value) {
        fail_msg("%.17g was written as %s", value, text);
    }
    char shortest[64];
    for (int digits = 1; digits <= 17; digits++) {
        snprintf(shortest, sizeof(shortest), "%.*g", digits, value);
        if (strtod(shortest, NULL) == value) {
            if (significant(text) > digits) {
                fail_msg("%s could be %s", text, shortest);
            }
            return;
        }
    }
}

static void known_values(UNUSED void **state)
{
    static const struct {
        double value;
        const char *text;
    } rows[] = {
        {0.0, "0"},
        {-0.0, "0"},
        {1.0, "1"},
        {-1.0, "-1"},
        {21.4, "21.4"},
        {-21.5, "-21.5"},
        {0.1, "0.1"},
        {0.3, "0.3"},
        {0.1 + 0.2, "0.30000000000000004"},
        {100.0, "100"},
        {1e15, "1000000000000000"},
        {9007199254740991.0, "9007199254740991"},
        {1e22, "1e22"},
        {1e23, "1e23"},
        {1e300, "1e300"},
        {1e-5, "0.00001"},
        {1.5e-5, "0.000015"},
        {1e-7, "1e-7"},
        {-2.5e-9, "-2.5e-9"},
        {5e-324, "5e-324"},
        {2.2250738585072014e-308, "2.2250738585072014e-308"},
        {1.7976931348623157e308, "1.7976931348623157e308"},
        {0.001, "0.001"},
        {1795354740000.0, "1795354740000"},
        {1.0 / 3, "0.3333333333333333"},
        {2.0 / 3, "0.6666666666666666"},
        {123456.789, "123456.789"},
        {0.000123, "0.000123"},
        {999999.9999999, "999999.9999999"},
        {4.35, "4.35"},
        {1.005, "1.005"},
        {1.1e10, "11000000000"},
        {0.07, "0.07"},
        {1e21, "1e21"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        assert_string_equal(written(rows[i].value), rows[i].text);
    }
}

static void any_bit_pattern_reads_back(UNUSED void **state)
{
    struct random random;
    random_init(&random, 20261122, 1);
    for (int i = 0; i < 1000000; i++) {
        uint64_t bits = random_next(&random);
        double value;
        memcpy(&value, &bits, sizeof(value));
        if (isfinite(value)) {
            const char *text = written(value);
            if (strtod(text, NULL) != value) {
                fail_msg("%.17g was written as %s", value, text);
            }
        }
    }
}

static void readings_are_as_short_as_can_be(UNUSED void **state)
{
    struct random random;
    random_init(&random, 20261122, 2);
    for (int i = 0; i < 100000; i++) {
        double scale = pow(10.0, (double)random_below(&random, 24) - 7.0);
        double value = random_normal(&random) * scale;
        check_shortest(value);
        check_shortest((double)(float)value);
        double power = pow(10.0, (double)random_below(&random, 9));
        check_shortest(round(value * power) / power);
        check_shortest(ldexp(1.0, (int)random_below(&random, 120) - 60));
    }
}

static void digits_round_like_printf(UNUSED void **state)
{
    struct random random;
    random_init(&random, 20261122, 3);
    char zero[DECIMAL_BYTES_MAX];
    assert_int_equal(decimal_write_double_digits(zero, -0.0, 3), 1);
    assert_int_equal(zero[0], '0');
    for (int i = 0; i < 300000; i++) {
        double value = random_normal(&random) * pow(10.0, (double)random_below(&random, 30) - 12.0);
        if (i % 4 == 0) {
            value = (double)((int64_t)random_below(&random, 200001) - 100000) / 8; /* ties */
        }
        int digits = 1 + (int)random_below(&random, 17);
        char text[DECIMAL_BYTES_MAX + 1], expected[64];
        size_t length = decimal_write_double_digits(text, value, digits);
        text[length] = '\0';
        snprintf(expected, sizeof(expected), "%.*g", digits, value);
        if (strtod(text, NULL) != strtod(expected, NULL) || significant(text) > digits) {
            fail_msg("%.17g to %d digits: %s, not %s", value, digits, text, expected);
        }
    }
}

static void integers_are_written(UNUSED void **state)
{
    struct random random;
    random_init(&random, 20261122, 4);
    char text[DECIMAL_BYTES_MAX + 1], expected[64];
    int64_t edges[] = {0, 1, -1, 9, 10, 99, 100, INT64_MAX, INT64_MIN};
    for (int i = 0; i < 100000; i++) {
        int64_t value = (int64_t)(random_next(&random) >> random_below(&random, 64));
        value = i < 9 ? edges[i] : i % 2 ? value : (int64_t)(0 - (uint64_t)value);
        text[decimal_write_int(text, value)] = '\0';
        snprintf(expected, sizeof(expected), "%" PRId64, value);
        assert_string_equal(text, expected);
    }
    for (uint64_t power = 1, i = 0; i < 19; i++, power *= 10) {
        for (int off = -1; off <= 1; off++) {
            int64_t value = (int64_t)power + off;
            text[decimal_write_int(text, value)] = '\0';
            snprintf(expected, sizeof(expected), "%" PRId64, value);
            assert_string_equal(text, expected);
        }
    }
}

static void digits_and_exponent_round_correctly(UNUSED void **state)
{
    struct random random;
    random_init(&random, 20261122, 5);
    for (int i = 0; i < 500000; i++) {
        uint64_t digits = random_next(&random) >> random_below(&random, 64);
        int exponent = (int)random_below(&random, 39) - 19;
        if (i % 3 == 0) {
            /* Half way between two doubles, and next to it. */
            digits = ((random_next(&random) >> 11 | UINT64_C(1) << 52) << 1 | 1) +
                     random_below(&random, 3) - 1;
            exponent = (int)random_below(&random, 3);
        }
        char text[64];
        double value = -1.0;
        snprintf(text, sizeof(text), "%" PRIu64 "e%d", digits, exponent);
        assert_true(decimal_to_double(digits, exponent, &value));
        if (value != strtod(text, NULL)) {
            fail_msg("%s became %.17g", text, value);
        }
    }
    double value;
    assert_false(decimal_to_double(1, 20, &value));
    assert_false(decimal_to_double(1, -20, &value));
    assert_true(decimal_to_double(0, 99999, &value));
    assert_true(value == 0.0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_values),
        cmocka_unit_test(any_bit_pattern_reads_back),
        cmocka_unit_test(readings_are_as_short_as_can_be),
        cmocka_unit_test(digits_round_like_printf),
        cmocka_unit_test(integers_are_written),
        cmocka_unit_test(digits_and_exponent_round_correctly),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
