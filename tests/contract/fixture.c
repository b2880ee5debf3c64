/* Opening, filling and comparing stores for the contract suite.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "tests/contract/fixture.h"

#include "base/memory.h"

#include <dirent.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { READ_MAX = 200000 };

void folder_remove(const char *directory)
{
    char path[512];
    DIR *folder = opendir(directory);
    if (folder == NULL) {
        return;
    }
    for (struct dirent *item = readdir(folder); item != NULL; item = readdir(folder)) {
        snprintf(path, sizeof path, "%s/%.200s", directory, item->d_name);
        unlink(path);
    }
    closedir(folder);
    rmdir(directory);
}

static void file_copy(const char *from, const char *to)
{
    char buffer[65536];
    ssize_t length;
    int in = open(from, O_RDONLY | O_CLOEXEC);
    int out = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(in >= 0 && out >= 0);
    while ((length = read(in, buffer, sizeof buffer)) > 0) {
        assert_int_equal(write(out, buffer, (size_t)length), length);
    }
    close(in);
    close(out);
}

void folder_copy(const char *from, const char *to)
{
    /* In a child: opening and closing a database file would drop this process's own locks on it. */
    char command[600];
    (void)file_copy;
    snprintf(command, sizeof command,
             "mkdir -p '%s' && cp '%s'/forecastd.db '%s'/ && "
             "if [ -f '%s'/forecastd.db-wal ]; then cp '%s'/forecastd.db-wal '%s'/; fi",
             to, from, to, from, from, to);
    assert_int_equal(system(command), 0);
}

bool fixture_is_durable(const struct fixture *fixture)
{
    return strcmp(fixture->scheme, "memory") != 0;
}

void fixture_start(struct fixture *fixture)
{
    struct error error = {0};
    char url[192];
    snprintf(url, sizeof url, "%s:%s", fixture->scheme, fixture->directory);
    fixture->options.url = url;
    enum status status = storage_open(&fixture->options, &fixture->storage, &error);
    if (status != STATUS_OK) {
        fail_msg("open: %s", error.text);
    }
    struct writer_options options = {0};
    assert_int_equal(writer_start(fixture->storage, &options, &fixture->writer, &error), STATUS_OK);
    assert_int_equal(storage_reader_open(fixture->storage, &fixture->reader, &error), STATUS_OK);
}

void fixture_stop(struct fixture *fixture)
{
    writer_stop(fixture->writer);
    storage_reader_close(fixture->reader);
    storage_close(fixture->storage);
    fixture->writer = NULL;
    fixture->reader = NULL;
    fixture->storage = NULL;
}

void fixture_reopen(struct fixture *fixture)
{
    if (fixture_is_durable(fixture)) {
        fixture_stop(fixture);
        fixture_start(fixture);
    }
}

int fixture_open(void **state)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);
    assert_non_null(fixture);
    fixture->scheme = *state;
    snprintf(fixture->directory, sizeof fixture->directory, "%s/forecastd-contract-XXXXXX",
             getenv("TMPDIR") != NULL ? getenv("TMPDIR") : "/tmp");
    assert_non_null(mkdtemp(fixture->directory));
    fixture_start(fixture);
    *state = fixture;
    return 0;
}

int fixture_close(void **state)
{
    struct fixture *fixture = *state;
    if (fixture->storage != NULL) {
        fixture_stop(fixture);
    }
    folder_remove(fixture->directory);
    free(fixture);
    return 0;
}

struct write_batch *batch_begin(struct fixture *fixture)
{
    struct write_batch *batch;
    struct error error = {0};
    assert_int_equal(write_batch_new(fixture->storage, 1000000, &batch, &error), STATUS_OK);
    return batch;
}

void batch_point(struct write_batch *batch, const char *series, int64_t time_ms, double value)
{
    uint32_t number;
    struct error error = {0};
    assert_int_equal(write_batch_series(batch, series, strlen(series), &number, &error), STATUS_OK);
    assert_int_equal(write_batch_point(batch, number, (struct point){time_ms, value}, &error),
                     STATUS_OK);
}

struct write_result batch_commit(struct fixture *fixture, struct write_batch *batch)
{
    struct write_result result;
    struct error error = {0};
    enum status status = writer_write_take(fixture->writer, batch, &result, &error);
    if (status != STATUS_OK) {
        fail_msg("commit: %s", error.text);
    }
    return result;
}

struct write_result put(struct fixture *fixture, const char *series, int64_t time_ms, double value)
{
    struct write_batch *batch = batch_begin(fixture);
    batch_point(batch, series, time_ms, value);
    return batch_commit(fixture, batch);
}

uint32_t find(struct fixture *fixture, const char *series)
{
    return storage_series_find(fixture->storage, series, strlen(series));
}

struct series_info info(struct fixture *fixture, const char *series)
{
    struct series_info result;
    struct error error = {0};
    assert_int_equal(storage_series_info(fixture->storage, find(fixture, series), &result, &error),
                     STATUS_OK);
    return result;
}

void compact(struct fixture *fixture)
{
    struct error error = {0};
    if (writer_compact(fixture->writer, &error) != STATUS_OK) {
        fail_msg("compact: %s", error.text);
    }
}

bool same_value(double a, double b)
{
    return isnan(a) ? (bool)isnan(b) : memcmp(&a, &b, sizeof a) == 0;
}

static void assert_same(const struct point *got, size_t got_count, const struct point *points,
                        size_t count)
{
    assert_int_equal(got_count, count);
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(got[i].time_ms, points[i].time_ms);
        if (!same_value(got[i].value, points[i].value)) {
            fail_msg("point %zu at %lld: got %.17g, expected %.17g", i,
                     (long long)points[i].time_ms, got[i].value, points[i].value);
        }
    }
}

void assert_points(struct fixture *fixture, const char *series, const struct point *points,
                   size_t count)
{
    static struct point got[READ_MAX];
    struct error error = {0};
    size_t got_count;
    bool complete;
    uint32_t id = find(fixture, series);
    assert_int_not_equal(id, 0);
    assert_int_equal(
        storage_read(fixture->reader, id, INT64_MIN, INT64_MAX, got, READ_MAX, &got_count, &error),
        STATUS_OK);
    assert_same(got, got_count, points, count);
    assert_int_equal(storage_read_last(fixture->reader, id, got, READ_MAX, &got_count, &error),
                     STATUS_OK);
    assert_same(got, got_count, points, count);
    size_t half = count / 2;
    assert_int_equal(storage_read_last(fixture->reader, id, got, half, &got_count, &error),
                     STATUS_OK);
    assert_same(got, got_count, points + count - half, half);
    assert_int_equal(
        storage_read(fixture->reader, id, INT64_MIN, INT64_MAX, got, half, &got_count, &error),
        STATUS_OK);
    assert_same(got, got_count, points, half);
    if (count >= 4) { /* a span that begins and ends inside */
        assert_int_equal(storage_read(fixture->reader, id, points[1].time_ms,
                                      points[count - 1].time_ms, got, READ_MAX, &got_count, &error),
                         STATUS_OK);
        assert_same(got, got_count, points + 1, count - 2);
        assert_int_equal(storage_read(fixture->reader, id, points[half].time_ms - 1,
                                      points[half].time_ms + 1, got, READ_MAX, &got_count, &error),
                         STATUS_OK);
        assert_true(got_count >= 1);
    }
    got_count = storage_tail(fixture->storage, id, got, READ_MAX, &complete);
    assert_true(got_count <= count);
    assert_true(complete ? got_count == count : true);
    assert_same(got, got_count, points + count - got_count, got_count);
    struct series_info about;
    assert_int_equal(storage_series_info(fixture->storage, id, &about, &error), STATUS_OK);
    assert_int_equal(about.points, count);
    assert_int_equal(about.first_ms, count > 0 ? points[0].time_ms : 0);
    assert_int_equal(about.last_ms, count > 0 ? points[count - 1].time_ms : 0);
    if (count > 0) {
        assert_true(same_value(about.last_value, points[count - 1].value));
    }
}

int contract_run(const char *suite, const struct contract_test *tests, size_t count)
{
    static const char *const schemes[] = {"memory", "sqlite"};
    int failed = 0;
    for (size_t s = 0; s < 2; s++) {
        struct CMUnitTest *table = calloc(count, sizeof *table);
        char name[64];
        char scheme[16];
        snprintf(name, sizeof name, "%s_%s", suite, schemes[s]);
        snprintf(scheme, sizeof scheme, "%s", schemes[s]);
        for (size_t i = 0; i < count; i++) {
            table[i] = (struct CMUnitTest){.name = tests[i].name,
                                           .test_func = tests[i].run,
                                           .setup_func = fixture_open,
                                           .teardown_func = fixture_close,
                                           .initial_state = scheme};
        }
        failed += _cmocka_run_group_tests(name, table, count, NULL, NULL);
        free(table);
    }
    return failed;
}
