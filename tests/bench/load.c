/* The load client: connections, answers, latencies.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "tests/bench/load.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define LATENCIES_MAX 4000000u

struct connection {
    int fd;
    const char *out;
    size_t out_length, out_sent;
    char *in;
    size_t in_length, in_capacity;
    size_t answer_length; /* 0 until the head is complete */
    bool chunked;         /* then the length counts what has come */
    int status;
    double sent_at;
};

static void die(const char *what)
{
    fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
    exit(1);
}

double bench_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static int connect_loopback(int port)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        die("socket");
    }
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (connect(fd, (struct sockaddr *)&address, sizeof(address)) != 0) {
        close(fd);
        return -1;
    }
    int one = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    return fd;
}

static const char *header_value(const char *head, const char *end, const char *name)
{
    size_t length = strlen(name);
    for (const char *line = head; line < end;) {
        const char *stop = memchr(line, '\n', (size_t)(end - line));
        if (strncasecmp(line, name, length) == 0 && line[length] == ':') {
            return line + length + 1;
        }
        if (stop == NULL) {
            break;
        }
        line = stop + 1;
    }
    return NULL;
}

/* The last chunk: content without CR LF cannot look like it, and nothing follows it. */
static bool last_chunk_came(const struct connection *c)
{
    static const char last[] = "\r\n0\r\n\r\n";
    size_t length = sizeof(last) - 1;
    return c->in_length >= length && memcmp(c->in + c->in_length - length, last, length) == 0;
}

/* Sets answer_length once the head is there; true where the whole answer is. */
static bool answer_complete(struct connection *c)
{
    if (c->answer_length == 0) {
        c->in[c->in_length] = '\0';
        const char *end = strstr(c->in, "\r\n\r\n");
        if (end == NULL) {
            return false;
        }
        const char *value = header_value(c->in, end + 2, "Content-Length");
        size_t body = value != NULL ? strtoul(value, NULL, 10) : 0;
        c->chunked = header_value(c->in, end + 2, "Transfer-Encoding") != NULL;
        c->status = atoi(c->in + 9);
        c->answer_length = (size_t)(end + 4 - c->in) + body;
    }
    if (c->chunked) {
        c->answer_length = c->in_length;
        return last_chunk_came(c);
    }
    return c->in_length >= c->answer_length;
}

static void read_some(struct connection *c)
{
    if (c->in_capacity - c->in_length < 65536) {
        c->in_capacity = c->in_capacity * 2 + 65536;
        c->in = realloc(c->in, c->in_capacity + 1);
    }
    ssize_t n = recv(c->fd, c->in + c->in_length, c->in_capacity - c->in_length, 0);
    if (n == 0) {
        errno = ECONNRESET;
        die("the server closed a connection");
    }
    if (n < 0) {
        if (errno == EAGAIN || errno == EINTR) {
            return;
        }
        die("receive");
    }
    c->in_length += (size_t)n;
}

static void send_some(struct connection *c)
{
    while (c->out_sent < c->out_length) {
        ssize_t n = send(c->fd, c->out + c->out_sent, c->out_length - c->out_sent, MSG_NOSIGNAL);
        if (n < 0) {
            if (errno == EAGAIN || errno == EINTR) {
                return;
            }
            die("send");
        }
        c->out_sent += (size_t)n;
    }
}

static int compare_double(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* False: there is nothing more to send. */
static bool begin_request(const struct load_options *options, struct connection *c, size_t index,
                          uint64_t number)
{
    c->out_length = options->make(options->context, index, number, &c->out);
    if (c->out_length == 0) {
        return false;
    }
    c->out_sent = 0;
    c->in_length = 0;
    c->answer_length = 0;
    c->sent_at = bench_seconds();
    send_some(c);
    return true;
}

static void watch(int epoll, struct connection *c, int operation)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
    if (c->out_sent < c->out_length) {
        event.events |= EPOLLOUT;
    }
    if (epoll_ctl(epoll, operation, c->fd, &event) != 0) {
        die("epoll_ctl");
    }
}

struct load_result load_run(const struct load_options *options)
{
    struct load_result result = {0};
    struct connection *connections = calloc(options->connections, sizeof(*connections));
    double *latencies = malloc(LATENCIES_MAX * sizeof(double));
    uint64_t started = 0;
    size_t busy = 0;
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    double begin = bench_seconds();
    for (size_t i = 0; i < options->connections; i++) {
        struct connection *c = &connections[i];
        c->fd = connect_loopback(options->port);
        if (c->fd < 0) {
            die("connect");
        }
        fcntl(c->fd, F_SETFL, O_NONBLOCK);
        if (begin_request(options, c, i, started)) {
            watch(epoll, c, EPOLL_CTL_ADD);
            started++;
            busy++;
        }
    }
    struct epoll_event events[256];
    while (busy > 0) {
        int n = epoll_wait(epoll, events, 256, 5000);
        if (n == 0) {
            errno = ETIMEDOUT;
            die("no answer in 5 s");
        }
        for (int e = 0; e < n; e++) {
            struct connection *c = events[e].data.ptr;
            bool was_sending = c->out_sent < c->out_length;
            if (events[e].events & EPOLLOUT) {
                send_some(c);
            }
            if (events[e].events & (EPOLLIN | EPOLLHUP)) {
                read_some(c);
            }
            bool sending = c->out_sent < c->out_length;
            if (c->in_length > 0 && answer_complete(c)) {
                double now = bench_seconds();
                if (result.requests < LATENCIES_MAX) {
                    latencies[result.requests] = now - c->sent_at;
                }
                result.requests++;
                result.body_bytes = c->answer_length;
                if (c->status < 200 || c->status > 299) {
                    result.refused++;
                    result.first_refusal = result.first_refusal ? result.first_refusal : c->status;
                }
                bool over = (options->seconds > 0 && now - begin >= options->seconds) ||
                            (options->requests_max > 0 && started >= options->requests_max);
                if (over || !begin_request(options, c, (size_t)(c - connections), started)) {
                    epoll_ctl(epoll, EPOLL_CTL_DEL, c->fd, NULL);
                    busy--;
                    continue;
                }
                started++;
                sending = c->out_sent < c->out_length;
            }
            if (sending != was_sending) {
                watch(epoll, c, EPOLL_CTL_MOD);
            }
        }
    }
    result.seconds = bench_seconds() - begin;
    size_t kept = result.requests < LATENCIES_MAX ? (size_t)result.requests : LATENCIES_MAX;
    qsort(latencies, kept, sizeof(double), compare_double);
    result.p50_ms = 1e3 * latencies[kept / 2];
    result.p99_ms = 1e3 * latencies[(size_t)((double)(kept - 1) * 0.99)];
    result.max_ms = 1e3 * latencies[kept - 1];
    for (size_t i = 0; i < options->connections; i++) {
        close(connections[i].fd);
        free(connections[i].in);
    }
    close(epoll);
    free(connections);
    free(latencies);
    return result;
}

int load_request(int port, const char *method, const char *target, const char *content_type,
                 const char *content, size_t content_length, char *body, size_t body_capacity,
                 size_t *body_length)
{
    struct connection c = {.fd = connect_loopback(port)};
    if (c.fd < 0) {
        return 0;
    }
    char *request = malloc(content_length + 1024);
    int head = snprintf(request, 1024,
                        "%s %s HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: %s\r\n"
                        "Content-Length: %zu\r\n\r\n",
                        method, target, content_type, content_length);
    if (content_length > 0) {
        memcpy(request + head, content, content_length);
    }
    c.out = request;
    c.out_length = (size_t)head + content_length;
    send_some(&c);
    do {
        read_some(&c);
    } while (!answer_complete(&c));
    c.in[c.in_length] = '\0';
    const char *start = strstr(c.in, "\r\n\r\n") + 4;
    size_t length = c.answer_length - (size_t)(start - c.in);
    if (body != NULL && body_capacity > 0) {
        size_t copied = length < body_capacity - 1 ? length : body_capacity - 1;
        memcpy(body, start, copied);
        body[copied] = '\0';
    }
    if (body_length != NULL) {
        *body_length = length;
    }
    close(c.fd);
    free(request);
    free(c.in);
    return c.status;
}
