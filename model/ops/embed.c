/* Tables: learned positions added to every series, and rows picked by id.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "model/ops/kernels.h"
#include "model/ops/ops.h"
#include "model/ops/rows.h"

#include "base/check.h"

#include <string.h>

static void add_table_back(struct tape *tape, const struct node *node)
{
    struct tensor *x = node->in[0];
    const size_t *from = node->context;
    size_t block = x->shape[1] * x->shape[2];
    const real *dy = tape_grad_of(node->out);
    real *dx = tape_grad_sum(tape, x);
    if (dx != NULL) {
        kernels()->add_scaled(tensor_size(x), 1, dy, dx);
    }
    real *d_table = tape_grad_sum(tape, node->in[1]);
    for (size_t b = 0; d_table != NULL && b < x->shape[0]; b++) {
        kernels()->add_scaled(block, 1, dy + b * block, d_table + *from * x->shape[2]);
    }
}

const struct op add_table_op = {.name = "add_table", .backward = add_table_back};

struct tensor *op_add_table(struct tape *tape, struct tensor *x, struct tensor *table, size_t from)
{
    CHECK(x->axes == 3 && table->axes == 2);
    CHECK(table->shape[1] == x->shape[2]);
    CHECK(from + x->shape[1] <= table->shape[0]);
    struct tensor *y = tape_tensor_like(tape, x);
    size_t *kept = tape_struct(tape, sizeof(*kept));
    *kept = from;
    size_t block = x->shape[1] * x->shape[2];
    for (size_t b = 0; tape_computes(tape) && b < x->shape[0]; b++) {
        kernels()->add(block, x->data + b * block, table->data + from * x->shape[2],
                       y->data + b * block);
    }
    tape_record(tape, &add_table_op, y, (struct tensor *[]){x, table}, 2, kept, 0);
    return y;
}

static void embed_back(struct tape *tape, const struct node *node)
{
    const uint32_t *ids = *(const uint32_t *const *)node->context;
    size_t width = tensor_width(node->out);
    const real *dy = tape_grad_of(node->out);
    real *d_table = tape_grad_sum(tape, node->in[0]);
    for (size_t i = 0; d_table != NULL && i < node->out->shape[0]; i++) {
        for (size_t c = 0; c < width; c++) {
            d_table[ids[i] * width + c] += dy[i * width + c];
        }
    }
}

const struct op embed_op = {.name = "embed", .backward = embed_back};

struct tensor *op_embed(struct tape *tape, struct tensor *table, const uint32_t *ids, size_t count)
{
    CHECK(table->axes == 2);
    CHECK(count > 0);
    size_t width = table->shape[1];
    struct tensor *y = tape_tensor(tape, (size_t[]){count, width, 0});
    const uint32_t **kept = tape_struct(tape, sizeof(*kept));
    *kept = ids;
    for (size_t i = 0; tape_computes(tape) && i < count; i++) {
        CHECK(ids[i] < table->shape[0]);
        memcpy(y->data + i * width, table->data + ids[i] * width, width * sizeof(real));
    }
    tape_record(tape, &embed_op, y, &table, 1, kept, 0);
    return y;
}
