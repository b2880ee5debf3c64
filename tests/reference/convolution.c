/* Plain loops of convolutions a channel and of batch normalization, both ways.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "tests/reference/trial.h"

#include "base/check.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

/* Results of the loops, one behind the other in t->expected. */
struct results {
    double *y, *d_x, *d_w, *d_b;
};

static double read(const struct tensor *x, size_t place)
{
    return (double)x->data[place];
}

static double *next_place(double **next, size_t size)
{
    double *place = *next;
    memset(place, 0, size * sizeof(double));
    *next += size;
    return place;
}

static void compare_gradient(struct trial *t, struct tensor *x, double *expected, const char *what)
{
    t->expected = expected;
    trial_compare_values(t, tape_gradient(&t->tape, x), tensor_size(x), what);
}

/* What both convolutions share in a trial. */
struct convolution {
    const struct tensor *x, *w, *b, *cotangent;
    size_t taps, groups, before;
    bool each_step; /* w has weights of each step's own */
};

/* All pairs of a step and a tap that meets a step of the series. */
static void plain_convolution(const struct convolution *c, const struct results *to)
{
    size_t length = c->x->shape[1];
    size_t width = c->x->shape[2];
    for (size_t n = 0; n < tensor_size(c->x); n++) {
        size_t channel = n % width;
        size_t step = n / width % length;
        size_t group = channel / (width / c->groups);
        double dy = read(c->cotangent, n);
        to->y[n] += c->b != NULL ? read(c->b, channel) : 0;
        to->d_b[channel] += dy;
        for (size_t j = 0; j < c->taps; j++) {
            if (step + j < c->before || step + j - c->before >= length) {
                continue;
            }
            size_t row = c->each_step ? n / width * c->groups + group : group;
            size_t from = n + j * width - c->before * width;
            to->y[n] += read(c->w, row * c->taps + j) * read(c->x, from);
            to->d_w[row * c->taps + j] += dy * read(c->x, from);
            to->d_x[from] += dy * read(c->w, row * c->taps + j);
        }
    }
}

static void run_convolution(struct trial *t, const struct convolution *c, struct tensor *y,
                            struct tensor *const in[3])
{
    double *kept = t->expected;
    double *next = kept;
    struct results to;
    to.y = next_place(&next, tensor_size(in[0]));
    to.d_x = next_place(&next, tensor_size(in[0]));
    to.d_w = next_place(&next, tensor_size(in[1]));
    to.d_b = next_place(&next, in[0]->shape[2]);
    CHECK(next - kept <= 1 << 18);
    plain_convolution(c, &to);
    t->expected = to.y;
    trial_compare(t, y);
    compare_gradient(t, in[0], to.d_x, "d x");
    compare_gradient(t, in[1], to.d_w, "d w");
    if (in[2] != NULL) {
        compare_gradient(t, in[2], to.d_b, "d b");
    }
    t->expected = kept;
}

static void check_depthwise_conv(struct trial *t)
{
    size_t groups = trial_some(t, 12);
    size_t width = groups * (trial_some(t, 2) == 1 ? 1 : trial_some(t, 9));
    size_t taps = trial_some(t, 20);
    struct tensor *x = trial_draw(t, trial_some(t, 3), trial_some(t, 40), width);
    struct tensor *w = trial_draw(t, 1, groups, taps);
    w = op_reshape(&t->tape, w, (size_t[]){groups, taps, 0});
    struct tensor *b = trial_some(t, 2) == 1 ? trial_draw(t, 1, 1, width) : NULL;
    struct tensor *cotangent = trial_draw(t, x->shape[0], x->shape[1], width);
    struct convolution_place place = {.before = trial_some(t, taps) - 1};
    struct tensor *y = op_depthwise_conv(&t->tape, x, w, b, place);
    tape_backward(&t->tape, op_inner(&t->tape, y, cotangent));
    struct convolution c = {x, w, b, cotangent, taps, groups, place.before, false};
    run_convolution(t, &c, y, (struct tensor *[]){x, w, b});
}

static void check_dynamic_conv(struct trial *t)
{
    size_t groups = trial_some(t, 5);
    size_t width = groups * trial_some(t, 20);
    size_t taps = trial_some(t, 20);
    struct tensor *x = trial_draw(t, trial_some(t, 3), trial_some(t, 40), width);
    struct tensor *w = trial_draw(t, x->shape[0], x->shape[1], groups * taps);
    struct tensor *cotangent = trial_draw(t, x->shape[0], x->shape[1], width);
    struct convolution_place place = {.before = trial_some(t, taps) - 1};
    struct tensor *y = op_dynamic_conv(&t->tape, x, w, groups, place);
    tape_backward(&t->tape, op_inner(&t->tape, y, cotangent));
    struct convolution c = {x, w, NULL, cotangent, taps, groups, place.before, true};
    run_convolution(t, &c, y, (struct tensor *[]){x, w, NULL});
}

/* ---------------------------------------------------------------- batch normalization */

struct column {
    double mean, biased, unbiased;
};

static struct column column_of(const struct tensor *x, size_t c)
{
    size_t width = tensor_width(x);
    size_t rows = tensor_rows(x);
    struct column column = {0};
    for (size_t i = 0; i < rows; i++) {
        column.mean += read(x, i * width + c) / (double)rows;
    }
    for (size_t i = 0; i < rows; i++) {
        double away = read(x, i * width + c) - column.mean;
        column.biased += away * away / (double)rows;
    }
    column.unbiased = rows > 1 ? column.biased * (double)rows / ((double)rows - 1) : column.biased;
    return column;
}

/* Mean, variance and 1 told in the place of a gradient, or what was kept used. */
static void check_batch_norm(struct trial *t)
{
    size_t width = trial_some(t, 20);
    bool frozen = trial_some(t, 2) == 1;
    /* Of two or three rows dx would be a small difference of large numbers. */
    struct tensor *x = trial_draw(t, trial_some(t, 3), 5 + trial_some(t, 20), width);
    struct tensor *gain = trial_draw(t, 1, 1, width);
    struct tensor *shift = trial_draw(t, 1, 1, width);
    struct tensor *statistics = trial_draw(t, 1, 1, 2 * width + 1);
    struct tensor *cotangent = trial_draw(t, x->shape[0], x->shape[1], width);
    for (size_t c = width; c < 2 * width; c++) {
        statistics->data[c] = (real)0.5 + statistics->data[c] * statistics->data[c];
    }
    struct tensor *y = op_batch_norm(&t->tape, x, gain, shift, statistics, frozen);
    tape_backward(&t->tape, op_inner(&t->tape, y, cotangent));
    double *kept = t->expected;
    double *next = kept;
    size_t rows = tensor_rows(x);
    double *values = next_place(&next, tensor_size(x));
    double *d_x = next_place(&next, tensor_size(x));
    double *d_gain = next_place(&next, width);
    double *d_shift = next_place(&next, width);
    double *told = next_place(&next, 2 * width + 1);
    for (size_t c = 0; c < width; c++) {
        struct column column = column_of(x, c);
        told[c] = frozen ? 0 : column.mean;
        told[width + c] = frozen ? 0 : column.unbiased;
        double mean = frozen ? read(statistics, c) : column.mean;
        double variance = frozen ? read(statistics, width + c) : column.biased;
        double deviation = sqrt(variance + 1e-5);
        for (size_t i = c; i < rows * width; i += width) {
            double normal = (read(x, i) - mean) / deviation;
            values[i] = read(gain, c) * normal + read(shift, c);
            d_gain[c] += read(cotangent, i) * normal;
            d_shift[c] += read(cotangent, i);
        }
        /* Through the mean and the variance too, where they are the batch's. */
        for (size_t i = c; i < rows * width; i += width) {
            double normal = (read(x, i) - mean) / deviation;
            double through = (d_shift[c] + normal * d_gain[c]) / (double)rows;
            d_x[i] = read(gain, c) / deviation * (read(cotangent, i) - (frozen ? 0 : through));
        }
    }
    told[2 * width] = frozen ? 0 : 1;
    t->expected = values;
    trial_compare(t, y);
    compare_gradient(t, x, d_x, "d x");
    compare_gradient(t, gain, d_gain, "d gain");
    compare_gradient(t, shift, d_shift, "d shift");
    compare_gradient(t, statistics, told, "told");
    t->expected = kept;
}

static const struct reference references[] = {
    {"depthwise_conv", check_depthwise_conv},
    {"dynamic_conv", check_dynamic_conv},
    {"batch_norm", check_batch_norm},
};

const struct reference_family references_convolution = {references, ARRAY_COUNT(references)};
