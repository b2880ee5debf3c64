/* Root-mean-square norm of each head's queries and keys, with a gain a head.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "model/ops/kernels.h"
#include "model/ops/ops.h"
#include "model/ops/rows.h"

#include "base/check.h"

#include <string.h>

#define EPSILON 1e-6

static struct head_norm norm_of(const struct tensor *x, const struct tensor *gain, size_t width)
{
    return (struct head_norm){
        .groups = tensor_size(x) / width,
        .width = width,
        .gain = gain->data,
        .gains = tensor_size(gain),
        .epsilon = (real)EPSILON,
    };
}

static void head_norm_back(struct tape *tape, const struct node *node)
{
    const struct tensor *x = node->in[0];
    struct head_norm norm = norm_of(x, node->in[1], *(const size_t *)node->context);
    real *unwanted = tape_backward_scratch(tape, node->scratch);
    real *dx = tape_grad_sum(tape, node->in[0]);
    real *d_gain = tape_grad_sum(tape, node->in[1]);
    size_t size = tensor_size(x);
    dx = dx != NULL ? dx : memset(unwanted, 0, size * sizeof(real));
    d_gain = d_gain != NULL ? d_gain : memset(unwanted + size, 0, norm.gains * sizeof(real));
    kernels()->head_norm_back(&norm, x->data, tape_grad_of(node->out), dx, d_gain);
}

const struct op head_norm_op = {.name = "head_norm", .backward = head_norm_back};

struct tensor *op_head_norm(struct tape *tape, struct tensor *x, struct tensor *gain, size_t width)
{
    CHECK(tensor_width(x) % (width * tensor_size(gain)) == 0);
    struct tensor *y = tape_tensor_like(tape, x);
    size_t *kept = tape_struct(tape, sizeof(*kept));
    *kept = width;
    if (tape_computes(tape)) {
        struct head_norm norm = norm_of(x, gain, width);
        kernels()->head_norm(&norm, x->data, y->data);
    }
    bool both = x->wants_grad && gain->wants_grad;
    size_t unwanted = both ? 0 : tensor_size(x) + tensor_size(gain);
    tape_record(tape, &head_norm_op, y, (struct tensor *[]){x, gain}, 2, kept,
                unwanted * sizeof(real));
    return y;
}
