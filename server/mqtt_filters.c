/* The topic filters that a session at an MQTT broker may have: a record of the store.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The record is an array of texts: ["home/+/+","meters/#"].
 */
#include "server/mqtt_filters.h"

#include "base/json_reader.h"
#include "storage/writer.h"

#include <stdio.h>
#include <string.h>

#define RECORD_KIND  "mqtt_filters"
#define RECORD_BYTES ((size_t)1 << 20)

bool mqtt_filters_have(const struct mqtt_filters *filters, const char *filter)
{
    for (size_t i = 0; i < filters->count; i++) {
        if (strcmp(filters->list[i], filter) == 0) {
            return true;
        }
    }
    return false;
}

void mqtt_filters_add(struct mqtt_filters *filters, const char *filter)
{
    if (filters->count < MQTT_FILTERS_MAX && !mqtt_filters_have(filters, filter)) {
        snprintf(filters->list[filters->count++], MQTT_PATTERN_LENGTH, "%s", filter);
    }
}

struct sought {
    const char *session;
    struct mqtt_filters *filters;
};

static bool take_record(void *context, const char *key, const char *json, size_t length)
{
    const struct sought *sought = context;
    struct json_reader reader;
    char filter[MQTT_PATTERN_LENGTH];
    if (strcmp(key, sought->session) != 0) {
        return true;
    }
    json_reader_init(&reader, json, length);
    if (json_next(&reader) == JSON_ARRAY_BEGIN) {
        while (json_next(&reader) == JSON_STRING && reader.text_length < sizeof(filter)) {
            snprintf(filter, sizeof(filter), "%.*s", (int)reader.text_length, reader.text);
            mqtt_filters_add(sought->filters, filter);
        }
    }
    return false;
}

enum status mqtt_filters_load(struct storage *storage, const char *session,
                              struct mqtt_filters *filters, struct error *error)
{
    struct storage_reader *reader = NULL;
    struct sought sought = {session, filters};
    filters->count = 0;
    enum status status = storage_reader_open(storage, &reader, error);
    if (status == STATUS_OK) {
        status = storage_records(reader, RECORD_KIND, take_record, &sought, error);
        storage_reader_close(reader);
    }
    return status;
}

enum status mqtt_filters_save(struct api_services *services, const char *session,
                              const struct mqtt_filters *filters, struct error *error)
{
    struct write_batch *batch = NULL;
    struct text json;
    text_init(&json, RECORD_BYTES);
    text_add_char(&json, '[');
    for (size_t i = 0; i < filters->count; i++) {
        text_add_string(&json, i > 0 ? "," : "");
        text_add_json_string(&json, filters->list[i], strlen(filters->list[i]));
    }
    text_add_char(&json, ']');
    enum status status = text_status(&json, "the topic filters", error);
    if (status == STATUS_OK) {
        status = write_batch_new(services->storage, 1, &batch, error);
    }
    if (status == STATUS_OK) {
        status = write_batch_record(batch, RECORD_KIND, session, json.bytes, json.length, error);
    }
    text_release(&json);
    if (status != STATUS_OK) {
        write_batch_free(batch);
        return status;
    }
    return writer_write_take(services->writer, batch, NULL, error);
}
