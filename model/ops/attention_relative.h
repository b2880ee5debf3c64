/* Relative attention for those who decode: keys and values that stay packed from step to step.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef MODEL_OPS_ATTENTION_RELATIVE_H
#define MODEL_OPS_ATTENTION_RELATIVE_H

#include "model/ops/kernels.h"
#include "model/ops/ops.h"

/* Reals of `count` rows of `width` in kernels()->relative_pack's form. */
size_t relative_packed_size(size_t count, size_t width);

/* h': a row's width in whole vectors. */
size_t relative_row_width(size_t width);

/* What one layer keeps while decoding: distances of all heads, then keys and values of all series.
 * The caller's memory; its zeros matter (between a row's end and a whole vector). */
struct relative_cache {
    real *memory;  /* relative_cache_size reals, 64-byte aligned, zeroed before first use */
    size_t *used;  /* cells in use, the caller's; 0 at the start */
    real *scratch; /* kernels()->relative_scratch(h) reals */
    size_t batch, heads;
    size_t all;      /* H h */
    size_t inputs;   /* width of the distance embeddings */
    size_t window;   /* keys that a query sees, itself among them */
    size_t rows;     /* of the table, distances 0 ...; the last stands for all beyond */
    size_t capacity; /* cells a strip: relative_cache_capacity(window) */
};
size_t relative_cache_capacity(size_t window);
size_t relative_cache_size(const struct relative_cache *cache);

/* Projects the table [rows, inputs] with weight [H h, inputs] and packs it by head; once a state
 * and weights. Scratch: rows * all + window * h reals. */
void relative_cache_prepare(const struct relative_cache *cache, const real *table,
                            const real *weight, real *scratch);

/* Infer mode: appends the steps of k, v [B, T, H h] and attends from q to the newest `window` of
 * them at each step. Equals op_attention_relative with that window over the whole sequence, however
 * it is cut into calls. Not an op: no way back. Only q, k, v, u, w of `attention` are read. */
struct tensor *attention_relative_append(struct tape *tape,
                                         const struct attention_relative *attention,
                                         const struct relative_cache *cache);

#endif
