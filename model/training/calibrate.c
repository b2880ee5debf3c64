/* Calibration: how far the quantiles must lie from the median to hold what their levels promise.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "model/training/calibrate.h"

#include "base/memory.h"
#include "model/forecast.h"
#include "model/order.h"

#include <math.h>

#define FACTOR_MIN 0.5
#define FACTOR_MAX 3.0
#define SHRINK_PLACES 20.0 /* origins that weigh as much as "no change" */
#define HORIZON_PARTS 4    /* groups of neighbouring steps with factors of their own */

/* Ratios of one level over a part of the horizon; returns how many. */
static size_t collect(const struct evaluation *evaluation, size_t level, size_t from, size_t to,
                      double *ratios)
{
    size_t found = 0;
    size_t horizon = evaluation->horizon;
    for (size_t i = 0; i < evaluation->count; i++) {
        const struct evaluation_place *place = &evaluation->places[i];
        struct forecast forecast = evaluation_get(evaluation, i);
        for (size_t h = from; h < to; h++) {
            size_t at = place->origin + h;
            double actual = at < place->series->count ? place->series->values[at] : (double)NAN;
            double median = (double)forecast.quantiles[QUANTILE_MEDIAN * horizon + h];
            double spread = (double)forecast.quantiles[level * horizon + h] - median;
            if (!isnan(actual) && fabs(spread) > 1e-9 * (fabs(median) + 1e-30)) {
                ratios[found] = (actual - median) / spread;
                found++;
            }
        }
    }
    return found;
}

static double factor_of(double *ratios, size_t count, size_t level, double places)
{
    if (count < 20) {
        return 1.0;
    }
    order_sort(ratios, count);
    double p = quantile_levels[level];
    double factor = order_quantile(ratios, count, p > 0.5 ? p : 1.0 - p);
    factor = fmax(FACTOR_MIN, fmin(FACTOR_MAX, factor));
    return 1.0 + (factor - 1.0) * places / (places + SHRINK_PLACES);
}

enum status calibrate(const struct evaluation *evaluation, float *spread, struct error *error)
{
    size_t horizon = evaluation->horizon;
    double *ratios = mem_alloc((evaluation->count * horizon + 1) * sizeof(double));
    if (ratios == NULL) {
        return error_set(error, STATUS_NO_MEMORY, "could not calibrate the model");
    }
    size_t parts = horizon < HORIZON_PARTS ? horizon : HORIZON_PARTS;
    for (size_t level = 0; level < QUANTILE_COUNT; level++) {
        for (size_t part = 0; part < parts; part++) {
            size_t from = horizon * part / parts;
            size_t to = horizon * (part + 1) / parts;
            double factor = 1.0;
            if (level != QUANTILE_MEDIAN) {
                size_t count = collect(evaluation, level, from, to, ratios);
                factor = factor_of(ratios, count, level, (double)evaluation->count);
            }
            for (size_t h = from; h < to; h++) {
                spread[level * horizon + h] = (float)factor;
            }
        }
    }
    mem_free(ratios);
    return STATUS_OK;
}

void calibrate_apply(struct evaluation *evaluation, const float *spread)
{
    size_t horizon = evaluation->horizon;
    for (size_t i = 0; i < evaluation->count; i++) {
        struct forecast forecast = evaluation_get(evaluation, i);
        for (size_t h = 0; h < horizon; h++) {
            float median = forecast.quantiles[QUANTILE_MEDIAN * horizon + h];
            for (size_t q = 0; q < QUANTILE_COUNT; q++) {
                float *value = &forecast.quantiles[q * horizon + h];
                *value = median + spread[q * horizon + h] * (*value - median);
            }
        }
        forecast_finish(evaluation->places[i].series, 0.0, &forecast);
    }
}
