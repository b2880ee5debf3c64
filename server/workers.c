/* Worker threads: pop, run, repeat until the queue is closed.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "server/workers.h"

#include "base/memory.h"
#include "base/queue.h"
#include "server/quoted.h"
#include "server/threads.h"

struct workers {
    struct api_services *services;
    worker_run run;
    struct queue queue;
    size_t count;
    pthread_t threads[64];
};

static void *worker_main(void *context)
{
    struct workers *workers = context;
    struct api_worker *worker = NULL;
    for (void *item; (item = queue_pop(&workers->queue)) != NULL;) {
        struct error error = {0};
        if (worker == NULL && api_worker_new(workers->services, &worker, &error) != STATUS_OK) {
            log_error("workers", "worker not ready", "reason=%s", QUOTED(error.text));
            worker = NULL;
        }
        workers->run(worker, item, &error);
    }
    api_worker_free(worker);
    return NULL;
}

enum status workers_start(struct api_services *services, size_t count, size_t queue_max,
                          worker_run run, struct workers **out, struct error *error)
{
    struct workers *workers = mem_zeroed(1, sizeof(*workers));
    if (workers == NULL) {
        return error_set(error, STATUS_NO_MEMORY, "could not start the workers: out of memory");
    }
    workers->services = services;
    workers->run = run;
    enum status status = queue_init(&workers->queue, queue_max, error);
    if (status != STATUS_OK) {
        mem_free(workers);
        return status;
    }
    const size_t most = sizeof(workers->threads) / sizeof(workers->threads[0]);
    while (workers->count < count && workers->count < most) {
        status =
            thread_start(&workers->threads[workers->count], "worker", worker_main, workers, error);
        if (status != STATUS_OK) {
            workers_stop(workers);
            return status;
        }
        workers->count++;
    }
    *out = workers;
    return STATUS_OK;
}

bool workers_push(struct workers *workers, void *item)
{
    if (queue_wait_ns(&workers->queue) > WORKERS_WAIT_MAX_MS * INT64_C(1000000) &&
        queue_count(&workers->queue) >= 2 * workers->count) {
        return false;
    }
    return queue_push(&workers->queue, item);
}

size_t workers_waiting(struct workers *workers)
{
    return queue_count(&workers->queue);
}

void workers_stop(struct workers *workers)
{
    if (workers == NULL) {
        return;
    }
    queue_close(&workers->queue);
    for (size_t i = 0; i < workers->count; i++) {
        pthread_join(workers->threads[i], NULL);
    }
    queue_release(&workers->queue);
    mem_free(workers);
}
