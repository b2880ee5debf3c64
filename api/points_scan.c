/* The short cut of the points reader: one pass over an object of the usual form.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The scan accepts less than JSON, never more, as long as the identity is one that the general way has
 * accepted before (the cache holds only such): strings of an unknown identity are not checked for UTF-8
 * here. The cache is mapped directly: a collision costs a look the general way, nothing else, so the
 * hash need not withstand strangers.
 */
#include "api/points_scan.h"

#include "base/json_reader.h"
#include "base/memory.h"

#include <math.h>
#include <string.h>

enum { HAS_SERIES = 1, HAS_LABELS = 2, HAS_TIME = 4, HAS_VALUE = 8 };

/* ---------------------------------------------------------------- scan */

static inline const char *skip_blanks(const char *at, const char *end)
{
    while (at < end && (*at == ' ' || *at == '\n' || *at == '\t' || *at == '\r')) {
        at++;
    }
    return at;
}

/* From behind the opening quote to the closing one; NULL where there is an escape or control byte. */
static inline const char *plain_string(const char *at, const char *end)
{
    while (at < end && *at != '"') {
        if (*at == '\\' || (unsigned char)*at < 0x20) {
            return NULL;
        }
        at++;
    }
    return at < end ? at : NULL;
}

/* From behind the opening brace of labels to the closing one; values are plain strings. */
static const char *plain_labels(const char *at, const char *end)
{
    at = skip_blanks(at, end);
    if (at < end && *at == '}') {
        return at;
    }
    for (;;) {
        for (int part = 0; part < 2; part++) {
            at = skip_blanks(at, end);
            if (at == end || *at != '"') {
                return NULL;
            }
            at = plain_string(at + 1, end);
            if (!at) {
                return NULL;
            }
            at = skip_blanks(at + 1, end);
            if (at == end || (part == 0 && *at != ':')) {
                return NULL;
            }
            at += part == 0;
        }
        if (*at == '}') {
            return at;
        }
        if (*at != ',') {
            return NULL;
        }
        at++;
    }
}

/* A whole number of up to 18 digits without a leading zero; NULL for any other. */
static inline const char *plain_integer(const char *at, const char *end, int64_t *value)
{
    const char *start = at;
    int64_t sum = 0;
    while (at < end && *at >= '0' && *at <= '9' && at - start < 19) {
        sum = sum * 10 + (*at++ - '0');
    }
    if (at == start || at - start > 18 || at == end || *start == '0' || *at == '.' || *at == 'e' ||
        *at == 'E') {
        return NULL;
    }
    *value = sum;
    return at;
}

static inline const char *plain_value(const char *at, const char *end, double *value)
{
    if (at < end && *at == 'n') {
        *value = (double)NAN;
        return end - at >= 4 && memcmp(at, "null", 4) == 0 ? at + 4 : NULL;
    }
    int64_t integer = 0;
    int is_integer = 0;
    size_t used = json_parse_number(at, (size_t)(end - at), value, &integer, &is_integer);
    return used > 0 && isfinite(*value) ? at + used : NULL;
}

/* One member's value, `at` behind the colon and blanks; returns what follows, NULL to give up. */
static inline const char *scan_member(const char *key, size_t key_length, const char *at,
                                      const char *end, unsigned *seen, struct scanned *scanned)
{
    unsigned which = 0;
    const char *after = NULL;
    if (key_length == 6 && memcmp(key, "series", 6) == 0 && at < end && *at == '"') {
        which = HAS_SERIES;
        after = plain_string(at + 1, end);
        if (after) {
            scanned->series = (struct slice){at + 1, (size_t)(after - at - 1)};
            after++;
        }
    } else if (key_length == 6 && memcmp(key, "labels", 6) == 0 && at < end && *at == '{') {
        which = HAS_LABELS;
        after = plain_labels(at + 1, end);
        if (after) {
            scanned->labels = (struct slice){at + 1, (size_t)(after - at - 1)};
            after++;
        }
    } else if (key_length == 9 && memcmp(key, "timestamp", 9) == 0) {
        which = HAS_TIME;
        after = plain_integer(at, end, &scanned->time_ms);
    } else if (key_length == 5 && memcmp(key, "value", 5) == 0) {
        which = HAS_VALUE;
        after = plain_value(at, end, &scanned->value);
    }
    if (*seen & which) {
        return NULL;
    }
    *seen |= which;
    return after;
}

void points_scan(const char *at, const char *end, struct scanned *scanned)
{
    unsigned seen = 0;
    scanned->end = NULL;
    scanned->labels = (struct slice){"", 0};
    do {
        at = skip_blanks(at + 1, end); /* behind the brace or comma */
        if (at == end || *at != '"') {
            return;
        }
        const char *key = at + 1;
        at = plain_string(key, end);
        if (!at) {
            return;
        }
        size_t key_length = (size_t)(at - key);
        at = skip_blanks(at + 1, end);
        if (at == end || *at != ':') {
            return;
        }
        at = scan_member(key, key_length, skip_blanks(at + 1, end), end, &seen, scanned);
        if (!at) {
            return;
        }
        at = skip_blanks(at, end);
    } while (at < end && *at == ',');
    if (at < end && *at == '}' && (seen & HAS_SERIES) && (seen & HAS_VALUE)) {
        scanned->has_time = seen & HAS_TIME;
        scanned->end = at + 1;
    }
}

/* ---------------------------------------------------------------- identities */

/* Eight bytes a step: multiply and fold. */
static inline uint64_t mix(uint64_t hash, const char *bytes, size_t length)
{
    while (length >= 8) {
        uint64_t word;
        memcpy(&word, bytes, 8);
        hash = (hash ^ word) * UINT64_C(0x9E3779B97F4A7C15);
        hash ^= hash >> 32;
        bytes += 8;
        length -= 8;
    }
    uint64_t rest = length;
    for (size_t i = 0; i < length; i++) {
        rest = rest << 8 | (unsigned char)bytes[i];
    }
    hash = (hash ^ rest) * UINT64_C(0x9E3779B97F4A7C15);
    return hash ^ hash >> 29;
}

enum status points_cache_new(struct points_cache **out, struct error *error)
{
    *out = mem_zeroed(1, sizeof(**out) + POINTS_CACHE_ENTRIES * sizeof((*out)->entries[0]));
    return *out ? STATUS_OK : error_set(error, STATUS_NO_MEMORY, "no memory for the names of series");
}

void points_cache_free(struct points_cache *cache)
{
    mem_free(cache);
}

static uint64_t identity_hash(struct slice series, struct slice labels)
{
    return mix(mix(1, series.bytes, series.length), labels.bytes, labels.length) | 1;
}

struct identity *points_cache_find(struct points_cache *cache, struct slice series,
                                   struct slice labels)
{
    uint64_t hash = identity_hash(series, labels);
    struct identity *entry = &cache->entries[(hash >> 20) & (POINTS_CACHE_ENTRIES - 1)];
    bool same = entry->hash == hash && entry->series_length == series.length &&
                entry->labels_length == labels.length &&
                memcmp(entry->bytes, series.bytes, series.length) == 0 &&
                memcmp(entry->bytes + series.length, labels.bytes, labels.length) == 0;
    return same ? entry : NULL;
}

void points_cache_put(struct points_cache *cache, struct slice series, struct slice labels,
                      const char *text, size_t text_length, uint32_t number)
{
    if (series.length + labels.length + text_length > sizeof(cache->entries[0].bytes)) {
        return;
    }
    uint64_t hash = identity_hash(series, labels);
    struct identity *entry = &cache->entries[(hash >> 20) & (POINTS_CACHE_ENTRIES - 1)];
    entry->hash = hash;
    entry->serial = cache->serial;
    entry->number = number;
    entry->series_length = (uint16_t)series.length;
    entry->labels_length = (uint16_t)labels.length;
    entry->text_length = (uint16_t)text_length;
    memcpy(entry->bytes, series.bytes, series.length);
    memcpy(entry->bytes + series.length, labels.bytes, labels.length);
    memcpy(entry->bytes + series.length + labels.length, text, text_length);
}
