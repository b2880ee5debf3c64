/* Absurd values: the few that lie nowhere near all the others of their series.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A sensor's code for "no reading", a slip of the decimal point, a counter that wrapped. What is
 * meant are values no average survives, not outliers: bursts and jumps are what a series is like,
 * and who forecasts has to live with them. Of 5,968 stretches of the public sets that the defaults
 * were tuned on, three have values beyond REACH of their ranges.
 */
#include "model/training/baseline.h"

#include "model/order.h"

#include <math.h>
#include <string.h>

#define SAMPLES 256
#define REACH   1e3 /* ranges of nearly all values */

/* The range of nearly all values, from a sample. Its places are golden sections apart, so that they
 * are spread evenly over every season. NaN where there are none. */
static void usual_range(const double *values, size_t count, double range[2])
{
    static const double levels[2] = {0.05, 0.95};
    double sample[SAMPLES];
    size_t found = 0;
    double section = 0.0;
    for (size_t i = 0; i < SAMPLES && i < count; i++) {
        size_t at = count <= SAMPLES ? i : (size_t)(section * (double)count);
        if (!isnan(values[at])) {
            sample[found] = values[at];
            found++;
        }
        section += 0.6180339887498949;
        section -= section >= 1.0 ? 1.0 : 0.0;
    }
    if (found == 0) {
        range[0] = range[1] = (double)NAN;
        return;
    }
    order_quantiles(sample, found, levels, 2, range);
}

size_t baseline_absurd(const double *values, size_t count, bool still,
                       size_t places[BASELINE_ABSURD_MAX])
{
    double range[2];
    usual_range(values, count, range);
    if (!(range[1] > range[0]) && !still) {
        return 0;
    }
    double reach = REACH * (range[1] - range[0]);
    size_t found = 0;
    for (size_t i = 0; i < count; i++) {
        if (values[i] < range[0] - reach || values[i] > range[1] + reach) {
            if (found == BASELINE_ABSURD_MAX) {
                return 0;
            }
            places[found] = i;
            found++;
        }
    }
    return found;
}

const double *baseline_without_absurd(const double *values, size_t count, double *room)
{
    size_t places[BASELINE_ABSURD_MAX];
    size_t found = baseline_absurd(values, count, false, places);
    if (found == 0) {
        return values;
    }
    memcpy(room, values, count * sizeof(values[0]));
    for (size_t i = 0; i < found; i++) {
        room[places[i]] = (double)NAN;
    }
    return room;
}
