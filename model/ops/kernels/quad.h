/* Four neighbouring rows at once: products of rows with rows, weighted sums of rows.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Only for kernels whose keys stand at the same distances behind every query: query t + r of a quad
 * meets key t + r - shift. The rows of the queries, or the sums for them, stay in registers over
 * many shifts, so that one shift costs the four rows of its keys and nothing else. Rows are whole
 * vectors wide, so no load is split. Two vectors of each row are taken at a time (eight registers).
 */
#ifndef MODEL_OPS_KERNELS_QUAD_H
#define MODEL_OPS_KERNELS_QUAD_H

#include "model/ops/kernels/vector.h"

#define QUAD 4

/* Some shifts, and where their weights or scores stand: those of shift o at o * step. */
struct quad_shifts {
    const int32_t *shifts;
    size_t from, to, step;
    ptrdiff_t width; /* of a row, in reals */
};

#if VECTOR_BYTES == 64 && !defined(FORECASTD_DOUBLE)
#define QUAD_ZIP(a, b, i)                                                                          \
    __builtin_shufflevector(a, b, i, 16 + i, i + 1, 17 + i, 4 + i, 20 + i, 5 + i, 21 + i, 8 + i,   \
                            24 + i, 9 + i, 25 + i, 12 + i, 28 + i, 13 + i, 29 + i)
#define QUAD_JOIN(a, b, i)                                                                         \
    __builtin_shufflevector(a, b, i, i + 1, 16 + i, 17 + i, 4 + i, 5 + i, 20 + i, 21 + i, 8 + i,   \
                            9 + i, 24 + i, 25 + i, 12 + i, 13 + i, 28 + i, 29 + i)
#elif VECTOR_BYTES == 32 && !defined(FORECASTD_DOUBLE)
#define QUAD_ZIP(a, b, i)                                                                          \
    __builtin_shufflevector(a, b, i, 8 + i, i + 1, 9 + i, 4 + i, 12 + i, 5 + i, 13 + i)
#define QUAD_JOIN(a, b, i)                                                                         \
    __builtin_shufflevector(a, b, i, i + 1, 8 + i, 9 + i, 4 + i, 5 + i, 12 + i, 13 + i)
#elif !defined(FORECASTD_DOUBLE)
#define QUAD_ZIP(a, b, i)  __builtin_shufflevector(a, b, i, 4 + i, i + 1, 5 + i)
#define QUAD_JOIN(a, b, i) __builtin_shufflevector(a, b, i, i + 1, 4 + i, 5 + i)
#endif

/* out[r] = the sum of the lanes of v[r], or that added. In float all four at once: within parts of
 * four lanes, then over the parts. */
INLINE void store_sums(const vector v[QUAD], bool add, real *out)
{
#ifdef FORECASTD_DOUBLE
    for (size_t r = 0; r < QUAD; r++) {
        out[r] = (add ? out[r] : 0) + lanes_sum(v[r]);
    }
#else
    typedef real four __attribute__((vector_size(4 * sizeof(real))));
    typedef real four_any
        __attribute__((vector_size(4 * sizeof(real)), aligned(sizeof(real)), may_alias));
    vector ab = QUAD_ZIP(v[0], v[1], 0) + QUAD_ZIP(v[0], v[1], 2);
    vector cd = QUAD_ZIP(v[2], v[3], 0) + QUAD_ZIP(v[2], v[3], 2);
    vector abcd = QUAD_JOIN(ab, cd, 0) + QUAD_JOIN(ab, cd, 2);
    four sum = __builtin_shufflevector(abcd, abcd, 0, 1, 2, 3);
#if VECTOR_BYTES >= 32
    sum += __builtin_shufflevector(abcd, abcd, 4, 5, 6, 7);
#endif
#if VECTOR_BYTES == 64
    sum += __builtin_shufflevector(abcd, abcd, 8, 9, 10, 11);
    sum += __builtin_shufflevector(abcd, abcd, 12, 13, 14, 15);
#endif
    if (add) {
        sum += *(const four_any *)out;
    }
    *(four_any *)out = sum;
#endif
}

INLINE void some_quad_products(const struct quad_shifts *at, size_t vectors, bool add,
                               const real *a, const real *b, real *out)
{
    vector x[QUAD][2];
    for (size_t r = 0; r < QUAD; r++) {
        for (size_t c = 0; c < vectors; c++) {
            x[r][c] = load(a + (ptrdiff_t)r * at->width + c * LANES);
        }
    }
    for (size_t o = at->from; o < at->to; o++) {
        const real *y = b - at->shifts[o] * at->width;
        vector sum[QUAD];
        for (size_t r = 0; r < QUAD; r++) {
            const real *row = y + (ptrdiff_t)r * at->width;
            sum[r] = x[r][0] * load(row);
            if (vectors > 1) {
                sum[r] += x[r][1] * load(row + LANES);
            }
        }
        store_sums(sum, add, out + o * at->step);
    }
}

/* out[o][r] = row r of a times row r - shift o of b. */
INLINE void quad_products(const struct quad_shifts *at, const real *a, const real *b, real *out)
{
    size_t width = (size_t)at->width;
    if (width == LANES) {
        some_quad_products(at, 1, false, a, b, out);
        return;
    }
    some_quad_products(at, 2, false, a, b, out);
    size_t c = 2 * LANES;
    for (; c + 2 * LANES <= width; c += 2 * LANES) {
        some_quad_products(at, 2, true, a + c, b + c, out);
    }
    if (c < width) {
        some_quad_products(at, 1, true, a + c, b + c, out);
    }
}

INLINE void some_quad_sums(const struct quad_shifts *at, size_t vectors, const real *weight,
                           const real *b, real *out)
{
    vector sum[QUAD][2];
    for (size_t r = 0; r < QUAD; r++) {
        for (size_t c = 0; c < vectors; c++) {
            sum[r][c] = load(out + (ptrdiff_t)r * at->width + c * LANES);
        }
    }
    for (size_t o = at->from; o < at->to; o++) {
        const real *y = b - at->shifts[o] * at->width;
        for (size_t r = 0; r < QUAD; r++) {
            vector w = all(weight[o * at->step + r]);
            for (size_t c = 0; c < vectors; c++) {
                sum[r][c] += w * load(y + (ptrdiff_t)r * at->width + c * LANES);
            }
        }
    }
    for (size_t r = 0; r < QUAD; r++) {
        for (size_t c = 0; c < vectors; c++) {
            store(out + (ptrdiff_t)r * at->width + c * LANES, sum[r][c]);
        }
    }
}

/* Row r of out += the sum over shifts of weight[o][r] times row r - shift o of b. */
INLINE void quad_sums(const struct quad_shifts *at, const real *weight, const real *b, real *out)
{
    size_t width = (size_t)at->width;
    size_t c = 0;
    for (; c + 2 * LANES <= width; c += 2 * LANES) {
        some_quad_sums(at, 2, weight, b + c, out + c);
    }
    if (c < width) {
        some_quad_sums(at, 1, weight, b + c, out + c);
    }
}

INLINE void some_quad_spread(const struct quad_shifts *at, size_t vectors, const real *weight,
                             const real *a, real *out)
{
    vector x[QUAD][2];
    for (size_t r = 0; r < QUAD; r++) {
        for (size_t c = 0; c < vectors; c++) {
            x[r][c] = load(a + (ptrdiff_t)r * at->width + c * LANES);
        }
    }
    for (size_t o = at->from; o < at->to; o++) {
        real *y = out - at->shifts[o] * at->width;
        for (size_t r = 0; r < QUAD; r++) {
            vector w = all(weight[o * at->step + r]);
            for (size_t c = 0; c < vectors; c++) {
                real *to = y + (ptrdiff_t)r * at->width + c * LANES;
                store(to, load(to) + w * x[r][c]);
            }
        }
    }
}

/* Row r - shift o of out += weight[o][r] times row r of a, for every shift. */
INLINE void quad_spread(const struct quad_shifts *at, const real *weight, const real *a, real *out)
{
    size_t width = (size_t)at->width;
    size_t c = 0;
    for (; c + 2 * LANES <= width; c += 2 * LANES) {
        some_quad_spread(at, 2, weight, a + c, out + c);
    }
    if (c < width) {
        some_quad_spread(at, 1, weight, a + c, out + c);
    }
}

#endif
