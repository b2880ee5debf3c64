/* Embedding, backbone, head and linear skip on a tape: the same code trains and serves.
 * SPDX-License-Identifier: Apache-2.0
 *
 *     forecast = head(backbone(embed(patches))) + skip(context, lags)
 *
 * The skip is a linear layer from the scaled context to the horizon plus a weighted sum of the
 * seasonal lags and of means over several seasons, the same for all quantiles (NLinear, Zeng et al.
 * 2023). The head starts at zero, so that training begins at what the skip knows.
 */
#ifndef MODEL_NETWORK_H
#define MODEL_NETWORK_H

#include "model/member.h"

struct network_batch {
    size_t count;           /* B */
    struct tensor *steps;   /* [B, T, patch * F]: what window_fill writes */
    struct tensor *context; /* [B, C], or NULL without skip */
    struct tensor *lags;    /* [B, N, H], or NULL */
    struct tensor *target;  /* [B * H] (autoregressive: [B * T]), NULL in infer mode */
    struct tensor *weight;  /* likewise */
    void *memory;           /* recurrent backbones: what lies before the windows, and moves on by
                               them (backbone_recur); NULL = nothing, or while measuring, all */
};

/* Inputs to fill, and the places of one row in them. */
void network_inputs(const struct member *member, struct tape *tape, size_t count,
                    struct network_batch *batch);
struct window_inputs network_row(const struct member *member, const struct network_batch *batch,
                                 size_t row);

/* Direct head: scaled quantiles [B, H, Q], not yet sorted. Autoregressive head: [B, T, 2]. */
struct tensor *network_forward(const struct member *member, struct tape *tape,
                               const struct network_batch *batch);

/* Loss of the batch: factor * sum over windows and steps (see trainer.c for the factor). The
 * backbone's penalty counts in proportion to the windows, once for a whole batch of the config's.
 */
struct tensor *network_loss(const struct member *member, struct tape *tape,
                            const struct network_batch *batch, struct tensor *output, real factor);

/* One step (or a few) of the autoregressive network: x [B, T, F] -> [B, T, 2], state as in
 * backbone.h. */
struct tensor *network_step(const struct member *member, struct tape *tape, struct tensor *steps,
                            void *state);

#endif
