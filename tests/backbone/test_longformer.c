/* Longformer's own properties: how far a layer sees, what globals change, what a state keeps.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "model/backbones/backbone.h"

#include "base/check.h"
#include "base/memory.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define LENGTH 96
#define SEASON 8

struct fixture {
    struct backbone_model *model;
    struct params params;
    struct tape tape;
    real *weights, *x; /* x [LENGTH, D] */
};

static void open_fixture(struct fixture *f, const char *options)
{
    struct error error = {0};
    struct backbone_shape shape = {.length = LENGTH, .season = SEASON, .ahead = 12};
    struct tape_size size = {16 << 20, 0, 1};
    *f = (struct fixture){0};
    if (backbone_create("longformer", options, &shape, &f->model, &error) != STATUS_OK) {
        fail_msg("%s: %s", options, error.text);
    }
    assert_int_equal(params_init(&f->params, &error), STATUS_OK);
    backbone_declare(f->model, &f->params, "b");
    f->weights = params_slab_new(&f->params);
    params_initialise(&f->params, f->weights, 5);
    assert_int_equal(tape_init(&f->tape, &size, &error), STATUS_OK);
    size_t n = LENGTH * f->model->width;
    struct random random;
    random_init(&random, 4, 4);
    f->x = mem_alloc_aligned(n * sizeof(real));
    for (size_t i = 0; i < n; i++) {
        f->x[i] = (real)random_normal(&random);
    }
}

static void close_fixture(struct fixture *f)
{
    tape_release(&f->tape);
    params_release(&f->params);
    mem_free(f->weights);
    mem_free(f->x);
    backbone_release(f->model);
}

/* y [count, D] of the steps from `first` on. */
static const real *run(struct fixture *f, size_t first, size_t count)
{
    size_t width = f->model->width;
    tape_begin(&f->tape, TAPE_INFER, &f->params, f->weights, NULL, 1, 1);
    struct tensor *x = tape_input(&f->tape, (size_t[]){1, count, width, 0});
    memcpy(x->data, f->x + first * width, count * width * sizeof(real));
    return backbone_forward(f->model, &f->tape, x, NULL)->data;
}

/* Whether the output at `query` depends on the input at `key`. */
static bool depends(struct fixture *f, size_t query, size_t key)
{
    size_t width = f->model->width;
    real before[64];
    CHECK(width <= ARRAY_COUNT(before));
    memcpy(before, run(f, 0, LENGTH) + query * width, width * sizeof(real));
    f->x[key * width] += 10;
    bool differs = memcmp(before, run(f, 0, LENGTH) + query * width, width * sizeof(real)) != 0;
    f->x[key * width] -= 10;
    return differs;
}

/* Sees back the sum of all layers' windows, to the step. */
static void test_receptive_field(void **state)
{
    (void)state;
    static const struct {
        const char *options;
        size_t reach;
    } rows[] = {
        {"window=3 growth=none dilation=none registers=0 globals=0", 9},
        {"window=3 dilation=none registers=2 globals=0", 3 + 6 + 12},
        /* The upper two layers have a head that steps by 4. */
        {"window=3 growth=none dilation=heads registers=0 globals=0", 3 + 12 + 12},
        {"window=3 growth=none dilation=season registers=0 globals=0", 3 + 24 + 24},
        {"window=3 growth=none dilation=both registers=0 globals=0", 3 + 24 + 24},
        /* Key-side globals: two seasons back, a layer. */
        {"window=3 growth=none dilation=none registers=0 globals=2", 3 * 16},
    };
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        struct fixture f;
        open_fixture(&f, rows[i].options);
        size_t query = LENGTH - 2;
        assert_true(depends(&f, query, query - rows[i].reach));
        for (size_t key = 0; key < query - rows[i].reach; key++) {
            assert_false(depends(&f, query, key));
        }
        assert_false(depends(&f, query, query + 1));
        close_fixture(&f);
    }
}

/* In an encoder a global token carries everything everywhere in two layers; without one a layer
 * sees its window on both sides. */
static void test_encoder_reach(void **state)
{
    (void)state;
    struct fixture f;
    open_fixture(&f, "mode=encoder layers=1 window=4 dilation=none registers=0 globals=0");
    assert_false(f.model->causal);
    assert_false(f.model->streaming);
    assert_true(depends(&f, 40, 36) && depends(&f, 40, 44));
    assert_false(depends(&f, 40, 35) || depends(&f, 40, 45));
    close_fixture(&f);
    open_fixture(&f, "mode=encoder layers=1 window=4 dilation=none registers=0 globals=1");
    assert_true(depends(&f, LENGTH / 2, 0)); /* the global token itself */
    assert_true(depends(&f, 0, LENGTH / 2));
    assert_false(depends(&f, 0, LENGTH - 1));
    close_fixture(&f);
    open_fixture(&f, "mode=encoder layers=2 window=4 dilation=none registers=0 globals=1");
    assert_true(depends(&f, 0, LENGTH - 1));
    close_fixture(&f);
}

/* Without positions and key-side globals nothing but distances counts: the input moved by s gives
 * the output moved by s, where the window does not meet the start. */
static void test_shift(void **state)
{
    (void)state;
    struct fixture f;
    open_fixture(&f, "window=2 dilation=heads positions=none globals=1 growth=none");
    size_t width = f.model->width;
    size_t border = 2 + 8 + 8 + 3 * SEASON;
    real *whole = mem_alloc_aligned(LENGTH * width * sizeof(real));
    memcpy(whole, run(&f, 0, LENGTH), LENGTH * width * sizeof(real));
    for (size_t moved = 1; moved < 20; moved += 6) {
        const real *y = run(&f, moved, LENGTH - moved);
        for (size_t i = border * width; i < (LENGTH - moved) * width; i++) {
            assert_true(fabs((double)(y[i] - whole[moved * width + i])) < 1e-5);
        }
    }
    mem_free(whole);
    close_fixture(&f);
}

/* A state's size is that of the windows, however long the sequence may be. */
static void test_state_is_constant_in_history(void **state)
{
    (void)state;
    size_t bytes[2];
    for (size_t i = 0; i < 2; i++) {
        struct error error = {0};
        struct backbone_model *model;
        struct backbone_shape shape = {.length = i == 0 ? 2048 : 16384, .season = 24};
        assert_int_equal(
            backbone_create("longformer", "positions=none window=16", &shape, &model, &error),
            STATUS_OK);
        assert_true(model->state_steps_max == SIZE_MAX);
        bytes[i] = backbone_state_bytes(model, 1);
        backbone_release(model);
    }
    assert_int_equal(bytes[0], bytes[1]);
}

/* Steps far beyond the window that the model was made for equal the whole forward of a model that
 * holds them all: rings turn over many times. */
static void test_streams_beyond_the_window(void **state)
{
    (void)state;
    const char *options = "positions=none window=2 growth=none dilation=both globals=1";
    struct error error = {0};
    struct fixture f;
    open_fixture(&f, options);
    struct backbone_model *small;
    struct backbone_shape shape = {.length = 3 * SEASON, .season = SEASON};
    assert_int_equal(backbone_create("longformer", options, &shape, &small, &error), STATUS_OK);
    struct params params;
    assert_int_equal(params_init(&params, &error), STATUS_OK);
    backbone_declare(small, &params, "b");
    size_t width = f.model->width;
    real *whole = mem_alloc_aligned(LENGTH * width * sizeof(real));
    memcpy(whole, run(&f, 0, LENGTH), LENGTH * width * sizeof(real));
    void *memory = mem_alloc_aligned(backbone_state_bytes(small, 1));
    backbone_state_reset(small, memory, 1);
    for (size_t t = 0; t < LENGTH; t++) {
        tape_begin(&f.tape, TAPE_INFER, &params, f.weights, NULL, 1, 1);
        struct tensor *x = tape_input(&f.tape, (size_t[]){1, 1, width, 0});
        memcpy(x->data, f.x + t * width, width * sizeof(real));
        const struct tensor *y = backbone_forward(small, &f.tape, x, memory);
        for (size_t c = 0; c < width; c++) {
            assert_true(fabs((double)(y->data[c] - whole[t * width + c])) < 2e-5);
        }
    }
    mem_free(memory);
    mem_free(whole);
    params_release(&params);
    backbone_release(small);
    close_fixture(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_receptive_field),
        cmocka_unit_test(test_encoder_reach),
        cmocka_unit_test(test_shift),
        cmocka_unit_test(test_state_is_constant_in_history),
        cmocka_unit_test(test_streams_beyond_the_window),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
