/* Every op's way back against central differences: the full Jacobian, in double precision.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A new op needs a row in model/ops/table.c and an example in its family's examples_*.c; without
 * one this fails.
 */
#include "tests/gradient/examples.h"

#include "base/check.h"
#include "base/memory.h"
#include "base/random.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define STEP       1e-5
#define TOLERANCE  1e-6
#define VALUES_MAX 512

/* One example's inputs, and the tape that they are run on. */
struct bench {
    struct tape tape;
    const struct example *example;
    size_t input_count;
    double values[EXAMPLE_INPUTS_MAX][VALUES_MAX];
    size_t sizes[EXAMPLE_INPUTS_MAX];
    struct tensor *inputs[EXAMPLE_INPUTS_MAX];
    struct params params;
};

static void bench_open(struct bench *bench, const struct example *example, size_t number)
{
    struct error error = {0};
    *bench = (struct bench){.example = example};
    struct tape_size size = {.value_bytes = 4 << 20, .gradient_bytes = 4 << 20, .nodes = 64};
    assert_int_equal(tape_init(&bench->tape, &size, &error), STATUS_OK);
    struct random random;
    random_init(&random, 7, number);
    while (bench->input_count < EXAMPLE_INPUTS_MAX && example->shapes[bench->input_count][0] != 0) {
        size_t k = bench->input_count++;
        bench->sizes[k] = 1;
        for (size_t a = 0; example->shapes[k][a] != 0; a++) {
            bench->sizes[k] *= example->shapes[k][a];
        }
        assert_true(bench->sizes[k] <= VALUES_MAX);
        for (size_t i = 0; i < bench->sizes[k]; i++) {
            double x = random_normal(&random);
            bench->values[k][i] = fabs(x) < 0.05 ? copysign(0.05, x) : x;
        }
    }
}

/* Runs the op once on fresh inputs; its output. */
static struct tensor *bench_run(struct bench *bench)
{
    tape_begin(&bench->tape, TAPE_TRAIN, &bench->params, NULL, NULL, 11, 3);
    for (size_t k = 0; k < bench->input_count; k++) {
        bench->inputs[k] = tape_input(&bench->tape, bench->example->shapes[k]);
        bench->inputs[k]->wants_grad = true;
        for (size_t i = 0; i < bench->sizes[k]; i++) {
            bench->inputs[k]->data[i] = (real)bench->values[k][i];
        }
    }
    return bench->example->run(&bench->tape, bench->inputs);
}

static size_t output_size(struct bench *bench, double *out)
{
    struct tensor *y = bench_run(bench);
    size_t n = tensor_size(y);
    assert_true(n <= VALUES_MAX);
    for (size_t i = 0; i < n; i++) {
        out[i] = (double)y->data[i];
    }
    return n;
}

/* Gradients of sum of y c for a cotangent c given by its values. */
static void gradients_of(struct bench *bench, const double *cotangent,
                         double out[EXAMPLE_INPUTS_MAX][VALUES_MAX])
{
    struct tensor *y = bench_run(bench);
    struct tensor *c = tape_tensor_like(&bench->tape, y);
    for (size_t i = 0; i < tensor_size(y); i++) {
        c->data[i] = (real)cotangent[i];
    }
    tape_backward(&bench->tape, op_inner(&bench->tape, y, c));
    for (size_t k = 0; k < bench->input_count; k++) {
        const real *gradient = tape_gradient(&bench->tape, bench->inputs[k]);
        for (size_t i = 0; i < bench->sizes[k]; i++) {
            out[k][i] = (double)gradient[i];
        }
    }
}

static double tolerance_of(const char *name)
{
    for (size_t i = 0; i < op_count; i++) {
        if (strcmp(op_table[i]->name, name) == 0) {
            return op_table[i]->tolerance != 0 ? op_table[i]->tolerance : TOLERANCE;
        }
    }
    fail_msg("no op of the name %s in the table", name);
    return 0;
}

/* Row m of the Jacobian by the way back, all of them by differences, and compared. */
static void check_jacobian(struct bench *bench)
{
    static double by_tape[VALUES_MAX][EXAMPLE_INPUTS_MAX][VALUES_MAX];
    static double high[VALUES_MAX], low[VALUES_MAX], unit[VALUES_MAX];
    size_t outputs = output_size(bench, high);
    double largest = 1;
    for (size_t m = 0; m < outputs; m++) {
        memset(unit, 0, sizeof(unit));
        unit[m] = 1;
        gradients_of(bench, unit, by_tape[m]);
        for (size_t k = 0; k < bench->input_count; k++) {
            for (size_t i = 0; i < bench->sizes[k]; i++) {
                largest = fmax(largest, fabs(by_tape[m][k][i]));
            }
        }
    }
    double allowed = tolerance_of(bench->example->op) * largest;
    for (size_t k = 0; k < bench->input_count; k++) {
        for (size_t i = 0; i < bench->sizes[k]; i++) {
            double kept = bench->values[k][i];
            bench->values[k][i] = kept + STEP;
            output_size(bench, high);
            bench->values[k][i] = kept - STEP;
            output_size(bench, low);
            bench->values[k][i] = kept;
            for (size_t m = 0; m < outputs; m++) {
                double slope = (high[m] - low[m]) / (2 * STEP);
                if (!(fabs(slope - by_tape[m][k][i]) <= allowed)) {
                    fail_msg("%s (%s): d y[%zu] / d in%zu[%zu] is %.12g, by differences %.12g",
                             bench->example->op, bench->example->what, m, k, i, by_tape[m][k][i],
                             slope);
                }
            }
        }
    }
}

/* The examples of all families in order; NULL behind the last. */
static const struct example *nth_example(size_t n)
{
    for (size_t f = 0; f < example_family_count; f++) {
        if (n < example_families[f]->count) {
            return &example_families[f]->examples[n];
        }
        n -= example_families[f]->count;
    }
    return NULL;
}

/* Every element of every example's Jacobian. */
static void test_jacobians(void **state)
{
    (void)state;
    static struct bench bench;
    for (size_t e = 0; nth_example(e) != NULL; e++) {
        bench_open(&bench, nth_example(e), e);
        check_jacobian(&bench);
        tape_release(&bench.tape);
    }
}

/* An op whose inputs feed two nodes adds both gradients, and two runs give the same bits. */
static void test_second_use_adds(void **state)
{
    (void)state;
    static struct bench bench;
    static double once[EXAMPLE_INPUTS_MAX][VALUES_MAX], again[EXAMPLE_INPUTS_MAX][VALUES_MAX];
    static double cotangent[VALUES_MAX];
    for (size_t e = 0; nth_example(e) != NULL; e++) {
        if (strcmp(nth_example(e)->op, "dropout") == 0) {
            continue; /* the second use draws another mask */
        }
        bench_open(&bench, nth_example(e), e);
        struct random random;
        random_init(&random, 5, e);
        for (size_t i = 0; i < VALUES_MAX; i++) {
            cotangent[i] = random_normal(&random);
        }
        gradients_of(&bench, cotangent, once);
        gradients_of(&bench, cotangent, again);
        assert_memory_equal(once, again, sizeof(once));

        struct tensor *y = bench_run(&bench);
        struct tensor *second = bench.example->run(&bench.tape, bench.inputs);
        struct tensor *c = tape_tensor_like(&bench.tape, y);
        for (size_t i = 0; i < tensor_size(y); i++) {
            c->data[i] = (real)cotangent[i];
        }
        struct tensor *loss = op_add(&bench.tape, op_inner(&bench.tape, y, c),
                                     op_scale(&bench.tape, op_inner(&bench.tape, second, c), 2));
        tape_backward(&bench.tape, loss);
        for (size_t k = 0; k < bench.input_count; k++) {
            const real *gradient = tape_gradient(&bench.tape, bench.inputs[k]);
            for (size_t i = 0; i < bench.sizes[k]; i++) {
                assert_true(fabs((double)gradient[i] - 3 * once[k][i]) <=
                            1e-9 * (1 + fabs(once[k][i])));
            }
        }
        tape_release(&bench.tape);
    }
}

/* The table and the examples name the same ops. */
static void test_every_op_has_an_example(void **state)
{
    (void)state;
    assert_true(op_count <= 45); /* more than fit into a head are too many */
    for (size_t i = 0; i < op_count; i++) {
        bool found = false;
        for (size_t e = 0; nth_example(e) != NULL; e++) {
            found = found || strcmp(nth_example(e)->op, op_table[i]->name) == 0;
        }
        if (!found) {
            fail_msg("the op %s has no example", op_table[i]->name);
        }
    }
    for (size_t e = 0; nth_example(e) != NULL; e++) {
        assert_true(tolerance_of(nth_example(e)->op) > 0);
    }
}

int main(void)
{
    if (sizeof(real) != sizeof(double)) {
        printf("gradient checks need make DOUBLE=1\n");
        return 1;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_op_has_an_example),
        cmocka_unit_test(test_jacobians),
        cmocka_unit_test(test_second_use_adds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
