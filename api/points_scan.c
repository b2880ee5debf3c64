/* The short cut of the points reader: one pass over an object of the usual form.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The scan accepts less than JSON, never more, as long as the identity is one that the general way
 * has accepted before (the cache holds only such): strings of an unknown identity are not checked
 * for UTF-8 here. The cache has sets of four: a crowded set costs a look the general way, nothing
 * else, so a quick hash will do; its key, drawn for each cache, keeps strangers from crowding one.
 */
#include "api/points_scan.h"

#include "base/json_reader.h"
#include "base/memory.h"
#include "base/random.h"

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

/* From behind the opening quote to the closing one; NULL where there is an escape or control byte.
 */
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
    while (at < end && *at >= '0' && *at <= '9' && at - start < 18) {
        sum = sum * 10 + (*at++ - '0');
    }
    bool longer =
        at < end && ((*at >= '0' && *at <= '9') || *at == '.' || *at == 'e' || *at == 'E');
    if (at == start || at == end || *start == '0' || longer) {
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

/* The member whose opening quote is at `at`: its bit, and where the quote ends; 0 for another. */
static inline unsigned known_key(const char *at, const char *end, const char **after)
{
    static const struct {
        const char *key;
        unsigned length, bit;
    } keys[] = {{"\"series\"", 8, HAS_SERIES},
                {"\"labels\"", 8, HAS_LABELS},
                {"\"timestamp\"", 11, HAS_TIME},
                {"\"value\"", 7, HAS_VALUE}};
    unsigned which;
    if (end - at < 12) {
        return 0; /* the rest of the shortest object is longer: let the general way find the end */
    }
    switch (at[1]) {
    case 's':
        which = 0;
        break;
    case 'l':
        which = 1;
        break;
    case 't':
        which = 2;
        break;
    default:
        which = 3;
        break;
    }
    if (memcmp(at, keys[which].key, keys[which].length) != 0) {
        return 0;
    }
    *after = at + keys[which].length;
    return keys[which].bit;
}

/* A member's value, `at` behind the colon and blanks; returns what follows, NULL to give up. */
static inline const char *scan_member(unsigned which, const char *at, const char *end,
                                      struct scanned *scanned)
{
    const char *after = NULL;
    switch (which) {
    case HAS_SERIES:
        after = at < end && *at == '"' ? plain_string(at + 1, end) : NULL;
        if (after) {
            scanned->series = (struct slice){at + 1, (size_t)(after - at - 1)};
            after++;
        }
        return after;
    case HAS_LABELS:
        after = at < end && *at == '{' ? plain_labels(at + 1, end) : NULL;
        if (after) {
            scanned->labels = (struct slice){at + 1, (size_t)(after - at - 1)};
            after++;
        }
        return after;
    case HAS_TIME:
        return plain_integer(at, end, &scanned->time_ms);
    default:
        return plain_value(at, end, &scanned->value);
    }
}

void points_scan(const char *at, const char *end, struct scanned *scanned)
{
    unsigned seen = 0;
    scanned->end = NULL;
    scanned->labels = (struct slice){"", 0};
    do {
        at = skip_blanks(at + 1, end); /* behind the brace or comma */
        unsigned which = known_key(at, end, &at);
        if (which == 0 || (seen & which)) {
            return;
        }
        seen |= which;
        at = skip_blanks(at, end);
        if (at == end || *at != ':') {
            return;
        }
        at = scan_member(which, skip_blanks(at + 1, end), end, scanned);
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
    *out = mem_zeroed(1, sizeof(**out));
    if (!*out) {
        return error_set(error, STATUS_NO_MEMORY, "no memory for the names of series");
    }
    random_secret(&(*out)->key, sizeof((*out)->key));
    return STATUS_OK;
}

void points_cache_free(struct points_cache *cache)
{
    mem_free(cache);
}

static inline uint64_t identity_hash(uint64_t key, struct slice series, struct slice labels)
{
    return mix(mix(key, series.bytes, series.length), labels.bytes, labels.length) | 1;
}

static inline bool same_identity(const struct identity *entry, struct slice series,
                                 struct slice labels)
{
    return entry->series_length == series.length && entry->labels_length == labels.length &&
           memcmp(entry->bytes, series.bytes, series.length) == 0 &&
           memcmp(entry->bytes + series.length, labels.bytes, labels.length) == 0;
}

struct identity *points_cache_find(struct points_cache *cache, struct slice series,
                                   struct slice labels)
{
    uint32_t guess = cache->next < cache->count ? cache->next : 0;
    if (guess < cache->count && same_identity(&cache->entries[guess], series, labels)) {
        cache->next = guess + 1;
        return &cache->entries[guess];
    }
    uint64_t hash = identity_hash(cache->key, series, labels);
    size_t set = (hash >> 20) & (POINTS_CACHE_SETS - 1);
    for (size_t way = 0; way < POINTS_CACHE_WAYS; way++) {
        uint32_t index = cache->indices[set][way];
        if (cache->hashes[set][way] == hash &&
            same_identity(&cache->entries[index], series, labels)) {
            cache->next = index + 1;
            return &cache->entries[index];
        }
    }
    return NULL;
}

/* An empty place of the set, or the one whose series was met longest ago. */
static size_t choose_way(const struct points_cache *cache, size_t set)
{
    size_t chosen = 0;
    for (size_t way = 0; way < POINTS_CACHE_WAYS; way++) {
        if (cache->hashes[set][way] == 0) {
            return way;
        }
        if (cache->entries[cache->indices[set][way]].serial <
            cache->entries[cache->indices[set][chosen]].serial) {
            chosen = way;
        }
    }
    return chosen;
}

enum status points_cache_number(struct points_cache *cache, struct identity *identity,
                                const struct points_visitor *visitor, struct error *error)
{
    if (identity->serial == cache->serial) {
        return STATUS_OK;
    }
    enum status status = visitor->series(visitor->context, identity_text(identity),
                                         &identity->handle, &identity->number, error);
    if (status == STATUS_OK) {
        identity->serial = cache->serial;
    }
    return status;
}

struct identity *points_cache_put(struct points_cache *cache, struct slice series,
                                  struct slice labels, struct slice text)
{
    uint64_t hash = identity_hash(cache->key, series, labels);
    size_t set = (hash >> 20) & (POINTS_CACHE_SETS - 1);
    size_t way = choose_way(cache, set);
    if (series.length + labels.length + text.length > sizeof(cache->entries[0].bytes)) {
        return NULL;
    }
    if (cache->hashes[set][way] == 0) { /* as many entries as places: there is always one left */
        cache->indices[set][way] = (uint16_t)cache->count++;
    }
    struct identity *entry = &cache->entries[cache->indices[set][way]];
    cache->next = cache->indices[set][way] + 1u;
    cache->hashes[set][way] = hash;
    entry->serial = cache->serial;
    entry->series_length = (uint16_t)series.length;
    entry->labels_length = (uint16_t)labels.length;
    entry->text_length = (uint16_t)text.length;
    memcpy(entry->bytes, series.bytes, series.length);
    memcpy(entry->bytes + series.length, labels.bytes, labels.length);
    memcpy(entry->bytes + series.length + labels.length, text.bytes, text.length);
    return entry;
}
