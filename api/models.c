/* The routes of models and backbones.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A model's record is the JSON text that was stored at its publication. The member "role" in front
 * says what it is now: champion, previous or archived.
 */
#include "api/handlers.h"
#include "api/json.h"
#include "base/memory.h"

#include <jansson.h>
#include <string.h>

#define MODELS_BYTES_MAX (16u << 20)

struct listing {
    const struct call *call;
    struct text *json;
    const char *wanted; /* only this one; NULL: all */
    size_t count;
};

static bool is_snapshot(struct snapshot *snapshot, const char *id)
{
    bool same = snapshot && strcmp(snapshot_record(snapshot)->id, id) == 0;
    snapshot_release(snapshot);
    return same;
}

/* What the model is now; its group is in its record. */
static const char *role_of(struct registry *registry, const char *id, const char *json,
                           size_t length)
{
    json_error_t cause;
    json_t *record = json_loadb(json, length, 0, &cause);
    int64_t step_ms = record ? json_integer_value(json_object_get(record, "step_ms")) : 0;
    json_decref(record);
    if (is_snapshot(registry_acquire(registry, step_ms), id)) {
        return "champion";
    }
    return is_snapshot(registry_acquire_previous(registry, step_ms), id) ? "previous" : "archived";
}

static bool visit_record(void *context, const char *key, const char *json, size_t length)
{
    struct listing *listing = context;
    if ((listing->wanted && strcmp(listing->wanted, key) != 0) || length < 2 || json[0] != '{') {
        return true;
    }
    struct text *out = listing->json;
    if (listing->count++ > 0) {
        text_add_char(out, ',');
    }
    text_add_format(out, "{\"role\":\"%s\",\"key\":",
                    role_of(listing->call->services->registry, key, json, length));
    text_add_json_string(out, key, strlen(key));
    if (length > 2) {
        text_add_char(out, ',');
    }
    text_add(out, json + 1, length - 1);
    return true;
}

static enum status list_records(const struct call *call, const char *wanted, struct text *json,
                                size_t *count, struct error *error)
{
    struct listing listing = {call, json, wanted, 0};
    enum status status =
        storage_records(call->worker->reader, "model", visit_record, &listing, error);
    *count = listing.count;
    return status;
}

enum status models_list(struct call *call, struct error *error)
{
    struct text json;
    size_t count = 0;
    text_init(&json, MODELS_BYTES_MAX);
    text_add_string(&json, "{\"models\":[");
    if (list_records(call, NULL, &json, &count, error) != STATUS_OK) {
        text_release(&json);
        return error->status;
    }
    text_add_string(&json, "]}");
    return call_json(call, 200, &json, error);
}

static enum status unknown_model(const char *id, struct error *error)
{
    error_set(error, STATUS_NOT_FOUND, "there is no model \"%.60s\"", id);
    return error_code(error, "unknown_model", NULL);
}

enum status models_one(struct call *call, struct error *error)
{
    struct text json;
    size_t count = 0;
    text_init(&json, MODELS_BYTES_MAX);
    enum status status = list_records(call, call->argument, &json, &count, error);
    if (status == STATUS_OK && count == 0) {
        status = unknown_model(call->argument, error);
    }
    if (status != STATUS_OK) {
        text_release(&json);
        return status;
    }
    return call_json(call, 200, &json, error);
}

static enum status not_possible(struct error *error)
{
    error_set(error, STATUS_NOT_READY, "this process cannot change its models");
    return error_code(error, "not_ready", NULL);
}

/* {"champion":"id"}: the group's champion after the change. Without a step, as where a rollback
 * named none, it is that of the only group there is. */
static enum status answer_champion(struct call *call, int64_t step_ms, const char *id,
                                   struct error *error)
{
    struct text json;
    struct champion_age ages[2];
    if (!id && step_ms == 0 && registry_ages(call->services->registry, ages, 2) == 1) {
        step_ms = ages[0].step_ms;
    }
    struct snapshot *champion =
        step_ms > 0 ? registry_acquire(call->services->registry, step_ms) : NULL;
    text_init(&json, MODELS_BYTES_MAX);
    text_add_string(&json, "{\"champion\":");
    if (champion) {
        id = snapshot_record(champion)->id;
    }
    if (id) {
        text_add_json_string(&json, id, strlen(id));
    } else {
        text_add_string(&json, "null");
    }
    text_add_char(&json, '}');
    snapshot_release(champion);
    return call_json(call, 200, &json, error);
}

enum status models_promote(struct call *call, struct error *error)
{
    struct api_services *services = call->services;
    struct json_t *body = NULL;
    if (json_read_object(call->request->body, call->request->body_length, &body, error) !=
        STATUS_OK) {
        return error->status;
    }
    enum status status = json_check_members(body, "", error);
    json_free(body);
    if (status != STATUS_OK) {
        return status;
    }
    if (!services->promote) {
        return not_possible(error);
    }
    status = services->promote(services->context, call->argument, error);
    if (status == STATUS_NOT_FOUND) {
        return unknown_model(call->argument, error);
    }
    if (status == STATUS_CONFLICT) {
        return error_code(error, "not_promotable", NULL);
    }
    return status == STATUS_OK ? answer_champion(call, 0, call->argument, error) : status;
}

enum status models_rollback(struct call *call, struct error *error)
{
    struct api_services *services = call->services;
    struct json_t *body = NULL;
    int64_t step_ms = 0;
    if (json_read_object(call->request->body, call->request->body_length, &body, error) !=
        STATUS_OK) {
        return error->status;
    }
    enum status status = json_check_members(body, "step_ms", error);
    if (status == STATUS_OK) {
        status = json_read_integer(body, "step_ms", 1, INT64_MAX, &step_ms, NULL, error);
    }
    json_free(body);
    if (status != STATUS_OK) {
        return status;
    }
    if (!services->rollback) {
        return not_possible(error);
    }
    status = services->rollback(services->context, step_ms, error);
    if (status == STATUS_NOT_FOUND) {
        return error_code(error, "no_previous_model", NULL);
    }
    return status == STATUS_OK ? answer_champion(call, step_ms, NULL, error) : status;
}
