/* Blocks that run again on the way back instead of keeping their inner values.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "model/tape/recompute.h"
#include "model/tape/backward.h"

#include "base/check.h"

#include <string.h>

extern const struct op recompute_op, reversible_op;

/* ---------------------------------------------------------------- one run of a block */

/* A stand of the tape that a run is undone to. */
struct stand {
    size_t mark, structs, nodes, gradient_used, free_first, free_count, inside;
};

static struct stand stand_take(struct tape *tape)
{
    struct stand stand = {
        .mark = tape_scratch_begin(tape),
        .structs = arena_mark(&tape->values),
        .nodes = tape->node_count,
        .gradient_used = tape->gradient_used,
        .free_first = tape->free_first,
        .free_count = tape->free_count,
        .inside = tape->inside,
    };
    tape->free_first = tape->free_count;
    tape->inside = stand.structs;
    return stand;
}

/* While measuring the small structs go too: nobody looks into a block afterwards. */
static void stand_restore(struct tape *tape, struct stand stand)
{
    tape->node_count = stand.nodes;
    tape->gradient_used = stand.gradient_used;
    tape->free_first = stand.free_first;
    tape->free_count = stand.free_count;
    tape->inside = stand.inside;
    tape_scratch_end(tape, stand.mark);
    if (tape->measuring) {
        arena_rewind(&tape->values, stand.structs);
    }
}

/* The rows of x that a block sees at once, from `first` on. */
struct part {
    size_t first, count, width;
};

static size_t rows_at_once(const struct tape_block *block, size_t rows)
{
    return block->rows != 0 && block->rows < rows ? block->rows : rows;
}

/* While measuring, the first one stands for all: none is larger. */
static bool part_next(const struct tape *tape, const struct tape_block *block, size_t rows,
                      struct part *part)
{
    size_t step = rows_at_once(block, rows);
    bool first = part->count == 0;
    part->first += part->count;
    part->count = part->first + step < rows ? step : rows - part->first;
    return part->first < rows && (first || !tape->measuring);
}

/* The input of a run, without data: x's shape, or some of its rows. Its gradient is added to `grad`
 * (of the same rows). */
static struct tensor *leaf_of(struct tape *tape, const struct tape_block *block,
                              const struct tensor *x, struct part part, real *grad)
{
    struct tensor *leaf = tape_struct(tape, sizeof(*leaf));
    *leaf = (struct tensor){.shape = {part.count, part.width, 1, 1},
                            .axes = 2,
                            .wants_grad = tape->mode == TAPE_TRAIN,
                            .grad_begun = true,
                            .grad = grad,
                            .grad_place = SIZE_MAX};
    if (block->rows == 0) {
        leaf->axes = x->axes;
        memcpy(leaf->shape, x->shape, sizeof(leaf->shape));
    }
    return leaf;
}

/* Walks back over the nodes of a run since `stand`, from y with the gradient `dy`. */
static void walk_run(struct tape *tape, struct stand stand, struct tensor *y, const real *dy)
{
    struct tensor *out = tape_tensor_owner(y);
    CHECK(out->wants_grad && tape->node_count > stand.nodes);
    tape_grad_reserve(tape, out);
    if (tape_computes(tape)) {
        memcpy(out->grad, dy, tensor_size(out) * sizeof(real));
        out->grad_begun = true;
    }
    tape_walk_back(tape, stand.nodes);
}

/* ---------------------------------------------------------------- recompute */

struct recompute {
    struct tape_block block;
    size_t index;
    struct random random; /* as it stood before the run */
};

static void recompute_back(struct tape *tape, const struct node *node)
{
    const struct recompute *kept = node->context;
    struct tensor *x = node->in[0];
    struct random now = tape->random;
    tape->random = kept->random;
    const real *dy = tape_grad_of(node->out);
    bool wanted = x->wants_grad;
    real *dx = wanted && tape_computes(tape) ? tape_grad_sum(tape, x) : NULL;
    struct part part = {.width = tensor_width(x)};
    while (part_next(tape, &kept->block, tensor_rows(x), &part)) {
        size_t at = part.first * part.width;
        struct stand stand = stand_take(tape);
        struct tensor *leaf = leaf_of(tape, &kept->block, x, part, dx != NULL ? dx + at : NULL);
        leaf->data = tape_computes(tape) ? x->data + at : NULL;
        leaf->wants_grad = wanted;
        struct tensor *y = kept->block.run(kept->block.self, kept->index, tape, leaf);
        walk_run(tape, stand, y, dy != NULL ? dy + at : NULL);
        stand_restore(tape, stand);
    }
    tape->random = now;
}

const struct op recompute_op = {.name = "recompute", .backward = recompute_back, .replays = true};

struct tensor *tape_recompute(struct tape *tape, const struct tape_block *block, size_t index,
                              struct tensor *x)
{
    struct tensor *y = tape_tensor_like(tape, x);
    struct recompute *kept = tape_struct(tape, sizeof(*kept));
    *kept = (struct recompute){.block = *block, .index = index, .random = tape->random};
    struct part part = {.width = tensor_width(x)};
    while (part_next(tape, block, tensor_rows(x), &part)) {
        size_t at = part.first * part.width;
        struct stand stand = stand_take(tape);
        struct tensor *leaf = leaf_of(tape, block, x, part, NULL);
        leaf->data = tape_computes(tape) ? x->data + at : NULL;
        leaf->wants_grad = x->wants_grad;
        const struct tensor *part_y = block->run(block->self, index, tape, leaf);
        CHECK(part_y != leaf && tensor_size(part_y) == tensor_size(leaf));
        y->wants_grad = y->wants_grad || part_y->wants_grad;
        if (tape_computes(tape)) {
            memcpy(y->data + at, part_y->data, tensor_size(part_y) * sizeof(real));
        }
        stand_restore(tape, stand);
    }
    tape_record(tape, &recompute_op, y, &x, 1, kept, 0);
    return y;
}

/* ---------------------------------------------------------------- reversible layers */

/* A type in which sums of values on a grid are exact, and what a value is added to and taken from
 * to be rounded to the grid: 1.5 times the range. */
#ifdef FORECASTD_DOUBLE
typedef long double exact;
#define GRID 3072.0L
#else
typedef double exact;
#define GRID 1536.0
#endif

struct reversible {
    struct tape_reversible stack;
    exact *half[2];
    struct tensor *d_half[2]; /* hold the places of the halves' gradients on the way back */
    struct random *random;    /* [2 layers], as it stood before each run */
};

static exact on_grid(real x)
{
    return ((exact)x + GRID) - GRID;
}

/* Half 1 - from += (or -=) run(half `from`), or the same backwards with gradients. */
struct turn {
    const struct tape_block *block;
    size_t index, from;
};

static struct turn turn_of(const struct reversible *kept, size_t number)
{
    bool second = number % 2 != 0;
    return (struct turn){
        .block = second ? &kept->stack.g : &kept->stack.f,
        .index = number / 2,
        .from = second ? 0 : 1,
    };
}

/* Runs the turn's block on a part of half `from`; the inner values stay until the stand is
 * restored. */
static struct tensor *run_part(struct tape *tape, const struct reversible *kept,
                               const struct turn *turn, struct part part)
{
    const struct tensor *shape = kept->d_half[turn->from];
    size_t at = part.first * part.width;
    size_t size = part.count * part.width;
    real *grad = shape->grad != NULL ? shape->grad + at : NULL;
    struct tensor *leaf = leaf_of(tape, turn->block, shape, part, grad);
    leaf->data = tape_bytes(tape, size * sizeof(real));
    for (size_t i = 0; tape_computes(tape) && i < size; i++) {
        leaf->data[i] = (real)kept->half[turn->from][at + i];
    }
    struct tensor *y = turn->block->run(turn->block->self, turn->index, tape, leaf);
    CHECK(y != leaf && tensor_size(y) == size);
    return y;
}

static void turn_forward(struct tape *tape, const struct reversible *kept, const struct turn *turn)
{
    const struct tensor *shape = kept->d_half[0];
    struct part part = {.width = tensor_width(shape)};
    while (part_next(tape, turn->block, tensor_rows(shape), &part)) {
        struct stand stand = stand_take(tape);
        const struct tensor *y = run_part(tape, kept, turn, part);
        exact *half = kept->half[1 - turn->from] + part.first * part.width;
        for (size_t i = 0; tape_computes(tape) && i < tensor_size(y); i++) {
            half[i] += on_grid(y->data[i]);
        }
        stand_restore(tape, stand);
    }
}

static void turn_back(struct tape *tape, const struct reversible *kept, const struct turn *turn)
{
    const struct tensor *shape = kept->d_half[0];
    struct part part = {.width = tensor_width(shape)};
    while (part_next(tape, turn->block, tensor_rows(shape), &part)) {
        size_t at = part.first * part.width;
        struct stand stand = stand_take(tape);
        struct tensor *y = run_part(tape, kept, turn, part);
        exact *half = kept->half[1 - turn->from] + at;
        for (size_t i = 0; tape_computes(tape) && i < tensor_size(y); i++) {
            half[i] -= on_grid(y->data[i]);
        }
        const real *dy = kept->d_half[1 - turn->from]->grad;
        walk_run(tape, stand, y, dy != NULL ? dy + at : NULL);
        stand_restore(tape, stand);
    }
}

static void reversible_back(struct tape *tape, const struct node *node)
{
    const struct reversible *kept = node->context;
    struct random now = tape->random;
    size_t size = tensor_size(node->out);
    const real *dy = tape_grad_of(node->out);
    for (size_t k = 0; k < 2; k++) {
        tape_grad_reserve(tape, kept->d_half[k]);
        for (size_t i = 0; tape_computes(tape) && i < size; i++) {
            kept->d_half[k]->grad[i] = dy[i] / 2;
        }
    }
    for (size_t number = 2 * kept->stack.layers; number > 0; number--) {
        struct turn turn = turn_of(kept, number - 1);
        tape->random = kept->random[number - 1];
        turn_back(tape, kept, &turn);
    }
    real *dx = tape_computes(tape) ? tape_grad_sum(tape, node->in[0]) : NULL;
    for (size_t k = 0; k < 2; k++) {
        for (size_t i = 0; dx != NULL && i < size; i++) {
            dx[i] += kept->d_half[k]->grad[i];
        }
        tape_grad_give_back(tape, kept->d_half[k]);
    }
    tape->random = now;
}

const struct op reversible_op = {
    .name = "reversible", .backward = reversible_back, .replays = true};

static void halves_begin(struct tape *tape, struct reversible *kept, const struct tensor *x)
{
    size_t size = tensor_size(x);
    for (size_t k = 0; k < 2; k++) {
        kept->half[k] = tape_bytes(tape, size * sizeof(exact));
        for (size_t i = 0; tape_computes(tape) && i < size; i++) {
            kept->half[k][i] = on_grid(x->data[i]);
        }
        kept->d_half[k] = tape_struct(tape, sizeof(struct tensor));
        *kept->d_half[k] = (struct tensor){.axes = x->axes, .grad_place = SIZE_MAX};
        memcpy(kept->d_half[k]->shape, x->shape, sizeof(x->shape));
    }
}

static void halves_end(const struct reversible *kept, real *mean, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        mean[i] = (real)((kept->half[0][i] + kept->half[1][i]) / 2);
    }
    for (size_t i = 0; kept->stack.halves != NULL && i < 2 * size; i++) {
        kept->stack.halves[i] = (real)kept->half[i / size][i % size];
    }
}

struct tensor *tape_reversible(struct tape *tape, const struct tape_reversible *stack,
                               struct tensor *x)
{
    struct tensor *y = tape_tensor_like(tape, x);
    size_t mark = tape_scratch_begin(tape);
    struct reversible *kept = tape_struct(tape, sizeof(*kept));
    kept->stack = *stack;
    kept->random = tape_struct(tape, 2 * stack->layers * sizeof(struct random));
    halves_begin(tape, kept, x);
    for (size_t number = 0; number < 2 * stack->layers; number++) {
        struct turn turn = turn_of(kept, number);
        kept->random[number] = tape->random;
        turn_forward(tape, kept, &turn);
    }
    if (tape_computes(tape)) {
        halves_end(kept, y->data, tensor_size(x));
    }
    if (tape->mode == TAPE_INFER) {
        tape_scratch_end(tape, mark);
    }
    y->wants_grad = tape->mode == TAPE_TRAIN; /* of what is inside, whether x wants one or not */
    tape_record(tape, &reversible_op, y, &x, 1, kept, 0);
    return y;
}
