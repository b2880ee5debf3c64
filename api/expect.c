/* What each value of a series was to be expected as, from the values before it alone.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "api/expect.h"

#include "base/check.h"
#include "base/memory.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

#define SMOOTHERS   6
#define SEASON_RATE 0.3
#define ERROR_RATE  0.02   /* of the mean error by which a smoother is chosen */
#define STRETCH     1.3142 /* from the 95 % band of a normal distribution to its 99 % band */
#define LEAST_REACH 1e-6   /* of the value: of a series that has never moved */
#define LEAST_STEP  1e-12
#define VALUE_MOST  1e300 /* differences and sums of what is learned from stay finite */

static const double rates[SMOOTHERS / 2] = {0.1, 0.4, 1.0};

/* ---------------------------------------------------------------- the recent errors */

/* None of them is a NaN, which has no place in an order. */
struct errors {
    double ring[EXPECT_ERRORS_MAX];
    double sorted[EXPECT_ERRORS_MAX];
    size_t count, next;
};

/* The first place whose error is not smaller. */
static size_t place_of(const struct errors *errors, double error)
{
    size_t low = 0, high = errors->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (errors->sorted[middle] < error) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

static void errors_add(struct errors *errors, double error)
{
    if (errors->count == EXPECT_ERRORS_MAX) {
        size_t at = place_of(errors, errors->ring[errors->next]);
        errors->count--;
        memmove(errors->sorted + at, errors->sorted + at + 1,
                (errors->count - at) * sizeof(double));
    }
    size_t at = place_of(errors, error);
    memmove(errors->sorted + at + 1, errors->sorted + at, (errors->count - at) * sizeof(double));
    errors->sorted[at] = error;
    errors->count++;
    errors->ring[errors->next] = error;
    errors->next = (errors->next + 1) % EXPECT_ERRORS_MAX;
}

static double reach_of(const struct errors *errors, double value)
{
    if (errors->count < EXPECT_ERRORS_MIN) {
        return (double)NAN;
    }
    double outer = errors->sorted[(size_t)(0.95 * (double)(errors->count - 1) + 0.5)];
    return fmax(STRETCH * outer, fmax(LEAST_REACH * fabs(value), LEAST_STEP));
}

/* ---------------------------------------------------------------- smoothers */

struct smoother {
    double rate, level, error;
    double *profile; /* by place in the season; NULL: none */
    size_t seen;     /* values */
};

struct bench {
    struct smoother smoothers[SMOOTHERS];
    size_t count, season;
    struct errors errors;
};

/* A season is first seen whole. */
static bool is_ready(const struct bench *bench, const struct smoother *one)
{
    return one->profile ? one->seen >= bench->season : one->seen > 0;
}

static double predict(const struct bench *bench, const struct smoother *one, size_t at)
{
    return one->level + (one->profile ? one->profile[at % bench->season] : 0.0);
}

static const struct smoother *best(const struct bench *bench)
{
    const struct smoother *found = NULL;
    for (size_t i = 0; i < bench->count; i++) {
        const struct smoother *one = &bench->smoothers[i];
        /* The errors of a smoother that has just begun say little. */
        if (is_ready(bench, one) && (!found || one->error < found->error)) {
            found = one;
        }
    }
    return found;
}

/* The first season as it came: the mean becomes the level, the rest the profile. */
static void see_first(struct bench *bench, struct smoother *one, size_t at, double value)
{
    if (!one->profile) {
        one->level = value;
        one->seen = 1;
        return;
    }
    size_t place = at % bench->season;
    one->profile[place] = value;
    one->level += (value - one->level) / (double)++one->seen;
    if (one->seen == bench->season) {
        for (size_t i = 0; i < bench->season; i++) {
            one->profile[i] -= one->level;
        }
    }
}

static void learn(struct bench *bench, size_t at, double value, double reach)
{
    for (size_t i = 0; i < bench->count; i++) {
        struct smoother *one = &bench->smoothers[i];
        if (!is_ready(bench, one)) {
            see_first(bench, one, at, value);
            continue;
        }
        double miss = value - predict(bench, one, at);
        if (!isnan(reach)) {
            miss = fmin(fmax(miss, -reach), reach);
        }
        one->error += ERROR_RATE * (fabs(miss) - one->error);
        one->level += one->rate * miss;
        if (one->profile) {
            one->profile[at % bench->season] += SEASON_RATE * (1.0 - one->rate) * miss;
        }
        one->seen++;
    }
}

enum status expect_past(const double *values, size_t count, size_t season, struct expected *out,
                        struct error *error)
{
    bool seasonal = season >= 2 && 2 * season <= count;
    struct bench *bench = mem_zeroed(1, sizeof(*bench));
    double *profiles = mem_zeroed(seasonal ? season : 1, ARRAY_COUNT(rates) * sizeof(double));
    if (!bench || !profiles) {
        mem_free(bench);
        mem_free(profiles);
        return error_set(error, STATUS_NO_MEMORY, "no memory to look for anomalies");
    }
    bench->season = seasonal ? season : 1;
    for (size_t i = 0; i < ARRAY_COUNT(rates); i++) {
        bench->smoothers[bench->count++] = (struct smoother){.rate = rates[i]};
        if (seasonal) {
            bench->smoothers[bench->count++] =
                (struct smoother){.rate = rates[i], .profile = profiles + i * season};
        }
    }
    for (size_t i = 0; i < count; i++) {
        const struct smoother *chosen = best(bench);
        double expected = chosen ? predict(bench, chosen, i) : (double)NAN;
        double reach = chosen ? reach_of(&bench->errors, expected) : (double)NAN;
        out[i] = (struct expected){isnan(reach) ? (double)NAN : expected, reach};
        if (!(fabs(values[i]) <= VALUE_MOST)) {
            continue;
        }
        if (chosen) {
            errors_add(&bench->errors, fabs(values[i] - expected));
        }
        learn(bench, i, values[i], reach);
    }
    mem_free(bench);
    mem_free(profiles);
    return STATUS_OK;
}
