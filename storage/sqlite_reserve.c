/* Room in reserve for a full disk: a file that is given up so that deleting can go on.
 * SPDX-License-Identifier: Apache-2.0
 *
 * SQLite writes its log before it frees anything, so on a full disk neither a checkpoint nor a
 * deletion works, and retention could never rescue it. The store therefore sets aside a file of
 * storage.reserve bytes. When a write finds no room
 *     1. nothing of it was acknowledged, and the file is removed;
 *     2. writes that need room are refused (503); reading, deleting, retention, compaction and
 *        checkpoints go on in the room that the file gave;
 *     3. about once a second the log is cut back, free pages are returned to the file system, and
 *        the file is asked for again, a quarter larger than it has to be. Where that works there is
 *        room, and writes go on.
 * Without a reserve (0 bytes) a full disk is tried again with each write.
 */
#include "storage/sqlite_store.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>

enum {
    PATH_BYTES = 4096,
    RELIEF_EVERY_MS = 1000,
    TRASH_SLICES = 64,
    VACUUM_SLICES = 64, /* of 64 pages each (SQL_VACUUM_SOME) */
};

static bool reserve_path(const struct sqlite_state *state, char path[PATH_BYTES])
{
    int length = snprintf(path, PATH_BYTES, "%s/forecastd.reserve", state->directory);
    return length > 0 && length < PATH_BYTES;
}

static void full_set(struct sqlite_state *state, bool full)
{
    struct storage *storage = state->storage;
    lock_acquire(&storage->lock);
    storage->counters.full = full;
    storage->counters.writable = !full;
    lock_release(&storage->lock);
}

/* Sets aside so many bytes; 0 or an errno. */
static int file_allocate(const char *path, int64_t bytes)
{
    const struct file_system *files = file_system();
    int file = files->open(path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0640);
    if (file < 0) {
        return errno;
    }
    int code = files->allocate(file, bytes);
    if (files->close(file) != 0 && code == 0) {
        code = errno;
    }
    return code;
}

enum status sqlite_reserve_make(struct sqlite_state *state, struct error *error)
{
    char path[PATH_BYTES];
    int64_t bytes = state->storage->options.reserve_bytes;
    if (bytes <= 0 || !reserve_path(state, path)) {
        return STATUS_OK;
    }
    int64_t size = file_system()->size(path);
    if (size >= bytes) {
        state->reserve_there = true;
        return STATUS_OK;
    }
    int code = file_allocate(path, bytes + bytes / 4);
    if (code != 0) {
        (void)file_system()->remove(path);
        if (code == ENOSPC || code == EDQUOT || code == EFBIG) {
            error_set(error, STATUS_NO_SPACE,
                      "the disk is full: no room for a reserve of %lld bytes", (long long)bytes);
            return error_hint(error, "Free some space, or lower storage.reserve.");
        }
        return error_set(error, STATUS_IO, "could not make the reserve: %s", strerror(code));
    }
    state->reserve_there = true;
    return STATUS_OK;
}

bool sqlite_reserve_spend(struct sqlite_state *state)
{
    char path[PATH_BYTES];
    bool spent =
        state->reserve_there && reserve_path(state, path) && file_system()->remove(path) == 0;
    if (spent) {
        state->reserve_there = false;
        log_warning("storage", "the disk is full: the reserve is given up", "bytes=%lld",
                    (long long)state->storage->options.reserve_bytes);
    }
    return spent;
}

void sqlite_reserve_open(struct sqlite_state *state)
{
    struct error error = {0};
    enum status status = sqlite_reserve_make(state, &error);
    if (status != STATUS_OK) {
        log_warning("storage", "there is no reserve", "reason=\"%s\"", error.text);
    }
    if (status == STATUS_NO_SPACE) {
        full_set(state, true);
    }
}

/* What frees room, in the order of what it needs itself, each step small enough for the reserve. */
static enum status relieve(struct sqlite_state *state, struct error *error)
{
    enum status status = sqlite_checkpoint(state, error);
    for (int i = 0; status == STATUS_OK && state->trashing && i < TRASH_SLICES; i++) {
        status = sqlite_trash_slice(state, error);
        status = status == STATUS_OK ? sqlite_checkpoint(state, error) : status;
    }
    int64_t size = file_system()->size(state->file), before = INT64_MAX;
    for (int i = 0; status == STATUS_OK && size < before && i < VACUUM_SLICES; i++) {
        before = size;
        status = sqlite_run(state, SQL_VACUUM_SOME, "give back disk space", error);
        status = status == STATUS_OK ? sqlite_checkpoint(state, error) : status;
        size = file_system()->size(state->file);
    }
    return status;
}

enum status sqlite_reserve_recover(struct sqlite_state *state, struct error *error)
{
    struct error ignored = {0};
    int64_t now_ns = clock_monotonic_ns();
    full_set(state, true);
    (void)sqlite_reserve_spend(state);
    if (now_ns < state->relief_after_ns) {
        return error_set(error, STATUS_NO_SPACE, "the disk is full");
    }
    state->relief_after_ns = now_ns + RELIEF_EVERY_MS * INT64_C(1000000);
    if (relieve(state, &ignored) != STATUS_OK) {
        log_warning("storage", "could not free disk space", "reason=\"%s\"", ignored.text);
    }
    if (state->io_failed) {
        return error_set(error, STATUS_IO, "could not free disk space");
    }
    if (sqlite_reserve_make(state, error) != STATUS_OK) {
        return error->status;
    }
    full_set(state, false);
    log_info("storage", "there is room on the disk again", "reserve=%lld",
             (long long)state->storage->options.reserve_bytes);
    return STATUS_OK;
}
