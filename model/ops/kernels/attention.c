/* Dense attention of one head: blocks of queries against all their keys, causality exploited.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Keys (and values, on the way back) are turned into channel-major order once, so that a vector
 * holds one channel of LANES neighbouring keys and a score needs no sum across lanes. BLOCK queries
 * share each load. A block's scores are BLOCK x T; nothing of size T x T exists.
 *
 * With P = softmax(S), S = scale Q K^T + bias, D_i = dO_i . O_i:
 *   dS = P (dO V^T - D),  dQ = scale dS K,  dK = scale dS^T Q,  dV = P^T dO,  d_bias = dS.
 */
#include "model/ops/kernels/level.h"

#define BLOCK 6

/* Scratch of a head, carved from head->scratch. T' and h' are rounded up to whole vectors. */
struct room {
    size_t length, width;      /* T', h' */
    real *keys_t, *values_t;   /* [h, T'] channel-major, zeros behind T */
    const real *keys, *values; /* [T, h'] rows, `step` apart */
    size_t key_step, value_step;
    real *q, *d_out;         /* [BLOCK, h'], zeros behind h and behind the last query */
    real *scores, *slopes;   /* [BLOCK, T'] */
    real *bias;              /* [2 T'] mirrored: bias of key j for query i at T' - 1 - i + j */
    real *sums;              /* [BLOCK, h'] */
    real *d_keys, *d_values; /* [T, h'] */
    size_t d_key_step, d_value_step;
};

size_t KERNEL(kernel_attention_scratch)(size_t length, size_t width)
{
    size_t t = round_lanes(length);
    size_t h = round_lanes(width);
    return 2 * h * t + 4 * t * h + 3 * BLOCK * h + 2 * BLOCK * t + 4 * t;
}

/* Channel-major copy [h, T'] of rows [T, h] that are `step` apart, zeros behind T. */
static void transpose(const real *restrict rows, size_t step, size_t length, size_t width,
                      size_t padded, real *restrict out)
{
    size_t whole_rows = width % LANES == 0 ? length / LANES * LANES : 0;
    for (size_t j = 0; j < whole_rows; j += LANES) {
        for (size_t c = 0; c < width; c += LANES) {
            vector block[VECTOR_LANES];
            for (size_t i = 0; i < LANES; i++) {
                block[i] = load(rows + (j + i) * step + c);
            }
            transpose_block(block);
            for (size_t i = 0; i < LANES; i++) {
                store(out + (c + i) * padded + j, block[i]);
            }
        }
    }
    for (size_t c = 0; c < width; c++) {
        real *restrict line = out + c * padded;
        for (size_t j = whole_rows; j < length; j++) {
            line[j] = rows[j * step + c];
        }
        memset(line + length, 0, (padded - length) * sizeof(real));
    }
}

/* Rows as they are where their width is whole vectors, else a copy with zeros behind. */
static const real *padded_rows(const real *rows, size_t *step, const struct attention_head *head,
                               size_t padded, real **free_room)
{
    if (head->width == padded) {
        return rows;
    }
    real *copy = *free_room;
    *free_room += head->length * padded;
    for (size_t j = 0; j < head->length; j++) {
        memcpy(copy + j * padded, rows + j * *step, head->width * sizeof(real));
        memset(copy + j * padded + head->width, 0, (padded - head->width) * sizeof(real));
    }
    *step = padded;
    return copy;
}

static void prepare(const struct attention_head *head, bool back, struct room *room)
{
    *room = (struct room){
        .length = round_lanes(head->length),
        .width = round_lanes(head->width),
        .key_step = head->qk_step,
        .value_step = head->v_step,
    };
    real *next = head->scratch;
    room->keys_t = next;
    next += room->width * room->length;
    room->scores = next;
    next += BLOCK * room->length;
    room->q = next;
    next += BLOCK * room->width;
    room->sums = next;
    next += BLOCK * room->width;
    transpose(head->k, head->qk_step, head->length, head->width, room->length, room->keys_t);
    if (head->bias != NULL) {
        room->bias = next;
        next += 2 * room->length;
        for (size_t i = 0; i < room->length; i++) {
            room->bias[room->length - 1 - i] = i < head->length ? head->bias[i] : 0;
            room->bias[room->length + i] = 0; /* keys of the future: masked anyway */
        }
    }
    if (!back) {
        room->values = padded_rows(head->v, &room->value_step, head, room->width, &next);
        return;
    }
    room->values_t = next;
    next += room->width * room->length;
    room->slopes = next;
    next += BLOCK * room->length;
    room->d_out = next;
    next += BLOCK * room->width;
    transpose(head->v, head->v_step, head->length, head->width, room->length, room->values_t);
    room->keys = padded_rows(head->k, &room->key_step, head, room->width, &next);
    room->d_keys = head->d_k;
    room->d_values = head->d_v;
    room->d_key_step = head->qk_step;
    room->d_value_step = head->v_step;
    if (room->width != head->width) {
        size_t size = head->length * room->width;
        room->d_keys = next;
        room->d_values = next + size;
        room->d_key_step = room->width;
        room->d_value_step = room->width;
        memset(next, 0, 2 * size * sizeof(real));
    }
}

/* out[BLOCK, h'] = factor * rows i .. i + count - 1 of x, zeros elsewhere. */
static void take_rows(const real *x, size_t step, size_t count, const struct attention_head *head,
                      size_t padded, real factor, real *restrict out)
{
    memset(out, 0, BLOCK * padded * sizeof(real));
    for (size_t r = 0; r < count; r++) {
        for (size_t c = 0; c < head->width; c++) {
            out[r * padded + c] = factor * x[r * step + c];
        }
    }
}

/* out[BLOCK, vectors * LANES] = a[BLOCK, h] * columns[h, T']: scores of a block, or dO V^T. */
INLINE void block_times_columns(const real *a, size_t a_step, const real *columns, size_t width,
                                size_t padded, size_t vectors, real *out)
{
    for (size_t b = 0; b < vectors; b++) {
        vector sum[BLOCK] = {0};
        const real *line = columns + b * LANES;
        for (size_t c = 0; c < width; c++) {
            vector k = load(line + c * padded);
            for (size_t r = 0; r < BLOCK; r++) {
                sum[r] += a[r * a_step + c] * k;
            }
        }
        for (size_t r = 0; r < BLOCK; r++) {
            store(out + r * padded + b * LANES, sum[r]);
        }
    }
}

/* out[BLOCK, h'] = weights[BLOCK, T'] * rows[keys, h'] for the first `keys` keys. */
INLINE void block_times_rows(const real *weights, size_t padded, const real *rows, size_t step,
                             size_t keys, size_t width, real *out)
{
    for (size_t c = 0; c < width; c += LANES) {
        vector sum[BLOCK] = {0};
        for (size_t j = 0; j < keys; j++) {
            vector v = load(rows + j * step + c);
            for (size_t r = 0; r < BLOCK; r++) {
                sum[r] += weights[r * padded + j] * v;
            }
        }
        for (size_t r = 0; r < BLOCK; r++) {
            store(out + r * width + c, sum[r]);
        }
    }
}

/* rows[keys, h'] += weights[BLOCK, T']^T * a[BLOCK, h']. */
INLINE void add_transposed(const real *weights, size_t padded, const real *a, size_t keys,
                           size_t width, real *rows, size_t step)
{
    for (size_t c = 0; c < width; c += LANES) {
        vector line[BLOCK];
        for (size_t r = 0; r < BLOCK; r++) {
            line[r] = load(a + r * width + c);
        }
        for (size_t j = 0; j < keys; j++) {
            vector even = load(rows + j * step + c);
            vector odd = {0};
            for (size_t r = 0; r < BLOCK; r += 2) {
                even += weights[r * padded + j] * line[r];
                odd += weights[(r + 1) * padded + j] * line[r + 1];
            }
            store(rows + j * step + c, even + odd);
        }
    }
}

/* Adds bias to one query's scores and makes -infinity of what it must not see. */
static void mask_row(const struct attention_head *head, const struct room *room, size_t i,
                     size_t vectors, real *restrict s)
{
    if (room->bias != NULL) {
        const real *bias = room->bias + room->length - 1 - i;
        for (size_t j = 0; j < vectors * LANES; j += LANES) {
            store(s + j, load(s + j) + load(bias + j));
        }
    }
    size_t seen = head->causal ? i + 1 : head->length;
    for (size_t j = seen; j < vectors * LANES; j++) {
        s[j] = UNSEEN;
    }
    if (head->valid != NULL) {
        for (size_t j = 0; j < seen; j++) {
            s[j] = head->valid[j] != 0 ? s[j] : UNSEEN;
        }
    }
}

/* s = e^(s - largest) in place; the sum goes to *sum, the log-sum to *log_sum. A row that sees
 * nothing becomes zeros with a log-sum of 0. */
static void exponentials(size_t vectors, real *restrict s, real *sum, real *log_sum)
{
    vector top = all(UNSEEN);
    for (size_t j = 0; j < vectors * LANES; j += LANES) {
        top = larger(load(s + j), top);
    }
    real largest = lanes_largest(top);
    if (largest == UNSEEN) {
        memset(s, 0, vectors * LANES * sizeof(real));
        *sum = 1;
        *log_sum = 0;
        return;
    }
    vector total = {0};
    for (size_t j = 0; j < vectors * LANES; j += LANES) {
        vector e = vector_exp(load(s + j) - largest);
        store(s + j, e);
        total += e;
    }
    *sum = lanes_sum(total);
    *log_sum = largest + REAL(log)(*sum);
}

void KERNEL(kernel_attention)(const struct attention_head *head)
{
    struct room room;
    prepare(head, false, &room);
    for (size_t i = 0; i < head->length; i += BLOCK) {
        size_t count = head->length - i < BLOCK ? head->length - i : BLOCK;
        size_t keys = head->causal ? i + count : head->length;
        size_t vectors = round_lanes(keys) / LANES;
        /* (1) S = scale Q K^T */
        take_rows(head->q + i * head->qk_step, head->qk_step, count, head, room.width, head->scale,
                  room.q);
        block_times_columns(room.q, room.width, room.keys_t, head->width, room.length, vectors,
                            room.scores);
        /* (2) P = e^(S - largest), not yet divided by its sum */
        real sum[BLOCK];
        for (size_t r = 0; r < count; r++) {
            real *s = room.scores + r * room.length;
            mask_row(head, &room, i + r, vectors, s);
            exponentials(vectors, s, &sum[r], &head->log_sum[i + r]);
        }
        /* (3) O = P V / sum */
        block_times_rows(room.scores, room.length, room.values, room.value_step, keys, room.width,
                         room.sums);
        for (size_t r = 0; r < count; r++) {
            real *restrict out = head->out + (i + r) * head->v_step;
            const real inverse = 1 / sum[r];
            for (size_t c = 0; c < head->width; c++) {
                out[c] = room.sums[r * room.width + c] * inverse;
            }
        }
    }
}

/* P and dS of one query in place: s holds scores, slope holds dO V^T. */
static void row_back(const struct attention_head *head, const struct room *room, size_t i,
                     size_t vectors, real *restrict s, real *restrict slope)
{
    const real *d_out = head->d_out + i * head->v_step;
    const real *out = head->out + i * head->v_step;
    real d = 0;
#pragma omp simd reduction(+ : d)
    for (size_t c = 0; c < head->width; c++) {
        d += d_out[c] * out[c];
    }
    mask_row(head, room, i, vectors, s);
    for (size_t j = 0; j < vectors * LANES; j += LANES) {
        vector p = vector_exp(load(s + j) - head->log_sum[i]);
        store(s + j, p);
        store(slope + j, p * (load(slope + j) - d));
    }
    if (head->d_bias != NULL) {
        for (size_t j = 0; j <= i; j++) {
            head->d_bias[i - j] += slope[j];
        }
    }
}

static void add_rows(const real *from, size_t from_step, size_t rows, size_t width, real *to,
                     size_t to_step)
{
    for (size_t j = 0; j < rows; j++) {
        for (size_t c = 0; c < width; c++) {
            to[j * to_step + c] += from[j * from_step + c];
        }
    }
}

void KERNEL(kernel_attention_back)(const struct attention_head *head)
{
    struct room room;
    prepare(head, true, &room);
    for (size_t i = 0; i < head->length; i += BLOCK) {
        size_t count = head->length - i < BLOCK ? head->length - i : BLOCK;
        size_t keys = head->causal ? i + count : head->length;
        size_t vectors = round_lanes(keys) / LANES;
        /* (1) S again, and dO V^T */
        take_rows(head->q + i * head->qk_step, head->qk_step, count, head, room.width, head->scale,
                  room.q);
        take_rows(head->d_out + i * head->v_step, head->v_step, count, head, room.width, 1,
                  room.d_out);
        block_times_columns(room.q, room.width, room.keys_t, head->width, room.length, vectors,
                            room.scores);
        block_times_columns(room.d_out, room.width, room.values_t, head->width, room.length,
                            vectors, room.slopes);
        /* (2) P and dS */
        for (size_t r = 0; r < count; r++) {
            row_back(head, &room, i + r, vectors, room.scores + r * room.length,
                     room.slopes + r * room.length);
        }
        for (size_t r = count; r < BLOCK; r++) {
            memset(room.scores + r * room.length, 0, vectors * LANES * sizeof(real));
            memset(room.slopes + r * room.length, 0, vectors * LANES * sizeof(real));
        }
        /* (3) dV += P^T dO; dK += dS^T (scale Q); dQ += scale dS K */
        add_transposed(room.scores, room.length, room.d_out, keys, room.width, room.d_values,
                       room.d_value_step);
        add_transposed(room.slopes, room.length, room.q, keys, room.width, room.d_keys,
                       room.d_key_step);
        block_times_rows(room.slopes, room.length, room.keys, room.key_step, keys, room.width,
                         room.sums);
        for (size_t r = 0; r < count; r++) {
            real *restrict dq = head->d_q + (i + r) * head->qk_step;
            for (size_t c = 0; c < head->width; c++) {
                dq[c] += head->scale * room.sums[r * room.width + c];
            }
        }
    }
    if (room.d_keys != head->d_k) {
        add_rows(room.d_keys, room.width, head->length, head->width, head->d_k, head->qk_step);
        add_rows(room.d_values, room.width, head->length, head->width, head->d_v, head->v_step);
    }
}
