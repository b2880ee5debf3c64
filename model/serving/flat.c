/* Flat stretches: series that stand still and mostly go on standing still.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "model/serving/flat.h"

#include "model/forecast.h"

#include <math.h>

#define STRETCH_MIN   48   /* steps that must be equal, at least, or two horizons */
#define STRETCHES_MIN 3    /* earlier ones, to know anything */
#define HISTORY_MAX   8192 /* newest values looked at */
#define SAME          1e-9

/* Whether values[from .. from + length) are all equal where observed, and half of them are; *value
 * is then what they are. */
static bool is_flat(const double *values, size_t length, double *value)
{
    double low = HUGE_VAL;
    double high = -HUGE_VAL;
    size_t seen = 0;
    for (size_t i = length; i > 0; i--) {
        double v = values[i - 1];
        if (isnan(v)) {
            continue;
        }
        low = fmin(low, v);
        high = fmax(high, v);
        seen++;
        if (high - low > SAME * fabs(v)) {
            return false;
        }
    }
    *value = high;
    return 2 * seen >= length;
}

static double share_equal(const double *values, size_t count, double value)
{
    size_t seen = 0;
    size_t equal = 0;
    for (size_t i = 0; i < count; i++) {
        if (!isnan(values[i])) {
            seen++;
            equal += fabs(values[i] - value) <= SAME * fabs(value) ? 1 : 0;
        }
    }
    return seen > 0 ? (double)equal / (double)seen : -1.0;
}

void flat_find(const struct model_series *series, size_t horizon, struct flat_stretch *out)
{
    *out = (struct flat_stretch){.found = false};
    size_t stretch = 2 * horizon > STRETCH_MIN ? 2 * horizon : STRETCH_MIN;
    size_t count = series->count < HISTORY_MAX ? series->count : HISTORY_MAX;
    const double *values = series->values + series->count - count;
    double value;
    if (count < stretch || !is_flat(values + count - stretch, stretch, &value)) {
        return;
    }
    double sum = 0.0;
    size_t stretches = 0;
    size_t stride = horizon / 2 > 0 ? horizon / 2 : 1;
    for (size_t end = stretch; end + horizon <= count; end += stride) {
        double before;
        if (is_flat(values + end - stretch, stretch, &before)) {
            double share = share_equal(values + end, horizon, before);
            sum += share >= 0.0 ? share : 0.0;
            stretches += share >= 0.0 ? 1 : 0;
        }
    }
    if (stretches >= STRETCHES_MIN) {
        *out = (struct flat_stretch){true, value, sum / (double)stretches};
    }
}

void flat_levels(const struct flat_stretch *stretch, double level[QUANTILE_COUNT])
{
    double outer = (1.0 - stretch->stays) / 2.0;
    for (size_t q = 0; q < QUANTILE_COUNT && stretch->found; q++) {
        if (quantile_levels[q] >= outer && quantile_levels[q] <= 1.0 - outer) {
            level[q] = stretch->value;
        }
    }
}
