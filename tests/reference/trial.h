/* One comparison of an op with plain loops: what the references of all families share.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Each family has a file of its own (basic.c ...) with a check an op; test_reference.c runs them
 * all at every level of kernels.
 */
#ifndef TESTS_REFERENCE_TRIAL_H
#define TESTS_REFERENCE_TRIAL_H

#include "model/ops/ops.h"

struct trial {
    struct tape tape;
    struct random random;
    const char *op;
    double *expected; /* 2^18 doubles */
};

struct reference {
    const char *op; /* as in op_table */
    void (*check)(struct trial *t);
};
struct reference_family {
    const struct reference *references;
    size_t count;
};
extern const struct reference_family references_basic;
extern const struct reference_family references_linformer;
extern const struct reference_family references_span;
extern const struct reference_family references_linear;
extern const struct reference_family references_basic, references_longformer;
extern const struct reference_family references_lsh;
extern const struct reference_family references_attention_relative;
extern const struct reference_family references_convolution;

/* 1 to `most`. */
size_t trial_some(struct trial *t, size_t most);

/* [a, b, c] of normal values; wants a gradient. */
struct tensor *trial_draw(struct trial *t, size_t a, size_t b, size_t c);

/* Against t->expected, within 1e-5 of the largest expected value (at least 1). */
void trial_compare_values(struct trial *t, const real *values, size_t n, const char *what);
void trial_compare(struct trial *t, const struct tensor *y);

#endif
