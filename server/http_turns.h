/* Turns at large bodies: few are read and handled at once, the others wait in their order.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The library reads a few kilobytes of each connection in turn. With thousands of bodies under way
 * all of them make progress and none is complete: each is read from memory that no cache holds any
 * more, and what can be refused is refused after a third of a second. So a request with a large
 * body has a turn, from its head to its answer; TURNS of them are enough to keep the writer busy.
 * The next TURNS_WAITING wait for theirs, suspended: what their clients send stays in the kernel,
 * and their deadlines go on. More are refused. Measured with writes of 55 kB at twice the capacity
 * on two cores, the load's generator among them: 503 within 6 ms instead of 300, none of 60,000
 * lost instead of 2,000 to 9,000, /healthz p99 3 ms instead of 200.
 *
 * Who has had a turn for TURN_NS, be it a client that sends slowly or a disk that is slow, loses it
 * to the next one and goes on without: nobody can keep others from theirs by dawdling.
 */
#ifndef SERVER_HTTP_TURNS_H
#define SERVER_HTTP_TURNS_H

#include "base/lock.h"
#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TURNS         16
#define TURNS_WAITING 256
#define TURN_NS       INT64_C(5000000)

struct MHD_Connection;

/* Of one request; zero: it neither has a turn nor waits for one. It stays where it is, from
 * turn_begin to turn_end. */
struct turn {
    struct MHD_Connection *connection;
    int64_t since_ns; /* it has its turn */
    enum { TURN_NONE, TURN_WAITS, TURN_HELD } state;
    struct turn *next; /* of those that wait */
};

struct turns {
    struct lock lock;
    struct condition changed; /* somebody waits, or it ends */
    struct turn *held[TURNS];
    struct turn *first, *last; /* waiting */
    size_t waiting;
    bool open; /* nobody waits any more */
    bool running;
    pthread_t keeper;
};

/* Starts a thread, which sleeps while nobody waits and hands on turns of those that dawdle. */
enum status turns_start(struct turns *turns, struct error *error) MUST_USE;

/* Any thread: everybody who waits goes on, and from now on nobody waits. Before the library stops.
 */
void turns_open(struct turns *turns);

/* Ends the thread. Fine where it was not started. */
void turns_stop(struct turns *turns);

/* Network thread: takes a turn, or suspends the connection until there is one; the library then
 * calls for the head once more. False where too many wait. */
bool turn_begin(struct turns *turns, struct turn *turn, struct MHD_Connection *connection,
                int64_t now_ns);

/* Network thread: gives the turn back, or the place among those that wait, if there is either. */
void turn_end(struct turns *turns, struct turn *turn, int64_t now_ns);

#endif
