/* forecastd config: the effective configuration, the example file, a check.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "server/command.h"

#include "base/check.h"
#include "base/memory.h"
#include "server/fetch.h"
#include "server/mqtt_options.h"
#include "server/tls.h"
#include "server/token_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define TEXT_MAX   ((size_t)1 << 20)
#define FILE_MAX   ((size_t)16 << 20)
#define PATH_BYTES 1024

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

/* ---------------------------------------------------------------- files that options name */

/* Says what is wrong with the file of an option; returns the exit code so far. */
static int found(int code, enum status status, const char *option, struct error *error)
{
    if (status == STATUS_OK) {
        return code;
    }
    if (option != NULL) {
        error_wrap(error, "%s", option);
    }
    return command_fail(error);
}

static enum status read_plain(const char *path, struct error *error)
{
    char *bytes = NULL;
    size_t length = 0;
    enum status status = command_read_file(path, FILE_MAX, &bytes, &length, error);
    mem_free(bytes);
    return status;
}

/* Opened as the daemon would, but not made: it would be ours then. */
static enum status look_at_audit(const char *path, struct error *error)
{
    char folder[PATH_BYTES];
    const char *slash = strrchr(path, '/');
    int fd = open(path, O_WRONLY | O_APPEND | O_CLOEXEC | O_NOCTTY);
    if (fd >= 0) {
        close(fd);
        return STATUS_OK;
    }
    snprintf(folder, sizeof(folder), "%.*s", slash != NULL ? (int)(slash - path + 1) : 1,
             slash != NULL ? path : ".");
    if (errno == ENOENT && access(folder, W_OK | X_OK) == 0) {
        return STATUS_OK;
    }
    return error_set(error, STATUS_IO, "could not open audit log '%s': %s", path, strerror(errno));
}

static int check_rule(const struct alert_rule *rule, int code)
{
    char option[96], url[FETCH_SECRET_MAX];
    struct error error = {0};
    struct text headers;
    if (rule->url_file[0] != '\0') {
        enum status status = fetch_read_secret(rule->url_file, url, &error);
        if (status == STATUS_OK) {
            status = fetch_check_url("the address in it", url, &error);
        }
        snprintf(option, sizeof(option), "alerts.%s.url_file", rule->name);
        code = found(code, status, option, &error);
        explicit_bzero(url, sizeof(url));
    }
    if (rule->header_file[0] != '\0') {
        text_init(&headers, TEXT_MAX);
        snprintf(option, sizeof(option), "alerts.%s.header_file", rule->name);
        code = found(code, fetch_read_headers(rule->header_file, &headers, &error), option, &error);
        text_release(&headers);
    }
    if (rule->ca_file[0] != '\0') {
        snprintf(option, sizeof(option), "alerts.%s.ca_file", rule->name);
        code = found(code, read_plain(rule->ca_file, &error), option, &error);
    }
    return code;
}

/* All of them, so that one look is enough. */
static int check_files(const struct config *config)
{
    struct error error = {0};
    struct token_list tokens = {NULL, 0};
    int code = EXIT_DONE;
    if (config->tokens[0] != '\0') {
        code = found(code, token_file_read(config->tokens, &tokens, &error), NULL, &error);
        token_list_release(&tokens);
    }
    if (config->tls_cert[0] != '\0') {
        code = found(code, tls_load(config->tls_cert, config->tls_key, &error), NULL, &error);
        tls_unload();
    }
    if (config->mqtt_broker[0] != '\0') {
        struct mqtt_options mqtt;
        code = found(code, mqtt_options_of(config, &mqtt, &error), NULL, &error);
        explicit_bzero(mqtt.password, sizeof(mqtt.password));
        if (config->mqtt_ca_file[0] != '\0') {
            code = found(code, read_plain(config->mqtt_ca_file, &error), "mqtt.ca_file", &error);
        }
    }
    for (size_t i = 0; i < config->alerts.count; i++) {
        code = check_rule(&config->alerts.rules[i], code);
    }
    if (config->audit[0] != '\0') {
        code = found(code, look_at_audit(config->audit, &error), "log.audit", &error);
    }
    return code;
}

int command_config(int argc, char **argv)
{
    static const struct command_option options[] = {
        COMMAND_STORE_OPTIONS,
        {"example", NULL, "Print a commented file with all options at their defaults."},
        {"check", NULL, "Only validate, the files that it names too; print what is wrong."},
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
        return check_files(&config);
    }
    config_print_effective(&config, &out);
    return print_text(&out);
}
