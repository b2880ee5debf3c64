/* The families of examples that the gradient check runs through.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "tests/gradient/examples.h"

#include "base/check.h"

const struct example_family *const example_families[] = {
    &examples_basic,
    &examples_linformer,
    &examples_span,
    &examples_linear,
    &examples_longformer,
    &examples_lsh,
    &examples_attention_relative,
    &examples_convolution,
};
const size_t example_family_count = ARRAY_COUNT(example_families);
