/* Stop and go.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "tests/load/starve.h"

#include "tests/bench/load.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#define LOOK_MS 5

static void *run(void *context)
{
    struct starve *starve = context;
    while (!atomic_load(&starve->over)) {
        kill(starve->pid, SIGSTOP);
        for (int i = 0; i < STARVE_STOPPED_MS / LOOK_MS && !atomic_load(&starve->over); i++) {
            usleep(LOOK_MS * 1000);
        }
        kill(starve->pid, SIGCONT);
        usleep(STARVE_RUNNING_MS * 1000);
    }
    return NULL;
}

void starve_begin(struct starve *starve, pid_t pid)
{
    starve->pid = pid;
    atomic_store(&starve->over, false);
    if (pthread_create(&starve->thread, NULL, run, starve) != 0) {
        fprintf(stderr, "load: no thread to starve the daemon\n");
        exit(1);
    }
}

void starve_end(struct starve *starve)
{
    atomic_store(&starve->over, true);
    pthread_join(starve->thread, NULL);
}

/* Without taking its status, so that its number stays its own. */
static bool has_ended(pid_t pid)
{
    siginfo_t about = {0};
    return waitid(P_PID, (id_t)pid, &about, WEXITED | WNOHANG | WNOWAIT) == 0 &&
           about.si_pid == pid;
}

double starve_stop(pid_t pid, struct starve *starve, double limit, int *status)
{
    double begin = bench_seconds();
    kill(pid, SIGTERM);
    while (!has_ended(pid)) {
        if (bench_seconds() - begin > limit) {
            kill(pid, SIGKILL);
        }
        usleep(LOOK_MS * 1000);
    }
    double seconds = bench_seconds() - begin;
    if (starve != NULL) {
        starve_end(starve);
    }
    waitpid(pid, status, 0);
    return seconds;
}
