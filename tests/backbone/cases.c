/* The settings that the backbone suite runs through: one table for all backbones.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "tests/backbone/cases.h"

#include "base/check.h"

const struct backbone_case cases[] = {
    {"logsparse", "width=16 heads=2 inner=24 window=3 restart=12"},
    {"logsparse", "width=16 heads=2 inner=24 window=2 pattern=local_log layers=5"},
    {"logsparse", "width=16 heads=2 inner=24 pattern=log layers=6 positions=relative"},
    {"logsparse", "width=12 heads=3 head_width=12 inner=24 window=3 restart=12 norm=post "
                  "activation=relu kernel=6 positions=none"},
    {"logsparse", "width=16 heads=4 inner=24 pattern=dense kernel=1 positions=relative"},
    {"logsparse", "width=16 heads=4 inner=24 pattern=dense kernel=2 layers=2"},
    {"performer", "width=16 heads=2 inner=24 window=5"},
    {"performer", "width=16 heads=4 inner=24 layers=2 local=0 features=40 positions=none"},
    {"performer", "width=16 heads=2 inner=24 local=0 normalise=false norm=post layers=2"},
    {"performer", "width=24 heads=3 inner=24 local=2 window=300 map=relu layers=2"},
    {"performer", "width=16 heads=2 inner=24 local=0 map=relu project_relu=true features=19"},
    {"performer", "width=16 heads=2 inner=24 mode=encoder window=4 layers=2"},
    {"performer", "width=16 heads=2 inner=24 mode=encoder local=0 map=relu layers=2"},
};
const size_t case_count = ARRAY_COUNT(cases);

const struct backbone_equal equals[] = {
    {"logsparse", "width=16 heads=2 pattern=dense kernel=1", "logsparse",
     "width=16 heads=2 pattern=local_log window=48 kernel=1", 2e-6, NULL},
    {"logsparse", "width=16 heads=2 pattern=dense", "logsparse", "width=16 heads=2 window=1000",
     2e-6, NULL},
    {"logsparse", "width=16 heads=2 pattern=dense positions=none", "logsparse",
     "width=16 heads=2 pattern=local_log_restart window=48 positions=none", 2e-6, NULL},
};
const size_t equal_count = ARRAY_COUNT(equals);

const struct backbone_refusal refusals[] = {
    {"lstm", "", 16, "unknown_backbone", "lstm"},
    {"logsparse", "pattern=log", 336, "pattern_not_closed", "needs 8 layers"},
    {"logsparse", "pattern=local_log window=9", 336, "pattern_not_closed", "needs 5 layers"},
    {"logsparse", "heads=5", 336, "bad_value", "5 heads"},
    {"logsparse", "colour=red", 336, "unknown_option", "colour"},
    {"logsparse", "layers=0", 336, "out_of_bounds", "layers"},
    {"performer", "heads=5", 336, "bad_value", "5 heads"},
    {"performer", "heads=2 local=2", 336, "bad_value", "none is linear"},
    {"performer", "map=relu features=64", 336, "bad_value", "project_relu=true"},
    {"performer", "window=0", 336, "out_of_bounds", "window"},
    {"performer", "gain_max=9", 336, "out_of_bounds", "gain_max"},
    {"logsparse", "kernel", 336, "bad_value", "kernel"},
};
const size_t refusal_count = ARRAY_COUNT(refusals);
