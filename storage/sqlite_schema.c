/* Schema, statements and connections of the SQLite driver.
 * SPDX-License-Identifier: Apache-2.0
 *
 * For readers with the sqlite3 shell (`sqlite3 -readonly DIRECTORY/forecastd.db`):
 * - series: one row a series, id, canonical text, settings (NULL = not set)
 * - chunk: points, compressed; chunk.h describes the blob. Rows with id < 0 are the open chunk of
 *   series -id, with its statistics in `state`; other rows are full chunks
 * - journal: what was acknowledged and is in no chunk yet; journal.h describes the blob
 * - record: small JSON documents by kind and key; of the driver itself: clock/aged, the wall clock
 *   of the last round of retention, known to an hour, and probe/write, whether writing works
 * - vintage: forecasts as they were issued, by series and instant; opaque here
 * - excluded: spans of a series that are not to be learned from, half-open
 * - downsampled: up to where old points were replaced, by series and step
 * - trash: deleted series whose chunks are still to be removed
 * - damaged: chunks and journal rows whose checksum failed, set aside for inspection
 *
 * The blobs are not for SQL. `forecastd export` prints points as CSV, beside a running daemon too.
 *
 * Why full chunks are appended and the open one is rewritten under a fixed negative id: appended
 * rows fill their pages to the last byte, and the one row a series that changes with each
 * compaction stays in a small, dense part at the front of the same tree, so that one query in one
 * snapshot reads both.
 */
#include "storage/sqlite_store.h"

#include "base/check.h"

#include <sqlite3.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    APPLICATION_ID = 0x46637364, /* "Fcsd" */
    WRITER_CACHE_KIB = 4096,
    READER_CACHE_KIB = 1024,
    BLOB_BYTES_MAX = 64 << 20,
    WAL_LIMIT_BYTES = 64 << 20,
};

/* Each entry takes the schema from version index to index + 1. Never edited once released. */
static const char *const migrations[] = {
    "CREATE TABLE series("
    " id INTEGER PRIMARY KEY AUTOINCREMENT, text TEXT NOT NULL, created_ms INTEGER NOT NULL,"
    " step_ms INTEGER, season_steps INTEGER, minimum REAL, maximum REAL, integer INTEGER,"
    " kind INTEGER, retention_ms INTEGER, time_zone TEXT) STRICT;"
    "CREATE TABLE chunk("
    " id INTEGER PRIMARY KEY, series INTEGER NOT NULL, first_ms INTEGER, count INTEGER NOT NULL,"
    " state BLOB, data BLOB NOT NULL) STRICT;"
    "CREATE INDEX chunk_by_time ON chunk(series, first_ms);"
    "CREATE TABLE journal(seq INTEGER PRIMARY KEY, data BLOB NOT NULL) STRICT;"
    "CREATE TABLE record("
    " kind TEXT NOT NULL, key TEXT NOT NULL, json TEXT NOT NULL, PRIMARY KEY(kind, key))"
    " STRICT, WITHOUT ROWID;"
    "CREATE TABLE trash(series INTEGER PRIMARY KEY) STRICT;"
    "CREATE TABLE damaged("
    " id INTEGER PRIMARY KEY, series INTEGER NOT NULL, first_ms INTEGER, count INTEGER NOT NULL,"
    " found_ms INTEGER NOT NULL, data BLOB NOT NULL) STRICT;",
    "CREATE TABLE vintage("
    " series INTEGER NOT NULL, issued_ms INTEGER NOT NULL, expires_ms INTEGER NOT NULL,"
    " crc INTEGER NOT NULL, data BLOB NOT NULL, PRIMARY KEY(series, issued_ms))"
    " STRICT, WITHOUT ROWID;"
    "CREATE INDEX vintage_by_expiry ON vintage(expires_ms);",
    "CREATE TABLE downsampled("
    " series INTEGER NOT NULL, step_ms INTEGER NOT NULL, until_ms INTEGER NOT NULL,"
    " PRIMARY KEY(series, step_ms)) STRICT, WITHOUT ROWID;",
    "CREATE TABLE excluded("
    " series INTEGER NOT NULL, from_ms INTEGER NOT NULL, to_ms INTEGER NOT NULL,"
    " PRIMARY KEY(series, from_ms)) STRICT, WITHOUT ROWID;",
};

static const char *const statement_texts[SQL_STATEMENTS] = {
    [SQL_BEGIN] = "BEGIN IMMEDIATE",
    [SQL_SNAPSHOT] = "BEGIN",
    [SQL_COMMIT] = "COMMIT",
    [SQL_ROLLBACK] = "ROLLBACK",
    [SQL_JOURNAL_ADD] = "INSERT INTO journal(seq, data) VALUES(?1, ?2)",
    [SQL_JOURNAL_TRIM] = "DELETE FROM journal WHERE seq <= ?1",
    [SQL_JOURNAL_READ] = "SELECT seq, data FROM journal ORDER BY seq",
    [SQL_SERIES_ADD] = "INSERT INTO series(id, text, created_ms) VALUES(?1, ?2, ?3)",
    [SQL_SERIES_SETTINGS] = "UPDATE series SET step_ms = ?2, season_steps = ?3, minimum = ?4,"
                            " maximum = ?5, integer = ?6, kind = ?7, retention_ms = ?8,"
                            " time_zone = ?9 WHERE id = ?1",
    [SQL_SERIES_DELETE] = "DELETE FROM series WHERE id = ?1",
    [SQL_SERIES_READ] = "SELECT id, text, created_ms, step_ms, season_steps, minimum, maximum,"
                        " integer, kind, retention_ms, time_zone FROM series ORDER BY id",
    [SQL_SERIES_LAST_ID] = "SELECT seq FROM sqlite_sequence WHERE name = 'series'",
    [SQL_RECORD_PUT] = "INSERT OR REPLACE INTO record(kind, key, json) VALUES(?1, ?2, ?3)",
    [SQL_AGED_PUT] = "INSERT OR REPLACE INTO record(kind, key, json) VALUES('clock', 'aged', ?1)",
    [SQL_AGED_READ] = "SELECT json FROM record WHERE kind = 'clock' AND key = 'aged'",
    [SQL_RECORD_DELETE] = "DELETE FROM record WHERE kind = ?1 AND key = ?2",
    [SQL_VINTAGE_PUT] = "INSERT OR REPLACE INTO vintage(series, issued_ms, expires_ms, crc, data)"
                        " VALUES(?1, ?2, ?3, ?4, ?5)",
    [SQL_VINTAGES_DELETE] = "DELETE FROM vintage WHERE series = ?1",
    [SQL_VINTAGES_EXPIRE] = "DELETE FROM vintage WHERE (series, issued_ms) IN"
                            " (SELECT series, issued_ms FROM vintage WHERE expires_ms < ?1"
                            " ORDER BY expires_ms LIMIT 256)",
    [SQL_DOWNSAMPLED_READ] = "SELECT until_ms FROM downsampled WHERE series = ?1 AND step_ms = ?2",
    [SQL_DOWNSAMPLED_PUT] = "INSERT OR REPLACE INTO downsampled(series, step_ms, until_ms)"
                            " VALUES(?1, ?2, ?3)",
    [SQL_DOWNSAMPLED_REOPEN] = "UPDATE downsampled SET until_ms = ?2 WHERE series = ?1 AND"
                               " until_ms > ?2",
    [SQL_DOWNSAMPLED_DELETE] = "DELETE FROM downsampled WHERE series = ?1",
    [SQL_EXCLUDED_READ] = "SELECT series, from_ms, to_ms FROM excluded ORDER BY series, from_ms",
    [SQL_EXCLUDED_ADD] = "INSERT INTO excluded(series, from_ms, to_ms) VALUES(?1, ?2, ?3)",
    [SQL_EXCLUDED_DELETE] = "DELETE FROM excluded WHERE series = ?1",
    [SQL_OPEN_READ] = "SELECT id, first_ms, count, data FROM chunk WHERE id = ?1",
    [SQL_OPEN_PUT] = "INSERT OR REPLACE INTO chunk(id, series, first_ms, count, state, data)"
                     " VALUES(?1, ?2, ?3, ?4, ?5, ?6)",
    [SQL_OPEN_UPDATE] = "UPDATE chunk SET count = ?4, state = ?5, data = ?6 WHERE id = ?1",
    [SQL_OPEN_DELETE] = "DELETE FROM chunk WHERE id = ?1",
    [SQL_STATES_READ] = "SELECT series, state FROM chunk WHERE id < 0",
    /* Left to itself SQLite would go on from the largest id, and that may be an open chunk's. */
    [SQL_CHUNK_ADD] = "INSERT INTO chunk(id, series, first_ms, count, data) VALUES("
                      "max(0, coalesce((SELECT max(id) FROM chunk), 0)) + 1, ?1, ?2, ?3, ?4)",
    [SQL_CHUNK_UPDATE] = "UPDATE chunk SET first_ms = ?2, count = ?3, data = ?4 WHERE id = ?1",
    [SQL_CHUNK_DELETE] = "DELETE FROM chunk WHERE id = ?1",
    [SQL_CHUNK_COUNT] = "SELECT count(*) FROM chunk",
    [SQL_CHUNK_AT] = "SELECT id, first_ms, count, data FROM chunk WHERE series = ?1 AND"
                     " first_ms <= ?2 ORDER BY first_ms DESC LIMIT 1",
    [SQL_CHUNK_AFTER] = "SELECT id, first_ms, count, data FROM chunk WHERE series = ?1 AND"
                        " first_ms > ?2 ORDER BY first_ms LIMIT 1",
    [SQL_CHUNKS_DOWN] = "SELECT data, first_ms FROM chunk WHERE series = ?1 AND first_ms < ?2"
                        " ORDER BY first_ms DESC",
    /* From the chunk on that holds a time. */
    [SQL_CHUNKS_UP] = "SELECT id, first_ms, data FROM chunk WHERE series = ?1 AND first_ms >="
                      " coalesce((SELECT max(first_ms) FROM chunk WHERE series = ?1 AND"
                      "  first_ms <= ?2), ?2) ORDER BY first_ms",
    [SQL_CHUNKS_BETWEEN] = "SELECT count(*) FROM (SELECT 1 FROM chunk WHERE series = ?1 AND"
                           " first_ms >= ?2 AND first_ms < ?3 LIMIT ?4)",
    [SQL_CHUNKS_DELETE] = "DELETE FROM chunk WHERE id > 0 AND series = ?1 AND first_ms >= ?2 AND"
                          " first_ms < ?3",
    [SQL_TRASH_ADD] = "INSERT OR IGNORE INTO trash(series) VALUES(?1)",
    /* An id is never given twice: where there is such a series, the row is another table's. */
    [SQL_TRASH_NEXT] = "SELECT series FROM trash WHERE NOT EXISTS"
                       " (SELECT 1 FROM series WHERE id = trash.series) LIMIT 1",
    [SQL_TRASH_EMPTY] = "DELETE FROM chunk WHERE id IN"
                        " (SELECT id FROM chunk WHERE series = ?1 LIMIT ?2)",
    [SQL_TRASH_DONE] = "DELETE FROM trash WHERE series = ?1",
    [SQL_DAMAGED_ADD] = "INSERT INTO damaged(series, first_ms, count, found_ms, data)"
                        " SELECT series, first_ms, count, ?2, data FROM chunk WHERE id = ?1",
    /* A journal row: its number stands where a chunk has its first time, series 0 where it has one.
     */
    [SQL_DAMAGED_ROW_ADD] = "INSERT INTO damaged(series, first_ms, count, found_ms, data)"
                            " SELECT 0, seq, 0, ?2, data FROM journal WHERE seq = ?1",
    [SQL_JOURNAL_DELETE] = "DELETE FROM journal WHERE seq = ?1",
    [SQL_FREE_PAGES] = "PRAGMA freelist_count",
    [SQL_VACUUM_LOT] = "PRAGMA incremental_vacuum(1024)",
    [SQL_VACUUM_SOME] = "PRAGMA incremental_vacuum(64)",
};

/* ---------------------------------------------------------------- errors */

static enum status status_of_code(int code)
{
    switch (code & 0xff) {
    case SQLITE_FULL:
        return STATUS_NO_SPACE;
    case SQLITE_NOMEM:
        return STATUS_NO_MEMORY;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        return STATUS_CORRUPT;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return STATUS_BUSY;
    case SQLITE_TOOBIG:
        return STATUS_TOO_LARGE;
    case SQLITE_IOERR:
    case SQLITE_CANTOPEN:
    case SQLITE_READONLY:
    case SQLITE_PERM:
        return code == SQLITE_IOERR_NOMEM     ? STATUS_NO_MEMORY
               : code == SQLITE_IOERR_SHMSIZE ? STATUS_NO_SPACE /* of the log's index */
                                              : STATUS_IO;
    default:
        return STATUS_INTERNAL;
    }
}

enum status sqlite_status(struct sqlite3 *db, int code, const char *doing, struct error *error)
{
    int base = code & 0xff;
    int cause = db != NULL && (base == SQLITE_CANTOPEN || base == SQLITE_IOERR)
                    ? sqlite3_system_errno(db)
                    : 0;
    return error_set(error, status_of_code(code), "could not %s: %s (%d)%s%s", doing,
                     db == NULL ? sqlite3_errstr(code) : sqlite3_errmsg(db), code,
                     cause != 0 ? ": " : "", cause != 0 ? strerror(cause) : "");
}

enum status sqlite_failed(struct sqlite_state *state, int code, const char *doing,
                          struct error *error)
{
    enum status status = sqlite_status(state->db, code, doing, error);
    if (status == STATUS_IO || status == STATUS_NO_SPACE) {
        struct storage *storage = state->storage;
        lock_acquire(&storage->lock);
        storage->counters.writable = false;
        storage->counters.full = storage->counters.full || status == STATUS_NO_SPACE;
        lock_release(&storage->lock);
        state->io_failed = state->io_failed || status == STATUS_IO;
    }
    return status;
}

enum status sqlite_run(struct sqlite_state *state, enum sqlite_statement which, const char *doing,
                       struct error *error)
{
    struct sqlite3_stmt *statement = state->statements[which];
    int code;
    do {
        code = sqlite3_step(statement);
    } while (code == SQLITE_ROW);
    enum status status = code == SQLITE_DONE ? STATUS_OK : sqlite_failed(state, code, doing, error);
    sqlite3_reset(statement);
    sqlite3_clear_bindings(statement);
    return status;
}

enum status sqlite_usable(const struct sqlite_state *state, struct error *error)
{
    return state->io_failed ? error_set(error, STATUS_IO, "the store has to be opened anew first")
                            : STATUS_OK;
}

enum status sqlite_begin(struct sqlite_state *state, struct error *error)
{
    if (state->db == NULL) { /* closed after a failure, and not opened anew since */
        return error_set(error, STATUS_IO, "could not begin a transaction: the store is closed");
    }
    return sqlite_run(state, SQL_BEGIN, "begin a transaction", error);
}

enum status sqlite_end(struct sqlite_state *state, struct error *error)
{
    if (sqlite_run(state, SQL_COMMIT, "commit", error) != STATUS_OK) {
        sqlite_rollback(state);
        return error->status;
    }
    return STATUS_OK;
}

void sqlite_rollback(struct sqlite_state *state)
{
    if (state->db != NULL && !sqlite3_get_autocommit(state->db)) {
        struct error ignored = {0};
        (void)!sqlite_run(state, SQL_ROLLBACK, "roll back", &ignored);
    }
}

/* ---------------------------------------------------------------- connections */

static int run_text(struct sqlite3 *db, const char *text)
{
    return sqlite3_exec(db, text, NULL, NULL, NULL);
}

static int number_of(struct sqlite3 *db, const char *text, int64_t *number)
{
    struct sqlite3_stmt *statement = NULL;
    int code = sqlite3_prepare_v2(db, text, -1, &statement, NULL);
    if (code == SQLITE_OK) {
        code = sqlite3_step(statement);
        *number = code == SQLITE_ROW ? sqlite3_column_int64(statement, 0) : 0;
        code = code == SQLITE_ROW || code == SQLITE_DONE ? SQLITE_OK : code;
    }
    sqlite3_finalize(statement);
    return code;
}

/* Application id and version, read before anything is written. */
static enum status version_read(struct sqlite3 *db, int64_t *version, struct error *error)
{
    int64_t application = 0, tables = 0;
    int code = number_of(db, "PRAGMA application_id", &application);
    code = code == SQLITE_OK ? number_of(db, "PRAGMA user_version", version) : code;
    code = code == SQLITE_OK ? number_of(db, "SELECT count(*) FROM sqlite_schema", &tables) : code;
    if (code != SQLITE_OK) {
        return sqlite_status(db, code, "read the version of the store", error);
    }
    if (tables > 0 && application != APPLICATION_ID) {
        return error_set(error, STATUS_UNSUPPORTED, "cannot use a database of another program");
    }
    if (*version > (int64_t)ARRAY_COUNT(migrations)) {
        error_set(error, STATUS_UNSUPPORTED,
                  "cannot open a store of version %lld: this program knows up to %zu",
                  (long long)*version, ARRAY_COUNT(migrations));
        return error_hint(error, "Start the newer forecastd that wrote it.");
    }
    return STATUS_OK;
}

static enum status migrate(struct sqlite3 *db, int64_t version, struct error *error)
{
    char text[64];
    if (version >= (int64_t)ARRAY_COUNT(migrations)) {
        return STATUS_OK;
    }
    int code = run_text(db, "BEGIN IMMEDIATE");
    for (; version < (int64_t)ARRAY_COUNT(migrations) && code == SQLITE_OK; version++) {
        code = run_text(db, migrations[version]);
    }
    snprintf(text, sizeof text, "PRAGMA user_version = %zu", ARRAY_COUNT(migrations));
    code = code == SQLITE_OK ? run_text(db, text) : code;
    snprintf(text, sizeof text, "PRAGMA application_id = %d", APPLICATION_ID);
    code = code == SQLITE_OK ? run_text(db, text) : code;
    code = code == SQLITE_OK ? run_text(db, "COMMIT") : code;
    return code == SQLITE_OK ? STATUS_OK
                             : sqlite_status(db, code, "create the tables of the store", error);
}

static void limits_set(struct sqlite3 *db, bool writer)
{
    sqlite3_extended_result_codes(db, 1);
    sqlite3_busy_timeout(db, SQLITE_BUSY_TIMEOUT_MS);
    sqlite3_db_config(db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    sqlite3_db_config(db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
    sqlite3_db_config(db, SQLITE_DBCONFIG_ENABLE_LOAD_EXTENSION, 0, NULL);
    /* A reader must never checkpoint, not even as the last one to close (sqlite.c). */
    sqlite3_db_config(db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, !writer, NULL);
    sqlite3_limit(db, SQLITE_LIMIT_LENGTH, BLOB_BYTES_MAX);
    sqlite3_limit(db, SQLITE_LIMIT_SQL_LENGTH, 1 << 16);
    sqlite3_limit(db, SQLITE_LIMIT_ATTACHED, 0);
    sqlite3_wal_autocheckpoint(db, 0);
}

static int settings_run(struct sqlite3 *db, enum connection kind)
{
    static const char *const synchronous[] = {[CONNECTION_READS] = "FULL",
                                              [CONNECTION_WRITES] = "FULL",
                                              [CONNECTION_WRITES_RELAXED] = "NORMAL",
                                              [CONNECTION_CREATES] = "OFF"};
    char text[320];
    snprintf(text, sizeof text,
             "PRAGMA mmap_size = 0; PRAGMA temp_store = MEMORY; PRAGMA cell_size_check = ON;"
             "PRAGMA cache_size = -%d; PRAGMA synchronous = %s; PRAGMA journal_size_limit = %d;",
             kind == CONNECTION_READS ? READER_CACHE_KIB : WRITER_CACHE_KIB, synchronous[kind],
             WAL_LIMIT_BYTES);
    return run_text(db, text);
}

enum status sqlite_connect(const char *file, enum connection kind, struct sqlite3 **out,
                           struct error *error)
{
    bool writer = kind != CONNECTION_READS;
    int flags = SQLITE_OPEN_NOMUTEX | (writer ? SQLITE_OPEN_READWRITE : SQLITE_OPEN_READONLY) |
                (kind == CONNECTION_CREATES ? SQLITE_OPEN_CREATE : 0);
    int64_t version = 0;
    *error = (struct error){0};
    struct sqlite3 *db = NULL;
    int code = sqlite3_open_v2(file, &db, flags, NULL);
    if (code != SQLITE_OK) {
        sqlite_status(db, code, "open the database", error);
        sqlite3_close(db);
        return error->status;
    }
    limits_set(db, writer);
    code = settings_run(db, kind);
    if (code != SQLITE_OK) {
        sqlite_status(db, code, "open the database", error);
    } else if (version_read(db, &version, error) == STATUS_OK && writer) {
        code = version == 0 ? run_text(db, "PRAGMA page_size = 4096;"
                                           "PRAGMA auto_vacuum = INCREMENTAL;")
                            : SQLITE_OK;
        code = code == SQLITE_OK ? run_text(db, "PRAGMA journal_mode = WAL") : code;
        if (code != SQLITE_OK) {
            sqlite_status(db, code, "prepare the database", error);
        } else if (migrate(db, version, error) == STATUS_OK) {
            *out = db;
            return STATUS_OK;
        }
    } else if (error->status == STATUS_OK) {
        *out = db;
        return STATUS_OK;
    }
    sqlite3_close(db);
    return error->status;
}

enum status sqlite_prepare_all(struct sqlite_state *state, struct error *error)
{
    for (size_t i = 0; i < SQL_STATEMENTS; i++) {
        CHECK(statement_texts[i] != NULL);
        int code = sqlite3_prepare_v3(state->db, statement_texts[i], -1, SQLITE_PREPARE_PERSISTENT,
                                      &state->statements[i], NULL);
        bool newer = i >= SQL_VINTAGE_PUT && i <= SQL_EXCLUDED_DELETE;
        if (code == SQLITE_ERROR && newer && state->storage->options.read_only) {
            continue; /* of an older store: it is not migrated, and nothing is written */
        }
        if (code != SQLITE_OK) {
            return sqlite_failed(state, code, "prepare a statement", error);
        }
    }
    return STATUS_OK;
}

void sqlite_disconnect(struct sqlite_state *state)
{
    for (size_t i = 0; i < SQL_STATEMENTS; i++) {
        sqlite3_finalize(state->statements[i]);
        state->statements[i] = NULL;
    }
    sqlite3_close(state->db);
    state->db = NULL;
}
