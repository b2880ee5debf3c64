/* Inside the tape: what tape.c, backward.c and recompute.c share; nobody else includes it.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef MODEL_TAPE_BACKWARD_H
#define MODEL_TAPE_BACKWARD_H

#include "model/tape/tape.h"

/* What the arena takes for a block: whole cache lines, never nothing. */
static inline size_t tape_rounded(size_t bytes)
{
    return ((bytes != 0 ? bytes : 1) + 63) & ~(size_t)63;
}

/* Reshaped tensors have their base's memory, so its gradient too. */
static inline struct tensor *tape_tensor_owner(struct tensor *tensor)
{
    return tensor->base != NULL ? tensor->base : tensor;
}

/* Takes a place for the tensor's gradient, unless it has one: one given back of the same size, or a
 * new one. The memory is uninitialised. */
void tape_grad_reserve(struct tape *tape, struct tensor *tensor);
void tape_grad_give_back(struct tape *tape, struct tensor *tensor);

/* Walks back over the nodes from the newest to number `first`, which stay. Gradients of where the
 * walk starts have been reserved and filled. */
void tape_walk_back(struct tape *tape, size_t first);

#endif
