/* The index of series: finding, deleting without tombstones, growing; bytes a series.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "storage/series_table.h"

#include "base/memory.h"
#include "base/random.h"
#include "storage/sqlite_store.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum { NAMES = 5000 };

static size_t name_of(size_t number, char name[64])
{
    return (size_t)snprintf(name, 64, "plant.sensor{id=\"%zu\",site=\"north\"}", number);
}

static void random_insertions_and_removals(void **state)
{
    (void)state;
    static struct series_entry *present[NAMES];
    struct text_table table = {0};
    struct random random;
    struct error error = {0};
    char name[64];
    size_t count = 0;
    random_init(&random, 1, 0);
    for (int step = 0; step < 60000; step++) {
        size_t number = random_below(&random, NAMES);
        size_t length = name_of(number, name);
        struct series_entry *found = text_table_find(&table, text_hash(name, length), name, length);
        assert_ptr_equal(found, present[number]);
        if (found == NULL) {
            struct series_entry *entry =
                series_entry_new(sizeof *entry, (uint32_t)number + 1, name, length);
            assert_non_null(entry);
            assert_int_equal(text_table_reserve(&table, 1, &error), STATUS_OK);
            text_table_insert(&table, entry);
            present[number] = entry;
            count++;
        } else if (random_below(&random, 2) == 0) {
            text_table_remove(&table, found);
            series_entry_free(found);
            present[number] = NULL;
            count--;
        }
        assert_int_equal(table.count, count);
    }
    for (size_t i = 0; i < NAMES; i++) {
        series_entry_free(present[i]);
    }
    text_table_release(&table);
}

/* The stated bound: below 400 bytes a series of 40 bytes of text, at the default limit of series.
 */
static void bytes_a_series(void **state)
{
    (void)state;
    enum { COUNT = 100000 };
    struct text_table table = {0};
    struct series_directory directory = {0};
    struct error error = {0};
    char name[64];
    size_t before = mem_bytes_in_use();
    for (uint32_t id = 1; id <= COUNT; id++) {
        size_t length = name_of(id, name);
        struct series_entry *entry =
            series_entry_new(sizeof(struct sqlite_series), id, name, length);
        assert_non_null(entry);
        assert_int_equal(text_table_reserve(&table, 1, &error), STATUS_OK);
        assert_int_equal(series_directory_reserve(&directory, id, id, &error), STATUS_OK);
        text_table_insert(&table, entry);
        series_directory_put(&directory, entry);
    }
    size_t bytes = (mem_bytes_in_use() - before) / COUNT;
    printf("%zu bytes a series\n", bytes);
    assert_true(bytes < 400);
    for (uint32_t id = 1; id <= COUNT; id++) {
        series_entry_free(series_directory_at(&directory, id));
    }
    text_table_release(&table);
    series_directory_release(&directory);
}

/* Series come and leave for years: what is left of the ids is next to nothing, and a walk over
 * those that are there does not see the others. */
static void ids_that_are_gone_take_no_room(void **state)
{
    (void)state;
    enum { COUNT = 300000, ALIVE = 1000 };
    struct series_directory directory = {0};
    struct error error = {0};
    size_t before = mem_bytes_in_use();
    for (uint32_t id = 1; id <= COUNT; id++) {
        struct series_entry *entry = series_entry_new(sizeof *entry, id, "a", 1);
        assert_non_null(entry);
        assert_int_equal(series_directory_reserve(&directory, id, id, &error), STATUS_OK);
        series_directory_put(&directory, entry);
        struct series_entry *old = id > ALIVE ? series_directory_at(&directory, id - ALIVE) : NULL;
        if (old != NULL) {
            series_directory_remove(&directory, old->id);
            series_entry_free(old);
        }
    }
    uint32_t seen = 0;
    struct series_entry *entry = NULL;
    for (uint32_t id = 0; (entry = series_directory_next(&directory, id)) != NULL; seen++) {
        id = entry->id;
        assert_int_equal(id, COUNT - ALIVE + 1 + seen);
    }
    assert_int_equal(seen, ALIVE);
    assert_null(series_directory_at(&directory, 1));
    assert_null(series_directory_at(&directory, COUNT + 1));
    assert_null(series_directory_at(&directory, UINT32_MAX));
    assert_null(series_directory_next(&directory, UINT32_MAX));
    assert_true(series_directory_bytes(&directory) < 100000);
    for (uint32_t id = 0; (entry = series_directory_next(&directory, id)) != NULL;) {
        id = entry->id;
        series_directory_remove(&directory, id);
        series_entry_free(entry);
    }
    assert_int_equal(directory.page_count, 0);
    series_directory_release(&directory);
    assert_int_equal(mem_bytes_in_use(), before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_insertions_and_removals),
        cmocka_unit_test(bytes_a_series),
        cmocka_unit_test(ids_that_are_gone_take_no_room),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
