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
 *
 * A series that needs a damaged page of the database cannot be flushed: it is stuck. It is left out
 * from then on, tried again now and then, and the others go on. Its points wait in memory and
 * journal; where that holds up the journal they are written there anew (sqlite_apply.c).
 */
#include "storage/sqlite_store.h"

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "storage/hold.h"

#include <sqlite3.h>
#include <stdio.h>
#include <string.h>

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
    LEAVE_OUT_MAX = 8,    /* attempts at one transaction, each without one more series */
    UNSTICK_EVERY_MS = 600000,
};

/* ---------------------------------------------------------------- flush */

static size_t series_pending(const struct sqlite_series *series)
{
    return series->tail.fresh + series->tail.late_count;
}

void sqlite_flush_choose(struct sqlite_state *state, int64_t points)
{
    CHECK(state->flush_count == 0);
    state->left_out = 0;
    state->flush_at = SIZE_MAX;
    if (state->flushes == NULL) {
        state->flushes = mem_zeroed(FLUSH_SERIES_MAX, sizeof *state->flushes);
        state->flush_capacity = state->flushes == NULL ? 0 : FLUSH_SERIES_MAX;
    }
    for (struct sqlite_series *series = state->dirty_head;
         series != NULL && points > 0 && state->flush_count < state->flush_capacity;
         series = series->dirty_next) {
        if (series->stuck) {
            continue;
        }
        series->flushing = true;
        state->flushes[state->flush_count++] =
            (struct sqlite_flush){.series = series, .cutoff_ms = INT64_MIN};
        points -= (int64_t)series_pending(series) + FLUSH_COST;
    }
}

struct sqlite_series *sqlite_flush_first(const struct sqlite_state *state)
{
    struct sqlite_series *series = state->dirty_head;
    while (series != NULL && series->stuck) {
        series = series->dirty_next;
    }
    return series;
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
    state->set_aside = 0;
    for (state->flush_at = 0; state->flush_at < state->flush_count; state->flush_at++) {
        struct sqlite_flush *flush = &state->flushes[state->flush_at];
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
    storage->counters.damaged += state->set_aside;
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
    /* Downsampling ends at a damaged chunk: now it can go on. */
    state->downsample_again = state->downsample_again || state->set_aside > 0;
    state->flush_count = 0;
    state->chunks_added = 0;
    state->set_aside = 0;
}

void sqlite_flush_undo(struct sqlite_state *state)
{
    for (size_t i = 0; i < state->flush_count; i++) {
        state->flushes[i].series->flushing = false;
    }
    state->flush_count = 0;
    state->chunks_added = 0;
    state->set_aside = 0;
    state->cached_series = 0;
    state->trimmed_seq = 0; /* a trim may have been undone */
}

static void stuck_count(struct sqlite_state *state, int change)
{
    state->stuck += (size_t)change;
    lock_acquire(&state->storage->lock);
    state->storage->counters.stuck = state->stuck;
    lock_release(&state->storage->lock);
}

bool sqlite_flush_leave_out(struct sqlite_state *state, const struct error *error)
{
    if (error->status != STATUS_CORRUPT || state->flush_at >= state->flush_count) {
        return false;
    }
    struct sqlite_flush *flush = &state->flushes[state->flush_at];
    struct sqlite_series *series = flush->series;
    log_error("storage", "a series cannot be compacted: its points stay in the journal",
              "series=%u reason=\"%s\"", series->entry.id, error->text);
    series->flushing = false;
    series->stuck = true;
    stuck_count(state, 1);
    state->unstick_ns = clock_monotonic_ns() + UNSTICK_EVERY_MS * INT64_C(1000000);
    memmove(flush, flush + 1, (--state->flush_count - state->flush_at) * sizeof *flush);
    state->flush_at = SIZE_MAX;
    state->cached_series = 0;
    state->trimmed_seq = 0;
    if (++state->left_out == LEAVE_OUT_MAX) {
        sqlite_flush_undo(state);
    }
    return true;
}

void sqlite_unstick(struct sqlite_state *state, struct sqlite_series *series)
{
    if (series->stuck) {
        series->stuck = false;
        stuck_count(state, -1);
    }
}

/* The page may have been read wrong, not written wrong. */
static void unstick_due(struct sqlite_state *state)
{
    struct series_directory *directory = &state->storage->directory;
    if (state->stuck == 0 || clock_monotonic_ns() < state->unstick_ns) {
        return;
    }
    for (struct series_entry *entry = NULL;
         (entry = series_directory_next(directory, entry == NULL ? 0 : entry->id)) != NULL;) {
        sqlite_unstick(state, sqlite_series_of(entry));
    }
}

/* A transaction of its own for what was chosen. */
static enum status flush_alone(struct sqlite_state *state, struct error *error)
{
    do {
        if (sqlite_begin(state, error) == STATUS_OK &&
            sqlite_flush_write(state, error) == STATUS_OK &&
            sqlite_end(state, error) == STATUS_OK) {
            sqlite_flush_done(state);
            return STATUS_OK;
        }
        sqlite_rollback(state);
        if (!sqlite_flush_leave_out(state, error)) {
            sqlite_flush_undo(state);
            return error->status;
        }
        *error = (struct error){0};
    } while (state->flush_count > 0);
    return STATUS_OK;
}

/* ---------------------------------------------------------------- trash, space */

/* Room that cannot be freed for a bad page shall not stop what else is to be done. */
static enum status freeing_failed(const char *what, struct error *error)
{
    if (error->status != STATUS_CORRUPT) {
        return error->status;
    }
    log_error("storage", what, "reason=\"%s\"", error->text);
    *error = (struct error){0};
    return STATUS_OK;
}

/* A series whose chunks are still to be removed; 0: there is none. */
static enum status trash_next(struct sqlite_state *state, int64_t *series, struct error *error)
{
    struct sqlite3_stmt *next = state->statements[SQL_TRASH_NEXT];
    int code = sqlite3_step(next);
    *series = code == SQLITE_ROW ? sqlite3_column_int64(next, 0) : 0;
    sqlite3_reset(next);
    return code == SQLITE_ROW || code == SQLITE_DONE
               ? STATUS_OK
               : sqlite_failed(state, code, "read trash", error);
}

/* Up to so many chunks of one series after the other; each that is done counts as one. */
static enum status trash_empty(struct sqlite_state *state, int64_t series, int64_t room,
                               int64_t *removed, struct error *error)
{
    enum status status = STATUS_OK;
    while (status == STATUS_OK && series != 0 && room > 0) {
        sqlite3_bind_int64(state->statements[SQL_TRASH_EMPTY], 1, series);
        sqlite3_bind_int64(state->statements[SQL_TRASH_EMPTY], 2, room);
        status = sqlite_run(state, SQL_TRASH_EMPTY, "remove old chunks", error);
        int64_t gone = status == STATUS_OK ? sqlite3_changes64(state->db) : 0;
        *removed += gone;
        room -= gone;
        if (status == STATUS_OK && room > 0) {
            sqlite3_bind_int64(state->statements[SQL_TRASH_DONE], 1, series);
            status = sqlite_run(state, SQL_TRASH_DONE, "remove old chunks", error);
            room--;
        }
        if (status == STATUS_OK && room > 0) {
            status = trash_next(state, &series, error);
        }
    }
    return status;
}

/* Removes a lot of chunks of deleted series; state->trashing stays set while there are more. */
enum status sqlite_trash_slice(struct sqlite_state *state, struct error *error)
{
    int64_t series = 0, removed = 0;
    int64_t room = state->storage->counters.full ? TRASH_CHUNKS_FULL : TRASH_CHUNKS;
    if (trash_next(state, &series, error) != STATUS_OK) {
        state->trashing = false;
        return freeing_failed("old chunks cannot be found", error);
    }
    if (series == 0) {
        state->trashing = false;
        return STATUS_OK;
    }
    if (sqlite_begin(state, error) != STATUS_OK) {
        return error->status;
    }
    enum status status = trash_empty(state, series, room, &removed, error);
    if (status != STATUS_OK) {
        sqlite_rollback(state);
        state->trashing = status != STATUS_CORRUPT; /* else the next start tries it again */
        return freeing_failed("old chunks cannot be removed", error);
    }
    if (sqlite_end(state, error) != STATUS_OK) {
        return error->status;
    }
    lock_acquire(&state->storage->lock);
    state->storage->counters.chunks -= (uint64_t)removed;
    lock_release(&state->storage->lock);
    return STATUS_OK;
}

static enum status flush_lot(struct sqlite_state *state, struct error *error)
{
    sqlite_flush_choose(state, SLICE_POINTS * 4);
    if (state->flush_count == 0) {
        return error_set(error, STATUS_NO_MEMORY, "could not allocate a list of series");
    }
    return flush_alone(state, error);
}

static enum status trim_alone(struct sqlite_state *state, struct error *error)
{
    if (sqlite_begin(state, error) != STATUS_OK) {
        return error->status;
    }
    if (journal_trim(state, 0, error) != STATUS_OK) {
        sqlite_rollback(state);
        return error->status;
    }
    return sqlite_end(state, error);
}

static enum status free_pages_read(struct sqlite_state *state, int64_t *pages, struct error *error)
{
    struct sqlite3_stmt *statement = state->statements[SQL_FREE_PAGES];
    int code = sqlite3_step(statement);
    *pages = code == SQLITE_ROW ? sqlite3_column_int64(statement, 0) : 0;
    sqlite3_reset(statement);
    return code == SQLITE_ROW ? STATUS_OK : sqlite_failed(state, code, "count free pages", error);
}

/* Gives back a lot of free pages. */
static enum status vacuum_lot(struct sqlite_state *state, bool *more, struct error *error)
{
    int64_t before = 0, after = 0;
    if (free_pages_read(state, &before, error) != STATUS_OK ||
        (before > 0 &&
         sqlite_run(state, SQL_VACUUM_LOT, "give back disk space", error) != STATUS_OK) ||
        free_pages_read(state, &after, error) != STATUS_OK) {
        return error->status;
    }
    *more = after > 0 && after < before;
    return STATUS_OK;
}

/* One step of everything that can be done, in the order in which it matters: points into chunks,
 * the journal behind them, then room that nobody needs. */
static enum status compact_lot(struct sqlite_state *state, bool *more, struct error *error)
{
    enum status status;
    *more = true;
    if (sqlite_flush_first(state) != NULL) {
        status = flush_lot(state, error);
    } else if (needless_seq(state) > state->trimmed_seq) {
        status = trim_alone(state, error);
    } else if (state->trashing) {
        status = sqlite_trash_slice(state, error);
    } else {
        *more = false;
        status = vacuum_lot(state, more, error);
        if (status != STATUS_OK) {
            status = freeing_failed("disk space cannot be given back", error);
        }
    }
    return status == STATUS_OK ? sqlite_checkpoint_due(state, error) : status;
}

static enum status compact_all(struct sqlite_state *state, struct error *error)
{
    bool more = true;
    while (more) {
        if (compact_lot(state, &more, error) != STATUS_OK) {
            return error->status;
        }
    }
    return sqlite_checkpoint(state, error);
}

/* ---------------------------------------------------------------- what readers met */

void sqlite_suspect(struct storage *storage, uint32_t series, int64_t first_ms)
{
    struct sqlite_state *state = storage->state;
    if (state == NULL) { /* being read anew */
        return;
    }
    lock_acquire(&storage->lock);
    size_t at = 0;
    while (at < state->suspect_count &&
           (state->suspects[at].series != series || state->suspects[at].first_ms != first_ms)) {
        at++;
    }
    if (at == state->suspect_count && at < SQLITE_SUSPECTS_MAX) {
        state->suspects[state->suspect_count++] = (struct sqlite_suspect){series, first_ms};
    }
    lock_release(&storage->lock);
}

/* Each in a flush of its series, which looks at the chunk itself. */
static enum status suspects_look(struct sqlite_state *state, struct error *error)
{
    struct storage *storage = state->storage;
    struct sqlite_suspect suspects[SQLITE_SUSPECTS_MAX];
    lock_acquire(&storage->lock);
    size_t count = storage->counters.full ? 0 : state->suspect_count;
    memcpy(suspects, state->suspects, count * sizeof *suspects);
    state->suspect_count -= count;
    lock_release(&storage->lock);
    for (size_t i = 0; i < count; i++) {
        struct series_entry *entry = series_directory_at(&storage->directory, suspects[i].series);
        if (entry == NULL || sqlite_series_of(entry)->stuck) {
            continue;
        }
        sqlite_flush_choose(state, 0); /* makes room for the list */
        if (state->flush_capacity == 0) {
            return error_set(error, STATUS_NO_MEMORY, "could not allocate a list of series");
        }
        sqlite_series_of(entry)->flushing = true;
        state->flushes[state->flush_count++] =
            (struct sqlite_flush){.series = sqlite_series_of(entry),
                                  .cutoff_ms = INT64_MIN,
                                  .suspected = true,
                                  .suspect_ms = suspects[i].first_ms};
        if (flush_alone(state, error) != STATUS_OK) {
            return error->status;
        }
    }
    return STATUS_OK;
}

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

/* Whether so much waits that it is not left for the next commits. */
static bool slice_due(const struct sqlite_state *state)
{
    return state->pending > state->pending_low + SLICE_POINTS && sqlite_flush_first(state) != NULL;
}

enum status sqlite_compact(struct storage *storage, enum driver_effort effort, bool *more,
                           struct error *error)
{
    struct sqlite_state *state = storage->state;
    *more = false;
    if (sqlite_usable(state, error) != STATUS_OK) {
        return error->status;
    }
    unstick_due(state);
    if (suspects_look(state, error) != STATUS_OK) {
        return error->status;
    }
    warm_wanted(state);
    if (effort == DRIVER_ALL) {
        return compact_all(state, error);
    }
    if (effort == DRIVER_LOT) {
        return compact_lot(state, more, error);
    }
    if (slice_due(state)) {
        sqlite_flush_choose(state, SLICE_POINTS);
        if (flush_alone(state, error) != STATUS_OK) {
            return error->status;
        }
    }
    if (state->trashing && sqlite_trash_slice(state, error) != STATUS_OK) {
        return error->status;
    }
    *more = state->trashing || slice_due(state);
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
        return freeing_failed("old vintages cannot be removed", error);
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
        struct series_entry *entry = series_directory_next(directory, state->retain_hand);
        state->retain_hand = entry == NULL ? 0 : entry->id;
        if (entry == NULL) {
            break;
        }
        int64_t keep_ms = entry_retention(entry, storage->options.retention_ms);
        if (keep_ms > 0 && entry->points > 0 && entry->first_ms < now_ms - keep_ms &&
            !sqlite_series_of(entry)->stuck) {
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
    if (status == STATUS_OK && !*more) {
        status = aged_note(storage, now_ms, error);
    }
    return status == STATUS_OK ? sqlite_checkpoint_due(state, error) : status;
}
