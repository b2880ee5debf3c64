/* Lanes: a few threads that run one function side by side, with a barrier between its phases.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "model/training/lanes.h"

#include "base/background.h"
#include "base/check.h"

#include <pthread.h>
#include <sched.h>
#include <string.h>

#define LANE_STACK_BYTES (1u << 20)
#define LANE_NICE        19
#define LANE_REST_MAX    7 /* requests without end leave a training an eighth of its time */

struct lane_start {
    const struct lanes_job *job;
    struct lanes *lanes;
    size_t lane;
};

static void *lane_main(void *argument)
{
    struct lane_start *start = argument;
    if (start->job->low_priority) {
        background_enter(LANE_NICE, LANE_REST_MAX);
    }
    /* Wait until every lane exists: lanes->count is final then. */
    lock_acquire(&start->lanes->lock);
    lock_release(&start->lanes->lock);
    start->job->work(start->job->context, start->lanes, start->lane);
    lock_acquire(&start->lanes->lock);
    start->lanes->running--;
    condition_broadcast(&start->lanes->done);
    lock_release(&start->lanes->lock);
    return NULL;
}

void lanes_wait(struct lanes *lanes)
{
    lock_acquire(&lanes->lock);
    size_t round = lanes->round;
    lanes->waiting++;
    if (lanes->waiting == lanes->count) {
        lanes->waiting = 0;
        lanes->round++;
        condition_broadcast(&lanes->passed);
    } else {
        while (lanes->round == round) {
            condition_wait(&lanes->passed, &lanes->lock);
        }
    }
    lock_release(&lanes->lock);
}

/* Waits for the lanes, calling poll about ten times a second. */
static void attend(const struct lanes_job *job, struct lanes *lanes)
{
    bool done = false;
    while (!done) {
        lock_acquire(&lanes->lock);
        if (lanes->running > 0) {
            (void)condition_wait_for(&lanes->done, &lanes->lock, LANES_POLL_MS);
        }
        done = lanes->running == 0;
        lock_release(&lanes->lock);
        if (job->poll != NULL) {
            job->poll(job->context);
        }
    }
}

enum status lanes_run(const struct lanes_job *job, struct error *error)
{
    CHECK(job->count >= 1 && job->count <= LANES_MAX);
    struct lanes lanes = {.count = job->count, .running = job->count};
    struct lane_start starts[LANES_MAX];
    pthread_t threads[LANES_MAX];
    pthread_attr_t attributes;
    lock_init(&lanes.lock);
    condition_init(&lanes.passed);
    condition_init(&lanes.done);
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, LANE_STACK_BYTES);
    /* A lane that cannot start would leave the others at their barrier for ever: the lanes begin
     * only when all exist, so the lock is held while they are made. */
    enum status status = STATUS_OK;
    size_t started = 0;
    lock_acquire(&lanes.lock);
    for (; started < job->count && status == STATUS_OK; started++) {
        starts[started] = (struct lane_start){.job = job, .lanes = &lanes, .lane = started};
        int code = pthread_create(&threads[started], &attributes, lane_main, &starts[started]);
        if (code != 0) {
            status = error_set(error, STATUS_INTERNAL, "could not start a training lane: %s",
                               strerror(code));
            break;
        }
    }
    /* Fewer lanes give the same results, so those that did start do the work. */
    if (status != STATUS_OK && started > 0) {
        status = STATUS_OK;
        lanes.count = started;
        lanes.running = started;
    }
    lock_release(&lanes.lock);
    if (started > 0) {
        attend(job, &lanes);
    }
    for (size_t i = 0; i < started; i++) {
        pthread_join(threads[i], NULL);
    }
    pthread_attr_destroy(&attributes);
    condition_release_memory(&lanes.passed);
    condition_release_memory(&lanes.done);
    lock_release_memory(&lanes.lock);
    return status;
}

size_t lanes_default(void)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    if (sched_getaffinity(0, sizeof(set), &set) != 0) {
        return 1;
    }
    int count = CPU_COUNT(&set);
    return count < 1 ? 1 : count > LANES_MAX ? LANES_MAX : (size_t)count;
}
