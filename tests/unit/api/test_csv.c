/* Files of points in the three forms, well and badly formed.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "fixture.h"

#include <math.h>
#include <stdlib.h>

static enum status read_text(const char *text, struct csv_data *data, struct error *error)
{
    struct csv_options options = {.inflated_max = (size_t)1 << 20};
    return csv_read(text, strlen(text), &options, data, error);
}

static void test_wide(void **state)
{
    (void)state;
    struct csv_data data;
    struct error error = {0};
    const char *text = "\xEF\xBB\xBF"
                       "when,a,\"b{x=\"\"1\"\"}\"\r\n"
                       "2026-11-22T12:00:00Z,1,\r\n"
                       "2026-11-22 13:00:00,+2.5,-3e1\r\n"
                       "2026-11-22T15:00:00+01:00,nan,7";
    assert_int_equal(read_text(text, &data, &error), STATUS_OK);
    assert_int_equal(data.count, 2);
    assert_int_equal(data.rejected, 0);
    assert_string_equal(data.series[1].id, "b{x=\"1\"}");
    assert_int_equal(data.series[0].count, 3);
    assert_int_equal(data.series[0].step_ms, 3600000);
    assert_true(data.series[0].points[1].value == 2.5);
    assert_true(isnan(data.series[0].points[2].value));
    assert_true(isnan(data.series[1].points[0].value));
    assert_true(data.series[1].points[1].value == -30.0);
    assert_int_equal(data.series[0].points[2].time_ms, INT64_C(1795356000000));
    csv_free(&data);
}

static void test_long(void **state)
{
    (void)state;
    struct csv_data data;
    struct error error = {0};
    const char *text = "series_id,timestamp,value,label\n"
                       "b,1795354740000,2,0\n"
                       "a,2026-11-22T13:00:00Z,1,1\n"
                       "b,1795354680000,1,0\n"
                       "b,1795354740000,3,0\n";
    assert_int_equal(read_text(text, &data, &error), STATUS_OK);
    assert_int_equal(data.count, 2);
    assert_string_equal(data.series[0].id, "b");
    assert_int_equal(data.series[0].count, 2); /* in order; of two at one time the last counts */
    assert_true(data.series[0].points[0].value == 1.0);
    assert_true(data.series[0].points[1].value == 3.0);
    csv_free(&data);
}

static void test_rows(void **state)
{
    (void)state;
    struct csv_data data;
    struct error error = {0};
    const char *text = "series_id,start,step_seconds,values\nH1,2026-11-22T12:00:00Z,0.5,1 NaN 3\n";
    assert_int_equal(read_text(text, &data, &error), STATUS_OK);
    assert_int_equal(data.series[0].step_ms, 500);
    assert_int_equal(data.series[0].count, 3);
    assert_int_equal(data.series[0].points[2].time_ms - data.series[0].points[0].time_ms, 1000);
    csv_free(&data);
}

static void test_refused_rows(void **state)
{
    (void)state;
    static const struct {
        const char *text, *part;
        uint64_t rejected;
    } table[] = {
        {"time,a\nyesterday,1\n", "line 2", 1},
        {"time,a\n\n\n12,1\n", "line 4", 1},
        {"time,a\n2026-11-22T12:00:00Z,1,2\n", "number of fields", 1},
        {"time,a\n2026-11-22T12:00:00Z,x\n", "finite", 1},
        {"time,a\n2026-11-22T12:00:00Z,1e999\n", "finite", 1},
        {"time,a\n2026-11-22T12:00:00Z,\"1\"x\n", "closing quote", 1},
        {"time,a\n2026-11-22T12:00:00Z,\"1", "closing quote", 1},
        {"time,a\n1795354740,1\n", "1795354740 would lie before 1973", 1},
        {"time,a\n20/11/2026,1\n", "\"20/11/2026\"", 1},
        {"series_id,timestamp,value\na,b\n", "line 2", 1},
        {"series_id,timestamp,value\n,2026-11-22,1\n", "no name", 1},
        {"series_id,start,step_seconds,values\na,2026-11-22,0,1 2\n", "step_seconds", 1},
        {"series_id,start,step_seconds,values\na,2026-11-22,60,1 x 3\n", "finite", 1},
        {"series_id,start,step_seconds,values\na,2026-11-22,60\n", "line 2", 1},
    };
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        struct csv_data data;
        struct error error = {0};
        assert_int_equal(read_text(table[i].text, &data, &error), STATUS_OK);
        assert_int_equal(data.rejected, table[i].rejected);
        if (!strstr(data.first[0].text, table[i].part)) {
            fail_msg("%s is not in %s", table[i].part, data.first[0].text);
        }
        csv_free(&data);
    }
}

/* Numbers as people and spreadsheets write them. */
static void test_forms_of_numbers(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        double value;
    } good[] = {{" 1", 1}, {"\t1.5 ", 1.5}, {".5", 0.5},          {"-.5", -0.5}, {"+.5", 0.5},
                {"5.", 5}, {" -5. ", -5},   {".5e2", 50},         {"5.e2", 500}, {"0.", 0},
                {"+3", 3}, {" 1e3", 1000},  {"1234567.", 1234567}};
    static const char *const bad[] = {".",   "-.", "+",   "+-5", "..5", "5..", "1.2.3", ".e5",
                                      "1 2", "e5", "0x5", "05",  ".5x", "inf", "--5",   "5,"};
    struct csv_data data;
    char text[120];
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        struct error error = {0};
        snprintf(text, sizeof(text), "time,a\n 2026-11-22T12:00:00Z ,\"%s\"\n", good[i].text);
        assert_int_equal(read_text(text, &data, &error), STATUS_OK);
        if (data.rejected > 0 || data.series[0].points[0].value != good[i].value) {
            fail_msg("'%s': %s", good[i].text, data.first[0].text);
        }
        csv_free(&data);
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct error error = {0};
        snprintf(text, sizeof(text), "time,a\n2026-11-22T12:00:00Z,\"%s\"\n", bad[i]);
        assert_int_equal(read_text(text, &data, &error), STATUS_OK);
        if (data.rejected != 1) {
            fail_msg("'%s' was read", bad[i]);
        }
        csv_free(&data);
    }
}

/* Which value of thousands it was, and no more of it than fits on a line. */
static void test_refused_values_are_quoted(void **state)
{
    (void)state;
    struct csv_data data;
    struct error error = {0};
    char text[1200] = "time,a,power\n2026-11-22T12:00:00Z,1,", *end = text + strlen(text);
    memset(end, 'x', 900);
    strcpy(end + 900, "\n2026-11-22T13:00:00Z,1,\"a\x1b\"\"b\"\n");
    assert_int_equal(read_text(text, &data, &error), STATUS_OK);
    assert_int_equal(data.rejected, 2);
    assert_string_equal(data.first[0].text,
                        "line 2: column \"power\": \"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\"... "
                        "is not a finite number");
    assert_non_null(strstr(data.first[1].text, "line 3: column \"power\": \"a"));
    assert_null(strchr(data.first[1].text, 0x1b));
    csv_free(&data);
    const char *rows = "series_id,start,step_seconds,values\nH1,2026-11-22T12:00:00Z,60,1 x 3\n";
    assert_int_equal(read_text(rows, &data, &error), STATUS_OK);
    assert_string_equal(data.first[0].text,
                        "line 2: column \"values\": \"x\" is not a finite number");
    csv_free(&data);
}

/* Limits on times, with lines; all values of a file are in one count or the other. */
static void test_limits_on_times(void **state)
{
    (void)state;
    struct api_limits limits = {.max_future_ms = 600000, .retention_ms = INT64_C(86400000) * 30};
    struct csv_options options = {.inflated_max = (size_t)1 << 20,
                                  .limits = &limits,
                                  .now_ms = NOW_MS,
                                  .keep_repeated = true};
    struct csv_data data;
    struct error error = {0};
    const char *wide = "time,a,b\n"
                       "2026-11-22T12:00:00Z,1,2\n"
                       "2026-11-23T12:00:00Z,1,2\n"
                       "2025-11-22T12:00:00Z,1,2\n"
                       "2026-11-22T12:00:00Z,3,4\n";
    assert_int_equal(csv_read(wide, strlen(wide), &options, &data, &error), STATUS_OK);
    assert_int_equal(data.rejected, 4);
    assert_string_equal(data.first[0].code, "too_far_future");
    assert_non_null(strstr(data.first[0].text, "line 3: series \"a\": the timestamp lies "));
    assert_non_null(strstr(data.first[1].text, "line 3: series \"b\": "));
    assert_non_null(strstr(data.first[0].hint, "Check the clock"));
    assert_string_equal(data.first[2].code, "too_old");
    assert_non_null(strstr(data.first[2].text, "line 4: "));
    assert_int_equal(data.series[1].count, 2); /* both of one time, in their order */
    assert_true(data.series[1].points[0].value == 2.0 && data.series[1].points[1].value == 4.0);
    assert_int_equal(data.series[1].step_ms, 0);
    csv_free(&data);
    options.limits = NULL;
    options.keep_repeated = false;
    assert_int_equal(csv_read(wide, strlen(wide), &options, &data, &error), STATUS_OK);
    assert_int_equal(data.rejected, 0);
    assert_int_equal(data.series[1].count, 3);
    csv_free(&data);
}

static void test_unreadable(void **state)
{
    (void)state;
    static const char *const table[] = {
        "",
        "\n\n",
        "time",
        "time,\n",
        "time,a,a\n",
        "\"time",
        "\x1f\x8b",
        "timestamp,series_id,value\n2026-11-22T12:00:00Z,a,1\n",
        "series_id, timestamp, value\na, 2026-11-22T12:00:00Z, 1\n",
    };
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        struct csv_data data;
        struct error error = {0};
        if (read_text(table[i], &data, &error) != STATUS_INVALID) {
            fail_msg("\"%s\" was read", table[i]);
        }
        assert_non_null(error.code);
        assert_null(data.series);
    }
}

static void test_many_rows(void **state)
{
    (void)state;
    size_t length = 0, capacity = (size_t)4 << 20;
    char *text = malloc(capacity);
    assert_non_null(text);
    length += (size_t)snprintf(text, capacity, "series_id,timestamp,value\n");
    for (int i = 0; i < 40000; i++) {
        length += (size_t)snprintf(text + length, capacity - length, "s%d,%lld,%d\n", i % 500,
                                   (long long)(NOW_MS - (40000 - i) * 1000LL), i);
    }
    struct csv_data data;
    struct error error = {0};
    struct csv_options options = {.inflated_max = capacity};
    assert_int_equal(csv_read(text, length, &options, &data, &error), STATUS_OK);
    assert_int_equal(data.count, 500);
    assert_int_equal(data.series[7].count, 80);
    csv_free(&data);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_wide),
        cmocka_unit_test(test_long),
        cmocka_unit_test(test_rows),
        cmocka_unit_test(test_refused_rows),
        cmocka_unit_test(test_forms_of_numbers),
        cmocka_unit_test(test_refused_values_are_quoted),
        cmocka_unit_test(test_limits_on_times),
        cmocka_unit_test(test_unreadable),
        cmocka_unit_test(test_many_rows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
