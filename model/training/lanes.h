/* Lanes: a few threads that run one function side by side, with a barrier between its phases.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The calling thread does no work of its own: it waits and calls `poll` now and then (progress
 * reports), so that the lanes alone run at low priority where that is asked for.
 */
#ifndef MODEL_TRAINING_LANES_H
#define MODEL_TRAINING_LANES_H

#include "base/lock.h"
#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>

#define LANES_MAX     64
#define LANES_POLL_MS 100

struct lanes {
    size_t count;
    struct lock lock;
    struct condition passed; /* a barrier */
    struct condition done;   /* a lane has come to its end */
    size_t waiting;          /* guarded by lock, as all below */
    size_t round;
    size_t running;
};

struct lanes_job {
    size_t count; /* threads, 1 to LANES_MAX */
    bool low_priority;
    void (*work)(void *context, struct lanes *lanes, size_t lane);
    void (*poll)(void *context); /* on the calling thread; may be NULL */
    void *context;
};

/* Runs the job to its end. STATUS_INTERNAL where a thread could not be started. */
enum status lanes_run(const struct lanes_job *job, struct error *error) MUST_USE;

/* Inside work: returns when every lane has called it as often. */
void lanes_wait(struct lanes *lanes);

/* The number of processors that this process may use. */
size_t lanes_default(void);

#endif
