/* The training plan by group, and the thread that works through the job table.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "server/scheduler.h"

#include "base/background.h"
#include "base/clock.h"
#include "base/lock.h"
#include "base/memory.h"
#include "base/random.h"
#include "server/backtest_job.h"
#include "server/quoted.h"
#include "server/threads.h"
#include "server/watchdog.h"

#include <malloc.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#define GROUPS_MAX       64
#define LOOK_MS          2000   /* between two looks at the plan */
#define FIRST_SECONDS    30.0   /* length of the first training of a group at most */
#define SECOND_AFTER_MS  600000 /* full training after the first short one, at the latest */
#define ADOPTED_WAIT_MS  60000
#define GROWTH           1.5    /* of the points of its group that makes a training due early ... */
#define GROWTH_WAIT_MS   300000 /* ... but not sooner after the last one */
#define NICE             19
#define REST_MAX         1 /* a training's end takes twice its time at most while requests pour in */
#define OVERDUE_GRACE_MS 300000
#define STOP_GRACE_MS    60000
#define DAY_MS           86400000

/* What the plan knows of a group. Times are monotonic milliseconds. */
struct plan {
    int64_t step_ms;
    int64_t seen_ms;
    int64_t last_ms;  /* end of the last attempt; 0 = none */
    int64_t from_ms;  /* train.every counts from here */
    int64_t every_ms; /* of due_ms */
    int64_t due_ms;   /* next by the clock; valid once last_ms is set */
    uint64_t stored;  /* points of the group at the last search */
    uint64_t points;  /* the same when the last attempt began */
    bool present;     /* the group had series at the last search */
    bool has_model;
    bool brief;   /* the last training was the first, short one */
    bool failed;  /* the last attempt, for a reason that may pass: the same points do again */
    bool in_vain; /* the last attempt had too few points for a model: it waits for more */
};

struct scheduler {
    struct api_services *services;
    struct catalogue *catalogue;
    void (*published)(void *context);
    void *context;
    pthread_t thread;
    struct watchdog *watchdog;
    struct api_worker *worker; /* scheduler's thread only, as below */
    struct plan plans[GROUPS_MAX];
    size_t plan_count;
    struct random random;
    bool cut;             /* there were more groups than plans: said once */
    uint64_t points_seen; /* when the groups were searched last */
    int64_t next_search_ms;
    struct lock lock;
    struct condition over;
    bool is_over; /* guarded by lock, as below: its thread */
    struct training_settings settings;
    struct scheduler_stats stats;
};

static int64_t now_ms(void)
{
    return clock_monotonic_ns() / 1000000;
}

static uint64_t stored_points(struct scheduler *scheduler)
{
    struct storage_stats stats;
    storage_stats(scheduler->services->storage, &stats);
    return stats.points;
}

static struct training_settings settings_of(struct scheduler *scheduler)
{
    lock_acquire(&scheduler->lock);
    struct training_settings settings = scheduler->settings;
    lock_release(&scheduler->lock);
    return settings;
}

static bool make_worker(struct scheduler *scheduler)
{
    struct error error = {0};
    if (scheduler->worker == NULL &&
        api_worker_new(scheduler->services, &scheduler->worker, &error) != STATUS_OK) {
        log_error("scheduler", "no worker", "reason=%s", QUOTED(error.text));
        scheduler->worker = NULL;
    }
    return scheduler->worker != NULL;
}

/* ---------------------------------------------------------------- the plan */

static struct plan *find_plan(struct scheduler *scheduler, int64_t step_ms)
{
    for (size_t i = 0; i < scheduler->plan_count; i++) {
        if (scheduler->plans[i].step_ms == step_ms) {
            return &scheduler->plans[i];
        }
    }
    return NULL;
}

/* A group of which nothing is known; where all places are taken, in that of one that is gone. NULL
 * where none is. */
static struct plan *add_plan(struct scheduler *scheduler, int64_t step_ms)
{
    struct plan *place = NULL;
    if (scheduler->plan_count < GROUPS_MAX) {
        place = &scheduler->plans[scheduler->plan_count++];
    }
    for (size_t i = 0; place == NULL && i < scheduler->plan_count; i++) {
        place = scheduler->plans[i].present ? NULL : &scheduler->plans[i];
    }
    if (place != NULL) {
        *place = (struct plan){.step_ms = step_ms, .seen_ms = now_ms()};
    }
    return place;
}

static int64_t jitter(struct scheduler *scheduler, int64_t every_ms)
{
    return (int64_t)((double)every_ms * (0.9 + 0.2 * random_uniform(&scheduler->random)));
}

/* When train.every asks for the next one; a model that was loaded is not replaced in the first
 * minute. */
static void plan_next(struct scheduler *scheduler, struct plan *plan)
{
    plan->every_ms = settings_of(scheduler).every_ms;
    int64_t wait_ms = jitter(scheduler, plan->every_ms);
    wait_ms = plan->brief && wait_ms > SECOND_AFTER_MS ? SECOND_AFTER_MS : wait_ms;
    plan->due_ms = plan->from_ms + wait_ms;
    if (plan->from_ms < plan->last_ms && plan->due_ms < plan->last_ms + ADOPTED_WAIT_MS) {
        plan->due_ms = plan->last_ms + ADOPTED_WAIT_MS;
    }
}

/* A model that was loaded at start: due when its age says so. */
static void adopt_model(struct scheduler *scheduler, struct plan *plan)
{
    struct snapshot *champion = registry_acquire(scheduler->services->registry, plan->step_ms);
    if (champion == NULL) {
        return;
    }
    int64_t age_ms = 0; /* by clocks that may have been set: of the future is new */
    if (__builtin_sub_overflow(clock_wall_ms(), snapshot_record(champion)->trained_at_ms,
                               &age_ms)) {
        age_ms = INT64_MAX;
    }
    snapshot_release(champion);
    plan->has_model = true;
    plan->points = plan->stored;
    plan->last_ms = now_ms();
    plan->from_ms = plan->last_ms - (age_ms > 1 ? age_ms : 1);
    plan_next(scheduler, plan);
}

static bool is_due(const struct plan *plan, const struct training_settings *settings)
{
    int64_t now = now_ms();
    if (plan->last_ms == 0) {
        return now - plan->seen_ms >= settings->first_delay_ms;
    }
    bool grown = (double)plan->stored >= GROWTH * (double)plan->points;
    if (plan->in_vain) {
        return grown && now - plan->last_ms >= settings->first_delay_ms;
    }
    return (plan->stored != plan->points || plan->failed) &&
           (now >= plan->due_ms || (grown && now - plan->last_ms >= GROWTH_WAIT_MS));
}

static void note_points(struct plan *plan, uint64_t points)
{
    plan->present = true;
    plan->stored = points;
}

/* Which groups there are now. Looks at all series, so it is done when points have come and rests in
 * proportion to what it took. */
static void find_groups(struct scheduler *scheduler, uint64_t points)
{
    int64_t steps_ms[GROUPS_MAX];
    size_t series_counts[GROUPS_MAX];
    uint64_t points_of[GROUPS_MAX];
    int64_t begin_ms = now_ms();
    if (points == scheduler->points_seen || begin_ms < scheduler->next_search_ms ||
        !make_worker(scheduler)) {
        return;
    }
    scheduler->points_seen = points;
    for (size_t i = 0; i < scheduler->plan_count; i++) {
        scheduler->plans[i].present = false;
    }
    size_t count =
        api_groups_points(scheduler->worker, steps_ms, series_counts, points_of, GROUPS_MAX);
    if (count > GROUPS_MAX && !scheduler->cut) {
        scheduler->cut = true;
        log_warning("scheduler", "more groups than are trained", "groups=%zu trained=%d", count,
                    GROUPS_MAX);
    }
    count = count > GROUPS_MAX ? GROUPS_MAX : count;
    for (size_t i = 0; i < count; i++) { /* first: a new group takes no place of one that stays */
        struct plan *plan = find_plan(scheduler, steps_ms[i]);
        if (plan != NULL) {
            note_points(plan, points_of[i]);
        }
    }
    for (size_t i = 0; i < count; i++) {
        struct plan *plan = NULL;
        if (find_plan(scheduler, steps_ms[i]) == NULL &&
            (plan = add_plan(scheduler, steps_ms[i])) != NULL) {
            note_points(plan, points_of[i]);
            adopt_model(scheduler, plan);
        }
    }
    scheduler->next_search_ms = now_ms() + 20 * (now_ms() - begin_ms);
}

/* When the clock asks for the next training, for whoever looks. */
static void note_next_due(struct scheduler *scheduler)
{
    int64_t first_ms = INT64_MAX;
    for (size_t i = 0; i < scheduler->plan_count; i++) {
        const struct plan *plan = &scheduler->plans[i];
        if (plan->present && plan->last_ms != 0 && !plan->in_vain && plan->due_ms < first_ms) {
            first_ms = plan->due_ms;
        }
    }
    lock_acquire(&scheduler->lock);
    scheduler->stats.next_due_ms =
        first_ms < INT64_MAX ? clock_wall_ms() + (first_ms - now_ms()) : 0;
    lock_release(&scheduler->lock);
}

/* Champions that live losses speak against. */
static void look_at_regret(struct scheduler *scheduler)
{
    for (size_t i = 0; i < scheduler->plan_count; i++) {
        int64_t step_ms = scheduler->plans[i].step_ms;
        struct regret_verdict verdict;
        struct error error = {0};
        if (!api_regret(scheduler->services, step_ms, &verdict)) {
            continue;
        }
        enum status status = catalogue_regret(scheduler->catalogue, step_ms, &verdict, &error);
        if (status == STATUS_OK || status == STATUS_CONFLICT) {
            api_regret_forget(scheduler->services, step_ms);
        }
        if (status == STATUS_OK) {
            lock_acquire(&scheduler->lock);
            scheduler->stats.rolled_back++;
            lock_release(&scheduler->lock);
            if (scheduler->published != NULL) {
                scheduler->published(scheduler->context);
            }
        } else if (status != STATUS_CONFLICT) { /* conflict: another one serves by now */
            log_error("scheduler", "champion not rolled back", "model=%s reason=%s",
                      verdict.champion, QUOTED(error.text));
        }
    }
}

/* Queues a job for the first group that is due; the others' turn comes when it is done. */
static void look_at_plan(struct scheduler *scheduler)
{
    uint64_t points = stored_points(scheduler);
    struct training_settings settings = settings_of(scheduler);
    find_groups(scheduler, points);
    for (size_t i = 0; i < scheduler->plan_count; i++) { /* SIGHUP may have brought another one */
        struct plan *plan = &scheduler->plans[i];
        if (plan->last_ms != 0 && plan->every_ms != settings.every_ms) {
            plan_next(scheduler, plan);
        }
    }
    note_next_due(scheduler);
    look_at_regret(scheduler);
    for (size_t i = 0; i < scheduler->plan_count; i++) {
        const struct plan *plan = &scheduler->plans[i];
        if (!plan->present || !is_due(plan, &settings)) {
            continue;
        }
        struct job job = {.kind = "train", .step_ms = plan->step_ms, .loss = (double)NAN};
        struct error error = {0};
        if (!plan->has_model && settings.seconds > FIRST_SECONDS) {
            job.seconds = FIRST_SECONDS;
        }
        if (job_add(scheduler->services->jobs, &job, &error) != STATUS_OK &&
            error.status != STATUS_CONFLICT) {
            log_warning("scheduler", "training not queued", "reason=%s", QUOTED(error.text));
        }
        return;
    }
}

/* Stopped ones count too: whoever cancels a training does not want it now, and what has overrun its
 * budget will again. */
static void note_attempt(struct scheduler *scheduler, int64_t step_ms, enum status status,
                         bool brief)
{
    struct plan *plan = find_plan(scheduler, step_ms);
    plan = plan != NULL ? plan : add_plan(scheduler, step_ms);
    if (plan == NULL) {
        return;
    }
    bool trained = status == STATUS_OK;
    plan->last_ms = plan->from_ms = now_ms();
    plan->points = plan->stored;
    plan->has_model = plan->has_model || trained;
    plan->in_vain = !plan->has_model && status == STATUS_INVALID;
    plan->failed = !plan->has_model && !plan->in_vain && status != STATUS_CANCELLED;
    plan->brief = brief && trained;
    plan_next(scheduler, plan);
}

/* ---------------------------------------------------------------- jobs */

struct progress_context {
    struct scheduler *scheduler;
    struct job *job;
    size_t index, count; /* of the groups of the job */
};

static void report_progress(void *context, const struct train_progress *progress)
{
    struct progress_context *at = context;
    struct train_progress whole = *progress;
    whole.fraction = ((double)at->index + progress->fraction) / (double)at->count;
    job_progress(at->scheduler->services->jobs, at->job, &whole);
}

static void count_outcome(struct scheduler *scheduler, enum status status,
                          const struct train_outcome *outcome)
{
    lock_acquire(&scheduler->lock);
    scheduler->stats.group_step_ms = 0;
    scheduler->stats.last_ended_ms = clock_wall_ms();
    if (status == STATUS_OK) {
        scheduler->stats.trained++;
        scheduler->stats.promoted += outcome->promoted;
        scheduler->stats.kept_back += !outcome->promoted;
        scheduler->stats.last_seconds = outcome->seconds;
        scheduler->stats.last_series = outcome->series;
        scheduler->stats.last_series_total = outcome->series_total;
        scheduler->stats.last_windows = outcome->windows;
        scheduler->stats.last_windows_total = outcome->windows_total;
        scheduler->stats.last_sampled = outcome->sampled;
    } else if (status != STATUS_CANCELLED && !scheduler->stats.stuck) { /* else it is counted */
        scheduler->stats.failed++;
    }
    lock_release(&scheduler->lock);
}

/* What a job asks for, and the configuration for what it leaves open. */
static struct train_request request_of(struct scheduler *scheduler, struct progress_context *at)
{
    struct training_settings settings = settings_of(scheduler);
    struct job *job = at->job;
    struct train_request train = {
        .config = scheduler->services->model_config,
        .seconds = job->seconds > 0 ? job->seconds : (job->steps > 0 ? 0 : settings.seconds),
        .steps = job->steps,
        .seed = job->seed != 0 ? job->seed : settings.seed,
        .lanes = settings.lanes,
        .memory_max = settings.memory_max,
        .cancel = &job->cancel,
        .low_priority = true,
        .report = report_progress,
        .report_context = at,
    };
    if (job->backbone[0] != '\0' && strcmp(job->backbone, train.config.backbone) != 0) {
        snprintf(train.config.backbone, sizeof(train.config.backbone), "%s", job->backbone);
        train.config.options[0] = '\0'; /* they were another backbone's */
    }
    return train;
}

/* One group of a job; the outcome is added to `result` as JSON. */
static enum status run_group(struct scheduler *scheduler, struct progress_context *at,
                             int64_t step_ms, struct text *result, struct error *error)
{
    struct job *job = at->job;
    struct train_outcome outcome = {0};
    struct train_request train = request_of(scheduler, at);
    lock_acquire(&scheduler->lock);
    scheduler->stats.group_step_ms = step_ms;
    lock_release(&scheduler->lock);
    scheduler->next_search_ms = 0; /* what there is now, and not a while ago, is what it knows */
    find_groups(scheduler, stored_points(scheduler));
    enum status status = train_group(scheduler->worker, scheduler->services->registry,
                                     scheduler->catalogue, step_ms, &train, &outcome, error);
    malloc_trim(0);
    count_outcome(scheduler, status, &outcome);
    note_attempt(scheduler, step_ms, status, job->seconds == FIRST_SECONDS);
    if (status != STATUS_OK) {
        return status;
    }
    log_info("scheduler", outcome.promoted ? "champion replaced" : "challenger kept back",
             "model=%s seconds=%.1f reason=%s", outcome.id, outcome.seconds,
             QUOTED(outcome.reason));
    if (outcome.promoted && scheduler->published != NULL) {
        scheduler->published(scheduler->context);
    }
    text_add_format(result,
                    "%s{\"id\":\"%s\",\"promoted\":%s,\"reason\":", result->length ? "," : "",
                    outcome.id, outcome.promoted ? "true" : "false");
    text_add_json_string(result, outcome.reason, strlen(outcome.reason));
    text_add_char(result, '}');
    return STATUS_OK;
}

/* How long a job may take: its budget is for each of its trainings. */
static int64_t overdue_ms(struct scheduler *scheduler, const struct job *job, size_t trainings)
{
    struct training_settings settings = settings_of(scheduler);
    double seconds = job->seconds > 0 ? job->seconds : (job->steps > 0 ? 0 : settings.seconds);
    if (settings.overdue_ms > 0) {
        return settings.overdue_ms;
    }
    return seconds > 0 ? (int64_t)(2e3 * seconds * (double)trainings) + OVERDUE_GRACE_MS : DAY_MS;
}

struct watched_job {
    struct scheduler *scheduler;
    struct job *job;
};

/* By the watchdog, while the job's own thread is at what it does not stop. */
static void give_up(void *context)
{
    struct watched_job *watched = context;
    struct scheduler *scheduler = watched->scheduler;
    log_error("scheduler", "job given up, and all others wait: restart the daemon",
              "job=%s reason=\"it does not stop although it was told to\"", watched->job->id);
    job_give_up(scheduler->services->jobs, watched->job,
                "given up: it does not stop although it was told to");
    lock_acquire(&scheduler->lock);
    scheduler->stats.failed++;
    scheduler->stats.stuck = true;
    lock_release(&scheduler->lock);
}

static void overdue_begin(struct watched_job *watched, int64_t limit_ms)
{
    int64_t grace_ms = settings_of(watched->scheduler).grace_ms;
    struct watchdog_work work = {.cancel = &watched->job->cancel,
                                 .limit_ms = limit_ms,
                                 .grace_ms = grace_ms > 0 ? grace_ms : STOP_GRACE_MS,
                                 .give_up = give_up,
                                 .context = watched};
    watchdog_begin(watched->scheduler->watchdog, &work);
}

/* A job that the watchdog stopped was not cancelled: it failed. One that was given up has been
 * counted, and nothing that it says now changes that. */
static enum status overdue_end(struct watched_job *watched, enum status status, struct error *error)
{
    struct scheduler *scheduler = watched->scheduler;
    enum watchdog_verdict verdict = watchdog_end(scheduler->watchdog);
    if (verdict == WATCHDOG_GIVEN_UP) {
        log_warning("scheduler", "job ended that was given up", "job=%s", watched->job->id);
        lock_acquire(&scheduler->lock);
        scheduler->stats.stuck = false;
        lock_release(&scheduler->lock);
    }
    return verdict == WATCHDOG_BITTEN && status == STATUS_CANCELLED
               ? error_set(error, STATUS_TIMEOUT,
                           "stopped by the watchdog: it took far longer than its budget")
               : status;
}

static void end_cancelled(struct scheduler *scheduler, struct job *job)
{
    struct job_table *jobs = scheduler->services->jobs;
    log_info("scheduler", "job cancelled", "job=%s reason=%s", job->id,
             job_is_closed(jobs) ? "\"the daemon stops\"" : "\"it was asked for\"");
    job_end(jobs, job, JOB_CANCELLED, NULL, NULL);
}

static void run_training(struct scheduler *scheduler, struct job *job)
{
    int64_t steps_ms[GROUPS_MAX] = {job->step_ms};
    size_t series_counts[GROUPS_MAX], count = 1, trained = 0;
    struct text models, result;
    struct error error = {0}, first = {0};
    text_init(&models, 450);
    text_init(&result, sizeof(job->result) - 1);
    enum status status = STATUS_OK;
    if (job->step_ms == 0) {
        count = api_groups(scheduler->worker, steps_ms, series_counts, GROUPS_MAX);
        count = count > GROUPS_MAX ? GROUPS_MAX : count;
    }
    struct progress_context at = {.scheduler = scheduler, .job = job, .count = count};
    struct watched_job watched = {scheduler, job};
    overdue_begin(&watched, overdue_ms(scheduler, job, count));
    for (; at.index < count && status != STATUS_CANCELLED; at.index++) {
        status = run_group(scheduler, &at, steps_ms[at.index], &models, &error);
        trained += status == STATUS_OK;
        if (status != STATUS_OK && status != STATUS_CANCELLED) {
            log_warning("scheduler", "group not trained", "step_ms=%lld reason=%s",
                        (long long)steps_ms[at.index], QUOTED(error.text));
            first = first.status == STATUS_OK ? error : first;
        }
    }
    status = overdue_end(&watched, status, &error);
    if (status == STATUS_TIMEOUT) {
        log_error("scheduler", "training stopped", "reason=%s", QUOTED(error.text));
        first = error;
        count_outcome(scheduler, status, NULL);
    }
    text_add_format(&result, "{\"models\":[%s]}",
                    models.failed == STATUS_OK && models.bytes != NULL ? models.bytes : "");
    if (status == STATUS_CANCELLED) {
        end_cancelled(scheduler, job);
    } else { /* groups that failed beside others that were trained are told of too */
        bool done = trained > 0 && status != STATUS_TIMEOUT;
        const char *reason = count == 0 ? "no series has enough points yet" : first.text;
        job_end(scheduler->services->jobs, job, done ? JOB_DONE : JOB_FAILED,
                trained > 0 ? result.bytes : NULL, reason);
    }
    text_release(&models);
    text_release(&result);
}

/* Its forecasts are not in the budget: it has a day at least. */
static int64_t backtest_overdue_ms(struct scheduler *scheduler, const struct job *job)
{
    int64_t limit_ms = overdue_ms(scheduler, job, job->seeds > 0 ? job->seeds : 1);
    bool given = settings_of(scheduler).overdue_ms > 0;
    return given || limit_ms > DAY_MS ? limit_ms : DAY_MS;
}

static void run_backtest(struct scheduler *scheduler, struct job *job)
{
    struct progress_context at = {.scheduler = scheduler, .job = job, .count = 1};
    struct train_request train = request_of(scheduler, &at);
    struct error error = {0};
    struct text result;
    text_init(&result, JOB_RESULT_MAX);
    struct watched_job watched = {scheduler, job};
    overdue_begin(&watched, backtest_overdue_ms(scheduler, job));
    enum status status =
        backtest_job_run(scheduler->services, scheduler->worker, job, &train, &result, &error);
    status = overdue_end(&watched, status, &error);
    malloc_trim(0);
    if (status == STATUS_OK) {
        job_end(scheduler->services->jobs, job, JOB_DONE, result.bytes, NULL);
    } else if (status == STATUS_CANCELLED) {
        end_cancelled(scheduler, job);
    } else {
        log_warning("scheduler", "backtest failed", "job=%s reason=%s", job->id,
                    QUOTED(error.text));
        job_end(scheduler->services->jobs, job, JOB_FAILED, NULL, error.text);
    }
    text_release(&result);
}

static void set_training(struct scheduler *scheduler, bool training)
{
    lock_acquire(&scheduler->lock);
    scheduler->stats.training = training;
    lock_release(&scheduler->lock);
}

static void *scheduler_main(void *context)
{
    struct scheduler *scheduler = context;
    background_enter(NICE, REST_MAX);
    while (!job_is_closed(scheduler->services->jobs)) {
        if (!job_wait(scheduler->services->jobs, LOOK_MS)) {
            if (!job_is_closed(scheduler->services->jobs)) {
                look_at_plan(scheduler);
            }
            continue;
        }
        struct job *job = job_take(scheduler->services->jobs);
        if (job == NULL) {
            continue;
        }
        if (!make_worker(scheduler)) {
            job_end(scheduler->services->jobs, job, JOB_FAILED, NULL, "the store cannot be read");
            continue;
        }
        if (strcmp(job->kind, "backtest") == 0) {
            run_backtest(scheduler, job);
            continue;
        }
        set_training(scheduler, true);
        run_training(scheduler, job);
        set_training(scheduler, false);
    }
    api_worker_free(scheduler->worker);
    lock_acquire(&scheduler->lock);
    scheduler->is_over = true;
    condition_signal(&scheduler->over);
    lock_release(&scheduler->lock);
    return NULL;
}

/* ---------------------------------------------------------------- start and stop */

enum status scheduler_start(const struct scheduler_options *options, struct scheduler **out,
                            struct error *error)
{
    struct scheduler *scheduler = mem_zeroed(1, sizeof(*scheduler));
    if (scheduler == NULL) {
        return error_set(error, STATUS_NO_MEMORY, "could not start the scheduler: out of memory");
    }
    uint64_t seed;
    random_secret(&seed, sizeof(seed));
    random_init(&scheduler->random, seed, 0);
    scheduler->services = options->services;
    scheduler->catalogue = options->catalogue;
    scheduler->settings = options->settings;
    scheduler->published = options->published;
    scheduler->context = options->context;
    lock_init(&scheduler->lock);
    condition_init(&scheduler->over);
    enum status status = watchdog_start(&scheduler->watchdog, error);
    if (status == STATUS_OK) {
        status = thread_start(&scheduler->thread, "scheduler", scheduler_main, scheduler, error);
    }
    if (status != STATUS_OK) {
        watchdog_stop(scheduler->watchdog);
        condition_release_memory(&scheduler->over);
        lock_release_memory(&scheduler->lock);
        mem_free(scheduler);
        return status;
    }
    *out = scheduler;
    return STATUS_OK;
}

void scheduler_configure(struct scheduler *scheduler, const struct training_settings *settings)
{
    lock_acquire(&scheduler->lock);
    scheduler->settings = *settings;
    lock_release(&scheduler->lock);
}

void scheduler_stats(struct scheduler *scheduler, struct scheduler_stats *stats)
{
    lock_acquire(&scheduler->lock);
    *stats = scheduler->stats;
    lock_release(&scheduler->lock);
}

bool scheduler_ends_by(struct scheduler *scheduler, int64_t until_ns)
{
    if (scheduler == NULL) {
        return true;
    }
    job_close(scheduler->services->jobs);
    lock_acquire(&scheduler->lock);
    for (int64_t left_ns; !scheduler->is_over && (left_ns = until_ns - clock_monotonic_ns()) > 0;) {
        condition_wait_for(&scheduler->over, &scheduler->lock, left_ns / 1000000 + 1);
    }
    bool is_over = scheduler->is_over;
    lock_release(&scheduler->lock);
    return is_over;
}

void scheduler_stop(struct scheduler *scheduler)
{
    if (scheduler == NULL) {
        return;
    }
    job_close(scheduler->services->jobs);
    pthread_join(scheduler->thread, NULL);
    watchdog_stop(scheduler->watchdog);
    condition_release_memory(&scheduler->over);
    lock_release_memory(&scheduler->lock);
    mem_free(scheduler);
}
