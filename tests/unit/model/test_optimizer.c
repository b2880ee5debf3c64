/* Tests of the optimizer and the lanes: AdamW against a plain loop, schedule, sums, barrier.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "base/memory.h"
#include "base/random.h"
#include "model/training/lanes.h"
#include "model/training/optimizer.h"
#include "tests/unit/model/model_test.h"

#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#define ROUNDS 10
#define MATRIX 12
#define BIAS   5
#define COUNT  (MATRIX + BIAS)

static struct params params;

static int setup(UNUSED void **state)
{
    struct error error = {0};
    assert_ok(params_init(&params, &error));
    struct param_spec matrix = {.shape = {3, 4, 0}, .init = PARAM_XAVIER, .decay = true};
    struct param_spec bias = {.shape = {BIAS, 0}, .init = PARAM_NORMAL, .gain = 0.1};
    (void)params_add(&params, &matrix, "matrix");
    (void)params_add(&params, &bias, "bias");
    return 0;
}

static int teardown(UNUSED void **state)
{
    params_release(&params);
    return 0;
}

static size_t place(size_t i)
{
    return i < MATRIX ? params.items[0].offset + i : params.items[1].offset + i - MATRIX;
}

static void follows_adamw(UNUSED void **state)
{
    struct error error = {0};
    struct optimizer_schedule schedule = {
        .rate = 0.01, .decay = 0.1, .beta2 = 0.99, .average = 0.5, .clip = 1.0};
    struct optimizer optimizer;
    assert_ok(optimizer_init(&optimizer, &params, &schedule, &error));
    real *weights = params_slab_new(&params);
    real *slabs[2] = {params_slab_new(&params), params_slab_new(&params)};
    params_initialise(&params, weights, 4);
    optimizer_start(&optimizer, weights);
    double w[COUNT], m[COUNT] = {0.0}, v[COUNT] = {0.0}, average[COUNT];
    for (size_t i = 0; i < COUNT; i++) {
        w[i] = average[i] = (double)weights[place(i)];
    }
    struct random random;
    random_init(&random, 8, 8);
    for (int step = 1; step <= ROUNDS; step++) {
        double g[COUNT];
        double square = 0.0;
        for (size_t i = 0; i < COUNT; i++) {
            slabs[0][place(i)] = (real)random_normal(&random);
            slabs[1][place(i)] = (real)random_normal(&random);
            g[i] = (double)(slabs[0][place(i)] + slabs[1][place(i)]);
            square += g[i] * g[i];
        }
        optimizer_gather(&optimizer, slabs, 2, 0, 1);
        optimizer_gather(&optimizer, slabs, 2, 1, 2);
        double norm = optimizer_norm(&optimizer);
        assert_close(norm, sqrt(square), 1e-5);
        optimizer_step(&optimizer, weights, slabs[0], norm, (uint64_t)step, 0.01, 0, 2);
        double factor = fmin(1.0, 1.0 / (sqrt(square) + 1e-6));
        double keep = fmin((1.0 + step) / (10.0 + step), 0.5);
        for (size_t i = 0; i < COUNT; i++) {
            double gradient = g[i] * factor;
            w[i] -= i < MATRIX ? 0.01 * 0.1 * w[i] : 0.0;
            m[i] = 0.9 * m[i] + 0.1 * gradient;
            v[i] = 0.99 * v[i] + 0.01 * gradient * gradient;
            w[i] -= 0.01 * (m[i] / (1.0 - pow(0.9, step))) /
                    (sqrt(v[i] / (1.0 - pow(0.99, step))) + 1e-8);
            average[i] += (1.0 - keep) * (w[i] - average[i]);
            assert_close((double)weights[place(i)], w[i], 2e-6);
            assert_close((double)optimizer.average[place(i)], average[i], 2e-6);
        }
    }
    mem_free(weights);
    mem_free(slabs[0]);
    mem_free(slabs[1]);
    optimizer_release(&optimizer);
}

/* Means begin at 0, variances at 1; a step moves them a tenth of the way to the mean of what its
 * tapes told, whatever the clipping, and the gradient's norm leaves them out. */
static void statistics_are_running_means(UNUSED void **state)
{
    struct error error = {0};
    struct params own;
    assert_ok(params_init(&own, &error));
    struct param_spec moments = {.shape = {5, 0}, .init = PARAM_MOMENTS, .statistic = true};
    (void)params_add(&own, &moments, "moments");
    assert_int_equal(own.trained, 0);
    struct optimizer_schedule schedule = {.rate = 0.1, .beta2 = 0.99, .average = 0.9, .clip = 0.5};
    struct optimizer optimizer;
    assert_ok(optimizer_init(&optimizer, &own, &schedule, &error));
    real *weights = params_slab_new(&own);
    real *slabs[2] = {params_slab_new(&own), params_slab_new(&own)};
    params_initialise(&own, weights, 4);
    static const real start[] = {0, 0, 1, 1, 0};
    assert_memory_equal(weights, start, sizeof(start));
    optimizer_start(&optimizer, weights);
    double expected[] = {0, 0, 1, 1};
    for (uint64_t step = 1; step <= ROUNDS; step++) {
        /* Two tapes in one slab, one in the other. */
        memcpy(slabs[0], (real[]){4, -2, 6, 1, 2}, sizeof(start));
        memcpy(slabs[1], (real[]){5, 8, 3, 2, 1}, sizeof(start));
        optimizer_gather(&optimizer, slabs, 2, 0, 1);
        double norm = optimizer_norm(&optimizer);
        assert_close(norm, 0, 0);
        optimizer_step(&optimizer, weights, slabs[0], norm, step, 0.1, 0, 1);
        static const double told[] = {3, 2, 3, 1};
        for (size_t i = 0; i < 4; i++) {
            expected[i] = 0.9 * expected[i] + 0.1 * told[i];
            assert_close((double)weights[i], expected[i], 1e-5);
        }
        assert_memory_equal(optimizer.average, weights, sizeof(start));
    }
    assert_close((double)weights[4], 0, 0);
    mem_free(weights);
    mem_free(slabs[0]);
    mem_free(slabs[1]);
    optimizer_release(&optimizer);
    params_release(&own);
}

static void warms_up_and_cools_down(UNUSED void **state)
{
    struct optimizer_schedule schedule = {.rate = 1.0, .warmup_share = 0.1, .warmup_steps = 50};
    assert_close(optimizer_rate(&schedule, 1, 0.0), 0.02, 1e-9);
    assert_close(optimizer_rate(&schedule, 10, 0.05), 0.5, 1e-9);
    assert_close(optimizer_rate(&schedule, 10, 0.1), 1.0, 1e-9);
    assert_close(optimizer_rate(&schedule, 900, 0.55), 0.505, 1e-9);
    assert_close(optimizer_rate(&schedule, 900, 1.0), 0.01, 1e-9);
}

struct relay {
    size_t turns[4];
    size_t order_kept;
};

static void take_turns(void *context, struct lanes *lanes, size_t lane)
{
    struct relay *relay = context;
    for (size_t round = 0; round < 200; round++) {
        relay->turns[lane] = round + 1;
        lanes_wait(lanes);
        size_t same = 0;
        for (size_t other = 0; other < lanes->count; other++) {
            same += relay->turns[other] == round + 1 ? 1 : 0;
        }
        lanes_wait(lanes);
        if (lane == 0) {
            relay->order_kept += same == lanes->count ? 1 : 0;
        }
    }
}

static void lanes_wait_for_each_other(UNUSED void **state)
{
    struct error error = {0};
    struct relay relay = {.order_kept = 0};
    struct lanes_job job = {
        .count = 3, .low_priority = true, .work = take_turns, .context = &relay};
    assert_ok(lanes_run(&job, &error));
    assert_int_equal(relay.order_kept, 200);
    assert_true(lanes_default() >= 1);
}

static void note_niceness(void *context, struct lanes *lanes, size_t lane)
{
    int *niceness = context;
    (void)lanes;
    niceness[lane] = getpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid));
}

static void lanes_step_back_where_they_are_told(UNUSED void **state)
{
    struct error error = {0};
    int own = getpriority(PRIO_PROCESS, 0), niceness[2];
    struct lanes_job job = {.count = 2, .work = note_niceness, .context = niceness};
    assert_ok(lanes_run(&job, &error));
    assert_true(niceness[0] == own && niceness[1] == own);
    job.low_priority = true;
    assert_ok(lanes_run(&job, &error));
    assert_true(niceness[0] == 19 && niceness[1] == 19);
    assert_int_equal(getpriority(PRIO_PROCESS, 0), own);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(follows_adamw),
        cmocka_unit_test(statistics_are_running_means),
        cmocka_unit_test(warms_up_and_cools_down),
        cmocka_unit_test(lanes_wait_for_each_other),
        cmocka_unit_test(lanes_step_back_where_they_are_told),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
