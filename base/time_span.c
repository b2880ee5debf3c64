/* Spans of time: a few half-open ones in order, none of which touch.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "base/time_span.h"

#include <stdlib.h>

static int compare(const void *left, const void *right)
{
    const struct time_span *a = left, *b = right;
    return (a->from_ms > b->from_ms) - (a->from_ms < b->from_ms);
}

size_t time_spans_join(struct time_span *spans, size_t count)
{
    size_t used = 0;
    if (count > 0) {
        qsort(spans, count, sizeof(*spans), compare);
    }
    for (size_t i = 0; i < count; i++) {
        struct time_span *last = used > 0 ? &spans[used - 1] : NULL;
        if (!last || spans[i].from_ms > last->to_ms) {
            spans[used++] = spans[i];
        } else if (spans[i].to_ms > last->to_ms) {
            last->to_ms = spans[i].to_ms;
        }
    }
    return used;
}

bool time_spans_meet(const struct time_spans *spans, int64_t from_ms, int64_t to_ms, size_t *next)
{
    size_t count = spans ? spans->count : 0;
    while (*next < count && spans->at[*next].to_ms <= from_ms) {
        ++*next;
    }
    return *next < count && spans->at[*next].from_ms < to_ms;
}
