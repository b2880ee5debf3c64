/* Random directions that are orthogonal in blocks: the projections of Performer's features.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef MODEL_BACKBONES_ORTHOGONAL_H
#define MODEL_BACKBONES_ORTHOGONAL_H

#include "base/random.h"
#include "model/tape/tensor.h"

#include <stddef.h>

#define ORTHOGONAL_WIDTH_MAX ((size_t)1024)

/* rows[count, width]: orthogonal inside each block of `width` rows (the last may be shorter),
 * blocks independent, every row alone a standard normal vector: a uniform direction (Haar) times
 * the norm of another normal vector (chi-distributed). Deterministic in *random. Exactly orthogonal
 * up to rounding. width <= ORTHOGONAL_WIDTH_MAX. */
void orthogonal_draw(size_t count, size_t width, struct random *random, real *rows);

#endif
