/* Examples of the basic ops. Values are drawn away from kinks: no input is closer than 0.05 to
 * zero. SPDX-License-Identifier: Apache-2.0
 */
#include "tests/gradient/examples.h"

#include "base/check.h"
#include "base/random.h"

#define IN struct tape *tape, struct tensor *const *in

struct tensor *example_constant(struct tape *tape, const size_t *shape, uint64_t stream)
{
    struct tensor *tensor = tape_input(tape, shape);
    struct random random;
    random_init(&random, 99, stream);
    for (size_t i = 0; i < tensor_size(tensor); i++) {
        tensor->data[i] = (real)random_normal(&random);
    }
    return tensor;
}

static struct tensor *run_add(IN)
{
    return op_add(tape, in[0], in[1]);
}

static struct tensor *run_scale(IN)
{
    return op_scale(tape, in[0], (real)-1.75);
}

static struct tensor *run_expand(IN)
{
    return op_expand(tape, in[0], 3);
}

static struct tensor *run_inner(IN)
{
    return op_inner(tape, in[0], example_constant(tape, (size_t[]){3, 4, 0}, 1));
}

static struct tensor *run_linear(IN)
{
    return op_linear(tape, in[0], in[1], in[2]);
}

static struct tensor *run_linear_plain(IN)
{
    return op_linear(tape, in[0], in[1], NULL);
}

static struct tensor *run_causal_conv(IN)
{
    return op_causal_conv(tape, in[0], in[1], in[2], NULL);
}

static struct tensor *run_layer_norm(IN)
{
    return op_layer_norm(tape, in[0], in[1], in[2]);
}

static struct tensor *run_softmax(IN)
{
    return op_softmax(tape, in[0]);
}

static struct tensor *run_gelu(IN)
{
    return op_gelu(tape, in[0]);
}

static struct tensor *run_gelu_exact(IN)
{
    return op_gelu_exact(tape, in[0]);
}

static struct tensor *run_relu(IN)
{
    return op_relu(tape, in[0]);
}

static struct tensor *run_swish(IN)
{
    return op_swish(tape, in[0]);
}

static struct tensor *run_tanh(IN)
{
    return op_tanh(tape, in[0]);
}

static struct tensor *run_softplus(IN)
{
    return op_softplus(tape, in[0], (real)0.1);
}

static struct tensor *run_glu(IN)
{
    return op_glu(tape, in[0]);
}

static struct tensor *run_mix(IN)
{
    return op_mix(tape, in[0], in[1]);
}

static struct tensor *run_dropout(IN)
{
    return op_dropout(tape, in[0], 0.4);
}

static struct tensor *run_concat(IN)
{
    return op_concat(tape, in[0], in[1]);
}

static struct tensor *run_slice(IN)
{
    return op_slice(tape, in[0], 1, 3);
}

static struct tensor *run_slice_reshaped(IN)
{
    return op_slice(tape, op_reshape(tape, in[0], (size_t[]){5, 6, 0}), 2, 3);
}

static struct tensor *run_slice_time(IN)
{
    return op_slice_time(tape, in[0], 1, 2);
}

static struct tensor *run_add_table(IN)
{
    return op_add_table(tape, in[0], in[1], 1);
}

static struct tensor *run_embed(IN)
{
    static const uint32_t ids[4] = {2, 0, 2, 1};
    return op_embed(tape, in[0], ids, 4);
}

static struct tensor *run_attention_dense(IN)
{
    static struct pattern pattern;
    pattern = pattern_dense(in[0]->shape[1]);
    return op_attention(tape, in[0], in[1], &(struct attention){.heads = 2, .pattern = &pattern});
}

static struct tensor *run_attention_full(IN)
{
    static struct pattern pattern;
    static const uint8_t valid[] = {1, 1, 0, 1, 1, 0, 1, 1, 1, 1};
    pattern = pattern_full(in[0]->shape[1]);
    return op_attention(
        tape, in[0], in[1],
        &(struct attention){
            .heads = 1, .scale = (real)0.7, .pattern = &pattern, .key_valid = valid});
}

/* Offsets that are nearly dense take the dense kernel with a bias by distance. */
static struct tensor *run_attention_bias(IN)
{
    static const uint32_t offsets[] = {0, 1, 2, 4};
    static struct pattern pattern = {.kind = PATTERN_OFFSETS, .length = 6, .offset_count = 4};
    pattern.offsets = (uint32_t *)(uintptr_t)offsets;
    CHECK(pattern_prefers_dense(&pattern, in[0]->shape[1]));
    return op_attention(tape, in[0], in[1],
                        &(struct attention){.heads = 2, .pattern = &pattern, .bias = in[2]});
}

static struct tensor *run_attention_sparse(IN)
{
    static const uint32_t offsets[] = {0, 1, 5, 11};
    static struct pattern pattern = {.kind = PATTERN_OFFSETS, .length = 24, .offset_count = 4};
    static uint8_t valid[24];
    for (size_t i = 0; i < 24; i++) {
        valid[i] = i != 0 && i != 7; /* the first query sees nothing at all */
    }
    pattern.offsets = (uint32_t *)(uintptr_t)offsets;
    CHECK(!pattern_prefers_dense(&pattern, in[0]->shape[1]));
    return op_attention(tape, in[0], in[1],
                        &(struct attention){.heads = 2,
                                            .pattern = &pattern,
                                            .bias = in[2],
                                            .key_valid = in[0]->shape[0] == 1 ? valid : NULL});
}

static struct tensor *run_attention_rows(IN)
{
    static const uint32_t row_start[] = {0, 1, 3, 4, 6, 9};
    static const uint32_t keys[] = {0, 0, 1, 2, 1, 3, 0, 2, 4};
    static struct pattern pattern = {.kind = PATTERN_ROWS, .length = 5};
    pattern.row_start = (uint32_t *)(uintptr_t)row_start;
    pattern.keys = (uint32_t *)(uintptr_t)keys;
    return op_attention(tape, in[0], in[1], &(struct attention){.heads = 2, .pattern = &pattern});
}

static struct tensor *weights(struct tape *tape, size_t count)
{
    struct tensor *weight = example_constant(tape, (size_t[]){count, 0}, 7);
    weight->data[1] = 0;
    return weight;
}

static struct tensor *targets(struct tape *tape, size_t count)
{
    struct tensor *target = example_constant(tape, (size_t[]){count, 0}, 8);
    target->data[1] = (real)__builtin_nan(""); /* its weight is 0 */
    return target;
}

static struct tensor *run_pinball(IN)
{
    static const real levels[] = {(real)0.1, (real)0.5, (real)0.9};
    return op_pinball(tape, in[0], targets(tape, 6), weights(tape, 6), levels, (real)0.3);
}

static struct tensor *run_gaussian_nll(IN)
{
    return op_gaussian_nll(tape, in[0], targets(tape, 5), weights(tape, 5), (real)0.3);
}

static struct tensor *run_student_nll(IN)
{
    return op_student_nll(tape, in[0], targets(tape, 5), weights(tape, 5), (real)0.3);
}

static const struct example examples[] = {
    {"add", "", {{2, 3, 4}, {2, 3, 4}}, run_add},
    {"scale", "", {{3, 5}}, run_scale},
    {"expand", "", {{2, 3}}, run_expand},
    {"inner", "", {{3, 4}}, run_inner},
    {"mix", "", {{2, 3, 5}, {3, 5}}, run_mix},
    {"linear", "bias", {{2, 3, 4}, {5, 4}, {5}}, run_linear},
    {"linear", "no bias", {{3, 4}, {2, 4}}, run_linear_plain},
    {"causal_conv", "kernel 3", {{2, 5, 3}, {4, 3, 3}, {4}}, run_causal_conv},
    {"causal_conv", "kernel 1", {{2, 3, 3}, {4, 1, 3}, {4}}, run_causal_conv},
    {"causal_conv", "longer than the series", {{1, 3, 2}, {2, 5, 2}, {2}}, run_causal_conv},
    {"layer_norm", "", {{2, 3, 5}, {5}, {5}}, run_layer_norm},
    {"layer_norm", "wide", {{2, 21}, {21}, {21}}, run_layer_norm},
    {"softmax", "", {{4, 19}}, run_softmax},
    {"gelu", "", {{3, 19}}, run_gelu},
    {"gelu_exact", "", {{3, 7}}, run_gelu_exact},
    {"relu", "", {{3, 7}}, run_relu},
    {"swish", "", {{3, 7}}, run_swish},
    {"tanh", "", {{3, 7}}, run_tanh},
    {"softplus", "", {{3, 7}}, run_softplus},
    {"glu", "", {{3, 8}}, run_glu},
    {"dropout", "", {{4, 9}}, run_dropout},
    {"concat", "", {{2, 2, 3}, {2, 2, 4}}, run_concat},
    {"slice", "", {{2, 3, 5}}, run_slice},
    {"slice", "of a reshape", {{2, 3, 5}}, run_slice_reshaped},
    {"slice_time", "", {{2, 4, 3}}, run_slice_time},
    {"add_table", "", {{2, 3, 4}, {5, 4}}, run_add_table},
    {"embed", "", {{4, 3}}, run_embed},
    {"attention", "dense, h 2", {{2, 7, 8}, {2, 7, 4}}, run_attention_dense},
    {"attention", "dense, h 8", {{1, 11, 32}, {1, 11, 16}}, run_attention_dense},
    {"attention", "full, invalid keys", {{2, 5, 6}, {2, 5, 3}}, run_attention_full},
    {"attention", "offsets, biases", {{1, 6, 8}, {1, 6, 4}, {2, 4}}, run_attention_bias},
    {"attention_sparse", "biases", {{2, 19, 12}, {2, 19, 6}, {2, 4}}, run_attention_sparse},
    {"attention_sparse", "invalid keys", {{1, 24, 4}, {1, 24, 2}, {2, 4}}, run_attention_sparse},
    {"attention_rows", "", {{2, 5, 8}, {2, 5, 4}}, run_attention_rows},
    {"pinball", "", {{6, 3}}, run_pinball},
    {"gaussian_nll", "", {{5, 2}}, run_gaussian_nll},
    {"student_nll", "", {{5, 3}}, run_student_nll},
};

const struct example_family examples_basic = {examples, ARRAY_COUNT(examples)};
