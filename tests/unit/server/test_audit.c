/* The audit log where clients leave before their answer.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "server/audit.h"

#include "base/clock.h"
#include "tests/unit/server/port.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define POINT "{\"series\":\"a\",\"value\":1}"
#define POST_POINT                                                                                 \
    "POST /api/v1/points HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"        \
    "Content-Length: 24\r\n\r\n" POINT
#define DELETE_SERIES "DELETE /api/v1/series/a HTTP/1.1\r\nHost: localhost\r\n\r\n"

static char path[] = "/tmp/forecastd-audit-XXXXXX";
static struct port port;
static struct audit *audit;
static struct reply reply;

static int open_audited_port(void **state)
{
    struct error error = {0};
    (void)state;
    assert_int_equal(truncate(path, 0), 0);
    port_open(&port, 1, 16);
    http_stop(port.http, 0);
    assert_int_equal(audit_open(path, &audit, &error), STATUS_OK);
    struct http_options options = {.listen = "127.0.0.1:0",
                                   .connections = 10,
                                   .connections_per_address = 10,
                                   .services = &port.services,
                                   .worker_count = 1,
                                   .worker_queue_max = 16,
                                   .audit = audit};
    assert_int_equal(http_start(&options, &port.http, &error), STATUS_OK);
    return 0;
}

static int close_audited_port(void **state)
{
    (void)state;
    port_close(&port);
    audit_close(audit);
    return 0;
}

/* The daemon's next look at the socket finds it reset. */
static void leave_at_once(int fd)
{
    struct linger none = {1, 0};
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_LINGER, &none, sizeof(none)), 0);
    close(fd);
}

static void read_audit(char text[4096])
{
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    text[fread(text, 1, 4095, file)] = '\0';
    fclose(file);
}

static void wait_until_active(size_t count)
{
    struct http_stats stats = {0};
    for (int ms = 0; stats.active != count; ms += 5) {
        assert_true(ms < 5000);
        clock_sleep_ms(5);
        http_stats(port.http, &stats);
    }
}

/* The writer is held while it leaves: the series goes, and the line says so. */
static void who_leaves_before_the_answer_is_noted(void **state)
{
    char text[4096];
    (void)state;
    port_hold_writer(&port);
    client_ask(&port, POST_POINT, &reply); /* answered, then the writer is held */
    assert_int_equal(reply.status, 200);
    port_wait_idle(&port);
    int fd = client_connect(&port);
    client_send(fd, DELETE_SERIES);
    wait_until_active(1);
    clock_sleep_ms(50); /* it is with the worker, who waits for the writer */
    leave_at_once(fd);
    port_release_writer(&port);
    port_wait_idle(&port);
    read_audit(text);
    assert_non_null(strstr(text, "event=admin who=- address=127.0.0.1 method=DELETE "
                                 "target=\"/api/v1/series/a\" result=204 request_id="));
    assert_ptr_equal(strchr(text, '\n'), strrchr(text, '\n'));
    client_ask(&port, DELETE_SERIES, &reply);
    assert_int_equal(reply.status, 404);
    client_ask(&port, "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n", &reply);
    assert_non_null(strstr(reply.body,
                           "forecastd_http_requests_total{route=\"/api/v1/series/{id}\","
                           "method=\"DELETE\",code=\"204\"} 1\n"));
}

/* Nothing was asked of us yet, so nothing is noted. */
static void who_leaves_within_the_body_did_nothing(void **state)
{
    char text[4096];
    (void)state;
    int fd = client_connect(&port);
    client_send(fd, "POST /api/v1/train HTTP/1.1\r\nHost: localhost\r\n"
                    "Content-Type: application/json\r\nContent-Length: 20\r\n\r\n{\"sec");
    wait_until_active(1);
    clock_sleep_ms(50);
    leave_at_once(fd);
    port_wait_idle(&port);
    read_audit(text);
    assert_string_equal(text, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(who_leaves_before_the_answer_is_noted, open_audited_port,
                                        close_audited_port),
        cmocka_unit_test_setup_teardown(who_leaves_within_the_body_did_nothing, open_audited_port,
                                        close_audited_port),
    };
    int file = mkstemp(path);
    if (file < 0) {
        return 1;
    }
    close(file);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    return unlink(path) == 0 ? failed : 1;
}
