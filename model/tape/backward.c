/* The walk back over the tape's nodes, and the places of gradients.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "model/tape/backward.h"

#include "base/background.h"
#include "base/check.h"
#include "base/size.h"

#include <string.h>

/* Takes a place for the tensor's gradient: one given back of the same size, or a new one. */
void tape_grad_reserve(struct tape *tape, struct tensor *tensor)
{
    if (tensor->grad != NULL || tensor->grad_place != SIZE_MAX) {
        return;
    }
    size_t bytes = tape_rounded(tensor_size(tensor) * sizeof(real));
    size_t i = tape->free_count;
    while (i > tape->free_first && tape->free_list[i - 1].bytes != bytes) {
        i--;
    }
    if (i > tape->free_first) {
        tensor->grad_place = tape->free_list[i - 1].offset;
        tape->free_count--;
        tape->free_list[i - 1] = tape->free_list[tape->free_count];
    } else {
        tensor->grad_place = tape->gradient_used;
        tape->gradient_used += bytes;
        tape->gradient_peak = larger(tape->gradient_peak, tape->gradient_used);
    }
    if (!tape->measuring) {
        CHECK(tape->gradient_used <= tape->gradient_capacity);
        tensor->grad = (void *)(tape->gradient_base + tensor->grad_place);
    }
}

void tape_grad_give_back(struct tape *tape, struct tensor *tensor)
{
    if (tape->free_count < TAPE_FREE_MAX) {
        tape->free_list[tape->free_count] = (struct tape_free){
            .offset = tensor->grad_place,
            .bytes = tape_rounded(tensor_size(tensor) * sizeof(real)),
        };
        tape->free_count++;
    }
    tensor->grad = NULL;
    tensor->grad_place = SIZE_MAX;
}

void tape_walk_back(struct tape *tape, size_t first)
{
    for (size_t i = tape->node_count; i > first; i--) {
        const struct node *node = &tape->nodes[i - 1];
        if (node->out->grad_place == SIZE_MAX) {
            continue; /* nobody used it */
        }
        for (size_t k = 0; k < NODE_INPUTS_MAX; k++) {
            if (node->in[k] != NULL && node->in[k]->wants_grad) {
                struct tensor *input = tape_tensor_owner(node->in[k]);
                if (!input->grad_begun && input->grad_place == SIZE_MAX) {
                    CHECK((unsigned char *)input >= tape->values.base + tape->inside);
                    tape_grad_reserve(tape, input);
                }
            }
        }
        tape->gradient_peak =
            larger(tape->gradient_peak, tape->gradient_used + tape_rounded(node->scratch));
        if (tape_computes(tape)) {
            CHECK(tape->gradient_used + tape_rounded(node->scratch) <= tape->gradient_capacity);
        }
        if (tape_computes(tape) || node->op->replays) {
            node->op->backward(tape, node);
            background_give_way();
        }
        tape_grad_give_back(tape, node->out);
    }
}

void tape_backward(struct tape *tape, struct tensor *loss)
{
    CHECK(tape->mode == TAPE_TRAIN);
    CHECK(tensor_size(loss) == 1 && loss->base == NULL);
    if (!loss->wants_grad) {
        return; /* nothing that is trained feeds into it */
    }
    tape_grad_reserve(tape, loss);
    if (tape_computes(tape)) {
        loss->grad[0] = 1;
        loss->grad_begun = true;
    }
    tape_walk_back(tape, 0);
}

const real *tape_gradient(struct tape *tape, struct tensor *tensor)
{
    return tape_grad_sum(tape, tensor);
}

real *tape_grad_target(struct tape *tape, struct tensor *tensor, real *beta)
{
    if (tensor == NULL || !tensor->wants_grad) {
        return NULL;
    }
    struct tensor *target = tape_tensor_owner(tensor);
    tape_grad_reserve(tape, target);
    *beta = target->grad_begun ? (real)1 : (real)0;
    target->grad_begun = true;
    return target->grad;
}

real *tape_grad_sum(struct tape *tape, struct tensor *tensor)
{
    real beta = 1;
    real *target = tape_grad_target(tape, tensor, &beta);
    if (target != NULL && beta == 0) {
        memset(target, 0, tensor_size(tensor) * sizeof(real));
    }
    return target;
}

const real *tape_grad_of(const struct tensor *out)
{
    return out->grad;
}

void *tape_backward_scratch(struct tape *tape, size_t bytes)
{
    CHECK(tape->gradient_used + bytes <= tape->gradient_capacity);
    return tape->gradient_base + tape->gradient_used;
}
