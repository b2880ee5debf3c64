/* Other shapes of the same values: reshape, concatenation, slices.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "model/ops/kernels.h"
#include "model/ops/ops.h"
#include "model/ops/rows.h"

#include "base/check.h"

#include <string.h>

/* to[rows, width] (to_step apart) = or += from[rows, width] (from_step apart). */
static void copy_block(size_t rows, size_t width, const real *from, size_t from_step, real *to,
                       size_t to_step)
{
    for (size_t r = 0; r < rows; r++) {
        memcpy(to + r * to_step, from + r * from_step, width * sizeof(real));
    }
}

static void add_block(size_t rows, size_t width, const real *from, size_t from_step, real *to,
                      size_t to_step)
{
    for (size_t r = 0; r < rows; r++) {
        kernels()->add_scaled(width, 1, from + r * from_step, to + r * to_step);
    }
}

struct tensor *op_reshape(struct tape *tape, struct tensor *x, const size_t *shape)
{
    struct tensor *y = tape_struct(tape, sizeof(*y));
    *y = *x;
    y->axes = 0;
    for (unsigned i = 0; i < TENSOR_AXES_MAX; i++) {
        y->shape[i] = 1;
    }
    while (y->axes < TENSOR_AXES_MAX && shape[y->axes] != 0) {
        y->shape[y->axes] = shape[y->axes];
        y->axes++;
    }
    CHECK(tensor_size(y) == tensor_size(x));
    y->base = x->base != NULL ? x->base : x;
    return y;
}

/* The shape of x with another last axis. */
static struct tensor *with_width(struct tape *tape, const struct tensor *x, size_t width)
{
    size_t shape[TENSOR_AXES_MAX] = {0};
    memcpy(shape, x->shape, x->axes * sizeof(shape[0]));
    shape[x->axes - 1] = width;
    return tape_tensor(tape, shape);
}

static void concat_back(struct tape *tape, const struct node *node)
{
    size_t rows = tensor_rows(node->out);
    size_t width = tensor_width(node->out);
    const real *dy = tape_grad_of(node->out);
    size_t at = 0;
    for (size_t i = 0; i < 2; i++) {
        size_t n = tensor_width(node->in[i]);
        real *dx = tape_grad_sum(tape, node->in[i]);
        if (dx != NULL) {
            add_block(rows, n, dy + at, width, dx, n);
        }
        at += n;
    }
}

const struct op concat_op = {.name = "concat", .backward = concat_back};

struct tensor *op_concat(struct tape *tape, struct tensor *a, struct tensor *b)
{
    size_t n = tensor_width(a);
    size_t m = tensor_width(b);
    size_t rows = tensor_rows(a);
    CHECK(a->axes == b->axes);
    CHECK(tensor_rows(b) == rows);
    struct tensor *y = with_width(tape, a, n + m);
    if (tape_computes(tape)) {
        copy_block(rows, n, a->data, n, y->data, n + m);
        copy_block(rows, m, b->data, m, y->data + n, n + m);
    }
    tape_record(tape, &concat_op, y, (struct tensor *[]){a, b}, 2, NULL, 0);
    return y;
}

static void slice_back(struct tape *tape, const struct node *node)
{
    const size_t *from = node->context;
    size_t count = tensor_width(node->out);
    real *dx = tape_grad_sum(tape, node->in[0]);
    if (dx != NULL) {
        add_block(tensor_rows(node->out), count, tape_grad_of(node->out), count, dx + *from,
                  tensor_width(node->in[0]));
    }
}

const struct op slice_op = {.name = "slice", .backward = slice_back};

struct tensor *op_slice(struct tape *tape, struct tensor *x, size_t from, size_t count)
{
    CHECK(count > 0 && from + count <= tensor_width(x));
    struct tensor *y = with_width(tape, x, count);
    size_t *kept = tape_struct(tape, sizeof(*kept));
    *kept = from;
    if (tape_computes(tape)) {
        copy_block(tensor_rows(x), count, x->data + from, tensor_width(x), y->data, count);
    }
    tape_record(tape, &slice_op, y, &x, 1, kept, 0);
    return y;
}

static void slice_time_back(struct tape *tape, const struct node *node)
{
    const struct tensor *x = node->in[0];
    const size_t *from = node->context;
    size_t block = node->out->shape[1] * x->shape[2];
    real *dx = tape_grad_sum(tape, node->in[0]);
    if (dx != NULL) {
        add_block(x->shape[0], block, tape_grad_of(node->out), block, dx + *from * x->shape[2],
                  x->shape[1] * x->shape[2]);
    }
}

const struct op slice_time_op = {.name = "slice_time", .backward = slice_time_back};

struct tensor *op_slice_time(struct tape *tape, struct tensor *x, size_t from, size_t count)
{
    CHECK(x->axes == 3);
    CHECK(count > 0 && from + count <= x->shape[1]);
    struct tensor *y = tape_tensor(tape, (size_t[]){x->shape[0], count, x->shape[2], 0});
    size_t *kept = tape_struct(tape, sizeof(*kept));
    *kept = from;
    if (tape_computes(tape)) {
        size_t block = count * x->shape[2];
        copy_block(x->shape[0], block, x->data + from * x->shape[2], x->shape[1] * x->shape[2],
                   y->data, block);
    }
    tape_record(tape, &slice_time_op, y, &x, 1, kept, 0);
    return y;
}

static void concat_time_back(struct tape *tape, const struct node *node)
{
    size_t from = 0;
    for (size_t i = 0; i < 2; i++) {
        const struct tensor *part = node->in[i];
        size_t block = part->shape[1] * part->shape[2];
        real *d_part = tape_grad_sum(tape, node->in[i]);
        if (d_part != NULL) {
            add_block(part->shape[0], block, tape_grad_of(node->out) + from,
                      node->out->shape[1] * part->shape[2], d_part, block);
        }
        from += block;
    }
}

const struct op concat_time_op = {.name = "concat_time", .backward = concat_time_back};

struct tensor *op_concat_time(struct tape *tape, struct tensor *a, struct tensor *b)
{
    CHECK(a->axes == 3 && b->axes == 3);
    CHECK(a->shape[0] == b->shape[0] && a->shape[2] == b->shape[2]);
    size_t length = a->shape[1] + b->shape[1];
    struct tensor *y = tape_tensor(tape, (size_t[]){a->shape[0], length, a->shape[2], 0});
    if (tape_computes(tape)) {
        size_t first = a->shape[1] * a->shape[2];
        size_t second = b->shape[1] * b->shape[2];
        copy_block(a->shape[0], first, a->data, first, y->data, first + second);
        copy_block(a->shape[0], second, b->data, second, y->data + first, first + second);
    }
    tape_record(tape, &concat_time_op, y, (struct tensor *[]){a, b}, 2, NULL, 0);
    return y;
}
