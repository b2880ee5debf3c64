/* A hostile crowd beside ordinary load: latency of /healthz, memory, and when each kind is cut.
 * SPDX-License-Identifier: Apache-2.0
 *
 * usage: bench_crowd PATH-OF-FORECASTD [CONNECTIONS [SECONDS]]     default 9,900 for 90 s
 * A tenth of the crowd is silent and READERS ask for a megabyte and do not read it; the rest drips
 * heads and bodies.
 */
#include "tests/load/arrivals.h"
#include "tests/load/crowd.h"
#include "tests/load/judge.h"
#include "tests/load/traffic.h"

#include "tests/bench/load.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#define SERIES        100
#define READERS       10
#define QUIET_SECONDS 10
#define LARGE_TICKS   30000
#define RATE          300 /* requests a second of the ordinary load */
#define MEMORY_MB     150
#define HEALTH_MS     50
#define HEAD_SECONDS  10 /* deadlines of server/http.h */
#define RATE_SECONDS  10
#define READ_SECONDS  60
#define SLACK         2.5 /* the sweep comes once a second, and so do drips */

enum { KIND_HEALTH, KIND_FORECAST, KIND_POINTS };

struct ordinary {
    char text[TRAFFIC_HEAD + SERIES * TRAFFIC_LINE];
    int64_t next_ms;
};

static size_t make(void *context, uint64_t number, const char **bytes, unsigned *kind)
{
    struct ordinary *ordinary = context;
    *bytes = ordinary->text;
    *kind = (unsigned)(number % 3);
    switch (*kind) {
    case KIND_HEALTH:
        return traffic_get(ordinary->text, sizeof(ordinary->text), "/healthz");
    case KIND_FORECAST:
        return traffic_get(ordinary->text, sizeof(ordinary->text),
                           "/api/v1/forecast?series=load_value%7Bsensor%3D%2200007%22%7D");
    default:
        ordinary->next_ms += 10;
        return traffic_tick(ordinary->text, "load", 10, ordinary->next_ms);
    }
}

/* A series whose points are more than the sockets of a client that does not read can hold. */
static void feed_large(int port)
{
    char *lines = malloc(LARGE_TICKS * TRAFFIC_LINE), text[1024];
    size_t length = 0;
    int64_t begin_ms = ((int64_t)time(NULL) - LARGE_TICKS) * 1000;
    for (int64_t i = 0; i < LARGE_TICKS; i++) {
        length += (size_t)sprintf(lines + length, "large value=%.6f %lld\n", 1e6 / (double)(i + 1),
                                  (long long)(begin_ms + i * 1000));
    }
    int status = load_request(port, "POST", "/write?precision=ms", "text/plain", lines, length,
                              text, sizeof(text), NULL);
    if (status != 204 && status != 200) {
        fprintf(stderr, "load: feeding: %d %s\n", status, text);
        exit(1);
    }
    free(lines);
}

static void judge_ordinary(const struct arrivals_result *result,
                           const struct arrivals_result *quiet)
{
    static const char *const names[] = {"healthz", "forecast", "points"};
    uint64_t missing = 0;
    printf("crowd: the generator was late by %.1f ms (p99)\n", result->late_p99_ms);
    for (int kind = 0; kind < 3; kind++) {
        const struct arrivals_count *count = &result->kinds[kind];
        printf("crowd: %-9s %llu due, %llu answered, %llu busy, %llu other, %llu lost; p50 %.2f "
               "p99 %.2f "
               "max %.1f ms\n",
               names[kind], (unsigned long long)count->due, (unsigned long long)count->good,
               (unsigned long long)count->busy, (unsigned long long)count->other,
               (unsigned long long)count->lost, count->p50_ms, count->p99_ms, count->max_ms);
        missing += count->due - count->good;
    }
    /* Others use the machine as well: what it takes without the crowd is known from the same run.
     */
    double before = quiet->kinds[KIND_HEALTH].p99_ms;
    bench_print("crowd_healthz_p99_before", before, "ms", "without the crowd");
    judge_at_most("crowd_healthz_p99", result->kinds[KIND_HEALTH].p99_ms,
                  HEALTH_MS > 2 * before ? HEALTH_MS : 2 * before, "ms");
    judge_at_most("crowd_ordinary_not_answered", (double)missing, 0, "requests");
}

static void judge_crowd(const struct crowd_result *result, double seconds)
{
    static const char *const names[] = {"silent", "head", "body"};
    static const double deadlines[] = {HEAD_SECONDS, HEAD_SECONDS, RATE_SECONDS};
    for (int kind = 0; kind < CROWD_READER; kind++) {
        char name[64];
        printf("crowd: %-6s %zu cut, aged %.1f to %.1f s; oldest left %.1f s\n", names[kind],
               result->cut[kind], result->age_min_s[kind], result->age_max_s[kind],
               result->oldest_s[kind]);
        double oldest = result->age_max_s[kind] > result->oldest_s[kind] ? result->age_max_s[kind]
                                                                         : result->oldest_s[kind];
        snprintf(name, sizeof(name), "crowd_%s_oldest", names[kind]);
        judge_at_most(name, oldest, deadlines[kind] + SLACK, "s");
        if (seconds > deadlines[kind] + SLACK) {
            snprintf(name, sizeof(name), "crowd_%s_cut", names[kind]);
            judge_at_least(name, (double)result->cut[kind], 1, "connections");
        }
    }
    printf("crowd: %zu connections of readers held at the end\n", result->readers_held);
    if (seconds > READ_SECONDS + SLACK) {
        judge_at_most("crowd_readers_held", (double)result->readers_held, 0, "connections");
    }
    judge_at_most("crowd_not_connected", (double)result->refused, 0, "connections");
}

int main(int argc, char **argv)
{
    size_t connections = argc > 2 ? strtoul(argv[2], NULL, 10) : 9900;
    double seconds = argc > 3 ? strtod(argv[3], NULL) : 90;
    if (argc < 2 || connections < 10 || seconds < 1) {
        fprintf(stderr, "usage: %s PATH-OF-FORECASTD [CONNECTIONS [SECONDS]]\n", argv[0]);
        return 2;
    }
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    char folder[256];
    bench_folder(folder);
    static const char *const settings[] = {"server.connections=12000", "train.seconds=1s",
                                           "train.memory=16MiB", NULL};
    struct bench_daemon daemon = bench_daemon_start(argv[1], folder, settings);
    feed_large(daemon.port); /* number 1 */
    traffic_feed(daemon.port, SERIES, 300);
    size_t tenth = connections / 10;
    struct crowd_options hostile = {.port = daemon.port,
                                    .large = "/api/v1/series/1/points?limit=50000",
                                    .count = {tenth, (connections - tenth - READERS) / 2,
                                              (connections - tenth - READERS + 1) / 2, READERS}};
    struct ordinary ordinary = {.next_ms = (int64_t)time(NULL) * 1000};
    struct arrivals_options options = {.port = daemon.port,
                                       .rate = RATE,
                                       .seconds = QUIET_SECONDS,
                                       .connections_max = 256,
                                       .make = make,
                                       .context = &ordinary};
    struct arrivals_result quiet = arrivals_run(&options);
    options.seconds = seconds;
    double begin = bench_seconds();
    struct crowd *crowd = crowd_start(&hostile);
    printf("crowd: %zu connections open after %.1f s\n", connections, bench_seconds() - begin);
    struct arrivals_result result = arrivals_run(&options);
    struct crowd_result crowded = crowd_stop(crowd);
    judge_ordinary(&result, &quiet);
    judge_crowd(&crowded, seconds);
    judge_at_most("crowd_memory_peak", bench_resident_mb(daemon.pid, 1), MEMORY_MB, "MB");
    bench_daemon_stop(&daemon);
    bench_folder_remove(folder);
    return judge_close();
}
