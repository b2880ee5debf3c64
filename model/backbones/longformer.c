/* Longformer (Beltagy, Peters, Cohan 2020, arXiv:2004.05150).
 * SPDX-License-Identifier: Apache-2.0
 *
 * A query sees a window of the w nearest earlier steps, and a few heads step through it in strides:
 * by 2, by 4, by whole seasons. Windows double from layer to layer, so that the lowest ones look at
 * shapes and the highest ones far back. To that come global tokens, which in the paper read
 * everything and are read by everything; before a forecast that would carry the future into the
 * past, so there are three forms of them:
 *
 *   registers      learned tokens before the sequence: every query reads them, they read only each
 *                  other. Their keys and values depend on nothing but weights, so a state has them
 *                  once.
 *   key-side       mode=causal: a query also reads the steps one, two ... seasons before it through
 *                  keys and values of their own, Kg and Vg; its window leaves those distances out.
 *   symmetric      mode=encoder: tokens evenly spread over the sequence that all queries read, and
 *                  that read all of it through projections of their own, Qg, Kg and Vg. The window
 *                  then looks ahead as well. Declared as not causal: only for the direct head.
 *
 * The paper initialises Qg, Kg, Vg as copies of Q, K, V. Parameters here are drawn by their names,
 * so a copy is written as a difference: Kg x = K x + D x with D = 0 at the start, which is the same
 * family of maps and starts at the copy exactly.
 *
 * Departures, by option: pre-norm, GELU, a position table inside the backbone.
 */
#include "model/backbones/backbone.h"
#include "model/backbones/stack.h"

#include "base/check.h"
#include "base/memory.h"
#include "base/size.h"

#include <stdio.h>
#include <string.h>

#define WINDOW_CHOSEN  ((size_t)32) /* of the lowest layer */
#define REGISTERS_MOST 64
#define GLOBALS_MOST   64
#define STRIDED_HEADS  2 /* heads that step by 2 and by 4 */

/* ---------------------------------------------------------------- hyperparameters */

enum longformer_mode { MODE_CAUSAL, MODE_ENCODER };
enum longformer_growth { GROWTH_DOUBLE, GROWTH_NONE };
enum longformer_dilation { DILATION_BOTH, DILATION_HEADS, DILATION_SEASON, DILATION_NONE };
enum longformer_positions { POSITIONS_LEARNED, POSITIONS_NONE };

struct longformer_options {
    struct stack_options stack;
    int64_t mode, window, growth, dilation, registers, globals, positions;
};

struct longformer_layer {
    struct linear_layer qk, v, out;
    struct linear_layer global_q, global_k, global_v; /* differences; q in encoders only */
    size_t capacity;                                  /* steps that a state keeps */
};

struct longformer {
    struct backbone_model model; /* first */
    struct longformer_options options;
    struct pattern *patterns; /* [layers, heads] */
    struct pattern distant;   /* causal: distances of the key-side globals; none: no offsets */
    size_t spacing;           /* between them */
    size_t registers;         /* [G, D], or SIZE_MAX */
    struct stack stack;
    struct longformer_layer layers[LAYERS_MAX];
};

static const struct longformer *longformer_of(const struct backbone_model *model)
{
    return (const struct longformer *)(const void *)model;
}

static bool is_encoder(const struct longformer *self)
{
    return self->options.mode == MODE_ENCODER;
}

static bool has_distant(const struct longformer *self)
{
    return self->distant.offset_count > 0;
}

/* ---------------------------------------------------------------- patterns */

/* Layer i's window, in keys on one side. */
static size_t window_of(const struct longformer *self, size_t i)
{
    size_t lowest = self->options.window > 0 ? (size_t)self->options.window : WINDOW_CHOSEN;
    size_t grown = self->options.growth == GROWTH_DOUBLE ? lowest << i : lowest;
    return larger(smaller(grown, self->model.shape.length - 1), 1);
}

/* The upper half of the layers has dilated heads: the last head steps by seasons, the two before it
 * by 4 and by 2. At least one head stays as it is. */
static size_t dilation_of(const struct longformer *self, size_t i, size_t head)
{
    int64_t dilation = self->options.dilation;
    size_t season = self->model.shape.season;
    size_t from_last = (size_t)self->options.stack.heads - 1 - head;
    if (2 * i + 1 < self->model.layers || head == 0) {
        return 1;
    }
    if ((dilation == DILATION_BOTH || dilation == DILATION_SEASON) && season > 1) {
        if (from_last == 0) {
            return season;
        }
        from_last--;
    }
    bool strided = dilation == DILATION_BOTH || dilation == DILATION_HEADS;
    return strided && from_last < STRIDED_HEADS ? (size_t)4 >> from_last : 1;
}

/* The key-side globals are not counted twice. */
static void leave_out(const struct pattern *distant, struct pattern *pattern)
{
    size_t kept = 0;
    for (size_t o = 0; o < pattern->offset_count; o++) {
        bool twice = false;
        for (size_t d = 0; d < distant->offset_count; d++) {
            twice = twice || distant->offsets[d] == pattern->offsets[o];
        }
        if (!twice) {
            pattern->offsets[kept++] = pattern->offsets[o];
        }
    }
    pattern->offset_count = kept;
}

/* Distances {s, 2 s, ...} of the key-side globals, s a season or, without one, an even share of the
 * length. */
static enum status make_distant(struct longformer *self, struct error *error)
{
    const struct backbone_shape *shape = &self->model.shape;
    size_t wanted = is_encoder(self) ? 0 : (size_t)self->options.globals;
    self->spacing = shape->season > 0 ? shape->season : shape->length / (wanted + 1);
    self->spacing = larger(self->spacing, 1);
    struct pattern_window all = {shape->length, wanted, self->spacing, false};
    enum status status = pattern_window(&all, &self->distant, error);
    for (size_t o = 1; o < self->distant.offset_count; o++) {
        self->distant.offsets[o - 1] = self->distant.offsets[o]; /* not the step itself */
    }
    self->distant.offset_count -= self->distant.offset_count > 0 ? 1 : 0;
    return status;
}

static enum status make_patterns(struct longformer *self, struct error *error)
{
    size_t heads = (size_t)self->options.stack.heads;
    size_t count = self->model.layers * heads;
    enum status status = make_distant(self, error);
    self->patterns = mem_zeroed(count, sizeof(struct pattern));
    if (status == STATUS_OK && self->patterns == NULL) {
        return error_set(error, STATUS_NO_MEMORY, "could not reserve %zu patterns", count);
    }
    for (size_t n = 0; status == STATUS_OK && n < count; n++) {
        struct pattern_window shape = {
            .length = self->model.shape.length,
            .window = window_of(self, n / heads),
            .dilation = dilation_of(self, n / heads, n % heads),
            .both_ways = is_encoder(self),
        };
        status = pattern_window(&shape, &self->patterns[n], error);
        leave_out(&self->distant, &self->patterns[n]);
    }
    return status;
}

/* For the model's record: what layers and heads leave out on average, and what a state keeps. */
static void describe_patterns(struct longformer *self)
{
    size_t length = self->model.shape.length;
    size_t heads = (size_t)self->options.stack.heads;
    double all = is_encoder(self) ? (double)length * (double)length
                                  : (double)length * ((double)length + 1) / 2;
    double pairs = 0;
    for (size_t n = 0; n < self->model.layers * heads; n++) {
        const struct pattern *pattern = &self->patterns[n];
        pairs +=
            (double)pattern_pairs(pattern, length) + (double)pattern_pairs(&self->distant, length);
        struct longformer_layer *layer = &self->layers[n / heads];
        size_t last = pattern->offsets[pattern->offset_count - 1];
        layer->capacity = larger(layer->capacity, last + 1);
    }
    double share = 1 - pairs / all / (double)(self->model.layers * heads);
    self->model.sparse_share = share > 0 ? share : 0;
    self->model.window = window_of(self, 0);
    (void)snprintf(self->model.pattern, sizeof(self->model.pattern), "%s",
                   is_encoder(self) ? "window_both_ways" : "window");
}

/* ---------------------------------------------------------------- life */

static void longformer_release(struct backbone_model *model)
{
    struct longformer *self = (struct longformer *)(void *)model;
    size_t count = model->layers * (size_t)self->options.stack.heads;
    for (size_t n = 0; self->patterns != NULL && n < count; n++) {
        pattern_release(&self->patterns[n]);
    }
    pattern_release(&self->distant);
    mem_free(self->patterns);
    mem_free(self);
}

static enum status check_globals(const struct longformer *self, struct error *error)
{
    size_t length = self->model.shape.length;
    size_t globals = (size_t)self->options.globals;
    if (!is_encoder(self) || globals <= length) {
        return STATUS_OK;
    }
    (void)error_set(error, STATUS_INVALID, "cannot choose %zu global tokens among %zu", globals,
                    length);
    (void)error_hint(error, "Set globals to at most %zu, or a longer context.", length);
    return error_code(error, "bad_value", "globals");
}

static enum status longformer_create(const void *options, const struct backbone_shape *shape,
                                     struct backbone_model **model, struct error *error)
{
    struct longformer *self = mem_zeroed(1, sizeof(*self));
    if (self == NULL) {
        return error_set(error, STATUS_NO_MEMORY, "could not reserve a backbone");
    }
    extern const struct backbone longformer_backbone;
    memcpy(&self->options, options, sizeof(self->options));
    const struct stack_options *stack = &self->options.stack;
    stack_model_init(&self->model, &longformer_backbone, stack, shape);
    self->model.options = &self->options;
    enum status status = stack_check_heads(stack, error);
    if (status == STATUS_OK) {
        status = check_globals(self, error);
    }
    if (status == STATUS_OK) {
        status = make_patterns(self, error);
    }
    if (status != STATUS_OK) {
        longformer_release(&self->model);
        return status;
    }
    describe_patterns(self);
    bool learned = self->options.positions == POSITIONS_LEARNED;
    self->model.state_steps_max = learned ? shape->length : SIZE_MAX;
    if (is_encoder(self)) {
        self->model.causal = false;
        self->model.streaming = false;
        self->model.state_steps_max = 0;
    }
    *model = &self->model;
    return STATUS_OK;
}

/* ---------------------------------------------------------------- parameters */

static void declare_layer(struct longformer *self, struct params *params, const char *prefix,
                          struct longformer_layer *layer)
{
    char name[PARAM_NAME_MAX];
    size_t width = self->model.width;
    struct linear_spec one = {.in = width, .out = width, .init = PARAM_XAVIER};
    struct linear_spec two = {.in = width, .out = 2 * width, .init = PARAM_XAVIER};
    struct linear_spec copy = {.in = width, .out = width, .init = PARAM_ZERO};
    layer->qk = linear_layer_declare(params, &two, param_name(name, prefix, "attention.qk"));
    layer->v = linear_layer_declare(params, &one, param_name(name, prefix, "attention.v"));
    layer->out = linear_layer_declare(params, &one, param_name(name, prefix, "attention.out"));
    if (is_encoder(self) && self->options.globals > 0) {
        layer->global_q =
            linear_layer_declare(params, &copy, param_name(name, prefix, "attention.global_q"));
    }
    if (self->options.globals > 0) {
        layer->global_k =
            linear_layer_declare(params, &copy, param_name(name, prefix, "attention.global_k"));
        layer->global_v =
            linear_layer_declare(params, &copy, param_name(name, prefix, "attention.global_v"));
    }
}

static void longformer_declare(struct backbone_model *model, struct params *params,
                               const char *prefix)
{
    struct longformer *self = (struct longformer *)(void *)model;
    char name[PARAM_NAME_MAX];
    bool learned = self->options.positions == POSITIONS_LEARNED;
    stack_declare(&self->stack, model, &self->options.stack, learned, params, prefix);
    self->registers = SIZE_MAX;
    if (self->options.registers > 0) {
        struct param_spec spec = {.shape = {(size_t)self->options.registers, model->width},
                                  .init = PARAM_NORMAL,
                                  .gain = 0.5};
        self->registers = params_add(params, &spec, "%s.registers", prefix);
    }
    for (size_t i = 0; i < model->layers; i++) {
        declare_layer(self, params, stack_layer_name(name, prefix, i), &self->layers[i]);
    }
}

/* ---------------------------------------------------------------- state */

/* Behind the beginning of a state, for each layer: keys and values of the registers [G, D], of the
 * steps [B, capacity, D] and, with key-side globals, of those [B, distant capacity, D]. */
static size_t register_size(const struct longformer *self)
{
    return (size_t)self->options.registers * self->model.width;
}

static size_t distant_capacity(const struct longformer *self)
{
    return has_distant(self) ? self->distant.offsets[self->distant.offset_count - 1] + 1 : 0;
}

/* Reals of layer i's part. */
static size_t layer_size(const struct longformer *self, size_t i, size_t batch)
{
    size_t steps = self->layers[i].capacity + distant_capacity(self);
    return 2 * (register_size(self) + batch * steps * self->model.width);
}

static size_t longformer_state_bytes(const struct backbone_model *model, size_t batch)
{
    const struct longformer *self = longformer_of(model);
    size_t reals = 0;
    for (size_t i = 0; i < model->layers; i++) {
        reals += layer_size(self, i, batch);
    }
    return sizeof(struct backbone_state) + reals * sizeof(real);
}

/* Layer i's keys of the registers in the state; their values follow. */
static real *state_registers(const struct longformer *self, struct backbone_state *state, size_t i)
{
    real *at = (real *)(void *)(state + 1);
    for (size_t n = 0; n < i; n++) {
        at += layer_size(self, n, state->batch);
    }
    return at;
}

static struct attention_cache state_rings(const struct longformer *self,
                                          struct backbone_state *state, size_t i)
{
    size_t ring = state->batch * self->layers[i].capacity * self->model.width;
    size_t distant = state->batch * distant_capacity(self) * self->model.width;
    real *at = state_registers(self, state, i) + 2 * register_size(self);
    return (struct attention_cache){
        .keys = at,
        .values = at + ring,
        .batch = state->batch,
        .capacity = self->layers[i].capacity,
        .length = state->steps,
        .beside_keys = at + 2 * ring,
        .beside_values = at + 2 * ring + distant,
        .beside_capacity = distant_capacity(self),
    };
}

/* ---------------------------------------------------------------- forward */

/* What the layers of one run share. */
struct run {
    const struct longformer *self;
    bool streams;
    struct backbone_state *state;                         /* NULL while measuring too */
    struct tensor *keys[LAYERS_MAX], *values[LAYERS_MAX]; /* of the registers [1, G, D] */
    struct row_choice globals;                            /* encoders; count 0 = none */
    uint8_t *ordinary;                                    /* [B, T]: not a global token */
};

static struct tensor *difference(struct tape *tape, const struct linear_layer *layer,
                                 struct tensor *x, struct tensor *local)
{
    return op_add(tape, local, linear_layer(tape, layer, x));
}

/* Symmetric globals: replaces their rows of y by attention to all of x. */
static struct tensor *globals_read_all(const struct run *run, size_t i, struct tape *tape,
                                       struct tensor *const local[3], struct tensor *y)
{
    const struct longformer_layer *layer = &run->self->layers[i];
    struct tensor *x = local[0];
    struct tensor *qk = local[1];
    size_t width = x->shape[2];
    struct tensor *rows = op_take_rows(tape, x, &run->globals);
    struct tensor *q = op_slice(tape, op_take_rows(tape, qk, &run->globals), 0, width);
    q = difference(tape, &layer->global_q, rows, q);
    struct tensor *k = difference(tape, &layer->global_k, x, op_slice(tape, qk, width, width));
    struct tensor *v = difference(tape, &layer->global_v, x, local[2]);
    struct attention attention = {.heads = (size_t)run->self->options.stack.heads};
    struct tensor *read = op_attention_across(tape, q, k, v, &attention);
    return op_put_rows(tape, y, read, &run->globals);
}

/* Everything that layer i's queries see beside the window; returns how many kinds. */
static size_t look_beside(const struct run *run, size_t i, struct tape *tape,
                          struct tensor *const local[3], struct attention_beside *beside)
{
    const struct longformer *self = run->self;
    const struct longformer_layer *layer = &self->layers[i];
    struct tensor *qk = local[1];
    size_t width = self->model.width;
    size_t count = 0;
    if (run->keys[i] != NULL) {
        beside[count++] = (struct attention_beside){.k = run->keys[i], .v = run->values[i]};
    }
    if (run->globals.count > 0) {
        struct tensor *k = op_slice(tape, op_take_rows(tape, qk, &run->globals), width, width);
        struct tensor *v = op_take_rows(tape, local[2], &run->globals);
        beside[count++] = (struct attention_beside){.k = k, .v = v};
    }
    if (has_distant(self)) {
        beside[count++] = (struct attention_beside){
            .k = difference(tape, &layer->global_k, local[0], op_slice(tape, qk, width, width)),
            .v = difference(tape, &layer->global_v, local[0], local[2]),
            .pattern = &self->distant,
        };
    }
    return count;
}

/* x [B, T, D] -> [B, T, D]. */
static struct tensor *attend(const void *given, size_t i, struct tape *tape, struct tensor *x,
                             void *memory)
{
    const struct longformer *self = given;
    const struct run *run = memory;
    const struct longformer_layer *layer = &self->layers[i];
    size_t heads = (size_t)self->options.stack.heads;
    struct tensor *qk = linear_layer(tape, &layer->qk, x);
    struct tensor *v = linear_layer(tape, &layer->v, x);
    struct tensor *const local[3] = {x, qk, v};
    struct attention_beside beside[ATTENTION_BESIDE_MAX];
    struct attention attention = {
        .heads = heads,
        .head_patterns = self->patterns + i * heads,
        .key_valid = run->ordinary,
        .beside_count = look_beside(run, i, tape, local, beside),
        .beside = beside,
    };
    struct tensor *y;
    if (run->streams) {
        struct attention_cache cache = {.batch = x->shape[0], .capacity = layer->capacity};
        if (run->state != NULL) {
            cache = state_rings(self, run->state, i);
        }
        y = attention_append(tape, qk, v, &attention, &cache);
    } else {
        y = op_attention(tape, qk, v, &attention);
    }
    if (run->globals.count > 0) {
        y = globals_read_all(run, i, tape, local, y);
    }
    return linear_layer(tape, &layer->out, y);
}

/* Registers read each other; their keys and values are kept for the queries. */
static struct tensor *attend_registers(const void *given, size_t i, struct tape *tape,
                                       struct tensor *x, void *memory)
{
    const struct longformer *self = given;
    struct run *run = memory;
    const struct longformer_layer *layer = &self->layers[i];
    size_t width = x->shape[2];
    struct tensor *qk = linear_layer(tape, &layer->qk, x);
    struct tensor *q = op_slice(tape, qk, 0, width);
    struct attention attention = {.heads = (size_t)self->options.stack.heads};
    run->keys[i] = op_slice(tape, qk, width, width);
    run->values[i] = linear_layer(tape, &layer->v, x);
    struct tensor *y = op_attention_across(tape, q, run->keys[i], run->values[i], &attention);
    return linear_layer(tape, &layer->out, y);
}

/* Runs the registers through all layers, before anything else. */
static void run_registers(struct run *run, struct tape *tape)
{
    const struct longformer *self = run->self;
    struct stack_mixer mixer = {.mix = attend_registers, .self = self, .state = run};
    struct tensor *x =
        op_reshape(tape, tape_param(tape, self->registers),
                   (size_t[]){1, (size_t)self->options.registers, self->model.width, 0});
    for (size_t i = 0; i < self->model.layers; i++) {
        x = stack_layer_forward(&self->stack, &self->options.stack, i, tape, x, &mixer);
    }
}

/* Registers' keys and values: made in the first call, kept in the state, there in later ones. */
static void registers_of_state(struct run *run, struct tape *tape)
{
    const struct longformer *self = run->self;
    size_t size = register_size(self);
    if (run->state->steps == 0) {
        run_registers(run, tape);
    }
    for (size_t i = 0; i < self->model.layers; i++) {
        real *kept = state_registers(self, run->state, i);
        if (run->state->steps == 0) {
            memcpy(kept, run->keys[i]->data, size * sizeof(real));
            memcpy(kept + size, run->values[i]->data, size * sizeof(real));
            continue;
        }
        run->keys[i] = tape_struct(tape, sizeof(struct tensor));
        run->values[i] = tape_struct(tape, sizeof(struct tensor));
        *run->keys[i] = (struct tensor){
            .shape = {1, (size_t)self->options.registers, self->model.width, 1},
            .axes = 3,
            .data = kept,
        };
        *run->values[i] = *run->keys[i];
        run->values[i]->data = kept + size;
    }
}

/* Encoders: evenly spread tokens of every series. */
static void choose_globals(struct run *run, struct tape *tape, const struct tensor *x)
{
    size_t batch = x->shape[0];
    size_t length = x->shape[1];
    size_t count = smaller((size_t)run->self->options.globals, length);
    if (!is_encoder(run->self) || count == 0) {
        return;
    }
    uint32_t *positions = tape_bytes(tape, batch * count * sizeof(uint32_t));
    uint8_t *valid = tape_bytes(tape, batch * count);
    run->ordinary = tape_bytes(tape, batch * length);
    run->globals = (struct row_choice){positions, valid, count};
    if (!tape_computes(tape)) {
        return;
    }
    memset(run->ordinary, 1, batch * length);
    memset(valid, 1, batch * count);
    for (size_t n = 0; n < batch * count; n++) {
        positions[n] = (uint32_t)((2 * (n % count) + 1) * length / (2 * count));
        run->ordinary[n / count * length + positions[n]] = 0;
    }
}

static struct tensor *longformer_forward(const struct backbone_model *model, struct tape *tape,
                                         struct tensor *x, struct backbone_state *state)
{
    const struct longformer *self = longformer_of(model);
    struct run run = {.self = self, .streams = state != NULL};
    run.state = tape_computes(tape) ? state : NULL;
    if (self->registers != SIZE_MAX && run.state != NULL) {
        registers_of_state(&run, tape);
    } else if (self->registers != SIZE_MAX) {
        run_registers(&run, tape);
    }
    choose_globals(&run, tape, x);
    struct stack_mixer mixer = {.mix = attend, .self = self, .state = &run};
    return stack_forward(&self->stack, &self->options.stack, tape, x, backbone_first(tape, state),
                         &mixer);
}

/* ---------------------------------------------------------------- registration */

static const char *const mode_names[] = {"causal", "encoder", NULL};
static const char *const growth_names[] = {"double", "none", NULL};
static const char *const dilation_names[] = {"both", "heads", "season", "none", NULL};
static const char *const position_names[] = {"learned", "none", NULL};
#define FIELD(name) OPTION_FIELD(struct longformer_options, name)

static const struct option longformer_options[] = {
    STACK_OPTIONS(struct longformer_options, "256"),
    {"mode", OPTION_CHOICE, "causal", 0, 0, mode_names, FIELD(mode), 0, 0,
     "A window that looks back only, or both ways with symmetric global tokens (direct head "
     "only)."},
    {"window", OPTION_INT, "0", 0, 65536, NULL, FIELD(window), 0, 0,
     "Nearest steps on one side that the lowest layer sees; 0 = 32."},
    {"growth", OPTION_CHOICE, "double", 0, 0, growth_names, FIELD(growth), 0, 0,
     "Whether the window doubles from layer to layer."},
    {"dilation", OPTION_CHOICE, "both", 0, 0, dilation_names, FIELD(dilation), 0, 0,
     "Which heads of the upper layers step through their window: two of them by 2 and 4 (heads), "
     "one by whole seasons (season), both, or none."},
    {"registers", OPTION_INT, "4", 0, REGISTERS_MOST, NULL, FIELD(registers), 0, 0,
     "Learned tokens before the window that every step reads."},
    {"globals", OPTION_INT, "2", 0, GLOBALS_MOST, NULL, FIELD(globals), 0, 0,
     "Causal: earlier steps, a season apart, read by projections of their own; encoder: tokens "
     "that "
     "read everything and are read by all."},
    {"positions", OPTION_CHOICE, "learned", 0, 0, position_names, FIELD(positions), 0, 0,
     "A learned table over the window, or nothing."},
};

const struct backbone longformer_backbone = {
    .name = "longformer",
    .paper = "Beltagy et al. 2020, arXiv:2004.05150",
    .help =
        "A sliding window that grows by layer, heads that step through it in strides, and global "
        "tokens.",
    .options = longformer_options,
    .option_count = ARRAY_COUNT(longformer_options),
    .options_bytes = sizeof(struct longformer_options),
    .causal = true,
    .streaming = true,
    .create = longformer_create,
    .release = longformer_release,
    .declare = longformer_declare,
    .forward = longformer_forward,
    .state_bytes = longformer_state_bytes,
};
