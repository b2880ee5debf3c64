/* Unrest: whether the newest errors of a series are far larger than those before them.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "model/model.h"

#include "base/check.h"
#include "model/order.h"

#include <math.h>

#define MEAN_SIZE      0.798 /* of normal errors of deviation 1 */
#define WINDOW_MAX     128
#define CHANCE         5.0 /* over the root of the count: what the newest exceed others by at most */
#define LASTING_CHANCE 2.0 /* over that root: by how much the newest fall short of them at most */
#define BELIEVED_RATIO 2.0 /* of what chance makes: where all of it is believed */
#define FEW_WIDEN      2.0 /* what few errors hide, as in training/baseline.c */

/* The deviation comes from the smaller ones of the newest errors: spikes are the larger ones. */
struct window {
    size_t count, smaller;
    double mean_size; /* of the smaller ones, of normal errors of deviation 1 */
};

static const struct window windows[] = {{4, 2, 0.410},   {8, 6, 0.548},   {16, 12, 0.531},
                                        {32, 24, 0.523}, {64, 48, 0.519}, {128, 96, 0.517}};

/* NaN where a fourth is missing. */
static double newest_deviation(const double *errors, size_t count, const struct window *window)
{
    double sizes[WINDOW_MAX];
    size_t seen = 0;
    for (size_t i = count - window->count; i < count; i++) {
        if (!isnan(errors[i])) {
            sizes[seen] = fabs(errors[i]);
            seen++;
        }
    }
    if (4 * seen <= 3 * window->count) {
        return (double)NAN;
    }
    order_sort(sizes, seen);
    size_t kept = seen * window->smaller / window->count;
    double sum = 0.0;
    for (size_t i = 0; i < kept; i++) {
        sum += sizes[i];
    }
    return sum / (double)kept / window->mean_size;
}

/* Of the errors before them, by the mean size, to which usual spikes belong: of all, or of the four
 * times as many that come right before, whichever is larger. So where many errors have grown, fewer
 * of them are no news, and the largest of many guesses is not taken. NaN where they are too few. */
static double usual_deviation(const double *errors, size_t before, size_t newest)
{
    double sum = 0.0, seen = 0.0, near = 0.0;
    for (size_t i = before; i > 0; i--) {
        sum += isnan(errors[i - 1]) ? 0.0 : fabs(errors[i - 1]);
        seen += isnan(errors[i - 1]) ? 0.0 : 1.0;
        if (before - i + 1 == 4 * newest) {
            near = seen > 0.0 ? sum / seen : 0.0;
        }
    }
    return seen >= 4.0 * (double)newest ? fmax(sum / seen, near) / MEAN_SIZE : (double)NAN;
}

/* What the newest errors of a window say at most: a burst that is over is no unrest. They are a
 * fourth, and at least eight; of fewer nothing can be asked. */
static double lasting(const double *errors, size_t count, size_t window)
{
    if (window < 2) {
        return HUGE_VAL;
    }
    const struct window *newest = &windows[window > 3 ? window - 2 : 1];
    double chance = 1.0 + LASTING_CHANCE / sqrt((double)newest->count);
    return chance * newest_deviation(errors, count, newest);
}

struct unrest unrest_find(const double *errors, size_t count)
{
    struct unrest unrest = {0.0, 0.0};
    for (size_t i = 0; i < ARRAY_COUNT(windows) && 5 * windows[i].count <= count; i++) {
        double newest = (double)windows[i].count;
        double usual = usual_deviation(errors, count - windows[i].count, windows[i].count);
        double deviation = newest_deviation(errors, count, &windows[i]);
        double most = lasting(errors, count, i);
        if (isnan(usual) || isnan(deviation) || isnan(most)) {
            continue;
        }
        deviation = fmin(deviation, most);
        double beyond = deviation / (usual * (1.0 + CHANCE / sqrt(newest)));
        double share = fmin(fmax((beyond - 1.0) / (BELIEVED_RATIO - 1.0), 0.0), 1.0);
        deviation *= 1.0 + FEW_WIDEN / newest;
        if (share * deviation > unrest.share * unrest.deviation) {
            unrest = (struct unrest){deviation, share};
        }
    }
    return unrest;
}
