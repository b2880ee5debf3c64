/* Every I/O operation of every scenario fails: once, and from then on; by an I/O error, for want of
 * room, and half done. No crash, no leak, nothing acknowledged that is not there, and the next request
 * works.
 * SPDX-License-Identifier: Apache-2.0
 *
 * For each scenario the nth operation fails, for n = 1, 2, ... until the scenario gets through
 * untouched. STRIDE=1 looks at every n; the short form at every seventh, with another offset for
 * each scenario.
 */
#include "tests/torture/history.h"
#include "tests/torture/small_model.h"

#include "base/clock.h"
#include "base/memory.h"
#include "storage/sqlite_store.h"
#include "storage/writer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { STRIDE = 7, OPERATIONS_MAX = 20000 };

static char directory[64];
static struct snapshot *model;
static uint32_t digest_before; /* of what readers saw before the fault */

/* ---------------------------------------------------------------- scenarios */

static void nothing(struct history *history)
{
    (void)history;
}

static void open_it(struct history *history)
{
    struct error error = {0};
    (void)history_open(history, &error);
}

static void shut(struct history *history)
{
    history_close(history);
}

/* As after a kill: the log is full of what was committed. */
static void shut_roughly(struct history *history)
{
    disk_fault_set(history->disk, 1, DISK_CUT, true);
    history_close(history);
    disk_crash(history->disk, &history->random);
}

static void ingest_much(struct history *history)
{
    for (int i = 0; i < 4; i++) {
        history_ingest(history);
    }
}

static void some_record(struct history *history, const char *json)
{
    struct write_batch *batch = NULL;
    struct error error = {0};
    if (write_batch_new(history->storage, 0, &batch, &error) != STATUS_OK) {
        return;
    }
    if (write_batch_record(batch, "job", "1", json, json == NULL ? 0 : strlen(json), &error) !=
        STATUS_OK) {
        write_batch_free(batch);
        return;
    }
    (void)!writer_write_take(history->writer, batch, NULL, &error);
}

static void record_put(struct history *history)
{
    some_record(history, "{\"state\":\"done\"}");
}

static void record_delete(struct history *history)
{
    some_record(history, NULL);
}

static void vintages_put(struct history *history)
{
    for (int i = 0; i < 4; i++) {
        history_vintage(history);
    }
}

static void vintages_expire(struct history *history)
{
    struct error error = {0};
    bool more;
    (void)!store_retain(history->storage, clock_wall_ms() + 86400000, &more, &error);
}

static void trash(struct history *history)
{
    struct error error = {0};
    bool more = true;
    ((struct sqlite_state *)history->storage->state)->trashing = true;
    while (more && store_compact(history->storage, DRIVER_SLICE, &more, &error) == STATUS_OK) {
    }
}

/* What is read is right, or an error. */
static void read_everything(struct history *history)
{
    uint32_t digest;
    if (history_read(history, &digest)) {
        assert_int_equal(digest, digest_before);
    }
}

static void read_newest(struct history *history)
{
    static struct point points[HISTORY_SLOTS];
    struct error error = {0};
    for (uint32_t id = 1; id < 8; id++) {
        struct series_info info;
        size_t count;
        if (storage_series_info(history->storage, id, &info, &error) == STATUS_OK &&
            storage_read_last(history->reader, id, points, HISTORY_SLOTS, &count, &error) ==
                STATUS_OK) {
            assert_int_equal(count, info.points);
        }
    }
}

static bool count_record(void *context, const char *key, const char *json, size_t length)
{
    (void)key, (void)json, (void)length;
    ++*(size_t *)context;
    return true;
}

static void read_records(struct history *history)
{
    struct error error = {0};
    size_t count = 0;
    if (storage_records(history->reader, "job", count_record, &count, &error) == STATUS_OK) {
        assert_int_equal(count, 1);
    }
}

static bool count_vintage(void *context, int64_t issued_ms, const unsigned char *bytes,
                          size_t length)
{
    (void)issued_ms, (void)bytes, (void)length;
    ++*(size_t *)context;
    return true;
}

static void read_vintages(struct history *history)
{
    struct error error = {0};
    size_t count = 0;
    for (uint32_t id = 1; id < 8; id++) {
        (void)!storage_vintages(history->reader, id, INT64_MIN, INT64_MAX, count_vintage, &count,
                                &error);
    }
}

static void reader_anew(struct history *history)
{
    struct storage_reader *reader = NULL;
    struct error error = {0};
    if (storage_reader_open(history->storage, &reader, &error) == STATUS_OK) {
        storage_reader_close(reader);
    }
}

static void check_all(struct history *history)
{
    struct error error = {0};
    (void)!storage_check(history->storage, NULL, NULL, &error);
}

static void roll_back(struct history *history)
{
    struct error error = {0};
    (void)!catalogue_rollback(history->catalogue, 3600000, &error);
}

static void promote(struct history *history)
{
    struct error error = {0};
    (void)!catalogue_promote(history->catalogue, "1h-1", &error);
}

static void prepare_models(struct history *history)
{
    for (int i = 0; i < 3; i++) {
        history_publish(history);
    }
}

static void prepare_records(struct history *history)
{
    record_put(history);
    vintages_put(history);
}

static void prepare_trash(struct history *history)
{
    history_compact(history);
    history_delete(history);
}

static const struct scenario {
    const char *name;
    void (*prepare)(struct history *history);
    void (*run)(struct history *history);
} scenarios[] = {
    {"open", shut, open_it},
    {"open after a cut", shut_roughly, open_it},
    {"close", nothing, shut},
    {"close after compaction", history_compact, shut},
    {"ingest", nothing, history_ingest},
    {"ingest with flushes", nothing, ingest_much},
    {"ingest after compaction", history_compact, ingest_much},
    {"delete", nothing, history_delete},
    {"delete what is in chunks", history_compact, history_delete},
    {"settings and retention", nothing, history_retention},
    {"retention of chunks", history_compact, history_retention},
    {"record", nothing, record_put},
    {"record deleted", prepare_records, record_delete},
    {"vintages", nothing, vintages_put},
    {"vintages expire", prepare_records, vintages_expire},
    {"compaction", nothing, history_compact},
    {"compaction of late points", history_compact, history_compact},
    {"trash", prepare_trash, trash},
    {"checkpoint", ingest_much, history_checkpoint},
    {"read", history_compact, read_everything},
    {"read newest", history_compact, read_newest},
    {"read records", prepare_records, read_records},
    {"read vintages", prepare_records, read_vintages},
    {"reader", nothing, reader_anew},
    {"check", history_compact, check_all},
    {"publish", prepare_models, history_publish},
    {"roll back", prepare_models, roll_back},
    {"promote", prepare_models, promote},
};

/* ---------------------------------------------------------------- one run */

static const char *const fault_names[] = {"no fault", "I/O error", "no space", "half done", "cut"};

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
    history_init(&history, 5, directory);
    history.model = model;
    assert_true(history_open(&history, &error));
    for (int i = 0; i < 6; i++) {
        history_ingest(&history);
    }
    run->scenario->prepare(&history);
    if (history.storage != NULL) {
        (void)history_read(&history, &digest_before);
    }
    disk_fault_set(history.disk, run->nth, run->fault, run->persistent);
    run->scenario->run(&history);
    bool struck = history.disk->struck;
    disk_fault_set(history.disk, 0, DISK_NO_FAULT, false);
    if (run->killed) {
        shut_roughly(&history);
    }
    if (history.storage == NULL) {
        must(run, &history, history_open(&history, &error), error.text);
    }
    if (run->killed) {
        must(run, &history, history_verify(&history), "after a kill");
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

static uint64_t stride(void)
{
    const char *text = getenv("STRIDE");
    return text == NULL ? STRIDE : strtoull(text, NULL, 10);
}

static void run_all(enum disk_fault fault, bool persistent, bool killed)
{
    const char *only = getenv("SCENARIO");
    uint64_t runs = 0;
    size_t count = sizeof scenarios / sizeof *scenarios;
    int64_t begin_ns = clock_monotonic_ns();
    for (size_t i = 0; i < count; i++) {
        struct run run = {&scenarios[i], 1 + i % stride(), fault, persistent, killed};
        if (only != NULL && strcmp(only, scenarios[i].name) != 0) {
            continue;
        }
        while (run_once(&run)) {
            runs++;
            run.nth += stride();
            assert_true(run.nth < OPERATIONS_MAX);
        }
    }
    printf("  %zu scenarios, %llu operations failed%s%s (%s), %.1f s\n", count,
           (unsigned long long)runs, persistent ? " with all later ones" : "",
           killed ? ", then killed" : "", fault_names[fault],
           (double)(clock_monotonic_ns() - begin_ns) / 1e9);
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

static void killed_after_an_error(void **state)
{
    (void)state;
    run_all(DISK_EIO, false, true);
    run_all(DISK_EIO, true, true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(input_output_error_once), cmocka_unit_test(input_output_error_from_then_on),
        cmocka_unit_test(no_space_once),           cmocka_unit_test(no_space_from_then_on),
        cmocka_unit_test(half_done_once),          cmocka_unit_test(half_done_from_then_on),
        cmocka_unit_test(killed_after_an_error),
    };
    snprintf(directory, sizeof directory, "/tmp/forecastd-torture-XXXXXX");
    if (mkdtemp(directory) == NULL) {
        return 1;
    }
    model = small_model(1);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    snapshot_release(model);
    char lock[96];
    snprintf(lock, sizeof lock, "%s/forecastd.lock", directory);
    unlink(lock);
    rmdir(directory);
    return failed;
}
