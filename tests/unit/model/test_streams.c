/* Tests of streams: windows follow each other, scales stay, results do not depend on the lanes, and
 * forecasts remember what lies before the context. SPDX-License-Identifier: Apache-2.0
 */
#include "base/memory.h"
#include "base/random.h"
#include "model/snapshot.h"
#include "model/training/streams.h"
#include "tests/unit/model/model_test.h"

#include <stdio.h>
#include <string.h>

#define SERIES  3
#define LENGTH  700  /* trained on */
#define LONGER  2000 /* forecast from */
#define HORIZON 12
#define HOUR    INT64_C(3600000)
#define ROWS    2
#define SHARDS  2

static double values[SERIES][LONGER];
static struct model_series series[SERIES];

static int make_series(UNUSED void **state)
{
    for (int i = 0; i < SERIES; i++) {
        struct random random;
        random_init(&random, 7, (uint64_t)i);
        for (int t = 0; t < LONGER; t++) {
            double day = sin(2.0 * M_PI * (t + 3 * i) / 24.0);
            values[i][t] = 50.0 + t / 10.0 + 10.0 * (i + 1) * day + random_normal(&random);
        }
        series[i] = plain_series(values[i], LENGTH, HOUR);
        series[i].seasons[0] = 24;
    }
    return 0;
}

static struct snapshot *train_head(unsigned lanes, const char *head)
{
    struct error error = {0};
    struct snapshot *snapshot = NULL;
    struct train_request request = {
        .series = series,
        .series_count = SERIES,
        .config = {.backbone = "transformer_xl",
                   .horizon = HORIZON,
                   .options = "width=16 inner=32 layers=1"},
        .steps = 10,
        .seed = 5,
        .lanes = lanes,
    };
    (void)snprintf(request.config.head, sizeof(request.config.head), "%s", head);
    assert_ok(model_train(&request, &snapshot, &error));
    return snapshot;
}

static struct snapshot *train(unsigned lanes)
{
    return train_head(lanes, "quantile");
}

/* A stream goes on by one context, in one scale; a new one empties the memory. */
static void windows_follow_each_other(UNUSED void **state)
{
    struct error error = {0};
    struct snapshot *snapshot = train(1);
    const struct member *member = snapshot->members[0];
    size_t context = member->shape.context;
    struct training_set set;
    struct window_sampler sampler;
    struct streams streams;
    assert_ok(training_set_init(&set, &snapshot->plan, series, SERIES, 0, 24, &error));
    assert_ok(window_sampler_init(&sampler, &set, member, &error));
    assert_ok(streams_init(&streams, &sampler, SHARDS, ROWS, &error));
    struct random random;
    random_init(&random, 1, 1);
    struct window_place before = {0};
    struct window_scale scale = {0};
    size_t went_on = 0;
    size_t began = 0;
    for (int step = 0; step < 60; step++) {
        unsigned char *memory = streams_memory(&streams, 1, 1);
        memory[0] = 77;
        struct window_place place = streams_next(&streams, 1, 1, &random);
        (void)streams_next(&streams, 1, 0, &random);
        size_t first = 0;
        size_t last = 0;
        window_origins(&sampler, place.series, &first, &last);
        assert_in_range(place.origin, first, last);
        if (memory[0] == 77) {
            assert_int_equal(place.series, before.series);
            assert_int_equal(place.origin, before.origin + context);
            assert_memory_equal(place.scale, &scale, sizeof(scale));
            went_on++;
        } else {
            began++;
        }
        before = place;
        scale = *place.scale;
    }
    assert_true(went_on > 10);
    assert_true(began > 5);
    streams_restart(&streams);
    ((unsigned char *)streams_memory(&streams, 1, 1))[0] = 77;
    (void)streams_next(&streams, 1, 1, &random);
    assert_int_equal(*(unsigned char *)streams_memory(&streams, 1, 1), 0);
    streams_release(&streams);
    window_sampler_release(&sampler);
    training_set_release(&set);
    snapshot_release(snapshot);
}

static void the_same_bits_with_any_lanes(UNUSED void **state)
{
    struct snapshot *one = train(1);
    struct snapshot *two = train(2);
    for (size_t m = 0; m < one->member_count; m++) {
        assert_memory_equal(one->members[m]->weights, two->members[m]->weights,
                            one->members[m]->params.size * sizeof(real));
    }
    snapshot_release(one);
    snapshot_release(two);
}

static float quantiles[HORIZON * QUANTILE_COUNT]; /* of the newest forecast */

static void forecast(const struct snapshot *snapshot, const struct model_series *item, float *mean)
{
    struct error error = {0};
    struct forecaster *forecaster = NULL;
    struct forecast out = {.horizon = HORIZON, .mean = mean, .quantiles = quantiles};
    assert_ok(forecaster_new(snapshot, 1, &forecaster, &error));
    assert_ok(forecaster_run(forecaster, item, 1, &out, &error));
    forecaster_free(forecaster);
}

/* Other values long before the context and its lags move the forecast, and those before the reach
 * that the snapshot tells do not; a history of a few values serves as well. */
static void forecasts_remember(UNUSED void **state)
{
    struct snapshot *snapshot = train(2);
    snapshot->blend.group = (struct blend_mixture){0}; /* the members alone */
    snapshot->blend.count = 0;
    size_t reach = snapshot_context(snapshot);
    size_t longest = 0;
    for (size_t m = 0; m < snapshot->member_count; m++) {
        const struct member *member = snapshot->members[m];
        assert_true(member_primes(member) > 0);
        longest = member->shape.context > longest ? member->shape.context : longest;
    }
    size_t lags = 0;
    for (size_t n = 0; n < snapshot->plan.lag_count; n++) {
        lags = snapshot->plan.lags[n] > lags ? snapshot->plan.lags[n] : lags;
    }
    assert_true(reach >= 2 * longest + lags && reach < LONGER);
    float mean[HORIZON];
    float other[HORIZON];
    static double changed[LONGER];
    struct model_series item = series[0];
    item.count = LONGER;
    forecast(snapshot, &item, mean);
    memcpy(changed, values[0], sizeof(changed));
    item.values = changed;
    /* Swapped pairs keep the series' own mean and spread. */
    for (size_t t = 0; t + 1 < LONGER - reach; t += 2) {
        changed[t] = values[0][t + 1];
        changed[t + 1] = values[0][t];
    }
    forecast(snapshot, &item, other);
    float before[HORIZON * QUANTILE_COUNT];
    memcpy(before, quantiles, sizeof(before));
    for (size_t h = 0; h < HORIZON; h++) {
        assert_close((double)other[h], (double)mean[h], 1e-3);
    }
    for (size_t t = LONGER - reach + lags; t + 1 < LONGER - longest - lags; t += 2) {
        changed[t] = values[0][t + 1] + 3;
        changed[t + 1] = values[0][t] - 3;
    }
    forecast(snapshot, &item, other);
    assert_memory_not_equal(before, quantiles, sizeof(before));
    item.count = 3;
    forecast(snapshot, &item, other);
    for (size_t h = 0; h < HORIZON; h++) {
        assert_true(isfinite(other[h]));
    }
    snapshot_release(snapshot);
}

/* The sampled paths' state is primed likewise: swapped pairs before the context are noticed. */
static void sampled_paths_remember(UNUSED void **state)
{
    struct snapshot *snapshot = train_head(2, "gaussian");
    const struct member *member = snapshot->members[0];
    size_t context = member->shape.context;
    assert_int_equal(member->backbone->state_steps_max, SIZE_MAX);
    assert_true(snapshot_context(snapshot) > 2 * context);
    static double changed[LONGER];
    float mean[HORIZON];
    float other[HORIZON];
    struct model_series item = series[0];
    forecast(snapshot, &item, mean);
    memcpy(changed, values[0], sizeof(changed));
    item.values = changed;
    for (size_t t = LENGTH - context - 24; t < LENGTH - context; t += 2) {
        changed[t] = values[0][t + 1] + 3;
        changed[t + 1] = values[0][t] - 3;
    }
    forecast(snapshot, &item, other);
    assert_memory_not_equal(mean, other, sizeof(mean));
    snapshot_release(snapshot);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(windows_follow_each_other),
        cmocka_unit_test(the_same_bits_with_any_lanes),
        cmocka_unit_test(forecasts_remember),
        cmocka_unit_test(sampled_paths_remember),
    };
    return cmocka_run_group_tests(tests, make_series, NULL);
}
