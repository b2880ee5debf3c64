/* GET /api/v1/backbones: the registered backbones with their options, presets and bounds.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "api/handlers.h"

#include <string.h>

#define BACKBONES_BYTES_MAX (1u << 20)

static void add_text(struct text *json, const char *name, const char *value)
{
    text_add_format(json, ",\"%s\":", name);
    if (value) {
        text_add_json_string(json, value, strlen(value));
    } else {
        text_add_string(json, "null");
    }
}

static const char *type_name(enum option_type type)
{
    static const char *const names[] = {"integer",  "number", "boolean", "text",
                                        "duration", "bytes",  "choice"};
    return names[type];
}

static void write_option(const struct option *option, struct text *json)
{
    bool bounded = option->type == OPTION_INT || option->type == OPTION_DOUBLE ||
                   option->type == OPTION_DURATION || option->type == OPTION_BYTES;
    text_add_string(json, "{\"name\":");
    text_add_json_string(json, option->name, strlen(option->name));
    text_add_format(json, ",\"type\":\"%s\"", type_name(option->type));
    add_text(json, "default", option->preset);
    if (bounded) {
        text_add_string(json, ",\"minimum\":");
        text_add_double(json, option->minimum);
        text_add_string(json, ",\"maximum\":");
        text_add_double(json, option->maximum);
    }
    if (option->type == OPTION_CHOICE && option->choices) {
        text_add_string(json, ",\"choices\":[");
        for (size_t i = 0; option->choices[i]; i++) {
            if (i > 0) {
                text_add_char(json, ',');
            }
            text_add_json_string(json, option->choices[i], strlen(option->choices[i]));
        }
        text_add_char(json, ']');
    }
    add_text(json, "help", option->help);
    text_add_char(json, '}');
}

enum status backbones_list(struct call *call, struct error *error)
{
    struct text json;
    text_init(&json, BACKBONES_BYTES_MAX);
    text_add_string(&json, "{\"backbones\":[");
    for (size_t i = 0; i < backbone_count(); i++) {
        struct backbone_info info = backbone_info(i);
        text_add_string(&json, i ? ",{\"name\":" : "{\"name\":");
        text_add_json_string(&json, info.name, strlen(info.name));
        add_text(&json, "paper", info.paper);
        add_text(&json, "help", info.help);
        text_add_format(&json, ",\"causal\":%s,\"streaming\":%s,\"options\":[",
                        info.causal ? "true" : "false", info.streaming ? "true" : "false");
        for (size_t o = 0; o < info.option_count; o++) {
            if (o > 0) {
                text_add_char(&json, ',');
            }
            write_option(&info.options[o], &json);
        }
        text_add_string(&json, "]}");
    }
    text_add_string(&json, "]}");
    return call_json(call, 200, &json, error);
}
