/* POST /api/v1/train, POST /api/v1/backtest and the routes of jobs.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "api/handlers.h"
#include "api/jobs.h"
#include "api/json.h"
#include "api/query.h"
#include "base/series_name.h"
#include "model/backtest.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#define SECONDS_MAX    86400.0
#define STEPS_MAX      10000000
#define WINDOWS_MAX    100
#define WINDOWS_PRESET 4
#define JOBS_BYTES_MAX ((256u << 10) + JOB_RESULT_MAX)

#define TRAINING_FIELDS "seconds steps seed backbone"

/* What the scheduler will train: the configuration's head with this backbone, whose options are at
 * their presets unless it is the configured one. */
static enum status check_backbone(const struct model_config *configured, const char *name,
                                  struct error *error)
{
    enum status status = backbone_check(name, error);
    if (status != STATUS_OK) {
        return error_code(error, "bad_field", "backbone");
    }
    if (configured->backbone[0] == '\0' || strcmp(configured->backbone, name) == 0) {
        return STATUS_OK;
    }
    struct model_config config = *configured;
    snprintf(config.backbone, sizeof(config.backbone), "%s", name);
    config.options[0] = '\0';
    status = model_config_check(&config, error);
    return status == STATUS_OK ? status : error_code(error, "bad_field", "backbone");
}

static enum status read_training(const struct call *call, const struct json_t *body,
                                 struct job *job, struct error *error)
{
    const char *backbone = NULL;
    int64_t steps = 0, seed = 0;
    enum status status =
        json_read_number(body, "seconds", 1.0, SECONDS_MAX, &job->seconds, NULL, error);
    if (status == STATUS_OK) {
        status = json_read_integer(body, "steps", 1, STEPS_MAX, &steps, NULL, error);
    }
    if (status == STATUS_OK) {
        status = json_read_integer(body, "seed", 1, SEED_MAX, &seed, NULL, error);
    }
    if (status == STATUS_OK) {
        status = json_read_text(body, "backbone", &backbone, error);
    }
    if (status == STATUS_OK && backbone) {
        status = check_backbone(&call->services->model_config, backbone, error);
        snprintf(job->backbone, sizeof(job->backbone), "%s", backbone);
    }
    job->steps = (uint64_t)steps;
    job->seed = (uint64_t)seed;
    return status;
}

/* Steps, or a duration that the step of the series divides later. */
static enum status read_horizon(const struct call *call, const struct json_t *body, struct job *job,
                                struct error *error)
{
    const struct json_t *member = json_member(body, "horizon");
    int64_t steps = 0, most = (int64_t)atomic_load(&call->services->limits)->horizon_max;
    if (member && json_is_string(member)) {
        if (parse_duration("horizon", json_string_value(member), &job->horizon_ms, error) !=
            STATUS_OK) {
            return error_code(error, "bad_field", "horizon");
        }
        return STATUS_OK;
    }
    enum status status = json_read_integer(body, "horizon", 1, most, &steps, NULL, error);
    job->horizon = (size_t)steps;
    return status;
}

/* The selector is read here only to refuse it at once; the job reads it again. */
static enum status read_selector(const struct call *call, const struct json_t *body,
                                 struct job *job, struct error *error)
{
    const char *series = NULL;
    struct selector *selector = NULL;
    uint32_t id;
    enum status status = json_read_text(body, "series", &series, error);
    if (status != STATUS_OK || !series) {
        return status;
    }
    size_t length = strlen(series);
    if (length >= sizeof(job->selector)) {
        error_set(error, STATUS_INVALID, "\"series\" is longer than %d bytes",
                  JOB_SELECTOR_MAX - 1);
        return error_code(error, "bad_field", "series");
    }
    status = selector_parse(series, length, &selector, error);
    if (status != STATUS_OK) {
        return error_code(error, "bad_selector", "series");
    }
    if (view_list(call->view, selector, 0, &id, 1) == 0) {
        error_set(error, STATUS_NOT_FOUND, "no series matches \"%.200s\"", series);
        status = error_code(error, "unknown_series", "series");
    }
    selector_free(selector);
    snprintf(job->selector, sizeof(job->selector), "%s", series);
    return status;
}

/* Trainings one after another, each with the budget of one: together they have a day, as one has.
 */
static enum status read_seeds(const struct json_t *body, struct job *job, struct error *error)
{
    int64_t seeds = 1;
    enum status status =
        json_read_integer(body, "seeds", 1, BACKTEST_SEEDS_MAX, &seeds, NULL, error);
    job->seeds = (size_t)seeds;
    if (status == STATUS_OK && job->seconds * (double)seeds > SECONDS_MAX) {
        error_set(error, STATUS_INVALID, "%zu seeds of %.15g seconds each take longer than a day",
                  job->seeds, job->seconds);
        error_code(error, "bad_field", "seeds");
        return error_hint(error, "The field \"seconds\" is for each seed: all together may take "
                                 "86400 seconds.");
    }
    return status;
}

static enum status read_backtest(const struct call *call, const struct json_t *body,
                                 struct job *job, struct error *error)
{
    int64_t windows = WINDOWS_PRESET;
    enum status status =
        json_check_members(body, "series horizon windows seeds " TRAINING_FIELDS, error);
    if (status == STATUS_OK) {
        status = read_training(call, body, job, error);
    }
    if (status == STATUS_OK) {
        status = read_seeds(body, job, error);
    }
    if (status == STATUS_OK) {
        status = read_horizon(call, body, job, error);
    }
    if (status == STATUS_OK) {
        status = json_read_integer(body, "windows", 1, WINDOWS_MAX, &windows, NULL, error);
    }
    job->windows = (size_t)windows;
    return status == STATUS_OK ? read_selector(call, body, job, error) : status;
}

static enum status answer_job(struct call *call, int http, const char *id, struct error *error)
{
    struct job_view view;
    if (!job_find(call->services->jobs, id, &view)) {
        error_set(error, STATUS_NOT_FOUND, "there is no job \"%.40s\"", id);
        return error_code(error, "unknown_job", NULL);
    }
    struct text text;
    text_init(&text, JOBS_BYTES_MAX);
    job_write(&view, &text);
    job_view_release(&view);
    return call_json(call, http, &text, error);
}

/* Queues the job that the body asks for and answers with it. */
static enum status post_job(struct call *call, const char *kind, struct error *error)
{
    struct json_t *body = NULL;
    struct job job;
    memset(&job, 0, sizeof(job));
    snprintf(job.kind, sizeof(job.kind), "%s", kind);
    enum status status =
        json_read_object(call->request->body, call->request->body_length, &body, error);
    if (status != STATUS_OK) {
        return status;
    }
    if (strcmp(kind, "backtest") == 0) {
        status = read_backtest(call, body, &job, error);
    } else {
        status = json_check_members(body, TRAINING_FIELDS, error);
        status = status == STATUS_OK ? read_training(call, body, &job, error) : status;
    }
    json_free(body);
    if (status == STATUS_OK) {
        status = job_add(call->services->jobs, &job, error);
    }
    if (status == STATUS_OK) {
        status = answer_job(call, 202, job.id, error);
    }
    if (status == STATUS_OK) {
        response_header(call->response, "Location", "/api/v1/jobs/%s", job.id);
    }
    return status;
}

enum status train_post(struct call *call, struct error *error)
{
    return post_job(call, "train", error);
}

enum status backtest_post(struct call *call, struct error *error)
{
    return post_job(call, "backtest", error);
}

enum status jobs_list(struct call *call, struct error *error)
{
    struct job_view views[JOBS_MAX];
    size_t count = job_list(call->services->jobs, views, JOBS_MAX);
    struct text text;
    text_init(&text, JOBS_BYTES_MAX);
    text_add_string(&text, "{\"jobs\":[");
    for (size_t i = 0; i < count; i++) {
        if (i > 0) {
            text_add_char(&text, ',');
        }
        job_write(&views[i], &text);
    }
    text_add_string(&text, "]}");
    return call_json(call, 200, &text, error);
}

enum status jobs_one(struct call *call, struct error *error)
{
    return answer_job(call, 200, call->argument, error);
}

enum status jobs_delete(struct call *call, struct error *error)
{
    enum status status = job_cancel(call->services->jobs, call->argument, error);
    return status == STATUS_OK ? answer_job(call, 200, call->argument, error) : status;
}
