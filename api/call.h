/* One request on its way through the api: what every handler gets, and the state of a worker.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef API_CALL_H
#define API_CALL_H

#include "api/api.h"
#include "api/problem.h"
#include "api/query.h"
#include "api/router.h"
#include "api/view.h"

#define QUERY_PARAMETERS_MAX 512
#define QUERY_BYTES_MAX      (64u << 10)
#define ANSWER_BYTES_MAX     (64u << 20)
#define CONTENT_JSON         "application/json"

/* Lives on the stack of api_fast or api_handle. */
struct call {
    struct api_services *services;
    const struct view *view;   /* the series that the caller may see */
    struct api_worker *worker; /* NULL on the network thread */
    struct api_request *request;
    struct api_response *response;
    const struct api_limits *limits;
    const struct route *route;
    const char *argument; /* the {id} of the path, decoded; NULL where the route has none */
    size_t argument_length;
    struct query query;
    enum api_outcome outcome; /* API_DONE unless the handler says otherwise */
};

struct points_cache;
struct forecast_desk;

/* Big buffers are made at the first use and kept. One thread owns all of it. */
struct api_worker {
    struct api_services *services;
    struct view view; /* of the request under way; else everything */
    struct storage_reader *reader;
    struct points_cache *points_cache;
    struct forecast_desk *desk; /* forecast_make.h */
    struct query_parameter parameters[QUERY_PARAMETERS_MAX];
    char query_bytes[QUERY_BYTES_MAX];
    char argument[SERIES_TEXT_MAX];
};

/* Where a handler finds the body after its Content-Encoding (gzip, zstd; no longer than
 * ingest.max_body once unpacked); `owned` (may be NULL) is to be freed. */
enum status call_body(const struct call *call, const char **bytes, size_t *length, char **owned,
                      struct error *error) MUST_USE;

/* The series that {id} means: a numeric id or the text of a series. unknown_series,
 * bad_series_name. */
enum status call_series(const struct call *call, uint32_t *id, struct error *error) MUST_USE;

/* The series of a text as users write it. */
enum status series_by_text(const struct view *view, const char *text, size_t length, uint32_t *id,
                           struct error *error) MUST_USE;

/* 200 (or another code) with JSON. */
enum status call_json(struct call *call, int http, struct text *text, struct error *error) MUST_USE;

#endif
