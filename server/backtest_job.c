/* A backtest on stored points, as a job: it trains, forecasts and scores, and publishes nothing.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "server/backtest_job.h"

#include "base/clock.h"
#include "base/memory.h"
#include "base/series_name.h"
#include "server/backtest_report.h"
#include "server/scheduler.h"

#include <stdio.h>
#include <string.h>

#define ROWS_MAX    100
#define HORIZON_MAX 1024
#define SECONDS_MAX 86400.0 /* of several trainings together */

struct stored {
    struct api_services *services;
    struct api_group group;
    struct backtest_series *series;
    char **names;  /* [group.count] */
    size_t others; /* chosen, but of another step */
    size_t horizon;
};

static enum status name_series(struct stored *stored, struct error *error)
{
    size_t count = stored->group.count;
    stored->series = mem_zeroed(count + 1, sizeof(*stored->series));
    stored->names = mem_zeroed(count + 1, sizeof(*stored->names));
    bool made = stored->series != NULL && stored->names != NULL;
    for (size_t i = 0; i < count && made; i++) {
        char text[SERIES_TEXT_MAX];
        size_t length = storage_series_text(stored->services->storage, stored->group.ids[i], text);
        stored->names[i] = mem_alloc(length + 1);
        made = stored->names[i] != NULL;
        if (made) {
            memcpy(stored->names[i], text, length);
            stored->names[i][length] = '\0';
            stored->series[i] = (struct backtest_series){stored->names[i], stored->group.series[i]};
        }
    }
    return made ? STATUS_OK : error_set(error, STATUS_NO_MEMORY, "no memory for %zu series", count);
}

static void release(struct stored *stored)
{
    for (size_t i = 0; stored->names != NULL && i < stored->group.count; i++) {
        mem_free(stored->names[i]);
    }
    mem_free(stored->names);
    mem_free(stored->series);
    api_group_free(&stored->group);
}

/* Steps of the horizon: as asked, from a duration, or the configured ones. */
static enum status choose_horizon(const struct job *job, const struct train_request *train,
                                  int64_t step_ms, size_t *horizon, struct error *error)
{
    *horizon = job->horizon > 0 ? job->horizon : train->config.horizon;
    if (job->horizon_ms > 0) {
        *horizon = (size_t)((job->horizon_ms + step_ms - 1) / step_ms);
    }
    if (*horizon > HORIZON_MAX) {
        error_set(error, STATUS_INVALID, "the horizon has %zu steps; %d are the most", *horizon,
                  HORIZON_MAX);
        return error_code(error, "bad_field", "horizon");
    }
    return STATUS_OK;
}

static enum status load(struct api_worker *worker, const struct job *job,
                        const struct train_request *train, struct stored *stored,
                        struct error *error)
{
    struct selector *only = NULL;
    enum status status = STATUS_OK;
    if (job->selector[0] != '\0') {
        status = selector_parse(job->selector, strlen(job->selector), &only, error);
    }
    if (status != STATUS_OK) {
        return status;
    }
    struct api_group_order order = {.only = only,
                                    .values_max = SERIES_VALUES_MAX,
                                    .bytes_max = train_group_bytes(train->memory_max),
                                    .cancel = train->cancel};
    order.step_ms = api_group_step(worker, only, &stored->others);
    if (order.step_ms == 0) {
        status = error_set(error, STATUS_INVALID, "no series has enough points yet");
    } else {
        status = choose_horizon(job, train, order.step_ms, &stored->horizon, error);
    }
    if (status == STATUS_OK) {
        order.held_back = stored->horizon * job->windows;
        status = api_group_load(worker, &order, &stored->group, error);
    }
    selector_free(only);
    return status == STATUS_OK ? name_series(stored, error) : status;
}

/* One training a seed, told as one. */
struct seeds {
    const struct train_request *train; /* the job's; its seed is the first */
    struct backtest_report *report;
    size_t index, count;
    int64_t first_ns, this_ns; /* begin of the first, and of the one at hand */
};

static void report_seed(void *context, const struct train_progress *progress)
{
    const struct seeds *seeds = context;
    struct train_progress whole = *progress;
    char phase[48];
    if (seeds->count > 1) {
        double gone = (double)(clock_monotonic_ns() - seeds->this_ns) * 1e-9;
        double before = (double)(seeds->this_ns - seeds->first_ns) * 1e-9;
        double each =
            seeds->index > 0 ? before / (double)seeds->index : gone + progress->seconds_left;
        whole.fraction = ((double)seeds->index + progress->fraction) / (double)seeds->count;
        whole.seconds_left += each * (double)(seeds->count - 1 - seeds->index);
        snprintf(phase, sizeof(phase), "seed %zu of %zu, %s", seeds->index + 1, seeds->count,
                 progress->phase != NULL ? progress->phase : "");
        whole.phase = phase;
    }
    seeds->train->report(seeds->train->report_context, &whole);
}

/* The report refers to `first`, the result of the first seed. */
static enum status run_seeds(struct seeds *seeds, struct backtest_request *request,
                             struct backtest_result *first, struct error *error)
{
    enum status status = STATUS_OK;
    seeds->first_ns = clock_monotonic_ns();
    request->train.report = seeds->train->report != NULL ? report_seed : NULL;
    request->train.report_context = seeds;
    for (; seeds->index < seeds->count && status == STATUS_OK; seeds->index++) {
        struct backtest_result other = {0};
        struct backtest_result *result = seeds->index == 0 ? first : &other;
        seeds->this_ns = clock_monotonic_ns();
        request->train.seed = seeds->train->seed + seeds->index;
        status = backtest_run(request, result, error);
        if (status == STATUS_OK) {
            backtest_report_add(seeds->report, result);
        }
        backtest_release(&other);
    }
    return status;
}

static enum status evaluate(const struct job *job, const struct train_request *train,
                            const struct stored *stored, struct text *json, struct error *error)
{
    struct backtest_request request = {
        .series = stored->series,
        .series_count = stored->group.count,
        .horizon = stored->horizon,
        .windows = job->windows,
        .train = *train,
    };
    request.train.memory_max = train_tape_bytes(train->memory_max, &stored->group);
    struct backtest_result result = {0};
    struct backtest_report report = {
        .backbone = train->config.backbone,
        .horizon = request.horizon,
        .windows = request.windows,
        .left_out = stored->group.left_out + stored->group.unfit + stored->others,
        .seed = train->seed,
    };
    struct seeds seeds = {
        .train = train, .report = &report, .count = job->seeds > 0 ? job->seeds : 1};
    enum status status = run_seeds(&seeds, &request, &result, error);
    if (status == STATUS_OK) {
        backtest_report_json(&report, ROWS_MAX, json);
        status = text_status(json, "the result", error);
    }
    backtest_release(&result);
    return status;
}

/* A request is held against this with the seconds that it names; here are the configured ones. */
static enum status check_time(const struct job *job, const struct train_request *train,
                              struct error *error)
{
    if (job->seeds > 1 && train->seconds * (double)job->seeds > SECONDS_MAX) {
        error_set(error, STATUS_INVALID,
                  "%zu seeds of %g seconds each take longer than %g seconds, the most", job->seeds,
                  train->seconds, SECONDS_MAX);
        return error_code(error, "bad_field", "seeds");
    }
    return STATUS_OK;
}

enum status backtest_job_run(struct api_services *services, struct api_worker *worker,
                             const struct job *job, const struct train_request *train,
                             struct text *result, struct error *error)
{
    struct stored stored = {.services = services};
    enum status status = check_time(job, train, error);
    if (status == STATUS_OK) {
        status = load(worker, job, train, &stored, error);
    }
    if (status == STATUS_OK && stored.group.count == 0) {
        status = error_set(error, STATUS_INVALID, "no series has enough points yet");
    }
    if (status == STATUS_OK) {
        status = evaluate(job, train, &stored, result, error);
    }
    release(&stored);
    return status;
}
