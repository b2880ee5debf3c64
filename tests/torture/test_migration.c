/* The power goes at every change that a migration makes to the disk: the store is old or new then.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Either way it opens and has all its points.
 */
#include "storage/storage.h"
#include "tests/torture/fault_vfs.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

enum { POINTS = 400, CHANGES_MAX = 500, SEEDS = 4 };

static char folder[64] = "/tmp/forecastd-migrate-XXXXXX"; /* its lock lies on the real disk */

/* The kept store of the oldest version, synced. */
static void disk_fill(struct disk *disk, const char *path)
{
    unsigned char bytes[65536];
    FILE *file = fopen("tests/unit/storage/data/version1.db", "rb");
    assert_non_null(file);
    size_t length = fread(bytes, 1, sizeof bytes, file);
    assert_true(length > 0 && length < sizeof bytes);
    fclose(file);
    struct disk_file *stored = disk_create(disk, path);
    assert_non_null(stored);
    assert_true(disk_write(disk, stored, 0, bytes, (int64_t)length));
    disk_sync(disk, stored);
    disk_sync_parent(disk, path);
}

static void points_there(struct storage *storage)
{
    struct storage_reader *reader = NULL;
    struct error error = {0};
    static struct point points[POINTS + 1];
    size_t count = 0;
    assert_int_equal(storage_reader_open(storage, &reader, &error), STATUS_OK);
    uint32_t id = storage_series_find(storage, "old", 3);
    assert_int_equal(
        storage_read(reader, id, INT64_MIN, INT64_MAX, points, POINTS + 1, &count, &error),
        STATUS_OK);
    assert_int_equal(count, POINTS);
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(points[i].time_ms, INT64_C(1600000000000) + (int64_t)i * 60000);
        assert_true(points[i].value == (double)(i * 7 % 50) / 4);
    }
    storage_reader_close(reader);
    assert_int_equal(storage_check(storage, NULL, NULL, &error), STATUS_OK);
}

/* Returns whether the power went. */
static bool cut_at(uint64_t nth, uint64_t seed)
{
    struct disk *disk = disk_new(seed);
    struct random random;
    struct storage *storage = NULL;
    struct error error = {0};
    char path[96], url[96];
    snprintf(path, sizeof path, "%s/forecastd.db", folder);
    snprintf(url, sizeof url, "sqlite:%s", folder);
    struct storage_options options = {.url = url};
    random_init(&random, seed, nth);
    fault_vfs_mount(disk);
    disk_fill(disk, path);
    disk_fault_set(disk, nth, DISK_CUT, true);
    if (storage_open(&options, &storage, &error) == STATUS_OK) {
        storage_close(storage);
    }
    bool struck = disk->struck;
    disk_crash(disk, &random);
    disk_fault_set(disk, 0, DISK_NO_FAULT, false);
    if (storage_open(&options, &storage, &error) != STATUS_OK) {
        fail_msg("cut at change %llu, seed %llu: %s", (unsigned long long)nth,
                 (unsigned long long)seed, error.text);
    }
    points_there(storage);
    storage_close(storage);
    fault_vfs_mount(NULL);
    disk_free(disk);
    return struck;
}

static void power_goes_while_migrating(void **state)
{
    (void)state;
    uint64_t cuts = 0;
    char command[100];
    assert_non_null(mkdtemp(folder));
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        uint64_t nth = 1;
        while (nth < CHANGES_MAX && cut_at(nth, seed)) {
            nth++;
            cuts++;
        }
        assert_true(nth > 10 && nth < CHANGES_MAX);
    }
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    assert_int_equal(system(command), 0);
    printf("  %llu power cuts during a migration from version 1\n", (unsigned long long)cuts);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(power_goes_while_migrating)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
