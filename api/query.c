/* Query strings: percent-decoding, repeated parameters, and refusal of what is not known.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "api/query.h"

#include "api/points_reader.h"
#include "base/clock.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    if (c >= 'a' && c <= 'f') {
        return c - 'a' + 10;
    }
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* `spared`: control characters that are let through; NULL: none, and a plus is a plus. */
static bool decode(const char *text, size_t length, const char *spared, char *out,
                   size_t *out_length)
{
    bool plus = spared != NULL;
    size_t written = 0;
    for (size_t i = 0; i < length; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c == '%') {
            bool whole = length - i > 2;
            int high = whole ? hex_digit(text[i + 1]) : -1;
            int low = whole ? hex_digit(text[i + 2]) : -1;
            if (high < 0 || low < 0) {
                return false;
            }
            c = (unsigned char)(high * 16 + low);
            i += 2;
        } else if (c == '+' && plus) {
            c = ' ';
        }
        if ((c < 0x20 && (c == '\0' || !spared || !strchr(spared, c))) || c == 0x7f) {
            return false;
        }
        out[written++] = (char)c;
    }
    out[written] = '\0';
    *out_length = written;
    return true;
}

bool percent_decode(const char *text, size_t length, bool plus, char *out, size_t *out_length)
{
    return decode(text, length, plus ? "" : NULL, out, out_length);
}

/* One piece of the query into the buffer at *used. */
static enum status decode_piece(struct query *query, const char *text, size_t length, size_t *used,
                                const char **out, size_t *out_length, struct error *error)
{
    if (length + 1 > query->capacity - *used) {
        error_set(error, STATUS_INVALID, "the query string is longer than %zu bytes",
                  query->capacity);
        return error_code(error, "bad_query", NULL);
    }
    char *target = query->bytes + *used;
    if (!decode(text, length, query->line_breaks ? "\t\r\n" : "", target, out_length)) {
        error_set(error, STATUS_INVALID,
                  "the query string holds a bad percent escape or a control character");
        return error_code(error, "bad_query", NULL);
    }
    *used += *out_length + 1;
    *out = target;
    return STATUS_OK;
}

enum status query_parse(struct query *query, const char *text, struct error *error)
{
    size_t used = 0;
    query->count = 0;
    while (*text) {
        size_t length = strcspn(text, "&");
        if (length > 0) {
            if (query->count == query->maximum) {
                error_set(error, STATUS_INVALID, "more than %zu parameters", query->maximum);
                return error_code(error, "bad_query", NULL);
            }
            const char *equals = memchr(text, '=', length);
            size_t name_length = equals ? (size_t)(equals - text) : length;
            size_t value_start = equals ? name_length + 1 : length;
            struct query_parameter *parameter = &query->parameters[query->count];
            size_t ignored = 0;
            enum status status =
                decode_piece(query, text, name_length, &used, &parameter->name, &ignored, error);
            if (status == STATUS_OK) {
                status = decode_piece(query, text + value_start, length - value_start, &used,
                                      &parameter->value, &parameter->length, error);
            }
            if (status != STATUS_OK) {
                return status;
            }
            query->count++;
        }
        text += length + (text[length] == '&');
    }
    return STATUS_OK;
}

bool word_among(const char *words, const char *word)
{
    size_t length = strlen(word);
    for (const char *at = words; length > 0 && (at = strstr(at, word)) != NULL; at += length) {
        bool starts = at == words || at[-1] == ' ';
        if (starts && (at[length] == ' ' || at[length] == '\0')) {
            return true;
        }
    }
    return false;
}

static enum status check_once(const struct query *query, size_t index, struct error *error)
{
    const char *name = query->parameters[index].name;
    for (size_t j = 0; j < index; j++) {
        if (strcmp(query->parameters[j].name, name) == 0) {
            error_set(error, STATUS_INVALID, "the parameter \"%s\" is given twice", name);
            return error_code(error, "repeated_parameter", name);
        }
    }
    return STATUS_OK;
}

enum status query_check(const struct query *query, const char *known, const char *repeatable,
                        struct error *error)
{
    for (size_t i = 0; i < query->count; i++) {
        const char *name = query->parameters[i].name;
        if (!word_among(known, name)) {
            error_set(error, STATUS_INVALID, "unknown parameter \"%.60s\"", name);
            error_code(error, "unknown_parameter", name);
            return known[0] ? error_hint(error, "There are: %s.", known)
                            : error_hint(error, "This route takes no parameters.");
        }
        if (!word_among(repeatable, name) && check_once(query, i, error) != STATUS_OK) {
            return error->status;
        }
    }
    return STATUS_OK;
}

enum status query_check_known(const struct query *query, const char *known, const char *repeatable,
                              struct error *error)
{
    for (size_t i = 0; i < query->count; i++) {
        const char *name = query->parameters[i].name;
        if (word_among(known, name) && !word_among(repeatable, name) &&
            check_once(query, i, error) != STATUS_OK) {
            return error->status;
        }
    }
    return STATUS_OK;
}

const char *query_value(const struct query *query, const char *name)
{
    for (size_t i = 0; i < query->count; i++) {
        if (strcmp(query->parameters[i].name, name) == 0) {
            return query->parameters[i].length ? query->parameters[i].value : NULL;
        }
    }
    return NULL;
}

enum status parse_size(const char *name, const char *text, size_t minimum, size_t maximum,
                       size_t *value, struct error *error)
{
    char *end = NULL;
    errno = 0;
    unsigned long long number = strtoull(text, &end, 10);
    if (errno || *end || text[0] < '0' || text[0] > '9' || number < minimum || number > maximum) {
        error_set(error, STATUS_INVALID, "\"%s\" cannot be \"%.60s\"", name, text);
        error_code(error, "bad_parameter", name);
        return error_hint(error, "Give a whole number from %zu to %zu.", minimum, maximum);
    }
    *value = (size_t)number;
    return STATUS_OK;
}

enum status parse_time(const char *name, const char *text, int64_t *value, struct error *error)
{
    size_t length = strlen(text);
    if (strcmp(text, "now") == 0) {
        *value = clock_wall_ms();
        return STATUS_OK;
    }
    if (strspn(text + (text[0] == '-'), "0123456789") == length - (text[0] == '-') && length > 4) {
        errno = 0;
        long long number = strtoll(text, NULL, 10);
        if (errno == 0 && (number < 0 || number >= POINTS_TIME_MIN_MS)) {
            *value = number;
            return STATUS_OK;
        }
        if (errno == 0) { /* seconds, and read as they stand everything would be in range */
            error_set(error, STATUS_INVALID, "\"%s\" is %s, which would lie before 1973", name,
                      text);
            error_code(error, "bad_parameter", name);
            return error_hint(error, "Give milliseconds since 1970, or RFC 3339 such as "
                                     "2026-11-22T13:40:00Z.");
        }
    }
    struct error cause = {0};
    if (clock_parse(text, length, 0, value, &cause) == STATUS_OK) {
        return STATUS_OK;
    }
    error_set(error, STATUS_INVALID, "\"%s\" cannot be \"%.60s\"", name, text);
    error_code(error, "bad_parameter", name);
    return error_hint(error,
                      "Give RFC 3339 such as 2026-11-22T13:40:00Z, or milliseconds since 1970.");
}

enum status parse_duration(const char *name, const char *text, int64_t *value, struct error *error)
{
    struct error cause = {0};
    if (clock_parse_duration(text, strlen(text), value, &cause) == STATUS_OK && *value > 0 &&
        *value <= QUERY_DURATION_MAX_MS) {
        return STATUS_OK;
    }
    error_set(error, STATUS_INVALID, "\"%s\" cannot be \"%.60s\"", name, text);
    error_code(error, "bad_parameter", name);
    return error_hint(error,
                      "Give a duration above zero with its unit, such as 30s, 10m, 24h or 7d, "
                      "up to 100y.");
}

enum status query_size(const struct query *query, const char *name, size_t minimum, size_t maximum,
                       size_t preset, size_t *value, struct error *error)
{
    const char *text = query_value(query, name);
    *value = preset;
    return text ? parse_size(name, text, minimum, maximum, value, error) : STATUS_OK;
}

enum status query_time(const struct query *query, const char *name, int64_t preset, int64_t *value,
                       struct error *error)
{
    const char *text = query_value(query, name);
    *value = preset;
    return text ? parse_time(name, text, value, error) : STATUS_OK;
}

enum status query_duration(const struct query *query, const char *name, int64_t preset,
                           int64_t *value, struct error *error)
{
    const char *text = query_value(query, name);
    *value = preset;
    return text ? parse_duration(name, text, value, error) : STATUS_OK;
}
