/* Functions over the points of a window, as Prometheus computes them.
 * SPDX-License-Identifier: Apache-2.0
 *
 * rate and increase: differences with counter resets added back, extrapolated to the borders of the
 * window where the first and last point are within 1.1 mean distances of them, else by half a mean
 * distance, and never to where the counter would be below zero. They need two points.
 */
#ifndef API_PROMQL_FUNCTIONS_H
#define API_PROMQL_FUNCTIONS_H

#include "api/promql_parser.h"
#include "base/point.h"

/* `points` are those in (start, end], none of them NaN. PROMQL_ABSENT where they are too few. */
struct promql_window {
    const struct point *points;
    size_t count;
    int64_t start_ms, end_ms;
};
double promql_apply(enum promql_function function, const struct promql_window *window);

/* Whether the result is the quantity of the series itself and keeps its name. */
bool promql_keeps_name(enum promql_function function);

#endif
