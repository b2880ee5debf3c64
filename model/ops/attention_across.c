/* Attention of one sequence's queries to all of another's keys: the dense kernel, not causal.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "model/ops/attention.h"
#include "model/ops/kernels.h"
#include "model/ops/rows.h"

#include "base/check.h"

static struct attention_head head_of(const struct attention_kept *kept, struct tensor *const *in,
                                     const struct tensor *out, size_t series, size_t head)
{
    const struct tensor *q = in[0];
    const struct tensor *k = in[1];
    const struct tensor *v = in[2];
    const struct attention *attention = &kept->attention;
    size_t all = tensor_width(v);
    size_t width = all / attention->heads;
    size_t query = series * q->shape[1] * all + head * width;
    size_t key = series * k->shape[1] * all + head * width;
    return (struct attention_head){
        .length = q->shape[1],
        .keys = k->shape[1],
        .width = width,
        .q = q->data + query,
        .k = k->data + key,
        .v = v->data + key,
        .qk_step = all,
        .v_step = all,
        .out = out->data + query,
        .log_sum = kept->log_sum + (series * attention->heads + head) * q->shape[1],
        .scale = attention_scale(v, attention),
        .valid = attention->key_valid != NULL ? attention->key_valid + series * k->shape[1] : NULL,
    };
}

static size_t kernel_scratch(const struct attention_kept *kept, const struct tensor *q,
                             const struct tensor *k)
{
    return kernels()->attention_scratch(q->shape[1], k->shape[1],
                                        attention_head_width(q, &kept->attention));
}

static void across_back(struct tape *tape, const struct node *node)
{
    const struct attention_kept *kept = node->context;
    struct tensor *const *in = node->in;
    real *scratch = tape_backward_scratch(tape, node->scratch);
    real *unwanted = scratch + kernel_scratch(kept, in[0], in[1]);
    real *d_q = attention_slopes(tape, in[0], &unwanted);
    real *d_k = attention_slopes(tape, in[1], &unwanted);
    real *d_v = attention_slopes(tape, in[2], &unwanted);
    for (size_t b = 0; b < in[0]->shape[0]; b++) {
        for (size_t h = 0; h < kept->attention.heads; h++) {
            struct attention_head one = head_of(kept, in, node->out, b, h);
            one.scratch = scratch;
            one.d_out = tape_grad_of(node->out) + (one.out - node->out->data);
            one.d_q = d_q + (one.q - in[0]->data);
            one.d_k = d_k + (one.k - in[1]->data);
            one.d_v = d_v + (one.v - in[2]->data);
            kernels()->attention_back(&one);
        }
    }
}

const struct op attention_across_op = {.name = "attention_across", .backward = across_back};

struct tensor *op_attention_across(struct tape *tape, struct tensor *q, struct tensor *k,
                                   struct tensor *v, const struct attention *attention)
{
    CHECK(q->axes == 3 && tensor_same_shape(k, v));
    CHECK(q->shape[0] == k->shape[0] && tensor_width(q) == tensor_width(k));
    CHECK(tensor_width(q) % attention->heads == 0);
    struct tensor *out = tape_tensor_like(tape, q);
    struct attention_kept *kept = tape_struct(tape, sizeof(*kept));
    kept->attention = *attention;
    kept->log_sum = tape_bytes(tape, tensor_rows(q) * attention->heads * sizeof(real));
    struct tensor *inputs[] = {q, k, v};
    size_t size = kernel_scratch(kept, q, k);
    size_t mark = tape_scratch_begin(tape);
    real *scratch = tape_bytes(tape, size * sizeof(real));
    for (size_t b = 0; tape_computes(tape) && b < q->shape[0]; b++) {
        for (size_t h = 0; h < attention->heads; h++) {
            struct attention_head one = head_of(kept, inputs, out, b, h);
            one.scratch = scratch;
            kernels()->attention(&one);
        }
    }
    tape_scratch_end(tape, mark);
    for (size_t i = 0; i < ARRAY_COUNT(inputs); i++) {
        size += inputs[i]->wants_grad ? 0 : tensor_size(inputs[i]);
    }
    tape_record(tape, &attention_across_op, out, inputs, ARRAY_COUNT(inputs), kept,
                size * sizeof(real));
    return out;
}
