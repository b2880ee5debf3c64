/* A webhook on loopback for the tests of what is told: it answers with a code, or not at all.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef TESTS_UNIT_SERVER_RECEIVER_H
#define TESTS_UNIT_SERVER_RECEIVER_H

#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>

struct receiver {
    pthread_t thread;
    int listener;
    char url[64];
    atomic_int code; /* of the answers from now on; 0: none, the connection stays open */
    atomic_bool over;
    atomic_uint asked; /* requests until now */
    atomic_uint told;  /* of them those that were answered with 200 */
    char last[8192];   /* the newest of these, head and body; read it after `told` has grown */
};

void receiver_open(struct receiver *receiver, int code);
void receiver_close(struct receiver *receiver);

/* Fail after a minute, for a machine that has something else to do. */
void receiver_wait_asked(struct receiver *receiver, unsigned count);
void receiver_wait_told(struct receiver *receiver, unsigned count);

#endif
