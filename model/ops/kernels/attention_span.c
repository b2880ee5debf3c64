/* Soft-span attention of one head: blocks of queries against the band of keys that their spans
 * reach. SPDX-License-Identifier: Apache-2.0
 *
 * Query t sees keys at distances e = 0 ... from its nearest one, with the soft mask
 * m(e) = clamp((reach - e) / R, 0, 1), reach = R + z S (Sukhbaatar et al. 2019, equations 5 and 6):
 *
 *     P = m e^s / sum m e^s,   s = scale q_t . (k_(t - nearest - e) + pe_e)
 *
 * so keys at e >= reach have weight 0 and are never touched. q . pe is a second product of the same
 * form, whose columns are mirrored (place x = N - 1 - e), so that in both products distances fall
 * from left to right and a row of one is a row of the other moved by the query's place in its
 * block.
 *
 * With D = dO . O and dS = P (dO V^T - D):
 *     dQ = scale dS (K + pe),  dK = scale dS^T Q,  d_pe likewise by distance,  dV = P^T dO,
 *     d_m = (dO V^T - D) e^s / sum,  which stays finite where m goes to 0;  d_reach = sum over the
 *     ramp (0 < m < 1) of d_m / R.
 *
 * Bands begin at whole vectors, so a key keeps its lane whatever the block reaches: what a query
 * gets does not depend on its neighbours by a single bit.
 */
#include "model/ops/kernels/blocks.h"
#include "model/ops/kernels/level.h"

/* How far a row's view of the distance table may stick out at either end. */
#define MARGIN (BLOCK / LANES * LANES + 3 * LANES)

/* Farther than any span: the places around the distance table. */
#define NOWHERE ((real)1e30)

/* Scratch of a head, carved from head->scratch. */
struct room {
    size_t padded;                /* h' */
    size_t farthest;              /* N = min(S, T) */
    struct grid keys_t, values_t; /* [h, T'] */
    struct grid keys, values;     /* [T, h'] */
    struct grid table_t, table;   /* pe mirrored: [h, N'], and [N, h'] on the way back */
    real *distance;               /* [MARGIN + N' + MARGIN] e by place, NOWHERE around */
    struct grid scores, slopes;   /* [BLOCK, band] */
    struct grid by_distance;      /* [BLOCK, MARGIN + N' + MARGIN]: q . pe, then dS, by place */
    real *q, *d_out, *sums;       /* [BLOCK, h'] */
    struct grid d_keys, d_values; /* [T, h'] */
    struct grid d_table;          /* [N, h'] */
};

/* Which keys a block of queries touches. */
struct band {
    size_t first, count;  /* queries */
    size_t low;           /* first key, at a whole vector */
    size_t keys, vectors; /* from there; none: a block that sees nothing */
    size_t place, places; /* of the mirrored table, likewise at a whole vector */
};

static size_t farthest_of(size_t length, size_t span)
{
    return span < length ? span : length;
}

size_t KERNEL(kernel_attention_span_scratch)(size_t length, size_t width, size_t span)
{
    size_t t = round_lanes(length);
    size_t n = round_lanes(farthest_of(length, span));
    size_t h = round_lanes(width);
    size_t line = n + 2 * MARGIN;
    return 2 * h * t + 4 * h * t + 3 * h * n + (3 * BLOCK + 1) * line + 3 * BLOCK * h;
}

static struct grid carve(real **next, size_t rows, size_t step)
{
    struct grid grid = {*next, step};
    *next += rows * step;
    return grid;
}

/* Rows as they are where they are whole vectors, else a copy with zeros behind. */
static struct grid whole_rows(const struct attention_span_head *head, const real *rows, size_t step,
                              size_t padded, real **next)
{
    if (head->width == padded) {
        return (struct grid){(real *)(uintptr_t)rows, step};
    }
    struct grid copy = carve(next, head->length, padded);
    pad_rows(rows, step, head->length, head->width, padded, copy.data);
    return copy;
}

/* The distance table, and the position table mirrored. */
static void prepare_table(const struct attention_span_head *head, bool back, struct room *room,
                          real **next)
{
    size_t n = room->farthest;
    size_t line = round_lanes(n) + 2 * MARGIN;
    room->distance = carve(next, 1, line).data;
    for (size_t x = 0; x < line; x++) {
        bool inside = x >= MARGIN && x < MARGIN + n;
        room->distance[x] = inside ? (real)(n - 1 - (x - MARGIN)) : NOWHERE;
    }
    if (head->positions == NULL) {
        return;
    }
    room->by_distance = carve(next, BLOCK, line);
    memset(room->by_distance.data, 0, BLOCK * line * sizeof(real));
    room->table_t = carve(next, head->width, round_lanes(n));
    room->table = carve(next, n, room->padded);
    for (size_t e = 0; e < n; e++) {
        real *row = room->table.data + (n - 1 - e) * room->padded;
        pad_rows(head->positions + e * head->width, 0, 1, head->width, room->padded, row);
    }
    rows_to_columns(room->table.data, room->padded, n, head->width, room->table_t.step,
                    room->table_t.data);
    if (back) {
        room->d_table = carve(next, n, room->padded);
        memset(room->d_table.data, 0, n * room->padded * sizeof(real));
    }
}

static void prepare(const struct attention_span_head *head, bool back, struct room *room)
{
    size_t padded = round_lanes(head->width);
    size_t line = round_lanes(head->length);
    real *next = head->scratch;
    *room = (struct room){.padded = padded, .farthest = farthest_of(head->length, head->span)};
    size_t band = round_lanes(room->farthest) + 2 * MARGIN;
    room->keys_t = carve(&next, head->width, line);
    room->scores = carve(&next, BLOCK, band);
    room->q = carve(&next, BLOCK, padded).data;
    room->sums = carve(&next, BLOCK, padded).data;
    rows_to_columns(head->k, head->qk_step, head->length, head->width, line, room->keys_t.data);
    prepare_table(head, back, room, &next);
    if (!back) {
        room->values = whole_rows(head, head->v, head->v_step, padded, &next);
        return;
    }
    room->values_t = carve(&next, head->width, line);
    room->slopes = carve(&next, BLOCK, band);
    room->d_out = carve(&next, BLOCK, padded).data;
    rows_to_columns(head->v, head->v_step, head->length, head->width, line, room->values_t.data);
    room->keys = whole_rows(head, head->k, head->qk_step, padded, &next);
    room->d_keys = (struct grid){head->d_k, head->qk_step};
    room->d_values = (struct grid){head->d_v, head->v_step};
    if (padded != head->width) {
        room->d_keys = carve(&next, head->length, padded);
        room->d_values = carve(&next, head->length, padded);
        memset(room->d_keys.data, 0, 2 * head->length * padded * sizeof(real));
    }
}

static real reach_of(const struct attention_span_head *head, size_t t)
{
    return head->reach[t * head->reach_step];
}

/* Keys from the farthest that some query of the block reaches to the nearest of its last query. */
static struct band band_of(const struct attention_span_head *head, const struct room *room,
                           size_t i)
{
    struct band band = {.first = i};
    band.count = head->length - i < BLOCK ? head->length - i : BLOCK;
    if (i + band.count <= head->nearest) {
        return band;
    }
    size_t end = i + band.count - head->nearest; /* behind the last key */
    real farthest = head->untrimmed ? (real)room->farthest : 0;
    for (size_t r = 0; r < band.count; r++) {
        farthest = reach_of(head, i + r) > farthest ? reach_of(head, i + r) : farthest;
    }
    real reached = REAL(ceil)(farthest);
    size_t distances = reached < (real)room->farthest ? (size_t)reached : room->farthest;
    size_t before = distances + head->nearest; /* of the first query: its keys begin there + 1 */
    size_t low = i + 1 > before ? i + 1 - before : 0;
    band.low = low / LANES * LANES;
    band.keys = end - band.low;
    band.vectors = round_lanes(band.keys) / LANES;
    distances = distances < end ? distances : end;
    band.place = (room->farthest - distances) / LANES * LANES;
    band.places = room->farthest - band.place;
    return band;
}

/* Where the distance table's view of query `r` of the block begins: MARGIN + N - 1 - e of the
 * band's first key. */
static size_t view_of(const struct attention_span_head *head, const struct room *room,
                      const struct band *band, size_t r)
{
    return MARGIN + room->farthest - 1 + band->low + head->nearest - (band->first + r);
}

static struct grid at(struct grid grid, size_t place)
{
    return (struct grid){grid.data + place, grid.step};
}

/* S = scale Q K^T of the band, and Q pe^T by place. */
static void block_scores(const struct attention_span_head *head, const struct room *room,
                         const struct band *band)
{
    struct grid q = {room->q, room->padded};
    take_block(head->q + band->first * head->qk_step, head->qk_step, band->count, head->width,
               room->padded, head->scale, room->q);
    block_by_columns(q, at(room->keys_t, band->low), head->width, band->vectors, room->scores);
    if (head->positions != NULL) {
        block_by_columns(q, at(room->table_t, band->place), head->width,
                         round_lanes(band->places) / LANES,
                         at(room->by_distance, MARGIN + band->place));
    }
}

/* m before it is cut to [0, 1]. */
INLINE vector ramp_at(const real *distance, real reach, real inverse)
{
    return (reach - load(distance)) * inverse;
}

INLINE vector cut_to_one(vector ramp)
{
    return choose(ramp < 1, larger(ramp, (vector){0}), all(1));
}

/* One query's scores become m e^(s - largest) in place; its log-sum is kept. Returns 1 / sum, 0
 * where the query sees nothing. */
static real weigh_row(const struct attention_span_head *head, const struct room *room,
                      const struct band *band, size_t r)
{
    size_t view = view_of(head, room, band, r);
    real *restrict s = room->scores.data + r * room->scores.step;
    const real *restrict extra = NULL;
    const real *restrict distance = room->distance + view;
    if (head->positions != NULL) {
        extra = room->by_distance.data + r * room->by_distance.step + view;
    }
    real reach = reach_of(head, band->first + r);
    real inverse = 1 / head->ramp;
    real *log_sum = &head->log_sum[band->first + r];
    vector top = all(UNSEEN);
    for (size_t j = 0; j < band->vectors * LANES; j += LANES) {
        vector score = load(s + j);
        if (extra != NULL) {
            score += load(extra + j);
        }
        score = choose(ramp_at(distance + j, reach, inverse) > 0, score, all(UNSEEN));
        store(s + j, score);
        top = larger(score, top);
    }
    real largest = lanes_largest(top);
    *log_sum = 0;
    if (largest == UNSEEN) {
        memset(s, 0, band->vectors * LANES * sizeof(real));
        return 0;
    }
    vector total = {0};
    for (size_t j = 0; j < band->vectors * LANES; j += LANES) {
        vector soft = cut_to_one(ramp_at(distance + j, reach, inverse));
        vector weight = soft * vector_exp(load(s + j) - largest);
        store(s + j, weight);
        total += weight;
    }
    real sum = lanes_sum(total);
    *log_sum = largest + REAL(log)(sum);
    return 1 / sum;
}

void KERNEL(kernel_attention_span)(const struct attention_span_head *head)
{
    struct room room;
    prepare(head, false, &room);
    for (size_t i = 0; i < head->length; i += BLOCK) {
        struct band band = band_of(head, &room, i);
        real inverse[BLOCK] = {0};
        if (band.keys > 0) {
            block_scores(head, &room, &band);
            for (size_t r = 0; r < band.count; r++) {
                inverse[r] = weigh_row(head, &room, &band, r);
            }
            struct grid values = at(room.values, band.low * room.values.step);
            block_by_rows(room.scores, values, band.keys, room.padded, false, room.sums);
        }
        for (size_t r = 0; r < band.count; r++) {
            real *restrict out = head->out + (i + r) * head->v_step;
            for (size_t c = 0; c < head->width; c++) {
                out[c] = inverse[r] != 0 ? room.sums[r * room.padded + c] * inverse[r] : 0;
            }
            head->log_sum[i + r] = band.keys > 0 ? head->log_sum[i + r] : 0;
        }
    }
}

/* P and dS of one query in place of scores and dO V^T; dS by distance too. Returns d_reach. */
static real row_back(const struct attention_span_head *head, const struct room *room,
                     const struct band *band, size_t r)
{
    size_t t = band->first + r;
    size_t view = view_of(head, room, band, r);
    real *restrict s = room->scores.data + r * room->scores.step;
    real *restrict slope = room->slopes.data + r * room->slopes.step;
    const real *restrict distance = room->distance + view;
    real *restrict extra = NULL;
    if (head->positions != NULL) {
        extra = room->by_distance.data + r * room->by_distance.step + view;
    }
    real d = 0;
#pragma omp simd reduction(+ : d)
    for (size_t c = 0; c < head->width; c++) {
        d += head->d_out[t * head->v_step + c] * head->out[t * head->v_step + c];
    }
    real reach = reach_of(head, t);
    real inverse = 1 / head->ramp;
    vector d_soft = {0};
    for (size_t j = 0; j < band->vectors * LANES; j += LANES) {
        vector score = load(s + j);
        if (extra != NULL) {
            score += load(extra + j);
        }
        vector ramp = ramp_at(distance + j, reach, inverse);
        mask seen = ramp > 0;
        vector share = vector_exp(choose(seen, score, all(UNSEEN)) - head->log_sum[t]);
        vector d_weight = share * (load(slope + j) - d);
        d_soft += choose(seen & (ramp < 1), d_weight, (vector){0});
        vector soft = cut_to_one(ramp);
        vector d_score = soft * d_weight;
        store(s + j, soft * share);
        store(slope + j, d_score);
        if (extra != NULL) {
            store(extra + j, d_score);
        }
    }
    return inverse * lanes_sum(d_soft);
}

/* Rows behind the last query add nothing; places before a row's first key neither. */
static void clear_unused(const struct attention_span_head *head, const struct room *room,
                         const struct band *band)
{
    for (size_t r = band->count; r < BLOCK; r++) {
        size_t bytes = band->vectors * LANES * sizeof(real);
        memset(room->scores.data + r * room->scores.step, 0, bytes);
        memset(room->slopes.data + r * room->slopes.step, 0, bytes);
    }
    for (size_t r = 0; head->positions != NULL && r < BLOCK; r++) {
        real *row = room->by_distance.data + r * room->by_distance.step;
        size_t from = MARGIN + band->place;
        size_t view = view_of(head, room, band, r);
        size_t to = r < band->count ? view : MARGIN + room->farthest;
        if (to > from) {
            memset(row + from, 0, (to - from) * sizeof(real));
        }
    }
}

/* dV += P^T dO; dK += dS^T (scale Q); dQ += scale dS (K + pe); d_pe += dS^T (scale Q) by place. */
static void add_gradients(const struct attention_span_head *head, const struct room *room,
                          const struct band *band)
{
    size_t padded = room->padded;
    struct grid keys = at(room->keys, band->low * room->keys.step);
    add_block_transposed(room->scores, room->d_out, band->keys, padded,
                         at(room->d_values, band->low * room->d_values.step));
    add_block_transposed(room->slopes, room->q, band->keys, padded,
                         at(room->d_keys, band->low * room->d_keys.step));
    block_by_rows(room->slopes, keys, band->keys, padded, false, room->sums);
    if (head->positions != NULL) {
        struct grid slopes = at(room->by_distance, MARGIN + band->place);
        block_by_rows(slopes, at(room->table, band->place * padded), band->places, padded, true,
                      room->sums);
        add_block_transposed(slopes, room->q, band->places, padded,
                             at(room->d_table, band->place * padded));
    }
    for (size_t r = 0; r < band->count; r++) {
        real *restrict dq = head->d_q + (band->first + r) * head->qk_step;
        for (size_t c = 0; c < head->width; c++) {
            dq[c] += head->scale * room->sums[r * padded + c];
        }
    }
}

/* What was summed in padded or mirrored rows goes to its place. */
static void collect(const struct attention_span_head *head, const struct room *room)
{
    for (size_t t = 0; room->padded != head->width && t < head->length; t++) {
        for (size_t c = 0; c < head->width; c++) {
            head->d_k[t * head->qk_step + c] += room->d_keys.data[t * room->padded + c];
            head->d_v[t * head->v_step + c] += room->d_values.data[t * room->padded + c];
        }
    }
    for (size_t e = 0; head->d_positions != NULL && e < room->farthest; e++) {
        const real *row = room->d_table.data + (room->farthest - 1 - e) * room->padded;
        for (size_t c = 0; c < head->width; c++) {
            head->d_positions[e * head->width + c] += row[c];
        }
    }
}

void KERNEL(kernel_attention_span_back)(const struct attention_span_head *head)
{
    struct room room;
    prepare(head, true, &room);
    for (size_t i = 0; i < head->length; i += BLOCK) {
        struct band band = band_of(head, &room, i);
        if (band.keys == 0) {
            continue;
        }
        block_scores(head, &room, &band);
        take_block(head->d_out + i * head->v_step, head->v_step, band.count, head->width,
                   room.padded, 1, room.d_out);
        block_by_columns((struct grid){room.d_out, room.padded}, at(room.values_t, band.low),
                         head->width, band.vectors, room.slopes);
        for (size_t r = 0; r < band.count; r++) {
            head->d_reach[(i + r) * head->reach_step] += row_back(head, &room, &band, r);
        }
        clear_unused(head, &room, &band);
        add_gradients(head, &room, &band);
    }
    collect(head, &room);
}
