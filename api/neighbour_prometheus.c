/* The answer of Prometheus' query_range, read in one pass.
 * SPDX-License-Identifier: Apache-2.0
 *
 *   {"status":"success","warnings":["..."],"data":{"resultType":"matrix","result":[
 *     {"metric":{"__name__":"up","job":"x"},"values":[[1795354740,"1"],[1795354800.5,"NaN"]]}]}}
 *   {"status":"error","errorType":"bad_data","error":"..."}
 *
 * A series' "metric" has to stand before its "values", as every server writes it: so points can be
 * handed on while they are read. Native histograms are no series here and are passed over.
 */
#include "api/neighbour.h"

#include "base/memory.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define TIME_S_MAX 1e12 /* seconds: far beyond any calendar, and safe as milliseconds */

struct reading {
    struct json_reader json;
    struct neighbour_series *series;
    char kind[80], text[200]; /* errorType and error */
};

static enum status bad_form(const struct reading *reading, enum json_token token,
                            struct error *error)
{
    return neighbour_bad_form(&reading->json, token, "a range query", error);
}

static enum status read_metric(struct reading *reading, struct error *error)
{
    struct json_reader *json = &reading->json;
    enum json_token token = json_next(json);
    if (token != JSON_OBJECT_BEGIN) {
        return bad_form(reading, token, error);
    }
    while ((token = json_next(json)) == JSON_KEY) {
        char key[SERIES_TEXT_MAX / 8];
        size_t length = json->text_length;
        if (length <= sizeof(key)) {
            memcpy(key, json->text, length);
        } else {
            reading->series->overflow = true;
            length = 0;
        }
        token = json_next(json);
        if (token != JSON_STRING) {
            return bad_form(reading, token, error);
        }
        neighbour_label(reading->series, (struct slice){key, length}, neighbour_text(json));
    }
    return token == JSON_OBJECT_END ? STATUS_OK : bad_form(reading, token, error);
}

/* "1.5e+08", "NaN", "+Inf", "-Inf". */
static bool parse_value(struct slice text, double *value)
{
    int64_t integer;
    int is_integer;
    if (slice_is(text, "NaN")) {
        *value = (double)NAN;
        return true;
    }
    if (slice_is(text, "+Inf") || slice_is(text, "-Inf") || slice_is(text, "Inf")) {
        *value = (double)INFINITY;
        return true;
    }
    return text.length > 0 &&
           json_parse_number(text.bytes, text.length, value, &integer, &is_integer) == text.length;
}

/* After the start of "values": pairs up to its end. */
static enum status read_values(struct reading *reading, struct error *error)
{
    struct json_reader *json = &reading->json;
    enum json_token token = json_next(json);
    if (token != JSON_ARRAY_BEGIN) {
        return bad_form(reading, token, error);
    }
    while ((token = json_next(json)) == JSON_ARRAY_BEGIN) {
        double value = 0.0;
        token = json_next(json);
        double time_s = json->number;
        if (token != JSON_NUMBER || !(fabs(time_s) < TIME_S_MAX)) {
            return bad_form(reading, token, error);
        }
        token = json_next(json);
        if (token != JSON_STRING || !parse_value(neighbour_text(json), &value)) {
            return bad_form(reading, token, error);
        }
        token = json_next(json);
        if (token != JSON_ARRAY_END) {
            return bad_form(reading, token, error);
        }
        enum status status = neighbour_point(reading->series, llround(time_s * 1e3), value, error);
        if (status != STATUS_OK) {
            return status;
        }
    }
    return token == JSON_ARRAY_END ? neighbour_flush(reading->series, error)
                                   : bad_form(reading, token, error);
}

/* After the start of one element of "result". */
static enum status read_series(struct reading *reading, struct error *error)
{
    struct json_reader *json = &reading->json;
    enum json_token token;
    bool named = false;
    neighbour_begin(reading->series);
    while ((token = json_next(json)) == JSON_KEY) {
        enum status status = STATUS_OK;
        struct slice key = neighbour_text(json);
        if (slice_is(key, "metric")) {
            status = read_metric(reading, error);
        } else if (slice_is(key, "values")) {
            if (!named) {
                neighbour_named(reading->series);
                named = true;
            }
            status = read_values(reading, error);
        } else if (json_skip_value(json) == JSON_BROKEN) {
            status = bad_form(reading, JSON_BROKEN, error);
        }
        if (status != STATUS_OK) {
            return status;
        }
    }
    return token == JSON_OBJECT_END ? STATUS_OK : bad_form(reading, token, error);
}

static enum status read_result(struct reading *reading, struct error *error)
{
    enum json_token token = json_next(&reading->json);
    if (token != JSON_ARRAY_BEGIN) {
        return bad_form(reading, token, error);
    }
    while ((token = json_next(&reading->json)) == JSON_OBJECT_BEGIN) {
        enum status status = read_series(reading, error);
        if (status != STATUS_OK) {
            return status;
        }
    }
    return token == JSON_ARRAY_END ? STATUS_OK : bad_form(reading, token, error);
}

static enum status read_data(struct reading *reading, struct error *error)
{
    struct json_reader *json = &reading->json;
    enum json_token token = json_next(json);
    if (token == JSON_NULL) {
        return STATUS_OK;
    }
    if (token != JSON_OBJECT_BEGIN) {
        return bad_form(reading, token, error);
    }
    while ((token = json_next(json)) == JSON_KEY) {
        enum status status = STATUS_OK;
        if (slice_is(neighbour_text(json), "result")) {
            status = read_result(reading, error);
        } else if (json_skip_value(json) == JSON_BROKEN) {
            status = bad_form(reading, JSON_BROKEN, error);
        }
        if (status != STATUS_OK) {
            return status;
        }
    }
    return token == JSON_OBJECT_END ? STATUS_OK : bad_form(reading, token, error);
}

static enum status read_text(struct reading *reading, char *out, size_t capacity,
                             struct error *error)
{
    enum json_token token = json_next(&reading->json);
    if (token != JSON_STRING) {
        return bad_form(reading, token, error);
    }
    snprintf(out, capacity, "%.*s", (int)reading->json.text_length, reading->json.text);
    return STATUS_OK;
}

/* Keeps the first text of a list. */
static enum status read_warnings(struct reading *reading, struct error *error)
{
    char *warning = reading->series->answer->warning;
    size_t capacity = sizeof(reading->series->answer->warning);
    enum json_token token = json_next(&reading->json);
    if (token != JSON_ARRAY_BEGIN) {
        return bad_form(reading, token, error);
    }
    while ((token = json_next(&reading->json)) == JSON_STRING) {
        if (warning[0] == '\0') {
            snprintf(warning, capacity, "%.*s", (int)reading->json.text_length, reading->json.text);
        }
    }
    return token == JSON_ARRAY_END ? STATUS_OK : bad_form(reading, token, error);
}

static enum status read_answer(struct reading *reading, struct error *error)
{
    struct json_reader *json = &reading->json;
    enum json_token token = json_next(json);
    if (token != JSON_OBJECT_BEGIN) {
        return bad_form(reading, token, error);
    }
    while ((token = json_next(json)) == JSON_KEY) {
        enum status status = STATUS_OK;
        struct slice key = neighbour_text(json);
        if (slice_is(key, "data")) {
            status = read_data(reading, error);
        } else if (slice_is(key, "errorType")) {
            status = read_text(reading, reading->kind, sizeof(reading->kind), error);
        } else if (slice_is(key, "error")) {
            status = read_text(reading, reading->text, sizeof(reading->text), error);
        } else if (slice_is(key, "warnings")) {
            status = read_warnings(reading, error);
        } else if (json_skip_value(json) == JSON_BROKEN) {
            status = bad_form(reading, JSON_BROKEN, error);
        }
        if (status != STATUS_OK) {
            return status;
        }
    }
    if (token == JSON_OBJECT_END) {
        token = json_next(json);
    }
    return token == JSON_END ? STATUS_OK : bad_form(reading, token, error);
}

enum status neighbour_read_prometheus(const char *bytes, size_t length,
                                      struct neighbour_answer *answer, struct error *error)
{
    struct reading reading = {.series = mem_zeroed(1, sizeof(*reading.series))};
    if (reading.series == NULL) {
        return error_set(error, STATUS_NO_MEMORY, "no memory to read an answer");
    }
    reading.series->answer = answer;
    json_reader_init(&reading.json, bytes, length);
    enum status status = read_answer(&reading, error);
    if (status == STATUS_OK && (reading.kind[0] != '\0' || reading.text[0] != '\0')) {
        status = error_set(error, STATUS_INVALID, "%s%s%s", reading.kind,
                           reading.kind[0] != '\0' ? ": " : "", reading.text);
    }
    mem_free(reading.series);
    return status;
}
