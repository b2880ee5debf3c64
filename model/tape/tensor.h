/* A tensor: shape, values and gradient; contiguous, at most four axes, last axis fastest.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Tensors live in the tape's arena and are never freed singly. There are no strides and no views
 * except reshape, which shares the memory of its base. Short letters, as in the whole model folder:
 * B batch, T time, D width, H heads, K kernel, Q quantile levels.
 */
#ifndef MODEL_TAPE_TENSOR_H
#define MODEL_TAPE_TENSOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The scalar of values and gradients. Double is for gradient checks only (make DOUBLE=1). */
#ifdef FORECASTD_DOUBLE
typedef double real;
#else
typedef float real;
#endif

#define TENSOR_AXES_MAX 4

struct tensor {
    size_t shape[TENSOR_AXES_MAX]; /* axes beyond `axes` are 1 */
    unsigned axes;
    bool wants_grad;     /* something that is trained, or asked for, feeds into it */
    bool grad_begun;     /* grad holds a sum already; otherwise its contents mean nothing */
    real *data;          /* NULL while measuring */
    real *grad;          /* NULL until backward reaches it, and while measuring */
    size_t grad_place;   /* offset in the tape's gradients, or SIZE_MAX */
    struct tensor *base; /* reshape: whose memory this is; NULL otherwise */
};

static inline size_t tensor_size(const struct tensor *tensor)
{
    return tensor->shape[0] * tensor->shape[1] * tensor->shape[2] * tensor->shape[3];
}

/* Length of the last axis. */
static inline size_t tensor_width(const struct tensor *tensor)
{
    return tensor->shape[tensor->axes - 1];
}

/* Product of all axes but the last. */
static inline size_t tensor_rows(const struct tensor *tensor)
{
    return tensor_size(tensor) / tensor_width(tensor);
}

static inline bool tensor_same_shape(const struct tensor *a, const struct tensor *b)
{
    return a->axes == b->axes && a->shape[0] == b->shape[0] && a->shape[1] == b->shape[1] &&
           a->shape[2] == b->shape[2] && a->shape[3] == b->shape[3];
}

#endif
