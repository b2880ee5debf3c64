/* LogSparse Transformer with convolutional self-attention (Li et al., NeurIPS 2019,
 * arXiv:1907.00235). SPDX-License-Identifier: Apache-2.0
 *
 * Two ideas. Queries and keys come from a causal convolution of width K instead of a single step,
 * so that matching looks at local shapes and not at single values; values come from the step alone.
 * And a query sees only O(log T) keys: a dense window, then steps of powers of two, repeated from
 * each multiple of a restart length, beyond 1,024 tokens at two levels (multiples of the window,
 * and far away of a multiple of it); stacked layers let every step reach every earlier one, which
 * create checks by exact boolean closure. Every pattern is in offset form: the same distances for
 * all rows, so that a sliding window keeps its meaning and decoding reads a few places of a ring.
 *
 * Departures from the paper, by option: pre-norm (paper: norm=post), GELU (activation=relu), heads
 * of width D / H (head_width=D), a position table or biases by distance added inside the backbone.
 */
#include "model/backbones/backbone.h"
#include "model/backbones/stack.h"

#include "base/check.h"
#include "base/memory.h"
#include "base/size.h"

#include <stdio.h>
#include <string.h>

#define WINDOW_MIN ((size_t)16)
#define RESTARTS   4 /* the automatic restart length is a quarter of the window, or the season */

/* Longest sequence with automatic restarts at quarters of it; beyond, the window decides. */
#define QUARTERS_MAX ((size_t)1024)

/* ---------------------------------------------------------------- hyperparameters */

enum logsparse_pattern { LOG, LOCAL_LOG, LOCAL_LOG_RESTART, DENSE };
enum logsparse_positions { POSITIONS_LEARNED, POSITIONS_RELATIVE, POSITIONS_NONE };

struct logsparse_options {
    struct stack_options stack;
    int64_t head_width, kernel, pattern, window, restart, positions;
};

struct logsparse_layer {
    struct conv_layer qk;
    struct linear_layer v, out;
    size_t bias; /* [H, offsets], or SIZE_MAX */
};

struct logsparse {
    struct backbone_model model; /* first */
    struct logsparse_options options;
    struct pattern pattern;
    size_t projected; /* H h */
    size_t capacity;  /* steps that a state keeps */
    struct stack stack;
    struct logsparse_layer layers[LAYERS_MAX];
};

static const struct logsparse *logsparse_of(const struct backbone_model *model)
{
    return (const struct logsparse *)(const void *)model;
}

/* ---------------------------------------------------------------- pattern */

static size_t log2_up(size_t n)
{
    size_t bits = 0;
    while (((size_t)1 << bits) < n) {
        bits++;
    }
    return bits;
}

/* 0 in the options: max(16, log2 of the length), which make_pattern may raise. */
static size_t window_of(const struct logsparse_options *options, size_t length)
{
    size_t chosen = larger(WINDOW_MIN, log2_up(length));
    size_t window = options->window > 0 ? (size_t)options->window : chosen;
    if (options->pattern == LOG) {
        window = 1;
    }
    return options->pattern == DENSE || window > length ? length : window;
}

static size_t restart_of(const struct logsparse_options *options,
                         const struct backbone_shape *shape)
{
    if (options->pattern != LOCAL_LOG_RESTART) {
        return 0;
    }
    size_t chosen = larger(shape->season, shape->length / RESTARTS);
    return options->restart > 0 ? (size_t)options->restart : larger(chosen, 2);
}

/* Whether the given layers reach every earlier token. */
static enum status reaches(const struct logsparse *self, bool *all, struct error *error)
{
    size_t layers = 0;
    enum status status = pattern_layers_to_close(&self->pattern, self->model.shape.length,
                                                 self->model.layers, &layers, error);
    *all = status == STATUS_OK && layers > 0;
    return status;
}

/* Replaces the pattern. */
static enum status try_pattern(struct logsparse *self, const struct pattern_log_sparse *wanted,
                               struct error *error)
{
    pattern_release(&self->pattern);
    self->model.window = wanted->window;
    return pattern_log_sparse(wanted, &self->pattern, error);
}

/* An automatic window grows until the given layers reach every earlier token. */
static enum status grow_window(struct logsparse *self, struct pattern_log_sparse wanted,
                               struct error *error)
{
    bool all = false;
    enum status status = try_pattern(self, &wanted, error);
    while (status == STATUS_OK && wanted.window < wanted.length) {
        status = reaches(self, &all, error);
        if (status != STATUS_OK || all) {
            break;
        }
        wanted.window = smaller(wanted.window + wanted.window / 16 + 1, wanted.length);
        status = try_pattern(self, &wanted, error);
    }
    return status;
}

/* Long windows: log steps that begin at the window's width, and restarts after a multiple of it. */
static struct pattern_log_sparse wide_shape(const struct logsparse *self, size_t window,
                                            size_t multiple)
{
    const struct backbone_shape *shape = &self->model.shape;
    size_t width = smaller(window, shape->length);
    return (struct pattern_log_sparse){
        .length = shape->length,
        .window = width,
        .restart = larger(multiple * width - 1, shape->season),
        .last_pair = true,
        .first_step = width,
    };
}

/* Two levels: restarts a window apart, and from a multiple of them on one key a multiple. */
static struct pattern_log_sparse far_shape(const struct logsparse *self, size_t window,
                                           size_t multiple)
{
    struct pattern_log_sparse shape = wide_shape(self, window, 1);
    shape.restart = shape.window;
    shape.far_restart = multiple * shape.window;
    return shape;
}

/* The best of patterns: the fewest pairs. */
struct best_pattern {
    struct pattern_log_sparse shape; /* length 0 = none */
    uint64_t pairs;
};

static enum status try_better(struct logsparse *self, const struct pattern_log_sparse *wanted,
                              struct best_pattern *best, struct error *error)
{
    enum status status = try_pattern(self, wanted, error);
    uint64_t pairs = status == STATUS_OK ? pattern_pairs(&self->pattern, wanted->length) : 0;
    bool all = false;
    if (status == STATUS_OK && pairs < best->pairs) {
        status = reaches(self, &all, error);
    }
    if (all) {
        *best = (struct best_pattern){.shape = *wanted, .pairs = pairs};
    }
    return status;
}

/* The pattern with the fewest pairs that the given layers close, among those of far_shape and
 * wide_shape; false in *found where none does. With a restart of a quarter of the length the window
 * that three layers need grows almost like the length, and so do the keys of a query; with one
 * level of restarts chosen freely they grow like its root, with two like its third root: about 39
 * at 4,096 tokens and 60 at 16,384. One layer closes none of them: each leaves the step behind its
 * window out. */
static enum status choose_wide(struct logsparse *self, bool *found, struct error *error)
{
    static const size_t multiples[] = {2, 4, 8, 16, 32};
    struct best_pattern best = {.pairs = UINT64_MAX};
    size_t length = self->model.shape.length;
    enum status status = STATUS_OK;
    size_t widest = self->model.layers > 1 ? length / 8 : 0;
    for (size_t w = WINDOW_MIN; status == STATUS_OK && w <= widest; w += w / 16) {
        for (size_t m = 0; status == STATUS_OK && m < ARRAY_COUNT(multiples); m++) {
            struct pattern_log_sparse far = far_shape(self, w, multiples[m]);
            struct pattern_log_sparse wide = wide_shape(self, w, multiples[m]);
            status = try_better(self, &far, &best, error);
            if (status == STATUS_OK) {
                status = try_better(self, &wide, &best, error);
            }
        }
        if (w >= best.pairs / length) {
            break; /* the window alone has as many */
        }
    }
    *found = best.shape.length > 0;
    return status == STATUS_OK && *found ? try_pattern(self, &best.shape, error) : status;
}

/* Dense attention without biases by distance needs no offsets. */
static enum status make_pattern(struct logsparse *self, struct error *error)
{
    const struct logsparse_options *options = &self->options;
    const struct backbone_shape *shape = &self->model.shape;
    struct pattern_log_sparse wanted = {
        .length = shape->length,
        .window = window_of(options, shape->length),
        .restart = restart_of(options, shape),
        .last_pair = true,
    };
    if (options->pattern == DENSE && options->positions != POSITIONS_RELATIVE) {
        self->model.window = wanted.window;
        self->pattern = pattern_dense(shape->length);
        return STATUS_OK;
    }
    if (options->pattern == LOG || options->window > 0) {
        return try_pattern(self, &wanted, error);
    }
    enum status status = STATUS_OK;
    bool found = false;
    if (options->pattern == LOCAL_LOG_RESTART && options->restart == 0 &&
        shape->length > QUARTERS_MAX) {
        status = choose_wide(self, &found, error);
    }
    return status != STATUS_OK || found ? status : grow_window(self, wanted, error);
}

static enum status check_reach(const struct logsparse *self, struct error *error)
{
    size_t length = self->model.shape.length;
    size_t needed = 0;
    enum status status =
        pattern_layers_to_close(&self->pattern, length, PATTERN_LAYERS_MAX, &needed, error);
    if (status != STATUS_OK || (needed != 0 && needed <= self->model.layers)) {
        return status;
    }
    if (needed == 0) {
        (void)error_set(error, STATUS_INVALID,
                        "pattern %s over %zu tokens never reaches every earlier token",
                        self->model.pattern, length);
    } else {
        (void)error_set(error, STATUS_INVALID,
                        "pattern %s over %zu tokens needs %zu layers to reach every earlier token, "
                        "%zu are given",
                        self->model.pattern, length, needed, self->model.layers);
    }
    (void)error_hint(error, "Set layers=%zu, a larger window, or pattern=local_log_restart.",
                     needed != 0 ? needed : LAYERS_MAX);
    return error_code(error, "pattern_not_closed", "layers");
}

/* ---------------------------------------------------------------- life */

static const char *const pattern_names[] = {"log", "local_log", "local_log_restart", "dense", NULL};

static void logsparse_release(struct backbone_model *model)
{
    struct logsparse *self = (struct logsparse *)(void *)model;
    pattern_release(&self->pattern);
    mem_free(self);
}

static enum status logsparse_create(const void *options, const struct backbone_shape *shape,
                                    struct backbone_model **model, struct error *error)
{
    CHECK(shape->length > 0);
    struct logsparse *self = mem_zeroed(1, sizeof(*self));
    if (self == NULL) {
        return error_set(error, STATUS_NO_MEMORY, "could not reserve a backbone");
    }
    extern const struct backbone logsparse_backbone;
    memcpy(&self->options, options, sizeof(self->options));
    const struct stack_options *stack = &self->options.stack;
    stack_model_init(&self->model, &logsparse_backbone, stack, shape);
    self->model.options = &self->options;
    (void)snprintf(self->model.pattern, sizeof(self->model.pattern), "%s",
                   pattern_names[self->options.pattern]);
    enum status status = STATUS_OK;
    if (self->options.head_width == 0) {
        status = stack_check_heads(stack, error);
    }
    if (status == STATUS_OK) {
        status = make_pattern(self, error);
    }
    if (status == STATUS_OK) {
        status = check_reach(self, error);
    }
    if (status != STATUS_OK) {
        logsparse_release(&self->model);
        return status;
    }
    self->projected =
        (size_t)(self->options.head_width > 0 ? stack->heads * self->options.head_width
                                              : stack->width);
    self->capacity = self->pattern.kind == PATTERN_OFFSETS
                         ? self->pattern.offsets[self->pattern.offset_count - 1] + 1
                         : shape->length;
    self->model.state_steps_max =
        self->options.positions == POSITIONS_LEARNED ? shape->length : SIZE_MAX;
    self->model.sparse_share = pattern_sparse_share(&self->pattern, shape->length);
    *model = &self->model;
    return STATUS_OK;
}

/* ---------------------------------------------------------------- parameters */

static void declare_layer(struct logsparse *self, struct params *params, const char *prefix,
                          struct logsparse_layer *layer)
{
    char name[PARAM_NAME_MAX];
    size_t width = self->model.width;
    layer->qk = conv_layer_declare(params, width, 2 * self->projected, (size_t)self->options.kernel,
                                   param_name(name, prefix, "attention.qk"));
    layer->v = linear_layer_declare(
        params, &(struct linear_spec){.in = width, .out = self->projected, .init = PARAM_XAVIER},
        param_name(name, prefix, "attention.v"));
    layer->out = linear_layer_declare(
        params, &(struct linear_spec){.in = self->projected, .out = width, .init = PARAM_XAVIER},
        param_name(name, prefix, "attention.out"));
    layer->bias = SIZE_MAX;
    if (self->options.positions == POSITIONS_RELATIVE) {
        struct param_spec spec = {
            .shape = {(size_t)self->options.stack.heads, self->pattern.offset_count}};
        layer->bias = params_add(params, &spec, "%s.attention.bias", prefix);
    }
}

static void logsparse_declare(struct backbone_model *model, struct params *params,
                              const char *prefix)
{
    struct logsparse *self = (struct logsparse *)(void *)model;
    char name[PARAM_NAME_MAX];
    bool learned = self->options.positions == POSITIONS_LEARNED;
    stack_declare(&self->stack, model, &self->options.stack, learned, params, prefix);
    for (size_t i = 0; i < model->layers; i++) {
        declare_layer(self, params, stack_layer_name(name, prefix, i), &self->layers[i]);
    }
}

/* ---------------------------------------------------------------- state */

/* Behind the beginning of a state, for each layer: keys and values [B, capacity, H h] and the last
 * inputs of the convolution [B, K - 1, D]. */
static size_t ring_size(const struct logsparse *self, size_t batch)
{
    return batch * self->capacity * self->projected;
}

static size_t tail_size(const struct logsparse *self, size_t batch)
{
    return batch * (size_t)(self->options.kernel - 1) * self->model.width;
}

static size_t logsparse_state_bytes(const struct backbone_model *model, size_t batch)
{
    const struct logsparse *self = logsparse_of(model);
    size_t reals = 2 * ring_size(self, batch) + tail_size(self, batch);
    return sizeof(struct backbone_state) + model->layers * reals * sizeof(real);
}

/* Layer i's part of the state. */
static void state_layer(const struct logsparse *self, struct backbone_state *state, size_t i,
                        struct attention_cache *cache, struct tensor *tail)
{
    size_t ring = ring_size(self, state->batch);
    size_t tail_reals = tail_size(self, state->batch);
    real *first = (real *)(void *)(state + 1) + i * (2 * ring + tail_reals);
    *cache = (struct attention_cache){
        .keys = first,
        .values = first + ring,
        .batch = state->batch,
        .capacity = self->capacity,
        .length = state->steps,
    };
    *tail = (struct tensor){
        .shape = {state->batch, (size_t)(self->options.kernel - 1), self->model.width, 1},
        .axes = 3,
        .data = first + 2 * ring,
    };
}

/* ---------------------------------------------------------------- forward */

/* x [B, T, D] -> [B, T, D]: convolution for queries and keys, sparse attention, output projection.
 */
static struct tensor *attend(const void *model, size_t i, struct tape *tape, struct tensor *x,
                             void *memory)
{
    const struct logsparse *self = model;
    struct backbone_state *state = memory;
    const struct logsparse_layer *layer = &self->layers[i];
    struct attention attention = {
        .heads = (size_t)self->options.stack.heads,
        .pattern = &self->pattern,
        .bias = layer->bias != SIZE_MAX ? tape_param(tape, layer->bias) : NULL,
    };
    struct attention_cache cache = {.batch = x->shape[0], .capacity = self->capacity};
    struct tensor tail = {0};
    if (state != NULL && tape_computes(tape)) {
        state_layer(self, state, i, &cache, &tail);
    }
    struct tensor *qk = conv_layer(tape, &layer->qk, x, tail.data != NULL ? &tail : NULL);
    struct tensor *v = linear_layer(tape, &layer->v, x);
    if (tail.data != NULL) {
        stack_advance_tail(&tail, x);
    }
    struct tensor *y = state != NULL ? attention_append(tape, qk, v, &attention, &cache)
                                     : op_attention(tape, qk, v, &attention);
    return linear_layer(tape, &layer->out, y);
}

static struct tensor *logsparse_forward(const struct backbone_model *model, struct tape *tape,
                                        struct tensor *x, struct backbone_state *state)
{
    const struct logsparse *self = logsparse_of(model);
    struct stack_mixer mixer = {.mix = attend, .self = self, .state = state};
    return stack_forward(&self->stack, &self->options.stack, tape, x, backbone_first(tape, state),
                         &mixer);
}

/* ---------------------------------------------------------------- registration */

static const char *const position_names[] = {"learned", "relative", "none", NULL};
#define FIELD(name) OPTION_FIELD(struct logsparse_options, name)

static const struct option logsparse_options[] = {
    STACK_OPTIONS(struct logsparse_options, "256"),
    {"head_width", OPTION_INT, "0", 0, 1024, NULL, FIELD(head_width), 0, 0,
     "Width of one head; 0 = width / heads (the paper's code uses the full width)."},
    {"kernel", OPTION_INT, "3", 1, 64, NULL, FIELD(kernel), 0, 0,
     "Steps that a query and a key are made from (the paper's k)."},
    {"pattern", OPTION_CHOICE, "local_log_restart", 0, 0, pattern_names, FIELD(pattern), 0, 0,
     "Which earlier steps a step sees."},
    {"window", OPTION_INT, "0", 0, 65536, NULL, FIELD(window), 0, 0,
     "Nearest steps that are all seen; 0 = max(16, log2 of the length), more where the layers "
     "would not reach every earlier step; beyond 1,024 steps what needs the fewest keys."},
    {"restart", OPTION_INT, "0", 0, 65536, NULL, FIELD(restart), 0, 0,
     "Distance after which the log steps begin again; 0 = max(season, length / 4), beyond 1,024 "
     "steps the window, and far away a multiple of it, whatever needs the fewest keys."},
    {"positions", OPTION_CHOICE, "learned", 0, 0, position_names, FIELD(positions), 0, 0,
     "A learned table over the window, biases by distance, or nothing."},
};

const struct backbone logsparse_backbone = {
    .name = "logsparse",
    .paper = "Li et al. 2019, arXiv:1907.00235",
    .help = "Convolutional self-attention over logarithmically many earlier steps.",
    .options = logsparse_options,
    .option_count = ARRAY_COUNT(logsparse_options),
    .options_bytes = sizeof(struct logsparse_options),
    .causal = true,
    .streaming = true,
    .create = logsparse_create,
    .release = logsparse_release,
    .declare = logsparse_declare,
    .forward = logsparse_forward,
    .state_bytes = logsparse_state_bytes,
};
