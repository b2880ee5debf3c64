/* Mechanism reformer: hashed attention in the published form, and the reversible stack of it.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "tests/golden/vectors.h"

#include "model/ops/lsh.h"
#include "model/tape/recompute.h"

#include "base/check.h"
#include "base/memory.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define LAYERS_MOST 16

/* A layer's tensors; the names are those behind p. or p.l0. */
enum { WQK, WV, WO, BO, LNF_G, LNF_B, LNG_G, LNG_B, W1, B1, W2, B2, PART_COUNT };
static const char *const part_names[PART_COUNT] = {"wqk",   "wv",    "wo", "bo", "lnf_g", "lnf_b",
                                                   "lng_g", "lng_b", "w1", "b1", "w2",    "b2"};

struct layer {
    struct tensor *parts[PART_COUNT];
    struct lsh lsh;
};

struct net {
    struct layer layers[LAYERS_MOST];
    size_t layer_count; /* 0: attention alone, in layers[0] */
    size_t part_count;
};

/* "p.wqk", or "p.l3.wqk" in a stack. */
static const char *name_of(const struct net *net, const char *kind, size_t layer, const char *part)
{
    static char name[VECTOR_NAME_MAX];
    if (net->layer_count == 0) {
        (void)snprintf(name, sizeof(name), "%s.%s", kind, part);
    } else {
        (void)snprintf(name, sizeof(name), "%s.l%zu.%s", kind, layer, part);
    }
    return name;
}

/* Every key of the section that could ask for something else than what the op does. */
static bool read_options(struct vectors *v, struct lsh *lsh)
{
    const char *norm = vectors_text(v, "key_norm", "l2");
    lsh->heads = (size_t)vectors_number(v, "H", 1);
    lsh->scale = (real)vectors_number(v, "scale", 0);
    lsh->rounds = (size_t)vectors_number(v, "n_hashes", 1);
    lsh->buckets = (size_t)vectors_number(v, "n_buckets", 0);
    lsh->chunk = (size_t)vectors_number(v, "chunk", 0);
    lsh->masked = vectors_number(v, "causal", 0) != 0;
    lsh->unique = vectors_number(v, "allow_duplicate_attention", 1) == 0;
    lsh->within = vectors_number(v, "attend_across_buckets", 1) == 0;
    lsh->rms = strcmp(norm, "rms") == 0 || strcmp(norm, "rms, eps 1e-6") == 0;
    if (!lsh->rms && strcmp(norm, "l2") != 0) {
        return vectors_fail(v, "unknown option key_norm=%s", norm);
    }
    if (lsh->heads == 0 || lsh->rounds == 0 || lsh->chunk == 0 ||
        (lsh->buckets != 1 && (lsh->buckets == 0 || lsh->buckets % 2 != 0))) {
        return vectors_fail(v, "H, n_hashes, n_buckets, chunk: missing or of unknown form");
    }
    /* The op's "last resort" is the limit of these. */
    if (vectors_number(v, "self_value", -5e4) > -1e4 ||
        vectors_number(v, "masked_value", -1e9) > -1e6) {
        return vectors_fail(v, "unknown option self_value or masked_value");
    }
    if (strcmp(vectors_text(v, "norm", "pre"), "pre") != 0 ||
        strcmp(vectors_text(v, "ffn_act", "gelu_exact"), "gelu_exact") != 0 ||
        fabs(vectors_number(v, "ln_eps", 1e-5) - 1e-5) > 1e-12) {
        return vectors_fail(v, "unknown option norm, ffn_act or ln_eps");
    }
    return true;
}

static bool read_layer(struct vectors *v, struct tape *tape, struct net *net, size_t i)
{
    struct layer *layer = &net->layers[i];
    if (!read_options(v, &layer->lsh)) {
        return false;
    }
    for (size_t k = 0; k < net->part_count; k++) {
        layer->parts[k] = vectors_input(v, tape, name_of(net, "p", i, part_names[k]));
        if (layer->parts[k] == NULL) {
            return false;
        }
    }
    size_t width = layer->parts[WQK]->shape[0] / layer->lsh.heads;
    if (layer->lsh.heads * width != layer->parts[WQK]->shape[0] ||
        (size_t)vectors_number(v, "head_dim", (double)width) != width) {
        return vectors_fail(v, "head_dim is not that of p.wqk");
    }
    if (layer->lsh.buckets > 1) {
        const struct tensor *rotations =
            vectors_input(v, tape, name_of(net, "aux", i, "rotations"));
        bool own = rotations != NULL && rotations->axes == 4;
        if (rotations == NULL || (own && rotations->shape[0] != layer->lsh.heads) ||
            (!own && rotations->axes != 3) || rotations->shape[own] != width ||
            rotations->shape[own + 1] != layer->lsh.rounds ||
            rotations->shape[own + 2] != layer->lsh.buckets / 2) {
            return vectors_fail(v, "aux.rotations: missing or of unknown form");
        }
        layer->lsh.rotations = rotations;
    }
    return true;
}

static struct tensor *attention(const struct layer *layer, struct tape *tape, struct tensor *x)
{
    struct tensor *y = op_lsh_chunked(tape, op_linear(tape, x, layer->parts[WQK], NULL),
                                      op_linear(tape, x, layer->parts[WV], NULL), &layer->lsh);
    return layer->parts[WO] != NULL ? op_linear(tape, y, layer->parts[WO], layer->parts[BO]) : y;
}

static struct tensor *run_f(const void *self, size_t index, struct tape *tape, struct tensor *x)
{
    const struct layer *layer = &((const struct net *)self)->layers[index];
    x = op_layer_norm(tape, x, layer->parts[LNF_G], layer->parts[LNF_B]);
    return attention(layer, tape, x);
}

static struct tensor *run_g(const void *self, size_t index, struct tape *tape, struct tensor *x)
{
    const struct layer *layer = &((const struct net *)self)->layers[index];
    x = op_layer_norm(tape, x, layer->parts[LNG_G], layer->parts[LNG_B]);
    x = op_gelu_exact(tape, op_linear(tape, x, layer->parts[W1], layer->parts[B1]));
    return op_linear(tape, x, layer->parts[W2], layer->parts[B2]);
}

/* The op must have found the file's buckets, and the queries that see nothing but themselves. */
static bool check_hashing(struct vectors *v, const struct tape *tape)
{
    const struct vector *buckets = vectors_find(v, "aux.buckets");
    const struct vector *alone = vectors_find(v, "aux.self_only");
    const struct node *node = &tape->nodes[0];
    while (strcmp(node->op->name, "lsh_chunked") != 0) {
        node++;
    }
    const struct lsh_kept *kept = node->context;
    for (size_t i = 0; buckets != NULL && i < buckets->size; i++) {
        if (buckets->wholes == NULL || buckets->wholes[i] != kept->buckets[i]) {
            return vectors_fail(v, "another bucket than aux.buckets[%zu]", i);
        }
    }
    for (size_t i = 0; alone != NULL && i < alone->size; i++) {
        if (alone->wholes == NULL || (alone->wholes[i] != 0) != (isinf(kept->log_sum[i]) != 0)) {
            return vectors_fail(v, "not as aux.self_only[%zu] says", i);
        }
    }
    return true;
}

static struct tensor *run_stack(struct vectors *v, struct tape *tape, const struct net *net,
                                struct tensor *x)
{
    size_t size = tensor_size(x);
    real *halves = mem_alloc_aligned(2 * size * sizeof(real));
    struct tape_reversible stack = {
        .f = {run_f, net, 0}, .g = {run_g, net, 5}, .layers = net->layer_count, .halves = halves};
    struct tensor *y = tape_reversible(tape, &stack, x);
    vectors_compare(v, "out.y1", halves, size, 1);
    vectors_compare(v, "out.y2", halves + size, size, 1);
    mem_free(halves);
    for (size_t i = 0; i < net->layer_count; i++) {
        for (size_t k = 0; k < net->part_count; k++) {
            (void)tape_gradient(tape, net->layers[i].parts[k]); /* used inside of blocks */
        }
    }
    return y;
}

static bool read_unit(struct vectors *v, struct net *net)
{
    const char *unit = vectors_text(v, "unit", "");
    if (strcmp(unit, "attention") == 0) {
        net->part_count = LNF_G;
    } else if (strcmp(unit, "hf_attention") == 0) {
        net->part_count = WO;
    } else if (strcmp(unit, "reversible_stack") == 0) {
        net->part_count = PART_COUNT;
        net->layer_count = (size_t)vectors_number(v, "layers", 0);
        if (net->layer_count == 0 || net->layer_count > LAYERS_MOST) {
            return vectors_fail(v, "unknown option layers=%s", vectors_text(v, "layers", ""));
        }
    } else {
        return vectors_fail(v, "unknown unit \"%s\"", unit);
    }
    return true;
}

bool golden_reformer(struct vectors *v, struct tape *tape)
{
    struct params none = {0};
    static struct net net;
    net = (struct net){0};
    if (!read_unit(v, &net)) {
        return false;
    }
    tape_begin(tape, TAPE_TRAIN, &none, NULL, NULL, 1, 1);
    struct tensor *x = vectors_input(v, tape, "in.x");
    struct tensor *cotangent = vectors_input(v, tape, "cot.y");
    size_t layers = net.layer_count > 0 ? net.layer_count : 1;
    for (size_t i = 0; i < layers; i++) {
        if (x == NULL || cotangent == NULL || !read_layer(v, tape, &net, i)) {
            return false;
        }
    }
    struct tensor *y;
    if (net.layer_count > 0) {
        y = run_stack(v, tape, &net, x);
    } else {
        y = attention(&net.layers[0], tape, x);
        if (!check_hashing(v, tape)) {
            return false;
        }
    }
    struct tensor *loss = op_inner(tape, y, cotangent);
    vectors_compare(v, "out.y", y->data, tensor_size(y), 1);
    vectors_compare(v, "out.loss", loss->data, 1, 1);
    tape_backward(tape, loss);
    vectors_compare(v, "g.x", tape_gradient(tape, x), tensor_size(x), 1);
    for (size_t i = 0; i < layers; i++) {
        for (size_t k = 0; k < net.part_count; k++) {
            struct tensor *part = net.layers[i].parts[k];
            vectors_compare(v, name_of(&net, "g", i, part_names[k]), tape_gradient(tape, part),
                            tensor_size(part), 1);
        }
    }
    return v->off == 0;
}
