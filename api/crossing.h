/* First crossing of a threshold, from the fan of a forecast: will it, and when.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A forecast says how likely each step is beyond the threshold. How likely ANY of them is depends
 * on how the steps hang together, which quantiles do not say. A Gaussian copula does (Sklar 1959;
 * for paths of forecasts: Pinson et al. 2009): each step's value is the quantile of its own
 * distribution at a normal score z, and the scores are a chain of order one,
 *
 *     z(h+1) = r z(h) + sqrt(1 - r^2) e,    r = (a^2 + b^2 - roughness^2) / (2 a b)
 *
 * with a and b the deviations that the 80 % bands of the two steps stand for, and `roughness` the
 * deviation of the change of an error from one step to the next, estimated from the series itself.
 * Independent noise is as rough as it is large, so that each step is a chance of its own (r = 0);
 * what makes a band wider than the noise, a level or a trend that is not known well, stays along
 * the path; an autoregression has its own coefficient, and a walk, whose band grows with the root
 * of time, r^2 = h / (h+1), as it has in truth. Of few changes little is known: r is drawn towards
 * CROSSING_DEFAULT of what a walk has, on the scale of Fisher's z, as if that had been seen in
 * CROSSING_PRIOR changes.
 *
 * The share of paths that have not crossed follows step by step by numerical integration
 * (Armitage, McPherson and Rowe 1969, who watched clinical trials with it). No paths are drawn, so
 * that the same forecast has the same answer. 48 steps take a few tenths of a millisecond.
 *
 * The fan: the forecast's quantiles; or, where a series returns to its season and trend and that is
 * known more narrowly, the one of its return (struct reversion in model/model.h has the reason).
 *
 * Within a step the probability grows evenly, so times lie between steps. They count from the
 * origin: step h ends h * step_ms after it.
 *
 * Pure functions without allocation; any thread.
 */
#ifndef API_CROSSING_H
#define API_CROSSING_H

#include "model/model.h"

#define CROSSING_DEFAULT 0.7
#define CROSSING_PRIOR   8.0

/* How much a series changes from step to step. */
struct crossing_roughness {
    double deviation;
    size_t changes; /* that it comes from; 0: nothing is known */
};

struct crossing_order {
    double threshold;
    bool above;     /* crossed where the value is greater than it, else where it is smaller */
    double newest;  /* value at the origin: is it crossed already? NaN: unknown */
    double minimum; /* declared bounds of the series: beyond them nothing crosses; */
    double maximum; /* -INFINITY and INFINITY where there are none */
    int64_t step_ms;
    struct crossing_roughness roughness;
    const struct reversion *reversion; /* NULL: the forecast's own fan */
};

struct crossing {
    bool crossed;    /* by the newest value: the probability is 1 and the times are 0 */
    double p_within; /* the horizon of the forecast; 0 to 1 */
    /* Seconds from the origin by which a crossing has come with probability 0.1, 0.5, 0.9; NaN
     * where the horizon ends before. */
    double p10_s, p50_s, p90_s;
};

void crossing_find(const struct forecast *forecast, const struct crossing_order *order,
                   struct crossing *out);

/* The roughness of a series, estimated from its recent values (NaN = missing): the deviation of the
 * change from one to the next, less what its shortest season and its trend explain. `season` 0:
 * none. */
struct crossing_roughness crossing_roughness(const double *values, size_t count, uint32_t season);

#endif
