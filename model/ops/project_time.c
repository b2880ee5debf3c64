/* Compression over time: k mixes of many steps, once a window, or block by block and level by
 * level. SPDX-License-Identifier: Apache-2.0
 *
 * Products are small (a block is a few dozen steps), so one goes over all channels of a series
 * where the heads share their weights.
 */
#include "model/ops/ops.h"
#include "model/ops/rows.h"
#include "model/tape/blas.h"

#include "base/check.h"

#include <string.h>

/* One product w[k, rows] x[rows, width]: where its operands lie in their tensors. */
struct piece {
    size_t w, x, y; /* offsets in reals */
    size_t k, rows, width;
    size_t w_step, x_step, y_step;
    bool upper; /* weights are `up`, and rows come from the output itself */
};

static size_t head_count(const struct tensor *w)
{
    return w->axes == 3 ? w->shape[0] : 1;
}

static size_t summary_width(const struct tensor *w)
{
    return w->shape[w->axes - 2]; /* k */
}

size_t time_summaries_nodes(const struct time_summaries *shape)
{
    size_t nodes = 0;
    for (size_t level = 0; level < TIME_LEVELS_MAX; level++) {
        nodes += shape->counts[level];
    }
    return nodes;
}

/* Node n of a level, head h, series b. */
static struct piece piece_of(const struct time_summaries *shape, const struct tensor *x,
                             const struct tensor *w, size_t level, size_t b, size_t n, size_t h)
{
    size_t k = summary_width(w);
    size_t heads = head_count(w);
    size_t width = shape->width / heads;
    size_t nodes = time_summaries_nodes(shape);
    size_t before = 0; /* nodes of lower levels */
    size_t lower = 0;  /* where the level below begins */
    for (size_t i = 0; i < level; i++) {
        lower = before;
        before += shape->counts[i];
    }
    size_t columns = tensor_width(w);
    struct piece piece = {
        .w = h * k * columns + (level == 0 ? shape->column : 0),
        .y = (b * nodes + before + n) * k * shape->width + h * width,
        .k = k,
        .rows = level == 0 ? shape->block : shape->group * k,
        .width = width,
        .w_step = columns,
        .y_step = shape->width,
        .upper = level > 0,
    };
    if (level == 0) {
        piece.x_step = tensor_width(x);
        piece.x = (b * x->shape[1] + n * shape->block) * piece.x_step + shape->channel + h * width;
    } else {
        piece.x_step = shape->width;
        piece.x = (b * nodes + lower + n * shape->group) * k * shape->width + h * width;
    }
    return piece;
}

static struct matrix at(const real *data, size_t step, enum blas_side side)
{
    return (struct matrix){.data = data, .step = step, .side = side};
}

struct time_kept {
    struct time_summaries shape;
};

/* dx = w^T dy and dw = dy x^T of one piece; NULL where nobody wants it. */
static void piece_back(const struct piece *p, const real *w, const real *x, const real *dy,
                       real *dw, real *dx)
{
    if (dx != NULL) {
        blas_product(p->rows, p->width, p->k, 1, at(w + p->w, p->w_step, BLAS_TRANSPOSED),
                     at(dy + p->y, p->y_step, BLAS_PLAIN), 1, dx + p->x, p->x_step);
    }
    if (dw != NULL) {
        blas_product(p->k, p->rows, p->width, 1, at(dy + p->y, p->y_step, BLAS_PLAIN),
                     at(x + p->x, p->x_step, BLAS_TRANSPOSED), 1, dw + p->w, p->w_step);
    }
}

static void project_time_back(struct tape *tape, const struct node *node)
{
    const struct time_kept *kept = node->context;
    struct tensor *x = node->in[0];
    struct tensor *w = node->in[1];
    struct tensor *up = node->in[2];
    size_t size = tensor_size(node->out);
    real *dx = tape_grad_sum(tape, x);
    real *dw = tape_grad_sum(tape, w);
    real *d_up = tape_grad_sum(tape, up);
    /* The upper levels' gradients flow down into those of the lower ones, in a copy. */
    real *dy = tape_backward_scratch(tape, size * sizeof(real));
    memcpy(dy, tape_grad_of(node->out), size * sizeof(real));
    for (size_t level = TIME_LEVELS_MAX; level-- > 0;) {
        const struct tensor *weights = level == 0 ? w : up;
        for (size_t i = 0; i < x->shape[0] * kept->shape.counts[level]; i++) {
            size_t b = i / kept->shape.counts[level];
            size_t n = i % kept->shape.counts[level];
            for (size_t h = 0; h < head_count(w); h++) {
                struct piece piece = piece_of(&kept->shape, x, weights, level, b, n, h);
                piece_back(&piece, weights->data, piece.upper ? node->out->data : x->data, dy,
                           piece.upper ? d_up : dw, piece.upper ? dy : dx);
            }
        }
    }
}

const struct op project_time_op = {.name = "project_time", .backward = project_time_back};

static void check_shapes(const struct tensor *x, const struct tensor *w, const struct tensor *up,
                         const struct time_summaries *shape)
{
    CHECK(x->axes == 3 && (w->axes == 2 || w->axes == 3));
    CHECK(shape->counts[0] > 0);
    CHECK(shape->counts[0] * shape->block <= x->shape[1]);
    CHECK(shape->column + shape->block <= tensor_width(w));
    CHECK(shape->channel + shape->width <= tensor_width(x));
    CHECK(shape->width % head_count(w) == 0);
    for (size_t level = 1; level < TIME_LEVELS_MAX; level++) {
        CHECK(shape->counts[level] * shape->group <= shape->counts[level - 1]);
        CHECK(shape->counts[level] == 0 ||
              (up != NULL && up->axes == w->axes && summary_width(up) == summary_width(w) &&
               tensor_width(up) == shape->group * summary_width(w)));
    }
}

struct tensor *op_project_time(struct tape *tape, struct tensor *x, struct tensor *w,
                               struct tensor *up, const struct time_summaries *shape)
{
    check_shapes(x, w, up, shape);
    size_t rows = time_summaries_nodes(shape) * summary_width(w);
    struct tensor *y = tape_tensor(tape, (size_t[]){x->shape[0], rows, shape->width, 0});
    struct time_kept *kept = tape_struct(tape, sizeof(*kept));
    kept->shape = *shape;
    for (size_t level = 0; tape_computes(tape) && level < TIME_LEVELS_MAX; level++) {
        const struct tensor *weights = level == 0 ? w : up;
        for (size_t i = 0; i < x->shape[0] * shape->counts[level]; i++) {
            for (size_t h = 0; h < head_count(w); h++) {
                struct piece p = piece_of(shape, x, weights, level, i / shape->counts[level],
                                          i % shape->counts[level], h);
                const real *from = p.upper ? y->data : x->data;
                blas_product(p.k, p.width, p.rows, 1, at(weights->data + p.w, p.w_step, BLAS_PLAIN),
                             at(from + p.x, p.x_step, BLAS_PLAIN), 0, y->data + p.y, p.y_step);
            }
        }
    }
    tape_record(tape, &project_time_op, y, (struct tensor *[]){x, w, up}, 3, kept,
                tensor_size(y) * sizeof(real));
    return y;
}
