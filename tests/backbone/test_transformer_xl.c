/* Transformer-XL's own promises: segments of any length give the same outputs, and no gradient
 * flows into the memory. SPDX-License-Identifier: Apache-2.0
 */
#include "model/backbones/backbone.h"

#include "base/check.h"
#include "base/memory.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define STEPS 36
#define BATCH 2
#define WIDTH 16
#define COUNT ((size_t)BATCH * STEPS * WIDTH)
#define M     8

#define OPTIONS "width=16 heads=2 inner=24 layers=2 dropout=0 memory=8 "

struct fixture {
    struct backbone_model *model;
    struct params params;
    struct tape tape;
    real *weights, *gradients, *x;
    unsigned char *memory;
};

static void open_fixture(struct fixture *f, const char *options, size_t ahead)
{
    struct error error = {0};
    *f = (struct fixture){0};
    struct backbone_shape shape = {.length = STEPS, .ahead = ahead};
    char text[256];
    (void)snprintf(text, sizeof(text), "%s%s", OPTIONS, options);
    assert_int_equal(backbone_create("transformer_xl", text, &shape, &f->model, &error), STATUS_OK);
    assert_int_equal(params_init(&f->params, &error), STATUS_OK);
    backbone_declare(f->model, &f->params, "b");
    f->weights = params_slab_new(&f->params);
    f->gradients = params_slab_new(&f->params);
    params_initialise(&f->params, f->weights, 3);
    f->memory = mem_alloc_aligned(BATCH * backbone_memory_bytes(f->model));
    f->x = mem_alloc_aligned(COUNT * sizeof(real));
    struct random random;
    random_init(&random, 4, 4);
    for (size_t i = 0; i < COUNT; i++) {
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
    mem_free(f->memory);
    mem_free(f->x);
}

static void begin(struct fixture *f, enum tape_mode mode)
{
    tape_begin(&f->tape, mode, &f->params, f->weights, f->gradients, 1, 1);
}

static struct tensor *take(struct fixture *f, size_t from, size_t count)
{
    struct tensor *x = tape_input(&f->tape, (size_t[]){BATCH, count, WIDTH, 0});
    for (size_t b = 0; b < BATCH; b++) {
        memcpy(x->data + b * count * WIDTH, f->x + (b * STEPS + from) * WIDTH,
               count * WIDTH * sizeof(real));
    }
    return x;
}

/* y[BATCH, STEPS, WIDTH] in segments of `length`, over a memory that starts empty, or over a state.
 */
static void run_segments(struct fixture *f, enum tape_mode mode, size_t length, void *state,
                         real *y)
{
    memset(f->memory, 0, BATCH * backbone_memory_bytes(f->model));
    for (size_t from = 0; from < STEPS; from += length) {
        begin(f, mode);
        struct tensor *x = take(f, from, length);
        const struct tensor *part = state != NULL
                                        ? backbone_forward(f->model, &f->tape, x, state)
                                        : backbone_recur(f->model, &f->tape, x, f->memory);
        for (size_t b = 0; b < BATCH; b++) {
            memcpy(y + (b * STEPS + from) * WIDTH, part->data + b * length * WIDTH,
                   length * WIDTH * sizeof(real));
        }
    }
}

static double difference(const real *a, const real *b)
{
    double largest = 0;
    for (size_t i = 0; i < COUNT; i++) {
        largest = fmax(largest, fabs((double)(a[i] - b[i])));
    }
    return largest;
}

/* With same-length masking the cut does not matter, over memories and over states, in both modes;
 * without it early tokens of a segment see fewer keys, and it does. Outputs are about 1 in size. */
static void test_outputs_do_not_depend_on_segments(void **state)
{
    (void)state;
    static const size_t lengths[] = {1, 2, 3, 6, STEPS};
    static const char *const options[] = {"", "norm=post biases=layer", "clamp=4",
                                          "same_length=false"};
    double allowed = sizeof(real) == 8 ? 1e-12 : 1e-5;
    real *whole = mem_alloc_aligned(COUNT * sizeof(real));
    real *y = mem_alloc_aligned(COUNT * sizeof(real));
    for (size_t n = 0; n < ARRAY_COUNT(options); n++) {
        struct fixture f;
        open_fixture(&f, options[n], 0);
        bool same = strstr(options[n], "same_length=false") == NULL;
        run_segments(&f, TAPE_TRAIN, STEPS, NULL, whole);
        for (size_t i = 0; i < ARRAY_COUNT(lengths); i++) {
            run_segments(&f, i % 2 == 0 ? TAPE_INFER : TAPE_TRAIN, lengths[i], NULL, y);
            bool equal = difference(whole, y) <= allowed;
            assert_true(equal == (same || lengths[i] == STEPS));
            if (!same) {
                assert_true(lengths[i] == STEPS || difference(whole, y) > 1e-3);
                continue;
            }
            void *cache = mem_alloc_aligned(backbone_state_bytes(f.model, BATCH));
            backbone_state_reset(f.model, cache, BATCH);
            run_segments(&f, TAPE_INFER, lengths[i], cache, y);
            assert_true(difference(whole, y) <= allowed);
            mem_free(cache);
        }
        close_fixture(&f);
    }
    mem_free(whole);
    mem_free(y);
}

/* A state outlives its strips many times over: what is still seen moves to their start. */
static void test_long_streams_keep_on(void **state)
{
    (void)state;
    struct fixture f;
    open_fixture(&f, "", 0);
    void *cache = mem_alloc_aligned(backbone_state_bytes(f.model, BATCH));
    real *first = mem_alloc_aligned(COUNT * sizeof(real));
    real *y = mem_alloc_aligned(COUNT * sizeof(real));
    backbone_state_reset(f.model, cache, BATCH);
    /* The same steps again and again: once two rounds are forgotten, outputs repeat. */
    for (size_t round = 0; round < 40; round++) {
        run_segments(&f, TAPE_INFER,
                     round % 3 == 0   ? 1
                     : round % 3 == 1 ? 12
                                      : STEPS,
                     cache, round == 1 ? first : y);
        assert_true(round < 2 || difference(first, y) <= (sizeof(real) == 8 ? 1e-12 : 1e-5));
    }
    mem_free(cache);
    mem_free(first);
    mem_free(y);
    close_fixture(&f);
}

/* The horizon's tokens are no past: whatever they hold, the next window gives the same. Series
 * forget by themselves: one begins anew while the other goes on. */
static void test_horizon_stays_out_of_the_memory(void **state)
{
    (void)state;
    struct fixture f;
    open_fixture(&f, "", 4);
    size_t row = backbone_memory_bytes(f.model);
    real *kept = mem_alloc_aligned(COUNT * sizeof(real));
    for (int round = 0; round < 2; round++) {
        memset(f.memory, 0, BATCH * row);
        begin(&f, TAPE_INFER);
        struct tensor *x = take(&f, 0, 12);
        for (size_t i = 8 * WIDTH; round == 1 && i < 12 * WIDTH; i++) {
            x->data[i] = 100;
            x->data[i + 12 * WIDTH] = -100;
        }
        (void)backbone_recur(f.model, &f.tape, x, f.memory);
        size_t cells = 0;
        (void)backbone_memory_layer(f.model, f.memory, 0, &cells);
        assert_int_equal(cells, M);
        memset(f.memory + row, 0, row);
        begin(&f, TAPE_INFER);
        const struct tensor *y = backbone_recur(f.model, &f.tape, take(&f, 8, 12), f.memory);
        size_t size = tensor_size(y) * sizeof(real);
        if (round == 0) {
            memcpy(kept, y->data, size);
        } else {
            assert_memory_equal(kept, y->data, size);
        }
        /* The second series has no memory: as if its window were the first one. */
        const real *second = kept + 12 * WIDTH;
        begin(&f, TAPE_INFER);
        const struct tensor *alone = backbone_forward(f.model, &f.tape, take(&f, 8, 12), NULL);
        for (size_t i = 0; i < 12 * WIDTH; i++) {
            real away = alone->data[12 * WIDTH + i] - second[i];
            assert_true(fabs((double)away) <= 1e-5);
        }
    }
    mem_free(kept);
    close_fixture(&f);
}

/* A loss on the second segment says nothing to the first one's inputs, but all to the weights. */
static void test_memory_takes_no_gradient(void **state)
{
    (void)state;
    struct fixture f;
    open_fixture(&f, "", 0);
    memset(f.memory, 0, BATCH * backbone_memory_bytes(f.model));
    begin(&f, TAPE_TRAIN);
    struct tensor *x[2];
    struct tensor *y = NULL;
    for (size_t s = 0; s < 2; s++) {
        x[s] = take(&f, 6 * s, 6);
        x[s]->wants_grad = true;
        y = backbone_recur(f.model, &f.tape, x[s], f.memory);
    }
    tape_backward(&f.tape, op_inner(&f.tape, y, x[0]));
    const real *first = tape_gradient(&f.tape, x[0]);
    const real *second = tape_gradient(&f.tape, x[1]);
    double sum = 0;
    for (size_t i = 0; i < tensor_size(x[0]); i++) {
        assert_true(first[i] == 0);
        sum += fabs((double)second[i]);
    }
    assert_true(sum > 1);
    close_fixture(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_outputs_do_not_depend_on_segments),
        cmocka_unit_test(test_long_streams_keep_on),
        cmocka_unit_test(test_horizon_stays_out_of_the_memory),
        cmocka_unit_test(test_memory_takes_no_gradient),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
