/* A reading: one value of one series at one instant.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef BASE_POINT_H
#define BASE_POINT_H

#include <stdint.h>

struct point {
    int64_t time_ms; /* since the epoch, UTC */
    double value;    /* finite, or NaN: known to be missing */
};

#endif
