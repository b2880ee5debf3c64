/* Columns of a window: values, lags and phases of a series, step by step. Private to features.c.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A column lies in a matrix [C + Hp, F]: `column` is its first element, and a step further is
 * `width` (F) elements on. Pure functions that write the caller's matrix only.
 */
#ifndef MODEL_FEATURE_ROWS_H
#define MODEL_FEATURE_ROWS_H

#include "model/features.h"

#define DAY_MS INT64_C(86400000)

/* One window: of what, in which scale, for whom. */
struct feature_window {
    const struct feature_plan *plan;
    const struct feature_shape *shape;
    const struct window_source *source;
    const struct window_scale *scale;
};

/* Scaled values and masks of all steps of a window, delayed where the shape says so. */
void feature_values(const struct feature_window *window, real *column);

/* Lag i of all steps of a window, values and masks. */
void feature_lag(const struct feature_window *window, size_t i, real *column);

/* Mean i of each step of the horizon; steps of which no season is known are left as they are.
 * `out` is [H]. */
void feature_mean(const struct feature_window *window, size_t i, real *out);

/* Sine and cosine of period i of all steps of a window. */
void feature_phase(const struct feature_window *window, size_t i, real *column);

#endif
