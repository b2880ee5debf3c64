/* Attention over a list of keys a row: any pattern, in plain loops.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "model/ops/attention.h"
#include "model/ops/rows.h"

#include "base/check.h"

#include <math.h>
#include <tgmath.h>

static real dot(const real *restrict a, const real *restrict b, size_t width)
{
    real sum = 0;
#pragma omp simd reduction(+ : sum)
    for (size_t c = 0; c < width; c++) {
        sum += a[c] * b[c];
    }
    return sum;
}

static void add_scaled(real *restrict to, real factor, const real *restrict from, size_t width)
{
    for (size_t c = 0; c < width; c++) {
        to[c] += factor * from[c];
    }
}

static size_t longest_row(const struct pattern *pattern)
{
    size_t longest = 0;
    for (size_t i = 0; i < pattern->length; i++) {
        size_t count = pattern->row_start[i + 1] - pattern->row_start[i];
        longest = count > longest ? count : longest;
    }
    return longest;
}

/* Where row t of one head of one series lies in qk (queries; keys are H h further) and in v. */
struct place {
    size_t qk, v, all, width;
};

static struct place place_of(const struct attention_kept *kept, const struct tensor *v,
                             size_t series, size_t head)
{
    size_t all = tensor_width(v);
    size_t width = all / kept->attention.heads;
    size_t row = series * v->shape[1];
    return (struct place){row * 2 * all + head * width, row * all + head * width, all, width};
}

/* s[n] = scores of query i against its keys; -infinity for invalid ones. */
static void row_scores(const struct attention_kept *kept, const struct tensor *qk,
                       const struct tensor *v, struct place at, size_t series, size_t i,
                       real *restrict s)
{
    const struct pattern *pattern = kept->attention.pattern;
    const uint32_t *keys = pattern->keys + pattern->row_start[i];
    size_t count = pattern->row_start[i + 1] - pattern->row_start[i];
    real factor = attention_scale(v, &kept->attention);
    const real *q = qk->data + at.qk + i * 2 * at.all;
    const uint8_t *valid = kept->attention.key_valid;
    for (size_t n = 0; n < count; n++) {
        const real *k = qk->data + at.qk + at.all + keys[n] * 2 * at.all;
        s[n] = factor * dot(q, k, at.width);
        if (valid != NULL && valid[series * pattern->length + keys[n]] == 0) {
            s[n] = -(real)INFINITY;
        }
    }
}

static void row_forward(const struct attention_kept *kept, const struct tensor *v, struct place at,
                        size_t i, real *restrict s, real *log_sum, real *out)
{
    const struct pattern *pattern = kept->attention.pattern;
    const uint32_t *keys = pattern->keys + pattern->row_start[i];
    size_t count = pattern->row_start[i + 1] - pattern->row_start[i];
    real largest = -(real)INFINITY;
    for (size_t n = 0; n < count; n++) {
        largest = s[n] > largest ? s[n] : largest;
    }
    for (size_t c = 0; c < at.width; c++) {
        out[c] = 0;
    }
    *log_sum = 0;
    if (largest == -(real)INFINITY) {
        return; /* sees nothing */
    }
    real sum = 0;
    for (size_t n = 0; n < count; n++) {
        s[n] = exp(s[n] - largest);
        sum += s[n];
    }
    *log_sum = largest + log(sum);
    for (size_t n = 0; n < count; n++) {
        add_scaled(out, s[n] / sum, v->data + at.v + keys[n] * at.all, at.width);
    }
}

size_t attention_rows_forward(struct tape *tape, const struct attention_kept *kept,
                              const struct tensor *qk, const struct tensor *v, struct tensor *out)
{
    const struct pattern *pattern = kept->attention.pattern;
    size_t length = v->shape[1];
    size_t heads = kept->attention.heads;
    CHECK(pattern->length == length);
    size_t bytes = longest_row(pattern) * sizeof(real);
    size_t mark = tape_scratch_begin(tape);
    real *scores = tape_bytes(tape, bytes);
    for (size_t b = 0; tape_computes(tape) && b < v->shape[0]; b++) {
        for (size_t h = 0; h < heads; h++) {
            struct place at = place_of(kept, v, b, h);
            for (size_t i = 0; i < length; i++) {
                row_scores(kept, qk, v, at, b, i, scores);
                row_forward(kept, v, at, i, scores, &kept->log_sum[(b * heads + h) * length + i],
                            out->data + at.v + i * at.all);
            }
        }
    }
    tape_scratch_end(tape, mark);
    return bytes;
}

/* P and dS as in kernels/attention.c, for one query. d_qk and d_v may be NULL. */
static void row_back(const struct attention_kept *kept, const struct node *node, struct place at,
                     size_t i, real log_sum, const real *restrict s, const real *d_out, real *d_qk,
                     real *d_v)
{
    const struct pattern *pattern = kept->attention.pattern;
    const uint32_t *keys = pattern->keys + pattern->row_start[i];
    size_t count = pattern->row_start[i + 1] - pattern->row_start[i];
    const real *qk = node->in[0]->data;
    const real *v = node->in[1]->data;
    real factor = attention_scale(node->in[1], &kept->attention);
    const real *d = d_out + at.v + i * at.all;
    real sum = dot(d, node->out->data + at.v + i * at.all, at.width);
    size_t q = at.qk + i * 2 * at.all;
    for (size_t n = 0; n < count; n++) {
        size_t k = at.qk + at.all + keys[n] * 2 * at.all;
        size_t value = at.v + keys[n] * at.all;
        real p = exp(s[n] - log_sum);
        real slope = p * (dot(d, v + value, at.width) - sum) * factor;
        if (d_v != NULL) {
            add_scaled(d_v + value, p, d, at.width);
        }
        if (d_qk != NULL) {
            add_scaled(d_qk + q, slope, qk + k, at.width);
            add_scaled(d_qk + k, slope, qk + q, at.width);
        }
    }
}

static void rows_back(struct tape *tape, const struct node *node)
{
    const struct attention_kept *kept = node->context;
    const struct tensor *v = node->in[1];
    size_t length = v->shape[1];
    size_t heads = kept->attention.heads;
    real *scores = tape_backward_scratch(tape, node->scratch);
    real *d_qk = tape_grad_sum(tape, node->in[0]);
    real *d_v = tape_grad_sum(tape, node->in[1]);
    for (size_t b = 0; b < v->shape[0]; b++) {
        for (size_t h = 0; h < heads; h++) {
            struct place at = place_of(kept, v, b, h);
            for (size_t i = 0; i < length; i++) {
                row_scores(kept, node->in[0], v, at, b, i, scores);
                row_back(kept, node, at, i, kept->log_sum[(b * heads + h) * length + i], scores,
                         tape_grad_of(node->out), d_qk, d_v);
            }
        }
    }
}

const struct op attention_rows_op = {.name = "attention_rows", .backward = rows_back};
