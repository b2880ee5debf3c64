/* A thread that cancels work which has outlived its budget.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Training keeps to its budget by itself. This is for the day when it does not: a step that never
 * seems to end, a budget that was miscounted. The work is told to stop by its own cancel flag, so
 * nothing is torn; where it does not even look at the flag, whoever told it or why, it is given up:
 * somebody is told, and serving goes on.
 *
 * Threads: begin and end by the one thread that works.
 */
#ifndef SERVER_WATCHDOG_H
#define SERVER_WATCHDOG_H

#include "base/status.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct watchdog;

enum status watchdog_start(struct watchdog **out, struct error *error) MUST_USE;
void watchdog_stop(struct watchdog *watchdog); /* NULL is fine */

struct watchdog_work {
    atomic_bool *cancel; /* valid until watchdog_end */
    int64_t limit_ms;    /* after this time it is set */
    int64_t grace_ms;    /* what has not ended so long after it was set is given up; it is looked at
                            as often, so twice the time where somebody else set it */
    void (*give_up)(void *context); /* once, on the watchdog's thread, no lock held; it may not call
                                       the watchdog. NULL: nobody is told */
    void *context;
};

void watchdog_begin(struct watchdog *watchdog, const struct watchdog_work *work);

enum watchdog_verdict {
    WATCHDOG_CONTENT,
    WATCHDOG_BITTEN,   /* the flag was set by the watchdog */
    WATCHDOG_GIVEN_UP, /* and give_up has returned */
};
enum watchdog_verdict watchdog_end(struct watchdog *watchdog);

#endif
