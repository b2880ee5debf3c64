/* Hashed attention over one list of entries: tiles of gathered rows, small dense products, masks.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A list is sorted so that what may see each other lies close. LSH_TILE entries and all their keys
 * are gathered into contiguous scratch that fits the first caches, keys (and on the way back
 * values) channel-major, so that a vector holds one channel of LANES keys. BLOCK entries share each
 * load.
 *
 * Lists are merged by what they share, one log-sum a position: forward keeps sums relative to a
 * running maximum; on the way back P = e^(S - log_sum) needs nothing of the other lists.
 *   dS = P (dO V^T - D),  dQ = dS K,  dK = dS^T Q,  dV = P^T dO.
 */
#include "model/ops/kernels/level.h"
#include "model/ops/kernels/lsh_block.h"

/* Scratch of a tile. K' is the number of its keys in whole vectors. */
struct room {
    size_t step;              /* K' */
    real *keys_t, *values_t;  /* [h', K'] */
    real *keys, *values;      /* [K', h'] */
    real *d_keys, *d_values;  /* [K', h'] */
    real *scores, *slopes;    /* [BLOCK, K'] */
    real *q, *d_out, *sums;   /* [BLOCK, h'] */
    whole *position, *bucket; /* [K'], of the keys */
};

/* The entries and keys of a tile. */
struct tile {
    size_t first, end;    /* entries */
    size_t keys, key_end; /* keys */
};

size_t KERNEL(kernel_lsh_width)(size_t width)
{
    return round_lanes(width);
}

static struct tile tile_at(const struct lsh_list *list, size_t first)
{
    size_t end = list->entries - first < LSH_TILE ? list->entries : first + LSH_TILE;
    return (struct tile){
        .first = first,
        .end = end,
        .keys = list->from[first],
        .key_end = list->to[end - 1],
    };
}

static size_t key_room(size_t tile_keys)
{
    return round_lanes(tile_keys);
}

size_t KERNEL(kernel_lsh_scratch)(size_t width, size_t tile_keys)
{
    size_t k = key_room(tile_keys);
    return 6 * k * width + 2 * BLOCK * k + 3 * BLOCK * width + 2 * k;
}

static void open_room(const struct lsh_list *list, struct room *room)
{
    size_t k = key_room(list->tile_keys);
    size_t w = list->width;
    real *next = list->scratch;
    *room = (struct room){
        .step = k,
        .keys_t = next,
        .values_t = next + k * w,
        .keys = next + 2 * k * w,
        .values = next + 3 * k * w,
        .d_keys = next + 4 * k * w,
        .d_values = next + 5 * k * w,
        .scores = next + 6 * k * w,
        .slopes = next + 6 * k * w + BLOCK * k,
        .q = next + 6 * k * w + 2 * BLOCK * k,
    };
    room->d_out = room->q + BLOCK * w;
    room->sums = room->d_out + BLOCK * w;
    room->position = (whole *)(void *)(room->sums + BLOCK * w);
    room->bucket = room->position + k;
}

/* ---------------------------------------------------------------- gathering */

/* rows[K', w] of the tile's keys, zeros behind them. */
static void gather_rows(const struct lsh_list *list, const struct tile *tile, const real *from,
                        size_t padded, real *restrict rows)
{
    size_t w = list->width;
    const uint32_t *key = list->key + tile->keys;
    size_t keys = tile->key_end - tile->keys;
    for (size_t j = 0; j < keys; j++) {
        for (size_t c = 0; c < w; c += LANES) {
            store(rows + j * w + c, load(from + key[j] * w + c));
        }
    }
    memset(rows + keys * w, 0, (padded - keys) * w * sizeof(real));
}

static void gather_tile(const struct lsh_list *list, const struct tile *tile, bool back,
                        struct room *room)
{
    size_t keys = tile->key_end - tile->keys;
    size_t padded = key_room(keys);
    gather_rows(list, tile, list->k, padded, room->keys);
    gather_rows(list, tile, list->v, padded, room->values);
    turn_rows(room->keys, list->width, padded, room->step, room->keys_t);
    if (back) {
        turn_rows(room->values, list->width, padded, room->step, room->values_t);
        memset(room->d_keys, 0, padded * list->width * sizeof(real));
        memset(room->d_values, 0, padded * list->width * sizeof(real));
    }
    for (size_t j = 0; j < padded; j++) {
        room->position[j] = j < keys ? (whole)list->key[tile->keys + j] : -1;
    }
    for (size_t j = 0; list->key_bucket != NULL && j < padded; j++) {
        room->bucket[j] = j < keys ? (whole)list->key_bucket[tile->keys + j] : -1;
    }
}

/* The rows of entries i .. i + count - 1, zeros behind them. */
static void take_entries(const struct lsh_list *list, size_t i, size_t count, const real *from,
                         real *restrict rows)
{
    size_t w = list->width;
    for (size_t r = 0; r < BLOCK; r++) {
        for (size_t c = 0; c < w; c += LANES) {
            const vector none = {0};
            store(rows + r * w + c, r < count ? load(from + list->query[i + r] * w + c) : none);
        }
    }
}

/* ---------------------------------------------------------------- products of a block */

/* A few vectors of out[BLOCK, K'] = a[BLOCK, w] * columns[w, K'], from key j on. */
INLINE void times_columns_part(const real *a, const real *columns, size_t w, size_t step, size_t j,
                               size_t vectors, real *out)
{
    vector sum[BLOCK][2] = {0};
    for (size_t c = 0; c < w; c++) {
        for (size_t n = 0; n < vectors; n++) {
            vector x = load(columns + c * step + j + n * LANES);
            for (size_t r = 0; r < BLOCK; r++) {
                sum[r][n] += a[r * w + c] * x;
            }
        }
    }
    for (size_t r = 0; r < BLOCK; r++) {
        for (size_t n = 0; n < vectors; n++) {
            store(out + r * step + j + n * LANES, sum[r][n]);
        }
    }
}

/* Keys at .. end - 1, both whole vectors. */
INLINE void times_columns(const real *a, const real *columns, size_t w, size_t step, size_t at,
                          size_t end, real *out)
{
    size_t j = at;
    for (; j + PAIR <= end; j += PAIR) {
        times_columns_part(a, columns, w, step, j, 2, out);
    }
    for (; j < end; j += LANES) {
        times_columns_part(a, columns, w, step, j, 1, out);
    }
}

/* Channels c .. c + vectors * LANES - 1 of out[BLOCK, w] = weights[BLOCK, K'] * rows[K', w]. */
INLINE void times_rows_part(const real *weights, size_t step, const real *rows, size_t w, size_t at,
                            size_t end, size_t c, size_t vectors, real *out)
{
    vector sum[BLOCK][2] = {0};
    for (size_t j = at; j < end; j++) {
        for (size_t r = 0; r < BLOCK; r++) {
            for (size_t n = 0; n < vectors; n++) {
                sum[r][n] += weights[r * step + j] * load(rows + j * w + c + n * LANES);
            }
        }
    }
    for (size_t r = 0; r < BLOCK; r++) {
        for (size_t n = 0; n < vectors; n++) {
            store(out + r * w + c + n * LANES, sum[r][n]);
        }
    }
}

INLINE void times_rows(const real *weights, size_t step, const real *rows, size_t w, size_t at,
                       size_t end, real *out)
{
    size_t c = 0;
    for (; c + PAIR <= w; c += PAIR) {
        times_rows_part(weights, step, rows, w, at, end, c, 2, out);
    }
    for (; c < w; c += LANES) {
        times_rows_part(weights, step, rows, w, at, end, c, 1, out);
    }
}

/* rows[at .. end, w] += weights[BLOCK, K']^T * a[BLOCK, w]. */
INLINE void add_turned(const real *weights, size_t step, const real *a, size_t w, size_t at,
                       size_t end, real *rows)
{
    for (size_t c = 0; c < w; c += LANES) {
        vector line[BLOCK];
        for (size_t r = 0; r < BLOCK; r++) {
            line[r] = load(a + r * w + c);
        }
        for (size_t j = at; j < end; j++) {
            vector even = load(rows + j * w + c);
            vector odd = {0};
            for (size_t r = 0; r < BLOCK; r += 2) {
                even += weights[r * step + j] * line[r];
                odd += weights[(r + 1) * step + j] * line[r + 1];
            }
            store(rows + j * w + c, even + odd);
        }
    }
}

/* ---------------------------------------------------------------- masks */

/* In how many entries of its rounds a query at `t` has the key position `s`. */
static size_t times_seen(const struct lsh_counts *counts, size_t t, size_t s)
{
    size_t seen = 0;
    for (size_t r = 0; r < counts->rounds; r++) {
        size_t own = counts->chunk[r * counts->length + t];
        size_t before = (own + counts->chunks - 1) % counts->chunks;
        for (size_t other = 0; other < counts->rounds; other++) {
            size_t at = other * counts->length + s;
            bool counted =
                counts->bucket == NULL ||
                (other == r && counts->bucket[r * counts->length + t] == counts->bucket[at]);
            seen += counted ? (counts->chunk[at] == own) + (counts->chunk[at] == before) : 0;
        }
    }
    return seen;
}

static void subtract_counts(const struct lsh_list *list, const struct room *room, size_t t,
                            size_t at, size_t end, real *restrict s)
{
    for (size_t j = at; j < end; j++) {
        if (s[j] != UNSEEN) {
            size_t seen = times_seen(list->counts, t, (size_t)room->position[j]);
            s[j] -= REAL(log)((real)seen + (real)1e-9);
        }
    }
}

/* Adds the bias to the scores of entry i and makes -infinity of what it must not see. */
static void mask_entry(const struct lsh_list *list, const struct room *room,
                       const struct tile *tile, size_t i, size_t at, size_t end,
                       real *restrict scores)
{
    whole t = (whole)list->query[i];
    whole limit = list->masked ? t - (whole)list->near : (whole)INT32_MAX;
    whole from = (whole)(list->from[i] - tile->keys);
    whole to = (whole)(list->to[i] - tile->keys);
    mask rank;
    for (size_t lane = 0; lane < LANES; lane++) {
        rank[lane] = (whole)(at + lane);
    }
    for (size_t j = at; j < end; j += LANES) {
        mask position;
        memcpy(&position, room->position + j, sizeof(position));
        mask seen = (rank >= from) & (rank < to) & (position < limit) & (position != t);
        if (list->key_bucket != NULL) {
            mask bucket;
            memcpy(&bucket, room->bucket + j, sizeof(bucket));
            seen &= bucket == (whole)list->query_bucket[i];
        }
        store(scores + j, choose(seen, load(scores + j) + list->bias, all(UNSEEN)));
        rank += (whole)LANES;
    }
    if (list->counts != NULL) {
        subtract_counts(list, room, (size_t)t, at, end, scores);
    }
}

/* The keys of a block of entries: from .. to - 1 of the tile, in whole vectors at .. end - 1. */
struct keys {
    size_t from, to, at, end;
};

static struct keys keys_of_block(const struct lsh_list *list, const struct tile *tile, size_t i,
                                 size_t count)
{
    struct keys keys = {
        .from = list->from[i] - tile->keys,
        .to = list->to[i + count - 1] - tile->keys,
    };
    keys.at = keys.from / LANES * LANES;
    keys.end = round_lanes(keys.to);
    return keys;
}

/* ---------------------------------------------------------------- forward */

/* scores = e^(scores - top) of one entry, with `top` the largest so far at its position, which its
 * sums are brought to. False where it sees nothing here. */
static bool exponentials(const struct lsh_list *list, size_t t, size_t at, size_t end,
                         real *restrict scores)
{
    vector top = all(list->top[t]);
    for (size_t j = at; j < end; j += LANES) {
        top = larger(load(scores + j), top);
    }
    real largest = lanes_largest(top);
    if (largest == UNSEEN) {
        memset(scores + at, 0, (end - at) * sizeof(real));
        return false;
    }
    vector total = {0};
    for (size_t j = at; j < end; j += LANES) {
        vector e = vector_exp(load(scores + j) - largest);
        store(scores + j, e);
        total += e;
    }
    real factor = vector_exp(all(list->top[t] - largest))[0];
    list->top[t] = largest;
    list->sum[t] = list->sum[t] * factor + lanes_sum(total);
    for (size_t c = 0; c < list->width; c += LANES) {
        real *out = list->out + t * list->width + c;
        store(out, load(out) * factor);
    }
    return true;
}

static void block_forward(const struct lsh_list *list, const struct room *room,
                          const struct tile *tile, size_t i)
{
    size_t w = list->width;
    size_t count = tile->end - i < BLOCK ? tile->end - i : BLOCK;
    struct keys keys = keys_of_block(list, tile, i, count);
    if (keys.from == keys.to) {
        return;
    }
    /* (1) S = Q K^T */
    take_entries(list, i, count, list->q, room->q);
    times_columns(room->q, room->keys_t, w, room->step, keys.at, keys.end, room->scores);
    /* (2) P = e^(S - top), and what there was is brought to the same top */
    bool seen = false;
    real top[BLOCK];
    for (size_t r = 0; r < count; r++) {
        real *scores = room->scores + r * room->step;
        mask_entry(list, room, tile, i + r, keys.at, keys.end, scores);
        seen |= exponentials(list, list->query[i + r], keys.at, keys.end, scores);
        top[r] = list->top[list->query[i + r]];
    }
    if (!seen) {
        return;
    }
    /* (3) O += P V */
    times_rows(room->scores, room->step, room->values, w, keys.from, keys.to, room->sums);
    for (size_t r = 0; r < count; r++) {
        size_t t = list->query[i + r];
        /* where one round ends and the next begins, a position may be twice in a block */
        real factor = top[r] == list->top[t] ? 1 : vector_exp(all(top[r] - list->top[t]))[0];
        real *out = list->out + t * w;
        for (size_t c = 0; c < w; c += LANES) {
            store(out + c, load(out + c) + factor * load(room->sums + r * w + c));
        }
    }
}

void KERNEL(kernel_lsh)(const struct lsh_list *list)
{
    struct room room;
    open_room(list, &room);
    for (size_t first = 0; first < list->entries; first += LSH_TILE) {
        struct tile tile = tile_at(list, first);
        gather_tile(list, &tile, false, &room);
        for (size_t i = tile.first; i < tile.end; i += BLOCK) {
            block_forward(list, &room, &tile, i);
        }
    }
}

/* ---------------------------------------------------------------- backward */

static void block_back(const struct lsh_list *list, const struct room *room,
                       const struct tile *tile, size_t i)
{
    size_t w = list->width;
    size_t count = tile->end - i < BLOCK ? tile->end - i : BLOCK;
    struct keys keys = keys_of_block(list, tile, i, count);
    if (keys.from == keys.to) {
        return;
    }
    /* (1) S again, and dO V^T */
    take_entries(list, i, count, list->q, room->q);
    take_entries(list, i, count, list->d_out, room->d_out);
    times_columns(room->q, room->keys_t, w, room->step, keys.at, keys.end, room->scores);
    times_columns(room->d_out, room->values_t, w, room->step, keys.at, keys.end, room->slopes);
    /* (2) P and dS; entries behind the end have queries and dO of zero, so need none */
    for (size_t r = 0; r < count; r++) {
        real *scores = room->scores + r * room->step;
        real *slopes = room->slopes + r * room->step;
        size_t t = list->query[i + r];
        mask_entry(list, room, tile, i + r, keys.at, keys.end, scores);
        for (size_t j = keys.at; j < keys.end; j += LANES) {
            vector p = vector_exp(load(scores + j) - list->log_sum[t]);
            store(scores + j, p);
            store(slopes + j, p * (load(slopes + j) - list->d[t]));
        }
    }
    /* (3) dQ += dS K */
    times_rows(room->slopes, room->step, room->keys, w, keys.from, keys.to, room->sums);
    for (size_t r = 0; r < count; r++) {
        real *d_q = list->d_q + list->query[i + r] * w;
        for (size_t c = 0; c < w; c += LANES) {
            store(d_q + c, load(d_q + c) + load(room->sums + r * w + c));
        }
    }
    /* (4) dK += dS^T Q, dV += P^T dO */
    add_turned(room->slopes, room->step, room->q, w, keys.from, keys.to, room->d_keys);
    add_turned(room->scores, room->step, room->d_out, w, keys.from, keys.to, room->d_values);
}

static void scatter_rows(const struct lsh_list *list, const struct tile *tile, const real *rows,
                         real *restrict to)
{
    size_t w = list->width;
    for (size_t j = 0; j < tile->key_end - tile->keys; j++) {
        real *row = to + list->key[tile->keys + j] * w;
        for (size_t c = 0; c < w; c += LANES) {
            store(row + c, load(row + c) + load(rows + j * w + c));
        }
    }
}

void KERNEL(kernel_lsh_back)(const struct lsh_list *list)
{
    struct room room;
    open_room(list, &room);
    for (size_t first = 0; first < list->entries; first += LSH_TILE) {
        struct tile tile = tile_at(list, first);
        gather_tile(list, &tile, true, &room);
        for (size_t i = tile.first; i < tile.end; i += BLOCK) {
            block_back(list, &room, &tile, i);
        }
        scatter_rows(list, &tile, room.d_keys, list->d_k);
        scatter_rows(list, &tile, room.d_values, list->d_v);
    }
}
