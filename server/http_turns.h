/* Turns at large bodies: few are read and handled at once, the others wait in their order.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The library reads a few kilobytes of each connection in turn. With thousands of bodies under way
 * all of them make progress and none is complete: each is read from memory that no cache holds any
 * more, and what can be refused is refused after a third of a second. So a request with a large
 * body of a declared length has a turn, from its head to its answer; TURNS of them are enough to
 * keep the writer busy. Others wait for theirs, suspended: what their clients send stays in the
 * kernel. What it brings: ARCHITECTURE.md.
 *
 * A burst may wait, up to waiting_max; it is over soon. A queue that has not been empty for
 * STANDING_NS is more than can be done, and a longer one would only make everybody wait: then
 * STANDING_MAX may. (Controlled delay: Nichols and Jacobson, "Controlling Queue Delay", ACM Queue
 * 10/5, 2012.) Others are refused.
 *
 * Who has had a turn for TURN_NS and has nothing here that could be read, be it a client that sends
 * slowly or a disk that is slow, loses it to the next one and goes on without; after TURN_MAX_NS
 * anybody does. So TURNS clients that dawdle cost those behind them TURN_NS, and a thousand of them
 * a third of a second. Who only waits for us to read keeps its turn: taken because we are slow,
 * more bodies would be read at once, and we be slower.
 */
#ifndef SERVER_HTTP_TURNS_H
#define SERVER_HTTP_TURNS_H

#include "base/lock.h"
#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TURNS        16
#define TURN_NS      INT64_C(5000000)
#define TURN_MAX_NS  INT64_C(100000000)
#define STANDING_NS  INT64_C(1000000000)
#define STANDING_MAX ((size_t)64)

struct MHD_Connection;

/* Of one request; zero: it neither has a turn nor waits for one. It stays where it is, from
 * turn_begin to turn_end. */
struct turn {
    struct MHD_Connection *connection;
    int fd;           /* its socket */
    int64_t since_ns; /* it has its turn */
    enum { TURN_NONE, TURN_WAITS, TURN_HELD } state;
    struct turn *next; /* of those that wait */
};

struct turns {
    struct lock lock;
    struct condition changed; /* somebody waits, or it ends */
    struct turn *held[TURNS];
    struct turn *first, *last; /* waiting */
    size_t waiting, waiting_max;
    int64_t waiting_since_ns; /* somebody does, without a break */
    bool open;                /* nobody waits */
    bool running;
    pthread_t keeper;
};

/* Without turns_start nobody waits, and nobody is refused. */
void turns_init(struct turns *turns);
void turns_release(struct turns *turns);

/* Starts a thread, which sleeps while nobody waits and hands on turns of those that dawdle. */
enum status turns_start(struct turns *turns, size_t waiting_max, struct error *error) MUST_USE;

/* Everybody who waits goes on, from now on nobody waits, and the thread has ended. Before the
 * library stops: a thread that resumes a connection uses the library's memory. */
void turns_stop(struct turns *turns);

/* Network thread: takes a turn, or suspends the connection until there is one; the library then
 * calls for the head once more. False where too many wait. */
bool turn_begin(struct turns *turns, struct turn *turn, struct MHD_Connection *connection,
                int64_t now_ns);

/* Network thread: gives the turn back, or the place among those that wait, if there is either. (The
 * library ends no connection that is suspended, so who leaves while it waits is found out when its
 * turn comes.) */
void turn_end(struct turns *turns, struct turn *turn, int64_t now_ns);

#endif
