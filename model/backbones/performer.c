/* Performer: linear attention with positive orthogonal random features, FAVOR+ (Choromanski et al.,
 * ICLR 2021, arXiv:2009.14794). SPDX-License-Identifier: Apache-2.0
 *
 * e^(q . k / sqrt(h)) is the mean of phi(q) . phi(k) over random features phi; with m of them,
 * attention is two sums over the steps so far, of a size that does not grow: time and memory are
 * linear in the length, and one more step always costs the same, without any bound on the steps.
 *
 * Three things are done differently from common implementations, because each was measured to be
 * wrong there. Keys are kept in range by a running maximum and features have no floor, so that the
 * model is causal to the last bit (op_linear_attention). Directions are drawn with the signs that
 * make them uniform (orthogonal.h), without which small heads do not profit from more features. And
 * queries and keys are normalised with a learned, bounded gain a head, since the estimate is of no
 * use for long vectors.
 *
 * Features are parameters that are never trained: drawn anew every `redraw` steps, frozen for the
 * last fifth of training, stored with the weights. Beside the linear heads some may attend to a
 * local window instead (`local`): sums alone recall single steps badly.
 */
#include "model/backbones/orthogonal.h"
#include "model/backbones/stack.h"

#include "base/check.h"
#include "base/memory.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define FEATURES_PER_CHANNEL 4    /* the automatic number of features, times h */
#define FROZEN_FROM          0.8  /* of the progress of training */
#define RELU_FLOOR           1e-3 /* the paper's, added to each ReLU feature */
#define GAIN_START           0.5
#define GAIN_MIN             0.05
#define REDRAW_STREAM        UINT64_C(0x666561747572) /* streams of draws, apart from others' */

/* ---------------------------------------------------------------- hyperparameters */

enum performer_mode { MODE_CAUSAL, MODE_ENCODER };
enum performer_positions { POSITIONS_LEARNED, POSITIONS_NONE };

struct performer_options {
    struct stack_options stack;
    int64_t mode, map, features, redraw, local, window, positions;
    bool project_relu, normalise;
    double gain_max;
};

struct performer_layer {
    struct linear_layer qk, v, local_qk, local_v, out;
    size_t features; /* W [m, h], fixed, or SIZE_MAX */
    size_t gain;     /* [linear heads], or SIZE_MAX */
};

struct performer {
    struct backbone_model model; /* first */
    struct performer_options options;
    size_t head_width, linear_heads, local_heads;
    size_t features;        /* m */
    struct pattern pattern; /* of the local heads */
    struct stack stack;
    struct performer_layer layers[LAYERS_MAX];
};

static const struct performer *performer_of(const struct backbone_model *model)
{
    return (const struct performer *)(const void *)model;
}

static bool projects(const struct performer *self)
{
    return self->options.map == FEATURES_SOFTMAX || self->options.project_relu;
}

/* ---------------------------------------------------------------- life */

static void performer_release(struct backbone_model *model)
{
    struct performer *self = (struct performer *)(void *)model;
    pattern_release(&self->pattern);
    mem_free(self);
}

static enum status check_heads(const struct performer_options *options, struct error *error)
{
    const struct stack_options *stack = &options->stack;
    enum status status = stack_check_heads(stack, error);
    if (status != STATUS_OK || options->local < stack->heads) {
        return status;
    }
    (void)error_set(error, STATUS_INVALID, "cannot make %lld of %lld heads local: none is linear",
                    (long long)options->local, (long long)stack->heads);
    (void)error_hint(error, "Set local=%lld or less, or choose another backbone for windows alone.",
                     (long long)stack->heads - 1);
    return error_code(error, "bad_value", "local");
}

static enum status check_features(const struct performer *self, struct error *error)
{
    if (projects(self) || self->features == self->head_width) {
        return STATUS_OK;
    }
    (void)error_set(error, STATUS_INVALID,
                    "cannot make %zu features of heads of width %zu without a projection",
                    self->features, self->head_width);
    (void)error_hint(error, "Leave features=0, or set project_relu=true.");
    return error_code(error, "bad_value", "features");
}

/* The nearest `window` steps. Encoders look back only with these heads. */
static enum status make_window(struct performer *self, struct error *error)
{
    size_t length = self->model.shape.length;
    size_t window = (size_t)self->options.window < length ? (size_t)self->options.window : length;
    self->pattern = (struct pattern){.kind = PATTERN_OFFSETS, .length = length};
    self->pattern.offsets = mem_zeroed(window, sizeof(uint32_t));
    if (self->pattern.offsets == NULL) {
        return error_set(error, STATUS_NO_MEMORY, "could not reserve a window of %zu steps",
                         window);
    }
    for (size_t i = 0; i < window; i++) {
        self->pattern.offsets[i] = (uint32_t)i;
    }
    self->pattern.offset_count = window;
    self->model.window = self->local_heads > 0 ? window : 0;
    return STATUS_OK;
}

static void fill_model(struct performer *self)
{
    const struct performer_options *options = &self->options;
    bool causal = options->mode == MODE_CAUSAL;
    self->model.options = options;
    self->model.causal = causal;
    self->model.streaming = causal;
    size_t bounded = options->positions == POSITIONS_LEARNED ? self->model.shape.length : SIZE_MAX;
    self->model.state_steps_max = causal ? bounded : 0;
    (void)snprintf(self->model.pattern, sizeof(self->model.pattern), "%s",
                   options->map == FEATURES_SOFTMAX ? "softmax_features" : "relu_features");
}

static enum status performer_create(const void *options, const struct backbone_shape *shape,
                                    struct backbone_model **model, struct error *error)
{
    struct performer *self = mem_zeroed(1, sizeof(*self));
    if (self == NULL) {
        return error_set(error, STATUS_NO_MEMORY, "could not reserve a backbone");
    }
    extern const struct backbone performer_backbone;
    memcpy(&self->options, options, sizeof(self->options));
    const struct stack_options *stack = &self->options.stack;
    stack_model_init(&self->model, &performer_backbone, stack, shape);
    fill_model(self);
    enum status status = check_heads(&self->options, error);
    if (status == STATUS_OK) {
        self->head_width = (size_t)(stack->width / stack->heads);
        self->local_heads = (size_t)self->options.local;
        self->linear_heads = (size_t)stack->heads - self->local_heads;
        size_t automatic = self->head_width * (projects(self) ? FEATURES_PER_CHANNEL : 1);
        self->features = self->options.features > 0 ? (size_t)self->options.features : automatic;
        status = check_features(self, error);
    }
    if (status == STATUS_OK) {
        status = make_window(self, error);
    }
    if (status != STATUS_OK) {
        performer_release(&self->model);
        return status;
    }
    *model = &self->model;
    return STATUS_OK;
}

/* ---------------------------------------------------------------- parameters */

static struct linear_layer declare_linear(struct params *params, size_t in, size_t out,
                                          const char *prefix, const char *part)
{
    char name[PARAM_NAME_MAX];
    struct linear_spec spec = {.in = in, .out = out, .init = PARAM_XAVIER};
    return linear_layer_declare(params, &spec, param_name(name, prefix, part));
}

static size_t declare_gain(struct params *params, size_t heads, const char *prefix,
                           const char *part)
{
    struct param_spec spec = {.shape = {heads}, .init = PARAM_CONSTANT, .gain = GAIN_START};
    return params_add(params, &spec, "%s.%s", prefix, part);
}

static void declare_layer(const struct performer *self, struct params *params, const char *prefix,
                          struct performer_layer *layer)
{
    size_t width = self->model.width;
    size_t linear = self->linear_heads * self->head_width;
    size_t local = self->local_heads * self->head_width;
    layer->features = SIZE_MAX;
    layer->gain = SIZE_MAX;
    layer->qk = declare_linear(params, width, 2 * linear, prefix, "attention.qk");
    layer->v = declare_linear(params, width, linear, prefix, "attention.v");
    if (local > 0) {
        layer->local_qk = declare_linear(params, width, 2 * local, prefix, "attention.local_qk");
        layer->local_v = declare_linear(params, width, local, prefix, "attention.local_v");
    }
    layer->out = declare_linear(params, width, width, prefix, "attention.out");
    if (projects(self)) {
        struct param_spec spec = {.shape = {self->features, self->head_width}, .fixed = true};
        layer->features = params_add(params, &spec, "%s.attention.features", prefix);
    }
    if (self->options.normalise) {
        layer->gain = declare_gain(params, self->linear_heads, prefix, "attention.gain");
    }
}

static void performer_declare(struct backbone_model *model, struct params *params,
                              const char *prefix)
{
    struct performer *self = (struct performer *)(void *)model;
    char name[PARAM_NAME_MAX];
    bool learned = self->options.positions == POSITIONS_LEARNED;
    stack_declare(&self->stack, model, &self->options.stack, learned, params, prefix);
    for (size_t i = 0; i < model->layers; i++) {
        declare_layer(self, params, stack_layer_name(name, prefix, i), &self->layers[i]);
    }
}

/* The gains stay within their bounds. */
static void performer_settle(const struct backbone_model *model, const struct params *params,
                             real *values)
{
    const struct performer *self = performer_of(model);
    for (size_t i = 0; i < model->layers && self->options.normalise; i++) {
        const struct param *gain = &params->items[self->layers[i].gain];
        for (size_t h = 0; h < gain->size; h++) {
            real *value = &values[gain->offset + h];
            *value = (real)fmin(fmax((double)*value, GAIN_MIN), self->options.gain_max);
        }
    }
}

/* Draws depend on the seed, the layer and how many came before, on nothing else. */
static void performer_refresh(const struct backbone_model *model, const struct params *params,
                              real *values, const struct backbone_moment *moment)
{
    const struct performer *self = performer_of(model);
    uint64_t redraw = (uint64_t)self->options.redraw;
    bool due = redraw > 0 && moment->step % redraw == 0 && moment->progress < FROZEN_FROM;
    if (!projects(self) || (moment->step > 0 && !due)) {
        return;
    }
    uint64_t draw = redraw > 0 ? moment->step / redraw : 0;
    for (size_t i = 0; i < model->layers; i++) {
        const struct param *features = &params->items[self->layers[i].features];
        struct random random;
        random_init(&random, moment->seed, REDRAW_STREAM + draw * LAYERS_MAX + i);
        orthogonal_draw(self->features, self->head_width, &random, values + features->offset);
    }
}

/* ---------------------------------------------------------------- state */

/* Behind the beginning of a state, for each layer: the running sums of the linear heads, and keys
 * and values [B, window, local h] of the local ones. */
static struct linear_attention attention_of(const struct performer *self,
                                            const struct tensor *projection)
{
    bool relu = self->options.map == FEATURES_RELU;
    return (struct linear_attention){
        .heads = self->linear_heads,
        .map = relu ? FEATURES_RELU : FEATURES_SOFTMAX,
        .projection = projection,
        .scale = projects(self) ? 0 : 1,
        .encoder = self->options.mode == MODE_ENCODER,
        .feature_floor = relu ? (real)RELU_FLOOR : 0,
    };
}

/* A projection's shape, where only that matters. */
static struct tensor projection_shape(const struct performer *self)
{
    return (struct tensor){.shape = {self->features, self->head_width, 1, 1}, .axes = 2};
}

static size_t sums_size(const struct performer *self, size_t batch)
{
    struct tensor shape = projection_shape(self);
    struct linear_attention spec = attention_of(self, projects(self) ? &shape : NULL);
    return batch * linear_attention_state_size(&spec, self->head_width);
}

static size_t ring_size(const struct performer *self, size_t batch)
{
    return batch * self->local_heads * self->head_width * self->pattern.offset_count;
}

static size_t performer_state_bytes(const struct backbone_model *model, size_t batch)
{
    const struct performer *self = performer_of(model);
    size_t reals = sums_size(self, batch) + 2 * ring_size(self, batch);
    return sizeof(struct backbone_state) + model->layers * reals * sizeof(real);
}

/* The running sums of layer i, and behind them its ring. */
static real *state_sums(const struct performer *self, struct backbone_state *state, size_t i)
{
    size_t layer = sums_size(self, state->batch) + 2 * ring_size(self, state->batch);
    return (real *)(void *)(state + 1) + i * layer;
}

static void performer_state_begin(const struct backbone_model *model, struct backbone_state *state)
{
    const struct performer *self = performer_of(model);
    struct tensor shape = projection_shape(self);
    struct linear_attention spec = attention_of(self, projects(self) ? &shape : NULL);
    for (size_t i = 0; i < model->layers; i++) {
        linear_attention_state_reset(&spec, self->head_width, state->batch,
                                     state_sums(self, state, i));
    }
}

/* ---------------------------------------------------------------- forward */

static struct tensor *attend_linear(const struct performer *self, size_t i, struct tape *tape,
                                    struct tensor *x, struct backbone_state *state)
{
    const struct performer_layer *layer = &self->layers[i];
    struct tensor *projection =
        layer->features != SIZE_MAX ? tape_param(tape, layer->features) : NULL;
    struct linear_attention spec = attention_of(self, projection);
    struct tensor *qk = linear_layer(tape, &layer->qk, x);
    if (layer->gain != SIZE_MAX) {
        qk = op_head_norm(tape, qk, tape_param(tape, layer->gain), self->head_width);
    }
    struct tensor *v = linear_layer(tape, &layer->v, x);
    if (state == NULL) {
        return op_linear_attention(tape, qk, v, &spec);
    }
    real *sums = tape_computes(tape) ? state_sums(self, state, i) : NULL;
    return linear_attention_append(tape, qk, v, &spec, sums);
}

static struct tensor *attend_local(const struct performer *self, size_t i, struct tape *tape,
                                   struct tensor *x, struct backbone_state *state)
{
    const struct performer_layer *layer = &self->layers[i];
    struct attention attention = {.heads = self->local_heads, .pattern = &self->pattern};
    struct tensor *qk = linear_layer(tape, &layer->local_qk, x);
    struct tensor *v = linear_layer(tape, &layer->local_v, x);
    if (state == NULL) {
        return op_attention(tape, qk, v, &attention);
    }
    struct attention_cache cache = {.batch = x->shape[0], .capacity = self->pattern.offset_count};
    if (tape_computes(tape)) {
        cache.keys = state_sums(self, state, i) + sums_size(self, state->batch);
        cache.values = cache.keys + ring_size(self, state->batch);
        cache.length = state->steps;
    }
    return attention_append(tape, qk, v, &attention, &cache);
}

/* x [B, T, D] -> [B, T, D]: the linear heads, then the local ones, and the output projection. */
static struct tensor *attend(const void *model, size_t i, struct tape *tape, struct tensor *x,
                             void *memory)
{
    const struct performer *self = model;
    struct backbone_state *state = memory;
    struct tensor *y = attend_linear(self, i, tape, x, state);
    if (self->local_heads > 0) {
        y = op_concat(tape, y, attend_local(self, i, tape, x, state));
    }
    return linear_layer(tape, &self->layers[i].out, y);
}

static struct tensor *performer_forward(const struct backbone_model *model, struct tape *tape,
                                        struct tensor *x, struct backbone_state *state)
{
    const struct performer *self = performer_of(model);
    struct stack_mixer mixer = {.mix = attend, .self = self, .state = state};
    return stack_forward(&self->stack, &self->options.stack, tape, x, backbone_first(tape, state),
                         &mixer);
}

/* ---------------------------------------------------------------- registration */

static const char *const mode_names[] = {"causal", "encoder", NULL};
static const char *const map_names[] = {"softmax", "relu", NULL};
static const char *const position_names[] = {"learned", "none", NULL};
#define FIELD(name) OPTION_FIELD(struct performer_options, name)

static const struct option performer_options[] = {
    STACK_OPTIONS(struct performer_options, "256"),
    {"mode", OPTION_CHOICE, "causal", 0, 0, mode_names, FIELD(mode), 0, 0,
     "Steps see the past only, or the whole window (no decoding by steps then)."},
    {"map", OPTION_CHOICE, "softmax", 0, 0, map_names, FIELD(map), 0, 0,
     "Features that estimate softmax attention, or plain ReLU features."},
    {"features", OPTION_INT, "0", 0, 4096, NULL, FIELD(features), 0, 0,
     "Features a head (the paper's m); 0 = 4 times the head's width, or the width for ReLU without "
     "a projection."},
    {"project_relu", OPTION_BOOL, "false", 0, 0, NULL, FIELD(project_relu), 0, 0,
     "ReLU features of random projections instead of the channels themselves."},
    {"redraw", OPTION_INT, "500", 0, 1000000, NULL, FIELD(redraw), 0, 0,
     "Training steps after which features are drawn anew, up to 80 % of training; 0 = never."},
    {"normalise", OPTION_BOOL, "true", 0, 0, NULL, FIELD(normalise), 0, 0,
     "Divides queries and keys by their root mean square; a learned gain a head scales them."},
    {"gain_max", OPTION_DOUBLE, "1", 0.1, 4, NULL, FIELD(gain_max), 0, 0,
     "Largest learned gain: beyond 1 random features estimate badly."},
    {"local", OPTION_INT, "1", 0, 63, NULL, FIELD(local), 0, 0,
     "Heads that attend to a window of the nearest steps instead."},
    {"window", OPTION_INT, "32", 1, 65536, NULL, FIELD(window), 0, 0,
     "Steps that a local head sees."},
    {"positions", OPTION_CHOICE, "learned", 0, 0, position_names, FIELD(positions), 0, 0,
     "A learned table over the window, or nothing."},
};

const struct backbone performer_backbone = {
    .name = "performer",
    .paper = "Choromanski et al. 2021, arXiv:2009.14794",
    .help = "Linear attention with orthogonal random features, and some heads with a local window.",
    .options = performer_options,
    .option_count = ARRAY_COUNT(performer_options),
    .options_bytes = sizeof(struct performer_options),
    .causal = true,
    .streaming = true,
    .create = performer_create,
    .release = performer_release,
    .declare = performer_declare,
    .forward = performer_forward,
    .state_bytes = performer_state_bytes,
    .state_begin = performer_state_begin,
    .settle = performer_settle,
    .refresh = performer_refresh,
};
