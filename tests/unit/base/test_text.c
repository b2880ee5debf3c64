/* Tests of text: the bound, sticky failures, numbers, JSON strings, and every failing allocation.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "base/json_reader.h"
#include "base/memory.h"
#include "base/random.h"
#include "base/text.h"
#include "base/utf8.h"
#include "tests/unit/base/test.h"
#include "tests/watched.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static void grows_up_to_the_maximum(UNUSED void **state)
{
    for (size_t maximum = 0; maximum < 1100; maximum += 7) {
        struct text text;
        text_init(&text, maximum);
        assert_text(&text, "");
        for (size_t i = 0; i < maximum; i++) {
            text_add_char(&text, (char)('a' + i % 26));
            assert_int_equal(text.bytes[text.length], '\0');
        }
        assert_int_equal(text.failed, STATUS_OK);
        assert_int_equal(text.length, maximum);
        assert_true(text.capacity <= maximum + 1);
        text_add_char(&text, '!');
        assert_int_equal(text.failed, STATUS_TOO_LARGE);
        text_add(&text, "", 0);
        assert_int_equal(text.length, maximum);
        for (size_t i = 0; i < maximum; i++) {
            assert_int_equal(text.bytes[i], 'a' + i % 26);
        }
        text_release(&text);
    }
}

static void room_is_written_in_place(UNUSED void **state)
{
    struct text text;
    text_init(&text, 10);
    memcpy(text_room(&text, 8), "abcdefgh", 8);
    text_grown(&text, 3);
    assert_text(&text, "abc");
    memcpy(text_room(&text, 7), "1234567", 7);
    text_grown(&text, 7);
    assert_text(&text, "abc1234567");
    assert_null(text_room(&text, 1));
    assert_int_equal(text.failed, STATUS_TOO_LARGE);
    assert_text(&text, "abc1234567");
    text_release(&text);
}

static void failure_is_sticky_until_cleared(UNUSED void **state)
{
    struct text text;
    struct error error = {0};
    text_init(&text, 5);
    text_add_string(&text, "fives");
    assert_text(&text, "fives");
    text_release(&text);
    text_add_string(&text, "abc");
    text_add_string(&text, "def");
    text_add_char(&text, 'x');
    assert_text(&text, "abc");
    assert_int_equal(text_status(&text, "the answer", &error), STATUS_TOO_LARGE);
    assert_string_equal(error.text, "the answer would be larger than 5 bytes");
    text_clear(&text);
    assert_text(&text, "");
    text_add_string(&text, "fives");
    assert_ok(text_status(&text, "the answer", &error));
    assert_text(&text, "fives");
    text_release(&text);
    text_release(&text);
}

static void no_maximum_is_possible(UNUSED void **state)
{
    struct text text;
    text_init(&text, SIZE_MAX);
    for (int i = 0; i < 1000; i++) {
        text_add_string(&text, "0123456789");
    }
    assert_int_equal(text.length, 10000);
    text_release(&text);
}

static void formats_short_and_long(UNUSED void **state)
{
    struct text text;
    text_init(&text, 100000);
    text_add_format(&text, "%d-%s", 7, "x");
    assert_text(&text, "7-x");
    for (int width = 500; width < 530; width++) {
        text_clear(&text);
        text_add_format(&text, "%*d|", width, 1);
        assert_int_equal(text.length, width + 1);
        assert_int_equal(text.bytes[width - 1], '1');
        assert_int_equal(text.bytes[width], '|');
    }
    text_release(&text);
}

static void numbers_are_json(UNUSED void **state)
{
    struct text text;
    text_init(&text, 1000);
    text_add_double(&text, (double)NAN);
    text_add_char(&text, ' ');
    text_add_double(&text, (double)-INFINITY);
    text_add_char(&text, ' ');
    text_add_double(&text, -0.0);
    text_add_char(&text, ' ');
    text_add_double(&text, 21.4);
    text_add_char(&text, ' ');
    text_add_double_digits(&text, 2.0 / 3, 4);
    text_add_char(&text, ' ');
    text_add_double_digits(&text, 123456.7, 3);
    text_add_char(&text, ' ');
    text_add_double_digits(&text, (double)INFINITY, 3);
    text_add_char(&text, ' ');
    text_add_int(&text, INT64_MIN);
    assert_text(&text, "null null 0 21.4 0.6667 123000 null -9223372036854775808");
    text_clear(&text);
    text_add_time(&text, 1795354740000);
    text_add_char(&text, ' ');
    text_add_time(&text, 1795354740005);
    assert_text(&text, "2026-11-22T13:39:00Z 2026-11-22T13:39:00.005Z");
    text_release(&text);
}

/* The million random bit patterns, once more through the door and with the reader of JSON. */
static void doubles_come_back_through_json(UNUSED void **state)
{
    struct random random;
    random_init(&random, 7, 1);
    struct text text;
    text_init(&text, 100);
    for (int i = 0; i < 1000000; i++) {
        uint64_t bits = random_next(&random);
        double value, back;
        memcpy(&value, &bits, sizeof(value));
        if (!isfinite(value)) {
            continue;
        }
        int64_t integer;
        int is_integer;
        text_clear(&text);
        text_add_double(&text, value);
        assert_int_equal(json_parse_number(text.bytes, text.length, &back, &integer, &is_integer),
                         text.length);
        if (back != value || strtod(text.bytes, NULL) != value) {
            fail_msg("%.17g was written as %s", value, text.bytes);
        }
    }
    text_release(&text);
}

static void json_strings_are_escaped(UNUSED void **state)
{
    static const struct {
        const char *bytes;
        const char *json;
    } rows[] = {
        {"", "\"\""},
        {"plain", "\"plain\""},
        {"a\"b\\c", "\"a\\\"b\\\\c\""},
        {"\b\f\n\r\t", "\"\\b\\f\\n\\r\\t\""},
        {"\x01\x1F", "\"\\u0001\\u001f\""},
        {"\x7F", "\"\x7F\""},
        {"gr\xC3\xB6\xC3\x9F", "\"gr\xC3\xB6\xC3\x9F\""},
        {"\xF0\x9F\x8C\xA1", "\"\xF0\x9F\x8C\xA1\""},
        {"a\xFFz", "\"a\xEF\xBF\xBDz\""},
        {"cut \xE2\x82", "\"cut \xEF\xBF\xBD\xEF\xBF\xBD\""},
        {"\xED\xA0\x80", "\"\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\""},
    };
    struct text text;
    text_init(&text, 1000);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        text_clear(&text);
        text_add_json_string(&text, rows[i].bytes, strlen(rows[i].bytes));
        assert_text(&text, rows[i].json);
    }
    text_clear(&text);
    text_add_json_string(&text, "a\0b", 3);
    assert_text(&text, "\"a\\u0000b\"");
    text_release(&text);
}

static void random_bytes_become_valid_json(UNUSED void **state)
{
    struct random random;
    random_init(&random, 7, 2);
    struct text text;
    text_init(&text, 10000);
    for (int round = 0; round < WATCHED_OR(4000, 20000); round++) {
        char bytes[100];
        size_t length = random_below(&random, sizeof(bytes));
        bool valid = true;
        for (size_t i = 0; i < length; i++) {
            uint64_t r = random_next(&random);
            bytes[i] = (char)(r & 1 ? r >> 8 : (r >> 8) % 128);
        }
        for (size_t at = 0; at < length && valid;) {
            size_t width = utf8_length(bytes + at, length - at);
            valid = width > 0;
            at += width;
        }
        text_clear(&text);
        text_add_json_string(&text, bytes, length);
        struct json_reader reader;
        json_reader_init(&reader, text.bytes, text.length);
        assert_int_equal(json_next(&reader), JSON_STRING);
        if (valid) {
            assert_int_equal(reader.text_length, length);
            assert_memory_equal(reader.text, bytes, length);
        }
        assert_int_equal(json_next(&reader), JSON_END);
    }
    text_release(&text);
}

static void taking_hands_over(UNUSED void **state)
{
    struct text text;
    text_init(&text, 1000);
    text_add_string(&text, "mine");
    size_t length;
    char *bytes = text_take(&text, &length);
    assert_string_equal(bytes, "mine");
    assert_int_equal(length, 4);
    assert_text(&text, "");
    mem_free(bytes);
    bytes = text_take(&text, NULL);
    assert_string_equal(bytes, "");
    mem_free(bytes);
    text_add_string(&text, "again");
    assert_text(&text, "again");
    text_release(&text);
}

/* Everything that can allocate, in one go. */
static void use_all(struct text *text)
{
    for (int i = 0; i < 100; i++) {
        text_add_string(text, "0123456789");
        text_add_char(text, '-');
        text_add_int(text, i);
        text_add_double(text, i / 3.0);
        text_add_format(text, "%600d", i);
        text_add_json_string(text, "\x01\xFF\"", 3);
        text_add_time(text, i);
    }
}

static void every_failing_allocation(UNUSED void **state)
{
    size_t before = mem_bytes_in_use();
    for (uint64_t nth = 1;; nth++) {
        struct text text;
        struct error error = {0};
        text_init(&text, 1000000);
        mem_fault_set(nth, 0);
        use_all(&text);
        int hit = mem_fault_hit();
        mem_fault_set(0, 0);
        if (!hit) {
            assert_true(nth > 5);
            assert_int_equal(text.failed, STATUS_OK);
            text_release(&text);
            break;
        }
        assert_int_equal(text_status(&text, "it", &error), STATUS_NO_MEMORY);
        assert_int_equal(text.bytes[text.length], '\0');
        assert_int_equal(strlen(text.bytes), text.length);
        text_clear(&text);
        use_all(&text);
        assert_ok(text_status(&text, "it", &error));
        text_release(&text);
    }
    assert_int_equal(mem_bytes_in_use(), before);
    struct text empty;
    text_init(&empty, 10);
    mem_fault_set(1, 0);
    assert_null(text_take(&empty, NULL));
    mem_fault_set(0, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(grows_up_to_the_maximum),
        cmocka_unit_test(room_is_written_in_place),
        cmocka_unit_test(failure_is_sticky_until_cleared),
        cmocka_unit_test(no_maximum_is_possible),
        cmocka_unit_test(formats_short_and_long),
        cmocka_unit_test(numbers_are_json),
        cmocka_unit_test(doubles_come_back_through_json),
        cmocka_unit_test(json_strings_are_escaped),
        cmocka_unit_test(random_bytes_become_valid_json),
        cmocka_unit_test(taking_hands_over),
        cmocka_unit_test(every_failing_allocation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
