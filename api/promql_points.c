/* A window that slides over the points of one series.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "api/promql_points.h"

#include "base/memory.h"

#include <math.h>
#include <string.h>

#define PIECE 4096

void promql_points_open(struct promql_points *points, struct storage_reader *reader, uint32_t id,
                        int64_t last_end_ms)
{
    points->reader = reader;
    points->id = id;
    points->last_end_ms = last_end_ms;
    points->next_ms = INT64_MIN;
    points->first = points->count = points->behind = 0;
}

void promql_points_fixed(struct promql_points *points, size_t count)
{
    points->reader = NULL;
    points->first = points->behind = 0;
    points->count = count;
}

/* Before anything is computed of it. */
static enum status check_window(size_t count, struct error *error)
{
    if (count > PROMQL_WINDOW_MAX) {
        error_set(error, STATUS_TOO_LARGE, "one window of the query has more than %zu points",
                  PROMQL_WINDOW_MAX);
        return error_code(error, "promql_limit", NULL);
    }
    return STATUS_OK;
}

enum status promql_points_room(struct promql_points *points, size_t count, struct error *error)
{
    if (count > points->capacity) {
        size_t capacity = count + count / 2;
        struct point *bigger = mem_resize(points->buffer, capacity, sizeof(*bigger));
        if (!bigger) {
            return error_set(error, STATUS_NO_MEMORY, "no memory for points");
        }
        points->buffer = bigger;
        points->capacity = capacity;
    }
    return STATUS_OK;
}

void promql_points_release(struct promql_points *points)
{
    mem_free(points->buffer);
    points->buffer = NULL;
    points->capacity = points->count = 0;
}

/* Moves what is still of use to the front, so that the buffer stays as large as a window. */
static void make_front(struct promql_points *points)
{
    if (points->first > 0) {
        size_t left = points->count - points->first;
        memmove(points->buffer, points->buffer + points->first, left * sizeof(struct point));
        points->count = left;
        points->behind -= points->first;
        points->first = 0;
    }
}

/* One piece more, up to `until`; *done where there is nothing more before it. */
static enum status read_piece(struct promql_points *points, int64_t until_ms, bool *done,
                              struct error *error)
{
    size_t found = 0;
    make_front(points);
    /* More is read for the window alone: all that is here lies in it. */
    if (check_window(points->count, error) != STATUS_OK ||
        promql_points_room(points, points->count + PIECE, error) != STATUS_OK) {
        return error->status;
    }
    struct point *piece = points->buffer + points->count;
    if (storage_read(points->reader, points->id, points->next_ms, until_ms + 1, piece, PIECE,
                     &found, error) != STATUS_OK) {
        return error->status;
    }
    *done = found < PIECE;
    points->next_ms = *done ? until_ms + 1 : piece[found - 1].time_ms + 1;
    for (size_t i = 0; i < found; i++) {
        if (!isnan(piece[i].value)) {
            points->buffer[points->count++] = piece[i];
        }
    }
    return promql_work(points->budget, found + 64, error);
}

static void drop_before(struct promql_points *points, int64_t start_ms)
{
    while (points->first < points->count && points->buffer[points->first].time_ms <= start_ms) {
        points->first++;
    }
    points->behind = points->behind > points->first ? points->behind : points->first;
}

enum status promql_points_slide(struct promql_points *points, int64_t step_ms,
                                struct promql_window *window, struct error *error)
{
    bool apart = step_ms > window->end_ms - window->start_ms;
    bool done = !points->reader;
    drop_before(points, window->start_ms);
    if (points->first == points->count && points->next_ms <= window->start_ms) {
        points->next_ms = window->start_ms + 1;
    }
    while (!done && points->next_ms <= window->end_ms) {
        int64_t until_ms = apart ? window->end_ms : points->last_end_ms;
        if (read_piece(points, until_ms, &done, error) != STATUS_OK) {
            return error->status;
        }
        drop_before(points, window->start_ms);
    }
    window->points = points->buffer ? points->buffer + points->first : NULL;
    while (points->behind < points->count &&
           points->buffer[points->behind].time_ms <= window->end_ms) {
        points->behind++;
    }
    window->count = points->behind - points->first;
    return check_window(window->count, error) == STATUS_OK ? promql_work(points->budget, 1, error)
                                                           : error->status;
}
