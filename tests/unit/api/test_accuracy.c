/* GET /api/v1/accuracy by value: its figures against plain sums over vintages and points.
 * SPDX-License-Identifier: Apache-2.0
 *
 * On the memory store and without a trained model. Two series of different size, one of them to
 * both sides of zero; a value is missing before and one after the first issue. What was issued is
 * read from the store, what arrived is the test's own, and the definitions of docs/accuracy.md are
 * written down here a second time.
 */
#include "fixture.h"

#include "base/random.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>

#define STEP_MS INT64_C(300000)
#define H       12
#define SEASON  24
#define BEFORE  576 /* values in the store before the first issue */
#define LIVE    60
#define COUNT   (BEFORE + LIVE)
#define SERIES  2

static const char *const names[SERIES] = {"flow.boiler", "flow.cellar"};
static double values[SERIES][COUNT]; /* NaN: no point */
static const int64_t start_ms = NOW_MS - NOW_MS % STEP_MS - COUNT * STEP_MS;
static struct fixture f;

static int64_t time_of(size_t index)
{
    return start_ms + (int64_t)index * STEP_MS;
}

static void make_values(void)
{
    static const double levels[SERIES] = {0.5, 200.0}, sizes[SERIES] = {5.0, 40.0};
    struct random random;
    char text[40];
    random_init(&random, 17, 0);
    for (size_t s = 0; s < SERIES; s++) {
        for (size_t i = 0; i < COUNT; i++) {
            double wave = sin((double)i * 2.0 * M_PI / SEASON) + 0.15 * random_normal(&random);
            snprintf(text, sizeof(text), "%.4f", levels[s] + sizes[s] * wave);
            values[s][i] = strtod(text, NULL); /* as it is sent */
        }
    }
    values[0][BEFORE - 100] = (double)NAN;
    values[0][BEFORE + 17] = (double)NAN;
}

static void put(size_t s, size_t index)
{
    char body[200];
    if (!isnan(values[s][index])) {
        snprintf(body, sizeof(body), "{\"series\":\"%s\",\"timestamp\":%lld,\"value\":%.4f}",
                 names[s], (long long)time_of(index), values[s][index]);
        expect(&f, API_POST, "/api/v1/points", body, 200, NULL);
    }
}

/* Points come one by one, and behind the first ones forecasts are issued. */
static int serve(void **state)
{
    struct error error = {0};
    (void)state;
    fixture_open(&f);
    f.limits.vintage_age_max_ms = INT64_C(14) * 86400000;
    f.limits.horizon_default = H;
    make_values();
    for (size_t i = 0; i < COUNT; i++) {
        fixture_set_now(time_of(i) + 2000);
        for (size_t s = 0; s < SERIES; s++) {
            put(s, i);
            uint32_t id = storage_series_find(f.services.storage, names[s], strlen(names[s]));
            if (i >= BEFORE && api_issue_due(&f.services, id, false)) {
                api_issue(f.worker, &id, 1);
            }
        }
    }
    /* Background work is committed before a later request's answer. */
    assert_int_equal(writer_compact(f.services.writer, &error), STATUS_OK);
    return 0;
}

static int close_all(void **state)
{
    (void)state;
    fixture_close(&f);
    return 0;
}

/* ---------------------------------------------------------------- sums */

struct sum {
    size_t count, inside80, inside95;
    double actual, error, absolute_error, scaled_error, percent, pinball;
};

struct sums {
    size_t vintages;
    struct sum issued, baseline;
    struct sum issued_at[H], baseline_at[H]; /* of each step ahead */
};

static void add_to(struct sum *sum, const struct sum *other)
{
    sum->count += other->count;
    sum->inside80 += other->inside80;
    sum->inside95 += other->inside95;
    sum->actual += other->actual;
    sum->error += other->error;
    sum->absolute_error += other->absolute_error;
    sum->scaled_error += other->scaled_error;
    sum->percent += other->percent;
    sum->pinball += other->pinball;
}

/* Levels are 0.025, 0.1 ... 0.9, 0.975. */
static struct sum sum_of(const struct forecast *forecast, size_t h, double actual, double scale)
{
    double said[11], pinball = 0.0;
    for (size_t q = 0; q < 11; q++) {
        said[q] = (double)forecast->quantiles[q * forecast->horizon + h];
    }
    for (int tenth = 1; tenth <= 9; tenth++) {
        double away = actual - said[tenth], level = tenth / 10.0;
        pinball += 2.0 * fmax(level * away, (level - 1.0) * away) / 9.0;
    }
    double median = said[5], error = median - actual;
    return (struct sum){
        .count = 1,
        .inside80 = said[1] <= actual && actual <= said[9],
        .inside95 = said[0] <= actual && actual <= said[10],
        .actual = fabs(actual),
        .error = error,
        .absolute_error = fabs(error),
        .scaled_error = fabs(error) / scale,
        .percent = 200.0 * fabs(error) / (fabs(median) + fabs(actual)),
        .pinball = pinball,
    };
}

/* Mean absolute difference of values that are a season apart. */
static double scale_of(size_t s)
{
    double sum = 0.0;
    size_t count = 0;
    for (size_t i = SEASON; i < COUNT; i++) {
        double difference = values[s][i] - values[s][i - SEASON];
        if (!isnan(difference)) {
            sum += fabs(difference);
            count++;
        }
    }
    return sum / (double)count;
}

struct reading {
    size_t s;
    struct sums *sums;
};

static bool add_vintage(void *context, int64_t issued_ms, const unsigned char *bytes, size_t length)
{
    static float room[VINTAGE_FLOATS(H)];
    const struct reading *reading = context;
    struct sums *sums = reading->sums;
    struct vintage vintage;
    struct error error = {0};
    bool used = false;
    (void)issued_ms;
    assert_int_equal(
        vintage_decode(bytes, length, room, sizeof(room) / sizeof(float), &vintage, &error),
        STATUS_OK);
    assert_int_equal(vintage.served.horizon, H);
    assert_int_equal(vintage.baseline.horizon, H);
    size_t origin = (size_t)((vintage.origin_ms - start_ms) / STEP_MS);
    for (size_t h = 0; h < H && origin + h + 1 < COUNT; h++) {
        double actual = values[reading->s][origin + h + 1], scale = scale_of(reading->s);
        if (isnan(actual)) {
            continue;
        }
        struct sum issued = sum_of(&vintage.served, h, actual, scale);
        struct sum baseline = sum_of(&vintage.baseline, h, actual, scale);
        add_to(&sums->issued, &issued);
        add_to(&sums->baseline, &baseline);
        add_to(&sums->issued_at[h], &issued);
        add_to(&sums->baseline_at[h], &baseline);
        used = true;
    }
    sums->vintages += used;
    return true;
}

static void add_series(size_t s, struct sums *sums)
{
    struct storage_reader *reader = NULL;
    struct error error = {0};
    struct reading reading = {s, sums};
    uint32_t id = storage_series_find(f.services.storage, names[s], strlen(names[s]));
    assert_int_equal(storage_reader_open(f.services.storage, &reader, &error), STATUS_OK);
    assert_int_equal(
        storage_vintages(reader, id, INT64_MIN, INT64_MAX, add_vintage, &reading, &error),
        STATUS_OK);
    storage_reader_close(reader);
}

/* ---------------------------------------------------------------- what the route says */

/* Answers have six digits, so large figures are compared by their size. */
static void expect_figure(const json_t *column, const char *name, double figure)
{
    const json_t *member = json_object_get(column, name);
    double said = json_number_value(member);
    if (!json_is_number(member) || !(fabs(said - figure) <= 1e-5 * fmax(1.0, fabs(figure)))) {
        fail_msg("%s: %.9g, and by hand %.9g", name, said, figure);
    }
}

static void expect_column(const json_t *answer, const char *name, const struct sum *sum)
{
    const json_t *column = json_object_get(answer, name);
    double count = (double)sum->count;
    assert_true(json_is_object(column));
    assert_int_equal(json_integer_value(json_object_get(column, "count")), sum->count);
    expect_figure(column, "mase", sum->scaled_error / count);
    expect_figure(column, "smape", sum->percent / count);
    expect_figure(column, "pinball", sum->pinball / count);
    expect_figure(column, "wql", sum->pinball / sum->actual);
    expect_figure(column, "bias", sum->error / sum->actual);
    expect_figure(column, "coverage80", (double)sum->inside80 / count);
    expect_figure(column, "coverage95", (double)sum->inside95 / count);
}

static void expect_sums(const json_t *answer, const struct sums *sums)
{
    const json_t *rows = json_object_get(answer, "by_horizon");
    assert_int_equal(json_integer_value(json_object_get(answer, "vintages")), sums->vintages);
    assert_int_equal(json_integer_value(json_object_get(answer, "count")), sums->issued.count);
    assert_true(json_is_null(json_object_get(answer, "champion"))); /* no model has served */
    expect_column(answer, "issued", &sums->issued);
    expect_column(answer, "baseline", &sums->baseline);
    assert_int_equal(json_array_size(rows), H);
    for (size_t h = 0; h < H; h++) {
        expect_column(json_array_get(rows, h), "issued", &sums->issued_at[h]);
        expect_column(json_array_get(rows, h), "baseline", &sums->baseline_at[h]);
    }
}

static void figures_of_a_series(void **state)
{
    char target[120];
    (void)state;
    for (size_t s = 0; s < SERIES; s++) {
        struct sums sums = {0};
        snprintf(target, sizeof(target), "/api/v1/series/%s", names[s]);
        expect(&f, API_GET, target, NULL, 200, "\"seasons\":[24"); /* of the scale */
        add_series(s, &sums);
        assert_true(sums.vintages >= 10 && sums.issued.count >= 100);
        /* Served forecasts are calibrated, so that one column cannot stand in for the other. */
        assert_true(fabs(sums.issued.pinball - sums.baseline.pinball) > 1e-3);
        snprintf(target, sizeof(target), "/api/v1/accuracy?series=%s&by=step", names[s]);
        json_t *answer = fixture_json(&f, target);
        expect_sums(json_array_get(json_object_get(answer, "series"), 0), &sums);
        expect_sums(json_object_get(answer, "pooled"), &sums);
        json_decref(answer);
    }
}

/* Each value by its own series' scale. */
static void figures_of_both_together(void **state)
{
    struct sums sums = {0};
    (void)state;
    for (size_t s = 0; s < SERIES; s++) {
        add_series(s, &sums);
    }
    json_t *answer =
        fixture_json(&f, "/api/v1/accuracy?series=%7B__name__=~%22flow.*%22%7D&by=step");
    assert_int_equal(json_array_size(json_object_get(answer, "series")), SERIES);
    expect_sums(json_object_get(answer, "pooled"), &sums);
    json_decref(answer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(figures_of_a_series),
        cmocka_unit_test(figures_of_both_together),
    };
    return cmocka_run_group_tests(tests, serve, close_all);
}
