/* Seasonal drift: past seasons moved by how the newest values differ from them, many ways averaged.
 * SPDX-License-Identifier: Apache-2.0
 *
 * One candidate is a seasonal mean and a damped drift:
 *     forecast(h) = base(h) + deviation * exp(-h / memory)
 * The base is the mean of the newest m values of the step's phase (one season, or the mean of two
 * seasons' bases); of three and more the least and the largest are left out, so that an anomaly is
 * not repeated for a week. The deviation is how far the newest w values lay from the base that they
 * had.
 * With a base of one season this is a first-order autoregression of the seasonal difference, as in
 * the ARIMA(1,0,0)(0,1,0) of Box and Jenkins (1976, chapter 9), its coefficient chosen by forecasts
 * over the whole horizon instead of one step.
 *
 * No candidate is right for all series, and choosing one of many by little data is a lottery, so
 * all are averaged, with weights that fall with their error to the power POWER (Bates and Granger
 * 1969; Stock and Watson 2004, section 2: weights by past performance). Errors are those of
 * forecasts from up to ORIGINS_MAX origins within the series itself, in the same phase of the
 * shortest season as the forecast, half over the whole horizon and half over each third of it.
 *
 * The spread is that of the average's own errors at these origins, by thirds of the horizon.
 * Absurd values count as missing (absurd.c): one of them would be repeated by all candidates that
 * it is in, and as an error it would make them all alike.
 */
#include "model/training/baseline.h"

#include "base/check.h"
#include "model/features.h"
#include "model/forecast.h"

#include <float.h>
#include <math.h>
#include <string.h>

#define PARTS          3 /* of the horizon, each with weights of its own */
#define SHORT_DEPTHS   4 /* means of 1, 2, 4, 7 of the shortest season, trimmed, */
#define LONG_DEPTHS    3 /* of 1, 2, 3 of the others, */
#define DEPTH_MAX      7 /* of all of these */
#define PAIRS          4 /* and so many mixtures of the shortest with each of the others */
#define BASES_MAX      (SHORT_DEPTHS + (SEASONS_MAX - 1) * (LONG_DEPTHS + PAIRS))
#define SPANS          2 /* a deviation is that of the newest value, or of a season's mean */
#define MEMORIES       3
#define FORMS          (SPANS * MEMORIES + 1) /* of a base; the last one does not drift */
#define ORIGINS_MAX    14
#define ORIGINS_LEAST  7 /* whole seasons apart; where fewer fit, they lie closer */
#define POWER          12.0
#define SEASON_SAMPLES 48 /* values that a season's mean deviation is taken from */

/* A base: `depth` newest values of a season's phase, or the mean of two bases before it. */
struct base {
    size_t season, depth; /* season 0: a mixture of */
    size_t first, second;
};

/* What candidates are made from at one origin. */
struct view {
    size_t origin;
    double last; /* stands in where a phase of the shortest season was never seen; its base for
                    those of the others */
    double deviations[BASES_MAX][SPANS];
};

struct drift {
    const double *values;
    size_t horizon;
    struct base bases[BASES_MAX];
    size_t base_count;
    size_t shortest;        /* season */
    double decay[MEMORIES]; /* of a step */
    size_t count;
    struct view views[ORIGINS_MAX]; /* at origins within the series, newest first */
    size_t view_count;
};

static size_t part_of(const struct drift *drift, size_t step)
{
    return step * PARTS / drift->horizon;
}

/* ---------------------------------------------------------------- candidates */

static size_t add_base(struct drift *drift, struct base base)
{
    CHECK(drift->base_count < BASES_MAX && base.depth <= DEPTH_MAX);
    drift->bases[drift->base_count] = base;
    return drift->base_count++;
}

static void list_bases(struct drift *drift, const uint32_t seasons[SEASONS_MAX])
{
    static const size_t short_depths[SHORT_DEPTHS] = {1, 2, 4, 7};
    static const size_t pairs[PAIRS][2] = {{0, 0}, {1, 1}, {2, 1}, {0, 2}}; /* indices of depths */
    for (size_t i = 0; i < SHORT_DEPTHS; i++) {
        (void)add_base(drift, (struct base){drift->shortest, short_depths[i], 0, 0});
    }
    for (size_t s = 0; s < SEASONS_MAX; s++) {
        size_t season = seasons[s];
        if (season <= drift->shortest || drift->horizon + 2 * season > drift->count) {
            continue;
        }
        size_t from = drift->base_count;
        for (size_t depth = 1; depth <= LONG_DEPTHS; depth++) {
            (void)add_base(drift, (struct base){season, depth, 0, 0});
        }
        for (size_t i = 0; i < PAIRS; i++) {
            (void)add_base(drift, (struct base){0, 0, pairs[i][0], from + pairs[i][1]});
        }
    }
}

static size_t longest_season(const struct drift *drift)
{
    size_t longest = 0;
    for (size_t i = 0; i < drift->base_count; i++) {
        longest = drift->bases[i].season > longest ? drift->bases[i].season : longest;
    }
    return longest;
}

/* ---------------------------------------------------------------- forecasts of one origin */

/* Mean without the least and the largest where there are three; they are not subtracted from the
 * sum, which one absurd value would leave nothing of. NaN of none. */
static double trimmed_mean(const double *values, size_t count)
{
    size_t least = 0, largest = 0;
    double sum = 0.0;
    for (size_t i = 1; i < count; i++) {
        least = values[i] < values[least] ? i : least;
        largest = values[i] >= values[largest] ? i : largest;
    }
    bool trimmed = count > 2;
    for (size_t i = 0; i < count; i++) {
        sum += trimmed && (i == least || i == largest) ? 0.0 : values[i];
    }
    return sum / (double)(trimmed ? count - 2 : count);
}

/* Of the newest `depth` observed values of the phase of `at`, all before `before`. */
static double phase_mean(const double *values, size_t at, size_t before, const struct base *base)
{
    double found[DEPTH_MAX];
    size_t seen = 0;
    size_t ahead = at >= before ? (at - before) / base->season : 0;
    size_t back = (ahead + 1) * base->season;
    for (; seen < base->depth && back <= at; back += base->season) {
        if (!isnan(values[at - back])) {
            found[seen] = values[at - back];
            seen++;
        }
    }
    return trimmed_mean(found, seen);
}

/* All bases of one step as an origin knows them. */
static void bases_at(const struct drift *drift, const struct view *view, size_t at,
                     double bases[BASES_MAX])
{
    for (size_t i = 0; i < drift->base_count; i++) {
        const struct base *base = &drift->bases[i];
        if (base->season == 0) {
            bases[i] = 0.5 * (bases[base->first] + bases[base->second]);
        } else {
            double mean = phase_mean(drift->values, at, view->origin, base);
            double otherwise = i == 0 ? view->last : bases[0];
            bases[i] = isnan(mean) ? otherwise : mean;
        }
    }
}

/* How far the newest value, and the newest season's values, lay from each base. */
static void see(const struct drift *drift, size_t origin, struct view *view)
{
    double sums[BASES_MAX] = {0.0};
    double newest[BASES_MAX] = {0.0};
    double seen = 0.0;
    *view = (struct view){.origin = origin, .last = forecast_last_seen(drift->values, origin)};
    size_t stride = (drift->shortest + SEASON_SAMPLES - 1) / SEASON_SAMPLES;
    for (size_t back = 1; back <= drift->shortest; back += stride) {
        double bases[BASES_MAX];
        size_t at = origin - back;
        if (isnan(drift->values[at])) {
            continue;
        }
        bases_at(drift, view, at, bases);
        for (size_t b = 0; b < drift->base_count; b++) {
            double deviation = drift->values[at] - bases[b];
            newest[b] = seen > 0.0 ? newest[b] : deviation;
            sums[b] += deviation;
        }
        seen += 1.0;
    }
    for (size_t b = 0; b < drift->base_count; b++) {
        view->deviations[b][0] = newest[b];
        view->deviations[b][1] = seen > 0.0 ? sums[b] / seen : 0.0;
    }
}

/* Views from origins a shortest season apart where enough of them fit, else evenly over what there
 * is; none where none fits. Each has a longest season before it, and a shortest one more for the
 * deviation. */
static void take_views(struct drift *drift)
{
    size_t needed = drift->horizon + longest_season(drift) + drift->shortest;
    if (drift->count < needed) {
        return;
    }
    size_t room = drift->count - needed;
    size_t stride = drift->shortest;
    if (room / stride + 1 < ORIGINS_LEAST) {
        stride = room / (ORIGINS_LEAST - 1) > 0 ? room / (ORIGINS_LEAST - 1) : 1;
    }
    size_t fitting = room / stride + 1;
    drift->view_count = fitting < ORIGINS_MAX ? fitting : ORIGINS_MAX;
    for (size_t i = 0; i < drift->view_count; i++) {
        see(drift, drift->count - drift->horizon - i * stride, &drift->views[i]);
    }
}

/* Forecasts of all candidates `step` steps after the origin: [bases][FORMS]. */
static void candidates_at(const struct drift *drift, const struct view *view, size_t step,
                          double *out)
{
    double bases[BASES_MAX];
    double left[MEMORIES]; /* of a deviation */
    bases_at(drift, view, view->origin + step, bases);
    for (size_t m = 0; m < MEMORIES; m++) {
        left[m] = pow(drift->decay[m], (double)(step + 1));
    }
    for (size_t b = 0; b < drift->base_count; b++) {
        double *form = out + b * FORMS;
        for (size_t m = 0; m < MEMORIES; m++) {
            form[m] = bases[b] + view->deviations[b][0] * left[m];
            form[MEMORIES + m] = bases[b] + view->deviations[b][1] * left[m];
        }
        form[SPANS * MEMORIES] = bases[b];
    }
}

/* ---------------------------------------------------------------- weights */

/* Sums of absolute errors over all origins, by candidate and part of the horizon. */
static void measure(const struct drift *drift, double errors[PARTS][BASES_MAX * FORMS])
{
    size_t candidates = drift->base_count * FORMS;
    memset(errors, 0, PARTS * sizeof(errors[0]));
    for (size_t i = 0; i < drift->view_count; i++) {
        const struct view *view = &drift->views[i];
        for (size_t h = 0; h < drift->horizon; h++) {
            double forecasts[BASES_MAX * FORMS];
            double actual = drift->values[view->origin + h];
            if (isnan(actual)) {
                continue;
            }
            candidates_at(drift, view, h, forecasts);
            double *part = errors[part_of(drift, h)];
            for (size_t c = 0; c < candidates; c++) {
                part[c] += fabs(forecasts[c] - actual);
            }
        }
    }
}

/* Errors of the candidates to those of the best. Where the best has next to none, all that are as
 * good are 1. */
static void to_the_best(double *errors, size_t count)
{
    double least = HUGE_VAL;
    double sum = 0.0;
    for (size_t c = 0; c < count; c++) {
        least = fmin(least, errors[c]);
        sum += errors[c];
    }
    double floor = 1e-6 * sum / (double)count + DBL_MIN;
    for (size_t c = 0; c < count; c++) {
        errors[c] = (errors[c] + floor) / (least + floor);
    }
}

/* Errors become weights. */
static void weigh(double errors[PARTS][BASES_MAX * FORMS], size_t candidates)
{
    double whole[BASES_MAX * FORMS];
    for (size_t c = 0; c < candidates; c++) {
        whole[c] = 0.0;
        for (size_t p = 0; p < PARTS; p++) {
            whole[c] += errors[p][c];
        }
    }
    to_the_best(whole, candidates);
    for (size_t p = 0; p < PARTS; p++) {
        double total = 0.0;
        to_the_best(errors[p], candidates);
        for (size_t c = 0; c < candidates; c++) {
            errors[p][c] = pow(0.5 * (errors[p][c] + whole[c]), -POWER);
            total += errors[p][c];
        }
        for (size_t c = 0; c < candidates; c++) {
            errors[p][c] /= total;
        }
    }
}

static double average_at(const struct drift *drift, const struct view *view, size_t step,
                         double weights[PARTS][BASES_MAX * FORMS])
{
    double forecasts[BASES_MAX * FORMS];
    const double *weight = weights[part_of(drift, step)];
    double sum = 0.0;
    candidates_at(drift, view, step, forecasts);
    for (size_t c = 0; c < drift->base_count * FORMS; c++) {
        sum += weight[c] * forecasts[c];
    }
    return sum;
}

/* ---------------------------------------------------------------- spread */

/* The average's errors in one part of the horizon, at most `room`. */
static size_t part_errors(const struct drift *drift, size_t part,
                          double weights[PARTS][BASES_MAX * FORMS], double *errors, size_t room)
{
    size_t found = 0;
    for (size_t i = 0; i < drift->view_count; i++) {
        const struct view *view = &drift->views[i];
        for (size_t h = 0; h < drift->horizon && found < room; h++) {
            double actual = drift->values[view->origin + h];
            if (part_of(drift, h) == part && !isnan(actual)) {
                errors[found] = actual - average_at(drift, view, h, weights);
                found++;
            }
        }
    }
    return found;
}

static void write_forecast(const struct drift *drift, double weights[PARTS][BASES_MAX * FORMS],
                           double *scratch, struct forecast *out)
{
    double spread[PARTS][QUANTILE_COUNT] = {{0.0}};
    size_t room = 2 * drift->count; /* few are mirrored in as much again */
    struct view view;
    for (size_t p = 0; p < PARTS; p++) {
        size_t found = part_errors(drift, p, weights, scratch, room);
        if (found > 0) {
            baseline_spread(scratch, found, spread[p]);
        }
    }
    see(drift, drift->count, &view);
    for (size_t h = 0; h < out->horizon; h++) {
        double mean = average_at(drift, &view, h, weights);
        out->mean[h] = (float)mean;
        for (size_t q = 0; q < QUANTILE_COUNT; q++) {
            out->quantiles[q * out->horizon + h] = (float)(mean + spread[part_of(drift, h)][q]);
        }
    }
}

/* ---------------------------------------------------------------- the door */

/* The series' own seasons and, where there is room, the usual ones of its step: a week is hard to
 * detect in a short series, and what does not help gets no weight. */
static void add_usual_seasons(const struct model_series *series, uint32_t seasons[SEASONS_MAX])
{
    uint32_t usual[SEASONS_MAX];
    size_t count = 0;
    feature_usual_seasons(series->step_ms, series->count, usual);
    memcpy(seasons, series->seasons, SEASONS_MAX * sizeof(seasons[0]));
    while (count < SEASONS_MAX && seasons[count] > 0) {
        count++;
    }
    for (size_t i = 0; i < SEASONS_MAX && usual[i] > 0 && count < SEASONS_MAX; i++) {
        bool known = false;
        for (size_t j = 0; j < count; j++) {
            known = known || seasons[j] == usual[i];
        }
        if (!known) {
            seasons[count] = usual[i];
            count++;
        }
    }
}

bool seasonal_drift_forecast(const struct model_series *series, double *scratch,
                             struct forecast *out)
{
    /* Memories of a deviation in shortest seasons; the last one is for good. */
    static const double memories[MEMORIES] = {0.4, 1.4, HUGE_VAL};
    double weights[PARTS][BASES_MAX * FORMS];
    /* The first half of the scratch is for errors. */
    struct drift drift = {.values = baseline_without_absurd(series->values, series->count,
                                                            scratch + 2 * series->count),
                          .count = series->count,
                          .horizon = out->horizon};
    uint32_t seasons[SEASONS_MAX];
    add_usual_seasons(series, seasons);
    for (size_t i = 0; i < SEASONS_MAX; i++) {
        size_t season = seasons[i];
        bool shorter = season > 1 && (drift.shortest == 0 || season < drift.shortest);
        drift.shortest = shorter ? season : drift.shortest;
    }
    if (drift.shortest == 0) {
        return false;
    }
    for (size_t m = 0; m < MEMORIES; m++) {
        drift.decay[m] = exp(-1.0 / (memories[m] * (double)drift.shortest));
    }
    list_bases(&drift, seasons);
    take_views(&drift);
    if (drift.view_count == 0) {
        return false;
    }
    measure(&drift, weights);
    weigh(weights, drift.base_count * FORMS);
    write_forecast(&drift, weights, scratch, out);
    return true;
}
