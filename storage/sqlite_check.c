/* Verification of a store: SQLite's own check, then every chunk, every journal row and the sums.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Reads in one snapshot on a connection of its own, so a daemon may go on writing meanwhile. Needs
 * nothing of the store in memory: what cannot be opened can still be looked at. Each finding is one
 * line: where, what, and after the semicolon what to do.
 */
#include "storage/sqlite_store.h"

#include "base/clock.h"
#include "base/memory.h"

#include <errno.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#define DO_NOTHING "the daemon sets it aside when it meets it and keeps the rest"
#define DO_RESTORE "restore a backup, or export what is left and import it into a new directory"
#define DO_REBUILD "stop the daemon and rebuild: sqlite3 forecastd.db REINDEX, or restore a backup"
#define DO_START   "start the daemon: it removes them within minutes"

enum { RETENTION_GRACE_MS = 86400000 };

struct check {
    struct sqlite3 *db;
    int64_t retention_ms; /* of the store */
    int64_t newest_ms;    /* its newest point that is not ahead of the clock */
    storage_report report;
    void *context;
    uint64_t findings;
    struct error failed; /* why not all could be looked at: memory or the disk, for now */
    struct point *decoded;
    /* The series that the scan is in. */
    int64_t series, first_ms, last_ms;
    uint64_t points;
    int64_t state_points; /* -1: no state seen */
};

static void finding(struct check *check, const char *format, ...) PRINTF_LIKE(2, 3);

static void finding(struct check *check, const char *format, ...)
{
    char line[400];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    check->findings++;
    if (check->report != NULL) {
        check->report(check->context, line);
    }
}

/* Calls for each row of a query; false where not all were seen. What SQLite calls damage is a
 * finding; that memory or the disk failed, or was full, says nothing about the store. */
static bool each(struct check *check, const char *text,
                 void (*visit)(struct check *, struct sqlite3_stmt *))
{
    struct sqlite3_stmt *statement = NULL;
    int code = sqlite3_prepare_v2(check->db, text, -1, &statement, NULL);
    while (code == SQLITE_OK && (code = sqlite3_step(statement)) == SQLITE_ROW) {
        visit(check, statement);
        code = SQLITE_OK;
    }
    struct error error = {0};
    enum status status =
        code == SQLITE_DONE ? STATUS_OK : sqlite_status(check->db, code, "read the store", &error);
    if (status == STATUS_IO || status == STATUS_NO_MEMORY || status == STATUS_BUSY ||
        status == STATUS_NO_SPACE) {
        check->failed = error;
    } else if (status != STATUS_OK) {
        finding(check, "database: cannot read: %s; " DO_RESTORE, sqlite3_errmsg(check->db));
    }
    sqlite3_finalize(statement);
    return status == STATUS_OK;
}

static void integrity_row(struct check *check, struct sqlite3_stmt *statement)
{
    const char *line = (const char *)sqlite3_column_text(statement, 0);
    if (line == NULL || sqlite3_stricmp(line, "ok") != 0) {
        finding(check, "database: %.150s; " DO_REBUILD, line == NULL ? "no answer" : line);
    }
}

/* A table or an index that this version should have, and has not. */
static void object_row(struct check *check, struct sqlite3_stmt *statement)
{
    finding(check, "database: %s \"%s\" is missing; " DO_RESTORE,
            (const char *)sqlite3_column_text(statement, 0),
            (const char *)sqlite3_column_text(statement, 1));
}

static void series_end(struct check *check)
{
    if (check->state_points >= 0 && check->points != (uint64_t)check->state_points) {
        finding(check, "series %lld: chunks hold %llu points, its statistics say %lld; " DO_RESTORE,
                (long long)check->series, (unsigned long long)check->points,
                (long long)check->state_points);
    }
}

/* The newest point of all. */
static void newest_row(struct check *check, struct sqlite3_stmt *statement)
{
    struct sqlite_series state = {0};
    const unsigned char *blob = sqlite3_column_blob(statement, 0);
    if (blob != NULL &&
        sqlite_state_next(&state, blob, (size_t)sqlite3_column_bytes(statement, 0)) &&
        state.entry.points > 0) {
        int64_t now_ms = clock_wall_ms();
        int64_t last_ms = state.entry.last_ms < now_ms ? state.entry.last_ms : now_ms;
        check->newest_ms = last_ms > check->newest_ms ? last_ms : check->newest_ms;
    }
}

static void retention_row(struct check *check, struct sqlite3_stmt *statement)
{
    bool own = sqlite3_column_type(statement, 2) != SQLITE_NULL;
    int64_t keep_ms = own ? sqlite3_column_int64(statement, 2) : check->retention_ms;
    int64_t first_ms = sqlite3_column_int64(statement, 1);
    if (keep_ms > 0 && first_ms < check->newest_ms - keep_ms - RETENTION_GRACE_MS) {
        finding(check, "series %lld: points are %lld days older than its retention; " DO_START,
                (long long)sqlite3_column_int64(statement, 0),
                (long long)((check->newest_ms - keep_ms - first_ms) / 86400000));
    }
}

/* Rows of series that are not there. */
static void orphan_row(struct check *check, struct sqlite3_stmt *statement)
{
    finding(check, "series %lld: there are %lld chunks and no such series; " DO_RESTORE,
            (long long)sqlite3_column_int64(statement, 0),
            (long long)sqlite3_column_int64(statement, 1));
}

/* An id is never given twice: such a row is not one of this table. */
static void trash_row(struct check *check, struct sqlite3_stmt *statement)
{
    finding(check, "series %lld: it is there and its chunks are to be removed; " DO_RESTORE,
            (long long)sqlite3_column_int64(statement, 0));
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
            finding(check, "series %lld: its statistics are damaged; " DO_RESTORE,
                    (long long)series);
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
        finding(check, "series %lld, chunk %lld: %.120s; " DO_NOTHING, (long long)series,
                (long long)id, error.text);
        return;
    }
    if ((int64_t)count != claimed ||
        check->decoded[0].time_ms != sqlite3_column_int64(statement, 2)) {
        finding(check, "series %lld, chunk %lld: does not hold what its row says; " DO_RESTORE,
                (long long)series, (long long)id);
    }
    if (check->points > 0 && check->decoded[0].time_ms <= check->last_ms) {
        finding(check, "series %lld, chunk %lld: begins before the one before ends; " DO_RESTORE,
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
        finding(check, "journal row %lld: %.120s; " DO_NOTHING, seq,
                blob == NULL ? "empty" : error.text);
        return;
    }
    while (journal_next(&reader, &entry)) {
    }
    if (reader.bytes.bad) {
        finding(check, "journal row %lld: cut off; " DO_NOTHING, seq);
    }
}

static void vintage_row(struct check *check, struct sqlite3_stmt *statement)
{
    int64_t series = sqlite3_column_int64(statement, 0);
    int64_t issued_ms = sqlite3_column_int64(statement, 1);
    const void *blob = sqlite3_column_blob(statement, 3);
    size_t length = (size_t)sqlite3_column_bytes(statement, 3);
    if (sqlite3_column_int64(statement, 2) != sqlite_vintage_crc(series, issued_ms, blob, length)) {
        finding(check, "series %lld, vintage of %lld: wrong checksum; it is left out of answers",
                (long long)series, (long long)issued_ms);
    }
    if (sqlite3_column_int64(statement, 4) == 0) {
        finding(check, "vintage of %lld: there is no series %lld; it expires by itself",
                (long long)issued_ms, (long long)series);
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
        finding(
            check,
            "%lld damaged chunks with %lld points were set aside; restore a backup to have them",
            sqlite3_column_int64(statement, 0), sqlite3_column_int64(statement, 1));
    }
    if (sqlite3_column_int64(statement, 2) > 0) {
        finding(check, "%lld damaged journal rows were set aside; restore a backup to have them",
                sqlite3_column_int64(statement, 2));
    }
}

/* One row for each object of this schema version; those of tables that never were are none. */
static const char objects_text[] =
    "WITH wanted(type, name, since) AS (VALUES('table', 'series', 1), ('table', 'chunk', 1),"
    " ('index', 'chunk_by_time', 1), ('table', 'journal', 1), ('table', 'record', 1),"
    " ('table', 'trash', 1), ('table', 'damaged', 1), ('table', 'vintage', 2),"
    " ('index', 'vintage_by_expiry', 2), ('table', 'downsampled', 3), ('table', 'excluded', 4))"
    " SELECT type, name FROM wanted WHERE since <= (SELECT user_version FROM pragma_user_version)"
    " AND NOT EXISTS(SELECT 1 FROM sqlite_schema WHERE type = wanted.type AND name = wanted.name)";

/* The time and retention of each series; nothing is said where the newest point is not known. */
static void retention_check(struct check *check)
{
    bool known = each(check, "SELECT state FROM chunk WHERE id < 0", newest_row);
    if (known && check->newest_ms > INT64_MIN) {
        each(check,
             "SELECT series.id, min(chunk.first_ms), series.retention_ms FROM series"
             " JOIN chunk ON chunk.series = series.id WHERE chunk.first_ms IS NOT NULL"
             " GROUP BY series.id",
             retention_row);
    }
}

static void tables_check(struct check *check, bool aside)
{
    each(check, "PRAGMA integrity_check(20)", integrity_row);
    uint64_t before = check->findings;
    each(check, objects_text, object_row);
    if (check->findings > before) {
        return; /* the rest would say the same again */
    }
    if (each(check,
             "SELECT id, series, first_ms, count, state, data FROM chunk"
             " WHERE series NOT IN (SELECT series FROM trash) ORDER BY series, first_ms",
             chunk_row)) {
        series_end(check); /* the last one's: all of its chunks have been counted */
    }
    each(check,
         "SELECT series, count(*) FROM chunk WHERE series NOT IN (SELECT id FROM series)"
         " AND series NOT IN (SELECT series FROM trash) GROUP BY series",
         orphan_row);
    each(check, "SELECT series FROM trash WHERE series IN (SELECT id FROM series)", trash_row);
    retention_check(check);
    each(check, "SELECT seq, data FROM journal ORDER BY seq", journal_row);
    /* A store of version 1, read without migrating it, has no such table. */
    each(check, "SELECT 1 FROM sqlite_schema WHERE name = 'vintage'", vintage_table);
    if (aside) {
        each(check,
             "SELECT coalesce(sum(series > 0), 0), coalesce(sum(count), 0),"
             " coalesce(sum(series = 0), 0) FROM damaged",
             damaged_row);
    }
}

enum status sqlite_check_database(struct sqlite3 *db, const struct check_options *options,
                                  storage_report report, void *context, struct error *error)
{
    struct check check = {.db = db,
                          .retention_ms = options->retention_ms,
                          .newest_ms = INT64_MIN,
                          .report = report,
                          .context = context,
                          .state_points = -1};
    check.decoded = mem_array(CHUNK_POINTS_MAX, sizeof *check.decoded);
    if (check.decoded == NULL) {
        return error_set(error, STATUS_NO_MEMORY, "could not allocate a chunk");
    }
    sqlite3_exec(db, "BEGIN", NULL, NULL, NULL);
    tables_check(&check, !options->copy);
    sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL);
    mem_free(check.decoded);
    if (check.findings > 0) {
        return error_set(error, STATUS_CORRUPT, "the store has %llu faults",
                         (unsigned long long)check.findings);
    }
    if (check.failed.status != STATUS_OK) {
        *error = check.failed;
    }
    return check.failed.status;
}

static enum status file_check(const char *file, int64_t retention_ms, storage_report report,
                              void *context, struct error *error)
{
    struct check_options options = {.retention_ms = retention_ms};
    struct sqlite3 *db = NULL;
    if (sqlite_connect(file, CONNECTION_READS, &db, error) != STATUS_OK) {
        return error->status;
    }
    enum status status = sqlite_check_database(db, &options, report, context, error);
    sqlite3_close(db);
    return status;
}

enum status sqlite_check(struct storage *storage, storage_report report, void *context,
                         struct error *error)
{
    const struct sqlite_state *state = storage->state;
    return file_check(state->file, storage->options.retention_ms, report, context, error);
}

enum status storage_check_folder(const char *directory, int64_t retention_ms, storage_report report,
                                 void *context, struct error *error)
{
    char file[4096];
    int length = snprintf(file, sizeof file, "%s/forecastd.db", directory);
    if (length < 0 || (size_t)length >= sizeof file ||
        (access(file, F_OK) != 0 && (errno == ENOENT || errno == ENOTDIR))) {
        error_set(error, STATUS_NOT_FOUND, "there is no store in '%.200s'", directory);
        return error_hint(error, "Name it with --data DIR.");
    }
    enum status status = file_check(file, retention_ms, report, context, error);
    if (status == STATUS_CORRUPT && error->hint[0] == '\0') {
        error_hint(error, "docs/backup.md says how to restore a backup.");
    }
    return status;
}
