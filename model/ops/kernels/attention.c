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

/* Below so many keys too few blocks pass over a tile to pay for copies of its rows. */
#define FEW_KEYS (8 * (size_t)BLOCK)

/* Rows [TILE, h'] of a tile, `step` apart; and sums of such. */
struct rows {
    const real *data;
    size_t step;
};
struct row_sums {
    real *data;
    size_t step;
};

/* Scratch of a head, carved from head->scratch; h' is rounded up to whole vectors. */
struct room {
    size_t queries, keys, width; /* T, T of the keys, h' */
    size_t first, count;         /* the tile */
    size_t line;                 /* TILE, or the keys in whole vectors where they are fewer */
    real *keys_t, *values_t;     /* [h, line] channel-major */
    real *copies;                /* [4, line, h'], NULL: rows stay where the head has them */
    struct rows key_rows, value_rows;
    struct row_sums d_keys, d_values;
    real *q, *d_out;       /* [BLOCK, h'], zeros behind h and behind the last query */
    real *scores, *slopes; /* [BLOCK, line] */
    real *sums;            /* [BLOCK, h'] */
    real *totals;          /* [T]: sums of exponentials so far */
    real *bias;            /* [2 T'] mirrored: bias of key j for query i at T' - 1 - i + j */
};

static size_t key_count(const struct attention_head *head)
{
    return head->keys != 0 ? head->keys : head->length;
}

static size_t line_of(size_t keys)
{
    return keys < TILE ? round_lanes(keys) : TILE;
}

size_t KERNEL(kernel_attention_scratch)(size_t length, size_t keys, size_t width)
{
    size_t line = line_of(keys);
    size_t h = round_lanes(width);
    return 6 * h * line + 3 * BLOCK * h + 2 * BLOCK * line + 3 * round_lanes(length);
}

/* Channel-major copy [h, room->line] of the tile's rows [count, h] that are `step` apart; zeros
 * behind `count` as far as the vector goes that the last key lies in: none further is looked at. */
static void transpose(const real *restrict rows, size_t step, size_t width, const struct room *room,
                      real *restrict out)
{
    for (size_t j = 0; width % LANES == 0 && j < room->count; j += LANES) {
        for (size_t c = 0; c < width; c += LANES) {
            vector block[VECTOR_LANES];
            for (size_t i = 0; i < LANES; i++) {
                block[i] = j + i < room->count ? load(rows + (j + i) * step + c) : (vector){0};
            }
            transpose_block(block);
            for (size_t i = 0; i < LANES; i++) {
                store(out + (c + i) * room->line + j, block[i]);
            }
        }
    }
    for (size_t c = 0; width % LANES != 0 && c < width; c++) {
        real *restrict line = out + c * room->line;
        for (size_t j = 0; j < room->count; j++) {
            line[j] = rows[j * step + c];
        }
        memset(line + room->count, 0, (round_lanes(room->count) - room->count) * sizeof(real));
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
        if (head->width < padded) {
            memset(out + j * padded + head->width, 0, (padded - head->width) * sizeof(real));
        }
    }
    if (count < all_rows) {
        memset(out + count * padded, 0, (all_rows - count) * padded * sizeof(real));
    }
}

static void prepare(const struct attention_head *head, struct room *room)
{
    *room = (struct room){
        .queries = head->length,
        .keys = key_count(head),
        .width = round_lanes(head->width),
    };
    room->line = line_of(room->keys);
    size_t tile = room->line * room->width;
    size_t block = BLOCK * room->width;
    real *next = head->scratch;
    room->keys_t = next;
    room->values_t = next + tile;
    next += 2 * tile;
    if (room->width != head->width || room->keys > FEW_KEYS) {
        room->copies = next;
        next += 4 * tile;
    }
    room->q = next;
    room->d_out = next + block;
    room->sums = next + 2 * block;
    next += 3 * block;
    room->scores = next;
    room->slopes = next + BLOCK * room->line;
    next += 2 * BLOCK * room->line;
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

/* Copy `n` of a tile's rows. */
static real *copy_of(const struct room *room, size_t n)
{
    return room->copies + n * room->line * room->width;
}

/* The tile's rows of x, as copy `n` where copies pay. */
static struct rows take_tile_rows(const struct attention_head *head, const real *x, size_t step,
                                  const struct room *room, size_t n)
{
    const real *first = x + room->first * step;
    if (room->copies == NULL) {
        return (struct rows){first, step};
    }
    take_rows(first, step, room->count, room->count, head, 1, copy_of(room, n));
    return (struct rows){copy_of(room, n), room->width};
}

/* Where the tile's gradients of x are summed: in x, or in copy `n`, which begins as zeros. */
static struct row_sums begin_sums(real *x, size_t step, const struct room *room, size_t n)
{
    if (room->copies == NULL) {
        return (struct row_sums){x + room->first * step, step};
    }
    memset(copy_of(room, n), 0, room->count * room->width * sizeof(real));
    return (struct row_sums){copy_of(room, n), room->width};
}

static void end_sums(const struct attention_head *head, struct row_sums sums,
                     const struct room *room, real *x, size_t step)
{
    for (size_t j = 0; room->copies != NULL && j < room->count; j++) {
        for (size_t c = 0; c < head->width; c++) {
            x[(room->first + j) * step + c] += sums.data[j * sums.step + c];
        }
    }
}

/* Keys `first` and on, up to TILE of them. */
static void take_tile(const struct attention_head *head, size_t first, struct room *room)
{
    room->first = first;
    room->count = room->keys - first < TILE ? room->keys - first : TILE;
    transpose(head->k + first * key_step(head), key_step(head), head->width, room, room->keys_t);
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

/* out[BLOCK, vectors * LANES] = a[BLOCK, h] * columns[h, line]: scores of a block, or dO V^T. */
INLINE void block_times_columns(const real *a, const struct room *room, const real *columns,
                                size_t width, size_t vectors, real *out)
{
    const size_t step = room->line;
    size_t b = 0;
    for (; b + 2 <= vectors; b += 2) {
        vector low[BLOCK] = {0};
        vector high[BLOCK] = {0};
        const real *line = columns + b * LANES;
        for (size_t c = 0; c < width; c++) {
            vector k0 = load(line + c * step);
            vector k1 = load(line + c * step + LANES);
            for (size_t r = 0; r < BLOCK; r++) {
                low[r] += a[r * room->width + c] * k0;
                high[r] += a[r * room->width + c] * k1;
            }
        }
        for (size_t r = 0; r < BLOCK; r++) {
            store(out + r * step + b * LANES, low[r]);
            store(out + r * step + b * LANES + LANES, high[r]);
        }
    }
    for (; b < vectors; b++) {
        vector sum[BLOCK] = {0};
        for (size_t c = 0; c < width; c++) {
            vector k = load(columns + c * step + b * LANES);
            for (size_t r = 0; r < BLOCK; r++) {
                sum[r] += a[r * room->width + c] * k;
            }
        }
        for (size_t r = 0; r < BLOCK; r++) {
            store(out + r * step + b * LANES, sum[r]);
        }
    }
}

/* out[BLOCK, h'] = weights[BLOCK, line] * rows[keys, h']. */
INLINE void block_times_rows(const real *weights, const struct room *room, struct rows rows,
                             size_t keys, real *out)
{
    const size_t line = room->line;
    const size_t width = room->width;
    size_t c = 0;
    for (; c + 2 * LANES <= width; c += 2 * LANES) {
        vector low[BLOCK] = {0};
        vector high[BLOCK] = {0};
        for (size_t j = 0; j < keys; j++) {
            vector v0 = load(rows.data + j * rows.step + c);
            vector v1 = load(rows.data + j * rows.step + c + LANES);
            for (size_t r = 0; r < BLOCK; r++) {
                real weight = weights[r * line + j];
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
            vector v = load(rows.data + j * rows.step + c);
            for (size_t r = 0; r < BLOCK; r++) {
                sum[r] += weights[r * line + j] * v;
            }
        }
        for (size_t r = 0; r < BLOCK; r++) {
            store(out + r * width + c, sum[r]);
        }
    }
}

/* rows[keys, h'] += weights[BLOCK, line]^T * a[BLOCK, h']. */
INLINE void add_transposed(const real *weights, const real *a, const struct room *room, size_t keys,
                           struct row_sums rows)
{
    const size_t step = room->line;
    for (size_t c = 0; c < room->width; c += LANES) {
        vector line[BLOCK];
        for (size_t r = 0; r < BLOCK; r++) {
            line[r] = load(a + r * room->width + c);
        }
        for (size_t j = 0; j < keys; j++) {
            vector even = load(rows.data + j * rows.step + c);
            vector odd = {0};
            for (size_t r = 0; r < BLOCK; r += 2) {
                even += weights[r * step + j] * line[r];
                odd += weights[(r + 1) * step + j] * line[r + 1];
            }
            store(rows.data + j * rows.step + c, even + odd);
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
        real *s = room->scores + r * room->line;
        mask_row(head, room, i + r, vectors, s);
        factor[r] = exponentials(vectors, s, &head->log_sum[i + r], &room->totals[i + r]);
    }
    /* (3) O = P V, divided by the sum at the end */
    block_times_rows(room->scores, room, room->value_rows, keys, room->sums);
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
        room.value_rows = take_tile_rows(head, head->v, head->v_step, &room, 0);
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

/* dO . O of one query. */
static real joint_slope(const struct attention_head *head, size_t i)
{
    const real *d_out = head->d_out + i * head->v_step;
    const real *out = head->out + i * head->v_step;
    real sum = 0;
#pragma omp simd reduction(+ : sum)
    for (size_t c = 0; c < head->width; c++) {
        sum += d_out[c] * out[c];
    }
    return sum;
}

/* P and dS of one query in place: s holds scores, slope holds dO V^T. D is their mean, so that dS
 * sum to zero whatever was rounded; where not all of its keys are here, dO . O. */
static void row_back(const struct attention_head *head, const struct room *room, size_t i,
                     size_t vectors, real *restrict s, real *restrict slope)
{
    mask_row(head, room, i, vectors, s);
    const real log_sum = head->log_sum[i] == UNSEEN ? 0 : head->log_sum[i];
    vector sum = {0};
    vector weighted = {0};
    for (size_t j = 0; j < vectors * LANES; j += LANES) {
        vector p = vector_exp(load(s + j) - log_sum);
        store(s + j, p);
        sum += p;
        weighted += p * load(slope + j);
    }
    const real total = lanes_sum(sum);
    const real mean = head->joint || room->keys > TILE
                          ? joint_slope(head, i)
                          : lanes_sum(weighted) / (total != 0 ? total : 1);
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
        row_back(head, room, i + r, vectors, room->scores + r * room->line,
                 room->slopes + r * room->line);
    }
    for (size_t r = count; r < BLOCK; r++) {
        memset(room->scores + r * room->line, 0, vectors * LANES * sizeof(real));
        memset(room->slopes + r * room->line, 0, vectors * LANES * sizeof(real));
    }
    /* (3) dV += P^T dO; dK += dS^T (scale Q); dQ += scale dS K */
    add_transposed(room->scores, room->d_out, room, keys, room->d_values);
    add_transposed(room->slopes, room->q, room, keys, room->d_keys);
    block_times_rows(room->slopes, room, room->key_rows, keys, room->sums);
    for (size_t r = 0; r < count; r++) {
        real *restrict dq = head->d_q + (i + r) * head->qk_step;
        for (size_t c = 0; c < head->width; c++) {
            dq[c] += head->scale * room->sums[r * room->width + c];
        }
    }
}

void KERNEL(kernel_attention_back)(const struct attention_head *head)
{
    struct room room;
    prepare(head, &room);
    for (size_t first = 0; first < room.keys; first += TILE) {
        take_tile(head, first, &room);
        transpose(head->v + first * head->v_step, head->v_step, head->width, &room, room.values_t);
        room.key_rows = take_tile_rows(head, head->k, key_step(head), &room, 1);
        room.d_keys = begin_sums(head->d_k, key_step(head), &room, 2);
        room.d_values = begin_sums(head->d_v, head->v_step, &room, 3);
        for (size_t i = first_query(head, &room); i < head->length; i += BLOCK) {
            block_back(head, &room, i, head->length - i < BLOCK ? head->length - i : BLOCK);
        }
        end_sums(head, room.d_keys, &room, head->d_k, key_step(head));
        end_sums(head, room.d_values, &room, head->d_v, head->v_step);
    }
}
