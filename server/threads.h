/* Threads of the process: started with a name and an explicit small stack.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Every signal is blocked in them (main blocks all before it starts the first), so that signals are
 * taken by main alone.
 */
#ifndef SERVER_THREADS_H
#define SERVER_THREADS_H

#include "base/status.h"

#include <pthread.h>

/* Starts `run(context)` under a name of at most 15 bytes with a stack of 1 MiB. */
enum status thread_start(pthread_t *thread, const char *name, void *(*run)(void *), void *context,
                         struct error *error) MUST_USE;

/* Lowers the priority of the calling thread alone: 0 to 19. */
void thread_nice(int nice);

#endif
