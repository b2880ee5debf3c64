/* What the Reformer's paper promises: hashed attention nears full attention with more rounds,
 * memory does not grow with depth. SPDX-License-Identifier: Apache-2.0
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

#define LENGTH 64
#define WIDTH  8
#define SIZE   ((size_t)LENGTH * WIDTH)
#define SEEDS  12

/* ---------------------------------------------------------------- the op */

/* One head of attention with shared queries and keys, each seeing all earlier tokens (or all but
 * itself where `open`). */
static void full_attention(const real *q, const real *v, bool open, double *y)
{
    for (size_t t = 0; t < LENGTH; t++) {
        double sum = 0;
        double out[WIDTH] = {0};
        for (size_t s = 0; s < (open ? LENGTH : t); s++) {
            double dot = 0;
            double squares = 0;
            for (size_t c = 0; c < WIDTH; c++) {
                dot += (double)q[t * WIDTH + c] * (double)q[s * WIDTH + c];
                squares += (double)q[s * WIDTH + c] * (double)q[s * WIDTH + c];
            }
            double p = s != t ? exp(dot / sqrt(squares) / sqrt((double)WIDTH)) : 0;
            sum += p;
            for (size_t c = 0; c < WIDTH; c++) {
                out[c] += p * (double)v[s * WIDTH + c];
            }
        }
        for (size_t c = 0; c < WIDTH; c++) {
            y[t * WIDTH + c] = sum > 0 ? out[c] / sum : (double)v[t * WIDTH + c];
        }
    }
}

/* Root of the summed squares of (op - full attention), relative to full attention, on random data.
 */
static double error_of(struct lsh *lsh, bool causal, uint64_t seed)
{
    static const struct params none;
    struct error error = {0};
    struct tape tape;
    struct tape_size size = {4 << 20, 64, 8};
    assert_int_equal(tape_init(&tape, &size, &error), STATUS_OK);
    tape_begin(&tape, TAPE_INFER, &none, NULL, NULL, 1, 1);
    struct random random;
    random_init(&random, seed, 1);
    struct tensor *q = tape_input(&tape, (size_t[]){1, LENGTH, WIDTH, 0});
    struct tensor *v = tape_input(&tape, (size_t[]){1, LENGTH, WIDTH, 0});
    size_t half = lsh->buckets > 1 ? lsh->buckets / 2 : 1;
    struct tensor *rotations = tape_input(&tape, (size_t[]){WIDTH, lsh->rounds, half, 0});
    struct tensor *drawn[] = {q, v, rotations};
    for (size_t k = 0; k < ARRAY_COUNT(drawn); k++) {
        for (size_t i = 0; i < tensor_size(drawn[k]); i++) {
            drawn[k]->data[i] = (real)random_normal(&random) * (k == 0 ? 2 : 1);
        }
    }
    lsh->rotations = rotations;
    lsh->heads = 1;
    const struct tensor *y =
        causal ? op_lsh_causal(&tape, q, v, lsh) : op_lsh_chunked(&tape, q, v, lsh);
    static double full[SIZE];
    full_attention(q->data, v->data, !causal && !lsh->masked, full);
    double off = 0;
    double whole = 0;
    for (size_t i = 0; i < SIZE; i++) {
        off += pow((double)y->data[i] - full[i], 2);
        whole += full[i] * full[i];
    }
    tape_release(&tape);
    return sqrt(off / whole);
}

static double mean_error(const struct lsh *lsh, bool causal)
{
    double sum = 0;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        struct lsh one = *lsh;
        sum += error_of(&one, causal, seed);
    }
    return sum / SEEDS;
}

/* Doubling the rounds brings both forms nearer to full attention, on the mean of some seeds. */
static void test_error_falls_with_rounds(void **state)
{
    (void)state;
    const struct lsh forms[] = {
        {.buckets = 8, .window = 8, .local = 2},
        {.buckets = 8, .chunk = 8},
        {.buckets = 8, .chunk = 8, .masked = true},
        {.buckets = 8, .chunk = 8, .within = true, .unique = true},
    };
    for (size_t i = 0; i < ARRAY_COUNT(forms); i++) {
        double before = INFINITY;
        for (size_t rounds = 1; rounds <= 16; rounds *= 2) {
            struct lsh lsh = forms[i];
            lsh.rounds = rounds;
            double now = mean_error(&lsh, i == 0);
            print_message("form %zu, %2zu rounds: error %.3f\n", i, rounds, now);
            assert_true(now < before);
            before = now;
        }
    }
}

/* Where nothing is left out the hash does not matter: exact attention with shared queries and keys.
 */
static void test_vacuous_settings_are_exact(void **state)
{
    (void)state;
    const struct {
        struct lsh lsh;
        bool causal;
    } exact[] = {
        {{.rounds = 1, .buckets = 1, .window = LENGTH}, true},
        {{.rounds = 3, .buckets = 1, .window = 2 * LENGTH, .local = 5}, true},
        {{.rounds = 2, .buckets = 8, .window = 3, .local = LENGTH}, true},
        {{.rounds = 1, .buckets = 8, .chunk = LENGTH, .masked = true}, false},
        {{.rounds = 1, .buckets = 8, .chunk = LENGTH}, false},
        {{.rounds = 1, .buckets = 1, .chunk = LENGTH / 2}, false},
        {{.rounds = 3, .buckets = 4, .chunk = 3 * LENGTH, .unique = true}, false},
    };
    /* In double: what keeps keys of length zero finite, 1e-12 beside a squared length of ten and
     * more. */
    const double allowed = sizeof(real) == 8 ? 1e-12 : 1e-6;
    for (size_t i = 0; i < ARRAY_COUNT(exact); i++) {
        assert_true(mean_error(&exact[i].lsh, exact[i].causal) < allowed);
    }
}

/* ---------------------------------------------------------------- the backbone */

static struct tape_size measured(const char *options, size_t length, enum tape_mode mode)
{
    struct error error = {0};
    struct backbone_model *model;
    struct backbone_shape shape = {.length = length};
    assert_int_equal(backbone_create("reformer", options, &shape, &model, &error), STATUS_OK);
    struct params params;
    struct tape tape;
    assert_int_equal(params_init(&params, &error), STATUS_OK);
    backbone_declare(model, &params, "b");
    assert_int_equal(tape_measure(&tape, mode, &params, &error), STATUS_OK);
    struct tensor *x = tape_input(&tape, (size_t[]){1, length, model->width, 0});
    x->wants_grad = true;
    struct tensor *y = backbone_forward(model, &tape, x, NULL);
    if (mode == TAPE_TRAIN) {
        tape_backward(&tape, op_inner(&tape, y, x));
    }
    struct tape_size size = tape_size(&tape);
    tape_release(&tape);
    params_release(&params);
    backbone_release(model);
    return size;
}

/* 2, 4, 8 and 16 layers take the same memory but for 64 bytes a layer (where its random numbers
 * stood); layers that keep their values take as much as they are. */
static void test_memory_is_constant_in_depth(void **state)
{
    (void)state;
    struct tape_size first = measured("layers=2", 1024, TAPE_TRAIN);
    for (size_t layers = 2; layers <= 16; layers *= 2) {
        char options[64];
        (void)snprintf(options, sizeof(options), "layers=%zu", layers);
        struct tape_size size = measured(options, 1024, TAPE_TRAIN);
        print_message("%2zu layers: %zu bytes\n", layers, tape_size_bytes(&size));
        assert_true(size.value_bytes - first.value_bytes <= (layers - 2) * 64);
        assert_int_equal(size.gradient_bytes, first.gradient_bytes);
        assert_int_equal(size.nodes, first.nodes);
    }
    struct tape_size kept2 = measured("layers=2 reversible=false", 1024, TAPE_TRAIN);
    struct tape_size kept16 = measured("layers=16 reversible=false", 1024, TAPE_TRAIN);
    assert_true(kept16.value_bytes > 5 * kept2.value_bytes);
}

/* Blocks of rows keep the wide values of the feed-forward part out of the tape. */
static void test_feed_chunk_saves_memory(void **state)
{
    (void)state;
    struct tape_size whole = measured("inner=2048 feed_chunk=1000000", 1024, TAPE_TRAIN);
    struct tape_size blocks = measured("inner=2048 feed_chunk=64", 1024, TAPE_TRAIN);
    assert_true(4 * tape_size_bytes(&blocks) < tape_size_bytes(&whole));
}

/* Memory is linear in the length. */
static void test_memory_is_linear_in_length(void **state)
{
    (void)state;
    struct tape_size one = measured("window=64", 4096, TAPE_TRAIN);
    struct tape_size four = measured("window=64", 16384, TAPE_TRAIN);
    assert_true(tape_size_bytes(&four) < (size_t)(4.2 * (double)tape_size_bytes(&one)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_error_falls_with_rounds),
        cmocka_unit_test(test_vacuous_settings_are_exact),
        cmocka_unit_test(test_memory_is_constant_in_depth),
        cmocka_unit_test(test_feed_chunk_saves_memory),
        cmocka_unit_test(test_memory_is_linear_in_length),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
