/* Mutex and condition variable with clang's thread-safety annotations on the functions.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Rules: never hold two locks; never call out while holding one; never do I/O under one.
 */
#ifndef BASE_LOCK_H
#define BASE_LOCK_H

#include <pthread.h>
#include <stdint.h>

#if defined(__clang__)
#define LOCK_ANNOTATION(x) __attribute__((x))
#else
#define LOCK_ANNOTATION(x)
#endif

struct LOCK_ANNOTATION(capability("mutex")) lock {
    pthread_mutex_t mutex;
};

void lock_init(struct lock *lock);
void lock_release_memory(struct lock *lock);
void lock_acquire(struct lock *lock) LOCK_ANNOTATION(acquire_capability(*lock));
void lock_release(struct lock *lock) LOCK_ANNOTATION(release_capability(*lock));

struct condition {
    pthread_cond_t cond; /* waits on the monotonic clock */
};

void condition_init(struct condition *condition);
void condition_release_memory(struct condition *condition);
void condition_wait(struct condition *condition, struct lock *lock)
    LOCK_ANNOTATION(requires_capability(*lock));
/* Returns 0 where woken, 1 where `timeout_ms` passed. */
int condition_wait_for(struct condition *condition, struct lock *lock, int64_t timeout_ms)
    LOCK_ANNOTATION(requires_capability(*lock));
void condition_signal(struct condition *condition);
void condition_broadcast(struct condition *condition);

#endif
