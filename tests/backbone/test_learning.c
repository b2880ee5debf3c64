/* What every backbone of the table must do as part of a whole model: learn, repeat, and be saved.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Small networks and few steps, so that all backbones take less than three minutes on one core.
 */
#include "tests/backbone/cases.h"

#include "model/backbones/backbone.h"
#include "model/backtest.h"
#include "model/snapshot.h"

#include "base/check.h"
#include "tests/watched.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define DATA            "tests/backbone/data/pjm2.csv"
#define SERIES          2
#define LENGTH          1344
#define SHORT_LENGTH    400 /* of what is trained on only to be saved */
#define HORIZON         24
#define WINDOWS         4
#define LEARNING_LENGTH WATCHED_OR(600, LENGTH)
#define LEARNING_STEPS  WATCHED_OR(2, 40)
#define HOUR            INT64_C(3600000)

static double values[SERIES][LENGTH];
static struct backtest_series series[SERIES];

static int read_data(void **state)
{
    (void)state;
    FILE *file = fopen(DATA, "r");
    assert_non_null(file);
    char line[128];
    assert_non_null(fgets(line, sizeof(line), file)); /* names of the columns */
    for (size_t t = 0; t < LENGTH; t++) {
        assert_non_null(fgets(line, sizeof(line), file));
        char *comma = strchr(line, ',');
        assert_non_null(comma);
        values[0][t] = strtod(comma + 1, &comma);
        values[1][t] = strtod(comma + 1, NULL);
        assert_true(values[0][t] > 0 && values[1][t] > 0);
    }
    (void)fclose(file);
    for (size_t i = 0; i < SERIES; i++) {
        series[i] = (struct backtest_series){
            .id = i == 0 ? "AEP" : "COMED",
            .series = {.values = values[i],
                       .count = LEARNING_LENGTH,
                       .step_ms = HOUR,
                       .minimum = -INFINITY,
                       .maximum = INFINITY},
        };
        (void)season_detect(values[i], LEARNING_LENGTH, HOUR, series[i].series.seasons);
    }
    return 0;
}

/* Those of `wanted` that the backbone has, then `more`. */
static void choose_options(const struct backbone *backbone, const char *more, char *out,
                           size_t capacity)
{
    static const char *const wanted[][2] = {{"width", "16"}, {"inner", "32"}, {"heads", "2"}};
    size_t length = 0;
    out[0] = '\0';
    for (size_t i = 0; i < ARRAY_COUNT(wanted); i++) {
        if (options_find(backbone->options, backbone->option_count, wanted[i][0]) != NULL) {
            length += (size_t)snprintf(out + length, capacity - length, "%s=%s ", wanted[i][0],
                                       wanted[i][1]);
        }
    }
    length += (size_t)snprintf(out + length, capacity - length, "%s", more);
    assert_true(length < capacity);
}

static struct train_request request_of(const struct backbone *backbone, const char *options,
                                       uint64_t steps)
{
    struct train_request request = {
        .config = {.head = "quantile", .horizon = HORIZON}, .steps = steps, .seed = 1, .lanes = 1};
    (void)snprintf(request.config.backbone, sizeof(request.config.backbone), "%s", backbone->name);
    choose_options(backbone, options, request.config.options, sizeof(request.config.options));
    return request;
}

/* With the presets of its own options, a backbone beats the seasonal naive in few steps. */
static void test_learns_more_than_the_seasonal_naive(void **state)
{
    (void)state;
    for (size_t i = 0; i < backbone_table_count; i++) {
        struct error error = {0};
        struct backtest_result result;
        struct backtest_request request = {
            .series = series,
            .series_count = SERIES,
            .horizon = HORIZON,
            .windows = WINDOWS,
            .train = request_of(backbone_table[i], "", LEARNING_STEPS),
        };
        /* The network and its skip alone: no baseline is mixed in. */
        request.train.config.without_blend = true;
        (void)snprintf(request.train.config.members, sizeof(request.train.config.members), "1,2");
        if (backtest_run(&request, &result, &error) != STATUS_OK) {
            fail_msg("%s: %s", backbone_table[i]->name, error.text);
        }
        print_message("%s: wQL %.4f (naive %.4f), MASE %.3f (%.3f), %.1f s\n",
                      backbone_table[i]->name, result.champion.wql,
                      result.baselines[BASELINE_SEASONAL_NAIVE].wql, result.champion.mase,
                      result.baselines[BASELINE_SEASONAL_NAIVE].mase, result.train_seconds);
        assert_true(isfinite(result.champion.wql) && isfinite(result.champion.mase));
        assert_true(WATCHED || result.champion.wql < result.baselines[BASELINE_SEASONAL_NAIVE].wql);
        assert_true(WATCHED ||
                    result.champion.mase < result.baselines[BASELINE_SEASONAL_NAIVE].mase);
        assert_string_equal(snapshot_record(result.snapshot)->backbone, backbone_table[i]->name);
        backtest_release(&result);
    }
}

struct room {
    float mean[SERIES][HORIZON], quantiles[SERIES][QUANTILE_COUNT * HORIZON];
};

static void forecast_all(const struct snapshot *snapshot, struct room *room)
{
    struct error error = {0};
    struct forecaster *forecaster = NULL;
    struct model_series items[SERIES];
    struct forecast out[SERIES];
    for (size_t i = 0; i < SERIES; i++) {
        items[i] = series[i].series;
        out[i] = (struct forecast){
            .horizon = HORIZON, .mean = room->mean[i], .quantiles = room->quantiles[i]};
    }
    assert_int_equal(forecaster_new(snapshot, SERIES, &forecaster, &error), STATUS_OK);
    assert_int_equal(forecaster_run(forecaster, items, SERIES, out, &error), STATUS_OK);
    forecaster_free(forecaster);
}

static struct snapshot *train(const struct backbone *backbone, const char *options)
{
    struct error error = {0};
    struct snapshot *snapshot = NULL;
    struct model_series items[SERIES];
    for (size_t i = 0; i < SERIES; i++) {
        items[i] = series[i].series;
        items[i].count = SHORT_LENGTH;
    }
    struct train_request request = request_of(backbone, options, 2);
    request.series = items;
    request.series_count = SERIES;
    if (model_train(&request, &snapshot, &error) != STATUS_OK) {
        fail_msg("%s %s: %s", backbone->name, options, error.text);
    }
    return snapshot;
}

static void check_saved(const struct backbone *backbone, const char *options)
{
    static struct room before, after, repeated;
    char folder[] = "/tmp/forecastd-backbone-XXXXXX";
    char path[64];
    struct error error = {0};
    assert_non_null(mkdtemp(folder));
    (void)snprintf(path, sizeof(path), "%s/model.safetensors", folder);

    struct snapshot *snapshot = train(backbone, options);
    forecast_all(snapshot, &before);
    if (!WATCHED) {
        struct snapshot *again = train(backbone, options);
        forecast_all(again, &repeated);
        assert_memory_equal(&before, &repeated, sizeof(before));
        snapshot_release(again);
    }

    assert_int_equal(snapshot_save(snapshot, path, &error), STATUS_OK);
    struct snapshot *loaded = NULL;
    if (snapshot_load(path, snapshot_record(snapshot)->sha256, &loaded, &error) != STATUS_OK) {
        fail_msg("%s %s: %s", backbone->name, options, error.text);
    }
    forecast_all(loaded, &after);
    assert_memory_equal(&before, &after, sizeof(before));
    assert_string_equal(snapshot_record(loaded)->backbone, backbone->name);
    snapshot_release(loaded);
    snapshot_release(snapshot);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(rmdir(folder), 0);
}

/* The same seed gives the same forecast, bit by bit, and so does the file of the model: with the
 * presets, and in the modes of cases.c. */
static void test_same_forecast_again_and_from_a_file(void **state)
{
    (void)state;
    for (size_t i = 0; i < backbone_table_count; i++) {
        check_saved(backbone_table[i], "");
    }
    for (size_t i = 0; i < saved_count; i++) {
        const struct backbone *backbone = backbone_find(saved[i].backbone);
        assert_non_null(backbone);
        check_saved(backbone, saved[i].options);
    }
}

int main(void)
{
    if (sizeof(real) != sizeof(float)) {
        printf("snapshots hold floats: there is nothing to see in the double flavour\n");
        return 0;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_learns_more_than_the_seasonal_naive),
        cmocka_unit_test(test_same_forecast_again_and_from_a_file),
    };
    return cmocka_run_group_tests(tests, read_data, NULL);
}
