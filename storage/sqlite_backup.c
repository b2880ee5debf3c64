/* Backups of a SQLite store: copied page by page from one snapshot, summed, verified, renamed.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The copy runs inside one read transaction: SQLite's backup starts anew when another process
 * writes, and under steady ingest it would never end; within a transaction it sees no writes. It is
 * a reader like others and never checkpoints (sqlite.c says why).
 *
 * Checksums of chunks and journal rows travel inside them; series, settings and records have none.
 * Hence the sum over every value: what the pages look like does not matter, what they mean does.
 */
#include "storage/backup.h"
#include "storage/sqlite_store.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum {
    FORMAT = 1,
    PATH_BYTES = 4096,
    STEP_PAGES = 64, /* 256 KiB between two looks at the clock */
    BUSY_MS = 20,
    BUSY_TRIES = 500,
};

struct backup {
    struct sqlite3 *db;
    char file[PATH_BYTES], partial[PATH_BYTES]; /* partial is empty where it was opened to read */
    char lock[PATH_BYTES];                      /* of FILE.partial, while lock_fd holds it */
    int lock_fd;                                /* -1: none */
    struct backup_about about;
};

struct backup_target {
    int lock_fd;
};

static const char tables_text[] =
    "CREATE TABLE backup(format INTEGER NOT NULL, made_ms INTEGER NOT NULL, program TEXT NOT NULL,"
    " schema INTEGER NOT NULL, series INTEGER NOT NULL, sum TEXT NOT NULL) STRICT;"
    "CREATE TABLE backup_part(name TEXT NOT NULL, part INTEGER NOT NULL, data BLOB NOT NULL,"
    " PRIMARY KEY(name, part)) STRICT;";

/* ---------------------------------------------------------------- small things */

static enum status run(struct sqlite3 *db, const char *text, const char *doing, struct error *error)
{
    int code = sqlite3_exec(db, text, NULL, NULL, NULL);
    return code == SQLITE_OK ? STATUS_OK : sqlite_status(db, code, doing, error);
}

/* Steps a statement that gives nothing back, and ends it. */
static enum status run_bound(struct sqlite3 *db, struct sqlite3_stmt *statement, const char *doing,
                             struct error *error)
{
    int code = sqlite3_step(statement);
    enum status status = code == SQLITE_DONE ? STATUS_OK : sqlite_status(db, code, doing, error);
    sqlite3_finalize(statement);
    return status;
}

static enum status prepare(struct sqlite3 *db, const char *text, struct sqlite3_stmt **out,
                           struct error *error)
{
    int code = sqlite3_prepare_v2(db, text, -1, out, NULL);
    return code == SQLITE_OK ? STATUS_OK : sqlite_status(db, code, "read the backup", error);
}

static bool path_set(char path[PATH_BYTES], const char *file, const char *ending)
{
    int length = snprintf(path, PATH_BYTES, "%s%s", file, ending);
    return length > 0 && length < PATH_BYTES;
}

static bool file_there(const char *path)
{
    return file_system()->size(path) >= 0 || errno != ENOENT;
}

static enum status copy_sync(const char *path, struct error *error)
{
    int code = file_sync(path);
    return code == 0
               ? STATUS_OK
               : error_set(error, STATUS_IO, "could not sync '%.200s': %s", path, strerror(code));
}

/* ---------------------------------------------------------------- pages */

static void throttle(const struct backup_options *options, int64_t begun_ns, int64_t bytes)
{
    if (options->bytes_per_second <= 0) {
        return;
    }
    double due_ns = (double)bytes / (double)options->bytes_per_second * 1e9;
    double early_ns = due_ns - (double)(clock_monotonic_ns() - begun_ns);
    if (early_ns > 0) {
        struct timespec pause = {.tv_sec = (time_t)(early_ns / 1e9)};
        pause.tv_nsec = (long)(early_ns - (double)pause.tv_sec * 1e9);
        nanosleep(&pause, NULL);
    }
}

static enum status pages_copy(struct sqlite3 *from, struct sqlite3 *to,
                              const struct backup_options *options, struct error *error)
{
    struct sqlite3_backup *copy = sqlite3_backup_init(to, "main", from, "main");
    if (copy == NULL) {
        return sqlite_status(to, sqlite3_errcode(to), "begin the copy", error);
    }
    int64_t begun_ns = clock_monotonic_ns();
    int code = SQLITE_OK;
    for (int busy = 0; code == SQLITE_OK && busy < BUSY_TRIES;) {
        code = sqlite3_backup_step(copy, STEP_PAGES);
        if (code == SQLITE_BUSY || code == SQLITE_LOCKED) {
            busy++;
            sqlite3_sleep(BUSY_MS);
            code = SQLITE_OK;
            continue;
        }
        int all = sqlite3_backup_pagecount(copy), left = sqlite3_backup_remaining(copy);
        if (options->progress != NULL && all > 0) {
            options->progress(options->context, (double)(all - left) / all);
        }
        throttle(options, begun_ns, (int64_t)(all - left) * 4096);
    }
    int finished = sqlite3_backup_finish(copy);
    return code == SQLITE_DONE ? STATUS_OK
                               : sqlite_status(to, finished == SQLITE_OK ? code : finished,
                                               "copy the store", error);
}

/* A new file that is no write-ahead-log database, so that it is one file. It is synced as a whole
 * at the end, and worth nothing before. */
static enum status plain_open(const char *file, struct sqlite3 **out, struct error *error)
{
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX;
    int code = sqlite3_open_v2(file, out, flags, NULL);
    if (code != SQLITE_OK) {
        return sqlite_status(*out, code, "make the file", error);
    }
    sqlite3_extended_result_codes(*out, 1);
    return run(*out, "PRAGMA synchronous = OFF; PRAGMA temp_store = MEMORY;", "make the file",
               error);
}

static enum status snapshot_copy(const char *store, struct sqlite3 *to,
                                 const struct backup_options *options, struct error *error)
{
    struct sqlite3 *from = NULL;
    enum status status = sqlite_connect(store, CONNECTION_READS, &from, error);
    if (status == STATUS_OK) {
        status = run(from, "BEGIN; SELECT count(*) FROM sqlite_schema;", "read the store", error);
    }
    if (status == STATUS_OK) {
        status = pages_copy(from, to, options, error);
    }
    if (from != NULL) {
        sqlite3_close(from);
    }
    return status == STATUS_OK ? run(to, "PRAGMA journal_mode = DELETE", "make the file", error)
                               : status;
}

/* A file of its own: SQLite has locks on the partial one, and that may be of a backup that was
 * killed.
 */
static enum status partial_lock(struct backup *backup, struct error *error)
{
    struct stat about;
    int fd = open(backup->lock, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) {
        return error_set(error, STATUS_IO, "could not open '%.200s': %s", backup->lock,
                         strerror(errno));
    }
    bool locked = flock(fd, LOCK_EX | LOCK_NB) == 0;
    if (!locked && errno != EWOULDBLOCK) {
        error_set(error, STATUS_IO, "could not lock '%.200s': %s", backup->lock, strerror(errno));
        close(fd);
        return error->status;
    }
    /* Whoever has it removes it at the end: then this one is nobody's. */
    if (!locked || fstat(fd, &about) != 0 || about.st_nlink == 0) {
        close(fd);
        error_set(error, STATUS_CONFLICT, "another backup is writing it");
        return error_hint(error, "Wait until it is done, or name another file.");
    }
    backup->lock_fd = fd;
    return STATUS_OK;
}

static struct backup *backup_new(struct error *error)
{
    struct backup *backup = mem_zeroed(1, sizeof *backup);
    if (backup == NULL) {
        error_set(error, STATUS_NO_MEMORY, "could not allocate a backup");
    } else {
        backup->lock_fd = -1;
    }
    return backup;
}

static enum status there_already(const char *file, struct error *error)
{
    error_set(error, STATUS_CONFLICT, "cannot write '%.200s': it is there already", file);
    return error_hint(error, "Name another file, or remove that one first.");
}

enum status backup_create(const char *directory, const char *file,
                          const struct backup_options *options, struct backup **out,
                          struct error *error)
{
    char store[PATH_BYTES];
    if (!path_set(store, directory, "/forecastd.db") || !file_there(store)) {
        error_set(error, STATUS_NOT_FOUND, "there is no store in '%.200s'", directory);
        return error_hint(error, "Name it with --data DIR.");
    }
    struct backup *backup = backup_new(error);
    if (backup == NULL) {
        return error->status;
    }
    char partial[PATH_BYTES];
    if (!path_set(backup->file, file, "") || !path_set(partial, file, ".partial") ||
        !path_set(backup->lock, file, ".partial.lock")) {
        error_set(error, STATUS_INVALID, "cannot use '%.200s' as a file", file);
    } else if (file_there(file)) {
        there_already(file, error);
    } else if (partial_lock(backup, error) != STATUS_OK) {
        error_wrap(error, "cannot write '%.150s'", file);
    } else {
        memcpy(backup->partial, partial, sizeof partial);
        sqlite_database_remove(backup->partial); /* of a backup that was killed */
        if (plain_open(backup->partial, &backup->db, error) == STATUS_OK &&
            snapshot_copy(store, backup->db, options, error) == STATUS_OK &&
            run(backup->db, tables_text, "write the backup", error) == STATUS_OK) {
            *out = backup;
            return STATUS_OK;
        }
        error_wrap(error, "cannot write '%.150s'", file);
    }
    backup_close(backup);
    return error->status;
}

/* ---------------------------------------------------------------- files beside the database */

static bool name_plain(const char *name)
{
    size_t length = name == NULL ? 0 : strlen(name);
    return length > 0 && length < 64 && name[0] != '.' &&
           strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") ==
               length;
}

enum status backup_add(struct backup *backup, const char *name, const void *bytes, size_t length,
                       struct error *error)
{
    struct sqlite3_stmt *statement = NULL;
    if (!name_plain(name)) {
        return error_set(error, STATUS_INVALID, "cannot keep a file named '%.80s'", name);
    }
    if (prepare(backup->db,
                "INSERT INTO backup_part(name, part, data) VALUES(?1,"
                " (SELECT count(*) FROM backup_part WHERE name = ?1), ?2)",
                &statement, error) != STATUS_OK) {
        return error->status;
    }
    sqlite3_bind_text(statement, 1, name, -1, SQLITE_STATIC);
    sqlite3_bind_blob64(statement, 2, bytes, length, SQLITE_STATIC);
    return run_bound(backup->db, statement, "write the backup", error);
}

enum status backup_leave_out(struct backup *backup, const char *name, const char *kind,
                             const char *key, struct error *error)
{
    struct sqlite3_stmt *statement = NULL;
    if (prepare(backup->db, "DELETE FROM backup_part WHERE name = ?1", &statement, error) !=
        STATUS_OK) {
        return error->status;
    }
    sqlite3_bind_text(statement, 1, name, -1, SQLITE_STATIC);
    if (run_bound(backup->db, statement, "write the backup", error) != STATUS_OK ||
        prepare(backup->db, "DELETE FROM record WHERE kind = ?1 AND key = ?2", &statement, error) !=
            STATUS_OK) {
        return error->status;
    }
    sqlite3_bind_text(statement, 1, kind, -1, SQLITE_STATIC);
    sqlite3_bind_text(statement, 2, key, -1, SQLITE_STATIC);
    return run_bound(backup->db, statement, "write the backup", error);
}

enum status backup_parts(struct backup *backup, backup_visit visit, void *context,
                         struct error *error)
{
    struct sqlite3_stmt *statement = NULL;
    enum status status = prepare(
        backup->db, "SELECT name, data FROM backup_part ORDER BY name, part", &statement, error);
    int code = SQLITE_DONE;
    while (status == STATUS_OK && (code = sqlite3_step(statement)) == SQLITE_ROW) {
        const char *name = (const char *)sqlite3_column_text(statement, 0);
        status = name_plain(name) ? visit(context, name, sqlite3_column_blob(statement, 1),
                                          (size_t)sqlite3_column_bytes(statement, 1), error)
                                  : error_set(error, STATUS_CORRUPT, "a file has no usable name");
    }
    if (status == STATUS_OK && code != SQLITE_DONE) {
        status = sqlite_status(backup->db, code, "read the backup", error);
    }
    sqlite3_finalize(statement);
    return status;
}

enum status backup_records(struct backup *backup, const char *kind, storage_record_visit visit,
                           void *context, struct error *error)
{
    struct sqlite3_stmt *statement = NULL;
    enum status status = prepare(backup->db,
                                 "SELECT key, json FROM record WHERE kind = ?1 ORDER BY"
                                 " key",
                                 &statement, error);
    int code = SQLITE_DONE;
    if (status == STATUS_OK) {
        sqlite3_bind_text(statement, 1, kind, -1, SQLITE_STATIC);
    }
    while (status == STATUS_OK && (code = sqlite3_step(statement)) == SQLITE_ROW) {
        const char *key = (const char *)sqlite3_column_text(statement, 0);
        const char *json = (const char *)sqlite3_column_text(statement, 1);
        size_t length = (size_t)sqlite3_column_bytes(statement, 1);
        if (key != NULL && json != NULL && !visit(context, key, json, length)) {
            code = SQLITE_DONE;
            break;
        }
    }
    if (status == STATUS_OK && code != SQLITE_DONE) {
        status = sqlite_status(backup->db, code, "read the backup", error);
    }
    sqlite3_finalize(statement);
    return status;
}

/* ---------------------------------------------------------------- the sum */

static void value_add(struct sha256 *hash, struct sqlite3_stmt *statement, int column)
{
    unsigned char head[9] = {(unsigned char)sqlite3_column_type(statement, column)};
    const void *bytes = NULL;
    uint64_t word = 0;
    switch (head[0]) {
    case SQLITE_INTEGER:
        word = (uint64_t)sqlite3_column_int64(statement, column);
        break;
    case SQLITE_FLOAT: {
        double number = sqlite3_column_double(statement, column);
        memcpy(&word, &number, sizeof word);
        break;
    }
    case SQLITE_NULL:
        break;
    default: /* text and blobs: bytes as they are */
        bytes = sqlite3_column_blob(statement, column);
        word = (uint64_t)sqlite3_column_bytes(statement, column);
    }
    for (int i = 0; i < 8; i++) {
        head[1 + i] = (unsigned char)(word >> (8 * i));
    }
    sha256_add(hash, head, sizeof head);
    if (bytes != NULL) {
        sha256_add(hash, bytes, (size_t)word);
    }
}

static enum status rows_add(struct sha256 *hash, struct sqlite3 *db, const char *text,
                            struct error *error)
{
    struct sqlite3_stmt *statement = NULL;
    enum status status = prepare(db, text, &statement, error);
    int code = SQLITE_DONE;
    while (status == STATUS_OK && (code = sqlite3_step(statement)) == SQLITE_ROW) {
        for (int i = 0; i < sqlite3_column_count(statement); i++) {
            value_add(hash, statement, i);
        }
    }
    if (status == STATUS_OK && code != SQLITE_DONE) {
        status = sqlite_status(db, code, "read the backup", error);
    }
    sqlite3_finalize(statement);
    return status;
}

/* Over everything that the file means; rows come in the order of their keys. */
static enum status sum_compute(struct sqlite3 *db, char hex[65], struct error *error)
{
    struct sha256 hash;
    struct sqlite3_stmt *tables = NULL;
    sha256_init(&hash);
    enum status status =
        rows_add(&hash, db, "SELECT format, made_ms, program, schema, series FROM backup", error);
    if (status == STATUS_OK) {
        status = rows_add(&hash, db,
                          "SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY"
                          " name",
                          error);
    }
    if (status == STATUS_OK) {
        status = prepare(db,
                         "SELECT name FROM sqlite_schema WHERE type = 'table' AND name <>"
                         " 'backup' ORDER BY name",
                         &tables, error);
    }
    int code = SQLITE_DONE;
    while (status == STATUS_OK && (code = sqlite3_step(tables)) == SQLITE_ROW) {
        char *text = sqlite3_mprintf("SELECT * FROM \"%w\"", sqlite3_column_text(tables, 0));
        status = text == NULL ? error_set(error, STATUS_NO_MEMORY, "could not allocate a query")
                              : rows_add(&hash, db, text, error);
        sqlite3_free(text);
    }
    if (status == STATUS_OK && code != SQLITE_DONE) {
        status = sqlite_status(db, code, "read the backup", error);
    }
    sqlite3_finalize(tables);
    sha256_hex(&hash, hex);
    return status;
}

/* ---------------------------------------------------------------- verifying */

static enum status about_read(struct backup *backup, char sum[65], struct error *error)
{
    struct sqlite3_stmt *statement = NULL;
    int code = sqlite3_prepare_v2(
        backup->db, "SELECT format, made_ms, program, schema, series, sum FROM backup", -1,
        &statement, NULL);
    code = code == SQLITE_OK ? sqlite3_step(statement) : code;
    if (code == SQLITE_ROW) {
        backup->about = (struct backup_about){
            .format = sqlite3_column_int64(statement, 0),
            .made_ms = sqlite3_column_int64(statement, 1),
            .schema = sqlite3_column_int64(statement, 3),
            .series = sqlite3_column_int64(statement, 4),
            .bytes =
                file_system()->size(backup->partial[0] != '\0' ? backup->partial : backup->file),
        };
        const unsigned char *program = sqlite3_column_text(statement, 2);
        const unsigned char *text = sqlite3_column_text(statement, 5);
        snprintf(backup->about.program, sizeof backup->about.program, "%s",
                 program == NULL ? (const unsigned char *)"" : program);
        snprintf(sum, 65, "%s", text == NULL ? (const unsigned char *)"" : text);
    }
    sqlite3_finalize(statement);
    if (code == SQLITE_ROW) {
        return STATUS_OK;
    }
    if (code != SQLITE_ERROR && code != SQLITE_DONE) {
        return sqlite_status(backup->db, code, "read the backup", error);
    }
    error_set(error, STATUS_UNSUPPORTED, "cannot use '%.200s': it is no backup", backup->file);
    return error_hint(error, "forecastd backup FILE makes one.");
}

static enum status verify(struct backup *backup, storage_report report, void *context,
                          struct error *error)
{
    char sum[65], found[65];
    if (about_read(backup, sum, error) != STATUS_OK) {
        return error->status;
    }
    if (backup->about.format > FORMAT) {
        error_set(error, STATUS_UNSUPPORTED,
                  "cannot read a backup of format %lld made by forecastd %s: this program knows up "
                  "to %d",
                  (long long)backup->about.format, backup->about.program, FORMAT);
        return error_hint(error, "Use the newer forecastd that made it.");
    }
    if (sum_compute(backup->db, found, error) != STATUS_OK) {
        return error->status;
    }
    if (strcmp(sum, found) != 0) {
        return error_set(error, STATUS_CORRUPT, "its checksum does not fit what it holds");
    }
    struct check_options options = {.copy = true};
    return sqlite_check_database(backup->db, &options, report, context, error);
}

static enum status about_write(struct backup *backup, struct error *error)
{
    struct sqlite3_stmt *statement = NULL;
    char sum[65];
    if (prepare(backup->db,
                "INSERT INTO backup SELECT ?1, ?2, ?3, user_version,"
                " (SELECT count(*) FROM series), '' FROM pragma_user_version",
                &statement, error) != STATUS_OK) {
        return error->status;
    }
    sqlite3_bind_int(statement, 1, FORMAT);
    sqlite3_bind_int64(statement, 2, clock_wall_ms());
    sqlite3_bind_text(statement, 3, FORECASTD_VERSION, -1, SQLITE_STATIC);
    if (run_bound(backup->db, statement, "write the backup", error) != STATUS_OK ||
        sum_compute(backup->db, sum, error) != STATUS_OK ||
        prepare(backup->db, "UPDATE backup SET sum = ?1", &statement, error) != STATUS_OK) {
        return error->status;
    }
    sqlite3_bind_text(statement, 1, sum, -1, SQLITE_STATIC);
    return run_bound(backup->db, statement, "write the backup", error);
}

enum status backup_publish(struct backup *backup, storage_report report, void *context,
                           struct error *error)
{
    if (about_write(backup, error) != STATUS_OK) {
        return error->status;
    }
    /* What is verified is what the file holds, not what this connection remembers of it. */
    sqlite3_close(backup->db);
    backup->db = NULL;
    if (copy_sync(backup->partial, error) != STATUS_OK ||
        sqlite_connect(backup->partial, CONNECTION_READS, &backup->db, error) != STATUS_OK) {
        return error->status;
    }
    if (verify(backup, report, context, error) != STATUS_OK) {
        return error_wrap(error, "the copy");
    }
    sqlite3_close(backup->db);
    backup->db = NULL;
    if (file_system()->rename_new(backup->partial, backup->file) != 0) {
        return errno == EEXIST ? there_already(backup->file, error)
                               : error_set(error, STATUS_IO, "could not rename to '%.200s': %s",
                                           backup->file, strerror(errno));
    }
    backup->partial[0] = '\0';
    int failed = file_sync_parent(backup->file);
    return failed == 0 ? STATUS_OK
                       : error_set(error, STATUS_IO, "could not sync the folder of '%.200s': %s",
                                   backup->file, strerror(failed));
}

/* SQLite takes what is missing from the last page for zeros, which it may have been; but a file
 * that was cut is not what was made. */
static enum status whole_file(struct backup *backup, struct error *error)
{
    struct sqlite3_stmt *statement = NULL;
    enum status status = prepare(backup->db,
                                 "SELECT page_count * page_size FROM pragma_page_count(),"
                                 " pragma_page_size()",
                                 &statement, error);
    if (status != STATUS_OK) {
        return status;
    }
    int code = sqlite3_step(statement);
    int64_t wanted = code == SQLITE_ROW ? sqlite3_column_int64(statement, 0) : 0;
    sqlite3_finalize(statement);
    if (code != SQLITE_ROW) {
        return sqlite_status(backup->db, code, "read the backup", error);
    }
    int64_t bytes = file_system()->size(backup->file);
    if (bytes != wanted) {
        return error_set(error, STATUS_CORRUPT, "it has %lld bytes where its head says %lld",
                         (long long)bytes, (long long)wanted);
    }
    return STATUS_OK;
}

enum status backup_open(const char *file, storage_report report, void *context, struct backup **out,
                        struct error *error)
{
    struct backup *backup = backup_new(error);
    if (backup == NULL) {
        return error->status;
    }
    if (!path_set(backup->file, file, "") || !file_there(file)) {
        error_set(error, STATUS_NOT_FOUND, "there is no file '%.200s'", file);
    } else if (sqlite_connect(file, CONNECTION_READS, &backup->db, error) != STATUS_OK ||
               verify(backup, report, context, error) != STATUS_OK ||
               whole_file(backup, error) != STATUS_OK) {
        error_wrap(error, "cannot restore from '%.150s'", file);
    } else {
        *out = backup;
        return STATUS_OK;
    }
    backup_close(backup);
    return error->status;
}

const struct backup_about *backup_about(const struct backup *backup)
{
    return &backup->about;
}

enum status backup_extract(struct backup *backup, const char *folder, struct error *error)
{
    char path[PATH_BYTES];
    struct sqlite3 *db = NULL;
    struct backup_options options = {0};
    if (!path_set(path, folder, "/forecastd.db")) {
        return error_set(error, STATUS_INVALID, "cannot use \"%.100s\" as a folder", folder);
    }
    enum status status = plain_open(path, &db, error);
    if (status == STATUS_OK) {
        status = pages_copy(backup->db, db, &options, error);
    }
    if (status == STATUS_OK) {
        status = run(db,
                     "DROP TABLE backup; DROP TABLE backup_part;"
                     "PRAGMA incremental_vacuum; PRAGMA journal_mode = DELETE;",
                     "write the store", error);
    }
    sqlite3_close(db);
    return status == STATUS_OK ? copy_sync(path, error) : status;
}

void backup_close(struct backup *backup)
{
    if (backup == NULL) {
        return;
    }
    sqlite3_close(backup->db);
    if (backup->partial[0] != '\0') {
        sqlite_database_remove(backup->partial);
    }
    if (backup->lock_fd >= 0) {
        (void)unlink(backup->lock);
        close(backup->lock_fd);
    }
    mem_free(backup);
}

/* ---------------------------------------------------------------- where it is restored to */

enum status backup_target_open(const char *directory, struct backup_target **out,
                               struct error *error)
{
    static const char *const endings[] = {"/forecastd.db", "/forecastd.db-wal"};
    char path[PATH_BYTES];
    struct backup_target *target = mem_zeroed(1, sizeof *target);
    if (target == NULL) {
        return error_set(error, STATUS_NO_MEMORY, "could not allocate a target");
    }
    target->lock_fd = -1;
    if (sqlite_directory_make(directory, error) != STATUS_OK ||
        sqlite_directory_lock(directory, &target->lock_fd, error) != STATUS_OK) {
        backup_target_close(target);
        return error->status;
    }
    for (size_t i = 0; i < sizeof endings / sizeof endings[0]; i++) {
        if (!path_set(path, directory, endings[i]) || file_there(path)) {
            backup_target_close(target);
            error_set(error, STATUS_CONFLICT,
                      "cannot restore into '%.200s': there is a store already", directory);
            return error_hint(error, "Name an empty directory with --data DIR, or move the store "
                                     "('forecastd.db*' and 'models') out of the way first; "
                                     "nothing is overwritten.");
        }
    }
    *out = target;
    return STATUS_OK;
}

void backup_target_close(struct backup_target *target)
{
    if (target != NULL) {
        if (target->lock_fd >= 0) {
            close(target->lock_fd);
        }
        mem_free(target);
    }
}
