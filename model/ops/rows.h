/* The rows of the op table: each family's file defines its own.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef MODEL_OPS_ROWS_H
#define MODEL_OPS_ROWS_H

#include "model/tape/op.h"

extern const struct op add_op, scale_op, expand_op, inner_op, mix_op;
extern const struct op linear_op, causal_conv_op;
extern const struct op depthwise_conv_op, dynamic_conv_op, batch_norm_op;
extern const struct op layer_norm_op, softmax_op;
extern const struct op gelu_op, gelu_exact_op, relu_op, swish_op, tanh_op, softplus_op, glu_op;
extern const struct op dropout_op;
extern const struct op concat_op, slice_op, slice_time_op, concat_time_op;
extern const struct op add_table_op, embed_op;
extern const struct op attention_op, attention_sparse_op, attention_rows_op;
extern const struct op project_time_op, attention_block_op;
extern const struct op attention_span_op;
extern const struct op linear_attention_op, head_norm_op;
extern const struct op attention_beside_op, attention_across_op;
extern const struct op take_rows_op, put_rows_op;
extern const struct op lsh_causal_op, lsh_chunked_op;
extern const struct op attention_relative_op;
extern const struct op pinball_op, gaussian_nll_op, student_nll_op;

#endif
