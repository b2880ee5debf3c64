/* What most backbones share: the usual options, and layers of "mix over time, then feed forward".
 * SPDX-License-Identifier: Apache-2.0
 *
 * A backbone whose paper only replaces attention embeds `struct stack_options` as the field `stack`
 * of its options, puts STACK_OPTIONS into its table, and gives its own mixer:
 *
 *     pre-norm:   u = x + dropout(mix(LN(x)));   y = u + dropout(FFN(LN(u)));   LN at the very end
 *     post-norm:  u = LN(x + dropout(mix(x)));   y = LN(u + dropout(FFN(u)))
 *
 * FFN(x) = W2 dropout(f(W1 x + b1)) + b2. Parameters: prefix.layer0.attention.norm.*,
 * prefix.layer0.feed.norm.*, prefix.layer0.feed.{in,out}.*, prefix.positions, prefix.norm.*.
 */
#ifndef MODEL_BACKBONES_STACK_H
#define MODEL_BACKBONES_STACK_H

#include "model/backbones/backbone.h"
#include "model/layers/layers.h"

#define LAYERS_MAX 16

enum stack_norm { NORM_PRE, NORM_POST };

struct stack_options {
    int64_t width, layers, heads, inner;
    int64_t norm;       /* enum stack_norm */
    int64_t activation; /* enum activation */
    double dropout;
};

extern const char *const stack_norm_names[];
extern const char *const stack_activation_names[];

#define STACK_FIELD(type, name) OPTION_FIELD(type, stack.name)

/* Rows for an option table; `inner` is the preset of the feed-forward width, as text. The parts are
 * for backbones that have some of them only. */
/* clang-format off */
#define STACK_SIZE_OPTIONS(type) \
    {"width", OPTION_INT, "64", 4, 1024, NULL, STACK_FIELD(type, width), 0, 0, \
     "Width of a token inside."}, \
    {"layers", OPTION_INT, "3", 1, LAYERS_MAX, NULL, STACK_FIELD(type, layers), 0, 0, \
     "Layers stacked."}, \
    {"heads", OPTION_INT, "4", 1, 64, NULL, STACK_FIELD(type, heads), 0, 0, \
     "Attention heads."}
#define STACK_INNER_OPTION(type, inner_preset) \
    {"inner", OPTION_INT, inner_preset, 1, 8192, NULL, STACK_FIELD(type, inner), 0, 0, \
     "Width inside the feed-forward part."}
#define STACK_NORM_OPTIONS(type) \
    {"norm", OPTION_CHOICE, "pre", 0, 0, stack_norm_names, STACK_FIELD(type, norm), 0, 0, \
     "Layer norm before each part, or after the sum."}, \
    {"activation", OPTION_CHOICE, "gelu", 0, 0, stack_activation_names, \
     STACK_FIELD(type, activation), 0, 0, "Activation of the feed-forward part."}
#define STACK_DROPOUT_OPTION(type) \
    {"dropout", OPTION_DOUBLE, "0.1", 0, 0.9, NULL, STACK_FIELD(type, dropout), 0, 0, \
     "Share of values dropped while training."}
#define STACK_OPTIONS(type, inner_preset) \
    STACK_SIZE_OPTIONS(type), STACK_INNER_OPTION(type, inner_preset), STACK_NORM_OPTIONS(type), \
    STACK_DROPOUT_OPTION(type)
/* clang-format on */

struct stack_layer {
    struct norm_layer mix_norm, feed_norm;
    struct feed_forward_layer feed;
};

struct stack {
    size_t positions; /* [T, D] learned, or SIZE_MAX */
    struct stack_layer layers[LAYERS_MAX];
    struct norm_layer last_norm; /* pre-norm only */
};

/* What a backbone does over time, in layer i: x [B, T, D] -> [B, T, D]. `self` and `state` are what
 * stack_forward was given. */
struct stack_mixer {
    struct tensor *(*mix)(const void *self, size_t i, struct tape *tape, struct tensor *x,
                          void *state);
    const void *self;
    void *state;
};

/* STATUS_INVALID where the heads do not divide the width. */
enum status stack_check_heads(const struct stack_options *options, struct error *error) MUST_USE;

/* Fills width, layers and the shape of a model, which begins as causal and streaming. */
void stack_model_init(struct backbone_model *model, const struct backbone *backbone,
                      const struct stack_options *options, const struct backbone_shape *shape);

/* "prefix.layer3" in `out`: where layer i's parameters are named. */
const char *stack_layer_name(char out[PARAM_NAME_MAX], const char *prefix, size_t i);

/* Everything but the mixers' own parameters. `positions`: a learned table over shape.length. */
void stack_declare(struct stack *stack, const struct backbone_model *model,
                   const struct stack_options *options, bool positions, struct params *params,
                   const char *prefix);

/* The parts of layer i around the mixer. */
struct tensor *stack_layer_forward(const struct stack *stack, const struct stack_options *options,
                                   size_t i, struct tape *tape, struct tensor *x,
                                   const struct stack_mixer *mixer);

/* Positions, all layers, last norm. `first` is the position of x's first step (a state's count). */
struct tensor *stack_forward(const struct stack *stack, const struct stack_options *options,
                             struct tape *tape, struct tensor *x, size_t first,
                             const struct stack_mixer *mixer);

/* ---------------------------------------------------------------- pieces of a state */

/* tail [B, K-1, D] = the last K - 1 steps of [tail, x]: what a causal convolution needs next. */
void stack_advance_tail(struct tensor *tail, const struct tensor *x);

#endif
