/* Background work: threads that compute for long step aside for whoever waits for an answer.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The lowest priority is not enough where every core computes: a thread that wakes up, be it the
 * one that a sync was waited for by, often gets its core at the next tick only, milliseconds later,
 * and a core that computes slows down its neighbours. So a background thread asks between pieces of
 * its work (an op of the tape, a tenth of a millisecond) whether it should give way. It always lets
 * others go first; while somebody waits it also rests, but never for longer than so many times what
 * it worked: requests without end slow background work down and do not stop it.
 *
 * One process has one foreground: who waits is counted for all of it.
 */
#ifndef BASE_BACKGROUND_H
#define BASE_BACKGROUND_H

#include <stdbool.h>
#include <stddef.h>

/* Somebody waits for an answer from here on, until the same is called to end it. Any thread. */
void foreground_begin(void);
void foreground_end(void);
size_t foreground_waiting(void); /* how many do */

/* The calling thread, and those that it starts from here on, shall get a core at once when they
 * wake up: their niceness stays, their slices are the shortest. */
void foreground_prefer(void);

/* The calling thread is a background one from here to its end: its niceness is `nice` (0 to 19),
 * its slices are the shortest. While somebody waits it rests for up to `rest_max` times what it
 * worked; 0 = it never rests. */
void background_enter(int nice, unsigned rest_max);

/* Between pieces of work. Costs nothing to speak of on threads that are no background ones. */
void background_give_way(void);

/* Whether they rest at all: not while the process stops. */
void background_hurry(bool hurry);

/* What background threads have rested, summed over them, since the process began. */
double background_rested_seconds(void);

#endif
