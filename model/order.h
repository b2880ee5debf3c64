/* Sorting and empirical quantiles of doubles, in place and without allocation.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Pure functions on the caller's arrays; any thread.
 */
#ifndef MODEL_ORDER_H
#define MODEL_ORDER_H

#include <stddef.h>

/* Ascending; the values must not be NaN. O(n log n) whatever they are, no allocation (qsort may).
 */
void order_sort(double *values, size_t count);

/* Quantile of sorted values with linear interpolation at (count - 1) * level (R's type 7); 0 for
 * none. */
double order_quantile(const double *sorted, size_t count, double level);

/* The same of values in any order, for `level_count` ascending levels: sorts only as far as they
 * ask for, in about a third of the time. The values are left in another order. */
#define ORDER_LEVELS_MAX 32
void order_quantiles(double *values, size_t count, const double *levels, size_t level_count,
                     double *out);

/* The inverse of the standard normal distribution function, level in (0,1); error below 2e-9. */
double order_probit(double level);

/* The standard normal distribution function. */
double order_normal(double z);

#endif
