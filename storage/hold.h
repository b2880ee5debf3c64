/* The hold on what age removes: whether the wall clock may be believed now.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A wall clock that is ahead makes everything look old. So where it was set ahead, or is further
 * ahead at a start than the store knows of, nothing is removed or downsampled for ten minutes:
 * either it is set right meanwhile, or somebody meant it, or the machine was off for so long.
 *
 * What the store knows is the wall clock of its last complete round of retention, which is never
 * one of a hold (storage->aged_ms). Times of points would not do: senders may share the clock.
 *
 * Threads: one, the writer's.
 */
#ifndef STORAGE_HOLD_H
#define STORAGE_HOLD_H

#include "storage/store.h"

/* How old storage->aged_ms may become before a driver writes it anew: a sync an hour. */
#define HOLD_NOTE_MS INT64_C(3600000)

struct hold {
    int64_t offset_ms; /* wall clock less monotonic clock, when last looked at */
    int64_t until_ns;  /* of the monotonic clock */
};

/* Before anything is written to the store: points that an import brings say nothing of the clock.
 */
void hold_start(struct hold *hold, const struct storage *storage);

/* Whether what is old may go now, and by which wall clock: the moment that was judged. To be asked
 * before each slice. */
bool hold_allows(struct hold *hold, int64_t *now_ms) MUST_USE;

#endif
