/* Hashed attention: buckets by random rotations, lists sorted by them, softmax over all lists.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Rounds merged by weights softmax_r(l_r), l_r each round's log-sum, are one softmax over the keys
 * of all rounds, each as often as it is found. So there is one log-sum a row for all lists; and the
 * way back runs over one list after the other, knowing nothing of the rest.
 */
#include "model/ops/lsh.h"
#include "model/ops/rows.h"

#include "base/check.h"

#include <math.h>
#include <string.h>

/* One head of one series: its rows packed as [T, h'], and scratch. */
struct head_room {
    size_t series, head, padded; /* h' */
    real *q, *k, *v, *out, *d_out, *d_q, *d_k, *d_v;
    real *top, *sum, *d, *inverse; /* [T]; inverse: 1 / norm of q */
    real *hashing;                 /* lsh_hash_scratch */
    real *kernel;
    uint32_t *words;
};

/* ---------------------------------------------------------------- scratch */

static size_t padded_width(const struct lsh_kept *kept)
{
    return kernels()->lsh_width(kept->width);
}

/* In reals; a word is not larger than a real. */
static size_t room_size(const struct lsh_kept *kept, bool back)
{
    size_t rows = kept->length * padded_width(kept);
    return (back ? 7 : 4) * rows + 4 * kept->length +
           (back ? 0 : lsh_hash_scratch(&kept->lsh, kept->width)) +
           kernels()->lsh_scratch(padded_width(kept), lsh_list_tile_keys(kept)) +
           lsh_list_words(kept);
}

static real *take(real **next, size_t size)
{
    real *taken = *next;
    *next += size;
    return taken;
}

static void open_room(const struct lsh_kept *kept, bool back, real *memory, struct head_room *room)
{
    size_t rows = kept->length * padded_width(kept);
    real *next = memory;
    *room = (struct head_room){.padded = padded_width(kept)};
    room->q = take(&next, rows);
    room->k = take(&next, rows);
    room->v = take(&next, rows);
    if (back) {
        room->d_out = take(&next, rows);
        room->d_q = take(&next, rows);
        room->d_k = take(&next, rows);
        room->d_v = take(&next, rows);
    } else {
        room->out = take(&next, rows);
        room->hashing = take(&next, lsh_hash_scratch(&kept->lsh, kept->width));
    }
    room->top = take(&next, kept->length);
    room->sum = take(&next, kept->length);
    room->d = take(&next, kept->length);
    room->inverse = take(&next, kept->length);
    room->kernel = take(&next, kernels()->lsh_scratch(room->padded, lsh_list_tile_keys(kept)));
    room->words = (uint32_t *)(void *)next;
}

/* ---------------------------------------------------------------- packing */

/* The first of the head's channels in a tensor [B, T, H h]. */
static size_t place_of(const struct lsh_kept *kept, const struct head_room *room)
{
    return (room->series * kept->length * kept->lsh.heads + room->head) * kept->width;
}

/* rows[T, h'] of the head, zeros behind h. */
static void pack(const struct lsh_kept *kept, const struct head_room *room, const real *tensor,
                 real *restrict rows)
{
    const real *from = tensor + place_of(kept, room);
    for (size_t t = 0; t < kept->length; t++) {
        memcpy(rows + t * room->padded, from + t * kept->lsh.heads * kept->width,
               kept->width * sizeof(real));
        memset(rows + t * room->padded + kept->width, 0,
               (room->padded - kept->width) * sizeof(real));
    }
}

real lsh_inverse_norm(const struct lsh *lsh, const real *q, size_t width)
{
    real squares = 0;
#pragma omp simd reduction(+ : squares)
    for (size_t c = 0; c < width; c++) {
        squares += q[c] * q[c];
    }
    double norm = lsh->rms ? (double)squares / (double)width + 1e-6 : (double)squares + 1e-12;
    return (real)(1 / sqrt(norm));
}

real lsh_scale(const struct lsh *lsh, size_t width)
{
    return lsh->scale != 0 ? lsh->scale : (real)(1 / sqrt((double)width));
}

/* k = q / norm(q), 1 / norm(q) noted. */
static void normalise(const struct lsh_kept *kept, const struct head_room *room)
{
    for (size_t t = 0; t < kept->length; t++) {
        const real *q = room->q + t * room->padded;
        real *k = room->k + t * room->padded;
        room->inverse[t] = lsh_inverse_norm(&kept->lsh, q, kept->width);
        for (size_t c = 0; c < room->padded; c++) {
            k[c] = q[c] * room->inverse[t];
        }
    }
}

static void scale_queries(const struct lsh_kept *kept, const struct head_room *room)
{
    real scale = lsh_scale(&kept->lsh, kept->width);
    for (size_t i = 0; i < kept->length * room->padded; i++) {
        room->q[i] *= scale;
    }
}

/* ---------------------------------------------------------------- hashing */

size_t lsh_hash_scratch(const struct lsh *lsh, size_t width)
{
    return lsh->buckets / 2 * width + 4 * LSH_LANES_MAX * kernels()->lsh_width(width);
}

void lsh_hash_head(const struct lsh *lsh, size_t head, const struct lsh_hash *rows,
                   uint16_t *bucket)
{
    size_t width = rows->width;
    if (lsh->buckets == 1) {
        memset(bucket, 0, lsh->rounds * rows->count * sizeof(*bucket));
        return;
    }
    struct lsh_hash round = *rows;
    round.half = lsh->buckets / 2;
    bool own = lsh->rotations->axes == 4;
    size_t columns = lsh->rotations->shape[own ? 2 : 1] * round.half; /* of all rounds there are */
    const real *first = lsh->rotations->data + (own ? head * width * columns : 0);
    real *rotation = rows->scratch;
    round.rotation = rotation;
    round.scratch = rotation + round.half * width;
    for (size_t r = 0; r < lsh->rounds; r++) {
        for (size_t i = 0; i < round.half * width; i++) {
            rotation[i] = first[i % width * columns + r * round.half + i / width];
        }
        kernels()->lsh_buckets(&round, bucket + r * rows->count);
    }
}

/* ---------------------------------------------------------------- both ways */

static struct lsh_list list_of(const struct lsh_kept *kept, const struct head_room *room)
{
    return (struct lsh_list){
        .width = room->padded,
        .tile_keys = lsh_list_tile_keys(kept),
        .q = room->q,
        .k = room->k,
        .v = room->v,
        .scratch = room->kernel,
        .out = room->out,
        .top = room->top,
        .sum = room->sum,
        .d_out = room->d_out,
        .d = room->d,
        .d_q = room->d_q,
        .d_k = room->d_k,
        .d_v = room->d_v,
    };
}

static void run_lists(const struct lsh_kept *kept, const struct head_room *room,
                      struct lsh_list *list, void (*run)(const struct lsh_list *list))
{
    size_t at = room->series * kept->lsh.heads + room->head;
    for (size_t n = 0; n < lsh_list_count(kept); n++) {
        struct lsh_counts counts;
        const uint16_t *buckets = kept->buckets + at * kept->lsh.rounds * kept->length;
        lsh_list_make(kept, buckets, n, room->words, &counts, list);
        run(list);
    }
}

static void head_forward(const struct lsh_kept *kept, const struct head_room *room,
                         const struct tensor *qk, const struct tensor *v, struct tensor *out)
{
    size_t at = room->series * kept->lsh.heads + room->head;
    pack(kept, room, qk->data, room->q);
    pack(kept, room, v->data, room->v);
    normalise(kept, room);
    struct lsh_hash rows = {.count = kept->length,
                            .width = kept->width,
                            .padded = room->padded,
                            .q = room->q,
                            .scratch = room->hashing};
    lsh_hash_head(&kept->lsh, room->head, &rows,
                  kept->buckets + at * kept->lsh.rounds * kept->length);
    scale_queries(kept, room);
    memset(room->out, 0, kept->length * room->padded * sizeof(real));
    memset(room->sum, 0, kept->length * sizeof(real));
    for (size_t t = 0; t < kept->length; t++) {
        room->top[t] = -(real)INFINITY;
    }
    struct lsh_list list = list_of(kept, room);
    run_lists(kept, room, &list, kernels()->lsh);
    real *log_sum = kept->log_sum + at * kept->length;
    for (size_t t = 0; t < kept->length; t++) {
        /* nothing but itself: the value as it is */
        bool alone = room->sum[t] == 0;
        const real *from = (alone ? room->v : room->out) + t * room->padded;
        real factor = alone ? 1 : 1 / room->sum[t];
        real *to = out->data + place_of(kept, room) + t * kept->lsh.heads * kept->width;
        log_sum[t] = alone ? (real)INFINITY : room->top[t] + (real)log((double)room->sum[t]);
        for (size_t c = 0; c < kept->width; c++) {
            to[c] = from[c] * factor;
        }
    }
}

/* d[T] = dO . O; a query that sees only itself hands dO on to its value. */
static void begin_back(const struct lsh_kept *kept, const struct head_room *room,
                       const struct tensor *out, const real *log_sum)
{
    size_t step = kept->lsh.heads * kept->width;
    const real *y = out->data + place_of(kept, room);
    memset(room->d_q, 0, 3 * kept->length * room->padded * sizeof(real)); /* d_k, d_v follow it */
    for (size_t t = 0; t < kept->length; t++) {
        const real *d_out = room->d_out + t * room->padded;
        real d = 0;
        for (size_t c = 0; c < kept->width; c++) {
            d += d_out[c] * y[t * step + c];
        }
        room->d[t] = d;
        if (isinf(log_sum[t])) {
            memcpy(room->d_v + t * room->padded, d_out, room->padded * sizeof(real));
        }
    }
}

/* dq = scale dq + (dk - k (k . dk) share) / norm, with share 1, or 1 / h where the norm is of the
 * mean; added to the tensors' gradients. */
static void end_back(const struct lsh_kept *kept, const struct head_room *room, real *d_qk,
                     real *d_v)
{
    size_t step = kept->lsh.heads * kept->width;
    real scale = lsh_scale(&kept->lsh, kept->width);
    real share = kept->lsh.rms ? 1 / (real)kept->width : 1;
    for (size_t t = 0; t < kept->length; t++) {
        size_t row = t * room->padded;
        size_t to = place_of(kept, room) + t * step;
        real along = 0;
        for (size_t c = 0; c < kept->width; c++) {
            along += room->k[row + c] * room->d_k[row + c];
        }
        for (size_t c = 0; d_qk != NULL && c < kept->width; c++) {
            d_qk[to + c] +=
                scale * room->d_q[row + c] +
                room->inverse[t] * (room->d_k[row + c] - share * along * room->k[row + c]);
        }
        for (size_t c = 0; d_v != NULL && c < kept->width; c++) {
            d_v[to + c] += room->d_v[row + c];
        }
    }
}

static void lsh_back(struct tape *tape, const struct node *node)
{
    const struct lsh_kept *kept = node->context;
    real *d_qk = tape_grad_sum(tape, node->in[0]);
    real *d_v = tape_grad_sum(tape, node->in[1]);
    struct head_room room;
    open_room(kept, true, tape_backward_scratch(tape, node->scratch), &room);
    for (size_t i = 0; i < node->out->shape[0] * kept->lsh.heads; i++) {
        room.series = i / kept->lsh.heads;
        room.head = i % kept->lsh.heads;
        pack(kept, &room, node->in[0]->data, room.q);
        pack(kept, &room, node->in[1]->data, room.v);
        pack(kept, &room, tape_grad_of(node->out), room.d_out);
        normalise(kept, &room);
        scale_queries(kept, &room);
        begin_back(kept, &room, node->out, kept->log_sum + i * kept->length);
        struct lsh_list list = list_of(kept, &room);
        list.log_sum = kept->log_sum + i * kept->length;
        run_lists(kept, &room, &list, kernels()->lsh_back);
        end_back(kept, &room, d_qk, d_v);
    }
}

const struct op lsh_causal_op = {.name = "lsh_causal", .backward = lsh_back};
const struct op lsh_chunked_op = {.name = "lsh_chunked", .backward = lsh_back};

static void check(const struct tensor *qk, const struct tensor *v, const struct lsh *lsh,
                  size_t width)
{
    CHECK(qk->axes == 3 && tensor_same_shape(qk, v));
    CHECK(lsh->heads * width == tensor_width(v));
    CHECK(lsh->rounds > 0 && lsh->buckets <= LSH_BUCKETS_MAX);
    CHECK(lsh->buckets == 1 || (lsh->buckets > 0 && lsh->buckets % 2 == 0));
    if (lsh->buckets > 1) {
        const size_t *shape = lsh->rotations->shape + (lsh->rotations->axes == 4 ? 1 : 0);
        CHECK(shape[0] == width && shape[1] >= lsh->rounds && shape[2] == lsh->buckets / 2);
    }
}

static struct tensor *attend(struct tape *tape, struct tensor *qk, struct tensor *v,
                             const struct lsh *lsh, bool causal)
{
    size_t batch = v->shape[0];
    size_t width = tensor_width(v) / lsh->heads;
    check(qk, v, lsh, width);
    struct tensor *out = tape_tensor_like(tape, v);
    struct lsh_kept *kept = tape_struct(tape, sizeof(*kept));
    *kept = (struct lsh_kept){.lsh = *lsh, .causal = causal, .length = v->shape[1], .width = width};
    size_t rows = batch * lsh->heads * kept->length;
    kept->buckets = tape_bytes(tape, rows * lsh->rounds * sizeof(*kept->buckets));
    kept->log_sum = tape_bytes(tape, rows * sizeof(real));
    size_t mark = tape_scratch_begin(tape);
    real *memory = tape_bytes(tape, room_size(kept, false) * sizeof(real));
    if (tape_computes(tape)) {
        struct head_room room;
        open_room(kept, false, memory, &room);
        for (size_t i = 0; i < batch * lsh->heads; i++) {
            room.series = i / lsh->heads;
            room.head = i % lsh->heads;
            head_forward(kept, &room, qk, v, out);
        }
    }
    tape_scratch_end(tape, mark);
    tape_record(tape, causal ? &lsh_causal_op : &lsh_chunked_op, out, (struct tensor *[]){qk, v}, 2,
                kept, room_size(kept, true) * sizeof(real));
    return out;
}

struct tensor *op_lsh_causal(struct tape *tape, struct tensor *qk, struct tensor *v,
                             const struct lsh *lsh)
{
    CHECK(lsh->window > 0);
    return attend(tape, qk, v, lsh, true);
}

struct tensor *op_lsh_chunked(struct tape *tape, struct tensor *qk, struct tensor *v,
                              const struct lsh *lsh)
{
    CHECK(lsh->chunk > 0);
    return attend(tape, qk, v, lsh, false);
}
