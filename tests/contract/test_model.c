/* Thousands of random operations on a store, compared with a plain map after every few of them.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Among the operations: reopening, compaction, memory so small that windows are evicted and commits
 * must flush, and a crash: the files are copied while the store is open, and the copy is opened
 * instead. What was acknowledged must be there each time. Fixed seeds; MODEL_STEPS=N runs more of
 * each.
 */
#include "tests/contract/fixture.h"

#include "base/check.h"
#include "base/random.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SERIES = 6, TIMES = 6000, STEPS = 500 };

struct map {
    bool exists;
    bool has[TIMES];
    double values[TIMES];
    size_t count;
    uint64_t late, updated;
    int64_t newest; /* index */
};

static struct map maps[SERIES];
static struct point expected[TIMES];

static void name_of(int series, char name[32])
{
    snprintf(name, 32, "model{n=\"%d\"}", series);
}

static double value_of(struct random *random, int shape)
{
    switch (shape) {
    case 0: /* a sensor with two decimals */
        return round(random_normal(random) * 300) / 100;
    case 1: /* full precision */
        return random_normal(random);
    case 2: /* long constant stretches */
        return random_below(random, 50) == 0 ? (double)random_below(random, 1000) : 7;
    default: /* gaps */
        return random_below(random, 4) == 0 ? (double)NAN : (double)random_below(random, 100);
    }
}

static int64_t time_of(size_t index)
{
    return (int64_t)index * 1000 - 500000 + (index % 5 == 0 ? 3 : 0);
}

static void map_put(struct map *map, size_t index, double value, struct write_result *result)
{
    result->accepted++;
    if (map->has[index]) {
        result->updated++;
        map->updated++;
    } else {
        if (map->count > 0 && (int64_t)index < map->newest) {
            result->late++;
            map->late++;
        }
        map->count++;
    }
    map->newest = !map->has[index] && (map->count == 1 || (int64_t)index > map->newest)
                      ? (int64_t)index
                      : map->newest;
    map->has[index] = true;
    map->values[index] = value;
    map->exists = true;
}

static void compare(struct fixture *f, int series)
{
    char name[32];
    size_t count = 0;
    const struct map *map = &maps[series];
    name_of(series, name);
    if (!map->exists) {
        assert_int_equal(find(f, name), 0);
        return;
    }
    for (size_t i = 0; i < TIMES; i++) {
        if (map->has[i]) {
            expected[count++] = (struct point){time_of(i), map->values[i]};
        }
    }
    assert_points(f, name, expected, count);
    struct series_info about = info(f, name);
    assert_int_equal(about.late, map->late);
    assert_int_equal(about.updated, map->updated);
}

static void write_some(struct fixture *f, struct random *random, size_t *now)
{
    struct write_batch *batch = batch_begin(f);
    struct write_result sum = {0};
    char name[32];
    size_t points = 1 + random_below(random, random_below(random, 10) == 0 ? 900 : 30);
    int only = random_below(random, 2) == 0 ? (int)random_below(random, SERIES) : -1;
    bool in_order = random_below(random, 3) != 0;
    for (size_t i = 0; i < points; i++) {
        int series = only >= 0 ? only : (int)random_below(random, SERIES);
        size_t index;
        if (in_order) {
            *now = *now + 1 < TIMES ? *now + (random_below(random, 3) == 0) : *now;
            index = *now;
        } else {
            index = random_below(random, random_below(random, 2) == 0 ? *now + 1 : TIMES / 2);
        }
        double value = value_of(random, series % 4);
        name_of(series, name);
        batch_point(batch, name, time_of(index), value);
        map_put(&maps[series], index, value, &sum);
    }
    struct write_result result = batch_commit(f, batch);
    assert_int_equal(result.accepted, sum.accepted);
    assert_int_equal(result.updated, sum.updated);
    assert_int_equal(result.late, sum.late);
}

static void crash(struct fixture *f)
{
    char copy[160];
    if (!fixture_is_durable(f)) {
        return;
    }
    /* Nothing is in flight, so the files stand still but for what the writer tidies up: stop that
     * too. */
    snprintf(copy, sizeof copy, "%s-copy", f->directory);
    writer_stop(f->writer);
    f->writer = NULL;
    folder_copy(f->directory, copy);
    fixture_stop(f);
    folder_remove(f->directory);
    assert_int_equal(rename(copy, f->directory), 0);
    fixture_start(f);
    struct error error = {0};
    assert_int_equal(storage_check(f->storage, NULL, NULL, &error), STATUS_OK);
}

static void remove_series(struct fixture *f, int series)
{
    char name[32];
    struct error error = {0};
    name_of(series, name);
    if (maps[series].exists) {
        struct write_batch *batch = batch_begin(f);
        assert_int_equal(write_batch_delete(batch, find(f, name), &error), STATUS_OK);
        batch_commit(f, batch);
        memset(&maps[series], 0, sizeof maps[series]);
    }
}

static void run(struct fixture *f, uint64_t seed, const struct storage_options *options)
{
    struct random random;
    size_t now = 0;
    const char *more = getenv("MODEL_STEPS");
    int steps = more != NULL ? atoi(more) : STEPS;
    random_init(&random, seed, 0);
    memset(maps, 0, sizeof maps);
    fixture_stop(f);
    f->options = *options;
    fixture_start(f);
    for (int step = 0; step < steps; step++) {
        switch (random_below(&random, 24)) {
        case 0:
            compact(f);
            break;
        case 1:
            fixture_reopen(f);
            break;
        case 2:
            crash(f);
            break;
        case 3:
            if (random_below(&random, 6) == 0) {
                remove_series(f, (int)random_below(&random, SERIES));
            }
            break;
        case 4:
        case 5:
            compare(f, (int)random_below(&random, SERIES));
            break;
        default:
            write_some(f, &random, &now);
        }
    }
    for (int round = 0; round < 3; round++) {
        for (int series = 0; series < SERIES; series++) {
            compare(f, series);
        }
        round == 0 ? crash(f) : compact(f);
    }
    struct error error = {0};
    assert_int_equal(storage_check(f->storage, NULL, NULL, &error), STATUS_OK);
    f->options = (struct storage_options){0};
}

static void usual_memory(void **state)
{
    struct storage_options options = {0};
    run(*state, 1, &options);
}

static void little_memory(void **state)
{
    struct storage_options options = {.tail_points = 64, .tail_bytes_max = 16384};
    run(*state, 2, &options);
}

static void tiny_memory(void **state)
{
    struct storage_options options = {.tail_points = 3, .tail_bytes_max = 1024};
    run(*state, 3, &options);
}

static void relaxed_sync(void **state)
{
    struct storage_options options = {.relaxed = true, .tail_bytes_max = 65536};
    run(*state, 4, &options);
}

int main(void)
{
    static const struct contract_test tests[] = {
        {"usual_memory", usual_memory},
        {"little_memory", little_memory},
        {"tiny_memory", tiny_memory},
        {"relaxed_sync", relaxed_sync},
    };
    return contract_run("model", tests, ARRAY_COUNT(tests));
}
