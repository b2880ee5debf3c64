/* Tests of what the gate judges by: what each series held back, wherever it ends beside others, and
 * nothing that was learned.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "base/random.h"
#include "model/snapshot.h"
#include "tests/unit/model/model_test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SERIES  120 /* one held-back origin each; half of them hold two back */
#define LENGTH  600
#define MORE    (4 * HORIZON) /* values that come later */
#define HORIZON 24
#define HOUR    INT64_C(3600000)
#define MINUTE  INT64_C(60000)

static double values[SERIES][LENGTH + MORE];
static struct model_series series[SERIES];

/* All end together, at a whole hour. */
static int make_series(UNUSED void **state)
{
    for (size_t i = 0; i < SERIES; i++) {
        struct random random;
        random_init(&random, 78, i);
        for (size_t t = 0; t < LENGTH + MORE; t++) {
            values[i][t] = 100.0 + 10.0 * sin(2.0 * M_PI * (double)(t + i) / 24.0);
            values[i][t] += random_normal(&random);
        }
        series[i] = plain_series(values[i], LENGTH, HOUR);
        series[i].start_ms = 1000 * HOUR;
        series[i].seasons[0] = 24;
        series[i].key = i + 1;
    }
    return 0;
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

static struct gate_result judge(const struct snapshot *snapshot, size_t count)
{
    struct error error = {0};
    struct gate_result gate;
    struct gate_request request = {snapshot, NULL, series, count, NULL};
    assert_ok(model_gate(&request, &gate, &error));
    return gate;
}

static struct gate_result train_and_judge(size_t count)
{
    struct snapshot *snapshot = hardly_trained(count);
    struct gate_result gate = judge(snapshot, count);
    print_message("%llu places: %s\n", (unsigned long long)gate.points / HORIZON, gate.reason);
    snapshot_release(snapshot);
    return gate;
}

/* A series without its oldest values and without some of the newest. */
static void cut(struct model_series *item, size_t oldest, size_t newest)
{
    item->values += oldest;
    item->start_ms += (int64_t)oldest * HOUR;
    item->count -= oldest + newest;
}

/* One sender is a cell ahead of all others, or one behind: each series has its say. */
static void a_sender_ahead_does_not_silence_the_others(UNUSED void **state)
{
    struct gate_result together = train_and_judge(SERIES);
    assert_int_equal(together.points, SERIES * HORIZON);
    assert_int_equal(together.over_baseline.units, SERIES);
    series[7].count++;
    struct gate_result gate = train_and_judge(SERIES);
    assert_int_equal(gate.points, SERIES * HORIZON);
    assert_int_equal(gate.over_baseline.units, SERIES);
    assert_non_null(strstr(gate.reason, " at 1 origin,"));
    series[7].count -= 2;
    assert_int_equal(train_and_judge(SERIES).points, SERIES * HORIZON);
}

/* Of the two that each of them holds back none is lost. */
static void two_origins_stay_two(UNUSED void **state)
{
    series[7].count++;
    struct gate_result gate = train_and_judge(SERIES / 2);
    assert_int_equal(gate.points, 2 * (SERIES / 2) * HORIZON);
    assert_non_null(strstr(gate.reason, " at 2 origins,"));
}

static void readings_at_other_minutes_count(UNUSED void **state)
{
    for (size_t i = 0; i < SERIES; i++) {
        series[i].start_ms += (int64_t)(i % 60) * MINUTE;
    }
    struct gate_result gate = train_and_judge(SERIES);
    assert_int_equal(gate.points, SERIES * HORIZON);
    assert_non_null(strstr(gate.reason, " at 1 origin,"));
}

/* What others did when it ended was learned. */
static void a_series_that_ended_long_ago_has_no_say(UNUSED void **state)
{
    cut(&series[3], 0, 10 * HORIZON);
    assert_int_equal(train_and_judge(SERIES).points, (SERIES - 1) * HORIZON);
}

/* Too short to hold anything back, they are learned to their end, whether that is with the others',
 * a little before or a little after. */
static void what_was_learned_whole_has_no_say(UNUSED void **state)
{
    enum { SHORT = 2 * HORIZON + 2, BEHIND = 20 };
    for (size_t i = 0; i < BEHIND; i++) {
        cut(&series[i], LENGTH - SHORT - i, i);
    }
    series[BEHIND].count += 2;
    cut(&series[BEHIND], LENGTH + 2 - SHORT, 0);
    struct gate_result gate = train_and_judge(SERIES);
    assert_int_equal(gate.points, (SERIES - BEHIND - 1) * HORIZON);
    series[BEHIND].values -= 1; /* one value more, and a horizon is held back */
    series[BEHIND].start_ms -= HOUR;
    series[BEHIND].count += 1;
    gate = train_and_judge(SERIES);
    assert_int_equal(gate.points, (SERIES - BEHIND) * HORIZON);
}

/* Nor have they in blend, calibration and figures, unless there are no others. */
static void what_was_learned_whole_is_not_evaluated(UNUSED void **state)
{
    enum { SHORT = 2 * HORIZON + 2, FEW = 50 };
    for (size_t i = 0; i < FEW; i++) {
        cut(&series[i], LENGTH - SHORT, 0);
    }
    struct snapshot *snapshot = hardly_trained(SERIES);
    assert_int_equal(snapshot_record(snapshot)->evaluated, (SERIES - FEW) * HORIZON);
    for (size_t i = 0; i < SERIES; i++) {
        assert_true(snapshot_weighed(snapshot, series[i].key) == (i >= FEW));
    }
    snapshot_release(snapshot);
    snapshot = hardly_trained(FEW);
    assert_int_equal(snapshot_record(snapshot)->evaluated, FEW * HORIZON);
    assert_true(snapshot_weighed(snapshot, series[0].key));
    snapshot_release(snapshot);
}

/* What came later counts as well, of those that are too short only that. */
static void what_comes_later_counts(UNUSED void **state)
{
    enum { SHORT = HORIZON + 10 };
    cut(&series[0], LENGTH - SHORT, 0);
    struct snapshot *snapshot = hardly_trained(SERIES);
    for (size_t i = 0; i < SERIES; i++) {
        series[i].count += 2 * HORIZON;
    }
    struct gate_result gate = judge(snapshot, SERIES);
    assert_int_equal(gate.points, (3 * (SERIES - 1) + 2) * HORIZON);
    snapshot_release(snapshot);
}

/* Where all are that short the gate has nothing to judge by, until something comes. */
static void only_short_series_wait_for_more(UNUSED void **state)
{
    enum { SHORT = 2 * HORIZON };
    for (size_t i = 0; i < SERIES; i++) {
        cut(&series[i], LENGTH - SHORT, 0);
    }
    struct snapshot *snapshot = hardly_trained(SERIES);
    assert_int_equal(judge(snapshot, SERIES).points, 0);
    for (size_t i = 0; i < SERIES; i++) {
        series[i].count += HORIZON;
    }
    assert_int_equal(judge(snapshot, SERIES).points, SERIES * HORIZON);
    snapshot_release(snapshot);
}

/* A model file says what was held back; one of before only when the last series' training ended,
 * which is what it is judged from. */
static void files_of_before_are_judged_as_they_were(UNUSED void **state)
{
    char path[] = "/tmp/forecastd-gate-XXXXXX";
    static const char key[] = "\"held_back\":";
    static unsigned char bytes[1u << 22];
    struct error error = {0};
    struct snapshot *loaded = NULL;
    int descriptor = mkstemp(path);
    assert_true(descriptor >= 0);
    assert_int_equal(close(descriptor), 0);
    series[7].count++;
    struct snapshot *snapshot = hardly_trained(SERIES);
    assert_ok(snapshot_save(snapshot, path, &error));
    assert_ok(snapshot_load(path, NULL, &loaded, &error));
    assert_int_equal(judge(loaded, SERIES).points, SERIES * HORIZON);
    snapshot_release(loaded);
    FILE *file = fopen(path, "r+b");
    assert_non_null(file);
    size_t length = fread(bytes, 1, sizeof(bytes), file);
    unsigned char *found = memmem(bytes, length, key, sizeof(key) - 1);
    assert_non_null(found);
    found[1] = 'H'; /* another key */
    rewind(file);
    assert_int_equal(fwrite(bytes, 1, length, file), length);
    assert_int_equal(fclose(file), 0);
    assert_ok(snapshot_load(path, NULL, &loaded, &error));
    assert_int_equal(snapshot_record(loaded)->held_back, 0);
    assert_int_equal(judge(loaded, SERIES).points, HORIZON);
    snapshot_release(loaded);
    snapshot_release(snapshot);
    unlink(path);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup(name, make_series)
    const struct CMUnitTest tests[] = {
        TEST(a_sender_ahead_does_not_silence_the_others),
        TEST(two_origins_stay_two),
        TEST(readings_at_other_minutes_count),
        TEST(a_series_that_ended_long_ago_has_no_say),
        TEST(what_was_learned_whole_has_no_say),
        TEST(what_was_learned_whole_is_not_evaluated),
        TEST(what_comes_later_counts),
        TEST(only_short_series_wait_for_more),
        TEST(files_of_before_are_judged_as_they_were),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
