/* Decoding with relative attention: keys stay packed, the distances' rows are projected once.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Each head of each series has a strip of `capacity` cells. Steps are appended at its end; where it
 * is full, what is still seen moves to its start in whole panels. So a step writes one cell and
 * reads each cell once, in order.
 */
#include "model/ops/attention_relative.h"
#include "model/tape/blas.h"

#include "base/check.h"

#include <math.h>
#include <string.h>

static size_t panel_cells(void)
{
    return 2 * kernels()->relative_lanes();
}

static size_t head_width(const struct relative_cache *cache)
{
    return cache->all / cache->heads;
}

static size_t packed_lines(const struct relative_cache *cache)
{
    return cache->heads * relative_packed_size(cache->window, head_width(cache));
}

static size_t packed_strip(const struct relative_cache *cache)
{
    return cache->capacity * head_width(cache);
}

static size_t value_strip(const struct relative_cache *cache)
{
    return cache->capacity * relative_row_width(head_width(cache));
}

size_t relative_cache_capacity(size_t window)
{
    size_t spare = window / 4 > 64 ? window / 4 : 64;
    size_t panel = panel_cells();
    return (window + spare + panel - 1) / panel * panel + panel;
}

size_t relative_cache_size(const struct relative_cache *cache)
{
    size_t strips = cache->batch * cache->heads;
    return packed_lines(cache) + strips * (packed_strip(cache) + value_strip(cache));
}

void relative_cache_prepare(const struct relative_cache *cache, const real *table,
                            const real *weight, real *scratch)
{
    size_t width = head_width(cache);
    size_t lines = cache->window;
    struct matrix rows = {.data = table, .step = cache->inputs};
    struct matrix w = {.data = weight, .step = cache->inputs, .side = BLAS_TRANSPOSED};
    blas_product(cache->rows, cache->all, cache->inputs, 1, rows, w, 0, scratch, cache->all);
    real *ordered = scratch + cache->rows * cache->all; /* [lines, h] of one head */
    for (size_t h = 0; h < cache->heads; h++) {
        for (size_t n = 0; n < lines; n++) {
            size_t distance = lines - 1 - n;
            size_t row = distance < cache->rows ? distance : cache->rows - 1;
            memcpy(ordered + n * width, scratch + row * cache->all + h * width,
                   width * sizeof(real));
        }
        kernels()->relative_pack(ordered, width, lines, width,
                                 cache->memory + h * relative_packed_size(lines, width));
    }
}

/* Moves the cells from `first` (a panel's start) on to the start of every strip. */
static void move_strips(const struct relative_cache *cache, size_t first, size_t used)
{
    size_t width = head_width(cache);
    size_t padded = relative_row_width(width);
    real *keys = cache->memory + packed_lines(cache);
    real *values = keys + cache->batch * cache->heads * packed_strip(cache);
    size_t panels = (used + panel_cells() - 1) / panel_cells() * panel_cells();
    for (size_t i = 0; i < cache->batch * cache->heads; i++) {
        real *key = keys + i * packed_strip(cache);
        real *value = values + i * value_strip(cache);
        memmove(key, key + first * width, (panels - first) * width * sizeof(real));
        memmove(value, value + first * padded, (used - first) * padded * sizeof(real));
    }
}

/* Writes one step's keys and values of one head into cell `cell` of its strip. */
static void write_cell(const struct relative_cache *cache, size_t cell, const real *key,
                       const real *value, real *keys, real *values)
{
    size_t width = head_width(cache);
    size_t panel = panel_cells();
    real *restrict to = keys + cell / panel * panel * width + cell % panel;
    for (size_t c = 0; c < width; c++) {
        to[c * panel] = key[c];
    }
    memcpy(values + cell * relative_row_width(width), value, width * sizeof(real));
}

/* Steps [from, from + count) of the call, whose cells begin at cell `used`. */
static void run_piece(const struct relative_cache *cache,
                      const struct attention_relative *attention, size_t from, size_t count,
                      struct tensor *out)
{
    size_t width = head_width(cache);
    size_t steps = attention->q->shape[1];
    size_t used = *cache->used;
    size_t before = used + 1 > cache->window ? used + 1 - cache->window : 0;
    size_t first = before / panel_cells() * panel_cells(); /* cells that nobody sees are skipped */
    real *keys = cache->memory + packed_lines(cache);
    real *values = keys + cache->batch * cache->heads * packed_strip(cache);
    for (size_t i = 0; i < cache->batch * cache->heads; i++) {
        size_t h = i % cache->heads;
        size_t at = (i / cache->heads * steps + from) * cache->all + h * width;
        real *key = keys + i * packed_strip(cache);
        real *value = values + i * value_strip(cache);
        for (size_t t = 0; t < count; t++) {
            size_t place = at + t * cache->all;
            write_cell(cache, used + t, attention->k->data + place, attention->v->data + place, key,
                       value);
        }
        struct relative_head head = {
            .queries = count,
            .keys = used + count - first,
            .width = width,
            .farthest = cache->window - 1,
            .line_count = cache->window,
            .window = cache->window,
            .causal = true,
            .scale = (real)(1 / sqrt((double)width)),
            .q = attention->q->data + at,
            .q_step = cache->all,
            .content_bias = attention->u->data + h * width,
            .position_bias = attention->w->data + h * width,
            .keys_packed = key + first * width,
            .values = value + first * relative_row_width(width),
            .lines_packed = cache->memory + h * relative_packed_size(cache->window, width),
            .out = out->data + at,
            .out_step = cache->all,
            .scratch = cache->scratch,
        };
        kernels()->relative(&head);
    }
}

struct tensor *attention_relative_append(struct tape *tape,
                                         const struct attention_relative *attention,
                                         const struct relative_cache *cache)
{
    CHECK(tape->mode == TAPE_INFER);
    CHECK(attention->q->shape[0] == cache->batch && tensor_width(attention->q) == cache->all);
    struct tensor *out = tape_tensor_like(tape, attention->q);
    size_t steps = attention->q->shape[1];
    for (size_t done = 0; tape_computes(tape) && done < steps;) {
        if (*cache->used == cache->capacity) {
            size_t seen = cache->window - 1;
            size_t first = (*cache->used - seen) / panel_cells() * panel_cells();
            move_strips(cache, first, *cache->used);
            *cache->used -= first;
        }
        size_t room = cache->capacity - *cache->used;
        size_t part = steps - done < room ? steps - done : room;
        run_piece(cache, attention, done, part, out);
        *cache->used += part;
        done += part;
    }
    return out;
}
