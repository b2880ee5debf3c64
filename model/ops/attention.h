/* What the files of the attention family share.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef MODEL_OPS_ATTENTION_H
#define MODEL_OPS_ATTENTION_H

#include "model/ops/ops.h"

/* What an attention op keeps for its way back. */
struct attention_kept {
    struct attention attention;
    bool dense;
    real *log_sum; /* [B, H, T] */
};

size_t attention_head_width(const struct tensor *v, const struct attention *attention);
real attention_scale(const struct tensor *v, const struct attention *attention);

/* Copies keys and values of the new steps' `step`th into their places of the ring. */
void attention_cache_join(struct attention_cache *cache, const struct tensor *qk,
                          const struct tensor *v, size_t step);

/* PATTERN_ROWS: plain loops over index lists. Returns the bytes that the way back asks for. */
size_t attention_rows_forward(struct tape *tape, const struct attention_kept *kept,
                              const struct tensor *qk, const struct tensor *v, struct tensor *out);

#endif
