/* Attention: chooses the dense or the offset kernel and runs it for every head of every series.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Kept for the way back is one log-sum a row and head; probabilities are computed again.
 */
#include "model/ops/attention.h"
#include "model/ops/kernels.h"
#include "model/ops/rows.h"

#include "base/check.h"

#include <math.h>
#include <string.h>

size_t attention_head_width(const struct tensor *v, const struct attention *attention)
{
    return tensor_width(v) / attention->heads;
}

real attention_scale(const struct tensor *v, const struct attention *attention)
{
    double width = (double)attention_head_width(v, attention);
    return attention->scale != 0 ? attention->scale : (real)(1 / sqrt(width));
}

/* bias[T] by distance for the dense kernel: -infinity where the pattern has no such offset. */
static void spread_bias(const struct attention_kept *kept, const struct tensor *bias, size_t head,
                        size_t length, real *distance)
{
    const struct pattern *pattern = kept->attention.pattern;
    for (size_t i = 0; i < length; i++) {
        distance[i] = -(real)INFINITY;
    }
    for (size_t o = 0; o < pattern->offset_count && pattern->offsets[o] < length; o++) {
        distance[pattern->offsets[o]] =
            bias != NULL ? bias->data[head * pattern->offset_count + o] : 0;
    }
}

/* What the kernels need to know of one head of one series. */
static struct attention_head head_of(const struct attention_kept *kept, const struct tensor *qk,
                                     const struct tensor *v, struct tensor *out, size_t series,
                                     size_t head)
{
    const struct attention *attention = &kept->attention;
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
        .causal = attention->pattern->kind != PATTERN_FULL,
        .valid = attention->key_valid != NULL ? attention->key_valid + series * length : NULL,
        .offsets = attention->pattern->offsets,
        .offset_count = attention->pattern->offset_count,
    };
}

/* Scratch in reals: the kernel's own, then the bias by distance and its gradient. */
static size_t kernel_scratch(const struct attention_kept *kept, const struct tensor *qk,
                             const struct tensor *v)
{
    size_t length = qk->shape[1];
    size_t width = attention_head_width(v, &kept->attention);
    return kept->dense ? kernels()->attention_scratch(length, width)
                       : kernels()->attention_sparse_scratch(length, width,
                                                             kept->attention.pattern->offset_count);
}

/* Points one head at its bias, in the form that its kernel wants. */
static void set_bias(const struct attention_kept *kept, const struct tensor *bias, size_t head,
                     real *distance, struct attention_head *one)
{
    const struct pattern *pattern = kept->attention.pattern;
    if (kept->dense && pattern->kind == PATTERN_OFFSETS) {
        spread_bias(kept, bias, head, one->length, distance);
        one->bias = distance;
    } else if (bias != NULL) {
        one->offset_bias = bias->data + head * pattern->offset_count;
    }
}

static void offsets_back(struct tape *tape, const struct node *node)
{
    const struct attention_kept *kept = node->context;
    struct tensor *qk = node->in[0];
    struct tensor *v = node->in[1];
    struct tensor *bias = node->in[2];
    const struct pattern *pattern = kept->attention.pattern;
    size_t length = qk->shape[1];
    size_t size = kernel_scratch(kept, qk, v);
    real *scratch = tape_backward_scratch(tape, node->scratch);
    real *distance = scratch + size;
    real *d_distance = distance + length;
    real *unwanted = d_distance + length; /* gradients that nobody wants */
    real *d_qk = tape_grad_sum(tape, qk);
    real *d_v = tape_grad_sum(tape, v);
    real *d_bias = tape_grad_sum(tape, bias);
    size_t v_size = tensor_size(v);
    d_v = d_v != NULL ? d_v : memset(unwanted, 0, v_size * sizeof(real));
    d_qk = d_qk != NULL ? d_qk : memset(unwanted + v_size, 0, 2 * v_size * sizeof(real));
    for (size_t b = 0; b < qk->shape[0]; b++) {
        for (size_t h = 0; h < kept->attention.heads; h++) {
            struct attention_head one = head_of(kept, qk, v, node->out, b, h);
            set_bias(kept, bias, h, distance, &one);
            one.scratch = scratch;
            one.d_out = tape_grad_of(node->out) + (one.out - node->out->data);
            one.d_q = d_qk + (one.q - qk->data);
            one.d_k = d_qk + (one.k - qk->data);
            one.d_v = d_v + (one.v - v->data);
            if (!kept->dense) {
                one.d_bias = d_bias != NULL ? d_bias + h * pattern->offset_count : NULL;
                kernels()->attention_sparse_back(&one);
                continue;
            }
            one.d_bias = d_bias != NULL ? memset(d_distance, 0, length * sizeof(real)) : NULL;
            kernels()->attention_back(&one);
            for (size_t o = 0; d_bias != NULL && o < pattern->offset_count; o++) {
                if (pattern->offsets[o] < length) {
                    d_bias[h * pattern->offset_count + o] += d_distance[pattern->offsets[o]];
                }
            }
        }
    }
}

const struct op attention_op = {.name = "attention", .backward = offsets_back};
const struct op attention_sparse_op = {.name = "attention_sparse", .backward = offsets_back};

static void offsets_forward(struct tape *tape, const struct attention_kept *kept,
                            const struct tensor *qk, const struct tensor *v, struct tensor *out)
{
    size_t length = qk->shape[1];
    size_t size = kernel_scratch(kept, qk, v);
    size_t mark = tape_scratch_begin(tape);
    real *scratch = tape_bytes(tape, (size + length) * sizeof(real));
    for (size_t b = 0; tape_computes(tape) && b < qk->shape[0]; b++) {
        for (size_t h = 0; h < kept->attention.heads; h++) {
            struct attention_head one = head_of(kept, qk, v, out, b, h);
            set_bias(kept, kept->attention.bias, h, scratch + size, &one);
            one.scratch = scratch;
            if (kept->dense) {
                kernels()->attention(&one);
            } else {
                kernels()->attention_sparse(&one);
            }
        }
    }
    tape_scratch_end(tape, mark);
}

struct tensor *op_attention(struct tape *tape, struct tensor *qk, struct tensor *v,
                            const struct attention *attention)
{
    const struct pattern *pattern = attention->pattern;
    CHECK(qk->axes == 3 && v->axes == 3);
    CHECK(qk->shape[0] == v->shape[0] && qk->shape[1] == v->shape[1]);
    CHECK(tensor_width(qk) == 2 * tensor_width(v));
    CHECK(tensor_width(v) % attention->heads == 0);
    CHECK(attention->bias == NULL ||
          (pattern->kind == PATTERN_OFFSETS &&
           tensor_size(attention->bias) == attention->heads * pattern->offset_count));
    struct tensor *out = tape_tensor_like(tape, v);
    size_t length = qk->shape[1];
    struct attention_kept *kept = tape_struct(tape, sizeof(*kept));
    kept->attention = *attention;
    kept->log_sum = tape_bytes(tape, qk->shape[0] * attention->heads * length * sizeof(real));
    struct tensor *inputs[] = {qk, v, attention->bias};
    if (pattern->kind == PATTERN_ROWS) {
        size_t scratch = attention_rows_forward(tape, kept, qk, v, out);
        tape_record(tape, &attention_rows_op, out, inputs, 2, kept, scratch);
        return out;
    }
    kept->dense = pattern_prefers_dense(pattern, length);
    offsets_forward(tape, kept, qk, v, out);
    size_t scratch = kernel_scratch(kept, qk, v) + 2 * length;
    scratch += qk->wants_grad && v->wants_grad ? 0 : 3 * tensor_size(v);
    tape_record(tape, kept->dense ? &attention_op : &attention_sparse_op, out, inputs, 3, kept,
                scratch * sizeof(real));
    return out;
}
