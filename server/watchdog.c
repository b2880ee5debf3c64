/* The watchdog's thread: sleeps until a deadline or a change.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "server/watchdog.h"

#include "base/clock.h"
#include "base/lock.h"
#include "base/log.h"
#include "base/memory.h"
#include "server/threads.h"

enum {
    IDLE_MS = 60000,
    GRACE_MS = 60000, /* between telling the work to stop and complaining that it has not */
};

struct watchdog {
    pthread_t thread;
    struct lock lock;
    struct condition changed;
    atomic_bool *cancel; /* guarded by lock, as all below; NULL: nothing is watched */
    int64_t deadline_ns;
    bool bitten, complained, closed;
};

/* Under the lock: what is due now; returns how long there is nothing to do. */
static int64_t look(struct watchdog *watchdog)
{
    int64_t now_ns = clock_monotonic_ns();
    if (watchdog->cancel == NULL || watchdog->complained) {
        return IDLE_MS;
    }
    if (now_ns < watchdog->deadline_ns) {
        return (watchdog->deadline_ns - now_ns) / 1000000 + 1;
    }
    if (!watchdog->bitten) {
        atomic_store(watchdog->cancel, true);
        watchdog->bitten = true;
        watchdog->deadline_ns = now_ns + GRACE_MS * INT64_C(1000000);
        return GRACE_MS;
    }
    watchdog->complained = true;
    return 0;
}

static void *watchdog_main(void *context)
{
    struct watchdog *watchdog = context;
    lock_acquire(&watchdog->lock);
    while (!watchdog->closed) {
        bool before = watchdog->complained;
        int64_t wait_ms = look(watchdog);
        if (watchdog->complained && !before) {
            lock_release(&watchdog->lock);
            log_error("watchdog", "work does not stop although it was told to", "grace_ms=%d",
                      GRACE_MS);
            lock_acquire(&watchdog->lock);
            continue;
        }
        condition_wait_for(&watchdog->changed, &watchdog->lock, wait_ms);
    }
    lock_release(&watchdog->lock);
    return NULL;
}

void watchdog_begin(struct watchdog *watchdog, atomic_bool *cancel, int64_t limit_ms)
{
    lock_acquire(&watchdog->lock);
    watchdog->cancel = cancel;
    watchdog->deadline_ns = clock_monotonic_ns() + limit_ms * INT64_C(1000000);
    watchdog->bitten = watchdog->complained = false;
    condition_signal(&watchdog->changed);
    lock_release(&watchdog->lock);
}

bool watchdog_end(struct watchdog *watchdog)
{
    lock_acquire(&watchdog->lock);
    bool bitten = watchdog->bitten;
    watchdog->cancel = NULL;
    watchdog->bitten = false;
    lock_release(&watchdog->lock);
    return bitten;
}

static void watchdog_free(struct watchdog *watchdog)
{
    condition_release_memory(&watchdog->changed);
    lock_release_memory(&watchdog->lock);
    mem_free(watchdog);
}

enum status watchdog_start(struct watchdog **out, struct error *error)
{
    struct watchdog *watchdog = mem_zeroed(1, sizeof(*watchdog));
    if (watchdog == NULL) {
        return error_set(error, STATUS_NO_MEMORY, "could not start the watchdog: out of memory");
    }
    lock_init(&watchdog->lock);
    condition_init(&watchdog->changed);
    enum status status =
        thread_start(&watchdog->thread, "watchdog", watchdog_main, watchdog, error);
    if (status != STATUS_OK) {
        watchdog_free(watchdog);
        return status;
    }
    *out = watchdog;
    return STATUS_OK;
}

void watchdog_stop(struct watchdog *watchdog)
{
    if (watchdog == NULL) {
        return;
    }
    lock_acquire(&watchdog->lock);
    watchdog->closed = true;
    condition_signal(&watchdog->changed);
    lock_release(&watchdog->lock);
    pthread_join(watchdog->thread, NULL);
    watchdog_free(watchdog);
}
