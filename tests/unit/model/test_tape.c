/* The tape: measuring, exact sizes, keeping and rewinding, gradients that are shared and given
 * back. SPDX-License-Identifier: Apache-2.0
 */
#include "model/ops/ops.h"

#include "base/check.h"
#include "base/memory.h"

#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define WIDTH 8

struct net {
    struct params params;
    size_t w[4], bias;
    real *weights, *gradients;
};

static void net_open(struct net *net)
{
    struct error error = {0};
    assert_int_equal(params_init(&net->params, &error), STATUS_OK);
    for (size_t i = 0; i < ARRAY_COUNT(net->w); i++) {
        struct param_spec spec = {.shape = {WIDTH, WIDTH}, .init = PARAM_XAVIER, .decay = true};
        net->w[i] = params_add(&net->params, &spec, "w%zu", i);
    }
    net->bias = params_add(&net->params, &(struct param_spec){.shape = {WIDTH}}, "bias");
    net->weights = params_slab_new(&net->params);
    net->gradients = params_slab_new(&net->params);
    params_initialise(&net->params, net->weights, 3);
}

static void net_close(struct net *net)
{
    params_release(&net->params);
    mem_free(net->weights);
    mem_free(net->gradients);
}

/* A chain with residuals and a shared bias; scalar at the end. */
static struct tensor *net_loss(const struct net *net, struct tape *tape, size_t rows,
                               struct tensor **input)
{
    struct tensor *x = tape_input(tape, (size_t[]){rows, WIDTH, 0});
    struct tensor *c = tape_input(tape, (size_t[]){rows, WIDTH, 0});
    for (size_t i = 0; x->data != NULL && i < tensor_size(x); i++) {
        x->data[i] = (real)sin((double)i);
        c->data[i] = (real)cos((double)i);
    }
    if (input != NULL) {
        x->wants_grad = true;
        *input = x;
    }
    for (size_t i = 0; i < ARRAY_COUNT(net->w); i++) {
        size_t mark = tape_mark(tape);
        struct tensor *y =
            op_linear(tape, x, tape_param(tape, net->w[i]), tape_param(tape, net->bias));
        y = op_add(tape, x, op_dropout(tape, op_gelu(tape, y), 0.2));
        x = tape_keep(tape, mark, y);
    }
    return op_inner(tape, x, c);
}

static struct tape_size measured(const struct net *net, enum tape_mode mode, size_t rows)
{
    struct error error = {0};
    struct tape tape;
    assert_int_equal(tape_measure(&tape, mode, &net->params, &error), STATUS_OK);
    struct tensor *loss = net_loss(net, &tape, rows, NULL);
    assert_null(loss->data);
    if (mode == TAPE_TRAIN) {
        tape_backward(&tape, loss);
    }
    struct tape_size size = tape_size(&tape);
    tape_release(&tape);
    return size;
}

/* What is measured is what is used, to the byte, in both modes. */
static void test_measuring_is_exact(void **state)
{
    (void)state;
    struct net net;
    net_open(&net);
    for (size_t rows = 1; rows < 40; rows += 6) {
        for (int mode = TAPE_TRAIN; mode <= TAPE_INFER; mode++) {
            struct error error = {0};
            struct tape_size size = measured(&net, (enum tape_mode)mode, rows);
            struct tape tape;
            assert_int_equal(tape_init(&tape, &size, &error), STATUS_OK);
            tape_begin(&tape, (enum tape_mode)mode, &net.params, net.weights, net.gradients, 1, 1);
            struct tensor *loss = net_loss(&net, &tape, rows, NULL);
            if (mode == TAPE_TRAIN) {
                tape_backward(&tape, loss);
            }
            struct tape_size used = tape_size(&tape);
            assert_int_equal(used.value_bytes, size.value_bytes);
            assert_int_equal(used.gradient_bytes, size.gradient_bytes);
            assert_int_equal(used.nodes, size.nodes);
            tape_release(&tape);
        }
    }
    struct tape_size train = measured(&net, TAPE_TRAIN, 40);
    struct tape_size infer = measured(&net, TAPE_INFER, 40);
    assert_true(infer.value_bytes < train.value_bytes / 2);
    assert_int_equal(infer.gradient_bytes, 0);
    /* Gradients are given back: far less than one for each of the 13 tensors. */
    assert_true(train.gradient_bytes < 6 * 40 * WIDTH * sizeof(real));
    struct tape_size both = tape_size_max(train, infer);
    assert_int_equal(both.nodes, train.nodes);
    assert_int_equal(tape_size_bytes(&both),
                     both.value_bytes + both.gradient_bytes + both.nodes * sizeof(struct node));
    net_close(&net);
}

/* Two passes add up in the slab; dropout repeats with its seed and differs with another. */
static void test_gradients_add_in_the_slab(void **state)
{
    (void)state;
    struct net net;
    net_open(&net);
    struct error error = {0};
    struct tape_size size = measured(&net, TAPE_TRAIN, 10);
    struct tape tape;
    assert_int_equal(tape_init(&tape, &size, &error), STATUS_OK);
    real *once = params_slab_new(&net.params);
    real losses[3];
    for (int round = 0; round < 3; round++) {
        tape_begin(&tape, TAPE_TRAIN, &net.params, net.weights, net.gradients, 1, round == 2);
        struct tensor *loss = net_loss(&net, &tape, 10, NULL);
        losses[round] = loss->data[0];
        tape_backward(&tape, loss);
        if (round == 0) {
            memcpy(once, net.gradients, net.params.size * sizeof(real));
        } else if (round == 1) {
            for (size_t i = 0; i < net.params.size; i++) {
                assert_true(fabs((double)net.gradients[i] - 2 * (double)once[i]) <=
                            1e-5 * (1 + fabs((double)once[i])));
            }
        }
    }
    assert_true(losses[0] == losses[1]);
    assert_true(losses[0] != losses[2]);
    mem_free(once);
    tape_release(&tape);
    net_close(&net);
}

/* Without a gradient slab only inputs that ask get one; nothing that is not asked for is computed.
 */
static void test_only_what_is_wanted(void **state)
{
    (void)state;
    struct net net;
    net_open(&net);
    struct error error = {0};
    struct tape_size size = {1 << 20, 1 << 20, 64};
    struct tape tape;
    assert_int_equal(tape_init(&tape, &size, &error), STATUS_OK);
    tape_begin(&tape, TAPE_TRAIN, &net.params, net.weights, NULL, 1, 1);
    struct tensor *loss = net_loss(&net, &tape, 4, NULL);
    assert_int_equal(tape.node_count, 0);
    tape_backward(&tape, loss); /* nothing to do */

    tape_begin(&tape, TAPE_TRAIN, &net.params, net.weights, NULL, 1, 1);
    struct tensor *input;
    loss = net_loss(&net, &tape, 4, &input);
    assert_int_equal(tape.node_count, 4 * 4 + 1);
    tape_backward(&tape, loss);
    assert_true(tape_gradient(&tape, input)[0] != 0);
    struct tensor *unused = tape_input(&tape, (size_t[]){3, 0});
    unused->wants_grad = true;
    assert_true(tape_gradient(&tape, unused)[2] == 0);
    tape_release(&tape);
    net_close(&net);
}

/* keep moves a tensor to the mark with its values, also one that was reshaped or is older. */
static void test_keep_and_rewind(void **state)
{
    (void)state;
    struct net net;
    net_open(&net);
    struct error error = {0};
    struct tape_size size = {1 << 16, 0, 1};
    struct tape tape;
    assert_int_equal(tape_init(&tape, &size, &error), STATUS_OK);
    tape_begin(&tape, TAPE_INFER, &net.params, net.weights, NULL, 1, 1);
    struct tensor *old = tape_input(&tape, (size_t[]){5, 0});
    old->data[3] = 7;
    size_t mark = tape_mark(&tape);
    (void)tape_input(&tape, (size_t[]){100, 0});
    struct tensor *x = tape_input(&tape, (size_t[]){4, 6, 0});
    for (size_t i = 0; i < 24; i++) {
        x->data[i] = (real)i;
    }
    x = tape_keep(&tape, mark, op_reshape(&tape, x, (size_t[]){2, 12, 0}));
    assert_int_equal(x->shape[1], 12);
    assert_null(x->base);
    for (size_t i = 0; i < 24; i++) {
        assert_true(x->data[i] == (real)i);
    }
    size_t after = tape_mark(&tape);
    (void)tape_input(&tape, (size_t[]){100, 0});
    struct tensor *same = tape_keep(&tape, after, old);
    assert_ptr_equal(same->data, old->data);
    assert_true(same->data[3] == 7);
    tape_rewind(&tape, mark);
    assert_int_equal(tape_mark(&tape), mark);
    tape_release(&tape);
    net_close(&net);
}

struct lane {
    const struct net *net;
    struct tape tape;
    real *gradients;
};

static void *lane_run(void *argument)
{
    struct lane *lane = argument;
    for (int step = 0; step < 50; step++) {
        memset(lane->gradients, 0, lane->net->params.size * sizeof(real));
        tape_begin(&lane->tape, TAPE_TRAIN, &lane->net->params, lane->net->weights, lane->gradients,
                   1, 1);
        tape_backward(&lane->tape, net_loss(lane->net, &lane->tape, 37, NULL));
    }
    return NULL;
}

/* Two tapes share layout and weights; each finds the bits that one alone finds. */
static void test_lanes_share_weights(void **state)
{
    (void)state;
    struct net net;
    net_open(&net);
    struct error error = {0};
    struct tape_size size = measured(&net, TAPE_TRAIN, 37);
    struct lane lanes[3];
    pthread_t threads[2];
    for (int i = 0; i < 3; i++) {
        lanes[i] = (struct lane){.net = &net, .gradients = params_slab_new(&net.params)};
        assert_int_equal(tape_init(&lanes[i].tape, &size, &error), STATUS_OK);
    }
    for (int i = 0; i < 2; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, lane_run, &lanes[i]), 0);
    }
    for (int i = 0; i < 2; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
    (void)lane_run(&lanes[2]);
    for (int i = 0; i < 3; i++) {
        assert_memory_equal(lanes[i].gradients, lanes[2].gradients, net.params.size * sizeof(real));
    }
    for (int i = 0; i < 3; i++) {
        mem_free(lanes[i].gradients);
        tape_release(&lanes[i].tape);
    }
    net_close(&net);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_measuring_is_exact),
        cmocka_unit_test(test_gradients_add_in_the_slab),
        cmocka_unit_test(test_only_what_is_wanted),
        cmocka_unit_test(test_keep_and_rewind),
        cmocka_unit_test(test_lanes_share_weights),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
