/* Inside of the SQLite driver, shared by the sqlite*.c files; private to them.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Threads: struct sqlite_state belongs to the writer thread, but for what is said to be guarded by
 * storage->lock. Readers have connections of their own and see this struct only for the path.
 */
#ifndef STORAGE_SQLITE_STORE_H
#define STORAGE_SQLITE_STORE_H

#include "storage/batch.h"
#include "storage/chunk.h"
#include "storage/journal.h"
#include "storage/store.h"
#include "storage/tail.h"

struct sqlite3;
struct sqlite3_stmt;

/* Four chunk rows to a page of 4,096 bytes, with nothing left over: 4,088 / 4 less 24 of cell,
 * record header, series and first time. Measured with dbstat (99 % full). */
#define CHUNK_TARGET_BYTES 990

/* Series that readers had to fetch from disk, noted until the writer comes by. */
enum { SQLITE_WANTED_MAX = 64 };

/* Damaged chunks that somebody met, noted likewise. */
enum { SQLITE_SUSPECTS_MAX = 64 };

/* How long a statement waits for another connection. */
enum { SQLITE_BUSY_TIMEOUT_MS = 5000 };

/* Statements of the writing connection; sqlite_schema.c has the text of each, in this order. */
enum sqlite_statement {
    SQL_BEGIN,
    SQL_SNAPSHOT,
    SQL_COMMIT,
    SQL_ROLLBACK,
    SQL_JOURNAL_ADD,
    SQL_JOURNAL_TRIM,
    SQL_JOURNAL_READ,
    SQL_SERIES_ADD,
    SQL_SERIES_SETTINGS,
    SQL_SERIES_DELETE,
    SQL_SERIES_READ,
    SQL_SERIES_LAST_ID,
    SQL_RECORD_PUT,
    SQL_AGED_PUT,
    SQL_AGED_READ,
    SQL_RECORD_DELETE,
    SQL_VINTAGE_PUT,
    SQL_VINTAGES_DELETE,
    SQL_VINTAGES_EXPIRE,
    SQL_DOWNSAMPLED_READ,
    SQL_DOWNSAMPLED_PUT,
    SQL_DOWNSAMPLED_REOPEN,
    SQL_DOWNSAMPLED_DELETE,
    SQL_EXCLUDED_READ,
    SQL_EXCLUDED_ADD,
    SQL_EXCLUDED_DELETE,
    SQL_OPEN_READ,
    SQL_OPEN_PUT,
    SQL_OPEN_UPDATE,
    SQL_OPEN_DELETE,
    SQL_STATES_READ,
    SQL_CHUNK_ADD,
    SQL_CHUNK_UPDATE,
    SQL_CHUNK_DELETE,
    SQL_CHUNK_COUNT,
    SQL_CHUNK_AT,
    SQL_CHUNK_AFTER,
    SQL_CHUNKS_DOWN,
    SQL_CHUNKS_UP,
    SQL_CHUNKS_BETWEEN,
    SQL_CHUNKS_DELETE,
    SQL_TRASH_ADD,
    SQL_TRASH_NEXT,
    SQL_TRASH_EMPTY,
    SQL_TRASH_DONE,
    SQL_DAMAGED_ADD,
    SQL_DAMAGED_ROW_ADD,
    SQL_JOURNAL_DELETE,
    SQL_FREE_PAGES,
    SQL_VACUUM_LOT,
    SQL_VACUUM_SOME,
    SQL_STATEMENTS
};

struct sqlite_series {
    struct series_entry entry;
    struct tail tail;
    struct sqlite_series *dirty_next, *dirty_before; /* queue of series that wait for compaction */
    uint64_t flushed_seq; /* journal rows up to this one hold nothing that chunks and state lack */
    uint64_t dirty_seq;   /* the journal row that first changed it since; 0 = clean */
    uint64_t dirty_at;    /* journal_entries before that row */
    uint32_t incoming, incoming_late; /* of the group being committed */
    bool flushing;                    /* part of this transaction */
    bool stuck;                       /* it cannot be flushed: a page that it needs is damaged */
    bool used; /* guarded by lock: read or written since the evictor came by */
};

/* A series whose points are in chunks once the transaction commits. */
struct sqlite_flush {
    struct sqlite_series *series;
    int64_t chunk_last_ms;
    int64_t first_ms;  /* of the series, where retention dropped something */
    int64_t cutoff_ms; /* points before it were dropped; INT64_MIN: none */
    uint64_t lost;     /* points dropped, or lost in damaged chunks */
    bool suspected;    /* the chunk at suspect_ms was seen damaged */
    int64_t suspect_ms;
};

/* A chunk that could not be decoded: to be looked at by the writer, which sets it aside. */
struct sqlite_suspect {
    uint32_t series;
    int64_t first_ms;
};

struct sqlite_state {
    struct storage *storage;
    char *directory;
    char *file;
    int lock_fd;
    struct sqlite3 *db;
    struct sqlite3_stmt *statements[SQL_STATEMENTS];

    struct journal_writer journal;
    uint64_t last_seq;           /* of the newest committed journal row */
    uint64_t trimmed_seq;        /* rows up to this one are gone */
    struct sqlite_series *loose; /* written to, and not settled yet */
    uint64_t journal_entries;    /* ever written or replayed by this process */
    uint64_t journal_high; /* so many entries may wait in the journal, overwrites among them */

    struct sqlite_series *dirty_head, *dirty_last; /* by rising dirty_seq */
    size_t pending;                                /* points in memory that no chunk has */
    size_t pending_low, pending_high;
    int64_t debt; /* points to flush for those that came in above pending_low */

    struct sqlite_flush *flushes;
    size_t flush_count, flush_capacity;
    size_t flush_at;      /* of them, the one that is being written */
    size_t left_out;      /* series that became stuck in this transaction */
    size_t stuck;         /* series */
    int64_t unstick_ns;   /* when they are tried again */
    int64_t chunks_added; /* in this transaction */
    uint64_t set_aside;   /* chunks, in this transaction */
    size_t
        carried; /* stuck series whose waiting points this transaction writes to the journal anew */
    bool trashing; /* there may be chunks of deleted series */

    struct point *merged; /* scratch of a flush */
    size_t merged_capacity;
    struct point *decoded; /* CHUNK_POINTS_MAX */
    unsigned char *blob;   /* CHUNK_BYTES_MAX */

    struct point *cached; /* one decoded chunk, for asking whether late points exist */
    size_t cached_count;
    uint32_t cached_series; /* 0: none */
    struct error lookup;    /* the first look into a chunk that failed while staging or replaying */

    int wal_pages;          /* in the log */
    int64_t log_bytes;      /* length of its file as far as it is known: sqlite_log.c */
    uint64_t *damaged_rows; /* of the journal, met while it was replayed; owned */
    size_t damaged_row_count;
    bool reserve_there;
    bool io_failed; /* the connection must be replaced before the next commit */
    uint32_t evict_hand, retain_hand, downsample_hand;
    bool downsample_round;     /* one is under way: the series up to downsample_hand are done */
    bool downsample_lots;      /* it is one to the cell (DRIVER_LOT) */
    int64_t downsample_cut_ms; /* of the finest rule in the last round */
    bool downsample_again;     /* points were written behind it since */
    uint32_t
        retain_again; /* the first series that has more to drop than the budget allowed; 0: none */
    size_t drop_budget; /* chunks that retention may still delete in this transaction */
    size_t evict_above; /* bytes of tails; more than the limit where nothing could be given back */
    uint32_t wanted[SQLITE_WANTED_MAX]; /* guarded by lock: read from disk lately, worth a window */
    size_t wanted_count;                /* guarded by lock */
    struct sqlite_suspect suspects[SQLITE_SUSPECTS_MAX]; /* guarded by lock */
    size_t suspect_count;                                /* guarded by lock */
    int64_t truncate_after_ns, relief_after_ns;
};

static inline struct sqlite_series *sqlite_series_of(struct series_entry *entry)
{
    return (struct sqlite_series *)entry;
}

/* ---- sqlite_create.c */

/* Makes the file of a store where there is none yet, or an empty one. The caller syncs its folder.
 */
enum status sqlite_create(const char *file, struct error *error) MUST_USE;
/* A database with what SQLite may have left beside it. */
void sqlite_database_remove(const char *file);

/* ---- sqlite_schema.c: connections */

/* What a connection does; from CONNECTION_WRITES on it also migrates. One that creates syncs
 * nothing. */
enum connection {
    CONNECTION_READS,
    CONNECTION_WRITES,
    CONNECTION_WRITES_RELAXED,
    CONNECTION_CREATES
};

/* Opens the file with all settings of this store. Only CONNECTION_CREATES makes one: a file that is
 * gone while the store is in use (a file system was unmounted) must not come back as an empty one.
 */
enum status sqlite_connect(const char *file, enum connection kind, struct sqlite3 **out,
                           struct error *error) MUST_USE;
enum status sqlite_prepare_all(struct sqlite_state *state, struct error *error) MUST_USE;
void sqlite_disconnect(struct sqlite_state *state);
/* Status of a result code, with SQLite's message; clears counters.writable where it must. */
enum status sqlite_failed(struct sqlite_state *state, int code, const char *doing,
                          struct error *error);
enum status sqlite_status(struct sqlite3 *db, int code, const char *doing, struct error *error);
/* Binds nothing: steps a statement to its end, resets it. */
enum status sqlite_run(struct sqlite_state *state, enum sqlite_statement which, const char *doing,
                       struct error *error) MUST_USE;
enum status sqlite_begin(struct sqlite_state *state, struct error *error) MUST_USE;
/* STATUS_IO between an I/O error and a `recover` that worked: the connection may be closed, and the
 * memory half read. */
enum status sqlite_usable(const struct sqlite_state *state, struct error *error) MUST_USE;
/* Rolls back where it fails. */
enum status sqlite_end(struct sqlite_state *state, struct error *error) MUST_USE;
void sqlite_rollback(struct sqlite_state *state);

/* ---- sqlite.c: the folder */

enum status sqlite_directory_make(const char *directory, struct error *error) MUST_USE;
/* An exclusive lock against a second daemon, held until the descriptor is closed. */
enum status sqlite_directory_lock(const char *directory, int *lock_fd,
                                  struct error *error) MUST_USE;

/* ---- sqlite_apply.c: what a group means in memory */

/* Fills the journal record, finds which old points exist, makes room for everything. */
enum status sqlite_stage(struct sqlite_state *state, struct write_group *group,
                         struct error *error) MUST_USE;
void sqlite_unstage(struct write_group *group);
/* After the commit: never fails. */
void sqlite_apply(struct sqlite_state *state, struct write_group *group, uint64_t seq);
void sqlite_mark_dirty(struct sqlite_state *state, struct sqlite_series *series, uint64_t seq);
void sqlite_mark_clean(struct sqlite_state *state, struct sqlite_series *series);
/* Settles what was written last, unless it is `next`, which is going to be written. */
void sqlite_settle(struct sqlite_state *state, struct sqlite_series *next);
/* Fills the window of a series from its newest chunks, up to the limits; failure leaves it as it
 * was. */
void sqlite_warm(struct sqlite_state *state, struct sqlite_series *series);
/* Drops old points of series that nobody used lately until the tails fit their limit again. */
void sqlite_evict(struct sqlite_state *state);
/* True where a chunk, or the late list, has a point at that time. Where the file could not be read
 * the answer means nothing and state->lookup says why. */
bool sqlite_has_behind(struct sqlite_state *state, struct sqlite_series *series, int64_t time_ms);

/* ---- sqlite_load.c */

/* Fills directory, names, counters and tails from the file, the journal replayed. */
enum status sqlite_load(struct sqlite_state *state, struct error *error) MUST_USE;

/* ---- sqlite_compact.c */

/* Chooses series from the head of the queue for about `points` points and marks them. */
void sqlite_flush_choose(struct sqlite_state *state, int64_t points);
/* Writes the chunks and states of the chosen series, and trims the journal; within a transaction.
 */
enum status sqlite_flush_write(struct sqlite_state *state, struct error *error) MUST_USE;
/* After the commit, or instead of it. */
void sqlite_flush_done(struct sqlite_state *state);
void sqlite_flush_undo(struct sqlite_state *state);
/* After a rollback: where the flush failed at a damaged page of one series, takes that one out of
 * the transaction and marks it; true where what is left may be tried again. Its points stay in
 * memory and journal. Where many fail, none is flushed. */
bool sqlite_flush_leave_out(struct sqlite_state *state, const struct error *error);
/* The first that waits for compaction and is not stuck. */
struct sqlite_series *sqlite_flush_first(const struct sqlite_state *state);
/* It is gone, or to be tried again. */
void sqlite_unstick(struct sqlite_state *state, struct sqlite_series *series);
/* A chunk could not be decoded: the writer sets it aside when it comes by. Any thread, no lock
 * held. */
void sqlite_suspect(struct storage *storage, uint32_t series, int64_t first_ms);
enum status sqlite_compact(struct storage *storage, enum driver_effort effort, bool *more,
                           struct error *error);
enum status sqlite_retain(struct storage *storage, int64_t now_ms, bool *more, struct error *error);

/* A slice of the chunks of deleted series; state->trashing says whether there are more. */
enum status sqlite_trash_slice(struct sqlite_state *state, struct error *error) MUST_USE;

/* ---- sqlite_log.c: the write-ahead log */

/* Everything in the log goes into the database, and the log is cut back. */
enum status sqlite_checkpoint(struct sqlite_state *state, struct error *error) MUST_USE;
/* The same for a log that has become long, as far as readers allow it. */
enum status sqlite_checkpoint_due(struct sqlite_state *state, struct error *error) MUST_USE;
/* Room behind the log's end for the next commits. Where there is none they go on without. */
void sqlite_log_lay_out(struct sqlite_state *state);

/* ---- sqlite_reserve.c: room for a full disk */

/* At start, with the folder locked: where there is no room for it the store begins full. */
void sqlite_reserve_open(struct sqlite_state *state);
/* STATUS_OK where it is there or none is wanted; STATUS_NO_SPACE. */
enum status sqlite_reserve_make(struct sqlite_state *state, struct error *error) MUST_USE;
/* Gives it up; false where there was none. */
bool sqlite_reserve_spend(struct sqlite_state *state);
/* On a full disk: frees what can be freed; STATUS_OK where there is room again. */
enum status sqlite_reserve_recover(struct sqlite_state *state, struct error *error) MUST_USE;

/* ---- sqlite_flush.c: one series */

/* Merges everything that waits in memory into the series' chunks; points before `cutoff_ms` go. */
enum status sqlite_flush_series(struct sqlite_state *state, struct sqlite_series *series,
                                int64_t cutoff_ms, struct sqlite_flush *flush,
                                struct error *error) MUST_USE;

/* Room in state->merged for so many points. */
enum status sqlite_merged_reserve(struct sqlite_state *state, size_t need,
                                  struct error *error) MUST_USE;
/* The first `count` points of state->merged become full chunks of the series. */
enum status sqlite_chunks_add(struct sqlite_state *state, struct sqlite_series *series,
                              size_t count, struct error *error) MUST_USE;
/* The same, but the last of them become its open chunk, with these statistics. */
enum status sqlite_open_replace(struct sqlite_state *state, struct sqlite_series *series,
                                const struct series_entry *after, size_t count,
                                struct error *error) MUST_USE;
/* Statistics alone; nothing of the series may wait in the journal. */
enum status sqlite_state_rewrite(struct sqlite_state *state, struct sqlite_series *series,
                                 const struct series_entry *after, struct error *error) MUST_USE;

/* ---- sqlite_downsample.c */

enum status sqlite_downsample(struct storage *storage, int64_t now_ms, enum driver_effort effort,
                              bool *more, struct error *error);
/* What the series has waiting may lie where downsampling is done: then it is not. */
enum status sqlite_downsample_reopen(struct sqlite_state *state, const struct sqlite_series *series,
                                     struct error *error) MUST_USE;

/* State of a series beside its open chunk: statistics as of flushed_seq. */
enum { SQLITE_STATE_BYTES_MAX = 4 + 1 + 8 * VARINT_MAX + 1 + 8 };
size_t sqlite_state_put(const struct series_entry *entry, uint64_t flushed_seq, unsigned char *out);
bool sqlite_state_next(struct sqlite_series *series, const unsigned char *bytes, size_t length);

/* ---- sqlite_read.c, sqlite_check.c */

enum status sqlite_reader_open(struct storage *storage, void **out, struct error *error);
void sqlite_reader_close(void *reader);
enum status sqlite_read(void *reader, uint32_t id, int64_t start_ms, int64_t end_ms,
                        struct point *out, size_t maximum, size_t *count, struct error *error);
enum status sqlite_read_last(void *reader, uint32_t id, struct point *out, size_t maximum,
                             size_t *count, struct error *error);
enum status sqlite_records(void *reader, const char *kind, storage_record_visit visit,
                           void *context, struct error *error);
enum status sqlite_vintages(void *reader, uint32_t id, int64_t start_ms, int64_t end_ms,
                            storage_vintage_visit visit, void *context, struct error *error);
/* Over the bytes and whose they are, so that a row that strayed is found too. */
uint32_t sqlite_vintage_crc(int64_t series, int64_t issued_ms, const void *bytes, size_t length);
size_t sqlite_tail(struct series_entry *entry, struct point *out, size_t maximum, bool *complete);
enum status sqlite_check(struct storage *storage, storage_report report, void *context,
                         struct error *error);
/* The same of an open connection. */
struct check_options {
    int64_t retention_ms; /* of the store; 0 = for ever */
    bool copy;            /* of a store in use: what was set aside there is no fault of the copy */
};
enum status sqlite_check_database(struct sqlite3 *db, const struct check_options *options,
                                  storage_report report, void *context,
                                  struct error *error) MUST_USE;

#endif
