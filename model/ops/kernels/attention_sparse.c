/* Offset attention of one head: LANES neighbouring queries against the keys at shared offsets.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Queries, keys and values are turned into channel-major lines, so that the scores of LANES
 * neighbouring queries at one offset are sums over channels of plain products: one line of queries
 * times the line of keys shifted by the offset. No gather, no sum across lanes; time and memory
 * grow with the number of allowed pairs. A line has LANES zeros before its start; what a query must
 * not see (before the start, or an invalid key) becomes -infinity. Formulas as in attention.c.
 */
#include "model/ops/kernels/level.h"

/* Channels whose sums stay in registers on the way back to keys and values, two sums each. */
#if VECTOR_BYTES == 64
#define KEYS_CHANNELS 8
#else
#define KEYS_CHANNELS 4
#endif

struct lines {
    size_t step;             /* LANES + T' + LANES */
    real *q, *k, *v, *d_out; /* line c starts at c * step + LANES */
    real *d_q, *d_k, *d_v, *out;
    real *blocked;         /* [step]: 0 or -infinity by key; NULL where all are valid */
    real *scores, *slopes; /* forward [offsets, LANES]; back [offsets, step] */
    size_t score_step;
};

size_t KERNEL(kernel_attention_sparse_scratch)(size_t length, size_t width, size_t offsets)
{
    size_t step = 2 * LANES + round_lanes(length);
    return (8 * width + 1 + 2 * offsets) * step;
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

static void prepare(const struct attention_head *head, bool back, struct lines *lines)
{
    size_t step = 2 * LANES + round_lanes(head->length);
    size_t size = head->width * step;
    real *next = head->scratch;
    *lines = (struct lines){.step = step, .q = next, .k = next + size, .v = next + 2 * size};
    next += 3 * size;
    to_lines(head->q, head->qk_step, head, head->scale, lines->q, step);
    to_lines(head->k, head->qk_step, head, 1, lines->k, step);
    to_lines(head->v, head->v_step, head, 1, lines->v, step);
    if (back) {
        lines->d_out = next;
        lines->out = next + size;
        lines->d_q = next + 2 * size;
        lines->d_k = next + 3 * size;
        lines->d_v = next + 4 * size;
        next += 5 * size;
        to_lines(head->d_out, head->v_step, head, 1, lines->d_out, step);
        to_lines(head->out, head->v_step, head, 1, lines->out, step);
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
    lines->scores = next;
    lines->slopes = next + head->offset_count * step;
    lines->score_step = back ? step : LANES;
    for (size_t o = 0; back && o < 2 * head->offset_count; o++) {
        memset(lines->scores + (o + 1) * step - LANES, 0, LANES * sizeof(real));
    }
}

/* How many offsets are smaller than the limit. */
static size_t offsets_below(const struct attention_head *head, size_t limit)
{
    size_t low = 0;
    size_t high = head->offset_count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (head->offsets[middle] < limit) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

/* out[o][lane] = sum over channels of a_c[t + lane] * b_c[t + lane - offset o]; four offsets at a
 * time share the loads of a. */
static void products(const struct attention_head *head, const struct lines *lines, size_t count,
                     size_t t, const real *a, const real *b, real *restrict out)
{
    const size_t step = lines->step;
    const size_t out_step = lines->score_step;
    const uint32_t *offset = head->offsets;
    a += LANES + t;
    b += LANES + t;
    size_t o = 0;
    for (; o + 4 <= count; o += 4) {
        vector sum[4] = {0};
        for (size_t c = 0; c < head->width; c++) {
            vector x = load(a + c * step);
            const real *y = b + c * step;
            sum[0] += x * load(y - offset[o]);
            sum[1] += x * load(y - offset[o + 1]);
            sum[2] += x * load(y - offset[o + 2]);
            sum[3] += x * load(y - offset[o + 3]);
        }
        for (size_t r = 0; r < 4; r++) {
            store(out + (o + r) * out_step, sum[r]);
        }
    }
    for (; o < count; o++) {
        vector sum = {0};
        for (size_t c = 0; c < head->width; c++) {
            sum += load(a + c * step) * load(b + c * step - offset[o]);
        }
        store(out + o * out_step, sum);
    }
}

/* out_c[t + lane] = sum over offsets of weight[o][lane] * b_c[t + lane - offset o]. */
static void weighted(const struct attention_head *head, const struct lines *lines, size_t count,
                     size_t t, const real *weight, const real *b, vector factor, real *restrict out)
{
    const size_t step = lines->step;
    const size_t weight_step = lines->score_step;
    b += LANES + t;
    out += LANES + t;
    size_t c = 0;
    for (; c + 4 <= head->width; c += 4) {
        vector sum[4] = {0};
        for (size_t o = 0; o < count; o++) {
            vector w = load(weight + o * weight_step);
            const real *y = b + c * step - head->offsets[o];
            sum[0] += w * load(y);
            sum[1] += w * load(y + step);
            sum[2] += w * load(y + 2 * step);
            sum[3] += w * load(y + 3 * step);
        }
        for (size_t r = 0; r < 4; r++) {
            store(out + (c + r) * step, sum[r] * factor);
        }
    }
    for (; c < head->width; c++) {
        vector sum = {0};
        for (size_t o = 0; o < count; o++) {
            sum += load(weight + o * weight_step) * load(b + c * step - head->offsets[o]);
        }
        store(out + c * step, sum * factor);
    }
}

/* Adds biases and makes -infinity of what must not be seen. */
static void mask_scores(const struct attention_head *head, const struct lines *lines, size_t count,
                        size_t t, real *restrict scores)
{
    for (size_t o = 0; o < count; o++) {
        vector s = load(scores + o * lines->score_step);
        size_t offset = head->offsets[o];
        if (head->offset_bias != NULL) {
            s += head->offset_bias[o];
        }
        if (lines->blocked != NULL) {
            s += load(lines->blocked + LANES + t - offset);
        }
        store(scores + o * lines->score_step, s);
        for (size_t lane = 0; t + lane < offset && lane < LANES; lane++) {
            scores[o * lines->score_step + lane] = UNSEEN;
        }
    }
}

void KERNEL(kernel_attention_sparse)(const struct attention_head *head)
{
    struct lines lines;
    prepare(head, false, &lines);
    for (size_t t = 0; t < head->length; t += LANES) {
        size_t count = offsets_below(head, t + LANES); /* reach at least one of these queries */
        /* (1) S = scale Q K^T at the offsets */
        products(head, &lines, count, t, lines.q, lines.k, lines.scores);
        mask_scores(head, &lines, count, t, lines.scores);
        /* (2) P = e^(S - largest), not yet divided by its sum; a query that sees nothing gets zeros
         */
        vector top = all(UNSEEN);
        for (size_t o = 0; o < count; o++) {
            top = larger(load(lines.scores + o * LANES), top);
        }
        mask nothing = top == UNSEEN;
        top = choose(nothing, (vector){0}, top);
        vector sum = {0};
        for (size_t o = 0; o < count; o++) {
            vector e = vector_exp(load(lines.scores + o * LANES) - top);
            store(lines.scores + o * LANES, e);
            sum += e;
        }
        sum = choose(nothing, all(1), sum);
        for (size_t lane = 0; lane < LANES && t + lane < head->length; lane++) {
            head->log_sum[t + lane] = top[lane] + REAL(log)(sum[lane]);
        }
        /* (3) O = P V / sum */
        weighted(head, &lines, count, t, lines.scores, lines.v, 1 / sum, lines.out);
    }
    for (size_t t = 0; t < head->length; t++) {
        memset(head->out + t * head->v_step, 0, head->width * sizeof(real));
    }
    add_lines(lines.out, lines.step, 1, head, head->out, head->v_step);
}

/* P and dS of the queries t .. t + LANES - 1 in place: scores and dO V^T come in. Queries behind
 * the end have P = 0. */
static void block_back(const struct attention_head *head, const struct lines *lines, size_t count,
                       size_t t, real *restrict scores, real *restrict slopes)
{
    size_t rows = head->length - t < LANES ? head->length - t : LANES;
    mask within = {0};
    for (size_t lane = 0; lane < rows; lane++) {
        within[lane] = -1;
    }
    vector log_sum = load_some(head->log_sum + t, rows);
    vector d = {0};
    for (size_t c = 0; c < head->width; c++) {
        size_t at = c * lines->step + LANES + t;
        d += load(lines->d_out + at) * load(lines->out + at);
    }
    for (size_t o = 0; o < count; o++) {
        vector p = vector_exp(load(scores + o * lines->score_step) - log_sum);
        p = choose(within, p, (vector){0});
        vector slope = p * (load(slopes + o * lines->score_step) - d);
        store(scores + o * lines->score_step, p);
        store(slopes + o * lines->score_step, slope);
        if (head->d_bias != NULL) {
            head->d_bias[o] += lanes_sum(slope);
        }
    }
}

/* Keys s .. s + LANES - 1: d_k_c = sum over offsets of dS q_c, d_v_c = sum of P dO_c, both of the
 * query one offset later. Queries behind the end have lines of zeros. */
INLINE void keys_back(const struct attention_head *head, const struct lines *lines, size_t s,
                      size_t c, size_t channels)
{
    size_t count = offsets_below(head, head->length - s);
    size_t step = lines->step;
    vector d_k[KEYS_CHANNELS] = {0};
    vector d_v[KEYS_CHANNELS] = {0};
    for (size_t o = 0; o < count; o++) {
        size_t at = LANES + s + head->offsets[o];
        vector p = load(lines->scores + o * step + at);
        vector slope = load(lines->slopes + o * step + at);
        for (size_t r = 0; r < channels; r++) {
            d_k[r] += slope * load(lines->q + (c + r) * step + at);
            d_v[r] += p * load(lines->d_out + (c + r) * step + at);
        }
    }
    for (size_t r = 0; r < channels; r++) {
        store(lines->d_k + (c + r) * step + LANES + s, d_k[r]);
        store(lines->d_v + (c + r) * step + LANES + s, d_v[r]);
    }
}

void KERNEL(kernel_attention_sparse_back)(const struct attention_head *head)
{
    struct lines lines;
    prepare(head, true, &lines);
    for (size_t t = 0; t < head->length; t += LANES) {
        size_t count = offsets_below(head, t + LANES);
        real *scores = lines.scores + LANES + t;
        real *slopes = lines.slopes + LANES + t;
        /* (1) S again and dO V^T; (2) P and dS */
        products(head, &lines, count, t, lines.q, lines.k, scores);
        mask_scores(head, &lines, count, t, scores);
        products(head, &lines, count, t, lines.d_out, lines.v, slopes);
        block_back(head, &lines, count, t, scores, slopes);
        /* (3) dQ = scale dS K, the scale at the end */
        weighted(head, &lines, count, t, slopes, lines.k, all(1), lines.d_q);
    }
    /* (4) dK = dS^T (scale Q), dV = P^T dO */
    for (size_t s = 0; s < head->length; s += LANES) {
        size_t c = 0;
        for (; c + KEYS_CHANNELS <= head->width; c += KEYS_CHANNELS) {
            keys_back(head, &lines, s, c, KEYS_CHANNELS);
        }
        for (; c < head->width; c++) {
            keys_back(head, &lines, s, c, 1);
        }
    }
    add_lines(lines.d_q, lines.step, head->scale, head, head->d_q, head->qk_step);
    add_lines(lines.d_k, lines.step, 1, head, head->d_k, head->qk_step);
    add_lines(lines.d_v, lines.step, 1, head, head->d_v, head->v_step);
}
