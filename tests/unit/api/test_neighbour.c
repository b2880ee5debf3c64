/* Answers of Prometheus and InfluxDB, well and badly formed.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "fixture.h"

#include "base/check.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* What was handed on, as lines "series time value". */
struct taken {
    char text[4096];
    size_t length, calls;
    bool full; /* refuse */
};

static enum status take(void *context, const char *series, size_t length,
                        const struct point *points, size_t count, struct error *error)
{
    struct taken *taken = context;
    taken->calls++;
    if (taken->full) {
        return error_set(error, STATUS_NO_SPACE, "the disk is full");
    }
    for (size_t i = 0; i < count && taken->length < sizeof(taken->text) - 256; i++) {
        taken->length += (size_t)snprintf(
            taken->text + taken->length, sizeof(taken->text) - taken->length, "%.*s %lld %.15g\n",
            (int)length, series, (long long)points[i].time_ms, points[i].value);
    }
    return STATUS_OK;
}

enum kind { PROMETHEUS, INFLUXQL, FLUX };

static enum status read_as(enum kind kind, const char *text, struct neighbour_answer *answer,
                           struct taken *taken, struct error *error)
{
    char bytes[8192];
    size_t length = strlen(text);
    assert_true(length < sizeof(bytes));
    memcpy(bytes, text, length); /* without a zero byte behind it */
    memset(taken, 0, sizeof(*taken));
    answer->take = take;
    answer->context = taken;
    memset(error, 0, sizeof(*error));
    switch (kind) {
    case PROMETHEUS:
        return neighbour_read_prometheus(bytes, length, answer, error);
    case INFLUXQL:
        return neighbour_read_influxql(bytes, length, answer, error);
    case FLUX:
        return neighbour_read_flux(bytes, length, answer, error);
    }
    return STATUS_INTERNAL;
}

static void test_prometheus(void **state)
{
    (void)state;
    struct neighbour_answer answer = {0};
    struct taken taken;
    struct error error;
    assert_int_equal(
        read_as(PROMETHEUS,
                "{\"status\":\"success\",\"warnings\":[\"half of it\",\"more\"],\"data\":"
                "{\"resultType\":\"matrix\",\"result\":["
                "{\"metric\":{\"job\":\"x\",\"__name__\":\"up\",\"none\":\"\"},\"values\":"
                "[[1795354740,\"1\"],[1795354740.5,\"NaN\"],[1795354741.001,\"-2.5e+08\"]]},"
                "{\"metric\":{\"__name__\":\"a \\\"b\\\"\"},\"values\":[[1,\"+Inf\"],[2,\"7\"]]},"
                "{\"metric\":{\"__name__\":\"h\"},\"histograms\":[[1,{\"count\":\"3\"}]]}]}}",
                &answer, &taken, &error),
        STATUS_OK);
    assert_string_equal(taken.text, "up{job=\"x\"} 1795354740000 1\n"
                                    "up{job=\"x\"} 1795354741001 -250000000\n"
                                    "{\"a \\\"b\\\"\"} 2000 7\n");
    assert_int_equal(answer.points, 3);
    assert_int_equal(answer.missing, 1);
    assert_int_equal(answer.skipped, 1);
    assert_string_equal(answer.warning, "half of it");
}

static void test_prometheus_names(void **state)
{
    (void)state;
    static const char text[] = "{\"data\":{\"result\":[{\"metric\":{\"a\":\"1\"},\"values\":"
                               "[[1,\"5\"]]}]}}";
    struct neighbour_answer answer = {0};
    struct taken taken;
    struct error error;
    assert_int_equal(read_as(PROMETHEUS, text, &answer, &taken, &error), STATUS_OK);
    assert_int_equal(answer.refused_series, 1);
    assert_int_equal(taken.calls, 0);
    assert_string_equal(answer.refusal.hint, "Give it one with --name.");
    answer.name = "load";
    assert_int_equal(read_as(PROMETHEUS, text, &answer, &taken, &error), STATUS_OK);
    assert_string_equal(taken.text, "load{a=\"1\"} 1000 5\n");
}

static void test_prometheus_errors(void **state)
{
    (void)state;
    static const char *const broken[] = {
        "",
        "[]",
        "{\"data\":{\"result\":[{\"metric\":{},\"values\":[[1,\"x\"]]}]}}",
        "{\"data\":{\"result\":[{\"metric\":{},\"values\":[[1,2]]}]}}",
        "{\"data\":{\"result\":[{\"metric\":{},\"values\":[[1e300,\"2\"]]}]}}",
        "{\"data\":{\"result\":[{\"metric\":{},\"values\":[[1,\"2\",3]]}]}}",
        "{\"data\":{\"result\":[1]}}",
        "{\"data\":{\"result\":[{\"metric\":{\"a\":1}}]}}",
        "{\"data\":{\"result\":[",
        "{\"data\":{\"result\":[]}} x",
    };
    struct neighbour_answer answer = {.name = "n"};
    struct taken taken;
    struct error error;
    for (size_t i = 0; i < ARRAY_COUNT(broken); i++) {
        assert_int_equal(read_as(PROMETHEUS, broken[i], &answer, &taken, &error), STATUS_INVALID);
    }
    assert_int_equal(read_as(PROMETHEUS,
                             "{\"status\":\"error\",\"errorType\":\"bad_data\",\"error\":\"no\"}",
                             &answer, &taken, &error),
                     STATUS_INVALID);
    assert_string_equal(error.text, "bad_data: no");
}

static void test_influxql(void **state)
{
    (void)state;
    struct neighbour_answer answer = {.column_prefix = "mean_"};
    struct taken taken;
    struct error error;
    assert_int_equal(
        read_as(INFLUXQL,
                "{\"results\":[{\"statement_id\":0,\"series\":[{\"name\":\"cpu\",\"tags\":"
                "{\"host\":\"a\",\"rack\":\"\"},\"columns\":[\"time\",\"mean_idle\",\"on\"],"
                "\"values\":[[1000,98.5,\"yes\"],[2000,null,true],[3000,1e400,\"no\"]],"
                "\"partial\":true}],\"partial\":true}]}\n"
                "{\"results\":[{\"series\":[{\"name\":\"cpu\",\"columns\":[\"n\",\"time\"],"
                "\"values\":[[7,4000]]}]},{\"statement_id\":1}]}\n",
                &answer, &taken, &error),
        STATUS_OK);
    assert_string_equal(taken.text, "cpu_idle{host=\"a\"} 1000 98.5\ncpu_n 4000 7\n");
    assert_int_equal(answer.missing, 1);
    assert_int_equal(answer.skipped, 4);
}

static void test_influxql_errors(void **state)
{
    (void)state;
    static const char *const broken[] = {
        "[]",
        "{\"results\":[{\"series\":[{\"name\":\"a\",\"values\":[[1,2]]}]}]}",
        "{\"results\":[{\"series\":[{\"name\":\"a\",\"columns\":[\"x\",\"y\"],"
        "\"values\":[[1,2]]}]}]}",
        "{\"results\":[{\"series\":[{\"name\":\"a\",\"columns\":[\"time\",\"y\"],"
        "\"values\":[[\"t\",2]]}]}]}",
        "{\"results\":[{\"series\":[{\"name\":\"a\",\"columns\":[\"time\",\"y\"],"
        "\"values\":[[1,{}]]}]}]}",
        "{\"results\":[{\"series\":[{\"name\":\"a\"",
    };
    struct neighbour_answer answer = {0};
    struct taken taken;
    struct error error;
    for (size_t i = 0; i < ARRAY_COUNT(broken); i++) {
        assert_int_equal(read_as(INFLUXQL, broken[i], &answer, &taken, &error), STATUS_INVALID);
    }
    assert_int_equal(read_as(INFLUXQL, "{\"results\":[{\"error\":\"database not found: x\"}]}",
                             &answer, &taken, &error),
                     STATUS_INVALID);
    assert_string_equal(error.text, "database not found: x");
}

static const char flux_head[] =
    "#datatype,string,long,dateTime:RFC3339,dateTime:RFC3339,dateTime:RFC3339,double,string,"
    "string,string\r\n"
    "#group,false,false,true,true,false,false,true,true,true\r\n"
    "#default,_result,,,,,,,,none\r\n"
    ",result,table,_start,_stop,_time,_value,_field,_measurement,host\r\n";

static void test_flux(void **state)
{
    (void)state;
    char text[4096];
    struct neighbour_answer answer = {0};
    struct taken taken;
    struct error error;
    snprintf(
        text, sizeof(text),
        "%s"
        ",,0,2026-11-22T12:00:00Z,2026-11-22T13:00:00Z,2026-11-22T12:01:00Z,98.25,idle,cpu,a\r\n"
        ",,0,2026-11-22T12:00:00Z,2026-11-22T13:00:00Z,2026-11-22T12:02:00.5Z,,idle,cpu,a\r\n"
        ",,1,2026-11-22T12:00:00Z,2026-11-22T13:00:00Z,2026-11-22T12:01:00.5Z,+Inf,idle,cpu,a\r\n"
        ",,1,2026-11-22T12:00:00Z,2026-11-22T13:00:00Z,2026-11-22T12:01:00.5Z,-3e2,idle,cpu,\r\n"
        "\r\n"
        "#datatype,string,long,dateTime:RFC3339,string,string,string\r\n"
        "#group,false,false,false,false,true,true\r\n"
        "#default,_result,,,,,\r\n"
        ",result,table,_time,_value,_field,_measurement\r\n"
        ",,2,2026-11-22T12:01:00Z,\"a, \"\"text\"\"\",state,cpu\r\n"
        "\r\n"
        "#datatype,string,long,dateTime:RFC3339,long\r\n"
        "#group,false,false,false,false\r\n"
        "#default,_result,,,\r\n"
        ",result,table,_time,_value\r\n"
        ",,3,2026-11-22T12:01:00Z,5\r\n",
        flux_head);
    answer.name = "count";
    assert_int_equal(read_as(FLUX, text, &answer, &taken, &error), STATUS_OK);
    assert_string_equal(taken.text, "cpu_idle{host=\"a\"} 1795348860000 98.25\n"
                                    "cpu_idle{host=\"none\"} 1795348860500 -300\n"
                                    "count 1795348860000 5\n");
    assert_int_equal(answer.missing, 1);
    assert_int_equal(answer.skipped, 2);
}

static void test_flux_errors(void **state)
{
    (void)state;
    static const char *const rows[] = {
        ",,0,s,s,2026-11-22T12:01:00Z,98.25,idle,cpu\r\n",  /* too short */
        ",,0,s,s,yesterday,98.25,idle,cpu,a\r\n",           /* no time */
        ",,0,s,s,2026-11-22T12:01:00Z,many,idle,cpu,a\r\n", /* no number */
        ",,0,s,s,2026-11-22T12:01:00Z,1,\"idle,cpu,a\r\n",  /* no closing quote */
        "#datatype,string\r\n,result\r\n",                  /* no _time, no _value */
        "#datatype,string,long\r\n#group,true\r\n",         /* annotations differ */
    };
    char text[4096];
    struct neighbour_answer answer = {0};
    struct taken taken;
    struct error error;
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        snprintf(text, sizeof(text), "%s%s", flux_head, rows[i]);
        assert_int_equal(read_as(FLUX, text, &answer, &taken, &error), STATUS_INVALID);
    }
    assert_int_equal(read_as(FLUX, "a,b\n", &answer, &taken, &error), STATUS_INVALID);
    assert_int_equal(read_as(FLUX,
                             "#datatype,string,string\n#group,true,true\n#default,,\n"
                             ",error,reference\n,out of patience,897\n",
                             &answer, &taken, &error),
                     STATUS_INVALID);
    assert_string_equal(error.text, "out of patience");
    assert_int_equal(read_as(FLUX, "\r\n", &answer, &taken, &error), STATUS_OK);
}

/* Telegraf's http_response, net_response and dns_query have a tag "result"; others have "error" and
 * "table". They stand behind the two columns of the answer, and are labels like any other. */
static void test_flux_tags_called_like_columns(void **state)
{
    (void)state;
    static const char span[] = "2026-11-22T12:00:00Z,2026-11-22T13:00:00Z,2026-11-22T12:01:00Z";
    char text[4096];
    struct neighbour_answer answer = {0};
    struct taken taken;
    struct error error = {0};
    snprintf(text, sizeof(text),
             "#datatype,string,long,dateTime:RFC3339,dateTime:RFC3339,dateTime:RFC3339,double,"
             "string,string,string,string,string\r\n"
             "#group,false,false,true,true,false,false,true,true,true,true,true\r\n"
             "#default,_result,,,,,,,,,,\r\n"
             ",result,table,_start,_stop,_time,_value,_field,_measurement,result,server,table\r\n"
             ",,0,%s,0.25,response_time,http_response,success,http://a,x\r\n"
             ",,1,%s,5,response_time,http_response,timeout,http://a,y\r\n"
             "\r\n"
             "#datatype,string,long,dateTime:RFC3339,dateTime:RFC3339,dateTime:RFC3339,long,"
             "string,string,string,string\r\n"
             "#group,false,false,true,true,false,false,true,true,true,true\r\n"
             "#default,_result,,,,,,,,,\r\n"
             ",result,table,_start,_stop,_time,_value,_field,_measurement,error,host\r\n"
             ",,2,%s,3,count,faults,no route,a\r\n",
             span, span, span);
    assert_int_equal(read_as(FLUX, text, &answer, &taken, &error), STATUS_OK);
    assert_string_equal(taken.text,
                        "http_response_response_time{result=\"success\",server=\"http://a\","
                        "table=\"x\"} 1795348860000 0.25\n"
                        "http_response_response_time{result=\"timeout\",server=\"http://a\","
                        "table=\"y\"} 1795348860000 5\n"
                        "faults_count{error=\"no route\",host=\"a\"} 1795348860000 3\n");
    assert_int_equal(answer.skipped, 0);
}

/* Whoever takes the points can end the reading, and pieces are handed on long before the end. */
static void test_pieces(void **state)
{
    (void)state;
    const size_t count = 10000;
    char *text = malloc(count * 16 + 256);
    struct neighbour_answer answer = {.take = take};
    struct taken taken = {0};
    struct error error = {0};
    size_t length = (size_t)sprintf(text, "{\"data\":{\"result\":[{\"metric\":{\"__name__\":\"m\"},"
                                          "\"values\":[");
    for (size_t i = 0; i < count; i++) {
        length += (size_t)sprintf(text + length, "%s[%zu,\"1\"]", i ? "," : "", i);
    }
    length += (size_t)sprintf(text + length, "]}]}}");
    answer.context = &taken;
    assert_int_equal(neighbour_read_prometheus(text, length, &answer, &error), STATUS_OK);
    assert_int_equal(taken.calls, 3);
    assert_int_equal(answer.points, count);
    taken = (struct taken){.full = true};
    assert_int_equal(neighbour_read_prometheus(text, length, &answer, &error), STATUS_NO_SPACE);
    assert_int_equal(taken.calls, 1);
    free(text);
}

/* More labels than a series may have, or longer ones: left out and counted, the others are read. */
static void test_refused_series(void **state)
{
    (void)state;
    struct text text;
    struct neighbour_answer answer = {0};
    struct taken taken;
    struct error error;
    text_init(&text, 8000);
    text_add_string(&text, "{\"data\":{\"result\":[{\"metric\":{\"__name__\":\"m\"");
    for (int i = 0; i < 40; i++) {
        text_add_format(&text, ",\"l%d\":\"x\"", i);
    }
    text_add_string(&text, "},\"values\":[[1,\"1\"]]},{\"metric\":{\"__name__\":\"good\"},"
                           "\"values\":[[1,\"1\"]]}]}}");
    assert_int_equal(read_as(PROMETHEUS, text.bytes, &answer, &taken, &error), STATUS_OK);
    assert_string_equal(taken.text, "good 1000 1\n");
    assert_int_equal(answer.refused_series, 1);
    text_release(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_prometheus),
        cmocka_unit_test(test_prometheus_names),
        cmocka_unit_test(test_prometheus_errors),
        cmocka_unit_test(test_influxql),
        cmocka_unit_test(test_influxql_errors),
        cmocka_unit_test(test_flux),
        cmocka_unit_test(test_flux_errors),
        cmocka_unit_test(test_flux_tags_called_like_columns),
        cmocka_unit_test(test_pieces),
        cmocka_unit_test(test_refused_series),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
