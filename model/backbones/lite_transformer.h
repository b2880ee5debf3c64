/* Lite Transformer's mixing over time on its own, for tests.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef MODEL_BACKBONES_LITE_TRANSFORMER_H
#define MODEL_BACKBONES_LITE_TRANSFORMER_H

#include "model/backbones/backbone.h"

/* Layer i's long-short range attention of x [B, T, D] without norm and residual: channels from
 * attention_width on meet no others. */
struct tensor *lite_transformer_mix(const struct backbone_model *model, size_t i, struct tape *tape,
                                    struct tensor *x);

#endif
