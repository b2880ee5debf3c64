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
 * Slow movement is taken out with a centred moving mean of length s. Exactness comes from the
 * multiples: a cycle of 25 compared at lag 4 x 24 is far out of phase.
 */
#include "model/model.h"

#include "base/check.h"
#include "base/memory.h"

#include <math.h>
#include <string.h>

#define USED_MAX        32768 /* newest values looked at */
#define CYCLES_USED     64    /* of one candidate */
#define MULTIPLES_MAX   4     /* M above */
#define EXACT_MULTIPLES 12    /* for telling s from s + 1 */
#define SCAN_VALUES     4096  /* newest values for the scan */
#define SCAN_LAG_MAX    1024
#define BARTLETT_LAGS   24
#define HOUR_MS         INT64_C(3600000)

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

static double sharp(const struct probe *probe, size_t season)
{
    size_t multiples = multiples_of(probe->count, season, EXACT_MULTIPLES);
    double sum = 0.0;
    for (size_t m = 1; m <= multiples; m++) {
        sum += autocorrelation(probe, m * season);
    }
    return sum / (double)multiples;
}

/* The season near `guess` that the multiples agree on; `guess` itself unless another is clearly
 * better. Short guesses try every neighbour; long ones are steps of what a cycle can resolve. */
static size_t refine(const struct probe *probe, size_t guess, size_t reach)
{
    double own = sharp(probe, guess);
    double best = own;
    size_t season = guess;
    for (size_t away = 1; away <= reach; away++) {
        size_t candidates[2] = {guess > away + 1 ? guess - away : guess, guess + away};
        for (size_t i = 0; i < 2; i++) {
            double value = sharp(probe, candidates[i]);
            if (candidates[i] != guess && value > best) {
                best = value;
                season = candidates[i];
            }
        }
    }
    return best - own > 0.03 * fabs(best) + 0.01 ? season : guess;
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

struct found {
    size_t season;
    double evidence;
};

static struct probe probe_at(const double *residual, size_t count, size_t used, double *work)
{
    size_t from = count > used ? count - used : 0;
    struct probe probe = {.values = residual + from, .count = count - from};
    probe.smooth = work;
    probe.sums = work + probe.count;
    return probe;
}

static size_t test_canonical(double *residual, size_t count, int64_t step_ms, double *work,
                             struct found *found)
{
    static const int64_t lengths_ms[] = {HOUR_MS, 24 * HOUR_MS, 168 * HOUR_MS, 8760 * HOUR_MS};
    size_t kept = 0;
    for (size_t i = 0; i < ARRAY_COUNT(lengths_ms); i++) {
        size_t season = (size_t)((lengths_ms[i] + step_ms / 2) / step_ms);
        bool divides = lengths_ms[i] % step_ms == 0 || i == 3;
        if (season < 2 || season > count / 3 || !divides) {
            continue;
        }
        struct probe probe = probe_at(residual, count, CYCLES_USED * season, work);
        size_t shorter = kept > 0 ? found[kept - 1].season : 0;
        double strength = evidence(&probe, season, shorter, 1.0);
        size_t reach = season / 12 < 3 ? season / 12 + 1 : 3;
        if (strength > 0.0 && (shorter > 0 || refine(&probe, season, reach) == season)) {
            found[kept].season = season;
            found[kept].evidence = strength;
            kept++;
            remove_profile(residual, count, season, work);
        }
    }
    return kept;
}

static size_t test_scan(double *residual, size_t count, size_t shorter, double *work,
                        struct found *found)
{
    struct probe probe = probe_at(residual, count, SCAN_VALUES, work);
    size_t limit = probe.count / 4 < SCAN_LAG_MAX ? probe.count / 4 : SCAN_LAG_MAX;
    if (limit < 3) {
        return 0;
    }
    probe_prepare(&probe, limit);
    double best = 0.0;
    size_t season = 0;
    double before = autocorrelation(&probe, 2);
    double here = autocorrelation(&probe, 3);
    for (size_t lag = 3; lag < limit; lag++) {
        double after = autocorrelation(&probe, lag + 1);
        /* A longer peak must be clearly better: it may be a multiple of the true one. */
        if (here > before && here >= after && here > 0.1) {
            double value = contrast(&probe, lag, 0);
            if (value > 1.1 * best + 0.02) {
                best = value;
                season = lag;
            }
        }
        before = here;
        here = after;
    }
    if (season == 0 || season == shorter) {
        return 0;
    }
    season = refine(&probe, season, 2);
    found->evidence = evidence(&probe, season, 0, 1.5);
    found->season = season;
    return found->evidence > 0.0 ? 1 : 0;
}

size_t season_detect(const double *values, size_t count, int64_t step_ms,
                     uint32_t seasons[SEASONS_MAX])
{
    memset(seasons, 0, SEASONS_MAX * sizeof(seasons[0]));
    size_t used = count < USED_MAX ? count : USED_MAX;
    values += count - used;
    /* residual, smooth, sums, counts (half of a double each) */
    double *memory = used >= 6 && step_ms > 0 ? mem_zeroed(4 * (used + 2), sizeof(double)) : NULL;
    if (memory == NULL) {
        return 0;
    }
    struct found found[5] = {{0, 0.0}};
    size_t kept = 0;
    if (prepare(values, used, memory)) {
        double *work = memory + used;
        kept = test_canonical(memory, used, step_ms, work, found);
        size_t shorter = kept > 0 ? found[0].season : 0;
        kept += test_scan(memory, used, shorter, work, found + kept);
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
