/* The rules of alert_state.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "server/alert_state.h"

enum alert_event alert_state_step(struct alert_state *state, bool holds, int64_t for_ms,
                                  int64_t repeat_ms, int64_t now_ms)
{
    bool held = state->holds;
    state->holds = holds;
    if (!holds) {
        bool resolves = state->firing;
        state->firing = false;
        return resolves ? ALERT_RESOLVES : ALERT_SILENCE;
    }
    if (!held) {
        state->since_ms = now_ms;
    }
    if (!state->firing && now_ms - state->since_ms >= for_ms) {
        state->firing = true;
        state->told_ms = now_ms;
        return ALERT_FIRES;
    }
    if (state->firing && repeat_ms > 0 && now_ms - state->told_ms >= repeat_ms) {
        state->told_ms = now_ms;
        return ALERT_REPEATS;
    }
    return ALERT_SILENCE;
}
