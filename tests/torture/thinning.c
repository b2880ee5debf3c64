/* Downsampling and the retention of what it made, as scenarios with points of their own.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "tests/torture/thinning.h"

#include "base/check.h"
#include "base/clock.h"
#include "storage/store.h"
#include "storage/writer.h"

#include <stdio.h>
#include <string.h>

#define HOUR_MS INT64_C(3600000)
#define DAY_MS  (24 * HOUR_MS)

/* Four days of which the older half is due for both rules, the newer one for the first alone.
 * Retention takes less than a day, which `forecastd check` allows to be late. */
enum { HOURS = 96, IN_HOUR = 16, POINTS = HOURS * IN_HOUR, IN_BLOCK = 4, KEEP_HOURS = 1482 };
enum { FINE_DAYS = 30, COARSE_DAYS = 60 };

static const char *const names[] = {"thin", "thin.counter"};

static int64_t start_ms;
static int64_t retained_ms; /* what is older may be gone */

/* ---------------------------------------------------------------- the points */

static int64_t time_of(int number)
{
    return start_ms + number * (HOUR_MS / IN_HOUR);
}

/* No bits in common with the one before, so that there are many chunks; sums of all are exact. */
static double value_of(int number)
{
    struct random random;
    random_init(&random, (uint64_t)number, 23);
    return (double)random_below(&random, UINT64_C(1) << 32) / 65536;
}

/* What stands for `count` points from `first` on, a power of two of them. */
static double value_standing_for(bool counter, int first, int count)
{
    double sum = 0;
    for (int i = first; i < first + count; i++) {
        sum += value_of(i);
    }
    return counter ? value_of(first + count - 1) : sum / count;
}

void thinning_options(struct history *history)
{
    history->options.downsample = (struct downsample){
        .rules = {{FINE_DAYS * DAY_MS, HOUR_MS}, {COARSE_DAYS * DAY_MS, IN_BLOCK * HOUR_MS}},
        .count = 2,
    };
}

static void batch_put(struct history *history, bool counter)
{
    struct write_batch *batch = NULL;
    struct error error = {0};
    struct series_settings settings = {.has_kind = true, .kind = SERIES_COUNTER};
    uint32_t number = 0;
    const char *name = names[counter];
    CHECK(write_batch_new(history->storage, POINTS, &batch, &error) == STATUS_OK &&
          write_batch_series(batch, name, strlen(name), &number, &error) == STATUS_OK);
    for (int i = 0; i < POINTS; i++) {
        struct point point = {time_of(i), value_of(i)};
        CHECK(write_batch_point(batch, number, point, &error) == STATUS_OK);
    }
    CHECK(writer_write_take(history->writer, batch, NULL, &error) == STATUS_OK);
    if (counter) {
        uint32_t id = storage_series_find(history->storage, name, strlen(name));
        CHECK(write_batch_new(history->storage, 0, &batch, &error) == STATUS_OK &&
              write_batch_settings(batch, id, &settings, &error) == STATUS_OK &&
              writer_write_take(history->writer, batch, NULL, &error) == STATUS_OK);
    }
}

/* In chunks, and not thinned yet. */
void thinning_prepare(struct history *history)
{
    struct downsample rules = history->options.downsample;
    struct error error = {0};
    start_ms = (clock_wall_ms() / DAY_MS - COARSE_DAYS - 2) * DAY_MS;
    retained_ms = INT64_MIN;
    history_close(history);
    history->options.downsample = (struct downsample){0};
    CHECK(history_open(history, &error));
    batch_put(history, false);
    batch_put(history, true);
    history_compact(history);
    history_close(history);
    history->options.downsample = rules;
    CHECK(history_open(history, &error));
}

void thinning_all(struct history *history)
{
    struct error error = {0};
    (void)history_done(history, writer_compact(history->writer, &error), &error);
}

void thinning_slices(struct history *history)
{
    struct error error = {0};
    bool more = true;
    while (more && history_done(history,
                                store_downsample(history->storage, clock_wall_ms(), DRIVER_SLICE,
                                                 &more, &error),
                                &error)) {
    }
}

void thinning_prepare_thinned(struct history *history)
{
    struct error error = {0};
    struct write_batch *batch = NULL;
    struct series_settings settings = {.has_retention = true, .retention_ms = KEEP_HOURS * HOUR_MS};
    thinning_prepare(history);
    thinning_all(history);
    uint32_t id = storage_series_find(history->storage, names[0], strlen(names[0]));
    CHECK(write_batch_new(history->storage, 0, &batch, &error) == STATUS_OK &&
          write_batch_settings(batch, id, &settings, &error) == STATUS_OK &&
          writer_write_take(history->writer, batch, NULL, &error) == STATUS_OK);
}

void thinning_retain(struct history *history)
{
    struct error error = {0};
    bool more = true;
    retained_ms = clock_wall_ms() - KEEP_HOURS * HOUR_MS;
    while (more &&
           history_done(history, store_retain(history->storage, clock_wall_ms(), &more, &error),
                        &error)) {
    }
}

/* ---------------------------------------------------------------- what is there */

struct cells {
    size_t whole, hours, blocks; /* hours with all their points, with one; four hours with one */
    size_t gone;                 /* blocks that retention took */
};

/* Whether one point stands for `count` of them from `number` on. */
static bool stands_for(struct point point, bool counter, int number, int count)
{
    return point.time_ms == time_of(counter ? number + count - 1 : number) &&
           point.value == value_standing_for(counter, number, count);
}

/* Takes one hour or four off the front of the points, and off the numbers; false where what is
 * there is neither. */
static bool cell_take(const struct point **points, const struct point *end, bool counter,
                      int *number, struct cells *cells)
{
    enum { BLOCK = IN_BLOCK * IN_HOUR };
    const struct point *at = *points;
    bool aligned = *number % BLOCK == 0;
    if (at < end && aligned && stands_for(*at, counter, *number, BLOCK)) {
        cells->blocks++;
        *number += BLOCK;
        ++*points;
        return true;
    }
    if (at < end && stands_for(*at, counter, *number, IN_HOUR)) {
        cells->hours++;
        *number += IN_HOUR;
        ++*points;
        return true;
    }
    if (aligned && time_of(*number) < retained_ms &&
        (at == end || at->time_ms >= time_of(*number + BLOCK))) {
        cells->gone++;
        *number += BLOCK;
        return true;
    }
    for (int i = 0; i < IN_HOUR; i++, at++) {
        if (at == end || at->time_ms != time_of(*number + i) ||
            at->value != value_of(*number + i)) {
            return false;
        }
    }
    cells->whole++;
    *number += IN_HOUR;
    *points = at;
    return true;
}

static bool cells_read(struct history *history, bool counter, struct cells *cells)
{
    static struct point points[POINTS + 1];
    const char *name = names[counter];
    struct series_info info;
    struct error error = {0};
    size_t count = 0;
    int number = 0;
    uint32_t id = storage_series_find(history->storage, name, strlen(name));
    *cells = (struct cells){0};
    if (storage_read(history->reader, id, INT64_MIN, INT64_MAX, points, POINTS + 1, &count,
                     &error) != STATUS_OK ||
        storage_series_info(history->storage, id, &info, &error) != STATUS_OK) {
        return history_wrong(history, "%s: %s", name, error.text);
    }
    const struct point *at = points, *end = points + count;
    while (number < POINTS) {
        if (!cell_take(&at, end, counter, &number, cells)) {
            return history_wrong(history, "%s: hour %d is neither whole nor its mean", name,
                                 number / IN_HOUR);
        }
    }
    if (at != end || info.points != count) {
        return history_wrong(history, "%s: %zu points, %td too many, its statistics say %llu", name,
                             count, end - at, (unsigned long long)info.points);
    }
    return true;
}

bool thinning_judge(struct history *history)
{
    struct cells cells;
    int64_t old_ms = clock_wall_ms() - COARSE_DAYS * DAY_MS;
    size_t blocks = (size_t)((old_ms - start_ms) / (IN_BLOCK * HOUR_MS));
    if (!cells_read(history, false, &cells) || !cells_read(history, true, &cells)) {
        return false;
    }
    thinning_all(history);
    for (int counter = 0; counter < 2; counter++) {
        if (!cells_read(history, counter != 0, &cells)) {
            return false;
        }
        /* The hour with the newest point waits. */
        if (cells.blocks != blocks || cells.whole != 1 ||
            cells.hours != HOURS - 1 - IN_BLOCK * blocks) {
            return history_wrong(history, "%s: the next attempt left %zu hours whole, %zu thinned",
                                 names[counter], cells.whole, cells.hours);
        }
    }
    return true;
}

bool thinning_judge_retained(struct history *history)
{
    struct cells cells;
    if (!cells_read(history, false, &cells)) {
        return false;
    }
    /* The next write opens the store anew. What failed is left out, so that it does not hold up the
     * rest: the round goes on behind it, and the next one begins again. */
    history_ingest(history);
    thinning_retain(history);
    thinning_retain(history);
    if (!cells_read(history, false, &cells)) {
        return false;
    }
    return cells.gone > 0 || history_wrong(history, "the next round removed nothing");
}
