/* Tests of blended baselines where the clock is changed: they are dated by the values that they
 * see, which are a part of the history, and in later blocks go beyond it.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "base/time_zone.h"
#include "model/snapshot.h"
#include "tests/unit/model/model_test.h"

#include <string.h>

#define HOUR    INT64_C(3600000)
#define LENGTH  6000 /* more than a blended baseline sees */
#define HORIZON 24
#define BLOCKS  3
#define STEPS   (BLOCKS * HORIZON)

static double values[LENGTH];
static struct snapshot *snapshot;
static size_t seen; /* values that a blended baseline sees */

/* The clock goes forward and back in Berlin: 2026-03-29 and 2026-10-25, 01:00 UTC. */
static const int64_t switches_ms[] = {INT64_C(1774746000000), INT64_C(1792890000000)};

static bool at_work(int64_t time_ms)
{
    const struct time_zone *berlin = time_zone_or_utc("Europe/Berlin");
    assert_non_null(berlin);
    int64_t hour = (time_ms + time_zone_offset_ms(berlin, time_ms)) / HOUR % 24;
    return hour >= 9 && hour < 17;
}

/* Hours of work up to a moment, by local time. */
static struct model_series hours_before(int64_t end_ms)
{
    struct model_series series = plain_series(values, LENGTH, HOUR);
    series.start_ms = end_ms - LENGTH * HOUR;
    series.time_zone = "Europe/Berlin";
    series.seasons[0] = 24;
    series.key = 1;
    for (int64_t t = 0; t < LENGTH; t++) {
        values[t] = at_work(series.start_ms + t * HOUR) ? 100.0 : 10.0;
    }
    return series;
}

static int train(UNUSED void **state)
{
    struct error error = {0};
    struct model_series series = hours_before(switches_ms[1]);
    struct train_request request = {.series = &series,
                                    .series_count = 1,
                                    .config = {.backbone = "logsparse",
                                               .head = "quantile",
                                               .members = "1",
                                               .horizon = HORIZON,
                                               .options = "width=16 inner=32"},
                                    .steps = 1,
                                    .seed = 5,
                                    .lanes = 1};
    assert_ok(model_train(&request, &snapshot, &error));
    seen = snapshot_values(snapshot);
    return seen < LENGTH ? 0 : -1;
}

static int end(UNUSED void **state)
{
    snapshot_release(snapshot);
    return 0;
}

/* Steps of each block that are forecast to be work where there is none, or none where there is. */
static void count_wrong(enum baseline baseline, int64_t end_ms, size_t wrong[BLOCKS])
{
    static float mean[STEPS], quantiles[QUANTILE_COUNT * STEPS];
    struct error error = {0};
    struct forecaster *forecaster = NULL;
    struct forecast out = {STEPS, mean, quantiles};
    struct model_series series = hours_before(end_ms);
    struct blend_mixture alone = {.parts = {{baseline, 24, 1.0f}}};
    snapshot->blend.count = 0;
    snapshot->blend.group = alone;
    assert_ok(forecaster_new(snapshot, 1, &forecaster, &error));
    assert_ok(forecaster_run(forecaster, &series, 1, &out, &error));
    forecaster_free(forecaster);
    for (size_t h = 0; h < STEPS; h++) {
        bool work = at_work(end_ms + (int64_t)h * HOUR);
        wrong[h / HORIZON] += (mean[h] > 55.0f) != work ? 1 : 0;
    }
}

/* Also where a history that is dated by its first value would have its change of the clock: as many
 * hours later as are cut off. */
static void nine_stays_nine_in_every_block(UNUSED void **state)
{
    static const enum baseline seasonal[] = {BASELINE_SEASONAL_NAIVE, BASELINE_SEASONAL_DRIFT};
    size_t wrong[BLOCKS] = {0};
    for (size_t s = 0; s < 2; s++) {
        for (size_t b = 0; b < 2; b++) {
            for (int64_t from = -STEPS; from <= HORIZON; from += 12) {
                count_wrong(seasonal[b], switches_ms[s] + from * HOUR, wrong);
                count_wrong(seasonal[b],
                            switches_ms[s] + (int64_t)(LENGTH - seen) * HOUR + from * HOUR, wrong);
            }
        }
    }
    for (size_t block = 0; block < BLOCKS; block++) {
        assert_int_equal(wrong[block], 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(nine_stays_nine_in_every_block)};
    return cmocka_run_group_tests(tests, train, end);
}
