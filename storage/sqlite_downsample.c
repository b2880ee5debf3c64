/* Downsampling of the SQLite driver: whole chunks of old points are rewritten, a series at a time.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The table `downsampled` says for each series and step up to where that is done, and changes in
 * the transaction that rewrites the chunks: after a crash a span is done or not, never in part.
 * A point that is written behind that mark moves it back (sqlite_downsample_reopen), so late ones
 * and whole imports of the past are found without looking at everything.
 *
 * A running daemon waits until a few chunks are due: each chunk is then rewritten about once, not
 * once a cell. DRIVER_LOT and DRIVER_ALL do it to the cell.
 *
 * What the series has waiting is flushed first, in the same transaction: so the statistics that are
 * written are those of now, and windows in memory only need to forget what lies before the mark.
 */
#include "storage/sqlite_store.h"

#include "base/check.h"
#include "base/log.h"

#include <sqlite3.h>

enum {
    SERIES_LOOK = 256,    /* looked at in one slice */
    SERIES_WORK = 8,      /* rewritten in one slice */
    ROWS_DUE = 5,         /* chunks that begin in the span that is due, before a daemon rewrites */
    ROWS_MAX = 64,        /* read at a time, where they hold a whole cell */
    POINTS_MAX = 2000000, /* in one cell; more are averaged in pieces */
};

struct thinning {
    struct sqlite_series *series;
    int64_t step_ms;
    int64_t until_ms, cut_ms;  /* done before; wanted */
    int64_t done_ms;           /* reached */
    bool all;                  /* the open chunk too */
    int64_t begin_ms, next_ms; /* the rows that were read: from here, up to the one that follows */
    bool open;                 /* the open chunk is among them */
    size_t total;              /* points of them, in state->merged */
    uint64_t removed;
    int64_t first_ms; /* of these points, afterwards */
};

/* ---------------------------------------------------------------- the mark */

static enum status mark_read(struct sqlite_state *state, struct thinning *thin, struct error *error)
{
    struct sqlite3_stmt *statement = state->statements[SQL_DOWNSAMPLED_READ];
    sqlite3_bind_int64(statement, 1, thin->series->entry.id);
    sqlite3_bind_int64(statement, 2, thin->step_ms);
    int code = sqlite3_step(statement);
    thin->until_ms = code == SQLITE_ROW ? sqlite3_column_int64(statement, 0) : INT64_MIN;
    sqlite3_reset(statement);
    return code == SQLITE_ROW || code == SQLITE_DONE
               ? STATUS_OK
               : sqlite_failed(state, code, "read what is downsampled", error);
}

static enum status mark_write(struct sqlite_state *state, const struct thinning *thin,
                              struct error *error)
{
    struct sqlite3_stmt *statement = state->statements[SQL_DOWNSAMPLED_PUT];
    sqlite3_bind_int64(statement, 1, thin->series->entry.id);
    sqlite3_bind_int64(statement, 2, thin->step_ms);
    sqlite3_bind_int64(statement, 3, thin->done_ms);
    return sqlite_run(state, SQL_DOWNSAMPLED_PUT, "write what is downsampled", error);
}

enum status sqlite_downsample_reopen(struct sqlite_state *state, const struct sqlite_series *series,
                                     struct error *error)
{
    const struct tail *tail = &series->tail;
    int64_t oldest_ms = tail->late_count > 0 ? tail->late[0].time_ms : INT64_MAX;
    if (tail->fresh > 0) {
        int64_t fresh_ms = tail_points(tail)[tail->count - tail->fresh].time_ms;
        oldest_ms = fresh_ms < oldest_ms ? fresh_ms : oldest_ms;
    }
    if (state->storage->options.downsample.count == 0 || oldest_ms >= state->downsample_cut_ms) {
        return STATUS_OK;
    }
    struct sqlite3_stmt *statement = state->statements[SQL_DOWNSAMPLED_REOPEN];
    sqlite3_bind_int64(statement, 1, series->entry.id);
    sqlite3_bind_int64(statement, 2, oldest_ms);
    state->downsample_again = true;
    return sqlite_run(state, SQL_DOWNSAMPLED_REOPEN, "write what is downsampled", error);
}

/* ---------------------------------------------------------------- one series, one rule */

/* Whether so many chunks begin in the span that rewriting them is worth it. */
static enum status rows_due(struct sqlite_state *state, const struct thinning *thin, bool *due,
                            struct error *error)
{
    struct sqlite3_stmt *statement = state->statements[SQL_CHUNKS_BETWEEN];
    sqlite3_bind_int64(statement, 1, thin->series->entry.id);
    sqlite3_bind_int64(statement, 2, thin->until_ms);
    sqlite3_bind_int64(statement, 3, thin->cut_ms);
    sqlite3_bind_int(statement, 4, ROWS_DUE);
    int code = sqlite3_step(statement);
    *due = code == SQLITE_ROW && sqlite3_column_int(statement, 0) >= ROWS_DUE;
    sqlite3_reset(statement);
    return code == SQLITE_ROW ? STATUS_OK : sqlite_failed(state, code, "count chunks", error);
}

/* Whether the row at `first_ms` is left for later. */
static bool rows_end(const struct thinning *thin, int64_t from_ms, int64_t first_ms, int rows)
{
    bool beyond = first_ms >= thin->cut_ms;
    bool many = rows >= ROWS_MAX && downsample_cell(first_ms, thin->step_ms) > from_ms;
    return beyond || many || thin->total >= POINTS_MAX;
}

/* Reads chunks from the mark on into state->merged. A damaged one ends it: it is set aside by a
 * flush, and the next round goes on behind it. */
static enum status rows_read(struct sqlite_state *state, struct thinning *thin, struct error *error)
{
    struct sqlite3_stmt *statement = state->statements[SQL_CHUNKS_UP];
    bool begun = thin->until_ms != INT64_MIN;
    int64_t from_ms = begun ? downsample_cell(thin->until_ms, thin->step_ms) : INT64_MIN;
    enum status status = STATUS_OK;
    int code, rows = 0;
    thin->next_ms = INT64_MAX;
    thin->begin_ms = INT64_MAX;
    sqlite3_bind_int64(statement, 1, thin->series->entry.id);
    sqlite3_bind_int64(statement, 2, from_ms);
    while ((code = sqlite3_step(statement)) == SQLITE_ROW) {
        int64_t id = sqlite3_column_int64(statement, 0);
        int64_t first_ms = sqlite3_column_int64(statement, 1);
        size_t count = 0;
        struct error ignored = {0};
        if (rows == 0 && !begun) {
            from_ms = downsample_cell(first_ms, thin->step_ms);
        }
        thin->next_ms = first_ms;
        if (rows_end(thin, from_ms, first_ms, rows) || (id < 0 && !thin->all)) {
            break;
        }
        status = sqlite_merged_reserve(state, thin->total + CHUNK_POINTS_MAX, error);
        if (status != STATUS_OK) {
            break;
        }
        if (chunk_decode(sqlite3_column_blob(statement, 2),
                         (size_t)sqlite3_column_bytes(statement, 2), state->merged + thin->total,
                         CHUNK_POINTS_MAX, &count, &ignored) != STATUS_OK) {
            sqlite_suspect(state->storage, thin->series->entry.id, first_ms);
            break;
        }
        thin->begin_ms = rows++ == 0 ? first_ms : thin->begin_ms;
        thin->open = thin->open || id < 0;
        thin->total += count;
        thin->next_ms = INT64_MAX;
    }
    sqlite3_reset(statement);
    if (code != SQLITE_ROW && code != SQLITE_DONE) {
        return sqlite_failed(state, code, "read chunks", error);
    }
    /* Only whole cells: what follows may hold the rest of the last one. */
    int64_t whole_ms =
        thin->next_ms == INT64_MAX ? thin->cut_ms : downsample_cell(thin->next_ms, thin->step_ms);
    thin->done_ms = whole_ms < thin->cut_ms ? whole_ms : thin->cut_ms;
    if (thin->total >= POINTS_MAX && thin->done_ms <= from_ms) {
        thin->done_ms = thin->next_ms < thin->cut_ms ? thin->next_ms : thin->cut_ms;
    }
    return status;
}

/* Puts the rows that were read in the place of the old ones, with the statistics after it. */
static enum status rows_replace(struct sqlite_state *state, struct thinning *thin,
                                struct series_entry *after, struct error *error)
{
    struct sqlite3_stmt *statement = state->statements[SQL_CHUNKS_DELETE];
    sqlite3_bind_int64(statement, 1, after->id);
    sqlite3_bind_int64(statement, 2, thin->begin_ms);
    sqlite3_bind_int64(statement, 3, thin->next_ms);
    if (sqlite_run(state, SQL_CHUNKS_DELETE, "replace chunks", error) != STATUS_OK) {
        return error->status;
    }
    state->chunks_added -= sqlite3_changes64(state->db);
    if (thin->open) {
        return sqlite_open_replace(state, thin->series, after, thin->total, error);
    }
    if (sqlite_chunks_add(state, thin->series, thin->total, error) != STATUS_OK) {
        return error->status;
    }
    return sqlite_state_rewrite(state, thin->series, after, error);
}

static enum status thin_write(struct sqlite_state *state, struct thinning *thin,
                              struct error *error)
{
    if (sqlite_flush_write(state, error) != STATUS_OK ||
        mark_read(state, thin, error) != STATUS_OK || rows_read(state, thin, error) != STATUS_OK) {
        return error->status;
    }
    if (thin->done_ms <= thin->until_ms) {
        thin->done_ms = thin->until_ms;
        return STATUS_OK;
    }
    const struct sqlite_flush *flush = &state->flushes[0];
    const struct series_entry *entry = &thin->series->entry;
    struct series_entry after = *entry;
    after.points -= flush->lost;
    after.generation += flush->lost > 0;
    after.first_ms = flush->first_ms != INT64_MAX ? flush->first_ms : after.first_ms;
    bool counter = store_counter(state->storage, entry, state->merged, thin->total);
    int64_t first_ms = thin->total > 0 ? state->merged[0].time_ms : INT64_MAX;
    size_t kept =
        downsample_points(state->merged, thin->total, thin->step_ms, thin->done_ms, counter);
    thin->removed = thin->total - kept;
    thin->total = kept;
    thin->first_ms =
        thin->removed > 0 && first_ms == after.first_ms ? state->merged[0].time_ms : after.first_ms;
    if (thin->removed > 0) {
        after.points -= thin->removed < after.points ? thin->removed : after.points;
        after.generation++;
        after.first_ms = thin->first_ms;
        if (rows_replace(state, thin, &after, error) != STATUS_OK) {
            return error->status;
        }
    }
    return mark_write(state, thin, error);
}

/* After the commit. */
static void thin_apply(struct sqlite_state *state, const struct thinning *thin)
{
    struct storage *storage = state->storage;
    struct series_entry *entry = &thin->series->entry;
    state->cached_series = 0;
    if (thin->removed == 0) {
        return;
    }
    lock_acquire(&storage->lock);
    uint64_t removed = thin->removed < entry->points ? thin->removed : entry->points;
    entry->points -= removed;
    entry->generation++;
    entry->first_ms = thin->first_ms;
    storage->counters.points -= removed;
    tail_forget_before(&thin->series->tail, thin->done_ms);
    lock_release(&storage->lock);
}

/* A transaction of its own, with the flush of what the series has waiting. */
static enum status thin_run(struct sqlite_state *state, struct thinning *thin, struct error *error)
{
    CHECK(state->flush_count == 0);
    thin->series->flushing = true;
    state->flushes[state->flush_count++] =
        (struct sqlite_flush){.series = thin->series, .cutoff_ms = INT64_MIN};
    if (sqlite_begin(state, error) != STATUS_OK || thin_write(state, thin, error) != STATUS_OK) {
        sqlite_rollback(state);
        sqlite_flush_undo(state);
        return error->status;
    }
    if (sqlite_end(state, error) != STATUS_OK) {
        sqlite_flush_undo(state);
        return error->status;
    }
    sqlite_flush_done(state);
    thin_apply(state, thin);
    return STATUS_OK;
}

/* All rules of a series, each up to where the one before got. */
static enum status series_thin(struct sqlite_state *state, struct sqlite_series *series,
                               int64_t now_ms, bool all, int *work, struct error *error)
{
    const struct downsample *downsample = &state->storage->options.downsample;
    int64_t before_ms = INT64_MAX;
    for (size_t i = 0; i < downsample->count; i++) {
        const struct downsample_rule *rule = &downsample->rules[i];
        struct thinning thin = {.series = series, .step_ms = rule->step_ms, .all = all};
        bool due = true;
        thin.cut_ms = downsample_cut(rule, now_ms, series->entry.last_ms);
        if (before_ms != INT64_MAX && downsample_cell(before_ms, rule->step_ms) < thin.cut_ms) {
            thin.cut_ms = downsample_cell(before_ms, rule->step_ms);
        }
        if (mark_read(state, &thin, error) != STATUS_OK ||
            (!all && rows_due(state, &thin, &due, error) != STATUS_OK)) {
            return error->status;
        }
        thin.done_ms = thin.until_ms;
        while (due && thin.done_ms<thin.cut_ms && * work> 0) {
            int64_t reached_ms = thin.done_ms;
            thin = (struct thinning){
                .series = series, .step_ms = rule->step_ms, .cut_ms = thin.cut_ms, .all = all};
            if (thin_run(state, &thin, error) != STATUS_OK) {
                return error->status;
            }
            --*work;
            if (thin.done_ms <= reached_ms) {
                break;
            }
        }
        before_ms = thin.done_ms;
        if (before_ms == INT64_MIN) {
            return STATUS_OK;
        }
    }
    return STATUS_OK;
}

/* A series that cannot be read is left as it is: one bad page shall not stop the others. */
static enum status entry_thin(struct sqlite_state *state, struct series_entry *entry,
                              int64_t now_ms, int *work, struct error *error)
{
    struct sqlite_series *series = sqlite_series_of(entry);
    enum status status =
        series->stuck ? STATUS_OK
                      : series_thin(state, series, now_ms, state->downsample_lots, work, error);
    if (status != STATUS_CORRUPT) {
        return status;
    }
    log_error("storage", "a series cannot be downsampled", "series=%u reason=\"%s\"", entry->id,
              error->text);
    *error = (struct error){0};
    return STATUS_OK;
}

/* A part of a round. */
static enum status round_go_on(struct sqlite_state *state, int64_t now_ms, int64_t cut_ms,
                               struct error *error)
{
    struct series_directory *directory = &state->storage->directory;
    int work = SERIES_WORK;
    sqlite_flush_choose(state, 0); /* makes room for the list */
    if (state->flush_capacity == 0) {
        return error_set(error, STATUS_NO_MEMORY, "could not allocate a list of series");
    }
    for (int looked = 0; looked < SERIES_LOOK && work > 0; looked++) {
        struct series_entry *entry = series_directory_next(directory, state->downsample_hand);
        if (entry == NULL) {
            state->downsample_round = false;
            break;
        }
        state->downsample_hand = entry->id;
        if (entry->points > 1 && entry->first_ms < cut_ms &&
            entry_thin(state, entry, now_ms, &work, error) != STATUS_OK) {
            return error->status;
        }
    }
    if (work <= 0) {
        state->downsample_hand--; /* it may have more: each call comes further */
    }
    return sqlite_checkpoint_due(state, error);
}

enum status sqlite_downsample(struct storage *storage, int64_t now_ms, enum driver_effort effort,
                              bool *more, struct error *error)
{
    struct sqlite_state *state = storage->state;
    int64_t cut_ms = downsample_cut(&storage->options.downsample.rules[0], now_ms, INT64_MAX);
    bool lots = effort != DRIVER_SLICE;
    *more = false;
    if (sqlite_usable(state, error) != STATUS_OK) {
        return error->status;
    }
    bool goes_on = state->downsample_round && effort != DRIVER_ALL &&
                   (state->downsample_lots || !lots); /* one to the cell begins with all series */
    /* Nothing is newly due before the next cell of the finest rule is old enough. */
    if (!goes_on && !lots && cut_ms == state->downsample_cut_ms && !state->downsample_again) {
        return STATUS_OK;
    }
    state->downsample_again =
        goes_on && (state->downsample_again || cut_ms > state->downsample_cut_ms);
    state->downsample_cut_ms = cut_ms;
    state->downsample_hand = goes_on ? state->downsample_hand : 0;
    state->downsample_round = true;
    state->downsample_lots = lots;
    do {
        if (round_go_on(state, now_ms, cut_ms, error) != STATUS_OK) {
            state->downsample_again = true; /* the one that failed has its turn in the next round */
            state->downsample_round = !lots;
            return error->status;
        }
    } while (effort == DRIVER_ALL && state->downsample_round);
    *more = state->downsample_round;
    return STATUS_OK;
}
