/* POST /api/v1/import: a CSV file in one of the three forms, stored in batches.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The whole file is read before anything is stored, so an unreadable one stores nothing. The
 * batches are committed one after the other; a failure in between leaves the earlier ones stored,
 * and the whole file can be sent again.
 */
#include "api/handlers.h"
#include "api/ingest.h"
#include "api/refusals.h"
#include "base/clock.h"
#include "base/memory.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define BATCH_POINTS 50000
#define ANSWER_MAX   (64u << 10)

struct import {
    struct call *call;
    struct refusals *refusals;
    struct write_batch *batch;
    size_t in_batch;
    uint64_t accepted, updated;
};

static enum status commit(struct import *import, struct error *error)
{
    struct write_batch *batch = import->batch;
    struct write_result result;
    import->batch = NULL;
    import->in_batch = 0;
    if (!batch) {
        return STATUS_OK;
    }
    if (write_batch_points(batch) == 0) {
        write_batch_free(batch);
        return STATUS_OK;
    }
    uint64_t points = write_batch_points(batch);
    enum status status = writer_write_take(import->call->services->writer, batch, &result, error);
    if (status == STATUS_OK) {
        import->accepted += result.accepted;
        import->updated += result.updated;
    } else {
        api_count(import->call->services->metrics, METRIC_POINTS_LOST, points);
    }
    return status;
}

/* The canonical text of an id: as a user would type it, otherwise as a bare name. */
static enum status canonical(const char *id, char text[SERIES_TEXT_MAX], size_t *length,
                             struct error *error)
{
    struct error cause = {0};
    if (series_name_parse(id, strlen(id), text, length, &cause) == STATUS_OK) {
        return STATUS_OK;
    }
    return series_name_write((struct slice){id, strlen(id)}, NULL, 0, text, length, error);
}

static void refuse(struct import *import, const struct csv_series *series, uint64_t times,
                   struct error *error)
{
    error_wrap(error, "series \"%.80s\"", series->id);
    for (uint64_t i = 0; i < times; i++) {
        refusals_add(import->refusals, import->call->services->metrics, 0, error);
    }
}

static enum status open_batch(struct import *import, const char *text, size_t length,
                              uint32_t *number, struct error *error)
{
    if (!import->batch && write_batch_new(import->call->services->storage, BATCH_POINTS,
                                          &import->batch, error) != STATUS_OK) {
        return error->status;
    }
    return write_batch_series(import->batch, text, length, number, error);
}

static enum status store_series(struct import *import, const struct csv_series *series,
                                struct error *error)
{
    char text[SERIES_TEXT_MAX];
    size_t length = 0, first = 0;
    uint32_t number = 0;
    struct error fault = {0};
    while (first < series->count && isnan(series->points[first].value)) {
        first++; /* missing values before the first real one say nothing */
    }
    if (canonical(series->id, text, &length, &fault) != STATUS_OK ||
        view_check(import->call->view, text, length, &fault) != STATUS_OK) {
        refuse(import, series, series->count - first, &fault);
        return STATUS_OK;
    }
    bool open = false;
    for (size_t i = first; i < series->count; i++) {
        if (import->in_batch == BATCH_POINTS) {
            open = false;
            if (commit(import, error) != STATUS_OK) {
                return error->status;
            }
        }
        if (!open && open_batch(import, text, length, &number, error) != STATUS_OK) {
            if (error->status == STATUS_TOO_LARGE || error->status == STATUS_INVALID) {
                refuse(import, series, series->count - i, error);
                return STATUS_OK;
            }
            return error->status;
        }
        open = true;
        if (write_batch_point(import->batch, number, series->points[i], error) != STATUS_OK) {
            return error->status;
        }
        import->in_batch++;
    }
    return STATUS_OK;
}

static enum status store_all(struct import *import, const struct csv_data *data,
                             struct error *error)
{
    for (uint64_t i = 0; i < data->rejected; i++) {
        const struct error *kept = &data->first[i < 20 ? i : 19];
        uint64_t line =
            strtoull(kept->text + strlen("line "), NULL, 10); /* as csv_read begins it */
        refusals_add(import->refusals, import->call->services->metrics, line, kept);
    }
    for (size_t i = 0; i < data->count; i++) {
        if (store_series(import, &data->series[i], error) != STATUS_OK) {
            return error->status;
        }
    }
    return commit(import, error);
}

static enum status answer(const struct import *import, struct error *error)
{
    char head[REFUSALS_HEAD_MAX];
    struct api_metrics *metrics = import->call->services->metrics;
    uint64_t refused = import->refusals->count;
    int length = refusals_format_head(head, import->accepted, import->updated);
    struct text text;
    text_init(&text, ANSWER_MAX);
    text_add(&text, head, (size_t)length);
    refusals_write_tail(import->refusals, import->call->request->request_id, &text);
    api_count(metrics, METRIC_POINTS_STORED, import->accepted - import->updated);
    api_count(metrics, METRIC_POINTS_UPDATED, import->updated);
    api_count(metrics, METRIC_POINTS_REFUSED, refused);
    enum status status =
        response_take_text(import->call->response, refused ? 422 : 200,
                           refused ? "application/problem+json" : CONTENT_JSON, &text, error);
    if (status == STATUS_OK) {
        response_common_headers(import->call->response);
    }
    return status;
}

enum status import_handle(struct call *call, struct error *error)
{
    struct import import = {.call = call};
    struct csv_options options = {.inflated_max = call->limits->body_max,
                                  .limits = call->limits,
                                  .now_ms = clock_wall_ms(),
                                  .keep_repeated = true};
    struct csv_data data;
    const char *body = NULL;
    size_t length = 0;
    char *owned = NULL;
    if (call_body(call, &body, &length, &owned, error) != STATUS_OK) {
        return error->status;
    }
    enum status status = csv_read(body, length, &options, &data, error);
    mem_free(owned);
    if (status != STATUS_OK) {
        return status;
    }
    import.refusals = mem_zeroed(1, sizeof(*import.refusals));
    if (import.refusals) {
        import.refusals->by_line = true;
        status = store_all(&import, &data, error);
    } else {
        status = error_set(error, STATUS_NO_MEMORY, "no memory for the refused rows");
    }
    if (status == STATUS_OK) {
        status = answer(&import, error);
    }
    write_batch_free(import.batch);
    mem_free(import.refusals);
    csv_free(&data);
    return status;
}
