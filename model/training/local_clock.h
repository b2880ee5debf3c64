/* A series by its local clock: what people do at nine they do at nine after the clock was changed.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Baselines count seasons in steps. Where the clock was changed, a day has 23 or 25 hours, and for
 * a season they would be an hour off. Here a series is laid on steps of its local time: when the
 * clock goes forward an hour has no value, when it goes back the later of two values counts. The
 * newest value keeps its place, so that the series stays as long as it is.
 *
 * Threads: one a struct.
 */
#ifndef MODEL_TRAINING_LOCAL_CLOCK_H
#define MODEL_TRAINING_LOCAL_CLOCK_H

#include "model/model.h"

struct local_clock {
    struct model_series series; /* to be forecast in place of the original, */
    struct forecast forecast;   /* into this */
    const struct model_series *original;
    double *values; /* owned */
    float *room;    /* owned */
};

/* False where there is nothing to do: no time zone, no change of the clock within the series and
 * the horizon, or a change by no whole number of steps; and where memory is short. */
bool local_clock_begin(const struct model_series *series, size_t horizon,
                       struct local_clock *clock);

/* Writes each step from that of its local time; with NULL only frees. */
void local_clock_end(struct local_clock *clock, struct forecast *out);

#endif
