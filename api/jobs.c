/* The table of background jobs: queued by requests, run by the scheduler, the newest kept for a
 * while. SPDX-License-Identifier: Apache-2.0
 *
 * A fixed array: the oldest ended job makes room for a new one. The scheduler holds the address of
 * the job it runs; such a job is never moved or reused before job_end. What it reads from it
 * (seconds, steps, backbone ...) does not change once the job is queued; what it reports goes
 * through job_progress and job_end under the lock.
 */
#include "api/jobs.h"

#include "base/check.h"
#include "base/clock.h"
#include "base/lock.h"
#include "base/memory.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* Counted: by its job, and by views of it. */
struct job_detail {
    atomic_uint references;
    char json[];
};

struct job_table {
    struct lock lock;
    struct condition queued;
    struct job jobs[JOBS_MAX]; /* guarded by lock, as all below; an empty id: free */
    uint64_t next_number;
    bool closed;
};

enum status job_table_new(struct job_table **out, struct error *error)
{
    struct job_table *table = mem_zeroed(1, sizeof(*table));
    if (!table) {
        return error_set(error, STATUS_NO_MEMORY, "no memory for the table of jobs");
    }
    lock_init(&table->lock);
    condition_init(&table->queued);
    table->next_number = 1;
    *out = table;
    return STATUS_OK;
}

static struct job_detail *detail_new(const char *json, size_t length)
{
    struct job_detail *detail = mem_alloc(sizeof(*detail) + length + 1);
    if (detail) {
        atomic_init(&detail->references, 1);
        memcpy(detail->json, json, length + 1);
    }
    return detail;
}

static void detail_release(struct job_detail *detail)
{
    if (detail && atomic_fetch_sub(&detail->references, 1) == 1) {
        mem_free(detail);
    }
}

void job_table_free(struct job_table *table)
{
    if (table) {
        for (size_t i = 0; i < JOBS_MAX; i++) {
            detail_release(table->jobs[i].detail);
        }
        condition_release_memory(&table->queued);
        lock_release_memory(&table->lock);
        mem_free(table);
    }
}

static bool ended(const struct job *job)
{
    return job->state == JOB_DONE || job->state == JOB_FAILED || job->state == JOB_CANCELLED;
}

/* A free place, or the one of the job that ended first; NULL where none has. */
static struct job *find_place(struct job_table *table)
{
    struct job *oldest = NULL;
    for (size_t i = 0; i < JOBS_MAX; i++) {
        struct job *job = &table->jobs[i];
        if (!job->id[0]) {
            return job;
        }
        if (ended(job) && !job->given_up && (!oldest || job->created_ms < oldest->created_ms)) {
            oldest = job;
        }
    }
    return oldest;
}

static enum status add_locked(struct job_table *table, struct job *request, struct error *error)
{
    for (size_t i = 0; i < JOBS_MAX; i++) {
        const struct job *job = &table->jobs[i];
        if (job->id[0] && job->state == JOB_QUEUED && strcmp(job->kind, request->kind) == 0) {
            error_set(error, STATUS_CONFLICT, "the job \"%s\" is queued already", job->id);
            return error_code(error, "job_queued", NULL);
        }
    }
    struct job *place = find_place(table);
    if (!place || table->closed) {
        error_set(error, STATUS_BUSY, table->closed ? "the daemon is stopping" : "too many jobs");
        return error_code(error, "jobs_full", NULL);
    }
    snprintf(request->id, sizeof(request->id), "%.12s-%llu", request->kind,
             (unsigned long long)table->next_number++);
    request->state = JOB_QUEUED;
    request->created_ms = clock_wall_ms();
    request->progress = 0.0;
    request->loss = (double)NAN;
    request->seconds_left = (double)NAN;
    atomic_store(&request->cancel, false);
    request->given_up = false;
    request->detail = NULL;
    detail_release(place->detail);
    *place = *request;
    return STATUS_OK;
}

enum status job_add(struct job_table *table, struct job *request, struct error *error)
{
    lock_acquire(&table->lock);
    enum status status = add_locked(table, request, error);
    lock_release(&table->lock);
    if (status == STATUS_OK) {
        condition_broadcast(&table->queued);
    }
    return status;
}

static struct job *oldest_queued(struct job_table *table)
{
    struct job *oldest = NULL;
    for (size_t i = 0; i < JOBS_MAX; i++) {
        struct job *job = &table->jobs[i];
        if (job->id[0] && job->state == JOB_QUEUED &&
            (!oldest || job->created_ms < oldest->created_ms)) {
            oldest = job;
        }
    }
    return oldest;
}

struct job *job_take(struct job_table *table)
{
    lock_acquire(&table->lock);
    struct job *job = table->closed ? NULL : oldest_queued(table);
    if (job) {
        job->state = JOB_RUNNING;
        job->started_ms = clock_wall_ms();
    }
    lock_release(&table->lock);
    return job;
}

void job_progress(struct job_table *table, struct job *job, const struct train_progress *progress)
{
    lock_acquire(&table->lock);
    if (!job->given_up) {
        job->progress = progress->fraction;
        job->step = progress->step;
        job->loss = progress->loss;
        job->seconds_left = progress->seconds_left;
        snprintf(job->phase, sizeof(job->phase), "%s", progress->phase ? progress->phase : "");
    }
    lock_release(&table->lock);
}

void job_give_up(struct job_table *table, struct job *job, const char *error)
{
    lock_acquire(&table->lock);
    CHECK(job->state == JOB_RUNNING);
    job->state = JOB_FAILED;
    job->ended_ms = clock_wall_ms();
    job->seconds_left = 0.0;
    job->given_up = true;
    snprintf(job->error, sizeof(job->error), "%s", error);
    lock_release(&table->lock);
}

/* Under the lock: whether nobody waits for its end any more. */
static bool end_given_up(struct job *job)
{
    bool given_up = job->given_up;
    job->given_up = false;
    return given_up;
}

void job_end(struct job_table *table, struct job *job, enum job_state state,
             const char *result_json, const char *error)
{
    size_t length = result_json ? strlen(result_json) : 0;
    bool is_long = length >= sizeof(job->result);
    struct job_detail *detail =
        is_long && length <= JOB_RESULT_MAX ? detail_new(result_json, length) : NULL;
    if (is_long && !detail) { /* a cut result would be broken JSON: then rather none */
        error = "the result is too large to be kept";
    }
    lock_acquire(&table->lock);
    if (end_given_up(job)) {
        lock_release(&table->lock);
        detail_release(detail);
        return;
    }
    CHECK(job->state == JOB_RUNNING);
    job->state = state;
    job->ended_ms = clock_wall_ms();
    job->seconds_left = 0.0;
    if (state == JOB_DONE) {
        job->progress = 1.0;
    }
    snprintf(job->result, sizeof(job->result), "%s", result_json && !is_long ? result_json : "");
    job->detail = detail;
    snprintf(job->error, sizeof(job->error), "%s", error ? error : "");
    lock_release(&table->lock);
}

bool job_wait(struct job_table *table, int64_t timeout_ms)
{
    lock_acquire(&table->lock);
    bool found = oldest_queued(table) != NULL;
    if (!found && !table->closed) {
        condition_wait_for(&table->queued, &table->lock, timeout_ms);
        found = oldest_queued(table) != NULL;
    }
    found = found && !table->closed;
    lock_release(&table->lock);
    return found;
}

void job_close(struct job_table *table)
{
    lock_acquire(&table->lock);
    table->closed = true;
    for (size_t i = 0; i < JOBS_MAX; i++) {
        struct job *job = &table->jobs[i];
        if (job->id[0] && job->state == JOB_QUEUED) {
            job->state = JOB_CANCELLED;
            job->ended_ms = clock_wall_ms();
        } else if (job->id[0] && job->state == JOB_RUNNING) {
            atomic_store(&job->cancel, true);
        }
    }
    lock_release(&table->lock);
    condition_broadcast(&table->queued);
}

bool job_is_closed(struct job_table *table)
{
    lock_acquire(&table->lock);
    bool closed = table->closed;
    lock_release(&table->lock);
    return closed;
}

/* ---------------------------------------------------------------- for the routes */

static void view(const struct job *job, struct job_view *out)
{
    *out = (struct job_view){
        .state = job->state,
        .created_ms = job->created_ms,
        .started_ms = job->started_ms,
        .ended_ms = job->ended_ms,
        .progress = job->progress,
        .loss = job->loss,
        .seconds_left = job->seconds_left,
        .step = job->step,
        .given_up = job->given_up,
    };
    memcpy(out->id, job->id, sizeof(out->id));
    memcpy(out->kind, job->kind, sizeof(out->kind));
    memcpy(out->phase, job->phase, sizeof(out->phase));
    memcpy(out->result, job->result, sizeof(out->result));
    memcpy(out->error, job->error, sizeof(out->error));
    memcpy(out->backbone, job->backbone, sizeof(out->backbone));
}

size_t job_list(struct job_table *table, struct job_view *out, size_t maximum)
{
    size_t count = 0;
    lock_acquire(&table->lock);
    for (size_t i = 0; i < JOBS_MAX && count < maximum; i++) {
        if (table->jobs[i].id[0]) {
            view(&table->jobs[i], &out[count++]);
        }
    }
    lock_release(&table->lock);
    for (size_t i = 1; i < count; i++) { /* at most 64: insertion sort, newest first */
        struct job_view moved = out[i];
        size_t j = i;
        for (; j > 0 &&
               (out[j - 1].created_ms < moved.created_ms ||
                (out[j - 1].created_ms == moved.created_ms && strcmp(out[j - 1].id, moved.id) < 0));
             j--) {
            out[j] = out[j - 1];
        }
        out[j] = moved;
    }
    return count;
}

static struct job *find_locked(struct job_table *table, const char *id)
{
    for (size_t i = 0; i < JOBS_MAX; i++) {
        if (id[0] && strcmp(table->jobs[i].id, id) == 0) {
            return &table->jobs[i];
        }
    }
    return NULL;
}

bool job_find(struct job_table *table, const char *id, struct job_view *out)
{
    lock_acquire(&table->lock);
    const struct job *job = find_locked(table, id);
    if (job) {
        view(job, out);
        out->detail = job->detail;
    }
    if (job && job->detail) {
        atomic_fetch_add(&job->detail->references, 1);
    }
    lock_release(&table->lock);
    return job != NULL;
}

void job_view_release(struct job_view *view)
{
    detail_release(view->detail);
    view->detail = NULL;
}

enum status job_cancel(struct job_table *table, const char *id, struct error *error)
{
    enum status status = STATUS_OK;
    lock_acquire(&table->lock);
    struct job *job = find_locked(table, id);
    if (!job) {
        error_set(error, STATUS_NOT_FOUND, "there is no job \"%.40s\"", id);
        status = error_code(error, "unknown_job", NULL);
    } else if (ended(job)) {
        error_set(error, STATUS_CONFLICT, "the job \"%s\" is over already", id);
        status = error_code(error, "job_ended", NULL);
    } else {
        atomic_store(&job->cancel, true);
        if (job->state == JOB_QUEUED) {
            job->state = JOB_CANCELLED;
            job->ended_ms = clock_wall_ms();
        }
    }
    lock_release(&table->lock);
    return status;
}

const char *job_state_name(enum job_state state)
{
    static const char *const names[] = {"queued", "running", "done", "failed", "cancelled"};
    return names[state];
}

static void add_time(struct text *json, const char *name, int64_t time_ms)
{
    text_add_format(json, ",\"%s\":", name);
    if (time_ms > 0) {
        text_add_char(json, '"');
        text_add_time(json, time_ms);
        text_add_char(json, '"');
    } else {
        text_add_string(json, "null");
    }
}

void job_write(const struct job_view *job, struct text *json)
{
    text_add_format(json, "{\"id\":\"%s\",\"kind\":\"%s\",\"state\":\"%s\",\"progress\":", job->id,
                    job->kind, job_state_name(job->state));
    text_add_double_digits(json, job->progress, 4);
    text_add_format(json, ",\"step\":%llu,\"loss\":", (unsigned long long)job->step);
    text_add_double_digits(json, job->loss, 6);
    text_add_string(json, ",\"seconds_left\":");
    text_add_double_digits(json, job->seconds_left, 4);
    text_add_string(json, ",\"phase\":");
    text_add_json_string(json, job->phase, strlen(job->phase));
    add_time(json, "created_at", job->created_ms);
    add_time(json, "started_at", job->started_ms);
    add_time(json, "ended_at", job->ended_ms);
    const char *result = job->detail ? job->detail->json : job->result;
    text_add_string(json, ",\"result\":");
    text_add_string(json, result[0] ? result : "null");
    text_add_string(json, ",\"error\":");
    if (job->error[0]) {
        text_add_json_string(json, job->error, strlen(job->error));
    } else {
        text_add_string(json, "null");
    }
    text_add_char(json, '}');
}
