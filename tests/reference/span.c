/* Plain loops of attention with soft spans, both ways, trimmed and untrimmed, and step by step.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "tests/reference/trial.h"

#include "base/check.h"
#include "base/memory.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

/* What the loops find, in double precision. */
struct loops {
    const struct attention_span *attention;
    const struct tensor *qk, *v, *cotangent;
    double *y, *d_qk, *d_v, *d_spans, *d_positions;
};

/* One query of one head: everything about its keys, the nearest first. */
struct query {
    size_t series, head, t, width, all;
    double reach;
    size_t count;
    double *soft, *power, *d_weight; /* m, e^s, dO . v */
    double sum;
};

static double *zeros(size_t n)
{
    double *values = mem_zeroed(n + 1, sizeof(double));
    CHECK(values != NULL);
    return values;
}

static size_t key_row(const struct loops *l, const struct query *q, size_t e)
{
    size_t nearest = l->attention->excludes_self ? 1 : 0;
    return q->series * l->qk->shape[1] + q->t - nearest - e;
}

static double position(const struct loops *l, const struct query *q, size_t e, size_t c)
{
    const struct tensor *positions = l->attention->positions;
    return positions != NULL ? (double)positions->data[e * q->width + c] : 0;
}

static void query_forward(struct loops *l, struct query *q)
{
    size_t row = q->series * l->qk->shape[1] + q->t;
    size_t from = q->head * q->width;
    q->sum = 0;
    for (size_t e = 0; e < q->count; e++) {
        double s = 0;
        q->d_weight[e] = 0;
        for (size_t c = 0; c < q->width; c++) {
            size_t key = key_row(l, q, e) * 2 * q->all + q->all + from + c;
            size_t value = key_row(l, q, e) * q->all + from + c;
            s += (double)l->qk->data[row * 2 * q->all + from + c] *
                 ((double)l->qk->data[key] + position(l, q, e, c));
            q->d_weight[e] +=
                (double)l->cotangent->data[row * q->all + from + c] * (double)l->v->data[value];
        }
        double ramp = (q->reach - (double)e) / (double)l->attention->ramp;
        q->soft[e] = fmin(1, fmax(0, ramp));
        q->power[e] = exp(s / sqrt((double)q->width));
        q->sum += q->soft[e] * q->power[e];
    }
}

static void query_back(struct loops *l, struct query *q, double *d_reach)
{
    size_t row = q->series * l->qk->shape[1] + q->t;
    size_t from = q->head * q->width;
    double mean = 0;
    for (size_t e = 0; e < q->count; e++) {
        mean += q->soft[e] * q->power[e] / q->sum * q->d_weight[e];
    }
    for (size_t e = 0; e < q->count; e++) {
        double share = q->power[e] / q->sum;
        double weight = q->soft[e] * share;
        double slope = weight * (q->d_weight[e] - mean) / sqrt((double)q->width);
        if (q->soft[e] > 0 && q->soft[e] < 1) {
            *d_reach += share * (q->d_weight[e] - mean) / (double)l->attention->ramp;
        }
        for (size_t c = 0; c < q->width; c++) {
            size_t query = row * 2 * q->all + from + c;
            size_t key = key_row(l, q, e) * 2 * q->all + q->all + from + c;
            size_t value = key_row(l, q, e) * q->all + from + c;
            size_t out = row * q->all + from + c;
            l->y[out] += weight * (double)l->v->data[value];
            l->d_v[value] += weight * (double)l->cotangent->data[out];
            l->d_qk[query] += slope * ((double)l->qk->data[key] + position(l, q, e, c));
            l->d_qk[key] += slope * (double)l->qk->data[query];
            l->d_positions[e * q->width + c] += slope * (double)l->qk->data[query];
        }
    }
}

static void run_loops(struct loops *l)
{
    const struct attention_span *attention = l->attention;
    size_t length = l->qk->shape[1];
    size_t span = attention->span;
    struct query q = {.all = tensor_width(l->v),
                      .soft = zeros(span),
                      .power = zeros(span),
                      .d_weight = zeros(span)};
    q.width = q.all / attention->heads;
    l->y = zeros(tensor_size(l->v));
    l->d_v = zeros(tensor_size(l->v));
    l->d_qk = zeros(tensor_size(l->qk));
    l->d_spans = zeros(tensor_size(attention->spans));
    l->d_positions = zeros(span * q.width);
    for (size_t i = 0; i < l->qk->shape[0] * length * attention->heads; i++) {
        q.head = i % attention->heads;
        q.t = i / attention->heads % length;
        q.series = i / attention->heads / length;
        size_t z = attention->spans->axes == 3 ? i : q.head;
        double ratio = (double)attention->spans->data[z];
        q.reach = (double)attention->ramp + ratio * (double)span;
        q.count = q.t + (attention->excludes_self ? 0 : 1);
        q.count = q.count < span ? q.count : span;
        query_forward(l, &q);
        double d_reach = 0;
        query_back(l, &q, &d_reach);
        l->d_spans[z] += d_reach * (double)span;
    }
    mem_free(q.soft);
    mem_free(q.power);
    mem_free(q.d_weight);
}

static void close_loops(struct loops *l)
{
    mem_free(l->y);
    mem_free(l->d_qk);
    mem_free(l->d_v);
    mem_free(l->d_spans);
    mem_free(l->d_positions);
}

/* The same outputs, one or a few steps at a time, from a ring. */
static void check_steps(struct trial *t, const struct loops *l)
{
    size_t all = tensor_width(l->v);
    size_t batch = l->v->shape[0];
    size_t length = l->v->shape[1];
    struct tape tape;
    struct error error = {0};
    struct tape_size size = {4 << 20, 1, 1};
    struct params none = {0};
    assert_int_equal(tape_init(&tape, &size, &error), STATUS_OK);
    struct attention_cache cache = {.batch = batch, .capacity = l->attention->span + 1};
    cache.keys = mem_zeroed(batch * cache.capacity * all, sizeof(real));
    cache.values = mem_zeroed(batch * cache.capacity * all, sizeof(real));
    real *y = mem_zeroed(batch * length * all, sizeof(real));
    for (size_t count = 0; cache.length < length; cache.length += count) {
        count = trial_some(t, length - cache.length);
        count = count < 5 ? count : 1;
        tape_begin(&tape, TAPE_INFER, &none, NULL, NULL, 1, 1);
        struct attention_span attention = *l->attention;
        struct tensor *qk = tape_input(&tape, (size_t[]){batch, count, 2 * all, 0});
        struct tensor *v = tape_input(&tape, (size_t[]){batch, count, all, 0});
        struct tensor *z = tape_input(&tape, (size_t[]){batch, count, attention.heads, 0});
        for (size_t b = 0; b < batch; b++) {
            size_t row = b * length + cache.length;
            memcpy(qk->data + b * count * 2 * all, l->qk->data + row * 2 * all,
                   count * 2 * all * sizeof(real));
            memcpy(v->data + b * count * all, l->v->data + row * all, count * all * sizeof(real));
            memcpy(z->data + b * count * attention.heads,
                   l->attention->spans->data +
                       (l->attention->spans->axes == 3 ? row * attention.heads : 0),
                   (l->attention->spans->axes == 3 ? count : 1) * attention.heads * sizeof(real));
        }
        attention.spans = l->attention->spans->axes == 3 ? z : attention.spans;
        const struct tensor *part = attention_span_append(&tape, qk, v, &attention, &cache);
        for (size_t b = 0; b < batch; b++) {
            memcpy(y + (b * length + cache.length) * all, part->data + b * count * all,
                   count * all * sizeof(real));
        }
    }
    trial_compare_values(t, y, batch * length * all, "step by step");
    mem_free(y);
    mem_free(cache.keys);
    mem_free(cache.values);
    tape_release(&tape);
}

/* Spans in [0, 1], some of them at the ends. */
static struct tensor *draw_spans(struct trial *t, const size_t *shape)
{
    struct tensor *spans = tape_input(&t->tape, shape);
    spans->wants_grad = true;
    for (size_t i = 0; i < tensor_size(spans); i++) {
        real ends[] = {0, 1};
        size_t kind = trial_some(t, 5);
        spans->data[i] = kind <= 2 ? ends[kind - 1] : (real)random_uniform(&t->random);
    }
    return spans;
}

static void check_attention_span(struct trial *t)
{
    double *memory = t->expected;
    size_t batch = trial_some(t, 3);
    size_t heads = trial_some(t, 3);
    size_t width = trial_some(t, 2) == 1 ? trial_some(t, 20) : 16;
    size_t length = trial_some(t, 90);
    struct tensor *qk = trial_draw(t, batch, length, 2 * heads * width);
    struct tensor *v = trial_draw(t, batch, length, heads * width);
    struct tensor *cotangent = trial_draw(t, batch, length, heads * width);
    struct attention_span attention = {.heads = heads,
                                       .span = trial_some(t, 100),
                                       .ramp = (real)trial_some(t, 12),
                                       .excludes_self = trial_some(t, 2) == 1};
    bool vary = trial_some(t, 2) == 1;
    attention.spans = vary ? draw_spans(t, (size_t[]){batch, length, heads, 0})
                           : draw_spans(t, (size_t[]){heads, 0});
    if (trial_some(t, 3) > 1) {
        attention.positions = tape_input(&t->tape, (size_t[]){attention.span, width, 0});
        attention.positions->wants_grad = true;
        for (size_t i = 0; i < tensor_size(attention.positions); i++) {
            attention.positions->data[i] = (real)random_normal(&t->random);
        }
    }
    struct loops loops = {.attention = &attention, .qk = qk, .v = v, .cotangent = cotangent};
    run_loops(&loops);
    struct tensor *y = op_attention_span(&t->tape, qk, v, &attention);
    t->expected = loops.y;
    trial_compare(t, y);
    check_steps(t, &loops);
    attention.untrimmed = true;
    trial_compare(t, op_attention_span(&t->tape, qk, v, &attention));
    attention.untrimmed = false;

    tape_backward(&t->tape, op_inner(&t->tape, y, cotangent));
    const struct {
        struct tensor *tensor;
        double *expected;
        const char *what;
    } gradients[] = {{qk, loops.d_qk, "d qk"},
                     {v, loops.d_v, "d v"},
                     {attention.spans, loops.d_spans, "d spans"},
                     {attention.positions, loops.d_positions, "d positions"}};
    for (size_t i = 0; i < ARRAY_COUNT(gradients); i++) {
        if (gradients[i].tensor != NULL) {
            t->expected = gradients[i].expected;
            trial_compare_values(t, tape_gradient(&t->tape, gradients[i].tensor),
                                 tensor_size(gradients[i].tensor), gradients[i].what);
        }
    }
    close_loops(&loops);
    t->expected = memory;
}

static const struct reference references[] = {
    {"attention_span", check_attention_span},
};

const struct reference_family references_span = {references, ARRAY_COUNT(references)};
