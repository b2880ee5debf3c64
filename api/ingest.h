/* Points on their way to the store: limits on time, one batch a request, an answer after the
 * commit. SPDX-License-Identifier: Apache-2.0
 */
#ifndef API_INGEST_H
#define API_INGEST_H

#include "api/call.h"
#include "api/points_reader.h"
#include "api/refusals.h"

/* Whether the store may have a point of this time: too_far_future, too_old. */
enum status ingest_check_time(const struct api_limits *limits, int64_t now_ms, int64_t time_ms,
                              struct error *error) MUST_USE;

/* How a protocol's body is read and its request answered. */
struct ingest_format {
    /* Hands all points of a body to the visitor; refusals are told to it. */
    enum status (*read)(const void *options, const char *body, size_t length,
                        struct points_cache *cache, const struct points_visitor *visitor,
                        struct error *error);
    /* The body of the answer but for the counts; `refusals` NULL: none. `points` are to be stored.
     */
    void (*write)(const struct refusals *refusals, const char *request_id, size_t points,
                  struct text *text);
    /* The counts stand in front of it, as refusals_format_head writes them. */
    bool with_counts;
    int status_stored, status_refused; /* 200 and 422, or what the protocol says */
    const char *type_refused;          /* content type of the answer that tells of refusals */
    /* Headers of the protocol; cannot fail. May be NULL. */
    void (*add_headers)(struct api_response *response, uint64_t refused);
};

/* Reads the whole body, then submits what is good as one batch. On STATUS_OK the response is filled
 * (nothing to store: API_DONE) or will be when the commit is on disk (call->outcome API_PENDING).
 * On any error nothing was or will be stored. */
struct ingest_source {
    const struct ingest_format *format;
    const void *options; /* of the format's reader */
    struct points_cache *cache;
    int64_t now_ms;
};
enum status ingest_body(struct call *call, const struct ingest_source *source, const char *body,
                        size_t length, struct error *error) MUST_USE;

/* A route's whole work, on the network thread (small plain bodies; others are declined) or on a
 * worker: finds the body and a cache, and calls `take`. */
typedef enum status (*ingest_take)(struct call *call, const char *body, size_t length,
                                   struct points_cache *cache, struct error *error);
enum status ingest_fast(struct call *call, ingest_take take, struct error *error) MUST_USE;
enum status ingest_handle(struct call *call, ingest_take take, struct error *error) MUST_USE;

#endif
