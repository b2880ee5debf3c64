/* Tests of snapshots: save, load, same forecast; broken files; forecaster's promises; the registry.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "base/memory.h"
#include "model/checkpoint.h"
#include "model/snapshot.h"
#include "tests/unit/model/model_test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LENGTH  480
#define HORIZON 12
#define HOUR    INT64_C(3600000)

static double values[LENGTH];
static struct model_series series;
static struct snapshot *snapshot;
static char folder[] = "/tmp/forecastd-snapshot-XXXXXX";
static char path[64];

static struct snapshot *train(const char *head, uint64_t seed)
{
    struct error error = {0};
    struct snapshot *out = NULL;
    struct train_request request = {.series = &series,
                                    .series_count = 1,
                                    .config = {.backbone = "logsparse",
                                               .horizon = HORIZON,
                                               .options = "width=16 inner=16 layers=3"},
                                    .steps = 4,
                                    .seed = seed,
                                    .lanes = 1};
    snprintf(request.config.head, sizeof(request.config.head), "%s", head);
    assert_ok(model_train(&request, &out, &error));
    return out;
}

static int setup(UNUSED void **state)
{
    for (int t = 0; t < LENGTH; t++) {
        values[t] = 20.0 + 5.0 * sin(2.0 * M_PI * t / 24.0) + (t * 37 % 11) * 0.2;
    }
    series = plain_series(values, LENGTH, HOUR);
    series.seasons[0] = 24;
    snapshot = train("quantile", 1);
    if (mkdtemp(folder) == NULL) {
        return -1;
    }
    snprintf(path, sizeof(path), "%s/model.safetensors", folder);
    return 0;
}

static int teardown(UNUSED void **state)
{
    snapshot_release(snapshot);
    unlink(path);
    rmdir(folder);
    return 0;
}

/* ---------------------------------------------------------------- forecasts */

struct room {
    struct forecast forecast;
    float mean[64];
    float quantiles[QUANTILE_COUNT * 64];
};

static struct forecast *forecast_with(const struct snapshot *model, const struct model_series *item,
                                      size_t horizon, struct room *room)
{
    struct error error = {0};
    struct forecaster *forecaster = NULL;
    room->forecast =
        (struct forecast){.horizon = horizon, .mean = room->mean, .quantiles = room->quantiles};
    assert_ok(forecaster_new(model, 1, &forecaster, &error));
    assert_ok(forecaster_run(forecaster, item, 1, &room->forecast, &error));
    forecaster_free(forecaster);
    return &room->forecast;
}

static void check_sound(const struct forecast *forecast, const struct model_series *item)
{
    size_t horizon = forecast->horizon;
    for (size_t h = 0; h < horizon; h++) {
        for (size_t q = 0; q < QUANTILE_COUNT; q++) {
            double value = (double)forecast->quantiles[q * horizon + h];
            assert_true(isfinite(value));
            assert_true(value >= item->minimum && value <= item->maximum);
            assert_true(q == 0 || value >= (double)forecast->quantiles[(q - 1) * horizon + h]);
        }
        assert_true(isfinite(forecast->mean[h]));
    }
}

/* A model gone wrong: its forecasts are NaN, also of a series that never was negative, and the gate
 * keeps it back for that. */
static void numbers_that_are_not_finite_are_not_covered_up(UNUSED void **state)
{
    static const real weights[] = {(real)NAN, (real)1e38};
    static struct room room;
    struct error error = {0};
    struct gate_result result;
    struct snapshot *bad = train("quantile", 1);
    bad->record.window_end_ms = series.start_ms + (LENGTH - 2 * HORIZON) * HOUR;
    struct gate_request request = {.series = &series, .series_count = 1, .challenger = bad};
    assert_ok(model_gate(&request, &result, &error));
    assert_null(strstr(result.reason, "not finite"));
    for (size_t k = 0; k < 2; k++) {
        for (size_t m = 0; m < bad->member_count; m++) {
            struct member *member = bad->members[m];
            for (size_t i = 0; i < member->params.size; i++) {
                member->weights[i] = weights[k];
            }
        }
        forecast_with(bad, &series, 40, &room);
        assert_false(forecast_is_finite(&room.forecast));
        for (size_t h = 0; h < 40; h++) {
            assert_true(isnan(room.mean[h]) && isnan(room.quantiles[h]));
        }
        assert_ok(model_gate(&request, &result, &error));
        assert_false(result.promote);
        assert_string_equal(result.reason, "its forecasts are not finite");
    }
    snapshot_release(bad);
}

static void any_horizon_works(UNUSED void **state)
{
    static struct room whole, part, longer;
    forecast_with(snapshot, &series, HORIZON, &whole);
    forecast_with(snapshot, &series, 5, &part);
    forecast_with(snapshot, &series, 40, &longer);
    check_sound(&whole.forecast, &series);
    check_sound(&longer.forecast, &series);
    for (size_t h = 0; h < 5; h++) {
        for (size_t q = 0; q < QUANTILE_COUNT; q++) {
            float expected = whole.quantiles[q * HORIZON + h];
            assert_true(part.quantiles[q * 5 + h] == expected);
            assert_true(longer.quantiles[q * 40 + h] == expected);
        }
    }
    float first = longer.quantiles[9 * 40 + 3] - longer.quantiles[1 * 40 + 3];
    float last = longer.quantiles[9 * 40 + 39] - longer.quantiles[1 * 40 + 39];
    assert_true(last > first);
}

static void batches_equal_single_forecasts(UNUSED void **state)
{
    struct error error = {0};
    static struct room rooms[5];
    static struct room alone;
    struct model_series items[5];
    struct forecast out[5];
    for (size_t i = 0; i < 5; i++) {
        items[i] = series;
        items[i].count = LENGTH - 7 * i;
        out[i] = (struct forecast){
            .horizon = HORIZON, .mean = rooms[i].mean, .quantiles = rooms[i].quantiles};
    }
    struct forecaster *forecaster = NULL;
    assert_ok(forecaster_new(snapshot, 3, &forecaster, &error));
    size_t before = mem_bytes_in_use();
    assert_ok(forecaster_run(forecaster, items, 5, out, &error));
    assert_int_equal(mem_bytes_in_use(), before);
    forecaster_free(forecaster);
    for (size_t i = 0; i < 5; i++) {
        forecast_with(snapshot, &items[i], HORIZON, &alone);
        for (size_t k = 0; k < QUANTILE_COUNT * HORIZON; k++) {
            assert_close(rooms[i].quantiles[k], alone.quantiles[k], 2e-4);
        }
    }
}

static void holes_and_short_series_work(UNUSED void **state)
{
    struct error error = {0};
    static struct room room;
    double holes[LENGTH];
    for (int t = 0; t < LENGTH; t++) {
        holes[t] = t % 5 == 0 ? values[t] : (double)NAN;
    }
    struct model_series item = series;
    item.values = holes;
    check_sound(forecast_with(snapshot, &item, HORIZON, &room), &item);
    double two[3] = {3.0, (double)NAN, 4.0};
    item.values = two;
    item.count = 3;
    item.minimum = 0.0;
    item.maximum = 3.7;
    check_sound(forecast_with(snapshot, &item, 30, &room), &item);
    double same[50];
    for (int t = 0; t < 50; t++) {
        same[t] = 0.0;
    }
    item.values = same;
    item.count = 50;
    check_sound(forecast_with(snapshot, &item, HORIZON, &room), &item);
    struct forecaster *forecaster = NULL;
    assert_ok(forecaster_new(snapshot, 1, &forecaster, &error));
    item.count = 1;
    assert_status(forecaster_run(forecaster, &item, 1, &room.forecast, &error), STATUS_INVALID);
    item.count = 50;
    item.step_ms = 60000;
    assert_status(forecaster_run(forecaster, &item, 1, &room.forecast, &error), STATUS_INVALID);
    forecaster_free(forecaster);
}

static void what_lies_before_the_context_does_not_matter_much(UNUSED void **state)
{
    size_t reach = snapshot_context(snapshot);
    assert_true(reach >= 24 && reach < LENGTH);
    static struct room whole, cut;
    forecast_with(snapshot, &series, HORIZON, &whole);
    struct model_series item = series;
    item.values += LENGTH - reach;
    item.count = reach;
    item.start_ms += (int64_t)(LENGTH - reach) * HOUR;
    forecast_with(snapshot, &item, HORIZON, &cut);
    assert_close(whole.mean[0], cut.mean[0], 0.5);
}

static void the_gaussian_head_samples_paths(UNUSED void **state)
{
    static struct room room, again;
    struct snapshot *gaussian = train("gaussian", 3);
    check_sound(forecast_with(gaussian, &series, HORIZON + 3, &room), &series);
    forecast_with(gaussian, &series, HORIZON + 3, &again);
    assert_memory_equal(room.quantiles, again.quantiles,
                        QUANTILE_COUNT * (HORIZON + 3) * sizeof(float));
    assert_true(room.quantiles[9 * (HORIZON + 3)] > room.quantiles[1 * (HORIZON + 3)]);
    snapshot_release(gaussian);
}

/* ---------------------------------------------------------------- files */

static void loads_what_it_saved(UNUSED void **state)
{
    struct error error = {0};
    static struct room before, after;
    snapshot_set_id(snapshot, "1h-7");
    assert_ok(snapshot_save(snapshot, path, &error));
    const struct snapshot_record *record = snapshot_record(snapshot);
    assert_int_equal(strlen(record->sha256), 64);
    struct snapshot *loaded = NULL;
    assert_ok(snapshot_load(path, record->sha256, &loaded, &error));
    forecast_with(snapshot, &series, HORIZON, &before);
    forecast_with(loaded, &series, HORIZON, &after);
    assert_memory_equal(before.quantiles, after.quantiles,
                        QUANTILE_COUNT * HORIZON * sizeof(float));
    const struct snapshot_record *copy = snapshot_record(loaded);
    assert_string_equal(copy->id, "1h-7");
    assert_true(record->data_generation != 0 && copy->data_generation == record->data_generation);
    assert_int_equal(copy->parameters, record->parameters);
    assert_int_equal(copy->window_end_ms, record->window_end_ms);
    assert_close(copy->wql, record->wql, 0);
    struct text one, two;
    text_init(&one, 1u << 16);
    text_init(&two, 1u << 16);
    snapshot_describe(snapshot, &one);
    snapshot_describe(loaded, &two);
    assert_true(one.length > 100);
    assert_int_equal(one.failed, STATUS_OK);
    text_release(&one);
    text_release(&two);
    snapshot_release(loaded);
    char wrong[65];
    memset(wrong, 'a', 64);
    wrong[64] = '\0';
    assert_status(snapshot_load(path, wrong, &loaded, &error), STATUS_CORRUPT);
    assert_status(snapshot_load("/nonexistent/x", NULL, &loaded, &error), STATUS_NOT_FOUND);
    assert_status(snapshot_save(snapshot, "/nonexistent/x", &error), STATUS_NOT_FOUND);
}

static size_t read_all(unsigned char *bytes, size_t capacity)
{
    FILE *file = fopen(path, "rb");
    size_t length = fread(bytes, 1, capacity, file);
    fclose(file);
    return length;
}

static void write_all(const unsigned char *bytes, size_t length)
{
    FILE *file = fopen(path, "wb");
    fwrite(bytes, 1, length, file);
    fclose(file);
}

/* No hash is given, so the structure alone has to refuse; a flipped weight may pass. */
static void survives_broken_files(UNUSED void **state)
{
    struct error error = {0};
    static unsigned char good[1u << 22], bad[1u << 22];
    assert_ok(snapshot_save(snapshot, path, &error));
    size_t length = read_all(good, sizeof(good));
    struct snapshot *loaded = NULL;
    for (size_t cut = 0; cut < length; cut += cut < 600 ? 7 : length / 40) {
        write_all(good, cut);
        assert_status(snapshot_load(path, NULL, &loaded, &error), STATUS_CORRUPT);
    }
    size_t header = 0;
    memcpy(&header, good, 8);
    for (size_t at = 0; at < header + 8; at += at < 16 ? 1 : header / 300 + 1) {
        memcpy(bad, good, length);
        bad[at] ^= 0x15;
        write_all(bad, length);
        loaded = NULL;
        if (snapshot_load(path, NULL, &loaded, &error) == STATUS_OK) {
            snapshot_release(loaded);
        }
    }
    memcpy(bad, good, length);
    memset(bad + header + 8, 0xff, 4); /* NaN */
    write_all(bad, length);
    assert_status(snapshot_load(path, NULL, &loaded, &error), STATUS_CORRUPT);
    assert_non_null(strstr(error.text, "finite"));
    memcpy(bad, good, length);
    memset(bad + length, 0, 4);
    write_all(bad, length + 4);
    assert_status(snapshot_load(path, NULL, &loaded, &error), STATUS_CORRUPT);
}

/* A release that does not know the format says so, and reads nothing of the rest. */
static void refuses_a_newer_format_by_name(UNUSED void **state)
{
    static const char ours[] = "\"format\":\"forecastd-model-";
    static unsigned char bytes[1u << 22];
    struct error error = {0};
    struct snapshot *loaded = NULL;
    assert_ok(snapshot_save(snapshot, path, &error));
    size_t length = read_all(bytes, sizeof(bytes));
    unsigned char *format = memmem(bytes, length, ours, sizeof(ours) - 1);
    assert_non_null(format);
    format[sizeof(ours) - 1] = '9';
    write_all(bytes, length);
    assert_status(snapshot_load(path, NULL, &loaded, &error), STATUS_CORRUPT);
    assert_non_null(strstr(error.text, "it is not of format forecastd-model-"));
    assert_null(loaded);
}

/* As many steps as a configuration may have: more would be a long search for a pattern. */
static void refuses_a_horizon_beyond_the_configurations(UNUSED void **state)
{
    static const char key[] = "\"horizon\":\"";
    static unsigned char good[1u << 22], bad[1u << 22];
    struct error error = {0};
    assert_ok(snapshot_save(snapshot, path, &error));
    size_t length = read_all(good, sizeof(good));
    unsigned char *found = memmem(good, length, key, sizeof(key) - 1);
    assert_non_null(found);
    size_t until = (size_t)(found - good) + sizeof(key) - 1;
    size_t digits = strspn((const char *)good + until, "0123456789");
    for (int horizon = MEMBER_HORIZON_MAX; horizon <= MEMBER_HORIZON_MAX + 1; horizon++) {
        char text[32];
        uint64_t header = 0;
        struct snapshot *loaded = NULL;
        snprintf(text, sizeof(text), "%d\"", horizon);
        memcpy(bad, good, until);
        memset(bad + until, ' ', digits + 1 + 8); /* with its quote; still whole values */
        memcpy(bad + until, text, strlen(text));
        memcpy(bad + until + digits + 1 + 8, good + until + digits + 1,
               length - until - digits - 1);
        memcpy(&header, bad, sizeof(header));
        header += 8;
        memcpy(bad, &header, sizeof(header));
        write_all(bad, length + 8);
        assert_status(snapshot_load(path, NULL, &loaded, &error), STATUS_CORRUPT);
        bool refused = strstr(error.text, "\"horizon\" is missing or out of bounds") != NULL;
        assert_int_equal(refused, horizon > MEMBER_HORIZON_MAX); /* else its tensors do not fit */
    }
}

static enum status parse(const char *header, size_t data_bytes)
{
    struct error error = {0};
    size_t length = strlen(header);
    unsigned char *bytes = mem_alloc_aligned(8 + length + data_bytes);
    memset(bytes, 0, 8 + length + data_bytes);
    for (size_t i = 0; i < 8; i++) {
        bytes[i] = (unsigned char)(length >> (8 * i));
    }
    memcpy(bytes + 8, header, length);
    struct checkpoint out;
    enum status status = checkpoint_parse_take(bytes, 8 + length + data_bytes, &out, &error);
    if (status == STATUS_OK) {
        checkpoint_release(&out);
    }
    return status;
}

#define A(shape, from, to)                                                                         \
    "{\"a\":{\"dtype\":\"F32\",\"shape\":" shape ",\"data_offsets\":[" #from "," #to "]}"

static void refuses_hostile_headers(UNUSED void **state)
{
    assert_int_equal(parse(A("[2]", 0, 8) "}  ", 8), STATUS_OK);
    assert_int_equal(parse("{}  ", 0), STATUS_OK);
    static const char *const hostile[] = {
        A("[3]", 0, 8) "}  ",
        A("[2]", 4, 12) "} ",
        A("[2]", 8, 0) "}  ",
        A("[2,4611686018427387904]", 0, 8) "}  ",
        A("[65536,65536,65536,65536]", 0, 8) "}",
        A("[1,1,1,1,2]", 0, 8) "}  ",
        A("[-2]", 0, 8) "} ",
        A("[2.5]", 0, 8) "}",
        A("[2]", 0, 8) ",\"a\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[8,8]}}   ",
        "{\"a\":{\"dtype\":\"F64\",\"shape\":[1],\"data_offsets\":[0,8]}} ",
        "{\"a\":{\"dtype\":\"F32\",\"shape\":[2]}}  ",
        "{\"a\":[]} ",
        "{\"__metadata__\":{\"x\":1}}   ",
        "{\"__metadata__\":{\"x\":\"1\",\"x\":\"2\"}}   ",
        "[[[[[[[[[[[[[[[[[[[[[[[[",
        "nonsens",
    };
    for (size_t i = 0; i < sizeof(hostile) / sizeof(hostile[0]); i++) {
        char padded[512];
        snprintf(padded, sizeof(padded), "%s", hostile[i]);
        while (strlen(padded) % 4 != 0) {
            strcat(padded, " ");
        }
        if (parse(padded, 8) != STATUS_CORRUPT) {
            fail_msg("taken: %s", padded);
        }
    }
}

/* ---------------------------------------------------------------- registry */

static void publishes_and_rolls_back(UNUSED void **state)
{
    struct error error = {0};
    struct registry *registry = NULL;
    assert_ok(registry_new(&registry, &error));
    assert_null(registry_acquire(registry, HOUR));
    assert_status(registry_rollback(registry, HOUR, &error), STATUS_NOT_FOUND);
    struct snapshot *first = train("quantile", 10);
    struct snapshot *second = train("quantile", 11);
    uint64_t generation = registry_generation(registry);
    assert_ok(registry_publish(registry, first, &error));
    assert_string_equal(snapshot_record(first)->id, "1h-1");
    assert_true(registry_generation(registry) > generation);
    char id[48];
    assert_ok(registry_next_id(registry, HOUR, id, &error));
    assert_string_equal(id, "1h-2");
    snapshot_set_id(second, id);
    assert_ok(registry_publish(registry, second, &error));
    struct snapshot *found = registry_acquire(registry, HOUR);
    assert_ptr_equal(found, second);
    snapshot_release(found);
    found = registry_acquire_previous(registry, HOUR);
    assert_ptr_equal(found, first);
    snapshot_release(found);
    assert_true(registry_serves(registry, first) && registry_serves(registry, second));
    assert_ok(registry_rollback(registry, HOUR, &error));
    assert_true(registry_serves(registry, first) && !registry_serves(registry, second));
    found = registry_acquire(registry, HOUR);
    assert_ptr_equal(found, first);
    snapshot_release(found);
    assert_null(registry_acquire_previous(registry, HOUR));
    assert_null(registry_acquire(registry, 60000));
    snapshot_release(first);
    snapshot_release(second);
    registry_free(registry);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_horizon_works),
        cmocka_unit_test(numbers_that_are_not_finite_are_not_covered_up),
        cmocka_unit_test(batches_equal_single_forecasts),
        cmocka_unit_test(holes_and_short_series_work),
        cmocka_unit_test(what_lies_before_the_context_does_not_matter_much),
        cmocka_unit_test(the_gaussian_head_samples_paths),
        cmocka_unit_test(loads_what_it_saved),
        cmocka_unit_test(survives_broken_files),
        cmocka_unit_test(refuses_a_newer_format_by_name),
        cmocka_unit_test(refuses_a_horizon_beyond_the_configurations),
        cmocka_unit_test(refuses_hostile_headers),
        cmocka_unit_test(publishes_and_rolls_back),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
