/* The hold on what age removes: whether the wall clock may be believed now.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "storage/hold.h"

#include "base/clock.h"
#include "base/log.h"

enum {
    JUMP_MS = 60000,  /* what the wall clock may differ by between two looks */
    HOLD_MS = 600000, /* how long nothing is removed then */
};

/* At a start: what was noted may be an hour old, and another one is a restart's. */
#define START_MS (2 * HOLD_NOTE_MS)

static void hold_begin(struct hold *hold, int64_t now_ns)
{
    hold->until_ns = now_ns + HOLD_MS * INT64_C(1000000);
}

void hold_start(struct hold *hold, const struct storage *storage)
{
    int64_t now_ns = clock_monotonic_ns(), wall_ms = clock_wall_ms(), known_ms = storage->aged_ms;
    *hold = (struct hold){.offset_ms = wall_ms - now_ns / 1000000};
    bool empty = storage->directory.last_id == 0; /* a new store has nothing to lose */
    if (empty || wall_ms - known_ms < START_MS) { /* not known is 0: far behind */
        return;
    }
    hold_begin(hold, now_ns);
    if (storage->options.retention_ms > 0 || storage->options.downsample.count > 0) {
        log_warning("writer", "off for long, or the clock is ahead",
                    "last_ms=%lld now_ms=%lld retention=held minutes=%d", (long long)known_ms,
                    (long long)wall_ms, HOLD_MS / 60000);
    }
}

bool hold_allows(struct hold *hold, int64_t *now_ms)
{
    int64_t now_ns = clock_monotonic_ns();
    *now_ms = clock_wall_ms();
    int64_t offset_ms = *now_ms - now_ns / 1000000;
    int64_t jump_ms = offset_ms - hold->offset_ms;
    hold->offset_ms = offset_ms;
    if (jump_ms >= JUMP_MS || jump_ms <= -JUMP_MS) {
        bool ahead = jump_ms > 0;
        if (ahead) {
            hold_begin(hold, now_ns);
        }
        log_warning("writer", "the clock was set", "jump_ms=%lld retention=%s", (long long)jump_ms,
                    now_ns < hold->until_ns ? "held" : "goes on");
    }
    return now_ns >= hold->until_ns;
}
