/* Serving of the real daemon: GET forecast against a bare handler, latency under training, start, memory.
 * SPDX-License-Identifier: Apache-2.0
 *
 * usage: bench_serve PATH-OF-FORECASTD
 * The bare handler is libmicrohttpd with one epoll thread that returns the same bytes; the two are
 * measured in turn (A B A B) in one run, 16 keep-alive connections.
 */
#include "tests/bench/load.h"

#include <math.h>
#include <microhttpd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define TARGET "/api/v1/forecast?series=bench.load"
#define ROUNDS 4

static char answer[262144];
static size_t answer_length;

static enum MHD_Result bare_handler(void *context, struct MHD_Connection *connection, const char *url,
                                    const char *method, const char *version, const char *body,
                                    size_t *body_size, void **state)
{
    static int seen;
    (void)context, (void)url, (void)method, (void)version, (void)body, (void)body_size;
    if (*state == NULL) {
        *state = &seen;
        return MHD_YES;
    }
    struct MHD_Response *response =
        MHD_create_response_from_buffer(answer_length, answer, MHD_RESPMEM_MUST_COPY);
    MHD_add_response_header(response, "Content-Type", "application/json");
    enum MHD_Result queued = MHD_queue_response(connection, MHD_HTTP_OK, response);
    MHD_destroy_response(response);
    return queued;
}

/* A process of its own, as the daemon is one. Its port comes back over a pipe. */
static pid_t bare_start(int *port)
{
    int ends[2];
    if (pipe(ends) != 0) {
        exit(1);
    }
    pid_t pid = fork();
    if (pid == 0) {
        struct MHD_Daemon *daemon = MHD_start_daemon(MHD_USE_EPOLL_INTERNAL_THREAD, 0, NULL, NULL,
                                                     bare_handler, NULL, MHD_OPTION_END);
        int bound = MHD_get_daemon_info(daemon, MHD_DAEMON_INFO_BIND_PORT)->port;
        if (write(ends[1], &bound, sizeof(bound)) != sizeof(bound)) {
            _exit(1);
        }
        pause();
    }
    if (read(ends[0], port, sizeof(*port)) != sizeof(*port)) {
        exit(1);
    }
    return pid;
}

static size_t get_forecast(void *context, size_t connection, uint64_t number, const char **bytes)
{
    (void)context, (void)connection, (void)number;
    *bytes = "GET " TARGET " HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n";
    return strlen(*bytes);
}

static struct load_result get_for(int port, size_t connections, double seconds)
{
    struct load_options options = {
        .port = port, .connections = connections, .seconds = seconds, .make = get_forecast};
    struct load_result result = load_run(&options);
    if (result.refused > 0) {
        fprintf(stderr, "bench: %llu answers refused, first with %d\n",
                (unsigned long long)result.refused, result.first_refusal);
        exit(1);
    }
    return result;
}

static void post(int port, const char *target, const char *body)
{
    char text[4096];
    int status = load_request(port, "POST", target, "application/json", body, strlen(body), text,
                              sizeof(text), NULL);
    if (status < 200 || status > 299) {
        fprintf(stderr, "bench: POST %s: %d %s\n", target, status, text);
        exit(1);
    }
}

/* Five weeks of hourly readings with a daily season, the newest one at the hour now. */
static void feed(int port)
{
    static char body[65536];
    size_t length = (size_t)snprintf(body, sizeof(body), "{\"series\":\"bench.load\",\"points\":[");
    int64_t hour = (int64_t)time(NULL) / 3600;
    for (int64_t i = 840; i >= 0; i--) {
        length += (size_t)snprintf(body + length, sizeof(body) - length, "%s[%lld,%.2f]",
                                   i < 840 ? "," : "", (long long)(hour - i) * 3600000,
                                   100 + 30 * sin((double)(hour - i) * M_PI / 12) +
                                       5 * sin((double)(i * i % 97)));
    }
    snprintf(body + length, sizeof(body) - length, "]}");
    post(port, "/api/v1/points", body);
}

static void measure_get(int port)
{
    load_request(port, "GET", TARGET, "text/plain", NULL, 0, answer, sizeof(answer), &answer_length);
    int bare_port;
    pid_t bare = bare_start(&bare_port);
    double ours = 0, bares = 0, ratios[ROUNDS];
    for (int round = 0; round < ROUNDS; round++) {
        double a = (double)get_for(port, 16, 2).requests;
        double b = (double)get_for(bare_port, 16, 2).requests;
        ours += a / 2 / ROUNDS;
        bares += b / 2 / ROUNDS;
        ratios[round] = a / b;
    }
    kill(bare, 9);
    waitpid(bare, NULL, 0);
    bench_print("get_forecast_16_connections", ours, "requests/s", "%zu bytes an answer", answer_length);
    bench_print("get_bare_handler_16_connections", bares, "requests/s", "same bytes");
    bench_print("get_forecast_share_of_bare", ours / bares, "ratio", "goal >= 0.7 (%.2f %.2f %.2f %.2f)",
                ratios[0], ratios[1], ratios[2], ratios[3]);
}

static void measure_under_training(int port)
{
    double idle = get_for(port, 1, 3).p99_ms, idle16 = get_for(port, 16, 3).p99_ms;
    post(port, "/api/v1/train", "{\"seconds\":30}");
    usleep(3000000);
    double busy = get_for(port, 1, 5).p99_ms, busy16 = get_for(port, 16, 5).p99_ms;
    char jobs[8192];
    load_request(port, "GET", "/api/v1/jobs", "text/plain", NULL, 0, jobs, sizeof(jobs), NULL);
    if (strstr(jobs, "\"state\":\"running\"") == NULL) {
        fprintf(stderr, "bench: no training ran while it was measured: %s\n", jobs);
        exit(1);
    }
    bench_print("get_p99_under_training_1", busy / idle, "ratio", "goal <= 1.5 (%.3f ms, idle %.3f ms)",
                busy, idle);
    bench_print("get_p99_under_training_16", busy16 / idle16, "ratio",
                "goal <= 1.5 (%.3f ms, idle %.3f ms)", busy16, idle16);
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void measure_start(const char *program)
{
    double times[9];
    double resident = 0;
    for (int run = 0; run < 9; run++) {
        char folder[256];
        bench_folder(folder);
        struct bench_daemon daemon = bench_daemon_start(program, folder, NULL);
        times[run] = daemon.start_ms;
        if (run == 8) {
            usleep(3000000);
            resident = bench_resident_mb(daemon.pid, 0);
        }
        bench_daemon_stop(&daemon);
        bench_folder_remove(folder);
    }
    qsort(times, 9, sizeof(double), compare);
    bench_print("start_empty", times[4], "ms", "goal <= 15 (%.1f - %.1f)", times[0], times[8]);
    bench_print("idle_memory", resident, "MB", "goal <= 15, empty store, 3 s after start");
    struct stat status;
    if (stat(program, &status) == 0) {
        bench_print("binary", (double)status.st_size / 1e6, "MB", "goal <= 4, not stripped");
    }
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: %s PATH-OF-FORECASTD\n", argv[0]);
        return 2;
    }
    measure_start(argv[1]);
    char folder[256];
    bench_folder(folder);
    struct bench_daemon daemon = bench_daemon_start(argv[1], folder, NULL);
    feed(daemon.port);
    usleep(1500000);
    measure_get(daemon.port);
    measure_under_training(daemon.port);
    bench_daemon_stop(&daemon);
    bench_folder_remove(folder);
    return 0;
}
