/* Whether the condition of an alert rule holds for a series, out of a forecast made for it.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "api/call.h"
#include "api/forecast_make.h"
#include "api/metrics.h"
#include "base/clock.h"

#include <math.h>
#include <string.h>

#define LONGEST_MS (COARSER_STEPS * INT64_C(86400000)) /* that any coarser grid has */

void api_count_webhook(struct api_services *services, enum webhook_result result)
{
    static const enum metric metrics[] = {[WEBHOOK_SENT] = METRIC_WEBHOOKS_SENT,
                                          [WEBHOOK_FAILED] = METRIC_WEBHOOKS_FAILED,
                                          [WEBHOOK_DROPPED] = METRIC_WEBHOOKS_DROPPED};
    api_count(services->metrics, metrics[result], 1);
}

/* Steps that are over already say nothing about what is to come; the one that runs does. The first
 * that is not over counts in any case, however short the time is beside the step. */
static void find_quantile(const struct alert_condition *condition, const struct forecast_made *made,
                          int64_t now_ms, struct alert_finding *finding)
{
    double sign = condition->above ? 1.0 : -1.0;
    finding->figure = (double)NAN;
    for (size_t step = 0; step < made->forecast.horizon; step++) {
        int64_t time_ms = forecast_time_ms(made, step + 1);
        bool behind = time_ms > now_ms + condition->within_ms && !isnan(finding->figure);
        if (forecast_end_ms(made, step + 1) <= now_ms || behind) {
            continue;
        }
        double value = forecast_level(made, step, condition->level);
        if (isnan(finding->figure) || sign * value > sign * finding->figure) {
            finding->figure = value;
        }
        if (!finding->holds && sign * value > sign * condition->threshold) {
            finding->holds = true;
            finding->when_ms = time_ms;
        }
    }
}

static void find_crossing(const struct alert_condition *condition, const struct forecast_made *made,
                          int64_t now_ms, struct alert_finding *finding)
{
    struct crossing crossing;
    forecast_crossing(made, condition->threshold, condition->above, &crossing);
    double after_s = condition->level < 0.3   ? crossing.p10_s
                     : condition->level < 0.7 ? crossing.p50_s
                                              : crossing.p90_s;
    finding->figure = crossing.p_within;
    if (!isnan(after_s)) {
        finding->when_ms = made->origin_ms + (int64_t)(after_s * 1e3);
        finding->holds = finding->when_ms <= now_ms + condition->within_ms;
    }
}

/* The forecast up to the end of the time, however old the newest reading is: on a coarser grid
 * where it has to be; on the series' own, as far as that goes, where no coarser one can have it or
 * has two values yet. */
static enum status make(struct api_worker *worker, uint32_t id,
                        const struct alert_condition *condition, struct forecast_made *made,
                        struct error *error)
{
    const struct api_limits *limits = atomic_load(&worker->services->limits);
    struct forecast_order order = {
        .ids = &id,
        .count = 1,
        .horizon_ms = condition->within_ms,
        .steps_max = limits->horizon_max,
        .skip_short = true,
        .coarser = true,
        .from_now = true,
        .crossings = condition->measure == ALERT_CROSSING,
    };
    if (order.horizon_ms > LONGEST_MS) {
        order.horizon_ms = LONGEST_MS;
    }
    enum status status = forecast_make(worker->desk, &order, made, error);
    bool refused =
        status == STATUS_INVALID && strcmp(error->code ? error->code : "", "bad_parameter") == 0;
    if (refused || (status == STATUS_OK && made->skipped)) {
        order.horizon_ms = 0;
        order.steps = limits->horizon_max;
        *error = (struct error){0};
        status = forecast_make(worker->desk, &order, made, error);
    }
    return status;
}

enum status api_alert_find(struct api_worker *worker, const struct alert_condition *condition,
                           uint32_t id, struct alert_finding *finding, struct error *error)
{
    struct forecast_made made = {0};
    int64_t now_ms = clock_wall_ms();
    *finding = (struct alert_finding){.when_ms = INT64_MIN};
    enum status status = make(worker, id, condition, &made, error);
    if (status == STATUS_NOT_FOUND) {
        return STATUS_OK;
    }
    if (status != STATUS_OK) {
        return status;
    }
    finding->usable = !made.skipped;
    finding->stale = finding->usable && made.state == SERIES_STALE;
    if (finding->usable && !finding->stale) {
        finding->origin_ms = forecast_time_ms(&made, 0);
        if (condition->measure == ALERT_QUANTILE) {
            find_quantile(condition, &made, now_ms, finding);
        } else {
            find_crossing(condition, &made, now_ms, finding);
        }
    }
    forecast_made_release(&made);
    return STATUS_OK;
}
