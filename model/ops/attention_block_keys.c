/* Block attention: which summaries a block sees, and its keys gathered side by side.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "model/ops/attention_block.h"
#include "model/ops/kernels.h"
#include "model/tape/blas.h"

#include "base/check.h"

#include <string.h>

#define VECTOR_MAX ((size_t)16)

void block_ranges_of(const struct block_attention *attention, size_t block,
                     struct block_ranges *ranges)
{
    *ranges = (struct block_ranges){.nodes = 0};
    size_t group = attention->group;
    size_t there = attention->previous && block > 0 ? block - 1 : block; /* complete, not exact */
    for (size_t level = 0; there > 0; level++) {
        CHECK(level < TIME_LEVELS_MAX);
        size_t first = group > 0 && there >= 2 * group ? (there / group - 1) * group : 0;
        ranges->levels[level].first = first;
        ranges->levels[level].count = there - first;
        ranges->nodes += there - first;
        there = group > 0 ? first / group : 0;
    }
}

/* Nodes of each level that some query of the length sees. */
void block_attention_levels(const struct block_attention *attention, size_t length,
                            struct time_summaries *shape)
{
    struct block_ranges ranges;
    block_ranges_of(attention, (length - 1) / attention->block, &ranges);
    shape->block = attention->block;
    shape->group = attention->group;
    for (size_t level = 0; level < TIME_LEVELS_MAX; level++) {
        shape->counts[level] = ranges.levels[level].first + ranges.levels[level].count;
    }
}

size_t block_attention_slots(const struct block_attention *attention, size_t length)
{
    struct time_summaries shape = {0};
    block_attention_levels(attention, length, &shape);
    size_t levels = 0;
    while (levels < TIME_LEVELS_MAX && shape.counts[levels] > 0) {
        levels++;
    }
    return attention->group > 0 ? levels * 2 * attention->group : shape.counts[0];
}

size_t block_keys_max(const struct block_attention *attention, const struct time_summaries *levels,
                      size_t summary)
{
    size_t nodes = 0;
    for (size_t level = 0; level < TIME_LEVELS_MAX; level++) {
        size_t most = attention->group > 0 ? 2 * attention->group : levels->counts[level];
        nodes += levels->counts[level] < most ? levels->counts[level] : most;
    }
    size_t keys = nodes * summary + attention->block * (attention->previous ? 2 : 1);
    return (keys + VECTOR_MAX - 1) / VECTOR_MAX * VECTOR_MAX;
}

void block_head_levels(struct block_head *head, const struct time_summaries *shape, size_t summary)
{
    size_t rows = 0;
    head->summary = summary;
    for (size_t level = 0; level < TIME_LEVELS_MAX; level++) {
        head->level_rows[level] = rows;
        rows += shape->counts[level] * summary;
    }
}

static void copy_rows(const real *from, size_t step, size_t rows, size_t width, real *to)
{
    for (size_t i = 0; i < rows; i++) {
        memcpy(to + i * width, from + i * step, width * sizeof(real));
    }
}

void block_gather(const struct block_head *head, const struct block_ranges *ranges, size_t first,
                  size_t own, struct block_keys *keys)
{
    size_t width = head->width;
    size_t done = 0;
    for (size_t level = 0; level < TIME_LEVELS_MAX; level++) {
        size_t nodes = ranges->levels[level].count;
        size_t from = head->level_rows[level] + ranges->levels[level].first * head->summary;
        size_t rows = nodes * head->summary;
        copy_rows(head->summary_keys + from * head->summary_step, head->summary_step, rows, width,
                  keys->keys + done * width);
        copy_rows(head->summary_values + from * head->summary_step, head->summary_step, rows, width,
                  keys->values + done * width);
        size_t slots = 2 * head->attention->group * level;
        for (size_t i = 0; head->bias != NULL && i < rows; i++) {
            keys->bias[done + i] = head->bias[slots + nodes - 1 - i / head->summary];
        }
        done += rows;
    }
    copy_rows(head->keys + first * head->key_step, head->key_step, own, width,
              keys->keys + done * width);
    copy_rows(head->values + first * head->value_step, head->value_step, own, width,
              keys->values + done * width);
    keys->summaries = done;
    keys->count = done + own;
    if (head->bias == NULL) {
        keys->bias = NULL;
    }
}

void block_tile_forward(const struct block_tile *tile, const struct block_keys *keys)
{
    size_t width = tile->width;
    size_t seen = tile->seen + (tile->rows - 1) * tile->growth; /* by the last row */
    struct matrix q = {tile->q, tile->q_step, BLAS_PLAIN};
    /* (1) S[rows, seen] = scale Q K^T, P = softmax(S + bias) */
    blas_product(tile->rows, seen, width, tile->scale, q,
                 (struct matrix){keys->keys, width, BLAS_TRANSPOSED}, 0, tile->scores, tile->step);
    kernels()->score_rows(&(struct score_rows){
        .rows = tile->rows,
        .step = tile->step,
        .seen = tile->seen,
        .growth = tile->growth,
        .bias = keys->bias,
        .biased = keys->summaries,
        .scores = tile->scores,
        .log_sum = tile->log_sum,
    });
    /* (2) O = P V */
    blas_product(tile->rows, width, seen, 1, (struct matrix){tile->scores, tile->step, BLAS_PLAIN},
                 (struct matrix){keys->values, width, BLAS_PLAIN}, 0, tile->out, tile->out_step);
}
