/* What a series returns to, and how fast: season and straight line, autoregression around them.
 * SPDX-License-Identifier: Apache-2.0
 *
 *     y(t) = level + slope t + profile(t mod season) + x(t),   x(t) = phi x(t-1) + noise
 *
 * The line and the profile are fitted by least squares (one season of the series, or none: what
 * leaves the smaller variance), phi too, with its bias taken off (Orcutt and Winokur 1969, for a
 * fitted line). The deviation at a distance is that of the errors which this model made at that
 * distance on the series itself (and by a fit to the older values on the newest, where those are
 * larger), with the line's own uncertainty; the shape is that of the noise.
 *
 * A walk does not return, although least squares always find a little: a series returns where a
 * unit root is rejected at 5 % (Dickey and Fuller 1979, with constant and trend).
 */
#include "model/forecast.h"
#include "model/order.h"

#include <math.h>
#include <string.h>

#define VALUES_USED     1024    /* newest values, */
#define SEASONS_SAW     5       /* or so many of the longest season */
#define CYCLES_LEAST    3       /* of a season whose profile is believed */
#define NEWEST_SHARE    4       /* of the values, a fourth: forecast by a fit to those before */
#define ROUNDS          3       /* of profile and line in turn: they overlap little */
#define PAIRS_LEAST     24      /* of neighbours, and of values at a distance */
#define UNIT_ROOT_LIMIT (-3.41) /* Dickey-Fuller, constant and trend, 5 %, many values */
#define PHI_MOST        0.999

struct fit {
    const double *values;
    size_t count, season; /* season 1: none */
    double level, slope;  /* of the straight line; level in the middle of the values */
    double variance;      /* of what is left, with the degrees of freedom taken off */
    double *profile;      /* [season] */
};

static double line_at(const struct fit *fit, double at)
{
    return fit->level + fit->slope * (at - 0.5 * (double)(fit->count - 1));
}

/* ---------------------------------------------------------------- season and line */

static void fit_profile(struct fit *fit)
{
    for (size_t phase = 0; phase < fit->season; phase++) {
        double sum = 0.0, seen = 0.0;
        for (size_t t = phase; fit->season > 1 && t < fit->count; t += fit->season) {
            if (!isnan(fit->values[t])) {
                sum += fit->values[t] - line_at(fit, (double)t);
                seen += 1.0;
            }
        }
        fit->profile[phase] = seen > 0.0 ? sum / seen : 0.0;
    }
}

static void fit_line(struct fit *fit)
{
    double middle = 0.5 * (double)(fit->count - 1);
    double seen = 0.0, sum = 0.0, along = 0.0, square = 0.0, product = 0.0;
    for (size_t t = 0, phase = 0; t < fit->count; t++, phase = (phase + 1) % fit->season) {
        double y = fit->values[t] - fit->profile[phase];
        if (!isnan(y)) {
            double at = (double)t - middle;
            seen += 1.0;
            sum += y;
            along += at;
            square += at * at;
            product += at * y;
        }
    }
    double spread = square - along * along / seen;
    fit->slope = spread > 0.0 ? (product - along * sum / seen) / spread : 0.0;
    fit->level = (sum - fit->slope * along) / seen;
}

static void fit_both(struct fit *fit)
{
    fit->level = fit->slope = 0.0;
    for (size_t round = 0; round < ROUNDS; round++) {
        fit_profile(fit);
        fit_line(fit);
    }
}

/* left[0 .. count): what is not explained, behind the fitted values too. */
static void leave(const struct fit *fit, size_t count, double *left)
{
    for (size_t t = 0, phase = 0; t < count; t++, phase = (phase + 1) % fit->season) {
        left[t] = fit->values[t] - fit->profile[phase] - line_at(fit, (double)t);
    }
}

/* False where values are too few for so many parameters. */
static bool fit_season(struct fit *fit, double *left)
{
    double seen = 0.0, squares = 0.0;
    fit_both(fit);
    leave(fit, fit->count, left);
    for (size_t t = 0; t < fit->count; t++) {
        if (!isnan(left[t])) {
            squares += left[t] * left[t];
            seen += 1.0;
        }
    }
    double free = seen - (double)fit->season - 2.0;
    fit->variance = squares / free;
    return free >= PAIRS_LEAST && isfinite(fit->variance);
}

/* The season of the series, or none, that leaves the least; what it leaves in `left`. */
static bool fit_best(const struct model_series *series, struct fit *fit, double *left)
{
    size_t best = 1;
    double least = HUGE_VAL;
    for (size_t i = 0; i <= SEASONS_MAX; i++) {
        size_t season = i < SEASONS_MAX ? series->seasons[i] : 1;
        if (season == 0 || CYCLES_LEAST * season > fit->count) {
            continue;
        }
        fit->season = season;
        if (fit_season(fit, left) && fit->variance < least) {
            least = fit->variance;
            best = season;
        }
    }
    fit->season = best;
    return fit_season(fit, left) && fit->variance > 0.0;
}

/* ---------------------------------------------------------------- what is left */

/* Its first-order autoregression; false where a unit root is not rejected. */
static bool fit_return(const double *left, size_t count, double *phi)
{
    double product = 0.0, square = 0.0, after = 0.0, pairs = 0.0;
    for (size_t t = 1; t < count; t++) {
        if (!isnan(left[t]) && !isnan(left[t - 1])) {
            product += left[t] * left[t - 1];
            square += left[t - 1] * left[t - 1];
            after += left[t] * left[t];
            pairs += 1.0;
        }
    }
    if (pairs < PAIRS_LEAST || !(square > 0.0)) {
        return false;
    }
    double raw = product / square;
    double noise = (after - raw * product) / (pairs - 1.0);
    double statistic = (raw - 1.0) / sqrt(noise / square);
    *phi = fmin(fmax(raw + (2.0 + 4.0 * raw) / pairs, 0.0), PHI_MOST);
    return statistic < UNIT_ROOT_LIMIT;
}

/* What is left of the values from `from` on. */
struct rest {
    const double *left;
    size_t from, count;
};

/* Its deviation `ahead` steps after a value, given that value; NaN where there are too few. */
static double deviation_ahead(const struct rest *rest, double phi, size_t ahead)
{
    double kept = pow(phi, (double)ahead), squares = 0.0, pairs = 0.0;
    for (size_t t = ahead > rest->from ? ahead : rest->from; t < rest->count; t++) {
        double error = rest->left[t] - kept * rest->left[t - ahead];
        if (!isnan(error)) {
            squares += error * error;
            pairs += 1.0;
        }
    }
    return pairs >= PAIRS_LEAST ? sqrt(squares / pairs) : (double)NAN;
}

/* Quantiles of the noise for a deviation of 1; `errors` has room for as many. False where the noise
 * has lately become far larger: what it was says nothing of what comes. */
static bool find_shape(const double *left, size_t count, double phi, double *errors,
                       float shape[QUANTILE_COUNT])
{
    size_t found = 0;
    double squares = 0.0;
    for (size_t t = 1; t < count; t++) {
        double error = left[t] - phi * left[t - 1];
        if (!isnan(error)) {
            errors[found++] = error;
            squares += error * error;
        }
    }
    if (unrest_find(errors, found).share > 0.0) {
        return false;
    }
    double deviation = sqrt(squares / (double)found);
    double quantiles[QUANTILE_COUNT];
    order_quantiles(errors, found, quantile_levels, QUANTILE_COUNT, quantiles);
    for (size_t q = 0; q < QUANTILE_COUNT; q++) {
        shape[q] = (float)(quantiles[q] / deviation);
    }
    return true;
}

/* ---------------------------------------------------------------- the fan */

/* Variance of the line itself, `at` from the first value: values that hang together say less. */
static double line_variance(const struct fit *fit, double phi, double at)
{
    double count = (double)fit->count, off = at - 0.5 * (count - 1.0);
    double each = fit->variance * (1.0 + phi) / (1.0 - phi);
    return each * (1.0 / count + 12.0 * off * off / (count * (count * count - 1.0)));
}

/* From all values; where a series has changed, those of the newest by what was fitted to the others
 * are larger, and count as much. */
static double deviation_of(const struct rest rests[2], double phi, size_t ahead)
{
    double whole = deviation_ahead(&rests[0], phi, ahead);
    double newest = deviation_ahead(&rests[1], phi, ahead);
    return newest > whole ? sqrt(0.5 * (whole * whole + newest * newest)) : whole;
}

static void write_fan(const struct fit *fit, const struct rest rests[2], double phi,
                      struct reversion *out)
{
    const double *left = rests[0].left;
    size_t newest = fit->count - 1;
    while (isnan(left[newest])) {
        newest--;
    }
    double low = 0.0, high = deviation_of(rests, phi, 1);
    size_t low_ahead = 0, high_ahead = 1;
    double freedom = (double)fit->count / (double)(fit->count - fit->season - 2);
    for (size_t h = 0; h < out->horizon; h++) {
        size_t at = fit->count + h, ahead = at - newest;
        while (ahead > high_ahead) { /* errors at 1, 2, 4 ... steps, straight lines between */
            double next = deviation_of(rests, phi, 2 * high_ahead);
            low = high;
            low_ahead = high_ahead;
            high = isnan(next) ? high : next;
            high_ahead *= 2;
        }
        double share = (double)(ahead - low_ahead) / (double)(high_ahead - low_ahead);
        double deviation = low + share * (high - low);
        double variance = deviation * deviation * freedom + line_variance(fit, phi, (double)at);
        out->deviation[h] = (float)sqrt(variance);
        out->centre[h] = (float)(line_at(fit, (double)at) + fit->profile[at % fit->season] +
                                 pow(phi, (double)ahead) * left[newest]);
    }
}

/* ---------------------------------------------------------------- the door */

bool reversion_find(const struct model_series *series, size_t horizon, double *scratch,
                    struct reversion *out)
{
    size_t used = VALUES_USED;
    double phi;
    for (size_t i = 0; i < SEASONS_MAX; i++) {
        size_t wanted = SEASONS_SAW * (size_t)series->seasons[i];
        used = wanted > used ? wanted : used;
    }
    used = used < series->count ? used : series->count;
    struct fit fit = {
        .values = series->values + series->count - used, .count = used, .profile = scratch + used};
    double *left = scratch, *room = scratch + used + used / CYCLES_LEAST;
    out->horizon = 0;
    if (!fit_best(series, &fit, left) || !fit_return(left, used, &phi) ||
        !find_shape(left, used, phi, room, out->shape)) {
        return false;
    }
    out->horizon = horizon;
    struct fit early = fit;
    early.count = used - used / NEWEST_SHARE;
    early.profile = room + used;
    fit_both(&early);
    leave(&early, used, room);
    struct rest rests[2] = {{left, 0, used}, {room, early.count, used}};
    write_fan(&fit, rests, phi, out);
    return true;
}

bool reversion_is_narrower(const struct reversion *reversion, const struct forecast *forecast)
{
    size_t horizon = reversion->horizon;
    double shape = (double)reversion->shape[QUANTILE_LAST_DECILE] -
                   (double)reversion->shape[QUANTILE_FIRST_DECILE];
    double own = 0.0, other = 0.0;
    for (size_t h = 0; h < horizon; h++) {
        own += shape * (double)reversion->deviation[h];
        other += (double)forecast->quantiles[QUANTILE_LAST_DECILE * horizon + h] -
                 (double)forecast->quantiles[QUANTILE_FIRST_DECILE * horizon + h];
    }
    return own < other;
}

double reversion_score(const struct reversion *reversion, size_t step, double value, bool or_equal)
{
    float middle = 0.0f, shape[QUANTILE_COUNT];
    memcpy(shape, reversion->shape, sizeof(shape));
    struct forecast one = {1, &middle, shape};
    double away = value - (double)reversion->centre[step];
    return forecast_score(&one, 0, away / (double)reversion->deviation[step], or_equal);
}
