/* First crossing of a threshold, from the quantiles of a forecast: will it, and when.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A forecast says how likely each step is beyond the threshold. How likely ANY of them is depends
 * on how the steps hang together, which quantiles do not say. The assumption here: from one step to
 * the next a path keeps its quantile level with probability `keep`, and otherwise draws a new one,
 *
 *     correlation = persistence * width of step h-1 / width of step h    (the ratio at most 1)
 *     keep        = correlation^2, the share of a step's variance that it inherits
 *
 * with the width of the 80 % band. What widens a band is new noise, so a random walk, whose band
 * grows with the root of time, crosses nearly twice as often as its last step lies beyond, as the
 * reflection principle has it. `persistence` is the correlation of neighbouring errors within a
 * band of constant width: 0 for readings with independent noise, where each step is a chance of its
 * own; 1 for errors that stay, where with a constant band only the worst step counts (the smallest
 * probability that the quantiles allow). For errors of an autoregression of order one the
 * correlation is exact; the probability is then right within 0.08 and mostly 0.02, though small ones
 * may come out at half of what they are (tests/unit/api/test_crossing.c).
 *
 * Within a step the probability grows evenly, so times lie between steps. They count from the
 * origin: step h ends h * step_ms after it.
 *
 * Pure functions without allocation; any thread.
 */
#ifndef API_CROSSING_H
#define API_CROSSING_H

#include "model/model.h"

struct crossing_order {
    double threshold;
    bool above;         /* crossed where the value is greater than it, else where it is smaller */
    double newest;      /* value at the origin: is it crossed already? NaN: unknown */
    double persistence; /* 0 to 1 */
    double minimum;     /* declared bounds of the series: beyond them nothing crosses; */
    double maximum;     /* -INFINITY and INFINITY where there are none */
    int64_t step_ms;
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

/* The persistence of a series, estimated from its recent values (NaN = missing): the correlation of
 * neighbours in what its shortest season and a straight line leave over; 0 where nothing can be
 * told, 1 for a series that stands still. `season` 0: none. */
double crossing_persistence(const double *values, size_t count, uint32_t season);

#endif
