/* Takes processor time from a process: it is stopped and goes on in turns.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A busy neighbour takes as much as the scheduler of the day lets it have; this takes the same on
 * every machine, without privileges: of each second the process has STARVE_RUNNING_MS.
 */
#ifndef LOAD_STARVE_H
#define LOAD_STARVE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/types.h>

#define STARVE_RUNNING_MS 100
#define STARVE_STOPPED_MS 900

struct starve {
    pid_t pid;
    pthread_t thread;
    atomic_bool over;
};

/* The process must not be waited for before starve_end. Exits the program where no thread can be
 * made. */
void starve_begin(struct starve *starve, pid_t pid);
/* From here on it runs all the time again. */
void starve_end(struct starve *starve);

/* Sends SIGTERM at once and waits for the end of a child: seconds until then, its status in
 * *status. After `limit` seconds it is killed. `starve`: it is starved meanwhile, until it has
 * ended; or NULL. */
double starve_stop(pid_t pid, struct starve *starve, double limit, int *status);

#endif
