/* Tests of options: every type there and back, bounds, and errors that name key, value and origin.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "base/check.h"
#include "base/options.h"
#include "tests/unit/base/test.h"

#include <string.h>

struct settings {
    int64_t steps;
    double rate;
    bool open;
    char path[8];
    int64_t every;
    int64_t body;
    int64_t kernel;
    char token[16];
};

static const char *const kernels[] = {"relu", "softmax", "exp", NULL};

static const struct option table[] = {
    {.name = "train.steps",
     .type = OPTION_INT,
     .preset = "48",
     .minimum = 1,
     .maximum = 1000,
     OPTION_FIELD(struct settings, steps),
     .help = "How many."},
    {.name = "train.rate",
     .type = OPTION_DOUBLE,
     .preset = "0.001",
     .minimum = 0,
     .maximum = 1,
     OPTION_FIELD(struct settings, rate),
     .help = "How fast."},
    {.name = "server.open",
     .type = OPTION_BOOL,
     .preset = "false",
     OPTION_FIELD(struct settings, open),
     .help = "Whether."},
    {.name = "storage.path",
     .type = OPTION_TEXT,
     .preset = "./data",
     OPTION_FIELD(struct settings, path),
     .help = "Where."},
    {.name = "train.every",
     .type = OPTION_DURATION,
     .preset = "1h",
     .minimum = 1000,
     .maximum = 864e5 * 7,
     OPTION_FIELD(struct settings, every),
     .help = "When."},
    {.name = "ingest.max_body",
     .type = OPTION_BYTES,
     .preset = "16MiB",
     .minimum = 1024,
     .maximum = 1 << 30,
     OPTION_FIELD(struct settings, body),
     .help = "Size."},
    {.name = "model.kernel",
     .type = OPTION_CHOICE,
     .preset = "softmax",
     .choices = kernels,
     OPTION_FIELD(struct settings, kernel),
     .help = "Which."},
    {.name = "auth.token",
     .type = OPTION_TEXT,
     .preset = "",
     OPTION_FIELD(struct settings, token),
     .secret = 1,
     .help = "Hush."},
};

static void presets_are_set(UNUSED void **state)
{
    struct settings settings;
    memset(&settings, 0xEE, sizeof(settings));
    options_defaults(table, ARRAY_COUNT(table), &settings);
    assert_int_equal(settings.steps, 48);
    assert_true(settings.rate == 0.001);
    assert_false(settings.open);
    assert_string_equal(settings.path, "./data");
    assert_int_equal(settings.every, 3600000);
    assert_int_equal(settings.body, 16 << 20);
    assert_int_equal(settings.kernel, 1);
    assert_string_equal(settings.token, "");
}

static void values_are_read_and_printed(UNUSED void **state)
{
    static const struct {
        const char *name;
        const char *value;
        const char *printed;
    } rows[] = {
        {"train.steps", "1", "1"},
        {"train.steps", "1000", "1000"},
        {"train.steps", "+7", "7"},
        {"train.rate", "0", "0"},
        {"train.rate", "1", "1"},
        {"train.rate", "1e-3", "0.001"},
        {"train.rate", ".5", "0.5"},
        {"server.open", "true", "true"},
        {"server.open", "yes", "true"},
        {"server.open", "on", "true"},
        {"server.open", "1", "true"},
        {"server.open", "false", "false"},
        {"server.open", "no", "false"},
        {"server.open", "off", "false"},
        {"server.open", "0", "false"},
        {"storage.path", "", ""},
        {"storage.path", "1234567", "1234567"},
        {"train.every", "90s", "90s"},
        {"train.every", "60m", "1h"},
        {"train.every", "7d", "7d"},
        {"train.every", "1500ms", "1500ms"},
        {"train.every", "1h30m", "90m"},
        {"ingest.max_body", "1024", "1KiB"},
        {"ingest.max_body", "64kB", "64000"},
        {"ingest.max_body", "1GiB", "1GiB"},
        {"ingest.max_body", "1536 KiB", "1536KiB"},
        {"ingest.max_body", "5MB", "5000000"},
        {"ingest.max_body", "2000B", "2000"},
        {"model.kernel", "exp", "exp"},
        {"model.kernel", "relu", "relu"},
        {"auth.token", "hunter2", "***"},
        {"auth.token", "", ""},
    };
    struct settings settings;
    options_defaults(table, ARRAY_COUNT(table), &settings);
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        struct error error = {0};
        struct text text;
        if (options_set(table, ARRAY_COUNT(table), &settings, rows[i].name, rows[i].value, "test",
                        &error) != STATUS_OK) {
            fail_msg("%s", error.text);
        }
        const struct option *option = options_find(table, ARRAY_COUNT(table), rows[i].name);
        text_init(&text, 100);
        options_print(option, &settings, &text);
        assert_text(&text, rows[i].printed);
        if (!option->secret) {
            /* What was printed can be set, and prints the same. */
            assert_ok(options_set(table, ARRAY_COUNT(table), &settings, rows[i].name, text.bytes,
                                  "test", &error));
            text_clear(&text);
            options_print(option, &settings, &text);
            assert_text(&text, rows[i].printed);
        }
        text_release(&text);
    }
}

static const struct {
    const char *name;
    const char *value;
    const char *code;
    const char *text;
} refusals[] = {
    {"train.steps", "0", "out_of_bounds",
     "cannot set train.steps to \"0\" (file:12): it must lie between 1 and 1000"},
    {"train.steps", "1001", "out_of_bounds", NULL},
    {"train.steps", "", "bad_value", NULL},
    {"train.steps", "1.5", "bad_value", NULL},
    {"train.steps", "ten", "bad_value",
     "cannot set train.steps to \"ten\" (file:12): a whole number is needed"},
    {"train.steps", " 5", "bad_value", NULL},
    {"train.steps", "5 ", "bad_value", NULL},
    {"train.steps", "0x10", "bad_value", NULL},
    {"train.steps", "99999999999999999999", "bad_value", NULL},
    {"train.rate", "2", "out_of_bounds", NULL},
    {"train.rate", "-0.1", "out_of_bounds", NULL},
    {"train.rate", "nan", "bad_value", NULL},
    {"train.rate", "inf", "bad_value", NULL},
    {"train.rate", "1e999", "bad_value", NULL},
    {"train.rate", "0x1p-3", "bad_value", NULL},
    {"train.rate", "", "bad_value", NULL},
    {"train.rate", "1,5", "bad_value", NULL},
    {"server.open", "maybe", "bad_value", NULL},
    {"server.open", "", "bad_value", NULL},
    {"storage.path", "12345678", "bad_value", NULL},
    {"train.every", "10", "bad_value", NULL},
    {"train.every", "8d", "out_of_bounds",
     "cannot set train.every to \"8d\" (file:12): it must lie between 1s and 7d"},
    {"train.every", "500ms", "out_of_bounds", NULL},
    {"ingest.max_body", "1023", "out_of_bounds",
     "cannot set ingest.max_body to \"1023\" (file:12): it must lie between 1KiB and 1GiB"},
    {"ingest.max_body", "16mib", "bad_value", NULL},
    {"ingest.max_body", "-1", "out_of_bounds", NULL},
    {"ingest.max_body", "9999999999TiB", "bad_value", NULL},
    {"model.kernel", "sigmoid", "bad_value",
     "cannot set model.kernel to \"sigmoid\" (file:12): it must be one of relu, softmax, exp"},
    {"model.kernel", "1", "bad_value", NULL},
    {"model.kernel", "", "bad_value", NULL},
    {"auth.token", "hunter2hunter2hunter2", "bad_value",
     "cannot set auth.token to *** (file:12): it is too long"},
    {"train.step", "1", "unknown_option", "there is no option \"train.step\" (file:12)"},
    {"", "1", "unknown_option", NULL},
    {"Train.steps", "1", "unknown_option", NULL},
};

static void refusals_change_nothing_and_say_why(UNUSED void **state)
{
    struct settings settings, before;
    memset(&settings, 0, sizeof(settings));
    options_defaults(table, ARRAY_COUNT(table), &settings);
    memcpy(&before, &settings, sizeof(before));
    for (size_t i = 0; i < ARRAY_COUNT(refusals); i++) {
        struct error error = {0};
        if (options_set(table, ARRAY_COUNT(table), &settings, refusals[i].name, refusals[i].value,
                        "file:12", &error) != STATUS_INVALID) {
            fail_msg("accepted: %s=%s", refusals[i].name, refusals[i].value);
        }
        assert_string_equal(error.code, refusals[i].code);
        assert_string_equal(error.param, refusals[i].name);
        if (refusals[i].text != NULL) {
            assert_string_equal(error.text, refusals[i].text);
        }
        assert_memory_equal(&settings, &before, sizeof(settings));
    }
}

static void finding(UNUSED void **state)
{
    assert_ptr_equal(options_find(table, ARRAY_COUNT(table), "model.kernel"), &table[6]);
    assert_null(options_find(table, ARRAY_COUNT(table), "model"));
    assert_null(options_find(table, 0, "model.kernel"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(presets_are_set),
        cmocka_unit_test(values_are_read_and_printed),
        cmocka_unit_test(refusals_change_nothing_and_say_why),
        cmocka_unit_test(finding),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
