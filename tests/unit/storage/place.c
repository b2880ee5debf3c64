/* A store in a folder of its own, with its writer, and a look at its tables beside it.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "tests/unit/storage/place.h"

#include <setjmp.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

void place_start(struct place *place)
{
    struct error error = {0};
    struct storage_options options = {.url = place->url, .tail_bytes_max = place->tail_bytes_max};
    struct writer_options writer = {0};
    assert_int_equal(
        downsample_parse(place->rules == NULL ? "" : place->rules, &options.downsample, &error),
        STATUS_OK);
    if (storage_open(&options, &place->storage, &error) != STATUS_OK) {
        fail_msg("%s", error.text);
    }
    assert_int_equal(writer_start(place->storage, &writer, &place->writer, &error), STATUS_OK);
}

void place_stop(struct place *place)
{
    writer_stop(place->writer);
    storage_close(place->storage);
    place->storage = NULL;
    place->writer = NULL;
}

int place_setup(void **state)
{
    struct place *place = calloc(1, sizeof *place);
    assert_non_null(place);
    snprintf(place->directory, sizeof place->directory, "/tmp/forecastd-unit-XXXXXX");
    assert_non_null(mkdtemp(place->directory));
    snprintf(place->url, sizeof place->url, "sqlite:%s", place->directory);
    place_start(place);
    *state = place;
    return 0;
}

int place_teardown(void **state)
{
    struct place *place = *state;
    char command[200];
    if (place->storage != NULL) {
        place_stop(place);
    }
    snprintf(command, sizeof command, "rm -rf '%s'", place->directory);
    assert_int_equal(system(command), 0);
    free(place);
    return 0;
}

enum status place_write(struct place *place, int64_t first, size_t count, struct error *error)
{
    struct write_batch *batch;
    uint32_t series;
    assert_int_equal(write_batch_new(place->storage, count, &batch, error), STATUS_OK);
    assert_int_equal(write_batch_series(batch, "a", 1, &series, error), STATUS_OK);
    for (size_t i = 0; i < count; i++) {
        struct point point = {first + (int64_t)i, (double)(i % 100) / 10};
        assert_int_equal(write_batch_point(batch, series, point, error), STATUS_OK);
    }
    return writer_write_take(place->writer, batch, NULL, error);
}

void place_sql(struct place *place, const char *text)
{
    char path[192];
    struct sqlite3 *db;
    snprintf(path, sizeof path, "%s/forecastd.db", place->directory);
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    int code = sqlite3_exec(db, text, NULL, NULL, NULL);
    if (code != SQLITE_OK) {
        fail_msg("%s: %s", text, sqlite3_errmsg(db));
    }
    sqlite3_close(db);
}

struct sqlite3 *place_sql_reader(struct place *place)
{
    char path[192];
    struct sqlite3 *db;
    snprintf(path, sizeof path, "%s/forecastd.db", place->directory);
    assert_int_equal(sqlite3_open_v2(path, &db, SQLITE_OPEN_READONLY, NULL), SQLITE_OK);
    return db;
}

int64_t place_sql_number(struct place *place, const char *text)
{
    struct sqlite3 *db = place_sql_reader(place);
    struct sqlite3_stmt *statement = NULL;
    assert_int_equal(sqlite3_prepare_v2(db, text, -1, &statement, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(statement), SQLITE_ROW);
    int64_t number = sqlite3_column_int64(statement, 0);
    sqlite3_finalize(statement);
    sqlite3_close(db);
    return number;
}

enum status place_open_status(struct place *place, bool read_only, struct error *error)
{
    struct storage *storage;
    struct storage_options options = {.url = place->url, .read_only = read_only};
    enum status status = storage_open(&options, &storage, error);
    if (status == STATUS_OK) {
        storage_close(storage);
    }
    return status;
}
