/* Products of BLOCK queries with many keys, in registers: what attention over bands of keys is made
 * of. SPDX-License-Identifier: Apache-2.0
 *
 * BLOCK rows by two vectors of columns are twelve sums, which with two loads and one broadcast fill
 * the sixteen registers of the middle instruction level: twelve multiply-adds for eight loads.
 */
#ifndef MODEL_OPS_KERNELS_BLOCKS_H
#define MODEL_OPS_KERNELS_BLOCKS_H

#include "model/ops/kernels/vector.h"

#define BLOCK 6

/* Channel-major copy [h, line] of rows [n, h] that are `step` apart, zeros behind n. */
INLINE void rows_to_columns(const real *restrict rows, size_t step, size_t n, size_t width,
                            size_t line, real *restrict out)
{
    size_t whole_rows = width % LANES == 0 ? n / LANES * LANES : 0;
    for (size_t j = 0; j < whole_rows; j += LANES) {
        for (size_t c = 0; c < width; c += LANES) {
            vector block[VECTOR_LANES];
            for (size_t i = 0; i < LANES; i++) {
                block[i] = load(rows + (j + i) * step + c);
            }
            transpose_block(block);
            for (size_t i = 0; i < LANES; i++) {
                store(out + (c + i) * line + j, block[i]);
            }
        }
    }
    for (size_t c = 0; c < width; c++) {
        for (size_t j = whole_rows; j < n; j++) {
            out[c * line + j] = rows[j * step + c];
        }
        memset(out + c * line + n, 0, (line - n) * sizeof(real));
    }
}

/* Rows [n, h] as [n, padded], zeros behind h. */
INLINE void pad_rows(const real *restrict rows, size_t step, size_t n, size_t width, size_t padded,
                     real *restrict out)
{
    for (size_t j = 0; j < n; j++) {
        memcpy(out + j * padded, rows + j * step, width * sizeof(real));
        memset(out + j * padded + width, 0, (padded - width) * sizeof(real));
    }
}

/* out[BLOCK, padded] = factor * `count` rows of x, zeros elsewhere. */
INLINE void take_block(const real *restrict x, size_t step, size_t count, size_t width,
                       size_t padded, real factor, real *restrict out)
{
    memset(out, 0, BLOCK * padded * sizeof(real));
    for (size_t r = 0; r < count; r++) {
        for (size_t c = 0; c < width; c++) {
            out[r * padded + c] = factor * x[r * step + c];
        }
    }
}

/* A matrix of whole vectors: rows `step` apart. */
struct grid {
    real *data;
    size_t step;
};

/* out[BLOCK, vectors] = a[BLOCK, h] * columns[h, vectors]. */
INLINE void block_by_columns(struct grid a, struct grid columns, size_t width, size_t vectors,
                             struct grid out)
{
    size_t b = 0;
    for (; b + 2 <= vectors; b += 2) {
        vector one[BLOCK] = {0};
        vector two[BLOCK] = {0};
        const real *line = columns.data + b * LANES;
        for (size_t c = 0; c < width; c++) {
            vector x = load(line + c * columns.step);
            vector y = load(line + c * columns.step + LANES);
            for (size_t r = 0; r < BLOCK; r++) {
                real factor = a.data[r * a.step + c];
                one[r] += factor * x;
                two[r] += factor * y;
            }
        }
        for (size_t r = 0; r < BLOCK; r++) {
            store(out.data + r * out.step + b * LANES, one[r]);
            store(out.data + r * out.step + (b + 1) * LANES, two[r]);
        }
    }
    for (; b < vectors; b++) {
        vector sum[BLOCK] = {0};
        for (size_t c = 0; c < width; c++) {
            vector x = load(columns.data + b * LANES + c * columns.step);
            for (size_t r = 0; r < BLOCK; r++) {
                sum[r] += a.data[r * a.step + c] * x;
            }
        }
        for (size_t r = 0; r < BLOCK; r++) {
            store(out.data + r * out.step + b * LANES, sum[r]);
        }
    }
}

/* out[BLOCK, padded] (+)= weights[BLOCK, n] * rows[n, padded]; `adds` says whether to add. */
INLINE void block_by_rows(struct grid weights, struct grid rows, size_t n, size_t padded, bool adds,
                          real *out)
{
    size_t c = 0;
    for (; c + 2 * LANES <= padded; c += 2 * LANES) {
        vector one[BLOCK] = {0};
        vector two[BLOCK] = {0};
        for (size_t j = 0; j < n; j++) {
            vector x = load(rows.data + j * rows.step + c);
            vector y = load(rows.data + j * rows.step + c + LANES);
            for (size_t r = 0; r < BLOCK; r++) {
                real factor = weights.data[r * weights.step + j];
                one[r] += factor * x;
                two[r] += factor * y;
            }
        }
        for (size_t r = 0; r < BLOCK; r++) {
            real *to = out + r * padded + c;
            store(to, adds ? load(to) + one[r] : one[r]);
            store(to + LANES, adds ? load(to + LANES) + two[r] : two[r]);
        }
    }
    for (; c < padded; c += LANES) {
        vector sum[BLOCK] = {0};
        for (size_t j = 0; j < n; j++) {
            vector x = load(rows.data + j * rows.step + c);
            for (size_t r = 0; r < BLOCK; r++) {
                sum[r] += weights.data[r * weights.step + j] * x;
            }
        }
        for (size_t r = 0; r < BLOCK; r++) {
            real *to = out + r * padded + c;
            store(to, adds ? load(to) + sum[r] : sum[r]);
        }
    }
}

/* rows[n, padded] += weights[BLOCK, n]^T * a[BLOCK, padded]. */
INLINE void add_block_transposed(struct grid weights, const real *a, size_t n, size_t padded,
                                 struct grid rows)
{
    size_t c = 0;
    for (; c + 2 * LANES <= padded; c += 2 * LANES) {
        vector one[BLOCK];
        vector two[BLOCK];
        for (size_t r = 0; r < BLOCK; r++) {
            one[r] = load(a + r * padded + c);
            two[r] = load(a + r * padded + c + LANES);
        }
        for (size_t j = 0; j < n; j++) {
            real *to = rows.data + j * rows.step + c;
            vector x = load(to);
            vector y = load(to + LANES);
            for (size_t r = 0; r < BLOCK; r++) {
                real factor = weights.data[r * weights.step + j];
                x += factor * one[r];
                y += factor * two[r];
            }
            store(to, x);
            store(to + LANES, y);
        }
    }
    for (; c < padded; c += LANES) {
        vector one[BLOCK];
        for (size_t r = 0; r < BLOCK; r++) {
            one[r] = load(a + r * padded + c);
        }
        for (size_t j = 0; j < n; j++) {
            real *to = rows.data + j * rows.step + c;
            vector x = load(to);
            for (size_t r = 0; r < BLOCK; r++) {
                x += weights.data[r * weights.step + j] * one[r];
            }
            store(to, x);
        }
    }
}

#endif
