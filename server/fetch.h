/* Calls to other servers over HTTP and HTTPS: for the backfill from a neighbour and for webhooks.
 * SPDX-License-Identifier: Apache-2.0
 *
 * libcurl does it, loaded when the first call is made: a daemon that calls nobody neither starts
 * slower nor holds its memory (fetch.c has the figures). Certificates are checked, redirects are
 * not followed, other schemes are refused, and what the environment says of proxies counts only
 * where the request says so: a call goes where it is told to and nowhere else.
 *
 * http_client.h is for the commands that talk to our own daemon, and needs no library.
 */
#ifndef SERVER_FETCH_H
#define SERVER_FETCH_H

#include "base/text.h"

#include <stdatomic.h>

struct fetch; /* keeps its connection open between calls; one thread at a time */

struct fetch_request {
    const char *url;
    const char *headers;      /* lines "Name: value", each with its newline; NULL: none */
    const char *user;         /* "name:password" for basic authentication; NULL: none */
    const char *ca_file;      /* trusted certificates instead of the system's; NULL */
    const char *content_type; /* of the body */
    const char *body;         /* POST; NULL: GET */
    size_t body_length;
    /* By http_proxy, https_proxy, all_proxy and no_proxy, as of curl: for commands of a shell. A
     * daemon may have got these from wherever it was started. */
    bool proxy_from_environment;
    int64_t timeout_ms;        /* of the whole call */
    size_t answer_max;         /* bytes after decompression */
    const atomic_bool *cancel; /* ends the call within a second once it is true; NULL */
};

struct fetch_reply {
    int status;             /* of HTTP */
    int64_t retry_after_ms; /* 0: the server did not say */
    struct text body;
};

/* Loads the library now: for whoever cannot open files later, because of a sandbox.
 * STATUS_UNSUPPORTED where libcurl is not installed. */
enum status fetch_prepare(struct error *error) MUST_USE;

/* Prepares, where that has not been done. */
enum status fetch_new(struct fetch **out, struct error *error) MUST_USE;
void fetch_free(struct fetch *fetch); /* NULL is fine */

/* STATUS_OK for every answer, whatever its code. STATUS_IO where nobody answers, STATUS_TIMEOUT,
 * STATUS_TOO_LARGE beyond answer_max, STATUS_INVALID for a certificate or an address that will not
 * do, STATUS_CANCELLED. Texts name the host, never headers, user or query. The reply is released by
 * the caller in every case. */
enum status fetch_call(struct fetch *fetch, const struct fetch_request *request,
                       struct fetch_reply *reply, struct error *error) MUST_USE;
void fetch_reply_release(struct fetch_reply *reply);

/* http:// or https:// with a host, without user, fragment, blank or control character; `what`
 * ("--url") begins the text. */
enum status fetch_check_url(const char *what, const char *url, struct error *error) MUST_USE;

/* ---------------------------------------------------------------- secrets, from files only */

#define FETCH_SECRET_MAX 8192

/* The first line of a file, without its end: a token or "name:password". */
enum status fetch_read_secret(const char *path, char out[FETCH_SECRET_MAX],
                              struct error *error) MUST_USE;

/* Header lines of a file, checked, added to `out` as fetch_request wants them. Empty lines and
 * lines that begin with # are skipped. */
enum status fetch_read_headers(const char *path, struct text *out, struct error *error) MUST_USE;

/* STATUS_INVALID where the line is no "Name: value" in visible characters. */
enum status fetch_check_header(const char *line, size_t length, struct error *error) MUST_USE;

#endif
