/* A very small trained model for publishing.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef TESTS_TORTURE_SMALL_MODEL_H
#define TESTS_TORTURE_SMALL_MODEL_H

#include "model/model.h"

/* Two optimiser steps on a sine; the caller's to release. */
struct snapshot *small_model(uint64_t seed);

/* The series it learned from: a caller's copy of the request to train on. Values are static. */
void small_series(struct model_series *series);

/* What to ask model_train for. */
void small_config(struct model_config *config);

#endif
