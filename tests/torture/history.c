/* Histories: what is done to the store, and the comparison with the truth.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "tests/torture/history.h"

#include "base/check.h"
#include "base/clock.h"
#include "base/hash.h"
#include "storage/sqlite_store.h"
#include "storage/writer.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BASE_MS INT64_C(1790000000000)
#define STEP_MS INT64_C(1000)

#define RETENTION_MS (100 * STEP_MS)
#define MARKER_MS    INT64_C(8000000000000) /* beyond any clock here */
enum { TALK_SLOTS = 150 };                  /* two of six series, while the others are silent */

const char *const phase_names[PHASES] = {"open",       "ingest",    "delete",      "compaction",
                                         "checkpoint", "retention", "publication", "close"};

static _Atomic int64_t now_ms;    /* several threads may look, as below */
static _Atomic int64_t latest_ms; /* the highest it ever was: retention may have gone by that */

static int64_t virtual_now(void)
{
    latest_ms = now_ms > latest_ms ? now_ms : latest_ms;
    return now_ms;
}

/* Each look takes a microsecond: one history, one course of time. */
static _Atomic int64_t monotonic_ns;

static int64_t virtual_monotonic(void)
{
    return monotonic_ns += 1000;
}

void history_clock(int64_t wall_ms, int64_t pass_ms)
{
    now_ms = wall_ms;
    monotonic_ns += pass_ms * INT64_C(1000000);
}

int64_t history_now(void)
{
    return now_ms;
}

static int64_t time_of(int slot)
{
    return BASE_MS + slot * STEP_MS;
}

static void name_of(int series, char name[32])
{
    snprintf(name, 32, series < 0 ? "marker" : "torture{s=\"%d\"}", series);
}

/* ---------------------------------------------------------------- begin and end */

void history_init(struct history *history, uint64_t seed, const char *directory)
{
    *history = (struct history){.directory = directory};
    random_init(&history->random, seed, 7);
    history->disk = disk_new(seed);
    history->attempts = calloc(HISTORY_BATCHES, sizeof *history->attempts);
    history->truth = calloc(HISTORY_SERIES, sizeof *history->truth);
    CHECK(history->attempts != NULL && history->truth != NULL);
    /* Small, so that flushes, evictions and back pressure happen all the time. */
    history->options = (struct storage_options){.tail_points = 64, .tail_bytes_max = 8000};
    now_ms = latest_ms = BASE_MS;
    monotonic_ns = INT64_C(1000000000);
    clock_wall_replace(virtual_now);
    clock_monotonic_replace(virtual_monotonic);
    fault_vfs_mount(history->disk);
}

void history_release(struct history *history)
{
    history_close(history);
    fault_vfs_mount(NULL);
    clock_wall_replace(NULL);
    clock_monotonic_replace(NULL);
    disk_free(history->disk);
    free(history->attempts);
    free(history->truth);
    history->disk = NULL;
}

void history_leaving(struct history *history)
{
    history->options.retention_ms = RETENTION_MS;
    history->marker_ms = MARKER_MS;
}

bool history_open(struct history *history, struct error *error)
{
    char url[DISK_PATH_MAX], models[DISK_PATH_MAX];
    struct writer_options writer = {.stepped = true};
    history->phase = PHASE_OPEN;
    snprintf(url, sizeof url, "sqlite:%s", history->directory);
    snprintf(models, sizeof models, "%s/models", history->directory);
    history->options.url = url;
    *error = (struct error){0};
    bool good = storage_open(&history->options, &history->storage, error) == STATUS_OK &&
                writer_start(history->storage, &writer, &history->writer, error) == STATUS_OK &&
                storage_reader_open(history->storage, &history->reader, error) == STATUS_OK;
    if (good && history->model != NULL) {
        good = registry_new(&history->registry, error) == STATUS_OK &&
               catalogue_open(history->storage, history->writer, history->registry, models,
                              &history->catalogue, error) == STATUS_OK;
    }
    if (!good) {
        history_close(history);
    }
    history->phase = PHASE_INGEST;
    return good;
}

void history_close(struct history *history)
{
    history->phase = PHASE_CLOSE;
    catalogue_close(history->catalogue);
    if (history->registry != NULL) {
        registry_free(history->registry);
    }
    writer_stop(history->writer);
    storage_reader_close(history->reader);
    history->left += history->storage == NULL ? 0 : history->storage->counters.expired;
    storage_close(history->storage);
    history->catalogue = NULL;
    history->registry = NULL;
    history->writer = NULL;
    history->reader = NULL;
    history->storage = NULL;
}

/* ---------------------------------------------------------------- what is done */

static void answered(void *context, const struct write_result *result)
{
    struct attempt *attempt = context;
    CHECK(!attempt->answered);
    attempt->answered = true;
    attempt->status = result->error.status;
}

static struct attempt *attempt_new(struct history *history)
{
    CHECK(history->attempt_count < HISTORY_BATCHES);
    struct attempt *attempt = &history->attempts[history->attempt_count++];
    *attempt = (struct attempt){.deletes = -1, .settings = -1};
    return attempt;
}

static enum status point_add(struct write_batch *batch, int series, int64_t time, double value,
                             struct error *error)
{
    char name[32];
    uint32_t number;
    name_of(series, name);
    if (write_batch_series(batch, name, strlen(name), &number, error) != STATUS_OK) {
        return error->status;
    }
    return isnan(value) && series >= 0 && time % 7 == 0
               ? write_batch_end(batch, number, time - STEP_MS / 2, error)
               : write_batch_point(batch, number, (struct point){time, value}, error);
}

static uint32_t series_id(struct history *history, int series)
{
    char name[32];
    name_of(series, name);
    return storage_series_find(history->storage, name, strlen(name));
}

/* What is excluded of a series goes with its retention: none to four spans. */
static struct time_spans spans_of(int64_t keep_ms)
{
    struct time_spans spans = {.count = (size_t)(keep_ms / STEP_MS % 5)};
    for (size_t i = 0; i < spans.count; i++) {
        int64_t from_ms = keep_ms + (int64_t)i * 2 * STEP_MS;
        spans.at[i] = (struct time_span){from_ms, from_ms + STEP_MS};
    }
    return spans;
}

/* Fills and submits the batch of an attempt; one that could not even be queued was never there. */
static void submit(struct history *history, struct attempt *attempt)
{
    struct write_batch *batch = NULL;
    struct error error = {0};
    int64_t number = attempt - history->attempts;
    attempt->now_ms = latest_ms;
    enum status status = write_batch_new(history->storage, HISTORY_OPS + 1, &batch, &error);
    if (status == STATUS_OK && attempt->deletes >= 0) {
        status = write_batch_delete(batch, series_id(history, attempt->deletes), &error);
    }
    if (status == STATUS_OK && attempt->settings >= 0) {
        struct series_settings settings = {.has_retention = attempt->keep_ms > 0,
                                           .retention_ms = attempt->keep_ms};
        status =
            write_batch_settings(batch, series_id(history, attempt->settings), &settings, &error);
    }
    if (status == STATUS_OK && attempt->settings >= 0) {
        struct time_spans spans = spans_of(attempt->keep_ms);
        status = write_batch_excluded(batch, series_id(history, attempt->settings), &spans, &error);
    }
    for (size_t i = 0; status == STATUS_OK && i < attempt->count; i++) {
        const struct attempt_op *op = &attempt->ops[i];
        status = point_add(batch, op->series, time_of(op->slot), op->value, &error);
    }
    if (status == STATUS_OK) {
        status = point_add(batch, -1, history->marker_ms + number, (double)number, &error);
    }
    if (status != STATUS_OK) {
        write_batch_free(batch);
    } else {
        status = writer_submit_take(history->writer, batch, answered, attempt, &error);
    }
    if (status != STATUS_OK && !attempt->answered) {
        attempt->answered = true;
        attempt->status = status;
    }
}

static void run_queue(struct history *history)
{
    int rounds = 0;
    while (writer_step(history->writer) && rounds++ < 200) {
    }
}

static double any_value(struct random *random)
{
    uint64_t dice = random_below(random, 16);
    return dice == 0  ? (double)NAN
           : dice < 8 ? (double)random_below(random, 10000) / 100
                      : random_normal(random) * 1e3; /* hardly compresses: chunks fill up */
}

static void attempt_fill(struct history *history, struct attempt *attempt)
{
    struct random *random = &history->random;
    attempt->count = 1 + (size_t)random_below(random, HISTORY_OPS);
    bool late = random_below(random, 4) == 0;
    for (size_t i = 0; i < attempt->count; i++) {
        if (!late && history->head < HISTORY_SLOTS - 1) {
            history->head++;
        }
        int reach = history->head < 600 ? history->head : 600;
        int back = late ? (int)random_below(random, (uint64_t)reach + 1) : 0;
        int series = (int)random_below(random, HISTORY_SERIES);
        if (history->marker_ms > 0 && !late) {
            series = series % 2 + 2 * (history->head / TALK_SLOTS % 3);
        }
        attempt->ops[i] = (struct attempt_op){
            .series = series,
            .slot = history->head - back,
            .value = any_value(random),
        };
    }
    now_ms = time_of(history->head);
}

void history_ingest(struct history *history)
{
    history->phase = PHASE_INGEST;
    size_t batches = 1 + (size_t)random_below(&history->random, 4);
    for (size_t i = 0; i < batches && history->attempt_count < HISTORY_BATCHES - 8; i++) {
        struct attempt *attempt = attempt_new(history);
        attempt_fill(history, attempt);
        submit(history, attempt);
    }
    run_queue(history);
}

/* A series that exists, from a random one on; -1. */
static int any_series(struct history *history)
{
    int first = (int)random_below(&history->random, HISTORY_SERIES);
    for (int i = 0; i < HISTORY_SERIES; i++) {
        int series = (first + i) % HISTORY_SERIES;
        if (series_id(history, series) != 0) {
            return series;
        }
    }
    return -1;
}

void history_delete(struct history *history)
{
    history->phase = PHASE_DELETE;
    int series = any_series(history);
    if (series < 0 || history->attempt_count >= HISTORY_BATCHES - 8) {
        return;
    }
    struct attempt *attempt = attempt_new(history);
    if (random_below(&history->random, 2) == 0) {
        attempt_fill(history, attempt);
    }
    attempt->deletes = series;
    submit(history, attempt);
    run_queue(history);
}

void history_age(struct history *history)
{
    struct storage *storage = history->storage;
    struct error error = {0};
    bool more = true;
    while (more &&
           history_done(history, store_retain(storage, virtual_now(), &more, &error), &error)) {
    }
    more = storage->counters.writable;
    while (more &&
           history_done(history, store_expire(storage, virtual_now(), &more, &error), &error)) {
    }
}

void history_retention(struct history *history)
{
    history->phase = PHASE_RETENTION;
    int series = any_series(history);
    if (series < 0 || history->attempt_count >= HISTORY_BATCHES - 8) {
        return;
    }
    struct attempt *attempt = attempt_new(history);
    attempt->settings = series;
    attempt->keep_ms = STEP_MS * (int64_t)random_below(&history->random, 600);
    submit(history, attempt);
    run_queue(history);
    history_age(history);
}

void history_compact(struct history *history)
{
    struct error error = {0};
    history->phase = PHASE_COMPACTION;
    (void)history_done(history, writer_compact(history->writer, &error), &error);
}

void history_checkpoint(struct history *history)
{
    struct sqlite_state *inside = history->storage->state;
    history->phase = PHASE_CHECKPOINT;
    inside->wal_pages = random_below(&history->random, 2) == 0 ? 5000 : 20000;
    inside->truncate_after_ns = 0;
    run_queue(history);
}

static void vintage_kept(void *history, const struct write_result *result)
{
    (void)history_done(history, result->error.status, &result->error);
}

void history_vintage(struct history *history)
{
    struct write_batch *batch = NULL;
    struct error error = {0};
    unsigned char bytes[200];
    int series = any_series(history);
    history->phase = PHASE_INGEST;
    if (series < 0 ||
        !history_done(history, write_batch_new(history->storage, 0, &batch, &error), &error)) {
        return;
    }
    for (size_t i = 0; i < sizeof bytes; i++) {
        bytes[i] = (unsigned char)random_next(&history->random);
    }
    enum status status = write_batch_vintage(batch, series_id(history, series), now_ms,
                                             now_ms + 100 * STEP_MS, bytes, sizeof bytes, &error);
    if (!history_done(history, status, &error)) {
        write_batch_free(batch);
        return;
    }
    status = writer_submit_background_take(history->writer, batch, vintage_kept, history, &error);
    (void)history_done(history, status, &error);
    run_queue(history);
}

void history_publish(struct history *history)
{
    struct error error = {0};
    char id[48];
    struct gate_result gate = {.promote = random_below(&history->random, 3) != 0,
                               .reason = "torture"};
    history->phase = PHASE_PUBLICATION;
    if (history->model != NULL) {
        (void)history_done(history,
                           catalogue_admit(history->catalogue, history->model, &gate, id, &error),
                           &error);
    }
}

void history_act(struct history *history)
{
    uint64_t dice = random_below(&history->random, 100);
    monotonic_ns += INT64_C(50000000);
    if (dice < 66) {
        history_ingest(history);
    } else if (dice < 70) {
        history_vintage(history);
    } else if (dice < 75) {
        history_delete(history);
    } else if (dice < 81) {
        history_retention(history);
    } else if (dice < 88) {
        history_compact(history);
    } else if (dice < 97) {
        history_checkpoint(history);
    } else {
        history_publish(history);
    }
}

/* ---------------------------------------------------------------- the truth */

bool history_wrong(struct history *history, const char *format, ...)
{
    va_list arguments;
    if (history->why[0] == '\0') {
        va_start(arguments, format);
        vsnprintf(history->why, sizeof history->why, format, arguments);
        va_end(arguments);
    }
    return false;
}

void history_finding(void *history, const char *line)
{
    (void)history_wrong(history, "check: %s", line);
}

bool history_done(struct history *history, enum status status, const struct error *error)
{
    if (status != STATUS_OK && history->refusals++ == 0) {
        snprintf(history->refusal, sizeof history->refusal, "%.199s", error->text);
    }
    return status == STATUS_OK;
}

/* What the retention in force may have removed up to a moment. */
static void retention_note(const struct history *history, struct truth *truth, int64_t at_ms)
{
    int64_t keep_ms = truth->keep_ms > 0 ? truth->keep_ms : history->options.retention_ms;
    if (keep_ms > 0 && at_ms - keep_ms > truth->gone_until_ms) {
        truth->gone_until_ms = at_ms - keep_ms;
    }
}

/* Whether the series may have left behind its last point: none that must be there, none set. */
static bool may_have_left(const struct history *history, const struct truth *truth)
{
    bool may = history->options.retention_ms > 0 && truth->keep_ms == 0;
    for (int slot = 0; may && slot < HISTORY_SLOTS; slot++) {
        may = !truth->cells[slot].there || time_of(slot) < truth->gone_until_ms;
    }
    return may;
}

static void attempt_apply(struct history *history, const struct attempt *attempt)
{
    if (attempt->deletes >= 0) {
        memset(&history->truth[attempt->deletes], 0, sizeof *history->truth);
    }
    if (attempt->settings >= 0) {
        retention_note(history, &history->truth[attempt->settings], attempt->now_ms);
        history->truth[attempt->settings].keep_ms = attempt->keep_ms;
    }
    for (size_t i = 0; i < attempt->count; i++) {
        const struct attempt_op *op = &attempt->ops[i];
        struct truth *truth = &history->truth[op->series];
        truth->exists = true;
        if (!(isnan(op->value) && time_of(op->slot) % 7 == 0)) {
            truth->cells[op->slot] = (struct cell){op->value, true};
        }
    }
}

static bool read_all(struct history *history, int series, struct point *points, size_t maximum,
                     size_t *count)
{
    struct error error = {0};
    struct series_info info;
    uint32_t id = series_id(history, series);
    *count = 0;
    if (id == 0) {
        return true;
    }
    if (storage_read(history->reader, id, INT64_MIN, INT64_MAX, points, maximum, count, &error) !=
            STATUS_OK ||
        storage_series_info(history->storage, id, &info, &error) != STATUS_OK) {
        return history_wrong(history, "series %d: %s", series, error.text);
    }
    if (info.points != *count) {
        return history_wrong(history, "series %d: %zu points, its statistics say %llu", series,
                             *count, (unsigned long long)info.points);
    }
    return true;
}

/* Which attempts made it, by their markers; then they are part of the truth. */
static bool settle(struct history *history)
{
    static struct point points[HISTORY_BATCHES];
    size_t count, at = 0;
    if (!read_all(history, -1, points, HISTORY_BATCHES, &count)) {
        return false;
    }
    for (size_t n = 0; n < history->attempt_count; n++) {
        const struct attempt *attempt = &history->attempts[n];
        bool there = at < count && points[at].time_ms == history->marker_ms + (int64_t)n;
        at += there;
        if (there && (n < history->settled || attempt->status == STATUS_OK || attempt->answered)) {
            if (n >= history->settled) {
                attempt_apply(history, attempt);
            }
        } else if (!there && attempt->answered && attempt->status == STATUS_OK) {
            return history_wrong(history, "batch %zu was acknowledged and is lost", n);
        }
        history->acknowledged +=
            n >= history->settled && attempt->answered && attempt->status == STATUS_OK
                ? attempt->count + 1
                : 0;
    }
    history->settled = history->attempt_count;
    return at == count || history_wrong(history, "a batch is there that was never sent");
}

static bool same_value(double a, double b)
{
    return isnan(a) ? (bool)isnan(b) : memcmp(&a, &b, sizeof a) == 0;
}

static bool spans_verify(struct history *history, int series, uint32_t id)
{
    struct time_spans expected = spans_of(history->truth[series].keep_ms), spans;
    storage_series_excluded(history->storage, id, &spans);
    return (spans.count == expected.count &&
            memcmp(spans.at, expected.at, spans.count * sizeof *spans.at) == 0) ||
           history_wrong(history, "series %d: %zu excluded spans, not the %zu that were set",
                         series, spans.count, expected.count);
}

static bool series_verify(struct history *history, int series)
{
    static struct point points[HISTORY_SLOTS], newest[HISTORY_SLOTS];
    struct truth *truth = &history->truth[series];
    size_t count, newest_count = 0, at = 0;
    struct error error = {0};
    uint32_t id = series_id(history, series);
    retention_note(history, truth, latest_ms);
    if (truth->exists && id == 0 && may_have_left(history, truth)) {
        memset(truth, 0, sizeof *truth);
    }
    if (truth->exists != (id != 0)) {
        return history_wrong(history, "series %d %s", series, id != 0 ? "came back" : "is lost");
    }
    if (!read_all(history, series, points, HISTORY_SLOTS, &count) ||
        (id != 0 && !spans_verify(history, series, id))) {
        return false;
    }
    for (int slot = 0; slot < HISTORY_SLOTS; slot++) {
        struct cell *cell = &truth->cells[slot];
        bool there = at < count && points[at].time_ms == time_of(slot);
        if (there && (!cell->there || !same_value(cell->value, points[at].value))) {
            return history_wrong(history, "series %d, slot %d: %.17g is there, %s%.17g was written",
                                 series, slot, points[at].value, cell->there ? "" : "nothing or ",
                                 cell->value);
        }
        if (!there && cell->there && time_of(slot) >= truth->gone_until_ms) {
            return history_wrong(history, "series %d, slot %d: %.17g is lost", series, slot,
                                 cell->value);
        }
        cell->there = there;
        at += there;
    }
    if (at != count) {
        return history_wrong(history, "series %d: a point twice, or of no known time", series);
    }
    if (id != 0 && storage_read_last(history->reader, id, newest, HISTORY_SLOTS, &newest_count,
                                     &error) != STATUS_OK) {
        return history_wrong(history, "series %d: %s", series, error.text);
    }
    if (newest_count != count) {
        return history_wrong(history, "series %d: %zu points forwards, %zu backwards", series,
                             count, newest_count);
    }
    for (size_t i = 0; i < count; i++) {
        if (newest[i].time_ms != points[i].time_ms ||
            !same_value(newest[i].value, points[i].value)) {
            return history_wrong(history, "series %d: point %zu differs backwards", series, i);
        }
    }
    return true;
}

bool history_verify(struct history *history)
{
    struct error error = {0};
    char models[DISK_PATH_MAX];
    size_t checked = 0;
    history->why[0] = '\0';
    bool good = settle(history);
    for (int series = 0; good && series < HISTORY_SERIES; series++) {
        good = series_verify(history, series);
    }
    if (good && storage_check(history->storage, history_finding, history, &error) != STATUS_OK) {
        good = history_wrong(history, "check: %s", error.text);
    }
    snprintf(models, sizeof models, "%s/models", history->directory);
    if (good && catalogue_check(history->storage, models, history_finding, history, &checked,
                                &error) != STATUS_OK) {
        good = history_wrong(history, "models: %s", error.text);
    }
    return good;
}

bool history_read(struct history *history, uint32_t *digest)
{
    static struct point points[HISTORY_SLOTS];
    *digest = 0;
    for (int series = -1; series < HISTORY_SERIES; series++) {
        size_t count;
        if (!read_all(history, series, points, HISTORY_SLOTS, &count)) {
            return false;
        }
        *digest = hash_crc32c(*digest, points, count * sizeof *points);
    }
    return true;
}

uint32_t history_digest(struct history *history)
{
    uint32_t digest;
    (void)history_read(history, &digest);
    for (int series = -1; series < HISTORY_SERIES; series++) {
        struct series_info info;
        struct error error = {0};
        uint32_t id = series_id(history, series);
        if (id != 0 && storage_series_info(history->storage, id, &info, &error) == STATUS_OK) {
            uint64_t numbers[] = {info.points, info.late, info.updated, info.generation};
            digest = hash_crc32c(digest, numbers, sizeof numbers);
        }
    }
    uint64_t disk[] = {history->disk->operations, history->disk->changes, history->disk->syncs};
    return hash_crc32c(digest, disk, sizeof disk);
}
