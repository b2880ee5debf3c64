/* Calibration: how far the quantiles must lie from the median to hold what their levels promise.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Trained quantiles are overconfident. At held-back origins |y - median| in units of the forecast's
 * half-width on its side has a quantile at 2k - 1 that ought to be 1 for the level k: it is the
 * factor for the levels k and 1 - k together. One-sided factors would chase the bias of a few
 * origins. Factors are pooled over series and thirds of the horizon, and shrunk towards 1: the
 * series of one origin share its weather, so few origins are few events.
 */
#ifndef MODEL_TRAINING_CALIBRATE_H
#define MODEL_TRAINING_CALIBRATE_H

#include "model/training/evaluate.h"

/* Sets `spread` [Q][H] from the forecasts in `evaluation`, which must have been made with a spread
 * of 1. `origins`: how many of each series are among them. Series that the blend gives to a
 * baseline alone are left out here as they are in service: their bands come from the baseline's own
 * errors, which need no correction. */
enum status calibrate(const struct evaluation *evaluation, const struct blend *blend,
                      size_t origins, float *spread, struct error *error) MUST_USE;

/* Applies to one half of the forecasts in `evaluation` the spread that the other half asks for:
 * with `spread`, of all of them, as many would lie inside of the bands as it was made for, which
 * says nothing of what comes. The halves are origins by turns, since series at one origin share its
 * weather, or series where there is one origin only. Of a single place there are none: it gets
 * `spread`. */
enum status calibrate_crosswise(struct evaluation *evaluation, const struct blend *blend,
                                size_t origins, const float *spread, struct error *error) MUST_USE;

#endif
