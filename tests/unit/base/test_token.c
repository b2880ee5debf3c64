/* Access tokens: drawn, written, read back, found, limited to a prefix.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "tests/unit/base/test.h"

#include "base/clock.h"
#include "base/memory.h"
#include "base/token.h"

#include <string.h>

static struct token made(const char *name, const char *scopes, const char *prefix, char *secret)
{
    struct token token = {.created_ms = 1795354740000, .expires_ms = INT64_MAX};
    struct error error = {0};
    assert_int_equal(token_set_name(&token, name, &error), STATUS_OK);
    assert_int_equal(token_set_scopes(&token, scopes, &error), STATUS_OK);
    if (prefix != NULL) {
        assert_int_equal(token_set_prefix(&token, prefix, &error), STATUS_OK);
    }
    token_draw(&token, secret);
    return token;
}

static void what_is_written_is_read_back(void **state)
{
    char secret[2][TOKEN_SECRET_BYTES];
    struct error error = {0};
    struct token_list list;
    struct text text;
    struct token sensor = made("sensor", "write", "plant.", secret[0]);
    struct token both = made("both", "read,write", NULL, secret[1]);
    (void)state;
    both.expires_ms = 1795354750000;
    text_init(&text, 4096);
    text_add_string(&text, "# a comment\n\n  \t\n");
    token_write(&sensor, &text);
    token_write(&both, &text);
    assert_null(strstr(text.bytes, secret[0]));
    assert_int_equal(token_list_read(&list, "file", text.bytes, text.length, &error), STATUS_OK);
    assert_int_equal(list.count, 2);
    assert_memory_equal(&list.items[0], &sensor, sizeof(sensor));
    assert_memory_equal(&list.items[1], &both, sizeof(both));
    int64_t now_ms = 1795354745000;
    assert_ptr_equal(token_list_find(&list, secret[0], strlen(secret[0]), now_ms), &list.items[0]);
    assert_ptr_equal(token_list_find(&list, secret[1], strlen(secret[1]), now_ms), &list.items[1]);
    assert_null(token_list_find(&list, secret[1], strlen(secret[1]), both.expires_ms));
    assert_null(token_list_find(&list, secret[0], strlen(secret[0]) - 1, now_ms));
    assert_null(token_list_find(&list, list.items[0].hash, 64, now_ms)); /* a hash opens nothing */
    assert_null(token_list_find(&list, "", 0, now_ms));
    token_list_release(&list);
    text_release(&text);
}

static void secrets_differ_and_are_long(void **state)
{
    char secret[2][TOKEN_SECRET_BYTES];
    (void)state;
    made("a", "read", NULL, secret[0]);
    made("b", "read", NULL, secret[1]);
    assert_int_equal(strlen(secret[0]), 4 + 64);
    assert_string_not_equal(secret[0], secret[1]);
}

static void refuses(const char *text, const char *word)
{
    struct error error = {0};
    struct token_list list = {NULL, 0};
    assert_int_not_equal(token_list_read(&list, "file", text, strlen(text), &error), STATUS_OK);
    if (strstr(error.text, word) == NULL) {
        fail_msg("'%s' is not in: %s", word, error.text);
    }
    assert_null(list.items);
}

static void a_file_that_makes_no_sense_is_refused_by_line(void **state)
{
#define HASH "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
    (void)state;
    refuses("a read -\n", "file:1: a line has 6 columns");
    refuses("\na root - 2026-11-27T01:30:00Z - " HASH "\n", "file:2");
    refuses("a read - yesterday - " HASH "\n", "file:1");
    refuses("a read - 2026-11-27T01:30:00Z - 12\n", "64 hexadecimal");
    refuses("a read - 2026-11-27T01:30:00Z - " HASH "\na write - 2026-11-27T01:30:00Z - " HASH,
            "two tokens are called 'a'");
    refuses("a read - 2026-11-27T01:30:00Z - " HASH " more\n", "columns");
    refuses("a admin x. 2026-11-27T01:30:00Z - " HASH "\n", "admin");
    refuses("a\"b read - 2026-11-27T01:30:00Z - " HASH "\n", "cannot be called");
}

static void names_scopes_and_prefixes_have_rules(void **state)
{
    struct token token = {0};
    struct error error = {0};
    (void)state;
    assert_int_equal(token_set_name(&token, "", &error), STATUS_INVALID);
    assert_int_equal(token_set_name(&token, "two words", &error), STATUS_INVALID);
    assert_int_equal(token_set_name(&token, "line\nbreak", &error), STATUS_INVALID);
    assert_int_equal(token_set_scopes(&token, "", &error), STATUS_INVALID);
    assert_int_equal(token_set_scopes(&token, "read,root", &error), STATUS_INVALID);
    assert_int_equal(token_set_scopes(&token, "admin", &error), STATUS_OK);
    assert_int_equal(token.scopes, TOKEN_READ | TOKEN_WRITE | TOKEN_ADMIN);
    assert_int_equal(token_set_prefix(&token, "plant.", &error), STATUS_INVALID);
    assert_int_equal(token_set_scopes(&token, "read", &error), STATUS_OK);
    assert_int_equal(token_set_prefix(&token, "-", &error), STATUS_INVALID);
    assert_int_equal(token_set_prefix(&token, "a\"b", &error), STATUS_INVALID);
    assert_int_equal(token_set_prefix(&token, "a{b", &error), STATUS_INVALID);
    assert_int_equal(token_set_prefix(&token, "plant.", &error), STATUS_OK);
}

static void a_prefix_is_of_the_name(void **state)
{
    static const struct {
        const char *canonical;
        bool allowed;
    } cases[] = {
        {"plant.a", true},
        {"plant.", true},
        {"plant", false},
        {"plan", false},
        {"", false},
        {"plant.a{site=\"x\"}", true},
        {"other{name=\"plant.\"}", false},
        {"{\"plant. a \",site=\"x\"}", true}, /* a name that needs quoting */
        {"{\"a plant.\"}", false},
        {"{", false},
        {"{\"", false},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const char *text = cases[i].canonical;
        assert_int_equal(token_prefix_allows("plant.", text, strlen(text)), cases[i].allowed);
    }
    assert_true(token_prefix_allows("", "anything", 8));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written_is_read_back),
        cmocka_unit_test(secrets_differ_and_are_long),
        cmocka_unit_test(a_file_that_makes_no_sense_is_refused_by_line),
        cmocka_unit_test(names_scopes_and_prefixes_have_rules),
        cmocka_unit_test(a_prefix_is_of_the_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
