/* Looking up the addresses of a name, so that it can be stopped.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The resolver takes as long as its name servers make it, half a minute where they are away, and
 * hears nothing meanwhile. So a thread of its own asks it, and is left behind when it is time to
 * stop: it ends by itself, and frees what it has found. Rejected: getaddrinfo_a, which cannot be
 * cancelled once it has begun either, and a resolver of our own, which would not know what the
 * system is told about names.
 */
#ifndef SERVER_LOOKUP_H
#define SERVER_LOOKUP_H

#include "base/status.h"

struct addrinfo;

/* Addresses of TCP; numbers need no thread. STATUS_IO with the resolver's reason, STATUS_CANCELLED
 * as soon as `stop_fd` is readable. The caller frees `*found` with freeaddrinfo. */
enum status lookup_addresses(const char *host, const char *port, int stop_fd,
                             struct addrinfo **found, struct error *error) MUST_USE;

#endif
