/* LogSparse Transformer with convolutional self-attention (Li et al., NeurIPS 2019,
 * arXiv:1907.00235). SPDX-License-Identifier: Apache-2.0
 *
 * Two ideas. Queries and keys come from a causal convolution of width K instead of a single step,
 * so that matching looks at local shapes and not at single values; values come from the step alone.
 * And a query sees only O(log T) keys: a dense window, then steps of powers of two, repeated from
 * each multiple of a restart length; stacked layers let every step reach every earlier one, which
 * create checks by exact boolean closure. Every pattern is in offset form: the same distances for
 * all rows, so that a sliding window keeps its meaning and decoding reads a few places of a ring.
 *
 * Departures from the paper, by option: pre-norm (paper: norm=post), GELU (activation=relu), heads
 * of width D / H (head_width=D), a position table or biases by distance added inside the backbone.
 */
#include "model/backbones/backbone.h"
#include "model/layers/layers.h"

#include "base/check.h"
#include "base/memory.h"

#include <stdalign.h>
#include <stdio.h>
#include <string.h>

#define LAYERS_MAX 16
#define WINDOW_MIN ((size_t)16)
#define RESTARTS   4 /* the automatic restart length is a quarter of the window, or the season */

/* ---------------------------------------------------------------- hyperparameters */

enum logsparse_pattern { LOG, LOCAL_LOG, LOCAL_LOG_RESTART, DENSE };
enum logsparse_positions { POSITIONS_LEARNED, POSITIONS_RELATIVE, POSITIONS_NONE };
enum logsparse_norm { NORM_PRE, NORM_POST };

struct logsparse_options {
    int64_t width, layers, heads, head_width, inner, kernel, pattern, window, restart;
    int64_t positions, norm, activation;
    double dropout;
};

struct logsparse_layer {
    struct conv_layer qk;
    struct linear_layer v, out;
    size_t bias; /* [H, offsets], or SIZE_MAX */
    struct norm_layer attention_norm, feed_norm;
    struct feed_forward_layer feed;
};

struct logsparse {
    struct backbone_model model; /* first */
    struct logsparse_options options;
    struct pattern pattern;
    size_t projected; /* H h */
    size_t capacity;  /* steps that a state keeps */
    size_t positions; /* [T, D], or SIZE_MAX */
    struct logsparse_layer layers[LAYERS_MAX];
    struct norm_layer last_norm; /* pre-norm only */
};

static const struct logsparse *logsparse_of(const struct backbone_model *model)
{
    return (const struct logsparse *)(const void *)model;
}

/* ---------------------------------------------------------------- pattern */

static size_t larger(size_t a, size_t b)
{
    return a > b ? a : b;
}

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

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

static bool reaches(const struct logsparse *self)
{
    size_t needed = pattern_layers_to_close(&self->pattern, self->model.shape.length);
    return needed != 0 && needed <= self->model.layers;
}

/* Dense attention without biases by distance needs no offsets. An automatic window grows until
 * the given layers reach every earlier token. */
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
    self->model.window = wanted.window;
    if (options->pattern == DENSE && options->positions != POSITIONS_RELATIVE) {
        self->pattern = pattern_dense(shape->length);
        return STATUS_OK;
    }
    bool automatic = options->window == 0 && options->pattern != LOG;
    enum status status = pattern_log_sparse(&wanted, &self->pattern, error);
    while (status == STATUS_OK && automatic && !reaches(self) && wanted.window < shape->length) {
        pattern_release(&self->pattern);
        wanted.window = smaller(wanted.window + wanted.window / 16 + 1, shape->length);
        self->model.window = wanted.window;
        status = pattern_log_sparse(&wanted, &self->pattern, error);
    }
    return status;
}

static enum status check_reach(const struct logsparse *self, struct error *error)
{
    size_t length = self->model.shape.length;
    size_t needed = pattern_layers_to_close(&self->pattern, length);
    if (needed != 0 && needed <= self->model.layers) {
        return STATUS_OK;
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

static enum status check_heads(const struct logsparse_options *options, struct error *error)
{
    if (options->head_width == 0 && options->width % options->heads != 0) {
        (void)error_set(error, STATUS_INVALID, "cannot divide width %lld into %lld heads",
                        (long long)options->width, (long long)options->heads);
        (void)error_hint(error, "Choose heads that divide the width, or set head_width.");
        return error_code(error, "bad_value", "heads");
    }
    return STATUS_OK;
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
    size_t width = (size_t)self->options.width;
    size_t heads = (size_t)self->options.heads;
    self->model = (struct backbone_model){
        .backbone = &logsparse_backbone,
        .options = &self->options,
        .shape = *shape,
        .width = width,
        .layers = (size_t)self->options.layers,
    };
    (void)snprintf(self->model.pattern, sizeof(self->model.pattern), "%s",
                   pattern_names[self->options.pattern]);
    enum status status = check_heads(&self->options, error);
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
        self->options.head_width > 0 ? heads * (size_t)self->options.head_width : width;
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
            .shape = {(size_t)self->options.heads, self->pattern.offset_count}};
        layer->bias = params_add(params, &spec, "%s.attention.bias", prefix);
    }
    layer->attention_norm =
        norm_layer_declare(params, width, param_name(name, prefix, "attention.norm"));
    layer->feed_norm = norm_layer_declare(params, width, param_name(name, prefix, "feed.norm"));
    layer->feed = feed_forward_declare(params, width, (size_t)self->options.inner,
                                       (enum activation)self->options.activation,
                                       self->options.dropout, param_name(name, prefix, "feed"));
}

static void logsparse_declare(struct backbone_model *model, struct params *params,
                              const char *prefix)
{
    struct logsparse *self = (struct logsparse *)(void *)model;
    char name[PARAM_NAME_MAX];
    self->positions = SIZE_MAX;
    if (self->options.positions == POSITIONS_LEARNED) {
        struct param_spec spec = {
            .shape = {model->shape.length, model->width}, .init = PARAM_NORMAL, .gain = 0.02};
        self->positions = params_add(params, &spec, "%s.positions", prefix);
    }
    for (size_t i = 0; i < model->layers; i++) {
        char part[16];
        (void)snprintf(part, sizeof(part), "layer%u", (unsigned)(i % LAYERS_MAX));
        declare_layer(self, params, param_name(name, prefix, part), &self->layers[i]);
    }
    if (self->options.norm == NORM_PRE) {
        self->last_norm =
            norm_layer_declare(params, model->width, param_name(name, prefix, "norm"));
    }
}

/* ---------------------------------------------------------------- state */

/* The caller's memory: this, then for each layer keys and values [B, capacity, H h] and the last K
 * - 1 inputs of the convolution [B, K - 1, D]. */
struct logsparse_state {
    alignas(64) size_t steps;
    size_t batch;
};

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
    return sizeof(struct logsparse_state) + model->layers * reals * sizeof(real);
}

static void logsparse_state_reset(const struct backbone_model *model, void *state, size_t batch)
{
    memset(state, 0, logsparse_state_bytes(model, batch));
    ((struct logsparse_state *)state)->batch = batch;
}

/* Layer i's part of the state. */
static void state_layer(const struct logsparse *self, struct logsparse_state *state, size_t i,
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

/* tail = the last K - 1 steps of [tail, x]. */
static void advance_tail(struct tensor *tail, const struct tensor *x)
{
    size_t width = x->shape[2];
    size_t kept = tail->shape[1];
    size_t steps = x->shape[1];
    size_t taken = steps < kept ? steps : kept;
    for (size_t b = 0; b < x->shape[0]; b++) {
        real *to = tail->data + b * kept * width;
        const real *from = x->data + (b * steps + steps - taken) * width;
        memmove(to, to + taken * width, (kept - taken) * width * sizeof(real));
        memcpy(to + (kept - taken) * width, from, taken * width * sizeof(real));
    }
}

/* ---------------------------------------------------------------- forward */

/* x [B, T, D] -> [B, T, D]: convolution for queries and keys, sparse attention, output projection.
 */
static struct tensor *attend(const struct logsparse *self, size_t i, struct tape *tape,
                             struct tensor *x, struct logsparse_state *state)
{
    const struct logsparse_layer *layer = &self->layers[i];
    struct attention attention = {
        .heads = (size_t)self->options.heads,
        .pattern = &self->pattern,
        .bias = layer->bias != SIZE_MAX ? tape_param(tape, layer->bias) : NULL,
    };
    struct attention_cache cache = {.batch = x->shape[0], .capacity = self->capacity};
    struct tensor tail = {0};
    if (state != NULL && tape_computes(tape)) {
        CHECK(state->batch == x->shape[0]);
        state_layer(self, state, i, &cache, &tail);
    }
    struct tensor *qk = conv_layer(tape, &layer->qk, x, tail.data != NULL ? &tail : NULL);
    struct tensor *v = linear_layer(tape, &layer->v, x);
    if (tail.data != NULL) {
        advance_tail(&tail, x);
    }
    struct tensor *y = state != NULL ? attention_append(tape, qk, v, &attention, &cache)
                                     : op_attention(tape, qk, v, &attention);
    return linear_layer(tape, &layer->out, y);
}

static struct tensor *run_layer(const struct logsparse *self, size_t i, struct tape *tape,
                                struct tensor *x, struct logsparse_state *state)
{
    const struct logsparse_layer *layer = &self->layers[i];
    double dropout = self->options.dropout;
    if (self->options.norm == NORM_PRE) {
        /* u = x + Attn(LN(x)); y = u + FFN(LN(u)) */
        struct tensor *a =
            attend(self, i, tape, norm_layer(tape, &layer->attention_norm, x), state);
        struct tensor *u = op_add(tape, x, op_dropout(tape, a, dropout));
        struct tensor *f = feed_forward(tape, &layer->feed, norm_layer(tape, &layer->feed_norm, u));
        return op_add(tape, u, op_dropout(tape, f, dropout));
    }
    /* u = LN(x + Attn(x)); y = LN(u + FFN(u)) */
    struct tensor *a = attend(self, i, tape, x, state);
    struct tensor *u =
        norm_layer(tape, &layer->attention_norm, op_add(tape, x, op_dropout(tape, a, dropout)));
    struct tensor *f = feed_forward(tape, &layer->feed, u);
    return norm_layer(tape, &layer->feed_norm, op_add(tape, u, op_dropout(tape, f, dropout)));
}

static struct tensor *logsparse_forward(const struct backbone_model *model, struct tape *tape,
                                        struct tensor *x, void *memory)
{
    const struct logsparse *self = logsparse_of(model);
    struct logsparse_state *state = memory;
    bool moves = state != NULL && tape_computes(tape);
    size_t first = moves ? state->steps : 0;
    CHECK(!moves || first + x->shape[1] <= model->state_steps_max);
    if (self->positions != SIZE_MAX) {
        x = op_add_table(tape, x, tape_param(tape, self->positions), first);
    }
    for (size_t i = 0; i < model->layers; i++) {
        size_t mark = tape_mark(tape);
        x = tape_keep(tape, mark, run_layer(self, i, tape, x, state));
    }
    if (self->options.norm == NORM_PRE) {
        x = norm_layer(tape, &self->last_norm, x);
    }
    if (moves) {
        state->steps += x->shape[1];
    }
    return x;
}

/* ---------------------------------------------------------------- registration */

static const char *const position_names[] = {"learned", "relative", "none", NULL};
static const char *const norm_names[] = {"pre", "post", NULL};
static const char *const activation_names[] = {"gelu", "relu", "swish", "gelu_exact", NULL};

#define FIELD(name) OPTION_FIELD(struct logsparse_options, name)

static const struct option logsparse_options[] = {
    {"width", OPTION_INT, "64", 4, 1024, NULL, FIELD(width), 0, 0, "Width of a token inside."},
    {"layers", OPTION_INT, "3", 1, LAYERS_MAX, NULL, FIELD(layers), 0, 0, "Layers stacked."},
    {"heads", OPTION_INT, "4", 1, 64, NULL, FIELD(heads), 0, 0, "Attention heads."},
    {"head_width", OPTION_INT, "0", 0, 1024, NULL, FIELD(head_width), 0, 0,
     "Width of one head; 0 = width / heads (the paper's code uses the full width)."},
    {"inner", OPTION_INT, "256", 1, 8192, NULL, FIELD(inner), 0, 0,
     "Width inside the feed-forward part."},
    {"kernel", OPTION_INT, "3", 1, 64, NULL, FIELD(kernel), 0, 0,
     "Steps that a query and a key are made from (the paper's k)."},
    {"pattern", OPTION_CHOICE, "local_log_restart", 0, 0, pattern_names, FIELD(pattern), 0, 0,
     "Which earlier steps a step sees."},
    {"window", OPTION_INT, "0", 0, 65536, NULL, FIELD(window), 0, 0,
     "Nearest steps that are all seen; 0 = max(16, log2 of the length), more where the layers "
     "would not reach every earlier step."},
    {"restart", OPTION_INT, "0", 0, 65536, NULL, FIELD(restart), 0, 0,
     "Distance after which the log steps begin again; 0 = max(season, length / 4)."},
    {"positions", OPTION_CHOICE, "learned", 0, 0, position_names, FIELD(positions), 0, 0,
     "A learned table over the window, biases by distance, or nothing."},
    {"norm", OPTION_CHOICE, "pre", 0, 0, norm_names, FIELD(norm), 0, 0,
     "Layer norm before each part, or after the sum as in the paper."},
    {"activation", OPTION_CHOICE, "gelu", 0, 0, activation_names, FIELD(activation), 0, 0,
     "Activation of the feed-forward part (paper: relu)."},
    {"dropout", OPTION_DOUBLE, "0.1", 0, 0.9, NULL, FIELD(dropout), 0, 0,
     "Share of values dropped while training."},
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
    .state_reset = logsparse_state_reset,
};
