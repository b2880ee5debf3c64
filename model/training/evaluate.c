/* Forecasts at held-back origins, side by side with what came and with the best baseline.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "model/training/evaluate.h"

#include "base/check.h"
#include "base/memory.h"
#include "model/training/metrics.h"

#include <math.h>
#include <string.h>

#define BATCH 32

/* ---------------------------------------------------------------- places */

/* Walks the origins of a series from the newest back; false when there is no more. */
static bool place_at(const struct evaluation_wanted *wanted, const struct model_series *series,
                     size_t horizon, size_t index, size_t *origin)
{
    size_t tail = wanted->partial ? 1 : horizon;
    size_t back = index * horizon + tail;
    if (index >= wanted->origins || series->count < back + wanted->history ||
        series->count <= wanted->longer_than) {
        return false;
    }
    *origin = series->count - back;
    return wanted->unseen_by == NULL || snapshot_unseen(wanted->unseen_by, series, *origin);
}

/* Two values before the origin, one behind it: less is no test. */
static bool usable(const struct model_series *series, size_t origin, size_t horizon)
{
    size_t before = 0;
    for (size_t i = origin; i > 0 && before < 2; i--) {
        before += isnan(series->values[i - 1]) ? 0 : 1;
    }
    for (size_t i = origin; i < series->count && i < origin + horizon; i++) {
        if (!isnan(series->values[i])) {
            return before == 2;
        }
    }
    return false;
}

/* Without the phase, so that series of one time are of one origin wherever their readings lie. */
static int64_t time_of(const struct evaluation_place *place)
{
    return place->series->start_ms - grid_phase(place->series) +
           (int64_t)place->origin * place->series->step_ms;
}

static void add_place(struct evaluation *evaluation, const struct model_series *series,
                      size_t origin)
{
    struct evaluation_place *place = &evaluation->places[evaluation->count];
    *place = (struct evaluation_place){.series = series, .origin = origin};
    int64_t time_ms = time_of(place);
    evaluation->newest_ms = time_ms > evaluation->newest_ms ? time_ms : evaluation->newest_ms;
    evaluation->count++;
}

int64_t evaluation_back(const struct evaluation *evaluation, size_t index)
{
    const struct evaluation_place *place = &evaluation->places[index];
    int64_t horizon_ms = (int64_t)evaluation->horizon * place->series->step_ms;
    return (evaluation->newest_ms - time_of(place) + horizon_ms / 2) / horizon_ms;
}

enum status evaluation_init(struct evaluation *evaluation, const struct evaluation_wanted *wanted,
                            size_t horizon, struct error *error)
{
    *evaluation =
        (struct evaluation){.horizon = horizon, .newest_ms = INT64_MIN, .cancel = wanted->cancel};
    size_t places_max = wanted->places_max > 0 ? wanted->places_max : EVALUATED_MAX;
    size_t found = 0;
    size_t keep_each = 1;
    for (int pass = 0; pass < 2; pass++) {
        size_t seen = 0;
        size_t origin;
        for (size_t i = 0; i < wanted->series_count; i++) {
            const struct model_series *series = &wanted->series[i];
            for (size_t k = 0; place_at(wanted, series, horizon, k, &origin); k++) {
                if (!usable(series, origin, horizon)) {
                    continue;
                }
                if (pass == 1 && seen % keep_each == 0) {
                    add_place(evaluation, series, origin);
                }
                seen++;
            }
        }
        if (pass == 0) {
            keep_each = (seen + places_max - 1) / places_max;
            keep_each = keep_each > 0 ? keep_each : 1;
            found = (seen + keep_each - 1) / keep_each;
            evaluation->places = mem_zeroed(found + 1, sizeof(evaluation->places[0]));
            if (evaluation->places == NULL) {
                return error_set(error, STATUS_NO_MEMORY, "could not list the held-back origins");
            }
        }
    }
    CHECK(evaluation->count == found);
    evaluation->means = mem_zeroed(found * horizon + 1, sizeof(float));
    evaluation->quantiles = mem_zeroed(found * horizon * QUANTILE_COUNT + 1, sizeof(float));
    if (evaluation->means == NULL || evaluation->quantiles == NULL) {
        evaluation_release(evaluation);
        return error_set(error, STATUS_NO_MEMORY, "could not make room for held-back forecasts");
    }
    return STATUS_OK;
}

void evaluation_release(struct evaluation *evaluation)
{
    mem_free(evaluation->places);
    mem_free(evaluation->means);
    mem_free(evaluation->quantiles);
    *evaluation = (struct evaluation){0};
}

enum status evaluation_go_on(const struct evaluation *evaluation, struct error *error)
{
    bool cancelled = evaluation->cancel != NULL && atomic_load(evaluation->cancel);
    return cancelled ? error_set(error, STATUS_CANCELLED, "training was cancelled") : STATUS_OK;
}

struct forecast evaluation_get(const struct evaluation *evaluation, size_t index)
{
    size_t horizon = evaluation->horizon;
    return (struct forecast){
        .horizon = horizon,
        .mean = evaluation->means + index * horizon,
        .quantiles = evaluation->quantiles + index * horizon * QUANTILE_COUNT,
    };
}

void evaluation_actual(const struct evaluation *evaluation, size_t index, double *actual)
{
    const struct evaluation_place *place = &evaluation->places[index];
    for (size_t h = 0; h < evaluation->horizon; h++) {
        size_t at = place->origin + h;
        actual[h] = at < place->series->count ? place->series->values[at] : (double)NAN;
    }
}

static struct model_series cut_series(const struct evaluation_place *place)
{
    struct model_series series = *place->series;
    series.count = place->origin;
    return series;
}

/* ---------------------------------------------------------------- forecasts */

enum status evaluation_forecast(struct evaluation *evaluation, const struct snapshot *snapshot,
                                struct error *error)
{
    struct forecaster *forecaster = NULL;
    enum status status = forecaster_new(snapshot, BATCH, &forecaster, error);
    if (status != STATUS_OK) {
        return status;
    }
    struct model_series series[BATCH];
    struct forecast out[BATCH];
    for (size_t done = 0; done < evaluation->count && status == STATUS_OK;) {
        size_t part = evaluation->count - done < BATCH ? evaluation->count - done : BATCH;
        for (size_t i = 0; i < part; i++) {
            series[i] = cut_series(&evaluation->places[done + i]);
            out[i] = evaluation_get(evaluation, done + i);
        }
        status = forecaster_run(forecaster, series, part, out, error);
        if (status == STATUS_OK) {
            status = evaluation_go_on(evaluation, error);
        }
        done += part;
    }
    forecaster_free(forecaster);
    return status;
}

/* ---------------------------------------------------------------- figures */

/* Sums of one forecaster over the places: the model, or one baseline. */
struct sums {
    double loss, absolute, mase;
    uint64_t points, places, inside80;
    bool used;
};

static void add_sums(struct sums *sums, const struct forecast *forecast, const double *actual,
                     double scale)
{
    uint64_t points = 0;
    double error = 0.0;
    sums->loss += metrics_quantile_loss(actual, forecast, &sums->absolute, &points);
    for (size_t h = 0; h < forecast->horizon; h++) {
        if (isnan(actual[h])) {
            continue;
        }
        error += fabs(actual[h] - (double)forecast->mean[h]);
        double low = (double)forecast->quantiles[1 * forecast->horizon + h];
        double high = (double)forecast->quantiles[9 * forecast->horizon + h];
        sums->inside80 += low <= actual[h] && actual[h] <= high ? 1 : 0;
    }
    sums->points += points;
    if (points > 0 && scale > 0.0) {
        sums->mase += error / (double)points / scale;
        sums->places++;
    }
    sums->used = true;
}

static size_t scale_season(const struct model_series *series)
{
    return series->seasons[0] > 0 ? series->seasons[0] : 1;
}

static enum status sum_all(const struct evaluation *evaluation, struct sums *model,
                           struct sums baselines[BASELINE_COUNT], struct error *error)
{
    size_t horizon = evaluation->horizon;
    size_t longest = 0;
    for (size_t i = 0; i < evaluation->count; i++) {
        size_t origin = evaluation->places[i].origin;
        longest = origin > longest ? origin : longest;
    }
    double *scratch = mem_array(4 * longest + horizon, sizeof(double));
    float *room = mem_array((QUANTILE_COUNT + 1) * horizon, sizeof(float));
    if (scratch == NULL || room == NULL) {
        mem_free(scratch);
        mem_free(room);
        return error_set(error, STATUS_NO_MEMORY, "could not evaluate the baselines");
    }
    double *actual = scratch + 4 * longest;
    struct forecast out = {.horizon = horizon, .mean = room, .quantiles = room + horizon};
    enum status status = STATUS_OK;
    for (size_t i = 0; i < evaluation->count && status == STATUS_OK; i++) {
        struct model_series series = cut_series(&evaluation->places[i]);
        double scale = metrics_scale(series.values, series.count, scale_season(&series));
        evaluation_actual(evaluation, i, actual);
        struct forecast own = evaluation_get(evaluation, i);
        add_sums(model, &own, actual, scale);
        for (size_t b = 0; b < BASELINE_COUNT; b++) {
            bool made = baseline_forecast((enum baseline)b, &series, scratch, &out);
            /* Where a baseline cannot, the last value stands in: all cover the same places. */
            if (!made) {
                made = baseline_forecast(BASELINE_LAST_VALUE, &series, scratch, &out);
            }
            if (made) {
                add_sums(&baselines[b], &out, actual, scale);
            }
        }
        status = evaluation_go_on(evaluation, error);
    }
    mem_free(scratch);
    mem_free(room);
    return status;
}

enum status evaluation_figures(const struct evaluation *evaluation,
                               struct evaluation_figures *figures, struct error *error)
{
    struct sums model = {0};
    struct sums baselines[BASELINE_COUNT] = {{0}};
    double unknown = (double)NAN;
    *figures = (struct evaluation_figures){
        unknown, unknown, unknown, unknown, unknown, 0, BASELINE_LAST_VALUE};
    enum status status = sum_all(evaluation, &model, baselines, error);
    if (status != STATUS_OK || model.points == 0) {
        return status;
    }
    figures->points = model.points;
    figures->wql = model.loss / model.absolute;
    figures->coverage80 = (double)model.inside80 / (double)model.points;
    figures->mase = model.places > 0 ? model.mase / (double)model.places : unknown;
    for (size_t b = 0; b < BASELINE_COUNT; b++) {
        const struct sums *sums = &baselines[b];
        if (!sums->used) {
            continue;
        }
        double wql = sums->loss / sums->absolute;
        if (!(wql >= figures->baseline_wql)) {
            figures->baseline = (enum baseline)b;
            figures->baseline_wql = wql;
            figures->baseline_mase = sums->places > 0 ? sums->mase / (double)sums->places : unknown;
        }
    }
    return STATUS_OK;
}
