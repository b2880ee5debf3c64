/* Tests of a backtest's report: several seeds, what cannot be told, and the order of its rows.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "server/backtest_report.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static struct backtest_row rows[3];
static struct backtest_result result;
static struct backtest_report report;
static struct text out;

static struct metrics metrics_of(double mase, double wql)
{
    return (struct metrics){.series = 2, .points = 24, .mase = mase, .wql = wql, .cover80 = 0.75};
}

static int fill(void **state)
{
    (void)state;
    rows[0] = (struct backtest_row){"good", 0, metrics_of(0.5, 0.1), metrics_of(1, 0.2), 2};
    rows[1] = (struct backtest_row){"a,\"b\"", 1, metrics_of((double)NAN, (double)NAN),
                                    metrics_of((double)NAN, (double)NAN), 0};
    rows[2] = (struct backtest_row){"bad", 2, metrics_of(2, 0.3), metrics_of(1, 0.1), 3};
    result = (struct backtest_result){
        .series_used = 3, .series_left_out = 1, .season = 24, .rows = rows, .row_count = 3};
    result.champion = metrics_of(1.0, 0.25);
    for (int i = 0; i < BASELINE_COUNT; i++) {
        result.baselines[i] = metrics_of(2.0 + i, 0.5);
    }
    memset(&report, 0, sizeof(report));
    report.backbone = "logsparse";
    report.horizon = 12;
    report.windows = 2;
    report.left_out = 4;
    report.seed = 7;
    backtest_report_add(&report, &result);
    text_init(&out, 1 << 20);
    return 0;
}

static int drop(void **state)
{
    (void)state;
    text_release(&out);
    return 0;
}

static void assert_has(const char *part)
{
    if (strstr(out.bytes, part) == NULL) {
        fail_msg("%s is missing in %s", part, out.bytes);
    }
}

static void one_seed_is_as_it_is(void **state)
{
    (void)state;
    backtest_report_json(&report, 0, &out);
    assert_has("{\"series\":3,\"series_left_out\":5,\"horizon\":12,\"windows\":2,\"season\":24,");
    assert_has("\"champion\":{\"series\":2,\"points\":24,\"MASE\":1,");
    assert_has("\"last_value\":{\"series\":2,\"points\":24,\"MASE\":2,");
    assert_has("\"damped_trend\":{\"series\":2,\"points\":24,\"MASE\":5,");
    assert_null(strstr(out.bytes, "seeds"));
    assert_null(strstr(out.bytes, "by_series"));
    assert_null(strstr(out.bytes, "OWA"));
}

static void seeds_give_mean_and_range(void **state)
{
    (void)state;
    struct backtest_result second = result, third = result;
    second.champion = metrics_of(2.0, 0.5);
    third.champion = metrics_of(1.5, 0.0);
    second.champion.cover80_part[2] = 0.9;
    backtest_report_add(&report, &second);
    backtest_report_add(&report, &third);
    backtest_report_json(&report, 0, &out);
    assert_has("\"champion\":{\"series\":2,\"points\":24,\"MASE\":1.5,");
    assert_has("\"cover80_thirds\":[0,0,0.3");
    assert_has("\"seeds\":[{\"seed\":7,");
    assert_has("{\"seed\":9,");
    assert_has("\"champion_range\":{\"MASE\":[1,2],");
    assert_has("\"wQL\":[0,0.5]");
}

static void rows_are_bounded_with_the_worst_first(void **state)
{
    (void)state;
    backtest_report_json(&report, 3, &out);
    const char *bad = strstr(out.bytes, "\"series\":\"bad\"");
    const char *good = strstr(out.bytes, "\"series\":\"good\"");
    const char *unknown = strstr(out.bytes, "\"series\":\"a,\\\"b\\\"\"");
    assert_true(bad != NULL && good > bad && unknown > good); /* what cannot be told comes last */
    assert_has("\"best_baseline\":\"damped_trend\"");
    assert_has("{\"sMAPE\":0,\"MASE\":null,\"wQL\":null,\"cover80\":0.75}");
    text_clear(&out);
    backtest_report_json(&report, 1, &out);
    assert_has("\"by_series_total\":3,\"by_series\":[{\"series\":\"bad\"");
    assert_null(strstr(out.bytes, "good"));
}

static void the_table_of_series_is_in_their_order(void **state)
{
    (void)state;
    backtest_report_rows(&report, &out);
    assert_string_equal(out.bytes,
                        "series_id,sMAPE,MASE,wQL,cover80,points,best_baseline,baseline_sMAPE,"
                        "baseline_MASE,baseline_wQL,baseline_cover80\n"
                        "good,0,0.5,0.1,0.75,24,seasonal_naive,0,1,0.2,0.75\n"
                        "\"a,\"\"b\"\"\",0,,,0.75,24,last_value,0,,,0.75\n"
                        "bad,0,2,0.3,0.75,24,damped_trend,0,1,0.1,0.75\n");
}

static void ids_are_quoted_where_they_must_be(void **state)
{
    (void)state;
    backtest_csv_id(&out, "plain", 0);
    text_add_char(&out, '|');
    backtest_csv_id(&out, "plain", 3);
    text_add_char(&out, '|');
    backtest_csv_id(&out, "m{a=\"x\"}", 2);
    assert_string_equal(out.bytes, "plain|plain#3|\"m{a=\"\"x\"\"}#2\"");
}

static void read_table(const struct backtest_report *of, char *text, size_t capacity)
{
    FILE *file = tmpfile();
    assert_non_null(file);
    backtest_report_table(of, file);
    rewind(file);
    text[fread(text, 1, capacity - 1, file)] = '\0';
    fclose(file);
}

/* What a baseline was exact in, and what has no scale, is told in words, not as inf and nan. */
static void what_is_not_known_is_a_dash(void **state)
{
    char text[8000];
    struct backtest_result exact = result;
    struct backtest_report other = {
        .backbone = "logsparse", .horizon = 12, .windows = 2, .seed = 7};
    (void)state;
    exact.champion = metrics_of((double)NAN, 0.1);
    exact.baselines[BASELINE_LAST_VALUE].wql = 0.0;
    backtest_report_add(&other, &exact);
    read_table(&other, text, sizeof(text));
    assert_null(strstr(text, "nan"));
    assert_null(strstr(text, "inf"));
    assert_non_null(strstr(text, "wQL: the best baseline (last_value) made no error"));
    assert_non_null(strstr(text, "MASE: not known"));
    assert_non_null(strstr(text, "MASE                         -"));
}

static void people_read_what_beats_what(void **state)
{
    char text[8000];
    (void)state;
    read_table(&report, text, sizeof(text));
    assert_non_null(strstr(text, "MASE: 0.500 of the best baseline's (last_value)"));
    assert_non_null(
        strstr(text, "better than the best baseline, chosen for each afterwards: 1 of 3"));
    assert_non_null(strstr(text, "seasonal naive"));
    assert_true(strstr(text, "\nbad ") < strstr(text, "\ngood "));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, fill, drop)
    const struct CMUnitTest tests[] = {
        TEST(one_seed_is_as_it_is),
        TEST(seeds_give_mean_and_range),
        TEST(rows_are_bounded_with_the_worst_first),
        TEST(the_table_of_series_is_in_their_order),
        TEST(ids_are_quoted_where_they_must_be),
        TEST(what_is_not_known_is_a_dash),
        TEST(people_read_what_beats_what),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
