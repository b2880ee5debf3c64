/* Batch normalization, for fidelity with papers that have it: statistics over all rows of a batch.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Ioffe and Szegedy 2015. It mixes the steps and series of a batch, the future among them, so no
 * causal backbone has it. Running statistics travel with the gradients: they are summed over shards
 * in the same order, so they do not depend on lanes, and the optimizer moves them (optimizer.h).
 */
#include "model/ops/kernels.h"
#include "model/ops/ops.h"
#include "model/ops/rows.h"

#include "base/check.h"

#include <string.h>
#include <tgmath.h>

#define EPSILON 1e-5

struct kept {
    bool frozen;
    real *mean, *inverse; /* [C]: 1 / sqrt(variance + epsilon) */
    real *unbiased;       /* [C] variance, not frozen only */
};

static void batch_norm_back(struct tape *tape, const struct node *node)
{
    const struct kept *kept = node->context;
    struct tensor *x = node->in[0];
    size_t width = tensor_width(x);
    size_t rows = tensor_rows(x);
    const real *gain = node->in[1]->data;
    const real *dy = tape_grad_of(node->out);
    real *dx = tape_grad_sum(tape, x);
    real *d_gain = tape_grad_sum(tape, node->in[1]);
    real *d_shift = tape_grad_sum(tape, node->in[2]);
    real *statistics = kept->frozen ? NULL : tape_grad_sum(tape, node->in[3]);
    /* Column sums of dy and of dy times the normalized x. */
    real *sums = tape_backward_scratch(tape, node->scratch);
    real *products = sums + width;
    memset(sums, 0, 2 * width * sizeof(real));
    for (size_t i = 0; i < rows; i++) {
        for (size_t c = 0; c < width; c++) {
            real normal = (x->data[i * width + c] - kept->mean[c]) * kept->inverse[c];
            sums[c] += dy[i * width + c];
            products[c] += dy[i * width + c] * normal;
        }
    }
    for (size_t c = 0; c < width; c++) {
        if (d_gain != NULL) {
            d_gain[c] += products[c];
        }
        if (d_shift != NULL) {
            d_shift[c] += sums[c];
        }
        if (statistics != NULL) {
            statistics[c] += kept->mean[c];
            statistics[width + c] += kept->unbiased[c];
        }
    }
    if (statistics != NULL) {
        statistics[2 * width] += 1;
    }
    /* dx = gain / deviation (dy - mean(dy) - normal mean(dy normal)); frozen: no means. */
    real share = kept->frozen ? 0 : 1 / (real)rows;
    for (size_t i = 0; dx != NULL && i < rows; i++) {
        for (size_t c = 0; c < width; c++) {
            real normal = (x->data[i * width + c] - kept->mean[c]) * kept->inverse[c];
            real d = dy[i * width + c] - share * (sums[c] + normal * products[c]);
            dx[i * width + c] += gain[c] * kept->inverse[c] * d;
        }
    }
}

const struct op batch_norm_op = {.name = "batch_norm", .backward = batch_norm_back};

/* Mean, and both variances, of the columns of x; sums: [2 C]. */
static void measure(const struct tensor *x, const struct kept *kept, double *sums)
{
    size_t width = tensor_width(x);
    size_t rows = tensor_rows(x);
    double *squares = sums + width;
    memset(sums, 0, 2 * width * sizeof(double));
    for (size_t i = 0; i < rows; i++) {
        for (size_t c = 0; c < width; c++) {
            sums[c] += (double)x->data[i * width + c];
        }
    }
    for (size_t c = 0; c < width; c++) {
        sums[c] /= (double)rows;
    }
    for (size_t i = 0; i < rows; i++) {
        for (size_t c = 0; c < width; c++) {
            double away = (double)x->data[i * width + c] - sums[c];
            squares[c] += away * away;
        }
    }
    double others = rows > 1 ? (double)rows - 1 : 1;
    for (size_t c = 0; c < width; c++) {
        kept->mean[c] = (real)sums[c];
        kept->inverse[c] = (real)(1 / sqrt(squares[c] / (double)rows + EPSILON));
        kept->unbiased[c] = (real)(squares[c] / others);
    }
}

/* Those that training has gathered. */
static void take_kept(const real *statistics, size_t width, const struct kept *kept)
{
    for (size_t c = 0; c < width; c++) {
        double variance = (double)statistics[width + c];
        kept->mean[c] = statistics[c];
        kept->inverse[c] = (real)(1 / sqrt(variance + EPSILON));
    }
}

struct tensor *op_batch_norm(struct tape *tape, struct tensor *x, struct tensor *gain,
                             struct tensor *shift, struct tensor *statistics, bool frozen)
{
    size_t width = tensor_width(x);
    CHECK(tensor_size(gain) == width && tensor_size(shift) == width);
    CHECK(tensor_size(statistics) == 2 * width + 1);
    struct kept *kept = tape_struct(tape, sizeof(*kept));
    kept->frozen = frozen || tape->mode == TAPE_INFER;
    struct tensor *y = tape_tensor_like(tape, x);
    kept->mean = tape_bytes(tape, width * sizeof(real));
    kept->inverse = tape_bytes(tape, width * sizeof(real));
    kept->unbiased = tape_bytes(tape, width * sizeof(real));
    size_t mark = tape_scratch_begin(tape);
    double *sums = tape_bytes(tape, 2 * width * sizeof(double));
    if (tape_computes(tape)) {
        if (kept->frozen) {
            take_kept(statistics->data, width, kept);
        } else {
            measure(x, kept, sums);
        }
        for (size_t i = 0; i < tensor_rows(x); i++) {
            for (size_t c = 0; c < width; c++) {
                real normal = (x->data[i * width + c] - kept->mean[c]) * kept->inverse[c];
                y->data[i * width + c] = gain->data[c] * normal + shift->data[c];
            }
        }
    }
    tape_scratch_end(tape, mark);
    tape_record(tape, &batch_norm_op, y, (struct tensor *[]){x, gain, shift, statistics}, 4, kept,
                2 * width * sizeof(real));
    return y;
}
