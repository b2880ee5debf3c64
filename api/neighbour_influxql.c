/* The answer of InfluxDB 1.x to a SELECT with epoch=ms, whole or in chunks of one line each.
 * SPDX-License-Identifier: Apache-2.0
 *
 *   {"results":[{"statement_id":0,"series":[{"name":"cpu","tags":{"host":"a"},
 *     "columns":["time","idle","state"],"values":[[1795354740000,98.2,"on"],...]}]}]}
 *   {"error":"..."}   or   {"results":[{"error":"..."}]}
 *
 * Each column but the time is a series of its own, so the rows are read once a column: they are
 * skipped over quickly, and nothing has to be kept. "columns" has to stand before "values".
 */
#include "api/neighbour.h"

#include "base/memory.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define COLUMNS_MAX 1024
#define TIME_MS_MAX 1e15

struct column {
    size_t at, length; /* in `names` */
};

struct reading {
    struct json_reader json;
    struct neighbour_series *series;
    struct column columns[COLUMNS_MAX];
    size_t column_count, time_column;
    char names[65536]; /* of the columns */
    size_t names_used;
    char measurement[1024];
    size_t measurement_length;
    /* tags, as key and value one after the other */
    char tags[2 * SERIES_TEXT_MAX];
    struct series_label labels[SERIES_LABELS_MAX + 1];
    size_t tags_used, label_count;
    bool overflow; /* more tags than a series can have */
};

static enum status bad_form(const struct reading *reading, enum json_token token,
                            struct error *error)
{
    return neighbour_bad_form(&reading->json, token, "a SELECT with a column of times", error);
}

/* ---------------------------------------------------------------- the head of a series */

static bool keep_tag(struct reading *reading, struct slice text, struct slice *kept)
{
    if (text.length > sizeof(reading->tags) - reading->tags_used) {
        reading->overflow = true;
        return false;
    }
    memcpy(reading->tags + reading->tags_used, text.bytes, text.length);
    *kept = (struct slice){reading->tags + reading->tags_used, text.length};
    reading->tags_used += text.length;
    return true;
}

static enum status read_tags(struct reading *reading, struct error *error)
{
    struct json_reader *json = &reading->json;
    enum json_token token = json_next(json);
    if (token != JSON_OBJECT_BEGIN) {
        return token == JSON_NULL ? STATUS_OK : bad_form(reading, token, error);
    }
    while ((token = json_next(json)) == JSON_KEY) {
        struct series_label label = {0};
        bool kept = keep_tag(reading, neighbour_text(json), &label.key);
        token = json_next(json);
        if (token != JSON_STRING) {
            return bad_form(reading, token, error);
        }
        kept = keep_tag(reading, neighbour_text(json), &label.value) && kept;
        if (kept && label.value.length > 0 && reading->label_count <= SERIES_LABELS_MAX) {
            reading->labels[reading->label_count++] = label;
        }
    }
    return token == JSON_OBJECT_END ? STATUS_OK : bad_form(reading, token, error);
}

static enum status read_columns(struct reading *reading, struct error *error)
{
    struct json_reader *json = &reading->json;
    enum json_token token = json_next(json);
    if (token != JSON_ARRAY_BEGIN) {
        return bad_form(reading, token, error);
    }
    while ((token = json_next(json)) == JSON_STRING) {
        size_t left = sizeof(reading->names) - reading->names_used;
        if (reading->column_count == COLUMNS_MAX || json->text_length > left) {
            return error_set(error, STATUS_TOO_LARGE, "a measurement has more than %d columns",
                             COLUMNS_MAX);
        }
        if (slice_is(neighbour_text(json), "time")) {
            reading->time_column = reading->column_count;
        }
        memcpy(reading->names + reading->names_used, json->text, json->text_length);
        reading->columns[reading->column_count++] =
            (struct column){reading->names_used, json->text_length};
        reading->names_used += json->text_length;
    }
    return token == JSON_ARRAY_END ? STATUS_OK : bad_form(reading, token, error);
}

/* ---------------------------------------------------------------- rows */

struct cell {
    enum json_token token;
    double number;
};

/* After the start of a row: the cells of the time and of `column`; the others are passed over. */
static enum status read_row(struct reading *reading, size_t column, struct cell *time,
                            struct cell *value, struct error *error)
{
    struct json_reader *json = &reading->json;
    enum json_token token = json_next(json);
    *time = *value = (struct cell){JSON_NULL, 0.0};
    for (size_t i = 0; token != JSON_ARRAY_END; i++, token = json_next(json)) {
        if (token == JSON_BROKEN || token == JSON_ARRAY_BEGIN || token == JSON_OBJECT_BEGIN) {
            return bad_form(reading, token, error);
        }
        struct cell cell = {token, json->number};
        if (i == reading->time_column) {
            *time = cell;
        } else if (i == column) {
            *value = cell;
        }
    }
    bool usable = time->token == JSON_NUMBER && fabs(time->number) < TIME_MS_MAX;
    return usable ? STATUS_OK : bad_form(reading, time->token, error);
}

static void name_series(struct reading *reading, size_t column)
{
    struct neighbour_series *series = reading->series;
    const char *prefix = series->answer->column_prefix;
    struct slice field = {reading->names + reading->columns[column].at,
                          reading->columns[column].length};
    size_t off = prefix != NULL ? strlen(prefix) : 0;
    if (off > 0 && field.length > off && memcmp(field.bytes, prefix, off) == 0) {
        field = (struct slice){field.bytes + off, field.length - off};
    }
    neighbour_name_join(series, (struct slice){reading->measurement, reading->measurement_length},
                        field);
    for (size_t i = 0; i < reading->label_count; i++) {
        neighbour_label(series, reading->labels[i].key, reading->labels[i].value);
    }
    series->overflow |= reading->overflow;
    neighbour_named(series);
}

/* After the start of "values": all rows, for one column. Texts and booleans name no series, so the
 * name is made at the first number. */
static enum status read_column(struct reading *reading, size_t column, struct error *error)
{
    struct neighbour_series *series = reading->series;
    struct neighbour_answer *answer = series->answer;
    enum json_token token;
    bool named = false;
    neighbour_begin(series);
    while ((token = json_next(&reading->json)) == JSON_ARRAY_BEGIN) {
        struct cell time, value;
        enum status status = read_row(reading, column, &time, &value, error);
        if (status == STATUS_OK && value.token == JSON_NUMBER) {
            if (!named) {
                name_series(reading, column);
                named = true;
            }
            status = neighbour_point(series, (int64_t)time.number, value.number, error);
        } else if (status == STATUS_OK) {
            *(value.token == JSON_NULL ? &answer->missing : &answer->skipped) += 1;
        }
        if (status != STATUS_OK) {
            return status;
        }
    }
    return token == JSON_ARRAY_END ? neighbour_flush(series, error)
                                   : bad_form(reading, token, error);
}

static enum status read_values(struct reading *reading, struct error *error)
{
    enum json_token token = json_next(&reading->json);
    if (token != JSON_ARRAY_BEGIN || reading->time_column == SIZE_MAX) {
        return bad_form(reading, token, error);
    }
    struct json_reader begin = reading->json;
    if (reading->column_count < 2) { /* times alone */
        return json_skip_value(&reading->json) == JSON_BROKEN
                   ? bad_form(reading, JSON_BROKEN, error)
                   : STATUS_OK;
    }
    for (size_t column = 0; column < reading->column_count; column++) {
        if (column != reading->time_column) {
            reading->json = begin;
            enum status status = read_column(reading, column, error);
            if (status != STATUS_OK) {
                return status;
            }
        }
    }
    return STATUS_OK;
}

/* ---------------------------------------------------------------- documents */

/* After the start of one element of "series". */
static enum status read_series(struct reading *reading, struct error *error)
{
    struct json_reader *json = &reading->json;
    enum json_token token;
    reading->column_count = reading->names_used = reading->measurement_length = 0;
    reading->tags_used = reading->label_count = 0;
    reading->time_column = SIZE_MAX;
    reading->overflow = false;
    while ((token = json_next(json)) == JSON_KEY) {
        enum status status = STATUS_OK;
        struct slice key = neighbour_text(json);
        if (slice_is(key, "name")) {
            token = json_next(json);
            if (token != JSON_STRING || json->text_length > sizeof(reading->measurement)) {
                return bad_form(reading, token, error);
            }
            memcpy(reading->measurement, json->text, json->text_length);
            reading->measurement_length = json->text_length;
        } else if (slice_is(key, "tags")) {
            status = read_tags(reading, error);
        } else if (slice_is(key, "columns")) {
            status = read_columns(reading, error);
        } else if (slice_is(key, "values")) {
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

/* The objects of a list, each by `read`. */
static enum status read_list(struct reading *reading,
                             enum status (*read)(struct reading *, struct error *),
                             struct error *error)
{
    enum json_token token = json_next(&reading->json);
    if (token != JSON_ARRAY_BEGIN) {
        return bad_form(reading, token, error);
    }
    while ((token = json_next(&reading->json)) == JSON_OBJECT_BEGIN) {
        enum status status = read(reading, error);
        if (status != STATUS_OK) {
            return status;
        }
    }
    return token == JSON_ARRAY_END ? STATUS_OK : bad_form(reading, token, error);
}

static enum status say_error(struct reading *reading, struct error *error)
{
    enum json_token token = json_next(&reading->json);
    if (token != JSON_STRING) {
        return bad_form(reading, token, error);
    }
    return error_set(error, STATUS_INVALID, "%.*s", (int)reading->json.text_length,
                     reading->json.text);
}

/* After the start of an object: `list` is read with `read`, "error" is one. */
static enum status read_object(struct reading *reading, const char *list,
                               enum status (*read)(struct reading *, struct error *),
                               struct error *error)
{
    struct json_reader *json = &reading->json;
    enum json_token token;
    while ((token = json_next(json)) == JSON_KEY) {
        enum status status = STATUS_OK;
        struct slice key = neighbour_text(json);
        if (slice_is(key, list)) {
            status = read_list(reading, read, error);
        } else if (slice_is(key, "error")) {
            status = say_error(reading, error);
        } else if (json_skip_value(json) == JSON_BROKEN) {
            status = bad_form(reading, JSON_BROKEN, error);
        }
        if (status != STATUS_OK) {
            return status;
        }
    }
    return token == JSON_OBJECT_END ? STATUS_OK : bad_form(reading, token, error);
}

static enum status read_statement(struct reading *reading, struct error *error)
{
    return read_object(reading, "series", read_series, error);
}

static enum status read_document(struct reading *reading, const char *bytes, size_t length,
                                 struct error *error)
{
    json_reader_init(&reading->json, bytes, length);
    enum json_token token = json_next(&reading->json);
    if (token != JSON_OBJECT_BEGIN) {
        return bad_form(reading, token, error);
    }
    enum status status = read_object(reading, "results", read_statement, error);
    if (status == STATUS_OK) {
        token = json_next(&reading->json);
        status = token == JSON_END ? STATUS_OK : bad_form(reading, token, error);
    }
    return status;
}

enum status neighbour_read_influxql(const char *bytes, size_t length,
                                    struct neighbour_answer *answer, struct error *error)
{
    struct reading *reading = mem_zeroed(1, sizeof(*reading));
    struct neighbour_series *series = mem_zeroed(1, sizeof(*series));
    enum status status = STATUS_OK;
    if (reading == NULL || series == NULL) {
        status = error_set(error, STATUS_NO_MEMORY, "no memory to read an answer");
    } else {
        series->answer = answer;
        reading->series = series;
    }
    while (status == STATUS_OK && length > 0) {
        const char *line_end = memchr(bytes, '\n', length);
        size_t line = line_end != NULL ? (size_t)(line_end - bytes) : length;
        if (line > 0) {
            status = read_document(reading, bytes, line, error);
        }
        bytes += line + (line_end != NULL);
        length -= line + (line_end != NULL);
    }
    mem_free(reading);
    mem_free(series);
    return status;
}
