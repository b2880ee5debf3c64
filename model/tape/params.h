/* Named parameters in one slab; gradients, moments and averages mirror its layout.
 * SPDX-License-Identifier: Apache-2.0
 *
 * `struct params` is the layout only: names, shapes, offsets, initialisers. A slab is an array of
 * params->size reals, aligned to 64 bytes; every parameter starts at a multiple of 64 bytes and the
 * gaps stay zero in every slab (values, gradients, moments), so optimiser, lane sums and averages
 * are flat loops over the whole slab. Declare everything first, then make slabs: the layout must
 * not grow after the first slab exists. A finished layout is read only and may be shared by
 * threads.
 */
#ifndef MODEL_TAPE_PARAMS_H
#define MODEL_TAPE_PARAMS_H

#include "base/status.h"
#include "model/tape/tensor.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PARAM_NAME_MAX 64
#define PARAMS_MAX     1024

enum param_init {
    PARAM_ZERO,
    PARAM_ONE,
    PARAM_CONSTANT, /* `gain` everywhere */
    PARAM_NORMAL,   /* normal with standard deviation `gain` */
    PARAM_XAVIER,  /* uniform within gain * sqrt(6 / (fan in + fan out)); fan out is the first axis,
                      fan in the product of the others; gain 0 means 1 */
    PARAM_MOMENTS, /* [2 N + 1] of a statistic: means 0, variances 1, count 0 */
};

struct param_spec {
    size_t shape[TENSOR_AXES_MAX]; /* the first zero ends it */
    enum param_init init;
    double gain;
    bool decay;     /* weight decay applies: matrices yes; biases, norms and tables no */
    bool statistic; /* numbers that a batch tells in place of a gradient, and 1 in the last place:
                       kept as a running mean (optimizer.h), trained by no loss, stored in snapshots
                       like the others */
    bool fixed;     /* drawn, never trained: has no gradient, is stored in snapshots too */
    double rate;    /* factor of the learning rate; 0 means 1 */
};

struct param {
    char name[PARAM_NAME_MAX];
    size_t shape[TENSOR_AXES_MAX]; /* unused axes are 1 */
    unsigned axes;
    size_t offset, size; /* in reals, from the start of a slab */
    enum param_init init;
    double gain;
    bool decay, fixed, statistic;
    double rate; /* never 0 */
};

struct params {
    struct param *items;
    size_t count;
    size_t capacity;
    size_t size;    /* reals in a slab, gaps included */
    size_t trained; /* reals that are trained: without gaps, fixed ones and statistics */
};

enum status params_init(struct params *params, struct error *error) MUST_USE;
void params_release(struct params *params); /* harmless on a zeroed struct */

/* Adds a parameter and returns its id (0, 1, 2 ... in order of declaration). Names are formatted as
 * by printf and must be new and shorter than PARAM_NAME_MAX; more than PARAMS_MAX is an assertion.
 */
size_t params_add(struct params *params, const struct param_spec *spec, const char *name, ...)
    PRINTF_LIKE(3, 4);

/* "prefix.part" for the name of a parameter or of a layer; returns `out`. Too long is an assertion.
 */
const char *param_name(char out[PARAM_NAME_MAX], const char *prefix, const char *part);

/* The id of a name, or SIZE_MAX. */
size_t params_find(const struct params *params, const char *name);

/* A zeroed slab of the layout, or NULL; free with mem_free. */
real *params_slab_new(const struct params *params);

/* Fills a slab from each parameter's initialiser. Every parameter has a random stream of its own,
 * derived from `seed` and its name, so that adding one does not change the others. */
void params_initialise(const struct params *params, real *slab, uint64_t seed);

#endif
