/* Building a batch: an arena of operations with its own small index of series.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Batches are recycled with their memory, up to POOL_BYTES_MAX in all; a larger one is freed.
 */
#include "storage/batch.h"

#include "base/check.h"
#include "base/memory.h"
#include "storage/store.h"

#include <math.h>
#include <string.h>

enum {
    POOL_BYTES_MAX = 2 << 20,
    START_CAPACITY = 16,
    CHANGES_MAX = 65536,
};

/* Times beyond this would overflow sums of times; it is 146 million years. */
#define TIME_LIMIT_MS (INT64_C(1) << 62)

size_t write_batch_bytes(const struct write_batch *batch)
{
    return sizeof *batch + batch->op_capacity * sizeof *batch->ops + batch->texts_capacity +
           batch->series_capacity * sizeof *batch->series + batch->slot_count * sizeof(uint32_t) +
           batch->change_capacity * sizeof *batch->changes + batch->change_bytes;
}

static void batch_destroy(struct write_batch *batch)
{
    mem_free(batch->ops);
    mem_free(batch->series);
    mem_free(batch->slots);
    mem_free(batch->texts);
    mem_free(batch->changes);
    mem_free(batch);
}

void batch_pool_init(struct batch_pool *pool)
{
    *pool = (struct batch_pool){0};
    lock_init(&pool->lock);
}

void batch_pool_release(struct batch_pool *pool)
{
    while (pool->head != NULL) {
        struct write_batch *batch = pool->head;
        pool->head = batch->next;
        batch_destroy(batch);
    }
    lock_release_memory(&pool->lock);
}

/* Grows one of the batch's arrays to hold `need` items. */
static enum status array_reserve(void *array_pointer, size_t *capacity, size_t need, size_t size,
                                 struct error *error)
{
    if (need <= *capacity) {
        return STATUS_OK;
    }
    size_t wanted = *capacity == 0 ? START_CAPACITY : *capacity;
    while (wanted < need) {
        wanted *= 2;
    }
    void *array;
    memcpy(&array, array_pointer, sizeof array);
    array = mem_resize(array, wanted, size);
    if (array == NULL) {
        return error_set(error, STATUS_NO_MEMORY, "could not allocate a batch of points");
    }
    memcpy(array_pointer, &array, sizeof array);
    *capacity = wanted;
    return STATUS_OK;
}

enum status write_batch_new(struct storage *storage, size_t points_max, struct write_batch **out,
                            struct error *error)
{
    lock_acquire(&storage->pool.lock);
    struct write_batch *batch = storage->pool.head;
    if (batch != NULL) {
        storage->pool.head = batch->next;
        storage->pool.bytes -= write_batch_bytes(batch);
    }
    lock_release(&storage->pool.lock);
    if (batch == NULL) {
        batch = mem_zeroed(1, sizeof *batch);
        if (batch == NULL) {
            return error_set(error, STATUS_NO_MEMORY, "could not allocate a batch of points");
        }
    }
    batch->storage = storage;
    batch->points_max = points_max;
    *out = batch;
    return STATUS_OK;
}

void batch_promise_release(struct write_batch *batch)
{
    if (batch->promised > 0) {
        lock_acquire(&batch->storage->names_lock);
        batch->storage->promised -= batch->promised;
        lock_release(&batch->storage->names_lock);
        batch->promised = 0;
    }
}

static void change_release(struct batch_change *change)
{
    mem_free(change->record_kind);
    mem_free(change->record_key);
    mem_free(change->record_json);
    mem_free(change->vintage);
    mem_free(change->excluded);
}

void write_batch_free(struct write_batch *batch)
{
    if (batch == NULL) {
        return;
    }
    batch_promise_release(batch);
    for (size_t i = 0; i < batch->change_count; i++) {
        change_release(&batch->changes[i]);
    }
    if (batch->indexed_count > 0) {
        memset(batch->slots, 0, batch->slot_count * sizeof *batch->slots);
    }
    batch->op_count = batch->series_count = batch->texts_length = batch->change_count = 0;
    batch->indexed_count = batch->change_bytes = 0;
    batch->has_delete = batch->refused = false;
    batch->result = (struct write_result){0};
    batch->done = NULL;
    batch->context = NULL;
    batch->next = NULL;
    struct batch_pool *pool = &batch->storage->pool;
    size_t bytes = write_batch_bytes(batch);
    lock_acquire(&pool->lock);
    bool keep = pool->bytes + bytes <= POOL_BYTES_MAX;
    if (keep) {
        batch->next = pool->head;
        pool->head = batch;
        pool->bytes += bytes;
    }
    lock_release(&pool->lock);
    if (!keep) {
        batch_destroy(batch);
    }
}

/* ---------------------------------------------------------------- series */

/* Ids are never used again, so one that is known stays right until its series is deleted: the
 * number of deletions says whether that may have happened. */
static uint64_t handle_make(uint32_t deletions, uint32_t id)
{
    return (uint64_t)deletions << 32 | id;
}

static uint32_t handle_id(uint64_t handle)
{
    return (uint32_t)handle;
}

static void slot_put(struct write_batch *batch, uint32_t number)
{
    size_t mask = batch->slot_count - 1;
    size_t at = batch->series[number].hash & mask;
    while (batch->slots[at] != 0) {
        at = (at + 1) & mask;
    }
    batch->slots[at] = number + 1;
}

static enum status slots_reserve(struct write_batch *batch, struct error *error)
{
    size_t need = (batch->indexed_count + 1) * 2;
    if (need <= batch->slot_count) {
        return STATUS_OK;
    }
    size_t count = batch->slot_count == 0 ? (size_t)START_CAPACITY * 2 : batch->slot_count * 2;
    uint32_t *slots = mem_zeroed(count, sizeof *slots);
    if (slots == NULL) {
        return error_set(error, STATUS_NO_MEMORY, "could not allocate a batch of points");
    }
    mem_free(batch->slots);
    batch->slots = slots;
    batch->slot_count = count;
    for (uint32_t i = 0; i < batch->series_count; i++) {
        if (batch->series[i].is_indexed) {
            slot_put(batch, i);
        }
    }
    return STATUS_OK;
}

/* The batch's newest number with this text, or UINT32_MAX. */
static uint32_t number_find(const struct write_batch *batch, uint32_t hash, const char *text,
                            size_t length)
{
    uint32_t found = UINT32_MAX;
    if (batch->slot_count == 0) {
        return found;
    }
    size_t mask = batch->slot_count - 1;
    for (size_t at = hash & mask; batch->slots[at] != 0; at = (at + 1) & mask) {
        const struct batch_series *series = &batch->series[batch->slots[at] - 1];
        if (series->hash == hash && series->text_length == length &&
            memcmp(batch->texts + series->text_at, text, length) == 0) {
            found = batch->slots[at] - 1; /* after a delete there are two: the later one counts */
        }
    }
    return found;
}

static bool deleted_here(const struct write_batch *batch, uint32_t id)
{
    for (size_t i = 0; batch->has_delete && i < batch->change_count; i++) {
        if (batch->changes[i].kind == CHANGE_DELETE && batch->changes[i].id == id) {
            return true;
        }
    }
    return false;
}

/* Adds a series that nothing is known of but its text; NULL where there is no memory. */
static struct batch_series *series_add(struct write_batch *batch, struct slice text,
                                       struct error *error)
{
    size_t number = batch->series_count, at = batch->texts_length;
    if (array_reserve(&batch->series, &batch->series_capacity, number + 1, sizeof *batch->series,
                      error) != STATUS_OK ||
        array_reserve(&batch->texts, &batch->texts_capacity, at + text.length, 1, error) !=
            STATUS_OK) {
        return NULL;
    }
    memcpy(batch->texts + at, text.bytes, text.length);
    batch->texts_length += text.length;
    batch->series_count++;
    /* Field by field: an object put together elsewhere would have to be waited for. */
    struct batch_series *series = &batch->series[number];
    series->entry = NULL;
    series->id = 0;
    series->hash = 0;
    series->text_at = (uint32_t)at;
    series->text_length = (uint32_t)text.length;
    series->is_indexed = false;
    series->anew = false;
    return series;
}

/* The handle of a series that the store has; where it has none, 0, and a place is promised to the
 * batch. */
static enum status handle_find(struct write_batch *batch, uint32_t hash, struct slice text,
                               uint64_t *handle, struct error *error)
{
    struct storage *storage = batch->storage;
    bool full = false, busy = false;
    lock_acquire(&storage->names_lock);
    const struct series_entry *entry =
        text_table_find(&storage->names, hash, text.bytes, text.length);
    if (entry != NULL) {
        *handle = handle_make(storage->deletions, entry->id);
    } else if (storage->names.count + batch->promised >= storage->options.series_max) {
        full = true;
    } else if (storage->names.count + storage->promised >= storage->options.series_max) {
        busy = true; /* batches on their way may mean the same new series: nobody knows yet */
    } else {
        *handle = 0;
        storage->promised++;
        batch->promised++;
    }
    lock_release(&storage->names_lock);
    if (full) {
        error_set(error, STATUS_TOO_LARGE, "cannot create another series: the store holds %u",
                  storage->options.series_max);
        return error_code(error, "series_limit", "series");
    }
    if (busy) {
        return error_set(error, STATUS_BUSY,
                         "could not name a new series: the last ones that the "
                         "store has room for are being created");
    }
    return STATUS_OK;
}

/* By its text; *handle is what the store knows of it. */
static enum status series_name(struct write_batch *batch, struct slice text, uint64_t *handle,
                               uint32_t *series, struct error *error)
{
    CHECK(text.length >= 1 && text.length <= SERIES_TEXT_MAX);
    uint32_t hash = text_hash(text.bytes, text.length);
    uint32_t number = number_find(batch, hash, text.bytes, text.length);
    if (number != UINT32_MAX &&
        !(batch->series[number].id != 0 && deleted_here(batch, batch->series[number].id))) {
        *series = number;
        return STATUS_OK;
    }
    if (slots_reserve(batch, error) != STATUS_OK ||
        handle_find(batch, hash, text, handle, error) != STATUS_OK) {
        return error->status;
    }
    struct batch_series *added = series_add(batch, text, error);
    if (added == NULL) {
        return error->status;
    }
    uint32_t id = handle_id(*handle);
    added->anew = id != 0 && deleted_here(batch, id);
    added->id = added->anew ? 0 : id;
    added->hash = hash;
    added->is_indexed = true;
    batch->indexed_count++;
    *series = (uint32_t)batch->series_count - 1;
    slot_put(batch, *series);
    return STATUS_OK;
}

enum status write_batch_series(struct write_batch *batch, const char *text, size_t length,
                               uint32_t *series, struct error *error)
{
    uint64_t handle = 0;
    return series_name(batch, (struct slice){text, length}, &handle, series, error);
}

enum status write_batch_series_again(struct write_batch *batch, struct slice text, uint64_t *handle,
                                     uint32_t *series, struct error *error)
{
    uint32_t id = handle_id(*handle);
    bool holds = id != 0 && !batch->has_delete &&
                 *handle == handle_make(atomic_load(&batch->storage->deletions), id);
    if (!holds) {
        *handle = 0;
        return series_name(batch, text, handle, series, error);
    }
    struct batch_series *added = series_add(batch, text, error);
    if (added == NULL) {
        return error->status;
    }
    added->id = id;
    *series = (uint32_t)batch->series_count - 1;
    return STATUS_OK;
}

/* ---------------------------------------------------------------- operations */

static enum status op_add(struct write_batch *batch, uint32_t series, struct point point,
                          enum batch_op_kind kind, struct error *error)
{
    CHECK(series < batch->series_count);
    if (batch->op_count == batch->op_capacity) {
        if (array_reserve(&batch->ops, &batch->op_capacity, batch->op_count + 1, sizeof *batch->ops,
                          error) != STATUS_OK) {
            return error->status;
        }
    }
    if (batch->op_count >= batch->points_max) {
        return error_set(error, STATUS_TOO_LARGE, "cannot take more than %zu points at once",
                         batch->points_max);
    }
    if (point.time_ms < -TIME_LIMIT_MS || point.time_ms > TIME_LIMIT_MS) {
        error_set(error, STATUS_INVALID,
                  "cannot store a point at %lld ms: times lie within 2^62 ms of 1970",
                  (long long)point.time_ms);
        return error_code(error, "bad_time", "timestamp");
    }
    batch->ops[batch->op_count++] =
        (struct batch_op){.point = point, .series = series, .kind = (uint16_t)kind};
    return STATUS_OK;
}

enum status write_batch_point(struct write_batch *batch, uint32_t series, struct point point,
                              struct error *error)
{
    if (isinf(point.value)) {
        error_set(error, STATUS_INVALID, "cannot store an infinite value");
        return error_code(error, "not_finite", "value");
    }
    if (isnan(point.value)) {
        point.value = (double)NAN; /* one bit pattern for "missing" */
    }
    return op_add(batch, series, point, OP_POINT, error);
}

enum status write_batch_end(struct write_batch *batch, uint32_t series, int64_t time_ms,
                            struct error *error)
{
    return op_add(batch, series, (struct point){.time_ms = time_ms}, OP_END, error);
}

size_t write_batch_points(const struct write_batch *batch)
{
    return batch->op_count;
}

void write_batch_truncate(struct write_batch *batch, size_t points)
{
    CHECK(points <= batch->op_count);
    batch->op_count = points;
    for (size_t i = 0; i < batch->change_count; i++) {
        if (batch->changes[i].at > points) {
            batch->changes[i].at = points;
        }
    }
}

/* ---------------------------------------------------------------- other changes */

static enum status change_add(struct write_batch *batch, struct batch_change **out,
                              struct error *error)
{
    if (batch->change_count >= CHANGES_MAX) {
        return error_set(error, STATUS_TOO_LARGE, "cannot make more than %d changes at once",
                         CHANGES_MAX);
    }
    if (array_reserve(&batch->changes, &batch->change_capacity, batch->change_count + 1,
                      sizeof *batch->changes, error) != STATUS_OK) {
        return error->status;
    }
    *out = &batch->changes[batch->change_count];
    **out = (struct batch_change){.at = batch->op_count};
    return STATUS_OK;
}

static bool id_exists(struct storage *storage, uint32_t id)
{
    lock_acquire(&storage->lock);
    bool exists = series_directory_at(&storage->directory, id) != NULL;
    lock_release(&storage->lock);
    return exists;
}

/* A change of a series that there is. */
static enum status change_add_to(struct write_batch *batch, uint32_t id, struct batch_change **out,
                                 struct error *error)
{
    if (!id_exists(batch->storage, id)) {
        return error_set(error, STATUS_NOT_FOUND, "there is no series %u", id);
    }
    if (change_add(batch, out, error) != STATUS_OK) {
        return error->status;
    }
    (*out)->id = id;
    return STATUS_OK;
}

enum status write_batch_settings(struct write_batch *batch, uint32_t id,
                                 const struct series_settings *settings, struct error *error)
{
    struct batch_change *change;
    if (change_add_to(batch, id, &change, error) != STATUS_OK) {
        return error->status;
    }
    change->kind = CHANGE_SETTINGS;
    change->settings = *settings;
    batch->change_count++;
    return STATUS_OK;
}

enum status write_batch_settings_again(struct write_batch *batch, uint32_t id,
                                       const struct series_settings *before,
                                       const struct series_settings *settings, struct error *error)
{
    if (write_batch_settings(batch, id, settings, error) != STATUS_OK) {
        return error->status;
    }
    struct batch_change *change = &batch->changes[batch->change_count - 1];
    change->before = *before;
    change->expects_before = true;
    return STATUS_OK;
}

enum status write_batch_excluded(struct write_batch *batch, uint32_t id,
                                 const struct time_spans *spans, struct error *error)
{
    struct batch_change *change;
    CHECK(spans->count <= TIME_SPANS_MAX);
    if (change_add_to(batch, id, &change, error) != STATUS_OK) {
        return error->status;
    }
    change->kind = CHANGE_EXCLUDED;
    change->excluded_count = (uint8_t)spans->count;
    if (spans->count > 0) {
        change->excluded = mem_array(spans->count, sizeof *change->excluded);
        if (change->excluded == NULL) {
            return error_set(error, STATUS_NO_MEMORY, "could not allocate excluded spans");
        }
        memcpy(change->excluded, spans->at, spans->count * sizeof *change->excluded);
    }
    batch->change_count++;
    return STATUS_OK;
}

enum status write_batch_delete(struct write_batch *batch, uint32_t id, struct error *error)
{
    struct batch_change *change;
    if (!id_exists(batch->storage, id) || deleted_here(batch, id)) {
        return error_set(error, STATUS_NOT_FOUND, "there is no series %u", id);
    }
    if (change_add(batch, &change, error) != STATUS_OK) {
        return error->status;
    }
    change->kind = CHANGE_DELETE;
    change->id = id;
    batch->has_delete = true;
    batch->change_count++;
    return STATUS_OK;
}

enum status write_batch_record(struct write_batch *batch, const char *kind, const char *key,
                               const char *json, size_t length, struct error *error)
{
    struct batch_change *change;
    if (change_add(batch, &change, error) != STATUS_OK) {
        return error->status;
    }
    change->kind = CHANGE_RECORD;
    change->record_kind = mem_copy_text(kind, strlen(kind));
    change->record_key = mem_copy_text(key, strlen(key));
    change->record_json = json == NULL ? NULL : mem_copy_text(json, length);
    change->record_length = length;
    if (change->record_kind == NULL || change->record_key == NULL ||
        (json != NULL && change->record_json == NULL)) {
        change_release(change);
        return error_set(error, STATUS_NO_MEMORY, "could not allocate a record");
    }
    batch->change_count++;
    batch->change_bytes += strlen(kind) + strlen(key) + length + 3; /* their zeros, too */
    return STATUS_OK;
}

enum status write_batch_vintage(struct write_batch *batch, uint32_t id, int64_t issued_ms,
                                int64_t expires_ms, const unsigned char *bytes, size_t length,
                                struct error *error)
{
    struct batch_change *change;
    if (length == 0 || length > VINTAGE_LENGTH_MAX) {
        return error_set(error, STATUS_TOO_LARGE, "cannot keep a vintage of %zu bytes", length);
    }
    if (change_add(batch, &change, error) != STATUS_OK) {
        return error->status;
    }
    change->kind = CHANGE_VINTAGE;
    change->id = id;
    change->issued_ms = issued_ms;
    change->expires_ms = expires_ms;
    change->vintage = mem_alloc(length);
    change->vintage_length = length;
    if (change->vintage == NULL) {
        return error_set(error, STATUS_NO_MEMORY, "could not allocate a vintage");
    }
    memcpy(change->vintage, bytes, length);
    batch->change_count++;
    batch->change_bytes += length;
    return STATUS_OK;
}
