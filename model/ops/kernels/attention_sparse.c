/* Offset attention of one head: blocks of neighbouring queries against the keys at shared offsets.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Keys and values are copied to whole rows with a margin of a block of zeros on either side, and
 * the queries go block by block: scores, softmax and all sums of a block before the next, so that
 * nothing of size [offsets, T] exists. The keys of a block at one offset are a run of neighbouring
 * rows; a few offsets at a time are swept over the block, four queries at once (quad.h), so that
 * rows come as few streams and are met again in the first cache where offsets are neighbours. What
 * a query must not see (outside the sequence, or an invalid key) becomes -infinity. Gradients of
 * keys and values are added to their rows as the queries pass. Formulas as in attention.c.
 *
 * Forward and backward are 224 floating-point operations a pair at width 16. At 4,096 steps and 39
 * keys a query on Zen: 13 GFLOP/s in the products (37 % of sgemm's 36 there), 10 with exponentials,
 * masks and copies. Gradients of keys cost most: a row read and written for two vector operations.
 */
#include "model/ops/kernels/level.h"
#include "model/ops/kernels/quad.h"

/* Queries of a block: whole vectors and quads. Their rows stay in the first cache, the keys of all
 * their offsets in the second. */
#define BLOCK ((size_t)32)

/* Shifts that are swept over a block together. */
#define SHIFTS_AT_ONCE ((size_t)16)

struct buffers {
    size_t width;                     /* of rows: h, whole vectors */
    real *k, *v, *d_k, *d_v;          /* [BLOCK + T + BLOCK, width]; here from the first key on */
    real *q, *d_out, *sum;            /* [BLOCK, width]: rows of the block; sum: O or dQ */
    real *scores, *slopes;            /* [shifts, BLOCK] */
    real log_sum[BLOCK], mean[BLOCK]; /* of the queries; the mean is D */
    real *blocked;   /* [BLOCK + T + BLOCK]: 0 or -infinity by key; NULL where all are valid */
    int32_t *shifts; /* ascending: how far behind its query a key is; negative: ahead of it */
    size_t shift_count;
    size_t rows;     /* of the block in hand, with those behind the end that fill its vectors */
    size_t from, to; /* shifts that matter to it */
};

static size_t rows_size(size_t length, size_t width)
{
    return (2 * BLOCK + length) * round_lanes(width);
}

size_t KERNEL(kernel_attention_sparse_scratch)(size_t length, size_t width, size_t offsets)
{
    size_t blocks = 3 * BLOCK * round_lanes(width) + 4 * offsets * BLOCK;
    return 4 * rows_size(length, width) + blocks + 2 * BLOCK + length + 2 * offsets;
}

/* to[T, width] = factor * rows [T, h], zeros beside them. */
static void copy_rows(const real *restrict rows, size_t row_step, size_t count, size_t width,
                      real factor, real *restrict to)
{
    size_t whole_width = round_lanes(width);
    size_t vectors = width / LANES * LANES;
    for (size_t t = 0; t < count; t++) {
        const real *from = rows + t * row_step;
        real *row = to + t * whole_width;
        for (size_t c = 0; c < vectors; c += LANES) {
            store(row + c, factor * load(from + c));
        }
        if (vectors < width) {
            store(row + vectors, factor * load_some(from + vectors, width - vectors));
        }
    }
}

/* The way back: to += factor * rows. */
static void add_rows(const real *restrict rows, size_t count, size_t width, real factor,
                     real *restrict to, size_t to_step)
{
    size_t whole_width = round_lanes(width);
    for (size_t t = 0; t < count; t++) {
        for (size_t c = 0; c < width; c++) {
            to[t * to_step + c] += factor * rows[t * whole_width + c];
        }
    }
}

/* A copy of keys or values with its margins; returns the first row. */
static real *with_margins(const struct attention_head *head, const real *rows, size_t row_step,
                          real *memory)
{
    size_t margin = BLOCK * round_lanes(head->width);
    real *first = memory + margin;
    real *end = first + head->length * round_lanes(head->width);
    memset(memory, 0, margin * sizeof(real));
    copy_rows(rows, row_step, head->length, head->width, 1, first);
    memset(end, 0, margin * sizeof(real));
    return first;
}

/* The offsets, in front of them those ahead where the head looks both ways. */
static void take_shifts(const struct attention_head *head, struct buffers *buffers, real *memory)
{
    size_t count = head->offset_count;
    size_t ahead = head->both_ways ? count - 1 : 0;
    buffers->shifts = (int32_t *)(void *)memory;
    buffers->shift_count = ahead + count;
    for (size_t o = 0; o < count; o++) {
        buffers->shifts[ahead + o] = (int32_t)head->offsets[o];
    }
    for (size_t o = 0; o < ahead; o++) {
        buffers->shifts[o] = -(int32_t)head->offsets[ahead - o];
    }
}

static void prepare(const struct attention_head *head, bool back, struct buffers *buffers)
{
    size_t size = rows_size(head->length, head->width);
    size_t width = round_lanes(head->width);
    real *next = head->scratch;
    buffers->width = width;
    buffers->k = with_margins(head, head->k, key_step(head), next);
    buffers->v = with_margins(head, head->v, head->v_step, next + size);
    next += 2 * size;
    if (back) {
        memset(next, 0, 2 * size * sizeof(real));
        buffers->d_k = next + BLOCK * width;
        buffers->d_v = next + size + BLOCK * width;
        next += 2 * size;
    }
    buffers->q = next;
    buffers->d_out = next + BLOCK * width;
    buffers->sum = next + 2 * BLOCK * width;
    next += 3 * BLOCK * width;
    size_t shifts = head->offset_count + (head->both_ways ? head->offset_count - 1 : 0);
    buffers->scores = next;
    buffers->slopes = next + shifts * BLOCK;
    next += 2 * shifts * BLOCK;
    take_shifts(head, buffers, next);
    next += 2 * head->offset_count;
    buffers->blocked = NULL;
    if (head->valid != NULL) {
        memset(next, 0, (2 * BLOCK + head->length) * sizeof(real));
        buffers->blocked = next + BLOCK;
        for (size_t t = 0; t < head->length; t++) {
            buffers->blocked[t] = head->valid[t] != 0 ? 0 : UNSEEN;
        }
    }
}

/* How many shifts are smaller than the limit. */
static size_t shifts_below(const struct buffers *buffers, ptrdiff_t limit)
{
    size_t low = 0;
    size_t high = buffers->shift_count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (buffers->shifts[middle] < limit) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

static size_t block_rows(const struct attention_head *head, size_t t)
{
    return smaller(head->length - t, BLOCK);
}

/* n rows as whole vectors and whole quads. */
static size_t round_rows(size_t n)
{
    return LANES < QUAD ? (n + QUAD - 1) / QUAD * QUAD : round_lanes(n);
}

/* Turns to the block of queries from t on: its rows (zeros behind the end), its shifts: those that
 * lead from at least one query to a key. */
static void take_block(const struct attention_head *head, struct buffers *buffers, size_t t)
{
    size_t rows = block_rows(head, t);
    size_t width = buffers->width;
    buffers->rows = round_rows(rows);
    memset(buffers->q + rows * width, 0, (buffers->rows - rows) * width * sizeof(real));
    copy_rows(head->q + t * head->qk_step, head->qk_step, rows, head->width, head->scale,
              buffers->q);
    memset(buffers->sum, 0, buffers->rows * width * sizeof(real));
    ptrdiff_t first = (ptrdiff_t)t - (ptrdiff_t)head->length + 1;
    buffers->from = shifts_below(buffers, first);
    buffers->to = shifts_below(buffers, (ptrdiff_t)(t + rows));
}

/* out[o][query] = row of a, in the block, times row of b at that query's key. */
static void products(const struct buffers *buffers, const real *a, const real *b, real *out)
{
    struct quad_shifts at = {.shifts = buffers->shifts, .step = BLOCK};
    at.width = (ptrdiff_t)buffers->width;
    for (at.from = buffers->from; at.from < buffers->to; at.from = at.to) {
        at.to = smaller(at.from + SHIFTS_AT_ONCE, buffers->to);
        for (size_t r = 0; r < buffers->rows; r += QUAD) {
            quad_products(&at, a + r * buffers->width, b + r * buffers->width, out + r);
        }
    }
}

/* Rows of sum += weight[o][query] * rows of b at the keys. */
static void sum_keys(const struct buffers *buffers, const real *weight, const real *b)
{
    struct quad_shifts at = {.shifts = buffers->shifts, .step = BLOCK};
    at.width = (ptrdiff_t)buffers->width;
    for (at.from = buffers->from; at.from < buffers->to; at.from = at.to) {
        at.to = smaller(at.from + SHIFTS_AT_ONCE, buffers->to);
        for (size_t r = 0; r < buffers->rows; r += QUAD) {
            size_t row = r * buffers->width;
            quad_sums(&at, weight + r, b + row, buffers->sum + row);
        }
    }
}

/* Rows of out at the keys += weight[o][query] * rows of a. */
static void spread_queries(const struct buffers *buffers, const real *weight, const real *a,
                           real *out)
{
    struct quad_shifts at = {.shifts = buffers->shifts, .step = BLOCK};
    at.width = (ptrdiff_t)buffers->width;
    for (at.from = buffers->from; at.from < buffers->to; at.from = at.to) {
        at.to = smaller(at.from + SHIFTS_AT_ONCE, buffers->to);
        for (size_t r = 0; r < buffers->rows; r += QUAD) {
            size_t row = r * buffers->width;
            quad_spread(&at, weight + r, a + row, out + row);
        }
    }
}

/* Adds biases and makes -infinity of what must not be seen by the block from t on. */
static void mask_scores(const struct attention_head *head, const struct buffers *buffers, size_t t)
{
    for (size_t o = buffers->from; o < buffers->to; o++) {
        real *restrict line = buffers->scores + o * BLOCK;
        ptrdiff_t first = (ptrdiff_t)t - buffers->shifts[o]; /* the key of the first query */
        for (size_t r = 0; head->offset_bias != NULL && r < buffers->rows; r += LANES) {
            store(line + r, load(line + r) + head->offset_bias[o]);
        }
        for (size_t r = 0; buffers->blocked != NULL && r < buffers->rows; r += LANES) {
            store(line + r, load(line + r) + load(buffers->blocked + first + (ptrdiff_t)r));
        }
        for (size_t r = 0; r < buffers->rows && first + (ptrdiff_t)r < 0; r++) {
            line[r] = UNSEEN;
        }
        ptrdiff_t last = first < (ptrdiff_t)t ? (ptrdiff_t)t : first;
        for (size_t r = buffers->rows; r > 0 && last + (ptrdiff_t)r > (ptrdiff_t)head->length;
             r--) {
            line[r - 1] = UNSEEN;
        }
    }
}

static void scores_of_block(const struct attention_head *head, const struct buffers *buffers,
                            size_t t)
{
    products(buffers, buffers->q, buffers->k + t * buffers->width, buffers->scores);
    mask_scores(head, buffers, t);
}

/* Scores become P = e^(S - largest), not yet divided by its sum; a query that sees nothing gets
 * zeros. Keeps log-sums and 1 / sum. */
static void softmax(struct buffers *buffers, real *inverse)
{
    for (size_t r = 0; r < buffers->rows; r += LANES) {
        real *restrict scores = buffers->scores + r;
        vector top = all(UNSEEN);
        for (size_t o = buffers->from; o < buffers->to; o++) {
            top = larger(load(scores + o * BLOCK), top);
        }
        mask nothing = top == UNSEEN;
        top = choose(nothing, (vector){0}, top);
        vector sum = {0};
        for (size_t o = buffers->from; o < buffers->to; o++) {
            vector e = vector_exp(load(scores + o * BLOCK) - top);
            store(scores + o * BLOCK, e);
            sum += e;
        }
        sum = choose(nothing, all(1), sum);
        store(inverse + r, 1 / sum);
        for (size_t lane = 0; lane < LANES; lane++) {
            buffers->log_sum[r + lane] =
                nothing[lane] != 0 ? UNSEEN : top[lane] + REAL(log)(sum[lane]);
        }
    }
}

void KERNEL(kernel_attention_sparse)(const struct attention_head *head)
{
    struct buffers buffers;
    prepare(head, false, &buffers);
    for (size_t t = 0; t < head->length; t += BLOCK) {
        size_t rows = block_rows(head, t);
        real inverse[BLOCK];
        take_block(head, &buffers, t);
        /* (1) S = scale Q K^T at the offsets; (2) P; (3) O = P V / sum */
        scores_of_block(head, &buffers, t);
        softmax(&buffers, inverse);
        sum_keys(&buffers, buffers.scores, buffers.v + t * buffers.width);
        memcpy(head->log_sum + t, buffers.log_sum, rows * sizeof(real));
        for (size_t r = 0; r < rows; r++) {
            real *restrict out = head->out + (t + r) * head->v_step;
            for (size_t c = 0; c < head->width; c++) {
                out[c] = inverse[r] * buffers.sum[r * buffers.width + c];
            }
        }
    }
}

/* dO of the block, and what its softmax needs: log-sums and, where other keys belong to it too,
 * D = dO . O. */
static void take_block_back(const struct attention_head *head, struct buffers *buffers, size_t t)
{
    size_t rows = block_rows(head, t);
    memset(buffers->d_out + rows * buffers->width, 0,
           (buffers->rows - rows) * buffers->width * sizeof(real));
    copy_rows(head->d_out + t * head->v_step, head->v_step, rows, head->width, 1, buffers->d_out);
    for (size_t r = 0; r < buffers->rows; r++) {
        bool sees = r < rows && head->log_sum[t + r] != UNSEEN;
        buffers->log_sum[r] = sees ? head->log_sum[t + r] : 0;
        buffers->mean[r] = 0;
        for (size_t c = 0; head->joint && r < rows && c < head->width; c++) {
            size_t at = (t + r) * head->v_step + c;
            buffers->mean[r] += head->d_out[at] * head->out[at];
        }
    }
}

/* P and dS in place: scores and dO V^T come in. Among its own keys D is the mean of dO V^T, so that
 * the dS of a query sum to zero whatever was rounded. */
static void softmax_back(const struct attention_head *head, struct buffers *buffers)
{
    for (size_t r = 0; r < buffers->rows; r += LANES) {
        real *restrict scores = buffers->scores + r;
        real *restrict slopes = buffers->slopes + r;
        vector log_sum = load(buffers->log_sum + r);
        vector sum = {0};
        vector mean = {0};
        for (size_t o = buffers->from; o < buffers->to; o++) {
            vector p = vector_exp(load(scores + o * BLOCK) - log_sum);
            store(scores + o * BLOCK, p);
            sum += p;
            mean += p * load(slopes + o * BLOCK);
        }
        mean = head->joint ? load(buffers->mean + r) : mean / choose(sum == 0, all(1), sum);
        for (size_t o = buffers->from; o < buffers->to; o++) {
            vector slope = load(scores + o * BLOCK) * (load(slopes + o * BLOCK) - mean);
            store(slopes + o * BLOCK, slope);
            if (head->d_bias != NULL) {
                head->d_bias[o] += lanes_sum(slope);
            }
        }
    }
}

void KERNEL(kernel_attention_sparse_back)(const struct attention_head *head)
{
    struct buffers buffers;
    prepare(head, true, &buffers);
    for (size_t t = 0; t < head->length; t += BLOCK) {
        size_t row = t * buffers.width;
        take_block(head, &buffers, t);
        take_block_back(head, &buffers, t);
        /* (1) S again and dO V^T; (2) P and dS */
        scores_of_block(head, &buffers, t);
        products(&buffers, buffers.d_out, buffers.v + row, buffers.slopes);
        softmax_back(head, &buffers);
        /* (3) dQ = scale dS K; (4) dK += dS^T (scale Q), dV += P^T dO */
        sum_keys(&buffers, buffers.slopes, buffers.k + row);
        add_rows(buffers.sum, block_rows(head, t), head->width, head->scale,
                 head->d_q + t * head->qk_step, head->qk_step);
        spread_queries(&buffers, buffers.slopes, buffers.q, buffers.d_k + row);
        spread_queries(&buffers, buffers.scores, buffers.d_out, buffers.d_v + row);
    }
    add_rows(buffers.d_k, head->length, head->width, 1, head->d_k, key_step(head));
    add_rows(buffers.d_v, head->length, head->width, 1, head->d_v, head->v_step);
}
