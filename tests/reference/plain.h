/* Attention in plain loops and double precision, forward and backward.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef TESTS_REFERENCE_PLAIN_H
#define TESTS_REFERENCE_PLAIN_H

#include "model/ops/ops.h"

struct plain {
    size_t batch, length, heads, width;
    double *y, *d_qk, *d_v, *d_bias; /* results; bias [H, offsets] */
};

/* Computes everything for qk [B, T, 2 H h], v [B, T, H h] and the cotangent of y. */
void plain_open(struct plain *plain, const real *qk, const real *v, const real *cotangent,
                const struct attention *attention);
void plain_close(struct plain *plain);

#endif
