/* Everything at once for a long time: writes, reads, trainings, SIGHUP, backups; nothing may grow.
 * SPDX-License-Identifier: Apache-2.0
 *
 * usage: bench_soak PATH-OF-FORECASTD [MINUTES]     default 45
 * A second holds 20 writes of 1,000 points and 40 reads. A minute holds a training, a SIGHUP and,
 * where the daemon knows the command, a backup. What a training looks at is there from the start:
 * with 500 values a series its data grew for 27 minutes, and what it leaves in the heap with them.
 * The first third (15 minutes at most) is warm-up: what comes later is compared with it. The slope
 * is that of what stays between trainings; below 20 minutes it says nothing.
 */
#include "tests/load/arrivals.h"
#include "tests/load/judge.h"
#include "tests/load/soak.h"
#include "tests/load/traffic.h"

#include "tests/bench/load.h"

#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define FEED_TICKS    33000 /* more than a training looks at of a series */
#define TRAIN_SECONDS 20
#define LOOK_SECONDS  5
#define SAY_MINUTES   5  /* from one word of progress to the next */
#define SLOPE_MINUTES 20 /* a shorter run has no meaningful slope */
#define SLOPE_MB      1
#define GROWTH_MB     24 /* of the peak, which is that of a training and may come late */
#define WAL_MB        72 /* journal_size_limit is 64 MiB */

extern char **environ;

struct soak {
    struct traffic_mix mix;
    const char *program, *folder;
    struct bench_daemon daemon;
    struct soak_samples samples;
    double looked_at, minute_at;
    int has_backup;
    pid_t backup; /* the one that runs, or 0 */
    unsigned trainings, trainings_refused, hangups, backups, backups_failed;
};

static size_t make(void *context, uint64_t number, const char **bytes, unsigned *kind)
{
    struct soak *soak = context;
    return traffic_mix_make(&soak->mix, number, bytes, kind);
}

/* Starts the daemon's own command; 0 where that fails. Its output goes nowhere. */
static pid_t start_command(const char *program, const char *const *arguments)
{
    posix_spawn_file_actions_t actions;
    pid_t pid;
    char *copies[12] = {strdup(program)};
    for (size_t i = 0; arguments[i] != NULL && i < 10; i++) {
        copies[i + 1] = strdup(arguments[i]);
    }
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", 1, 0);
    posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", 1, 0);
    int failed = posix_spawn(&pid, program, &actions, NULL, copies, environ) != 0;
    posix_spawn_file_actions_destroy(&actions);
    for (size_t i = 0; copies[i] != NULL; i++) {
        free(copies[i]);
    }
    return failed ? 0 : pid;
}

static int has_backup(const char *program)
{
    static const char *const help[] = {"backup", "--help", NULL};
    int status = 1;
    pid_t pid = start_command(program, help);
    return pid != 0 && waitpid(pid, &status, 0) == pid && status == 0;
}

static void copy_path(const struct soak *soak, char path[320])
{
    snprintf(path, 320, "%s/copy-%u", soak->folder, soak->backups);
}

/* Takes the end of the backup that runs; with `wait` it waits for it. */
static void end_backup(struct soak *soak, int wait)
{
    int status = 0;
    char path[320];
    if (soak->backup == 0 || waitpid(soak->backup, &status, wait ? 0 : WNOHANG) == 0) {
        return;
    }
    soak->backup = 0;
    soak->backups_failed += status != 0;
    copy_path(soak, path);
    unlink(path);
}

/* Beside the load: one that is not done after a minute has failed. */
static void begin_backup(struct soak *soak)
{
    char data[300], path[320];
    if (soak->backup != 0) {
        soak->backups_failed++;
        return;
    }
    soak->backups++;
    copy_path(soak, path);
    snprintf(data, sizeof(data), "%s/data", soak->folder);
    const char *const arguments[] = {"backup", path, "--data", data, NULL};
    soak->backup = start_command(soak->program, arguments);
    soak->backups_failed += soak->backup == 0;
}

static void say(struct soak *soak, double second)
{
    const struct soak_sample *last = &soak->samples.all[soak->samples.count - 1];
    printf("soak: minute %.0f: %.1f MB, %.0f descriptors, log %.1f MB\n", second / 60,
           last->memory_mb, last->descriptors, last->wal_mb);
    fflush(stdout);
}

static void tick(void *context, double second, size_t connections)
{
    struct soak *soak = context;
    char data[300], wish[64];
    end_backup(soak, 0);
    if (second - soak->looked_at >= LOOK_SECONDS) {
        soak->looked_at = second;
        snprintf(data, sizeof(data), "%s/data", soak->folder);
        soak_look(&soak->samples, second, &soak->daemon, data, connections);
    }
    if (second - soak->minute_at >= 60 || soak->minute_at < 0) {
        if (soak->trainings % SAY_MINUTES == 0 && soak->samples.count > 0) {
            say(soak, second);
        }
        soak->minute_at = second;
        snprintf(wish, sizeof(wish), "{\"seconds\":%d}", TRAIN_SECONDS);
        int status = traffic_post(soak->daemon.port, "/api/v1/train", wish);
        soak->trainings++;
        soak->trainings_refused += status < 200 || status > 299;
        kill(soak->daemon.pid, SIGHUP);
        soak->hangups++;
        if (soak->has_backup) {
            begin_backup(soak);
        }
    }
}

static void judge(struct soak *soak, const struct arrivals_result *result, double seconds)
{
    const struct soak_samples *samples = &soak->samples;
    double warm_up = seconds / 3 < 900 ? seconds / 3 : 900, bad = 0;
    for (int kind = 0; kind < 4; kind++) {
        const struct arrivals_count *c = &result->kinds[kind];
        printf("soak: %-9s %llu due, %llu answered, %llu busy, %llu other (%d), %llu lost; p50 "
               "%.1f p99 %.1f max %.0f ms\n",
               traffic_kinds[kind], (unsigned long long)c->due, (unsigned long long)c->good,
               (unsigned long long)c->busy, (unsigned long long)c->other, c->other_status,
               (unsigned long long)c->lost, c->p50_ms, c->p99_ms, c->max_ms);
        bad += (double)(c->due - c->good);
    }
    printf("soak: %u trainings (%u refused), %u SIGHUP, %u backups (%u failed)%s\n",
           soak->trainings, soak->trainings_refused, soak->hangups, soak->backups,
           soak->backups_failed,
           soak->has_backup ? "" : "; this build has no backup command: left out");
    judge_at_most("soak_not_answered", bad, 0, "requests");
    judge_at_most("soak_trainings_refused", soak->trainings_refused, 0, "trainings");
    judge_at_most("soak_backups_failed", soak->backups_failed, 0, "backups");
    double before = soak_largest(samples, 0, 0, warm_up),
           after = soak_largest(samples, 0, warm_up, seconds + 60);
    bench_print("soak_memory", after, "MB", "at most %.1f within the warm-up of %.0f s", before,
                warm_up);
    judge_at_most("soak_memory_growth", after - before, GROWTH_MB, "MB");
    struct soak_slope slope = soak_slope(samples, warm_up, seconds);
    bench_print("soak_memory_slope", slope.mb_hour, "MB/h", "standard error %.1f%s",
                slope.standard_error,
                seconds < SLOPE_MINUTES * 60 ? ", not judged in so short a run" : "");
    if (seconds >= SLOPE_MINUTES * 60) {
        judge_at_most("soak_memory_leak", slope.mb_hour - 2 * slope.standard_error, SLOPE_MB,
                      "MB/h, the least that it can be");
    }
    judge_at_most("soak_descriptors_growth",
                  soak_largest(samples, 1, warm_up, seconds + 60) -
                      soak_largest(samples, 1, 0, warm_up),
                  8, "descriptors");
    judge_at_most("soak_write_ahead_log", soak_largest(samples, 2, 0, seconds + 60), WAL_MB, "MB");
}

int main(int argc, char **argv)
{
    double seconds = 60 * (argc > 2 ? strtod(argv[2], NULL) : 45);
    if (argc < 2 || seconds < 30) {
        fprintf(stderr, "usage: %s PATH-OF-FORECASTD [MINUTES]     half a minute at least\n",
                argv[0]);
        return 2;
    }
    static struct soak soak;
    char folder[256], data[300];
    bench_folder(folder);
    snprintf(data, sizeof(data), "%s/data", folder);
    soak.program = argv[1];
    soak.folder = folder;
    soak.minute_at = -1;
    soak.has_backup = has_backup(argv[1]);
    /* The data of a training are as many as they will be from the first one on: see FEED_TICKS. */
    static const char *const settings[] = {"train.memory=128MiB", NULL};
    soak.daemon = bench_daemon_start(argv[1], data, settings);
    traffic_mix_begin(&soak.mix, soak.daemon.port, FEED_TICKS, seconds);
    struct arrivals_options options = {.port = soak.daemon.port,
                                       .rate = TRAFFIC_MIX_RATE,
                                       .seconds = seconds,
                                       .connections_max = 256,
                                       .make = make,
                                       .context = &soak,
                                       .tick = tick};
    struct arrivals_result result = arrivals_run(&options);
    end_backup(&soak, 1);
    judge(&soak, &result, seconds);
    bench_daemon_stop(&soak.daemon);
    bench_folder_remove(folder);
    return judge_close();
}
