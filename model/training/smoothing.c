/* Damped-trend exponential smoothing with season, its parameters fitted to each series.
 * SPDX-License-Identifier: Apache-2.0
 *
 * ETS(A,Ad,A) in error-correction form (Hyndman et al. 2008, section 2.5; Gardner and McKenzie
 * 1985): with the one-step error e = y - (level + phi trend + season),
 *     level <- level + phi trend + alpha e
 *     trend <- phi trend + alpha beta e
 *     season <- season + gamma (1 - alpha) e
 * A missing value has no error: the states move on without it, nothing is filled in. So do absurd
 * ones (absurd.c), and the few that differ where a series stands still: there the rates would be
 * anything, for no value speaks against any, and the level would lie where the series never was.
 *
 * Parameters minimise the mean absolute one-step error (robust: a burst counts once, not squared)
 * by a compass search in the unit cube. The recursion waits for itself from step to step, so eight
 * candidates cost as much as one: each round tries both directions of the four parameters at once.
 * Every season of the series and none are tried; a season must earn its states.
 *
 * The spread at a horizon is that of the errors which the fitted states made so many steps ahead on
 * the series itself, at 1, 2, 4, 8 ... steps, with straight lines between. Where the newest errors
 * are far larger than those before, as when a sensor comes alive behind hundreds of equal values,
 * it is at least what these rates make of errors of that size.
 */
#include "model/training/baseline.h"

#include "model/order.h"

#include <math.h>
#include <string.h>

#define LANES        8 /* candidates at once: two directions of four parameters */
#define PARAMETERS   4
#define ROUNDS       14
#define FIRST_STEP   0.25
#define LAST_STEP    0.03
#define VALUES_MIN   512  /* newest values that are looked at, */
#define SEASONS_SAW  5    /* or so many of the longest season, */
#define VALUES_MAX   8192 /* at most */
#define WARM_CYCLES  2    /* seasons whose errors do not count, where there are more */
#define START_STEPS  8    /* from which the first level comes where there is no season */
#define ERRORS_MAX   512  /* of one horizon; more are thinned out evenly */
#define ERRORS_LEAST 4
#define SEASON_COST  0.02 /* share of the error that a season must save */

/* alpha, beta, gamma, phi from a point of the unit cube; squares, because small ones matter. */
struct candidate {
    double u[PARAMETERS];
};

struct rates {
    double alpha, beta, gamma, phi;
};

static struct rates rates_of(const struct candidate *candidate)
{
    double alpha = 0.001 + 0.998 * candidate->u[0] * candidate->u[0];
    return (struct rates){
        .alpha = alpha,
        .beta = alpha * candidate->u[1] * candidate->u[1],
        .gamma = (1.0 - alpha) * candidate->u[2] * candidate->u[2],
        .phi = 0.8 + 0.18 * candidate->u[3],
    };
}

/* What is smoothed: the newest values, one season, and where errors begin to count. */
struct problem {
    const double *values;
    size_t count, season; /* season 1: none */
    size_t judged_from;
    double level, trend;                              /* before the first value */
    size_t absurd[BASELINE_ABSURD_MAX], absurd_count; /* places that count as missing */
};

struct fit {
    struct candidate best;
    double error; /* mean absolute, one step ahead */
};

/* ---------------------------------------------------------------- first states */

static double value_at(const struct problem *problem, size_t t)
{
    for (size_t i = 0; i < problem->absurd_count; i++) {
        if (problem->absurd[i] == t) {
            return (double)NAN;
        }
    }
    return problem->values[t];
}

static double mean_of(const struct problem *problem, size_t from, size_t count)
{
    double sum = 0.0;
    size_t seen = 0;
    for (size_t t = from; t < from + count; t++) {
        double value = value_at(problem, t);
        if (!isnan(value)) {
            sum += value;
            seen++;
        }
    }
    return seen > 0 ? sum / (double)seen : (double)NAN;
}

/* Level and trend from the first two seasons, or from the first few values. */
static void start_level(struct problem *problem)
{
    size_t half = problem->season > 1 ? problem->season : START_STEPS / 2;
    half = 2 * half <= problem->count ? half : problem->count / 2;
    double first = mean_of(problem, 0, half);
    double second = mean_of(problem, half, half);
    double trend = (second - first) / (double)half;
    double level = first - trend * 0.5 * (double)(half + 1);
    if (isnan(trend)) {
        size_t at = 0;
        while (at + 1 < problem->count && isnan(value_at(problem, at))) {
            at++;
        }
        trend = 0.0;
        level = isnan(first) ? value_at(problem, at) : first;
    }
    problem->level = level;
    problem->trend = trend;
}

/* First seasonal states: by phase, the mean distance from the mean of its cycle over the first
 * cycles; 0 where a phase was never seen. `profile` [season]. */
static void start_season(const struct problem *problem, double *profile)
{
    size_t season = problem->season;
    size_t cycles = problem->count / season;
    cycles = cycles < WARM_CYCLES + 1 ? cycles : WARM_CYCLES + 1;
    for (size_t phase = 0; phase < season; phase++) {
        double sum = 0.0;
        double seen = 0.0;
        for (size_t cycle = 0; season > 1 && cycle < cycles; cycle++) {
            double value = value_at(problem, cycle * season + phase);
            if (!isnan(value)) {
                sum += value;
                seen += 1.0;
            }
        }
        profile[phase] = seen > 0.0 ? sum / seen : (double)NAN;
    }
    double sum = 0.0, seen = 0.0;
    for (size_t phase = 0; phase < season; phase++) {
        sum += isnan(profile[phase]) ? 0.0 : profile[phase];
        seen += isnan(profile[phase]) ? 0.0 : 1.0;
    }
    double mean = sum / seen;
    for (size_t phase = 0; phase < season; phase++) {
        profile[phase] = season > 1 && !isnan(profile[phase]) ? profile[phase] - mean : 0.0;
    }
}

/* ---------------------------------------------------------------- fitting */

/* Mean absolute one-step errors of LANES candidates. `states` [season][LANES]. */
static void judge(const struct problem *problem, const struct candidate candidates[LANES],
                  double *states, double errors[LANES])
{
    double alpha[LANES], beta[LANES], gamma[LANES], phi[LANES];
    double level[LANES], trend[LANES], sum[LANES] = {0.0};
    size_t season = problem->season;
    start_season(problem, states);
    for (size_t phase = season; phase-- > 0;) {
        double value = states[phase];
        for (size_t i = 0; i < LANES; i++) {
            states[phase * LANES + i] = value;
        }
    }
    for (size_t i = 0; i < LANES; i++) {
        struct rates rates = rates_of(&candidates[i]);
        alpha[i] = rates.alpha;
        beta[i] = rates.beta;
        gamma[i] = season > 1 ? rates.gamma : 0.0;
        phi[i] = rates.phi;
        level[i] = problem->level;
        trend[i] = problem->trend;
    }
    size_t judged = 0;
    size_t phase = 0;
    for (size_t t = 0; t < problem->count; t++) {
        double y = value_at(problem, t);
        double *state = states + phase * LANES;
        phase = phase + 1 < season ? phase + 1 : 0;
        bool seen = y == y;
        double counts = seen && t >= problem->judged_from ? 1.0 : 0.0;
        judged += counts > 0.0 ? 1 : 0;
#pragma omp simd
        for (size_t i = 0; i < LANES; i++) {
            double damped = phi[i] * trend[i];
            double next = level[i] + damped;
            double error = seen ? y - next - state[i] : 0.0;
            level[i] = next + alpha[i] * error;
            trend[i] = damped + beta[i] * error;
            state[i] += gamma[i] * error;
            sum[i] += counts * fabs(error);
        }
    }
    for (size_t i = 0; i < LANES; i++) {
        double mean = judged > 0 ? sum[i] / (double)judged : HUGE_VAL;
        errors[i] = isfinite(mean) ? mean : HUGE_VAL;
    }
}

/* The best of a round replaces the fit where it is better. */
static bool take_best(struct fit *fit, const struct candidate candidates[LANES],
                      const double errors[LANES])
{
    bool better = false;
    for (size_t i = 0; i < LANES; i++) {
        if (errors[i] < fit->error) {
            fit->error = errors[i];
            fit->best = candidates[i];
            better = true;
        }
    }
    return better;
}

static struct fit search(const struct problem *problem, double *states)
{
    /* Slow and fast levels, with and without trend and moving season. */
    static const struct candidate first[LANES] = {
        {{0.3, 0.1, 0.3, 0.8}},  {{0.3, 0.4, 0.5, 0.9}},  {{0.6, 0.1, 0.3, 0.5}},
        {{0.6, 0.3, 0.6, 0.5}},  {{0.85, 0.1, 0.3, 0.3}}, {{0.85, 0.5, 0.5, 0.7}},
        {{0.98, 0.0, 0.5, 0.0}}, {{0.1, 0.0, 0.2, 0.0}},
    };
    struct fit fit = {.best = first[0], .error = HUGE_VAL};
    struct candidate candidates[LANES];
    double errors[LANES];
    memcpy(candidates, first, sizeof(candidates));
    judge(problem, candidates, states, errors);
    (void)take_best(&fit, candidates, errors);
    double step = FIRST_STEP;
    for (size_t round = 0; round < ROUNDS && step >= LAST_STEP; round++) {
        for (size_t i = 0; i < LANES; i++) {
            candidates[i] = fit.best;
            double *u = &candidates[i].u[i / 2];
            *u = fmin(1.0, fmax(0.0, *u + (i % 2 == 0 ? step : -step)));
        }
        judge(problem, candidates, states, errors);
        if (!take_best(&fit, candidates, errors)) {
            step *= 0.5;
        }
    }
    return fit;
}

/* ---------------------------------------------------------------- forecasting */

/* States behind every value: level, trend, and the season of that step after it was seen. */
struct states {
    double *level, *trend, *season; /* [count] each */
};

/* The seasonal state `ahead` steps after `at`, as it was known at `at`. */
static double season_at(const struct problem *problem, const struct states *states, size_t at,
                        size_t ahead)
{
    if (problem->season < 2) {
        return 0.0;
    }
    size_t back = (problem->season - ahead % problem->season) % problem->season;
    return states->season[at - back];
}

/* Runs the fitted filter. The first season's states are those that it started from. */
static void run(const struct problem *problem, const struct rates *rates, struct states *states,
                double *profile)
{
    double level = problem->level;
    double trend = problem->trend;
    size_t season = problem->season;
    double gamma = season > 1 ? rates->gamma : 0.0;
    start_season(problem, profile);
    for (size_t t = 0; t < problem->count; t++) {
        double y = value_at(problem, t);
        double before = t >= season ? states->season[t - season] : profile[t % season];
        double damped = rates->phi * trend;
        double next = level + damped;
        double error = isnan(y) ? 0.0 : y - next - before;
        level = next + rates->alpha * error;
        trend = damped + rates->beta * error;
        states->level[t] = level;
        states->trend[t] = trend;
        states->season[t] = before + gamma * error;
    }
}

/* phi + phi^2 + ... + phi^ahead */
static double damped_sum(double phi, size_t ahead)
{
    return phi * (1.0 - pow(phi, (double)ahead)) / (1.0 - phi);
}

/* Spread of the errors made `ahead` steps before they could be seen; false where too few. */
static bool spread_ahead(const struct problem *problem, const struct rates *rates,
                         const struct states *states, size_t ahead, double *errors,
                         double spread[QUANTILE_COUNT])
{
    size_t from = problem->judged_from > problem->season ? problem->judged_from : problem->season;
    if (from + ahead >= problem->count) {
        return false;
    }
    size_t origins = problem->count - ahead - from;
    size_t stride = (origins + ERRORS_MAX - 1) / ERRORS_MAX;
    double reach = damped_sum(rates->phi, ahead);
    size_t found = 0;
    for (size_t t = from; t + ahead < problem->count; t += stride) {
        double forecast =
            states->level[t] + reach * states->trend[t] + season_at(problem, states, t, ahead);
        double error = value_at(problem, t + ahead) - forecast;
        if (!isnan(error)) {
            errors[found] = error;
            found++;
        }
    }
    if (found < ERRORS_LEAST) {
        return false;
    }
    if (found < BASELINE_FEW_ERRORS && 2 * found > problem->count) {
        found = problem->count / 2; /* they will be mirrored in the same room */
    }
    baseline_spread(errors, found, spread);
    return true;
}

/* The rates were fitted to errors of one step, so those to come are larger: with n of them and p
 * parameters the variance is (n + p) / (n - p) times what was seen (Akaike's final prediction
 * error, 1969). Without it 80 % bands of 8 to 16 values held 0.67 to 0.71 on windows of eleven real
 * sets; with it 0.77 to 0.78, at a pinball loss of 1.03. */
static double fitting_widens(const struct problem *problem)
{
    double parameters = problem->season > 1 ? PARAMETERS : PARAMETERS - 1;
    double seen = 0.0;
    for (size_t t = problem->judged_from; t < problem->count; t++) {
        seen += isnan(value_at(problem, t)) ? 0.0 : 1.0;
    }
    seen = fmax(seen, 3.0 * parameters); /* below that it says too much */
    return sqrt((seen + parameters) / (seen - parameters));
}

/* ---------------------------------------------------------------- what has lately grown */

/* By the errors one step ahead, which go to `errors`. */
static struct unrest unrest_of(const struct problem *problem, const struct rates *rates,
                               const struct states *states, double *errors)
{
    size_t from = problem->judged_from > problem->season ? problem->judged_from : problem->season;
    for (size_t t = from; t + 1 < problem->count; t++) {
        double forecast =
            states->level[t] + rates->phi * states->trend[t] + season_at(problem, states, t, 1);
        errors[t - from] = value_at(problem, t + 1) - forecast;
    }
    return unrest_find(errors, problem->count - 1 > from ? problem->count - 1 - from : 0);
}

/* Moves a spread `ahead` steps out to what the unrest asks for, of normal errors, whose variance
 * grows by what the states answer to each error on the way (Hyndman et al. 2008, table 6.1). */
static void raise_spread(const struct unrest *unrest, const struct rates *rates, size_t ahead,
                         double spread[QUANTILE_COUNT])
{
    double variance = 1.0;
    for (size_t step = 1; step < ahead; step++) {
        double answer = rates->alpha + rates->beta * damped_sum(rates->phi, step);
        variance += answer * answer;
    }
    for (size_t q = 0; q < QUANTILE_COUNT; q++) {
        double least = unrest->deviation * sqrt(variance) * order_probit(quantile_levels[q]);
        bool nearer = quantile_levels[q] < 0.5 ? least < spread[q] : least > spread[q];
        spread[q] += nearer ? unrest->share * (least - spread[q]) : 0.0;
    }
}

/* False where there are too few errors for a spread. */
static bool write_forecast(const struct problem *problem, const struct rates *rates,
                           const struct states *states, double *errors, struct forecast *out)
{
    double low[QUANTILE_COUNT] = {0.0}, high[QUANTILE_COUNT] = {0.0};
    size_t low_ahead = 0, high_ahead = 0;
    size_t last = problem->count - 1;
    double widening = fitting_widens(problem);
    struct unrest unrest = unrest_of(problem, rates, states, errors);
    double walks =
        problem->absurd_count > 0 ? 1.0 : baseline_walk_share(problem->values, problem->count);
    bool more = true;
    for (size_t step = 0; step < out->horizon; step++) {
        size_t ahead = step + 1;
        while (more && ahead > high_ahead) {
            size_t next = high_ahead > 0 ? 2 * high_ahead : 1;
            memcpy(low, high, sizeof(low));
            low_ahead = high_ahead;
            more = spread_ahead(problem, rates, states, next, errors, high);
            if (more && unrest.share > 0.0) {
                raise_spread(&unrest, rates, next, high);
            }
            high_ahead = more ? next : high_ahead;
        }
        if (high_ahead == 0) {
            return false;
        }
        double mean = states->level[last] + damped_sum(rates->phi, ahead) * states->trend[last] +
                      season_at(problem, states, last, ahead);
        out->mean[step] = (float)mean;
        /* Beyond the last horizon with errors, spread grows as that of a walk whose trend is known
         * as well as its history is long, as far as it may be one. */
        double grown = (double)ahead * (double)(problem->count + ahead);
        double known = (double)high_ahead * (double)(problem->count + high_ahead);
        double beyond = ahead > high_ahead ? sqrt(1.0 + walks * (grown / known - 1.0)) : 1.0;
        double share = high_ahead > low_ahead && ahead < high_ahead
                           ? (double)(ahead - low_ahead) / (double)(high_ahead - low_ahead)
                           : 1.0;
        for (size_t q = 0; q < QUANTILE_COUNT; q++) {
            double spread = widening * beyond * (low[q] + share * (high[q] - low[q]));
            out->quantiles[q * out->horizon + step] = (float)(mean + spread);
        }
    }
    return true;
}

/* ---------------------------------------------------------------- the door */

/* The season, or 1, whose fit has the least error; all are judged on the same values. */
static struct fit choose(struct problem *problem, const struct model_series *series,
                         double *scratch)
{
    size_t candidates[SEASONS_MAX + 1] = {1};
    size_t count = 1;
    size_t longest = 1;
    for (size_t i = 0; i < SEASONS_MAX; i++) {
        size_t season = series->seasons[i];
        if (season > 1 && 2 * season < problem->count) {
            candidates[count++] = season;
            longest = season > longest ? season : longest;
        }
    }
    problem->judged_from = WARM_CYCLES * longest;
    if (problem->judged_from + longest > problem->count) {
        problem->judged_from = problem->count - longest;
    }
    if (problem->judged_from > problem->count / 2) {
        problem->judged_from = problem->count / 2;
    }
    struct fit best = {.error = HUGE_VAL};
    struct problem chosen = *problem;
    for (size_t i = 0; i < count; i++) {
        problem->season = candidates[i];
        start_level(problem);
        struct fit fit = search(problem, scratch);
        double cost = i == 0 ? 0.0 : SEASON_COST;
        if (i == 0 || fit.error * (1.0 + cost) < best.error) {
            best = fit;
            chosen = *problem;
        }
    }
    *problem = chosen;
    return best;
}

bool smoothing_forecast(const struct model_series *series, double *scratch, struct forecast *out)
{
    size_t longest = 0;
    for (size_t i = 0; i < SEASONS_MAX; i++) {
        longest = series->seasons[i] > longest ? series->seasons[i] : longest;
    }
    size_t used = SEASONS_SAW * longest > VALUES_MIN ? SEASONS_SAW * longest : VALUES_MIN;
    used = used < VALUES_MAX ? used : VALUES_MAX;
    used = used < series->count ? used : series->count;
    struct problem problem = {
        .values = series->values + series->count - used, .count = used, .season = 1};
    problem.absurd_count = baseline_absurd(problem.values, used, true, problem.absurd);
    size_t seen = 0;
    for (size_t i = 0; i < used; i++) {
        seen += isnan(value_at(&problem, i)) ? 0 : 1;
    }
    if (seen < SMOOTHING_OBSERVED_MIN) {
        return false;
    }
    struct fit fit = choose(&problem, series, scratch);
    struct rates rates = rates_of(&fit.best);
    struct states states = {scratch, scratch + used, scratch + 2 * used};
    double *room = scratch + 3 * used; /* profile, then errors (twice as many where few) */
    run(&problem, &rates, &states, room);
    return write_forecast(&problem, &rates, &states, room, out);
}
