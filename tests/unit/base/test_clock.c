/* Tests of clock: the calendar against the C library, and tables of good and bad times and
 * durations. SPDX-License-Identifier: Apache-2.0
 */
#include "base/clock.h"
#include "base/random.h"
#include "tests/unit/base/test.h"

#include <string.h>
#include <time.h>

static enum status parse(const char *text, int strict, int64_t *ms)
{
    struct error error = {0};
    *ms = -12345;
    return clock_parse(text, strlen(text), strict, ms, &error);
}

static void good_times(UNUSED void **state)
{
    static const struct {
        const char *text;
        int64_t ms;
        int only_lenient;
    } rows[] = {
        {"1970-01-01T00:00:00Z", 0, 0},
        {"2026-11-22T13:40:00Z", 1795354800000, 0},
        {"2026-11-22T15:40:00+02:00", 1795354800000, 0},
        {"2026-11-22t13:40:00z", 1795354800000, 0},
        {"2026-11-22 13:40:00Z", 1795354800000, 0},
        {"2026-11-22T13:40:00.5Z", 1795354800500, 0},
        {"2026-11-22T13:40:00.05Z", 1795354800050, 0},
        {"2026-11-22T13:40:00.123456789Z", 1795354800123, 0},
        {"2026-11-22T13:40:00.1239-00:00", 1795354800123, 0},
        {"1969-12-31T23:59:59.999Z", -1, 0},
        {"1969-12-31T23:59:59.9999Z", -1, 0},
        {"2000-02-29T00:00:00Z", 951782400000, 0},
        {"2400-02-29T00:00:00Z", 13574563200000, 0},
        {"2024-02-29T23:59:59Z", 1709251199000, 0},
        {"0000-01-01T00:00:00Z", -62167219200000, 0},
        {"9999-12-31T23:59:59.999Z", 253402300799999, 0},
        {"2026-01-01T00:00:00+23:59", 1767225600000 - 86340000, 0},
        {"2026-11-22", 1795305600000, 1},
        {"2026-11-22 13:40:00", 1795354800000, 1},
        {"2026-11-22T13:40", 1795354800000, 1},
        {"2026-11-22 13:40:00+00", 1795354800000, 1},
        {"2026-11-22 13:40:00+0200", 1795347600000, 1},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        int64_t ms;
        if (parse(rows[i].text, 0, &ms) != STATUS_OK || ms != rows[i].ms) {
            fail_msg("%s became %lld", rows[i].text, (long long)ms);
        }
        enum status strict = parse(rows[i].text, 1, &ms);
        if (strict != (rows[i].only_lenient ? STATUS_INVALID : STATUS_OK)) {
            fail_msg("%s with a required offset: %s", rows[i].text, status_text(strict));
        }
    }
}

static void bad_times(UNUSED void **state)
{
    static const char *const rows[] = {
        "",
        "now",
        "2026",
        "2026-11",
        "2026-11-22T",
        "2026-11-22T13",
        "2026-13-01T00:00:00Z",
        "2026-00-01T00:00:00Z",
        "2026-01-00T00:00:00Z",
        "2026-01-32T00:00:00Z",
        "2026-02-29T00:00:00Z",
        "1900-02-29T00:00:00Z",
        "2200-02-29T00:00:00Z",
        "2026-04-31T00:00:00Z",
        "2026-11-22T24:00:00Z",
        "2026-11-22T23:60:00Z",
        "2026-12-31T23:59:60Z",
        "2026-11-22T13:40:00.Z",
        "2026-11-22T13:40:00,5Z",
        "2026-11-22T13:40:00+24:00",
        "2026-11-22T13:40:00+02:60",
        "2026-11-22T13:40:00+2:00",
        "2026-11-22T13:40:00ZZ",
        "2026-11-22T13:40:00Z ",
        " 2026-11-22T13:40:00Z",
        "26-11-22T13:40:00Z",
        "2026-11-22_13:40:00Z",
        "2026/11/22T13:40:00Z",
        "2026-1-22T13:40:00Z",
        "2026-11-22T1:40:00Z",
        "+2026-11-22T13:40:00Z",
        "2026-11-22T13:40:00+",
        "2026-11-22T13:40:0Z",
        "2026-11-22T13:40:00+02:",
        "2026-11-22T-3:40:00Z",
        "2026-11-22Z",
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        int64_t ms;
        if (parse(rows[i], 0, &ms) == STATUS_OK || parse(rows[i], 1, &ms) == STATUS_OK) {
            fail_msg("\"%s\" was accepted", rows[i]);
        }
        assert_int_equal(ms, -12345);
    }
    struct error error = {0};
    int64_t ms;
    assert_int_equal(clock_parse("2026-11-22T13:40:00", 19, 1, &ms, &error), STATUS_INVALID);
    assert_non_null(strstr(error.text, "the offset is missing"));
    assert_string_equal(error.code, "bad_time");
    /* The length counts, not a zero byte behind it. */
    assert_ok(clock_parse("2026-11-22T13:40:00Zjunk", 20, 1, &ms, &error));
    int64_t nowhere = 0;
    assert_int_equal(clock_parse(NULL, 0, 1, &nowhere, &(struct error){0}), STATUS_INVALID);
}

static void the_calendar_is_that_of_the_c_library(UNUSED void **state)
{
    struct random random;
    random_init(&random, 1, 1);
    for (int i = 0; i < 200000; i++) {
        int64_t second = (int64_t)random_below(&random, UINT64_C(315569520000)) - 62167219200;
        int64_t ms = second * 1000 + (int64_t)random_below(&random, 1000);
        time_t library_second = (time_t)second;
        struct tm tm;
        gmtime_r(&library_second, &tm);
        struct civil civil;
        clock_civil(ms, &civil);
        assert_int_equal(civil.year, tm.tm_year + 1900);
        assert_int_equal(civil.month, tm.tm_mon + 1);
        assert_int_equal(civil.day, tm.tm_mday);
        assert_int_equal(civil.hour, tm.tm_hour);
        assert_int_equal(civil.minute, tm.tm_min);
        assert_int_equal(civil.second, tm.tm_sec);
        assert_int_equal(civil.weekday, (tm.tm_wday + 6) % 7);
        char text[32];
        size_t length = clock_format(ms, text);
        assert_int_equal(strlen(text), length);
        int64_t back;
        struct error error;
        assert_ok(clock_parse(text, length, 1, &back, &error));
        assert_int_equal(back, ms);
    }
}

static void the_far_ends_fit_the_buffer(UNUSED void **state)
{
    char text[32];
    clock_format(-1, text);
    assert_string_equal(text, "1969-12-31T23:59:59.999Z");
    clock_format(-86400000, text);
    assert_string_equal(text, "1969-12-31T00:00:00Z");
    assert_int_equal(clock_format(INT64_MAX, text), strlen("292278994-08-17T07:12:55.807Z"));
    assert_string_equal(text, "292278994-08-17T07:12:55.807Z");
    clock_format(INT64_MIN, text);
    assert_string_equal(text, "-292275055-05-16T16:47:04.192Z");
}

static void durations(UNUSED void **state)
{
    static const struct {
        const char *text;
        int64_t ms; /* negative: refused */
    } rows[] = {
        {"30s", 30000},
        {"10m", 600000},
        {"24h", 86400000},
        {"7d", 604800000},
        {"500ms", 500},
        {"1h30m", 5400000},
        {"1d12h30m15s250ms", 131415250},
        {"2w", 1209600000},
        {"0", 0},
        {"0s", 0},
        {"1y", 31536000000},
        {"007s", 7000},
        {"", -1},
        {"5", -1},
        {"s", -1},
        {"-5s", -1},
        {"+5s", -1},
        {"1.5h", -1},
        {"30m1h", -1},
        {"1m1m", -1},
        {"5 s", -1},
        {" 5s", -1},
        {"5s ", -1},
        {"5S", -1},
        {"5sec", -1},
        {"1h30", -1},
        {"99999999999999999999s", -1},
        {"9223372036854775807d", -1},
        {"00", -1},
        {"5mm", -1},
        {"1ms1s", -1},
        {"292471209y", -1},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct error error = {0};
        int64_t ms = -1;
        enum status status = clock_parse_duration(rows[i].text, strlen(rows[i].text), &ms, &error);
        if (ms != rows[i].ms || (status == STATUS_OK) != (ms >= 0)) {
            fail_msg("\"%s\" became %lld", rows[i].text, (long long)ms);
        }
    }
}

static int64_t fixed_wall(void)
{
    return 42;
}

static void the_wall_can_be_replaced(UNUSED void **state)
{
    int64_t now = clock_wall_ms();
    assert_true(now > 1600000000000);
    clock_wall_replace(fixed_wall);
    assert_int_equal(clock_wall_ms(), 42);
    clock_wall_replace(NULL);
    assert_true(clock_wall_ms() >= now);
}

static void sleeping_takes_as_long_as_asked(UNUSED void **state)
{
    int64_t start = clock_monotonic_ns();
    clock_sleep_ms(-5);
    clock_sleep_ms(0);
    assert_true(clock_monotonic_ns() - start < 1000000000);
    start = clock_monotonic_ns();
    clock_sleep_ms(30);
    assert_true(clock_monotonic_ns() - start >= 30000000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good_times),
        cmocka_unit_test(bad_times),
        cmocka_unit_test(the_calendar_is_that_of_the_c_library),
        cmocka_unit_test(the_far_ends_fit_the_buffer),
        cmocka_unit_test(durations),
        cmocka_unit_test(the_wall_can_be_replaced),
        cmocka_unit_test(sleeping_takes_as_long_as_asked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
