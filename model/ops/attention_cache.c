/* Decoding step by step: new steps join a ring of keys and values and attend to it.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "model/ops/attention.h"

#include "base/check.h"

#include <math.h>
#include <string.h>
#include <tgmath.h>

/* A ring of one series: row of the step `distance` before `position`. */
struct ring {
    const real *rows; /* [capacity, H h] */
    size_t capacity, all;
};

static const real *ring_row(const struct ring *ring, size_t position, size_t distance)
{
    return ring->rows + (position - distance) % ring->capacity * ring->all;
}

/* What one head of one series sees at one step. */
struct view {
    const real **keys, **values; /* rows of width h */
    real *scores;
    size_t count;
};

static void add_row(struct view *view, const real *key, const real *value, real score)
{
    view->keys[view->count] = key;
    view->values[view->count] = value;
    view->scores[view->count] = score; /* so far: its bias */
    view->count++;
}

/* Who looks: one head of one series at one step, whose key is in the ring already. */
struct reader {
    size_t series, head, position;
    size_t channel, all; /* where the head's channels begin, of H h */
};

/* Keys and values in rings, at the distances of a pattern: nearest first. */
static void look_back(struct view *view, const struct pattern *pattern, const struct ring rings[2],
                      const struct reader *reader, const real *bias)
{
    bool listed = pattern->kind == PATTERN_OFFSETS;
    size_t count = listed ? pattern->offset_count : SIZE_MAX;
    for (size_t n = 0; n < count; n++) {
        size_t distance = listed ? pattern->offsets[n] : n;
        if (distance > reader->position || distance >= rings[0].capacity) {
            break;
        }
        add_row(view, ring_row(&rings[0], reader->position, distance) + reader->channel,
                ring_row(&rings[1], reader->position, distance) + reader->channel,
                bias != NULL ? bias[n] : 0);
    }
}

/* out[h] = softmax(scale q K^T + bias) V over what is in view. */
static void attend(const struct view *view, const real *q, real factor, size_t width,
                   real *restrict out)
{
    real largest = -(real)INFINITY;
    for (size_t n = 0; n < view->count; n++) {
        const real *restrict k = view->keys[n];
        real sum = 0;
#pragma omp simd reduction(+ : sum)
        for (size_t c = 0; c < width; c++) {
            sum += q[c] * k[c];
        }
        view->scores[n] += factor * sum;
        largest = view->scores[n] > largest ? view->scores[n] : largest;
    }
    real total = 0;
    memset(out, 0, width * sizeof(real));
    for (size_t n = 0; n < view->count; n++) {
        const real *restrict v = view->values[n];
        real p = exp(view->scores[n] - largest);
        total += p;
        for (size_t c = 0; c < width; c++) {
            out[c] += p * v[c];
        }
    }
    for (size_t c = 0; c < width; c++) {
        out[c] /= total;
    }
}

/* The rings of a new step: keys or values of all series. */
struct place {
    real *ring; /* [B, capacity, H h] */
    size_t capacity, position, all;
};

/* One step of [B, T, ..], from `channel` on, into its place of every series' ring. */
static void join(const struct tensor *from, size_t channel, size_t step, struct place place)
{
    size_t slot = place.position % place.capacity;
    size_t all = place.all;
    for (size_t b = 0; b < from->shape[0]; b++) {
        memcpy(place.ring + (b * place.capacity + slot) * all,
               from->data + (b * from->shape[1] + step) * tensor_width(from) + channel,
               all * sizeof(real));
    }
}

void attention_cache_join(struct attention_cache *cache, const struct tensor *qk,
                          const struct tensor *v, size_t step)
{
    size_t all = tensor_width(v);
    size_t position = cache->length + step;
    join(qk, all, step, (struct place){cache->keys, cache->capacity, position, all});
    join(v, 0, step, (struct place){cache->values, cache->capacity, position, all});
}

/* The same, and what is kept beside the sequence. */
static void join_all(const struct tensor *qk, const struct tensor *v,
                     const struct attention *attention, size_t step, struct attention_cache *cache)
{
    size_t all = tensor_width(v);
    size_t position = cache->length + step;
    attention_cache_join(cache, qk, v, step);
    for (size_t n = 0; n < attention->beside_count; n++) {
        const struct attention_beside *beside = &attention->beside[n];
        if (beside->pattern != NULL) {
            size_t capacity = cache->beside_capacity;
            join(beside->k, 0, step, (struct place){cache->beside_keys, capacity, position, all});
            join(beside->v, 0, step, (struct place){cache->beside_values, capacity, position, all});
        }
    }
}

/* Adds keys beside the sequence: at the distances of their pattern, or all. */
static void look_beside(const struct attention_beside *beside, const struct attention_cache *cache,
                        const struct reader *reader, struct view *view)
{
    size_t all = reader->all;
    if (beside->pattern != NULL) {
        size_t first = reader->series * cache->beside_capacity * all;
        struct ring rings[] = {{cache->beside_keys + first, cache->beside_capacity, all},
                               {cache->beside_values + first, cache->beside_capacity, all}};
        look_back(view, beside->pattern, rings, reader, NULL);
        return;
    }
    size_t count = beside->k->shape[1];
    size_t at = (beside->k->shape[0] > 1 ? reader->series * count * all : 0) + reader->channel;
    for (size_t n = 0; n < count; n++) {
        add_row(view, beside->k->data + at + n * all, beside->v->data + at + n * all, 0);
    }
}

/* Fills the view of a head of a series at a position. */
static void look(const struct attention *attention, const struct attention_cache *cache,
                 const struct reader *reader, struct view *view)
{
    const struct pattern *pattern = attention_pattern(attention, reader->head);
    const struct tensor *bias = attention->bias;
    size_t first = reader->series * cache->capacity * reader->all;
    struct ring rings[] = {{cache->keys + first, cache->capacity, reader->all},
                           {cache->values + first, cache->capacity, reader->all}};
    view->count = 0;
    look_back(view, pattern, rings, reader,
              bias != NULL ? bias->data + reader->head * pattern->offset_count : NULL);
    for (size_t n = 0; n < attention->beside_count; n++) {
        look_beside(&attention->beside[n], cache, reader, view);
    }
}

/* The first steps of all series, as many as the pattern was made for: the whole-window kernels. */
static struct tensor *prime(struct tape *tape, struct tensor *qk, struct tensor *v,
                            const struct attention *attention, struct attention_cache *cache)
{
    for (size_t t = 0; tape_computes(tape) && t < qk->shape[1]; t++) {
        join_all(qk, v, attention, t, cache);
    }
    return op_attention(tape, qk, v, attention);
}

static void check_streams(const struct attention *attention, const struct tensor *qk,
                          const struct tensor *v, const struct attention_cache *cache)
{
    for (size_t h = 0; h < attention->heads; h++) {
        const struct pattern *pattern = attention_pattern(attention, h);
        CHECK(pattern->kind == PATTERN_DENSE || pattern->kind == PATTERN_OFFSETS);
        CHECK(!pattern->both_ways);
    }
    CHECK(attention->key_valid == NULL);
    size_t rings = 0;
    for (size_t n = 0; n < attention->beside_count; n++) {
        CHECK(attention->beside[n].valid == NULL);
        rings += attention->beside[n].pattern != NULL;
    }
    CHECK(rings <= 1);
    CHECK(qk->shape[0] == cache->batch);
    CHECK(tensor_width(qk) == 2 * tensor_width(v));
}

/* Keys that a head sees at most. */
static size_t view_most(const struct attention *attention, const struct attention_cache *cache)
{
    size_t most = cache->capacity;
    for (size_t n = 0; n < attention->beside_count; n++) {
        const struct attention_beside *beside = &attention->beside[n];
        most += beside->pattern != NULL ? beside->pattern->offset_count : beside->k->shape[1];
    }
    return most;
}

struct tensor *attention_append(struct tape *tape, struct tensor *qk, struct tensor *v,
                                const struct attention *attention, struct attention_cache *cache)
{
    CHECK(tape->mode == TAPE_INFER);
    check_streams(attention, qk, v, cache);
    size_t steps = qk->shape[1];
    if (cache->length == 0 && steps > 1 && steps <= attention_pattern(attention, 0)->length) {
        return prime(tape, qk, v, attention, cache);
    }
    struct tensor *out = tape_tensor_like(tape, v);
    size_t all = tensor_width(v);
    size_t width = all / attention->heads;
    real factor = attention_scale(v, attention);
    size_t mark = tape_scratch_begin(tape);
    size_t most = view_most(attention, cache);
    struct view view = {
        .keys = tape_bytes(tape, most * sizeof(real *)),
        .values = tape_bytes(tape, most * sizeof(real *)),
        .scores = tape_bytes(tape, most * sizeof(real)),
    };
    for (size_t t = 0; tape_computes(tape) && t < steps; t++) {
        join_all(qk, v, attention, t, cache);
        for (size_t b = 0; b < cache->batch; b++) {
            size_t row = b * steps + t;
            for (size_t h = 0; h < attention->heads; h++) {
                struct reader reader = {b, h, cache->length + t, h * width, all};
                look(attention, cache, &reader, &view);
                attend(&view, qk->data + row * 2 * all + h * width, factor, width,
                       out->data + row * all + h * width);
            }
        }
    }
    tape_scratch_end(tape, mark);
    return out;
}
