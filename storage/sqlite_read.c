/* Readers of the SQLite driver: memory first, then the file, merged by time.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A read copies what the window and the late list hold under the store's lock, then reads the
 * chunks behind the window in one statement, which is one snapshot of the file. Whatever is flushed
 * in between is seen in both places and counted once. Where the window reaches far enough the file
 * is not touched.
 *
 * A chunk whose checksum is wrong fails the read, and is noted: the writer sets it aside within a
 * second, and the next read goes on without it.
 *
 * No read transaction outlives a call, so a reader never keeps the write-ahead log from being
 * reused.
 */
#include "storage/sqlite_store.h"

#include "base/hash.h"
#include "base/memory.h"

#include <sqlite3.h>
#include <string.h>

enum reader_statement { READ_RANGE, READ_DOWN, READ_RECORDS, READ_VINTAGES, READ_STATEMENTS };

static const char *const reader_texts[READ_STATEMENTS] = {
    [READ_RANGE] = ("SELECT data, first_ms FROM chunk WHERE series = ?1 AND first_ms < ?3 "
                    "AND first_ms >="
                    " coalesce((SELECT first_ms FROM chunk WHERE series = ?1 AND first_ms <= ?2"
                    "  ORDER BY first_ms DESC LIMIT 1), ?2) ORDER BY first_ms"),
    [READ_DOWN] = ("SELECT data, first_ms FROM chunk WHERE series = ?1 AND first_ms < ?2"
                   " ORDER BY first_ms DESC"),
    [READ_RECORDS] = "SELECT key, json FROM record WHERE kind = ?1 ORDER BY key",
    [READ_VINTAGES] = "SELECT issued_ms, crc, data FROM vintage WHERE series = ?1 AND"
                      " issued_ms >= ?2 AND issued_ms < ?3 ORDER BY issued_ms DESC",
};

struct copy {
    struct point *points;
    size_t count, capacity;
};

struct reader {
    struct storage *storage;
    struct sqlite3 *db;
    struct sqlite3_stmt *statements[READ_STATEMENTS];
    struct copy window, late; /* what memory held when the read began */
    struct point *decoded;    /* CHUNK_POINTS_MAX */
    int64_t from_ms;          /* of the window, as long as it was copied */
    int64_t low_ms, high_ms;  /* the next chunk of this read lies between */
};

/* ---------------------------------------------------------------- open and close */

void sqlite_reader_close(void *handle)
{
    struct reader *reader = handle;
    for (size_t i = 0; i < READ_STATEMENTS; i++) {
        sqlite3_finalize(reader->statements[i]);
    }
    sqlite3_close(reader->db);
    mem_free(reader->window.points);
    mem_free(reader->late.points);
    mem_free(reader->decoded);
    mem_free(reader);
}

enum status sqlite_reader_open(struct storage *storage, void **out, struct error *error)
{
    const struct sqlite_state *state = storage->state;
    struct reader *reader = mem_zeroed(1, sizeof *reader);
    if (reader == NULL) {
        return error_set(error, STATUS_NO_MEMORY, "could not allocate a reader");
    }
    reader->storage = storage;
    reader->decoded = mem_array(CHUNK_POINTS_MAX, sizeof *reader->decoded);
    if (reader->decoded == NULL) {
        error_set(error, STATUS_NO_MEMORY, "could not allocate a reader");
        goto failed;
    }
    if (sqlite_connect(state->file, CONNECTION_READS, &reader->db, error) != STATUS_OK) {
        goto failed;
    }
    for (size_t i = 0; i < READ_STATEMENTS; i++) {
        int code = sqlite3_prepare_v3(reader->db, reader_texts[i], -1, SQLITE_PREPARE_PERSISTENT,
                                      &reader->statements[i], NULL);
        /* A store of an older version, opened read-only and so not migrated, has no vintages. */
        if (code != SQLITE_OK && !(i == READ_VINTAGES && code == SQLITE_ERROR)) {
            sqlite_status(reader->db, code, "prepare a statement", error);
            goto failed;
        }
    }
    *out = reader;
    return STATUS_OK;
failed:
    sqlite_reader_close(reader);
    return error->status;
}

/* ---------------------------------------------------------------- memory */

static void used_mark(struct sqlite_series *series)
{
    if (!series->used) {
        series->used = true;
    }
}

/* Under the lock. Copies as much as there is room for; returns whether that was everything. */
static bool copy_points(struct copy *copy, const struct point *points, size_t count)
{
    copy->count = count;
    if (count > copy->capacity) {
        return false;
    }
    if (count > 0) {
        memcpy(copy->points, points, count * sizeof *points);
    }
    return true;
}

static enum status copy_reserve(struct copy *copy, struct error *error)
{
    if (copy->count > copy->capacity) {
        size_t capacity = copy->count + copy->count / 4 + 256;
        struct point *points = mem_resize(copy->points, capacity, sizeof *points);
        if (points == NULL) {
            return error_set(error, STATUS_NO_MEMORY, "could not allocate points");
        }
        copy->points = points;
        copy->capacity = capacity;
    }
    return STATUS_OK;
}

struct wanted {
    uint32_t id;
    int64_t start_ms, end_ms;
    size_t maximum;
    bool newest; /* the last `maximum` of them, not the first */
};

/* Copies window and late points of the wanted span into the reader. `alone`: memory has all there
 * is. */
static enum status memory_copy(struct reader *reader, const struct wanted *wanted, bool *alone,
                               struct error *error)
{
    struct storage *storage = reader->storage;
    for (;;) {
        lock_acquire(&storage->lock);
        struct series_entry *entry = series_directory_at(&storage->directory, wanted->id);
        if (entry == NULL) {
            lock_release(&storage->lock);
            return error_set(error, STATUS_NOT_FOUND, "there is no series %u", wanted->id);
        }
        struct sqlite_series *series = sqlite_series_of(entry);
        const struct tail *tail = &series->tail;
        used_mark(series);
        const struct point *points = tail_points(tail);
        size_t begin = points_lower_bound(points, tail->count, wanted->start_ms);
        size_t end = points_lower_bound(points, tail->count, wanted->end_ms);
        end = end < begin ? begin : end;
        if (end - begin > wanted->maximum) {
            begin = wanted->newest ? end - wanted->maximum : begin;
            end = begin + wanted->maximum;
        }
        reader->from_ms = tail->from_ms;
        *alone = tail->from_ms <= wanted->start_ms || tail->chunk_last_ms == INT64_MIN ||
                 (wanted->newest && end - begin == wanted->maximum);
        size_t late_begin = points_lower_bound(tail->late, tail->late_count, wanted->start_ms);
        int64_t late_until = tail->from_ms < wanted->end_ms ? tail->from_ms : wanted->end_ms;
        size_t late_end = points_lower_bound(tail->late, tail->late_count, late_until);
        late_end = *alone || late_end < late_begin ? late_begin : late_end;
        bool all =
            copy_points(&reader->window, points == NULL ? NULL : points + begin, end - begin);
        all &= copy_points(&reader->late, tail->late == NULL ? NULL : tail->late + late_begin,
                           late_end - late_begin);
        if (all && !*alone && wanted->newest && storage->state != NULL) {
            struct sqlite_state *state = storage->state;
            if (state->wanted_count < SQLITE_WANTED_MAX) {
                state->wanted[state->wanted_count++] = wanted->id;
            }
        }
        lock_release(&storage->lock);
        if (all) {
            return STATUS_OK;
        }
        if (copy_reserve(&reader->window, error) != STATUS_OK ||
            copy_reserve(&reader->late, error) != STATUS_OK) {
            return error->status;
        }
    }
}

size_t sqlite_tail(struct series_entry *entry, struct point *out, size_t maximum, bool *complete)
{
    struct sqlite_series *series = sqlite_series_of(entry);
    const struct tail *tail = &series->tail;
    used_mark(series);
    size_t count = tail->count < maximum ? tail->count : maximum;
    if (count > 0) {
        memcpy(out, tail_points(tail) + tail->count - count, count * sizeof *out);
    }
    *complete = count == maximum || tail->from_ms == INT64_MIN || tail->chunk_last_ms == INT64_MIN;
    return count;
}

/* ---------------------------------------------------------------- file */

static void order_begin(struct reader *reader)
{
    reader->low_ms = INT64_MIN;
    reader->high_ms = INT64_MAX;
}

/* Decodes the row that the statement stands on. Chunks of a series do not overlap: where one does
 * not follow the one before, the database's own order is damaged, and points would come twice or be
 * left out. Where it does not begin when its row says, which is read from the index, one of the two
 * is in another's place. */
static enum status row_decode(struct reader *reader, struct sqlite3_stmt *statement, uint32_t id,
                              size_t *count, struct error *error)
{
    int64_t first_ms = sqlite3_column_int64(statement, 1);
    const unsigned char *blob = sqlite3_column_blob(statement, 0);
    size_t length = (size_t)sqlite3_column_bytes(statement, 0);
    *count = 0;
    if (blob == NULL || length == 0) {
        return STATUS_OK; /* a series without points has an empty open chunk */
    }
    if (chunk_decode(blob, length, reader->decoded, CHUNK_POINTS_MAX, count, error) != STATUS_OK) {
        sqlite_suspect(reader->storage, id, first_ms);
        return error_wrap(error, "series %u", id);
    }
    if (*count == 0) {
        return STATUS_OK;
    }
    if (reader->decoded[0].time_ms != first_ms) {
        return error_set(error, STATUS_CORRUPT,
                         "the chunk of series %u from %lld on is not the one that its row names",
                         id, (long long)first_ms);
    }
    if (first_ms < reader->low_ms || reader->decoded[*count - 1].time_ms > reader->high_ms) {
        return error_set(error, STATUS_CORRUPT, "chunks of series %u are out of order", id);
    }
    return STATUS_OK;
}

struct output {
    struct point *points;
    size_t count, maximum;
};

static void out_add(struct output *out, struct point point)
{
    if (out->count < out->maximum) {
        out->points[out->count++] = point;
    }
}

enum status sqlite_read(void *handle, uint32_t id, int64_t start_ms, int64_t end_ms,
                        struct point *points, size_t maximum, size_t *count, struct error *error)
{
    struct reader *reader = handle;
    struct wanted wanted = {.id = id, .start_ms = start_ms, .end_ms = end_ms, .maximum = maximum};
    struct output out = {.points = points, .maximum = maximum};
    bool alone;
    if (memory_copy(reader, &wanted, &alone, error) != STATUS_OK) {
        return error->status;
    }
    const struct point *late = reader->late.points;
    size_t late_at = 0;
    int64_t until = reader->from_ms < end_ms ? reader->from_ms : end_ms;
    if (!alone && start_ms < until && maximum > 0) {
        struct sqlite3_stmt *statement = reader->statements[READ_RANGE];
        sqlite3_bind_int64(statement, 1, id);
        sqlite3_bind_int64(statement, 2, start_ms);
        sqlite3_bind_int64(statement, 3, until);
        enum status status = STATUS_OK;
        int code = SQLITE_DONE;
        order_begin(reader);
        while (status == STATUS_OK && out.count < maximum &&
               (code = sqlite3_step(statement)) == SQLITE_ROW) {
            size_t decoded;
            status = row_decode(reader, statement, id, &decoded, error);
            reader->low_ms = decoded > 0 ? reader->decoded[decoded - 1].time_ms + 1 : INT64_MIN;
            size_t at = points_lower_bound(reader->decoded, decoded, start_ms);
            size_t end = points_lower_bound(reader->decoded, decoded, until);
            for (; at < end && out.count < maximum; at++) {
                while (late_at < reader->late.count &&
                       late[late_at].time_ms < reader->decoded[at].time_ms) {
                    out_add(&out, late[late_at++]);
                }
                bool replaced = late_at < reader->late.count &&
                                late[late_at].time_ms == reader->decoded[at].time_ms;
                out_add(&out, replaced ? late[late_at++] : reader->decoded[at]);
            }
        }
        if (status == STATUS_OK && code != SQLITE_ROW && code != SQLITE_DONE) {
            status = sqlite_status(reader->db, code, "read points", error);
        }
        sqlite3_reset(statement);
        if (status != STATUS_OK) {
            return status;
        }
    }
    while (late_at < reader->late.count && out.count < maximum) {
        out_add(&out, late[late_at++]);
    }
    size_t window = reader->window.count;
    window = window < maximum - out.count ? window : maximum - out.count;
    if (window > 0) {
        memcpy(out.points + out.count, reader->window.points, window * sizeof *points);
    }
    *count = out.count + window;
    return STATUS_OK;
}

/* Merges the decoded chunk and the late points above its first one downwards into out[.. *free). */
static void merge_down(struct reader *reader, size_t decoded, size_t *late_left, struct point *out,
                       size_t *room)
{
    const struct point *late = reader->late.points;
    while (decoded > 0 && *room > 0) {
        const struct point *point = &reader->decoded[decoded - 1];
        if (*late_left > 0 && late[*late_left - 1].time_ms >= point->time_ms) {
            decoded -= late[*late_left - 1].time_ms == point->time_ms;
            out[--*room] = late[--*late_left];
        } else {
            out[--*room] = *point;
            decoded--;
        }
    }
}

enum status sqlite_read_last(void *handle, uint32_t id, struct point *out, size_t maximum,
                             size_t *count, struct error *error)
{
    struct reader *reader = handle;
    struct wanted wanted = {
        .id = id, .start_ms = INT64_MIN, .end_ms = INT64_MAX, .maximum = maximum, .newest = true};
    bool alone;
    if (memory_copy(reader, &wanted, &alone, error) != STATUS_OK) {
        return error->status;
    }
    size_t room = maximum - reader->window.count;
    if (!alone) {
        struct sqlite3_stmt *statement = reader->statements[READ_DOWN];
        sqlite3_bind_int64(statement, 1, id);
        sqlite3_bind_int64(statement, 2, reader->from_ms);
        size_t late_left = reader->late.count;
        enum status status = STATUS_OK;
        int code = SQLITE_DONE;
        order_begin(reader);
        while (status == STATUS_OK && room > 0 && (code = sqlite3_step(statement)) == SQLITE_ROW) {
            size_t decoded;
            status = row_decode(reader, statement, id, &decoded, error);
            reader->high_ms = decoded > 0 ? reader->decoded[0].time_ms - 1 : INT64_MAX;
            decoded = points_lower_bound(reader->decoded, decoded, reader->from_ms);
            merge_down(reader, decoded, &late_left, out, &room);
        }
        if (status == STATUS_OK && code != SQLITE_ROW && code != SQLITE_DONE) {
            status = sqlite_status(reader->db, code, "read points", error);
        }
        sqlite3_reset(statement);
        if (status != STATUS_OK) {
            return status;
        }
        while (late_left > 0 && room > 0) {
            out[--room] = reader->late.points[--late_left];
        }
    }
    size_t older = alone ? 0 : maximum - reader->window.count - room;
    if (older > 0 && room > 0) {
        memmove(out, out + room, older * sizeof *out);
    }
    if (reader->window.count > 0) {
        memcpy(out + older, reader->window.points, reader->window.count * sizeof *out);
    }
    *count = older + reader->window.count;
    return STATUS_OK;
}

enum status sqlite_records(void *handle, const char *kind, storage_record_visit visit,
                           void *context, struct error *error)
{
    struct reader *reader = handle;
    struct sqlite3_stmt *statement = reader->statements[READ_RECORDS];
    sqlite3_bind_text(statement, 1, kind, -1, SQLITE_STATIC);
    int code;
    while ((code = sqlite3_step(statement)) == SQLITE_ROW) {
        const char *key = (const char *)sqlite3_column_text(statement, 0);
        const char *json = (const char *)sqlite3_column_text(statement, 1);
        size_t length = (size_t)sqlite3_column_bytes(statement, 1);
        if (key != NULL && json != NULL && !visit(context, key, json, length)) {
            code = SQLITE_DONE;
            break;
        }
    }
    enum status status =
        code == SQLITE_DONE ? STATUS_OK : sqlite_status(reader->db, code, "read records", error);
    sqlite3_reset(statement);
    sqlite3_clear_bindings(statement);
    return status;
}

uint32_t sqlite_vintage_crc(int64_t series, int64_t issued_ms, const void *bytes, size_t length)
{
    uint32_t crc = hash_crc32c(0, &series, sizeof series);
    crc = hash_crc32c(crc, &issued_ms, sizeof issued_ms);
    return hash_crc32c(crc, bytes, length);
}

enum status sqlite_vintages(void *handle, uint32_t id, int64_t start_ms, int64_t end_ms,
                            storage_vintage_visit visit, void *context, struct error *error)
{
    struct reader *reader = handle;
    struct sqlite3_stmt *statement = reader->statements[READ_VINTAGES];
    if (statement == NULL) {
        return STATUS_OK;
    }
    sqlite3_bind_int64(statement, 1, id);
    sqlite3_bind_int64(statement, 2, start_ms);
    sqlite3_bind_int64(statement, 3, end_ms);
    int code;
    while ((code = sqlite3_step(statement)) == SQLITE_ROW) {
        int64_t issued_ms = sqlite3_column_int64(statement, 0);
        const unsigned char *bytes = sqlite3_column_blob(statement, 2);
        size_t length = (size_t)sqlite3_column_bytes(statement, 2);
        bool sound = bytes != NULL && sqlite3_column_int64(statement, 1) ==
                                          sqlite_vintage_crc(id, issued_ms, bytes, length);
        if (sound && !visit(context, issued_ms, bytes, length)) {
            code = SQLITE_DONE;
            break;
        }
    }
    enum status status =
        code == SQLITE_DONE ? STATUS_OK : sqlite_status(reader->db, code, "read vintages", error);
    sqlite3_reset(statement);
    sqlite3_clear_bindings(statement);
    return status;
}
