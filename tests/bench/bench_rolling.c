/* Rolling one-step evaluation: Transformer-XL's cached state against recomputing the full window.
 * SPDX-License-Identifier: Apache-2.0
 *
 * usage: bench_rolling [width [attention length ...]]; width 64 and lengths 800, 1800, 2800, 3800
 * where left out. CSV rows: part,backbone,case,measure,value, with the attention length as the
 * case.
 *
 * A series is scored one step ahead, every value known when the next one is forecast (Dai et al.
 * 2019, section 4.4 and table 9: an evaluation, not generation). For every new value the baseline
 * runs the same causal model, with the same weights, over the whole window of A tokens and uses its
 * last output; the candidate steps on with cached keys and values, A of which a token sees, one
 * token a call or 64 a call. Outputs of both are compared at every position of the first A tokens,
 * where both see the same. Multiply-adds are counted, and times are processor time of one thread,
 * the best of a few: the baseline's share of the sgemm peak of the same run says how good it is.
 */
#include "model/backbones/backbone.h"
#include "model/tape/blas.h"

#include "base/check.h"
#include "base/memory.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define LAYERS    3
#define HEADS     4
#define SEGMENT   ((size_t)64)
#define TIMED     4 /* segments a round */
#define ROUNDS    5
#define PEAK_SIDE 1024
#define TOLERANCE 1e-5 /* of the largest output */

struct rolling {
    struct backbone_model *model;
    struct params params;
    struct tape tape;
    real *weights, *x, *whole;
    void *state;
    size_t length, width, inner;
};

static double processor_now(void)
{
    struct timespec time;
    CHECK(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time) == 0);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

static void report(const struct rolling *r, const char *measure, double value)
{
    printf("rolling,transformer_xl d%zu,%zu,%s,%.5g\n", r->width, r->length, measure, value);
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

static void open_rolling(struct rolling *r)
{
    struct error error = {0};
    char options[128];
    (void)snprintf(options, sizeof(options), "width=%zu heads=%d layers=%d inner=%zu memory=%zu",
                   r->width, HEADS, LAYERS, r->inner, r->length);
    struct backbone_shape shape = {.length = r->length};
    CHECK(backbone_create("transformer_xl", options, &shape, &r->model, &error) == STATUS_OK);
    CHECK(params_init(&r->params, &error) == STATUS_OK);
    backbone_declare(r->model, &r->params, "b");
    r->weights = params_slab_new(&r->params);
    params_initialise(&r->params, r->weights, 1);
    size_t steps = r->length + ROUNDS * TIMED * SEGMENT;
    r->x = random_reals(steps * r->width);
    r->whole = random_reals(r->length * r->width);
    r->state = mem_alloc_aligned(backbone_state_bytes(r->model, 1));
    CHECK(r->weights != NULL && r->state != NULL);
    struct tape measure;
    CHECK(tape_measure(&measure, TAPE_INFER, &r->params, &error) == STATUS_OK);
    struct tensor *x = tape_input(&measure, (size_t[]){1, r->length, r->width, 0});
    (void)backbone_forward(r->model, &measure, x, NULL);
    struct tape_size size = tape_size(&measure);
    tape_release(&measure);
    CHECK(tape_init(&r->tape, &size, &error) == STATUS_OK);
}

static void close_rolling(struct rolling *r)
{
    tape_release(&r->tape);
    params_release(&r->params);
    backbone_release(r->model);
    mem_free(r->weights);
    mem_free(r->x);
    mem_free(r->whole);
    mem_free(r->state);
}

/* Tokens [from, from + count) through the model; the state is NULL for the baseline. */
static const real *run(struct rolling *r, size_t from, size_t count, void *state)
{
    tape_begin(&r->tape, TAPE_INFER, &r->params, r->weights, NULL, 0, 0);
    struct tensor *x = tape_input(&r->tape, (size_t[]){1, count, r->width, 0});
    memcpy(x->data, r->x + from * r->width, count * r->width * sizeof(real));
    return backbone_forward(r->model, &r->tape, x, state)->data;
}

/* ---------------------------------------------------------------- counted */

/* Projections of one token in one layer: queries, keys, values, output, feed-forward. */
static double token_macs(const struct rolling *r)
{
    double d = (double)r->width;
    return 4 * d * d + 2 * d * (double)r->inner;
}

/* Every pair of a query and a key costs a content score, a position score and a value. */
static double window_macs(const struct rolling *r)
{
    double d = (double)r->width;
    double a = (double)r->length;
    double pairs = a * (a + 1) / 2;
    return LAYERS * (a * token_macs(r) + a * d * d + 3 * d * pairs);
}

static double step_macs(const struct rolling *r)
{
    return LAYERS * (token_macs(r) + 3 * (double)r->width * (double)r->length);
}

/* ---------------------------------------------------------------- timed */

/* FLOP/s of one thread. */
static double measure_peak(void)
{
    size_t n = PEAK_SIDE;
    real *a = random_reals(n * n);
    real *b = random_reals(n * n);
    real *c = random_reals(n * n);
    struct matrix left = {a, n, BLAS_PLAIN};
    struct matrix right = {b, n, BLAS_PLAIN};
    double best = 0;
    for (int round = 0; round < 4; round++) {
        double start = processor_now();
        blas_product(n, n, n, 1, left, right, 0, c, n);
        best = fmax(best, 2 * (double)n * (double)n * (double)n / (processor_now() - start));
    }
    mem_free(a);
    mem_free(b);
    mem_free(c);
    return best;
}

/* Bytes a second of a matrix of about `bytes` times a vector: what a step could run at, whose work
 * is to read keys, values, distances and weights once. */
static double measure_memory(double bytes)
{
    size_t inner = 256;
    size_t columns = (size_t)bytes / (inner * sizeof(real)) + 1;
    real *a = random_reals(inner);
    real *b = random_reals(columns * inner);
    real *c = random_reals(columns);
    double best = 0;
    for (int round = 0; round < 20; round++) {
        double start = processor_now();
        blas_product(1, columns, inner, 1, (struct matrix){a, inner, BLAS_PLAIN},
                     (struct matrix){b, inner, BLAS_TRANSPOSED}, 0, c, columns);
        best = fmax(best, (double)(columns * inner * sizeof(real)) / (processor_now() - start));
    }
    mem_free(a);
    mem_free(b);
    mem_free(c);
    return best;
}

static double time_baseline(struct rolling *r)
{
    double best = HUGE_VAL;
    for (int round = 0; round < 3; round++) {
        double start = processor_now();
        const real *y = run(r, 0, r->length, NULL);
        best = fmin(best, processor_now() - start);
        memcpy(r->whole, y, r->length * r->width * sizeof(real));
    }
    return best;
}

/* The largest difference from the baseline's outputs, as a share of the largest output. */
static double compare(const struct rolling *r, size_t from, size_t count, const real *y)
{
    double largest = 0;
    double away = 0;
    for (size_t i = 0; i < r->length * r->width; i++) {
        largest = fmax(largest, fabs((double)r->whole[i]));
    }
    for (size_t i = 0; i < count * r->width; i++) {
        away = fmax(away, fabs((double)(y[i] - r->whole[from * r->width + i])));
    }
    return away / largest;
}

/* Seconds a token with a full state, `segment` tokens a call; outputs are checked on the way there.
 */
static double time_stream(struct rolling *r, size_t segment, double *away)
{
    backbone_state_reset(r->model, r->state, 1);
    *away = 0;
    size_t at = 0;
    while (at < r->length) {
        size_t count = r->length - at < segment ? r->length - at : segment;
        const real *y = run(r, at, count, r->state);
        if (segment > 1 || at % 97 == 0 || at + 1 == r->length) {
            *away = fmax(*away, compare(r, at, count, y));
        }
        at += count;
    }
    CHECK(*away <= TOLERANCE);
    double best = HUGE_VAL;
    for (int round = 0; round < ROUNDS; round++) {
        double start = processor_now();
        for (size_t done = 0; done < TIMED * SEGMENT; done += segment) {
            (void)run(r, at, segment, r->state);
            at += segment;
        }
        best = fmin(best, (processor_now() - start) / (double)(TIMED * SEGMENT));
    }
    return best;
}

static void bench(size_t width, size_t length)
{
    struct rolling r = {.length = length, .width = width, .inner = 4 * width};
    open_rolling(&r);
    double peak = measure_peak();
    double baseline = time_baseline(&r);
    peak = fmax(peak, measure_peak());
    double away_steps = 0;
    double away_segments = 0;
    double step = time_stream(&r, 1, &away_steps);
    double segment = time_stream(&r, SEGMENT, &away_segments);
    report(&r, "baseline_seconds", baseline);
    report(&r, "baseline_share_of_peak", 2 * window_macs(&r) / baseline / peak);
    report(&r, "step_microseconds", 1e6 * step);
    /* One multiply-add reads one number. */
    double bytes = step_macs(&r) * sizeof(real);
    report(&r, "step_share_of_memory_speed", bytes / step / measure_memory(bytes));
    report(&r, "segment_microseconds_a_token", 1e6 * segment);
    report(&r, "segment_share_of_peak", 2 * step_macs(&r) / segment / peak);
    report(&r, "largest_difference", fmax(away_steps, away_segments));
    report(&r, "mac_ratio", window_macs(&r) / step_macs(&r));
    report(&r, "step_ratio", baseline / step);
    report(&r, "segment_ratio", baseline / segment);
    close_rolling(&r);
}

int main(int argc, char **argv)
{
    static const size_t lengths[] = {800, 1800, 2800, 3800};
    struct error error = {0};
    CHECK(blas_check(1, &error) == STATUS_OK);
    size_t width = argc > 1 ? (size_t)strtoul(argv[1], NULL, 10) : 64;
    for (int i = 2; i < argc; i++) {
        bench(width, (size_t)strtoul(argv[i], NULL, 10));
    }
    for (size_t i = 0; argc <= 2 && i < ARRAY_COUNT(lengths); i++) {
        bench(width, lengths[i]);
    }
    return 0;
}
