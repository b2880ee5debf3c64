/* Multiply-adds of a Lite Transformer's layers as a share of the plain block's at the same width.
 * SPDX-License-Identifier: Apache-2.0
 *
 * usage: bench_block
 *
 * Counted from what runs: both backbones go forward over one window on a measuring tape, and every
 * node tells its multiply-adds by its shapes. Attention counts the pairs that a causal query sees.
 * Norms, activations, softmax and sums have no product of two tensors and count as none. CSV rows:
 * part,backbone,case,measure,value, with the length as the case.
 */
#include "model/backbones/backbone.h"

#include "base/check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The block that the paper compares with: full width to attention, feed-forward of four widths. */
#define PLAIN "width=64 heads=4 layers=3 inner=256 pattern=dense kernel=1 dropout=0"
#define LITE  "width=64 heads=4 layers=3 dropout=0"

static const size_t lengths[] = {24, 48, 96, 144, 192, 216, 336, 512};

/* Ops without a product of two tensors. */
static const char *const free_ops[] = {"add", "add_table", "layer_norm", "softmax", "gelu",
                                       "glu", "dropout",   "concat",     "slice",   "inner"};

static bool is_free(const char *op)
{
    for (size_t i = 0; i < ARRAY_COUNT(free_ops); i++) {
        if (strcmp(free_ops[i], op) == 0) {
            return true;
        }
    }
    return false;
}

/* Of one node. */
static double multiply_adds(const struct node *node)
{
    const char *op = node->op->name;
    const struct tensor *w = node->in[1];
    double out = (double)tensor_size(node->out);
    if (strcmp(op, "linear") == 0 || strcmp(op, "depthwise_conv") == 0) {
        return out * (double)w->shape[1];
    }
    if (strcmp(op, "causal_conv") == 0) {
        return out * (double)(w->shape[1] * w->shape[2]);
    }
    if (strcmp(op, "dynamic_conv") == 0) { /* its weights are a softmax over the taps, reshaped */
        CHECK(w->base != NULL);
        return out * (double)tensor_width(w->base);
    }
    if (strcmp(op, "attention") == 0) { /* scores and values of (T + 1) / 2 keys on average */
        return out * (double)(node->out->shape[1] + 1);
    }
    if (!is_free(op)) {
        (void)fprintf(stderr, "bench_block: the op %s is not counted\n", op);
        exit(1);
    }
    return 0;
}

/* A token and layer, over one window of `length` tokens. */
static double count(const char *backbone, const char *options, size_t length)
{
    struct error error = {0};
    struct backbone_model *model;
    struct backbone_shape shape = {.length = length};
    struct params params;
    struct tape tape;
    CHECK(backbone_create(backbone, options, &shape, &model, &error) == STATUS_OK);
    CHECK(params_init(&params, &error) == STATUS_OK);
    backbone_declare(model, &params, "b");
    CHECK(tape_measure(&tape, TAPE_TRAIN, &params, &error) == STATUS_OK);
    struct tensor *x = tape_input(&tape, (size_t[]){1, length, model->width, 0});
    (void)backbone_forward(model, &tape, x, NULL);
    double sum = 0;
    for (size_t i = 0; i < tape.node_count; i++) {
        sum += multiply_adds(&tape.nodes[i]);
    }
    sum /= (double)(length * model->layers);
    tape_release(&tape);
    params_release(&params);
    backbone_release(model);
    return sum;
}

int main(void)
{
    for (size_t i = 0; i < ARRAY_COUNT(lengths); i++) {
        double plain = count("logsparse", PLAIN, lengths[i]);
        double lite = count("lite_transformer", LITE, lengths[i]);
        printf("block,dense,%zu,multiply_adds_a_token_and_layer,%.0f\n", lengths[i], plain);
        printf("block,lite_transformer,%zu,multiply_adds_a_token_and_layer,%.0f\n", lengths[i],
               lite);
        printf("block,lite_transformer,%zu,share_of_plain_multiply_adds,%.4f\n", lengths[i],
               lite / plain);
    }
    return 0;
}
