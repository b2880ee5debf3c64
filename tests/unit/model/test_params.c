/* Parameter slabs: layout, names, initial values.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "model/tape/params.h"

#include "base/check.h"
#include "base/memory.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static void test_layout_and_names(void **state)
{
    (void)state;
    struct error error = {0};
    struct params params;
    assert_int_equal(params_init(&params, &error), STATUS_OK);
    size_t a =
        params_add(&params, &(struct param_spec){.shape = {3, 5}, .decay = true}, "a.weight");
    size_t b = params_add(&params, &(struct param_spec){.shape = {7}}, "layer%d.bias", 2);
    assert_int_equal(a, 0);
    assert_int_equal(b, 1);
    assert_int_equal(params_find(&params, "layer2.bias"), b);
    assert_int_equal(params_find(&params, "layer3.bias"), SIZE_MAX);
    assert_int_equal(params.trained, 22);
    assert_int_equal(params.items[b].offset * sizeof(real) % 64, 0);
    assert_true(params.items[b].offset >= 15);
    assert_true(params.items[a].decay && !params.items[b].decay);
    assert_int_equal(params.items[a].axes, 2);
    char name[PARAM_NAME_MAX];
    assert_string_equal(param_name(name, "layer1", "feed"), "layer1.feed");
    params_release(&params);
    params_release(&params);
}

static void test_initial_values(void **state)
{
    (void)state;
    struct error error = {0};
    struct params params;
    assert_int_equal(params_init(&params, &error), STATUS_OK);
    const struct param_spec specs[] = {
        {.shape = {40, 30}, .init = PARAM_XAVIER},
        {.shape = {2000}, .init = PARAM_NORMAL, .gain = 0.5},
        {.shape = {5}, .init = PARAM_ONE},
        {.shape = {5}, .init = PARAM_CONSTANT, .gain = -2},
        {.shape = {5}, .init = PARAM_ZERO},
    };
    for (size_t i = 0; i < ARRAY_COUNT(specs); i++) {
        (void)params_add(&params, &specs[i], "p%zu", i);
    }
    real *slab = params_slab_new(&params);
    params_initialise(&params, slab, 9);
    const real *xavier = slab + params.items[0].offset;
    double bound = sqrt(6.0 / 70);
    double largest = 0;
    for (size_t i = 0; i < 1200; i++) {
        largest = fmax(largest, fabs((double)xavier[i]));
    }
    assert_true(largest <= bound && largest > 0.98 * bound);
    const real *normal = slab + params.items[1].offset;
    double squares = 0;
    for (size_t i = 0; i < 2000; i++) {
        squares += (double)normal[i] * (double)normal[i];
    }
    assert_true(fabs(sqrt(squares / 2000) - 0.5) < 0.03);
    assert_true(slab[params.items[2].offset + 4] == 1);
    assert_true(slab[params.items[2].offset + 5] == 0); /* the gap */
    assert_true(slab[params.items[3].offset] == -2);
    assert_true(slab[params.items[4].offset] == 0);

    /* A parameter's values depend on seed and name only. */
    struct params fewer;
    assert_int_equal(params_init(&fewer, &error), STATUS_OK);
    (void)params_add(&fewer, &specs[1], "p1");
    real *other = params_slab_new(&fewer);
    params_initialise(&fewer, other, 9);
    assert_memory_equal(other, normal, 2000 * sizeof(real));
    params_initialise(&fewer, other, 10);
    assert_memory_not_equal(other, normal, 2000 * sizeof(real));
    mem_free(slab);
    mem_free(other);
    params_release(&params);
    params_release(&fewer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_layout_and_names),
        cmocka_unit_test(test_initial_values),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
