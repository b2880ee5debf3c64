/* A table of requests: every route and every refusal, on the memory store.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "fixture.h"

#include "api/problem.h"
#include "api/router.h"
#include "base/clock.h"
#include "base/memory.h"
#include "storage/store.h"

#include <jansson.h>
#include <stdlib.h>
#include <zlib.h>

static struct fixture fixture;

static int open_fixture(void **state)
{
    (void)state;
    fixture_open(&fixture);
    return 0;
}

static int close_fixture(void **state)
{
    (void)state;
    fixture_close(&fixture);
    return 0;
}

#define POINT(series, time, value)                                                                 \
    "{\"series\":\"" series "\",\"timestamp\":" time ",\"value\":" value "}"
#define T0 "1795354740000"
#define T1 "1795354741000"

static void test_points_table(void **state)
{
    (void)state;
    static const struct {
        const char *query, *body;
        int status;
        const char *part;
    } table[] = {
        {"", POINT("a", T0, "21.4"), 200, "{\"accepted\":1,\"updated\":0,\"rejected\":0}"},
        {"", POINT("a", T0, "21.5"), 200, "{\"accepted\":1,\"updated\":1,\"rejected\":0}"},
        {"", "[" POINT("a", T1, "1") "," POINT("b", T1, "null") "]", 200, "\"accepted\":2"},
        {"", " [ ] ", 200, "\"accepted\":0"},
        {"", "{\"series\":\"c\",\"labels\":{\"site\":\"a\"},\"points\":[[" T0 ",1],[" T1 ",null]]}",
         200, "\"accepted\":2"},
        {"", "{\"series\":\"c\",\"points\":[]}", 200, "\"accepted\":0"},
        {"", "{\"points\":[[" T0 ",1]],\"series\":\"c\"}", 200, "\"accepted\":1"},
        {"", "{\"value\":3,\"series\":\"now\"}", 200, "\"accepted\":1"},
        {"", POINT("r", "\"2026-11-22T13:40:00+01:00\"", "3"), 200, "\"accepted\":1"},
        {"?precision=s", POINT("s", "1795354740", "3"), 200, "\"accepted\":1"},
        {"?precision=s", POINT("s", "1795354740.5", "3"), 200, "\"accepted\":1"},
        {"?precision=us", POINT("s", "1795354740000000", "3"), 200, "\"accepted\":1"},
        {"?precision=ns", POINT("s", "1795354740000000000", "3"), 200, "\"accepted\":1"},
        {"?precision=ms", POINT("s", T0 ".0", "3"), 200, "\"accepted\":1"},
        /* points refused */
        {"", POINT("a", "1795354740", "3"), 422, "timestamp_unit"},
        {"", POINT("a", "1795354740", "3"), 422, "precision"},
        {"", POINT("a", "-5", "3"), 422, "timestamp_unit"},
        {"", POINT("a", "1795354740000000", "3"), 422, "too_far_future"},
        {"", POINT("a", "1795355341000", "3"), 422, "too_far_future"},
        {"", POINT("a", "1e300", "3"), 422, "bad_timestamp"},
        {"", POINT("a", "\"2026-11-22T13:40:00\"", "3"), 422, "bad_timestamp"},
        {"", POINT("a", "null", "3"), 422, "bad_timestamp"},
        {"", POINT("a", T0, "1e999"), 422, "bad_value"},
        {"", POINT("a", T0, "-1e999"), 422, "bad_value"},
        {"", POINT("a", T0, "\"3\""), 422, "bad_value"},
        {"", POINT("a", T0, "{\"x\":[1,{}]}"), 422, "bad_value"},
        {"", POINT("a", T0, "true"), 422, "bad_value"},
        {"", POINT("", T0, "1"), 422, "bad_series_name"},
        {"", "{\"series\":7,\"timestamp\":" T0 ",\"value\":1}", 422, "bad_series_name"},
        {"", "{\"timestamp\":" T0 ",\"value\":1}", 422, "missing_field"},
        {"", "{\"series\":\"a\"}", 422, "missing_field"},
        {"", "{}", 422, "missing_field"},
        {"", "{\"series\":\"a\",\"value\":1,\"value\":2}", 422, "duplicate_field"},
        {"", "{\"series\":\"a\",\"value\":1,\"unit\":{\"x\":1}}", 422, "unknown_field"},
        {"", "{\"series\":\"a\",\"value\":1,\"points\":[]}", 200, "\"accepted\":0"},
        {"", "{\"series\":\"a\",\"value\":1,\"points\":[[" T0 ",1]]}", 422, "bad_field"},
        {"", "{\"series\":\"a\",\"points\":3}", 422, "bad_field"},
        {"", "{\"series\":\"a\",\"points\":[3,[],[" T0 "],[" T0 ",1,2],[" T0 ",7]]}", 422,
         "{\"accepted\":1,\"updated\":1,\"rejected\":4"},
        {"", "{\"series\":\"a\",\"labels\":{\"k\":1},\"value\":1}", 422, "bad_label"},
        {"", "{\"series\":\"a\",\"labels\":[],\"value\":1}", 422, "bad_label"},
        {"", "{\"series\":\"a\",\"labels\":{\"k\":\"1\",\"k\":\"2\"},\"value\":1}", 422,
         "duplicate_label"},
        {"", "{\"series\":\"a\",\"labels\":{\"k-\\u0000\":\"1\"},\"value\":1}", 422, "bad_label"},
        {"", "[" POINT("a", T0, "\"x\"") "," POINT("a", T1, "2") "]", 422,
         "{\"accepted\":1,\"updated\":1,\"rejected\":1"},
        {"", "[" POINT("a", T1, "2") "," POINT("a", T0, "\"x\"") "]", 422, "\"index\":1,"},
        /* unreadable: nothing stored */
        {"", "", 400, "bad_json"},
        {"", "[" POINT("a", T0, "1") ",]", 400, "bad_json"},
        {"", "[" POINT("a", T0, "1") "} ]", 400, "bad_json"},
        {"", "[" POINT("a", T0, "1"), 400, "bad_json"},
        {"", POINT("a", T0, "NaN"), 400, "bad_json"},
        {"", POINT("a", T0, "01"), 400, "bad_json"},
        {"", POINT("a", T0, "1") "x", 400, "bad_json"},
        {"", "[3]", 400, "bad_body"},
        {"", "\"text\"", 400, "bad_body"},
        {"", "{\"series\":\"\xff\",\"value\":1}", 400, "bad_json"},
        {"", "{\"series\":\"a\\q\",\"value\":1}", 400, "bad_json"},
        {"", "{\"series\":\"a\",\"value\":[[[[[[[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]]]]]]}",
         400, "bad_json"},
        {"?precision=min", POINT("a", T0, "1"), 400, "bad_parameter"},
        {"?nothing=1", POINT("a", T0, "1"), 400, "unknown_parameter"},
        {"?precision=s&precision=s", POINT("a", T0, "1"), 400, "repeated_parameter"},
        {"?precision=%zz", POINT("a", T0, "1"), 400, "bad_query"},
    };
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        char target[200];
        snprintf(target, sizeof(target), "/api/v1/points%s", table[i].query);
        expect(&fixture, API_POST, target, table[i].body, table[i].status, table[i].part);
        expect(&fixture, API_POST, "/api/v1/points", POINT("probe", T0, "1"), 200,
               "\"accepted\":1");
    }
}

static void test_nothing_stored_of_unreadable(void **state)
{
    (void)state;
    const char *body = "[" POINT("half", T0, "1") "," POINT("half", T1, "1") ",{";
    expect(&fixture, API_POST, "/api/v1/points", body, 400, "bad_json");
    expect(&fixture, API_GET, "/api/v1/series/half", NULL, 404, "unknown_series");
}

static void test_ndjson(void **state)
{
    (void)state;
    const char *lines = POINT("n", T0, "1") "\n\r\n" POINT("n", T1, "2") "\r\n";
    struct answer answer =
        fixture_ask(&fixture, API_POST, "/api/v1/points", "application/x-ndjson; charset=utf-8",
                    lines, strlen(lines), API_IDENTITY);
    assert_int_equal(answer.status, 200);
    assert_non_null(strstr(answer.body, "\"accepted\":2"));
    fixture_answer_release(&answer);
    lines = POINT("n", T0, "1") " " POINT("n", T1, "2");
    answer = fixture_ask(&fixture, API_POST, "/api/v1/points", "application/x-ndjson", lines,
                         strlen(lines), API_IDENTITY);
    assert_int_equal(answer.status, 400);
    fixture_answer_release(&answer);
}

static void test_series_limit(void **state)
{
    (void)state;
    char body[200];
    for (int i = 0; i < 60; i++) {
        snprintf(body, sizeof(body), "{\"series\":\"many%d\",\"value\":1}", i);
        expect(&fixture, API_POST, "/api/v1/points", body, i < 50 ? 200 : 422,
               i < 50 ? NULL : "series_limit");
    }
    expect(&fixture, API_POST, "/api/v1/points", "{\"series\":\"many1\",\"value\":1}", 200, NULL);
    expect(&fixture, API_GET, "/metrics", NULL, 200,
           "\nforecastd_ingest_refused_points_total{code=\"series_limit\"} 10\n");
}

static void test_retention_and_amount(void **state)
{
    (void)state;
    fixture.limits.retention_ms = 3600000;
    fixture.limits.points_per_request = 3;
    expect(&fixture, API_POST, "/api/v1/points", POINT("a", "1795351130000", "1"), 422, "too_old");
    expect(&fixture, API_POST, "/api/v1/points",
           "{\"series\":\"a\",\"points\":[[" T0 ",1],[" T1
           ",1],[1795354742000,1],[1795354743000,1]]}",
           413, "too_many_points");
    expect(&fixture, API_GET, "/api/v1/series/a", NULL, 404, "unknown_series");
}

static size_t gzip(const void *bytes, size_t length, unsigned char *out, size_t capacity)
{
    z_stream stream = {0};
    assert_int_equal(deflateInit2(&stream, 9, Z_DEFLATED, 31, 8, Z_DEFAULT_STRATEGY), Z_OK);
    stream.next_in = (z_const Bytef *)(uintptr_t)bytes;
    stream.avail_in = (uInt)length;
    stream.next_out = out;
    stream.avail_out = (uInt)capacity;
    assert_int_equal(deflate(&stream, Z_FINISH), Z_STREAM_END);
    size_t used = capacity - stream.avail_out;
    deflateEnd(&stream);
    return used;
}

static int ask_packed(const char *target, const char *type, const unsigned char *body,
                      size_t length, const char *part)
{
    struct answer answer =
        fixture_ask(&fixture, API_POST, target, type, (const char *)body, length, API_GZIP);
    int status = answer.status;
    if (part && !strstr(answer.body, part)) {
        fail_msg("%s is not in %s", part, answer.body);
    }
    fixture_answer_release(&answer);
    return status;
}

static void test_gzip(void **state)
{
    (void)state;
    static unsigned char packed[1 << 20];
    const char *body = POINT("z", T0, "1");
    size_t length = gzip(body, strlen(body), packed, sizeof(packed));
    assert_int_equal(ask_packed("/api/v1/points", NULL, packed, length, "\"accepted\":1"), 200);
    for (size_t cut = 0; cut < length; cut++) {
        assert_int_equal(ask_packed("/api/v1/points", NULL, packed, cut, "bad_gzip"), 400);
    }
    packed[length] = 'x';
    assert_int_equal(ask_packed("/api/v1/points", NULL, packed, length + 1, "bad_gzip"), 400);
    size_t bomb_length = (size_t)80 << 20;
    char *bomb = calloc(bomb_length, 1);
    assert_non_null(bomb);
    length = gzip(bomb, bomb_length, packed, sizeof(packed));
    free(bomb);
    assert_int_equal(ask_packed("/api/v1/points", NULL, packed, length, "body_too_large"), 413);
}

static void test_heads(void **state)
{
    (void)state;
    struct answer answer = fixture_ask(&fixture, API_POST, "/api/v1/points",
                                       "application/x-www-form-urlencoded", "a=1", 3, API_IDENTITY);
    assert_int_equal(answer.status, 415);
    assert_non_null(strstr(answer.body, "application/json"));
    fixture_answer_release(&answer);
    answer = fixture_ask(&fixture, API_POST, "/api/v1/points", NULL, "{}", 2, API_SNAPPY);
    assert_int_equal(answer.status, 415);
    fixture_answer_release(&answer);
    answer = fixture_ask(&fixture, API_POST, "/api/v1/train", NULL, "{}", 2, API_GZIP);
    assert_int_equal(answer.status, 415);
    fixture_answer_release(&answer);
    answer = fixture_ask(&fixture, API_DELETE, "/api/v1/points", NULL, "", 0, API_IDENTITY);
    assert_int_equal(answer.status, 405);
    assert_string_equal(answer.allow, "POST");
    fixture_answer_release(&answer);
    answer = fixture_ask(&fixture, API_POST, "/api/v1/series/1", NULL, "", 0, API_IDENTITY);
    assert_int_equal(answer.status, 405);
    assert_string_equal(answer.allow, "GET, HEAD, PATCH, DELETE");
    fixture_answer_release(&answer);
    answer = fixture_ask(&fixture, API_HEAD, "/healthz", NULL, "", 0, API_IDENTITY);
    assert_int_equal(answer.status, 200);
    fixture_answer_release(&answer);
    fixture.limits.body_max = 100;
    char big[200];
    memset(big, ' ', sizeof(big));
    answer =
        fixture_ask(&fixture, API_POST, "/api/v1/points", NULL, big, sizeof(big), API_IDENTITY);
    assert_int_equal(answer.status, 413);
    fixture_answer_release(&answer);
    expect(&fixture, API_GET, "/api/v1/nothing", NULL, 404, "unknown_route");
    expect(&fixture, API_GET, "/api/v1/timeleft/x", NULL, 404, "unknown_route");
    expect(&fixture, API_GET, "/api/v1/query_range", NULL, 404, "are below /prometheus");
    expect(&fixture, API_GET, "/api/v1/label/job/values", NULL, 404, "are below /prometheus");
    expect(&fixture, API_GET, "/api/v1/forecast?series=m%61=\"b\"", NULL, 404, "--data-urlencode");
    expect(&fixture, API_GET, "/api/v1/series/", NULL, 404, "unknown_route");
    expect(&fixture, API_POST, "/api/v1/written", "", 404, "unknown_route");
    expect(&fixture, API_OTHER, "/healthz", NULL, 405, "method_not_allowed");
}

static void test_series(void **state)
{
    (void)state;
    fixture_fill(&fixture, "plain", 100, 60000);
    fixture_fill(&fixture, "boiler.temp{site=\"a\"}", 50, 300000);
    expect(&fixture, API_GET, "/api/v1/series", NULL, 200, "boiler.temp{site=\\\"a\\\"}");
    expect(&fixture, API_GET, "/api/v1/series", NULL, 200, "\"next\":null");
    expect(&fixture, API_GET, "/api/v1/series?limit=1", NULL, 200, "\"next\":\"1\"");
    expect(&fixture, API_GET, "/api/v1/series?limit=1&cursor=1", NULL, 200, "boiler");
    expect(&fixture, API_GET, "/api/v1/series?match=%7Bsite%3D%22a%22%7D", NULL, 200, "boiler");
    expect(&fixture, API_GET, "/api/v1/series?match=%7Bsite%3D", NULL, 400, "bad_selector");
    expect(&fixture, API_GET, "/api/v1/series?limit=0", NULL, 400, "bad_parameter");
    expect(&fixture, API_GET, "/api/v1/series?limit=x", NULL, 400, "bad_parameter");
    expect(&fixture, API_GET, "/api/v1/series?foo=1", NULL, 400, "match search limit cursor");
    expect(&fixture, API_GET, "/api/v1/series/1", NULL, 200, "\"step_ms\":60000");
    expect(&fixture, API_GET, "/api/v1/series/plain", NULL, 200, "\"state\":\"baseline\"");
    expect(&fixture, API_GET, "/api/v1/series/boiler.temp%7Bsite%3D%22a%22%7D", NULL, 200,
           "\"id\":2");
    expect(&fixture, API_GET, "/api/v1/series/99", NULL, 404, "unknown_series");
    expect(&fixture, API_GET, "/api/v1/series/%ff", NULL, 400, "bad_series_name");
    expect(&fixture, API_GET, "/api/v1/series/%0a", NULL, 400, "bad_query");
    expect(&fixture, API_GET, "/api/v1/series/1/points?limit=2", NULL, 200, "\"next\":17953");
    expect(&fixture, API_GET, "/api/v1/series/1/points", NULL, 200, "\"next\":null");
    expect(&fixture, API_GET, "/api/v1/series/1/points?start=2026-11-22T13:38:00Z&end=now", NULL,
           200, "[[1795354680000,");
    expect(&fixture, API_GET, "/api/v1/series/1/points?start=now&end=now", NULL, 400,
           "bad_parameter");
    expect(&fixture, API_GET, "/api/v1/series/1/points?start=yesterday", NULL, 400, "RFC 3339");
    expect(&fixture, API_GET, "/api/v1/series/nope/points", NULL, 404, "unknown_series");
    expect(&fixture, API_DELETE, "/api/v1/series/1", NULL, 204, NULL);
    expect(&fixture, API_DELETE, "/api/v1/series/1", NULL, 404, "unknown_series");
    expect(&fixture, API_GET, "/api/v1/series/plain", NULL, 404, "unknown_series");
}

static void test_settings(void **state)
{
    (void)state;
    fixture_fill(&fixture, "s", 100, 60000);
    static const struct {
        const char *body;
        int status;
        const char *part;
    } table[] = {
        {"{\"step\":\"5m\"}", 200, "\"step_ms\":300000"},
        {"{\"season\":24}", 200, "\"seasons\":[24]"},
        {"{\"season\":\"1h\"}", 200, "\"season\":12"},
        {"{\"season\":\"7m\"}", 400, "bad_field"},
        {"{\"season\":-1}", 400, "bad_field"},
        {"{\"step\":60000}", 200, "\"step_ms\":60000"},
        {"{\"step\":\"0s\"}", 400, "bad_field"},
        {"{\"step\":true}", 400, "bad_field"},
        {"{\"step\":null}", 200, "\"step\":null"},
        {"{\"time_zone\":\"Europe/Berlin\"}", 200, "Europe/Berlin"},
        {"{\"time_zone\":\"UTC\"}", 200, "UTC"},
        {"{\"time_zone\":\"Mars/Olympus\"}", 400, "bad_field"},
        {"{\"time_zone\":\"../../../etc/passwd\"}", 400, "bad_field"},
        {"{\"time_zone\":null}", 200, "\"time_zone\":null"},
        {"{\"min\":0,\"max\":10.5}", 200, "\"min\":0"},
        {"{\"max\":-1}", 400, "bad_field"},
        {"{\"min\":\"x\"}", 400, "bad_field"},
        {"{\"min\":null,\"max\":null}", 200, "\"max\":null"},
        {"{\"integer\":true}", 200, "\"integer\":true"},
        {"{\"integer\":1}", 400, "bad_field"},
        {"{\"kind\":\"counter\"}", 200, "\"kind\":\"counter\""},
        {"{\"kind\":\"meter\"}", 400, "gauge, counter"},
        {"{\"kind\":null,\"integer\":null,\"season\":null}", 200, "\"kind\":null"},
        {"{\"retention\":\"30d\"}", 200, "\"retention\":2592000000"},
        {"{\"retention\":\"1s\"}", 400, "bad_field"},
        {"{\"color\":\"red\"}", 400, "unknown_field"},
        {"{\"min\":1,\"min\":2}", 400, "duplicate_field"},
        {"[]", 400, "bad_body"},
        {"{", 400, "bad_json"},
        {"", 200, "\"id\":1"},
    };
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        expect(&fixture, API_PATCH, "/api/v1/series/s", table[i].body, table[i].status,
               table[i].part);
    }
    expect(&fixture, API_PATCH, "/api/v1/series/nope", "{}", 404, "unknown_series");
}

static void test_jobs(void **state)
{
    (void)state;
    struct answer answer =
        post(&fixture, "/api/v1/train", "{\"seconds\":5,\"seed\":7,\"steps\":10}");
    assert_int_equal(answer.status, 202);
    assert_string_equal(answer.location, "/api/v1/jobs/train-1");
    assert_non_null(strstr(answer.body, "\"state\":\"queued\""));
    fixture_answer_release(&answer);
    expect(&fixture, API_POST, "/api/v1/train", "{}", 409, "job_queued");
    struct job_table *table = fixture.services.jobs;
    assert_true(job_wait(table, 0));
    struct job *job = job_take(table);
    assert_non_null(job);
    assert_int_equal(job->seed, 7);
    struct train_progress progress = {0.5, 5, 0.25, 2.5, "member 1 of 2"};
    job_progress(table, job, &progress);
    expect(&fixture, API_GET, "/api/v1/jobs/train-1", NULL, 200, "\"progress\":0.5");
    expect(&fixture, API_GET, "/api/v1/status", NULL, 200, "\"training\":{\"state\":\"running\"");
    expect(&fixture, API_DELETE, "/api/v1/jobs/train-1", NULL, 200, "\"state\":\"running\"");
    assert_true(atomic_load(&job->cancel));
    job_end(table, job, JOB_CANCELLED, NULL, "cancelled by request");
    expect(&fixture, API_DELETE, "/api/v1/jobs/train-1", NULL, 409, "job_ended");
    expect(&fixture, API_GET, "/api/v1/jobs", NULL, 200, "\"state\":\"cancelled\"");
    expect(&fixture, API_GET, "/api/v1/jobs/none", NULL, 404, "unknown_job");
    expect(&fixture, API_DELETE, "/api/v1/jobs/none", NULL, 404, "unknown_job");
    expect(&fixture, API_POST, "/api/v1/train", "{\"backbone\":\"logsparse\"}", 202, NULL);
    expect(&fixture, API_DELETE, "/api/v1/jobs/train-2", NULL, 200, "\"state\":\"cancelled\"");
    expect(&fixture, API_POST, "/api/v1/train", "{\"backbone\":\"magic\"}", 400, "logsparse");
    expect(&fixture, API_POST, "/api/v1/train", "{\"seconds\":0}", 400, "bad_field");
    expect(&fixture, API_POST, "/api/v1/train", "{\"seed\":\"x\"}", 400, "bad_field");
    expect(&fixture, API_POST, "/api/v1/train", "{\"speed\":1}", 400, "unknown_field");
    for (int i = 0; i < 100; i++) {
        expect(&fixture, API_POST, "/api/v1/train", "{}", 202, NULL);
        job_end(table, job_take(table), JOB_DONE, "{\"model\":\"1h-1\"}", NULL);
    }
    expect(&fixture, API_GET, "/api/v1/jobs", NULL, 200, "{\"model\":\"1h-1\"}");
    assert_false(job_is_closed(table));
    job_close(table);
    assert_true(job_is_closed(table));
    assert_false(job_wait(table, 0));
    expect(&fixture, API_POST, "/api/v1/train", "{}", 503, "jobs_full");
}

static void test_backtest_jobs(void **state)
{
    static char result[4000];
    (void)state;
    struct job_table *table = fixture.services.jobs;
    struct error error = {0};
    expect(&fixture, API_POST, "/api/v1/points", POINT("s", T0, "1"), 200, NULL);
    const char *body =
        "{\"series\":\"s\",\"horizon\":\"2h\",\"windows\":3,\"seed\":7,\"seeds\":5,\"steps\":10}";
    expect(&fixture, API_POST, "/api/v1/backtest", body, 202, "\"kind\":\"backtest\"");
    expect(&fixture, API_POST, "/api/v1/backtest", "{}", 409, "job_queued");
    expect(&fixture, API_POST, "/api/v1/train", "{}", 202, "\"kind\":\"train\""); /* another kind */
    struct job *job = job_take(table);
    assert_string_equal(job->kind, "backtest");
    assert_string_equal(job->selector, "s");
    assert_int_equal(job->horizon_ms, 7200000);
    assert_int_equal(job->horizon, 0);
    assert_int_equal(job->windows, 3);
    assert_int_equal(job->seed, 7);
    assert_int_equal(job->seeds, 5);
    memset(result, 'x', sizeof(result) - 1);
    result[0] = result[sizeof(result) - 2] = '"';
    job_end(table, job, JOB_DONE, result, NULL);
    /* A long result is with the job itself, whole; the list leaves it out. */
    expect(&fixture, API_GET, "/api/v1/jobs/backtest-1", NULL, 200, result);
    expect(&fixture, API_GET, "/api/v1/jobs", NULL, 200, "\"result\":null");
    job_end(table, job_take(table), JOB_CANCELLED, NULL, NULL); /* the train job */
    for (int i = 0; i < 100; i++) { /* its place is used again: nothing is lost or kept for ever */
        struct job next = {.kind = "backtest"};
        assert_int_equal(job_add(table, &next, &error), STATUS_OK);
        job_end(table, job_take(table), JOB_DONE, result, NULL);
    }
    expect(&fixture, API_GET, "/api/v1/jobs/backtest-1", NULL, 404, "unknown_job");
    expect(&fixture, API_POST, "/api/v1/backtest", "{\"horizon\":12}", 202, NULL);
    job = job_take(table);
    assert_int_equal(job->horizon, 12);
    assert_int_equal(job->windows, 4); /* where the body says nothing */
    assert_int_equal(job->seeds, 1);
    char *huge = mem_alloc(JOB_RESULT_MAX + 2);
    assert_non_null(huge);
    memset(huge, '1', JOB_RESULT_MAX + 1);
    huge[JOB_RESULT_MAX + 1] = '\0';
    job_end(table, job, JOB_DONE, huge, NULL);
    mem_free(huge);
    char path[64];
    snprintf(path, sizeof(path), "/api/v1/jobs/%s", job->id);
    expect(&fixture, API_GET, path, NULL, 200, "too large to be kept");
    expect(&fixture, API_POST, "/api/v1/backtest", "{\"windows\":0}", 400, "bad_field");
    expect(&fixture, API_POST, "/api/v1/backtest", "{\"seeds\":33}", 400, "bad_field");
    /* All seeds together have a day. */
    body = "{\"seeds\":32,\"seconds\":2701}";
    expect(&fixture, API_POST, "/api/v1/backtest", body, 400, "for each seed");
    body = "{\"seeds\":32,\"seconds\":2700}";
    expect(&fixture, API_POST, "/api/v1/backtest", body, 202, NULL);
    job_end(table, job_take(table), JOB_CANCELLED, NULL, NULL);
    expect(&fixture, API_POST, "/api/v1/backtest", "{\"horizon\":\"x\"}", 400, "bad_field");
    expect(&fixture, API_POST, "/api/v1/backtest", "{\"series\":\"nope\"}", 404, "unknown_series");
}

static enum status promote(void *context, const char *id, struct error *error)
{
    (void)context;
    return strcmp(id, "1h-1") == 0 ? STATUS_OK : error_set(error, STATUS_NOT_FOUND, "none");
}

static enum status rollback(void *context, int64_t step_ms, struct error *error)
{
    (void)context;
    return step_ms == 0 ? STATUS_OK : error_set(error, STATUS_NOT_FOUND, "none");
}

static void test_models(void **state)
{
    (void)state;
    struct error error = {0};
    struct write_batch *batch = NULL;
    struct write_result result;
    const char *record = "{\"id\":\"1h-1\",\"step_ms\":3600000}";
    expect(&fixture, API_GET, "/api/v1/models", NULL, 200, "{\"models\":[]}");
    assert_int_equal(write_batch_new(fixture.services.storage, 1, &batch, &error), STATUS_OK);
    assert_int_equal(write_batch_record(batch, "model", "1h-1", record, strlen(record), &error),
                     STATUS_OK);
    assert_int_equal(writer_write_take(fixture.services.writer, batch, &result, &error), STATUS_OK);
    expect(&fixture, API_GET, "/api/v1/models", NULL, 200, "\"role\":\"archived\"");
    expect(&fixture, API_GET, "/api/v1/models/1h-1", NULL, 200, "\"step_ms\":3600000}");
    expect(&fixture, API_GET, "/api/v1/models/1h-2", NULL, 404, "unknown_model");
    expect(&fixture, API_POST, "/api/v1/models/1h-1/promote", "{}", 503, "not_ready");
    expect(&fixture, API_POST, "/api/v1/models/rollback", "{}", 503, "not_ready");
    fixture.services.promote = promote;
    fixture.services.rollback = rollback;
    expect(&fixture, API_POST, "/api/v1/models/1h-1/promote", "", 200, "\"champion\":\"1h-1\"");
    expect(&fixture, API_POST, "/api/v1/models/1h-2/promote", "", 404, "unknown_model");
    expect(&fixture, API_POST, "/api/v1/models/1h-2/promote", "{\"x\":1}", 400, "unknown_field");
    expect(&fixture, API_POST, "/api/v1/models/rollback", "", 200, "champion");
    expect(&fixture, API_POST, "/api/v1/models/rollback", "{\"step_ms\":60000}", 409,
           "no_previous_model");
    expect(&fixture, API_GET, "/api/v1/backbones", NULL, 200, "\"name\":\"logsparse\"");
}

static void test_health(void **state)
{
    (void)state;
    expect(&fixture, API_GET, "/healthz", NULL, 200, "ok");
    expect(&fixture, API_GET, "/healthz?verbose=1", NULL, 200, "ok");
    expect(&fixture, API_GET, "/readyz", NULL, 200, "\"models\":false");
    expect(&fixture, API_GET, "/api/v1/status", NULL, 200, "\"limits\":{");
    struct answer answer = get(&fixture, "/readyz");
    assert_true(answer.fast);
    fixture_answer_release(&answer);
    atomic_store(&fixture.services.draining, true);
    answer = get(&fixture, "/readyz");
    assert_int_equal(answer.status, 503);
    assert_non_null(strstr(answer.body, "shutting_down"));
    fixture_answer_release(&answer);
}

static void test_metrics(void **state)
{
    (void)state;
    expect(&fixture, API_POST, "/api/v1/points", POINT("m", T0, "1"), 200, NULL);
    expect(&fixture, API_POST, "/api/v1/points", POINT("m", "12", "1"), 422, NULL);
    struct answer answer = get(&fixture, "/metrics");
    assert_int_equal(answer.status, 200);
    assert_non_null(strstr(answer.body, "forecastd_ingest_points_total{result=\"stored\"} 1\n"));
    assert_non_null(
        strstr(answer.body, "forecastd_ingest_refused_points_total{code=\"timestamp_unit\"} 1\n"));
    assert_non_null(
        strstr(answer.body, "route=\"/api/v1/points\",method=\"POST\",code=\"422\"} 1\n"));
    assert_non_null(strstr(answer.body, "process_resident_memory_bytes "));
    assert_null(strstr(answer.body, "# EOF"));
    const char *path = getenv("METRICS_OUT");
    FILE *file = path ? fopen(path, "w") : NULL;
    if (file) {
        fputs(answer.body, file);
        fclose(file);
    }
    fixture_answer_release(&answer);
}

/* Points, not requests, whichever way they came. */
static void test_not_written(void **state)
{
    static const char three[] = "ds,a\n2026-11-21 00:00:00,1\n2026-11-21 01:00:00,2\n"
                                "2026-11-21 02:00:00,3\n";
    (void)state;
    storage_fault_set(fixture.services.storage, 1, STATUS_IO);
    expect(&fixture, API_POST, "/api/v1/points",
           "{\"series\":\"m\",\"points\":[[" T0 ",1],[1795354740001,2]]}", 503, NULL);
    expect(&fixture, API_GET, "/metrics", NULL, 200,
           "forecastd_ingest_points_total{result=\"not_written\"} 2\n");
    storage_fault_set(fixture.services.storage, 1, STATUS_IO);
    struct answer answer = fixture_ask(&fixture, API_POST, "/api/v1/import", "text/csv", three,
                                       strlen(three), API_IDENTITY);
    assert_int_equal(answer.status, 503);
    fixture_answer_release(&answer);
    expect(&fixture, API_GET, "/metrics", NULL, 200,
           "forecastd_ingest_points_total{result=\"not_written\"} 5\n");
}

static void test_import(void **state)
{
    (void)state;
    const char *wide =
        "time,a,\"b{x=\"\"1\"\"}\"\n2026-11-22T12:00:00Z,1,\n2026-11-22 13:00:00,2,3\n";
    struct answer answer = fixture_ask(&fixture, API_POST, "/api/v1/import", "text/csv", wide,
                                       strlen(wide), API_IDENTITY);
    assert_int_equal(answer.status, 200);
    assert_non_null(strstr(answer.body, "\"accepted\":3,"));
    fixture_answer_release(&answer);
    unsigned char packed[1000];
    size_t length = gzip(wide, strlen(wide), packed, sizeof(packed));
    answer = fixture_ask(&fixture, API_POST, "/api/v1/import", "application/gzip",
                         (const char *)packed, length, API_IDENTITY);
    assert_non_null(strstr(answer.body, "{\"accepted\":3,\"updated\":3,\"rejected\":0}"));
    fixture_answer_release(&answer);
    const char *bad =
        "series_id,timestamp,value\na,2026-11-22T12:00:00Z,x\na,2026-11-22T12:00:00Z,4\n"
        "a,2027-11-22T12:00:00Z,4\n";
    answer = fixture_ask(&fixture, API_POST, "/api/v1/import", "text/csv", bad, strlen(bad),
                         API_IDENTITY);
    assert_int_equal(answer.status, 422);
    assert_non_null(strstr(answer.body, "\"line\":2,\"code\":\"bad_value\""));
    assert_non_null(strstr(answer.body, "\"line\":4,\"code\":\"too_far_future\""));
    assert_non_null(strstr(answer.body, "{\"accepted\":1,\"updated\":1,\"rejected\":2"));
    fixture_answer_release(&answer);
    /* Three of one time are counted as JSON's are. */
    const char *thrice = "series_id,timestamp,value\nt,2026-11-22T12:00:00Z,1\n"
                         "t,2026-11-22T12:00:00Z,2\nt,2026-11-22T12:00:00Z,.5\n";
    answer = fixture_ask(&fixture, API_POST, "/api/v1/import", "text/csv", thrice, strlen(thrice),
                         API_IDENTITY);
    assert_string_equal(answer.body, "{\"accepted\":3,\"updated\":2,\"rejected\":0}");
    fixture_answer_release(&answer);
    expect(&fixture, API_GET, "/api/v1/series/t/points", NULL, 200, ",0.5]],\"next\":null}");
    answer =
        fixture_ask(&fixture, API_POST, "/api/v1/import", "text/csv", "nonsense", 8, API_IDENTITY);
    assert_int_equal(answer.status, 400);
    assert_non_null(strstr(answer.body, "bad_csv"));
    fixture_answer_release(&answer);
}

/* Seconds would be read as January 1970, and everything be in range. */
static void test_times_in_seconds(void **state)
{
    (void)state;
    static const char *const targets[] = {"/api/v1/series/old/points?start=1795354740",
                                          "/api/v1/series/old/points?end=1795354740",
                                          "/api/v1/anomalies?series=old&start=1795354740",
                                          "/api/v1/forecast?series=old&at=1795354740"};
    const char *old = "series_id,timestamp,value\nold,1970-01-20T00:00:00Z,1\n"
                      "old,1970-01-20T00:01:00Z,2\n";
    struct answer answer = fixture_ask(&fixture, API_POST, "/api/v1/import", "text/csv", old,
                                       strlen(old), API_IDENTITY);
    assert_int_equal(answer.status, 200);
    fixture_answer_release(&answer);
    for (size_t i = 0; i < sizeof(targets) / sizeof(targets[0]); i++) {
        expect(&fixture, API_GET, targets[i], NULL, 400, "would lie before 1973");
        expect(&fixture, API_GET, targets[i], NULL, 400, "Give milliseconds since 1970");
    }
    /* Those who have points from then go on by what they are told. */
    expect(&fixture, API_GET, "/api/v1/series/old/points?limit=1", NULL, 200,
           "\"next\":\"1970-01-20T00:01:00Z\"");
    expect(&fixture, API_GET, "/api/v1/series/old/points?start=1970-01-20T00:01:00Z", NULL, 200,
           "{\"points\":[[1641660000,2]],");
    expect(&fixture, API_GET, "/api/v1/series/old/points?start=94694400000", NULL, 200, "[]");
    expect(&fixture, API_GET, "/api/v1/forecast?series=old&level=0.8", NULL, 400, "80, not 0.8");
    expect(&fixture, API_POST, "/api/v1/forecast", "{\"series\":\"old\",\"level\":[0.8]}", 400,
           "80, not 0.8");
    expect(&fixture, API_GET, "/api/v1/forecast?series=old&level=1", NULL, 200, "\"0.495\"");
    expect(&fixture, API_PATCH, "/api/v1/series/old", "{\"step\":30}", 400,
           "a number is milliseconds");
}

/* Every code that an answer used is in the table, and the table has no code twice. */
static void test_codes(void **state)
{
    (void)state;
    size_t count = 0;
    const struct problem_code *codes = problem_codes(&count);
    for (size_t i = 0; i < count; i++) {
        assert_ptr_equal(problem_code_find(codes[i].code), &codes[i]);
        assert_true(codes[i].http >= 400);
    }
    assert_null(problem_code_find("no_such_code"));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, open_fixture, close_fixture)
    const struct CMUnitTest tests[] = {
        TEST(test_points_table),
        TEST(test_nothing_stored_of_unreadable),
        TEST(test_ndjson),
        TEST(test_series_limit),
        TEST(test_retention_and_amount),
        TEST(test_gzip),
        TEST(test_heads),
        TEST(test_series),
        TEST(test_settings),
        TEST(test_jobs),
        TEST(test_backtest_jobs),
        TEST(test_models),
        TEST(test_health),
        TEST(test_metrics),
        TEST(test_import),
        TEST(test_not_written),
        TEST(test_times_in_seconds),
        TEST(test_codes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
