/* Blocks of hashed attention's kernels: how many rows share a load, and rows made channel-major.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef MODEL_OPS_KERNELS_LSH_BLOCK_H
#define MODEL_OPS_KERNELS_LSH_BLOCK_H

#include "model/ops/kernels/vector.h"

#define BLOCK 4           /* entries, or columns of a rotation */
#define PAIR  (2 * LANES) /* keys, or tokens */

/* columns[w, n] (rows `step` apart) of rows[n, w]; n and w are whole vectors. */
INLINE void turn_rows(const real *rows, size_t w, size_t n, size_t step, real *restrict columns)
{
    for (size_t j = 0; j < n; j += LANES) {
        for (size_t c = 0; c < w; c += LANES) {
            vector block[VECTOR_LANES];
            for (size_t i = 0; i < LANES; i++) {
                block[i] = load(rows + (j + i) * w + c);
            }
            transpose_block(block);
            for (size_t i = 0; i < LANES; i++) {
                store(columns + (c + i) * step + j, block[i]);
            }
        }
    }
}

#endif
