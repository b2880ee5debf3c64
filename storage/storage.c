/* The public door of the store: asserts what callers promise, then calls the driver.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Series are answered here, from the index that both drivers share; points and records by the
 * driver.
 */
#include "storage/storage.h"

#include "base/check.h"
#include "base/memory.h"
#include "storage/store.h"

#include <string.h>

enum {
    SERIES_MAX = 100000,
    TAIL_POINTS = 2048,
    TAIL_BYTES_MAX = 24 << 20,
    LIST_BYTES = 64 << 10, /* texts copied out at a time while listing */
    LIST_IDS = 256,
};

struct storage_reader {
    struct storage *storage;
    void *handle;
};

static const struct storage_driver *const drivers[] = {&memory_driver, &sqlite_driver};

/* ---------------------------------------------------------------- the driver's writing calls */

void storage_fault_set(struct storage *storage, uint64_t nth, enum status status)
{
    storage->fault_after = nth;
    storage->fault_status = status;
}

/* True where an injected fault strikes now. */
static bool fault_strikes(struct storage *storage, struct error *error)
{
    if (storage->fault_after == 0 || --storage->fault_after > 0) {
        return false;
    }
    error_set(error, storage->fault_status, "injected fault");
    if (storage->fault_status == STATUS_IO || storage->fault_status == STATUS_NO_SPACE) {
        lock_acquire(&storage->lock);
        storage->counters.writable = false;
        lock_release(&storage->lock);
    }
    return true;
}

enum status store_commit(struct storage *storage, struct write_group *group, struct error *error)
{
    CHECK(!storage->options.read_only && group->count > 0);
    enum status status = group_prepare(storage, group, error);
    if (status == STATUS_OK) {
        if (fault_strikes(storage, error)) {
            status = error->status;
        } else {
            status = storage->driver->commit(storage, group, error);
        }
        if (status != STATUS_OK) {
            group_abandon(storage, group);
        }
    }
    CHECK(group->created_count == 0 && group->touched_count == 0);
    return status;
}

enum status store_compact(struct storage *storage, enum driver_effort effort, bool *more,
                          struct error *error)
{
    CHECK(!storage->options.read_only);
    *more = false;
    if (fault_strikes(storage, error)) {
        return error->status;
    }
    return storage->driver->compact(storage, effort, more, error);
}

enum status store_retain(struct storage *storage, int64_t now_ms, bool *more, struct error *error)
{
    CHECK(!storage->options.read_only);
    *more = false;
    if (fault_strikes(storage, error)) {
        return error->status;
    }
    return storage->driver->retain(storage, now_ms, more, error);
}

int64_t storage_thinned_ms(const struct storage *storage, int64_t now_ms, int64_t time_ms)
{
    const struct downsample *downsample = &storage->options.downsample;
    int64_t step_ms = 0;
    for (size_t i = 0; i < downsample->count; i++) {
        const struct downsample_rule *rule = &downsample->rules[i];
        step_ms = time_ms <= now_ms - rule->age_ms ? rule->step_ms : step_ms;
    }
    return step_ms;
}

void storage_counters_by(struct storage *storage, storage_counter is_counter, void *context)
{
    lock_acquire(&storage->lock);
    storage->is_counter = is_counter;
    storage->counter_context = context;
    lock_release(&storage->lock);
}

static bool counters_awaited(struct storage *storage)
{
    lock_acquire(&storage->lock);
    bool awaited = storage->options.counters_later && storage->is_counter == NULL;
    lock_release(&storage->lock);
    return awaited;
}

bool store_counter(struct storage *storage, const struct series_entry *entry,
                   const struct point *points, size_t count)
{
    if (entry->settings != NULL && entry->settings->has_kind) {
        return entry->settings->kind == SERIES_COUNTER;
    }
    lock_acquire(&storage->lock);
    storage_counter is_counter = storage->is_counter;
    void *context = storage->counter_context;
    lock_release(&storage->lock);
    if (is_counter == NULL) {
        return false;
    }
    if (entry->excluded_count == 0) {
        return is_counter(context, entry->text, entry->text_length, points, count);
    }
    /* What a broken sensor said in an excluded span is no evidence: each stretch beside it is. */
    struct time_spans spans = {.count = entry->excluded_count};
    memcpy(spans.at, entry->excluded, spans.count * sizeof(spans.at[0]));
    bool counter = true;
    size_t from = 0, span = 0;
    for (size_t i = 0; counter && i <= count; i++) {
        if (i == count ||
            time_spans_meet(&spans, points[i].time_ms, points[i].time_ms + 1, &span)) {
            counter = is_counter(context, entry->text, entry->text_length, points + from, i - from);
            from = i + 1;
        }
    }
    return counter;
}

enum status store_downsample(struct storage *storage, int64_t now_ms, enum driver_effort effort,
                             bool *more, struct error *error)
{
    CHECK(!storage->options.read_only);
    *more = false;
    if (storage->options.downsample.count == 0 || counters_awaited(storage)) {
        return STATUS_OK;
    }
    if (fault_strikes(storage, error)) {
        return error->status;
    }
    return storage->driver->downsample(storage, now_ms, effort, more, error);
}

enum status store_recover(struct storage *storage, struct error *error)
{
    CHECK(!storage->options.read_only);
    if (fault_strikes(storage, error)) {
        return error->status;
    }
    return storage->driver->recover(storage, error);
}

/* ---------------------------------------------------------------- series */

uint32_t storage_series_find(struct storage *storage, const char *text, size_t length)
{
    if (length == 0 || length > SERIES_TEXT_MAX) {
        return 0;
    }
    uint32_t hash = text_hash(text, length);
    lock_acquire(&storage->names_lock);
    const struct series_entry *entry = text_table_find(&storage->names, hash, text, length);
    uint32_t id = entry == NULL ? 0 : entry->id;
    lock_release(&storage->names_lock);
    return id;
}

enum status storage_series_info(struct storage *storage, uint32_t id, struct series_info *info,
                                struct error *error)
{
    *info = (struct series_info){0};
    lock_acquire(&storage->lock);
    const struct series_entry *entry = series_directory_at(&storage->directory, id);
    if (entry != NULL) {
        *info = (struct series_info){
            .id = entry->id,
            .created_ms = entry->created_ms,
            .points = entry->points,
            .late = entry->late,
            .updated = entry->updated,
            .first_ms = entry->points > 0 ? entry->first_ms : 0,
            .last_ms = entry->points > 0 ? entry->last_ms : 0,
            .last_value = entry->last_value,
            .ended = entry->ended,
            .generation = entry->generation,
            .excluded = entry->excluded_count,
        };
        if (entry->settings != NULL) {
            info->settings = *entry->settings;
        }
    }
    lock_release(&storage->lock);
    if (entry == NULL) {
        return error_set(error, STATUS_NOT_FOUND, "there is no series %u", id);
    }
    return STATUS_OK;
}

void storage_series_excluded(struct storage *storage, uint32_t id, struct time_spans *out)
{
    out->count = 0;
    lock_acquire(&storage->lock);
    const struct series_entry *entry = series_directory_at(&storage->directory, id);
    if (entry != NULL && entry->excluded_count > 0) {
        out->count = entry->excluded_count;
        memcpy(out->at, entry->excluded, out->count * sizeof *out->at);
    }
    lock_release(&storage->lock);
}

size_t storage_series_text(struct storage *storage, uint32_t id, char out[SERIES_TEXT_MAX])
{
    size_t length = 0;
    lock_acquire(&storage->lock);
    const struct series_entry *entry = series_directory_at(&storage->directory, id);
    if (entry != NULL) {
        length = entry->text_length;
        memcpy(out, entry->text, length);
    }
    lock_release(&storage->lock);
    return length;
}

struct listed {
    uint32_t id;
    uint32_t at, length;
};

/* Copies the texts of the next series above `after` until the buffer is full; returns how many. */
static size_t list_copy(struct storage *storage, uint32_t after, struct listed *listed, char *texts)
{
    size_t count = 0, used = 0;
    lock_acquire(&storage->lock);
    const struct series_entry *entry = NULL;
    while ((entry = series_directory_next(&storage->directory, after)) != NULL) {
        if (count == LIST_IDS || used + entry->text_length > LIST_BYTES) {
            break;
        }
        memcpy(texts + used, entry->text, entry->text_length);
        listed[count++] = (struct listed){entry->id, (uint32_t)used, entry->text_length};
        used += entry->text_length;
        after = entry->id;
    }
    lock_release(&storage->lock);
    return count;
}

size_t storage_series_list(struct storage *storage, const struct selector *selector, uint32_t after,
                           uint32_t *ids, size_t maximum)
{
    /* Matching calls out and may be slow: it runs on copies, not under the lock. */
    struct listed listed[LIST_IDS];
    char texts[LIST_BYTES];
    size_t found = 0;
    while (found < maximum) {
        size_t count = list_copy(storage, after, listed, texts);
        for (size_t i = 0; i < count && found < maximum; i++) {
            if (selector == NULL ||
                selector_matches(selector, texts + listed[i].at, listed[i].length)) {
                ids[found++] = listed[i].id;
            }
        }
        if (count == 0) {
            break;
        }
        after = listed[count - 1].id;
    }
    return found;
}

uint32_t storage_series_next(struct storage *storage, uint32_t after)
{
    lock_acquire(&storage->lock);
    const struct series_entry *entry = series_directory_next(&storage->directory, after);
    uint32_t id = entry == NULL ? 0 : entry->id;
    lock_release(&storage->lock);
    return id;
}

uint64_t storage_series_changes(struct storage *storage)
{
    lock_acquire(&storage->lock);
    uint64_t changes = storage->series_changes;
    lock_release(&storage->lock);
    return changes;
}

uint32_t storage_series_count(struct storage *storage)
{
    lock_acquire(&storage->names_lock);
    uint32_t count = (uint32_t)storage->names.count;
    lock_release(&storage->names_lock);
    return count;
}

/* ---------------------------------------------------------------- points and records */

enum status storage_reader_open(struct storage *storage, struct storage_reader **out,
                                struct error *error)
{
    struct storage_reader *reader = mem_zeroed(1, sizeof *reader);
    if (reader == NULL) {
        return error_set(error, STATUS_NO_MEMORY, "could not allocate a reader");
    }
    reader->storage = storage;
    if (storage->driver->reader_open(storage, &reader->handle, error) != STATUS_OK) {
        mem_free(reader);
        return error->status;
    }
    *out = reader;
    return STATUS_OK;
}

void storage_reader_close(struct storage_reader *reader)
{
    if (reader != NULL) {
        reader->storage->driver->reader_close(reader->handle);
        mem_free(reader);
    }
}

static void sorted_check(const struct point *points, size_t count)
{
    for (size_t i = 1; i < count; i++) {
        SLOW_CHECK(points[i - 1].time_ms < points[i].time_ms);
    }
}

enum status storage_read(struct storage_reader *reader, uint32_t id, int64_t start_ms,
                         int64_t end_ms, struct point *out, size_t maximum, size_t *count,
                         struct error *error)
{
    *count = 0;
    enum status status = reader->storage->driver->read(reader->handle, id, start_ms, end_ms, out,
                                                       maximum, count, error);
    CHECK(*count <= maximum);
    sorted_check(out, *count);
    return status;
}

enum status storage_read_last(struct storage_reader *reader, uint32_t id, struct point *out,
                              size_t maximum, size_t *count, struct error *error)
{
    *count = 0;
    enum status status =
        reader->storage->driver->read_last(reader->handle, id, out, maximum, count, error);
    CHECK(*count <= maximum);
    sorted_check(out, *count);
    return status;
}

size_t storage_tail(struct storage *storage, uint32_t id, struct point *out, size_t maximum,
                    bool *complete)
{
    size_t count = 0;
    *complete = false;
    lock_acquire(&storage->lock);
    struct series_entry *entry = series_directory_at(&storage->directory, id);
    if (entry != NULL) {
        count = storage->driver->tail(entry, out, maximum, complete);
    }
    lock_release(&storage->lock);
    CHECK(count <= maximum);
    return count;
}

enum status storage_records(struct storage_reader *reader, const char *kind,
                            storage_record_visit visit, void *context, struct error *error)
{
    return reader->storage->driver->records(reader->handle, kind, visit, context, error);
}

enum status storage_vintages(struct storage_reader *reader, uint32_t id, int64_t start_ms,
                             int64_t end_ms, storage_vintage_visit visit, void *context,
                             struct error *error)
{
    return reader->storage->driver->vintages(reader->handle, id, start_ms, end_ms, visit, context,
                                             error);
}

/* ---------------------------------------------------------------- state */

void storage_stats(struct storage *storage, struct storage_stats *stats)
{
    *stats = (struct storage_stats){.series = storage_series_count(storage)};
    lock_acquire(&storage->lock);
    const struct storage_counters *counters = &storage->counters;
    stats->points = counters->points;
    stats->journal_points = counters->journal_points;
    stats->chunks = counters->chunks;
    stats->commits = counters->commits;
    stats->commit_points = counters->commit_points;
    stats->commit_failures = counters->commit_failures;
    stats->last_commit_ns = counters->last_commit_ns;
    stats->tail_bytes = counters->tail_bytes;
    stats->index_bytes = counters->index_bytes + series_directory_bytes(&storage->directory);
    stats->writable = counters->writable;
    stats->full = counters->full;
    stats->damaged = counters->damaged;
    stats->stuck = counters->stuck;
    stats->expired = counters->expired;
    lock_release(&storage->lock);
    lock_acquire(&storage->names_lock);
    stats->index_bytes += storage->names.capacity * sizeof *storage->names.slots;
    lock_release(&storage->names_lock);
    storage->driver->stats(storage, stats);
}

enum status storage_check(struct storage *storage, storage_report report, void *context,
                          struct error *error)
{
    return storage->driver->check(storage, report, context, error);
}

/* ---------------------------------------------------------------- open and close */

/* The driver of a URL, and what follows the colon. */
static const struct storage_driver *driver_of(const char *url, const char **path)
{
    for (size_t i = 0; i < ARRAY_COUNT(drivers); i++) {
        size_t length = strlen(drivers[i]->scheme);
        if (strncmp(url, drivers[i]->scheme, length) == 0 && url[length] == ':') {
            *path = url + length + 1;
            return drivers[i];
        }
    }
    return NULL;
}

static void entries_free(struct storage *storage)
{
    struct series_entry *entry = NULL;
    for (uint32_t id = 0; (entry = series_directory_next(&storage->directory, id)) != NULL;) {
        id = entry->id;
        series_directory_remove(&storage->directory, id);
        storage->driver->entry_release(entry);
        series_entry_free(entry);
    }
}

static void storage_free(struct storage *storage)
{
    entries_free(storage);
    series_directory_release(&storage->directory);
    text_table_release(&storage->names);
    batch_pool_release(&storage->pool);
    lock_release_memory(&storage->lock);
    lock_release_memory(&storage->names_lock);
    mem_free(storage);
}

enum status storage_open(const struct storage_options *options, struct storage **out,
                         struct error *error)
{
    const char *path = "";
    const struct storage_driver *driver = driver_of(options->url, &path);
    if (driver == NULL) {
        error_set(error, STATUS_INVALID, "cannot open a store at \"%.200s\"", options->url);
        return error_hint(error, "Use sqlite:DIRECTORY or memory:.");
    }
    struct storage *storage = mem_zeroed(1, sizeof *storage);
    if (storage == NULL) {
        return error_set(error, STATUS_NO_MEMORY, "could not allocate the store");
    }
    CHECK(driver->version == DRIVER_VERSION && driver->entry_bytes >= sizeof(struct series_entry));
    storage->driver = driver;
    storage->options = *options;
    storage->options.url = NULL;
    if (storage->options.series_max == 0) {
        storage->options.series_max = SERIES_MAX;
    }
    if (storage->options.tail_points == 0) {
        storage->options.tail_points = TAIL_POINTS;
    }
    if (storage->options.tail_bytes_max == 0) {
        storage->options.tail_bytes_max = TAIL_BYTES_MAX;
    }
    lock_init(&storage->lock);
    lock_init(&storage->names_lock);
    batch_pool_init(&storage->pool);
    storage->counters.writable = !options->read_only;
    if (driver->open(storage, path, error) != STATUS_OK) {
        storage_free(storage);
        return error->status;
    }
    *out = storage;
    return STATUS_OK;
}

void storage_close(struct storage *storage)
{
    if (storage != NULL) {
        storage->driver->close(storage);
        storage_free(storage);
    }
}
