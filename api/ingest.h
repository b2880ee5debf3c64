/* Points on their way to the store: limits on time, one batch a request, an answer after the
 * commit. SPDX-License-Identifier: Apache-2.0
 */
#ifndef API_INGEST_H
#define API_INGEST_H

#include "api/call.h"
#include "api/points_reader.h"
#include "api/refusals.h"

struct ingest_counts {
    uint64_t accepted, updated; /* points, as the writer counts them */
    uint64_t ended;             /* stale markers stored */
    uint64_t refused;
};

/* How a route answers. Head and tail of the body are apart, because the counts are known only after
 * the commit, when nothing may fail any more. */
struct ingest_form {
    /* Before the commit: what can be said by then; `refusals` NULL: none. */
    void (*write_tail)(const struct refusals *refusals, const char *request_id, struct text *tail);
    /* After it: status, type, headers, and what stands before the tail; returns its length. */
    size_t (*begin)(struct api_response *response, const struct ingest_counts *counts,
                    char head[REFUSALS_HEAD_MAX]);
};

/* A body and the one who reads it: `read` hands everything to the visitor. */
struct ingest_source {
    const struct ingest_form *form;
    int64_t now_ms;
    void *context;
    enum status (*read)(void *context, const struct points_visitor *visitor, struct error *error);
};

/* Reads the whole body, then submits what is good as one batch. On STATUS_OK the response is filled
 * (nothing to store: API_DONE) or will be when the commit is on disk (call->outcome API_PENDING).
 * On any error nothing was or will be stored. `source` is used up when this returns. */
enum status ingest_take(struct call *call, const struct ingest_source *source,
                        struct error *error) MUST_USE;

/* The same of points as JSON or NDJSON, answered by counts. */
enum status ingest_points(struct call *call, const char *body, size_t length,
                          const struct points_options *options, struct points_cache *cache,
                          struct error *error) MUST_USE;

#endif
