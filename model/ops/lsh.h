/* What the files of hashed attention share: what is kept, and the lists that the kernels run over.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef MODEL_OPS_LSH_H
#define MODEL_OPS_LSH_H

#include "model/ops/kernels.h"
#include "model/ops/ops.h"

#define LSH_BUCKETS_MAX 65536

/* What the ops keep for their way back. */
struct lsh_kept {
    struct lsh lsh;
    bool causal;
    size_t length, width; /* T, h */
    uint16_t *buckets;    /* [B, H, rounds, T] */
    real *log_sum;        /* [B, H, T]; infinity where the query sees only itself */
};

/* The buckets [rounds, count] of one head's queries, given as rows->q [count, h'] (not scaled),
 * with count, width and padded; rows->scratch of lsh_hash_scratch reals. */
size_t lsh_hash_scratch(const struct lsh *lsh, size_t width);
void lsh_hash_head(const struct lsh *lsh, size_t head, const struct lsh_hash *rows,
                   uint16_t *bucket);

/* 1 / the norm that a key is divided by. */
real lsh_inverse_norm(const struct lsh *lsh, const real *q, size_t width);
real lsh_scale(const struct lsh *lsh, size_t width);

/* Causal: the local list and one a round. Chunked: one for all rounds. */
size_t lsh_list_count(const struct lsh_kept *kept);

/* Memory for one list after the other, in 32-bit words. */
size_t lsh_list_words(const struct lsh_kept *kept);

/* A bound of the keys in a tile, for all lists. */
size_t lsh_list_tile_keys(const struct lsh_kept *kept);

/* Fills the list's entries, keys and rules from one head's buckets [rounds, T]; `counts` too where
 * the list points at it. Both, and the words, live as long as the list is used. */
void lsh_list_make(const struct lsh_kept *kept, const uint16_t *buckets, size_t number,
                   uint32_t *words, struct lsh_counts *counts, struct lsh_list *list);

#endif
