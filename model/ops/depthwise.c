/* Convolutions a channel: with weights shared by all steps, or with weights of each step's own.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Depthwise (Gulati et al. 2020) and lightweight (Wu et al. 2019): w[G, K]; dynamic (Wu et al.
 * 2019): w[B, T, G, K]. A series is copied once into rows that are padded in time, so that the
 * kernels have no borders.
 */
#include "model/ops/kernels.h"
#include "model/ops/ops.h"
#include "model/ops/rows.h"

#include "base/check.h"

#include <string.h>

/* The sizes of a call: all that the way back needs besides the inputs. */
struct kept {
    size_t length, width;        /* T, C */
    size_t taps, groups, before; /* K, G */
};

/* [T + K - 1, C]: the T steps of one series between `before` rows of its tail (or zeros, where it
 * is NULL) and zeros. */
static void pad(const struct kept *kept, size_t before, const real *steps, const real *tail,
                real *rows)
{
    size_t head = before * kept->width;
    size_t body = kept->length * kept->width;
    if (tail != NULL) {
        memcpy(rows, tail, head * sizeof(real));
    } else {
        memset(rows, 0, head * sizeof(real));
    }
    memcpy(rows + head, steps, body * sizeof(real));
    memset(rows + head + body, 0, (kept->taps - 1 - before) * kept->width * sizeof(real));
}

static size_t padded_size(const struct kept *kept)
{
    return (kept->length + kept->taps - 1) * kept->width;
}

/* The rows of series b before its first step, or NULL. */
static const real *tail_of(const struct convolution_place *place, const struct kept *kept, size_t b)
{
    return place->tail != NULL ? place->tail->data + b * kept->before * kept->width : NULL;
}

/* [K, C] from [G, K]; reversed for the way back. */
static void spread_taps(const struct kept *kept, const real *w, bool reversed, real *spread)
{
    size_t group = kept->width / kept->groups;
    for (size_t j = 0; j < kept->taps; j++) {
        size_t from = reversed ? kept->taps - 1 - j : j;
        for (size_t c = 0; c < kept->width; c++) {
            spread[j * kept->width + c] = w[c / group * kept->taps + from];
        }
    }
}

/* ---------------------------------------------------------------- shared by all steps */

static void depthwise_back(struct tape *tape, const struct node *node)
{
    const struct kept *kept = node->context;
    const struct tensor *x = node->in[0];
    size_t width = kept->width;
    size_t taps = kept->taps;
    const real *dy = tape_grad_of(node->out);
    real *dx = tape_grad_sum(tape, node->in[0]);
    real *dw = tape_grad_sum(tape, node->in[1]);
    real *db = tape_grad_sum(tape, node->in[2]);
    real *spread = tape_backward_scratch(tape, node->scratch);
    real *d_spread = spread + taps * width;
    real *rows = d_spread + taps * width;
    real *result = rows + padded_size(kept);
    spread_taps(kept, node->in[1]->data, true, spread);
    memset(d_spread, 0, taps * width * sizeof(real));
    struct channel_convolution job = {
        .length = kept->length, .width = width, .taps = taps, .x = rows};
    for (size_t b = 0; b < x->shape[0]; b++) {
        size_t at = b * kept->length * width;
        if (dw != NULL) {
            pad(kept, kept->before, x->data + at, NULL, rows);
            job.d_y = dy + at;
            job.d_w = d_spread;
            kernels()->channel_convolution_back(&job);
        }
        if (dx != NULL) {
            /* dx_s = sum_j w_j dy_(s + before - j): dy padded the other way, taps reversed. */
            pad(kept, taps - 1 - kept->before, dy + at, NULL, rows);
            job.w = spread;
            job.y = result;
            kernels()->channel_convolution(&job);
            kernels()->add_scaled(kept->length * width, 1, result, dx + at);
        }
    }
    size_t group = width / kept->groups;
    for (size_t c = 0; dw != NULL && c < width; c++) {
        for (size_t j = 0; j < taps; j++) {
            dw[c / group * taps + j] += d_spread[j * width + c];
        }
    }
    if (db != NULL) {
        kernels()->column_sums(x->shape[0] * kept->length, width, dy, db);
    }
}

const struct op depthwise_conv_op = {.name = "depthwise_conv", .backward = depthwise_back};

struct tensor *op_depthwise_conv(struct tape *tape, struct tensor *x, struct tensor *w,
                                 struct tensor *b, struct convolution_place place)
{
    CHECK(x->axes == 3 && w->axes == 2);
    CHECK(x->shape[2] % w->shape[0] == 0);
    CHECK(place.before < w->shape[1]);
    CHECK(place.tail == NULL || tape->mode == TAPE_INFER);
    size_t width = x->shape[2];
    size_t length = x->shape[1];
    struct kept *kept = tape_struct(tape, sizeof(*kept));
    *kept = (struct kept){length, width, w->shape[1], w->shape[0], place.before};
    struct tensor *y = tape_tensor_like(tape, x);
    size_t mark = tape_scratch_begin(tape);
    size_t spread_size = kept->taps * width;
    real *spread = tape_bytes(tape, spread_size * sizeof(real));
    real *rows = tape_bytes(tape, padded_size(kept) * sizeof(real));
    if (tape_computes(tape)) {
        spread_taps(kept, w->data, false, spread);
        for (size_t s = 0; s < x->shape[0]; s++) {
            pad(kept, kept->before, x->data + s * length * width, tail_of(&place, kept, s), rows);
            kernels()->channel_convolution(&(struct channel_convolution){
                .length = length,
                .width = width,
                .taps = kept->taps,
                .x = rows,
                .w = spread,
                .y = y->data + s * length * width,
            });
        }
        if (b != NULL) {
            kernels()->add_row(x->shape[0] * length, width, b->data, y->data);
        }
    }
    tape_scratch_end(tape, mark);
    size_t scratch = 2 * spread_size + padded_size(kept) + length * width;
    tape_record(tape, &depthwise_conv_op, y, (struct tensor *[]){x, w, b}, 3, kept,
                scratch * sizeof(real));
    return y;
}

/* ---------------------------------------------------------------- weights of each step's own */

static void dynamic_back(struct tape *tape, const struct node *node)
{
    const struct kept *kept = node->context;
    const struct tensor *x = node->in[0];
    const real *w = node->in[1]->data;
    size_t body = kept->length * kept->width;
    size_t weights = kept->length * kept->groups * kept->taps;
    const real *dy = tape_grad_of(node->out);
    real *dx = tape_grad_sum(tape, node->in[0]);
    real *dw = tape_grad_sum(tape, node->in[1]);
    real *rows = tape_backward_scratch(tape, node->scratch);
    real *d_rows = rows + padded_size(kept);
    real *unwanted = d_rows + padded_size(kept);
    for (size_t b = 0; b < x->shape[0]; b++) {
        pad(kept, kept->before, x->data + b * body, NULL, rows);
        memset(d_rows, 0, padded_size(kept) * sizeof(real));
        if (dw == NULL) {
            memset(unwanted, 0, weights * sizeof(real));
        }
        kernels()->step_convolution_back(&(struct channel_convolution){
            .length = kept->length,
            .width = kept->width,
            .taps = kept->taps,
            .groups = kept->groups,
            .x = rows,
            .w = w + b * weights,
            .d_y = dy + b * body,
            .d_x = d_rows,
            .d_w = dw != NULL ? dw + b * weights : unwanted,
        });
        if (dx != NULL) {
            kernels()->add_scaled(body, 1, d_rows + kept->before * kept->width, dx + b * body);
        }
    }
}

const struct op dynamic_conv_op = {.name = "dynamic_conv", .backward = dynamic_back};

struct tensor *op_dynamic_conv(struct tape *tape, struct tensor *x, struct tensor *w, size_t groups,
                               struct convolution_place place)
{
    CHECK(x->axes == 3 && w->axes == 3);
    CHECK(x->shape[0] == w->shape[0] && x->shape[1] == w->shape[1]);
    CHECK(w->shape[2] % groups == 0 && x->shape[2] % groups == 0);
    CHECK(place.before < w->shape[2] / groups);
    CHECK(place.tail == NULL || tape->mode == TAPE_INFER);
    size_t width = x->shape[2];
    size_t length = x->shape[1];
    struct kept *kept = tape_struct(tape, sizeof(*kept));
    *kept = (struct kept){length, width, w->shape[2] / groups, groups, place.before};
    struct tensor *y = tape_tensor_like(tape, x);
    size_t mark = tape_scratch_begin(tape);
    size_t weights = length * groups * kept->taps;
    real *rows = tape_bytes(tape, padded_size(kept) * sizeof(real));
    for (size_t s = 0; tape_computes(tape) && s < x->shape[0]; s++) {
        pad(kept, kept->before, x->data + s * length * width, tail_of(&place, kept, s), rows);
        kernels()->step_convolution(&(struct channel_convolution){
            .length = length,
            .width = width,
            .taps = kept->taps,
            .groups = groups,
            .x = rows,
            .w = w->data + s * weights,
            .y = y->data + s * length * width,
        });
    }
    tape_scratch_end(tape, mark);
    size_t scratch = 2 * padded_size(kept) + (w->wants_grad ? 0 : weights);
    tape_record(tape, &dynamic_conv_op, y, (struct tensor *[]){x, w}, 2, kept,
                scratch * sizeof(real));
    return y;
}
