/* The LogSparse paper's synthetic set: what happened in the first day decides the last one.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Li et al. 2019, section 5.1: integer x; A1 sin(pi x / 6) + 72 + n for x < 12, A2 for 12 <= x <
 * 24, A3 for 24 <= x < t0, A4 sin(pi x / 12) + 72 + n for t0 <= x < t0 + 24; A1, A2, A3 uniform in
 * [0, 60], A4 = max(A1, A2), n standard normal. The last 24 are to be forecast; what decides them
 * lies t0 steps back, so a model without long memory fails from t0 = 96 on. The noise alone gives
 * rho0.5 = 0.011, the constant 72 about 0.35.
 */
#include "base/random.h"
#include "model/backtest.h"
#include "model/snapshot.h"
#include "model/training/metrics.h"
#include "model/training/trainer.h"
#include "tests/unit/model/model_test.h"
#include "tests/watched.h"

#include <stdio.h>
#include <string.h>

#define HORIZON    24
#define T0_MAX     192
#define TRAINED    4500
#define TESTED     500
#define STEPS      WATCHED_OR(20, 700) /* in twenty every way is gone */
#define LENGTH_MAX (T0_MAX + HORIZON)

static double values[TRAINED + TESTED][LENGTH_MAX];
static struct model_series series[TRAINED + TESTED];

static void make_set(size_t t0)
{
    struct random random;
    random_init(&random, 2019, t0);
    for (size_t i = 0; i < TRAINED + TESTED; i++) {
        double a[4];
        for (size_t k = 0; k < 3; k++) {
            a[k] = 60.0 * random_uniform(&random);
        }
        a[3] = fmax(a[0], a[1]);
        for (size_t x = 0; x < t0 + HORIZON; x++) {
            size_t part = x < 12 ? 0 : x < 24 ? 1 : x < t0 ? 2 : 3;
            double angle = M_PI * (double)x / (part < 3 ? 6.0 : 12.0);
            values[i][x] = a[part] * sin(angle) + 72.0 + random_normal(&random);
        }
        series[i] = plain_series(values[i], t0 + HORIZON, 3600000);
    }
}

static struct member_config config_of(size_t t0)
{
    struct member_config config;
    struct error error = {0};
    static const char text[] = "patch=4 scale=mean_abs lags=false calendar=false newest=10 "
                               "rate=0.003 batch=64 average=0.99";
    assert_ok(member_config_parse(text, strlen(text), &config, &error));
    config.context = (int64_t)t0;
    snprintf(config.backbone, sizeof(config.backbone), "logsparse");
    snprintf(config.options, sizeof(config.options),
             "width=32 layers=3 heads=4 inner=64 kernel=3 dropout=0");
    return config;
}

/* Trains on the first instances and returns rho0.5 of the last ones; *share: pairs left out. */
static double run(size_t t0, uint64_t steps, double *share)
{
    struct error error = {0};
    make_set(t0);
    struct feature_plan plan = {.step_ms = 3600000, .horizon = HORIZON};
    uint32_t seasons[SEASONS_MAX] = {0};
    struct snapshot *snapshot = NULL;
    struct training_set set;
    struct trainer_result result;
    struct member_config config = config_of(t0);
    assert_ok(snapshot_new(&plan, 1, &snapshot, &error));
    assert_ok(member_new(&config, &snapshot->plan, seasons, &snapshot->members[0], &error));
    assert_ok(training_set_init(&set, &snapshot->plan, series, TRAINED, 0, 0, &error));
    struct trainer_request request = {.set = &set,
                                      .member = snapshot->members[0],
                                      .seed = 1,
                                      .steps = steps,
                                      .lanes = 2,
                                      .memory_max = 256u << 20};
    assert_ok(trainer_run(&request, &result, &error));
    training_set_release(&set);
    *share = snapshot->members[0]->backbone->sparse_share;
    struct forecaster *forecaster = NULL;
    assert_ok(forecaster_new(snapshot, 32, &forecaster, &error));
    float mean[HORIZON];
    float quantiles[QUANTILE_COUNT * HORIZON];
    struct forecast out = {.horizon = HORIZON, .mean = mean, .quantiles = quantiles};
    double scored_values[(QUANTILE_COUNT + 1) * HORIZON];
    struct scored_forecast scored = {HORIZON, scored_values, scored_values + HORIZON};
    struct metrics_sum sum = {0};
    for (size_t i = TRAINED; i < TRAINED + TESTED; i++) {
        struct model_series cut = series[i];
        cut.count = t0;
        assert_ok(forecaster_run(forecaster, &cut, 1, &out, &error));
        scored_from(&out, &scored);
        metrics_add(&sum, values[i] + t0, &scored, 1.0);
    }
    struct metrics metrics;
    metrics_finish(&sum, &metrics);
    forecaster_free(forecaster);
    snapshot_release(snapshot);
    printf("t0 %zu: rho0.5 %.4f rho0.9 %.4f, %llu steps in %.1f s, loss %.4f, %.0f %% of pairs "
           "left out\n",
           t0, metrics.rho[4], metrics.rho[8], (unsigned long long)result.steps, result.seconds,
           result.loss, 100.0 * *share);
    return metrics.rho[4];
}

static void remembers_over_a_long_gap(UNUSED void **state)
{
    double share;
    double near = run(96, STEPS, &share);
    double far = run(192, STEPS, &share);
    assert_true(isfinite(near) && isfinite(far));
    if (!WATCHED) {
        assert_true(near < 0.03);
        assert_true(far < 0.03);
        assert_true(far < near + 0.005);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(remembers_over_a_long_gap)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
