/* Tests of queue: order, bounds, closing, deadlines, and many producers and consumers at once.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "base/clock.h"
#include "base/memory.h"
#include "base/queue.h"
#include "tests/unit/base/test.h"

#include <stdatomic.h>

static int numbers[1000];

static void first_in_first_out_around_the_ring(UNUSED void **state)
{
    struct queue queue;
    struct error error;
    assert_ok(queue_init(&queue, 7, &error));
    size_t pushed = 0, popped = 0;
    for (int round = 0; round < 100; round++) {
        for (int i = 0; i < 5; i++) {
            assert_true(queue_push(&queue, &numbers[pushed++ % 1000]));
        }
        assert_int_equal(queue_count(&queue), 5);
        assert_ptr_equal(queue_pop(&queue), &numbers[popped++ % 1000]);
        void *items[10];
        assert_int_equal(queue_pop_many(&queue, items, 2, -1), 2);
        assert_ptr_equal(items[0], &numbers[popped++ % 1000]);
        assert_ptr_equal(items[1], &numbers[popped++ % 1000]);
        assert_int_equal(queue_pop_many(&queue, items, 10, 0), 2);
        assert_ptr_equal(items[0], &numbers[popped++ % 1000]);
        assert_ptr_equal(items[1], &numbers[popped++ % 1000]);
    }
    queue_release(&queue);
}

static void a_full_queue_refuses(UNUSED void **state)
{
    struct queue queue;
    struct error error;
    assert_ok(queue_init(&queue, 3, &error));
    for (int i = 0; i < 3; i++) {
        assert_true(queue_push(&queue, &numbers[i]));
    }
    assert_false(queue_push(&queue, &numbers[3]));
    assert_int_equal(queue_count(&queue), 3);
    assert_ptr_equal(queue_pop(&queue), &numbers[0]);
    assert_true(queue_push(&queue, &numbers[3]));
    queue_release(&queue);
    queue_release(&queue);
}

static void the_oldest_item_says_how_long_it_waits(UNUSED void **state)
{
    struct queue queue;
    struct error error;
    assert_ok(queue_init(&queue, 3, &error));
    assert_int_equal(queue_wait_ns(&queue), 0);
    assert_true(queue_push(&queue, &numbers[0]));
    clock_sleep_ms(20);
    assert_true(queue_push(&queue, &numbers[1]));
    assert_true(queue_wait_ns(&queue) >= 20000000);
    assert_ptr_equal(queue_pop(&queue), &numbers[0]);
    clock_sleep_ms(5);
    assert_true(queue_wait_ns(&queue) >= 5000000);
    assert_ptr_equal(queue_pop(&queue), &numbers[1]);
    assert_int_equal(queue_wait_ns(&queue), 0);
    queue_release(&queue);
}

static void a_closed_queue_drains(UNUSED void **state)
{
    struct queue queue;
    struct error error;
    assert_ok(queue_init(&queue, 3, &error));
    queue_push(&queue, &numbers[0]);
    queue_push(&queue, &numbers[1]);
    assert_false(queue_is_closed(&queue));
    queue_close(&queue);
    queue_close(&queue);
    assert_true(queue_is_closed(&queue));
    assert_false(queue_push(&queue, &numbers[2]));
    assert_ptr_equal(queue_pop(&queue), &numbers[0]);
    void *items[4];
    assert_int_equal(queue_pop_many(&queue, items, 4, -1), 1);
    assert_null(queue_pop(&queue));
    assert_int_equal(queue_pop_many(&queue, items, 4, -1), 0);
    queue_release(&queue);
}

static void waiting_has_a_deadline(UNUSED void **state)
{
    struct queue queue;
    struct error error;
    void *items[1];
    assert_ok(queue_init(&queue, 3, &error));
    int64_t start = clock_monotonic_ns();
    assert_int_equal(queue_pop_many(&queue, items, 1, 0), 0);
    assert_int_equal(queue_pop_many(&queue, items, 1, 25), 0);
    int64_t waited = clock_monotonic_ns() - start;
    assert_true(waited >= 25000000);
    queue_push(&queue, &numbers[0]);
    assert_int_equal(queue_pop_many(&queue, items, 1, INT64_MAX), 1);
    queue_release(&queue);
}

static void *pop_until_closed(void *argument)
{
    struct queue *queue = argument;
    intptr_t count = 0;
    while (queue_pop(queue) != NULL) {
        count++;
    }
    return (void *)count;
}

static void *push_later(void *argument)
{
    clock_sleep_ms(10);
    queue_push(argument, &numbers[1]);
    return NULL;
}

static void waiting_may_last_for_ever(UNUSED void **state)
{
    struct queue queue;
    struct error error;
    void *items[4];
    pthread_t thread;
    assert_ok(queue_init(&queue, 3, &error));
    pthread_create(&thread, NULL, push_later, &queue);
    assert_int_equal(queue_pop_many(&queue, items, 4, -1), 1);
    assert_ptr_equal(items[0], &numbers[1]);
    pthread_join(thread, NULL);
    queue_release(&queue);
}

static void closing_wakes_everybody(UNUSED void **state)
{
    struct queue queue;
    struct error error;
    assert_ok(queue_init(&queue, 3, &error));
    pthread_t threads[5];
    for (int i = 0; i < 5; i++) {
        pthread_create(&threads[i], NULL, pop_until_closed, &queue);
    }
    clock_sleep_ms(10);
    queue_close(&queue);
    for (int i = 0; i < 5; i++) {
        void *count;
        pthread_join(threads[i], &count);
        assert_int_equal((intptr_t)count, 0);
    }
    queue_release(&queue);
}

enum { PRODUCERS = 3, CONSUMERS = 3, ITEMS = 20000 };

struct traffic {
    struct queue queue;
    atomic_int seen[PRODUCERS * ITEMS];
    atomic_int next_producer;
};

static void *produce(void *argument)
{
    struct traffic *traffic = argument;
    int first = atomic_fetch_add(&traffic->next_producer, 1) * ITEMS;
    for (int i = 0; i < ITEMS; i++) {
        while (!queue_push(&traffic->queue, &traffic->seen[first + i])) {
            sched_yield();
        }
    }
    return NULL;
}

static void *consume(void *argument)
{
    struct traffic *traffic = argument;
    void *items[16];
    for (;;) {
        size_t count = queue_pop_many(&traffic->queue, items, 16, 1000);
        if (count == 0 && queue_is_closed(&traffic->queue)) {
            return NULL;
        }
        for (size_t i = 0; i < count; i++) {
            atomic_int *seen = items[i];
            atomic_fetch_add(seen, 1);
        }
    }
}

static void every_item_arrives_once(UNUSED void **state)
{
    static struct traffic traffic;
    struct error error;
    assert_ok(queue_init(&traffic.queue, 50, &error));
    pthread_t producers[PRODUCERS], consumers[CONSUMERS];
    for (int i = 0; i < CONSUMERS; i++) {
        pthread_create(&consumers[i], NULL, consume, &traffic);
    }
    for (int i = 0; i < PRODUCERS; i++) {
        pthread_create(&producers[i], NULL, produce, &traffic);
    }
    for (int i = 0; i < PRODUCERS; i++) {
        pthread_join(producers[i], NULL);
    }
    queue_close(&traffic.queue);
    for (int i = 0; i < CONSUMERS; i++) {
        pthread_join(consumers[i], NULL);
    }
    for (int i = 0; i < PRODUCERS * ITEMS; i++) {
        assert_int_equal(atomic_load(&traffic.seen[i]), 1);
    }
    queue_release(&traffic.queue);
}

static void no_memory_is_a_status(UNUSED void **state)
{
    size_t before = mem_bytes_in_use();
    for (uint64_t nth = 1;; nth++) {
        struct queue queue;
        struct error error = {0};
        mem_fault_set(nth, 0);
        enum status status = queue_init(&queue, 100, &error);
        int hit = mem_fault_hit();
        mem_fault_set(0, 0);
        assert_int_equal(status, hit ? STATUS_NO_MEMORY : STATUS_OK);
        queue_release(&queue);
        if (!hit) {
            break;
        }
    }
    assert_int_equal(mem_bytes_in_use(), before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(first_in_first_out_around_the_ring),
        cmocka_unit_test(a_full_queue_refuses),
        cmocka_unit_test(the_oldest_item_says_how_long_it_waits),
        cmocka_unit_test(a_closed_queue_drains),
        cmocka_unit_test(waiting_has_a_deadline),
        cmocka_unit_test(waiting_may_last_for_ever),
        cmocka_unit_test(closing_wakes_everybody),
        cmocka_unit_test(every_item_arrives_once),
        cmocka_unit_test(no_memory_is_a_status),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
