/* A daemon that gets a tenth of the processors: it refuses early, stays bounded, recovers, and
 * stops. SPDX-License-Identifier: Apache-2.0
 *
 * usage: bench_starvation PATH-OF-FORECASTD [SECONDS]     default 60
 * The load of the soak and a training every TRAIN_EVERY seconds, first with all of the processors,
 * then with STARVE_RUNNING_MS of each second for SECONDS, then with all again. It is stopped twice:
 * after that, and while it is starved. Started again, it must have every point that it
 * acknowledged.
 */
#include "tests/load/arrivals.h"
#include "tests/load/judge.h"
#include "tests/load/soak.h"
#include "tests/load/starve.h"
#include "tests/load/traffic.h"

#include "tests/bench/load.h"

#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define FEED_TICKS       3000
#define CALM_SECONDS     10
#define SETTLE_SECONDS   5 /* how soon it must be well again */
#define AFTER_SECONDS    10
#define DYING_SECONDS    12 /* of starvation, before it is told to stop */
#define SECONDS_MAX      1e9
#define CONNECTIONS_MAX  1000
#define TRAIN_EVERY      20
#define TRAIN_SECONDS    10
#define TRAIN_MEMORY_MIB 128
#define PROCESS_MIB      128 /* docs/sizing.md; a training comes on top */
#define LOOK_US          250000
#define STOP_SECONDS     10 /* then a container is killed */
#define STOP_PATIENCE    60
#define LATENESS_MS      50
#define REST_SECONDS     120 /* until a training that was cancelled has ended */
#define LEFT_MB          32 /* more than before, when all is over: forecasts that are kept, a model */
#define FILES_GROWTH     4
#define WAL_MB           72 /* journal_size_limit is 64 MiB */

struct phase {
    struct arrivals_result load;
    struct soak_samples samples;
};

struct run {
    const char *program;
    char data[300];
    struct bench_daemon daemon;
    struct traffic_mix mix;
    struct phase *phase;
    double acknowledged; /* points */
    pthread_t asker;
    atomic_bool asked_enough;
    unsigned trainings, waiting, refused;
};

static size_t make(void *context, uint64_t number, const char **bytes, unsigned *kind)
{
    struct run *run = context;
    return traffic_mix_make(&run->mix, number, bytes, kind);
}

static void tick(void *context, double second, size_t connections)
{
    struct run *run = context;
    soak_look(&run->phase->samples, second, &run->daemon, run->data, connections);
}

/* Beside the load, so that it does not stand still while the daemon takes its time to answer. */
static void *ask_trainings(void *context)
{
    struct run *run = context;
    char wish[64];
    snprintf(wish, sizeof(wish), "{\"seconds\":%d}", TRAIN_SECONDS);
    for (double next = bench_seconds(); !atomic_load(&run->asked_enough);) {
        if (bench_seconds() >= next) {
            int status = traffic_post(run->daemon.port, "/api/v1/train", wish);
            bool waits = status == 409 || status == 503; /* the one before is not done yet */
            run->trainings++;
            run->waiting += waits;
            run->refused += !waits && (status < 200 || status > 299);
            next += TRAIN_EVERY;
        }
        usleep(LOOK_US);
    }
    return NULL;
}

static void start(struct run *run)
{
    static char memory[40];
    snprintf(memory, sizeof(memory), "train.memory=%dMiB", TRAIN_MEMORY_MIB);
    const char *const settings[] = {memory, NULL};
    run->daemon = bench_daemon_start(run->program, run->data, settings);
}

static double most(const struct phase *phase, int column)
{
    return soak_largest(&phase->samples, column, 0, SECONDS_MAX);
}

static void print_phase(const char *when, const struct run *run)
{
    const struct phase *phase = run->phase;
    for (int kind = 0; kind < ARRIVAL_KINDS; kind++) {
        const struct arrivals_count *c = &phase->load.kinds[kind];
        printf("%s: %-9s %llu due, %llu answered, %llu busy, %llu other (%d), %llu lost; p50 %.1f "
               "p99 %.1f max %.0f ms; refused within %.0f ms\n",
               when, traffic_kinds[kind], (unsigned long long)c->due, (unsigned long long)c->good,
               (unsigned long long)c->busy, (unsigned long long)c->other, c->other_status,
               (unsigned long long)c->lost, c->p50_ms, c->p99_ms, c->max_ms, c->busy_p99_ms);
    }
    printf("%s: %.1f MB, %.0f descriptors beside connections, log %.1f MB at most; %u trainings "
           "asked for, %u while one waited\n",
           when, most(phase, 0), most(phase, 1), most(phase, 2), run->trainings, run->waiting);
    fflush(stdout);
}

static void load(struct run *run, const char *when, double seconds, struct phase *phase)
{
    struct arrivals_options options = {.port = run->daemon.port,
                                       .rate = TRAFFIC_MIX_RATE,
                                       .seconds = seconds,
                                       .connections_max = CONNECTIONS_MAX,
                                       .make = make,
                                       .context = run,
                                       .tick = tick};
    run->phase = phase;
    run->trainings = run->waiting = run->refused = 0;
    atomic_store(&run->asked_enough, false);
    if (pthread_create(&run->asker, NULL, ask_trainings, run) != 0) {
        fprintf(stderr, "load: no thread to ask for trainings\n");
        exit(1);
    }
    phase->load = arrivals_run(&options);
    atomic_store(&run->asked_enough, true);
    pthread_join(run->asker, NULL);
    run->acknowledged += (double)phase->load.kinds[TRAFFIC_WRITE].good * TRAFFIC_MIX_SERIES;
    print_phase(when, run);
}

/* ---------------------------------------------------------------- figures */

/* A figure of GET /metrics. */
static double metric(int port, const char *name)
{
    static char text[524288];
    char line[80];
    int length = snprintf(line, sizeof(line), "\n%s ", name);
    load_request(port, "GET", "/metrics", "text/plain", NULL, 0, text, sizeof(text), NULL);
    const char *found = strstr(text, line);
    if (found == NULL) {
        fprintf(stderr, "load: no %s in /metrics\n", name);
        exit(1);
    }
    return strtod(found + length, NULL);
}

/* Trainings run at the lowest priority: on a busy machine one may take for ever. */
static void cancel_trainings(int port)
{
    static char jobs[131072];
    load_request(port, "GET", "/api/v1/jobs", "text/plain", NULL, 0, jobs, sizeof(jobs), NULL);
    for (const char *id = jobs; (id = strstr(id, "\"id\":\"")) != NULL;) {
        char target[80];
        id += strlen("\"id\":\"");
        const char *state = strstr(id, "\"state\":\"");
        if (state != NULL &&
            (strncmp(state + 9, "queued", 6) == 0 || strncmp(state + 9, "running", 7) == 0)) {
            snprintf(target, sizeof(target), "/api/v1/jobs/%.*s", (int)strcspn(id, "\""), id);
            load_request(port, "DELETE", target, "text/plain", NULL, 0, NULL, 0, NULL);
        }
    }
}

/* Resident memory once no training runs. */
static double memory_at_rest(const struct run *run)
{
    int port = run->daemon.port;
    cancel_trainings(port);
    for (int i = 0; metric(port, "forecastd_jobs_running") > 0; i++) {
        if (i == REST_SECONDS) {
            fprintf(stderr, "load: a training does not end\n");
            exit(1);
        }
        usleep(1000000);
    }
    return bench_resident_mb(run->daemon.pid, 0);
}

static double sum(const struct arrivals_result *load, bool answered_or_busy)
{
    double total = 0;
    for (int kind = 0; kind < ARRIVAL_KINDS; kind++) {
        const struct arrivals_count *c = &load->kinds[kind];
        total += (double)(answered_or_busy ? c->due - c->good - c->busy : c->due - c->good);
    }
    return total;
}

static double worst_p99_ms(const struct arrivals_result *load)
{
    double worst = 0;
    for (int kind = 0; kind < ARRIVAL_KINDS; kind++) {
        worst = load->kinds[kind].p99_ms > worst ? load->kinds[kind].p99_ms : worst;
    }
    return worst;
}

/* Once each, so that what is kept of them is there before memory is compared. */
static void ask_all(const struct run *run)
{
    char target[128];
    for (int sensor = 0; sensor < TRAFFIC_MIX_SERIES; sensor++) {
        snprintf(target, sizeof(target),
                 "/api/v1/forecast?series=load_value%%7Bsensor%%3D%%22%05d%%22%%7D", sensor);
        load_request(run->daemon.port, "GET", target, "text/plain", NULL, 0, NULL, 0, NULL);
    }
}

static void stop(struct run *run, const char *name, struct starve *starve)
{
    char figure[64];
    int status = 0;
    double seconds = starve_stop(run->daemon.pid, starve, STOP_PATIENCE, &status);
    snprintf(figure, sizeof(figure), "%s_stop", name);
    judge_at_most(figure, seconds, STOP_SECONDS, "s");
    snprintf(figure, sizeof(figure), "%s_exit", name);
    judge_at_most(figure, WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status), 0,
                  "status");
    start(run);
    snprintf(figure, sizeof(figure), "%s_points_lost", name);
    double stored = metric(run->daemon.port, "forecastd_storage_points");
    judge_at_most(figure, run->acknowledged > stored ? run->acknowledged - stored : 0, 0, "points");
    bench_print("restart", run->daemon.start_ms, "ms", "to the first answer, after that");
}

static void measure(struct run *run, double seconds)
{
    static struct phase calm, starved, settling, after, later, dying;
    struct starve starve;
    ask_all(run);
    load(run, "calm", CALM_SECONDS, &calm);
    double before_mb = memory_at_rest(run);
    starve_begin(&starve, run->daemon.pid);
    load(run, "starved", seconds, &starved);
    unsigned refused = run->refused;
    starve_end(&starve);
    load(run, "settling", SETTLE_SECONDS, &settling);
    load(run, "after", AFTER_SECONDS, &after);
    load(run, "later", CALM_SECONDS, &later);
    double peak_mb = bench_resident_mb(run->daemon.pid, 1);
    double rest_mb = memory_at_rest(run);
    judge_at_most("starved_neither_answered_nor_503", sum(&starved.load, true), 0, "requests");
    judge_at_most("starved_trainings_refused", refused, 0, "trainings");
    judge_at_most("starved_memory", peak_mb, (PROCESS_MIB + TRAIN_MEMORY_MIB) * 1.048576, "MB");
    judge_at_most("starved_descriptors_growth", most(&starved, 1) - most(&calm, 1), FILES_GROWTH,
                  "descriptors");
    judge_at_most("starved_write_ahead_log", most(&starved, 2), WAL_MB, "MB");
    judge_at_most("after_not_answered", sum(&after.load, false), 0, "requests");
    /* The machine may be slower now than it was at the beginning. */
    double normal_ms = fmax(worst_p99_ms(&calm.load), worst_p99_ms(&later.load));
    judge_at_most("after_p99", worst_p99_ms(&after.load), 2 * normal_ms + LATENESS_MS, "ms");
    judge_at_most("after_memory_at_rest", rest_mb, PROCESS_MIB * 1.048576, "MB");
    judge_at_most("after_memory_left", rest_mb - before_mb, LEFT_MB, "MB");
    stop(run, "after", NULL);
    starve_begin(&starve, run->daemon.pid);
    load(run, "dying", DYING_SECONDS, &dying);
    stop(run, "starved", &starve);
}

int main(int argc, char **argv)
{
    double seconds = argc > 2 ? strtod(argv[2], NULL) : 60;
    if (argc < 2 || seconds < 10) {
        fprintf(stderr, "usage: %s PATH-OF-FORECASTD [SECONDS]     ten at least\n", argv[0]);
        return 2;
    }
    static struct run run;
    char folder[256];
    bench_folder(folder);
    snprintf(run.data, sizeof(run.data), "%s/data", folder);
    run.program = argv[1];
    start(&run);
    traffic_mix_begin(&run.mix, run.daemon.port, FEED_TICKS, 2 * seconds + 120);
    run.acknowledged = (double)FEED_TICKS * TRAFFIC_MIX_SERIES;
    measure(&run, seconds);
    bench_daemon_stop(&run.daemon);
    bench_folder_remove(folder);
    return judge_close();
}
