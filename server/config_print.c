/* The configuration as text: example file, effective values and help, from the one table.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "server/config.h"

#include "base/check.h"
#include "base/utf8.h"

#include <stdio.h>
#include <string.h>

static size_t section_length(const char *name)
{
    return strcspn(name, ".");
}

static bool same_section(const struct option *a, const struct option *b)
{
    size_t length = section_length(a->name);
    return length == section_length(b->name) && strncmp(a->name, b->name, length) == 0;
}

static void add_bound(struct text *out, const struct option *option, double bound)
{
    int64_t value = (int64_t)bound;
    double number = bound;
    struct option bare = *option;
    bare.offset = 0;
    if (option->type == OPTION_DOUBLE) {
        options_print(&bare, &number, out);
    } else {
        options_print(&bare, &value, out);
    }
}

/* "0 to 64", "full or relaxed", or nothing. */
static void add_bounds(struct text *out, const struct option *option)
{
    if (option->type == OPTION_CHOICE) {
        for (size_t i = 0; option->choices[i] != NULL; i++) {
            text_add_format(out, "%s%s", i ? ", " : "", option->choices[i]);
        }
    } else if (option->type == OPTION_INT || option->type == OPTION_DOUBLE ||
               option->type == OPTION_DURATION || option->type == OPTION_BYTES) {
        add_bound(out, option, option->minimum);
        text_add_string(out, " to ");
        add_bound(out, option, option->maximum);
    } else if (option->type == OPTION_BOOL) {
        text_add_string(out, "true, false");
    }
}

/* Whether a character may stand as it is in YAML's double quotes: none that controls or breaks a
 * line, no mark of the byte order, and none that replaces what is no UTF-8. */
static bool is_shown(uint32_t point)
{
    return (point >= 0x20 && point < 0x7F) || point > 0xFFFF ||
           (point >= 0xA0 && point < 0xFFFD && point != 0xFEFF && point != 0x2028 &&
            point != 0x2029);
}

static void add_quoted(struct text *out, const char *value, size_t length)
{
    text_add_char(out, '"');
    for (size_t at = 0, width; at < length; at += width) {
        width = utf8_length(value + at, length - at);
        uint32_t point = width > 0 ? utf8_decode(value + at, width) : 0xFFFD;
        width = width > 0 ? width : 1;
        if (!is_shown(point)) {
            text_add_format(out, "\\u%04X", (unsigned)point);
            continue;
        }
        text_add_string(out, point == '"' || point == '\\' ? "\\" : "");
        text_add(out, value + at, width);
    }
    text_add_char(out, '"');
}

static bool needs_quotes(const char *value)
{
    for (const char *c = value; *c != '\0'; c++) {
        if ((unsigned char)*c < 0x20 || (unsigned char)*c >= 0x7F) {
            return true;
        }
    }
    return value[0] == '\0' || value[0] == '-' || strpbrk(value, ":#{}[],&*?|>!%@`\"' ") != NULL;
}

static void add_file_line(struct text *out, const char *comment, const char *key, const char *value)
{
    text_add_format(out, "%s  %s: ", comment, key);
    if (needs_quotes(value)) {
        add_quoted(out, value, strlen(value));
    } else {
        text_add_string(out, value);
    }
    text_add_char(out, '\n');
}

static void add_backbone_example(struct text *out)
{
    for (size_t i = 0; i < backbone_count(); i++) {
        struct backbone_info info = backbone_info(i);
        text_add_format(out, "\n  # Options of backbone %s:\n", info.name);
        for (size_t k = 0; k < info.option_count; k++) {
            const struct option *option = &info.options[k];
            text_add_format(out, "  # %s", option->help);
            text_add_string(out, " [");
            add_bounds(out, option);
            text_add_string(out, "]\n");
            add_file_line(out, "  #", option->name, option->preset);
        }
    }
}

static void add_alert_example(struct text *out)
{
    static const struct {
        const char *key, *value;
    } filled[] = {{"series", "disk_free{mount=\"/\"}"},
                  {"below", "1e9"},
                  {"within", "24h"},
                  {"measure", "crossing"},
                  {"url", "https://alerts.example/hook"}};
    text_add_string(out, "\n  # A rule, here of the name disk_full; there may be several:\n"
                         "  # disk_full:\n");
    for (size_t i = 0; i < alert_rule_option_count; i++) {
        const struct option *option = &alert_rule_options[i];
        const char *value = option->preset;
        for (size_t k = 0; k < ARRAY_COUNT(filled); k++) {
            value = strcmp(filled[k].key, option->name) == 0 ? filled[k].value : value;
        }
        text_add_format(out, "  #   %s", option->help);
        if (option->type != OPTION_TEXT) {
            text_add_string(out, " [");
            add_bounds(out, option);
            text_add_char(out, ']');
        }
        text_add_char(out, '\n');
        add_file_line(out, "  # ", option->name, value);
    }
}

/* The keys of a rule that are not at their presets. */
static void add_alert_rule(const struct alert_rule *rule, struct text *out)
{
    text_add_format(out, "  %s:\n", rule->name);
    for (size_t i = 0; i < alert_rule_option_count; i++) {
        struct text value;
        text_init(&value, 2048);
        options_print(&alert_rule_options[i], rule, &value);
        if (value.bytes != NULL && strcmp(value.bytes, alert_rule_options[i].preset) != 0) {
            add_file_line(out, "  ", alert_rule_options[i].name, value.bytes);
        }
        text_release(&value);
    }
}

void config_print_example(struct text *out)
{
    text_add_string(out, "# Configuration of forecastd. Every value here is the default.\n"
                         "# Environment variables (FORECASTD_SERVER_LISTEN) and --set "
                         "server.listen=... go before this file.\n");
    for (size_t i = 0; i < config_option_count; i++) {
        const struct option *option = &config_options[i];
        size_t section = section_length(option->name);
        if (i == 0 || !same_section(option, &config_options[i - 1])) {
            text_add_format(out, "\n%.*s:\n", (int)section, option->name);
        }
        text_add_format(out, "  # %s", option->help);
        if (option->type != OPTION_TEXT) {
            text_add_string(out, " [");
            add_bounds(out, option);
            text_add_char(out, ']');
        }
        if (option->reloadable) {
            text_add_string(out, " Reloaded on SIGHUP.");
        }
        text_add_char(out, '\n');
        add_file_line(out, "", option->name + section + 1, option->preset);
        if (strcmp(option->name, "model.head") == 0) {
            add_backbone_example(out);
        } else if (strcmp(option->name, "alerts.every") == 0) {
            add_alert_example(out);
        }
    }
}

void config_print_effective(const struct config *config, struct text *out)
{
    for (size_t i = 0; i < config_option_count; i++) {
        const struct option *option = &config_options[i];
        size_t section = section_length(option->name);
        if (i == 0 || !same_section(option, &config_options[i - 1])) {
            text_add_format(out, "%s%.*s:\n", i ? "\n" : "", (int)section, option->name);
        }
        struct text value;
        text_init(&value, 2048);
        options_print(option, config, &value);
        add_file_line(out, "", option->name + section + 1, value.bytes != NULL ? value.bytes : "");
        text_release(&value);
        for (size_t k = 0; strcmp(option->name, "alerts.every") == 0 && k < config->alerts.count;
             k++) {
            add_alert_rule(&config->alerts.rules[k], out);
        }
        if (strcmp(option->name, "model.head") != 0) {
            continue;
        }
        for (const char *item = config->model_options; *item != '\0';) {
            char key[MODEL_KEY_MAX], word[sizeof(config->model_options)];
            size_t length = strcspn(item, " "), key_length = strcspn(item, "=");
            snprintf(key, sizeof(key), "%.*s", (int)key_length, item);
            snprintf(word, sizeof(word), "%.*s", (int)(length - key_length - 1),
                     item + key_length + 1);
            add_file_line(out, "", key, word);
            item += length + (item[length] == ' ');
        }
    }
}

void config_print_help(struct text *out)
{
    text_add_string(out, "Options of the configuration, for --set, FORECASTD_SECTION_KEY and the "
                         "file:\n");
    for (size_t i = 0; i < config_option_count; i++) {
        const struct option *option = &config_options[i];
        text_add_format(out, "  %-31s %s", option->name, option->help);
        text_add_format(out, " [%s", option->preset[0] ? option->preset : "none");
        if (option->type != OPTION_TEXT && option->type != OPTION_BOOL) {
            text_add_string(out, "; ");
            add_bounds(out, option);
        }
        text_add_string(out, "]\n");
    }
    text_add_string(out, "  model.<option>                  An option of the backbone; forecastd "
                         "backbones lists them.\n"
                         "  alerts.<rule>.<key>             A key of an alert rule; "
                         "docs/webhooks.md lists them.\n");
}
