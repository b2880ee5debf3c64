/* Reformer: hashed attention, reversible layers, feed-forward in blocks (Kitaev et al., ICLR 2020,
 * arXiv:2001.04451). SPDX-License-Identifier: Apache-2.0
 *
 * Queries are their own keys, and a query only meets keys that random rotations put into the same
 * bucket, so attention costs O(T) keys a round instead of O(T^2). Layers are reversible: the way
 * back reconstructs each layer's input from its output, so memory does not grow with depth. The
 * feed-forward part runs over blocks of rows, so that its wide values stay in the cache.
 *
 * As published (mode=paper) tokens are sorted by bucket and cut into chunks: which keys share a
 * query's chunk depends on how many later tokens fall into each bucket, even where later values are
 * masked. That is an encoder's attention. mode=causal is strictly causal: the latest `window`
 * earlier tokens of the own bucket, and `local` neighbours, because a bucket may have no earlier
 * member; rounds are merged as in the paper.
 *
 * Keys are normalised by their root mean square and scores divided by sqrt(h), as in the authors'
 * code (key_norm=l2 is what a well-known port does: logits smaller by sqrt(h)). Departures by
 * option: pre-norm, GELU, a learned position table, halves averaged at the end.
 */
#include "model/backbones/backbone.h"
#include "model/backbones/stack.h"
#include "model/tape/recompute.h"

#include "base/check.h"
#include "base/memory.h"
#include "base/size.h"

#include <stdio.h>
#include <string.h>

#define SHORT_LENGTH  ((size_t)1024)
#define SHORT_WINDOW  ((size_t)32) /* automatic window or chunk up to this length; twice beyond */
#define FEED_ROWS     ((size_t)256)
#define BUCKETS_LIMIT 65536

/* ---------------------------------------------------------------- hyperparameters */

enum reformer_mode { CAUSAL, PAPER };
enum reformer_positions { POSITIONS_LEARNED, POSITIONS_NONE };
enum reformer_key_norm { KEY_RMS, KEY_L2 };

struct reformer_options {
    struct stack_options stack;
    int64_t mode, rounds, rounds_eval, buckets, window, local, chunk;
    int64_t key_norm, feed_chunk, positions;
    bool masked, within, unique, reversible;
};

struct reformer_layer {
    struct linear_layer qk, v, out;
    size_t rotations; /* [h, R, buckets / 2], or SIZE_MAX */
};

struct reformer {
    struct backbone_model model; /* first */
    struct reformer_options options;
    struct lsh lsh; /* without rotations and rounds */
    struct stack stack;
    struct reformer_layer layers[LAYERS_MAX];
};

static const struct reformer *reformer_of(const struct backbone_model *model)
{
    return (const struct reformer *)(const void *)model;
}

static size_t chosen(int64_t option, size_t automatic)
{
    return option > 0 ? (size_t)option : automatic;
}

/* ---------------------------------------------------------------- the model */

static void choose_hashing(struct reformer *self)
{
    const struct reformer_options *options = &self->options;
    size_t length = self->model.shape.length;
    size_t automatic = length <= SHORT_LENGTH ? SHORT_WINDOW : 2 * SHORT_WINDOW;
    struct lsh *lsh = &self->lsh;
    *lsh = (struct lsh){
        .heads = (size_t)options->stack.heads,
        .rms = options->key_norm == KEY_RMS,
        .window = chosen(options->window, automatic),
        .local = (size_t)options->local,
        .chunk = chosen(options->chunk, automatic),
        .masked = options->masked,
        .within = options->within,
        .unique = options->unique,
    };
    size_t size = options->mode == CAUSAL ? lsh->window : lsh->chunk;
    lsh->buckets = chosen(options->buckets, length <= size ? 1 : 2 * (length / size));
}

static enum status check_options(const struct reformer_options *options, struct error *error)
{
    if (options->reversible && options->stack.norm != NORM_PRE) {
        (void)error_set(error, STATUS_INVALID, "cannot reverse layers with norm=post");
        (void)error_hint(error, "Choose norm=pre, or reversible=false.");
        return error_code(error, "bad_value", "norm");
    }
    if (options->buckets > 1 && options->buckets % 2 != 0) {
        (void)error_set(error, STATUS_INVALID, "cannot hash into %lld buckets",
                        (long long)options->buckets);
        (void)error_hint(error, "Choose an even number of buckets, 1, or 0 for automatic.");
        return error_code(error, "bad_value", "buckets");
    }
    return stack_check_heads(&options->stack, error);
}

/* What a query leaves out at least: it sees `most` keys in all rounds together. */
static double sparse_share(size_t length, size_t most)
{
    double seen = 0;
    for (size_t t = 0; t < length; t++) {
        seen += (double)(t + 1 < most ? t + 1 : most);
    }
    return 1 - seen / ((double)length * (double)(length + 1) / 2);
}

static enum status reformer_create(const void *options, const struct backbone_shape *shape,
                                   struct backbone_model **model, struct error *error)
{
    enum status status = check_options(options, error);
    if (status != STATUS_OK) {
        return status;
    }
    struct reformer *self = mem_zeroed(1, sizeof(*self));
    if (self == NULL) {
        return error_set(error, STATUS_NO_MEMORY, "could not reserve a backbone");
    }
    extern const struct backbone reformer_backbone;
    memcpy(&self->options, options, sizeof(self->options));
    stack_model_init(&self->model, &reformer_backbone, &self->options.stack, shape);
    self->model.options = &self->options;
    self->model.causal = self->options.mode == CAUSAL;
    self->model.streaming = self->model.causal;
    self->model.state_steps_max = self->model.causal ? shape->length : 0;
    choose_hashing(self);
    const struct lsh *lsh = &self->lsh;
    size_t rounds = (size_t)self->options.rounds;
    self->model.window = self->model.causal ? lsh->window : lsh->chunk;
    size_t most =
        self->model.causal ? rounds * lsh->window + lsh->local + 1 : 2 * rounds * lsh->chunk;
    self->model.sparse_share = sparse_share(shape->length, most);
    (void)snprintf(self->model.pattern, sizeof(self->model.pattern), "%s",
                   self->model.causal ? "lsh" : "lsh_chunks");
    *model = &self->model;
    return STATUS_OK;
}

static void reformer_release(struct backbone_model *model)
{
    mem_free(model);
}

/* ---------------------------------------------------------------- parameters */

static void declare_layer(struct reformer *self, struct params *params, const char *prefix,
                          struct reformer_layer *layer)
{
    char name[PARAM_NAME_MAX];
    size_t width = self->model.width;
    struct linear_spec spec = {.in = width, .out = width, .init = PARAM_XAVIER};
    layer->out = linear_layer_declare(params, &spec, param_name(name, prefix, "attention.out"));
    spec.no_bias = true;
    layer->qk = linear_layer_declare(params, &spec, param_name(name, prefix, "attention.qk"));
    layer->v = linear_layer_declare(params, &spec, param_name(name, prefix, "attention.v"));
    layer->rotations = SIZE_MAX;
    if (self->lsh.buckets > 1) {
        size_t rounds = larger((size_t)self->options.rounds, (size_t)self->options.rounds_eval);
        struct param_spec rotations = {
            .shape = {width / self->lsh.heads, rounds, self->lsh.buckets / 2},
            .init = PARAM_NORMAL,
            .gain = 1,
            .fixed = true,
        };
        layer->rotations = params_add(params, &rotations, "%s.attention.rotations", prefix);
    }
}

static void reformer_declare(struct backbone_model *model, struct params *params,
                             const char *prefix)
{
    struct reformer *self = (struct reformer *)(void *)model;
    char name[PARAM_NAME_MAX];
    bool learned = self->options.positions == POSITIONS_LEARNED;
    stack_declare(&self->stack, model, &self->options.stack, learned, params, prefix);
    for (size_t i = 0; i < model->layers; i++) {
        declare_layer(self, params, stack_layer_name(name, prefix, i), &self->layers[i]);
    }
}

static size_t rounds_of(const struct reformer *self, enum tape_mode mode)
{
    bool evaluates = mode == TAPE_INFER && self->options.rounds_eval > 0;
    return (size_t)(evaluates ? self->options.rounds_eval : self->options.rounds);
}

/* ---------------------------------------------------------------- state */

/* Behind the beginning of a state, for each layer: keys and values [B, T, D], and of each head and
 * round the newest step of each bucket [buckets], and each step's earlier one [T]. */
struct state_size {
    size_t rows, newest, earlier; /* of a layer: reals, words, words */
};

static struct state_size state_size(const struct reformer *self, size_t batch)
{
    size_t lists = batch * self->lsh.heads * rounds_of(self, TAPE_INFER);
    return (struct state_size){
        .rows = batch * self->model.shape.length * self->model.width,
        .newest = lists * self->lsh.buckets,
        .earlier = lists * self->model.shape.length,
    };
}

static size_t layer_bytes(struct state_size size)
{
    size_t words = size.newest + size.earlier;
    words += words % 2; /* the next layer's reals may be doubles */
    return 2 * size.rows * sizeof(real) + words * sizeof(uint32_t);
}

static size_t reformer_state_bytes(const struct backbone_model *model, size_t batch)
{
    size_t layer = layer_bytes(state_size(reformer_of(model), batch));
    return sizeof(struct backbone_state) + model->layers * layer;
}

static struct lsh_cache cache_of(const struct reformer *self, struct backbone_state *state,
                                 size_t layer)
{
    struct state_size size = state_size(self, state->batch);
    real *first = (real *)(void *)((unsigned char *)(state + 1) + layer * layer_bytes(size));
    uint32_t *words = (uint32_t *)(void *)(first + 2 * size.rows);
    return (struct lsh_cache){
        .batch = state->batch,
        .capacity = self->model.shape.length,
        .length = state->steps,
        .keys = first,
        .values = first + size.rows,
        .newest = words,
        .earlier = words + size.newest,
    };
}

/* ---------------------------------------------------------------- forward */

/* What the blocks of a run know; lives on the tape. */
struct run {
    const struct reformer *self;
    struct backbone_state *state; /* NULL: whole windows */
};

static struct tensor *hashed(const struct run *run, size_t i, struct tape *tape, struct tensor *qk,
                             struct tensor *v)
{
    const struct reformer *self = run->self;
    size_t rotations = self->layers[i].rotations;
    struct lsh lsh = self->lsh;
    lsh.rounds = rounds_of(self, tape->mode);
    lsh.rotations = rotations != SIZE_MAX ? tape_param(tape, rotations) : NULL;
    if (run->state != NULL) {
        struct lsh_cache cache = {.capacity = self->model.shape.length};
        if (tape_computes(tape)) {
            cache = cache_of(self, run->state, i);
        }
        return lsh_append(tape, qk, v, &lsh, &cache);
    }
    return self->model.causal ? op_lsh_causal(tape, qk, v, &lsh)
                              : op_lsh_chunked(tape, qk, v, &lsh);
}

/* f of layer i: x [B, T, D] -> dropout(attention(LN(x))). */
static struct tensor *attend(const void *context, size_t i, struct tape *tape, struct tensor *x)
{
    const struct run *run = context;
    const struct reformer_layer *layer = &run->self->layers[i];
    const struct stack_options *options = &run->self->options.stack;
    if (options->norm == NORM_PRE) {
        x = norm_layer(tape, &run->self->stack.layers[i].mix_norm, x);
    }
    struct tensor *qk = linear_layer(tape, &layer->qk, x);
    struct tensor *v = linear_layer(tape, &layer->v, x);
    struct tensor *y = hashed(run, i, tape, qk, v);
    return op_dropout(tape, linear_layer(tape, &layer->out, y), options->dropout);
}

/* g of layer i, each row by itself: x [rows, D] -> dropout(FFN(LN(x))). */
static struct tensor *feed(const void *context, size_t i, struct tape *tape, struct tensor *x)
{
    const struct reformer *self = ((const struct run *)context)->self;
    const struct stack_layer *layer = &self->stack.layers[i];
    if (self->options.stack.norm == NORM_PRE) {
        x = norm_layer(tape, &layer->feed_norm, x);
    }
    return op_dropout(tape, feed_forward(tape, &layer->feed, x), self->options.stack.dropout);
}

/* Layers as in other backbones, each keeping its values but for what is inside the feed-forward
 * part. */
static struct tensor *plain_layers(const struct run *run, struct tape *tape, struct tensor *x,
                                   const struct tape_block *feeds)
{
    const struct reformer *self = run->self;
    bool post = self->options.stack.norm == NORM_POST;
    bool whole = feeds->rows >= self->model.shape.length;
    for (size_t i = 0; i < self->model.layers; i++) {
        const struct stack_layer *layer = &self->stack.layers[i];
        size_t mark = tape_mark(tape);
        struct tensor *u = op_add(tape, x, attend(run, i, tape, x));
        u = post ? norm_layer(tape, &layer->mix_norm, u) : u;
        struct tensor *f = whole ? feed(run, i, tape, u) : tape_recompute(tape, feeds, i, u);
        u = op_add(tape, u, f);
        u = post ? norm_layer(tape, &layer->feed_norm, u) : u;
        x = tape_keep(tape, mark, u);
    }
    return x;
}

static struct tensor *reformer_forward(const struct backbone_model *model, struct tape *tape,
                                       struct tensor *x, struct backbone_state *state)
{
    const struct reformer *self = reformer_of(model);
    struct run *run = tape_struct(tape, sizeof(*run));
    *run = (struct run){.self = self, .state = state};
    if (self->stack.positions != SIZE_MAX) {
        x = op_add_table(tape, x, tape_param(tape, self->stack.positions),
                         backbone_first(tape, state));
    }
    struct tape_block feeds = {
        .run = feed, .self = run, .rows = chosen(self->options.feed_chunk, FEED_ROWS)};
    if (self->options.reversible) {
        struct tape_reversible stack = {
            .f = {.run = attend, .self = run}, .g = feeds, .layers = model->layers};
        x = tape_reversible(tape, &stack, x);
    } else {
        x = plain_layers(run, tape, x, &feeds);
    }
    if (self->options.stack.norm == NORM_PRE) {
        x = norm_layer(tape, &self->stack.last_norm, x);
    }
    return x;
}

/* ---------------------------------------------------------------- registration */

static const char *const mode_names[] = {"causal", "paper", NULL};
static const char *const key_norm_names[] = {"rms", "l2", NULL};
static const char *const position_names[] = {"learned", "none", NULL};
#define FIELD(name) OPTION_FIELD(struct reformer_options, name)

static const struct option reformer_options[] = {
    STACK_OPTIONS(struct reformer_options, "256"),
    {"mode", OPTION_CHOICE, "causal", 0, 0, mode_names, FIELD(mode), 0, 0,
     "Strictly causal hashed attention, or the published sort-and-chunk form (an encoder)."},
    {"rounds", OPTION_INT, "2", 1, 16, NULL, FIELD(rounds), 0, 0,
     "Rounds of hashing while training."},
    {"rounds_eval", OPTION_INT, "0", 0, 16, NULL, FIELD(rounds_eval), 0, 0,
     "Rounds of hashing when forecasting; 0 = as while training."},
    {"buckets", OPTION_INT, "0", 0, BUCKETS_LIMIT, NULL, FIELD(buckets), 0, 0,
     "Buckets of a round, even; 1 = no hashing; 0 = 2 length / window (paper: chunk), 1 where the "
     "length is no more than that."},
    {"window", OPTION_INT, "0", 0, 65536, NULL, FIELD(window), 0, 0,
     "Causal: latest tokens of the same bucket that are seen; 0 = 32, beyond 1024 tokens 64."},
    {"local", OPTION_INT, "8", 1, 65536, NULL, FIELD(local), 0, 0,
     "Causal: nearest earlier tokens that are always seen."},
    {"chunk", OPTION_INT, "0", 0, 65536, NULL, FIELD(chunk), 0, 0,
     "Paper: sorted tokens of a chunk; 0 = 32, beyond 1024 tokens 64."},
    {"masked", OPTION_BOOL, "true", 0, 0, NULL, FIELD(masked), 0, 0,
     "Paper: values of later tokens are not seen."},
    {"within", OPTION_BOOL, "false", 0, 0, NULL, FIELD(within), 0, 0,
     "Paper: only tokens of the same bucket are seen, not all of the two chunks."},
    {"unique", OPTION_BOOL, "false", 0, 0, NULL, FIELD(unique), 0, 0,
     "Paper: a token found in several rounds counts once."},
    {"key_norm", OPTION_CHOICE, "rms", 0, 0, key_norm_names, FIELD(key_norm), 0, 0,
     "Keys have a mean square of one, or a length of one."},
    {"reversible", OPTION_BOOL, "true", 0, 0, NULL, FIELD(reversible), 0, 0,
     "Reversible layers: memory of activations does not grow with the number of layers."},
    {"feed_chunk", OPTION_INT, "0", 0, 1048576, NULL, FIELD(feed_chunk), 0, 0,
     "Rows that the feed-forward part takes at a time; 0 = 256. Not reversible: from the length on "
     "it "
     "is not in blocks and keeps its values."},
    {"positions", OPTION_CHOICE, "learned", 0, 0, position_names, FIELD(positions), 0, 0,
     "A learned table over the window, or nothing."},
};

const struct backbone reformer_backbone = {
    .name = "reformer",
    .paper = "Kitaev et al. 2020, arXiv:2001.04451",
    .help =
        "Attention among tokens that hash alike, in reversible layers that keep no activations.",
    .options = reformer_options,
    .option_count = ARRAY_COUNT(reformer_options),
    .options_bytes = sizeof(struct reformer_options),
    .causal = true,
    .streaming = true,
    .create = reformer_create,
    .release = reformer_release,
    .declare = reformer_declare,
    .forward = reformer_forward,
    .state_bytes = reformer_state_bytes,
};
