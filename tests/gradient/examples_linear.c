/* Examples of linear attention: both maps, chunk borders, encoders, the published stabiliser.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "tests/gradient/examples.h"

#include "base/check.h"

#define IN struct tape *tape, struct tensor *const *in

static struct tensor *run_with(struct tape *tape, struct tensor *const *in, size_t features,
                               const struct linear_attention *base)
{
    struct linear_attention spec = *base;
    size_t width = tensor_width(in[1]) / spec.heads;
    if (features > 0) {
        spec.projection = example_constant(tape, (size_t[]){features, width, 0}, 17);
    }
    return op_linear_attention(tape, in[0], in[1], &spec);
}

static struct tensor *run_softmax(IN)
{
    return run_with(tape, in, 5, &(struct linear_attention){.heads = 2});
}

/* Two borders, the last chunk of three steps. */
static struct tensor *run_chunks(IN)
{
    return run_with(tape, in, 3, &(struct linear_attention){.heads = 1, .scale = (real)0.6});
}

static struct tensor *run_encoder(IN)
{
    return run_with(tape, in, 4, &(struct linear_attention){.heads = 2, .encoder = true});
}

static struct tensor *run_relu(IN)
{
    return run_with(
        tape, in, 0,
        &(struct linear_attention){.heads = 2, .map = FEATURES_RELU, .feature_floor = (real)0.001});
}

static struct tensor *run_relu_projected(IN)
{
    return run_with(tape, in, 6,
                    &(struct linear_attention){.heads = 2,
                                               .map = FEATURES_RELU,
                                               .encoder = tensor_rows(in[1]) == 9,
                                               .feature_floor = (real)0.1,
                                               .denominator_floor = (real)0.01});
}

/* The maximum over all keys is a constant for the gradient but not for differences: where both
 * floors are as small as this the two agree within the tolerance. */
static struct tensor *run_published(IN)
{
    return run_with(tape, in, 4,
                    &(struct linear_attention){
                        .heads = 2, .feature_floor = (real)1e-9, .denominator_floor = (real)1e-9});
}

static struct tensor *run_head_norm(IN)
{
    return op_head_norm(tape, in[0], in[1], tensor_width(in[0]) / tensor_size(in[1]) / 2);
}

static const struct example examples[] = {
    {"linear_attention", "softmax", {{2, 7, 8}, {2, 7, 4}}, run_softmax},
    {"linear_attention", "chunk borders", {{1, 131, 2}, {1, 131, 1}}, run_chunks},
    {"linear_attention", "encoder", {{2, 6, 8}, {2, 6, 4}}, run_encoder},
    {"linear_attention", "encoder, chunk borders", {{1, 70, 4}, {1, 70, 2}}, run_encoder},
    {"linear_attention", "relu", {{2, 7, 12}, {2, 7, 6}}, run_relu},
    {"linear_attention", "relu, projected", {{2, 7, 8}, {2, 7, 4}}, run_relu_projected},
    {"linear_attention", "relu encoder", {{1, 9, 8}, {1, 9, 4}}, run_relu_projected},
    {"linear_attention", "published stabiliser", {{2, 5, 8}, {2, 5, 4}}, run_published},
    {"head_norm", "", {{2, 3, 12}, {2}}, run_head_norm},
    {"head_norm", "wide", {{3, 38}, {1}}, run_head_norm},
};

const struct example_family examples_linear = {examples, ARRAY_COUNT(examples)};
