/* Tests of status: texts, codes, wrapping, and truncation at whole characters.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "base/status.h"
#include "tests/unit/base/test.h"

#include <string.h>

static void every_status_has_text_and_code(UNUSED void **state)
{
#define CHECK_ROW(name, text)                                                                      \
    assert_string_equal(status_text(STATUS_##name), text);                                         \
    assert_string_not_equal(status_code(STATUS_##name), "unknown");
    STATUS_LIST(CHECK_ROW)
#undef CHECK_ROW
    assert_int_equal(STATUS_OK, 0);
    assert_string_equal(status_code(STATUS_NO_MEMORY), "no_memory");
    assert_string_equal(status_text((enum status)999), "unknown status");
    assert_string_equal(status_code((enum status)999), "unknown");
}

static void set_clears_what_was_there(UNUSED void **state)
{
    struct error error = {0};
    assert_int_equal(error_set(&error, STATUS_IO, "could not open \"%s\"", "x"), STATUS_IO);
    assert_int_equal(error_code(&error, "open_failed", "path"), STATUS_IO);
    assert_int_equal(error_hint(&error, "Check the %s.", "path"), STATUS_IO);
    assert_string_equal(error.text, "could not open \"x\"");
    assert_string_equal(error.code, "open_failed");
    assert_string_equal(error.param, "path");
    assert_string_equal(error.hint, "Check the path.");

    error_set(&error, STATUS_BUSY, "later");
    assert_null(error.code);
    assert_string_equal(error.param, "");
    assert_string_equal(error.hint, "");
    assert_int_equal(error.status, STATUS_BUSY);
}

static void code_and_param_may_be_null(UNUSED void **state)
{
    struct error error = {0};
    error_set(&error, STATUS_INVALID, "no");
    error_code(&error, "bad_value", NULL);
    error_code(&error, NULL, "horizon");
    assert_string_equal(error.code, "bad_value");
    assert_string_equal(error.param, "horizon");
}

static void wrap_puts_the_frame_in_front(UNUSED void **state)
{
    struct error error = {0};
    error_set(&error, STATUS_IO, "disk on fire");
    error_code(&error, "fire", "disk");
    assert_int_equal(error_wrap(&error, "could not store %d points", 3), STATUS_IO);
    assert_string_equal(error.text, "could not store 3 points: disk on fire");
    assert_string_equal(error.code, "fire");
}

static void own_text_as_argument(UNUSED void **state)
{
    struct error error = {0};
    error_set(&error, STATUS_IO, "inner");
    error_set(&error, STATUS_CORRUPT, "outer of %s", error.text);
    assert_string_equal(error.text, "outer of inner");
}

static void long_texts_are_cut_between_characters(UNUSED void **state)
{
    /* With every offset of the two-byte character against the end of the buffer. */
    for (int shift = 0; shift < 2; shift++) {
        char big[2000];
        size_t used = 0;
        if (shift == 1) {
            big[used++] = 'x';
        }
        for (int i = 0; i < 900; i++) {
            memcpy(big + used, "\xC3\xA9", 2);
            used += 2;
        }
        big[used] = '\0';
        struct error error = {0};
        error_set(&error, STATUS_INVALID, "%s", big);
        error_hint(&error, "%s", big);
        error_code(&error, NULL, big);
        const char *texts[] = {error.text, error.hint, error.param};
        size_t sizes[] = {sizeof(error.text), sizeof(error.hint), sizeof(error.param)};
        for (int i = 0; i < 3; i++) {
            size_t length = strlen(texts[i]);
            assert_true(length < sizes[i]);
            assert_true(length + 3 >= sizes[i]);
            assert_int_equal((length - (size_t)shift) % 2, 0);
        }
        error_wrap(&error, "%s", big);
        assert_true(strlen(error.text) < sizeof(error.text));
        error_set(&error, STATUS_INVALID, "%s", big);
        error_wrap(&error, "frame");
        assert_int_equal(strncmp(error.text, "frame: ", 7), 0);
        assert_int_equal((strlen(error.text) - 7 - (size_t)shift) % 2, 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_status_has_text_and_code),
        cmocka_unit_test(set_clears_what_was_there),
        cmocka_unit_test(code_and_param_may_be_null),
        cmocka_unit_test(wrap_puts_the_frame_in_front),
        cmocka_unit_test(own_text_as_argument),
        cmocka_unit_test(long_texts_are_cut_between_characters),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
