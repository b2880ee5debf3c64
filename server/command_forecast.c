/* forecastd forecast: the answer of the route, from a directory or a daemon.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "server/command.h"

#include "base/check.h"
#include "server/http_client.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#define ANSWER_MAX ((size_t)64 << 20)

static void add_parameter(struct text *query, const char *name, const char *value)
{
    static const char digits[] = "0123456789ABCDEF";
    if (query->length > 0) {
        text_add_char(query, '&');
    }
    text_add_string(query, name);
    text_add_char(query, '=');
    for (; *value != '\0'; value++) {
        unsigned char byte = (unsigned char)*value;
        if (isalnum(byte) || strchr("-._~", byte) != NULL) {
            text_add_char(query, *value);
        } else {
            text_add_char(query, '%');
            text_add_char(query, digits[byte >> 4]);
            text_add_char(query, digits[byte & 15]);
        }
    }
}

/* Where the answer comes from. */
struct origin {
    const struct config_sources *sources;
    const char *url; /* NULL: the directory */
    struct http_credentials as;
};

static enum status ask_daemon(const struct origin *origin, const char *query, struct text *out,
                              struct error *error)
{
    struct text target;
    struct http_reply reply = {0};
    text_init(&target, (size_t)64 << 10);
    text_add_format(&target, "/api/v1/forecast?%s", query);
    enum status status = text_status(&target, "the request", error);
    if (status == STATUS_OK) {
        struct http_call call = {
            .as = &origin->as, .base = origin->url, .method = "GET", .target = target.bytes};
        status = http_client_call(&call, &reply, error);
    }
    if (status == STATUS_OK) {
        status = http_reply_check(&reply, error);
    }
    if (status == STATUS_OK) {
        text_add(out, reply.body, reply.length);
    }
    http_reply_release(&reply);
    text_release(&target);
    return status;
}

static enum status ask_store(const struct config_sources *sources, const char *query,
                             struct text *out, struct error *error)
{
    struct command_store store;
    enum status status = command_store_open(&store, sources, STORE_READ, error);
    if (status == STATUS_OK) {
        status = api_forecast_text(store.worker, query, out, error);
        command_store_close(&store);
    }
    return status;
}

static int print_forecast(const struct origin *origin, const struct text *query)
{
    struct text out;
    struct error error = {0};
    int code = EXIT_FAILED;
    text_init(&out, ANSWER_MAX);
    enum status status = text_status(query, "the request", &error);
    if (status == STATUS_OK) {
        status = origin->url != NULL ? ask_daemon(origin, query->bytes, &out, &error)
                                     : ask_store(origin->sources, query->bytes, &out, &error);
    }
    if (status == STATUS_OK) {
        status = text_status(&out, "the forecast", &error);
    }
    if (status != STATUS_OK) {
        code = command_fail(&error);
    } else {
        fwrite(out.bytes, 1, out.length, stdout);
        if (out.length > 0 && out.bytes[out.length - 1] != '\n') {
            putchar('\n');
        }
        code = fflush(stdout) == 0 ? EXIT_DONE : EXIT_FAILED;
    }
    text_release(&out);
    return code;
}

/* What makes no sense whatever the series; EXIT_DONE or EXIT_USAGE. */
static int check_usage(const struct command_line *line, const struct text *query)
{
    struct error error = {0};
    if (text_status(query, "the request", &error) == STATUS_OK &&
        api_forecast_check(query->bytes, &error) == STATUS_OK) {
        return EXIT_DONE;
    }
    return command_usage(line, "%s%s%s", error.text, error.hint[0] != '\0' ? "\n" : "", error.hint);
}

static const struct command_option options[] = {
    COMMAND_STORE_OPTIONS,
    {"url", "URL", "Ask the daemon there instead of reading the directory."},
    HTTP_CLIENT_OPTIONS,
    {"series", "S", "A series or a selector; may repeat."},
    {"horizon", "H", "How far ahead, as a duration: 24h."},
    {"steps", "N", "How far ahead, in steps."},
    {"quantiles", "LIST", "Levels in (0,1): 0.1,0.5,0.9."},
    {"level", "LIST", "Intervals in per cent instead: 80,95."},
    {"history", "H", "Recent values too, as a duration: 2d."},
    {"format", "FORM", "json (default), csv or table."},
};

/* Reads the command line; false: leave with *code. */
static bool read_line(struct command_line *line, struct config_sources *sources,
                      struct origin *origin, struct text *query, int *code)
{
    bool has_series = false, has_data = false;
    *code = EXIT_USAGE;
    for (int word; (word = command_next(line)) != WORD_END;) {
        if (word == WORD_STOP) {
            *code = command_exit(line);
            return false;
        }
        if (word == WORD_PLAIN) {
            command_usage(line, "unexpected argument '%s'", line->value);
            return false;
        }
        const char *name = options[word].name;
        if (strcmp(name, "url") == 0) {
            origin->url = line->value;
        } else if (http_credentials_take(&origin->as, name, line->value)) {
            continue;
        } else if (strcmp(name, "config") == 0 || strcmp(name, "set") == 0 ||
                   strcmp(name, "data") == 0) {
            has_data = has_data || strcmp(name, "data") == 0;
            if (command_take_source(line, sources, name) != EXIT_DONE) {
                return false;
            }
        } else {
            has_series = has_series || strcmp(name, "series") == 0;
            add_parameter(query, name, line->value);
        }
    }
    if (!has_series) {
        command_usage(line, "no series is named: --series S");
        return false;
    }
    if (has_data && origin->url != NULL) {
        command_usage(line, COMMAND_ONE_PLACE);
        return false;
    }
    return check_usage(line, query) == EXIT_DONE;
}

int command_forecast(int argc, char **argv)
{
    struct command_line line = {
        .command = "forecast",
        .synopsis = "[--data DIR | --url URL] --series S [--horizon H] [--format FORM]",
        .about = "Prints what GET /api/v1/forecast answers.",
        .options = options,
        .option_count = ARRAY_COUNT(options),
        .argc = argc,
        .argv = argv,
    };
    struct config_sources sources = {0};
    struct text query;
    struct origin origin = {.sources = &sources};
    int code;
    text_init(&query, (size_t)60 << 10);
    if (read_line(&line, &sources, &origin, &query, &code)) {
        code = print_forecast(&origin, &query);
    }
    text_release(&query);
    return code;
}
