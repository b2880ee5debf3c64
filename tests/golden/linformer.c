/* Mechanism linformer: attention to E K and F V, alone and in a pre-norm stack.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "tests/golden/vectors.h"

#include "base/check.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define GIVEN_MAX 256

/* What the metadata says of sharing: words with blanks, commas or plus signs between. */
struct sharing {
    bool tied;      /* F = E */
    bool values;    /* Wv = Wk */
    bool one_head;  /* Wk, Wv [h, d] */
    bool one_layer; /* one p.e for all layers */
};

/* The parameters that were read, to be compared in the end; a shared one is read once. */
struct run {
    struct vectors *vectors;
    struct tape *tape;
    struct sharing sharing;
    struct {
        char name[VECTOR_NAME_MAX];
        struct tensor *tensor;
    } given[GIVEN_MAX];
    size_t given_count;
};

static bool read_sharing(struct vectors *v, struct sharing *out)
{
    const char *at = vectors_text(v, "sharing", "none");
    *out = (struct sharing){.tied = false};
    for (at += strspn(at, " ,+"); *at != '\0' && *at != '('; at += strspn(at, " ,+")) {
        size_t length = strcspn(at, " ,+(");
        char word[32];
        (void)snprintf(word, sizeof(word), "%.*s", (int)length, at);
        if (strcmp(word, "tied_e") == 0) {
            out->tied = true;
        } else if (strcmp(word, "share_kv") == 0) {
            out->tied = out->values = true;
        } else if (strcmp(word, "one_kv_head") == 0) {
            out->one_head = true;
        } else if (strcmp(word, "layerwise") == 0) {
            out->tied = out->one_layer = true;
        } else if (strcmp(word, "none") != 0) {
            return vectors_fail(v, "unknown option sharing=%s", word);
        }
        at += length;
    }
    return true;
}

/* p.<prefix><name>, read once. */
static struct tensor *given(struct run *run, const char *prefix, const char *name)
{
    char whole[VECTOR_NAME_MAX];
    (void)snprintf(whole, sizeof(whole), "p.%s%s", prefix, name);
    for (size_t i = 0; i < run->given_count; i++) {
        if (strcmp(run->given[i].name, whole) == 0) {
            return run->given[i].tensor;
        }
    }
    CHECK(run->given_count < GIVEN_MAX);
    struct tensor *tensor = vectors_input(run->vectors, run->tape, whole);
    memcpy(run->given[run->given_count].name, whole, sizeof(whole));
    run->given[run->given_count++].tensor = tensor;
    return tensor;
}

/* The same where the file may leave it out. */
static struct tensor *given_or_null(struct run *run, const char *prefix, const char *name)
{
    char whole[VECTOR_NAME_MAX];
    (void)snprintf(whole, sizeof(whole), "p.%s%s", prefix, name);
    return vectors_find(run->vectors, whole) != NULL ? given(run, prefix, name) : NULL;
}

/* Shapes that the ops would only assert. */
static bool check_shapes(struct run *run, const char *prefix)
{
    struct vectors *v = run->vectors;
    const char *of_e = run->sharing.one_layer ? "" : prefix;
    struct tensor *e = given(run, of_e, "e");
    struct tensor *wq = given(run, prefix, "wq");
    struct tensor *wk = given(run, prefix, "wk");
    struct tensor *wo = given(run, prefix, "wo");
    const struct vector *x = vectors_find(v, "in.x");
    size_t heads = (size_t)vectors_number(v, "H", 1);
    if (v->off > 0 || x == NULL) {
        return vectors_fail(v, "in.x: missing");
    }
    size_t all = wq->shape[0];
    size_t kv = run->sharing.one_head ? all / heads : all;
    bool good = wq->axes == 2 && wk->axes == 2 && e->axes == 2 && wo->axes == 2 && heads > 0 &&
                all % heads == 0 && wk->shape[0] == kv && wo->shape[1] == all &&
                e->shape[1] >= x->shape[1] && x->shape[3] == 0;
    good = good && (size_t)vectors_number(v, "k", (double)e->shape[0]) == e->shape[0] &&
           (size_t)vectors_number(v, "n_max", (double)e->shape[1]) == e->shape[1] &&
           (size_t)vectors_number(v, "head_dim", (double)(all / heads)) == all / heads;
    return good || vectors_fail(v, "%swq, wk, wo, e: shapes do not fit H, k, n_max", prefix);
}

/* x [B, L, d] -> Wo softmax(Wq x (E Wk x)^T) F Wv x + bo. L < n_max takes the first L columns. */
static struct tensor *attend(struct run *run, const char *prefix, struct tensor *x)
{
    if (!check_shapes(run, prefix)) {
        return NULL;
    }
    struct tape *tape = run->tape;
    struct tensor *e = given(run, run->sharing.one_layer ? "" : prefix, "e");
    struct tensor *f = run->sharing.tied ? e : given(run, prefix, "f");
    struct tensor *wk = given(run, prefix, "wk");
    struct tensor *wv = run->sharing.values ? wk : given(run, prefix, "wv");
    if (run->vectors->off > 0 || f->shape[1] < x->shape[1] || f->shape[0] != e->shape[0] ||
        !tensor_same_shape(wk, wv)) {
        (void)vectors_fail(run->vectors, "%sf, wv: missing or of another form", prefix);
        return NULL;
    }
    struct time_summaries shape = {.counts = {1}, .block = x->shape[1], .width = wk->shape[0]};
    struct tensor *wq = given(run, prefix, "wq");
    struct block_inputs in = {
        .qk = op_linear(tape, x, wq, NULL),
        .summary_keys = op_project_time(tape, op_linear(tape, x, wk, NULL), e, NULL, &shape),
        .summary_values = op_project_time(tape, op_linear(tape, x, wv, NULL), f, NULL, &shape),
    };
    struct block_attention attention = {.heads = (size_t)vectors_number(run->vectors, "H", 1),
                                        .width = wq->shape[0]};
    return op_linear(tape, op_attention_block(tape, &in, &attention), given(run, prefix, "wo"),
                     given_or_null(run, prefix, "bo"));
}

typedef struct tensor *activation(struct tape *tape, struct tensor *x);

static activation *activation_of(struct vectors *v)
{
    static const struct {
        const char *name;
        activation *run;
    } known[] = {{"gelu_exact", op_gelu_exact}, {"gelu_tanh", op_gelu}, {"relu", op_relu}};
    const char *wanted = vectors_text(v, "ffn_act", "gelu_exact");
    for (size_t i = 0; i < ARRAY_COUNT(known); i++) {
        if (strcmp(known[i].name, wanted) == 0) {
            return known[i].run;
        }
    }
    (void)vectors_fail(v, "unknown option ffn_act=%s", wanted);
    return NULL;
}

/* x += Attn(LN1 x), x += W2 f(W1 LN2 x + b1) + b2. */
static struct tensor *run_layer(struct run *run, size_t i, struct tensor *x)
{
    struct tape *tape = run->tape;
    activation *activate = activation_of(run->vectors);
    char prefix[24];
    (void)snprintf(prefix, sizeof(prefix), "l%zu.", i);
    struct tensor *gain[2] = {given(run, prefix, "ln1_g"), given(run, prefix, "ln2_g")};
    struct tensor *shift[2] = {given(run, prefix, "ln1_b"), given(run, prefix, "ln2_b")};
    struct tensor *w1 = given(run, prefix, "w1");
    struct tensor *b1 = given(run, prefix, "b1");
    struct tensor *w2 = given(run, prefix, "w2");
    struct tensor *b2 = given(run, prefix, "b2");
    if (run->vectors->off > 0) {
        return NULL;
    }
    struct tensor *y = attend(run, prefix, op_layer_norm(tape, x, gain[0], shift[0]));
    if (y == NULL) {
        return NULL;
    }
    x = op_add(tape, x, y);
    y = op_linear(tape, op_layer_norm(tape, x, gain[1], shift[1]), w1, b1);
    return op_add(tape, x, op_linear(tape, activate(tape, y), w2, b2));
}

static struct tensor *run_unit(struct run *run, bool stack, struct tensor *x)
{
    size_t layers = stack ? (size_t)vectors_number(run->vectors, "layers", 1) : 0;
    struct tensor *y = stack ? x : attend(run, "", x);
    for (size_t i = 0; y != NULL && i < layers; i++) {
        y = run_layer(run, i, y);
    }
    return y;
}

bool golden_linformer(struct vectors *v, struct tape *tape)
{
    static struct run run;
    static const struct params none;
    run = (struct run){.vectors = v, .tape = tape};
    const char *unit = vectors_text(v, "unit", "");
    bool stack = strcmp(unit, "stack") == 0;
    if (!stack && strcmp(unit, "attention") != 0) {
        return vectors_fail(v, "unknown unit \"%s\"", unit);
    }
    if (vectors_number(v, "causal", 0) != 0 || strcmp(vectors_text(v, "norm", "pre"), "pre") != 0 ||
        fabs(vectors_number(v, "ln_eps", 1e-5) - 1e-5) > 1e-12) {
        return vectors_fail(v, "unknown option: causal=%s norm=%s ln_eps=%s",
                            vectors_text(v, "causal", "0"), vectors_text(v, "norm", "pre"),
                            vectors_text(v, "ln_eps", "1e-05"));
    }
    if (!read_sharing(v, &run.sharing)) {
        return false;
    }
    tape_begin(tape, TAPE_TRAIN, &none, NULL, NULL, 1, 1);
    struct tensor *x = vectors_input(v, tape, "in.x");
    struct tensor *cotangent = vectors_input(v, tape, "cot.y");
    if (x == NULL || cotangent == NULL) {
        return false;
    }
    struct tensor *y = run_unit(&run, stack, x);
    if (y == NULL || v->off > 0) {
        return false;
    }
    struct tensor *loss = op_inner(tape, y, cotangent);
    tape_backward(tape, loss);
    vectors_compare(v, "out.y", y->data, tensor_size(y), 1);
    vectors_compare(v, "out.loss", loss->data, 1, 1);
    vectors_compare(v, "g.x", tape_gradient(tape, x), tensor_size(x), 1);
    for (size_t i = 0; i < run.given_count; i++) {
        char name[VECTOR_NAME_MAX];
        (void)snprintf(name, sizeof(name), "g.%.60s", run.given[i].name + 2);
        vectors_compare(v, name, tape_gradient(tape, run.given[i].tensor),
                        tensor_size(run.given[i].tensor), 1);
    }
    return v->off == 0;
}
