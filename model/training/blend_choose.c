/* Choosing the blend from held-back origins: the group's mixture first, then that of each series.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A choice is a baseline and a share of it. What is served is not the best choice but all of them,
 * weighted by exp(-value / temperature): held-back origins are few, the choices that look best are
 * close to each other, and an average of them is never worse than they are on average, since the
 * loss is convex (Yang 2004, "Combining forecasting procedures"). The temperature falls with the
 * root of the places that speak, as the error of what they say does.
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
 * For the group, which series that no origin spoke of are given, a choice's value is its series'
 * mean opinion and the sum of all losses (as wQL counts), and a share must earn its penalty.
 */
#include "model/training/blend_choose.h"

#include "model/training/blend_losses.h"

#include <math.h>

#define GROUP_SHARE_MAX 0.75 /* of a baseline in the group's choices: 0.7, and rounding */
#define ORIGIN_BOUND    3.0  /* of the logarithm at one origin: 20 times */
#define RATIO_LEAST     1e-6 /* of losses: what is exact */
#define GROUP_PENALTY   0.02 /* a share must earn this much of itself */
#define UNSURE          1.5  /* temperature times the root of the places, */
#define TEMPERATURE_MAX 0.5  /* and its bound: where few speak, what is bad must stay out */
#define SHARE_LEAST     0.03 /* smaller parts are left out */
#define ORIGINS_CLEAR   4    /* from so many on a series may speak clearly against a choice: */
#define CLEARLY_WORSE   0.7  /* twice the loss of its best one */
#define PRIOR           6.0 /* origins that the group's opinion is worth where spreads are unknown */

struct chooser {
    const struct evaluation *evaluation;
    struct blend_losses losses;
    double temperature; /* a choice this much above the best has exp(-1) of its weight */
    /* Of the logarithms, by choice: the group's opinion, the variance between series, and that of
     * one series' origins about their mean. */
    double opinion[BLEND_CHOICES_MAX], between[BLEND_CHOICES_MAX], within[BLEND_CHOICES_MAX];
    bool spreads_known;
};

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
        loss += chooser->losses.values[i * chooser->losses.choice_count + choice];
        alone += chooser->losses.values[i * chooser->losses.choice_count];
    }
    double least = RATIO_LEAST * fmax(alone, loss) + 1e-300;
    double sum = 0.0, squares = 0.0;
    size_t origins = 0;
    for (size_t i = span.first; i < span.last; i++) {
        const double *losses = chooser->losses.values + i * chooser->losses.choice_count;
        if (chooser->losses.points[i] > 0) {
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
        loss += chooser->losses.values[i * chooser->losses.choice_count + choice];
        alone += chooser->losses.values[i * chooser->losses.choice_count];
    }
    return bounded(logarithm(loss, alone, RATIO_LEAST * fmax(alone, loss) + 1e-300));
}

/* The largest shares as parts, scaled to the sum of all. */
static struct blend_mixture largest_parts(const struct chooser *chooser, double *shares)
{
    struct blend_mixture mixture = {0};
    double sum = 0.0, kept = 0.0;
    for (size_t m = 0; m < chooser->losses.method_count; m++) {
        sum += shares[m];
    }
    for (size_t i = 0; i < BLEND_PARTS; i++) {
        size_t best = 0;
        for (size_t m = 1; m < chooser->losses.method_count; m++) {
            best = shares[m] > shares[best] ? m : best;
        }
        if (shares[best] < SHARE_LEAST) {
            break;
        }
        struct blend_method method = chooser->losses.methods[best];
        mixture.parts[i] = (struct blend_part){method.baseline, method.season, (float)shares[best]};
        kept += shares[best];
        shares[best] = 0.0;
    }
    for (size_t i = 0; i < BLEND_PARTS && kept > 0.0; i++) {
        mixture.parts[i].share *= (float)(sum / kept);
    }
    return mixture;
}

/* All choices by their values, the least of which is the best. */
static struct blend_mixture mixture_of(const struct chooser *chooser, const double *values)
{
    double least = values[0], total = 0.0;
    double shares[BLEND_METHODS_MAX] = {0.0};
    for (size_t c = 1; c < chooser->losses.choice_count; c++) {
        least = fmin(least, values[c]);
    }
    for (size_t c = 0; c < chooser->losses.choice_count; c++) {
        double weight = exp((least - values[c]) / chooser->temperature);
        total += weight;
        if (c > 0) {
            shares[blend_choice_method(c)] += weight * blend_choice_share(c);
        }
    }
    for (size_t m = 0; m < chooser->losses.method_count; m++) {
        shares[m] /= total;
    }
    return largest_parts(chooser, shares);
}

static struct blend_mixture mix_group(struct chooser *chooser)
{
    double values[BLEND_CHOICES_MAX];
    for (size_t c = 0; c < chooser->losses.choice_count; c++) {
        ask_group(chooser, c);
        double value = 0.5 * (chooser->opinion[c] + pooled_opinion(chooser, c));
        bool allowed = blend_choice_share(c) <= GROUP_SHARE_MAX;
        values[c] = allowed ? value + GROUP_PENALTY * blend_choice_share(c) : HUGE_VAL;
    }
    return mixture_of(chooser, values);
}

/* What a series thinks of a choice, shrunk towards the group. */
static double shrunk(const struct chooser *chooser, size_t choice, const struct opinion *own)
{
    double origins = (double)own->origins;
    double weight = origins / (origins + PRIOR);
    if (chooser->spreads_known) {
        double noise = chooser->within[choice] / fmax(origins, 1.0);
        weight = chooser->between[choice] / (chooser->between[choice] + noise + 1e-12);
    }
    return weight * own->value + (1.0 - weight) * chooser->opinion[choice];
}

/* The choices of one series; those that it clearly speaks against are out, whatever the group
 * thinks: what is exact is not mixed with what is merely good. */
static void value_choices(const struct chooser *chooser, struct span span, double *values)
{
    struct opinion own[BLEND_CHOICES_MAX];
    double least = HUGE_VAL;
    for (size_t c = 0; c < chooser->losses.choice_count; c++) {
        own[c] = opinion_of(chooser, span, c);
        least = fmin(least, own[c].value);
    }
    for (size_t c = 0; c < chooser->losses.choice_count; c++) {
        bool against = own[c].origins >= ORIGINS_CLEAR && own[c].value > least + CLEARLY_WORSE;
        values[c] = against ? HUGE_VAL : shrunk(chooser, c, &own[c]);
    }
}

static void mix_series(const struct chooser *chooser, struct blend *blend)
{
    double values[BLEND_CHOICES_MAX];
    for (struct span span = {0, 0}; next_span(chooser->evaluation, &span);) {
        value_choices(chooser, span, values);
        struct blend_mixture mixture = mixture_of(chooser, values);
        blend_add(blend, chooser->evaluation->places[span.first].series->key, &mixture);
    }
}

/* ---------------------------------------------------------------- the door */

enum status blend_choose(const struct evaluation *evaluation, const uint32_t seasons[SEASONS_MAX],
                         struct blend *blend, struct error *error)
{
    double places = fmax(1.0, (double)evaluation->count);
    struct chooser chooser = {.evaluation = evaluation,
                              .temperature = fmin(TEMPERATURE_MAX, UNSURE / sqrt(places))};
    enum status status = blend_losses_init(&chooser.losses, evaluation, seasons, error);
    if (status == STATUS_OK) {
        status = blend_reserve(blend, evaluation->count, error);
    }
    if (status == STATUS_OK && evaluation->count > 0) {
        blend->group = mix_group(&chooser);
        mix_series(&chooser, blend);
    }
    blend_losses_release(&chooser.losses);
    return status;
}
