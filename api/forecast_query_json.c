/* What a forecast request asks for, from the body of POST.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "api/forecast_query.h"

#include "api/json.h"

#include <jansson.h>
#include <string.h>

#define MEMBERS "series horizon steps quantiles level history format at"

static enum status bad_member(const char *name, const char *what, struct error *error)
{
    error_set(error, STATUS_INVALID, "the field \"%s\" has to be %s", name, what);
    return error_code(error, "bad_field", name);
}

static enum status read_series(const struct view *view, const json_t *member,
                               struct forecast_query *out, struct error *error)
{
    if (json_is_string(member)) {
        return forecast_query_series(view, json_string_value(member), json_string_length(member),
                                     out, error);
    }
    if (!json_is_array(member)) {
        return bad_member("series", "a string or an array of strings", error);
    }
    for (size_t i = 0; i < json_array_size(member); i++) {
        const json_t *one = json_array_get(member, i);
        if (!json_is_string(one)) {
            return bad_member("series", "a string or an array of strings", error);
        }
        if (forecast_query_series(view, json_string_value(one), json_string_length(one), out,
                                  error) != STATUS_OK) {
            return error->status;
        }
    }
    return STATUS_OK;
}

static enum status read_levels(const char *name, const json_t *member, struct forecast_query *out,
                               struct error *error)
{
    bool bands = strcmp(name, "level") == 0;
    if (json_is_string(member)) {
        return bands ? forecast_query_bands(out, json_string_value(member), error)
                     : forecast_query_quantiles(out, json_string_value(member), error);
    }
    if (!json_is_array(member)) {
        return bad_member(name, "an array of numbers", error);
    }
    for (size_t i = 0; i < json_array_size(member); i++) {
        const json_t *one = json_array_get(member, i);
        if (!json_is_number(one)) {
            return bad_member(name, "an array of numbers", error);
        }
        double number = json_number_value(one);
        enum status status = bands ? forecast_query_add_band(out, number, error)
                                   : forecast_query_add_level(out, name, number, error);
        if (status != STATUS_OK) {
            return status;
        }
    }
    return STATUS_OK;
}

static enum status read_horizon(const json_t *body, struct forecast_query *out, struct error *error)
{
    const char *horizon = NULL, *history = NULL;
    int64_t steps = 0;
    bool has_steps = false;
    enum status status = json_read_text(body, "horizon", &horizon, error);
    if (status == STATUS_OK && horizon) {
        status = parse_duration("horizon", horizon, &out->horizon_ms, error);
    }
    if (status == STATUS_OK) {
        status =
            json_read_integer(body, "steps", 1, (int64_t)out->steps_max, &steps, &has_steps, error);
    }
    if (status == STATUS_OK && has_steps && horizon) {
        error_set(error, STATUS_INVALID, "\"horizon\" and \"steps\" cannot stand together");
        status = error_code(error, "bad_field", "steps");
    }
    if (status == STATUS_OK && has_steps) {
        out->steps = (size_t)steps;
    }
    if (status == STATUS_OK) {
        status = json_read_text(body, "history", &history, error);
    }
    return status == STATUS_OK && history
               ? parse_duration("history", history, &out->history_ms, error)
               : status;
}

static enum status read_members(const struct view *view, const json_t *body,
                                struct forecast_query *out, struct error *error)
{
    const char *format = NULL, *at = NULL;
    if (json_check_members(body, MEMBERS, error) != STATUS_OK) {
        return error->status;
    }
    const json_t *series = json_member(body, "series");
    enum status status = series ? read_series(view, series, out, error) : STATUS_OK;
    if (status == STATUS_OK) {
        status = read_horizon(body, out, error);
    }
    const json_t *quantiles = json_member(body, "quantiles");
    const json_t *bands = json_member(body, "level");
    if (status == STATUS_OK && quantiles && bands) {
        error_set(error, STATUS_INVALID, "\"quantiles\" and \"level\" cannot stand together");
        return error_code(error, "bad_field", "level");
    }
    if (status == STATUS_OK && quantiles) {
        status = read_levels("quantiles", quantiles, out, error);
    }
    if (status == STATUS_OK && bands) {
        status = read_levels("level", bands, out, error);
    }
    if (status == STATUS_OK) {
        status = json_read_text(body, "at", &at, error);
    }
    if (status == STATUS_OK && at) {
        status = forecast_query_at(out, at, error);
    }
    if (status == STATUS_OK) {
        status = json_read_text(body, "format", &format, error);
    }
    return status == STATUS_OK && format ? forecast_query_format(out, format, error) : status;
}

enum status forecast_query_read_json(const struct view *view, const char *body, size_t length,
                                     struct forecast_query *out, struct error *error)
{
    struct json_t *document = NULL;
    forecast_query_init(view->services, out);
    enum status status = json_read_object(body, length, &document, error);
    if (status != STATUS_OK) {
        return status;
    }
    status = read_members(view, document, out, error);
    json_free(document);
    return status == STATUS_OK ? forecast_query_finish(out, error) : status;
}
