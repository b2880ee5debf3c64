/* The short cut of the points reader: one pass over an object of the usual form; private to api/.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef API_POINTS_SCAN_H
#define API_POINTS_SCAN_H

#include "api/points_reader.h"
#include "base/series_name.h"

/* What the scan found. Raw slices: the string of "series" without quotes, the inside of "labels".
 */
struct scanned {
    const char
        *end; /* behind the closing brace; NULL: not of the usual form, read it the general way */
    struct slice series, labels;
    int64_t time_ms; /* in the unit of the request, not yet scaled */
    double value;
    bool has_time;
};

/* `at` stands on an opening brace. Plain strings only, each member at most once, whole timestamps.
 */
void points_scan(const char *at, const char *end, struct scanned *scanned);

#define POINTS_CACHE_SETS 1024u /* a power of two */
#define POINTS_CACHE_WAYS 4u

/* One remembered identity. `number` is valid for the reading with the same serial. */
struct identity {
    uint64_t serial;
    uint64_t handle; /* the visitor's, from one reading to the next */
    uint32_t number;
    uint16_t series_length, labels_length, text_length;
    char bytes[486]; /* series, labels, canonical text */
};

static inline struct slice identity_text(const struct identity *identity)
{
    return (struct slice){identity->bytes + identity->series_length + identity->labels_length,
                          identity->text_length};
}

/* Entries stand in the order in which they were first met. Bodies repeat that order, so the entry
 * behind the last one is tried first: no hash, and memory is read in a row. */
struct points_cache {
    uint64_t key;    /* of the hashes; drawn when it is made */
    uint64_t serial; /* of the reading now */
    uint32_t count;  /* of entries in use */
    uint32_t next;   /* the one to try first */
    uint64_t hashes[POINTS_CACHE_SETS][POINTS_CACHE_WAYS]; /* 0: empty */
    uint16_t indices[POINTS_CACHE_SETS][POINTS_CACHE_WAYS];
    struct identity entries[POINTS_CACHE_SETS * POINTS_CACHE_WAYS];
};

/* NULL where it is not known. */
struct identity *points_cache_find(struct points_cache *cache, struct slice series,
                                   struct slice labels);

/* Remembers it in place of what was there; number and handle are the caller's to set. NULL where it
 * is too long. */
struct identity *points_cache_put(struct points_cache *cache, struct slice series,
                                  struct slice labels, struct slice text);

/* The number of a remembered series in the reading now; statuses are the visitor's. */
enum status points_cache_number(struct points_cache *cache, struct identity *identity,
                                const struct points_visitor *visitor, struct error *error);

#endif
