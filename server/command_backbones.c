/* forecastd backbones: the networks with their options, for people or as the route's JSON.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "server/command.h"

#include "base/check.h"

#include <stdio.h>
#include <string.h>

#define TEXT_MAX     ((size_t)1 << 20)
#define VALUES_WIDTH 26

/* Asks the route itself, over a store in memory, so that the two cannot differ. */
static int print_json(void)
{
    struct config_sources sources = {0};
    struct command_store store;
    struct error error = {0};
    if (command_store_open(&store, &sources, STORE_MEMORY, &error) != STATUS_OK) {
        return command_fail(&error);
    }
    struct api_response response = {0};
    struct api_request request = {.method = API_GET,
                                  .path = "/api/v1/backbones",
                                  .query = "",
                                  .content_type = "",
                                  .body = "",
                                  .request_id = "command",
                                  .response = &response};
    int code = EXIT_FAILED;
    if (api_begin(&store.services, &request, 0, &response) == API_DECLINED &&
        api_fast(&store.services, &request, &response) == API_DECLINED) {
        api_handle(store.worker, &request, &response);
    }
    if (response.body != NULL) {
        FILE *out = response.status == 200 ? stdout : stderr;
        bool written =
            fwrite(response.body, 1, response.body_length, out) == response.body_length &&
            fputc('\n', out) == '\n' && fflush(out) == 0;
        code = written && response.status == 200 ? EXIT_DONE : EXIT_FAILED;
    }
    api_response_release(&response);
    command_store_close(&store);
    return code;
}

/* "4 to 1024", "pre | post", "true | false": what an option can be. */
static void add_values(const struct option *option, struct text *out)
{
    if (option->type == OPTION_CHOICE) {
        for (size_t i = 0; option->choices[i] != NULL; i++) {
            text_add_format(out, "%s%s", i > 0 ? " | " : "", option->choices[i]);
        }
    } else if (option->type == OPTION_BOOL) {
        text_add_string(out, "true | false");
    } else if (option->type == OPTION_TEXT) {
        text_add_string(out, "text");
    } else {
        text_add_format(out, "%g to %g", option->minimum, option->maximum);
    }
}

static void add_option(const struct option *option, struct text *out)
{
    struct text values;
    text_init(&values, TEXT_MAX);
    add_values(option, &values);
    const char *written = values.bytes != NULL ? values.bytes : "";
    text_add_format(out, "  %-13s %-10s ", option->name, option->preset);
    if (values.length > VALUES_WIDTH) { /* a long list of choices has a line of its own */
        text_add_format(out, "%s\n%*s", written, 2 + 14 + 11, "");
        written = "";
    }
    text_add_format(out, "%-*s %s\n", VALUES_WIDTH, written, option->help);
    text_release(&values);
}

static void add_backbone(const struct backbone_info *info, struct text *out)
{
    text_add_format(out, "%s: %s\n", info->name, info->help);
    text_add_format(out, "  %s\n", info->paper);
    text_add_format(out, "  %s, %s\n", info->causal ? "causal" : "encoder, not causal",
                    info->streaming ? "decodes step by step" : "computes whole windows");
    text_add_format(out, "  %-13s %-10s %-*s %s\n", "option", "default", VALUES_WIDTH, "values",
                    "meaning");
    for (size_t i = 0; i < info->option_count; i++) {
        add_option(&info->options[i], out);
    }
}

/* All of them, or the one of that name. */
static int print_table(const char *name)
{
    struct text out;
    struct error error = {0};
    int code = EXIT_DONE;
    text_init(&out, TEXT_MAX);
    for (size_t i = 0; i < backbone_count(); i++) {
        struct backbone_info info = backbone_info(i);
        if (name == NULL || strcmp(info.name, name) == 0) {
            text_add_string(&out, out.length > 0 ? "\n" : "");
            add_backbone(&info, &out);
        }
    }
    if (name == NULL) {
        text_add_string(&out, "\nChosen with --set model.backbone=NAME, its options with --set "
                              "model.OPTION=VALUE.\n");
    }
    if (text_status(&out, "the output", &error) != STATUS_OK) {
        code = command_fail(&error);
    } else if (fwrite(out.bytes, 1, out.length, stdout) != out.length || fflush(stdout) != 0) {
        code = EXIT_FAILED;
    }
    text_release(&out);
    return code;
}

int command_backbones(int argc, char **argv)
{
    static const struct command_option options[] = {
        {"json", NULL, "Print what GET /api/v1/backbones says: all of them."},
    };
    struct command_line line = {
        .command = "backbones",
        .synopsis = "[NAME | --json]",
        .about = "Lists the networks, or one of them: paper, mode, options with defaults and "
                 "bounds. Mode is that of the defaults.",
        .options = options,
        .option_count = ARRAY_COUNT(options),
        .argc = argc,
        .argv = argv,
    };
    struct error error = {0};
    const char *name = NULL;
    bool json = false;
    for (int word; (word = command_next(&line)) != WORD_END;) {
        if (word == WORD_STOP) {
            return command_exit(&line);
        }
        if (word == WORD_PLAIN && name != NULL) {
            return command_usage(&line, "unexpected argument '%s'", line.value);
        }
        if (word == WORD_PLAIN) {
            name = line.value;
        } else {
            json = true;
        }
    }
    if (json && name != NULL) {
        return command_usage(&line, "--json prints all backbones: leave out '%s'", name);
    }
    if (name != NULL && backbone_check(name, &error) != STATUS_OK) {
        return command_fail(&error);
    }
    return json ? print_json() : print_table(name);
}
