/* Labels of a series out of OpenTelemetry's attributes: of a point, its scope and its resource.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "api/otlp_labels.h"

#include "api/otlp_names.h"
#include "api/protobuf.h"
#include "base/check.h"

#include <math.h>

#define LIST_TEXT_MAX 1024u
#define SCOPE_PREFIX  "otel_scope_"

enum { PAIR_KEY = 1, PAIR_VALUE = 2 };
enum {
    VALUE_STRING = 1,
    VALUE_BOOLEAN = 2,
    VALUE_INTEGER = 3,
    VALUE_DOUBLE = 4,
    VALUE_LIST = 5,
    VALUE_MAP = 6,
    VALUE_BYTES = 7
};
enum { LIST_ITEM = 1 };
enum { RESOURCE_ATTRIBUTE = 1 };
enum { SCOPE_NAME = 1, SCOPE_VERSION = 2, SCOPE_ATTRIBUTE = 3 };

/* Attributes of a resource that say where it runs, and stay the same from start to start. */
static const char *const places[] = {"cloud.availability_zone",
                                     "cloud.region",
                                     "container.name",
                                     "deployment.environment",
                                     "deployment.environment.name",
                                     "host.name",
                                     "k8s.cluster.name",
                                     "k8s.container.name",
                                     "k8s.cronjob.name",
                                     "k8s.daemonset.name",
                                     "k8s.deployment.name",
                                     "k8s.job.name",
                                     "k8s.namespace.name",
                                     "k8s.node.name",
                                     "k8s.pod.name",
                                     "k8s.replicaset.name",
                                     "k8s.statefulset.name"};

void otlp_labels_begin(struct otlp_labels *labels)
{
    labels->count = labels->used = 0;
    labels->fault.status = STATUS_OK;
}

static void fault(struct otlp_labels *labels, struct slice key, const char *what)
{
    if (labels->fault.status == STATUS_OK) {
        error_set(&labels->fault, STATUS_INVALID, "the attribute \"%.*s\" %s",
                  (int)(key.length < 80 ? key.length : 80), key.bytes, what);
        error_code(&labels->fault, "bad_label", "attributes");
    }
}

static bool is_named(struct slice key, const char *name)
{
    return key.length == strlen(name) && memcmp(key.bytes, name, key.length) == 0;
}

/* Room for so many bytes that the set keeps; NULL and a fault where there is none. */
static char *room_for(struct otlp_labels *labels, struct slice key, size_t length)
{
    if (length > OTLP_ROOM_BYTES - labels->used) {
        fault(labels, key, "is too long");
        return NULL;
    }
    return labels->room + labels->used;
}

static struct slice keep(struct otlp_labels *labels, size_t length)
{
    struct slice kept = {labels->room + labels->used, length};
    labels->used += length;
    return kept;
}

/* ---------------------------------------------------------------- values */

/* A scalar as text; strings with quotes inside of a list. False: it is none. */
static bool write_scalar(const struct protobuf_field *field, bool in_list, struct text *text)
{
    int64_t integer = 0;
    double number = 0;
    switch (field->number) {
    case VALUE_STRING:
        if (in_list) {
            text_add_json_string(text, field->bytes.bytes, field->bytes.length);
        } else {
            text_add(text, field->bytes.bytes, field->bytes.length);
        }
        return true;
    case VALUE_BOOLEAN:
        text_add_string(text, field->value ? "true" : "false");
        return true;
    case VALUE_INTEGER:
        memcpy(&integer, &field->value, sizeof(integer)); /* two's complement */
        text_add_int(text, integer);
        return true;
    case VALUE_DOUBLE:
        memcpy(&number, &field->value, sizeof(number));
        if (isfinite(number)) {
            text_add_double(text, number);
        } else {
            text_add_string(text, isnan(number) ? "NaN" : number > 0 ? "Infinity" : "-Infinity");
        }
        return true;
    default:
        return false;
    }
}

/* The field of an AnyValue that counts, the last one; number 0: it is empty. False: damaged. */
static bool pick_value(struct slice bytes, struct protobuf_field *value)
{
    static const enum protobuf_wire wires[] = {
        [VALUE_STRING] = WIRE_BYTES,   [VALUE_BOOLEAN] = WIRE_VARINT, [VALUE_INTEGER] = WIRE_VARINT,
        [VALUE_DOUBLE] = WIRE_FIXED64, [VALUE_LIST] = WIRE_BYTES,     [VALUE_MAP] = WIRE_BYTES,
        [VALUE_BYTES] = WIRE_BYTES};
    struct protobuf message = protobuf_of(bytes);
    struct protobuf_field field;
    value->number = 0;
    while (protobuf_next(&message, &field)) {
        if (field.number >= ARRAY_COUNT(wires)) {
            continue;
        }
        if (field.wire != wires[field.number]) {
            return false;
        }
        *value = field;
    }
    return !message.broken;
}

static bool write_list(struct slice bytes, struct text *text, bool *is_plain)
{
    struct protobuf message = protobuf_of(bytes);
    struct protobuf_field field, item;
    text_add_char(text, '[');
    while (protobuf_next(&message, &field)) {
        if (field.number != LIST_ITEM) {
            continue;
        }
        if (field.wire != WIRE_BYTES || !pick_value(field.bytes, &item)) {
            return false;
        }
        if (text->length > 1) {
            text_add_char(text, ',');
        }
        if (item.number == 0) {
            text_add_string(text, "null");
        } else {
            *is_plain = write_scalar(&item, true, text) && *is_plain;
        }
    }
    text_add_char(text, ']');
    return !message.broken;
}

/* The value of an attribute as a label has it. False: damaged. */
static bool read_value(struct slice bytes, struct slice key, struct otlp_labels *labels,
                       struct slice *out)
{
    struct protobuf_field value;
    *out = (struct slice){"", 0};
    if (!pick_value(bytes, &value)) {
        return false;
    }
    if (value.number == 0 || value.number == VALUE_STRING) {
        *out = value.number ? value.bytes : *out;
        return true;
    }
    struct text text;
    text_init(&text, LIST_TEXT_MAX);
    bool is_plain = true, intact = true;
    if (value.number == VALUE_LIST) {
        intact = write_list(value.bytes, &text, &is_plain);
    } else {
        is_plain = write_scalar(&value, false, &text);
    }
    if (!is_plain) {
        fault(labels, key, "holds a map or bytes, which no label can");
    } else if (text.failed) {
        fault(labels, key, "is too long");
    } else if (intact) {
        char *room = room_for(labels, key, text.length);
        if (room) {
            memcpy(room, text.bytes, text.length);
            *out = keep(labels, text.length);
        }
    }
    text_release(&text);
    return intact;
}

static bool read_pair(struct slice bytes, struct slice *key, struct slice *value)
{
    struct protobuf message = protobuf_of(bytes);
    struct protobuf_field field;
    *key = *value = (struct slice){"", 0};
    while (protobuf_next(&message, &field)) {
        if (field.number > PAIR_VALUE) {
            continue;
        }
        if (field.wire != WIRE_BYTES) {
            return false;
        }
        *(field.number == PAIR_KEY ? key : value) = field.bytes;
    }
    return !message.broken;
}

/* ---------------------------------------------------------------- the set */

static int compare(struct slice a, struct slice b)
{
    size_t shorter = a.length < b.length ? a.length : b.length;
    int order = memcmp(a.bytes, b.bytes, shorter);
    return order ? order : (a.length > b.length) - (a.length < b.length);
}

/* Sorted by key, those of one key by what was sent. */
static void add(struct otlp_labels *labels, struct slice source, struct series_label label)
{
    if (label.value.length == 0) {
        return;
    }
    if (labels->count == SERIES_LABELS_MAX) {
        if (labels->fault.status == STATUS_OK) {
            error_set(&labels->fault, STATUS_INVALID, "a series has at most %d labels",
                      SERIES_LABELS_MAX);
            error_code(&labels->fault, "too_many_labels", "attributes");
        }
        return;
    }
    size_t at = labels->count++;
    for (; at > 0; at--) {
        int order = compare(labels->items[at - 1].key, label.key);
        if (order < 0 || (order == 0 && compare(labels->sources[at - 1], source) <= 0)) {
            break;
        }
        labels->items[at] = labels->items[at - 1];
        labels->sources[at] = labels->sources[at - 1];
    }
    labels->items[at] = label;
    labels->sources[at] = source;
}

/* Labels of one key become one. */
static void merge_same(struct otlp_labels *labels)
{
    size_t kept = 0;
    for (size_t i = 0; i < labels->count; i++) {
        struct series_label *last = kept > 0 ? &labels->items[kept - 1] : NULL;
        struct series_label label = labels->items[i];
        if (!last || compare(last->key, label.key) != 0) {
            labels->items[kept++] = label;
            continue;
        }
        size_t length = last->value.length + 1 + label.value.length;
        char *room = room_for(labels, label.key, length);
        if (room) {
            memcpy(room, last->value.bytes, last->value.length);
            room[last->value.length] = ';';
            memcpy(room + last->value.length + 1, label.value.bytes, label.value.length);
            last->value = keep(labels, length);
        }
    }
    labels->count = kept;
}

/* An attribute under its key behind `prefix`. False: damaged. */
static bool add_attribute(struct slice pair, const char *prefix, struct otlp_labels *labels)
{
    struct slice key, bytes;
    struct series_label label;
    size_t before = strlen(prefix);
    if (!read_pair(pair, &key, &bytes) || !read_value(bytes, key, labels, &label.value)) {
        return false;
    }
    if (key.length == 0) {
        fault(labels, key, "has no key");
        return true;
    }
    size_t longest = 0;
    char *room = __builtin_mul_overflow(key.length, 2, &longest)
                     ? NULL
                     : room_for(labels, key, before + longest + 4);
    if (room) {
        memcpy(room, prefix, before);
        size_t length = otlp_label_key(key, room + before);
        label.key = keep(labels, before + length);
        add(labels, key, label);
    }
    return true;
}

bool otlp_labels_of_point(struct slice message, uint32_t number, struct otlp_labels *labels)
{
    struct protobuf fields = protobuf_of(message);
    struct protobuf_field field;
    while (protobuf_next(&fields, &field)) {
        if (field.number == number &&
            (field.wire != WIRE_BYTES || !add_attribute(field.bytes, "", labels))) {
            return false;
        }
    }
    merge_same(labels);
    return !fields.broken;
}

bool otlp_labels_of_scope(struct slice scope, struct otlp_labels *labels)
{
    static const struct slice name_key = {SCOPE_PREFIX "name", sizeof(SCOPE_PREFIX "name") - 1};
    static const struct slice version_key = {SCOPE_PREFIX "version",
                                             sizeof(SCOPE_PREFIX "version") - 1};
    struct protobuf fields = protobuf_of(scope);
    struct protobuf_field field;
    struct slice name = {"", 0}, version = {"", 0};
    while (protobuf_next(&fields, &field)) {
        if (field.number > SCOPE_ATTRIBUTE) {
            continue;
        }
        if (field.wire != WIRE_BYTES) {
            return false;
        }
        if (field.number != SCOPE_ATTRIBUTE) {
            *(field.number == SCOPE_NAME ? &name : &version) = field.bytes;
        } else if (!add_attribute(field.bytes, SCOPE_PREFIX, labels)) {
            return false;
        }
    }
    add(labels, name_key, (struct series_label){name_key, name});
    add(labels, version_key, (struct series_label){version_key, version});
    merge_same(labels);
    return !fields.broken;
}

static void add_job(struct slice space, struct slice name, struct otlp_labels *labels)
{
    static const struct slice key = {"job", 3};
    size_t length = space.length + 1 + name.length;
    struct slice value = name;
    char *room = space.length && name.length ? room_for(labels, key, length) : NULL;
    if (room) {
        memcpy(room, space.bytes, space.length);
        room[space.length] = '/';
        memcpy(room + space.length + 1, name.bytes, name.length);
        value = keep(labels, length);
    }
    add(labels, key, (struct series_label){key, value});
}

static bool is_place(struct slice key)
{
    for (size_t i = 0; i < ARRAY_COUNT(places); i++) {
        if (is_named(key, places[i])) {
            return true;
        }
    }
    return false;
}

bool otlp_labels_of_resource(struct slice resource, struct otlp_labels *labels)
{
    struct {
        const char *attribute;
        struct slice value;
    } service[] = {{"service.name", {"", 0}},
                   {"service.namespace", {"", 0}},
                   {"service.instance.id", {"", 0}}};
    struct protobuf fields = protobuf_of(resource);
    struct protobuf_field field;
    struct slice key, bytes;
    while (protobuf_next(&fields, &field)) {
        if (field.number != RESOURCE_ATTRIBUTE) {
            continue;
        }
        if (field.wire != WIRE_BYTES || !read_pair(field.bytes, &key, &bytes) ||
            (is_place(key) && !add_attribute(field.bytes, "", labels))) {
            return false;
        }
        for (size_t i = 0; i < ARRAY_COUNT(service); i++) {
            if (is_named(key, service[i].attribute) &&
                !read_value(bytes, key, labels, &service[i].value)) {
                return false;
            }
        }
    }
    add_job(service[1].value, service[0].value, labels);
    add(labels, (struct slice){"instance", 8},
        (struct series_label){{"instance", 8}, service[2].value});
    merge_same(labels);
    return !fields.broken;
}

void otlp_labels_join(struct otlp_labels *labels, const struct otlp_labels *outer)
{
    if (labels->fault.status == STATUS_OK) {
        labels->fault = outer->fault;
    }
    for (size_t i = 0; i < outer->count; i++) {
        bool known = false;
        for (size_t k = 0; k < labels->count && !known; k++) {
            known = compare(labels->items[k].key, outer->items[i].key) == 0;
        }
        if (!known) {
            add(labels, outer->sources[i], outer->items[i]);
        }
    }
}
