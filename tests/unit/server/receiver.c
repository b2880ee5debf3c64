/* The receiver of receiver.h: one thread, one connection at a time.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "tests/unit/server/receiver.h"

#include "base/clock.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

enum { STEP_MS = 5, WAIT_MS = 60000 };

/* A whole request, as far as it fits; false where the other side has gone. */
static bool read_request(struct receiver *receiver, int fd, char *bytes, size_t capacity)
{
    size_t got = 0, whole = SIZE_MAX;
    while (got < whole && got + 1 < capacity) {
        struct pollfd one = {.fd = fd, .events = POLLIN};
        if (atomic_load(&receiver->over)) {
            return false;
        }
        if (poll(&one, 1, STEP_MS) <= 0) {
            continue;
        }
        ssize_t more = recv(fd, bytes + got, capacity - 1 - got, 0);
        if (more <= 0) {
            return false;
        }
        got += (size_t)more;
        bytes[got] = '\0';
        const char *end = strstr(bytes, "\r\n\r\n");
        const char *length = strcasestr(bytes, "\r\nContent-Length:");
        if (end != NULL && length != NULL) {
            whole = (size_t)(end + 4 - bytes) + strtoul(length + 17, NULL, 10);
        }
    }
    return true;
}

static void answer(struct receiver *receiver, int fd, const char *request)
{
    char head[128];
    int code = atomic_load(&receiver->code);
    atomic_fetch_add(&receiver->asked, 1);
    if (code == 0) { /* until the other side gives up */
        struct pollfd one = {.fd = fd, .events = POLLIN};
        while (!atomic_load(&receiver->over) && poll(&one, 1, STEP_MS) == 0) {
        }
        return;
    }
    if (code == 200) {
        snprintf(receiver->last, sizeof(receiver->last), "%s", request);
    }
    int length = snprintf(head, sizeof(head),
                          "HTTP/1.1 %d X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", code);
    (void)!send(fd, head, (size_t)length, MSG_NOSIGNAL);
    atomic_fetch_add(&receiver->told, code == 200);
}

static void *serve(void *context)
{
    static _Thread_local char request[8192];
    struct receiver *receiver = context;
    while (!atomic_load(&receiver->over)) {
        struct pollfd one = {.fd = receiver->listener, .events = POLLIN};
        if (poll(&one, 1, STEP_MS) <= 0) {
            continue;
        }
        int fd = accept(receiver->listener, NULL, NULL);
        if (fd < 0) {
            continue;
        }
        if (read_request(receiver, fd, request, sizeof(request))) {
            answer(receiver, fd, request);
        }
        close(fd);
    }
    return NULL;
}

void receiver_open(struct receiver *receiver, int code)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof(address);
    memset(receiver, 0, sizeof(*receiver));
    atomic_store(&receiver->code, code);
    receiver->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(receiver->listener >= 0);
    assert_int_equal(bind(receiver->listener, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(listen(receiver->listener, 64), 0);
    assert_int_equal(getsockname(receiver->listener, (struct sockaddr *)&address, &length), 0);
    snprintf(receiver->url, sizeof(receiver->url), "http://127.0.0.1:%d/hook",
             ntohs(address.sin_port));
    assert_int_equal(pthread_create(&receiver->thread, NULL, serve, receiver), 0);
}

void receiver_close(struct receiver *receiver)
{
    atomic_store(&receiver->over, true);
    pthread_join(receiver->thread, NULL);
    close(receiver->listener);
}

static void wait_for(const atomic_uint *counter, unsigned count, const char *what)
{
    for (int ms = 0; atomic_load(counter) < count; ms += STEP_MS) {
        if (ms > WAIT_MS) {
            fail_msg("%s %u times, not %u", what, atomic_load(counter), count);
        }
        clock_sleep_ms(STEP_MS);
    }
}

void receiver_wait_asked(struct receiver *receiver, unsigned count)
{
    wait_for(&receiver->asked, count, "asked");
}

void receiver_wait_told(struct receiver *receiver, unsigned count)
{
    wait_for(&receiver->told, count, "told");
}
