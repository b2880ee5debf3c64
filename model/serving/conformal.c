/* Adaptive conformal correction: the bands of one series learn from what arrived.
 * SPDX-License-Identifier: Apache-2.0
 *
 * For a pair of levels k and 1 - k and a third of the horizon the score of an arrived value is
 * s = |y - median| / w, w being the half-width on its side before correction. The correction is the
 * factor exp(shift) on w, and shift follows the quantile 2k - 1 of log s by the pinball step
 *
 *     shift <- shift + gain * (missed - (2 - 2k)),   missed = [log s > shift]
 *
 * (Gibbs and Candes 2021, with the quantile itself as the tracked value: Angelopoulos, Candes and
 * Tibshirani 2023, "quantile tracking", their eq. 4). Summed up, the share of misses differs from
 * 2 - 2k by at most (range of shift) / (gain * steps), whatever the data do.
 *
 * The score is compared with the shift of today, not with the one that the forecast was issued
 * under: the answer to a change of shift comes a horizon later, and a tracker that waits for it
 * would swing. Values that arrived together are one lesson (their errors share one weather), so a
 * burst moves the band by a few bounded steps, whatever its size. Gains are in the inverse slope of
 * the normal coverage, so that all pairs follow at one speed; they begin large and fall with the
 * square root of the lessons.
 */
#include "model/forecast.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define SHIFT_MAX    2.08   /* log 8 */
#define SHIFT_MIN    (-1.4) /* log 1/4 */
#define GAIN_FIRST   0.25
#define GAIN_LAST    0.015
#define STEP_MAX     0.25 /* of one lesson */
#define SEEN_HALF    4.0  /* values that give a lesson half its weight */
#define LESSONS_MAX  60000
#define COUNT_HALVED 4000
#define RUN_SHIFT    12 /* values in a row outside of the 95 % band on one side: the level shifted */

/* Of the pairs 0.6 ... 0.975: allowed misses 2 - 2k, and 2 z phi(z) at k, the slope of the normal
 * coverage in log width. */
static const double allowed[CONFORMAL_PAIRS] = {0.8, 0.6, 0.4, 0.2, 0.05};
static const double slopes[CONFORMAL_PAIRS] = {0.1957, 0.3647, 0.4713, 0.4498, 0.2289};

static size_t part_of(const struct conformal *state, size_t h)
{
    size_t part = h * CONFORMAL_PARTS / state->horizon;
    return part < CONFORMAL_PARTS ? part : CONFORMAL_PARTS - 1;
}

/* A step's factors on the half-widths: those of the thirds hold at their middles, and between the
 * middles they run evenly from one to the next, so that a band has no stairs. */
struct factors {
    double of[CONFORMAL_PAIRS][CONFORMAL_PARTS];
};

static struct factors factors_of(const struct conformal *state)
{
    struct factors factors;
    for (size_t pair = 0; pair < CONFORMAL_PAIRS; pair++) {
        for (size_t part = 0; part < CONFORMAL_PARTS; part++) {
            factors.of[pair][part] =
                state->horizon > 0 ? exp((double)state->shift[pair][part]) : 1.0;
        }
    }
    return factors;
}

static double factor_at(const struct factors *factors, size_t pair, double place)
{
    size_t low = (size_t)place, high = low + 1 < CONFORMAL_PARTS ? low + 1 : low;
    double rest = place - (double)low;
    return (1.0 - rest) * factors->of[pair][low] + rest * factors->of[pair][high];
}

/* Where step h lies between the middles of the thirds: 0 at the first one. */
static double place_of(const struct conformal *state, size_t h)
{
    double place = ((double)h + 0.5) * CONFORMAL_PARTS / (double)state->horizon - 0.5;
    return fmax(0.0, fmin((double)(CONFORMAL_PARTS - 1), place));
}

void conformal_init(struct conformal *state, size_t horizon)
{
    memset(state, 0, sizeof(*state));
    state->horizon = (uint16_t)(horizon < UINT16_MAX ? horizon : UINT16_MAX);
    state->settled_ms = state->ignore_before_ms = INT64_MIN;
}

void conformal_apply(const struct conformal *state, const struct model_series *series,
                     struct forecast *forecast)
{
    size_t horizon = forecast->horizon;
    if (state->horizon == 0) {
        return;
    }
    struct factors factors = factors_of(state);
    for (size_t h = 0; h < horizon; h++) {
        double place = place_of(state, h);
        float median = forecast->quantiles[QUANTILE_MEDIAN * horizon + h];
        for (size_t pair = 0; pair < CONFORMAL_PAIRS; pair++) {
            float *above = &forecast->quantiles[(QUANTILE_MEDIAN + 1 + pair) * horizon + h];
            float *below = &forecast->quantiles[(QUANTILE_MEDIAN - 1 - pair) * horizon + h];
            float factor = (float)factor_at(&factors, pair, place);
            *above = median + factor * (*above - median);
            *below = median + factor * (*below - median);
        }
    }
    forecast_finish(series, 0.0, forecast);
}

void conformal_see(const struct conformal *state, const struct forecast *forecast,
                   const struct conformal *issued, size_t h, double actual,
                   struct conformal_lesson *lesson)
{
    size_t horizon = forecast->horizon;
    size_t part = part_of(state, h);
    double median = (double)forecast->quantiles[QUANTILE_MEDIAN * horizon + h];
    if (isnan(median)) {
        return; /* there was no forecast to learn from */
    }
    double away = fabs(actual - median);
    struct factors then = factors_of(issued), today = factors_of(state);
    double place = place_of(state, h);
    for (size_t pair = 0; pair < CONFORMAL_PAIRS; pair++) {
        size_t level = actual >= median ? QUANTILE_MEDIAN + 1 + pair : QUANTILE_MEDIAN - 1 - pair;
        double width = fabs((double)forecast->quantiles[level * horizon + h] - median);
        double now = width * factor_at(&today, pair, place) / factor_at(&then, pair, place);
        lesson->missed[pair][part] += away > now * (1.0 + 1e-9) ? 1.0 : 0.0;
        bool inside = away <= width * (1.0 + 1e-9);
        lesson->inside80 += pair == 3 && inside ? 1 : 0;
        lesson->inside95 += pair == 4 && inside ? 1 : 0;
    }
    lesson->seen[part]++;
}

static double limit(double value, double low, double high)
{
    return fmax(low, fmin(high, value));
}

void conformal_learn(struct conformal *state, const struct conformal_lesson *lesson)
{
    for (size_t part = 0; part < CONFORMAL_PARTS; part++) {
        double seen = (double)lesson->seen[part];
        if (lesson->seen[part] == 0) {
            continue;
        }
        double gain = fmax(GAIN_LAST, GAIN_FIRST / sqrt(1.0 + (double)state->lessons[part]));
        gain *= seen / (seen + SEEN_HALF);
        for (size_t pair = 0; pair < CONFORMAL_PAIRS; pair++) {
            double missed = lesson->missed[pair][part] / seen;
            double step = gain / slopes[pair] * (missed - allowed[pair]);
            double shift = (double)state->shift[pair][part] + limit(step, -STEP_MAX, STEP_MAX);
            state->shift[pair][part] = (float)limit(shift, SHIFT_MIN, SHIFT_MAX);
        }
        state->lessons[part] += state->lessons[part] < LESSONS_MAX ? 1 : 0;
        state->count += lesson->seen[part];
    }
    state->inside80 += lesson->inside80;
    state->inside95 += lesson->inside95;
    if (state->count >= COUNT_HALVED) {
        state->count /= 2;
        state->inside80 /= 2;
        state->inside95 /= 2;
    }
}

int conformal_side(const struct forecast *forecast, size_t h, double actual)
{
    double low = (double)forecast->quantiles[h];
    double high = (double)forecast->quantiles[(QUANTILE_COUNT - 1) * forecast->horizon + h];
    return actual > high ? 1 : (actual < low ? -1 : 0);
}

bool conformal_watch(struct conformal *state, int side, int64_t now_ms, int64_t step_ms)
{
    state->run = (int16_t)(side * state->run > 0 ? state->run + side : side);
    int64_t rest_ms = 2 * (int64_t)state->horizon * step_ms;
    bool rested = state->ignore_before_ms == INT64_MIN ||
                  now_ms - state->ignore_before_ms >= rest_ms; /* not again and again */
    if (abs(state->run) < RUN_SHIFT || !rested) {
        return false;
    }
    state->run = 0;
    state->ignore_before_ms = now_ms;
    memset(state->lessons, 0, sizeof(state->lessons));
    return true;
}

void conformal_carry(struct conformal *state, size_t horizon)
{
    struct conformal old = *state;
    conformal_init(state, horizon);
    state->settled_ms = old.settled_ms;
    state->count = old.count;
    state->inside80 = old.inside80;
    state->inside95 = old.inside95;
    if (old.horizon == state->horizon) {
        for (size_t pair = 0; pair < CONFORMAL_PAIRS; pair++) {
            for (size_t part = 0; part < CONFORMAL_PARTS; part++) {
                state->shift[pair][part] = 0.5f * old.shift[pair][part];
            }
        }
    }
}

void conformal_resume(struct conformal *state, const struct conformal *kept)
{
    bool shifted = state->ignore_before_ms != kept->ignore_before_ms;
    memcpy(state->shift, kept->shift, sizeof(state->shift));
    for (size_t part = 0; part < CONFORMAL_PARTS; part++) {
        state->lessons[part] = shifted ? 0 : kept->lessons[part];
    }
}
