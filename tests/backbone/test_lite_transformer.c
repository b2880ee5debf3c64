/* Lite Transformer's own promises: two branches that do not meet, and what a tap weight means.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Convolutions are compared with loops over layer 0's mixing, in which everything but the taps is
 * set to the identity.
 */
#include "model/backbones/backbone.h"
#include "model/backbones/lite_transformer.h"

#include "base/check.h"
#include "base/memory.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define STEPS     20
#define BATCH     2
#define WIDTH     16
#define ATTENDED  6
#define CONVOLVED (WIDTH - ATTENDED)
#define HEADS     5 /* of the convolution */
#define COUNT     ((size_t)BATCH * STEPS * WIDTH)

#define OPTIONS "width=16 heads=3 layers=1 attention_width=6 conv_heads=5 positions=none dropout=0 "

struct fixture {
    struct backbone_model *model;
    struct params params;
    struct tape tape;
    real *weights, *gradients;
    real x[COUNT], y[COUNT];
};

static void open_fixture(struct fixture *f, const char *options)
{
    struct error error = {0};
    memset(f, 0, sizeof(*f));
    struct backbone_shape shape = {.length = STEPS};
    char text[256];
    (void)snprintf(text, sizeof(text), "%s%s", OPTIONS, options);
    assert_int_equal(backbone_create("lite_transformer", text, &shape, &f->model, &error),
                     STATUS_OK);
    assert_int_equal(params_init(&f->params, &error), STATUS_OK);
    backbone_declare(f->model, &f->params, "b");
    f->weights = params_slab_new(&f->params);
    f->gradients = params_slab_new(&f->params);
    params_initialise(&f->params, f->weights, 3);
    struct random random;
    random_init(&random, 4, 4);
    for (size_t i = 0; i < COUNT; i++) {
        f->x[i] = (real)random_normal(&random);
    }
    struct tape_size size = {16 << 20, 16 << 20, 1024};
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

/* y = layer 0's mixing of x. */
static void run(struct fixture *f)
{
    tape_begin(&f->tape, TAPE_TRAIN, &f->params, f->weights, f->gradients, 1, 1);
    struct tensor *x = tape_input(&f->tape, (size_t[]){BATCH, STEPS, WIDTH, 0});
    memcpy(x->data, f->x, sizeof(f->x));
    memcpy(f->y, lite_transformer_mix(f->model, 0, &f->tape, x)->data, sizeof(f->y));
}

static real *weights_of(struct fixture *f, const char *name, size_t *size)
{
    char full[PARAM_NAME_MAX];
    (void)snprintf(full, sizeof(full), "b.layer0.convolution.%s", name);
    size_t id = params_find(&f->params, full);
    assert_true(id != SIZE_MAX);
    *size = f->params.items[id].size;
    return f->weights + f->params.items[id].offset;
}

/* Without a gate: u = x and the convolution's sum is the output. */
static void make_identity(struct fixture *f)
{
    static const char *const linears[] = {"in.weight", "out.weight"};
    for (size_t i = 0; i < ARRAY_COUNT(linears); i++) {
        size_t size = 0;
        real *values = weights_of(f, linears[i], &size);
        assert_int_equal(size, CONVOLVED * CONVOLVED);
        for (size_t k = 0; k < size; k++) {
            values[k] = k / CONVOLVED == k % CONVOLVED;
        }
    }
}

/* The softmax of the taps of channel c at row n of x. */
static void plain_taps(struct fixture *f, bool dynamic, size_t taps, size_t place, double *w)
{
    size_t size = 0;
    const real *table = weights_of(f, "taps", &size);
    size_t head = place % WIDTH - ATTENDED;
    head /= CONVOLVED / HEADS;
    const real *u = f->x + place / WIDTH * WIDTH + ATTENDED;
    double total = 0;
    for (size_t j = 0; j < taps; j++) {
        double logit = 0;
        if (!dynamic) {
            logit = (double)table[head * taps + j];
        }
        for (size_t c = 0; dynamic && c < CONVOLVED; c++) {
            logit += (double)table[(head * taps + j) * CONVOLVED + c] * (double)u[c];
        }
        w[j] = exp(logit);
        total += w[j];
    }
    for (size_t j = 0; j < taps; j++) {
        w[j] /= total;
    }
}

/* Of the convolved channels; the last tap is the current step, and taps before the start are lost.
 */
static void check_against_loops(struct fixture *f, bool dynamic, size_t taps)
{
    double allowed = sizeof(real) == 8 ? 1e-13 : 2e-6;
    for (size_t place = 0; place < COUNT; place++) {
        size_t step = place / WIDTH % STEPS;
        double w[STEPS];
        double sum = 0;
        if (place % WIDTH < ATTENDED) {
            continue;
        }
        plain_taps(f, dynamic, taps, place, w);
        for (size_t j = 0; j < taps; j++) {
            if (step + j + 1 >= taps) {
                sum += w[j] * (double)f->x[place - (taps - 1 - j) * WIDTH];
            }
        }
        assert_true(fabs(sum - (double)f->y[place]) <= allowed);
    }
}

static void test_convolutions_equal_loops(void **state)
{
    (void)state;
    for (size_t taps = 1; taps <= 7; taps += 2) {
        for (int dynamic = 0; dynamic < 2; dynamic++) {
            struct fixture f;
            char options[96];
            (void)snprintf(options, sizeof(options), "glu=false conv_kernel=%zu convolution=%s",
                           taps, dynamic ? "dynamic" : "lightweight");
            open_fixture(&f, options);
            make_identity(&f);
            run(&f);
            check_against_loops(&f, dynamic != 0, taps);
            close_fixture(&f);
        }
    }
}

/* One tap has weight 1, whatever its logit: the identity between the linears. */
static void test_one_tap_is_the_identity(void **state)
{
    (void)state;
    static const char *const options[] = {"glu=false conv_kernel=1 convolution=lightweight",
                                          "glu=false conv_kernel=1 convolution=dynamic"};
    for (size_t i = 0; i < ARRAY_COUNT(options); i++) {
        struct fixture f;
        open_fixture(&f, options[i]);
        make_identity(&f);
        run(&f);
        for (size_t place = 0; place < COUNT; place++) {
            assert_true(place % WIDTH < ATTENDED || f.y[place] == f.x[place]);
        }
        close_fixture(&f);
    }
}

/* Dynamic taps without weights: the mean of the last K steps. */
static void test_zero_weights_are_a_moving_average(void **state)
{
    (void)state;
    struct fixture f;
    open_fixture(&f, "glu=false conv_kernel=4");
    make_identity(&f);
    size_t size = 0;
    real *taps = weights_of(&f, "taps", &size);
    memset(taps, 0, size * sizeof(real));
    run(&f);
    for (size_t place = 0; place < COUNT; place++) {
        double sum = 0;
        for (size_t back = 0; back < 4 && back <= place / WIDTH % STEPS; back++) {
            sum += (double)f.x[place - back * WIDTH] / 4;
        }
        assert_true(place % WIDTH < ATTENDED || fabs(sum - (double)f.y[place]) <= 1e-6);
    }
    close_fixture(&f);
}

/* Channels of one branch changed: the other branch keeps every bit, its own does not. */
static void test_branches_are_independent(void **state)
{
    (void)state;
    static const char *const options[] = {"", "glu=false convolution=lightweight"};
    for (size_t i = 0; i < 2 * ARRAY_COUNT(options); i++) {
        struct fixture f;
        real before[COUNT];
        bool attended = i % 2 == 0; /* the changed one */
        open_fixture(&f, options[i / 2]);
        run(&f);
        memcpy(before, f.y, sizeof(before));
        for (size_t place = 0; place < COUNT; place++) {
            f.x[place] *= (place % WIDTH < ATTENDED) == attended ? 10 : 1;
        }
        run(&f);
        bool moved = false;
        for (size_t place = 0; place < COUNT; place++) {
            if ((place % WIDTH < ATTENDED) == attended) {
                moved = moved || f.y[place] != before[place];
            } else {
                assert_true(f.y[place] == before[place]);
            }
        }
        assert_true(moved);
        close_fixture(&f);
    }
}

/* While training whole taps are dropped and the others grow; of many steps the mean stays. */
static void test_taps_are_dropped(void **state)
{
    (void)state;
    static const char *const options[] = {
        "glu=false conv_kernel=1 dropout=0.5 convolution=dynamic",
        "glu=false conv_kernel=1 dropout=0.5 convolution=lightweight"};
    for (size_t i = 0; i < ARRAY_COUNT(options); i++) {
        struct fixture f;
        open_fixture(&f, options[i]);
        make_identity(&f);
        run(&f);
        size_t dropped = 0;
        for (size_t place = 0; place < COUNT; place++) {
            if (place % WIDTH >= ATTENDED) {
                dropped += f.y[place] == 0;
                assert_true(f.y[place] == 0 || f.y[place] == 2 * f.x[place]);
                /* neighbours of a head share their taps */
                size_t mate = place % 2 == 0 ? place + 1 : place - 1;
                assert_int_equal(f.y[place] == 0, f.y[mate] == 0);
            }
        }
        assert_in_range(dropped, 1, COUNT - 1);
        close_fixture(&f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_convolutions_equal_loops),
        cmocka_unit_test(test_one_tap_is_the_identity),
        cmocka_unit_test(test_zero_weights_are_a_moving_average),
        cmocka_unit_test(test_branches_are_independent),
        cmocka_unit_test(test_taps_are_dropped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
