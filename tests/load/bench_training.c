/* Serving and ingest while a training runs, as multiples of what they are without it.
 * SPDX-License-Identifier: Apache-2.0
 *
 * usage: bench_training PATH-OF-FORECASTD [SECONDS]     default 6 s a phase
 * Idle, training, idle, training: the same daemon in turns, so that a change of the machine's load
 * hits both. Ingest by a closed loop of 4 connections, 1,000 new points a request; then GET forecast
 * by the clock (a live answer), while the refresher still works on what came, in both turns.
 */
#include "tests/load/arrivals.h"
#include "tests/load/judge.h"
#include "tests/load/traffic.h"

#include "tests/bench/load.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define SERIES      1000
#define TICKS       3000
#define RATE        400
#define CONNECTIONS 4
#define ROUNDS      3

struct ingest {
    char texts[CONNECTIONS][TRAFFIC_HEAD + SERIES * TRAFFIC_LINE];
    size_t length;
    int64_t next_ms;
};

static size_t make_forecast(void *context, uint64_t number, const char **bytes, unsigned *kind)
{
    static char text[256];
    (void)context, (void)number;
    *bytes = text;
    *kind = 0;
    return traffic_get(text, sizeof(text),
                       "/api/v1/forecast?series=load_value%7Bsensor%3D%2200007%22%7D");
}

static size_t make_points(void *context, size_t connection, uint64_t number, const char **bytes)
{
    struct ingest *ingest = context;
    (void)number;
    ingest->next_ms += TRAFFIC_STEP_MS;
    *bytes = ingest->texts[connection];
    traffic_again(ingest->texts[connection], ingest->length, ingest->next_ms);
    return ingest->length;
}

struct phase {
    double p99_ms, points; /* of GET forecast; points a second */
};

static struct phase measure(int port, double seconds, struct ingest *ingest)
{
    struct arrivals_options reads = {.port = port,
                                     .rate = RATE,
                                     .seconds = seconds,
                                     .connections_max = 64,
                                     .make = make_forecast};
    struct load_options writes = {.port = port,
                                  .connections = CONNECTIONS,
                                  .seconds = seconds / 2,
                                  .make = make_points,
                                  .context = ingest};
    struct load_result written = load_run(&writes);
    struct arrivals_result read = arrivals_run(&reads);
    if (read.kinds[0].good < read.kinds[0].due || written.refused > 0) {
        fprintf(stderr, "load: %llu of %llu forecasts, %llu writes refused\n",
                (unsigned long long)read.kinds[0].good, (unsigned long long)read.kinds[0].due,
                (unsigned long long)written.refused);
        exit(1);
    }
    return (struct phase){read.kinds[0].p99_ms,
                          (double)written.requests * SERIES / written.seconds};
}

static int trainings(int port)
{
    static char jobs[65536];
    load_request(port, "GET", "/api/v1/jobs", "text/plain", NULL, 0, jobs, sizeof(jobs), NULL);
    return strstr(jobs, "\"state\":\"running\"") != NULL;
}

static void wait_for(int port, int wanted)
{
    for (int i = 0; trainings(port) != wanted; i++) {
        if (i == 1200) {
            fprintf(stderr, "load: no training began, or one did not end\n");
            exit(1);
        }
        usleep(100000);
    }
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

int main(int argc, char **argv)
{
    double seconds = argc > 2 ? strtod(argv[2], NULL) : 6;
    if (argc < 2 || seconds < 1) {
        fprintf(stderr, "usage: %s PATH-OF-FORECASTD [SECONDS]\n", argv[0]);
        return 2;
    }
    /* Trainings that nobody asked for are short. */
    static const char *const settings[] = {"train.seconds=1s", NULL};
    static struct ingest ingest;
    char folder[256], wish[64];
    bench_folder(folder);
    struct bench_daemon daemon = bench_daemon_start(argv[1], folder, settings);
    traffic_feed(daemon.port, SERIES, TICKS);
    /* Series of their own for writes, each point newer than the last: live answers of the one
     * that is read stay as they are, and what is measured is what sensors send, not late points. */
    ingest.next_ms = ((int64_t)time(NULL) - 300 * 86400) * 1000;
    for (size_t i = 0; i < CONNECTIONS; i++) {
        ingest.length = traffic_tick(ingest.texts[i], "sent", SERIES, ingest.next_ms);
    }
    double latencies[ROUNDS], rates[ROUNDS];
    for (int round = 0; round < ROUNDS; round++) {
        wait_for(daemon.port, 0);
        struct phase idle = measure(daemon.port, seconds, &ingest);
        snprintf(wish, sizeof(wish), "{\"seconds\":%d}", (int)(3 * seconds) + 10);
        int status = traffic_post(daemon.port, "/api/v1/train", wish);
        if (status < 200 || status > 299) {
            fprintf(stderr, "load: training refused: %d\n", status);
            return 1;
        }
        wait_for(daemon.port, 1);
        usleep(2000000);
        struct phase busy = measure(daemon.port, seconds, &ingest);
        if (!trainings(daemon.port)) {
            fprintf(stderr, "load: the training was over too early\n");
            return 1;
        }
        latencies[round] = busy.p99_ms / idle.p99_ms;
        rates[round] = busy.points / idle.points;
        printf("round %d: GET forecast p99 %.2f ms idle, %.2f training; ingest %.3g points/s idle, "
               "%.3g training\n",
               round, idle.p99_ms, busy.p99_ms, idle.points, busy.points);
        fflush(stdout);
    }
    qsort(latencies, ROUNDS, sizeof(double), compare);
    qsort(rates, ROUNDS, sizeof(double), compare);
    judge_at_most("training_forecast_p99", latencies[ROUNDS / 2], 1.5, "of idle");
    judge_at_least("training_ingest", rates[ROUNDS / 2], 0.8, "of idle");
    bench_daemon_stop(&daemon);
    bench_folder_remove(folder);
    return judge_close();
}
