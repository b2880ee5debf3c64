/* Mechanism adaptive_span: attention to the previous S steps with a soft span per head, and its
 * layer. SPDX-License-Identifier: Apache-2.0
 *
 * The steps before the window (cache) stand in front of it as ordinary rows, whose outputs nobody
 * reads. Every file runs with keys trimmed head by head and again untrimmed, and each of these with
 * and without the penalty on the spans.
 */
#include "tests/golden/vectors.h"

#include "base/check.h"

#include <math.h>
#include <string.h>

struct weights {
    struct tensor *a; /* [cache, x] */
    struct tensor *qk, *wv, *wo, *z, *pe;
    struct tensor *ln1_g, *ln1_b, *ln2_g, *ln2_b, *w1, *b1, *w2, *b2;
};

/* One way to run a file. */
struct way {
    bool layer, untrimmed, penalised;
};

/* a [B, C + L, d] = in.cache [B, C, d], then in.x [B, L, d]. */
static bool read_steps(struct vectors *v, struct tape *tape, struct weights *w)
{
    const struct vector *cache = vectors_find(v, "in.cache");
    const struct vector *x = vectors_find(v, "in.x");
    if (cache == NULL || x == NULL || cache->values == NULL || x->values == NULL ||
        cache->shape[3] != 0 || x->shape[3] != 0 || cache->shape[0] != x->shape[0] ||
        cache->shape[2] != x->shape[2] || x->shape[2] == 0) {
        return vectors_fail(v, "in.cache, in.x: missing or of unknown form");
    }
    size_t before = cache->shape[1];
    size_t length = x->shape[1];
    size_t width = x->shape[2];
    w->a = tape_input(tape, (size_t[]){x->shape[0], before + length, width, 0});
    w->a->wants_grad = true;
    for (size_t i = 0; i < tensor_size(w->a); i++) {
        size_t row = i / width % (before + length);
        size_t series = i / width / (before + length);
        bool early = row < before;
        size_t from = early ? series * before + row : series * length + row - before;
        const float *values = early ? cache->values : x->values;
        w->a->data[i] = (real)values[from * width + i % width];
    }
    return true;
}

static bool read_weights(struct vectors *v, struct tape *tape, struct weights *w, bool layer)
{
    const struct vector *wq = vectors_find(v, "p.wq");
    const struct vector *wk = vectors_find(v, "p.wk");
    if (wq == NULL || wk == NULL || wq->values == NULL || wk->values == NULL || wq->shape[2] != 0 ||
        memcmp(wq->shape, wk->shape, sizeof(wq->shape)) != 0) {
        return vectors_fail(v, "p.wq, p.wk: missing or of unknown form");
    }
    w->qk = tape_input(tape, (size_t[]){2 * wq->shape[0], wq->shape[1], 0});
    w->qk->wants_grad = true;
    for (size_t i = 0; i < 2 * wq->size; i++) {
        w->qk->data[i] = (real)(i < wq->size ? wq->values[i] : wk->values[i - wq->size]);
    }
    w->wv = vectors_input(v, tape, "p.wv");
    w->wo = vectors_input(v, tape, "p.wo");
    w->z = vectors_input(v, tape, "p.z");
    w->pe = vectors_input(v, tape, "p.pe");
    if (layer) {
        w->ln1_g = vectors_input(v, tape, "p.ln1_g");
        w->ln1_b = vectors_input(v, tape, "p.ln1_b");
        w->ln2_g = vectors_input(v, tape, "p.ln2_g");
        w->ln2_b = vectors_input(v, tape, "p.ln2_b");
        w->w1 = vectors_input(v, tape, "p.w1");
        w->b1 = vectors_input(v, tape, "p.b1");
        w->w2 = vectors_input(v, tape, "p.w2");
        w->b2 = vectors_input(v, tape, "p.b2");
    }
    return v->off == 0;
}

static struct tensor *forward(struct vectors *v, struct tape *tape, const struct weights *w,
                              const struct way *way)
{
    size_t length = vectors_find(v, "in.x")->shape[1];
    size_t before = w->a->shape[1] - length;
    struct attention_span attention = {
        .heads = (size_t)vectors_number(v, "H", 0),
        .span = (size_t)vectors_number(v, "S", 0),
        .ramp = (real)vectors_number(v, "ramp", 0),
        .excludes_self = true,
        .untrimmed = way->untrimmed,
        .spans = w->z,
        .positions = w->pe,
    };
    struct tensor *qk = op_linear(tape, w->a, w->qk, NULL);
    struct tensor *y = op_attention_span(tape, qk, op_linear(tape, w->a, w->wv, NULL), &attention);
    y = op_linear(tape, op_slice_time(tape, y, before, length), w->wo, NULL);
    if (!way->layer) {
        return y;
    }
    struct tensor *x = op_slice_time(tape, w->a, before, length);
    struct tensor *u = op_layer_norm(tape, op_add(tape, x, y), w->ln1_g, w->ln1_b);
    struct tensor *f =
        op_linear(tape, op_relu(tape, op_linear(tape, u, w->w1, w->b1)), w->w2, w->b2);
    return op_layer_norm(tape, op_add(tape, u, f), w->ln2_g, w->ln2_b);
}

/* span_coeff * S * mean(z). */
static struct tensor *penalty_of(struct vectors *v, struct tape *tape, struct tensor *z)
{
    double each = vectors_number(v, "span_coeff", 0) * vectors_number(v, "S", 0);
    struct tensor *factor = tape_tensor_like(tape, z);
    for (size_t i = 0; i < tensor_size(z); i++) {
        factor->data[i] = (real)(each / (double)tensor_size(z));
    }
    return op_inner(tape, z, factor);
}

/* The gradients of a, as those of cache and x. */
static void compare_steps(struct vectors *v, struct tape *tape, const struct weights *w)
{
    size_t length = vectors_find(v, "in.x")->shape[1];
    size_t before = w->a->shape[1] - length;
    size_t batch = w->a->shape[0];
    size_t width = w->a->shape[2];
    const real *gradient = tape_gradient(tape, w->a);
    struct tensor *parts[] = {tape_tensor(tape, (size_t[]){batch, before, width, 0}),
                              tape_tensor(tape, (size_t[]){batch, length, width, 0})};
    for (size_t b = 0; b < batch; b++) {
        const real *from = gradient + b * (before + length) * width;
        memcpy(parts[0]->data + b * before * width, from, before * width * sizeof(real));
        memcpy(parts[1]->data + b * length * width, from + before * width,
               length * width * sizeof(real));
    }
    vectors_compare(v, "g.cache", parts[0]->data, tensor_size(parts[0]), 1);
    vectors_compare(v, "g.x", parts[1]->data, tensor_size(parts[1]), 1);
}

static void compare_gradients(struct vectors *v, struct tape *tape, const struct weights *w)
{
    size_t half = tensor_size(w->qk) / 2;
    const real *d_qk = tape_gradient(tape, w->qk);
    vectors_compare(v, "g.wq", d_qk, half, 1);
    vectors_compare(v, "g.wk", d_qk + half, half, 1);
    const struct {
        struct tensor *tensor;
        const char *name;
    } others[] = {
        {w->wv, "g.wv"},       {w->wo, "g.wo"},       {w->z, "g.z"},         {w->pe, "g.pe"},
        {w->ln1_g, "g.ln1_g"}, {w->ln1_b, "g.ln1_b"}, {w->ln2_g, "g.ln2_g"}, {w->ln2_b, "g.ln2_b"},
        {w->w1, "g.w1"},       {w->b1, "g.b1"},       {w->w2, "g.w2"},       {w->b2, "g.b2"},
    };
    for (size_t i = 0; i < ARRAY_COUNT(others); i++) {
        if (others[i].tensor != NULL) {
            vectors_compare(v, others[i].name, tape_gradient(tape, others[i].tensor),
                            tensor_size(others[i].tensor), 1);
        }
    }
    compare_steps(v, tape, w);
}

/* The mask that the op applies: with scores of zero and the e-th unit vector as the e-th value, an
 * output is the mask over its sum, and the nearest key's mask is 1. */
static void compare_mask(struct vectors *v, struct tape *tape, struct tensor *z)
{
    size_t span = (size_t)vectors_number(v, "S", 0);
    size_t heads = tensor_size(z);
    struct tensor *qk = tape_input(tape, (size_t[]){1, span + 1, 2 * heads * span, 0});
    struct tensor *values = tape_input(tape, (size_t[]){1, span + 1, heads * span, 0});
    memset(qk->data, 0, tensor_size(qk) * sizeof(real));
    memset(values->data, 0, tensor_size(values) * sizeof(real));
    for (size_t i = 0; i < heads * span; i++) {
        values->data[(span - 1 - i % span) * heads * span + i] = 1;
    }
    struct attention_span attention = {.heads = heads,
                                       .span = span,
                                       .ramp = (real)vectors_number(v, "ramp", 0),
                                       .excludes_self = true,
                                       .spans = z};
    real *last = op_attention_span(tape, qk, values, &attention)->data + span * heads * span;
    for (size_t h = 0; h < heads; h++) {
        real nearest = last[h * span];
        for (size_t e = 0; e < span; e++) {
            last[h * span + e] /= nearest;
        }
    }
    vectors_compare(v, "out.span_mask", last, heads * span, 1);
}

static bool run(struct vectors *v, struct tape *tape, const struct way *way)
{
    struct params none = {0};
    struct weights w = {0};
    tape_begin(tape, TAPE_TRAIN, &none, NULL, NULL, 1, 1);
    struct tensor *cotangent = vectors_input(v, tape, "cot.y");
    if (cotangent == NULL || !read_steps(v, tape, &w) || !read_weights(v, tape, &w, way->layer)) {
        return false;
    }
    struct tensor *y = forward(v, tape, &w, way);
    struct tensor *penalty = penalty_of(v, tape, w.z);
    struct tensor *loss = op_inner(tape, y, cotangent);
    loss = way->penalised ? op_add(tape, loss, penalty) : loss;
    compare_mask(v, tape, w.z);
    tape_backward(tape, loss);
    vectors_compare(v, "out.y", y->data, tensor_size(y), 1);
    vectors_compare(v, "out.span_loss", penalty->data, 1, 1);
    if (!way->penalised) {
        vectors_compare(v, "g.z_without_span_loss", tape_gradient(tape, w.z), tensor_size(w.z), 1);
        return v->off == 0;
    }
    vectors_compare(v, "out.loss", loss->data, 1, 1);
    compare_gradients(v, tape, &w);
    return v->off == 0;
}

/* Everything that the file says about itself must be something that is done here. */
static bool known_options(struct vectors *v)
{
    static const struct {
        const char *key, *values[3]; /* the first is what an absent key means */
    } options[] = {
        {"cache", {"zero", "random"}},
        {"norm", {"post"}},
        {"ffn_act", {"relu"}},
        {"loss", {"sum(out.y*cot.y)+out.span_loss"}},
    };
    for (size_t i = 0; i < ARRAY_COUNT(options); i++) {
        const char *text = vectors_text(v, options[i].key, options[i].values[0]);
        bool known = false;
        for (size_t k = 0; k < 3 && options[i].values[k] != NULL; k++) {
            known = known || strcmp(options[i].values[k], text) == 0;
        }
        if (!known) {
            return vectors_fail(v, "unknown option %s=%s", options[i].key, text);
        }
    }
    if (fabs(vectors_number(v, "ln_eps", 1e-5) - 1e-5) > 1e-12) {
        return vectors_fail(v, "unknown option ln_eps=%s", vectors_text(v, "ln_eps", ""));
    }
    double heads = vectors_number(v, "H", 0);
    const struct vector *pe = vectors_find(v, "p.pe");
    const struct vector *z = vectors_find(v, "p.z");
    const struct vector *wq = vectors_find(v, "p.wq");
    if (!(heads >= 1) || !(vectors_number(v, "ramp", 0) > 0) || pe == NULL || z == NULL ||
        wq == NULL || (double)pe->shape[0] != vectors_number(v, "S", 0) ||
        (double)z->size != heads || (double)pe->shape[1] * heads != (double)wq->shape[0]) {
        return vectors_fail(v, "H, S, ramp, p.z, p.pe, p.wq: missing, or do not go together");
    }
    return true;
}

bool golden_adaptive_span(struct vectors *v, struct tape *tape)
{
    const char *unit = vectors_text(v, "unit", "");
    bool layer = strcmp(unit, "layer") == 0;
    if (!layer && strcmp(unit, "attention") != 0) {
        return vectors_fail(v, "unknown unit \"%s\"", unit);
    }
    if (!known_options(v)) {
        return false;
    }
    for (unsigned i = 0; i < 4; i++) {
        struct way way = {.layer = layer, .untrimmed = (i & 1) != 0, .penalised = (i & 2) != 0};
        if (!run(v, tape, &way)) {
            return false;
        }
    }
    return true;
}
