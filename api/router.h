/* The route table: which method on which path, what body it may have, and who handles it.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef API_ROUTER_H
#define API_ROUTER_H

#include "api/api.h"
#include "base/token.h"

struct call;

/* A handler fills the response and returns STATUS_OK, or returns an error, which becomes a problem.
 */
typedef enum status (*route_handler)(struct call *call, struct error *error);

enum route_body {
    BODY_NONE,
    BODY_JSON,         /* a small JSON object, or nothing */
    BODY_POINTS,       /* JSON or NDJSON, up to ingest.max_body, gzip, zstd */
    BODY_LINES,        /* line protocol, likewise, whatever its type is said to be */
    BODY_REMOTE_WRITE, /* Prometheus' protobuf, snappy or zstd, up to ingest.max_body */
    BODY_OTLP,         /* OpenTelemetry's metrics, protobuf or JSON, likewise */
    BODY_VALUES,       /* JSON of many values that are not stored, up to ingest.max_body */
    BODY_FORM,         /* a small form, or nothing */
    BODY_CSV,          /* text/csv, likewise; the body itself may be a gzip file */
};

/* Who may: the bits of base/token.h, or nobody in particular. A row without one does not compile.
 */
enum {
    SCOPE_READ = TOKEN_READ,
    SCOPE_WRITE = TOKEN_WRITE,
    SCOPE_ADMIN = TOKEN_ADMIN, /* such a request goes into the audit log */
    SCOPE_OPEN = 8,            /* without a token: says nothing about data */
    SCOPE_WHOLE = 16,          /* concerns all series: not for a token with a prefix */
};

struct route {
    enum api_method method;
    unsigned scope;       /* any of these is enough */
    const char *template; /* "/api/v1/series/{id}/points"; a label of metrics */
    enum route_body body;
    const char *parameters; /* of the query, separated by blanks; others are refused. NULL: anything
                               is let through unread */
    const char *repeatable; /* those of them that may repeat */
    route_handler fast;     /* on the network thread; may decline; NULL: none */
    route_handler handle;   /* on a worker; NULL: `fast` always answers */
};

/* The route of a request; HEAD finds GET. NULL where there is none: *allow (may be empty) then
 * lists the methods that the path has ("GET, HEAD, PATCH"). The raw text of {id} goes to *argument.
 */
const struct route *router_find(const struct api_request *request, const char **argument,
                                size_t *argument_length, char allow[64]);

const struct route *router_routes(size_t *count);
size_t router_index(const struct route *route);

/* Methods, body size, type and encoding: refused here, before the body is read. */
enum status router_check_head(const struct route *route, const struct api_request *request,
                              const struct api_limits *limits, uint64_t content_length,
                              struct error *error) MUST_USE;

#endif
