/* A new store's file: made under another name without a sync, then synced once and renamed.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Made in its place it takes three transactions of SQLite's, each with its own syncs: ten of the
 * thirteen of a first start. Nobody has been promised anything of it yet, so until the rename a
 * crash may leave what it likes; the next start removes that and begins again.
 */
#include "storage/sqlite_store.h"

#include "base/check.h"
#include "base/file.h"

#include <errno.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>

enum { PATH_BYTES = 4096 };

void sqlite_database_remove(const char *file)
{
    static const char *const endings[] = {"", "-journal", "-wal", "-shm"};
    for (size_t i = 0; i < ARRAY_COUNT(endings); i++) {
        char path[PATH_BYTES + 16];
        snprintf(path, sizeof path, "%s%s", file, endings[i]);
        (void)file_system()->remove(path);
    }
}

static enum status tables_make(const char *file, struct error *error)
{
    struct sqlite3 *db = NULL;
    if (sqlite_connect(file, CONNECTION_CREATES, &db, error) != STATUS_OK) {
        return error->status;
    }
    int code = sqlite3_wal_checkpoint_v2(db, NULL, SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL);
    enum status status =
        code == SQLITE_OK ? STATUS_OK : sqlite_status(db, code, "create the store", error);
    sqlite3_close(db);
    return status;
}

static enum status failed(const char *doing, int code, struct error *error)
{
    return error_set(error, code == ENOSPC ? STATUS_NO_SPACE : STATUS_IO,
                     "could not %s the new store: %s", doing, strerror(code));
}

enum status sqlite_create(const char *file, struct error *error)
{
    char partial[PATH_BYTES];
    /* Where the size cannot be told, opening the file says what is wrong. */
    int64_t size = file_system()->size(file);
    if (size > 0 || (size < 0 && errno != ENOENT)) {
        return STATUS_OK;
    }
    int length = snprintf(partial, sizeof partial, "%s.new", file);
    if (length < 0 || (size_t)length >= sizeof partial) {
        return error_set(error, STATUS_INVALID, "the path of the store is too long");
    }
    sqlite_database_remove(file); /* a log without its database must not meet another one */
    sqlite_database_remove(partial);
    enum status status = tables_make(partial, error);
    int unsynced = status == STATUS_OK ? file_sync(partial) : 0;
    if (unsynced != 0) {
        status = failed("sync", unsynced, error);
    }
    if (status == STATUS_OK && file_system()->rename(partial, file) != 0) {
        status = failed("rename", errno, error);
    }
    if (status != STATUS_OK) {
        sqlite_database_remove(partial);
    }
    return status;
}
