/* Ingest of the real daemon over HTTP: points/s, acknowledgements/s, bytes a point, memory,
 * restart. SPDX-License-Identifier: Apache-2.0
 *
 * usage: bench_ingest PATH-OF-FORECASTD
 * Every 2xx counted here came after the commit was synced. Medians of three runs, (least - most).
 */
#include "tests/bench/load.h"
#include "tests/bench/readings.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define RUNS 3

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static int64_t ticks_ago(size_t ticks)
{
    return ((int64_t)time(NULL) - (int64_t)ticks * 10) / 10 * 10000;
}

static struct load_result send_all(int port, struct readings *readings, size_t connections)
{
    struct load_options options = {.port = port,
                                   .connections = connections,
                                   .requests_max = readings->count,
                                   .make = readings_next,
                                   .context = readings};
    struct load_result result = load_run(&options);
    if (result.refused > 0) {
        fprintf(stderr, "bench: %llu requests refused, first with %d\n",
                (unsigned long long)result.refused, result.first_refusal);
        exit(1);
    }
    return result;
}

/* One shape of load on a fresh daemon, RUNS times. */
static void measure(const char *program, const char *name, size_t requests, size_t points,
                    size_t series, size_t connections)
{
    double rates[RUNS], p99 = 0, memory = 0;
    for (int run = 0; run < RUNS; run++) {
        char folder[256];
        bench_folder(folder);
        struct readings readings =
            readings_make(requests, points, series, ticks_ago(requests * points / series));
        struct bench_daemon daemon = bench_daemon_start(program, folder, NULL);
        struct load_result result = send_all(daemon.port, &readings, connections);
        rates[run] = (double)result.requests * (double)points / result.seconds;
        p99 = result.p99_ms;
        double resident = bench_resident_mb(daemon.pid, 1);
        memory = resident > memory ? resident : memory;
        bench_daemon_stop(&daemon);
        readings_free(&readings);
        bench_folder_remove(folder);
    }
    qsort(rates, RUNS, sizeof(double), compare);
    bench_print(name, rates[RUNS / 2], "points/s", "(%.3g - %.3g) p99 %.2f ms, peak %.1f MB",
                rates[0], rates[RUNS - 1], p99, memory);
}

typedef struct readings (*readings_maker)(size_t requests, size_t points, size_t series,
                                          int64_t start_ms);

/* Points a second on a fresh daemon: 1,000 a request, one connection. */
static double rate_of(const char *program, readings_maker make)
{
    char folder[256];
    bench_folder(folder);
    struct readings readings = make(1000, 1000, 1000, ticks_ago(1000));
    struct bench_daemon daemon = bench_daemon_start(program, folder, NULL);
    double rate = 1e6 / send_all(daemon.port, &readings, 1).seconds;
    bench_daemon_stop(&daemon);
    readings_free(&readings);
    bench_folder_remove(folder);
    return rate;
}

/* Line protocol against JSON, in turns. */
static void measure_lines(const char *program)
{
    double lines[RUNS], ratios[RUNS];
    for (int run = 0; run < RUNS; run++) {
        double json = rate_of(program, readings_make);
        lines[run] = rate_of(program, readings_make_lines);
        ratios[run] = lines[run] / json;
    }
    qsort(lines, RUNS, sizeof(double), compare);
    qsort(ratios, RUNS, sizeof(double), compare);
    bench_print("ingest_lines_1000_1_connection", lines[RUNS / 2], "points/s", "(%.3g - %.3g)",
                lines[0], lines[RUNS - 1]);
    bench_print("ingest_lines_against_json", ratios[RUNS / 2], "times", "(%.2f - %.2f)", ratios[0],
                ratios[RUNS - 1]);
}

/* A short training, so that the next start has a champion to load. */
static void train(int port)
{
    static char body[65536];
    const char *wish = "{\"seconds\":15}";
    load_request(port, "POST", "/api/v1/train", "application/json", wish, strlen(wish), NULL, 0,
                 NULL);
    for (int i = 0; i < 120; i++) {
        load_request(port, "GET", "/api/v1/models", "text/plain", NULL, 0, body, sizeof(body),
                     NULL);
        if (strstr(body, "\"champion\":true") != NULL) {
            return;
        }
        usleep(500000);
    }
    fprintf(stderr, "bench: no champion after a minute\n");
    exit(1);
}

/* 1,000 series x 10,000 ticks: bytes a point after compaction, peak memory, start with all of it.
 */
static void measure_disk(const char *program)
{
    char folder[256];
    bench_folder(folder);
    struct bench_daemon daemon = bench_daemon_start(program, folder, NULL);
    int64_t start = ticks_ago(10000);
    double seconds = 0;
    for (size_t part = 0; part < 10; part++) {
        struct readings readings =
            readings_make(1000, 1000, 1000, start + (int64_t)part * 1000 * 10000);
        seconds += send_all(daemon.port, &readings, 4).seconds;
        readings_free(&readings);
    }
    double memory = bench_resident_mb(daemon.pid, 1);
    train(daemon.port);
    bench_print("ingest_10m_points_4_connections", 1e7 / seconds, "points/s",
                "10,000,000 points in all, 1,000 a request");
    double stopping = bench_seconds();
    bench_daemon_stop(&daemon); /* a clean end compacts what the journal still holds */
    bench_print("stop_with_compaction", 1e3 * (bench_seconds() - stopping), "ms", "goal <= 10,000");
    bench_print("disk", (double)bench_folder_bytes(folder) / 1e7, "B/point", "goal <= 1.6");
    bench_print("ingest_peak_memory", memory, "MB", "goal <= 60");
    daemon = bench_daemon_start(program, folder, NULL);
    bench_print("start_10m_points_and_champion", daemon.start_ms, "ms", "goal <= 1000");
    bench_daemon_stop(&daemon);
    bench_folder_remove(folder);
}

/* The limit of series: memory with 100,000 of them, ten points each. */
static void measure_series(const char *program)
{
    char folder[256];
    bench_folder(folder);
    struct bench_daemon daemon = bench_daemon_start(program, folder, NULL);
    struct readings readings = readings_make(1000, 1000, 100000, ticks_ago(10));
    struct load_result result = send_all(daemon.port, &readings, 4);
    bench_print("ingest_100k_series", 1e6 / result.seconds, "points/s",
                "ten points of each series");
    bench_print("memory_100k_series", bench_resident_mb(daemon.pid, 1), "MB", "peak");
    bench_daemon_stop(&daemon);
    readings_free(&readings);
    daemon = bench_daemon_start(program, folder, NULL);
    bench_print("start_100k_series", daemon.start_ms, "ms", " ");
    bench_daemon_stop(&daemon);
    bench_folder_remove(folder);
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: %s PATH-OF-FORECASTD\n", argv[0]);
        return 2;
    }
    measure(argv[1], "ingest_json_1000_1_connection", 2000, 1000, 1000, 1);
    measure(argv[1], "ingest_json_1000_4_connections", 2000, 1000, 1000, 4);
    measure(argv[1], "ingest_json_1_64_connections", 60000, 1, 1000, 64);
    measure_lines(argv[1]);
    measure_disk(argv[1]);
    measure_series(argv[1]);
    return 0;
}
