/* An op: a name and the way back. Knows no particular op; ops/table.c lists them all.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The way forward is the op's constructor (ops/ops.h): it computes at once and, while training,
 * leaves one node on the tape. The way back reads node->out's gradient and adds to its inputs'
 * gradients. The tests find examples and plain-loop references by the op's name; an op without
 * either fails.
 */
#ifndef MODEL_TAPE_OP_H
#define MODEL_TAPE_OP_H

#include "model/tape/tensor.h"

#define NODE_INPUTS_MAX 8

struct tape;
struct node;

struct op {
    const char *name;
    /* Adds to the gradients of the inputs that want one; out's gradient is complete by then. */
    void (*backward)(struct tape *tape, const struct node *node);
    bool replays;     /* the way back runs ops of its own (recompute.h): measuring goes it too */
    double tolerance; /* relative, of the gradient check in double precision; 0 = 1e-6 */
};

struct node {
    const struct op *op;
    struct tensor *out;
    struct tensor *in[NODE_INPUTS_MAX]; /* NULL where there are fewer, or one is left out */
    void *context;                      /* what the op keeps for its way back, in the value arena */
    size_t scratch;                     /* bytes that the way back asks for */
};

#endif
