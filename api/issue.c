/* Issuing: learn from what arrived, forecast, keep the forecast beside those it is compared with.
 * SPDX-License-Identifier: Apache-2.0
 *
 * One series at a time, in this order, so that each vintage is what the answers of that moment say:
 *   1. settle: the values that came since the last time, against every vintage that foresaw them,
 *      are one lesson for the calibration and one observation of regret;
 *   2. where a new model is to serve, the calibration starts again from half of what it was and
 *      from what that model would have said at the origins held back from its training; a new
 *      series starts where the others of its group are;
 *   3. forecast as an answer would, with the baseline and, while a new champion is on trial, the
 *      previous one beside it;
 *   4. encode, and hand over to the writer as background work.
 */
#include "api/issue.h"

#include "api/call.h"
#include "api/metrics.h"
#include "api/trial.h"
#include "base/background.h"
#include "base/clock.h"
#include "base/memory.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static void issue_release(struct issue *issue)
{
    snapshot_release(issue->champion);
    snapshot_release(issue->previous);
    mem_free(issue->values);
}

/* ---------------------------------------------------------------- when */

static bool is_live(struct api_services *services, uint32_t id, int64_t step_ms)
{
    int64_t window_ms = 2 * step_ms > LIVE_ASKED_MS ? 2 * step_ms : LIVE_ASKED_MS;
    int64_t asked_ms = track_asked_ms(services->tracks, id);
    return asked_ms > 0 && clock_wall_ms() - asked_ms < window_ms;
}

bool api_issue_due(struct api_services *services, uint32_t id, bool live)
{
    const struct api_limits *limits = atomic_load(&services->limits);
    struct series_info info;
    struct series_facts facts;
    struct track track;
    struct error ignored = {0};
    if (limits->vintage_age_max_ms == 0 ||
        storage_series_info(services->storage, id, &info, &ignored) != STATUS_OK ||
        info.points < SHORT_HISTORY) {
        return false;
    }
    if (!live_facts(services->live, &info, &facts)) {
        return !live; /* to be found out */
    }
    bool asked = is_live(services, id, facts.step_ms);
    if (live && !asked) {
        return false;
    }
    struct grid_cells cells = live_cells(&facts);
    int64_t newest_ms = grid_cell_ms(&cells, info.last_ms);
    return !track_find(services->tracks, id, &track) ||
           vintage_due(facts.step_ms, limits->horizon_default, asked, track.origin_ms, newest_ms);
}

/* ---------------------------------------------------------------- one series */

/* Steps 1 and 2; false where it is not due, or has too few values. */
static bool prepare(struct issue *issue, struct error *error)
{
    struct api_services *services = issue->desk->services;
    const struct api_limits *limits = atomic_load(&services->limits);
    issue->horizon = limits->horizon_default;
    struct series_facts facts;
    if (storage_series_info(services->storage, issue->id, &issue->info, error) != STATUS_OK ||
        !forecast_track(issue->desk, issue->id, &issue->track) ||
        forecast_facts(issue->desk, &issue->info, false, &facts, error) != STATUS_OK) {
        return false;
    }
    /* As many as an answer is made from, at the earliest of the origins that are looked at. */
    size_t wanted = forecast_values(services, &facts) + (HELD_BACK + 2) * issue->horizon;
    struct grid_order order = {.maximum = wanted, .facts = &facts};
    if (forecast_grid(issue->desk, &issue->info, &order, &issue->values, &issue->series,
                      &issue->facts, error) != STATUS_OK ||
        issue->series.count < SHORT_HISTORY) {
        return false;
    }
    issue->series = forecast_bounds(&issue->series);
    const struct model_series *series = &issue->series;
    issue->origin_ms = series->start_ms + (int64_t)(series->count - 1) * series->step_ms;
    if (!vintage_due(series->step_ms, issue->horizon, is_live(services, issue->id, series->step_ms),
                     issue->track.origin_ms, issue->origin_ms)) {
        return false;
    }
    issue->scale = score_scale(series->values, series->count, series->seasons[0]);
    issue->champion = registry_acquire(services->registry, series->step_ms);
    issue->lost_trial =
        issue->champion && !trial_passed(issue->desk, issue->champion, issue->id, series);
    if (issue->lost_trial) {
        snapshot_release(issue->champion);
        issue->champion = NULL; /* nothing that it would have said is a lesson */
    }
    issue->previous = registry_acquire_previous(services->registry, series->step_ms);
    issue_settle(issue);
    issue_begin_model(issue);
    track_put(services->tracks, issue->id, &issue->track);
    return true;
}

static bool baseline_of(struct issue *issue, struct vintage *vintage, float *room)
{
    static const enum baseline order[] = {BASELINE_SEASONAL_NAIVE, BASELINE_LAST_VALUE};
    struct error ignored = {0};
    if (desk_scratch(issue->desk, 4 * issue->series.count, &ignored) != STATUS_OK) {
        return false;
    }
    vintage->baseline = (struct forecast){issue->horizon, room, room + issue->horizon};
    for (size_t i = 0; i < 2; i++) {
        if (baseline_forecast(order[i], &issue->series, issue->desk->scratch, &vintage->baseline)) {
            snprintf(vintage->baseline_name, sizeof(vintage->baseline_name), "%s",
                     baseline_name(order[i]));
            return true;
        }
    }
    return false;
}

/* What the previous champion says, from the same past and with the same correction, while the new
 * one is on trial. Moves the values of the issue where their level has shifted: it comes last. */
static bool rival_of(struct issue *issue, double widening, struct vintage *vintage, float *room)
{
    struct forecaster *forecaster = NULL;
    struct level_shift shift;
    struct error ignored = {0};
    int64_t step_ms = issue->series.step_ms;
    if (!issue->champion || !issue->previous || !vintage->model[0] ||
        !regret_wants_rival(issue->desk->services->regret, step_ms, issue_model(issue->champion),
                            issue_model(issue->previous),
                            regret_window_of(issue->origin_ms, step_ms, issue->horizon))) {
        return false;
    }
    vintage->rival = (struct forecast){issue->horizon, room, room + issue->horizon};
    if (desk_forecaster(issue->desk, issue->previous, &forecaster, &ignored) != STATUS_OK ||
        forecast_follow_shift(issue->desk, &issue->series, issue->values, &shift, &ignored) !=
            STATUS_OK ||
        forecaster_run(forecaster, &issue->series, 1, &vintage->rival, &ignored) != STATUS_OK ||
        !forecast_is_finite(&vintage->rival)) {
        return false;
    }
    conformal_apply(&vintage->calibration, &issue->series, &vintage->rival);
    forecast_complete(&issue->series, widening, &vintage->rival);
    snprintf(vintage->rival_model, sizeof(vintage->rival_model), "%s",
             issue_model(issue->previous));
    return true;
}

static void describe(const struct issue *issue, const struct forecast_made *made,
                     struct vintage *vintage)
{
    *vintage = (struct vintage){
        .issued_ms = made->issued_ms,
        .origin_ms = made->origin_ms,
        .step_ms = issue->series.step_ms,
        .data_age_ms = made->issued_ms - made->info.last_ms,
        .state = vintage_state(made->state, made->facts.counter),
        .trained_at_ms = made->model.trained_at_ms,
        .window_start_ms = made->model.window_start_ms,
        .window_end_ms = made->model.window_end_ms,
        .seed = made->model.seed,
        .calibration = made->calibration,
        .served = made->forecast,
    };
    snprintf(vintage->served_by, sizeof(vintage->served_by), "%s", made->served_by);
    memcpy(vintage->fallback_reason, made->fallback_reason, sizeof(vintage->fallback_reason));
    memcpy(vintage->model, made->model.id, sizeof(vintage->model));
}

/* Steps 3 and 4, once the forecast is made; whether the batch has it. */
static bool keep(struct issue *issue, const struct forecast_made *made, struct write_batch *batch)
{
    struct forecast_desk *desk = issue->desk;
    struct error error = {0};
    size_t horizon = made->forecast.horizon, each = (QUANTILE_COUNT + 1) * horizon;
    uint64_t maker = track_maker(made->model.id, made->served_by);
    unsigned char *bytes = mem_alloc(VINTAGE_BYTES_MAX(horizon));
    if (!bytes || made->origin_ms != issue->origin_ms || horizon != issue->horizon ||
        desk_floats(desk, 2 * each, &error) != STATUS_OK) {
        mem_free(bytes); /* new points came meanwhile: its turn comes again */
        return false;
    }
    (void)track_turn(&issue->track, maker);
    struct vintage vintage;
    describe(issue, made, &vintage);
    if (!baseline_of(issue, &vintage, desk->floats)) {
        vintage.baseline.horizon = 0;
    }
    if (!rival_of(issue, made->widening, &vintage, desk->floats + each)) {
        vintage.rival.horizon = 0;
    }
    int64_t lifetime_ms =
        vintage_lifetime_ms(vintage.step_ms, horizon, issue->track.origin_ms, issue->origin_ms,
                            atomic_load(&desk->services->limits)->vintage_age_max_ms);
    size_t length = vintage_encode(&vintage, bytes);
    bool kept =
        write_batch_vintage(batch, issue->id, vintage.issued_ms, vintage.issued_ms + lifetime_ms,
                            bytes, length, &error) == STATUS_OK;
    if (kept) {
        issue->track.origin_ms = issue->origin_ms;
        if (!issue->lost_trial && (made->model.id[0] || !issue->champion)) {
            track_pool_add(desk->services->tracks, issue->series.step_ms,
                           issue->champion ? issue->track.maker : 0, &issue->track.calibration);
        }
        track_put(desk->services->tracks, issue->id, &issue->track);
    }
    mem_free(bytes);
    return kept;
}

/* ---------------------------------------------------------------- the door */

static void issue_all(struct api_worker *worker, struct issue *issues, size_t count)
{
    struct api_services *services = worker->services;
    struct forecast_made made[API_ISSUE_MAX];
    struct write_batch *batch = NULL;
    struct error error = {0};
    uint32_t ids[API_ISSUE_MAX];
    size_t kept = 0;
    for (size_t i = 0; i < count; i++) {
        ids[i] = issues[i].id;
    }
    struct forecast_order order = {.ids = ids,
                                   .count = count,
                                   .steps = atomic_load(&services->limits)->horizon_default,
                                   .skip_short = true,
                                   .anew = true};
    order.steps_max = order.steps;
    if (forecast_make(worker->desk, &order, made, &error) != STATUS_OK) {
        return; /* a series vanished, or there is no memory: the next round will do */
    }
    enum status status = write_batch_new(services->storage, 0, &batch, &error);
    for (size_t i = 0; i < count; i++) {
        if (status == STATUS_OK && !made[i].skipped) {
            kept += keep(&issues[i], &made[i], batch);
            background_give_way();
        }
        forecast_made_release(&made[i]);
    }
    if (kept == 0) {
        write_batch_free(batch);
        return;
    }
    if (status == STATUS_OK) {
        status = writer_submit_background_take(services->writer, batch, NULL, NULL, &error);
    }
    api_count(services->metrics,
              status == STATUS_OK ? METRIC_VINTAGES_ISSUED : METRIC_VINTAGES_LOST, kept);
}

void api_issue(struct api_worker *worker, const uint32_t *ids, size_t count)
{
    struct issue issues[API_ISSUE_MAX];
    size_t used = 0;
    for (size_t i = 0; i < count && used < API_ISSUE_MAX; i++) {
        struct error error = {0};
        issues[used] = (struct issue){.desk = worker->desk, .id = ids[i]};
        background_give_way();
        if (prepare(&issues[used], &error)) {
            used++;
        } else {
            issue_release(&issues[used]);
        }
    }
    if (used > 0) {
        issue_all(worker, issues, used);
    }
    for (size_t i = 0; i < used; i++) {
        issue_release(&issues[i]);
    }
}
