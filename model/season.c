/* Seasons of a series by autocorrelation: canonical ones of its step first, then a scan.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The evidence for a season s is a contrast: the mean autocorrelation at s, 2s ... Ms less that
 * halfway between (s/2, 3s/2 ...). A smooth random walk has neighbouring autocorrelations that
 * differ little, so its contrast is near zero, while any cycle of length s makes the two differ.
 * What a shorter season explains must not count twice (168 hours are seven days): its profile is
 * taken out, and halfway lags are rounded to multiples of it, where only the longer season makes a
 * difference.
 *
 * Slow movement is taken out with a centred moving mean of length s. Exactness, and whatever is not
 * canonical, comes from the spectrum (model/spectrum.h).
 */
#include "model/model.h"

#include "base/background.h"
#include "base/check.h"
#include "base/memory.h"
#include "model/spectrum.h"

#include <math.h>
#include <string.h>

#define USED_MAX         32768 /* newest values looked at */
#define CYCLES_USED      64    /* of one candidate */
#define MULTIPLES_MAX    4     /* M above */
#define VALUES_LEAST     12
#define CYCLES_EXACT     4 /* from which on the spectrum tells neighbours */
#define CYCLES_SURE      8
#define SCORE_ACCEPTED   30.0 /* of a season that is not canonical */
#define SCORE_LEAST      12.0
#define SCORE_BESIDE     60.0 /* likewise, beside canonical ones: long series show every trifle */
#define SCORE_OUTLASTS   15.0 /* of a day, a week or a year without its rival */
#define NEIGHBOUR_BETTER 1.1
#define SNAP_SHARE       0.95
#define DIVISOR_SHARE    0.85
#define BARTLETT_LAGS    24
#define MASK_SHARE       3 /* one in so many gaps like its neighbour: values come at a stride */
#define CYCLES_SHOWN     4 /* of a short season where no values are missing */
#define HOUR_MS          INT64_C(3600000)

static const int64_t canonical_ms[] = {HOUR_MS, 24 * HOUR_MS, 168 * HOUR_MS, 8760 * HOUR_MS};

/* Work on one candidate: the residual with gaps, and room for sums. */
struct probe {
    const double *values; /* trend and shorter seasons taken out; NaN = missing */
    size_t count;
    double *smooth; /* [count] less its moving mean */
    double *sums;   /* [count + 1] */
    double variance;
    size_t observed;
};

static double autocorrelation(const struct probe *probe, size_t lag)
{
    if (lag >= probe->count || probe->variance <= 0.0) {
        return 0.0;
    }
    double sum = 0.0;
    size_t pairs = 0;
    for (size_t i = lag; i < probe->count; i++) {
        double product = probe->smooth[i] * probe->smooth[i - lag];
        if (!isnan(product)) {
            sum += product;
            pairs++;
        }
    }
    /* Few pairs are weak evidence: shrink them to zero. */
    return sum / ((double)pairs + 8.0) / probe->variance;
}

/* smooth = values - centred moving mean of `width`; sets variance and observed. */
static void probe_prepare(struct probe *probe, size_t width)
{
    size_t n = probe->count;
    size_t half = width / 2;
    double *sums = probe->sums;
    uint32_t *counts = (uint32_t *)(void *)(sums + n + 1);
    sums[0] = 0.0;
    counts[0] = 0;
    for (size_t i = 0; i < n; i++) {
        bool seen = !isnan(probe->values[i]);
        sums[i + 1] = sums[i] + (seen ? probe->values[i] : 0.0);
        counts[i + 1] = counts[i] + (seen ? 1 : 0);
    }
    double square = 0.0;
    probe->observed = 0;
    for (size_t i = 0; i < n; i++) {
        size_t low = i > half ? i - half : 0;
        size_t high = i + half + 1 < n ? i + half + 1 : n;
        uint32_t seen = counts[high] - counts[low];
        double mean = seen > 0 ? (sums[high] - sums[low]) / (double)seen : 0.0;
        probe->smooth[i] = probe->values[i] - mean;
        if (!isnan(probe->smooth[i])) {
            square += probe->smooth[i] * probe->smooth[i];
            probe->observed++;
        }
    }
    probe->variance = probe->observed > 0 ? square / (double)probe->observed : 0.0;
}

static size_t multiples_of(size_t count, size_t season, size_t maximum)
{
    size_t cycles = count / season;
    size_t multiples = cycles > 2 ? cycles - 2 : 1;
    return multiples < maximum ? multiples : maximum;
}

/* Halfway lags: where a shorter season exists, its multiples on both sides of the exact half. */
static double halfway(const struct probe *probe, double lag, size_t shorter)
{
    if (shorter < 2) {
        size_t below = (size_t)lag;
        return lag > (double)below
                   ? 0.5 * (autocorrelation(probe, below) + autocorrelation(probe, below + 1))
                   : autocorrelation(probe, below);
    }
    size_t below = (size_t)(lag / (double)shorter) * shorter;
    if (below == 0) {
        return autocorrelation(probe, shorter);
    }
    return 0.5 * (autocorrelation(probe, below) + autocorrelation(probe, below + shorter));
}

static double contrast(const struct probe *probe, size_t season, size_t shorter)
{
    size_t multiples = multiples_of(probe->count, season, MULTIPLES_MAX);
    double sum = 0.0;
    for (size_t m = 1; m <= multiples; m++) {
        double lag = (double)(m * season);
        double before = halfway(probe, lag - 0.5 * (double)season, shorter);
        double after = halfway(probe, lag + 0.5 * (double)season, shorter);
        sum += autocorrelation(probe, m * season) - 0.5 * (before + after);
        background_give_way(); /* some 40,000 values: a tenth of a millisecond */
    }
    return sum / (double)multiples;
}

/* Standard error of an autocorrelation where the values are correlated over short lags (Bartlett).
 */
static double standard_error(const struct probe *probe, size_t season)
{
    size_t reach = season / 2;
    size_t used = reach < BARTLETT_LAGS ? reach : BARTLETT_LAGS;
    double sum = 0.0;
    for (size_t i = 1; i <= used; i++) {
        double r = autocorrelation(probe, i * reach / used);
        sum += r * r;
    }
    double weight = used > 0 ? (double)reach / (double)used : 0.0;
    return sqrt((1.0 + 2.0 * weight * sum) / (double)(probe->observed + 1));
}

/* Evidence in units of its threshold, at least 1 where the season is accepted; 0 where not. */
static double evidence(struct probe *probe, size_t season, size_t shorter, double strictness)
{
    if (season < 2 || probe->count < 3 * season) {
        return 0.0;
    }
    probe_prepare(probe, season);
    if (probe->observed < 2 * season || probe->variance <= 0.0) {
        return 0.0;
    }
    double error = standard_error(probe, season);
    double cycles = (double)probe->count / (double)season;
    double threshold = strictness * (0.08 + 2.0 * error + 0.3 / cycles);
    double found = contrast(probe, season, shorter);
    return found > threshold ? found / threshold : 0.0;
}

/* Takes the mean profile of a season out of the residual. */
static void remove_profile(double *values, size_t count, size_t season, double *scratch)
{
    double *sums = scratch;
    double *seen = scratch + season;
    memset(sums, 0, 2 * season * sizeof(double));
    for (size_t i = 0; i < count; i++) {
        if (!isnan(values[i])) {
            sums[i % season] += values[i];
            seen[i % season] += 1.0;
        }
    }
    for (size_t i = 0; i < count; i++) {
        size_t phase = i % season;
        values[i] -= seen[phase] > 0.0 ? sums[phase] / seen[phase] : 0.0;
    }
}

/* Straight line out, bursts cut at five deviations; false where nothing varies. */
static bool prepare(const double *values, size_t count, double *out)
{
    double n = 0.0, mean_t = 0.0, mean = 0.0;
    for (size_t i = 0; i < count; i++) {
        if (!isnan(values[i])) {
            n += 1.0;
            mean_t += ((double)i - mean_t) / n;
            mean += (values[i] - mean) / n;
        }
    }
    double tt = 0.0, ty = 0.0;
    for (size_t i = 0; i < count; i++) {
        if (!isnan(values[i])) {
            double t = (double)i - mean_t;
            tt += t * t;
            ty += t * (values[i] - mean);
        }
    }
    double slope = tt > 0.0 ? ty / tt : 0.0;
    double square = 0.0;
    for (size_t i = 0; i < count; i++) {
        out[i] = values[i] - mean - slope * ((double)i - mean_t);
        square += isnan(out[i]) ? 0.0 : out[i] * out[i];
    }
    double limit = n > 0.0 ? 5.0 * sqrt(square / n) : 0.0;
    if (!(limit > 1e-9 * (fabs(mean) + 1e-300))) {
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        out[i] = isnan(out[i]) ? out[i] : fmax(-limit, fmin(limit, out[i]));
    }
    return true;
}

/* Stretches whose values come at a stride, and the values behind the last of them, as they came. */
struct strides {
    size_t longest, end; /* 0: there are none */
    const double *values;
    size_t count;
};

/* Distance to the next value from one at `at`; 0 where there is none. */
static size_t distance_from(const double *values, size_t count, size_t at)
{
    size_t next = at + 1;
    while (next < count && isnan(values[next])) {
        next++;
    }
    return next < count ? next - at : 0;
}

/* Gaps beside one of the same length: all of them, and those alone. */
static void count_gaps(const double *values, size_t count, size_t *gaps, size_t *alike)
{
    size_t before = 0;
    *gaps = *alike = 0;
    for (size_t at = 0; at < count; at++) {
        size_t distance = isnan(values[at]) ? 0 : distance_from(values, count, at);
        if (distance > 1) {
            *gaps += 1;
            *alike += distance == before ? 1 : 0;
        }
        before = distance > 0 ? distance : before;
        at += distance > 0 ? distance - 1 : 0;
    }
}

/* Values that come at every fourth cell, as those before a step became shorter, are slow movement
 * cut into a comb: its teeth stand out of any spectrum, and the phases of a fold, which tell of
 * different times, differ. So such a stretch gets straight lines between its values, which hold no
 * season of the stride. Single gaps and outages stay what they are. */
static struct strides fill_strides(double *values, size_t count)
{
    struct strides strides = {.longest = 0};
    size_t gaps, alike, before = 0;
    count_gaps(values, count, &gaps, &alike);
    if (alike == 0 || MASK_SHARE * alike < gaps) {
        return strides;
    }
    for (size_t at = 0; at < count;) {
        size_t distance = isnan(values[at]) ? 0 : distance_from(values, count, at);
        size_t next = at + distance;
        size_t after = distance > 1 ? distance_from(values, count, next) : 0;
        double from = values[at];
        bool fills = distance > 1 && (distance == before || distance == after);
        for (size_t i = 1; fills && i < distance; i++) {
            values[at + i] = from + (values[next] - from) * (double)i / (double)distance;
        }
        strides.end = fills ? next : strides.end;
        strides.longest = fills && distance > strides.longest ? distance : strides.longest;
        before = distance > 0 ? distance : before;
        at += distance > 0 ? distance : 1;
    }
    return strides;
}

struct found {
    size_t season;
    double evidence;
};

/* Where values are exact the bends of the lines themselves are a season of the stride: one that
 * values at a stride cannot show must be shown by those behind them. Returns how many
 * are left. */
static size_t keep_shown(const struct strides *strides, double *residual, double *room,
                         struct found *found, size_t kept)
{
    size_t left = 0;
    struct spectrum spectrum;
    bool any = strides->count > 0 && prepare(strides->values, strides->count, residual);
    if (any) {
        spectrum_init(&spectrum, residual, strides->count, room);
    }
    for (size_t i = 0; i < kept; i++) {
        size_t season = found[i].season;
        bool hidden = season <= 2 * strides->longest;
        bool enough = any && CYCLES_SHOWN * season <= spectrum.count;
        bool suspect = hidden || (enough && season % strides->longest == 0);
        if (!suspect || (enough && spectrum_score(&spectrum, season) >= SCORE_LEAST)) {
            found[left++] = found[i];
        }
    }
    return left;
}

static struct probe probe_at(const double *residual, size_t count, size_t used, double *work)
{
    size_t from = count > used ? count - used : 0;
    struct probe probe = {.values = residual + from, .count = count - from};
    probe.smooth = work;
    probe.sums = work + probe.count;
    return probe;
}

/* Whether a season is only a multiple of a shorter one, *rival: that is what it is then, 0 where
 * the rival is near an integer share of it and not on it. The season itself where it is no
 * multiple. */
static size_t without_multiples(const struct spectrum *spectrum, size_t season, double own,
                                size_t *rival)
{
    size_t reach = spectrum_resolution(spectrum, season);
    for (size_t k = 2; k <= season / 2; k++) {
        size_t share = (season + k / 2) / k;
        size_t around = reach / k > 0 ? reach / k : 1;
        around = season % k == 0 || k <= MULTIPLES_MAX + 2 ? around : 0;
        size_t best = 0;
        double score = 0.0;
        for (size_t period = share > around + 2 ? share - around : 2;
             around > 0 && period <= share + around; period++) {
            double found = spectrum_score(spectrum, period);
            best = found > score ? period : best;
            score = fmax(score, found);
        }
        bool divides = best * k == season;
        if (score > SCORE_LEAST && score > (divides ? DIVISOR_SHARE : NEIGHBOUR_BETTER) * own) {
            *rival = best;
            return divides ? best : 0;
        }
    }
    return season;
}

/* A canonical season that the autocorrelation shows, looked at again: the spectrum tells a
 * neighbour from it, and a shorter season of which it is only a multiple. Returns what it is; 0
 * where it is none. *rival is the period that stands against it, 0 where there is none. */
static size_t exact_canonical(const struct spectrum *spectrum, size_t season, size_t *rival)
{
    *rival = 0;
    if (season > spectrum->count) {
        return season; /* too long for the spectrum */
    }
    double own = spectrum_score(spectrum, season);
    if (own < SCORE_LEAST && CYCLES_SURE * season <= spectrum->count) {
        return 0; /* the autocorrelation's shoulder of another season */
    }
    size_t exact = without_multiples(spectrum, season, own, rival);
    if (exact != season) {
        return exact;
    }
    size_t reach = spectrum_resolution(spectrum, season);
    bool resolved = CYCLES_EXACT * season <= spectrum->count;
    for (size_t away = 1; resolved && away <= reach && away + 2 <= season; away++) {
        double below = spectrum_score(spectrum, season - away);
        double above = spectrum_score(spectrum, season + away);
        if (fmax(below, above) > NEIGHBOUR_BETTER * own + SCORE_LEAST) {
            *rival = below > above ? season - away : season + away;
            return 0;
        }
    }
    return season;
}

/* Of seasons that the values cannot tell apart the canonical one. */
static size_t snap(const struct spectrum *spectrum, int64_t step_ms, size_t season, double score)
{
    size_t reach = spectrum_resolution(spectrum, season);
    for (size_t i = 0; i < ARRAY_COUNT(canonical_ms); i++) {
        size_t near = canonical_ms[i] % step_ms == 0 ? (size_t)(canonical_ms[i] / step_ms) : 0;
        size_t away = near > season ? near - season : season - near;
        if (near > 1 && away <= reach && near * 2 <= spectrum->count &&
            spectrum_score(spectrum, near) >= SNAP_SHARE * score) {
            return near;
        }
    }
    return season;
}

/* What stands out most of all, and what is left without it: another season that neither divides it
 * nor is a multiple of it must show there too, or it only shares some of its harmonics. */
struct strongest {
    size_t season; /* 0: none */
    double *rest;  /* [count] */
    double *room;
};

static void find_strongest(const double *residual, size_t count, struct strongest *strongest)
{
    struct spectrum spectrum;
    double score;
    spectrum_init(&spectrum, residual, count, strongest->room);
    bool any = spectrum_period(&spectrum, &strongest->season, &score) && score >= SCORE_ACCEPTED;
    strongest->season = any ? strongest->season : 0;
    if (any) {
        memcpy(strongest->rest, residual, count * sizeof(double));
        remove_profile(strongest->rest, count, strongest->season, strongest->room);
    }
}

static bool stands_alone(const struct strongest *strongest, size_t count, size_t season)
{
    size_t other = strongest->season;
    if (season == 0 || other == 0 || season % other == 0 || other % season == 0) {
        return season > 0;
    }
    struct spectrum spectrum;
    spectrum_init(&spectrum, strongest->rest, count, strongest->room);
    return season > spectrum.count || spectrum_score(&spectrum, season) >= SCORE_LEAST;
}

/* Whether a calendar's season (people live by days and weeks, nobody by half a week) shows even
 * without its rival: a week whose halves are alike is no season of half a week, and a real week
 * varies too much to be of exactly one length. `work` has
 * room for a copy and two profiles. */
static bool outlasts(const double *residual, size_t count, size_t season, size_t rival,
                     double *work, double *room)
{
    struct spectrum spectrum;
    if (rival == 0) {
        return false;
    }
    memcpy(work, residual, count * sizeof(double));
    remove_profile(work, count, rival, work + count);
    spectrum_init(&spectrum, work, count, room);
    return spectrum_score(&spectrum, season) >= SCORE_OUTLASTS;
}

static size_t test_canonical(double *residual, size_t count, int64_t step_ms, double *work,
                             const struct strongest *strongest, struct found *found)
{
    size_t kept = 0;
    for (size_t i = 0; i < ARRAY_COUNT(canonical_ms); i++) {
        size_t season = (size_t)((canonical_ms[i] + step_ms / 2) / step_ms);
        bool divides = canonical_ms[i] % step_ms == 0 || i == 3;
        if (season < 2 || season > count / 3 || !divides) {
            continue;
        }
        struct probe probe = probe_at(residual, count, CYCLES_USED * season, work);
        size_t shorter = kept > 0 ? found[kept - 1].season : 0;
        double strength = evidence(&probe, season, shorter, 1.0);
        if (strength > 0.0) {
            struct spectrum spectrum;
            spectrum_init(&spectrum, residual, count, strongest->room);
            size_t rival;
            size_t exact = exact_canonical(&spectrum, season, &rival);
            bool stays = canonical_ms[i] > HOUR_MS &&
                         outlasts(residual, count, season, rival, work, strongest->room);
            season = stays ? season : exact;
        }
        if (strength > 0.0 && season != shorter && stands_alone(strongest, count, season)) {
            found[kept].season = season;
            found[kept].evidence = strength;
            kept++;
            remove_profile(residual, count, season, work);
        }
    }
    return kept;
}

/* Seasons that nobody would guess, the clearest first. */
static size_t test_scan(double *residual, size_t count, int64_t step_ms, double *room,
                        struct found *found, size_t kept)
{
    size_t added = 0;
    while (added < 2) {
        struct spectrum spectrum;
        size_t season;
        double score;
        spectrum_init(&spectrum, residual, count, room);
        double needed = kept > 0 ? SCORE_BESIDE : SCORE_ACCEPTED;
        if (!spectrum_period(&spectrum, &season, &score) || score < needed || season < 3) {
            break;
        }
        season = snap(&spectrum, step_ms, season, score);
        for (size_t i = 0; i < kept + added; i++) {
            if (found[i].season % season == 0) { /* a harmonic of what there is */
                return added;
            }
        }
        found[kept + added].season = season;
        found[kept + added].evidence = 1.0 + score / SCORE_ACCEPTED;
        added++;
        remove_profile(residual, count, season, room);
    }
    return added;
}

size_t season_detect(const double *values, size_t count, int64_t step_ms,
                     uint32_t seasons[SEASONS_MAX])
{
    memset(seasons, 0, SEASONS_MAX * sizeof(seasons[0]));
    size_t used = count < USED_MAX ? count : USED_MAX;
    values += count - used;
    /* residual, smooth, sums, counts (half of a double each); what is left; the spectrum's */
    size_t probes = 4 * (used + 2);
    double *memory = used >= VALUES_LEAST && step_ms > 0
                         ? mem_zeroed(probes + used + spectrum_room(used), sizeof(double))
                         : NULL;
    if (memory == NULL) {
        return 0;
    }
    struct found found[6] = {{0, 0.0}};
    size_t kept = 0;
    if (prepare(values, used, memory)) {
        struct strides strides = fill_strides(memory, used);
        struct strongest strongest = {0, memory + probes, memory + probes + used};
        find_strongest(memory, used, &strongest);
        kept = test_canonical(memory, used, step_ms, memory + used, &strongest, found);
        kept += test_scan(memory, used, step_ms, strongest.room, found, kept);
        if (strides.longest > 0) {
            strides.values = values + strides.end;
            strides.count = used - strides.end;
            kept = keep_shown(&strides, memory, strongest.room, found, kept);
        }
    }
    mem_free(memory);
    while (kept > SEASONS_MAX) {
        size_t weakest = 0;
        for (size_t i = 1; i < kept; i++) {
            weakest = found[i].evidence < found[weakest].evidence ? i : weakest;
        }
        kept--;
        memmove(found + weakest, found + weakest + 1, (kept - weakest) * sizeof(found[0]));
    }
    for (size_t i = 0; i < kept; i++) {
        size_t at = i;
        for (; at > 0 && seasons[at - 1] > found[i].season; at--) {
            seasons[at] = seasons[at - 1];
        }
        seasons[at] = (uint32_t)found[i].season;
    }
    return kept;
}
