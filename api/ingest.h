/* Points on their way to the store: limits on time, one batch a request, an answer after the
 * commit. SPDX-License-Identifier: Apache-2.0
 */
#ifndef API_INGEST_H
#define API_INGEST_H

#include "api/call.h"
#include "api/points_reader.h"

/* Whether the store may have a point of this time: too_far_future, too_old. */
enum status ingest_check_time(const struct api_limits *limits, int64_t now_ms, int64_t time_ms,
                              struct error *error) MUST_USE;

/* Reads the whole body, then submits what is good as one batch. On STATUS_OK the response is filled
 * (nothing to store: API_DONE) or will be when the commit is on disk (call->outcome API_PENDING).
 * On any error nothing was or will be stored. */
enum status ingest_points(struct call *call, const char *body, size_t length,
                          const struct points_options *options, struct points_cache *cache,
                          struct error *error) MUST_USE;

#endif
