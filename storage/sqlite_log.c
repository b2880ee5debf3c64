/* The write-ahead log: checkpoints when it is long enough, and room laid out ahead of its end.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A write into a file's existing blocks is synced twice as fast as one that makes the file grow,
 * since the file system has its own records of the growth to write as well (0.13 ms against 0.24 on
 * the disk that this was measured on). A log that a checkpoint has emptied is written from its
 * beginning again and so does not grow; before its first checkpoint it would with each commit. So
 * zeros are put behind its end between commits, as much as it is long and no more than a checkpoint
 * lets it become. They end the log as well as the end of the file does: a frame of zeros is none.
 */
#include "storage/sqlite_store.h"

#include "base/clock.h"

#include <sqlite3.h>

enum {
    PAGE_BYTES = 4096,
    FRAME_BYTES = PAGE_BYTES + 24,
    CHECKPOINT_PAGES = 4096, /* passive checkpoint beyond so many pages in the log */
    CHECKPOINT_PAGES_MIN = 32,
    RESERVE_SHARE = 4,      /* of the reserve that the log may take */
    TRUNCATE_PAGES = 16384, /* 64 MiB: wait for readers and begin anew */
    TRUNCATE_EVERY_MS = 2000,
    CHECKPOINT_WAIT_MS = 20,
    LAY_OUT_FROM = 128 << 10, /* a shorter log may never become long */
    LAY_OUT_MAX = 1 << 20,    /* at once: the next commit syncs it too */
    LAY_OUT_LEFT = 64 << 10,  /* fewer bytes in front of the end of the file want more */
    ZEROS = 32 << 10,
};

static enum status checkpoint(struct sqlite_state *state, int mode, struct error *error)
{
    int pages = 0, done = 0;
    /* Commits wait meanwhile: where a reader holds the log, do what can be done and come again. */
    sqlite3_busy_timeout(state->db, CHECKPOINT_WAIT_MS);
    int code = sqlite3_wal_checkpoint_v2(state->db, NULL, mode, &pages, &done);
    state->log_bytes = mode == SQLITE_CHECKPOINT_TRUNCATE ? 0 : state->log_bytes;
    sqlite3_busy_timeout(state->db, SQLITE_BUSY_TIMEOUT_MS);
    if (code != SQLITE_OK && code != SQLITE_BUSY && code != SQLITE_LOCKED) {
        return sqlite_failed(state, code, "checkpoint", error);
    }
    if (code == SQLITE_OK && pages == done) {
        state->wal_pages = 0; /* the next commit begins the log anew */
    }
    return STATUS_OK;
}

enum status sqlite_checkpoint(struct sqlite_state *state, struct error *error)
{
    return checkpoint(state, SQLITE_CHECKPOINT_TRUNCATE, error);
}

/* On a full disk the log must fit into the room of the reserve, or nothing could be freed: so a
 * small reserve means a short log. */
static int checkpoint_pages(const struct sqlite_state *state)
{
    int64_t reserve = state->storage->options.reserve_bytes;
    int64_t pages = reserve / RESERVE_SHARE / PAGE_BYTES;
    pages = pages < CHECKPOINT_PAGES_MIN ? CHECKPOINT_PAGES_MIN : pages;
    return reserve > 0 && pages < CHECKPOINT_PAGES ? (int)pages : CHECKPOINT_PAGES;
}

enum status sqlite_checkpoint_due(struct sqlite_state *state, struct error *error)
{
    if (state->wal_pages < checkpoint_pages(state)) {
        return STATUS_OK;
    }
    int64_t now = clock_monotonic_ns();
    if (state->wal_pages >= TRUNCATE_PAGES && now >= state->truncate_after_ns) {
        state->truncate_after_ns = now + TRUNCATE_EVERY_MS * INT64_C(1000000);
        return checkpoint(state, SQLITE_CHECKPOINT_TRUNCATE, error);
    }
    return checkpoint(state, SQLITE_CHECKPOINT_PASSIVE, error);
}

/* ---------------------------------------------------------------- room ahead */

/* False where the disk had no room: then the file is as long as before. */
static bool zeros_write(struct sqlite3_file *file, int64_t from, int64_t until)
{
    static const unsigned char zeros[ZEROS];
    int code = SQLITE_OK;
    for (int64_t at = from; at < until && code == SQLITE_OK; at += ZEROS) {
        int bytes = until - at < ZEROS ? (int)(until - at) : (int)ZEROS;
        code = file->pMethods->xWrite(file, zeros, bytes, at);
    }
    if (code != SQLITE_OK) {
        (void)file->pMethods->xTruncate(file, from);
    }
    return code == SQLITE_OK;
}

void sqlite_log_lay_out(struct sqlite_state *state)
{
    int64_t used = (int64_t)state->wal_pages * FRAME_BYTES;
    int64_t most = (int64_t)checkpoint_pages(state) * FRAME_BYTES;
    if (used < LAY_OUT_FROM || used + LAY_OUT_LEFT <= state->log_bytes ||
        state->storage->counters.full) {
        return;
    }
    struct sqlite3_file *file = NULL;
    sqlite3_int64 size = 0;
    if (sqlite3_file_control(state->db, "main", SQLITE_FCNTL_JOURNAL_POINTER, &file) != SQLITE_OK ||
        file == NULL || file->pMethods == NULL ||
        file->pMethods->xFileSize(file, &size) != SQLITE_OK) {
        return;
    }
    int64_t until = size;
    if (used + LAY_OUT_LEFT > size) {
        until += used < LAY_OUT_MAX ? used : (int64_t)LAY_OUT_MAX;
    }
    until = until < most ? until : most;
    bool there = until <= size || zeros_write(file, size, until);
    state->log_bytes = there && until < most ? until : INT64_MAX; /* as far as it goes */
}
