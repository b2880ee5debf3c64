/* Looking at jobs and ending them, for the routes; the rest of the table's door is in api.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef API_JOBS_H
#define API_JOBS_H

#include "api/api.h"

#define JOBS_MAX 64

/* What a client may know of a job: a copy. */
struct job_view {
    char id[24], kind[16];
    enum job_state state;
    int64_t created_ms, started_ms, ended_ms;
    double progress, loss, seconds_left;
    uint64_t step;
    char phase[48], result[512], error[320];
    char backbone[24];
    bool given_up;             /* failed, and still under way */
    struct job_detail *detail; /* a result too long for `result`; of job_find only */
};

/* Newest first; returns how many. Long results are left out. */
size_t job_list(struct job_table *table, struct job_view *out, size_t maximum);

/* Where it is found, job_view_release frees what the view holds. */
bool job_find(struct job_table *table, const char *id, struct job_view *out);
void job_view_release(struct job_view *view);

/* A queued job is cancelled at once, a running one is told to stop. STATUS_NOT_FOUND (unknown_job),
 * STATUS_CONFLICT (job_ended). */
enum status job_cancel(struct job_table *table, const char *id, struct error *error) MUST_USE;

const char *job_state_name(enum job_state state);

/* One job as the JSON object of the contract. */
void job_write(const struct job_view *job, struct text *json);

#endif
