/* The HTTP port: libmicrohttpd on one network thread, requests handed to workers, own deadlines.
 * SPDX-License-Identifier: Apache-2.0
 *
 * What happens to a request: the head is checked (framing, host, api_begin), the body is collected
 * up to the limit (large ones in turns: http_turns.h), api_fast may answer from memory; otherwise the
 * connection is suspended and the request goes to the workers' bounded queue. A full queue is
 * answered at once with 503 and Retry-After, while what api_fast can answer goes on being answered.
 *
 * libmicrohttpd's own timeout only sees inactivity, so a client that sends a byte a second would
 * live for ever. http_sweep, called about once a second, shuts the sockets of clients beyond a
 * deadline: 10 s for a head, 60 s for a request, 1 kB/s for a body and for reading an answer, 65 s
 * between requests. Bodies and answers under way have a bound together; beyond it large ones get 503.
 */
#ifndef SERVER_HTTP_H
#define SERVER_HTTP_H

#include "api/api.h"
#include "server/workers.h"

struct http;

struct http_options {
    const char *listen;  /* "127.0.0.1:7380", "[::1]:7380", "localhost:0"; port 0 = any free one */
    const char *hosts;   /* further names accepted in Host while on loopback; may be empty */
    bool insecure;       /* allow an address beyond loopback without tokens */
    bool probes;         /* health and metrics only, for everybody; without workers */
    bool tls;            /* with the certificate of tls.h, loaded before */
    struct audit *audit; /* NULL: actions are not noted */
    size_t connections, connections_per_address; /* at most */
    struct api_services *services;
    size_t worker_count, worker_queue_max; /* 0 = 2 workers, 256 requests waiting */
    size_t bodies_waiting_max;             /* for their turn; 0 = 1,024 */
};

/* Whether an address has the form of one, whatever is there: STATUS_INVALID where not, naming
 * `option`. */
enum status http_address_check(const char *listen_at, const char *option,
                               struct error *error) MUST_USE;

/* Starts the workers, listens and answers. STATUS_INVALID for an address that makes no sense or is
 * not allowed, STATUS_IO where it is taken. */
enum status http_start(const struct http_options *options, struct http **out,
                       struct error *error) MUST_USE;

/* The port really used. */
int http_port(const struct http *http);

bool http_is_loopback(const struct http *http);

/* Cuts clients that are beyond a deadline at `now_ns` (monotonic). Returns how many. One thread. */
size_t http_sweep(struct http *http, int64_t now_ns);

struct http_stats {
    size_t connections, active; /* open; with a request under way */
    uint64_t cut, refused_busy; /* by a deadline; answered 503 because the queue was full */
    size_t waiting;             /* for a worker */
};
void http_stats(struct http *http, struct http_stats *stats);

/* Stops accepting, lets requests finish for at most `grace_ms`, cuts the rest, ends the threads.
 * The writer must still run: requests may be waiting for a commit. */
void http_stop(struct http *http, int64_t grace_ms);

#endif
