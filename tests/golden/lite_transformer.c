/* Mechanism lite_transformer: attention beside convolution, and the layer around them.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Both units run the backbone's own code, with the file's weights under its parameters' names. A
 * pre-norm layer of the files has no norm at its end, so it is put together around the mixing here.
 */
#include "tests/golden/vectors.h"

#include "model/backbones/backbone.h"
#include "model/backbones/lite_transformer.h"
#include "model/layers/layers.h"

#include "base/check.h"
#include "base/memory.h"

#include <stdio.h>
#include <string.h>

/* The file's queries and keys are the halves of one parameter. */
enum part { WHOLE, FIRST_HALF, SECOND_HALF };

static const struct {
    const char *file, *ours;
    enum part part;
    bool layer_only;
} names[] = {
    {"attn.wq", "attention.qk.weight", FIRST_HALF, false},
    {"attn.wk", "attention.qk.weight", SECOND_HALF, false},
    {"attn.bq", "attention.qk.bias", FIRST_HALF, false},
    {"attn.bk", "attention.qk.bias", SECOND_HALF, false},
    {"attn.wv", "attention.v.weight", WHOLE, false},
    {"attn.bv", "attention.v.bias", WHOLE, false},
    {"attn.wo", "attention.out.weight", WHOLE, false},
    {"attn.bo", "attention.out.bias", WHOLE, false},
    {"conv.w_in", "convolution.in.weight", WHOLE, false},
    {"conv.b_in", "convolution.in.bias", WHOLE, false},
    {"conv.w_tap", "convolution.taps", WHOLE, false},
    {"conv.w_out", "convolution.out.weight", WHOLE, false},
    {"conv.b_out", "convolution.out.bias", WHOLE, false},
    {"ln1_g", "attention.norm.gain", WHOLE, true},
    {"ln1_b", "attention.norm.shift", WHOLE, true},
    {"w1", "feed.in.weight", WHOLE, true},
    {"b1", "feed.in.bias", WHOLE, true},
    {"w2", "feed.out.weight", WHOLE, true},
    {"b2", "feed.out.bias", WHOLE, true},
    {"ln2_g", "feed.norm.gain", WHOLE, true},
    {"ln2_b", "feed.norm.shift", WHOLE, true},
};

struct lite {
    struct backbone_model *backbone;
    struct params params;
    real *weights, *gradients;
    bool layer, pre; /* unit=layer, and its norm */
    enum activation activation;
};

static bool read_choice(struct vectors *v, const char *name, const char *const *choices,
                        const char *preset, size_t *chosen)
{
    const char *text = vectors_text(v, name, preset);
    for (*chosen = 0; choices[*chosen] != NULL; (*chosen)++) {
        if (strcmp(choices[*chosen], text) == 0) {
            return true;
        }
    }
    return vectors_fail(v, "unknown option %s=%s", name, text);
}

/* The backbone of the file's settings. */
static bool open_backbone(struct vectors *v, struct lite *lite)
{
    static const char *const units[] = {"lsra", "layer", NULL};
    static const char *const kinds[] = {"dynamic", "lightweight", NULL};
    static const char *const norms[] = {"post", "pre", NULL};
    static const char *const activations[] = {"gelu", "relu", "swish", "gelu_exact", NULL};
    const struct vector *x = vectors_find(v, "in.x");
    const struct vector *w1 = vectors_find(v, "p.w1");
    size_t unit, kind, norm, activation;
    if (!read_choice(v, "unit", units, "", &unit) ||
        !read_choice(v, "norm", norms, "post", &norm) ||
        !read_choice(v, "conv_type", kinds, "", &kind) ||
        !read_choice(v, "ffn_act", activations, "relu", &activation)) {
        return false;
    }
    if (vectors_number(v, "causal", 1) != 1 || vectors_number(v, "ln_eps", 1e-5) != 1e-5) {
        return vectors_fail(v, "unknown option causal or ln_eps");
    }
    if (x == NULL || x->shape[2] == 0 || (unit == 1 && w1 == NULL)) {
        return vectors_fail(v, "in.x, p.w1: missing or of unknown form");
    }
    lite->layer = unit == 1;
    lite->pre = norm == 1;
    lite->activation = (enum activation)activation;
    char options[320];
    (void)snprintf(options, sizeof(options),
                   "width=%zu layers=1 heads=%g attention_width=%g conv_heads=%g conv_kernel=%g "
                   "convolution=%s glu=%s norm=%s activation=%s feed_width=%zu positions=none "
                   "dropout=0",
                   x->shape[2], vectors_number(v, "H", 1), vectors_number(v, "d_attn", 0),
                   vectors_number(v, "conv_heads", 0), vectors_number(v, "k", 0), kinds[kind],
                   vectors_number(v, "glu", 0) != 0 ? "true" : "false", norms[norm],
                   activations[activation], w1 != NULL ? w1->shape[0] : 0);
    struct error error = {0};
    struct backbone_shape shape = {.length = x->shape[1]};
    if (backbone_create("lite_transformer", options, &shape, &lite->backbone, &error) !=
        STATUS_OK) {
        return vectors_fail(v, "%.200s", error.text);
    }
    CHECK(params_init(&lite->params, &error) == STATUS_OK);
    backbone_declare(lite->backbone, &lite->params, "b");
    lite->weights = params_slab_new(&lite->params);
    lite->gradients = params_slab_new(&lite->params);
    CHECK(lite->weights != NULL && lite->gradients != NULL);
    return true;
}

static size_t parameter(const struct lite *lite, const char *ours)
{
    char name[PARAM_NAME_MAX];
    (void)snprintf(name, sizeof(name), "b.layer0.%s", ours);
    size_t id = params_find(&lite->params, name);
    CHECK(id != SIZE_MAX);
    return id;
}

/* Where name i of the table lies in a slab, and how many values it has. */
static size_t place_of(const struct lite *lite, size_t i, size_t *size)
{
    const struct param *param = &lite->params.items[parameter(lite, names[i].ours)];
    *size = names[i].part == WHOLE ? param->size : param->size / 2;
    return param->offset + (names[i].part == SECOND_HALF ? *size : 0);
}

static bool load_weights(struct vectors *v, const struct lite *lite)
{
    for (size_t i = 0; i < ARRAY_COUNT(names); i++) {
        if (names[i].layer_only && !lite->layer) {
            continue;
        }
        char name[VECTOR_NAME_MAX];
        (void)snprintf(name, sizeof(name), "p.%s", names[i].file);
        size_t size = 0;
        size_t place = place_of(lite, i, &size);
        const struct vector *vector = vectors_find(v, name);
        if (vector == NULL || vector->values == NULL || vector->size != size) {
            return vectors_fail(v, "%s: missing or of unknown form", name);
        }
        for (size_t k = 0; k < size; k++) {
            lite->weights[place + k] = (real)vector->values[k];
        }
    }
    return true;
}

static struct tensor *norm(const struct lite *lite, struct tape *tape, struct tensor *x,
                           const char *gain, const char *shift)
{
    struct norm_layer layer = {parameter(lite, gain), parameter(lite, shift)};
    return norm_layer(tape, &layer, x);
}

/* x + LSRA(LN1(x)), then u + FF(LN2(u)). */
static struct tensor *pre_norm_layer(const struct lite *lite, struct tape *tape, struct tensor *x)
{
    struct feed_forward_layer feed = {
        .in = {parameter(lite, "feed.in.weight"), parameter(lite, "feed.in.bias")},
        .out = {parameter(lite, "feed.out.weight"), parameter(lite, "feed.out.bias")},
        .activation = lite->activation,
    };
    struct tensor *normal = norm(lite, tape, x, "attention.norm.gain", "attention.norm.shift");
    struct tensor *u = op_add(tape, x, lite_transformer_mix(lite->backbone, 0, tape, normal));
    normal = norm(lite, tape, u, "feed.norm.gain", "feed.norm.shift");
    return op_add(tape, u, feed_forward(tape, &feed, normal));
}

static bool run(struct vectors *v, struct tape *tape, const struct lite *lite)
{
    tape_begin(tape, TAPE_TRAIN, &lite->params, lite->weights, lite->gradients, 1, 1);
    struct tensor *x = vectors_input(v, tape, "in.x");
    struct tensor *cotangent = vectors_input(v, tape, "cot.y");
    if (x == NULL || cotangent == NULL) {
        return false;
    }
    struct tensor *y = !lite->layer ? lite_transformer_mix(lite->backbone, 0, tape, x)
                       : lite->pre  ? pre_norm_layer(lite, tape, x)
                                    : backbone_forward(lite->backbone, tape, x, NULL);
    struct tensor *loss = op_inner(tape, y, cotangent);
    tape_backward(tape, loss);
    vectors_compare(v, "out.y", y->data, tensor_size(y), 1);
    vectors_compare(v, "out.loss", loss->data, 1, 1);
    vectors_compare(v, "g.x", tape_gradient(tape, x), tensor_size(x), 1);
    for (size_t i = 0; i < ARRAY_COUNT(names); i++) {
        if (!names[i].layer_only || lite->layer) {
            char name[VECTOR_NAME_MAX];
            (void)snprintf(name, sizeof(name), "g.%s", names[i].file);
            size_t size = 0;
            size_t place = place_of(lite, i, &size);
            vectors_compare(v, name, lite->gradients + place, size, 1);
        }
    }
    return v->off == 0;
}

bool golden_lite_transformer(struct vectors *v, struct tape *tape)
{
    struct lite lite = {0};
    bool good = open_backbone(v, &lite) && load_weights(v, &lite) && run(v, tape, &lite);
    backbone_release(lite.backbone);
    params_release(&lite.params);
    mem_free(lite.weights);
    mem_free(lite.gradients);
    return good;
}
