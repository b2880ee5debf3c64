/* What any store does with points that are old enough for downsampling, against a plain array.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The model knows nothing of chunks, marks and slices: it applies the rules to everything it holds.
 */
#include "tests/contract/fixture.h"

#include "base/check.h"
#include "base/clock.h"
#include "base/random.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MODEL_MAX = 60000 };

static const int64_t minute = 60000, hour = 3600000, day = 86400000;

struct map {
    bool counter;
    size_t count;
    struct point points[MODEL_MAX];
};

static void map_put(struct map *map, int64_t time_ms, double value)
{
    size_t at = map->count;
    while (at > 0 && map->points[at - 1].time_ms >= time_ms) {
        at--;
    }
    if (at == map->count || map->points[at].time_ms != time_ms) {
        assert_true(map->count < MODEL_MAX);
        memmove(map->points + at + 1, map->points + at, (map->count - at) * sizeof *map->points);
        map->count++;
    }
    map->points[at] = (struct point){time_ms, value};
}

/* Every cell by itself, from all points of it. Times are after 1970 here. */
static void map_downsample(struct map *map, int64_t age_ms, int64_t step_ms, int64_t now_ms)
{
    static struct map out;
    int64_t newest_cell = map->points[map->count - 1].time_ms / step_ms;
    int64_t limit =
        (now_ms - age_ms) / step_ms < newest_cell ? (now_ms - age_ms) / step_ms : newest_cell;
    out.count = 0;
    for (size_t i = 0; i < map->count;) {
        int64_t cell = map->points[i].time_ms / step_ms;
        double sum = 0;
        size_t known = 0, all = 0;
        while (i + all < map->count && map->points[i + all].time_ms / step_ms == cell) {
            double value = map->points[i + all++].value;
            sum += isnan(value) ? 0 : value;
            known += !isnan(value);
        }
        if (cell >= limit || all == 1) {
            for (size_t k = 0; k < all; k++) {
                out.points[out.count++] = map->points[i + k];
            }
        } else if (map->counter) {
            out.points[out.count++] = map->points[i + all - 1];
        } else {
            out.points[out.count++] =
                (struct point){cell * step_ms, known > 0 ? sum / (double)known : (double)NAN};
        }
        i += all;
    }
    map->count = out.count;
    memcpy(map->points, out.points, out.count * sizeof *out.points);
}

/* Reads everything and compares; sums are rounded in another order than the store's means. */
static void assert_map(struct fixture *f, const char *series, const struct map *map)
{
    static struct point got[MODEL_MAX + 1];
    struct error error = {0};
    size_t count;
    assert_int_equal(storage_read(f->reader, find(f, series), INT64_MIN, INT64_MAX, got,
                                  MODEL_MAX + 1, &count, &error),
                     STATUS_OK);
    assert_int_equal(count, map->count);
    for (size_t i = 0; i < count; i++) {
        double expected = map->points[i].value;
        if (got[i].time_ms != map->points[i].time_ms ||
            (isnan(expected) ? !isnan(got[i].value)
                             : !(fabs(got[i].value - expected) <= 1e-12 * (1 + fabs(expected))))) {
            fail_msg("%s, point %zu: got (%lld, %.17g), expected (%lld, %.17g)", series, i,
                     (long long)got[i].time_ms, got[i].value, (long long)map->points[i].time_ms,
                     expected);
        }
    }
    assert_points(f, series, got, count); /* by every other way of reading, and the statistics */
    assert_int_equal(storage_check(f->storage, NULL, NULL, &error), STATUS_OK);
}

static void rules_set(struct fixture *f, const char *rules)
{
    struct error error = {0};
    fixture_stop(f);
    assert_int_equal(downsample_parse(rules, &f->options.downsample, &error), STATUS_OK);
    fixture_start(f);
}

static void both_put(struct write_batch *batch, const char *series, struct map *map,
                     int64_t time_ms, double value)
{
    batch_point(batch, series, time_ms, value);
    map_put(map, time_ms, value);
}

/* Spans that keep a day's distance from the ages of the rules, so that the hour in which the test
 * runs does not matter. */
static const int64_t spans[][2] = {{95, 61}, {59, 31}, {29, 0}};

static void fill(struct fixture *f, const char *series, struct map *map, int64_t now_ms,
                 struct random *random)
{
    struct write_batch *batch = batch_begin(f);
    for (size_t s = 0; s < ARRAY_COUNT(spans); s++) {
        int64_t time_ms = now_ms - spans[s][0] * day;
        while (time_ms < now_ms - spans[s][1] * day) {
            bool missing = random_below(random, 20) == 0 || time_ms / hour % 50 == 3;
            both_put(batch, series, map, time_ms,
                     missing ? (double)NAN : (double)random_below(random, 100000) / 100);
            time_ms += 100 + (int64_t)random_below(random, 1 + 10 * (uint64_t)minute);
        }
    }
    batch_commit(f, batch);
}

static void both_rules(struct map *map, int64_t now_ms)
{
    map_downsample(map, 30 * day, 30 * minute, now_ms);
    map_downsample(map, 60 * day, 2 * hour, now_ms);
}

static void downsampling(void **state)
{
    struct fixture *f = *state;
    static struct map gauge, counter;
    struct random random;
    struct error error = {0};
    int64_t now_ms = clock_wall_ms();
    gauge.count = counter.count = 0;
    counter.counter = true;
    random_init(&random, 8, 0);
    rules_set(f, "30d:30m,60d:2h");
    put(f, "c", now_ms - 95 * day, 1);
    struct series_settings settings = {.has_kind = true, .kind = SERIES_COUNTER};
    struct write_batch *batch = batch_begin(f);
    assert_int_equal(write_batch_settings(batch, find(f, "c"), &settings, &error), STATUS_OK);
    batch_commit(f, batch);
    fill(f, "g", &gauge, now_ms, &random);
    fill(f, "c", &counter, now_ms, &random);
    size_t before = gauge.count;
    assert_map(f, "g", &gauge);
    both_rules(&gauge, now_ms);
    both_rules(&counter, now_ms);
    assert_true(gauge.count < before / 2);
    compact(f);
    assert_map(f, "g", &gauge);
    assert_map(f, "c", &counter);
    uint64_t generation = info(f, "g").generation;
    compact(f); /* again: nothing is left to do */
    assert_int_equal(info(f, "g").generation, generation);
    for (int round = 0; round < 6; round++) { /* late ones, into every span */
        fixture_reopen(f);
        assert_map(f, "g", &gauge);
        batch = batch_begin(f);
        for (int i = 0; i < 40; i++) {
            int64_t ago = (int64_t)random_below(&random, 34 * (uint64_t)day);
            size_t s = random_below(&random, 2);
            int64_t time_ms =
                now_ms - spans[s][1] * day - ago % ((spans[s][0] - spans[s][1]) * day);
            time_ms -= i % 3 == 0 ? time_ms % (2 * hour) : 0; /* where the means lie */
            both_put(batch, "g", &gauge, time_ms, i);
            both_put(batch, "c", &counter, time_ms, 1000 + i);
        }
        batch_commit(f, batch);
        assert_map(f, "g", &gauge);
        both_rules(&gauge, now_ms);
        both_rules(&counter, now_ms);
        compact(f);
        assert_map(f, "g", &gauge);
        assert_map(f, "c", &counter);
    }
}

static bool named_counter(void *context, const char *text, size_t length,
                          const struct point *points, size_t count)
{
    *(size_t *)context += count > 0 && !isnan(points[0].value);
    for (size_t i = 0; i < count; i++) {
        if (points[i].value < 0) {
            return false;
        }
    }
    return length > 6 && strncmp(text, "total_", 6) == 0;
}

/* A counter that nobody set, with a reset in the middle of a cell: a mean would be a third level.
 */
static void counters_by_somebody_else(void **state)
{
    struct fixture *f = *state;
    static struct map told, gauge, set, broken;
    int64_t start_ms = clock_wall_ms() / day * day - 20 * day;
    size_t asked = 0;
    struct error error = {0};
    told.count = gauge.count = set.count = broken.count = 0;
    told.counter = broken.counter = true;
    f->options.counters_later = true;
    rules_set(f, "1d:1h");
    put(f, "total_set", start_ms, 0);
    put(f, "total_broken", start_ms, 0);
    struct time_spans no_evidence = {.count = 1,
                                     .at = {{start_ms + 2000 * minute, start_ms + 2060 * minute}}};
    struct series_settings settings = {.has_kind = true, .kind = SERIES_GAUGE};
    struct write_batch *batch = batch_begin(f);
    assert_int_equal(write_batch_settings(batch, find(f, "total_set"), &settings, &error),
                     STATUS_OK);
    assert_int_equal(write_batch_excluded(batch, find(f, "total_broken"), &no_evidence, &error),
                     STATUS_OK);
    for (int i = 0; i < 9000; i++) {
        double value = i < 4510 ? i * 7 : (i - 4510) * 7;
        double said = i >= 2000 && i < 2060 ? -1 : value;
        both_put(batch, "total_broken", &broken, start_ms + i * minute, said);
        both_put(batch, "total_told", &told, start_ms + i * minute, value);
        both_put(batch, "total_set", &set, start_ms + i * minute, value);
        both_put(batch, "g", &gauge, start_ms + i * minute, value);
    }
    batch_commit(f, batch);
    compact(f);
    assert_map(f, "total_told", &told); /* it waits until somebody is there to ask */
    storage_counters_by(f->storage, named_counter, &asked);
    compact(f);
    map_downsample(&told, day, hour, clock_wall_ms());
    map_downsample(&broken, day, hour, clock_wall_ms());
    map_downsample(&gauge, day, hour, clock_wall_ms());
    map_downsample(&set, day, hour, clock_wall_ms());
    assert_map(f, "total_told", &told);
    assert_map(f, "total_broken", &broken); /* what is excluded says nothing about it */
    assert_map(f, "total_set", &set);       /* what a user set comes first */
    assert_map(f, "g", &gauge);
    assert_true(asked >= 2);
    f->options.counters_later = false;
}

/* A second import of the past, in order: nothing of it is late, all of it is old. */
static void an_import_of_the_past(void **state)
{
    struct fixture *f = *state;
    static struct map map;
    int64_t start_ms = clock_wall_ms() / day * day - 200 * day;
    map.count = 0;
    rules_set(f, "1d:1h");
    for (int part = 0; part < 4; part++) {
        struct write_batch *batch = batch_begin(f);
        for (int i = 0; i < 3000; i++) {
            both_put(batch, "a", &map, start_ms + (part * 3000 + i) * 7 * minute, i % 90 / 4.0);
        }
        batch_commit(f, batch);
        map_downsample(&map, day, hour, clock_wall_ms());
        compact(f);
        assert_map(f, "a", &map);
    }
}

/* A span so long in one cell that it takes many chunks. */
static void large_cells(void **state)
{
    struct fixture *f = *state;
    static struct map map;
    int64_t start_ms = clock_wall_ms() / day * day - 20 * day;
    map.count = 0;
    rules_set(f, "2d:1d");
    struct write_batch *batch = batch_begin(f);
    for (int i = 0; i < 50000; i++) {
        both_put(batch, "a", &map, start_ms + i * INT64_C(4321), (i * 7919 % 10007) / 3.0);
    }
    batch_commit(f, batch);
    compact(f);
    map_downsample(&map, 2 * day, day, clock_wall_ms());
    assert_map(f, "a", &map);
    assert_true(map.count < 50000);
}

static void rules_of_rules(void **state)
{
    static const struct {
        const char *text;
        size_t count; /* 0 with a text: refused */
    } cases[] = {
        {"", 0},
        {"30d:5m", 1},
        {"30d:5m,365d:1h", 2},
        {"1d:1s,2d:1m,3d:1h,4d:1d", 4},
        {"30d", 0},
        {"30d:", 0},
        {":5m", 0},
        {"30d:5m,", 0},
        {",30d:5m", 0},
        {"30d:5m,20d:1h", 0},
        {"30d:5m,40d:7m", 0},
        {"30d:5m,40d:5m", 0},
        {"30d:500ms", 0},
        {"1h:2h", 0},
        {"300d:2d", 0},
        {"x:y", 0},
        {"1d:1s,2d:1m,3d:1h,4d:12h,5d:1d", 0},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct downsample downsample;
        struct error error = {0};
        bool good = cases[i].count > 0 || cases[i].text[0] == '\0';
        enum status status = downsample_parse(cases[i].text, &downsample, &error);
        if (status != (good ? STATUS_OK : STATUS_INVALID)) {
            fail_msg("\"%s\": %s", cases[i].text, error.text);
        }
        assert_true(!good || downsample.count == cases[i].count);
    }
}

int main(void)
{
    static const struct contract_test tests[] = {
        {"downsampling", downsampling},
        {"counters_by_somebody_else", counters_by_somebody_else},
        {"an_import_of_the_past", an_import_of_the_past},
        {"large_cells", large_cells},
        {"rules_of_rules", rules_of_rules},
    };
    return contract_run("downsample", tests, ARRAY_COUNT(tests));
}
