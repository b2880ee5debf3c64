/* Compression over time and block attention in plain loops, both ways.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "tests/reference/trial.h"

#include "base/check.h"
#include "base/memory.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

/* ---------------------------------------------------------------- project_time */

/* One value of the output and what it is made of: sum of weight[w + j] source[from + j step]. */
struct mix {
    bool upper;
    size_t to, w, from, step, rows;
};

/* Output value of level, node n, row i, channel c of series b; the order of levels is that of y. */
static struct mix mix_of(const struct time_summaries *shape, const struct tensor *x,
                         const struct tensor *w, const size_t place[5])
{
    size_t level = place[0], b = place[1], n = place[2], i = place[3], c = place[4];
    size_t k = w->shape[w->axes - 2];
    size_t heads = w->axes == 3 ? w->shape[0] : 1;
    size_t head = c / (shape->width / heads);
    size_t start[TIME_LEVELS_MAX + 1] = {0};
    for (size_t l = 0; l < TIME_LEVELS_MAX; l++) {
        start[l + 1] = start[l] + shape->counts[l];
    }
    size_t series = b * start[TIME_LEVELS_MAX] * k * shape->width;
    struct mix mix = {
        .upper = level > 0,
        .to = series + ((start[level] + n) * k + i) * shape->width + c,
    };
    if (level == 0) {
        size_t columns = tensor_width(w);
        mix.rows = shape->block;
        mix.step = tensor_width(x);
        mix.w = (head * k + i) * columns + shape->column;
        mix.from = (b * x->shape[1] + n * shape->block) * mix.step + shape->channel + c;
    } else {
        mix.rows = shape->group * k;
        mix.step = shape->width;
        mix.w = (head * k + i) * mix.rows;
        mix.from = series + (start[level - 1] + n * shape->group) * k * shape->width + c;
    }
    return mix;
}

/* All of them in order; the n-th, or false behind the last. */
static bool nth_mix(const struct time_summaries *shape, const struct tensor *x,
                    const struct tensor *w, size_t n, struct mix *mix)
{
    size_t k = w->shape[w->axes - 2];
    for (size_t level = 0; level < TIME_LEVELS_MAX; level++) {
        size_t size = x->shape[0] * shape->counts[level] * k * shape->width;
        if (n < size) {
            size_t row = n / shape->width;
            size_t node = row / k;
            size_t place[5] = {level, node / shape->counts[level], node % shape->counts[level],
                               row % k, n % shape->width};
            *mix = mix_of(shape, x, w, place);
            return true;
        }
        n -= size;
    }
    return false;
}

static struct time_summaries draw_shape(struct trial *t, bool levels)
{
    struct time_summaries shape = {
        .counts = {trial_some(t, 9)},
        .block = trial_some(t, 6),
        .group = 1 + trial_some(t, 2),
        .column = trial_some(t, 3) - 1,
        .channel = trial_some(t, 3) - 1,
        .width = 2 * trial_some(t, 5),
    };
    for (size_t level = 1; levels && level < 3; level++) {
        shape.counts[level] = shape.counts[level - 1] / shape.group;
    }
    return shape;
}

static void check_project_time(struct trial *t)
{
    struct time_summaries shape = draw_shape(t, trial_some(t, 2) == 1);
    size_t batch = trial_some(t, 3), k = trial_some(t, 4), heads = trial_some(t, 2);
    size_t length = shape.counts[0] * shape.block + trial_some(t, 3) - 1;
    struct tensor *x = trial_draw(t, batch, length, shape.channel + shape.width + 1);
    struct tensor *w = trial_draw(t, heads, k, shape.column + shape.block + 1);
    struct tensor *up = trial_draw(t, heads, k, shape.group * k);
    struct tensor *y = op_project_time(&t->tape, x, w, up, &shape);
    struct tensor *cotangent = trial_draw(t, batch, y->shape[1], shape.width);
    tape_backward(&t->tape, op_inner(&t->tape, y, cotangent));

    double *kept = t->expected;
    double *d_y = mem_zeroed(tensor_size(y), sizeof(double));
    double *d_x = mem_zeroed(tensor_size(x), sizeof(double));
    double *d_w = mem_zeroed(tensor_size(w), sizeof(double));
    double *d_up = mem_zeroed(tensor_size(up), sizeof(double));
    struct mix mix;
    size_t count = 0;
    for (; nth_mix(&shape, x, w, count, &mix); count++) {
        kept[mix.to] = 0;
        d_y[mix.to] = (double)cotangent->data[mix.to];
        for (size_t j = 0; j < mix.rows; j++) {
            size_t from = mix.from + j * mix.step;
            kept[mix.to] += (double)(mix.upper ? up : w)->data[mix.w + j] *
                            (mix.upper ? kept[from] : (double)x->data[from]);
        }
    }
    assert_int_equal(count, tensor_size(y));
    trial_compare(t, y);
    while (count-- > 0) {
        assert_true(nth_mix(&shape, x, w, count, &mix));
        for (size_t j = 0; j < mix.rows; j++) {
            size_t from = mix.from + j * mix.step;
            double source = mix.upper ? kept[from] : (double)x->data[from];
            (mix.upper ? d_up : d_w)[mix.w + j] += d_y[mix.to] * source;
            (mix.upper ? d_y : d_x)[from] +=
                d_y[mix.to] * (double)(mix.upper ? up : w)->data[mix.w + j];
        }
    }
    t->expected = d_x;
    trial_compare_values(t, tape_gradient(&t->tape, x), tensor_size(x), "d x");
    t->expected = d_w;
    trial_compare_values(t, tape_gradient(&t->tape, w), tensor_size(w), "d w");
    t->expected = d_up;
    trial_compare_values(t, tape_gradient(&t->tape, up), tensor_size(up), "d up");
    t->expected = kept;
    mem_free(d_y);
    mem_free(d_x);
    mem_free(d_w);
    mem_free(d_up);
}

/* ---------------------------------------------------------------- attention_block */

#define KEYS_MAX 512

/* One key that a query sees: where it lies (for head 0), and its bias slot (SIZE_MAX: none). */
struct seen {
    bool summary;
    size_t row, slot;
};

/* The rule of ops.h, told as "a node is seen where its block range is neither exact nor seen as a
 * finer node": from the newest on. Returns the number of keys. */
static size_t keys_of(const struct block_attention *attention, const struct time_summaries *levels,
                      size_t k, size_t query, struct seen *keys)
{
    size_t count = 0;
    size_t block = query / attention->block;
    size_t exact = attention->previous && block > 0 ? block - 1 : block;
    size_t start = 0;
    size_t left = exact; /* nodes of this level that are complete and not seen more finely */
    for (size_t level = 0; left > 0; level++) {
        size_t last = left; /* nodes go down to the first that a coarser one covers */
        size_t coarser = 0;
        while (attention->group > 0 && (coarser + 2) * attention->group <= left) {
            coarser++;
        }
        for (; last > coarser * attention->group; last--) {
            for (size_t i = 0; i < k; i++) {
                keys[count++] = (struct seen){true, (start + last - 1) * k + i,
                                              2 * attention->group * level + left - last};
            }
        }
        start += levels->counts[level];
        left = coarser;
    }
    for (size_t s = exact * attention->block; s <= query; s++) {
        keys[count++] = (struct seen){false, s, SIZE_MAX};
    }
    assert_true(count <= KEYS_MAX);
    return count;
}

struct plain_block {
    struct block_inputs in;
    struct block_attention attention;
    struct time_summaries levels;
    size_t k;
    const struct tensor *cotangent;
    double *y, *d[5]; /* gradients in the order of block_inputs */
};

/* Offsets of a key and its value for one head of one series, and of the tensors they are in. */
static void places(const struct plain_block *p, const struct seen *seen, const size_t at[2],
                   size_t out[2])
{
    size_t all = p->attention.width, h = all / p->attention.heads;
    if (seen->summary) {
        size_t width = tensor_width(p->in.summary_keys);
        out[0] = out[1] = (at[0] * p->in.summary_keys->shape[1] + seen->row) * width +
                          (width == h ? 0 : at[1] * h);
    } else {
        size_t row = at[0] * p->in.qk->shape[1] + seen->row;
        out[0] = row * tensor_width(p->in.qk) + all + at[1] * h;
        out[1] = row * all + at[1] * h;
    }
}

static void plain_query(struct plain_block *p, const struct seen *keys, size_t count,
                        const size_t at[3])
{
    static double score[KEYS_MAX], slope[KEYS_MAX];
    size_t all = p->attention.width, h = all / p->attention.heads;
    size_t row = at[0] * p->in.qk->shape[1] + at[2];
    size_t q = row * tensor_width(p->in.qk) + at[1] * h;
    double scale = 1 / sqrt((double)h), total = 0, mean = 0;
    const real *bias =
        p->in.bias != NULL ? p->in.bias->data + at[1] * tensor_width(p->in.bias) : NULL;
    for (size_t j = 0; j < count; j++) {
        const struct tensor *k = keys[j].summary ? p->in.summary_keys : p->in.qk;
        size_t place[2];
        places(p, &keys[j], at, place);
        score[j] = bias != NULL && keys[j].summary ? (double)bias[keys[j].slot] : 0;
        for (size_t c = 0; c < h; c++) {
            score[j] += scale * (double)p->in.qk->data[q + c] * (double)k->data[place[0] + c];
        }
        total += exp(score[j]);
    }
    for (size_t j = 0; j < count; j++) {
        const struct tensor *v = keys[j].summary ? p->in.summary_values : p->in.v;
        double *d_v = p->d[keys[j].summary ? 3 : 1];
        size_t place[2];
        places(p, &keys[j], at, place);
        score[j] = exp(score[j]) / total;
        slope[j] = 0;
        for (size_t c = 0; c < h; c++) {
            size_t to = row * all + at[1] * h + c;
            double dy = (double)p->cotangent->data[to];
            p->y[to] += score[j] * (double)v->data[place[1] + c];
            d_v[place[1] + c] += score[j] * dy;
            slope[j] += dy * (double)v->data[place[1] + c];
        }
        mean += score[j] * slope[j];
    }
    for (size_t j = 0; j < count; j++) {
        const struct tensor *k = keys[j].summary ? p->in.summary_keys : p->in.qk;
        double *d_k = p->d[keys[j].summary ? 2 : 0];
        double ds = score[j] * (slope[j] - mean);
        size_t place[2];
        places(p, &keys[j], at, place);
        if (bias != NULL && keys[j].summary) {
            p->d[4][at[1] * tensor_width(p->in.bias) + keys[j].slot] += ds;
        }
        for (size_t c = 0; c < h; c++) {
            d_k[place[0] + c] += scale * ds * (double)p->in.qk->data[q + c];
            p->d[0][q + c] += scale * ds * (double)k->data[place[0] + c];
        }
    }
}

static void plain_run(struct plain_block *p)
{
    static struct seen keys[KEYS_MAX];
    size_t length = p->in.qk->shape[1];
    for (size_t t = 0; t < length; t++) {
        size_t count = p->k; /* no blocks: all summaries */
        if (p->attention.block > 0) {
            count = keys_of(&p->attention, &p->levels, p->k, t, keys);
        }
        for (size_t j = 0; p->attention.block == 0 && j < count; j++) {
            keys[j] = (struct seen){true, j, SIZE_MAX};
        }
        for (size_t i = 0; i < p->in.qk->shape[0] * p->attention.heads; i++) {
            plain_query(p, keys, count,
                        (size_t[]){i / p->attention.heads, i % p->attention.heads, t});
        }
    }
}

static void compare_block(struct trial *t, struct plain_block *p, const struct tensor *y)
{
    struct tensor *inputs[] = {p->in.qk, p->in.v, p->in.summary_keys, p->in.summary_values,
                               p->in.bias};
    static const char *const names[] = {"d qk", "d v", "d summary keys", "d summary values",
                                        "d bias"};
    double *kept = t->expected;
    p->y = mem_zeroed(tensor_size(y), sizeof(double));
    for (size_t i = 0; i < ARRAY_COUNT(inputs); i++) {
        p->d[i] = inputs[i] != NULL ? mem_zeroed(tensor_size(inputs[i]), sizeof(double)) : NULL;
    }
    plain_run(p);
    t->expected = p->y;
    trial_compare(t, y);
    for (size_t i = 0; i < ARRAY_COUNT(inputs); i++) {
        t->expected = p->d[i];
        if (inputs[i] != NULL) {
            trial_compare_values(t, tape_gradient(&t->tape, inputs[i]), tensor_size(inputs[i]),
                                 names[i]);
        }
        mem_free(p->d[i]);
    }
    mem_free(p->y);
    t->expected = kept;
}

static void check_attention_block(struct trial *t)
{
    size_t heads = trial_some(t, 3), h = trial_some(t, 2) == 1 ? 16 : trial_some(t, 9);
    size_t batch = trial_some(t, 2), length = trial_some(t, 150);
    bool window = trial_some(t, 4) == 1;
    struct plain_block p = {
        .attention = {.heads = heads,
                      .width = heads * h,
                      .block = window ? 0 : 3 + trial_some(t, 100) * trial_some(t, 2) / 2,
                      .group = trial_some(t, 3) == 1 ? 0 : 1 + trial_some(t, 3),
                      .previous = trial_some(t, 2) == 1},
        .k = trial_some(t, 3),
    };
    size_t nodes = 1, width = window && trial_some(t, 2) == 1 ? h : heads * h;
    p.in.qk = trial_draw(t, batch, length, (window ? 1 : 2) * heads * h);
    if (!window) {
        block_attention_levels(&p.attention, length, &p.levels);
        nodes = time_summaries_nodes(&p.levels);
        p.in.v = trial_draw(t, batch, length, heads * h);
    }
    if (nodes > 0) {
        p.in.summary_keys = trial_draw(t, batch, nodes * p.k, width);
        p.in.summary_values = trial_draw(t, batch, nodes * p.k, width);
    }
    if (!window && nodes > 0 && trial_some(t, 2) == 1) {
        p.in.bias =
            tape_input(&t->tape, (size_t[]){heads, block_attention_slots(&p.attention, length), 0});
        p.in.bias->wants_grad = true;
        for (size_t i = 0; i < tensor_size(p.in.bias); i++) {
            p.in.bias->data[i] = (real)random_normal(&t->random);
        }
    }
    struct tensor *y = op_attention_block(&t->tape, &p.in, &p.attention);
    struct tensor *cotangent = trial_draw(t, batch, length, heads * h);
    p.cotangent = cotangent;
    tape_backward(&t->tape, op_inner(&t->tape, y, cotangent));
    compare_block(t, &p, y);
}

static const struct reference references[] = {
    {"project_time", check_project_time},
    {"attention_block", check_attention_block},
};

const struct reference_family references_linformer = {references, ARRAY_COUNT(references)};
