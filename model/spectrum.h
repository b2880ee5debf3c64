/* Lines in a spectrum: how far a period of whole steps stands out of the noise around it.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The power at the harmonics of a period is compared with the median power of the band of
 * frequencies that it lies in, so that neither the slope of a random walk nor a bump counts as a
 * cycle. Harmonics are added up, which is what tells 47 steps from 48: the autocorrelation's peak
 * is broad, the phase after a dozen cycles is not. A profile too ragged for a few harmonics is
 * judged as a whole: by the likelihood that the means of its phases gain, less what as many means
 * gain from noise.
 *
 * A spectrum belongs to one thread.
 */
#ifndef MODEL_SPECTRUM_H
#define MODEL_SPECTRUM_H

#include <stdbool.h>
#include <stddef.h>

#define SPECTRUM_VALUES_MAX 4096 /* newest values that are looked at */
#define SPECTRUM_BANDS      48

struct spectrum {
    const double *values; /* around zero, NaN = missing; borrowed */
    size_t count, observed;
    size_t bins; /* of the transform; a power of two */
    double variance;
    double *power;
    double *correlation; /* by lag, up to count */
    double background[SPECTRUM_BANDS];
    double *sums; /* [2 * count] of a folded series */
};

/* Doubles of work memory for a series of `count` values. */
size_t spectrum_room(size_t count);

/* Transforms the newest values. Everything is in `room`, nothing is allocated. */
void spectrum_init(struct spectrum *spectrum, const double *values, size_t count, double *room);

/* By how much the harmonics of the period stand out: 0 in noise, tens for a clear cycle. */
double spectrum_score(const struct spectrum *spectrum, size_t period);

/* Steps by which a period may be wrong without losing half a cycle over the series; at least 1. */
size_t spectrum_resolution(const struct spectrum *spectrum, size_t period);

/* The period, at most a quarter of the series, that stands out most, with its score; false where
 * none does. The shortest one that explains as much is taken, not its multiples. */
bool spectrum_period(const struct spectrum *spectrum, size_t *period, double *score);

#endif
