/* Mechanism common: single ops, optimiser steps and losses.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "model/ops/kernels.h"
#include "tests/golden/vectors.h"

#include "base/check.h"
#include "base/memory.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define STEPS_NAME 32

static const struct params no_params;

/* ---------------------------------------------------------------- ops */

static struct tensor *run_softplus(struct tape *tape, struct tensor *x)
{
    return op_softplus(tape, x, 0);
}

static const struct {
    const char *name;
    struct tensor *(*run)(struct tape *tape, struct tensor *x);
} unary[] = {
    {"gelu_exact", op_gelu_exact}, {"gelu_tanh", op_gelu},     {"softmax", op_softmax},
    {"swish", op_swish},           {"softplus", run_softplus},
};

/* Runs one op (NULL: layer norm) and compares; returns its part of the loss. */
static double run_op(struct vectors *v, struct tape *tape, const char *op,
                     struct tensor *(*unary_op)(struct tape *, struct tensor *))
{
    char name[VECTOR_NAME_MAX];
    tape_begin(tape, TAPE_TRAIN, &no_params, NULL, NULL, 1, 1);
    struct tensor *x = vectors_input(v, tape, "aux.x");
    (void)snprintf(name, sizeof(name), "cot.%s", op);
    struct tensor *cotangent = vectors_input(v, tape, name);
    if (x == NULL || cotangent == NULL) {
        return 0;
    }
    x->wants_grad = true;
    struct tensor *gain = NULL;
    struct tensor *shift = NULL;
    struct tensor *y;
    if (unary_op != NULL) {
        y = unary_op(tape, x);
    } else {
        gain = vectors_input(v, tape, "p.ln_g");
        shift = vectors_input(v, tape, "p.ln_b");
        y = op_layer_norm(tape, x, gain, shift);
    }
    struct tensor *loss = op_inner(tape, y, cotangent);
    tape_backward(tape, loss);
    (void)snprintf(name, sizeof(name), "out.%s", op);
    vectors_compare(v, name, y->data, tensor_size(y), 1);
    (void)snprintf(name, sizeof(name), "g.x_%s", op);
    vectors_compare(v, name, tape_gradient(tape, x), tensor_size(x), 1);
    if (unary_op == NULL) {
        vectors_compare(v, "g.ln_g", tape_gradient(tape, gain), tensor_size(gain), 1);
        vectors_compare(v, "g.ln_b", tape_gradient(tape, shift), tensor_size(shift), 1);
    }
    return (double)loss->data[0];
}

static bool run_ops(struct vectors *v, struct tape *tape)
{
    double loss = run_op(v, tape, "layer_norm", NULL);
    for (size_t i = 0; i < ARRAY_COUNT(unary); i++) {
        loss += run_op(v, tape, unary[i].name, unary[i].run);
    }
    vectors_compare(v, "out.loss", &(real){(real)loss}, 1, 1);
    return v->off == 0;
}

/* ---------------------------------------------------------------- optimisers */

/* One of the file's parameters: weights, moments, all gradients and what the weights became. */
struct trained {
    size_t size;
    real *w, *m, *v, *gradient, *history;
    const float *gradients;
};

static bool open_trained(struct vectors *v, size_t index, size_t steps, struct trained *out)
{
    char name[STEPS_NAME];
    (void)snprintf(name, sizeof(name), "aux.w%zu_start", index);
    const struct vector *start = vectors_find(v, name);
    (void)snprintf(name, sizeof(name), "aux.grad%zu", index);
    const struct vector *gradients = vectors_find(v, name);
    if (start == NULL || gradients == NULL || gradients->size != steps * start->size) {
        return false;
    }
    size_t n = start->size;
    real *memory = mem_zeroed(4 * n + steps * n, sizeof(real));
    CHECK(memory != NULL);
    *out = (struct trained){
        n, memory, memory + n, memory + 2 * n, memory + 3 * n, memory + 4 * n, gradients->values};
    for (size_t i = 0; i < n; i++) {
        out->w[i] = (real)start->values[i];
    }
    return true;
}

/* Takes step t's gradients; their joint norm. */
static double take_gradients(struct trained *trained, size_t count, size_t t)
{
    double squares = 0;
    for (size_t k = 0; k < count; k++) {
        struct trained *one = &trained[k];
        for (size_t i = 0; i < one->size; i++) {
            one->gradient[i] = (real)one->gradients[t * one->size + i];
        }
        squares += kernels()->squares(one->size, one->gradient);
    }
    return sqrt(squares);
}

static bool run_optimiser(struct vectors *v, bool decoupled)
{
    enum { TRAINED_MAX = 8 };
    struct trained trained[TRAINED_MAX];
    size_t steps = (size_t)vectors_number(v, "steps", 0);
    size_t count = 0;
    while (count < TRAINED_MAX && open_trained(v, count, steps, &trained[count])) {
        count++;
    }
    const double beta1 = vectors_number(v, "beta1", 0.9);
    const double beta2 = vectors_number(v, "beta2", 0.999);
    const double decay = vectors_number(v, "weight_decay", 0);
    const double clip = vectors_number(v, "clip_norm", 0); /* "none" reads as 0 */
    real *norms = mem_zeroed(steps + 1, sizeof(real));
    for (size_t t = 0; t < steps; t++) {
        double norm = take_gradients(trained, count, t);
        norms[t] = (real)norm;
        double factor = clip > 0 && clip / (norm + 1e-6) < 1 ? clip / (norm + 1e-6) : 1;
        struct adamw step = {.rate = (real)vectors_number(v, "lr", 0),
                             .decay = decoupled ? (real)decay : 0,
                             .beta1 = (real)beta1,
                             .beta2 = (real)beta2,
                             .epsilon = (real)vectors_number(v, "eps", 1e-8),
                             .correction1 = (real)(1 - pow(beta1, (double)t + 1)),
                             .correction2 = (real)(1 - pow(beta2, (double)t + 1)),
                             .gradient_scale = decoupled || decay == 0 ? (real)factor : 1};
        for (size_t k = 0; k < count; k++) {
            struct trained *one = &trained[k];
            for (size_t i = 0; !decoupled && decay != 0 && i < one->size; i++) {
                one->gradient[i] = (real)factor * one->gradient[i] + (real)decay * one->w[i];
            }
            kernels()->adamw(one->size, &step, one->w, one->gradient, one->m, one->v, NULL);
            memcpy(one->history + t * one->size, one->w, one->size * sizeof(real));
        }
    }
    for (size_t k = 0; k < count; k++) {
        char name[STEPS_NAME];
        (void)snprintf(name, sizeof(name), "out.w%zu", k);
        vectors_compare(v, name, trained[k].history, steps * trained[k].size, 1);
        (void)snprintf(name, sizeof(name), "out.m%zu", k);
        vectors_compare(v, name, trained[k].m, trained[k].size, 1);
        (void)snprintf(name, sizeof(name), "out.v%zu", k);
        vectors_compare(v, name, trained[k].v, trained[k].size, 1);
        mem_free(trained[k].w);
    }
    if (vectors_find(v, "out.grad_norm") != NULL) {
        vectors_compare(v, "out.grad_norm", norms, steps, 1);
    }
    mem_free(norms);
    return v->off == 0 && (count > 0 || vectors_fail(v, "no parameters to step"));
}

/* ---------------------------------------------------------------- losses */

static struct tensor *ones(struct tape *tape, size_t count)
{
    struct tensor *tensor = tape_input(tape, (size_t[]){count, 0});
    for (size_t i = 0; i < count; i++) {
        tensor->data[i] = 1;
    }
    return tensor;
}

/* Every entry of the pinball loss alone, then the gradient of their sum; returns the sum. */
static double run_pinball(struct vectors *v, struct tape *tape)
{
    const struct vector *y = vectors_find(v, "aux.y");
    const struct vector *levels = vectors_find(v, "aux.quantiles");
    const struct vector *forecast = vectors_find(v, "aux.forecast");
    if (y == NULL || levels == NULL || forecast == NULL) {
        (void)vectors_fail(v, "aux.y, aux.forecast or aux.quantiles is missing");
        return 0;
    }
    size_t n = y->size;
    size_t q = levels->size;
    real *level = mem_zeroed(q, sizeof(real));
    real *entries = mem_zeroed(n * q, sizeof(real));
    for (size_t i = 0; i < q; i++) {
        level[i] = (real)levels->values[i];
    }
    for (size_t i = 0; i < n * q; i++) {
        tape_begin(tape, TAPE_TRAIN, &no_params, NULL, NULL, 1, 1);
        struct tensor *one = tape_input(tape, (size_t[]){1, 1, 0});
        struct tensor *target = tape_input(tape, (size_t[]){1, 0});
        one->data[0] = (real)forecast->values[i];
        target->data[0] = (real)y->values[i / q];
        entries[i] = op_pinball(tape, one, target, ones(tape, 1), &level[i % q], 1)->data[0];
    }
    vectors_compare(v, "out.pinball", entries, n * q, 1);
    tape_begin(tape, TAPE_TRAIN, &no_params, NULL, NULL, 1, 1);
    struct tensor *all = vectors_input(v, tape, "aux.forecast");
    all->wants_grad = true;
    struct tensor *loss =
        op_pinball(tape, all, vectors_input(v, tape, "aux.y"), ones(tape, n), level, 1);
    tape_backward(tape, loss);
    vectors_compare(v, "g.pinball_forecast", tape_gradient(tape, all), n * q, 1);
    double sum = (double)loss->data[0];
    mem_free(level);
    mem_free(entries);
    return sum;
}

/* A likelihood: its outputs [n, width], gradients by raw and by transformed parameter. */
struct likelihood {
    const char *name;
    const char *parts[3]; /* as in g.NAME_PART; raw where softplus follows */
    const char *sources[3];
    real floors[3];
    size_t width;
    struct tensor *(*run)(struct tape *, struct tensor *, const struct tensor *,
                          const struct tensor *, real);
};

static const struct likelihood likelihoods[] = {
    {"gauss", {"mu", "sigma"}, {"aux.mu", "aux.raw_sigma"}, {0, (real)0.001}, 2, op_gaussian_nll},
    {"student",
     {"mu", "sigma", "nu"},
     {"aux.mu", "aux.raw_sigma", "aux.raw_nu"},
     {0, (real)0.001, 2},
     3,
     op_student_nll},
};

/* out.NAME_PART = softplus(raw) + floor, g.NAME_PART = g.NAME_raw_PART / slope of softplus. */
static void compare_transformed(struct vectors *v, struct tape *tape,
                                const struct likelihood *likelihood, size_t part,
                                const real *by_raw)
{
    char name[VECTOR_NAME_MAX];
    struct tensor *raw = vectors_input(v, tape, likelihood->sources[part]);
    raw->wants_grad = true;
    size_t n = tensor_size(raw);
    struct tensor *y = op_softplus(tape, raw, likelihood->floors[part]);
    tape_backward(tape, op_inner(tape, y, ones(tape, n)));
    const real *slope = tape_gradient(tape, raw);
    real *by_value = mem_zeroed(n, sizeof(real));
    for (size_t i = 0; i < n; i++) {
        by_value[i] = by_raw[i * likelihood->width + part] / slope[i];
    }
    (void)snprintf(name, sizeof(name), "out.%s_%s", likelihood->name, likelihood->parts[part]);
    vectors_compare(v, name, y->data, n, 1);
    (void)snprintf(name, sizeof(name), "g.%s_%s", likelihood->name, likelihood->parts[part]);
    vectors_compare(v, name, by_value, n, 1);
    mem_free(by_value);
}

/* rows [n, width] of the likelihood's sources, row `only` alone or all (SIZE_MAX). */
static struct tensor *outputs(struct vectors *v, struct tape *tape,
                              const struct likelihood *likelihood, size_t only)
{
    size_t n = vectors_find(v, "aux.y")->size;
    size_t first = only != SIZE_MAX ? only : 0;
    size_t count = only != SIZE_MAX ? 1 : n;
    struct tensor *rows = tape_input(tape, (size_t[]){count, likelihood->width, 0});
    rows->wants_grad = true;
    for (size_t p = 0; p < likelihood->width; p++) {
        const struct vector *source = vectors_find(v, likelihood->sources[p]);
        if (source == NULL || source->size != n) {
            (void)vectors_fail(v, "%s: missing", likelihood->sources[p]);
            return NULL;
        }
        for (size_t i = 0; i < count; i++) {
            rows->data[i * likelihood->width + p] = (real)source->values[first + i];
        }
    }
    return rows;
}

static double run_likelihood(struct vectors *v, struct tape *tape,
                             const struct likelihood *likelihood)
{
    char name[VECTOR_NAME_MAX];
    const struct vector *y = vectors_find(v, "aux.y");
    size_t n = y->size;
    size_t width = likelihood->width;
    real *entries = mem_zeroed(n, sizeof(real));
    for (size_t i = 0; i < n; i++) {
        tape_begin(tape, TAPE_TRAIN, &no_params, NULL, NULL, 1, 1);
        struct tensor *row = outputs(v, tape, likelihood, i);
        struct tensor *target = tape_input(tape, (size_t[]){1, 0});
        target->data[0] = (real)y->values[i];
        entries[i] =
            row != NULL ? likelihood->run(tape, row, target, ones(tape, 1), 1)->data[0] : 0;
    }
    (void)snprintf(name, sizeof(name), "out.%s_nll",
                   strcmp(likelihood->name, "gauss") == 0 ? "gaussian" : likelihood->name);
    vectors_compare(v, name, entries, n, 1);
    mem_free(entries);
    tape_begin(tape, TAPE_TRAIN, &no_params, NULL, NULL, 1, 1);
    struct tensor *rows = outputs(v, tape, likelihood, SIZE_MAX);
    if (rows == NULL) {
        return 0;
    }
    struct tensor *target = vectors_input(v, tape, "aux.y");
    struct tensor *loss = likelihood->run(tape, rows, target, ones(tape, n), 1);
    tape_backward(tape, loss);
    double sum = (double)loss->data[0];
    real *gradient = mem_zeroed(n * width, sizeof(real));
    memcpy(gradient, tape_gradient(tape, rows), n * width * sizeof(real));
    for (size_t p = 0; p < width; p++) {
        (void)snprintf(name, sizeof(name), "g.%s_%s%s", likelihood->name, p > 0 ? "raw_" : "",
                       likelihood->parts[p]);
        vectors_compare(v, name, gradient + p, n, width);
        if (p > 0) {
            tape_begin(tape, TAPE_TRAIN, &no_params, NULL, NULL, 1, 1);
            compare_transformed(v, tape, likelihood, p, gradient);
        }
    }
    mem_free(gradient);
    return sum;
}

static bool run_losses(struct vectors *v, struct tape *tape)
{
    double loss = run_pinball(v, tape);
    for (size_t i = 0; v->off == 0 && i < ARRAY_COUNT(likelihoods); i++) {
        loss += run_likelihood(v, tape, &likelihoods[i]);
    }
    vectors_compare(v, "out.loss", &(real){(real)loss}, 1, 1);
    return v->off == 0;
}

bool golden_common(struct vectors *v, struct tape *tape)
{
    const char *unit = vectors_text(v, "unit", "");
    if (vectors_number(v, "ln_eps", 1e-5) != 1e-5) {
        return vectors_fail(v, "unknown option ln_eps=%s", vectors_text(v, "ln_eps", ""));
    }
    if (strcmp(unit, "ops") == 0) {
        return run_ops(v, tape);
    }
    if (strcmp(unit, "adamw") == 0 || strcmp(unit, "adam") == 0) {
        return run_optimiser(v, strcmp(unit, "adamw") == 0);
    }
    if (strcmp(unit, "losses") == 0) {
        return run_losses(v, tape);
    }
    return vectors_fail(v, "unknown unit \"%s\"", unit);
}
