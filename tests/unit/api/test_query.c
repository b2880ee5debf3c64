/* Query strings: decoding, bounds, unknown and repeated parameters.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "fixture.h"

#include "api/query.h"

static struct query_parameter room[4];
static char bytes[64];

static enum status parse(const char *text, struct query *query, struct error *error)
{
    *query = (struct query){room, 0, 4, bytes, sizeof(bytes), false};
    return query_parse(query, text, error);
}

static void test_decoding(void **state)
{
    (void)state;
    struct query query;
    struct error error = {0};
    assert_int_equal(parse("a=1&b=x+y%2Bz&&c&d=", &query, &error), STATUS_OK);
    assert_int_equal(query.count, 4);
    assert_string_equal(query_value(&query, "b"), "x y+z");
    assert_null(query_value(&query, "c"));
    assert_null(query_value(&query, "d"));
    assert_null(query_value(&query, "e"));
    assert_int_equal(parse("a=%C3%BC=1", &query, &error), STATUS_OK);
    assert_string_equal(query_value(&query, "a"), "\xC3\xBC=1");
}

static void test_refused(void **state)
{
    (void)state;
    static const char *const table[] = {
        "a=%",
        "a=%2",
        "a=%zz",
        "a=%00",
        "a=%0a",
        "a=\x7f",
        "a=1&b=2&c=3&d=4&e=5",
        "a=0123456789012345678901234567890123456789012345678901234567890123456789",
    };
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        struct query query;
        struct error error = {0};
        assert_int_equal(parse(table[i], &query, &error), STATUS_INVALID);
        assert_string_equal(error.code, "bad_query");
    }
}

static void test_check(void **state)
{
    (void)state;
    struct query query;
    struct error error = {0};
    assert_int_equal(parse("series=1&series=2", &query, &error), STATUS_OK);
    assert_int_equal(query_check(&query, "series steps", "series", &error), STATUS_OK);
    assert_int_equal(query_check(&query, "series steps", "", &error), STATUS_INVALID);
    assert_string_equal(error.code, "repeated_parameter");
    assert_int_equal(query_check(&query, "steps", "", &error), STATUS_INVALID);
    assert_string_equal(error.code, "unknown_parameter");
    assert_string_equal(error.param, "series");
    assert_int_equal(parse("ser=1", &query, &error), STATUS_OK);
    assert_int_equal(query_check(&query, "series", "", &error), STATUS_INVALID);
    /* Where others are let through, the known ones are looked at as ever. */
    assert_int_equal(parse("foo=1&foo=2&db=x&precision=s", &query, &error), STATUS_OK);
    assert_int_equal(query_check_known(&query, "db precision", "", &error), STATUS_OK);
    assert_int_equal(parse("db=x&foo=1&db=y", &query, &error), STATUS_OK);
    assert_int_equal(query_check_known(&query, "db precision", "", &error), STATUS_INVALID);
    assert_string_equal(error.code, "repeated_parameter");
}

static void test_typed(void **state)
{
    (void)state;
    struct query query;
    struct error error = {0};
    size_t size = 0;
    int64_t time_ms = 0;
    assert_int_equal(parse("n=12&t=1795354740000&d=1h30m", &query, &error), STATUS_OK);
    assert_int_equal(query_size(&query, "n", 1, 12, 5, &size, &error), STATUS_OK);
    assert_int_equal(size, 12);
    assert_int_equal(query_size(&query, "n", 1, 11, 5, &size, &error), STATUS_INVALID);
    assert_int_equal(query_size(&query, "m", 1, 11, 5, &size, &error), STATUS_OK);
    assert_int_equal(size, 5);
    assert_int_equal(query_time(&query, "t", 0, &time_ms, &error), STATUS_OK);
    assert_int_equal(time_ms, NOW_MS);
    assert_int_equal(query_duration(&query, "d", 0, &time_ms, &error), STATUS_OK);
    assert_int_equal(time_ms, 5400000);
    assert_int_equal(parse_size("n", "99999999999999999999999", 0, 9, &size, &error),
                     STATUS_INVALID);
    assert_int_equal(parse_time("t", "99999999999999999999999", &time_ms, &error), STATUS_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_decoding),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_check),
        cmocka_unit_test(test_typed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
