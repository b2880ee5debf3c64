/* Level shifts: whether a series has lately moved to another level, and its past brought there.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "model/model.h"
#include "model/order.h"

#include <math.h>
#include <string.h>

#define RECENT_MIN  64 /* newest values in which a shift is looked for, */
#define RECENT_MAX  336
#define BEFORE_MIN  24  /* values that say what was usual */
#define BEFORE_MAX  512 /* newest ones of them */
#define SPREADS     4.0
#define SAME_SIDE   0.9
#define FAR         0.5  /* of the shift: where a value counts as beyond */
#define EARLIER_MAX 0.6  /* of the shift: how far an earlier stretch may have gone */
#define LEAST       1e-3 /* of the level: smaller shifts of a constant are none */
#define UNIT_RATIO  10.0
#define NORMAL_MAD  1.4826

/* The longest season that the values before the recent ones hold twice; 1 where none does. */
static size_t season_of(const uint32_t *seasons, size_t before)
{
    size_t longest = 1;
    for (size_t i = 0; i < SEASONS_MAX; i++) {
        if (seasons[i] > longest && 2 * (size_t)seasons[i] <= before) {
            longest = seasons[i];
        }
    }
    return longest;
}

/* Values less the profile of their season, as it was before the recent ones. */
static void take_season_out(const double *values, size_t count, size_t before, size_t season,
                            double *rest, double *profile)
{
    double total = 0.0;
    double phases = 0.0;
    size_t from = before % season + (before / season > 4 ? (before / season - 4) * season : 0);
    for (size_t phase = 0; phase < season; phase++) {
        double sum = 0.0;
        double seen = 0.0;
        for (size_t i = from + phase; i < before; i += season) {
            sum += isnan(values[i]) ? 0.0 : values[i];
            seen += isnan(values[i]) ? 0.0 : 1.0;
        }
        profile[phase] = seen > 0.0 ? sum / seen : (double)NAN;
        total += seen > 0.0 ? sum / seen : 0.0;
        phases += seen > 0.0 ? 1.0 : 0.0;
    }
    double mean = phases > 0.0 ? total / phases : 0.0;
    for (size_t i = 0; i < count; i++) {
        size_t phase = (i + season - from % season) % season;
        rest[i] = values[i] - (isnan(profile[phase]) || season == 1 ? 0.0 : profile[phase] - mean);
    }
}

/* Median of the observed among values[0 .. count); NaN where none is. */
static double median(const double *values, size_t count, double *sorted)
{
    size_t seen = 0;
    for (size_t i = 0; i < count; i++) {
        if (!isnan(values[i])) {
            sorted[seen] = values[i];
            seen++;
        }
    }
    order_sort(sorted, seen);
    return seen > 0 ? order_quantile(sorted, seen, 0.5) : (double)NAN;
}

/* Usual distance from the level: the larger of the normal one by the median, and the mean. */
static double spread_of(const double *values, size_t count, double level, double *sorted)
{
    size_t seen = 0;
    double sum = 0.0;
    for (size_t i = 0; i < count; i++) {
        if (!isnan(values[i])) {
            sorted[seen] = fabs(values[i] - level);
            sum += sorted[seen];
            seen++;
        }
    }
    order_sort(sorted, seen);
    double typical = NORMAL_MAD * order_quantile(sorted, seen, 0.5);
    return seen > 0 ? fmax(typical, sum / (double)seen) : 0.0;
}

/* Where two means explain the newest values best; `sum` and `seen` run over rest[from .. count). */
static size_t split(const double *rest, size_t count, size_t from, size_t recent)
{
    double all = 0.0, n = 0.0;
    for (size_t i = from; i < count; i++) {
        all += isnan(rest[i]) ? 0.0 : rest[i];
        n += isnan(rest[i]) ? 0.0 : 1.0;
    }
    double after = 0.0, seen = 0.0, best = 0.0;
    size_t at = count;
    for (size_t i = count; i > count - recent; i--) {
        if (!isnan(rest[i - 1])) {
            after += rest[i - 1];
            seen += 1.0;
        }
        if (seen >= LEVEL_SHIFT_AFTER && n - seen >= BEFORE_MIN && !isnan(rest[i - 1])) {
            double difference = after / seen - (all - after) / (n - seen);
            double gain = difference * difference * seen * (n - seen) / n;
            if (gain > best) {
                best = gain;
                at = i - 1;
            }
        }
    }
    return at;
}

/* Whether nine in ten values behind the shift lie beyond the middle between the levels. */
static bool stays(const double *rest, size_t count, const struct level_shift *shift)
{
    double away = shift->after - shift->before;
    size_t seen = 0;
    size_t beyond = 0;
    for (size_t i = shift->at; i < count; i++) {
        if (!isnan(rest[i])) {
            seen++;
            beyond += (rest[i] - shift->before) / away > FAR;
        }
    }
    return (double)beyond >= SAME_SIDE * (double)seen;
}

/* Whether an earlier stretch of that length went nearly as far. */
static bool went_there_before(const double *rest, size_t from, size_t length,
                              const struct level_shift *shift, double *sorted)
{
    double away = fabs(shift->after - shift->before);
    size_t stride = length / 2 > 0 ? length / 2 : 1;
    for (size_t begin = from; begin + length <= shift->at; begin += stride) {
        double level = median(rest + begin, length, sorted);
        if (fabs(level - shift->before) > EARLIER_MAX * away) {
            return true;
        }
    }
    return false;
}

/* A shift that is older than the newest values is found where they begin. It is dated, and the past
 * moved, from where it really began: else what lies between would be moved although it is at the
 * new level already. */
static void find_begin(const double *rest, size_t count, size_t from, struct level_shift *shift,
                       double *sorted)
{
    struct level_shift older = *shift;
    older.at = split(rest, count, from, count - from);
    if (older.at < shift->at && stays(rest, count, &older)) {
        shift->at = older.at;
        shift->before = median(rest + from, shift->at - from, sorted);
        shift->after = median(rest + shift->at, count - shift->at, sorted);
    }
}

bool level_shift_find(const double *values, size_t count, const uint32_t *seasons, double *scratch,
                      struct level_shift *out)
{
    if (count < BEFORE_MIN + LEVEL_SHIFT_AFTER) {
        return false;
    }
    double *rest = scratch;
    double *sorted = scratch + count;
    double *profile = scratch + 2 * count;
    size_t longest = season_of(seasons, count - count / 4);
    size_t recent = 2 * longest > RECENT_MIN ? 2 * longest : RECENT_MIN;
    recent = recent < RECENT_MAX ? recent : RECENT_MAX;
    recent = recent < count / 2 ? recent : count / 2;
    size_t before = count - recent;
    take_season_out(values, count, before, season_of(seasons, before), rest, profile);
    size_t from = before > BEFORE_MAX ? before - BEFORE_MAX : 0;
    struct level_shift shift = {.at = split(rest, count, from, recent)};
    if (shift.at >= count) {
        return false;
    }
    size_t length = count - shift.at;
    shift.before = median(rest + from, shift.at - from, sorted);
    shift.after = median(rest + shift.at, length, sorted);
    double usual = spread_of(rest + from, shift.at - from, shift.before, sorted);
    double away = fabs(shift.after - shift.before);
    bool far = away > SPREADS * usual && away > LEAST * fabs(shift.before);
    if (!far || !stays(rest, count, &shift) ||
        went_there_before(rest, from, length, &shift, sorted)) {
        return false;
    }
    find_begin(rest, count, from, &shift, sorted);
    double ratio = shift.before > 0.0 ? shift.after / shift.before : 0.0;
    shift.unit = ratio >= UNIT_RATIO || (ratio > 0.0 && ratio <= 1.0 / UNIT_RATIO);
    *out = shift;
    return true;
}

void level_shift_apply(const struct level_shift *shift, double *values, size_t count)
{
    double least = HUGE_VAL;
    for (size_t i = 0; i < count; i++) {
        least = fmin(least, values[i]); /* a NaN is not less */
    }
    double floor = least >= 0.0 ? 0.0 : -HUGE_VAL;
    double factor = shift->unit ? shift->after / shift->before : 1.0;
    double offset = shift->unit ? 0.0 : shift->after - shift->before;
    for (size_t i = 0; i < shift->at; i++) {
        if (!isnan(values[i])) {
            values[i] = fmax(floor, values[i] * factor + offset);
        }
    }
}

double level_shift_widening(const struct level_shift *shift, size_t count)
{
    return sqrt(1.0 + (double)LEVEL_SHIFT_AFTER / (double)(count - shift->at));
}
