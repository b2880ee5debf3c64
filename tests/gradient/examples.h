/* One or more tiny examples an op, for the gradient check.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef TESTS_GRADIENT_EXAMPLES_H
#define TESTS_GRADIENT_EXAMPLES_H

#include "model/ops/ops.h"

#define EXAMPLE_INPUTS_MAX 8

struct example {
    const char *op;   /* as in op_table */
    const char *what; /* which case */
    size_t shapes[EXAMPLE_INPUTS_MAX]
                 [TENSOR_AXES_MAX + 1]; /* each ends with 0; the first empty ends */
    struct tensor *(*run)(struct tape *tape, struct tensor *const *in);
};

/* One table a family of ops, in a file of its own: examples_<family>.c. */
struct example_family {
    const struct example *examples;
    size_t count;
};
extern const struct example_family *const example_families[];
extern const size_t example_family_count;

extern const struct example_family examples_basic;
extern const struct example_family examples_linformer;
extern const struct example_family examples_span;
extern const struct example_family examples_linear;
extern const struct example_family examples_basic, examples_longformer;
extern const struct example_family examples_lsh;
extern const struct example_family examples_attention_relative;
extern const struct example_family examples_convolution;

/* A constant of its own random stream. */
struct tensor *example_constant(struct tape *tape, const size_t *shape, uint64_t stream);

#endif
