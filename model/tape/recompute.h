/* Blocks that run again on the way back instead of keeping their inner values.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Forward, a block runs in the tape's mode, its result is taken, and its nodes and inner values are
 * given back at once. On the way back it runs again above the current stand of the tape, its nodes
 * are walked, and the memory is given back before the next one. So a stack of blocks costs the
 * memory of one. It costs one more forward run of time.
 *
 * A run must be a function of its input, the parameters and the tape's random numbers only: those
 * are remembered and replayed, so dropout draws the same masks. Blocks may be nested, and may not
 * hand inner tensors out. A tensor made before the block that wants a gradient and is no parameter
 * may be used where its gradient has been begun (tape_gradient before tape_backward). Measuring
 * goes the same way.
 */
#ifndef MODEL_TAPE_RECOMPUTE_H
#define MODEL_TAPE_RECOMPUTE_H

#include "model/tape/tape.h"

/* y = run(x), of x's shape. */
struct tape_block {
    /* `self` lives until backward is done; `index` says which of several alike (a layer). */
    struct tensor *(*run)(const void *self, size_t index, struct tape *tape, struct tensor *x);
    const void *self;
    /* 0: run sees x as it is. Otherwise run treats each row (last axis) by itself and sees at most
     * this many at a time, as [rows, D]: the wide values inside stay in the cache. */
    size_t rows;
};

/* y = run(x). Keeps nothing but y. */
struct tensor *tape_recompute(struct tape *tape, const struct tape_block *block, size_t index,
                              struct tensor *x);

/* A stack of reversible layers (Gomez et al. 2017, arXiv:1707.04585):
 *
 *     y1 = x1 + f(x2),  y2 = x2 + g(y1);     back: x2 = y2 - g(y1),  x1 = y1 - f(x2)
 *
 * The halves begin as x twice; the result is their mean. Only the last halves are kept, whatever
 * the number of layers.
 *
 * The halves are held in a wider type, and what is added to them is rounded to a grid on which sums
 * are exact (2^-42 for float; as long as they stay within +-1024). So the reconstructed halves are
 * those of the way forward to the last bit, and everything inside that decides (the buckets of a
 * hash, the side of a kink) decides the same again; nothing of it needs to be kept. */
struct tape_reversible {
    struct tape_block f, g;
    size_t layers; /* f and g run with index 0 .. layers - 1 */
    real *halves;  /* the last halves one after the other are written here; NULL: not wanted */
};

struct tensor *tape_reversible(struct tape *tape, const struct tape_reversible *stack,
                               struct tensor *x);

#endif
