/* From stored points to a forecast: the chain of methods.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "api/desk.h"

#include "api/horizon.h"
#include "api/metrics.h"
#include "api/trial.h"
#include "base/background.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/memory.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define VALUES_MIN     1024 /* on the grid, where the series has them */
#define GAPS_WIDEN     0.5  /* of a band, where all newest values are missing */
#define WIDENING_LEAST 1.05

void forecast_made_release(struct forecast_made *made)
{
    snapshot_release(made->snapshot);
    mem_free(made->block);
    mem_free(made->values);
    made->snapshot = NULL;
    made->block = NULL;
    made->values = NULL;
}

void forecast_lay_out(struct forecast_made *made, float *block, size_t horizon)
{
    made->block = block;
    made->forecast = (struct forecast){horizon, block, block + horizon};
    made->reversion.centre = block + (1 + QUANTILE_COUNT) * horizon;
    made->reversion.deviation = made->reversion.centre + horizon;
}

int64_t forecast_time_ms(const struct forecast_made *made, size_t step)
{
    return live_label_ms(&made->facts, made->origin_ms + (int64_t)step * made->facts.step_ms);
}

int64_t forecast_end_ms(const struct forecast_made *made, size_t step)
{
    return forecast_time_ms(made, step + 1) - made->facts.lead_ms;
}

size_t forecast_over(const struct forecast_made *made)
{
    size_t over = 0;
    while (forecast_end_ms(made, over + 1) <= made->issued_ms) {
        over++;
    }
    return over;
}

static enum status name_series(struct forecast_desk *desk, uint32_t id, struct error *error)
{
    char text[SERIES_TEXT_MAX];
    size_t length = storage_series_text(desk->services->storage, id, text);
    return error_wrap(error, "series \"%.*s\"", (int)(length < 200 ? length : 200), text);
}

size_t forecast_values(struct api_services *services, const struct series_facts *facts)
{
    size_t wanted = VALUES_MIN;
    for (size_t i = 0; i < SEASONS_MAX; i++) {
        wanted = wanted < (size_t)3 * facts->seasons[i] ? (size_t)3 * facts->seasons[i] : wanted;
    }
    struct snapshot *champion = registry_acquire(services->registry, facts->step_ms);
    if (champion) {
        size_t seen = snapshot_values(champion);
        wanted = seen > wanted ? seen : wanted;
        snapshot_release(champion);
    }
    return wanted < SERIES_VALUES_MAX ? wanted : SERIES_VALUES_MAX;
}

static void count_grid(struct forecast_made *made, const struct model_series *series)
{
    size_t first = 0;
    while (first < series->count && isnan(series->values[first])) {
        first++;
    }
    for (size_t i = first; i < series->count; i++) {
        if (isnan(series->values[i])) {
            made->missing++;
        } else {
            made->observed++;
        }
    }
}

/* Looks at the newest values: gaps widen the bands, and too many are an outage. */
static void look_for_outage(struct forecast_made *made, const struct model_series *series)
{
    double missing = 0.0;
    made->outage = outage_find(series, &missing);
    made->widening = 1.0 + GAPS_WIDEN * missing;
}

enum status forecast_follow_shift(struct forecast_desk *desk, const struct model_series *series,
                                  double *values, struct level_shift *shift, struct error *error)
{
    size_t used = series->count < SHIFT_VALUES ? series->count : SHIFT_VALUES;
    size_t from = series->count - used;
    *shift = (struct level_shift){.at = 0};
    if (desk_scratch(desk, 3 * used, error) != STATUS_OK) {
        return error->status;
    }
    if (level_shift_find(values + from, used, series->seasons, desk->scratch, shift)) {
        shift->at += from;
        level_shift_apply(shift, values, series->count);
    }
    return STATUS_OK;
}

/* Brings the past to the level of the newest values where that has shifted. */
static enum status look_for_shift(struct forecast_desk *desk, struct forecast_made *made,
                                  const struct model_series *series, struct error *error)
{
    struct level_shift shift;
    if (forecast_follow_shift(desk, series, made->values, &shift, error) != STATUS_OK) {
        return error->status;
    }
    if (shift.at > 0) {
        made->widening *= level_shift_widening(&shift, series->count);
        made->shifted_ms =
            live_label_ms(&made->facts, series->start_ms + (int64_t)shift.at * series->step_ms);
        made->warnings |= WARNING_LEVEL_SHIFT | (shift.unit ? WARNING_UNIT : 0u);
    }
    return STATUS_OK;
}

/* Cells without a value because they were excluded, of the grid just filled. */
static void count_excluded(const struct forecast_desk *desk, struct forecast_made *made,
                           const struct model_series *series)
{
    size_t next = 0;
    bool begun = false;
    for (size_t i = 0; i < series->count && desk->excluded.count > 0; i++) {
        int64_t time_ms = series->start_ms + (int64_t)i * series->step_ms - made->facts.lead_ms;
        begun = begun || !isnan(series->values[i]);
        if (isnan(series->values[i]) &&
            time_spans_meet(&desk->excluded, time_ms, time_ms + series->step_ms, &next)) {
            made->excluded++;
            made->missing -= begun ? 1 : 0; /* what lies before the first value was not counted */
        }
    }
}

/* Falls of a counter, and irregular distances, in the points just read. */
static void count_points(const struct forecast_desk *desk, struct forecast_made *made,
                         size_t maximum)
{
    size_t count = made->info.points < maximum ? (size_t)made->info.points : maximum;
    count = count < desk->points_capacity ? count : desk->points_capacity;
    double last = (double)NAN;
    for (size_t i = 0; i < count && made->facts.counter; i++) {
        double value = desk->points[i].value;
        if (!isnan(value)) {
            made->resets += value < last;
            last = value;
        }
    }
    if (made->facts.native_ms > 0) {
        made->off_step = grid_off_step(desk->points, count, made->facts.native_ms);
    }
    if (10 * made->off_step > count) {
        made->warnings |= WARNING_OFF_STEP;
    }
}

/* What values alone say, and room for their forecast. Bounds come from what was observed, before a
 * level shift moves it. */
static enum status assess(struct forecast_desk *desk, const struct forecast_order *order,
                          struct forecast_made *made, struct model_series *series,
                          struct error *error)
{
    size_t horizon = 0;
    count_grid(made, series);
    if (made->observed < 2) {
        error_set(error, STATUS_INVALID, "there are fewer than two values to forecast from");
        return error_code(error, "insufficient_history", "series");
    }
    made->origin_ms = series->start_ms + (int64_t)(series->count - 1) * series->step_ms;
    made->issued_ms = clock_wall_ms();
    made->good_until_ms = INT64_MAX;
    if (horizon_choose(order, series->step_ms, made, &horizon, error) != STATUS_OK) {
        return error->status;
    }
    made->declared_minimum = series->minimum;
    made->declared_maximum = series->maximum;
    *series = forecast_bounds(series);
    look_for_outage(made, series);
    if (look_for_shift(desk, made, series, error) != STATUS_OK) {
        return error->status;
    }
    float *block = mem_zeroed(horizon, FORECAST_ROWS * sizeof(float));
    if (!block) {
        return error_set(error, STATUS_NO_MEMORY, "no memory for a forecast");
    }
    forecast_lay_out(made, block, horizon);
    made->minimum = series->minimum;
    made->maximum = series->maximum;
    return STATUS_OK;
}

/* Everything but the forecast itself. */
static enum status prepare(struct forecast_desk *desk, const struct forecast_order *order,
                           struct forecast_made *made, struct model_series *series,
                           struct error *error)
{
    struct api_services *services = desk->services;
    struct series_facts own, facts;
    if (storage_series_info(services->storage, made->id, &made->info, error) != STATUS_OK) {
        return error_code(error, "unknown_series", "series");
    }
    if (forecast_facts(desk, &made->info, false, &own, error) != STATUS_OK) {
        return error->status;
    }
    facts = own;
    size_t excluded = 0;
    desk_excluded(desk, &made->info);
    if (time_spans_meet(&desk->excluded, made->info.last_ms, made->info.last_ms + 1, &excluded)) {
        made->info.last_value = (double)NAN; /* as if it were not there */
    }
    size_t maximum = SERIES_VALUES_MAX;
    int64_t step_ms = horizon_step_ms(order, own.step_ms);
    if (step_ms != own.step_ms &&
        forecast_facts_coarser(desk, &made->info, step_ms, &facts, &maximum, error) != STATUS_OK) {
        return error->status;
    }
    size_t wanted = forecast_values(services, &facts);
    struct grid_order grid = {.maximum = wanted < maximum ? wanted : maximum, .facts = &facts};
    if (forecast_grid(desk, &made->info, &grid, &made->values, series, &made->facts, error) !=
        STATUS_OK) {
        return error->status;
    }
    if (assess(desk, order, made, series, error) != STATUS_OK) {
        if (made->observed < 2 && desk->excluded.count > 0) {
            error_hint(error, "The setting \"exclude\" of the series leaves out the others.");
        }
        return error->status;
    }
    count_excluded(desk, made, series);
    count_points(desk, made, series->count + 1);
    made->own = live_cells(&own);
    made->state = series_state_of(services, &made->info, &own, made->issued_ms);
    if (step_ms != own.step_ms) {
        made->warnings |= WARNING_COARSER;
        made->state = made->state == SERIES_STALE
                          ? SERIES_STALE
                          : series_state_of(services, &made->info, &facts, made->issued_ms);
    }
    return STATUS_OK;
}

static void give_reason(struct forecast_made *made, const char *reason)
{
    size_t used = strlen(made->fallback_reason);
    snprintf(made->fallback_reason + used, sizeof(made->fallback_reason) - used, "%s%s",
             used ? "," : "", reason);
}

/* ---------------------------------------------------------------- methods */

static void note_model(struct forecast_made *made, const struct snapshot_record *record)
{
    made->model = (struct forecast_model){
        .trained_at_ms = record->trained_at_ms,
        .window_start_ms = record->window_start_ms,
        .window_end_ms = record->window_end_ms,
        .seed = record->seed,
    };
    memcpy(made->model.id, record->id, sizeof(made->model.id));
}

/* Runs a model over those of the series that have its step and no forecast yet. */
static void run_model(struct forecast_desk *desk, struct snapshot *snapshot, bool champion,
                      struct forecast_made *made, const struct model_series *series, size_t count)
{
    struct model_series batch[DESK_SERIES_MAX];
    struct forecast out[DESK_SERIES_MAX];
    size_t index[DESK_SERIES_MAX], used = 0;
    int64_t step_ms = snapshot_record(snapshot)->step_ms;
    for (size_t i = 0; i < count; i++) {
        if (made[i].served_by || made[i].outage || series[i].step_ms != step_ms) {
            continue;
        }
        if (trial_passed(desk, snapshot, made[i].id, &series[i])) {
            index[used] = i;
            batch[used] = series[i];
            out[used++] = made[i].forecast;
        } else if (champion) {
            give_reason(&made[i], "no_skill");
            api_count(desk->services->metrics, METRIC_FALLBACK_NO_SKILL, 1);
        }
    }
    struct forecaster *forecaster = NULL;
    struct error error = {0};
    bool ran = used > 0 && desk_forecaster(desk, snapshot, &forecaster, &error) == STATUS_OK &&
               forecaster_run(forecaster, batch, used, out, &error) == STATUS_OK;
    for (size_t k = 0; k < used; k++) {
        struct forecast_made *one = &made[index[k]];
        struct api_metrics *metrics = desk->services->metrics;
        if (ran && forecast_is_finite(&one->forecast)) {
            one->snapshot = snapshot_acquire(snapshot);
            one->served_by = snapshot_record(snapshot)->backbone;
            one->trained_horizon = snapshot_record(snapshot)->horizon;
            note_model(one, snapshot_record(snapshot));
            api_count(metrics, champion ? METRIC_BY_CHAMPION : METRIC_BY_PREVIOUS, 1);
        } else if (champion) {
            give_reason(one, ran ? "not_finite" : "model_failed");
            api_count(metrics, ran ? METRIC_FALLBACK_NOT_FINITE : METRIC_FALLBACK_FAILED, 1);
        }
    }
}

static void run_models(struct forecast_desk *desk, struct forecast_made *made,
                       const struct model_series *series, size_t count)
{
    struct registry *registry = desk->services->registry;
    bool tried[DESK_SERIES_MAX] = {false};
    for (size_t i = 0; i < count; i++) {
        if (tried[i]) {
            continue;
        }
        for (size_t j = i; j < count; j++) {
            tried[j] = tried[j] || series[j].step_ms == series[i].step_ms;
        }
        struct snapshot *champion = registry_acquire(registry, series[i].step_ms);
        if (champion) {
            run_model(desk, champion, true, made, series, count);
            snapshot_release(champion);
            struct snapshot *previous = registry_acquire_previous(registry, series[i].step_ms);
            if (previous) {
                run_model(desk, previous, false, made, series, count);
                snapshot_release(previous);
            }
        }
    }
}

/* Why it is not another one that serves: what could not. */
static void say_unable(struct forecast_made *made, const struct trial_served *served)
{
    static const struct {
        enum baseline baseline;
        const char *reason;
    } reasons[] = {
        {BASELINE_SEASONAL_NAIVE, "no_season"},
        {BASELINE_DAMPED_TREND, "no_trend"},
        {BASELINE_DRIFT, "no_drift"},
    };
    for (size_t i = 0; i < ARRAY_COUNT(reasons); i++) {
        if (served->unable & 1u << reasons[i].baseline) {
            give_reason(made, reasons[i].reason);
        }
    }
}

static enum status run_baselines(struct forecast_desk *desk, struct forecast_made *made,
                                 const struct model_series *series, struct error *error)
{
    static const enum metric by[BASELINE_COUNT] = {
        [BASELINE_LAST_VALUE] = METRIC_BY_LAST_VALUE,
        [BASELINE_DRIFT] = METRIC_BY_DRIFT,
        [BASELINE_SEASONAL_NAIVE] = METRIC_BY_SEASONAL_NAIVE,
        [BASELINE_DAMPED_TREND] = METRIC_BY_DAMPED_TREND,
        [BASELINE_SEASONAL_DRIFT] = METRIC_BY_SEASONAL_DRIFT,
    };
    struct api_metrics *metrics = desk->services->metrics;
    struct trial_served served;
    if (made->outage) {
        give_reason(made, "outage");
        api_count(metrics, METRIC_FALLBACK_OUTAGE, 1);
    } else if (!made->fallback_reason[0]) {
        give_reason(made, "no_model");
        api_count(metrics, METRIC_FALLBACK_NO_MODEL, 1);
    }
    if (desk_scratch(desk, 4 * series->count, error) != STATUS_OK) {
        return error->status;
    }
    /* Behind an outage there is nothing to try any by, and a level is as old as the outage: the
     * seasonal naive knows how long ago what it repeats was. */
    enum baseline first = made->outage
                              ? BASELINE_SEASONAL_NAIVE
                              : trial_baseline(desk, made->id, series, made->forecast.horizon);
    if (!trial_forecast(first, series, desk->scratch, &made->forecast, &served)) {
        return error_set(error, STATUS_INTERNAL, "no method could forecast the series");
    }
    say_unable(made, &served);
    made->served_by = baseline_name(served.by);
    api_count(metrics, by[served.by], 1);
    return STATUS_OK;
}

/* ---------------------------------------------------------------- calibration */

struct forecast_evidence forecast_evidence_of(const struct conformal *calibration,
                                              const struct snapshot_record *record)
{
    double unknown = (double)NAN;
    struct forecast_evidence evidence = {unknown, 0, false, unknown, unknown, {0}};
    if (record) {
        evidence.observed80 = record->coverage80;
        evidence.count = record->evaluated;
        evidence.mase = record->mase;
        evidence.relative = record->wql / record->baseline_wql;
        (void)snprintf(evidence.baseline, sizeof(evidence.baseline), "%s", record->baseline);
    }
    if (calibration->count >= LIVE_COUNT_MIN) {
        evidence.observed80 = (double)calibration->inside80 / (double)calibration->count;
        evidence.count = calibration->count;
        evidence.live = true;
    }
    return evidence;
}

/* What the series has taught about its bands, which it did on its own step, is applied to whatever
 * serves. */
static void calibrate_made(struct forecast_desk *desk, struct forecast_made *made,
                           const struct model_series *series)
{
    struct track track;
    if (made->facts.step_ms == made->own.step_ms && forecast_track(desk, made->id, &track) &&
        track.calibration.horizon > 0) {
        (void)track_turn(&track, track_maker(made->model.id, made->served_by));
        conformal_apply(&track.calibration, series, &made->forecast);
        made->calibration = track.calibration;
    }
    made->evidence = forecast_evidence_of(&made->calibration,
                                          made->snapshot ? snapshot_record(made->snapshot) : NULL);
}

/* ---------------------------------------------------------------- thresholds */

/* The fan that thresholds are held against, where it is not the forecast's own. */
static void look_for_reversion(struct forecast_desk *desk, struct forecast_made *made,
                               const struct model_series *series)
{
    struct error ignored = {0};
    struct reversion *reversion = &made->reversion;
    if (desk_scratch(desk, 3 * series->count, &ignored) != STATUS_OK ||
        !reversion_find(series, made->forecast.horizon, desk->scratch, reversion) ||
        !reversion_is_narrower(reversion, &made->forecast)) {
        reversion->horizon = 0;
        return;
    }
    for (size_t h = 0; h < reversion->horizon; h++) {
        reversion->deviation[h] *= (float)made->widening;
    }
}

void forecast_crossing(const struct forecast_made *made, double threshold, bool above,
                       struct crossing *out)
{
    /* The mean of a coarse cell may lie beyond where the series was and is no more. */
    bool cells = made->facts.step_ms != made->own.step_ms && !made->facts.counter;
    struct crossing_order order = {
        .threshold = threshold,
        .above = above,
        .newest = cells ? made->info.last_value : made->newest,
        .minimum = made->declared_minimum,
        .maximum = made->declared_maximum,
        .step_ms = made->facts.step_ms,
        .roughness = made->roughness,
        .reversion = made->reversion.horizon > 0 ? &made->reversion : NULL,
    };
    crossing_find(&made->forecast, &order, out);
    if (!out->crossed && live_points_per_cell(&made->facts) > 1) {
        double half_s = (double)made->facts.step_ms / 2000.0;
        out->p10_s += half_s;
        out->p50_s += half_s;
        out->p90_s += half_s;
    }
}

/* ---------------------------------------------------------------- the whole */

void forecast_complete(const struct model_series *series, double widening,
                       struct forecast *forecast)
{
    if (widening > WIDENING_LEAST) {
        forecast_widen(series, widening, forecast);
    }
    forecast_settle(series, forecast);
}

static void finish(struct forecast_made *made, const struct model_series *series)
{
    const struct series_info *info = &made->info;
    forecast_complete(series, made->widening, &made->forecast);
    int64_t stale_ms = info->last_ms + stale_after_ms(made->own.step_ms) + 1;
    int64_t next_ms = made->origin_ms + made->facts.step_ms - made->facts.lead_ms;
    int64_t cell_end_ms = next_ms + made->facts.step_ms;
    if (made->state != SERIES_STALE && stale_ms < made->good_until_ms) {
        made->good_until_ms = stale_ms;
    }
    if (info->last_ms >= next_ms && cell_end_ms < made->good_until_ms) {
        made->good_until_ms = cell_end_ms; /* a cell is being filled: it will close then */
    }
    if (made->snapshot && made->forecast.horizon > made->trained_horizon) {
        made->warnings |= WARNING_BEYOND_HORIZON;
    }
    if (made->state == SERIES_STALE) {
        made->warnings |= WARNING_STALE;
    }
    if (made->observed < SHORT_HISTORY) {
        made->warnings |= WARNING_SHORT_HISTORY;
    }
    if (made->missing * 9 > made->observed) {
        made->warnings |= WARNING_GAPS;
    }
    if (made->facts.counter) {
        made->warnings |= WARNING_RATE;
    }
    made->newest = series->values[series->count - 1];
    made->roughness = crossing_roughness(series->values, series->count, series->seasons[0]);
    mem_free(made->values);
    made->values = NULL;
}

/* Whether a series of several may be left out of the answer for what `error` says. */
static bool skip(const struct forecast_order *order, struct forecast_made *made,
                 struct model_series *series, struct error *error)
{
    if (!order->skip_short || !error->code || strcmp(error->code, "insufficient_history") != 0) {
        return false;
    }
    forecast_made_release(made);
    made->skipped = true;
    memset(series, 0, sizeof(*series)); /* of no step: no model looks at it */
    memset(error, 0, sizeof(*error));
    return true;
}

/* Whether it will be on a coarser grid, as far as the step is known. */
static bool is_far(struct forecast_desk *desk, const struct forecast_order *order, uint32_t id)
{
    struct series_info info;
    struct series_facts facts;
    struct error ignored;
    return order->coarser &&
           storage_series_info(desk->services->storage, id, &info, &ignored) == STATUS_OK &&
           live_facts(desk->services->live, &info, &facts) &&
           horizon_step_ms(order, facts.step_ms) != facts.step_ms;
}

/* A copy of what was made before; the series is then of no step, and no model looks at it. */
static bool find_kept(struct forecast_desk *desk, const struct forecast_order *order,
                      struct forecast_made *made, struct live_made_key *key,
                      struct model_series *series)
{
    struct track track;
    if (is_far(desk, order, made->id) || !forecast_track(desk, made->id, &track)) {
        track = (struct track){.maker = 0}; /* no lesson changes what is not calibrated */
    }
    key->id = made->id;
    live_made_key(desk->services, order, &track, key);
    if (order->anew || !live_made_find(desk->services, key, clock_wall_ms(), made)) {
        return false;
    }
    made->kept = true;
    memset(series, 0, sizeof(*series));
    return true;
}

enum status forecast_make(struct forecast_desk *desk, const struct forecast_order *order,
                          struct forecast_made *made, struct error *error)
{
    struct model_series series[DESK_SERIES_MAX];
    struct live_made_key keys[DESK_SERIES_MAX];
    enum status status = STATUS_OK;
    memset(made, 0, order->count * sizeof(*made));
    for (size_t i = 0; i < order->count && status == STATUS_OK; i++) {
        made[i].id = order->ids[i];
        if (find_kept(desk, order, &made[i], &keys[i], &series[i])) {
            continue;
        }
        background_give_way();
        status = prepare(desk, order, &made[i], &series[i], error);
        if (status != STATUS_OK && skip(order, &made[i], &series[i], error)) {
            status = STATUS_OK;
        } else if (status != STATUS_OK) {
            name_series(desk, order->ids[i], error);
        }
    }
    if (status == STATUS_OK) {
        run_models(desk, made, series, order->count);
    }
    for (size_t i = 0; i < order->count && status == STATUS_OK; i++) {
        background_give_way();
        if (!made[i].served_by && !made[i].skipped) {
            status = run_baselines(desk, &made[i], &series[i], error);
        }
        if (status == STATUS_OK && !made[i].skipped && !made[i].kept) {
            calibrate_made(desk, &made[i], &series[i]);
            if (order->crossings) {
                look_for_reversion(desk, &made[i], &series[i]);
            }
            finish(&made[i], &series[i]);
            if (!order->anew) {
                live_made_put(desk->services->live, &keys[i], &made[i]);
            }
        }
    }
    for (size_t i = 0; status != STATUS_OK && i < order->count; i++) {
        forecast_made_release(&made[i]);
    }
    return status;
}

enum status forecast_make_values(struct forecast_desk *desk, struct model_series *series,
                                 size_t count, size_t horizon, struct forecast_made *made,
                                 struct error *error)
{
    struct forecast_order order = {.count = count, .steps = horizon, .steps_max = horizon};
    enum status status = STATUS_OK;
    memset(made, 0, count * sizeof(*made));
    for (size_t i = 0; i < count && status == STATUS_OK; i++) {
        made[i].values = mem_array(series[i].count, sizeof(double));
        if (!made[i].values) {
            status = error_set(error, STATUS_NO_MEMORY, "no memory for the values of a series");
            break;
        }
        memcpy(made[i].values, series[i].values, series[i].count * sizeof(double));
        series[i].values = made[i].values;
        made[i].facts.step_ms = made[i].own.step_ms = series[i].step_ms;
        memcpy(made[i].facts.seasons, series[i].seasons, sizeof(made[i].facts.seasons));
        made[i].state = SERIES_BASELINE;
        status = assess(desk, &order, &made[i], &series[i], error);
    }
    if (status == STATUS_OK) {
        run_models(desk, made, series, count);
    }
    for (size_t i = 0; i < count && status == STATUS_OK; i++) {
        if (!made[i].served_by) {
            status = run_baselines(desk, &made[i], &series[i], error);
        }
        if (status == STATUS_OK) {
            finish(&made[i], &series[i]);
        }
    }
    for (size_t i = 0; status != STATUS_OK && i < count; i++) {
        forecast_made_release(&made[i]);
    }
    return status;
}
