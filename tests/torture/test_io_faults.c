/* Every I/O operation of every scenario fails: once, and from then on; by an I/O error, for want of
 * room, and half done. No crash, no leak, nothing acknowledged that is not there, and the next
 * request works. SPDX-License-Identifier: Apache-2.0
 *
 * For each scenario the nth operation fails, for n = 1, 2, ... until the scenario gets through
 * untouched. STRIDE=1 looks at every n; the short form at every seventh, or at every 35th where a
 * scenario is long, with another offset for each scenario.
 */
#include "tests/torture/ground.h"
#include "tests/torture/scenarios.h"

#include "base/clock.h"
#include "base/memory.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { STRIDE = 7, OPERATIONS_MAX = 20000 };

static char directory[GROUND_PATH];
static struct snapshot *model;

/* ---------------------------------------------------------------- one run */

static const char *const fault_names[] = {"no fault",  "I/O error", "no space",
                                          "half done", "file ends", "cut"};

struct run {
    const struct scenario *scenario;
    uint64_t nth;
    enum disk_fault fault;
    bool persistent;
    bool killed; /* right after it, without another request */
};

static void must(const struct run *run, struct history *history, bool good, const char *what)
{
    if (!good) {
        fail_msg("%s, operation %llu (%s), %s%s: %s: %s", run->scenario->name,
                 (unsigned long long)run->nth, history->disk->struck_path, fault_names[run->fault],
                 run->persistent ? " from then on" : "", what, history->why);
    }
}

static void next_request_works(const struct run *run, struct history *history)
{
    size_t before = history->attempt_count;
    history_ingest(history);
    for (size_t i = before; i < history->attempt_count; i++) {
        must(run, history, history->attempts[i].status == STATUS_OK, "the next request failed");
    }
}

/* Returns whether the fault has struck. */
static bool run_once(const struct run *run)
{
    struct history history;
    struct error error = {0};
    size_t bytes = mem_bytes_in_use();
    scenario_begin(&history, run->scenario, model, directory);
    disk_fault_set(history.disk, run->nth, run->fault, run->persistent);
    run->scenario->run(&history);
    bool struck = history.disk->struck;
    disk_fault_set(history.disk, 0, DISK_NO_FAULT, false);
    if (run->killed) {
        scenario_kill(&history);
    }
    if (history.storage == NULL) {
        must(run, &history, history_open(&history, &error), error.text);
    }
    if (run->killed) {
        must(run, &history, history_verify(&history), "after a kill");
    }
    if (run->scenario->judge != NULL) {
        must(run, &history, run->scenario->judge(&history), "judged by what is there");
    }
    next_request_works(run, &history);
    must(run, &history, history_verify(&history), "then");
    history_close(&history);
    must(run, &history, history_open(&history, &error), error.text);
    must(run, &history, history_verify(&history), "after a restart");
    history_release(&history);
    must(run, &history, mem_bytes_in_use() == bytes, "memory leaked");
    return struck;
}

static uint64_t stride(const struct run *run)
{
    bool reads = run->fault == DISK_END && run->scenario->judge == NULL;
    return reads ? 1 : scenario_stride(run->scenario, STRIDE); /* few of the operations are reads */
}

static void run_all(enum disk_fault fault, bool persistent, bool killed)
{
    const char *only = getenv("SCENARIO");
    uint64_t runs = 0;
    size_t count = 0;
    int64_t begin_ns = clock_monotonic_ns();
    for (size_t i = 0; i < scenario_count; i++) {
        struct run run = {&scenarios[i], 0, fault, persistent, killed};
        run.nth = 1 + i % stride(&run);
        if ((only != NULL && strcmp(only, scenarios[i].name) != 0) ||
            (fault == DISK_END && !scenarios[i].reads_only)) {
            continue;
        }
        count++;
        uint64_t before = runs;
        while (run_once(&run)) {
            runs++;
            run.nth += stride(&run);
            assert_true(run.nth < OPERATIONS_MAX);
        }
        assert_true(runs > before || stride(&run) > 1); /* else it does without the disk */
    }
    printf("  %zu scenarios, %llu operations failed%s%s (%s), %.1f s\n", count,
           (unsigned long long)runs, persistent ? " with all later ones" : "",
           killed ? ", then killed" : "", fault_names[fault],
           (double)(clock_monotonic_ns() - begin_ns) / 1e9);
    assert_true(count > 0 && runs > count); /* else the faults miss what they are to strike */
}

static void input_output_error_once(void **state)
{
    (void)state;
    run_all(DISK_EIO, false, false);
}

static void input_output_error_from_then_on(void **state)
{
    (void)state;
    run_all(DISK_EIO, true, false);
}

static void no_space_once(void **state)
{
    (void)state;
    run_all(DISK_ENOSPC, false, false);
}

static void no_space_from_then_on(void **state)
{
    (void)state;
    run_all(DISK_ENOSPC, true, false);
}

static void half_done_once(void **state)
{
    (void)state;
    run_all(DISK_SHORT, false, false);
}

static void half_done_from_then_on(void **state)
{
    (void)state;
    run_all(DISK_SHORT, true, false);
}

/* SQLite takes the rest of the page for zeros: who then writes may damage the file for good, which
 * no checksum of ours can help. Who reads must notice. */
static void file_ends_once(void **state)
{
    (void)state;
    run_all(DISK_END, false, false);
}

static void file_ends_from_then_on(void **state)
{
    (void)state;
    run_all(DISK_END, true, false);
}

static void killed_after_an_error(void **state)
{
    (void)state;
    run_all(DISK_EIO, false, true);
    run_all(DISK_EIO, true, true);
}

/* What a file system that is gone does: its folder is there, and empty. */
static void put_away(struct history *history, bool away)
{
    static const char *const endings[] = {"", "-wal", "-shm"};
    for (size_t i = 0; i < sizeof endings / sizeof endings[0]; i++) {
        char there[DISK_PATH_MAX], gone[DISK_PATH_MAX];
        snprintf(there, sizeof there, "%s/forecastd.db%s", directory, endings[i]);
        snprintf(gone, sizeof gone, "%s/away%s", directory, endings[i]);
        (void)disk_rename(history->disk, away ? there : gone, away ? gone : there);
    }
}

static void database_is_gone(void **state)
{
    struct history history;
    struct error error = {0};
    (void)state;
    history_init(&history, 11, directory);
    assert_true(history_open(&history, &error));
    history_ingest(&history);
    disk_fault_set(history.disk, 1, DISK_EIO, false);
    history_ingest(&history);
    put_away(&history, true);
    size_t before = history.attempt_count;
    history_ingest(&history);
    assert_true(history.attempt_count > before);
    for (size_t i = before; i < history.attempt_count; i++) {
        assert_int_equal(history.attempts[i].status, STATUS_IO);
    }
    put_away(&history, false);
    struct run run = {&scenarios[0], 1, DISK_EIO, false, false};
    next_request_works(&run, &history);
    must(&run, &history, history_verify(&history), "the database came back");
    history_release(&history);
}

/* ---------------------------------------------------------------- late points of many chunks */

enum { LATE_SPAN = 12000, LATE_STRIDE = 700 }; /* a late point in every sixth chunk or so */

/* A few points are written late, the others before. */
static void write_span(struct history *history, bool late)
{
    struct write_batch *batch;
    struct error error = {0};
    uint32_t number;
    assert_int_equal(write_batch_new(history->storage, LATE_SPAN, &batch, &error), STATUS_OK);
    assert_int_equal(write_batch_series(batch, "late", 4, &number, &error), STATUS_OK);
    for (int i = 0; i < LATE_SPAN; i++) {
        struct point point = {i, 1.0 / (i + 3)}; /* of eight bytes each: some hundred chunks */
        if ((i % LATE_STRIDE == LATE_STRIDE / 2) == late) {
            assert_int_equal(write_batch_point(batch, number, point, &error), STATUS_OK);
        }
    }
    assert_int_equal(writer_write_take(history->writer, batch, NULL, &error), STATUS_OK);
}

/* They are merged into the chunks on disk while one operation fails; whether it did. */
static bool merge_once(uint64_t nth)
{
    struct history history;
    struct error error = {0};
    static struct point points[LATE_SPAN + 1];
    size_t count = 0;
    history_init(&history, 12, directory);
    history.options.tail_bytes_max = 0;
    assert_true(history_open(&history, &error));
    write_span(&history, false);
    assert_int_equal(writer_compact(history.writer, &error), STATUS_OK);
    history_close(&history);
    assert_true(history_open(&history, &error)); /* nothing of it in SQLite's memory */
    write_span(&history, true);
    disk_fault_set(history.disk, nth, DISK_EIO, false);
    (void)!writer_compact(history.writer, &error);
    bool struck = history.disk->struck;
    disk_fault_set(history.disk, 0, DISK_NO_FAULT, false);
    struct run run = {&scenarios[0], nth, DISK_EIO, false, false};
    must(&run, &history, writer_compact(history.writer, &error) == STATUS_OK, error.text);
    uint32_t id = storage_series_find(history.storage, "late", 4);
    must(&run, &history,
         storage_check(history.storage, history_finding, &history, &error) == STATUS_OK &&
             storage_read(history.reader, id, 0, LATE_SPAN, points, LATE_SPAN + 1, &count,
                          &error) == STATUS_OK,
         error.text);
    assert_int_equal(count, LATE_SPAN);
    history_release(&history);
    return struck;
}

static void late_points_are_merged_where_they_belong(void **state)
{
    uint64_t nth = 1;
    (void)state;
    while (merge_once(nth)) {
        nth++;
    }
    assert_true(nth > 20);
}

/* ---------------------------------------------------------------- a daemon that nobody writes to
 */

static struct storage_stats stats_of(struct history *history)
{
    struct storage_stats stats;
    storage_stats(history->storage, &stats);
    return stats;
}

/* Retention of a series by itself: nothing is removed before a minute has passed. */
static void keep_an_hour(struct history *history, const char *series)
{
    struct write_batch *batch;
    struct error error = {0};
    struct series_settings settings = {.has_retention = true, .retention_ms = 3600000};
    uint32_t id = storage_series_find(history->storage, series, strlen(series));
    assert_int_equal(write_batch_new(history->storage, 0, &batch, &error), STATUS_OK);
    assert_int_equal(write_batch_settings(batch, id, &settings, &error), STATUS_OK);
    assert_int_equal(writer_write_take(history->writer, batch, NULL, &error), STATUS_OK);
}

/* Of a writer whose queue stays empty: it looks around once a second. */
static void minutes_pass(struct history *history, int minutes)
{
    for (int second = 0; second < 61 * minutes; second++) {
        history_clock(history_now() + 1000, 1000);
        for (int i = 0; i < 20 && writer_step(history->writer); i++) {
        }
    }
}

/* One operation of the tidying fails, or all from it on for two minutes; whether one did. */
static bool tidy_once(uint64_t nth, bool persistent)
{
    struct history history;
    struct error error = {0};
    size_t bytes = mem_bytes_in_use();
    history_init(&history, 13, directory);
    assert_true(history_open(&history, &error));
    history_ingest(&history);
    write_span(&history, false);
    keep_an_hour(&history, "late"); /* of 1970 */
    uint64_t points = stats_of(&history).points;
    disk_fault_set(history.disk, nth, DISK_EIO, persistent);
    minutes_pass(&history, 2);
    bool struck = history.disk->struck;
    struct run run = {&scenarios[0], nth, DISK_EIO, persistent, false};
    must(&run, &history, !(struck && persistent) || !stats_of(&history).writable,
         "the store goes on without a disk");
    disk_fault_set(history.disk, 0, DISK_NO_FAULT, false);
    minutes_pass(&history, 2);
    must(&run, &history, stats_of(&history).writable, "the store was not opened anew");
    must(&run, &history, points - stats_of(&history).points > LATE_SPAN / 2,
         "retention stands still");
    must(&run, &history, history_verify(&history), "then");
    history_release(&history);
    must(&run, &history, mem_bytes_in_use() == bytes, "memory leaked");
    return struck;
}

static void tidying_goes_on_without_writes(void **state)
{
    (void)state;
    for (int persistent = 0; persistent < 2; persistent++) {
        struct run run = {&scenarios[0], 1, DISK_EIO, persistent, false};
        while (tidy_once(run.nth, persistent)) {
            run.nth += stride(&run);
        }
        assert_true(run.nth > 20);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(input_output_error_once),
        cmocka_unit_test(input_output_error_from_then_on),
        cmocka_unit_test(no_space_once),
        cmocka_unit_test(no_space_from_then_on),
        cmocka_unit_test(half_done_once),
        cmocka_unit_test(half_done_from_then_on),
        cmocka_unit_test(file_ends_once),
        cmocka_unit_test(file_ends_from_then_on),
        cmocka_unit_test(killed_after_an_error),
        cmocka_unit_test(database_is_gone),
        cmocka_unit_test(late_points_are_merged_where_they_belong),
        cmocka_unit_test(tidying_goes_on_without_writes),
    };
    model = ground_open(directory);
    if (model == NULL) {
        return 1;
    }
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    ground_close(directory, model);
    return failed;
}
