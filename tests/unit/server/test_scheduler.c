/* Training by the clock and on request, the gate's verdict, records, files, promotion and restart.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Trainings of a few steps of a tiny network, on the store of waves.h.
 */
#include "api/jobs.h"
#include "api/regret.h"
#include "base/clock.h"
#include "base/random.h"
#include "model/backtest.h"
#include "tests/unit/server/waves.h"

#include <dirent.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static unsigned published;

static void a_promoted_model_serves_and_survives_a_restart(void **state)
{
    char id[48], other[48], serving[48];
    size_t kept, champions;
    (void)state;
    admit(1, true, id);
    assert_string_equal(id, "1h-1");
    assert_string_equal(champion_id(serving), "1h-1");
    admit(2, false, other);
    assert_string_equal(other, "1h-2");
    assert_string_equal(champion_id(serving), "1h-1");
    waves_close();
    waves_open();
    assert_string_equal(champion_id(serving), "1h-1");
    catalogue_counts(catalogue, &kept, &champions);
    assert_int_equal(kept, 2);
    assert_int_equal(champions, 1);
    assert_int_equal(count_files(".safetensors"), 2);
}

static void promotion_and_rollback_are_recorded(void **state)
{
    struct error error = {0};
    char serving[48];
    (void)state;
    assert_int_equal(catalogue_promote(catalogue, "1h-9", &error), STATUS_NOT_FOUND);
    assert_int_equal(catalogue_promote(catalogue, "1h-1", &error), STATUS_CONFLICT);
    assert_int_equal(catalogue_promote(catalogue, "1h-2", &error), STATUS_OK);
    assert_string_equal(champion_id(serving), "1h-2");
    waves_close();
    waves_open();
    assert_string_equal(champion_id(serving), "1h-2");
    assert_int_equal(catalogue_rollback(catalogue, 0, &error), STATUS_OK);
    assert_string_equal(champion_id(serving), "1h-1");
    assert_int_equal(catalogue_rollback(catalogue, 0, &error), STATUS_NOT_FOUND);
    waves_close();
    waves_open();
    assert_string_equal(champion_id(serving), "1h-1");
}

/* After the test before: 1h-1 serves, 1h-2 is kept back. */
static void every_decision_stands_in_the_record(void **state)
{
    (void)state;
    expect_record("1h-1", "\"standing\":\"champion\",\"by\":\"gate\",\"reason\":\"decided by the"
                          " test \\\"1\\\"\"");
    expect_record("1h-1", "\"standing\":\"previous\",\"by\":\"request\",\"reason\":\"replaced by"
                          " 1h-2\"");
    expect_record("1h-1", "\"reason\":\"serves again: 1h-2 was rolled back\"");
    expect_record("1h-2", "\"standing\":\"kept_back\",\"by\":\"gate\"");
    expect_record("1h-2", "\"standing\":\"champion\",\"by\":\"request\",\"reason\":\"promoted by"
                          " request\"");
    expect_record("1h-2", "\"verdict\":\"rolled back by request\"");
}

static void regret_rolls_back_once_and_then_withdraws(void **state)
{
    struct error error = {0};
    struct regret_verdict verdict = {.to_previous = true, .champion = "1h-2", .reason = "lost"};
    char serving[48];
    size_t kept, champions;
    (void)state;
    assert_int_equal(catalogue_regret(catalogue, HOUR_MS, &verdict, &error), STATUS_CONFLICT);
    assert_int_equal(catalogue_promote(catalogue, "1h-2", &error), STATUS_OK);
    assert_int_equal(catalogue_regret(catalogue, HOUR_MS, &verdict, &error), STATUS_OK);
    assert_string_equal(champion_id(serving), "1h-1");
    expect_record("1h-2", "\"standing\":\"kept_back\",\"by\":\"regret\",\"reason\":\"lost\"");
    /* The same verdict again: it is about one that serves no more. */
    assert_int_equal(catalogue_regret(catalogue, HOUR_MS, &verdict, &error), STATUS_CONFLICT);
    assert_string_equal(champion_id(serving), "1h-1");
    /* The one that came back loses too and has none before it: the baseline serves. */
    snprintf(verdict.champion, sizeof(verdict.champion), "1h-1");
    assert_int_equal(catalogue_regret(catalogue, HOUR_MS, &verdict, &error), STATUS_OK);
    assert_string_equal(champion_id(serving), "");
    waves_close();
    waves_open(); /* and it stays so */
    assert_string_equal(champion_id(serving), "");
    catalogue_counts(catalogue, &kept, &champions);
    assert_int_equal(champions, 0);
    expect_record("1h-1", "\"by\":\"regret\"");
    assert_int_equal(catalogue_promote(catalogue, "1h-1", &error), STATUS_OK); /* by hand it can */
    assert_string_equal(champion_id(serving), "1h-1");
}

/* Withdrawn with a previous one at hand, because the baseline is better than both. */
static void the_baseline_takes_over_from_two(void **state)
{
    struct error error = {0};
    struct regret_verdict verdict = {.champion = "1h-2", .reason = "lost to the baseline"};
    char serving[48];
    (void)state;
    assert_int_equal(catalogue_promote(catalogue, "1h-2", &error), STATUS_OK);
    assert_int_equal(catalogue_regret(catalogue, HOUR_MS, &verdict, &error), STATUS_OK);
    assert_string_equal(champion_id(serving), "");
    waves_close();
    waves_open();
    assert_string_equal(champion_id(serving), "");
    expect_record("1h-1", "\"verdict\":\"the baseline serves: 1h-2 was withdrawn\"");
    assert_int_equal(catalogue_rollback(catalogue, HOUR_MS, &error), STATUS_NOT_FOUND);
    assert_int_equal(catalogue_promote(catalogue, "1h-1", &error), STATUS_OK);
}

static void old_models_are_removed_with_their_records(void **state)
{
    char id[48] = "", serving[48];
    size_t kept, champions;
    (void)state;
    for (uint64_t i = 0; i < 6; i++) {
        admit(10 + i, i % 2 == 0, id);
    }
    assert_string_equal(id, "1h-8");
    assert_string_equal(champion_id(serving), "1h-7");
    catalogue_counts(catalogue, &kept, &champions);
    assert_in_range(kept, 3, 6);
    assert_int_equal(count_files(".safetensors"), kept);
    assert_int_equal(champions, 1);
}

static void ignore_line(void *context, const char *line)
{
    size_t *findings = context;
    assert_non_null(strstr(line, "1h-7"));
    ++*findings;
}

static void a_damaged_champion_is_put_aside_and_the_previous_serves(void **state)
{
    char path[128], serving[48];
    size_t checked = 0, findings = 0;
    struct error error = {0};
    (void)state;
    snprintf(path, sizeof(path), "%s/1h-7.safetensors", models);
    assert_int_equal(
        catalogue_check(services.storage, models, ignore_line, &findings, &checked, &error),
        STATUS_OK);
    FILE *file = fopen(path, "r+b");
    assert_non_null(file);
    fseek(file, -100, SEEK_END);
    fputs("damaged", file);
    fclose(file);
    assert_int_equal(
        catalogue_check(services.storage, models, ignore_line, &findings, &checked, &error),
        STATUS_CORRUPT);
    assert_int_equal(findings, 1);
    waves_close();
    waves_open();
    assert_string_equal(champion_id(serving), "1h-5");
    assert_int_equal(count_files(".corrupt"), 1);
    assert_int_equal(access(path, F_OK), -1);
    assert_int_equal(catalogue_damaged(catalogue), 1);
    waves_close(); /* and it stays so */
    waves_open();
    assert_string_equal(champion_id(serving), "1h-5");
    assert_int_equal(catalogue_damaged(catalogue), 0);
}

/* Cut off, or empty, as after a crash on a disk that lies. */
static void a_truncated_champion_is_put_aside_too(void **state)
{
    char id[48], path[128], serving[48], before[48];
    (void)state;
    champion_id(before);
    for (int i = 0; i < 2; i++) {
        admit(30 + (uint64_t)i, true, id);
        snprintf(path, sizeof(path), "%s/%s.safetensors", models, id);
        assert_int_equal(truncate(path, i == 0 ? 0 : 1000), 0);
        waves_close();
        waves_open();
        assert_string_equal(champion_id(serving), before);
        assert_int_equal(catalogue_damaged(catalogue), 1);
        assert_int_equal(access(path, F_OK), -1);
    }
}

static void count_published(void *context)
{
    (void)context;
    published++;
}

/* Waits for the end of `count` trainings, which take seconds; the limit is for what hangs. A lane
 * is a nice thread, so other work on the machine comes first. */
static void wait_for_training(struct scheduler *scheduler, uint64_t count)
{
    struct scheduler_stats stats;
    for (int i = 0; i < 30000; i++) {
        scheduler_stats(scheduler, &stats);
        if (stats.trained + stats.failed >= count && !stats.training) {
            assert_int_equal(stats.failed, 0);
            assert_int_equal(stats.promoted + stats.kept_back, stats.trained);
            return;
        }
        clock_sleep_ms(10);
    }
    fail_msg("no training ended");
}

static int64_t overdue_ms; /* of the next scheduler; 0 = its own rule */

static struct scheduler *start(int64_t every_ms, int64_t first_delay_ms)
{
    struct scheduler *scheduler = NULL;
    struct error error = {0};
    struct scheduler_options options = {
        .services = &services,
        .catalogue = catalogue,
        .settings = {.every_ms = every_ms,
                     .seconds = 1,
                     .seed = 1,
                     .overdue_ms = overdue_ms,
                     .first_delay_ms = first_delay_ms},
        .published = count_published,
    };
    assert_int_equal(scheduler_start(&options, &scheduler, &error), STATUS_OK);
    return scheduler;
}

/* Live losses are told; the scheduler's next look acts on them, once. */
static void the_scheduler_rolls_a_regretted_champion_back(void **state)
{
    struct error error = {0};
    struct scheduler_stats stats = {0};
    char serving[48];
    unsigned before = published;
    (void)state;
    assert_int_equal(catalogue_promote(catalogue, "1h-2", &error), STATUS_OK);
    for (int window = 0; window < 10; window++) {
        struct regret_losses losses = {.window = window,
                                       .count = 50,
                                       .champion = 100.0 + window % 3,
                                       .baseline = 110.0,
                                       .rival_count = 50,
                                       .champion_again = 100.0 + window % 3,
                                       .rival = 50.0};
        regret_add(services.regret, HOUR_MS, "1h-2", "1h-1", &losses);
    }
    struct scheduler *scheduler = start(86400000, 86400000);
    for (int i = 0; i < 3000 && stats.rolled_back == 0; i++) {
        clock_sleep_ms(10);
        scheduler_stats(scheduler, &stats);
    }
    assert_int_equal(stats.rolled_back, 1);
    assert_string_equal(champion_id(serving), "1h-1");
    clock_sleep_ms(2500); /* another look */
    scheduler_stats(scheduler, &stats);
    assert_int_equal(stats.rolled_back, 1);
    assert_int_equal(published, before + 1);
    published = before;
    expect_record("1h-2", "\"by\":\"regret\",\"reason\":\"live regret: pinball 2.0");
    scheduler_stop(scheduler);
    waves_close(); /* a closed job table takes no more */
    waves_open();
}

static void a_posted_job_trains_and_is_judged(void **state)
{
    struct error error = {0};
    struct job job = {.kind = "train", .steps = 2};
    struct scheduler *scheduler = start(86400000, 86400000);
    size_t kept, before, champions;
    (void)state;
    catalogue_counts(catalogue, &before, &champions);
    assert_int_equal(job_add(services.jobs, &job, &error), STATUS_OK);
    wait_for_training(scheduler, 1);
    catalogue_counts(catalogue, &kept, &champions);
    assert_true(kept >= before);
    assert_int_equal(champions, 1);
    scheduler_stop(scheduler);
}

/* What a training of so much memory in all says that its tapes would get: too little, here. */
static void expect_tapes(size_t memory_max, size_t rest)
{
    struct api_worker *worker = NULL;
    struct train_outcome outcome;
    struct error error = {0};
    char text[64];
    struct train_request train = {
        .config = services.model_config, .steps = 2, .lanes = 1, .memory_max = memory_max};
    assert_int_equal(api_worker_new(&services, &worker, &error), STATUS_OK);
    assert_int_equal(
        train_group(worker, services.registry, catalogue, HOUR_MS, &train, &outcome, &error),
        STATUS_NO_MEMORY);
    snprintf(text, sizeof(text), "within %zu bytes", rest);
    if (strstr(error.text, text) == NULL) {
        fail_msg("%s, not %s", error.text, text);
    }
    api_worker_free(worker);
}

static void values_and_tapes_share_the_memory(void **state)
{
    (void)state;
    waves_close();
    waves_open();
    size_t series = POINTS * sizeof(double);
    expect_tapes(64 << 10, (64 << 10) - 2 * series);
    expect_tapes(16 << 10, (16 << 10) - series); /* half is not enough for both */
    assert_int_equal(train_group_bytes(0), 256 << 20);
    assert_int_equal(train_group_bytes(128 << 20), 64 << 20);
}

static void stopping_cancels_a_training(void **state)
{
    struct error error = {0};
    struct job job = {.kind = "train", .seconds = 600};
    struct scheduler_stats stats = {0};
    (void)state;
    waves_close(); /* a closed job table takes no more */
    waves_open();
    struct scheduler *scheduler = start(86400000, 86400000);
    assert_int_equal(job_add(services.jobs, &job, &error), STATUS_OK);
    while (!stats.training) {
        clock_sleep_ms(5);
        scheduler_stats(scheduler, &stats);
    }
    clock_sleep_ms(300);
    int64_t begin_ns = clock_monotonic_ns();
    assert_false(scheduler_ends_by(scheduler, begin_ns)); /* at once is too soon */
    assert_true(scheduler_ends_by(scheduler, begin_ns + INT64_C(5000000000)));
    scheduler_stop(scheduler);
    assert_true(clock_monotonic_ns() - begin_ns < INT64_C(5000000000));
}

static void wait_for_failure(struct scheduler *scheduler)
{
    struct scheduler_stats stats = {0};
    for (int i = 0; i < 30000 && (stats.failed == 0 || stats.training); i++) { /* as above */
        clock_sleep_ms(10);
        scheduler_stats(scheduler, &stats);
    }
    assert_int_equal(stats.failed, 1);
}

static void expect_failed_job(const char *reason)
{
    static struct job_view jobs[JOBS_MAX];
    size_t count = job_list(services.jobs, jobs, JOBS_MAX);
    for (size_t i = 0; i < count; i++) {
        if (jobs[i].state == JOB_FAILED && strstr(jobs[i].error, reason) != NULL) {
            return;
        }
    }
    fail_msg("no job failed with \"%s\"", reason);
}

/* It would go on for ever; the champion stays, and the next training works. */
static void a_trainer_that_hangs_is_stopped(void **state)
{
    struct error error = {0};
    struct job endless = {.kind = "train", .steps = 2000000000};
    struct job next = {.kind = "train", .steps = 2};
    char before[48], after[48];
    struct scheduler_stats stats = {0};
    (void)state;
    waves_close();
    waves_open();
    champion_id(before);
    overdue_ms = 700;
    struct scheduler *scheduler = start(86400000, 86400000);
    overdue_ms = 0;
    assert_int_equal(job_add(services.jobs, &endless, &error), STATUS_OK);
    wait_for_failure(scheduler);
    expect_failed_job("stopped by the watchdog");
    assert_string_equal(champion_id(after), before);
    struct training_settings settings = {
        .every_ms = 86400000, .seconds = 1, .seed = 1, .first_delay_ms = 86400000};
    scheduler_configure(scheduler, &settings);
    assert_int_equal(job_add(services.jobs, &next, &error), STATUS_OK);
    for (int i = 0; i < 6000 && stats.trained == 0; i++) {
        clock_sleep_ms(10);
        scheduler_stats(scheduler, &stats);
    }
    assert_int_equal(stats.trained, 1);
    scheduler_stop(scheduler);
}

static void wait_for_job(const char *id, struct job_view *view)
{
    for (int i = 0; i < 30000; i++) { /* as above */
        assert_true(job_find(services.jobs, id, view));
        job_view_release(view);
        if (view->state != JOB_QUEUED && view->state != JOB_RUNNING) {
            return;
        }
        clock_sleep_ms(10);
    }
    fail_msg("the job \"%s\" did not end", id);
}

/* The limit is one for all its seeds, though each of them is soon over. */
static void a_backtest_of_too_many_seeds_is_stopped(void **state)
{
    static struct job_view view;
    struct error error = {0};
    struct job slow = {
        .kind = "backtest", .windows = 1, .horizon = 6, .steps = 2, .seeds = BACKTEST_SEEDS_MAX};
    struct job long_job = {
        .kind = "backtest", .windows = 1, .horizon = 6, .seconds = 86400, .seeds = 2};
    (void)state;
    waves_close();
    waves_open();
    overdue_ms = 700;
    struct scheduler *scheduler = start(86400000, 86400000);
    overdue_ms = 0;
    assert_int_equal(job_add(services.jobs, &slow, &error), STATUS_OK);
    wait_for_job(slow.id, &view);
    assert_int_equal(view.state, JOB_FAILED);
    assert_non_null(strstr(view.error, "stopped by the watchdog"));
    assert_true(view.progress < 1.0);
    /* Seconds that may be the configuration's are looked at before anything is done. */
    assert_int_equal(job_add(services.jobs, &long_job, &error), STATUS_OK);
    wait_for_job(long_job.id, &view);
    assert_int_equal(view.state, JOB_FAILED);
    assert_non_null(strstr(view.error, "2 seeds of 86400 seconds each take longer"));
    scheduler_stop(scheduler);
}

/* A loss that is not finite, also at the smaller rate that is tried next, ends the training. */
static void a_trainer_that_diverges_fails(void **state)
{
    struct error error = {0};
    struct job job = {.kind = "train", .steps = 40};
    char before[48], after[48];
    (void)state;
    waves_close();
    waves_open();
    champion_id(before);
    snprintf(services.model_config.member_options, sizeof(services.model_config.member_options),
             "beta2=1"); /* the optimiser divides by nothing */
    struct scheduler *scheduler = start(86400000, 86400000);
    assert_int_equal(job_add(services.jobs, &job, &error), STATUS_OK);
    wait_for_failure(scheduler);
    expect_failed_job("diverged");
    assert_string_equal(champion_id(after), before);
    services.model_config.member_options[0] = '\0';
    scheduler_stop(scheduler);
}

/* An empty catalogue and enough data: the clock alone brings the first model. */
static void a_new_group_gets_its_first_model_by_itself(void **state)
{
    char serving[48];
    (void)state;
    waves_close();
    remove_folder(models);
    waves_open(); /* records without files: put aside one by one */
    assert_string_equal(champion_id(serving), "");
    struct scheduler *scheduler = start(86400000, 100);
    wait_for_training(scheduler, 1);
    scheduler_stop(scheduler);
    if (published > 0) {
        assert_string_not_equal(champion_id(serving), "");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_promoted_model_serves_and_survives_a_restart),
        cmocka_unit_test(promotion_and_rollback_are_recorded),
        cmocka_unit_test(every_decision_stands_in_the_record),
        cmocka_unit_test(regret_rolls_back_once_and_then_withdraws),
        cmocka_unit_test(the_baseline_takes_over_from_two),
        cmocka_unit_test(the_scheduler_rolls_a_regretted_champion_back),
        cmocka_unit_test(old_models_are_removed_with_their_records),
        cmocka_unit_test(a_damaged_champion_is_put_aside_and_the_previous_serves),
        cmocka_unit_test(a_posted_job_trains_and_is_judged),
        cmocka_unit_test(values_and_tapes_share_the_memory),
        cmocka_unit_test(stopping_cancels_a_training),
        cmocka_unit_test(a_trainer_that_hangs_is_stopped),
        cmocka_unit_test(a_backtest_of_too_many_seeds_is_stopped),
        cmocka_unit_test(a_trainer_that_diverges_fails),
        cmocka_unit_test(a_truncated_champion_is_put_aside_too),
        cmocka_unit_test(a_new_group_gets_its_first_model_by_itself),
    };
    return cmocka_run_group_tests(tests, waves_prepare, waves_clean_up);
}
