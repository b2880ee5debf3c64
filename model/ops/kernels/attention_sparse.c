/* Offset attention of one head: LANES neighbouring queries against the keys at shared offsets.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Queries, keys and values are turned into channel-major lines, so that the scores of LANES
 * neighbouring queries at one offset are sums over channels of plain products: one line of queries
 * times the line of keys shifted by the offset. No gather, no sum across lanes; time and memory
 * grow with the number of allowed pairs. A line has LANES zeros around it; what a query must not
 * see (outside the sequence, or an invalid key) becomes -infinity. Formulas as in attention.c.
 */
#include "model/ops/kernels/level.h"

/* Sums that stay in registers at once: enough of them to hide the latency of an addition. */
#define OFFSETS_AT_ONCE  6
#define CHANNELS_AT_ONCE 8

/* Queries on the way back whose P and dS are there at once; a multiple of all vectors. */
#define TILE ((size_t)1024)

struct lines {
    size_t step;             /* LANES + T' + LANES */
    real *q, *k, *v, *d_out; /* line c starts at c * step + LANES */
    real *d_q, *d_k, *d_v, *out;
    real *blocked;         /* [step]: 0 or -infinity by key; NULL where all are valid */
    real *scores, *slopes; /* forward [shifts, LANES]; back [shifts, LANES + a tile + LANES] */
    size_t score_step;
    int32_t *shifts; /* ascending: how far behind its query a key is; negative: ahead of it */
    size_t shift_count;
};

/* The shifts that matter somewhere: from .. to - 1. */
struct range {
    size_t from, to;
};

static size_t tile_of(size_t length)
{
    return round_lanes(length) < TILE ? round_lanes(length) : TILE;
}

size_t KERNEL(kernel_attention_sparse_scratch)(size_t length, size_t width, size_t offsets)
{
    size_t step = 2 * LANES + round_lanes(length);
    size_t score_step = 2 * LANES + tile_of(length);
    return (8 * width + 1) * step + 4 * offsets * score_step + 2 * offsets;
}

/* Rows of the head that are turned around in whole blocks; the others go one by one. */
static size_t whole_rows(const struct attention_head *head)
{
    return head->width % LANES == 0 ? head->length / LANES * LANES : 0;
}

/* Line c = factor * channel c of rows [T, h], zeros around it. */
static void to_lines(const real *restrict rows, size_t row_step, const struct attention_head *head,
                     real factor, real *restrict lines, size_t step)
{
    size_t blocked = whole_rows(head);
    for (size_t t = 0; t < blocked; t += LANES) {
        for (size_t c = 0; c < head->width; c += LANES) {
            vector block[VECTOR_LANES];
            for (size_t i = 0; i < LANES; i++) {
                block[i] = factor * load(rows + (t + i) * row_step + c);
            }
            transpose_block(block);
            for (size_t i = 0; i < LANES; i++) {
                store(lines + (c + i) * step + LANES + t, block[i]);
            }
        }
    }
    for (size_t c = 0; c < head->width; c++) {
        real *restrict line = lines + c * step;
        memset(line, 0, LANES * sizeof(real));
        for (size_t t = blocked; t < head->length; t++) {
            line[LANES + t] = factor * rows[t * row_step + c];
        }
        memset(line + LANES + head->length, 0, (step - LANES - head->length) * sizeof(real));
    }
}

/* The way back of to_lines: rows += factor * lines. */
static void add_lines(const real *restrict lines, size_t step, real factor,
                      const struct attention_head *head, real *restrict rows, size_t row_step)
{
    size_t blocked = whole_rows(head);
    for (size_t t = 0; t < blocked; t += LANES) {
        for (size_t c = 0; c < head->width; c += LANES) {
            vector block[VECTOR_LANES];
            for (size_t i = 0; i < LANES; i++) {
                block[i] = load(lines + (c + i) * step + LANES + t);
            }
            transpose_block(block);
            for (size_t i = 0; i < LANES; i++) {
                real *row = rows + (t + i) * row_step + c;
                store(row, load(row) + factor * block[i]);
            }
        }
    }
    for (size_t t = blocked; t < head->length; t++) {
        for (size_t c = 0; c < head->width; c++) {
            rows[t * row_step + c] += factor * lines[c * step + LANES + t];
        }
    }
}

/* The offsets, in front of them those ahead where the head looks both ways. */
static void take_shifts(const struct attention_head *head, struct lines *lines, real *memory)
{
    size_t count = head->offset_count;
    size_t ahead = head->both_ways ? count - 1 : 0;
    lines->shifts = (int32_t *)(void *)memory;
    lines->shift_count = ahead + count;
    for (size_t o = 0; o < count; o++) {
        lines->shifts[ahead + o] = (int32_t)head->offsets[o];
    }
    for (size_t o = 0; o < ahead; o++) {
        lines->shifts[o] = -(int32_t)head->offsets[ahead - o];
    }
}

static void prepare(const struct attention_head *head, bool back, struct lines *lines)
{
    size_t step = 2 * LANES + round_lanes(head->length);
    size_t size = head->width * step;
    real *next = head->scratch;
    *lines = (struct lines){.step = step, .q = next, .k = next + size, .v = next + 2 * size};
    next += 3 * size;
    to_lines(head->q, head->qk_step, head, head->scale, lines->q, step);
    to_lines(head->k, key_step(head), head, 1, lines->k, step);
    to_lines(head->v, head->v_step, head, 1, lines->v, step);
    if (back) {
        lines->d_out = next;
        lines->out = next + size;
        lines->d_q = next + 2 * size;
        lines->d_k = next + 3 * size;
        lines->d_v = next + 4 * size;
        next += 5 * size;
        to_lines(head->d_out, head->v_step, head, 1, lines->d_out, step);
        if (head->joint) {
            to_lines(head->out, head->v_step, head, 1, lines->out, step);
        }
    } else {
        lines->out = next;
        next += size;
    }
    if (head->valid != NULL) {
        lines->blocked = next;
        next += step;
        memset(lines->blocked, 0, step * sizeof(real));
        for (size_t t = 0; t < head->length; t++) {
            lines->blocked[LANES + t] = head->valid[t] != 0 ? 0 : UNSEEN;
        }
    }
    take_shifts(head, lines, next);
    next += 2 * head->offset_count;
    lines->scores = next;
    lines->score_step = back ? 2 * LANES + tile_of(head->length) : LANES;
    lines->slopes = next + lines->shift_count * lines->score_step;
}

/* How many shifts are smaller than the limit. */
static size_t shifts_below(const struct lines *lines, ptrdiff_t limit)
{
    size_t low = 0;
    size_t high = lines->shift_count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (lines->shifts[middle] < limit) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

/* Shifts that lead from at least one of the queries t .. t + LANES - 1 to a key. */
static struct range shifts_of_queries(const struct attention_head *head, const struct lines *lines,
                                      size_t t)
{
    ptrdiff_t first = (ptrdiff_t)t - (ptrdiff_t)head->length + 1;
    return (struct range){shifts_below(lines, first), shifts_below(lines, (ptrdiff_t)(t + LANES))};
}

/* Shifts that lead to at least one of the keys s .. s + LANES - 1 from the queries of the tile. */
static struct range shifts_of_keys(const struct lines *lines, size_t s, size_t first, size_t count)
{
    ptrdiff_t start = (ptrdiff_t)first - (ptrdiff_t)s;
    return (struct range){shifts_below(lines, start - (ptrdiff_t)LANES + 1),
                          shifts_below(lines, start + (ptrdiff_t)count)};
}

/* out[o][lane] = sum over channels of a_c[t + lane] * b_c[t + lane - shift o], for the `count`
 * shifts from o on: they share the loads of a. */
INLINE void some_products(const struct attention_head *head, const struct lines *lines, size_t o,
                          size_t count, const real *a, const real *b, real *out)
{
    vector sum[OFFSETS_AT_ONCE] = {0};
    const real *y[OFFSETS_AT_ONCE];
    for (size_t r = 0; r < count; r++) {
        y[r] = b - lines->shifts[o + r];
    }
    for (size_t c = 0; c < head->width; c++) {
        vector x = load(a + c * lines->step);
        for (size_t r = 0; r < count; r++) {
            sum[r] += x * load(y[r] + c * lines->step);
        }
    }
    for (size_t r = 0; r < count; r++) {
        store(out + (o + r) * lines->score_step, sum[r]);
    }
}

static void products(const struct attention_head *head, const struct lines *lines,
                     struct range range, size_t t, const real *a, const real *b, real *out)
{
    size_t o = range.from;
    for (; o + OFFSETS_AT_ONCE <= range.to; o += OFFSETS_AT_ONCE) {
        some_products(head, lines, o, OFFSETS_AT_ONCE, a + LANES + t, b + LANES + t, out);
    }
    for (; o < range.to; o++) {
        some_products(head, lines, o, 1, a + LANES + t, b + LANES + t, out);
    }
}

/* The sums of `channels` lines over shifts of weight[o] * b_c: `direction` -1 reads b at the keys
 * of a query; 1 reads both at the queries of a key. */
INLINE void some_weighted(const struct lines *lines, struct range range, size_t channels,
                          ptrdiff_t direction, const real *weight, const real *b, vector *sum)
{
    for (size_t r = 0; r < channels; r++) {
        sum[r] = (vector){0};
    }
    for (size_t o = range.from; o < range.to; o++) {
        ptrdiff_t shift = lines->shifts[o];
        vector w = load(weight + o * lines->score_step + (direction > 0 ? shift : 0));
        const real *y = b + direction * shift;
        for (size_t r = 0; r < channels; r++) {
            sum[r] += w * load(y + r * lines->step);
        }
    }
}

/* out_c[t + lane] = factor * sum over shifts of weight[o][lane] * b_c[t + lane - shift o]. */
static void weighted(const struct attention_head *head, const struct lines *lines,
                     struct range range, size_t t, const real *weight, const real *b, vector factor,
                     real *out)
{
    vector sum[CHANNELS_AT_ONCE];
    b += LANES + t;
    out += LANES + t;
    size_t c = 0;
    for (; c + CHANNELS_AT_ONCE <= head->width; c += CHANNELS_AT_ONCE) {
        some_weighted(lines, range, CHANNELS_AT_ONCE, -1, weight, b + c * lines->step, sum);
        for (size_t r = 0; r < CHANNELS_AT_ONCE; r++) {
            store(out + (c + r) * lines->step, sum[r] * factor);
        }
    }
    for (; c < head->width; c++) {
        some_weighted(lines, range, 1, -1, weight, b + c * lines->step, sum);
        store(out + c * lines->step, sum[0] * factor);
    }
}

/* out_c[s + lane] += sum over shifts of weight[o][s + lane + shift o] * b_c[s + lane + shift o].
 * Weights of queries outside the tile are zeros. */
static void add_of_keys(const struct attention_head *head, const struct lines *lines,
                        struct range range, size_t s, const real *weight, const real *b, real *out)
{
    vector sum[CHANNELS_AT_ONCE];
    b += LANES + s;
    out += LANES + s;
    size_t c = 0;
    for (; c + CHANNELS_AT_ONCE <= head->width; c += CHANNELS_AT_ONCE) {
        some_weighted(lines, range, CHANNELS_AT_ONCE, 1, weight, b + c * lines->step, sum);
        for (size_t r = 0; r < CHANNELS_AT_ONCE; r++) {
            real *to = out + (c + r) * lines->step;
            store(to, load(to) + sum[r]);
        }
    }
    for (; c < head->width; c++) {
        some_weighted(lines, range, 1, 1, weight, b + c * lines->step, sum);
        store(out + c * lines->step, load(out + c * lines->step) + sum[0]);
    }
}

/* Adds biases and makes -infinity of what must not be seen. */
static void mask_scores(const struct attention_head *head, const struct lines *lines,
                        struct range range, size_t t, real *restrict scores)
{
    for (size_t o = range.from; o < range.to; o++) {
        real *restrict line = scores + o * lines->score_step;
        ptrdiff_t first = (ptrdiff_t)t - lines->shifts[o]; /* the key of lane 0 */
        vector s = load(line);
        if (head->offset_bias != NULL) {
            s += head->offset_bias[o];
        }
        if (lines->blocked != NULL) {
            s += load(lines->blocked + (ptrdiff_t)LANES + first);
        }
        store(line, s);
        for (ptrdiff_t lane = 0; first + lane < 0 && lane < (ptrdiff_t)LANES; lane++) {
            line[lane] = UNSEEN;
        }
        for (ptrdiff_t lane = (ptrdiff_t)LANES; lane > 0; lane--) {
            if (first + lane <= (ptrdiff_t)head->length) {
                break;
            }
            line[lane - 1] = UNSEEN;
        }
    }
}

void KERNEL(kernel_attention_sparse)(const struct attention_head *head)
{
    struct lines lines;
    prepare(head, false, &lines);
    for (size_t t = 0; t < head->length; t += LANES) {
        struct range range = shifts_of_queries(head, &lines, t);
        /* (1) S = scale Q K^T at the offsets */
        products(head, &lines, range, t, lines.q, lines.k, lines.scores);
        mask_scores(head, &lines, range, t, lines.scores);
        /* (2) P = e^(S - largest), not yet divided by its sum; a query that sees nothing gets zeros
         */
        vector top = all(UNSEEN);
        for (size_t o = range.from; o < range.to; o++) {
            top = larger(load(lines.scores + o * LANES), top);
        }
        mask nothing = top == UNSEEN;
        top = choose(nothing, (vector){0}, top);
        vector sum = {0};
        for (size_t o = range.from; o < range.to; o++) {
            vector e = vector_exp(load(lines.scores + o * LANES) - top);
            store(lines.scores + o * LANES, e);
            sum += e;
        }
        sum = choose(nothing, all(1), sum);
        for (size_t lane = 0; lane < LANES && t + lane < head->length; lane++) {
            head->log_sum[t + lane] =
                nothing[lane] != 0 ? UNSEEN : top[lane] + REAL(log)(sum[lane]);
        }
        /* (3) O = P V / sum */
        weighted(head, &lines, range, t, lines.scores, lines.v, 1 / sum, lines.out);
    }
    for (size_t t = 0; t < head->length; t++) {
        memset(head->out + t * head->v_step, 0, head->width * sizeof(real));
    }
    add_lines(lines.out, lines.step, 1, head, head->out, head->v_step);
}

/* D of the queries t .. t + LANES - 1 where other keys belong to the softmax too: dO . O. */
static vector joint_mean(const struct attention_head *head, const struct lines *lines, size_t t)
{
    vector mean = {0};
    for (size_t c = 0; c < head->width; c++) {
        size_t at = c * lines->step + LANES + t;
        mean += load(lines->d_out + at) * load(lines->out + at);
    }
    return mean;
}

/* P and dS of the queries t .. t + LANES - 1 in place: scores and dO V^T come in. Queries behind
 * the end have P = 0. Among its own keys D is the mean of dO V^T, so that the dS of a query sum to
 * zero whatever was rounded. */
static void block_back(const struct attention_head *head, const struct lines *lines,
                       struct range range, size_t t, real *restrict scores, real *restrict slopes)
{
    size_t rows = head->length - t < LANES ? head->length - t : LANES;
    mask within = {0};
    for (size_t lane = 0; lane < rows; lane++) {
        within[lane] = -1;
    }
    vector log_sum = load_some(head->log_sum + t, rows);
    log_sum = choose(log_sum == UNSEEN, (vector){0}, log_sum);
    vector sum = {0};
    vector mean = {0};
    for (size_t o = range.from; o < range.to; o++) {
        vector p = vector_exp(load(scores + o * lines->score_step) - log_sum);
        p = choose(within, p, (vector){0});
        store(scores + o * lines->score_step, p);
        sum += p;
        mean += p * load(slopes + o * lines->score_step);
    }
    mean = head->joint ? joint_mean(head, lines, t) : mean / choose(sum == 0, all(1), sum);
    for (size_t o = range.from; o < range.to; o++) {
        vector p = load(scores + o * lines->score_step);
        vector slope = p * (load(slopes + o * lines->score_step) - mean);
        store(slopes + o * lines->score_step, slope);
        if (head->d_bias != NULL) {
            head->d_bias[o] += lanes_sum(slope);
        }
    }
}

/* P and dS of a tile of queries, and their dQ. */
static void tile_of_queries(const struct attention_head *head, const struct lines *lines,
                            size_t first, size_t count)
{
    for (size_t o = 0; o < lines->shift_count; o++) { /* queries outside count for nothing */
        real *ends[] = {lines->scores + o * lines->score_step,
                        lines->slopes + o * lines->score_step};
        for (size_t i = 0; i < 2; i++) {
            memset(ends[i], 0, LANES * sizeof(real));
            memset(ends[i] + LANES + round_lanes(count), 0, LANES * sizeof(real));
        }
    }
    for (size_t t = first; t < first + count; t += LANES) {
        struct range range = shifts_of_queries(head, lines, t);
        real *scores = lines->scores + LANES + (t - first);
        real *slopes = lines->slopes + LANES + (t - first);
        /* (1) S again and dO V^T; (2) P and dS */
        products(head, lines, range, t, lines->q, lines->k, scores);
        mask_scores(head, lines, range, t, scores);
        products(head, lines, range, t, lines->d_out, lines->v, slopes);
        block_back(head, lines, range, t, scores, slopes);
        /* (3) dQ = scale dS K, the scale at the end */
        weighted(head, lines, range, t, slopes, lines->k, all(1), lines->d_q);
    }
}

/* (4) dK += dS^T (scale Q), dV += P^T dO of a tile of queries. */
static void tile_of_keys(const struct attention_head *head, const struct lines *lines, size_t first,
                         size_t count)
{
    for (size_t s = 0; s < head->length; s += LANES) {
        struct range range = shifts_of_keys(lines, s, first, count);
        if (range.from < range.to) {
            const real *slopes = lines->slopes + LANES + s - first;
            const real *scores = lines->scores + LANES + s - first;
            add_of_keys(head, lines, range, s, slopes, lines->q, lines->d_k);
            add_of_keys(head, lines, range, s, scores, lines->d_out, lines->d_v);
        }
    }
}

void KERNEL(kernel_attention_sparse_back)(const struct attention_head *head)
{
    struct lines lines;
    prepare(head, true, &lines);
    memset(lines.d_k, 0, 2 * head->width * lines.step * sizeof(real)); /* d_v is next to it */
    for (size_t first = 0; first < head->length; first += TILE) {
        size_t count = head->length - first < TILE ? head->length - first : TILE;
        tile_of_queries(head, &lines, first, count);
        tile_of_keys(head, &lines, first, count);
    }
    add_lines(lines.d_q, lines.step, head->scale, head, head->d_q, head->qk_step);
    add_lines(lines.d_k, lines.step, 1, head, head->d_k, key_step(head));
    add_lines(lines.d_v, lines.step, 1, head, head->d_v, head->v_step);
}
