/* The eager tape: ops compute at once and leave a node behind; backward walks back over the nodes.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A tape belongs to one thread (a lane or a forecaster). It owns two arenas, values and gradients,
 * and a fixed array of nodes; it borrows the parameter layout and slabs. One use:
 *
 *     tape_measure(&tape, TAPE_TRAIN, &params, &error);
 *     tape_backward(&tape, network(&tape, largest shapes));
 *     struct tape_size size = tape_size(&tape);
 *     tape_release(&tape);
 *     tape_init(&tape, &size, &error);
 *     for each step:
 *         tape_begin(&tape, TAPE_TRAIN, &params, values, gradients, seed, stream);
 *         loss = network(&tape, ...);
 *         tape_backward(&tape, loss);             adds to `gradients`
 *
 * Measuring runs the same code with shapes only: tensors have shape but no data (data is NULL) and
 * bytes are counted, so the trainer learns what a micro-batch of b windows costs before it
 * allocates anything. What was measured is enough for the same or any smaller shapes; overflow is
 * an assertion.
 *
 * Modes: TAPE_TRAIN records nodes and drops out; TAPE_INFER records nothing, allocates no
 * gradients, does not drop out, and tape_keep gives inner values back layer by layer.
 */
#ifndef MODEL_TAPE_TAPE_H
#define MODEL_TAPE_TAPE_H

#include "base/arena.h"
#include "base/random.h"
#include "base/status.h"
#include "model/tape/op.h"
#include "model/tape/params.h"
#include "model/tape/tensor.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum tape_mode { TAPE_TRAIN, TAPE_INFER };

struct tape_size {
    size_t value_bytes, gradient_bytes, nodes;
};

#define TAPE_FREE_MAX 64

struct tape {
    enum tape_mode mode;
    bool measuring;
    const struct params *params;
    const real *param_values;
    real *param_gradients;
    struct random random; /* dropout */

    struct arena values; /* tensors, what ops keep, scratch; while measuring only small structs */
    size_t counted, counted_peak; /* while measuring: the stand of `values` if all had data */

    /* Gradients of tensors: a gradient is given back once its node's way back is done, and the next
     * of the same size takes its place (which is still in the cache). Places are offsets, so that
     * measuring walks the very same way. Scratch of the running op is above `gradient_used`. */
    unsigned char *gradient_base;
    size_t gradient_capacity, gradient_used, gradient_peak;
    struct tape_free {
        size_t offset, bytes;
    } free_list[TAPE_FREE_MAX];
    size_t free_first, free_count; /* a block that runs again does not see those before `first` */

    struct node *nodes;
    size_t node_count, node_peak, node_capacity;
    size_t inside; /* stand of `values` where the block began whose nodes are walked; 0 = none */
};

/* ---------------------------------------------------------------- life */

/* A tape that only counts; needs a little memory for shapes. `params` gives the shapes of
 * parameters. */
enum status tape_measure(struct tape *tape, enum tape_mode mode, const struct params *params,
                         struct error *error) MUST_USE;

/* What has been counted so far (the largest stand); for measuring and working tapes alike. */
struct tape_size tape_size(const struct tape *tape);

/* The larger of both in each field, for a tape that serves several shapes or networks. */
struct tape_size tape_size_max(struct tape_size a, struct tape_size b);
size_t tape_size_bytes(const struct tape_size *size); /* all of it, nodes too */

enum status tape_init(struct tape *tape, const struct tape_size *size,
                      struct error *error) MUST_USE;
void tape_release(struct tape *tape); /* harmless on a zeroed struct */

/* Empties the tape and points it at parameters. `gradients` (train mode; may be NULL where only
 * inputs' gradients are wanted) is added to, never zeroed here. seed and stream feed dropout. */
void tape_begin(struct tape *tape, enum tape_mode mode, const struct params *params,
                const real *values, real *gradients, uint64_t seed, uint64_t stream);

/* ---------------------------------------------------------------- leaves */

/* A tensor to fill; data is NULL while measuring, otherwise uninitialised. The list of axes ends
 * with 0: tape_input(tape, (size_t[]){B, T, D, 0}). Set ->wants_grad before its first use if its
 * gradient is asked for (tests). */
struct tensor *tape_input(struct tape *tape, const size_t *shape);

/* The tensor of a parameter: its data is in the slab, its gradient in the gradient slab. */
struct tensor *tape_param(struct tape *tape, size_t id);

/* ---------------------------------------------------------------- the way back */

/* Gradient of one scalar tensor with respect to everything below it. Once per tape_begin. While
 * measuring the walk is the same, without computing. */
void tape_backward(struct tape *tape, struct tensor *loss);

/* After backward: the gradient of an input that wanted one (zeros where nothing reached it). */
const real *tape_gradient(struct tape *tape, struct tensor *tensor);

/* ---------------------------------------------------------------- memory */

/* The stand of the value arena, and back to it: everything made since is gone. Only in infer mode
 * (in train mode these do nothing: all activations live until backward). */
size_t tape_mark(const struct tape *tape);
void tape_rewind(struct tape *tape, size_t mark);

/* Back to `mark` but with one tensor kept: it moves to the mark. Returns it at its new place; in
 * train mode the tensor itself. */
struct tensor *tape_keep(struct tape *tape, size_t mark, struct tensor *tensor);

/* ---------------------------------------------------------------- for ops only */

/* False while measuring: the op must then touch no data. */
static inline bool tape_computes(const struct tape *tape)
{
    return !tape->measuring;
}

/* An output tensor of this shape (list ends with 0, or four axes). */
struct tensor *tape_tensor(struct tape *tape, const size_t *shape);
struct tensor *tape_tensor_like(struct tape *tape, const struct tensor *model);

/* Small structs that exist while measuring too (the context of a node). Zeroed. */
void *tape_struct(struct tape *tape, size_t bytes);

/* Data that an op keeps for its way back, or scratch between a mark and a rewind of the op's own;
 * NULL while measuring. Uninitialised. */
void *tape_bytes(struct tape *tape, size_t bytes);
size_t tape_scratch_begin(const struct tape *tape);
void tape_scratch_end(struct tape *tape, size_t mark); /* in every mode */

/* Leaves a node (train mode, some input wants a gradient; otherwise does nothing) and marks `out`
 * as wanting one. `inputs` may hold NULLs. backward_scratch: bytes that backward will ask for. */
void tape_record(struct tape *tape, const struct op *op, struct tensor *out,
                 struct tensor *const *inputs, size_t input_count, void *context,
                 size_t backward_scratch);

/* Inside backward: where to add tensor's gradient, and how: *beta is 0 for the first one to write
 * (store, do not add; the memory is uninitialised) and 1 afterwards. NULL where none is wanted. */
real *tape_grad_target(struct tape *tape, struct tensor *tensor, real *beta);

/* The same, zeroed for the first one, so that the caller can always add. */
real *tape_grad_sum(struct tape *tape, struct tensor *tensor);

/* Inside backward: out's complete gradient, or NULL where nothing used the tensor. */
const real *tape_grad_of(const struct tensor *out);

/* Inside backward: scratch of the announced size; given back when the op returns. */
void *tape_backward_scratch(struct tape *tape, size_t bytes);

#endif
