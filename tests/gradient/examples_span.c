/* Examples of attention with soft spans: z inside, at either end of, and beyond the keys.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The inputs drawn are any real numbers; z is made of them by a sigmoid, and the spans and ramps
 * are such that no z S is a whole number, where the mask has its kinks.
 */
#include "tests/gradient/examples.h"

#include "base/check.h"

#define IN struct tape *tape, struct tensor *const *in

/* sigmoid(x), in the shape of x. */
static struct tensor *ratio(struct tape *tape, struct tensor *x)
{
    struct tensor *one = tape_tensor_like(tape, x);
    for (size_t i = 0; i < tensor_size(one); i++) {
        one->data[i] = 1;
    }
    return op_glu(tape, op_concat(tape, one, x));
}

static struct tensor *run_span(IN)
{
    return op_attention_span(tape, in[0], in[1],
                             &(struct attention_span){.heads = 2,
                                                      .span = 7,
                                                      .ramp = (real)2.5,
                                                      .spans = ratio(tape, in[2]),
                                                      .positions = in[3]});
}

static struct tensor *run_span_by_query(IN)
{
    return op_attention_span(tape, in[0], in[1],
                             &(struct attention_span){.heads = 2,
                                                      .span = 5,
                                                      .ramp = 3,
                                                      .excludes_self = true,
                                                      .spans = ratio(tape, in[2]),
                                                      .positions = in[3]});
}

/* The whole ramp lies behind the last key: no gradient of z. */
static struct tensor *run_span_beyond(IN)
{
    return op_attention_span(
        tape, in[0], in[1],
        &(struct attention_span){
            .heads = 1, .span = 60, .ramp = 2, .spans = ratio(tape, in[2]), .positions = NULL});
}

static const struct example examples[] = {
    {"attention_span", "a span a head", {{2, 9, 8}, {2, 9, 4}, {2}, {7, 2}}, run_span},
    {"attention_span",
     "a span a query",
     {{1, 8, 12}, {1, 8, 6}, {1, 8, 2}, {5, 3}},
     run_span_by_query},
    {"attention_span", "no positions, beyond", {{1, 5, 4}, {1, 5, 2}, {1}}, run_span_beyond},
};

const struct example_family examples_span = {examples, ARRAY_COUNT(examples)};
