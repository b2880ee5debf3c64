/* The clocks of clocks.h.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "tests/unit/server/clocks.h"

#include "base/clock.h"

#include <time.h>

atomic_llong wall_ahead_ms, monotonic_ahead_ms;

static int64_t real_ns(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

int64_t real_wall_ms(void)
{
    return real_ns(CLOCK_REALTIME) / 1000000;
}

static int64_t moved_wall_ms(void)
{
    return real_wall_ms() + atomic_load(&wall_ahead_ms);
}

static int64_t moved_monotonic_ns(void)
{
    return real_ns(CLOCK_MONOTONIC) + atomic_load(&monotonic_ahead_ms) * 1000000;
}

void clocks_replace(void)
{
    atomic_store(&wall_ahead_ms, 0);
    atomic_store(&monotonic_ahead_ms, 0);
    clock_wall_replace(moved_wall_ms);
    clock_monotonic_replace(moved_monotonic_ns);
}

void clocks_restore(void)
{
    clock_wall_replace(NULL);
    clock_monotonic_replace(NULL);
}
