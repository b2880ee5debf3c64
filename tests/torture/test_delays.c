/* Every I/O operation of every scenario takes its time, and nothing comes of it: what is asked for
 * is done, nothing is refused, the same is there as without. Meanwhile readers are answered, and
 * where it is a reader that waits, whoever writes. SPDX-License-Identifier: Apache-2.0
 *
 * For each scenario the nth operation waits, for n = 1, 2, ... until the scenario gets through
 * without. A second thread, with a reader of its own, reads all points while it waits, and lets it
 * go then: the delay is as long as that takes, and does not end by itself for a reader that waits
 * for the same disk (DISK_PATIENCE_S). STRIDE=1 looks at every n; the short form at every seventh,
 * or at every 35th where a scenario is long, with another offset for each scenario.
 */
#include "tests/torture/ground.h"
#include "tests/torture/scenarios.h"

#include "base/clock.h"
#include "base/memory.h"
#include "storage/writer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { STRIDE = 7, OPERATIONS_MAX = 20000, POINTS_MAX = 4096, IDS_MAX = 10 };

static char directory[GROUND_PATH];
static struct snapshot *model;

/* ---------------------------------------------------------------- who reads and writes meanwhile
 */

struct witness {
    struct history *history;
    struct storage_reader *reader; /* NULL: the store is not open all the time */
    uint32_t marker;
    size_t markers; /* before */
    bool writes;    /* the scenario only reads, so the writer is free */
    bool called;
    char why[300]; /* empty: it was answered, and rightly */
    pthread_t thread;
};

/* The points of one series; one that is gone has none. */
static size_t points_read(struct witness *witness, uint32_t id)
{
    static struct point points[POINTS_MAX];
    struct error error = {0};
    size_t count = 0;
    enum status status =
        storage_read(witness->reader, id, INT64_MIN, INT64_MAX, points, POINTS_MAX, &count, &error);
    if (status != STATUS_OK && status != STATUS_NOT_FOUND) {
        snprintf(witness->why, sizeof witness->why, "a reader was refused: %.250s", error.text);
    }
    return count;
}

static void record_put(struct witness *witness)
{
    static const char json[] = "{}";
    const struct history *history = witness->history;
    struct write_batch *batch = NULL;
    struct error error = {0};
    enum status status = write_batch_new(history->storage, 0, &batch, &error);
    if (status == STATUS_OK) {
        status = write_batch_record(batch, "witness", "1", json, sizeof json - 1, &error);
    }
    if (status == STATUS_OK) {
        status = writer_write_take(history->writer, batch, NULL, &error);
    } else {
        write_batch_free(batch);
    }
    if (status != STATUS_OK) {
        snprintf(witness->why, sizeof witness->why, "a write was refused: %.250s", error.text);
    }
}

static void *witness_main(void *context)
{
    struct witness *witness = context;
    struct disk *disk = witness->history->disk;
    witness->called = disk_await_delay(disk);
    for (uint32_t id = 1; witness->called && witness->reader != NULL && id <= IDS_MAX; id++) {
        size_t count = points_read(witness, id);
        if (id == witness->marker && count < witness->markers) {
            snprintf(witness->why, sizeof witness->why, "a reader got %zu markers of %zu", count,
                     witness->markers);
        }
    }
    if (witness->called && witness->writes) {
        record_put(witness);
    }
    disk_let_go(disk);
    return NULL;
}

/* From here on the nth operation waits for the witness. */
static void witness_start(struct witness *witness, struct history *history,
                          const struct scenario *scenario, uint64_t nth)
{
    struct error error = {0};
    *witness = (struct witness){.history = history, .writes = scenario->reads_only};
    if (history->storage != NULL && !scenario->closes) {
        assert_int_equal(storage_reader_open(history->storage, &witness->reader, &error),
                         STATUS_OK);
        witness->marker = storage_series_find(history->storage, "marker", 6);
        witness->markers = points_read(witness, witness->marker);
        assert_true(witness->markers > 0);
    }
    disk_fault_set(history->disk, nth, DISK_DELAY, false);
    assert_int_equal(pthread_create(&witness->thread, NULL, witness_main, witness), 0);
}

static void witness_stop(struct witness *witness)
{
    pthread_join(witness->thread, NULL);
    storage_reader_close(witness->reader);
}

/* ---------------------------------------------------------------- one run */

struct run {
    const struct scenario *scenario;
    uint64_t nth;      /* 0: none, and what is without is noted */
    uint32_t digest;   /* of what is there afterwards */
    unsigned refusals; /* the one model that there is has no previous one to go back to */
    uint64_t read;     /* delays during which somebody read */
};

static void must(const struct run *run, struct history *history, bool good, const char *what)
{
    if (!good) {
        fail_msg("%s, operation %llu (%s) delayed: %s: %s", run->scenario->name,
                 (unsigned long long)run->nth, history->disk->struck_path, what, history->why);
    }
}

static void must_be_acknowledged(struct run *run, struct history *history)
{
    if (run->nth == 0) {
        run->refusals = history->refusals;
    }
    for (size_t i = 0; i < history->attempt_count; i++) {
        const struct attempt *attempt = &history->attempts[i];
        must(run, history, attempt->answered && attempt->status == STATUS_OK,
             "a batch was refused");
    }
    must(run, history, history->refusals == run->refusals, history->refusal);
}

static void must_hold_the_same(struct run *run, struct history *history)
{
    uint32_t digest = 0;
    must(run, history, history_verify(history) && history_read(history, &digest), "then");
    if (run->nth == 0) {
        run->digest = digest;
    }
    must(run, history, digest == run->digest, "other points are there than without");
}

/* Returns whether an operation was delayed. */
static bool run_once(struct run *run)
{
    struct history history;
    struct witness witness;
    struct error error = {0};
    size_t bytes = mem_bytes_in_use();
    scenario_begin(&history, run->scenario, model, directory);
    history.refusals = 0; /* of the preparation */
    witness_start(&witness, &history, run->scenario, run->nth);
    run->scenario->run(&history);
    bool struck = history.disk->struck;
    disk_fault_set(history.disk, 0, DISK_NO_FAULT, false);
    witness_stop(&witness);
    run->read += witness.called && witness.reader != NULL;
    must(run, &history, !history.disk->delay_outlasted, "somebody had to wait for it");
    must(run, &history, witness.why[0] == '\0', witness.why);
    must_be_acknowledged(run, &history);
    if (history.storage == NULL) {
        must(run, &history, history_open(&history, &error), error.text);
    }
    must_hold_the_same(run, &history);
    if (run->scenario->judge != NULL) {
        must(run, &history, run->scenario->judge(&history), "judged by what is there");
    }
    history_ingest(&history);
    must_be_acknowledged(run, &history);
    history_release(&history);
    must(run, &history, mem_bytes_in_use() == bytes, "memory leaked");
    return struck;
}

static void a_slow_operation_holds_up_whoever_needs_it_and_nobody_else(void **state)
{
    const char *only = getenv("SCENARIO");
    uint64_t runs = 0, read = 0;
    int64_t begin_ns = clock_monotonic_ns();
    (void)state;
    for (size_t i = 0; i < scenario_count; i++) {
        struct run run = {.scenario = &scenarios[i]};
        uint64_t stride = scenario_stride(run.scenario, STRIDE), before = runs;
        if (only != NULL && strcmp(only, scenarios[i].name) != 0) {
            continue;
        }
        assert_false(run_once(&run));
        run.nth = 1 + i % stride;
        while (run_once(&run)) {
            runs++;
            run.nth += stride;
            assert_true(run.nth < OPERATIONS_MAX);
        }
        assert_true(runs > before || stride > 1);
        read += run.read;
    }
    printf("  %llu operations delayed, somebody read during %llu of them, %.1f s\n",
           (unsigned long long)runs, (unsigned long long)read,
           (double)(clock_monotonic_ns() - begin_ns) / 1e9);
    assert_true(read > 0 || only != NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_slow_operation_holds_up_whoever_needs_it_and_nobody_else),
    };
    model = ground_open(directory);
    if (model == NULL) {
        return 1;
    }
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    ground_close(directory, model);
    return failed;
}
