/* What each value of a series was to be expected as, from the values before it alone.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Stands in where no forecast was issued (imported history, vintages that have expired). A few
 * exponential smoothings run side by side, with and without season; the one with the smallest
 * recent error predicts. Its recent absolute errors give the band: their 95 % quantile, stretched
 * to 99 % as for normal errors, the way the bands of forecasts are extrapolated. A surprise moves
 * level and season by no more than the band, so a spike leaves no echo and a new level is learned
 * in some steps.
 */
#ifndef API_EXPECT_H
#define API_EXPECT_H

#include "base/status.h"

#include <stddef.h>

#define EXPECT_ERRORS_MIN 32  /* errors that a band is made of */
#define EXPECT_ERRORS_MAX 512 /* newest ones that are */

struct expected {
    double value, reach; /* half of the 99 % band, above 0; NaN: too little was known */
};

/* `out` has room for `count`. Of a `season` below 2 or without two of them there is none. out[i]
 * depends on values[0 .. i) only. Nothing is learned from values beyond 1e300. */
enum status expect_past(const double *values, size_t count, size_t season, struct expected *out,
                        struct error *error) MUST_USE;

#endif
