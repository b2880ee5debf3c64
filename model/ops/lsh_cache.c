/* Hashed attention step by step: lists of steps by bucket, so that a step costs O(rounds * window).
 * SPDX-License-Identifier: Apache-2.0
 */
#include "model/ops/lsh.h"

#include "base/check.h"
#include "base/size.h"

#include <math.h>
#include <string.h>

/* One head of one series, and scratch. */
struct reader {
    const struct lsh *lsh;
    size_t width, step, length; /* h; H h; steps before the new ones */
    real scale;
    real *keys, *values;        /* of the head, rows `step` apart */
    uint32_t *newest, *earlier; /* [rounds, buckets], [rounds, capacity] */
    size_t capacity;
    uint16_t *bucket; /* [rounds, T] of the new steps */
    uint32_t *found;  /* the steps that a query sees, and their scores */
    real *scores;
};

/* At most so many keys in all rounds, local ones included. */
static size_t found_most(const struct lsh *lsh, size_t capacity)
{
    return smaller(lsh->local, capacity) + lsh->rounds * smaller(lsh->window, capacity);
}

static real score_of(const struct reader *reader, const real *q, size_t step)
{
    const real *k = reader->keys + step * reader->step;
    real dot = 0;
#pragma omp simd reduction(+ : dot)
    for (size_t c = 0; c < reader->width; c++) {
        dot += q[c] * k[c];
    }
    return dot * reader->scale;
}

/* Notes what a query at `now` sees, with scores; returns how many. A local key counts in each
 * round. */
static size_t find(const struct reader *reader, const real *q, size_t now, size_t t, size_t count)
{
    const struct lsh *lsh = reader->lsh;
    real often = (real)log((double)lsh->rounds);
    size_t n = 0;
    for (size_t back = 1; back <= smaller(lsh->local, now); back++) {
        reader->found[n] = (uint32_t)(now - back);
        reader->scores[n] = score_of(reader, q, now - back) + often;
        n++;
    }
    for (size_t r = 0; r < lsh->rounds; r++) {
        const uint32_t *earlier = reader->earlier + r * reader->capacity;
        uint32_t next = reader->newest[r * lsh->buckets + reader->bucket[r * count + t]];
        for (size_t taken = 0; next != 0 && taken < lsh->window; taken++) {
            size_t step = next - 1;
            if (now - step > lsh->local) {
                reader->found[n] = (uint32_t)step;
                reader->scores[n] = score_of(reader, q, step);
                n++;
            }
            next = earlier[step];
        }
    }
    return n;
}

/* out = softmax(scores) values of what was found; the own value where nothing was. */
static void mix(const struct reader *reader, size_t n, size_t now, real *restrict out)
{
    if (n == 0) {
        memcpy(out, reader->values + now * reader->step, reader->width * sizeof(real));
        return;
    }
    real top = reader->scores[0];
    for (size_t i = 1; i < n; i++) {
        top = reader->scores[i] > top ? reader->scores[i] : top;
    }
    real sum = 0;
    memset(out, 0, reader->width * sizeof(real));
    for (size_t i = 0; i < n; i++) {
        real p = (real)exp((double)(reader->scores[i] - top));
        const real *v = reader->values + reader->found[i] * reader->step;
        sum += p;
        for (size_t c = 0; c < reader->width; c++) {
            out[c] += p * v[c];
        }
    }
    for (size_t c = 0; c < reader->width; c++) {
        out[c] /= sum;
    }
}

/* The new steps of one head in order: each sees what came before, then becomes a key itself. */
static void read_steps(const struct reader *reader, const real *qk, const real *v, size_t count,
                       real *out)
{
    const struct lsh *lsh = reader->lsh;
    for (size_t t = 0; t < count; t++) {
        size_t now = reader->length + t;
        const real *q = qk + t * reader->step;
        real *key = reader->keys + now * reader->step;
        real inverse = lsh_inverse_norm(lsh, q, reader->width);
        for (size_t c = 0; c < reader->width; c++) {
            key[c] = q[c] * inverse;
        }
        memcpy(reader->values + now * reader->step, v + t * reader->step,
               reader->width * sizeof(real));
        mix(reader, find(reader, q, now, t, count), now, out + t * reader->step);
        for (size_t r = 0; r < lsh->rounds; r++) {
            uint32_t *newest = &reader->newest[r * lsh->buckets + reader->bucket[r * count + t]];
            reader->earlier[r * reader->capacity + now] = *newest;
            *newest = (uint32_t)(now + 1);
        }
    }
}

static struct reader reader_of(const struct lsh *lsh, const struct lsh_cache *cache, size_t step,
                               size_t series, size_t head)
{
    size_t width = step / lsh->heads;
    size_t at = series * cache->capacity * step + head * width;
    size_t list = (series * lsh->heads + head) * lsh->rounds;
    return (struct reader){
        .lsh = lsh,
        .width = width,
        .step = step,
        .length = cache->length,
        .scale = lsh_scale(lsh, width),
        .keys = cache->keys + at,
        .values = cache->values + at,
        .newest = cache->newest + list * lsh->buckets,
        .earlier = cache->earlier + list * cache->capacity,
        .capacity = cache->capacity,
    };
}

struct tensor *lsh_append(struct tape *tape, struct tensor *qk, struct tensor *v,
                          const struct lsh *lsh, const struct lsh_cache *cache)
{
    size_t count = v->shape[1];
    size_t step = tensor_width(v);
    size_t width = step / lsh->heads;
    size_t padded = kernels()->lsh_width(width);
    CHECK(tape->mode == TAPE_INFER && tensor_same_shape(qk, v));
    struct tensor *out = tape_tensor_like(tape, v);
    size_t mark = tape_scratch_begin(tape);
    size_t most = found_most(lsh, cache->capacity);
    real *rows = tape_bytes(tape, count * padded * sizeof(real));
    real *hashing = tape_bytes(tape, lsh_hash_scratch(lsh, width) * sizeof(real));
    uint16_t *bucket = tape_bytes(tape, lsh->rounds * count * sizeof(*bucket));
    uint32_t *found = tape_bytes(tape, most * sizeof(*found));
    real *scores = tape_bytes(tape, most * sizeof(*scores));
    for (size_t i = 0; tape_computes(tape) && i < v->shape[0] * lsh->heads; i++) {
        CHECK(cache->batch == v->shape[0] && cache->length + count <= cache->capacity);
        struct reader reader = reader_of(lsh, cache, step, i / lsh->heads, i % lsh->heads);
        reader.bucket = bucket;
        reader.found = found;
        reader.scores = scores;
        size_t at = i / lsh->heads * count * step + i % lsh->heads * width;
        memset(rows, 0, count * padded * sizeof(real));
        for (size_t t = 0; t < count; t++) {
            memcpy(rows + t * padded, qk->data + at + t * step, width * sizeof(real));
        }
        struct lsh_hash hash = {
            .count = count, .width = width, .padded = padded, .q = rows, .scratch = hashing};
        lsh_hash_head(lsh, i % lsh->heads, &hash, bucket);
        read_steps(&reader, qk->data + at, v->data + at, count, out->data + at);
    }
    tape_scratch_end(tape, mark);
    return out;
}
