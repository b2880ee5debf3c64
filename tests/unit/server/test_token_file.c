/* The file of access tokens: what is refused, what a change keeps, and the command on it.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "server/token_file.h"

#include "base/check.h"
#include "server/command.h"
#include "tests/unit/server/shell.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define HASH "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"

static char folder[] = "/tmp/forecastd-tokens-XXXXXX";
static char path[64];
static struct shell shell;

static int prepare(void **state)
{
    (void)state;
    if (mkdtemp(folder) == NULL) {
        return 1;
    }
    shell.folder = folder;
    snprintf(path, sizeof(path), "%s/tokens", folder);
    return 0;
}

static int clean_up(void **state)
{
    char line[128];
    (void)state;
    snprintf(line, sizeof(line), "rm -rf '%s'", folder);
    return system(line);
}

static void write_file(const char *text, mode_t mode)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(chmod(path, mode), 0);
}

static struct token token_named(const char *name)
{
    struct token token = {.scopes = TOKEN_READ, .expires_ms = INT64_MAX, .hash = HASH};
    snprintf(token.name, sizeof(token.name), "%s", name);
    return token;
}

static void refused(enum status status, const struct error *error, enum status wanted,
                    const char *words)
{
    assert_int_equal(status, wanted);
    if (strstr(error->text, words) == NULL) {
        fail_msg("'%s' is not in: %s", words, error->text);
    }
}

static void a_file_that_cannot_be_trusted_is_refused(void **state)
{
    struct token_list list;
    struct error error = {0};
    (void)state;
    refused(token_file_read("/nonexistent/tokens", &list, &error), &error, STATUS_IO,
            "could not open '/nonexistent/tokens'");
    assert_non_null(strstr(error.hint, "forecastd token create"));
    refused(token_file_read(folder, &list, &error), &error, STATUS_INVALID, "is not a plain file");
    write_file("", 0666);
    refused(token_file_read(path, &list, &error), &error, STATUS_INVALID,
            "can be written by everybody");
    assert_non_null(strstr(error.hint, "chmod o-w"));
    write_file("", 0600);
    assert_int_equal(truncate(path, (off_t)TOKEN_FILE_BYTES_MAX + 1), 0);
    refused(token_file_read(path, &list, &error), &error, STATUS_INVALID, "at most 256 KiB");
    write_file("# fine\n\nhalf a line\n", 0600);
    refused(token_file_read(path, &list, &error), &error, STATUS_INVALID, ":3");
}

static void a_change_keeps_mode_comments_and_order(void **state)
{
    char text[1024];
    struct token first = token_named("first"), last = token_named("last");
    struct error error = {0};
    struct stat about;
    (void)state;
    write_file("# by hand\nmiddle read - 2026-11-27T01:30:00Z - " HASH, 0640); /* no line's end */
    assert_int_equal(token_file_add(path, &last, &error), STATUS_OK);
    refused(token_file_add(path, &last, &error), &error, STATUS_CONFLICT,
            "there is a token 'last' already");
    assert_int_equal(token_file_add(path, &first, &error), STATUS_OK);
    assert_int_equal(token_file_remove(path, "last", &error), STATUS_OK);
    refused(token_file_remove(path, "last", &error), &error, STATUS_NOT_FOUND, "last");
    shell_read(&shell, "tokens", text, sizeof(text));
    assert_memory_equal(text, "# by hand\nmiddle read - ", 24);
    assert_non_null(strstr(text, HASH "\nfirst read - "));
    assert_null(strstr(text, "last"));
    assert_int_equal(stat(path, &about), 0);
    assert_int_equal(about.st_mode & 0777, 0640);
}

/* Root makes the file, and the daemon is somebody else: with the umask of either it can be read. */
static void a_new_file_can_be_read_by_the_daemon(void **state)
{
    struct token token = token_named("first");
    struct token_list list = {NULL, 0};
    struct error error = {0};
    struct stat about;
    (void)state;
    bool root = geteuid() == 0;
    assert_true(unlink(path) == 0 || root);
    mode_t before = umask(077);
    assert_int_equal(token_file_add(path, &token, &error), STATUS_OK);
    umask(before);
    assert_int_equal(stat(path, &about), 0);
    assert_int_equal(about.st_mode & 0777, 0644);
    assert_int_equal(chmod(folder, 0755), 0);
    assert_true(!root || seteuid(65534) == 0);
    enum status status = token_file_read(path, &list, &error);
    assert_true(!root || seteuid(0) == 0);
    assert_int_equal(status, STATUS_OK);
    assert_int_equal(list.count, 1);
    token_list_release(&list);
}

static void who_is_kept_out_is_told_so(void **state)
{
    struct token_list list;
    struct error error = {0};
    (void)state;
    bool root = geteuid() == 0;
    write_file("", 0);
    assert_true(!root || seteuid(65534) == 0);
    enum status status = token_file_read(path, &list, &error);
    assert_true(!root || seteuid(0) == 0);
    refused(status, &error, STATUS_IO, "Permission denied");
    assert_non_null(strstr(error.hint, "chmod o+r"));
    assert_null(strstr(error.hint, "token create"));
    assert_int_equal(chmod(path, 0600), 0);
}

static void there_are_only_so_many(void **state)
{
    struct error error = {0};
    struct text text;
    struct token more = token_named("more");
    (void)state;
    text_init(&text, TOKEN_FILE_BYTES_MAX);
    for (int i = 0; i < TOKENS_MAX; i++) {
        struct token token = token_named("");
        snprintf(token.name, sizeof(token.name), "n%d", i);
        token_write(&token, &text);
    }
    write_file(text.bytes, 0600);
    refused(token_file_add(path, &more, &error), &error, STATUS_TOO_LARGE, "tokens already");
    assert_int_equal(token_file_remove(path, "n7", &error), STATUS_OK);
    assert_int_equal(token_file_add(path, &more, &error), STATUS_OK);
    text_release(&text);
}

static void a_change_that_cannot_be_made_changes_nothing(void **state)
{
    char text[256], beside[80], far[1100];
    struct token token = token_named("one");
    struct error error = {0};
    (void)state;
    refused(token_file_add("/nonexistent/tokens", &token, &error), &error, STATUS_IO, "could not");
    refused(token_file_remove("/nonexistent/tokens", "one", &error), &error, STATUS_IO,
            "could not open");
    snprintf(far, sizeof(far), "/tmp/%01050d", 0);
    assert_int_equal(token_file_add(far, &token, &error), STATUS_IO);
    write_file("# kept\n", 0600);
    snprintf(beside, sizeof(beside), "%s.new", path);
    assert_int_equal(symlink("/tmp/nowhere", beside), 0); /* somebody waits for us to follow it */
    refused(token_file_add(path, &token, &error), &error, STATUS_IO, "write beside");
    shell_read(&shell, "tokens", text, sizeof(text));
    assert_string_equal(text, "# kept\n");
    assert_int_equal(unlink(beside), 0);
}

static void the_command_says_what_is_missing(void **state)
{
    static const struct {
        const char *words[4], *told;
    } rows[] = {
        {{NULL}, "say what to do"},
        {{"destroy"}, "say what to do"},
        {{"revoke"}, "say which token"},
        {{"list", "x"}, "unexpected argument 'x'"},
        {{"revoke", "x", "y"}, "unexpected argument 'y'"},
        {{"create"}, "say what it may do"},
        {{"list", "--scope=read"}, "go with create"},
        {{"create", "--scope=rule", "--tokens=/nonexistent/t"}, "there is no scope 'rule'"},
        {{"create", "--scope=read", "--name=a/b", "--tokens=/nonexistent/t"},
         "cannot be called 'a/b'"},
        {{"create", "--scope=read", "--prefix={", "--tokens=/nonexistent/t"},
         "a prefix cannot be '{'"},
        {{"create", "--scope=admin", "--prefix=a", "--tokens=/nonexistent/t"},
         "cannot have a prefix"},
        {{"create", "--scope=read", "--expires=200000000y", "--tokens=/nonexistent/t"},
         "at most a hundred years"},
        {{"create", "--scope=read", "--expires=soon", "--tokens=/nonexistent/t"}, "soon"},
        {{"list"}, "no file of tokens is named"},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        const char *const *words = rows[i].words;
        int code = shell_run(&shell, command_token, words[0], words[1], words[2], words[3], NULL);
        assert_int_not_equal(code, EXIT_DONE);
        assert_string_equal(shell.out, "");
        if (strstr(shell.err, rows[i].told) == NULL) {
            fail_msg("'%s' is not in: %s", rows[i].told, shell.err);
        }
    }
}

static void a_token_is_made_listed_and_revoked(void **state)
{
    char file[80];
    (void)state;
    write_file("", 0600);
    snprintf(file, sizeof(file), "--tokens=%s", path);
    assert_int_equal(shell_run(&shell, command_token, "create", "--scope=write", "--prefix=plant.",
                               "--name=telegraf", "--expires=30d", file, NULL),
                     EXIT_DONE);
    assert_memory_equal(shell.out, "fct_", 4);
    assert_int_equal(shell_run(&shell, command_token, "list", file, NULL), EXIT_DONE);
    assert_non_null(strstr(shell.out, "telegraf"));
    assert_non_null(strstr(shell.out, "plant."));
    assert_null(strstr(shell.out, "fct_"));
    assert_int_equal(shell_run(&shell, command_token, "revoke", "telegraf", file, NULL), EXIT_DONE);
    assert_int_equal(shell_run(&shell, command_token, "revoke", "telegraf", file, NULL),
                     EXIT_FAILED);
    assert_non_null(strstr(shell.err, "telegraf"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_file_that_cannot_be_trusted_is_refused),
        cmocka_unit_test(a_change_keeps_mode_comments_and_order),
        cmocka_unit_test(a_new_file_can_be_read_by_the_daemon),
        cmocka_unit_test(who_is_kept_out_is_told_so),
        cmocka_unit_test(there_are_only_so_many),
        cmocka_unit_test(a_change_that_cannot_be_made_changes_nothing),
        cmocka_unit_test(the_command_says_what_is_missing),
        cmocka_unit_test(a_token_is_made_listed_and_revoked),
    };
    return cmocka_run_group_tests(tests, prepare, clean_up);
}
