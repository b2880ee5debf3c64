/* Elementwise kernels: exponential, sigmoid, GELU both ways, AdamW, sums.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "model/ops/kernels/level.h"

/* y_i = f(x_i); the last, incomplete vector goes through a padded one. */
#define MAP(n, x, y, f)                                                                            \
    do {                                                                                           \
        size_t map_i = 0;                                                                          \
        for (; map_i + LANES <= (n); map_i += LANES) {                                             \
            store((y) + map_i, f(load((x) + map_i)));                                              \
        }                                                                                          \
        if (map_i < (n)) {                                                                         \
            store_some((y) + map_i, f(load_some((x) + map_i, (n)-map_i)), (n)-map_i);              \
        }                                                                                          \
    } while (0)

void KERNEL(kernel_exp)(size_t n, const real *x, real *y)
{
    MAP(n, x, y, vector_exp);
}

void KERNEL(kernel_sigmoid)(size_t n, const real *x, real *y)
{
    MAP(n, x, y, vector_sigmoid);
}

/* GELU in its tanh form is x sigmoid(2 u), u = sqrt(2 / pi) (x + 0.044715 x^3). */
#define GELU_A ((real)1.5957691216057308)
#define GELU_B ((real)0.044715)

INLINE vector gelu(vector x)
{
    return x * vector_sigmoid(GELU_A * x * (1 + GELU_B * x * x));
}

INLINE vector gelu_slope(vector x)
{
    vector square = x * x;
    vector s = vector_sigmoid(GELU_A * x * (1 + GELU_B * square));
    return s + x * s * (1 - s) * GELU_A * (1 + 3 * GELU_B * square);
}

void KERNEL(kernel_gelu)(size_t n, const real *x, real *y)
{
    MAP(n, x, y, gelu);
}

void KERNEL(kernel_gelu_back)(size_t n, const real *x, const real *dy, real beta, real *dx)
{
    size_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        vector d = load(dy + i) * gelu_slope(load(x + i));
        store(dx + i, beta != 0 ? d + load(dx + i) : d);
    }
    if (i < n) {
        vector d = load_some(dy + i, n - i) * gelu_slope(load_some(x + i, n - i));
        store_some(dx + i, beta != 0 ? d + load_some(dx + i, n - i) : d, n - i);
    }
}

void KERNEL(kernel_add)(size_t n, const real *restrict a, const real *restrict b, real *restrict y)
{
#pragma omp simd
    for (size_t i = 0; i < n; i++) {
        y[i] = a[i] + b[i];
    }
}

void KERNEL(kernel_add_scaled)(size_t n, real factor, const real *restrict x, real *restrict y)
{
#pragma omp simd
    for (size_t i = 0; i < n; i++) {
        y[i] += factor * x[i];
    }
}

void KERNEL(kernel_drop)(size_t n, const uint16_t *restrict draw, uint16_t threshold, real factor,
                         const real *restrict x, real *restrict y, uint8_t *restrict kept)
{
#pragma omp simd
    for (size_t i = 0; i < n; i++) {
        kept[i] = draw[i] >= threshold;
        y[i] = (real)kept[i] * factor * x[i];
    }
}

void KERNEL(kernel_drop_back)(size_t n, const uint8_t *restrict kept, real factor,
                              const real *restrict dy, real *restrict dx)
{
#pragma omp simd
    for (size_t i = 0; i < n; i++) {
        dx[i] += (real)kept[i] * factor * dy[i];
    }
}

void KERNEL(kernel_adamw)(size_t n, const struct adamw *step, real *restrict w,
                          const real *restrict g, real *restrict m, real *restrict v,
                          real *restrict average)
{
    const struct adamw s = *step;
    const real kept = 1 - s.rate * s.decay;
    const real rate = s.rate / s.correction1;
    const real root = 1 / s.correction2;
#pragma omp simd
    for (size_t i = 0; i < n; i++) {
        real gradient = g[i] * s.gradient_scale;
        m[i] = s.beta1 * m[i] + (1 - s.beta1) * gradient;
        v[i] = s.beta2 * v[i] + (1 - s.beta2) * gradient * gradient;
        w[i] = kept * w[i] - rate * m[i] / (REAL(sqrt)(v[i] * root) + s.epsilon);
    }
    if (average != NULL) {
        const real share = 1 - s.average_decay;
#pragma omp simd
        for (size_t i = 0; i < n; i++) {
            average[i] += share * (w[i] - average[i]);
        }
    }
}

double KERNEL(kernel_squares)(size_t n, const real *x)
{
    double sum = 0;
#pragma omp simd reduction(+ : sum)
    for (size_t i = 0; i < n; i++) {
        sum += (double)x[i] * (double)x[i];
    }
    return sum;
}
