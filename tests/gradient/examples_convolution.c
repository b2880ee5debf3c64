/* Examples of convolutions a channel and of batch normalization for the gradient check.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "tests/gradient/examples.h"

#include "base/check.h"

#include <math.h>

#define IN struct tape *tape, struct tensor *const *in

static struct tensor *run_causal(IN)
{
    size_t taps = in[1]->shape[1];
    return op_depthwise_conv(tape, in[0], in[1], in[2],
                             (struct convolution_place){.before = taps - 1});
}

static struct tensor *run_centred(IN)
{
    size_t taps = in[1]->shape[1];
    return op_depthwise_conv(tape, in[0], in[1], NULL,
                             (struct convolution_place){.before = (taps - 1) / 2});
}

static struct tensor *run_dynamic(IN)
{
    return op_dynamic_conv(tape, in[0], in[1], 2, (struct convolution_place){.before = 2});
}

/* One tap ahead, one group. */
static struct tensor *run_dynamic_ahead(IN)
{
    return op_dynamic_conv(tape, in[0], in[1], 1, (struct convolution_place){.before = 1});
}

/* Statistics are no variable of the loss: a constant. */
static struct tensor *statistics(struct tape *tape, size_t width)
{
    struct tensor *values = example_constant(tape, (size_t[]){2 * width + 1, 0}, 9);
    for (size_t i = width; i < 2 * width; i++) {
        values->data[i] = (real)0.4 + values->data[i] * values->data[i];
    }
    return values;
}

static struct tensor *run_batch_norm(IN)
{
    return op_batch_norm(tape, in[0], in[1], in[2], statistics(tape, tensor_width(in[0])), false);
}

static struct tensor *run_batch_norm_frozen(IN)
{
    return op_batch_norm(tape, in[0], in[1], in[2], statistics(tape, tensor_width(in[0])), true);
}

static const struct example examples[] = {
    {"depthwise_conv", "causal", {{2, 7, 5}, {5, 3}, {5}}, run_causal},
    {"depthwise_conv", "more taps than steps", {{2, 3, 4}, {4, 6}, {4}}, run_causal},
    {"depthwise_conv", "shared by groups", {{1, 9, 12}, {3, 4}, {12}}, run_causal},
    {"depthwise_conv", "one tap", {{2, 5, 4}, {4, 1}, {4}}, run_causal},
    {"depthwise_conv", "centred", {{2, 8, 5}, {5, 5}}, run_centred},
    {"dynamic_conv", "causal", {{2, 6, 6}, {2, 6, 6}}, run_dynamic},
    {"dynamic_conv", "more taps than steps", {{2, 2, 10}, {2, 2, 8}}, run_dynamic},
    {"dynamic_conv", "one tap ahead", {{1, 5, 9}, {1, 5, 3}}, run_dynamic_ahead},
    {"batch_norm", "of the batch", {{2, 4, 5}, {5}, {5}}, run_batch_norm},
    {"batch_norm", "frozen", {{2, 4, 5}, {5}, {5}}, run_batch_norm_frozen},
};

const struct example_family examples_convolution = {examples, ARRAY_COUNT(examples)};
