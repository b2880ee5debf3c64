/* Model figures: training and inference against the sgemm peak of the same run, sparse against
 * dense. SPDX-License-Identifier: Apache-2.0
 *
 * usage: bench_model [seconds per figure [figure [windows a micro-batch]]]; figures: patched,
 * pointwise, inference, attention, length. Prints lines of: name value unit. The best of three
 * rounds counts for peak and for training alike, because other work on the machine only ever takes
 * away.
 *
 * The reference model: width 64, 4 heads, 3 layers, inner 256, kernel 3, learned positions, GELU,
 * pre-norm, no dropout. Patched: 18 tokens of 96 features, 108 outputs a token; pointwise: 216
 * tokens of 8 features, 9 outputs. FLOPs counted 2 a multiply-add, attention in full, backward
 * twice forward: 23.4 and 363.7 MFLOP a window.
 */
#include "model/backbones/backbone.h"
#include "model/layers/layers.h"
#include "model/ops/kernels.h"
#include "model/tape/blas.h"

#include "base/check.h"
#include "base/clock.h"
#include "base/memory.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define LANES     2
#define QUANTILES 9

static double seconds_each = 2;

static double now(void)
{
    return (double)clock_monotonic_ns() * 1e-9;
}

/* Processor time of all threads: what other work on the machine cannot take away. */
static double processor_now(void)
{
    struct timespec time;
    CHECK(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time) == 0);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

static double larger(double a, double b)
{
    return a > b ? a : b;
}

static void report(const char *name, double value, const char *unit)
{
    printf("%-44s %12.4g %s\n", name, value, unit);
    (void)fflush(stdout);
}

static real *random_reals(size_t n)
{
    real *values = mem_alloc_aligned(n * sizeof(real));
    CHECK(values != NULL);
    struct random random;
    random_init(&random, 1, n);
    for (size_t i = 0; i < n; i++) {
        values[i] = (real)random_normal(&random);
    }
    return values;
}

/* Runs `work` on LANES threads with their number and waits for all. */
static void on_lanes(void *(*work)(void *), void *lanes, size_t size)
{
    pthread_t threads[LANES];
    for (size_t i = 1; i < LANES; i++) {
        CHECK(pthread_create(&threads[i], NULL, work, (char *)lanes + i * size) == 0);
    }
    (void)work(lanes);
    for (size_t i = 1; i < LANES; i++) {
        CHECK(pthread_join(threads[i], NULL) == 0);
    }
}

/* ---------------------------------------------------------------- peak */

#define PEAK_SIDE 1024

static void *peak_lane(void *argument)
{
    double *flops = argument;
    size_t n = PEAK_SIDE;
    real *a = random_reals(n * n);
    real *b = random_reals(n * n);
    real *c = random_reals(n * n);
    struct matrix left = {a, n, BLAS_PLAIN};
    struct matrix right = {b, n, BLAS_PLAIN};
    blas_product(n, n, n, 1, left, right, 0, c, n);
    double start = now();
    double products = 0;
    while (now() - start < seconds_each / 2) {
        blas_product(n, n, n, 1, left, right, 0, c, n);
        products++;
    }
    *flops = products * 2 * (double)n * (double)n * (double)n / (now() - start);
    mem_free(a);
    mem_free(b);
    mem_free(c);
    return NULL;
}

/* FLOP/s of both cores together. */
static double peak(void)
{
    double flops[LANES];
    on_lanes(peak_lane, flops, sizeof(flops[0]));
    double sum = 0;
    for (size_t i = 0; i < LANES; i++) {
        sum += flops[i];
    }
    return sum;
}

/* ---------------------------------------------------------------- the reference model */

struct reference {
    size_t tokens, features, outputs, batch, micro; /* micro: windows a tape holds at once */
    double flops;                                   /* a window, training */
    struct backbone_model *backbone;
    struct linear_layer embed, head;
    struct params params;
    real *weights, *moment1, *moment2;
    real *inputs, *targets; /* [batch, tokens, ...] */
};

struct lane {
    struct reference *model;
    struct tape tape;
    real *gradients;
    size_t first, count; /* windows of the batch */
    enum tape_mode mode;
    pthread_barrier_t *barrier;
    double until;
    double steps;
};

static const real levels[QUANTILES] = {(real)0.1, (real)0.2, (real)0.3, (real)0.4, (real)0.5,
                                       (real)0.6, (real)0.7, (real)0.8, (real)0.9};

static void reference_open(struct reference *model, const char *options)
{
    struct error error = {0};
    struct backbone_shape shape = {.length = model->tokens};
    if (backbone_create("logsparse", options, &shape, &model->backbone, &error) != STATUS_OK) {
        (void)fprintf(stderr, "bench_model: %s\n", error.text);
        exit(1);
    }
    CHECK(params_init(&model->params, &error) == STATUS_OK);
    size_t width = model->backbone->width;
    struct linear_spec in = {model->features, width, PARAM_XAVIER, 0, false};
    struct linear_spec out = {width, model->outputs, PARAM_ZERO, 0, false};
    model->embed = linear_layer_declare(&model->params, &in, "embed");
    backbone_declare(model->backbone, &model->params, "backbone");
    model->head = linear_layer_declare(&model->params, &out, "head");
    model->weights = params_slab_new(&model->params);
    model->moment1 = params_slab_new(&model->params);
    model->moment2 = params_slab_new(&model->params);
    params_initialise(&model->params, model->weights, 1);
    model->inputs = random_reals(model->batch * model->tokens * model->features);
    model->targets = random_reals(model->batch * model->tokens * model->outputs / QUANTILES);
}

static void reference_close(struct reference *model)
{
    backbone_release(model->backbone);
    params_release(&model->params);
    mem_free(model->weights);
    mem_free(model->moment1);
    mem_free(model->moment2);
    mem_free(model->inputs);
    mem_free(model->targets);
}

/* Windows first .. first + count - 1 -> outputs [count, tokens, outputs]. */
static struct tensor *forward(struct reference *model, struct tape *tape, size_t first,
                              size_t count)
{
    struct tensor *x = tape_input(tape, (size_t[]){count, model->tokens, model->features, 0});
    if (x->data != NULL) {
        size_t window = model->tokens * model->features;
        memcpy(x->data, model->inputs + first * window, count * window * sizeof(real));
    }
    x = linear_layer(tape, &model->embed, x);
    x = backbone_forward(model->backbone, tape, x, NULL);
    return linear_layer(tape, &model->head, x);
}

static struct tensor *loss_of(struct reference *model, struct tape *tape, size_t first,
                              size_t count)
{
    struct tensor *y = forward(model, tape, first, count);
    size_t steps = model->tokens * model->outputs / QUANTILES;
    size_t rows = count * steps;
    struct tensor *target = tape_input(tape, (size_t[]){rows, 0});
    struct tensor *weight = tape_input(tape, (size_t[]){rows, 0});
    if (target->data != NULL) {
        memcpy(target->data, model->targets + first * steps, rows * sizeof(real));
        for (size_t i = 0; i < rows; i++) {
            weight->data[i] = 1;
        }
    }
    y = op_reshape(tape, y, (size_t[]){rows, QUANTILES, 0});
    return op_pinball(tape, y, target, weight, levels, 1 / (real)(model->batch * steps));
}

static struct tape_size measured(struct reference *model, enum tape_mode mode, size_t windows)
{
    struct error error = {0};
    struct tape tape;
    CHECK(tape_measure(&tape, mode, &model->params, &error) == STATUS_OK);
    if (mode == TAPE_TRAIN) {
        tape_backward(&tape, loss_of(model, &tape, 0, windows));
    } else {
        (void)forward(model, &tape, 0, windows);
    }
    struct tape_size size = tape_size(&tape);
    tape_release(&tape);
    return size;
}

static void lanes_open(struct reference *model, enum tape_mode mode, struct lane lanes[LANES],
                       pthread_barrier_t *barrier)
{
    struct error error = {0};
    struct tape_size size = measured(model, mode, model->micro);
    CHECK(pthread_barrier_init(barrier, NULL, LANES) == 0);
    for (size_t i = 0; i < LANES; i++) {
        size_t share = model->batch / LANES;
        lanes[i] = (struct lane){.model = model,
                                 .gradients = params_slab_new(&model->params),
                                 .first = i * share,
                                 .count = share,
                                 .mode = mode,
                                 .barrier = barrier};
        CHECK(tape_init(&lanes[i].tape, &size, &error) == STATUS_OK);
    }
}

static void lanes_close(struct lane lanes[LANES], pthread_barrier_t *barrier)
{
    for (size_t i = 0; i < LANES; i++) {
        tape_release(&lanes[i].tape);
        mem_free(lanes[i].gradients);
    }
    (void)pthread_barrier_destroy(barrier);
}

/* One lane's part of a batch, micro-batch by micro-batch. */
static void lane_pass(struct lane *lane)
{
    struct reference *model = lane->model;
    memset(lane->gradients, 0, model->params.size * sizeof(real));
    for (size_t done = 0; done < lane->count; done += model->micro) {
        size_t count = lane->count - done < model->micro ? lane->count - done : model->micro;
        tape_begin(&lane->tape, lane->mode, &model->params, model->weights, lane->gradients, 1, 1);
        if (lane->mode == TAPE_TRAIN) {
            tape_backward(&lane->tape, loss_of(model, &lane->tape, lane->first + done, count));
        } else {
            (void)forward(model, &lane->tape, lane->first + done, count);
        }
    }
}

static void update(struct lane *lane)
{
    struct reference *model = lane->model;
    struct lane *first = lane;
    size_t n = model->params.size;
    for (size_t i = 1; i < LANES; i++) {
        for (size_t k = 0; k < n; k++) {
            first->gradients[k] += first[i].gradients[k];
        }
    }
    struct adamw step = {.rate = (real)1e-3,
                         .decay = (real)0.01,
                         .beta1 = (real)0.9,
                         .beta2 = (real)0.99,
                         .epsilon = (real)1e-8,
                         .correction1 = 1,
                         .correction2 = 1,
                         .gradient_scale = 1};
    kernels()->adamw(n, &step, model->weights, first->gradients, model->moment1, model->moment2,
                     NULL);
}

static void *lane_run(void *argument)
{
    struct lane *lane = argument;
    bool leads = lane->first == 0;
    for (;;) {
        lane_pass(lane);
        (void)pthread_barrier_wait(lane->barrier);
        lane->steps++;
        if (leads && lane->mode == TAPE_TRAIN) {
            update(lane);
        }
        bool ends = leads && now() >= lane->until;
        if (leads && ends) {
            for (size_t i = 0; i < LANES; i++) {
                lane[i].until = 0;
            }
        }
        (void)pthread_barrier_wait(lane->barrier);
        if (lane->until == 0) {
            return NULL;
        }
    }
}

/* Batches a second on two lanes. */
static double run_lanes(struct reference *model, enum tape_mode mode)
{
    struct lane lanes[LANES];
    pthread_barrier_t barrier;
    lanes_open(model, mode, lanes, &barrier);
    lane_pass(&lanes[0]);
    double start = now();
    for (size_t i = 0; i < LANES; i++) {
        lanes[i].until = start + seconds_each;
    }
    on_lanes(lane_run, lanes, sizeof(lanes[0]));
    double rate = lanes[0].steps / (now() - start);
    lanes_close(lanes, &barrier);
    return rate;
}

static void train_figure(const char *name, struct reference *model, double goal)
{
    char line[64];
    reference_open(model, "pattern=dense dropout=0");
    size_t before = mem_bytes_in_use();
    double limit = 0;
    double windows = 0;
    double by_processor[2] = {0}; /* FLOP a second of processor time: peak, training */
    for (int round = 0; round < 3; round++) {
        double before_peak = processor_now();
        double start = now();
        double flops = peak();
        double used = (processor_now() - before_peak) / (now() - start) / LANES;
        limit = larger(limit, flops);
        by_processor[0] = larger(by_processor[0], flops / used);
        before_peak = processor_now();
        start = now();
        double rate = run_lanes(model, TAPE_TRAIN) * (double)model->batch;
        used = (processor_now() - before_peak) / (now() - start) / LANES;
        windows = larger(windows, rate);
        by_processor[1] = larger(by_processor[1], rate * model->flops / used);
    }
    (void)snprintf(line, sizeof(line), "%s_peak_sgemm", name);
    report(line, limit * 1e-9, "GFLOP/s");
    (void)snprintf(line, sizeof(line), "%s_training", name);
    report(line, windows, "windows/s");
    (void)snprintf(line, sizeof(line), "%s_training_share_of_peak", name);
    report(line, 100 * windows * model->flops / limit, "%");
    (void)snprintf(line, sizeof(line), "%s_training_share_by_processor_time", name);
    report(line, 100 * by_processor[1] / by_processor[0], "%");
    (void)snprintf(line, sizeof(line), "%s_training_goal", name);
    report(line, goal, "%");
    struct tape_size size = measured(model, TAPE_TRAIN, model->micro);
    (void)snprintf(line, sizeof(line), "%s_training_memory", name);
    size_t bytes = before + LANES * (tape_size_bytes(&size) + model->params.size * sizeof(real));
    report(line, (double)bytes * 1e-6, "MB");
    reference_close(model);
}

/* ---------------------------------------------------------------- inference */

/* Seconds of one run of `windows` windows on one lane, the best of many. */
static double one_lane_seconds(struct reference *model, size_t windows)
{
    struct error error = {0};
    struct tape_size size = measured(model, TAPE_INFER, windows);
    struct tape tape;
    CHECK(tape_init(&tape, &size, &error) == STATUS_OK);
    double end = now() + seconds_each;
    double sum = 0;
    double count = 0;
    while (now() < end) {
        double start = now();
        tape_begin(&tape, TAPE_INFER, &model->params, model->weights, NULL, 1, 1);
        (void)forward(model, &tape, 0, windows);
        sum += now() - start;
        count++;
    }
    tape_release(&tape);
    return sum / count;
}

/* What the tape itself costs: the same forward with shapes only. */
static double shapes_only_seconds(struct reference *model)
{
    double sum = 0;
    double count = 0;
    for (int round = 0; round < 50; round++) {
        struct error error = {0};
        struct tape tape;
        CHECK(tape_measure(&tape, TAPE_INFER, &model->params, &error) == STATUS_OK);
        (void)forward(model, &tape, 0, 1); /* first touch of the memory */
        double start = now();
        for (int i = 0; i < 20; i++) {
            arena_rewind(&tape.values, 0);
            (void)forward(model, &tape, 0, 1);
        }
        sum += now() - start;
        count += 20;
        tape_release(&tape);
    }
    return sum / count;
}

/* One more step of one series from a state: what decoding by sampling does. */
static void step_figures(struct reference *model)
{
    struct error error = {0};
    struct tape_size size = measured(model, TAPE_INFER, 1);
    struct tape tape;
    CHECK(tape_init(&tape, &size, &error) == STATUS_OK);
    void *state = mem_alloc_aligned(backbone_state_bytes(model->backbone, 1));
    double sum = 0;
    double count = 0;
    for (double end = now() + seconds_each / 2; now() < end;) {
        backbone_state_reset(model->backbone, state, 1);
        double start = now();
        for (size_t t = 0; t < model->tokens; t++) {
            tape_begin(&tape, TAPE_INFER, &model->params, model->weights, NULL, 1, 1);
            struct tensor *x = tape_input(&tape, (size_t[]){1, 1, model->backbone->width, 0});
            memcpy(x->data, model->inputs, tensor_size(x) * sizeof(real));
            (void)backbone_forward(model->backbone, &tape, x, state);
        }
        sum += now() - start;
        count += (double)model->tokens;
    }
    report("step_one_series", sum / count * 1e6, "us");
    mem_free(state);
    tape_release(&tape);
}

static void inference_figures(size_t micro)
{
    struct reference model = {.tokens = 18,
                              .features = 96,
                              .outputs = 108,
                              .batch = 414,
                              .micro = micro != 0 ? micro : 12};
    reference_open(&model, "pattern=dense");
    double one = one_lane_seconds(&model, 1);
    report("patched_forward_one_series", one * 1e3, "ms (goal 0.25)");
    report("patched_forward_414_series_two_lanes", 1e3 / run_lanes(&model, TAPE_INFER),
           "ms (goal 35)");
    report("tape_overhead_one_series", 100 * shapes_only_seconds(&model) / one, "% (goal 5)");
    step_figures(&model);
    reference_close(&model);
}

/* ---------------------------------------------------------------- sparse against dense */

/* Processor seconds of one forward and backward of op_attention, 4 heads of 16, one series. */
static double attention_seconds(const struct pattern *pattern, size_t length)
{
    struct error error = {0};
    struct params none;
    CHECK(params_init(&none, &error) == STATUS_OK);
    struct tape tape;
    struct tape_size size = {length * 4096 + (8 << 20), length * 4096 + (8 << 20), 16};
    CHECK(tape_init(&tape, &size, &error) == STATUS_OK);
    real *values = random_reals(length * 128);
    double start = processor_now();
    double rounds = 0;
    while (rounds < 2 || processor_now() - start < seconds_each / 10) {
        tape_begin(&tape, TAPE_TRAIN, &none, NULL, NULL, 1, 1);
        struct tensor *qk = tape_input(&tape, (size_t[]){1, length, 128, 0});
        struct tensor *v = tape_input(&tape, (size_t[]){1, length, 64, 0});
        memcpy(qk->data, values, length * 128 * sizeof(real));
        memcpy(v->data, values, length * 64 * sizeof(real));
        qk->wants_grad = true;
        v->wants_grad = true;
        struct attention attention = {.heads = 4, .pattern = pattern};
        struct tensor *y = op_attention(&tape, qk, v, &attention);
        tape_backward(&tape, op_inner(&tape, y, v));
        rounds++;
    }
    double result = (processor_now() - start) / rounds;
    mem_free(values);
    tape_release(&tape);
    params_release(&none);
    return result;
}

static void attention_figures(void)
{
    static const size_t lengths[] = {48, 72, 96, 192, 384, 512, 1024, 2048, 4096};
    for (size_t i = 0; i < ARRAY_COUNT(lengths); i++) {
        struct error error = {0};
        size_t length = lengths[i];
        struct pattern_log_sparse shape = {length, 16, length / 4, true, 0, 0};
        struct pattern sparse;
        CHECK(pattern_log_sparse(&shape, &sparse, &error) == STATUS_OK);
        struct pattern dense = pattern_dense(length);
        char name[64];
        (void)snprintf(name, sizeof(name), "attention_dense_%zu", length);
        double by_dense = attention_seconds(&dense, length);
        report(name, by_dense * 1e3, "ms");
        (void)snprintf(name, sizeof(name), "attention_sparse_%zu", length);
        double by_sparse = attention_seconds(&sparse, length);
        report(name, by_sparse * 1e3, "ms");
        (void)snprintf(name, sizeof(name), "attention_dense_by_sparse_%zu", length);
        report(name, by_dense / by_sparse, "times");
        (void)snprintf(name, sizeof(name), "attention_pairs_ratio_%zu", length);
        report(name, (double)pattern_pairs(&dense, length) / (double)pattern_pairs(&sparse, length),
               "times");
        pattern_release(&sparse);
    }
}

/* One window, forward and backward, one lane; time and tape memory. */
static void length_figures(void)
{
    for (size_t length = 512; length <= 4096; length *= 2) {
        struct reference model = {
            .tokens = length, .features = 8, .outputs = 9, .batch = 1, .micro = 1};
        reference_open(&model, "dropout=0");
        struct error error = {0};
        struct tape_size size = measured(&model, TAPE_TRAIN, 1);
        struct lane lane = {.model = &model,
                            .gradients = params_slab_new(&model.params),
                            .count = 1,
                            .mode = TAPE_TRAIN};
        CHECK(tape_init(&lane.tape, &size, &error) == STATUS_OK);
        lane_pass(&lane);
        double start = now();
        double rounds = 0;
        while (rounds < 2 || now() - start < seconds_each / 4) {
            lane_pass(&lane);
            rounds++;
        }
        char name[64];
        (void)snprintf(name, sizeof(name), "logsparse_step_%zu", length);
        report(name, (now() - start) / rounds * 1e3, "ms");
        (void)snprintf(name, sizeof(name), "logsparse_tape_%zu", length);
        report(name, (double)tape_size_bytes(&size) * 1e-6, "MB");
        tape_release(&lane.tape);
        mem_free(lane.gradients);
        reference_close(&model);
    }
}

int main(int argc, char **argv)
{
    if (argc > 1) {
        seconds_each = atof(argv[1]);
    }
    const char *only = argc > 2 ? argv[2] : "";
    size_t micro = argc > 3 ? (size_t)atoi(argv[3]) : 0;
    struct error error = {0};
    if (blas_check(LANES, &error) != STATUS_OK) {
        (void)fprintf(stderr, "bench_model: %s; %s\n", error.text, error.hint);
        return 1;
    }
    printf("# %s; kernels %s\n", blas_description(), kernels()->level);
    if (strstr("patched", only) != NULL) {
        struct reference patched = {.tokens = 18,
                                    .features = 96,
                                    .outputs = 108,
                                    .batch = 256,
                                    .micro = micro != 0 ? micro : 16,
                                    .flops = 23.4e6};
        train_figure("patched", &patched, 55);
    }
    if (strstr("pointwise", only) != NULL) {
        struct reference pointwise = {.tokens = 216,
                                      .features = 8,
                                      .outputs = 9,
                                      .batch = 64,
                                      .micro = micro != 0 ? micro : 2,
                                      .flops = 363.7e6};
        train_figure("pointwise", &pointwise, 42);
    }
    if (strstr("inference", only) != NULL) {
        inference_figures(micro);
    }
    if (strstr("attention", only) != NULL) {
        attention_figures();
    }
    if (strstr("length", only) != NULL) {
        length_figures();
    }
    return 0;
}
