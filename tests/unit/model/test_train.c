/* Tests of training: better than the seasonal naive, any lanes, cancelling, refusals.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "base/random.h"
#include "model/backtest.h"
#include "model/snapshot.h"
#include "model/training/recipe.h"
#include "tests/unit/model/model_test.h"
#include "tests/watched.h"

#include <stdio.h>
#include <string.h>

#define SERIES  6
#define LENGTH  480
#define HORIZON 24
#define HOUR    INT64_C(3600000)

static double values[SERIES][LENGTH];
static struct model_series series[SERIES];

/* Days with a shape of their own, a wandering level and noise; one series with holes. */
static int make_series(UNUSED void **state)
{
    for (int i = 0; i < SERIES; i++) {
        struct random random;
        random_init(&random, 77, (uint64_t)i);
        double level = 50.0 * (i + 1);
        double kept = 0.0;
        for (int t = 0; t < LENGTH; t++) {
            kept = 0.8 * kept + random_normal(&random);
            double day = sin(2.0 * M_PI * (t + 3 * i) / 24.0) + 0.4 * sin(4.0 * M_PI * t / 24.0);
            values[i][t] = level + 10.0 * (i + 1) * day + 1.5 * (i + 1) * kept;
            if (i == 4 && (t % 17 == 0 || (t > 200 && t < 230))) {
                values[i][t] = (double)NAN;
            }
        }
        series[i] = plain_series(values[i], LENGTH, HOUR);
        season_detect(values[i], LENGTH, HOUR, series[i].seasons);
    }
    return 0;
}

#define SEASONAL_NAIVE_WQL 0.0410 /* of this set, at the origins held back */

static struct train_request request_of(uint64_t steps, unsigned lanes)
{
    return (struct train_request){.series = series,
                                  .series_count = SERIES,
                                  .config = {.backbone = "logsparse",
                                             .head = "quantile",
                                             .horizon = HORIZON,
                                             .options = "width=16 inner=32"},
                                  .steps = steps,
                                  .seed = 5,
                                  .lanes = lanes};
}

static enum status judge(const struct snapshot *challenger, const struct snapshot *champion,
                         struct gate_result *gate, struct error *error)
{
    struct gate_request request = {
        .challenger = challenger, .champion = champion, .series = series, .series_count = SERIES};
    return model_gate(&request, gate, error);
}

static void learns_more_than_the_best_baseline(UNUSED void **state)
{
    struct error error = {0};
    struct snapshot *snapshot = NULL;
    struct train_request request = request_of(120, 2);
    assert_ok(model_train(&request, &snapshot, &error));
    const struct snapshot_record *record = snapshot_record(snapshot);
    assert_true(record->evaluated > 0);
    /* The seasonal naive by a margin; the best baseline, which is close to the noise, at all. */
    assert_true(record->wql < 0.95 * SEASONAL_NAIVE_WQL);
    if (!(record->wql < record->baseline_wql)) {
        fail_msg("wQL %.4f, baseline %.4f", record->wql, record->baseline_wql);
    }
    assert_true(record->coverage80 > 0.6 && record->coverage80 < 0.95);
    assert_true(record->parameters > 1000);
    assert_int_equal(record->series, SERIES);
    assert_true(record->window_end_ms < LENGTH * HOUR);
    struct gate_result gate;
    assert_ok(judge(snapshot, NULL, &gate, &error));
    if (!gate.promote) {
        fail_msg("%s", gate.reason);
    }
    assert_true(isnan(gate.champion));
    assert_ok(judge(snapshot, snapshot, &gate, &error));
    assert_false(gate.promote); /* an equal one brings nothing */
    assert_non_null(strstr(gate.reason, "no skill over the champion"));
    assert_true(gate.challenger == gate.champion);
    assert_true(gate.over_champion.value == 0.0);
    struct snapshot *worse = NULL;
    request = request_of(2, 2);
    assert_ok(model_train(&request, &worse, &error));
    for (size_t i = 0; i < QUANTILE_COUNT * worse->plan.horizon; i++) {
        worse->spread[i] *= 5.0f; /* hardly trained, and far too wide */
    }
    assert_ok(judge(worse, snapshot, &gate, &error));
    assert_false(gate.promote);
    assert_true(gate.over_champion.value < 0.0);
    assert_ok(judge(snapshot, worse, &gate, &error));
    if (!gate.promote) {
        fail_msg("%s", gate.reason);
    }
    snapshot_release(worse);
    snapshot_release(snapshot);
}

static void same_seed_and_steps_give_the_same_bits_with_any_lanes(UNUSED void **state)
{
    struct error error = {0};
    struct snapshot *one = NULL;
    struct snapshot *two = NULL;
    struct train_request request = request_of(12, 1);
    assert_ok(model_train(&request, &one, &error));
    request.lanes = 2;
    assert_ok(model_train(&request, &two, &error));
    assert_int_equal(one->member_count, two->member_count);
    size_t horizon = one->plan.horizon;
    for (size_t m = 0; m < one->member_count; m++) {
        const struct params *params = &one->members[m]->params;
        assert_memory_equal(one->members[m]->weights, two->members[m]->weights,
                            params->size * sizeof(real));
    }
    assert_memory_equal(one->spread, two->spread, QUANTILE_COUNT * horizon * sizeof(float));
    request.seed = 6;
    struct snapshot *other = NULL;
    assert_ok(model_train(&request, &other, &error));
    assert_memory_not_equal(one->members[0]->weights, other->members[0]->weights,
                            one->members[0]->params.size * sizeof(real));
    snapshot_release(one);
    snapshot_release(two);
    snapshot_release(other);
}

static void trains_within_its_time(UNUSED void **state)
{
    struct error error = {0};
    struct snapshot *snapshot = NULL;
    struct train_request request = request_of(0, 2);
    request.seconds = 2.0;
    assert_ok(model_train(&request, &snapshot, &error));
    assert_true(snapshot_record(snapshot)->seconds < 6.0);
    assert_true(snapshot_record(snapshot)->steps > 0);
    snapshot_release(snapshot);
}

static void small_memory_means_small_batches_not_failure(UNUSED void **state)
{
    struct error error = {0};
    struct snapshot *snapshot = NULL;
    struct train_request request = request_of(2, 2);
    request.memory_max = 8u << 20;
    assert_ok(model_train(&request, &snapshot, &error));
    snapshot_release(snapshot);
    request.memory_max = 1000;
    assert_status(model_train(&request, &snapshot, &error), STATUS_NO_MEMORY);
}

struct canceller {
    atomic_bool cancel;
    int reports;
};

static void cancel_soon(void *context, const struct train_progress *progress)
{
    struct canceller *canceller = context;
    canceller->reports++;
    assert_true(progress->fraction >= 0.0 && progress->fraction <= 1.0);
    if (progress->step > 3) {
        atomic_store(&canceller->cancel, true);
    }
}

static void stops_when_cancelled(UNUSED void **state)
{
    struct error error = {0};
    struct snapshot *snapshot = NULL;
    struct canceller canceller = {.reports = 0};
    struct train_request request = request_of(1000000, 2);
    request.cancel = &canceller.cancel;
    request.report = cancel_soon;
    request.report_context = &canceller;
    assert_status(model_train(&request, &snapshot, &error), STATUS_CANCELLED);
    assert_true(canceller.reports > 1);
}

static void cancel_closing(void *context, const struct train_progress *progress)
{
    struct canceller *canceller = context;
    assert_string_not_equal(progress->phase, "evaluating"); /* it is not gone on with */
    if (strcmp(progress->phase, "calibrating") == 0) {
        atomic_store(&canceller->cancel, true);
    }
}

/* Blend and calibration of many series take seconds, which a stopping daemon does not have. */
static void stops_when_cancelled_while_closing(UNUSED void **state)
{
    struct error error = {0};
    struct snapshot *snapshot = NULL;
    struct canceller canceller = {.reports = 0};
    struct train_request request = request_of(3, 2);
    request.cancel = &canceller.cancel;
    request.report = cancel_closing;
    request.report_context = &canceller;
    assert_status(model_train(&request, &snapshot, &error), STATUS_CANCELLED);
    assert_null(snapshot);
}

static void refuses_what_cannot_work(UNUSED void **state)
{
    struct error error = {0};
    struct snapshot *snapshot = NULL;
    struct train_request request = request_of(2, 1);
    request.series_count = 0;
    assert_status(model_train(&request, &snapshot, &error), STATUS_INVALID);
    request = request_of(0, 1);
    assert_status(model_train(&request, &snapshot, &error), STATUS_INVALID);
    request = request_of(2, 1);
    snprintf(request.config.backbone, sizeof(request.config.backbone), "nonsense");
    assert_status(model_train(&request, &snapshot, &error), STATUS_INVALID);
    request = request_of(2, 1);
    snprintf(request.config.options, sizeof(request.config.options), "width=nine");
    assert_status(model_train(&request, &snapshot, &error), STATUS_INVALID);
    request = request_of(2, 1);
    request.config.horizon = LENGTH;
    assert_status(model_train(&request, &snapshot, &error), STATUS_INVALID);
    double few[] = {1.0, 2.0, (double)NAN, 3.0};
    struct model_series tiny = plain_series(few, 4, HOUR);
    request = request_of(2, 1);
    request.series = &tiny;
    request.series_count = 1;
    assert_status(model_train(&request, &snapshot, &error), STATUS_INVALID);
}

static void parts_of_the_recipe_can_be_left_out(UNUSED void **state)
{
    struct error error = {0};
    struct snapshot *whole = NULL, *without = NULL;
    struct train_request request = request_of(2, 2);
    assert_ok(model_train(&request, &whole, &error));
    snprintf(request.config.members, sizeof(request.config.members), "1,3");
    snprintf(request.config.member_options, sizeof(request.config.member_options),
             "skip=false rate=0.002");
    request.config.without_blend = request.config.without_calibration = true;
    assert_ok(model_train(&request, &without, &error));
    assert_int_equal(without->member_count, 2);
    assert_true(whole->member_count > 2);
    assert_string_equal(without->members[1]->config.options, whole->members[2]->config.options);
    for (size_t i = 0; i < without->member_count; i++) {
        assert_false(without->members[i]->config.skip);
        assert_close(without->members[i]->config.rate, 0.002, 1e-12);
    }
    assert_true(whole->members[0]->config.skip);
    bool stretched = false;
    for (size_t i = 0; i < QUANTILE_COUNT * HORIZON; i++) {
        assert_close((double)without->spread[i], 1.0, 0.0);
        stretched = stretched || whole->spread[i] < 1.0f || whole->spread[i] > 1.0f;
    }
    assert_true(stretched);
    assert_true(blend_baselines(&whole->blend.group) > 0.0f); /* two steps teach little */
    assert_close((double)blend_baselines(&without->blend.group), 0.0, 0.0);
    assert_int_equal(without->blend.count, 0);
    snapshot_release(without);
    snapshot_release(whole);
    snprintf(request.config.members, sizeof(request.config.members), "9");
    assert_status(model_train(&request, &without, &error), STATUS_INVALID);
    snprintf(request.config.members, sizeof(request.config.members), "1");
    snprintf(request.config.member_options, sizeof(request.config.member_options), "colour=red");
    assert_status(model_train(&request, &without, &error), STATUS_INVALID);
    assert_non_null(strstr(error.text, "colour"));
}

/* The members of the default recipe for a budget. */
static size_t choose(double seconds, struct recipe *recipe)
{
    struct error error = {0};
    struct train_request request = request_of(1, 1);
    struct recipe_data data = {.series_count = SERIES,
                               .typical_length = 700,
                               .shorter_length = 700,
                               .horizon = HORIZON,
                               .windows = 3000,
                               .seconds = seconds};
    assert_ok(recipe_choose(&request.config, &data, recipe, &error));
    return recipe->member_count;
}

/* Below a minute and a half two members are all that can be trained well: the two that are worth
 * most, which are the first ones of the whole recipe too. */
static void small_budgets_train_two_members(UNUSED void **state)
{
    struct recipe whole, small;
    assert_int_equal(choose(0.0, &whole), 5); /* by steps */
    assert_int_equal(choose(300.0, &whole), 5);
    assert_int_equal(choose(90.0, &whole), 5);
    assert_int_equal(choose(60.0, &small), 2);
    for (size_t i = 0; i < small.member_count; i++) {
        assert_string_equal(small.members[i].options, whole.members[i].options);
        assert_int_equal(small.members[i].patch, whole.members[i].patch);
        assert_int_equal(small.members[i].context, whole.members[i].context);
    }
}

static void backtest_is_fair_and_complete(UNUSED void **state)
{
    struct error error = {0};
    struct backtest_series items[SERIES];
    for (int i = 0; i < SERIES; i++) {
        items[i] = (struct backtest_series){.id = "s", .series = series[i]};
    }
    items[5].series.count = 3 * 24 + 2 * HORIZON - 1; /* one value too short */
    struct backtest_request request = {.series = items,
                                       .series_count = SERIES,
                                       .horizon = HORIZON,
                                       .windows = 2,
                                       .season = 24,
                                       .train = request_of(WATCHED_OR(8, 40), 2)};
    struct backtest_result result;
    assert_ok(backtest_run(&request, &result, &error));
    assert_int_equal(result.series_used, SERIES - 1);
    assert_int_equal(result.series_left_out, 1);
    assert_int_equal(result.season, 24);
    assert_int_equal(result.champion.series, 2 * (SERIES - 1));
    assert_int_equal(result.champion.points, result.baselines[BASELINE_SEASONAL_NAIVE].points);
    assert_true(result.champion.missing_actuals > 0);
    assert_true(result.champion.mase > 0.0 && result.champion.mase < 2.0);
    assert_true(isnan(result.champion.owa));
    assert_int_equal(result.row_count, SERIES - 1);
    double sum = 0.0;
    for (size_t i = 0; i < result.row_count; i++) {
        const struct backtest_row *row = &result.rows[i];
        assert_int_equal(row->champion.series, 2);
        assert_true(row->index == i);
        for (int b = 0; b < BASELINE_COUNT; b++) {
            assert_int_equal(result.baselines[b].points, result.champion.points);
        }
        sum += row->champion.mase;
    }
    assert_close(sum / (double)result.row_count, result.champion.mase, 1e-12);
    int64_t end = snapshot_record(result.snapshot)->window_end_ms;
    assert_true(end <= (LENGTH - 2 * HORIZON) * HOUR);
    backtest_release(&result);
    request.windows = 0;
    request.season = 0;
    assert_ok(backtest_run(&request, &result, &error));
    assert_int_equal(result.champion.points, 0);
    assert_int_equal(result.season, 24);
    backtest_release(&result);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(learns_more_than_the_best_baseline),
        cmocka_unit_test(same_seed_and_steps_give_the_same_bits_with_any_lanes),
        cmocka_unit_test(trains_within_its_time),
        cmocka_unit_test(small_memory_means_small_batches_not_failure),
        cmocka_unit_test(stops_when_cancelled),
        cmocka_unit_test(stops_when_cancelled_while_closing),
        cmocka_unit_test(refuses_what_cannot_work),
        cmocka_unit_test(parts_of_the_recipe_can_be_left_out),
        cmocka_unit_test(small_budgets_train_two_members),
        cmocka_unit_test(backtest_is_fair_and_complete),
    };
    return cmocka_run_group_tests(tests, make_series, NULL);
}
