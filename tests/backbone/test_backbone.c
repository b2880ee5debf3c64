/* What every backbone must be: causal, steppable, degenerate where it should be, within its bytes.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "tests/backbone/cases.h"

#include "model/backbones/backbone.h"

#include "base/check.h"
#include "base/memory.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define LENGTH 48
#define BATCH  3

/* A backbone with weights and a tape of exactly the measured size. */
struct fixture {
    struct backbone_model *model;
    struct params params;
    struct tape tape;
    real *weights, *gradients;
    real *x; /* [BATCH, LENGTH, D] */
    size_t size;
};

static real *random_reals(size_t n, uint64_t stream)
{
    real *values = mem_alloc_aligned(n * sizeof(real));
    struct random random;
    random_init(&random, 21, stream);
    for (size_t i = 0; i < n; i++) {
        values[i] = (real)random_normal(&random);
    }
    return values;
}

static struct tensor *input_of(struct tape *tape, size_t batch, size_t length, size_t width,
                               const real *values)
{
    struct tensor *x = tape_input(tape, (size_t[]){batch, length, width, 0});
    x->wants_grad = tape->mode == TAPE_TRAIN;
    if (x->data != NULL) {
        memcpy(x->data, values, tensor_size(x) * sizeof(real));
    }
    return x;
}

/* sum of y c over all outputs, c a fixed random constant. */
static struct tensor *loss_of(const struct backbone_model *model, struct tape *tape,
                              struct tensor *x)
{
    struct tensor *y = backbone_forward(model, tape, x, NULL);
    struct tensor *c = tape_tensor_like(tape, y);
    if (c->data != NULL) {
        struct random random;
        random_init(&random, 3, 3);
        for (size_t i = 0; i < tensor_size(c); i++) {
            c->data[i] = (real)random_normal(&random);
        }
    }
    return op_inner(tape, y, c);
}

static void open_fixture(struct fixture *fixture, const char *backbone, const char *options)
{
    struct error error = {0};
    *fixture = (struct fixture){0};
    struct backbone_shape shape = {.length = LENGTH, .season = 8, .ahead = 6};
    if (backbone_create(backbone, options, &shape, &fixture->model, &error) != STATUS_OK) {
        fail_msg("%s %s: %s", backbone, options, error.text);
    }
    assert_int_equal(params_init(&fixture->params, &error), STATUS_OK);
    backbone_declare(fixture->model, &fixture->params, "b");
    fixture->weights = params_slab_new(&fixture->params);
    fixture->gradients = params_slab_new(&fixture->params);
    params_initialise(&fixture->params, fixture->weights, 5);
    backbone_refresh(fixture->model, &fixture->params, fixture->weights,
                     &(struct backbone_moment){.seed = 5});
    /* Biases by distance start at zero: something else, so that they matter. */
    for (size_t i = 0; i < fixture->params.count; i++) {
        const struct param *param = &fixture->params.items[i];
        for (size_t k = 0; param->init == PARAM_ZERO && k < param->size; k++) {
            fixture->weights[param->offset + k] = (real)sin((double)(i + 7 * k)) / 4;
        }
    }
    fixture->size = BATCH * LENGTH * fixture->model->width;
    fixture->x = random_reals(fixture->size, 1);

    struct tape measure;
    assert_int_equal(tape_measure(&measure, TAPE_TRAIN, &fixture->params, &error), STATUS_OK);
    struct tensor *x = input_of(&measure, BATCH, LENGTH, fixture->model->width, NULL);
    tape_backward(&measure, loss_of(fixture->model, &measure, x));
    struct tape_size size = tape_size(&measure);
    tape_release(&measure);
    assert_int_equal(tape_init(&fixture->tape, &size, &error), STATUS_OK);
}

static void close_fixture(struct fixture *fixture)
{
    tape_release(&fixture->tape);
    params_release(&fixture->params);
    mem_free(fixture->weights);
    mem_free(fixture->gradients);
    mem_free(fixture->x);
    backbone_release(fixture->model);
}

static void begin(struct fixture *fixture, enum tape_mode mode)
{
    memset(fixture->gradients, 0, fixture->params.size * sizeof(real));
    tape_begin(&fixture->tape, mode, &fixture->params, fixture->weights, fixture->gradients, 1, 1);
}

static struct tensor *run(struct fixture *fixture, enum tape_mode mode, const real *values)
{
    begin(fixture, mode);
    return backbone_forward(fixture->model, &fixture->tape,
                            input_of(&fixture->tape, BATCH, LENGTH, fixture->model->width, values),
                            NULL);
}

/* Options of a case with dropout off. */
static const char *without_dropout(size_t i)
{
    static char text[256];
    (void)snprintf(text, sizeof(text), "%s dropout=0", cases[i].options);
    return text;
}

/* Inputs from t on times ten (and more): outputs before t keep every bit, in training mode. Every
 * t, so every border of a block, chunk or segment too. */
static void test_prefix_invariance(void **state)
{
    (void)state;
    for (size_t i = 0; i < case_count; i++) {
        struct fixture f;
        open_fixture(&f, cases[i].backbone, without_dropout(i));
        size_t width = f.model->width;
        real *before = mem_alloc_aligned(f.size * sizeof(real));
        memcpy(before, run(&f, TAPE_TRAIN, f.x)->data, f.size * sizeof(real));
        for (size_t t = 1; t < LENGTH; t++) {
            real *changed = random_reals(f.size, 2);
            for (size_t k = 0; k < f.size; k++) {
                bool later = k / width % LENGTH >= t;
                changed[k] = later ? 10 * f.x[k] + changed[k] : f.x[k];
            }
            const struct tensor *y = run(&f, TAPE_TRAIN, changed);
            bool moved = false;
            for (size_t k = 0; k < f.size; k++) {
                bool later = k / width % LENGTH >= t;
                moved = moved || (later && y->data[k] != before[k]);
                assert_true(later || !f.model->causal || y->data[k] == before[k]);
            }
            assert_true(moved);
            mem_free(changed);
        }
        mem_free(before);
        close_fixture(&f);
    }
}

static double largest_of(const real *values, size_t n)
{
    double largest = 0;
    for (size_t i = 0; i < n; i++) {
        largest = fmax(largest, fabs((double)values[i]));
    }
    return largest;
}

/* Feeds steps first .. first + count - 1 of every series; compares with the whole forward. */
static void feed(struct fixture *f, void *state, size_t first, size_t count, const real *whole)
{
    size_t width = f->model->width;
    begin(f, TAPE_INFER);
    struct tensor *x = tape_input(&f->tape, (size_t[]){BATCH, count, width, 0});
    for (size_t b = 0; b < BATCH; b++) {
        memcpy(x->data + b * count * width, f->x + (b * LENGTH + first) * width,
               count * width * sizeof(real));
    }
    const struct tensor *y = backbone_forward(f->model, &f->tape, x, state);
    double scale = largest_of(whole, f->size);
    for (size_t b = 0; b < BATCH; b++) {
        for (size_t k = 0; k < count * width; k++) {
            double expected = (double)whole[(b * LENGTH + first) * width + k];
            assert_true(fabs((double)y->data[b * count * width + k] - expected) <= 1e-5 * scale);
        }
    }
}

/* One step at a time, after a start of 1 step or of many, equals the whole forward. */
static void test_step_equals_whole(void **state)
{
    (void)state;
    for (size_t i = 0; i < case_count; i++) {
        struct fixture f;
        open_fixture(&f, cases[i].backbone, cases[i].options);
        if (f.model->streaming && f.model->causal) {
            real *whole = mem_alloc_aligned(f.size * sizeof(real));
            memcpy(whole, run(&f, TAPE_INFER, f.x)->data, f.size * sizeof(real));
            void *memory = mem_alloc_aligned(backbone_state_bytes(f.model, BATCH));
            for (size_t start = 1; start < LENGTH; start += 20) {
                backbone_state_reset(f.model, memory, BATCH);
                feed(&f, memory, 0, start, whole);
                size_t t = start;
                for (; t < LENGTH - 4; t++) {
                    feed(&f, memory, t, 1, whole);
                }
                feed(&f, memory, t, LENGTH - t, whole);
            }
            mem_free(memory);
            mem_free(whole);
        }
        close_fixture(&f);
    }
}

/* Running statistics: while training those of the batch take their place. */
static bool norms_over_the_batch(const struct params *params)
{
    bool found = false;
    for (size_t i = 0; i < params->count; i++) {
        found = found || params->items[i].statistic;
    }
    return found;
}

/* Training and inference agree where nothing is dropped and no statistics are the batch's; the same
 * seed gives the same bits. */
static void test_modes_agree_and_repeat(void **state)
{
    (void)state;
    for (size_t i = 0; i < case_count; i++) {
        struct fixture f;
        open_fixture(&f, cases[i].backbone, without_dropout(i));
        real *first = mem_alloc_aligned(f.size * sizeof(real));
        memcpy(first, run(&f, TAPE_TRAIN, f.x)->data, f.size * sizeof(real));
        int differ = memcmp(first, run(&f, TAPE_INFER, f.x)->data, f.size * sizeof(real));
        assert_int_equal(differ != 0, norms_over_the_batch(&f.params));
        real *slab = params_slab_new(&f.params);
        for (int round = 0; round < 2; round++) {
            begin(&f, TAPE_TRAIN);
            struct tensor *x = input_of(&f.tape, BATCH, LENGTH, f.model->width, f.x);
            tape_backward(&f.tape, loss_of(f.model, &f.tape, x));
            if (round == 1) {
                assert_memory_equal(slab, f.gradients, f.params.size * sizeof(real));
            }
            memcpy(slab, f.gradients, f.params.size * sizeof(real));
        }
        mem_free(slab);
        mem_free(first);
        close_fixture(&f);
    }
}

static double loss_at(struct fixture *f)
{
    begin(f, TAPE_TRAIN);
    struct tensor *x = input_of(&f->tape, BATCH, LENGTH, f->model->width, f->x);
    return (double)loss_of(f->model, &f->tape, x)->data[0];
}

/* Values of the model or its inputs, their gradient, and a direction to go along. */
struct slope {
    const char *what;
    real *values;
    const real *gradient, *direction;
    size_t size;
};

static void move(const struct slope *along, double step)
{
    for (size_t k = 0; k < along->size; k++) {
        along->values[k] += (real)step * along->direction[k];
    }
}

/* Hashed attention jumps where a bucket changes: only the small steps of double stay within one. */
static bool jumps(const struct backbone_model *model)
{
    return strncmp(model->pattern, "lsh", 3) == 0 && sizeof(real) == sizeof(float);
}

/* The gradient along the direction against central differences. */
static void check_slope(struct fixture *f, const struct slope *along)
{
    const double step = sizeof(real) == 8 ? 1e-6 : 1e-3;
    const double allowed = sizeof(real) == 8 ? 1e-6 : 5e-2; /* a ReLU's kink may be crossed */
    double slope = 0;
    double length = 0;
    for (size_t k = 0; k < along->size; k++) {
        slope += (double)along->direction[k] * (double)along->gradient[k];
        length += (double)along->gradient[k] * (double)along->gradient[k];
    }
    move(along, step);
    double high = loss_at(f);
    move(along, -2 * step);
    double low = loss_at(f);
    move(along, step);
    double by_differences = (high - low) / (2 * step);
    bool near = jumps(f->model) || fabs(by_differences - slope) <= allowed * sqrt(length);
    if (!(length > 0 && near)) {
        fail_msg("%s: slope %.9g, by differences %.9g, gradient's length %.4g", along->what, slope,
                 by_differences, sqrt(length));
    }
}

/* The whole model's gradient along random directions of all trained weights and of all inputs,
 * dropout on (same mask). */
static void test_whole_gradient(void **state)
{
    (void)state;
    for (size_t i = 0; i < case_count; i++) {
        struct fixture f;
        char what[320];
        open_fixture(&f, cases[i].backbone, cases[i].options);
        begin(&f, TAPE_TRAIN);
        struct tensor *x = input_of(&f.tape, BATCH, LENGTH, f.model->width, f.x);
        tape_backward(&f.tape, loss_of(f.model, &f.tape, x));
        real *weights = mem_alloc_aligned(f.params.size * sizeof(real));
        real *inputs = mem_alloc_aligned(f.size * sizeof(real));
        memcpy(weights, f.gradients, f.params.size * sizeof(real));
        memcpy(inputs, tape_gradient(&f.tape, x), f.size * sizeof(real));
        real *direction = random_reals(f.params.size, 4);
        for (size_t p = 0; p < f.params.count; p++) { /* what is drawn or told has none */
            const struct param *param = &f.params.items[p];
            if (param->fixed || param->statistic) {
                memset(weights + param->offset, 0, param->size * sizeof(real));
                memset(direction + param->offset, 0, param->size * sizeof(real));
            }
        }
        (void)snprintf(what, sizeof(what), "%s %s, weights", cases[i].backbone, cases[i].options);
        check_slope(&f, &(struct slope){what, f.weights, weights, direction, f.params.size});
        real *input_direction = random_reals(f.size, 6);
        (void)snprintf(what, sizeof(what), "%s %s, inputs", cases[i].backbone, cases[i].options);
        check_slope(&f, &(struct slope){what, f.x, inputs, input_direction, f.size});
        mem_free(input_direction);
        mem_free(direction);
        mem_free(inputs);
        mem_free(weights);
        close_fixture(&f);
    }
}

/* Decoding with a state, `count` steps a time: a tape of the measured bytes is enough, also later
 * in the window, and the state keeps to its bytes (a red zone behind it stays as it is). */
static void check_state_bytes(struct fixture *f, size_t count)
{
    struct error error = {0};
    size_t bytes = backbone_state_bytes(f->model, BATCH);
    unsigned char *state = mem_alloc_aligned(bytes + 64);
    memset(state, 0xa5, bytes + 64);
    backbone_state_reset(f->model, state, BATCH);
    struct tape tape;
    assert_int_equal(tape_measure(&tape, TAPE_INFER, &f->params, &error), STATUS_OK);
    (void)backbone_forward(f->model, &tape, input_of(&tape, BATCH, count, f->model->width, NULL),
                           state);
    struct tape_size size = tape_size(&tape);
    tape_release(&tape);
    assert_int_equal(tape_init(&tape, &size, &error), STATUS_OK);
    for (size_t t = 0; t + count <= LENGTH; t += count) {
        tape_begin(&tape, TAPE_INFER, &f->params, f->weights, NULL, 1, 1);
        struct tensor *x = input_of(&tape, BATCH, count, f->model->width, f->x);
        (void)backbone_forward(f->model, &tape, x, state);
        assert_true(tape.values.peak <= size.value_bytes);
    }
    for (size_t i = 0; i < 64; i++) {
        assert_int_equal(state[bytes + i], 0xa5);
    }
    tape_release(&tape);
    mem_free(state);
}

/* The tape was made with the measured bytes; every run above held to them. Smaller shapes do too,
 * and inference takes less than training. */
static void test_measured_bytes_suffice(void **state)
{
    (void)state;
    for (size_t i = 0; i < case_count; i++) {
        struct fixture f;
        open_fixture(&f, cases[i].backbone, cases[i].options);
        size_t granted = f.tape.values.capacity;
        for (size_t batch = 1; batch <= BATCH; batch++) {
            for (size_t length = 1; length <= LENGTH; length += 9) {
                begin(&f, TAPE_TRAIN);
                struct tensor *x = input_of(&f.tape, batch, length, f.model->width, f.x);
                tape_backward(&f.tape, loss_of(f.model, &f.tape, x));
            }
        }
        (void)run(&f, TAPE_TRAIN, f.x);
        assert_int_equal(f.tape.values.capacity, granted);
        assert_true(f.tape.values.peak <= granted);

        struct error error = {0};
        struct tape infer;
        assert_int_equal(tape_measure(&infer, TAPE_INFER, &f.params, &error), STATUS_OK);
        (void)backbone_forward(f.model, &infer,
                               input_of(&infer, BATCH, LENGTH, f.model->width, NULL), NULL);
        struct tape_size size = tape_size(&infer);
        tape_release(&infer);
        assert_true(size.value_bytes < granted);
        assert_int_equal(size.nodes, 0);
        struct tape small;
        assert_int_equal(tape_init(&small, &size, &error), STATUS_OK);
        tape_begin(&small, TAPE_INFER, &f.params, f.weights, NULL, 1, 1);
        (void)backbone_forward(f.model, &small,
                               input_of(&small, BATCH, LENGTH, f.model->width, f.x), NULL);
        assert_int_equal(small.values.peak, size.value_bytes);
        tape_release(&small);
        if (f.model->streaming) {
            check_state_bytes(&f, 1);
            check_state_bytes(&f, LENGTH / 2);
        }
        close_fixture(&f);
    }
}

/* The table and the cases name the same backbones, and each has the presets' mode among its cases.
 */
static void test_every_backbone_has_cases(void **state)
{
    (void)state;
    for (size_t i = 0; i < backbone_table_count; i++) {
        const struct backbone *backbone = backbone_table[i];
        bool found = false;
        bool equal = false;
        for (size_t c = 0; c < case_count; c++) {
            if (strcmp(cases[c].backbone, backbone->name) == 0) {
                struct fixture f;
                open_fixture(&f, cases[c].backbone, cases[c].options);
                found = found || (f.model->causal == backbone->causal &&
                                  f.model->streaming == backbone->streaming);
                assert_true(!f.model->streaming || backbone->state_bytes != NULL);
                assert_int_equal(f.model->state_steps_max > 0, f.model->streaming);
                close_fixture(&f);
            }
        }
        for (size_t e = 0; e < equal_count; e++) {
            equal = equal || strcmp(equals[e].backbone, backbone->name) == 0 ||
                    strcmp(equals[e].other_backbone, backbone->name) == 0;
        }
        if (!found || !equal) {
            fail_msg("%s has no %s in cases.c", backbone->name,
                     found ? "degenerate setting" : "case of its presets' mode");
        }
        assert_ptr_equal(backbone_find(backbone->name), backbone);
    }
}

/* The presets say what causal and streaming mean in the list of backbones. */
static void test_presets_are_as_declared(void **state)
{
    (void)state;
    for (size_t i = 0; i < backbone_table_count; i++) {
        struct error error = {0};
        struct backbone_model *model;
        struct backbone_shape shape = {.length = 192, .season = 24, .ahead = 24};
        if (backbone_create(backbone_table[i]->name, "", &shape, &model, &error) != STATUS_OK) {
            fail_msg("%s: %s", backbone_table[i]->name, error.text);
        }
        assert_int_equal(model->causal, backbone_table[i]->causal);
        assert_int_equal(model->streaming, backbone_table[i]->streaming);
        struct text text;
        text_init(&text, 1024);
        backbone_options_print(model, &text);
        struct backbone_model *again;
        if (backbone_create(backbone_table[i]->name, text.bytes, &shape, &again, &error) !=
            STATUS_OK) {
            fail_msg("%s %s: %s", backbone_table[i]->name, text.bytes, error.text);
        }
        text_release(&text);
        backbone_release(again);
        backbone_release(model);
    }
}

/* Two settings that mean the same give the same outputs: weights by name, so both have those of the
 * other that it declares too, and the rest must not matter. */
static void test_equal_settings_agree(void **state)
{
    (void)state;
    for (size_t i = 0; i < equal_count; i++) {
        struct fixture one, other;
        open_fixture(&one, equals[i].backbone, equals[i].options);
        open_fixture(&other, equals[i].other_backbone, equals[i].other_options);
        for (size_t p = 0; p < other.params.count; p++) {
            struct param *param = &other.params.items[p];
            size_t same = params_find(&one.params, param->name);
            if (same != SIZE_MAX && one.params.items[same].size == param->size) {
                memcpy(other.weights + param->offset, one.weights + one.params.items[same].offset,
                       param->size * sizeof(real));
            }
        }
        if (equals[i].arrange != NULL) {
            equals[i].arrange(&one.params, one.weights, &other.params, other.weights);
        }
        const real *y = run(&one, TAPE_INFER, one.x)->data;
        const real *z = run(&other, TAPE_INFER, other.x)->data;
        double scale = largest_of(y, one.size);
        double allowed = sizeof(real) == 8 ? 1e-12 : equals[i].tolerance;
        for (size_t k = 0; k < one.size; k++) {
            if (!(fabs((double)(y[k] - z[k])) <= allowed * scale)) {
                fail_msg("%s %s is not %s %s: %.9g and %.9g", equals[i].backbone, equals[i].options,
                         equals[i].other_backbone, equals[i].other_options, (double)y[k],
                         (double)z[k]);
            }
        }
        close_fixture(&one);
        close_fixture(&other);
    }
}

static void test_bad_settings_are_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < refusal_count; i++) {
        struct error error = {0};
        struct backbone_model *model;
        struct backbone_shape shape = {.length = refusals[i].length};
        enum status status =
            backbone_create(refusals[i].backbone, refusals[i].options, &shape, &model, &error);
        if (status != STATUS_INVALID || model != NULL) {
            fail_msg("%s %s is not refused", refusals[i].backbone, refusals[i].options);
        }
        assert_string_equal(error.code, refusals[i].code);
        if (strstr(error.text, refusals[i].text) == NULL &&
            strstr(error.hint, refusals[i].text) == NULL) {
            fail_msg("\"%s\" (hint \"%s\") does not say \"%s\"", error.text, error.hint,
                     refusals[i].text);
        }
    }
}

/* The presets close in three layers at every length that is served, and the record says the share.
 */
static void test_presets_close(void **state)
{
    (void)state;
    static const size_t lengths[] = {1, 2, 18, 96, 216, 336, 512, 768, 1024, 2048, 4096, 16384};
    double share = -1;
    for (size_t i = 0; i < ARRAY_COUNT(lengths); i++) {
        struct error error = {0};
        struct backbone_model *model;
        struct backbone_shape shape = {.length = lengths[i], .season = 24};
        if (backbone_create("logsparse", NULL, &shape, &model, &error) != STATUS_OK) {
            fail_msg("%zu: %s", lengths[i], error.text);
        }
        share = model->sparse_share;
        print_message("%zu: window %zu, %.1f %% left out\n", lengths[i], model->window,
                      100 * share);
        struct text text;
        text_init(&text, 512);
        backbone_options_print(model, &text);
        struct backbone_model *again;
        assert_int_equal(backbone_create("logsparse", text.bytes, &shape, &again, &error),
                         STATUS_OK);
        backbone_release(again);
        text_release(&text);
        backbone_release(model);
    }
    assert_true(share > 0.98);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_backbone_has_cases),
        cmocka_unit_test(test_presets_are_as_declared),
        cmocka_unit_test(test_prefix_invariance),
        cmocka_unit_test(test_step_equals_whole),
        cmocka_unit_test(test_modes_agree_and_repeat),
        cmocka_unit_test(test_whole_gradient),
        cmocka_unit_test(test_measured_bytes_suffice),
        cmocka_unit_test(test_equal_settings_agree),
        cmocka_unit_test(test_bad_settings_are_refused),
        cmocka_unit_test(test_presets_close),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
