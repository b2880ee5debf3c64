/* What users give for calls to other servers: addresses, headers and secrets.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "base/check.h"
#include "server/fetch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static char path[] = "/tmp/forecastd-secret-XXXXXX";

static void write_file(const char *bytes, size_t length)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, length, file), length);
    assert_int_equal(fclose(file), 0);
}

static int make_file(void **state)
{
    (void)state;
    int fd = mkstemp(path);
    return fd < 0 ? 1 : close(fd);
}

static int remove_file(void **state)
{
    (void)state;
    return unlink(path);
}

static void says(const struct error *error, const char *words)
{
    if (strstr(error->text, words) == NULL) {
        fail_msg("'%s' is not in: %s", words, error->text);
    }
}

static void an_address_is_checked_before_it_is_used(void **state)
{
    static const char *const good[] = {"http://a", "HTTPS://a:1/b?c=d", "http://[::1]:9090/",
                                       "http://a/?x=b@c"};
    static const struct {
        const char *url, *told;
    } bad[] = {
        {"", "must begin with http"},
        {"ftp://a", "must begin with http"},
        {"http:/a", "must begin with http"},
        {"http://user:s3cret@a/", "must not hold a user"},
        {"http://a@b", "must not hold a user"},
        {"http://", "not a usable address"},
        {"http:///path", "not a usable address"},
        {"http://:80/", "not a usable address"},
        {"http://a/#b", "not a usable address"},
        {"http://a/b c", "not a usable address"},
        {"http://a/\r\nX: y", "not a usable address"},
        {"http://a/\x7f", "not a usable address"},
    };
    struct error error = {0};
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(good); i++) {
        assert_int_equal(fetch_check_url("--url", good[i], &error), STATUS_OK);
    }
    for (size_t i = 0; i < ARRAY_COUNT(bad); i++) {
        assert_int_equal(fetch_check_url("--url", bad[i].url, &error), STATUS_INVALID);
        says(&error, bad[i].told);
        says(&error, "--url");
        assert_null(strstr(error.text, "s3cret"));
    }
}

static void a_header_has_a_name_and_one_line(void **state)
{
    static const char *const good[] = {"A: b", "X-Token:\tb c", "A:", "Authorization: Bearer x"};
    static const char *const bad[] = {"",        "A",      ": b", "A b: c", "A: b\r\nC: d",
                                      "A: \x01", "A: \x7f"};
    struct error error = {0};
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(good); i++) {
        assert_int_equal(fetch_check_header(good[i], strlen(good[i]), &error), STATUS_OK);
    }
    for (size_t i = 0; i < ARRAY_COUNT(bad); i++) {
        assert_int_equal(fetch_check_header(bad[i], strlen(bad[i]), &error), STATUS_INVALID);
    }
}

static void a_secret_is_the_first_line_of_a_file(void **state)
{
    static char secret[FETCH_SECRET_MAX], large[FETCH_SECRET_MAX + 1];
    struct error error = {0};
    (void)state;
    write_file("user:word\r\nmore\n", 16);
    assert_int_equal(fetch_read_secret(path, secret, &error), STATUS_OK);
    assert_string_equal(secret, "user:word");
    write_file("word", 4);
    assert_int_equal(fetch_read_secret(path, secret, &error), STATUS_OK);
    assert_string_equal(secret, "word");
    write_file("\nword\n", 6);
    assert_int_equal(fetch_read_secret(path, secret, &error), STATUS_INVALID);
    says(&error, "is empty");
    write_file("wo\x01rd\n", 6);
    assert_int_equal(fetch_read_secret(path, secret, &error), STATUS_INVALID);
    says(&error, "control characters");
    memset(large, 'x', sizeof(large));
    write_file(large, sizeof(large));
    assert_int_equal(fetch_read_secret(path, secret, &error), STATUS_TOO_LARGE);
    says(&error, "too large");
    assert_int_equal(fetch_read_secret("/nonexistent/secret", secret, &error), STATUS_IO);
    says(&error, "could not open '/nonexistent/secret'");
    assert_int_equal(fetch_read_secret("/tmp", secret, &error), STATUS_IO);
    says(&error, "could not read '/tmp'");
}

static void headers_come_from_a_file_line_by_line(void **state)
{
    static const char lines[] = "# ours\n\nA: b\r\nC: d";
    struct error error = {0};
    struct text text;
    (void)state;
    text_init(&text, 1 << 16);
    write_file(lines, strlen(lines));
    assert_int_equal(fetch_read_headers(path, &text, &error), STATUS_OK);
    assert_string_equal(text.bytes, "A: b\nC: d\n");
    write_file("A: b\nno header\n", 15);
    assert_int_equal(fetch_read_headers(path, &text, &error), STATUS_INVALID);
    says(&error, "not 'Name: value'");
    says(&error, path);
    assert_int_equal(fetch_read_headers("/nonexistent/headers", &text, &error), STATUS_IO);
    text_release(&text);
    text_init(&text, 4);
    write_file("A: b\nC: d\n", 10);
    assert_int_equal(fetch_read_headers(path, &text, &error), STATUS_TOO_LARGE);
    text_release(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_address_is_checked_before_it_is_used),
        cmocka_unit_test(a_header_has_a_name_and_one_line),
        cmocka_unit_test(a_secret_is_the_first_line_of_a_file),
        cmocka_unit_test(headers_come_from_a_file_line_by_line),
    };
    return cmocka_run_group_tests(tests, make_file, remove_file);
}
