/* The watchdog's thread: sleeps until a deadline or a change.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "server/watchdog.h"

#include "base/clock.h"
#include "base/lock.h"
#include "base/memory.h"
#include "server/threads.h"

enum { IDLE_MS = 60000 };

struct watchdog {
    pthread_t thread;
    struct lock lock;
    struct condition changed;
    struct watchdog_work work; /* guarded by lock, as all below; no `cancel`: nothing is watched */
    int64_t deadline_ns;       /* of what comes next */
    enum watchdog_verdict verdict;
    bool told; /* to stop, by whomever */
    bool telling;
    bool closed;
};

/* Under the lock: what is due now; returns how long there is nothing to do, 0: it is to be given
 * up. */
static int64_t look(struct watchdog *watchdog)
{
    const struct watchdog_work *work = &watchdog->work;
    int64_t now_ns = clock_monotonic_ns();
    if (work->cancel == NULL || watchdog->verdict == WATCHDOG_GIVEN_UP) {
        return IDLE_MS;
    }
    if (!watchdog->told && now_ns >= watchdog->deadline_ns) {
        watchdog->verdict = WATCHDOG_BITTEN;
        atomic_store(work->cancel, true);
    }
    if (!watchdog->told && atomic_load(work->cancel)) {
        watchdog->told = true;
        watchdog->deadline_ns = now_ns + work->grace_ms * INT64_C(1000000);
    }
    if (watchdog->told && now_ns >= watchdog->deadline_ns) {
        return 0;
    }
    int64_t left_ms = (watchdog->deadline_ns - now_ns) / 1000000 + 1;
    return left_ms < work->grace_ms ? left_ms : work->grace_ms + 1;
}

/* Under the lock, which it lets go of meanwhile. */
static void give_up(struct watchdog *watchdog)
{
    struct watchdog_work work = watchdog->work;
    watchdog->verdict = WATCHDOG_GIVEN_UP;
    watchdog->telling = true;
    lock_release(&watchdog->lock);
    if (work.give_up != NULL) {
        work.give_up(work.context);
    }
    lock_acquire(&watchdog->lock);
    watchdog->telling = false;
    condition_broadcast(&watchdog->changed);
}

static void *watchdog_main(void *context)
{
    struct watchdog *watchdog = context;
    lock_acquire(&watchdog->lock);
    while (!watchdog->closed) {
        int64_t wait_ms = look(watchdog);
        if (wait_ms == 0) {
            give_up(watchdog);
        } else {
            condition_wait_for(&watchdog->changed, &watchdog->lock, wait_ms);
        }
    }
    lock_release(&watchdog->lock);
    return NULL;
}

void watchdog_begin(struct watchdog *watchdog, const struct watchdog_work *work)
{
    lock_acquire(&watchdog->lock);
    watchdog->work = *work;
    watchdog->deadline_ns = clock_monotonic_ns() + work->limit_ms * INT64_C(1000000);
    watchdog->verdict = WATCHDOG_CONTENT;
    watchdog->told = false;
    condition_broadcast(&watchdog->changed);
    lock_release(&watchdog->lock);
}

enum watchdog_verdict watchdog_end(struct watchdog *watchdog)
{
    lock_acquire(&watchdog->lock);
    while (watchdog->telling) {
        condition_wait(&watchdog->changed, &watchdog->lock);
    }
    enum watchdog_verdict verdict = watchdog->verdict;
    watchdog->work = (struct watchdog_work){0};
    watchdog->verdict = WATCHDOG_CONTENT;
    lock_release(&watchdog->lock);
    return verdict;
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
    condition_broadcast(&watchdog->changed);
    lock_release(&watchdog->lock);
    pthread_join(watchdog->thread, NULL);
    watchdog_free(watchdog);
}
