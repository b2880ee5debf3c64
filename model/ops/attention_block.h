/* What the two forms of block attention share: whole windows, and step by step.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef MODEL_OPS_ATTENTION_BLOCK_H
#define MODEL_OPS_ATTENTION_BLOCK_H

#include "model/ops/ops.h"

/* Queries in one product at most: scores stay in the cache, whatever a block's length. */
#define TILE_ROWS ((size_t)64)

/* The nodes that queries of one block see, a range a level. */
struct block_ranges {
    struct {
        size_t first, count;
    } levels[TIME_LEVELS_MAX];
    size_t nodes; /* in all */
};

void block_ranges_of(const struct block_attention *attention, size_t block,
                     struct block_ranges *ranges);

/* Keys that one block's queries see at most, own steps included, rounded up to whole vectors. */
size_t block_keys_max(const struct block_attention *attention, const struct time_summaries *levels,
                      size_t summary);

/* One head of one series: where keys and values lie. With `d_` pointers the way back adds there. */
struct block_head {
    const struct block_attention *attention;
    size_t width;                       /* h */
    size_t summary;                     /* k: rows of a node */
    size_t level_rows[TIME_LEVELS_MAX]; /* where each level begins among the summaries, in rows */
    const real *keys, *values, *summary_keys, *summary_values;
    size_t key_step, value_step, summary_step;
    const real *bias; /* [slots] or NULL */
    real *d_keys, *d_values, *d_summary_keys, *d_summary_values, *d_bias;
};

/* Fills summary and level_rows. */
void block_head_levels(struct block_head *head, const struct time_summaries *shape, size_t summary);

/* Keys and values of a block, side by side in scratch: summaries first, then own steps. */
struct block_keys {
    size_t summaries, count;
    real *keys, *values; /* [count, h] */
    real *bias;          /* [summaries], or NULL */
};

/* `own`: steps from `first` on, as rows of head->keys. */
void block_gather(const struct block_head *head, const struct block_ranges *ranges, size_t first,
                  size_t own, struct block_keys *keys);

/* Some queries of one block against the first `seen` keys (one more a row where growth is 1). */
struct block_tile {
    size_t rows, seen, growth, width, step;
    const real *q;
    size_t q_step;
    real scale;
    real *scores; /* [rows, step] */
    real *log_sum, *out;
    size_t out_step;
};

void block_tile_forward(const struct block_tile *tile, const struct block_keys *keys);

#endif
