/* Inside of struct storage, shared by the door, the writer and the drivers; private to storage/.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Two locks, never held together, no I/O and no foreign call under either:
 *     names_lock   the hash from text to entry, and the count of promised new series. Taken for
 * each series of each ingest body, so it is held for a look-up only. lock         what entries hold
 * (statistics, settings, points in memory), the directory by id, the counters of storage_stats.
 * Only the writer thread changes anything, so it reads without a lock. An entry is freed by the
 * writer after it has left both structures; nobody keeps a pointer to an entry without a lock.
 */
#ifndef STORAGE_STORE_H
#define STORAGE_STORE_H

#include "base/lock.h"
#include "storage/batch.h"
#include "storage/driver.h"
#include "storage/series_table.h"

#include <stdatomic.h>

struct storage_counters {
    uint64_t points, journal_points, chunks, damaged, stuck;
    uint64_t commits, commit_points, commit_failures;
    int64_t last_commit_ns;
    size_t tail_bytes, index_bytes;
    uint64_t expired; /* series that left: store_expire */
    bool writable;
    bool full; /* for want of room on the disk; then not writable either */
};

struct storage {
    const struct storage_driver *driver;
    void *state;                    /* the driver's own */
    struct storage_options options; /* presets filled in; url is not kept */

    struct lock names_lock;
    struct text_table names;    /* guarded by names_lock */
    uint64_t promised;          /* guarded by names_lock: new series in batches not yet committed */
    _Atomic uint32_t deletions; /* of series, changed under names_lock: they void all handles */

    struct lock lock;
    storage_counter is_counter;        /* guarded by lock; NULL: nobody is asked */
    void *counter_context;             /* guarded by lock */
    struct series_directory directory; /* guarded by lock, and what its entries hold */
    uint64_t series_changes;           /* guarded by lock: of the directory */
    struct storage_counters counters;  /* guarded by lock */

    /* The wall clock of the last complete round of retention, known to an hour (hold.h); 0: not
     * known. Writer thread only, and the driver's. */
    int64_t aged_ms;

    /* Where the round of store_expire is, and how many left in it. Writer thread only. */
    uint32_t expire_hand;
    size_t expire_count;

    struct batch_pool pool;

    /* Tests: the nth driver call from now on fails (see storage_fault_set). Writer thread only. */
    uint64_t fault_after;
    enum status fault_status;
};

/* Tests only, with no writer running or from a callback of it: the `nth` writing driver call from
 * now on (1 = the next) returns `status` without reaching the driver; 0 switches it off. */
void storage_fault_set(struct storage *storage, uint64_t nth, enum status status);

/* The only callers of the driver's writing functions, with assertions and injected faults. The
 * writer thread alone. */
enum status store_commit(struct storage *storage, struct write_group *group,
                         struct error *error) MUST_USE;
enum status store_compact(struct storage *storage, enum driver_effort effort, bool *more,
                          struct error *error) MUST_USE;
enum status store_retain(struct storage *storage, int64_t now_ms, bool *more,
                         struct error *error) MUST_USE;
/* Behind retention: a slice of the series that it has emptied leave, as if they were deleted, round
 * and round; `more` is false where the round is complete. Such a series has no points, its newest
 * point, end marker and making are older than the store's retention, and nothing was set of it, its
 * own retention and excluded spans among that. The store can be written. */
enum status store_expire(struct storage *storage, int64_t now_ms, bool *more,
                         struct error *error) MUST_USE;
enum status store_downsample(struct storage *storage, int64_t now_ms, enum driver_effort effort,
                             bool *more, struct error *error) MUST_USE;
enum status store_recover(struct storage *storage, struct error *error) MUST_USE;

/* For drivers: how these points of a series are downsampled. The writer thread, without a lock. */
bool store_counter(struct storage *storage, const struct series_entry *entry,
                   const struct point *points, size_t count);

#endif
