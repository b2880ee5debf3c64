/* Tests of the gate: whoever cancels it gets it back soon, one series of next to nothing does not
 * decide. Its verdicts: test_train.c.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "base/random.h"
#include "model/snapshot.h"
#include "tests/unit/model/model_test.h"

#include <signal.h>
#include <string.h>
#include <sys/time.h>
#include <time.h>

#define SERIES  256
#define LENGTH  400
#define HORIZON 24
#define HOUR    INT64_C(3600000)
#define MOMENTS 6

static double values[SERIES][LENGTH];
static struct model_series series[SERIES];

static void make_series(void)
{
    for (size_t i = 0; i < SERIES; i++) {
        struct random random;
        random_init(&random, 78, i);
        for (size_t t = 0; t < LENGTH; t++) {
            values[i][t] = 100.0 + 10.0 * sin(2.0 * M_PI * (double)(t + i) / 24.0);
            values[i][t] += random_normal(&random);
        }
        series[i] = plain_series(values[i], LENGTH, HOUR);
        series[i].seasons[0] = 24;
    }
}

static struct snapshot *hardly_trained(size_t count)
{
    struct error error = {0};
    struct snapshot *snapshot = NULL;
    struct train_request request = {.series = series,
                                    .series_count = count,
                                    .config = {.backbone = "logsparse",
                                               .head = "quantile",
                                               .members = "1",
                                               .horizon = HORIZON,
                                               .options = "width=16 inner=32"},
                                    .steps = 1,
                                    .seed = 5,
                                    .lanes = 1};
    assert_ok(model_train(&request, &snapshot, &error));
    return snapshot;
}

static double processor_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static atomic_bool cancel;
static double cancelled_at;

static void cancel_now(UNUSED int number)
{
    atomic_store(&cancel, true);
    cancelled_at = processor_seconds();
}

static void cancel_after(double seconds)
{
    double whole = floor(seconds);
    struct itimerval timer = {
        .it_value = {(time_t)whole, (suseconds_t)(1e6 * (seconds - whole)) + 1}};
    atomic_store(&cancel, false);
    assert_int_equal(setitimer(ITIMER_PROF, &timer, NULL), 0);
}

/* The gate of many series takes about a second, which a stopping daemon does not have. It is
 * cancelled at moments spread over all of it, by a timer of processor time, since others may have
 * the processors for any time. */
static void stops_soon_after_any_moment(UNUSED void **state)
{
    struct error error = {0};
    struct gate_result gate;
    struct snapshot *snapshot = hardly_trained(SERIES);
    struct gate_request request = {snapshot, snapshot, series, SERIES, &cancel};
    double begin = processor_seconds();
    assert_ok(model_gate(&request, &gate, &error));
    double whole = processor_seconds() - begin, longest = 0.0;
    assert_true(signal(SIGPROF, cancel_now) != SIG_ERR);
    for (int i = 0; i < MOMENTS; i++) {
        cancel_after(whole * (0.05 + 0.8 * i / MOMENTS));
        enum status status = model_gate(&request, &gate, &error);
        double took = processor_seconds() - cancelled_at;
        assert_status(status, STATUS_CANCELLED);
        assert_false(gate.promote);
        longest = fmax(longest, took);
    }
    print_message("a gate of %.0f ms ended %.1f ms after it was cancelled\n", 1e3 * whole,
                  1e3 * longest);
    assert_true(longest < 0.1 * whole);
    snapshot_release(snapshot);
}

/* Values that are smaller than the least band have no unit in which others could be told from them:
 * one such series must not outweigh all the rest. */
static void next_to_nothing_decides_nothing(UNUSED void **state)
{
    enum { FEW = 8 };
    struct error error = {0};
    struct gate_result with, without;
    struct snapshot *snapshot = hardly_trained(FEW);
    struct gate_request request = {snapshot, NULL, series, FEW, NULL};
    assert_ok(model_gate(&request, &without, &error));
    for (size_t t = 0; t < LENGTH; t++) {
        values[FEW][t] = 5e-324 * (double)(t % 7);
    }
    request.series_count = FEW + 1;
    assert_ok(model_gate(&request, &with, &error));
    snapshot_release(snapshot);
    assert_true(isfinite(with.over_baseline.value));
    assert_close(with.over_baseline.value, without.over_baseline.value, 0.01);
    assert_close(with.over_baseline.error, without.over_baseline.error, 0.01);
}

static double skill_on(const struct snapshot *snapshot, size_t from, size_t count)
{
    struct error error = {0};
    struct gate_result gate;
    struct gate_request request = {snapshot, NULL, series + from, count, NULL};
    assert_ok(model_gate(&request, &gate, &error));
    return gate.over_baseline.value;
}

/* What nobody can forecast must not hide what can be: each series counts alike. In units of their
 * values two series of noise lose fifty times as much as eight of waves, and the skill was theirs.
 */
static void noise_does_not_hide_the_rest(UNUSED void **state)
{
    enum { FEW = 8, NOISE = 2 };
    make_series();
    struct snapshot *snapshot = hardly_trained(FEW);
    for (size_t i = FEW; i < FEW + NOISE; i++) {
        struct random random;
        random_init(&random, 79, i);
        for (size_t t = 0; t < LENGTH; t++) {
            values[i][t] = random_normal(&random);
        }
    }
    double waves = skill_on(snapshot, 0, FEW), noise = skill_on(snapshot, FEW, NOISE);
    double both = skill_on(snapshot, 0, FEW + NOISE);
    snapshot_release(snapshot);
    print_message("skill %.3f of waves, %.3f of noise, %.3f of both\n", waves, noise, both);
    assert_true(fabs(noise - waves) > 0.05);
    assert_close(both, waves + (noise - waves) * NOISE / (FEW + NOISE), 0.2 * fabs(noise - waves));
}

/* The reason says what was counted, and what was asked of it. */
static void a_reason_tells_forecasts_from_origins(UNUSED void **state)
{
    enum { FEW = 8 };
    struct error error = {0};
    struct gate_result gate;
    struct snapshot *snapshot = hardly_trained(FEW);
    struct gate_request request = {snapshot, NULL, series, FEW, NULL};
    int64_t end_ms = series[0].start_ms + LENGTH * HOUR;
    snapshot->record.window_end_ms = end_ms - HORIZON * HOUR;
    assert_ok(model_gate(&request, &gate, &error));
    assert_non_null(strstr(gate.reason, " on 8 forecasts at 1 origin, twice the error needed;"));
    snapshot->record.window_end_ms = end_ms - 6 * HORIZON * HOUR;
    assert_ok(model_gate(&request, &gate, &error));
    assert_non_null(strstr(gate.reason, " origins;"));
    assert_null(strstr(gate.reason, "forecasts"));
    snapshot_release(snapshot);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(stops_soon_after_any_moment),
                                       cmocka_unit_test(next_to_nothing_decides_nothing),
                                       cmocka_unit_test(noise_does_not_hide_the_rest),
                                       cmocka_unit_test(a_reason_tells_forecasts_from_origins)};
    make_series();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
