/* What a user may set about a series: reading it from PATCH, writing it into answers.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "api/settings.h"

#include "api/json.h"
#include "base/clock.h"
#include "base/time_zone.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#define SETTINGS         "step season time_zone min max integer kind retention exclude"
#define STEP_MS_MIN      100
#define STEP_MS_MAX      INT64_C(2678400000) /* 31 days */
#define SEASON_STEPS_MAX 100000
#define RETENTION_MS_MIN 60000
#define RETENTION_MS_MAX INT64_C(3155760000000) /* 100 years */

#define STEP_HINT "Give a duration from 100ms to 31d, such as \"5m\"; a number is milliseconds."
#define RETENTION_HINT                                                                             \
    "Give a duration from 1m to 36525d, such as \"90d\"; a number is milliseconds."

static enum status bad_setting(const char *name, struct error *error, const char *hint)
{
    error_set(error, STATUS_INVALID, "the field \"%s\" makes no sense", name);
    error_code(error, "bad_field", name);
    return error_hint(error, "%s", hint);
}

/* A duration as text, or milliseconds as a whole number. */
static enum status read_duration(const json_t *object, const char *name, int64_t minimum,
                                 int64_t maximum, bool *has, int64_t *value, const char *hint,
                                 struct error *error)
{
    const json_t *member = json_object_get(object, name);
    struct error cause = {0};
    int64_t found = -1;
    if (!member) {
        return STATUS_OK;
    }
    if (json_is_null(member)) {
        *has = false;
        *value = 0;
        return STATUS_OK;
    }
    if (json_is_integer(member)) {
        found = json_integer_value(member);
    } else if (!json_is_string(member) ||
               clock_parse_duration(json_string_value(member), json_string_length(member), &found,
                                    &cause) != STATUS_OK) {
        return bad_setting(name, error, hint);
    }
    if (found < minimum || found > maximum) {
        return bad_setting(name, error, hint);
    }
    *has = true;
    *value = found;
    return STATUS_OK;
}

/* In steps, or a duration that is a multiple of the step. */
static enum status read_season(const json_t *object, struct series_settings *settings,
                               struct error *error)
{
    static const char hint[] =
        "Give the season in steps, or as a duration where the step is set; 0 or 1 "
        "says that there is none.";
    const json_t *member = json_object_get(object, "season");
    int64_t steps = -1;
    if (!member) {
        return STATUS_OK;
    }
    if (json_is_null(member)) {
        settings->has_season = false;
        settings->season_steps = 0;
        return STATUS_OK;
    }
    if (json_is_integer(member)) {
        steps = json_integer_value(member);
    } else if (json_is_string(member) && settings->has_step) {
        struct error cause = {0};
        int64_t duration_ms = 0;
        if (clock_parse_duration(json_string_value(member), json_string_length(member),
                                 &duration_ms, &cause) == STATUS_OK &&
            duration_ms % settings->step_ms == 0) {
            steps = duration_ms / settings->step_ms;
        }
    }
    if (steps < 0 || steps > SEASON_STEPS_MAX) {
        return bad_setting("season", error, hint);
    }
    settings->has_season = true;
    settings->season_steps = steps;
    return STATUS_OK;
}

static enum status read_zone(const json_t *object, struct series_settings *settings,
                             struct error *error)
{
    const json_t *member = json_object_get(object, "time_zone");
    if (!member) {
        return STATUS_OK;
    }
    if (json_is_null(member)) {
        settings->time_zone[0] = '\0';
        return STATUS_OK;
    }
    const char *name = json_is_string(member) ? json_string_value(member) : "";
    const struct time_zone *zone = NULL;
    enum status status = STATUS_INVALID;
    if (name[0] && strlen(name) == json_string_length(member)) {
        status = time_zone_find(name, &zone, error);
    }
    if (status == STATUS_INVALID) {
        error_set(error, STATUS_INVALID, "there is no time zone \"%.48s\"", name);
        error_code(error, "bad_field", "time_zone");
        return error_hint(error, "Give a name such as Europe/Berlin, or UTC.");
    }
    if (status != STATUS_OK) {
        return status;
    }
    snprintf(settings->time_zone, sizeof(settings->time_zone), "%s", json_string_value(member));
    return STATUS_OK;
}

static enum status read_bound(const json_t *object, const char *name, bool *has, double *value,
                              struct error *error)
{
    bool present = false;
    if (json_is_null_member(object, name)) {
        *has = false;
        *value = 0.0;
        return STATUS_OK;
    }
    enum status status = json_read_number(object, name, -1e300, 1e300, value, &present, error);
    *has = *has || present;
    return status;
}

static enum status read_kind(const json_t *object, struct series_settings *settings,
                             struct error *error)
{
    const char *kind = NULL;
    bool present = false;
    if (json_is_null_member(object, "kind")) {
        settings->has_kind = false;
    }
    if (json_read_text(object, "kind", &kind, error) != STATUS_OK) {
        return error->status;
    }
    if (kind) {
        if (strcmp(kind, "gauge") != 0 && strcmp(kind, "counter") != 0) {
            return bad_setting("kind", error, "There are: gauge, counter.");
        }
        settings->has_kind = true;
        settings->kind = kind[0] == 'c' ? SERIES_COUNTER : SERIES_GAUGE;
    }
    if (json_is_null_member(object, "integer")) {
        settings->has_integer = false;
    }
    enum status status = json_read_boolean(object, "integer", &settings->integer, &present, error);
    settings->has_integer = settings->has_integer || present;
    return status;
}

enum status settings_read(const struct json_t *body, struct series_settings *settings,
                          struct error *error)
{
    enum status status = json_check_members(body, SETTINGS, error);
    if (status == STATUS_OK) {
        status = read_duration(body, "step", STEP_MS_MIN, STEP_MS_MAX, &settings->has_step,
                               &settings->step_ms, STEP_HINT, error);
    }
    if (status == STATUS_OK) {
        status = read_season(body, settings, error);
    }
    if (status == STATUS_OK) {
        status = read_zone(body, settings, error);
    }
    if (status == STATUS_OK) {
        status = read_bound(body, "min", &settings->has_minimum, &settings->minimum, error);
    }
    if (status == STATUS_OK) {
        status = read_bound(body, "max", &settings->has_maximum, &settings->maximum, error);
    }
    if (status == STATUS_OK && settings->has_minimum && settings->has_maximum &&
        settings->minimum >= settings->maximum) {
        return bad_setting("max", error, "The maximum has to lie above the minimum.");
    }
    if (status == STATUS_OK) {
        status = read_kind(body, settings, error);
    }
    if (status == STATUS_OK) {
        status =
            read_duration(body, "retention", RETENTION_MS_MIN, RETENTION_MS_MAX,
                          &settings->has_retention, &settings->retention_ms, RETENTION_HINT, error);
    }
    return status;
}

static void add_bound(struct text *json, const char *name, bool has, double value)
{
    text_add_format(json, ",\"%s\":", name);
    text_add_double(json, has ? value : (double)NAN);
}

static void add_whole(struct text *json, const char *name, bool has, int64_t value)
{
    text_add_format(json, "\"%s\":", name);
    if (has) {
        text_add_int(json, value);
    } else {
        text_add_string(json, "null");
    }
}

void settings_write(const struct series_settings *settings, const struct time_spans *excluded,
                    struct text *json)
{
    text_add_char(json, '{');
    add_whole(json, "step", settings->has_step, settings->step_ms);
    text_add_char(json, ',');
    add_whole(json, "season", settings->has_season, settings->season_steps);
    text_add_string(json, ",\"time_zone\":");
    if (settings->time_zone[0]) {
        text_add_json_string(json, settings->time_zone, strlen(settings->time_zone));
    } else {
        text_add_string(json, "null");
    }
    add_bound(json, "min", settings->has_minimum, settings->minimum);
    add_bound(json, "max", settings->has_maximum, settings->maximum);
    text_add_format(json, ",\"integer\":%s,\"kind\":%s,",
                    settings->has_integer ? (settings->integer ? "true" : "false") : "null",
                    settings->has_kind
                        ? (settings->kind == SERIES_COUNTER ? "\"counter\"" : "\"gauge\"")
                        : "null");
    add_whole(json, "retention", settings->has_retention, settings->retention_ms);
    text_add_string(json, ",\"exclude\":");
    settings_write_excluded(excluded, json);
    text_add_char(json, '}');
}
