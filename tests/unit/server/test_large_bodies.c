/* Many large bodies at once over a real port: some dawdle, all arrive, none keeps others out.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "base/clock.h"
#include "server/http_turns.h"
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

#define DAWDLERS    (3 * TURNS)
#define POINTS      1000 /* of a body: about 30 kB */
#define STEP_MS     INT64_C(60000)
#define MINUTE_2026 INT64_C(1767225600000)

static struct port port;
static struct reply reply;
static char text[POINTS * 64];

static int open_port(void **state)
{
    (void)state;
    port_open(&port, 2, 256);
    return 0;
}

static int open_narrow_port(void **state)
{
    (void)state;
    port_open(&port, 2, 1);
    return 0;
}

static int close_port(void **state)
{
    (void)state;
    port_close(&port);
    return 0;
}

/* A write of POINTS points of a series of this number. */
static size_t make_write(int number)
{
    static char body[sizeof(text) - 256];
    size_t length = 0;
    for (int i = 0; i < POINTS; i++) {
        length +=
            (size_t)snprintf(body + length, sizeof(body) - length, "large,n=%d value=%d %lld\n",
                             number, i, (long long)(MINUTE_2026 + i * STEP_MS));
    }
    return (size_t)snprintf(text, sizeof(text),
                            "POST /write?precision=ms HTTP/1.1\r\nHost: localhost\r\n"
                            "Content-Length: %zu\r\n\r\n%s",
                            length, body);
}

static void send_part(int fd, size_t from, size_t to)
{
    while (from < to) {
        ssize_t sent = send(fd, text + from, to - from, MSG_NOSIGNAL);
        assert_true(sent > 0);
        from += (size_t)sent;
    }
}

static void assert_stored(int number)
{
    char name[40];
    int length = snprintf(name, sizeof(name), "large_value{n=\"%d\"}", number);
    uint32_t id = storage_series_find(port.services.storage, name, (size_t)length);
    struct series_info info;
    struct error error = {0};
    assert_int_equal(storage_series_info(port.services.storage, id, &info, &error), STATUS_OK);
    assert_int_equal(info.points, POINTS);
}

/* Three times as many as have turns send half of a body and wait. Whole ones that come then are
 * answered at once, and what dawdled arrives as soon as its other half does. */
static void dawdlers_keep_nobody_out(void **state)
{
    (void)state;
    int fds[DAWDLERS];
    size_t length = 0;
    for (int i = 0; i < DAWDLERS; i++) {
        length = make_write(i);
        fds[i] = client_connect(&port);
        send_part(fds[i], 0, length / 2);
    }
    for (int i = 0; i < 8; i++) {
        length = make_write(DAWDLERS + i);
        int64_t begin_ns = clock_monotonic_ns();
        int fd = client_connect(&port);
        send_part(fd, 0, length);
        client_read(fd, false, &reply);
        assert_int_equal(reply.status, 204);
        assert_true(clock_monotonic_ns() - begin_ns < INT64_C(2000000000));
        close(fd);
        assert_stored(DAWDLERS + i);
    }
    for (int i = DAWDLERS - 1; i >= 0; i--) {
        length = make_write(i);
        send_part(fds[i], length / 2, length);
    }
    for (int i = 0; i < DAWDLERS; i++) {
        client_read(fds[i], false, &reply);
        assert_int_equal(reply.status, 204);
        close(fds[i]);
        assert_stored(i);
    }
}

/* Clients that leave while they wait or send, and a port that stops with others still there. */
static void who_leaves_gives_its_turn_back(void **state)
{
    (void)state;
    int fds[DAWDLERS];
    size_t length = make_write(1);
    for (int i = 0; i < DAWDLERS; i++) {
        fds[i] = client_connect(&port);
        send_part(fds[i], 0, length / 2);
    }
    for (int i = 0; i < DAWDLERS; i += 2) {
        close(fds[i]);
    }
    int fd = client_connect(&port);
    send_part(fd, 0, length);
    client_read(fd, false, &reply);
    assert_int_equal(reply.status, 204);
    close(fd);
    for (int i = 0; i < DAWDLERS; i += 2) {
        fds[i] = client_connect(&port);
        send_part(fds[i], 0, length / 2);
    }
    http_stop(port.http, 100);
    port.http = NULL;
    for (int i = 0; i < DAWDLERS; i++) {
        close(fds[i]);
    }
}

/* Reads the answers to as many whole writes; returns how many were refused, after each of which the
 * connection goes on. */
static int read_answers(const int fds[DAWDLERS], size_t length)
{
    int refused = 0;
    for (int i = 0; i < DAWDLERS; i++) {
        send_part(fds[i], length / 2, length);
        client_read(fds[i], false, &reply);
        if (reply.status == 503) {
            assert_non_null(strstr(reply.head, "Retry-After: "));
            assert_non_null(strstr(reply.body, "too many large bodies are waiting"));
            send_part(fds[i], 0, length);
            client_read(fds[i], false, &reply);
            refused++;
        }
        assert_int_equal(reply.status, 204);
    }
    return refused;
}

/* One may wait. Turns are short, so that it may take some tries until many come within one. */
static void too_many_are_refused_and_may_come_again(void **state)
{
    (void)state;
    int fds[DAWDLERS], refused = 0;
    size_t length = make_write(1);
    for (int i = 0; i < DAWDLERS; i++) {
        fds[i] = client_connect(&port);
    }
    for (int round = 0; round < 100 && refused == 0; round++) {
        for (int i = 0; i < DAWDLERS; i++) {
            send_part(fds[i], 0, length / 2);
        }
        refused = read_answers(fds, length);
    }
    assert_true(refused > 0);
    for (int i = 0; i < DAWDLERS; i++) {
        close(fds[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(dawdlers_keep_nobody_out, open_port, close_port),
        cmocka_unit_test_setup_teardown(who_leaves_gives_its_turn_back, open_port, close_port),
        cmocka_unit_test_setup_teardown(too_many_are_refused_and_may_come_again, open_narrow_port,
                                        close_port),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
