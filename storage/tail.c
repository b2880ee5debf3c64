/* Window and late list of one series.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "storage/tail.h"

#include "base/check.h"
#include "base/memory.h"

#include <string.h>

enum {
    WINDOW_MIN = 4,
    LATE_MIN = 4,
    LOOSE_MAX = 1024, /* points out of order that are merged at a time: 16 KiB of stack */
};

size_t points_lower_bound(const struct point *points, size_t count, int64_t time_ms)
{
    size_t low = 0, high = count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (points[middle].time_ms < time_ms) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

void tail_init(struct tail *tail)
{
    *tail = (struct tail){.from_ms = INT64_MIN, .chunk_last_ms = INT64_MIN};
}

void tail_release(struct tail *tail)
{
    mem_free(tail->block);
    mem_free(tail->late);
    tail_init(tail);
}

size_t tail_bytes(const struct tail *tail)
{
    return ((size_t)tail->capacity + tail->late_capacity) * sizeof(struct point);
}

static void drop_oldest(struct tail *tail, uint32_t count)
{
    if (count == 0) {
        return;
    }
    CHECK(count <= tail->count - tail->fresh);
    tail_settle(tail);
    tail->from_ms = tail_points(tail)[count - 1].time_ms + 1;
    tail->begin += count;
    tail->count -= count;
}

static bool block_move(struct tail *tail, size_t capacity)
{
    struct point *block = mem_array(capacity, sizeof *block);
    if (block == NULL) {
        return false;
    }
    if (tail->count > 0) {
        memcpy(block, tail_points(tail), tail->count * sizeof *block);
    }
    mem_free(tail->block);
    tail->block = block;
    tail->begin = 0;
    tail->capacity = (uint32_t)capacity;
    return true;
}

enum status tail_reserve(struct tail *tail, size_t points, size_t late, size_t window_max,
                         struct error *error)
{
    if (tail->late_count + late > tail->late_capacity) {
        size_t capacity = (tail->late_count + late) * 3 / 2 + LATE_MIN;
        struct point *block = mem_resize(tail->late, capacity, sizeof *block);
        if (block == NULL) {
            return error_set(error, STATUS_NO_MEMORY, "could not allocate late points");
        }
        tail->late = block;
        tail->late_capacity = (uint32_t)capacity;
    }
    size_t need = tail->count + points;
    size_t old = tail->count - tail->fresh;
    if (need > window_max && old > 0) {
        size_t beyond = need - window_max;
        drop_oldest(tail, (uint32_t)(beyond < old ? beyond : old));
        need = tail->count + points;
    }
    if (tail->begin + need <= tail->capacity) {
        return STATUS_OK;
    }
    if (need + need / 8 <= tail->capacity) {
        memmove(tail->block, tail_points(tail), tail->count * sizeof *tail->block);
        tail->begin = 0;
        return STATUS_OK;
    }
    /* Half as much again, but at a full window only an eighth of slack for sliding. */
    size_t capacity = need + need / 2;
    size_t slack = need + need / 8;
    if (capacity > window_max) {
        capacity = slack > window_max + window_max / 8 ? slack : window_max + window_max / 8;
    }
    capacity = capacity < WINDOW_MIN ? WINDOW_MIN : capacity;
    if (!block_move(tail, capacity)) {
        return error_set(error, STATUS_NO_MEMORY, "could not allocate the newest points");
    }
    return STATUS_OK;
}

/* Merges the loose points at the end with the others, from the newest down. */
static void settle(struct point *points, size_t count, uint32_t *loose)
{
    struct point moved[LOOSE_MAX];
    size_t left = *loose, firm = count - left;
    if (left == 0) {
        return;
    }
    memcpy(moved, points + firm, left * sizeof *moved);
    for (; left > 0; left--) {
        size_t at = points_lower_bound(points, firm, moved[left - 1].time_ms);
        memmove(points + at + left, points + at, (firm - at) * sizeof *points);
        points[at + left - 1] = moved[left - 1];
        firm = at;
    }
    *loose = 0;
}

void tail_merge(struct tail *tail)
{
    settle(tail->block == NULL ? NULL : tail->block + tail->begin, tail->count,
           &tail->window_loose);
    settle(tail->late, tail->late_count, &tail->late_loose);
}

static bool replace(struct point *points, size_t count, size_t at, struct point point)
{
    if (at == count || points[at].time_ms != point.time_ms) {
        return false;
    }
    points[at].value = point.value;
    return true;
}

/* True where the time was there. */
static bool put(struct point *points, uint32_t *count, uint32_t *loose, struct point point)
{
    uint32_t firm = *count - *loose;
    size_t at = points_lower_bound(points, firm, point.time_ms);
    if (replace(points, firm, at, point)) {
        return true;
    }
    if (at == firm && *loose == 0) {
        points[(*count)++] = point;
        return false;
    }
    struct point *recent = points + firm;
    at = points_lower_bound(recent, *loose, point.time_ms);
    if (replace(recent, *loose, at, point)) {
        return true;
    }
    memmove(recent + at + 1, recent + at, (*loose - at) * sizeof *recent);
    recent[at] = point;
    ++*count;
    if (++*loose == LOOSE_MAX) {
        settle(points, *count, loose);
    }
    return false;
}

enum tail_outcome tail_write(struct tail *tail, struct point point)
{
    struct point *window = tail->block == NULL ? NULL : tail->block + tail->begin;
    if (point.time_ms > tail->chunk_last_ms && tail->window_loose == 0 &&
        (tail->count == 0 || window[tail->count - 1].time_ms < point.time_ms)) {
        CHECK(tail->begin + tail->count < tail->capacity);
        window[tail->count++] = point;
        tail->fresh++;
        return TAIL_APPENDED;
    }
    bool replaced = false;
    bool behind_chunks = point.time_ms <= tail->chunk_last_ms;
    if (behind_chunks) {
        CHECK(tail->late_count < tail->late_capacity);
        replaced = put(tail->late, &tail->late_count, &tail->late_loose, point);
    }
    if (point.time_ms >= tail->from_ms) {
        CHECK(tail->begin + tail->count < tail->capacity);
        uint32_t before = tail->count;
        replaced |= put(window, &tail->count, &tail->window_loose, point);
        tail->fresh += behind_chunks ? 0 : tail->count - before;
    }
    return replaced ? TAIL_REPLACED : TAIL_INSERTED;
}

void tail_flushed(struct tail *tail, int64_t chunk_last_ms)
{
    tail->fresh = 0;
    tail->chunk_last_ms = chunk_last_ms;
    tail->late_count = 0;
}

void tail_drop_old(struct tail *tail)
{
    drop_oldest(tail, tail->count - tail->fresh);
}

void tail_trim(struct tail *tail)
{
    if (tail->late_count == 0) {
        mem_free(tail->late);
        tail->late = NULL;
        tail->late_capacity = 0;
    }
}

void tail_shrink(struct tail *tail, size_t old)
{
    size_t has = tail->count - tail->fresh;
    drop_oldest(tail, (uint32_t)(has > old ? has - old : 0));
    if (tail->count == 0) {
        mem_free(tail->block);
        tail->block = NULL;
        tail->begin = tail->capacity = 0;
        return;
    }
    /* Where there is no memory for a smaller block the large one stays. */
    (void)block_move(tail, tail->count + tail->count / 8 + WINDOW_MIN);
}

bool tail_extend(struct tail *tail, const struct point *points, size_t count, int64_t first_ms)
{
    size_t capacity = tail->count + count;
    struct point *block = mem_array(capacity + capacity / 8 + WINDOW_MIN, sizeof *block);
    if (block == NULL) {
        return false;
    }
    if (count > 0) {
        memcpy(block, points, count * sizeof *block);
    }
    if (tail->count > 0) {
        SLOW_CHECK(count == 0 || points[count - 1].time_ms < tail_points(tail)[0].time_ms);
        memcpy(block + count, tail_points(tail), tail->count * sizeof *block);
    }
    mem_free(tail->block);
    tail->block = block;
    tail->begin = 0;
    tail->count = (uint32_t)capacity;
    tail->capacity = (uint32_t)(capacity + capacity / 8 + WINDOW_MIN);
    tail->from_ms = first_ms;
    return true;
}

void tail_forget_before(struct tail *tail, int64_t time_ms)
{
    size_t old = tail->count - tail->fresh;
    drop_oldest(tail, (uint32_t)points_lower_bound(tail_points(tail), old, time_ms));
    tail->from_ms = tail->from_ms < time_ms ? time_ms : tail->from_ms;
}

void tail_drop_before(struct tail *tail, int64_t time_ms)
{
    size_t gone = points_lower_bound(tail_points(tail), tail->count, time_ms);
    tail->begin += (uint32_t)gone;
    tail->count -= (uint32_t)gone;
    tail->fresh = tail->fresh < tail->count ? tail->fresh : tail->count;
    size_t late_gone = points_lower_bound(tail->late, tail->late_count, time_ms);
    if (late_gone > 0) {
        tail->late_count -= (uint32_t)late_gone;
        memmove(tail->late, tail->late + late_gone, tail->late_count * sizeof *tail->late);
    }
}
