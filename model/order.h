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

/* The inverse of the standard normal distribution function, level in (0,1); error below 2e-9. */
double order_probit(double level);

/* The standard normal distribution function. */
double order_normal(double z);

#endif
