/* What a forecast request asks for, from a query string.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "api/forecast_query.h"

#include "api/call.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/memory.h"
#include "base/series_name.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void forecast_query_init(struct api_services *services, struct forecast_query *out)
{
    const struct api_limits *limits = atomic_load(&services->limits);
    size_t maximum = limits->forecast_series_max;
    out->count = 0;
    out->maximum = maximum && maximum < FORECAST_SERIES_MAX ? maximum : FORECAST_SERIES_MAX;
    out->open = false;
    out->horizon_ms = 0;
    out->steps = limits->horizon_default;
    out->steps_max = limits->horizon_max;
    snprintf(out->preset, sizeof(out->preset), "%s", limits->quantiles);
    out->level_count = 0;
    out->history_ms = 0;
    out->format = FORMAT_JSON;
    out->at_ms = INT64_MIN;
    out->crossing = false;
    out->above = false;
    out->threshold = 0.0;
}

bool forecast_query_is_single(const struct forecast_query *query)
{
    return query->count == 1 && !query->open;
}

static enum status add_series(struct forecast_query *out, uint32_t id, struct error *error)
{
    for (size_t i = 0; i < out->count; i++) {
        if (out->ids[i] == id) {
            return STATUS_OK;
        }
    }
    if (out->count == out->maximum) {
        error_set(error, STATUS_INVALID, "more than %zu series match", out->maximum);
        return error_code(error, "too_many_series", "series");
    }
    out->ids[out->count++] = id;
    return STATUS_OK;
}

/* All series that a selector matches. */
static enum status add_matching(const struct view *view, const struct selector *selector,
                                struct forecast_query *out, struct error *error)
{
    uint32_t ids[64], after = 0;
    size_t found;
    if (view_list(view, selector, 0, ids, 1) == 0) {
        error_set(error, STATUS_NOT_FOUND, "no series matches");
        return error_code(error, "unknown_series", "series");
    }
    do {
        found = view_list(view, selector, after, ids, ARRAY_COUNT(ids));
        for (size_t i = 0; i < found; i++) {
            if (add_series(out, ids[i], error) != STATUS_OK) {
                return error->status;
            }
            after = ids[i];
        }
    } while (found == ARRAY_COUNT(ids));
    return STATUS_OK;
}

enum status forecast_query_series(const struct view *view, const char *text, size_t length,
                                  struct forecast_query *out, struct error *error)
{
    char canonical[SERIES_TEXT_MAX];
    size_t canonical_length = 0;
    struct error cause = {0};
    if (series_name_parse(text, length, canonical, &canonical_length, &cause) == STATUS_OK) {
        uint32_t id = view_find(view, canonical, canonical_length);
        if (id != 0) {
            return add_series(out, id, error);
        }
    }
    struct selector *selector = NULL;
    if (selector_parse(text, length, &selector, error) != STATUS_OK) {
        if (error->status == STATUS_INVALID) {
            error_code(error, "bad_selector", "series");
        }
        return error->status;
    }
    out->open = true;
    enum status status = add_matching(view, selector, out, error);
    selector_free(selector);
    if (status == STATUS_NOT_FOUND) {
        error_set(error, STATUS_NOT_FOUND, "no series matches \"%.200s\"", text);
        error_code(error, "unknown_series", "series");
        if (strstr(text, "=\"") && !strchr(text, '{')) {
            error_hint(error,
                       "Labels stand in braces, name{key=\"value\"}; curl takes them out of a URL "
                       "unless there is -g, or -G with --data-urlencode.");
        }
    }
    return status;
}

enum status forecast_query_add_level(struct forecast_query *out, const char *name, double level,
                                     struct error *error)
{
    level = round(level * 1e9) / 1e9;
    if (!(level > 0.0 && level < 1.0)) {
        error_set(error, STATUS_INVALID, "\"%s\" holds a level outside of (0,1)", name);
        error_code(error, "bad_parameter", name);
        return error_hint(error, "quantiles=0.1,0.5,0.9 are shares, level=80,95 are per cent.");
    }
    for (size_t i = 0; i < out->level_count; i++) {
        if (out->levels[i] == level) {
            return STATUS_OK;
        }
    }
    if (out->level_count == FORECAST_LEVELS_MAX) {
        error_set(error, STATUS_INVALID, "more than %d quantile levels", FORECAST_LEVELS_MAX);
        return error_code(error, "bad_parameter", name);
    }
    out->levels[out->level_count++] = level;
    return STATUS_OK;
}

enum status forecast_query_add_band(struct forecast_query *out, double percent, struct error *error)
{
    if (percent > 0.0 && percent < 1.0) { /* nobody wants a band that holds less than 1 % */
        error_set(error, STATUS_INVALID, "\"level\" holds %.15g, a share: levels are per cent",
                  percent);
        error_code(error, "bad_parameter", "level");
        return error_hint(error, "Give per cent, from 1 to below 100: 80, not 0.8.");
    }
    /* Zero and below are no band at all. */
    double low = percent > 0.0 ? (1.0 - percent / 100.0) / 2.0 : (double)NAN;
    enum status status = forecast_query_add_level(out, "level", low, error);
    return status == STATUS_OK ? forecast_query_add_level(out, "level", 1.0 - low, error) : status;
}

/* Comma-separated numbers. */
static enum status each_number(struct forecast_query *out, const char *name, const char *text,
                               bool bands, struct error *error)
{
    while (*text) {
        char *end = NULL;
        double number = strtod(text, &end);
        if (end == text || (*end != '\0' && *end != ',') || (*end == ',' && end[1] == '\0')) {
            error_set(error, STATUS_INVALID, "\"%s\" holds something that is not a number", name);
            return error_code(error, "bad_parameter", name);
        }
        enum status status = bands ? forecast_query_add_band(out, number, error)
                                   : forecast_query_add_level(out, name, number, error);
        if (status != STATUS_OK) {
            return status;
        }
        text = *end ? end + 1 : end;
    }
    return STATUS_OK;
}

enum status forecast_query_quantiles(struct forecast_query *out, const char *text,
                                     struct error *error)
{
    return each_number(out, "quantiles", text, false, error);
}

enum status api_quantiles_check(const char *text, struct error *error)
{
    struct forecast_query query = {.level_count = 0};
    enum status status = forecast_query_quantiles(&query, text, error);
    if (status == STATUS_OK && query.level_count == 0) {
        error_set(error, STATUS_INVALID, "\"quantiles\" is empty");
        status = error_code(error, "bad_parameter", "quantiles");
    }
    return status;
}

enum status forecast_query_bands(struct forecast_query *out, const char *text, struct error *error)
{
    return each_number(out, "level", text, true, error);
}

enum status forecast_query_format(struct forecast_query *out, const char *text, struct error *error)
{
    static const char *const names[] = {"json", "csv", "table"};
    for (int i = 0; i < 3; i++) {
        if (strcmp(text, names[i]) == 0) {
            out->format = (enum forecast_format)i;
            return STATUS_OK;
        }
    }
    error_set(error, STATUS_INVALID, "\"format\" cannot be \"%.60s\"", text);
    error_code(error, "bad_parameter", "format");
    return error_hint(error, "There are: json, csv, table.");
}

enum status forecast_query_at(struct forecast_query *out, const char *text, struct error *error)
{
    if (parse_time("at", text, &out->at_ms, error) != STATUS_OK) {
        return error->status;
    }
    if (out->at_ms > clock_wall_ms()) {
        error_set(error, STATUS_INVALID, "\"at\" lies in the future");
        error_code(error, "bad_parameter", "at");
        return error_hint(error, "Leave it out for the forecast of now.");
    }
    return STATUS_OK;
}

enum status forecast_query_finish(struct forecast_query *out, struct error *error)
{
    if (out->count == 0) {
        error_set(error, STATUS_INVALID, "the parameter \"series\" is missing");
        error_code(error, "missing_parameter", "series");
        return error_hint(error, "Give a series or a selector: series=name{key=\"value\"}.");
    }
    if (out->level_count == 0) {
        const char *preset = out->preset[0] != '\0' ? out->preset : "0.1,0.5,0.9";
        enum status status = forecast_query_quantiles(out, preset, error);
        if (status != STATUS_OK) {
            return status;
        }
    }
    for (size_t i = 1; i < out->level_count; i++) {
        double moved = out->levels[i];
        size_t j = i;
        for (; j > 0 && out->levels[j - 1] > moved; j--) {
            out->levels[j] = out->levels[j - 1];
        }
        out->levels[j] = moved;
    }
    return STATUS_OK;
}

static enum status read_threshold(const char *name, const char *text, struct forecast_query *out,
                                  struct error *error)
{
    char *end = NULL;
    out->threshold = strtod(text, &end);
    if (*end != '\0' || !isfinite(out->threshold)) {
        error_set(error, STATUS_INVALID, "\"%s\" is not a number: \"%.60s\"", name, text);
        error_code(error, "bad_parameter", name);
        return error_hint(error, "Give the threshold in the units of the series: %s=90.", name);
    }
    out->above = strcmp(name, "above") == 0;
    return STATUS_OK;
}

static enum status read_one(const struct view *view, const struct query_parameter *parameter,
                            struct forecast_query *out, struct error *error)
{
    const char *name = parameter->name, *value = parameter->value;
    if (strcmp(name, "at") == 0) {
        return forecast_query_at(out, value, error);
    }
    if (strcmp(name, "series") == 0) {
        return forecast_query_series(view, value, parameter->length, out, error);
    }
    if (strcmp(name, "horizon") == 0) {
        return parse_duration(name, value, &out->horizon_ms, error);
    }
    if (strcmp(name, "steps") == 0) {
        return parse_size(name, value, 1, out->steps_max, &out->steps, error);
    }
    if (strcmp(name, "quantiles") == 0) {
        return forecast_query_quantiles(out, value, error);
    }
    if (strcmp(name, "level") == 0) {
        return forecast_query_bands(out, value, error);
    }
    if (strcmp(name, "history") == 0) {
        return parse_duration(name, value, &out->history_ms, error);
    }
    if (strcmp(name, "above") == 0 || strcmp(name, "below") == 0) {
        return read_threshold(name, value, out, error);
    }
    return forecast_query_format(out, value, error);
}

static enum status check_together(const struct query *query, struct error *error)
{
    if (query_value(query, "horizon") && query_value(query, "steps")) {
        error_set(error, STATUS_INVALID, "\"horizon\" and \"steps\" cannot stand together");
        return error_code(error, "bad_parameter", "steps");
    }
    if (query_value(query, "quantiles") && query_value(query, "level")) {
        error_set(error, STATUS_INVALID, "\"quantiles\" and \"level\" cannot stand together");
        return error_code(error, "bad_parameter", "level");
    }
    return STATUS_OK;
}

enum status api_forecast_check(const char *text, struct error *error)
{
    struct forecast_query wanted = {.steps_max = API_HORIZON_MAX};
    struct query query = {.parameters = mem_array(QUERY_PARAMETERS_MAX, sizeof(*query.parameters)),
                          .maximum = QUERY_PARAMETERS_MAX,
                          .bytes = mem_alloc(QUERY_BYTES_MAX),
                          .capacity = QUERY_BYTES_MAX};
    enum status status = STATUS_OK;
    if (!query.parameters || !query.bytes) {
        status = error_set(error, STATUS_NO_MEMORY, "no memory for the request");
        goto release;
    }
    status = query_parse(&query, text, error);
    if (status == STATUS_OK) {
        status = query_check(&query, FORECAST_PARAMETERS, "series", error);
    }
    if (status == STATUS_OK) {
        status = check_together(&query, error);
    }
    for (size_t i = 0; i < query.count && status == STATUS_OK; i++) {
        const struct query_parameter *parameter = &query.parameters[i];
        if (strcmp(parameter->name, "series") != 0 && parameter->length > 0) {
            status = read_one(NULL, parameter, &wanted, error); /* only series look at the view */
        }
    }

release:
    mem_free(query.parameters);
    mem_free(query.bytes);
    return status;
}

enum status forecast_query_read(const struct view *view, const struct query *query,
                                struct forecast_query *out, struct error *error)
{
    forecast_query_init(view->services, out);
    if (check_together(query, error) != STATUS_OK) {
        return error->status;
    }
    for (size_t i = 0; i < query->count; i++) {
        if (query->parameters[i].length > 0 &&
            read_one(view, &query->parameters[i], out, error) != STATUS_OK) {
            return error->status;
        }
    }
    return forecast_query_finish(out, error);
}

enum status forecast_query_read_timeleft(const struct view *view, const struct query *query,
                                         struct forecast_query *out, struct error *error)
{
    const char *above = query_value(query, "above"), *below = query_value(query, "below");
    if (above && below) {
        error_set(error, STATUS_INVALID, "\"above\" and \"below\" cannot stand together");
        error_code(error, "bad_parameter", "below");
        return error_hint(error, "Ask twice, once for each threshold.");
    }
    if (!above && !below) {
        error_set(error, STATUS_INVALID, "neither \"above\" nor \"below\" is given");
        error_code(error, "missing_parameter", "above");
        return error_hint(error, "Give one threshold: above=90 or below=10.");
    }
    enum status status = forecast_query_read(view, query, out, error);
    out->crossing = true;
    return status;
}
