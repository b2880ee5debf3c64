/* The YAML layer of the configuration: events of libyaml into the one table, with line numbers.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Nested mappings and dotted keys mean the same: "server: {listen: x}" is "server.listen: x". A
 * list of scalars is joined with commas. Anchors, aliases, tags and a second document are refused.
 */
#include "server/config.h"

#include <stdio.h>
#include <string.h>
#include <yaml.h>

#define DEPTH_MAX       4
#define NAME_MAX_BYTES  128
#define VALUE_MAX_BYTES 1024
#define KEYS_MAX        512

struct yaml_layer {
    struct config *config;
    const char *file;
    yaml_parser_t parser;
    char seen[KEYS_MAX][NAME_MAX_BYTES]; /* to refuse a key that is given twice */
    size_t seen_count;
};

static enum status fault(const struct yaml_layer *layer, size_t line, struct error *error,
                         const char *what, const char *detail)
{
    error_set(error, STATUS_INVALID, "%s:%zu: %s%s%s%s", layer->file, line + 1, what,
              detail[0] ? " '" : "", detail, detail[0] ? "'" : "");
    return error_code(error, "bad_file", NULL);
}

/* Whether it has an anchor or a tag; values and the starts of lists and mappings may. */
static bool is_marked(const yaml_event_t *event)
{
    const yaml_char_t *anchor = NULL, *tag = NULL;
    if (event->type == YAML_SCALAR_EVENT) {
        anchor = event->data.scalar.anchor;
        tag = event->data.scalar.tag;
    } else if (event->type == YAML_SEQUENCE_START_EVENT) {
        anchor = event->data.sequence_start.anchor;
        tag = event->data.sequence_start.tag;
    } else if (event->type == YAML_MAPPING_START_EVENT) {
        anchor = event->data.mapping_start.anchor;
        tag = event->data.mapping_start.tag;
    }
    return anchor != NULL || tag != NULL;
}

/* The caller deletes the event where there is one. */
static enum status next_event(struct yaml_layer *layer, yaml_event_t *event, struct error *error)
{
    if (!yaml_parser_parse(&layer->parser, event)) {
        const char *problem = layer->parser.problem != NULL ? layer->parser.problem : "not YAML";
        return fault(layer, layer->parser.problem_mark.line, error, problem, "");
    }
    if (is_marked(event)) {
        size_t line = event->start_mark.line;
        yaml_event_delete(event);
        return fault(layer, line, error, "anchors and tags are not supported", "");
    }
    return STATUS_OK;
}

static enum status copy_scalar(struct yaml_layer *layer, const yaml_event_t *event, char *out,
                               size_t capacity, struct error *error)
{
    size_t length = event->data.scalar.length;
    if (length >= capacity || memchr(event->data.scalar.value, 0, length) != NULL) {
        return fault(layer, event->start_mark.line, error, "text is too long", "");
    }
    memcpy(out, event->data.scalar.value, length);
    out[length] = '\0';
    return STATUS_OK;
}

static enum status set_value(struct yaml_layer *layer, const char *name, const char *value,
                             size_t line, struct error *error)
{
    char origin[600];
    for (size_t i = 0; i < layer->seen_count; i++) {
        if (strcmp(layer->seen[i], name) == 0) {
            return fault(layer, line, error, "key is given twice:", name);
        }
    }
    if (layer->seen_count == KEYS_MAX) {
        return fault(layer, line, error, "too many keys", "");
    }
    snprintf(layer->seen[layer->seen_count++], NAME_MAX_BYTES, "%s", name);
    snprintf(origin, sizeof(origin), "%s:%zu", layer->file, line + 1);
    return config_set(layer->config, name, value, origin, error);
}

/* After the start of a sequence: its scalars, joined with commas. */
static enum status read_sequence(struct yaml_layer *layer, const char *name, size_t line,
                                 struct error *error)
{
    char joined[VALUE_MAX_BYTES] = "", item[VALUE_MAX_BYTES];
    size_t length = 0;
    enum status status = STATUS_OK;
    for (size_t count = 0; status == STATUS_OK; count++) {
        yaml_event_t event;
        status = next_event(layer, &event, error);
        if (status != STATUS_OK) {
            break;
        }
        yaml_event_type_t type = event.type;
        if (type == YAML_SCALAR_EVENT) {
            status = copy_scalar(layer, &event, item, sizeof(item), error);
        } else if (type != YAML_SEQUENCE_END_EVENT) {
            status =
                fault(layer, event.start_mark.line, error, "a list may hold plain values only", "");
        }
        yaml_event_delete(&event);
        if (type == YAML_SEQUENCE_END_EVENT || status != STATUS_OK) {
            break;
        }
        if (length + strlen(item) + 2 > sizeof(joined)) {
            return fault(layer, line, error, "list is too long", "");
        }
        length += (size_t)snprintf(joined + length, sizeof(joined) - length, "%s%s",
                                   count ? "," : "", item);
    }
    return status == STATUS_OK ? set_value(layer, name, joined, line, error) : status;
}

static enum status read_mapping(struct yaml_layer *layer, const char *prefix, int depth,
                                struct error *error);

/* The value behind a key. A key without a value ("storage:") leaves the presets. */
static enum status read_value(struct yaml_layer *layer, const char *name, int depth,
                              struct error *error)
{
    char value[VALUE_MAX_BYTES];
    yaml_event_t event;
    enum status status = next_event(layer, &event, error);
    if (status != STATUS_OK) {
        return status;
    }
    size_t line = event.start_mark.line;
    yaml_event_type_t type = event.type;
    bool plain_null = false;
    if (type == YAML_SCALAR_EVENT) {
        plain_null =
            event.data.scalar.length == 0 && event.data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
        status = copy_scalar(layer, &event, value, sizeof(value), error);
    }
    yaml_event_delete(&event);
    if (status != STATUS_OK || plain_null) {
        return status;
    }
    if (type == YAML_SCALAR_EVENT) {
        return set_value(layer, name, value, line, error);
    }
    if (type == YAML_SEQUENCE_START_EVENT) {
        return read_sequence(layer, name, line, error);
    }
    if (type == YAML_MAPPING_START_EVENT && depth < DEPTH_MAX) {
        return read_mapping(layer, name, depth + 1, error);
    }
    return fault(layer, line, error, "value is not supported for key", name);
}

/* After the start of a mapping, up to its end. */
static enum status read_mapping(struct yaml_layer *layer, const char *prefix, int depth,
                                struct error *error)
{
    for (;;) {
        char key[NAME_MAX_BYTES], name[NAME_MAX_BYTES];
        yaml_event_t event;
        enum status status = next_event(layer, &event, error);
        if (status != STATUS_OK) {
            return status;
        }
        size_t line = event.start_mark.line;
        yaml_event_type_t type = event.type;
        if (type == YAML_SCALAR_EVENT) {
            status = copy_scalar(layer, &event, key, sizeof(key), error);
        }
        yaml_event_delete(&event);
        if (type == YAML_MAPPING_END_EVENT || status != STATUS_OK) {
            return status;
        }
        if (type != YAML_SCALAR_EVENT) {
            return fault(layer, line, error, "a key must be plain text", "");
        }
        int length = snprintf(name, sizeof(name), "%s%s%s", prefix, prefix[0] ? "." : "", key);
        if (length < 0 || (size_t)length >= sizeof(name)) {
            return fault(layer, line, error, "key is too long", "");
        }
        status = read_value(layer, name, depth, error);
        if (status != STATUS_OK) {
            return status;
        }
    }
}

enum status config_read_yaml(struct config *config, const char *name, const char *bytes,
                             size_t length, struct error *error)
{
    enum status status = STATUS_OK;
    struct yaml_layer layer = {.config = config, .file = name};
    if (!yaml_parser_initialize(&layer.parser)) {
        return error_set(error, STATUS_NO_MEMORY, "could not read '%s': out of memory", name);
    }
    yaml_parser_set_input_string(&layer.parser, (const unsigned char *)bytes, length);
    int documents = 0;
    for (bool more = true; more && status == STATUS_OK;) {
        yaml_event_t event;
        status = next_event(&layer, &event, error);
        if (status != STATUS_OK) {
            break;
        }
        yaml_event_type_t type = event.type;
        size_t line = event.start_mark.line;
        bool blank = type == YAML_SCALAR_EVENT && event.data.scalar.length == 0;
        yaml_event_delete(&event);
        more = type != YAML_STREAM_END_EVENT;
        if (type == YAML_DOCUMENT_START_EVENT && ++documents > 1) {
            status = fault(&layer, line, error, "only one document is supported", "");
        } else if (type == YAML_MAPPING_START_EVENT) {
            status = read_mapping(&layer, "", 1, error);
        } else if (type == YAML_SEQUENCE_START_EVENT || type == YAML_ALIAS_EVENT ||
                   (type == YAML_SCALAR_EVENT && !blank)) {
            status = fault(&layer, line, error, "the file must be a mapping of options", "");
        }
    }
    yaml_parser_delete(&layer.parser);
    return status;
}
