/* Dropout with its own random stream; what was kept is remembered as one byte a value.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "model/ops/ops.h"
#include "model/ops/rows.h"

#include "base/check.h"

struct dropout {
    real factor; /* 1 / (1 - rate) */
    unsigned char *kept;
};

static void dropout_back(struct tape *tape, const struct node *node)
{
    const struct dropout *dropout = node->context;
    const real *dy = tape_grad_of(node->out);
    real *restrict dx = tape_grad_sum(tape, node->in[0]);
    for (size_t i = 0; dx != NULL && i < tensor_size(node->out); i++) {
        dx[i] += (real)dropout->kept[i] * dropout->factor * dy[i];
    }
}

const struct op dropout_op = {.name = "dropout", .backward = dropout_back};

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
    if (tape_computes(tape)) {
        /* Four values share one random number: 16 bits each. */
        const uint64_t threshold = (uint64_t)(rate * 65536.0 + 0.5);
        uint64_t bits = 0;
        for (size_t i = 0; i < n; i++) {
            bits = i % 4 == 0 ? random_next(&tape->random) : bits >> 16;
            dropout->kept[i] = (bits & 0xffff) >= threshold;
            y->data[i] = (real)dropout->kept[i] * dropout->factor * x->data[i];
        }
    }
    tape_record(tape, &dropout_op, y, &x, 1, dropout, 0);
    return y;
}
