/* The HTTP glue from outside: pending ingest, limits, overload, pipelining, deadlines, bad framing.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "base/background.h"
#include "base/clock.h"
#include "tests/unit/server/port.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define GET(path) "GET " path " HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
#define SECOND_NS INT64_C(1000000000)

static struct port port;
static struct reply reply;

static int open_port(void **state)
{
    (void)state;
    port_open(&port, 2, 16);
    return 0;
}

static int open_narrow_port(void **state)
{
    (void)state;
    port_open(&port, 1, 1);
    return 0;
}

static int close_port(void **state)
{
    (void)state;
    port_close(&port);
    return 0;
}

static void post_points(char *out, size_t capacity, const char *body)
{
    snprintf(out, capacity,
             "POST /api/v1/points HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
             "Content-Length: %zu\r\n\r\n%s",
             strlen(body), body);
}

static void health_is_answered_with_a_request_id(void **state)
{
    (void)state;
    client_ask(&port, GET("/healthz"), &reply);
    assert_int_equal(reply.status, 200);
    assert_non_null(strstr(reply.head, "X-Request-Id: "));
    assert_non_null(strstr(reply.head, "Date: "));
    assert_non_null(strstr(reply.head, "Server: forecastd"));
    client_ask(&port,
               "GET /healthz HTTP/1.1\r\nHost: localhost:1\r\nX-Request-Id: mine.1-a_B\r\n\r\n",
               &reply);
    assert_non_null(strstr(reply.head, "X-Request-Id: mine.1-a_B\r\n"));
    client_ask(&port, "GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Request-Id: a b\"<\r\n\r\n",
               &reply);
    assert_null(strstr(reply.head, "a b"));
}

static void unknown_routes_are_problems(void **state)
{
    (void)state;
    client_ask(&port, GET("/no/such"), &reply);
    assert_int_equal(reply.status, 404);
    assert_non_null(strstr(reply.head, "application/problem+json"));
    client_ask(&port, "BREW /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", &reply);
    assert_int_equal(reply.status, 405);
}

static void head_has_no_body(void **state)
{
    (void)state;
    int fd = client_connect(&port);
    client_send(fd, "HEAD /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" GET("/no/such"));
    client_read(fd, true, &reply);
    assert_int_equal(reply.status, 200);
    client_read(fd, false, &reply); /* would see a body of the first as rubbish */
    assert_int_equal(reply.status, 404);
    close(fd);
}

static void pipelined_requests_are_answered_in_order(void **state)
{
    char post[512];
    (void)state;
    int fd = client_connect(&port);
    post_points(post, sizeof(post), "{\"series\":\"a\",\"timestamp\":1795354740000,\"value\":1}");
    for (int i = 0; i < 20; i++) {
        client_send(fd, GET("/no/such"));
        client_send(fd, post);
        client_send(fd, GET("/healthz"));
    }
    for (int i = 0; i < 20; i++) {
        client_read(fd, false, &reply);
        assert_int_equal(reply.status, 404);
        client_read(fd, false, &reply);
        assert_int_equal(reply.status, 200);
        assert_non_null(strstr(reply.body, "accepted"));
        client_read(fd, false, &reply);
        assert_int_equal(reply.status, 200);
    }
    close(fd);
}

static void *post_many(void *context)
{
    size_t *good = context;
    char post[512];
    struct reply *own = malloc(sizeof(*own));
    int fd = client_connect(&port);
    for (int i = 0; i < 100; i++) {
        char body[128];
        snprintf(body, sizeof(body), "{\"series\":\"s%zu\",\"timestamp\":%lld,\"value\":%d}", *good,
                 1795354740000LL + i * 1000, i);
        post_points(post, sizeof(post), body);
        client_send(fd, post);
        client_read(fd, false, own);
        if (own->status != 200) {
            break;
        }
        if (i == 99) {
            *good = 100;
        }
    }
    close(fd);
    free(own);
    return NULL;
}

static void many_clients_wait_for_commits(void **state)
{
    pthread_t threads[16];
    size_t good[16];
    (void)state;
    for (size_t i = 0; i < 16; i++) {
        good[i] = i;
        pthread_create(&threads[i], NULL, post_many, &good[i]);
    }
    for (size_t i = 0; i < 16; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(good[i], 100);
    }
    struct storage_stats stats;
    storage_stats(port.services.storage, &stats);
    assert_int_equal(stats.points, 1600);
}

static void a_body_may_come_in_chunks(void **state)
{
    (void)state;
    client_ask(
        &port,
        "POST /api/v1/points HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        "Transfer-Encoding: chunked\r\n\r\n10\r\n{\"series\":\"c\",\"t\r\n"
        "26\r\nimestamp\":1795354740000,\"value\":1.5  }\r\n0\r\n\r\n",
        &reply);
    assert_int_equal(reply.status, 200);
}

/* The connection lives on after a refused body that was small enough to be read. */
static void a_large_body_is_413_and_the_next_request_works(void **state)
{
    char head[256];
    char *body = malloc(100001);
    (void)state;
    memset(body, 'x', 100000);
    body[100000] = '\0';
    int fd = client_connect(&port);
    snprintf(head, sizeof(head),
             "POST /api/v1/points HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
             "Content-Length: 100000\r\n\r\n");
    client_send(fd, head);
    client_send(fd, body);
    client_read(fd, false, &reply);
    assert_int_equal(reply.status, 413);
    client_send(fd, GET("/healthz"));
    client_read(fd, false, &reply);
    assert_int_equal(reply.status, 200);
    close(fd);
    free(body);
}

static void a_huge_body_is_a_real_413(void **state)
{
    char *piece = malloc(65537);
    (void)state;
    memset(piece, 'x', 65536);
    piece[65536] = '\0';
    int fd = client_connect(&port);
    client_send(fd, "POST /api/v1/points HTTP/1.1\r\nHost: 127.0.0.1\r\n"
                    "Content-Type: application/json\r\nContent-Length: 8388608\r\n\r\n");
    for (int i = 0; i < 16; i++) {
        client_send(fd, piece);
    }
    client_read(fd, false, &reply);
    assert_int_equal(reply.status, 413);
    assert_non_null(strstr(reply.head, "Connection: close"));
    close(fd);
    fd = client_connect(&port);
    client_send(fd, "POST /api/v1/points HTTP/1.1\r\nHost: 127.0.0.1\r\n"
                    "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n");
    for (int i = 0; i < 40; i++) {
        client_send(fd, "10000\r\n");
        client_send(fd, piece);
        client_send(fd, "\r\n");
    }
    client_read(fd, false, &reply);
    assert_int_equal(reply.status, 413);
    close(fd);
    free(piece);
}

static void expecting_clients_are_refused_before_the_upload(void **state)
{
    (void)state;
    client_ask(
        &port,
        "POST /api/v1/points HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        "Expect: 100-continue\r\nContent-Length: 100000\r\n\r\n",
        &reply);
    assert_int_equal(reply.status, 413);
}

static void doubtful_framing_is_refused_and_closed(void **state)
{
    static const char *const heads[] = {
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Content-Length: 5\r\nContent-Length: 6\r\n",
        "Transfer-Encoding: gzip\r\n",
        "Transfer-Encoding: chunked, chunked\r\n",
        "Content-Length: +5\r\n",
    };
    (void)state;
    for (size_t i = 0; i < sizeof(heads) / sizeof(heads[0]); i++) {
        char text[512];
        snprintf(text, sizeof(text),
                 "POST /api/v1/points HTTP/1.1\r\nHost: 127.0.0.1\r\n"
                 "Content-Type: application/json\r\n%s\r\n0\r\n\r\n" GET("/healthz"),
                 heads[i]);
        int fd = client_connect(&port);
        client_send(fd, text);
        client_read(fd, false, &reply);
        assert_true(reply.closed || reply.status == 400);
        if (!reply.closed) {
            client_read(fd, false, &reply);
            assert_true(reply.closed);
        }
        close(fd);
    }
}

static void foreign_hosts_are_refused_on_loopback(void **state)
{
    (void)state;
    client_ask(&port, "GET /healthz HTTP/1.1\r\nHost: evil.example\r\n\r\n", &reply);
    assert_in_range(reply.status, 400, 421);
    client_ask(&port, "GET /healthz HTTP/1.1\r\nHost: Other:7380\r\n\r\n", &reply);
    assert_int_equal(reply.status, 200);
    client_ask(&port, "GET /healthz HTTP/1.1\r\nHost: [::1]:7380\r\n\r\n", &reply);
    assert_int_equal(reply.status, 200);
}

static void a_full_queue_keeps_health_alive(void **state)
{
    int fds[8];
    size_t busy = 0, good = 0;
    (void)state;
    char post[512];
    post_points(post, sizeof(post), "{\"series\":\"a\",\"timestamp\":1795354740000,\"value\":1}");
    client_ask(&port, post, &reply);
    port_hold_writer(&port);
    int first = client_connect(&port);
    client_send(first, post); /* its commit blocks the writer */
    while (atomic_load(&port.held) == 0) {
        clock_sleep_ms(1);
    }
    for (size_t i = 0; i < 8; i++) {
        fds[i] = client_connect(&port);
        client_send(fds[i], "PATCH /api/v1/series/1 HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: "
                            "application/json\r\nContent-Length: 9\r\n\r\n{\"min\":1}");
    }
    client_ask(&port, GET("/healthz"), &reply);
    assert_int_equal(reply.status, 200);
    client_ask(&port, GET("/metrics"), &reply);
    assert_int_equal(reply.status, 200);
    clock_sleep_ms(100);
    port_release_writer(&port);
    for (size_t i = 0; i < 8; i++) {
        client_read(fds[i], false, &reply);
        if (reply.status == 503) {
            assert_non_null(strstr(reply.head, "Retry-After: "));
            busy++;
        } else {
            assert_int_equal(reply.status, 200);
            good++;
        }
        close(fds[i]);
    }
    assert_true(busy >= 5);
    assert_true(good >= 1);
    client_read(first, false, &reply);
    close(first);
    port_wait_idle(&port);
}

/* Within five seconds; what it was in the end. */
static size_t wait_for_foreground(size_t wanted)
{
    for (int i = 0; i < 5000 && foreground_waiting() != wanted; i++) {
        clock_sleep_ms(1);
    }
    return foreground_waiting();
}

/* Background work rests for complete requests alone, from then to their answers: clients that say
 * nothing, or half of a body, do not hold it up. */
static void who_waits_for_an_answer_is_counted(void **state)
{
    char post[512];
    (void)state;
    post_points(post, sizeof(post), "{\"series\":\"a\",\"timestamp\":1795354740000,\"value\":1}");
    client_ask(&port, post, &reply);
    assert_int_equal(wait_for_foreground(0), 0);
    int silent = client_connect(&port);
    int half = client_connect(&port);
    size_t length = strlen(post);
    char rest = post[length - 1];
    post[length - 1] = '\0';
    client_send(half, post);
    clock_sleep_ms(50);
    assert_int_equal(foreground_waiting(), 0);
    port_hold_writer(&port);
    client_send(half, (char[]){rest, '\0'});
    while (atomic_load(&port.held) == 0) {
        clock_sleep_ms(1);
    }
    client_read(half, false, &reply); /* answered; behind its commit the writer stands still */
    size_t with_none = wait_for_foreground(0);
    int second = client_connect(&port);
    post[length - 1] = rest;
    client_send(second, post);
    size_t with_one = wait_for_foreground(1);
    port_release_writer(&port); /* before anything fails: the port closes only then */
    assert_int_equal(with_none, 0);
    assert_int_equal(with_one, 1);
    client_read(second, false, &reply);
    assert_int_equal(reply.status, 200);
    assert_int_equal(wait_for_foreground(0), 0);
    close(silent);
    close(half);
    close(second);
    port_wait_idle(&port);
}

static void waiting_long_refuses_before_the_queue_is_full(void **state)
{
    static const char patch[] =
        "PATCH /api/v1/series/1 HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: "
        "application/json\r\nContent-Length: 9\r\n\r\n{\"min\":1}";
    int fds[7]; /* the held commit, two with workers, four that wait: twice the workers */
    char post[512];
    (void)state;
    post_points(post, sizeof(post), "{\"series\":\"a\",\"timestamp\":1795354740000,\"value\":1}");
    client_ask(&port, post, &reply);
    port_hold_writer(&port);
    for (size_t i = 0; i < 7; i++) {
        fds[i] = client_connect(&port);
        client_send(fds[i], i == 0 ? post : patch);
        while (atomic_load(&port.held) == 0) {
            clock_sleep_ms(1);
        }
    }
    clock_sleep_ms(WORKERS_WAIT_MAX_MS + 100);
    struct http_stats stats;
    http_stats(port.http, &stats);
    assert_int_equal(stats.waiting, 4);
    client_ask(&port, patch, &reply);
    assert_int_equal(reply.status, 503);
    assert_non_null(strstr(reply.head, "Retry-After: "));
    client_ask(&port, GET("/healthz"), &reply);
    assert_int_equal(reply.status, 200);
    port_release_writer(&port);
    for (size_t i = 0; i < 7; i++) {
        client_read(fds[i], false, &reply);
        assert_int_equal(reply.status, 200);
        close(fds[i]);
    }
    client_ask(&port, patch, &reply);
    assert_int_equal(reply.status, 200);
    port_wait_idle(&port);
}

static size_t sweep_after(int seconds)
{
    return http_sweep(port.http, clock_monotonic_ns() + seconds * SECOND_NS);
}

/* Where a client's last bytes and its leaving come at once, the library sees the bytes alone: then
 * the deadline of a body ends the request. */
static void wait_beyond_deadlines(void)
{
    struct http_stats stats = {.active = 1};
    for (int i = 0; i < 1000 && stats.active > 0; i++) {
        sweep_after(11);
        clock_sleep_ms(5);
        http_stats(port.http, &stats);
    }
    assert_int_equal(stats.active, 0);
    assert_int_equal(foreground_waiting(), 0);
}

static void a_client_that_leaves_early_harms_nobody(void **state)
{
    char post[512];
    (void)state;
    post_points(post, sizeof(post), "{\"series\":\"a\",\"timestamp\":1795354740000,\"value\":1}");
    for (int i = 0; i < 20; i++) {
        port_hold_writer(&port);
        unsigned before = atomic_load(&port.held);
        int first = client_connect(&port);
        client_send(first, post);
        while (atomic_load(&port.held) == before) {
            clock_sleep_ms(1);
        }
        int second = client_connect(&port); /* waits for the held writer */
        client_send(second, post);
        int third = client_connect(&port); /* leaves in the middle of its body */
        post[strlen(post) - 4] = '\0';
        client_send(third, post);
        post_points(post, sizeof(post),
                    "{\"series\":\"a\",\"timestamp\":1795354740000,\"value\":1}");
        clock_sleep_ms(2);
        struct linger reset = {.l_onoff = i % 2};
        setsockopt(second, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
        close(first);
        close(second);
        close(third);
        port_release_writer(&port);
        wait_beyond_deadlines();
    }
    client_ask(&port, GET("/healthz"), &reply);
    assert_int_equal(reply.status, 200);
}

static void slow_clients_are_cut_at_their_deadline(void **state)
{
    (void)state;
    int silent = client_connect(&port);
    int head = client_connect(&port);
    client_send(head, "GET /healthz HTTP/1.1\r\nHost: 127");
    int body = client_connect(&port);
    client_send(body, "POST /api/v1/points HTTP/1.1\r\nHost: 127.0.0.1\r\n"
                      "Content-Type: application/json\r\nContent-Length: 50000\r\n\r\n[");
    int idle = client_connect(&port);
    client_send(idle, GET("/healthz"));
    client_read(idle, false, &reply);
    clock_sleep_ms(100);
    assert_int_equal(sweep_after(9), 0);
    assert_int_equal(sweep_after(12), 3); /* silent, head, and the body below its rate */
    client_read(silent, false, &reply);
    assert_true(reply.closed);
    client_read(head, false, &reply);
    assert_true(reply.closed);
    client_read(body, false, &reply);
    assert_true(reply.closed);
    client_send(idle, GET("/healthz"));
    client_read(idle, false, &reply);
    assert_int_equal(reply.status, 200);
    clock_sleep_ms(50);
    assert_int_equal(sweep_after(70), 1);
    client_read(idle, false, &reply);
    assert_true(reply.closed);
    close(silent);
    close(head);
    close(body);
    close(idle);
}

/* The network thread serves every connection that has something in each of its rounds, and an
 * answer takes at least one: what was sent before has been read afterwards. */
static void let_the_port_read(void)
{
    struct http_stats stats = {.connections = 2};
    for (int i = 0; i < 200; i++) {
        client_ask(&port, GET("/healthz"), &reply);
        assert_int_equal(reply.status, 200);
    }
    for (int i = 0; i < 5000 && stats.connections > 1; i++) { /* who asked is gone */
        clock_sleep_ms(1);
        http_stats(port.http, &stats);
    }
    assert_int_equal(stats.connections, 1);
}

/* Fast enough for its rate at every moment, and not complete: 60 s are the end. */
static void a_request_has_a_deadline_whatever_its_rate(void **state)
{
    char *sent = malloc(64001);
    (void)state;
    memset(sent, ' ', 64000);
    sent[64000] = '\0';
    int body = client_connect(&port);
    client_send(body, "POST /api/v1/points HTTP/1.1\r\nHost: 127.0.0.1\r\n"
                      "Content-Type: application/json\r\nContent-Length: 65000\r\n\r\n");
    client_send(body, sent);
    let_the_port_read();
    assert_int_equal(sweep_after(15), 0);
    assert_int_equal(sweep_after(45), 0);
    assert_int_equal(sweep_after(61), 1); /* 61 kB would do for the rate */
    client_read(body, false, &reply);
    assert_true(reply.closed);
    close(body);
    free(sent);
}

/* A client that asks for a large answer and reads nothing of it: a minute, and a second a kilobyte.
 */
static void a_deaf_client_is_cut_at_the_rate_of_reading(void **state)
{
    enum { POINTS = 60000 };
    static const char target[] = " /api/v1/series/1/points?start=1795000000000&limit=50000 HTTP/1.1"
                                 "\r\nHost: 127.0.0.1\r\n\r\n";
    struct write_batch *batch = NULL;
    struct error error = {0};
    uint32_t series;
    char text[256], byte;
    (void)state;
    assert_int_equal(write_batch_new(port.services.storage, POINTS, &batch, &error), STATUS_OK);
    assert_int_equal(write_batch_series(batch, "a", 1, &series, &error), STATUS_OK);
    for (int i = 0; i < POINTS; i++) {
        struct point point = {INT64_C(1795000000000) + i * 1000, 1e6 / (i + 1)};
        assert_int_equal(write_batch_point(batch, series, point, &error), STATUS_OK);
    }
    assert_int_equal(writer_write_take(port.services.writer, batch, NULL, &error), STATUS_OK);
    snprintf(text, sizeof(text), "HEAD%s", target);
    int asking = client_connect(&port);
    client_send(asking, text);
    client_read(asking, true, &reply);
    close(asking);
    assert_int_equal(reply.status, 200);
    const char *stated = strstr(reply.head, "Content-Length: ");
    assert_non_null(stated);
    int seconds = 60 + (int)(strtol(stated + 16, NULL, 10) / 1000);
    assert_true(seconds > 600); /* much more than what sockets hold, and than idle ones may be */
    int deaf = client_connect(&port);
    int small = 4096;
    setsockopt(deaf, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
    for (int i = 0; i < 8; i++) { /* the first few may go into the server's own socket */
        snprintf(text, sizeof(text), "GET%s", target);
        client_send(deaf, text);
    }
    assert_int_equal(recv(deaf, &byte, 1, MSG_PEEK), 1);
    let_the_port_read();
    assert_int_equal(sweep_after(seconds - 20), 0);
    size_t cut = 0;
    for (int i = 0; i < 5000 && cut == 0; i++) { /* a worker may still be making the next answer */
        cut = sweep_after(seconds + 1);
        clock_sleep_ms(1);
    }
    assert_int_equal(cut, 1);
    close(deaf);
}

static void stopping_answers_what_is_under_way(void **state)
{
    char post[512];
    (void)state;
    post_points(post, sizeof(post), "{\"series\":\"a\",\"timestamp\":1795354740000,\"value\":1}");
    int idle = client_connect(&port);
    int fd = client_connect(&port);
    client_send(fd, post);
    clock_sleep_ms(20);
    atomic_store(&port.services.draining, true);
    int64_t begin_ns = clock_monotonic_ns();
    http_stop(port.http, 2000);
    assert_true(clock_monotonic_ns() - begin_ns < 2 * SECOND_NS);
    port.http = NULL;
    client_read(fd, false, &reply);
    assert_int_equal(reply.status, 200);
    close(fd);
    close(idle);
}

static void *release_soon(void *context)
{
    clock_sleep_ms(200);
    port_release_writer(context);
    return NULL;
}

static void stopping_runs_nothing_that_still_waits(void **state)
{
    static const char patch[] =
        "PATCH /api/v1/series/1 HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: "
        "application/json\r\nContent-Length: 9\r\n\r\n{\"min\":1}";
    int fds[5]; /* the held commit, two with workers, two that wait */
    char post[512];
    pthread_t thread;
    struct http_stats stats = {0};
    (void)state;
    post_points(post, sizeof(post), "{\"series\":\"a\",\"timestamp\":1795354740000,\"value\":1}");
    client_ask(&port, post, &reply);
    port_hold_writer(&port);
    for (size_t i = 0; i < 5; i++) {
        fds[i] = client_connect(&port);
        client_send(fds[i], i == 0 ? post : patch);
        while (atomic_load(&port.held) == 0 || stats.active < i) { /* the held one is answered */
            clock_sleep_ms(1);
            http_stats(port.http, &stats);
        }
    }
    for (; stats.waiting < 2; http_stats(port.http, &stats)) {
        clock_sleep_ms(1);
    }
    assert_int_equal(pthread_create(&thread, NULL, release_soon, &port), 0);
    http_stop(port.http, 0);
    port.http = NULL;
    pthread_join(thread, NULL);
    for (size_t i = 0; i < 5; i++) {
        client_read(fds[i], false, &reply);
        assert_true(i < 3 || reply.closed || reply.status == 503);
        close(fds[i]);
    }
}

static void addresses_are_checked(void **state)
{
    static const char *const wrong[] = {"127.0.0.1", "nonsense:80:80", "127.0.0.1:99999", ":7380",
                                        "0.0.0.0:0", "[::]:0",         "example.org:80"};
    struct http *http = NULL;
    (void)state;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        struct error error = {0};
        struct http_options options = {.listen = wrong[i],
                                       .connections = 10,
                                       .connections_per_address = 10,
                                       .services = &port.services};
        assert_int_equal(http_start(&options, &http, &error), STATUS_INVALID);
        assert_non_null(strstr(error.text, wrong[i]));
    }
    struct error error = {0};
    char taken[32];
    snprintf(taken, sizeof(taken), "127.0.0.1:%d", http_port(port.http));
    struct http_options options = {.listen = taken,
                                   .connections = 10,
                                   .connections_per_address = 10,
                                   .services = &port.services};
    assert_int_equal(http_start(&options, &http, &error), STATUS_IO);
    options.listen = "0.0.0.0:0";
    options.insecure = true;
    assert_int_equal(http_start(&options, &http, &error), STATUS_OK);
    http_stop(http, 100);
}

#define ON(test, open) cmocka_unit_test_setup_teardown(test, open, close_port)

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON(health_is_answered_with_a_request_id, open_port),
        ON(unknown_routes_are_problems, open_port),
        ON(head_has_no_body, open_port),
        ON(pipelined_requests_are_answered_in_order, open_port),
        ON(many_clients_wait_for_commits, open_port),
        ON(a_body_may_come_in_chunks, open_port),
        ON(a_large_body_is_413_and_the_next_request_works, open_port),
        ON(a_huge_body_is_a_real_413, open_port),
        ON(expecting_clients_are_refused_before_the_upload, open_port),
        ON(doubtful_framing_is_refused_and_closed, open_port),
        ON(foreign_hosts_are_refused_on_loopback, open_port),
        ON(a_full_queue_keeps_health_alive, open_narrow_port),
        ON(who_waits_for_an_answer_is_counted, open_narrow_port),
        ON(waiting_long_refuses_before_the_queue_is_full, open_port),
        ON(a_client_that_leaves_early_harms_nobody, open_port),
        ON(slow_clients_are_cut_at_their_deadline, open_port),
        ON(a_request_has_a_deadline_whatever_its_rate, open_port),
        ON(a_deaf_client_is_cut_at_the_rate_of_reading, open_port),
        ON(stopping_answers_what_is_under_way, open_port),
        ON(stopping_runs_nothing_that_still_waits, open_port),
        ON(addresses_are_checked, open_port),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
