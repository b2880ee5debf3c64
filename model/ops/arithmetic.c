/* Sums, factors, expansion over a new axis, and a scalar to start backward from.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "model/ops/kernels.h"
#include "model/ops/ops.h"
#include "model/ops/rows.h"

#include "base/check.h"

#include <string.h>

/* dx = beta dx + factor dy. */
static void pass_on(struct tape *tape, struct tensor *x, const real *dy, real factor)
{
    real beta = 0;
    real *dx = tape_grad_target(tape, x, &beta);
    if (dx == NULL) {
        return;
    }
    size_t n = tensor_size(x);
    if (beta == 0 && factor == 1) {
        memcpy(dx, dy, n * sizeof(real));
    } else if (beta == 0) {
        for (size_t i = 0; i < n; i++) {
            dx[i] = factor * dy[i];
        }
    } else {
        kernels()->add_scaled(n, factor, dy, dx);
    }
}

static void add_back(struct tape *tape, const struct node *node)
{
    pass_on(tape, node->in[0], tape_grad_of(node->out), 1);
    pass_on(tape, node->in[1], tape_grad_of(node->out), 1);
}

const struct op add_op = {.name = "add", .backward = add_back};

struct tensor *op_add(struct tape *tape, struct tensor *a, struct tensor *b)
{
    CHECK(tensor_same_shape(a, b));
    struct tensor *y = tape_tensor_like(tape, a);
    if (tape_computes(tape)) {
        kernels()->add(tensor_size(y), a->data, b->data, y->data);
    }
    tape_record(tape, &add_op, y, (struct tensor *[]){a, b}, 2, NULL, 0);
    return y;
}

static void scale_back(struct tape *tape, const struct node *node)
{
    const real *factor = node->context;
    pass_on(tape, node->in[0], tape_grad_of(node->out), *factor);
}

const struct op scale_op = {.name = "scale", .backward = scale_back};

struct tensor *op_scale(struct tape *tape, struct tensor *x, real factor)
{
    struct tensor *y = tape_tensor_like(tape, x);
    real *kept = tape_struct(tape, sizeof(*kept));
    *kept = factor;
    if (tape_computes(tape)) {
        size_t n = tensor_size(x);
        for (size_t i = 0; i < n; i++) {
            y->data[i] = factor * x->data[i];
        }
    }
    tape_record(tape, &scale_op, y, &x, 1, kept, 0);
    return y;
}

static void expand_back(struct tape *tape, const struct node *node)
{
    const real *dy = tape_grad_of(node->out);
    real *dx = tape_grad_sum(tape, node->in[0]);
    if (dx == NULL) {
        return;
    }
    size_t count = tensor_width(node->out);
    size_t n = tensor_size(node->in[0]);
    for (size_t i = 0; i < n; i++) {
        real sum = 0;
        for (size_t q = 0; q < count; q++) {
            sum += dy[i * count + q];
        }
        dx[i] += sum;
    }
}

const struct op expand_op = {.name = "expand", .backward = expand_back};

struct tensor *op_expand(struct tape *tape, struct tensor *x, size_t count)
{
    CHECK(x->axes < TENSOR_AXES_MAX);
    CHECK(count > 0);
    size_t shape[TENSOR_AXES_MAX] = {x->shape[0], x->shape[1], x->shape[2], 0};
    shape[x->axes] = count;
    for (unsigned i = x->axes + 1; i < TENSOR_AXES_MAX; i++) {
        shape[i] = 0;
    }
    struct tensor *y = tape_tensor(tape, shape);
    if (tape_computes(tape)) {
        size_t n = tensor_size(x);
        for (size_t i = 0; i < n; i++) {
            for (size_t q = 0; q < count; q++) {
                y->data[i * count + q] = x->data[i];
            }
        }
    }
    tape_record(tape, &expand_op, y, &x, 1, NULL, 0);
    return y;
}

static void inner_back(struct tape *tape, const struct node *node)
{
    const struct tensor *constant = *(const struct tensor *const *)node->context;
    pass_on(tape, node->in[0], constant->data, tape_grad_of(node->out)[0]);
}

const struct op inner_op = {.name = "inner", .backward = inner_back};

struct tensor *op_inner(struct tape *tape, struct tensor *x, const struct tensor *constant)
{
    CHECK(tensor_same_shape(x, constant));
    struct tensor *y = tape_tensor(tape, (size_t[]){1, 0});
    const struct tensor **kept = tape_struct(tape, sizeof(*kept));
    *kept = constant;
    if (tape_computes(tape)) {
        double sum = 0;
        size_t n = tensor_size(x);
        for (size_t i = 0; i < n; i++) {
            sum += (double)x->data[i] * (double)constant->data[i];
        }
        y->data[0] = (real)sum;
    }
    tape_record(tape, &inner_op, y, &x, 1, kept, 0);
    return y;
}

/* dw[n, h] += sum_b dy[b, h] x[b, n, h];  dx[b, n, h] += dy[b, h] w[n, h] */
static void mix_back(struct tape *tape, const struct node *node)
{
    struct tensor *x = node->in[0];
    struct tensor *w = node->in[1];
    size_t rows = x->shape[1];
    size_t width = x->shape[2];
    const real *dy = tape_grad_of(node->out);
    real *dx = tape_grad_sum(tape, x);
    real *dw = tape_grad_sum(tape, w);
    for (size_t b = 0; b < x->shape[0]; b++) {
        for (size_t i = 0; i < rows * width; i++) {
            size_t at = b * rows * width + i;
            real d = dy[b * width + i % width];
            if (dw != NULL) {
                dw[i] += d * x->data[at];
            }
            if (dx != NULL) {
                dx[at] += d * w->data[i];
            }
        }
    }
}

const struct op mix_op = {.name = "mix", .backward = mix_back};

struct tensor *op_mix(struct tape *tape, struct tensor *x, struct tensor *w)
{
    CHECK(x->axes == 3 && w->axes == 2);
    CHECK(w->shape[0] == x->shape[1] && w->shape[1] == x->shape[2]);
    size_t rows = x->shape[1];
    size_t width = x->shape[2];
    struct tensor *y = tape_tensor(tape, (size_t[]){x->shape[0], width, 0});
    if (tape_computes(tape)) {
        for (size_t b = 0; b < x->shape[0]; b++) {
            real *out = y->data + b * width;
            const real *in = x->data + b * rows * width;
            for (size_t h = 0; h < width; h++) {
                real sum = 0;
                for (size_t n = 0; n < rows; n++) {
                    sum += in[n * width + h] * w->data[n * width + h];
                }
                out[h] = sum;
            }
        }
    }
    struct tensor *inputs[] = {x, w};
    tape_record(tape, &mix_op, y, inputs, 2, NULL, 0);
    return y;
}
