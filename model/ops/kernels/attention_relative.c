/* Relative attention of one head: tiles of keys against groups of queries, in blocks of six.
 * SPDX-License-Identifier: Apache-2.0
 *
 *   s_ij = scale ((q_i + u) . k_j + (q_i + w) . r_D),  D = M + i - j
 *
 * Keys, values and distances come packed: panels of PANEL neighbours, channel-major, so that a
 * score needs no sum across lanes and a panel is read in one go. Distances are packed from the
 * largest down ("lines"): line n is distance `farthest` - n. So key j meets query i at line
 * (farthest - M - i) + j, and a row of position scores is added to a row of content scores with one
 * shift a query; nothing is moved or padded.
 *
 * A tile's scores stay in the first cache. The largest score, the sum and the output of a query are
 * carried from tile to tile and scaled anew where a larger score turns up.
 *
 * The way back, with P = softmax(s), D_i = dO_i . O_i, dS = P (dO V^T - D):
 *   dV = P^T dO,  dK = scale dS^T (Q + u),  dR_n = scale sum over pairs at line n of dS (q + w),
 *   dQ = scale (dS K + dS R),  du = sum of scale dS K,  dw = sum of scale dS R.
 */
#include "model/ops/kernels/level.h"

#define BLOCK 6
#define GROUP ((size_t)48) /* queries that share a tile: 8 blocks */
#define TILE  ((size_t)512)
#define PANEL (2 * LANES)
#define FRONT (PANEL + BLOCK + 2) /* lines before the first one: a masked key may point there */
#define ROOM  (FRONT + TILE + 2 * PANEL + BLOCK)

/* Scratch, carved from head->scratch. */
struct room {
    size_t width;                     /* h' */
    real *content, *position, *d_out; /* [GROUP, h']: scale (q + u), scale (q + w), dO */
    real *sums, *d_position;          /* [GROUP, h']: output or dS K; dS R */
    real *scores, *slopes;            /* [BLOCK, TILE] */
    real *lines;                      /* [BLOCK, ROOM] */
};

/* The queries [first, first + count) against the keys [from, to), a tile or less of whole panels.
 */
struct part {
    size_t group; /* the group's first query */
    size_t first, count;
    size_t from, to;
    ptrdiff_t base;               /* key j meets query first + r at line base + j - r */
    size_t line_from, line_count; /* the lines that this part meets, from a panel's start */
};

size_t KERNEL(kernel_relative_lanes)(void)
{
    return LANES;
}

size_t KERNEL(kernel_relative_scratch)(size_t width)
{
    return 5 * GROUP * round_lanes(width) + 2 * BLOCK * TILE + BLOCK * ROOM;
}

static void prepare(const struct relative_head *head, struct room *room)
{
    size_t width = round_lanes(head->width);
    real *next = head->scratch;
    *room = (struct room){
        .width = width,
        .content = next,
        .position = next + GROUP * width,
        .d_out = next + 2 * GROUP * width,
        .sums = next + 3 * GROUP * width,
        .d_position = next + 4 * GROUP * width,
    };
    next += 5 * GROUP * width;
    room->scores = next;
    room->slopes = next + BLOCK * TILE;
    room->lines = next + 2 * BLOCK * TILE;
}

void KERNEL(kernel_relative_pack)(const real *rows, size_t step, size_t count, size_t width,
                                  real *packed)
{
    for (size_t first = 0; first < count; first += PANEL) {
        real *restrict panel = packed + first * width;
        size_t taken = count - first < PANEL ? count - first : PANEL;
        size_t blocked = taken == PANEL ? width / LANES * LANES : 0;
        for (size_t half = 0; half < PANEL; half += LANES) {
            for (size_t c = 0; c < blocked; c += LANES) {
                vector block[VECTOR_LANES];
                for (size_t i = 0; i < LANES; i++) {
                    block[i] = load(rows + (first + half + i) * step + c);
                }
                transpose_block(block);
                for (size_t i = 0; i < LANES; i++) {
                    store(panel + (c + i) * PANEL + half, block[i]);
                }
            }
        }
        for (size_t c = blocked; c < width; c++) {
            for (size_t i = 0; i < PANEL; i++) {
                panel[c * PANEL + i] = i < taken ? rows[(first + i) * step + c] : 0;
            }
        }
    }
}

/* ---------------------------------------------------------------- products */

/* out[rows, panels * PANEL] = a[rows, h] times packed columns. */
INLINE void times_panels(size_t rows, const real *a, size_t a_step, const real *packed,
                         size_t width, size_t panels, real *out, size_t out_step)
{
    for (size_t b = 0; b < panels; b++) {
        vector low[BLOCK] = {0};
        vector high[BLOCK] = {0};
        const real *panel = packed + b * PANEL * width;
        for (size_t c = 0; c < width; c++) {
            vector x = load(panel + c * PANEL);
            vector y = load(panel + c * PANEL + LANES);
            for (size_t r = 0; r < rows; r++) {
                low[r] += a[r * a_step + c] * x;
                high[r] += a[r * a_step + c] * y;
            }
        }
        for (size_t r = 0; r < rows; r++) {
            store(out + r * out_step + b * PANEL, low[r]);
            store(out + r * out_step + b * PANEL + LANES, high[r]);
        }
    }
}

/* Columns [c, c + vectors * LANES) of out[rows, h'] = factor out + weights[rows, keys] from[keys,
 * h']. */
INLINE void times_columns(size_t rows, size_t vectors, const real *weights, size_t weight_step,
                          const real *from, size_t keys, size_t width, const real *factor,
                          real *out)
{
    vector sum[BLOCK][2];
    for (size_t r = 0; r < rows; r++) {
        for (size_t n = 0; n < vectors; n++) {
            sum[r][n] = factor[r] * load(out + r * width + n * LANES);
        }
    }
    for (size_t j = 0; j < keys; j++) {
        vector x[2];
        for (size_t n = 0; n < vectors; n++) {
            x[n] = load(from + j * width + n * LANES);
        }
        for (size_t r = 0; r < rows; r++) {
            for (size_t n = 0; n < vectors; n++) {
                sum[r][n] += weights[r * weight_step + j] * x[n];
            }
        }
    }
    for (size_t r = 0; r < rows; r++) {
        for (size_t n = 0; n < vectors; n++) {
            store(out + r * width + n * LANES, sum[r][n]);
        }
    }
}

INLINE void times_rows(size_t rows, const real *weights, size_t weight_step, const real *from,
                       size_t keys, size_t width, const real *factor, real *out)
{
    size_t c = 0;
    for (; c + 2 * LANES <= width; c += 2 * LANES) {
        times_columns(rows, 2, weights, weight_step, from + c, keys, width, factor, out + c);
    }
    if (c < width) {
        times_columns(rows, 1, weights, weight_step, from + c, keys, width, factor, out + c);
    }
}

/* to[keys, h'] += weights[BLOCK, keys]^T a[BLOCK, h']. */
static void add_transposed(const real *weights, size_t weight_step, const real *a, size_t keys,
                           size_t width, real *to)
{
    for (size_t c = 0; c < width; c += LANES) {
        vector line[BLOCK];
        for (size_t r = 0; r < BLOCK; r++) {
            line[r] = load(a + r * width + c);
        }
        for (size_t j = 0; j < keys; j++) {
            vector even = load(to + j * width + c);
            vector odd = {0};
            for (size_t r = 0; r < BLOCK; r += 2) {
                even += weights[r * weight_step + j] * line[r];
                odd += weights[(r + 1) * weight_step + j] * line[r + 1];
            }
            store(to + j * width + c, even + odd);
        }
    }
}

/* ---------------------------------------------------------------- who sees whom */

static size_t memory_of(const struct relative_head *head)
{
    return head->keys - head->queries;
}

/* The keys [*from, *to) that query i sees. */
static void seen_by(const struct relative_head *head, size_t i, size_t *from, size_t *to)
{
    size_t at = memory_of(head) + i;
    size_t reach = head->window > 0 ? head->window - 1 : head->keys;
    *from = at > reach ? at - reach : 0;
    *from = *from > head->first_key ? *from : head->first_key;
    *to = head->causal ? at + 1 : at + reach + 1;
    *to = *to < head->keys ? *to : head->keys;
}

/* Cuts the tile [from, to) to what the block sees; false where that is nothing. */
static bool cut_part(const struct relative_head *head, size_t tile_from, size_t tile_to,
                     struct part *part)
{
    size_t from = 0;
    size_t to = 0;
    size_t unused = 0;
    seen_by(head, part->first, &from, &unused);
    seen_by(head, part->first + part->count - 1, &unused, &to);
    from = from / PANEL * PANEL;
    to = (to + PANEL - 1) / PANEL * PANEL;
    part->from = from > tile_from ? from : tile_from;
    part->to = to < tile_to ? to : tile_to;
    if (part->from >= part->to) {
        return false;
    }
    part->base = (ptrdiff_t)head->farthest - (ptrdiff_t)memory_of(head) - (ptrdiff_t)part->first;
    ptrdiff_t low = part->base + (ptrdiff_t)part->from - (BLOCK - 1);
    ptrdiff_t high = part->base + (ptrdiff_t)part->to;
    part->line_from = low > 0 ? (size_t)low / PANEL * PANEL : 0;
    size_t end = high > 0 ? (size_t)high : 0;
    end = end < head->line_count ? end : head->line_count;
    part->line_count = end > part->line_from ? end - part->line_from : 0;
    return true;
}

/* Where in a row of room->lines the part's key `from` stands for its query r. */
static real *line_of(const struct room *room, const struct part *part, size_t r)
{
    ptrdiff_t n = part->base + (ptrdiff_t)part->from - (ptrdiff_t)r - (ptrdiff_t)part->line_from;
    return room->lines + r * ROOM + ((ptrdiff_t)FRONT + n);
}

/* Makes -infinity of what query r of the part must not see; `line` is line_of it. */
static void mask_line(const struct relative_head *head, const struct part *part, size_t r,
                      real *restrict line)
{
    size_t from = 0;
    size_t to = 0;
    seen_by(head, part->first + r, &from, &to);
    for (size_t j = part->from; j < from && j < part->to; j++) {
        line[j - part->from] = UNSEEN;
    }
    for (size_t j = to > part->from ? to : part->from; j < part->to; j++) {
        line[j - part->from] = UNSEEN;
    }
    if (head->valid != NULL) {
        size_t end = to < part->to ? to : part->to;
        for (size_t j = part->from; j < end; j++) {
            line[j - part->from] = head->valid[j] != 0 ? line[j - part->from] : UNSEEN;
        }
    }
}

/* room->scores of the part, and each row's largest. */
INLINE void score(const struct relative_head *head, const struct room *room,
                  const struct part *part, size_t rows, real *largest)
{
    size_t at = (part->first - part->group) * room->width;
    size_t keys = part->to - part->from;
    times_panels(rows, room->content + at, room->width,
                 head->keys_packed + part->from * head->width, head->width, keys / PANEL,
                 room->scores, TILE);
    times_panels(rows, room->position + at, room->width,
                 head->lines_packed + part->line_from * head->width, head->width,
                 (part->line_count + PANEL - 1) / PANEL, room->lines + FRONT, ROOM);
    for (size_t r = 0; r < part->count; r++) {
        real *s = room->scores + r * TILE;
        real *line = line_of(room, part, r);
        mask_line(head, part, r, line);
        vector low = all(UNSEEN);
        vector high = low;
        for (size_t j = 0; j < keys; j += PANEL) {
            vector x = load(s + j) + load(line + j);
            vector y = load(s + j + LANES) + load(line + j + LANES);
            store(s + j, x);
            store(s + j + LANES, y);
            low = larger(x, low);
            high = larger(y, high);
        }
        largest[r] = lanes_largest(larger(low, high));
    }
}

/* to[GROUP, h'] = factor (x + bias) for the group's queries, zeros elsewhere; bias may be NULL. */
static void take_group(const struct relative_head *head, const real *x, size_t step,
                       const real *bias, real factor, size_t count, real *restrict to)
{
    size_t width = round_lanes(head->width);
    size_t rows = (count + BLOCK - 1) / BLOCK * BLOCK;
    memset(to, 0, rows * width * sizeof(real));
    for (size_t i = 0; i < count; i++) {
        for (size_t c = 0; c < head->width; c++) {
            to[i * width + c] = factor * (x[i * step + c] + (bias != NULL ? bias[c] : 0));
        }
    }
}

static size_t take_queries(const struct relative_head *head, const struct room *room, size_t first)
{
    size_t count = head->queries - first < GROUP ? head->queries - first : GROUP;
    const real *q = head->q + first * head->q_step;
    take_group(head, q, head->q_step, head->content_bias, head->scale, count, room->content);
    take_group(head, q, head->q_step, head->position_bias, head->scale, count, room->position);
    memset(room->sums, 0, GROUP * room->width * sizeof(real));
    return count;
}

/* ---------------------------------------------------------------- forward */

/* One part: scores, exponentials, and the sums of the group carried on. */
INLINE void part_forward(const struct relative_head *head, const struct room *room,
                         const struct part *part, size_t rows, real *top, real *total)
{
    real largest[BLOCK];
    real factor[BLOCK] = {0};
    size_t keys = part->to - part->from;
    score(head, room, part, rows, largest);
    for (size_t r = 0; r < part->count; r++) {
        size_t i = part->first - part->group + r;
        real *s = room->scores + r * TILE;
        real before = top[i];
        top[i] = largest[r] > before ? largest[r] : before;
        factor[r] = 1;
        if (top[i] == UNSEEN) {
            memset(s, 0, keys * sizeof(real));
            continue;
        }
        if (top[i] > before) {
            factor[r] = REAL(exp)(before - top[i]);
        }
        vector low = {0};
        vector high = {0};
        for (size_t j = 0; j < keys; j += PANEL) {
            vector x = vector_exp(load(s + j) - top[i]);
            vector y = vector_exp(load(s + j + LANES) - top[i]);
            store(s + j, x);
            store(s + j + LANES, y);
            low += x;
            high += y;
        }
        total[i] = total[i] * factor[r] + lanes_sum(low + high);
    }
    size_t rest = head->keys - part->from;
    times_rows(rows, room->scores, TILE, head->values + part->from * room->width,
               keys < rest ? keys : rest, room->width, factor,
               room->sums + (part->first - part->group) * room->width);
}

/* What the group's queries see at most, from a panel's start. */
static void group_reach(const struct relative_head *head, size_t first, size_t count, size_t *from,
                        size_t *to)
{
    size_t unused = 0;
    seen_by(head, first, from, &unused);
    seen_by(head, first + count - 1, &unused, to);
    *from = *from / PANEL * PANEL;
    *to = (*to + PANEL - 1) / PANEL * PANEL;
}

void KERNEL(kernel_relative)(const struct relative_head *head)
{
    struct room room;
    prepare(head, &room);
    memset(room.scores, 0, BLOCK * TILE * sizeof(real));
    for (size_t group = 0; group < head->queries; group += GROUP) {
        size_t count = take_queries(head, &room, group);
        size_t from = 0;
        size_t to = 0;
        group_reach(head, group, count, &from, &to);
        real top[GROUP];
        real total[GROUP] = {0};
        for (size_t i = 0; i < GROUP; i++) {
            top[i] = UNSEEN;
        }
        for (size_t tile = from; tile < to; tile += TILE) {
            for (size_t i = 0; i < count; i += BLOCK) {
                struct part part = {.group = group, .first = group + i};
                part.count = count - i < BLOCK ? count - i : BLOCK;
                if (!cut_part(head, tile, tile + TILE < to ? tile + TILE : to, &part)) {
                    continue;
                }
                if (part.count == 1) {
                    part_forward(head, &room, &part, 1, top, total);
                } else if (part.count <= 4) {
                    part_forward(head, &room, &part, 4, top, total);
                } else {
                    part_forward(head, &room, &part, BLOCK, top, total);
                }
            }
        }
        for (size_t i = 0; i < count; i++) {
            bool blind = top[i] == UNSEEN;
            real inverse = blind ? 0 : 1 / total[i];
            real *restrict out = head->out + (group + i) * head->out_step;
            for (size_t c = 0; c < head->width; c++) {
                out[c] = room.sums[i * room.width + c] * inverse;
            }
            if (head->log_sum != NULL) {
                head->log_sum[group + i] = blind ? 0 : top[i] + REAL(log)(total[i]);
            }
        }
    }
}

/* ---------------------------------------------------------------- back */

/* P and dS of the part in place: scores and dO V^T come in. */
static void slopes_of(const struct relative_head *head, const struct room *room,
                      const struct part *part, const real *d)
{
    size_t keys = part->to - part->from;
    for (size_t r = 0; r < BLOCK; r++) {
        real *p = room->scores + r * TILE;
        real *slope = room->slopes + r * TILE;
        if (r >= part->count) {
            memset(p, 0, keys * sizeof(real));
            memset(slope, 0, keys * sizeof(real));
            continue;
        }
        real log_sum = head->log_sum[part->first + r];
        real mean = d[part->first - part->group + r];
        for (size_t j = 0; j < keys; j += LANES) {
            vector x = vector_exp(load(p + j) - log_sum);
            store(p + j, x);
            store(slope + j, x * (load(slope + j) - mean));
        }
    }
}

/* dS by line: each row of slopes moved to where its distances are. */
static void slopes_by_line(const struct relative_head *head, const struct room *room,
                           const struct part *part)
{
    memset(room->lines, 0, BLOCK * ROOM * sizeof(real));
    for (size_t r = 0; r < part->count; r++) {
        size_t from = 0;
        size_t to = 0;
        seen_by(head, part->first + r, &from, &to);
        from = from > part->from ? from : part->from;
        to = to < part->to ? to : part->to;
        if (from < to) {
            memcpy(line_of(room, part, r) + (from - part->from),
                   room->slopes + r * TILE + (from - part->from), (to - from) * sizeof(real));
        }
    }
}

static void part_back(const struct relative_head *head, const struct room *room,
                      const struct part *part, const real *d)
{
    static const real one[BLOCK] = {1, 1, 1, 1, 1, 1};
    real largest[BLOCK];
    size_t width = room->width;
    size_t at = (part->first - part->group) * width;
    size_t keys = part->to - part->from;
    size_t rest = head->keys - part->from;
    /* (1) S again and dO V^T; (2) P and dS */
    score(head, room, part, BLOCK, largest);
    times_panels(BLOCK, room->d_out + at, width, head->values_packed + part->from * head->width,
                 head->width, keys / PANEL, room->slopes, TILE);
    slopes_of(head, room, part, d);
    keys = keys < rest ? keys : rest;
    /* (3) dV += P^T dO; dK += dS^T scale (Q + u); dS K */
    add_transposed(room->scores, TILE, room->d_out + at, keys, width,
                   head->d_values + part->from * width);
    add_transposed(room->slopes, TILE, room->content + at, keys, width,
                   head->d_keys + part->from * width);
    times_rows(BLOCK, room->slopes, TILE, head->key_rows + part->from * width, keys, width, one,
               room->sums + at);
    /* (4) by line: dR += dS^T scale (Q + w); dS R */
    slopes_by_line(head, room, part);
    add_transposed(room->lines + FRONT, ROOM, room->position + at, part->line_count, width,
                   head->d_lines + part->line_from * width);
    times_rows(BLOCK, room->lines + FRONT, ROOM, head->line_rows + part->line_from * width,
               part->line_count, width, one, room->d_position + at);
}

/* dQ, du and dw of the group. */
static void give_queries(const struct relative_head *head, const struct room *room, size_t group,
                         size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const real *content = room->sums + i * room->width;
        const real *position = room->d_position + i * room->width;
        real *restrict d_q = head->d_q + (group + i) * head->q_step;
        for (size_t c = 0; c < head->width; c++) {
            d_q[c] += head->scale * (content[c] + position[c]);
            head->d_content_bias[c] += head->scale * content[c];
            head->d_position_bias[c] += head->scale * position[c];
        }
    }
}

void KERNEL(kernel_relative_back)(const struct relative_head *head)
{
    struct room room;
    prepare(head, &room);
    for (size_t group = 0; group < head->queries; group += GROUP) {
        size_t count = take_queries(head, &room, group);
        const real *d_out = head->d_out + group * head->out_step;
        take_group(head, d_out, head->out_step, NULL, 1, count, room.d_out);
        memset(room.d_position, 0, GROUP * room.width * sizeof(real));
        real d[GROUP] = {0};
        for (size_t i = 0; i < count; i++) {
            for (size_t c = 0; c < head->width; c++) {
                size_t place = i * head->out_step + c;
                d[i] += d_out[place] * head->out[group * head->out_step + place];
            }
        }
        size_t from = 0;
        size_t to = 0;
        group_reach(head, group, count, &from, &to);
        for (size_t tile = from; tile < to; tile += TILE) {
            for (size_t i = 0; i < count; i += BLOCK) {
                struct part part = {.group = group, .first = group + i};
                part.count = count - i < BLOCK ? count - i : BLOCK;
                if (cut_part(head, tile, tile + TILE < to ? tile + TILE : to, &part)) {
                    part_back(head, &room, &part, d);
                }
            }
        }
        give_queries(head, &room, group, count);
    }
}
