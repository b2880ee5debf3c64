/* Shared by the two halves of the HTTP glue: connections (http.c) and exchanges (http_exchange.c).
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SERVER_HTTP_INTERNAL_H
#define SERVER_HTTP_INTERNAL_H

#include "base/lock.h"
#include "server/http.h"
#include "server/http_turns.h"

struct MHD_Connection;

#define LINGER_MAX      64
#define DRAIN_BYTES_MAX ((size_t)1 << 20) /* of a body that was refused */

/* Where a connection stands; the sweep has a deadline for each. */
enum phase {
    PHASE_NEW,     /* accepted, no request line yet */
    PHASE_HEAD,    /* request line seen */
    PHASE_BODY,    /* head complete, body coming */
    PHASE_WORKING, /* suspended: with a worker or waiting for a commit */
    PHASE_WRITING, /* answer queued */
    PHASE_IDLE,    /* answered, waiting for the next request */
};

/* Who resumes a suspended connection: see http_exchange.c. */
enum handoff { HANDOFF_RUNNING, HANDOFF_SUSPENDED, HANDOFF_READY };

/* One connection: what the sweep looks at. Thousands may be open and never send a request line, so
 * it is small, and what a request needs comes with the first one. */
struct client {
    struct http *http;
    struct MHD_Connection *connection;
    struct exchange *exchange; /* NULL before the first request; network thread only */
    int fd;
    /* shared with the sweep */
    _Atomic int phase;
    _Atomic int64_t since_ns; /* of the phase */
    _Atomic uint64_t body_received, answer_bytes;
    struct client *previous, *next; /* guarded by http->lock */
};

/* One request and its answer. It belongs to a connection and is used again for its next request, so
 * that a request on a kept-alive connection allocates nothing here. */
struct exchange {
    struct api_request request; /* first: api hands it back */
    struct api_response response;
    struct http *http;
    struct client *client;
    /* network thread only */
    bool refused; /* the answer is decided; the rest of the body is dropped */
    bool asked;   /* the head was sound: api_begin has looked at it */
    bool expects; /* the client waits for 100 Continue */
    bool has_length;
    bool dispatched;        /* it was complete, and api has begun to do what it asks */
    bool waits;             /* counted in the foreground: dispatched and not answered */
    uint64_t body_declared; /* Content-Length */
    uint64_t dropped;
    struct turn turn;   /* where the body is large */
    size_t answer_held; /* counted in http->answer_bytes */
    char *body;
    size_t body_capacity;
    char *uri; /* inline_uri, or allocated where that is too short */
    size_t uri_capacity;
    char inline_uri[256];
    int status; /* of the answer that was given, or tried; 0 = none yet */
    int64_t started_ns;
    _Atomic int handoff; /* shared with workers and the writer */
};

struct lingering {
    int fd;
    int64_t until_ns;
    size_t received;
};

struct http {
    struct api_services *services;
    struct workers *workers;
    struct MHD_Daemon *daemon;
    int listen_fd, port;
    bool loopback, probes, tls;
    struct audit *audit;
    char hosts[256];
    uint64_t id_prefix, id_next;       /* request ids; network thread only */
    size_t body_bytes, body_bytes_max; /* of all bodies; network thread only */
    size_t answer_bytes; /* of all answers that are being written; network thread only */
    atomic_size_t active, connections;
    atomic_size_t resuming; /* workers and the writer, within the library */
    atomic_bool closing;    /* no request begins any more: see http_stop */
    _Atomic uint64_t cut, refused_busy;
    struct turns turns;
    struct lock lock;
    struct client *clients;  /* guarded by lock, as below */
    struct client *sweeping; /* the next one that the sweep looks at; NULL = none */
    struct lingering lingering[LINGER_MAX];
    size_t linger_count;
};

/* What the head says, gathered in one pass over the headers. */
struct head {
    const char *content_type, *encoding, *length, *transfer, *request_id, *accept, *host, *expect;
    const char *authorization, *origin, *fetch_site;
    const char *accept_encoding, *if_none_match;
    const char *version; /* "HTTP/1.1" */
    int lengths, transfers, hosts;
    bool malformed; /* a name, value or target that is none */
};
void head_gather(struct MHD_Connection *connection, const char *version, struct head *head);
/* One header more; key and value stay where they are. */
void head_add(struct head *head, const char *key, const char *value);
/* Path and query of the target, in place. The authority of an absolute form takes the place of
 * Host, as RFC 9112 has it. */
void head_split_target(char *uri, struct head *head, const char **path, const char **query);
/* False for what would let two readers of one byte stream see different requests, for bad lengths,
 * malformed headers, and 1.1 without a Host. */
bool head_framing_is_sound(const struct head *head);
enum api_method head_method(const char *method);
enum api_encoding head_encoding(const char *encoding);
/* Whether Accept-Encoding (NULL: absent) names gzip, and not with a weight of zero. */
bool head_accepts_gzip(const char *accept);
/* The client's id where it is harmless, else a new one. */
void head_request_id(struct http *http, const char *given, char out[40]);
/* A page in a browser must not reach us under a name of its own (DNS rebinding): Host must be an
 * address, localhost, or a configured name. Beyond loopback that holds once names are configured.
 */
bool head_host_allowed(const struct http *http, const char *host);

/* Whether a page of another origin sent this. There is no CORS, but a browser sends simple requests
 * without asking; so what changes something is refused where the browser says that it comes from
 * elsewhere: by Sec-Fetch-Site, in older ones by an Origin that is not the Host. */
bool head_is_cross_origin(const struct head *head);

/* Binds and listens where the options say; fills listen_fd, port and loopback. */
enum status http_listen(struct http *http, const struct http_options *options,
                        struct error *error) MUST_USE;

/* A head begins: keeps its URI. NULL where memory is short: the request is refused. Network thread.
 */
struct exchange *exchange_head(struct client *client, const char *uri);

/* libmicrohttpd's handler, called for head, pieces of the body and its end: 1 to go on, 0 to close.
 */
int exchange_step(struct exchange *exchange, const char *method, const char *version,
                  const char *bytes, size_t *length);

/* The request is over, answered or not. Network thread. */
void exchange_end(struct exchange *exchange);

/* Gives back the exchange and what it holds; NULL is fine. */
void exchange_release(struct exchange *exchange);

/* On a worker's thread. */
void exchange_run(struct api_worker *worker, void *item, const struct error *error);

/* Keeps a copy of a refused client's socket open for a moment, so that closing with unread bytes
 * does not reset the connection before the client has read the answer. */
void http_linger(struct http *http, int fd);

#endif
