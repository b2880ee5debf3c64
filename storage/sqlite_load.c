/* Filling the memory from the file: series, their statistics, the journal, the newest windows.
 * SPDX-License-Identifier: Apache-2.0
 *
 * No chunk is decoded for its own sake: statistics stand beside each open chunk as of its last
 * flush, and the journal is replayed on top of them, row by row in order, so that the last write
 * wins as it did the first time. A row at or before a series' flushed_seq holds nothing new for it.
 * Then windows are filled from the newest chunks for as long as WARM_MS allows; the rest are filled
 * when they are asked for.
 */
#include "storage/sqlite_store.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"

#include <sqlite3.h>
#include <string.h>

enum { WARM_MS = 60 };

/* Times beyond it are none that points may have (writer.h), and no sum with one overflows. */
#define AGED_MS_MAX (INT64_C(1) << 62)

/* ---------------------------------------------------------------- series */

static bool column_has(struct sqlite3_stmt *statement, int column)
{
    return sqlite3_column_type(statement, column) != SQLITE_NULL;
}

static bool settings_read(struct sqlite3_stmt *statement, struct series_settings *settings)
{
    bool any = false;
    for (int i = 3; i <= 10; i++) {
        any |= column_has(statement, i);
    }
    settings->has_step = column_has(statement, 3);
    settings->step_ms = sqlite3_column_int64(statement, 3);
    settings->has_season = column_has(statement, 4);
    settings->season_steps = sqlite3_column_int64(statement, 4);
    settings->has_minimum = column_has(statement, 5);
    settings->minimum = sqlite3_column_double(statement, 5);
    settings->has_maximum = column_has(statement, 6);
    settings->maximum = sqlite3_column_double(statement, 6);
    settings->has_integer = column_has(statement, 7);
    settings->integer = sqlite3_column_int(statement, 7) != 0;
    settings->has_kind = column_has(statement, 8);
    settings->kind =
        sqlite3_column_int(statement, 8) == SERIES_COUNTER ? SERIES_COUNTER : SERIES_GAUGE;
    settings->has_retention = column_has(statement, 9);
    settings->retention_ms = sqlite3_column_int64(statement, 9);
    const unsigned char *zone = sqlite3_column_text(statement, 10);
    size_t length = (size_t)sqlite3_column_bytes(statement, 10);
    if (zone != NULL && length < sizeof settings->time_zone) {
        memcpy(settings->time_zone, zone, length);
    }
    return any;
}

static enum status series_read(struct sqlite_state *state, struct sqlite3_stmt *statement,
                               struct error *error)
{
    struct storage *storage = state->storage;
    int64_t id = sqlite3_column_int64(statement, 0);
    const char *text = (const char *)sqlite3_column_text(statement, 1);
    size_t length = (size_t)sqlite3_column_bytes(statement, 1);
    if (id < 1 || id > UINT32_MAX || text == NULL || length == 0 || length > SERIES_TEXT_MAX) {
        return error_set(error, STATUS_CORRUPT, "series %lld has no usable name", (long long)id);
    }
    if (text_table_find(&storage->names, text_hash(text, length), text, length) != NULL) {
        return error_set(error, STATUS_CORRUPT, "series %lld has the name of another one",
                         (long long)id);
    }
    if (text_table_reserve(&storage->names, 1, error) != STATUS_OK ||
        series_directory_reserve(&storage->directory, (uint32_t)id, (uint32_t)id, error) !=
            STATUS_OK) {
        return error->status;
    }
    struct series_entry *entry =
        series_entry_new(sizeof(struct sqlite_series), (uint32_t)id, text, length);
    if (entry == NULL) {
        return error_set(error, STATUS_NO_MEMORY, "could not allocate a series");
    }
    tail_init(&sqlite_series_of(entry)->tail);
    entry->created_ms = sqlite3_column_int64(statement, 2);
    text_table_insert(&storage->names, entry);
    series_directory_put(&storage->directory, entry);
    storage->directory.last_id = (uint32_t)id;
    storage->counters.index_bytes += sizeof(struct sqlite_series) + length + 1;
    struct series_settings settings = {0};
    if (settings_read(statement, &settings)) {
        entry->settings = mem_zeroed(1, sizeof settings);
        if (entry->settings == NULL) {
            return error_set(error, STATUS_NO_MEMORY, "could not allocate settings");
        }
        *entry->settings = settings;
    }
    return STATUS_OK;
}

/* Rows come by series and time. What is no span behind the last one was not written here: it is
 * left out, and the points are learned from. */
static enum status excluded_read(struct sqlite_state *state, struct sqlite3_stmt *statement,
                                 struct error *error)
{
    int64_t id = sqlite3_column_int64(statement, 0);
    struct time_span span = {sqlite3_column_int64(statement, 1),
                             sqlite3_column_int64(statement, 2)};
    struct series_entry *entry = id > 0 && id <= UINT32_MAX
                                     ? series_directory_at(&state->storage->directory, (uint32_t)id)
                                     : NULL;
    size_t count = entry == NULL ? 0 : entry->excluded_count;
    if (entry == NULL || span.from_ms >= span.to_ms || count == TIME_SPANS_MAX ||
        (count > 0 && span.from_ms <= entry->excluded[count - 1].to_ms)) {
        log_warning("storage", "an excluded span was left out", "series=%lld from_ms=%lld",
                    (long long)id, (long long)span.from_ms);
        return STATUS_OK;
    }
    struct time_span *spans = mem_resize(entry->excluded, count + 1, sizeof *spans);
    if (spans == NULL) {
        return error_set(error, STATUS_NO_MEMORY, "could not allocate excluded spans");
    }
    spans[count] = span;
    entry->excluded = spans;
    entry->excluded_count++;
    return STATUS_OK;
}

static enum status state_read(struct sqlite_state *state, struct sqlite3_stmt *statement,
                              struct error *error)
{
    struct storage *storage = state->storage;
    int64_t id = sqlite3_column_int64(statement, 0);
    if (id < 1 || id > storage->directory.last_id) { /* a new series would inherit its points */
        return error_set(error, STATUS_CORRUPT, "there are points of series %lld, %s",
                         (long long)id, "which was never made");
    }
    struct series_entry *entry = series_directory_at(&storage->directory, (uint32_t)id);
    if (entry == NULL) {
        return STATUS_OK; /* of a deleted series, still in the trash */
    }
    struct sqlite_series *series = sqlite_series_of(entry);
    const unsigned char *blob = sqlite3_column_blob(statement, 1);
    if (blob == NULL ||
        !sqlite_state_next(series, blob, (size_t)sqlite3_column_bytes(statement, 1))) {
        return error_set(error, STATUS_CORRUPT, "state of series %u is damaged", entry->id);
    }
    if (entry->points > 0) {
        series->tail.chunk_last_ms = entry->last_ms;
        series->tail.from_ms = entry->last_ms + 1;
    }
    storage->counters.points += entry->points;
    if (series->flushed_seq > state->last_seq) {
        state->last_seq = series->flushed_seq;
    }
    return STATUS_OK;
}

/* ---------------------------------------------------------------- journal */

static enum status entry_replay(struct sqlite_state *state, uint64_t seq,
                                const struct journal_entry *change, struct error *error)
{
    struct storage *storage = state->storage;
    struct series_entry *entry = series_directory_at(&storage->directory, change->series);
    if (entry == NULL) {
        return STATUS_OK; /* deleted since */
    }
    struct sqlite_series *series = sqlite_series_of(entry);
    if (seq <= series->flushed_seq) {
        return STATUS_OK;
    }
    sqlite_mark_dirty(state, series, seq);
    if (change->kind == JOURNAL_END) {
        entry_count_end(entry, change->point.time_ms);
        return STATUS_OK;
    }
    if (change->kind == JOURNAL_TOUCH) {
        entry->generation++;
        return STATUS_OK;
    }
    struct tail *tail = &series->tail;
    bool existed = tail_is_behind(tail, change->point.time_ms) &&
                   sqlite_has_behind(state, series, change->point.time_ms);
    if (state->lookup.status != STATUS_OK) {
        *error = state->lookup;
        return error->status;
    }
    bool late = change->point.time_ms <= tail->chunk_last_ms;
    size_t bytes = tail_bytes(tail);
    sqlite_settle(state, series); /* what is loose is found by tail_write at the latest */
    uint32_t waiting = tail->fresh + tail->late_count;
    if (tail_reserve(tail, 1, late, storage->options.tail_points, error) != STATUS_OK) {
        return error->status;
    }
    existed |= tail_write(tail, change->point) == TAIL_REPLACED;
    storage->counters.tail_bytes += tail_bytes(tail) - bytes;
    state->pending += tail->fresh + tail->late_count - waiting;
    struct write_result ignored = {0};
    storage->counters.points += entry_count_point(entry, change->point, existed, &ignored);
    return STATUS_OK;
}

/* What of a damaged row could be read stays; the row is set aside once everything is loaded. */
static enum status row_note_damage(struct sqlite_state *state, uint64_t seq, struct error *error)
{
    log_error("storage", "a damaged journal row was left out", "row=%llu reason=\"%s\"",
              (unsigned long long)seq, error->text);
    uint64_t *rows = mem_resize(state->damaged_rows, state->damaged_row_count + 1, sizeof *rows);
    if (rows == NULL) {
        return error_set(error, STATUS_NO_MEMORY, "could not allocate a list of damaged rows");
    }
    state->damaged_rows = rows;
    state->damaged_rows[state->damaged_row_count++] = seq;
    return STATUS_OK;
}

static enum status row_replay(struct sqlite_state *state, struct sqlite3_stmt *statement,
                              struct error *error)
{
    uint64_t seq = (uint64_t)sqlite3_column_int64(statement, 0);
    const unsigned char *blob = sqlite3_column_blob(statement, 1);
    size_t length = (size_t)sqlite3_column_bytes(statement, 1);
    struct journal_reader reader;
    struct journal_entry change;
    enum status status = blob == NULL ? error_set(error, STATUS_CORRUPT, "the row is empty")
                                      : journal_read(&reader, blob, length, error);
    while (status == STATUS_OK && journal_next(&reader, &change)) {
        status = entry_replay(state, seq, &change, error);
        state->journal_entries++;
    }
    if (status == STATUS_OK && reader.bytes.bad) {
        status = error_set(error, STATUS_CORRUPT, "the row is cut off");
    }
    if (status == STATUS_CORRUPT) {
        status = row_note_damage(state, seq, error);
    }
    if (status != STATUS_OK) {
        return error_wrap(error, "replay of journal row %llu", (unsigned long long)seq);
    }
    state->last_seq = seq > state->last_seq ? seq : state->last_seq;
    return STATUS_OK;
}

/* Moves the damaged rows out of the journal, for inspection: the rest of the store is as good as
 * before. Where it fails they are met again by the next start. */
static void rows_set_aside(struct sqlite_state *state)
{
    struct error error = {0};
    enum status status = sqlite_begin(state, &error);
    for (size_t i = 0; status == STATUS_OK && i < state->damaged_row_count; i++) {
        int64_t seq = (int64_t)state->damaged_rows[i];
        sqlite3_bind_int64(state->statements[SQL_DAMAGED_ROW_ADD], 1, seq);
        sqlite3_bind_int64(state->statements[SQL_DAMAGED_ROW_ADD], 2, clock_wall_ms());
        sqlite3_bind_int64(state->statements[SQL_JOURNAL_DELETE], 1, seq);
        status = sqlite_run(state, SQL_DAMAGED_ROW_ADD, "set a journal row aside", &error);
        if (status == STATUS_OK) {
            status = sqlite_run(state, SQL_JOURNAL_DELETE, "set a journal row aside", &error);
        }
    }
    status = status == STATUS_OK ? sqlite_end(state, &error) : status;
    if (status != STATUS_OK) {
        sqlite_rollback(state);
        log_error("storage", "damaged journal rows stay where they are", "reason=\"%s\"",
                  error.text);
    }
}

/* ---------------------------------------------------------------- all of it */

static enum status each_row(struct sqlite_state *state, enum sqlite_statement which,
                            enum status (*visit)(struct sqlite_state *, struct sqlite3_stmt *,
                                                 struct error *),
                            struct error *error)
{
    struct sqlite3_stmt *statement = state->statements[which];
    enum status status = STATUS_OK;
    int code;
    while (status == STATUS_OK && (code = sqlite3_step(statement)) == SQLITE_ROW) {
        status = visit(state, statement, error);
    }
    if (status == STATUS_OK && code != SQLITE_DONE) {
        status = sqlite_failed(state, code, "read the store", error);
    }
    sqlite3_reset(statement);
    return status;
}

static enum status last_id_read(struct sqlite_state *state, struct sqlite3_stmt *statement,
                                struct error *error)
{
    (void)error;
    int64_t id = sqlite3_column_int64(statement, 0);
    if (id > state->storage->directory.last_id && id <= UINT32_MAX) {
        state->storage->directory.last_id = (uint32_t)id;
    }
    return STATUS_OK;
}

static enum status chunk_count_read(struct sqlite_state *state, struct sqlite3_stmt *statement,
                                    struct error *error)
{
    (void)error;
    state->storage->counters.chunks = (uint64_t)sqlite3_column_int64(statement, 0);
    return STATUS_OK;
}

static enum status aged_read(struct sqlite_state *state, struct sqlite3_stmt *statement,
                             struct error *error)
{
    (void)error;
    int64_t aged_ms = sqlite3_column_int64(statement, 0);
    state->storage->aged_ms = aged_ms > 0 && aged_ms < AGED_MS_MAX ? aged_ms : 0;
    return STATUS_OK;
}

static void warm_all(struct sqlite_state *state)
{
    struct storage *storage = state->storage;
    int64_t until = clock_monotonic_ns() + WARM_MS * INT64_C(1000000);
    /* The newest series first: where not all fit, they are the likelier ones to be alive. */
    for (uint32_t id = storage->directory.last_id; id > 0; id--) {
        struct series_entry *entry = series_directory_at(&storage->directory, id);
        if (entry == NULL) {
            continue;
        }
        if (clock_monotonic_ns() > until ||
            storage->counters.tail_bytes > storage->options.tail_bytes_max / 4 * 3) {
            return;
        }
        sqlite_warm(state, sqlite_series_of(entry));
    }
}

enum status sqlite_load(struct sqlite_state *state, struct error *error)
{
    state->last_seq = 0;
    state->trimmed_seq = 0;
    state->damaged_row_count = 0;
    state->lookup = (struct error){0};
    if (sqlite_run(state, SQL_SNAPSHOT, "read the store", error) != STATUS_OK) {
        return error->status;
    }
    enum status status = each_row(state, SQL_SERIES_READ, series_read, error);
    status =
        status != STATUS_OK ? status : each_row(state, SQL_SERIES_LAST_ID, last_id_read, error);
    if (status == STATUS_OK && state->statements[SQL_EXCLUDED_READ] != NULL) {
        status = each_row(state, SQL_EXCLUDED_READ, excluded_read, error);
    }
    status = status != STATUS_OK ? status : each_row(state, SQL_STATES_READ, state_read, error);
    status = status != STATUS_OK ? status : each_row(state, SQL_JOURNAL_READ, row_replay, error);
    sqlite_settle(state, NULL);
    status =
        status != STATUS_OK ? status : each_row(state, SQL_CHUNK_COUNT, chunk_count_read, error);
    status = status != STATUS_OK ? status : each_row(state, SQL_AGED_READ, aged_read, error);
    state->trashing = true; /* to be looked at by the first slice */
    if (status == STATUS_OK) {
        warm_all(state);
    }
    struct error ignored = {0};
    (void)!sqlite_run(state, SQL_ROLLBACK, "end reading", &ignored);
    if (status == STATUS_OK && state->damaged_row_count > 0) {
        state->storage->counters.damaged += state->damaged_row_count;
        if (!state->storage->options.read_only) {
            rows_set_aside(state);
        }
    }
    return status;
}
