/* Functions over the points of a window, as Prometheus computes them.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "api/promql_functions.h"

#include "api/promql_matrix.h"

#include <math.h>

#define NEAR_BORDER 1.1 /* mean distances */

/* Kahan's sum in Neumaier's form. */
static double sum_of(const struct promql_window *window)
{
    double sum = 0.0, lost = 0.0;
    for (size_t i = 0; i < window->count; i++) {
        double value = window->points[i].value, next = sum + value;
        lost += fabs(sum) >= fabs(value) ? (sum - next) + value : (value - next) + sum;
        sum = next;
    }
    return sum + lost;
}

static double least_of(const struct promql_window *window, double sign)
{
    double least = sign * window->points[0].value;
    for (size_t i = 1; i < window->count; i++) {
        least = fmin(least, sign * window->points[i].value);
    }
    return sign * least;
}

/* What the counter rose between the first and the last point. */
static double rise_of(const struct promql_window *window)
{
    const struct point *points = window->points;
    double rise = points[window->count - 1].value - points[0].value;
    for (size_t i = 1; i < window->count; i++) {
        if (points[i].value < points[i - 1].value) {
            rise += points[i - 1].value;
        }
    }
    return rise;
}

static double extrapolated_rise(const struct promql_window *window)
{
    if (window->count < 2) {
        return promql_absent();
    }
    const struct point *first = window->points, *last = first + window->count - 1;
    double rise = rise_of(window);
    double sampled = (double)(last->time_ms - first->time_ms);
    double mean = sampled / (double)(window->count - 1);
    double before = (double)(first->time_ms - window->start_ms);
    double after = (double)(window->end_ms - last->time_ms);
    if (before >= NEAR_BORDER * mean) {
        before = mean / 2.0;
    }
    if (rise > 0.0 && first->value >= 0.0) {
        before = fmin(before, sampled * (first->value / rise)); /* where it would be zero */
    }
    if (after >= NEAR_BORDER * mean) {
        after = mean / 2.0;
    }
    return rise * ((sampled + before + after) / sampled);
}

double promql_apply(enum promql_function function, const struct promql_window *window)
{
    if (window->count == 0) {
        return promql_absent();
    }
    switch (function) {
    case PROMQL_LAST_OVER_TIME:
        return window->points[window->count - 1].value;
    case PROMQL_AVG_OVER_TIME:
        return sum_of(window) / (double)window->count;
    case PROMQL_MIN_OVER_TIME:
        return least_of(window, 1.0);
    case PROMQL_MAX_OVER_TIME:
        return least_of(window, -1.0);
    case PROMQL_SUM_OVER_TIME:
        return sum_of(window);
    case PROMQL_COUNT_OVER_TIME:
        return (double)window->count;
    case PROMQL_INCREASE:
        return extrapolated_rise(window);
    case PROMQL_RATE:
        break;
    }
    double rise = extrapolated_rise(window);
    return promql_is_absent(rise) ? rise
                                  : rise / ((double)(window->end_ms - window->start_ms) / 1000.0);
}

bool promql_keeps_name(enum promql_function function)
{
    return function == PROMQL_LAST_OVER_TIME;
}
