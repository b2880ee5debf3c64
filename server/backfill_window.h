/* Cutting a span of time into windows that a neighbour answers in one piece each.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The windows follow each other without gap or overlap, each of them a whole number of units (the
 * step of the query). They grow while answers are small and shrink where an answer was too large.
 */
#ifndef SERVER_BACKFILL_WINDOW_H
#define SERVER_BACKFILL_WINDOW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Prometheus refuses a range query of more points a series than this. */
#define WINDOW_POINTS_MAX 11000

struct backfill_windows {
    int64_t start_ms, end_ms; /* whole units since 1970; the end is not included */
    int64_t unit_ms;
    int64_t units, units_max; /* of the next window */
    int64_t at_ms;            /* where it begins */
};

/* `start_ms` is rounded down and `end_ms` up to whole units, so that another run over the same time
 * asks for the same instants. */
void backfill_windows_init(struct backfill_windows *windows, int64_t start_ms, int64_t end_ms,
                           int64_t unit_ms);

/* The window that comes next, [*from_ms, *to_ms); false at the end. It stays the next one until
 * backfill_windows_done. */
bool backfill_windows_next(const struct backfill_windows *windows, int64_t *from_ms,
                           int64_t *to_ms);

/* It is stored: the largest answer had so many bytes. */
void backfill_windows_done(struct backfill_windows *windows, size_t answer_bytes);

/* It was too much: half of it is next. False where it is one unit already. */
bool backfill_windows_shrink(struct backfill_windows *windows);

#endif
