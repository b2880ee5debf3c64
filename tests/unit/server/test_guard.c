/* The file of tokens while the daemon runs: what changes it, what cannot be read, what is said.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "server/guard.h"

#include "base/clock.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[] = "/tmp/forecastd-guard-XXXXXX";
static struct config config;
static struct guard *guard;
static char secrets[2][TOKEN_SECRET_BYTES];
static char lines[2][256];

static void write_tokens(size_t count)
{
    FILE *file = fopen(config.tokens, "w");
    assert_non_null(file);
    for (size_t i = 0; i < count; i++) {
        assert_true(fputs(lines[i], file) >= 0);
    }
    assert_int_equal(fclose(file), 0);
    assert_int_equal(chmod(config.tokens, 0600), 0);
}

/* As an editor or `forecastd token revoke` does it. */
static void replace_tokens(size_t count, mode_t mode)
{
    char real[sizeof(config.tokens)];
    memcpy(real, config.tokens, sizeof(real));
    snprintf(config.tokens, sizeof(config.tokens), "%s/next", folder);
    write_tokens(count);
    assert_int_equal(chmod(config.tokens, mode), 0);
    assert_int_equal(rename(config.tokens, real), 0);
    memcpy(config.tokens, real, sizeof(real));
}

static void make_token(size_t index, const char *name)
{
    struct token token = {.scopes = TOKEN_READ, .expires_ms = INT64_MAX};
    struct text line;
    snprintf(token.name, sizeof(token.name), "%s", name);
    token_draw(&token, secrets[index]);
    text_init(&line, sizeof(lines[0]) - 1);
    token_write(&token, &line);
    memcpy(lines[index], line.bytes, line.length + 1);
    text_release(&line);
}

static int open_guard(void **state)
{
    struct error error = {0};
    (void)state;
    snprintf(config.tokens, sizeof(config.tokens), "%s/tokens", folder);
    snprintf(config.audit, sizeof(config.audit), "%s/audit", folder);
    unlink(config.audit);
    make_token(0, "stays");
    make_token(1, "goes");
    write_tokens(2);
    assert_int_equal(guard_open(&config, &guard, &error), STATUS_OK);
    return 0;
}

static int close_guard(void **state)
{
    (void)state;
    guard_close(guard);
    return 0;
}

static bool holds(size_t index)
{
    char authorization[TOKEN_SECRET_BYTES + 8];
    struct api_services services = {.access = guard_access(guard)};
    struct api_response response = {0};
    struct api_request request = {.path = "/api/v1/series",
                                  .query = "",
                                  .content_type = "",
                                  .authorization = authorization,
                                  .response = &response};
    snprintf(authorization, sizeof(authorization), "Bearer %s", secrets[index]);
    if (api_begin(&services, &request, 0, &response) == API_DECLINED) {
        return true;
    }
    assert_int_equal(response.status, 401);
    api_response_release(&response);
    return false;
}

/* How many lines of the audit log end so. */
static size_t audited(const char *result)
{
    char line[512];
    size_t count = 0;
    FILE *file = fopen(config.audit, "r");
    assert_non_null(file);
    while (fgets(line, sizeof(line), file) != NULL) {
        count += strstr(line, result) != NULL;
    }
    fclose(file);
    return count;
}

static void a_revoked_token_is_out_at_the_next_look(void **state)
{
    (void)state;
    assert_true(holds(0) && holds(1));
    replace_tokens(1, 0600);
    guard_tick(guard);
    assert_true(holds(0) && !holds(1));
    guard_tick(guard); /* nothing has changed: nothing is said */
    assert_int_equal(audited("event=tokens result=\"read again\""), 1);
}

/* Everybody may write to it, so it is not believed until that is put right: same file, same bytes.
 */
static void a_file_that_is_trusted_later_is_read_then(void **state)
{
    (void)state;
    replace_tokens(1, 0606);
    for (int i = 0; i < 3; i++) {
        guard_tick(guard);
        assert_true(holds(1));
    }
    assert_int_equal(audited("event=tokens result=\"kept what was in use\""), 1);
    assert_int_equal(chmod(config.tokens, 0600), 0);
    guard_tick(guard);
    assert_true(holds(0) && !holds(1));
    assert_int_equal(audited("event=tokens result=\"read again\""), 1);
}

/* The file was good and stays as it is: only descriptors were short when it was looked at. */
static void what_could_not_be_read_is_tried_again(void **state)
{
    struct rlimit all, none;
    (void)state;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &all), 0);
    none = (struct rlimit){0, all.rlim_max};
    replace_tokens(1, 0600);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    guard_tick(guard);
    guard_tick(guard);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &all), 0);
    assert_true(holds(1));
    guard_tick(guard);
    assert_true(holds(0) && !holds(1));
    assert_int_equal(audited("event=tokens result=\"kept what was in use\""), 1);
    assert_int_equal(audited("event=tokens result=\"read again\""), 1);
}

static void another_reason_is_said_too(void **state)
{
    (void)state;
    assert_int_equal(unlink(config.tokens), 0);
    guard_tick(guard);
    guard_tick(guard);
    assert_int_equal(audited("event=tokens result=\"kept what was in use\""), 1);
    assert_true(holds(1));
    replace_tokens(1, 0606);
    guard_tick(guard);
    assert_int_equal(audited("event=tokens result=\"kept what was in use\""), 2);
    guard_reload(guard); /* somebody asked: he is told */
    assert_int_equal(audited("event=reload result=\"kept what was in use\""), 1);
    assert_int_equal(chmod(config.tokens, 0600), 0);
    guard_reload(guard);
    assert_int_equal(audited("event=reload result=\"done\""), 1);
    guard_tick(guard);
    assert_true(holds(0) && !holds(1));
    assert_int_equal(audited("event=tokens result=\"read again\""), 0);
}

/* What the file's moment of writing does not show, as with tools that set it back. */
static void a_change_of_the_same_size_and_time_is_seen(void **state)
{
    struct stat about;
    char other[256];
    (void)state;
    assert_int_equal(stat(config.tokens, &about), 0);
    clock_sleep_ms(20); /* file systems tell moments 10 ms apart */
    FILE *file = fopen(config.tokens, "w");
    assert_non_null(file);
    memcpy(other, lines[1], sizeof(other));
    char *hash = strrchr(other, ' ') + 1;
    hash[0] = hash[0] == '0' ? '1' : '0';
    assert_true(fputs(lines[0], file) >= 0 && fputs(other, file) >= 0);
    assert_int_equal(fclose(file), 0);
    const struct timespec times[2] = {about.st_atim, about.st_mtim};
    assert_int_equal(utimensat(AT_FDCWD, config.tokens, times, 0), 0);
    guard_tick(guard);
    assert_true(holds(0) && !holds(1));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_revoked_token_is_out_at_the_next_look, open_guard,
                                        close_guard),
        cmocka_unit_test_setup_teardown(a_file_that_is_trusted_later_is_read_then, open_guard,
                                        close_guard),
        cmocka_unit_test_setup_teardown(what_could_not_be_read_is_tried_again, open_guard,
                                        close_guard),
        cmocka_unit_test_setup_teardown(another_reason_is_said_too, open_guard, close_guard),
        cmocka_unit_test_setup_teardown(a_change_of_the_same_size_and_time_is_seen, open_guard,
                                        close_guard),
    };
    char line[128];
    if (mkdtemp(folder) == NULL) {
        return 1;
    }
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    snprintf(line, sizeof(line), "rm -rf '%s'", folder);
    return system(line) == 0 ? failed : 1;
}
