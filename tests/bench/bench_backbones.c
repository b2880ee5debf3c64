/* Cost of the backbones over the length of the window: time, memory, operations, depth.
 * SPDX-License-Identifier: Apache-2.0
 *
 * usage: bench_backbones scaling|depth [NAME...]
 *
 * scaling: forward and backward of one window on one lane at L = 256 ... 16,384, width 64, 4 heads,
 * 3 layers, no dropout, everything else at its preset. CSV rows: part,backbone,case,measure,value,
 * with the length as the case and milliseconds, tape_bytes and parameters as measures. Time is
 * processor time of this thread, the least of several runs; memory is what the tape holds for
 * forward, backward and its nodes, which is measured and enforced. "dense" is the shared causal
 * attention (LogSparse with pattern=dense and kernel=1), so all rows differ in nothing but the
 * backbone.
 *
 * depth: bytes of activations at 2, 4, 8 and 16 layers, L = 1,024. Backbones that this build does
 * not have are left out.
 */
#include "model/backbones/backbone.h"

#include "base/check.h"
#include "base/memory.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define SECONDS_EACH 1.0 /* of runs at one length, after the first */
#define RUNS_MAX     20

/* A row of the figures: what runs, and how it is called. */
struct subject {
    const char *name, *backbone, *options;
};

#define SIZE "width=64 heads=4 layers=3 dropout=0 "

static const struct subject subjects[] = {
    {"dense", "logsparse", SIZE "pattern=dense kernel=1"},
    {"logsparse", "logsparse", SIZE},
    {"longformer", "longformer", SIZE},
    {"adaptive_span", "adaptive_span", SIZE "span=256 span_init=1 learn=false"},
    {"transformer_xl", "transformer_xl", SIZE},
    {"reformer", "reformer", SIZE},
    {"performer", "performer", SIZE},
    {"linformer", "linformer", SIZE},
    {"conformer", "conformer", SIZE},
    {"lite_transformer", "lite_transformer", SIZE},
};

struct bench {
    struct backbone_model *model;
    struct params params;
    real *weights, *gradients, *x, *cotangent;
    struct tape tape;
    size_t length;
};

static double processor_now(void)
{
    struct timespec time;
    CHECK(clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time) == 0);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

static real *random_reals(size_t n, uint64_t stream)
{
    real *values = mem_alloc_aligned(n * sizeof(real));
    CHECK(values != NULL);
    struct random random;
    random_init(&random, 1, stream);
    for (size_t i = 0; i < n; i++) {
        values[i] = (real)random_normal(&random);
    }
    return values;
}

static struct tensor *constant(struct tape *tape, size_t length, size_t width, const real *values)
{
    struct tensor *x = tape_input(tape, (size_t[]){1, length, width, 0});
    if (tape_computes(tape)) {
        memcpy(x->data, values, length * width * sizeof(real));
    }
    return x;
}

/* Forward and backward from a fixed cotangent of every output. */
static void pass(struct bench *bench, struct tape *tape)
{
    size_t width = bench->model->width;
    struct tensor *x = constant(tape, bench->length, width, bench->x);
    struct tensor *y = backbone_forward(bench->model, tape, x, NULL);
    struct tensor *loss = op_inner(tape, y, constant(tape, bench->length, width, bench->cotangent));
    struct tensor *penalty = backbone_penalty(bench->model, tape);
    tape_backward(tape, penalty != NULL ? op_add(tape, loss, penalty) : loss);
}

static struct tape_size measure(struct bench *bench)
{
    struct error error = {0};
    struct tape tape;
    CHECK(tape_measure(&tape, TAPE_TRAIN, &bench->params, &error) == STATUS_OK);
    pass(bench, &tape);
    struct tape_size size = tape_size(&tape);
    tape_release(&tape);
    return size;
}

static void bench_open(struct bench *bench, const struct subject *subject, const char *more,
                       size_t length)
{
    struct error error = {0};
    char options[256];
    (void)snprintf(options, sizeof(options), "%s %s", subject->options, more);
    *bench = (struct bench){.length = length};
    struct backbone_shape shape = {.length = length, .season = 24, .ahead = 24};
    if (backbone_create(subject->backbone, options, &shape, &bench->model, &error) != STATUS_OK) {
        (void)fprintf(stderr, "bench_backbones: %s at %zu: %s\n", subject->name, length,
                      error.text);
        exit(1);
    }
    CHECK(params_init(&bench->params, &error) == STATUS_OK);
    backbone_declare(bench->model, &bench->params, "b");
    bench->weights = params_slab_new(&bench->params);
    bench->gradients = params_slab_new(&bench->params);
    CHECK(bench->weights != NULL && bench->gradients != NULL);
    params_initialise(&bench->params, bench->weights, 1);
    backbone_refresh(bench->model, &bench->params, bench->weights,
                     &(struct backbone_moment){.seed = 1});
    bench->x = random_reals(length * bench->model->width, 1);
    bench->cotangent = random_reals(length * bench->model->width, 2);
}

static void bench_close(struct bench *bench)
{
    mem_free(bench->x);
    mem_free(bench->cotangent);
    mem_free(bench->weights);
    mem_free(bench->gradients);
    params_release(&bench->params);
    backbone_release(bench->model);
}

/* Seconds of the fastest pass. */
static double fastest(struct bench *bench, const struct tape_size *size)
{
    struct error error = {0};
    struct tape tape;
    CHECK(tape_init(&tape, size, &error) == STATUS_OK);
    double best = (double)INFINITY;
    double spent = 0;
    for (size_t run = 0; run < RUNS_MAX && (run < 2 || spent < SECONDS_EACH); run++) {
        memset(bench->gradients, 0, bench->params.size * sizeof(real));
        double start = processor_now();
        tape_begin(&tape, TAPE_TRAIN, &bench->params, bench->weights, bench->gradients, 1, 1);
        pass(bench, &tape);
        double seconds = processor_now() - start;
        best = fmin(best, seconds);
        spent += run > 0 ? seconds : 0; /* the first one touches the memory */
    }
    tape_release(&tape);
    return best;
}

/* One row of the CSV. */
static void report(const char *part, const char *name, size_t at, const char *measure, double value)
{
    printf("%s,%s,%zu,%s,%.6g\n", part, name, at, measure, value);
    (void)fflush(stdout);
}

static void run_scaling(const struct subject *subject)
{
    for (size_t length = 256; length <= 16384; length *= 2) {
        struct bench bench;
        bench_open(&bench, subject, "", length);
        struct tape_size size = measure(&bench);
        double seconds = fastest(&bench, &size);
        report("scaling", subject->name, length, "milliseconds", 1e3 * seconds);
        report("scaling", subject->name, length, "tape_bytes", (double)tape_size_bytes(&size));
        report("scaling", subject->name, length, "parameters", (double)bench.params.trained);
        bench_close(&bench);
    }
}

static void run_depth(const struct subject *subject)
{
    for (unsigned layers = 2; layers <= 16; layers *= 2) {
        struct bench bench;
        char more[32];
        (void)snprintf(more, sizeof(more), "layers=%u", layers);
        bench_open(&bench, subject, more, 1024);
        struct tape_size size = measure(&bench);
        report("depth", subject->name, layers, "activation_bytes", (double)size.value_bytes);
        bench_close(&bench);
    }
}

static bool wanted(const char *name, int count, char **names)
{
    for (int i = 0; i < count; i++) {
        if (strcmp(names[i], name) == 0) {
            return true;
        }
    }
    return count == 0;
}

int main(int argc, char **argv)
{
    bool scaling = argc > 1 && strcmp(argv[1], "scaling") == 0;
    bool depth = argc > 1 && strcmp(argv[1], "depth") == 0;
    if (!scaling && !depth) {
        (void)fprintf(stderr, "usage: bench_backbones scaling|depth [NAME...]\n");
        return 2;
    }
    for (size_t i = 0; i < ARRAY_COUNT(subjects); i++) {
        bool known = backbone_find(subjects[i].backbone) != NULL;
        if (!known || !wanted(subjects[i].name, argc - 2, argv + 2)) {
            continue;
        }
        if (scaling) {
            run_scaling(&subjects[i]);
        } else {
            run_depth(&subjects[i]);
        }
    }
    return 0;
}
