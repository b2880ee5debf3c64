/* The single writing thread: batches of many requests become one transaction, one sync.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A request builds a batch (any thread, no I/O), submits it, and is told after the commit.
 * Everything that is queued when a commit ends goes into the next one (group commit): the more
 * clients, the more requests a sync. Between commits the writer compacts the journal into chunks,
 * checkpoints and applies retention, in slices, on the same connection.
 *
 * Threads: write_batch_* by the thread that owns the batch; writer_submit by any; the callback runs
 * on the writer thread and must return quickly (resume a connection, signal a condition).
 */
#ifndef STORAGE_WRITER_H
#define STORAGE_WRITER_H

#include "storage/storage.h"

struct write_batch;
struct writer;

/* ---------------------------------------------------------------- batch */

/* Room for at most `points_max` points (STATUS_TOO_LARGE beyond). Batches are recycled by the
 * writer: new and free are cheap. */
enum status write_batch_new(struct storage *storage, size_t points_max, struct write_batch **out,
                            struct error *error) MUST_USE;
void write_batch_free(struct write_batch *batch);

/* The batch's own number of a series by canonical text (as series_name_write made it: not checked
 * again). A new series is created with the commit. STATUS_TOO_LARGE with code series_limit where
 * the store is full, STATUS_BUSY where batches on their way may take the last places. Fast: tens of
 * nanoseconds for a known series. */
enum status write_batch_series(struct write_batch *batch, const char *text, size_t length,
                               uint32_t *series, struct error *error) MUST_USE;

/* The same for a caller who remembers series from one batch to the next: *handle is 0 at first,
 * then what an earlier call left there, and stands for the text from then on. A handle that still
 * holds costs neither hash, look-up nor lock; one that does not (some series was deleted since) is
 * replaced. Naming a series both ways in one batch gives two numbers that mean the same. */
enum status write_batch_series_again(struct write_batch *batch, struct slice text, uint64_t *handle,
                                     uint32_t *series, struct error *error) MUST_USE;

/* One point (value NaN = missing). Limits on time are the caller's (ingest.max_future ...).
 * Infinite values and times beyond 2^62 ms are STATUS_INVALID (codes not_finite, bad_time). */
enum status write_batch_point(struct write_batch *batch, uint32_t series, struct point point,
                              struct error *error) MUST_USE;

/* Prometheus's stale marker: the series ends here until a newer point comes. */
enum status write_batch_end(struct write_batch *batch, uint32_t series, int64_t time_ms,
                            struct error *error) MUST_USE;

/* Undo to an earlier state: the points added since `points` (of write_batch_points) are dropped.
 * End markers count as points here, so that the number names a state exactly. A series that only
 * dropped points named is not created. */
size_t write_batch_points(const struct write_batch *batch);
void write_batch_truncate(struct write_batch *batch, size_t points);

/* Other changes, in order with the points, in the same transaction. */
enum status write_batch_settings(struct write_batch *batch, uint32_t id,
                                 const struct series_settings *settings,
                                 struct error *error) MUST_USE;
/* The same for whoever changes a part of them: where they are not `before` any more when the batch
 * is committed, it is refused as a whole with STATUS_CONFLICT, so that nobody undoes what another
 * has set meanwhile. Read them again then. */
enum status write_batch_settings_again(struct write_batch *batch, uint32_t id,
                                       const struct series_settings *before,
                                       const struct series_settings *settings,
                                       struct error *error) MUST_USE;
/* Replaces the spans of a series that are not to be learned from. */
enum status write_batch_excluded(struct write_batch *batch, uint32_t id,
                                 const struct time_spans *spans, struct error *error) MUST_USE;
enum status write_batch_delete(struct write_batch *batch, uint32_t id,
                               struct error *error) MUST_USE;
/* json NULL deletes the record. */
enum status write_batch_record(struct write_batch *batch, const char *kind, const char *key,
                               const char *json, size_t length, struct error *error) MUST_USE;

/* An issued forecast as opaque bytes; replaces the one of the same instant. It is removed once the
 * clock passes `expires_ms`, and with its series. Where the series is deleted before the commit it
 * is left out and the rest of the batch goes on. STATUS_TOO_LARGE beyond VINTAGE_LENGTH_MAX. */
#define VINTAGE_LENGTH_MAX ((size_t)96 << 10)
enum status write_batch_vintage(struct write_batch *batch, uint32_t id, int64_t issued_ms,
                                int64_t expires_ms, const unsigned char *bytes, size_t length,
                                struct error *error) MUST_USE;

/* ---------------------------------------------------------------- writer */

struct write_result {
    struct error error; /* status STATUS_OK: on disk */
    uint64_t accepted;  /* points stored, updates among them */
    uint64_t updated;   /* of these, how many replaced an existing point */
    uint64_t late;      /* new, but behind a newer point; never counted as updated as well */
};
typedef void (*write_done)(void *context, const struct write_result *result);

/* Told after each commit on the writer thread: which series got points (each once). For forecasts.
 */
typedef void (*write_observer)(void *context, const uint32_t *ids, size_t count);

struct writer_options {
    size_t queue_max;       /* 0 = 4,096 batches waiting; beyond that STATUS_BUSY */
    size_t queue_bytes_max; /* 0 = batches of 64 MiB waiting, likewise; one may always wait */
    write_observer observer;
    void *observer_context;
    bool stepped; /* tests: no thread; the caller of writer_step is the writer thread */
};

enum status writer_start(struct storage *storage, const struct writer_options *options,
                         struct writer **out, struct error *error) MUST_USE;

/* Takes the batch. On STATUS_OK `done` will be called exactly once (NULL: nobody waits); on any
 * other status it will not be called and the batch is freed. STATUS_BUSY: try again later. */
enum status writer_submit_take(struct writer *writer, struct write_batch *batch, write_done done,
                               void *context, struct error *error) MUST_USE;

/* Before the queue is full, whoever comes hears at once (STATUS_BUSY) that the disk or the core
 * does not keep up: where more than one group waits, and either what waits takes half of
 * queue_bytes_max or the oldest of it has been waiting for WRITER_WAIT_MAX_MS. writer_write_take is
 * exempt: its callers wait in any case, one batch each. */
#define WRITER_WAIT_MAX_MS 1000

/* Whether a batch would be refused for that: so that nobody reads a body in vain. Any thread. */
bool writer_is_behind(struct writer *writer);

/* The same for what nobody waits for: taken, one batch a group, only when no other batch waits, or
 * after WRITER_BACKGROUND_TURNS groups had precedence. So no request waits behind it, except for
 * the commit under way. At most WRITER_BACKGROUND_MAX wait: STATUS_BUSY beyond. */
#define WRITER_BACKGROUND_MAX   64
#define WRITER_BACKGROUND_TURNS 16
enum status writer_submit_background_take(struct writer *writer, struct write_batch *batch,
                                          write_done done, void *context,
                                          struct error *error) MUST_USE;

/* Submits and blocks until committed. Never on the writer or HTTP thread. */
enum status writer_write_take(struct writer *writer, struct write_batch *batch,
                              struct write_result *result, struct error *error) MUST_USE;

/* Compaction of everything now waiting in the journal, what age does to points (nothing where the
 * wall clock is not believed: hold.h), and a checkpoint; blocks. For import, benches. */
enum status writer_compact(struct writer *writer, struct error *error) MUST_USE;

/* The same as far as it goes until a moment of the monotonic clock, or a few tens of milliseconds
 * later. STATUS_TIMEOUT: the rest waits for the next start, points in the journal among it. Nothing
 * is lost either way. One caller at a time. */
enum status writer_compact_until(struct writer *writer, int64_t until_ns,
                                 struct error *error) MUST_USE;

/* Of a stepped writer: one round of what the thread would do (a group, or probing and maintenance),
 * without waiting; returns whether there is more to do now. writer_write_take and writer_compact
 * step by themselves. One caller at a time. */
bool writer_step(struct writer *writer);

/* Replaces the observer (NULL: none). The one before is not told any more when this returns, so
 * what belongs to it may go. Not from an observer. */
void writer_observe(struct writer *writer, write_observer observer, void *context);

/* Batches waiting now, for metrics and for shedding load. */
size_t writer_queue_length(struct writer *writer);

/* Commits what is queued, checkpoints, ends the thread. */
void writer_stop(struct writer *writer);

#endif
