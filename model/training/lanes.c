/* Lanes: a few threads that run one function side by side, with a barrier between its phases.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "model/training/lanes.h"

#include "base/check.h"

#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#define LANE_STACK_BYTES  (1u << 20)
#define LOWEST_PRIORITY   19
#define SHORTEST_SLICE_NS 100000

struct lane_start {
    const struct lanes_job *job;
    struct lanes *lanes;
    size_t lane;
};

/* The kernel's struct sched_attr, which the C library does not declare. */
struct scheduling {
    uint32_t size, policy;
    uint64_t flags;
    int32_t nice;
    uint32_t priority;
    uint64_t slice_ns, deadline_ns, period_ns;
};

/* Of the calling thread. The lowest niceness alone is not enough: since Linux 6.6 a thread keeps
 * the core for the rest of its slice of milliseconds when another wakes up, be it the writer whose
 * sync is done. With the shortest slice (older kernels know none) the others hardly wait. The idle
 * class would not make them wait at all, but on a core that others keep busy it gets a fifth of
 * what the lowest niceness does, which is next to nothing. Failing to be nice is no failure. */
static void step_back(void)
{
    struct scheduling lowest = {.size = sizeof(lowest),
                                .policy = SCHED_OTHER,
                                .nice = LOWEST_PRIORITY,
                                .slice_ns = SHORTEST_SLICE_NS};
    if (syscall(SYS_sched_setattr, 0, &lowest, 0) != 0) {
        /* On Linux the nice value belongs to the thread. */
        (void)setpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid), LOWEST_PRIORITY);
    }
}

static void *lane_main(void *argument)
{
    struct lane_start *start = argument;
    if (start->job->low_priority) {
        step_back();
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
