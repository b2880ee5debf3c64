/* Tests of the blend: keys, files, choosing by series with shrinkage, and its use in forecasts.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "base/memory.h"
#include "base/random.h"
#include "model/snapshot.h"
#include "model/training/blend_choose.h"
#include "model/training/metrics.h"
#include "tests/unit/model/model_test.h"

#include <float.h>
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
    struct blend blend = {.group = {{{BASELINE_DRIFT, 0, 0.25f}}}};
    assert_ok(blend_reserve(&blend, 100, &error));
    for (uint64_t i = 0; i < 100; i++) {
        uint64_t key = (i * 37 % 100 + 1) * UINT64_C(0x9e3779b97f4a7c15);
        struct blend_mixture mixture = {{{BASELINE_SEASONAL_NAIVE, 24, (float)i / 200.0f},
                                         {BASELINE_SEASONAL_NAIVE, 168, (float)i / 300.0f}}};
        blend_add(&blend, key, &mixture);
    }
    blend_add(&blend, 0, &blend.group);
    assert_int_equal(blend.count, 100);
    for (uint64_t i = 0; i < 100; i++) {
        uint64_t key = (i * 37 % 100 + 1) * UINT64_C(0x9e3779b97f4a7c15);
        assert_close((double)blend_baselines(blend_of(&blend, key)), (double)i / 120.0, 1e-6);
        assert_true(i == 0 || blend.keys[i] > blend.keys[i - 1]);
    }
    assert_int_equal(blend_of(&blend, 12345)->parts[0].baseline, BASELINE_DRIFT);
    assert_int_equal(blend_of(&blend, 0)->parts[0].baseline, BASELINE_DRIFT);
    assert_int_equal(blend_longest_season(&blend), 168);
    float keys[100 * BLEND_KEY_PARTS], numbers[100 * BLEND_PARTS * BLEND_NUMBERS];
    blend_write(&blend, keys, numbers);
    struct blend back = {0};
    struct blend_tensors from = {keys, numbers, 100, BLEND_PARTS};
    assert_ok(blend_read(&back, &from, &error));
    assert_memory_equal(back.keys, blend.keys, 100 * sizeof(uint64_t));
    assert_memory_equal(back.mixtures, blend.mixtures, 100 * sizeof(struct blend_mixture));
    blend_release(&back);
    numbers[5] = 1.5f; /* more than all */
    assert_status(blend_read(&back, &from, &error), STATUS_CORRUPT);
    numbers[5] = 0.5f;
    keys[9] = (float)NAN;
    assert_status(blend_read(&back, &from, &error), STATUS_CORRUPT);
    blend_release(&blend);
}

/* A stand-in for a model: right about the cycles, and as wrong about walks as the mean of all. */
static void knows_cycles(struct evaluation *evaluation)
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

/* Another one: always far off for the first series, right and somewhat off by turns for others. */
static void right_by_turns(struct evaluation *evaluation)
{
    for (size_t i = 0; i < evaluation->count; i++) {
        struct forecast out = evaluation_get(evaluation, i);
        const struct evaluation_place *place = &evaluation->places[i];
        double off = place->series == series ? 12.0 : place->origin / HORIZON % 2 == 0 ? 0.0 : 2.5;
        for (size_t k = 0; k < HORIZON * QUANTILE_COUNT; k++) {
            double actual = place->series->values[place->origin + k % HORIZON];
            out.quantiles[k] = (float)(actual + off + 0.01 * ((double)(k / HORIZON) - 5.0));
        }
    }
}

static void choose(size_t origins, void (*model)(struct evaluation *), struct blend *blend)
{
    struct error error = {0};
    struct evaluation evaluation;
    struct evaluation_wanted wanted = {
        .series = series, .series_count = SERIES, .origins = origins, .history = 48};
    assert_ok(evaluation_init(&evaluation, &wanted, HORIZON, &error));
    model(&evaluation);
    assert_ok(blend_choose(&evaluation, (uint32_t[SEASONS_MAX]){24}, blend, &error));
    evaluation_release(&evaluation);
}

static void each_series_gets_what_helps_it(UNUSED void **state)
{
    struct blend blend = {0};
    make();
    choose(12, knows_cycles, &blend);
    for (size_t i = 0; i < SERIES; i++) {
        const struct blend_mixture *mixture = blend_of(&blend, series[i].key);
        if (i % 2 == 0) {
            assert_true(blend_baselines(mixture) < 0.15f);
        } else {
            assert_true(blend_baselines(mixture) > 0.65f);
            assert_int_not_equal(mixture->parts[0].baseline, BASELINE_SEASONAL_NAIVE);
        }
        for (size_t part = 1; part < BLEND_PARTS; part++) {
            assert_true(mixture->parts[part].share <= mixture->parts[part - 1].share);
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
    choose(1, knows_cycles, &blend);
    assert_true(blend_baselines(&blend.group) < 0.15f);
    for (size_t i = 0; i < SERIES; i++) {
        assert_true(blend_baselines(blend_of(&blend, series[i].key)) < 0.25f);
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

/* Adds a share of a baseline's forecast of the cut series; returns the quantile loss of it alone.
 */
static double add_share(const struct model_series *cut, struct blend_part part, float *mixed)
{
    static double scratch[4 * LENGTH];
    float mean[HORIZON], quantiles[HORIZON * QUANTILE_COUNT];
    double absolute = 0.0;
    uint64_t points = 0;
    struct model_series seen = *cut;
    if (part.season > 0) {
        memset(seen.seasons, 0, sizeof(seen.seasons));
        seen.seasons[0] = part.season;
    }
    struct forecast out = {HORIZON, mean, quantiles};
    assert_true(baseline_forecast(part.baseline, &seen, scratch, &out));
    for (size_t i = 0; i < HORIZON * QUANTILE_COUNT; i++) {
        mixed[i] += part.share * quantiles[i];
    }
    return metrics_quantile_loss(cut->values + cut->count, &out, &absolute, &points);
}

/* Loss of the blended forecast of a series over that of the best baseline, at its newest origins;
 * what floats round is nobody's merit. */
static double regret(const struct blend *blend, size_t which, size_t origins)
{
    const struct blend_mixture *mixture = blend_of(blend, series[which].key);
    double losses[BASELINE_COUNT] = {0.0}, own = 0.0, absolute = 0.0;
    uint64_t points = 0;
    for (size_t k = 1; k <= origins; k++) {
        float mean[HORIZON], mixed[HORIZON * QUANTILE_COUNT],
            unused[HORIZON * QUANTILE_COUNT] = {0};
        struct model_series cut = series[which];
        cut.count -= k * HORIZON;
        for (size_t i = 0; i < HORIZON * QUANTILE_COUNT; i++) {
            double level = 20.0 + 0.09 * ((double)(i / HORIZON) - 5.0); /* the stand-in's */
            mixed[i] = (1.0f - blend_baselines(mixture)) * (float)level;
        }
        for (size_t part = 0; part < BLEND_PARTS && mixture->parts[part].share > 0; part++) {
            (void)add_share(&cut, mixture->parts[part], mixed);
        }
        struct forecast out = {HORIZON, mean, mixed};
        own += metrics_quantile_loss(cut.values + cut.count, &out, &absolute, &points);
        for (int b = 0; b < BASELINE_COUNT; b++) {
            losses[b] += add_share(&cut, (struct blend_part){(enum baseline)b, 0, 0.0f}, unused);
        }
    }
    double best = losses[0];
    for (int b = 1; b < BASELINE_COUNT; b++) {
        best = fmin(best, losses[b]);
    }
    double level = fabs(series[which].values[LENGTH - 1]);
    double rounding =
        (double)origins * HORIZON * QUANTILE_COUNT * (1.0 + level) * (double)FLT_EPSILON;
    return (own + rounding) / (best + rounding);
}

/* What a baseline knows exactly stays exact, whatever the rest of the group is like. */
static void what_is_exact_stays_exact(UNUSED void **state)
{
    struct blend blend = {0};
    make_planted();
    choose(12, knows_cycles, &blend);
    assert_close((double)blend_baselines(blend_of(&blend, series[1].key)), 1.0, 1e-6);
    assert_close((double)blend_baselines(blend_of(&blend, series[3].key)), 1.0, 1e-6);
    for (size_t i = 1; i < SERIES; i += 2) {
        assert_true(regret(&blend, i, 12) < 1.05);
        assert_true(blend_baselines(blend_of(&blend, series[i - 1].key)) < 0.15f);
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
    choose(12, knows_cycles, &blend);
    const struct blend_mixture *mixture = blend_of(&blend, series[1].key);
    assert_true(mixture->parts[0].baseline == BASELINE_SEASONAL_NAIVE ||
                mixture->parts[0].baseline == BASELINE_DAMPED_TREND); /* both know the season */
    assert_true(blend_baselines(mixture) > 0.85f);
    blend_release(&blend);
}

/* Where the origins of each series contradict each other, all follow the group, here to about half
 * of baselines. A series that clearly speaks against so much of the model, from four origins on,
 * does not follow. */
static void who_is_sure_does_not_follow(UNUSED void **state)
{
    struct blend few = {0}, enough = {0};
    make();
    for (size_t i = 0; i < SERIES; i += 2) {
        memcpy(values[i], values[(i + 3) % SERIES], sizeof(values[i])); /* only walks */
    }
    choose(3, right_by_turns, &few);
    choose(4, right_by_turns, &enough);
    assert_true(blend_baselines(blend_of(&few, series[0].key)) < 0.65f);
    assert_true(blend_baselines(blend_of(&enough, series[0].key)) > 0.75f);
    for (size_t i = 1; i < SERIES; i++) {
        assert_true(blend_baselines(blend_of(&few, series[i].key)) < 0.65f);
        assert_true(blend_baselines(blend_of(&enough, series[i].key)) < 0.65f);
    }
    blend_release(&few);
    blend_release(&enough);
}

/* Nothing was held back: nothing speaks for a baseline. */
static void without_places_the_model_stands_alone(UNUSED void **state)
{
    struct blend blend = {0};
    make();
    for (size_t i = 0; i < SERIES; i++) {
        series[i].count = HORIZON; /* too short for an origin */
    }
    choose(12, knows_cycles, &blend);
    assert_true(blend_baselines(&blend.group) == 0.0f);
    assert_int_equal(blend.count, 0);
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

/* Saved and loaded a snapshot blends the same, each series its own way. */
static void survives_the_file(UNUSED void **state)
{
    struct error error = {0};
    float mean[2][HORIZON], quantiles[2][HORIZON * QUANTILE_COUNT];
    make();
    struct snapshot *snapshot = train();
    blend_release(&snapshot->blend);
    snapshot->blend.group = (struct blend_mixture){0};
    assert_ok(blend_reserve(&snapshot->blend, 2, &error));
    struct blend_mixture last_value = {{{BASELINE_LAST_VALUE, 0, 1.0f}}};
    blend_add(&snapshot->blend, series[1].key, &last_value);
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
    snapshot_release(snapshot);
    assert_int_equal(unlink(path), 0);
}

/* tests/unit/model/data/model_format_2.safetensors is of a version whose blend was one baseline:
 * 0.7 of the damped trend for the group, one series left to the damped trend alone. */
static void reads_the_format_before(UNUSED void **state)
{
    struct error error = {0};
    struct snapshot *loaded = NULL;
    assert_ok(
        snapshot_load("tests/unit/model/data/model_format_2.safetensors", NULL, &loaded, &error));
    const struct blend *blend = &loaded->blend;
    assert_int_equal(blend->group.parts[0].baseline, BASELINE_DAMPED_TREND);
    assert_close((double)blend_baselines(&blend->group), 0.7, 1e-6);
    assert_int_equal(blend->count, 1);
    assert_int_equal(blend->mixtures[0].parts[0].baseline, BASELINE_DAMPED_TREND);
    assert_true((double)blend_baselines(&blend->mixtures[0]) >= BLEND_ALONE);
    snapshot_release(loaded);
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
        cmocka_unit_test(who_is_sure_does_not_follow),
        cmocka_unit_test(without_places_the_model_stands_alone),
        cmocka_unit_test(survives_the_file),
        cmocka_unit_test(reads_the_format_before),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
