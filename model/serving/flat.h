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

/* Changes the forecast only where the series is flat and has been before. Pure. */
void flat_apply(const struct model_series *series, struct forecast *forecast);

#endif
