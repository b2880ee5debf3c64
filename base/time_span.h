/* Spans of time: a few half-open ones in order, none of which touch.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Threads: pure.
 */
#ifndef BASE_TIME_SPAN_H
#define BASE_TIME_SPAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TIME_SPANS_MAX 32

/* from <= time < to, in milliseconds. */
struct time_span {
    int64_t from_ms, to_ms;
};

/* Sorted, each with from < to and a distance to the next. */
struct time_spans {
    size_t count;
    struct time_span at[TIME_SPANS_MAX];
};

/* Puts `count` spans in order and joins those that overlap or touch; returns how many are left. */
size_t time_spans_join(struct time_span *spans, size_t count);

/* Whether a span holds a time of from <= time < to. A walk: *next is 0 at first, and what is asked
 * for never begins before what was asked for last. `spans` may be NULL: there are none. */
bool time_spans_meet(const struct time_spans *spans, int64_t from_ms, int64_t to_ms, size_t *next);

#endif
