/* Calibration: how far the quantiles must lie from the median to hold what their levels promise.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Trained quantiles are overconfident. At held-back origins the ratio r = (y - median) / (q - median)
 * says how far the actual lay in units of the forecast spread; the quantile of r at the level (or its
 * complement below the median) is the factor that would have made the coverage exact. Factors are
 * pooled over series and over neighbouring steps of the horizon, and shrunk towards 1 where there are few origins.
 */
#ifndef MODEL_TRAINING_CALIBRATE_H
#define MODEL_TRAINING_CALIBRATE_H

#include "model/training/evaluate.h"

/* Sets `spread` [Q][H] from the forecasts in `evaluation`, which must have been made with a spread of 1. */
enum status calibrate(const struct evaluation *evaluation, float *spread,
                      struct error *error) MUST_USE;

/* Applies a spread to the forecasts of an evaluation: what they would have been. */
void calibrate_apply(struct evaluation *evaluation, const float *spread);

#endif
