/* The answer of InfluxDB 2.x to a Flux query: annotated CSV.
 * SPDX-License-Identifier: Apache-2.0
 *
 *   #datatype,string,long,dateTime:RFC3339,dateTime:RFC3339,dateTime:RFC3339,double,string,string,string
 *   #group,false,false,true,true,false,false,true,true,true
 *   #default,_result,,,,,,,,
 *   ,result,table,_start,_stop,_time,_value,_field,_measurement,host
 *   ,,0,2026-11-22T12:00:00Z,2026-11-22T13:00:00Z,2026-11-22T12:01:00Z,98.2,idle,cpu,a
 *
 * Annotations begin a new table schema; a header follows, then rows. The first two columns are the
 * answer's own; a tag may be called like one of them and stands further behind. A table
 * "error,reference" without points is how a query that fails while its answer is under way says so.
 */
#include "api/neighbour.h"

#include "api/csv_reader.h"
#include "base/clock.h"
#include "base/json_reader.h"
#include "base/memory.h"

#include <math.h>
#include <string.h>

#define COLUMNS_MAX 256

enum value_kind { VALUE_TEXT, VALUE_NUMBER, VALUE_TIME };

struct flux_column {
    struct slice name;
    struct slice preset; /* of the annotation default: what an empty cell means */
    enum value_kind kind;
    bool grouped;
    bool label; /* of the group key, and none of the columns that have a meaning of their own */
};

struct flux_table {
    struct flux_column columns[COLUMNS_MAX];
    size_t column_count;
    size_t time, value, field, measurement, error; /* indexes; SIZE_MAX: there is none */
    bool header_due;
    bool named;                       /* the series of the row before: most often this one's too */
    struct slice cells[COLUMNS_MAX];  /* of the row, presets filled in */
    struct slice before[COLUMNS_MAX]; /* likewise of the row before */
};

static enum status bad_form(const struct csv_reader *reader, const char *what, struct error *error)
{
    return error_set(error, STATUS_INVALID, "line %llu of the answer: %s",
                     (unsigned long long)reader->line, what);
}

static enum value_kind kind_of(struct slice type)
{
    if (slice_is(type, "double") || slice_is(type, "long") || slice_is(type, "unsignedLong")) {
        return VALUE_NUMBER;
    }
    bool time = type.length >= 8 && memcmp(type.bytes, "dateTime", 8) == 0;
    return time ? VALUE_TIME : VALUE_TEXT;
}

/* A row that begins with '#'. The first of them after rows begins a schema. */
static enum status read_annotation(struct flux_table *table, const struct csv_reader *reader,
                                   const struct slice *fields, size_t count, struct error *error)
{
    if (count > COLUMNS_MAX) {
        return bad_form(reader, "too many columns", error);
    }
    if (!table->header_due) {
        memset(table->columns, 0, sizeof(table->columns));
        table->column_count = count;
        table->header_due = true;
        table->named = false;
    }
    if (count != table->column_count) {
        return bad_form(reader, "annotations differ in length", error);
    }
    for (size_t i = 1; i < count; i++) {
        if (slice_is(fields[0], "#datatype")) {
            table->columns[i].kind = kind_of(fields[i]);
        } else if (slice_is(fields[0], "#group")) {
            table->columns[i].grouped = slice_is(fields[i], "true");
        } else if (slice_is(fields[0], "#default")) {
            table->columns[i].preset = fields[i];
        }
    }
    return STATUS_OK;
}

/* Of the answer, not of the data. The place counts, too: Telegraf has a tag "result". */
static bool is_frame(size_t column, struct slice name)
{
    return (column == 1 && slice_is(name, "result")) || (column == 2 && slice_is(name, "table"));
}

static enum status read_header(struct flux_table *table, const struct csv_reader *reader,
                               const struct slice *fields, size_t count, struct error *error)
{
    if (count != table->column_count) {
        return bad_form(reader, "the header differs in length from its annotations", error);
    }
    table->header_due = false;
    table->time = table->value = table->field = table->measurement = table->error = SIZE_MAX;
    for (size_t i = 1; i < count; i++) {
        struct flux_column *column = &table->columns[i];
        column->name = fields[i];
        if (slice_is(column->name, "_time")) {
            table->time = i;
        } else if (slice_is(column->name, "_value")) {
            table->value = i;
        } else if (slice_is(column->name, "_field")) {
            table->field = i;
        } else if (slice_is(column->name, "_measurement")) {
            table->measurement = i;
        } else {
            table->error = slice_is(column->name, "error") ? i : table->error;
            column->label =
                column->grouped && column->kind == VALUE_TEXT && !is_frame(i, column->name);
        }
    }
    bool points = table->time != SIZE_MAX && table->value != SIZE_MAX &&
                  table->columns[table->time].kind == VALUE_TIME;
    table->error = points ? SIZE_MAX : table->error; /* a tag */
    return points || table->error != SIZE_MAX
               ? STATUS_OK
               : bad_form(reader, "a table has no columns _time and _value", error);
}

static bool names_series(const struct flux_table *table, size_t column)
{
    return table->columns[column].label || column == table->field || column == table->measurement;
}

static bool same_series(const struct flux_table *table)
{
    for (size_t i = 1; i < table->column_count; i++) {
        const struct slice *now = &table->cells[i], *before = &table->before[i];
        if (names_series(table, i) &&
            (now->length != before->length ||
             (now->length > 0 && memcmp(now->bytes, before->bytes, now->length) != 0))) {
            return false;
        }
    }
    return true;
}

static void name_series(const struct flux_table *table, struct neighbour_series *series)
{
    const struct slice none = {0};
    neighbour_begin(series);
    neighbour_name_join(series,
                        table->measurement != SIZE_MAX ? table->cells[table->measurement] : none,
                        table->field != SIZE_MAX ? table->cells[table->field] : none);
    for (size_t i = 1; i < table->column_count; i++) {
        if (table->columns[i].label) {
            neighbour_label(series, table->columns[i].name, table->cells[i]);
        }
    }
    neighbour_named(series);
}

/* "1.5", "NaN", "+Inf"; an empty cell is null. */
static bool parse_value(struct slice cell, double *value)
{
    int64_t integer;
    int is_integer;
    if (cell.length == 0 || slice_is(cell, "NaN")) {
        *value = (double)NAN;
        return true;
    }
    if (slice_is(cell, "+Inf") || slice_is(cell, "-Inf")) {
        *value = (double)INFINITY;
        return true;
    }
    return json_parse_number(cell.bytes, cell.length, value, &integer, &is_integer) == cell.length;
}

static enum status read_row(struct flux_table *table, const struct csv_reader *reader,
                            struct neighbour_series *series, struct error *error)
{
    struct error cause = {0};
    int64_t time_ms = 0;
    double value = 0.0;
    if (table->error != SIZE_MAX) {
        const struct slice *text = &table->cells[table->error];
        return error_set(error, STATUS_INVALID, "%.*s", (int)text->length, text->bytes);
    }
    struct slice time = table->cells[table->time];
    if (clock_parse(time.bytes, time.length, 1, &time_ms, &cause) != STATUS_OK) {
        return bad_form(reader, "the time cannot be read", error);
    }
    if (table->columns[table->value].kind != VALUE_NUMBER) {
        series->answer->skipped++;
        return STATUS_OK;
    }
    if (!parse_value(table->cells[table->value], &value)) {
        return bad_form(reader, "the value is no number", error);
    }
    if (!table->named || !same_series(table)) {
        enum status status = neighbour_flush(series, error);
        if (status != STATUS_OK) {
            return status;
        }
        name_series(table, series);
        table->named = true;
        memcpy(table->before, table->cells, table->column_count * sizeof(table->cells[0]));
    }
    return neighbour_point(series, time_ms, value, error);
}

/* Fields of the row under its header, presets in the place of empty ones. */
static enum status take_cells(struct flux_table *table, const struct csv_reader *reader,
                              const struct slice *fields, size_t count, struct error *error)
{
    if (table->column_count == 0) {
        return bad_form(reader, "rows without annotations", error);
    }
    if (count != table->column_count) {
        return bad_form(reader, "a row differs in length from its header", error);
    }
    for (size_t i = 1; i < count; i++) {
        table->cells[i] = fields[i].length > 0 ? fields[i] : table->columns[i].preset;
    }
    return STATUS_OK;
}

static enum status read_tables(struct flux_table *table, struct csv_reader *reader,
                               struct neighbour_series *series, struct error *error)
{
    struct slice fields[COLUMNS_MAX];
    size_t count = 0;
    while (csv_reader_next(reader, fields, COLUMNS_MAX, &count)) {
        enum status status = STATUS_OK;
        if (reader->problem != NULL) {
            return bad_form(reader, reader->problem, error);
        }
        if (fields[0].length > 0 && fields[0].bytes[0] == '#') {
            status = read_annotation(table, reader, fields, count, error);
        } else if (table->header_due) {
            status = read_header(table, reader, fields, count, error);
        } else {
            status = take_cells(table, reader, fields, count, error);
            if (status == STATUS_OK) {
                status = read_row(table, reader, series, error);
            }
        }
        if (status != STATUS_OK) {
            return status;
        }
    }
    return neighbour_flush(series, error);
}

enum status neighbour_read_flux(char *bytes, size_t length, struct neighbour_answer *answer,
                                struct error *error)
{
    struct flux_table *table = mem_zeroed(1, sizeof(*table));
    struct neighbour_series *series = mem_zeroed(1, sizeof(*series));
    enum status status;
    if (table == NULL || series == NULL) {
        status = error_set(error, STATUS_NO_MEMORY, "no memory to read an answer");
    } else {
        struct csv_reader reader;
        series->answer = answer;
        csv_reader_init(&reader, bytes, length);
        status = read_tables(table, &reader, series, error);
    }
    mem_free(table);
    mem_free(series);
    return status;
}
