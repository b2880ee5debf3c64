/* The table of this level's kernels.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "model/ops/kernels/level.h"

#define TEXT2(name) #name
#define TEXT(name)  TEXT2(name)

const struct kernels KERNEL(kernel_table) = {
    .level = TEXT(KERNEL_LEVEL),
    .exp = KERNEL(kernel_exp),
    .gelu = KERNEL(kernel_gelu),
    .gelu_back = KERNEL(kernel_gelu_back),
    .sigmoid = KERNEL(kernel_sigmoid),
    .add = KERNEL(kernel_add),
    .add_scaled = KERNEL(kernel_add_scaled),
    .drop = KERNEL(kernel_drop),
    .drop_back = KERNEL(kernel_drop_back),
    .layer_norm = KERNEL(kernel_layer_norm),
    .layer_norm_back = KERNEL(kernel_layer_norm_back),
    .softmax = KERNEL(kernel_softmax),
    .add_row = KERNEL(kernel_add_row),
    .column_sums = KERNEL(kernel_column_sums),
    .attention_scratch = KERNEL(kernel_attention_scratch),
    .attention = KERNEL(kernel_attention),
    .attention_back = KERNEL(kernel_attention_back),
    .attention_sparse_scratch = KERNEL(kernel_attention_sparse_scratch),
    .attention_sparse = KERNEL(kernel_attention_sparse),
    .attention_sparse_back = KERNEL(kernel_attention_sparse_back),
    .score_rows = KERNEL(kernel_score_rows),
    .score_rows_back = KERNEL(kernel_score_rows_back),
    .attention_span_scratch = KERNEL(kernel_attention_span_scratch),
    .attention_span = KERNEL(kernel_attention_span),
    .attention_span_back = KERNEL(kernel_attention_span_back),
    .feature_tops = KERNEL(kernel_feature_tops),
    .feature_exp = KERNEL(kernel_feature_exp),
    .feature_relu = KERNEL(kernel_feature_relu),
    .feature_exp_back = KERNEL(kernel_feature_exp_back),
    .feature_relu_back = KERNEL(kernel_feature_relu_back),
    .running_mask = KERNEL(kernel_running_mask),
    .head_norm = KERNEL(kernel_head_norm),
    .head_norm_back = KERNEL(kernel_head_norm_back),
    .relative_lanes = KERNEL(kernel_relative_lanes),
    .relative_pack = KERNEL(kernel_relative_pack),
    .relative_scratch = KERNEL(kernel_relative_scratch),
    .relative = KERNEL(kernel_relative),
    .relative_back = KERNEL(kernel_relative_back),
    .pinball = KERNEL(kernel_pinball),
    .pinball_back = KERNEL(kernel_pinball_back),
    .adamw = KERNEL(kernel_adamw),
    .squares = KERNEL(kernel_squares),
};
