/* Verification of a store: SQLite's own check, then every chunk, every journal row and the sums.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Reads in one snapshot on a connection of its own, so a daemon may go on writing meanwhile.
 */
#include "storage/sqlite_store.h"

#include "base/memory.h"

#include <sqlite3.h>
#include <stdarg.h>
#include <stdio.h>

struct check {
    struct sqlite3 *db;
    storage_report report;
    void *context;
    uint64_t findings;
    struct point *decoded;
    /* The series that the scan is in. */
    int64_t series, last_ms;
    uint64_t points;
    int64_t state_points; /* -1: no state seen */
};

static void finding(struct check *check, const char *format, ...) PRINTF_LIKE(2, 3);

static void finding(struct check *check, const char *format, ...)
{
    char line[256];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    check->findings++;
    if (check->report != NULL) {
        check->report(check->context, line);
    }
}

/* Calls for each row of a query; the text of an error is a finding. */
static void each(struct check *check, const char *text,
                 void (*visit)(struct check *, struct sqlite3_stmt *))
{
    struct sqlite3_stmt *statement = NULL;
    int code = sqlite3_prepare_v2(check->db, text, -1, &statement, NULL);
    while (code == SQLITE_OK && (code = sqlite3_step(statement)) == SQLITE_ROW) {
        visit(check, statement);
        code = SQLITE_OK;
    }
    if (code != SQLITE_DONE) {
        finding(check, "cannot read: %s", sqlite3_errmsg(check->db));
    }
    sqlite3_finalize(statement);
}

static void integrity_row(struct check *check, struct sqlite3_stmt *statement)
{
    const char *line = (const char *)sqlite3_column_text(statement, 0);
    if (line == NULL || sqlite3_stricmp(line, "ok") != 0) {
        finding(check, "database: %s", line == NULL ? "no answer" : line);
    }
}

static void series_end(struct check *check)
{
    if (check->state_points >= 0 && check->points != (uint64_t)check->state_points) {
        finding(check, "series %lld: chunks hold %llu points, its statistics say %lld",
                (long long)check->series, (unsigned long long)check->points,
                (long long)check->state_points);
    }
}

static void chunk_row(struct check *check, struct sqlite3_stmt *statement)
{
    int64_t id = sqlite3_column_int64(statement, 0);
    int64_t series = sqlite3_column_int64(statement, 1);
    int64_t claimed = sqlite3_column_int64(statement, 3);
    if (series != check->series) {
        series_end(check);
        check->series = series;
        check->last_ms = INT64_MIN;
        check->points = 0;
        check->state_points = -1;
    }
    if (id < 0) {
        struct sqlite_series state = {0};
        const unsigned char *blob = sqlite3_column_blob(statement, 4);
        if (blob == NULL ||
            !sqlite_state_next(&state, blob, (size_t)sqlite3_column_bytes(statement, 4))) {
            finding(check, "series %lld: its statistics are damaged", (long long)series);
        } else {
            check->state_points = (int64_t)state.entry.points;
        }
    }
    if (claimed == 0) {
        return;
    }
    struct error error = {0};
    size_t count = 0;
    if (chunk_decode(sqlite3_column_blob(statement, 5), (size_t)sqlite3_column_bytes(statement, 5),
                     check->decoded, CHUNK_POINTS_MAX, &count, &error) != STATUS_OK) {
        finding(check, "series %lld, chunk %lld: %s", (long long)series, (long long)id, error.text);
        return;
    }
    if ((int64_t)count != claimed ||
        check->decoded[0].time_ms != sqlite3_column_int64(statement, 2)) {
        finding(check, "series %lld, chunk %lld: does not hold what its row says",
                (long long)series, (long long)id);
    }
    if (check->points > 0 && check->decoded[0].time_ms <= check->last_ms) {
        finding(check, "series %lld, chunk %lld: begins before the one before ends",
                (long long)series, (long long)id);
    }
    check->last_ms = check->decoded[count - 1].time_ms;
    check->points += count;
}

static void journal_row(struct check *check, struct sqlite3_stmt *statement)
{
    struct journal_reader reader;
    struct journal_entry entry;
    struct error error = {0};
    long long seq = sqlite3_column_int64(statement, 0);
    const unsigned char *blob = sqlite3_column_blob(statement, 1);
    if (blob == NULL || journal_read(&reader, blob, (size_t)sqlite3_column_bytes(statement, 1),
                                     &error) != STATUS_OK) {
        finding(check, "journal row %lld: %s", seq, blob == NULL ? "empty" : error.text);
        return;
    }
    while (journal_next(&reader, &entry)) {
    }
    if (reader.bytes.bad) {
        finding(check, "journal row %lld: cut off", seq);
    }
}

static void vintage_row(struct check *check, struct sqlite3_stmt *statement)
{
    int64_t series = sqlite3_column_int64(statement, 0);
    int64_t issued_ms = sqlite3_column_int64(statement, 1);
    const void *blob = sqlite3_column_blob(statement, 3);
    size_t length = (size_t)sqlite3_column_bytes(statement, 3);
    if (sqlite3_column_int64(statement, 2) != sqlite_vintage_crc(series, issued_ms, blob, length)) {
        finding(check, "series %lld, vintage of %lld: wrong checksum", (long long)series,
                (long long)issued_ms);
    }
    if (sqlite3_column_int64(statement, 4) == 0) {
        finding(check, "vintage of %lld: there is no series %lld", (long long)issued_ms,
                (long long)series);
    }
}

static void vintage_table(struct check *check, struct sqlite3_stmt *statement)
{
    (void)statement;
    each(check,
         "SELECT series, issued_ms, crc, data, EXISTS(SELECT 1 FROM series WHERE id = series)"
         " FROM vintage",
         vintage_row);
}

static void damaged_row(struct check *check, struct sqlite3_stmt *statement)
{
    if (sqlite3_column_int64(statement, 0) > 0) {
        finding(check, "%lld damaged chunks with %lld points were set aside",
                sqlite3_column_int64(statement, 0), sqlite3_column_int64(statement, 1));
    }
    if (sqlite3_column_int64(statement, 2) > 0) {
        finding(check, "%lld damaged journal rows were set aside",
                sqlite3_column_int64(statement, 2));
    }
}

enum status sqlite_check(struct storage *storage, storage_report report, void *context,
                         struct error *error)
{
    const struct sqlite_state *state = storage->state;
    struct check check = {.report = report, .context = context, .state_points = -1};
    check.decoded = mem_array(CHUNK_POINTS_MAX, sizeof *check.decoded);
    if (check.decoded == NULL) {
        return error_set(error, STATUS_NO_MEMORY, "could not allocate a chunk");
    }
    if (sqlite_connect(state->file, false, false, &check.db, error) != STATUS_OK) {
        mem_free(check.decoded);
        return error->status;
    }
    sqlite3_exec(check.db, "BEGIN", NULL, NULL, NULL);
    each(&check, "PRAGMA integrity_check(20)", integrity_row);
    each(&check,
         "SELECT id, series, first_ms, count, state, data FROM chunk"
         " WHERE series NOT IN (SELECT series FROM trash) ORDER BY series, first_ms",
         chunk_row);
    series_end(&check);
    each(&check, "SELECT seq, data FROM journal ORDER BY seq", journal_row);
    /* A store of version 1, read without migrating it, has no such table. */
    each(&check, "SELECT 1 FROM sqlite_schema WHERE name = 'vintage'", vintage_table);
    each(&check,
         "SELECT coalesce(sum(series > 0), 0), coalesce(sum(count), 0),"
         " coalesce(sum(series = 0), 0) FROM damaged",
         damaged_row);
    sqlite3_exec(check.db, "ROLLBACK", NULL, NULL, NULL);
    sqlite3_close(check.db);
    mem_free(check.decoded);
    if (check.findings > 0) {
        return error_set(error, STATUS_CORRUPT, "the store has %llu faults",
                         (unsigned long long)check.findings);
    }
    return STATUS_OK;
}
