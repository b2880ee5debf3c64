/* The one door to OpenBLAS: matrix products in the tape's scalar type, one thread a call.
 * SPDX-License-Identifier: Apache-2.0
 *
 * OpenBLAS is loaded at the first use (see model_prepare) and runs single-threaded inside a lane.
 * Debian's serial flavour gives wrong results when two threads call it at once; in OpenMP builds
 * setting the thread count has no lasting effect. So: blas_check must have said yes before more
 * than one thread calls blas_product.
 */
#ifndef MODEL_TAPE_BLAS_H
#define MODEL_TAPE_BLAS_H

#include "base/status.h"
#include "model/tape/tensor.h"

#include <stddef.h>

enum blas_side { BLAS_PLAIN, BLAS_TRANSPOSED };

/* Says whether `lanes` threads may multiply at once, and prepares memory for them.
 * STATUS_UNSUPPORTED (with a hint) for more than one lane where the build has no threads, for
 * OpenMP builds unless OMP_NUM_THREADS is 1, and where there is no OpenBLAS. Call once at start;
 * cheap and safe to repeat. Any thread. */
enum status blas_check(unsigned lanes, struct error *error) MUST_USE;

/* "OpenBLAS 0.3.21 ... SkylakeX ...": for the record of figures. Static memory. */
const char *blas_description(void);

/* A matrix in row-major order; `step` is the distance of its rows in reals (>= columns). */
struct matrix {
    const real *data;
    size_t step;
    enum blas_side side;
};

/* C[rows, columns] = beta * C + alpha * A[rows, inner] * B[inner, columns]; A and B are read
 * transposed where their side says so (then they are stored as [inner, rows], [columns, inner]).
 * C does not overlap A or B. With beta 0 what C held before does not matter. */
void blas_product(size_t rows, size_t columns, size_t inner, real alpha, struct matrix a,
                  struct matrix b, real beta, real *c, size_t c_step);

#endif
