/* JSON of a model's record, read with the pull reader and written by hand.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "server/model_entry.h"

#include "base/check.h"
#include "base/clock.h"
#include "base/json_reader.h"
#include "base/memory.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const char *const standing_names[] = {"champion",  "previous", "retired",
                                             "kept_back", "corrupt",  "newer"};

const char *standing_name(enum standing standing)
{
    CHECK((size_t)standing < ARRAY_COUNT(standing_names));
    return standing_names[standing];
}

static bool key_is(const struct json_reader *reader, const char *key)
{
    return reader->text_length == strlen(key) &&
           memcmp(reader->text, key, reader->text_length) == 0;
}

static bool copy_string(const struct json_reader *reader, char *out, size_t capacity)
{
    if (reader->text_length >= capacity) {
        return false;
    }
    memcpy(out, reader->text, reader->text_length);
    out[reader->text_length] = '\0';
    return true;
}

static bool read_standing(const struct json_reader *reader, enum standing *standing)
{
    for (size_t i = 0; i < ARRAY_COUNT(standing_names); i++) {
        if (key_is(reader, standing_names[i])) {
            *standing = (enum standing)i;
            return true;
        }
    }
    return false;
}

void model_entry_decide(struct model_entry *entry, enum standing standing, const char *by,
                        const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(entry->verdict, sizeof(entry->verdict), format, arguments);
    va_end(arguments);
    entry->standing = standing;
    if (entry->decision_count == DECISIONS_MAX) {
        entry->decision_count--;
        memmove(entry->decisions, entry->decisions + 1,
                entry->decision_count * sizeof(entry->decisions[0]));
    }
    struct decision *decision = &entry->decisions[entry->decision_count++];
    *decision = (struct decision){.at_ms = clock_wall_ms(), .standing = standing};
    snprintf(decision->by, sizeof(decision->by), "%s", by);
    memcpy(decision->reason, entry->verdict, sizeof(decision->reason));
}

/* One object of the list; its brace has been read. Keys that we do not know are skipped. */
static bool read_decision(struct json_reader *reader, struct decision *decision)
{
    for (;;) {
        enum json_token token = json_next(reader);
        bool sound = token == JSON_KEY;
        if (token == JSON_OBJECT_END) {
            return true;
        }
        if (sound && key_is(reader, "at_ms")) {
            sound = json_next(reader) == JSON_NUMBER && reader->is_integer;
            decision->at_ms = sound ? reader->integer : 0;
        } else if (sound && key_is(reader, "standing")) {
            sound = json_next(reader) == JSON_STRING && read_standing(reader, &decision->standing);
        } else if (sound && key_is(reader, "by")) {
            sound = json_next(reader) == JSON_STRING &&
                    copy_string(reader, decision->by, sizeof(decision->by));
        } else if (sound && key_is(reader, "reason")) {
            sound = json_next(reader) == JSON_STRING &&
                    copy_string(reader, decision->reason, sizeof(decision->reason));
        } else if (sound) {
            sound = json_skip_value(reader) != JSON_BROKEN;
        }
        if (!sound) {
            return false;
        }
    }
}

static bool read_decisions(struct json_reader *reader, struct model_entry *entry)
{
    bool sound = json_next(reader) == JSON_ARRAY_BEGIN;
    while (sound) {
        enum json_token token = json_next(reader);
        if (token == JSON_ARRAY_END) {
            return true;
        }
        sound = token == JSON_OBJECT_BEGIN && entry->decision_count < DECISIONS_MAX &&
                read_decision(reader, &entry->decisions[entry->decision_count++]);
    }
    return false;
}

/* The value behind the key just read. Keys that we do not know are skipped. */
static bool read_member(struct json_reader *reader, struct model_entry *entry)
{
    char *text = NULL;
    size_t capacity = 0;
    if (key_is(reader, "id")) {
        text = entry->id;
        capacity = sizeof(entry->id);
    } else if (key_is(reader, "file")) {
        text = entry->file;
        capacity = sizeof(entry->file);
    } else if (key_is(reader, "sha256")) {
        text = entry->sha256;
        capacity = sizeof(entry->sha256);
    } else if (key_is(reader, "verdict")) {
        text = entry->verdict;
        capacity = sizeof(entry->verdict);
    } else if (key_is(reader, "standing")) {
        return json_next(reader) == JSON_STRING && read_standing(reader, &entry->standing);
    } else if (key_is(reader, "decisions")) {
        return read_decisions(reader, entry);
    } else if (key_is(reader, "step_ms") || key_is(reader, "published_ms")) {
        int64_t *out = key_is(reader, "step_ms") ? &entry->step_ms : &entry->published_ms;
        if (json_next(reader) != JSON_NUMBER || !reader->is_integer) {
            return false;
        }
        *out = reader->integer;
        return true;
    } else {
        return json_skip_value(reader) != JSON_BROKEN;
    }
    return json_next(reader) == JSON_STRING && copy_string(reader, text, capacity);
}

/* What follows our own members is the snapshot's description. */
static bool keep_description(struct model_entry *entry, const char *rest, const char *end)
{
    while (rest < end && (*rest == ',' || *rest == ' ')) {
        rest++;
    }
    mem_free(entry->description);
    entry->description = mem_copy_text(rest, (size_t)(end - rest));
    return entry->description != NULL;
}

enum status model_entry_read(struct model_entry *entry, const char *json, size_t length,
                             struct error *error)
{
    struct json_reader reader;
    memset(entry, 0, sizeof(*entry));
    json_reader_init(&reader, json, length);
    bool sound = json_next(&reader) == JSON_OBJECT_BEGIN;
    bool no_memory = false;
    while (sound) {
        enum json_token token = json_next(&reader);
        if (token == JSON_OBJECT_END) {
            break;
        }
        bool last_own = token == JSON_KEY && key_is(&reader, "verdict");
        sound = token == JSON_KEY && read_member(&reader, entry);
        if (sound && last_own) {
            sound = keep_description(entry, reader.cursor, json + length);
            no_memory = !sound;
        }
    }
    /* The file is a plain name in the folder of models. */
    sound = sound && entry->id[0] != '\0' && entry->step_ms > 0 && entry->description != NULL &&
            entry->file[0] != '\0' && entry->file[0] != '.' && strchr(entry->file, '/') == NULL;
    if (!sound) {
        model_entry_release(entry);
        return no_memory
                   ? error_set(error, STATUS_NO_MEMORY, "could not allocate the record of a model")
                   : error_set(error, STATUS_CORRUPT, "record of a model cannot be read");
    }
    return STATUS_OK;
}

void model_entry_write(const struct model_entry *entry, struct text *out)
{
    text_add_string(out, "{\"file\":");
    text_add_json_string(out, entry->file, strlen(entry->file));
    text_add_format(out, ",\"standing\":\"%s\",\"champion\":%s,\"published_ms\":%lld,",
                    standing_name(entry->standing),
                    entry->standing == STANDING_CHAMPION ? "true" : "false",
                    (long long)entry->published_ms);
    text_add_string(out, "\"decisions\":[");
    for (size_t i = 0; i < entry->decision_count; i++) {
        const struct decision *decision = &entry->decisions[i];
        text_add_format(out, "%s{\"at\":\"", i ? "," : "");
        text_add_time(out, decision->at_ms);
        text_add_format(out,
                        "\",\"at_ms\":%lld,\"standing\":\"%s\",\"by\":", (long long)decision->at_ms,
                        standing_name(decision->standing));
        text_add_json_string(out, decision->by, strlen(decision->by));
        text_add_string(out, ",\"reason\":");
        text_add_json_string(out, decision->reason, strlen(decision->reason));
        text_add_char(out, '}');
    }
    text_add_string(out, "],\"verdict\":");
    text_add_json_string(out, entry->verdict, strlen(entry->verdict));
    text_add_char(out, ',');
    text_add_string(out, entry->description);
}

void model_entry_release(struct model_entry *entry)
{
    mem_free(entry->description);
    entry->description = NULL;
}
