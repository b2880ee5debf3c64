/* From trained members to one forecaster: blend with a baseline, calibration, figures.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The order is: forecasts of the members alone, blend, forecasts as they are served, calibration.
 * The figures are of forecasts that were not calibrated on themselves (calibrate.h); but the blend
 * was chosen on them, too.
 */
#include "model/training/combine.h"

#include "model/training/blend_choose.h"
#include "model/training/calibrate.h"

#include <stdio.h>

#define TRAINED_ORIGINS 16 /* origins before the held-back ones that the blend looks at too */
#define HISTORIES       4  /* horizons of history that such an origin has, at least */

/* The blend is chosen on the held-back origins and on some of those that the members were trained
 * on. There they look better than they are, but a day or two that were held back may be all that a
 * series has, and one anomaly in them would decide for the rest of its life. */
static enum status choose_blend(struct snapshot *snapshot, const struct evaluation_wanted *wanted,
                                struct error *error)
{
    struct evaluation evaluation;
    struct evaluation_wanted wide = *wanted;
    size_t horizon = snapshot->plan.horizon;
    size_t history = HISTORIES * horizon;
    wide.origins += TRAINED_ORIGINS;
    wide.history = wide.history > history ? wide.history : history;
    enum status status = evaluation_init(&evaluation, &wide, horizon, error);
    if (status == STATUS_OK && evaluation.count == 0) {
        evaluation_release(&evaluation);
        status = evaluation_init(&evaluation, wanted, horizon, error);
    }
    if (status != STATUS_OK) {
        return status;
    }
    status = evaluation_forecast(&evaluation, snapshot, error);
    if (status == STATUS_OK) {
        status = blend_choose(&evaluation, snapshot->seasons, &snapshot->blend, error);
    }
    evaluation_release(&evaluation);
    return status;
}

/* Forecasts without blend and calibration are in `evaluation`. */
static enum status combine(struct snapshot *snapshot, struct evaluation *evaluation,
                           const struct evaluation_wanted *wanted,
                           const struct model_config *config, struct error *error)
{
    size_t origins = wanted->origins;
    enum status status = STATUS_OK;
    if (!config->without_blend) {
        status = choose_blend(snapshot, wanted, error);
    }
    if (status == STATUS_OK && !config->without_blend) {
        /* From here on as it is served: blended, not yet calibrated. */
        status = evaluation_forecast(evaluation, snapshot, error);
    }
    if (status == STATUS_OK && !config->without_calibration) {
        status = calibrate(evaluation, &snapshot->blend, origins, snapshot->spread, error);
    }
    if (status == STATUS_OK && !config->without_calibration) {
        status =
            calibrate_crosswise(evaluation, &snapshot->blend, origins, snapshot->spread, error);
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
        const char *baseline = figures.points > 0 ? baseline_name(figures.baseline) : "";
        snprintf(record->baseline, sizeof(record->baseline), "%s", baseline);
    }
    return status;
}

enum status combine_members(struct snapshot *snapshot, const struct evaluation_wanted *wanted,
                            const struct model_config *config, struct error *error)
{
    struct evaluation evaluation;
    struct evaluation_wanted any = *wanted;
    any.longer_than = 0;
    enum status status = evaluation_init(&evaluation, wanted, snapshot->plan.horizon, error);
    if (status == STATUS_OK && evaluation.count == 0 && wanted->longer_than > 0) {
        evaluation_release(&evaluation);
        wanted = &any; /* what was learned is better than nothing */
        status = evaluation_init(&evaluation, wanted, snapshot->plan.horizon, error);
    }
    if (status != STATUS_OK) {
        return status;
    }
    if (status == STATUS_OK && evaluation.count > 0) {
        status = evaluation_forecast(&evaluation, snapshot, error);
    }
    if (status == STATUS_OK && evaluation.count > 0) {
        status = combine(snapshot, &evaluation, wanted, config, error);
    }
    evaluation_release(&evaluation);
    return status;
}
