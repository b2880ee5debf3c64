/* The gate: a challenger must be better than champion and baseline beyond what chance explains.
 * SPDX-License-Identifier: Apache-2.0
 *
 * All are compared at the same origins: each series' newest ones that the challenger did not learn
 * from, wherever it ends beside others. Series that ended long before them do not count, since what
 * others did then was learned. Losses are pinball, at each place in units of what the two who are
 * compared lose there on the mean. So neither one large series decides for all, as in units of the
 * values, nor a few that nobody can forecast, as in units of their size: a count that is mostly
 * zero loses fifty times as much of that as a load by day and night.
 *
 * Noise. A tolerance ("not worse than 2 %") lets a model through that is a little worse each time,
 * and a plain comparison promotes every second one of equals. Series at one origin share its
 * weather, so an origin is one observation: the paired differences of the origins give the skill
 * its standard error, and the skill must exceed it. Of equals one in six passes, to no one's harm;
 * what is better by two errors passes nearly always. With fewer than ORIGINS_MIN origins their
 * spread says little, and series are counted as observations too, with twice the error demanded;
 * with one observation alone the skill must reach SKILL_ALONE.
 */
#include "model/training/evaluate.h"
#include "model/training/metrics.h"

#include "base/check.h"
#include "base/memory.h"

#include <math.h>
#include <stdio.h>

#define ORIGINS_MAX     28 /* newest ones of each series */
#define ORIGINS_MIN     4
#define HISTORY_MIN     2
#define ERRORS          1.0
#define ERRORS_BY_PLACE 2.0
#define SKILL_ALONE     0.05
#define NOTHING         1e-3 /* of the values: what two lose less than that hardly counts */

/* Losses by place. */
struct losses {
    double *values; /* [count] */
    uint64_t points;
    double wql;
    bool finite;
};

/* ---------------------------------------------------------------- losses */

struct judging {
    struct evaluation evaluation;
    double *nothing; /* [count]: the loss by place that would be none */
    double *actual;  /* [H] */
    double *scratch;
    float *room;
};

static enum status judging_init(struct judging *judging, struct error *error)
{
    size_t longest = 0, horizon = judging->evaluation.horizon;
    for (size_t i = 0; i < judging->evaluation.count; i++) {
        size_t origin = judging->evaluation.places[i].origin;
        longest = origin > longest ? origin : longest;
    }
    judging->actual = mem_array(4 * longest + horizon + 1, sizeof(double));
    judging->room = mem_array((QUANTILE_COUNT + 1) * horizon, sizeof(float));
    if (judging->actual == NULL || judging->room == NULL) {
        return error_set(error, STATUS_NO_MEMORY, "could not judge the model");
    }
    judging->scratch = judging->actual + horizon;
    return STATUS_OK;
}

static void judging_release(struct judging *judging)
{
    mem_free(judging->actual);
    mem_free(judging->room);
    evaluation_release(&judging->evaluation);
}

/* The loss at a place that would be none, by the sum of its |y|. Where that is smaller than the
 * least band of a forecast it is no unit: the place would count as much as any other. */
static double nothing_of(double absolute, size_t horizon)
{
    double least = (double)horizon * forecast_least_spread(0.0);
    return absolute > least ? NOTHING * absolute : (double)horizon;
}

/* One forecast of a place into the sums. */
static void add_loss(struct judging *judging, size_t place, const struct forecast *forecast,
                     double *absolute, struct losses *losses)
{
    double seen = 0.0;
    double loss = metrics_quantile_loss(judging->actual, forecast, &seen, &losses->points);
    losses->finite = losses->finite && isfinite(loss);
    losses->wql += loss;
    losses->values[place] = loss;
    judging->nothing[place] = nothing_of(seen, forecast->horizon);
    *absolute += seen;
}

static void losses_of_model(struct judging *judging, struct losses *losses)
{
    double absolute = 0.0;
    losses->finite = true;
    for (size_t i = 0; i < judging->evaluation.count; i++) {
        struct forecast forecast = evaluation_get(&judging->evaluation, i);
        evaluation_actual(&judging->evaluation, i, judging->actual);
        add_loss(judging, i, &forecast, &absolute, losses);
    }
    losses->wql /= absolute;
}

/* Where a baseline cannot, the last value stands in: all cover the same places. */
static enum status losses_of_baseline(struct judging *judging, enum baseline baseline,
                                      struct losses *losses, struct error *error)
{
    double absolute = 0.0;
    enum status status = STATUS_OK;
    size_t horizon = judging->evaluation.horizon;
    struct forecast out = {horizon, judging->room, judging->room + horizon};
    losses->finite = true;
    for (size_t i = 0; i < judging->evaluation.count && status == STATUS_OK; i++) {
        struct model_series series = *judging->evaluation.places[i].series;
        series.count = judging->evaluation.places[i].origin;
        evaluation_actual(&judging->evaluation, i, judging->actual);
        if (baseline_forecast(baseline, &series, judging->scratch, &out) ||
            baseline_forecast(BASELINE_LAST_VALUE, &series, judging->scratch, &out)) {
            add_loss(judging, i, &out, &absolute, losses);
        }
        status = evaluation_go_on(&judging->evaluation, error);
    }
    losses->wql /= absolute;
    return status;
}

/* ---------------------------------------------------------------- skill */

/* Losses summed by origin; returns how many origins there are. */
static size_t by_origin(const struct evaluation *evaluation, const double *own, const double *rival,
                        double *sums[2], int64_t *numbers)
{
    size_t origins = 0;
    for (size_t i = 0; i < evaluation->count; i++) {
        int64_t number = evaluation_back(evaluation, i);
        size_t at = 0;
        while (at < origins && numbers[at] != number) {
            at++;
        }
        if (at == origins) {
            numbers[origins] = number;
            sums[0][origins] = sums[1][origins] = 0.0;
            origins++;
        }
        sums[0][at] += own[i];
        sums[1][at] += rival[i];
    }
    return origins;
}

/* Both losses of a place in units of their mean. */
static void scale_losses(const struct judging *judging, const double *own, const double *rival,
                         double *scaled[2])
{
    for (size_t i = 0; i < judging->evaluation.count; i++) {
        double unit = 0.5 * (own[i] + rival[i]) + judging->nothing[i];
        scaled[0][i] = own[i] / unit;
        scaled[1][i] = rival[i] / unit;
    }
}

/* Skill over one rival, and whether it is enough. */
struct weighing {
    struct skill skill;
    size_t origins; /* where the skill's units are places: how many origins these have; else 0 */
    bool enough;
};

static enum status weigh(const struct judging *judging, const double *own, const double *rival,
                         struct weighing *out, struct error *error)
{
    size_t count = judging->evaluation.count;
    double *memory = mem_array(4 * (count + 1), sizeof(double));
    int64_t *numbers = mem_array(count + 1, sizeof(*numbers));
    if (memory == NULL || numbers == NULL) {
        mem_free(memory);
        mem_free(numbers);
        return error_set(error, STATUS_NO_MEMORY, "could not judge the model");
    }
    double *sums[2] = {memory, memory + count + 1};
    double *scaled[2] = {memory + 2 * (count + 1), memory + 3 * (count + 1)};
    scale_losses(judging, own, rival, scaled);
    size_t origins = by_origin(&judging->evaluation, scaled[0], scaled[1], sums, numbers);
    double errors = ERRORS;
    struct skill *skill = &out->skill;
    out->origins = 0;
    skill_of(sums[0], sums[1], origins, skill);
    if (origins < ORIGINS_MIN && count > origins) {
        skill_of(scaled[0], scaled[1], count, skill);
        errors = ERRORS_BY_PLACE;
        out->origins = origins;
    }
    out->enough = isnan(skill->error) ? skill->value >= SKILL_ALONE
                                      : skill->value > 0.0 && skill->value > errors * skill->error;
    mem_free(memory);
    mem_free(numbers);
    return STATUS_OK;
}

/* ---------------------------------------------------------------- verdict */

struct verdict {
    struct weighing over_baseline, over_champion;
    const char *baseline;
};

#define SKILL_TEXT 48

/* "0.0825 (error 0.031)"; of a single origin nothing is known about the error. */
static const char *print_skill(const struct skill *skill, char text[SKILL_TEXT])
{
    if (isfinite(skill->error)) {
        snprintf(text, SKILL_TEXT, "%.3g (error %.2g)", skill->value, skill->error);
    } else {
        snprintf(text, SKILL_TEXT, "%.3g", skill->value);
    }
    return text;
}

#define UNITS_TEXT 96

/* "8 origins", or what stood for them where they were too few. */
static const char *print_units(const struct weighing *weighing, char text[UNITS_TEXT])
{
    size_t units = weighing->skill.units, origins = weighing->origins;
    const char *some = (origins > 0 ? origins : units) == 1 ? "" : "s";
    if (origins > 0) {
        snprintf(text, UNITS_TEXT, "%zu forecasts at %zu origin%s, twice the error needed", units,
                 origins, some);
    } else {
        snprintf(text, UNITS_TEXT, "%zu origin%s", units, some);
    }
    return text;
}

static void say(const struct verdict *verdict, struct gate_result *result)
{
    const struct weighing *base = &verdict->over_baseline, *champion = &verdict->over_champion;
    bool failed_base = !base->enough;
    const struct weighing *failed = failed_base ? base : champion;
    char *reason = result->reason;
    char one[SKILL_TEXT], other[SKILL_TEXT], units[UNITS_TEXT];
    size_t room = sizeof(result->reason);
    if (result->promote && isnan(result->over_champion.value)) {
        snprintf(reason, room, "skill %s over %s on %s, no champion; wQL %.4g",
                 print_skill(&base->skill, one), verdict->baseline, print_units(base, units),
                 result->challenger);
    } else if (result->promote) {
        snprintf(reason, room, "skill %s over the champion, %s over %s, on %s; wQL %.4g",
                 print_skill(&champion->skill, one), print_skill(&base->skill, other),
                 verdict->baseline, print_units(base, units), result->challenger);
    } else {
        snprintf(reason, room, "no skill over %s%s: %s on %s; wQL %.4g against %.4g",
                 failed_base ? "the baseline " : "the champion",
                 failed_base ? verdict->baseline : "", print_skill(&failed->skill, one),
                 print_units(failed, units), result->challenger,
                 failed_base ? result->baseline : result->champion);
    }
}

static enum status judge_baselines(struct judging *judging, const struct losses *own,
                                   struct losses *other, struct gate_result *result,
                                   struct verdict *verdict, struct error *error)
{
    enum status status = STATUS_OK;
    result->baseline = (double)NAN;
    verdict->over_baseline.enough = true;
    /* Those that may serve any series; the seasonal drift, a member of blends, serves instead only
     * where the series' own past speaks for it. */
    for (int b = 0; b < BASELINE_SEASONAL_DRIFT && status == STATUS_OK; b++) {
        struct weighing weighing;
        other->points = 0;
        other->wql = 0.0;
        status = losses_of_baseline(judging, (enum baseline)b, other, error);
        if (status != STATUS_OK) {
            return status;
        }
        status = weigh(judging, own->values, other->values, &weighing, error);
        if (status == STATUS_OK && !(weighing.skill.value >= result->over_baseline.value)) {
            result->over_baseline = weighing.skill; /* the strongest so far */
            result->baseline = other->wql;
            verdict->over_baseline = weighing;
            verdict->baseline = baseline_name((enum baseline)b);
        }
    }
    return status;
}

static enum status judge(struct judging *judging, const struct snapshot *champion,
                         struct losses own_and_other[2], struct gate_result *result,
                         struct error *error)
{
    struct losses *own = &own_and_other[0], *other = &own_and_other[1];
    struct verdict verdict = {.over_champion = {.enough = true}, .baseline = "none"};
    losses_of_model(judging, own);
    result->challenger = own->wql;
    result->points = own->points;
    if (own->points == 0) {
        snprintf(result->reason, sizeof(result->reason),
                 "no values came after the training window: nothing to judge by");
        return STATUS_OK;
    }
    if (!own->finite || !isfinite(own->wql)) {
        snprintf(result->reason, sizeof(result->reason), "its forecasts are not finite");
        return STATUS_OK;
    }
    enum status status = judge_baselines(judging, own, other, result, &verdict, error);
    if (status == STATUS_OK && champion != NULL) {
        status = evaluation_forecast(&judging->evaluation, champion, error);
        other->points = 0;
        other->wql = 0.0;
        if (status == STATUS_OK) {
            losses_of_model(judging, other);
            result->champion = other->wql;
            status = weigh(judging, own->values, other->values, &verdict.over_champion, error);
            result->over_champion = verdict.over_champion.skill;
        }
    }
    result->promote =
        status == STATUS_OK && verdict.over_baseline.enough && verdict.over_champion.enough;
    say(&verdict, result);
    return status;
}

enum status model_gate(const struct gate_request *request, struct gate_result *result,
                       struct error *error)
{
    double unknown = (double)NAN;
    const struct snapshot *challenger = request->challenger, *champion = request->champion;
    *result = (struct gate_result){.champion = unknown,
                                   .over_champion = {0, unknown, unknown},
                                   .over_baseline = {0, unknown, unknown}};
    struct judging judging = {0};
    struct evaluation_wanted wanted = {
        .series = request->series,
        .series_count = request->series_count,
        .origins = ORIGINS_MAX,
        .history = HISTORY_MIN,
        .unseen_by = challenger,
        .cancel = request->cancel,
    };
    enum status status =
        evaluation_init(&judging.evaluation, &wanted, challenger->plan.horizon, error);
    if (status != STATUS_OK) {
        return status;
    }
    size_t count = judging.evaluation.count;
    double *memory = mem_zeroed(3 * (count + 1), sizeof(double));
    judging.nothing = memory != NULL ? memory + 2 * (count + 1) : NULL;
    struct losses losses[2] = {{.values = memory}, {.values = memory ? memory + count + 1 : NULL}};
    bool comparable = champion != NULL && champion->plan.step_ms == challenger->plan.step_ms;
    status = memory != NULL ? judging_init(&judging, error)
                            : error_set(error, STATUS_NO_MEMORY, "could not judge the model");
    if (status == STATUS_OK) {
        status = evaluation_forecast(&judging.evaluation, challenger, error);
    }
    if (status == STATUS_OK) {
        status = judge(&judging, comparable ? champion : NULL, losses, result, error);
    }
    mem_free(memory);
    judging_release(&judging);
    return status;
}
