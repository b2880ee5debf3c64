/* The settings that the backbone suite runs through: one table for all backbones.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "tests/backbone/cases.h"

#include "base/check.h"

#include <stdio.h>
#include <string.h>

const struct backbone_case cases[] = {
    {"logsparse", "width=16 heads=2 inner=24 window=3 restart=12"},
    {"logsparse", "width=16 heads=2 inner=24 window=2 pattern=local_log layers=5"},
    {"logsparse", "width=16 heads=2 inner=24 pattern=log layers=6 positions=relative"},
    {"logsparse", "width=12 heads=3 head_width=12 inner=24 window=3 restart=12 norm=post "
                  "activation=relu kernel=6 positions=none"},
    {"logsparse", "width=16 heads=4 inner=24 pattern=dense kernel=1 positions=relative"},
    {"logsparse", "width=16 heads=4 inner=24 pattern=dense kernel=2 layers=2"},
    {"linformer", "width=16 heads=2 inner=24 block=4 summary=2 group=2 sharing=headwise"},
    {"linformer", "width=16 heads=2 inner=24 block=5 summary=3 group=3 previous=no sharing=none"},
    {"linformer", "width=12 heads=3 inner=24 block=7 summary=2 group=1 sharing=key_value "
                  "positions=none"},
    {"linformer", "width=16 heads=4 inner=24 block=3 summary=1 group=2 previous=no layers=2 "
                  "sharing=layerwise norm=post"},
    {"linformer", "width=16 heads=4 inner=24 block=100"},
    {"linformer", "width=16 heads=2 inner=24 mode=encoder rank=5 sharing=headwise"},
    {"linformer", "width=12 heads=3 inner=24 mode=encoder rank=6 sharing=none positions=none"},
    {"linformer", "width=16 heads=2 inner=24 mode=encoder sharing=key_value norm=post"},
    {"linformer", "width=16 heads=2 inner=24 mode=encoder rank=7 sharing=layerwise"},
    {"adaptive_span", "width=16 heads=4 inner=24 span_init=0.26"},
    {"adaptive_span", "width=12 heads=3 inner=24 span=20 ramp=5 span_init=0.37 positions=layer "
                      "include_self=false layers=2"},
    {"adaptive_span", "width=16 heads=2 inner=24 span=11 ramp=1 span_init=0.5 positions=none "
                      "norm=post activation=relu"},
    {"adaptive_span", "width=16 heads=2 inner=24 span=30 ramp=7 dynamic=true layers=2"},
    {"adaptive_span", "width=16 heads=2 inner=24 dynamic=true include_self=false ramp=3 layers=2 "
                      "positions=none"},
    {"adaptive_span", "width=16 heads=2 inner=24 span=16 span_init=1 learn=false layers=2"},
    {"performer", "width=16 heads=2 inner=24 window=5"},
    {"performer", "width=16 heads=4 inner=24 layers=2 local=0 features=40 positions=none"},
    {"performer", "width=16 heads=2 inner=24 local=0 normalise=false norm=post layers=2"},
    {"performer", "width=24 heads=3 inner=24 local=2 window=300 map=relu layers=2"},
    {"performer", "width=16 heads=2 inner=24 local=0 map=relu project_relu=true features=19"},
    {"performer", "width=16 heads=2 inner=24 mode=encoder window=4 layers=2"},
    {"performer", "width=16 heads=2 inner=24 mode=encoder local=0 map=relu layers=2"},
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
    {"reformer", "width=16 heads=2 inner=24 window=6 local=2"},
    {"reformer", "width=16 heads=4 inner=24 window=4 local=1 rounds=3 feed_chunk=50 key_norm=l2"},
    {"reformer", "width=12 heads=3 inner=24 buckets=1 reversible=false norm=post activation=relu"},
    {"reformer", "width=16 heads=2 inner=24 window=5 buckets=6 rounds=1 reversible=false "
                 "feed_chunk=7 positions=none layers=2"},
    {"reformer", "width=16 heads=2 inner=24 mode=paper chunk=8 layers=2"},
    {"reformer",
     "width=16 heads=2 inner=24 mode=paper chunk=7 masked=false within=true unique=true"},
    {"transformer_xl", "width=16 heads=2 inner=24"},
    {"transformer_xl", "width=16 heads=2 inner=24 memory=7 layers=2"},
    {"transformer_xl", "width=12 heads=3 head_width=8 inner=24 memory=20 clamp=9 norm=post "
                       "activation=relu biases=layer"},
    {"transformer_xl", "width=16 heads=4 inner=24 same_length=false memory=60 last_norm=false"},
    {"transformer_xl", "width=16 heads=4 inner=24 same_length=false memory=5 layers=1"},
    {"conformer", "width=16 heads=2 inner=24"},
    {"conformer", "width=12 heads=3 inner=20 conv_norm=none attention_window=7 conv_kernel=6 "
                  "layers=2"},
    {"conformer", "width=16 heads=4 inner=24 conv_norm=layer attention_window=60 conv_kernel=1 "
                  "layers=2"},
    {"conformer", "width=16 heads=2 inner=24 conv_kernel=60 layers=1"},
    {"conformer", "width=16 heads=2 inner=24 mode=fidelity conv_kernel=7"},
    {"conformer", "width=12 heads=3 inner=20 mode=fidelity conv_norm=layer attention_window=5 "
                  "conv_kernel=4 layers=2"},
    {"conformer", "width=16 heads=2 inner=24 mode=fidelity conv_norm=none attention_window=100 "
                  "layers=2"},
    {"lite_transformer", "width=16 heads=2"},
    {"lite_transformer", "width=24 heads=3 attention_width=12 conv_heads=6 conv_kernel=5 glu=false "
                         "convolution=lightweight positions=none layers=2"},
    {"lite_transformer", "width=16 heads=1 attention_width=5 conv_heads=11 conv_kernel=9 norm=post "
                         "activation=relu feed_width=20 layers=2"},
    {"lite_transformer", "width=16 heads=2 conv_heads=1 conv_kernel=1 convolution=lightweight "
                         "layers=4"},
    {"lite_transformer", "width=16 heads=2 conv_heads=2 conv_kernel=60 layers=2 glu=false"},
    {"lite_transformer", "width=16 heads=4 attention_width=16 positions=none layers=2"},
};
const size_t case_count = ARRAY_COUNT(cases);

const struct backbone_case saved[] = {
    {"logsparse", "positions=relative head_width=12"},
    {"linformer", "mode=encoder sharing=key_value"},
    {"linformer", "block=8 summary=2 group=2 sharing=layerwise"},
    {"conformer", "mode=fidelity conv_kernel=7"},
    {"lite_transformer", "convolution=lightweight glu=false"},
};
const size_t saved_count = ARRAY_COUNT(saved);

static real *values_of(const struct params *params, real *weights, const char *name, size_t *size)
{
    size_t id = params_find(params, name);
    CHECK(id != SIZE_MAX);
    *size = params->items[id].size;
    return weights + params->items[id].offset;
}

/* E = F = I in every layer, no bias: a summary is the steps themselves. */
static void linformer_identity(const struct params *params, real *weights,
                               const struct params *other_params, real *other_weights)
{
    (void)params, (void)weights;
    for (size_t i = 0; i < other_params->count; i++) {
        const struct param *param = &other_params->items[i];
        const char *part = strrchr(param->name, '.') + 1;
        real *values = other_weights + param->offset;
        if (strcmp(part, "e") == 0 || strcmp(part, "f") == 0) {
            size_t columns = param->shape[param->axes - 1];
            size_t rows = param->shape[param->axes - 2];
            for (size_t k = 0; k < param->size; k++) {
                values[k] = k / columns % rows == k % columns;
            }
        } else if (strstr(param->name, "attention.bias") != NULL) {
            memset(values, 0, param->size * sizeof(real));
        }
    }
}

/* Keys of zero: every key weighs the same, in exact attention and in any number of features. */
static void without_keys(const struct params *params, real *weights,
                         const struct params *other_params, real *other_weights)
{
    for (size_t i = 0; i < params->count; i++) {
        const struct param *param = &params->items[i];
        if (strstr(param->name, "attention.qk.") == NULL) {
            continue;
        }
        size_t half = param->size / 2;
        size_t other = params_find(other_params, param->name);
        memset(weights + param->offset + half, 0, half * sizeof(real));
        memset(other_weights + other_params->items[other].offset + half, 0, half * sizeof(real));
    }
}

#define DENSE_UNPLACED "width=16 heads=2 pattern=dense kernel=1 positions=none"

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

static void set_zero(const struct params *params, real *weights, const char *name)
{
    size_t size = 0;
    real *values = values_of(params, weights, name, &size);
    memset(values, 0, size * sizeof(real));
}

/* Transformer-XL that looks at content only is dense attention without biases. */
static void content_only(const struct params *params, real *weights,
                         const struct params *other_params, real *other_weights)
{
    set_zero(params, weights, "b.content_bias");
    set_zero(params, weights, "b.position_bias");
    for (int i = 0; i < 3; i++) {
        static const char *const biases[] = {"qk", "v", "out"};
        char name[PARAM_NAME_MAX];
        (void)snprintf(name, sizeof(name), "b.layer%d.attention.r.weight", i);
        set_zero(params, weights, name);
        for (size_t n = 0; n < ARRAY_COUNT(biases); n++) {
            (void)snprintf(name, sizeof(name), "b.layer%d.attention.%s.bias", i, biases[n]);
            set_zero(other_params, other_weights, name);
        }
        size_t size = 0;
        (void)snprintf(name, sizeof(name), "b.layer%d.attention.qk.weight", i);
        real *to = values_of(other_params, other_weights, name, &size);
        (void)snprintf(name, sizeof(name), "b.layer%d.attention.q.weight", i);
        const real *q = values_of(params, weights, name, &size);
        memcpy(to, q, size * sizeof(real));
        (void)snprintf(name, sizeof(name), "b.layer%d.attention.k.weight", i);
        const real *k = values_of(params, weights, name, &size);
        memcpy(to + size, k, size * sizeof(real));
    }
}

/* The stack's rows of distances are sines, then cosines; ours are pairs. No convolution, nothing
 * before attention, and two halves of the feed-forward step make a whole one. */
static void conformer_plain(const struct params *params, real *weights,
                            const struct params *other_params, real *other_weights)
{
    for (size_t i = 0; i < other_params->count; i++) {
        const struct param *param = &other_params->items[i];
        real *values = other_weights + param->offset;
        const char *part = strchr(param->name + 2, '.') + 1;
        if (strncmp(part, "convolution.out.", 16) == 0 || strncmp(part, "before.out.", 11) == 0 ||
            strstr(part, "attention.q.bias") != NULL || strstr(part, "attention.k.bias") != NULL ||
            strstr(part, "attention.v.bias") != NULL ||
            strstr(part, "attention.out.bias") != NULL) {
            memset(values, 0, param->size * sizeof(real));
        }
        for (size_t k = 0; strncmp(part, "feed.out.", 9) == 0 && k < param->size; k++) {
            values[k] *= 2;
        }
        if (strcmp(part, "attention.r.weight") == 0) {
            const real *from = weights + params->items[params_find(params, param->name)].offset;
            size_t width = param->shape[1];
            for (size_t k = 0; k < param->size; k++) {
                size_t pair = k % width / 2;
                values[k] = from[k / width * width + (k % 2 == 0 ? pair : width / 2 + pair)];
            }
        }
        if (strcmp(part, "norm.gain") == 0 || strcmp(part, "norm.shift") == 0) {
            const char *last = strcmp(part, "norm.gain") == 0 ? "b.norm.gain" : "b.norm.shift";
            size_t place = params->items[params_find(params, last)].offset;
            memcpy(values, weights + place, param->size * sizeof(real));
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
    /* s = c with E = F = I, and c >= L */
    {"logsparse", "width=16 heads=2 pattern=dense kernel=1", "linformer",
     "width=16 heads=2 block=8 summary=8 group=1", 4e-6, linformer_identity},
    {"logsparse", DENSE_UNPLACED, "linformer",
     "width=16 heads=2 block=5 summary=5 group=1 previous=no sharing=none positions=none", 4e-6,
     linformer_identity},
    {"logsparse", DENSE_UNPLACED, "linformer",
     "width=16 heads=2 block=7 summary=7 group=1 sharing=layerwise positions=none", 4e-6,
     linformer_identity},
    {"logsparse", "width=16 heads=2 pattern=dense kernel=1", "linformer",
     "width=16 heads=2 block=48", 2e-6, linformer_identity},
    {"logsparse", "width=16 heads=2 pattern=dense kernel=1", "linformer",
     "width=16 heads=2 block=1000 previous=no", 2e-6, linformer_identity},
    {"logsparse", "width=16 heads=2 pattern=dense kernel=1 positions=none", "adaptive_span",
     "width=16 heads=2 positions=none span_init=1", 2e-6, NULL},
    {"logsparse", DENSE_UNPLACED, "performer",
     "width=16 heads=2 local=0 normalise=false positions=none", 4e-6, without_keys},
    {"logsparse", DENSE_UNPLACED, "performer",
     "width=16 heads=2 local=0 normalise=false map=relu positions=none", 4e-6, without_keys},
    {"adaptive_span", "width=16 heads=2 span=20 span_init=1 ramp=3", "adaptive_span",
     "width=16 heads=2 span=20 span_init=1 ramp=9 learn=false", 2e-6, NULL},
    {"logsparse", "width=16 heads=2 pattern=dense kernel=1", "longformer",
     "width=16 heads=2 window=47 registers=0 globals=0 dilation=none", 2e-6, NULL},
    {"logsparse", "width=16 heads=4 pattern=dense kernel=1 positions=none norm=post", "longformer",
     "width=16 heads=4 window=47 registers=0 globals=0 dilation=none growth=none positions=none "
     "norm=post",
     2e-6, NULL},
    /* Kg and Vg begin as copies: distances of their own mean nothing new then. */
    {"logsparse", "width=16 heads=2 pattern=dense kernel=1", "longformer",
     "width=16 heads=2 window=47 registers=0 globals=5 dilation=none", 2e-6, clear_differences},
    /* One bucket and a window over everything: exact shared-QK attention, whatever is local,
     * however many rounds; and in the published form one chunk, or two that look back at each
     * other. */
    {"reformer", "width=16 heads=2 window=48 buckets=1 rounds=1", "reformer",
     "width=16 heads=2 window=60 buckets=1 rounds=3 local=48", 2e-6, NULL},
    {"reformer", "width=16 heads=2 window=48 buckets=1 rounds=1", "reformer",
     "width=16 heads=2 mode=paper chunk=48 rounds=1 buckets=4", 2e-6, NULL},
    {"reformer", "width=16 heads=2 window=48 buckets=1 rounds=1", "reformer",
     "width=16 heads=2 mode=paper chunk=24 rounds=1 buckets=1", 2e-6, NULL},
    /* More rounds when forecasting. */
    {"reformer", "width=16 heads=2 window=6 rounds=2 rounds_eval=4", "reformer",
     "width=16 heads=2 window=6 rounds=4", 0, NULL},
    /* Rows of the feed-forward part in blocks or at once. */
    {"reformer", "width=16 heads=2 feed_chunk=1", "reformer", "width=16 heads=2 feed_chunk=1000",
     2e-6, NULL},
    {"reformer", "width=16 heads=2 reversible=false feed_chunk=11", "reformer",
     "width=16 heads=2 reversible=false feed_chunk=1000", 2e-6, NULL},
    {"transformer_xl", "width=16 heads=2", "logsparse",
     "width=16 heads=2 pattern=dense kernel=1 positions=none", 2e-6, content_only},
    {"transformer_xl", "width=16 heads=2 memory=48", "transformer_xl",
     "width=16 heads=2 memory=1000", 2e-6, NULL},
    {"transformer_xl", "width=16 heads=2 memory=48", "transformer_xl",
     "width=16 heads=2 memory=11 same_length=false", 2e-6, NULL},
    {"transformer_xl", "width=16 heads=2 memory=48", "transformer_xl",
     "width=16 heads=2 memory=48 clamp=47", 2e-6, NULL},
    {"transformer_xl", "width=16 heads=2 layers=1 activation=swish biases=layer same_length=false",
     "conformer", "width=16 heads=2 layers=1", 2e-6, conformer_plain},
    {"transformer_xl", "width=16 heads=4 layers=1 activation=swish biases=layer memory=9",
     "conformer", "width=16 heads=4 layers=1 attention_window=9 conv_norm=none", 2e-6,
     conformer_plain},
    {"conformer", "width=16 heads=2 inner=24", "conformer",
     "width=16 heads=2 inner=24 attention_window=48", 2e-6, NULL},
    /* All channels attend. */
    {"logsparse", "width=16 heads=2 pattern=dense kernel=1 inner=64", "lite_transformer",
     "width=16 heads=2 attention_width=16 feed_width=64", 2e-6, NULL},
    {"logsparse", "width=16 heads=2 pattern=dense kernel=1 positions=none inner=16 norm=post",
     "lite_transformer", "width=16 heads=2 attention_width=16 positions=none norm=post", 2e-6,
     NULL},
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
    {"linformer", "heads=5", 64, "bad_value", "5 heads"},
    {"linformer", "mode=encoder block=16", 64, "bad_value", "mode=causal"},
    {"linformer", "mode=encoder group=4", 64, "bad_value", "mode=causal"},
    {"linformer", "rank=16", 64, "bad_value", "mode=encoder"},
    {"linformer", "block=4 summary=8", 64, "bad_value", "at most as long as the block"},
    {"linformer", "sharing=all", 64, "bad_value", "layerwise"},
    {"linformer", "kernel=3", 64, "unknown_option", "kernel"},
    {"adaptive_span", "heads=5", 336, "bad_value", "5 heads"},
    {"adaptive_span", "span_init=1.5", 336, "out_of_bounds", "span_init"},
    {"adaptive_span", "dynamic=true span_init=1", 336, "bad_value", "below 1"},
    {"adaptive_span", "dynamic=true learn=false", 336, "bad_value", "learn=true"},
    {"longformer", "heads=5", 336, "bad_value", "5 heads"},
    {"longformer", "mode=encoder globals=20", 12, "bad_value", "at most 12"},
    {"longformer", "mode=sideways", 336, "bad_value", "mode"},
    {"longformer", "globals=65", 336, "out_of_bounds", "globals"},
    {"reformer", "buckets=7", 336, "bad_value", "even number"},
    {"reformer", "norm=post", 336, "bad_value", "reversible=false"},
    {"reformer", "heads=5", 336, "bad_value", "5 heads"},
    {"reformer", "rounds=0", 336, "out_of_bounds", "rounds"},
    {"reformer", "mode=chunked", 336, "bad_value", "paper"},
    {"transformer_xl", "heads=5", 336, "bad_value", "5 heads"},
    {"transformer_xl", "width=9 heads=3", 336, "bad_value", "even width"},
    {"transformer_xl", "memory=-1", 336, "out_of_bounds", "memory"},
    {"transformer_xl", "kernel=3", 336, "unknown_option", "kernel"},
    {"conformer", "heads=5", 64, "bad_value", "5 heads"},
    {"conformer", "width=15 heads=3", 64, "bad_value", "even width"},
    {"conformer", "conv_norm=batch", 64, "bad_value", "mode=fidelity"},
    {"conformer", "norm=post", 64, "unknown_option", "norm"},
    {"conformer", "conv_kernel=0", 64, "out_of_bounds", "conv_kernel"},
    {"lite_transformer", "heads=5", 64, "bad_value", "divides attention_width"},
    {"lite_transformer", "width=24 heads=2 conv_heads=5", 64, "bad_value", "width - attention"},
    {"lite_transformer", "width=16 attention_width=20", 64, "bad_value", "0 for half"},
    {"lite_transformer", "convolution=full", 64, "bad_value", "lightweight"},
    {"lite_transformer", "conv_kernel=300", 64, "out_of_bounds", "conv_kernel"},
    {"lite_transformer", "inner=64", 64, "unknown_option", "inner"},
};
const size_t refusal_count = ARRAY_COUNT(refusals);
