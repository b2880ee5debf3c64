/* A series by its local clock: what people do at nine they do at nine after the clock was changed.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "model/training/local_clock.h"

#include "base/memory.h"
#include "base/time_zone.h"

#include <math.h>
#include <string.h>

static int64_t time_at(const struct model_series *series, size_t index)
{
    return series->start_ms + (int64_t)index * series->step_ms;
}

/* By how much local time at an index is ahead of that of the newest value. */
static int64_t ahead_ms(const struct model_series *series, const struct time_zone *zone,
                        size_t index)
{
    return time_zone_offset_ms(zone, time_at(series, index)) -
           time_zone_offset_ms(zone, time_at(series, series->count - 1));
}

/* The first index beyond `index` at which the clock may be another, at most `end`. */
static size_t next_change(const struct model_series *series, const struct time_zone *zone,
                          size_t index, size_t end)
{
    int64_t change_ms = time_zone_next_change_ms(zone, time_at(series, index));
    if (change_ms > time_at(series, end)) {
        return end;
    }
    int64_t steps = (change_ms - series->start_ms + series->step_ms - 1) / series->step_ms;
    return steps > (int64_t)index ? (size_t)steps : index + 1;
}

/* Whether anything moves, and all that does by whole steps; `longest` is the largest move ahead. */
static bool moves_by_steps(const struct model_series *series, const struct time_zone *zone,
                           size_t end, size_t *longest)
{
    bool moves = false;
    *longest = 0;
    for (size_t at = 0; at < end; at = next_change(series, zone, at, end)) {
        int64_t ahead = ahead_ms(series, zone, at);
        if (ahead % series->step_ms != 0) {
            return false;
        }
        moves = moves || ahead != 0;
        size_t steps = ahead > 0 ? (size_t)(ahead / series->step_ms) : 0;
        *longest = steps > *longest ? steps : *longest;
    }
    return moves;
}

/* Stretch by stretch, oldest first: where the clock went back the newer values stay. */
static void lay_out(const struct model_series *series, const struct time_zone *zone, double *out)
{
    for (size_t i = 0; i < series->count; i++) {
        out[i] = (double)NAN;
    }
    for (size_t from = 0; from < series->count;) {
        size_t until = next_change(series, zone, from, series->count);
        int64_t steps = ahead_ms(series, zone, from) / series->step_ms;
        for (size_t i = from; i < until; i++) {
            int64_t at = (int64_t)i + steps;
            if (at >= 0 && at < (int64_t)series->count && !isnan(series->values[i])) {
                out[at] = series->values[i];
            }
        }
        from = until;
    }
}

bool local_clock_begin(const struct model_series *series, size_t horizon, struct local_clock *clock)
{
    const struct time_zone *zone = time_zone_or_utc(series->time_zone);
    size_t longest;
    if (zone == NULL || series->count == 0 ||
        !moves_by_steps(series, zone, series->count + horizon, &longest)) {
        return false;
    }
    size_t steps = horizon + longest;
    *clock = (struct local_clock){.series = *series, .original = series};
    clock->values = mem_array(series->count, sizeof(double));
    clock->room = mem_array((QUANTILE_COUNT + 1) * steps, sizeof(float));
    if (clock->values == NULL || clock->room == NULL) {
        local_clock_end(clock, NULL);
        return false;
    }
    lay_out(series, zone, clock->values);
    clock->series.values = clock->values;
    clock->series.time_zone = NULL;
    clock->forecast = (struct forecast){steps, clock->room, clock->room + steps};
    return true;
}

void local_clock_end(struct local_clock *clock, struct forecast *out)
{
    const struct model_series *series = clock->original;
    const struct time_zone *zone = time_zone_or_utc(series->time_zone);
    const struct forecast *from = &clock->forecast;
    for (size_t h = 0; out != NULL && h < out->horizon; h++) {
        int64_t at = (int64_t)h + ahead_ms(series, zone, series->count + h) / series->step_ms;
        size_t step = at > 0 ? (size_t)at : 0;
        out->mean[h] = from->mean[step];
        for (size_t q = 0; q < QUANTILE_COUNT; q++) {
            out->quantiles[q * out->horizon + h] = from->quantiles[q * from->horizon + step];
        }
    }
    mem_free(clock->values);
    mem_free(clock->room);
}
