/* Choosing the blend from held-back origins: the group's share first, then that of each series.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A choice is a baseline and a share of it. The losses of all choices at all places are computed
 * once: the quantile loss, and as much again for the median's absolute error.
 *
 * Choices are compared by the logarithm of their loss over that of the model alone. A series'
 * opinion is half that of its whole loss, half the mean over its origins, each bounded: one anomaly
 * that hits a seasonal naive twice does not outweigh the origins where it was right, and what is
 * exact beats what is merely good by as much as it deserves.
 *
 * A series' own choice is shrunk towards the group's opinion as an empirical Bayes estimate is: for
 * each choice, by how much series differ from each other against how much the origins of one differ
 * (Efron and Morris 1975). Where all series are alike the group decides; a walk among sines, or a
 * counter beside a gauge, decides for itself.
 *
 * The group's own choice, for series that no origin spoke of, is judged by its series' mean opinion
 * and by the sum of all losses (as wQL counts), and a share must earn its penalty.
 */
#include "model/training/blend_choose.h"

#include "base/memory.h"
#include "model/forecast.h"
#include "model/serving/flat.h"
#include "model/training/metrics.h"

#include <math.h>
#include <string.h>

#define METHODS_MAX   (4 + SEASONS_MAX)
#define SHARES        10                         /* 0.1 ... 1 */
#define CHOICES_MAX   (METHODS_MAX * SHARES + 1) /* the first one: the model alone */
#define GROUP_SHARES  7                          /* the group's share is at most 0.7 */
#define ORIGIN_BOUND  3.0                        /* of the logarithm at one origin: 20 times */
#define RATIO_LEAST   1e-6                       /* of losses: what is exact */
#define GROUP_PENALTY 0.02                       /* a share must earn this much of itself, */
#define OWN_PENALTY   0.02                       /* and a series' own choice this much at least */
#define PRIOR         6.0 /* origins that the group's opinion is worth where spreads are unknown */

struct method {
    enum baseline baseline;
    uint32_t season;
};

struct chooser {
    const struct evaluation *evaluation;
    struct method methods[METHODS_MAX];
    size_t method_count, choice_count;
    double *losses;   /* [places][choices] */
    double *absolute; /* [places] of the actual values */
    uint64_t *points; /* [places] */
    /* Of the logarithms, by choice: the group's opinion, the variance between series, and that of
     * one series' origins about their mean. */
    double opinion[CHOICES_MAX], between[CHOICES_MAX], within[CHOICES_MAX];
    bool spreads_known;
};

/* ---------------------------------------------------------------- losses */

static void list_methods(struct chooser *chooser, const uint32_t seasons[SEASONS_MAX])
{
    struct method *methods = chooser->methods;
    methods[0] = (struct method){BASELINE_LAST_VALUE, 0};
    methods[1] = (struct method){BASELINE_DRIFT, 0};
    methods[2] = (struct method){BASELINE_DAMPED_TREND, 0};
    methods[3] = (struct method){BASELINE_SEASONAL_DRIFT, 0};
    chooser->method_count = 4;
    for (size_t i = 0; i < SEASONS_MAX && seasons[i] > 0; i++) {
        methods[chooser->method_count] = (struct method){BASELINE_SEASONAL_NAIVE, seasons[i]};
        chooser->method_count++;
    }
    chooser->choice_count = 1 + chooser->method_count * SHARES;
}

static struct blend_share share_of(const struct chooser *chooser, size_t choice)
{
    if (choice == 0) {
        return (struct blend_share){BASELINE_LAST_VALUE, 0, 0.0f};
    }
    struct method method = chooser->methods[(choice - 1) / SHARES];
    float share = 0.1f * (float)((choice - 1) % SHARES + 1);
    return (struct blend_share){method.baseline, method.season, fminf(share, 1.0f)};
}

/* Memory for one place's forecasts. */
struct room {
    double *scratch, *actual;
    float *means, *baseline, *mixed;
};

/* Quantile loss and the median's absolute error, summed over the steps. */
static double loss_of(const double *actual, const struct forecast *forecast, double *absolute,
                      uint64_t *points)
{
    double sum = metrics_quantile_loss(actual, forecast, absolute, points);
    const float *median = forecast->quantiles + QUANTILE_MEDIAN * forecast->horizon;
    for (size_t h = 0; h < forecast->horizon; h++) {
        sum += isnan(actual[h]) ? 0.0 : fabs(actual[h] - (double)median[h]);
    }
    return sum;
}

/* As in service, a mixture says that what stands still goes on so. */
static void apply_flat(const struct flat_stretch *flat, struct forecast *mixed)
{
    size_t horizon = mixed->horizon;
    for (size_t h = 0; h < horizon && flat->found; h++) {
        double level[QUANTILE_COUNT];
        for (size_t q = 0; q < QUANTILE_COUNT; q++) {
            level[q] = (double)mixed->quantiles[q * horizon + h];
        }
        flat_levels(flat, level);
        for (size_t q = 0; q < QUANTILE_COUNT; q++) {
            mixed->quantiles[q * horizon + h] = (float)level[q];
        }
    }
}

static void measure_place(struct chooser *chooser, size_t index, const struct room *room)
{
    const struct evaluation *evaluation = chooser->evaluation;
    size_t horizon = evaluation->horizon;
    size_t values = horizon * QUANTILE_COUNT;
    struct forecast own = evaluation_get(evaluation, index);
    double *losses = chooser->losses + index * chooser->choice_count;
    evaluation_actual(evaluation, index, room->actual);
    losses[0] = loss_of(room->actual, &own, &chooser->absolute[index], &chooser->points[index]);
    struct model_series series = *evaluation->places[index].series;
    series.count = evaluation->places[index].origin;
    struct flat_stretch flat;
    flat_find(&series, horizon, &flat);
    for (size_t m = 0; m < chooser->method_count; m++) {
        struct forecast out = {horizon, room->means, room->baseline};
        struct model_series seen = series;
        if (chooser->methods[m].season > 0) {
            memset(seen.seasons, 0, sizeof(seen.seasons));
            seen.seasons[0] = chooser->methods[m].season;
        }
        /* Where a baseline cannot, the model stands alone, as in service. */
        bool made = baseline_forecast(chooser->methods[m].baseline, &seen, room->scratch, &out);
        for (size_t s = 0; s < SHARES; s++) {
            float share = 0.1f * (float)(s + 1);
            struct forecast mixed = {horizon, room->means, room->mixed};
            for (size_t i = 0; i < values; i++) {
                float other = made ? room->baseline[i] : own.quantiles[i];
                room->mixed[i] = own.quantiles[i] + share * (other - own.quantiles[i]);
            }
            if (s + 1 < SHARES) {
                apply_flat(&flat, &mixed);
            }
            double absolute = 0.0;
            uint64_t points = 0;
            losses[1 + m * SHARES + s] = loss_of(room->actual, &mixed, &absolute, &points);
        }
    }
}

static enum status measure(struct chooser *chooser, struct error *error)
{
    const struct evaluation *evaluation = chooser->evaluation;
    size_t horizon = evaluation->horizon;
    size_t longest = 0;
    for (size_t i = 0; i < evaluation->count; i++) {
        size_t origin = evaluation->places[i].origin;
        longest = origin > longest ? origin : longest;
    }
    double *doubles = mem_array(4 * longest + horizon + 1, sizeof(double));
    float *floats = mem_array(horizon * (2 * QUANTILE_COUNT + 1), sizeof(float));
    enum status status = STATUS_OK;
    if (doubles == NULL || floats == NULL) {
        status = error_set(error, STATUS_NO_MEMORY, "could not blend baselines");
    }
    for (size_t i = 0; i < evaluation->count && status == STATUS_OK; i++) {
        struct room room = {.scratch = doubles,
                            .actual = doubles + 4 * longest,
                            .means = floats,
                            .baseline = floats + horizon,
                            .mixed = floats + horizon * (QUANTILE_COUNT + 1)};
        measure_place(chooser, i, &room);
    }
    mem_free(doubles);
    mem_free(floats);
    return status;
}

/* ---------------------------------------------------------------- opinions */

/* The places of one series. */
struct span {
    size_t first, last;
};

static bool next_span(const struct evaluation *evaluation, struct span *span)
{
    const struct evaluation_place *places = evaluation->places;
    span->first = span->last;
    while (span->last < evaluation->count &&
           places[span->last].series == places[span->first].series) {
        span->last++;
    }
    return span->first < span->last;
}

static double bounded(double value)
{
    return fmax(-ORIGIN_BOUND, fmin(ORIGIN_BOUND, value));
}

/* The logarithm of a loss over that of the model alone; `least` stands for what is exact. */
static double logarithm(double loss, double alone, double least)
{
    return log((loss + least) / (alone + least));
}

struct opinion {
    double value;    /* below 0: better than the model alone */
    double variance; /* of the origins' logarithms; NaN below two origins */
    size_t origins;
};

static struct opinion opinion_of(const struct chooser *chooser, struct span span, size_t choice)
{
    double loss = 0.0, alone = 0.0;
    for (size_t i = span.first; i < span.last; i++) {
        loss += chooser->losses[i * chooser->choice_count + choice];
        alone += chooser->losses[i * chooser->choice_count];
    }
    double least = RATIO_LEAST * fmax(alone, loss) + 1e-300;
    double sum = 0.0, squares = 0.0;
    size_t origins = 0;
    for (size_t i = span.first; i < span.last; i++) {
        const double *losses = chooser->losses + i * chooser->choice_count;
        if (chooser->points[i] > 0) {
            double value = bounded(logarithm(losses[choice], losses[0], least));
            sum += value;
            squares += value * value;
            origins++;
        }
    }
    double n = (double)origins;
    double mean = origins > 0 ? sum / n : 0.0;
    double whole = logarithm(loss, alone, least);
    return (struct opinion){
        .value = 0.5 * (whole + mean),
        .variance = origins > 1 ? fmax(0.0, squares - n * mean * mean) / (n - 1.0) : (double)NAN,
        .origins = origins,
    };
}

/* Mean and spreads of the series' opinions of one choice. */
static void ask_group(struct chooser *chooser, size_t choice)
{
    double sum = 0.0, squares = 0.0, series = 0.0;
    double variance = 0.0, error = 0.0, known = 0.0;
    for (struct span span = {0, 0}; next_span(chooser->evaluation, &span);) {
        struct opinion opinion = opinion_of(chooser, span, choice);
        double value = bounded(opinion.value);
        if (opinion.origins == 0) {
            continue;
        }
        sum += value;
        squares += value * value;
        series += 1.0;
        if (opinion.origins > 1) {
            variance += opinion.variance;
            error += opinion.variance / (double)opinion.origins;
            known += 1.0;
        }
    }
    double mean = series > 0.0 ? sum / series : 0.0;
    double spread = series > 1.0 ? fmax(0.0, squares - series * mean * mean) / (series - 1.0) : 0.0;
    chooser->opinion[choice] = mean;
    chooser->within[choice] = known > 0.0 ? variance / known : 0.0;
    chooser->between[choice] = fmax(0.0, spread - (known > 0.0 ? error / known : 0.0));
    chooser->spreads_known = series > 1.0 && 2.0 * known > series;
}

/* ---------------------------------------------------------------- choices */

/* Logarithm of the sum of all losses over that of the model alone, bounded. */
static double pooled_opinion(const struct chooser *chooser, size_t choice)
{
    double loss = 0.0, alone = 0.0;
    for (size_t i = 0; i < chooser->evaluation->count; i++) {
        loss += chooser->losses[i * chooser->choice_count + choice];
        alone += chooser->losses[i * chooser->choice_count];
    }
    return bounded(logarithm(loss, alone, RATIO_LEAST * fmax(alone, loss) + 1e-300));
}

static size_t choose_group(struct chooser *chooser)
{
    size_t best = 0;
    double least = 0.0;
    for (size_t c = 0; c < chooser->choice_count; c++) {
        ask_group(chooser, c);
        double value = 0.5 * (chooser->opinion[c] + pooled_opinion(chooser, c));
        size_t share = c > 0 ? (c - 1) % SHARES + 1 : 0;
        value += GROUP_PENALTY * 0.1 * (double)share;
        if (share <= GROUP_SHARES && value < least - 1e-9) {
            least = value;
            best = c;
        }
    }
    return best;
}

/* What a series thinks of a choice, shrunk towards the group. */
static double shrunk(const struct chooser *chooser, struct span span, size_t choice)
{
    struct opinion own = opinion_of(chooser, span, choice);
    double origins = (double)own.origins;
    double weight = origins / (origins + PRIOR);
    if (chooser->spreads_known) {
        double noise = chooser->within[choice] / fmax(origins, 1.0);
        weight = chooser->between[choice] / (chooser->between[choice] + noise + 1e-12);
    }
    return weight * own.value + (1.0 - weight) * chooser->opinion[choice];
}

static size_t choose_own(const struct chooser *chooser, struct span span, size_t group)
{
    double least = shrunk(chooser, span, group) - OWN_PENALTY;
    size_t best = group;
    for (size_t c = 0; c < chooser->choice_count; c++) {
        double value = shrunk(chooser, span, c);
        if (value < least) {
            least = value;
            best = c;
        }
    }
    return best;
}

static void choose_series(const struct chooser *chooser, size_t group, struct blend *blend)
{
    for (struct span span = {0, 0}; next_span(chooser->evaluation, &span);) {
        size_t own = choose_own(chooser, span, group);
        if (own != group) {
            uint64_t key = chooser->evaluation->places[span.first].series->key;
            blend_add(blend, key, share_of(chooser, own));
        }
    }
}

/* ---------------------------------------------------------------- the door */

static enum status chooser_init(struct chooser *chooser, const struct evaluation *evaluation,
                                const uint32_t seasons[SEASONS_MAX], struct error *error)
{
    size_t places = evaluation->count + 1;
    *chooser = (struct chooser){.evaluation = evaluation};
    list_methods(chooser, seasons);
    chooser->losses = mem_zeroed(places, chooser->choice_count * sizeof(double));
    chooser->absolute = mem_zeroed(places, sizeof(double));
    chooser->points = mem_zeroed(places, sizeof(uint64_t));
    if (chooser->losses == NULL || chooser->absolute == NULL || chooser->points == NULL) {
        return error_set(error, STATUS_NO_MEMORY, "could not blend baselines");
    }
    return STATUS_OK;
}

static void chooser_release(struct chooser *chooser)
{
    mem_free(chooser->losses);
    mem_free(chooser->absolute);
    mem_free(chooser->points);
}

enum status blend_choose(const struct evaluation *evaluation, const uint32_t seasons[SEASONS_MAX],
                         struct blend *blend, struct error *error)
{
    struct chooser chooser;
    enum status status = chooser_init(&chooser, evaluation, seasons, error);
    if (status == STATUS_OK) {
        status = measure(&chooser, error);
    }
    if (status == STATUS_OK) {
        status = blend_reserve(blend, evaluation->count, error);
    }
    if (status == STATUS_OK) {
        size_t group = choose_group(&chooser);
        blend->group = share_of(&chooser, group);
        choose_series(&chooser, group, blend);
    }
    chooser_release(&chooser);
    return status;
}
