/* Compaction of one series: what waits in memory is merged into its chunks, exactly.
 * SPDX-License-Identifier: Apache-2.0
 *
 *     late points behind the open chunk   each into the full chunk whose span it falls into; a
 *                                         chunk that outgrows its size is split
 *     everything else                     merged with the open chunk; full chunks are cut off its
 *                                         front, the rest becomes the new open chunk
 *
 * All of a series' waiting points go at once, so that one number tells what the journal still holds
 * of it: rows up to flushed_seq hold nothing new. That number, the statistics as of it, and the
 * chunks are written in one transaction; a replay therefore neither loses nor counts twice.
 *
 * A chunk that cannot be decoded is set aside in the table `damaged` with a line in the log, and
 * the store goes on with what is sound.
 */
#include "storage/sqlite_store.h"

#include "base/clock.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/memory.h"

#include <math.h>
#include <sqlite3.h>
#include <string.h>

enum { STATE_VERSION = 1 };

/* ---------------------------------------------------------------- state of a series */

size_t sqlite_state_put(const struct series_entry *entry, uint64_t flushed_seq, unsigned char *out)
{
    unsigned char *at = out + 4;
    *at++ = STATE_VERSION;
    at = varint_put(at, flushed_seq);
    at = varint_put(at, entry->points);
    at = varint_put(at, entry->late);
    at = varint_put(at, entry->updated);
    at = varint_put(at, entry->generation);
    at = varint_put(at, zigzag(entry->first_ms));
    at = varint_put(at, zigzag(entry->last_ms));
    at = varint_put(at, zigzag(entry->ended_ms));
    *at++ = (unsigned char)entry->ended;
    at = double_put(at, entry->last_value);
    u32_put(out, hash_crc32c(0, out + 4, (size_t)(at - out) - 4));
    return (size_t)(at - out);
}

bool sqlite_state_next(struct sqlite_series *series, const unsigned char *bytes, size_t length)
{
    if (length < 5 || u32_load(bytes) != hash_crc32c(0, bytes + 4, length - 4) ||
        bytes[4] != STATE_VERSION) {
        return false;
    }
    struct byte_reader reader = {.cursor = bytes + 5, .end = bytes + length};
    struct series_entry *entry = &series->entry;
    series->flushed_seq = varint_next(&reader);
    entry->points = varint_next(&reader);
    entry->late = varint_next(&reader);
    entry->updated = varint_next(&reader);
    entry->generation = varint_next(&reader);
    entry->first_ms = unzigzag(varint_next(&reader));
    entry->last_ms = unzigzag(varint_next(&reader));
    entry->ended_ms = unzigzag(varint_next(&reader));
    entry->ended = byte_next(&reader) != 0;
    entry->last_value = double_next(&reader);
    return !reader.bad && reader.cursor == reader.end;
}

/* ---------------------------------------------------------------- rows */

/* A chunk row as read: its points are in state->decoded. */
struct row {
    bool found;     /* it has points */
    bool set_aside; /* it was damaged and is gone now: ask again */
    int64_t id, first_ms;
    size_t count;
};

static enum status row_set_aside(struct sqlite_state *state, struct sqlite_series *series,
                                 int64_t id, int64_t count, struct sqlite_flush *flush,
                                 struct error *error)
{
    log_error("storage", "a damaged chunk was set aside", "series=%u points=%lld", series->entry.id,
              (long long)count);
    sqlite3_bind_int64(state->statements[SQL_DAMAGED_ADD], 1, id);
    sqlite3_bind_int64(state->statements[SQL_DAMAGED_ADD], 2, clock_wall_ms());
    if (sqlite_run(state, SQL_DAMAGED_ADD, "set a chunk aside", error) != STATUS_OK) {
        return error->status;
    }
    state->set_aside++;
    flush->lost += count > 0 ? (uint64_t)count : 0;
    sqlite3_bind_int64(state->statements[SQL_CHUNK_DELETE], 1, id);
    state->chunks_added--;
    return sqlite_run(state, SQL_CHUNK_DELETE, "set a chunk aside", error);
}

/* Steps a bound statement of columns (id, first_ms, count, data) to its one row and decodes it. */
static enum status row_read(struct sqlite_state *state, struct sqlite_series *series,
                            enum sqlite_statement which, struct row *row,
                            struct sqlite_flush *flush, struct error *error)
{
    struct sqlite3_stmt *statement = state->statements[which];
    int64_t damaged = 0;
    *row = (struct row){0};
    int code = sqlite3_step(statement);
    if (code == SQLITE_ROW) {
        row->id = sqlite3_column_int64(statement, 0);
        row->first_ms = sqlite3_column_int64(statement, 1);
        row->found = sqlite3_column_type(statement, 1) != SQLITE_NULL;
        damaged = sqlite3_column_int64(statement, 2);
        struct error ignored = {0};
        if (row->found && chunk_decode(sqlite3_column_blob(statement, 3),
                                       (size_t)sqlite3_column_bytes(statement, 3), state->decoded,
                                       CHUNK_POINTS_MAX, &row->count, &ignored) == STATUS_OK) {
            damaged = -1;
        }
    }
    sqlite3_reset(statement);
    if (code != SQLITE_ROW && code != SQLITE_DONE) {
        return sqlite_failed(state, code, "read a chunk", error);
    }
    if (row->found && damaged >= 0) {
        int64_t id = row->id;
        *row = (struct row){.set_aside = true};
        return row_set_aside(state, series, id, damaged, flush, error);
    }
    return STATUS_OK;
}

static enum status chunk_add(struct sqlite_state *state, struct sqlite_series *series,
                             const struct point *points, size_t count, size_t bytes,
                             struct error *error)
{
    struct sqlite3_stmt *statement = state->statements[SQL_CHUNK_ADD];
    sqlite3_bind_int64(statement, 1, series->entry.id);
    sqlite3_bind_int64(statement, 2, points[0].time_ms);
    sqlite3_bind_int64(statement, 3, (int64_t)count);
    sqlite3_bind_blob(statement, 4, state->blob, (int)bytes, SQLITE_STATIC);
    state->chunks_added++;
    return sqlite_run(state, SQL_CHUNK_ADD, "write a chunk", error);
}

static enum status chunk_update(struct sqlite_state *state, int64_t id, const struct point *points,
                                size_t count, size_t bytes, struct error *error)
{
    struct sqlite3_stmt *statement = state->statements[SQL_CHUNK_UPDATE];
    sqlite3_bind_int64(statement, 1, id);
    sqlite3_bind_int64(statement, 2, points[0].time_ms);
    sqlite3_bind_int64(statement, 3, (int64_t)count);
    sqlite3_bind_blob(statement, 4, state->blob, (int)bytes, SQLITE_STATIC);
    return sqlite_run(state, SQL_CHUNK_UPDATE, "write a chunk", error);
}

/* ---------------------------------------------------------------- merging */

/* Appends to state->merged the union of two sorted runs; on the same time `newer` wins. */
static size_t merge(struct point *out, const struct point *older, size_t older_count,
                    const struct point *newer, size_t newer_count)
{
    size_t i = 0, j = 0, count = 0;
    while (i < older_count && j < newer_count) {
        if (older[i].time_ms < newer[j].time_ms) {
            out[count++] = older[i++];
        } else {
            i += older[i].time_ms == newer[j].time_ms;
            out[count++] = newer[j++];
        }
    }
    if (i < older_count) {
        memcpy(out + count, older + i, (older_count - i) * sizeof *out);
        count += older_count - i;
    }
    if (j < newer_count) {
        memcpy(out + count, newer + j, (newer_count - j) * sizeof *out);
        count += newer_count - j;
    }
    return count;
}

enum status sqlite_merged_reserve(struct sqlite_state *state, size_t need, struct error *error)
{
    if (need > state->merged_capacity) {
        struct point *merged = mem_resize(state->merged, need + need / 4, sizeof *merged);
        if (merged == NULL) {
            return error_set(error, STATUS_NO_MEMORY, "could not allocate points to merge");
        }
        state->merged = merged;
        state->merged_capacity = need + need / 4;
    }
    return STATUS_OK;
}

/* Whether all of them fit into one chunk; its blob is in state->blob. */
static bool chunk_whole(struct sqlite_state *state, const struct point *points, size_t count,
                        size_t *bytes)
{
    *bytes =
        count > CHUNK_POINTS_MAX ? 0 : chunk_encode(points, count, state->blob, CHUNK_TARGET_BYTES);
    return *bytes > 0;
}

/* How many of the first points make the next chunk; its blob is in state->blob. A small rest is not
 * left alone: then the points are halved, which leaves room for more late points on both sides. */
static size_t chunk_cut(struct sqlite_state *state, const struct point *points, size_t count,
                        bool halve, size_t *bytes)
{
    size_t fits = chunk_fit(points, count, state->blob, CHUNK_TARGET_BYTES, bytes);
    if (halve && count > 1 && count - fits < fits / 4) {
        size_t half = count / 2;
        size_t half_bytes = chunk_encode(points, half, state->blob, CHUNK_TARGET_BYTES);
        if (half_bytes > 0) {
            *bytes = half_bytes;
            return half;
        }
        fits = chunk_fit(points, count, state->blob, CHUNK_TARGET_BYTES, bytes);
    }
    return fits;
}

/* Replaces the points of a full chunk; what does not fit into it goes to new ones. */
static enum status row_rewrite(struct sqlite_state *state, struct sqlite_series *series, int64_t id,
                               const struct point *points, size_t count, bool halve,
                               struct error *error)
{
    for (size_t at = 0; at < count;) {
        size_t bytes, taken = count - at;
        if (!chunk_whole(state, points + at, taken, &bytes)) {
            taken = chunk_cut(state, points + at, taken, halve, &bytes);
        }
        enum status status = at == 0 ? chunk_update(state, id, points, taken, bytes, error)
                                     : chunk_add(state, series, points + at, taken, bytes, error);
        if (status != STATUS_OK) {
            return status;
        }
        at += taken;
    }
    return STATUS_OK;
}

/* Late points [0 .. count) all belong to the full chunk in `row` (points in state->decoded). */
static enum status row_merge(struct sqlite_state *state, struct sqlite_series *series,
                             const struct row *row, const struct point *late, size_t count,
                             struct error *error)
{
    if (sqlite_merged_reserve(state, row->count + count, error) != STATUS_OK) {
        return error->status;
    }
    size_t total = merge(state->merged, state->decoded, row->count, late, count);
    bool halve = late[count - 1].time_ms < state->decoded[row->count - 1].time_ms;
    return row_rewrite(state, series, row->id, state->merged, total, halve, error);
}

/* Where the next chunk begins (INT64_MAX: there is none), by SQL_CHUNK_AFTER as it is bound. */
static enum status next_first_read(struct sqlite_state *state, int64_t *first_ms,
                                   struct error *error)
{
    struct sqlite3_stmt *after = state->statements[SQL_CHUNK_AFTER];
    int code = sqlite3_step(after);
    *first_ms = code == SQLITE_ROW ? sqlite3_column_int64(after, 1) : INT64_MAX;
    sqlite3_reset(after);
    return code == SQLITE_ROW || code == SQLITE_DONE
               ? STATUS_OK
               : sqlite_failed(state, code, "read where the next chunk begins", error);
}

/* Merges late points before `open_first` into full chunks; *done says how many found one. Where the
 * series has no full chunk they are left for the open one. */
static enum status late_merge(struct sqlite_state *state, struct sqlite_series *series,
                              int64_t open_first, size_t *done, struct sqlite_flush *flush,
                              struct error *error)
{
    const struct point *late = series->tail.late;
    size_t count = points_lower_bound(late, series->tail.late_count, open_first);
    *done = 0;
    while (*done < count) {
        struct row row;
        sqlite3_bind_int64(state->statements[SQL_CHUNK_AT], 1, series->entry.id);
        sqlite3_bind_int64(state->statements[SQL_CHUNK_AT], 2, late[*done].time_ms);
        if (row_read(state, series, SQL_CHUNK_AT, &row, flush, error) != STATUS_OK) {
            return error->status;
        }
        if (row.set_aside) {
            continue;
        }
        int64_t first_ms = row.found ? row.first_ms : INT64_MIN;
        sqlite3_bind_int64(state->statements[SQL_CHUNK_AFTER], 1, series->entry.id);
        sqlite3_bind_int64(state->statements[SQL_CHUNK_AFTER], 2, first_ms);
        if (!row.found) {
            /* Before all chunks: into the first one. */
            if (row_read(state, series, SQL_CHUNK_AFTER, &row, flush, error) != STATUS_OK) {
                return error->status;
            }
            if (row.set_aside) {
                continue;
            }
            if (!row.found || row.id < 0) {
                return STATUS_OK;
            }
            sqlite3_bind_int64(state->statements[SQL_CHUNK_AFTER], 2, row.first_ms);
        }
        int64_t next_ms;
        if (next_first_read(state, &next_ms, error) != STATUS_OK) {
            return error->status;
        }
        size_t end = *done + points_lower_bound(late + *done, count - *done, next_ms);
        if (row_merge(state, series, &row, late + *done, end - *done, error) != STATUS_OK) {
            return error->status;
        }
        *done = end;
    }
    return STATUS_OK;
}

/* ---------------------------------------------------------------- the open chunk */

/* row->id is 0 where the series has none yet. */
static enum status open_read(struct sqlite_state *state, struct sqlite_series *series,
                             struct row *row, struct sqlite_flush *flush, struct error *error)
{
    sqlite3_bind_int64(state->statements[SQL_OPEN_READ], 1, -(int64_t)series->entry.id);
    return row_read(state, series, SQL_OPEN_READ, row, flush, error);
}

static enum status open_write(struct sqlite_state *state, const struct series_entry *entry,
                              const struct point *points, size_t count, size_t bytes, bool update,
                              struct error *error)
{
    unsigned char packed[SQLITE_STATE_BYTES_MAX];
    enum sqlite_statement which = update ? SQL_OPEN_UPDATE : SQL_OPEN_PUT;
    struct sqlite3_stmt *statement = state->statements[which];
    sqlite3_bind_int64(statement, 1, -(int64_t)entry->id);
    if (!update) {
        sqlite3_bind_int64(statement, 2, entry->id);
        if (count > 0) {
            sqlite3_bind_int64(statement, 3, points[0].time_ms);
        }
    }
    sqlite3_bind_int64(statement, 4, (int64_t)count);
    size_t length = sqlite_state_put(entry, state->last_seq, packed);
    sqlite3_bind_blob(statement, 5, packed, (int)length, SQLITE_STATIC);
    sqlite3_bind_blob(statement, 6, bytes > 0 ? (const void *)state->blob : "", (int)bytes,
                      SQLITE_STATIC);
    return sqlite_run(state, which, "write the open chunk", error);
}

/* Full chunks off the front until the rest fits into one, whose blob is then in state->blob. */
static enum status full_cut_off(struct sqlite_state *state, struct sqlite_series *series,
                                const struct point **points, size_t *count, size_t *bytes,
                                struct error *error)
{
    *bytes = 0;
    while (*count > 0) {
        size_t taken = chunk_cut(state, *points, *count, false, bytes);
        if (taken == *count) {
            break;
        }
        if (chunk_add(state, series, *points, taken, *bytes, error) != STATUS_OK) {
            return error->status;
        }
        *points += taken;
        *count -= taken;
    }
    return STATUS_OK;
}

/* ---------------------------------------------------------------- for downsampling */

enum status sqlite_chunks_add(struct sqlite_state *state, struct sqlite_series *series,
                              size_t count, struct error *error)
{
    const struct point *points = state->merged;
    size_t bytes;
    if (full_cut_off(state, series, &points, &count, &bytes, error) != STATUS_OK) {
        return error->status;
    }
    return count > 0 ? chunk_add(state, series, points, count, bytes, error) : STATUS_OK;
}

enum status sqlite_open_replace(struct sqlite_state *state, struct sqlite_series *series,
                                const struct series_entry *after, size_t count, struct error *error)
{
    const struct point *points = state->merged;
    size_t bytes;
    if (full_cut_off(state, series, &points, &count, &bytes, error) != STATUS_OK) {
        return error->status;
    }
    return open_write(state, after, points, count, bytes, false, error);
}

enum status sqlite_state_rewrite(struct sqlite_state *state, struct sqlite_series *series,
                                 const struct series_entry *after, struct error *error)
{
    struct sqlite_flush ignored = {0};
    struct row open;
    size_t bytes = 0;
    if (open_read(state, series, &open, &ignored, error) != STATUS_OK) {
        return error->status;
    }
    if (open.count > 0 && !chunk_whole(state, state->decoded, open.count, &bytes)) {
        return error_set(error, STATUS_CORRUPT, "the open chunk of series %u is too large",
                         after->id);
    }
    return open_write(state, after, state->decoded, open.count, bytes, false, error);
}

/* ---------------------------------------------------------------- the whole series */

/* Deletes or shortens full chunks before the cutoff (retention). The first survivor's time, or
 * INT64_MAX, goes to flush->first_ms. Where the budget of deletions is spent, the cutoff moves back
 * to the first chunk that is left. */
static enum status chunks_drop(struct sqlite_state *state, struct sqlite_series *series,
                               struct sqlite_flush *flush, struct error *error)
{
    for (;;) {
        struct row row;
        struct sqlite3_stmt *statement = state->statements[SQL_CHUNK_AFTER];
        sqlite3_bind_int64(statement, 1, series->entry.id);
        sqlite3_bind_int64(statement, 2, INT64_MIN);
        if (row_read(state, series, SQL_CHUNK_AFTER, &row, flush, error) != STATUS_OK) {
            return error->status;
        }
        if (row.set_aside) {
            continue;
        }
        if (!row.found || row.id < 0) {
            return STATUS_OK;
        }
        size_t gone = points_lower_bound(state->decoded, row.count, flush->cutoff_ms);
        if (gone == row.count && state->drop_budget == 0) {
            flush->cutoff_ms = flush->first_ms = row.first_ms;
            state->retain_again = state->retain_again == 0 ? series->entry.id : state->retain_again;
            return STATUS_OK;
        }
        flush->lost += gone;
        if (gone < row.count) {
            flush->first_ms = state->decoded[gone].time_ms;
            return gone == 0 ? STATUS_OK
                             : row_rewrite(state, series, row.id, state->decoded + gone,
                                           row.count - gone, false, error);
        }
        sqlite3_bind_int64(state->statements[SQL_CHUNK_DELETE], 1, row.id);
        state->chunks_added--;
        state->drop_budget--;
        if (sqlite_run(state, SQL_CHUNK_DELETE, "delete a chunk", error) != STATUS_OK) {
            return error->status;
        }
    }
}

/* Open chunk (decoded), the late points that are left, and the fresh ones, in state->merged. */
static enum status open_merge(struct sqlite_state *state, const struct sqlite_series *series,
                              const struct row *open, size_t merged_late, size_t *total,
                              struct error *error)
{
    const struct tail *tail = &series->tail;
    size_t late_count = tail->late_count - merged_late;
    if (sqlite_merged_reserve(state, open->count + late_count + tail->fresh, error) != STATUS_OK) {
        return error->status;
    }
    *total = merge(state->merged, state->decoded, open->count,
                   late_count > 0 ? tail->late + merged_late : NULL, late_count);
    if (tail->fresh > 0) {
        memcpy(state->merged + *total, tail_points(tail) + tail->count - tail->fresh,
               tail->fresh * sizeof *state->merged);
        *total += tail->fresh;
    }
    return STATUS_OK;
}

/* A chunk that somebody could not decode is set aside if that is so. */
static enum status suspect_look(struct sqlite_state *state, struct sqlite_series *series,
                                struct sqlite_flush *flush, struct error *error)
{
    struct row row;
    if (!flush->suspected) {
        return STATUS_OK;
    }
    sqlite3_bind_int64(state->statements[SQL_CHUNK_AT], 1, series->entry.id);
    sqlite3_bind_int64(state->statements[SQL_CHUNK_AT], 2, flush->suspect_ms);
    return row_read(state, series, SQL_CHUNK_AT, &row, flush, error);
}

enum status sqlite_flush_series(struct sqlite_state *state, struct sqlite_series *series,
                                int64_t cutoff_ms, struct sqlite_flush *flush, struct error *error)
{
    struct tail *tail = &series->tail;
    struct row open;
    size_t merged_late;
    *flush = (struct sqlite_flush){.series = series,
                                   .chunk_last_ms = tail->chunk_last_ms,
                                   .first_ms = INT64_MAX,
                                   .cutoff_ms = cutoff_ms,
                                   .suspected = flush->suspected,
                                   .suspect_ms = flush->suspect_ms};
    state->cached_series = 0;
    if (sqlite_downsample_reopen(state, series, error) != STATUS_OK ||
        suspect_look(state, series, flush, error) != STATUS_OK) {
        return error->status;
    }
    /* 1. The open chunk's span says which late points belong to full chunks. */
    if (open_read(state, series, &open, flush, error) != STATUS_OK) {
        return error->status;
    }
    int64_t open_first = open.found ? open.first_ms : INT64_MAX;
    if (late_merge(state, series, open_first, &merged_late, flush, error) != STATUS_OK ||
        (cutoff_ms != INT64_MIN && chunks_drop(state, series, flush, error) != STATUS_OK)) {
        return error->status;
    }
    /* 2. What makes the new open chunk. The scratch was used meanwhile: read it again. */
    if ((merged_late > 0 || cutoff_ms != INT64_MIN) &&
        open_read(state, series, &open, flush, error) != STATUS_OK) {
        return error->status;
    }
    size_t total = 0;
    if (open_merge(state, series, &open, merged_late, &total, error) != STATUS_OK) {
        return error->status;
    }
    /* Where the newest chunk was damaged, what is left may end earlier: the end does not move back.
     */
    if (total > 0 && state->merged[total - 1].time_ms > flush->chunk_last_ms) {
        flush->chunk_last_ms = state->merged[total - 1].time_ms;
    }
    const struct point *points = state->merged;
    if (cutoff_ms != INT64_MIN) {
        size_t gone = points_lower_bound(points, total, flush->cutoff_ms);
        flush->lost += gone;
        points += gone;
        total -= gone;
        if (flush->first_ms == INT64_MAX && total > 0) {
            flush->first_ms = points[0].time_ms;
        }
    }
    /* 3. Cut full chunks off the front until the rest fits into one. */
    size_t bytes = 0;
    if (full_cut_off(state, series, &points, &total, &bytes, error) != STATUS_OK) {
        return error->status;
    }
    /* 4. The statistics that are written are those after this flush. A damaged row may claim more
     * points than there ever were. */
    if (flush->lost > series->entry.points) {
        flush->lost = series->entry.points;
    }
    struct series_entry after = series->entry;
    if (flush->lost > 0) {
        after.points -= flush->lost;
        after.generation++;
    }
    if (flush->first_ms != INT64_MAX) {
        after.first_ms = flush->first_ms;
    }
    bool update = open.found && total > 0 && points[0].time_ms == open.first_ms;
    state->chunks_added += open.id == 0;
    return open_write(state, &after, points, total, bytes, update, error);
}
