/* The open loop: a clock of arrivals, a pool of connections, answers by kind.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "tests/load/arrivals.h"

#include "tests/bench/load.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define LATENCIES_MAX 2000000u
#define AWAIT_SECONDS 10.0
#define HEAD_MAX      4096

struct line { /* one connection */
    int fd;
    bool busy, counted;
    unsigned kind;
    char *out;
    size_t out_length, out_sent, out_capacity;
    char head[HEAD_MAX];
    size_t head_length;
    uint64_t body_left;
    bool in_body, retry_after;
    int status;
    double due;
};

struct latencies {
    float *good, *busy;
    size_t good_count, busy_count;
};

struct loop {
    const struct arrivals_options *options;
    struct line *lines;
    size_t line_count; /* made so far */
    size_t *idle;      /* free connections, the newest used first */
    size_t idle_count, busy_count;
    int epoll;
    struct latencies kept[ARRIVAL_KINDS];
    float *late;
    size_t late_count;
    struct arrivals_result result;
};

static void close_line(struct loop *loop, struct line *line)
{
    if (line->busy) {
        loop->result.kinds[line->kind].lost += line->counted;
        loop->busy_count--;
        line->busy = false;
    }
    close(line->fd);
    line->fd = -1;
}

static bool connect_line(struct loop *loop, struct line *line)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)loop->options->port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int one = 1;
    line->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (line->fd < 0) {
        return false;
    }
    setsockopt(line->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET,
                                .data.u64 = (uint64_t)(line - loop->lines)};
    if ((connect(line->fd, (struct sockaddr *)&address, sizeof(address)) != 0 &&
         errno != EINPROGRESS) ||
        epoll_ctl(loop->epoll, EPOLL_CTL_ADD, line->fd, &event) != 0) {
        close(line->fd);
        line->fd = -1;
        return false;
    }
    return true;
}

/* A free connection, a closed one opened again, or a new one; NULL where all are taken. */
static struct line *take_line(struct loop *loop)
{
    while (loop->idle_count > 0) {
        struct line *line = &loop->lines[loop->idle[--loop->idle_count]];
        if (line->fd >= 0 || connect_line(loop, line)) {
            return line;
        }
    }
    if (loop->line_count == loop->options->connections_max) {
        return NULL;
    }
    struct line *line = &loop->lines[loop->line_count++];
    if (!connect_line(loop, line)) {
        loop->idle[loop->idle_count++] = (size_t)(line - loop->lines);
        return NULL;
    }
    return line;
}

static void send_line(struct loop *loop, struct line *line)
{
    while (line->out_sent < line->out_length) {
        ssize_t n = send(line->fd, line->out + line->out_sent, line->out_length - line->out_sent,
                         MSG_NOSIGNAL);
        if (n < 0 && (errno == EAGAIN || errno == ENOTCONN || errno == EINTR)) {
            return;
        }
        if (n < 0) {
            close_line(loop, line);
            loop->idle[loop->idle_count++] = (size_t)(line - loop->lines);
            return;
        }
        line->out_sent += (size_t)n;
    }
}

static void arrive(struct loop *loop, uint64_t number, double due, bool counted)
{
    const char *bytes;
    unsigned kind = 0;
    size_t length = loop->options->make(loop->options->context, number, &bytes, &kind);
    struct arrivals_count *count = &loop->result.kinds[kind];
    count->due += counted;
    if (counted && loop->late_count < LATENCIES_MAX) {
        loop->late[loop->late_count++] = (float)(bench_seconds() - due);
    }
    struct line *line = take_line(loop);
    if (line == NULL) {
        count->lost += counted;
        return;
    }
    if (length > line->out_capacity) {
        line->out = realloc(line->out, length);
        line->out_capacity = length;
    }
    memcpy(line->out, bytes, length);
    line->out_length = length;
    line->out_sent = line->head_length = 0;
    line->in_body = line->retry_after = false;
    line->busy = true;
    line->counted = counted;
    line->kind = kind;
    line->due = due;
    loop->busy_count++;
    send_line(loop, line);
}

static void answered(struct loop *loop, struct line *line)
{
    struct arrivals_count *count = &loop->result.kinds[line->kind];
    struct latencies *kept = &loop->kept[line->kind];
    float latency = (float)(bench_seconds() - line->due);
    if (line->counted && line->status >= 200 && line->status <= 299) {
        count->good++;
        if (kept->good_count < LATENCIES_MAX) {
            kept->good[kept->good_count++] = latency;
        }
    } else if (line->counted && line->status == 503 && line->retry_after) {
        count->busy++;
        if (kept->busy_count < LATENCIES_MAX) {
            kept->busy[kept->busy_count++] = latency;
        }
    } else if (line->counted) {
        count->other++;
        count->other_status = line->status;
    }
    line->busy = false;
    loop->busy_count--;
    loop->idle[loop->idle_count++] = (size_t)(line - loop->lines);
}

/* Takes bytes of an answer; the body is only counted. */
static void take_bytes(struct loop *loop, struct line *line, const char *bytes, size_t length)
{
    if (!line->in_body) {
        size_t room = HEAD_MAX - 1 - line->head_length;
        size_t copied = length < room ? length : room;
        memcpy(line->head + line->head_length, bytes, copied);
        line->head[line->head_length + copied] = '\0';
        const char *end = strstr(line->head, "\r\n\r\n");
        if (end == NULL) {
            line->head_length += copied;
            return;
        }
        size_t head = (size_t)(end + 4 - line->head);
        bytes += head - line->head_length;
        length -= head - line->head_length;
        line->head[head] = '\0';
        const char *field = strcasestr(line->head, "\r\nContent-Length:");
        line->body_left = field != NULL ? strtoull(field + 17, NULL, 10) : 0;
        line->retry_after = strcasestr(line->head, "\r\nRetry-After:") != NULL;
        line->status = atoi(line->head + 9);
        line->in_body = true;
    }
    line->body_left -= length < line->body_left ? length : line->body_left;
    if (line->body_left == 0) {
        answered(loop, line);
    }
}

static void receive(struct loop *loop, struct line *line)
{
    static char bytes[262144];
    for (;;) {
        ssize_t n = recv(line->fd, bytes, sizeof(bytes), 0);
        if (n > 0 && line->busy) {
            take_bytes(loop, line, bytes, (size_t)n);
        } else if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
            return;
        } else {
            bool was_busy = line->busy;
            close_line(loop, line);
            if (was_busy) { /* else it is among the free ones already */
                loop->idle[loop->idle_count++] = (size_t)(line - loop->lines);
            }
            return;
        }
    }
}

/* Sleeps until the next arrival is due, and no less: epoll_wait's milliseconds would make the
 * generator spin at a thousand requests a second, on a processor that the daemon is to have. */
static void serve(struct loop *loop, double wait_seconds)
{
    struct epoll_event events[256];
    double wait = wait_seconds < 0 ? 0 : wait_seconds > 0.02 ? 0.02 : wait_seconds;
    struct timespec timeout = {.tv_nsec = (long)(wait * 1e9)};
    struct pollfd ready = {.fd = loop->epoll, .events = POLLIN};
    ppoll(&ready, 1, &timeout, NULL);
    int n = epoll_wait(loop->epoll, events, 256, 0);
    for (int i = 0; i < n; i++) {
        struct line *line = &loop->lines[events[i].data.u64];
        if (line->fd >= 0 && line->busy && (events[i].events & EPOLLOUT)) {
            send_line(loop, line);
        }
        if (line->fd >= 0 && (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR))) {
            receive(loop, line);
        }
    }
}

static size_t open_lines(const struct loop *loop)
{
    size_t count = 0;
    for (size_t i = 0; i < loop->line_count; i++) {
        count += loop->lines[i].fd >= 0;
    }
    return count;
}

static int compare_float(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

static double percentile(const float *sorted, size_t count, double share)
{
    return count > 0 ? 1e3 * (double)sorted[(size_t)((double)(count - 1) * share)] : 0;
}

static void summarise(struct loop *loop)
{
    qsort(loop->late, loop->late_count, sizeof(float), compare_float);
    loop->result.late_p99_ms = percentile(loop->late, loop->late_count, 0.99);
    free(loop->late);
    for (int kind = 0; kind < ARRIVAL_KINDS; kind++) {
        struct latencies *kept = &loop->kept[kind];
        struct arrivals_count *count = &loop->result.kinds[kind];
        qsort(kept->good, kept->good_count, sizeof(float), compare_float);
        qsort(kept->busy, kept->busy_count, sizeof(float), compare_float);
        count->p50_ms = percentile(kept->good, kept->good_count, 0.5);
        count->p99_ms = percentile(kept->good, kept->good_count, 0.99);
        count->max_ms = percentile(kept->good, kept->good_count, 1);
        count->busy_p99_ms = percentile(kept->busy, kept->busy_count, 0.99);
        free(kept->good);
        free(kept->busy);
    }
}

struct arrivals_result arrivals_run(const struct arrivals_options *options)
{
    struct loop loop = {.options = options, .epoll = epoll_create1(EPOLL_CLOEXEC)};
    loop.lines = calloc(options->connections_max, sizeof(*loop.lines));
    loop.idle = calloc(options->connections_max, sizeof(*loop.idle));
    for (int kind = 0; kind < ARRIVAL_KINDS; kind++) {
        loop.kept[kind].good = malloc(LATENCIES_MAX * sizeof(float));
        loop.kept[kind].busy = malloc(LATENCIES_MAX * sizeof(float));
    }
    loop.late = malloc(LATENCIES_MAX * sizeof(float));
    uint64_t number = 0;
    double begin = bench_seconds(), next_tick = 1;
    for (;;) {
        double passed = bench_seconds() - begin;
        for (; passed < options->seconds && (double)number / options->rate <= passed; number++) {
            double due = (double)number / options->rate;
            arrive(&loop, number, begin + due, due >= options->ignore_seconds);
        }
        if (passed >= next_tick && options->tick != NULL) {
            options->tick(options->context, passed, open_lines(&loop));
            next_tick += 1;
        }
        if (passed >= options->seconds + AWAIT_SECONDS ||
            (passed >= options->seconds && loop.busy_count == 0)) {
            break;
        }
        serve(&loop, (double)number / options->rate - passed);
    }
    for (size_t i = 0; i < loop.line_count; i++) {
        if (loop.lines[i].fd >= 0) {
            close_line(&loop, &loop.lines[i]);
        }
        free(loop.lines[i].out);
    }
    loop.result.seconds = options->seconds - options->ignore_seconds;
    summarise(&loop);
    close(loop.epoll);
    free(loop.idle);
    free(loop.lines);
    return loop.result;
}
