/* Examples of windows, keys beside the sequence, and chosen rows.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "tests/gradient/examples.h"

#include "base/check.h"

#define IN struct tape *tape, struct tensor *const *in

/* A window that every head sees, as a pattern over static memory. */
static struct pattern offsets_of(const uint32_t *offsets, size_t count, size_t length)
{
    return (struct pattern){.kind = PATTERN_OFFSETS,
                            .length = length,
                            .offsets = (uint32_t *)(uintptr_t)offsets,
                            .offset_count = count};
}

static const uint32_t near[] = {0, 1, 2};
static const uint32_t dilated[] = {0, 3, 6, 9};
static const uint32_t seasons[] = {5, 10};

/* One head dense (short as the sequence is), one dilated. */
static struct tensor *run_head_patterns(IN)
{
    static struct pattern patterns[2];
    size_t length = in[0]->shape[1];
    patterns[0] = offsets_of(near, 3, length);
    patterns[1] = offsets_of(dilated, 4, length);
    return op_attention(tape, in[0], in[1],
                        &(struct attention){.heads = 2, .head_patterns = patterns});
}

static struct tensor *run_both_ways(IN)
{
    static struct pattern pattern;
    static const uint8_t valid[] = {1, 1, 0, 1, 1, 1, 1, 0, 1, 1, 1, 1, 1};
    CHECK(in[0]->shape[0] * in[0]->shape[1] == sizeof(valid));
    pattern = offsets_of(near, 3, in[0]->shape[1]);
    pattern.both_ways = true;
    return op_attention(tape, in[0], in[1],
                        &(struct attention){.heads = 2, .pattern = &pattern, .key_valid = valid});
}

/* Registers: the same keys beside for every series and query. */
static struct tensor *run_registers(IN)
{
    static struct pattern pattern;
    struct attention_beside beside = {.k = in[2], .v = in[3]};
    pattern = offsets_of(dilated, 4, in[0]->shape[1]);
    return op_attention(
        tape, in[0], in[1],
        &(struct attention){.heads = 2, .pattern = &pattern, .beside = &beside, .beside_count = 1});
}

/* A second set of keys at distances of its own, and some invalid ones. */
static struct tensor *run_seasons(IN)
{
    static struct pattern pattern, distant;
    static const uint8_t valid[] = {1, 1, 0, 1, 1, 1, 0, 1, 1, 1, 1, 1};
    struct attention_beside beside = {.k = in[2], .v = in[3], .pattern = &distant, .valid = valid};
    CHECK(in[2]->shape[0] * in[2]->shape[1] == sizeof(valid));
    pattern = offsets_of(near, 3, in[0]->shape[1]);
    distant = offsets_of(seasons, 2, in[0]->shape[1]);
    return op_attention(
        tape, in[0], in[1],
        &(struct attention){.heads = 1, .pattern = &pattern, .beside = &beside, .beside_count = 1});
}

static struct tensor *run_across(IN)
{
    static const uint8_t valid[] = {1, 1, 0, 1, 1, 1, 0, 1, 1, 1};
    CHECK(in[1]->shape[0] * in[1]->shape[1] == sizeof(valid));
    return op_attention_across(tape, in[0], in[1], in[2],
                               &(struct attention){.heads = 2, .key_valid = valid});
}

static const uint32_t positions[] = {3, 1, 0, 4};
static const uint8_t chosen[] = {1, 1, 1, 0};
static const struct row_choice choice = {positions, chosen, 2};

static struct tensor *run_take_rows(IN)
{
    return op_take_rows(tape, in[0], &choice);
}

static struct tensor *run_put_rows(IN)
{
    return op_put_rows(tape, in[0], in[1], &choice);
}

static const struct example examples[] = {
    {"attention_sparse", "a pattern a head", {{2, 11, 12}, {2, 11, 6}}, run_head_patterns},
    {"attention_sparse", "both ways, invalid keys", {{1, 13, 8}, {1, 13, 4}}, run_both_ways},
    {"attention_beside", "registers", {{2, 9, 8}, {2, 9, 4}, {1, 3, 4}, {1, 3, 4}}, run_registers},
    {"attention_beside",
     "distances",
     {{1, 12, 6}, {1, 12, 3}, {1, 12, 3}, {1, 12, 3}},
     run_seasons},
    {"attention_across", "", {{2, 3, 8}, {2, 5, 8}, {2, 5, 8}}, run_across},
    {"take_rows", "", {{2, 5, 3}}, run_take_rows},
    {"put_rows", "", {{2, 5, 3}, {2, 2, 3}}, run_put_rows},
};

const struct example_family examples_longformer = {examples, ARRAY_COUNT(examples)};
