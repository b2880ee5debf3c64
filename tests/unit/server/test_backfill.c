/* Windows of a backfill, the requests made for them, and what its options refuse.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "server/backfill.h"
#include "server/backfill_window.h"
#include "server/fetch.h"

#include "base/check.h"
#include "base/clock.h"

#include "../base/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MINUTE INT64_C(60000)
#define BEGIN  INT64_C(1795348800000) /* 2026-11-22T12:00:00Z */

/* All windows follow each other, none is longer than the bound, and together they are the whole. */
static void test_windows_tile(void **state)
{
    (void)state;
    struct backfill_windows windows;
    int64_t from_ms = 0, to_ms = 0, longest = 0;
    int64_t expected = BEGIN - 3 * MINUTE; /* whole units, outwards */
    backfill_windows_init(&windows, BEGIN - 2 * MINUTE - 1, BEGIN + 100000 * MINUTE + 1, MINUTE);
    size_t count = 0;
    for (; backfill_windows_next(&windows, &from_ms, &to_ms); count++) {
        assert_int_equal(from_ms, expected);
        assert_true(to_ms > from_ms && (to_ms - from_ms) % MINUTE == 0);
        assert_true((to_ms - from_ms) / MINUTE <= WINDOW_POINTS_MAX);
        longest = to_ms - from_ms > longest ? to_ms - from_ms : longest;
        expected = to_ms;
        backfill_windows_done(&windows, 1000);
    }
    assert_int_equal(expected, BEGIN + 100001 * MINUTE);
    assert_int_equal(longest / MINUTE, WINDOW_POINTS_MAX); /* small answers let it grow */
    assert_true(count > 9 && count < 16);
}

static void test_windows_shrink(void **state)
{
    (void)state;
    struct backfill_windows windows;
    int64_t from_ms, to_ms, at_ms = BEGIN, longest = 0;
    backfill_windows_init(&windows, BEGIN, BEGIN + 5000 * MINUTE, MINUTE);
    while (backfill_windows_next(&windows, &from_ms, &to_ms)) {
        if (to_ms - from_ms > 100 * MINUTE) { /* this server gives no more at once */
            assert_true(backfill_windows_shrink(&windows));
            continue;
        }
        assert_int_equal(from_ms, at_ms);
        at_ms = to_ms;
        longest = to_ms - from_ms > longest ? to_ms - from_ms : longest;
        backfill_windows_done(&windows, 0);
    }
    assert_int_equal(at_ms, BEGIN + 5000 * MINUTE);
    assert_int_equal(longest, 62 * MINUTE); /* 1000 halved four times, and not tried again */
    backfill_windows_init(&windows, BEGIN, BEGIN + MINUTE, MINUTE);
    assert_false(backfill_windows_shrink(&windows)); /* one unit cannot be less */
    backfill_windows_init(&windows, BEGIN, BEGIN + 4000 * MINUTE, MINUTE);
    backfill_windows_done(&windows, (size_t)40 << 20); /* a large answer halves what comes */
    assert_true(backfill_windows_next(&windows, &from_ms, &to_ms));
    assert_int_equal(to_ms - from_ms, 500 * MINUTE);
}

static void check_request(struct backfill_source *source, const char *url, const char *body)
{
    const int64_t window[2] = {BEGIN, BEGIN + 10 * MINUTE + 500};
    struct backfill_request request;
    struct error error = {0};
    assert_ok(backfill_check(source, &error));
    assert_ok(backfill_request_make(source, 0, window, &request, &error));
    assert_string_equal(request.url.bytes, url);
    assert_string_equal(request.body.bytes, body);
    backfill_request_release(&request);
}

static void test_requests(void **state)
{
    (void)state;
    struct backfill_source source;
    backfill_source_init(&source);
    source.url = "http://h:9090/prefix/";
    source.queries[0] = "rate(a{b=\"c\"}[5m])";
    source.query_count = 1;
    check_request(&source, "http://h:9090/prefix/api/v1/query_range",
                  "query=rate%28a%7Bb%3D%22c%22%7D%5B5m%5D%29&start=1795348800.000&"
                  "end=1795349340.500&step=60.000");
    backfill_source_init(&source);
    source.kind = NEIGHBOUR_INFLUXQL;
    source.url = "https://h";
    source.database = "a b";
    check_request(&source, "https://h/query",
                  "db=a%20b&epoch=ms&chunked=true&chunk_size=10000&q=SELECT%20%2A%20FROM%20%2F.%2A"
                  "%2F%20WHERE%20%28time%20%3E%3D%201795348800000ms%20AND%20time%20%3C%20"
                  "1795349400500ms%29%20GROUP%20BY%20%2A");
    backfill_source_init(&source);
    source.kind = NEIGHBOUR_FLUX;
    source.url = "https://h";
    source.org = "o&p";
    source.bucket = "b";
    source.step_ms = 300000;
    check_request(&source, "https://h/api/v2/query?org=o%26p",
                  "{\"type\":\"flux\",\"query\":\"from(bucket: \\\"b\\\") |> range(start: "
                  "2026-11-22T12:00:00Z, stop: 2026-11-22T12:10:00.500Z) |> aggregateWindow(every: "
                  "300000ms, fn: mean, createEmpty: false, timeSrc: \\\"_start\\\")\",\"dialect\":{"
                  "\"header\":true,\"delimiter\":\",\",\"annotations\":[\"datatype\",\"group\","
                  "\"default\"]}}");
}

static void test_options(void **state)
{
    (void)state;
    struct backfill_source source;
    struct error error = {0};
    backfill_source_init(&source);
    source.now_ms = BEGIN;
    assert_ok(backfill_option(&source, "start", "-1h30m", &error));
    assert_int_equal(source.start_ms, BEGIN - 90 * MINUTE);
    assert_ok(backfill_option(&source, "end", "2026-11-22T11:00:00+01:00", &error));
    assert_int_equal(source.end_ms, BEGIN - 120 * MINUTE);
    assert_int_equal(backfill_option(&source, "start", "-1x", &error), STATUS_INVALID);
    assert_int_equal(backfill_option(&source, "step", "0", &error), STATUS_INVALID);
    assert_int_equal(backfill_option(&source, "data", "x", &error), STATUS_NOT_FOUND);
    assert_ok(backfill_option(&source, "from-prometheus", "http://h", &error));
    assert_int_equal(backfill_option(&source, "from-influxdb", "http://h", &error), STATUS_INVALID);
    assert_int_equal(backfill_check(&source, &error), STATUS_INVALID); /* start behind end */
    assert_ok(backfill_option(&source, "end", "now", &error));
    assert_int_equal(backfill_check(&source, &error), STATUS_INVALID); /* no query */
    assert_string_equal(error.param, "query");
    assert_ok(backfill_option(&source, "header", "X-Scope-OrgID: 1", &error));
    assert_int_equal(backfill_option(&source, "header", "authorization: Bearer x", &error),
                     STATUS_INVALID);
    assert_int_equal(backfill_option(&source, "header", "no colon", &error), STATUS_INVALID);
    assert_string_equal(source.headers.bytes, "X-Scope-OrgID: 1\n");
    backfill_source_release(&source);
}

static void test_places(void **state)
{
    (void)state;
    struct backfill_source source;
    struct error error = {0};
    backfill_source_init(&source);
    source.kind = NEIGHBOUR_INFLUXQL;
    source.url = "http://h";
    source.database = "d";
    source.queries[0] = "SELECT x FROM y";
    source.query_count = 1;
    assert_int_equal(backfill_check(&source, &error), STATUS_INVALID);
    assert_string_equal(error.hint, "Write WHERE $timeFilter.");
    source.queries[0] = "SELECT mean(x) FROM y WHERE $timeFilter GROUP BY time($__interval)";
    assert_int_equal(backfill_check(&source, &error), STATUS_INVALID);
    assert_string_equal(error.param, "step");
    source.step_ms = MINUTE;
    assert_ok(backfill_check(&source, &error));
    source.database = NULL;
    assert_int_equal(backfill_check(&source, &error), STATUS_INVALID);
    assert_string_equal(error.param, "database");
}

static void test_addresses(void **state)
{
    (void)state;
    static const char *const good[] = {"http://h", "HTTPS://h:1/p?q=1", "http://[::1]:9090"};
    static const char *const bad[] = {"h:9090",      "ftp://h",     "http://",     "http://u:p@h/",
                                      "http://h/\n", "http://h/#f", "http://:80/", "file:///etc/x"};
    struct error error = {0};
    for (size_t i = 0; i < ARRAY_COUNT(good); i++) {
        assert_ok(fetch_check_url("x", good[i], &error));
    }
    for (size_t i = 0; i < ARRAY_COUNT(bad); i++) {
        assert_int_equal(fetch_check_url("x", bad[i], &error), STATUS_INVALID);
        assert_null(strstr(error.text, "u:p"));
    }
}

static void test_secrets(void **state)
{
    (void)state;
    char path[] = "/tmp/forecastd-secret-XXXXXX", secret[FETCH_SECRET_MAX];
    static const char lines[] = "# comment\r\nX-Key: abc\r\n\nAuthorization: Bearer t\n";
    struct error error = {0};
    struct text headers;
    int fd = mkstemp(path);
    assert_true(fd >= 0 && write(fd, lines, strlen(lines)) == (ssize_t)strlen(lines));
    text_init(&headers, 1000);
    assert_ok(fetch_read_headers(path, &headers, &error));
    assert_string_equal(headers.bytes, "X-Key: abc\nAuthorization: Bearer t\n");
    assert_ok(fetch_read_secret(path, secret, &error));
    assert_string_equal(secret, "# comment");
    assert_true(ftruncate(fd, 0) == 0);
    assert_int_equal(fetch_read_secret(path, secret, &error), STATUS_INVALID);
    assert_true(pwrite(fd, "a\x01", 2, 0) == 2);
    assert_int_equal(fetch_read_secret(path, secret, &error), STATUS_INVALID);
    text_clear(&headers);
    assert_int_equal(fetch_read_headers(path, &headers, &error), STATUS_INVALID);
    close(fd);
    unlink(path);
    assert_int_equal(fetch_read_secret(path, secret, &error), STATUS_IO);
    text_release(&headers);
}

static void test_words(void **state)
{
    (void)state;
    static const struct {
        const char *body, *words;
    } cases[] = {
        {"{\"status\":\"error\",\"errorType\":\"bad_data\",\"error\":\"parse\\nerror\"}",
         "parse error"},
        {"{\"code\":\"unauthorized\",\"message\":\"no\"}", "no"},
        {"<html>\r\nBad Gateway", "<html>  Bad Gateway"},
        {"{\"data\":[", "{\"data\":["},
        {"", ""},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        char words[200];
        backfill_server_words(cases[i].body, strlen(cases[i].body), words);
        assert_string_equal(words, cases[i].words);
    }
}

/* What a neighbour has from the future would stop its series until the clock is there. */
static void test_times_beyond_the_limits(void **state)
{
    (void)state;
    char folder[] = "/tmp/forecastd-backfill-XXXXXX", path[64], line[80];
    struct import_target target = {0};
    struct config_sources sources = {0};
    struct error error = {0};
    const int64_t now_ms = clock_wall_ms();
    const struct point points[] = {{now_ms - 3 * MINUTE, 1.0},
                                   {now_ms + 600 * MINUTE, 2.0},
                                   {now_ms - 20 * 1440 * MINUTE, 3.0},
                                   {now_ms - 2 * MINUTE, 4.0}};
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof(path), "storage.path=%s", folder);
    sources.sets[sources.set_count++] = path;
    sources.sets[sources.set_count++] = "storage.retention=10d";
    sources.sets[sources.set_count++] = "storage.reserve=0";
    assert_ok(import_target_open(&target, &sources, &error));
    struct slice name = {"room", 4};
    assert_ok(import_target_add(&target, name, points + 1, 2, &error));
    assert_int_equal(storage_series_count(target.store.storage), 0); /* nothing of it is kept */
    assert_ok(import_target_add(&target, name, points, 4, &error));
    assert_ok(import_target_flush(&target, &error));
    assert_int_equal(target.accepted, 2);
    assert_int_equal(target.rejected, 4);
    struct series_info info;
    assert_ok(storage_series_info(target.store.storage, 1, &info, &error));
    assert_int_equal(info.last_ms, now_ms - 2 * MINUTE);
    assert_ok(import_target_close(&target, true, &error));
    snprintf(line, sizeof(line), "rm -rf '%s'", folder);
    assert_int_equal(system(line), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_windows_tile),
        cmocka_unit_test(test_windows_shrink),
        cmocka_unit_test(test_requests),
        cmocka_unit_test(test_options),
        cmocka_unit_test(test_places),
        cmocka_unit_test(test_addresses),
        cmocka_unit_test(test_secrets),
        cmocka_unit_test(test_words),
        cmocka_unit_test(test_times_beyond_the_limits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
