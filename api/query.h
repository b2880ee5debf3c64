/* Query strings: percent-decoding, repeated parameters, and refusal of what is not known.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The decoded bytes live in a buffer of the query; names and values are zero-terminated and may not
 * hold zero bytes.
 */
#ifndef API_QUERY_H
#define API_QUERY_H

#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct query_parameter {
    const char *name;
    const char *value;
    size_t length; /* of the value */
};

struct query {
    struct query_parameter *parameters; /* room for `maximum` of them */
    size_t count, maximum;
    char *bytes; /* room for `capacity` decoded bytes */
    size_t capacity;
    bool line_breaks; /* tabs and line breaks are let through: somebody's text, not a name */
};

/* Takes `text` (without '?') apart. STATUS_INVALID: bad_query (bad percent sign, zero byte, control
 * character), too many parameters, too long. */
enum status query_parse(struct query *query, const char *text, struct error *error) MUST_USE;

/* Refuses parameters that are not in `known` (names separated by blanks) with unknown_parameter,
 * and such that may not repeat (`repeatable`: likewise) with repeated_parameter. */
enum status query_check(const struct query *query, const char *known, const char *repeatable,
                        struct error *error) MUST_USE;

/* The same, but what is not in `known` is let through, as often as it comes. */
enum status query_check_known(const struct query *query, const char *known, const char *repeatable,
                              struct error *error) MUST_USE;

/* The value of the first parameter of the name, NULL where there is none or where it is empty. */
const char *query_value(const struct query *query, const char *name);

/* Typed values; `preset` where the parameter is absent. */
enum status query_size(const struct query *query, const char *name, size_t minimum, size_t maximum,
                       size_t preset, size_t *value, struct error *error) MUST_USE;
/* RFC 3339 (UTC where no offset is given), milliseconds since the epoch, or "now". */
enum status query_time(const struct query *query, const char *name, int64_t preset, int64_t *value,
                       struct error *error) MUST_USE;
/* Above zero, up to QUERY_DURATION_MAX_MS: sums with moments and with each other stay in 64 bits.
 */
#define QUERY_DURATION_MAX_MS (INT64_C(36525) * 86400000) /* 100 years */
enum status query_duration(const struct query *query, const char *name, int64_t preset,
                           int64_t *value, struct error *error) MUST_USE;

/* The same for a value from elsewhere (a JSON body); `name` is what errors call it. */
enum status parse_size(const char *name, const char *text, size_t minimum, size_t maximum,
                       size_t *value, struct error *error) MUST_USE;
enum status parse_time(const char *name, const char *text, int64_t *value,
                       struct error *error) MUST_USE;
enum status parse_duration(const char *name, const char *text, int64_t *value,
                           struct error *error) MUST_USE;

/* Percent-decodes `length` bytes into `out` (zero-terminated; needs length + 1 bytes); a plus is a
 * blank where `plus`. False for a bad escape or a control character. */
bool percent_decode(const char *text, size_t length, bool plus, char *out, size_t *out_length);

/* Whether `word` is one of the blank-separated `words`. */
bool word_among(const char *words, const char *word);

#endif
