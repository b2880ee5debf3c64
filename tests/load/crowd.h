/* A crowd of hostile clients over loopback: silent ones, ones that drip, ones that do not read.
 * SPDX-License-Identifier: Apache-2.0
 *
 * One thread holds all connections in one epoll. A connection that the server cuts is counted with
 * its age and opened again, so that the crowd stays as large as it was. Connections come from
 * several loopback addresses, CROWD_PER_ADDRESS each, as a server with a limit by address would
 * meet them.
 */
#ifndef LOAD_CROWD_H
#define LOAD_CROWD_H

#include <stddef.h>

#define CROWD_PER_ADDRESS 900

enum crowd_kind {
    CROWD_SILENT, /* connects and says nothing */
    CROWD_HEAD,   /* a byte of a request's head a second */
    CROWD_BODY,   /* a whole head, then a byte of the body a second */
    CROWD_READER, /* asks for a large answer, reads a byte of it a second */
    CROWD_KINDS,
};

struct crowd_options {
    int port;
    size_t count[CROWD_KINDS];
    const char *large; /* what a CROWD_READER asks for */
};

struct crowd_result {
    size_t open;                                           /* at the end */
    size_t cut[CROWD_KINDS];                               /* closed by the server */
    double age_min_s[CROWD_KINDS], age_max_s[CROWD_KINDS]; /* of those that were cut */
    double oldest_s[CROWD_KINDS];                          /* of those still open at the end */
    size_t refused;                                        /* connections that could not be made */
    size_t
        readers_held; /* at the end, whose connection the server's side still has open: a client
                         that does not read never hears of the end behind what it does not read */
};

struct crowd;

/* Returns when every connection has been opened once. Exits the program where that cannot work. */
struct crowd *crowd_start(const struct crowd_options *options);
struct crowd_result crowd_stop(struct crowd *crowd);

#endif
