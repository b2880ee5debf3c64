/* Mechanism transformer_xl: attention over memory and window, and the model segment by segment.
 * SPDX-License-Identifier: Apache-2.0
 *
 * unit=model runs the backbone itself, with the file's weights under its parameters' names and a
 * memory carried from segment to segment; unit=attention runs the ops. The file's p.v is the bias
 * of positions, our w.
 */
#include "tests/golden/vectors.h"

#include "model/backbones/backbone.h"

#include "base/check.h"
#include "base/memory.h"

#include <stdio.h>
#include <string.h>

#define SEGMENTS_MAX 64

struct settings {
    size_t memory, clamp; /* clamp 0 = none */
    bool pre, same_length;
};

static bool read_settings(struct vectors *v, struct settings *settings)
{
    const char *norm = vectors_text(v, "norm", "post");
    double clamp = vectors_number(v, "clamp_len", -1);
    double memory = vectors_number(v, "M", 0);
    if (strcmp(norm, "pre") != 0 && strcmp(norm, "post") != 0) {
        return vectors_fail(v, "unknown option norm=%s", norm);
    }
    if (vectors_number(v, "ln_eps", 1e-5) != 1e-5) {
        return vectors_fail(v, "unknown option ln_eps=%s", vectors_text(v, "ln_eps", ""));
    }
    if (memory < 1) {
        return vectors_fail(v, "unknown option M=%s", vectors_text(v, "M", ""));
    }
    *settings = (struct settings){
        .memory = (size_t)memory,
        .clamp = clamp > 0 ? (size_t)clamp : 0,
        .pre = strcmp(norm, "pre") == 0,
        .same_length = vectors_number(v, "same_length", 0) != 0,
    };
    return true;
}

/* ---------------------------------------------------------------- attention */

enum { X, MEM, WQ, WK, WV, WR, WO, GAIN, SHIFT, U, V, TENSORS };

static const char *const tensor_names[TENSORS] = {"x",  "mem",   "wq",    "wk", "wv", "wr",
                                                  "wo", "ln1_g", "ln1_b", "u",  "v"};

static bool read_tensors(struct vectors *v, struct tape *tape, struct tensor *in[TENSORS])
{
    for (size_t i = 0; i < TENSORS; i++) {
        char name[VECTOR_NAME_MAX];
        (void)snprintf(name, sizeof(name), "%s.%s", i <= MEM ? "in" : "p", tensor_names[i]);
        in[i] = vectors_input(v, tape, name);
    }
    return v->off == 0 && v->problem[0] == '\0';
}

/* The file's mask must be what its settings say. */
static bool check_mask(struct vectors *v, const struct settings *settings, size_t steps)
{
    const struct vector *mask = vectors_find(v, "aux.mask");
    size_t keys = settings->memory + steps;
    if (mask == NULL) {
        return true;
    }
    if (mask->wholes == NULL || mask->size != steps * keys) {
        return vectors_fail(v, "aux.mask: of unknown form");
    }
    for (size_t n = 0; n < mask->size; n++) {
        size_t at = settings->memory + n / keys;
        size_t j = n % keys;
        bool seen = j <= at && (!settings->same_length || at - j < settings->memory);
        if (seen != (mask->wholes[n] != 0)) {
            return vectors_fail(v, "aux.mask is not what M and same_length say");
        }
    }
    return true;
}

/* The rows of the file's table by distance that a clamp leaves, as an input. */
static struct tensor *read_table(struct vectors *v, struct tape *tape, size_t clamp)
{
    const struct vector *table = vectors_find(v, "aux.r_by_distance");
    if (table == NULL || table->values == NULL) {
        (void)vectors_fail(v, "aux.r_by_distance: not in the file");
        return NULL;
    }
    size_t rows = clamp > 0 && clamp < table->shape[0] ? clamp + 1 : table->shape[0];
    struct tensor *r = tape_input(tape, (size_t[]){rows, table->shape[1], 0});
    for (size_t i = 0; i < tensor_size(r); i++) {
        r->data[i] = (real)table->values[i];
    }
    return r;
}

static bool run_attention(struct vectors *v, struct tape *tape, const struct settings *settings)
{
    struct params none = {0};
    struct tensor *in[TENSORS];
    tape_begin(tape, TAPE_TRAIN, &none, NULL, NULL, 1, 1);
    struct tensor *table = read_table(v, tape, settings->clamp);
    struct tensor *cotangent = vectors_input(v, tape, "cot.y");
    if (table == NULL || cotangent == NULL || !read_tensors(v, tape, in) ||
        !check_mask(v, settings, in[X]->shape[1])) {
        return false;
    }
    struct tensor *x = in[X];
    struct tensor *seen = op_concat_time(tape, in[MEM], x);
    struct tensor *asked = x;
    if (settings->pre) {
        seen = op_layer_norm(tape, seen, in[GAIN], in[SHIFT]);
        asked = op_slice_time(tape, seen, in[MEM]->shape[1], x->shape[1]);
    }
    struct attention_relative attention = {
        .q = op_linear(tape, asked, in[WQ], NULL),
        .k = op_linear(tape, seen, in[WK], NULL),
        .v = op_linear(tape, seen, in[WV], NULL),
        .r = op_linear(tape, table, in[WR], NULL),
        .u = in[U],
        .w = in[V],
        .heads = (size_t)vectors_number(v, "H", 1),
        .causal = true,
        .window = settings->same_length ? settings->memory : 0,
    };
    struct tensor *y = op_linear(tape, op_attention_relative(tape, &attention), in[WO], NULL);
    y = op_add(tape, x, y);
    if (!settings->pre) {
        y = op_layer_norm(tape, y, in[GAIN], in[SHIFT]);
    }
    struct tensor *loss = op_inner(tape, y, cotangent);
    tape_backward(tape, loss);
    vectors_compare(v, "out.y", y->data, tensor_size(y), 1);
    vectors_compare(v, "out.loss", loss->data, 1, 1);
    for (size_t i = 0; i < TENSORS; i++) {
        char name[VECTOR_NAME_MAX];
        (void)snprintf(name, sizeof(name), "g.%s", tensor_names[i]);
        if (i != MEM || vectors_find(v, name) != NULL) {
            vectors_compare(v, name, tape_gradient(tape, in[i]), tensor_size(in[i]), 1);
        }
    }
    return v->off == 0;
}

/* ---------------------------------------------------------------- model */

static const struct {
    const char *file, *ours;
} layer_names[] = {
    {"wq", "attention.q.weight"},
    {"wk", "attention.k.weight"},
    {"wv", "attention.v.weight"},
    {"wr", "attention.r.weight"},
    {"wo", "attention.out.weight"},
    {"ln1_g", "attention.norm.gain"},
    {"ln1_b", "attention.norm.shift"},
    {"w1", "feed.in.weight"},
    {"b1", "feed.in.bias"},
    {"w2", "feed.out.weight"},
    {"b2", "feed.out.bias"},
    {"ln2_g", "feed.norm.gain"},
    {"ln2_b", "feed.norm.shift"},
};

struct model {
    struct backbone_model *backbone;
    struct params params;
    real *weights, *gradients;
    unsigned char *memory;
    size_t batch, segments;
};

static void release_model(struct model *model)
{
    backbone_release(model->backbone);
    params_release(&model->params);
    mem_free(model->weights);
    mem_free(model->gradients);
    mem_free(model->memory);
}

/* Calls `visit` for every parameter with its names; false as soon as one is missing. */
static bool each_parameter(struct vectors *v, struct model *model, const char *kind,
                           bool (*visit)(struct vectors *v, struct model *model, const char *name,
                                         const struct param *param))
{
    char file[VECTOR_NAME_MAX];
    char ours[PARAM_NAME_MAX];
    size_t per_layer = ARRAY_COUNT(layer_names);
    size_t count = model->backbone->layers * per_layer;
    for (size_t i = 0; i < count + 2; i++) {
        if (i < count) {
            (void)snprintf(file, sizeof(file), "%s.l%zu.%s", kind, i / per_layer,
                           layer_names[i % per_layer].file);
            (void)snprintf(ours, sizeof(ours), "b.layer%zu.%s", i / per_layer,
                           layer_names[i % per_layer].ours);
        } else {
            (void)snprintf(file, sizeof(file), "%s.%s", kind, i == count ? "u" : "v");
            (void)snprintf(ours, sizeof(ours), "b.%s",
                           i == count ? "content_bias" : "position_bias");
        }
        size_t id = params_find(&model->params, ours);
        if (id == SIZE_MAX) {
            return vectors_fail(v, "%s: the backbone has no %s", file, ours);
        }
        if (!visit(v, model, file, &model->params.items[id])) {
            return false;
        }
    }
    return true;
}

static bool load_parameter(struct vectors *v, struct model *model, const char *name,
                           const struct param *param)
{
    const struct vector *vector = vectors_find(v, name);
    if (vector == NULL || vector->values == NULL || vector->size != param->size) {
        return vectors_fail(v, "%s: missing or of unknown form", name);
    }
    for (size_t i = 0; i < param->size; i++) {
        model->weights[param->offset + i] = (real)vector->values[i];
    }
    return true;
}

static bool compare_parameter(struct vectors *v, struct model *model, const char *name,
                              const struct param *param)
{
    vectors_compare(v, name, model->gradients + param->offset, param->size, 1);
    return true;
}

/* The backbone of the file's settings; its window is the longest segment. */
static bool open_model(struct vectors *v, const struct settings *settings, struct model *model)
{
    const struct vector *first = vectors_find(v, "in.x1");
    const struct vector *wq = vectors_find(v, "p.l0.wq");
    const struct vector *w1 = vectors_find(v, "p.l0.w1");
    if (first == NULL || wq == NULL || w1 == NULL || first->shape[2] == 0) {
        return vectors_fail(v, "in.x1, p.l0.wq, p.l0.w1: missing or of unknown form");
    }
    struct backbone_shape shape = {.length = first->shape[1]};
    char name[VECTOR_NAME_MAX];
    const struct vector *x = first;
    while (x != NULL) {
        shape.length = x->shape[1] > shape.length ? x->shape[1] : shape.length;
        model->segments++;
        (void)snprintf(name, sizeof(name), "in.x%zu", model->segments + 1);
        x = vectors_find(v, name);
    }
    model->batch = first->shape[0];
    size_t heads = (size_t)vectors_number(v, "H", 1);
    char options[256];
    (void)snprintf(options, sizeof(options),
                   "width=%zu heads=%zu head_width=%zu inner=%zu layers=%zu norm=%s memory=%zu "
                   "clamp=%zu same_length=%s last_norm=false dropout=0 activation=%s",
                   first->shape[2], heads, wq->shape[0] / heads, w1->shape[0],
                   (size_t)vectors_number(v, "layers", 1), settings->pre ? "pre" : "post",
                   settings->memory, settings->clamp, settings->same_length ? "true" : "false",
                   vectors_text(v, "ffn_act", "relu"));
    struct error error = {0};
    if (backbone_create("transformer_xl", options, &shape, &model->backbone, &error) != STATUS_OK) {
        return vectors_fail(v, "%.200s", error.text);
    }
    CHECK(params_init(&model->params, &error) == STATUS_OK);
    backbone_declare(model->backbone, &model->params, "b");
    model->weights = params_slab_new(&model->params);
    model->gradients = params_slab_new(&model->params);
    model->memory = mem_alloc_aligned(model->batch * backbone_memory_bytes(model->backbone));
    CHECK(model->weights != NULL && model->gradients != NULL && model->memory != NULL);
    memset(model->memory, 0, model->batch * backbone_memory_bytes(model->backbone));
    return each_parameter(v, model, "p", load_parameter);
}

/* The memories after segment s, all series of a layer one behind the other. */
static void compare_memories(struct vectors *v, const struct model *model, size_t segment)
{
    size_t width = model->backbone->width;
    size_t row = backbone_memory_bytes(model->backbone);
    for (size_t i = 0; i < model->backbone->layers; i++) {
        char name[VECTOR_NAME_MAX];
        (void)snprintf(name, sizeof(name), "out.mem%zu_layer%zu", segment, i);
        const struct vector *expected = vectors_find(v, name);
        if (expected == NULL) {
            continue;
        }
        real *found =
            mem_zeroed(model->batch * model->backbone->memory_steps * width, sizeof(real));
        size_t size = 0;
        for (size_t b = 0; b < model->batch; b++) {
            size_t cells = 0;
            const real *values =
                backbone_memory_layer(model->backbone, model->memory + b * row, i, &cells);
            memcpy(found + size, values, cells * width * sizeof(real));
            size += cells * width;
        }
        vectors_compare(v, name, found, size, 1);
        mem_free(found);
    }
}

static bool run_segments(struct vectors *v, struct tape *tape, struct model *model)
{
    struct tensor *x[SEGMENTS_MAX];
    struct tensor *loss = NULL;
    char name[VECTOR_NAME_MAX];
    if (model->segments > SEGMENTS_MAX) {
        return vectors_fail(v, "%zu segments, %d are the most", model->segments, SEGMENTS_MAX);
    }
    for (size_t s = 0; s < model->segments; s++) {
        (void)snprintf(name, sizeof(name), "in.x%zu", s + 1);
        x[s] = vectors_input(v, tape, name);
        (void)snprintf(name, sizeof(name), "cot.y%zu", s + 1);
        struct tensor *cotangent = vectors_input(v, tape, name);
        if (x[s] == NULL || cotangent == NULL) {
            return false;
        }
        struct tensor *y = backbone_recur(model->backbone, tape, x[s], model->memory);
        (void)snprintf(name, sizeof(name), "out.y%zu", s + 1);
        vectors_compare(v, name, y->data, tensor_size(y), 1);
        compare_memories(v, model, s + 1);
        struct tensor *part = op_inner(tape, y, cotangent);
        loss = loss != NULL ? op_add(tape, loss, part) : part;
    }
    tape_backward(tape, loss);
    vectors_compare(v, "out.loss", loss->data, 1, 1);
    for (size_t s = 0; s < model->segments; s++) {
        (void)snprintf(name, sizeof(name), "g.x%zu", s + 1);
        vectors_compare(v, name, tape_gradient(tape, x[s]), tensor_size(x[s]), 1);
    }
    return each_parameter(v, model, "g", compare_parameter) && v->off == 0;
}

bool golden_transformer_xl(struct vectors *v, struct tape *tape)
{
    const char *unit = vectors_text(v, "unit", "");
    struct settings settings = {0};
    if (!read_settings(v, &settings)) {
        return false;
    }
    if (strcmp(unit, "attention") == 0) {
        return run_attention(v, tape, &settings);
    }
    if (strcmp(unit, "model") != 0) {
        return vectors_fail(v, "unknown unit \"%s\"", unit);
    }
    struct model model = {0};
    bool good = open_model(v, &settings, &model);
    if (good) {
        tape_begin(tape, TAPE_TRAIN, &model.params, model.weights, model.gradients, 1, 1);
        good = run_segments(v, tape, &model);
    }
    release_model(&model);
    return good;
}
