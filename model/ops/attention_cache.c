/* Decoding step by step: new steps join a ring of keys and values and attend to it.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "model/ops/attention.h"

#include "base/check.h"

#include <math.h>
#include <string.h>
#include <tgmath.h>

/* One head of one series at one step: its position and what of the ring it may see. */
struct reader {
    const struct attention_cache *cache;
    const struct attention *attention;
    size_t series, head, width, all;
    size_t position; /* of the query; its own key is in the ring already */
};

/* The n-th allowed distance from the query, nearest first; false behind the last. */
static bool nth_distance(const struct reader *reader, size_t n, size_t *distance)
{
    const struct pattern *pattern = reader->attention->pattern;
    if (pattern->kind == PATTERN_OFFSETS) {
        if (n >= pattern->offset_count) {
            return false;
        }
        *distance = pattern->offsets[n];
    } else {
        *distance = n;
    }
    return *distance <= reader->position && *distance < reader->cache->capacity;
}

static size_t ring_place(const struct reader *reader, size_t distance)
{
    size_t slot = (reader->position - distance) % reader->cache->capacity;
    return (reader->series * reader->cache->capacity + slot) * reader->all +
           reader->head * reader->width;
}

/* out[h] = softmax(scale q K^T + bias) V over the allowed keys. */
static void read_ring(const struct reader *reader, const real *q, real factor, real *scores,
                      real *restrict out)
{
    const struct tensor *bias = reader->attention->bias;
    const real *head_bias =
        bias != NULL ? bias->data + reader->head * reader->attention->pattern->offset_count : NULL;
    size_t distance = 0;
    size_t count = 0;
    real largest = -(real)INFINITY;
    for (; nth_distance(reader, count, &distance); count++) {
        const real *restrict k = reader->cache->keys + ring_place(reader, distance);
        real sum = 0;
#pragma omp simd reduction(+ : sum)
        for (size_t c = 0; c < reader->width; c++) {
            sum += q[c] * k[c];
        }
        scores[count] = factor * sum + (head_bias != NULL ? head_bias[count] : 0);
        largest = scores[count] > largest ? scores[count] : largest;
    }
    real total = 0;
    memset(out, 0, reader->width * sizeof(real));
    for (size_t n = 0; n < count; n++) {
        (void)nth_distance(reader, n, &distance);
        const real *restrict v = reader->cache->values + ring_place(reader, distance);
        real p = exp(scores[n] - largest);
        total += p;
        for (size_t c = 0; c < reader->width; c++) {
            out[c] += p * v[c];
        }
    }
    for (size_t c = 0; c < reader->width; c++) {
        out[c] /= total;
    }
}

void attention_cache_join(struct attention_cache *cache, const struct tensor *qk,
                          const struct tensor *v, size_t step)
{
    size_t all = tensor_width(v);
    size_t slot = (cache->length + step) % cache->capacity;
    for (size_t b = 0; b < cache->batch; b++) {
        size_t row = b * qk->shape[1] + step;
        size_t place = (b * cache->capacity + slot) * all;
        memcpy(cache->keys + place, qk->data + (2 * row + 1) * all, all * sizeof(real));
        memcpy(cache->values + place, v->data + row * all, all * sizeof(real));
    }
}

/* The first steps of all series, as many as the pattern was made for: the whole-window kernels. */
static struct tensor *prime(struct tape *tape, struct tensor *qk, struct tensor *v,
                            const struct attention *attention, struct attention_cache *cache)
{
    for (size_t t = 0; tape_computes(tape) && t < qk->shape[1]; t++) {
        attention_cache_join(cache, qk, v, t);
    }
    return op_attention(tape, qk, v, attention);
}

struct tensor *attention_append(struct tape *tape, struct tensor *qk, struct tensor *v,
                                const struct attention *attention, struct attention_cache *cache)
{
    CHECK(tape->mode == TAPE_INFER);
    CHECK(attention->pattern->kind == PATTERN_DENSE || attention->pattern->kind == PATTERN_OFFSETS);
    CHECK(attention->key_valid == NULL);
    CHECK(qk->shape[0] == cache->batch);
    CHECK(tensor_width(qk) == 2 * tensor_width(v));
    size_t steps = qk->shape[1];
    if (cache->length == 0 && steps > 1 && steps <= attention->pattern->length) {
        return prime(tape, qk, v, attention, cache);
    }
    struct tensor *out = tape_tensor_like(tape, v);
    size_t all = tensor_width(v);
    size_t width = all / attention->heads;
    real factor = attention_scale(v, attention);
    size_t mark = tape_scratch_begin(tape);
    real *scores = tape_bytes(tape, cache->capacity * sizeof(real));
    for (size_t t = 0; tape_computes(tape) && t < steps; t++) {
        attention_cache_join(cache, qk, v, t);
        for (size_t b = 0; b < cache->batch; b++) {
            size_t row = b * steps + t;
            for (size_t h = 0; h < attention->heads; h++) {
                struct reader reader = {cache, attention, b, h, width, all, cache->length + t};
                read_ring(&reader, qk->data + row * 2 * all + h * width, factor, scores,
                          out->data + row * all + h * width);
            }
        }
    }
    tape_scratch_end(tape, mark);
    return out;
}
