/* Rows of a sequence by position: taken out, and put in again.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "model/ops/ops.h"
#include "model/ops/rows.h"

#include "base/check.h"

#include <string.h>

/* Where a chosen row lies in [B, T, D] and in [B, N, D], in reals. */
struct places {
    size_t whole, part;
};

static bool place_of(const struct row_choice *choice, const struct tensor *whole, size_t n,
                     struct places *places)
{
    if (choice->valid[n] == 0) {
        return false;
    }
    size_t series = n / choice->count;
    size_t width = whole->shape[2];
    CHECK(choice->positions[n] < whole->shape[1]);
    places->whole = (series * whole->shape[1] + choice->positions[n]) * width;
    places->part = n * width;
    return true;
}

static void add_row(const real *from, size_t width, real *to)
{
    for (size_t c = 0; c < width; c++) {
        to[c] += from[c];
    }
}

static void take_rows_back(struct tape *tape, const struct node *node)
{
    const struct row_choice *choice = node->context;
    const struct tensor *x = node->in[0];
    const real *dy = tape_grad_of(node->out);
    real *dx = tape_grad_sum(tape, node->in[0]);
    struct places at;
    for (size_t n = 0; dx != NULL && n < x->shape[0] * choice->count; n++) {
        if (place_of(choice, x, n, &at)) {
            add_row(dy + at.part, x->shape[2], dx + at.whole);
        }
    }
}

const struct op take_rows_op = {.name = "take_rows", .backward = take_rows_back};

static struct row_choice *keep_choice(struct tape *tape, const struct row_choice *choice)
{
    struct row_choice *kept = tape_struct(tape, sizeof(*kept));
    *kept = *choice;
    return kept;
}

struct tensor *op_take_rows(struct tape *tape, struct tensor *x, const struct row_choice *choice)
{
    CHECK(x->axes == 3);
    size_t rows = x->shape[0] * choice->count;
    struct tensor *y = tape_tensor(tape, (size_t[]){x->shape[0], choice->count, x->shape[2], 0});
    struct places at;
    for (size_t n = 0; tape_computes(tape) && n < rows; n++) {
        size_t bytes = x->shape[2] * sizeof(real);
        if (place_of(choice, x, n, &at)) {
            memcpy(y->data + at.part, x->data + at.whole, bytes);
        } else {
            memset(y->data + n * x->shape[2], 0, bytes);
        }
    }
    tape_record(tape, &take_rows_op, y, (struct tensor *[]){x}, 1, keep_choice(tape, choice), 0);
    return y;
}

static bool is_chosen(const struct row_choice *choice, size_t series, size_t t)
{
    for (size_t n = series * choice->count; n < (series + 1) * choice->count; n++) {
        if (choice->valid[n] != 0 && choice->positions[n] == t) {
            return true;
        }
    }
    return false;
}

static void put_rows_back(struct tape *tape, const struct node *node)
{
    const struct row_choice *choice = node->context;
    const struct tensor *x = node->in[0];
    const real *dy = tape_grad_of(node->out);
    size_t width = x->shape[2];
    real *dx = tape_grad_sum(tape, node->in[0]);
    real *d_rows = tape_grad_sum(tape, node->in[1]);
    for (size_t row = 0; dx != NULL && row < tensor_rows(x); row++) {
        if (!is_chosen(choice, row / x->shape[1], row % x->shape[1])) {
            add_row(dy + row * width, width, dx + row * width);
        }
    }
    struct places at;
    for (size_t n = 0; d_rows != NULL && n < x->shape[0] * choice->count; n++) {
        if (place_of(choice, x, n, &at)) {
            add_row(dy + at.whole, width, d_rows + at.part);
        }
    }
}

const struct op put_rows_op = {.name = "put_rows", .backward = put_rows_back};

struct tensor *op_put_rows(struct tape *tape, struct tensor *x, struct tensor *rows,
                           const struct row_choice *choice)
{
    CHECK(x->axes == 3 && rows->axes == 3);
    CHECK(rows->shape[0] == x->shape[0] && rows->shape[1] == choice->count);
    CHECK(rows->shape[2] == x->shape[2]);
    struct tensor *y = tape_tensor_like(tape, x);
    if (tape_computes(tape)) {
        memcpy(y->data, x->data, tensor_size(x) * sizeof(real));
    }
    struct places at;
    for (size_t n = 0; tape_computes(tape) && n < x->shape[0] * choice->count; n++) {
        if (place_of(choice, x, n, &at)) {
            memcpy(y->data + at.whole, rows->data + at.part, x->shape[2] * sizeof(real));
        }
    }
    tape_record(tape, &put_rows_op, y, (struct tensor *[]){x, rows}, 2, keep_choice(tape, choice),
                0);
    return y;
}
