/* One or more tiny examples an op, for the gradient check.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef TESTS_GRADIENT_EXAMPLES_H
#define TESTS_GRADIENT_EXAMPLES_H

#include "model/ops/ops.h"

#define EXAMPLE_INPUTS_MAX 4

struct example {
    const char *op;   /* as in op_table */
    const char *what; /* which case */
    size_t shapes[EXAMPLE_INPUTS_MAX]
                 [TENSOR_AXES_MAX + 1]; /* each ends with 0; the first empty ends */
    struct tensor *(*run)(struct tape *tape, struct tensor *const *in);
};

extern const struct example examples[];
extern const size_t example_count;

#endif
