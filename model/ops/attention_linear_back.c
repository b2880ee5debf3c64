/* Linear attention's way back: a reverse scan over chunks.
 * SPDX-License-Identifier: Apache-2.0
 *
 * With n' = [n, D], v' = [v, 1] and dN' = [dO / D, -(dO . O) / D], and with E the decay between
 * maxima (kernels/features.c), inside a chunk
 *     A = (Phi_q Phi_k^T) E,  P = (dN' V'^T) E:  dPhi_q = P Phi_k,  dPhi_k = P^T Phi_q,  dV' = A^T
 * dN'. To it comes, from S before the chunk and from G = sum over later t of dN'_t phi(q_t)^T
 * behind it, dphi(q_t) += S^T dN'_t,   dphi(k_s) += G^T v'_s,   dv'_s += G phi(k_s). G is kept at
 * the maximum of the border it stands at, so that its factors are at most 1 too.
 */
#include "model/ops/attention_linear.h"

#include "model/ops/kernels.h"
#include "model/tape/blas.h"

#include <math.h>
#include <tgmath.h>

static struct matrix plain(const real *data, size_t step)
{
    return (struct matrix){data, step, BLAS_PLAIN};
}

static struct matrix transposed(const real *data, size_t step)
{
    return (struct matrix){data, step, BLAS_TRANSPOSED};
}

/* slope_rows[n, h + 1] = dN'. */
static void take_slopes(const struct linear_head *head, const struct linear_gradients *gradients,
                        size_t first, size_t n)
{
    size_t width = head->width;
    for (size_t t = 0; t < n; t++) {
        const real *d_out = gradients->d_out + (first + t) * head->v_step;
        const real *out = head->out + (first + t) * head->v_step;
        real denominator = head->denominator[first + t];
        real *row = head->slope_rows + t * (width + 1);
        real sum = 0;
#pragma omp simd reduction(+ : sum)
        for (size_t c = 0; c < width; c++) {
            row[c] = d_out[c] / denominator;
            sum += row[c] * out[c];
        }
        row[width] = denominator > LINEAR_DENOMINATOR_MIN ? -sum : 0;
    }
}

/* From features to the vectors they were made of: d_x += c W^T da - c^2 x sum(da), where da are the
 * gradients of the exponents. `squared`: the square is part of the exponent. */
static void features_back(const struct linear_head *head, size_t n, const real *phi, real *slope,
                          const real *x, bool squared, real *d_x)
{
    const struct linear_attention *spec = head->spec;
    size_t step = head->qk_step;
    bool softmax = spec->map == FEATURES_SOFTMAX;
    if (softmax) {
        kernels()->feature_exp_back(n, head->features, spec->feature_floor, phi, slope,
                                    head->shift);
    } else {
        kernels()->feature_relu_back(n * head->features, spec->feature_floor, phi, slope);
    }
    if (spec->projection != NULL) {
        blas_product(n, head->width, head->features, head->scale, plain(slope, head->features),
                     plain(spec->projection->data, head->width), 1, d_x, step);
    }
    for (size_t t = 0; t < n && spec->projection == NULL; t++) {
        for (size_t c = 0; c < head->width; c++) {
            d_x[t * step + c] += head->scale * slope[t * head->width + c];
        }
    }
    for (size_t t = 0; t < n && softmax && squared; t++) {
        real factor = head->scale * head->scale * head->shift[t];
        for (size_t c = 0; c < head->width; c++) {
            d_x[t * step + c] -= factor * x[t * step + c];
        }
    }
}

static void queries_back(const struct linear_head *head, const struct linear_gradients *gradients,
                         size_t first, size_t n)
{
    size_t at = first * head->qk_step;
    features_back(head, n, head->q_features, head->d_q_features, head->q + at, head->published,
                  gradients->d_q + at);
}

static void keys_back(const struct linear_head *head, const struct linear_gradients *gradients,
                      size_t first, size_t n)
{
    size_t at = first * head->qk_step;
    features_back(head, n, head->k_features, head->d_k_features, head->k + at, true,
                  gradients->d_k + at);
}

/* d_v += rows[n, h + 1] without their last column, which belongs to the ones. */
static void add_values(const struct linear_head *head, const struct linear_gradients *gradients,
                       size_t first, size_t n, const real *rows)
{
    for (size_t t = 0; t < n; t++) {
        real *d_v = gradients->d_v + (first + t) * head->v_step;
        for (size_t c = 0; c < head->width; c++) {
            d_v[c] += rows[t * (head->width + 1) + c];
        }
    }
}

/* The pairs inside the chunk; first to write d_q_features, d_k_features and numerators (dV'). */
static void pairs_back(const struct linear_head *head, size_t n, bool still)
{
    size_t m = head->features;
    size_t wide = head->width + 1;
    const real *tops = still ? NULL : head->tops;
    blas_product(n, n, m, 1, plain(head->q_features, m), transposed(head->k_features, m), 0,
                 head->scores, n);
    kernels()->running_mask(n, tops, head->scores);
    blas_product(n, n, wide, 1, plain(head->slope_rows, wide), transposed(head->value_rows, wide),
                 0, head->slopes, n);
    kernels()->running_mask(n, tops, head->slopes);
    blas_product(n, m, n, 1, plain(head->slopes, n), plain(head->k_features, m), 0,
                 head->d_q_features, m);
    blas_product(n, m, n, 1, transposed(head->slopes, n), plain(head->q_features, m), 0,
                 head->d_k_features, m);
    blas_product(n, wide, n, 1, transposed(head->scores, n), plain(head->slope_rows, wide), 0,
                 head->numerators, wide);
}

/* d_k_features += V' G, numerators += Phi_k G^T: what queries behind the chunk make of its keys. */
static void later_queries_back(const struct linear_head *head, size_t n, bool still)
{
    size_t m = head->features;
    size_t wide = head->width + 1;
    if (!still) {
        for (size_t s = 0; s < n; s++) {
            head->fade[s] = exp(head->tops[s] - head->tops[n - 1]);
        }
        linear_scale_rows(n, wide, head->fade, head->value_rows);
    }
    blas_product(n, m, wide, 1, plain(head->value_rows, wide), plain(head->carry, m), 1,
                 head->d_k_features, m);
    if (still) {
        blas_product(n, wide, m, 1, plain(head->k_features, m), transposed(head->carry, m), 1,
                     head->numerators, wide);
        return;
    }
    blas_product(n, wide, m, 1, plain(head->k_features, m), transposed(head->carry, m), 0,
                 head->values, wide);
    linear_scale_rows(n, wide, head->fade, head->values);
    kernels()->add_scaled(n * wide, 1, head->values, head->numerators);
}

/* d_q_features += dN' S, and G moves to the border before the chunk. */
static void earlier_keys_back(const struct linear_head *head, size_t n, bool still, real before,
                              const real *state)
{
    size_t m = head->features;
    size_t wide = head->width + 1;
    real kept = 1;
    if (!still) {
        for (size_t t = 0; t < n; t++) {
            head->fade[t] = exp(before - head->tops[t]);
        }
        linear_scale_rows(n, wide, head->fade, head->slope_rows);
        kept = head->fade[n - 1];
    }
    blas_product(n, m, wide, 1, plain(head->slope_rows, wide), plain(state, m), 1,
                 head->d_q_features, m);
    blas_product(wide, m, n, 1, transposed(head->slope_rows, wide), plain(head->q_features, m),
                 kept, head->carry, m);
}

void linear_chunk_back(const struct linear_head *head, const struct linear_gradients *gradients,
                       size_t first, size_t n, const real *state)
{
    real before = state[(head->width + 1) * head->features];
    linear_query_features(head, first, n);
    bool still = linear_key_features(head, first, n, before);
    linear_take_values(head, first, n, head->value_rows);
    take_slopes(head, gradients, first, n);
    pairs_back(head, n, still);
    later_queries_back(head, n, still);
    if (before != -(real)INFINITY) {
        earlier_keys_back(head, n, still, before, state);
    }
    add_values(head, gradients, first, n, head->numerators);
    queries_back(head, gradients, first, n);
    keys_back(head, gradients, first, n);
}

void linear_encoder_queries_back(const struct linear_head *head,
                                 const struct linear_gradients *gradients, size_t first, size_t n,
                                 const real *state)
{
    size_t m = head->features;
    size_t wide = head->width + 1;
    linear_query_features(head, first, n);
    take_slopes(head, gradients, first, n);
    blas_product(n, m, wide, 1, plain(head->slope_rows, wide), plain(state, m), 0,
                 head->d_q_features, m);
    blas_product(wide, m, n, 1, transposed(head->slope_rows, wide), plain(head->q_features, m), 1,
                 head->carry, m);
    queries_back(head, gradients, first, n);
}

void linear_encoder_keys_back(const struct linear_head *head,
                              const struct linear_gradients *gradients, size_t first, size_t n,
                              const real *state)
{
    size_t m = head->features;
    size_t wide = head->width + 1;
    (void)linear_key_features(head, first, n, state[wide * m]);
    linear_take_values(head, first, n, head->value_rows);
    blas_product(n, m, wide, 1, plain(head->value_rows, wide), plain(head->carry, m), 0,
                 head->d_k_features, m);
    blas_product(n, wide, m, 1, plain(head->k_features, m), transposed(head->carry, m), 0,
                 head->numerators, wide);
    add_values(head, gradients, first, n, head->numerators);
    keys_back(head, gradients, first, n);
}
