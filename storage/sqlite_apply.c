/* What a group of batches means in memory: staged before the commit, applied after it.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Staging does everything that may fail or wait: it writes the journal record, asks the chunks
 * about points behind the window, and makes room. Applying only moves numbers, so that after the
 * commit the memory always follows the disk.
 *
 * A point in order (the usual one) costs three passes of a few nanoseconds: encode, count, append.
 * Only a point behind the window of its series needs to look into a chunk, to tell an update from a
 * late point; the chunk decoded last is kept, so a run of such points decodes each chunk once.
 */
#include "storage/sqlite_store.h"

#include "base/check.h"
#include "base/log.h"
#include "base/memory.h"

#include <sqlite3.h>
#include <string.h>

enum {
    APPLY_STRIDE = 4096, /* operations under one hold of the lock */
    AHEAD = 12,          /* points whose windows are fetched before it is their turn */
    EVICT_STRIDE = 1024, /* series, likewise */
};

/* ---------------------------------------------------------------- does a point exist */

static bool sorted_has(const struct point *points, size_t count, int64_t time_ms)
{
    size_t at = points_lower_bound(points, count, time_ms);
    return at < count && points[at].time_ms == time_ms;
}

/* Decodes the chunk that would hold the time into the cache; false where there is none. */
static bool cache_fill(struct sqlite_state *state, uint32_t series, int64_t time_ms)
{
    struct sqlite3_stmt *statement = state->statements[SQL_CHUNK_AT];
    struct error error = {0};
    state->cached_series = 0;
    sqlite3_bind_int64(statement, 1, series);
    sqlite3_bind_int64(statement, 2, time_ms);
    int code = sqlite3_step(statement);
    if (code == SQLITE_ROW) {
        const unsigned char *blob = sqlite3_column_blob(statement, 3);
        size_t length = (size_t)sqlite3_column_bytes(statement, 3);
        if (length == 0) {
            state->cached_count = 0;
        } else if (chunk_decode(blob, length, state->cached, CHUNK_POINTS_MAX, &state->cached_count,
                                &error) == STATUS_OK) {
            state->cached_series = series;
        } else {
            log_error("storage", "a chunk is damaged", "series=%u time_ms=%lld", series,
                      (long long)time_ms);
        }
    }
    sqlite3_reset(statement);
    if (code != SQLITE_ROW && code != SQLITE_DONE) {
        enum status status = sqlite_failed(state, code, "look for a point", &error);
        if (status == STATUS_CORRUPT) { /* one bad page shall not stop the other series */
            log_error("storage", "a chunk cannot be read", "series=%u reason=\"%s\"", series,
                      error.text);
        } else {
            state->lookup = error;
        }
    }
    return state->cached_series != 0;
}

bool sqlite_has_behind(struct sqlite_state *state, struct sqlite_series *series, int64_t time_ms)
{
    if (sorted_has(series->tail.late, series->tail.late_count, time_ms)) {
        return true;
    }
    bool inside = state->cached_series == series->entry.id && state->cached_count > 0 &&
                  time_ms >= state->cached[0].time_ms &&
                  time_ms <= state->cached[state->cached_count - 1].time_ms;
    if (!inside && !cache_fill(state, series->entry.id, time_ms)) {
        return false;
    }
    return sorted_has(state->cached, state->cached_count, time_ms);
}

/* ---------------------------------------------------------------- staging */

static void op_stage(struct sqlite_state *state, struct write_group *group,
                     struct write_batch *batch, struct batch_op *op)
{
    struct series_entry *entry = batch->series[op->series].entry;
    struct sqlite_series *series = sqlite_series_of(entry);
    group_touch(group, entry);
    if (op->kind == OP_POINT) {
        series->incoming++;
        op->exists = false;
        if (op->point.time_ms <= series->tail.chunk_last_ms) {
            series->incoming_late++;
            op->exists =
                op->point.time_ms < series->tail.from_ms
                    ? sqlite_has_behind(state, series, op->point.time_ms)
                    : sorted_has(tail_points(&series->tail), series->tail.count, op->point.time_ms);
        }
    }
    journal_add(&state->journal, &(struct journal_entry){
                                     .kind = op->kind == OP_POINT ? JOURNAL_POINT : JOURNAL_END,
                                     .series = entry->id,
                                     .point = op->point,
                                 });
}

static void batch_stage(struct sqlite_state *state, struct write_group *group,
                        struct write_batch *batch)
{
    size_t change = 0;
    for (size_t i = 0; i <= batch->op_count; i++) {
        for (; change < batch->change_count && batch->changes[change].at <= i; change++) {
            if (batch->changes[change].kind == CHANGE_SETTINGS ||
                batch->changes[change].kind == CHANGE_EXCLUDED) {
                journal_add(&state->journal,
                            &(struct journal_entry){.kind = JOURNAL_TOUCH,
                                                    .series = batch->changes[change].id});
            }
        }
        if (i < batch->op_count) {
            op_stage(state, group, batch, &batch->ops[i]);
        }
    }
}

static enum status settings_room(struct write_batch *batch, struct error *error)
{
    for (size_t i = 0; i < batch->change_count; i++) {
        struct series_entry *entry = batch->changes[i].entry;
        if (batch->changes[i].kind == CHANGE_SETTINGS && entry->settings == NULL) {
            entry->settings = mem_zeroed(1, sizeof *entry->settings);
            if (entry->settings == NULL) {
                return error_set(error, STATUS_NO_MEMORY, "could not allocate settings");
            }
        }
    }
    return STATUS_OK;
}

/* ---------------------------------------------------------------- stuck series */

/* Those at the head of the queue that the journal has been kept for too long. They are the first
 * state->carried ones. Returns how many entries they need. */
static size_t carry_choose(struct sqlite_state *state)
{
    size_t entries = 0;
    state->carried = 0;
    for (const struct sqlite_series *series = state->dirty_head;
         series != NULL && series->stuck &&
         state->journal_entries - series->dirty_at > state->journal_high;
         series = series->dirty_next) {
        entries += (size_t)series->tail.late_count + series->tail.fresh + 2;
        state->carried++;
    }
    return entries;
}

static void points_stage(struct sqlite_state *state, uint32_t series, const struct point *points,
                         size_t count)
{
    for (size_t i = 0; i < count; i++) {
        journal_add(
            &state->journal,
            &(struct journal_entry){.kind = JOURNAL_POINT, .series = series, .point = points[i]});
    }
}

/* What they have waiting goes into this row of the journal, so that older ones may go. Where those
 * are still there after a crash they are replayed first, and the points are the same. */
static void carry_stage(struct sqlite_state *state)
{
    const struct sqlite_series *series = state->dirty_head;
    for (size_t i = 0; i < state->carried; i++, series = series->dirty_next) {
        const struct tail *tail = &series->tail;
        uint32_t id = series->entry.id;
        journal_add(&state->journal, &(struct journal_entry){.kind = JOURNAL_TOUCH, .series = id});
        points_stage(state, id, tail->late, tail->late_count);
        if (tail->fresh > 0) {
            points_stage(state, id, tail_points(tail) + tail->count - tail->fresh, tail->fresh);
        }
        if (series->entry.ended) {
            struct point end = {.time_ms = series->entry.ended_ms};
            journal_add(&state->journal,
                        &(struct journal_entry){.kind = JOURNAL_END, .series = id, .point = end});
        }
    }
}

/* After the commit: they wait since this row. */
static void carry_apply(struct sqlite_state *state, uint64_t seq)
{
    for (; state->carried > 0; state->carried--) {
        struct sqlite_series *series = state->dirty_head;
        sqlite_mark_clean(state, series);
        sqlite_mark_dirty(state, series, seq);
        state->journal_entries += (uint64_t)series->tail.late_count + series->tail.fresh;
    }
}

enum status sqlite_stage(struct sqlite_state *state, struct write_group *group, struct error *error)
{
    struct storage *storage = state->storage;
    size_t carried = carry_choose(state);
    if (journal_begin(&state->journal, group->ops + carried, error) != STATUS_OK) {
        return error->status;
    }
    carry_stage(state);
    state->lookup = (struct error){0};
    for (size_t b = 0; b < group->count; b++) {
        if (!group->batches[b]->refused) {
            batch_stage(state, group, group->batches[b]);
        }
    }
    if (state->lookup.status != STATUS_OK) {
        *error = state->lookup;
        return error->status;
    }
    enum status status = STATUS_OK;
    lock_acquire(&storage->lock);
    for (size_t i = 0; status == STATUS_OK && i < group->touched_count; i++) {
        struct sqlite_series *series = sqlite_series_of(group->touched[i]);
        size_t before = tail_bytes(&series->tail);
        /* A series that is flushed in this transaction has a later end of its chunks afterwards, so
         * any of its points may turn out to be late. */
        size_t late = series->flushing ? series->incoming : series->incoming_late;
        status = tail_reserve(&series->tail, series->incoming, late, storage->options.tail_points,
                              error);
        storage->counters.tail_bytes += tail_bytes(&series->tail) - before;
    }
    for (size_t b = 0; status == STATUS_OK && b < group->count; b++) {
        if (!group->batches[b]->refused) {
            status = settings_room(group->batches[b], error);
        }
    }
    lock_release(&storage->lock);
    return status;
}

void sqlite_unstage(struct write_group *group)
{
    for (size_t i = 0; i < group->touched_count; i++) {
        struct sqlite_series *series = sqlite_series_of(group->touched[i]);
        series->incoming = series->incoming_late = 0;
    }
}

/* ---------------------------------------------------------------- applying */

void sqlite_mark_dirty(struct sqlite_state *state, struct sqlite_series *series, uint64_t seq)
{
    if (series->dirty_seq != 0) {
        return;
    }
    CHECK(state->dirty_last == NULL || state->dirty_last->dirty_seq <= seq);
    series->dirty_seq = seq;
    series->dirty_at = state->journal_entries;
    series->dirty_next = NULL;
    series->dirty_before = state->dirty_last;
    if (state->dirty_last == NULL) {
        state->dirty_head = series;
    } else {
        state->dirty_last->dirty_next = series;
    }
    state->dirty_last = series;
}

void sqlite_mark_clean(struct sqlite_state *state, struct sqlite_series *series)
{
    if (series->dirty_seq == 0) {
        return;
    }
    struct sqlite_series *before = series->dirty_before, *next = series->dirty_next;
    *(before == NULL ? &state->dirty_head : &before->dirty_next) = next;
    *(next == NULL ? &state->dirty_last : &next->dirty_before) = before;
    series->dirty_next = series->dirty_before = NULL;
    series->dirty_seq = 0;
}

void sqlite_settle(struct sqlite_state *state, struct sqlite_series *next)
{
    if (state->loose != NULL && state->loose != next) {
        tail_settle(&state->loose->tail);
    }
    state->loose = next;
}

static void point_apply(struct sqlite_state *state, struct sqlite_series *series,
                        const struct batch_op *op, struct write_result *result)
{
    struct tail *tail = &series->tail;
    uint32_t waiting = tail->fresh + tail->late_count;
    sqlite_settle(state, series);
    enum tail_outcome outcome = tail_write(tail, op->point);
    state->pending += tail->fresh + tail->late_count - waiting;
    bool existed = op->exists || outcome == TAIL_REPLACED;
    state->storage->counters.points +=
        entry_count_point(&series->entry, op->point, existed, result);
}

static void changes_apply(struct sqlite_state *state, struct write_batch *batch, size_t at,
                          size_t *change, uint64_t seq)
{
    for (; *change < batch->change_count && batch->changes[*change].at <= at; ++*change) {
        struct batch_change *done = &batch->changes[*change];
        if (done->kind == CHANGE_EXCLUDED) {
            entry_take_excluded(done->entry, done);
            sqlite_mark_dirty(state, sqlite_series_of(done->entry), seq);
        }
        if (done->kind == CHANGE_SETTINGS) {
            *done->entry->settings = done->settings;
            done->entry->generation++;
            sqlite_mark_dirty(state, sqlite_series_of(done->entry), seq);
        }
    }
}

/* In the usual batch, one point each of many series, every series and its window are other places
 * in memory, and nobody has looked there since the last batch: hence the two looks ahead. */
static void batch_apply(struct sqlite_state *state, struct write_batch *batch, uint64_t seq)
{
    struct lock *lock = &state->storage->lock;
    size_t change = 0;
    lock_acquire(lock);
    for (size_t i = 0; i < batch->op_count; i++) {
        if (i % APPLY_STRIDE == APPLY_STRIDE - 1) {
            sqlite_settle(state, NULL);
            lock_release(lock); /* let readers in */
            lock_acquire(lock);
        }
        changes_apply(state, batch, i, &change, seq);
        if (i + 2 * AHEAD < batch->op_count) {
            struct series_entry *far = batch->series[batch->ops[i + 2 * AHEAD].series].entry;
            __builtin_prefetch(&far->points, 1);
            __builtin_prefetch(&sqlite_series_of(far)->tail, 1);
            tail_prefetch(
                &sqlite_series_of(batch->series[batch->ops[i + AHEAD].series].entry)->tail);
        }
        const struct batch_op *op = &batch->ops[i];
        struct sqlite_series *series = sqlite_series_of(batch->series[op->series].entry);
        series->used = true;
        sqlite_mark_dirty(state, series, seq);
        if (op->kind == OP_POINT) {
            point_apply(state, series, op, &batch->result);
        } else {
            entry_count_end(&series->entry, op->point.time_ms);
        }
    }
    changes_apply(state, batch, batch->op_count, &change, seq);
    sqlite_settle(state, NULL);
    lock_release(lock);
}

/* A deleted series leaves the queue and the sums; group_publish frees it. */
static void deletes_apply(struct sqlite_state *state, const struct write_batch *batch)
{
    for (size_t i = 0; i < batch->change_count; i++) {
        if (batch->changes[i].kind != CHANGE_DELETE) {
            continue;
        }
        struct sqlite_series *series = sqlite_series_of(batch->changes[i].entry);
        sqlite_mark_clean(state, series);
        sqlite_unstick(state, series);
        state->pending -= series->tail.fresh + series->tail.late_count;
        state->trashing = true;
        state->cached_series = 0;
        lock_acquire(&state->storage->lock);
        state->storage->counters.tail_bytes -= tail_bytes(&series->tail);
        lock_release(&state->storage->lock);
    }
}

void sqlite_apply(struct sqlite_state *state, struct write_group *group, uint64_t seq)
{
    carry_apply(state, seq);
    for (size_t b = 0; b < group->count; b++) {
        if (!group->batches[b]->refused) {
            batch_apply(state, group->batches[b], seq);
        }
    }
    sqlite_unstage(group);
    for (size_t b = 0; b < group->count; b++) {
        if (group->batches[b]->has_delete && !group->batches[b]->refused) {
            deletes_apply(state, group->batches[b]);
        }
    }
}

/* ---------------------------------------------------------------- bounded memory */

void sqlite_warm(struct sqlite_state *state, struct sqlite_series *series)
{
    /* Only the writer changes windows, so what is read here fits what is in memory. */
    struct storage *storage = state->storage;
    struct tail *tail = &series->tail;
    size_t maximum = storage->options.tail_points;
    if (tail->chunk_last_ms == INT64_MIN || tail->from_ms == INT64_MIN || tail->late_count > 0 ||
        tail->count >= maximum) {
        return;
    }
    size_t wanted = maximum - tail->count, count = 0;
    struct point *points = mem_array(wanted + 1, sizeof *points);
    struct sqlite3_stmt *statement = state->statements[SQL_CHUNKS_DOWN];
    struct error error = {0};
    int64_t from_ms = INT64_MIN, before_ms = INT64_MAX;
    sqlite3_bind_int64(statement, 1, series->entry.id);
    sqlite3_bind_int64(statement, 2, tail->from_ms);
    int code = points == NULL ? SQLITE_NOMEM : SQLITE_ROW;
    while (code == SQLITE_ROW && count < wanted && (code = sqlite3_step(statement)) == SQLITE_ROW) {
        size_t decoded;
        if (chunk_decode(sqlite3_column_blob(statement, 0),
                         (size_t)sqlite3_column_bytes(statement, 0), state->decoded,
                         CHUNK_POINTS_MAX, &decoded, &error) != STATUS_OK) {
            sqlite_suspect(storage, series->entry.id, sqlite3_column_int64(statement, 1));
            code = SQLITE_CORRUPT;
            break;
        }
        /* A row in another's place: whoever reads it from the disk gets an error, not this window.
         */
        if (decoded > 0 && (state->decoded[0].time_ms != sqlite3_column_int64(statement, 1) ||
                            state->decoded[decoded - 1].time_ms > before_ms)) {
            code = SQLITE_CORRUPT;
            break;
        }
        before_ms = decoded > 0 ? state->decoded[0].time_ms - 1 : before_ms;
        decoded = points_lower_bound(state->decoded, decoded, tail->from_ms);
        size_t taken = decoded < wanted - count ? decoded : wanted - count;
        count += taken;
        memcpy(points + wanted - count, state->decoded + decoded - taken, taken * sizeof *points);
    }
    sqlite3_reset(statement);
    if (code == SQLITE_ROW && count > 0) {
        from_ms = points[wanted - count].time_ms; /* there may be more behind */
    }
    if (code == SQLITE_DONE || (code == SQLITE_ROW && count > 0)) {
        lock_acquire(&storage->lock);
        size_t before = tail_bytes(tail);
        (void)tail_extend(tail, points + wanted - count, count, from_ms);
        storage->counters.tail_bytes += tail_bytes(tail) - before;
        lock_release(&storage->lock);
    }
    mem_free(points);
}

/* Under the lock. A second-chance clock: whoever was used since the hand came by last is passed
 * over once; who is chosen keeps its fresh points and three quarters of the others, so one in
 * steady use settles at a size. Looks at EVICT_STRIDE series at most. */
static void evict_some(struct sqlite_state *state, size_t target)
{
    struct storage *storage = state->storage;
    struct series_directory *directory = &storage->directory;
    for (int i = 0; i < EVICT_STRIDE && storage->counters.tail_bytes > target; i++) {
        struct series_entry *entry = series_directory_next(directory, state->evict_hand);
        struct sqlite_series *series = sqlite_series_of(entry);
        state->evict_hand = entry == NULL ? 0 : entry->id; /* round and round */
        if (entry == NULL || series->tail.count == series->tail.fresh) {
            continue;
        }
        if (series->used) {
            series->used = false;
            continue;
        }
        size_t before = tail_bytes(&series->tail);
        tail_shrink(&series->tail, (series->tail.count - series->tail.fresh) / 4 * 3);
        storage->counters.tail_bytes -= before - tail_bytes(&series->tail);
    }
}

void sqlite_evict(struct sqlite_state *state)
{
    struct storage *storage = state->storage;
    size_t maximum = storage->options.tail_bytes_max;
    size_t target = maximum - maximum / 16;
    uint64_t twice_round = 2 * ((uint64_t)storage->names.count + 1), in_vain = 0;
    if (storage->counters.tail_bytes <= state->evict_above) {
        return;
    }
    while (storage->counters.tail_bytes > target && in_vain < twice_round) {
        size_t before = storage->counters.tail_bytes;
        lock_acquire(&storage->lock);
        evict_some(state, target);
        lock_release(&storage->lock);
        in_vain = storage->counters.tail_bytes < before ? 0 : in_vain + EVICT_STRIDE;
    }
    /* Where the rest is all fresh: not again before there is noticeably more. */
    size_t left = storage->counters.tail_bytes;
    state->evict_above = left > maximum ? left + maximum / 16 : maximum;
}
