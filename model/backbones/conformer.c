/* Conformer: attention for the far past, a convolution for the near one, between two half steps.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A. Gulati et al.: "Conformer: Convolution-augmented Transformer for Speech Recognition".
 * Interspeech 2020, arXiv:2005.08100. (Not the forecasting model of 2023 of the same name.)
 *
 *   a = x + 1/2 FF(x);  b = a + MHSA(a);  c = b + Conv(b);  d = c + 1/2 FF(c);  y = LN(d)
 *
 * with a layer norm at the start of each part and swish inside. MHSA is relative attention as in
 * Transformer-XL, with biases in the projections and sines and cosines side by side. Conv is
 * pointwise D -> 2D, gated linear unit, a convolution over K steps in each channel, a norm, swish,
 * pointwise D -> D.
 *
 * mode=causal attends to the past only, or to the newest attention_window of it, convolves over
 * the last K steps, and norms over the channels of a step. mode=fidelity is the published form: it
 * attends both ways, centres the convolution, and norms over the batch, whose statistics mix steps
 * and series; it has no state.
 *
 * While decoding a layer keeps packed keys and values (relative.h) and the last K - 1 rows that
 * enter the convolution.
 */
#include "model/backbones/relative.h"

#include "base/check.h"
#include "base/memory.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum mode { MODE_CAUSAL, MODE_FIDELITY };
enum conv_norm { CONV_NORM_AUTOMATIC, CONV_NORM_LAYER, CONV_NORM_BATCH, CONV_NORM_NONE };

struct conformer_options {
    struct stack_options stack; /* without norm and activation */
    int64_t mode, attention_window, conv_kernel, conv_norm;
};

struct half_step {
    struct norm_layer norm;
    struct feed_forward_layer feed;
};

struct conformer_attention {
    struct norm_layer norm;
    struct linear_layer q, k, v, r, out;
    size_t content_bias, position_bias; /* u, w of op_attention_relative */
};

struct conformer_convolution {
    struct norm_layer norm;
    struct linear_layer in, out;
    size_t weight, bias;            /* [D, K], [D] */
    struct norm_layer channel_norm; /* of layer or batch */
    size_t statistics;              /* of the batch */
};

struct conformer_layer {
    struct half_step before, after;
    struct conformer_attention attention;
    struct conformer_convolution convolution;
    struct norm_layer norm;
};

struct conformer {
    struct backbone_model model; /* first */
    struct conformer_options options;
    enum conv_norm conv_norm;    /* never automatic */
    size_t taps;                 /* K */
    struct relative_table table; /* from distance 0 on (causal), or with as many rows before it */
    struct conformer_layer layers[LAYERS_MAX];
};

static const struct conformer *conformer_of(const struct backbone_model *model)
{
    return (const struct conformer *)(const void *)model;
}

/* ---------------------------------------------------------------- making */

static void conformer_release(struct backbone_model *model)
{
    struct conformer *self = (struct conformer *)(void *)model;
    relative_table_release(&self->table);
    mem_free(self);
}

static enum status check_options(const struct conformer *self, struct error *error)
{
    if (self->model.causal && self->conv_norm == CONV_NORM_BATCH) {
        (void)error_set(error, STATUS_INVALID,
                        "cannot norm over a batch in mode=causal: its statistics mix later steps "
                        "into earlier ones");
        (void)error_hint(error, "Choose conv_norm=layer or none, or mode=fidelity.");
        return error_code(error, "bad_value", "conv_norm");
    }
    return stack_check_heads(&self->options.stack, error);
}

/* Keys that a query sees, itself among them. */
static size_t window_of(const struct conformer *self)
{
    return self->options.attention_window > 0 ? (size_t)self->options.attention_window
                                              : self->model.shape.length;
}

/* The distances that both ways, or a state of `window` keys, can ask for. */
static enum status make_table(struct conformer *self, struct error *error)
{
    size_t window = window_of(self);
    self->table.width = self->model.width;
    self->table.rows = self->model.causal ? window : 2 * window - 1;
    self->table.row_zero = self->model.causal ? 0 : window - 1;
    return relative_table_init(&self->table, RELATIVE_INTERLEAVED, error);
}

static void describe_model(struct conformer *self)
{
    struct backbone_model *model = &self->model;
    bool windowed = self->options.attention_window > 0;
    double length = (double)model->shape.length;
    double beyond = fmax(0.0, length - (double)window_of(self));
    model->streaming = model->causal;
    model->state_steps_max = !model->streaming ? 0 : windowed ? SIZE_MAX : model->shape.length;
    model->window = windowed ? window_of(self) : 0;
    model->sparse_share = beyond * (beyond + 1.0) / (length * (length + 1.0));
    (void)snprintf(model->pattern, sizeof(model->pattern), "%s%s",
                   model->causal ? "causal" : "both_ways", windowed ? "_window" : "");
}

static enum status conformer_create(const void *options, const struct backbone_shape *shape,
                                    struct backbone_model **model, struct error *error)
{
    struct conformer *self = mem_zeroed(1, sizeof(*self));
    if (self == NULL) {
        return error_set(error, STATUS_NO_MEMORY, "could not reserve a backbone");
    }
    extern const struct backbone conformer_backbone;
    memcpy(&self->options, options, sizeof(self->options));
    stack_model_init(&self->model, &conformer_backbone, &self->options.stack, shape);
    self->model.options = &self->options;
    self->model.causal = self->options.mode == MODE_CAUSAL;
    self->taps = (size_t)self->options.conv_kernel;
    self->conv_norm = (enum conv_norm)self->options.conv_norm;
    if (self->conv_norm == CONV_NORM_AUTOMATIC) {
        self->conv_norm = self->model.causal ? CONV_NORM_LAYER : CONV_NORM_BATCH;
    }
    enum status status = check_options(self, error);
    if (status == STATUS_OK) {
        status = make_table(self, error);
    }
    if (status != STATUS_OK) {
        conformer_release(&self->model);
        return status;
    }
    describe_model(self);
    *model = &self->model;
    return STATUS_OK;
}

/* ---------------------------------------------------------------- parameters */

static struct linear_layer declare_linear(struct params *params, const char *prefix,
                                          const char *part, struct linear_spec spec)
{
    char name[PARAM_NAME_MAX];
    spec.init = PARAM_XAVIER;
    return linear_layer_declare(params, &spec, param_name(name, prefix, part));
}

static struct norm_layer declare_norm(struct params *params, const char *prefix, const char *part,
                                      size_t width)
{
    char name[PARAM_NAME_MAX];
    return norm_layer_declare(params, width, param_name(name, prefix, part));
}

static void declare_half_step(const struct conformer *self, struct params *params,
                              const char *prefix, struct half_step *step)
{
    const struct stack_options *stack = &self->options.stack;
    step->norm = declare_norm(params, prefix, "norm", self->model.width);
    step->feed = feed_forward_declare(params, self->model.width, (size_t)stack->inner,
                                      ACTIVATION_SWISH, stack->dropout, prefix);
}

static void declare_attention(const struct conformer *self, struct params *params,
                              const char *prefix, struct conformer_attention *attention)
{
    size_t width = self->model.width;
    size_t heads = (size_t)self->options.stack.heads;
    struct linear_spec square = {.in = width, .out = width};
    struct param_spec bias = {.shape = {heads, width / heads}};
    attention->norm = declare_norm(params, prefix, "attention.norm", width);
    attention->q = declare_linear(params, prefix, "attention.q", square);
    attention->k = declare_linear(params, prefix, "attention.k", square);
    attention->v = declare_linear(params, prefix, "attention.v", square);
    attention->out = declare_linear(params, prefix, "attention.out", square);
    square.no_bias = true;
    attention->r = declare_linear(params, prefix, "attention.r", square);
    attention->content_bias = params_add(params, &bias, "%s.content_bias", prefix);
    attention->position_bias = params_add(params, &bias, "%s.position_bias", prefix);
}

static void declare_convolution(const struct conformer *self, struct params *params,
                                const char *prefix, struct conformer_convolution *convolution)
{
    size_t width = self->model.width;
    struct param_spec weight = {.shape = {width, self->taps}, .init = PARAM_XAVIER, .decay = true};
    struct param_spec bias = {.shape = {width}};
    struct param_spec statistics = {
        .shape = {2 * width + 1}, .init = PARAM_MOMENTS, .statistic = true};
    convolution->norm = declare_norm(params, prefix, "convolution.norm", width);
    convolution->in = declare_linear(params, prefix, "convolution.in",
                                     (struct linear_spec){.in = width, .out = 2 * width});
    convolution->weight = params_add(params, &weight, "%s.convolution.weight", prefix);
    convolution->bias = params_add(params, &bias, "%s.convolution.bias", prefix);
    if (self->conv_norm != CONV_NORM_NONE) {
        convolution->channel_norm = declare_norm(params, prefix, "convolution.channel_norm", width);
    }
    if (self->conv_norm == CONV_NORM_BATCH) {
        convolution->statistics =
            params_add(params, &statistics, "%s.convolution.statistics", prefix);
    }
    convolution->out = declare_linear(params, prefix, "convolution.out",
                                      (struct linear_spec){.in = width, .out = width});
}

static void conformer_declare(struct backbone_model *model, struct params *params,
                              const char *prefix)
{
    struct conformer *self = (struct conformer *)(void *)model;
    for (size_t i = 0; i < model->layers; i++) {
        struct conformer_layer *layer = &self->layers[i];
        char name[PARAM_NAME_MAX];
        char part[PARAM_NAME_MAX];
        (void)stack_layer_name(name, prefix, i);
        declare_half_step(self, params, param_name(part, name, "before"), &layer->before);
        declare_attention(self, params, name, &layer->attention);
        declare_convolution(self, params, name, &layer->convolution);
        declare_half_step(self, params, param_name(part, name, "feed"), &layer->after);
        layer->norm = declare_norm(params, name, "norm", model->width);
    }
}

/* ---------------------------------------------------------------- state */

static struct relative_sizes state_sizes(const struct conformer *self)
{
    return (struct relative_sizes){
        .table = &self->table,
        .layers = self->model.layers,
        .heads = (size_t)self->options.stack.heads,
        .all = self->model.width,
        .window = window_of(self),
    };
}

/* Behind the keys: for each layer the last K - 1 rows of the convolution's input [B, K - 1, D]. */
static size_t tail_size(const struct conformer *self, size_t batch)
{
    return batch * (self->taps - 1) * self->model.width;
}

static size_t conformer_state_bytes(const struct backbone_model *model, size_t batch)
{
    const struct conformer *self = conformer_of(model);
    struct relative_sizes sizes = state_sizes(self);
    return relative_state_bytes(&sizes, batch) +
           model->layers * tail_size(self, batch) * sizeof(real);
}

static struct tensor state_tail(const struct conformer *self, struct relative_state *state,
                                size_t i)
{
    struct relative_sizes sizes = state_sizes(self);
    char *behind = (char *)state + relative_state_bytes(&sizes, state->common.batch);
    return (struct tensor){
        .shape = {state->common.batch, self->taps - 1, self->model.width, 1},
        .axes = 3,
        .data = (real *)(void *)behind + i * tail_size(self, state->common.batch),
    };
}

static void prepare_state(const struct conformer *self, struct tape *tape,
                          struct relative_state *state)
{
    struct relative_sizes sizes = state_sizes(self);
    size_t weights[LAYERS_MAX];
    for (size_t i = 0; i < sizes.layers; i++) {
        weights[i] = self->layers[i].attention.r.weight;
    }
    relative_state_prepare(&sizes, tape, state, weights);
}

/* ---------------------------------------------------------------- forward */

/* x + dropout(y). */
static struct tensor *add_branch(const struct conformer *self, struct tape *tape, struct tensor *x,
                                 struct tensor *y)
{
    return op_add(tape, x, op_dropout(tape, y, self->options.stack.dropout));
}

static struct tensor *half_step(const struct conformer *self, struct tape *tape,
                                const struct half_step *step, struct tensor *x)
{
    struct tensor *y = feed_forward(tape, &step->feed, norm_layer(tape, &step->norm, x));
    return add_branch(self, tape, x, op_scale(tape, y, (real)0.5));
}

/* The projected distances of T steps, and where 0 is among them. */
static void place_distances(const struct conformer *self, struct tape *tape, size_t steps,
                            const struct linear_layer *projection,
                            struct attention_relative *attention)
{
    size_t window = window_of(self);
    size_t farthest = (steps < window ? steps : window) - 1;
    size_t before = self->model.causal ? 0 : farthest;
    struct tensor *table = relative_table_rows(&self->table, tape, self->table.row_zero - before,
                                               before + 1 + farthest);
    attention->r = linear_layer(tape, projection, table);
    attention->row_zero = before;
}

/* x [B, T, D] -> [B, T, D], of layer i. */
static struct tensor *attend(const struct conformer *self, size_t i, struct tape *tape,
                             struct tensor *x, struct relative_state *state)
{
    const struct conformer_attention *layer = &self->layers[i].attention;
    x = norm_layer(tape, &layer->norm, x);
    struct attention_relative attention = {
        .q = linear_layer(tape, &layer->q, x),
        .k = linear_layer(tape, &layer->k, x),
        .v = linear_layer(tape, &layer->v, x),
        .u = tape_param(tape, layer->content_bias),
        .w = tape_param(tape, layer->position_bias),
        .heads = (size_t)self->options.stack.heads,
        .causal = self->model.causal,
        .window = (size_t)self->options.attention_window,
    };
    struct tensor *y = NULL;
    if (state != NULL && tape_computes(tape)) {
        struct relative_sizes sizes = state_sizes(self);
        struct relative_cache cache = relative_state_cache(&sizes, state, i);
        y = attention_relative_append(tape, &attention, &cache);
    } else {
        place_distances(self, tape, x->shape[1], &layer->r, &attention);
        y = op_attention_relative(tape, &attention);
    }
    return linear_layer(tape, &layer->out, y);
}

static struct tensor *norm_channels(const struct conformer *self, struct tape *tape,
                                    const struct conformer_convolution *layer, struct tensor *x)
{
    switch (self->conv_norm) {
    case CONV_NORM_LAYER:
        return norm_layer(tape, &layer->channel_norm, x);
    case CONV_NORM_BATCH:
        return op_batch_norm(tape, x, tape_param(tape, layer->channel_norm.gain),
                             tape_param(tape, layer->channel_norm.shift),
                             tape_param(tape, layer->statistics), false);
    case CONV_NORM_AUTOMATIC:
    case CONV_NORM_NONE:
        break;
    }
    return x;
}

/* x [B, T, D] -> [B, T, D], of layer i. */
static struct tensor *convolve(const struct conformer *self, size_t i, struct tape *tape,
                               struct tensor *x, struct relative_state *state)
{
    const struct conformer_convolution *layer = &self->layers[i].convolution;
    struct tensor *u = linear_layer(tape, &layer->in, norm_layer(tape, &layer->norm, x));
    u = op_glu(tape, u);
    struct convolution_place place = {.before = self->model.causal ? self->taps - 1
                                                                   : (self->taps - 1) / 2};
    struct tensor tail = {0};
    bool moves = state != NULL && tape_computes(tape);
    if (moves) {
        tail = state_tail(self, state, i);
        place.tail = &tail;
    }
    struct tensor *y = op_depthwise_conv(tape, u, tape_param(tape, layer->weight),
                                         tape_param(tape, layer->bias), place);
    if (moves) {
        stack_advance_tail(&tail, u);
    }
    y = op_swish(tape, norm_channels(self, tape, layer, y));
    return linear_layer(tape, &layer->out, y);
}

static struct tensor *block(const struct conformer *self, size_t i, struct tape *tape,
                            struct tensor *x, struct relative_state *state)
{
    const struct conformer_layer *layer = &self->layers[i];
    x = half_step(self, tape, &layer->before, x);
    x = add_branch(self, tape, x, attend(self, i, tape, x, state));
    x = add_branch(self, tape, x, convolve(self, i, tape, x, state));
    x = half_step(self, tape, &layer->after, x);
    return norm_layer(tape, &layer->norm, x);
}

static struct tensor *conformer_forward(const struct backbone_model *model, struct tape *tape,
                                        struct tensor *x, struct backbone_state *memory)
{
    const struct conformer *self = conformer_of(model);
    struct relative_state *state = (struct relative_state *)memory;
    if (state != NULL && tape_computes(tape)) {
        prepare_state(self, tape, state);
    }
    for (size_t i = 0; i < model->layers; i++) {
        size_t mark = tape_mark(tape);
        x = tape_keep(tape, mark, block(self, i, tape, x, state));
    }
    return x;
}

/* ---------------------------------------------------------------- registration */

static const char *const mode_names[] = {"causal", "fidelity", NULL};
static const char *const conv_norm_names[] = {"automatic", "layer", "batch", "none", NULL};
#define FIELD(name) OPTION_FIELD(struct conformer_options, name)

static const struct option conformer_options[] = {
    STACK_SIZE_OPTIONS(struct conformer_options),
    STACK_INNER_OPTION(struct conformer_options, "256"),
    STACK_DROPOUT_OPTION(struct conformer_options),
    {"mode", OPTION_CHOICE, "causal", 0, 0, mode_names, FIELD(mode), 0, 0,
     "What is served step by step, or the published form, which looks both ways."},
    {"attention_window", OPTION_INT, "0", 0, 65536, NULL, FIELD(attention_window), 0, 0,
     "Tokens that attention reaches, a token itself among them (in each direction of "
     "mode=fidelity); 0 = all."},
    {"conv_kernel", OPTION_INT, "15", 1, 256, NULL, FIELD(conv_kernel), 0, 0,
     "Steps that the convolution reaches over (the paper's 32)."},
    {"conv_norm", OPTION_CHOICE, "automatic", 0, 0, conv_norm_names, FIELD(conv_norm), 0, 0,
     "Norm after the convolution: over a step's channels, over the batch (mode=fidelity only), or "
     "none; automatic = layer in mode=causal, batch in mode=fidelity."},
};

const struct backbone conformer_backbone = {
    .name = "conformer",
    .paper = "Gulati et al. 2020, arXiv:2005.08100",
    .help = "Relative attention, then a gated convolution, between two half feed-forward steps.",
    .options = conformer_options,
    .option_count = ARRAY_COUNT(conformer_options),
    .options_bytes = sizeof(struct conformer_options),
    .causal = true,
    .streaming = true,
    .create = conformer_create,
    .release = conformer_release,
    .declare = conformer_declare,
    .forward = conformer_forward,
    .state_bytes = conformer_state_bytes,
};
