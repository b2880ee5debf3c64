/* The commands' side of TLS: a socket that is connected already becomes an encrypted one.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The server's certificate must hold for the name that was asked for, by the system's authorities
 * or by those of one file. One thread a connection.
 */
#ifndef SERVER_TLS_CLIENT_H
#define SERVER_TLS_CLIENT_H

#include "base/status.h"

#include <stdbool.h>
#include <sys/types.h>

struct tls_client;

struct tls_peer {
    const char *host;
    const char *authorities; /* PEM file; NULL: those of the system */
    bool any_name; /* the certificate need not hold for `host`: for a server whose own one is known
                    */
    int timeout_ms;
};

/* `fd` stays the caller's, and may be non-blocking. STATUS_INVALID where the certificate does not
 * hold: the text says why. */
enum status tls_client_open(int fd, const struct tls_peer *peer, struct tls_client **out,
                            struct error *error) MUST_USE;

/* As send and recv: -1 with errno EAGAIN where it has to wait, EPIPE or EIO where the connection
 * broke. */
ssize_t tls_client_send(struct tls_client *client, const char *bytes, size_t length);
ssize_t tls_client_receive(struct tls_client *client, char *bytes, size_t maximum);

void tls_client_close(struct tls_client *client); /* NULL is fine */

#endif
