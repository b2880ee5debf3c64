/* The command line: options, exit codes, what goes where, and the commands on a small real file.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "server/command.h"
#include "tests/unit/server/shell.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[] = "/tmp/forecastd-command-XXXXXX";
static struct shell shell;
static char csv[64], store[64], forecasts[64];

static int prepare(void **state)
{
    (void)state;
    if (mkdtemp(folder) == NULL) {
        return 1;
    }
    shell.folder = folder;
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
        assert_int_equal(shell_run(&shell, commands[i], "--help", NULL), EXIT_DONE);
        assert_non_null(strstr(shell.out, "Usage: forecastd "));
        assert_string_equal(shell.err, "");
        assert_int_equal(shell_run(&shell, commands[i], "--version", NULL), EXIT_DONE);
        assert_non_null(strstr(shell.out, "forecastd "));
        assert_int_equal(shell_run(&shell, commands[i], "--no-such-option", NULL), EXIT_USAGE);
        assert_non_null(strstr(shell.err, "forecastd: unknown option '--no-such-option'\n"));
        assert_non_null(strstr(shell.err, "Try 'forecastd "));
        assert_string_equal(shell.out, "");
    }
}

static void mistakes_of_usage_are_told(void **state)
{
    (void)state;
    assert_int_equal(shell_run(&shell, command_backtest, NULL), EXIT_USAGE);
    assert_int_equal(shell_run(&shell, command_backtest, csv, NULL), EXIT_USAGE);
    assert_non_null(strstr(shell.err, "--horizon"));
    assert_int_equal(shell_run(&shell, command_backtest, csv, "--horizon", NULL), EXIT_USAGE);
    assert_int_equal(shell_run(&shell, command_backtest, csv, "--horizon", "x", NULL), EXIT_USAGE);
    assert_int_equal(shell_run(&shell, command_backtest, csv, "--horizon=0", NULL), EXIT_USAGE);
    assert_int_equal(shell_run(&shell, command_backtest, csv, csv, "--horizon=3", NULL),
                     EXIT_USAGE);
    assert_int_equal(shell_run(&shell, command_backtest, csv, "--horizon=3", "--json=yes", NULL),
                     EXIT_USAGE);
    assert_int_equal(
        shell_run(&shell, command_backtest, csv, "--horizon=3", "--seconds=1", "--steps=1", NULL),
        EXIT_USAGE);
    assert_int_equal(
        shell_run(&shell, command_backtest, csv, "--horizon=3", "--end=yesterday", NULL),
        EXIT_USAGE);
    assert_int_equal(
        shell_run(&shell, command_backtest, csv, "--horizon=3", "--windows=0", "--plot=x", NULL),
        EXIT_USAGE);
    assert_int_equal(
        shell_run(&shell, command_backtest, csv, "--horizon=3", "--plot-series=a", NULL),
        EXIT_USAGE);
    assert_int_equal(shell_run(&shell, command_forecast, "--data", store, NULL), EXIT_USAGE);
    assert_int_equal(shell_run(&shell, command_import, "--data", store, NULL), EXIT_USAGE);
    assert_int_equal(shell_run(&shell, command_train, "--seconds=1", "--steps=1", NULL),
                     EXIT_USAGE);
    assert_int_equal(shell_run(&shell, command_export, "word", NULL), EXIT_USAGE);
}

/* What words mean together, and what is wrong with each: exit 2 and nothing on standard output. */
static void what_is_wrong_with_the_words_is_told(void **state)
{
    static const struct {
        int (*command)(int argc, char **argv);
        const char *words[6], *told;
    } rows[] = {
        {command_backtest, {"--horizon=3"}, "no file is named"},
        {command_backtest, {"a.csv", "b.csv"}, "unexpected argument 'b.csv'"},
        {command_backtest, {"a.csv"}, "option '--horizon' is required"},
        {command_backtest,
         {"a.csv", "--horizon=3", "--windows=0", "--json"},
         "--forecasts OUT.csv"},
        {command_backtest,
         {"a.csv", "--horizon=3", "--windows=0", "--by-series=x"},
         "--windows 0 has no actual values"},
        {command_backtest, {"a.csv", "--horizon=3", "--plot-series=a"}, "needs --plot OUT.svg"},
        {command_backtest, {"a.csv", "--horizon=3", "--end=soon"}, "option '--end'"},
        {command_backbones, {"linformer", "performer"}, "unexpected argument 'performer'"},
        {command_backbones, {"--json", "linformer"}, "leave out 'linformer'"},
        {command_config, {"x"}, "unexpected argument 'x'"},
        {command_serve, {"x"}, "unexpected argument 'x'"},
        {command_healthcheck, {"x"}, "unexpected argument 'x'"},
        {command_check, {"x"}, "unexpected argument 'x'"},
        {command_train, {"x"}, "unexpected argument 'x'"},
        {command_export, {"--start=soon"}, "option '--start'"},
        {command_export, {"--end="}, "option '--end'"},
        {command_forecast, {"x"}, "unexpected argument 'x'"},
        {command_forecast, {"--horizon=3"}, "no series is named"},
        {command_backup, {NULL}, "the file to write is missing"},
        {command_backup, {"a", "b"}, "unexpected argument 'b'"},
        {command_backup, {"a", "--rate=x"}, "--rate"},
        {command_restore, {NULL}, "the file to restore is missing"},
        {command_restore, {"a", "b"}, "unexpected argument 'b'"},
        {command_config, {"--set=x"}, "option '--set' is 'x', but must be section.key=value"},
        {command_serve, {"--set", "x"}, "option '--set' is 'x'"},
        {command_export, {"--set=x"}, "option '--set' is 'x'"},
        {command_backup, {"a", "--set=x"}, "option '--set' is 'x'"},
        {command_backtest,
         {"a.csv", "--horizon=3", "--backbone=nope"},
         "option '--backbone': there is no backbone \"nope\""},
        {command_backtest, {"a.csv", "--horizon=3", "--seed=0"}, "from 1 to 9000000000000000"},
        {command_train, {"--backbone=nope"}, "there is no backbone \"nope\""},
        {command_train, {"--seed=0"}, "from 1 to 9000000000000000"},
        {command_train, {"--data=a", "--url=http://127.0.0.1:1"}, "--data and --url exclude"},
        {command_import,
         {"--data=a", "--url=http://127.0.0.1:1", "a.csv"},
         "--data and --url exclude"},
        {command_forecast,
         {"--data=a", "--url=http://127.0.0.1:1", "--series=a"},
         "--data and --url exclude"},
        {command_forecast, {"--series=a", "--steps=0"}, "\"steps\" cannot be \"0\""},
        {command_forecast, {"--series=a", "--steps=2000"}, "from 1 to 1024"},
        {command_forecast, {"--series=a", "--horizon=x"}, "\"horizon\" cannot be \"x\""},
        {command_forecast, {"--series=a", "--history=0s"}, "\"history\" cannot be"},
        {command_forecast, {"--series=a", "--level=x"}, "not a number"},
        {command_forecast, {"--series=a", "--level=0.8"}, "80, not 0.8"},
        {command_forecast, {"--series=a", "--quantiles=80"}, "outside of (0,1)"},
        {command_forecast, {"--series=a", "--format=xml"}, "\"format\" cannot be \"xml\""},
        {command_forecast, {"--series=a", "--steps=3", "--horizon=1h"}, "cannot stand together"},
        {command_forecast, {"--series=a", "--level=80", "--quantiles=0.1"}, "stand together"},
        {command_token, {"create", "--scope=all", "--tokens=/nonexistent/x"}, "scope"},
        {command_token,
         {"create", "--scope=read", "--expires=xx", "--tokens=/nonexistent/x"},
         "--expires: "},
        {command_token,
         {"create", "--scope=read", "--expires=99999d", "--tokens=/nonexistent/x"},
         "at most a hundred years"},
        {command_import, {NULL}, "no file is named"},
        {command_import, {"--query=x"}, "--from-prometheus or --from-influxdb is missing"},
        {command_import,
         {"--bucket=x", "a.csv"},
         "--from-prometheus or --from-influxdb is missing"},
        {command_import, {"--from-prometheus=http://a", "a.csv"}, "either files or a neighbour"},
        {command_import,
         {"--from-prometheus=http://a", "--from-influxdb=http://b"},
         "one neighbour at a time"},
        {command_import, {"--from-prometheus=a"}, "must begin with http"},
        {command_import, {"--from-prometheus=http://a"}, "option '--query' is missing"},
        {command_import,
         {"--from-prometheus=http://a", "--query=x", "--start=2026-01-02", "--end=2026-01-01"},
         "--start is not before --end"},
        {command_import, {"--from-prometheus=http://a", "--step=0s"}, "longer than nothing"},
        {command_import, {"--from-prometheus=http://a", "--start=soon"}, "--start: "},
        {command_import, {"--header=Authorization: x"}, "--header must not carry a secret"},
        {command_import, {"--header=x"}, "a header is not 'Name: value'"},
        {command_import, {"--bearer-file=/nonexistent/x"}, "could not open '/nonexistent/x'"},
        {command_import,
         {"--from-influxdb=http://a", "--database=b", "--query=SELECT x"},
         "--query 1 does not say where the time range goes"},
        {command_import,
         {"--from-influxdb=http://a", "--org=o", "--bucket=b", "--query=from(bucket: \"b\")"},
         "--query 1 does not say where the time range goes"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        const char *const *w = rows[i].words;
        int code = shell_run(&shell, rows[i].command, w[0], w[1], w[2], w[3], w[4], w[5], NULL);
        if (code != EXIT_USAGE || strstr(shell.err, rows[i].told) == NULL || shell.out[0] != '\0') {
            fail_msg("row %zu: code %d, '%s' is not in: %s", i, code, rows[i].told, shell.err);
        }
    }
}

static void failures_leave_with_one(void **state)
{
    (void)state;
    assert_int_equal(shell_run(&shell, command_backtest, "/nonexistent.csv", "--horizon=3", NULL),
                     EXIT_FAILED);
    assert_non_null(strstr(shell.err, "/nonexistent.csv"));
    assert_int_equal(shell_run(&shell, command_export, "--data", "/nonexistent/store", NULL),
                     EXIT_FAILED);
    assert_int_equal(shell_run(&shell, command_check, "--data", "/nonexistent/store", NULL),
                     EXIT_FAILED);
    assert_int_equal(shell_run(&shell, command_train, "--data", store, "--steps=1", NULL),
                     EXIT_FAILED);
    assert_non_null(strstr(shell.err, "there is no store in"));
    assert_int_equal(access(store, F_OK), -1); /* nothing was made of a name with a slip in it */
    assert_int_equal(shell_run(&shell, command_config, "--set", "a.b=c", NULL), EXIT_FAILED);
    assert_non_null(strstr(shell.err, "a.b"));
    assert_int_equal(shell_run(&shell, command_healthcheck, "--url", "http://127.0.0.1:1", NULL),
                     EXIT_FAILED);
    assert_int_equal(shell_run(&shell, command_healthcheck, "--url", "https://127.0.0.1", NULL),
                     EXIT_FAILED);
    assert_int_equal(
        shell_run(&shell, command_serve, "--set", "server.listen=0.0.0.0:0", "--data", store, NULL),
        EXIT_FAILED);
    assert_non_null(strstr(shell.err, "--insecure"));
}

static void configuration_is_printed_and_checked(void **state)
{
    (void)state;
    assert_int_equal(shell_run(&shell, command_config, "--set", "train.every=2h", NULL), EXIT_DONE);
    assert_non_null(strstr(shell.out, "every: 2h"));
    assert_int_equal(shell_run(&shell, command_config, "--example", NULL), EXIT_DONE);
    assert_non_null(strstr(shell.out, "listen: \"127.0.0.1:7380\""));
    assert_int_equal(shell_run(&shell, command_config, "--check", NULL), EXIT_DONE);
    assert_string_equal(shell.out, "");
    assert_int_equal(shell_run(&shell, command_config, "--options", NULL), EXIT_DONE);
    assert_non_null(strstr(shell.out, "ingest.max_body"));
    assert_int_equal(shell_run(&shell, command_backbones, NULL), EXIT_DONE);
    for (size_t i = 0; i < backbone_count(); i++) {
        struct backbone_info info = backbone_info(i);
        assert_non_null(strstr(shell.out, info.help));
        assert_non_null(strstr(shell.out, info.paper));
    }
    assert_int_equal(shell_run(&shell, command_backbones, "linformer", NULL), EXIT_DONE);
    assert_non_null(strstr(shell.out, "none | headwise | key_value | layerwise"));
    assert_null(strstr(shell.out, "logsparse: "));
    assert_int_equal(shell_run(&shell, command_backbones, "--json", NULL), EXIT_DONE);
    assert_memory_equal(shell.out, "{\"backbones\":[", 14);
    assert_int_equal(shell_run(&shell, command_backbones, "lstm", NULL), EXIT_FAILED);
    assert_int_equal(shell_run(&shell, command_backbones, "--json", "linformer", NULL), EXIT_USAGE);
}

static void a_file_goes_in_and_comes_out(void **state)
{
    (void)state;
    assert_int_equal(shell_run(&shell, command_import, "--data", store, csv, NULL), EXIT_DONE);
    assert_string_equal(shell.out, "");
    assert_int_equal(shell_run(&shell, command_import, "--data", store, csv, NULL), EXIT_DONE);
    assert_int_equal(shell_run(&shell, command_export, "--data", store, "--series", "a", "--start",
                               "2026-01-02T00:00:00Z", "--end", "2026-01-02T02:00:00Z", NULL),
                     EXIT_DONE);
    assert_string_equal(shell.out, "series_id,timestamp,value\na,2026-01-02T00:00:00Z,10\n"
                                   "a,2026-01-02T01:00:00Z,10.776\n");
    assert_int_equal(shell_run(&shell, command_check, "--data", store, NULL), EXIT_DONE);
    assert_string_equal(shell.out, "");
    assert_int_equal(
        shell_run(&shell, command_backup, "--data", store, "/nonexistent/backup", NULL),
        EXIT_FAILED);
    assert_non_null(strstr(shell.err, "'/nonexistent/backup'"));
    assert_non_null(strstr(shell.err, "No such file or directory"));
    assert_int_equal(shell_run(&shell, command_restore, "--data", "/nonexistent", folder, NULL),
                     EXIT_FAILED);
    assert_non_null(strstr(shell.err, "Is a directory"));
    assert_int_equal(shell_run(&shell, command_forecast, "--data", store, "--series", "a",
                               "--steps", "3", "--format=csv", NULL),
                     EXIT_DONE);
    assert_ptr_equal(strstr(shell.out, "series,timestamp,mean"), shell.out);
    assert_int_equal(
        shell_run(&shell, command_forecast, "--data", store, "--series", "unknown", NULL),
        EXIT_FAILED);
}

/* A model whose file leads to itself: nobody can say what is in it. */
/* Offline as over HTTP: a series that ends in the future takes no point until the clock is there.
 */
static void times_beyond_the_limits_are_refused_offline(void **state)
{
    char other[80], file[80];
    struct stat about;
    FILE *out;
    (void)state;
    snprintf(other, sizeof(other), "%s/limits", folder);
    snprintf(file, sizeof(file), "%s/limits.csv", folder);
    out = fopen(file, "w");
    assert_non_null(out);
    fputs("series_id,timestamp,value\n"
          "a,2026-01-01T00:00:00Z,1\n"
          "a,2026-01-01T00:00:00Z, .5\n"
          "a,2026-01-01T00:00:00Z,5. \n"
          "a,2999-01-01T00:00:00Z,4\n",
          out);
    fclose(out);
    assert_int_equal(shell_run(&shell, command_import, "--data", other, file, NULL), EXIT_FAILED);
    assert_non_null(strstr(shell.err, "line 5: series \"a\": the timestamp lies "));
    assert_non_null(strstr(shell.err, "ahead of now"));
    assert_non_null(strstr(shell.err, "3 points stored, 2 of them updates, 1 refused"));
    assert_int_equal(stat(other, &about), 0);
    assert_int_equal(about.st_mode & 0777, 0700); /* as serve makes it */
    assert_int_equal(shell_run(&shell, command_export, "--data", other, NULL), EXIT_DONE);
    assert_string_equal(shell.out, "series_id,timestamp,value\na,2026-01-01T00:00:00Z,5\n");
    assert_int_equal(shell_run(&shell, command_import, "--data", other, "--set",
                               "storage.retention=1d", file, NULL),
                     EXIT_FAILED);
    assert_non_null(strstr(shell.err, "beyond the retention"));
    assert_non_null(strstr(shell.err, "0 points stored, 0 of them updates, 4 refused"));
}

/* A full disk takes nothing: whoever reads the exit code must not believe that it did. */
static void a_result_that_cannot_be_written_fails(void **state)
{
    static const char *const forms[] = {"--json", "--set=train.lanes=1"};
    (void)state;
    for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
        shell.to = "/dev/full";
        int code =
            shell_run(&shell, command_backtest, csv, "--horizon=12", "--steps=2", forms[i], NULL);
        shell.to = NULL;
        assert_int_equal(code, EXIT_FAILED);
        assert_non_null(strstr(shell.err, "could not write the result: No space left on device"));
    }
}

static void what_cannot_be_looked_at_is_not_called_damaged(void **state)
{
    static const char record[] =
        "{\"file\":\"1h-1.safetensors\",\"standing\":\"champion\",\"published_ms\":1,"
        "\"verdict\":\"\",\"id\":\"1h-1\",\"step_ms\":3600000,\"sha256\":\"\"}";
    char url[80], path[120];
    struct error error = {0};
    struct storage *storage = NULL;
    struct writer *writer = NULL;
    struct write_batch *batch = NULL;
    struct write_result result;
    (void)state;
    snprintf(url, sizeof(url), "sqlite:%s", store);
    struct storage_options options = {.url = url};
    struct writer_options writing = {0};
    assert_int_equal(storage_open(&options, &storage, &error), STATUS_OK);
    assert_int_equal(writer_start(storage, &writing, &writer, &error), STATUS_OK);
    assert_int_equal(write_batch_new(storage, 0, &batch, &error), STATUS_OK);
    assert_int_equal(write_batch_record(batch, "model", "1h-1", record, strlen(record), &error),
                     STATUS_OK);
    assert_int_equal(writer_write_take(writer, batch, &result, &error), STATUS_OK);
    writer_stop(writer);
    storage_close(storage);
    snprintf(path, sizeof(path), "%s/models", store);
    (void)mkdir(path, 0700);
    snprintf(path, sizeof(path), "%s/models/1h-1.safetensors", store);
    assert_int_equal(symlink(path, path), 0);
    assert_int_equal(shell_run(&shell, command_check, "--data", store, NULL), EXIT_FAILED);
    assert_string_equal(shell.out, "");
    assert_non_null(strstr(shell.err, " models: not checked to the end\n"));
    assert_non_null(strstr(shell.err, "could not check model 1h-1"));
    assert_null(strstr(shell.err, "damaged"));
    /* Gone, it is a finding. */
    assert_int_equal(unlink(path), 0);
    assert_int_equal(shell_run(&shell, command_check, "--data", store, NULL), EXIT_FAILED);
    assert_non_null(strstr(shell.out, "model 1h-1: "));
    assert_non_null(strstr(shell.err, " models: damaged\n"));
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
    assert_int_equal(shell_run(&shell, command_backtest, csv, "--horizon", "12", "--windows", "2",
                               "--season", "24", "--steps", "2", "--seed", "3", "--m4", "--json",
                               "--forecasts", forecasts, NULL),
                     EXIT_DONE);
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        char quoted[40];
        snprintf(quoted, sizeof(quoted), "\"%s\":", keys[i]);
        if (strstr(shell.out, quoted) == NULL) {
            fail_msg("%s is missing", quoted);
        }
    }
    assert_non_null(strstr(shell.out, "\"series\":2,\"series_left_out\":1,"));
    shell_read(&shell, "forecasts.csv", shell.out, sizeof(shell.out));
    assert_ptr_equal(strstr(shell.out,
                            "series_id,step,mean,q0.025,q0.1,q0.2,q0.3,q0.4,q0.5,q0.6,q0.7,q0.8,"
                            "q0.9,q0.975\na#1,1,"),
                     shell.out);
    assert_non_null(strstr(shell.out, "\na#2,12,"));
    assert_non_null(strstr(shell.out, "\n\"b,c#2\",12,"));
}

static void the_same_steps_give_the_same_numbers(void **state)
{
    static char first[1 << 18];
    (void)state;
    for (int lanes = 1; lanes <= 2; lanes++) {
        char set[32];
        snprintf(set, sizeof(set), "train.lanes=%d", lanes);
        assert_int_equal(shell_run(&shell, command_backtest, csv, "--horizon", "12", "--windows",
                                   "0", "--steps", "2", "--set", set, "--forecasts", forecasts,
                                   NULL),
                         EXIT_DONE);
        shell_read(&shell, "forecasts.csv", shell.out, sizeof(shell.out));
        assert_true(strlen(shell.out) < sizeof(first));
        if (lanes == 1) {
            strcpy(first, shell.out);
        }
    }
    assert_string_equal(first, shell.out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(help_and_version_are_everywhere),
        cmocka_unit_test(mistakes_of_usage_are_told),
        cmocka_unit_test(what_is_wrong_with_the_words_is_told),
        cmocka_unit_test(failures_leave_with_one),
        cmocka_unit_test(configuration_is_printed_and_checked),
        cmocka_unit_test(a_file_goes_in_and_comes_out),
        cmocka_unit_test(times_beyond_the_limits_are_refused_offline),
        cmocka_unit_test(what_cannot_be_looked_at_is_not_called_damaged),
        cmocka_unit_test(a_result_that_cannot_be_written_fails),
        cmocka_unit_test(a_backtest_prints_the_keys_of_the_contract),
        cmocka_unit_test(the_same_steps_give_the_same_numbers),
    };
    return cmocka_run_group_tests(tests, prepare, clean_up);
}
