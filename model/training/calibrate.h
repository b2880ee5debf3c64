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

/* Applies a spread to the forecasts of an evaluation: what they would have been. */
void calibrate_apply(struct evaluation *evaluation, const struct blend *blend, const float *spread);

#endif
