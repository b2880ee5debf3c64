/* Every op in one table: the gradient and reference tests iterate over it.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "model/ops/ops.h"
#include "model/ops/rows.h"

#include "base/check.h"

const struct op *const op_table[] = {
    &add_op,
    &scale_op,
    &expand_op,
    &inner_op,
    &mix_op,
    &linear_op,
    &causal_conv_op,
    &layer_norm_op,
    &softmax_op,
    &gelu_op,
    &gelu_exact_op,
    &relu_op,
    &swish_op,
    &tanh_op,
    &softplus_op,
    &glu_op,
    &dropout_op,
    &concat_op,
    &slice_op,
    &slice_time_op,
    &take_rows_op,
    &put_rows_op,
    &concat_time_op,
    &add_table_op,
    &embed_op,
    &attention_op,
    &attention_sparse_op,
    &attention_rows_op,
    &project_time_op,
    &attention_block_op,
    &attention_span_op,
    &linear_attention_op,
    &head_norm_op,
    &attention_beside_op,
    &attention_across_op,
    &lsh_causal_op,
    &lsh_chunked_op,
    &attention_relative_op,
    &pinball_op,
    &gaussian_nll_op,
    &student_nll_op,
    &depthwise_conv_op,
    &dynamic_conv_op,
    &batch_norm_op,
};

const size_t op_count = ARRAY_COUNT(op_table);
