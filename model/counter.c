/* Counters by their shape: values that only rise, but for resets.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "model/model.h"

#include "base/check.h"

#include <math.h>
#include <string.h>

#define POINTS_MIN    10
#define RESET_LANDS   0.5 /* of the value before: a counter begins again near zero */
#define RISES_A_RESET 20  /* at least: a saw is a gauge */

/* The next reading that counts from *i on; false behind the last one. */
static bool next_reading(const struct point *points, size_t count,
                         const struct time_spans *excluded, size_t *span, size_t *i)
{
    while (*i < count &&
           (isnan(points[*i].value) ||
            time_spans_meet(excluded, points[*i].time_ms, points[*i].time_ms + 1, span))) {
        (*i)++;
    }
    return *i < count;
}

bool counter_possible(const struct point *points, size_t count, const struct time_spans *excluded)
{
    size_t span = 0;
    double last = 0.0;
    for (size_t i = 0; next_reading(points, count, excluded, &span, &i); i++) {
        double value = points[i].value;
        if (value < 0.0 || (value < last && value > RESET_LANDS * last)) {
            return false;
        }
        last = value;
    }
    return true;
}

bool counter_shape(const struct point *points, size_t count, const struct time_spans *excluded)
{
    size_t seen = 0, rises = 0, falls = 0, span = 0;
    double last = 0.0;
    if (!counter_possible(points, count, excluded)) {
        return false;
    }
    for (size_t i = 0; next_reading(points, count, excluded, &span, &i); i++) {
        double value = points[i].value;
        rises += seen > 0 && value > last ? 1 : 0;
        falls += seen > 0 && value < last ? 1 : 0;
        last = value;
        seen++;
    }
    if (seen < POINTS_MIN && excluded != NULL) {
        return counter_shape(points, count, NULL); /* all but a few are excluded */
    }
    return seen >= POINTS_MIN && rises > 0 && rises >= RISES_A_RESET * falls;
}

bool counter_name(const char *name, size_t length)
{
    static const struct {
        const char *text;
        size_t length;
    } suffixes[] = {{"_total", 6}, {"_count", 6}, {"_sum", 4}, {"_bucket", 7}};
    size_t end = 0;
    while (end < length && name[end] != '{') {
        end++;
    }
    for (size_t i = 0; i < ARRAY_COUNT(suffixes); i++) {
        size_t suffix = suffixes[i].length;
        if (end > suffix && memcmp(name + end - suffix, suffixes[i].text, suffix) == 0) {
            return true;
        }
    }
    return false;
}
