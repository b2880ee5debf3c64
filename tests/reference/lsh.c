/* Plain loops of hashed attention: how often each query finds each key, then one softmax.
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

#define LENGTH_MOST 160
#define ROUNDS_MOST 3
#define WIDTH_MOST  20

/* One head of one series. */
struct plain_head {
    size_t length, width, step; /* step from row to row */
    const real *q, *v, *d_y;
    double *y, *d_q, *d_v;
    size_t bucket[ROUNDS_MOST][LENGTH_MOST];
    double found[LENGTH_MOST][LENGTH_MOST]; /* how often query t finds key s */
};

static void plain_buckets(struct plain_head *head, const struct lsh *lsh, size_t number)
{
    size_t half = lsh->buckets / 2;
    for (size_t r = 0; r < lsh->rounds; r++) {
        for (size_t t = 0; t < head->length; t++) {
            double best = -INFINITY;
            head->bucket[r][t] = 0;
            for (size_t b = 0; lsh->buckets > 1 && b < lsh->buckets; b++) {
                bool own = lsh->rotations->axes == 4;
                size_t rounds = lsh->rotations->shape[own ? 2 : 1];
                double p = 0;
                for (size_t c = 0; c < head->width; c++) {
                    size_t row = (own ? number * head->width : 0) + c;
                    p += (double)head->q[t * head->step + c] *
                         (double)lsh->rotations->data[(row * rounds + r) * half + b % half];
                }
                p = b < half ? p : -p;
                head->bucket[r][t] = p > best ? b : head->bucket[r][t];
                best = fmax(best, p);
            }
        }
    }
}

static void find_causal(struct plain_head *head, const struct lsh *lsh)
{
    for (size_t r = 0; r < lsh->rounds; r++) {
        for (size_t t = 0; t < head->length; t++) {
            size_t taken = 0;
            for (size_t s = t; s-- > 0;) {
                bool same = head->bucket[r][s] == head->bucket[r][t] && taken < lsh->window;
                taken += same;
                head->found[t][s] += same || t - s <= lsh->local;
            }
        }
    }
}

static void find_chunked(struct plain_head *head, const struct lsh *lsh)
{
    static size_t rank[ROUNDS_MOST * LENGTH_MOST];
    size_t n = lsh->rounds * head->length;
    size_t chunks = (n + lsh->chunk - 1) / lsh->chunk;
    for (size_t e = 0; e < n; e++) {
        size_t r = e / head->length;
        rank[e] = 0;
        for (size_t o = 0; o < n; o++) {
            size_t other = o / head->length;
            size_t mine = head->bucket[r][e % head->length];
            size_t theirs = head->bucket[other][o % head->length];
            rank[e] += other < r || (other == r && (theirs < mine || (theirs == mine && o < e)));
        }
    }
    for (size_t e = 0; e < n; e++) {
        for (size_t o = 0; o < n; o++) {
            size_t t = e % head->length;
            size_t s = o % head->length;
            size_t own = rank[e] / lsh->chunk;
            size_t theirs = rank[o] / lsh->chunk;
            bool same = e / head->length == o / head->length &&
                        head->bucket[e / head->length][t] == head->bucket[o / head->length][s];
            if (t != s && (!lsh->masked || s < t) && (!lsh->within || same)) {
                head->found[t][s] += (theirs == own) + (theirs == (own + chunks - 1) % chunks);
            }
        }
    }
}

/* The keys of a head, and for each the norm that it is divided by. */
static void plain_keys(const struct plain_head *head, bool rms, double k[][WIDTH_MOST],
                       double *norm)
{
    for (size_t t = 0; t < head->length; t++) {
        double squares = 0;
        for (size_t c = 0; c < head->width; c++) {
            squares += pow((double)head->q[t * head->step + c], 2);
        }
        norm[t] = rms ? sqrt(squares / (double)head->width + 1e-6) : sqrt(squares);
        for (size_t c = 0; c < head->width; c++) {
            k[t][c] = (double)head->q[t * head->step + c] / norm[t];
        }
    }
}

/* Both ways for query t: p over its keys, y, and what it adds to dq, dk, dv. */
static void plain_query(const struct plain_head *head, const struct lsh *lsh, size_t t,
                        double k[][WIDTH_MOST], double d_k[][WIDTH_MOST])
{
    double p[LENGTH_MOST];
    double sum = 0;
    double scale = lsh->scale != 0 ? (double)lsh->scale : 1 / sqrt((double)head->width);
    const real *q = head->q + t * head->step;
    for (size_t s = 0; s < head->length; s++) {
        double score = 0;
        for (size_t c = 0; c < head->width; c++) {
            score += scale * (double)q[c] * k[s][c];
        }
        p[s] = head->found[t][s] * exp(score);
        p[s] = lsh->unique ? p[s] / (head->found[t][s] + 1e-9) : p[s];
        sum += p[s];
    }
    if (sum == 0) {
        p[t] = sum = 1; /* nothing but itself */
    }
    double d = 0;
    for (size_t c = 0; c < head->width; c++) {
        double y = 0;
        for (size_t s = 0; s < head->length; s++) {
            y += p[s] / sum * (double)head->v[s * head->step + c];
        }
        head->y[t * head->step + c] = y;
        d += y * (double)head->d_y[t * head->step + c];
    }
    for (size_t s = 0; s < head->length; s++) {
        double slope = -d;
        for (size_t c = 0; c < head->width; c++) {
            double d_y = (double)head->d_y[t * head->step + c];
            slope += d_y * (double)head->v[s * head->step + c];
            head->d_v[s * head->step + c] += p[s] / sum * d_y;
        }
        slope *= s == t ? 0 : scale * p[s] / sum;
        for (size_t c = 0; c < head->width; c++) {
            head->d_q[t * head->step + c] += slope * k[s][c];
            d_k[s][c] += slope * (double)q[c];
        }
    }
}

static void plain_both_ways(struct plain_head *head, const struct lsh *lsh)
{
    static double k[LENGTH_MOST][WIDTH_MOST], d_k[LENGTH_MOST][WIDTH_MOST], norm[LENGTH_MOST];
    memset(d_k, 0, sizeof(d_k));
    plain_keys(head, lsh->rms, k, norm);
    for (size_t t = 0; t < head->length; t++) {
        plain_query(head, lsh, t, k, d_k);
    }
    for (size_t t = 0; t < head->length; t++) {
        for (size_t c = 0; c < head->width; c++) {
            for (size_t o = 0; o < head->width; o++) {
                /* d k_o / d q_c */
                double slope =
                    (double)(o == c) - k[t][o] * k[t][c] / (lsh->rms ? (double)head->width : 1);
                head->d_q[t * head->step + c] += d_k[t][o] * slope / norm[t];
            }
        }
    }
}

static void check_lsh(struct trial *t, bool causal, struct lsh *lsh, size_t length)
{
    static struct plain_head head;
    size_t batch = trial_some(t, 2);
    size_t width = trial_some(t, 2) == 1 ? trial_some(t, WIDTH_MOST) : 16;
    lsh->heads = trial_some(t, 2);
    lsh->rounds = trial_some(t, ROUNDS_MOST);
    lsh->rms = trial_some(t, 2) == 1;
    lsh->buckets = trial_some(t, 4) == 1 ? 1 : 2 * trial_some(t, 8);
    size_t rotations[] = {lsh->heads, width, lsh->rounds, lsh->buckets / 2, 0};
    bool own = trial_some(t, 2) == 1;
    if (lsh->buckets > 1) {
        struct tensor *drawn = tape_input(&t->tape, own ? rotations : rotations + 1);
        for (size_t i = 0; i < tensor_size(drawn); i++) {
            drawn->data[i] = (real)random_normal(&t->random);
        }
        lsh->rotations = drawn;
    }
    struct tensor *qk = trial_draw(t, batch, length, lsh->heads * width);
    struct tensor *v = trial_draw(t, batch, length, lsh->heads * width);
    struct tensor *cotangent = trial_draw(t, batch, length, lsh->heads * width);
    struct tensor *y =
        causal ? op_lsh_causal(&t->tape, qk, v, lsh) : op_lsh_chunked(&t->tape, qk, v, lsh);
    tape_backward(&t->tape, op_inner(&t->tape, y, cotangent));

    size_t size = tensor_size(v);
    double *expected = t->expected;
    memset(expected, 0, 3 * size * sizeof(double));
    for (size_t i = 0; i < batch * lsh->heads; i++) {
        size_t at = i / lsh->heads * length * lsh->heads * width + i % lsh->heads * width;
        head = (struct plain_head){.length = length, .width = width, .step = lsh->heads * width};
        head.q = qk->data + at;
        head.v = v->data + at;
        head.d_y = cotangent->data + at;
        head.y = expected + at;
        head.d_q = expected + size + at;
        head.d_v = expected + 2 * size + at;
        plain_buckets(&head, lsh, i % lsh->heads);
        if (causal) {
            find_causal(&head, lsh);
        } else {
            find_chunked(&head, lsh);
        }
        plain_both_ways(&head, lsh);
    }
    trial_compare(t, y);
    t->expected = expected + size;
    trial_compare_values(t, tape_gradient(&t->tape, qk), size, "d qk");
    t->expected = expected + 2 * size;
    trial_compare_values(t, tape_gradient(&t->tape, v), size, "d v");
    t->expected = expected;
}

static void check_causal(struct trial *t)
{
    size_t length = trial_some(t, LENGTH_MOST);
    struct lsh lsh = {.window = trial_some(t, 40), .local = trial_some(t, 6) - 1};
    check_lsh(t, true, &lsh, length);
}

static void check_chunked(struct trial *t)
{
    /* Short ones too: where a round ends and the next begins, a position is twice among neighbours.
     */
    size_t length = trial_some(t, 2) == 1 ? trial_some(t, 6) : trial_some(t, 100);
    struct lsh lsh = {
        .chunk = trial_some(t, 40),
        .masked = trial_some(t, 2) == 1,
        .within = trial_some(t, 2) == 1,
        .unique = trial_some(t, 2) == 1,
        .scale = (real)0.4,
    };
    check_lsh(t, false, &lsh, length);
}

static const struct reference references[] = {
    {"lsh_causal", check_causal},
    {"lsh_chunked", check_chunked},
};

const struct reference_family references_lsh = {references, ARRAY_COUNT(references)};
