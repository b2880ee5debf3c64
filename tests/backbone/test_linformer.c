/* What Linformer's own paper and its block-causal form promise.
 * SPDX-License-Identifier: Apache-2.0
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

#define LENGTH ((size_t)48)
#define WIDTH  ((size_t)16)

struct fixture {
    struct backbone_model *model;
    struct params params;
    struct tape tape;
    real *weights;
};

static void open_fixture(struct fixture *f, size_t length, const char *options)
{
    struct error error = {0};
    struct backbone_shape shape = {.length = length};
    *f = (struct fixture){0};
    if (backbone_create("linformer", options, &shape, &f->model, &error) != STATUS_OK) {
        fail_msg("%s: %s", options, error.text);
    }
    assert_int_equal(params_init(&f->params, &error), STATUS_OK);
    backbone_declare(f->model, &f->params, "b");
    f->weights = params_slab_new(&f->params);
    params_initialise(&f->params, f->weights, 3);
    struct tape measure;
    assert_int_equal(tape_measure(&measure, TAPE_INFER, &f->params, &error), STATUS_OK);
    (void)backbone_forward(f->model, &measure,
                           tape_input(&measure, (size_t[]){1, length, WIDTH, 0}), NULL);
    struct tape_size size = tape_size(&measure);
    tape_release(&measure);
    assert_int_equal(tape_init(&f->tape, &size, &error), STATUS_OK);
}

static void close_fixture(struct fixture *f)
{
    tape_release(&f->tape);
    params_release(&f->params);
    mem_free(f->weights);
    backbone_release(f->model);
}

/* Steps first .. first + count - 1 of a fixed random series of one window. */
static const real *run(struct fixture *f, size_t first, size_t count)
{
    tape_begin(&f->tape, TAPE_INFER, &f->params, f->weights, NULL, 1, 1);
    struct tensor *x = tape_input(&f->tape, (size_t[]){1, count, WIDTH, 0});
    struct random random;
    random_init(&random, 8, 8);
    for (size_t i = 0; i < (first + count) * WIDTH; i++) {
        real value = (real)random_normal(&random);
        if (i >= first * WIDTH) {
            x->data[i - first * WIDTH] = value;
        }
    }
    return backbone_forward(f->model, &f->tape, x, NULL)->data;
}

static size_t trained(const char *options)
{
    struct fixture f;
    open_fixture(&f, LENGTH, options);
    size_t count = f.params.trained;
    close_fixture(&f);
    return count;
}

/* Three layers, two heads: k L (or s c) parameters a projection, 6 of them with headwise sharing,
 * 3 with E = F, 1 with a single E, and 12 with no sharing. */
static void test_sharing_changes_the_parameters(void **state)
{
    (void)state;
    static const struct {
        const char *form;
        size_t projection;
    } forms[] = {
        {"width=16 heads=2 mode=encoder rank=6", 6 * LENGTH},
        {"width=16 heads=2 block=4 summary=2 group=1", 2 * 4},
        {"width=16 heads=2 block=4 summary=2 group=2", 2 * 4 + 2 * 2 * 2},
    };
    for (size_t i = 0; i < ARRAY_COUNT(forms); i++) {
        static const char *const names[] = {"none", "headwise", "key_value", "layerwise"};
        static const size_t projections[] = {12, 6, 3, 1};
        size_t counts[ARRAY_COUNT(names)];
        for (size_t s = 0; s < ARRAY_COUNT(names); s++) {
            char options[96];
            (void)snprintf(options, sizeof(options), "%s sharing=%s", forms[i].form, names[s]);
            counts[s] = trained(options);
            assert_int_equal(counts[s] - counts[0] + 12 * forms[i].projection,
                             projections[s] * forms[i].projection);
        }
    }
}

/* y = W x + b over rows of WIDTH channels. */
static void plain_linear(const struct fixture *f, const char *name, size_t first, const double *x,
                         double *y)
{
    char full[64];
    (void)snprintf(full, sizeof(full), "b.layer0.attention.%s.weight", name);
    const real *w = f->weights + f->params.items[params_find(&f->params, full)].offset;
    for (size_t t = 0; t < LENGTH; t++) {
        for (size_t o = 0; o < WIDTH; o++) {
            y[t * WIDTH + o] = 0;
            for (size_t c = 0; c < WIDTH; c++) {
                y[t * WIDTH + o] += (double)w[(first + o) * WIDTH + c] * x[t * WIDTH + c];
            }
        }
    }
}

/* k = L with E = F = I is dense attention without a mask: here in plain loops, for one layer with
 * the feed-forward part switched off. */
static void test_full_rank_is_dense(void **state)
{
    (void)state;
    static double x[LENGTH * WIDTH], q[LENGTH * WIDTH], k[LENGTH * WIDTH], v[LENGTH * WIDTH],
        y[LENGTH * WIDTH], out[LENGTH * WIDTH];
    struct fixture f;
    open_fixture(&f, LENGTH,
                 "width=16 heads=2 layers=1 mode=encoder rank=48 positions=none "
                 "norm=pre dropout=0");
    for (size_t p = 0; p < f.params.count; p++) {
        const struct param *param = &f.params.items[p];
        const char *part = strrchr(param->name, '.') + 1;
        bool identity = strcmp(part, "e") == 0 || strcmp(part, "f") == 0;
        bool silent = strncmp(param->name, "b.layer0.feed.out", 17) == 0;
        for (size_t n = 0; (identity || silent) && n < param->size; n++) {
            f.weights[param->offset + n] = identity && n / LENGTH == n % LENGTH;
        }
    }
    const real *got = run(&f, 0, LENGTH);
    struct random random;
    random_init(&random, 8, 8);
    static double raw[LENGTH * WIDTH];
    for (size_t t = 0; t < LENGTH; t++) {
        double mean = 0, square = 0;
        for (size_t c = 0; c < WIDTH; c++) {
            raw[t * WIDTH + c] = (double)(real)random_normal(&random);
            mean += raw[t * WIDTH + c] / (double)WIDTH;
        }
        for (size_t c = 0; c < WIDTH; c++) {
            square += pow(raw[t * WIDTH + c] - mean, 2) / (double)WIDTH;
        }
        for (size_t c = 0; c < WIDTH; c++) {
            x[t * WIDTH + c] = (raw[t * WIDTH + c] - mean) / sqrt(square + 1e-5);
        }
    }
    plain_linear(&f, "qk", 0, x, q);
    plain_linear(&f, "qk", WIDTH, x, k);
    plain_linear(&f, "v", 0, x, v);
    memset(y, 0, sizeof(y));
    for (size_t i = 0; i < 2 * LENGTH; i++) {
        size_t h = i / LENGTH * (WIDTH / 2);
        const double *query = q + i % LENGTH * WIDTH + h;
        double total = 0;
        for (size_t pass = 0; pass < 2; pass++) {
            for (size_t j = 0; j < LENGTH; j++) {
                double score = 0;
                for (size_t c = 0; c < WIDTH / 2; c++) {
                    score += query[c] * k[j * WIDTH + h + c] / sqrt((double)WIDTH / 2);
                }
                total += pass == 0 ? exp(score) : 0;
                for (size_t c = 0; pass == 1 && c < WIDTH / 2; c++) {
                    y[i % LENGTH * WIDTH + h + c] += exp(score) / total * v[j * WIDTH + h + c];
                }
            }
        }
    }
    plain_linear(&f, "out", 0, y, out);
    for (size_t t = 0; t < LENGTH; t++) {
        double mean = 0, square = 0;
        for (size_t c = 0; c < WIDTH; c++) {
            out[t * WIDTH + c] += raw[t * WIDTH + c];
            mean += out[t * WIDTH + c] / (double)WIDTH;
        }
        for (size_t c = 0; c < WIDTH; c++) {
            square += pow(out[t * WIDTH + c] - mean, 2) / (double)WIDTH;
        }
        for (size_t c = 0; c < WIDTH; c++) {
            double expected = (out[t * WIDTH + c] - mean) / sqrt(square + 1e-5);
            assert_true(fabs((double)got[t * WIDTH + c] - expected) < 1e-5);
        }
    }
    close_fixture(&f);
}

/* The encoder takes a shorter window as the end of a full one: with E's first columns zero, what
 * stands to the left does not matter to what is compressed. */
static void test_short_windows_are_the_end_of_long_ones(void **state)
{
    (void)state;
    struct fixture f;
    size_t cut = 17;
    open_fixture(&f, LENGTH,
                 "width=16 heads=2 layers=1 mode=encoder rank=6 positions=none "
                 "dropout=0");
    for (size_t p = 0; p < f.params.count; p++) {
        const struct param *param = &f.params.items[p];
        const char *part = strrchr(param->name, '.') + 1;
        for (size_t n = 0; n < param->size; n++) {
            bool projection = strcmp(part, "e") == 0 || strcmp(part, "f") == 0;
            if (projection && n % LENGTH < cut) {
                f.weights[param->offset + n] = 0;
            }
        }
    }
    static real whole[LENGTH * WIDTH];
    memcpy(whole, run(&f, 0, LENGTH), sizeof(whole));
    const real *end = run(&f, cut, LENGTH - cut);
    for (size_t n = 0; n < (LENGTH - cut) * WIDTH; n++) {
        assert_true(fabs((double)(end[n] - whole[cut * WIDTH + n])) < 1e-5);
    }
    close_fixture(&f);
}

/* A query sees a number of keys that grows as the logarithm of the length; groups of 1 do not. */
static void test_summaries_grow_as_the_logarithm(void **state)
{
    (void)state;
    static const size_t lengths[] = {1024, 4096, 16384, 65536};
    double levels[ARRAY_COUNT(lengths)], flat[ARRAY_COUNT(lengths)];
    for (size_t i = 0; i < ARRAY_COUNT(lengths); i++) {
        struct fixture f;
        struct error error = {0};
        struct backbone_shape shape = {.length = lengths[i]};
        for (size_t form = 0; form < 2; form++) {
            const char *options = form == 0 ? "" : "group=1";
            assert_int_equal(backbone_create("linformer", options, &shape, &f.model, &error),
                             STATUS_OK);
            double seen = (1 - f.model->sparse_share) * (double)(lengths[i] + 1) / 2;
            (form == 0 ? levels : flat)[i] = seen; /* keys of a query, on average */
            backbone_release(f.model);
        }
        print_message("%zu: %.0f keys, %.0f with all blocks\n", lengths[i], levels[i], flat[i]);
    }
    assert_true(levels[3] - levels[2] < 60 && levels[3] < 220);
    assert_true(flat[3] > 3 * flat[2]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sharing_changes_the_parameters),
        cmocka_unit_test(test_full_rank_is_dense),
        cmocka_unit_test(test_short_windows_are_the_end_of_long_ones),
        cmocka_unit_test(test_summaries_grow_as_the_logarithm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
