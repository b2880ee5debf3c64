/* Tests of json_number: against strtod over random decimal strings, and the borders of integers.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "base/json_reader.h"
#include "base/random.h"
#include "tests/unit/base/test.h"

#include <inttypes.h>
#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Parses a copy of exactly the length and compares with the C library, sign of zero included. */
static void check_number(const char *text)
{
    size_t length = strlen(text);
    char *exact = malloc(length);
    memcpy(exact, text, length);
    double number = 0.0, expected = strtod(text, NULL);
    int64_t integer = 0;
    int is_integer = 0;
    size_t used = json_parse_number(exact, length, &number, &integer, &is_integer);
    free(exact);
    if (used != length || memcmp(&number, &expected, sizeof(number)) != 0) {
        fail_msg("%s became %.17g, %zu of %zu bytes", text, number, used, length);
    }
    if (is_integer) {
        char back[32];
        snprintf(back, sizeof(back), "%" PRId64, integer);
        if (strcmp(text, "-0") != 0) {
            assert_string_equal(back, text);
        }
    } else {
        assert_true(strpbrk(text, ".eE") != NULL || length > 18);
    }
}

static void add_digits(char *text, size_t *used, struct random *random, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        text[(*used)++] = (char)('0' + random_below(random, 10));
    }
}

static void random_decimals_round_like_strtod(UNUSED void **state)
{
    struct random random;
    random_init(&random, 20261122, 1);
    for (int i = 0; i < 1000000; i++) {
        char text[128];
        size_t used = 0;
        if (random_below(&random, 3) == 0) {
            text[used++] = '-';
        }
        size_t whole = random_below(&random, i % 10 == 0 ? 40 : 19);
        if (whole == 0) {
            text[used++] = '0';
        } else {
            text[used++] = (char)('1' + random_below(&random, 9));
            add_digits(text, &used, &random, whole - 1);
        }
        if (random_below(&random, 4) != 0) {
            text[used++] = '.';
            if (random_below(&random, 8) == 0) {
                size_t zeros = random_below(&random, 25);
                memset(text + used, '0', zeros);
                used += zeros;
            }
            add_digits(text, &used, &random, 1 + random_below(&random, i % 7 == 0 ? 35 : 12));
        }
        if (random_below(&random, 4) == 0) {
            used +=
                (size_t)snprintf(text + used, 16, "e%d",
                                 (int)random_below(&random, i % 5 ? 60 : 700) - (i % 5 ? 30 : 350));
        }
        text[used] = '\0';
        check_number(text);
    }
}

static void printed_doubles_come_back(UNUSED void **state)
{
    struct random random;
    random_init(&random, 20261122, 2);
    for (int i = 0; i < 300000; i++) {
        uint64_t bits = random_next(&random);
        double value;
        memcpy(&value, &bits, sizeof(value));
        if (i % 2) {
            value = random_normal(&random) * 1000.0;
        }
        if (isfinite(value)) {
            char text[64];
            snprintf(text, sizeof(text), "%.17g", value);
            check_number(text);
        }
    }
}

static void known_hard_cases(UNUSED void **state)
{
    static const char *const rows[] = {
        "0",
        "-0",
        "0.0",
        "-0.0",
        "0e5",
        "0.000e-400",
        "9007199254740993",
        "9007199254740992.5",
        "9007199254740993.00001",
        "2.2250738585072011e-308",
        "2.2250738585072014e-308",
        "4.9e-324",
        "2.4703282292062327e-324",
        "2.4703282292062328e-324",
        "1.7976931348623157e308",
        "1.7976931348623158e308",
        "1.7976931348623159e308",
        "1e309",
        "-1e309",
        "1e-400",
        "1e99999999999999999999",
        "1e-99999999999999999999",
        "0e99999999999999999999",
        "9223372036854775807",
        "-9223372036854775808",
        "9223372036854775808",
        "-9223372036854775809",
        "18446744073709551615",
        "18446744073709551616",
        "9999999999999999999",
        "99999999999999999999",
        "10000000000000000000",
        "1e19",
        "1e22",
        "1e23",
        "123456789012345678e5",
        "0.1234567890123456789",
        "0.00000000000000000012345",
        "100000000000000000000000000000000e-20",
        "8.98846567431158e307",
        "0.500000000000000166533453693773481063544750213623046875",
        "1.00000000000000011102230246251565404",
        "1.00000000000000011102230246251565405",
        "1795354740000",
        "12345678",
        "123456789",
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        check_number(rows[i]);
    }
}

static void what_follows_is_left_alone(UNUSED void **state)
{
    static const struct {
        const char *text;
        size_t used;
    } rows[] = {
        {"1,2", 1},        {"12]", 2},      {"1.5}", 3},     {"1e5 ", 3},  {"007", 1},
        {"-01", 2},        {"0x10", 1},     {"1-2", 1},      {"1.2.3", 3}, {"", 0},
        {"-", 0},          {"+1", 0},       {".5", 0},       {"1.", 0},    {"1.e5", 0},
        {"1e", 0},         {"1e+", 0},      {"e5", 0},       {"abc", 0},   {"-a", 0},
        {" 1", 0},         {"NaN", 0},      {"Infinity", 0}, {"-inf", 0},  {"12345678,", 8},
        {"123456789:", 9}, {"1234567/", 7},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        double number;
        int64_t integer;
        int is_integer;
        size_t used =
            json_parse_number(rows[i].text, strlen(rows[i].text), &number, &integer, &is_integer);
        if (used != rows[i].used) {
            fail_msg("\"%s\": %zu bytes", rows[i].text, used);
        }
    }
}

static void very_long_numbers(UNUSED void **state)
{
    char text[3000];
    memset(text, '1', sizeof(text));
    for (size_t length = 20; length < 1023; length += 17) {
        double number;
        int64_t integer;
        int is_integer;
        assert_int_equal(json_parse_number(text, length, &number, &integer, &is_integer), length);
        assert_false(is_integer);
        assert_true(length > 309 ? isinf(number) : number > 1e18);
    }
    double number;
    int64_t integer;
    int is_integer;
    assert_int_equal(json_parse_number(text, sizeof(text), &number, &integer, &is_integer), 0);
    /* Leading zeros of a fraction are no digits that count. */
    memcpy(text, "0.", 2);
    memset(text + 2, '0', 300);
    memcpy(text + 302, "25e301", 7);
    check_number(text);
}

static void the_locale_does_not_matter(UNUSED void **state)
{
    static const char *const names[] = {"de_DE.UTF-8", "de_DE.utf8", "fr_FR.UTF-8"};
    for (size_t i = 0; i < 3; i++) {
        if (setlocale(LC_NUMERIC, names[i]) != NULL) {
            break;
        }
    }
    double number;
    int64_t integer;
    int is_integer;
    const char *text = "0.1234567890123456789012345";
    assert_int_equal(json_parse_number(text, strlen(text), &number, &integer, &is_integer),
                     strlen(text));
    setlocale(LC_NUMERIC, "C");
    assert_true(number == 0.1234567890123456789012345);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_decimals_round_like_strtod),
        cmocka_unit_test(printed_doubles_come_back),
        cmocka_unit_test(known_hard_cases),
        cmocka_unit_test(what_follows_is_left_alone),
        cmocka_unit_test(very_long_numbers),
        cmocka_unit_test(the_locale_does_not_matter),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
