/* Linear attention with positive features (Choromanski et al. 2021): the op, and decoding by steps.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Chunks of 64 steps: inside one a masked product of queries and keys, between them the running
 * sums. Features are computed again on the way back; kept are the sums at the borders of chunks,
 * (h + 1) m / 64 numbers a step and head, and one denominator a row and head. They are not found
 * again by subtracting, which loses digits in long windows.
 */
#include "model/ops/attention_linear.h"

#include "model/ops/kernels.h"
#include "model/ops/rows.h"
#include "model/tape/blas.h"

#include "base/check.h"

#include <math.h>
#include <string.h>
#include <tgmath.h>

/* What the op keeps for its way back. */
struct linear_kept {
    struct linear_attention spec;
    real *states; /* [B, H, chunks] states before each chunk; encoders: [B, H], over all keys */
    real *denominator; /* [B, H, T] */
};

static size_t rounded(size_t reals)
{
    return (reals + 15) / 16 * 16;
}

static size_t features_of(const struct linear_attention *spec, size_t width)
{
    return spec->projection != NULL ? spec->projection->shape[0] : width;
}

size_t linear_state_size(size_t width, size_t features)
{
    return rounded((width + 1) * features + 1);
}

void linear_scale_rows(size_t n, size_t width, const real *factor, real *rows)
{
    for (size_t t = 0; t < n; t++) {
#pragma omp simd
        for (size_t c = 0; c < width; c++) {
            rows[t * width + c] *= factor[t];
        }
    }
}

/* ---------------------------------------------------------------- features */

/* out[n, m] = W c x. */
static void project(const struct linear_head *head, const real *x, size_t n, real *out)
{
    const struct tensor *w = head->spec->projection;
    if (w != NULL) {
        blas_product(n, head->features, head->width, head->scale,
                     (struct matrix){x, head->qk_step, BLAS_PLAIN},
                     (struct matrix){w->data, head->width, BLAS_TRANSPOSED}, 0, out,
                     head->features);
        return;
    }
    for (size_t t = 0; t < n; t++) {
        for (size_t c = 0; c < head->width; c++) {
            out[t * head->width + c] = head->scale * x[t * head->qk_step + c];
        }
    }
}

/* |c x|^2 / 2 of n rows. */
static void half_squares(const struct linear_head *head, const real *x, size_t n, real *out)
{
    for (size_t t = 0; t < n; t++) {
        const real *row = x + t * head->qk_step;
        real sum = 0;
#pragma omp simd reduction(+ : sum)
        for (size_t c = 0; c < head->width; c++) {
            sum += row[c] * row[c];
        }
        out[t] = head->scale * head->scale * sum / 2;
    }
}

/* Each query has a maximum of its own. Its square cancels in the ratio, unless a floor is added. */
void linear_query_features(const struct linear_head *head, size_t first, size_t n)
{
    const real *q = head->q + first * head->qk_step;
    real floor = head->spec->feature_floor;
    project(head, q, n, head->q_features);
    if (head->spec->map == FEATURES_RELU) {
        kernels()->feature_relu(n * head->features, floor, head->q_features);
        return;
    }
    kernels()->feature_tops(n, head->features, head->q_features, head->shift);
    if (head->published) {
        half_squares(head, q, n, head->fade);
        for (size_t t = 0; t < n; t++) {
            head->shift[t] += head->fade[t];
        }
    }
    kernels()->feature_exp(n, head->features, head->shift, floor, head->q_features);
}

bool linear_key_features(const struct linear_head *head, size_t first, size_t n, real before)
{
    const real *k = head->k + first * head->qk_step;
    real floor = head->spec->feature_floor;
    project(head, k, n, head->k_features);
    if (head->spec->map == FEATURES_RELU) {
        kernels()->feature_relu(n * head->features, floor, head->k_features);
        return true;
    }
    half_squares(head, k, n, head->shift);
    kernels()->feature_tops(n, head->features, head->k_features, head->tops);
    real top = before;
    for (size_t t = 0; t < n; t++) {
        top = fmax(top, head->tops[t] - head->shift[t]);
        head->tops[t] = top;
        head->shift[t] += top;
    }
    kernels()->feature_exp(n, head->features, head->shift, floor, head->k_features);
    return top == before;
}

/* The largest exponent of all keys of the window: for encoders, and for the published stabiliser.
 */
static real window_top(const struct linear_head *head, size_t length)
{
    real top = -(real)INFINITY;
    for (size_t first = 0; first < length; first += LINEAR_CHUNK) {
        size_t n = length - first < LINEAR_CHUNK ? length - first : LINEAR_CHUNK;
        const real *k = head->k + first * head->qk_step;
        project(head, k, n, head->k_features);
        half_squares(head, k, n, head->shift);
        kernels()->feature_tops(n, head->features, head->k_features, head->tops);
        for (size_t t = 0; t < n; t++) {
            real exponent = head->tops[t] - (head->published ? 0 : head->shift[t]);
            top = fmax(top, exponent);
        }
    }
    return top;
}

/* ---------------------------------------------------------------- forward */

static void empty_state(const struct linear_head *head, real *state)
{
    const struct linear_attention *spec = head->spec;
    size_t sums = head->width * head->features;
    bool softmax = spec->map == FEATURES_SOFTMAX;
    real floor = spec->encoder ? 0 : spec->denominator_floor;
    floor *= softmax ? sqrt((real)head->features) : 1;
    memset(state, 0, sums * sizeof(real));
    for (size_t i = 0; i < head->features; i++) {
        state[sums + i] = floor;
    }
    *linear_state_top(head, state) = softmax ? -(real)INFINITY : 0;
}

void linear_take_values(const struct linear_head *head, size_t first, size_t n, real *rows)
{
    size_t width = head->width;
    for (size_t t = 0; t < n; t++) {
        real *row = rows + t * (width + 1);
        memcpy(row, head->v + (first + t) * head->v_step, width * sizeof(real));
        row[width] = 1;
    }
}

/* state += the chunk's keys and values, all at the chunk's last maximum. Changes values. */
static void join(const struct linear_head *head, size_t n, bool still, real *state)
{
    size_t wide = head->width + 1;
    real *top = linear_state_top(head, state);
    real kept = 1;
    if (!still) {
        for (size_t t = 0; t < n; t++) {
            head->fade[t] = exp(head->tops[t] - head->tops[n - 1]);
        }
        linear_scale_rows(n, wide, head->fade, head->values);
        kept = exp(*top - head->tops[n - 1]);
        *top = head->tops[n - 1];
    }
    blas_product(wide, head->features, n, 1, (struct matrix){head->values, wide, BLAS_TRANSPOSED},
                 (struct matrix){head->k_features, head->features, BLAS_PLAIN}, kept, state,
                 head->features);
}

/* numerators[n, h + 1] = q_features S^T. */
static void read_state(const struct linear_head *head, size_t n, const real *state)
{
    size_t wide = head->width + 1;
    blas_product(
        n, wide, head->features, 1, (struct matrix){head->q_features, head->features, BLAS_PLAIN},
        (struct matrix){state, head->features, BLAS_TRANSPOSED}, 0, head->numerators, wide);
}

static void write_outputs(const struct linear_head *head, size_t first, size_t n)
{
    size_t width = head->width;
    for (size_t t = 0; t < n; t++) {
        const real *row = head->numerators + t * (width + 1);
        real denominator = fmax(row[width], LINEAR_DENOMINATOR_MIN);
        real *restrict out = head->out + (first + t) * head->v_step;
        for (size_t c = 0; c < width; c++) {
            out[c] = row[c] / denominator;
        }
        if (head->denominator != NULL) {
            head->denominator[first + t] = denominator;
        }
    }
}

/* One chunk of a causal head: outputs, and the state moves on. */
static void chunk_forward(const struct linear_head *head, size_t first, size_t n, real *state)
{
    size_t wide = head->width + 1;
    real before = *linear_state_top(head, state);
    linear_query_features(head, first, n);
    bool still = linear_key_features(head, first, n, before);
    linear_take_values(head, first, n, head->values);
    /* (1) what queries see of their own chunk */
    blas_product(
        n, n, head->features, 1, (struct matrix){head->q_features, head->features, BLAS_PLAIN},
        (struct matrix){head->k_features, head->features, BLAS_TRANSPOSED}, 0, head->scores, n);
    kernels()->running_mask(n, still ? NULL : head->tops, head->scores);
    /* (2) and of all chunks before */
    bool any = before != -(real)INFINITY;
    if (any) {
        read_state(head, n, state);
        for (size_t t = 0; !still && t < n; t++) {
            head->fade[t] = exp(before - head->tops[t]);
        }
        if (!still) {
            linear_scale_rows(n, wide, head->fade, head->numerators);
        }
    }
    blas_product(n, wide, n, 1, (struct matrix){head->scores, n, BLAS_PLAIN},
                 (struct matrix){head->values, wide, BLAS_PLAIN}, any ? 1 : 0, head->numerators,
                 wide);
    write_outputs(head, first, n);
    join(head, n, still, state);
}

static void encoder_forward(const struct linear_head *head, size_t length, real *state)
{
    for (size_t first = 0; first < length; first += LINEAR_CHUNK) {
        size_t n = length - first < LINEAR_CHUNK ? length - first : LINEAR_CHUNK;
        linear_key_features(head, first, n, *linear_state_top(head, state));
        linear_take_values(head, first, n, head->values);
        join(head, n, true, state);
    }
    for (size_t first = 0; first < length; first += LINEAR_CHUNK) {
        size_t n = length - first < LINEAR_CHUNK ? length - first : LINEAR_CHUNK;
        linear_query_features(head, first, n);
        read_state(head, n, state);
        write_outputs(head, first, n);
    }
}

/* ---------------------------------------------------------------- heads and memory */

/* Points a head at its rows and carves its scratch; returns the reals that the scratch takes. */
static size_t open_head(const struct linear_attention *spec, size_t width, bool back, real *scratch,
                        struct linear_head *head)
{
    size_t features = features_of(spec, width);
    *head = (struct linear_head){
        .spec = spec,
        .width = width,
        .features = features,
        .scale = spec->scale != 0 ? spec->scale : 1 / sqrt(sqrt((real)width)),
        .published = spec->map == FEATURES_SOFTMAX &&
                     (spec->feature_floor != 0 || spec->denominator_floor != 0),
    };
    const struct {
        real **place;
        size_t size;
        bool back;
    } parts[] = {
        {&head->q_features, LINEAR_CHUNK * features, false},
        {&head->k_features, LINEAR_CHUNK * features, false},
        {&head->scores, LINEAR_CHUNK * LINEAR_CHUNK, false},
        {&head->values, LINEAR_CHUNK * (width + 1), false},
        {&head->numerators, LINEAR_CHUNK * (width + 1), false},
        {&head->tops, LINEAR_CHUNK, false},
        {&head->shift, LINEAR_CHUNK, false},
        {&head->fade, LINEAR_CHUNK, false},
        {&head->d_q_features, LINEAR_CHUNK * features, true},
        {&head->d_k_features, LINEAR_CHUNK * features, true},
        {&head->slopes, LINEAR_CHUNK * LINEAR_CHUNK, true},
        {&head->slope_rows, LINEAR_CHUNK * (width + 1), true},
        {&head->value_rows, LINEAR_CHUNK * (width + 1), true},
        {&head->carry, linear_state_size(width, features), true},
    };
    size_t used = 0;
    for (size_t i = 0; i < ARRAY_COUNT(parts); i++) {
        if (back || !parts[i].back) {
            *parts[i].place = scratch != NULL ? scratch + used : NULL;
            used += rounded(parts[i].size);
        }
    }
    return used;
}

static void place_head(const struct tensor *qk, const struct tensor *v, struct tensor *out,
                       size_t series, size_t number, struct linear_head *head)
{
    size_t length = v->shape[1];
    size_t whole = tensor_width(v); /* H h */
    head->q = qk->data + series * length * 2 * whole + number * head->width;
    head->k = head->q + whole;
    head->qk_step = 2 * whole;
    size_t at = series * length * whole + number * head->width;
    head->v = v->data + at;
    head->v_step = whole;
    head->out = out->data + at;
}

static size_t chunks_of(size_t length)
{
    return (length + LINEAR_CHUNK - 1) / LINEAR_CHUNK;
}

/* States that one head keeps for its way back. */
static size_t kept_states(const struct linear_attention *spec, size_t length)
{
    return spec->encoder ? 1 : chunks_of(length);
}

/* `state` is scratch; what the way back needs of it is copied to `kept` (NULL: nothing). */
static void head_forward(const struct linear_head *head, size_t length, real *state, real *kept)
{
    size_t size = linear_state_size(head->width, head->features);
    empty_state(head, state);
    if (head->spec->map == FEATURES_SOFTMAX && (head->spec->encoder || head->published)) {
        *linear_state_top(head, state) = window_top(head, length);
    }
    if (head->spec->encoder) {
        encoder_forward(head, length, state);
        if (kept != NULL) {
            memcpy(kept, state, size * sizeof(real));
        }
        return;
    }
    for (size_t first = 0; first < length; first += LINEAR_CHUNK) {
        size_t n = length - first < LINEAR_CHUNK ? length - first : LINEAR_CHUNK;
        if (kept != NULL) {
            memcpy(kept + first / LINEAR_CHUNK * size, state, size * sizeof(real));
        }
        chunk_forward(head, first, n, state);
    }
}

static void linear_back(struct tape *tape, const struct node *node)
{
    const struct linear_kept *kept = node->context;
    struct tensor *qk = node->in[0];
    struct tensor *v = node->in[1];
    const struct linear_attention *spec = &kept->spec;
    size_t length = v->shape[1];
    struct linear_head head;
    real *scratch = tape_backward_scratch(tape, node->scratch);
    real *unwanted = scratch + open_head(spec, tensor_width(v) / spec->heads, true, scratch, &head);
    size_t size = linear_state_size(head.width, head.features);
    size_t states = kept_states(spec, length);
    real *d_qk = tape_grad_sum(tape, qk);
    real *d_v = tape_grad_sum(tape, v);
    d_v = d_v != NULL ? d_v : memset(unwanted, 0, tensor_size(v) * sizeof(real));
    d_qk =
        d_qk != NULL ? d_qk : memset(unwanted + tensor_size(v), 0, tensor_size(qk) * sizeof(real));
    for (size_t i = 0; i < v->shape[0] * spec->heads; i++) {
        place_head(qk, v, node->out, i / spec->heads, i % spec->heads, &head);
        head.denominator = kept->denominator + i * length;
        struct linear_gradients gradients = {
            .d_out = tape_grad_of(node->out) + (head.out - node->out->data),
            .d_q = d_qk + (head.q - qk->data),
            .d_k = d_qk + (head.k - qk->data),
            .d_v = d_v + (head.v - v->data),
        };
        const real *own = kept->states + i * states * size;
        memset(head.carry, 0, size * sizeof(real));
        for (size_t c = chunks_of(length); c > 0; c--) {
            size_t first = (c - 1) * LINEAR_CHUNK;
            size_t n = length - first < LINEAR_CHUNK ? length - first : LINEAR_CHUNK;
            if (spec->encoder) {
                linear_encoder_queries_back(&head, &gradients, first, n, own);
            } else {
                linear_chunk_back(&head, &gradients, first, n, own + (c - 1) * size);
            }
        }
        for (size_t first = 0; spec->encoder && first < length; first += LINEAR_CHUNK) {
            size_t n = length - first < LINEAR_CHUNK ? length - first : LINEAR_CHUNK;
            linear_encoder_keys_back(&head, &gradients, first, n, own);
        }
    }
}

const struct op linear_attention_op = {.name = "linear_attention", .backward = linear_back};

static void check_shapes(const struct tensor *qk, const struct tensor *v,
                         const struct linear_attention *spec)
{
    CHECK(qk->axes == 3 && v->axes == 3);
    CHECK(qk->shape[0] == v->shape[0] && qk->shape[1] == v->shape[1]);
    CHECK(tensor_width(qk) == 2 * tensor_width(v));
    CHECK(tensor_width(v) % spec->heads == 0);
    CHECK(spec->projection != NULL || spec->map == FEATURES_RELU);
    CHECK(spec->projection == NULL || spec->projection->shape[1] == tensor_width(v) / spec->heads);
}

struct tensor *op_linear_attention(struct tape *tape, struct tensor *qk, struct tensor *v,
                                   const struct linear_attention *attention)
{
    check_shapes(qk, v, attention);
    struct tensor *out = tape_tensor_like(tape, v);
    size_t length = v->shape[1];
    size_t heads = v->shape[0] * attention->heads;
    size_t width = tensor_width(v) / attention->heads;
    bool keeps = tape->mode == TAPE_TRAIN;
    struct linear_kept *kept = tape_struct(tape, sizeof(*kept));
    kept->spec = *attention;
    size_t size = linear_state_size(width, features_of(attention, width));
    size_t states = keeps ? kept_states(attention, length) : 0;
    kept->states = tape_bytes(tape, heads * states * size * sizeof(real));
    kept->denominator = tape_bytes(tape, keeps ? heads * length * sizeof(real) : 0);
    size_t mark = tape_scratch_begin(tape);
    struct linear_head head;
    size_t room = open_head(attention, width, false, NULL, &head);
    real *scratch = tape_bytes(tape, (room + size) * sizeof(real));
    for (size_t i = 0; tape_computes(tape) && i < heads; i++) {
        (void)open_head(&kept->spec, width, false, scratch, &head);
        place_head(qk, v, out, i / attention->heads, i % attention->heads, &head);
        head.denominator = keeps ? kept->denominator + i * length : NULL;
        head_forward(&head, length, scratch + room,
                     keeps ? kept->states + i * states * size : NULL);
    }
    tape_scratch_end(tape, mark);
    room = open_head(attention, width, true, NULL, &head);
    room += qk->wants_grad && v->wants_grad ? 0 : 3 * tensor_size(v);
    tape_record(tape, &linear_attention_op, out, (struct tensor *[]){qk, v}, 2, kept,
                room * sizeof(real));
    return out;
}

/* ---------------------------------------------------------------- decoding */

size_t linear_attention_state_size(const struct linear_attention *attention, size_t width)
{
    return attention->heads * linear_state_size(width, features_of(attention, width));
}

void linear_attention_state_reset(const struct linear_attention *attention, size_t width,
                                  size_t batch, real *sums)
{
    struct linear_head head;
    (void)open_head(attention, width, false, NULL, &head);
    size_t size = linear_state_size(width, head.features);
    for (size_t i = 0; i < batch * attention->heads; i++) {
        empty_state(&head, sums + i * size);
    }
}

struct tensor *linear_attention_append(struct tape *tape, struct tensor *qk, struct tensor *v,
                                       const struct linear_attention *attention, real *sums)
{
    CHECK(tape->mode == TAPE_INFER);
    CHECK(!attention->encoder);
    check_shapes(qk, v, attention);
    struct tensor *out = tape_tensor_like(tape, v);
    size_t length = v->shape[1];
    size_t width = tensor_width(v) / attention->heads;
    struct linear_head head;
    size_t size = linear_state_size(width, features_of(attention, width));
    size_t mark = tape_scratch_begin(tape);
    size_t room = open_head(attention, width, false, NULL, &head);
    real *scratch = tape_bytes(tape, room * sizeof(real));
    for (size_t i = 0; tape_computes(tape) && i < v->shape[0] * attention->heads; i++) {
        (void)open_head(attention, width, false, scratch, &head);
        CHECK(!head.published);
        place_head(qk, v, out, i / attention->heads, i % attention->heads, &head);
        for (size_t first = 0; first < length; first += LINEAR_CHUNK) {
            size_t n = length - first < LINEAR_CHUNK ? length - first : LINEAR_CHUNK;
            chunk_forward(&head, first, n, sums + i * size);
        }
    }
    tape_scratch_end(tape, mark);
    return out;
}
