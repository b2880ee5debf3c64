/* Activations: GELU in both forms, ReLU, swish, tanh, softplus, GLU.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "model/ops/kernels.h"
#include "model/ops/ops.h"
#include "model/ops/rows.h"

#include "base/check.h"

#include <math.h>
#include <string.h>
#include <tgmath.h>

/* y = x of the same shape, not yet computed, and its node. */
static struct tensor *same_shape(struct tape *tape, const struct op *op, struct tensor *x)
{
    struct tensor *y = tape_tensor_like(tape, x);
    tape_record(tape, op, y, &x, 1, NULL, 0);
    return y;
}

static real sigmoid(real x)
{
    return 1 / (1 + exp(-x));
}

/* ---------------------------------------------------------------- GELU */

static void gelu_back(struct tape *tape, const struct node *node)
{
    struct tensor *x = node->in[0];
    real beta = 0;
    real *dx = tape_grad_target(tape, x, &beta);
    if (dx != NULL) {
        kernels()->gelu_back(tensor_size(x), x->data, tape_grad_of(node->out), beta, dx);
    }
}

const struct op gelu_op = {.name = "gelu", .backward = gelu_back};

struct tensor *op_gelu(struct tape *tape, struct tensor *x)
{
    struct tensor *y = same_shape(tape, &gelu_op, x);
    if (tape_computes(tape)) {
        kernels()->gelu(tensor_size(x), x->data, y->data);
    }
    return y;
}

/* x Phi(x): slope Phi(x) + x phi(x). */
static void gelu_exact_back(struct tape *tape, const struct node *node)
{
    const real half_root = (real)0.70710678118654752;
    const real density = (real)0.39894228040143268;
    const real *x = node->in[0]->data;
    const real *dy = tape_grad_of(node->out);
    real *dx = tape_grad_sum(tape, node->in[0]);
    for (size_t i = 0; dx != NULL && i < tensor_size(node->out); i++) {
        real phi = density * exp(-x[i] * x[i] / 2);
        dx[i] += dy[i] * (erfc(-x[i] * half_root) / 2 + x[i] * phi);
    }
}

const struct op gelu_exact_op = {.name = "gelu_exact", .backward = gelu_exact_back};

struct tensor *op_gelu_exact(struct tape *tape, struct tensor *x)
{
    const real half_root = (real)0.70710678118654752;
    struct tensor *y = same_shape(tape, &gelu_exact_op, x);
    for (size_t i = 0; tape_computes(tape) && i < tensor_size(x); i++) {
        y->data[i] = x->data[i] * erfc(-x->data[i] * half_root) / 2;
    }
    return y;
}

/* ---------------------------------------------------------------- simple slopes */

static void relu_back(struct tape *tape, const struct node *node)
{
    const real *x = node->in[0]->data;
    const real *dy = tape_grad_of(node->out);
    real *dx = tape_grad_sum(tape, node->in[0]);
    for (size_t i = 0; dx != NULL && i < tensor_size(node->out); i++) {
        dx[i] += x[i] > 0 ? dy[i] : 0;
    }
}

const struct op relu_op = {.name = "relu", .backward = relu_back};

struct tensor *op_relu(struct tape *tape, struct tensor *x)
{
    struct tensor *y = same_shape(tape, &relu_op, x);
    for (size_t i = 0; tape_computes(tape) && i < tensor_size(x); i++) {
        y->data[i] = x->data[i] < 0 ? 0 : x->data[i]; /* NaN stays NaN */
    }
    return y;
}

static void swish_back(struct tape *tape, const struct node *node)
{
    const real *x = node->in[0]->data;
    const real *dy = tape_grad_of(node->out);
    real *dx = tape_grad_sum(tape, node->in[0]);
    for (size_t i = 0; dx != NULL && i < tensor_size(node->out); i++) {
        real s = sigmoid(x[i]);
        dx[i] += dy[i] * (s + x[i] * s * (1 - s));
    }
}

const struct op swish_op = {.name = "swish", .backward = swish_back};

struct tensor *op_swish(struct tape *tape, struct tensor *x)
{
    struct tensor *y = same_shape(tape, &swish_op, x);
    for (size_t i = 0; tape_computes(tape) && i < tensor_size(x); i++) {
        y->data[i] = x->data[i] * sigmoid(x->data[i]);
    }
    return y;
}

static void tanh_back(struct tape *tape, const struct node *node)
{
    const real *y = node->out->data;
    const real *dy = tape_grad_of(node->out);
    real *dx = tape_grad_sum(tape, node->in[0]);
    for (size_t i = 0; dx != NULL && i < tensor_size(node->out); i++) {
        dx[i] += dy[i] * (1 - y[i] * y[i]);
    }
}

const struct op tanh_op = {.name = "tanh", .backward = tanh_back};

struct tensor *op_tanh(struct tape *tape, struct tensor *x)
{
    struct tensor *y = same_shape(tape, &tanh_op, x);
    for (size_t i = 0; tape_computes(tape) && i < tensor_size(x); i++) {
        y->data[i] = tanh(x->data[i]);
    }
    return y;
}

static void softplus_back(struct tape *tape, const struct node *node)
{
    const real *x = node->in[0]->data;
    const real *dy = tape_grad_of(node->out);
    real *dx = tape_grad_sum(tape, node->in[0]);
    for (size_t i = 0; dx != NULL && i < tensor_size(node->out); i++) {
        dx[i] += dy[i] * sigmoid(x[i]);
    }
}

const struct op softplus_op = {.name = "softplus", .backward = softplus_back};

struct tensor *op_softplus(struct tape *tape, struct tensor *x, real floor)
{
    struct tensor *y = same_shape(tape, &softplus_op, x);
    for (size_t i = 0; tape_computes(tape) && i < tensor_size(x); i++) {
        /* log(1 + e^x) = max(x, 0) + log(1 + e^-|x|) */
        real z = x->data[i];
        y->data[i] = (z > 0 ? z : 0) + log1p(exp(-fabs(z))) + floor;
    }
    return y;
}

/* ---------------------------------------------------------------- GLU */

static void glu_back(struct tape *tape, const struct node *node)
{
    size_t width = tensor_width(node->out);
    real *dx = tape_grad_sum(tape, node->in[0]);
    for (size_t r = 0; dx != NULL && r < tensor_rows(node->out); r++) {
        const real *a = node->in[0]->data + 2 * r * width;
        const real *dy = tape_grad_of(node->out) + r * width;
        real *da = dx + 2 * r * width;
        for (size_t c = 0; c < width; c++) {
            real s = sigmoid(a[width + c]);
            da[c] += dy[c] * s;
            da[width + c] += dy[c] * a[c] * s * (1 - s);
        }
    }
}

const struct op glu_op = {.name = "glu", .backward = glu_back};

struct tensor *op_glu(struct tape *tape, struct tensor *x)
{
    size_t width = tensor_width(x) / 2;
    CHECK(tensor_width(x) == 2 * width);
    size_t shape[TENSOR_AXES_MAX] = {0};
    memcpy(shape, x->shape, x->axes * sizeof(shape[0]));
    shape[x->axes - 1] = width;
    struct tensor *y = tape_tensor(tape, shape);
    for (size_t r = 0; tape_computes(tape) && r < tensor_rows(y); r++) {
        const real *a = x->data + 2 * r * width;
        for (size_t c = 0; c < width; c++) {
            y->data[r * width + c] = a[c] * sigmoid(a[width + c]);
        }
    }
    tape_record(tape, &glu_op, y, &x, 1, NULL, 0);
    return y;
}
