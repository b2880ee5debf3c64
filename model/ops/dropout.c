/* Dropout with its own random stream; what was kept is remembered as one byte a value.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "model/ops/kernels.h"
#include "model/ops/ops.h"
#include "model/ops/rows.h"

#include "base/check.h"

#define DRAWS 256 /* values whose random numbers are drawn at once */

struct dropout {
    real factor; /* 1 / (1 - rate) */
    unsigned char *kept;
};

static void dropout_back(struct tape *tape, const struct node *node)
{
    const struct dropout *dropout = node->context;
    const real *dy = tape_grad_of(node->out);
    real *dx = tape_grad_sum(tape, node->in[0]);
    if (dx != NULL) {
        kernels()->drop_back(tensor_size(node->out), dropout->kept, dropout->factor, dy, dx);
    }
}

const struct op dropout_op = {.name = "dropout", .backward = dropout_back};

/* 16 bits a value; four values share one random number. */
static void draw(struct random *random, uint16_t draws[DRAWS])
{
    for (size_t i = 0; i < DRAWS; i += 4) {
        uint64_t bits = random_next(random);
        for (size_t k = 0; k < 4; k++) {
            draws[i + k] = (uint16_t)(bits >> (16 * k));
        }
    }
}

struct tensor *op_dropout(struct tape *tape, struct tensor *x, double rate)
{
    CHECK(rate >= 0 && rate < 1);
    if (rate == 0 || tape->mode == TAPE_INFER) {
        return x;
    }
    struct tensor *y = tape_tensor_like(tape, x);
    struct dropout *dropout = tape_struct(tape, sizeof(*dropout));
    size_t n = tensor_size(x);
    dropout->factor = (real)(1 / (1 - rate));
    dropout->kept = tape_bytes(tape, n);
    for (size_t i = 0; tape_computes(tape) && i < n; i += DRAWS) {
        uint16_t draws[DRAWS];
        size_t count = n - i < DRAWS ? n - i : DRAWS;
        draw(&tape->random, draws);
        kernels()->drop(count, draws, (uint16_t)(rate * 65536.0), dropout->factor, x->data + i,
                        y->data + i, dropout->kept + i);
    }
    tape_record(tape, &dropout_op, y, &x, 1, dropout, 0);
    return y;
}
