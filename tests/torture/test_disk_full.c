/* Tiny disks: a full one refuses what needs room and nothing else, and recovers by itself.
 * SPDX-License-Identifier: Apache-2.0
 *
 * SEEDS=N for more than 60 histories on disks that are full now and then.
 */
#include "tests/torture/history.h"

#include "base/clock.h"
#include "storage/sqlite_store.h"
#include "storage/writer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { RESERVE = 512 << 10, SEEDS = 60 };

static char directory[64];

/* The store looks at a full disk about once a second; the tests do not wait. */
static void look_again(struct history *history)
{
    ((struct sqlite_state *)history->storage->state)->relief_after_ns = 0;
}

static void begin(struct history *history, uint64_t seed)
{
    struct error error = {0};
    history_init(history, seed, directory);
    history->options.reserve_bytes = RESERVE;
    if (!history_open(history, &error)) {
        fail_msg("%s", error.text);
    }
}

static void sound(struct history *history)
{
    if (!history_verify(history)) {
        fail_msg("%s", history->why);
    }
}

static enum status ingest_status(struct history *history)
{
    size_t before = history->attempt_count;
    enum status status = STATUS_OK;
    history_ingest(history);
    for (size_t i = before; i < history->attempt_count; i++) {
        status = history->attempts[i].status != STATUS_OK ? history->attempts[i].status : status;
    }
    return status;
}

static struct storage_stats stats_of(struct history *history)
{
    struct storage_stats stats;
    storage_stats(history->storage, &stats);
    return stats;
}

static bool reserve_is_there(struct history *history)
{
    char path[DISK_PATH_MAX];
    snprintf(path, sizeof path, "%s/forecastd.reserve", directory);
    return disk_find(history->disk, path) != NULL;
}

/* Points of a series that the truth knows nothing of. */
static enum status ballast(struct history *history, int64_t first, size_t count)
{
    struct write_batch *batch;
    struct error error = {0};
    uint32_t number;
    assert_int_equal(write_batch_new(history->storage, count, &batch, &error), STATUS_OK);
    assert_int_equal(write_batch_series(batch, "ballast", 7, &number, &error), STATUS_OK);
    for (size_t i = 0; i < count; i++) {
        struct point point = {(first + (int64_t)i) * 1000, 1.0 / ((double)i + 3)};
        assert_int_equal(write_batch_point(batch, number, point, &error), STATUS_OK);
    }
    return writer_write_take(history->writer, batch, NULL, &error);
}

/* Until nothing goes any more, not even after a look that cuts the log back; returns how many
 * points of ballast there are. */
static int64_t fill_up(struct history *history, int64_t room, int64_t first)
{
    enum status status = STATUS_OK;
    history->disk->quota = disk_used(history->disk) + room;
    for (int i = 0; i < 300 && ingest_status(history) == STATUS_OK; i++) {
        while ((status = ballast(history, first, 200)) == STATUS_OK) {
            first += 200;
        }
        assert_int_equal(status, STATUS_NO_SPACE);
        look_again(history);
    }
    assert_int_equal(ingest_status(history), STATUS_NO_SPACE);
    assert_false(stats_of(history).writable);
    assert_true(stats_of(history).full);
    return first;
}

static void only_writes_are_refused(void **state)
{
    struct history history;
    struct error error = {0};
    uint32_t digest;
    (void)state;
    begin(&history, 3);
    assert_true(reserve_is_there(&history));
    for (int i = 0; i < 10; i++) {
        assert_int_equal(ingest_status(&history), STATUS_OK);
    }
    int64_t first = fill_up(&history, 100000, 0);
    assert_false(reserve_is_there(&history)); /* it gave its room */
    sound(&history);
    assert_true(history_read(&history, &digest));
    /* Deleting, settings, compaction and checkpoints go on. */
    struct write_batch *batch;
    assert_int_equal(write_batch_new(history.storage, 0, &batch, &error), STATUS_OK);
    struct series_settings settings = {.has_season = true, .season_steps = 24};
    assert_int_equal(write_batch_settings(batch, 2, &settings, &error), STATUS_OK);
    assert_int_equal(writer_write_take(history.writer, batch, NULL, &error), STATUS_OK);
    assert_int_equal(writer_compact(history.writer, &error), STATUS_OK);
    assert_true(stats_of(&history).full);
    assert_int_equal(ingest_status(&history), STATUS_NO_SPACE);
    sound(&history);
    /* A restart on the full disk works, and everything is there. (It may free the log.) */
    history_close(&history);
    assert_true(history_open(&history, &error));
    sound(&history);
    (void)fill_up(&history, 0, first);
    sound(&history);
    /* Room comes back: without a restart, at the next look. */
    history.disk->quota = 0;
    look_again(&history);
    assert_int_equal(ingest_status(&history), STATUS_OK);
    assert_true(stats_of(&history).writable && !stats_of(&history).full);
    assert_true(reserve_is_there(&history));
    sound(&history);
    history_release(&history);
}

/* Nobody adds room: deleting frees it, inside of the database file first, then on the disk. */
static void deleting_makes_room(void **state)
{
    struct history history;
    struct error error = {0};
    (void)state;
    begin(&history, 4);
    for (int i = 0; i < 40; i++) { /* something to delete, in chunks */
        (void)ingest_status(&history);
    }
    assert_int_equal(writer_compact(history.writer, &error), STATUS_OK);
    struct write_batch *batch;
    assert_int_equal(ballast(&history, 0, 40000), STATUS_OK);
    assert_int_equal(writer_compact(history.writer, &error), STATUS_OK);
    (void)fill_up(&history, 60000, 40000);
    assert_int_equal(write_batch_new(history.storage, 0, &batch, &error), STATUS_OK);
    assert_int_equal(
        write_batch_delete(batch, storage_series_find(history.storage, "ballast", 7), &error), 0);
    assert_int_equal(writer_write_take(history.writer, batch, NULL, &error), STATUS_OK);
    enum status status = STATUS_NO_SPACE;
    for (int i = 0; i < 10 && status != STATUS_OK; i++) {
        look_again(&history);
        (void)writer_step(history.writer);
        status = ingest_status(&history);
    }
    assert_int_equal(status, STATUS_OK);
    assert_true(reserve_is_there(&history));
    sound(&history);
    history_release(&history);
}

/* So does retention, which is not waited for. */
static void too_small_a_disk_starts_full(void **state)
{
    struct history history;
    struct error error = {0};
    (void)state;
    begin(&history, 5);
    assert_int_equal(ingest_status(&history), STATUS_OK);
    history_close(&history);
    history.disk->quota = disk_used(history.disk) + RESERVE;
    history.options.reserve_bytes = 4 * RESERVE;
    assert_true(history_open(&history, &error));
    assert_int_equal(ingest_status(&history), STATUS_NO_SPACE);
    sound(&history);
    history_close(&history);
    history.options.reserve_bytes = RESERVE; /* as its hint says */
    assert_true(history_open(&history, &error));
    look_again(&history);
    assert_int_equal(ingest_status(&history), STATUS_OK);
    sound(&history);
    history_release(&history);
}

/* Without a reserve each write tries again. */
static void without_a_reserve(void **state)
{
    struct history history;
    (void)state;
    begin(&history, 6);
    history_close(&history);
    struct error error = {0};
    history.options.reserve_bytes = 0;
    assert_true(history_open(&history, &error));
    (void)fill_up(&history, 50000, 0);
    sound(&history);
    history.disk->quota = 0;
    assert_int_equal(ingest_status(&history), STATUS_OK);
    sound(&history);
    history_release(&history);
}

static void keep_ballast(struct history *history, int64_t retention_ms)
{
    struct write_batch *batch;
    struct error error = {0};
    struct series_settings settings = {.has_retention = true, .retention_ms = retention_ms};
    uint32_t id = storage_series_find(history->storage, "ballast", 7);
    assert_int_equal(write_batch_new(history->storage, 0, &batch, &error), STATUS_OK);
    assert_int_equal(write_batch_settings(batch, id, &settings, &error), STATUS_OK);
    assert_int_equal(writer_write_take(history->writer, batch, NULL, &error), STATUS_OK);
}

/* An I/O error closes the store, and whatever operation fails while it is opened anew: nothing is
 * tidied with what is closed or half read, nothing is lost. Returns whether the fault has struck.
 */
static bool fail_while_opened_anew(uint64_t nth, bool persistent)
{
    struct history history;
    begin(&history, 7);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(ingest_status(&history), STATUS_OK);
    }
    (void)fill_up(&history, 60000, 0);
    keep_ballast(&history, 3600000);      /* so retention has something to drop */
    history_clock(history_now(), 700000); /* ingest sets the clock ahead: no hold of that is left */
    disk_fault_set(history.disk, 1, DISK_EIO, true);
    look_again(&history);
    (void)writer_step(history.writer); /* finds out that the disk fails */
    disk_fault_set(history.disk, nth, DISK_EIO, persistent);
    for (int i = 0; i < 3; i++) {
        history_clock(history_now(), 61000); /* retention is due each time */
        look_again(&history);
        (void)writer_step(history.writer);
    }
    bool struck = history.disk->struck;
    disk_fault_set(history.disk, 0, DISK_NO_FAULT, false);
    history.disk->quota = 0;
    look_again(&history);
    history_clock(history_now(), 61000);
    while (writer_step(history.writer)) {
    }
    if (ingest_status(&history) != STATUS_OK || !history_verify(&history)) {
        fail_msg("operation %llu%s: %s", (unsigned long long)nth,
                 persistent ? " and all later" : "", history.why);
    }
    history_release(&history);
    return struck;
}

static void errors_on_a_full_disk(void **state)
{
    uint64_t failed = 0;
    (void)state;
    for (int persistent = 0; persistent < 2; persistent++) {
        for (uint64_t nth = 1; nth < 400 && fail_while_opened_anew(nth, persistent); nth += 3) {
            failed++;
        }
    }
    assert_true(failed > 50);
}

/* Histories in which the disk is now full, now not, and the power goes at times. */
static void run_seed(uint64_t seed, uint64_t *refused)
{
    struct history history;
    struct error error = {0};
    begin(&history, seed);
    struct random *random = &history.random;
    for (int act = 0; act < 60; act++) {
        if (act % 6 == 0) {
            history.disk->quota =
                random_below(random, 3) == 0
                    ? 0
                    : disk_used(history.disk) + (int64_t)random_below(random, 150000);
        }
        look_again(&history);
        history_act(&history);
        *refused += stats_of(&history).full;
        if (random_below(random, 40) == 0) {
            disk_fault_set(history.disk, 1 + random_below(random, 100), DISK_CUT, true);
        }
        if (history.disk->dead) {
            history_close(&history);
            disk_crash(history.disk, random);
            history.disk->quota = 0;
            assert_true(history_open(&history, &error));
        }
    }
    disk_fault_set(history.disk, 0, DISK_NO_FAULT, false);
    history.disk->quota = 0;
    look_again(&history);
    if (history.storage == NULL || ingest_status(&history) != STATUS_OK) {
        fail_msg("seed %llu: writes did not come back", (unsigned long long)seed);
    }
    if (!history_verify(&history)) {
        fail_msg("seed %llu: %s", (unsigned long long)seed, history.why);
    }
    history_release(&history);
}

static void full_now_and_then(void **state)
{
    uint64_t refused = 0;
    const char *text = getenv("SEEDS");
    uint64_t seeds = text == NULL ? SEEDS : strtoull(text, NULL, 10);
    int64_t begin_ns = clock_monotonic_ns();
    (void)state;
    for (uint64_t seed = 100; seed < 100 + seeds; seed++) {
        run_seed(seed, &refused);
    }
    printf("  %llu histories on tiny disks, full at %llu moments, %.1f s\n",
           (unsigned long long)seeds, (unsigned long long)refused,
           (double)(clock_monotonic_ns() - begin_ns) / 1e9);
    assert_true(refused > seeds);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_writes_are_refused),      cmocka_unit_test(deleting_makes_room),
        cmocka_unit_test(too_small_a_disk_starts_full), cmocka_unit_test(without_a_reserve),
        cmocka_unit_test(errors_on_a_full_disk),        cmocka_unit_test(full_now_and_then),
    };
    snprintf(directory, sizeof directory, "/tmp/forecastd-torture-XXXXXX");
    if (mkdtemp(directory) == NULL) {
        return 1;
    }
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    char lock[96];
    snprintf(lock, sizeof lock, "%s/forecastd.lock", directory);
    unlink(lock);
    rmdir(directory);
    return failed;
}
