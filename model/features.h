/* What a network sees of a series: a scaled window with masks, seasonal lags and calendar phases.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A window has C context steps before the origin and Hp horizon steps from it on (the horizon
 * rounded up to whole patches). Each step carries F features, in this order: value (0 in the
 * horizon), mask (1 = observed), and for each lag the value that many steps earlier and its mask,
 * and for each period sine and cosine of the step's phase. Missing values are 0 with mask 0, never
 * imputed. Everything is in scaled units: (value - shift) / scale, then asinh where the member says
 * so; shift and scale come from the context alone. The same code fills windows for training and for
 * serving.
 *
 * Where a series has a time zone, what follows the calendar follows its clock: phases of days and
 * weeks are those of local time, and a lag of whole days reads the value at the same hour of the
 * local day, which is a step off where the clock was changed between the two.
 *
 * Threads: a finished plan is read only; filling writes the caller's arrays only.
 */
#ifndef MODEL_FEATURES_H
#define MODEL_FEATURES_H

#include "base/status.h"
#include "base/time_zone.h"
#include "model/model.h"
#include "model/tape/tensor.h"

#define LAGS_MAX          8
#define MEAN_DEPTH_MAX    7
#define PERIODS_MAX       4
#define PERIOD_LENGTH_MAX 131072

/* Lags and calendar periods of a group, fixed when a model is trained. Lags are at least the
 * horizon or fold, so that they are known for every step of it. */
struct feature_plan {
    int64_t step_ms;
    size_t horizon;
    uint32_t lags[LAGS_MAX];  /* in steps */
    uint32_t folds[LAGS_MAX]; /* 0, or a season shorter than the horizon: the lag grows by it with
                                 each season of the horizon, so that it is always known */
    size_t lag_count;
    /* The skip alone also sees means over the newest `depths` seasons of the same phase, without
     * the least and the largest: what an anomaly did to one season need not come back. They fold.
     */
    uint32_t means[SEASONS_MAX]; /* the season, in steps */
    uint32_t depths[SEASONS_MAX];
    size_t mean_count;
    uint32_t periods[PERIODS_MAX]; /* in steps */
    size_t period_count;
    real *phases[PERIODS_MAX]; /* [2 * period]: sine and cosine by phase */
};

/* Chooses lags and periods from the group's seasons (0 = none, shortest first) and its typical
 * length, without the tables. */
void feature_plan_choose(struct feature_plan *plan, const uint32_t seasons[SEASONS_MAX],
                         size_t typical_length);

/* Makes the phase tables of a plan whose other fields are set. STATUS_NO_MEMORY. */
enum status feature_plan_init(struct feature_plan *plan, struct error *error) MUST_USE;
void feature_plan_release(struct feature_plan *plan); /* harmless on a zeroed struct */

/* Seasons that a group of this step has as a rule (day and week, week and year ...), kept where
 * three of them fit into `typical_length`; 0 = none. */
void feature_usual_seasons(int64_t step_ms, size_t typical_length, uint32_t seasons[SEASONS_MAX]);

enum scale_kind {
    SCALE_STANDARD, /* mean and standard deviation of the context */
    SCALE_RECENT,   /* mean of the last season, deviation of the context */
    SCALE_MEAN_ABS, /* no shift, mean absolute value */
    SCALE_PAPER,    /* no shift, 1 + mean absolute value (DeepAR's nu) */
};

/* Of a whole series: keeps the scale of a flat context away from zero. */
struct series_statistics {
    double mean, deviation, mean_abs;
    bool non_negative;
};
struct series_statistics series_statistics(const double *values, size_t count);

/* How one member sees a window. */
struct feature_shape {
    size_t context; /* C */
    size_t steps;   /* Hp: horizon rounded up to whole patches */
    enum scale_kind scale;
    size_t recent; /* steps of SCALE_RECENT's mean */
    double floor;  /* share of the series' own spread added to the scale (in squares) */
    bool asinh;
    bool use_lags, use_periods;
    size_t delay; /* 1: a step carries the value before it (autoregressive heads); 0: its own */
};

size_t feature_count(const struct feature_plan *plan, const struct feature_shape *shape); /* F */

struct window_source {
    const double *values;
    size_t known; /* only values[0 .. known) are looked at: the origin, or beyond it for the
                     teacher-forced horizon of an autoregressive head */
    size_t origin;
    int64_t origin_step;          /* time of the origin divided by the step, */
    int64_t phase_ms;             /* and what is left of it */
    const struct time_zone *zone; /* of the calendar; NULL = UTC */
    struct series_statistics statistics;
};

struct window_scale {
    double shift, scale, base; /* base: the context's mean in scaled units, for what is missing */
    bool asinh;
};

struct window_inputs {
    real *steps;   /* [C + Hp, F] */
    real *context; /* [C] scaled values, missing ones = base: input of the linear skip; or NULL */
    real *lags; /* [lag_count + mean_count, H] lags, then means; missing ones = mean of the lags */
};

/* Shift and scale from the context. */
struct window_scale window_scale(const struct feature_shape *shape,
                                 const struct window_source *source);
void window_fill(const struct feature_plan *plan, const struct feature_shape *shape,
                 const struct window_source *source, const struct window_scale *scale,
                 struct window_inputs *out);

/* Into and out of scaled units. */
real window_scaled(const struct window_scale *scale, double value);
double window_restored(const struct window_scale *scale, double scaled);

#endif
