/* Vector kernels, compiled once a level of instruction set and chosen at start.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Files in model/ops/kernels/ are compiled with -DKERNEL_LEVEL=base|v3|v4 (x86-64; elsewhere base
 * only) and fill one table each. kernels() returns the best one that this processor runs, or the
 * one that FORECASTD_KERNEL=base|v3|v4 names (an unknown or unsupported name is ignored). All
 * kernels are pure, deterministic and thread safe; levels agree within a few units in the last
 * place.
 */
#ifndef MODEL_OPS_KERNELS_H
#define MODEL_OPS_KERNELS_H

#include "model/tape/tensor.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* One head of one series, rows `step` reals apart (attention.c). */
struct attention_head {
    size_t length, width; /* T, h */
    size_t keys;          /* dense, not causal: how many keys there are; 0 = T */
    const real *q, *k, *v;
    size_t qk_step, v_step;
    size_t k_step;       /* of k and d_k where it is not qk_step, else 0 */
    real *out, *log_sum; /* [T, h] (step v_step), [T]; -INFINITY where a query sees nothing */
    real scale;
    bool causal;
    const real *bias; /* by distance: bias[i - j], -INFINITY = not seen; NULL = none; causal only */
    const uint8_t *valid;    /* [T] or NULL */
    const uint32_t *offsets; /* sparse only: ascending */
    size_t offset_count;
    bool both_ways; /* sparse only: the keys ahead at the same offsets too; the first is 0 */
    const real *offset_bias; /* sparse only: [offset_count] or NULL */
    real *scratch;           /* attention_*_scratch reals */
    /* backward only */
    bool joint; /* other keys belong to the softmax too: log_sum and out are those of all */
    const real *d_out;
    real *d_q, *d_k, *d_v; /* steps as above; added to */
    real *d_bias;          /* [T] by distance, or [offset_count]; added to; NULL = not wanted */
};

/* Scores of some queries against keys: each query sees a prefix of the keys (attention_block.c). */
struct score_rows {
    size_t rows, step;   /* step: of scores and slopes, whole vectors */
    size_t seen, growth; /* row r sees keys 0 .. seen + r * growth - 1 */
    const real *bias;    /* [biased] added to the first keys, or NULL */
    size_t biased;
    real *scores;  /* in: scores; out: probabilities, zeros behind what is seen */
    real *log_sum; /* [rows] */
    /* backward only */
    real *slopes;            /* in: dO V^T; out: the scores' gradients */
    const real *d_out, *out; /* [rows, width] of step out_step */
    size_t width, out_step;
};

/* One head of one series with a soft span, rows `step` reals apart (attention_span.c). */
struct attention_span_head {
    size_t length, width; /* T, h */
    const real *q, *k, *v;
    size_t qk_step, v_step;
    real *out, *log_sum; /* [T, h] (step v_step), [T] */
    real scale;
    size_t nearest;    /* distance of the nearest key: 0 the step itself, 1 the one before */
    size_t span;       /* S: not more keys than these */
    real ramp;         /* R */
    const real *reach; /* R + z S of each query, `reach_step` apart (0: the same for all) */
    size_t reach_step;
    const real *positions; /* [S, h], added to the key at each distance, or NULL */
    bool untrimmed;        /* touches keys of weight 0 too */
    real *scratch;         /* attention_span_scratch reals */
    /* backward only; added to */
    const real *d_out;
    real *d_q, *d_k, *d_v;
    real *d_reach;     /* step as above */
    real *d_positions; /* NULL = not wanted */
};

/* How often a query has a key in all rounds of the published form: chunk and bucket by [round, T].
 */
struct lsh_counts {
    size_t rounds, length, chunks;
    const uint32_t *chunk;
    const uint16_t *bucket; /* only entries of the query's bucket count; NULL: all of them */
};

#define LSH_LANES_MAX 16

/* One round of hashing of one head: queries as rows [count, h'], rotation [half, h]. */
struct lsh_hash {
    size_t count, width, padded, half; /* width: h, padded: h' */
    const real *q, *rotation;
    real *scratch;
};

#define LSH_TILE 64 /* entries that are gathered at once */

/* One list of hashed attention, of one head of one series (lsh.c): entries that ask, and keys, both
 * by their position. Rows by position are [T, h'], h' the head's width in whole vectors with zeros
 * behind it. An entry sees the keys of its range that are more than `near` steps earlier (any but
 * its own position where not masked). */
struct lsh_list {
    size_t width, entries;                     /* h'; how many ask */
    const uint32_t *query;                     /* [entries] positions */
    const uint32_t *from, *to;                 /* [entries] keys from .. to - 1; ascending */
    const uint32_t *key;                       /* positions */
    const uint32_t *query_bucket, *key_bucket; /* must be equal; NULL: need not */
    const struct lsh_counts *counts; /* scores are less by their log; NULL: they are not */
    size_t near;
    bool masked;
    real bias;        /* added to every score */
    size_t tile_keys; /* at least the keys from the first to the last of any LSH_TILE entries */
    const real *q, *k, *v; /* queries carry the scale */
    real *scratch;         /* lsh_scratch reals */
    /* forward: sums so far, relative to e^top; top begins at -infinity, the others at zero */
    real *out, *top, *sum;
    /* backward: d[T] = d_out . out; the last three are added to, d_q without the scale */
    const real *d_out, *log_sum, *d;
    real *d_q, *d_k, *d_v;
};

/* One head of one series of relative attention (attention_relative.c): queries are the last of the
 * keys. Rows of h' = h rounded up to relative_lanes() have zeros behind h; packed arrays are what
 * relative_pack makes. */
struct relative_head {
    size_t queries, keys, width; /* T, K = M + T, h */
    size_t farthest, line_count; /* line n is distance farthest - n */
    size_t first_key;            /* keys before it are seen by nobody */
    size_t window;               /* |D| <= window - 1, 0 = no bound; farthest reaches that far */
    bool causal;
    real scale;
    const real *q; /* [T, h] */
    size_t q_step;
    const real *content_bias, *position_bias;        /* [h] */
    const real *keys_packed, *values, *lines_packed; /* K rows; [K, h']; line_count rows */
    const uint8_t *valid;                            /* [K] or NULL */
    real *out;                                       /* [T, h] */
    size_t out_step;
    real *log_sum; /* [T]; NULL = not wanted */
    real *scratch; /* relative_scratch(h) reals */
    /* backward only */
    const real *values_packed, *key_rows, *line_rows; /* K rows; [K, h']; [line_count, h'] */
    const real *d_out;
    real *d_q;                              /* step as q; added to, like all of these */
    real *d_keys, *d_values, *d_lines;      /* [K, h'], [K, h'], [line_count, h'] */
    real *d_content_bias, *d_position_bias; /* [h] */
};

/* A convolution a channel over one series (convolution.c): y[t, c] = sum_j w[j, c] x[t + j, c], or
 * with weights of its own at each step and group of channels, w[t, g, j]. */
struct channel_convolution {
    size_t length, width, taps; /* T, C, K */
    size_t groups;              /* of channels, G; weights a step only */
    const real *x;              /* [T + K - 1, C]: padded in time */
    const real *w;              /* [K, C] or [T, G, K] */
    real *y;                    /* [T, C]; forward only */
    /* backward only; all but d_y are added to */
    const real *d_y; /* [T, C] */
    real *d_x;       /* [T + K - 1, C]; weights a step only */
    real *d_w;       /* as w */
};

struct adamw {
    real rate, decay, beta1, beta2, epsilon;
    real correction1, correction2; /* 1 - beta^t */
    real gradient_scale;           /* from clipping */
    real average_decay;
};

/* Groups of `width` values, each divided by its root mean square and times a gain (head_norm.c). */
struct head_norm {
    size_t groups, width;
    const real *gain; /* [gains]; group g takes gain[g % gains] */
    size_t gains;
    real epsilon; /* added to the mean of squares */
};

struct kernels {
    const char *level;

    /* y_i = f(x_i); dx_i = beta dx_i + dy_i f'(x_i). beta is 0 or 1; with 0 dx is not read. */
    void (*exp)(size_t n, const real *x, real *y);
    void (*gelu)(size_t n, const real *x, real *y);
    void (*gelu_back)(size_t n, const real *x, const real *dy, real beta, real *dx);
    void (*sigmoid)(size_t n, const real *x, real *y);

    /* y = a + b; y += factor * x; y_i = kept_i * factor * x_i, with kept_i = draw_i >= threshold,
     * and its way back dx_i += kept_i * factor * dy_i. */
    void (*add)(size_t n, const real *a, const real *b, real *y);
    void (*add_scaled)(size_t n, real factor, const real *x, real *y);
    void (*drop)(size_t n, const uint16_t *draw, uint16_t threshold, real factor, const real *x,
                 real *y, uint8_t *kept);
    void (*drop_back)(size_t n, const uint8_t *kept, real factor, const real *dy, real *dx);

    /* Rows of `width`; mean and 1 / deviation a row are kept for the way back. */
    void (*layer_norm)(size_t rows, size_t width, const real *x, const real *gain,
                       const real *shift, real *y, real *mean, real *inverse);
    void (*layer_norm_back)(size_t rows, size_t width, const real *x, const real *gain,
                            const real *mean, const real *inverse, const real *dy, real beta,
                            real *dx, real *d_gain, real *d_shift);
    void (*softmax)(size_t rows, size_t width, const real *x, real *y);

    /* y[rows, width] += row[width]; sum[width] += column sums of x. */
    void (*add_row)(size_t rows, size_t width, const real *row, real *y);
    void (*column_sums)(size_t rows, size_t width, const real *x, real *sum);

    /* Reals of scratch for one head: `length` queries, `keys` keys. */
    size_t (*attention_scratch)(size_t length, size_t keys, size_t width);
    void (*attention)(const struct attention_head *head);
    void (*attention_back)(const struct attention_head *head);
    size_t (*attention_sparse_scratch)(size_t length, size_t width, size_t offsets);
    void (*attention_sparse)(const struct attention_head *head);
    void (*attention_sparse_back)(const struct attention_head *head);

    /* In place, with scores written up to a whole vector behind what is seen. */
    void (*score_rows)(const struct score_rows *rows);
    void (*score_rows_back)(const struct score_rows *rows);
    size_t (*attention_span_scratch)(size_t length, size_t width, size_t span);
    void (*attention_span)(const struct attention_span_head *head);
    void (*attention_span_back)(const struct attention_span_head *head);
    /* Relative attention. Packed: panels of 2 relative_lanes() rows, channel-major, zeros behind
     * the last row. */
    size_t (*relative_lanes)(void);
    void (*relative_pack)(const real *rows, size_t step, size_t count, size_t width, real *packed);
    size_t (*relative_scratch)(size_t width);
    void (*relative)(const struct relative_head *head);
    void (*relative_back)(const struct relative_head *head);

    /* bucket_t = arg max of [rotation q_t, -rotation q_t]; scratch of 4 LSH_LANES_MAX h' reals. */
    void (*lsh_buckets)(const struct lsh_hash *hash, uint16_t *bucket);
    size_t (*lsh_width)(size_t width); /* h' */
    size_t (*lsh_scratch)(size_t width, size_t tile_keys);
    void (*lsh)(const struct lsh_list *list);
    void (*lsh_back)(const struct lsh_list *list);

    /* d_x of channel_convolution is the same convolution of d_y with the taps reversed. */
    void (*channel_convolution)(const struct channel_convolution *job);
    void (*channel_convolution_back)(const struct channel_convolution *job);
    void (*step_convolution)(const struct channel_convolution *job);
    void (*step_convolution_back)(const struct channel_convolution *job);

    /* Sum over the rows of weight * pinball; gradient times factor is written (beta 0) or added. */
    double (*pinball)(size_t rows, size_t levels, const real *forecast, const real *target,
                      const real *weight, const real *level);
    void (*pinball_back)(size_t rows, size_t levels, const real *forecast, const real *target,
                         const real *weight, const real *level, real factor, real beta,
                         real *d_forecast);

    /* Linear attention, rows of `features` values. Largest of each row; x = e^(x - shift of the
     * row)
     * + floor, and back from phi = that x: slope = slope (phi - floor) in place with its sums a
     * row; x = max(x, 0) + floor, and back: slope = 0 where phi is the floor. */
    void (*feature_tops)(size_t rows, size_t features, const real *x, real *tops);
    void (*feature_exp)(size_t rows, size_t features, const real *shift, real floor, real *x);
    void (*feature_relu)(size_t n, real floor, real *x);
    void (*feature_exp_back)(size_t rows, size_t features, real floor, const real *phi, real *slope,
                             real *sums);
    void (*feature_relu_back)(size_t n, real floor, const real *phi, real *slope);
    /* scores[rows, rows] at (t, s): times e^(tops[s] - tops[t]) for s <= t, zero for s > t; tops
     * never fall; NULL: all the same. */
    void (*running_mask)(size_t rows, const real *tops, real *scores);

    /* The way back adds to dx and d_gain. */
    void (*head_norm)(const struct head_norm *norm, const real *x, real *y);
    void (*head_norm_back)(const struct head_norm *norm, const real *x, const real *dy, real *dx,
                           real *d_gain);

    /* One AdamW step: w -= rate * decay * w, then w -= rate * (m / correction1) / (sqrt(v /
     * correction2) + epsilon), with m, v updated from gradient_scale * g first. average (may be
     * NULL): the weights' running mean, average += (1 - average_decay) * (w - average). */
    void (*adamw)(size_t n, const struct adamw *step, real *w, const real *g, real *m, real *v,
                  real *average);
    /* Sum of squares in double. */
    double (*squares)(size_t n, const real *x);
};

/* The table of this processor; chosen once. Any thread. */
const struct kernels *kernels(void);

/* Every level that this processor can run, for tests: NULL beyond the last. */
const struct kernels *kernels_level(size_t index);

#endif
