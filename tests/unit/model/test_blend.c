/* Tests of the blend: keys, files, choosing by series with shrinkage, and its use in forecasts.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "base/memory.h"
#include "base/random.h"
#include "model/snapshot.h"
#include "model/training/blend_choose.h"
#include "model/training/metrics.h"
#include "tests/unit/model/model_test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define HOUR    INT64_C(3600000)
#define LENGTH  600
#define HORIZON 12
#define SERIES  8

static double values[SERIES][LENGTH];
static struct model_series series[SERIES];

/* A cycle that slows down and speeds up: who knows its law has no need of a baseline. */
static double cycle_at(size_t t)
{
    return 10.0 * sin(2.0 * M_PI * (double)t / 24.0 + 3.0 * sin((double)t / 37.0));
}

/* Even ones are cycles, odd ones random walks: what is good for one is bad for the other. */
static void make(void)
{
    struct random random;
    random_init(&random, 11, 0);
    for (size_t i = 0; i < SERIES; i++) {
        char name[16];
        double level = 50.0;
        int length = snprintf(name, sizeof(name), "series%zu", i);
        for (size_t t = 0; t < LENGTH; t++) {
            level += i % 2 == 1 ? random_normal(&random) : 0.0;
            double cycle = i % 2 == 0 ? cycle_at(t + 31 * i) : 0.0;
            values[i][t] = level + cycle + 0.3 * random_normal(&random);
        }
        series[i] = plain_series(values[i], LENGTH, HOUR);
        series[i].seasons[0] = 24;
        series[i].key = series_key(name, (size_t)length);
    }
}

static void keys_are_of_the_name_alone(UNUSED void **state)
{
    assert_true(series_key("a", 1) == series_key("a", 1));
    assert_true(series_key("a", 1) != series_key("b", 1));
    /* Model files hold keys: they must mean the same in every build and process. */
    assert_true(series_key("cpu{core=\"0\"}", 13) == UINT64_C(0x51b571f26d0bb64b));
}

static void finds_its_own_and_gives_the_group_to_others(UNUSED void **state)
{
    struct error error = {0};
    struct blend blend = {.group = {BASELINE_DRIFT, 0, 0.25f}};
    assert_ok(blend_reserve(&blend, 100, &error));
    for (uint64_t i = 0; i < 100; i++) {
        uint64_t key = (i * 37 % 100 + 1) * UINT64_C(0x9e3779b97f4a7c15);
        blend_add(&blend, key, (struct blend_share){BASELINE_LAST_VALUE, 0, (float)i / 100.0f});
    }
    blend_add(&blend, 0, (struct blend_share){BASELINE_LAST_VALUE, 0, 1.0f});
    assert_int_equal(blend.count, 100);
    for (uint64_t i = 0; i < 100; i++) {
        uint64_t key = (i * 37 % 100 + 1) * UINT64_C(0x9e3779b97f4a7c15);
        assert_close((double)blend_of(&blend, key)->share, (double)i / 100.0, 1e-6);
        assert_true(i == 0 || blend.keys[i] > blend.keys[i - 1]);
    }
    assert_int_equal(blend_of(&blend, 12345)->baseline, BASELINE_DRIFT);
    assert_int_equal(blend_of(&blend, 0)->baseline, BASELINE_DRIFT);
    float keys[100 * BLEND_KEY_PARTS], numbers[100 * BLEND_NUMBERS];
    blend_write(&blend, keys, numbers);
    struct blend back = {0};
    assert_ok(blend_read(&back, 100, keys, numbers, &error));
    assert_memory_equal(back.keys, blend.keys, 100 * sizeof(uint64_t));
    assert_memory_equal(back.shares, blend.shares, 100 * sizeof(struct blend_share));
    blend_release(&back);
    numbers[5] = 1.5f;
    assert_status(blend_read(&back, 100, keys, numbers, &error), STATUS_CORRUPT);
    numbers[5] = 0.5f;
    keys[9] = (float)NAN;
    assert_status(blend_read(&back, 100, keys, numbers, &error), STATUS_CORRUPT);
    blend_release(&blend);
}

/* A stand-in for a model: right about the cycles, and as wrong about walks as the mean of all. */
static void fill_forecasts(struct evaluation *evaluation)
{
    for (size_t i = 0; i < evaluation->count; i++) {
        struct forecast out = evaluation_get(evaluation, i);
        const struct evaluation_place *place = &evaluation->places[i];
        size_t which = (size_t)(place->series - series);
        bool cycles = which % 2 == 0 || place->series->values == values[which - 1];
        size_t shift = 31 * (which - which % 2);
        for (size_t h = 0; h < HORIZON; h++) {
            size_t t = place->origin + h;
            double middle = cycles ? 50.0 + cycle_at(t + shift) : 20.0;
            for (size_t q = 0; q < QUANTILE_COUNT; q++) {
                out.quantiles[q * HORIZON + h] = (float)(middle + 0.09 * ((double)q - 5.0));
            }
        }
    }
}

static void choose(size_t origins, uint32_t season, struct blend *blend)
{
    struct error error = {0};
    struct evaluation evaluation;
    struct evaluation_wanted wanted = {.series = series,
                                       .series_count = SERIES,
                                       .origins = origins,
                                       .history = 48,
                                       .from_ms = INT64_MIN};
    assert_ok(evaluation_init(&evaluation, &wanted, HORIZON, &error));
    fill_forecasts(&evaluation);
    assert_ok(blend_choose(&evaluation, (uint32_t[SEASONS_MAX]){season}, blend, &error));
    evaluation_release(&evaluation);
}

static void each_series_gets_what_helps_it(UNUSED void **state)
{
    struct blend blend = {0};
    make();
    choose(12, 24, &blend);
    for (size_t i = 0; i < SERIES; i++) {
        const struct blend_share *share = blend_of(&blend, series[i].key);
        if (i % 2 == 0) {
            assert_true(share->share < 0.15f);
        } else {
            assert_true(share->share > 0.65f);
            assert_int_not_equal(share->baseline, BASELINE_SEASONAL_NAIVE);
        }
    }
    blend_release(&blend);
}

/* One origin says little: cycles, forecast well, are not moved by a lucky one. */
static void one_origin_moves_little(UNUSED void **state)
{
    struct blend blend = {0};
    make();
    for (size_t i = 1; i < SERIES; i += 2) {
        series[i] = series[i - 1]; /* only cycles */
        series[i].key += 1;
    }
    choose(1, 24, &blend);
    assert_true(blend.group.share < 0.15f);
    for (size_t i = 0; i < SERIES; i++) {
        assert_true(blend_of(&blend, series[i].key)->share < 0.25f);
    }
    blend_release(&blend);
}

enum kind { EXACT_SEASON, EVEN_COUNTER, RARE_JUMPS, INTERMITTENT, KINDS };

/* Series that a network can only make worse, each beside cycles that it knows. */
static void make_planted(void)
{
    struct random random;
    random_init(&random, 5, 0);
    make();
    for (size_t i = 1; i < SERIES; i += 2) {
        enum kind kind = (enum kind)(i / 2 % KINDS);
        double level = 5.0;
        for (size_t t = 0; t < LENGTH; t++) {
            double draw = random_uniform(&random);
            level = kind == RARE_JUMPS && draw < 0.004 ? 1.0 + floor(100.0 * draw / 0.004) : level;
            values[i][t] = kind == EXACT_SEASON   ? (t % 24 < 9 ? 80.0 : 20.0)
                           : kind == EVEN_COUNTER ? 30000.0 + 2.0 * (double)t
                           : kind == INTERMITTENT ? (draw < 0.15 ? ceil(40.0 * draw) : 0.0)
                                                  : level;
        }
    }
}

/* Loss of the blended forecast of a series over that of the best baseline, at its newest origins.
 */
static double regret(const struct blend *blend, size_t which, size_t origins)
{
    static double scratch[4 * LENGTH];
    float means[2][HORIZON], quantiles[2][HORIZON * QUANTILE_COUNT];
    const struct blend_share *share = blend_of(blend, series[which].key);
    double own = 0.0, best = HUGE_VAL, absolute = 0.0;
    uint64_t points = 0;
    for (int b = 0; b < BASELINE_COUNT; b++) {
        double loss = 0.0, mixed = 0.0;
        for (size_t k = 1; k <= origins; k++) {
            struct model_series cut = series[which];
            cut.count -= k * HORIZON;
            struct forecast out = {HORIZON, means[0], quantiles[0]};
            assert_true(baseline_forecast((enum baseline)b, &cut, scratch, &out));
            loss += metrics_quantile_loss(cut.values + cut.count, &out, &absolute, &points);
            for (size_t i = 0; i < HORIZON * QUANTILE_COUNT; i++) {
                double level = 20.0 + 0.09 * ((double)(i / HORIZON) - 5.0); /* the stand-in's */
                quantiles[1][i] =
                    (float)(level + (double)share->share * ((double)quantiles[0][i] - level));
            }
            struct forecast mix = {HORIZON, means[1], quantiles[1]};
            mixed += metrics_quantile_loss(cut.values + cut.count, &mix, &absolute, &points);
        }
        best = fmin(best, loss);
        own = b == (int)share->baseline ? mixed : own;
    }
    return (own + 1e-6) / (best + 1e-6);
}

/* What a baseline knows exactly stays exact, whatever the rest of the group is like. */
static void what_is_exact_stays_exact(UNUSED void **state)
{
    struct blend blend = {0};
    make_planted();
    choose(12, 24, &blend);
    assert_close((double)blend_of(&blend, series[1].key)->share, 1.0, 1e-6);
    assert_close((double)blend_of(&blend, series[3].key)->share, 1.0, 1e-6);
    for (size_t i = 1; i < SERIES; i += 2) {
        assert_true(regret(&blend, i, 12) < 1.05);
        assert_true(blend_of(&blend, series[i - 1].key)->share < 0.15f);
    }
    blend_release(&blend);
}

/* What was exact at most origins outlives an anomaly that costs it two of them. */
static void an_anomaly_does_not_decide(UNUSED void **state)
{
    struct blend blend = {0};
    make_planted();
    for (size_t t = LENGTH - 40; t < LENGTH - 30; t++) {
        values[1][t] += 150.0;
    }
    choose(12, 24, &blend);
    const struct blend_share *share = blend_of(&blend, series[1].key);
    assert_true(share->baseline == BASELINE_SEASONAL_NAIVE ||
                share->baseline == BASELINE_DAMPED_TREND); /* both know the season */
    assert_true(share->share > 0.85f);
    blend_release(&blend);
}

static struct snapshot *train(void)
{
    struct error error = {0};
    struct snapshot *snapshot = NULL;
    struct train_request request = {
        .series = series, .series_count = SERIES, .steps = 3, .seed = 1, .lanes = 1};
    snprintf(request.config.backbone, sizeof(request.config.backbone), "logsparse");
    snprintf(request.config.head, sizeof(request.config.head), "quantile");
    request.config.horizon = HORIZON;
    assert_ok(model_train(&request, &snapshot, &error));
    return snapshot;
}

static void run(const struct snapshot *snapshot, const struct model_series *one, float *mean,
                float *quantiles)
{
    struct error error = {0};
    struct forecaster *forecaster = NULL;
    struct forecast out = {HORIZON, mean, quantiles};
    assert_ok(forecaster_new(snapshot, 1, &forecaster, &error));
    assert_ok(forecaster_run(forecaster, one, 1, &out, &error));
    forecaster_free(forecaster);
}

/* Changes the format's number in a model file to the one before. */
static void make_it_old(const char *path)
{
    char head[4096];
    FILE *file = fopen(path, "r+b");
    assert_non_null(file);
    size_t length = fread(head, 1, sizeof(head), file);
    const char *found = memmem(head, length, "forecastd-model-2", 17);
    assert_non_null(found);
    assert_int_equal(fseek(file, found - head + 16, SEEK_SET), 0);
    assert_int_equal(fputc('1', file), '1');
    assert_int_equal(fclose(file), 0);
}

/* Saved and loaded a snapshot blends the same, each series its own way; a file from before the
 * blend of single series is still read. */
static void survives_the_file(UNUSED void **state)
{
    struct error error = {0};
    float mean[2][HORIZON], quantiles[2][HORIZON * QUANTILE_COUNT];
    make();
    struct snapshot *snapshot = train();
    blend_release(&snapshot->blend);
    snapshot->blend.group = (struct blend_share){BASELINE_LAST_VALUE, 0, 0.0f};
    assert_ok(blend_reserve(&snapshot->blend, 2, &error));
    blend_add(&snapshot->blend, series[1].key, (struct blend_share){BASELINE_LAST_VALUE, 0, 1.0f});
    run(snapshot, &series[1], mean[0], quantiles[0]);
    static double scratch[4 * LENGTH];
    struct forecast alone = {HORIZON, mean[1], quantiles[1]};
    assert_true(baseline_forecast(BASELINE_LAST_VALUE, &series[1], scratch, &alone));
    float last = quantiles[1][5 * HORIZON + 3];
    assert_close((double)quantiles[0][5 * HORIZON + 3], (double)last, 1e-4);
    struct model_series unknown = series[1];
    unknown.key = 77;
    run(snapshot, &unknown, mean[1], quantiles[1]);
    assert_true(fabsf(quantiles[1][5 * HORIZON + 3] - last) > 1e-3f);
    char path[] = "/tmp/forecastd-blend-XXXXXX";
    int file = mkstemp(path);
    assert_true(file >= 0);
    assert_int_equal(close(file), 0);
    struct snapshot *loaded = NULL;
    assert_ok(snapshot_save(snapshot, path, &error));
    assert_ok(snapshot_load(path, NULL, &loaded, &error));
    run(loaded, &series[1], mean[1], quantiles[1]);
    assert_memory_equal(quantiles[0], quantiles[1], sizeof(quantiles[0]));
    assert_string_equal(loaded->record.baseline, snapshot->record.baseline);
    assert_true(loaded->record.baseline[0] != '\0');
    snapshot_release(loaded);
    snapshot->blend.count = 0;
    assert_ok(snapshot_save(snapshot, path, &error));
    make_it_old(path);
    assert_ok(snapshot_load(path, NULL, &loaded, &error));
    assert_int_equal(loaded->blend.count, 0);
    snapshot_release(loaded);
    snapshot_release(snapshot);
    assert_int_equal(unlink(path), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_are_of_the_name_alone),
        cmocka_unit_test(finds_its_own_and_gives_the_group_to_others),
        cmocka_unit_test(each_series_gets_what_helps_it),
        cmocka_unit_test(one_origin_moves_little),
        cmocka_unit_test(what_is_exact_stays_exact),
        cmocka_unit_test(an_anomaly_does_not_decide),
        cmocka_unit_test(survives_the_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
