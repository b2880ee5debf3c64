/* The training set: which windows there are, drawing them, and filling them into a batch.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A window is a series and an origin; its targets are the H values from the origin on, all before
 * the series' end of training (`last`). What comes after is held back for calibration and the gate.
 * Series and values are borrowed. A finished set is read only and shared by the lanes.
 */
#ifndef MODEL_TRAINING_WINDOW_H
#define MODEL_TRAINING_WINDOW_H

#include "base/random.h"
#include "model/network.h"

struct training_series {
    const struct model_series *series;
    const struct time_zone *zone;        /* NULL = UTC */
    size_t last;                         /* values[0 .. last) are for training */
    struct series_statistics statistics; /* of these */
    double seasonal_difference;          /* mean absolute one; unit of the balanced loss */
};

struct training_set {
    const struct feature_plan *plan;
    struct training_series *items;
    size_t count;
    size_t windows; /* origins in all, with a context of two values at least */
};

/* `held_back` steps at the end of every series are left out (less where a series is so short that
 * nothing would remain). STATUS_INVALID where no window is left: says what is needed. */
enum status training_set_init(struct training_set *set, const struct feature_plan *plan,
                              const struct model_series *series, size_t count, size_t held_back,
                              size_t season, struct error *error) MUST_USE;
void training_set_release(struct training_set *set); /* harmless on a zeroed struct */

/* Draws windows for one member; made once a member, read only afterwards. */
struct window_sampler {
    const struct training_set *set;
    const struct member *member;
    double *cumulative; /* [eligible] of the series' weights, the last one 1 */
    uint32_t *eligible; /* series with an origin */
    size_t eligible_count;
};
enum status window_sampler_init(struct window_sampler *sampler, const struct training_set *set,
                                const struct member *member, struct error *error) MUST_USE;
void window_sampler_release(struct window_sampler *sampler);

struct window_place {
    size_t series, origin;
    const struct window_scale *scale; /* frozen by a stream, or NULL: the window's own */
};
struct window_place window_draw(const struct window_sampler *sampler, struct random *random);

/* First and last origin that window_draw gives for a series that it draws. */
void window_origins(const struct window_sampler *sampler, size_t series, size_t *first,
                    size_t *last);

/* The scale of a window from its own context. */
struct window_scale window_scale_at(const struct window_sampler *sampler,
                                    const struct window_place *place);

/* Fills row `row` of a train-mode batch: inputs, scaled targets and weights. */
void window_load(const struct window_sampler *sampler, struct window_place place,
                 const struct network_batch *batch, size_t row);

/* Mixes each window with the next one of the batch, with the member's probability: values, lags and
 * targets lam a + (1 - lam) b with lam uniform in [0.5, 1], masks multiplied, calendar and loss
 * weight those of a (mixup, Zhang et al. 2018): sums of scaled windows are plausible windows. */
void windows_mix(const struct window_sampler *sampler, const struct network_batch *batch,
                 struct random *random);

#endif
