/* Vintages on every driver: order, range, replacement, expiry, deletion, background commits.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "tests/contract/fixture.h"

#include "base/check.h"
#include "base/clock.h"
#include "base/lock.h"

#include <sqlite3.h>
#include <stdio.h>
#include <string.h>

#define FOR_EVER (INT64_C(1) << 60)

struct seen {
    int64_t issued_ms[64];
    char text[64][32];
    size_t count, stop_after;
};

static bool note(void *context, int64_t issued_ms, const unsigned char *bytes, size_t length)
{
    struct seen *seen = context;
    assert_in_range(length, 1, 31);
    assert_true(seen->count < 64);
    seen->issued_ms[seen->count] = issued_ms;
    memcpy(seen->text[seen->count], bytes, length);
    seen->text[seen->count][length] = '\0';
    seen->count++;
    return seen->count != seen->stop_after;
}

static struct seen read_range(struct fixture *f, uint32_t id, int64_t start_ms, int64_t end_ms)
{
    struct seen seen = {.count = 0};
    struct error error = {0};
    assert_int_equal(storage_vintages(f->reader, id, start_ms, end_ms, note, &seen, &error),
                     STATUS_OK);
    return seen;
}

static struct seen read_all(struct fixture *f, uint32_t id)
{
    return read_range(f, id, INT64_MIN, INT64_MAX);
}

static void add(struct write_batch *batch, uint32_t id, int64_t issued_ms, int64_t expires_ms,
                const char *text)
{
    struct error error = {0};
    assert_int_equal(write_batch_vintage(batch, id, issued_ms, expires_ms,
                                         (const unsigned char *)text, strlen(text), &error),
                     STATUS_OK);
}

static void keep(struct fixture *f, uint32_t id, int64_t issued_ms, int64_t expires_ms,
                 const char *text)
{
    struct write_batch *batch = batch_begin(f);
    add(batch, id, issued_ms, expires_ms, text);
    batch_commit(f, batch);
}

static void they_come_back_newest_first(void **state)
{
    struct fixture *f = *state;
    put(f, "a", 1000, 1);
    put(f, "b", 1000, 1);
    uint32_t a = find(f, "a"), b = find(f, "b");
    keep(f, a, 2000, FOR_EVER, "second");
    keep(f, a, 1000, FOR_EVER, "first");
    keep(f, a, 3000, FOR_EVER, "third");
    keep(f, b, 2500, FOR_EVER, "other");
    struct seen seen = read_all(f, a);
    assert_int_equal(seen.count, 3);
    assert_string_equal(seen.text[0], "third");
    assert_string_equal(seen.text[2], "first");
    assert_int_equal(seen.issued_ms[1], 2000);
    seen = read_range(f, a, 1000, 3000);
    assert_int_equal(seen.count, 2);
    assert_string_equal(seen.text[0], "second");
    struct seen one = {.stop_after = 1};
    struct error error = {0};
    assert_int_equal(storage_vintages(f->reader, a, 0, 3001, note, &one, &error), STATUS_OK);
    assert_int_equal(one.count, 1);
    assert_string_equal(one.text[0], "third");
    assert_int_equal(read_all(f, 99).count, 0);
}

static void the_same_instant_replaces(void **state)
{
    struct fixture *f = *state;
    put(f, "a", 1000, 1);
    keep(f, 1, 2000, FOR_EVER, "old");
    keep(f, 1, 2000, FOR_EVER, "new");
    struct seen seen = read_all(f, 1);
    assert_int_equal(seen.count, 1);
    assert_string_equal(seen.text[0], "new");
}

static void expired_ones_go(void **state)
{
    struct fixture *f = *state;
    int64_t now_ms = clock_wall_ms();
    put(f, "a", 1000, 1);
    for (int i = 0; i < 40; i++) {
        keep(f, 1, 1000 + i, i % 2 == 0 ? now_ms - 1000 : now_ms + 3600000, "x");
    }
    compact(f);
    struct seen seen = read_all(f, 1);
    assert_int_equal(seen.count, 20);
    assert_int_equal(seen.issued_ms[0], 1039);
}

static void they_go_with_their_series(void **state)
{
    struct fixture *f = *state;
    struct error error = {0};
    put(f, "a", 1000, 1);
    put(f, "b", 1000, 1);
    keep(f, 1, 2000, FOR_EVER, "a's");
    keep(f, 2, 2000, FOR_EVER, "b's");
    struct write_batch *batch = batch_begin(f);
    assert_int_equal(write_batch_delete(batch, 1, &error), STATUS_OK);
    batch_commit(f, batch);
    put(f, "a", 1000, 1); /* a new one of the name has none */
    assert_int_equal(read_all(f, 1).count, 0);
    assert_int_equal(read_all(f, find(f, "a")).count, 0);
    assert_int_equal(read_all(f, 2).count, 1);
    assert_int_equal(storage_check(f->storage, NULL, NULL, &error), STATUS_OK);
}

/* The series is deleted between building the batch and its commit: the others' are kept. */
static void a_deleted_series_does_not_spoil_the_batch(void **state)
{
    struct fixture *f = *state;
    struct error error = {0};
    put(f, "a", 1000, 1);
    put(f, "b", 1000, 1);
    struct write_batch *batch = batch_begin(f);
    add(batch, 1, 2000, FOR_EVER, "a's");
    add(batch, 2, 2000, FOR_EVER, "b's");
    struct write_batch *deletion = batch_begin(f);
    assert_int_equal(write_batch_delete(deletion, 1, &error), STATUS_OK);
    batch_commit(f, deletion);
    batch_commit(f, batch);
    assert_int_equal(read_all(f, 1).count, 0);
    assert_int_equal(read_all(f, 2).count, 1);
    assert_int_equal(storage_check(f->storage, NULL, NULL, &error), STATUS_OK);
}

static void they_survive_a_restart(void **state)
{
    struct fixture *f = *state;
    put(f, "a", 1000, 1);
    keep(f, 1, 2000, FOR_EVER, "kept");
    fixture_reopen(f); /* the memory driver is not opened again: there it only stays */
    struct seen seen = read_all(f, 1);
    assert_int_equal(seen.count, 1);
    assert_string_equal(seen.text[0], "kept");
}

static void too_long_is_refused(void **state)
{
    static unsigned char bytes[VINTAGE_LENGTH_MAX + 1];
    struct fixture *f = *state;
    struct error error = {0};
    put(f, "a", 1000, 1);
    struct write_batch *batch = batch_begin(f);
    assert_int_equal(write_batch_vintage(batch, 1, 1, 1, bytes, sizeof bytes, &error),
                     STATUS_TOO_LARGE);
    assert_int_equal(write_batch_vintage(batch, 1, 1, 1, bytes, 0, &error), STATUS_TOO_LARGE);
    write_batch_free(batch);
}

/* ---------------------------------------------------------------- the background */

struct order {
    struct lock lock;
    struct condition changed;
    bool held;
    char ended[64];
    size_t count;
};

static struct order order;

static void end_with(char mark)
{
    lock_acquire(&order.lock);
    order.ended[order.count++] = mark;
    condition_broadcast(&order.changed);
    lock_release(&order.lock);
}

static void request_done(void *context, const struct write_result *result)
{
    (void)context;
    assert_int_equal(result->error.status, STATUS_OK);
    end_with('r');
}

static void background_done(void *context, const struct write_result *result)
{
    (void)context;
    assert_int_equal(result->error.status, STATUS_OK);
    end_with('b');
}

/* Keeps the writer thread busy until everything is queued. */
static void hold_done(void *context, const struct write_result *result)
{
    (void)context, (void)result;
    lock_acquire(&order.lock);
    while (order.held) {
        condition_wait(&order.changed, &order.lock);
    }
    lock_release(&order.lock);
}

static void submit(struct fixture *f, bool background)
{
    struct error error = {0};
    struct write_batch *batch = batch_begin(f);
    if (background) {
        add(batch, 1, (int64_t)order.count, FOR_EVER, "x");
        assert_int_equal(
            writer_submit_background_take(f->writer, batch, background_done, NULL, &error),
            STATUS_OK);
    } else {
        batch_point(batch, "a", 5000, 1);
        assert_int_equal(writer_submit_take(f->writer, batch, request_done, NULL, &error),
                         STATUS_OK);
    }
}

static void a_request_never_waits_behind_background_work(void **state)
{
    struct fixture *f = *state;
    struct error error = {0};
    put(f, "a", 1000, 1);
    lock_init(&order.lock);
    condition_init(&order.changed);
    order.held = true;
    order.count = 0;
    struct write_batch *first = batch_begin(f);
    batch_point(first, "a", 2000, 1);
    assert_int_equal(writer_submit_take(f->writer, first, hold_done, NULL, &error), STATUS_OK);
    for (int i = 0; i < 3; i++) {
        submit(f, true);
    }
    submit(f, false);
    submit(f, false);
    lock_acquire(&order.lock);
    order.held = false;
    condition_broadcast(&order.changed);
    while (order.count < 5) {
        condition_wait(&order.changed, &order.lock);
    }
    lock_release(&order.lock);
    assert_memory_equal(order.ended, "rrbbb", 5);
    condition_release_memory(&order.changed);
    lock_release_memory(&order.lock);
}

static void too_much_background_work_is_refused(void **state)
{
    struct fixture *f = *state;
    struct error error = {0};
    put(f, "a", 1000, 1);
    lock_init(&order.lock);
    condition_init(&order.changed);
    order.held = true;
    order.count = 0;
    struct write_batch *first = batch_begin(f);
    batch_point(first, "a", 2000, 1);
    assert_int_equal(writer_submit_take(f->writer, first, hold_done, NULL, &error), STATUS_OK);
    enum status status = STATUS_OK;
    int taken = 0;
    while (status == STATUS_OK && taken < 2 * WRITER_BACKGROUND_MAX) {
        struct write_batch *batch = batch_begin(f);
        add(batch, 1, taken, FOR_EVER, "x");
        status = writer_submit_background_take(f->writer, batch, NULL, NULL, &error);
        taken += status == STATUS_OK;
    }
    assert_int_equal(status, STATUS_BUSY);
    assert_int_equal(taken, WRITER_BACKGROUND_MAX);
    lock_acquire(&order.lock);
    order.held = false;
    condition_broadcast(&order.changed);
    lock_release(&order.lock);
    put(f, "a", 3000, 1);
    writer_stop(f->writer); /* what was taken is written before the end */
    struct writer_options options = {0};
    assert_int_equal(writer_start(f->storage, &options, &f->writer, &error), STATUS_OK);
    struct seen seen = read_range(f, 1, 10, 20);
    assert_int_equal(seen.count, 10);
    condition_release_memory(&order.changed);
    lock_release_memory(&order.lock);
}

/* ---------------------------------------------------------------- damage */

static void count_line(void *context, const char *line)
{
    size_t *lines = context;
    if (strstr(line, "vintage") != NULL) {
        ++*lines;
    }
}

static void run_sql(struct fixture *f, const char *text)
{
    char path[160];
    sqlite3 *db = NULL;
    snprintf(path, sizeof path, "%s/forecastd.db", f->directory);
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, text, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
}

static void damage_is_found_and_left_out(void **state)
{
    struct fixture *f = *state;
    struct error error = {0};
    size_t lines = 0;
    if (!fixture_is_durable(f)) {
        return;
    }
    put(f, "a", 1000, 1);
    keep(f, 1, 2000, FOR_EVER, "sound");
    keep(f, 1, 3000, FOR_EVER, "damaged");
    assert_int_equal(storage_check(f->storage, count_line, &lines, &error), STATUS_OK);
    fixture_stop(f);
    run_sql(f, "UPDATE vintage SET data = x'78' WHERE issued_ms = 3000;"
               "INSERT INTO vintage VALUES(77, 1, 9, 9, x'00');");
    fixture_start(f);
    struct seen seen = read_all(f, 1);
    assert_int_equal(seen.count, 1);
    assert_string_equal(seen.text[0], "sound");
    assert_int_equal(storage_check(f->storage, count_line, &lines, &error), STATUS_CORRUPT);
    assert_int_equal(lines, 3); /* two checksums, one row without a series */
    fixture_stop(f);
    run_sql(f, "DELETE FROM vintage");
    fixture_start(f);
}

/* A store that was made before there were vintages: readable as it is, and taken over. */
static void a_store_of_version_one_is_read_and_migrated(void **state)
{
    struct fixture *f = *state;
    struct error error = {0};
    struct storage *storage = NULL;
    struct storage_reader *reader = NULL;
    char url[160];
    struct seen seen = {.count = 0};
    if (!fixture_is_durable(f)) {
        return;
    }
    put(f, "a", 1000, 1);
    fixture_stop(f);
    run_sql(f, "DROP TABLE vintage; DROP TABLE downsampled; DROP TABLE excluded; PRAGMA "
               "user_version = 1;");
    snprintf(url, sizeof url, "sqlite:%s", f->directory);
    struct storage_options options = {.url = url, .read_only = true};
    assert_int_equal(storage_open(&options, &storage, &error), STATUS_OK);
    assert_int_equal(storage_reader_open(storage, &reader, &error), STATUS_OK);
    assert_int_equal(storage_vintages(reader, 1, 0, 10000, note, &seen, &error), STATUS_OK);
    assert_int_equal(storage_check(storage, NULL, NULL, &error), STATUS_OK);
    storage_reader_close(reader);
    storage_close(storage);
    fixture_start(f);
    keep(f, 1, 2000, FOR_EVER, "new");
    assert_int_equal(read_all(f, 1).count, 1);
}

int main(void)
{
    static const struct contract_test tests[] = {
        {"they_come_back_newest_first", they_come_back_newest_first},
        {"the_same_instant_replaces", the_same_instant_replaces},
        {"expired_ones_go", expired_ones_go},
        {"they_go_with_their_series", they_go_with_their_series},
        {"a_deleted_series_does_not_spoil_the_batch", a_deleted_series_does_not_spoil_the_batch},
        {"they_survive_a_restart", they_survive_a_restart},
        {"too_long_is_refused", too_long_is_refused},
        {"a_request_never_waits_behind_background_work",
         a_request_never_waits_behind_background_work},
        {"too_much_background_work_is_refused", too_much_background_work_is_refused},
        {"damage_is_found_and_left_out", damage_is_found_and_left_out},
        {"a_store_of_version_one_is_read_and_migrated",
         a_store_of_version_one_is_read_and_migrated},
    };
    return contract_run("vintages", tests, ARRAY_COUNT(tests));
}
