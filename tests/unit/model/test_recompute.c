/* Blocks that run again on the way back: the same values and gradients as kept ones, exact
 * reconstruction, memory constant in depth. SPDX-License-Identifier: Apache-2.0
 */
#include "model/ops/ops.h"
#include "model/tape/recompute.h"

#include "base/check.h"
#include "base/memory.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define WIDTH       8
#define LAYERS_MOST 16
#define ROWS        21
#define SIZE        ((size_t)ROWS * WIDTH)

enum way { KEPT, REVERSIBLE, NESTED };

struct net {
    struct params params;
    size_t gain[2 * LAYERS_MOST], shift[2 * LAYERS_MOST], w[2 * LAYERS_MOST];
    real *weights, *gradients;
    double dropout;
    size_t layers, rows; /* of a block at once, 0 = all */
    /* What each run of f and g was given on the way forward; on the way back it must be the same.
     */
    bool watched;
    real *seen[2 * LAYERS_MOST];
    size_t replayed;
    double worst;
};

static void net_open(struct net *net, size_t layers)
{
    struct error error = {0};
    *net = (struct net){.dropout = 0.2, .layers = layers};
    assert_int_equal(params_init(&net->params, &error), STATUS_OK);
    for (size_t i = 0; i < 2 * layers; i++) {
        net->gain[i] = params_add(
            &net->params, &(struct param_spec){.shape = {WIDTH}, .init = PARAM_ONE}, "gain%zu", i);
        net->shift[i] =
            params_add(&net->params, &(struct param_spec){.shape = {WIDTH}}, "shift%zu", i);
        struct param_spec spec = {.shape = {WIDTH, WIDTH}, .init = PARAM_XAVIER, .gain = 2};
        net->w[i] = params_add(&net->params, &spec, "w%zu", i);
    }
    net->weights = params_slab_new(&net->params);
    net->gradients = params_slab_new(&net->params);
    params_initialise(&net->params, net->weights, 3);
}

static void net_close(struct net *net)
{
    for (size_t i = 0; i < 2 * LAYERS_MOST; i++) {
        mem_free(net->seen[i]);
    }
    params_release(&net->params);
    mem_free(net->weights);
    mem_free(net->gradients);
}

/* The first run of a block notes its input, the second one (on the way back) is compared. */
static void watch(struct net *net, size_t number, const struct tensor *x)
{
    if (!net->watched || x->data == NULL) {
        return;
    }
    if (net->seen[number] == NULL) {
        net->seen[number] = mem_alloc_aligned(SIZE * sizeof(real));
        memcpy(net->seen[number], x->data, SIZE * sizeof(real));
        return;
    }
    net->replayed++;
    for (size_t i = 0; i < SIZE; i++) {
        net->worst = fmax(net->worst, fabs((double)(x->data[i] - net->seen[number][i])));
    }
}

static struct tensor *part(const struct net *net, size_t number, struct tape *tape,
                           struct tensor *x)
{
    struct tensor *y = op_layer_norm(tape, x, tape_param(tape, net->gain[number]),
                                     tape_param(tape, net->shift[number]));
    y = op_linear(tape, y, tape_param(tape, net->w[number]), NULL);
    return op_dropout(tape, op_gelu(tape, y), net->dropout);
}

static struct tensor *run_f(const void *self, size_t index, struct tape *tape, struct tensor *x)
{
    watch((struct net *)(uintptr_t)self, 2 * index, x);
    return part(self, 2 * index, tape, x);
}

static struct tensor *run_g(const void *self, size_t index, struct tape *tape, struct tensor *x)
{
    watch((struct net *)(uintptr_t)self, 2 * index + 1, x);
    return part(self, 2 * index + 1, tape, x);
}

/* g inside a block of its own: recomputed while being recomputed. */
static struct tensor *run_nested(const void *self, size_t index, struct tape *tape,
                                 struct tensor *x)
{
    struct tape_block block = {run_g, self, 4};
    return tape_recompute(tape, &block, index, x);
}

static struct tensor *stack(const struct net *net, struct tape *tape, struct tensor *x,
                            enum way way)
{
    if (way != KEPT) {
        struct tape_reversible layers = {
            .f = {run_f, net, net->rows},
            .g = {way == NESTED ? run_nested : run_g, net, net->rows},
            .layers = net->layers,
        };
        return tape_reversible(tape, &layers, x);
    }
    struct tensor *x1 = x;
    struct tensor *x2 = x;
    for (size_t i = 0; i < net->layers; i++) {
        x1 = op_add(tape, x1, part(net, 2 * i, tape, x2));
        x2 = op_add(tape, x2, part(net, 2 * i + 1, tape, x1));
    }
    return op_scale(tape, op_add(tape, x1, x2), (real)0.5);
}

/* A scalar of the stack's output, with ops before and after. */
static struct tensor *loss_of(const struct net *net, struct tape *tape, enum way way,
                              struct tensor **input)
{
    struct tensor *x = tape_input(tape, (size_t[]){ROWS, WIDTH, 0});
    struct tensor *c = tape_input(tape, (size_t[]){ROWS, WIDTH, 0});
    for (size_t i = 0; x->data != NULL && i < SIZE; i++) {
        x->data[i] = (real)sin(1.7 * (double)i);
        c->data[i] = (real)cos((double)i);
    }
    x->wants_grad = true;
    *input = x;
    struct tensor *y = stack(net, tape, op_scale(tape, x, 2), way);
    return op_inner(tape, op_tanh(tape, y), c);
}

static struct tape_size measured(const struct net *net, enum way way)
{
    struct error error = {0};
    struct tape tape;
    struct tensor *input;
    assert_int_equal(tape_measure(&tape, TAPE_TRAIN, &net->params, &error), STATUS_OK);
    tape_backward(&tape, loss_of(net, &tape, way, &input));
    struct tape_size size = tape_size(&tape);
    tape_release(&tape);
    return size;
}

/* Loss, the weights' gradients (in net->gradients) and the input's, on a tape of exactly the
 * measured size. */
static double run(struct net *net, enum way way, real d_input[SIZE])
{
    struct error error = {0};
    struct tape tape;
    struct tensor *input;
    struct tape_size size = measured(net, way);
    assert_int_equal(tape_init(&tape, &size, &error), STATUS_OK);
    memset(net->gradients, 0, net->params.size * sizeof(real));
    tape_begin(&tape, TAPE_TRAIN, &net->params, net->weights, net->gradients, 1, 1);
    struct tensor *loss = loss_of(net, &tape, way, &input);
    double value = (double)loss->data[0];
    tape_backward(&tape, loss);
    memcpy(d_input, tape_gradient(&tape, input), SIZE * sizeof(real));
    struct tape_size used = tape_size(&tape);
    assert_int_equal(used.value_bytes, size.value_bytes);
    assert_int_equal(used.gradient_bytes, size.gradient_bytes);
    assert_int_equal(used.nodes, size.nodes);
    tape_release(&tape);
    return value;
}

static void compare(const real *a, const real *b, size_t n)
{
    double largest = 0;
    for (size_t i = 0; i < n; i++) {
        largest = fmax(largest, fabs((double)a[i]));
    }
    for (size_t i = 0; i < n; i++) {
        /* sums in another order: a few hundred roundings of a float */
        assert_true(fabs((double)(a[i] - b[i])) <= 1e-5 * largest);
    }
}

/* The same loss and gradients as a stack that keeps everything, dropout masks included, whole or in
 * parts; and no byte more than measured. */
static void test_equals_kept(void **state)
{
    (void)state;
    for (size_t layers = 1; layers <= 4; layers++) {
        struct net net;
        net_open(&net, layers);
        real kept_input[SIZE], input[SIZE];
        double kept_loss = run(&net, KEPT, kept_input);
        real *kept = params_slab_new(&net.params);
        memcpy(kept, net.gradients, net.params.size * sizeof(real));
        double loss = run(&net, REVERSIBLE, input);
        assert_true(fabs(loss - kept_loss) <= 1e-5 * fabs(kept_loss));
        compare(kept, net.gradients, net.params.size);
        compare(kept_input, input, SIZE);
        mem_free(kept);
        net_close(&net);
    }
}

/* In parts, and nested: without dropout (whose draws would be of other rows) the same again. */
static void test_parts_and_nesting(void **state)
{
    (void)state;
    static const size_t rows[] = {1, 4, 7, 20, 21, 100};
    struct net net;
    net_open(&net, 3);
    net.dropout = 0;
    real whole_input[SIZE], input[SIZE];
    double whole_loss = run(&net, KEPT, whole_input);
    real *whole = params_slab_new(&net.params);
    memcpy(whole, net.gradients, net.params.size * sizeof(real));
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        for (enum way way = REVERSIBLE; way <= NESTED; way++) {
            net.rows = rows[i];
            double loss = run(&net, way, input);
            assert_true(fabs(loss - whole_loss) <= 1e-5 * fabs(whole_loss));
            compare(whole, net.gradients, net.params.size);
            compare(whole_input, input, SIZE);
        }
    }
    mem_free(whole);
    net_close(&net);
}

/* With dropout, in parts and nested: the masks of the way back are those of the way forward, which
 * differences of the loss along a direction show. */
static void test_masks_replay(void **state)
{
    (void)state;
    for (enum way way = REVERSIBLE; way <= NESTED; way++) {
        struct net net;
        net_open(&net, 2);
        net.rows = 5;
        real input[SIZE];
        const double step = sizeof(real) == 8 ? 1e-6 : 2e-3;
        (void)run(&net, way, input);
        real *gradient = params_slab_new(&net.params);
        memcpy(gradient, net.gradients, net.params.size * sizeof(real));
        double slope = 0;
        for (size_t i = 0; i < net.params.size; i++) {
            slope += sin((double)i) * (double)gradient[i];
            net.weights[i] += (real)(step * sin((double)i));
        }
        double high = run(&net, way, input);
        for (size_t i = 0; i < net.params.size; i++) {
            net.weights[i] -= (real)(2 * step * sin((double)i));
        }
        double low = run(&net, way, input);
        double by_differences = (high - low) / (2 * step);
        /* float: the loss has 24 bits, so the difference about 1e-3 of the slope */
        assert_true(fabs(by_differences - slope) <=
                    (sizeof(real) == 8 ? 1e-7 : 5e-3) * (1 + fabs(slope)));
        mem_free(gradient);
        net_close(&net);
    }
}

/* Each block gets on the way back what it got on the way forward. The promise of other
 * implementations is 1e-5 up to 12 layers and more with depth; here it is every bit. */
static void test_reconstruction(void **state)
{
    (void)state;
    static const size_t depths[] = {2, 4, 8, 12, 16};
    for (size_t i = 0; i < ARRAY_COUNT(depths); i++) {
        struct net net;
        real input[SIZE];
        net_open(&net, depths[i]);
        net.watched = true;
        (void)run(&net, REVERSIBLE, input);
        assert_int_equal(net.replayed, 2 * depths[i]);
        assert_true(net.worst == 0);
        net_close(&net);
    }
}

/* Memory does not grow with depth but by the random states (64 bytes a layer). */
static void test_memory_is_constant_in_depth(void **state)
{
    (void)state;
    struct tape_size first = {0};
    for (size_t layers = 2; layers <= LAYERS_MOST; layers *= 2) {
        struct net net;
        net_open(&net, layers);
        struct tape_size size = measured(&net, REVERSIBLE);
        struct tape_size kept = measured(&net, KEPT);
        if (layers == 2) {
            first = size;
        }
        assert_int_equal(size.value_bytes,
                         first.value_bytes + (layers - 2) * 2 * sizeof(struct random));
        assert_int_equal(size.gradient_bytes, first.gradient_bytes);
        assert_int_equal(size.nodes, first.nodes);
        assert_true(layers < 4 || kept.value_bytes > size.value_bytes);
        net_close(&net);
    }
}

/* Serving runs the same way: the same bits, and less memory. */
static void test_infer_equals_train(void **state)
{
    (void)state;
    struct net net;
    net_open(&net, 3);
    net.dropout = 0;
    struct error error = {0};
    struct tape tape;
    struct tensor *input;
    struct tape_size size = measured(&net, REVERSIBLE);
    assert_int_equal(tape_init(&tape, &size, &error), STATUS_OK);
    tape_begin(&tape, TAPE_TRAIN, &net.params, net.weights, net.gradients, 1, 1);
    real trained = loss_of(&net, &tape, REVERSIBLE, &input)->data[0];
    tape_begin(&tape, TAPE_INFER, &net.params, net.weights, NULL, 1, 1);
    real inferred = loss_of(&net, &tape, REVERSIBLE, &input)->data[0];
    assert_true(trained == inferred);
    assert_int_equal(tape.node_count, 0);
    tape_release(&tape);
    net_close(&net);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_equals_kept),
        cmocka_unit_test(test_parts_and_nesting),
        cmocka_unit_test(test_masks_replay),
        cmocka_unit_test(test_reconstruction),
        cmocka_unit_test(test_memory_is_constant_in_depth),
        cmocka_unit_test(test_infer_equals_train),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
