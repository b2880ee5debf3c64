/* Tests of check: a false assertion ends the process and says where.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "base/check.h"
#include "tests/unit/base/test.h"
#include "tests/watched.h"

#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* Runs CHECK(value == 7) in a child; its standard error goes to `output`. */
static int run_child(int value, char *output, size_t capacity)
{
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    if (child == 0) {
        dup2(ends[1], STDERR_FILENO);
        close(ends[0]);
        signal(SIGABRT, SIG_DFL);
        CHECK(value == 7);
        watched_exit(0);
    }
    close(ends[1]);
    size_t used = 0;
    ssize_t got;
    while ((got = read(ends[0], output + used, capacity - 1 - used)) > 0) {
        used += (size_t)got;
    }
    output[used] = '\0';
    close(ends[0]);
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    return status;
}

static void false_aborts_and_names_the_place(UNUSED void **state)
{
    char output[4096];
    int status = run_child(8, output, sizeof(output));
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGABRT);
    assert_non_null(strstr(output, "test_check.c:"));
    assert_non_null(strstr(output, "value == 7"));
}

static void true_does_nothing(UNUSED void **state)
{
    char output[4096];
    int status = run_child(7, output, sizeof(output));
    assert_true(WIFEXITED(status));
    assert_string_equal(output, "");
}

static void arrays_are_counted(UNUSED void **state)
{
    int seven[7] = {0};
    assert_int_equal(ARRAY_COUNT(seven), 7);
    int evaluated = 0;
    SLOW_CHECK(++evaluated > 0);
#ifdef FORECASTD_DEBUG
    assert_int_equal(evaluated, 1);
#else
    assert_int_equal(evaluated, 0);
#endif
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(false_aborts_and_names_the_place),
        cmocka_unit_test(true_does_nothing),
        cmocka_unit_test(arrays_are_counted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
