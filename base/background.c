/* How many wait, the thread's credit of rest, and its priority.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "base/background.h"

#include "base/check.h"
#include "base/clock.h"

#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define SHORTEST_SLICE_NS 100000
#define NAP_NS            INT64_C(1000000)
#define PIECE_NS          INT64_C(50000)      /* shorter pieces of work are taken together */
#define CREDIT_NS_MAX     INT64_C(1000000000) /* what was not rested is kept for one second */

static atomic_size_t waiting;
static _Atomic int64_t rested_ns;
static atomic_bool hurried;

/* Of the calling thread. */
static _Thread_local struct {
    bool entered;
    int64_t rest_max;
    int64_t credit_ns; /* what it may rest */
    int64_t worked_ns; /* its processor time, up to which credit is counted */
    int64_t since_ns;  /* when that was */
} own;

/* The kernel's struct sched_attr, which the C library does not declare. */
struct scheduling {
    uint32_t size, policy;
    uint64_t flags;
    int32_t nice;
    uint32_t priority;
    uint64_t slice_ns, deadline_ns, period_ns;
};

void foreground_begin(void)
{
    atomic_fetch_add_explicit(&waiting, 1, memory_order_relaxed);
}

void foreground_end(void)
{
    size_t before = atomic_fetch_sub_explicit(&waiting, 1, memory_order_relaxed);
    CHECK(before > 0);
}

size_t foreground_waiting(void)
{
    return atomic_load_explicit(&waiting, memory_order_relaxed);
}

/* Another policy than the usual one is somebody's wish, and kept. */
static bool may_choose(void)
{
    return sched_getscheduler(0) == SCHED_OTHER;
}

void foreground_prefer(void)
{
    struct scheduling soon = {.size = sizeof(soon),
                              .policy = SCHED_OTHER,
                              .nice = getpriority(PRIO_PROCESS, 0),
                              .slice_ns = SHORTEST_SLICE_NS};
    if (may_choose()) {
        (void)syscall(SYS_sched_setattr, 0, &soon, 0);
    }
}

/* A short slice is an early deadline to the scheduler (EEVDF; slices of one's own since
 * Linux 6.12), and a thread that wakes up gets the core at once where its deadline is the earlier
 * one and the other's slice is over. So everybody's slices are short here, and the niceness, which
 * stretches deadlines, makes the difference: at 5 the refresher kept the network thread waiting, at
 * 19 it does not. The idle class would step back further, but on a core that others keep busy it
 * gets a fifth of what the lowest priority does, which is next to nothing, and what has entered it
 * without privileges cannot leave. Failing to be nice is no failure. */
static void step_back(int nice)
{
    struct scheduling lower = {
        .size = sizeof(lower), .policy = SCHED_OTHER, .nice = nice, .slice_ns = SHORTEST_SLICE_NS};
    if (!may_choose() || syscall(SYS_sched_setattr, 0, &lower, 0) != 0) {
        /* On Linux the nice value belongs to the thread. */
        (void)setpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid), nice);
    }
}

/* Rest takes real time, whatever a test has put in the clock's place. */
static int64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

void background_enter(int nice, unsigned rest_max)
{
    step_back(nice);
    own.entered = true;
    own.rest_max = rest_max;
    own.credit_ns = 0;
    own.worked_ns = clock_processor_ns(); /* only work counts: who waits for another thread that
                                             rests must not earn rest by that */
    own.since_ns = now_ns();
}

static bool should_rest(void)
{
    return own.credit_ns > 0 && foreground_waiting() > 0 &&
           !atomic_load_explicit(&hurried, memory_order_relaxed);
}

/* Naps until nobody waits or the credit is used. A nap that takes longer than it should is paid
 * for, within limits: the process may have been stopped for an hour. */
static void rest(void)
{
    while (should_rest()) {
        struct timespec nap = {.tv_nsec = NAP_NS};
        (void)nanosleep(&nap, NULL);
        int64_t slept_ns = now_ns() - own.since_ns;
        own.since_ns += slept_ns;
        slept_ns = slept_ns < CREDIT_NS_MAX ? slept_ns : CREDIT_NS_MAX;
        own.credit_ns -= slept_ns;
        atomic_fetch_add_explicit(&rested_ns, slept_ns, memory_order_relaxed);
    }
}

void background_give_way(void)
{
    if (!own.entered) {
        return;
    }
    int64_t since_ns = now_ns();
    if (since_ns - own.since_ns < PIECE_NS) {
        return;
    }
    int64_t worked_ns = clock_processor_ns();
    int64_t credit_ns = own.credit_ns + own.rest_max * (worked_ns - own.worked_ns);
    own.credit_ns = credit_ns < CREDIT_NS_MAX ? credit_ns : CREDIT_NS_MAX;
    own.worked_ns = worked_ns;
    own.since_ns = since_ns;
    if (should_rest()) {
        rest();
    } else {
        /* A thread that woke up but has not got the core gets it now. */
        (void)sched_yield();
    }
}

void background_hurry(bool hurry)
{
    atomic_store_explicit(&hurried, hurry, memory_order_relaxed);
}

double background_rested_seconds(void)
{
    return (double)atomic_load_explicit(&rested_ns, memory_order_relaxed) * 1e-9;
}
