/* JSON of control requests: strict reading into typed fields, with errors that name the field.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "api/json.h"

#include "api/query.h"
#include "base/memory.h"

#include <jansson.h>
#include <math.h>
#include <string.h>

/* jansson tells most failures of memory as errors of syntax, so they are noted here. */
static _Thread_local bool memory_failed;

static void *noting_alloc(size_t size)
{
    void *block = mem_alloc(size);
    memory_failed = memory_failed || !block;
    return block;
}

void json_use_own_memory(void)
{
    json_set_alloc_funcs(noting_alloc, mem_free);
}

static enum status bad_field(const char *name, const char *what, struct error *error)
{
    error_set(error, STATUS_INVALID, "the field \"%s\" has to be %s", name, what);
    return error_code(error, "bad_field", name);
}

enum status json_read_object(const char *bytes, size_t length, struct json_t **out,
                             struct error *error)
{
    if (length == 0) {
        bytes = "{}";
        length = 2;
    }
    if (json_check_form(bytes, length, error) != STATUS_OK) {
        return error->status;
    }
    json_error_t cause;
    memory_failed = false;
    json_t *document = json_loadb(bytes, length, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &cause);
    if (!document) {
        if (memory_failed) {
            return error_set(error, STATUS_NO_MEMORY, "no memory for the body");
        }
        error_set(error, STATUS_INVALID, "line %d, column %d: %s", cause.line, cause.column,
                  cause.text);
        bool twice = json_error_code(&cause) == json_error_duplicate_key;
        return error_code(error, twice ? "duplicate_field" : "bad_json", NULL);
    }
    if (!json_is_object(document)) {
        json_decref(document);
        error_set(error, STATUS_INVALID, "the body has to be a JSON object");
        return error_code(error, "bad_body", NULL);
    }
    *out = document;
    return STATUS_OK;
}

void json_free(struct json_t *document)
{
    json_decref(document);
}

enum status json_check_members(const struct json_t *object, const char *known, struct error *error)
{
    void *end = NULL;
    for (void *at = json_object_iter((json_t *)(uintptr_t)object); at != end;
         at = json_object_iter_next((json_t *)(uintptr_t)object, at)) {
        const char *name = json_object_iter_key(at);
        if (!word_among(known, name)) {
            error_set(error, STATUS_INVALID, "unknown field \"%.60s\"", name);
            error_code(error, "unknown_field", name);
            return error_hint(error, "There are: %s.", known);
        }
    }
    return STATUS_OK;
}

const struct json_t *json_member(const struct json_t *object, const char *name)
{
    const json_t *member = json_object_get(object, name);
    return json_is_null(member) ? NULL : member;
}

bool json_is_null_member(const struct json_t *object, const char *name)
{
    return json_is_null(json_object_get(object, name));
}

enum status json_read_text(const struct json_t *object, const char *name, const char **value,
                           struct error *error)
{
    const json_t *member = json_member(object, name);
    if (!member) {
        return STATUS_OK;
    }
    if (!json_is_string(member) ||
        json_string_length(member) != strlen(json_string_value(member))) {
        return bad_field(name, "a string", error);
    }
    *value = json_string_value(member);
    return STATUS_OK;
}

enum status json_read_number(const struct json_t *object, const char *name, double minimum,
                             double maximum, double *value, bool *present, struct error *error)
{
    const json_t *member = json_member(object, name);
    if (present) {
        *present = member != NULL;
    }
    if (!member) {
        return STATUS_OK;
    }
    if (!json_is_number(member)) {
        return bad_field(name, "a number", error);
    }
    double number = json_number_value(member);
    if (!isfinite(number) || number < minimum || number > maximum) {
        error_set(error, STATUS_INVALID, "the field \"%s\" is out of bounds", name);
        error_code(error, "bad_field", name);
        return error_hint(error, "Give a number from %.15g to %.15g.", minimum, maximum);
    }
    *value = number;
    return STATUS_OK;
}

enum status json_read_integer(const struct json_t *object, const char *name, int64_t minimum,
                              int64_t maximum, int64_t *value, bool *present, struct error *error)
{
    const json_t *member = json_member(object, name);
    if (present) {
        *present = member != NULL;
    }
    if (!member) {
        return STATUS_OK;
    }
    if (!json_is_integer(member)) {
        return bad_field(name, "a whole number", error);
    }
    int64_t number = json_integer_value(member);
    if (number < minimum || number > maximum) {
        error_set(error, STATUS_INVALID, "the field \"%s\" is out of bounds", name);
        error_code(error, "bad_field", name);
        return error_hint(error, "Give a whole number from %lld to %lld.", (long long)minimum,
                          (long long)maximum);
    }
    *value = number;
    return STATUS_OK;
}

enum status json_read_boolean(const struct json_t *object, const char *name, bool *value,
                              bool *present, struct error *error)
{
    const json_t *member = json_member(object, name);
    if (present) {
        *present = member != NULL;
    }
    if (!member) {
        return STATUS_OK;
    }
    if (!json_is_boolean(member)) {
        return bad_field(name, "true or false", error);
    }
    *value = json_is_true(member);
    return STATUS_OK;
}
