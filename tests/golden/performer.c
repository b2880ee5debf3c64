/* Mechanism performer: linear attention with given projections, both kernels, causal or not.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Where neither eps matters the files run over our own stabilisers; with one of them, over the
 * published one (a maximum over all keys), which the op has for this comparison.
 */
#include "tests/golden/vectors.h"

#include "base/check.h"

#include <string.h>

struct weights {
    struct tensor *x, *wq, *wk, *wv, *wo, *bq, *bk, *bv, *bo;
};

/* A bias that a file may leave out. */
static struct tensor *optional(struct vectors *v, struct tape *tape, const char *name)
{
    return vectors_find(v, name) != NULL ? vectors_input(v, tape, name) : NULL;
}

static bool read_weights(struct vectors *v, struct tape *tape, struct weights *w)
{
    w->x = vectors_input(v, tape, "in.x");
    w->wq = vectors_input(v, tape, "p.wq");
    w->wk = vectors_input(v, tape, "p.wk");
    w->wv = vectors_input(v, tape, "p.wv");
    w->wo = vectors_input(v, tape, "p.wo");
    w->bq = optional(v, tape, "p.bq");
    w->bk = optional(v, tape, "p.bk");
    w->bv = optional(v, tape, "p.bv");
    w->bo = optional(v, tape, "p.bo");
    return v->off == 0;
}

/* A 0 or 1 of the metadata. */
static bool read_switch(struct vectors *v, const char *name, const char *preset, bool *out)
{
    const char *text = vectors_text(v, name, preset);
    *out = strcmp(text, "1") == 0;
    return *out || strcmp(text, "0") == 0 || vectors_fail(v, "unknown option %s=%s", name, text);
}

static bool read_spec(struct vectors *v, struct tape *tape, struct linear_attention *spec)
{
    const char *kernel = vectors_text(v, "kernel", "softmax");
    bool relu = strcmp(kernel, "relu") == 0;
    bool projected = true;
    bool causal = true;
    if (!relu && strcmp(kernel, "softmax") != 0) {
        return vectors_fail(v, "unknown option kernel=%s", kernel);
    }
    if (!read_switch(v, "projection", "1", &projected) || !read_switch(v, "causal", "0", &causal)) {
        return false;
    }
    *spec = (struct linear_attention){
        .heads = (size_t)vectors_number(v, "H", 1),
        .map = relu ? FEATURES_RELU : FEATURES_SOFTMAX,
        .encoder = !causal,
        .feature_floor = (real)vectors_number(v, "feature_eps", relu ? 0.001 : 0),
        .denominator_floor = (real)vectors_number(v, "denominator_eps", 0),
    };
    if (projected) {
        spec->projection = vectors_input(v, tape, "aux.projection");
        return spec->projection != NULL;
    }
    return relu || vectors_fail(v, "kernel=softmax needs projection=1");
}

static struct tensor *project(struct tape *tape, const struct weights *w)
{
    struct tensor *q = op_linear(tape, w->x, w->wq, w->bq);
    struct tensor *k = op_linear(tape, w->x, w->wk, w->bk);
    return op_concat(tape, q, k);
}

bool golden_performer(struct vectors *v, struct tape *tape)
{
    struct params none = {0};
    struct weights w = {0};
    struct linear_attention spec;
    const char *unit = vectors_text(v, "unit", "attention");
    if (strcmp(unit, "attention") != 0) {
        return vectors_fail(v, "unknown unit \"%s\"", unit);
    }
    tape_begin(tape, TAPE_TRAIN, &none, NULL, NULL, 1, 1);
    if (!read_weights(v, tape, &w) || !read_spec(v, tape, &spec)) {
        return false;
    }
    struct tensor *values = op_linear(tape, w.x, w.wv, w.bv);
    struct tensor *y = op_linear_attention(tape, project(tape, &w), values, &spec);
    y = op_linear(tape, y, w.wo, w.bo);
    struct tensor *cotangent = vectors_input(v, tape, "cot.y");
    if (cotangent == NULL) {
        return false;
    }
    struct tensor *loss = op_inner(tape, y, cotangent);
    tape_backward(tape, loss);
    vectors_compare(v, "out.y", y->data, tensor_size(y), 1);
    vectors_compare(v, "out.loss", loss->data, 1, 1);
    const struct {
        struct tensor *tensor;
        const char *name;
    } gradients[] = {
        {w.x, "g.x"},   {w.wq, "g.wq"}, {w.wk, "g.wk"}, {w.wv, "g.wv"}, {w.wo, "g.wo"},
        {w.bq, "g.bq"}, {w.bk, "g.bk"}, {w.bv, "g.bv"}, {w.bo, "g.bo"},
    };
    for (size_t i = 0; i < ARRAY_COUNT(gradients); i++) {
        if (gradients[i].tensor != NULL) {
            vectors_compare(v, gradients[i].name, tape_gradient(tape, gradients[i].tensor),
                            tensor_size(gradients[i].tensor), 1);
        }
    }
    return v->off == 0;
}
