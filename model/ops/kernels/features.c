/* Positive features of linear attention: exponentials and ReLU with a floor, and the decay of a
 * running maximum. SPDX-License-Identifier: Apache-2.0
 *
 * Rows of `features` values lie side by side. All sums run in a fixed order.
 */
#include "model/ops/kernels/level.h"

void KERNEL(kernel_feature_tops)(size_t rows, size_t features, const real *x, real *tops)
{
    for (size_t r = 0; r < rows; r++) {
        const real *row = x + r * features;
        vector top = all(UNSEEN);
        size_t i = 0;
        for (; i + LANES <= features; i += LANES) {
            top = larger(load(row + i), top);
        }
        real largest = lanes_largest(top);
        for (; i < features; i++) {
            largest = row[i] > largest ? row[i] : largest;
        }
        tops[r] = largest;
    }
}

void KERNEL(kernel_feature_exp)(size_t rows, size_t features, const real *shift, real floor,
                                real *x)
{
    for (size_t r = 0; r < rows; r++) {
        real *row = x + r * features;
        size_t i = 0;
        for (; i + LANES <= features; i += LANES) {
            store(row + i, vector_exp(load(row + i) - shift[r]) + floor);
        }
        if (i < features) {
            vector rest = vector_exp(load_some(row + i, features - i) - shift[r]) + floor;
            store_some(row + i, rest, features - i);
        }
    }
}

void KERNEL(kernel_feature_relu)(size_t n, real floor, real *restrict x)
{
#pragma omp simd
    for (size_t i = 0; i < n; i++) {
        x[i] = (x[i] > 0 ? x[i] : 0) + floor;
    }
}

void KERNEL(kernel_feature_exp_back)(size_t rows, size_t features, real floor, const real *phi,
                                     real *slope, real *sums)
{
    for (size_t r = 0; r < rows; r++) {
        const real *restrict y = phi + r * features;
        real *restrict d = slope + r * features;
        vector sum = {0};
        size_t i = 0;
        for (; i + LANES <= features; i += LANES) {
            vector each = load(d + i) * (load(y + i) - floor);
            store(d + i, each);
            sum += each;
        }
        if (i < features) {
            /* the floor does not matter behind the end: d is zero there */
            vector each = load_some(d + i, features - i) * (load_some(y + i, features - i) - floor);
            store_some(d + i, each, features - i);
            sum += each;
        }
        sums[r] = lanes_sum(sum);
    }
}

void KERNEL(kernel_feature_relu_back)(size_t n, real floor, const real *restrict phi,
                                      real *restrict slope)
{
#pragma omp simd
    for (size_t i = 0; i < n; i++) {
        slope[i] = phi[i] > floor ? slope[i] : 0;
    }
}

void KERNEL(kernel_running_mask)(size_t rows, const real *tops, real *scores)
{
    for (size_t t = 0; t < rows; t++) {
        real *row = scores + t * rows;
        /* e^0 is exactly 1, so that where the maximum stands still nothing changes either way */
        for (size_t s = 0; tops != NULL && s <= t; s += LANES) {
            if (s + LANES <= rows) {
                store(row + s, load(row + s) * vector_exp(load(tops + s) - tops[t]));
                continue;
            }
            size_t n = rows - s;
            vector decay = vector_exp(load_some(tops + s, n) - tops[t]);
            store_some(row + s, load_some(row + s, n) * decay, n);
        }
        memset(row + t + 1, 0, (rows - t - 1) * sizeof(real));
    }
}

/* 1 / sqrt(mean of squares + epsilon) of one group. */
INLINE real inverse_of(size_t width, const real *restrict x, real epsilon)
{
    real sum = 0;
#pragma omp simd reduction(+ : sum)
    for (size_t c = 0; c < width; c++) {
        sum += x[c] * x[c];
    }
    return 1 / REAL(sqrt)(sum / (real)width + epsilon);
}

void KERNEL(kernel_head_norm)(const struct head_norm *norm, const real *x, real *y)
{
    size_t width = norm->width;
    for (size_t g = 0; g < norm->groups; g++) {
        const real *restrict from = x + g * width;
        real *restrict to = y + g * width;
        real factor = norm->gain[g % norm->gains] * inverse_of(width, from, norm->epsilon);
#pragma omp simd
        for (size_t c = 0; c < width; c++) {
            to[c] = factor * from[c];
        }
    }
}

/* With r = 1 / deviation and s = sum of dy x:  d_gain += r s,  dx += gain r (dy - x r^2 s / h). */
void KERNEL(kernel_head_norm_back)(const struct head_norm *norm, const real *x, const real *dy,
                                   real *dx, real *d_gain)
{
    size_t width = norm->width;
    for (size_t g = 0; g < norm->groups; g++) {
        const real *restrict from = x + g * width;
        const real *restrict d = dy + g * width;
        real *restrict to = dx + g * width;
        real inverse = inverse_of(width, from, norm->epsilon);
        real sum = 0;
#pragma omp simd reduction(+ : sum)
        for (size_t c = 0; c < width; c++) {
            sum += d[c] * from[c];
        }
        d_gain[g % norm->gains] += inverse * sum;
        real factor = norm->gain[g % norm->gains] * inverse;
        real along = inverse * inverse * sum / (real)width;
#pragma omp simd
        for (size_t c = 0; c < width; c++) {
            to[c] += factor * (d[c] - along * from[c]);
        }
    }
}
