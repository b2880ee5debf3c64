/* Which series a message of an MQTT broker belongs to: topic patterns.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "api/mqtt_topic.h"

#include "base/check.h"

#include <stdio.h>
#include <string.h>

/* The next level of a topic, and whether there was one. */
static bool next_level(struct slice *rest, struct slice *level)
{
    if (rest->bytes == NULL) {
        return false;
    }
    const char *slash = memchr(rest->bytes, '/', rest->length);
    level->bytes = rest->bytes;
    level->length = slash != NULL ? (size_t)(slash - rest->bytes) : rest->length;
    rest->bytes = slash != NULL ? slash + 1 : NULL;
    rest->length = slash != NULL ? rest->length - level->length - 1 : 0;
    return true;
}

static bool is_text(struct slice level, const char *text)
{
    return level.length == strlen(text) && memcmp(level.bytes, text, level.length) == 0;
}

static bool is_placeholder(struct slice level)
{
    return level.length >= 2 && level.bytes[0] == '{' && level.bytes[level.length - 1] == '}';
}

static struct slice inside(struct slice level)
{
    return (struct slice){level.bytes + 1, level.length - 2};
}

/* ---------------------------------------------------------------- patterns */

static enum status refuse(const char *pattern, const char *why, struct error *error)
{
    error_set(error, STATUS_INVALID, "topic pattern '%.100s' %s", pattern, why);
    error_code(error, "bad_value", "mqtt.topics");
    return error_hint(error,
                      "Write levels with / between them: text, {label}, {name}, + or a last #, "
                      "such as home/{room}/{name}.");
}

static bool is_key(struct slice key)
{
    for (size_t i = 0; i < key.length; i++) {
        char c = key.bytes[i];
        bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
        if (!letter && (i == 0 || c < '0' || c > '9')) {
            return false;
        }
    }
    return key.length > 0 && key.length <= 64;
}

/* One level of a pattern: checks it and appends its form to the filter. */
static enum status add_level(struct mqtt_pattern *pattern, struct slice level, bool last,
                             struct error *error)
{
    size_t used = strlen(pattern->filter);
    const char *slash = used > 0 || level.bytes != pattern->text ? "/" : "";
    bool any = is_placeholder(level);
    if (any && !is_key(inside(level))) {
        return refuse(pattern->text, "has a label that is no name", error);
    }
    if (is_text(level, "#") && !last) {
        return refuse(pattern->text, "has a # that is not its last level", error);
    }
    bool wildcard = is_text(level, "+") || is_text(level, "#");
    for (size_t i = 0; i < level.length && !any && !wildcard; i++) {
        if (strchr("+#{}=", level.bytes[i]) != NULL) {
            return refuse(pattern->text, "has +, #, { or } within a level", error);
        }
    }
    pattern->named |= is_text(level, "{name}") || is_text(level, "#");
    snprintf(pattern->filter + used, sizeof(pattern->filter) - used, "%s%.*s", slash,
             any ? 1 : (int)level.length, any ? "+" : level.bytes);
    return STATUS_OK;
}

static enum status parse_one(struct slice text, struct mqtt_pattern *pattern, struct error *error)
{
    *pattern = (struct mqtt_pattern){0};
    snprintf(pattern->text, sizeof(pattern->text), "%.*s", (int)text.length, text.bytes);
    if (text.length >= sizeof(pattern->text)) {
        return refuse(pattern->text, "is longer than 255 bytes", error);
    }
    const char *equals = memchr(text.bytes, '=', text.length);
    if (equals != NULL) {
        snprintf(pattern->name, sizeof(pattern->name), "%.*s", (int)(equals - text.bytes),
                 text.bytes);
        snprintf(pattern->text, sizeof(pattern->text), "%.*s",
                 (int)(text.length - (size_t)(equals + 1 - text.bytes)), equals + 1);
        pattern->named = true;
        if (pattern->name[0] == '\0') {
            return refuse(pattern->text, "has no name before the =", error);
        }
    }
    if (pattern->text[0] == '\0') {
        return refuse(pattern->text, "is empty", error);
    }
    struct slice rest = {pattern->text, strlen(pattern->text)}, level;
    size_t levels = 0;
    while (next_level(&rest, &level)) {
        enum status status = ++levels > MQTT_LEVELS_MAX
                                 ? refuse(pattern->text, "has more than 32 levels", error)
                                 : add_level(pattern, level, rest.bytes == NULL, error);
        if (status != STATUS_OK) {
            return status;
        }
    }
    return STATUS_OK;
}

enum status mqtt_patterns_parse(const char *text, struct mqtt_patterns *patterns,
                                struct error *error)
{
    patterns->count = 0;
    while (*text != '\0') {
        size_t length = strcspn(text, ",");
        struct slice one = {text, length};
        while (one.length > 0 && strchr(" \t", one.bytes[0]) != NULL) {
            one.bytes++;
            one.length--;
        }
        while (one.length > 0 && strchr(" \t", one.bytes[one.length - 1]) != NULL) {
            one.length--;
        }
        if (patterns->count == MQTT_PATTERNS_MAX) {
            error_set(error, STATUS_INVALID, "more than %d topic patterns", MQTT_PATTERNS_MAX);
            return error_code(error, "bad_value", "mqtt.topics");
        }
        enum status status = parse_one(one, &patterns->list[patterns->count], error);
        if (status != STATUS_OK) {
            return status;
        }
        patterns->count++;
        text += length + (text[length] == ',');
    }
    return STATUS_OK;
}

/* ---------------------------------------------------------------- matching */

/* Appends a part to the name; false where it becomes too long. */
static bool add_name(struct mqtt_identity *identity, struct slice part)
{
    size_t used = identity->name.length;
    size_t joint = used > 0 ? 1 : 0;
    if (used + joint + part.length > sizeof(identity->bytes)) {
        return false;
    }
    if (joint > 0) {
        identity->bytes[used] = '_';
    }
    memcpy(identity->bytes + used + joint, part.bytes, part.length);
    identity->name.length = used + joint + part.length;
    return true;
}

enum match { MATCHES, DIFFERS, NAME_TOO_LONG };

static enum match match_level(const struct mqtt_pattern *pattern, struct slice wanted,
                              struct slice level, struct mqtt_identity *identity)
{
    if (is_text(wanted, "+")) {
        return MATCHES;
    }
    if (is_text(wanted, "{name}")) {
        return add_name(identity, level) ? MATCHES : NAME_TOO_LONG;
    }
    if (is_placeholder(wanted)) {
        if (identity->label_count < SERIES_LABELS_MAX) {
            identity->labels[identity->label_count++] =
                (struct series_label){inside(wanted), level};
        }
        return MATCHES;
    }
    if (wanted.length != level.length || memcmp(wanted.bytes, level.bytes, level.length) != 0) {
        return DIFFERS;
    }
    bool part = !pattern->named || memchr(pattern->text, '#', strlen(pattern->text)) != NULL;
    return !part || pattern->name[0] != '\0' || add_name(identity, level) ? MATCHES : NAME_TOO_LONG;
}

static enum match match(const struct mqtt_pattern *pattern, struct slice topic,
                        struct mqtt_identity *identity)
{
    struct slice wanted_rest = {pattern->text, strlen(pattern->text)}, wanted, level;
    identity->name = (struct slice){identity->bytes, 0};
    identity->label_count = 0;
    if ((topic.length > 0 && topic.bytes[0] == '$') != (pattern->text[0] == '$')) {
        return DIFFERS;
    }
    while (next_level(&wanted_rest, &wanted)) {
        bool further = is_text(wanted, "#");
        if (!next_level(&topic, &level)) {
            return DIFFERS;
        }
        enum match result = MATCHES;
        if (!further) {
            result = match_level(pattern, wanted, level, identity);
        }
        while (further && result == MATCHES) {
            bool fits = pattern->name[0] != '\0' || add_name(identity, level);
            result = fits ? MATCHES : NAME_TOO_LONG;
            further = next_level(&topic, &level);
        }
        if (result != MATCHES) {
            return result;
        }
    }
    if (topic.bytes != NULL) {
        return DIFFERS;
    }
    struct slice fixed = {pattern->name, strlen(pattern->name)};
    return fixed.length == 0 || add_name(identity, fixed) ? MATCHES : NAME_TOO_LONG;
}

enum status mqtt_identify(const struct mqtt_patterns *patterns, struct slice topic,
                          struct mqtt_identity *identity, struct error *error)
{
    for (size_t i = 0; i < patterns->count; i++) {
        switch (match(&patterns->list[i], topic, identity)) {
        case MATCHES:
            return STATUS_OK;
        case NAME_TOO_LONG:
            error_set(error, STATUS_INVALID, "the topic makes a name of more than %zu bytes",
                      sizeof(identity->bytes));
            return error_code(error, "bad_series_name", "topic");
        case DIFFERS:
            break;
        }
    }
    return error_set(error, STATUS_NOT_FOUND, "no pattern fits the topic");
}
