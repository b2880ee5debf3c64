/* Inside of the table of live forecasts.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef API_LIVE_INTERNAL_H
#define API_LIVE_INTERNAL_H

#include "api/live.h"
#include "base/lock.h"

#define FACTS_PER_BLOCK 16u
#define FACTS_TIDIED    64 /* blocks looked at in one call */
#define LIVE_BUCKETS    4096u

/* At most 9 MB of forecasts, of which 48 steps take 3 kB. */
#define LIVE_MADE_PLACES 512u

/* Counted: readers copy from it after they have left the lock. Immutable but for the atomics. */
struct live_entry {
    struct live_entry *next; /* in its bucket; guarded by the lock */
    atomic_size_t references;
    uint64_t hash;
    size_t query_length;
    size_t weight; /* bytes in all */
    atomic_int_fast64_t asked_ms;
    struct live_answer answer;
    char query[];
};

struct made_entry; /* live_made.c */

struct live {
    struct lock lock;
    struct live_entry *buckets[LIVE_BUCKETS]; /* guarded by lock, as the next three */
    size_t entries, bytes, series;
    size_t hand; /* of the clock that looks for what may go */
    struct lock facts_lock;
    struct series_facts **blocks; /* guarded by facts_lock, as the next two */
    size_t block_count;
    size_t facts_hand; /* the next block to be tidied */
    struct lock made_lock;
    struct made_entry *made[LIVE_MADE_PLACES]; /* guarded by made_lock */
};

void live_made_free(struct live *live);

#endif
