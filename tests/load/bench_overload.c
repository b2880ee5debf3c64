/* Twice as many requests as the daemon can answer, by the clock: goodput, refusals, memory,
 * recovery. SPDX-License-Identifier: Apache-2.0
 *
 * usage: bench_overload PATH-OF-FORECASTD [SECONDS [WHAT]]     default 60 s; WHAT = reads or writes
 * reads: forecasts of SERIES_ASKED series, computed by workers. writes: points, 1,000 a request.
 * Capacity is what a closed loop of CLOSED connections gets in the same run. Beside the overload
 * /healthz is asked PROBES times a second. A daemon begins its first training a minute after its
 * start, and may take what train.memory says for it: what the overload takes is judged until then.
 * The client has the first processor for itself, the daemon the others: twice as many requests cost
 * the client more too, and what it took from the daemon would count as goodput lost.
 * OVERLOAD_SHARED in the environment lets both use all.
 */
#include "tests/load/arrivals.h"
#include "tests/load/judge.h"
#include "tests/load/traffic.h"

#include "tests/bench/load.h"

#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define SERIES           1000
#define SERIES_ASKED     50
#define CLOSED           16
#define CONNECTIONS_MAX  3500
#define CAPACITY_SECONDS 4
#define AFTER_SECONDS    6
#define RECOVERY_SECONDS 2
#define PROBES           50
#define LATENESS_MS      50
#define MEMORY_SAMPLES   4096

enum { KIND_WORK, KIND_HEALTH };

struct overload {
    int writes;
    char text[TRAFFIC_HEAD + SERIES * TRAFFIC_LINE];
    char tick[TRAFFIC_HEAD + SERIES * TRAFFIC_LINE];
    size_t tick_length;
    int64_t next_ms;
    double health_share; /* of the requests */
};

/* Resident memory once a second. */
struct memory_watch {
    const struct bench_daemon *daemon;
    pthread_t thread;
    atomic_bool stopping;
    double samples[MEMORY_SAMPLES];
    size_t count;
    size_t before_training; /* samples until the first one that saw a training */
};

static size_t make_work(struct overload *overload, uint64_t number)
{
    if (overload->writes) {
        overload->next_ms += TRAFFIC_STEP_MS;
        traffic_again(overload->tick, overload->tick_length, overload->next_ms);
        return overload->tick_length;
    }
    return traffic_forecast(overload->text, sizeof(overload->text),
                            number * SERIES_ASKED % (SERIES - SERIES_ASKED), SERIES_ASKED);
}

static const char *work_text(const struct overload *overload)
{
    return overload->writes ? overload->tick : overload->text;
}

static size_t make_closed(void *context, size_t connection, uint64_t number, const char **bytes)
{
    static char texts[CLOSED][sizeof(((struct overload *)0)->text)];
    struct overload *overload = context;
    size_t length = make_work(overload, number);
    memcpy(texts[connection], work_text(overload), length);
    *bytes = texts[connection];
    return length;
}

static size_t make_open(void *context, uint64_t number, const char **bytes, unsigned *kind)
{
    struct overload *overload = context;
    *bytes = overload->text;
    double share = overload->health_share;
    if (floor((double)(number + 1) * share) > floor((double)number * share)) {
        *kind = KIND_HEALTH;
        return traffic_get(overload->text, sizeof(overload->text), "/healthz");
    }
    *kind = KIND_WORK;
    *bytes = work_text(overload);
    return make_work(overload, number);
}

static bool training_runs(int port)
{
    static char metrics[262144];
    int status = load_request(port, "GET", "/metrics", "text/plain", NULL, 0, metrics,
                              sizeof(metrics), NULL);
    return status == 200 && strstr(metrics, "\nforecastd_jobs_running 0") == NULL;
}

static void *watch_main(void *context)
{
    struct memory_watch *watch = context;
    bool trained = false;
    while (!atomic_load(&watch->stopping) && watch->count < MEMORY_SAMPLES) {
        trained = trained || training_runs(watch->daemon->port);
        watch->samples[watch->count++] = bench_resident_mb(watch->daemon->pid, 0);
        watch->before_training += !trained;
        usleep(1000000);
    }
    return NULL;
}

static void watch_begin(struct memory_watch *watch, const struct bench_daemon *daemon)
{
    watch->daemon = daemon;
    if (pthread_create(&watch->thread, NULL, watch_main, watch) != 0) {
        fprintf(stderr, "load: no thread to watch memory\n");
        exit(1);
    }
}

/* Growth over the later half of the overload, as far as no training ran. */
static double watch_end(struct memory_watch *watch)
{
    atomic_store(&watch->stopping, true);
    pthread_join(watch->thread, NULL);
    size_t count = watch->before_training;
    if (count < 2) {
        fprintf(stderr, "load: too few samples of memory\n");
        exit(1);
    }
    double last = watch->samples[count - 1];
    bench_print("overload_memory", last, "MB", "%.1f at the beginning, %.1f at the end%s",
                watch->samples[0], watch->samples[watch->count - 1],
                count < watch->count ? ", a training included" : "");
    return last - watch->samples[count / 2];
}

static struct arrivals_result run(struct overload *overload, int port, double rate, double seconds)
{
    struct arrivals_options options = {.port = port,
                                       .rate = rate + PROBES,
                                       .seconds = seconds,
                                       .connections_max = CONNECTIONS_MAX,
                                       .make = make_open,
                                       .context = overload};
    overload->health_share = PROBES / (rate + PROBES);
    return arrivals_run(&options);
}

static void print_counts(const char *when, const struct arrivals_result *result)
{
    static const char *const names[] = {"work", "healthz"};
    printf("%s: the generator was late by %.1f ms (p99)\n", when, result->late_p99_ms);
    for (int kind = 0; kind < 2; kind++) {
        const struct arrivals_count *c = &result->kinds[kind];
        printf("%s: %-8s %llu due, %llu answered, %llu busy, %llu other (%d), %llu lost; p50 %.1f "
               "p99 %.1f ms; "
               "refused within %.1f ms\n",
               when, names[kind], (unsigned long long)c->due, (unsigned long long)c->good,
               (unsigned long long)c->busy, (unsigned long long)c->other, c->other_status,
               (unsigned long long)c->lost, c->p50_ms, c->p99_ms, c->busy_p99_ms);
    }
}

static void measure(struct overload *overload, const struct bench_daemon *daemon, double seconds)
{
    struct load_options closed = {.port = daemon->port,
                                  .connections = CLOSED,
                                  .seconds = CAPACITY_SECONDS,
                                  .make = make_closed,
                                  .context = overload};
    struct load_result before = load_run(&closed);
    double capacity = (double)(before.requests - before.refused) / before.seconds;
    bench_print("overload_capacity", capacity, "requests/s", "%d connections, p99 %.1f ms", CLOSED,
                before.p99_ms);
    struct arrivals_result calm = run(overload, daemon->port, capacity / 2, AFTER_SECONDS);
    print_counts("at half", &calm);
    static struct memory_watch watch;
    watch_begin(&watch, daemon);
    struct arrivals_result over = run(overload, daemon->port, 2 * capacity, seconds);
    double growth = watch_end(&watch);
    print_counts("at twice", &over);
    struct arrivals_result settle = run(overload, daemon->port, capacity / 2, RECOVERY_SECONDS);
    struct arrivals_result after = run(overload, daemon->port, capacity / 2, AFTER_SECONDS);
    print_counts("settling", &settle);
    print_counts("after", &after);
    struct load_result again = load_run(&closed);
    double capacity_after = (double)(again.requests - again.refused) / again.seconds;
    const struct arrivals_count *work = &over.kinds[KIND_WORK];
    /* The machine may be faster or slower now: the mean of before and after is the measure. */
    double mean = (capacity + capacity_after) / 2;
    bench_print("overload_capacity_after", capacity_after, "requests/s", " ");
    judge_at_least("overload_goodput", (double)work->good / over.seconds / mean, 0.8,
                   "of capacity");
    judge_at_most("overload_neither_answered_nor_503", (double)(work->other + work->lost), 0,
                  "requests");
    judge_at_most("overload_healthz_p99", over.kinds[KIND_HEALTH].p99_ms, LATENESS_MS, "ms");
    judge_at_most("overload_memory_growth", growth, 8, "MB");
    judge_at_most("overload_after_not_answered",
                  (double)(after.kinds[KIND_WORK].due - after.kinds[KIND_WORK].good), 0,
                  "requests");
    judge_at_most("overload_after_p99", after.kinds[KIND_WORK].p99_ms,
                  2 * calm.kinds[KIND_WORK].p99_ms + LATENESS_MS, "ms");
}

/* `chosen`: the first processor of those that this program may use, or all but that one. Children
 * inherit it. */
enum processors { PROCESSOR_FIRST, PROCESSORS_OTHER };
static void use_processors(enum processors chosen, const cpu_set_t *all)
{
    cpu_set_t set;
    int first = 0;
    while (!CPU_ISSET(first, all)) {
        first++;
    }
    if (chosen == PROCESSOR_FIRST) {
        CPU_ZERO(&set);
        CPU_SET(first, &set);
    } else {
        set = *all;
        CPU_CLR(first, &set);
    }
    if (sched_setaffinity(0, sizeof(set), &set) != 0) {
        fprintf(stderr, "load: no processor of its own for the client\n");
        exit(1);
    }
}

static struct bench_daemon start_apart(const char *program, const char *folder,
                                       const char *const *settings)
{
    cpu_set_t all;
    bool apart = getenv("OVERLOAD_SHARED") == NULL &&
                 sched_getaffinity(0, sizeof(all), &all) == 0 && CPU_COUNT(&all) > 1;
    if (apart) {
        use_processors(PROCESSORS_OTHER, &all);
    }
    struct bench_daemon daemon = bench_daemon_start(program, folder, settings);
    if (apart) {
        use_processors(PROCESSOR_FIRST, &all);
    }
    printf("processors: the client's %s\n",
           apart ? "own, and the others the daemon's" : "the daemon's too");
    return daemon;
}

int main(int argc, char **argv)
{
    double seconds = argc > 2 ? strtod(argv[2], NULL) : 60;
    const char *what = argc > 3 ? argv[3] : "reads";
    if (argc < 2 || seconds < 1 || (strcmp(what, "reads") != 0 && strcmp(what, "writes") != 0)) {
        fprintf(stderr, "usage: %s PATH-OF-FORECASTD [SECONDS [reads|writes]]\n", argv[0]);
        return 2;
    }
    static struct overload overload;
    /* The clients are many, from one address here. */
    static const char *const settings[] = {"server.connections_per_address=4000", NULL};
    char folder[256];
    bench_folder(folder);
    struct bench_daemon daemon = start_apart(argv[1], folder, settings);
    overload.writes = strcmp(what, "writes") == 0;
    if (!overload.writes) {
        traffic_feed(daemon.port, SERIES, 200);
    }
    /* Long ago, so that no tick comes to lie in the future, and each is newer than the last. */
    overload.next_ms = ((int64_t)time(NULL) - 300 * 86400) * 1000;
    overload.tick_length = traffic_tick(overload.tick, "load", SERIES, overload.next_ms);
    measure(&overload, &daemon, seconds);
    bench_daemon_stop(&daemon);
    bench_folder_remove(folder);
    return judge_close();
}
