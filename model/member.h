/* One member of an ensemble: its configuration, its network's layout and its weights.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A member is made once (layout, pattern), its weights are filled by training or loading, and then
 * it is read only and shared by threads as part of a snapshot.
 */
#ifndef MODEL_MEMBER_H
#define MODEL_MEMBER_H

#include "model/backbones/backbone.h"
#include "model/features.h"
#include "model/layers/layers.h"

/* Steps that one network forecasts at once; longer horizons roll on from it. Searching patterns and
 * declaring parameters grow with it: so a model file has no more either. */
#define MEMBER_HORIZON_MAX 4096

enum member_head {
    HEAD_QUANTILE, /* direct: all levels of all horizon steps at once */
    HEAD_GAUSSIAN, /* one step ahead, mean and deviation; paths are sampled */
};

/* The option table describes all but the two texts; every field is in the snapshot's metadata. */
struct member_config {
    char backbone[24];
    char options[256]; /* of the backbone: "key=value key=value" */
    int64_t context;   /* steps; a multiple of patch */
    int64_t patch;     /* steps a token */
    int64_t head;      /* enum member_head */
    int64_t scale;     /* enum scale_kind */
    bool asinh;
    double floor;
    bool lags, calendar, skip;
    bool balanced; /* loss weighted by the scale over the series' seasonal difference */
    int64_t batch;
    double rate, decay, beta2, average; /* AdamW and the weights' moving average */
    double newest;                      /* > 1: newer windows are drawn more often */
    double length_weight; /* series are drawn in proportion to their windows to this power */
    double mix;           /* probability that a training window is mixed with the next one */
    double share;         /* of the training budget, relative to the other members */
};

extern const struct option member_options[];
extern const size_t member_option_count;

struct member {
    struct member_config config;
    struct backbone_model *backbone;
    struct feature_shape shape;
    size_t features;       /* F */
    size_t horizon;        /* H */
    size_t tokens;         /* T = (C + Hp) / patch */
    size_t horizon_tokens; /* the last ones */
    size_t outputs;        /* reals a step: QUANTILE_COUNT, or 2 */
    size_t lag_count;      /* 0 without lags */
    size_t skip_count;     /* lags and means of the skip */

    struct params params;
    struct linear_layer embed, head;
    size_t skip_context, skip_bias, skip_lags; /* [H, C], [H], [N, H] */
    real *weights;                             /* a slab of params */
};

/* Layout only, weights is NULL. STATUS_INVALID: the backbone's options, a context that is no
 * multiple of the patch; STATUS_NO_MEMORY. */
enum status member_new(const struct member_config *config, const struct feature_plan *plan,
                       const uint32_t seasons[SEASONS_MAX], struct member **out,
                       struct error *error) MUST_USE;
void member_free(struct member *member); /* NULL is fine */

/* Recurrent backbones: how many windows, each one context before the next, fill the memory that the
 * newest window sees. 0 for all others. */
size_t member_primes(const struct member *member);

/* Zeroed weights. STATUS_NO_MEMORY. */
enum status member_make_weights(struct member *member, struct error *error) MUST_USE;

/* First weights of a training run. */
void member_initialise(struct member *member, uint64_t seed);

/* Configuration as "key=value key=value" without backbone and options, and back. */
void member_config_print(const struct member_config *config, struct text *out);
enum status member_config_parse(const char *text, size_t length, struct member_config *config,
                                struct error *error) MUST_USE;

#endif
