/* Inside of reading other databases' answers: one series being named, its points being gathered.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Memory: fixed buffers in one struct, about 70 kB, whatever the size of the answer.
 */
#ifndef API_NEIGHBOUR_H
#define API_NEIGHBOUR_H

#include "api/api.h"
#include "base/json_reader.h"

#define NEIGHBOUR_POINTS_MAX 4096 /* gathered before they are handed on */

struct neighbour_series {
    struct neighbour_answer *answer;
    struct series_label labels[SERIES_LABELS_MAX];
    size_t label_count;
    struct slice name;
    char names[2 * SERIES_TEXT_MAX]; /* what labels and name point into */
    size_t names_used;
    bool overflow; /* more labels or longer ones than fit */
    char text[SERIES_TEXT_MAX];
    size_t text_length; /* 0: not named, or refused */
    struct point points[NEIGHBOUR_POINTS_MAX];
    size_t point_count;
};

/* Forgets name and labels; nothing is left to hand on. */
void neighbour_begin(struct neighbour_series *series);

/* Copies. A label without a value is none; __name__ is the name. */
void neighbour_label(struct neighbour_series *series, struct slice key, struct slice value);
void neighbour_name(struct neighbour_series *series, struct slice name);

/* `name` in parts, `first` and `second` with an underscore between where both have text. */
void neighbour_name_join(struct neighbour_series *series, struct slice first, struct slice second);

/* Makes the canonical text. False where there is none: then the series is counted as refused. */
bool neighbour_named(struct neighbour_series *series);

/* One value of the series named last: NaN is missing, infinities are skipped. */
enum status neighbour_point(struct neighbour_series *series, int64_t time_ms, double value,
                            struct error *error) MUST_USE;

/* Hands on what is gathered. */
enum status neighbour_flush(struct neighbour_series *series, struct error *error) MUST_USE;

/* The key or string that was read last. */
struct slice neighbour_text(const struct json_reader *json);

/* The document is broken, or its form is not that of `wanted` ("a range query"). */
enum status neighbour_bad_form(const struct json_reader *json, enum json_token token,
                               const char *wanted, struct error *error);

static inline bool slice_is(struct slice slice, const char *text)
{
    size_t i = 0;
    while (i < slice.length && text[i] != '\0' && slice.bytes[i] == text[i]) {
        i++;
    }
    return i == slice.length && text[i] == '\0';
}

#endif
