/* Downsampling: old points are replaced by one a cell of time. The rules, and what they mean.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A rule "30d:5m" says: what is older than 30 days keeps one point a cell of 5 minutes. Cells begin
 * at multiples of their step since 1970. A cell is replaced once all of it is older than that:
 *     gauges     by the mean of its values that are not missing, at the cell's beginning; where all
 *                are missing, by one missing point
 *     counters   by their last point, as it is; which series those are: storage_counters_by
 * A cell with one point stays as it is, so doing it twice changes nothing. The cell with a series'
 * newest point waits. Several rules are applied in order, so the mean of an hour is the mean of its
 * cells of 5 minutes, however many readings each had. A point that comes late into such a cell
 * counts as much as the mean that it meets there; one of exactly the cell's beginning, where the
 * mean lies, takes its place, as the last write always wins.
 *
 * Pure functions; both drivers use them.
 */
#ifndef STORAGE_DOWNSAMPLE_H
#define STORAGE_DOWNSAMPLE_H

#include "base/point.h"
#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DOWNSAMPLE_RULES_MAX 4

struct downsample_rule {
    int64_t age_ms, step_ms;
};

struct downsample {
    struct downsample_rule rules[DOWNSAMPLE_RULES_MAX]; /* ages and steps rise */
    size_t count;                                       /* 0: nothing is downsampled */
};

/* "30d:5m,1y:1h", or "" for none. Ages rise, each step is a multiple of the one before and at most
 * a day, and no longer than its age; STATUS_INVALID says which is not. */
enum status downsample_parse(const char *text, struct downsample *out,
                             struct error *error) MUST_USE;

/* Beginning of the cell that holds a time. */
int64_t downsample_cell(int64_t time_ms, int64_t step_ms);

/* Up to where a rule applies now to a series with that newest point. */
int64_t downsample_cut(const struct downsample_rule *rule, int64_t now_ms, int64_t newest_ms);

/* Applies one rule to what lies before `cut_ms`, in place; returns how many points there are then.
 * `counter`: the last one stays, not the mean. */
size_t downsample_points(struct point *points, size_t count, int64_t step_ms, int64_t cut_ms,
                         bool counter);

#endif
