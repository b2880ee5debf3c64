/* Conformer's own promises: what each of its parts may look at, in training too.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "model/backbones/backbone.h"
#include "model/training/optimizer.h"

#include "base/check.h"
#include "base/memory.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define STEPS 30
#define BATCH 2
#define WIDTH 16
#define COUNT ((size_t)BATCH * STEPS * WIDTH)

#define OPTIONS "width=16 heads=2 inner=24 dropout=0 "

struct fixture {
    struct backbone_model *model;
    struct params params;
    struct tape tape;
    real *weights, *gradients;
    real x[2 * COUNT], y[2 * COUNT];
};

static void open_fixture(struct fixture *f, const char *options)
{
    struct error error = {0};
    memset(f, 0, sizeof(*f));
    struct backbone_shape shape = {.length = 2 * STEPS};
    char text[256];
    (void)snprintf(text, sizeof(text), "%s%s", OPTIONS, options);
    assert_int_equal(backbone_create("conformer", text, &shape, &f->model, &error), STATUS_OK);
    assert_int_equal(params_init(&f->params, &error), STATUS_OK);
    backbone_declare(f->model, &f->params, "b");
    f->weights = params_slab_new(&f->params);
    f->gradients = params_slab_new(&f->params);
    params_initialise(&f->params, f->weights, 3);
    struct random random;
    random_init(&random, 4, 4);
    for (size_t i = 0; i < 2 * COUNT; i++) {
        f->x[i] = (real)random_normal(&random);
    }
    struct tape_size size = {32 << 20, 32 << 20, 4096};
    assert_int_equal(tape_init(&f->tape, &size, &error), STATUS_OK);
}

static void close_fixture(struct fixture *f)
{
    tape_release(&f->tape);
    params_release(&f->params);
    backbone_release(f->model);
    mem_free(f->weights);
    mem_free(f->gradients);
}

/* y [BATCH, count, WIDTH] of x; in training with the way back, so that statistics are told. */
static void run(struct fixture *f, enum tape_mode mode, size_t count)
{
    tape_begin(&f->tape, mode, &f->params, f->weights, f->gradients, 1, 1);
    struct tensor *x = tape_input(&f->tape, (size_t[]){BATCH, count, WIDTH, 0});
    memcpy(x->data, f->x, tensor_size(x) * sizeof(real));
    struct tensor *y = backbone_forward(f->model, &f->tape, x, NULL);
    memcpy(f->y, y->data, tensor_size(y) * sizeof(real));
    if (mode == TAPE_TRAIN) {
        tape_backward(&f->tape, op_inner(&f->tape, y, x));
    }
}

static real *weights_of(struct fixture *f, const char *name, size_t *size)
{
    size_t id = params_find(&f->params, name);
    assert_true(id != SIZE_MAX);
    *size = f->params.items[id].size;
    return f->weights + f->params.items[id].offset;
}

/* All weights of parameters whose name has the part. */
static void silence(struct fixture *f, const char *part)
{
    size_t found = 0;
    for (size_t i = 0; i < f->params.count; i++) {
        const struct param *param = &f->params.items[i];
        if (strstr(param->name, part) != NULL) {
            memset(f->weights + param->offset, 0, param->size * sizeof(real));
            found++;
        }
    }
    assert_true(found > 0);
}

/* For each distance, does a change of the input at one step change the output that much later? */
static void find_reach(struct fixture *f, enum tape_mode mode, bool reaches[2 * STEPS])
{
    static real before[COUNT];
    size_t at = STEPS / 2;
    run(f, mode, STEPS);
    memcpy(before, f->y, sizeof(before));
    for (size_t c = 0; c < WIDTH; c++) {
        f->x[at * WIDTH + c] += (real)sin((double)c); /* of series 0 */
    }
    run(f, mode, STEPS);
    memset(reaches, 0, 2 * STEPS * sizeof(bool));
    for (size_t i = 0; i < STEPS * WIDTH; i++) {
        size_t distance = STEPS + i / WIDTH - at;
        reaches[distance] = reaches[distance] || f->y[i] != before[i];
    }
}

/* Distances [from, to] exactly, as far as the window goes. */
static void expect_reach(const char *options, const char *silent, int from, int to)
{
    struct fixture f;
    bool reaches[2 * STEPS];
    open_fixture(&f, options);
    silence(&f, silent);
    find_reach(&f, TAPE_TRAIN, reaches);
    for (int distance = -STEPS / 2; distance < STEPS / 2; distance++) {
        bool expected = distance >= from && distance <= to;
        if (reaches[STEPS + distance] != expected) {
            fail_msg("%s: distance %d is %s", options, distance, expected ? "lost" : "reached");
        }
    }
    close_fixture(&f);
}

/* The convolution alone reaches K - 1 steps back, both ways where it is centred, and a convolution
 * of one step is position-wise; attention alone reaches its window. */
static void test_each_part_reaches_what_it_should(void **state)
{
    (void)state;
    expect_reach("layers=1 conv_kernel=5", "attention.out", 0, 4);
    expect_reach("layers=1 conv_kernel=5 conv_norm=none", "attention.out", 0, 4);
    expect_reach("layers=2 conv_kernel=4", "attention.out", 0, 6);
    expect_reach("layers=1 conv_kernel=1", "attention.out", 0, 0);
    expect_reach("layers=1 attention_window=4", "convolution.out", 0, 3);
    expect_reach("layers=1", "convolution.out", 0, STEPS);
    expect_reach("layers=1 mode=fidelity conv_norm=none conv_kernel=5", "attention.out", -2, 2);
    expect_reach("layers=1 mode=fidelity conv_norm=none conv_kernel=4", "attention.out", -2, 1);
    expect_reach("layers=1 mode=fidelity attention_window=4", "convolution.out", -3, 3);
    expect_reach("layers=1 mode=fidelity", "convolution.out", -STEPS, STEPS);
    expect_reach("layers=1 mode=fidelity", "attention.out", -STEPS, STEPS); /* by statistics */
}

/* Whatever comes after the end changes nothing before it. */
static void test_what_follows_the_end_does_not_matter(void **state)
{
    (void)state;
    static const char *const options[] = {"", "attention_window=6 conv_norm=none"};
    static real whole[2 * COUNT];
    for (size_t i = 0; i < ARRAY_COUNT(options); i++) {
        struct fixture f;
        open_fixture(&f, options[i]);
        run(&f, TAPE_TRAIN, 2 * STEPS);
        memcpy(whole, f.y, sizeof(whole));
        /* The first half of each series alone. */
        memmove(f.x + COUNT / BATCH, f.x + COUNT, COUNT / BATCH * sizeof(real));
        run(&f, TAPE_TRAIN, STEPS);
        double allowed = sizeof(real) == 8 ? 1e-12 : 1e-5; /* tiles are cut elsewhere */
        for (size_t k = 0; k < COUNT; k++) {
            size_t series = k / (COUNT / BATCH);
            real y = whole[series * COUNT + k % (COUNT / BATCH)];
            assert_true(fabs((double)(f.y[k] - y)) <= allowed);
        }
        close_fixture(&f);
    }
}

/* In a window of attention and convolution only what is near matters, not where it lies. */
static void test_a_shifted_window_gives_the_same(void **state)
{
    (void)state;
    static real first[COUNT];
    const size_t shift = 7;
    const size_t back = 2 * (4 - 1 + 3 - 1); /* what two layers reach */
    struct fixture f;
    open_fixture(&f, "layers=2 attention_window=4 conv_kernel=3");
    run(&f, TAPE_INFER, STEPS);
    memcpy(first, f.y, sizeof(first));
    memmove(f.x, f.x + shift * WIDTH, COUNT * sizeof(real)); /* series 0 begins later */
    run(&f, TAPE_INFER, STEPS);
    for (size_t t = shift + back; t < STEPS; t++) {
        for (size_t c = 0; c < WIDTH; c++) {
            real y = f.y[(t - shift) * WIDTH + c];
            assert_true(fabs((double)(y - first[t * WIDTH + c])) <= 1e-5);
        }
    }
    close_fixture(&f);
}

/* With the same batch again and again the running statistics become the batch's, so that inference
 * gives what training does, up to the unbiased variance. */
static void test_statistics_follow_the_batch(void **state)
{
    (void)state;
    static real trained[COUNT];
    struct error error = {0};
    struct fixture f;
    open_fixture(&f, "mode=fidelity conv_kernel=3 layers=2");
    struct optimizer_schedule schedule = {.rate = 0.1, .beta2 = 0.99, .average = 0.9, .clip = 1};
    struct optimizer optimizer;
    assert_int_equal(optimizer_init(&optimizer, &f.params, &schedule, &error), STATUS_OK);
    optimizer_start(&optimizer, f.weights);
    double first = 0;
    double last = 0;
    for (uint64_t step = 1; step <= 150; step++) {
        memset(f.gradients, 0, f.params.size * sizeof(real));
        run(&f, TAPE_TRAIN, STEPS);
        memcpy(trained, f.y, sizeof(trained));
        optimizer_gather(&optimizer, (real *[]){f.gradients}, 1, 0, f.params.count);
        double norm = optimizer_norm(&optimizer);
        assert_true(norm > 0 && isfinite(norm));
        /* rate 0: nothing moves but the statistics */
        optimizer_step(&optimizer, f.weights, f.gradients, norm, step, 0, 0, f.params.count);
        run(&f, TAPE_INFER, STEPS);
        last = 0;
        for (size_t k = 0; k < COUNT; k++) {
            last = fmax(last, fabs((double)(f.y[k] - trained[k])));
        }
        first = step == 1 ? last : first;
    }
    assert_true(first > 1);
    assert_true(last < 0.05); /* outputs are up to 4; the variances differ by 1 / 60 */
    size_t size = 0;
    const real *kept = weights_of(&f, "b.layer1.convolution.statistics", &size);
    const real *told = f.gradients + (kept - f.weights);
    assert_int_equal(size, 2 * WIDTH + 1);
    for (size_t c = 0; c < 2 * WIDTH; c++) {
        assert_true(fabs((double)(kept[c] - told[c])) <= 1e-5 * (1 + fabs((double)told[c])));
    }
    assert_true(kept[2 * WIDTH] == 0 && told[2 * WIDTH] == 1);
    optimizer_release(&optimizer);
    close_fixture(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_part_reaches_what_it_should),
        cmocka_unit_test(test_what_follows_the_end_does_not_matter),
        cmocka_unit_test(test_a_shifted_window_gives_the_same),
        cmocka_unit_test(test_statistics_follow_the_batch),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
