/* The pool of threads that run requests: a bounded queue in front of N workers.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Each worker owns one api_worker (reader, scratch, forecast workspaces). It is made when the
 * thread meets its first item, so that an idle daemon holds none.
 */
#ifndef SERVER_WORKERS_H
#define SERVER_WORKERS_H

#include "api/api.h"

struct workers;

/* Runs one item on a worker's thread. `worker` is NULL where it could not be made: `error` says
 * why, and the item must be answered all the same. */
typedef void (*worker_run)(struct api_worker *worker, void *item, const struct error *error);

enum status workers_start(struct api_services *services, size_t count, size_t queue_max,
                          worker_run run, struct workers **out, struct error *error) MUST_USE;

/* Never blocks; false where the queue is full or closed, or would make the item wait too long: the
 * oldest one has been waiting for WORKERS_WAIT_MAX_MS, and at least two a worker wait. So a client
 * hears early that it should come again, instead of late, and the queue holds no more work than
 * that after an overload. Any thread. */
#define WORKERS_WAIT_MAX_MS 1000
bool workers_push(struct workers *workers, void *item);

size_t workers_waiting(struct workers *workers);

/* Runs what is queued, then ends the threads. NULL is fine. */
void workers_stop(struct workers *workers);

#endif
