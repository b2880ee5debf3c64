/* What backbones with relative attention share: a table of distances, and a state of packed keys.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "model/backbones/relative.h"

#include "base/memory.h"

#include <math.h>
#include <string.h>

/* ---------------------------------------------------------------- distances */

enum status relative_table_init(struct relative_table *table, enum relative_order order,
                                struct error *error)
{
    size_t width = table->width;
    size_t pairs = width / 2;
    if (width % 2 != 0) {
        (void)error_set(error, STATUS_INVALID, "cannot make sines and cosines of width %zu", width);
        (void)error_hint(error, "Choose an even width.");
        return error_code(error, "bad_value", "width");
    }
    table->values = mem_zeroed(table->rows * width, sizeof(real));
    if (table->values == NULL) {
        return error_set(error, STATUS_NO_MEMORY, "could not make the table of distances");
    }
    bool apart = order == RELATIVE_SINES_FIRST;
    for (size_t n = 0; n < pairs; n++) {
        double frequency = pow(10000.0, -2.0 * (double)n / (double)width);
        real *sine = table->values + (apart ? n : 2 * n);
        real *cosine = table->values + (apart ? pairs + n : 2 * n + 1);
        for (size_t row = 0; row < table->rows; row++) {
            double distance = (double)row - (double)table->row_zero;
            sine[row * width] = (real)sin(distance * frequency);
            cosine[row * width] = (real)cos(distance * frequency);
        }
    }
    return STATUS_OK;
}

void relative_table_release(struct relative_table *table)
{
    mem_free(table->values);
    table->values = NULL;
}

struct tensor *relative_table_rows(const struct relative_table *table, struct tape *tape,
                                   size_t from, size_t count)
{
    struct tensor *rows = tape_struct(tape, sizeof(*rows));
    *rows =
        (struct tensor){.shape = {count, table->width, 1, 1},
                        .axes = 2,
                        .data = tape_computes(tape) ? table->values + from * table->width : NULL,
                        .grad_place = SIZE_MAX};
    return rows;
}

/* ---------------------------------------------------------------- state */

static size_t round_cache(size_t reals)
{
    return (reals + 15) / 16 * 16;
}

static struct relative_cache cache_shape(const struct relative_sizes *sizes, size_t batch)
{
    size_t rows = sizes->table->rows;
    return (struct relative_cache){
        .batch = batch,
        .heads = sizes->heads,
        .all = sizes->all,
        .inputs = sizes->table->width,
        .window = sizes->window,
        .rows = rows < sizes->window ? rows : sizes->window,
        .capacity = relative_cache_capacity(sizes->window),
    };
}

size_t relative_state_bytes(const struct relative_sizes *sizes, size_t batch)
{
    struct relative_cache cache = cache_shape(sizes, batch);
    size_t width = cache.all / cache.heads;
    size_t reals = sizes->layers * round_cache(relative_cache_size(&cache)) +
                   round_cache(kernels()->relative_scratch(width)) +
                   round_cache(cache.rows * cache.all + cache.window * width);
    return sizeof(struct relative_state) + reals * sizeof(real);
}

struct relative_cache relative_state_cache(const struct relative_sizes *sizes,
                                           struct relative_state *state, size_t i)
{
    struct relative_cache cache = cache_shape(sizes, state->common.batch);
    size_t size = round_cache(relative_cache_size(&cache));
    real *first = (real *)(void *)(state + 1);
    cache.memory = first + i * size;
    cache.scratch = first + sizes->layers * size;
    cache.used = &state->used[i];
    return cache;
}

void relative_state_prepare(const struct relative_sizes *sizes, struct tape *tape,
                            struct relative_state *state, const size_t *weights)
{
    for (size_t i = 0; i < sizes->layers && !state->prepared; i++) {
        struct relative_cache cache = relative_state_cache(sizes, state, i);
        size_t width = cache.all / cache.heads;
        real *scratch = cache.scratch + round_cache(kernels()->relative_scratch(width));
        relative_cache_prepare(&cache, sizes->table->values, tape_param(tape, weights[i])->data,
                               scratch);
    }
    state->prepared = true;
}
