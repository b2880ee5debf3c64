/* Lite Transformer: some channels attend over the whole past, the others convolve over the near
 * one. SPDX-License-Identifier: Apache-2.0
 *
 * Z. Wu, Z. Liu, J. Lin, Y. Lin, S. Han: "Lite Transformer with Long-Short Range Attention". ICLR
 * 2020, arXiv:2004.11886. Convolutions: F. Wu et al., ICLR 2019, arXiv:1901.10430.
 *
 * Long-short range attention cuts the channels in two. The first A of them go to causal attention
 * of width A; the rest, C = D - A, to
 *
 *   u = GLU(W_in x) (or W_in x);  z_(t,c) = sum_j w_(t,g(c),j) u_(t-(K-1)+j,c);  y = W_out z
 *
 * with C / G neighbouring channels to a head g. The taps w are a softmax over j: of W u_t (dynamic)
 * or of a table [G, K] (lightweight). Taps before the start meet zeros and are not renormalised.
 * Nothing mixes the halves but the feed-forward part, which is flat: as wide as the layer instead
 * of four times as wide. Whole taps are dropped while training (DropConnect).
 */
#include "model/backbones/lite_transformer.h"

#include "model/backbones/stack.h"

#include "base/check.h"
#include "base/memory.h"

#include <stdio.h>
#include <string.h>

enum convolution { DYNAMIC, LIGHTWEIGHT };
enum positions { POSITIONS_LEARNED, POSITIONS_NONE };

struct lite_options {
    struct stack_options stack; /* its `inner` is feed_width, or the width */
    int64_t feed_width, attention_width, conv_heads, conv_kernel; /* 0 = automatic, not the heads */
    int64_t convolution, positions;
    bool glu;
};

struct lite_layer {
    struct linear_layer qk, v, attention_out; /* the attention branch */
    struct linear_layer in, conv_out;         /* the convolution branch, where C > 0 */
    size_t taps;                              /* [G K, C] dynamic, [G, K] lightweight */
};

struct lite {
    struct backbone_model model; /* first */
    struct lite_options options;
    struct pattern pattern;
    size_t attended, convolved; /* A, C */
    struct stack stack;
    struct lite_layer layers[LAYERS_MAX];
};

static const struct lite *lite_of(const struct backbone_model *model)
{
    return (const struct lite *)(const void *)model;
}

/* K of layer i. */
static size_t taps_of(const struct lite *self, size_t i)
{
    static const size_t growing[] = {3, 7, 15, 31};
    size_t last = ARRAY_COUNT(growing) - 1;
    return self->options.conv_kernel > 0 ? (size_t)self->options.conv_kernel
                                         : growing[i < last ? i : last];
}

/* ---------------------------------------------------------------- making */

static void lite_release(struct backbone_model *model)
{
    struct lite *self = (struct lite *)(void *)model;
    pattern_release(&self->pattern);
    mem_free(self);
}

static enum status check_options(const struct lite *self, struct error *error)
{
    const struct lite_options *options = &self->options;
    if (options->attention_width > options->stack.width) {
        (void)error_set(error, STATUS_INVALID, "cannot give %lld of %lld channels to attention",
                        (long long)options->attention_width, (long long)options->stack.width);
        (void)error_hint(error, "Choose attention_width up to the width, or 0 for half of it.");
        return error_code(error, "bad_value", "attention_width");
    }
    if (self->attended % (size_t)options->stack.heads != 0) {
        (void)error_set(error, STATUS_INVALID, "cannot divide attention width %zu into %lld heads",
                        self->attended, (long long)options->stack.heads);
        (void)error_hint(error, "Choose a number of heads that divides attention_width, which is "
                                "half of the width where it is 0.");
        return error_code(error, "bad_value", "heads");
    }
    if (self->convolved % (size_t)options->conv_heads != 0) {
        (void)error_set(error, STATUS_INVALID,
                        "cannot divide %zu convolved channels into %lld convolution heads",
                        self->convolved, (long long)options->conv_heads);
        (void)error_hint(error, "Choose conv_heads that divide width - attention_width.");
        return error_code(error, "bad_value", "conv_heads");
    }
    return STATUS_OK;
}

static enum status lite_create(const void *options, const struct backbone_shape *shape,
                               struct backbone_model **model, struct error *error)
{
    struct lite *self = mem_zeroed(1, sizeof(*self));
    if (self == NULL) {
        return error_set(error, STATUS_NO_MEMORY, "could not reserve a backbone");
    }
    extern const struct backbone lite_transformer_backbone;
    memcpy(&self->options, options, sizeof(self->options));
    struct stack_options *stack = &self->options.stack;
    stack->inner = self->options.feed_width > 0 ? self->options.feed_width : stack->width;
    stack_model_init(&self->model, &lite_transformer_backbone, stack, shape);
    self->model.options = &self->options;
    self->attended = (size_t)(self->options.attention_width > 0 ? self->options.attention_width
                                                                : stack->width / 2);
    self->convolved = self->model.width - self->attended;
    enum status status = check_options(self, error);
    if (status != STATUS_OK) {
        lite_release(&self->model);
        return status;
    }
    self->pattern = pattern_dense(shape->length);
    self->model.state_steps_max =
        self->options.positions == POSITIONS_LEARNED ? shape->length : SIZE_MAX;
    (void)snprintf(self->model.pattern, sizeof(self->model.pattern), "%s",
                   self->convolved > 0 ? "long_short" : "dense");
    *model = &self->model;
    return STATUS_OK;
}

/* ---------------------------------------------------------------- parameters */

static struct linear_layer declare_linear(struct params *params, size_t in, size_t out,
                                          const char *prefix, const char *part)
{
    char name[PARAM_NAME_MAX];
    return linear_layer_declare(params,
                                &(struct linear_spec){.in = in, .out = out, .init = PARAM_XAVIER},
                                param_name(name, prefix, part));
}

static void declare_convolution(const struct lite *self, struct params *params, const char *prefix,
                                size_t i, struct lite_layer *layer)
{
    size_t width = self->convolved;
    size_t heads = (size_t)self->options.conv_heads;
    size_t taps = taps_of(self, i);
    struct param_spec table = {.shape = {heads, taps}, .init = PARAM_NORMAL, .gain = 0.1};
    struct param_spec weight = {
        .shape = {heads * taps, width}, .init = PARAM_XAVIER, .decay = true};
    bool dynamic = self->options.convolution == DYNAMIC;
    layer->in = declare_linear(params, width, self->options.glu ? 2 * width : width, prefix,
                               "convolution.in");
    layer->taps = params_add(params, dynamic ? &weight : &table, "%s.convolution.taps", prefix);
    layer->conv_out = declare_linear(params, width, width, prefix, "convolution.out");
}

static void lite_declare(struct backbone_model *model, struct params *params, const char *prefix)
{
    struct lite *self = (struct lite *)(void *)model;
    char name[PARAM_NAME_MAX];
    bool learned = self->options.positions == POSITIONS_LEARNED;
    stack_declare(&self->stack, model, &self->options.stack, learned, params, prefix);
    for (size_t i = 0; i < model->layers; i++) {
        struct lite_layer *layer = &self->layers[i];
        size_t width = self->attended;
        (void)stack_layer_name(name, prefix, i);
        layer->qk = declare_linear(params, width, 2 * width, name, "attention.qk");
        layer->v = declare_linear(params, width, width, name, "attention.v");
        layer->attention_out = declare_linear(params, width, width, name, "attention.out");
        if (self->convolved > 0) {
            declare_convolution(self, params, name, i, layer);
        }
    }
}

/* ---------------------------------------------------------------- state */

/* Behind the beginning of a state, for each layer: keys and values [B, length, A] and the last rows
 * of u [B, K - 1, C]. */
static size_t ring_size(const struct lite *self, size_t batch)
{
    return batch * self->model.shape.length * self->attended;
}

static size_t tail_size(const struct lite *self, size_t i, size_t batch)
{
    return batch * (taps_of(self, i) - 1) * self->convolved;
}

/* Reals of the layers before layer i. */
static size_t state_place(const struct lite *self, size_t i, size_t batch)
{
    size_t reals = 2 * i * ring_size(self, batch);
    for (size_t k = 0; k < i; k++) {
        reals += tail_size(self, k, batch);
    }
    return reals;
}

static size_t lite_state_bytes(const struct backbone_model *model, size_t batch)
{
    const struct lite *self = lite_of(model);
    return sizeof(struct backbone_state) + state_place(self, model->layers, batch) * sizeof(real);
}

static struct attention_cache state_cache(const struct lite *self, struct backbone_state *state,
                                          size_t i)
{
    real *keys = (real *)(void *)(state + 1) + state_place(self, i, state->batch);
    return (struct attention_cache){
        .keys = keys,
        .values = keys + ring_size(self, state->batch),
        .batch = state->batch,
        .capacity = self->model.shape.length,
        .length = state->steps,
    };
}

static struct tensor state_tail(const struct lite *self, struct backbone_state *state, size_t i)
{
    real *layer = (real *)(void *)(state + 1) + state_place(self, i, state->batch);
    return (struct tensor){
        .shape = {state->batch, taps_of(self, i) - 1, self->convolved, 1},
        .axes = 3,
        .data = layer + 2 * ring_size(self, state->batch),
    };
}

/* ---------------------------------------------------------------- forward */

/* x [B, T, A] -> [B, T, A]. */
static struct tensor *attend(const struct lite *self, size_t i, struct tape *tape, struct tensor *x,
                             struct backbone_state *state)
{
    const struct lite_layer *layer = &self->layers[i];
    struct attention attention = {
        .heads = (size_t)self->options.stack.heads,
        .pattern = &self->pattern,
    };
    struct tensor *qk = linear_layer(tape, &layer->qk, x);
    struct tensor *v = linear_layer(tape, &layer->v, x);
    struct tensor *y = NULL;
    if (state == NULL) {
        y = op_attention(tape, qk, v, &attention);
    } else {
        struct attention_cache cache = {.batch = x->shape[0], .capacity = self->model.shape.length};
        if (tape_computes(tape)) {
            cache = state_cache(self, state, i);
        }
        y = attention_append(tape, qk, v, &attention, &cache);
    }
    return linear_layer(tape, &layer->attention_out, y);
}

/* u [B, T, C] -> [B, T, C]: a weighted sum of the last K steps in each channel. */
static struct tensor *convolve(const struct lite *self, size_t i, struct tape *tape,
                               struct tensor *u, const struct tensor *tail)
{
    size_t heads = (size_t)self->options.conv_heads;
    size_t taps = taps_of(self, i);
    size_t batch = u->shape[0];
    size_t steps = u->shape[1];
    double dropout = self->options.stack.dropout;
    struct tensor *w = tape_param(tape, self->layers[i].taps);
    struct convolution_place place = {.before = taps - 1, .tail = tail};
    if (self->options.convolution == LIGHTWEIGHT) {
        w = op_dropout(tape, op_softmax(tape, w), dropout);
        return op_depthwise_conv(tape, u, w, NULL, place);
    }
    w = op_linear(tape, u, w, NULL);
    w = op_reshape(tape, w, (size_t[]){batch, steps * heads, taps, 0});
    w = op_dropout(tape, op_softmax(tape, w), dropout);
    w = op_reshape(tape, w, (size_t[]){batch, steps, heads * taps, 0});
    return op_dynamic_conv(tape, u, w, heads, place);
}

/* x [B, T, C] -> [B, T, C]. */
static struct tensor *convolution_branch(const struct lite *self, size_t i, struct tape *tape,
                                         struct tensor *x, struct backbone_state *state)
{
    const struct lite_layer *layer = &self->layers[i];
    struct tensor *u = linear_layer(tape, &layer->in, x);
    if (self->options.glu) {
        u = op_glu(tape, u);
    }
    struct tensor tail = {0};
    bool moves = state != NULL && tape_computes(tape);
    if (moves) {
        tail = state_tail(self, state, i);
    }
    struct tensor *z = convolve(self, i, tape, u, moves ? &tail : NULL);
    if (moves) {
        stack_advance_tail(&tail, u);
    }
    return linear_layer(tape, &layer->conv_out, z);
}

static struct tensor *mix(const void *model, size_t i, struct tape *tape, struct tensor *x,
                          void *memory)
{
    const struct lite *self = model;
    struct backbone_state *state = memory;
    if (self->convolved == 0) {
        return attend(self, i, tape, x, state);
    }
    struct tensor *far = op_slice(tape, x, 0, self->attended);
    struct tensor *near = op_slice(tape, x, self->attended, self->convolved);
    return op_concat(tape, attend(self, i, tape, far, state),
                     convolution_branch(self, i, tape, near, state));
}

struct tensor *lite_transformer_mix(const struct backbone_model *model, size_t i, struct tape *tape,
                                    struct tensor *x)
{
    return mix(lite_of(model), i, tape, x, NULL);
}

static struct tensor *lite_forward(const struct backbone_model *model, struct tape *tape,
                                   struct tensor *x, struct backbone_state *state)
{
    const struct lite *self = lite_of(model);
    struct stack_mixer mixer = {.mix = mix, .self = self, .state = state};
    return stack_forward(&self->stack, &self->options.stack, tape, x, backbone_first(tape, state),
                         &mixer);
}

/* ---------------------------------------------------------------- registration */

static const char *const convolution_names[] = {"dynamic", "lightweight", NULL};
static const char *const position_names[] = {"learned", "none", NULL};
#define FIELD(name) OPTION_FIELD(struct lite_options, name)

static const struct option lite_options[] = {
    STACK_SIZE_OPTIONS(struct lite_options),
    {"feed_width", OPTION_INT, "0", 0, 8192, NULL, FIELD(feed_width), 0, 0,
     "Width inside the feed-forward part; 0 = the width (flattened, as in the paper)."},
    STACK_NORM_OPTIONS(struct lite_options),
    STACK_DROPOUT_OPTION(struct lite_options),
    {"attention_width", OPTION_INT, "0", 0, 1024, NULL, FIELD(attention_width), 0, 0,
     "Channels that attend, the others convolve; 0 = half of the width, the width = all."},
    {"conv_heads", OPTION_INT, "4", 1, 512, NULL, FIELD(conv_heads), 0, 0,
     "Groups of convolved channels that share their taps."},
    {"conv_kernel", OPTION_INT, "0", 0, 256, NULL, FIELD(conv_kernel), 0, 0,
     "Steps that a convolution reaches over; 0 = 3, 7, 15, then 31 from layer to layer."},
    {"convolution", OPTION_CHOICE, "dynamic", 0, 0, convolution_names, FIELD(convolution), 0, 0,
     "Taps made from each step, or the same at all steps."},
    {"glu", OPTION_BOOL, "true", 0, 0, NULL, FIELD(glu), 0, 0,
     "Gates what enters the convolution."},
    {"positions", OPTION_CHOICE, "learned", 0, 0, position_names, FIELD(positions), 0, 0,
     "A learned table over the window, or nothing."},
};

const struct backbone lite_transformer_backbone = {
    .name = "lite_transformer",
    .paper = "Wu et al. 2020, arXiv:2004.11886",
    .help = "Half of the channels attend, the other half convolve; a flat feed-forward part.",
    .options = lite_options,
    .option_count = ARRAY_COUNT(lite_options),
    .options_bytes = sizeof(struct lite_options),
    .causal = true,
    .streaming = true,
    .create = lite_create,
    .release = lite_release,
    .declare = lite_declare,
    .forward = lite_forward,
    .state_bytes = lite_state_bytes,
};
