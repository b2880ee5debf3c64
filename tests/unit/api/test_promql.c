/* PromQL: what is understood, what is refused by name, and values against hand-computed answers.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "fixture.h"

#include "api/promql_functions.h"
#include "api/promql_matrix.h"
#include "api/promql_parser.h"
#include "base/clock.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>

#define END_S (NOW_MS / 1000)

#define assert_near(value, wanted, tolerance) assert_true(fabs((value) - (wanted)) <= (tolerance))

static struct fixture fixture;

/* ---------------------------------------------------------------- the language */

/* The tree as fully bracketed text. */
static void show(const struct promql_node *node, struct text *out)
{
    static const char *const symbols[] = {"+",  "-",  "*", "/", "%",  "^",
                                          "==", "!=", ">", "<", ">=", "<="};
    static const char *const functions[] = {"last",          "avg_over_time", "min_over_time",
                                            "max_over_time", "sum_over_time", "count_over_time",
                                            "rate",          "increase"};
    static const char *const aggregations[] = {"sum", "avg", "min", "max", "count"};
    switch (node->kind) {
    case PROMQL_NUMBER:
        text_add_double(out, node->number);
        return;
    case PROMQL_SELECTOR:
        text_add_format(out, "s[%lld]%+lld", (long long)node->range_ms / 1000,
                        (long long)node->offset_ms / 1000);
        return;
    case PROMQL_CALL:
        text_add_format(out, "%s(", functions[node->function]);
        break;
    case PROMQL_NEGATE:
        text_add_string(out, "-(");
        break;
    case PROMQL_AGGREGATE:
        text_add_format(out, "%s %s %zu(", aggregations[node->aggregation],
                        node->grouping.keep ? "by" : "without", node->grouping.count);
        break;
    case PROMQL_BINARY:
        text_add_char(out, '(');
        show(node->left, out);
        text_add_format(out, " %s%s ", symbols[node->operator], node->returns_bool ? " bool" : "");
        if (node->grouping.labels) {
            text_add_format(out, "%s %zu ", node->grouping.keep ? "on" : "ignoring",
                            node->grouping.count);
        }
        show(node->right, out);
        text_add_char(out, ')');
        return;
    }
    show(node->left, out);
    text_add_char(out, ')');
}

static void test_trees(void **state)
{
    (void)state;
    static const struct {
        const char *text, *tree;
    } table[] = {
        {"1+1", "(1 + 1)"},
        {"1+2*3", "(1 + (2 * 3))"},
        {"(1+2)*3", "((1 + 2) * 3)"},
        {"1-2-3", "((1 - 2) - 3)"},
        {"2^3^2", "(2 ^ (3 ^ 2))"},
        {"-2^2", "-((2 ^ 2))"},
        {"2^-1*3", "((2 ^ -(1)) * 3)"},
        {"-1*2", "(-(1) * 2)"},
        {"+ 1 # a comment\n - - 1", "(1 - -(1))"},
        {"0x1F + 1e3 + .5 + 1.5e-1", "(((31 + 1000) + 0.5) + 0.15)"},
        {"m", "s[0]+0"},
        {"boiler.temp", "s[0]+0"},
        {"a:b:c{x='}',y!~\"z\"}", "s[0]+0"},
        {"{\"boiler.temp\",site=\"a\"}", "s[0]+0"},
        {"m offset 5m", "s[0]+300"},
        {"m{a=\"b\"} offset -1h30m", "s[0]-5400"},
        {"rate(m[5m] offset 1d)", "rate(s[300]+86400)"},
        {"last_over_time(m[30s])", "last(s[30]+0)"},
        {"sum(m)", "sum by 0(s[0]+0)"},
        {"SUM BY (a, b,) (m)", "sum by 2(s[0]+0)"},
        {"max(m) without (a)", "max without 1(s[0]+0)"},
        {"sum(rate(m[1m])) / count(m)", "(sum by 0(rate(s[60]+0)) / count by 0(s[0]+0))"},
        {"m > bool 1", "(s[0]+0 > bool 1)"},
        {"1 == bool 1 + 1", "(1 == bool (1 + 1))"},
        {"m * on(a) n", "(s[0]+0 * on 1 s[0]+0)"},
        {"m - ignoring(a,b) n", "(s[0]+0 - ignoring 2 s[0]+0)"},
        {"sum", "s[0]+0"}, /* a name as good as others */
        {"offset", "s[0]+0"},
    };
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        struct promql *promql = NULL;
        struct error error = {0};
        struct text text;
        if (promql_parse(table[i].text, &promql, &error) != STATUS_OK) {
            fail_msg("%s: %s", table[i].text, error.text);
        }
        text_init(&text, 1000);
        show(promql->root, &text);
        assert_string_equal(text.bytes, table[i].tree);
        text_release(&text);
        promql_free(promql);
    }
}

static void test_refusals(void **state)
{
    (void)state;
    static const struct {
        const char *text, *part;
    } table[] = {
        {"", "at the end"},
        {"1 +", "at the end"},
        {"(1", "expected )"},
        {"1 1", "unexpected"},
        {"m{a=}", "quotes"},
        {"m{a=\"x\"", "not closed"},
        {"{}", "non-empty matcher"},
        {"{a=~\".*\"}", "non-empty matcher"},
        {"m{a=~\"(\"}", "regular"},
        {"1x", "bad number"},
        {"m $ 1", "unexpected character"},
        {"histogram_quantile(0.9, m)", "\"histogram_quantile\" is not supported"},
        {"irate(m[5m])", "\"irate\" is not supported"},
        {"topk(3, m)", "\"topk\" is not supported"},
        {"quantile by (a) (0.9, m)", "\"quantile\" is not supported"},
        {"m and n", "\"and\" is not supported"},
        {"m or n", "\"or\" is not supported"},
        {"m unless n", "\"unless\" is not supported"},
        {"m * on(a) group_left n", "\"group_left\" is not supported"},
        {"m @ 5", "\"@\" is not supported"},
        {"rate(m[5m:1m])", "subquery is not supported"},
        {"sum(m)[5m:]", "subquery is not supported"},
        {"\"text\"", "string literal"},
        {"m[5m]", "outside of a function is not supported"},
        {"m[0s]", "duration"},
        {"m[200y]", "duration"},
        {"rate(m)", "wants a range"},
        {"sum(m[5m])", "instant vector"},
        {"sum(1)", "instant vector"},
        {"m[5m] + 1", "range"},
        {"-m[5m]", "range"},
        {"1 > 2", "must use bool"},
        {"1 + bool 2", "only comparisons"},
        {"m + on(a) 1", "between two vectors"},
        {"sum(m) offset 5m", "must follow a selector"},
        {"sum by (a) (m) by (b)", "twice"},
    };
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        struct promql *promql = NULL;
        struct error error = {0};
        assert_int_equal(promql_parse(table[i].text, &promql, &error), STATUS_INVALID);
        assert_string_equal(error.code, "bad_promql");
        if (!strstr(error.text, table[i].part)) {
            fail_msg("%s: %s", table[i].text, error.text);
        }
    }
}

/* Long and deep texts end in a refusal, whatever they consist of. */
static void test_bounds(void **state)
{
    (void)state;
    static const char *const parts[] = {"(", "-", "1+", "sum(", "2^", "m>", "by(", "{", "a"};
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        char text[PROMQL_BYTES_MAX + 8];
        size_t length = 0;
        while (length < PROMQL_BYTES_MAX) {
            length += (size_t)snprintf(text + length, sizeof(text) - length, "%s", parts[i]);
        }
        for (int cut = 0; cut < 12; cut++) {
            struct promql *promql = NULL;
            struct error error = {0};
            text[length - (size_t)cut] = '\0';
            enum status status = promql_parse(text, &promql, &error);
            assert_true(status == STATUS_INVALID || (status == STATUS_OK && i == 8));
            if (status == STATUS_OK) {
                promql_free(promql);
            }
        }
    }
}

/* ---------------------------------------------------------------- functions */

#define WINDOW(start, end, ...)                                                                    \
    (struct promql_window)                                                                         \
    {                                                                                              \
        .points = (const struct point[]){__VA_ARGS__},                                             \
        .count = sizeof((const struct point[]){__VA_ARGS__}) / sizeof(struct point),               \
        .start_ms = (start), .end_ms = (end)                                                       \
    }

static void test_rate_by_hand(void **state)
{
    (void)state;
    /* Both borders within 1.1 mean distances (10 s): extrapolated over the whole minute. */
    struct promql_window whole = WINDOW(0, 60000, {5000, 100}, {15000, 110}, {25000, 120},
                                        {35000, 130}, {45000, 140}, {55000, 150});
    assert_near(promql_apply(PROMQL_INCREASE, &whole), 60.0, 1e-9);
    assert_near(promql_apply(PROMQL_RATE, &whole), 1.0, 1e-9);
    /* Both borders far: half a mean distance on each side, 20 s + 5 s + 5 s. */
    struct promql_window middle = WINDOW(0, 60000, {20000, 100}, {30000, 110}, {40000, 120});
    assert_near(promql_apply(PROMQL_INCREASE, &middle), 20.0 * 30.0 / 20.0, 1e-9);
    /* A reset: 4 - 10 + 12 back at the fall = 6. From 5 s to 25 s, whole window of 30 s; but the
     * counter of 10 would be zero 20 * 10 / 6 s before, which is further than the border. */
    struct promql_window reset = WINDOW(0, 30000, {5000, 10}, {15000, 12}, {25000, 4});
    assert_near(promql_apply(PROMQL_INCREASE, &reset), 6.0 * 30.0 / 20.0, 1e-9);
    /* Never below zero: at 1 per second a counter of 2 began 2 s before its first point. */
    struct promql_window young = WINDOW(0, 30000, {5000, 2}, {15000, 12}, {25000, 22});
    assert_near(promql_apply(PROMQL_INCREASE, &young), 20.0 * (20.0 + 2.0 + 5.0) / 20.0, 1e-9);
    struct promql_window one = WINDOW(0, 60000, {5000, 100});
    assert_true(promql_is_absent(promql_apply(PROMQL_RATE, &one)));
}

static void test_over_time_by_hand(void **state)
{
    (void)state;
    static const struct {
        enum promql_function function;
        double value;
    } table[] = {
        {PROMQL_AVG_OVER_TIME, 2.0}, {PROMQL_MIN_OVER_TIME, -3.0},  {PROMQL_MAX_OVER_TIME, 7.0},
        {PROMQL_SUM_OVER_TIME, 6.0}, {PROMQL_COUNT_OVER_TIME, 3.0}, {PROMQL_LAST_OVER_TIME, 2.0},
    };
    struct promql_window window = WINDOW(0, 60000, {1000, 7}, {2000, -3}, {3000, 2});
    struct promql_window empty = {.end_ms = 60000};
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        assert_near(promql_apply(table[i].function, &window), table[i].value, 0.0);
        assert_true(promql_is_absent(promql_apply(table[i].function, &empty)));
    }
    /* What a plain sum would lose. */
    struct promql_window large = WINDOW(0, 60000, {1000, 1e16}, {2000, 1}, {3000, -1e16});
    assert_near(promql_apply(PROMQL_SUM_OVER_TIME, &large), 1.0, 0.0);
}

/* ---------------------------------------------------------------- over a store */

static void put(const char *series, const char *labels, int64_t step_s, size_t count,
                double (*value)(size_t))
{
    char body[40000];
    size_t used = (size_t)snprintf(
        body, sizeof(body), "{\"series\":\"%s\",\"labels\":{%s},\"points\":[", series, labels);
    for (size_t i = 0; i < count; i++) {
        int64_t time_ms = NOW_MS - (int64_t)(count - 1 - i) * step_s * 1000;
        double v = value(i);
        char number[40];
        snprintf(number, sizeof(number), isnan(v) ? "null" : "%.17g", v);
        used += (size_t)snprintf(body + used, sizeof(body) - used, "%s[%lld,%s]", i ? "," : "",
                                 (long long)time_ms, number);
    }
    snprintf(body + used, sizeof(body) - used, "]}");
    expect(&fixture, API_POST, "/api/v1/points", body, 200, "accepted");
}

static double index_of(size_t i)
{
    return (double)i;
}

static double holed(size_t i)
{
    return i > 53 ? (double)NAN : (double)i;
}

/* 10 a minute, begun anew after 30 minutes. */
static double resetting(size_t i)
{
    return 10.0 * (double)(i % 31);
}

static int open_store(void **state)
{
    (void)state;
    fixture_open(&fixture);
    put("m", "\"a\":\"1\",\"b\":\"x\"", 60, 60, index_of); /* 59 at now */
    put("m", "\"a\":\"2\",\"b\":\"x\"", 60, 60, index_of);
    put("n", "\"a\":\"1\"", 60, 60, index_of);
    put("n", "\"a\":\"3\"", 60, 60, index_of);
    put("holed", "", 60, 60, holed);
    put("c_total", "", 60, 60, resetting);
    put("daily", "", 86400, 20, index_of);
    return 0;
}

static int close_store(void **state)
{
    (void)state;
    fixture_close(&fixture);
    return 0;
}

static void escape(const char *text, char *out, size_t size)
{
    size_t used = 0;
    for (; *text && used + 4 < size; text++) {
        used += (size_t)snprintf(out + used, size - used, "%%%02x", (unsigned char)*text);
    }
}

/* The result of an instant query `ahead_s` behind now, as JSON. */
static void expect_at(const char *query, int64_t ahead_s, const char *result)
{
    char target[2000], escaped[1500];
    escape(query, escaped, sizeof(escaped));
    snprintf(target, sizeof(target), "/prometheus/api/v1/query?time=%lld&query=%s",
             (long long)(END_S + ahead_s), escaped);
    struct answer answer = get(&fixture, target);
    json_t *wanted = json_loads(result, 0, NULL);
    json_t *body = json_loads(answer.body, 0, NULL);
    assert_non_null(wanted);
    json_t *found = json_object_get(json_object_get(body, "data"), "result");
    /* only metric and value: the time is the one asked for */
    json_t *plain = json_is_array(found) && json_is_object(json_array_get(found, 0))
                        ? json_array()
                        : json_incref(found);
    size_t i;
    json_t *row;
    json_array_foreach(found, i, row)
    {
        if (json_is_object(row)) {
            json_array_append_new(plain,
                                  json_pack("[O,O]", json_object_get(row, "metric"),
                                            json_array_get(json_object_get(row, "value"), 1)));
        }
    }
    if (answer.status != 200 || !json_equal(plain, wanted)) {
        fail_msg("%s: %s, wanted %s", query, answer.body, result);
    }
    json_decref(plain);
    json_decref(body);
    json_decref(wanted);
    fixture_answer_release(&answer);
}

#define M1 "{\"__name__\":\"m\",\"a\":\"1\",\"b\":\"x\"}"
#define M2 "{\"__name__\":\"m\",\"a\":\"2\",\"b\":\"x\"}"
#define P1 "{\"a\":\"1\",\"b\":\"x\"}"
#define P2 "{\"a\":\"2\",\"b\":\"x\"}"

static void test_values(void **state)
{
    (void)state;
    static const struct {
        const char *query, *result;
    } table[] = {
        {"m", "[[" M1 ",\"59\"],[" M2 ",\"59\"]]"},
        {"m{a!=\"1\"}", "[[" M2 ",\"59\"]]"},
        {"{__name__=~\"m|q\",a=\"2\"}", "[[" M2 ",\"59\"]]"},
        {"missing", "[]"},
        {"m{a=\"1\"} offset 10m", "[[" M1 ",\"49\"]]"},
        {"m{a=\"1\"} offset 30s", "[[" M1 ",\"58\"]]"},
        {"m{a=\"1\"} offset 2h", "[]"},
        {"-m{a=\"1\"}", "[[" P1 ",\"-59\"]]"},
        {"m * 2 + 1", "[[" P1 ",\"119\"],[" P2 ",\"119\"]]"},
        {"100 - m{a=\"1\"}", "[[" P1 ",\"41\"]]"},
        {"m{a=\"1\"} % 10 ^ 1", "[[" P1 ",\"9\"]]"},
        {"m{a=\"1\"} / 0", "[[" P1 ",\"+Inf\"]]"},
        {"m{a=\"1\"} > 58", "[[" M1 ",\"59\"]]"},
        {"m{a=\"1\"} > 59", "[]"},
        {"58 < m{a=\"1\"}", "[[" M1 ",\"59\"]]"},
        {"m > bool 59", "[[" P1 ",\"0\"],[" P2 ",\"0\"]]"},
        {"m - on(a) n", "[[{\"a\":\"1\"},\"0\"]]"},
        {"m + ignoring(b) n", "[[{\"a\":\"1\"},\"118\"]]"},
        {"m - n", "[]"},
        {"m == ignoring(b) n", "[[{\"__name__\":\"m\",\"a\":\"1\"},\"59\"]]"},
        {"sum(m)", "[[{},\"118\"]]"},
        {"avg(m) + count(m)", "[[{},\"61\"]]"},
        {"min by (b) (m)", "[[{\"b\":\"x\"},\"59\"]]"},
        {"max without (b) (m)", "[[{\"a\":\"1\"},\"59\"],[{\"a\":\"2\"},\"59\"]]"},
        {"sum by (__name__) (m)", "[[{\"__name__\":\"m\"},\"118\"]]"},
        {"count(missing)", "[]"},
        {"sum by (__name__) ({a=\"2\"})", "[[{\"__name__\":\"m\"},\"59\"]]"},
        {"sum_over_time(m{a=\"1\"}[2m])", "[[" P1 ",\"117\"]]"}, /* left-open: 58 and 59 */
        {"last_over_time(m{a=\"1\"}[2m])", "[[" M1 ",\"59\"]]"},
        {"avg_over_time(m{a=\"1\"}[3m] offset 1m)", "[[" P1 ",\"57\"]]"},
        {"count_over_time(holed[10m])", "[[{},\"4\"]]"},
        /* 11 points of 10 a minute, both borders there */
        {"increase(m{a=\"1\"}[10m])", "[[" P1 ",\"10\"]]"},
        {"rate(c_total[10m])", "[[{},\"0.16666666666666666\"]]"},
        /* 200 to 300, anew to 280: 380 over 39 of 40 minutes */
        {"increase(c_total[40m])", "[[{},\"389.7435897435897\"]]"},
    };
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        expect_at(table[i].query, 0, table[i].result);
    }
}

static void test_lookback(void **state)
{
    (void)state;
    expect_at("m{a=\"1\"}", 299, "[[" M1 ",\"59\"]]");
    expect_at("m{a=\"1\"}", 300, "[]"); /* left-open */
    expect_at("holed", -61, "[[{\"__name__\":\"holed\"},\"53\"]]");
    expect_at("holed", -60, "[]"); /* known to be missing for five minutes */
    expect_at("daily", -3600, "[[{\"__name__\":\"daily\"},\"18\"]]"); /* two steps */
    expect_at("daily", 299, "[[{\"__name__\":\"daily\"},\"19\"]]");
    expect_at("daily", 300, "[]"); /* but not into the future */
}

static void test_future(void **state)
{
    (void)state;
    expect_at("count({\"m:predicted\",a=\"1\"})", 600, "[[{},\"3\"]]");
    expect_at("count(m:predicted{ml_forecast=\"yhat\"})", 600, "[[{},\"2\"]]");
    expect_at("count({__name__=~\"m.*\",a=\"1\"})", 0, "[[{},\"1\"]]");
    expect_at("count by (a) ({ml_forecast=\"yhat\",b=\"x\"})", 600,
              "[[{\"a\":\"1\"},\"1\"],[{\"a\":\"2\"},\"1\"]]");
    expect_at("m:predicted", -600, "[]");
    expect_at("count(m:predicted{ml_forecast=\"yhat_upper\"} >= on(a) "
              "m:predicted{ml_forecast=\"yhat_lower\"})",
              1200, "[[{},\"2\"]]");
    expect_at("count_over_time(m:predicted{a=\"1\",ml_forecast=\"yhat\"}[5m])", 600,
              "[[{\"a\":\"1\",\"b\":\"x\",\"ml_forecast\":\"yhat\"},\"5\"]]");
}

static void test_errors(void **state)
{
    (void)state;
    static const struct {
        const char *query;
        int status;
        const char *part;
    } table[] = {
        {"query?query=m%20*%20on(b)%20n", 200, "\"result\":[]"},
        {"query?query=n%20*%20on()%20m", 422, "many-to-one"},
        {"query?query=m%2Bon(b)m", 422, "\"errorType\":\"execution\""},
        {"query?query=%7B__name__%3D~%22m%7Cn%22,a%3D%221%22%7D%2B1", 200, "success"},
        {"query?query=-%7B__name__%3D~%22c_total%7Choled%22%7D%20offset%2010m", 422,
         "same labelset"},
        {"query?query=m%00", 400, "bad_data"},
        {"query_range?query=m&start=0&end=10999&step=1", 200, "\"result\":[]"},
        {"query_range?query=m&start=0&end=11000&step=1", 400, "11,000"},
        {"query_range?query=m&start=0&end=1e300&step=1", 400, "timestamp"},
        {"query_range?query=m&start=0&end=10", 400, "\\\"step\\\""},
        {"series?match[]=m%7B", 400, "bad_data"},
        {"label/%zz/values", 400, "\"status\":\"error\""},
    };
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        char target[300];
        snprintf(target, sizeof(target), "/prometheus/api/v1/%s", table[i].query);
        expect(&fixture, API_GET, target, NULL, table[i].status, table[i].part);
    }
}

/* The instants of a range are start + k step, the last one not behind the end. */
static void test_alignment(void **state)
{
    (void)state;
    char target[300], part[300];
    snprintf(target, sizeof(target),
             "/prometheus/api/v1/query_range?query=m{a='1'}&start=%lld&end=%lld&step=90",
             (long long)END_S - 200, (long long)END_S);
    snprintf(part, sizeof(part), "\"values\":[[%lld,\"55\"],[%lld,\"57\"],[%lld,\"58\"]]",
             (long long)END_S - 200, (long long)END_S - 110, (long long)END_S - 20);
    expect(&fixture, API_GET, target, NULL, 200, part);
}

/* The budget of cells and the deadline hold, and what is released can be used again. */
static void test_budget(void **state)
{
    (void)state;
    struct promql_budget budget = {.deadline_ns = INT64_MAX};
    struct promql_matrix matrix;
    struct promql_row *row = NULL;
    struct error error = {0};
    size_t rows = 0;
    promql_matrix_init(&matrix, 11000, &budget);
    while (promql_matrix_add(&matrix, (struct slice){"", 0}, &row, &error) == STATUS_OK) {
        assert_true(promql_is_absent(row->values[10999]));
        rows++;
    }
    assert_int_equal(error.status, STATUS_TOO_LARGE);
    assert_string_equal(error.code, "promql_limit");
    assert_int_equal(rows, PROMQL_CELLS_MAX / 11000);
    promql_matrix_pop(&matrix);
    assert_int_equal(promql_matrix_add(&matrix, (struct slice){"", 0}, &row, &error), STATUS_OK);
    promql_matrix_release(&matrix);
    assert_int_equal(budget.cells, 0);
    assert_int_equal(promql_work(&budget, SIZE_MAX / 2, &error), STATUS_OK);
    budget.deadline_ns = 0;
    assert_int_equal(promql_work(&budget, SIZE_MAX / 2, &error), STATUS_TIMEOUT);
    assert_string_equal(error.code, "promql_timeout");
}

static int64_t hurrying_ns(void)
{
    static _Atomic int64_t now_ns = 1000000000;
    return atomic_fetch_add(&now_ns, INT64_C(60000000000)); /* a minute passes at each look */
}

/* What a query may take is its own `timeout`, ten seconds unless said, thirty at most: then 503 and
 * why. */
static void test_timeout(void **state)
{
    (void)state;
    static const char target[] = "/prometheus/api/v1/query?timeout=2s&query="
                                 "count(%7B__name__%3D~%22.*:predicted%22%7D)&time=1795355040";
    expect(&fixture, API_GET, target, NULL, 200, "success");
    clock_monotonic_replace(hurrying_ns);
    expect(&fixture, API_GET, target, NULL, 503, "\"errorType\":\"timeout\"");
    clock_monotonic_replace(NULL);
}

/* More forecasts than one answer may have; as many as it may. */
static void test_forecast_cap(void **state)
{
    (void)state;
    const char *target =
        "/prometheus/api/v1/query?query=count(%7B__name__%3D~%22.*:predicted%22%7D)"
        "&time=1795355040";
    fixture.limits.forecast_series_max = 6;
    expect(&fixture, API_GET, target, NULL, 422, "more than 6 forecasts");
    fixture.limits.forecast_series_max = 7;
    expect(&fixture, API_GET, target, NULL, 200, "success");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_trees),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_rate_by_hand),
        cmocka_unit_test(test_over_time_by_hand),
        cmocka_unit_test_setup_teardown(test_values, open_store, close_store),
        cmocka_unit_test_setup_teardown(test_lookback, open_store, close_store),
        cmocka_unit_test_setup_teardown(test_future, open_store, close_store),
        cmocka_unit_test_setup_teardown(test_errors, open_store, close_store),
        cmocka_unit_test_setup_teardown(test_alignment, open_store, close_store),
        cmocka_unit_test(test_budget),
        cmocka_unit_test_setup_teardown(test_timeout, open_store, close_store),
        cmocka_unit_test_setup_teardown(test_forecast_cap, open_store, close_store),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
