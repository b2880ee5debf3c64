/* Plain loops of relative attention, both ways, and of joining memory and window.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "tests/reference/trial.h"

#include "base/check.h"
#include "base/memory.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* The sizes of a trial, and where the loops put their results. */
struct loops {
    const struct attention_relative *attention;
    const struct tensor *cotangent;
    size_t heads, width, all, queries, keys;
    double *y, *d_q, *d_k, *d_v, *d_r, *d_u, *d_w;
};

/* One query of one head. */
struct place {
    size_t b, h, i;
};

static double read(const struct tensor *x, size_t place)
{
    return (double)x->data[place];
}

/* Whether the query sees key j, and the row of r between them. */
static bool sees(const struct loops *l, const struct place *at, size_t j, size_t *row)
{
    const struct attention_relative *a = l->attention;
    int64_t distance = (int64_t)(l->keys - l->queries + at->i) - (int64_t)j;
    int64_t wanted = (int64_t)a->row_zero + distance;
    int64_t last = (int64_t)a->r->shape[0] - 1;
    *row = (size_t)(wanted < 0 ? 0 : wanted > last ? last : wanted);
    return (!a->causal || distance >= 0) &&
           (a->window == 0 || llabs(distance) <= (int64_t)a->window - 1) &&
           (a->key_valid == NULL || a->key_valid[at->b * l->keys + j] != 0);
}

/* p[keys] = softmax of the query's scores; zeros where it sees nothing. */
static void plain_row(const struct loops *l, const struct place *at, double *p)
{
    const struct attention_relative *a = l->attention;
    size_t q = (at->b * l->queries + at->i) * l->all + at->h * l->width;
    double scale = a->scale != 0 ? (double)a->scale : 1 / sqrt((double)l->width);
    double largest = -HUGE_VAL;
    for (size_t j = 0; j < l->keys; j++) {
        size_t row = 0;
        p[j] = -HUGE_VAL;
        if (sees(l, at, j, &row)) {
            double sum = 0;
            for (size_t c = 0; c < l->width; c++) {
                size_t channel = at->h * l->width + c;
                sum +=
                    (read(a->q, q + c) + read(a->u, channel)) *
                        read(a->k, (at->b * l->keys + j) * l->all + channel) +
                    (read(a->q, q + c) + read(a->w, channel)) * read(a->r, row * l->all + channel);
            }
            p[j] = scale * sum;
        }
        largest = fmax(largest, p[j]);
    }
    double total = 0;
    for (size_t j = 0; j < l->keys; j++) {
        p[j] = largest == -HUGE_VAL ? 0 : exp(p[j] - largest);
        total += p[j];
    }
    for (size_t j = 0; j < l->keys && total > 0; j++) {
        p[j] /= total;
    }
}

/* The gradients that pass through the pair of the query and key j, whose dS is `slope`. */
static void plain_pair(const struct loops *l, const struct place *at, size_t j, double slope)
{
    const struct attention_relative *a = l->attention;
    double scale = a->scale != 0 ? (double)a->scale : 1 / sqrt((double)l->width);
    size_t row = 0;
    (void)sees(l, at, j, &row);
    for (size_t c = 0; c < l->width; c++) {
        size_t channel = at->h * l->width + c;
        size_t q = (at->b * l->queries + at->i) * l->all + channel;
        size_t k = (at->b * l->keys + j) * l->all + channel;
        double by_content = scale * slope * read(a->k, k);
        double by_distance = scale * slope * read(a->r, row * l->all + channel);
        l->d_q[q] += by_content + by_distance;
        l->d_u[channel] += by_content;
        l->d_w[channel] += by_distance;
        l->d_k[k] += scale * slope * (read(a->q, q) + read(a->u, channel));
        l->d_r[row * l->all + channel] += scale * slope * (read(a->q, q) + read(a->w, channel));
    }
}

static void plain_query(const struct loops *l, const struct place *at, double *p)
{
    const struct attention_relative *a = l->attention;
    size_t from = (at->b * l->queries + at->i) * l->all + at->h * l->width;
    double *slope = p + l->keys;
    double mean = 0;
    plain_row(l, at, p);
    for (size_t j = 0; j < l->keys; j++) {
        slope[j] = 0;
        for (size_t c = 0; c < l->width; c++) {
            size_t v = (at->b * l->keys + j) * l->all + at->h * l->width + c;
            double dy = read(l->cotangent, from + c);
            l->y[from + c] += p[j] * read(a->v, v);
            l->d_v[v] += p[j] * dy;
            slope[j] += dy * read(a->v, v);
        }
        mean += p[j] * slope[j];
    }
    for (size_t j = 0; j < l->keys; j++) {
        if (p[j] > 0) {
            plain_pair(l, at, j, p[j] * (slope[j] - mean));
        }
    }
}

static void compare_gradient(struct trial *t, struct tensor *x, double *expected, const char *what)
{
    t->expected = expected;
    trial_compare_values(t, tape_gradient(&t->tape, x), tensor_size(x), what);
}

static void run_loops(struct trial *t, const struct attention_relative *a, struct tensor *y,
                      struct tensor *cotangent)
{
    struct loops l = {
        .attention = a,
        .cotangent = cotangent,
        .heads = a->heads,
        .width = tensor_width(a->q) / a->heads,
        .all = tensor_width(a->q),
        .queries = a->q->shape[1],
        .keys = a->k->shape[1],
    };
    double *next = t->expected;
    const struct tensor *shapes[] = {a->q, a->q, a->k, a->v, a->r, a->u, a->w};
    double **places[] = {&l.y, &l.d_q, &l.d_k, &l.d_v, &l.d_r, &l.d_u, &l.d_w};
    for (size_t i = 0; i < ARRAY_COUNT(places); i++) {
        *places[i] = next;
        memset(next, 0, tensor_size(shapes[i]) * sizeof(double));
        next += tensor_size(shapes[i]);
    }
    CHECK((size_t)(next - t->expected) + 2 * l.keys <= (1 << 18));
    for (size_t b = 0; b < a->q->shape[0]; b++) {
        for (size_t h = 0; h < a->heads; h++) {
            for (size_t i = 0; i < l.queries; i++) {
                plain_query(&l, &(struct place){b, h, i}, next);
            }
        }
    }
    double *kept = t->expected;
    t->expected = l.y;
    trial_compare(t, y);
    compare_gradient(t, a->q, l.d_q, "d q");
    compare_gradient(t, a->k, l.d_k, "d k");
    compare_gradient(t, a->v, l.d_v, "d v");
    compare_gradient(t, a->r, l.d_r, "d r");
    compare_gradient(t, a->u, l.d_u, "d u");
    compare_gradient(t, a->w, l.d_w, "d w");
    t->expected = kept;
}

/* Sometimes long enough for several tiles and groups. */
static void check_attention_relative(struct trial *t)
{
    size_t heads = trial_some(t, 3);
    size_t width = trial_some(t, 2) == 1 ? trial_some(t, 20) : 16;
    size_t batch = trial_some(t, 2);
    bool big = trial_some(t, 5) == 1;
    size_t queries = trial_some(t, 4) == 1 ? 1 : trial_some(t, big ? 120 : 60);
    size_t keys = queries + (trial_some(t, 3) == 1 ? 0 : trial_some(t, big ? 500 : 50));
    size_t rows = trial_some(t, keys + queries);
    uint8_t *valid = trial_some(t, 3) == 1 ? mem_zeroed(batch * keys, 1) : NULL;
    for (size_t i = 0; valid != NULL && i < batch * keys; i++) {
        valid[i] = random_below(&t->random, 4) != 0;
    }
    struct tensor *r = trial_draw(t, 1, rows, heads * width);
    struct attention_relative attention = {
        .q = trial_draw(t, batch, queries, heads * width),
        .k = trial_draw(t, batch, keys, heads * width),
        .v = trial_draw(t, batch, keys, heads * width),
        .r = op_reshape(&t->tape, r, (size_t[]){rows, heads * width, 0}),
        .u = trial_draw(t, 1, heads, width),
        .w = trial_draw(t, 1, heads, width),
        .heads = heads,
        .row_zero = trial_some(t, rows) - 1,
        .scale = trial_some(t, 2) == 1 ? (real)0.3 : 0,
        .causal = trial_some(t, 3) != 1,
        .window = trial_some(t, 2) == 1 ? trial_some(t, keys + 5) : 0,
        .key_valid = valid,
    };
    struct tensor *cotangent = trial_draw(t, batch, queries, heads * width);
    struct tensor *y = op_attention_relative(&t->tape, &attention);
    tape_backward(&t->tape, op_inner(&t->tape, y, cotangent));
    run_loops(t, &attention, y, cotangent);
    mem_free(valid);
}

static void check_concat_time(struct trial *t)
{
    struct tensor *a = trial_draw(t, trial_some(t, 3), trial_some(t, 9), trial_some(t, 20));
    struct tensor *b = trial_draw(t, a->shape[0], trial_some(t, 9), a->shape[2]);
    size_t length = a->shape[1] + b->shape[1];
    size_t width = a->shape[2];
    for (size_t i = 0; i < a->shape[0] * length * width; i++) {
        size_t series = i / (length * width);
        size_t row = i / width % length;
        size_t at = row < a->shape[1] ? row : row - a->shape[1];
        const struct tensor *from = row < a->shape[1] ? a : b;
        t->expected[i] = read(from, (series * from->shape[1] + at) * width + i % width);
    }
    trial_compare(t, op_concat_time(&t->tape, a, b));
}

static const struct reference references[] = {
    {"concat_time", check_concat_time},
    {"attention_relative", check_attention_relative},
};

const struct reference_family references_attention_relative = {references, ARRAY_COUNT(references)};
