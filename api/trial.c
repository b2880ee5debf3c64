/* A trial of a model on a series that it was not weighed on, by the newest past of that series.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "api/trial.h"

#include "api/track.h"

#include "base/background.h"
#include "base/check.h"
#include "base/lock.h"
#include "base/memory.h"

#include <math.h>
#include <string.h>

#define SLOTS     65536 /* of the table: two verdicts of one slot are given more often */
#define STRETCHES 3
#define CLEARLY   1.2  /* times the other one's loss (recipe.md), and more where few steps tell: */
#define UNSURE    10.0 /* over their number: of a dozen it has to be twice */
#define ALIKE     1e-5 /* of the size of the values: so much loss is none */
#define CONTEXT   96   /* values before a stretch, half of which a model is asked from on */

struct verdict {
    uint64_t model;
    int64_t end_ms, until_ms; /* for series that end from end_ms on, before until_ms */
    uint32_t id;
    bool passed;
};

struct trials {
    struct lock lock;
    struct verdict verdicts[SLOTS]; /* by series and model; id 0: free */
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

static struct verdict *slot_of(struct trials *trials, uint32_t id, uint64_t model)
{
    return &trials->verdicts[(id + model * UINT64_C(0x9e3779b97f4a7c15)) % SLOTS];
}

static bool find_verdict(struct trials *trials, const struct verdict *wanted, bool *passed)
{
    lock_acquire(&trials->lock);
    const struct verdict *verdict = slot_of(trials, wanted->id, wanted->model);
    bool found = wanted->id != 0 && verdict->id == wanted->id && verdict->model == wanted->model &&
                 wanted->end_ms >= verdict->end_ms && wanted->end_ms < verdict->until_ms;
    *passed = verdict->passed;
    lock_release(&trials->lock);
    return found;
}

static void keep_verdict(struct trials *trials, const struct verdict *verdict)
{
    lock_acquire(&trials->lock);
    if (verdict->id != 0) {
        *slot_of(trials, verdict->id, verdict->model) = *verdict;
    }
    lock_release(&trials->lock);
}

/* ---------------------------------------------------------------- stretches */

/* The stretches of one trial that tell something, newest first, and what is forecast of them. */
struct stretches {
    size_t length, count, steps; /* steps: that have a value, of all */
    struct model_series before[STRETCHES];
    struct forecast forecasts[STRETCHES];
    float *memory;
};

/* How many steps of a stretch behind `before` tell something: none where an outage lies before it.
 */
static size_t steps_behind(const struct model_series *before, size_t length)
{
    size_t newest = before->count < CONTEXT ? before->count : CONTEXT;
    size_t seen = 0, steps = 0;
    for (size_t t = before->count - newest; t < before->count; t++) {
        seen += isnan(before->values[t]) ? 0 : 1;
    }
    for (size_t t = before->count; t < before->count + length; t++) {
        steps += isnan(before->values[t]) ? 0 : 1;
    }
    return 2 * seen >= newest ? steps : 0;
}

static bool begin_stretches(struct stretches *stretches, const struct model_series *series,
                            size_t horizon)
{
    size_t most = series->count / (2 * STRETCHES);
    *stretches = (struct stretches){.length = horizon < most ? horizon : most};
    size_t floats = stretches->length * (QUANTILE_COUNT + 1);
    stretches->memory = mem_array(STRETCHES * floats, sizeof(float));
    for (size_t i = 1; stretches->memory != NULL && i <= STRETCHES; i++) {
        struct model_series before = *series;
        before.count -= i * stretches->length;
        size_t steps = steps_behind(&before, stretches->length);
        if (steps > 0) {
            float *at = stretches->memory + stretches->count * floats;
            stretches->forecasts[stretches->count] = (struct forecast){
                .horizon = stretches->length, .mean = at, .quantiles = at + stretches->length};
            stretches->before[stretches->count] = before;
            stretches->count++;
            stretches->steps += steps;
        }
    }
    return stretches->memory != NULL;
}

/* ---------------------------------------------------------------- the trial */

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

static double size_of(const struct stretches *stretches, size_t i)
{
    const double *actual = stretches->before[i].values + stretches->before[i].count;
    double size = 0.0;
    for (size_t h = 0; h < stretches->length; h++) {
        size += isnan(actual[h]) ? 0.0 : fabs(actual[h]);
    }
    return size;
}

/* What would serve without a model: the first that can. False where neither can. */
static bool forecast_without(struct stretches *stretches, size_t i, double *scratch)
{
    const struct model_series *before = &stretches->before[i];
    struct forecast *forecast = &stretches->forecasts[i];
    if (baseline_forecast(BASELINE_SEASONAL_NAIVE, before, scratch, forecast)) {
        return true;
    }
    if (!baseline_forecast(BASELINE_DAMPED_TREND, before, scratch, forecast)) {
        return false;
    }
    (void)one_value_forecast(before, scratch, forecast);
    return true;
}

static bool clearly_worse(struct stretches *stretches, double *scratch)
{
    double with = 0.0, without = 0.0, size = 0.0;
    for (size_t i = 0; i < stretches->count; i++) {
        bool finite = forecast_is_finite(&stretches->forecasts[i]);
        double loss = finite ? loss_of(stretches, i) : 0.0;
        if (finite && forecast_without(stretches, i, scratch)) {
            with += loss;
            without += loss_of(stretches, i);
            size += size_of(stretches, i);
        }
    }
    double limit = CLEARLY + UNSURE / (double)stretches->steps;
    return with > limit * without && with - without > ALIKE * size;
}

bool trial_passed(struct forecast_desk *desk, struct snapshot *snapshot, uint32_t id,
                  const struct model_series *series)
{
    const struct snapshot_record *record = snapshot_record(snapshot);
    struct verdict verdict = {
        .model = track_maker(record->id, ""), .id = id, .end_ms = end_of(series)};
    if (series->count < TRIAL_VALUES || snapshot_weighed(snapshot, series->key)) {
        return true;
    }
    if (find_verdict(desk->services->trials, &verdict, &verdict.passed)) {
        return verdict.passed;
    }
    struct error error = {0};
    struct forecaster *forecaster = NULL;
    struct stretches stretches;
    if (desk_scratch(desk, 4 * series->count, &error) != STATUS_OK ||
        desk_forecaster(desk, snapshot, &forecaster, &error) != STATUS_OK ||
        !begin_stretches(&stretches, series, record->horizon)) {
        return true;
    }
    bool ran = stretches.count == 0 || forecaster_run(forecaster, stretches.before, stretches.count,
                                                      stretches.forecasts, &error) == STATUS_OK;
    verdict.passed = !ran || stretches.count == 0 || !clearly_worse(&stretches, desk->scratch);
    verdict.until_ms = verdict.end_ms + (int64_t)stretches.length * series->step_ms;
    mem_free(stretches.memory);
    if (ran) {
        keep_verdict(desk->services->trials, &verdict);
    }
    background_give_way();
    return verdict.passed;
}
