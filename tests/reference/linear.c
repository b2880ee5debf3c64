/* Linear attention and head norms in plain loops: the whole matrix of kernel values.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "tests/reference/trial.h"

#include "base/check.h"
#include "base/memory.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

/* One head of one series: where its rows begin, and what the loops fill in. */
struct loops {
    const struct linear_attention *spec;
    size_t length, width, features, all;
    const real *q, *k, *v, *cotangent;
    double top;                /* the published stabiliser's largest key exponent */
    double *phi_q, *phi_k;     /* [T, m] */
    double *slope_q, *slope_k; /* [T, m]: dphi/da */
    double *y, *d_q, *d_k, *d_v;
};

static bool published(const struct loops *l)
{
    return l->spec->map == FEATURES_SOFTMAX &&
           (l->spec->feature_floor != 0 || l->spec->denominator_floor != 0);
}

static double exponent(const struct loops *l, const real *x, size_t i)
{
    const struct tensor *w = l->spec->projection;
    double scale = l->spec->scale != 0 ? (double)l->spec->scale : pow((double)l->width, -0.25);
    double sum = w == NULL ? (double)x[i] : 0;
    for (size_t c = 0; w != NULL && c < l->width; c++) {
        sum += (double)w->data[i * l->width + c] * (double)x[c];
    }
    return scale * sum;
}

static double half_square(const struct loops *l, const real *x)
{
    double scale = l->spec->scale != 0 ? (double)l->spec->scale : pow((double)l->width, -0.25);
    double sum = 0;
    for (size_t c = 0; c < l->width; c++) {
        sum += scale * scale * (double)x[c] * (double)x[c] / 2;
    }
    return sum;
}

static void features_of(const struct loops *l, const real *x, bool key, double *phi, double *slope)
{
    double floor = (double)l->spec->feature_floor;
    double shift = half_square(l, x);
    double largest = -INFINITY;
    for (size_t i = 0; i < l->features; i++) {
        largest = fmax(largest, exponent(l, x, i));
    }
    shift += !published(l) ? 0 : key ? l->top : largest;
    for (size_t i = 0; i < l->features; i++) {
        double a = exponent(l, x, i);
        bool relu = l->spec->map == FEATURES_RELU;
        double bare = relu ? fmax(a, 0) : exp(a - shift);
        phi[i] = bare + floor;
        slope[i] = relu ? a > 0 : bare;
    }
}

static double pair(const struct loops *l, size_t t, size_t s)
{
    double sum = 0;
    for (size_t i = 0; i < l->features; i++) {
        sum += l->phi_q[t * l->features + i] * l->phi_k[s * l->features + i];
    }
    return sum;
}

/* What the floor of the denominator adds: it is in units of m^(-1/2) phi. */
static double floor_of(const struct loops *l, size_t t)
{
    double unit = l->spec->map == FEATURES_SOFTMAX ? sqrt((double)l->features) : 1;
    double sum = 0;
    for (size_t i = 0; i < l->features; i++) {
        sum += (double)l->spec->denominator_floor * unit * l->phi_q[t * l->features + i];
    }
    return l->spec->encoder ? 0 : sum;
}

/* d_x of one vector, given the gradient of its features. */
static void vector_back(const struct loops *l, const real *x, bool squared, const double *slope,
                        const double *d_phi, double *d_x)
{
    const struct tensor *w = l->spec->projection;
    double scale = l->spec->scale != 0 ? (double)l->spec->scale : pow((double)l->width, -0.25);
    for (size_t i = 0; i < l->features; i++) {
        double d_a = d_phi[i] * slope[i];
        for (size_t c = 0; c < l->width; c++) {
            double along = w != NULL ? (double)w->data[i * l->width + c] : (double)(i == c);
            d_x[c] += d_a * scale * along;
            d_x[c] -= squared ? d_a * scale * scale * (double)x[c] : 0;
        }
    }
}

/* Row t: output, and its part of the gradients. */
static void row_both_ways(struct loops *l, size_t t, double *d_phi_q, double *d_phi_k)
{
    size_t last = l->spec->encoder ? l->length - 1 : t;
    double unit = l->spec->map == FEATURES_SOFTMAX ? sqrt((double)l->features) : 1;
    double total = floor_of(l, t);
    double d_total = 0;
    for (size_t s = 0; s <= last; s++) {
        total += pair(l, t, s);
    }
    for (size_t s = 0; s <= last; s++) {
        for (size_t c = 0; c < l->width; c++) {
            double p = pair(l, t, s) / total;
            l->y[t * l->all + c] += p * (double)l->v[s * l->all + c];
            l->d_v[s * l->all + c] += p * (double)l->cotangent[t * l->all + c];
        }
    }
    for (size_t c = 0; c < l->width; c++) {
        d_total -= (double)l->cotangent[t * l->all + c] * l->y[t * l->all + c] / total;
    }
    for (size_t s = 0; s <= last; s++) {
        double d_pair = d_total;
        for (size_t c = 0; c < l->width; c++) {
            d_pair += (double)l->cotangent[t * l->all + c] * (double)l->v[s * l->all + c] / total;
        }
        for (size_t i = 0; i < l->features; i++) {
            d_phi_q[t * l->features + i] += d_pair * l->phi_k[s * l->features + i];
            d_phi_k[s * l->features + i] += d_pair * l->phi_q[t * l->features + i];
        }
    }
    for (size_t i = 0; i < l->features && !l->spec->encoder; i++) {
        d_phi_q[t * l->features + i] += d_total * (double)l->spec->denominator_floor * unit;
    }
}

static void run_loops(struct loops *l)
{
    size_t count = l->length * l->features;
    bool relu = l->spec->map == FEATURES_RELU;
    double *room = mem_zeroed(6 * count, sizeof(double));
    CHECK(room != NULL);
    l->phi_q = room;
    l->phi_k = room + count;
    l->slope_q = room + 2 * count;
    l->slope_k = room + 3 * count;
    l->top = -INFINITY;
    for (size_t t = 0; t < l->length; t++) {
        for (size_t i = 0; i < l->features; i++) {
            l->top = fmax(l->top, exponent(l, l->k + t * 2 * l->all, i));
        }
    }
    for (size_t t = 0; t < l->length; t++) {
        size_t at = t * l->features;
        features_of(l, l->q + t * 2 * l->all, false, l->phi_q + at, l->slope_q + at);
        features_of(l, l->k + t * 2 * l->all, true, l->phi_k + at, l->slope_k + at);
    }
    for (size_t t = 0; t < l->length; t++) {
        row_both_ways(l, t, room + 4 * count, room + 5 * count);
    }
    for (size_t t = 0; t < l->length; t++) {
        size_t at = t * l->features;
        size_t x = t * 2 * l->all;
        vector_back(l, l->q + x, !relu, l->slope_q + at, room + 4 * count + at, l->d_q + x);
        vector_back(l, l->k + x, !relu, l->slope_k + at, room + 5 * count + at, l->d_k + x);
    }
    mem_free(room);
}

/* A random setting: map, projection, encoder, floors. */
static struct linear_attention draw_spec(struct trial *t, size_t width)
{
    struct linear_attention spec = {.heads = trial_some(t, 3)};
    spec.map = trial_some(t, 3) == 1 ? FEATURES_RELU : FEATURES_SOFTMAX;
    spec.encoder = trial_some(t, 3) == 1;
    spec.scale = trial_some(t, 3) == 1 ? (real)0.3 : 0;
    bool relu = spec.map == FEATURES_RELU;
    if (!relu || trial_some(t, 2) == 1) {
        size_t features = trial_some(t, 40);
        spec.projection =
            op_reshape(&t->tape, trial_draw(t, 1, features, width), (size_t[]){features, width, 0});
    }
    bool floors = relu || trial_some(t, 4) == 1;
    spec.feature_floor = floors ? (real)0.01 : 0;
    spec.denominator_floor = floors && trial_some(t, 2) == 1 ? (real)0.02 : 0;
    return spec;
}

static void check_linear_attention(struct trial *t)
{
    double *kept = t->expected;
    size_t batch = trial_some(t, 2);
    size_t width = trial_some(t, 20);
    size_t length = trial_some(t, 150);
    struct linear_attention spec = draw_spec(t, width);
    size_t all = spec.heads * width;
    struct tensor *qk = trial_draw(t, batch, length, 2 * all);
    struct tensor *v = trial_draw(t, batch, length, all);
    struct tensor *cotangent = trial_draw(t, batch, length, all);
    /* sizes differ and grow, so that the running maximum moves in every chunk */
    for (size_t i = 0; i < tensor_size(qk); i++) {
        double step = (double)(i / (2 * all) % length);
        qk->data[i] *= (real)(0.4 + 0.4 * step / (double)length);
    }
    struct tensor *y = op_linear_attention(&t->tape, qk, v, &spec);
    tape_backward(&t->tape, op_inner(&t->tape, y, cotangent));
    size_t size = batch * length * all;
    double *results = mem_zeroed(4 * size, sizeof(double));
    CHECK(results != NULL);
    for (size_t i = 0; i < batch * spec.heads; i++) {
        size_t at = i / spec.heads * length * all + i % spec.heads * width;
        size_t at_qk = i / spec.heads * length * 2 * all + i % spec.heads * width;
        struct loops loops = {
            .spec = &spec,
            .length = length,
            .width = width,
            .features = spec.projection != NULL ? spec.projection->shape[0] : width,
            .all = all,
            .q = qk->data + at_qk,
            .k = qk->data + at_qk + all,
            .v = v->data + at,
            .cotangent = cotangent->data + at,
            .y = results + at,
            .d_v = results + size + at,
            .d_q = results + 2 * size + at_qk,
            .d_k = results + 2 * size + at_qk + all,
        };
        run_loops(&loops);
    }
    t->expected = results;
    trial_compare(t, y);
    t->expected = results + size;
    trial_compare_values(t, tape_gradient(&t->tape, v), size, "d v");
    t->expected = results + 2 * size;
    trial_compare_values(t, tape_gradient(&t->tape, qk), 2 * size, "d qk");
    mem_free(results);
    t->expected = kept;
}

static void check_head_norm(struct trial *t)
{
    size_t heads = trial_some(t, 4);
    size_t width = trial_some(t, 40);
    struct tensor *x = trial_draw(t, 2, trial_some(t, 9), 2 * heads * width);
    struct tensor *gain = trial_draw(t, 1, 1, heads);
    struct tensor *cotangent = trial_draw(t, 2, x->shape[1], 2 * heads * width);
    struct tensor *y = op_head_norm(&t->tape, x, gain, width);
    tape_backward(&t->tape, op_inner(&t->tape, y, cotangent));
    double d_gain[4] = {0};
    for (int back = 0; back < 2; back++) {
        for (size_t g = 0; g < tensor_size(x) / width; g++) {
            double square = 0;
            double along = 0;
            for (size_t i = g * width; i < (g + 1) * width; i++) {
                square += (double)x->data[i] * (double)x->data[i] / (double)width;
                along += (double)x->data[i] * (double)cotangent->data[i] / (double)width;
            }
            double factor = (double)gain->data[g % heads] / sqrt(square + 1e-6);
            double lost = along / (square + 1e-6);
            for (size_t i = g * width; i < (g + 1) * width; i++) {
                double d = (double)cotangent->data[i] - lost * (double)x->data[i];
                t->expected[i] = factor * (back != 0 ? d : (double)x->data[i]);
            }
            d_gain[g % heads] += back != 0 ? along * (double)width / sqrt(square + 1e-6) : 0;
        }
        const real *values = back != 0 ? tape_gradient(&t->tape, x) : y->data;
        trial_compare_values(t, values, tensor_size(x), back != 0 ? "d x" : "forward");
    }
    for (size_t h = 0; h < heads; h++) {
        t->expected[h] = d_gain[h];
    }
    trial_compare_values(t, tape_gradient(&t->tape, gain), heads, "d gain");
}

static const struct reference references[] = {
    {"linear_attention", check_linear_attention},
    {"head_norm", check_head_norm},
};

const struct reference_family references_linear = {references, ARRAY_COUNT(references)};
