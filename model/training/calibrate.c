/* Calibration: how far the quantiles must lie from the median to hold what their levels promise.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "model/training/calibrate.h"

#include "base/memory.h"
#include "model/forecast.h"
#include "model/order.h"

#include <math.h>

#define FACTOR_MIN    0.5
#define FACTOR_MAX    3.0
#define HORIZON_PARTS 3
#define POINTS_MIN    50  /* in a part; fewer leave it as it is */
#define RATIO_OUTSIDE 9.0 /* where the forecast has no width and the actual lies elsewhere */

/* |y - median| over the half-width at `level` (above the median) or its mirror image. */
static double ratio_of(const struct forecast *forecast, size_t level, size_t h, double actual)
{
    size_t horizon = forecast->horizon;
    double median = (double)forecast->quantiles[QUANTILE_MEDIAN * horizon + h];
    size_t side = actual >= median ? level : QUANTILE_COUNT - 1 - level;
    double width = fabs((double)forecast->quantiles[side * horizon + h] - median);
    double away = fabs(actual - median);
    if (!(width > 0.0)) {
        return away > 0.0 ? RATIO_OUTSIDE : 0.0;
    }
    return fmin(away / width, RATIO_OUTSIDE);
}

static size_t collect(const struct evaluation *evaluation, size_t level, size_t from, size_t to,
                      double *ratios)
{
    size_t found = 0;
    for (size_t i = 0; i < evaluation->count; i++) {
        const struct evaluation_place *place = &evaluation->places[i];
        struct forecast forecast = evaluation_get(evaluation, i);
        for (size_t h = from; h < to; h++) {
            size_t at = place->origin + h;
            double actual = at < place->series->count ? place->series->values[at] : (double)NAN;
            if (!isnan(actual)) {
                ratios[found] = ratio_of(&forecast, level, h, actual);
                found++;
            }
        }
    }
    return found;
}

static double factor_of(double *ratios, size_t count, size_t level, double origins)
{
    if (count < POINTS_MIN) {
        return 1.0;
    }
    order_sort(ratios, count);
    double factor = order_quantile(ratios, count, 2.0 * quantile_levels[level] - 1.0);
    factor = fmax(FACTOR_MIN, fmin(FACTOR_MAX, factor));
    return pow(factor, origins / (origins + 1.0));
}

enum status calibrate(const struct evaluation *evaluation, size_t origins, float *spread,
                      struct error *error)
{
    size_t horizon = evaluation->horizon;
    double *ratios = mem_array(evaluation->count * horizon + 1, sizeof(double));
    if (ratios == NULL) {
        return error_set(error, STATUS_NO_MEMORY, "could not calibrate the model");
    }
    size_t parts = horizon < HORIZON_PARTS ? 1 : HORIZON_PARTS;
    for (size_t level = QUANTILE_MEDIAN + 1; level < QUANTILE_COUNT; level++) {
        for (size_t part = 0; part < parts; part++) {
            size_t from = horizon * part / parts;
            size_t to = horizon * (part + 1) / parts;
            size_t count = collect(evaluation, level, from, to, ratios);
            float factor = (float)factor_of(ratios, count, level, (double)origins);
            for (size_t h = from; h < to; h++) {
                spread[level * horizon + h] = factor;
                spread[(QUANTILE_COUNT - 1 - level) * horizon + h] = factor;
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
