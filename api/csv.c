/* Files of points: the forms wide, long and rows.
 * SPDX-License-Identifier: Apache-2.0
 *
 *   wide   timestamp,<series>,<series>,...      one row a step; an empty cell is a missing value;
 * any name for the first column long   series_id,timestamp,value[,label]    one row a point rows
 * series_id,start,step_seconds,values  one row a series, values separated by blanks
 *
 * The header tells the form. Times are RFC 3339, UTC where no offset is given, or milliseconds
 * since 1970. Blanks around times and numbers are not looked at. A row or value that cannot be
 * read, or whose time is beyond the limits, is refused with its line number; the others are used.
 */
#include "api/api.h"

#include "api/csv_reader.h"
#include "api/inflate.h"
#include "api/points_reader.h"
#include "base/clock.h"
#include "base/hash.h"
#include "base/json_reader.h"
#include "base/log.h"
#include "base/memory.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COLUMNS_MAX    20000
#define SERIES_MAX     100000
#define FIRST_CAPACITY 16
#define NUMBER_MAX     64 /* bytes of a number that JSON does not write like this: .5 */
#define SHOWN_MAX      40 /* bytes of a value and of a column that an error quotes */

/* A file while it is read. Capacities of the points are kept apart from what the caller sees. */
struct file {
    const struct csv_options *options;
    struct csv_data *data;
    struct csv_reader reader;
    struct slice *fields;
    size_t field_count;
    size_t *capacities; /* of points, by series */
    size_t series_capacity;
    uint32_t *slots; /* series by id: index + 1, open addressing */
    size_t slot_count;
    size_t last; /* the series of the row before: usually this one's too */
};

/* ---------------------------------------------------------------- refusals */

static void refuse_row(struct file *file, const char *code, const char *what)
{
    struct csv_data *data = file->data;
    if (data->rejected < 20) {
        struct error *error = &data->first[data->rejected];
        error_set(error, STATUS_INVALID, "line %llu: %s", (unsigned long long)file->reader.line,
                  what);
        error_code(error, code, NULL);
    }
    data->rejected++;
}

/* Which value of which column it was: a file may have thousands. */
static void refuse_value(struct file *file, const char *column, struct slice value)
{
    char what[320], name[2 * SHOWN_MAX], text[2 * SHOWN_MAX];
    size_t length = strlen(column);
    log_quote(column, length < SHOWN_MAX ? length : SHOWN_MAX, name, sizeof(name));
    log_quote(value.bytes, value.length < SHOWN_MAX ? value.length : SHOWN_MAX, text, sizeof(text));
    snprintf(what, sizeof(what), "column %s: %s%s is not a finite number", name, text,
             value.length > SHOWN_MAX ? "..." : "");
    refuse_row(file, "bad_value", what);
}

static void refuse_stamp(struct file *file, const struct error *cause)
{
    struct csv_data *data = file->data;
    refuse_row(file, cause->code, cause->text);
    if (data->rejected <= 20) {
        error_hint(&data->first[data->rejected - 1], "%s", cause->hint);
    }
}

static enum status no_memory(struct error *error)
{
    return error_set(error, STATUS_NO_MEMORY, "no memory for the file");
}

/* ---------------------------------------------------------------- fields */

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static struct slice trim(struct slice field)
{
    while (field.length > 0 && is_blank(field.bytes[0])) {
        field.bytes++;
        field.length--;
    }
    while (field.length > 0 && is_blank(field.bytes[field.length - 1])) {
        field.length--;
    }
    return field;
}

/* False says the cause. */
static bool parse_stamp(struct slice field, int64_t *time_ms, struct error *cause)
{
    field = trim(field);
    double number = 0.0;
    int64_t integer = 0;
    int is_integer = 0;
    size_t used = json_parse_number(field.bytes, field.length, &number, &integer, &is_integer);
    if (used == field.length && used > 4) {
        if (points_time(number, integer, is_integer, UNIT_MILLISECONDS, time_ms, cause) ==
            STATUS_OK) {
            return true;
        }
        error_hint(cause, "%s", CSV_TIMES); /* there is no precision to pass */
        return false;
    }
    if (clock_parse(field.bytes, field.length, 0, time_ms, cause) == STATUS_OK) {
        return true;
    }
    error_code(cause, "bad_timestamp", NULL);
    error_hint(cause, "%s", CSV_TIMES);
    return false;
}

/* A whole number text in JSON's form. */
static bool parse_number(const char *text, size_t length, double *value)
{
    int64_t integer = 0;
    int is_integer = 0;
    size_t used = json_parse_number(text, length, value, &integer, &is_integer);
    return used > 0 && used == length && isfinite(*value);
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* .5 and 5. as spreadsheets and R write them: with a zero at the side of the point that has no
 * digit, where the other has one. */
static bool parse_bare_point(struct slice field, double *value)
{
    char text[NUMBER_MAX];
    const char *point = memchr(field.bytes, '.', field.length);
    if (!point || field.length + 1 > sizeof(text)) {
        return false;
    }
    size_t before = (size_t)(point - field.bytes), after = field.length - before - 1;
    bool left = before > 0 && is_digit(point[-1]), right = after > 0 && is_digit(point[1]);
    if (left == right) {
        return false;
    }
    size_t kept = before + (right ? 0 : 1);
    memcpy(text, field.bytes, kept);
    text[kept] = '0';
    memcpy(text + kept + 1, field.bytes + kept, field.length - kept);
    return parse_number(text, field.length + 1, value);
}

/* Empty, NaN and the like are missing values. */
static bool parse_value(struct slice field, double *value)
{
    static const char *const missing[] = {"", "NaN", "nan", "NA", "null", "None"};
    field = trim(field);
    for (size_t i = 0; i < sizeof(missing) / sizeof(missing[0]); i++) {
        if (strlen(missing[i]) == field.length &&
            memcmp(missing[i], field.bytes, field.length) == 0) {
            *value = (double)NAN;
            return true;
        }
    }
    if (field.bytes[0] == '+') {
        field.bytes++;
        field.length--;
        if (field.length == 0 || field.bytes[0] == '-') {
            return false;
        }
    }
    return parse_number(field.bytes, field.length, value) || parse_bare_point(field, value);
}

/* ---------------------------------------------------------------- series */

static bool grow_slots(struct file *file)
{
    size_t count = file->slot_count ? file->slot_count * 2 : 64;
    uint32_t *slots = mem_zeroed(count, sizeof(*slots));
    if (!slots) {
        return false;
    }
    for (size_t i = 0; i < file->data->count; i++) {
        const char *id = file->data->series[i].id;
        size_t at = hash_bytes(id, strlen(id)) & (count - 1);
        while (slots[at]) {
            at = (at + 1) & (count - 1);
        }
        slots[at] = (uint32_t)i + 1;
    }
    mem_free(file->slots);
    file->slots = slots;
    file->slot_count = count;
    return true;
}

static bool grow_series(struct file *file)
{
    if (file->data->count < file->series_capacity) {
        return true;
    }
    size_t capacity = file->series_capacity ? file->series_capacity * 2 : FIRST_CAPACITY;
    struct csv_series *series = mem_resize(file->data->series, capacity, sizeof(*series));
    if (!series) {
        return false;
    }
    file->data->series = series;
    size_t *capacities = mem_resize(file->capacities, capacity, sizeof(*capacities));
    if (!capacities) {
        return false;
    }
    file->capacities = capacities;
    file->series_capacity = capacity;
    return true;
}

static bool is_series(const struct file *file, size_t index, struct slice id)
{
    const char *known = file->data->series[index].id;
    return strncmp(known, id.bytes, id.length) == 0 && known[id.length] == '\0';
}

/* The series of an id, a new one where it is not known yet. */
static enum status find_series(struct file *file, struct slice id, size_t *index,
                               struct error *error)
{
    if (file->last < file->data->count && is_series(file, file->last, id)) {
        *index = file->last;
        return STATUS_OK;
    }
    if (file->data->count * 2 >= file->slot_count && !grow_slots(file)) {
        return no_memory(error);
    }
    size_t at = hash_bytes(id.bytes, id.length) & (file->slot_count - 1);
    while (file->slots[at] && !is_series(file, file->slots[at] - 1, id)) {
        at = (at + 1) & (file->slot_count - 1);
    }
    if (!file->slots[at]) {
        if (file->data->count == SERIES_MAX) {
            error_set(error, STATUS_TOO_LARGE, "the file has more than %d series", SERIES_MAX);
            return error_code(error, "series_limit", NULL);
        }
        char *copy = grow_series(file) ? mem_copy_text(id.bytes, id.length) : NULL;
        if (!copy) {
            return no_memory(error);
        }
        file->data->series[file->data->count] = (struct csv_series){.id = copy};
        file->capacities[file->data->count] = 0;
        file->slots[at] = (uint32_t)++file->data->count;
    }
    file->last = *index = file->slots[at] - 1;
    return STATUS_OK;
}

static enum status add_point(struct file *file, size_t index, struct point point,
                             struct error *error)
{
    struct csv_series *series = &file->data->series[index];
    if (series->count == file->capacities[index]) {
        size_t capacity = series->count ? series->count * 2 : FIRST_CAPACITY;
        struct point *points = mem_resize(series->points, capacity, sizeof(*points));
        if (!points) {
            return no_memory(error);
        }
        series->points = points;
        file->capacities[index] = capacity;
    }
    series->points[series->count++] = point;
    return STATUS_OK;
}

/* Adds the point, or refuses it where its time is beyond the limits. */
static enum status take_point(struct file *file, size_t index, struct point point,
                              struct error *error)
{
    struct error cause = {0};
    const struct csv_options *options = file->options;
    if (!options->limits ||
        api_check_time(options->limits, options->now_ms, point.time_ms, &cause) == STATUS_OK) {
        return add_point(file, index, point, error);
    }
    if (strcmp(cause.code, "too_far_future") == 0) {
        error_hint(&cause, "Check the clock of the sender. %s", CSV_TIMES);
    }
    error_wrap(&cause, "series \"%.80s\"", file->data->series[index].id);
    refuse_stamp(file, &cause);
    return STATUS_OK;
}

/* ---------------------------------------------------------------- the three forms */

static enum status read_long_row(struct file *file, struct error *error)
{
    struct point point;
    size_t index = 0;
    struct error cause = {0};
    if (file->field_count < 3 || file->field_count > 4) {
        refuse_row(file, "bad_csv", "a row has series_id, timestamp and value");
    } else if (file->fields[0].length == 0 ||
               memchr(file->fields[0].bytes, 0, file->fields[0].length)) {
        refuse_row(file, "bad_series_name", "the series has no name");
    } else if (!parse_stamp(file->fields[1], &point.time_ms, &cause)) {
        refuse_stamp(file, &cause);
    } else if (!parse_value(file->fields[2], &point.value)) {
        refuse_value(file, "value", file->fields[2]);
    } else if (find_series(file, file->fields[0], &index, error) != STATUS_OK) {
        return error->status;
    } else {
        return take_point(file, index, point, error);
    }
    return STATUS_OK;
}

static enum status read_wide_row(struct file *file, size_t columns, struct error *error)
{
    int64_t time_ms = 0;
    struct error cause = {0};
    if (file->field_count != columns) {
        refuse_row(file, "bad_csv", "a row has another number of fields than the header");
        return STATUS_OK;
    }
    if (!parse_stamp(file->fields[0], &time_ms, &cause)) {
        refuse_stamp(file, &cause);
        return STATUS_OK;
    }
    for (size_t c = 1; c < columns; c++) {
        struct point point = {time_ms, (double)NAN};
        if (!parse_value(file->fields[c], &point.value)) {
            refuse_value(file, file->data->series[c - 1].id, file->fields[c]);
        } else if (take_point(file, c - 1, point, error) != STATUS_OK) {
            return error->status;
        }
    }
    return STATUS_OK;
}

/* "1.5 2 NaN" from start on, one a step. */
static enum status add_values(struct file *file, size_t index, int64_t start_ms, int64_t step_ms,
                              struct slice values, struct error *error)
{
    const char *at = values.bytes, *end = at + values.length;
    for (int64_t i = 0; at < end; i++) {
        const char *blank = memchr(at, ' ', (size_t)(end - at));
        struct slice word = {at, (size_t)((blank ? blank : end) - at)};
        struct point point = {0, (double)NAN};
        if (__builtin_mul_overflow(i, step_ms, &point.time_ms) ||
            __builtin_add_overflow(start_ms, point.time_ms, &point.time_ms)) {
            refuse_row(file, "bad_timestamp", "the time of a value is out of range");
        } else if (!parse_value(word, &point.value)) {
            refuse_value(file, "values", word);
        } else if (take_point(file, index, point, error) != STATUS_OK) {
            return error->status;
        }
        at = blank ? blank + 1 : end;
    }
    return STATUS_OK;
}

static enum status read_rows_row(struct file *file, struct error *error)
{
    int64_t start_ms = 0;
    double step = 0.0;
    size_t index = 0;
    struct error cause = {0};
    if (file->field_count != 4) {
        refuse_row(file, "bad_csv", "a row has series_id, start, step_seconds and values");
    } else if (file->fields[0].length == 0 ||
               memchr(file->fields[0].bytes, 0, file->fields[0].length)) {
        refuse_row(file, "bad_series_name", "the series has no name");
    } else if (!parse_stamp(file->fields[1], &start_ms, &cause)) {
        refuse_stamp(file, &cause);
    } else if (!parse_value(file->fields[2], &step) || !(step >= 0.001 && step <= 1e9)) {
        refuse_row(file, "bad_csv", "step_seconds is not a number above zero");
    } else if (find_series(file, file->fields[0], &index, error) != STATUS_OK) {
        return error->status;
    } else {
        int64_t step_ms = llround(step * 1000.0);
        file->data->series[index].step_ms = step_ms;
        return add_values(file, index, start_ms, step_ms, file->fields[3], error);
    }
    return STATUS_OK;
}

enum form { FORM_WIDE, FORM_LONG, FORM_ROWS };

static bool names_are(const struct file *file, const char *const *names, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (i >= file->field_count || strlen(names[i]) != file->fields[i].length ||
            memcmp(names[i], file->fields[i].bytes, file->fields[i].length) != 0) {
            return false;
        }
    }
    return true;
}

/* A wide file has no such column: it is one of the other forms, in another order or with blanks,
 * and read as wide its values would all go to one series. */
static bool names_ids(struct slice name)
{
    static const char id[] = "series_id";
    name = trim(name);
    return name.length == strlen(id) && memcmp(name.bytes, id, name.length) == 0;
}

static enum status no_form(const char *what, struct error *error)
{
    error_set(error, STATUS_INVALID, "%s", what);
    error_code(error, "bad_csv", NULL);
    return error_hint(error, "There are: timestamp,<series>,... or series_id,timestamp,value or "
                             "series_id,start,step_seconds,values.");
}

static enum status read_header(struct file *file, enum form *form, struct error *error)
{
    static const char *const long_names[] = {"series_id", "timestamp", "value"};
    static const char *const rows_names[] = {"series_id", "start", "step_seconds", "values"};
    if (!csv_reader_next(&file->reader, file->fields, COLUMNS_MAX, &file->field_count) ||
        file->reader.problem || file->field_count < 2 || file->field_count > COLUMNS_MAX) {
        return no_form("the first line is no header of one of the three forms", error);
    }
    *form = names_are(file, long_names, 3)   ? FORM_LONG
            : names_are(file, rows_names, 4) ? FORM_ROWS
                                             : FORM_WIDE;
    for (size_t c = 0; *form == FORM_WIDE && c < file->field_count; c++) {
        if (names_ids(file->fields[c])) {
            return no_form("the first line names series_id, but not as one of the forms", error);
        }
    }
    for (size_t c = 1; *form == FORM_WIDE && c < file->field_count; c++) {
        size_t index = 0;
        struct slice name = file->fields[c];
        if (name.length == 0 || memchr(name.bytes, 0, name.length)) {
            error_set(error, STATUS_INVALID, "column %zu has no name", c + 1);
            return error_code(error, "bad_csv", NULL);
        }
        if (find_series(file, name, &index, error) != STATUS_OK) {
            return error->status;
        }
        if (index != c - 1) {
            error_set(error, STATUS_INVALID, "two columns have the same name");
            return error_code(error, "bad_csv", NULL);
        }
    }
    return STATUS_OK;
}

static enum status read_records(struct file *file, struct error *error)
{
    enum form form = FORM_WIDE;
    if (read_header(file, &form, error) != STATUS_OK) {
        return error->status;
    }
    size_t columns = file->field_count;
    enum status status = STATUS_OK;
    while (status == STATUS_OK &&
           csv_reader_next(&file->reader, file->fields, COLUMNS_MAX, &file->field_count)) {
        if (file->reader.problem) {
            refuse_row(file, "bad_csv", file->reader.problem);
        } else if (form == FORM_LONG) {
            status = read_long_row(file, error);
        } else if (form == FORM_ROWS) {
            status = read_rows_row(file, error);
        } else {
            status = read_wide_row(file, columns, error);
        }
    }
    return status;
}

/* ---------------------------------------------------------------- afterwards */

static int compare_points(const void *left, const void *right)
{
    const struct point *a = left, *b = right;
    return (a->time_ms > b->time_ms) - (a->time_ms < b->time_ms);
}

/* In time order; of points of one time the last in the file is kept, or all in its order. */
static void put_in_order(struct csv_series *series, bool keep_repeated)
{
    bool sorted = true, twice = false;
    for (size_t i = 1; i < series->count; i++) {
        sorted = sorted && series->points[i - 1].time_ms <= series->points[i].time_ms;
        twice = twice || series->points[i - 1].time_ms == series->points[i].time_ms;
    }
    if (!sorted) { /* merge sort: points of one time stay in file order */
        qsort(series->points, series->count, sizeof(*series->points), compare_points);
        twice = true;
    }
    size_t kept = 0;
    twice = twice && !keep_repeated;
    for (size_t i = 0; twice && i < series->count; i++) {
        bool same = kept > 0 && series->points[kept - 1].time_ms == series->points[i].time_ms;
        series->points[same ? kept - 1 : kept++] = series->points[i];
    }
    series->count = twice ? kept : series->count;
    for (size_t i = 1; i < series->count && series->step_ms == 0; i++) {
        series->step_ms = series->points[i].time_ms - series->points[i - 1].time_ms;
    }
}

enum status csv_read(const char *bytes, size_t length, const struct csv_options *options,
                     struct csv_data *out, struct error *error)
{
    memset(out, 0, sizeof(*out));
    struct file file = {.options = options, .data = out};
    char *text = NULL;
    enum status status = STATUS_OK;
    if (inflate_is_gzip(bytes, length)) {
        status = inflate_gzip(bytes, length, options->inflated_max, &text, &length, error);
    } else {
        text = mem_copy_text(bytes, length);
        status = text ? STATUS_OK : no_memory(error);
    }
    if (status == STATUS_OK) {
        file.fields = mem_array(COLUMNS_MAX, sizeof(*file.fields));
        csv_reader_init(&file.reader, text, length);
        status = file.fields ? read_records(&file, error) : no_memory(error);
    }
    for (size_t i = 0; status == STATUS_OK && i < out->count; i++) {
        put_in_order(&out->series[i], options->keep_repeated);
    }
    mem_free(file.fields);
    mem_free(file.capacities);
    mem_free(file.slots);
    mem_free(text);
    if (status != STATUS_OK) {
        csv_free(out);
    }
    return status;
}

void csv_free(struct csv_data *data)
{
    for (size_t i = 0; i < data->count; i++) {
        mem_free(data->series[i].id);
        mem_free(data->series[i].points);
    }
    mem_free(data->series);
    memset(data, 0, sizeof(*data));
}
