/* A thread that cancels work which has outlived its budget.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Training keeps to its budget by itself. This is for the day when it does not: a step that never
 * seems to end, a budget that was miscounted. The work is told to stop by its own cancel flag, so
 * nothing is torn; where it does not even look at the flag, the log says so, and serving goes on.
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

/* `cancel` is set once `limit_ms` have passed, unless watchdog_end comes first. */
void watchdog_begin(struct watchdog *watchdog, atomic_bool *cancel, int64_t limit_ms);

/* True where the flag was set by the watchdog. */
bool watchdog_end(struct watchdog *watchdog);

#endif
