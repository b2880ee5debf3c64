/* Convolutions a channel: taps outside, neighbouring channels in a vector, a few steps at once.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Rows of x are padded in time by the caller: row t + j is what tap j sees at step t. A last block
 * of fewer channels than lanes goes through copies.
 */
#include "model/ops/kernels/level.h"

#define STEPS 4 /* that share a load of weights */

/* `n` < LANES channels, or LANES. */
INLINE vector load_n(const real *from, size_t n)
{
    return n == LANES ? load(from) : load_some(from, n);
}

INLINE void store_n(real *to, vector v, size_t n)
{
    if (n == LANES) {
        store(to, v);
    } else {
        store_some(to, v, n);
    }
}

/* Steps t .. t + steps - 1 of channels c .. c + n - 1. */
INLINE void some_steps(const struct channel_convolution *job, size_t t, size_t steps, size_t c,
                       size_t n)
{
    vector sum[STEPS] = {0};
    for (size_t j = 0; j < job->taps; j++) {
        vector w = load_n(job->w + j * job->width + c, n);
        for (size_t r = 0; r < steps; r++) {
            sum[r] += w * load_n(job->x + (t + r + j) * job->width + c, n);
        }
    }
    for (size_t r = 0; r < steps; r++) {
        store_n(job->y + (t + r) * job->width + c, sum[r], n);
    }
}

INLINE void channels_forward(const struct channel_convolution *job, size_t c, size_t n)
{
    size_t t = 0;
    for (; t + STEPS <= job->length; t += STEPS) {
        some_steps(job, t, STEPS, c, n);
    }
    for (; t < job->length; t++) {
        some_steps(job, t, 1, c, n);
    }
}

void KERNEL(kernel_channel_convolution)(const struct channel_convolution *job)
{
    size_t c = 0;
    for (; c + LANES <= job->width; c += LANES) {
        channels_forward(job, c, LANES);
    }
    if (c < job->width) {
        channels_forward(job, c, job->width - c);
    }
}

/* Taps j .. j + taps - 1 of channels c .. c + n - 1: d_w += sum over steps of d_y x. */
INLINE void some_taps(const struct channel_convolution *job, size_t j, size_t taps, size_t c,
                      size_t n)
{
    vector sum[STEPS] = {0};
    for (size_t t = 0; t < job->length; t++) {
        vector d = load_n(job->d_y + t * job->width + c, n);
        for (size_t r = 0; r < taps; r++) {
            sum[r] += d * load_n(job->x + (t + j + r) * job->width + c, n);
        }
    }
    for (size_t r = 0; r < taps; r++) {
        real *to = job->d_w + (j + r) * job->width + c;
        store_n(to, load_n(to, n) + sum[r], n);
    }
}

INLINE void channels_back(const struct channel_convolution *job, size_t c, size_t n)
{
    size_t j = 0;
    for (; j + STEPS <= job->taps; j += STEPS) {
        some_taps(job, j, STEPS, c, n);
    }
    for (; j < job->taps; j++) {
        some_taps(job, j, 1, c, n);
    }
}

void KERNEL(kernel_channel_convolution_back)(const struct channel_convolution *job)
{
    size_t c = 0;
    for (; c + LANES <= job->width; c += LANES) {
        channels_back(job, c, LANES);
    }
    if (c < job->width) {
        channels_back(job, c, job->width - c);
    }
}

/* ---------------------------------------------------------------- weights a step */

INLINE void step_forward(const struct channel_convolution *job, const real *taps, size_t t,
                         size_t c, size_t n)
{
    vector sum = {0};
    for (size_t j = 0; j < job->taps; j++) {
        sum += taps[j] * load_n(job->x + (t + j) * job->width + c, n);
    }
    store_n(job->y + t * job->width + c, sum, n);
}

void KERNEL(kernel_step_convolution)(const struct channel_convolution *job)
{
    size_t group = job->width / job->groups;
    for (size_t t = 0; t < job->length; t++) {
        for (size_t g = 0; g < job->groups; g++) {
            const real *taps = job->w + (t * job->groups + g) * job->taps;
            size_t c = g * group;
            size_t end = c + group;
            for (; c + LANES <= end; c += LANES) {
                step_forward(job, taps, t, c, LANES);
            }
            if (c < end) {
                step_forward(job, taps, t, c, end - c);
            }
        }
    }
}

/* d_w[t, g, j] += sum over the group's channels of d_y x; d_x[t + j] += w d_y. */
INLINE void step_back(const struct channel_convolution *job, size_t place, size_t t, size_t c,
                      size_t n)
{
    const real *taps = job->w + place;
    real *d_taps = job->d_w + place;
    vector d = load_n(job->d_y + t * job->width + c, n);
    for (size_t j = 0; j < job->taps; j++) {
        size_t at = (t + j) * job->width + c;
        d_taps[j] += lanes_sum(d * load_n(job->x + at, n));
        store_n(job->d_x + at, load_n(job->d_x + at, n) + taps[j] * d, n);
    }
}

void KERNEL(kernel_step_convolution_back)(const struct channel_convolution *job)
{
    size_t group = job->width / job->groups;
    for (size_t t = 0; t < job->length; t++) {
        for (size_t g = 0; g < job->groups; g++) {
            size_t place = (t * job->groups + g) * job->taps;
            size_t c = g * group;
            size_t end = c + group;
            for (; c + LANES <= end; c += LANES) {
                step_back(job, place, t, c, LANES);
            }
            if (c < end) {
                step_back(job, place, t, c, end - c);
            }
        }
    }
}
