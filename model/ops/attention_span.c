/* Attention with learned soft spans: whole windows, their way back, and decoding step by step.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Kept for the way back are one log-sum a row and head, and how far each query reaches.
 */
#include "model/ops/attention.h"
#include "model/ops/kernels.h"
#include "model/ops/rows.h"

#include "base/check.h"

#include <string.h>
#include <tgmath.h>

struct kept {
    struct attention_span attention;
    real *log_sum; /* [B, H, T] */
    real *reach;   /* R + z S, in the shape of the spans */
};

static size_t nearest_of(const struct attention_span *attention)
{
    return attention->excludes_self ? 1 : 0;
}

static bool spans_vary(const struct attention_span *attention)
{
    return attention->spans->axes == 3;
}

/* What the kernels need to know of one head of one series. */
static struct attention_span_head head_of(const struct kept *kept, const struct tensor *qk,
                                          const struct tensor *v, const struct tensor *out,
                                          size_t row)
{
    const struct attention_span *attention = &kept->attention;
    size_t length = qk->shape[1];
    size_t heads = attention->heads;
    size_t all = tensor_width(v); /* H h */
    size_t width = all / heads;
    size_t series = row / heads;
    size_t head = row % heads;
    size_t place = series * length * all + head * width;
    const real *q = qk->data + series * length * 2 * all + head * width;
    return (struct attention_span_head){
        .length = length,
        .width = width,
        .q = q,
        .k = q + all,
        .v = v->data + place,
        .qk_step = 2 * all,
        .v_step = all,
        .out = out->data + place,
        .log_sum = kept->log_sum + row * length,
        .scale = (real)(1 / sqrt((double)width)),
        .nearest = nearest_of(attention),
        .span = attention->span,
        .ramp = attention->ramp,
        .reach = kept->reach + (spans_vary(attention) ? series * length * heads : 0) + head,
        .reach_step = spans_vary(attention) ? heads : 0,
        .positions = attention->positions != NULL ? attention->positions->data : NULL,
        .untrimmed = attention->untrimmed,
    };
}

static size_t kernel_scratch(const struct attention_span *attention, const struct tensor *qk)
{
    size_t width = tensor_width(qk) / 2 / attention->heads;
    return kernels()->attention_span_scratch(qk->shape[1], width, attention->span);
}

static void attention_span_back(struct tape *tape, const struct node *node)
{
    const struct kept *kept = node->context;
    struct tensor *qk = node->in[0];
    struct tensor *v = node->in[1];
    struct tensor *spans = node->in[2];
    size_t reaches = tensor_size(spans);
    size_t v_size = tensor_size(v);
    real *scratch = tape_backward_scratch(tape, node->scratch);
    real *d_reach = scratch + kernel_scratch(&kept->attention, qk);
    real *unwanted = d_reach + reaches; /* gradients that nobody wants */
    real *d_qk = tape_grad_sum(tape, qk);
    real *d_v = tape_grad_sum(tape, v);
    real *d_spans = tape_grad_sum(tape, spans);
    real *d_positions = tape_grad_sum(tape, node->in[3]);
    d_v = d_v != NULL ? d_v : memset(unwanted, 0, v_size * sizeof(real));
    d_qk = d_qk != NULL ? d_qk : memset(unwanted + v_size, 0, 2 * v_size * sizeof(real));
    memset(d_reach, 0, reaches * sizeof(real));
    for (size_t row = 0; row < qk->shape[0] * kept->attention.heads; row++) {
        struct attention_span_head one = head_of(kept, qk, v, node->out, row);
        one.scratch = scratch;
        one.d_out = tape_grad_of(node->out) + (one.out - node->out->data);
        one.d_q = d_qk + (one.q - qk->data);
        one.d_k = d_qk + (one.k - qk->data);
        one.d_v = d_v + (one.v - v->data);
        one.d_reach = d_reach + (one.reach - kept->reach);
        one.d_positions = d_positions;
        kernels()->attention_span_back(&one);
    }
    for (size_t i = 0; d_spans != NULL && i < reaches; i++) {
        d_spans[i] += (real)kept->attention.span * d_reach[i];
    }
}

const struct op attention_span_op = {.name = "attention_span", .backward = attention_span_back};

static void check_shapes(const struct tensor *qk, const struct tensor *v,
                         const struct attention_span *attention)
{
    const struct tensor *spans = attention->spans;
    const struct tensor *positions = attention->positions;
    size_t width = tensor_width(v) / attention->heads;
    CHECK(qk->axes == 3 && v->axes == 3);
    CHECK(qk->shape[0] == v->shape[0] && qk->shape[1] == v->shape[1]);
    CHECK(tensor_width(qk) == 2 * tensor_width(v));
    CHECK(tensor_width(v) % attention->heads == 0);
    CHECK(attention->span > 0 && attention->ramp > 0);
    CHECK(tensor_width(spans) == attention->heads);
    CHECK(spans->axes == 1 || (spans->axes == 3 && tensor_rows(spans) == tensor_rows(v)));
    CHECK(positions == NULL ||
          (positions->shape[0] == attention->span && tensor_width(positions) == width));
}

/* reach = R + z S in the spans' shape; NULL while measuring. */
static real *reach_of(struct tape *tape, const struct attention_span *attention)
{
    size_t count = tensor_size(attention->spans);
    real *reach = tape_bytes(tape, count * sizeof(real));
    for (size_t i = 0; tape_computes(tape) && i < count; i++) {
        reach[i] = attention->ramp + attention->spans->data[i] * (real)attention->span;
    }
    return reach;
}

struct tensor *op_attention_span(struct tape *tape, struct tensor *qk, struct tensor *v,
                                 const struct attention_span *attention)
{
    check_shapes(qk, v, attention);
    struct tensor *out = tape_tensor_like(tape, v);
    struct kept *kept = tape_struct(tape, sizeof(*kept));
    size_t rows = qk->shape[0] * attention->heads;
    size_t scratch = kernel_scratch(attention, qk);
    kept->attention = *attention;
    kept->log_sum = tape_bytes(tape, rows * qk->shape[1] * sizeof(real));
    kept->reach = reach_of(tape, attention);
    size_t mark = tape_scratch_begin(tape);
    real *memory = tape_bytes(tape, scratch * sizeof(real));
    for (size_t row = 0; tape_computes(tape) && row < rows; row++) {
        struct attention_span_head one = head_of(kept, qk, v, out, row);
        one.scratch = memory;
        kernels()->attention_span(&one);
    }
    tape_scratch_end(tape, mark);
    scratch += tensor_size(attention->spans);
    scratch += qk->wants_grad && v->wants_grad ? 0 : 3 * tensor_size(v);
    struct tensor *inputs[] = {qk, v, attention->spans, attention->positions};
    tape_record(tape, &attention_span_op, out, inputs, 4, kept, scratch * sizeof(real));
    return out;
}

struct tensor *attention_span_spans(const struct tape *tape, size_t n)
{
    for (size_t i = 0; i < tape->node_count; i++) {
        if (tape->nodes[i].op == &attention_span_op && n-- == 0) {
            return tape->nodes[i].in[2];
        }
    }
    return NULL;
}

/* ---------------------------------------------------------------- step by step */

/* One head of one series at one step; its own key is in the ring already. */
struct reader {
    const struct attention_span *attention;
    const struct attention_cache *cache;
    size_t position, width;
    size_t place; /* of the head in a row of the ring's series */
    size_t step;  /* of the ring's rows */
    real reach;
};

/* Keys and values of distance e stand here. */
static size_t ring_place(const struct reader *reader, size_t e)
{
    size_t slot = (reader->position - nearest_of(reader->attention) - e) % reader->cache->capacity;
    return reader->place + slot * reader->step;
}

/* How many keys the head reaches at this step. */
static size_t reached_keys(const struct reader *reader)
{
    size_t nearest = nearest_of(reader->attention);
    size_t past = reader->position + 1 > nearest ? reader->position + 1 - nearest : 0;
    size_t most = past < reader->attention->span ? past : reader->attention->span;
    bool all = reader->attention->untrimmed || !(reader->reach < (real)most);
    return all ? most : (size_t)ceil(fmax(reader->reach, 0));
}

/* out[h] = sum of m e^s v / sum of m e^s. */
static void read_ring(const struct reader *reader, const real *q, real *scores, real *restrict out)
{
    const struct attention_span *attention = reader->attention;
    const size_t width = reader->width;
    const real factor = (real)(1 / sqrt((double)width));
    size_t count = reached_keys(reader);
    real largest = -(real)INFINITY;
    for (size_t e = 0; e < count; e++) {
        const real *restrict k = reader->cache->keys + ring_place(reader, e);
        real sum = 0;
#pragma omp simd reduction(+ : sum)
        for (size_t c = 0; c < width; c++) {
            sum += q[c] * k[c];
        }
        if (attention->positions != NULL) {
            const real *restrict p = attention->positions->data + e * width;
#pragma omp simd reduction(+ : sum)
            for (size_t c = 0; c < width; c++) {
                sum += q[c] * p[c];
            }
        }
        bool seen = reader->reach > (real)e;
        scores[e] = seen ? factor * sum : -(real)INFINITY;
        largest = scores[e] > largest ? scores[e] : largest;
    }
    real total = 0;
    memset(out, 0, width * sizeof(real));
    for (size_t e = 0; e < count; e++) {
        const real *restrict v = reader->cache->values + ring_place(reader, e);
        real ramp = (reader->reach - (real)e) / attention->ramp;
        real weight = (ramp < 1 ? ramp : 1) * exp(scores[e] - largest);
        weight = ramp > 0 ? weight : 0;
        total += weight;
        for (size_t c = 0; c < width; c++) {
            out[c] += weight * v[c];
        }
    }
    for (size_t c = 0; c < width && total > 0; c++) {
        out[c] /= total;
    }
}

/* Every head of every series at new step t, whose keys have joined. */
static void read_step(const struct kept *kept, const struct tensor *qk, size_t t,
                      const struct attention_cache *cache, const struct tensor *out, real *scores)
{
    const struct attention_span *attention = &kept->attention;
    size_t all = tensor_width(out);
    size_t heads = attention->heads;
    size_t width = all / heads;
    for (size_t i = 0; i < cache->batch * heads; i++) {
        size_t head = i % heads;
        size_t row = i / heads * qk->shape[1] + t;
        struct reader reader = {
            .attention = attention,
            .cache = cache,
            .position = cache->length + t,
            .width = width,
            .place = i / heads * cache->capacity * all + head * width,
            .step = all,
            .reach = kept->reach[(spans_vary(attention) ? row * heads : 0) + head],
        };
        read_ring(&reader, qk->data + row * 2 * all + head * width, scores,
                  out->data + row * all + head * width);
    }
}

struct tensor *attention_span_append(struct tape *tape, struct tensor *qk, struct tensor *v,
                                     const struct attention_span *attention,
                                     struct attention_cache *cache)
{
    CHECK(tape->mode == TAPE_INFER);
    CHECK(qk->shape[0] == cache->batch);
    CHECK(cache->capacity >= attention->span + nearest_of(attention));
    check_shapes(qk, v, attention);
    size_t steps = qk->shape[1];
    if (cache->length == 0 && steps > 1) { /* the whole-window kernels */
        for (size_t t = 0; tape_computes(tape) && t < steps; t++) {
            attention_cache_join(cache, qk, v, t);
        }
        return op_attention_span(tape, qk, v, attention);
    }
    struct tensor *out = tape_tensor_like(tape, v);
    size_t mark = tape_scratch_begin(tape);
    struct kept kept = {.attention = *attention, .reach = reach_of(tape, attention)};
    real *scores = tape_bytes(tape, attention->span * sizeof(real));
    for (size_t t = 0; tape_computes(tape) && t < steps; t++) {
        attention_cache_join(cache, qk, v, t);
        read_step(&kept, qk, t, cache, out, scores);
    }
    tape_scratch_end(tape, mark);
    return out;
}
