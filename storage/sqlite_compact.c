/* What the writing connection does besides commits: flushing, trimming, retention.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Series wait in a queue in the order in which they first changed since their last flush, so the
 * head tells which journal rows are still needed: all before its dirty_seq may go. Under load the
 * flush travels in the transaction of the next commit (no sync of its own), as many points as came
 * in; that staggers the series by itself, since each is at another place in the queue. Up to
 * pending_low points wait in memory and journal for nothing: the fuller a flush, the less is
 * written twice. Above pending_high a commit flushes until it is below: that is the back pressure
 * that bounds the memory. Above journal_high entries it flushes the head, whatever waits.
 */
#include "storage/sqlite_store.h"

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "storage/hold.h"

#include <sqlite3.h>
#include <stdio.h>

enum {
    FLUSH_SERIES_MAX = 16384, /* chosen for one transaction */
    FLUSH_COST = 16,          /* to read and write a series' open chunk, in points */
    TRIM_ROWS = 16,           /* journal rows go in lots: each DELETE costs a search */
    SLICE_POINTS = 16384,
    TRASH_CHUNKS = 256,     /* removed in one slice */
    TRASH_CHUNKS_FULL = 32, /* on a full disk: the log has little room */
    RETAIN_SERIES = 256,    /* looked at in one slice */
    RETAIN_FLUSHES = 32,
    RETAIN_CHUNKS = 1024, /* deleted in one slice */
};

/* ---------------------------------------------------------------- flush */

static size_t series_pending(const struct sqlite_series *series)
{
    return series->tail.fresh + series->tail.late_count;
}

void sqlite_flush_choose(struct sqlite_state *state, int64_t points)
{
    CHECK(state->flush_count == 0);
    if (state->flushes == NULL) {
        state->flushes = mem_zeroed(FLUSH_SERIES_MAX, sizeof *state->flushes);
        state->flush_capacity = state->flushes == NULL ? 0 : FLUSH_SERIES_MAX;
    }
    for (struct sqlite_series *series = state->dirty_head;
         series != NULL && points > 0 && state->flush_count < state->flush_capacity;
         series = series->dirty_next) {
        series->flushing = true;
        state->flushes[state->flush_count++] =
            (struct sqlite_flush){.series = series, .cutoff_ms = INT64_MIN};
        points -= (int64_t)series_pending(series) + FLUSH_COST;
    }
}

/* Journal rows that no series needs once the chosen ones are flushed. */
static uint64_t needless_seq(const struct sqlite_state *state)
{
    const struct sqlite_series *series = state->dirty_head;
    while (series != NULL && series->flushing) {
        series = series->dirty_next;
    }
    return series == NULL ? state->last_seq : series->dirty_seq - 1;
}

static enum status journal_trim(struct sqlite_state *state, uint64_t at_least, struct error *error)
{
    uint64_t seq = needless_seq(state);
    if (seq < state->trimmed_seq + at_least) {
        return STATUS_OK;
    }
    sqlite3_bind_int64(state->statements[SQL_JOURNAL_TRIM], 1, (int64_t)seq);
    if (sqlite_run(state, SQL_JOURNAL_TRIM, "trim the journal", error) != STATUS_OK) {
        return error->status;
    }
    /* Right even if the transaction fails: the rows are then deleted by the next trim. */
    state->trimmed_seq = seq;
    return STATUS_OK;
}

enum status sqlite_flush_write(struct sqlite_state *state, struct error *error)
{
    state->chunks_added = 0;
    for (size_t i = 0; i < state->flush_count; i++) {
        struct sqlite_flush *flush = &state->flushes[i];
        if (sqlite_flush_series(state, flush->series, flush->cutoff_ms, flush, error) !=
            STATUS_OK) {
            return error->status;
        }
    }
    return state->flush_count > 0 ? journal_trim(state, TRIM_ROWS, error) : STATUS_OK;
}

/* Under the lock. */
static void flush_apply(struct sqlite_state *state, const struct sqlite_flush *flush)
{
    struct storage_counters *counters = &state->storage->counters;
    struct sqlite_series *series = flush->series;
    state->pending -= series_pending(series);
    tail_flushed(&series->tail, flush->chunk_last_ms);
    series->flushed_seq = state->last_seq;
    series->flushing = false;
    if (flush->cutoff_ms != INT64_MIN) {
        tail_drop_before(&series->tail, flush->cutoff_ms);
    }
    if (flush->first_ms != INT64_MAX) {
        series->entry.first_ms = flush->first_ms;
    }
    if (flush->lost > 0) {
        series->entry.points -= flush->lost;
        series->entry.generation++;
        counters->points -= flush->lost;
        if (flush->cutoff_ms == INT64_MIN) {
            tail_drop_old(&series->tail); /* points of a damaged chunk: memory is no better */
        }
    }
}

void sqlite_flush_done(struct sqlite_state *state)
{
    struct storage *storage = state->storage;
    lock_acquire(&storage->lock);
    storage->counters.chunks += (uint64_t)state->chunks_added;
    for (size_t i = 0; i < state->flush_count; i++) {
        struct sqlite_series *series = state->flushes[i].series;
        size_t before = tail_bytes(&series->tail);
        flush_apply(state, &state->flushes[i]);
        sqlite_mark_clean(state, series);
        if (series->incoming == 0) {
            tail_trim(&series->tail); /* else it has room for what is applied next */
        }
        storage->counters.tail_bytes += tail_bytes(&series->tail) - before;
    }
    storage->counters.journal_points = state->pending;
    lock_release(&storage->lock);
    state->flush_count = 0;
    state->chunks_added = 0;
}

void sqlite_flush_undo(struct sqlite_state *state)
{
    for (size_t i = 0; i < state->flush_count; i++) {
        state->flushes[i].series->flushing = false;
    }
    state->flush_count = 0;
    state->chunks_added = 0;
    state->cached_series = 0;
    state->trimmed_seq = 0; /* a trim may have been undone */
}

/* A transaction of its own for what was chosen. */
static enum status flush_alone(struct sqlite_state *state, struct error *error)
{
    if (sqlite_begin(state, error) != STATUS_OK || sqlite_flush_write(state, error) != STATUS_OK) {
        sqlite_rollback(state);
        sqlite_flush_undo(state);
        return error->status;
    }
    if (sqlite_end(state, error) != STATUS_OK) {
        sqlite_flush_undo(state);
        return error->status;
    }
    sqlite_flush_done(state);
    return STATUS_OK;
}

/* ---------------------------------------------------------------- trash, space */

/* Removes a lot of chunks of deleted series; state->trashing stays set while there are more. */
enum status sqlite_trash_slice(struct sqlite_state *state, struct error *error)
{
    struct sqlite3_stmt *next = state->statements[SQL_TRASH_NEXT];
    int code = sqlite3_step(next);
    int64_t series = code == SQLITE_ROW ? sqlite3_column_int64(next, 0) : 0;
    sqlite3_reset(next);
    if (code != SQLITE_ROW) {
        state->trashing = false;
        return code == SQLITE_DONE ? STATUS_OK : sqlite_failed(state, code, "read trash", error);
    }
    if (sqlite_begin(state, error) != STATUS_OK) {
        return error->status;
    }
    sqlite3_bind_int64(state->statements[SQL_TRASH_EMPTY], 1, series);
    sqlite3_bind_int(state->statements[SQL_TRASH_EMPTY], 2,
                     state->storage->counters.full ? TRASH_CHUNKS_FULL : TRASH_CHUNKS);
    enum status status = sqlite_run(state, SQL_TRASH_EMPTY, "remove old chunks", error);
    int64_t removed = sqlite3_changes64(state->db);
    if (status == STATUS_OK && removed == 0) {
        sqlite3_bind_int64(state->statements[SQL_TRASH_DONE], 1, series);
        status = sqlite_run(state, SQL_TRASH_DONE, "remove old chunks", error);
    }
    if (status != STATUS_OK) {
        sqlite_rollback(state);
        return status;
    }
    if (sqlite_end(state, error) != STATUS_OK) {
        return error->status;
    }
    lock_acquire(&state->storage->lock);
    state->storage->counters.chunks -= (uint64_t)removed;
    lock_release(&state->storage->lock);
    return STATUS_OK;
}

static enum status compact_lot(struct sqlite_state *state, struct error *error)
{
    sqlite_flush_choose(state, SLICE_POINTS * 4);
    if (state->flush_count == 0) {
        return error_set(error, STATUS_NO_MEMORY, "could not allocate a list of series");
    }
    if (flush_alone(state, error) != STATUS_OK) {
        return error->status;
    }
    return sqlite_checkpoint_due(state, error);
}

static enum status compact_all(struct sqlite_state *state, struct error *error)
{
    while (state->dirty_head != NULL) {
        if (compact_lot(state, error) != STATUS_OK) {
            return error->status;
        }
    }
    while (state->trashing) {
        if (sqlite_trash_slice(state, error) != STATUS_OK) {
            return error->status;
        }
    }
    if (sqlite_begin(state, error) != STATUS_OK) {
        return error->status;
    }
    if (journal_trim(state, 0, error) != STATUS_OK) {
        sqlite_rollback(state);
        return error->status;
    }
    if (sqlite_end(state, error) != STATUS_OK ||
        sqlite_run(state, SQL_VACUUM, "give back disk space", error) != STATUS_OK) {
        return error->status;
    }
    return sqlite_checkpoint(state, error);
}

/* ---------------------------------------------------------------- windows readers asked for */

static void warm_wanted(struct sqlite_state *state)
{
    struct storage *storage = state->storage;
    uint32_t ids[SQLITE_WANTED_MAX];
    lock_acquire(&storage->lock);
    size_t count = state->wanted_count;
    for (size_t i = 0; i < count; i++) {
        ids[i] = state->wanted[i];
    }
    state->wanted_count = 0;
    lock_release(&storage->lock);
    for (size_t i = 0; i < count; i++) {
        struct series_entry *entry = series_directory_at(&storage->directory, ids[i]);
        if (entry != NULL) {
            sqlite_warm(state, sqlite_series_of(entry));
        }
    }
    if (count > 0) {
        sqlite_evict(state);
    }
}

enum status sqlite_compact(struct storage *storage, enum driver_effort effort, bool *more,
                           struct error *error)
{
    struct sqlite_state *state = storage->state;
    *more = false;
    if (sqlite_usable(state, error) != STATUS_OK) {
        return error->status;
    }
    warm_wanted(state);
    if (effort == DRIVER_ALL) {
        return compact_all(state, error);
    }
    if (effort == DRIVER_LOT) {
        enum status status = state->dirty_head != NULL ? compact_lot(state, error) : STATUS_OK;
        *more = state->dirty_head != NULL;
        return status;
    }
    if (state->pending > state->pending_low + SLICE_POINTS) {
        sqlite_flush_choose(state, SLICE_POINTS);
        if (flush_alone(state, error) != STATUS_OK) {
            return error->status;
        }
    }
    if (state->trashing && sqlite_trash_slice(state, error) != STATUS_OK) {
        return error->status;
    }
    *more = state->trashing || state->pending > state->pending_low + SLICE_POINTS;
    if (sqlite_checkpoint_due(state, error) != STATUS_OK) {
        return error->status;
    }
    sqlite_log_lay_out(state);
    return STATUS_OK;
}

/* ---------------------------------------------------------------- retention */

/* A slice of the vintages whose time is over; where there are none the file is not touched. */
static enum status vintages_expire(struct sqlite_state *state, int64_t now_ms, bool *more,
                                   struct error *error)
{
    if (sqlite_begin(state, error) != STATUS_OK) {
        return error->status;
    }
    sqlite3_bind_int64(state->statements[SQL_VINTAGES_EXPIRE], 1, now_ms);
    if (sqlite_run(state, SQL_VINTAGES_EXPIRE, "remove old vintages", error) != STATUS_OK) {
        sqlite_rollback(state);
        return error->status;
    }
    *more = sqlite3_changes64(state->db) > 0;
    return sqlite_end(state, error);
}

/* The clock that a complete round went by, for the next start (hold.h). A full disk has no room for
 * it. */
static enum status aged_note(struct storage *storage, int64_t now_ms, struct error *error)
{
    struct sqlite_state *state = storage->state;
    int64_t since_ms = now_ms - storage->aged_ms;
    lock_acquire(&storage->lock);
    bool writable = storage->counters.writable;
    lock_release(&storage->lock);
    bool empty = storage->directory.last_id == 0; /* and then nothing is held */
    if (empty || !writable || (since_ms < HOLD_NOTE_MS && since_ms > -HOLD_NOTE_MS)) {
        return STATUS_OK;
    }
    char text[24];
    int length = snprintf(text, sizeof text, "%lld", (long long)now_ms);
    sqlite3_bind_text(state->statements[SQL_AGED_PUT], 1, text, length, SQLITE_STATIC);
    if (sqlite_run(state, SQL_AGED_PUT, "note the round of retention", error) != STATUS_OK) {
        return error->status;
    }
    storage->aged_ms = now_ms;
    return STATUS_OK;
}

enum status sqlite_retain(struct storage *storage, int64_t now_ms, bool *more, struct error *error)
{
    struct sqlite_state *state = storage->state;
    struct series_directory *directory = &storage->directory;
    if (sqlite_usable(state, error) != STATUS_OK) {
        return error->status;
    }
    sqlite_flush_choose(state, 0); /* makes room for the list */
    state->drop_budget = RETAIN_CHUNKS;
    state->retain_again = 0;
    size_t room = state->flush_capacity < RETAIN_FLUSHES ? state->flush_capacity : RETAIN_FLUSHES;
    for (int looked = 0; looked < RETAIN_SERIES && state->flush_count < room; looked++) {
        if (state->retain_hand >= directory->last_id) {
            state->retain_hand = 0;
            break;
        }
        struct series_entry *entry = series_directory_at(directory, ++state->retain_hand);
        int64_t keep_ms = entry == NULL ? 0 : entry_retention(entry, storage->options.retention_ms);
        if (keep_ms > 0 && entry->points > 0 && entry->first_ms < now_ms - keep_ms) {
            struct sqlite_series *series = sqlite_series_of(entry);
            series->flushing = true;
            state->flushes[state->flush_count++] =
                (struct sqlite_flush){.series = series, .cutoff_ms = now_ms - keep_ms};
        }
    }
    *more = state->retain_hand != 0;
    if (state->flush_count > 0 && flush_alone(state, error) != STATUS_OK) {
        return error->status;
    }
    if (state->retain_again != 0) {
        state->retain_hand = state->retain_again - 1;
        *more = true;
    }
    bool vintages = false;
    enum status status = vintages_expire(state, now_ms, &vintages, error);
    *more = *more || vintages;
    return status == STATUS_OK && !*more ? aged_note(storage, now_ms, error) : status;
}
