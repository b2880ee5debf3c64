/* GET /api/v1/accuracy over a window that has many more steps than are read at once.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Seconds, eight hours of them, of a gauge and of a counter; a forecast is issued every so often.
 * What was issued is read from the store, what arrived is the test's own.
 */
#include "fixture.h"

#include "base/random.h"
#include "base/text.h"

#include <math.h>

#define SECOND   INT64_C(1000)
#define H        12
#define PART     600 /* seconds between two issues */
#define PARTS    50
#define COUNT    (PART * PARTS)
#define START_MS (NOW_MS - COUNT * SECOND)

static const char *const names[] = {"flow", "litres_total"};
static double values[COUNT]; /* of the gauge, and the rise of the counter */
static struct fixture f;

static void send(const char *series, bool counter, int from, int to)
{
    static double total = 0.0;
    struct text body;
    text_init(&body, 1u << 16);
    text_add_format(&body, "{\"series\":\"%s\",\"points\":[", series);
    for (int i = from; i < to; i++) {
        total += counter ? values[i] : 0.0;
        text_add_format(&body, "%s[%lld,%.1f]", i > from ? "," : "",
                        (long long)(START_MS + i * SECOND), counter ? total : values[i]);
    }
    text_add_string(&body, "]}");
    expect(&f, API_POST, "/api/v1/points", body.bytes, 200, NULL);
    text_release(&body);
}

static int serve(void **state)
{
    struct error error = {0};
    struct random random;
    (void)state;
    fixture_open(&f);
    f.limits.vintage_age_max_ms = INT64_C(14) * 86400000;
    f.limits.horizon_default = H;
    random_init(&random, 3, 0);
    for (int i = 0; i < COUNT; i++) {
        values[i] = fabs(round(10.0 * (20.0 + 2.0 * random_normal(&random))) / 10.0);
    }
    for (int part = 0; part < PARTS; part++) {
        fixture_set_now(START_MS + (part + 1) * PART * SECOND);
        for (size_t s = 0; s < 2; s++) {
            send(names[s], s == 1, part * PART, (part + 1) * PART);
            uint32_t id = storage_series_find(f.services.storage, names[s], strlen(names[s]));
            api_issue(f.worker, &id, 1);
        }
    }
    assert_int_equal(writer_compact(f.services.writer, &error), STATUS_OK);
    fixture_set_now(NOW_MS);
    return 0;
}

static int close_all(void **state)
{
    (void)state;
    fixture_close(&f);
    return 0;
}

struct sums {
    int64_t from_ms;
    size_t vintages, count;
    double actual, error;
};

static bool add_vintage(void *context, int64_t issued_ms, const unsigned char *bytes, size_t length)
{
    static float room[VINTAGE_FLOATS(H)];
    struct sums *sums = context;
    struct vintage vintage;
    struct error error = {0};
    size_t before = sums->count;
    (void)issued_ms;
    assert_int_equal(
        vintage_decode(bytes, length, room, sizeof(room) / sizeof(float), &vintage, &error),
        STATUS_OK);
    size_t origin = (size_t)((vintage.origin_ms - START_MS) / SECOND);
    for (size_t h = 0; h < H && origin + h + 1 < COUNT; h++) {
        if (vintage.origin_ms + (int64_t)(h + 1) * SECOND >= sums->from_ms) {
            double actual = values[origin + h + 1];
            sums->count++;
            sums->actual += fabs(actual);
            sums->error += forecast_quantile(&vintage.served, h, 0.5) - actual;
        }
    }
    sums->vintages += sums->count > before;
    return true;
}

static struct sums expected(const char *series, int64_t window_ms)
{
    struct storage_reader *reader = NULL;
    struct error error = {0};
    struct sums sums = {.from_ms = NOW_MS - window_ms};
    uint32_t id = storage_series_find(f.services.storage, series, strlen(series));
    assert_int_equal(storage_reader_open(f.services.storage, &reader, &error), STATUS_OK);
    assert_int_equal(storage_vintages(reader, id, INT64_MIN, INT64_MAX, add_vintage, &sums, &error),
                     STATUS_OK);
    storage_reader_close(reader);
    return sums;
}

static void expect_window(const char *series, const char *window, const struct sums *sums)
{
    char target[120];
    snprintf(target, sizeof(target), "/api/v1/accuracy?series=%s&window=%s", series, window);
    json_t *answer = fixture_json(&f, target);
    const json_t *one = json_array_get(json_object_get(answer, "series"), 0);
    const json_t *issued = json_object_get(one, "issued");
    assert_int_equal(json_integer_value(json_object_get(one, "step_ms")), SECOND);
    assert_int_equal(json_integer_value(json_object_get(one, "vintages")), sums->vintages);
    assert_int_equal(json_integer_value(json_object_get(one, "count")), sums->count);
    double bias = json_number_value(json_object_get(issued, "bias"));
    assert_true(fabs(bias - sums->error / sums->actual) < 1e-5);
    json_decref(answer);
}

static void the_whole_window_counts(void **state)
{
    (void)state;
    for (size_t s = 0; s < 2; s++) {
        struct sums all = expected(names[s], INT64_C(7) * 86400000);
        struct sums most = expected(names[s], 7 * 3600 * SECOND);
        struct sums newest = expected(names[s], 3600 * SECOND);
        assert_true(all.vintages > most.vintages && most.vintages > newest.vintages);
        assert_true(newest.vintages >= 4 && all.count > 30 * H);
        expect_window(names[s], "7d", &all);
        expect_window(names[s], "7h", &most);
        expect_window(names[s], "1h", &newest);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_whole_window_counts),
    };
    return cmocka_run_group_tests(tests, serve, close_all);
}
