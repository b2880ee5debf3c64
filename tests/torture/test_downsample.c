/* The power goes at every change that downsampling makes to the disk: afterwards each cell is as it
 * was or is its mean, nothing else, and the next attempt does the rest.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "base/clock.h"
#include "storage/writer.h"
#include "tests/torture/fault_vfs.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

enum { POINTS = 6000, CELL = 60, CELL_MS = 3600000, STEP_MS = CELL_MS / CELL, CUTS_MAX = 3000 };

static char folder[64] = "/tmp/forecastd-thin-XXXXXX"; /* the lock of a store lies on a real disk */
static int64_t start_ms;

static bool store_open(const char *rules, struct storage **storage, struct writer **writer)
{
    struct error error = {0};
    char url[96];
    struct writer_options stepped = {.stepped = true};
    snprintf(url, sizeof url, "sqlite:%s", folder);
    struct storage_options options = {.url = url};
    assert_int_equal(downsample_parse(rules, &options.downsample, &error), STATUS_OK);
    return storage_open(&options, storage, &error) == STATUS_OK &&
           writer_start(*storage, &stepped, writer, &error) == STATUS_OK;
}

static void store_close(struct storage *storage, struct writer *writer)
{
    writer_stop(writer);
    storage_close(storage);
}

static void store_fill(void)
{
    struct storage *storage = NULL;
    struct writer *writer = NULL;
    struct error error = {0};
    struct write_batch *batch;
    uint32_t series;
    assert_true(store_open("", &storage, &writer));
    assert_int_equal(write_batch_new(storage, POINTS, &batch, &error), STATUS_OK);
    assert_int_equal(write_batch_series(batch, "a", 1, &series, &error), STATUS_OK);
    for (int i = 0; i < POINTS; i++) {
        struct point point = {start_ms + i * (int64_t)STEP_MS, i % CELL};
        assert_int_equal(write_batch_point(batch, series, point, &error), STATUS_OK);
    }
    assert_int_equal(writer_write_take(writer, batch, NULL, &error), STATUS_OK);
    assert_int_equal(writer_compact(writer, &error), STATUS_OK);
    store_close(storage, writer);
}

/* Every cell is whole or its mean; returns how many points there are. */
static size_t cells_verify(struct storage *storage)
{
    static struct point points[POINTS + 1];
    struct storage_reader *reader = NULL;
    struct error error = {0};
    size_t count = 0, cells = 0;
    assert_int_equal(storage_reader_open(storage, &reader, &error), STATUS_OK);
    assert_int_equal(
        storage_read(reader, 1, INT64_MIN, INT64_MAX, points, POINTS + 1, &count, &error),
        STATUS_OK);
    storage_reader_close(reader);
    for (size_t i = 0; i < count; cells++) {
        assert_int_equal(points[i].time_ms, start_ms + (int64_t)cells * CELL_MS);
        if (points[i].value == (CELL - 1) / 2.0) {
            i++;
            continue;
        }
        for (int k = 0; k < CELL; k++, i++) {
            assert_true(i < count && points[i].value == k);
            assert_int_equal(points[i].time_ms,
                             start_ms + (int64_t)cells * CELL_MS + k * (int64_t)STEP_MS);
        }
    }
    assert_int_equal(cells, POINTS / CELL);
    struct series_info info;
    assert_int_equal(storage_series_info(storage, 1, &info, &error), STATUS_OK);
    assert_int_equal(info.points, count);
    assert_int_equal(storage_check(storage, NULL, NULL, &error), STATUS_OK);
    return count;
}

/* Returns whether the power went. */
static bool cut_at(uint64_t nth)
{
    struct disk *disk = disk_new(nth);
    struct random random;
    struct storage *storage = NULL;
    struct writer *writer = NULL;
    struct error error = {0};
    random_init(&random, 17, nth);
    fault_vfs_mount(disk);
    store_fill();
    disk_fault_set(disk, nth, DISK_CUT, true);
    if (store_open("30d:1h", &storage, &writer)) {
        (void)!writer_compact(writer, &error);
        writer_stop(writer);
    }
    storage_close(storage);
    bool struck = disk->struck;
    disk_crash(disk, &random);
    disk_fault_set(disk, 0, DISK_NO_FAULT, false);
    assert_true(store_open("30d:1h", &storage, &writer));
    (void)cells_verify(storage);
    assert_int_equal(writer_compact(writer, &error), STATUS_OK);
    /* The cell of the newest point waits. */
    assert_int_equal(cells_verify(storage), POINTS / CELL - 1 + CELL);
    store_close(storage, writer);
    fault_vfs_mount(NULL);
    disk_free(disk);
    return struck;
}

static void power_goes_while_downsampling(void **state)
{
    (void)state;
    char command[100];
    uint64_t nth = 1;
    start_ms = clock_wall_ms() / CELL_MS * CELL_MS - INT64_C(90) * 86400000;
    assert_non_null(mkdtemp(folder));
    while (nth < CUTS_MAX && cut_at(nth)) {
        nth++;
    }
    assert_true(nth > 10 && nth < CUTS_MAX);
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    assert_int_equal(system(command), 0);
    printf("  %llu power cuts during downsampling\n", (unsigned long long)nth - 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(power_goes_while_downsampling)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
