/* What Performer promises beyond the common properties: its estimate, its features, its sums.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "model/backbones/backbone.h"
#include "model/backbones/orthogonal.h"

#include "base/check.h"
#include "base/memory.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define WIDTH_MAX 16

/* Queries, keys and values of one head, and what exact attention makes of them. */
struct sample {
    struct tape tape;
    struct tensor *qk, *v;
    size_t length, width;
    real *exact; /* [T, h] */
};

static const struct params none;

static void begin(struct sample *s, size_t length, size_t width, double size)
{
    struct error error = {0};
    *s = (struct sample){.length = length, .width = width};
    struct tape_size bytes = {64 << 20, 1 << 20, 64};
    assert_int_equal(tape_init(&s->tape, &bytes, &error), STATUS_OK);
    tape_begin(&s->tape, TAPE_INFER, &none, NULL, NULL, 1, 1);
    s->qk = tape_input(&s->tape, (size_t[]){1, length, 2 * width, 0});
    s->v = tape_input(&s->tape, (size_t[]){1, length, width, 0});
    struct random random;
    random_init(&random, 4, width);
    for (size_t i = 0; i < 2 * length * width; i++) {
        s->qk->data[i] = (real)(size * random_normal(&random));
    }
    for (size_t i = 0; i < length * width; i++) {
        s->v->data[i] = (real)random_normal(&random);
    }
    struct pattern dense = pattern_dense(length);
    struct attention attention = {.heads = 1, .pattern = &dense};
    s->exact = op_attention(&s->tape, s->qk, s->v, &attention)->data;
}

static const real *estimate(struct sample *s, const real *rows, size_t features)
{
    struct tensor projection = {.shape = {features, s->width, 1, 1}, .axes = 2};
    /* the op only reads it */
    memcpy(&projection.data, &rows, sizeof(rows));
    struct linear_attention spec = {.heads = 1, .projection = &projection};
    return op_linear_attention(&s->tape, s->qk, s->v, &spec)->data;
}

/* Norm of the difference over the norm of what is expected. */
static double distance(const real *values, const real *expected, size_t n)
{
    double off = 0;
    double whole = 0;
    for (size_t i = 0; i < n; i++) {
        off += pow((double)(values[i] - expected[i]), 2);
        whole += pow((double)expected[i], 2);
    }
    return sqrt(off / whole);
}

/* ---------------------------------------------------------------- the estimate */

/* Householder's QR without fixing signs, as LAPACK does it, from the same kind of normal matrix:
 * the mistake of common implementations. Rows of Q, not yet scaled; a[h][h] is overwritten. */
static void uncorrected_block(size_t h, struct random *random, double q[WIDTH_MAX][WIDTH_MAX])
{
    double a[WIDTH_MAX][WIDTH_MAX];
    for (size_t i = 0; i < h * h; i++) {
        a[i / h][i % h] = random_normal(random);
        q[i / h][i % h] = i / h == i % h;
    }
    for (size_t k = 0; k + 1 < h; k++) {
        double x[WIDTH_MAX] = {0};
        double square = 0;
        for (size_t i = k; i < h; i++) {
            x[i] = a[i][k];
            square += x[i] * x[i];
        }
        x[k] += copysign(sqrt(square), x[k]);
        double norm = 0;
        for (size_t i = k; i < h; i++) {
            norm += x[i] * x[i];
        }
        for (size_t c = 0; c < h; c++) {
            double along = 0;
            double row = 0;
            for (size_t i = k; i < h; i++) {
                along += x[i] * a[i][c];
                row += q[c][i] * x[i]; /* Q gathers the reflections from the right */
            }
            for (size_t i = k; i < h; i++) {
                a[i][c] -= 2 * along / norm * x[i];
                q[c][i] -= 2 * row / norm * x[i];
            }
        }
    }
}

/* Columns of Q are the directions. */
static void uncorrected_draw(size_t count, size_t h, struct random *random, real *rows)
{
    double q[WIDTH_MAX][WIDTH_MAX];
    for (size_t r = 0; r < count; r++) {
        if (r % h == 0) {
            uncorrected_block(h, random, q);
        }
        double square = 0;
        for (size_t c = 0; c < h; c++) {
            square += pow(random_normal(random), 2);
        }
        for (size_t c = 0; c < h; c++) {
            rows[r * h + c] = (real)(q[c][r % h] * sqrt(square));
        }
    }
}

/* Mean error of some draws of m features. */
static double error_of(struct sample *s, size_t features, bool corrected)
{
    enum { DRAWS = 12 };
    double sum = 0;
    real *rows = mem_alloc_aligned(features * s->width * sizeof(real));
    for (uint64_t draw = 0; draw < DRAWS; draw++) {
        struct random random;
        random_init(&random, 17, draw);
        (corrected ? orthogonal_draw : uncorrected_draw)(features, s->width, &random, rows);
        size_t mark = tape_mark(&s->tape);
        sum += distance(estimate(s, rows, features), s->exact, s->length * s->width);
        tape_rewind(&s->tape, mark);
    }
    mem_free(rows);
    return sum / DRAWS;
}

/* At vectors of scale 0.5 four times the features nearly halve the error, for small heads too;
 * without the signs' correction those stall. */
static void test_error_falls_with_features(void **state)
{
    (void)state;
    for (size_t width = 8; width <= 16; width += 8) {
        struct sample s;
        begin(&s, 256, width, 0.5);
        double last = error_of(&s, 32, true);
        for (size_t features = 128; features <= 2048; features *= 4) {
            double now = error_of(&s, features, true);
            print_message("h %zu, m %4zu: error %.4f, %.2f of that of a quarter\n", width, features,
                          now, now / last);
            assert_true(now / last > 0.4 && now / last < 0.65);
            last = now;
        }
        tape_release(&s.tape);
    }
}

static void test_signs_matter_for_small_heads(void **state)
{
    (void)state;
    struct sample s;
    begin(&s, 256, 8, 0.5);
    double few = error_of(&s, 512, false);
    double many = error_of(&s, 2048, false);
    double right = error_of(&s, 2048, true);
    print_message("h 8 without correction: m 512 %.4f, m 2048 %.4f; with: %.4f\n", few, many,
                  right);
    assert_true(many / few > 0.75);
    assert_true(many > 1.5 * right);
    tape_release(&s.tape);
}

/* The mean of phi(q) . phi(k) over many draws is e^(q . k / sqrt(h)). */
static void test_kernel_is_unbiased(void **state)
{
    (void)state;
    enum { H = 8, DRAWS = 60000 };
    static const double q[H] = {0.5, -0.3, 0.8, 0.1, -0.6, 0.4, 0.2, -0.7};
    static const double k[H] = {0.4, 0.5, 0.6, -0.2, -0.1, 0.7, -0.5, -0.3};
    double c = pow(H, -0.25);
    double dot = 0;
    double halves = 0;
    for (size_t i = 0; i < H; i++) {
        dot += c * c * q[i] * k[i];
        halves += c * c * (q[i] * q[i] + k[i] * k[i]) / 2;
    }
    struct random random;
    random_init(&random, 8, 8);
    double sum = 0;
    double squares = 0;
    real rows[H * H];
    for (size_t draw = 0; draw < DRAWS; draw++) {
        orthogonal_draw(H, H, &random, rows);
        double mean = 0;
        for (size_t r = 0; r < H; r++) {
            double exponent = -halves;
            for (size_t i = 0; i < H; i++) {
                exponent += (double)rows[r * H + i] * c * (q[i] + k[i]);
            }
            mean += exp(exponent) / H;
        }
        sum += mean;
        squares += mean * mean;
    }
    double mean = sum / DRAWS;
    double deviation = sqrt((squares / DRAWS - mean * mean) / DRAWS);
    print_message("mean %.5f +- %.5f, exact %.5f\n", mean, deviation, exp(dot));
    assert_true(fabs(mean - exp(dot)) <= 4 * deviation);
    assert_true(deviation < 0.005 * exp(dot));
}

/* Rows of a block are orthogonal; lengths are those of normal vectors, so differ. */
static void test_blocks_are_orthogonal(void **state)
{
    (void)state;
    static const size_t widths[] = {1, 2, 5, 8, 16, 64};
    static real rows[200 * 64];
    for (size_t w = 0; w < ARRAY_COUNT(widths); w++) {
        size_t h = widths[w];
        struct random random;
        random_init(&random, 3, h);
        orthogonal_draw(200, h, &random, rows);
        double mean = 0;
        for (size_t i = 0; i < 200; i++) {
            const real *a = rows + i * h;
            for (size_t j = i / h * h; j <= i; j++) {
                const real *b = rows + j * h;
                double dot = 0;
                double lengths = 0;
                double other = 0;
                for (size_t c = 0; c < h; c++) {
                    dot += (double)a[c] * (double)b[c];
                    lengths += (double)a[c] * (double)a[c];
                    other += (double)b[c] * (double)b[c];
                }
                mean += i == j ? lengths / (double)(200 * h) : 0;
                assert_true(i == j || fabs(dot) <= 1e-6 * sqrt(lengths * other));
            }
        }
        /* a chi-square of h degrees over h: variance 2 / h, over 200 rows */
        assert_true(fabs(mean - 1) <= 4 * sqrt(2.0 / (200.0 * (double)h)));
    }
}

/* Exact attention is the limit. */
static void test_many_features_approach_dense_attention(void **state)
{
    (void)state;
    struct sample s;
    begin(&s, 128, 8, 0.5);
    double error = error_of(&s, 16384, true);
    print_message("m 16384: error %.4f\n", error);
    assert_true(error < 0.02);
    tape_release(&s.tape);
}

/* ReLU features of the channels themselves, against the explicit matrix. */
static void test_relu_equals_its_matrix(void **state)
{
    (void)state;
    struct sample s;
    begin(&s, 100, 8, 1.0);
    struct linear_attention spec = {
        .heads = 1, .map = FEATURES_RELU, .scale = 1, .feature_floor = (real)1e-3};
    const real *y = op_linear_attention(&s.tape, s.qk, s.v, &spec)->data;
    for (size_t t = 0; t < s.length; t++) {
        double total = 0;
        double sums[8] = {0};
        for (size_t j = 0; j <= t; j++) {
            double pair = 0;
            for (size_t c = 0; c < 8; c++) {
                double q = fmax((double)s.qk->data[t * 16 + c], 0) + 1e-3;
                double k = fmax((double)s.qk->data[j * 16 + 8 + c], 0) + 1e-3;
                pair += q * k;
            }
            total += pair;
            for (size_t c = 0; c < 8; c++) {
                sums[c] += pair * (double)s.v->data[j * 8 + c];
            }
        }
        for (size_t c = 0; c < 8; c++) {
            assert_true(fabs((double)y[t * 8 + c] - sums[c] / total) <= 1e-5);
        }
    }
    tape_release(&s.tape);
}

/* ---------------------------------------------------------------- causality and sums */

/* Keys from t on ten times as large: outputs before keep every bit, over several chunks; this is
 * where the published stabiliser fails, which the op has too. */
static void test_large_later_keys_change_nothing(void **state)
{
    (void)state;
    static real rows[32 * 8];
    struct random random;
    random_init(&random, 5, 5);
    orthogonal_draw(32, 8, &random, rows);
    struct tensor projection = {.shape = {32, 8, 1, 1}, .axes = 2, .data = rows};
    for (int published = 0; published < 2; published++) {
        struct linear_attention spec = {.heads = 1, .projection = &projection};
        spec.feature_floor = published != 0 ? (real)1e-4 : 0;
        struct sample s;
        begin(&s, 200, 8, 1.0);
        const real *before = op_linear_attention(&s.tape, s.qk, s.v, &spec)->data;
        double moved = 0;
        for (size_t t = 150; t < 200; t++) {
            for (size_t c = 8; c < 16; c++) {
                s.qk->data[t * 16 + c] *= 10;
            }
        }
        const real *after = op_linear_attention(&s.tape, s.qk, s.v, &spec)->data;
        for (size_t i = 0; i < (size_t)150 * 8; i++) {
            moved = fmax(moved, fabs((double)(after[i] - before[i])));
        }
        print_message("%s stabiliser: earlier outputs move by %.3g\n",
                      published != 0 ? "published" : "running", moved);
        assert_true(published != 0 ? moved > 0.1 : moved == 0);
        assert_true(isfinite(distance(after, before, (size_t)200 * 8)));
        tape_release(&s.tape);
    }
}

/* ---------------------------------------------------------------- the backbone */

struct fixture {
    struct backbone_model *model;
    struct params params;
    struct tape tape;
    real *weights;
};

static void open_fixture(struct fixture *f, const char *options, size_t length)
{
    struct error error = {0};
    struct backbone_shape shape = {.length = length};
    if (backbone_create("performer", options, &shape, &f->model, &error) != STATUS_OK) {
        fail_msg("%s: %s", options, error.text);
    }
    assert_int_equal(params_init(&f->params, &error), STATUS_OK);
    backbone_declare(f->model, &f->params, "b");
    f->weights = params_slab_new(&f->params);
    params_initialise(&f->params, f->weights, 5);
    backbone_refresh(f->model, &f->params, f->weights, &(struct backbone_moment){.seed = 5});
    struct tape_size size = {32 << 20, 64, 1};
    assert_int_equal(tape_init(&f->tape, &size, &error), STATUS_OK);
}

static void close_fixture(struct fixture *f)
{
    tape_release(&f->tape);
    params_release(&f->params);
    mem_free(f->weights);
    backbone_release(f->model);
}

/* x [1, T, D] of a fixed stream; only rows first .. first + count - 1 of it. */
static const real *forward(struct fixture *f, size_t first, size_t count, void *state)
{
    struct random random;
    random_init(&random, 9, 9);
    tape_begin(&f->tape, TAPE_INFER, &f->params, f->weights, NULL, 1, 1);
    size_t width = f->model->width;
    struct tensor *x = tape_input(&f->tape, (size_t[]){1, count, width, 0});
    for (size_t i = 0; i < (first + count) * width; i++) {
        real value = (real)random_normal(&random);
        if (i >= first * width) {
            x->data[i - first * width] = value;
        }
    }
    return backbone_forward(f->model, &f->tape, x, state)->data;
}

static real *features_of(const struct fixture *f, size_t layer)
{
    char name[PARAM_NAME_MAX];
    (void)snprintf(name, sizeof(name), "b.layer%zu.attention.features", layer);
    size_t id = params_find(&f->params, name);
    assert_true(id != SIZE_MAX && f->params.items[id].fixed);
    return f->weights + f->params.items[id].offset;
}

static void refresh_at(struct fixture *f, uint64_t seed, uint64_t step, double progress)
{
    struct backbone_moment moment = {seed, step, progress};
    backbone_refresh(f->model, &f->params, f->weights, &moment);
}

/* Drawn at the start and every so many steps, until four fifths; by seed, step and layer alone. */
static void test_features_are_redrawn_then_frozen(void **state)
{
    (void)state;
    struct fixture f;
    open_fixture(&f, "width=16 heads=2 layers=2 redraw=10", 32);
    size_t bytes = (size_t)32 * 8 * sizeof(real);
    real *now = features_of(&f, 0);
    real start[32 * 8];
    real tenth[32 * 8];
    memcpy(start, now, bytes);
    assert_memory_not_equal(now, features_of(&f, 1), bytes);
    refresh_at(&f, 5, 9, 0.1);
    assert_memory_equal(now, start, bytes);
    refresh_at(&f, 5, 10, 0.1);
    assert_memory_not_equal(now, start, bytes);
    memcpy(tenth, now, bytes);
    refresh_at(&f, 5, 20, 0.79);
    assert_memory_not_equal(now, tenth, bytes);
    refresh_at(&f, 5, 10, 0.81);
    assert_memory_not_equal(now, tenth, bytes);
    refresh_at(&f, 5, 10, 0.5);
    assert_memory_equal(now, tenth, bytes);
    refresh_at(&f, 6, 0, 0);
    assert_memory_not_equal(now, start, bytes);
    refresh_at(&f, 5, 0, 0);
    assert_memory_equal(now, start, bytes);
    close_fixture(&f);
}

/* How far other features move the outputs: two independent estimates differ by sqrt(2) times the
 * error of one, which the first test finds to be at most 1.6 / sqrt(m) for such vectors; the
 * residual branch only makes it less. Sixteen times the features ideally leave a quarter. */
static void test_redraw_moves_outputs_by_a_bound(void **state)
{
    (void)state;
    static const size_t sizes[] = {64, 1024};
    double moved[2];
    for (size_t i = 0; i < ARRAY_COUNT(sizes); i++) {
        struct fixture f;
        char options[64];
        (void)snprintf(options, sizeof(options), "width=16 heads=2 local=0 features=%zu", sizes[i]);
        open_fixture(&f, options, 96);
        real before[96 * 16];
        memcpy(before, forward(&f, 0, 96, NULL), sizeof(before));
        refresh_at(&f, 5, 500, 0.1);
        moved[i] = distance(forward(&f, 0, 96, NULL), before, (size_t)96 * 16);
        print_message("%s: outputs move by %.4f\n", options, moved[i]);
        assert_true(moved[i] > 0 && moved[i] < sqrt(2.0) * 1.6 / sqrt((double)sizes[i]));
        close_fixture(&f);
    }
    assert_true(moved[1] < 0.4 * moved[0]);
}

/* The state has the same size whatever was seen, and goes on far beyond the window. */
static void test_state_is_constant_and_unbounded(void **state)
{
    (void)state;
    enum { LONG = 700 };
    struct fixture small;
    struct fixture whole;
    const char *options = "width=16 heads=2 layers=2 positions=none window=8";
    open_fixture(&small, options, 32);
    open_fixture(&whole, options, LONG);
    size_t bytes = backbone_state_bytes(small.model, 1);
    assert_int_equal(bytes, backbone_state_bytes(whole.model, 1));
    assert_true(small.model->state_steps_max == SIZE_MAX);
    real *expected = mem_alloc_aligned((size_t)LONG * 16 * sizeof(real));
    memcpy(expected, forward(&whole, 0, LONG, NULL), (size_t)LONG * 16 * sizeof(real));
    void *memory = mem_alloc_aligned(bytes);
    backbone_state_reset(small.model, memory, 1);
    size_t t = 0;
    for (size_t count = 1; t + count <= LONG; count = count % 7 + 1) {
        const real *y = forward(&small, t, count, memory);
        for (size_t i = 0; i < count * 16; i++) {
            assert_true(fabs((double)(y[i] - expected[t * 16 + i])) <= 2e-5);
        }
        t += count;
    }
    mem_free(memory);
    mem_free(expected);
    close_fixture(&small);
    close_fixture(&whole);
}

/* Gains are brought back into their bounds. */
static void test_gains_are_bounded(void **state)
{
    (void)state;
    struct fixture f;
    open_fixture(&f, "width=16 heads=2 local=0 gain_max=0.75", 16);
    size_t id = params_find(&f.params, "b.layer1.attention.gain");
    assert_true(id != SIZE_MAX);
    real *gain = f.weights + f.params.items[id].offset;
    gain[0] = 3;
    gain[1] = -1;
    backbone_settle(f.model, &f.params, f.weights);
    assert_true(gain[0] == (real)0.75);
    assert_true(gain[1] == (real)0.05);
    close_fixture(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_error_falls_with_features),
        cmocka_unit_test(test_signs_matter_for_small_heads),
        cmocka_unit_test(test_kernel_is_unbiased),
        cmocka_unit_test(test_blocks_are_orthogonal),
        cmocka_unit_test(test_many_features_approach_dense_attention),
        cmocka_unit_test(test_relu_equals_its_matrix),
        cmocka_unit_test(test_large_later_keys_change_nothing),
        cmocka_unit_test(test_features_are_redrawn_then_frozen),
        cmocka_unit_test(test_redraw_moves_outputs_by_a_bound),
        cmocka_unit_test(test_state_is_constant_and_unbounded),
        cmocka_unit_test(test_gains_are_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
