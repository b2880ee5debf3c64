/* Kernels over rows: layer norm, softmax, bias rows and their sums, pinball loss.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "model/ops/kernels/level.h"

#define NORM_EPSILON ((real)1e-5)

void KERNEL(kernel_layer_norm)(size_t rows, size_t width, const real *x, const real *gain,
                               const real *shift, real *y, real *mean, real *inverse)
{
    for (size_t r = 0; r < rows; r++) {
        const real *restrict in = x + r * width;
        real *restrict out = y + r * width;
        real sum = 0;
#pragma omp simd reduction(+ : sum)
        for (size_t c = 0; c < width; c++) {
            sum += in[c];
        }
        const real m = sum / (real)width;
        real square = 0;
#pragma omp simd reduction(+ : square)
        for (size_t c = 0; c < width; c++) {
            square += (in[c] - m) * (in[c] - m);
        }
        const real inv = 1 / REAL(sqrt)(square / (real)width + NORM_EPSILON);
#pragma omp simd
        for (size_t c = 0; c < width; c++) {
            out[c] = (in[c] - m) * inv * gain[c] + shift[c];
        }
        mean[r] = m;
        inverse[r] = inv;
    }
}

/* With n = (x - mean) inverse and g = dy gain: dx = inverse (g - mean(g) - n mean(g n)),
 * d_gain = sum of dy n, d_shift = sum of dy over the rows. */
void KERNEL(kernel_layer_norm_back)(size_t rows, size_t width, const real *x, const real *gain,
                                    const real *mean, const real *inverse, const real *dy,
                                    real beta, real *dx, real *d_gain, real *d_shift)
{
    for (size_t r = 0; r < rows; r++) {
        const real *restrict in = x + r * width;
        const real *restrict d = dy + r * width;
        real *restrict out = dx != NULL ? dx + r * width : NULL;
        const real m = mean[r];
        const real inv = inverse[r];
        real sum = 0;
        real product = 0;
#pragma omp simd reduction(+ : sum, product)
        for (size_t c = 0; c < width; c++) {
            real n = (in[c] - m) * inv;
            real g = d[c] * gain[c];
            sum += g;
            product += g * n;
            d_gain[c] += d[c] * n;
            d_shift[c] += d[c];
        }
        sum /= (real)width;
        product /= (real)width;
        if (out == NULL) {
            continue;
        }
        if (beta == 0) {
#pragma omp simd
            for (size_t c = 0; c < width; c++) {
                out[c] = inv * (d[c] * gain[c] - sum - (in[c] - m) * inv * product);
            }
        } else {
#pragma omp simd
            for (size_t c = 0; c < width; c++) {
                out[c] += inv * (d[c] * gain[c] - sum - (in[c] - m) * inv * product);
            }
        }
    }
}

void KERNEL(kernel_softmax)(size_t rows, size_t width, const real *x, real *y)
{
    for (size_t r = 0; r < rows; r++) {
        const real *in = x + r * width;
        real *out = y + r * width;
        real top = in[0];
        for (size_t c = 1; c < width; c++) {
            top = in[c] > top ? in[c] : top;
        }
        real sum = 0;
        size_t c = 0;
        for (; c + LANES <= width; c += LANES) {
            vector e = vector_exp(load(in + c) - top);
            store(out + c, e);
            sum += lanes_sum(e);
        }
        if (c < width) {
            store_some(out + c, vector_exp(load_some(in + c, width - c) - top), width - c);
        }
        for (; c < width; c++) {
            sum += out[c];
        }
        for (c = 0; c < width; c++) {
            out[c] /= sum;
        }
    }
}

void KERNEL(kernel_add_row)(size_t rows, size_t width, const real *row, real *y)
{
    for (size_t r = 0; r < rows; r++) {
        real *restrict out = y + r * width;
#pragma omp simd
        for (size_t c = 0; c < width; c++) {
            out[c] += row[c];
        }
    }
}

void KERNEL(kernel_column_sums)(size_t rows, size_t width, const real *restrict x,
                                real *restrict sum)
{
    size_t r = 0;
    for (; r + 4 <= rows; r += 4) {
        const real *a = x + r * width;
#pragma omp simd
        for (size_t c = 0; c < width; c++) {
            sum[c] += (a[c] + a[width + c]) + (a[2 * width + c] + a[3 * width + c]);
        }
    }
    for (; r < rows; r++) {
        const real *a = x + r * width;
#pragma omp simd
        for (size_t c = 0; c < width; c++) {
            sum[c] += a[c];
        }
    }
}

double KERNEL(kernel_pinball)(size_t rows, size_t levels, const real *forecast, const real *target,
                              const real *weight, const real *level)
{
    double total = 0;
    for (size_t r = 0; r < rows; r++) {
        if (weight[r] == 0) {
            continue; /* the target may be NaN */
        }
        const real *f = forecast + r * levels;
        const real y = target[r];
        real sum = 0;
#pragma omp simd reduction(+ : sum)
        for (size_t q = 0; q < levels; q++) {
            real e = y - f[q];
            sum += e >= 0 ? level[q] * e : (level[q] - 1) * e;
        }
        total += (double)(weight[r] * sum);
    }
    return total;
}

void KERNEL(kernel_pinball_back)(size_t rows, size_t levels, const real *forecast,
                                 const real *target, const real *weight, const real *level,
                                 real factor, real beta, real *d_forecast)
{
    for (size_t r = 0; r < rows; r++) {
        const real *restrict f = forecast + r * levels;
        real *restrict d = d_forecast + r * levels;
        const real w = factor * weight[r];
        const real y = weight[r] == 0 ? 0 : target[r];
#pragma omp simd
        for (size_t q = 0; q < levels; q++) {
            real slope = y >= f[q] ? -level[q] : 1 - level[q];
            d[q] = (beta != 0 ? d[q] : 0) + w * slope;
        }
    }
}
