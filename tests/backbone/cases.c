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
    {"adaptive_span", "width=16 heads=4 inner=24 span_init=0.26"},
    {"adaptive_span", "width=12 heads=3 inner=24 span=20 ramp=5 span_init=0.37 positions=layer "
                      "include_self=false layers=2"},
    {"adaptive_span", "width=16 heads=2 inner=24 span=11 ramp=1 span_init=0.5 positions=none "
                      "norm=post activation=relu"},
    {"adaptive_span", "width=16 heads=2 inner=24 span=30 ramp=7 dynamic=true layers=2"},
    {"adaptive_span", "width=16 heads=2 inner=24 dynamic=true include_self=false ramp=3 layers=2 "
                      "positions=none"},
    {"adaptive_span", "width=16 heads=2 inner=24 span=16 span_init=1 learn=false layers=2"},
};
const size_t case_count = ARRAY_COUNT(cases);

const struct backbone_equal equals[] = {
    {"logsparse", "width=16 heads=2 pattern=dense kernel=1", "logsparse",
     "width=16 heads=2 pattern=local_log window=48 kernel=1", 2e-6, NULL},
    {"logsparse", "width=16 heads=2 pattern=dense", "logsparse", "width=16 heads=2 window=1000",
     2e-6, NULL},
    {"logsparse", "width=16 heads=2 pattern=dense positions=none", "logsparse",
     "width=16 heads=2 pattern=local_log_restart window=48 positions=none", 2e-6, NULL},
    {"logsparse", "width=16 heads=2 pattern=dense kernel=1 positions=none", "adaptive_span",
     "width=16 heads=2 positions=none span_init=1", 2e-6, NULL},
    {"adaptive_span", "width=16 heads=2 span=20 span_init=1 ramp=3", "adaptive_span",
     "width=16 heads=2 span=20 span_init=1 ramp=9 learn=false", 2e-6, NULL},
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
    {"adaptive_span", "heads=5", 336, "bad_value", "5 heads"},
    {"adaptive_span", "span_init=1.5", 336, "out_of_bounds", "span_init"},
    {"adaptive_span", "dynamic=true span_init=1", 336, "bad_value", "below 1"},
    {"adaptive_span", "dynamic=true learn=false", 336, "bad_value", "learn=true"},
};
const size_t refusal_count = ARRAY_COUNT(refusals);
