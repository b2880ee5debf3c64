/* The gate: a challenger must be finite and not worse than champion and baseline.
 * SPDX-License-Identifier: Apache-2.0
 *
 * All are compared at the same origins: the newest ones at or after the end of the challenger's
 * training window, so that none of them was learned from.
 */
#include "model/training/evaluate.h"

#include "base/check.h"

#include <math.h>
#include <stdio.h>

#define MARGIN      1.02 /* how much worse is still good enough */
#define ORIGINS_MAX 28   /* newest ones of each series */
#define HISTORY_MIN 2

static enum status wql_of(struct evaluation *evaluation, const struct snapshot *snapshot,
                          struct evaluation_figures *figures, struct error *error)
{
    enum status status = evaluation_forecast(evaluation, snapshot, error);
    return status == STATUS_OK ? evaluation_figures(evaluation, figures, error) : status;
}

static void judge(struct gate_result *result)
{
    double allowed = result->baseline * MARGIN;
    if (result->points == 0) {
        snprintf(result->reason, sizeof(result->reason),
                 "no values came after the training window: nothing to judge by");
    } else if (!isfinite(result->challenger)) {
        snprintf(result->reason, sizeof(result->reason), "its forecasts are not finite");
    } else if (result->challenger > allowed) {
        snprintf(result->reason, sizeof(result->reason),
                 "wQL %.4g is worse than the best baseline's %.4g", result->challenger,
                 result->baseline);
    } else if (isfinite(result->champion) && result->challenger > result->champion * MARGIN) {
        snprintf(result->reason, sizeof(result->reason),
                 "wQL %.4g is worse than the champion's %.4g", result->challenger,
                 result->champion);
    } else {
        result->promote = true;
        int used = snprintf(result->reason, sizeof(result->reason), "wQL %.4g, baseline %.4g, ",
                            result->challenger, result->baseline);
        snprintf(result->reason + used, sizeof(result->reason) - (size_t)used,
                 isfinite(result->champion) ? "champion %.4g" : "no champion", result->champion);
    }
}

enum status model_gate(const struct snapshot *challenger, const struct snapshot *champion,
                       const struct model_series *series, size_t series_count,
                       struct gate_result *result, struct error *error)
{
    *result = (struct gate_result){.champion = (double)NAN};
    struct evaluation evaluation;
    struct evaluation_wanted wanted = {
        .series = series,
        .series_count = series_count,
        .origins = ORIGINS_MAX,
        .history = HISTORY_MIN,
        .from_ms = challenger->record.window_end_ms,
    };
    enum status status = evaluation_init(&evaluation, &wanted, challenger->plan.horizon, error);
    if (status != STATUS_OK) {
        return status;
    }
    struct evaluation_figures figures;
    status = wql_of(&evaluation, challenger, &figures, error);
    if (status == STATUS_OK) {
        result->challenger = figures.wql;
        result->baseline = figures.baseline_wql;
        result->points = figures.points;
    }
    bool comparable = champion != NULL && champion->plan.step_ms == challenger->plan.step_ms;
    if (status == STATUS_OK && comparable) {
        status = wql_of(&evaluation, champion, &figures, error);
        result->champion = figures.wql;
    }
    evaluation_release(&evaluation);
    if (status == STATUS_OK) {
        judge(result);
    }
    return status;
}
