/* A slow and obvious reader of line protocol in nanoseconds, to hold the fast one against.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "line_oracle.h"

#include "base/series_name.h"

#include <errno.h>
#include <regex.h>
#include <stdlib.h>
#include <string.h>

#define PART_MAX   2048
#define FIELDS_MAX 64

struct parts {
    char name[PART_MAX];
    char keys[SERIES_LABELS_MAX][PART_MAX], values[SERIES_LABELS_MAX][PART_MAX];
    size_t tags;
    char fields[FIELDS_MAX][PART_MAX];
    double numbers[FIELDS_MAX];
    size_t count;
    int64_t time_ms;
};

static bool fits(const char *expression, const char *text)
{
    regex_t regex;
    if (regcomp(&regex, expression, REG_EXTENDED | REG_NOSUB) != 0) {
        abort();
    }
    bool found = regexec(&regex, text, 0, NULL, 0) == 0;
    regfree(&regex);
    return found;
}

/* The length of the line that begins here. */
static size_t line_length(const char *text)
{
    size_t i = 0;
    while (text[i] && text[i] != '\n' && !(text[i] == ' ' && (i == 0 || text[i - 1] != '\\'))) {
        i++;
    }
    while (text[i] && text[i] != '\n') {
        if (text[i] == '=' && text[i + 1] == '"') {
            i += 2;
            while (text[i] && text[i] != '"') {
                i += text[i] == '\\' && text[i + 1] ? 2 : 1;
            }
            if (!text[i]) {
                return i;
            }
            i++;
        } else if (text[i] == '\\' && text[i + 1] && text[i + 1] != '\n') {
            i += 2;
        } else {
            i++;
        }
    }
    return i;
}

/* Copies up to the first of `stops` that has no backslash in front; returns how far that is. The
 * copy has no backslash in front of `special`. */
static size_t copy_part(const char *from, const char *stops, const char *special, char *out)
{
    size_t i = 0, used = 0;
    for (; from[i] && (!strchr(stops, from[i]) || (i > 0 && from[i - 1] == '\\')); i++) {
        if (from[i] == '\\' && from[i + 1] && strchr(special, from[i + 1])) {
            continue;
        }
        out[used++] = from[i];
    }
    out[used] = '\0';
    return i;
}

/* Keys of labels: letters, digits and a few more; anything else becomes an underscore. */
static void clean(char *key)
{
    char out[PART_MAX];
    size_t used = 0;
    for (size_t i = 0; key[i]; i++) {
        if (((unsigned char)key[i] & 0xc0) == 0x80) {
            continue;
        }
        char one[2] = {key[i], 0};
        out[used++] = fits(i ? "^[A-Za-z0-9_.-]$" : "^[A-Za-z_]$", one) ? key[i] : '_';
    }
    out[used] = '\0';
    strcpy(key, out);
}

static const char *read_key(const char **at, struct parts *parts)
{
    if (**at == ',') {
        return "missing measurement";
    }
    *at += copy_part(*at, ", ", ", ", parts->name);
    while (**at == ',') {
        char *key = parts->keys[parts->tags], *value = parts->values[parts->tags];
        (*at)++;
        size_t length = copy_part(*at, ",= ", ",= ", key);
        if (length == 0) {
            return "missing tag key";
        }
        *at += length;
        if (**at != '=') {
            return "missing tag value";
        }
        (*at)++;
        length = copy_part(*at, ",= ", ",= ", value);
        *at += length;
        if (**at == '=') {
            return "invalid tag format";
        }
        if (length == 0) {
            return "missing tag value";
        }
        clean(key);
        parts->tags++;
    }
    return **at ? NULL : "missing fields";
}

static const char *read_value(const char *value, double *number, bool *numeric)
{
    char *end;
    errno = 0;
    *numeric = false;
    if (value[0] == '\0') {
        return "missing field value";
    }
    if (fits("^(t|T|true|True|TRUE|f|F|false|False|FALSE)$", value)) {
        return NULL;
    }
    if (!fits("^[-.0-9nN]", value)) {
        return "invalid boolean";
    }
    *numeric = true;
    if (fits("^-?[0-9]+i$", value)) {
        *number = (double)strtoll(value, &end, 10);
        return errno ? "invalid number" : NULL;
    }
    if (fits("^[0-9]+u$", value)) {
        *number = (double)strtoull(value, &end, 10);
        return errno ? "invalid number" : NULL;
    }
    if (!fits("^-?([0-9]+\\.?[0-9]*|\\.[0-9]+)([eE][-+]?[0-9]+)?$", value)) {
        return "invalid number";
    }
    *number = strtod(value, &end);
    return *number > 1.7976931348623157e308 || *number < -1.7976931348623157e308 ? "invalid number"
                                                                                 : NULL;
}

/* One `key=value`; the value's end is at *at. */
static const char *read_field(const char **at, struct parts *parts)
{
    char raw[PART_MAX], value[PART_MAX];
    size_t length = 0;
    const char *from = *at;
    while (from[length] && !strchr(",= ", from[length])) {
        length += from[length] == '\\' && from[length + 1] ? 2 : 1;
    }
    if (from[length] != '=') {
        return "invalid field format";
    }
    if (length == 0) {
        return "missing field key";
    }
    memcpy(raw, from, length);
    raw[length] = '\0';
    copy_part(raw, "", ",= \"", parts->fields[parts->count]);
    *at += length + 1;
    if (**at == '"') {
        const char *close = *at + 1;
        while (*close && *close != '"') {
            close += *close == '\\' && close[1] ? 2 : 1;
        }
        if (!*close) {
            return "unbalanced quotes";
        }
        *at = close + 1;
        return **at && !strchr(", \t", **at) ? "invalid field format" : NULL;
    }
    bool numeric = false;
    length = strcspn(*at, ", \t");
    memcpy(value, *at, length);
    value[length] = '\0';
    *at += length;
    const char *fault = read_value(value, &parts->numbers[parts->count], &numeric);
    parts->count += !fault && numeric;
    return fault;
}

static const char *read_time(const char *at, struct parts *parts)
{
    at += strspn(at, " \t");
    if (!*at) {
        return NULL;
    }
    char word[PART_MAX];
    size_t length = strcspn(at, " \t");
    memcpy(word, at, length);
    word[length] = '\0';
    if (!fits("^-?[0-9]+$", word)) {
        return "bad timestamp";
    }
    if (at[length + strspn(at + length, " \t")]) {
        return "point is invalid";
    }
    char *end;
    errno = 0;
    long long stamp = strtoll(word, &end, 10);
    if (errno) {
        return "time outside range";
    }
    parts->time_ms = stamp / 1000000 - (stamp % 1000000 < 0);
    return parts->time_ms < INT64_C(94694400000)
               ? "the time lies before 1973: \"precision\" names its unit"
               : NULL;
}

static const char *read_parts(const char *at, struct parts *parts)
{
    const char *fault = read_key(&at, parts);
    if (fault) {
        return fault;
    }
    at += strspn(at, " \t");
    if (!*at) {
        return "missing fields";
    }
    fault = read_field(&at, parts);
    while (!fault && *at == ',') {
        at++;
        fault = *at ? read_field(&at, parts) : "invalid field format";
    }
    return fault ? fault : read_time(at, parts);
}

static enum status find_series(struct parts *parts, size_t field,
                               const struct points_visitor *visitor, uint32_t *number,
                               struct error *error)
{
    struct series_label labels[SERIES_LABELS_MAX];
    char name[2 * PART_MAX + 2], text[SERIES_TEXT_MAX];
    size_t length = 0;
    strcpy(name, parts->name);
    strcat(name, "_");
    strcat(name, parts->fields[field]);
    for (size_t i = 0; i < parts->tags; i++) {
        labels[i].key = (struct slice){parts->keys[i], strlen(parts->keys[i])};
        labels[i].value = (struct slice){parts->values[i], strlen(parts->values[i])};
    }
    if (series_name_write((struct slice){name, strlen(name)}, labels, parts->tags, text, &length,
                          error) != STATUS_OK) {
        if (error->code && strcmp(error->code, "duplicate_label") == 0) {
            error_set(error, STATUS_INVALID, "duplicate tags");
        }
        return error->status;
    }
    uint64_t handle = 0;
    return visitor->series(visitor->context, (struct slice){text, length}, &handle, number, error);
}

static void read_line(const char *line, uint64_t number, int64_t now_ms,
                      const struct points_visitor *visitor)
{
    struct parts *parts = malloc(sizeof(*parts));
    struct error error = {0}, first = {0};
    uint32_t numbers[FIELDS_MAX];
    bool good[FIELDS_MAX];
    if (!parts) {
        abort();
    }
    parts->tags = parts->count = 0;
    parts->time_ms = now_ms;
    const char *fault = read_parts(line, parts);
    if (fault) {
        error_set(&first, STATUS_INVALID, "%s", fault);
        parts->count = 0;
    }
    for (size_t i = 0; i < parts->count; i++) {
        good[i] = find_series(parts, i, visitor, &numbers[i], &error) == STATUS_OK;
        if (!good[i] && first.status == STATUS_OK) {
            first = error;
        }
    }
    for (size_t i = 0; i < parts->count; i++) {
        struct point point = {parts->time_ms, parts->numbers[i]};
        if (good[i] && visitor->point(visitor->context, numbers[i], point, &error) != STATUS_OK) {
            first = error;
            break;
        }
    }
    if (first.status != STATUS_OK) {
        visitor->refuse(visitor->context, number, &first);
    }
    free(parts);
}

void line_oracle(const char *body, size_t length, int64_t now_ms,
                 const struct points_visitor *visitor)
{
    char *text = calloc(length + 1, 1);
    if (!text) {
        abort();
    }
    memcpy(text, body, length);
    uint64_t number = 1;
    for (char *at = text; *at;) {
        at += strspn(at, " \t");
        size_t comment = strcspn(at, "\n");
        size_t line = *at == '#' ? comment : line_length(at);
        uint64_t feeds = 0;
        for (size_t i = 0; i < line; i++) {
            feeds += at[i] == '\n';
        }
        bool last = at[line] == '\0', comments = *at == '#';
        at[line] = '\0';
        if (line > 0 && at[line - 1] == '\r') {
            at[line - 1] = '\0';
        }
        if (*at && !comments) {
            read_line(at, number, now_ms, visitor);
        }
        number += feeds + 1;
        at += line + !last;
    }
    free(text);
}
