/* Attention to summaries of the past, and exactly within a block: forward and way back.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A block's keys are gathered once a head, so that every product runs over contiguous rows and no
 * matrix is larger than TILE_ROWS times what a block sees. Kept is one log-sum a row and head.
 */
#include "model/ops/attention_block.h"
#include "model/ops/kernels.h"
#include "model/ops/rows.h"
#include "model/tape/blas.h"

#include "base/background.h"
#include "base/check.h"

#include <math.h>
#include <string.h>

struct block_kept {
    struct block_attention attention;
    struct time_summaries levels;
    real *log_sum; /* [B, H, T] */
    size_t keys_max, summary;
};

/* The arrays of one run, carved from scratch. */
struct block_room {
    struct block_keys keys, d_keys;
    real *scores, *slopes, *sums;
};

static size_t room_reals(const struct block_kept *kept, bool back)
{
    size_t width = kept->attention.width / kept->attention.heads;
    size_t once = 2 * kept->keys_max * width + (TILE_ROWS + 1) * kept->keys_max;
    return back ? 2 * once : once;
}

static struct block_room room_of(const struct block_kept *kept, real *scratch, bool back)
{
    size_t keys = kept->keys_max;
    size_t size = keys * (kept->attention.width / kept->attention.heads);
    struct block_room room = {.keys = {.keys = scratch, .values = scratch + size}};
    room.keys.bias = scratch + 2 * size;
    room.scores = room.keys.bias + keys;
    if (back) {
        real *next = room.scores + TILE_ROWS * keys;
        room.d_keys = (struct block_keys){.keys = next, .values = next + size};
        room.sums = next + 2 * size;
        room.slopes = room.sums + keys;
    }
    return room;
}

/* One head of one series in tensors; gradients where the pointers say so. */
static struct block_head head_of(const struct block_kept *kept, struct tensor *const in[5],
                                 size_t b, size_t h)
{
    const struct block_attention *attention = &kept->attention;
    size_t width = attention->width / attention->heads;
    struct block_head head = {.attention = &kept->attention, .width = width};
    block_head_levels(&head, &kept->levels, kept->summary);
    if (attention->block > 0) {
        size_t steps = in[0]->shape[1];
        head.key_step = tensor_width(in[0]);
        head.value_step = attention->width;
        head.keys = in[0]->data + b * steps * head.key_step + attention->width + h * width;
        head.values = in[1]->data + b * steps * head.value_step + h * width;
    }
    if (in[2] != NULL) {
        head.summary_step = tensor_width(in[2]);
        size_t shared = head.summary_step == width ? 0 : h * width;
        size_t at = b * in[2]->shape[1] * head.summary_step + shared;
        head.summary_keys = in[2]->data + at;
        head.summary_values = in[3]->data + at;
    }
    if (in[4] != NULL) {
        head.bias = in[4]->data + h * tensor_width(in[4]);
    }
    return head;
}

/* The same places in the gradients; NULL where none is wanted. */
static void point_gradients(struct block_head *head, struct tensor *const in[5],
                            real *const gradients[5])
{
    if (gradients[0] != NULL && head->keys != NULL) {
        head->d_keys = gradients[0] + (head->keys - in[0]->data);
    }
    if (gradients[1] != NULL && head->values != NULL) {
        head->d_values = gradients[1] + (head->values - in[1]->data);
    }
    if (gradients[2] != NULL) {
        head->d_summary_keys = gradients[2] + (head->summary_keys - in[2]->data);
    }
    if (gradients[3] != NULL) {
        head->d_summary_values = gradients[3] + (head->summary_values - in[3]->data);
    }
    if (gradients[4] != NULL) {
        head->d_bias = gradients[4] + (head->bias - in[4]->data);
    }
}

/* Block b: its steps begin..end - 1, what it sees, and where its exact steps begin. */
struct block_span {
    size_t begin, end, first;
    struct block_ranges ranges;
};

static struct block_span span_of(const struct block_kept *kept, size_t b, size_t length)
{
    const struct block_attention *attention = &kept->attention;
    struct block_span span = {.end = length, .first = length};
    if (attention->block == 0) {
        span.ranges.levels[0].count = kept->levels.counts[0];
        span.ranges.nodes = kept->levels.counts[0];
        return span;
    }
    block_ranges_of(attention, b, &span.ranges);
    span.begin = b * attention->block;
    span.end = span.begin + attention->block < length ? span.begin + attention->block : length;
    span.first = attention->previous && b > 0 ? span.begin - attention->block : span.begin;
    return span;
}

static size_t block_count(const struct block_kept *kept, size_t length)
{
    size_t block = kept->attention.block;
    return block > 0 ? (length + block - 1) / block : 1;
}

/* Queries from `at` on, at most TILE_ROWS and not beyond the block. */
static struct block_tile tile_of(const struct block_kept *kept, const struct block_span *span,
                                 const struct block_keys *keys, size_t at,
                                 struct tensor *const in[5])
{
    bool exact = kept->attention.block > 0;
    size_t width = kept->attention.width / kept->attention.heads;
    return (struct block_tile){
        .rows = span->end - at < TILE_ROWS ? span->end - at : TILE_ROWS,
        .seen = keys->summaries + (exact ? at - span->first + 1 : 0),
        .growth = exact ? 1 : 0,
        .width = width,
        .step = kept->keys_max,
        .q_step = tensor_width(in[0]),
        .scale = (real)(1 / sqrt((double)width)),
        .out_step = kept->attention.width,
    };
}

/* ---------------------------------------------------------------- the way back */

static void add_rows(const real *from, size_t rows, size_t width, real *to, size_t step)
{
    for (size_t i = 0; to != NULL && i < rows; i++) {
        for (size_t c = 0; c < width; c++) {
            to[i * step + c] += from[i * width + c];
        }
    }
}

/* The way back of block_gather. */
static void scatter(const struct block_head *head, const struct block_span *span,
                    const struct block_room *room)
{
    const struct block_keys *d = &room->d_keys;
    size_t width = head->width;
    size_t done = 0;
    for (size_t level = 0; level < TIME_LEVELS_MAX; level++) {
        size_t nodes = span->ranges.levels[level].count;
        size_t rows = nodes * head->summary;
        size_t at = head->level_rows[level] + span->ranges.levels[level].first * head->summary;
        at *= head->summary_step;
        add_rows(d->keys + done * width, rows, width,
                 head->d_summary_keys != NULL ? head->d_summary_keys + at : NULL,
                 head->summary_step);
        add_rows(d->values + done * width, rows, width,
                 head->d_summary_values != NULL ? head->d_summary_values + at : NULL,
                 head->summary_step);
        size_t slots = 2 * head->attention->group * level;
        for (size_t i = 0; head->d_bias != NULL && i < rows; i++) {
            head->d_bias[slots + nodes - 1 - i / head->summary] += room->sums[done + i];
        }
        done += rows;
    }
    size_t own = room->keys.count - done;
    add_rows(d->keys + done * width, own, width,
             head->d_keys != NULL ? head->d_keys + span->first * head->key_step : NULL,
             head->key_step);
    add_rows(d->values + done * width, own, width,
             head->d_values != NULL ? head->d_values + span->first * head->value_step : NULL,
             head->value_step);
}

/* dV += P^T dO, dK += scale dS^T Q, dQ += scale dS K, d_bias += dS of one tile. */
static void tile_back(const struct block_tile *tile, const struct block_room *room,
                      const real *d_out, real *d_q)
{
    size_t width = tile->width;
    size_t rows = tile->rows;
    size_t seen = tile->seen + (rows - 1) * tile->growth;
    struct matrix q = {tile->q, tile->q_step, BLAS_PLAIN};
    struct matrix dy = {d_out, tile->out_step, BLAS_PLAIN};
    /* (1) S again, and dO V^T */
    blas_product(rows, seen, width, tile->scale, q,
                 (struct matrix){room->keys.keys, width, BLAS_TRANSPOSED}, 0, tile->scores,
                 tile->step);
    blas_product(rows, seen, width, 1, dy,
                 (struct matrix){room->keys.values, width, BLAS_TRANSPOSED}, 0, room->slopes,
                 tile->step);
    /* (2) P and dS */
    kernels()->score_rows_back(&(struct score_rows){
        .rows = rows,
        .step = tile->step,
        .seen = tile->seen,
        .growth = tile->growth,
        .bias = room->keys.bias,
        .biased = room->keys.summaries,
        .scores = tile->scores,
        .log_sum = tile->log_sum,
        .slopes = room->slopes,
        .d_out = d_out,
        .out = tile->out,
        .width = width,
        .out_step = tile->out_step,
    });
    /* (3) */
    blas_product(seen, width, rows, 1, (struct matrix){tile->scores, tile->step, BLAS_TRANSPOSED},
                 dy, 1, room->d_keys.values, width);
    blas_product(seen, width, rows, tile->scale,
                 (struct matrix){room->slopes, tile->step, BLAS_TRANSPOSED}, q, 1,
                 room->d_keys.keys, width);
    if (d_q != NULL) {
        blas_product(rows, width, seen, tile->scale,
                     (struct matrix){room->slopes, tile->step, BLAS_PLAIN},
                     (struct matrix){room->keys.keys, width, BLAS_PLAIN}, 1, d_q, tile->q_step);
    }
    kernels()->column_sums(rows, tile->step, room->slopes, room->sums);
}

/* One head of one series on its way through all blocks. */
struct block_pass {
    const struct block_kept *kept;
    struct tensor *const *in;
    struct tensor *out;
    const real *d_out; /* backward only */
    real *d_qk;        /* or NULL */
    struct block_room room;
    struct block_head head;
    size_t q, y, log_sum; /* where the head begins in qk, out and the log-sums */
};

static void pass_head(struct block_pass *pass, size_t b, size_t h)
{
    size_t length = pass->out->shape[1];
    pass->head = head_of(pass->kept, pass->in, b, h);
    pass->q = b * length * tensor_width(pass->in[0]) + h * pass->head.width;
    pass->y = b * length * pass->kept->attention.width + h * pass->head.width;
    pass->log_sum = (b * pass->kept->attention.heads + h) * length;
}

/* The tile at step `at`, with its operands. */
static struct block_tile pass_tile(const struct block_pass *pass, const struct block_span *span,
                                   size_t at)
{
    struct block_tile tile = tile_of(pass->kept, span, &pass->room.keys, at, pass->in);
    tile.q = pass->in[0]->data + pass->q + at * tile.q_step;
    tile.scores = pass->room.scores;
    tile.log_sum = pass->kept->log_sum + pass->log_sum + at;
    tile.out = pass->out->data + pass->y + at * tile.out_step;
    return tile;
}

static void pass_back(struct block_pass *pass, const struct block_span *span)
{
    struct block_room *room = &pass->room;
    size_t keys_max = pass->kept->keys_max;
    block_gather(&pass->head, &span->ranges, span->first, span->end - span->first, &room->keys);
    memset(room->d_keys.keys, 0, 2 * keys_max * pass->head.width * sizeof(real));
    memset(room->sums, 0, keys_max * sizeof(real));
    for (size_t at = span->begin; at < span->end; at += TILE_ROWS) {
        struct block_tile tile = pass_tile(pass, span, at);
        tile_back(&tile, room, pass->d_out + (tile.out - pass->out->data),
                  pass->d_qk != NULL ? pass->d_qk + (tile.q - pass->in[0]->data) : NULL);
    }
    scatter(&pass->head, span, room);
}

static void attention_block_back(struct tape *tape, const struct node *node)
{
    const struct block_kept *kept = node->context;
    real *gradients[5];
    for (size_t i = 0; i < 5; i++) {
        gradients[i] = tape_grad_sum(tape, node->in[i]);
    }
    struct block_pass pass = {
        .kept = kept,
        .in = node->in,
        .out = node->out,
        .d_out = tape_grad_of(node->out),
        .d_qk = gradients[0],
        .room = room_of(kept, tape_backward_scratch(tape, node->scratch), true),
    };
    size_t length = node->out->shape[1];
    for (size_t i = 0; i < node->out->shape[0] * kept->attention.heads; i++) {
        pass_head(&pass, i / kept->attention.heads, i % kept->attention.heads);
        point_gradients(&pass.head, node->in, gradients);
        for (size_t b = 0; b < block_count(kept, length); b++) {
            struct block_span span = span_of(kept, b, length);
            pass_back(&pass, &span);
        }
        background_give_way();
    }
}

const struct op attention_block_op = {.name = "attention_block", .backward = attention_block_back};

/* ---------------------------------------------------------------- forward */

static void pass_forward(struct block_pass *pass, const struct block_span *span)
{
    block_gather(&pass->head, &span->ranges, span->first, span->end - span->first,
                 &pass->room.keys);
    for (size_t at = span->begin; at < span->end; at += TILE_ROWS) {
        struct block_tile tile = pass_tile(pass, span, at);
        block_tile_forward(&tile, &pass->room.keys);
    }
}

static void check_inputs(const struct block_inputs *in, const struct block_attention *attention)
{
    size_t all = attention->width;
    bool exact = attention->block > 0;
    CHECK(all % attention->heads == 0);
    CHECK(in->qk->axes == 3 && tensor_width(in->qk) >= (exact ? 2 * all : all));
    CHECK(!exact || (in->v != NULL && tensor_width(in->v) == all));
    CHECK(exact || in->summary_keys != NULL);
    CHECK((in->summary_keys == NULL) == (in->summary_values == NULL));
    CHECK(in->summary_keys == NULL || (tensor_same_shape(in->summary_keys, in->summary_values) &&
                                       (tensor_width(in->summary_keys) == all ||
                                        tensor_width(in->summary_keys) == all / attention->heads)));
    CHECK(in->bias == NULL || (exact && in->bias->shape[0] == attention->heads));
}

/* Fills what follows from the shapes: nodes, rows of a node, keys of a block. */
static void fit(struct block_kept *kept, const struct block_inputs *in, size_t length)
{
    size_t rows = in->summary_keys != NULL ? in->summary_keys->shape[1] : 0;
    kept->levels.counts[0] = 1; /* without blocks */
    if (kept->attention.block > 0) {
        block_attention_levels(&kept->attention, length, &kept->levels);
    }
    size_t nodes = time_summaries_nodes(&kept->levels);
    CHECK((nodes == 0) == (rows == 0));
    kept->summary = nodes > 0 ? rows / nodes : 0;
    CHECK(kept->summary * nodes == rows);
    kept->keys_max = block_keys_max(&kept->attention, &kept->levels, kept->summary);
}

struct tensor *op_attention_block(struct tape *tape, const struct block_inputs *in,
                                  const struct block_attention *attention)
{
    check_inputs(in, attention);
    size_t length = in->qk->shape[1];
    struct tensor *inputs[] = {in->qk, in->v, in->summary_keys, in->summary_values, in->bias};
    struct tensor *out =
        tape_tensor(tape, (size_t[]){in->qk->shape[0], length, attention->width, 0});
    struct block_kept *kept = tape_struct(tape, sizeof(*kept));
    kept->attention = *attention;
    kept->log_sum = tape_bytes(tape, out->shape[0] * attention->heads * length * sizeof(real));
    fit(kept, in, length);
    size_t mark = tape_scratch_begin(tape);
    real *scratch = tape_bytes(tape, room_reals(kept, false) * sizeof(real));
    struct block_pass pass = {.kept = kept, .in = inputs, .out = out};
    for (size_t i = 0; tape_computes(tape) && i < out->shape[0] * attention->heads; i++) {
        pass.room = room_of(kept, scratch, false);
        pass_head(&pass, i / attention->heads, i % attention->heads);
        for (size_t b = 0; b < block_count(kept, length); b++) {
            struct block_span span = span_of(kept, b, length);
            pass_forward(&pass, &span);
        }
        background_give_way(); /* for the whole batch it takes milliseconds */
    }
    tape_scratch_end(tape, mark);
    tape_record(tape, &attention_block_op, out, inputs, 5, kept,
                room_reals(kept, true) * sizeof(real));
    return out;
}
