/* Losses: pinball over quantile levels, Gaussian and Student negative log-likelihoods.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Each gives one scalar, factor times a weighted sum. Rows of weight 0 are never looked at, so
 * their targets may be NaN (missing).
 */
#include "model/ops/kernels.h"
#include "model/ops/ops.h"
#include "model/ops/rows.h"

#include "base/check.h"

#include <math.h>

#define SIGMA_FLOOR 0.001
#define NU_FLOOR    2.0

struct loss {
    const struct tensor *target, *weight; /* [n] */
    const real *levels;                   /* [Q] */
    real factor;
};

static struct loss *keep(struct tape *tape, struct loss loss)
{
    struct loss *kept = tape_struct(tape, sizeof(*kept));
    *kept = loss;
    return kept;
}

/* ---------------------------------------------------------------- pinball */

static void pinball_back(struct tape *tape, const struct node *node)
{
    const struct loss *loss = node->context;
    struct tensor *forecast = node->in[0];
    real beta = 0;
    real *d_forecast = tape_grad_target(tape, forecast, &beta);
    if (d_forecast != NULL) {
        kernels()->pinball_back(tensor_rows(forecast), tensor_width(forecast), forecast->data,
                                loss->target->data, loss->weight->data, loss->levels,
                                loss->factor * tape_grad_of(node->out)[0], beta, d_forecast);
    }
}

const struct op pinball_op = {.name = "pinball", .backward = pinball_back};

struct tensor *op_pinball(struct tape *tape, struct tensor *forecast, const struct tensor *target,
                          const struct tensor *weight, const real *levels, real factor)
{
    size_t rows = tensor_rows(forecast);
    CHECK(tensor_size(target) == rows);
    CHECK(tensor_size(weight) == rows);
    struct tensor *y = tape_tensor(tape, (size_t[]){1, 0});
    struct loss *loss = keep(tape, (struct loss){target, weight, levels, factor});
    if (tape_computes(tape)) {
        double sum = kernels()->pinball(rows, tensor_width(forecast), forecast->data, target->data,
                                        weight->data, levels);
        y->data[0] = (real)((double)factor * sum);
    }
    tape_record(tape, &pinball_op, y, &forecast, 1, loss, 0);
    return y;
}

/* ---------------------------------------------------------------- likelihoods */

static double softplus(double x)
{
    return (x > 0 ? x : 0) + log1p(exp(-fabs(x)));
}

static double sigmoid(double x)
{
    return 1 / (1 + exp(-x));
}

/* log s + log(2 pi) / 2 + z^2 / 2 with z = (y - mu) / s. */
static double gaussian(const double output[3], double y)
{
    double s = softplus(output[1]) + SIGMA_FLOOR;
    double z = (y - output[0]) / s;
    return log(s) + 0.91893853320467274 + 0.5 * z * z;
}

static void gaussian_slope(const double output[3], double y, double slope[3])
{
    double s = softplus(output[1]) + SIGMA_FLOOR;
    double z = (y - output[0]) / s;
    slope[0] = -z / s;
    slope[1] = (1 - z * z) / s * sigmoid(output[1]);
}

/* The derivative of log gamma: recurrence up to 6, then the asymptotic series. */
static double digamma(double x)
{
    double sum = 0;
    for (; x < 6; x += 1) {
        sum -= 1 / x;
    }
    double r = 1 / (x * x);
    double series = r * (1.0 / 12 - r * (1.0 / 120 - r * (1.0 / 252 - r * (1.0 / 240 - r / 132))));
    return sum + log(x) - 0.5 / x - series;
}

/* lgamma writes a global sign; this one does not. */
static double log_gamma(double x)
{
    int sign = 0;
    return lgamma_r(x, &sign);
}

static double student(const double output[3], double y)
{
    double s = softplus(output[1]) + SIGMA_FLOOR;
    double nu = softplus(output[2]) + NU_FLOOR;
    double z = (y - output[0]) / s;
    return log_gamma(nu / 2) - log_gamma((nu + 1) / 2) + 0.5 * log(nu * 3.14159265358979324) +
           log(s) + (nu + 1) / 2 * log1p(z * z / nu);
}

static void student_slope(const double output[3], double y, double slope[3])
{
    double s = softplus(output[1]) + SIGMA_FLOOR;
    double nu = softplus(output[2]) + NU_FLOOR;
    double z = (y - output[0]) / s;
    double by_z = (nu + 1) * z / (nu + z * z);
    slope[0] = -by_z / s;
    slope[1] = (1 - z * by_z) / s * sigmoid(output[1]);
    slope[2] =
        0.5 *
        (digamma(nu / 2) - digamma((nu + 1) / 2) + 1 / nu + log1p(z * z / nu) - z * by_z / nu) *
        sigmoid(output[2]);
}

/* One distribution: its likelihood and slope in `width` outputs a row. */
struct likelihood {
    size_t width;
    double (*value)(const double output[3], double y);
    void (*slope)(const double output[3], double y, double slope[3]);
};

static const struct likelihood gaussian_likelihood = {2, gaussian, gaussian_slope};
static const struct likelihood student_likelihood = {3, student, student_slope};

static void take_row(const struct tensor *output, size_t row, double values[3])
{
    size_t width = tensor_width(output);
    for (size_t c = 0; c < 3; c++) {
        values[c] = c < width ? (double)output->data[row * width + c] : 0;
    }
}

static void likelihood_back(struct tape *tape, const struct node *node,
                            const struct likelihood *likelihood)
{
    const struct loss *loss = node->context;
    struct tensor *output = node->in[0];
    real *d_output = tape_grad_sum(tape, output);
    double factor = (double)loss->factor * (double)tape_grad_of(node->out)[0];
    for (size_t i = 0; d_output != NULL && i < tensor_rows(output); i++) {
        if (loss->weight->data[i] == 0) {
            continue;
        }
        double values[3];
        double slope[3] = {0};
        take_row(output, i, values);
        likelihood->slope(values, (double)loss->target->data[i], slope);
        for (size_t c = 0; c < likelihood->width; c++) {
            double by_output = factor * (double)loss->weight->data[i] * slope[c];
            d_output[i * likelihood->width + c] += (real)by_output;
        }
    }
}

static struct tensor *likelihood_loss(struct tape *tape, const struct op *op,
                                      const struct likelihood *likelihood, struct tensor *output,
                                      const struct loss *given)
{
    size_t rows = tensor_rows(output);
    CHECK(tensor_width(output) == likelihood->width);
    CHECK(tensor_size(given->target) == rows);
    CHECK(tensor_size(given->weight) == rows);
    struct tensor *y = tape_tensor(tape, (size_t[]){1, 0});
    struct loss *loss = keep(tape, *given);
    double sum = 0;
    for (size_t i = 0; tape_computes(tape) && i < rows; i++) {
        if (loss->weight->data[i] != 0) {
            double values[3];
            take_row(output, i, values);
            sum += (double)loss->weight->data[i] *
                   likelihood->value(values, (double)loss->target->data[i]);
        }
    }
    if (tape_computes(tape)) {
        y->data[0] = (real)((double)loss->factor * sum);
    }
    tape_record(tape, op, y, &output, 1, loss, 0);
    return y;
}

static void gaussian_nll_back(struct tape *tape, const struct node *node)
{
    likelihood_back(tape, node, &gaussian_likelihood);
}

static void student_nll_back(struct tape *tape, const struct node *node)
{
    likelihood_back(tape, node, &student_likelihood);
}

const struct op gaussian_nll_op = {.name = "gaussian_nll", .backward = gaussian_nll_back};
const struct op student_nll_op = {.name = "student_nll", .backward = student_nll_back};

struct tensor *op_gaussian_nll(struct tape *tape, struct tensor *output,
                               const struct tensor *target, const struct tensor *weight,
                               real factor)
{
    struct loss loss = {.target = target, .weight = weight, .factor = factor};
    return likelihood_loss(tape, &gaussian_nll_op, &gaussian_likelihood, output, &loss);
}

struct tensor *op_student_nll(struct tape *tape, struct tensor *output, const struct tensor *target,
                              const struct tensor *weight, real factor)
{
    struct loss loss = {.target = target, .weight = weight, .factor = factor};
    return likelihood_loss(tape, &student_nll_op, &student_likelihood, output, &loss);
}
