/* The settings that the backbone suite runs through: one table for all backbones.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "tests/backbone/cases.h"

#include "base/check.h"

#include <string.h>

const struct backbone_case cases[] = {
    {"logsparse", "width=16 heads=2 inner=24 window=3 restart=12"},
    {"logsparse", "width=16 heads=2 inner=24 window=2 pattern=local_log layers=5"},
    {"logsparse", "width=16 heads=2 inner=24 pattern=log layers=6 positions=relative"},
    {"logsparse", "width=12 heads=3 head_width=12 inner=24 window=3 restart=12 norm=post "
                  "activation=relu kernel=6 positions=none"},
    {"logsparse", "width=16 heads=4 inner=24 pattern=dense kernel=1 positions=relative"},
    {"logsparse", "width=16 heads=4 inner=24 pattern=dense kernel=2 layers=2"},
    {"longformer", "width=16 heads=4 inner=24 window=2"},
    {"longformer", "width=16 heads=2 inner=24 window=3 registers=0 globals=3 growth=none layers=2"},
    {"longformer", "width=12 heads=3 inner=24 window=5 registers=3 globals=0 norm=post "
                   "activation=relu positions=none dilation=heads"},
    {"longformer", "width=16 heads=1 inner=24 window=4 globals=40 positions=none"},
    {"longformer", "width=16 heads=4 inner=24 mode=encoder window=2 registers=0"},
    {"longformer", "width=12 heads=3 inner=24 mode=encoder window=3 registers=2 globals=5 "
                   "positions=none norm=post"},
    {"longformer",
     "width=16 heads=2 inner=24 mode=encoder window=50 globals=0 registers=0 layers=2"},
};
const size_t case_count = ARRAY_COUNT(cases);

/* Differences to the local projections are zero, as they begin. */
static void clear_differences(const struct params *params, real *weights,
                              const struct params *other_params, real *other_weights)
{
    (void)params;
    (void)weights;
    for (size_t i = 0; i < other_params->count; i++) {
        const struct param *param = &other_params->items[i];
        if (strstr(param->name, ".global_") != NULL) {
            memset(other_weights + param->offset, 0, param->size * sizeof(real));
        }
    }
}

const struct backbone_equal equals[] = {
    {"logsparse", "width=16 heads=2 pattern=dense kernel=1", "logsparse",
     "width=16 heads=2 pattern=local_log window=48 kernel=1", 2e-6, NULL},
    {"logsparse", "width=16 heads=2 pattern=dense", "logsparse", "width=16 heads=2 window=1000",
     2e-6, NULL},
    {"logsparse", "width=16 heads=2 pattern=dense positions=none", "logsparse",
     "width=16 heads=2 pattern=local_log_restart window=48 positions=none", 2e-6, NULL},
    {"logsparse", "width=16 heads=2 pattern=dense kernel=1", "longformer",
     "width=16 heads=2 window=47 registers=0 globals=0 dilation=none", 2e-6, NULL},
    {"logsparse", "width=16 heads=4 pattern=dense kernel=1 positions=none norm=post", "longformer",
     "width=16 heads=4 window=47 registers=0 globals=0 dilation=none growth=none positions=none "
     "norm=post",
     2e-6, NULL},
    /* Kg and Vg begin as copies: distances of their own mean nothing new then. */
    {"logsparse", "width=16 heads=2 pattern=dense kernel=1", "longformer",
     "width=16 heads=2 window=47 registers=0 globals=5 dilation=none", 2e-6, clear_differences},
};
const size_t equal_count = ARRAY_COUNT(equals);

const struct backbone_refusal refusals[] = {
    {"lstm", "", 16, "unknown_backbone", "lstm"},
    {"logsparse", "pattern=log", 336, "pattern_not_closed", "needs 8 layers"},
    {"logsparse", "pattern=local_log window=9", 336, "pattern_not_closed", "needs 5 layers"},
    {"logsparse", "heads=5", 336, "bad_value", "5 heads"},
    {"logsparse", "colour=red", 336, "unknown_option", "colour"},
    {"logsparse", "layers=0", 336, "out_of_bounds", "layers"},
    {"logsparse", "kernel", 336, "bad_value", "kernel"},
    {"longformer", "heads=5", 336, "bad_value", "5 heads"},
    {"longformer", "mode=encoder globals=20", 12, "bad_value", "at most 12"},
    {"longformer", "mode=sideways", 336, "bad_value", "mode"},
    {"longformer", "globals=65", 336, "out_of_bounds", "globals"},
};
const size_t refusal_count = ARRAY_COUNT(refusals);
