/* Plain loops of windows both ways, a pattern a head, keys beside the sequence, and chosen rows.
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

/* One softmax of M queries over N keys, all rows [.., h] in doubles. */
struct loops {
    size_t queries, keys, width;
    double *q, *k, *v, *d_out, *y, *d_q, *d_k, *d_v;
    bool *seen; /* [M, N] */
};

static double *zeros(size_t n)
{
    double *values = mem_zeroed(n + 1, sizeof(double));
    CHECK(values != NULL);
    return values;
}

static void loops_open(struct loops *l)
{
    double **of_queries[] = {&l->q, &l->d_out, &l->y, &l->d_q};
    double **of_keys[] = {&l->k, &l->v, &l->d_k, &l->d_v};
    for (size_t i = 0; i < 4; i++) {
        *of_queries[i] = zeros(l->queries * l->width);
        *of_keys[i] = zeros(l->keys * l->width);
    }
    l->seen = mem_zeroed(l->queries * l->keys + 1, sizeof(bool));
}

static void loops_close(struct loops *l)
{
    double *all[] = {l->q, l->d_out, l->y, l->d_q, l->k, l->v, l->d_k, l->d_v};
    for (size_t i = 0; i < ARRAY_COUNT(all); i++) {
        mem_free(all[i]);
    }
    mem_free(l->seen);
}

static double dot(const double *a, const double *b, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        sum += a[i] * b[i];
    }
    return sum;
}

static void add(double *to, double factor, const double *from, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        to[i] += factor * from[i];
    }
}

static void loops_run(struct loops *l)
{
    size_t h = l->width;
    double scale = 1 / sqrt((double)h);
    double *p = zeros(l->keys);
    for (size_t i = 0; i < l->queries; i++) {
        double total = 0;
        double mean = 0;
        for (size_t j = 0; j < l->keys; j++) {
            p[j] = l->seen[i * l->keys + j] ? exp(scale * dot(l->q + i * h, l->k + j * h, h)) : 0;
            total += p[j];
        }
        for (size_t j = 0; j < l->keys; j++) {
            p[j] /= total > 0 ? total : 1;
            add(l->y + i * h, p[j], l->v + j * h, h);
            add(l->d_v + j * h, p[j], l->d_out + i * h, h);
            mean += p[j] * dot(l->d_out + i * h, l->v + j * h, h);
        }
        for (size_t j = 0; j < l->keys; j++) {
            double slope = scale * p[j] * (dot(l->d_out + i * h, l->v + j * h, h) - mean);
            add(l->d_q + i * h, slope, l->k + j * h, h);
            add(l->d_k + j * h, slope, l->q + i * h, h);
        }
    }
    mem_free(p);
}

/* Rows of one head of one series between a tensor's memory [B, n, step] and doubles [n, h]. */
struct rows {
    size_t series, count, step, channel, width;
};

static size_t row_place(const struct rows *r, size_t i)
{
    return (r->series * r->count + i / r->width) * r->step + r->channel + i % r->width;
}

static void take(const real *from, struct rows r, double *to)
{
    for (size_t i = 0; i < r.count * r.width; i++) {
        to[i] = (double)from[row_place(&r, i)];
    }
}

static void give(const double *from, struct rows r, double *to)
{
    for (size_t i = 0; i < r.count * r.width; i++) {
        to[row_place(&r, i)] += from[i];
    }
}

/* What the op of attention got and gave, and what it should have given. */
struct both {
    struct attention attention;
    struct tensor *qk, *v, *cotangent;
    double *y, *d_qk, *d_v, *d_k2, *d_v2;
};

static const struct attention_beside *beside_of(const struct both *both)
{
    return both->attention.beside_count > 0 ? both->attention.beside : NULL;
}

static bool sees(const struct both *both, size_t b, size_t h, size_t i, size_t j)
{
    const struct attention *a = &both->attention;
    size_t length = both->qk->shape[1];
    if (j < length) {
        const struct pattern *pattern =
            a->head_patterns != NULL ? &a->head_patterns[h] : a->pattern;
        return pattern_allows(pattern, i, j) &&
               (a->key_valid == NULL || a->key_valid[b * length + j] != 0);
    }
    const struct attention_beside *beside = beside_of(both);
    size_t series = beside->k->shape[0] > 1 ? b : 0;
    size_t n = j - length;
    return (beside->pattern == NULL || pattern_allows(beside->pattern, i, n)) &&
           (beside->valid == NULL || beside->valid[series * beside->k->shape[1] + n] != 0);
}

static void head_loops(struct both *both, size_t b, size_t h)
{
    const struct attention_beside *beside = beside_of(both);
    size_t length = both->qk->shape[1];
    size_t all = tensor_width(both->v);
    size_t width = all / both->attention.heads;
    size_t more = beside != NULL ? beside->k->shape[1] : 0;
    struct loops l = {.queries = length, .keys = length + more, .width = width};
    struct rows q = {b, length, 2 * all, h * width, width};
    struct rows k = {b, length, 2 * all, all + h * width, width};
    struct rows v = {b, length, all, h * width, width};
    struct rows other = {more > 0 && beside->k->shape[0] > 1 ? b : 0, more, all, h * width, width};
    loops_open(&l);
    take(both->qk->data, q, l.q);
    take(both->qk->data, k, l.k);
    take(both->v->data, v, l.v);
    take(both->cotangent->data, v, l.d_out);
    if (more > 0) {
        take(beside->k->data, other, l.k + length * width);
        take(beside->v->data, other, l.v + length * width);
    }
    for (size_t i = 0; i < l.queries * l.keys; i++) {
        l.seen[i] = sees(both, b, h, i / l.keys, i % l.keys);
    }
    loops_run(&l);
    give(l.y, v, both->y);
    give(l.d_q, q, both->d_qk);
    give(l.d_k, k, both->d_qk);
    give(l.d_v, v, both->d_v);
    if (more > 0) {
        give(l.d_k + length * width, other, both->d_k2);
        give(l.d_v + length * width, other, both->d_v2);
    }
    loops_close(&l);
}

static void compare_gradient(struct trial *t, struct tensor *tensor, double *expected,
                             const char *what)
{
    t->expected = expected;
    trial_compare_values(t, tape_gradient(&t->tape, tensor), tensor_size(tensor), what);
    mem_free(expected);
}

/* Runs the op both ways, and the loops; `op` says which one must have run. */
static void check(struct trial *t, struct both *both, const char *op)
{
    double *kept = t->expected;
    const struct attention_beside *beside = beside_of(both);
    struct tensor *y = op_attention(&t->tape, both->qk, both->v, &both->attention);
    assert_string_equal(t->tape.nodes[t->tape.node_count - 1].op->name, op);
    tape_backward(&t->tape, op_inner(&t->tape, y, both->cotangent));
    both->y = zeros(tensor_size(y));
    both->d_qk = zeros(tensor_size(both->qk));
    both->d_v = zeros(tensor_size(both->v));
    both->d_k2 = beside != NULL ? zeros(tensor_size(beside->k)) : NULL;
    both->d_v2 = beside != NULL ? zeros(tensor_size(beside->v)) : NULL;
    for (size_t b = 0; b < both->qk->shape[0]; b++) {
        for (size_t h = 0; h < both->attention.heads; h++) {
            head_loops(both, b, h);
        }
    }
    t->expected = both->y;
    trial_compare(t, y);
    mem_free(both->y);
    compare_gradient(t, both->qk, both->d_qk, "d qk");
    compare_gradient(t, both->v, both->d_v, "d v");
    if (beside != NULL) {
        compare_gradient(t, beside->k, both->d_k2, "d k beside");
        compare_gradient(t, beside->v, both->d_v2, "d v beside");
    }
    t->expected = kept;
}

static uint8_t *some_valid(struct trial *t, size_t n)
{
    uint8_t *valid = trial_some(t, 2) == 1 ? mem_zeroed(n, 1) : NULL;
    for (size_t i = 0; valid != NULL && i < n; i++) {
        valid[i] = random_below(&t->random, 4) != 0;
    }
    return valid;
}

static void open_window(struct trial *t, size_t length, bool both_ways, struct pattern *pattern)
{
    struct error error = {0};
    struct pattern_window shape = {length, trial_some(t, 6), trial_some(t, 4), both_ways};
    assert_int_equal(pattern_window(&shape, pattern, &error), STATUS_OK);
}

enum { HEADS_MOST = 3 };

static void open_both(struct trial *t, struct both *both, struct pattern patterns[HEADS_MOST])
{
    size_t batch = trial_some(t, 3);
    size_t heads = trial_some(t, HEADS_MOST);
    size_t width = trial_some(t, 2) == 1 ? trial_some(t, 20) : 16;
    size_t length = 60 + trial_some(t, 60);
    bool both_ways = trial_some(t, 2) == 1;
    *both = (struct both){
        .qk = trial_draw(t, batch, length, 2 * heads * width),
        .v = trial_draw(t, batch, length, heads * width),
        .cotangent = trial_draw(t, batch, length, heads * width),
        .attention = {.heads = heads, .head_patterns = patterns},
    };
    for (size_t h = 0; h < HEADS_MOST; h++) {
        open_window(t, length, both_ways, &patterns[h]);
    }
    both->attention.key_valid = some_valid(t, batch * length);
}

static void close_both(struct both *both, struct pattern patterns[HEADS_MOST])
{
    for (size_t h = 0; h < HEADS_MOST; h++) {
        pattern_release(&patterns[h]);
    }
    mem_free((void *)(uintptr_t)both->attention.key_valid);
}

static void check_windows(struct trial *t)
{
    struct both both;
    struct pattern patterns[HEADS_MOST];
    open_both(t, &both, patterns);
    check(t, &both, "attention_sparse");
    close_both(&both, patterns);
}

static void check_beside(struct trial *t)
{
    struct both both;
    struct pattern patterns[HEADS_MOST];
    struct pattern distant;
    open_both(t, &both, patterns);
    size_t batch = both.qk->shape[0];
    size_t length = both.qk->shape[1];
    bool listed = trial_some(t, 2) == 1;
    size_t count = listed ? length : trial_some(t, 9);
    size_t series = listed || trial_some(t, 2) == 1 ? batch : 1;
    struct attention_beside beside = {
        .k = trial_draw(t, series, count, tensor_width(both.v)),
        .v = trial_draw(t, series, count, tensor_width(both.v)),
        .pattern = listed ? &distant : NULL,
        .valid = some_valid(t, series * count),
    };
    open_window(t, length, false, &distant);
    for (size_t o = 0; o < distant.offset_count; o++) {
        distant.offsets[o] += 7; /* far, so the first queries see none of them */
    }
    both.attention.beside = &beside;
    both.attention.beside_count = 1;
    check(t, &both, "attention_beside");
    pattern_release(&distant);
    mem_free((void *)(uintptr_t)beside.valid);
    close_both(&both, patterns);
}

static void check_across(struct trial *t)
{
    double *kept = t->expected;
    size_t width = trial_some(t, 20);
    struct tensor *q = trial_draw(t, 1, trial_some(t, 20), width);
    struct tensor *k = trial_draw(t, 1, trial_some(t, 500), width);
    struct tensor *v = trial_draw(t, 1, k->shape[1], width);
    struct tensor *cotangent = trial_draw(t, 1, q->shape[1], width);
    uint8_t *valid = some_valid(t, k->shape[1]);
    struct tensor *y =
        op_attention_across(&t->tape, q, k, v, &(struct attention){.heads = 1, .key_valid = valid});
    tape_backward(&t->tape, op_inner(&t->tape, y, cotangent));
    struct loops l = {.queries = q->shape[1], .keys = k->shape[1], .width = width};
    loops_open(&l);
    take(q->data, (struct rows){0, l.queries, width, 0, width}, l.q);
    take(cotangent->data, (struct rows){0, l.queries, width, 0, width}, l.d_out);
    take(k->data, (struct rows){0, l.keys, width, 0, width}, l.k);
    take(v->data, (struct rows){0, l.keys, width, 0, width}, l.v);
    for (size_t i = 0; i < l.queries * l.keys; i++) {
        l.seen[i] = valid == NULL || valid[i % l.keys] != 0;
    }
    loops_run(&l);
    t->expected = l.y;
    trial_compare(t, y);
    t->expected = l.d_q;
    trial_compare_values(t, tape_gradient(&t->tape, q), tensor_size(q), "d q");
    t->expected = l.d_k;
    trial_compare_values(t, tape_gradient(&t->tape, k), tensor_size(k), "d k");
    t->expected = l.d_v;
    trial_compare_values(t, tape_gradient(&t->tape, v), tensor_size(v), "d v");
    loops_close(&l);
    mem_free(valid);
    t->expected = kept;
}

/* ---------------------------------------------------------------- chosen rows */

enum { CHOSEN = 3 };

/* Rows 2 b, 2 b + 1 ... of series b, some of them not chosen. */
static struct row_choice some_choice(struct trial *t, size_t batch)
{
    static uint32_t positions[CHOSEN * 4];
    static uint8_t valid[CHOSEN * 4];
    for (size_t n = 0; n < batch * CHOSEN; n++) {
        positions[n] = (uint32_t)(2 * (n / CHOSEN) + (CHOSEN - 1 - n % CHOSEN));
        valid[n] = random_below(&t->random, 3) != 0;
    }
    return (struct row_choice){positions, valid, CHOSEN};
}

static void check_take_rows(struct trial *t)
{
    struct tensor *x = trial_draw(t, trial_some(t, 3), 9, trial_some(t, 7));
    struct row_choice choice = some_choice(t, x->shape[0]);
    size_t width = x->shape[2];
    for (size_t i = 0; i < x->shape[0] * CHOSEN * width; i++) {
        size_t n = i / width;
        size_t from = ((n / CHOSEN) * 9 + choice.positions[n]) * width + i % width;
        t->expected[i] = choice.valid[n] != 0 ? (double)x->data[from] : 0;
    }
    trial_compare(t, op_take_rows(&t->tape, x, &choice));
}

static void check_put_rows(struct trial *t)
{
    struct tensor *x = trial_draw(t, trial_some(t, 3), 9, trial_some(t, 7));
    struct tensor *rows = trial_draw(t, x->shape[0], CHOSEN, x->shape[2]);
    struct row_choice choice = some_choice(t, x->shape[0]);
    size_t width = x->shape[2];
    for (size_t i = 0; i < tensor_size(x); i++) {
        t->expected[i] = (double)x->data[i];
    }
    for (size_t i = 0; i < tensor_size(rows); i++) {
        size_t n = i / width;
        if (choice.valid[n] != 0) {
            size_t to = ((n / CHOSEN) * 9 + choice.positions[n]) * width + i % width;
            t->expected[to] = (double)rows->data[i];
        }
    }
    trial_compare(t, op_put_rows(&t->tape, x, rows, &choice));
}

static const struct reference references[] = {
    {"attention_beside", check_beside},  {"attention_across", check_across},
    {"attention_sparse", check_windows}, {"take_rows", check_take_rows},
    {"put_rows", check_put_rows},
};

const struct reference_family references_longformer = {references, ARRAY_COUNT(references)};
