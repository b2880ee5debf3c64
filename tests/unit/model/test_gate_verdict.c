/* Tests of the gate's verdicts that the data force: walks, which nothing beats, and a change of
 * regime after the champion's training. Equals and worse ones: test_train.c.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "base/random.h"
#include "model/snapshot.h"
#include "tests/unit/model/model_test.h"

#include <string.h>

#define SERIES  12
#define LENGTH  720
#define BEFORE  480 /* values of the old regime */
#define HORIZON 12
#define HOUR    INT64_C(3600000)

static double values[SERIES][LENGTH];
static struct model_series series[SERIES];

static void describe(size_t count)
{
    for (size_t i = 0; i < SERIES; i++) {
        series[i] = plain_series(values[i], count, HOUR);
        series[i].seasons[0] = 24;
    }
}

static struct snapshot *train(bool without_blend)
{
    struct error error = {0};
    struct snapshot *snapshot = NULL;
    struct train_request request = {.series = series,
                                    .series_count = SERIES,
                                    .config = {.backbone = "logsparse",
                                               .head = "quantile",
                                               .members = "1",
                                               .horizon = HORIZON,
                                               .options = "width=16 inner=32",
                                               .without_blend = without_blend},
                                    .steps = 2,
                                    .seed = 5,
                                    .lanes = 2};
    assert_ok(model_train(&request, &snapshot, &error));
    return snapshot;
}

static struct gate_result judge(const struct snapshot *challenger, const struct snapshot *champion)
{
    struct error error = {0};
    struct gate_result gate;
    struct gate_request request = {
        .challenger = challenger, .champion = champion, .series = series, .series_count = SERIES};
    assert_ok(model_gate(&request, &gate, &error));
    return gate;
}

static void a_first_model_without_skill_over_the_baseline_is_kept_back(UNUSED void **state)
{
    for (size_t i = 0; i < SERIES; i++) {
        struct random random;
        random_init(&random, 91, i);
        double level = 100.0;
        for (size_t t = 0; t < LENGTH; t++) {
            level += random_normal(&random);
            values[i][t] = level;
        }
    }
    describe(LENGTH);
    struct snapshot *snapshot = train(true);
    struct gate_result gate = judge(snapshot, NULL);
    print_message("%s\n", gate.reason);
    assert_false(gate.promote);
    assert_non_null(strstr(gate.reason, "no skill over the baseline "));
    assert_true(gate.challenger > gate.baseline);
    assert_true(isnan(gate.champion) && isnan(gate.over_champion.value));
    snapshot_release(snapshot);
}

/* A walk, where the last value says all, and then days that have nothing to do with it. */
static void make_regimes(void)
{
    for (size_t i = 0; i < SERIES; i++) {
        struct random random;
        random_init(&random, 92, i);
        double level = 100.0;
        for (size_t t = 0; t < LENGTH; t++) {
            double noise = random_normal(&random);
            level += t < BEFORE ? noise : 0.0;
            double day = 10.0 * sin(2.0 * M_PI * (double)(t + 3 * i) / 24.0) + 3.0 * noise;
            values[i][t] = level + (t < BEFORE ? 0.0 : day);
        }
    }
}

/* What the champion was good at no longer counts: only origins that came after the challenger's
 * training do, each value of them once. Both are hardly more than their blends of baselines, which
 * each chose on its own newest values. */
static void only_recent_origins_count(UNUSED void **state)
{
    make_regimes();
    describe(BEFORE);
    struct snapshot *champion = train(false);
    describe(LENGTH);
    struct snapshot *challenger = train(false);
    int64_t end_ms = snapshot_record(challenger)->window_end_ms;
    assert_true(end_ms > BEFORE * HOUR && end_ms < LENGTH * HOUR);
    describe(BEFORE);
    struct gate_result gate = judge(champion, challenger);
    assert_true(gate.over_champion.value > 2.0 * gate.over_champion.error);
    describe(LENGTH);
    gate = judge(challenger, champion);
    if (!gate.promote) {
        fail_msg("%s", gate.reason);
    }
    size_t newer = LENGTH - (size_t)(end_ms / HOUR);
    assert_int_equal(gate.points, SERIES * newer);
    assert_int_equal(gate.over_champion.units, newer / HORIZON);
    snapshot_release(challenger);
    snapshot_release(champion);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_first_model_without_skill_over_the_baseline_is_kept_back),
        cmocka_unit_test(only_recent_origins_count),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
