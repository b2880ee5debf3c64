/* Mechanism longformer: windows with a dilation a head, causal or both ways, and symmetric globals.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The file's window mask is compared with pattern_window's. With globals an ordinary query sees its
 * window without the global tokens, and all of those, in one softmax over the local projections; a
 * global row is attention to everything through projections of its own.
 */
#include "tests/golden/vectors.h"

#include "base/check.h"
#include "base/memory.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HEADS_MOST 64

/* The settings of a file. */
struct setting {
    size_t batch, length, heads, window;
    bool causal, globals;
    struct pattern patterns[HEADS_MOST];
    struct row_choice choice; /* [B, most of any series] */
    uint8_t *ordinary;        /* [B, L] */
    uint32_t *positions;
    uint8_t *valid;
};

struct projection {
    struct tensor *weight, *bias;
};

/* ---------------------------------------------------------------- settings */

/* "1,2,4": one number a head; false where it is anything else. */
static bool read_dilation(struct vectors *v, const struct setting *s, size_t *dilation)
{
    const struct vector *given = vectors_find(v, "aux.dilation");
    const char *at = vectors_text(v, "dilation", "");
    for (size_t h = 0; h < s->heads; h++) {
        char *end = NULL;
        dilation[h] = (size_t)strtoul(at, &end, 10);
        bool last = h + 1 == s->heads;
        if (end == at || dilation[h] == 0 || *end != (last ? '\0' : ',')) {
            return vectors_fail(v, "dilation is not a number for each of %zu heads", s->heads);
        }
        at = end + 1;
        if (given != NULL && (given->wholes == NULL || given->size != s->heads ||
                              given->wholes[h] != (int32_t)dilation[h])) {
            return vectors_fail(v, "aux.dilation is not what the metadata says");
        }
    }
    return true;
}

/* Our own windows must be the mask's. */
static bool check_window(struct vectors *v, const struct setting *s)
{
    const struct vector *mask = vectors_find(v, "aux.window_mask");
    size_t length = s->length;
    if (mask == NULL || mask->wholes == NULL || mask->size != s->heads * length * length) {
        return vectors_fail(v, "aux.window_mask: missing or of unknown form");
    }
    for (size_t n = 0; n < mask->size; n++) {
        size_t i = n / length % length;
        bool allowed = pattern_allows(&s->patterns[n / length / length], i, n % length);
        if (allowed != (mask->wholes[n] != 0)) {
            return vectors_fail(v, "aux.window_mask is not our window: head %zu, %zu sees %zu",
                                n / length / length, i, n % length);
        }
    }
    return true;
}

/* Positions of the global tokens of every series. */
static bool read_globals(struct vectors *v, struct setting *s)
{
    const struct vector *mask = vectors_find(v, "aux.global_mask");
    size_t most = 0;
    if (mask == NULL || mask->wholes == NULL || mask->size != s->batch * s->length) {
        return vectors_fail(v, "aux.global_mask: missing or of unknown form");
    }
    s->positions = mem_zeroed(mask->size, sizeof(uint32_t));
    s->valid = mem_zeroed(mask->size, 1);
    s->ordinary = mem_zeroed(mask->size, 1);
    for (size_t b = 0; b < s->batch; b++) {
        size_t count = 0;
        for (size_t t = 0; t < s->length; t++) {
            count += mask->wholes[b * s->length + t] != 0;
        }
        most = count > most ? count : most;
    }
    for (size_t b = 0; b < s->batch; b++) {
        size_t n = b * most;
        for (size_t t = 0; t < s->length; t++) {
            bool global = mask->wholes[b * s->length + t] != 0;
            s->ordinary[b * s->length + t] = !global;
            if (global) {
                s->positions[n] = (uint32_t)t;
                s->valid[n++] = 1;
            }
        }
    }
    s->choice = (struct row_choice){s->positions, s->valid, most};
    return true;
}

static bool read_setting(struct vectors *v, struct setting *s)
{
    const struct vector *x = vectors_find(v, "in.x");
    size_t dilation[HEADS_MOST];
    s->heads = (size_t)vectors_number(v, "H", 0);
    s->window = (size_t)vectors_number(v, "window", 0);
    s->causal = vectors_number(v, "causal", 0) != 0;
    s->globals = vectors_number(v, "globals", 0) != 0;
    if (x == NULL || x->shape[2] == 0 || s->heads == 0 || s->heads > HEADS_MOST ||
        x->shape[2] % s->heads != 0) {
        return vectors_fail(v, "in.x or H: missing or of unknown form");
    }
    s->batch = x->shape[0];
    s->length = x->shape[1];
    size_t head_width = x->shape[2] / s->heads;
    if ((size_t)vectors_number(v, "head_dim", (double)head_width) != head_width) {
        return vectors_fail(v, "unknown option head_dim=%s", vectors_text(v, "head_dim", ""));
    }
    if (vectors_text(v, "window", "")[0] == '\0' || vectors_text(v, "causal", "")[0] == '\0') {
        return vectors_fail(v, "window or causal is not given");
    }
    if (s->causal && s->globals) {
        return vectors_fail(v, "unknown option: symmetric globals with causal=1");
    }
    if (!read_dilation(v, s, dilation)) {
        return false;
    }
    for (size_t h = 0; h < s->heads; h++) {
        struct error error = {0};
        struct pattern_window shape = {s->length, s->window, dilation[h], !s->causal};
        CHECK(pattern_window(&shape, &s->patterns[h], &error) == STATUS_OK);
    }
    return check_window(v, s) && (!s->globals || read_globals(v, s));
}

static void setting_release(struct setting *s)
{
    for (size_t h = 0; h < HEADS_MOST; h++) {
        pattern_release(&s->patterns[h]);
    }
    mem_free(s->ordinary);
    mem_free(s->positions);
    mem_free(s->valid);
}

/* ---------------------------------------------------------------- computation */

/* Names of projections: p.wq, p.bq ... */
static const char *const projection_names[] = {"q", "k", "v", "qg", "kg", "vg"};
enum { Q, K, V, QG, KG, VG, PROJECTIONS };

static bool read_projections(struct vectors *v, struct tape *tape, size_t count,
                             struct projection *projections)
{
    for (size_t i = 0; i < count; i++) {
        char name[VECTOR_NAME_MAX];
        (void)snprintf(name, sizeof(name), "p.w%s", projection_names[i]);
        projections[i].weight = vectors_input(v, tape, name);
        (void)snprintf(name, sizeof(name), "p.b%s", projection_names[i]);
        projections[i].bias = vectors_input(v, tape, name);
    }
    return v->off == 0;
}

static struct tensor *project(struct tape *tape, struct tensor *x, const struct projection *p)
{
    return op_linear(tape, x, p->weight, p->bias);
}

/* Attention of everything; with globals their rows are put in at the end. */
static struct tensor *compute(struct tape *tape, const struct setting *s, struct tensor *x,
                              const struct projection *p)
{
    struct tensor *k = project(tape, x, &p[K]);
    struct tensor *v = project(tape, x, &p[V]);
    struct tensor *qk = op_concat(tape, project(tape, x, &p[Q]), k);
    struct attention attention = {.heads = s->heads, .head_patterns = s->patterns};
    struct attention_beside beside = {0};
    if (s->globals && s->choice.count > 0) {
        beside = (struct attention_beside){
            .k = op_take_rows(tape, k, &s->choice),
            .v = op_take_rows(tape, v, &s->choice),
            .valid = s->valid,
        };
        attention.key_valid = s->ordinary;
        attention.beside = &beside;
        attention.beside_count = 1;
    }
    struct tensor *y = op_attention(tape, qk, v, &attention);
    if (attention.beside_count == 0) {
        return y;
    }
    struct tensor *q = project(tape, op_take_rows(tape, x, &s->choice), &p[QG]);
    struct tensor *read =
        op_attention_across(tape, q, project(tape, x, &p[KG]), project(tape, x, &p[VG]),
                            &(struct attention){.heads = s->heads});
    return op_put_rows(tape, y, read, &s->choice);
}

static bool run(struct vectors *v, struct tape *tape, const struct setting *s)
{
    struct params none = {0};
    struct projection projections[PROJECTIONS] = {0};
    size_t count = s->globals ? PROJECTIONS : QG;
    tape_begin(tape, TAPE_TRAIN, &none, NULL, NULL, 1, 1);
    struct tensor *x = vectors_input(v, tape, "in.x");
    struct tensor *cotangent = vectors_input(v, tape, "cot.y");
    if (x == NULL || cotangent == NULL || !read_projections(v, tape, count, projections)) {
        return false;
    }
    struct tensor *y = compute(tape, s, x, projections);
    struct tensor *loss = op_inner(tape, y, cotangent);
    tape_backward(tape, loss);
    vectors_compare(v, "out.y", y->data, tensor_size(y), 1);
    vectors_compare(v, "out.loss", loss->data, 1, 1);
    vectors_compare(v, "g.x", tape_gradient(tape, x), tensor_size(x), 1);
    for (size_t i = 0; i < count; i++) {
        char name[VECTOR_NAME_MAX];
        struct projection *p = &projections[i];
        (void)snprintf(name, sizeof(name), "g.w%s", projection_names[i]);
        vectors_compare(v, name, tape_gradient(tape, p->weight), tensor_size(p->weight), 1);
        (void)snprintf(name, sizeof(name), "g.b%s", projection_names[i]);
        vectors_compare(v, name, tape_gradient(tape, p->bias), tensor_size(p->bias), 1);
    }
    return v->off == 0;
}

bool golden_longformer(struct vectors *v, struct tape *tape)
{
    if (strcmp(vectors_text(v, "unit", "attention"), "attention") != 0) {
        return vectors_fail(v, "unknown unit \"%s\"", vectors_text(v, "unit", ""));
    }
    struct setting setting = {0};
    bool good = read_setting(v, &setting) && run(v, tape, &setting);
    setting_release(&setting);
    return good;
}
