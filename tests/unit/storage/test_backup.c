/* Backups beside each other, and beside files that come meanwhile.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "tests/unit/storage/place.h"

#include "base/file.h"
#include "storage/backup.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static const struct backup_options as_fast_as_it_goes;

/* A store with points, and where its backup goes. */
static void begin(struct place *place, char file[160])
{
    struct error error = {0};
    assert_int_equal(place_write(place, 0, 100, &error), STATUS_OK);
    snprintf(file, 160, "%s/copy", place->directory);
}

static bool there(const char *file, const char *ending)
{
    char path[200];
    snprintf(path, sizeof path, "%s%s", file, ending);
    return access(path, F_OK) == 0;
}

static void a_file_that_came_meanwhile_stays(void **state)
{
    struct place *place = *state;
    struct backup *backup = NULL;
    struct error error = {0};
    char file[160], text[32] = {0};
    begin(place, file);
    assert_int_equal(backup_create(place->directory, file, &as_fast_as_it_goes, &backup, &error),
                     STATUS_OK);
    FILE *other = fopen(file, "w");
    assert_non_null(other);
    fputs("another's", other);
    fclose(other);
    assert_int_equal(backup_publish(backup, NULL, NULL, &error), STATUS_CONFLICT);
    assert_non_null(strstr(error.text, "there already"));
    backup_close(backup);
    other = fopen(file, "r");
    assert_non_null(other);
    assert_non_null(fgets(text, sizeof text, other));
    fclose(other);
    assert_string_equal(text, "another's");
    assert_false(there(file, ".partial") || there(file, ".partial.lock"));
}

static void a_second_backup_to_one_file_is_refused(void **state)
{
    struct place *place = *state;
    struct backup *first = NULL, *second = NULL;
    struct error error = {0};
    char file[160];
    begin(place, file);
    assert_int_equal(backup_create(place->directory, file, &as_fast_as_it_goes, &first, &error),
                     STATUS_OK);
    assert_int_equal(backup_create(place->directory, file, &as_fast_as_it_goes, &second, &error),
                     STATUS_CONFLICT);
    assert_non_null(strstr(error.text, "another backup"));
    assert_true(there(file, ".partial"));
    error = (struct error){0};
    assert_int_equal(backup_publish(first, NULL, NULL, &error), STATUS_OK);
    backup_close(first);
    assert_false(there(file, ".partial") || there(file, ".partial.lock"));
    assert_int_equal(backup_open(file, NULL, NULL, &second, &error), STATUS_OK);
    assert_int_equal(backup_about(second)->series, 1);
    backup_close(second);
}

/* What a killed one leaves is nobody's. */
static void what_is_left_of_a_killed_one_is_in_nobodys_way(void **state)
{
    struct place *place = *state;
    struct backup *backup = NULL;
    struct error error = {0};
    char file[160], path[200];
    static const char *const endings[] = {".partial", ".partial.lock"};
    begin(place, file);
    for (size_t i = 0; i < 2; i++) {
        snprintf(path, sizeof path, "%s%s", file, endings[i]);
        FILE *left = fopen(path, "w");
        assert_non_null(left);
        fputs("half a file", left);
        fclose(left);
    }
    assert_int_equal(backup_create(place->directory, file, &as_fast_as_it_goes, &backup, &error),
                     STATUS_OK);
    assert_int_equal(backup_publish(backup, NULL, NULL, &error), STATUS_OK);
    backup_close(backup);
    assert_true(there(file, ""));
    assert_false(there(file, ".partial") || there(file, ".partial.lock"));
}

static void a_new_name_replaces_nothing(void **state)
{
    struct place *place = *state;
    char from[160], to[160];
    snprintf(from, sizeof from, "%s/from", place->directory);
    snprintf(to, sizeof to, "%s/to", place->directory);
    for (int i = 0; i < 2; i++) {
        FILE *file = fopen(from, "w");
        assert_non_null(file);
        fclose(file);
        errno = 0;
        assert_int_equal(file_system()->rename_new(from, to), -i);
        assert_int_equal(errno, i == 0 ? 0 : EEXIST);
        assert_true(there(to, ""));
        assert_int_equal(there(from, ""), i == 1);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_file_that_came_meanwhile_stays, place_setup,
                                        place_teardown),
        cmocka_unit_test_setup_teardown(a_second_backup_to_one_file_is_refused, place_setup,
                                        place_teardown),
        cmocka_unit_test_setup_teardown(what_is_left_of_a_killed_one_is_in_nobodys_way, place_setup,
                                        place_teardown),
        cmocka_unit_test_setup_teardown(a_new_name_replaces_nothing, place_setup, place_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
