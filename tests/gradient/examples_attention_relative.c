/* Examples of relative attention for the gradient check: memory, window, clamp, both directions.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "tests/gradient/examples.h"

#include "base/check.h"

#define IN struct tape *tape, struct tensor *const *in

/* in: q, k, v, r, u, w. */
static struct tensor *relative(struct tape *tape, struct tensor *const *in,
                               struct attention_relative attention)
{
    attention.q = in[0];
    attention.k = in[1];
    attention.v = in[2];
    attention.r = in[3];
    attention.u = in[4];
    attention.w = in[5];
    return op_attention_relative(tape, &attention);
}

static struct tensor *run_memory(IN)
{
    return relative(tape, in, (struct attention_relative){.heads = 2, .causal = true});
}

static struct tensor *run_window(IN)
{
    return relative(
        tape, in,
        (struct attention_relative){.heads = 2, .causal = true, .window = 4, .scale = (real)0.6});
}

/* Tables that end before the farthest distance, on both sides. */
static struct tensor *run_both_ways(IN)
{
    return relative(tape, in, (struct attention_relative){.heads = 2, .row_zero = 3});
}

static struct tensor *run_both_ways_window(IN)
{
    return relative(tape, in, (struct attention_relative){.heads = 1, .row_zero = 5, .window = 3});
}

static struct tensor *run_invalid(IN)
{
    static uint8_t valid[2 * 9];
    for (size_t i = 0; i < sizeof(valid); i++) {
        valid[i] = i % 9 > i / 9 * 4 && i != 7; /* empty memory cells, more of the second series */
    }
    return relative(
        tape, in,
        (struct attention_relative){.heads = 2, .causal = true, .window = 5, .key_valid = valid});
}

static struct tensor *run_concat_time(IN)
{
    return op_concat_time(tape, in[0], in[1]);
}

static const struct example examples[] = {
    {"concat_time", "", {{2, 3, 4}, {2, 2, 4}}, run_concat_time},
    {"attention_relative",
     "causal, memory",
     {{2, 5, 6}, {2, 8, 6}, {2, 8, 6}, {8, 6}, {2, 3}, {2, 3}},
     run_memory},
    {"attention_relative",
     "causal, several blocks",
     {{1, 15, 8}, {1, 37, 8}, {1, 37, 8}, {20, 8}, {2, 4}, {2, 4}},
     run_memory},
    {"attention_relative",
     "one query",
     {{2, 1, 8}, {2, 8, 8}, {2, 8, 8}, {8, 8}, {2, 4}, {2, 4}},
     run_memory},
    {"attention_relative",
     "window, clamped",
     {{1, 9, 6}, {1, 12, 6}, {1, 12, 6}, {3, 6}, {2, 3}, {2, 3}},
     run_window},
    {"attention_relative",
     "both ways, clamped",
     {{1, 8, 6}, {1, 8, 6}, {1, 8, 6}, {6, 6}, {2, 3}, {2, 3}},
     run_both_ways},
    {"attention_relative",
     "both ways, window",
     {{1, 10, 5}, {1, 12, 5}, {1, 12, 5}, {11, 5}, {1, 5}, {1, 5}},
     run_both_ways_window},
    {"attention_relative",
     "invalid keys",
     {{2, 6, 4}, {2, 9, 4}, {2, 9, 4}, {9, 4}, {2, 2}, {2, 2}},
     run_invalid},
};

const struct example_family examples_attention_relative = {examples, ARRAY_COUNT(examples)};
