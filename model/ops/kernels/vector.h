/* Vectors of the widest kind of this instruction level, in the compiler's own vector types.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Only for files in model/ops/kernels/. Everything is static: a function compiled for one level
 * must never be merged by the linker with that of another. Sums run in a fixed order.
 */
#ifndef MODEL_OPS_KERNELS_VECTOR_H
#define MODEL_OPS_KERNELS_VECTOR_H

#include "model/ops/kernels.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

#define KERNEL_JOIN2(name, level) name##_##level
#define KERNEL_JOIN(name, level)  KERNEL_JOIN2(name, level)
/* kernel_attention -> kernel_attention_v4 */
#define KERNEL(name) KERNEL_JOIN(name, KERNEL_LEVEL)

#if defined(__AVX512F__)
#define VECTOR_BYTES 64
#elif defined(__AVX__)
#define VECTOR_BYTES 32
#else
#define VECTOR_BYTES 16
#endif

/* Lanes as a number that the preprocessor knows. */
#ifdef FORECASTD_DOUBLE
#define VECTOR_LANES (VECTOR_BYTES / 8)
#else
#define VECTOR_LANES (VECTOR_BYTES / 4)
#endif

/* whole: the integer of the scalar's size. REAL(sqrt): sqrt or sqrtf. */
#ifdef FORECASTD_DOUBLE
typedef int64_t whole;
#define REAL(function) function
#else
typedef uint32_t bits __attribute__((vector_size(VECTOR_BYTES)));
typedef int32_t whole;
#define REAL(function) function##f
#endif

/* The score of a key that must not be seen. */
#define UNSEEN (-(real)INFINITY)

#define LANES ((size_t)VECTOR_LANES)

typedef real vector __attribute__((vector_size(VECTOR_BYTES)));
typedef whole mask __attribute__((vector_size(VECTOR_BYTES)));
/* The same at any address. */
typedef real vector_any
    __attribute__((vector_size(VECTOR_BYTES), aligned(sizeof(real)), may_alias));

#define INLINE static inline __attribute__((always_inline, unused))

INLINE size_t round_lanes(size_t n)
{
    return (n + LANES - 1) / LANES * LANES;
}

INLINE vector load(const real *from)
{
    return *(const vector_any *)from;
}

INLINE void store(real *to, vector v)
{
    *(vector_any *)to = v;
}

INLINE vector all(real x)
{
    return x - (vector){0};
}

/* The first n < LANES values, zeros behind. */
INLINE vector load_some(const real *from, size_t n)
{
    vector v = {0};
    memcpy(&v, from, n * sizeof(real));
    return v;
}

INLINE void store_some(real *to, vector v, size_t n)
{
    memcpy(to, &v, n * sizeof(real));
}

INLINE vector choose(mask where, vector yes, vector no)
{
    return (vector)(((mask)yes & where) | ((mask)no & ~where));
}

INLINE vector larger(vector a, vector b)
{
    return choose(a > b, a, b);
}

/* The lanes from `half` on in the first places; what stands behind them does not matter. */
INLINE vector upper_lanes(vector v, size_t half)
{
#define UPPER(...) __builtin_shufflevector(v, v, __VA_ARGS__)
#if VECTOR_LANES == 16
    return half == 8   ? UPPER(8, 9, 10, 11, 12, 13, 14, 15, 8, 9, 10, 11, 12, 13, 14, 15)
           : half == 4 ? UPPER(4, 5, 6, 7, 4, 5, 6, 7, 4, 5, 6, 7, 4, 5, 6, 7)
           : half == 2 ? UPPER(2, 3, 2, 3, 2, 3, 2, 3, 2, 3, 2, 3, 2, 3, 2, 3)
                       : UPPER(1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1);
#elif VECTOR_LANES == 8
    return half == 4   ? UPPER(4, 5, 6, 7, 4, 5, 6, 7)
           : half == 2 ? UPPER(2, 3, 2, 3, 2, 3, 2, 3)
                       : UPPER(1, 1, 1, 1, 1, 1, 1, 1);
#elif VECTOR_LANES == 4
    return half == 2 ? UPPER(2, 3, 2, 3) : UPPER(1, 1, 1, 1);
#else
    return half == 1 ? UPPER(1, 1) : v;
#endif
#undef UPPER
}

INLINE real lanes_sum(vector v)
{
#pragma GCC unroll 4
    for (size_t half = LANES / 2; half > 0; half /= 2) {
        v += upper_lanes(v, half);
    }
    return v[0];
}

INLINE real lanes_largest(vector v)
{
#pragma GCC unroll 4
    for (size_t half = LANES / 2; half > 0; half /= 2) {
        v = larger(v, upper_lanes(v, half));
    }
    return v[0];
}

/* Lanes of a and b in turn: a0 b0 a1 b1 ... of their first halves, and of their second halves. */
INLINE vector zip_low(vector a, vector b)
{
#if VECTOR_LANES == 16
    return __builtin_shufflevector(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
#elif VECTOR_LANES == 8
    return __builtin_shufflevector(a, b, 0, 8, 1, 9, 2, 10, 3, 11);
#elif VECTOR_LANES == 4
    return __builtin_shufflevector(a, b, 0, 4, 1, 5);
#else
    return __builtin_shufflevector(a, b, 0, 2);
#endif
}

INLINE vector zip_high(vector a, vector b)
{
#if VECTOR_LANES == 16
    return __builtin_shufflevector(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15,
                                   31);
#elif VECTOR_LANES == 8
    return __builtin_shufflevector(a, b, 4, 12, 5, 13, 6, 14, 7, 15);
#elif VECTOR_LANES == 4
    return __builtin_shufflevector(a, b, 2, 6, 3, 7);
#else
    return __builtin_shufflevector(a, b, 1, 3);
#endif
}

/* block[i] lane j becomes block[j] lane i. */
INLINE void transpose_block(vector block[VECTOR_LANES])
{
    for (size_t round = 1; round < LANES; round *= 2) {
        vector before[VECTOR_LANES];
        memcpy(before, block, sizeof(before));
        for (size_t i = 0; i < LANES / 2; i++) {
            block[2 * i] = zip_low(before[i], before[i + LANES / 2]);
            block[2 * i + 1] = zip_high(before[i], before[i + LANES / 2]);
        }
    }
}

/* e^x within 2 units in the last place on [-87.3, 88]; 0 below, e^88 above, NaN stays NaN. */
INLINE vector vector_exp(vector x)
{
#ifdef FORECASTD_DOUBLE
    vector y = x;
    for (size_t i = 0; i < LANES; i++) {
        y[i] = exp(x[i]);
    }
    return y;
#else
    const float shift = 12582912.0F; /* 1.5 * 2^23: adding it rounds to whole numbers */
    mask vanishes = x < -87.3F;
    x = choose(x > 88.0F, all(88.0F), x);
    vector shifted = x * 1.44269504F + shift;
    vector n = shifted - shift;
    vector r = x - n * 0.693359375F; /* ln 2 in two parts */
    r = r + n * 2.12194440e-4F;
    vector p = r * 1.9875691500e-4F + 1.3981999507e-3F;
    p = p * r + 8.3334519073e-3F;
    p = p * r + 4.1665795894e-2F;
    p = p * r + 1.6666665459e-1F;
    p = p * r + 5.0000001201e-1F;
    p = p * (r * r) + r + 1.0F;
    bits power = ((bits)shifted << 23) + (127U << 23); /* 2^n; the shift's own bits fall out */
    return choose(vanishes, (vector){0}, p * (vector)power);
#endif
}

INLINE size_t key_step(const struct attention_head *head)
{
    return head->k_step != 0 ? head->k_step : head->qk_step;
}

INLINE vector vector_sigmoid(vector x)
{
    return 1 / (1 + vector_exp(-x));
}

#endif
