/* Batches for the store, pieces of CSV for a daemon.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "server/import_target.h"

#include "base/clock.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define BATCH_POINTS ((size_t)50000)
#define PIECE_BYTES  ((size_t)4 << 20)

enum status import_target_open(struct import_target *target, const struct config_sources *sources,
                               struct error *error)
{
    text_init(&target->piece, PIECE_BYTES + 64 * 1024);
    target->now_ms = clock_wall_ms();
    return target->url != NULL ? STATUS_OK
                               : command_store_open(&target->store, sources, STORE_WRITE, error);
}

static enum status flush_batch(struct import_target *target, struct error *error)
{
    struct write_result result;
    if (target->batch == NULL) {
        return STATUS_OK;
    }
    struct write_batch *batch = target->batch;
    target->batch = NULL;
    enum status status = writer_write_take(target->store.writer, batch, &result, error);
    if (status == STATUS_OK) {
        target->accepted += result.accepted;
        target->updated += result.updated;
    }
    return status;
}

/* A member of the daemon's answer to an import. */
static uint64_t answer_count(const char *body, const char *key)
{
    const char *found = strstr(body, key);
    unsigned long long value = 0;
    if (found == NULL || sscanf(found + strlen(key), "\":%llu", &value) != 1) {
        return 0;
    }
    return value;
}

static enum status flush_piece(struct import_target *target, struct error *error)
{
    struct http_reply reply = {0};
    if (target->piece.length == 0) {
        return STATUS_OK;
    }
    enum status status = text_status(&target->piece, "a piece of the points", error);
    if (status != STATUS_OK) {
        return status;
    }
    struct http_call call = {.as = &target->as,
                             .base = target->url,
                             .method = "POST",
                             .target = "/api/v1/import",
                             .content_type = "text/csv",
                             .body = target->piece.bytes,
                             .body_length = target->piece.length,
                             .timeout_ms = 120000};
    status = http_client_call(&call, &reply, error);
    if (status == STATUS_OK && reply.status != 422) {
        status = http_reply_check(&reply, error);
    }
    if (status == STATUS_OK) {
        target->accepted += answer_count(reply.body, "accepted");
        target->updated += answer_count(reply.body, "updated");
        target->rejected += answer_count(reply.body, "rejected");
    }
    http_reply_release(&reply);
    text_clear(&target->piece);
    return status;
}

/* A series that ends in the future would take no point until the clock is there. */
static bool may_have(struct import_target *target, struct slice series, int64_t time_ms)
{
    struct error cause = {0};
    if (api_check_time(&target->store.limits, target->now_ms, time_ms, &cause) == STATUS_OK) {
        return true;
    }
    if (!target->told) {
        fprintf(stderr, "forecastd: series \"%.*s\": %s\n",
                (int)(series.length < 80 ? series.length : 80), series.bytes, cause.text);
        target->told = true;
    }
    target->rejected++;
    return false;
}

static enum status add_to_batch(struct import_target *target, struct slice series,
                                const struct point *points, size_t count, struct error *error)
{
    uint32_t number = 0;
    bool known = false; /* the series, to the batch */
    enum status status = STATUS_OK;
    for (size_t i = 0; i < count; i++) {
        bool fresh = target->batch == NULL;
        if (!may_have(target, series, points[i].time_ms)) {
            continue;
        }
        if (fresh) {
            status = write_batch_new(target->store.storage, BATCH_POINTS, &target->batch, error);
            if (status != STATUS_OK) {
                return status;
            }
        }
        if (fresh || !known) {
            status = write_batch_series(target->batch, series.bytes, series.length, &number, error);
            known = true;
        }
        if (status == STATUS_OK) {
            status = write_batch_point(target->batch, number, points[i], error);
        }
        if (status == STATUS_OK && write_batch_points(target->batch) >= BATCH_POINTS) {
            status = flush_batch(target, error);
        }
        if (status != STATUS_OK) {
            return status;
        }
    }
    return STATUS_OK;
}

static void add_csv_field(struct text *out, struct slice field)
{
    text_add_char(out, '"');
    for (size_t i = 0; i < field.length; i++) {
        if (field.bytes[i] == '"') {
            text_add_char(out, '"');
        }
        text_add_char(out, field.bytes[i]);
    }
    text_add_char(out, '"');
}

static enum status add_to_piece(struct import_target *target, struct slice series,
                                const struct point *points, size_t count, struct error *error)
{
    struct text *piece = &target->piece;
    for (size_t i = 0; i < count; i++) {
        if (piece->length == 0) {
            text_add_string(piece, "series_id,timestamp,value\n");
        }
        add_csv_field(piece, series);
        text_add_char(piece, ',');
        text_add_time(piece, points[i].time_ms);
        text_add_char(piece, ',');
        if (!isnan(points[i].value)) {
            text_add_double(piece, points[i].value);
        }
        text_add_char(piece, '\n');
        if (piece->length > PIECE_BYTES) {
            enum status status = flush_piece(target, error);
            if (status != STATUS_OK) {
                return status;
            }
        }
    }
    return STATUS_OK;
}

enum status import_target_add(struct import_target *target, struct slice series,
                              const struct point *points, size_t count, struct error *error)
{
    return target->url != NULL ? add_to_piece(target, series, points, count, error)
                               : add_to_batch(target, series, points, count, error);
}

enum status import_target_flush(struct import_target *target, struct error *error)
{
    return target->url != NULL ? flush_piece(target, error) : flush_batch(target, error);
}

enum status import_target_close(struct import_target *target, bool complete, struct error *error)
{
    enum status status = STATUS_OK;
    if (target->url == NULL) {
        if (target->batch != NULL) {
            write_batch_free(target->batch);
            target->batch = NULL;
        }
        if (complete) {
            status = writer_compact(target->store.writer, error);
        }
        command_store_close(&target->store);
    }
    text_release(&target->piece);
    return status;
}
