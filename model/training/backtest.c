/* Rolling-origin evaluation: train once before the test windows, then forecast through them.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Series are trimmed and left out as `score.py cut` does: leading gaps go; a series stays where
 * three seasons are left for training and half of the test values are there. Each window may use
 * the windows before it as history, never anything after its origin. So may the correction of each
 * series' bands (conformal.c): it begins with the newest origins that training held back and learns
 * from a window once that is over, as it does in service.
 */
#include "model/backtest.h"

#include "base/clock.h"
#include "base/memory.h"
#include "model/forecast.h"
#include "model/snapshot.h"
#include "model/training/yardstick.h"

#include <math.h>
#include <string.h>

#define SEASON_WITNESSES 256 /* series whose season is put to the vote of all */
#define TRAIN_SHARE      0.9 /* of the progress; forecasting is the rest */
#define OBSERVED_MIN     2   /* that a model wants to see of a series */
#define HELD_BACK        4   /* origins before the first window that a correction begins with */

struct entry {
    const char *id;
    size_t index;               /* of the request's series */
    struct model_series series; /* trimmed; train and test part */
    size_t cut;                 /* length of the train part */
    double scale;               /* for MASE */
};

/* The champion, then the baselines. */
#define MODELS (1 + BASELINE_COUNT)

struct backtest {
    const struct backtest_request *request;
    struct entry *entries;
    struct model_series *train; /* [count] the train parts */
    size_t count;
    uint32_t season;
    double *scratch;
    float *room;         /* of a forecast */
    double *scored_room; /* of two scored ones: a model's, and the last value's */
    struct scored_forecast scored, last_value;
    struct metrics_sum sums[MODELS], naive2;
    struct metrics_sum of_series[MODELS]; /* the same of the series at hand */
    uint64_t left_out;
    double forecast_seconds;
    const struct snapshot *snapshot;
    struct train_progress progress; /* the newest */
};

/* The season that most series show first, by detection on the train parts; 1 where none does. */
static uint32_t detect_season(struct backtest *backtest)
{
    uint32_t best = 1;
    size_t support = 0;
    for (size_t i = 0; i < backtest->count && i < SEASON_WITNESSES; i++) {
        uint32_t season = backtest->entries[i].series.seasons[0];
        size_t votes = 0;
        for (size_t j = 0; season > 1 && j < backtest->count; j++) {
            votes += backtest->entries[j].series.seasons[0] == season ? 1 : 0;
        }
        if (votes > support) {
            support = votes;
            best = season;
        }
    }
    return best;
}

/* Trims a series; false where it is left out. `season` 0 does not ask for three seasons yet. */
static bool cut_series(const struct backtest_request *request, const struct backtest_series *item,
                       uint32_t season, struct entry *entry)
{
    size_t test = request->horizon * request->windows;
    size_t count = item->series.count;
    size_t cut = count > test ? count - test : 0;
    size_t lead = 0;
    while (lead < cut && isnan(item->series.values[lead])) {
        lead++;
    }
    size_t observed = 0;
    for (size_t i = cut; i < count; i++) {
        observed += isnan(item->series.values[i]) ? 0 : 1;
    }
    size_t needed = 3 * (size_t)(season > 1 ? season : 1);
    if (count < test || cut - lead < needed || 2 * observed < test) {
        return false;
    }
    *entry = (struct entry){.id = item->id, .series = item->series, .cut = cut - lead};
    entry->series.values += lead;
    entry->series.count -= lead;
    entry->series.start_ms += (int64_t)lead * entry->series.step_ms;
    return true;
}

static void collect(struct backtest *backtest, uint32_t season)
{
    const struct backtest_request *request = backtest->request;
    backtest->count = 0;
    backtest->left_out = 0;
    for (size_t i = 0; i < request->series_count; i++) {
        struct entry *entry = &backtest->entries[backtest->count];
        if (!cut_series(request, &request->series[i], season, entry)) {
            backtest->left_out++;
            continue;
        }
        entry->index = i;
        if (entry->series.seasons[0] == 0) {
            season_detect(entry->series.values, entry->cut, entry->series.step_ms,
                          entry->series.seasons);
        }
        backtest->count++;
    }
}

static enum status make_room(struct backtest *backtest, struct error *error)
{
    const struct backtest_request *request = backtest->request;
    size_t count = request->series_count;
    size_t horizon = request->horizon;
    size_t longest = 0;
    for (size_t i = 0; i < count; i++) {
        longest =
            request->series[i].series.count > longest ? request->series[i].series.count : longest;
    }
    size_t values = (QUANTILE_COUNT + 1) * horizon;
    size_t scratch = 4 * longest + 2 * (longest + 1) + 3 * horizon;
    backtest->entries = mem_zeroed(count + 1, sizeof(struct entry));
    backtest->train = mem_zeroed(count + 1, sizeof(struct model_series));
    backtest->room = mem_zeroed(values, sizeof(float));
    backtest->scored_room = mem_zeroed(2 * values, sizeof(double));
    backtest->scratch = mem_zeroed(scratch, sizeof(double));
    if (backtest->entries == NULL || backtest->train == NULL || backtest->room == NULL ||
        backtest->scored_room == NULL || backtest->scratch == NULL) {
        return error_set(error, STATUS_NO_MEMORY, "could not prepare the backtest");
    }
    double *room = backtest->scored_room;
    backtest->scored = (struct scored_forecast){horizon, room, room + horizon};
    room += values;
    backtest->last_value = (struct scored_forecast){horizon, room, room + horizon};
    return STATUS_OK;
}

static enum status prepare(struct backtest *backtest, struct error *error)
{
    const struct backtest_request *request = backtest->request;
    enum status status = make_room(backtest, error);
    if (status != STATUS_OK) {
        return status;
    }
    collect(backtest, request->season);
    backtest->season = request->season > 0 ? request->season : detect_season(backtest);
    if (request->season == 0 && backtest->season > 1) {
        collect(backtest, backtest->season);
    }
    if (backtest->count == 0) {
        error_set(error, STATUS_INVALID,
                  "cannot backtest: no series has %u training values and %zu test values",
                  3 * backtest->season, request->horizon * request->windows);
        return error_hint(error, "Choose a shorter horizon, fewer windows or a shorter season.");
    }
    for (size_t i = 0; i < backtest->count; i++) {
        struct entry *entry = &backtest->entries[i];
        entry->scale = metrics_scale(entry->series.values, entry->cut, backtest->season);
        backtest->train[i] = entry->series;
        backtest->train[i].count = entry->cut;
    }
    return STATUS_OK;
}

/* ---------------------------------------------------------------- the models of one window */

static void add(struct backtest *backtest, size_t model, const double *actual,
                const struct scored_forecast *forecast, double scale)
{
    metrics_add(&backtest->sums[model], actual, forecast, scale);
    metrics_add(&backtest->of_series[model], actual, forecast, scale);
}

/* All baselines at one origin. `out` is a forecast to write to. */
static void add_baselines(struct backtest *backtest, const struct entry *entry, size_t origin,
                          struct forecast *out)
{
    struct model_series series = entry->series;
    const double *actual = entry->series.values + origin;
    double *scratch = backtest->scratch;
    series.count = origin;
    yardstick_naive(series.values, origin, 1, scratch, &backtest->last_value);
    for (int i = 0; i < BASELINE_COUNT; i++) {
        const struct scored_forecast *made = &backtest->last_value;
        if (i == BASELINE_SEASONAL_NAIVE) {
            yardstick_naive(series.values, origin, backtest->season, scratch, &backtest->scored);
            made = &backtest->scored;
        } else if (i != BASELINE_LAST_VALUE &&
                   baseline_forecast((enum baseline)i, &series, scratch, out)) {
            scored_from(out, &backtest->scored);
            made = &backtest->scored;
        }
        add(backtest, 1 + (size_t)i, actual, made, entry->scale);
    }
}

static void add_naive2(struct backtest *backtest, const struct entry *entry, size_t origin)
{
    size_t horizon = backtest->request->horizon;
    double *points = backtest->scratch + 2 * origin + 2 * (size_t)backtest->season;
    if (metrics_naive2(entry->series.values, origin, backtest->season, backtest->scratch, points,
                       horizon)) {
        metrics_add_points(&backtest->naive2, entry->series.values + origin, points, horizon,
                           entry->scale);
    }
}

/* A model refuses fewer than two observed values; a flat line at the only one is all that can be
 * said. */
static bool too_short(const struct model_series *series)
{
    size_t observed = 0;
    for (size_t i = 0; i < series->count && observed < OBSERVED_MIN; i++) {
        observed += isnan(series->values[i]) ? 0 : 1;
    }
    return observed < OBSERVED_MIN;
}

static void forecast_flat(const struct model_series *series, struct forecast *out)
{
    float value = (float)forecast_last_seen(series->values, series->count);
    for (size_t step = 0; step < out->horizon; step++) {
        out->mean[step] = value;
    }
    for (size_t i = 0; i < QUANTILE_COUNT * out->horizon; i++) {
        out->quantiles[i] = value;
    }
}

/* Lets the correction learn from what came after an origin, as it does in service once a horizon is
 * over. `issued` is the correction that `out` was made under. */
static void learn_window(const struct entry *entry, size_t origin, const struct forecast *out,
                         const struct conformal *issued, struct conformal *state)
{
    struct conformal_lesson lesson = {.seen = {0}};
    const double *actual = entry->series.values + origin;
    int64_t step_ms = entry->series.step_ms;
    int64_t end_ms = entry->series.start_ms + (int64_t)(origin + out->horizon) * step_ms;
    for (size_t h = 0; h < out->horizon; h++) {
        if (!isnan(actual[h])) {
            conformal_see(state, out, issued, h, actual[h], &lesson);
        }
    }
    conformal_learn(state, &lesson);
    for (size_t h = 0; h < out->horizon && issued->horizon > 0; h++) {
        if (!isnan(actual[h])) {
            conformal_watch(state, conformal_side(out, h, actual[h]), end_ms, step_ms);
        }
    }
}

/* What the model would have said at the newest origins that training held back, oldest first: with
 * that a series begins in service too. */
static enum status learn_held_back(struct backtest *backtest, struct forecaster *forecaster,
                                   const struct entry *entry, struct conformal *state,
                                   struct error *error)
{
    size_t horizon = backtest->request->horizon;
    struct forecast out = {
        .horizon = horizon, .mean = backtest->room, .quantiles = backtest->room + horizon};
    struct conformal nothing;
    size_t learned = 0;
    enum status status = STATUS_OK;
    struct model_series given = entry->series;
    given.count = entry->cut;
    conformal_init(&nothing, 0);
    for (size_t k = HELD_BACK; k > 0 && status == STATUS_OK; k--) {
        struct model_series series = given;
        series.count = given.count > k * horizon ? given.count - k * horizon : 0;
        if (!snapshot_unseen(backtest->snapshot, &given, series.count) || too_short(&series)) {
            continue;
        }
        status = forecaster_run(forecaster, &series, 1, &out, error);
        if (status == STATUS_OK) {
            learn_window(entry, series.count, &out, &nothing, state);
            learned++;
        }
    }
    if (learned < HELD_BACK) {
        conformal_init(state, 0); /* too short to tell its bands from those of all */
    }
    return status;
}

/* One window: forecast, correct, score, learn. */
static enum status forecast_window(struct backtest *backtest, struct forecaster *forecaster,
                                   const struct entry *entry, size_t window,
                                   struct conformal *state, struct error *error)
{
    const struct backtest_request *request = backtest->request;
    size_t horizon = request->horizon;
    struct forecast out = {
        .horizon = horizon, .mean = backtest->room, .quantiles = backtest->room + horizon};
    struct model_series series = entry->series;
    series.count = entry->cut + (window - 1) * horizon;
    int64_t before_ns = clock_monotonic_ns();
    enum status status = STATUS_OK;
    if (too_short(&series)) {
        forecast_flat(&series, &out);
    } else {
        status = forecaster_run(forecaster, &series, 1, &out, error);
        struct model_series bounds = series;
        bool never_negative = series_statistics(series.values, series.count).non_negative;
        if (never_negative && bounds.minimum < 0.0) {
            bounds.minimum = fmin(0.0, bounds.maximum);
        }
        conformal_apply(state, &bounds, &out);
    }
    backtest->forecast_seconds += (double)(clock_monotonic_ns() - before_ns) * 1e-9;
    if (status != STATUS_OK) {
        return status;
    }
    if (request->visit != NULL) {
        request->visit(request->visit_context, entry->id, window, &out);
    }
    if (request->windows > 0) {
        scored_from(&out, &backtest->scored);
        add(backtest, 0, entry->series.values + series.count, &backtest->scored, entry->scale);
        struct conformal issued = *state;
        if (state->horizon > 0) {
            learn_window(entry, series.count, &out, &issued, state);
        }
        add_baselines(backtest, entry, series.count, &out);
    }
    if (request->windows > 0 && request->m4) {
        add_naive2(backtest, entry, series.count);
    }
    return STATUS_OK;
}

static enum status forecast_entry(struct backtest *backtest, struct forecaster *forecaster,
                                  const struct entry *entry, struct error *error)
{
    const struct backtest_request *request = backtest->request;
    size_t windows = request->windows > 0 ? request->windows : 1;
    struct conformal state;
    enum status status = STATUS_OK;
    memset(backtest->of_series, 0, sizeof(backtest->of_series));
    conformal_init(&state, request->train.config.without_calibration ? 0 : request->horizon);
    if (state.horizon > 0) {
        status = learn_held_back(backtest, forecaster, entry, &state, error);
    }
    for (size_t window = 1; window <= windows && status == STATUS_OK; window++) {
        status = forecast_window(backtest, forecaster, entry, window, &state, error);
    }
    return status == STATUS_OK ? status : error_wrap(error, "series \"%s\"", entry->id);
}

/* ---------------------------------------------------------------- all of it */

static double quantile_loss(const struct metrics_sum *sum)
{
    double loss = 0.0;
    for (size_t i = QUANTILE_FIRST_DECILE; i <= QUANTILE_LAST_DECILE; i++) {
        loss += sum->pinball[i];
    }
    return loss;
}

static void fill_row(const struct backtest *backtest, const struct entry *entry,
                     struct backtest_row *row)
{
    const struct metrics_sum *baselines = backtest->of_series + 1;
    *row = (struct backtest_row){.id = entry->id, .index = entry->index};
    for (int i = 1; i < BASELINE_COUNT; i++) {
        if (quantile_loss(&baselines[i]) < quantile_loss(&baselines[row->best])) {
            row->best = (enum baseline)i;
        }
    }
    metrics_finish(&backtest->of_series[0], &row->champion);
    metrics_finish(&baselines[row->best], &row->baseline);
}

static void report_training(void *context, const struct train_progress *progress)
{
    struct backtest *backtest = context;
    const struct train_request *train = &backtest->request->train;
    backtest->progress = *progress;
    backtest->progress.fraction = TRAIN_SHARE * progress->fraction;
    if (train->report != NULL) {
        train->report(train->report_context, &backtest->progress);
    }
}

/* False where somebody has cancelled. */
static bool report_forecasting(struct backtest *backtest, size_t done)
{
    const struct train_request *train = &backtest->request->train;
    backtest->progress.fraction =
        TRAIN_SHARE + (1.0 - TRAIN_SHARE) * (double)done / (double)backtest->count;
    backtest->progress.phase = "forecasting";
    backtest->progress.seconds_left = 0.0;
    if (train->report != NULL) {
        train->report(train->report_context, &backtest->progress);
    }
    return train->cancel == NULL || !atomic_load(train->cancel);
}

static enum status forecast_all(struct backtest *backtest, struct backtest_result *result,
                                struct error *error)
{
    struct forecaster *forecaster = NULL;
    enum status status = forecaster_new(result->snapshot, 1, &forecaster, error);
    backtest->snapshot = result->snapshot;
    for (size_t i = 0; i < backtest->count && status == STATUS_OK; i++) {
        if (!report_forecasting(backtest, i)) {
            status = error_set(error, STATUS_CANCELLED, "the backtest was cancelled");
            break;
        }
        status = forecast_entry(backtest, forecaster, &backtest->entries[i], error);
        if (status == STATUS_OK && backtest->request->windows > 0) {
            fill_row(backtest, &backtest->entries[i], &result->rows[result->row_count++]);
        }
    }
    forecaster_free(forecaster);
    return status;
}

static enum status run(struct backtest *backtest, struct backtest_result *result,
                       struct error *error)
{
    struct train_request train = backtest->request->train;
    train.series = backtest->train;
    train.series_count = backtest->count;
    train.config.horizon = backtest->request->horizon;
    train.report = report_training;
    train.report_context = backtest;
    int64_t started_ns = clock_monotonic_ns();
    enum status status = model_train(&train, &result->snapshot, error);
    result->train_seconds = (double)(clock_monotonic_ns() - started_ns) * 1e-9;
    if (status != STATUS_OK) {
        return status;
    }
    result->rows = mem_zeroed(backtest->count, sizeof(*result->rows));
    if (result->rows == NULL) {
        return error_set(error, STATUS_NO_MEMORY, "no memory for %zu rows", backtest->count);
    }
    return forecast_all(backtest, result, error);
}

static void fill_result(const struct backtest *backtest, struct backtest_result *result)
{
    result->series_used = backtest->count;
    result->series_left_out = backtest->left_out;
    result->season = backtest->season;
    result->forecast_seconds = backtest->forecast_seconds;
    result->peak_bytes = mem_bytes_peak();
    result->parameters = result->snapshot->record.parameters;
    for (size_t i = 0; i < MODELS; i++) {
        struct metrics *out = i == 0 ? &result->champion : &result->baselines[i - 1];
        metrics_finish(&backtest->sums[i], out);
        if (backtest->request->m4) {
            metrics_owa(&backtest->naive2, out);
        }
    }
}

void backtest_release(struct backtest_result *result)
{
    snapshot_release(result->snapshot);
    mem_free(result->rows);
    *result = (struct backtest_result){.series_used = 0};
}

enum status backtest_run(const struct backtest_request *request, struct backtest_result *result,
                         struct error *error)
{
    *result = (struct backtest_result){.series_used = 0};
    struct backtest backtest = {.request = request};
    enum status status = prepare(&backtest, error);
    if (status == STATUS_OK) {
        status = run(&backtest, result, error);
    }
    if (status == STATUS_OK) {
        fill_result(&backtest, result);
    } else {
        backtest_release(result);
    }
    mem_free(backtest.entries);
    mem_free(backtest.train);
    mem_free(backtest.scratch);
    mem_free(backtest.scored_room);
    mem_free(backtest.room);
    return status;
}
