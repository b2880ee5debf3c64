/* Bounded blocking queue of pointers; closing wakes everybody.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Threads: any number of producers and consumers.
 */
#ifndef BASE_QUEUE_H
#define BASE_QUEUE_H

#include "base/lock.h"
#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct queue {
    struct lock lock;
    struct condition not_empty;
    struct queue_place {
        void *item;
        int64_t since_ns; /* monotonic: when it was pushed */
    } *places; /* guarded by lock, as all below */
    size_t capacity;
    size_t head;
    size_t count;
    bool closed;
};

enum status queue_init(struct queue *queue, size_t capacity, struct error *error) MUST_USE;
void queue_release(struct queue *queue);

/* Never blocks: false where the queue is full or closed. */
bool queue_push(struct queue *queue, void *item);

/* Blocks for an item; NULL once the queue is closed and empty. */
void *queue_pop(struct queue *queue);

/* Takes up to `maximum` items; blocks for the first one at most `timeout_ms` (negative = for ever).
 * Returns how many; 0 means timeout, or closed and empty. */
size_t queue_pop_many(struct queue *queue, void **items, size_t maximum, int64_t timeout_ms);

/* No more pushes; pops drain what is left. */
void queue_close(struct queue *queue);
bool queue_is_closed(struct queue *queue);
size_t queue_count(struct queue *queue);

/* How long the oldest item has been waiting; 0 where there is none. */
int64_t queue_wait_ns(struct queue *queue);

#endif
