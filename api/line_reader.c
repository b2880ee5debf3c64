/* Streaming reader of InfluxDB line protocol: one pass, no allocation.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "api/line_scan.h"

#include "api/points_scan.h"
#include "base/clock.h"

#include <stdio.h>
#include <string.h>

#define SHOWN_BYTES_MAX 100 /* of a line, in an error */

/* One reading. */
struct reading {
    const char *end;
    const struct line_options *options;
    struct points_cache *cache;
    const struct points_visitor *visitor;
    struct line_skipped *skipped;
    uint64_t line; /* the number of the line now */
};

/* One line. Its points wait for the time, which comes last. */
struct line {
    struct slice key;
    const struct identity *expected; /* the entry by which the key was known; NULL: by its form */
    size_t count;
    uint64_t strings, booleans;
    struct error fault; /* the first series that was refused; STATUS_OK: none */
    struct {
        uint32_t number;
        double value;
    } points[LINE_FIELDS_MAX];
};

/* ---------------------------------------------------------------- what is wrong with a line */

static void refuse_line(struct reading *reading, const struct error *fault)
{
    reading->visitor->refuse(reading->visitor->context, reading->line, fault);
}

static void add_line_text(struct error *fault, const char *begin, const char *end,
                          const char *reason)
{
    size_t length = (size_t)(end - begin);
    bool cut = length > SHOWN_BYTES_MAX;
    error_set(fault, STATUS_INVALID, "unable to parse '%.*s%s': %s",
              (int)(cut ? SHOWN_BYTES_MAX : length), begin, cut ? "..." : "", reason);
}

/* Refuses the line and returns its end. */
static const char *refuse_syntax(struct reading *reading, const char *begin, const char *reason)
{
    struct error fault;
    const char *end = line_find_end(begin, reading->end);
    const char *shown = end > begin && end[-1] == '\r' ? end - 1 : end;
    add_line_text(&fault, begin, shown, reason);
    error_code(&fault, "bad_line", NULL);
    refuse_line(reading, &fault);
    for (const char *at = begin; at < end; at++) { /* inside strings */
        reading->line += *at == '\n';
    }
    return end;
}

/* ---------------------------------------------------------------- series */

/* Entries of lines end with the equals sign of their field. Those of JSON, in the same cache, end
 * with a quote or a blank, or are empty. */
static inline bool is_of_a_line(const struct identity *entry)
{
    return entry->labels_length > 0 &&
           entry->bytes[entry->series_length + entry->labels_length - 1] == '=';
}

/* The entry behind the one met last: bodies repeat their order. */
static inline struct identity *expected_entry(struct points_cache *cache)
{
    uint32_t guess = cache->next < cache->count ? cache->next : 0;
    return guess < cache->count && is_of_a_line(&cache->entries[guess]) ? &cache->entries[guess]
                                                                        : NULL;
}

/* The key of a line: known without looking for its end where it is the expected one. */
static const char *read_key(struct reading *reading, struct line *line, const char *at,
                            const char **fault)
{
    struct identity *entry = reading->cache ? expected_entry(reading->cache) : NULL;
    if (entry && (size_t)(reading->end - at) > entry->series_length &&
        at[entry->series_length] == ' ' && memcmp(at, entry->bytes, entry->series_length) == 0) {
        line->expected = entry;
        return at + entry->series_length;
    }
    line->expected = NULL;
    return line_scan_key(at, reading->end, fault);
}

/* The expected entry where the line goes on with its field; NULL where it does not. */
static struct identity *expected_field(struct reading *reading, const struct line *line,
                                       const char *at)
{
    struct points_cache *cache = reading->cache;
    struct identity *entry = cache ? expected_entry(cache) : NULL;
    if (!entry || (size_t)(reading->end - at) <= entry->labels_length ||
        memcmp(at, entry->bytes + entry->series_length, entry->labels_length) != 0) {
        return NULL;
    }
    bool same_key =
        entry == line->expected || (entry->series_length == line->key.length &&
                                    memcmp(entry->bytes, line->key.bytes, line->key.length) == 0);
    if (same_key) {
        cache->next = (uint32_t)(entry - cache->entries) + 1;
    }
    return same_key ? entry : NULL;
}

/* The series of a field that was not seen before, or whose number is of an earlier reading. */
static enum status look_up(struct reading *reading, const struct line *line, struct slice field,
                           uint32_t *number, struct error *error)
{
    char text[SERIES_TEXT_MAX];
    size_t length = 0;
    struct slice name = {field.bytes, field.length - 1};
    enum status status = line_series(line->key, name, text, &length, error);
    struct slice canonical = {text, length};
    uint64_t handle = 0;
    if (status == STATUS_OK) {
        status =
            reading->visitor->series(reading->visitor->context, canonical, &handle, number, error);
    }
    struct identity *entry = status == STATUS_OK && reading->cache
                                 ? points_cache_put(reading->cache, line->key, field, canonical)
                                 : NULL;
    if (entry) {
        entry->number = *number;
        entry->handle = handle;
    }
    return status;
}

/* One field: its key with the equals sign, and its entry where that was the expected one. */
struct field {
    struct slice key;
    struct identity *entry;
    double value;
};

/* Adds one numeric field to the line. */
static enum status add_field(struct reading *reading, struct line *line, const struct field *field,
                             struct error *error)
{
    struct identity *entry = field->entry;
    if (!entry && reading->cache) {
        entry = points_cache_find(reading->cache, line->key, field->key);
    }
    struct error fault;
    uint32_t number = 0;
    enum status status = entry
                             ? points_cache_number(reading->cache, entry, reading->visitor, &fault)
                             : look_up(reading, line, field->key, &number, &fault);
    if (status == STATUS_OK) {
        line->points[line->count].number = entry ? entry->number : number;
        line->points[line->count++].value = field->value;
        return STATUS_OK;
    }
    if (status != STATUS_INVALID && status != STATUS_TOO_LARGE) {
        *error = fault;
        return status;
    }
    if (line->fault.status == STATUS_OK) {
        line->fault = fault;
    }
    return STATUS_OK;
}

/* ---------------------------------------------------------------- a line */

/* All fields; returns what follows them, NULL where *fault or `error` says why not. */
static const char *read_fields(struct reading *reading, struct line *line, const char *at,
                               const char **fault, struct error *error)
{
    for (;;) {
        enum line_value kind;
        struct field field = {{at, 0}, expected_field(reading, line, at), 0.0};
        if (field.entry) {
            field.key.length = field.entry->labels_length;
        } else {
            const char *equals = line_scan_field(at, reading->end, fault);
            if (!equals) {
                return NULL;
            }
            field.key.length = (size_t)(equals + 1 - at);
        }
        const char *after =
            line_scan_value(at + field.key.length, reading->end, &kind, &field.value, fault);
        if (!after) {
            return NULL;
        }
        line->strings += kind == LINE_STRING;
        line->booleans += kind == LINE_BOOLEAN;
        if (kind == LINE_NUMBER && line->count == LINE_FIELDS_MAX) {
            *fault = "too many fields";
            return NULL;
        }
        if (kind == LINE_NUMBER && add_field(reading, line, &field, error) != STATUS_OK) {
            return NULL;
        }
        at = after;
        if (at == reading->end || *at != ',') {
            return at;
        }
        at++;
    }
}

/* Hands the points of a line on. */
static enum status give_line(struct reading *reading, struct line *line, int64_t time_ms,
                             struct error *error)
{
    const struct points_visitor *visitor = reading->visitor;
    struct error fault;
    for (size_t i = 0; i < line->count; i++) {
        struct point point = {time_ms, line->points[i].value};
        enum status status =
            visitor->point(visitor->context, line->points[i].number, point, &fault);
        if (status == STATUS_INVALID) {
            line->fault = fault;
            break;
        }
        if (status != STATUS_OK) {
            *error = fault;
            return status;
        }
    }
    reading->skipped->strings += line->strings;
    reading->skipped->booleans += line->booleans;
    if (line->fault.status != STATUS_OK) {
        refuse_line(reading, &line->fault);
    }
    return STATUS_OK;
}

/* A time before 1973 is one of another unit. */
static const char *check_time(int64_t time_ms)
{
    struct error ignored;
    int64_t same = 0;
    return points_time((double)time_ms, time_ms, true, UNIT_MILLISECONDS, &same, &ignored) ==
                   STATUS_OK
               ? NULL
               : "the time lies before 1973: \"precision\" names its unit";
}

/* One line that is neither empty nor a comment; *at moves to its end. */
static enum status read_line(struct reading *reading, struct line *line, const char **at,
                             struct error *error)
{
    const char *fault = NULL, *begin = *at;
    int64_t time_ms = reading->options->now_ms;
    line->count = 0;
    line->strings = line->booleans = 0;
    line->fault.status = STATUS_OK;
    const char *next = read_key(reading, line, begin, &fault);
    if (next) {
        line->key = (struct slice){begin, (size_t)(next - begin)};
        while (next < reading->end && (*next == ' ' || *next == '\t')) {
            next++;
        }
        error->status = STATUS_OK;
        next = read_fields(reading, line, next, &fault, error);
        if (error->status != STATUS_OK) {
            return error->status;
        }
    }
    if (next) {
        next = line_scan_time(next, reading->end, reading->options->precision, &time_ms, &fault);
    }
    if (next && (size_t)(next - begin) > LINE_BYTES_MAX) {
        fault = "the line is longer than 65536 bytes";
    } else if (next) {
        fault = check_time(time_ms);
    }
    if (fault) {
        *at = refuse_syntax(reading, begin, fault);
        return STATUS_OK;
    }
    *at = next;
    enum status status = give_line(reading, line, time_ms, error);
    if (line->strings > 0) {
        for (const char *c = begin; c < next; c++) {
            reading->line += *c == '\n';
        }
    }
    return status;
}

enum status line_read(const char *body, size_t length, const struct line_options *options,
                      struct points_cache *cache, const struct points_visitor *visitor,
                      struct line_skipped *skipped, struct error *error)
{
    const char *at = body;
    struct reading reading = {body + length, options, cache, visitor, skipped, 1};
    struct line line; /* set field by field: clearing the room for points would cost more */
    *skipped = (struct line_skipped){0, 0};
    if (cache) {
        cache->serial++;
    }
    while (at < reading.end) {
        while (at < reading.end && (*at == ' ' || *at == '\t')) {
            at++;
        }
        if (at < reading.end && *at == '#') {
            const char *feed = memchr(at, '\n', (size_t)(reading.end - at));
            at = feed ? feed : reading.end;
        } else if (line_ends(at, reading.end)) {
            at += at < reading.end && *at == '\r';
        } else if (read_line(&reading, &line, &at, error) != STATUS_OK) {
            return error->status;
        }
        at += at < reading.end; /* the line feed */
        reading.line++;
    }
    return STATUS_OK;
}
