/* Dense attention of one head: tiles of keys against blocks of queries, causality exploited.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A tile of keys (and values) is copied once, channel-major and row-major, small enough for the
 * first cache; all blocks of BLOCK queries then pass over it. Channel-major, a vector holds one
 * channel of LANES neighbouring keys and a score needs no sum across lanes. Going forward each
 * query keeps its largest score and its sum so far and rescales them from tile to tile, so scratch
 * does not grow with T x T, and a query's numbers never depend on later keys.
 *
 * With P = softmax(S), S = scale Q K^T + bias, D_i = dO_i . O_i:
 *   dS = P (dO V^T - D),  dQ = scale dS K,  dK = scale dS^T Q,  dV = P^T dO,  d_bias = dS.
 */
#include "model/ops/kernels/level.h"

#define BLOCK 6
#define TILE  ((size_t)240) /* keys; a multiple of BLOCK and of all vectors */

/* Scratch of a head, carved from head->scratch; h' is rounded up to whole vectors. */
struct room {
    size_t queries, keys, width; /* T, T of the keys, h' */
    size_t padded;               /* row length of what is [.., TILE'] */
    size_t first, count;         /* the tile */
    real *keys_t, *values_t;     /* [h, TILE'] channel-major, zeros behind the tile */
    real *key_rows, *value_rows; /* [TILE, h'] */
    real *d_keys, *d_values;     /* [TILE, h'] */
    real *q, *d_out;             /* [BLOCK, h'], zeros behind h and behind the last query */
    real *scores, *slopes;       /* [BLOCK, TILE'] */
    real *sums;                  /* [BLOCK, h'] */
    real *totals;                /* [T]: sums of exponentials so far */
    real *bias;                  /* [2 T'] mirrored: bias of key j for query i at T' - 1 - i + j */
};

static size_t key_count(const struct attention_head *head)
{
    return head->keys != 0 ? head->keys : head->length;
}

size_t KERNEL(kernel_attention_scratch)(size_t length, size_t width)
{
    size_t t = round_lanes(length);
    size_t h = round_lanes(width);
    return 6 * h * TILE + 3 * BLOCK * h + 2 * BLOCK * TILE + 3 * t;
}

/* Channel-major copy [h, padded] of rows [count, h] that are `step` apart, zeros behind. */
static void transpose(const real *restrict rows, size_t step, size_t count, size_t width,
                      size_t padded, real *restrict out)
{
    size_t whole_rows = width % LANES == 0 ? count / LANES * LANES : 0;
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
        for (size_t j = whole_rows; j < count; j++) {
            line[j] = rows[j * step + c];
        }
        memset(line + count, 0, (padded - count) * sizeof(real));
    }
}

/* out[count, h'] = factor * rows [count, h], zeros behind h and in the rows up to `all_rows`. */
static void take_rows(const real *restrict rows, size_t step, size_t count, size_t all_rows,
                      const struct attention_head *head, real factor, real *restrict out)
{
    size_t padded = round_lanes(head->width);
    for (size_t j = 0; j < count; j++) {
        for (size_t c = 0; c < head->width; c++) {
            out[j * padded + c] = factor * rows[j * step + c];
        }
        memset(out + j * padded + head->width, 0, (padded - head->width) * sizeof(real));
    }
    memset(out + count * padded, 0, (all_rows - count) * padded * sizeof(real));
}

static void prepare(const struct attention_head *head, struct room *room)
{
    *room = (struct room){
        .queries = head->length,
        .keys = key_count(head),
        .width = round_lanes(head->width),
        .padded = TILE,
    };
    size_t tile = TILE * room->width;
    size_t block = BLOCK * room->width;
    real *next = head->scratch;
    room->keys_t = next;
    room->values_t = next + tile;
    room->key_rows = next + 2 * tile;
    room->value_rows = next + 3 * tile;
    room->d_keys = next + 4 * tile;
    room->d_values = next + 5 * tile;
    next += 6 * tile;
    room->q = next;
    room->d_out = next + block;
    room->sums = next + 2 * block;
    next += 3 * block;
    room->scores = next;
    room->slopes = next + BLOCK * TILE;
    next += 2 * BLOCK * TILE;
    room->totals = next;
    next += round_lanes(head->length);
    if (head->bias != NULL) {
        size_t padded = round_lanes(head->length);
        room->bias = next;
        for (size_t i = 0; i < padded; i++) {
            room->bias[padded - 1 - i] = i < head->length ? head->bias[i] : 0;
            room->bias[padded + i] = 0; /* keys of the future: masked anyway */
        }
    }
}

/* Keys `first` and on, up to TILE of them. */
static void take_tile(const struct attention_head *head, size_t first, struct room *room)
{
    const real *k = head->k + first * key_step(head);
    room->first = first;
    room->count = room->keys - first < TILE ? room->keys - first : TILE;
    transpose(k, key_step(head), room->count, head->width, room->padded, room->keys_t);
}

/* The first query that sees anything of the tile, at the start of its block. */
static size_t first_query(const struct attention_head *head, const struct room *room)
{
    return head->causal ? room->first / BLOCK * BLOCK : 0;
}

/* Keys of the tile that the `count` queries from i on see. */
static size_t seen_keys(const struct attention_head *head, const struct room *room, size_t i,
                        size_t count)
{
    size_t behind = head->causal ? i + count - room->first : room->count;
    return behind < room->count ? behind : room->count;
}

/* out[BLOCK, vectors * LANES] = a[BLOCK, h] * columns[h, TILE']: scores of a block, or dO V^T. */
INLINE void block_times_columns(const real *a, const struct room *room, const real *columns,
                                size_t width, size_t vectors, real *out)
{
    size_t b = 0;
    for (; b + 2 <= vectors; b += 2) {
        vector low[BLOCK] = {0};
        vector high[BLOCK] = {0};
        const real *line = columns + b * LANES;
        for (size_t c = 0; c < width; c++) {
            vector k0 = load(line + c * TILE);
            vector k1 = load(line + c * TILE + LANES);
            for (size_t r = 0; r < BLOCK; r++) {
                low[r] += a[r * room->width + c] * k0;
                high[r] += a[r * room->width + c] * k1;
            }
        }
        for (size_t r = 0; r < BLOCK; r++) {
            store(out + r * TILE + b * LANES, low[r]);
            store(out + r * TILE + b * LANES + LANES, high[r]);
        }
    }
    for (; b < vectors; b++) {
        vector sum[BLOCK] = {0};
        for (size_t c = 0; c < width; c++) {
            vector k = load(columns + c * TILE + b * LANES);
            for (size_t r = 0; r < BLOCK; r++) {
                sum[r] += a[r * room->width + c] * k;
            }
        }
        for (size_t r = 0; r < BLOCK; r++) {
            store(out + r * TILE + b * LANES, sum[r]);
        }
    }
}

/* out[BLOCK, h'] = weights[BLOCK, TILE'] * rows[keys, h']. */
INLINE void block_times_rows(const real *weights, const real *rows, size_t keys, size_t width,
                             real *out)
{
    size_t c = 0;
    for (; c + 2 * LANES <= width; c += 2 * LANES) {
        vector low[BLOCK] = {0};
        vector high[BLOCK] = {0};
        for (size_t j = 0; j < keys; j++) {
            vector v0 = load(rows + j * width + c);
            vector v1 = load(rows + j * width + c + LANES);
            for (size_t r = 0; r < BLOCK; r++) {
                real weight = weights[r * TILE + j];
                low[r] += weight * v0;
                high[r] += weight * v1;
            }
        }
        for (size_t r = 0; r < BLOCK; r++) {
            store(out + r * width + c, low[r]);
            store(out + r * width + c + LANES, high[r]);
        }
    }
    if (c < width) {
        vector sum[BLOCK] = {0};
        for (size_t j = 0; j < keys; j++) {
            vector v = load(rows + j * width + c);
            for (size_t r = 0; r < BLOCK; r++) {
                sum[r] += weights[r * TILE + j] * v;
            }
        }
        for (size_t r = 0; r < BLOCK; r++) {
            store(out + r * width + c, sum[r]);
        }
    }
}

/* rows[keys, h'] += weights[BLOCK, TILE']^T * a[BLOCK, h']. */
INLINE void add_transposed(const real *weights, const real *a, size_t keys, size_t width,
                           real *rows)
{
    for (size_t c = 0; c < width; c += LANES) {
        vector line[BLOCK];
        for (size_t r = 0; r < BLOCK; r++) {
            line[r] = load(a + r * width + c);
        }
        for (size_t j = 0; j < keys; j++) {
            vector even = load(rows + j * width + c);
            vector odd = {0};
            for (size_t r = 0; r < BLOCK; r += 2) {
                even += weights[r * TILE + j] * line[r];
                odd += weights[(r + 1) * TILE + j] * line[r + 1];
            }
            store(rows + j * width + c, even + odd);
        }
    }
}

/* Adds bias to one query's scores and makes -infinity of what it must not see. */
static void mask_row(const struct attention_head *head, const struct room *room, size_t i,
                     size_t vectors, real *restrict s)
{
    if (room->bias != NULL) {
        const real *bias = room->bias + round_lanes(head->length) - 1 - i + room->first;
        for (size_t j = 0; j < vectors * LANES; j += LANES) {
            store(s + j, load(s + j) + load(bias + j));
        }
    }
    size_t seen = room->count;
    if (head->causal && i + 1 < room->first + seen) {
        seen = i + 1 > room->first ? i + 1 - room->first : 0;
    }
    for (size_t j = seen; j < vectors * LANES; j++) {
        s[j] = UNSEEN;
    }
    if (head->valid != NULL) {
        const uint8_t *valid = head->valid + room->first;
        for (size_t j = 0; j < seen && j < vectors * LANES; j++) {
            s[j] = valid[j] != 0 ? s[j] : UNSEEN;
        }
    }
}

/* s = e^(s - largest) in place, where `largest` counts the query's scores of this tile and before.
 * *total is brought up to date; returns the factor for what was summed before. */
static real exponentials(size_t vectors, real *restrict s, real *largest, real *total)
{
    vector top = all(*largest);
    for (size_t j = 0; j < vectors * LANES; j += LANES) {
        top = larger(load(s + j), top);
    }
    real now = lanes_largest(top);
    if (now == UNSEEN) {
        memset(s, 0, vectors * LANES * sizeof(real));
        return 1;
    }
    vector sum = {0};
    for (size_t j = 0; j < vectors * LANES; j += LANES) {
        vector e = vector_exp(load(s + j) - now);
        store(s + j, e);
        sum += e;
    }
    real factor = REAL(exp)(*largest - now);
    *largest = now;
    *total = *total * factor + lanes_sum(sum);
    return factor;
}

static void block_forward(const struct attention_head *head, const struct room *room, size_t i,
                          size_t count)
{
    size_t keys = seen_keys(head, room, i, count);
    size_t vectors = round_lanes(keys) / LANES;
    /* (1) S = scale Q K^T */
    take_rows(head->q + i * head->qk_step, head->qk_step, count, BLOCK, head, head->scale, room->q);
    block_times_columns(room->q, room, room->keys_t, head->width, vectors, room->scores);
    /* (2) P = e^(S - largest), not yet divided by its sum */
    real factor[BLOCK];
    for (size_t r = 0; r < count; r++) {
        real *s = room->scores + r * TILE;
        mask_row(head, room, i + r, vectors, s);
        factor[r] = exponentials(vectors, s, &head->log_sum[i + r], &room->totals[i + r]);
    }
    /* (3) O = P V, divided by the sum at the end */
    block_times_rows(room->scores, room->value_rows, keys, room->width, room->sums);
    for (size_t r = 0; r < count; r++) {
        real *restrict out = head->out + (i + r) * head->v_step;
        for (size_t c = 0; c < head->width; c++) {
            out[c] = out[c] * factor[r] + room->sums[r * room->width + c];
        }
    }
}

void KERNEL(kernel_attention)(const struct attention_head *head)
{
    struct room room;
    prepare(head, &room);
    for (size_t i = 0; i < head->length; i++) {
        head->log_sum[i] = UNSEEN; /* the largest score until the end */
        room.totals[i] = 0;
        memset(head->out + i * head->v_step, 0, head->width * sizeof(real));
    }
    for (size_t first = 0; first < room.keys; first += TILE) {
        take_tile(head, first, &room);
        take_rows(head->v + first * head->v_step, head->v_step, room.count, room.count, head, 1,
                  room.value_rows);
        for (size_t i = first_query(head, &room); i < head->length; i += BLOCK) {
            block_forward(head, &room, i, head->length - i < BLOCK ? head->length - i : BLOCK);
        }
    }
    for (size_t i = 0; i < head->length; i++) {
        if (head->log_sum[i] == UNSEEN) {
            continue; /* sees nothing: zeros */
        }
        real *restrict out = head->out + i * head->v_step;
        const real inverse = 1 / room.totals[i];
        for (size_t c = 0; c < head->width; c++) {
            out[c] *= inverse;
        }
        head->log_sum[i] += REAL(log)(room.totals[i]);
    }
}

/* D of one query: the mean of its dO V^T, so that its dS sum to zero whatever was rounded; where
 * not all of its keys are here, dO . O. */
static real mean_slope(const struct attention_head *head, const struct room *room, size_t i,
                       size_t vectors, const real *p, const real *slope)
{
    if (head->joint || room->keys > TILE) {
        const real *d_out = head->d_out + i * head->v_step;
        const real *out = head->out + i * head->v_step;
        real mean = 0;
#pragma omp simd reduction(+ : mean)
        for (size_t c = 0; c < head->width; c++) {
            mean += d_out[c] * out[c];
        }
        return mean;
    }
    vector sum = {0};
    vector mean = {0};
    for (size_t j = 0; j < vectors * LANES; j += LANES) {
        sum += load(p + j);
        mean += load(p + j) * load(slope + j);
    }
    real total = lanes_sum(sum);
    return lanes_sum(mean) / (total != 0 ? total : 1);
}

/* P and dS of one query in place: s holds scores, slope holds dO V^T. */
static void row_back(const struct attention_head *head, const struct room *room, size_t i,
                     size_t vectors, real *restrict s, real *restrict slope)
{
    mask_row(head, room, i, vectors, s);
    const real log_sum = head->log_sum[i] == UNSEEN ? 0 : head->log_sum[i];
    for (size_t j = 0; j < vectors * LANES; j += LANES) {
        store(s + j, vector_exp(load(s + j) - log_sum));
    }
    const real mean = mean_slope(head, room, i, vectors, s, slope);
    for (size_t j = 0; j < vectors * LANES; j += LANES) {
        store(slope + j, load(s + j) * (load(slope + j) - mean));
    }
    for (size_t k = 0; head->d_bias != NULL && k < room->count && room->first + k <= i; k++) {
        head->d_bias[i - room->first - k] += slope[k];
    }
}

static void block_back(const struct attention_head *head, const struct room *room, size_t i,
                       size_t count)
{
    size_t keys = seen_keys(head, room, i, count);
    size_t vectors = round_lanes(keys) / LANES;
    /* (1) S again, and dO V^T */
    take_rows(head->q + i * head->qk_step, head->qk_step, count, BLOCK, head, head->scale, room->q);
    take_rows(head->d_out + i * head->v_step, head->v_step, count, BLOCK, head, 1, room->d_out);
    block_times_columns(room->q, room, room->keys_t, head->width, vectors, room->scores);
    block_times_columns(room->d_out, room, room->values_t, head->width, vectors, room->slopes);
    /* (2) P and dS */
    for (size_t r = 0; r < count; r++) {
        row_back(head, room, i + r, vectors, room->scores + r * TILE, room->slopes + r * TILE);
    }
    for (size_t r = count; r < BLOCK; r++) {
        memset(room->scores + r * TILE, 0, vectors * LANES * sizeof(real));
        memset(room->slopes + r * TILE, 0, vectors * LANES * sizeof(real));
    }
    /* (3) dV += P^T dO; dK += dS^T (scale Q); dQ += scale dS K */
    add_transposed(room->scores, room->d_out, keys, room->width, room->d_values);
    add_transposed(room->slopes, room->q, keys, room->width, room->d_keys);
    block_times_rows(room->slopes, room->key_rows, keys, room->width, room->sums);
    for (size_t r = 0; r < count; r++) {
        real *restrict dq = head->d_q + (i + r) * head->qk_step;
        for (size_t c = 0; c < head->width; c++) {
            dq[c] += head->scale * room->sums[r * room->width + c];
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
    prepare(head, &room);
    for (size_t first = 0; first < room.keys; first += TILE) {
        const real *v = head->v + first * head->v_step;
        take_tile(head, first, &room);
        transpose(v, head->v_step, room.count, head->width, room.padded, room.values_t);
        take_rows(head->k + first * key_step(head), key_step(head), room.count, room.count, head, 1,
                  room.key_rows);
        memset(room.d_keys, 0, 2 * TILE * room.width * sizeof(real));
        for (size_t i = first_query(head, &room); i < head->length; i += BLOCK) {
            block_back(head, &room, i, head->length - i < BLOCK ? head->length - i : BLOCK);
        }
        add_rows(room.d_keys, room.width, room.count, head->width,
                 head->d_k + first * key_step(head), key_step(head));
        add_rows(room.d_values, room.width, room.count, head->width,
                 head->d_v + first * head->v_step, head->v_step);
    }
}
