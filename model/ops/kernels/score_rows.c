/* Softmax of scores that a matrix product made, where each query sees a prefix of the keys.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "model/ops/kernels/level.h"

/* Adds the bias and makes -infinity of what row r must not see; whole vectors from there on. */
INLINE size_t prepare_row(const struct score_rows *rows, size_t r, real *restrict s)
{
    size_t seen = rows->seen + r * rows->growth;
    size_t padded = round_lanes(seen);
    if (rows->bias != NULL) {
#pragma omp simd
        for (size_t j = 0; j < rows->biased; j++) {
            s[j] += rows->bias[j];
        }
    }
    for (size_t j = seen; j < padded; j++) {
        s[j] = UNSEEN;
    }
    return padded;
}

void KERNEL(kernel_score_rows)(const struct score_rows *rows)
{
    for (size_t r = 0; r < rows->rows; r++) {
        real *restrict s = rows->scores + r * rows->step;
        size_t padded = prepare_row(rows, r, s);
        vector top = all(UNSEEN);
        for (size_t j = 0; j < padded; j += LANES) {
            top = larger(load(s + j), top);
        }
        const real largest = lanes_largest(top);
        vector total = {0};
        for (size_t j = 0; j < padded; j += LANES) {
            vector e = vector_exp(load(s + j) - largest);
            store(s + j, e);
            total += e;
        }
        const real sum = lanes_sum(total);
        rows->log_sum[r] = largest + REAL(log)(sum);
        const real inverse = 1 / sum;
        for (size_t j = 0; j < padded; j += LANES) {
            store(s + j, load(s + j) * inverse);
        }
        memset(s + padded, 0, (rows->step - padded) * sizeof(real));
    }
}

/* P = e^(S - log-sum), dS = P (dO V^T - dO . O). */
void KERNEL(kernel_score_rows_back)(const struct score_rows *rows)
{
    for (size_t r = 0; r < rows->rows; r++) {
        real *restrict s = rows->scores + r * rows->step;
        real *restrict slope = rows->slopes + r * rows->step;
        const real *d_out = rows->d_out + r * rows->out_step;
        const real *out = rows->out + r * rows->out_step;
        real d = 0;
#pragma omp simd reduction(+ : d)
        for (size_t c = 0; c < rows->width; c++) {
            d += d_out[c] * out[c];
        }
        size_t padded = prepare_row(rows, r, s);
        for (size_t j = rows->seen + r * rows->growth; j < padded; j++) {
            slope[j] = 0;
        }
        for (size_t j = 0; j < padded; j += LANES) {
            vector p = vector_exp(load(s + j) - rows->log_sum[r]);
            store(s + j, p);
            store(slope + j, p * (load(slope + j) - d));
        }
        memset(s + padded, 0, (rows->step - padded) * sizeof(real));
        memset(slope + padded, 0, (rows->step - padded) * sizeof(real));
    }
}
