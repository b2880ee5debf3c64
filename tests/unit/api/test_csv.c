/* Files of points in the three forms, well and badly formed.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "fixture.h"

#include <math.h>
#include <stdlib.h>

static enum status read_text(const char *text, struct csv_data *data, struct error *error)
{
    return csv_read(text, strlen(text), (size_t)1 << 20, data, error);
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
    assert_int_equal(csv_read(text, length, capacity, &data, &error), STATUS_OK);
    assert_int_equal(data.count, 500);
    assert_int_equal(data.series[7].count, 80);
    csv_free(&data);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_wide),       cmocka_unit_test(test_long),
        cmocka_unit_test(test_rows),       cmocka_unit_test(test_refused_rows),
        cmocka_unit_test(test_unreadable), cmocka_unit_test(test_many_rows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
