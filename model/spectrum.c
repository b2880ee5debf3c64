/* Lines in a spectrum: how far a period of whole steps stands out of the noise around it.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "model/spectrum.h"

#include "base/check.h"
#include "model/order.h"

#include <math.h>
#include <string.h>

#define HARMONICS     12
#define HARMONIC_LINE 6.0 /* powers over the background; noise exceeds it once in e^6 */
#define BAND_RATIO    1.3
#define BAND_BINS     24 /* a band is at least so wide, or its median means nothing */
#define PEAKS         3
#define LAGS          3    /* peaks of the autocorrelation that are tried, */
#define LAG_LEAST     0.1  /* where they are at least so high */
#define FOLD_F        3.0  /* between phases over within: what a random walk shows now and then */
#define PEAK_PARENTS  4    /* a peak may be harmonic 1 ... 4 of what is sought */
#define SHORTER_SHARE 0.85 /* of the score: then the shorter period explains it */
#define FOLD_CYCLES   8    /* with fewer, long periods fit any two short ones by chance */
#define CYCLES_MIN    4

/* ---------------------------------------------------------------- transform */

static size_t bins_for(size_t count)
{
    size_t bins = 64;
    while (bins < 2 * count) {
        bins *= 2;
    }
    return bins;
}

size_t spectrum_room(size_t count)
{
    size_t used = count < SPECTRUM_VALUES_MAX ? count : SPECTRUM_VALUES_MAX;
    return 4 * bins_for(used) + 2 * used;
}

/* One pass over all blocks of `length`. */
static void butterflies(double *re, double *im, size_t bins, size_t length)
{
    double angle = -2.0 * M_PI / (double)length;
    double turn_re = cos(angle), turn_im = sin(angle);
    for (size_t block = 0; block < bins; block += length) {
        double w_re = 1.0, w_im = 0.0;
        for (size_t at = block; at < block + length / 2; at++) {
            size_t other = at + length / 2;
            double odd_re = re[other] * w_re - im[other] * w_im;
            double odd_im = re[other] * w_im + im[other] * w_re;
            re[other] = re[at] - odd_re;
            im[other] = im[at] - odd_im;
            re[at] += odd_re;
            im[at] += odd_im;
            double next = w_re * turn_re - w_im * turn_im;
            w_im = w_re * turn_im + w_im * turn_re;
            w_re = next;
        }
    }
}

/* In place, `bins` complex numbers; the textbook's radix 2 with rotating factors by recurrence. */
static void transform(double *re, double *im, size_t bins)
{
    for (size_t i = 1, j = 0; i < bins; i++) {
        size_t bit = bins >> 1;
        for (; j & bit; bit >>= 1) {
            j ^= bit;
        }
        j ^= bit;
        if (i < j) {
            double swap = re[i];
            re[i] = re[j];
            re[j] = swap;
            swap = im[i];
            im[i] = im[j];
            im[j] = swap;
        }
    }
    for (size_t length = 2; length <= bins; length *= 2) {
        butterflies(re, im, bins, length);
    }
}

/* ---------------------------------------------------------------- background */

/* First bin of a band: bands grow by BAND_RATIO, and are never narrower than BAND_BINS. */
static size_t band_begin(size_t band)
{
    double begin = 1.0;
    for (size_t i = 0; i < band; i++) {
        begin = fmax(begin * BAND_RATIO, begin + BAND_BINS);
    }
    return begin < 1e9 ? (size_t)begin : (size_t)1000000000;
}

static void measure_background(struct spectrum *spectrum, double *sorted)
{
    size_t half = spectrum->bins / 2;
    double last = 0.0;
    for (size_t band = 0; band < SPECTRUM_BANDS; band++) {
        size_t begin = band_begin(band);
        size_t end = band_begin(band + 1);
        end = end < half ? end : half;
        if (begin + BAND_BINS / 2 < end) {
            memcpy(sorted, spectrum->power + begin, (end - begin) * sizeof(double));
            order_sort(sorted, end - begin);
            last = order_quantile(sorted, end - begin, 0.5) / M_LN2; /* median of an exponential */
        }
        spectrum->background[band] = last;
    }
}

/* Background at a frequency in bins, on straight lines between the bands' middles. */
static double background_at(const struct spectrum *spectrum, double bin)
{
    double begin = 1.0;
    double middle_before = 0.0;
    for (size_t band = 0; band < SPECTRUM_BANDS; band++) {
        double end = fmax(begin * BAND_RATIO, begin + BAND_BINS);
        double middle = 0.5 * (begin + end);
        if (bin <= middle || band + 1 == SPECTRUM_BANDS) {
            size_t before = band > 0 ? band - 1 : 0;
            double share =
                middle > middle_before ? (bin - middle_before) / (middle - middle_before) : 1.0;
            share = fmin(1.0, fmax(0.0, share));
            double low = spectrum->background[before];
            return low + share * (spectrum->background[band] - low);
        }
        middle_before = middle;
        begin = end;
    }
    return spectrum->background[SPECTRUM_BANDS - 1];
}

void spectrum_init(struct spectrum *spectrum, const double *values, size_t count, double *room)
{
    size_t used = count < SPECTRUM_VALUES_MAX ? count : SPECTRUM_VALUES_MAX;
    *spectrum = (struct spectrum){
        .values = values + count - used, .count = used, .bins = bins_for(used), .power = room};
    spectrum->correlation = room + spectrum->bins;
    double *re = room + 2 * spectrum->bins;
    double *im = re + spectrum->bins;
    spectrum->sums = im + spectrum->bins;
    memset(re, 0, 2 * spectrum->bins * sizeof(double));
    for (size_t i = 0; i < used; i++) {
        double value = spectrum->values[i];
        if (!isnan(value)) {
            re[i] = value;
            spectrum->observed++;
            spectrum->variance += value * value;
        }
    }
    transform(re, im, spectrum->bins);
    double unit = 1.0 / ((double)spectrum->observed + 1.0);
    for (size_t k = 0; k < spectrum->bins; k++) {
        spectrum->power[k] = unit * (re[k] * re[k] + im[k] * im[k]);
    }
    spectrum->variance *= unit;
    measure_background(spectrum, re);
    /* The power's transform is the autocorrelation; room beyond `count` keeps it from wrapping. */
    memcpy(spectrum->correlation, spectrum->power, spectrum->bins * sizeof(double));
    memset(im, 0, spectrum->bins * sizeof(double));
    transform(spectrum->correlation, im, spectrum->bins);
    double whole = spectrum->correlation[0];
    for (size_t lag = 0; lag < used && whole > 0.0; lag++) {
        spectrum->correlation[lag] /= whole;
    }
}

/* ---------------------------------------------------------------- periods */

/* Sums by phase, and how many values are behind each. */
static void fold(const struct spectrum *spectrum, size_t period)
{
    double *sums = spectrum->sums;
    double *seen = sums + period;
    memset(sums, 0, 2 * period * sizeof(double));
    for (size_t i = 0, phase = 0; i < spectrum->count; i++) {
        double value = spectrum->values[i];
        if (value == value) {
            sums[phase] += value;
            seen[phase] += 1.0;
        }
        phase = phase + 1 < period ? phase + 1 : 0;
    }
}

/* Powers of the harmonics over the background, of the folded sums. */
static double harmonic_score(const struct spectrum *spectrum, size_t period)
{
    const double *sums = spectrum->sums;
    double score = 0.0;
    size_t harmonics = period / 2 < HARMONICS ? period / 2 : HARMONICS;
    for (size_t k = 1; k <= harmonics; k++) {
        double angle = 2.0 * M_PI * (double)k / (double)period;
        double turn_re = cos(angle), turn_im = sin(angle);
        double w_re = 1.0, w_im = 0.0, re = 0.0, im = 0.0;
        for (size_t phase = 0; phase < period; phase++) {
            re += sums[phase] * w_re;
            im += sums[phase] * w_im;
            double next = w_re * turn_re - w_im * turn_im;
            w_im = w_re * turn_im + w_im * turn_re;
            w_re = next;
        }
        /* At the highest frequency there is only a cosine, which collects twice the noise. */
        double power = (re * re + im * im) / ((double)spectrum->observed + 1.0);
        power *= 2 * k == period ? 0.5 : 1.0;
        double bin = (double)k * (double)spectrum->bins / (double)period;
        double background = background_at(spectrum, bin);
        if (background > 0.0) {
            score += fmax(0.0, power / background - HARMONIC_LINE);
        }
    }
    return score;
}

/* Likelihood that the phases' means gain; 0 where they differ no more than a walk's might. */
static double fold_score(const struct spectrum *spectrum, size_t period)
{
    const double *sums = spectrum->sums;
    const double *seen = sums + period;
    double n = (double)spectrum->observed;
    double between = 0.0;
    double phases = 0.0;
    for (size_t phase = 0; phase < period; phase++) {
        if (seen[phase] > 0.0) {
            between += sums[phase] * sums[phase] / seen[phase];
            phases += 1.0;
        }
    }
    double share = between / (n * spectrum->variance + 1e-300);
    double rest = fmax(1e-9, 1.0 - share);
    double ratio = share / rest * (n - phases) / phases;
    bool differ = ratio > fmax(FOLD_F, 1.0 + 6.0 * sqrt(2.0 / phases));
    return differ ? fmax(0.0, -0.5 * n * log(rest) - phases) : 0.0;
}

double spectrum_score(const struct spectrum *spectrum, size_t period)
{
    CHECK(period >= 2 && period <= spectrum->count);
    fold(spectrum, period);
    double score = harmonic_score(spectrum, period);
    bool enough = FOLD_CYCLES * period <= spectrum->count;
    return enough ? fmax(score, fold_score(spectrum, period)) : score;
}

size_t spectrum_resolution(const struct spectrum *spectrum, size_t period)
{
    double steps = 0.5 * (double)period * (double)period / (double)spectrum->count;
    return steps < 1.0 ? 1 : (steps > 40.0 ? 40 : (size_t)ceil(steps));
}

/* The strongest bins over the background, not two within one line's width. */
static size_t find_peaks(const struct spectrum *spectrum, double bins[PEAKS])
{
    double strength[PEAKS] = {0.0};
    size_t found = 0;
    size_t width = 3 * spectrum->bins / spectrum->count;
    double limit = log((double)spectrum->count) + 7.0;
    for (size_t k = CYCLES_MIN * spectrum->bins / spectrum->count; k < spectrum->bins / 2; k++) {
        const double *power = spectrum->power + k;
        if (power[0] < power[-1] || power[0] < power[1]) {
            continue;
        }
        double ratio = power[0] / background_at(spectrum, (double)k);
        if (!(ratio > limit)) {
            continue;
        }
        size_t near = 0;
        while (near < found && fabs(bins[near] - (double)k) > (double)width) {
            near++;
        }
        if (near < found && strength[near] >= ratio) {
            continue;
        }
        if (near == found && found == PEAKS) {
            near = strength[0] < strength[1] ? 0 : 1;
            near = strength[2] < strength[near] ? 2 : near;
            if (strength[near] >= ratio) {
                continue;
            }
        }
        found = near == found ? found + 1 : found;
        bins[near] = (double)k;
        strength[near] = ratio;
    }
    return found;
}

struct best {
    size_t period;
    double score;
};

static void look(const struct spectrum *spectrum, size_t low, size_t high, size_t stride,
                 struct best *best)
{
    for (size_t period = low > 2 ? low : 2; period <= high; period += stride) {
        if (period * CYCLES_MIN > spectrum->count) {
            break;
        }
        double score = spectrum_score(spectrum, period);
        if (score > best->score) {
            *best = (struct best){period, score};
        }
    }
}

/* Best period around a guess: by a quarter of the resolution first, then between. */
static struct best best_near(const struct spectrum *spectrum, size_t guess)
{
    struct best best = {0, 0.0};
    size_t reach = spectrum_resolution(spectrum, guess);
    size_t stride = reach / 4 > 0 ? reach / 4 : 1;
    look(spectrum, guess > reach ? guess - reach : 2, guess + reach, stride, &best);
    if (stride > 1 && best.period > 0) {
        look(spectrum, best.period - stride + 1, best.period + stride - 1, 1, &best);
    }
    return best;
}

/* The highest peaks of the autocorrelation. */
static size_t find_lags(const struct spectrum *spectrum, size_t lags[LAGS])
{
    size_t found = 0;
    const double *r = spectrum->correlation;
    for (size_t lag = 2; lag * CYCLES_MIN <= spectrum->count; lag++) {
        if (!(r[lag] > LAG_LEAST) || r[lag] < r[lag - 1] || r[lag] < r[lag + 1]) {
            continue;
        }
        size_t at = found;
        for (; at > 0 && r[lags[at - 1]] < r[lag]; at--) {
            if (at < LAGS) {
                lags[at] = lags[at - 1];
            }
        }
        if (at < LAGS) {
            lags[at] = lag;
            found = found < LAGS ? found + 1 : found;
        }
    }
    return found;
}

static bool tried_before(const size_t *guesses, size_t index)
{
    for (size_t i = 0; i < index; i++) {
        if (guesses[i] + 1 >= guesses[index] && guesses[i] <= guesses[index] + 1) {
            return true;
        }
    }
    return false;
}

bool spectrum_period(const struct spectrum *spectrum, size_t *period, double *score)
{
    size_t guesses[LAGS + PEAKS * PEAK_PARENTS];
    struct best found[ARRAY_COUNT(guesses)];
    double peaks[PEAKS];
    size_t count = find_lags(spectrum, guesses);
    size_t peak_count = find_peaks(spectrum, peaks);
    for (size_t i = 0; i < peak_count; i++) {
        for (int parent = 1; parent <= PEAK_PARENTS; parent++) {
            guesses[count++] = (size_t)llround((double)parent * (double)spectrum->bins / peaks[i]);
        }
    }
    struct best best = {0, 0.0};
    for (size_t i = 0; i < count; i++) {
        bool fits = guesses[i] * CYCLES_MIN <= spectrum->count + 1 && !tried_before(guesses, i);
        found[i] = fits ? best_near(spectrum, guesses[i]) : (struct best){0, 0.0};
        best = found[i].score > best.score ? found[i] : best;
    }
    size_t shortest = best.period;
    for (size_t i = 0; i < count; i++) {
        bool shorter = found[i].period > 0 && 10 * found[i].period < 7 * best.period &&
                       found[i].period < shortest;
        if (shorter && found[i].score >= SHORTER_SHARE * best.score) {
            shortest = found[i].period;
        }
    }
    *period = shortest;
    *score = best.score;
    return best.period > 0;
}
