/* Linear maps: y = x W^T + b, and the causal convolution as a product over gathered rows.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "model/ops/kernels.h"
#include "model/ops/ops.h"
#include "model/ops/rows.h"
#include "model/tape/blas.h"

#include "base/check.h"

#include <string.h>

/* The convolution gathers at most this many rows [K, in] at a time: they stay in the cache, and the
 * scratch does not grow with the length. */
#define GATHER_ROWS ((size_t)512)

static struct matrix plain(const real *data, size_t step)
{
    return (struct matrix){.data = data, .step = step, .side = BLAS_PLAIN};
}

static struct matrix transposed(const real *data, size_t step)
{
    return (struct matrix){.data = data, .step = step, .side = BLAS_TRANSPOSED};
}

/* ---------------------------------------------------------------- linear */

static void bias_back(struct tape *tape, struct tensor *b, const real *dy, size_t rows,
                      size_t width)
{
    real *db = tape_grad_sum(tape, b);
    if (db != NULL) {
        kernels()->column_sums(rows, width, dy, db);
    }
}

static void linear_back(struct tape *tape, const struct node *node)
{
    struct tensor *x = node->in[0];
    struct tensor *w = node->in[1];
    size_t rows = tensor_rows(x);
    size_t in = tensor_width(x);
    size_t out = tensor_width(node->out);
    const real *dy = tape_grad_of(node->out);
    real beta = 0;
    /* (1) y = x W^T: dx[rows, in] = dy W, dW[out, in] = dy^T x */
    real *dx = tape_grad_target(tape, x, &beta);
    if (dx != NULL) {
        blas_product(rows, in, out, 1, plain(dy, out), plain(w->data, in), beta, dx, in);
    }
    real *dw = tape_grad_target(tape, w, &beta);
    if (dw != NULL) {
        blas_product(out, in, rows, 1, transposed(dy, out), plain(x->data, in), beta, dw, in);
    }
    /* (2) y += b: db = sum of dy over the rows */
    bias_back(tape, node->in[2], dy, rows, out);
}

const struct op linear_op = {.name = "linear", .backward = linear_back};

struct tensor *op_linear(struct tape *tape, struct tensor *x, struct tensor *w, struct tensor *b)
{
    size_t rows = tensor_rows(x);
    size_t in = tensor_width(x);
    size_t out = w->shape[0];
    CHECK(w->axes == 2);
    CHECK(w->shape[1] == in);
    CHECK(b == NULL || tensor_size(b) == out);
    size_t shape[TENSOR_AXES_MAX] = {0};
    memcpy(shape, x->shape, x->axes * sizeof(shape[0]));
    shape[x->axes - 1] = out;
    struct tensor *y = tape_tensor(tape, shape);
    if (tape_computes(tape)) {
        /* (1) y[rows, out] = x[rows, in] W^T */
        blas_product(rows, out, in, 1, plain(x->data, in), transposed(w->data, in), 0, y->data,
                     out);
        /* (2) y += b */
        if (b != NULL) {
            kernels()->add_row(rows, out, b->data, y->data);
        }
    }
    tape_record(tape, &linear_op, y, (struct tensor *[]){x, w, b}, 3, NULL, 0);
    return y;
}

/* ---------------------------------------------------------------- causal convolution */

/* rows[count, K in]: for each flattened row (series, t) from `first` on the K inputs that end at t,
 * from the tail or zeros before the start. */
static void gather(const struct tensor *x, const struct tensor *tail, size_t kernel, size_t first,
                   size_t count, real *restrict rows)
{
    size_t length = x->shape[1];
    size_t in = x->shape[2];
    for (size_t i = 0; i < count; i++) {
        size_t series = (first + i) / length;
        size_t t = (first + i) % length;
        size_t before = t + 1 < kernel ? kernel - 1 - t : 0; /* taps that lie before the start */
        real *row = rows + i * kernel * in;
        if (before > 0 && tail != NULL) {
            const real *from = tail->data + (series * (kernel - 1) + t) * in;
            memcpy(row, from, before * in * sizeof(real));
        } else if (before > 0) {
            memset(row, 0, before * in * sizeof(real));
        }
        const real *from = x->data + (series * length + t + before - (kernel - 1)) * in;
        memcpy(row + before * in, from, (kernel - before) * in * sizeof(real));
    }
}

/* The way back of gather: dx of each of the K inputs += its place in the row. */
static void scatter(const struct tensor *x, real *dx, size_t kernel, size_t first, size_t count,
                    const real *rows)
{
    size_t length = x->shape[1];
    size_t in = x->shape[2];
    for (size_t i = 0; i < count; i++) {
        size_t series = (first + i) / length;
        size_t t = (first + i) % length;
        size_t before = t + 1 < kernel ? kernel - 1 - t : 0;
        const real *row = rows + (i * kernel + before) * in;
        real *to = dx + (series * length + t + before - (kernel - 1)) * in;
        kernels()->add_scaled((kernel - before) * in, 1, row, to);
    }
}

static size_t gather_rows(const struct tensor *x)
{
    size_t rows = tensor_rows(x);
    return rows < GATHER_ROWS ? rows : GATHER_ROWS;
}

static void causal_conv_back(struct tape *tape, const struct node *node)
{
    struct tensor *x = node->in[0];
    struct tensor *w = node->in[1];
    size_t rows = tensor_rows(x);
    size_t out = w->shape[0];
    size_t kernel = w->shape[1];
    size_t inner = kernel * w->shape[2];
    const real *dy = tape_grad_of(node->out);
    real *dx = tape_grad_sum(tape, x);
    real *dw = tape_grad_sum(tape, w);
    real *gathered = tape_backward_scratch(tape, node->scratch);
    for (size_t first = 0; first < rows; first += GATHER_ROWS) {
        size_t count = rows - first < GATHER_ROWS ? rows - first : GATHER_ROWS;
        const real *d = dy + first * out;
        /* (1) y = X W^T over gathered rows X [count, K in]: dW[out, K in] += dy^T X */
        if (dw != NULL) {
            gather(x, NULL, kernel, first, count, gathered);
            blas_product(out, inner, count, 1, transposed(d, out), plain(gathered, inner), 1, dw,
                         inner);
        }
        /* dX = dy W, added to where its rows came from */
        if (dx != NULL) {
            blas_product(count, inner, out, 1, plain(d, out), plain(w->data, inner), 0, gathered,
                         inner);
            scatter(x, dx, kernel, first, count, gathered);
        }
    }
    /* (2) y += b */
    bias_back(tape, node->in[2], dy, rows, out);
}

const struct op causal_conv_op = {.name = "causal_conv", .backward = causal_conv_back};

struct tensor *op_causal_conv(struct tape *tape, struct tensor *x, struct tensor *w,
                              struct tensor *b, const struct tensor *tail)
{
    CHECK(x->axes == 3 && w->axes == 3);
    CHECK(w->shape[2] == x->shape[2]);
    CHECK(tail == NULL || tape->mode == TAPE_INFER);
    size_t rows = tensor_rows(x);
    size_t out = w->shape[0];
    size_t kernel = w->shape[1];
    size_t inner = kernel * w->shape[2];
    CHECK(b == NULL || tensor_size(b) == out);
    struct tensor *y = tape_tensor(tape, (size_t[]){x->shape[0], x->shape[1], out, 0});
    size_t bytes = gather_rows(x) * inner * sizeof(real);
    size_t mark = tape_scratch_begin(tape);
    real *gathered = tape_bytes(tape, bytes);
    for (size_t first = 0; tape_computes(tape) && first < rows; first += GATHER_ROWS) {
        size_t count = rows - first < GATHER_ROWS ? rows - first : GATHER_ROWS;
        /* (1) y[count, out] = X[count, K in] W^T */
        gather(x, tail, kernel, first, count, gathered);
        blas_product(count, out, inner, 1, plain(gathered, inner), transposed(w->data, inner), 0,
                     y->data + first * out, out);
    }
    tape_scratch_end(tape, mark);
    /* (2) y += b */
    if (tape_computes(tape) && b != NULL) {
        kernels()->add_row(rows, out, b->data, y->data);
    }
    tape_record(tape, &causal_conv_op, y, (struct tensor *[]){x, w, b}, 3, NULL, bytes);
    return y;
}
