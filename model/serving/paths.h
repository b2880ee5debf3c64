/* Sampled paths of an autoregressive member: decoding step by step through the backbone's state.
 * SPDX-License-Identifier: Apache-2.0
 *
 * All paths of one series are the rows of one batch, so that each step is one product per layer.
 */
#ifndef MODEL_SERVING_PATHS_H
#define MODEL_SERVING_PATHS_H

#include "model/network.h"

#define PATHS_COUNT 100 /* sampled paths of a forecast */
#define PATHS_PIECE 16  /* context steps that prime the state at once */

struct paths {
    const struct member *member;
    void *state;     /* of the backbone, for PATHS_COUNT rows */
    real *window;    /* [C + H, F] */
    double *samples; /* [H, PATHS_COUNT] scaled values */
};

enum status paths_init(struct paths *paths, const struct member *member,
                       struct error *error) MUST_USE;
void paths_release(struct paths *paths); /* harmless on a zeroed struct */

/* What a tape needs for it. */
enum status paths_measure(const struct member *member, struct tape_size *size,
                          struct error *error) MUST_USE;

/* Samples the horizon after the source's origin and writes quantiles[H][Q] in the series' units.
 * The same source gives the same paths. */
void paths_run(struct paths *paths, struct tape *tape, const struct feature_plan *plan,
               const struct window_source *source, double *quantiles);

#endif
