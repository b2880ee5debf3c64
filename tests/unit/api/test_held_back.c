/* What a series learns about its bands from the origins that a new model's training held back, also
 * where it ends before others of its group.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "fixture.h"

#include "api/track.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define STEP_MS   INT64_C(300000)
#define H         12
#define LENGTH    300 /* two origins are held back */
#define HELD_BACK 2

static struct fixture f;

static int open_fixture(void **state)
{
    (void)state;
    fixture_open(&f);
    f.limits.vintage_age_max_ms = INT64_C(14) * 86400000;
    f.limits.horizon_default = H;
    return 0;
}

static int close_fixture(void **state)
{
    (void)state;
    fixture_close(&f);
    return 0;
}

static void put(const char *series, int64_t time_ms)
{
    char body[200];
    int64_t cell = time_ms / STEP_MS;
    double value = 20.0 + 5.0 * sin((double)cell * 2.0 * M_PI / 24.0) + 0.1 * (double)(cell % 7);
    snprintf(body, sizeof(body), "{\"series\":\"%s\",\"timestamp\":%lld,\"value\":%.4f}", series,
             (long long)time_ms, value);
    expect(&f, API_POST, "/api/v1/points", body, 200, NULL);
}

static void fill(const char *series, int64_t end_ms)
{
    for (int64_t i = LENGTH; i > 0; i--) {
        put(series, end_ms - i * STEP_MS);
    }
}

static void train_and_publish(void)
{
    struct api_group group;
    struct error error = {0};
    struct snapshot *snapshot = NULL;
    struct api_group_order order = {.step_ms = STEP_MS, .values_max = 2000, .bytes_max = 1u << 20};
    assert_int_equal(api_group_load(f.worker, &order, &group, &error), STATUS_OK);
    struct train_request request = {
        .series = group.series, .series_count = group.count, .steps = 4, .seed = 7, .lanes = 1};
    snprintf(request.config.backbone, sizeof(request.config.backbone), "logsparse");
    snprintf(request.config.head, sizeof(request.config.head), "quantile");
    snprintf(request.config.members, sizeof(request.config.members), "1");
    request.config.horizon = H;
    assert_int_equal(model_train(&request, &snapshot, &error), STATUS_OK);
    assert_int_equal(snapshot_record(snapshot)->held_back, HELD_BACK);
    api_group_free(&group);
    assert_int_equal(registry_publish(f.services.registry, snapshot, &error), STATUS_OK);
    snapshot_release(snapshot);
}

/* Lessons of a series once the model serves it. */
static unsigned lessons(const char *series)
{
    struct track track;
    uint32_t id = storage_series_find(f.services.storage, series, strlen(series));
    assert_true(api_issue_due(&f.services, id, false));
    api_issue(f.worker, &id, 1);
    assert_true(track_find(f.services.tracks, id, &track));
    return track.calibration.lessons[0];
}

/* Three cells behind the newest sender it learns from both of its origins, as that one does. */
static void a_late_series_learns_from_what_it_held_back(void **state)
{
    (void)state;
    int64_t end_ms = NOW_MS - NOW_MS % STEP_MS;
    fill("late", end_ms - 3 * STEP_MS);
    fill("ahead", end_ms);
    train_and_publish();
    put("late", end_ms - 3 * STEP_MS);
    put("ahead", end_ms);
    fixture_set_now(end_ms + 2000);
    assert_int_equal(lessons("ahead"), HELD_BACK);
    assert_int_equal(lessons("late"), HELD_BACK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_late_series_learns_from_what_it_held_back, open_fixture,
                                        close_fixture),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
