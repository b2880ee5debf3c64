/* Trainings keep out of the way: schedulers of one interval do not strike together, and the threads
 * that train are the nicest there are. On the store of waves.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "api/jobs.h"
#include "base/background.h"
#include "base/clock.h"
#include "tests/unit/server/waves.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#include <cmocka.h>

#define DAY_MS   INT64_C(86400000)
#define EVERY_MS (300 * DAY_MS)

/* Of /proc/PID/stat, skipped: behind the name come the state and these, then the nice value. */
#define FIELDS_4_TO_18 " %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s"

static struct scheduler *start(void)
{
    struct scheduler *scheduler = NULL;
    struct error error = {0};
    struct scheduler_options options = {
        .services = &services,
        .catalogue = catalogue,
        .settings = {
            .every_ms = EVERY_MS, .seconds = 2, .seed = 1, .lanes = 2, .first_delay_ms = DAY_MS}};
    assert_int_equal(scheduler_start(&options, &scheduler, &error), STATUS_OK);
    return scheduler;
}

/* How long after its start the next training of the group is due. */
static int64_t due_after_ms(void)
{
    struct scheduler_stats stats = {0};
    int64_t began_ms = clock_wall_ms();
    struct scheduler *scheduler = start();
    for (int i = 0; i < 3000 && stats.next_due_ms == 0; i++) {
        clock_sleep_ms(10);
        scheduler_stats(scheduler, &stats);
    }
    assert_true(stats.next_due_ms > 0);
    scheduler_stop(scheduler);
    waves_close(); /* a closed job table takes no more */
    waves_open();
    return stats.next_due_ms - began_ms;
}

/* Row "Retrain storm": the interval is long, so that two draws that agree within the minutes that a
 * busy machine may take are less likely than one in ten thousand. */
static void two_schedulers_do_not_strike_together(void **state)
{
    char id[48];
    (void)state;
    admit(1, true, id);
    int64_t first_ms = due_after_ms(), second_ms = due_after_ms();
    int64_t apart_ms = first_ms > second_ms ? first_ms - second_ms : second_ms - first_ms;
    assert_true(apart_ms > 180000);
    assert_in_range(first_ms, EVERY_MS / 10 * 9 - DAY_MS, EVERY_MS / 10 * 11);
    assert_in_range(second_ms, EVERY_MS / 10 * 9 - DAY_MS, EVERY_MS / 10 * 11);
}

/* The nice value of a thread that is called "scheduler" or has inherited the name, as lanes do; -1
 * for others and those that have just ended. */
static int nice_of(const char *task)
{
    char path[300], line[512];
    int nice = -1;
    snprintf(path, sizeof(path), "/proc/self/task/%s/stat", task);
    FILE *file = fopen(path, "r");
    char *end = file != NULL && fgets(line, sizeof(line), file) != NULL ? strrchr(line, ')') : NULL;
    if (end != NULL && strstr(line, "(scheduler)") != NULL &&
        sscanf(end + 1, " %*c" FIELDS_4_TO_18 " %d", &nice) != 1) {
        nice = -1;
    }
    if (file != NULL) {
        fclose(file);
    }
    return nice;
}

/* Threads that train, all of them nice. */
static size_t count_nice_threads(void)
{
    size_t count = 0;
    DIR *tasks = opendir("/proc/self/task");
    assert_non_null(tasks);
    for (struct dirent *entry; (entry = readdir(tasks)) != NULL;) {
        int nice = entry->d_name[0] != '.' ? nice_of(entry->d_name) : -1;
        if (nice >= 0) {
            assert_int_equal(nice, 19);
            count++;
        }
    }
    closedir(tasks);
    return count;
}

static void training_threads_are_nice(void **state)
{
    struct error error = {0};
    struct scheduler_stats stats = {0};
    struct job job = {.kind = "train", .seconds = 2.0};
    size_t most = 0;
    (void)state;
    int own = getpriority(PRIO_PROCESS, 0);
    struct scheduler *scheduler = start();
    assert_int_equal(job_add(services.jobs, &job, &error), STATUS_OK);
    for (int i = 0; i < 30000 && stats.trained + stats.failed == 0; i++) {
        size_t count = stats.training ? count_nice_threads() : 0;
        most = count > most ? count : most;
        clock_sleep_ms(10);
        scheduler_stats(scheduler, &stats);
    }
    assert_int_equal(stats.trained, 1);
    assert_true(most >= 2); /* the scheduler's own and a lane at least */
    assert_int_equal(getpriority(PRIO_PROCESS, 0), own);
    scheduler_stop(scheduler);
}

/* Somebody waits for an answer all the time: the training rests, and makes all its steps none the
 * less. By steps, because a time would end a training that stands still, too. */
static void a_training_goes_on_below_requests_without_end(void **state)
{
    struct error error = {0};
    struct scheduler_stats stats = {0};
    struct job job = {.kind = "train", .steps = 4};
    (void)state;
    waves_close(); /* a closed job table takes no more */
    waves_open();
    struct scheduler *scheduler = start();
    double rested = background_rested_seconds();
    foreground_begin();
    assert_int_equal(job_add(services.jobs, &job, &error), STATUS_OK);
    for (int i = 0; i < 30000 && stats.trained + stats.failed == 0; i++) {
        clock_sleep_ms(10);
        scheduler_stats(scheduler, &stats);
    }
    foreground_end();
    assert_int_equal(stats.trained, 1);
    print_message("rested %.2f s\n", background_rested_seconds() - rested);
    assert_true(background_rested_seconds() - rested > 0.05);
    scheduler_stop(scheduler);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(two_schedulers_do_not_strike_together),
        cmocka_unit_test(training_threads_are_nice),
        cmocka_unit_test(a_training_goes_on_below_requests_without_end),
    };
    return cmocka_run_group_tests(tests, waves_prepare, waves_clean_up);
}
