/* Seasons unlike the others: what an anomaly of two or three days ago says is left out of a window.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Lags read the same phase of the newest three seasons, and the linear skip weighs them by fixed
 * weights: a day that was an anomaly would pull each forecast until it is out of reach. Where one
 * of them is much further from the mean of the seasons than the other two are, it is told by that
 * mean instead, to the skip and to the network alike. The newest season stays as it is, because it
 * may be the first one of a new level; so does an old one that two newer ones have left.
 *
 * A pure function that writes the caller's arrays only.
 */
#ifndef MODEL_ODD_LAGS_H
#define MODEL_ODD_LAGS_H

#include "model/feature_rows.h"

/* Mends `inputs`, which are filled: lags and means of the skip are there. Nothing is done where the
 * plan has no three lags of one season with a mean over it. */
void odd_lags_mend(const struct feature_window *window, struct window_inputs *inputs);

#endif
