/* Which values a series can have, and what of a forecast's numbers that leaves.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A forecast sees the newest thousand values or so: a mild day of minutes says nothing of a winter.
 * To read all points would take seconds of a long series; stretches that are spread evenly over its
 * time are a chunk or two each, 0.2 ms, and a sign that none of them shows is a rare one. It is
 * done when seasons are looked for, and known with them.
 */
#include "api/desk.h"

#include <math.h>

#define STRETCHES      16
#define STRETCH_POINTS 64

#define TWO_VALUES_SEEN    24 /* values, and changes between the two, that make them the only ones */
#define TWO_VALUES_CHANGES 4
#define FIRST_DECILE       1 /* among quantile_levels */
#define LAST_DECILE        9
#define NOTHING            1e-12 /* of the largest value, or */
#define NOTHING_WHOLE      1e-6  /* where all are whole: what is left of a level that has decayed */

bool desk_negative(struct forecast_desk *desk, const struct series_info *info)
{
    struct point points[STRETCH_POINTS];
    struct error ignored = {0};
    int64_t next_ms = info->first_ms;
    int64_t apart_ms = (info->last_ms - info->first_ms) / STRETCHES;
    desk_excluded(desk, info);
    for (size_t i = 0; i < STRETCHES; i++) {
        size_t count = 0, span = 0;
        int64_t start_ms = info->first_ms + (int64_t)i * apart_ms;
        start_ms = start_ms > next_ms ? start_ms : next_ms;
        if (storage_read(desk->reader, info->id, start_ms, INT64_MAX, points, STRETCH_POINTS,
                         &count, &ignored) != STATUS_OK) {
            return false; /* old points that cannot be read are no reason not to forecast */
        }
        for (size_t k = 0; k < count; k++) {
            int64_t time_ms = points[k].time_ms;
            if (points[k].value < 0.0 &&
                !time_spans_meet(&desk->excluded, time_ms, time_ms + 1, &span)) {
                return true;
            }
        }
        next_ms = count > 0 ? points[count - 1].time_ms + 1 : start_ms;
    }
    return false;
}

/* Whether a series has only two values, as what is on or off has, and has come back to both: what
 * just moved from one to the other once may go on to a third. */
static bool has_two_values(const struct model_series *series, double *low, double *high)
{
    double last = (double)NAN;
    size_t seen = 0, changes = 0;
    *low = (double)INFINITY;
    *high = -(double)INFINITY;
    for (size_t i = 0; i < series->count; i++) {
        double value = series->values[i];
        *low = fmin(*low, value); /* a NaN is not less */
        *high = fmax(*high, value);
    }
    for (size_t i = 0; i < series->count; i++) {
        double value = series->values[i];
        if (isnan(value)) {
            continue;
        }
        if (value > *low && value < *high) {
            return false;
        }
        seen++;
        changes += value < last || value > last;
        last = value;
    }
    return seen >= TWO_VALUES_SEEN && changes >= TWO_VALUES_CHANGES;
}

struct model_series forecast_bounds(const struct model_series *series)
{
    struct model_series bounds = *series;
    double least = (double)INFINITY;
    for (size_t i = 0; i < series->count; i++) {
        least = series->values[i] < least ? series->values[i] : least;
    }
    if (least >= 0.0 && !series->was_negative && bounds.minimum < 0.0) {
        bounds.minimum = fmin(0.0, bounds.maximum);
    }
    double low, high;
    if (has_two_values(series, &low, &high) && low >= series->minimum && high <= series->maximum) {
        bounds.minimum = low;
        bounds.maximum = high;
    }
    return bounds;
}

void forecast_settle(const struct model_series *series, struct forecast *forecast)
{
    double largest = 0.0;
    bool whole = true;
    for (size_t i = 0; i < series->count; i++) {
        double value = series->values[i];
        if (!isnan(value)) {
            largest = fmax(largest, fabs(value));
            whole = whole && value - rint(value) == 0.0;
        }
    }
    double nothing = whole && largest > 0.0 ? NOTHING_WHOLE : NOTHING * largest;
    size_t horizon = forecast->horizon;
    for (size_t h = 0; h < horizon; h++) {
        float *row = forecast->quantiles + h, *mean = &forecast->mean[h];
        double low = (double)row[FIRST_DECILE * horizon], high = (double)row[LAST_DECILE * horizon];
        if (fmax(fabs(low), fabs(high)) < nothing) {
            continue;
        }
        for (size_t q = 0; q < QUANTILE_COUNT; q++) {
            float *value = &row[q * horizon];
            *value = fabs((double)*value) < nothing ? 0.0f : *value;
        }
        *mean = fabs((double)*mean) < nothing ? 0.0f : *mean;
    }
}

double forecast_level(const struct forecast_made *made, size_t step, double level)
{
    const struct series_settings *settings = &made->info.settings;
    double value = forecast_quantile(&made->forecast, step, level);
    value = settings->has_integer && settings->integer ? rint(value) : value;
    return fmin(fmax(value, made->minimum), made->maximum);
}
