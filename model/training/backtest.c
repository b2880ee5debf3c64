/* Rolling-origin evaluation: train once before the test windows, then forecast through them.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Series are trimmed and left out as `score.py cut` does: leading gaps go; a series stays where
 * three seasons are left for training and half of the test values are there. Each window may use
 * the windows before it as history, never anything after its origin.
 */
#include "base/check.h"
#include "base/clock.h"
#include "base/memory.h"
#include "model/snapshot.h"
#include "model/training/metrics.h"

#include <math.h>
#include <string.h>

#define SEASON_WITNESSES 256 /* series whose season is put to the vote of all */

struct entry {
    const char *id;
    struct model_series series; /* trimmed; train and test part */
    size_t cut;                 /* length of the train part */
    double scale;               /* for MASE */
};

struct backtest {
    const struct backtest_request *request;
    struct entry *entries;
    struct model_series *train; /* [count] the train parts */
    size_t count;
    uint32_t season;
    double *scratch;
    float *room;
    struct metrics_sum champion, seasonal_naive, naive2;
    uint64_t left_out;
    double forecast_seconds;
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
        if (entry->series.seasons[0] == 0) {
            season_detect(entry->series.values, entry->cut, entry->series.step_ms,
                          entry->series.seasons);
        }
        backtest->count++;
    }
}

static enum status prepare(struct backtest *backtest, struct error *error)
{
    const struct backtest_request *request = backtest->request;
    size_t count = request->series_count;
    size_t longest = 0;
    for (size_t i = 0; i < count; i++) {
        longest =
            request->series[i].series.count > longest ? request->series[i].series.count : longest;
    }
    backtest->entries = mem_zeroed(count + 1, sizeof(struct entry));
    backtest->train = mem_zeroed(count + 1, sizeof(struct model_series));
    backtest->room = mem_zeroed((QUANTILE_COUNT + 1) * request->horizon, sizeof(float));
    size_t scratch = 4 * longest + 2 * (longest + 1) + 3 * request->horizon;
    backtest->scratch = mem_zeroed(scratch, sizeof(double));
    if (backtest->entries == NULL || backtest->train == NULL || backtest->room == NULL ||
        backtest->scratch == NULL) {
        return error_set(error, STATUS_NO_MEMORY, "could not prepare the backtest");
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

/* The seasonal naive with the backtest's season; last value where a series is too short for it. */
static void add_naive(struct backtest *backtest, const struct entry *entry, size_t origin,
                      struct forecast *out)
{
    struct model_series series = entry->series;
    series.count = origin;
    memset(series.seasons, 0, sizeof(series.seasons));
    series.seasons[0] = backtest->season;
    const double *actual = entry->series.values + origin;
    bool made = baseline_forecast(BASELINE_SEASONAL_NAIVE, &series, backtest->scratch, out) ||
                baseline_forecast(BASELINE_LAST_VALUE, &series, backtest->scratch, out);
    if (made) {
        metrics_add(&backtest->seasonal_naive, actual, out, entry->scale);
    }
    if (backtest->request->m4) {
        double *points = backtest->scratch + 2 * origin + 2 * (size_t)backtest->season;
        if (metrics_naive2(series.values, origin, backtest->season, backtest->scratch, points,
                           out->horizon)) {
            metrics_add_points(&backtest->naive2, actual, points, out->horizon, entry->scale);
        }
    }
}

static enum status forecast_entry(struct backtest *backtest, struct forecaster *forecaster,
                                  const struct entry *entry, struct error *error)
{
    const struct backtest_request *request = backtest->request;
    size_t horizon = request->horizon;
    struct forecast out = {
        .horizon = horizon, .mean = backtest->room, .quantiles = backtest->room + horizon};
    size_t windows = request->windows > 0 ? request->windows : 1;
    for (size_t window = 1; window <= windows; window++) {
        struct model_series series = entry->series;
        series.count = entry->cut + (window - 1) * horizon;
        int64_t before_ns = clock_monotonic_ns();
        enum status status = forecaster_run(forecaster, &series, 1, &out, error);
        backtest->forecast_seconds += (double)(clock_monotonic_ns() - before_ns) * 1e-9;
        if (status != STATUS_OK) {
            return error_wrap(error, "series \"%s\"", entry->id);
        }
        if (request->visit != NULL) {
            request->visit(request->visit_context, entry->id, window, &out);
        }
        if (request->windows > 0) {
            const double *actual = entry->series.values + series.count;
            metrics_add(&backtest->champion, actual, &out, entry->scale);
            add_naive(backtest, entry, series.count, &out);
        }
    }
    return STATUS_OK;
}

static enum status run(struct backtest *backtest, struct backtest_result *result,
                       struct error *error)
{
    struct train_request train = backtest->request->train;
    train.series = backtest->train;
    train.series_count = backtest->count;
    train.config.horizon = backtest->request->horizon;
    int64_t started_ns = clock_monotonic_ns();
    enum status status = model_train(&train, &result->snapshot, error);
    result->train_seconds = (double)(clock_monotonic_ns() - started_ns) * 1e-9;
    if (status != STATUS_OK) {
        return status;
    }
    struct forecaster *forecaster = NULL;
    status = forecaster_new(result->snapshot, 1, &forecaster, error);
    for (size_t i = 0; i < backtest->count && status == STATUS_OK; i++) {
        status = forecast_entry(backtest, forecaster, &backtest->entries[i], error);
    }
    forecaster_free(forecaster);
    return status;
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
        result->series_used = backtest.count;
        result->series_left_out = backtest.left_out;
        result->season = backtest.season;
        result->forecast_seconds = backtest.forecast_seconds;
        result->peak_bytes = mem_bytes_peak();
        result->parameters = result->snapshot->record.parameters;
        metrics_finish(&backtest.champion, &result->champion);
        metrics_finish(&backtest.seasonal_naive, &result->seasonal_naive);
        if (request->m4) {
            metrics_owa(&backtest.naive2, &result->champion);
            metrics_owa(&backtest.naive2, &result->seasonal_naive);
        }
    } else {
        snapshot_release(result->snapshot);
        result->snapshot = NULL;
    }
    mem_free(backtest.entries);
    mem_free(backtest.train);
    mem_free(backtest.scratch);
    mem_free(backtest.room);
    return status;
}
