/* Layer norm and softmax over the last axis.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "model/ops/kernels.h"
#include "model/ops/ops.h"
#include "model/ops/rows.h"

#include "base/check.h"

static void layer_norm_back(struct tape *tape, const struct node *node)
{
    struct tensor *x = node->in[0];
    size_t rows = tensor_rows(x);
    size_t width = tensor_width(x);
    const real *mean = *(real *const *)node->context;
    real *d_gain = tape_grad_sum(tape, node->in[1]);
    real *d_shift = tape_grad_sum(tape, node->in[2]);
    real *unwanted = tape_backward_scratch(tape, 2 * width * sizeof(real));
    for (size_t c = 0; c < 2 * width; c++) {
        unwanted[c] = 0;
    }
    real beta = 0;
    real *dx = tape_grad_target(tape, x, &beta);
    kernels()->layer_norm_back(
        rows, width, x->data, node->in[1]->data, mean, mean + rows, tape_grad_of(node->out), beta,
        dx, d_gain != NULL ? d_gain : unwanted, d_shift != NULL ? d_shift : unwanted + width);
}

const struct op layer_norm_op = {.name = "layer_norm", .backward = layer_norm_back};

struct tensor *op_layer_norm(struct tape *tape, struct tensor *x, struct tensor *gain,
                             struct tensor *shift)
{
    size_t rows = tensor_rows(x);
    size_t width = tensor_width(x);
    CHECK(tensor_size(gain) == width);
    CHECK(tensor_size(shift) == width);
    struct tensor *y = tape_tensor_like(tape, x);
    /* kept: mean [rows], then 1 / deviation [rows] */
    real **kept = tape_struct(tape, sizeof(*kept));
    *kept = tape_bytes(tape, 2 * rows * sizeof(real));
    if (tape_computes(tape)) {
        kernels()->layer_norm(rows, width, x->data, gain->data, shift->data, y->data, *kept,
                              *kept + rows);
    }
    tape_record(tape, &layer_norm_op, y, (struct tensor *[]){x, gain, shift}, 3, kept,
                2 * width * sizeof(real));
    return y;
}

/* dx = y (dy - sum of dy y). */
static void softmax_back(struct tape *tape, const struct node *node)
{
    real *dx = tape_grad_sum(tape, node->in[0]);
    if (dx == NULL) {
        return;
    }
    size_t width = tensor_width(node->out);
    for (size_t r = 0; r < tensor_rows(node->out); r++) {
        const real *y = node->out->data + r * width;
        const real *dy = tape_grad_of(node->out) + r * width;
        real sum = 0;
        for (size_t c = 0; c < width; c++) {
            sum += dy[c] * y[c];
        }
        for (size_t c = 0; c < width; c++) {
            dx[r * width + c] += y[c] * (dy[c] - sum);
        }
    }
}

const struct op softmax_op = {.name = "softmax", .backward = softmax_back};

struct tensor *op_softmax(struct tape *tape, struct tensor *x)
{
    struct tensor *y = tape_tensor_like(tape, x);
    if (tape_computes(tape)) {
        kernels()->softmax(tensor_rows(x), tensor_width(x), x->data, y->data);
    }
    tape_record(tape, &softmax_op, y, &x, 1, NULL, 0);
    return y;
}
