/* Bounds of requests: what lies at one is taken, and one more is refused by name.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Bounds of names, of lines and of matrices are with their readers' tests.
 */
#include "fixture.h"

#include "api/call.h"
#include "api/forecast_query.h"
#include "api/gauges.h"
#include "api/nixtla_reader.h"
#include "api/prometheus.h"
#include "api/promql_matrix.h"
#include "api/promql_parser.h"
#include "api/promql_points.h"
#include "api/series_search.h"
#include "base/text.h"

#define TEXT_MAX ((size_t)1 << 20)
#define MINUTE   INT64_C(60000)

static struct fixture fixture;
static struct text text;

static int open_api(void **state)
{
    (void)state;
    fixture_open(&fixture);
    fixture_fill(&fixture, "plain", 200, MINUTE);
    text_init(&text, TEXT_MAX);
    return 0;
}

static int close_api(void **state)
{
    (void)state;
    text_release(&text);
    fixture_close(&fixture);
    return 0;
}

/* `first`, then `part` that often with %zu for its number, then `last`. */
static const char *repeat(const char *first, const char *part, size_t count, const char *last)
{
    text_clear(&text);
    text_add_string(&text, first);
    for (size_t i = 0; i < count; i++) {
        const char *number = strstr(part, "%zu");
        text_add(&text, part, number ? (size_t)(number - part) : strlen(part));
        if (number) {
            text_add_format(&text, "%zu", i + 1);
            text_add_string(&text, number + 3);
        }
    }
    text_add_string(&text, last);
    assert_int_equal(text.failed, STATUS_OK);
    return text.bytes;
}

/* The refusal says `part`; what is taken may end in any other way. */
static void hold(const char *target, const char *json, const char *part, bool refused)
{
    struct answer answer = json ? post(&fixture, target, json) : get(&fixture, target);
    bool named = strstr(answer.body, part) != NULL;
    if (named != refused || (refused && (answer.status < 400 || answer.status > 422))) {
        fail_msg("%.100s: %d %.300s, refused %d", target, answer.status, answer.body, refused);
    }
    fixture_answer_release(&answer);
}

static void test_parameters(void **state)
{
    static const struct {
        const char *first, *part, *refusal;
        size_t most;
    } bounds[] = {
        {"/prometheus/api/v1/query?query=1", "&p%zu=1", "more than 512 parameters",
         QUERY_PARAMETERS_MAX - 1},
        {"/api/v1/forecast?series=plain&steps=2&quantiles=0.01", ",0.%zu5",
         "more than 32 quantile levels", FORECAST_LEVELS_MAX - 1},
        {"/api/v1/series?search=", "x", "longer than 255 bytes", SEARCH_BYTES_MAX},
        {"/api/v1/series?search=a", "+%zu", "more than 16 words", SEARCH_WORDS_MAX - 1},
        {"/prometheus/api/v1/series?match[]=m", "&match[]=m%zu", "more than 64 of match[]",
         PROMETHEUS_MATCH_MAX - 1},
        {"/forecast/metrics?horizon=30m", "&horizon=%zum", "more than 8 horizons",
         GAUGE_HORIZONS_MAX - 1},
        {"/forecast/metrics?quantiles=0.5", ",0.0%zu", "more than 8 quantile levels",
         GAUGE_LEVELS_MAX - 1},
    };
    (void)state;
    fixture.limits.metrics_series_max = 10;
    for (size_t i = 0; i < sizeof(bounds) / sizeof(bounds[0]); i++) {
        for (size_t more = 0; more < 2; more++) {
            const char *target = repeat(bounds[i].first, bounds[i].part, bounds[i].most + more, "");
            hold(target, NULL, bounds[i].refusal, more > 0);
        }
    }
}

/* Names and values each end with a zero byte where = and & were. */
static void test_query_string(void **state)
{
    (void)state;
    for (size_t more = 0; more < 2; more++) {
        size_t count = QUERY_BYTES_MAX - strlen("search=") - 1 + more;
        hold(repeat("/api/v1/series?search=", "x", count, ""), NULL,
             "the query string is longer than 65536 bytes", more > 0);
    }
}

static void test_steps_and_ranges(void **state)
{
    char target[200];
    (void)state;
    for (int steps = 1024; steps <= 1025; steps++) {
        snprintf(target, sizeof(target), "/api/v1/forecast?series=plain&steps=%d", steps);
        hold(target, NULL, "from 1 to 1024", steps > 1024);
        snprintf(target, sizeof(target), "/api/v1/timeleft?series=plain&above=1&steps=%d", steps);
        hold(target, NULL, "from 1 to 1024", steps > 1024);
    }
    for (int cells = 11000; cells <= 11001; cells++) {
        int64_t end_ms = NOW_MS - NOW_MS % MINUTE + MINUTE;
        snprintf(target, sizeof(target), "/api/v1/anomalies?series=plain&start=%lld&end=%lld",
                 (long long)(end_ms - cells * MINUTE), (long long)end_ms);
        hold(target, NULL, "the limit is 11000", cells > 11000);
    }
}

/* Sums with durations stay in 64 bits: those beyond a hundred years are refused. */
static void test_durations(void **state)
{
    static const char *const targets[] = {
        "/api/v1/forecast?series=plain&horizon=", "/api/v1/forecast?series=plain&at=now&horizon=",
        "/api/v1/forecast?series=plain&history=", "/api/v1/timeleft?series=plain&above=1&horizon=",
        "/api/v1/accuracy?series=plain&window=",  "/forecast/metrics?horizon=",
    };
    (void)state;
    fixture.limits.metrics_series_max = 10;
    for (size_t i = 0; i < sizeof(targets) / sizeof(targets[0]); i++) {
        char target[120];
        snprintf(target, sizeof(target), "%s9223372036854775807ms", targets[i]);
        hold(target, NULL, "cannot be \\\"9223372036854775807ms\\\"", true);
    }
    hold("/api/v1/forecast", "{\"series\":\"plain\",\"horizon\":\"9223372036854775807ms\"}",
         "cannot be \\\"9223372036854775807ms\\\"", true);
    hold("/api/v1/forecast?series=plain&history=36525d", NULL, "cannot be", false);
}

static void test_series_of_an_answer(void **state)
{
    static const char *const targets[] = {
        "/api/v1/forecast?steps=2&series=%7B__name__%3D~%22s.*%22%7D",
        "/api/v1/anomalies?series=%7B__name__%3D~%22s.*%22%7D",
        "/api/v1/accuracy?series=%7B__name__%3D~%22s.*%22%7D"};
    static const size_t most[] = {7, 20, 100};
    char name[16];
    size_t stored = 0;
    (void)state;
    fixture_close(&fixture);
    fixture_open_for(&fixture, 200);
    fixture.limits.forecast_series_max = 7;
    for (size_t i = 0; i < sizeof(most) / sizeof(most[0]); i++) {
        for (size_t more = 0; more < 2; more++) {
            for (; stored < most[i] + more; stored++) {
                snprintf(name, sizeof(name), "s%zu", stored);
                fixture_fill(&fixture, name, 30, MINUTE);
            }
            hold(targets[i], NULL, "too_many_series", more > 0);
        }
    }
}

static void test_points_of_a_request(void **state)
{
    (void)state;
    fixture.limits.points_per_request = 100;
    fixture.limits.body_max = 5000;
    for (size_t more = 0; more < 2; more++) {
        hold("/api/v1/points",
             repeat("[{\"series\":\"p\",\"value\":1}", ",{\"series\":\"p\",\"value\":%zu}",
                    99 + more, "]"),
             "too_many_points", more > 0);
        const char *point = "{\"series\":\"p\",\"value\":1}";
        hold("/api/v1/points", repeat(point, " ", 5000 - strlen(point) + more, ""),
             "body_too_large", more > 0);
        char json[100];
        snprintf(json, sizeof(json), "{\"series\":\"p\",\"timestamp\":%lld,\"value\":1}",
                 (long long)NOW_MS + fixture.limits.max_future_ms + (long long)more);
        hold("/api/v1/points", json, "too_far_future", more > 0);
    }
}

static void test_nixtla(void **state)
{
    (void)state;
    for (size_t more = 0; more < 2; more++) {
        const char *json =
            repeat("{\"freq\":\"min\",\"h\":2,\"level\":[80", ",%zu", NIXTLA_LEVELS_MAX - 1 + more,
                   "],\"series\":{\"y\":[1,2],\"sizes\":[2]}}");
        hold("/v2/forecast", json, "\\\"level\\\"", more > 0);
        json = repeat("{\"freq\":\"min\",\"h\":2,\"series\":{\"y\":[1,2],\"sizes\":[2", ",1",
                      NIXTLA_SERIES_MAX - 1 + more, "]}}");
        hold("/v2/forecast", json, "holds more than 20000", more > 0);
    }
}

static void parse_promql(const char *query, const char *refusal)
{
    struct promql *promql = NULL;
    struct error error = {0};
    enum status status = promql_parse(query, &promql, &error);
    if ((status == STATUS_OK) != (refusal == NULL) ||
        (refusal && strstr(error.text, refusal) == NULL)) {
        fail_msg("%.60s: %s", query, error.text);
    }
    if (status == STATUS_OK) {
        promql_free(promql);
    }
}

static void test_promql_texts(void **state)
{
    (void)state;
    for (size_t more = 0; more < 2; more++) {
        parse_promql(repeat("m", " ", PROMQL_BYTES_MAX - 2 + more, ""),
                     more ? "longer than 8191 bytes" : NULL);
        /* one node the sign, one each selector, one each sum */
        parse_promql(repeat(more ? "--m" : "-m", "+m", (PROMQL_NODES_MAX - 2) / 2, ""),
                     more ? "too many parts" : NULL);
        parse_promql(repeat("sum by (a", ",a%zu", PROMQL_LABELS_MAX - 1 + more, ") (m)"),
                     more ? "too many labels" : NULL);
        repeat("", "(", PROMQL_DEPTH_MAX - 1 + more, "m");
        for (size_t i = 0; i < PROMQL_DEPTH_MAX - 1 + more; i++) {
            text_add_char(&text, ')');
        }
        parse_promql(text.bytes, more ? "nested too deeply" : NULL);
    }
}

static void test_promql_series(void **state)
{
    (void)state;
    fixture_close(&fixture);
    fixture_open_for(&fixture, PROMQL_SERIES_MAX + 1);
    const char *target = "/prometheus/api/v1/query?query=count(m)";
    for (size_t more = 0; more < 2; more++) {
        size_t first = more ? PROMQL_SERIES_MAX : 0;
        for (size_t i = first; i < PROMQL_SERIES_MAX + more;) {
            text_clear(&text);
            text_add_char(&text, '[');
            for (size_t end = i + 1000; i < end && i < PROMQL_SERIES_MAX + more; i++) {
                text_add_format(&text,
                                "%s{\"series\":\"m\",\"labels\":{\"a\":\"%zu\"},\"value\":1}",
                                text.length > 1 ? "," : "", i);
            }
            text_add_char(&text, ']');
            expect(&fixture, API_POST, "/api/v1/points", text.bytes, 200, NULL);
        }
        hold(target, NULL, "more than 10000 series", more > 0);
    }
}

static void test_promql_window(void **state)
{
    (void)state;
    fixture_fill(&fixture, "dense", PROMQL_WINDOW_MAX + 1, 1000);
    for (size_t more = 0; more < 2; more++) {
        char target[120], part[40];
        size_t count = PROMQL_WINDOW_MAX + more;
        snprintf(target, sizeof(target),
                 "/prometheus/api/v1/query?query=count_over_time(dense[%zus])", count);
        snprintf(part, sizeof(part), "\"%zu\"]", count);
        hold(target, NULL, "one window of the query has more than 1048576 points", more > 0);
        if (more == 0) {
            expect(&fixture, API_GET, target, NULL, 200, part);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_parameters, open_api, close_api),
        cmocka_unit_test_setup_teardown(test_query_string, open_api, close_api),
        cmocka_unit_test_setup_teardown(test_steps_and_ranges, open_api, close_api),
        cmocka_unit_test_setup_teardown(test_durations, open_api, close_api),
        cmocka_unit_test_setup_teardown(test_series_of_an_answer, open_api, close_api),
        cmocka_unit_test_setup_teardown(test_points_of_a_request, open_api, close_api),
        cmocka_unit_test_setup_teardown(test_nixtla, open_api, close_api),
        cmocka_unit_test_setup_teardown(test_promql_texts, open_api, close_api),
        cmocka_unit_test_setup_teardown(test_promql_series, open_api, close_api),
        cmocka_unit_test_setup_teardown(test_promql_window, open_api, close_api),
    };
    return cmocka_run_group_tests_name("bounds", tests, NULL, NULL);
}
