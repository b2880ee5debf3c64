/* From trained members to one forecaster: blend with a baseline, calibration, figures.
 * SPDX-License-Identifier: Apache-2.0
 *
 * All of it is chosen on held-back origins, with few degrees of freedom, because those are few.
 */
#ifndef MODEL_TRAINING_COMBINE_H
#define MODEL_TRAINING_COMBINE_H

#include "model/training/evaluate.h"

/* Sets the snapshot's blend, spread and the record's figures from the wanted origins; blend and
 * spread stay as they are where the configuration does without. Series that are too short for
 * wanted->longer_than count only where there is no other origin. */
enum status combine_members(struct snapshot *snapshot, const struct evaluation_wanted *wanted,
                            const struct model_config *config, struct error *error) MUST_USE;

#endif
