/* One measurement of one server that tests/bench/peers.py has started: sending, or asking.
 * SPDX-License-Identifier: Apache-2.0
 *
 * usage: bench_peers send lines|remote PORT PID CONNECTIONS START-MS SETTLE-MS
 *        bench_peers ask PORT PID MILLISECONDS TARGET
 *
 * `send`: POINTS_ALL points of SERIES sensors, 1,000 a request, built before the clock starts.
 * `ask`: GET TARGET over one connection; "{n}" in it is another number each time, so that nobody
 * answers from memory. Prints one line of JSON: wall seconds and the server's processor seconds up
 * to the last answer, and those until SETTLE-MS later.
 */
#include "tests/bench/load.h"
#include "tests/bench/readings.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define SERIES     1000
#define PER_BODY   1000
#define POINTS_ALL 1000000
#define MANY       64 /* connections at most */

/* Processor seconds of a process so far, all its threads, also those that have ended. */
static double processor_seconds(pid_t pid)
{
    clockid_t clock;
    struct timespec used;
    if (clock_getcpuclockid(pid, &clock) != 0 || clock_gettime(clock, &used) != 0) {
        fprintf(stderr, "bench_peers: there is no process %d\n", (int)pid);
        exit(1);
    }
    return (double)used.tv_sec + 1e-9 * (double)used.tv_nsec;
}

static void print(const struct load_result *result, double cpu, double cpu_settled)
{
    if (result->refused > 0) {
        fprintf(stderr, "bench_peers: %llu requests refused, first with %d\n",
                (unsigned long long)result->refused, result->first_refusal);
        exit(1);
    }
    printf("{\"requests\":%llu,\"seconds\":%.9f,\"cpu\":%.9f,\"cpu_settled\":%.9f,\"p50_ms\":%.6f,"
           "\"p99_ms\":%.6f,\"bytes\":%llu}\n",
           (unsigned long long)result->requests, result->seconds, cpu, cpu_settled, result->p50_ms,
           result->p99_ms, (unsigned long long)result->body_bytes);
}

static double wait_and_see(pid_t pid, double from, const char *settle_ms)
{
    usleep((useconds_t)strtoul(settle_ms, NULL, 10) * 1000);
    return processor_seconds(pid) - from;
}

/* ---------------------------------------------------------------- send */

/* Each connection sends its own bodies in order. */
struct shares {
    const struct readings *readings;
    size_t connections, sent[MANY];
};

static size_t next_of_share(void *context, size_t connection, uint64_t number, const char **bytes)
{
    struct shares *shares = context;
    size_t body = connection + shares->connections * shares->sent[connection]++;
    (void)number;
    if (body >= shares->readings->count) {
        return 0;
    }
    *bytes = shares->readings->requests[body];
    return shares->readings->lengths[body];
}

static int send_all(char **arguments)
{
    pid_t pid = (pid_t)strtol(arguments[2], NULL, 10);
    struct shares shares = {.connections = strtoul(arguments[3], NULL, 10)};
    int64_t start_ms = strtoll(arguments[4], NULL, 10);
    size_t requests = POINTS_ALL / PER_BODY;
    if (shares.connections == 0 || shares.connections > MANY || SERIES % shares.connections != 0) {
        fprintf(stderr, "bench_peers: cannot share the series between the connections\n");
        return 2;
    }
    struct readings readings =
        strcmp(arguments[0], "remote") == 0
            ? readings_make_remote(requests, PER_BODY, SERIES, shares.connections, start_ms)
            : readings_make_lines(requests, PER_BODY, SERIES, start_ms);
    shares.readings = &readings;
    struct load_options options = {.port = atoi(arguments[1]),
                                   .connections = shares.connections,
                                   .make = next_of_share,
                                   .context = &shares};
    double from = processor_seconds(pid);
    struct load_result result = load_run(&options);
    double used = processor_seconds(pid) - from;
    print(&result, used, wait_and_see(pid, from, arguments[5]));
    readings_free(&readings);
    return 0;
}

/* ---------------------------------------------------------------- ask */

struct question {
    const char *target;
    uint64_t first; /* number, nine digits */
    char request[2048];
};

static size_t next_question(void *context, size_t connection, uint64_t number, const char **bytes)
{
    struct question *question = context;
    const char *mark = strstr(question->target, "{n}");
    int before = mark ? (int)(mark - question->target) : (int)strlen(question->target);
    char text[32] = "";
    (void)connection;
    if (mark) {
        snprintf(text, sizeof(text), "%llu", (unsigned long long)(question->first + number));
    }
    *bytes = question->request;
    return (size_t)snprintf(question->request, sizeof(question->request),
                            "GET %.*s%s%s HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", before,
                            question->target, text, mark ? mark + 3 : "");
}

static int ask(char **arguments)
{
    pid_t pid = (pid_t)strtol(arguments[1], NULL, 10);
    struct question question = {
        .target = arguments[3],
        .first = 100000000 + (uint64_t)(bench_seconds() * 1e6) % 800000000,
    };
    struct load_options options = {.port = atoi(arguments[0]),
                                   .connections = 1,
                                   .seconds = strtod(arguments[2], NULL) / 1e3,
                                   .make = next_question,
                                   .context = &question};
    if (strlen(arguments[3]) > 1900) {
        fprintf(stderr, "bench_peers: the target is too long\n");
        return 2;
    }
    double from = processor_seconds(pid);
    struct load_result result = load_run(&options);
    double used = processor_seconds(pid) - from;
    print(&result, used, used);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc == 8 && strcmp(argv[1], "send") == 0) {
        return send_all(argv + 2);
    }
    if (argc == 6 && strcmp(argv[1], "ask") == 0) {
        return ask(argv + 2);
    }
    fprintf(stderr,
            "usage: %s send lines|remote PORT PID CONNECTIONS START-MS SETTLE-MS\n"
            "       %s ask PORT PID MILLISECONDS TARGET\n",
            argv[0], argv[0]);
    return 2;
}
