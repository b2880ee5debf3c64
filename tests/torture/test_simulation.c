/* The whole of queue, group commit, compaction, checkpoints, retention and publication in one
 * thread, with clock, disk and randomness from one seed. SPDX-License-Identifier: Apache-2.0
 *
 * Faults come at random: single I/O errors, full disks, power cuts, clocks that jump. A seed is one
 * history: run twice it does the same, to the last disk operation. SEEDS=N for more than 60,
 * FIRST=N to begin elsewhere. Seeds that once failed are in `kept`.
 */
#include "tests/torture/ground.h"
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

enum { SEEDS = 60, ACTS = 60 };

/* Failed once: age was to remove points while the store was closed after an I/O error. */
static const uint64_t kept[] = {269};

#define HOUR_MS INT64_C(3600000)
#define DAY_MS  (24 * HOUR_MS)

static char directory[GROUND_PATH];
static struct snapshot *model;

static void something_fails(struct history *history)
{
    struct random *random = &history->random;
    uint64_t dice = random_below(random, 40);
    uint64_t nth = 1 + random_below(random, 60);
    if (dice < 4) {
        static const enum disk_fault faults[] = {DISK_EIO, DISK_ENOSPC, DISK_SHORT, DISK_CUT};
        disk_fault_set(history->disk, nth, faults[dice], dice == 3);
    } else if (dice < 7) {
        history->disk->quota = disk_used(history->disk) + (int64_t)random_below(random, 200000);
    } else if (dice < 14) {
        history->disk->quota = 0;
    }
}

/* Back by an hour or a day, to 1970, ahead by a second or to 2106; the next ingest sets it right.
 */
static void clock_jumps(struct history *history)
{
    static const int64_t to_ms[] = {0, INT64_C(4294967296000)};
    static const int64_t by_ms[] = {-HOUR_MS, -DAY_MS, 1000, 60 * DAY_MS};
    uint64_t dice = random_below(&history->random, 60);
    if (dice < 2) {
        history_clock(to_ms[dice], 10);
    } else if (dice < 6) {
        history_clock(history_now() + by_ms[dice - 2], 10);
    } else if (dice < 20) { /* time goes on: what is due comes up */
        history_clock(history_now(), 61000);
    }
}

static uint64_t left; /* series, in all histories */

static uint32_t run_seed(uint64_t seed, uint64_t *lives)
{
    struct history history;
    struct error error = {0};
    history_init(&history, seed, directory);
    history.model = seed % 3 == 0 ? model : NULL;
    history.options.reserve_bytes = seed % 2 == 0 ? 100000 : 0;
    if (seed % 5 == 0) {
        history_leaving(&history);
    }
    bool open = history_open(&history, &error);
    for (int act = 0; act < ACTS; act++) {
        something_fails(&history);
        clock_jumps(&history);
        if (open) {
            history_act(&history);
        }
        if (!open || history.disk->dead) {
            history_close(&history);
            if (history.disk->dead) {
                disk_crash(history.disk, &history.random);
            }
            history.disk->quota = 0;
            open = history_open(&history, &error);
            ++*lives;
        }
    }
    disk_fault_set(history.disk, 0, DISK_NO_FAULT, false);
    history.disk->quota = 0;
    history_clock(history_now(), 700000);
    if (!open && !history_open(&history, &error)) {
        fail_msg("seed %llu: %s", (unsigned long long)seed, error.text);
    }
    history_ingest(&history);
    history_ingest(&history);
    if (!history_verify(&history)) {
        fail_msg("seed %llu: %s", (unsigned long long)seed, history.why);
    }
    uint32_t digest = history_digest(&history);
    history_close(&history);
    left += history.left;
    history_release(&history);
    return digest;
}

static void one_seed_one_history(void **state)
{
    const char *text = getenv("SEEDS"), *from = getenv("FIRST");
    uint64_t seeds = text == NULL ? SEEDS : strtoull(text, NULL, 10), lives = 0, ignored = 0;
    uint64_t first = from == NULL ? 1 : strtoull(from, NULL, 10);
    int64_t begin_ns = clock_monotonic_ns();
    (void)state;
    for (uint64_t seed = first; seed < first + seeds; seed++) {
        uint32_t digest = run_seed(seed, &lives);
        if (seed % 8 == 0 && run_seed(seed, &ignored) != digest) {
            fail_msg("seed %llu: two histories", (unsigned long long)seed);
        }
    }
    printf("  %llu histories with faults, %llu restarts, %llu series that left, every eighth run "
           "twice, %.1f s\n",
           (unsigned long long)seeds, (unsigned long long)lives, (unsigned long long)left,
           (double)(clock_monotonic_ns() - begin_ns) / 1e9);
    assert_true(lives > seeds / 8); /* else nothing happens to these histories */
    assert_true(seeds < SEEDS || left > 0);
}

static void seeds_that_failed_once(void **state)
{
    uint64_t lives = 0;
    (void)state;
    for (size_t i = 0; i < sizeof kept / sizeof *kept; i++) {
        (void)run_seed(kept[i], &lives);
    }
}

/* ---------------------------------------------------------------- the clock and retention */

static uint64_t points_of(struct history *history)
{
    struct storage_stats stats;
    storage_stats(history->storage, &stats);
    return stats.points;
}

static void a_minute_passes(struct history *history, int64_t wall_ms)
{
    history_clock(wall_ms, 61000);
    for (int i = 0; i < 20 && writer_step(history->writer); i++) {
    }
}

/* Set ahead by a year and back again within ten minutes: nothing is removed, be it by a compaction
 * or by one after a restart. Where it stays, the operator meant it. */
static void a_clock_set_ahead_removes_nothing_at_once(void **state)
{
    struct history history;
    struct error error = {0};
    (void)state;
    history_init(&history, 9, directory);
    history.options.retention_ms = 30 * DAY_MS;
    assert_true(history_open(&history, &error));
    for (int i = 0; i < 5; i++) {
        history_ingest(&history);
    }
    int64_t right_ms = history_now();
    for (int minute = 0; minute < 12; minute++) { /* markers are of 1970: they go */
        right_ms += 61000;
        a_minute_passes(&history, right_ms);
    }
    uint64_t points = points_of(&history);
    for (int minute = 0; minute < 8; minute++) {
        a_minute_passes(&history, right_ms + 365 * DAY_MS + minute * 61000);
        assert_int_equal(points_of(&history), points);
    }
    assert_int_equal(writer_compact(history.writer, &error), STATUS_OK);
    assert_int_equal(points_of(&history), points);
    history_close(&history);
    assert_true(history_open(&history, &error));
    assert_int_equal(writer_compact(history.writer, &error), STATUS_OK);
    assert_int_equal(points_of(&history), points);
    a_minute_passes(&history, right_ms); /* back: nothing special, and nothing lost */
    a_minute_passes(&history, 0);
    a_minute_passes(&history, right_ms);
    assert_int_equal(points_of(&history), points);
    for (int minute = 0; minute < 14; minute++) {
        a_minute_passes(&history, right_ms + 365 * DAY_MS + minute * 61000);
    }
    assert_true(points_of(&history) < points);
    history_release(&history);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(seeds_that_failed_once),
        cmocka_unit_test(one_seed_one_history),
        cmocka_unit_test(a_clock_set_ahead_removes_nothing_at_once),
    };
    model = ground_open(directory);
    if (model == NULL) {
        return 1;
    }
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    ground_close(directory, model);
    return failed;
}
