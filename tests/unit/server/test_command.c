/* The command line: options, exit codes, what goes where, and the commands on a small real file.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Each command runs in a child process with its output in files, as a shell would run it.
 */
#include "server/command.h"
#include "tests/watched.h"

#include <fcntl.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define WORDS_MAX 24

static char folder[] = "/tmp/forecastd-command-XXXXXX";
static char out[1 << 20], err[1 << 16];
static char csv[64], store[64], forecasts[64];

static void read_back(const char *name, char *text, size_t capacity)
{
    char path[96];
    snprintf(path, sizeof(path), "%s/%s", folder, name);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    size_t length = fread(text, 1, capacity - 1, file);
    text[length] = '\0';
    fclose(file);
}

static void redirect(const char *name, int fd)
{
    char path[96];
    snprintf(path, sizeof(path), "%s/%s", folder, name);
    int file = open(path, O_CREAT | O_TRUNC | O_WRONLY, 0600);
    if (file < 0 || dup2(file, fd) != fd) {
        _exit(99);
    }
}

/* Runs one command with words up to NULL; the exit code. Fills out and err. */
static int run(int (*command)(int argc, char **argv), ...)
{
    char *words[WORDS_MAX] = {0};
    int count = 0;
    va_list list;
    va_start(list, command);
    for (const char *word; (word = va_arg(list, const char *)) != NULL && count < WORDS_MAX - 1;) {
        words[count++] = strdup(word);
    }
    va_end(list);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        redirect("out", STDOUT_FILENO);
        redirect("err", STDERR_FILENO);
        int code = command(count, words);
        fflush(stdout);
        watched_exit(code);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    for (int i = 0; i < count; i++) {
        free(words[i]);
    }
    assert_true(WIFEXITED(status));
    read_back("out", out, sizeof(out));
    read_back("err", err, sizeof(err));
    return WEXITSTATUS(status);
}

static int prepare(void **state)
{
    (void)state;
    if (mkdtemp(folder) == NULL) {
        return 1;
    }
    snprintf(csv, sizeof(csv), "%s/waves.csv", folder);
    snprintf(store, sizeof(store), "%s/store", folder);
    snprintf(forecasts, sizeof(forecasts), "%s/forecasts.csv", folder);
    FILE *file = fopen(csv, "w");
    if (file == NULL) {
        return 1;
    }
    fputs("timestamp,a,\"b,c\",short\n", file);
    for (int i = 0; i < 600; i++) {
        fprintf(file, "2026-01-%02dT%02d:00:00Z,%.3f,%.3f,", 1 + i / 24, i % 24,
                10 + 3 * sin(i * 6.2831853 / 24), 20 + cos(i * 6.2831853 / 24) + 0.1 * (i % 7));
        fprintf(file, i >= 590 ? "1\n" : "\n");
    }
    fclose(file);
    return 0;
}

static int clean_up(void **state)
{
    char line[128];
    (void)state;
    snprintf(line, sizeof(line), "rm -rf '%s'", folder);
    return system(line);
}

static void help_and_version_are_everywhere(void **state)
{
    static int (*const commands[])(int argc, char **argv) = {
        command_serve,     command_import, command_train,  command_forecast, command_backtest,
        command_backbones, command_config, command_export, command_check,    command_healthcheck,
    };
    (void)state;
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
        assert_int_equal(run(commands[i], "--help", NULL), EXIT_DONE);
        assert_non_null(strstr(out, "Usage: forecastd "));
        assert_string_equal(err, "");
        assert_int_equal(run(commands[i], "--version", NULL), EXIT_DONE);
        assert_non_null(strstr(out, "forecastd "));
        assert_int_equal(run(commands[i], "--no-such-option", NULL), EXIT_USAGE);
        assert_non_null(strstr(err, "forecastd: unknown option '--no-such-option'\n"));
        assert_non_null(strstr(err, "Try 'forecastd "));
        assert_string_equal(out, "");
    }
}

static void mistakes_of_usage_are_told(void **state)
{
    (void)state;
    assert_int_equal(run(command_backtest, NULL), EXIT_USAGE);
    assert_int_equal(run(command_backtest, csv, NULL), EXIT_USAGE);
    assert_non_null(strstr(err, "--horizon"));
    assert_int_equal(run(command_backtest, csv, "--horizon", NULL), EXIT_USAGE);
    assert_int_equal(run(command_backtest, csv, "--horizon", "x", NULL), EXIT_USAGE);
    assert_int_equal(run(command_backtest, csv, "--horizon=0", NULL), EXIT_USAGE);
    assert_int_equal(run(command_backtest, csv, csv, "--horizon=3", NULL), EXIT_USAGE);
    assert_int_equal(run(command_backtest, csv, "--horizon=3", "--json=yes", NULL), EXIT_USAGE);
    assert_int_equal(run(command_backtest, csv, "--horizon=3", "--seconds=1", "--steps=1", NULL),
                     EXIT_USAGE);
    assert_int_equal(run(command_backtest, csv, "--horizon=3", "--end=yesterday", NULL),
                     EXIT_USAGE);
    assert_int_equal(run(command_backtest, csv, "--horizon=3", "--windows=0", "--plot=x", NULL),
                     EXIT_USAGE);
    assert_int_equal(run(command_backtest, csv, "--horizon=3", "--plot-series=a", NULL),
                     EXIT_USAGE);
    assert_int_equal(run(command_forecast, "--data", store, NULL), EXIT_USAGE);
    assert_int_equal(run(command_import, "--data", store, NULL), EXIT_USAGE);
    assert_int_equal(run(command_train, "--seconds=1", "--steps=1", NULL), EXIT_USAGE);
    assert_int_equal(run(command_export, "word", NULL), EXIT_USAGE);
}

static void failures_leave_with_one(void **state)
{
    (void)state;
    assert_int_equal(run(command_backtest, "/nonexistent.csv", "--horizon=3", NULL), EXIT_FAILED);
    assert_non_null(strstr(err, "/nonexistent.csv"));
    assert_int_equal(run(command_export, "--data", "/nonexistent/store", NULL), EXIT_FAILED);
    assert_int_equal(run(command_check, "--data", "/nonexistent/store", NULL), EXIT_FAILED);
    assert_int_equal(run(command_config, "--set", "a.b=c", NULL), EXIT_FAILED);
    assert_non_null(strstr(err, "a.b"));
    assert_int_equal(run(command_healthcheck, "--url", "http://127.0.0.1:1", NULL), EXIT_FAILED);
    assert_int_equal(run(command_healthcheck, "--url", "https://127.0.0.1", NULL), EXIT_FAILED);
    assert_int_equal(run(command_serve, "--set", "server.listen=0.0.0.0:0", "--data", store, NULL),
                     EXIT_FAILED);
    assert_non_null(strstr(err, "--insecure"));
}

static void configuration_is_printed_and_checked(void **state)
{
    (void)state;
    assert_int_equal(run(command_config, "--set", "train.every=2h", NULL), EXIT_DONE);
    assert_non_null(strstr(out, "every: 2h"));
    assert_int_equal(run(command_config, "--example", NULL), EXIT_DONE);
    assert_non_null(strstr(out, "listen: \"127.0.0.1:7380\""));
    assert_int_equal(run(command_config, "--check", NULL), EXIT_DONE);
    assert_string_equal(out, "");
    assert_int_equal(run(command_config, "--options", NULL), EXIT_DONE);
    assert_non_null(strstr(out, "ingest.max_body"));
    assert_int_equal(run(command_backbones, NULL), EXIT_DONE);
    for (size_t i = 0; i < backbone_count(); i++) {
        struct backbone_info info = backbone_info(i);
        assert_non_null(strstr(out, info.help));
        assert_non_null(strstr(out, info.paper));
    }
    assert_int_equal(run(command_backbones, "linformer", NULL), EXIT_DONE);
    assert_non_null(strstr(out, "none | headwise | key_value | layerwise"));
    assert_null(strstr(out, "logsparse: "));
    assert_int_equal(run(command_backbones, "--json", NULL), EXIT_DONE);
    assert_memory_equal(out, "{\"backbones\":[", 14);
    assert_int_equal(run(command_backbones, "lstm", NULL), EXIT_FAILED);
    assert_int_equal(run(command_backbones, "--json", "linformer", NULL), EXIT_USAGE);
}

static void a_file_goes_in_and_comes_out(void **state)
{
    (void)state;
    assert_int_equal(run(command_import, "--data", store, csv, NULL), EXIT_DONE);
    assert_string_equal(out, "");
    assert_int_equal(run(command_import, "--data", store, csv, NULL), EXIT_DONE);
    assert_int_equal(run(command_export, "--data", store, "--series", "a", "--start",
                         "2026-01-02T00:00:00Z", "--end", "2026-01-02T02:00:00Z", NULL),
                     EXIT_DONE);
    assert_string_equal(out, "series_id,timestamp,value\na,2026-01-02T00:00:00Z,10\n"
                             "a,2026-01-02T01:00:00Z,10.776\n");
    assert_int_equal(run(command_check, "--data", store, NULL), EXIT_DONE);
    assert_string_equal(out, "");
    assert_int_equal(run(command_forecast, "--data", store, "--series", "a", "--steps", "3",
                         "--format=csv", NULL),
                     EXIT_DONE);
    assert_ptr_equal(strstr(out, "series,timestamp,mean"), out);
    assert_int_equal(run(command_forecast, "--data", store, "--series", "unknown", NULL),
                     EXIT_FAILED);
}

static void a_backtest_prints_the_keys_of_the_contract(void **state)
{
    static const char *const keys[] = {
        "series",         "season",       "train_seconds", "forecast_seconds",
        "peak_bytes",     "parameters",   "models",        "champion",
        "seasonal_naive", "MASE",         "sMAPE",         "ND",
        "rho0.1",         "rho0.9",       "wQL",           "cover80",
        "cover95",        "MSIS95",       "OWA",           "last_value",
        "drift",          "damped_trend", "seasonal_drift"};
    (void)state;
    assert_int_equal(run(command_backtest, csv, "--horizon", "12", "--windows", "2", "--season",
                         "24", "--steps", "2", "--seed", "3", "--m4", "--json", "--forecasts",
                         forecasts, NULL),
                     EXIT_DONE);
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        char quoted[40];
        snprintf(quoted, sizeof(quoted), "\"%s\":", keys[i]);
        if (strstr(out, quoted) == NULL) {
            fail_msg("%s is missing", quoted);
        }
    }
    assert_non_null(strstr(out, "\"series\":2,\"series_left_out\":1,"));
    read_back("forecasts.csv", out, sizeof(out));
    assert_ptr_equal(strstr(out,
                            "series_id,step,mean,q0.025,q0.1,q0.2,q0.3,q0.4,q0.5,q0.6,q0.7,q0.8,"
                            "q0.9,q0.975\na#1,1,"),
                     out);
    assert_non_null(strstr(out, "\na#2,12,"));
    assert_non_null(strstr(out, "\n\"b,c#2\",12,"));
}

static void the_same_steps_give_the_same_numbers(void **state)
{
    static char first[1 << 18];
    (void)state;
    for (int lanes = 1; lanes <= 2; lanes++) {
        char set[32];
        snprintf(set, sizeof(set), "train.lanes=%d", lanes);
        assert_int_equal(run(command_backtest, csv, "--horizon", "12", "--windows", "0", "--steps",
                             "2", "--set", set, "--forecasts", forecasts, NULL),
                         EXIT_DONE);
        read_back("forecasts.csv", out, sizeof(out));
        assert_true(strlen(out) < sizeof(first));
        if (lanes == 1) {
            strcpy(first, out);
        }
    }
    assert_string_equal(first, out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(help_and_version_are_everywhere),
        cmocka_unit_test(mistakes_of_usage_are_told),
        cmocka_unit_test(failures_leave_with_one),
        cmocka_unit_test(configuration_is_printed_and_checked),
        cmocka_unit_test(a_file_goes_in_and_comes_out),
        cmocka_unit_test(a_backtest_prints_the_keys_of_the_contract),
        cmocka_unit_test(the_same_steps_give_the_same_numbers),
    };
    return cmocka_run_group_tests(tests, prepare, clean_up);
}
