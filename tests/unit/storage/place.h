/* A store in a folder of its own, with its writer, and a look at its tables beside it.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef TESTS_UNIT_STORAGE_PLACE_H
#define TESTS_UNIT_STORAGE_PLACE_H

#include "storage/sqlite_store.h"

struct place {
    char directory[128], url[160];
    size_t tail_bytes_max;
    const char *rules; /* of downsampling; NULL: none */
    struct storage *storage;
    struct writer *writer;
};

void place_start(struct place *place);
void place_stop(struct place *place);
int place_setup(void **state);
int place_teardown(void **state);
enum status place_write(struct place *place, int64_t first, size_t count, struct error *error);
void place_sql(struct place *place, const char *text);
struct sqlite3 *place_sql_reader(struct place *place);
int64_t place_sql_number(struct place *place, const char *text);
enum status place_open_status(struct place *place, bool read_only, struct error *error);

#endif
