/* Attention by content and by distance (Transformer-XL): packs keys and distances and runs the
 * kernel for every head of every series. SPDX-License-Identifier: Apache-2.0
 *
 * Kept for the way back is one log-sum a row and head. Scratch grows with the keys, never with the
 * queries times the keys.
 */
#include "model/ops/attention_relative.h"
#include "model/ops/rows.h"

#include "base/check.h"

#include <math.h>
#include <string.h>

struct kept {
    struct attention_relative attention;
    real *log_sum; /* [B, H, T] */
};

static size_t round_up(size_t n, size_t step)
{
    return (n + step - 1) / step * step;
}

size_t relative_packed_size(size_t count, size_t width)
{
    return round_up(count, 2 * kernels()->relative_lanes()) * width;
}

size_t relative_row_width(size_t width)
{
    return round_up(width, kernels()->relative_lanes());
}

static size_t keys_of(const struct attention_relative *attention)
{
    return attention->k->shape[1];
}

static size_t width_of(const struct attention_relative *attention)
{
    return tensor_width(attention->k) / attention->heads;
}

static size_t farthest_of(const struct attention_relative *attention)
{
    size_t last = keys_of(attention) - 1;
    return attention->window > 0 && attention->window - 1 < last ? attention->window - 1 : last;
}

/* Distances from the farthest down to 0, or to the farthest ahead. */
static size_t line_count_of(const struct attention_relative *attention)
{
    size_t farthest = farthest_of(attention);
    size_t ahead = attention->q->shape[1] - 1;
    ahead = attention->window > 0 && attention->window - 1 < ahead ? attention->window - 1 : ahead;
    return farthest + 1 + (attention->causal ? 0 : ahead);
}

/* The row of r that line n reads: beyond the table its first or last row stands. */
static size_t row_of_line(const struct attention_relative *attention, size_t n)
{
    ptrdiff_t row = (ptrdiff_t)(attention->row_zero + farthest_of(attention)) - (ptrdiff_t)n;
    ptrdiff_t last = (ptrdiff_t)attention->r->shape[0] - 1;
    row = row > last ? last : row;
    return row > 0 ? (size_t)row : 0;
}

/* Arrays of one head, in scratch. */
struct arrays {
    real *kernel;
    real *line_rows, *lines_packed, *keys_packed, *values;
    /* back only */
    real *values_packed, *key_rows, *d_keys, *d_values, *d_lines;
    real *d_biases; /* [2, h] */
    real *unwanted; /* [B, T, H h]: dq where nobody wants it */
};

static real *carve(real **next, size_t size)
{
    real *from = *next;
    *next += size;
    return from;
}

/* Carves them from `next`; returns the reals taken. With NULL it only counts. */
static size_t carve_arrays(const struct attention_relative *attention, bool back, real *next,
                           struct arrays *arrays)
{
    size_t keys = keys_of(attention);
    size_t width = width_of(attention);
    size_t lines = line_count_of(attention);
    size_t padded = relative_row_width(width);
    size_t packed = relative_packed_size(keys, width);
    size_t used[] = {kernels()->relative_scratch(width),
                     lines * padded,
                     relative_packed_size(lines, width),
                     packed,
                     keys * padded,
                     packed,
                     keys * padded,
                     keys * padded,
                     keys * padded,
                     lines * padded,
                     2 * width,
                     attention->q->wants_grad ? 0 : tensor_size(attention->q)};
    real **places[] = {&arrays->kernel,      &arrays->line_rows, &arrays->lines_packed,
                       &arrays->keys_packed, &arrays->values,    &arrays->values_packed,
                       &arrays->key_rows,    &arrays->d_keys,    &arrays->d_values,
                       &arrays->d_lines,     &arrays->d_biases,  &arrays->unwanted};
    size_t count = back ? ARRAY_COUNT(used) : 5;
    size_t total = 0;
    for (size_t i = 0; i < count; i++) {
        *places[i] = next != NULL ? carve(&next, used[i]) : NULL;
        total += used[i];
    }
    return total;
}

/* to[count, h'] = rows that are `step` apart, zeros behind h. */
static void take_rows(const real *rows, size_t step, size_t count, size_t width, real *to)
{
    size_t padded = relative_row_width(width);
    for (size_t i = 0; i < count; i++) {
        memcpy(to + i * padded, rows + i * step, width * sizeof(real));
        memset(to + i * padded + width, 0, (padded - width) * sizeof(real));
    }
}

static void add_rows(const real *from, size_t count, size_t width, real *to, size_t step)
{
    size_t padded = relative_row_width(width);
    for (size_t i = 0; i < count; i++) {
        for (size_t c = 0; c < width; c++) {
            to[i * step + c] += from[i * padded + c];
        }
    }
}

/* The distances of head h, farthest first, as rows and packed. */
static void take_lines(const struct attention_relative *attention, size_t h,
                       const struct arrays *arrays)
{
    size_t width = width_of(attention);
    size_t padded = relative_row_width(width);
    size_t all = tensor_width(attention->r);
    size_t lines = line_count_of(attention);
    for (size_t n = 0; n < lines; n++) {
        const real *row = attention->r->data + row_of_line(attention, n) * all + h * width;
        take_rows(row, all, 1, width, arrays->line_rows + n * padded);
    }
    kernels()->relative_pack(arrays->line_rows, padded, lines, width, arrays->lines_packed);
}

/* Leaves out the keys before the first valid one (empty memory cells are a prefix), and looks at
 * each key only where invalid ones are left behind it. */
static void set_valid(const uint8_t *valid, struct relative_head *head)
{
    if (valid == NULL) {
        return;
    }
    const uint8_t *first = memchr(valid, 1, head->keys);
    head->first_key = first != NULL ? (size_t)(first - valid) : head->keys;
    size_t rest = head->keys - head->first_key;
    head->valid = memchr(valid + head->first_key, 0, rest) != NULL ? valid : NULL;
}

static struct relative_head head_of(const struct kept *kept, const struct tensor *out,
                                    const struct arrays *arrays, size_t b, size_t h)
{
    const struct attention_relative *attention = &kept->attention;
    size_t queries = attention->q->shape[1];
    size_t keys = keys_of(attention);
    size_t width = width_of(attention);
    size_t all = tensor_width(attention->q);
    const real *k = attention->k->data + b * keys * all + h * width;
    const real *v = attention->v->data + b * keys * all + h * width;
    size_t at = b * queries * all + h * width;
    kernels()->relative_pack(k, all, keys, width, arrays->keys_packed);
    take_rows(v, all, keys, width, arrays->values);
    struct relative_head head = {
        .queries = queries,
        .keys = keys,
        .width = width,
        .farthest = farthest_of(attention),
        .line_count = line_count_of(attention),
        .window = attention->window,
        .causal = attention->causal,
        .scale = attention->scale != 0 ? attention->scale : (real)(1 / sqrt((double)width)),
        .q = attention->q->data + at,
        .q_step = all,
        .content_bias = attention->u->data + h * width,
        .position_bias = attention->w->data + h * width,
        .keys_packed = arrays->keys_packed,
        .values = arrays->values,
        .lines_packed = arrays->lines_packed,
        .out = out->data + at,
        .out_step = all,
        .log_sum = kept->log_sum + (b * attention->heads + h) * queries,
        .scratch = arrays->kernel,
    };
    set_valid(attention->key_valid != NULL ? attention->key_valid + b * keys : NULL, &head);
    return head;
}

/* ---------------------------------------------------------------- back */

/* What the way back reads beside what the way forward reads. */
static void prepare_back(const struct attention_relative *attention, const struct tensor *out,
                         const struct arrays *arrays, size_t b, struct relative_head *head)
{
    size_t width = head->width;
    size_t all = tensor_width(attention->k);
    size_t place = (size_t)(head->out - out->data) - b * head->queries * all; /* h * width */
    size_t first = b * head->keys * all + place;
    size_t rows = head->keys * relative_row_width(width);
    kernels()->relative_pack(attention->v->data + first, all, head->keys, width,
                             arrays->values_packed);
    take_rows(attention->k->data + first, all, head->keys, width, arrays->key_rows);
    memset(arrays->d_keys, 0, rows * sizeof(real));
    memset(arrays->d_values, 0, rows * sizeof(real));
    head->values_packed = arrays->values_packed;
    head->key_rows = arrays->key_rows;
    head->line_rows = arrays->line_rows;
    head->d_out = tape_grad_of(out) + (head->out - out->data);
    head->d_keys = arrays->d_keys;
    head->d_values = arrays->d_values;
    head->d_lines = arrays->d_lines;
    head->d_content_bias = arrays->d_biases;
    head->d_position_bias = arrays->d_biases + width;
}

struct gradients {
    real *q, *k, *v, *r, *u, *w;
};

/* Gradients of head h that are sums over all series. */
static void give_shared(const struct attention_relative *attention, const struct arrays *arrays,
                        size_t h, const struct gradients *to)
{
    size_t width = width_of(attention);
    size_t padded = relative_row_width(width);
    size_t all = tensor_width(attention->r);
    for (size_t n = 0; to->r != NULL && n < line_count_of(attention); n++) {
        real *row = to->r + row_of_line(attention, n) * all + h * width;
        add_rows(arrays->d_lines + n * padded, 1, width, row, all);
    }
    for (size_t c = 0; to->u != NULL && c < width; c++) {
        to->u[h * width + c] += arrays->d_biases[c];
    }
    for (size_t c = 0; to->w != NULL && c < width; c++) {
        to->w[h * width + c] += arrays->d_biases[width + c];
    }
}

static void relative_back(struct tape *tape, const struct node *node)
{
    const struct kept *kept = node->context;
    const struct attention_relative *attention = &kept->attention;
    struct arrays arrays;
    (void)carve_arrays(attention, true, tape_backward_scratch(tape, node->scratch), &arrays);
    struct gradients to = {
        tape_grad_sum(tape, attention->q), tape_grad_sum(tape, attention->k),
        tape_grad_sum(tape, attention->v), tape_grad_sum(tape, attention->r),
        tape_grad_sum(tape, attention->u), tape_grad_sum(tape, attention->w),
    };
    real *d_q = to.q;
    if (d_q == NULL) {
        d_q = memset(arrays.unwanted, 0, tensor_size(attention->q) * sizeof(real));
    }
    size_t width = width_of(attention);
    size_t all = tensor_width(attention->q);
    size_t lines = line_count_of(attention) * relative_row_width(width);
    for (size_t h = 0; h < attention->heads; h++) {
        take_lines(attention, h, &arrays);
        memset(arrays.d_lines, 0, lines * sizeof(real));
        memset(arrays.d_biases, 0, 2 * width * sizeof(real));
        for (size_t b = 0; b < attention->q->shape[0]; b++) {
            struct relative_head head = head_of(kept, node->out, &arrays, b, h);
            prepare_back(attention, node->out, &arrays, b, &head);
            head.d_q = d_q + (head.q - attention->q->data);
            kernels()->relative_back(&head);
            size_t first = b * head.keys * all + h * width;
            if (to.k != NULL) {
                add_rows(arrays.d_keys, head.keys, width, to.k + first, all);
            }
            if (to.v != NULL) {
                add_rows(arrays.d_values, head.keys, width, to.v + first, all);
            }
        }
        give_shared(attention, &arrays, h, &to);
    }
}

const struct op attention_relative_op = {.name = "attention_relative", .backward = relative_back};

/* ---------------------------------------------------------------- forward */

static void check_shapes(const struct attention_relative *attention)
{
    const struct tensor *q = attention->q;
    const struct tensor *k = attention->k;
    size_t all = tensor_width(q);
    CHECK(q->axes == 3 && k->axes == 3 && attention->r->axes == 2);
    CHECK(tensor_same_shape(k, attention->v));
    CHECK(q->shape[0] == k->shape[0] && q->shape[1] <= k->shape[1]);
    CHECK(tensor_width(k) == all && tensor_width(attention->r) == all);
    CHECK(all % attention->heads == 0);
    CHECK(tensor_size(attention->u) == all && tensor_size(attention->w) == all);
    CHECK(attention->row_zero < attention->r->shape[0]);
}

struct tensor *op_attention_relative(struct tape *tape, const struct attention_relative *attention)
{
    check_shapes(attention);
    struct tensor *q = attention->q;
    struct tensor *out = tape_tensor_like(tape, q);
    struct kept *kept = tape_struct(tape, sizeof(*kept));
    kept->attention = *attention;
    kept->log_sum = tape_bytes(tape, q->shape[0] * attention->heads * q->shape[1] * sizeof(real));
    struct arrays arrays;
    size_t mark = tape_scratch_begin(tape);
    size_t size = carve_arrays(attention, false, NULL, &arrays);
    real *scratch = tape_bytes(tape, size * sizeof(real));
    (void)carve_arrays(attention, false, scratch, &arrays);
    for (size_t h = 0; tape_computes(tape) && h < attention->heads; h++) {
        take_lines(attention, h, &arrays);
        for (size_t b = 0; b < q->shape[0]; b++) {
            struct relative_head head = head_of(kept, out, &arrays, b, h);
            kernels()->relative(&head);
        }
    }
    tape_scratch_end(tape, mark);
    struct tensor *inputs[] = {q,           attention->k, attention->v, attention->r, attention->u,
                               attention->w};
    size = carve_arrays(attention, true, NULL, &arrays);
    tape_record(tape, &attention_relative_op, out, inputs, 6, kept, size * sizeof(real));
    return out;
}
