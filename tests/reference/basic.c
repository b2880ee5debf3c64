/* Plain loops of the basic ops: arithmetic, linear, norms, activations, shapes, attention, losses.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "tests/reference/plain.h"
#include "tests/reference/trial.h"

#include "base/check.h"
#include "base/memory.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

/* ---------------------------------------------------------------- arithmetic and shape */

static void check_add(struct trial *t)
{
    struct tensor *a = trial_draw(t, trial_some(t, 3), trial_some(t, 9), trial_some(t, 40));
    struct tensor *b = trial_draw(t, a->shape[0], a->shape[1], a->shape[2]);
    for (size_t i = 0; i < tensor_size(a); i++) {
        t->expected[i] = (double)a->data[i] + (double)b->data[i];
    }
    trial_compare(t, op_add(&t->tape, a, b));
}

static void check_scale(struct trial *t)
{
    struct tensor *a = trial_draw(t, 1, trial_some(t, 9), trial_some(t, 40));
    for (size_t i = 0; i < tensor_size(a); i++) {
        t->expected[i] = 0.75 * (double)a->data[i];
    }
    trial_compare(t, op_scale(&t->tape, a, (real)0.75));
}

static void check_expand(struct trial *t)
{
    struct tensor *a = trial_draw(t, 2, trial_some(t, 9), trial_some(t, 5));
    size_t q = trial_some(t, 11);
    for (size_t i = 0; i < tensor_size(a) * q; i++) {
        t->expected[i] = (double)a->data[i / q];
    }
    trial_compare(t, op_expand(&t->tape, a, q));
}

static void check_inner(struct trial *t)
{
    struct tensor *a = trial_draw(t, 2, trial_some(t, 9), trial_some(t, 5));
    struct tensor *c = trial_draw(t, 2, a->shape[1], a->shape[2]);
    t->expected[0] = 0;
    for (size_t i = 0; i < tensor_size(a); i++) {
        t->expected[0] += (double)a->data[i] * (double)c->data[i];
    }
    trial_compare(t, op_inner(&t->tape, a, c));
}

static void check_mix(struct trial *t)
{
    struct tensor *a = trial_draw(t, trial_some(t, 5), trial_some(t, 6), trial_some(t, 50));
    size_t rows = a->shape[1];
    size_t width = a->shape[2];
    struct tensor *w = trial_draw(t, 1, rows, width);
    w = op_reshape(&t->tape, w, (size_t[]){rows, width, 0});
    for (size_t b = 0; b < a->shape[0]; b++) {
        for (size_t h = 0; h < width; h++) {
            double sum = 0;
            for (size_t n = 0; n < rows; n++) {
                sum += (double)a->data[(b * rows + n) * width + h] * (double)w->data[n * width + h];
            }
            t->expected[b * width + h] = sum;
        }
    }
    trial_compare(t, op_mix(&t->tape, a, w));
}

static void check_concat(struct trial *t)
{
    size_t n = trial_some(t, 9);
    size_t m = trial_some(t, 9);
    struct tensor *a = trial_draw(t, 2, trial_some(t, 5), n);
    struct tensor *b = trial_draw(t, 2, a->shape[1], m);
    for (size_t r = 0; r < tensor_rows(a); r++) {
        for (size_t c = 0; c < n + m; c++) {
            t->expected[r * (n + m) + c] =
                (double)(c < n ? a->data[r * n + c] : b->data[r * m + c - n]);
        }
    }
    trial_compare(t, op_concat(&t->tape, a, b));
}

static void check_slice(struct trial *t)
{
    struct tensor *a = trial_draw(t, 2, trial_some(t, 5), 9);
    size_t from = trial_some(t, 5) - 1;
    size_t count = trial_some(t, 4);
    for (size_t i = 0; i < tensor_rows(a) * count; i++) {
        t->expected[i] = (double)a->data[i / count * 9 + from + i % count];
    }
    trial_compare(t, op_slice(&t->tape, a, from, count));
}

static void check_slice_time(struct trial *t)
{
    struct tensor *a = trial_draw(t, trial_some(t, 3), 9, trial_some(t, 5));
    size_t from = trial_some(t, 5) - 1;
    size_t count = trial_some(t, 4);
    size_t block = count * a->shape[2];
    for (size_t i = 0; i < a->shape[0] * block; i++) {
        t->expected[i] = (double)a->data[(i / block * 9 + from) * a->shape[2] + i % block];
    }
    trial_compare(t, op_slice_time(&t->tape, a, from, count));
}

static void check_add_table(struct trial *t)
{
    struct tensor *a = trial_draw(t, trial_some(t, 3), trial_some(t, 6), trial_some(t, 20));
    size_t from = trial_some(t, 4) - 1;
    size_t block = a->shape[1] * a->shape[2];
    struct tensor *table = tape_input(&t->tape, (size_t[]){10, a->shape[2], 0});
    for (size_t i = 0; i < tensor_size(table); i++) {
        table->data[i] = (real)random_normal(&t->random);
    }
    for (size_t i = 0; i < tensor_size(a); i++) {
        t->expected[i] = (double)a->data[i] + (double)table->data[from * a->shape[2] + i % block];
    }
    trial_compare(t, op_add_table(&t->tape, a, table, from));
}

static void check_embed(struct trial *t)
{
    static uint32_t ids[8];
    size_t width = trial_some(t, 9);
    struct tensor *table = tape_input(&t->tape, (size_t[]){6, width, 0});
    for (size_t i = 0; i < tensor_size(table); i++) {
        table->data[i] = (real)i;
    }
    for (size_t i = 0; i < ARRAY_COUNT(ids); i++) {
        ids[i] = (uint32_t)random_below(&t->random, 6);
    }
    for (size_t i = 0; i < ARRAY_COUNT(ids) * width; i++) {
        t->expected[i] = (double)(ids[i / width] * width + i % width);
    }
    trial_compare(t, op_embed(&t->tape, table, ids, ARRAY_COUNT(ids)));
}

/* Kept values are x / (1 - rate), the others zero, and about the right share is kept. */
static void check_dropout(struct trial *t)
{
    struct tensor *a = trial_draw(t, 1, 40, 50);
    const struct tensor *y = op_dropout(&t->tape, a, 0.25);
    size_t kept = 0;
    for (size_t i = 0; i < tensor_size(a); i++) {
        kept += y->data[i] != 0;
        t->expected[i] = y->data[i] != 0 ? (double)a->data[i] / 0.75 : 0;
    }
    assert_true(kept > 1400 && kept < 1600);
    trial_compare(t, y);
}

/* ---------------------------------------------------------------- linear */

static void check_linear(struct trial *t)
{
    struct tensor *x = trial_draw(t, 2, trial_some(t, 40), trial_some(t, 70));
    size_t in = x->shape[2];
    size_t out = trial_some(t, 70);
    struct tensor *w = op_reshape(&t->tape, trial_draw(t, 1, out, in), (size_t[]){out, in, 0});
    struct tensor *b = trial_draw(t, 1, 1, out);
    for (size_t r = 0; r < tensor_rows(x); r++) {
        for (size_t o = 0; o < out; o++) {
            double sum = (double)b->data[o];
            for (size_t c = 0; c < in; c++) {
                sum += (double)x->data[r * in + c] * (double)w->data[o * in + c];
            }
            t->expected[r * out + o] = sum;
        }
    }
    trial_compare(t, op_linear(&t->tape, x, w, b));
}

static void check_causal_conv(struct trial *t)
{
    size_t length = trial_some(t, 400);
    size_t kernel = trial_some(t, 7);
    struct tensor *x = trial_draw(t, trial_some(t, 3), length, trial_some(t, 9));
    size_t in = x->shape[2];
    struct tensor *w = trial_draw(t, trial_some(t, 9), kernel, in);
    size_t out = w->shape[0];
    struct tensor *b = trial_draw(t, 1, 1, out);
    for (size_t r = 0; r < tensor_rows(x) * out; r++) {
        size_t row = r / out;
        size_t o = r % out;
        t->expected[r] = (double)b->data[o];
        for (size_t j = 0; j < kernel; j++) {
            size_t back = kernel - 1 - j;
            for (size_t c = 0; c < in && back <= row % length; c++) {
                t->expected[r] += (double)w->data[(o * kernel + j) * in + c] *
                                  (double)x->data[(row - back) * in + c];
            }
        }
    }
    trial_compare(t, op_causal_conv(&t->tape, x, w, b, NULL));
}

/* ---------------------------------------------------------------- rows and activations */

static void check_layer_norm(struct trial *t)
{
    struct tensor *x = trial_draw(t, 2, trial_some(t, 9), trial_some(t, 90));
    size_t width = x->shape[2];
    struct tensor *gain = trial_draw(t, 1, 1, width);
    struct tensor *shift = trial_draw(t, 1, 1, width);
    for (size_t r = 0; r < tensor_rows(x); r++) {
        const real *in = x->data + r * width;
        double mean = 0;
        double variance = 0;
        for (size_t c = 0; c < width; c++) {
            mean += (double)in[c] / (double)width;
        }
        for (size_t c = 0; c < width; c++) {
            variance += ((double)in[c] - mean) * ((double)in[c] - mean) / (double)width;
        }
        for (size_t c = 0; c < width; c++) {
            double n = ((double)in[c] - mean) / sqrt(variance + 1e-5);
            t->expected[r * width + c] = n * (double)gain->data[c] + (double)shift->data[c];
        }
    }
    trial_compare(t, op_layer_norm(&t->tape, x, gain, shift));
}

static void check_softmax(struct trial *t)
{
    struct tensor *x = trial_draw(t, 2, trial_some(t, 9), trial_some(t, 90));
    size_t width = x->shape[2];
    for (size_t r = 0; r < tensor_rows(x); r++) {
        double sum = 0;
        for (size_t c = 0; c < width; c++) {
            sum += exp((double)x->data[r * width + c]);
        }
        for (size_t c = 0; c < width; c++) {
            t->expected[r * width + c] = exp((double)x->data[r * width + c]) / sum;
        }
    }
    trial_compare(t, op_softmax(&t->tape, x));
}

static void check_unary(struct trial *t, struct tensor *(*op)(struct tape *, struct tensor *),
                        double (*plain)(double))
{
    struct tensor *x = trial_draw(t, 2, trial_some(t, 9), trial_some(t, 90));
    for (size_t i = 0; i < tensor_size(x); i++) {
        x->data[i] *= 5;
        t->expected[i] = plain((double)x->data[i]);
    }
    trial_compare(t, op(&t->tape, x));
}

static double plain_sigmoid(double x)
{
    return 1 / (1 + exp(-x));
}

static double plain_gelu(double x)
{
    return 0.5 * x * (1 + tanh(sqrt(2 / 3.14159265358979324) * (x + 0.044715 * x * x * x)));
}

static double plain_gelu_exact(double x)
{
    return 0.5 * x * (1 + erf(x / sqrt(2)));
}

static double plain_relu(double x)
{
    return x > 0 ? x : 0;
}

static double plain_swish(double x)
{
    return x * plain_sigmoid(x);
}

static double plain_softplus(double x)
{
    return log(1 + exp(x)) + 0.5;
}

static struct tensor *softplus_with_floor(struct tape *tape, struct tensor *x)
{
    return op_softplus(tape, x, (real)0.5);
}

static void check_gelu(struct trial *t)
{
    check_unary(t, op_gelu, plain_gelu);
}

static void check_gelu_exact(struct trial *t)
{
    check_unary(t, op_gelu_exact, plain_gelu_exact);
}

static void check_relu(struct trial *t)
{
    check_unary(t, op_relu, plain_relu);
}

static void check_swish(struct trial *t)
{
    check_unary(t, op_swish, plain_swish);
}

static void check_tanh(struct trial *t)
{
    check_unary(t, op_tanh, tanh);
}

static void check_softplus(struct trial *t)
{
    check_unary(t, softplus_with_floor, plain_softplus);
}

static void check_glu(struct trial *t)
{
    size_t width = trial_some(t, 20);
    struct tensor *x = trial_draw(t, 2, trial_some(t, 9), 2 * width);
    for (size_t i = 0; i < tensor_size(x) / 2; i++) {
        const real *a = x->data + i / width * 2 * width + i % width;
        t->expected[i] = (double)a[0] * plain_sigmoid((double)a[width]);
    }
    trial_compare(t, op_glu(&t->tape, x));
}

/* ---------------------------------------------------------------- attention */

/* Runs the op both ways and the loops both ways. `force` says which kernel must have run. */
static void check_attention(struct trial *t, const struct pattern *pattern, bool biased,
                            const char *kernel)
{
    size_t batch = trial_some(t, 3);
    size_t heads = trial_some(t, 3);
    size_t width = trial_some(t, 2) == 1 ? trial_some(t, 20) : 16;
    size_t length = pattern->length;
    struct plain plain = {.batch = batch, .length = length, .heads = heads, .width = width};
    struct tensor *qk = trial_draw(t, batch, length, 2 * heads * width);
    struct tensor *v = trial_draw(t, batch, length, heads * width);
    struct tensor *cotangent = trial_draw(t, batch, length, heads * width);
    struct tensor *bias = NULL;
    uint8_t *valid = trial_some(t, 2) == 1 ? mem_zeroed(batch * length, 1) : NULL;
    for (size_t i = 0; valid != NULL && i < batch * length; i++) {
        valid[i] = random_below(&t->random, 4) != 0;
    }
    if (biased) {
        bias = trial_draw(t, 1, heads, pattern->offset_count);
    }
    struct attention attention = {
        .heads = heads, .pattern = pattern, .bias = bias, .key_valid = valid};
    struct tensor *y = op_attention(&t->tape, qk, v, &attention);
    assert_string_equal(t->tape.nodes[t->tape.node_count - 1].op->name, kernel);
    tape_backward(&t->tape, op_inner(&t->tape, y, cotangent));

    plain_open(&plain, qk->data, v->data, cotangent->data, &attention);
    t->expected = plain.y;
    trial_compare(t, y);
    t->expected = plain.d_qk;
    trial_compare_values(t, tape_gradient(&t->tape, qk), tensor_size(qk), "d qk");
    t->expected = plain.d_v;
    trial_compare_values(t, tape_gradient(&t->tape, v), tensor_size(v), "d v");
    if (bias != NULL) {
        t->expected = plain.d_bias;
        trial_compare_values(t, tape_gradient(&t->tape, bias), tensor_size(bias), "d bias");
    }
    plain_close(&plain);
    mem_free(valid);
}

static void check_attention_dense(struct trial *t)
{
    double *kept = t->expected;
    size_t length = trial_some(t, 70);
    struct pattern pattern = trial_some(t, 2) == 1 ? pattern_dense(length) : pattern_full(length);
    check_attention(t, &pattern, false, "attention");
    struct pattern_log_sparse shape = {length, length / 2 + 1, 0, true, 0, 0};
    struct error error = {0};
    assert_int_equal(pattern_log_sparse(&shape, &pattern, &error), STATUS_OK);
    check_attention(t, &pattern, true, "attention");
    pattern_release(&pattern);
    t->expected = kept;
}

static void check_attention_sparse(struct trial *t)
{
    double *kept = t->expected;
    struct pattern_log_sparse shape = {120 + trial_some(t, 60), trial_some(t, 4), 0, true, 0, 0};
    struct pattern pattern;
    struct error error = {0};
    assert_int_equal(pattern_log_sparse(&shape, &pattern, &error), STATUS_OK);
    check_attention(t, &pattern, trial_some(t, 2) == 1, "attention_sparse");
    pattern_release(&pattern);
    t->expected = kept;
}

static void check_attention_rows(struct trial *t)
{
    double *kept = t->expected;
    size_t length = trial_some(t, 40);
    int32_t *mask = mem_zeroed(length * length, sizeof(int32_t));
    for (size_t i = 0; i < length * length; i++) {
        mask[i] = random_below(&t->random, 3) == 0; /* the future too, and empty rows */
    }
    struct pattern pattern;
    struct error error = {0};
    assert_int_equal(pattern_from_mask(mask, length, &pattern, &error), STATUS_OK);
    check_attention(t, &pattern, false, "attention_rows");
    pattern_release(&pattern);
    mem_free(mask);
    t->expected = kept;
}

/* ---------------------------------------------------------------- losses */

static struct tensor *weights(struct trial *t, size_t n, struct tensor *target)
{
    struct tensor *weight = trial_draw(t, 1, 1, n);
    for (size_t i = 0; i < n; i++) {
        if (i % 3 == 2) {
            weight->data[i] = 0;
            target->data[i] = (real)NAN;
        }
    }
    return weight;
}

static void check_pinball(struct trial *t)
{
    static const real levels[] = {(real)0.025, (real)0.25, (real)0.5, (real)0.9};
    size_t n = trial_some(t, 50);
    struct tensor *f = trial_draw(t, 1, n, ARRAY_COUNT(levels));
    struct tensor *target = trial_draw(t, 1, 1, n);
    struct tensor *weight = weights(t, n, target);
    double sum = 0;
    for (size_t i = 0; i < n * ARRAY_COUNT(levels); i++) {
        double p = (double)levels[i % ARRAY_COUNT(levels)];
        double e = (double)target->data[i / ARRAY_COUNT(levels)] - (double)f->data[i];
        double w = (double)weight->data[i / ARRAY_COUNT(levels)];
        sum += w != 0 ? w * fmax(p * e, (p - 1) * e) : 0;
    }
    t->expected[0] = 0.25 * sum;
    trial_compare(t, op_pinball(&t->tape, f, target, weight, levels, (real)0.25));
}

static double plain_gaussian(double mu, double sigma, double nu, double y)
{
    (void)nu;
    return log(sigma) + 0.5 * log(2 * 3.14159265358979324) +
           0.5 * (y - mu) * (y - mu) / sigma / sigma;
}

static double plain_student(double mu, double sigma, double nu, double y)
{
    double z = (y - mu) / sigma;
    return lgamma(nu / 2) - lgamma((nu + 1) / 2) + 0.5 * log(nu * 3.14159265358979324) +
           log(sigma) + (nu + 1) / 2 * log(1 + z * z / nu);
}

static void check_likelihood(struct trial *t, size_t width,
                             double (*plain)(double, double, double, double))
{
    size_t n = trial_some(t, 50);
    struct tensor *x = trial_draw(t, 1, n, width);
    struct tensor *target = trial_draw(t, 1, 1, n);
    struct tensor *weight = weights(t, n, target);
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        const real *row = x->data + i * width;
        double sigma = log(1 + exp((double)row[1])) + 0.001;
        double nu = width == 3 ? 2 + log(1 + exp((double)row[2])) : 0;
        if (weight->data[i] != 0) {
            sum +=
                (double)weight->data[i] * plain((double)row[0], sigma, nu, (double)target->data[i]);
        }
    }
    t->expected[0] = 0.25 * sum;
    trial_compare(t, (width == 3 ? op_student_nll : op_gaussian_nll)(&t->tape, x, target, weight,
                                                                     (real)0.25));
}

static void check_gaussian_nll(struct trial *t)
{
    check_likelihood(t, 2, plain_gaussian);
}

static void check_student_nll(struct trial *t)
{
    check_likelihood(t, 3, plain_student);
}

static const struct reference references[] = {
    {"add", check_add},
    {"scale", check_scale},
    {"expand", check_expand},
    {"inner", check_inner},
    {"mix", check_mix},
    {"linear", check_linear},
    {"causal_conv", check_causal_conv},
    {"layer_norm", check_layer_norm},
    {"softmax", check_softmax},
    {"gelu", check_gelu},
    {"gelu_exact", check_gelu_exact},
    {"relu", check_relu},
    {"swish", check_swish},
    {"tanh", check_tanh},
    {"softplus", check_softplus},
    {"glu", check_glu},
    {"dropout", check_dropout},
    {"concat", check_concat},
    {"slice", check_slice},
    {"slice_time", check_slice_time},
    {"add_table", check_add_table},
    {"embed", check_embed},
    {"attention", check_attention_dense},
    {"attention_sparse", check_attention_sparse},
    {"attention_rows", check_attention_rows},
    {"pinball", check_pinball},
    {"gaussian_nll", check_gaussian_nll},
    {"student_nll", check_student_nll},
};

const struct reference_family references_basic = {references, ARRAY_COUNT(references)};
