/* Tests of lock: exclusion, waking, and waits that end.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "base/clock.h"
#include "base/lock.h"
#include "tests/unit/base/test.h"

struct shared {
    struct lock lock;
    struct condition changed;
    int value; /* guarded by lock */
};

static void *add_many(void *argument)
{
    struct shared *shared = argument;
    for (int i = 0; i < 50000; i++) {
        lock_acquire(&shared->lock);
        shared->value++;
        lock_release(&shared->lock);
    }
    return NULL;
}

static void threads_exclude_each_other(UNUSED void **state)
{
    struct shared shared = {.value = 0};
    lock_init(&shared.lock);
    pthread_t threads[4];
    for (int i = 0; i < 4; i++) {
        pthread_create(&threads[i], NULL, add_many, &shared);
    }
    for (int i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
    }
    assert_int_equal(shared.value, 200000);
    lock_release_memory(&shared.lock);
}

/* Waits until the value is 1 and makes it 2. */
static void *wait_for_one(void *argument)
{
    struct shared *shared = argument;
    lock_acquire(&shared->lock);
    while (shared->value != 1) {
        condition_wait(&shared->changed, &shared->lock);
    }
    shared->value = 2;
    condition_broadcast(&shared->changed);
    lock_release(&shared->lock);
    return NULL;
}

static void waiting_ends_with_a_signal(UNUSED void **state)
{
    struct shared shared = {.value = 0};
    lock_init(&shared.lock);
    condition_init(&shared.changed);
    pthread_t thread;
    pthread_create(&thread, NULL, wait_for_one, &shared);
    clock_sleep_ms(5);
    lock_acquire(&shared.lock);
    shared.value = 1;
    condition_signal(&shared.changed);
    while (shared.value != 2) {
        condition_wait(&shared.changed, &shared.lock);
    }
    lock_release(&shared.lock);
    pthread_join(thread, NULL);
    condition_release_memory(&shared.changed);
    lock_release_memory(&shared.lock);
}

static void waiting_ends_with_the_time(UNUSED void **state)
{
    struct shared shared = {.value = 0};
    lock_init(&shared.lock);
    condition_init(&shared.changed);
    lock_acquire(&shared.lock);
    int64_t start = clock_monotonic_ns();
    while (!condition_wait_for(&shared.changed, &shared.lock, 20)) {
    }
    assert_true(clock_monotonic_ns() - start >= 20000000);
    /* No time and negative time are over at once. */
    assert_int_equal(condition_wait_for(&shared.changed, &shared.lock, 0), 1);
    assert_int_equal(condition_wait_for(&shared.changed, &shared.lock, -5), 1);
    lock_release(&shared.lock);
    condition_release_memory(&shared.changed);
    lock_release_memory(&shared.lock);
}

static void a_very_long_wait_can_be_woken(UNUSED void **state)
{
    struct shared shared = {.value = 1};
    lock_init(&shared.lock);
    condition_init(&shared.changed);
    pthread_t thread;
    lock_acquire(&shared.lock);
    pthread_create(&thread, NULL, wait_for_one, &shared);
    while (shared.value != 2) {
        assert_int_equal(condition_wait_for(&shared.changed, &shared.lock, INT64_MAX), 0);
    }
    lock_release(&shared.lock);
    pthread_join(thread, NULL);
    condition_release_memory(&shared.changed);
    lock_release_memory(&shared.lock);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(threads_exclude_each_other),
        cmocka_unit_test(waiting_ends_with_a_signal),
        cmocka_unit_test(waiting_ends_with_the_time),
        cmocka_unit_test(a_very_long_wait_can_be_woken),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
