/* The body of POST /v2/forecast, read without building a tree.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "api/nixtla_reader.h"

#include "base/check.h"
#include "base/clock.h"
#include "base/json_reader.h"
#include "base/memory.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define SECOND_MS INT64_C(1000)
#define DAY_MS    INT64_C(86400000)

/* ---------------------------------------------------------------- frequency */

/* Aliases of pandas before and since 2.2, without multiple and anchor. */
static const struct {
    const char *name;
    bool exact; /* M is a month and m none: case matters where it tells two apart */
    struct nixtla_frequency frequency;
} aliases[] = {
    {"ms", true, {1, 0}},
    {"L", true, {1, 0}},
    {"s", false, {SECOND_MS, 0}},
    {"min", true, {60 * SECOND_MS, 0}},
    {"T", true, {60 * SECOND_MS, 0}},
    {"h", false, {3600 * SECOND_MS, 0}},
    {"bh", false, {3600 * SECOND_MS, 8}},
    {"D", false, {DAY_MS, 0}},
    {"B", false, {DAY_MS, 5}},
    {"C", false, {DAY_MS, 5}},
    {"W", false, {7 * DAY_MS, 52}},
    {"M", true, {30 * DAY_MS, 12}},
    {"MS", true, {30 * DAY_MS, 12}},
    {"ME", true, {30 * DAY_MS, 12}},
    {"BM", true, {30 * DAY_MS, 12}},
    {"BMS", true, {30 * DAY_MS, 12}},
    {"BME", true, {30 * DAY_MS, 12}},
    {"Q", true, {91 * DAY_MS, 4}},
    {"QS", true, {91 * DAY_MS, 4}},
    {"QE", true, {91 * DAY_MS, 4}},
    {"BQ", true, {91 * DAY_MS, 4}},
    {"BQS", true, {91 * DAY_MS, 4}},
    {"BQE", true, {91 * DAY_MS, 4}},
    {"Y", true, {365 * DAY_MS, 0}},
    {"YS", true, {365 * DAY_MS, 0}},
    {"YE", true, {365 * DAY_MS, 0}},
    {"A", true, {365 * DAY_MS, 0}},
    {"AS", true, {365 * DAY_MS, 0}},
};

bool nixtla_frequency(const char *text, size_t length, struct nixtla_frequency *out)
{
    int64_t multiple = 0;
    size_t at = 0;
    while (at < length && text[at] >= '0' && text[at] <= '9' && multiple < 10000) {
        multiple = 10 * multiple + (text[at++] - '0');
    }
    if (at > 0 && multiple == 0) {
        return false;
    }
    multiple = at > 0 ? multiple : 1;
    const char *anchor = memchr(text + at, '-', length - at);
    size_t name_length = anchor ? (size_t)(anchor - text) - at : length - at;
    for (size_t i = 0; i < ARRAY_COUNT(aliases); i++) {
        const char *name = aliases[i].name;
        if (strlen(name) != name_length ||
            (aliases[i].exact ? strncmp : strncasecmp)(name, text + at, name_length) != 0) {
            continue;
        }
        const struct nixtla_frequency *found = &aliases[i].frequency;
        if (multiple > 366 * DAY_MS / found->step_ms) {
            return false;
        }
        out->step_ms = multiple * found->step_ms;
        out->season = found->season % multiple == 0 ? found->season / (uint32_t)multiple : 0;
        return true;
    }
    return false;
}

/* ---------------------------------------------------------------- errors */

static enum status refuse(struct error *error, const char *code, const char *field,
                          const char *problem)
{
    error_set(error, STATUS_INVALID, "\"%s\" %s", field, problem);
    return error_code(error, code, field);
}

static enum status check_token(const struct json_reader *reader, enum json_token token,
                               enum json_token wanted, const char *field, const char *problem,
                               struct error *error)
{
    if (token == JSON_BROKEN || token == JSON_END) {
        return json_error(reader, error);
    }
    return token == wanted ? STATUS_OK : refuse(error, "bad_field", field, problem);
}

/* ---------------------------------------------------------------- arrays */

/* The elements of an array, one after the other, into room that grows. */
struct growing {
    void *bytes;
    size_t count, capacity, maximum, size;
};

static enum status make_room(struct growing *array, const char *field, struct error *error)
{
    if (array->count < array->capacity) {
        return STATUS_OK;
    }
    if (array->count >= array->maximum) {
        error_set(error, STATUS_TOO_LARGE, "\"%s\" holds more than %zu", field, array->maximum);
        return error_code(error, "too_many_points", field);
    }
    size_t capacity = array->capacity ? 2 * array->capacity : 256;
    capacity = capacity < array->maximum ? capacity : array->maximum;
    void *bigger = mem_resize(array->bytes, capacity, array->size);
    if (!bigger) {
        return error_set(error, STATUS_NO_MEMORY, "no memory for the body");
    }
    array->bytes = bigger;
    array->capacity = capacity;
    return STATUS_OK;
}

static enum status read_values(struct json_reader *reader, struct growing *array,
                               struct error *error)
{
    enum json_token token = json_next(reader);
    enum status status = check_token(reader, token, JSON_ARRAY_BEGIN, "series.y",
                                     "has to be an array of numbers", error);
    while (status == STATUS_OK && (token = json_next(reader)) != JSON_ARRAY_END) {
        double value = token == JSON_NULL ? (double)NAN : reader->number;
        if (token != JSON_NULL) {
            status = check_token(reader, token, JSON_NUMBER, "series.y",
                                 "has to be an array of numbers", error);
        }
        if (status == STATUS_OK && (isinf(value) || fabs(value) > 1e37)) {
            status = refuse(error, "bad_field", "series.y", "holds a number above 1e37");
        }
        if (status == STATUS_OK) {
            status = make_room(array, "series.y", error);
        }
        if (status == STATUS_OK) {
            ((double *)array->bytes)[array->count++] = value;
        }
    }
    return status;
}

static enum status read_sizes(struct json_reader *reader, struct growing *array,
                              struct error *error)
{
    static const char problem[] = "has to be an array of whole numbers above zero";
    enum json_token token = json_next(reader);
    enum status status =
        check_token(reader, token, JSON_ARRAY_BEGIN, "series.sizes", problem, error);
    while (status == STATUS_OK && (token = json_next(reader)) != JSON_ARRAY_END) {
        status = check_token(reader, token, JSON_NUMBER, "series.sizes", problem, error);
        if (status == STATUS_OK && (!reader->is_integer || reader->integer < 1 ||
                                    reader->integer > (int64_t)NIXTLA_POINTS_MAX)) {
            status = refuse(error, "bad_field", "series.sizes", problem);
        }
        if (status == STATUS_OK) {
            status = make_room(array, "series.sizes", error);
        }
        if (status == STATUS_OK) {
            ((uint32_t *)array->bytes)[array->count++] = (uint32_t)reader->integer;
        }
    }
    return status;
}

/* Instants without an offset are UTC. Null where the client has none. */
static enum status read_starts(struct json_reader *reader, struct growing *array,
                               struct error *error)
{
    static const char problem[] = "has to be an array of instants in ISO 8601";
    enum json_token token = json_next(reader);
    if (token == JSON_NULL) {
        return STATUS_OK;
    }
    enum status status =
        check_token(reader, token, JSON_ARRAY_BEGIN, "series.start_datetime", problem, error);
    while (status == STATUS_OK && (token = json_next(reader)) != JSON_ARRAY_END) {
        int64_t start_ms = 0;
        struct error cause = {0};
        status = check_token(reader, token, JSON_STRING, "series.start_datetime", problem, error);
        if (status == STATUS_OK &&
            clock_parse(reader->text, reader->text_length, 0, &start_ms, &cause) != STATUS_OK) {
            status = refuse(error, "bad_field", "series.start_datetime", problem);
        }
        if (status == STATUS_OK) {
            status = make_room(array, "series.start_datetime", error);
        }
        if (status == STATUS_OK) {
            ((int64_t *)array->bytes)[array->count++] = start_ms;
        }
    }
    return status;
}

/* ---------------------------------------------------------------- members */

struct reading {
    struct json_reader json;
    struct nixtla_body *body;
    struct growing y, sizes, starts;
    size_t horizon_max;
    bool has_frequency, has_sizes;
};

static bool is_key(const struct json_reader *reader, const char *name)
{
    return reader->text_length == strlen(name) &&
           memcmp(reader->text, name, reader->text_length) == 0;
}

static enum status skip_value(struct json_reader *reader, struct error *error)
{
    return json_skip_value(reader) == JSON_BROKEN ? json_error(reader, error) : STATUS_OK;
}

/* Something that may only be absent, null, false or empty. */
static enum status must_be_unused(struct json_reader *reader, const char *field,
                                  struct error *error)
{
    enum json_token token = json_next(reader);
    if (token == JSON_NULL || token == JSON_FALSE) {
        return STATUS_OK;
    }
    if (token == JSON_BROKEN || token == JSON_END) {
        return json_error(reader, error);
    }
    if (token == JSON_ARRAY_BEGIN && json_next(reader) == JSON_ARRAY_END) {
        return STATUS_OK;
    }
    return refuse(error, "not_supported", field, "asks for something that forecastd does not do");
}

static enum status read_series(struct reading *reading, struct error *error)
{
    struct json_reader *reader = &reading->json;
    enum json_token token = json_next(reader);
    enum status status =
        check_token(reader, token, JSON_OBJECT_BEGIN, "series", "has to be an object", error);
    while (status == STATUS_OK && (token = json_next(reader)) == JSON_KEY) {
        if (is_key(reader, "y")) {
            status = reading->y.count ? refuse(error, "duplicate_field", "series.y", "stands twice")
                                      : read_values(reader, &reading->y, error);
        } else if (is_key(reader, "sizes")) {
            status = reading->has_sizes
                         ? refuse(error, "duplicate_field", "series.sizes", "stands twice")
                         : read_sizes(reader, &reading->sizes, error);
            reading->has_sizes = true;
        } else if (is_key(reader, "start_datetime")) {
            status = reading->starts.count
                         ? refuse(error, "duplicate_field", "series.start_datetime", "stands twice")
                         : read_starts(reader, &reading->starts, error);
        } else if (is_key(reader, "X")) {
            status = must_be_unused(reader, "series.X", error);
        } else if (is_key(reader, "X_future")) {
            status = must_be_unused(reader, "series.X_future", error);
        } else if (is_key(reader, "categorical_exog")) {
            status = must_be_unused(reader, "series.categorical_exog", error);
        } else {
            status = skip_value(reader, error);
        }
    }
    return status == STATUS_OK && token != JSON_OBJECT_END ? json_error(reader, error) : status;
}

static enum status read_horizon(struct reading *reading, struct error *error)
{
    struct json_reader *reader = &reading->json;
    enum json_token token = json_next(reader);
    enum status status =
        check_token(reader, token, JSON_NUMBER, "h", "has to be a whole number", error);
    if (status == STATUS_OK && (!reader->is_integer || reader->integer < 1 ||
                                reader->integer > (int64_t)reading->horizon_max)) {
        error_set(error, STATUS_INVALID, "\"h\" has to be a whole number from 1 to %zu",
                  reading->horizon_max);
        return error_code(error, "bad_field", "h");
    }
    reading->body->horizon = status == STATUS_OK ? (size_t)reader->integer : 0;
    return status;
}

static enum status read_frequency(struct reading *reading, struct error *error)
{
    struct json_reader *reader = &reading->json;
    enum json_token token = json_next(reader);
    enum status status =
        check_token(reader, token, JSON_STRING, "freq", "has to be a string", error);
    if (status != STATUS_OK) {
        return status;
    }
    if (!nixtla_frequency(reader->text, reader->text_length, &reading->body->frequency)) {
        error_set(error, STATUS_INVALID, "\"freq\" cannot be \"%.*s\"",
                  (int)(reader->text_length < 40 ? reader->text_length : 40), reader->text);
        error_code(error, "bad_field", "freq");
        return error_hint(error,
                          "Give an alias of pandas up to a year: s, 15min, h, D, W, MS, QS.");
    }
    reading->has_frequency = true;
    return STATUS_OK;
}

/* Whole floats are written as Python does, because the client looks for that name. */
static void name_level(const struct json_reader *reader, char name[24])
{
    double level = reader->number;
    if (reader->is_integer) {
        snprintf(name, 24, "%lld", (long long)reader->integer);
    } else {
        snprintf(name, 24, level == floor(level) ? "%.1f" : "%.9g", level);
    }
}

static enum status read_levels(struct reading *reading, struct error *error)
{
    static const char problem[] = "has to be an array of at most 16 numbers between 0 and 100";
    struct json_reader *reader = &reading->json;
    struct nixtla_body *body = reading->body;
    enum json_token token = json_next(reader);
    if (token == JSON_NULL) {
        return STATUS_OK;
    }
    enum status status = check_token(reader, token, JSON_ARRAY_BEGIN, "level", problem, error);
    while (status == STATUS_OK && (token = json_next(reader)) != JSON_ARRAY_END) {
        status = check_token(reader, token, JSON_NUMBER, "level", problem, error);
        if (status == STATUS_OK && (!(reader->number > 1e-6 && reader->number < 100.0 - 1e-6) ||
                                    body->level_count == NIXTLA_LEVELS_MAX)) {
            status = refuse(error, "bad_field", "level", problem);
        }
        if (status == STATUS_OK) {
            struct nixtla_level *level = &body->levels[body->level_count++];
            level->share = reader->number / 100.0;
            name_level(reader, level->name);
        }
    }
    return status;
}

static enum status read_member(struct reading *reading, struct error *error)
{
    static const char *const unused[] = {"finetuned_model_id", "feature_contributions"};
    struct json_reader *reader = &reading->json;
    if (is_key(reader, "series")) {
        return read_series(reading, error);
    }
    if (is_key(reader, "h")) {
        return read_horizon(reading, error);
    }
    if (is_key(reader, "freq")) {
        return read_frequency(reading, error);
    }
    if (is_key(reader, "level")) {
        return read_levels(reading, error);
    }
    for (size_t i = 0; i < ARRAY_COUNT(unused); i++) {
        if (is_key(reader, unused[i])) {
            return must_be_unused(reader, unused[i], error);
        }
    }
    return skip_value(reader, error);
}

static enum status check_whole(const struct reading *reading, struct error *error)
{
    const struct nixtla_body *body = reading->body;
    size_t sum = 0;
    const char *missing = body->series == 0         ? "series.sizes"
                          : body->horizon == 0      ? "h"
                          : !reading->has_frequency ? "freq"
                                                    : NULL;
    if (missing && body->series == 0 && reading->has_sizes) {
        return refuse(error, "bad_field", missing, "is empty");
    }
    if (missing) {
        refuse(error, "missing_field", missing, "is missing");
        return error_hint(error, "Give {\"series\":{\"y\":[...],\"sizes\":[...]},\"h\":24,"
                                 "\"freq\":\"h\"}.");
    }
    for (size_t i = 0; i < body->series; i++) {
        sum += body->sizes[i];
    }
    if (sum != body->points) {
        error_set(error, STATUS_INVALID, "\"series.sizes\" add up to %zu, \"series.y\" has %zu",
                  sum, body->points);
        return error_code(error, "bad_field", "series.sizes");
    }
    if (body->starts_ms && reading->starts.count != body->series) {
        return refuse(error, "bad_field", "series.start_datetime", "is not one for each series");
    }
    return STATUS_OK;
}

enum status nixtla_read(const char *bytes, size_t length, size_t horizon_max,
                        struct nixtla_body *out, struct error *error)
{
    struct reading reading = {
        .body = out,
        .horizon_max = horizon_max,
        .y = {.maximum = NIXTLA_POINTS_MAX, .size = sizeof(double)},
        .sizes = {.maximum = NIXTLA_SERIES_MAX, .size = sizeof(uint32_t)},
        .starts = {.maximum = NIXTLA_SERIES_MAX, .size = sizeof(int64_t)},
    };
    struct json_reader *reader = &reading.json;
    memset(out, 0, sizeof(*out));
    json_reader_init(reader, bytes, length);
    enum json_token token = json_next(reader);
    enum status status =
        check_token(reader, token, JSON_OBJECT_BEGIN, "body", "has to be an object", error);
    while (status == STATUS_OK && (token = json_next(reader)) == JSON_KEY) {
        status = read_member(&reading, error);
    }
    if (status == STATUS_OK && (token != JSON_OBJECT_END || json_next(reader) != JSON_END)) {
        status = json_error(reader, error);
    }
    out->y = reading.y.bytes;
    out->points = reading.y.count;
    out->sizes = reading.sizes.bytes;
    out->series = reading.sizes.count;
    out->starts_ms = reading.starts.bytes;
    return status == STATUS_OK ? check_whole(&reading, error) : status;
}

void nixtla_release(struct nixtla_body *body)
{
    mem_free(body->y);
    mem_free(body->sizes);
    mem_free(body->starts_ms);
    memset(body, 0, sizeof(*body));
}
