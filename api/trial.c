/* A trial of a model on a series that its training did not weigh, by the newest past of that
 * series. SPDX-License-Identifier: Apache-2.0
 */
#include "api/trial.h"

#include "api/track.h"

#include "base/check.h"
#include "base/lock.h"
#include "base/memory.h"

#include <math.h>
#include <string.h>

#define SLOTS     65536 /* of the table: two series in one slot are tried more often */
#define STRETCHES 3
#define CLEARLY   1.2  /* times the other one's loss (recipe.md), and more where few steps tell: */
#define UNSURE    10.0 /* over their number: of a dozen it has to be twice */
#define CONTEXT   96   /* values before a stretch, half of which a model is asked from on */

struct verdict {
    uint64_t model;
    int64_t end_ms, until_ms; /* for series that end from end_ms on, before until_ms */
    uint32_t id;
    bool passed;
};

struct trials {
    struct lock lock;
    struct verdict verdicts[SLOTS]; /* by id; one of no time is free */
};

enum status trials_new(struct trials **out, struct error *error)
{
    *out = mem_zeroed(1, sizeof(**out));
    if (*out == NULL) {
        return error_set(error, STATUS_NO_MEMORY, "no memory for the verdicts of trials");
    }
    lock_init(&(*out)->lock);
    return STATUS_OK;
}

void trials_free(struct trials *trials)
{
    if (trials != NULL) {
        lock_release_memory(&trials->lock);
        mem_free(trials);
    }
}

/* ---------------------------------------------------------------- the table */

static int64_t end_of(const struct model_series *series)
{
    return series->start_ms + (int64_t)series->count * series->step_ms;
}

static bool find_verdict(struct trials *trials, uint32_t id, uint64_t model, int64_t end_ms,
                         bool *passed)
{
    lock_acquire(&trials->lock);
    const struct verdict *verdict = &trials->verdicts[id % SLOTS];
    bool found = verdict->id == id && verdict->model == model && end_ms >= verdict->end_ms &&
                 end_ms < verdict->until_ms;
    *passed = verdict->passed;
    lock_release(&trials->lock);
    return found;
}

static void keep_verdict(struct trials *trials, const struct verdict *verdict)
{
    lock_acquire(&trials->lock);
    trials->verdicts[verdict->id % SLOTS] = *verdict;
    lock_release(&trials->lock);
}

/* ---------------------------------------------------------------- the trial */

/* The stretches of one trial, newest first, and what is forecast of them. */
struct stretches {
    size_t length;
    struct model_series before[STRETCHES];
    struct forecast forecasts[STRETCHES];
    float *memory;
};

static bool begin_stretches(struct stretches *stretches, const struct model_series *series,
                            size_t horizon)
{
    size_t most = series->count / (2 * STRETCHES);
    stretches->length = horizon < most ? horizon : most;
    size_t floats = stretches->length * (QUANTILE_COUNT + 1);
    stretches->memory = mem_array(STRETCHES * floats, sizeof(float));
    for (size_t i = 0; stretches->memory != NULL && i < STRETCHES; i++) {
        float *at = stretches->memory + i * floats;
        stretches->before[i] = *series;
        stretches->before[i].count = series->count - (i + 1) * stretches->length;
        stretches->forecasts[i] = (struct forecast){
            .horizon = stretches->length, .mean = at, .quantiles = at + stretches->length};
    }
    return stretches->memory != NULL;
}

/* Sum of the quantile losses of stretch i: pinball (Koenker and Bassett 1978) over all levels. */
static double loss_of(const struct stretches *stretches, size_t i)
{
    const struct forecast *forecast = &stretches->forecasts[i];
    const double *actual = stretches->before[i].values + stretches->before[i].count;
    double loss = 0.0;
    for (size_t h = 0; h < forecast->horizon; h++) {
        for (size_t q = 0; q < QUANTILE_COUNT && !isnan(actual[h]); q++) {
            double away = actual[h] - (double)forecast->quantiles[q * forecast->horizon + h];
            loss += away > 0.0 ? quantile_levels[q] * away : (quantile_levels[q] - 1.0) * away;
        }
    }
    return loss;
}

/* What would serve without a model: the first that can. False where neither can. */
static bool forecast_without(struct stretches *stretches, size_t i, double *scratch)
{
    static const enum baseline chain[] = {BASELINE_SEASONAL_NAIVE, BASELINE_DAMPED_TREND};
    for (size_t c = 0; c < ARRAY_COUNT(chain); c++) {
        if (baseline_forecast(chain[c], &stretches->before[i], scratch, &stretches->forecasts[i])) {
            return true;
        }
    }
    return false;
}

/* How many steps of stretch i tell something: none where an outage lies before it. */
static size_t steps_of(const struct stretches *stretches, size_t i)
{
    const struct model_series *before = &stretches->before[i];
    size_t newest = before->count < CONTEXT ? before->count : CONTEXT;
    size_t seen = 0, steps = 0;
    for (size_t t = before->count - newest; t < before->count; t++) {
        seen += isnan(before->values[t]) ? 0 : 1;
    }
    for (size_t h = 0; h < stretches->length; h++) {
        steps += isnan(before->values[before->count + h]) ? 0 : 1;
    }
    return 2 * seen >= newest ? steps : 0;
}

static bool clearly_worse(struct forecast_desk *desk, struct forecaster *forecaster,
                          struct stretches *stretches)
{
    struct error error = {0};
    double model[STRETCHES], with = 0.0, without = 0.0, steps = 0.0;
    if (forecaster_run(forecaster, stretches->before, STRETCHES, stretches->forecasts, &error) !=
        STATUS_OK) {
        return false;
    }
    for (size_t i = 0; i < STRETCHES; i++) {
        model[i] = forecast_is_finite(&stretches->forecasts[i]) ? loss_of(stretches, i) : 0.0;
    }
    for (size_t i = 0; i < STRETCHES; i++) {
        size_t told = steps_of(stretches, i);
        if (told > 0 && forecast_without(stretches, i, desk->scratch)) {
            with += model[i];
            without += loss_of(stretches, i);
            steps += (double)told;
        }
    }
    return steps > 0.0 && with > (CLEARLY + UNSURE / steps) * without;
}

bool trial_passed(struct forecast_desk *desk, struct snapshot *snapshot, uint32_t id,
                  const struct model_series *series, size_t horizon)
{
    struct trials *trials = desk->services->trials;
    struct verdict verdict = {.model = track_maker(snapshot_record(snapshot)->id, ""),
                              .id = id,
                              .end_ms = end_of(series)};
    if (series->count < TRIAL_VALUES || snapshot_weighed(snapshot, series->key)) {
        return true;
    }
    if (find_verdict(trials, id, verdict.model, verdict.end_ms, &verdict.passed)) {
        return verdict.passed;
    }
    struct error error = {0};
    struct forecaster *forecaster = NULL;
    struct stretches stretches;
    if (desk_scratch(desk, 4 * series->count, &error) != STATUS_OK ||
        desk_forecaster(desk, snapshot, &forecaster, &error) != STATUS_OK ||
        !begin_stretches(&stretches, series, horizon)) {
        return true;
    }
    verdict.passed = !clearly_worse(desk, forecaster, &stretches);
    verdict.until_ms = verdict.end_ms + (int64_t)stretches.length * series->step_ms;
    mem_free(stretches.memory);
    keep_verdict(trials, &verdict);
    return verdict.passed;
}
