/* The settings that the backbone suite runs through: one table for all backbones.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A new backbone adds rows in cases.c (without one it fails); the properties themselves are in
 * test_backbone.c and test_learning.c.
 */
#ifndef TESTS_BACKBONE_CASES_H
#define TESTS_BACKBONE_CASES_H

#include "model/tape/params.h"

#include <stddef.h>

/* Each case runs through all properties. Options may set dropout: it is off where it must be. */
struct backbone_case {
    const char *backbone, *options;
};
extern const struct backbone_case cases[];
extern const size_t case_count;

/* Modes besides the presets that are trained a little, saved and loaded (test_learning.c). */
extern const struct backbone_case saved[];
extern const size_t saved_count;

/* Two settings that mean the same: the degenerate ones, where an approximation is vacuous. Weights
 * of the same name and size are copied from one to the other; `arrange` (may be NULL) sets what is
 * left. */
struct backbone_equal {
    const char *backbone, *options, *other_backbone, *other_options;
    double tolerance; /* in float, relative to the largest output */
    void (*arrange)(const struct params *params, real *weights, const struct params *other_params,
                    real *other_weights);
};
extern const struct backbone_equal equals[];
extern const size_t equal_count;

/* Settings that are refused, with the code, and a part of the text or of the hint. */
struct backbone_refusal {
    const char *backbone, *options;
    size_t length;
    const char *code, *text;
};
extern const struct backbone_refusal refusals[];
extern const size_t refusal_count;

#endif
