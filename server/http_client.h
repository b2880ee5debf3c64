/* A small HTTP/1.1 client for the commands that talk to a daemon: one request a connection.
 * SPDX-License-Identifier: Apache-2.0
 *
 * http:// and https://; Content-Length, chunked and until-close answers; no redirects, no
 * compression.
 */
#ifndef SERVER_HTTP_CLIENT_H
#define SERVER_HTTP_CLIENT_H

#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>

/* Who we are, and whom we believe. */
struct http_credentials {
    const char *token_file;  /* its first line is the token; NULL: FORECASTD_TOKEN_FILE, or none */
    const char *authorities; /* PEM; NULL: FORECASTD_CA_FILE, or the system's */
    bool any_name;           /* their certificate may be for another name */
};

/* The options of commands that talk to a daemon, for their tables, and their taking by name. */
#define HTTP_CLIENT_OPTIONS                                                                        \
    {"token-file", "FILE", "The daemon's token is in the first line of this file."},               \
    {                                                                                              \
        "ca", "FILE", "Who signed the daemon's certificate, PEM; default: the system's list."      \
    }
bool http_credentials_take(struct http_credentials *as, const char *name, const char *value);

struct http_call {
    const struct http_credentials *as; /* NULL: what the environment says */
    const char *base;                  /* "https://forecastd:7380", with or without a path */
    const char *method;                /* "GET" */
    const char *target;                /* "/api/v1/status?x=y", percent-encoded */
    const char *content_type;          /* NULL without a body */
    const char *body;
    size_t body_length;
    int timeout_ms;    /* for each wait; 0 = 30 s */
    size_t answer_max; /* 0 = 64 MiB */
};

struct http_reply {
    int status;
    char *body; /* with a zero byte behind it; free with http_reply_release */
    size_t length;
};

/* STATUS_OK for every answer, whatever its code. STATUS_INVALID for a URL that is not supported,
 * STATUS_IO where nobody answers or the answer is no HTTP, STATUS_TIMEOUT. */
enum status http_client_call(const struct http_call *call, struct http_reply *reply,
                             struct error *error) MUST_USE;
void http_reply_release(struct http_reply *reply);

/* STATUS_INVALID with the daemon's own words (title, detail, hint of problem+json) for codes from
 * 400. */
enum status http_reply_check(const struct http_reply *reply, struct error *error) MUST_USE;

#endif
