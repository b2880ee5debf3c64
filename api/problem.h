/* Errors on the wire: one switch from status to HTTP code, one table of codes, RFC 9457 bodies.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A body is {"type","title","status","detail","code","param","hint","request_id"}. `code` is stable
 * and listed in the table of problem.c; clients decide by it, never by the text. What went wrong
 * Under /prometheus/ the body is Prometheus's {"status":"error","errorType","error"}. What went
 * wrong inside (disk, database, memory) is logged here and reaches the client only as a general
 * sentence.
 */
#ifndef API_PROBLEM_H
#define API_PROBLEM_H

#include "api/api.h"

struct problem_code {
    const char *code;
    int http; /* 0: by the status of the error */
    const char *title;
    const char *hint; /* where the error brings none of its own */
};

/* NULL where the code is not in the table. */
const struct problem_code *problem_code_find(const char *code);

/* All codes, for the documentation and its test. */
const struct problem_code *problem_codes(size_t *count);

/* The code of an error: its own, or the one of its status. */
const char *problem_code_of(const struct error *error);

/* HTTP code of an error: the table's where the code has one there, otherwise by status. */
int problem_http(const struct error *error);

/* A header; silently left out beyond API_HEADERS_MAX. Control characters never get through. */
void response_header(struct api_response *response, const char *name, const char *format, ...)
    PRINTF_LIKE(3, 4);

/* What every answer of the API carries: Cache-Control: no-store. (The server adds X-Request-Id.) */
void response_common_headers(struct api_response *response);

/* Hands over a finished text as the body; where it failed (bound, memory) an error and no body. */
enum status response_take_text(struct api_response *response, int http, const char *content_type,
                               struct text *text, struct error *error) MUST_USE;

#endif
