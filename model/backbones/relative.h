/* What backbones with relative attention share: a table of distances, and a state of packed keys.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef MODEL_BACKBONES_RELATIVE_H
#define MODEL_BACKBONES_RELATIVE_H

#include "model/backbones/stack.h"
#include "model/ops/attention_relative.h"

/* Sinusoids of a distance D, f_n = 10000^(-2n/width): all sin(D f_n), then all cos(D f_n); or sine
 * and cosine of each n side by side. */
enum relative_order { RELATIVE_SINES_FIRST, RELATIVE_INTERLEAVED };

struct relative_table {
    size_t width, rows;
    size_t row_zero; /* of distance 0 */
    real *values;    /* [rows, width] */
};

/* Fills in the values of a table whose sizes are set. STATUS_NO_MEMORY; STATUS_INVALID where the
 * width is odd. */
enum status relative_table_init(struct relative_table *table, enum relative_order order,
                                struct error *error) MUST_USE;
void relative_table_release(struct relative_table *table); /* harmless on a zeroed struct */

/* `count` rows from `from` on as a constant [count, width], which stays in the table. */
struct tensor *relative_table_rows(const struct relative_table *table, struct tape *tape,
                                   size_t from, size_t count);

/* ---------------------------------------------------------------- state */

/* The start of the caller's memory: this, then a cache a layer, then the kernel's scratch, then
 * room to project the distances in. What the backbone needs besides may follow. */
struct relative_state {
    struct backbone_state common;
    bool prepared;           /* the distances are projected */
    size_t used[LAYERS_MAX]; /* cells of each cache */
};

struct relative_sizes {
    const struct relative_table *table; /* row_zero 0 */
    size_t layers, heads;
    size_t all;    /* H h */
    size_t window; /* keys that a query sees, itself among them */
};

size_t relative_state_bytes(const struct relative_sizes *sizes, size_t batch); /* of 64 each */

/* Layer i's cache. */
struct relative_cache relative_state_cache(const struct relative_sizes *sizes,
                                           struct relative_state *state, size_t i);

/* Once after a reset: projects and packs the distances; weights[i] is the parameter W_r [H h, D] of
 * layer i. */
void relative_state_prepare(const struct relative_sizes *sizes, struct tape *tape,
                            struct relative_state *state, const size_t *weights);

#endif
