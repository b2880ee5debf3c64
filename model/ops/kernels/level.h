/* Prototypes of this level's kernels, and the table that collects them.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef MODEL_OPS_KERNELS_LEVEL_H
#define MODEL_OPS_KERNELS_LEVEL_H

#include "model/ops/kernels/vector.h"

void KERNEL(kernel_exp)(size_t n, const real *x, real *y);
void KERNEL(kernel_sigmoid)(size_t n, const real *x, real *y);
void KERNEL(kernel_gelu)(size_t n, const real *x, real *y);
void KERNEL(kernel_gelu_back)(size_t n, const real *x, const real *dy, real beta, real *dx);
void KERNEL(kernel_add)(size_t n, const real *a, const real *b, real *y);
void KERNEL(kernel_add_scaled)(size_t n, real factor, const real *x, real *y);
void KERNEL(kernel_drop)(size_t n, const uint16_t *draw, uint16_t threshold, real factor,
                         const real *x, real *y, uint8_t *kept);
void KERNEL(kernel_drop_back)(size_t n, const uint8_t *kept, real factor, const real *dy, real *dx);
void KERNEL(kernel_adamw)(size_t n, const struct adamw *step, real *w, const real *g, real *m,
                          real *v, real *average);
double KERNEL(kernel_squares)(size_t n, const real *x);

void KERNEL(kernel_layer_norm)(size_t rows, size_t width, const real *x, const real *gain,
                               const real *shift, real *y, real *mean, real *inverse);
void KERNEL(kernel_layer_norm_back)(size_t rows, size_t width, const real *x, const real *gain,
                                    const real *mean, const real *inverse, const real *dy,
                                    real beta, real *dx, real *d_gain, real *d_shift);
void KERNEL(kernel_softmax)(size_t rows, size_t width, const real *x, real *y);
void KERNEL(kernel_add_row)(size_t rows, size_t width, const real *row, real *y);
void KERNEL(kernel_column_sums)(size_t rows, size_t width, const real *x, real *sum);
double KERNEL(kernel_pinball)(size_t rows, size_t levels, const real *forecast, const real *target,
                              const real *weight, const real *level);
void KERNEL(kernel_pinball_back)(size_t rows, size_t levels, const real *forecast,
                                 const real *target, const real *weight, const real *level,
                                 real factor, real beta, real *d_forecast);

size_t KERNEL(kernel_attention_scratch)(size_t length, size_t keys, size_t width);
void KERNEL(kernel_attention)(const struct attention_head *head);
void KERNEL(kernel_attention_back)(const struct attention_head *head);
size_t KERNEL(kernel_attention_sparse_scratch)(size_t length, size_t width, size_t offsets);
void KERNEL(kernel_attention_sparse)(const struct attention_head *head);
void KERNEL(kernel_attention_sparse_back)(const struct attention_head *head);

void KERNEL(kernel_score_rows)(const struct score_rows *rows);
void KERNEL(kernel_score_rows_back)(const struct score_rows *rows);
size_t KERNEL(kernel_attention_span_scratch)(size_t length, size_t width, size_t span);
void KERNEL(kernel_attention_span)(const struct attention_span_head *head);
void KERNEL(kernel_attention_span_back)(const struct attention_span_head *head);
void KERNEL(kernel_feature_tops)(size_t rows, size_t features, const real *x, real *tops);
void KERNEL(kernel_feature_exp)(size_t rows, size_t features, const real *shift, real floor,
                                real *x);
void KERNEL(kernel_feature_relu)(size_t n, real floor, real *x);
void KERNEL(kernel_feature_exp_back)(size_t rows, size_t features, real floor, const real *phi,
                                     real *slope, real *sums);
void KERNEL(kernel_feature_relu_back)(size_t n, real floor, const real *phi, real *slope);
void KERNEL(kernel_running_mask)(size_t rows, const real *tops, real *scores);
void KERNEL(kernel_head_norm)(const struct head_norm *norm, const real *x, real *y);
void KERNEL(kernel_head_norm_back)(const struct head_norm *norm, const real *x, const real *dy,
                                   real *dx, real *d_gain);
size_t KERNEL(kernel_relative_lanes)(void);
void KERNEL(kernel_relative_pack)(const real *rows, size_t step, size_t count, size_t width,
                                  real *packed);
size_t KERNEL(kernel_relative_scratch)(size_t width);
void KERNEL(kernel_relative)(const struct relative_head *head);
void KERNEL(kernel_relative_back)(const struct relative_head *head);

void KERNEL(kernel_lsh_buckets)(const struct lsh_hash *hash, uint16_t *bucket);
size_t KERNEL(kernel_lsh_width)(size_t width);
size_t KERNEL(kernel_lsh_scratch)(size_t width, size_t tile_keys);
void KERNEL(kernel_lsh)(const struct lsh_list *list);
void KERNEL(kernel_lsh_back)(const struct lsh_list *list);

void KERNEL(kernel_channel_convolution)(const struct channel_convolution *job);
void KERNEL(kernel_channel_convolution_back)(const struct channel_convolution *job);
void KERNEL(kernel_step_convolution)(const struct channel_convolution *job);
void KERNEL(kernel_step_convolution_back)(const struct channel_convolution *job);

extern const struct kernels KERNEL(kernel_table);

#endif
