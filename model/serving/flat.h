/* Flat stretches: series that stand still and mostly go on standing still.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A network never says "exactly the same again", but switched-off machines, error counters and set
 * points do. Where the newest values are all equal, the series' own history tells how often a flat
 * stretch went on: levels inside that probability are set to the value.
 */
#ifndef MODEL_SERVING_FLAT_H
#define MODEL_SERVING_FLAT_H

#include "model/model.h"

struct flat_stretch {
    bool found;          /* the series is flat, and has been before */
    double value, stays; /* share of the steps of a horizon that stayed at the value before */
};

/* Both pure. The levels of one step, ascending, are changed only where a stretch was found. */
void flat_find(const struct model_series *series, size_t horizon, struct flat_stretch *out);
void flat_levels(const struct flat_stretch *stretch, double level[QUANTILE_COUNT]);

#endif
