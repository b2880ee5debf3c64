/* Buckets of hashed attention: random projections of queries, and the largest of them.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Projections are compared as they are made and never stored. A vector holds neighbouring tokens,
 * and a token's bucket does not depend on which others are hashed with it.
 */
#include "model/ops/kernels/level.h"
#include "model/ops/kernels/lsh_block.h"

/* The best of the projections so far, a vector of tokens. */
struct best {
    vector value, size; /* the projection, and its absolute value */
    mask at;
};

INLINE void keep_better(struct best *best, vector x, size_t c)
{
    vector size = larger(x, -x);
    mask wins = size > best->size;
    best->size = choose(wins, size, best->size);
    best->value = choose(wins, x, best->value);
    best->at = (wins & (whole)c) | (~wins & best->at);
}

/* Columns c .. c + count - 1 of a pair of token vectors in channel-major order. */
INLINE void project(const real *columns, const real *rotation, size_t width, size_t c, size_t count,
                    struct best best[2])
{
    vector low[BLOCK] = {0};
    vector high[BLOCK] = {0};
    for (size_t i = 0; i < width; i++) {
        vector x = load(columns + i * PAIR);
        vector y = load(columns + i * PAIR + LANES);
        for (size_t r = 0; r < count; r++) {
            low[r] += rotation[(c + r) * width + i] * x;
            high[r] += rotation[(c + r) * width + i] * y;
        }
    }
    for (size_t r = 0; r < count; r++) {
        keep_better(&best[0], low[r], c + r);
        keep_better(&best[1], high[r], c + r);
    }
}

void KERNEL(kernel_lsh_buckets)(const struct lsh_hash *hash, uint16_t *bucket)
{
    real *columns = hash->scratch; /* [h', PAIR] of a pair of token vectors, then their rows */
    real *rows = columns + PAIR * hash->padded;
    for (size_t t = 0; t < hash->count; t += PAIR) {
        size_t count = hash->count - t < PAIR ? hash->count - t : PAIR;
        memcpy(rows, hash->q + t * hash->padded, count * hash->padded * sizeof(real));
        memset(rows + count * hash->padded, 0, (PAIR - count) * hash->padded * sizeof(real));
        turn_rows(rows, hash->padded, PAIR, PAIR, columns);
        const struct best none = {.size = all(-1)};
        struct best best[2] = {none, none};
        size_t c = 0;
        for (; c + BLOCK <= hash->half; c += BLOCK) {
            project(columns, hash->rotation, hash->width, c, BLOCK, best);
        }
        for (; c < hash->half; c++) {
            project(columns, hash->rotation, hash->width, c, 1, best);
        }
        for (size_t i = 0; i < count; i++) {
            size_t at = (size_t)best[i / LANES].at[i % LANES];
            bool turned = best[i / LANES].value[i % LANES] < 0;
            bucket[t + i] = (uint16_t)(turned ? at + hash->half : at);
        }
    }
}
