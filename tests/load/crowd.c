/* The hostile crowd: connections that are opened again when they are cut, and their ages.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "tests/load/crowd.h"

#include "tests/bench/load.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define TURN_MS       50
#define OPEN_A_TURN   60 /* 1,200 a second: cuts then come evenly, too */
#define DRIP_SECONDS  1.0
#define READER_WINDOW 4096 /* the receive buffer of a client that does not read */

struct member {
    int fd; /* -1 = to be opened */
    enum crowd_kind kind;
    size_t sent;
    double opened_at, drip_at;
};

struct crowd {
    struct crowd_options options;
    struct member *members;
    size_t count;
    int epoll;
    pthread_t thread;
    atomic_bool stopping, standing;
    struct crowd_result result;
};

static const char HEAD[] = "GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Drip: ";
static const char BODY[] = "POST /api/v1/points HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: "
                           "application/json\r\nContent-Length: 1000000\r\n\r\n";

static int connect_from(int port, size_t index, enum crowd_kind kind)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return -1;
    }
    int one = 1, window = READER_WINDOW;
    struct sockaddr_in from = {.sin_family = AF_INET}, to = {.sin_family = AF_INET};
    from.sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1 + (uint32_t)(index / CROWD_PER_ADDRESS));
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    to.sin_port = htons((uint16_t)port);
    setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof(one));
    if (kind == CROWD_READER) {
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &window, sizeof(window));
    }
    if (bind(fd, (struct sockaddr *)&from, sizeof(from)) != 0 ||
        connect(fd, (struct sockaddr *)&to, sizeof(to)) != 0) {
        close(fd);
        return -1;
    }
    return fd;
}

static void open_member(struct crowd *crowd, size_t index)
{
    struct member *member = &crowd->members[index];
    /* A reader has nothing to say to epoll but that it was cut: readable it is all the time. */
    struct epoll_event event = {.events = EPOLLRDHUP, .data.u64 = index};
    member->fd = connect_from(crowd->options.port, index, member->kind);
    member->opened_at = bench_seconds();
    member->drip_at = member->opened_at + DRIP_SECONDS * (double)(index % 97) / 97;
    member->sent = 0;
    if (member->fd < 0) {
        crowd->result.refused++;
        return;
    }
    if (epoll_ctl(crowd->epoll, EPOLL_CTL_ADD, member->fd, &event) != 0) {
        perror("crowd: epoll_ctl");
        exit(1);
    }
    if (member->kind == CROWD_BODY) {
        send(member->fd, BODY, sizeof(BODY) - 1, MSG_NOSIGNAL | MSG_DONTWAIT);
    } else if (member->kind == CROWD_READER) {
        char request[256];
        int length = snprintf(request, sizeof(request),
                              "GET %s HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", crowd->options.large);
        send(member->fd, request, (size_t)length, MSG_NOSIGNAL | MSG_DONTWAIT);
    }
}

static void count_cut(struct crowd *crowd, struct member *member, double now)
{
    struct crowd_result *result = &crowd->result;
    double age = now - member->opened_at;
    enum crowd_kind kind = member->kind;
    if (result->cut[kind] == 0 || age < result->age_min_s[kind]) {
        result->age_min_s[kind] = age;
    }
    if (age > result->age_max_s[kind]) {
        result->age_max_s[kind] = age;
    }
    result->cut[kind]++;
    close(member->fd);
    member->fd = -1;
}

static void drip(struct member *member)
{
    char byte;
    switch (member->kind) {
    case CROWD_HEAD:
        byte = member->sent < sizeof(HEAD) - 1 ? HEAD[member->sent] : 'x';
        send(member->fd, &byte, 1, MSG_NOSIGNAL | MSG_DONTWAIT);
        break;
    case CROWD_BODY:
        send(member->fd, " ", 1, MSG_NOSIGNAL | MSG_DONTWAIT);
        break;
    case CROWD_READER:
        recv(member->fd, &byte, 1, MSG_DONTWAIT);
        break;
    case CROWD_SILENT:
    case CROWD_KINDS:
        break;
    }
    member->sent++;
    member->drip_at += DRIP_SECONDS;
}

static void *crowd_main(void *context)
{
    struct crowd *crowd = context;
    struct epoll_event events[512];
    while (!atomic_load(&crowd->stopping)) {
        int n = epoll_wait(crowd->epoll, events, 512, TURN_MS);
        double now = bench_seconds();
        for (int i = 0; i < n; i++) {
            count_cut(crowd, &crowd->members[events[i].data.u64], now);
        }
        size_t opened = 0;
        bool closed = false;
        for (size_t i = 0; i < crowd->count; i++) {
            if (crowd->members[i].fd < 0 && opened < OPEN_A_TURN) {
                open_member(crowd, i);
                opened++;
            } else if (crowd->members[i].fd < 0) {
                closed = true;
            } else if (now >= crowd->members[i].drip_at) {
                drip(&crowd->members[i]);
            }
        }
        if (!closed) {
            atomic_store(&crowd->standing, true);
        }
    }
    return NULL;
}

struct crowd *crowd_start(const struct crowd_options *options)
{
    struct crowd *crowd = calloc(1, sizeof(*crowd));
    crowd->options = *options;
    for (int kind = 0; kind < CROWD_KINDS; kind++) {
        crowd->count += options->count[kind];
    }
    crowd->members = calloc(crowd->count, sizeof(*crowd->members));
    size_t index = 0;
    for (int kind = 0; kind < CROWD_KINDS; kind++) {
        for (size_t i = 0; i < options->count[kind]; i++) {
            crowd->members[index++] = (struct member){.fd = -1, .kind = (enum crowd_kind)kind};
        }
    }
    crowd->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (pthread_create(&crowd->thread, NULL, crowd_main, crowd) != 0) {
        perror("crowd: thread");
        exit(1);
    }
    while (!atomic_load(&crowd->standing)) {
        usleep(10000);
    }
    return crowd;
}

/* Whether the server's side of a connection is established, as the kernel's table says. */
static bool server_holds(int port, int fd)
{
    struct sockaddr_in own;
    socklen_t length = sizeof(own);
    char line[256];
    bool holds = false;
    FILE *table = fopen("/proc/net/tcp", "re");
    if (table == NULL || getsockname(fd, (struct sockaddr *)&own, &length) != 0) {
        perror("crowd: /proc/net/tcp");
        exit(1);
    }
    while (fgets(line, sizeof(line), table) != NULL) {
        unsigned local, local_port, remote, remote_port, state;
        holds = holds || (sscanf(line, " %*[^:]: %x:%x %x:%x %x", &local, &local_port, &remote,
                                 &remote_port, &state) == 5 &&
                          local_port == (unsigned)port && remote == own.sin_addr.s_addr &&
                          remote_port == ntohs(own.sin_port) && state == TCP_ESTABLISHED);
    }
    fclose(table);
    return holds;
}

struct crowd_result crowd_stop(struct crowd *crowd)
{
    atomic_store(&crowd->stopping, true);
    pthread_join(crowd->thread, NULL);
    double now = bench_seconds();
    struct crowd_result result = crowd->result;
    for (size_t i = 0; i < crowd->count; i++) {
        struct member *member = &crowd->members[i];
        double age = now - member->opened_at;
        if (member->fd >= 0) {
            result.open++;
            result.readers_held +=
                member->kind == CROWD_READER && server_holds(crowd->options.port, member->fd) ? 1
                                                                                              : 0;
            result.oldest_s[member->kind] =
                age > result.oldest_s[member->kind] ? age : result.oldest_s[member->kind];
            close(member->fd);
        }
    }
    close(crowd->epoll);
    free(crowd->members);
    free(crowd);
    return result;
}
