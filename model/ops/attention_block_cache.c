/* Block attention step by step: steps of the current block, and summaries of those that are
 * complete. SPDX-License-Identifier: Apache-2.0
 */
#include "model/ops/attention_block.h"
#include "model/tape/blas.h"

#include "base/check.h"

#include <math.h>
#include <string.h>

/* Steps of the ring that lie before the current block: its predecessor's. */
static size_t steps_before(const struct block_attention *attention, const struct block_cache *cache)
{
    bool before = attention->previous && cache->length >= attention->block;
    return before ? attention->block : 0;
}

static size_t summary_rows(const struct block_cache *cache)
{
    return cache->w[0] != NULL ? cache->w[0]->shape[cache->w[0]->axes - 2] : 0;
}

static struct block_head head_of(const struct block_attention *attention,
                                 const struct block_cache *cache, const struct block_inputs *in,
                                 size_t b, size_t h)
{
    size_t all = attention->width;
    size_t width = all / attention->heads;
    size_t kept = attention->block * (attention->previous ? 2 : 1);
    size_t own = b * kept * all + h * width;
    struct block_head head = {
        .attention = attention,
        .width = width,
        .keys = cache->keys + own,
        .values = cache->values + own,
        .key_step = all,
        .value_step = all,
        .summary_step = all,
        .bias = in->bias != NULL ? in->bias->data + h * tensor_width(in->bias) : NULL,
    };
    block_head_levels(&head, &cache->shape, summary_rows(cache));
    size_t nodes = time_summaries_nodes(&cache->shape);
    size_t at = b * nodes * head.summary * all + h * width;
    head.summary_keys = cache->summary_keys + at;
    head.summary_values = cache->summary_values + at;
    return head;
}

/* Node n of a level = weights times the rows that it is made of, for all series. */
static void summarise(const struct block_attention *attention, struct block_cache *cache,
                      size_t level, size_t n)
{
    size_t all = attention->width;
    struct block_head place = {.attention = attention};
    size_t k = summary_rows(cache);
    block_head_levels(&place, &cache->shape, k);
    size_t kept = attention->block * (attention->previous ? 2 : 1);
    size_t nodes = time_summaries_nodes(&cache->shape);
    for (size_t b = 0; b < cache->batch; b++) {
        for (size_t i = 0; i < 2; i++) { /* keys, values */
            const struct tensor *w = level == 0 ? cache->w[i] : cache->up[i];
            size_t rows = tensor_width(w);
            size_t heads = w->axes == 3 ? w->shape[0] : 1;
            size_t width = all / heads;
            real *summaries =
                (i == 0 ? cache->summary_keys : cache->summary_values) + b * nodes * k * all;
            const real *steps = (i == 0 ? cache->keys : cache->values) +
                                (b * kept + steps_before(attention, cache)) * all;
            const real *from = steps;
            if (level > 0) {
                from = summaries + (place.level_rows[level - 1] + n * rows) * all;
            }
            real *to = summaries + (place.level_rows[level] + n * k) * all;
            for (size_t h = 0; h < heads; h++) {
                blas_product(
                    k, width, rows, 1, (struct matrix){w->data + h * k * rows, rows, BLAS_PLAIN},
                    (struct matrix){from + h * width, all, BLAS_PLAIN}, 0, to + h * width, all);
            }
        }
    }
}

/* The current block is complete: its summary, those of the levels above, and room for the next. */
static void close_block(const struct block_attention *attention, struct block_cache *cache)
{
    size_t n = cache->length / attention->block;
    for (size_t level = 0; level < TIME_LEVELS_MAX && n < cache->shape.counts[level]; level++) {
        summarise(attention, cache, level, n);
        if (attention->group == 0 || (n + 1) % attention->group != 0) {
            break;
        }
        n /= attention->group;
    }
    if (attention->previous && cache->length >= attention->block) {
        size_t size = attention->block * attention->width;
        for (size_t b = 0; b < cache->batch; b++) {
            memcpy(cache->keys + 2 * b * size, cache->keys + (2 * b + 1) * size,
                   size * sizeof(real));
            memcpy(cache->values + 2 * b * size, cache->values + (2 * b + 1) * size,
                   size * sizeof(real));
        }
    }
}

/* Steps `from` .. `from + count - 1` of the call: all in one block. */
static void join(const struct block_inputs *in, const struct block_attention *attention,
                 struct block_cache *cache, size_t from, size_t count)
{
    size_t all = attention->width;
    size_t steps = in->qk->shape[1];
    size_t kept = attention->block * (attention->previous ? 2 : 1);
    size_t place = steps_before(attention, cache) + cache->length % attention->block;
    for (size_t b = 0; b < cache->batch; b++) {
        for (size_t t = 0; t < count; t++) {
            size_t row = b * steps + from + t;
            size_t to = (b * kept + place + t) * all;
            memcpy(cache->keys + to, in->qk->data + row * 2 * all + all, all * sizeof(real));
            memcpy(cache->values + to, in->v->data + row * all, all * sizeof(real));
        }
    }
}

/* Attends from these steps, in tiles. `room`: keys, values, bias and scores for `keys_max` keys. */
static void attend(const struct block_inputs *in, const struct block_attention *attention,
                   const struct block_cache *cache, const struct block_tile *whole,
                   struct block_keys room)
{
    struct block_ranges ranges;
    block_ranges_of(attention, cache->length / attention->block, &ranges);
    size_t all = attention->width;
    size_t before = steps_before(attention, cache) + cache->length % attention->block;
    size_t steps = in->qk->shape[1];
    for (size_t i = 0; i < cache->batch * attention->heads; i++) {
        size_t b = i / attention->heads;
        size_t h = i % attention->heads;
        struct block_keys keys = room;
        struct block_head head = head_of(attention, cache, in, b, h);
        block_gather(&head, &ranges, 0, before + whole->rows, &keys);
        for (size_t done = 0; done < whole->rows; done += TILE_ROWS) {
            struct block_tile tile = *whole;
            size_t left = whole->rows - done;
            tile.rows = left < TILE_ROWS ? left : TILE_ROWS;
            tile.seen = keys.summaries + before + done + 1;
            tile.q = whole->q + (b * steps + done) * 2 * all + h * head.width;
            tile.out = whole->out + (b * steps + done) * all + h * head.width;
            block_tile_forward(&tile, &keys);
        }
    }
}

struct tensor *attention_block_append(struct tape *tape, const struct block_inputs *in,
                                      const struct block_attention *attention,
                                      struct block_cache *cache)
{
    CHECK(tape->mode == TAPE_INFER);
    CHECK(attention->block > 0 && tensor_width(in->qk) == 2 * attention->width);
    size_t steps = in->qk->shape[1];
    size_t all = attention->width;
    size_t width = all / attention->heads;
    size_t keys_max = block_keys_max(attention, &cache->shape, summary_rows(cache));
    struct tensor *out = tape_tensor(tape, (size_t[]){in->qk->shape[0], steps, all, 0});
    size_t mark = tape_scratch_begin(tape);
    real *scratch = tape_bytes(
        tape, (2 * keys_max * width + (TILE_ROWS + 1) * keys_max + TILE_ROWS) * sizeof(real));
    for (size_t t = 0; tape_computes(tape) && t < steps;) {
        size_t left = attention->block - cache->length % attention->block;
        size_t count = steps - t < left ? steps - t : left;
        struct block_keys room = {.keys = scratch, .values = scratch + keys_max * width};
        room.bias = scratch + 2 * keys_max * width;
        struct block_tile tile = {
            .rows = count,
            .growth = 1,
            .width = width,
            .step = keys_max,
            .q = in->qk->data + t * 2 * all,
            .q_step = 2 * all,
            .scale = (real)(1 / sqrt((double)width)),
            .scores = room.bias + keys_max,
            .log_sum = room.bias + (TILE_ROWS + 1) * keys_max,
            .out = out->data + t * all,
            .out_step = all,
        };
        join(in, attention, cache, t, count);
        attend(in, attention, cache, &tile, room);
        if (count == left) {
            close_block(attention, cache);
        }
        cache->length += count;
        t += count;
    }
    tape_scratch_end(tape, mark);
    return out;
}
