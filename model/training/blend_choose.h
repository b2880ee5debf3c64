/* Choosing the blend from held-back origins: the group's share first, then that of each series.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef MODEL_TRAINING_BLEND_CHOOSE_H
#define MODEL_TRAINING_BLEND_CHOOSE_H

#include "model/blend.h"
#include "model/training/evaluate.h"

/* Fills `blend` (zeroed before). The evaluation's forecasts are those of the model alone; `seasons`
 * are the group's. Where there are no places the model stands alone. STATUS_NO_MEMORY,
 * STATUS_CANCELLED. */
enum status blend_choose(const struct evaluation *evaluation, const uint32_t seasons[SEASONS_MAX],
                         struct blend *blend, struct error *error) MUST_USE;

#endif
