/* A window that slides over the points of one series, reading the store piece by piece.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Points known to be missing (NaN) are left out: for a reader they are as good as never sent.
 * Memory is bounded by what lies in one window, at most PROMQL_WINDOW_MAX points.
 */
#ifndef API_PROMQL_POINTS_H
#define API_PROMQL_POINTS_H

#include "api/promql_functions.h"
#include "api/promql_matrix.h"
#include "storage/storage.h"

#define PROMQL_WINDOW_MAX ((size_t)1 << 20)

struct promql_points {
    struct storage_reader *reader; /* NULL: what is in the buffer is all */
    uint32_t id;
    int64_t last_end_ms; /* no window ends later */
    int64_t next_ms;     /* where reading goes on */
    struct point *buffer;
    size_t first, count, capacity; /* the window begins at `first` */
    size_t behind;                 /* and ended before this one */
    struct promql_budget *budget;
};

/* Of a stored series; the buffer is kept from one series to the next. */
void promql_points_open(struct promql_points *points, struct storage_reader *reader, uint32_t id,
                        int64_t last_end_ms);

/* Of points that the caller has put into the buffer. */
enum status promql_points_room(struct promql_points *points, size_t count,
                               struct error *error) MUST_USE;
void promql_points_fixed(struct promql_points *points, size_t count);

/* Those in (start, end]; `start` and `end` never go back between calls. `step` is how far they will
 * go next. promql_limit, promql_timeout, errors of the store. */
enum status promql_points_slide(struct promql_points *points, int64_t step_ms,
                                struct promql_window *window, struct error *error) MUST_USE;

void promql_points_release(struct promql_points *points);

#endif
