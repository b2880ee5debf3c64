/* Adaptive attention span (Sukhbaatar et al., ACL 2019, arXiv:1905.07799).
 * SPDX-License-Identifier: Apache-2.0
 *
 * Each head learns how far back it looks. Its keys are weighed by a soft mask that is 1 up to the
 * span z S and falls to 0 over a ramp of R more keys, so z has a gradient; a penalty of lambda S z
 * pulls it down where looking farther does not pay. Keys behind the ramp are not computed, head by
 * head: forward, backward and while serving. A key carries a learned embedding of its distance.
 *
 * z is a ratio in [0, 1] (times S), brought back there after every step, with a larger learning
 * rate than the weights. With dynamic=true each query has a span of its own, z_t = sigmoid(w . x_t
 * + b) (the paper's section 2.3, not in its code).
 *
 * Departures from the paper, by option: a query sees itself (the code's: include_self=false),
 * because its own step is the best that the first steps have; steps before the window are not seen,
 * where the code attends to vectors of zeros; the embedding of distances is shared by layers as in
 * the code, or each layer's own, or absent.
 */
#include "model/backbones/backbone.h"
#include "model/backbones/stack.h"

#include "base/check.h"
#include "base/memory.h"
#include "base/size.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define RAMP_MAX ((size_t)32) /* the paper's; a season where that is shorter */
#define RAMP_MIN ((size_t)8)

/* ---------------------------------------------------------------- hyperparameters */

enum span_positions { POSITIONS_SHARED, POSITIONS_LAYER, POSITIONS_NONE };

struct adaptive_span_options {
    struct stack_options stack;
    int64_t span, ramp, positions;
    double span_init, penalty, span_rate;
    bool learn, include_self, dynamic;
};

struct adaptive_span_layer {
    struct linear_layer qk, v, out;
    size_t spans;                  /* z [H] */
    size_t span_weight, span_bias; /* dynamic: w [H, D], b [H] */
    size_t positions;              /* [S, h], or SIZE_MAX */
};

struct adaptive_span {
    struct backbone_model model; /* first */
    struct adaptive_span_options options;
    size_t span, ramp; /* S, R */
    struct stack stack;
    struct adaptive_span_layer layers[LAYERS_MAX];
};

static const struct adaptive_span *adaptive_span_of(const struct backbone_model *model)
{
    return (const struct adaptive_span *)(const void *)model;
}

/* ---------------------------------------------------------------- life */

static void adaptive_span_release(struct backbone_model *model)
{
    mem_free(model);
}

static enum status check_dynamic(const struct adaptive_span_options *options, struct error *error)
{
    bool inside = options->span_init > 0 && options->span_init < 1;
    if (!options->dynamic || (options->learn && inside)) {
        return STATUS_OK;
    }
    (void)error_set(error, STATUS_INVALID,
                    options->learn
                        ? "a dynamic span cannot begin at %g, where it stays"
                        : "cannot keep a dynamic span fixed at %g: each step has its own",
                    options->span_init);
    (void)error_hint(error, options->learn ? "Set span_init above 0 and below 1, or dynamic=false."
                                           : "Set learn=true or dynamic=false.");
    return error_code(error, "bad_value", options->learn ? "span_init" : "learn");
}

/* Share of causal pairs that are out of reach for good: by S, or by a fixed span. */
static double unreachable_share(const struct adaptive_span *self)
{
    double length = (double)self->model.shape.length;
    double reach = (double)self->span;
    if (!self->options.learn) {
        reach = fmin(reach, ceil(self->options.span_init * reach + (double)self->ramp));
    }
    reach = fmin(reach, length);
    return (length - reach) * (length - reach + 1) / (length * (length + 1));
}

static enum status adaptive_span_create(const void *options, const struct backbone_shape *shape,
                                        struct backbone_model **model, struct error *error)
{
    CHECK(shape->length > 0);
    struct adaptive_span *self = mem_zeroed(1, sizeof(*self));
    if (self == NULL) {
        return error_set(error, STATUS_NO_MEMORY, "could not reserve a backbone");
    }
    extern const struct backbone adaptive_span_backbone;
    memcpy(&self->options, options, sizeof(self->options));
    const struct adaptive_span_options *own = &self->options;
    stack_model_init(&self->model, &adaptive_span_backbone, &own->stack, shape);
    self->model.options = own;
    enum status status = stack_check_heads(&own->stack, error);
    if (status == STATUS_OK) {
        status = check_dynamic(own, error);
    }
    if (status != STATUS_OK) {
        adaptive_span_release(&self->model);
        return status;
    }
    size_t season = shape->season > 0 ? shape->season : RAMP_MAX;
    self->span = own->span > 0 ? smaller((size_t)own->span, shape->length) : shape->length;
    self->ramp = own->ramp > 0 ? (size_t)own->ramp : larger(RAMP_MIN, smaller(season, RAMP_MAX));
    self->model.state_steps_max = SIZE_MAX; /* distances only: no step has a number */
    self->model.window = self->span;
    self->model.sparse_share = unreachable_share(self);
    (void)snprintf(self->model.pattern, sizeof(self->model.pattern), "%s",
                   own->dynamic ? "dynamic_span"
                   : own->learn ? "learned_span"
                                : "fixed_span");
    *model = &self->model;
    return STATUS_OK;
}

/* ---------------------------------------------------------------- parameters */

/* Small random embeddings: at zero they would have no say in the first steps, and the paper's
 * standard normal ones would drown the first scores of a small model. */
static size_t declare_positions(const struct adaptive_span *self, struct params *params,
                                const char *prefix)
{
    const struct stack_options *stack = &self->options.stack;
    struct param_spec spec = {.shape = {self->span, (size_t)(stack->width / stack->heads)},
                              .init = PARAM_NORMAL,
                              .gain = 0.02};
    return params_add(params, &spec, "%s.distances", prefix);
}

static void declare_spans(const struct adaptive_span *self, struct params *params,
                          const char *prefix, struct adaptive_span_layer *layer)
{
    const struct adaptive_span_options *options = &self->options;
    size_t heads = (size_t)options->stack.heads;
    struct param_spec spec = {.shape = {heads},
                              .init = PARAM_CONSTANT,
                              .gain = options->span_init,
                              .fixed = !options->learn,
                              .rate = options->span_rate};
    if (!options->dynamic) {
        layer->spans = params_add(params, &spec, "%s.attention.spans", prefix);
        return;
    }
    spec.gain = log(options->span_init / (1 - options->span_init));
    layer->span_bias = params_add(params, &spec, "%s.attention.spans.bias", prefix);
    struct param_spec weight = {
        .shape = {heads, self->model.width}, .init = PARAM_ZERO, .rate = options->span_rate};
    layer->span_weight = params_add(params, &weight, "%s.attention.spans.weight", prefix);
}

static void declare_layer(const struct adaptive_span *self, struct params *params,
                          const char *prefix, struct adaptive_span_layer *layer)
{
    char name[PARAM_NAME_MAX];
    size_t width = self->model.width;
    struct linear_spec spec = {.in = width, .out = 2 * width, .init = PARAM_XAVIER};
    layer->qk = linear_layer_declare(params, &spec, param_name(name, prefix, "attention.qk"));
    spec.out = width;
    layer->v = linear_layer_declare(params, &spec, param_name(name, prefix, "attention.v"));
    layer->out = linear_layer_declare(params, &spec, param_name(name, prefix, "attention.out"));
    declare_spans(self, params, prefix, layer);
}

static void adaptive_span_declare(struct backbone_model *model, struct params *params,
                                  const char *prefix)
{
    struct adaptive_span *self = (struct adaptive_span *)(void *)model;
    char name[PARAM_NAME_MAX];
    size_t shared = SIZE_MAX;
    stack_declare(&self->stack, model, &self->options.stack, false, params, prefix);
    if (self->options.positions == POSITIONS_SHARED) {
        shared = declare_positions(self, params, prefix);
    }
    for (size_t i = 0; i < model->layers; i++) {
        (void)stack_layer_name(name, prefix, i);
        self->layers[i].positions = self->options.positions == POSITIONS_LAYER
                                        ? declare_positions(self, params, name)
                                        : shared;
        declare_layer(self, params, name, &self->layers[i]);
    }
}

/* ---------------------------------------------------------------- spans */

/* z: [H], or [B, T, H] = sigmoid(w . x + b). */
static struct tensor *spans_of(const struct adaptive_span *self,
                               const struct adaptive_span_layer *layer, struct tape *tape,
                               struct tensor *x)
{
    if (!self->options.dynamic) {
        return tape_param(tape, layer->spans);
    }
    struct tensor *raw = op_linear(tape, x, tape_param(tape, layer->span_weight),
                                   tape_param(tape, layer->span_bias));
    struct tensor *one = tape_tensor_like(tape, raw);
    for (size_t i = 0; tape_computes(tape) && i < tensor_size(one); i++) {
        one->data[i] = 1;
    }
    return op_glu(tape, op_concat(tape, one, raw));
}

/* lambda S mean(z), summed over the layers (the paper's equation 7, as its code has it). */
static struct tensor *adaptive_span_penalty(const struct backbone_model *model, struct tape *tape)
{
    const struct adaptive_span *self = adaptive_span_of(model);
    struct tensor *sum = NULL;
    if (!self->options.learn || self->options.penalty == 0) {
        return NULL;
    }
    for (size_t n = 0; n < model->layers; n++) {
        struct tensor *spans = attention_span_spans(tape, n);
        CHECK(spans != NULL);
        struct tensor *factor = tape_tensor_like(tape, spans);
        double each = self->options.penalty * (double)self->span / (double)tensor_size(spans);
        for (size_t i = 0; tape_computes(tape) && i < tensor_size(factor); i++) {
            factor->data[i] = (real)each;
        }
        struct tensor *term = op_inner(tape, spans, factor);
        sum = sum != NULL ? op_add(tape, sum, term) : term;
    }
    return sum;
}

static void adaptive_span_settle(const struct backbone_model *model, const struct params *params,
                                 real *values)
{
    const struct adaptive_span *self = adaptive_span_of(model);
    for (size_t n = 0; !self->options.dynamic && n < model->layers; n++) {
        const struct param *spans = &params->items[self->layers[n].spans];
        for (size_t i = 0; i < spans->size; i++) {
            real z = values[spans->offset + i];
            z = z > 0 ? z : 0;
            values[spans->offset + i] = z < 1 ? z : 1;
        }
    }
}

/* ,"spans":[[12.5,3],[40,7]],"span_ramp":24: tokens, without the ramp; a row a layer. Dynamic spans
 * are shown as they are where x is zero, the mean of what a layer norm gives. */
static void adaptive_span_describe(const struct backbone_model *model, const struct params *params,
                                   const real *values, struct text *json)
{
    const struct adaptive_span *self = adaptive_span_of(model);
    text_add_string(json, ",\"spans\":[");
    for (size_t n = 0; n < model->layers; n++) {
        const struct adaptive_span_layer *layer = &self->layers[n];
        const struct param *spans =
            &params->items[self->options.dynamic ? layer->span_bias : layer->spans];
        text_add_string(json, n > 0 ? ",[" : "[");
        for (size_t i = 0; i < spans->size; i++) {
            double z = (double)values[spans->offset + i];
            z = self->options.dynamic ? 1 / (1 + exp(-z)) : z;
            text_add_string(json, i > 0 ? "," : "");
            text_add_double_digits(json, z * (double)self->span, 6);
        }
        text_add_char(json, ']');
    }
    text_add_format(json, "],\"span_ramp\":%zu", self->ramp);
}

/* ---------------------------------------------------------------- state */

/* Behind the beginning of a state, for each layer: keys and values [B, capacity, D]. Every head may
 * use all of the ring, since what it learned is known to the weights only; it reads its span. */
static size_t capacity_of(const struct adaptive_span *self)
{
    return self->span + (self->options.include_self ? 0 : 1);
}

static size_t ring_size(const struct adaptive_span *self, size_t batch)
{
    return batch * capacity_of(self) * self->model.width;
}

static size_t adaptive_span_state_bytes(const struct backbone_model *model, size_t batch)
{
    size_t ring = ring_size(adaptive_span_of(model), batch);
    return sizeof(struct backbone_state) + model->layers * 2 * ring * sizeof(real);
}

/* ---------------------------------------------------------------- forward */

/* x [B, T, D] -> [B, T, D]: queries, keys and values, attention within the spans, output
 * projection.
 */
static struct tensor *attend(const void *model, size_t i, struct tape *tape, struct tensor *x,
                             void *memory)
{
    const struct adaptive_span *self = model;
    const struct adaptive_span_layer *layer = &self->layers[i];
    struct backbone_state *state = memory;
    struct attention_span attention = {
        .heads = (size_t)self->options.stack.heads,
        .span = self->span,
        .ramp = (real)self->ramp,
        .excludes_self = !self->options.include_self,
        .spans = spans_of(self, layer, tape, x),
        .positions = layer->positions != SIZE_MAX ? tape_param(tape, layer->positions) : NULL,
    };
    struct tensor *qk = linear_layer(tape, &layer->qk, x);
    struct tensor *v = linear_layer(tape, &layer->v, x);
    struct tensor *y;
    if (state == NULL) {
        y = op_attention_span(tape, qk, v, &attention);
    } else {
        struct attention_cache cache = {.batch = x->shape[0], .capacity = capacity_of(self)};
        if (tape_computes(tape)) {
            size_t ring = ring_size(self, state->batch);
            cache.length = state->steps;
            cache.keys = (real *)(void *)(state + 1) + 2 * i * ring;
            cache.values = cache.keys + ring;
        }
        y = attention_span_append(tape, qk, v, &attention, &cache);
    }
    return linear_layer(tape, &layer->out, y);
}

static struct tensor *adaptive_span_forward(const struct backbone_model *model, struct tape *tape,
                                            struct tensor *x, struct backbone_state *state)
{
    const struct adaptive_span *self = adaptive_span_of(model);
    struct stack_mixer mixer = {.mix = attend, .self = self, .state = state};
    return stack_forward(&self->stack, &self->options.stack, tape, x, 0, &mixer);
}

/* ---------------------------------------------------------------- registration */

static const char *const position_names[] = {"shared", "layer", "none", NULL};
#define FIELD(name) OPTION_FIELD(struct adaptive_span_options, name)

static const struct option adaptive_span_options[] = {
    STACK_OPTIONS(struct adaptive_span_options, "256"),
    {"span", OPTION_INT, "0", 0, 65536, NULL, FIELD(span), 0, 0,
     "Steps that a head can learn to see (the paper's S); 0 = the window's length."},
    {"ramp", OPTION_INT, "0", 0, 4096, NULL, FIELD(ramp), 0, 0,
     "Steps over which a head's view fades out (the paper's R); 0 = a season, 8 to 32."},
    {"span_init", OPTION_DOUBLE, "0.25", 0, 1, NULL, FIELD(span_init), 0, 0,
     "Share of the span that every head begins with."},
    {"penalty", OPTION_DOUBLE, "1e-6", 0, 1, NULL, FIELD(penalty), 0, 0,
     "Added to the loss for each step of a layer's mean span (the paper's lambda)."},
    {"span_rate", OPTION_DOUBLE, "5", 0.01, 100, NULL, FIELD(span_rate), 0, 0,
     "Learning rate of the spans, as a factor of the weights'."},
    {"learn", OPTION_BOOL, "true", 0, 0, NULL, FIELD(learn), 0, 0,
     "Learn the spans, or keep all of them at span_init."},
    {"include_self", OPTION_BOOL, "true", 0, 0, NULL, FIELD(include_self), 0, 0,
     "A step sees itself too; false = only the steps before it, as in the paper's code."},
    {"positions", OPTION_CHOICE, "shared", 0, 0, position_names, FIELD(positions), 0, 0,
     "Learned embeddings of distances, shared by all layers or each layer's own, or nothing."},
    {"dynamic", OPTION_BOOL, "false", 0, 0, NULL, FIELD(dynamic), 0, 0,
     "Each step chooses its spans by its content."},
};

const struct backbone adaptive_span_backbone = {
    .name = "adaptive_span",
    .paper = "Sukhbaatar et al. 2019, arXiv:1905.07799",
    .help = "Each head learns how far back it looks, and computes no more than that.",
    .options = adaptive_span_options,
    .option_count = ARRAY_COUNT(adaptive_span_options),
    .options_bytes = sizeof(struct adaptive_span_options),
    .causal = true,
    .streaming = true,
    .create = adaptive_span_create,
    .release = adaptive_span_release,
    .declare = adaptive_span_declare,
    .forward = adaptive_span_forward,
    .state_bytes = adaptive_span_state_bytes,
    .penalty = adaptive_span_penalty,
    .settle = adaptive_span_settle,
    .describe = adaptive_span_describe,
};
