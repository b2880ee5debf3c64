/* Mechanism logsparse_conv: convolutional self-attention over a masked set of keys, and its block.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Every file runs over index lists made from its mask; where the mask is the same set of distances
 * in every row it runs again over offsets (or dense), and the offsets are compared with
 * pattern.c's.
 */
#include "tests/golden/vectors.h"

#include "base/check.h"
#include "base/memory.h"

#include <stdio.h>
#include <string.h>

/* Weights as the ops want them: queries and keys in one, taps before inputs. */
struct weights {
    struct tensor *x, *qk, *qk_bias, *wv, *bv, *wo, *bo;
    struct tensor *ln1_g, *ln1_b, *ln2_g, *ln2_b, *w1, *b1, *w2, *b2;
};

/* to[o, j, c] = from[o, c, j]: [out, in, K] to [out, K, in]. */
static void swap_taps(const float *from, const size_t *shape, real *to)
{
    for (size_t o = 0; o < shape[0]; o++) {
        for (size_t c = 0; c < shape[1]; c++) {
            for (size_t j = 0; j < shape[2]; j++) {
                size_t place = (o * shape[2] + j) * shape[1] + c;
                to[place] = (real)from[(o * shape[1] + c) * shape[2] + j];
            }
        }
    }
}

static bool read_attention(struct vectors *v, struct tape *tape, struct weights *w)
{
    const struct vector *wq = vectors_find(v, "p.wq");
    const struct vector *wk = vectors_find(v, "p.wk");
    const struct vector *bq = vectors_find(v, "p.bq");
    const struct vector *bk = vectors_find(v, "p.bk");
    if (wq == NULL || wk == NULL || bq == NULL || bk == NULL || wq->shape[3] != 0 ||
        wq->shape[2] == 0 || memcmp(wq->shape, wk->shape, sizeof(wq->shape)) != 0) {
        return vectors_fail(v, "p.wq, p.wk, p.bq, p.bk: missing or of unknown form");
    }
    size_t out = wq->shape[0];
    w->qk = tape_input(tape, (size_t[]){2 * out, wq->shape[2], wq->shape[1], 0});
    swap_taps(wq->values, wq->shape, w->qk->data);
    swap_taps(wk->values, wk->shape, w->qk->data + wq->size);
    w->qk_bias = tape_input(tape, (size_t[]){2 * out, 0});
    for (size_t i = 0; i < out; i++) {
        w->qk_bias->data[i] = (real)bq->values[i];
        w->qk_bias->data[out + i] = (real)bk->values[i];
    }
    w->qk->wants_grad = true;
    w->qk_bias->wants_grad = true;
    w->x = vectors_input(v, tape, "in.x");
    w->wv = vectors_input(v, tape, "p.wv");
    w->bv = vectors_input(v, tape, "p.bv");
    w->wo = vectors_input(v, tape, "p.wo");
    w->bo = vectors_input(v, tape, "p.bo");
    return v->off == 0;
}

static bool read_block(struct vectors *v, struct tape *tape, struct weights *w)
{
    w->ln1_g = vectors_input(v, tape, "p.ln1_g");
    w->ln1_b = vectors_input(v, tape, "p.ln1_b");
    w->ln2_g = vectors_input(v, tape, "p.ln2_g");
    w->ln2_b = vectors_input(v, tape, "p.ln2_b");
    w->w1 = vectors_input(v, tape, "p.w1");
    w->b1 = vectors_input(v, tape, "p.b1");
    w->w2 = vectors_input(v, tape, "p.w2");
    w->b2 = vectors_input(v, tape, "p.b2");
    return v->off == 0;
}

/* The gradient of wq or wk (half 0 or 1) back in the file's order. */
static void compare_conv(struct vectors *v, struct tape *tape, const struct weights *w,
                         const char *name, size_t half)
{
    const real *gradient = tape_gradient(tape, w->qk) + half * tensor_size(w->qk) / 2;
    size_t out = w->qk->shape[0] / 2;
    size_t kernel = w->qk->shape[1];
    size_t in = w->qk->shape[2];
    real *ordered = mem_alloc_aligned(out * kernel * in * sizeof(real));
    for (size_t o = 0; o < out; o++) {
        for (size_t j = 0; j < kernel; j++) {
            for (size_t c = 0; c < in; c++) {
                ordered[(o * in + c) * kernel + j] = gradient[(o * kernel + j) * in + c];
            }
        }
    }
    vectors_compare(v, name, ordered, out * kernel * in, 1);
    mem_free(ordered);
}

static void compare_gradient(struct vectors *v, struct tape *tape, struct tensor *tensor,
                             const char *name)
{
    vectors_compare(v, name, tape_gradient(tape, tensor), tensor_size(tensor), 1);
}

static void compare_all(struct vectors *v, struct tape *tape, struct weights *w)
{
    size_t out = tensor_size(w->qk_bias) / 2;
    compare_conv(v, tape, w, "g.wq", 0);
    compare_conv(v, tape, w, "g.wk", 1);
    vectors_compare(v, "g.bq", tape_gradient(tape, w->qk_bias), out, 1);
    vectors_compare(v, "g.bk", tape_gradient(tape, w->qk_bias) + out, out, 1);
    const struct {
        struct tensor *tensor;
        const char *name;
    } others[] = {
        {w->x, "g.x"},         {w->wv, "g.wv"},       {w->bv, "g.bv"},       {w->wo, "g.wo"},
        {w->bo, "g.bo"},       {w->ln1_g, "g.ln1_g"}, {w->ln1_b, "g.ln1_b"}, {w->ln2_g, "g.ln2_g"},
        {w->ln2_b, "g.ln2_b"}, {w->w1, "g.w1"},       {w->b1, "g.b1"},       {w->w2, "g.w2"},
        {w->b2, "g.b2"},
    };
    for (size_t i = 0; i < ARRAY_COUNT(others); i++) {
        if (others[i].tensor != NULL) {
            compare_gradient(v, tape, others[i].tensor, others[i].name);
        }
    }
}

/* y = concat Wo^T + bo; block: u = LN1(x + y), out = LN2(u + W2 relu(W1 u + b1) + b2). */
static bool run(struct vectors *v, struct tape *tape, const struct pattern *pattern, bool block)
{
    struct params none = {0};
    struct weights w = {0};
    tape_begin(tape, TAPE_TRAIN, &none, NULL, NULL, 1, 1);
    if (!read_attention(v, tape, &w) || (block && !read_block(v, tape, &w))) {
        return false;
    }
    struct attention attention = {.heads = (size_t)vectors_number(v, "H", 1),
                                  .scale = (real)vectors_number(v, "scale", 0),
                                  .pattern = pattern};
    struct tensor *qk = op_causal_conv(tape, w.x, w.qk, w.qk_bias, NULL);
    struct tensor *values = op_linear(tape, w.x, w.wv, w.bv);
    struct tensor *y = op_attention(tape, qk, values, &attention);
    y = op_linear(tape, y, w.wo, w.bo);
    const char *result = "y";
    if (block) {
        struct tensor *u = op_layer_norm(tape, op_add(tape, w.x, y), w.ln1_g, w.ln1_b);
        struct tensor *f =
            op_linear(tape, op_relu(tape, op_linear(tape, u, w.w1, w.b1)), w.w2, w.b2);
        y = op_layer_norm(tape, op_add(tape, u, f), w.ln2_g, w.ln2_b);
        result = vectors_find(v, "cot.y") != NULL ? "y" : "out";
    }
    char name[VECTOR_NAME_MAX];
    (void)snprintf(name, sizeof(name), "cot.%s", result);
    struct tensor *cotangent = vectors_input(v, tape, name);
    if (cotangent == NULL) {
        return false;
    }
    struct tensor *loss = op_inner(tape, y, cotangent);
    tape_backward(tape, loss);
    (void)snprintf(name, sizeof(name), "out.%s", result);
    vectors_compare(v, name, y->data, tensor_size(y), 1);
    vectors_compare(v, "out.loss", loss->data, 1, 1);
    compare_all(v, tape, &w);
    return v->off == 0;
}

/* The distances of the mask, where every row has the same ones; false elsewhere. */
static bool same_offsets(const int32_t *mask, size_t length, struct pattern *pattern)
{
    *pattern = (struct pattern){.kind = PATTERN_OFFSETS, .length = length};
    for (size_t i = 0; i < length; i++) {
        for (size_t j = 0; j < length; j++) {
            int32_t expected = j <= i ? mask[(i - j) * length] : 0;
            if ((mask[i * length + j] != 0) != (expected != 0)) {
                return false;
            }
        }
    }
    pattern->offsets = mem_zeroed(length, sizeof(uint32_t));
    for (size_t o = 0; o < length; o++) {
        if (mask[o * length] != 0) {
            pattern->offsets[pattern->offset_count++] = (uint32_t)o;
        }
    }
    return true;
}

/* The file names a window: our own pattern must be the mask's. */
static bool check_pattern(struct vectors *v, const struct pattern *pattern)
{
    size_t window = (size_t)vectors_number(v, "window", 0);
    if (window == 0) {
        return true;
    }
    struct error error = {0};
    struct pattern made;
    struct pattern_log_sparse shape = {pattern->length, window,
                                       (size_t)vectors_number(v, "restart", 0), false, 0, 0};
    CHECK(pattern_log_sparse(&shape, &made, &error) == STATUS_OK);
    bool same = made.offset_count == pattern->offset_count &&
                memcmp(made.offsets, pattern->offsets, made.offset_count * sizeof(uint32_t)) == 0;
    pattern_release(&made);
    return same || vectors_fail(v, "the mask is not the pattern of window %zu", window);
}

bool golden_logsparse(struct vectors *v, struct tape *tape)
{
    const char *unit = vectors_text(v, "unit", "");
    bool block = strcmp(unit, "block") == 0;
    const struct vector *mask = vectors_find(v, "aux.mask");
    if (!block && strcmp(unit, "attention") != 0) {
        return vectors_fail(v, "unknown unit \"%s\"", unit);
    }
    if (strcmp(vectors_text(v, "norm", "post"), "post") != 0) {
        return vectors_fail(v, "unknown option norm=%s", vectors_text(v, "norm", ""));
    }
    if (mask == NULL || mask->wholes == NULL || mask->shape[0] != mask->shape[1]) {
        return vectors_fail(v, "aux.mask: missing or of unknown form");
    }
    struct error error = {0};
    struct pattern rows;
    CHECK(pattern_from_mask(mask->wholes, mask->shape[0], &rows, &error) == STATUS_OK);
    bool good = run(v, tape, &rows, block);
    pattern_release(&rows);
    struct pattern offsets;
    if (good && same_offsets(mask->wholes, mask->shape[0], &offsets)) {
        struct pattern dense = pattern_dense(offsets.length);
        good = check_pattern(v, &offsets) && run(v, tape, &offsets, block);
        if (good && offsets.offset_count == offsets.length) {
            good = run(v, tape, &dense, block);
        }
        pattern_release(&offsets);
    }
    return good;
}
