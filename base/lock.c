/* Mutex and condition variable: thin wrappers that treat every failure as a mistake of ours.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "base/lock.h"

#include "base/check.h"

#include <errno.h>
#include <time.h>

/* The bodies work on the pthread mutex, about which clang's analysis knows nothing. */
#define UNCHECKED LOCK_ANNOTATION(no_thread_safety_analysis)

void lock_init(struct lock *lock)
{
    CHECK(pthread_mutex_init(&lock->mutex, NULL) == 0);
}

void lock_release_memory(struct lock *lock)
{
    CHECK(pthread_mutex_destroy(&lock->mutex) == 0);
}

UNCHECKED void lock_acquire(struct lock *lock)
{
    CHECK(pthread_mutex_lock(&lock->mutex) == 0);
}

UNCHECKED void lock_release(struct lock *lock)
{
    CHECK(pthread_mutex_unlock(&lock->mutex) == 0);
}

void condition_init(struct condition *condition)
{
    pthread_condattr_t attributes;
    CHECK(pthread_condattr_init(&attributes) == 0);
    CHECK(pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC) == 0);
    CHECK(pthread_cond_init(&condition->cond, &attributes) == 0);
    pthread_condattr_destroy(&attributes);
}

void condition_release_memory(struct condition *condition)
{
    CHECK(pthread_cond_destroy(&condition->cond) == 0);
}

UNCHECKED void condition_wait(struct condition *condition, struct lock *lock)
{
    CHECK(pthread_cond_wait(&condition->cond, &lock->mutex) == 0);
}

UNCHECKED int condition_wait_for(struct condition *condition, struct lock *lock, int64_t timeout_ms)
{
    struct timespec until;
    CHECK(clock_gettime(CLOCK_MONOTONIC, &until) == 0);
    int64_t wait_ms = timeout_ms > 0 ? timeout_ms : 0;
    /* Ten years stand for "very long": the sum below must not overflow. */
    const int64_t long_ms = INT64_C(10) * 365 * 86400 * 1000;
    if (wait_ms > long_ms) {
        wait_ms = long_ms;
    }
    until.tv_sec += (time_t)(wait_ms / 1000);
    until.tv_nsec += (long)(wait_ms % 1000) * 1000000L;
    if (until.tv_nsec >= 1000000000L) {
        until.tv_nsec -= 1000000000L;
        until.tv_sec++;
    }
    int result = pthread_cond_timedwait(&condition->cond, &lock->mutex, &until);
    CHECK(result == 0 || result == ETIMEDOUT);
    return result == ETIMEDOUT;
}

void condition_signal(struct condition *condition)
{
    CHECK(pthread_cond_signal(&condition->cond) == 0);
}

void condition_broadcast(struct condition *condition)
{
    CHECK(pthread_cond_broadcast(&condition->cond) == 0);
}
