/* Intermittent counts: what is served without a model, beside Croston's method and beside the last
 * values. SPDX-License-Identifier: Apache-2.0
 *
 * Most values are zero, and nothing says when the others come. The yardstick of the mean is
 * Croston's forecast with the correction of Syntetos and Boylan; that of the distribution are the
 * quantiles of the last values themselves.
 */
#include "asked.h"

#include "base/random.h"
#include "model/order.h"
#include "tests/watched.h"

#include <math.h>
#include <stdio.h>

#define AHEAD  24
#define LAST   100 /* values whose quantiles are the yardstick */
#define ALPHA  0.1 /* usual in published comparisons */
#define SIZE   3.0 /* of a count that is not zero, on average */
#define LEVELS "&quantiles=0.025,0.1,0.2,0.3,0.4,0.5,0.6,0.7,0.8,0.9,0.975"

/* Of fewer series chance has the larger part. */
enum { SERIES = WATCHED_OR(10, 200), AT_ONCE = 40 };

static double ahead[AHEAD];

struct scores {
    double mean, croston; /* absolute errors */
    double sum;           /* of the means, as a share of what is to be expected */
    double levels, last;  /* pinball losses */
};

/* A count from 1 on with the probability `rate`, else none. */
static double count_at(struct random *random, double rate)
{
    double count = 1.0;
    if (random_uniform(random) >= rate) {
        return 0.0;
    }
    while (random_uniform(random) < 1.0 - 1.0 / SIZE) {
        count += 1.0;
    }
    return count;
}

/* What comes at `rate` came at another one `before`, until `change` values ago; 0: always so. */
static void make(double rate, double before, size_t change, uint64_t seed)
{
    struct random random;
    random_init(&random, seed, (uint64_t)(1000.0 * rate));
    for (size_t i = 0; i < COUNT; i++) {
        values[i] = count_at(&random, change > 0 && i + change < COUNT ? before : rate);
    }
    for (size_t i = 0; i < AHEAD; i++) {
        ahead[i] = count_at(&random, rate);
    }
}

static double croston(void)
{
    double size = 0.0, interval = 0.0, gap = 1.0;
    for (size_t i = 0; i < COUNT; i++, gap += 1.0) {
        if (values[i] > 0.0) {
            size += (size > 0.0 ? ALPHA : 1.0) * (values[i] - size);
            interval += (interval > 0.0 ? ALPHA : 1.0) * (gap - interval);
            gap = 0.0;
        }
    }
    return interval > 0.0 ? (1.0 - ALPHA / 2.0) * size / interval : 0.0;
}

static double loss(double level, double value, double actual)
{
    return (actual > value ? level : level - 1.0) * (actual - value);
}

static void score(const char *name, double expected, struct scores *scores)
{
    struct asked asked = ask_with(name, true, LEVELS);
    const json_t *mean = json_object_get(asked.forecast, "mean");
    double yardstick = croston(), sorted[LAST];
    for (size_t h = 0; h < AHEAD; h++) {
        double ours = json_number_value(json_array_get(mean, h));
        scores->mean += fabs(ours - ahead[h]);
        scores->croston += fabs(yardstick - ahead[h]);
        scores->sum += ours / expected / AHEAD / SERIES;
    }
    memcpy(sorted, values + COUNT - LAST, sizeof(sorted));
    order_sort(sorted, LAST);
    for (size_t q = 0; q < QUANTILE_COUNT; q++) {
        char name_of_level[16];
        double level = quantile_levels[q], last = order_quantile(sorted, LAST, level);
        snprintf(name_of_level, sizeof(name_of_level), "%g", level);
        for (size_t h = 0; h < AHEAD; h++) {
            scores->levels += loss(level, level_at(asked, name_of_level, h), ahead[h]);
            scores->last += loss(level, last, ahead[h]);
        }
    }
    done(asked);
}

static struct scores scores_of(double rate, double before, size_t change)
{
    struct scores scores = {0};
    for (int seed = 0; seed < SERIES; seed++) {
        char name[40];
        if (seed % AT_ONCE == 0) {
            asked_open(NULL);
        }
        snprintf(name, sizeof(name), "parts_%d", seed);
        make(rate, before, change, (uint64_t)seed);
        put(name, COUNT, MINUTE);
        score(name, SIZE * rate, &scores);
        if (seed % AT_ONCE == AT_ONCE - 1 || seed == SERIES - 1) {
            asked_close(NULL);
        }
    }
    return scores;
}

static void expect_at_most(const char *what, double share, double most, double rate)
{
    most = WATCHED ? 1.3 * most : most; /* see SERIES */
    if (!(share <= most)) {
        fail_msg("at a rate of %g %s is %.3f of the yardstick's, not %.3f", rate, what, share,
                 most);
    }
}

/* The mean of what comes less often than the outer level is nearly zero: docs/accuracy.md. */
static void is_as_good_as_croston_and_the_last_values(void **state)
{
    static const double rates[] = {0.01, 0.02, 0.03, 0.05, 0.1, 0.2, 0.3, 0.4, 0.45};
    double sum = 0.0, sum_last = 0.0;
    (void)state;
    for (size_t r = 0; r < sizeof(rates) / sizeof(rates[0]); r++) {
        struct scores scores = scores_of(rates[r], rates[r], 0);
        expect_at_most("the mean's error", scores.mean / scores.croston, 1.05, rates[r]);
        expect_at_most("the pinball loss", scores.levels / scores.last, 1.01, rates[r]);
        expect_at_most("the mean", scores.sum, 1.05, rates[r]);
        assert_true(WATCHED || rates[r] < 0.05 || scores.sum > 0.8);
        sum += scores.levels;
        sum_last += scores.last;
    }
    expect_at_most("the pinball loss", sum / sum_last, 1.0, (double)NAN);
}

/* What came more or less often until a while ago says no more how often it will come. */
static void notices_that_they_come_more_or_less_often(void **state)
{
    static const struct {
        double rate, before;
        size_t change; /* so many values ago */
    } changes[] = {{0.2, 0.4, 200}, {0.2, 0.4, 100}, {0.4, 0.2, 200}, {0.4, 0.2, 100},
                   {0.1, 0.4, 200}, {0.4, 0.1, 200}, {0.1, 0.4, 60},  {0.4, 0.1, 60}};
    /* It takes some time: a little is lost to what forgets at once. */
    (void)state;
    for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++) {
        double rate = changes[i].rate;
        struct scores scores = scores_of(rate, changes[i].before, changes[i].change);
        expect_at_most("the mean's error", scores.mean / scores.croston, 1.1, rate);
        expect_at_most("the pinball loss", scores.levels / scores.last, 1.03, rate);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(is_as_good_as_croston_and_the_last_values),
        cmocka_unit_test(notices_that_they_come_more_or_less_often),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
