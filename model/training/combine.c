/* From trained members to one forecaster: blend with a baseline, calibration, figures.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Losses are judged twice: relative to the sum of all values (wQL: large series count more) and
 * relative to each series' own seasonal difference (every series counts the same); their geometric
 * mean decides. A baseline is mixed in where that helps by more than 2 % of its share.
 */
#include "model/training/combine.h"

#include "base/check.h"
#include "base/memory.h"
#include "model/forecast.h"
#include "model/order.h"
#include "model/training/calibrate.h"
#include "model/training/metrics.h"

#include <math.h>
#include <string.h>

#define SCALED_CUT    20.0 /* of the median: no single place decides */
#define BLEND_STEPS   7    /* shares 0.1 ... 0.7 are tried */
#define BLEND_PENALTY 0.02 /* a share must earn this much of itself */
#define SCALE_FLOOR   0.02 /* of the series' deviation, for the scaled loss */

struct judge {
    const struct evaluation *evaluation;
    double *scales; /* [places] seasonal differences */
    double *actual; /* [H] */
    double *scaled; /* [places] scratch */
    float *copy;    /* [Q][H] scratch */
};

struct losses {
    double pooled, scaled;
};

static size_t values_of(const struct evaluation *evaluation)
{
    return evaluation->count * evaluation->horizon * QUANTILE_COUNT;
}

/* Both losses of the quantiles [count][Q][H]. */
static struct losses judge(struct judge *judge, const float *quantiles)
{
    const struct evaluation *evaluation = judge->evaluation;
    size_t horizon = evaluation->horizon;
    double loss = 0.0;
    double absolute = 0.0;
    size_t places = 0;
    for (size_t i = 0; i < evaluation->count; i++) {
        struct forecast forecast = {.horizon = horizon, .quantiles = judge->copy};
        memcpy(judge->copy, quantiles + i * horizon * QUANTILE_COUNT,
               horizon * QUANTILE_COUNT * sizeof(float));
        evaluation_actual(evaluation, i, judge->actual);
        uint64_t points = 0;
        double here = metrics_quantile_loss(judge->actual, &forecast, &absolute, &points);
        loss += here;
        if (points > 0 && judge->scales[i] > 0.0) {
            judge->scaled[places] = here / (double)points / judge->scales[i];
            places++;
        }
    }
    struct losses out = {.pooled = loss / fmax(absolute, 1e-300), .scaled = 0.0};
    if (places > 0) {
        order_sort(judge->scaled, places);
        double cut = SCALED_CUT * order_quantile(judge->scaled, places, 0.5) + 1e-9;
        for (size_t i = 0; i < places; i++) {
            out.scaled += fmin(judge->scaled[i], cut) / (double)places;
        }
    }
    return out;
}

static enum status judge_init(struct judge *out, const struct evaluation *evaluation, size_t season,
                              struct error *error)
{
    *out = (struct judge){.evaluation = evaluation};
    out->scales = mem_zeroed(evaluation->count + 1, sizeof(double));
    out->scaled = mem_zeroed(evaluation->count + 1, sizeof(double));
    out->actual = mem_zeroed(evaluation->horizon, sizeof(double));
    out->copy = mem_zeroed(evaluation->horizon * QUANTILE_COUNT, sizeof(float));
    if (out->scales == NULL || out->scaled == NULL || out->actual == NULL || out->copy == NULL) {
        return error_set(error, STATUS_NO_MEMORY, "could not judge the members");
    }
    for (size_t i = 0; i < evaluation->count; i++) {
        const struct evaluation_place *place = &evaluation->places[i];
        struct series_statistics statistics =
            series_statistics(place->series->values, place->origin);
        double scale = metrics_scale(place->series->values, place->origin, season);
        double floor = SCALE_FLOOR * statistics.deviation;
        out->scales[i] = scale > floor ? scale : floor;
    }
    return STATUS_OK;
}

static void judge_release(struct judge *judge)
{
    mem_free(judge->scales);
    mem_free(judge->scaled);
    mem_free(judge->actual);
    mem_free(judge->copy);
}

/* ---------------------------------------------------------------- blend */

struct blend {
    enum baseline baseline;
    uint32_t season;
    double share, value;
};

/* The baseline's quantiles at all places, [count][Q][H]; where it cannot, the ensemble's own. */
static enum status baseline_quantiles(const struct evaluation *evaluation, enum baseline baseline,
                                      uint32_t season, const float *ensemble, float *out,
                                      struct error *error)
{
    size_t horizon = evaluation->horizon;
    size_t longest = 0;
    for (size_t i = 0; i < evaluation->count; i++) {
        size_t origin = evaluation->places[i].origin;
        longest = origin > longest ? origin : longest;
    }
    double *scratch = mem_alloc((4 * longest + 1) * sizeof(double));
    float *mean = mem_alloc(horizon * sizeof(float));
    if (scratch == NULL || mean == NULL) {
        mem_free(scratch);
        mem_free(mean);
        return error_set(error, STATUS_NO_MEMORY, "could not blend a baseline");
    }
    for (size_t i = 0; i < evaluation->count; i++) {
        size_t at = i * horizon * QUANTILE_COUNT;
        struct model_series series = *evaluation->places[i].series;
        series.count = evaluation->places[i].origin;
        memset(series.seasons, 0, sizeof(series.seasons));
        series.seasons[0] = season;
        struct forecast forecast = {.horizon = horizon, .mean = mean, .quantiles = out + at};
        if (!baseline_forecast(baseline, &series, scratch, &forecast)) {
            memcpy(out + at, ensemble + at, horizon * QUANTILE_COUNT * sizeof(float));
        }
    }
    mem_free(scratch);
    mem_free(mean);
    return STATUS_OK;
}

static void mix(const float *a, const float *b, double share, size_t values, float *out)
{
    for (size_t i = 0; i < values; i++) {
        out[i] = (float)((1.0 - share) * (double)a[i] + share * (double)b[i]);
    }
}

/* Tries one baseline in growing shares; `room` has three blocks: the baseline, a mixture, and
 * spare. */
static enum status try_baseline(struct judge *context, enum baseline baseline, uint32_t season,
                                const float *ensemble, float *room, struct losses reference,
                                struct blend *best, struct error *error)
{
    const struct evaluation *evaluation = context->evaluation;
    size_t values = values_of(evaluation);
    enum status status = baseline_quantiles(evaluation, baseline, season, ensemble, room, error);
    for (size_t i = 1; i <= BLEND_STEPS && status == STATUS_OK; i++) {
        double share = 0.1 * (double)i;
        mix(ensemble, room, share, values, room + values);
        struct losses losses = judge(context, room + values);
        double pooled = reference.pooled > 0.0 ? losses.pooled / reference.pooled : 1.0;
        double scaled = reference.scaled > 0.0 ? losses.scaled / reference.scaled : 1.0;
        double value = sqrt(pooled * scaled) + BLEND_PENALTY * share;
        if (value < best->value - 1e-9) {
            *best = (struct blend){baseline, season, share, value};
        }
    }
    return status;
}

static enum status choose_blend(struct snapshot *snapshot, struct judge *context, float *ensemble,
                                struct error *error)
{
    size_t values = values_of(context->evaluation);
    float *room = mem_alloc(2 * values * sizeof(float));
    if (room == NULL) {
        return error_set(error, STATUS_NO_MEMORY, "could not blend a baseline");
    }
    struct losses reference = judge(context, ensemble);
    struct blend best = {.baseline = BASELINE_LAST_VALUE, .share = 0.0, .value = 1.0};
    enum status status =
        try_baseline(context, BASELINE_LAST_VALUE, 0, ensemble, room, reference, &best, error);
    for (size_t i = 0; i < SEASONS_MAX && status == STATUS_OK; i++) {
        if (snapshot->seasons[i] > 0) {
            status = try_baseline(context, BASELINE_SEASONAL_NAIVE, snapshot->seasons[i], ensemble,
                                  room, reference, &best, error);
        }
    }
    if (status == STATUS_OK && best.share > 0.0) {
        snapshot->blend = (float)best.share;
        snapshot->blend_baseline = best.baseline;
        snapshot->blend_season = best.season;
    }
    mem_free(room);
    return status;
}

/* ---------------------------------------------------------------- door */

/* Forecasts without blend and calibration are in `evaluation`; `ensemble` is room for a copy. */
static enum status combine(struct snapshot *snapshot, struct evaluation *evaluation, size_t origins,
                           float *ensemble, struct error *error)
{
    struct judge context;
    size_t season = snapshot->seasons[0] > 0 ? snapshot->seasons[0] : 1;
    enum status status = judge_init(&context, evaluation, season, error);
    if (status == STATUS_OK) {
        memcpy(ensemble, evaluation->quantiles, values_of(evaluation) * sizeof(float));
        status = choose_blend(snapshot, &context, ensemble, error);
    }
    judge_release(&context);
    if (status == STATUS_OK) {
        /* From here on as it is served: blended, not yet calibrated. */
        status = evaluation_forecast(evaluation, snapshot, error);
    }
    if (status == STATUS_OK) {
        status = calibrate(evaluation, origins, snapshot->spread, error);
    }
    if (status == STATUS_OK) {
        calibrate_apply(evaluation, snapshot->spread);
    }
    struct evaluation_figures figures;
    if (status == STATUS_OK) {
        status = evaluation_figures(evaluation, &figures, error);
    }
    if (status == STATUS_OK) {
        struct snapshot_record *record = &snapshot->record;
        record->mase = figures.mase;
        record->wql = figures.wql;
        record->coverage80 = figures.coverage80;
        record->baseline_mase = figures.baseline_mase;
        record->baseline_wql = figures.baseline_wql;
        record->evaluated = figures.points;
    }
    return status;
}

enum status combine_members(struct snapshot *snapshot, const struct evaluation_wanted *wanted,
                            struct error *error)
{
    struct evaluation evaluation;
    enum status status = evaluation_init(&evaluation, wanted, snapshot->plan.horizon, error);
    if (status != STATUS_OK) {
        return status;
    }
    float *ensemble = mem_alloc((values_of(&evaluation) + 1) * sizeof(float));
    if (ensemble == NULL) {
        status = error_set(error, STATUS_NO_MEMORY, "could not combine the members");
    }
    if (status == STATUS_OK && evaluation.count > 0) {
        status = evaluation_forecast(&evaluation, snapshot, error);
    }
    if (status == STATUS_OK && evaluation.count > 0) {
        status = combine(snapshot, &evaluation, wanted->origins, ensemble, error);
    }
    mem_free(ensemble);
    evaluation_release(&evaluation);
    return status;
}
