/* Naming the series of another database's answer and handing on its points in pieces.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "api/neighbour.h"

#include <math.h>
#include <string.h>

void neighbour_begin(struct neighbour_series *series)
{
    series->label_count = 0;
    series->name = (struct slice){0};
    series->names_used = 0;
    series->overflow = false;
    series->text_length = 0;
    series->point_count = 0;
}

static struct slice keep(struct neighbour_series *series, struct slice text)
{
    if (text.length > sizeof(series->names) - series->names_used) {
        series->overflow = true;
        return (struct slice){0};
    }
    char *copy = series->names + series->names_used;
    if (text.length > 0) {
        memcpy(copy, text.bytes, text.length);
    }
    series->names_used += text.length;
    return (struct slice){copy, text.length};
}

void neighbour_name(struct neighbour_series *series, struct slice name)
{
    series->name = keep(series, name);
}

void neighbour_name_join(struct neighbour_series *series, struct slice first, struct slice second)
{
    struct slice begin = keep(series, first);
    if (first.length > 0 && second.length > 0) {
        keep(series, (struct slice){"_", 1});
    }
    keep(series, second);
    size_t begin_at = series->overflow ? 0 : (size_t)(begin.bytes - series->names);
    series->name = (struct slice){series->names + begin_at, series->names_used - begin_at};
}

void neighbour_label(struct neighbour_series *series, struct slice key, struct slice value)
{
    if (slice_is(key, "__name__")) {
        neighbour_name(series, value);
        return;
    }
    if (value.length == 0) {
        return;
    }
    if (series->label_count == SERIES_LABELS_MAX) {
        series->overflow = true;
        return;
    }
    struct slice kept_key = keep(series, key);
    struct slice kept_value = keep(series, value);
    if (!series->overflow) {
        series->labels[series->label_count++] = (struct series_label){kept_key, kept_value};
    }
}

static void refuse(struct neighbour_series *series, const struct error *cause)
{
    struct neighbour_answer *answer = series->answer;
    if (answer->refused_series++ == 0) {
        answer->refusal = *cause;
    }
}

bool neighbour_named(struct neighbour_series *series)
{
    struct error cause = {0};
    struct slice name = series->name;
    series->text_length = 0;
    if (series->overflow) {
        error_set(&cause, STATUS_INVALID, "a series has more than %d labels, or too long ones",
                  SERIES_LABELS_MAX);
    } else if (name.length == 0 && series->answer->name == NULL) {
        error_set(&cause, STATUS_INVALID, "a series of the answer has no name");
        error_hint(&cause, "Give it one with --name.");
    } else {
        if (name.length == 0) {
            name = (struct slice){series->answer->name, strlen(series->answer->name)};
        }
        if (series_name_write(name, series->labels, series->label_count, series->text,
                              &series->text_length, &cause) == STATUS_OK) {
            return true;
        }
        series->text_length = 0;
    }
    refuse(series, &cause);
    return false;
}

enum status neighbour_flush(struct neighbour_series *series, struct error *error)
{
    size_t count = series->point_count;
    series->point_count = 0;
    if (count == 0) {
        return STATUS_OK;
    }
    series->answer->points += count;
    return series->answer->take(series->answer->context, series->text, series->text_length,
                                series->points, count, error);
}

enum status neighbour_point(struct neighbour_series *series, int64_t time_ms, double value,
                            struct error *error)
{
    if (isnan(value)) {
        series->answer->missing++;
        return STATUS_OK;
    }
    if (isinf(value)) {
        series->answer->skipped++;
        return STATUS_OK;
    }
    if (series->text_length == 0) { /* refused already, as a whole */
        return STATUS_OK;
    }
    series->points[series->point_count++] = (struct point){.time_ms = time_ms, .value = value};
    return series->point_count == NEIGHBOUR_POINTS_MAX ? neighbour_flush(series, error) : STATUS_OK;
}

struct slice neighbour_text(const struct json_reader *json)
{
    return (struct slice){json->text, json->text_length};
}

enum status neighbour_bad_form(const struct json_reader *json, enum json_token token,
                               const char *wanted, struct error *error)
{
    if (token == JSON_BROKEN) {
        json_error(json, error);
        return error_wrap(error, "cannot read the answer");
    }
    return error_set(error, STATUS_INVALID, "the answer is not that of %s (near byte %zu)", wanted,
                     (size_t)(json->cursor - json->begin));
}
