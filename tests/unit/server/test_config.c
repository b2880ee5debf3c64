/* Configuration: order of the layers, bounds, errors with lines, printing, reload.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "server/config.h"

#include "base/check.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static char path[] = "/tmp/forecastd-config-XXXXXX";

static void write_file(const char *text)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static enum status load(const char *yaml, char *const *environment, const char *set,
                        struct config *config, struct error *error)
{
    struct config_sources sources = {.environment = environment};
    memset(error, 0, sizeof(*error));
    if (yaml != NULL) {
        write_file(yaml);
        sources.file = path;
    }
    if (set != NULL) {
        sources.sets[sources.set_count++] = set;
    }
    return config_load(&sources, config, error);
}

static void fails_with(const char *yaml, const char *set, const char *const *words)
{
    struct config config;
    struct error error;
    assert_int_not_equal(load(yaml, NULL, set, &config, &error), STATUS_OK);
    for (; *words != NULL; words++) {
        if (strstr(error.text, *words) == NULL) {
            fail_msg("'%s' is not in: %s", *words, error.text);
        }
    }
}

#define FAILS(yaml, set, ...) fails_with(yaml, set, (const char *const[]){__VA_ARGS__, NULL})

static void defaults_are_those_of_the_contract(void **state)
{
    struct config config;
    struct error error;
    (void)state;
    assert_int_equal(load(NULL, NULL, NULL, &config, &error), STATUS_OK);
    assert_string_equal(config.listen, "127.0.0.1:7380");
    assert_string_equal(config.path, "./forecastd-data");
    assert_int_equal(config.retention_ms, 0);
    assert_int_equal(config.max_future_ms, 600000);
    assert_int_equal(config.max_series, 100000);
    assert_int_equal(config.max_body, 16 << 20);
    assert_int_equal(config.horizon, 48);
    assert_int_equal(config.every_ms, 3600000);
    assert_int_equal(config.seconds_ms, 300000);
    assert_string_equal(config.backbone, "logsparse");
}

static void layers_go_before_each_other(void **state)
{
    struct config config;
    struct error error;
    char listen[] = "FORECASTD_SERVER_LISTEN=127.0.0.1:2",
         future[] = "FORECASTD_INGEST_MAX_FUTURE=2m";
    char other[] = "HOME=/", injected[] = "FORECASTD_PORT=tcp://1.2.3.4",
         service[] = "FORECASTD_SERVICE_HOST=x";
    char *environment[] = {other, listen, future, injected, service, NULL};
    const char *yaml =
        "server:\n  listen: 127.0.0.1:1\ningest.max_future: 1m\ntrain: {every: 30m}\n";
    (void)state;
    assert_int_equal(load(yaml, NULL, NULL, &config, &error), STATUS_OK);
    assert_string_equal(config.listen, "127.0.0.1:1");
    assert_int_equal(config.max_future_ms, 60000);
    assert_int_equal(config.every_ms, 1800000);
    assert_int_equal(load(yaml, environment, NULL, &config, &error), STATUS_OK);
    assert_string_equal(config.listen, "127.0.0.1:2");
    assert_int_equal(config.max_future_ms, 120000);
    assert_int_equal(load(yaml, environment, "server.listen=127.0.0.1:3", &config, &error),
                     STATUS_OK);
    assert_string_equal(config.listen, "127.0.0.1:3");
}

static void mistakes_stop_the_start_by_name(void **state)
{
    (void)state;
    FAILS(NULL, "server.lsten=x", "server.lsten");
    FAILS(NULL, "ingest.max_series=0", "ingest.max_series", "0", "1");
    FAILS(NULL, "ingest.max_series=many", "ingest.max_series", "many");
    FAILS(NULL, "log.format=xml", "log.format", "xml", "logfmt");
    FAILS(NULL, "train.every", "section.key=value");
    FAILS(NULL, "forecast.quantiles=0.1,2", "forecast.quantiles", "0.1,2");
    FAILS(NULL, "forecast.quantiles=", "forecast.quantiles", "cannot be");
    FAILS(NULL, "storage.downsample=30d", "storage.downsample", "no age and step");
    FAILS(NULL, "storage.downsample=30d:5m,20d:1h", "storage.downsample", "ages must rise");
    FAILS(NULL, "server.listen=localhost", "'localhost'", "an address and a port");
    FAILS(NULL, "server.listen=127.0.0.1:99999", "'127.0.0.1:99999'");
    FAILS(NULL, "server.health_listen=7381", "cannot listen on '7381'");
    FAILS(NULL, "tls.cert=/x", "tls.cert", "without", "tls.key");
    FAILS(NULL, "tls.key=/x", "'tls.key' is set without 'tls.cert'");
    FAILS(NULL, "alerts.nokey=1", "alerts.nokey", "is no rule with a key");
    FAILS(NULL, "mqtt.broker=x", "is no address of a broker");
    FAILS(NULL, "model.backbone=nothing", "nothing");
    FAILS(NULL, "model.no_such_option=3", "cannot set model.no_such_option (--set)", "logsparse");
    FAILS(NULL, "model.width=3", "cannot set model.width to \"3\" (--set): it must lie between");
    FAILS(NULL, "model.kernel=x", "cannot set model.kernel to \"x\" (--set)");
    FAILS(NULL, "train.seed=0", "train.seed", "between 1 and");
}

static void members_are_those_of_the_recipe(void **state)
{
    static const char *const wrong[] = {"9,x", "0", "x", "1,", ",1", "1,,3", "-1", "6", "1x"};
    struct config config;
    struct error error;
    char set[64];
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(wrong); i++) {
        snprintf(set, sizeof(set), "model.members=%s", wrong[i]);
        FAILS(NULL, set, "cannot set model.members: the ");
        assert_true(load(NULL, NULL, set, &config, &error) == STATUS_INVALID);
        assert_string_equal(error.param, "model.members");
    }
    assert_int_equal(load(NULL, NULL, "model.members=9", &config, &error), STATUS_INVALID);
    assert_string_equal(error.hint, "Its members are 1 to 5, with commas between: 1,3.");
    assert_int_equal(load(NULL, NULL, "model.members=1,5", &config, &error), STATUS_OK);
    assert_int_equal(load("model: {members: [1, 3]}\n", NULL, NULL, &config, &error), STATUS_OK);
    FAILS("model: {head: gaussian, members: 2}\n", NULL, "no member \"2\"");
}

static void yes_and_no_are_those_of_yaml(void **state)
{
    static const char *const yes[] = {"true", "True", "TRUE", "yes", "Yes", "on", "ON", "1"};
    static const char *const no[] = {"false", "False", "FALSE", "no", "No", "off", "OFF", "0"};
    struct config config;
    struct error error;
    char yaml[64];
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(yes); i++) {
        snprintf(yaml, sizeof(yaml), "server: {sandbox: %s}\n", yes[i]);
        assert_int_equal(load(yaml, NULL, NULL, &config, &error), STATUS_OK);
        assert_true(config.sandbox);
        snprintf(yaml, sizeof(yaml), "server: {sandbox: %s}\n", no[i]);
        assert_int_equal(load(yaml, NULL, NULL, &config, &error), STATUS_OK);
        assert_false(config.sandbox);
    }
    FAILS("server: {sandbox: maybe}\n", NULL, "true or false is needed");
}

static void mistakes_of_the_file_name_the_line(void **state)
{
    (void)state;
    FAILS("server:\n  lsten: x\n", NULL, path, ":2", "server.lsten");
    FAILS("# a\n\ningest:\n  max_series: -1\n", NULL, ":4", "ingest.max_series", "-1");
    FAILS("server:\n  listen: a\n  listen: b\n", NULL, ":3", "twice");
    FAILS("server:\n  listen: a\nserver.listen: b\n", NULL, ":3", "twice");
    FAILS("server:\n  listen: [a\n", NULL, path);
    FAILS("- a\n- b\n", NULL, ":1", "mapping");
    FAILS("server: *x\n", NULL, path);
    FAILS("a: 1\n---\nb: 2\n", NULL, path);
    FAILS("server:\n  listen: &x y\n", NULL, ":2", "anchors");
    FAILS("just text\n", NULL, ":1", "mapping");
    FAILS("server:\n  listen: !!str x\n", NULL, ":2", "tags");
    FAILS("\nserver: &x {listen: a}\n", NULL, ":2", "anchors");
    FAILS("mqtt:\n  topics: &x [a]\n", NULL, ":2", "anchors");
    FAILS("--- !!map\nserver: {}\n", NULL, ":1", "tags");
    FAILS("server:\n  listen: \"a\\0b\"\n", NULL, ":2", "text is too long");
    FAILS("mqtt:\n  topics: [[a]]\n", NULL, ":2", "plain values only");
    FAILS("mqtt:\n  topics: [a, &x b]\n", NULL, ":2", "anchors");
    FAILS("train: {every: 1h}\nmodel:\n  width: 3\n", NULL, "model.width", ":3", "between");
    FAILS("? [a]\n: b\n", NULL, ":1", "a key must be plain text");
    FAILS("a: {b: {c: {d: {e: 1}}}}\n", NULL, ":1", "not supported for key", "a.b.c.d");
    FAILS("server: {}\n---\nserver: {}\n", NULL, "only one document");
}

/* Texts at the bounds of the file's reader: each is refused, none is cut. */
static void what_is_too_long_for_a_file_is_refused(void **state)
{
    static char text[8192];
    (void)state;
    snprintf(text, sizeof(text), "server:\n  listen: %01100d\n", 0);
    FAILS(text, NULL, ":2", "text is too long");
    snprintf(text, sizeof(text), "%0200d: 1\n", 0);
    FAILS(text, NULL, ":1", "text is too long");
    snprintf(text, sizeof(text), "%0100d:\n  %0100d: 1\n", 0, 0);
    FAILS(text, NULL, ":2", "key is too long");
    snprintf(text, sizeof(text), "mqtt:\n  topics: [%0600d, %0600d]\n", 0, 0);
    FAILS(text, NULL, ":2", "list is too long");
}

static void a_configuration_is_a_plain_file(void **state)
{
    struct config config;
    struct error error = {0};
    struct config_sources folder = {.file = "/tmp"};
    (void)state;
    assert_int_equal(config_load(&folder, &config, &error), STATUS_TOO_LARGE);
    assert_non_null(strstr(error.text, "'/tmp' is not a plain file"));
}

static void a_missing_file_is_an_error(void **state)
{
    struct config config;
    struct error error = {0};
    struct config_sources sources = {.file = "/nonexistent/forecastd.yaml"};
    (void)state;
    assert_int_equal(config_load(&sources, &config, &error), STATUS_IO);
    assert_non_null(strstr(error.text, "/nonexistent/forecastd.yaml"));
}

static void the_environment_names_the_file_where_nobody_does(void **state)
{
    struct config config;
    struct error error = {0};
    char named[128], level[] = "FORECASTD_LOG_LEVEL=debug", *environment[] = {named, level, NULL};
    struct config_sources sources = {.environment = environment};
    (void)state;
    snprintf(named, sizeof(named), "FORECASTD_CONFIG=%s", path);
    write_file("server:\n  listen: 127.0.0.1:1234\nlog:\n  level: error\n");
    assert_string_equal(config_file(&sources), path);
    assert_int_equal(config_load(&sources, &config, &error), STATUS_OK);
    assert_string_equal(config.listen, "127.0.0.1:1234");
    assert_int_equal(config.log_level, 3); /* the environment still goes before the file */
    sources.file = "/nonexistent/forecastd.yaml";
    assert_int_equal(config_load(&sources, &config, &error), STATUS_IO);
    sources.file = NULL;
    snprintf(named, sizeof(named), "FORECASTD_CONFIG=/nonexistent/other.yaml");
    assert_int_equal(config_load(&sources, &config, &error), STATUS_IO);
    assert_non_null(strstr(error.text, "/nonexistent/other.yaml"));
    snprintf(named, sizeof(named), "FORECASTD_CONFIG=");
    assert_null(config_file(&sources));
    assert_int_equal(config_load(&sources, &config, &error), STATUS_OK);
}

static void an_empty_file_or_section_changes_nothing(void **state)
{
    struct config config;
    struct error error;
    (void)state;
    assert_int_equal(load("", NULL, NULL, &config, &error), STATUS_OK);
    assert_int_equal(load("server:\nstorage:\n", NULL, NULL, &config, &error), STATUS_OK);
    assert_string_equal(config.listen, "127.0.0.1:7380");
}

static void options_of_the_backbone_replace_each_other(void **state)
{
    struct config config;
    struct error error;
    struct backbone_info info = backbone_info(0);
    char set[96], expected[96];
    (void)state;
    assert_true(info.option_count > 0);
    snprintf(set, sizeof(set), "model.%s=%s", info.options[0].name, info.options[0].preset);
    snprintf(expected, sizeof(expected), "%s=%s", info.options[0].name, info.options[0].preset);
    struct config_sources sources = {.sets = {set, set}, .set_count = 2};
    memset(&error, 0, sizeof(error));
    assert_int_equal(config_load(&sources, &config, &error), STATUS_OK);
    assert_string_equal(config.model_options, expected);
}

/* The example and the effective values are files that mean the defaults. */
static void what_is_printed_can_be_read_back(void **state)
{
    struct config config, again;
    struct error error;
    struct text text;
    (void)state;
    assert_int_equal(load(NULL, NULL, NULL, &config, &error), STATUS_OK);
    text_init(&text, 1 << 20);
    config_print_example(&text);
    assert_int_equal(text.failed, STATUS_OK);
    assert_int_equal(load(text.bytes, NULL, NULL, &again, &error), STATUS_OK);
    assert_memory_equal(&config, &again, sizeof(config));
    text_clear(&text);
    config_print_effective(&config, &text);
    assert_int_equal(load(text.bytes, NULL, NULL, &again, &error), STATUS_OK);
    assert_memory_equal(&config, &again, sizeof(config));
    text_clear(&text);
    config_print_help(&text);
    for (size_t i = 0; i < config_option_count; i++) {
        assert_non_null(strstr(text.bytes, config_options[i].name));
    }
    text_release(&text);
}

/* Found by the fuzzer: a minus alone, and characters that a file of YAML may not hold as they are.
 */
static void awkward_text_is_printed_so_that_it_can_be_read_back(void **state)
{
    static const char *const values[] = {"-",    "--- x",  "...",       "~",        "a\nb",
                                         "a\tb", "\x1b[m", "\x7f",      "\xc2\x85", "\xe2\x80\xa8",
                                         "a#b",  "'\"\\",  "\xc3\xa9 ", " x",       "\xef\xbb\xbf"};
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(values); i++) {
        struct config config, again;
        struct error error = {0};
        struct text text;
        assert_int_equal(load(NULL, NULL, NULL, &config, &error), STATUS_OK);
        assert_int_equal(config_set(&config, "storage.path", values[i], "test", &error), STATUS_OK);
        text_init(&text, 1 << 20);
        config_print_effective(&config, &text);
        assert_int_equal(load(text.bytes, NULL, NULL, &again, &error), STATUS_OK);
        assert_string_equal(again.path, values[i]);
        text_release(&text);
    }
}

/* As what is given, so what the backbone's options are given, before they are checked. */
static void options_of_the_backbone_can_be_read_back(void **state)
{
    static const char *const values[] = {"-", "~", "\xe2\x80\xa8x", "a#b", "'\"", "-0.5", "1e-3"};
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(values); i++) {
        struct config config, again;
        struct error error = {0};
        struct text text;
        assert_int_equal(load(NULL, NULL, NULL, &config, &error), STATUS_OK);
        again = config;
        assert_int_equal(config_set(&config, "model.width", values[i], "test", &error), STATUS_OK);
        text_init(&text, 1 << 20);
        config_print_effective(&config, &text);
        assert_int_equal(config_read_yaml(&again, "printed", text.bytes, text.length, &error),
                         STATUS_OK);
        assert_string_equal(again.model_options, config.model_options);
        text_release(&text);
    }
    struct config config;
    struct error error = {0};
    assert_int_equal(load(NULL, NULL, NULL, &config, &error), STATUS_OK);
    assert_int_equal(config_set(&config, "model.wid\tth", "5", "test", &error), STATUS_INVALID);
    assert_non_null(strstr(error.text, "small letters, digits and _"));
}

static void reload_takes_over_only_what_may_change(void **state)
{
    struct config running, next;
    struct error error;
    (void)state;
    assert_int_equal(load(NULL, NULL, NULL, &running, &error), STATUS_OK);
    assert_int_equal(
        load("train.every: 2h\nserver.listen: 127.0.0.1:9\n", NULL, NULL, &next, &error),
        STATUS_OK);
    assert_int_equal(config_reload(&running, &next), 1);
    assert_int_equal(running.every_ms, 7200000);
    assert_string_equal(running.listen, "127.0.0.1:7380");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_are_those_of_the_contract),
        cmocka_unit_test(layers_go_before_each_other),
        cmocka_unit_test(mistakes_stop_the_start_by_name),
        cmocka_unit_test(members_are_those_of_the_recipe),
        cmocka_unit_test(yes_and_no_are_those_of_yaml),
        cmocka_unit_test(mistakes_of_the_file_name_the_line),
        cmocka_unit_test(a_missing_file_is_an_error),
        cmocka_unit_test(the_environment_names_the_file_where_nobody_does),
        cmocka_unit_test(what_is_too_long_for_a_file_is_refused),
        cmocka_unit_test(a_configuration_is_a_plain_file),
        cmocka_unit_test(an_empty_file_or_section_changes_nothing),
        cmocka_unit_test(options_of_the_backbone_replace_each_other),
        cmocka_unit_test(what_is_printed_can_be_read_back),
        cmocka_unit_test(awkward_text_is_printed_so_that_it_can_be_read_back),
        cmocka_unit_test(options_of_the_backbone_can_be_read_back),
        cmocka_unit_test(reload_takes_over_only_what_may_change),
    };
    int fd = mkstemp(path);
    if (fd < 0) {
        return 1;
    }
    close(fd);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    unlink(path);
    return failed;
}
