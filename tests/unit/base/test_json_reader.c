/* Tests of json_reader: what is and is not JSON, tokens and their text, skipping, and places of
 * errors. SPDX-License-Identifier: Apache-2.0
 */
#include "base/json_reader.h"
#include "base/random.h"
#include "tests/unit/base/test.h"
#include "tests/watched.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ROUNDS WATCHED_OR(10000, 100000) /* of random text */

/* In a block of exactly its size, so that AddressSanitizer sees a byte read too far. */
static enum json_token read_all(const char *bytes, size_t length)
{
    char *exact = malloc(length != 0 ? length : 1);
    memcpy(exact, bytes, length);
    struct json_reader reader;
    json_reader_init(&reader, exact, length);
    enum json_token token;
    do {
        token = json_next(&reader);
        assert_true(reader.cursor >= reader.begin && reader.cursor <= reader.end);
    } while (token != JSON_END && token != JSON_BROKEN);
    assert_int_equal(json_next(&reader), token);
    assert_int_equal(reader.problem != NULL, token == JSON_BROKEN);
    free(exact);
    return token;
}

static const char *const good_documents[] = {
    "0",
    "-0",
    "1",
    "-1",
    "10",
    "1.5",
    "-1.5e3",
    "1E+2",
    "1e-2",
    "0.0",
    "0e0",
    "123456789012345678901234567890",
    "1e999",
    "true",
    "false",
    "null",
    "\"\"",
    "\"a\"",
    "[]",
    "{}",
    " [ ] ",
    "\t{\r\n} ",
    "[1]",
    "[1,2]",
    "[[],[]]",
    "[{}]",
    "{\"a\":1}",
    "{\"a\":{\"b\":[1,{\"c\":null}]}}",
    "{\"\":\"\"}",
    "{\"a\":1,\"a\":2}",
    "[1 , 2]",
    "{ \"a\" : 1 , \"b\" : 2 }",
    "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"",
    "\"\\u0041\"",
    "\"\\uD83D\\uDE00\"",
    "\"\\u0000\"",
    "\"\x7F\"",
    "\"\xC3\xA9\"",
    "\"\xF0\x9F\x98\x80\"",
    "\"\xEF\xBF\xBF\"",
    "\"\xF4\x8F\xBF\xBF\"",
    "[[[[[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]]]]]",
    "[true,false,null,0,\"\",{},[]]",
    "\"12345678\"",
    "\"1234567\\n\"",
    "\"longer than eight bytes without anything special\"",
    "\"longer than eight bytes \xC3\xA9 and then some\"",
    "[0,-0,0.5]",
    " 1 ",
    "\n\n\n1",
    "[1e5,1E5,1e+5]",
};

static void documents_are_accepted(UNUSED void **state)
{
    for (size_t i = 0; i < sizeof(good_documents) / sizeof(good_documents[0]); i++) {
        if (read_all(good_documents[i], strlen(good_documents[i])) != JSON_END) {
            fail_msg("refused: %s", good_documents[i]);
        }
    }
}

static const char *const bad_documents[] = {
    "",
    " ",
    "\n",
    "tru",
    "truee",
    "True",
    "nul",
    "nulll",
    "falsy",
    "NaN",
    "Infinity",
    "-Infinity",
    "undefined",
    "01",
    "-01",
    "00",
    "1.",
    ".5",
    "-.5",
    "-",
    "+1",
    "1e",
    "1e+",
    "1.e5",
    "0x10",
    "1_000",
    "1 2",
    "1,2",
    "--1",
    "\"",
    "\"a",
    "\"a\\",
    "\"\\\"",
    "\"\\x\"",
    "\"\\u\"",
    "\"\\u12\"",
    "\"\\u123g\"",
    "\"\\uD800\"",
    "\"\\uD800\\n\"",
    "\"\\uD800\\u0041\"",
    "\"\\uDC00\"",
    "\"\\a\"",
    "\"\n\"",
    "\"\t\"",
    "\"\x01\"",
    "\"a\x1F long enough string\"",
    "\"\x80\"",
    "\"\xC3\"",
    "\"\xC0\x80\"",
    "\"\xC1\xBF\"",
    "\"\xE0\x80\x80\"",
    "\"\xED\xA0\x80\"",
    "\"\xF0\x80\x80\x80\"",
    "\"\xF4\x90\x80\x80\"",
    "\"\xF5\x80\x80\x80\"",
    "\"\xFF\"",
    "\"\\n\xC3\"",
    "\"\\n\n\"",
    "'a'",
    "a",
    "[",
    "]",
    "{",
    "}",
    "[1",
    "[1,",
    "[1,]",
    "[,1]",
    "[,]",
    "[1 2]",
    "[1}",
    "[1]]",
    "[]]",
    "[] []",
    "[]1",
    "{1:2}",
    "{\"a\"}",
    "{\"a\":}",
    "{\"a\":1,}",
    "{,\"a\":1}",
    "{\"a\" 1}",
    "{\"a\":1 \"b\":2}",
    "{\"a\":1]",
    "{\"a\":1",
    "{\"a\":",
    "{\"a\"",
    "{\"a",
    "{a:1}",
    "{'a':1}",
    "{\"a\":1}}",
    "{} {}",
    "// x\n1",
    "/* x */1",
    "1 // x",
    ("\xEF\xBB\xBF"
     "1"),
    "[1,\f2]",
    "\v1",
    "[[[[[[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]]]]]]",
    "{\"a\":\"b\":1}",
    "[\"a\":1]",
    ":",
    ",",
    "\"a\"\"b\"",
    "[1,,2]",
    "{\"a\":1,,\"b\":2}",
    "{:1}",
    "{\"a\\uZZZZ\":1}",
};

static void everything_else_is_refused(UNUSED void **state)
{
    for (size_t i = 0; i < sizeof(bad_documents) / sizeof(bad_documents[0]); i++) {
        if (read_all(bad_documents[i], strlen(bad_documents[i])) != JSON_BROKEN) {
            fail_msg("accepted: %s", bad_documents[i]);
        }
    }
    /* Wherever it stands in a long string, a stray byte is seen. */
    for (size_t at = 1; at < 31; at++) {
        static const char bad[] = "\x80\xA0\xC3\xED\xFF\x1F\n";
        for (size_t i = 0; i < sizeof(bad); i++) {
            char document[32];
            memset(document, 'x', sizeof(document));
            document[0] = document[31] = '"';
            assert_int_equal(read_all(document, sizeof(document)), JSON_END);
            document[at] = bad[i];
            assert_int_equal(read_all(document, sizeof(document)), JSON_BROKEN);
        }
    }
    assert_int_equal(read_all("1\0", 2), JSON_BROKEN);
    assert_int_equal(read_all("\"a\0b\"", 5), JSON_BROKEN);
    assert_int_equal(read_all("\"\\\0\"", 4), JSON_BROKEN);
}

static void a_cut_document_is_refused(UNUSED void **state)
{
    static const char document[] =
        "{\"series\":\"gr\xC3\xB6\\u00df\\uD83D\\uDE00\",\"labels\":{\"a\":\"b\"},"
        "\"points\":[[1795354740000,21.4],[1795354800000,null]],\"x\":true}";
    for (size_t length = 0; length < sizeof(document) - 1; length++) {
        assert_int_equal(read_all(document, length), JSON_BROKEN);
    }
    assert_int_equal(read_all(document, sizeof(document) - 1), JSON_END);
}

static void tokens_carry_their_text(UNUSED void **state)
{
    static const char document[] =
        "{\"a\":[1,-2.5,9223372036854775807,-9223372036854775808,9223372036854775808,1e2],"
        "\"k\\ney\":\"v\\u00e4l\\uD83D\\uDE00\",\"t\":true,\"f\":false,\"n\":null}";
    struct json_reader r;
    json_reader_init(&r, document, strlen(document));
    assert_int_equal(json_next(&r), JSON_OBJECT_BEGIN);
    assert_int_equal(json_next(&r), JSON_KEY);
    assert_int_equal(r.text_length, 1);
    assert_int_equal(json_next(&r), JSON_ARRAY_BEGIN);
    assert_int_equal(r.depth, 2);
    assert_int_equal(json_next(&r), JSON_NUMBER);
    assert_true(r.is_integer && r.integer == 1 && r.number == 1.0);
    assert_int_equal(json_next(&r), JSON_NUMBER);
    assert_true(!r.is_integer && r.number == -2.5);
    assert_int_equal(json_next(&r), JSON_NUMBER);
    assert_true(r.is_integer && r.integer == INT64_MAX);
    assert_int_equal(json_next(&r), JSON_NUMBER);
    assert_true(r.is_integer && r.integer == INT64_MIN);
    assert_int_equal(json_next(&r), JSON_NUMBER);
    assert_true(!r.is_integer && r.number == 9223372036854775808.0);
    assert_int_equal(json_next(&r), JSON_NUMBER);
    assert_true(!r.is_integer && r.number == 100.0);
    assert_int_equal(json_next(&r), JSON_ARRAY_END);
    assert_int_equal(json_next(&r), JSON_KEY);
    assert_int_equal(r.text_length, 4);
    assert_memory_equal(r.text, "k\ney", 4);
    assert_int_equal(json_next(&r), JSON_STRING);
    assert_int_equal(r.text_length, 8);
    assert_memory_equal(r.text, "v\xC3\xA4l\xF0\x9F\x98\x80", 8);
    assert_int_equal(json_next(&r), JSON_KEY);
    assert_int_equal(json_next(&r), JSON_TRUE);
    assert_int_equal(json_next(&r), JSON_KEY);
    assert_int_equal(json_next(&r), JSON_FALSE);
    assert_int_equal(json_next(&r), JSON_KEY);
    assert_int_equal(json_next(&r), JSON_NULL);
    assert_int_equal(json_next(&r), JSON_OBJECT_END);
    assert_int_equal(json_next(&r), JSON_END);
    assert_int_equal(json_next(&r), JSON_END);
}

static void strings_fill_the_scratch_and_no_more(UNUSED void **state)
{
    char document[4000];
    for (size_t length = 1000; length < 1060; length++) {
        size_t used = 0;
        document[used++] = '"';
        memset(document + used, 'x', length);
        used += length;
        memcpy(document + used, "\\n\"", 3);
        used += 3;
        struct json_reader r;
        json_reader_init(&r, document, used);
        bool fits = length + 1 <= sizeof(r.scratch);
        assert_int_equal(json_next(&r), fits ? JSON_STRING : JSON_BROKEN);
        if (fits) {
            assert_int_equal(r.text_length, length + 1);
        }
    }
    /* Without escapes there is no limit. */
    document[0] = '"';
    memset(document + 1, 'y', 3998);
    document[3999] = '"';
    struct json_reader r;
    json_reader_init(&r, document, 4000);
    assert_int_equal(json_next(&r), JSON_STRING);
    assert_ptr_equal(r.text, document + 1);
    assert_int_equal(r.text_length, 3998);
}

static void values_are_skipped(UNUSED void **state)
{
    static const char document[] =
        "{\"a\":{\"b\":[1,{\"c\":2}]},\"d\":3,\"e\":[[],[4]],\"f\":\"x\"}";
    struct json_reader r;
    json_reader_init(&r, document, strlen(document));
    assert_int_equal(json_next(&r), JSON_OBJECT_BEGIN);
    assert_int_equal(json_next(&r), JSON_KEY);
    assert_int_equal(json_skip_value(&r), JSON_OBJECT_END);
    assert_int_equal(json_next(&r), JSON_KEY);
    assert_int_equal(json_skip_value(&r), JSON_NUMBER);
    assert_int_equal(json_next(&r), JSON_KEY);
    assert_memory_equal(r.text, "e", 1);
    assert_int_equal(json_next(&r), JSON_ARRAY_BEGIN);
    assert_int_equal(json_next(&r), JSON_ARRAY_BEGIN);
    assert_int_equal(json_skip_value(&r), JSON_ARRAY_END);
    assert_int_equal(r.depth, 2);
    assert_int_equal(json_next(&r), JSON_ARRAY_BEGIN);
    assert_int_equal(json_next(&r), JSON_NUMBER);
    assert_int_equal(json_skip_value(&r), JSON_NUMBER);
    assert_int_equal(json_next(&r), JSON_ARRAY_END);
    assert_int_equal(json_next(&r), JSON_ARRAY_END);
    assert_int_equal(json_next(&r), JSON_KEY);
    assert_int_equal(json_skip_value(&r), JSON_STRING);
    assert_int_equal(json_next(&r), JSON_OBJECT_END);
    assert_int_equal(json_next(&r), JSON_END);
    json_reader_init(&r, document, strlen(document));
    assert_int_equal(json_skip_value(&r), JSON_OBJECT_END);
    assert_int_equal(json_next(&r), JSON_END);
    json_reader_init(&r, "[1,[2,}", 7);
    assert_int_equal(json_skip_value(&r), JSON_BROKEN);
}

static void errors_name_the_place(UNUSED void **state)
{
    static const char document[] = "{\n  \"a\": 1,\n  \"b\": ,\n}";
    struct json_reader r;
    struct error error = {0};
    json_reader_init(&r, document, strlen(document));
    while (json_next(&r) != JSON_BROKEN) {
    }
    assert_int_equal(json_error(&r, &error), STATUS_INVALID);
    assert_string_equal(error.code, "bad_json");
    assert_string_equal(error.text,
                        "cannot read JSON at byte 19 (line 3, column 8): expected a value");
    json_reader_init(&r, "[1", 2);
    while (json_next(&r) != JSON_BROKEN) {
    }
    json_error(&r, &error);
    assert_non_null(strstr(error.text, "the document ends too early"));
}

static void the_depth_has_a_bound(UNUSED void **state)
{
    for (size_t depth = JSON_DEPTH_MAX; depth <= JSON_DEPTH_MAX + 1; depth++) {
        for (int objects = 0; objects < 2; objects++) {
            char document[8 * (JSON_DEPTH_MAX + 1)];
            size_t length = 0;
            for (size_t i = 0; i < depth; i++) {
                length += (size_t)snprintf(document + length, sizeof(document) - length, "%s",
                                           objects ? "{\"a\":" : "[");
            }
            document[length++] = '1';
            memset(document + length, objects ? '}' : ']', depth);
            length += depth;
            bool refused = depth > JSON_DEPTH_MAX;
            assert_int_equal(read_all(document, length), refused ? JSON_BROKEN : JSON_END);
            struct json_reader r;
            struct error error = {0};
            json_reader_init(&r, document, length);
            enum json_token token = json_skip_value(&r); /* does not go around it */
            assert_int_equal(token == JSON_BROKEN, refused);
            if (refused) {
                assert_int_equal(json_error(&r, &error), STATUS_INVALID);
                assert_non_null(strstr(error.text, "nested too deeply"));
            }
        }
    }
}

/* Random edits of a good document: whatever comes, the reader ends and stays inside. */
static void edited_documents_do_no_harm(UNUSED void **state)
{
    static const char document[] =
        "[{\"series\":\"a\\u00e4\",\"labels\":{\"site\":\"x\"},\"points\":[[1795354740000,21.4],"
        "[1e5,-0.25]]},null,true,\"\xC3\xA9\"]";
    static const char pool[] = "{}[],:\"\\ue0+-.1 \n\x01\x80\xC3\xFFntf";
    struct random random;
    random_init(&random, 1, 1);
    int accepted = 0;
    for (int round = 0; round < ROUNDS; round++) {
        char bytes[sizeof(document)];
        size_t length = sizeof(document) - 1;
        memcpy(bytes, document, sizeof(document));
        for (uint64_t edits = 1 + random_below(&random, 3); edits > 0; edits--) {
            bytes[random_below(&random, length)] = pool[random_below(&random, sizeof(pool) - 1)];
        }
        accepted += read_all(bytes, length) == JSON_END;
    }
    assert_true(accepted > ROUNDS / 100 && accepted < ROUNDS / 100 * 99);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(documents_are_accepted),
        cmocka_unit_test(everything_else_is_refused),
        cmocka_unit_test(a_cut_document_is_refused),
        cmocka_unit_test(tokens_carry_their_text),
        cmocka_unit_test(strings_fill_the_scratch_and_no_more),
        cmocka_unit_test(values_are_skipped),
        cmocka_unit_test(errors_name_the_place),
        cmocka_unit_test(the_depth_has_a_bound),
        cmocka_unit_test(edited_documents_do_no_harm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
