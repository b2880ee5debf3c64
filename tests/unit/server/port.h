/* A port on loopback over the memory store, and a raw client, for the tests of the HTTP glue.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef TESTS_SERVER_PORT_H
#define TESTS_SERVER_PORT_H

#include "server/http.h"

#include <semaphore.h>

struct port {
    struct api_limits limits;
    struct api_services services;
    struct http *http;
    sem_t gate; /* the writer waits for it after each commit while `hold` */
    atomic_bool hold;
    atomic_uint held; /* how often it waited */
};

/* workers and queue_max as in http_options; as many large bodies may wait. */
void port_open(struct port *port, size_t workers, size_t queue_max);
void port_close(struct port *port);

/* From now on a commit blocks the writer until port_release. */
void port_hold_writer(struct port *port);
void port_release_writer(struct port *port);

/* Waits until no request is under way; fails after 5 s. */
void port_wait_idle(struct port *port);

int client_connect(const struct port *port);
void client_send(int fd, const char *text);

struct reply {
    int status;
    char head[4096];
    char body[65536];
    size_t body_length;
    bool closed; /* the server closed instead of answering */
};

/* Reads one answer with Content-Length (`no_body`: to a HEAD); fails the test after 5 s. */
void client_read(int fd, bool no_body, struct reply *reply);

/* Connects, sends, reads, closes. */
void client_ask(const struct port *port, const char *text, struct reply *reply);

#endif
