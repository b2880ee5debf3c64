/* Attention: chooses the dense or the offset kernel and runs it for every head of every series.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Kept for the way back is one log-sum a row and head; probabilities are computed again. That makes
 * a second set of keys cheap (`beside`): each set runs its own kernel, and with l, O of one and m,
 * U of the other the joint softmax has the log-sum n = log(e^l + e^m) and the output
 * e^(l - n) O + e^(m - n) U. On the way back each set's kernel is given the joint n and output, and
 * its probabilities e^(s - n) and gradients are those of the joint softmax as they are.
 */
#include "model/ops/attention.h"
#include "model/ops/kernels.h"
#include "model/ops/rows.h"

#include "base/background.h"
#include "base/check.h"
#include "base/size.h"

#include <math.h>
#include <string.h>
#include <tgmath.h>

size_t attention_head_width(const struct tensor *v, const struct attention *attention)
{
    return tensor_width(v) / attention->heads;
}

real attention_scale(const struct tensor *v, const struct attention *attention)
{
    double width = (double)attention_head_width(v, attention);
    return attention->scale != 0 ? attention->scale : (real)(1 / sqrt(width));
}

const struct pattern *attention_pattern(const struct attention *attention, size_t head)
{
    return attention->head_patterns != NULL ? &attention->head_patterns[head] : attention->pattern;
}

/* ---------------------------------------------------------------- one head */

/* bias[T] by distance for the dense kernel: -infinity where the pattern has no such offset. */
static void spread_bias(const struct pattern *pattern, const real *bias, size_t length,
                        real *distance)
{
    for (size_t i = 0; i < length; i++) {
        distance[i] = -(real)INFINITY;
    }
    for (size_t o = 0; o < pattern->offset_count && pattern->offsets[o] < length; o++) {
        distance[pattern->offsets[o]] = bias != NULL ? bias[o] : 0;
    }
}

/* What the kernels need to know of one head of one series. */
static struct attention_head head_of(const struct attention_kept *kept, const struct tensor *qk,
                                     const struct tensor *v, struct tensor *out, size_t series,
                                     size_t head)
{
    const struct attention *attention = &kept->attention;
    const struct pattern *pattern = attention_pattern(attention, head);
    size_t length = qk->shape[1];
    size_t all = tensor_width(v); /* H h */
    size_t width = all / attention->heads;
    const real *rows = qk->data + series * length * 2 * all + head * width;
    size_t at = series * length * all + head * width;
    return (struct attention_head){
        .length = length,
        .width = width,
        .q = rows,
        .k = rows + all,
        .v = v->data + at,
        .qk_step = 2 * all,
        .v_step = all,
        .out = out->data + at,
        .log_sum = kept->log_sum + (series * attention->heads + head) * length,
        .scale = attention_scale(v, attention),
        .causal = pattern->kind != PATTERN_FULL,
        .valid = attention->key_valid != NULL ? attention->key_valid + series * length : NULL,
        .offsets = pattern->offsets,
        .offset_count = pattern->offset_count,
        .both_ways = pattern->both_ways,
    };
}

/* Points one head at its bias, in the form that its kernel wants. */
static void set_bias(const struct attention_kept *kept, size_t head, bool dense, real *distance,
                     struct attention_head *one)
{
    const struct pattern *pattern = attention_pattern(&kept->attention, head);
    const struct tensor *bias = kept->attention.bias;
    const real *of_head = bias != NULL ? bias->data + head * pattern->offset_count : NULL;
    if (dense && pattern->kind == PATTERN_OFFSETS) {
        spread_bias(pattern, of_head, one->length, distance);
        one->bias = distance;
    } else {
        one->offset_bias = of_head;
    }
}

/* Place of a series' and head's first value in a tensor [B or 1, N, H h]. */
static size_t beside_place(const struct tensor *k, size_t series, size_t head, size_t width)
{
    size_t row = k->shape[0] > 1 ? series * k->shape[1] : 0;
    return row * k->shape[2] + head * width;
}

/* Turns a head to the keys and values beside the sequence. */
static struct attention_head beside_of(const struct attention_beside *beside,
                                       const struct attention_head *one, size_t series, size_t head)
{
    size_t at = beside_place(beside->k, series, head, one->width);
    struct attention_head other = *one;
    other.k = beside->k->data + at;
    other.v = beside->v->data + at;
    other.k_step = beside->k->shape[2];
    other.keys = beside->k->shape[1];
    other.causal = false;
    other.bias = NULL;
    other.offset_bias = NULL;
    other.d_bias = NULL;
    other.both_ways = false;
    other.valid = NULL;
    if (beside->valid != NULL) {
        other.valid = beside->valid + (beside->k->shape[0] > 1 ? series * other.keys : 0);
    }
    if (beside->pattern != NULL) {
        other.keys = 0;
        other.offsets = beside->pattern->offsets;
        other.offset_count = beside->pattern->offset_count;
    }
    return other;
}

/* Joins what a head found among its own keys with what it found beside: `other`, into `one`. */
static void join(const struct attention_head *one, const struct attention_head *other)
{
    for (size_t t = 0; t < one->length; t++) {
        real l = one->log_sum[t];
        real m = other->log_sum[t];
        if (m == -(real)INFINITY) {
            continue;
        }
        real top = l > m ? l : m;
        real n = top + log(exp(l - top) + exp(m - top));
        real a = exp(l - n);
        real b = exp(m - n);
        real *restrict out = one->out + t * one->v_step;
        const real *restrict found = other->out + t * other->v_step;
        for (size_t c = 0; c < one->width; c++) {
            out[c] = a * out[c] + b * found[c];
        }
        one->log_sum[t] = n;
    }
}

/* ---------------------------------------------------------------- scratch */

/* Everything that the heads of an op share while they run, in reals. */
struct room {
    real *kernel, *distance, *d_distance;
    real *found, *found_sum; /* beside: [T, h] with rows H h apart, [T] */
    real *unwanted;          /* gradients that nobody wants: d v, d qk, d k beside, d v beside */
};

/* Scratch of the kernels alone: also for fewer steps, which may prefer the dense kernel. */
static size_t kernel_scratch(const struct attention_kept *kept, size_t length, size_t width)
{
    size_t size = kernels()->attention_scratch(length, length, width);
    for (size_t h = 0; h < kept->attention.heads; h++) {
        const struct pattern *pattern = attention_pattern(&kept->attention, h);
        if (!pattern_prefers_dense(pattern, length)) {
            size_t offsets = pattern->offset_count;
            size = larger(size, kernels()->attention_sparse_scratch(length, width, offsets));
        }
    }
    for (size_t n = 0; n < kept->attention.beside_count; n++) {
        const struct pattern *pattern = kept->beside[n].pattern;
        size_t keys = kept->beside[n].k->shape[1];
        size_t wanted =
            pattern == NULL
                ? kernels()->attention_scratch(length, keys, width)
                : kernels()->attention_sparse_scratch(length, width, pattern->offset_count);
        size = larger(size, wanted);
    }
    return size;
}

/* Lays out `memory` (NULL while measuring) and returns the size of all, in reals. */
static size_t lay_out(const struct attention_kept *kept, const struct tensor *v, real *memory,
                      struct room *room)
{
    size_t length = v->shape[1];
    size_t width = attention_head_width(v, &kept->attention);
    size_t size[] = {kernel_scratch(kept, length, width), length, length, 0, 0};
    if (kept->attention.beside_count > 0) {
        size[3] = length * tensor_width(v);
        size[4] = length;
    }
    real **places[] = {&room->kernel, &room->distance, &room->d_distance, &room->found,
                       &room->found_sum};
    size_t total = 0;
    for (size_t i = 0; i < ARRAY_COUNT(size); i++) {
        *places[i] = memory != NULL ? memory + total : NULL;
        total += size[i];
    }
    room->unwanted = memory != NULL ? memory + total : NULL;
    return total;
}

/* ---------------------------------------------------------------- the way back */

/* Where gradients go: those of the tensors, or a place for nobody. */
struct slopes {
    real *qk, *v, *bias;
    real *k_beside[ATTENTION_BESIDE_MAX], *v_beside[ATTENTION_BESIDE_MAX];
};

real *attention_slopes(struct tape *tape, struct tensor *tensor, real **unwanted)
{
    real *slopes = tape_grad_sum(tape, tensor);
    if (slopes == NULL) {
        slopes = memset(*unwanted, 0, tensor_size(tensor) * sizeof(real));
        *unwanted += tensor_size(tensor);
    }
    return slopes;
}

static size_t unwanted_size(const struct attention_kept *kept, const struct tensor *qk,
                            const struct tensor *v)
{
    size_t size = qk->wants_grad ? 0 : tensor_size(qk);
    size += v->wants_grad ? 0 : tensor_size(v);
    for (size_t n = 0; n < kept->attention.beside_count; n++) {
        const struct attention_beside *beside = &kept->beside[n];
        size += beside->k->wants_grad ? 0 : tensor_size(beside->k);
        size += beside->v->wants_grad ? 0 : tensor_size(beside->v);
    }
    return size;
}

static void head_back(const struct attention_kept *kept, const struct node *node, size_t series,
                      size_t head, const struct room *room, const struct slopes *slopes)
{
    const struct tensor *qk = node->in[0];
    const struct tensor *v = node->in[1];
    const struct pattern *pattern = attention_pattern(&kept->attention, head);
    struct attention_head one = head_of(kept, qk, v, node->out, series, head);
    bool dense = pattern_prefers_dense(pattern, one.length);
    real *d_bias = slopes->bias != NULL ? slopes->bias + head * pattern->offset_count : NULL;
    set_bias(kept, head, dense, room->distance, &one);
    one.scratch = room->kernel;
    one.joint = kept->attention.beside_count > 0;
    one.d_out = tape_grad_of(node->out) + (one.out - node->out->data);
    one.d_q = slopes->qk + (one.q - qk->data);
    one.d_k = slopes->qk + (one.k - qk->data);
    one.d_v = slopes->v + (one.v - v->data);
    if (dense) {
        real *zeros = memset(room->d_distance, 0, one.length * sizeof(real));
        one.d_bias = d_bias != NULL ? zeros : NULL;
        kernels()->attention_back(&one);
        for (size_t o = 0; d_bias != NULL && o < pattern->offset_count; o++) {
            d_bias[o] += pattern->offsets[o] < one.length ? zeros[pattern->offsets[o]] : 0;
        }
    } else {
        one.d_bias = d_bias;
        kernels()->attention_sparse_back(&one);
    }
    for (size_t n = 0; n < kept->attention.beside_count; n++) {
        const struct attention_beside *beside = &kept->beside[n];
        struct attention_head other = beside_of(beside, &one, series, head);
        other.d_k = slopes->k_beside[n] + (other.k - beside->k->data);
        other.d_v = slopes->v_beside[n] + (other.v - beside->v->data);
        if (beside->pattern == NULL) {
            kernels()->attention_back(&other);
        } else {
            kernels()->attention_sparse_back(&other);
        }
    }
}

static void heads_back(struct tape *tape, const struct node *node)
{
    const struct attention_kept *kept = node->context;
    struct tensor *qk = node->in[0];
    struct tensor *v = node->in[1];
    struct room room;
    (void)lay_out(kept, v, tape_backward_scratch(tape, node->scratch), &room);
    struct slopes slopes = {
        .qk = attention_slopes(tape, qk, &room.unwanted),
        .v = attention_slopes(tape, v, &room.unwanted),
        .bias = tape_grad_sum(tape, node->in[2]),
    };
    for (size_t n = 0; n < kept->attention.beside_count; n++) {
        slopes.k_beside[n] = attention_slopes(tape, kept->beside[n].k, &room.unwanted);
        slopes.v_beside[n] = attention_slopes(tape, kept->beside[n].v, &room.unwanted);
    }
    for (size_t b = 0; b < qk->shape[0]; b++) {
        for (size_t h = 0; h < kept->attention.heads; h++) {
            head_back(kept, node, b, h, &room, &slopes);
            background_give_way();
        }
    }
}

const struct op attention_op = {.name = "attention", .backward = heads_back};
const struct op attention_sparse_op = {.name = "attention_sparse", .backward = heads_back};
const struct op attention_beside_op = {.name = "attention_beside", .backward = heads_back};

/* ---------------------------------------------------------------- the way there */

static void head_forward(const struct attention_kept *kept, const struct attention_head *given,
                         size_t series, size_t head, const struct room *room)
{
    struct attention_head one = *given;
    const struct pattern *pattern = attention_pattern(&kept->attention, head);
    bool dense = pattern_prefers_dense(pattern, one.length);
    set_bias(kept, head, dense, room->distance, &one);
    one.scratch = room->kernel;
    if (dense) {
        kernels()->attention(&one);
    } else {
        kernels()->attention_sparse(&one);
    }
    for (size_t n = 0; n < kept->attention.beside_count; n++) {
        struct attention_head other = beside_of(&kept->beside[n], &one, series, head);
        other.out = room->found;
        other.log_sum = room->found_sum;
        if (kept->beside[n].pattern == NULL) {
            kernels()->attention(&other);
        } else {
            kernels()->attention_sparse(&other);
        }
        join(&one, &other);
    }
}

/* Returns the scratch used, in reals. */
static size_t heads_forward(struct tape *tape, const struct attention_kept *kept,
                            const struct tensor *qk, const struct tensor *v, struct tensor *out)
{
    struct room room;
    size_t mark = tape_scratch_begin(tape);
    size_t size = lay_out(kept, v, NULL, &room);
    (void)lay_out(kept, v, tape_bytes(tape, size * sizeof(real)), &room);
    for (size_t b = 0; tape_computes(tape) && b < qk->shape[0]; b++) {
        for (size_t h = 0; h < kept->attention.heads; h++) {
            struct attention_head one = head_of(kept, qk, v, out, b, h);
            head_forward(kept, &one, b, h, &room);
            background_give_way(); /* for the whole batch it takes milliseconds */
        }
    }
    tape_scratch_end(tape, mark);
    return size;
}

static void check_shapes(const struct tensor *qk, const struct tensor *v,
                         const struct attention *attention)
{
    CHECK(qk->axes == 3 && v->axes == 3);
    CHECK(qk->shape[0] == v->shape[0] && qk->shape[1] == v->shape[1]);
    CHECK(tensor_width(qk) == 2 * tensor_width(v));
    CHECK(tensor_width(v) % attention->heads == 0);
    for (size_t h = 0; attention->head_patterns != NULL && h < attention->heads; h++) {
        CHECK(attention->head_patterns[h].kind == PATTERN_OFFSETS);
    }
    if (attention->bias != NULL) {
        const struct pattern *pattern = attention->pattern;
        CHECK(attention->head_patterns == NULL && pattern->kind == PATTERN_OFFSETS);
        CHECK(!pattern->both_ways);
        CHECK(tensor_size(attention->bias) == attention->heads * pattern->offset_count);
    }
    CHECK(attention->beside_count <= ATTENTION_BESIDE_MAX);
    for (size_t n = 0; n < attention->beside_count; n++) {
        const struct attention_beside *beside = &attention->beside[n];
        CHECK(beside->k->axes == 3 && tensor_same_shape(beside->k, beside->v));
        CHECK(beside->k->shape[0] == 1 || beside->k->shape[0] == qk->shape[0]);
        CHECK(tensor_width(beside->k) == tensor_width(v));
        CHECK(beside->pattern == NULL || tensor_size(beside->k) == tensor_size(v));
    }
}

/* The op's row in the table: which kernels run. */
static const struct op *row_of(const struct attention_kept *kept, size_t length)
{
    bool dense = true;
    for (size_t h = 0; h < kept->attention.heads; h++) {
        dense = dense && pattern_prefers_dense(attention_pattern(&kept->attention, h), length);
    }
    if (kept->attention.beside_count > 0) {
        return &attention_beside_op;
    }
    return dense ? &attention_op : &attention_sparse_op;
}

struct tensor *op_attention(struct tape *tape, struct tensor *qk, struct tensor *v,
                            const struct attention *attention)
{
    check_shapes(qk, v, attention);
    struct tensor *out = tape_tensor_like(tape, v);
    size_t length = qk->shape[1];
    struct attention_kept *kept = tape_struct(tape, sizeof(*kept));
    kept->attention = *attention;
    kept->log_sum = tape_bytes(tape, qk->shape[0] * attention->heads * length * sizeof(real));
    struct tensor *inputs[NODE_INPUTS_MAX] = {qk, v, attention->bias};
    for (size_t n = 0; n < attention->beside_count; n++) {
        kept->beside[n] = attention->beside[n];
        inputs[3 + 2 * n] = kept->beside[n].k;
        inputs[4 + 2 * n] = kept->beside[n].v;
    }
    size_t input_count = 3 + 2 * attention->beside_count;
    if (attention->head_patterns == NULL && attention->pattern->kind == PATTERN_ROWS) {
        CHECK(attention->beside_count == 0);
        size_t scratch = attention_rows_forward(tape, kept, qk, v, out);
        tape_record(tape, &attention_rows_op, out, inputs, 2, kept, scratch);
        return out;
    }
    size_t scratch = heads_forward(tape, kept, qk, v, out) + unwanted_size(kept, qk, v);
    tape_record(tape, row_of(kept, length), out, inputs, input_count, kept, scratch * sizeof(real));
    return out;
}
