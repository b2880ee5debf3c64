/* One head of linear attention, chunk by chunk: what its two files share.
 * SPDX-License-Identifier: Apache-2.0
 *
 * With values continued by a one, v' = [v, 1], numerator and denominator of an output are one sum:
 *     n'_t = sum_s phi(q_t) . phi(k_s) v'_s,    y_t = n'_t[0 .. h) / n'_t[h].
 * The sums over the steps so far are S = sum_s v'_s phi(k_s)^T [h + 1, m]. Keys are kept in range
 * by a running maximum: with tops M_t (which never fall) phi(k_s) stands for e^(.. - M_s), and S
 * for the sum with every key at the newest maximum, so that what joins at s counts e^(M_s - M_t) at
 * t: factors are at most 1, nothing overflows, and no output depends on later keys.
 */
#ifndef MODEL_OPS_ATTENTION_LINEAR_H
#define MODEL_OPS_ATTENTION_LINEAR_H

#include "model/ops/ops.h"

#define LINEAR_CHUNK ((size_t)64)

/* Smaller denominators count as this, and as a constant for the gradient. */
#define LINEAR_DENOMINATOR_MIN ((real)1e-30)

/* One head of one series. */
struct linear_head {
    const struct linear_attention *spec;
    size_t width, features; /* h, m */
    real scale;             /* c */
    bool published;         /* the published stabiliser: maxima of W c x alone, over the window */
    const real *q, *k, *v;
    size_t qk_step, v_step;
    real *out;         /* step v_step */
    real *denominator; /* [T], or NULL where nobody asks for it */

    /* Scratch for one chunk of n steps: features [n, m], scores [n, n], rows [n, h + 1]. */
    real *q_features, *k_features, *scores, *values, *numerators;
    real *tops;         /* [n] M_t */
    real *shift, *fade; /* [n] */
    /* for the way back only */
    real *d_q_features, *d_k_features, *slopes, *slope_rows, *value_rows;
    real *carry; /* a state: sums over later queries */
};

/* Features of the chunk's queries; of its keys with their tops, given the maximum before them: true
 * where it stands still (tops are not set by the ReLU map, where it always does). */
void linear_query_features(const struct linear_head *head, size_t first, size_t n);
bool linear_key_features(const struct linear_head *head, size_t first, size_t n, real before);

/* A state: S [h + 1, m], then its maximum; whole cache lines. */
size_t linear_state_size(size_t width, size_t features);
static inline real *linear_state_top(const struct linear_head *head, real *state)
{
    return state + (head->width + 1) * head->features;
}

/* rows[n, h + 1] = [v, 1]. */
void linear_take_values(const struct linear_head *head, size_t first, size_t n, real *rows);

/* rows[n, width] times factor[n]. */
void linear_scale_rows(size_t n, size_t width, const real *factor, real *rows);

/* Adds one chunk's part of the gradients, chunks from the last to the first. `state` is what it
 * was before the chunk; head->carry moves on. d_q, d_k, d_v point at the head's first row. */
struct linear_gradients {
    const real *d_out;
    real *d_q, *d_k, *d_v;
};
void linear_chunk_back(const struct linear_head *head, const struct linear_gradients *gradients,
                       size_t first, size_t n, const real *state);

/* The same for encoders: `state` holds the sums over all keys. First every chunk's queries, then
 * every chunk's keys. */
void linear_encoder_queries_back(const struct linear_head *head,
                                 const struct linear_gradients *gradients, size_t first, size_t n,
                                 const real *state);
void linear_encoder_keys_back(const struct linear_head *head,
                              const struct linear_gradients *gradients, size_t first, size_t n,
                              const real *state);

#endif
