/* Models in live service: vintages name them, scores set them beside the baseline, regret finds a
 * bad one. SPDX-License-Identifier: Apache-2.0
 *
 * One small model is trained; the bad champion is a copy of it with spoilt weights. Time is the
 * test's.
 */
#include "fixture.h"

#include "api/call.h"
#include "api/desk.h"
#include "api/track.h"
#include "base/random.h"
#include "model/snapshot.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <unistd.h>

#define STEP_MS INT64_C(3600000)
#define H       12
#define POINTS  600
#define SERIES  "boiler.temp"

static struct fixture f;
static struct random noise;
static int64_t now_ms;
static double level; /* that all values are moved by */
static struct snapshot *good, *bad;

static double truth(int64_t time_ms)
{
    return 20.0 + 5.0 * sin((double)(time_ms / STEP_MS) * 2.0 * M_PI / 24.0);
}

static void put_points(int64_t count)
{
    struct error error = {0};
    struct write_batch *batch = NULL;
    struct write_result result;
    uint32_t number = 0;
    assert_int_equal(write_batch_new(f.services.storage, (size_t)count, &batch, &error), STATUS_OK);
    assert_int_equal(write_batch_series(batch, SERIES, strlen(SERIES), &number, &error), STATUS_OK);
    for (int64_t i = 0; i < count; i++, now_ms += STEP_MS) {
        struct point point = {now_ms, level + truth(now_ms) + 0.7 * random_normal(&noise)};
        assert_int_equal(write_batch_point(batch, number, point, &error), STATUS_OK);
    }
    assert_int_equal(writer_write_take(f.services.writer, batch, &result, &error), STATUS_OK);
    fixture_set_now(now_ms - STEP_MS + 2000);
}

static void live_hours(int hours)
{
    uint32_t id = storage_series_find(f.services.storage, SERIES, strlen(SERIES));
    for (int i = 0; i < hours; i++) {
        put_points(1);
        if (api_issue_due(&f.services, id, false)) {
            api_issue(f.worker, &id, 1);
        }
    }
    struct error error = {0};
    assert_int_equal(writer_compact(f.services.writer, &error), STATUS_OK);
}

static struct snapshot *train_one(void)
{
    struct api_group group = {0};
    struct snapshot *snapshot = NULL;
    struct error error = {0};
    struct api_group_order order = {.step_ms = STEP_MS, .values_max = POINTS, .bytes_max = 1 << 24};
    assert_int_equal(api_group_load(f.worker, &order, &group, &error), STATUS_OK);
    struct train_request request = {.series = group.series,
                                    .series_count = group.count,
                                    .config = {.backbone = "logsparse",
                                               .head = "quantile",
                                               .horizon = H,
                                               .options = "width=16 inner=32"},
                                    .steps = 20,
                                    .seed = 1};
    if (model_train(&request, &snapshot, &error) != STATUS_OK) {
        fail_msg("%s", error.text);
    }
    api_group_free(&group);
    return snapshot;
}

static struct snapshot *copy_of(struct snapshot *snapshot)
{
    char path[] = "/tmp/forecastd-live-XXXXXX";
    struct snapshot *copy = NULL;
    struct error error = {0};
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    assert_int_equal(snapshot_save(snapshot, path, &error), STATUS_OK);
    assert_int_equal(snapshot_load(path, NULL, &copy, &error), STATUS_OK);
    unlink(path);
    return copy;
}

static int open_all(void **state)
{
    (void)state;
    fixture_open(&f);
    f.limits.vintage_age_max_ms = INT64_C(30) * 86400000;
    f.limits.horizon_default = H;
    random_init(&noise, 21, 0);
    now_ms = NOW_MS - NOW_MS % STEP_MS - POINTS * STEP_MS;
    put_points(POINTS);
    good = train_one();
    bad = copy_of(good);
    for (size_t m = 0; m < bad->member_count; m++) {
        struct member *member = bad->members[m];
        for (size_t i = 0; i < member->params.size; i++) {
            member->weights[i] *= (real)1.6;
        }
    }
    snapshot_set_id(good, "1h-1");
    snapshot_set_id(bad, "1h-2");
    return 0;
}

static int close_all(void **state)
{
    (void)state;
    snapshot_release(good);
    snapshot_release(bad);
    fixture_close(&f);
    return 0;
}

static json_t *ask(const char *target)
{
    struct answer answer = get(&f, target);
    if (answer.status != 200) {
        fail_msg("%s: %d %s", target, answer.status, answer.body);
    }
    json_t *json = json_loads(answer.body, 0, NULL);
    fixture_answer_release(&answer);
    return json;
}

static double path_number(json_t *root, const char *a, const char *b)
{
    json_t *inner = json_object_get(root, a);
    return b ? json_number_value(json_object_get(inner, b)) : json_number_value(inner);
}

/* Thirds of the horizon, in each of which the champion stands beside the baseline. Figures that are
 * means over values make those of the whole again, weighted by their counts. */
static void expect_rows_that_make_the_whole(json_t *one)
{
    static const char *const columns[] = {"champion", "baseline"};
    static const char *const means[] = {"coverage80", "coverage95", "smape", "pinball", "mase"};
    json_t *rows = json_object_get(one, "by_horizon");
    double total = path_number(one, "count", NULL);
    assert_int_equal(json_array_size(rows), 3);
    for (size_t c = 0; c < 2; c++) {
        double count = 0.0, sums[5] = {0};
        for (size_t i = 0; i < 3; i++) {
            json_t *row = json_array_get(rows, i), *steps = json_object_get(row, "steps");
            assert_int_equal(json_integer_value(json_array_get(steps, 0)), i * H / 3 + 1);
            assert_int_equal(json_integer_value(json_array_get(steps, 1)), (i + 1) * H / 3);
            assert_true(json_is_object(json_object_get(row, columns[c])));
            double part = path_number(row, columns[c], "count");
            assert_true(part > 0.2 * total && part == path_number(row, "count", NULL));
            for (size_t k = 0; k < 5; k++) {
                sums[k] += part * path_number(row, columns[c], means[k]);
            }
            count += part;
        }
        assert_true(count == total && count == path_number(one, columns[c], "count"));
        for (size_t k = 0; k < 5; k++) {
            double whole = path_number(one, columns[c], means[k]);
            if (!(fabs(sums[k] / count - whole) <= 1e-5 * fmax(1.0, whole))) { /* of six digits */
                fail_msg("%s %s: %.9g of the rows, %.9g of all", columns[c], means[k],
                         sums[k] / count, whole);
            }
        }
        double first = path_number(json_array_get(rows, 0), columns[c], "pinball");
        double last = path_number(json_array_get(rows, 2), columns[c], "pinball");
        assert_true(fabs(first - last) > 1e-4); /* rows of their own, not three times the whole */
    }
    for (size_t i = 0; i < 3; i++) {
        json_t *row = json_array_get(rows, i);
        assert_true(path_number(row, "champion", "wql") != path_number(row, "baseline", "wql"));
    }
}

static void a_model_is_scored_beside_the_baseline(void **state)
{
    struct error error = {0};
    struct regret_verdict verdict;
    (void)state;
    assert_int_equal(registry_publish(f.services.registry, good, &error), STATUS_OK);
    live_hours(1);
    struct track track; /* begun with the origins that training held back, none of them issued */
    assert_true(track_find(f.services.tracks, 1, &track));
    assert_true(track.calibration.lessons[2] >= 1);
    assert_true(track.calibration.shift[3][2] > 0.0f || track.calibration.shift[3][2] < 0.0f);
    assert_int_equal(track.calibration.count, 0);
    json_t *answer = ask("/api/v1/forecast?series=" SERIES);
    json_t *one = json_array_get(json_object_get(answer, "forecasts"), 0);
    json_t *calibration = json_object_get(one, "calibration");
    assert_string_equal(json_string_value(json_object_get(calibration, "source")), "held_back");
    json_decref(answer);
    live_hours(60);
    answer = ask("/api/v1/forecast?series=" SERIES);
    one = json_array_get(json_object_get(answer, "forecasts"), 0);
    calibration = json_object_get(one, "calibration");
    assert_string_equal(json_string_value(json_object_get(calibration, "source")), "live");
    assert_in_range((int)(100 * path_number(one, "calibration", "observed")), 60, 95);
    json_decref(answer);
    answer = ask("/api/v1/accuracy?series=" SERIES "&window=30d&by=horizon");
    one = json_array_get(json_object_get(answer, "series"), 0);
    assert_true(path_number(one, "count", NULL) > 300);
    assert_true(path_number(one, "champion", "count") == path_number(one, "baseline", "count"));
    assert_true(path_number(one, "champion", "wql") < path_number(one, "baseline", "wql"));
    expect_rows_that_make_the_whole(one);
    json_decref(answer);
    answer = ask("/api/v1/forecast?series=" SERIES "&at=now");
    one = json_array_get(json_object_get(answer, "forecasts"), 0);
    json_t *model = json_object_get(one, "model");
    assert_string_equal(json_string_value(json_object_get(model, "id")), "1h-1");
    assert_int_equal(json_integer_value(json_object_get(model, "seed")), 1);
    assert_string_equal(json_string_value(json_object_get(one, "served_by")), "logsparse");
    json_decref(answer);
    assert_false(api_regret(&f.services, STEP_MS, &verdict)); /* it is better than the naive */
}

/* As the daemon's: without a step the only group there is. */
static enum status roll_back(void *context, int64_t step_ms, struct error *error)
{
    (void)context;
    return registry_rollback(f.services.registry, step_ms == 0 ? STEP_MS : step_ms, error);
}

/* A spoilt one takes over, as if the gate had been fooled: its live losses bring the old one back.
 */
static void a_bad_champion_is_found_by_its_live_losses(void **state)
{
    struct error error = {0};
    struct regret_verdict verdict;
    int hours = 0;
    (void)state;
    assert_int_equal(registry_publish(f.services.registry, bad, &error), STATUS_OK);
    while (hours < 120 && !api_regret(&f.services, STEP_MS, &verdict)) {
        live_hours(1);
        hours++;
    }
    print_message("  found after %d hours of a horizon of %d: %s\n", hours, H, verdict.reason);
    assert_in_range(hours, 12, 60);
    assert_string_equal(verdict.champion, "1h-2");
    assert_true(verdict.to_previous);
    f.services.rollback = roll_back;
    expect(&f, API_POST, "/api/v1/models/rollback", "{}", 200, "{\"champion\":\"1h-1\"}");
    api_regret_forget(&f.services, STEP_MS);
    live_hours(80);
    assert_false(api_regret(&f.services, STEP_MS, &verdict)); /* and it does not swing back */
    json_t *answer = ask("/api/v1/forecast?series=" SERIES "&at=now");
    json_t *one = json_array_get(json_object_get(answer, "forecasts"), 0);
    assert_string_equal(json_string_value(json_object_get(json_object_get(one, "model"), "id")),
                        "1h-1");
    json_decref(answer);
}

static struct track track_now(void)
{
    struct track track;
    uint32_t id = storage_series_find(f.services.storage, SERIES, strlen(SERIES));
    assert_true(track_find(f.services.tracks, id, &track));
    return track;
}

static bool says_outage(void)
{
    json_t *answer = ask("/api/v1/forecast?series=" SERIES);
    const json_t *one = json_array_get(json_object_get(answer, "forecasts"), 0);
    const char *reason = json_string_value(json_object_get(one, "fallback_reason"));
    bool outage = reason && strcmp(reason, "outage") == 0;
    json_decref(answer);
    return outage;
}

/* Through an outage of 60 hours, and until half of the newest values are there again, the baseline
 * serves, and learns of its own bands. Those of the model are as before then, though the process
 * was started anew meanwhile. */
static void an_outage_costs_nothing_that_was_learned(void **state)
{
    struct error error = {0};
    int hours = 0;
    (void)state;
    struct track before = track_now();
    assert_true(before.calibration.lessons[0] > 20);
    now_ms += 60 * STEP_MS;
    live_hours(1);
    uint64_t baseline = track_now().maker;
    assert_true(baseline != before.maker);
    for (; hours < 80 && says_outage(); hours++) {
        assert_true(track_now().maker == baseline);
        if (hours == 20) {
            tracks_free(f.services.tracks);
            assert_int_equal(tracks_new(&f.services.tracks, &error), STATUS_OK);
        }
        live_hours(1);
    }
    assert_in_range(hours, 30, 60);
    struct track after = track_now();
    print_message(
        "  after %d hours: shift %.3f, was %.3f; %u lessons, were %u; the baseline's %u\n", hours,
        (double)after.calibration.shift[3][0], (double)before.calibration.shift[3][0],
        (unsigned)after.calibration.lessons[0], (unsigned)before.calibration.lessons[0],
        (unsigned)after.kept.lessons[0]);
    assert_true(after.maker == before.maker && after.kept_maker == baseline);
    for (size_t part = 0; part < CONFORMAL_PARTS; part++) {
        assert_int_equal(after.calibration.lessons[part], before.calibration.lessons[part]);
        for (size_t pair = 0; pair < CONFORMAL_PAIRS; pair++) {
            float moved =
                after.calibration.shift[pair][part] - before.calibration.shift[pair][part];
            assert_true(fabsf(moved) < 1e-3f);
        }
    }
    assert_true(after.kept.lessons[0] > 20);
    assert_true(after.calibration.count > before.calibration.count); /* whoever made them */
}

/* Vintages whose rival is the same model under another name: how far the two are from another. */
struct pairs {
    size_t count;
    double furthest; /* of the levels, in units of the 80 % band */
};

static bool compare_rival(void *context, int64_t issued_ms, const unsigned char *bytes,
                          size_t length)
{
    static float room[VINTAGE_FLOATS(H)];
    struct pairs *pairs = context;
    struct vintage vintage;
    struct error error = {0};
    (void)issued_ms;
    assert_int_equal(vintage_decode(bytes, length, room, VINTAGE_FLOATS(H), &vintage, &error),
                     STATUS_OK);
    for (size_t i = 0; i < QUANTILE_COUNT * H && vintage.rival.horizon == H; i++) {
        const float *levels = vintage.served.quantiles + i % H;
        double band = (double)(levels[9 * H] - levels[1 * H]);
        double away = (double)(vintage.rival.quantiles[i] - vintage.served.quantiles[i]);
        pairs->furthest = fmax(pairs->furthest, fabs(away) / band);
        pairs->count++;
    }
    return true;
}

/* The level shifts while a new champion is on trial: the one before is forecast from the same moved
 * past, and widened alike, else it would look worse than it would have been. */
static void a_rival_follows_a_level_shift_too(void **state)
{
    struct error error = {0};
    struct pairs pairs = {.count = 0};
    (void)state;
    struct snapshot *twin = copy_of(good);
    snapshot_set_id(twin, "1h-9");
    assert_int_equal(registry_publish(f.services.registry, twin, &error), STATUS_OK);
    snapshot_release(twin);
    live_hours(3);
    level = 60.0;
    int64_t from_ms = now_ms;
    live_hours(24);
    uint32_t id = storage_series_find(f.services.storage, SERIES, strlen(SERIES));
    assert_int_equal(storage_vintages(f.worker->desk->reader, id, from_ms, INT64_MAX, compare_rival,
                                      &pairs, &error),
                     STATUS_OK);
    print_message("  %zu levels, at most %.3f of a band away\n", pairs.count, pairs.furthest);
    assert_true(pairs.count > 10 * H * QUANTILE_COUNT);
    assert_true(pairs.furthest < 0.05); /* both are quantised */
}

/* A thread keeps a workspace of megabytes for each model it has run. Models that are neither
 * champion nor previous any longer are let go with theirs, however few others there are. */
static void retired_models_are_let_go(void **state)
{
    (void)state;
    enum { MODELS = 5 };
    struct snapshot *models[MODELS];
    struct error error = {0};
    for (size_t i = 0; i < MODELS; i++) {
        models[i] = copy_of(good);
        snapshot_set_id(models[i], (const char *[]){"1h-3", "1h-4", "1h-5", "1h-6", "1h-7"}[i]);
        assert_int_equal(registry_publish(f.services.registry, models[i], &error), STATUS_OK);
        json_t *json = ask("/api/v1/forecast?series=" SERIES "&steps=12");
        const json_t *one = json_array_get(json_object_get(json, "forecasts"), 0);
        assert_string_equal(json_string_value(json_object_get(one, "served_by")), "logsparse");
        json_decref(json);
    }
    /* The previous one's stays as long as somebody asks for it now and then. */
    assert_int_equal(atomic_load(&models[MODELS - 2]->references), 3);
    for (size_t i = 0; i < DESK_FORECASTERS; i++) {
        f.worker->desk->slots[i].used_ns -= INT64_C(61000000000);
    }
    json_decref(ask("/api/v1/forecast?series=" SERIES "&steps=13"));
    for (size_t i = 0; i < MODELS; i++) {
        unsigned elsewhere = i + 1 == MODELS   ? 2
                             : i + 2 == MODELS ? 1
                                               : 0; /* registry, workspace */
        unsigned counted = atomic_load(&models[i]->references);
        if (counted != 1 + elsewhere) {
            fail_msg("model %zu of %d: %u references", i + 1, MODELS, counted);
        }
        snapshot_release(models[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_model_is_scored_beside_the_baseline),
        cmocka_unit_test(a_bad_champion_is_found_by_its_live_losses),
        cmocka_unit_test(an_outage_costs_nothing_that_was_learned),
        cmocka_unit_test(a_rival_follows_a_level_shift_too),
        cmocka_unit_test(retired_models_are_let_go),
    };
    return cmocka_run_group_tests(tests, open_all, close_all);
}
