/* Streaming reader of points in JSON and NDJSON: no tree, and a short cut for what machines send.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Forms
 *   {"series":"name","labels":{"key":"value"},"timestamp":T,"value":V}
 *   {"series":"name","labels":{"key":"value"},"points":[[T,V],...]}
 * one of them, an array of them, or (NDJSON) one a line. T is a number in the unit of the request
 * or a string in RFC 3339 with an offset; without "timestamp" it is now. V is a number, or null:
 * missing.
 *
 * Two ways through. The general one reads an object token by token with base/json_reader. The short
 * cut takes objects of the first form without escapes, whose "series" and "labels" bytes are in the
 * cache of identities: it costs one scan and one comparison a point. Both give the same result; a
 * test holds them against jansson.
 *
 * A document that is no JSON, or whose top is neither an object nor an array of objects, is
 * unreadable (STATUS_INVALID, code bad_json or bad_body): the caller then stores nothing. What is
 * wrong with one point is told to `refuse` and the reading goes on. Positions count points from 0.
 */
#ifndef API_POINTS_READER_H
#define API_POINTS_READER_H

#include "api/families.h"
#include "base/point.h"
#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* 1973: a number of milliseconds below is taken for one of seconds, whose year would be up to 4970,
 * and refused. Text may say any time. */
#define POINTS_TIME_MIN_MS INT64_C(94694400000)

enum time_unit { UNIT_MILLISECONDS, UNIT_SECONDS, UNIT_MICROSECONDS, UNIT_NANOSECONDS };

struct points_visitor {
    void *context;
    /* The caller's number of a series by canonical text; the handle is write_batch_series_again's,
     * kept by readers that remember series, else 0. STATUS_INVALID and STATUS_TOO_LARGE refuse the
     * points of this object, any other failure ends the reading. */
    enum status (*series)(void *context, struct slice text, uint64_t *handle, uint32_t *number,
                          struct error *error);
    /* STATUS_INVALID refuses this point, any other failure ends the reading. */
    enum status (*point)(void *context, uint32_t number, struct point point, struct error *error);
    void (*refuse)(void *context, uint64_t position, const struct error *error);
    /* The series ends here, until a newer point comes; statuses as those of `point`. Only remote
     * write can say so: readers of other forms never call it, and for them it may be NULL. */
    enum status (*end)(void *context, uint32_t number, int64_t time_ms, struct error *error);
    /* The sender says what a family of metrics is; any failure ends the reading. Remote write and
     * OTLP can; may be NULL. */
    enum status (*declare)(void *context, struct slice family, enum family_type type,
                           struct error *error);
};

struct points_options {
    enum time_unit unit;
    bool ndjson;
    int64_t now_ms;
};

/* Identities seen lately: raw bytes of "series" and "labels" -> canonical text. One reading at a
 * time. */
struct points_cache;
enum status points_cache_new(struct points_cache **out, struct error *error) MUST_USE;
void points_cache_free(struct points_cache *cache);

/* `cache` may be NULL: then every object goes the general way. */
enum status points_read(const char *body, size_t length, const struct points_options *options,
                        struct points_cache *cache, const struct points_visitor *visitor,
                        struct error *error) MUST_USE;

/* A number as time in milliseconds: bad_timestamp, or timestamp_unit where it would lie before
 * 1973. */
enum status points_time(double number, int64_t integer, bool is_integer, enum time_unit unit,
                        int64_t *time_ms, struct error *error) MUST_USE;

#endif
