/* Losses of every choice of a blend at every held-back place, from which the blend is chosen.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "model/training/blend_losses.h"

#include "base/check.h"
#include "base/memory.h"
#include "model/forecast.h"
#include "model/serving/flat.h"
#include "model/training/metrics.h"

#include <math.h>
#include <string.h>

/* Memory for one place's forecasts. */
struct room {
    double *scratch, *actual;
    float *means, *baseline, *mixed;
};

/* One place: what came, what the model says, and whether the series stands still there. */
struct place {
    struct model_series series; /* cut at the origin */
    struct forecast own;
    struct flat_stretch flat;
};

static void list_methods(struct blend_losses *losses, const uint32_t seasons[SEASONS_MAX])
{
    static const enum baseline always[] = {BASELINE_LAST_VALUE, BASELINE_DRIFT,
                                           BASELINE_DAMPED_TREND, BASELINE_SEASONAL_DRIFT};
    size_t count = 0;
    for (; count < ARRAY_COUNT(always); count++) {
        losses->methods[count] = (struct blend_method){always[count], 0};
    }
    for (size_t i = 0; i < SEASONS_MAX && seasons[i] > 0; i++) {
        losses->methods[count] = (struct blend_method){BASELINE_SEASONAL_NAIVE, seasons[i]};
        count++;
    }
    losses->method_count = count;
    losses->choice_count = 1 + count * BLEND_SHARES;
}

double blend_choice_share(size_t choice)
{
    return choice > 0 ? 0.1 * (double)((choice - 1) % BLEND_SHARES + 1) : 0.0;
}

size_t blend_choice_method(size_t choice)
{
    CHECK(choice > 0);
    return (choice - 1) / BLEND_SHARES;
}

/* Quantile loss and the median's absolute error, summed over the steps. */
static double loss_of(const double *actual, const struct forecast *forecast, uint64_t *points)
{
    double absolute = 0.0;
    double sum = metrics_quantile_loss(actual, forecast, &absolute, points);
    const float *median = forecast->quantiles + QUANTILE_MEDIAN * forecast->horizon;
    for (size_t h = 0; h < forecast->horizon; h++) {
        sum += isnan(actual[h]) ? 0.0 : fabs(actual[h] - (double)median[h]);
    }
    return sum;
}

/* As in service, a mixture says that what stands still goes on so. */
static void apply_flat(const struct flat_stretch *flat, struct forecast *mixed)
{
    size_t horizon = mixed->horizon;
    for (size_t h = 0; h < horizon && flat->found; h++) {
        double level[QUANTILE_COUNT];
        for (size_t q = 0; q < QUANTILE_COUNT; q++) {
            level[q] = (double)mixed->quantiles[q * horizon + h];
        }
        flat_levels(flat, level);
        for (size_t q = 0; q < QUANTILE_COUNT; q++) {
            mixed->quantiles[q * horizon + h] = (float)level[q];
        }
    }
}

/* Losses of one method's shares. Where its baseline cannot, the model stands alone, as in service.
 */
static void measure_method(const struct place *place, const struct room *room,
                           struct blend_method method, double losses[BLEND_SHARES])
{
    size_t horizon = place->own.horizon;
    struct forecast out = {horizon, room->means, room->baseline};
    struct model_series seen = place->series;
    if (method.season > 0) {
        memset(seen.seasons, 0, sizeof(seen.seasons));
        seen.seasons[0] = method.season;
    }
    bool made = baseline_forecast(method.baseline, &seen, room->scratch, &out);
    for (size_t s = 0; s < BLEND_SHARES; s++) {
        float share = 0.1f * (float)(s + 1);
        struct forecast mixed = {horizon, room->means, room->mixed};
        for (size_t i = 0; i < horizon * QUANTILE_COUNT; i++) {
            float own = place->own.quantiles[i];
            float other = made ? room->baseline[i] : own;
            room->mixed[i] = own + share * (other - own);
        }
        if (s + 1 < BLEND_SHARES) {
            apply_flat(&place->flat, &mixed);
        }
        uint64_t points = 0;
        losses[s] = loss_of(room->actual, &mixed, &points);
    }
}

static void measure_place(struct blend_losses *losses, const struct evaluation *evaluation,
                          size_t index, const struct room *room)
{
    struct place place = {.series = *evaluation->places[index].series,
                          .own = evaluation_get(evaluation, index)};
    place.series.count = evaluation->places[index].origin;
    flat_find(&place.series, evaluation->horizon, &place.flat);
    double *values = losses->values + index * losses->choice_count;
    evaluation_actual(evaluation, index, room->actual);
    values[0] = loss_of(room->actual, &place.own, &losses->points[index]);
    for (size_t m = 0; m < losses->method_count; m++) {
        measure_method(&place, room, losses->methods[m], values + 1 + m * BLEND_SHARES);
    }
}

static enum status measure(struct blend_losses *losses, const struct evaluation *evaluation,
                           struct error *error)
{
    size_t horizon = evaluation->horizon;
    size_t longest = 0;
    for (size_t i = 0; i < evaluation->count; i++) {
        size_t origin = evaluation->places[i].origin;
        longest = origin > longest ? origin : longest;
    }
    double *doubles = mem_array(4 * longest + horizon + 1, sizeof(double));
    float *floats = mem_array(horizon * (2 * QUANTILE_COUNT + 1), sizeof(float));
    enum status status = STATUS_OK;
    if (doubles == NULL || floats == NULL) {
        status = error_set(error, STATUS_NO_MEMORY, "could not blend baselines");
    }
    for (size_t i = 0; i < evaluation->count && status == STATUS_OK; i++) {
        struct room room = {.scratch = doubles,
                            .actual = doubles + 4 * longest,
                            .means = floats,
                            .baseline = floats + horizon,
                            .mixed = floats + horizon * (QUANTILE_COUNT + 1)};
        measure_place(losses, evaluation, i, &room);
        status = evaluation_go_on(evaluation, error);
    }
    mem_free(doubles);
    mem_free(floats);
    return status;
}

enum status blend_losses_init(struct blend_losses *losses, const struct evaluation *evaluation,
                              const uint32_t seasons[SEASONS_MAX], struct error *error)
{
    size_t places = evaluation->count + 1;
    *losses = (struct blend_losses){.method_count = 0};
    list_methods(losses, seasons);
    losses->values = mem_zeroed(places, losses->choice_count * sizeof(double));
    losses->points = mem_zeroed(places, sizeof(uint64_t));
    enum status status = STATUS_OK;
    if (losses->values == NULL || losses->points == NULL) {
        status = error_set(error, STATUS_NO_MEMORY, "could not blend baselines");
    }
    if (status == STATUS_OK) {
        status = measure(losses, evaluation, error);
    }
    if (status != STATUS_OK) {
        blend_losses_release(losses);
    }
    return status;
}

void blend_losses_release(struct blend_losses *losses)
{
    mem_free(losses->values);
    mem_free(losses->points);
    losses->values = NULL;
    losses->points = NULL;
}
