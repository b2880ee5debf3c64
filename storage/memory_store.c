/* Driver "memory": plain sorted arrays; the executable specification of what a store does.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Nothing is durable and nothing is fast on purpose: each function says in a few lines what the
 * contract of driver.h means. The contract suite runs on this driver and on the others alike. Used
 * by tests, fuzzers, and `forecastd backtest`.
 */
#include "storage/driver.h"

#include "base/check.h"
#include "base/memory.h"
#include "storage/batch.h"
#include "storage/store.h"

#include <string.h>

struct memory_vintage {
    struct memory_vintage *next; /* the newest first */
    int64_t issued_ms, expires_ms;
    unsigned char *bytes;
    size_t length;
};

struct memory_series {
    struct series_entry entry;
    struct memory_vintage *vintages; /* guarded by storage->lock */
    struct point *points;            /* sorted by time */
    size_t count, capacity;
    size_t incoming; /* of the group being committed */
};

struct memory_record {
    struct memory_record *next; /* sorted by kind, then key */
    char *kind, *key, *json;
    size_t length;
};

struct memory_state {
    struct memory_record *records; /* guarded by storage->lock */
};

static struct memory_series *series_of(struct series_entry *entry)
{
    return (struct memory_series *)entry;
}

static size_t lower_bound(const struct memory_series *series, int64_t time_ms)
{
    size_t low = 0, high = series->count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (series->points[middle].time_ms < time_ms) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

static void entry_init(struct series_entry *entry)
{
    (void)entry;
}

static void entry_release(struct series_entry *entry)
{
    mem_free(series_of(entry)->points);
    while (series_of(entry)->vintages != NULL) {
        struct memory_vintage *vintage = series_of(entry)->vintages;
        series_of(entry)->vintages = vintage->next;
        mem_free(vintage->bytes);
        mem_free(vintage);
    }
}

static enum status memory_open(struct storage *storage, const char *path, struct error *error)
{
    (void)path;
    storage->state = mem_zeroed(1, sizeof(struct memory_state));
    return storage->state != NULL
               ? STATUS_OK
               : error_set(error, STATUS_NO_MEMORY, "could not allocate a store");
}

static void record_free(struct memory_record *record)
{
    mem_free(record->kind);
    mem_free(record->key);
    mem_free(record->json);
    mem_free(record);
}

static void memory_close(struct storage *storage)
{
    struct memory_state *state = storage->state;
    while (state->records != NULL) {
        struct memory_record *record = state->records;
        state->records = record->next;
        record_free(record);
    }
    mem_free(state);
}

/* ---------------------------------------------------------------- commit */

/* Room for every point of the group, so that applying it cannot fail. */
static enum status room_make(struct storage *storage, struct write_group *group,
                             struct error *error)
{
    for (size_t b = 0; b < group->count; b++) {
        const struct write_batch *batch = group->batches[b];
        for (size_t i = 0; !batch->refused && i < batch->op_count; i++) {
            struct series_entry *entry = batch->series[batch->ops[i].series].entry;
            group_touch(group, entry);
            series_of(entry)->incoming++;
        }
    }
    enum status status = STATUS_OK;
    lock_acquire(&storage->lock);
    for (size_t i = 0; i < group->touched_count; i++) {
        struct memory_series *series = series_of(group->touched[i]);
        size_t need = series->count + series->incoming;
        series->incoming = 0;
        if (status == STATUS_OK && need > series->capacity) {
            struct point *points = mem_resize(series->points, need * 2, sizeof *points);
            if (points == NULL) {
                status = error_set(error, STATUS_NO_MEMORY, "could not allocate points");
                continue;
            }
            storage->counters.tail_bytes += (need * 2 - series->capacity) * sizeof *points;
            series->points = points;
            series->capacity = need * 2;
        }
    }
    lock_release(&storage->lock);
    return status;
}

static void point_apply(struct storage *storage, struct memory_series *series, struct point point,
                        struct write_result *result)
{
    size_t at = lower_bound(series, point.time_ms);
    bool existed = at < series->count && series->points[at].time_ms == point.time_ms;
    if (!existed) {
        memmove(series->points + at + 1, series->points + at,
                (series->count - at) * sizeof *series->points);
        series->count++;
    }
    series->points[at] = point;
    storage->counters.points += entry_count_point(&series->entry, point, existed, result);
}

static void settings_apply(struct series_entry *entry, struct batch_change *change,
                           struct series_settings *room)
{
    *room = change->settings;
    mem_free(entry->settings);
    entry->settings = room;
    entry->generation++;
}

static void record_put(struct memory_state *state, struct batch_change *change,
                       struct memory_record *room)
{
    struct memory_record **at = &state->records;
    int order = 1;
    for (; *at != NULL; at = &(*at)->next) {
        order = strcmp((*at)->kind, change->record_kind);
        order = order != 0 ? order : strcmp((*at)->key, change->record_key);
        if (order >= 0) {
            break;
        }
    }
    if (*at != NULL && order == 0) {
        struct memory_record *old = *at;
        *at = old->next;
        record_free(old);
    }
    if (room != NULL) { /* takes the texts from the change */
        *room = (struct memory_record){*at, change->record_kind, change->record_key,
                                       change->record_json, change->record_length};
        change->record_kind = change->record_key = change->record_json = NULL;
        *at = room;
    }
}

/* Takes the bytes from the change. */
static void vintage_put(struct memory_series *series, struct batch_change *change,
                        struct memory_vintage *room)
{
    struct memory_vintage **at = &series->vintages;
    while (*at != NULL && (*at)->issued_ms > change->issued_ms) {
        at = &(*at)->next;
    }
    if (*at != NULL && (*at)->issued_ms == change->issued_ms) {
        struct memory_vintage *old = *at;
        *at = old->next;
        mem_free(old->bytes);
        mem_free(old);
    }
    *room = (struct memory_vintage){*at, change->issued_ms, change->expires_ms, change->vintage,
                                    change->vintage_length};
    change->vintage = NULL;
    *at = room;
}

/* One change; `room` is memory for what it needs. */
static void change_apply(struct storage *storage, struct batch_change *change, void *room)
{
    switch (change->kind) {
    case CHANGE_SETTINGS:
        settings_apply(change->entry, change, room);
        break;
    case CHANGE_EXCLUDED:
        entry_take_excluded(change->entry, change);
        break;
    case CHANGE_RECORD:
        record_put(storage->state, change, room);
        break;
    case CHANGE_VINTAGE:
        if (change->entry != NULL) {
            vintage_put(series_of(change->entry), change, room);
        }
        break;
    case CHANGE_DELETE:
        break; /* group_publish removes the series */
    }
}

static void batch_apply(struct storage *storage, struct write_batch *batch, void **rooms)
{
    size_t change = 0;
    for (size_t i = 0; i <= batch->op_count; i++) {
        while (change < batch->change_count && batch->changes[change].at <= i) {
            change_apply(storage, &batch->changes[change], rooms[change]);
            change++;
        }
        if (i == batch->op_count) {
            break;
        }
        const struct batch_op *op = &batch->ops[i];
        struct series_entry *entry = batch->series[op->series].entry;
        if (op->kind == OP_POINT) {
            point_apply(storage, series_of(entry), op->point, &batch->result);
        } else {
            entry_count_end(entry, op->point.time_ms);
        }
    }
}

static size_t room_bytes(enum batch_change_kind kind)
{
    return kind == CHANGE_RECORD    ? sizeof(struct memory_record)
           : kind == CHANGE_VINTAGE ? sizeof(struct memory_vintage)
                                    : sizeof(struct series_settings);
}

static enum status memory_commit(struct storage *storage, struct write_group *group,
                                 struct error *error)
{
    if (room_make(storage, group, error) != STATUS_OK) {
        return error->status;
    }
    size_t changes = 0;
    for (size_t b = 0; b < group->count; b++) {
        changes += group->batches[b]->change_count;
    }
    void **rooms = mem_zeroed(changes + 1, sizeof *rooms);
    bool good = rooms != NULL;
    for (size_t b = 0, r = 0; good && b < group->count; b++) {
        for (size_t i = 0; good && i < group->batches[b]->change_count; i++, r++) {
            const struct batch_change *change = &group->batches[b]->changes[i];
            if (group->batches[b]->refused || change->kind == CHANGE_DELETE ||
                change->kind == CHANGE_EXCLUDED ||
                (change->kind == CHANGE_RECORD && change->record_json == NULL) ||
                (change->kind == CHANGE_VINTAGE && change->entry == NULL)) {
                continue;
            }
            rooms[r] = mem_alloc(room_bytes(change->kind));
            good = rooms[r] != NULL;
        }
    }
    if (!good) {
        for (size_t r = 0; rooms != NULL && r < changes; r++) {
            mem_free(rooms[r]);
        }
        mem_free(rooms);
        return error_set(error, STATUS_NO_MEMORY, "could not allocate a change");
    }
    lock_acquire(&storage->lock);
    for (size_t b = 0, r = 0; b < group->count; r += group->batches[b++]->change_count) {
        if (!group->batches[b]->refused) {
            batch_apply(storage, group->batches[b], rooms + r);
        }
    }
    storage->counters.writable = true;
    lock_release(&storage->lock);
    mem_free(rooms);
    group_publish(storage, group);
    return STATUS_OK;
}

/* ---------------------------------------------------------------- between commits */

static enum status memory_compact(struct storage *storage, enum driver_effort effort, bool *more,
                                  struct error *error)
{
    (void)storage, (void)effort, (void)error;
    *more = false;
    return STATUS_OK;
}

/* Under the lock. */
static void vintages_expire(struct memory_series *series, int64_t now_ms)
{
    for (struct memory_vintage **at = &series->vintages; *at != NULL;) {
        struct memory_vintage *vintage = *at;
        if (vintage->expires_ms >= now_ms) {
            at = &vintage->next;
            continue;
        }
        *at = vintage->next;
        mem_free(vintage->bytes);
        mem_free(vintage);
    }
}

static enum status memory_retain(struct storage *storage, int64_t now_ms, bool *more,
                                 struct error *error)
{
    (void)error;
    *more = false;
    lock_acquire(&storage->lock);
    struct series_entry *entry = NULL;
    for (uint32_t id = 0; (entry = series_directory_next(&storage->directory, id)) != NULL;) {
        id = entry->id;
        vintages_expire(series_of(entry), now_ms);
        int64_t keep_ms = entry_retention(entry, storage->options.retention_ms);
        if (keep_ms <= 0) {
            continue;
        }
        struct memory_series *series = series_of(entry);
        size_t gone = lower_bound(series, now_ms - keep_ms);
        if (gone == 0) {
            continue;
        }
        series->count -= gone;
        memmove(series->points, series->points + gone, series->count * sizeof *series->points);
        entry->points = series->count;
        entry->first_ms = series->count > 0 ? series->points[0].time_ms : 0;
        entry->generation++;
        storage->counters.points -= gone;
    }
    lock_release(&storage->lock);
    storage->aged_ms = now_ms;
    return STATUS_OK;
}

static void series_downsample(struct storage *storage, struct series_entry *entry, int64_t now_ms)
{
    struct memory_series *series = series_of(entry);
    const struct downsample *downsample = &storage->options.downsample;
    bool counter = store_counter(storage, entry, series->points, series->count);
    size_t before = series->count;
    lock_acquire(&storage->lock);
    for (size_t i = 0; i < downsample->count && series->count > 0; i++) {
        const struct downsample_rule *rule = &downsample->rules[i];
        series->count = downsample_points(series->points, series->count, rule->step_ms,
                                          downsample_cut(rule, now_ms, entry->last_ms), counter);
    }
    if (series->count < before) {
        entry->points = series->count;
        entry->first_ms = series->points[0].time_ms;
        entry->generation++;
        storage->counters.points -= before - series->count;
    }
    lock_release(&storage->lock);
}

static enum status memory_downsample(struct storage *storage, int64_t now_ms,
                                     enum driver_effort effort, bool *more, struct error *error)
{
    (void)effort, (void)error;
    *more = false;
    struct series_entry *entry = NULL;
    for (uint32_t id = 0; (entry = series_directory_next(&storage->directory, id)) != NULL;) {
        id = entry->id;
        series_downsample(storage, entry, now_ms);
    }
    return STATUS_OK;
}

static enum status memory_recover(struct storage *storage, struct error *error)
{
    (void)error;
    lock_acquire(&storage->lock);
    storage->counters.writable = true;
    lock_release(&storage->lock);
    return STATUS_OK;
}

/* ---------------------------------------------------------------- reading */

static enum status reader_open(struct storage *storage, void **out, struct error *error)
{
    (void)error;
    *out = storage;
    return STATUS_OK;
}

static void reader_close(void *reader)
{
    (void)reader;
}

static size_t copy_out(const struct memory_series *series, size_t from, size_t to,
                       struct point *out)
{
    if (to > from) {
        memcpy(out, series->points + from, (to - from) * sizeof *out);
        return to - from;
    }
    return 0;
}

static enum status memory_read(void *reader, uint32_t id, int64_t start_ms, int64_t end_ms,
                               struct point *out, size_t maximum, size_t *count,
                               struct error *error)
{
    struct storage *storage = reader;
    lock_acquire(&storage->lock);
    struct series_entry *entry = series_directory_at(&storage->directory, id);
    if (entry != NULL) {
        const struct memory_series *series = series_of(entry);
        size_t from = lower_bound(series, start_ms);
        size_t to = lower_bound(series, end_ms);
        to = to > from && to - from > maximum ? from + maximum : to;
        *count = copy_out(series, from, to, out);
    }
    lock_release(&storage->lock);
    return entry != NULL ? STATUS_OK
                         : error_set(error, STATUS_NOT_FOUND, "there is no series %u", id);
}

static size_t memory_tail(struct series_entry *entry, struct point *out, size_t maximum,
                          bool *complete)
{
    const struct memory_series *series = series_of(entry);
    *complete = true;
    return copy_out(series, series->count > maximum ? series->count - maximum : 0, series->count,
                    out);
}

static enum status memory_read_last(void *reader, uint32_t id, struct point *out, size_t maximum,
                                    size_t *count, struct error *error)
{
    struct storage *storage = reader;
    bool complete;
    lock_acquire(&storage->lock);
    struct series_entry *entry = series_directory_at(&storage->directory, id);
    if (entry != NULL) {
        *count = memory_tail(entry, out, maximum, &complete);
    }
    lock_release(&storage->lock);
    return entry != NULL ? STATUS_OK
                         : error_set(error, STATUS_NOT_FOUND, "there is no series %u", id);
}

static enum status memory_records(void *reader, const char *kind, storage_record_visit visit,
                                  void *context, struct error *error)
{
    /* The visitor must not run under the lock: each record is copied out, found again by its key.
     */
    struct storage *storage = reader;
    struct memory_state *state = storage->state;
    char *key = NULL;
    bool going = true;
    while (going) {
        char *json = NULL, *next = NULL;
        size_t length = 0;
        lock_acquire(&storage->lock);
        const struct memory_record *record = state->records;
        while (record != NULL && (strcmp(record->kind, kind) != 0 ||
                                  (key != NULL && strcmp(record->key, key) <= 0))) {
            record = record->next;
        }
        if (record != NULL) {
            next = mem_copy_text(record->key, strlen(record->key));
            json = mem_copy_text(record->json, record->length);
            length = record->length;
        }
        lock_release(&storage->lock);
        mem_free(key);
        key = next;
        bool copied = next != NULL && json != NULL;
        going = copied && visit(context, key, json, length);
        mem_free(json);
        if (record != NULL && !copied) {
            mem_free(key);
            return error_set(error, STATUS_NO_MEMORY, "could not allocate a record");
        }
    }
    mem_free(key);
    return STATUS_OK;
}

/* The next one older than `before_ms` and not before `start_ms`, copied out. Under no lock, as
 * records are visited. */
static enum status vintage_copy(struct storage *storage, uint32_t id, int64_t start_ms,
                                int64_t before_ms, struct memory_vintage *copy)
{
    enum status status = STATUS_NOT_FOUND;
    lock_acquire(&storage->lock);
    struct series_entry *entry = series_directory_at(&storage->directory, id);
    const struct memory_vintage *vintage = entry == NULL ? NULL : series_of(entry)->vintages;
    while (vintage != NULL && vintage->issued_ms >= before_ms) {
        vintage = vintage->next;
    }
    if (vintage != NULL && vintage->issued_ms >= start_ms) {
        *copy = *vintage;
        copy->bytes = mem_alloc(vintage->length);
        status = copy->bytes == NULL ? STATUS_NO_MEMORY : STATUS_OK;
        if (copy->bytes != NULL) {
            memcpy(copy->bytes, vintage->bytes, vintage->length);
        }
    }
    lock_release(&storage->lock);
    return status;
}

static enum status memory_vintages(void *reader, uint32_t id, int64_t start_ms, int64_t end_ms,
                                   storage_vintage_visit visit, void *context, struct error *error)
{
    struct memory_vintage copy = {.issued_ms = end_ms};
    enum status status;
    bool going = true;
    while (going && (status = vintage_copy(reader, id, start_ms, copy.issued_ms, &copy)) !=
                        STATUS_NOT_FOUND) {
        if (status != STATUS_OK) {
            return error_set(error, status, "could not allocate a vintage");
        }
        going = visit(context, copy.issued_ms, copy.bytes, copy.length);
        mem_free(copy.bytes);
    }
    return STATUS_OK;
}

static void memory_stats(struct storage *storage, struct storage_stats *stats)
{
    (void)storage, (void)stats;
}

static enum status memory_check(struct storage *storage, storage_report report, void *context,
                                struct error *error)
{
    (void)storage, (void)report, (void)context, (void)error;
    return STATUS_OK;
}

const struct storage_driver memory_driver = {
    .version = DRIVER_VERSION,
    .scheme = "memory",
    .entry_bytes = sizeof(struct memory_series),
    .open = memory_open,
    .close = memory_close,
    .entry_init = entry_init,
    .entry_release = entry_release,
    .commit = memory_commit,
    .compact = memory_compact,
    .retain = memory_retain,
    .recover = memory_recover,
    .reader_open = reader_open,
    .reader_close = reader_close,
    .read = memory_read,
    .read_last = memory_read_last,
    .records = memory_records,
    .tail = memory_tail,
    .stats = memory_stats,
    .check = memory_check,
    .vintages = memory_vintages,
    .downsample = memory_downsample,
};
