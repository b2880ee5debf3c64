/* The whole daemon: start, status, reload, refresh of live forecasts, SIGTERM.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "base/clock.h"
#include "server/daemon.h"
#include "server/http_client.h"
#include "tests/watched.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[] = "/tmp/forecastd-daemon-XXXXXX";
static struct config config;
static struct daemon *daemon_under_test;
static char base[64];

static void load_config(struct config *out, const char *set)
{
    char path[64];
    struct error error = {0};
    struct config_sources sources = {.set_count = 2};
    snprintf(path, sizeof(path), "storage.path=%s/data", folder);
    sources.sets[0] = path;
    sources.sets[1] = "server.listen=127.0.0.1:0";
    if (set != NULL) {
        sources.sets[sources.set_count++] = set;
    }
    assert_int_equal(config_load(&sources, out, &error), STATUS_OK);
}

static int start(void **state)
{
    struct error error = {0};
    (void)state;
    load_config(&config, NULL);
    struct daemon_options options = {.config = &config};
    assert_int_equal(daemon_start(&options, &daemon_under_test, &error), STATUS_OK);
    snprintf(base, sizeof(base), "http://127.0.0.1:%d", daemon_port(daemon_under_test));
    return 0;
}

static int stop(void **state)
{
    (void)state;
    assert_true(daemon_stop(daemon_under_test, 1000));
    return 0;
}

static int ask(const char *method, const char *target, const char *body, struct http_reply *reply)
{
    struct error error = {0};
    struct http_call call = {.base = base,
                             .method = method,
                             .target = target,
                             .content_type = body != NULL ? "application/json" : NULL,
                             .body = body,
                             .body_length = body != NULL ? strlen(body) : 0};
    assert_int_equal(http_client_call(&call, reply, &error), STATUS_OK);
    return reply->status;
}

static void status_describes_the_process(void **state)
{
    static const char *const keys[] = {
        "\"trainer\":", "\"models\":", "\"http\":", "\"resident_bytes\":", "\"limits\":"};
    struct http_reply reply;
    (void)state;
    assert_int_equal(ask("GET", "/api/v1/status", NULL, &reply), 200);
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        assert_non_null(strstr(reply.body, keys[i]));
    }
    http_reply_release(&reply);
    assert_int_equal(ask("GET", "/readyz", NULL, &reply), 200);
    http_reply_release(&reply);
}

static void the_same_directory_is_not_opened_twice(void **state)
{
    struct daemon *second = NULL;
    struct error error = {0};
    struct daemon_options options = {.config = &config};
    (void)state;
    assert_int_equal(daemon_start(&options, &second, &error), STATUS_CONFLICT);
}

static void reload_changes_limits_at_once(void **state)
{
    char body[3000];
    struct config next;
    struct http_reply reply;
    (void)state;
    snprintf(body, sizeof(body), "{\"series\":\"a\",\"timestamp\":1795354740000,\"value\":1%*s}",
             2000, "");
    assert_int_equal(ask("POST", "/api/v1/points", body, &reply), 200);
    http_reply_release(&reply);
    load_config(&next, "ingest.max_body=1024");
    daemon_reload(daemon_under_test, &next);
    assert_int_equal(ask("POST", "/api/v1/points", body, &reply), 413);
    http_reply_release(&reply);
    load_config(&next, NULL);
    daemon_reload(daemon_under_test, &next);
    assert_int_equal(ask("POST", "/api/v1/points", body, &reply), 200);
    http_reply_release(&reply);
}

static bool status_has(const char *text)
{
    struct http_reply reply;
    assert_int_equal(ask("GET", "/api/v1/status", NULL, &reply), 200);
    bool found = strstr(reply.body, text) != NULL;
    http_reply_release(&reply);
    return found;
}

/* A forecast that was asked for once is kept fresh when points come. */
static void live_forecasts_are_refreshed(void **state)
{
    static char body[65536];
    struct http_reply reply;
    int64_t now_ms = clock_wall_ms() / 1000 * 1000;
    size_t length = 0;
    (void)state;
    length += (size_t)snprintf(body, sizeof(body), "{\"series\":\"live\",\"points\":[");
    for (int i = 0; i < 500; i++) {
        length += (size_t)snprintf(body + length, sizeof(body) - length, "%s[%lld,%d]",
                                   i ? "," : "", (long long)now_ms - (500 - i) * 1000, i % 10);
    }
    snprintf(body + length, sizeof(body) - length, "]}");
    assert_int_equal(ask("POST", "/api/v1/points", body, &reply), 200);
    http_reply_release(&reply);
    assert_int_equal(ask("GET", "/api/v1/forecast?series=live", NULL, &reply), 200);
    http_reply_release(&reply);
    assert_false(status_has("\"live_answers\":0,"));
    assert_int_equal(ask("POST", "/api/v1/points", "{\"series\":\"live\",\"value\":3}", &reply),
                     200);
    http_reply_release(&reply);
    for (int i = 0; i < 500 && status_has("\"refreshed\":0,"); i++) {
        clock_sleep_ms(10);
    }
    assert_false(status_has("\"refreshed\":0,"));
}

static void a_signal_ends_it_in_order(void **state)
{
    int status;
    (void)state;
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        char path[64];
        struct config own;
        struct config_sources sources = {0};
        load_config(&own, "log.level=error");
        snprintf(path, sizeof(path), "%s/other", folder);
        snprintf(own.path, sizeof(own.path), "%s", path);
        struct daemon_options options = {.config = &own};
        watched_exit(daemon_run(&options, &sources));
    }
    clock_sleep_ms(700);
    kill(child, SIGHUP);
    clock_sleep_ms(100);
    assert_int_equal(waitpid(child, &status, WNOHANG), 0);
    int64_t begin_ns = clock_monotonic_ns();
    kill(child, SIGTERM);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    assert_true(clock_monotonic_ns() - begin_ns < INT64_C(9000000000));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(
            a_signal_ends_it_in_order), /* first: it forks, so before there are threads */
        cmocka_unit_test_setup_teardown(status_describes_the_process, start, stop),
        cmocka_unit_test_setup_teardown(the_same_directory_is_not_opened_twice, start, stop),
        cmocka_unit_test_setup_teardown(reload_changes_limits_at_once, start, stop),
        cmocka_unit_test_setup_teardown(live_forecasts_are_refreshed, start, stop),
    };
    char line[128];
    if (mkdtemp(folder) == NULL) {
        return 1;
    }
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    snprintf(line, sizeof(line), "rm -rf '%s'", folder);
    return system(line) == 0 ? failed : 1;
}
