/* What the files of the attention family share.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef MODEL_OPS_ATTENTION_H
#define MODEL_OPS_ATTENTION_H

#include "model/ops/ops.h"

/* What an attention op keeps for its way back. */
struct attention_kept {
    struct attention attention;
    struct attention_beside beside[ATTENTION_BESIDE_MAX]; /* what attention.beside points to */
    real *log_sum;                                        /* [B, H, T] */
};

size_t attention_head_width(const struct tensor *v, const struct attention *attention);
real attention_scale(const struct tensor *v, const struct attention *attention);

/* Copies keys and values of the new steps' `step`th into their places of the ring. */
void attention_cache_join(struct attention_cache *cache, const struct tensor *qk,
                          const struct tensor *v, size_t step);

/* What head h sees. */
const struct pattern *attention_pattern(const struct attention *attention, size_t head);

/* Where to add a tensor's gradient: the tensor's own, or where it wants none, zeroed space from
 * *unwanted on, which moves behind it. */
real *attention_slopes(struct tape *tape, struct tensor *tensor, real **unwanted);

/* PATTERN_ROWS: plain loops over index lists. Returns the bytes that the way back asks for. */
size_t attention_rows_forward(struct tape *tape, const struct attention_kept *kept,
                              const struct tensor *qk, const struct tensor *v, struct tensor *out);

#endif
