/* Sorting and empirical quantiles of doubles, in place and without allocation.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "model/order.h"

#include "base/check.h"

#include <math.h>

#define FEW       24 /* values that insertion sorts fastest */
#define LOOKS_MAX 64 /* partitions one within the other */

static void sift_down(double *heap, size_t root, size_t count)
{
    double moving = heap[root];
    size_t child;
    while ((child = 2 * root + 1) < count) {
        if (child + 1 < count && heap[child + 1] > heap[child]) {
            child++;
        }
        if (heap[child] <= moving) {
            break;
        }
        heap[root] = heap[child];
        root = child;
    }
    heap[root] = moving;
}

static void heap_sort(double *values, size_t count)
{
    for (size_t root = count / 2; root > 0; root--) {
        sift_down(values, root - 1, count);
    }
    for (size_t end = count; end > 1; end--) {
        double largest = values[0];
        values[0] = values[end - 1];
        values[end - 1] = largest;
        sift_down(values, 0, end - 1);
    }
}

static void insertion_sort(double *values, size_t count)
{
    for (size_t i = 1; i < count; i++) {
        double moving = values[i];
        size_t at = i;
        for (; at > 0 && values[at - 1] > moving; at--) {
            values[at] = values[at - 1];
        }
        values[at] = moving;
    }
}

/* Hoare's partition around the median of three; the left part, [0, returned), is never empty nor
 * all. */
static size_t partition(double *values, size_t count)
{
    double first = values[0], middle = values[count / 2], last = values[count - 1];
    double low = first < middle ? first : middle, high = first < middle ? middle : first;
    double pivot = last < low ? low : last > high ? high : last;
    size_t left = 0, right = count - 1;
    for (;;) {
        while (values[left] < pivot) {
            left++;
        }
        while (values[right] > pivot) {
            right--;
        }
        if (left >= right) {
            return right + 1 < count ? right + 1 : count - 1;
        }
        double swapped = values[left];
        values[left++] = values[right];
        values[right--] = swapped;
    }
}

/* Quicksort while it halves well, which values that somebody has chosen may prevent; then a heap.
 */
void order_sort(double *values, size_t count)
{
    unsigned looks = LOOKS_MAX;
    while (count > FEW) {
        if (looks-- == 0) {
            heap_sort(values, count);
            return;
        }
        size_t left = partition(values, count);
        if (left <= count - left) {
            order_sort(values, left);
            values += left;
            count -= left;
        } else {
            order_sort(values + left, count - left);
            count = left;
        }
    }
    insertion_sort(values, count);
}

/* Ranks wanted, ascending, within a part of the values. */
struct wanted {
    const size_t *ranks;
    size_t count;
};

/* Sorts the parts of the values, the first of which has rank `base`, that hold a wanted rank; after
 * `looks` partitions one within the other by a heap, which bounds time and depth. */
static void sort_wanted(double *values, size_t count, size_t base, struct wanted wanted,
                        unsigned looks)
{
    while (count > FEW && wanted.count > 0) {
        if (looks-- == 0) {
            heap_sort(values, count);
            return;
        }
        size_t left = partition(values, count);
        size_t below = 0;
        while (below < wanted.count && wanted.ranks[below] < base + left) {
            below++;
        }
        sort_wanted(values, left, base, (struct wanted){wanted.ranks, below}, looks);
        values += left;
        count -= left;
        base += left;
        wanted = (struct wanted){wanted.ranks + below, wanted.count - below};
    }
    if (wanted.count > 0) {
        insertion_sort(values, count);
    }
}

void order_quantiles(double *values, size_t count, const double *levels, size_t level_count,
                     double *out)
{
    CHECK(level_count <= ORDER_LEVELS_MAX);
    size_t ranks[2 * ORDER_LEVELS_MAX];
    size_t found = 0;
    for (size_t i = 0; i < level_count && count > 0; i++) {
        size_t below = (size_t)((double)(count - 1) * levels[i]);
        ranks[found++] = below;
        ranks[found++] = below + 1 < count ? below + 1 : count - 1;
    }
    /* The rank above one level may lie above the rank below the next: the order is kept. */
    for (size_t i = 1; i < found; i++) {
        ranks[i] = ranks[i] > ranks[i - 1] ? ranks[i] : ranks[i - 1];
    }
    sort_wanted(values, count, 0, (struct wanted){ranks, found}, LOOKS_MAX);
    for (size_t i = 0; i < level_count; i++) {
        out[i] = order_quantile(values, count, levels[i]);
    }
}

double order_quantile(const double *sorted, size_t count, double level)
{
    if (count == 0) {
        return 0.0;
    }
    double position = (double)(count - 1) * level;
    size_t below = (size_t)position;
    size_t above = below + 1 < count ? below + 1 : count - 1;
    return sorted[below] + (sorted[above] - sorted[below]) * (position - (double)below);
}

double order_normal(double z)
{
    return 0.5 * erfc(-z * M_SQRT1_2);
}

/* P. J. Acklam's rational approximation (relative error 1.2e-9 at worst), with one step of Halley's
 * method on the distribution function, which makes it exact to a few ulp. */
double order_probit(double level)
{
    static const double a[] = {-3.969683028665376e+01, 2.209460984245205e+02,
                               -2.759285104469687e+02, 1.383577518672690e+02,
                               -3.066479806614716e+01, 2.506628277459239e+00};
    static const double b[] = {-5.447609879822406e+01, 1.615858368580409e+02,
                               -1.556989798598866e+02, 6.680131188771972e+01,
                               -1.328068155288572e+01};
    static const double c[] = {-7.784894002430293e-03, -3.223964580411365e-01,
                               -2.400758277161838e+00, -2.549732539343734e+00,
                               4.374664141464968e+00,  2.938163982698783e+00};
    static const double d[] = {7.784695709041462e-03, 3.224671290700398e-01, 2.445134137142996e+00,
                               3.754408661907416e+00};
    CHECK(level > 0.0 && level < 1.0);
    double z;
    if (level < 0.02425 || level > 1.0 - 0.02425) {
        double tail = level < 0.5 ? level : 1.0 - level;
        double q = sqrt(-2.0 * log(tail));
        z = (((((c[0] * q + c[1]) * q + c[2]) * q + c[3]) * q + c[4]) * q + c[5]) /
            ((((d[0] * q + d[1]) * q + d[2]) * q + d[3]) * q + 1.0);
        z = level < 0.5 ? z : -z;
    } else {
        double q = level - 0.5;
        double r = q * q;
        z = (((((a[0] * r + a[1]) * r + a[2]) * r + a[3]) * r + a[4]) * r + a[5]) * q /
            (((((b[0] * r + b[1]) * r + b[2]) * r + b[3]) * r + b[4]) * r + 1.0);
    }
    double error = order_normal(z) - level;
    double step = error * sqrt(2.0 * M_PI) * exp(0.5 * z * z);
    return z - step / (1.0 + 0.5 * z * step);
}
