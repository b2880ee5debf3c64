/* Bounded blocking queue of pointers: a ring under one lock; closing wakes everybody.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "base/queue.h"

#include "base/check.h"
#include "base/clock.h"
#include "base/memory.h"

/* Call with the lock held and at least one item. */
static void *take_first(struct queue *queue)
{
    void *item = queue->places[queue->head].item;
    queue->head = queue->head + 1 == queue->capacity ? 0 : queue->head + 1;
    queue->count--;
    return item;
}

enum status queue_init(struct queue *queue, size_t capacity, struct error *error)
{
    CHECK(capacity > 0);
    *queue = (struct queue){0};
    struct queue_place *places = mem_zeroed(capacity, sizeof(*places));
    if (places == NULL) {
        return error_set(error, STATUS_NO_MEMORY, "could not reserve a queue of %zu items",
                         capacity);
    }
    queue->places = places;
    queue->capacity = capacity;
    lock_init(&queue->lock);
    condition_init(&queue->not_empty);
    return STATUS_OK;
}

void queue_release(struct queue *queue)
{
    if (queue->places == NULL) {
        return;
    }
    condition_release_memory(&queue->not_empty);
    lock_release_memory(&queue->lock);
    mem_free(queue->places);
    *queue = (struct queue){0};
}

bool queue_push(struct queue *queue, void *item)
{
    int64_t now_ns = clock_monotonic_ns();
    lock_acquire(&queue->lock);
    bool accepted = !queue->closed && queue->count < queue->capacity;
    if (accepted) {
        size_t tail = queue->head + queue->count;
        if (tail >= queue->capacity) {
            tail -= queue->capacity;
        }
        queue->places[tail] = (struct queue_place){item, now_ns};
        queue->count++;
        /* Under the lock, so that whoever takes the last item may release the queue. */
        condition_signal(&queue->not_empty);
    }
    lock_release(&queue->lock);
    return accepted;
}

void *queue_pop(struct queue *queue)
{
    lock_acquire(&queue->lock);
    while (queue->count == 0 && !queue->closed) {
        condition_wait(&queue->not_empty, &queue->lock);
    }
    void *item = queue->count > 0 ? take_first(queue) : NULL;
    lock_release(&queue->lock);
    return item;
}

size_t queue_pop_many(struct queue *queue, void **items, size_t maximum, int64_t timeout_ms)
{
    int64_t deadline_ns = 0;
    if (timeout_ms > 0) {
        int64_t timeout_ns;
        if (__builtin_mul_overflow(timeout_ms, INT64_C(1000000), &timeout_ns) ||
            __builtin_add_overflow(clock_monotonic_ns(), timeout_ns, &deadline_ns)) {
            deadline_ns = INT64_MAX;
        }
    }
    lock_acquire(&queue->lock);
    while (queue->count == 0 && !queue->closed) {
        if (timeout_ms < 0) {
            condition_wait(&queue->not_empty, &queue->lock);
            continue;
        }
        /* Another consumer may have been faster: what counts is the deadline, not the wake-ups. */
        int64_t left_ns = timeout_ms > 0 ? deadline_ns - clock_monotonic_ns() : 0;
        if (left_ns <= 0) {
            break;
        }
        (void)condition_wait_for(&queue->not_empty, &queue->lock, (left_ns + 999999) / 1000000);
    }
    size_t taken = 0;
    while (taken < maximum && queue->count > 0) {
        items[taken++] = take_first(queue);
    }
    lock_release(&queue->lock);
    return taken;
}

void queue_close(struct queue *queue)
{
    lock_acquire(&queue->lock);
    queue->closed = true;
    condition_broadcast(&queue->not_empty);
    lock_release(&queue->lock);
}

bool queue_is_closed(struct queue *queue)
{
    lock_acquire(&queue->lock);
    bool closed = queue->closed;
    lock_release(&queue->lock);
    return closed;
}

size_t queue_count(struct queue *queue)
{
    lock_acquire(&queue->lock);
    size_t count = queue->count;
    lock_release(&queue->lock);
    return count;
}

int64_t queue_wait_ns(struct queue *queue)
{
    int64_t now_ns = clock_monotonic_ns();
    lock_acquire(&queue->lock);
    int64_t wait_ns = queue->count > 0 ? now_ns - queue->places[queue->head].since_ns : 0;
    lock_release(&queue->lock);
    return wait_ns > 0 ? wait_ns : 0;
}
