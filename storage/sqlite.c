/* Driver "sqlite": a journal row a transaction, compressed chunks behind it, one connection writes.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Purpose. Sensors report one value of very many series at a time, forecasting reads many values of
 * one series: the obvious table (series, time, value) is slow for one of the two, whatever its key.
 * So a transaction is one row of the journal (sequential, one sync), the newest points live in
 * memory, and in the background each series' points move into its own compressed chunks.
 *
 *     commit ----> journal row ----+            series table: text, settings
 *        |                         | trimmed
 *        v                         |            chunk table: full chunks, appended
 *     window and late list --------+--flush-->               one open chunk a series + statistics
 *     of each series, in memory
 *
 * Rules of order
 *     1. Memory changes only after COMMIT said yes; everything that can fail comes before it.
 *     2. A flush takes everything a series has waiting, writes its chunks, its statistics and the
 *        number of the last journal row they include (flushed_seq), in one transaction.
 *     3. Journal rows go from the front, once no series needs them. Rows that are left are replayed
 *        in order, so an old value can never come back over a newer one.
 *     4. Readers copy from memory first and read the file second: what is flushed in between is
 *        then seen twice, never missed, and merging by time makes it one.
 *
 * One connection writes and checkpoints. SQLite 3.40.1 has the WAL-reset bug (3.7.0 to 3.51.2): two
 * connections that write or checkpoint at the same moment can damage the file. Readers therefore
 * open read-only, never checkpoint, not even when the last of them closes, and the automatic
 * checkpoint is off everywhere.
 *
 * Failure. A full disk or a failed sync rolls back, clears counters.writable and nothing was
 * acknowledged. After a failed sync the page cache may have dropped what it could not write: the
 * connection is closed, a new one opened, and the whole memory is read anew from what the disk
 * really holds.
 */
#include "storage/sqlite_store.h"

#include "base/check.h"
#include "base/file.h"
#include "base/log.h"
#include "base/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    PATH_BYTES = 4096,
    FLUSH_LOT = 8192, /* points: neighbours share pages, so series are flushed several at a time */
};

/* ---------------------------------------------------------------- commit */

static void bind_settings(struct sqlite3_stmt *statement, const struct series_settings *settings)
{
    if (settings->has_step) {
        sqlite3_bind_int64(statement, 2, settings->step_ms);
    }
    if (settings->has_season) {
        sqlite3_bind_int64(statement, 3, settings->season_steps);
    }
    if (settings->has_minimum) {
        sqlite3_bind_double(statement, 4, settings->minimum);
    }
    if (settings->has_maximum) {
        sqlite3_bind_double(statement, 5, settings->maximum);
    }
    if (settings->has_integer) {
        sqlite3_bind_int(statement, 6, settings->integer);
    }
    if (settings->has_kind) {
        sqlite3_bind_int(statement, 7, (int)settings->kind);
    }
    if (settings->has_retention) {
        sqlite3_bind_int64(statement, 8, settings->retention_ms);
    }
    if (settings->time_zone[0] != '\0') {
        sqlite3_bind_text(statement, 9, settings->time_zone, -1, SQLITE_STATIC);
    }
}

static enum status excluded_write(struct sqlite_state *state, const struct batch_change *change,
                                  struct error *error)
{
    sqlite3_bind_int64(state->statements[SQL_EXCLUDED_DELETE], 1, change->id);
    enum status status = sqlite_run(state, SQL_EXCLUDED_DELETE, "write excluded spans", error);
    for (size_t i = 0; status == STATUS_OK && i < change->excluded_count; i++) {
        struct sqlite3_stmt *statement = state->statements[SQL_EXCLUDED_ADD];
        sqlite3_bind_int64(statement, 1, change->id);
        sqlite3_bind_int64(statement, 2, change->excluded[i].from_ms);
        sqlite3_bind_int64(statement, 3, change->excluded[i].to_ms);
        status = sqlite_run(state, SQL_EXCLUDED_ADD, "write excluded spans", error);
    }
    return status;
}

static enum status record_write(struct sqlite_state *state, const struct batch_change *change,
                                struct error *error)
{
    enum sqlite_statement which = change->record_json == NULL ? SQL_RECORD_DELETE : SQL_RECORD_PUT;
    struct sqlite3_stmt *statement = state->statements[which];
    sqlite3_bind_text(statement, 1, change->record_kind, -1, SQLITE_STATIC);
    sqlite3_bind_text(statement, 2, change->record_key, -1, SQLITE_STATIC);
    if (change->record_json != NULL) {
        sqlite3_bind_text(statement, 3, change->record_json, (int)change->record_length,
                          SQLITE_STATIC);
    }
    return sqlite_run(state, which, "write a record", error);
}

static enum status series_delete(struct sqlite_state *state, uint32_t id, struct error *error)
{
    sqlite3_bind_int64(state->statements[SQL_SERIES_DELETE], 1, id);
    sqlite3_bind_int64(state->statements[SQL_TRASH_ADD], 1, id);
    sqlite3_bind_int64(state->statements[SQL_VINTAGES_DELETE], 1, id);
    sqlite3_bind_int64(state->statements[SQL_DOWNSAMPLED_DELETE], 1, id);
    sqlite3_bind_int64(state->statements[SQL_EXCLUDED_DELETE], 1, id);
    if (sqlite_run(state, SQL_SERIES_DELETE, "delete a series", error) != STATUS_OK ||
        sqlite_run(state, SQL_VINTAGES_DELETE, "delete a series", error) != STATUS_OK ||
        sqlite_run(state, SQL_EXCLUDED_DELETE, "delete a series", error) != STATUS_OK ||
        sqlite_run(state, SQL_DOWNSAMPLED_DELETE, "delete a series", error) != STATUS_OK) {
        return error->status;
    }
    return sqlite_run(state, SQL_TRASH_ADD, "delete a series", error);
}

static enum status vintage_write(struct sqlite_state *state, const struct batch_change *change,
                                 struct error *error)
{
    struct sqlite3_stmt *statement = state->statements[SQL_VINTAGE_PUT];
    if (change->entry == NULL) {
        return STATUS_OK; /* its series is gone */
    }
    uint32_t crc =
        sqlite_vintage_crc(change->id, change->issued_ms, change->vintage, change->vintage_length);
    sqlite3_bind_int64(statement, 1, change->id);
    sqlite3_bind_int64(statement, 2, change->issued_ms);
    sqlite3_bind_int64(statement, 3, change->expires_ms);
    sqlite3_bind_int64(statement, 4, crc);
    sqlite3_bind_blob64(statement, 5, change->vintage, change->vintage_length, SQLITE_STATIC);
    return sqlite_run(state, SQL_VINTAGE_PUT, "write a vintage", error);
}

static enum status change_write(struct sqlite_state *state, const struct batch_change *change,
                                struct error *error)
{
    switch (change->kind) {
    case CHANGE_SETTINGS: {
        struct sqlite3_stmt *statement = state->statements[SQL_SERIES_SETTINGS];
        sqlite3_bind_int64(statement, 1, change->id);
        bind_settings(statement, &change->settings);
        return sqlite_run(state, SQL_SERIES_SETTINGS, "write settings", error);
    }
    case CHANGE_EXCLUDED:
        return excluded_write(state, change, error);
    case CHANGE_DELETE:
        return series_delete(state, change->id, error);
    case CHANGE_RECORD:
        return record_write(state, change, error);
    case CHANGE_VINTAGE:
        return vintage_write(state, change, error);
    }
    return STATUS_OK;
}

static enum status tables_write(struct sqlite_state *state, struct write_group *group,
                                struct error *error)
{
    for (size_t b = 0; b < group->count; b++) {
        const struct write_batch *batch = group->batches[b];
        for (size_t i = 0; !batch->refused && i < batch->change_count; i++) {
            if (change_write(state, &batch->changes[i], error) != STATUS_OK) {
                return error->status;
            }
        }
    }
    for (size_t i = 0; i < group->created_count; i++) {
        struct sqlite3_stmt *statement = state->statements[SQL_SERIES_ADD];
        const struct series_entry *entry = group->created[i];
        sqlite3_bind_int64(statement, 1, entry->id);
        sqlite3_bind_text(statement, 2, entry->text, (int)entry->text_length, SQLITE_STATIC);
        sqlite3_bind_int64(statement, 3, entry->created_ms);
        if (sqlite_run(state, SQL_SERIES_ADD, "create a series", error) != STATUS_OK) {
            return error->status;
        }
    }
    return STATUS_OK;
}

static enum status journal_write(struct sqlite_state *state, uint64_t seq, struct error *error)
{
    if (journal_is_empty(&state->journal)) {
        return STATUS_OK;
    }
    journal_finish(&state->journal);
    struct sqlite3_stmt *statement = state->statements[SQL_JOURNAL_ADD];
    sqlite3_bind_int64(statement, 1, (int64_t)seq);
    sqlite3_bind_blob64(statement, 2, state->journal.bytes, state->journal.length, SQLITE_STATIC);
    return sqlite_run(state, SQL_JOURNAL_ADD, "write the journal", error);
}

/* Overwriting the same points again and again lengthens the journal, not what waits in memory. */
static bool journal_is_long(const struct sqlite_state *state)
{
    const struct sqlite_series *oldest = sqlite_flush_first(state);
    return oldest != NULL && state->journal_entries - oldest->dirty_at > state->journal_high;
}

/* How many waiting points this commit should flush, so that memory and journal stay bounded. */
static int64_t flush_share(struct sqlite_state *state, size_t ops)
{
    if (state->pending + ops > state->pending_high) {
        return (int64_t)(state->pending + ops - state->pending_high) + 1;
    }
    if (journal_is_long(state)) {
        return ops > FLUSH_LOT ? (int64_t)ops : FLUSH_LOT;
    }
    if (state->pending <= state->pending_low) {
        state->debt = 0;
        return 0;
    }
    state->debt += (int64_t)ops;
    return state->debt >= FLUSH_LOT ? state->debt : 0;
}

/* Without the series that turn out to be stuck: one bad page shall not stop the others. */
static enum status transaction_run(struct sqlite_state *state, struct write_group *group,
                                   uint64_t seq, struct error *error)
{
    for (;;) {
        if (sqlite_begin(state, error) == STATUS_OK &&
            sqlite_flush_write(state, error) == STATUS_OK &&
            tables_write(state, group, error) == STATUS_OK &&
            journal_write(state, seq, error) == STATUS_OK) {
            return sqlite_end(state, error);
        }
        sqlite_rollback(state);
        if (!sqlite_flush_leave_out(state, error)) {
            return error->status;
        }
        *error = (struct error){0};
    }
}

/* What waits has a bound, that of stuck series too. What frees goes on. */
static enum status stuck_check(const struct sqlite_state *state, const struct write_group *group,
                               struct error *error)
{
    size_t waiting = 0;
    if (state->stuck == 0 || state->pending <= 2 * state->pending_high) {
        return STATUS_OK;
    }
    for (const struct sqlite_series *series = state->dirty_head; series != NULL;
         series = series->dirty_next) {
        waiting += series->stuck ? (size_t)series->tail.fresh + series->tail.late_count : 0;
    }
    bool adds = false;
    for (size_t b = 0; b < group->count; b++) {
        adds = adds || group->batches[b]->op_count > 0;
    }
    return !adds || waiting <= 2 * state->pending_high
               ? STATUS_OK
               : error_set(error, STATUS_CORRUPT,
                           "%zu points of series on damaged pages wait already", waiting);
}

static enum status sqlite_commit(struct storage *storage, struct write_group *group,
                                 struct error *error)
{
    struct sqlite_state *state = storage->state;
    if (sqlite_usable(state, error) != STATUS_OK || stuck_check(state, group, error) != STATUS_OK) {
        return error->status;
    }
    sqlite_flush_choose(state, flush_share(state, group->ops));
    uint64_t seq = state->last_seq + 1;
    size_t pending = state->pending;
    if (sqlite_stage(state, group, error) != STATUS_OK ||
        transaction_run(state, group, seq, error) != STATUS_OK) {
        sqlite_flush_undo(state);
        sqlite_unstage(group);
        return error->status;
    }
    sqlite_flush_done(state);
    state->debt -= (int64_t)(pending - state->pending);
    if (!journal_is_empty(&state->journal)) {
        state->last_seq = seq;
    }
    sqlite_apply(state, group, seq);
    state->journal_entries += group->ops;
    lock_acquire(&storage->lock);
    /* What fitted into the room of the reserve says nothing about the disk. */
    storage->counters.full = storage->counters.full && storage->options.reserve_bytes > 0;
    storage->counters.writable = !storage->counters.full;
    storage->counters.journal_points = state->pending;
    lock_release(&storage->lock);
    group_publish(storage, group);
    sqlite_evict(state);
    return STATUS_OK;
}

/* ---------------------------------------------------------------- files */

static char *path_join(const char *directory, const char *name)
{
    char path[PATH_BYTES];
    int length = snprintf(path, sizeof path, "%s/%s", directory, name);
    return length < 0 || (size_t)length >= sizeof path ? NULL : mem_copy_text(path, (size_t)length);
}

/* After a power cut a file is there only if its folder was synced. Some file systems cannot do that
 * (EINVAL, and folders that may not be read): they are trusted; a disk that fails is not. Want of
 * room concerns a new store alone: an old one was synced when there was some. `code` is an errno or
 * 0. */
static enum status check_folder_sync(int code, bool fresh, const char *folder, struct error *error)
{
    if (code == EIO || (fresh && (code == ENOSPC || code == EDQUOT))) {
        return error_set(error, code == EIO ? STATUS_IO : STATUS_NO_SPACE,
                         "could not sync the folder of \"%.200s\": %s", folder, strerror(code));
    }
    return STATUS_OK;
}

/* The store's own folder is for its owner alone, whoever makes it: serve, import or restore. */
static enum status make_folder(const char *path, mode_t mode, bool fresh, struct error *error)
{
    if (file_system()->make_folder(path, mode) != 0 && errno != EEXIST) {
        return error_set(error, errno == ENOSPC ? STATUS_NO_SPACE : STATUS_IO,
                         "could not make directory \"%.200s\": %s", path, strerror(errno));
    }
    /* Of a new store also where the folder is there: it may be since a start that failed here. */
    return fresh ? check_folder_sync(file_sync_parent(path), fresh, path, error) : STATUS_OK;
}

static bool has_database(const char *directory)
{
    char *path = path_join(directory, "forecastd.db");
    bool there = path != NULL && file_system()->size(path) >= 0;
    mem_free(path);
    return there;
}

enum status sqlite_directory_make(const char *directory, struct error *error)
{
    char path[PATH_BYTES];
    size_t length = strlen(directory);
    if (length == 0 || length >= sizeof path - 32) {
        return error_set(error, STATUS_INVALID, "cannot use \"%.100s\" as a directory", directory);
    }
    bool fresh = !has_database(directory);
    memcpy(path, directory, length + 1);
    enum status status = STATUS_OK;
    for (size_t i = 1; i <= length && status == STATUS_OK; i++) {
        if ((path[i] == '/' || path[i] == '\0') && path[i - 1] != '/') {
            char kept = path[i];
            path[i] = '\0';
            status = make_folder(path, kept == '\0' ? 0700 : 0750, fresh, error);
            path[i] = kept;
        }
    }
    return status;
}

enum status sqlite_directory_lock(const char *directory, int *lock_fd, struct error *error)
{
    char *path = path_join(directory, "forecastd.lock");
    if (path == NULL) {
        return error_set(error, STATUS_NO_MEMORY, "could not allocate a path");
    }
    *lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0640);
    mem_free(path);
    if (*lock_fd < 0) {
        return error_set(error, STATUS_IO, "could not open the lock in \"%.200s\": %s", directory,
                         strerror(errno));
    }
    if (flock(*lock_fd, LOCK_EX | LOCK_NB) != 0) {
        error_set(error, STATUS_CONFLICT, "cannot open \"%.200s\": another process has it open",
                  directory);
        error_code(error, "store_in_use", "storage.path");
        return error_hint(error, "Stop the other forecastd, or use another directory.");
    }
    return STATUS_OK;
}

/* ---------------------------------------------------------------- open, close, recover */

static int wal_committed(void *context, struct sqlite3 *db, const char *name, int pages)
{
    (void)db, (void)name;
    ((struct sqlite_state *)context)->wal_pages = pages;
    return SQLITE_OK;
}

static void library_settings(void)
{
    /* No global mutex around every allocation; harmless where SQLite is in use already. */
    (void)sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0);
}

static enum status connection_open(struct sqlite_state *state, struct error *error)
{
    const struct storage_options *options = &state->storage->options;
    enum connection kind = options->read_only ? CONNECTION_READS
                           : options->relaxed ? CONNECTION_WRITES_RELAXED
                                              : CONNECTION_WRITES;
    if (sqlite_connect(state->file, kind, &state->db, error) != STATUS_OK) {
        return error->status;
    }
    sqlite3_wal_hook(state->db, wal_committed, state);
    state->wal_pages = 0;
    state->log_bytes = 0;
    return sqlite_prepare_all(state, error);
}

static void entries_release(struct series_directory *directory)
{
    struct series_entry *entry = NULL;
    for (uint32_t id = 0; (entry = series_directory_next(directory, id)) != NULL;) {
        id = entry->id;
        series_directory_remove(directory, id);
        tail_release(&sqlite_series_of(entry)->tail);
        series_entry_free(entry);
    }
    series_directory_release(directory);
}

/* As before anything was loaded. */
static void memory_forget(struct sqlite_state *state)
{
    struct storage *storage = state->storage;
    entries_release(&storage->directory);
    text_table_release(&storage->names);
    storage->directory = (struct series_directory){0};
    storage->counters.points = storage->counters.chunks = 0;
    storage->counters.tail_bytes = storage->counters.index_bytes = 0;
    state->dirty_head = state->dirty_last = state->loose = NULL;
    state->pending = state->stuck = 0;
    state->cached_series = 0;
}

/* Everything anew: also after an attempt that failed half way. */
static enum status connection_load(struct sqlite_state *state, struct error *error)
{
    sqlite_disconnect(state);
    memory_forget(state);
    bool read_only = state->storage->options.read_only;
    if ((!read_only && sqlite_create(state->file, error) != STATUS_OK) ||
        connection_open(state, error) != STATUS_OK) {
        return error->status;
    }
    return sqlite_load(state, error);
}

static void state_free(struct sqlite_state *state)
{
    sqlite_disconnect(state);
    if (state->lock_fd >= 0) {
        close(state->lock_fd);
    }
    journal_writer_release(&state->journal);
    mem_free(state->directory);
    mem_free(state->file);
    mem_free(state->flushes);
    mem_free(state->merged);
    mem_free(state->decoded);
    mem_free(state->blob);
    mem_free(state->cached);
    mem_free(state->damaged_rows);
    mem_free(state);
}

static enum status scratch_make(struct sqlite_state *state, struct error *error)
{
    state->decoded = mem_array(CHUNK_POINTS_MAX, sizeof *state->decoded);
    state->cached = mem_array(CHUNK_POINTS_MAX, sizeof *state->cached);
    state->blob = mem_alloc(CHUNK_BYTES_MAX);
    bool good = state->directory != NULL && state->file != NULL && state->decoded != NULL &&
                state->cached != NULL && state->blob != NULL;
    return good ? STATUS_OK : error_set(error, STATUS_NO_MEMORY, "could not allocate the store");
}

static enum status sqlite_open_store(struct storage *storage, const char *path, struct error *error)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, library_settings);
    struct sqlite_state *state = mem_zeroed(1, sizeof *state);
    if (state == NULL) {
        return error_set(error, STATUS_NO_MEMORY, "could not allocate the store");
    }
    storage->state = state;
    state->storage = storage;
    state->lock_fd = -1;
    state->downsample_cut_ms = INT64_MAX; /* not known yet: every write behind may matter */
    size_t points = storage->options.tail_bytes_max / sizeof(struct point);
    state->pending_low = points / 4;
    state->pending_high = points / 2;
    state->evict_above = storage->options.tail_bytes_max;
    state->journal_high = 2 * (uint64_t)state->pending_high;
    state->directory = mem_copy_text(path, strlen(path));
    state->file = path_join(path, "forecastd.db");
    bool read_only = storage->options.read_only;
    if (scratch_make(state, error) != STATUS_OK) {
        goto failed;
    }
    if (read_only && file_system()->size(state->file) < 0 &&
        (errno == ENOENT || errno == ENOTDIR)) {
        error_set(error, STATUS_NOT_FOUND, "there is no store in \"%.200s\"", path);
        goto failed;
    }
    bool fresh = !read_only && !has_database(path);
    if (!read_only && (sqlite_directory_make(path, error) != STATUS_OK ||
                       sqlite_directory_lock(path, &state->lock_fd, error) != STATUS_OK)) {
        goto failed;
    }
    if (!read_only) {
        sqlite_reserve_open(state);
    }
    bool good = connection_load(state, error) == STATUS_OK;
    if (!good && error->status == STATUS_NO_SPACE && !read_only && sqlite_reserve_spend(state)) {
        good = connection_load(state, error) == STATUS_OK;
    }
    if (!good) {
        error_wrap(error, "cannot open the store in \"%.150s\"", path);
        goto failed;
    }
    int code = !read_only && file_system()->sync_folder(path) != 0 ? errno : 0;
    if (check_folder_sync(code, fresh, state->file, error) != STATUS_OK) {
        error_wrap(error, "cannot open the store in \"%.150s\"", path);
        goto failed;
    }
    storage->counters.journal_points = state->pending;
    return STATUS_OK;
failed:
    state_free(state);
    storage->state = NULL;
    return error->status;
}

static void sqlite_close_store(struct storage *storage)
{
    state_free(storage->state);
}

/* Reads the memory anew and puts it in the place of the old one; ids stay what they were. Readers
 * see the old memory until then; where it fails they keep it. */
static enum status memory_reload(struct sqlite_state *state, struct error *error)
{
    struct storage *storage = state->storage;
    struct storage *anew = mem_zeroed(1, sizeof *anew);
    if (anew == NULL) {
        return error_set(error, STATUS_NO_MEMORY, "could not allocate the store");
    }
    anew->driver = storage->driver;
    anew->options = storage->options;
    lock_init(&anew->lock);
    state->dirty_head = state->dirty_last = NULL;
    state->pending = state->stuck = 0;
    state->cached_series = 0;
    state->storage = anew;
    enum status status = sqlite_load(state, error);
    state->storage = storage;
    if (status == STATUS_OK) {
        lock_acquire(&storage->names_lock);
        struct text_table names = storage->names;
        storage->names = anew->names;
        lock_release(&storage->names_lock);
        anew->names = names;

        lock_acquire(&storage->lock);
        struct series_directory directory = storage->directory;
        storage->directory = anew->directory;
        storage->series_changes++;
        storage->counters.points = anew->counters.points;
        storage->counters.chunks = anew->counters.chunks;
        storage->counters.tail_bytes = anew->counters.tail_bytes;
        storage->counters.index_bytes = anew->counters.index_bytes;
        storage->counters.damaged += anew->counters.damaged;
        storage->counters.stuck = 0;
        lock_release(&storage->lock);
        anew->directory = directory;
    } else {
        state->dirty_head = state->dirty_last = NULL; /* they are freed below */
        state->pending = 0;
    }
    entries_release(&anew->directory);
    text_table_release(&anew->names);
    lock_release_memory(&anew->lock);
    mem_free(anew);
    return status;
}

static enum status sqlite_recover(struct storage *storage, struct error *error)
{
    struct sqlite_state *state = storage->state;
    if (state->io_failed) {
        sqlite_disconnect(state);
        if (connection_open(state, error) != STATUS_OK ||
            memory_reload(state, error) != STATUS_OK) {
            return error->status;
        }
        state->io_failed = false;
    }
    if (storage->counters.full && storage->options.reserve_bytes > 0) {
        return sqlite_reserve_recover(state, error);
    }
    /* Does writing work? A transaction that really reaches the disk. */
    sqlite3_bind_text(state->statements[SQL_RECORD_PUT], 1, "probe", -1, SQLITE_STATIC);
    sqlite3_bind_text(state->statements[SQL_RECORD_PUT], 2, "write", -1, SQLITE_STATIC);
    sqlite3_bind_text(state->statements[SQL_RECORD_PUT], 3, "{}", -1, SQLITE_STATIC);
    if (sqlite_run(state, SQL_RECORD_PUT, "write to the store", error) != STATUS_OK) {
        return error->status;
    }
    lock_acquire(&storage->lock);
    storage->counters.writable = true;
    storage->counters.full = false;
    storage->counters.journal_points = state->pending;
    lock_release(&storage->lock);
    return STATUS_OK;
}

/* ---------------------------------------------------------------- the rest of the table */

static void entry_init(struct series_entry *entry)
{
    tail_init(&sqlite_series_of(entry)->tail);
}

static void entry_release(struct series_entry *entry)
{
    tail_release(&sqlite_series_of(entry)->tail);
}

static void sqlite_stats(struct storage *storage, struct storage_stats *stats)
{
    const struct sqlite_state *state = storage->state;
    struct stat about;
    char path[PATH_BYTES];
    if (stat(state->file, &about) == 0) {
        stats->bytes_on_disk = (uint64_t)about.st_size;
    }
    int length = snprintf(path, sizeof path, "%s-wal", state->file);
    if (length > 0 && (size_t)length < sizeof path && stat(path, &about) == 0) {
        stats->wal_bytes = (uint64_t)about.st_size;
        stats->bytes_on_disk += stats->wal_bytes;
    }
}

const struct storage_driver sqlite_driver = {
    .version = DRIVER_VERSION,
    .scheme = "sqlite",
    .entry_bytes = sizeof(struct sqlite_series),
    .open = sqlite_open_store,
    .close = sqlite_close_store,
    .entry_init = entry_init,
    .entry_release = entry_release,
    .commit = sqlite_commit,
    .compact = sqlite_compact,
    .retain = sqlite_retain,
    .recover = sqlite_recover,
    .reader_open = sqlite_reader_open,
    .reader_close = sqlite_reader_close,
    .read = sqlite_read,
    .read_last = sqlite_read_last,
    .records = sqlite_records,
    .tail = sqlite_tail,
    .stats = sqlite_stats,
    .check = sqlite_check,
    .vintages = sqlite_vintages,
    .downsample = sqlite_downsample,
};
