/* Adaptive span: what the heads see, what z is given, and what training makes of it.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "base/check.h"
#include "base/memory.h"
#include "base/random.h"
#include "model/snapshot.h"
#include "model/training/trainer.h"
#include "tests/watched.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define LENGTH 40
#define HEADS  2
#define WIDTH  8 /* H h */
#define SPAN   24

/* ---------------------------------------------------------------- the op */

/* Inputs of one call, on a tape of its own. */
struct bench {
    struct tape tape;
    struct tensor *qk, *v, *z, *pe, *cotangent;
};

static void fill(struct tensor *tensor, uint64_t stream)
{
    struct random random;
    random_init(&random, 31, stream);
    for (size_t i = 0; i < tensor_size(tensor); i++) {
        tensor->data[i] = (real)random_normal(&random);
    }
    tensor->wants_grad = true;
}

static void open_bench(struct bench *bench)
{
    static const struct params none;
    struct error error = {0};
    struct tape_size size = {4 << 20, 4 << 20, 64};
    *bench = (struct bench){0};
    assert_int_equal(tape_init(&bench->tape, &size, &error), STATUS_OK);
    tape_begin(&bench->tape, TAPE_TRAIN, &none, NULL, NULL, 1, 1);
    bench->qk = tape_input(&bench->tape, (size_t[]){1, LENGTH, 2 * WIDTH, 0});
    bench->v = tape_input(&bench->tape, (size_t[]){1, LENGTH, WIDTH, 0});
    bench->cotangent = tape_input(&bench->tape, (size_t[]){1, LENGTH, WIDTH, 0});
    bench->pe = tape_input(&bench->tape, (size_t[]){SPAN, WIDTH / HEADS, 0});
    bench->z = tape_input(&bench->tape, (size_t[]){HEADS, 0});
    fill(bench->qk, 1);
    fill(bench->v, 2);
    fill(bench->cotangent, 3);
    fill(bench->pe, 4);
    bench->z->wants_grad = true;
}

static struct tensor *run(struct bench *bench, double z, double ramp, struct tensor *positions)
{
    bench->z->data[0] = (real)z;
    bench->z->data[1] = (real)z;
    return op_attention_span(&bench->tape, bench->qk, bench->v,
                             &(struct attention_span){.heads = HEADS,
                                                      .span = SPAN,
                                                      .ramp = (real)ramp,
                                                      .spans = bench->z,
                                                      .positions = positions});
}

static void assert_equal(const struct tensor *one, const struct tensor *other)
{
    double allowed = sizeof(real) == 8 ? 1e-12 : 2e-6;
    for (size_t i = 0; i < tensor_size(one); i++) {
        if (!(fabs((double)(one->data[i] - other->data[i])) <= allowed * 4)) {
            fail_msg("[%zu]: %.9g and %.9g", i, (double)one->data[i], (double)other->data[i]);
        }
    }
}

/* z = S is full attention over S keys: the shared attention over the offsets 0 .. S-1. */
static void full_span_is_full_attention_over_its_keys(void **state)
{
    (void)state;
    struct bench bench;
    open_bench(&bench);
    uint32_t offsets[SPAN];
    for (uint32_t o = 0; o < SPAN; o++) {
        offsets[o] = o;
    }
    struct pattern pattern = {
        .kind = PATTERN_OFFSETS, .length = LENGTH, .offset_count = SPAN, .offsets = offsets};
    struct attention attention = {.heads = HEADS, .pattern = &pattern};
    const struct tensor *shared = op_attention(&bench.tape, bench.qk, bench.v, &attention);
    assert_equal(run(&bench, 1, 5, NULL), shared);
    tape_release(&bench.tape);
}

/* Dense softmax, times the soft mask, divided by its sum: as the paper writes it. */
static void frozen_span_is_soft_masked_dense(void **state)
{
    (void)state;
    const double z = 0.31;
    const double ramp = 6;
    struct bench bench;
    open_bench(&bench);
    struct tensor *expected = tape_tensor_like(&bench.tape, bench.v);
    const size_t h = WIDTH / HEADS;
    for (size_t i = 0; i < LENGTH * HEADS; i++) {
        size_t t = i / HEADS;
        size_t from = i % HEADS * h;
        double sum = 0;
        double out[WIDTH] = {0};
        for (size_t e = 0; e <= t && e < SPAN; e++) {
            double s = 0;
            for (size_t c = from; c < from + h; c++) {
                s += (double)bench.qk->data[t * 2 * WIDTH + c] *
                     ((double)bench.qk->data[(t - e) * 2 * WIDTH + WIDTH + c] +
                      (double)bench.pe->data[e * h + c - from]);
            }
            double m = fmin(1, fmax(0, (ramp + z * SPAN - (double)e) / ramp));
            double weight = m * exp(s / sqrt((double)h));
            sum += weight;
            for (size_t c = 0; c < h; c++) {
                out[c] += weight * (double)bench.v->data[(t - e) * WIDTH + from + c];
            }
        }
        for (size_t c = 0; c < h; c++) {
            expected->data[t * WIDTH + from + c] = (real)(out[c] / sum);
        }
    }
    assert_equal(run(&bench, z, ramp, bench.pe), expected);
    tape_release(&bench.tape);
}

static double gradient_of_z(double z, double ramp)
{
    struct bench bench;
    open_bench(&bench);
    struct tensor *y = run(&bench, z, ramp, bench.pe);
    tape_backward(&bench.tape, op_inner(&bench.tape, y, bench.cotangent));
    const real *gradient = tape_gradient(&bench.tape, bench.z);
    double sum = (double)gradient[0] + (double)gradient[1];
    tape_release(&bench.tape);
    return sum;
}

static double loss_at(double z, double ramp)
{
    struct bench bench;
    open_bench(&bench);
    struct tensor *y = run(&bench, z, ramp, bench.pe);
    double loss = (double)op_inner(&bench.tape, y, bench.cotangent)->data[0];
    tape_release(&bench.tape);
    return loss;
}

/* Within the ramp as by differences; at z = S nothing is left of the ramp, and nothing moves. */
static void z_feels_the_ramp_and_nothing_else(void **state)
{
    (void)state;
    static const double inside[] = {0.02, 0.31, 0.6, 0.93};
    const double step = sizeof(real) == 8 ? 1e-6 : 2e-3;
    for (size_t i = 0; i < ARRAY_COUNT(inside); i++) {
        double slope = (loss_at(inside[i] + step, 6) - loss_at(inside[i] - step, 6)) / (2 * step);
        double allowed = sizeof(real) == 8 ? 1e-6 : 3e-2;
        if (!(fabs(gradient_of_z(inside[i], 6) - slope) <= allowed * (1 + fabs(slope)))) {
            fail_msg("z %g: %g, by differences %g", inside[i], gradient_of_z(inside[i], 6), slope);
        }
        assert_true(fabs(slope) > 1e-3);
    }
    assert_true(gradient_of_z(1, 6) == 0);
    /* A ramp of less than a step between two keys: no key lies on it. */
    assert_true(gradient_of_z(0.52, 0.25) == 0);
}

/* ---------------------------------------------------------------- training */

#define SERIES  4
#define POINTS  600
#define HORIZON 8
#define CONTEXT 56
#define TOKENS  (CONTEXT + HORIZON)
#define MEMORY  ((size_t)1 << 28)

#define RETRAININGS WATCHED_OR(1, 3)

static double values[SERIES][POINTS];
static struct model_series series[SERIES];
static struct training_set set;
static struct snapshot *snapshot; /* of one member, made anew for each training */

static int make_set(void **state)
{
    (void)state;
    struct error error = {0};
    for (size_t i = 0; i < SERIES; i++) {
        struct random random;
        random_init(&random, 41, i);
        double kept = 0;
        for (size_t t = 0; t < POINTS; t++) {
            kept = 0.7 * kept + 0.3 * random_normal(&random);
            values[i][t] = 20 + 5 * sin(2 * M_PI * (double)(t + 2 * i) / 12) + kept;
        }
        series[i] = (struct model_series){.values = values[i],
                                          .count = POINTS,
                                          .step_ms = 3600000,
                                          .minimum = -INFINITY,
                                          .maximum = INFINITY};
    }
    struct feature_plan plan = {.step_ms = 3600000, .horizon = HORIZON};
    assert_int_equal(snapshot_new(&plan, 1, &snapshot, &error), STATUS_OK);
    assert_int_equal(training_set_init(&set, &snapshot->plan, series, SERIES, 24, 12, &error),
                     STATUS_OK);
    return 0;
}

static int release_set(void **state)
{
    (void)state;
    training_set_release(&set);
    snapshot_release(snapshot);
    return 0;
}

struct training {
    const char *options;
    uint64_t steps, seed;
    size_t memory; /* 0: plenty */
};

/* Trains the snapshot's member, without lags and skip, so that the past must be looked at. The
 * running loss. */
static double train(const struct training *training)
{
    static const uint32_t seasons[SEASONS_MAX] = {12};
    static const char text[] = "lags=false skip=false calendar=false batch=16 rate=0.003";
    struct error error = {0};
    struct member_config config;
    assert_int_equal(member_config_parse(text, strlen(text), &config, &error), STATUS_OK);
    config.context = CONTEXT;
    config.patch = 1;
    (void)snprintf(config.backbone, sizeof(config.backbone), "adaptive_span");
    (void)snprintf(config.options, sizeof(config.options),
                   "width=8 heads=2 layers=2 inner=16 dropout=0 ramp=8 %s", training->options);
    member_free(snapshot->members[0]);
    snapshot->members[0] = NULL;
    enum status status =
        member_new(&config, &snapshot->plan, seasons, &snapshot->members[0], &error);
    struct trainer_result result = {0};
    if (status == STATUS_OK) {
        struct trainer_request request = {
            .set = &set,
            .member = snapshot->members[0],
            .seed = training->seed,
            .steps = training->steps,
            .lanes = 1,
            .memory_max = training->memory > 0 ? training->memory : MEMORY,
        };
        status = trainer_run(&request, &result, &error);
    }
    if (status != STATUS_OK) {
        fail_msg("%s: %s", training->options, error.text);
    }
    return result.loss;
}

/* z of head `head` in layer `layer`, as trained. */
static double trained(size_t layer, size_t head)
{
    const struct member *member = snapshot->members[0];
    char name[PARAM_NAME_MAX];
    (void)snprintf(name, sizeof(name), "backbone.layer%zu.attention.spans", layer);
    size_t id = params_find(&member->params, name);
    assert_true(id != SIZE_MAX);
    return (double)member->weights[member->params.items[id].offset + head];
}

static double mean_span(void)
{
    return TOKENS * (trained(0, 0) + trained(0, 1) + trained(1, 0) + trained(1, 1)) / 4;
}

/* After any number of steps, with a rate and penalties that throw the spans against both ends. */
static void spans_stay_within_their_bounds(void **state)
{
    (void)state;
    static const char *const options[] = {"span_rate=100 penalty=1", "span_rate=100 penalty=0",
                                          "span_rate=100 penalty=1e-3 span_init=1"};
    bool low = false;
    for (size_t i = 0; i < ARRAY_COUNT(options); i++) {
        for (uint64_t steps = 1; steps <= 32; steps *= 2) {
            (void)train(&(struct training){.options = options[i], .steps = steps});
            for (size_t k = 0; k < 4; k++) {
                double z = trained(k / 2, k % 2);
                assert_true(z >= 0 && z <= 1);
                low = low || z == 0;
            }
        }
    }
    assert_true(low);
}

/* Whatever the seed: each retraining with a larger penalty looks less far. */
static void spans_shrink_as_the_penalty_grows(void **state)
{
    (void)state;
    static const char *const options[] = {"penalty=0", "penalty=3e-4", "penalty=1e-3",
                                          "penalty=1e-2"};
    for (uint64_t seed = 3; seed < 3 + RETRAININGS; seed++) {
        double before = INFINITY;
        for (size_t i = 0; i < ARRAY_COUNT(options); i++) {
            struct training training = {.options = options[i], .steps = 300, .seed = seed};
            double loss = train(&training);
            double span = mean_span();
            print_message("seed %u, %s: mean span %.2f of %d, loss %.4f\n", (unsigned)seed,
                          options[i], span, TOKENS, loss);
            /* Without a penalty the heads look back for about a season of 12. */
            assert_true(span <= before && (i > 0 || span > 6));
            before = span;
        }
        assert_true(before < 1);
    }
}

static void fixed_spans_stay(void **state)
{
    (void)state;
    (void)train(&(struct training){.options = "learn=false span_init=0.5 penalty=0.1", .steps = 5});
    for (size_t k = 0; k < 4; k++) {
        assert_true(trained(k / 2, k % 2) == 0.5);
    }
}

/* The penalty counts once, however little memory cuts the batch into parts. */
static void penalty_does_not_depend_on_memory(void **state)
{
    (void)state;
    struct training training = {.options = "penalty=0.01", .steps = 3};
    double whole = train(&training);
    training.memory = MEMORY / 256;
    double parts = train(&training);
    assert_true(fabs(whole - parts) <= 1e-4 * whole);
    double free_of_it = train(&(struct training){.options = "penalty=0", .steps = 3});
    assert_true(whole > 1.05 * free_of_it);
}

/* The record of a model has the spans in tokens, a row a layer. */
static void record_shows_the_spans(void **state)
{
    (void)state;
    (void)train(&(struct training){.options = "penalty=1e-4", .steps = 20});
    struct error error = {0};
    struct text json;
    text_init(&json, 1 << 14);
    snapshot_summarise(snapshot);
    snapshot_describe(snapshot, &json);
    assert_int_equal(text_status(&json, "the record", &error), STATUS_OK);
    const char *at = strstr(json.bytes, "\"spans\":[[");
    assert_non_null(at);
    double got[4];
    assert_int_equal(sscanf(at, "\"spans\":[[%lf,%lf],[%lf,%lf]],\"span_ramp\":8", &got[0], &got[1],
                            &got[2], &got[3]),
                     4);
    assert_non_null(strstr(at, "]],\"span_ramp\":8,"));
    for (size_t k = 0; k < 4; k++) {
        assert_true(fabs(got[k] - TOKENS * trained(k / 2, k % 2)) <= 1e-4);
    }
    text_release(&json);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(full_span_is_full_attention_over_its_keys),
        cmocka_unit_test(frozen_span_is_soft_masked_dense),
        cmocka_unit_test(z_feels_the_ramp_and_nothing_else),
        cmocka_unit_test(spans_stay_within_their_bounds),
        cmocka_unit_test(spans_shrink_as_the_penalty_grows),
        cmocka_unit_test(fixed_spans_stay),
        cmocka_unit_test(penalty_does_not_depend_on_memory),
        cmocka_unit_test(record_shows_the_spans),
    };
    return cmocka_run_group_tests(tests, make_set, release_set);
}
