/* Inside of the table of live forecasts.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef API_LIVE_INTERNAL_H
#define API_LIVE_INTERNAL_H

#include "api/live.h"
#include "base/lock.h"

#define FACTS_PER_BLOCK 256u
#define LIVE_BUCKETS    4096u

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

struct live {
    struct lock lock;
    struct live_entry *buckets[LIVE_BUCKETS]; /* guarded by lock, as the next three */
    size_t entries, bytes, series;
    size_t hand; /* of the clock that looks for what may go */
    struct lock facts_lock;
    struct series_facts **blocks; /* guarded by facts_lock */
    size_t block_count;
};

#endif
