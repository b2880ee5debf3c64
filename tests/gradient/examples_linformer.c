/* Examples of the ops that compress time and attend to what is compressed.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "tests/gradient/examples.h"

#include "base/check.h"

#define IN struct tape *tape, struct tensor *const *in

/* A whole window of 4 steps, from the second column on, channels 1 .. 4 of 5. */
static struct tensor *run_project_window(IN)
{
    const struct time_summaries shape = {
        .counts = {1}, .block = 4, .column = 1, .channel = 1, .width = 4};
    return op_project_time(tape, in[0], in[1], NULL, &shape);
}

/* Blocks of 2, three levels: 8, 4 and 2 nodes of one row. */
static struct tensor *run_project_levels(IN)
{
    const struct time_summaries shape = {.counts = {8, 4, 2}, .block = 2, .group = 2, .width = 2};
    return op_project_time(tape, in[0], in[1], in[2], &shape);
}

static struct tensor *run_project_heads(IN)
{
    const struct time_summaries shape = {.counts = {5, 2}, .block = 3, .group = 2, .width = 4};
    return op_project_time(tape, in[0], in[1], in[2], &shape);
}

/* 11 steps in blocks of 2, groups of 2, one row a node: nodes 5 and 2. */
static struct tensor *run_attention_levels(IN)
{
    const struct block_attention attention = {.heads = 2, .width = 4, .block = 2, .group = 2};
    struct block_inputs inputs = {in[0], in[1], in[2], in[3], in[4]};
    return op_attention_block(tape, &inputs, &attention);
}

/* All blocks but the last two as summaries of two rows. */
static struct tensor *run_attention_previous(IN)
{
    const struct block_attention attention = {.heads = 2, .width = 4, .block = 3, .previous = true};
    struct block_inputs inputs = {in[0], in[1], in[2], in[3], NULL};
    return op_attention_block(tape, &inputs, &attention);
}

static struct tensor *run_attention_own(IN)
{
    const struct block_attention attention = {.heads = 1, .width = 3, .block = 8};
    struct block_inputs inputs = {.qk = in[0], .v = in[1]};
    return op_attention_block(tape, &inputs, &attention);
}

/* No blocks; keys and values of one head serve both. */
static struct tensor *run_attention_window(IN)
{
    const struct block_attention attention = {.heads = 2, .width = 4};
    struct block_inputs inputs = {in[0], NULL, in[1], in[2], NULL};
    return op_attention_block(tape, &inputs, &attention);
}

static const struct example examples[] = {
    {"project_time", "a window", {{2, 4, 5}, {3, 6}}, run_project_window},
    {"project_time", "levels", {{2, 17, 2}, {1, 2}, {1, 2}}, run_project_levels},
    {"project_time", "heads", {{1, 16, 4}, {2, 2, 3}, {2, 2, 4}}, run_project_heads},
    {"attention_block",
     "levels and bias",
     {{2, 11, 8}, {2, 11, 4}, {2, 6, 4}, {2, 6, 4}, {2, 8}},
     run_attention_levels},
    {"attention_block",
     "previous block",
     {{1, 13, 8}, {1, 13, 4}, {1, 6, 4}, {1, 6, 4}},
     run_attention_previous},
    {"attention_block", "own block", {{2, 5, 6}, {2, 5, 3}}, run_attention_own},
    {"attention_block", "a window", {{2, 5, 4}, {2, 3, 2}, {2, 3, 2}}, run_attention_window},
};

const struct example_family examples_linformer = {examples, ARRAY_COUNT(examples)};
