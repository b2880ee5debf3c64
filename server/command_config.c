/* forecastd config: the effective configuration, the example file, a check.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "server/command.h"

#include "base/check.h"

#include <stdio.h>
#include <string.h>

#define TEXT_MAX ((size_t)1 << 20)

extern char **environ;

/* Prints and releases the text. */
static int print_text(struct text *text)
{
    struct error error = {0};
    int code = EXIT_DONE;
    if (text_status(text, "the output", &error) != STATUS_OK) {
        code = command_fail(&error);
    } else if (fwrite(text->bytes, 1, text->length, stdout) != text->length ||
               fflush(stdout) != 0) {
        code = EXIT_FAILED;
    }
    text_release(text);
    return code;
}

int command_config(int argc, char **argv)
{
    static const struct command_option options[] = {
        COMMAND_STORE_OPTIONS,
        {"example", NULL, "Print a commented file with all options at their defaults."},
        {"check", NULL, "Only validate; print nothing."},
        {"options", NULL, "List the options with their bounds."},
    };
    struct command_line line = {
        .command = "config",
        .synopsis = "[--config FILE] [--set KEY=VALUE]... [--example | --check | --options]",
        .about =
            "Prints the effective configuration: default < file < FORECASTD_SECTION_KEY < --set.",
        .options = options,
        .option_count = ARRAY_COUNT(options),
        .argc = argc,
        .argv = argv,
    };
    struct config_sources sources = {.environment = environ};
    struct config config;
    struct error error = {0};
    struct text out;
    const char *mode = "";
    for (int word; (word = command_next(&line)) != WORD_END;) {
        if (word == WORD_STOP) {
            return command_exit(&line);
        }
        if (word == WORD_PLAIN) {
            return command_usage(&line, "unexpected argument '%s'", line.value);
        }
        if (options[word].value == NULL) {
            mode = options[word].name;
        } else if (command_take_source(&line, &sources, options[word].name) != EXIT_DONE) {
            return EXIT_USAGE;
        }
    }
    text_init(&out, TEXT_MAX);
    if (strcmp(mode, "example") == 0) {
        config_print_example(&out);
        return print_text(&out);
    }
    if (strcmp(mode, "options") == 0) {
        config_print_help(&out);
        return print_text(&out);
    }
    if (config_load(&sources, &config, &error) != STATUS_OK) {
        return command_fail(&error);
    }
    if (strcmp(mode, "check") == 0) {
        return EXIT_DONE;
    }
    config_print_effective(&config, &out);
    return print_text(&out);
}
