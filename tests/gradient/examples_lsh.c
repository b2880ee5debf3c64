/* Examples of hashed attention. The step of the differences is too small to change a bucket.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "tests/gradient/examples.h"

#include "base/check.h"

#define IN struct tape *tape, struct tensor *const *in

static struct tensor *run_causal(IN)
{
    struct lsh lsh = {.heads = 2, .rounds = 2, .buckets = 4, .window = 3, .local = 2};
    lsh.rotations = example_constant(tape, (size_t[]){3, 3, 2, 0}, 1); /* one round is left over */
    return op_lsh_causal(tape, in[0], in[1], &lsh);
}

static struct tensor *run_causal_rms(IN)
{
    struct lsh lsh = {.heads = 1, .rounds = 1, .buckets = 6, .window = 2, .rms = true};
    lsh.rotations = example_constant(tape, (size_t[]){5, 1, 3, 0}, 2);
    return op_lsh_causal(tape, in[0], in[1], &lsh); /* no local keys: some see only themselves */
}

static struct tensor *run_causal_one_bucket(IN)
{
    struct lsh lsh = {.heads = 2, .rounds = 3, .buckets = 1, .window = 20, .local = 3};
    return op_lsh_causal(tape, in[0], in[1], &lsh);
}

static struct tensor *run_chunked(IN)
{
    struct lsh lsh = {.heads = 2, .rounds = 2, .buckets = 4, .chunk = 3, .masked = true};
    lsh.rotations = example_constant(tape, (size_t[]){2, 3, 2, 2, 0}, 3); /* one for each head */
    return op_lsh_chunked(tape, in[0], in[1], &lsh);
}

static struct tensor *run_chunked_open(IN)
{
    struct lsh lsh = {.heads = 1, .rounds = 2, .buckets = 2, .chunk = 4, .scale = (real)0.8};
    lsh.rotations = example_constant(tape, (size_t[]){4, 2, 1, 0}, 4);
    return op_lsh_chunked(tape, in[0], in[1], &lsh);
}

static struct tensor *run_chunked_within(IN)
{
    struct lsh lsh = {.heads = 2, .rounds = 3, .buckets = 4, .chunk = 5, .masked = true};
    lsh.within = true;
    lsh.unique = true;
    lsh.rms = true;
    lsh.rotations = example_constant(tape, (size_t[]){3, 3, 2, 0}, 5);
    return op_lsh_chunked(tape, in[0], in[1], &lsh);
}

static struct tensor *run_chunked_unique(IN)
{
    struct lsh lsh = {.heads = 1, .rounds = 3, .buckets = 2, .chunk = 4, .unique = true};
    lsh.rotations = example_constant(tape, (size_t[]){3, 3, 1, 0}, 6);
    return op_lsh_chunked(tape, in[0], in[1], &lsh);
}

static const struct example examples[] = {
    {"lsh_causal", "two heads", {{2, 13, 6}, {2, 13, 6}}, run_causal},
    {"lsh_causal", "rms, no local keys", {{1, 19, 5}, {1, 19, 5}}, run_causal_rms},
    {"lsh_causal", "one bucket", {{1, 11, 6}, {1, 11, 6}}, run_causal_one_bucket},
    {"lsh_causal", "one token", {{2, 1, 6}, {2, 1, 6}}, run_causal},
    {"lsh_chunked", "masked", {{2, 12, 6}, {2, 12, 6}}, run_chunked},
    {"lsh_chunked", "the future too", {{1, 13, 4}, {1, 13, 4}}, run_chunked_open},
    {"lsh_chunked", "within buckets, unique, rms", {{1, 14, 6}, {1, 14, 6}}, run_chunked_within},
    {"lsh_chunked", "unique across buckets", {{2, 10, 3}, {2, 10, 3}}, run_chunked_unique},
};

const struct example_family examples_lsh = {examples, ARRAY_COUNT(examples)};
