/* The rules by which windows grow and shrink.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "server/backfill_window.h"

#define UNITS_BEGIN                                                                                \
    1000 /* an answer about few series is small with it, one about thousands bearable */
#define ANSWER_GROW   ((size_t)4 << 20)  /* smaller answers make the next window twice as long */
#define ANSWER_SHRINK ((size_t)32 << 20) /* larger ones half as long */

static int64_t floor_to(int64_t time_ms, int64_t unit_ms)
{
    int64_t rest = time_ms % unit_ms;
    return time_ms - rest - (rest < 0 ? unit_ms : 0);
}

void backfill_windows_init(struct backfill_windows *windows, int64_t start_ms, int64_t end_ms,
                           int64_t unit_ms)
{
    *windows = (struct backfill_windows){
        .start_ms = floor_to(start_ms, unit_ms),
        .end_ms = floor_to(end_ms + unit_ms - 1, unit_ms),
        .unit_ms = unit_ms,
        .units = UNITS_BEGIN,
        .units_max = WINDOW_POINTS_MAX,
    };
    windows->at_ms = windows->start_ms;
}

bool backfill_windows_next(const struct backfill_windows *windows, int64_t *from_ms, int64_t *to_ms)
{
    int64_t left = (windows->end_ms - windows->at_ms) / windows->unit_ms;
    int64_t units = windows->units < left ? windows->units : left;
    *from_ms = windows->at_ms;
    *to_ms = windows->at_ms + units * windows->unit_ms;
    return left > 0;
}

void backfill_windows_done(struct backfill_windows *windows, size_t answer_bytes)
{
    int64_t from_ms, to_ms;
    backfill_windows_next(windows, &from_ms, &to_ms);
    windows->at_ms = to_ms;
    if (answer_bytes < ANSWER_GROW) {
        windows->units *= 2;
    } else if (answer_bytes > ANSWER_SHRINK && windows->units > 1) {
        windows->units /= 2;
    }
    if (windows->units > windows->units_max) {
        windows->units = windows->units_max;
    }
}

bool backfill_windows_shrink(struct backfill_windows *windows)
{
    int64_t from_ms, to_ms;
    backfill_windows_next(windows, &from_ms, &to_ms);
    int64_t units = (to_ms - from_ms) / windows->unit_ms;
    if (units < 2) {
        return false;
    }
    windows->units = units / 2;
    windows->units_max = windows->units; /* what was too much once would be so again */
    return true;
}
