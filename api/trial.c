/* Trials by the newest past of a series: of a model that was not weighed on it, and of baselines.
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

#define SLOTS         262144 /* of the table: two verdicts of one slot are given more often */
#define STRETCHES     3
#define CLEARLY       1.2 /* times the other one's loss (recipe.md), and more where few steps tell: */
#define UNSURE        10.0 /* over their number: of a dozen it has to be twice */
#define ALIKE         1e-5 /* of the size of the values: so much loss is none */
#define CONTEXT       96   /* values before a stretch: half of them, or no outage, and it tells */
#define BETTER        1.1  /* times a baseline's loss the damped trend's has to be, and more: */
#define BETTER_UNSURE 5.0  /* over the number of steps */
#define LOST          2.0 /* times the damped trend's loss on one stretch: no more of it is tried */
#define SHORTEST      24  /* stretch that baselines are chosen by, or twice that, four times ... */
#define CELLS         512 /* newest ones that a verdict is tied to */
#define FEW_STEPS     8   /* a stretch is not made shorter for the sake of two seasons before it */

struct verdict {
    uint64_t of;              /* a model; or the steps that baselines were to look ahead */
    int64_t end_ms, until_ms; /* for series that end from end_ms on, before until_ms */
    uint32_t id, past, cells; /* what it was of, see past_of, by so many cells before end_ms */
    unsigned char said;       /* whether the model passed; the baseline */
};

struct trials {
    struct lock lock;
    struct verdict verdicts[SLOTS]; /* by series and what it is of; id 0: free. Memory is taken as
                                     * slots are used */
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

static struct verdict *slot_of(struct trials *trials, uint32_t id, uint64_t of)
{
    return &trials->verdicts[(id + of * UINT64_C(0x9e3779b97f4a7c15)) % SLOTS];
}

/* What a verdict was reached on, but for the values, which a level shift moves each time: the grid,
 * the seasons, and which of the cells before `end` have a value. Exclude a day, set a season, and
 * it is another past. */
static uint32_t past_of(const struct model_series *series, size_t end, size_t cells)
{
    uint64_t hash = (uint64_t)series->step_ms;
    for (size_t i = 0; i < SEASONS_MAX; i++) {
        hash = (hash ^ series->seasons[i]) * UINT64_C(0x100000001b3); /* FNV-1a */
    }
    for (size_t i = end - cells; i < end; i++) {
        hash = (hash ^ isnan(series->values[i])) * UINT64_C(0x100000001b3);
    }
    return (uint32_t)(hash >> 32);
}

/* What was said, where that still holds. */
static bool find_verdict(struct trials *trials, const struct model_series *series,
                         struct verdict *wanted)
{
    lock_acquire(&trials->lock);
    struct verdict kept = *slot_of(trials, wanted->id, wanted->of);
    lock_release(&trials->lock);
    if (wanted->id == 0 || kept.id != wanted->id || kept.of != wanted->of ||
        wanted->end_ms < kept.end_ms || wanted->end_ms >= kept.until_ms) {
        return false;
    }
    size_t since = (size_t)((wanted->end_ms - kept.end_ms) / series->step_ms);
    wanted->said = kept.said;
    return since + kept.cells <= series->count &&
           past_of(series, series->count - since, kept.cells) == kept.past;
}

/* `length`: of a stretch, for which it is good. */
static void keep_verdict(struct trials *trials, const struct model_series *series, size_t length,
                         struct verdict *verdict)
{
    size_t cells = series->count - series->count / (2 * STRETCHES); /* that stay in sight so long */
    verdict->cells = (uint32_t)(cells < CELLS ? cells : CELLS);
    verdict->past = past_of(series, series->count, verdict->cells);
    verdict->until_ms = verdict->end_ms + (int64_t)length * series->step_ms;
    lock_acquire(&trials->lock);
    if (verdict->id != 0) {
        *slot_of(trials, verdict->id, verdict->of) = *verdict;
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
    double missing = 0.0;
    bool whole = 2 * seen >= newest;
    return whole || (newest == CONTEXT && !outage_find(before, &missing)) ? steps : 0;
}

static bool begin_stretches(struct stretches *stretches, const struct model_series *series,
                            size_t length)
{
    size_t most = series->count / (2 * STRETCHES);
    *stretches = (struct stretches){.length = length < most ? length : most};
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

/* ---------------------------------------------------------------- losses */

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

/* Whether a loss is so many times another one; next to none is as good as none. */
static bool exceeds(double loss, double times, double other, double size)
{
    return loss > times * other && loss - other > ALIKE * size;
}

/* ---------------------------------------------------------------- baselines */

#define PRIOR BASELINE_DAMPED_TREND

bool trial_forecast(enum baseline first, const struct model_series *series, double *scratch,
                    struct forecast *out, struct trial_served *served)
{
    const enum baseline order[] = {first, PRIOR, BASELINE_SEASONAL_NAIVE, BASELINE_DRIFT,
                                   BASELINE_LAST_VALUE};
    *served = (struct trial_served){.unable = 0};
    if (series->seasons[0] == 0 || series->seasons[0] >= series->count) {
        served->unable |= 1u << BASELINE_SEASONAL_NAIVE; /* the shortest did not come twice */
    }
    for (size_t i = 0; i < ARRAY_COUNT(order); i++) {
        if (baseline_forecast(order[i], series, scratch, out)) {
            served->by = order[i];
            return true;
        }
        served->unable |= 1u << order[i];
    }
    return false;
}

/* How far stretches are to reach for a horizon: few lengths, so that few verdicts are kept. */
static size_t reach_of(size_t horizon)
{
    size_t reach = SHORTEST;
    while (reach < horizon) {
        reach *= 2;
    }
    return reach;
}

/* So long that two of the longest season lie before the oldest one, where the series has them:
 * with less the damped trend, which has them when it serves, would go without. */
static size_t length_of(const struct model_series *series, size_t reach)
{
    size_t longest = 0;
    for (size_t i = 0; i < SEASONS_MAX; i++) {
        longest = series->seasons[i] > longest ? series->seasons[i] : longest;
    }
    size_t room = series->count > 2 * longest ? (series->count - 2 * longest - 1) / STRETCHES : 0;
    return room >= FEW_STEPS && room < reach ? room : reach;
}

/* What a baseline loses on the stretches together, and on each. `prior` is what the damped trend
 * lost on each (NULL: it is the one that is asked about). Infinite where it cannot forecast all of
 * them or is lost on one, mostly the first, so that the others cost nothing. */
static double lose(struct stretches *stretches, enum baseline baseline, double *scratch,
                   const double *prior, double *losses)
{
    double sum = 0.0;
    for (size_t i = 0; i < stretches->count; i++) {
        const struct model_series *before = &stretches->before[i];
        struct forecast *forecast = &stretches->forecasts[i];
        if (!baseline_forecast(baseline, before, scratch, forecast)) {
            return HUGE_VAL;
        }
        losses[i] = loss_of(stretches, i);
        if (prior && exceeds(losses[i], LOST, prior[i], size_of(stretches, i))) {
            return HUGE_VAL;
        }
        sum += losses[i];
    }
    return sum;
}

/* The one with the least loss of those that are clearly better than the damped trend. */
static enum baseline choose(struct stretches *stretches, bool season, double *scratch)
{
    static const enum baseline rivals[] = {BASELINE_SEASONAL_NAIVE, BASELINE_SEASONAL_DRIFT,
                                           BASELINE_DRIFT, BASELINE_LAST_VALUE};
    double prior[STRETCHES], losses[STRETCHES], size = 0.0;
    double times = BETTER + BETTER_UNSURE / (double)stretches->steps;
    double own = lose(stretches, PRIOR, scratch, NULL, prior);
    enum baseline best = PRIOR;
    double least = HUGE_VAL;
    for (size_t i = 0; i < stretches->count; i++) {
        size += size_of(stretches, i);
    }
    for (size_t r = season ? 0 : 2; r < ARRAY_COUNT(rivals) && isfinite(own); r++) {
        double loss = lose(stretches, rivals[r], scratch, prior, losses);
        if (loss < least && exceeds(own, times, loss, size)) {
            best = rivals[r];
            least = loss;
        }
    }
    return best;
}

enum baseline trial_baseline(struct forecast_desk *desk, uint32_t id,
                             const struct model_series *series, size_t horizon)
{
    struct verdict verdict = {.of = reach_of(horizon), .id = id, .end_ms = end_of(series)};
    struct error ignored = {0};
    struct stretches stretches;
    if (series->count < TRIAL_VALUES) {
        return PRIOR;
    }
    if (find_verdict(desk->services->trials, series, &verdict)) {
        return (enum baseline)verdict.said;
    }
    if (desk_scratch(desk, 4 * series->count, &ignored) != STATUS_OK ||
        !begin_stretches(&stretches, series, length_of(series, (size_t)verdict.of))) {
        return PRIOR;
    }
    enum baseline best = PRIOR;
    if (stretches.count > 0) {
        best = choose(&stretches, series->seasons[0] > 0, desk->scratch);
    }
    verdict.said = (unsigned char)best;
    mem_free(stretches.memory);
    keep_verdict(desk->services->trials, series, stretches.length, &verdict);
    background_give_way();
    return best;
}

/* ---------------------------------------------------------------- models */

/* Whether the model, whose forecasts are there, loses against what would serve without it. */
static bool model_loses(struct stretches *stretches, enum baseline without, double *scratch)
{
    double own = 0.0, other = 0.0, size = 0.0;
    for (size_t i = 0; i < stretches->count; i++) {
        struct trial_served served;
        bool finite = forecast_is_finite(&stretches->forecasts[i]);
        double loss = finite ? loss_of(stretches, i) : 0.0;
        if (finite && trial_forecast(without, &stretches->before[i], scratch,
                                     &stretches->forecasts[i], &served)) {
            own += loss;
            other += loss_of(stretches, i);
            size += size_of(stretches, i);
        }
    }
    return exceeds(own, CLEARLY + UNSURE / (double)stretches->steps, other, size);
}

bool trial_passed(struct forecast_desk *desk, struct snapshot *snapshot, uint32_t id,
                  const struct model_series *series)
{
    const struct snapshot_record *record = snapshot_record(snapshot);
    struct verdict verdict = {
        .of = track_maker(record->id, ""), .id = id, .end_ms = end_of(series)};
    if (series->count < TRIAL_VALUES || snapshot_weighed(snapshot, series->key)) {
        return true;
    }
    if (find_verdict(desk->services->trials, series, &verdict)) {
        return verdict.said;
    }
    struct error error = {0};
    struct forecaster *forecaster = NULL;
    struct stretches stretches;
    enum baseline without = trial_baseline(desk, id, series, record->horizon);
    if (desk_scratch(desk, 4 * series->count, &error) != STATUS_OK ||
        desk_forecaster(desk, snapshot, &forecaster, &error) != STATUS_OK ||
        !begin_stretches(&stretches, series, record->horizon)) {
        return true;
    }
    bool ran = stretches.count == 0 || forecaster_run(forecaster, stretches.before, stretches.count,
                                                      stretches.forecasts, &error) == STATUS_OK;
    bool passed = !ran || stretches.count == 0 || !model_loses(&stretches, without, desk->scratch);
    verdict.said = passed;
    mem_free(stretches.memory);
    if (ran) {
        keep_verdict(desk->services->trials, series, stretches.length, &verdict);
    }
    background_give_way();
    return passed;
}
