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

bool counter_shape(const struct point *points, size_t count, const struct time_spans *excluded)
{
    size_t seen = 0, rises = 0, falls = 0, span = 0;
    double last = 0.0;
    for (size_t i = 0; i < count; i++) {
        double value = points[i].value;
        int64_t time_ms = points[i].time_ms;
        if (isnan(value) || time_spans_meet(excluded, time_ms, time_ms + 1, &span)) {
            continue;
        }
        if (value < 0.0 || (seen > 0 && value < last && value > RESET_LANDS * last)) {
            return false;
        }
        rises += seen > 0 && value > last ? 1 : 0;
        falls += seen > 0 && value < last ? 1 : 0;
        last = value;
        seen++;
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
