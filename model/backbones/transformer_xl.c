/* Transformer-XL: segments that remember the ones before, and positions as distances.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Z. Dai, Z. Yang, Y. Yang, J. Carbonell, Q. Le, R. Salakhutdinov: "Transformer-XL: Attentive
 * Language Models beyond a Fixed-Length Context". ACL 2019, arXiv:1901.02860.
 *
 *   c = [memory of layer n, x];  q = W_q x;  k = W_k c;  v = W_v c            (sec. 3.2)
 *   score_ij = ((q_i + u) . k_j + (q_i + w) . W_r R_(i-j)) / sqrt(h)          (sec. 3.3)
 *
 * R is the sinusoid of the distance; u and w are the paper's u and v. The memory of a layer is the
 * newest M of [memory, inputs of that layer], a constant for the gradient. With same-length masking
 * (the preset) every query sees M keys, itself among them, so that outputs do not depend on how a
 * stream is cut into segments, and one step at a time gives the same numbers. Without it a query
 * sees all that its segment and memory hold.
 *
 * While decoding keys and values are kept instead of hidden states, and W_r R is made once.
 */
#include "model/backbones/relative.h"

#include "base/check.h"
#include "base/memory.h"

#include <math.h>
#include <stdalign.h>
#include <stdio.h>
#include <string.h>

struct transformer_xl_options {
    struct stack_options stack;
    int64_t head_width; /* 0 = width / heads */
    int64_t memory;     /* M; 0 = automatic */
    int64_t clamp;      /* 0 = none */
    int64_t biases;     /* enum biases */
    bool same_length;
    bool last_norm;
};

enum biases { BIASES_SHARED, BIASES_LAYER };

struct transformer_xl_layer {
    size_t q, k, v, r, out;             /* weights; none has a bias */
    size_t content_bias, position_bias; /* u, w */
};

struct transformer_xl {
    struct backbone_model model;
    struct transformer_xl_options options;
    size_t memory;               /* M */
    size_t projected;            /* H h */
    struct relative_table table; /* from distance 0 on; the last row stands for all beyond */
    struct stack stack;
    struct transformer_xl_layer layers[LAYERS_MAX];
};

static const struct transformer_xl *transformer_xl_of(const struct backbone_model *model)
{
    return (const struct transformer_xl *)(const void *)model;
}

/* ---------------------------------------------------------------- making */

static void transformer_xl_release(struct backbone_model *model)
{
    struct transformer_xl *self = (struct transformer_xl *)(void *)model;
    relative_table_release(&self->table);
    mem_free(self);
}

static enum status make_table(struct transformer_xl *self, struct error *error)
{
    size_t farthest =
        self->options.same_length ? self->memory - 1 : self->memory + self->model.shape.length - 1;
    size_t clamp = (size_t)self->options.clamp;
    self->table.width = self->model.width;
    self->table.rows = (clamp > 0 && clamp < farthest ? clamp : farthest) + 1;
    return relative_table_init(&self->table, RELATIVE_SINES_FIRST, error);
}

/* Share of the causal pairs of a window that its queries do not see. */
static double share_left_out(const struct transformer_xl *self)
{
    double length = (double)self->model.shape.length;
    double beyond = fmax(0.0, length - (double)self->memory);
    return self->options.same_length ? beyond * (beyond + 1.0) / (length * (length + 1.0)) : 0.0;
}

static enum status transformer_xl_create(const void *options, const struct backbone_shape *shape,
                                         struct backbone_model **model, struct error *error)
{
    struct transformer_xl *self = mem_zeroed(1, sizeof(*self));
    if (self == NULL) {
        return error_set(error, STATUS_NO_MEMORY, "could not reserve a backbone");
    }
    extern const struct backbone transformer_xl_backbone;
    memcpy(&self->options, options, sizeof(self->options));
    const struct stack_options *stack = &self->options.stack;
    stack_model_init(&self->model, &transformer_xl_backbone, stack, shape);
    self->model.options = &self->options;
    self->memory = self->options.memory > 0 ? (size_t)self->options.memory : shape->length;
    enum status status = self->options.head_width > 0 ? STATUS_OK : stack_check_heads(stack, error);
    if (status == STATUS_OK) {
        status = make_table(self, error);
    }
    if (status != STATUS_OK) {
        transformer_xl_release(&self->model);
        return status;
    }
    self->projected =
        (size_t)(self->options.head_width > 0 ? stack->heads * self->options.head_width
                                              : stack->width);
    self->model.recurrent = true;
    self->model.memory_steps = self->memory;
    /* Without same-length masking a state serves as long as it still holds everything. */
    self->model.streaming = self->options.same_length || self->memory >= shape->length;
    self->model.state_steps_max = self->options.same_length ? SIZE_MAX
                                  : self->model.streaming   ? self->memory
                                                            : 0;
    self->model.window = self->options.same_length ? self->memory : 0;
    (void)snprintf(self->model.pattern, sizeof(self->model.pattern), "%s",
                   self->options.same_length ? "same_length" : "segment");
    self->model.sparse_share = share_left_out(self);
    *model = &self->model;
    return STATUS_OK;
}

/* ---------------------------------------------------------------- parameters */

static size_t declare_weight(struct params *params, size_t out, size_t in, const char *prefix,
                             const char *part)
{
    char name[PARAM_NAME_MAX];
    struct linear_spec spec = {.in = in, .out = out, .init = PARAM_XAVIER, .no_bias = true};
    return linear_layer_declare(params, &spec, param_name(name, prefix, part)).weight;
}

static void declare_biases(const struct transformer_xl *self, struct params *params,
                           const char *prefix, struct transformer_xl_layer *layer)
{
    size_t heads = (size_t)self->options.stack.heads;
    struct param_spec spec = {.shape = {heads, self->projected / heads}};
    layer->content_bias = params_add(params, &spec, "%s.content_bias", prefix);
    layer->position_bias = params_add(params, &spec, "%s.position_bias", prefix);
}

static void transformer_xl_declare(struct backbone_model *model, struct params *params,
                                   const char *prefix)
{
    struct transformer_xl *self = (struct transformer_xl *)(void *)model;
    size_t width = model->width;
    bool shared = self->options.biases == BIASES_SHARED;
    struct stack_options parts = self->options.stack;
    if (!self->options.last_norm) {
        parts.norm = NORM_POST; /* whose stack has no norm at its end */
    }
    stack_declare(&self->stack, model, &parts, false, params, prefix);
    for (size_t i = 0; i < model->layers; i++) {
        struct transformer_xl_layer *layer = &self->layers[i];
        char name[PARAM_NAME_MAX];
        (void)stack_layer_name(name, prefix, i);
        layer->q = declare_weight(params, self->projected, width, name, "attention.q");
        layer->k = declare_weight(params, self->projected, width, name, "attention.k");
        layer->v = declare_weight(params, self->projected, width, name, "attention.v");
        layer->r = declare_weight(params, self->projected, width, name, "attention.r");
        layer->out = declare_weight(params, width, self->projected, name, "attention.out");
        if (shared && i > 0) {
            layer->content_bias = self->layers[0].content_bias;
            layer->position_bias = self->layers[0].position_bias;
        } else {
            declare_biases(self, params, shared ? prefix : name, layer);
        }
    }
}

/* ---------------------------------------------------------------- memory */

/* Of one series: this, then for each layer [M, D] of which the first `cells` are in use, oldest
 * first. */
struct memory_row {
    alignas(64) size_t cells;
};

static size_t transformer_xl_memory_bytes(const struct backbone_model *model)
{
    size_t reals = model->layers * model->memory_steps * model->width;
    return sizeof(struct memory_row) + (reals * sizeof(real) + 63) / 64 * 64;
}

static const real *transformer_xl_memory_layer(const struct backbone_model *model,
                                               const void *memory, size_t i, size_t *cells)
{
    const struct memory_row *row = memory;
    *cells = row->cells;
    return (const real *)(const void *)(row + 1) + i * model->memory_steps * model->width;
}

/* One run of all layers: over a memory, over a state, or alone. */
struct pass {
    struct relative_state *state;
    unsigned char *memory; /* rows of memory, or NULL */
    bool recurs;
    size_t cells;         /* the most that a row holds */
    const uint8_t *valid; /* [B, cells + T], or NULL where all rows hold as many */
    struct tensor *table;
};

static struct memory_row *row_of(const struct transformer_xl *self, const struct pass *pass,
                                 size_t b)
{
    return (struct memory_row *)(void *)(pass->memory +
                                         b * transformer_xl_memory_bytes(&self->model));
}

static real *cells_of(const struct transformer_xl *self, struct memory_row *row, size_t layer)
{
    return (real *)(void *)(row + 1) + layer * self->memory * self->model.width;
}

/* Sets the pass up for x: how many cells there are, and which of them are empty. Training always
 * has all of them, as measured. */
static void open_memory(const struct transformer_xl *self, struct tape *tape,
                        const struct tensor *x, struct pass *pass)
{
    if (!pass->recurs) {
        return;
    }
    size_t batch = x->shape[0];
    bool all = tape->mode == TAPE_TRAIN || pass->memory == NULL;
    pass->cells = all ? self->memory : 0;
    size_t fewest = self->memory;
    for (size_t b = 0; pass->memory != NULL && b < batch; b++) {
        size_t cells = row_of(self, pass, b)->cells;
        fewest = cells < fewest ? cells : fewest;
        pass->cells = cells > pass->cells ? cells : pass->cells;
    }
    size_t keys = pass->cells + x->shape[1];
    uint8_t *valid = tape_bytes(tape, batch * keys);
    if (valid == NULL || fewest == pass->cells) {
        return;
    }
    for (size_t b = 0; b < batch; b++) {
        size_t empty = pass->cells - row_of(self, pass, b)->cells;
        memset(valid + b * keys, 0, empty);
        memset(valid + b * keys + empty, 1, keys - empty);
    }
    pass->valid = valid;
}

/* Layer i's memory as a constant [B, cells, D], empty cells first; then moves the memory on by the
 * layer's inputs x. NULL where there are no cells. */
static struct tensor *recall(const struct transformer_xl *self, size_t i, struct tape *tape,
                             const struct tensor *x, const struct pass *pass)
{
    size_t width = self->model.width;
    size_t steps = x->shape[1];
    size_t ahead = self->model.shape.ahead;
    size_t entering = steps > ahead ? steps - ahead : 0;
    struct tensor *before = NULL;
    if (pass->cells > 0) {
        before = tape_input(tape, (size_t[]){x->shape[0], pass->cells, width, 0});
    }
    for (size_t b = 0; pass->memory != NULL && b < x->shape[0]; b++) {
        struct memory_row *row = row_of(self, pass, b);
        real *cells = cells_of(self, row, i);
        if (before != NULL) {
            size_t empty = pass->cells - row->cells;
            real *to = before->data + b * pass->cells * width;
            memset(to, 0, empty * width * sizeof(real));
            memcpy(to + empty * width, cells, row->cells * width * sizeof(real));
        }
        size_t taken = entering < self->memory ? entering : self->memory;
        size_t kept = row->cells + taken > self->memory ? self->memory - taken : row->cells;
        memmove(cells, cells + (row->cells - kept) * width, kept * width * sizeof(real));
        memcpy(cells + kept * width, x->data + (b * steps + entering - taken) * width,
               taken * width * sizeof(real));
    }
    return before;
}

static void close_memory(const struct transformer_xl *self, const struct tensor *x,
                         const struct pass *pass)
{
    size_t ahead = self->model.shape.ahead;
    size_t entering = x->shape[1] > ahead ? x->shape[1] - ahead : 0;
    for (size_t b = 0; pass->memory != NULL && b < x->shape[0]; b++) {
        struct memory_row *row = row_of(self, pass, b);
        row->cells = row->cells + entering < self->memory ? row->cells + entering : self->memory;
    }
}

/* ---------------------------------------------------------------- state */

static struct relative_sizes state_sizes(const struct transformer_xl *self)
{
    return (struct relative_sizes){
        .table = &self->table,
        .layers = self->model.layers,
        .heads = (size_t)self->options.stack.heads,
        .all = self->projected,
        .window = self->memory,
    };
}

static size_t transformer_xl_state_bytes(const struct backbone_model *model, size_t batch)
{
    struct relative_sizes sizes = state_sizes(transformer_xl_of(model));
    return relative_state_bytes(&sizes, batch);
}

static void prepare_state(const struct transformer_xl *self, struct tape *tape,
                          struct relative_state *state)
{
    struct relative_sizes sizes = state_sizes(self);
    size_t weights[LAYERS_MAX];
    for (size_t i = 0; i < sizes.layers; i++) {
        weights[i] = self->layers[i].r;
    }
    relative_state_prepare(&sizes, tape, state, weights);
}

/* ---------------------------------------------------------------- forward */

static struct tensor *project(struct tape *tape, struct tensor *x, size_t weight)
{
    return op_linear(tape, x, tape_param(tape, weight), NULL);
}

/* asked [B, T, D], seen [B, cells + T, D] -> [B, T, D]. */
static struct tensor *attend(const struct transformer_xl *self, size_t i, struct tape *tape,
                             struct tensor *const inputs[2], const struct pass *pass)
{
    const struct transformer_xl_layer *layer = &self->layers[i];
    struct attention_relative attention = {
        .q = project(tape, inputs[0], layer->q),
        .k = project(tape, inputs[1], layer->k),
        .v = project(tape, inputs[1], layer->v),
        .u = tape_param(tape, layer->content_bias),
        .w = tape_param(tape, layer->position_bias),
        .heads = (size_t)self->options.stack.heads,
        .causal = true,
        .window = self->options.same_length ? self->memory : 0,
        .key_valid = pass->valid,
    };
    struct tensor *y = NULL;
    if (pass->state != NULL && tape_computes(tape)) {
        struct relative_sizes sizes = state_sizes(self);
        struct relative_cache cache = relative_state_cache(&sizes, pass->state, i);
        y = attention_relative_append(tape, &attention, &cache);
    } else {
        attention.r = project(tape, pass->table, layer->r);
        y = op_attention_relative(tape, &attention);
    }
    return project(tape, y, layer->out);
}

static struct tensor *layer_forward(const struct transformer_xl *self, size_t i, struct tape *tape,
                                    struct tensor *x, const struct pass *pass)
{
    const struct stack_layer *parts = &self->stack.layers[i];
    bool pre = self->options.stack.norm == NORM_PRE;
    double dropout = self->options.stack.dropout;
    size_t steps = x->shape[1];
    struct tensor *before = recall(self, i, tape, x, pass);
    struct tensor *seen = before != NULL ? op_concat_time(tape, before, x) : x;
    struct tensor *asked = x;
    if (pre) {
        seen = norm_layer(tape, &parts->mix_norm, seen); /* the memory holds what is not normed */
        asked = before != NULL ? op_slice_time(tape, seen, pass->cells, steps) : seen;
    }
    struct tensor *a = attend(self, i, tape, (struct tensor *[]){asked, seen}, pass);
    struct tensor *u = op_add(tape, x, op_dropout(tape, a, dropout));
    if (!pre) {
        u = norm_layer(tape, &parts->mix_norm, u);
    }
    struct tensor *f =
        feed_forward(tape, &parts->feed, pre ? norm_layer(tape, &parts->feed_norm, u) : u);
    struct tensor *y = op_add(tape, u, op_dropout(tape, f, dropout));
    return pre ? y : norm_layer(tape, &parts->feed_norm, y);
}

static struct tensor *run_layers(const struct transformer_xl *self, struct tape *tape,
                                 struct tensor *x, struct pass *pass)
{
    open_memory(self, tape, x, pass);
    struct tensor *last = x;
    size_t keys = pass->cells + x->shape[1];
    size_t rows = keys < self->table.rows ? keys : self->table.rows;
    pass->table = relative_table_rows(&self->table, tape, 0, rows);
    for (size_t i = 0; i < self->model.layers; i++) {
        size_t mark = tape_mark(tape);
        last = tape_keep(tape, mark, layer_forward(self, i, tape, last, pass));
    }
    close_memory(self, x, pass);
    if (self->options.stack.norm == NORM_PRE && self->options.last_norm) {
        last = norm_layer(tape, &self->stack.last_norm, last);
    }
    return last;
}

static struct tensor *transformer_xl_recur(const struct backbone_model *model, struct tape *tape,
                                           struct tensor *x, void *memory)
{
    struct pass pass = {.memory = memory, .recurs = true};
    return run_layers(transformer_xl_of(model), tape, x, &pass);
}

static struct tensor *transformer_xl_forward(const struct backbone_model *model, struct tape *tape,
                                             struct tensor *x, struct backbone_state *state)
{
    const struct transformer_xl *self = transformer_xl_of(model);
    struct pass pass = {.state = (struct relative_state *)state};
    if (state != NULL && tape_computes(tape)) {
        prepare_state(self, tape, pass.state);
    }
    return run_layers(self, tape, x, &pass);
}

/* ---------------------------------------------------------------- registration */

static const char *const bias_names[] = {"shared", "layer", NULL};
#define FIELD(name) OPTION_FIELD(struct transformer_xl_options, name)

static const struct option transformer_xl_options[] = {
    STACK_OPTIONS(struct transformer_xl_options, "256"),
    {"head_width", OPTION_INT, "0", 0, 1024, NULL, FIELD(head_width), 0, 0,
     "Width of one head; 0 = width / heads."},
    {"memory", OPTION_INT, "0", 0, 65536, NULL, FIELD(memory), 0, 0,
     "Tokens that a layer remembers of the windows before (the paper's M); 0 = as many as a window "
     "has."},
    {"same_length", OPTION_BOOL, "true", 0, 0, NULL, FIELD(same_length), 0, 0,
     "Every token sees as many tokens as the memory holds, itself among them; false = all of "
     "memory "
     "and window."},
    {"clamp", OPTION_INT, "0", 0, 65536, NULL, FIELD(clamp), 0, 0,
     "Distances beyond this count as this one (the paper's clamp_len); 0 = none."},
    {"biases", OPTION_CHOICE, "shared", 0, 0, bias_names, FIELD(biases), 0, 0,
     "The biases of content and position: the same in all layers, or each layer its own."},
    {"last_norm", OPTION_BOOL, "true", 0, 0, NULL, FIELD(last_norm), 0, 0,
     "A layer norm at the end of a pre-norm stack (the paper's code has none)."},
};

const struct backbone transformer_xl_backbone = {
    .name = "transformer_xl",
    .paper = "Dai et al. 2019, arXiv:1901.02860",
    .help = "Attention over the window and a memory of the windows before it, with positions as "
            "distances.",
    .options = transformer_xl_options,
    .option_count = ARRAY_COUNT(transformer_xl_options),
    .options_bytes = sizeof(struct transformer_xl_options),
    .causal = true,
    .streaming = true,
    .create = transformer_xl_create,
    .release = transformer_xl_release,
    .declare = transformer_xl_declare,
    .forward = transformer_xl_forward,
    .state_bytes = transformer_xl_state_bytes,
    .memory_bytes = transformer_xl_memory_bytes,
    .memory_layer = transformer_xl_memory_layer,
    .recur = transformer_xl_recur,
};
