/* The points of one series in memory: the newest window, and late points that wait for compaction.
 * SPDX-License-Identifier: Apache-2.0
 *
 *         chunks on disk                          window (sorted, complete from `from_ms` on)
 *     |----------|---------|------|     |.......old.......|......fresh......|
 *            ^      ^ late (sorted)     ^ from_ms         ^ chunk_last_ms
 *
 * The window holds every stored point at or after `from_ms`. Its last `fresh` points are in no
 * chunk yet (only in the journal); the older ones are copies that may be dropped at any time. A
 * point at or before `chunk_last_ms` that arrives now belongs into a chunk that is already written:
 * it goes to the late list (and into the window too, where that reaches so far back), and
 * compaction merges it.
 *
 * Points that come out of order are gathered behind each list and merged in lots: between
 * tail_write and tail_settle only the writer may look, and sees a list in two sorted parts.
 *
 * Threads: changed by the writer thread under the store's lock, read by others under that lock. The
 * writer may read without it.
 */
#ifndef STORAGE_TAIL_H
#define STORAGE_TAIL_H

#include "base/point.h"
#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct tail {
    struct point *block; /* capacity points; the window is block[begin .. begin + count) */
    struct point *late;
    int64_t from_ms;       /* INT64_MIN: everything the series has is here */
    int64_t chunk_last_ms; /* INT64_MIN: there are no chunks */
    uint32_t begin, count, capacity;
    uint32_t fresh;
    uint32_t late_count, late_capacity;
    uint32_t window_loose, late_loose; /* so many at the end are sorted among themselves only */
};

enum tail_outcome {
    TAIL_APPENDED, /* newer than anything here */
    TAIL_INSERTED, /* behind a newer point, and new here (a chunk may still have it) */
    TAIL_REPLACED, /* the window or the late list had that time */
};

void tail_init(struct tail *tail);
void tail_release(struct tail *tail);

/* Bytes of both blocks. */
size_t tail_bytes(const struct tail *tail);

/* Room for `points` more in the window and `late` more in the list, so that tail_write cannot fail.
 * Old points beyond `window_max` in all are dropped first. STATUS_NO_MEMORY: nothing changed. */
enum status tail_reserve(struct tail *tail, size_t points, size_t late, size_t window_max,
                         struct error *error) MUST_USE;

/* Within the room that tail_reserve made. To be settled before the lock is released. */
enum tail_outcome tail_write(struct tail *tail, struct point point);

/* Merges what is loose. */
void tail_merge(struct tail *tail);

/* Called between any two points of different series: the usual answer is that nothing is loose. */
static inline void tail_settle(struct tail *tail)
{
    if (tail->window_loose > 0 || tail->late_loose > 0) {
        tail_merge(tail);
    }
}

/* Fetches into the cache what tail_write will look at first, the newest point. A macro, because gcc
 * 12 drops calls of functions that only fetch. */
#define tail_prefetch(tail)                                                                        \
    __builtin_prefetch(                                                                            \
        (tail)->block + (tail)->begin + ((tail)->count > 0 ? (tail)->count - 1 : 0), 1)

/* True where the time lies behind what is in memory: only a chunk can tell whether it exists. */
static inline bool tail_is_behind(const struct tail *tail, int64_t time_ms)
{
    return time_ms <= tail->chunk_last_ms && time_ms < tail->from_ms;
}

static inline const struct point *tail_points(const struct tail *tail)
{
    return tail->block == NULL ? NULL : tail->block + tail->begin;
}

/* Index of the first of `count` sorted points at or after a time. */
size_t points_lower_bound(const struct point *points, size_t count, int64_t time_ms);

/* Everything here is in chunks now, the newest at `chunk_last_ms`. */
void tail_flushed(struct tail *tail, int64_t chunk_last_ms);

/* Forgets the old points and keeps the room: what was reserved still fits. */
void tail_drop_old(struct tail *tail);

/* Gives back the memory of an empty late list. */
void tail_trim(struct tail *tail);

/* Gives back old points: keeps the fresh ones and the newest `old` others. */
void tail_shrink(struct tail *tail, size_t old);

/* Points before `from_ms`, read from chunks, put in front: `points` are all that is stored from
 * `first_ms` on. False where there is no memory. */
bool tail_extend(struct tail *tail, const struct point *points, size_t count, int64_t first_ms);

/* Points before a time are not what they were: forgets those that chunks have. */
void tail_forget_before(struct tail *tail, int64_t time_ms);

/* Forgets every point before a time, in both places (retention). */
void tail_drop_before(struct tail *tail, int64_t time_ms);

#endif
