/* Tests of the correction of bands in backtests: a series begins with what it held back itself.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "base/random.h"
#include "model/backtest.h"
#include "model/snapshot.h"
#include "tests/unit/model/model_test.h"

#include <stdio.h>
#include <stdlib.h>

#define SERIES  20 /* each holds back the four origins that a correction begins with */
#define HORIZON 12
#define WINDOWS 3
#define TEST    (WINDOWS * HORIZON)
#define LENGTH  480 /* before the windows */
#define HOUR    INT64_C(3600000)

static double values[SERIES][LENGTH + TEST + 1];
static struct backtest_series items[SERIES];
static float widths[SERIES][WINDOWS]; /* of the 80 % band, summed, as backtested */

/* Noise about a daily curve that grows fourfold with the windows. */
static void make(void)
{
    static char ids[SERIES][8];
    for (size_t i = 0; i < SERIES; i++) {
        struct random random;
        random_init(&random, 31, i);
        for (size_t t = 0; t <= LENGTH + TEST; t++) {
            double noise = random_normal(&random) * (t < LENGTH ? 1.0 : 4.0);
            values[i][t] = 100.0 + 10.0 * sin(2.0 * M_PI * (double)t / 24.0) + noise;
        }
        snprintf(ids[i], sizeof(ids[i]), "%zu", i);
        items[i] = (struct backtest_series){.id = ids[i],
                                            .series = plain_series(values[i], LENGTH + TEST, HOUR)};
        items[i].series.seasons[0] = 24;
        items[i].series.key = i + 1;
    }
    items[0].series.count++;
}

static float width_of(const struct forecast *forecast)
{
    float width = 0.0f;
    for (size_t h = 0; h < forecast->horizon; h++) {
        width += forecast->quantiles[9 * forecast->horizon + h] -
                 forecast->quantiles[1 * forecast->horizon + h];
    }
    return width;
}

static void keep(UNUSED void *context, const char *id, size_t window,
                 const struct forecast *forecast)
{
    widths[atoi(id)][window - 1] = width_of(forecast);
}

/* How much wider the bands of a window are than those that the model says, on the mean of all but
 * the series ahead. */
static void compare(const struct snapshot *snapshot, double wider[WINDOWS])
{
    struct error error = {0};
    struct forecaster *forecaster = NULL;
    float mean[HORIZON], quantiles[QUANTILE_COUNT * HORIZON];
    struct forecast out = {HORIZON, mean, quantiles};
    assert_ok(forecaster_new(snapshot, 1, &forecaster, &error));
    for (size_t window = 0; window < WINDOWS; window++) {
        wider[window] = 0.0;
        for (size_t i = 1; i < SERIES; i++) {
            struct model_series seen = items[i].series;
            seen.count = LENGTH + window * HORIZON;
            assert_ok(forecaster_run(forecaster, &seen, 1, &out, &error));
            wider[window] += (double)(widths[i][window] / width_of(&out)) / (SERIES - 1);
        }
    }
    forecaster_free(forecaster);
}

static void backtest(double wider[WINDOWS])
{
    struct error error = {0};
    struct backtest_result result;
    struct backtest_request request = {.series = items,
                                       .series_count = SERIES,
                                       .horizon = HORIZON,
                                       .windows = WINDOWS,
                                       .season = 1,
                                       .train = {.config = {.backbone = "logsparse",
                                                            .head = "quantile",
                                                            .members = "1",
                                                            .options = "width=16 inner=32"},
                                                 .steps = 4,
                                                 .seed = 5,
                                                 .lanes = 1},
                                       .visit = keep};
    make();
    assert_ok(backtest_run(&request, &result, &error));
    assert_int_equal(result.snapshot->record.held_back, 4);
    compare(result.snapshot, wider);
    for (size_t window = 0; window < WINDOWS; window++) {
        print_message("window %zu: %.3f times as wide\n", window + 1, wider[window]);
    }
    backtest_release(&result);
}

/* The first series is a cell ahead, so that the others' fourth origins lie before the end of what
 * was learned of that one; not before that of their own. */
static void a_series_ahead_does_not_stop_the_others(UNUSED void **state)
{
    double wider[WINDOWS];
    backtest(wider);
    assert_true(fabs(wider[0] - 1.0) > 1e-3 && fabs(wider[0] - 1.0) < 0.5);
    assert_true(wider[1] > wider[0]);
    assert_true(wider[WINDOWS - 1] > 1.05);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_series_ahead_does_not_stop_the_others),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
