/* What an alert of one rule and series is in, and when somebody has to be told.
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SERVER_ALERT_STATE_H
#define SERVER_ALERT_STATE_H

#include <stdbool.h>
#include <stdint.h>

struct alert_state {
    bool holds;       /* the condition, when it was looked at last */
    bool firing;      /* and somebody was told */
    int64_t since_ms; /* it holds; monotonic, as the next */
    int64_t told_ms;  /* the last time */
};

enum alert_event { ALERT_SILENCE, ALERT_FIRES, ALERT_REPEATS, ALERT_RESOLVES };

/* Goes on with what was found at `now_ms`, of a clock that nobody sets. The condition has to hold
 * for `for_ms` before it fires; a firing alert is told again every `repeat_ms` (0: never), and
 * resolves as soon as the condition does not hold. */
enum alert_event alert_state_step(struct alert_state *state, bool holds, int64_t for_ms,
                                  int64_t repeat_ms, int64_t now_ms);

#endif
