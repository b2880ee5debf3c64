/* Mechanism conformer: the convolution module, and the block of four parts.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Runs the ops: the published forms differ from each other and from the backbone in widths, norms
 * and positions. Positions: sinusoids of distances both ways; clipped embeddings e, shared by
 * heads, which are relative attention without biases over a table that ends at the clip; or none.
 */
#include "tests/golden/vectors.h"

#include "base/check.h"

#include <stdio.h>
#include <string.h>

#define INPUTS_MAX 64

enum norm_mode { NORM_EVAL, NORM_TRAIN, NORM_NONE };

struct run {
    struct vectors *v;
    struct tape *tape;
    const char *part; /* "ff1.", ... before the names of parameters */
    /* Parameters by name, for the comparison of their gradients. */
    char names[INPUTS_MAX][VECTOR_NAME_MAX];
    struct tensor *inputs[INPUTS_MAX];
    size_t count;
    struct tensor *statistics; /* of batch normalization, or NULL */
    double half_step;
};

static bool failed(const struct run *run)
{
    return run->v->off > 0 || run->v->problem[0] != '\0';
}

/* The file's p.PART.NAME; NULL where there is none, which is a problem unless it is `optional`. */
static struct tensor *take(struct run *run, const char *name, bool optional)
{
    char full[VECTOR_NAME_MAX];
    char *kept = run->names[run->count];
    (void)snprintf(kept, VECTOR_NAME_MAX, "%s%s", run->part, name);
    (void)snprintf(full, sizeof(full), "p.%.58s", kept);
    if (optional && vectors_find(run->v, full) == NULL) {
        return NULL;
    }
    CHECK(run->count < INPUTS_MAX);
    struct tensor *tensor = vectors_input(run->v, run->tape, full);
    run->inputs[run->count++] = tensor;
    return tensor;
}

static struct tensor *linear(struct run *run, struct tensor *x, const char *weight,
                             const char *bias)
{
    struct tensor *w = take(run, weight, false);
    struct tensor *b = bias != NULL ? take(run, bias, true) : NULL;
    bool fits = !failed(run) && w->axes == 2 && w->shape[1] == tensor_width(x) &&
                (b == NULL || tensor_size(b) == w->shape[0]);
    if (!fits) {
        (void)vectors_fail(run->v, "p.%s%s: of unknown form", run->part, weight);
        return NULL;
    }
    return op_linear(run->tape, x, w, b);
}

static struct tensor *norm(struct run *run, struct tensor *x)
{
    struct tensor *gain = take(run, "ln_g", false);
    struct tensor *shift = take(run, "ln_b", false);
    return failed(run) ? NULL : op_layer_norm(run->tape, x, gain, shift);
}

/* ---------------------------------------------------------------- convolution module */

static bool read_norm_mode(struct vectors *v, enum norm_mode *mode)
{
    static const char *const modes[] = {"eval", "train", "none"};
    const char *text = vectors_text(v, "bn_mode", "");
    for (size_t i = 0; i < ARRAY_COUNT(modes); i++) {
        if (strcmp(text, modes[i]) == 0) {
            *mode = (enum norm_mode)i;
            return true;
        }
    }
    return vectors_fail(v, "unknown option bn_mode=%s", text);
}

/* Zeros before the first step: "same ..." or "causal ...", or what `causal` says. */
static bool read_padding(struct vectors *v, size_t taps, size_t *before)
{
    bool causal = vectors_number(v, "causal", 0) != 0;
    const char *text = vectors_text(v, "padding", causal ? "causal" : "same");
    if (strncmp(text, "causal", 6) == 0) {
        *before = taps - 1;
        return true;
    }
    if (strncmp(text, "same", 4) == 0 && taps % 2 == 1) {
        *before = (taps - 1) / 2;
        return true;
    }
    return vectors_fail(v, "unknown option padding=%s with %zu taps", text, taps);
}

/* [2 C + 1] from the file's running mean and variance, where it has them. */
static bool make_statistics(struct run *run, size_t width, enum norm_mode mode)
{
    const struct vector *mean = vectors_find(run->v, "aux.bn_running_mean");
    const struct vector *variance = vectors_find(run->v, "aux.bn_running_var");
    bool fits = mean != NULL && variance != NULL && mean->size == width && variance->size == width;
    if (!fits && mode == NORM_EVAL) {
        return vectors_fail(run->v, "aux.bn_running_mean, _var: missing or of unknown form");
    }
    run->statistics = tape_input(run->tape, (size_t[]){2 * width + 1, 0});
    run->statistics->wants_grad = true;
    memset(run->statistics->data, 0, (2 * width + 1) * sizeof(real));
    for (size_t c = 0; fits && c < width; c++) {
        run->statistics->data[c] = (real)mean->values[c];
        run->statistics->data[width + c] = (real)variance->values[c];
    }
    return true;
}

static struct tensor *norm_channels(struct run *run, struct tensor *x)
{
    enum norm_mode mode = NORM_NONE;
    if (!read_norm_mode(run->v, &mode) || mode == NORM_NONE) {
        return failed(run) ? NULL : x;
    }
    struct tensor *gain = take(run, "bn_g", false);
    struct tensor *shift = take(run, "bn_b", false);
    if (failed(run) || !make_statistics(run, tensor_width(x), mode)) {
        return NULL;
    }
    return op_batch_norm(run->tape, x, gain, shift, run->statistics, mode == NORM_EVAL);
}

static struct tensor *convolution(struct run *run, struct tensor *x)
{
    x = norm(run, x);
    x = failed(run) ? NULL : linear(run, x, "pw1_w", "pw1_b");
    struct tensor *w = take(run, "dw_w", false);
    struct tensor *b = take(run, "dw_b", vectors_number(run->v, "dw_bias", 0) == 0);
    struct convolution_place place = {0};
    if (failed(run) || !read_padding(run->v, w->shape[1], &place.before)) {
        return NULL;
    }
    x = op_depthwise_conv(run->tape, op_glu(run->tape, x), w, b, place);
    x = norm_channels(run, x);
    return failed(run) ? NULL : linear(run, op_swish(run->tape, x), "pw2_w", "pw2_b");
}

/* What training would keep of the statistics: a tenth of what the way back told. */
static void compare_statistics(struct run *run)
{
    static const char *const names[] = {"out.bn_running_mean_after", "out.bn_running_var_after"};
    if (run->statistics == NULL || vectors_find(run->v, names[0]) == NULL) {
        return;
    }
    double momentum = vectors_number(run->v, "bn_momentum", 0.1);
    size_t width = tensor_size(run->statistics) / 2;
    const real *told = tape_gradient(run->tape, run->statistics);
    real *values = run->statistics->data;
    for (size_t i = 0; i < 2 * width; i++) {
        values[i] += (real)momentum * (told[i] - values[i]);
    }
    vectors_compare(run->v, names[0], values, width, 1);
    vectors_compare(run->v, names[1], values + width, width, 1);
}

/* ---------------------------------------------------------------- block */

static struct tensor *half_step(struct run *run, const char *part, struct tensor *x)
{
    run->part = part;
    struct tensor *y = norm(run, x);
    y = failed(run) ? NULL : linear(run, y, "w1", "b1");
    y = failed(run) ? NULL : linear(run, op_swish(run->tape, y), "w2", "b2");
    return failed(run) ? NULL : op_add(run->tape, x, op_scale(run->tape, y, (real)run->half_step));
}

static struct tensor *zeros(struct tape *tape, size_t rows, size_t width)
{
    struct tensor *x = tape_input(tape, (size_t[]){rows, width, 0});
    memset(x->data, 0, tensor_size(x) * sizeof(real));
    return x;
}

/* Rows by distance from the file's table, whose row r is distance L - 1 - r, projected. */
static bool sinusoids(struct run *run, size_t length, struct attention_relative *attention)
{
    const struct vector *table = vectors_find(run->v, "aux.rel_table");
    if (table == NULL || table->values == NULL || table->shape[0] != 2 * length - 1) {
        return vectors_fail(run->v, "aux.rel_table: missing or of unknown form");
    }
    size_t rows = table->shape[0];
    size_t width = table->shape[1];
    struct tensor *r = tape_input(run->tape, (size_t[]){rows, width, 0});
    for (size_t i = 0; i < table->size; i++) {
        r->data[(rows - 1 - i / width) * width + i % width] = (real)table->values[i];
    }
    attention->row_zero = length - 1;
    attention->r = linear(run, r, "wr", NULL);
    attention->u = take(run, "u", false);
    attention->w = take(run, "v", false);
    return !failed(run);
}

/* The same e for every head; a table that ends on both sides clips distances. */
static bool clipped(struct run *run, struct attention_relative *attention)
{
    struct tensor *e = take(run, "e", false);
    if (failed(run) || e->axes != 2 || e->shape[0] % 2 != 1) {
        return vectors_fail(run->v, "p.%se: of unknown form", run->part);
    }
    struct tensor *all = e;
    for (size_t h = 1; h < attention->heads; h++) {
        all = op_concat(run->tape, all, e);
    }
    attention->r = all;
    attention->row_zero = (e->shape[0] - 1) / 2;
    return tensor_width(all) == tensor_width(attention->q) ||
           vectors_fail(run->v, "p.%se: heads of unknown width", run->part);
}

static bool read_positions(struct run *run, size_t length, struct attention_relative *attention)
{
    const char *text = vectors_text(run->v, "positions", "none");
    size_t all = tensor_width(attention->q);
    if (strstr(text, "sinusoid") != NULL) {
        return sinusoids(run, length, attention);
    }
    attention->u = zeros(run->tape, attention->heads, all / attention->heads);
    attention->w = zeros(run->tape, attention->heads, all / attention->heads);
    if (strstr(text, "clip") != NULL) {
        return clipped(run, attention);
    }
    attention->r = zeros(run->tape, 1, all);
    return strncmp(text, "none", 4) == 0 || vectors_fail(run->v, "unknown positions=%s", text);
}

static struct tensor *attend(struct run *run, struct tensor *x)
{
    size_t heads = (size_t)vectors_number(run->v, "H", 1);
    struct tensor *normal = norm(run, x);
    if (failed(run)) {
        return NULL;
    }
    struct attention_relative attention = {
        .q = linear(run, normal, "wq", "bq"),
        .k = linear(run, normal, "wk", "bk"),
        .v = linear(run, normal, "wv", "bv"),
        .heads = heads,
    };
    if (failed(run) || heads == 0 || tensor_width(attention.q) % heads != 0 ||
        !read_positions(run, x->shape[1], &attention)) {
        (void)vectors_fail(run->v, "mhsa: of unknown form");
        return NULL;
    }
    struct tensor *y = op_attention_relative(run->tape, &attention);
    return linear(run, y, "wo", "bo");
}

static struct tensor *block(struct run *run, struct tensor *x)
{
    run->half_step = vectors_number(run->v, "half_step", 0.5);
    if (strcmp(vectors_text(run->v, "ffn_act", "swish"), "swish") != 0) {
        (void)vectors_fail(run->v, "unknown option ffn_act");
        return NULL;
    }
    x = half_step(run, "ff1.", x);
    run->part = "mhsa.";
    struct tensor *y = failed(run) ? NULL : attend(run, x);
    x = failed(run) ? NULL : op_add(run->tape, x, y);
    run->part = "conv.";
    y = failed(run) ? NULL : convolution(run, x);
    x = failed(run) ? NULL : op_add(run->tape, x, y);
    x = failed(run) ? NULL : half_step(run, "ff2.", x);
    run->part = "";
    return failed(run) ? NULL : norm(run, x);
}

/* ---------------------------------------------------------------- all */

static bool finish(struct run *run, struct tensor *x, struct tensor *y, struct tensor *cotangent)
{
    struct tensor *loss = op_inner(run->tape, y, cotangent);
    tape_backward(run->tape, loss);
    vectors_compare(run->v, "out.y", y->data, tensor_size(y), 1);
    vectors_compare(run->v, "out.loss", loss->data, 1, 1);
    vectors_compare(run->v, "g.x", tape_gradient(run->tape, x), tensor_size(x), 1);
    for (size_t i = 0; i < run->count; i++) {
        char name[VECTOR_NAME_MAX + 2];
        (void)snprintf(name, sizeof(name), "g.%s", run->names[i]);
        struct tensor *in = run->inputs[i];
        vectors_compare(run->v, name, tape_gradient(run->tape, in), tensor_size(in), 1);
    }
    compare_statistics(run);
    return run->v->off == 0;
}

bool golden_conformer(struct vectors *v, struct tape *tape)
{
    static struct run run;
    struct params none = {0};
    run = (struct run){.v = v, .tape = tape, .part = ""};
    bool whole = strcmp(vectors_text(v, "unit", ""), "block") == 0;
    if (!whole && strcmp(vectors_text(v, "unit", ""), "conv_module") != 0) {
        return vectors_fail(v, "unknown unit \"%s\"", vectors_text(v, "unit", ""));
    }
    if (vectors_number(v, "ln_eps", 1e-5) != 1e-5 || vectors_number(v, "bn_eps", 1e-5) != 1e-5) {
        return vectors_fail(v, "unknown option ln_eps or bn_eps");
    }
    tape_begin(tape, TAPE_TRAIN, &none, NULL, NULL, 1, 1);
    struct tensor *x = vectors_input(v, tape, "in.x");
    struct tensor *cotangent = vectors_input(v, tape, "cot.y");
    if (failed(&run)) {
        return false;
    }
    struct tensor *y = whole ? block(&run, x) : convolution(&run, x);
    if (!whole && !failed(&run) && vectors_number(v, "residual", 0) != 0) {
        y = op_add(tape, x, y);
    }
    return !failed(&run) && finish(&run, x, y, cotangent);
}
