/* Points on their way to the store: limits on time, one batch a request, an answer after the
 * commit. SPDX-License-Identifier: Apache-2.0
 *
 * Everything that can fail for want of memory happens before the batch is submitted, the buffer of
 * the answer included: a commit can then always be acknowledged, and nothing is acknowledged
 * without one.
 */
#include "api/ingest.h"

#include "base/memory.h"

#include <string.h>

#define TAIL_BYTES_MAX (64u << 10)

struct ingest {
    struct api_services *services;
    const struct view *view; /* of the call: while the body is read */
    struct api_request *request;
    struct api_response *response;
    const struct api_limits *limits;
    const struct ingest_form *form;
    struct write_batch *batch;
    struct refusals *refusals; /* NULL until there is one */
    struct families *fresh;    /* types of metrics that are new with this request; NULL: none */
    bool out_of_memory;        /* a refusal could not be kept */
    int64_t earliest_ms, latest_ms, now_ms;
    uint64_t ended, refused;
    uint64_t points; /* of the batch, for when it fails */
    char *answer;    /* REFUSALS_HEAD_MAX bytes of room, then the tail */
    size_t tail_length;
};

enum status api_check_time(const struct api_limits *limits, int64_t now_ms, int64_t time_ms,
                           struct error *error)
{
    if (time_ms > now_ms + limits->max_future_ms) {
        int64_t ahead_ms = time_ms - now_ms;
        bool unit = ahead_ms / 8 > now_ms; /* centuries: no clock is that wrong */
        error_set(error, STATUS_INVALID, "the timestamp lies %lld s ahead of now%s",
                  (long long)(ahead_ms / 1000), unit ? ", as one of another unit would" : "");
        return error_code(error, "too_far_future", "timestamp");
    }
    if (limits->retention_ms > 0 && time_ms < now_ms - limits->retention_ms) {
        error_set(error, STATUS_INVALID, "the timestamp lies %lld s back, beyond the retention",
                  (long long)((now_ms - time_ms) / 1000));
        return error_code(error, "too_old", "timestamp");
    }
    return STATUS_OK;
}

static enum status visit_series(void *context, struct slice text, uint64_t *handle,
                                uint32_t *number, struct error *error)
{
    struct ingest *ingest = context;
    if (view_check(ingest->view, text.bytes, text.length, error) != STATUS_OK) {
        return error->status;
    }
    return write_batch_series_again(ingest->batch, text, handle, number, error);
}

static enum status too_many(const struct ingest *ingest, struct error *error)
{
    error_set(error, STATUS_TOO_LARGE, "more than %zu points in one request",
              ingest->limits->points_per_request);
    return error_code(error, "too_many_points", NULL);
}

static enum status visit_point(void *context, uint32_t number, struct point point,
                               struct error *error)
{
    struct ingest *ingest = context;
    if (point.time_ms > ingest->latest_ms || point.time_ms < ingest->earliest_ms) {
        return api_check_time(ingest->limits, ingest->now_ms, point.time_ms, error);
    }
    enum status status = write_batch_point(ingest->batch, number, point, error);
    return status == STATUS_TOO_LARGE ? too_many(ingest, error) : status;
}

static enum status visit_end(void *context, uint32_t number, int64_t time_ms, struct error *error)
{
    struct ingest *ingest = context;
    if (time_ms > ingest->latest_ms || time_ms < ingest->earliest_ms) {
        return api_check_time(ingest->limits, ingest->now_ms, time_ms, error);
    }
    enum status status = write_batch_end(ingest->batch, number, time_ms, error);
    ingest->ended += status == STATUS_OK;
    return status == STATUS_TOO_LARGE ? too_many(ingest, error) : status;
}

static void visit_refusal(void *context, uint64_t position, const struct error *error)
{
    struct ingest *ingest = context;
    if (!ingest->refusals) {
        ingest->refusals = mem_zeroed(1, sizeof(*ingest->refusals));
        if (!ingest->refusals) {
            ingest->out_of_memory = true;
            return;
        }
    }
    refusals_add(ingest->refusals, ingest->services->metrics, position, error);
}

static enum status visit_declaration(void *context, struct slice family, enum family_type type,
                                     struct error *error)
{
    struct ingest *ingest = context;
    if (!view_allows(ingest->view, family.bytes, family.length)) {
        return STATUS_OK; /* its points are refused, each with a reason */
    }
    if (!ingest->fresh && families_new(&ingest->fresh, error) != STATUS_OK) {
        return error->status;
    }
    return families_declare(ingest->services->families, ingest->fresh, family, type, ingest->batch,
                            error);
}

static bool has_fresh(const struct ingest *ingest)
{
    return ingest->fresh && families_count(ingest->fresh) > 0;
}

static void ingest_free(struct ingest *ingest)
{
    families_free(ingest->fresh);
    write_batch_free(ingest->batch);
    mem_free(ingest->refusals);
    mem_free(ingest->answer);
    mem_free(ingest);
}

/* The answer's buffer with everything but the counts. */
static enum status prepare_answer(struct ingest *ingest, struct error *error)
{
    struct text tail;
    text_init(&tail, TAIL_BYTES_MAX);
    ingest->form->write_tail(ingest->refusals, ingest->request->request_id, &tail);
    enum status status = text_status(&tail, "the answer", error);
    if (status == STATUS_OK) {
        ingest->answer = mem_alloc(REFUSALS_HEAD_MAX + tail.length);
        if (!ingest->answer) {
            status = error_set(error, STATUS_NO_MEMORY, "no memory for the answer");
        } else if (tail.length > 0) {
            memcpy(ingest->answer + REFUSALS_HEAD_MAX, tail.bytes, tail.length);
            ingest->tail_length = tail.length;
        }
    }
    text_release(&tail);
    ingest->refused = ingest->refusals ? ingest->refusals->count : 0;
    mem_free(ingest->refusals);
    ingest->refusals = NULL;
    return status;
}

/* Cannot fail. */
static void fill_answer(struct ingest *ingest, uint64_t accepted, uint64_t updated)
{
    char head[REFUSALS_HEAD_MAX];
    struct api_response *response = ingest->response;
    struct ingest_counts counts = {accepted, updated, ingest->ended, ingest->refused};
    size_t length = ingest->form->begin(response, &counts, head);
    memcpy(ingest->answer, head, length);
    memmove(ingest->answer + length, ingest->answer + REFUSALS_HEAD_MAX, ingest->tail_length);
    response->body = ingest->answer;
    response->body_length = length + ingest->tail_length;
    response_common_headers(response);
    ingest->answer = NULL;
    struct api_metrics *metrics = ingest->services->metrics;
    api_count(metrics, METRIC_POINTS_STORED, accepted - updated);
    api_count(metrics, METRIC_POINTS_UPDATED, updated);
    api_count(metrics, METRIC_POINTS_REFUSED, ingest->refused);
}

/* On the writer thread, after the commit or its failure. */
static void ingest_done(void *context, const struct write_result *result)
{
    struct ingest *ingest = context;
    struct api_request *request = ingest->request;
    if (result->error.status == STATUS_OK) {
        if (has_fresh(ingest)) {
            families_merge(ingest->services->families, ingest->fresh);
        }
        fill_answer(ingest, result->accepted, result->updated);
    } else {
        api_count(ingest->services->metrics, METRIC_POINTS_LOST, ingest->points);
        api_problem(request, &result->error, ingest->response);
    }
    ingest_free(ingest);
    request->resume(request);
}

static enum status read_body(struct ingest *ingest, const struct ingest_source *source,
                             struct error *error)
{
    enum status status = write_batch_new(ingest->services->storage,
                                         ingest->limits->points_per_request, &ingest->batch, error);
    if (status != STATUS_OK) {
        return status;
    }
    struct points_visitor visitor = {ingest,        visit_series, visit_point,
                                     visit_refusal, visit_end,    visit_declaration};
    status = source->read(source->context, &visitor, error);
    if (status == STATUS_OK && ingest->out_of_memory) {
        status = error_set(error, STATUS_NO_MEMORY, "no memory for the refused points");
    }
    return status == STATUS_OK ? prepare_answer(ingest, error) : status;
}

enum status ingest_take(struct call *call, const struct ingest_source *source, struct error *error)
{
    if (writer_is_behind(call->services->writer)) {
        return error_set(error, STATUS_BUSY, "could not take the points: too many are waiting");
    }
    struct ingest *ingest = mem_zeroed(1, sizeof(*ingest));
    if (!ingest) {
        return error_set(error, STATUS_NO_MEMORY, "no memory for the request");
    }
    ingest->services = call->services;
    ingest->view = call->view;
    ingest->request = call->request;
    ingest->response = call->response;
    ingest->limits = call->limits;
    ingest->form = source->form;
    ingest->now_ms = source->now_ms;
    ingest->latest_ms = source->now_ms + call->limits->max_future_ms;
    ingest->earliest_ms =
        call->limits->retention_ms > 0 ? source->now_ms - call->limits->retention_ms : INT64_MIN;
    enum status status = read_body(ingest, source, error);
    if (status != STATUS_OK) {
        ingest_free(ingest);
        return status;
    }
    if (write_batch_points(ingest->batch) == 0 && !has_fresh(ingest)) {
        fill_answer(ingest, 0, 0);
        ingest_free(ingest);
        return STATUS_OK;
    }
    struct write_batch *batch = ingest->batch;
    ingest->points = write_batch_points(batch);
    ingest->batch = NULL; /* the writer's from here on, whatever comes back */
    call->outcome = API_PENDING;
    status = writer_submit_take(call->services->writer, batch, ingest_done, ingest, error);
    if (status != STATUS_OK) {
        call->outcome = API_DONE;
        api_count(call->services->metrics, METRIC_POINTS_LOST, ingest->points);
        ingest_free(ingest);
    }
    return status;
}

/* ---------------------------------------------------------------- JSON and NDJSON */

struct json_body {
    const char *bytes;
    size_t length;
    const struct points_options *options;
    struct points_cache *cache;
};

static enum status read_json(void *context, const struct points_visitor *visitor,
                             struct error *error)
{
    const struct json_body *body = context;
    return points_read(body->bytes, body->length, body->options, body->cache, visitor, error);
}

static size_t begin_json(struct api_response *response, const struct ingest_counts *counts,
                         char head[REFUSALS_HEAD_MAX])
{
    response->status = counts->refused ? 422 : 200;
    response->content_type = counts->refused ? "application/problem+json" : CONTENT_JSON;
    return (size_t)refusals_format_head(head, counts->accepted, counts->updated);
}

enum status ingest_points(struct call *call, const char *body, size_t length,
                          const struct points_options *options, struct points_cache *cache,
                          struct error *error)
{
    static const struct ingest_form form = {refusals_write_tail, begin_json};
    struct json_body json = {body, length, options, cache};
    struct ingest_source source = {&form, options->now_ms, &json, read_json};
    return ingest_take(call, &source, error);
}
