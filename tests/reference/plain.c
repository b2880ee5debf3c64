/* Attention in plain loops: the definition, with the whole probability matrix.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "tests/reference/plain.h"

#include "base/check.h"
#include "base/memory.h"

#include <math.h>

static double *zeros(size_t n)
{
    double *values = mem_zeroed(n + 1, sizeof(double));
    CHECK(values != NULL);
    return values;
}

/* Place of the bias of this pair, or SIZE_MAX. */
static size_t bias_place(const struct attention *attention, size_t head, size_t distance)
{
    for (size_t o = 0; o < attention->pattern->offset_count; o++) {
        if (attention->pattern->offsets[o] == distance) {
            return head * attention->pattern->offset_count + o;
        }
    }
    return SIZE_MAX;
}

/* p[i][j] of one head of one series. */
static void probabilities(const struct plain *plain, const real *qk,
                          const struct attention *attention, size_t b, size_t h, double *p)
{
    size_t length = plain->length;
    size_t all = plain->heads * plain->width;
    for (size_t i = 0; i < length; i++) {
        double sum = 0;
        for (size_t j = 0; j < length; j++) {
            bool valid = attention->key_valid == NULL || attention->key_valid[b * length + j] != 0;
            p[i * length + j] = 0;
            if (!valid || !pattern_allows(attention->pattern, i, j)) {
                continue;
            }
            double s = 0;
            for (size_t c = h * plain->width; c < (h + 1) * plain->width; c++) {
                s += (double)qk[(b * length + i) * 2 * all + c] *
                     (double)qk[(b * length + j) * 2 * all + all + c];
            }
            s /= sqrt((double)plain->width);
            if (attention->bias != NULL) {
                s += (double)attention->bias->data[bias_place(attention, h, i - j)];
            }
            p[i * length + j] = exp(s);
            sum += exp(s);
        }
        for (size_t j = 0; j < length && sum > 0; j++) {
            p[i * length + j] /= sum;
        }
    }
}

/* One pair's part of the gradients, given dS. */
static void pair_back(struct plain *plain, const real *qk, const struct attention *attention,
                      size_t b, size_t h, size_t i, size_t j, double slope)
{
    size_t all = plain->heads * plain->width;
    double scaled = slope / sqrt((double)plain->width);
    size_t query = (b * plain->length + i) * 2 * all;
    size_t key = (b * plain->length + j) * 2 * all + all;
    for (size_t c = h * plain->width; c < (h + 1) * plain->width; c++) {
        plain->d_qk[query + c] += scaled * (double)qk[key + c];
        plain->d_qk[key + c] += scaled * (double)qk[query + c];
    }
    if (attention->bias != NULL) {
        plain->d_bias[bias_place(attention, h, i - j)] += slope;
    }
}

static void head_both_ways(struct plain *plain, const real *qk, const real *v,
                           const real *cotangent, const struct attention *attention, size_t b,
                           size_t h, const double *p)
{
    size_t length = plain->length;
    size_t all = plain->heads * plain->width;
    for (size_t i = 0; i < length; i++) {
        double *d_p = zeros(length);
        double mean = 0;
        for (size_t j = 0; j < length; j++) {
            double weight = p[i * length + j];
            for (size_t c = h * plain->width; c < (h + 1) * plain->width; c++) {
                size_t out = (b * length + i) * all + c;
                size_t value = (b * length + j) * all + c;
                plain->y[out] += weight * (double)v[value];
                plain->d_v[value] += weight * (double)cotangent[out];
                d_p[j] += (double)cotangent[out] * (double)v[value];
            }
            mean += weight * d_p[j];
        }
        for (size_t j = 0; j < length; j++) {
            if (p[i * length + j] > 0) {
                pair_back(plain, qk, attention, b, h, i, j, p[i * length + j] * (d_p[j] - mean));
            }
        }
        mem_free(d_p);
    }
}

void plain_open(struct plain *plain, const real *qk, const real *v, const real *cotangent,
                const struct attention *attention)
{
    size_t size = plain->batch * plain->length * plain->heads * plain->width;
    plain->y = zeros(size);
    plain->d_v = zeros(size);
    plain->d_qk = zeros(2 * size);
    plain->d_bias = zeros(plain->heads * (attention->pattern->offset_count + 1));
    double *p = zeros(plain->length * plain->length);
    for (size_t b = 0; b < plain->batch; b++) {
        for (size_t h = 0; h < plain->heads; h++) {
            probabilities(plain, qk, attention, b, h, p);
            head_both_ways(plain, qk, v, cotangent, attention, b, h, p);
        }
    }
    mem_free(p);
}

void plain_close(struct plain *plain)
{
    mem_free(plain->y);
    mem_free(plain->d_qk);
    mem_free(plain->d_v);
    mem_free(plain->d_bias);
}
