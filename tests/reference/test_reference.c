/* Every op against plain loops in double precision, on random shapes, at every level of kernels.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A new op needs a reference here; without one this fails. Attention is compared both ways.
 */
#include "tests/reference/trial.h"

#include "base/check.h"
#include "base/memory.h"
#include "model/ops/kernels.h"
#include "tests/watched.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define ROUNDS 25

size_t trial_some(struct trial *t, size_t most)
{
    return 1 + (size_t)random_below(&t->random, most);
}

struct tensor *trial_draw(struct trial *t, size_t a, size_t b, size_t c)
{
    struct tensor *x = tape_input(&t->tape, (size_t[]){a, b, c, 0});
    for (size_t i = 0; i < tensor_size(x); i++) {
        x->data[i] = (real)random_normal(&t->random);
    }
    x->wants_grad = true;
    return x;
}

void trial_compare_values(struct trial *t, const real *values, size_t n, const char *what)
{
    double largest = 1;
    for (size_t i = 0; i < n; i++) {
        largest = fmax(largest, fabs(t->expected[i]));
    }
    for (size_t i = 0; i < n; i++) {
        if (!(fabs((double)values[i] - t->expected[i]) <= 1e-5 * largest)) {
            fail_msg("%s, %s [%zu of %zu]: %.9g instead of %.9g", t->op, what, i, n,
                     (double)values[i], t->expected[i]);
        }
    }
}

void trial_compare(struct trial *t, const struct tensor *y)
{
    trial_compare_values(t, y->data, tensor_size(y), "forward");
}

/* ---------------------------------------------------------------- all */

static const struct reference_family *const families[] = {
    &references_basic,
    &references_linformer,
    &references_span,
    &references_linear,
    &references_longformer,
    &references_basic,
    &references_linformer,
    &references_span,
    &references_linear,
    &references_lsh,
    &references_attention_relative,
    &references_convolution,
};

/* The n-th reference of all families, or NULL behind the last. */
static const struct reference *nth_reference(size_t n)
{
    for (size_t f = 0; f < ARRAY_COUNT(families); f++) {
        if (n < families[f]->count) {
            return &families[f]->references[n];
        }
        n -= families[f]->count;
    }
    return NULL;
}

static void run_rounds(struct trial *trial, const struct reference *reference, size_t index)
{
    static const struct params none;
    for (uint64_t round = 0; round < ROUNDS; round++) {
        tape_begin(&trial->tape, TAPE_TRAIN, &none, NULL, NULL, 1, round);
        random_init(&trial->random, index, round);
        trial->op = reference->op;
        reference->check(trial);
    }
}

static void test_every_op_equals_its_loops(void **state)
{
    (void)state;
    static struct trial trial;
    struct error error = {0};
    struct tape_size size = {64 << 20, 64 << 20, 64};
    assert_int_equal(tape_init(&trial.tape, &size, &error), STATUS_OK);
    trial.expected = mem_zeroed(1 << 18, sizeof(double));
    for (size_t i = 0; i < op_count; i++) {
        bool found = false;
        for (size_t n = 0; nth_reference(n) != NULL; n++) {
            if (strcmp(nth_reference(n)->op, op_table[i]->name) == 0) {
                run_rounds(&trial, nth_reference(n), i);
                found = true;
            }
        }
        if (!found) {
            fail_msg("the op %s has no reference", op_table[i]->name);
        }
    }
    mem_free(trial.expected);
    tape_release(&trial.tape);
}

/* kernels() chooses once, so each level gets a process of its own. */
int main(void)
{
    int failed = 0;
    for (size_t i = 0; kernels_level(i) != NULL; i++) {
        (void)fflush(stdout);
        pid_t child = fork();
        if (child == 0) {
            (void)setenv("FORECASTD_KERNEL", kernels_level(i)->level, 1);
            printf("kernels: %s\n", kernels()->level);
            const struct CMUnitTest tests[] = {cmocka_unit_test(test_every_op_equals_its_loops)};
            int result = cmocka_run_group_tests(tests, NULL, NULL);
            (void)fflush(stdout);
            watched_exit(result);
        }
        int status = 1;
        CHECK(waitpid(child, &status, 0) == child);
        failed += status != 0;
    }
    return failed;
}
