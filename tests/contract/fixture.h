/* One store under test, of either driver, with a writer, a reader and a folder of its own.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Every test gets the driver's URL scheme as its initial state and opens what it needs; helpers
 * assert success, so that a test reads as what it means.
 */
#ifndef TESTS_CONTRACT_FIXTURE_H
#define TESTS_CONTRACT_FIXTURE_H

#include "storage/writer.h"

/* cmocka wants these four before its own header. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

struct fixture {
    const char *scheme; /* "memory" or "sqlite" */
    char directory[128];
    struct storage_options options;
    struct storage *storage;
    struct writer *writer;
    struct storage_reader *reader;
};

/* For cmocka's setup and teardown: a fresh open store of the scheme in *state. */
int fixture_open(void **state);
int fixture_close(void **state);

void fixture_start(struct fixture *fixture); /* opens with fixture->options */
void fixture_stop(struct fixture *fixture);
/* Closes and opens again; the memory driver keeps nothing, so there it does nothing. */
void fixture_reopen(struct fixture *fixture);
bool fixture_is_durable(const struct fixture *fixture);

struct write_batch *batch_begin(struct fixture *fixture);
void batch_point(struct write_batch *batch, const char *series, int64_t time_ms, double value);
struct write_result batch_commit(struct fixture *fixture, struct write_batch *batch);

/* One point in one batch. */
struct write_result put(struct fixture *fixture, const char *series, int64_t time_ms, double value);
uint32_t find(struct fixture *fixture, const char *series);
struct series_info info(struct fixture *fixture, const char *series);
void compact(struct fixture *fixture);

/* The series holds exactly these points, by every way of reading. NaN equals NaN. */
void assert_points(struct fixture *fixture, const char *series, const struct point *points,
                   size_t count);

bool same_value(double a, double b);

/* Deletes a folder of plain files. */
void folder_remove(const char *directory);
/* Copies all plain files as they are now. */
void folder_copy(const char *from, const char *to);

/* Runs a table of tests once on each driver. */
struct contract_test {
    const char *name;
    void (*run)(void **state);
};
int contract_run(const char *suite, const struct contract_test *tests, size_t count);

#endif
